//! `weir check --live`: what the servers themselves say.

use std::{path::Path, sync::Arc, time::Duration};

use tokio::{sync::Semaphore, task::JoinSet};
use weir_backend::{
    Class, Connection, ConnectionError, Dialer, DialerOptions, state::Interner, tls_settings,
    try_to_read_accounts,
};
use weir_catalog::{
    admit::{Admitted, SlicePlaces},
    namespace::{AllowedDatabases, Namespace},
    problem::{Place, Problem},
    slice::{Instance, Slice},
};
use weir_wire::server_version::ServerVersion;

use super::{cross::KnownFlavour, grants};

/// Servers that are asked at once.
const AT_ONCE: usize = 16;
/// What questions to one server may take beyond the time that a login may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// What a server said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Seen {
    /// Family and version.
    pub version: ServerVersion,
    /// Does it refuse writes?
    pub read_only: bool,
    /// Lines of SHOW GRANTS.
    pub grants: Vec<String>,
    /// Databases that the account sees.
    pub databases: Vec<String>,
    /// Tables of accounts that it cannot read, and why; empty where it need not.
    pub unread: Vec<(String, String)>,
}

/// Asks every server of every namespace. Returns what is wrong, and what the servers are.
pub(super) async fn check(namespaces: &[Admitted]) -> (Vec<Problem>, Vec<KnownFlavour>) {
    let permits = Arc::new(Semaphore::new(AT_ONCE));
    let mut tasks = JoinSet::new();
    for (n, admitted) in namespaces.iter().enumerate() {
        for (s, slice) in admitted.namespace.slices.iter().enumerate() {
            for (i, instance) in std::iter::once(&slice.primary).chain(&slice.replicas).enumerate() {
                let (slice, instance, permits) = (slice.clone(), instance.clone(), Arc::clone(&permits));
                let limit = admitted.namespace.pool.connect_timeout;
                let reads_accounts = admitted.namespace.server_accounts.is_some() && s == 0 && i == 0;
                tasks.spawn(async move {
                    let _permit = permits.acquire().await;
                    ((n, s, i), look(&slice, &instance, limit, reads_accounts).await)
                });
            }
        }
    }
    let mut answers = tasks.join_all().await;
    answers.sort_by_key(|(index, _)| *index);
    let mut problems = Vec::new();
    let mut known = Vec::new();
    for (n, admitted) in namespaces.iter().enumerate() {
        for (s, slice) in admitted.namespace.slices.iter().enumerate() {
            let of_slice = answers.iter().filter(|((a, b, _), _)| (*a, *b) == (n, s));
            let seen: Vec<&Result<Seen, String>> = of_slice.map(|(_, answer)| answer).collect();
            let places = admitted.slice_places.get(s).cloned().unwrap_or_default();
            let judged = Judged {
                file: Path::new(&admitted.file),
                namespace: &admitted.namespace,
                slice,
                places: &places,
            };
            problems.extend(judged.problems(&seen));
            known.extend(seen.iter().filter_map(|answer| answer.as_ref().ok()).map(|seen| KnownFlavour {
                namespace: admitted.namespace.name.clone(),
                slice: slice.name.clone(),
                flavour: seen.version.flavour,
            }));
        }
    }
    (problems, known)
}

/// Logs in as the namespace would, and asks.
async fn look(
    slice: &Slice,
    instance: &Instance,
    limit: Duration,
    reads_accounts: bool,
) -> Result<Seen, String> {
    let dialer = Dialer::new(DialerOptions {
        address: instance.address.clone(),
        account: slice.account.clone(),
        tls_mode: slice.tls.mode,
        tls: tls_settings(&slice.tls).map_err(|error| error.to_string())?,
        local_files: false,
        compression: slice.compression,
        states: Arc::new(Interner::default()),
        identities: Arc::default(),
    });
    let mut connection = dialer.dial(Class::default(), limit).await.map_err(|error| error.to_string())?;
    match tokio::time::timeout(PATIENCE, ask(&mut connection, reads_accounts)).await {
        Ok(Ok(seen)) => Ok(seen),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err(format!("no answer within {PATIENCE:?}")),
    }
}

async fn ask(connection: &mut Connection, reads_accounts: bool) -> Result<Seen, ConnectionError> {
    let version = connection.server().version.clone();
    let read_only = first_column(connection, "SELECT @@GLOBAL.read_only").await?;
    let grants = first_column(connection, "SHOW GRANTS").await?;
    let databases = first_column(connection, "SHOW DATABASES").await?;
    let read_only = read_only.first().is_some_and(|value| value != "0");
    let unread = match reads_accounts {
        true => try_to_read_accounts(connection).await.err().unwrap_or_default(),
        false => Vec::new(),
    };
    let unread = unread.into_iter().map(|(table, why)| (table.to_owned(), why)).collect();
    Ok(Seen { version, read_only, grants, databases, unread })
}

async fn first_column(connection: &mut Connection, sql: &str) -> Result<Vec<String>, ConnectionError> {
    let rows = connection.query(sql).await?.rows()?;
    let values = rows.into_iter().filter_map(|row| row.into_iter().next().flatten());
    Ok(values.map(|value| String::from_utf8_lossy(&value).into_owned()).collect())
}

/// A slice whose servers' answers are judged.
struct Judged<'a> {
    file: &'a Path,
    namespace: &'a Namespace,
    slice: &'a Slice,
    places: &'a SlicePlaces,
}

impl Judged<'_> {
    /// What is wrong, given the answers of the primary and of the replicas, in their order.
    fn problems(&self, answers: &[&Result<Seen, String>]) -> Vec<Problem> {
        let mut problems = Vec::new();
        let places = std::iter::once(&self.places.primary).chain(&self.places.replicas);
        let instances = std::iter::once(&self.slice.primary).chain(&self.slice.replicas);
        for (index, ((answer, place), instance)) in answers.iter().zip(places).zip(instances).enumerate() {
            match answer {
                Ok(seen) => problems.extend(self.instance(index == 0, instance, place, seen)),
                Err(error) => {
                    // the system's number says nothing beyond its text
                    let why = error.split(" (os error").next().unwrap_or(error);
                    let user = &self.slice.account.user;
                    let message = format!("cannot use {} as `{user}`: {why}", instance.address);
                    problems.push(self.error(place, message));
                }
            }
        }
        let reached: Vec<&Seen> = answers.iter().filter_map(|answer| answer.as_ref().ok()).collect();
        problems.extend(self.account(&reached));
        problems.extend(self.databases(answers.first().and_then(|primary| primary.as_ref().ok())));
        problems
    }

    fn instance(&self, is_primary: bool, instance: &Instance, place: &Place, seen: &Seen) -> Vec<Problem> {
        let mut problems = Vec::new();
        let flavour = seen.version.flavour;
        if let Some(declared) = self.slice.flavour.filter(|declared| *declared != flavour) {
            let message =
                format!("{} is {flavour}, but the slice is declared as {declared}", instance.address);
            problems.push(self.error(place, message).hint("correct `flavour` of the slice"));
        }
        match (is_primary, seen.read_only) {
            (true, true) => problems.push(
                self.warning(place, format!("the primary {} is read-only", instance.address))
                    .hint("is it a replica? Otherwise SET GLOBAL read_only = OFF"),
            ),
            (false, false) => problems.push(
                self.warning(place, format!("the replica {} takes writes", instance.address))
                    .hint("is it the primary? Otherwise SET GLOBAL read_only = ON"),
            ),
            (true, false) | (false, true) => {}
        }
        for (table, why) in &seen.unread {
            let user = &self.slice.account.user;
            let message = format!("account `{user}` cannot read {table} of {}: {why}", instance.address);
            let problem = self.error(&self.places.account, message);
            problems.push(problem.hint(format!("GRANT SELECT ON {table} TO '{user}'@…")));
        }
        problems
    }

    /// What its servers let the account do; a slice's servers are replicas of each other, so once is enough.
    fn account(&self, seen: &[&Seen]) -> Vec<Problem> {
        let mut found: Vec<String> = Vec::new();
        for text in seen.iter().flat_map(|seen| grants::excess(&seen.grants, self.namespace)) {
            if !found.contains(&text) {
                found.push(text);
            }
        }
        let user = &self.slice.account.user;
        let problem = |text| {
            self.warning(
                &self.places.account,
                format!("account `{user}` may do more than the namespace: {text}"),
            )
            .hint("grant it what the users of the namespace need, and no more")
        };
        found.into_iter().map(problem).collect()
    }

    fn databases(&self, primary: Option<&Seen>) -> Vec<Problem> {
        // where the users have accounts of their own, the slice's sees nothing
        let seen = primary.filter(|_| self.namespace.server_accounts.is_none());
        let (Some(seen), AllowedDatabases::Only(allowed)) = (seen, &self.namespace.allowed_databases) else {
            return Vec::new();
        };
        let missing = allowed
            .iter()
            .filter(|name| !seen.databases.iter().any(|there| there.eq_ignore_ascii_case(name)));
        let problem = |name: &String| {
            let message = format!("database `{name}` is not on {}", self.slice.primary.address);
            let mut problem = self.warning(&Place::default(), message);
            problem.path = "allowed_databases".to_owned();
            problem.hint("or the account may not see it")
        };
        missing.map(problem).collect()
    }

    fn error(&self, place: &Place, message: String) -> Problem {
        Problem::error(self.file.display().to_string(), message).at(place)
    }

    fn warning(&self, place: &Place, message: String) -> Problem {
        Problem::warning(self.file.display().to_string(), message).at(place)
    }
}

#[cfg(test)]
mod tests {
    use weir_catalog::surroundings::Imagined;

    use super::*;

    const TEXT: &str = r#"allowed_databases = ["shop"]
users = [{ name = "app", password = "x" }]
[[slices]]
name = "main"
flavour = "mysql"
primary = { address = "db1:3306" }
replicas = [{ address = "db2:3306" }]
account = { user = "weir", password = "b4ckend" }
"#;

    fn seen(version: &str, read_only: bool) -> Seen {
        Seen {
            version: ServerVersion::parse(version).unwrap(),
            read_only,
            grants: vec!["GRANT ALL PRIVILEGES ON `shop`.* TO `weir`@`%`".to_owned()],
            databases: vec!["information_schema".to_owned(), "shop".to_owned()],
            unread: Vec::new(),
        }
    }

    #[track_caller]
    fn check(primary: &Result<Seen, String>, replica: &Result<Seen, String>, expected: &[&str]) {
        let admitted = Namespace::admit(TEXT, Path::new("n.toml"), &Imagined::default()).unwrap();
        let judged = Judged {
            file: Path::new("n.toml"),
            namespace: &admitted.namespace,
            slice: &admitted.namespace.slices[0],
            places: &admitted.slice_places[0],
        };
        let got: Vec<String> = judged.problems(&[primary, replica]).iter().map(ToString::to_string).collect();
        assert_eq!(got, expected);
    }

    #[test]
    fn servers_that_are_as_declared_are_no_problem() {
        check(&Ok(seen("9.7.4", false)), &Ok(seen("8.0.36", true)), &[]);
    }

    #[test]
    fn roles_families_and_absent_servers_are_told() {
        check(
            &Ok(seen("9.7.4", true)),
            &Ok(seen("11.8.3-MariaDB", false)),
            &[
                "n.toml:6:11: warning: slices[0].primary: the primary db1:3306 is read-only (is it a replica? Otherwise SET GLOBAL read_only = OFF)",
                "n.toml:7:13: error: slices[0].replicas[0]: db2:3306 is MariaDB, but the slice is declared as MySQL (correct `flavour` of the slice)",
                "n.toml:7:13: warning: slices[0].replicas[0]: the replica db2:3306 takes writes (is it the primary? Otherwise SET GLOBAL read_only = ON)",
            ],
        );
        check(
            &Err("cannot connect: Connection refused (os error 111)".to_owned()),
            &Ok(seen("9.7.4", true)),
            &[
                "n.toml:6:11: error: slices[0].primary: cannot use db1:3306 as `weir`: cannot connect: Connection refused",
            ],
        );
    }

    #[test]
    fn what_the_account_may_beyond_the_namespace_is_told_once() {
        let mut one = seen("9.7.4", false);
        one.grants.push("GRANT SUPER ON *.* TO `weir`@`%`".to_owned());
        let other = Seen { read_only: true, ..one.clone() };
        let expected = "n.toml:8:11: warning: slices[0].account: account `weir` may do more than the namespace: it administers the server (SUPER) (grant it what the users of the namespace need, and no more)";
        check(&Ok(one), &Ok(other), &[expected]);
    }

    #[test]
    fn tables_of_accounts_that_cannot_be_read_are_told_with_what_to_grant() {
        let unread = vec![("mysql.user".to_owned(), "SELECT command denied".to_owned())];
        let expected = "n.toml:8:11: error: slices[0].account: account `weir` cannot read mysql.user of db1:3306: SELECT command denied (GRANT SELECT ON mysql.user TO 'weir'@…)";
        check(&Ok(Seen { unread, ..seen("9.7.4", false) }), &Ok(seen("9.7.4", true)), &[expected]);
    }

    #[test]
    fn databases_that_are_not_there_are_told() {
        let bare = Seen { databases: vec!["INFORMATION_SCHEMA".to_owned()], ..seen("9.7.4", false) };
        let expected = "n.toml: warning: allowed_databases: database `shop` is not on db1:3306 (or the account may not see it)";
        check(&Ok(bare), &Ok(seen("9.7.4", true)), &[expected]);
    }
}
