//! A gateway in front of one server, from the command line alone: the accounts of the server are its users.

use std::{
    collections::BTreeSet,
    fs,
    hash::{DefaultHasher, Hash, Hasher},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use weir_catalog::{
    document::{Document, Report, quoted},
    draft::AccountDraft,
    problem::Problem,
    slice::Address,
    surroundings::Surroundings,
};
use weir_store::{Loaded, Machine, NamespaceText};
use zeroize::Zeroizing;

/// The name of the only namespace.
const NAME: &str = "server";

/// A server, and the file of the account that reads its accounts.
#[derive(Clone, Debug)]
pub(crate) struct OneServer {
    /// Where it listens.
    pub address: Address,
    /// A TOML file with the keys of a slice's `account`.
    pub account: PathBuf,
}

impl OneServer {
    /// The namespace that stands for the server.
    pub(crate) fn load(&self) -> Result<Loaded, Box<Problem>> {
        let shown = self.account.display().to_string();
        let file = match Machine.secret_file(&self.account) {
            Ok(file) => file,
            Err(why) => {
                return Ok(
                    self.unread(vec![Problem::error(shown, format!("the account cannot be read: {why}"))])
                );
            }
        };
        let mut report = Report::new(shown, file.secret.reveal());
        let document = Document::parse(file.secret.reveal(), &mut report);
        let draft = document.read::<AccountDraft>(&mut report).filter(|_| !report.has_errors());
        let Some(draft) = draft else { return Ok(self.unread(report.into_problems())) };
        let text = Zeroizing::new(self.namespace(&draft));
        let file = NamespaceText {
            file: self.directory().join(format!("{NAME}.toml")),
            text,
            exposure: file.exposure,
        };
        Ok(Loaded { namespaces: vec![file], unread: Vec::new(), problems: report.into_problems() })
    }

    /// Changes when the account's file or one of the others does.
    pub(crate) fn fingerprint(&self, other_files: &BTreeSet<PathBuf>) -> u64 {
        let mut hasher = DefaultHasher::new();
        for file in other_files.iter().chain([&self.account]) {
            let seen = fs::metadata(file).map(|m| (m.ino(), m.size(), m.mtime(), m.mtime_nsec(), m.mode()));
            seen.ok().hash(&mut hasher);
        }
        hasher.finish()
    }

    fn unread(&self, problems: Vec<Problem>) -> Loaded {
        let unread = vec![self.directory().join(format!("{NAME}.toml"))];
        Loaded { namespaces: Vec::new(), unread, problems }
    }

    fn directory(&self) -> &Path {
        self.account.parent().unwrap_or(Path::new(""))
    }

    fn namespace(&self, account: &AccountDraft) -> String {
        let mut keys = Vec::new();
        if let Some(user) = &account.user {
            keys.push(format!("user = {}", quoted(user.value.as_str())));
        }
        if let Some(password) = &account.password {
            keys.push(format!("password = {}", quoted(password.value.reveal())));
        }
        if let Some(file) = &account.password_file {
            keys.push(format!("password_file = {}", quoted(file.value.display())));
        }
        if let Some(variable) = &account.password_env {
            keys.push(format!("password_env = {}", quoted(variable.value.as_str())));
        }
        format!(
            "allowed_databases = [\"*\"]\nusers = \"server\"\n[[slices]]\nname = \"main\"\nprimary = {{ address = {} }}\n\
             account = {{ {} }}\n",
            quoted(&self.address),
            keys.join(", ")
        )
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use weir_catalog::namespace::{AllowedDatabases, Namespace};

    use super::*;

    fn load(account: &str) -> (tempfile::TempDir, Loaded) {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("account.toml");
        fs::write(&file, account).unwrap();
        fs::write(dir.path().join("secret"), "b4ckend\n").unwrap();
        for name in ["account.toml", "secret"] {
            fs::set_permissions(dir.path().join(name), fs::Permissions::from_mode(0o600)).unwrap();
        }
        let one = OneServer { address: Address::parse("db1.example:3306").unwrap(), account: file };
        let loaded = one.load().unwrap();
        (dir, loaded)
    }

    #[test]
    fn an_account_and_an_address_are_a_namespace() {
        for account in
            ["user = \"weir\"\npassword = \"b4ck\\\"end\"", "user = \"weir\"\npassword_file = \"secret\""]
        {
            let (_dir, loaded) = load(account);
            assert_eq!(loaded.problems, []);
            let text = &loaded.namespaces[0];
            let namespace = Namespace::admit(&text.text, &text.file, &Machine).unwrap().namespace;
            assert_eq!(
                (namespace.name.as_str(), &namespace.allowed_databases),
                (NAME, &AllowedDatabases::All)
            );
            assert!(namespace.server_accounts.is_some());
            let slice = &namespace.slices[0];
            assert_eq!(
                (slice.primary.address.to_string(), slice.replicas.len()),
                ("db1.example:3306".into(), 0)
            );
            assert_eq!(slice.account.user, "weir");
            assert!(["b4ck\"end", "b4ckend"].contains(&slice.account.password.reveal()));
        }
    }

    #[test]
    fn what_is_wrong_with_the_account_is_told_with_its_file_and_line() {
        for (account, expected) in [
            ("password = \"x\"", "account.toml: error: user: `user` is missing"),
            ("user = \"w\"\npasword = \"x\"", "account.toml:2:1: error: pasword: unknown key `pasword`"),
        ] {
            let (dir, loaded) = load(account);
            assert!(loaded.namespaces.is_empty() && loaded.unread.len() == 1);
            let problem = loaded.problems[0].to_string().replace(&format!("{}/", dir.path().display()), "");
            assert!(problem.starts_with(expected), "{problem}");
        }
    }
}
