//! From the stored shape of a namespace to a valid one, or to everything that is wrong with it.

mod session;
mod slice;
mod user;

use std::path::{Path, PathBuf};

use crate::{
    document::{At, Document, ItemsOr, Report},
    draft::{NamespaceDraft, SliceDraft},
    name::{DatabaseName, Name},
    namespace::{AllowedDatabases, Limits, Namespace, PoolSettings, ServerAccounts},
    problem::{Place, Problem},
    surroundings::Surroundings,
};

/// A namespace that was found valid on its own, and what is known of its file.
#[derive(Clone, Debug, PartialEq)]
pub struct Admitted {
    /// The namespace.
    pub namespace: Namespace,
    /// Its file, as problems name it.
    pub file: String,
    /// Where each of its users is declared.
    pub user_places: Vec<Place>,
    /// Where the parts of each of its slices are declared.
    pub slice_places: Vec<SlicePlaces>,
    /// What somebody should look at, though it keeps nothing from working.
    pub warnings: Vec<Problem>,
}

/// Where the parts of a slice are declared.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SlicePlaces {
    /// The primary.
    pub primary: Place,
    /// Each of the replicas.
    pub replicas: Vec<Place>,
    /// The account.
    pub account: Place,
    /// TLS.
    pub tls: Place,
}

impl From<Namespace> for Admitted {
    /// For namespaces that were not read from a file.
    fn from(namespace: Namespace) -> Self {
        Self {
            file: format!("{}.toml", namespace.name),
            user_places: Vec::new(),
            slice_places: Vec::new(),
            warnings: Vec::new(),
            namespace,
        }
    }
}

impl Namespace {
    /// Admits a namespace that `text` declares. Its name is the stem of `file`, and paths are relative to the
    /// directory of `file`. Nothing is read but through `surroundings`.
    ///
    /// # Errors
    /// Everything that is wrong, and what else somebody should look at, in the order of the text.
    pub fn admit(text: &str, file: &Path, surroundings: &dyn Surroundings) -> Result<Admitted, Vec<Problem>> {
        let mut report = Report::new(file.display().to_string(), text);
        let name = name_of(file, &mut report);
        let document = Document::parse(text, &mut report);
        let draft = document.read::<NamespaceDraft>(&mut report);
        let mut admission = Admission {
            report: &mut report,
            surroundings,
            directory: file.parent().unwrap_or(Path::new("")),
        };
        let found = draft.map(|draft| Found::of(&draft, admission.namespace(&draft)));
        let file = report.file().to_owned();
        let failed = report.has_errors();
        let mut problems = report.into_problems();
        for problem in problems.iter_mut().filter(|problem| problem.path == "name") {
            problem.hint = Some("the file's name without .toml is the namespace's name".to_owned());
        }
        match (name, found) {
            (Some(name), Some(Found { namespace: Some(mut namespace), user_places, slice_places }))
                if !failed =>
            {
                namespace.name = name.into_string();
                Ok(Admitted { namespace, file, user_places, slice_places, warnings: problems })
            }
            _ => Err(problems),
        }
    }
}

/// A namespace, if one could be made, and what else is known of its file.
struct Found {
    namespace: Option<Namespace>,
    user_places: Vec<Place>,
    slice_places: Vec<SlicePlaces>,
}

impl Found {
    fn of(draft: &NamespaceDraft, namespace: Option<Namespace>) -> Self {
        Self {
            namespace,
            user_places: draft.users.value.items().iter().map(|user| user.place.clone()).collect(),
            slice_places: draft.slices.value.iter().map(|slice| slice_places(&slice.value)).collect(),
        }
    }
}

fn slice_places(slice: &SliceDraft) -> SlicePlaces {
    SlicePlaces {
        primary: slice.primary.as_ref().map(|primary| primary.place.clone()).unwrap_or_default(),
        replicas: slice.replicas.value.iter().map(|replica| replica.place.clone()).collect(),
        account: slice.account.as_ref().map(|account| account.place.clone()).unwrap_or_default(),
        tls: slice.tls.place.clone(),
    }
}

/// The stem of a file is its namespace's name.
fn name_of(file: &Path, report: &mut Report) -> Option<Name> {
    let stem = file.file_stem().unwrap_or_default().to_string_lossy();
    match Name::new(stem.as_ref()) {
        Ok(name) => Some(name),
        Err(rule) => {
            report
                .error(&Place::default(), format!("the file's name \"{stem}\" cannot name a namespace"))
                .hint(rule);
            None
        }
    }
}

/// One admission under way.
struct Admission<'a> {
    report: &'a mut Report,
    surroundings: &'a dyn Surroundings,
    directory: &'a Path,
}

impl Admission<'_> {
    /// Looks at every part, even if an earlier one is wrong. The name is filled in by the caller.
    fn namespace(&mut self, draft: &NamespaceDraft) -> Option<Namespace> {
        let users = self.users(draft.users.value.items());
        let server_accounts = self.server_accounts(draft);
        let slices = self.slices(&draft.slices.value);
        let allowed_databases = self.allowed_databases(draft);
        let pool = self.pool(draft);
        let session = self.session(&draft.session);
        let limits = &draft.limits.value;
        Some(Namespace {
            name: String::new(),
            users: users?,
            server_accounts,
            allowed_databases,
            allowed_clients: draft.allowed_clients.value.iter().map(|net| net.value).collect(),
            slices: slices?,
            pool,
            session,
            limits: Limits {
                client_connections: limits.client_connections.value,
                result_rows: limits.result_rows.as_ref().map(|rows| rows.value),
                max_allowed_packet: u32::try_from(limits.max_allowed_packet.value.0).unwrap_or(u32::MAX),
            },
            slow_statement: draft.slow_statement.as_ref().map(|limit| limit.value),
            local_infile: draft.local_infile.value,
        })
    }

    fn server_accounts(&mut self, draft: &NamespaceDraft) -> Option<ServerAccounts> {
        let section = &draft.server_accounts;
        if let ItemsOr::Items(_) = draft.users.value {
            if section.place.position.is_some() && !self.report.blames("users") {
                self.report
                    .warning(&section.place, "`server_accounts` has no effect: the users are declared here")
                    .hint("users = \"server\" lets the accounts of the primary log in");
            }
            return None;
        }
        Some(ServerAccounts {
            access: section.value.access.value,
            split: section.value.split.value,
            password_memory: section.value.password_memory.value,
        })
    }

    fn allowed_databases(&mut self, draft: &NamespaceDraft) -> AllowedDatabases {
        let list = &draft.allowed_databases.value;
        self.duplicates(list, |name| name.as_str().to_owned(), "database");
        let all = list.iter().find(|name| name.value.as_str() == "*");
        let information_schema = &draft.allow_information_schema;
        match all {
            Some(all) => {
                if list.len() > 1 {
                    self.report
                        .error(&all.place, "\"*\" allows every database, so no other needs to be named")
                        .hint("either [\"*\"] or the names of databases");
                }
                if !information_schema.value {
                    self.report
                        .error(
                            &information_schema.place,
                            "every database is allowed, so information_schema is, too",
                        )
                        .hint("name the databases that are allowed instead of \"*\"");
                }
                AllowedDatabases::All
            }
            None => AllowedDatabases::Only(self.named_databases(list, information_schema)),
        }
    }

    fn named_databases(&mut self, list: &[At<DatabaseName>], information_schema: &At<bool>) -> Vec<String> {
        const NAME: &str = "information_schema";
        // its case never matters, so it is kept in one form
        let canonical =
            |name: &str| if name.eq_ignore_ascii_case(NAME) { NAME.to_owned() } else { name.to_owned() };
        let mut names: Vec<String> = list.iter().map(|name| canonical(name.value.as_str())).collect();
        let named = list.iter().find(|name| name.value.as_str().eq_ignore_ascii_case(NAME));
        match (named, information_schema.value) {
            (None, true) => names.push(NAME.to_owned()),
            (Some(named), false) => self
                .report
                .error(
                    &named.place,
                    "information_schema is named here, but `allow_information_schema` is false",
                )
                .hint("take one of them away"),
            (Some(_), true) | (None, false) => {}
        }
        names
    }

    fn pool(&mut self, draft: &NamespaceDraft) -> PoolSettings {
        let pool = &draft.pool.value;
        if pool.min_idle.value > pool.capacity.value && !self.is_blamed(&draft.pool.place, &["capacity"]) {
            let message = format!(
                "`min_idle` is {}, but there are at most {} connections",
                pool.min_idle.value, pool.capacity.value
            );
            self.report.error(&pool.min_idle.place, message).hint("at most `capacity`");
        }
        PoolSettings {
            capacity: pool.capacity.value,
            min_idle: pool.min_idle.value,
            idle_timeout: pool.idle_timeout.value,
            max_age: pool.max_age.value,
            checkout_timeout: pool.checkout_timeout.value,
            max_waiters: pool.max_waiters.value,
            connect_timeout: pool.connect_timeout.value,
            pin_warning: pool.pin_warning.value,
        }
    }

    /// Was one of these keys of a table complained of? Then what follows from its absence is no news.
    fn is_blamed(&self, table: &Place, keys: &[&str]) -> bool {
        keys.iter().any(|key| self.report.blames(&table.path_of(key)))
    }

    /// Complains of every item that says the same as an earlier one.
    fn duplicates<T>(&mut self, list: &[At<T>], key: impl Fn(&T) -> String, what: &str) {
        for (index, item) in list.iter().enumerate() {
            let text = key(&item.value);
            let earlier = list.iter().take(index).find(|earlier| key(&earlier.value) == text);
            if let Some(earlier) = earlier {
                let message = format!("{what} `{text}` is named in {} already", earlier.place.path);
                self.report.error(&item.place, message);
            }
        }
    }

    /// A path of the file, from the file's directory.
    fn resolve(&self, path: &Path) -> PathBuf {
        self.directory.join(path)
    }

    /// A file that must be readable; its path.
    fn readable(&mut self, path: &At<PathBuf>) -> PathBuf {
        let resolved = self.resolve(&path.value);
        if let Err(why) = self.surroundings.check_readable(&resolved) {
            self.report.error(&path.place, format!("{} cannot be read: {why}", resolved.display()));
        }
        resolved
    }
}
