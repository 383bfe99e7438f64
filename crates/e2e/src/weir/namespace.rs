//! What a test's namespace file says.

use anyhow::{Context, Result};
use toml::{Table, Value};
use weir_testkit::{Cluster, Flavour, SERVICE};

use super::path;

/// A login of a namespace.
#[derive(Clone, Debug)]
pub struct User {
    /// User name.
    pub name: String,
    /// Password, in plain text for the test; the file holds it so, or as `verifier`.
    pub password: String,
    /// What the file holds instead of the password.
    pub verifier: Option<String>,
    /// `caching_sha2_password` or `mysql_native_password`; Weir's default if `None`.
    pub plugin: Option<String>,
    /// May only read.
    pub read_only: bool,
    /// Reads go to replicas.
    pub split: bool,
    /// Sees and ends everybody's sessions.
    pub admin: bool,
}

impl User {
    /// Reads and writes, with reads on replicas.
    #[must_use]
    pub fn new(name: &str, password: &str) -> User {
        User {
            name: name.to_owned(),
            password: password.to_owned(),
            verifier: None,
            plugin: None,
            read_only: false,
            split: true,
            admin: false,
        }
    }

    /// As the backend account: with its name, its password and, as its server, its plugin.
    #[must_use]
    pub fn of(cluster: &Cluster) -> User {
        let mut user = User::new(SERVICE.user, SERVICE.password);
        if cluster.flavour() == Flavour::MariaDb {
            user.plugin = Some("mysql_native_password".to_owned());
        }
        user
    }

    /// Everything goes to the primary.
    #[must_use]
    pub fn without_split(mut self) -> User {
        self.split = false;
        self
    }

    /// May see and end everybody's sessions.
    #[must_use]
    pub fn as_admin(mut self) -> User {
        self.admin = true;
        self
    }

    fn to_toml(&self) -> Value {
        let mut table = Table::new();
        table.insert("name".into(), self.name.clone().into());
        match &self.verifier {
            Some(verifier) => table.insert("verifier".into(), verifier.clone().into()),
            None => table.insert("password".into(), self.password.clone().into()),
        };
        if let Some(plugin) = &self.plugin {
            table.insert("plugin".into(), plugin.clone().into());
        }
        if self.read_only {
            table.insert("access".into(), "read-only".into());
        }
        table.insert("split".into(), self.split.into());
        table.insert("admin".into(), self.admin.into());
        Value::Table(table)
    }
}

/// A namespace: its users, and its file as a table that tests change by path.
#[derive(Clone, Debug)]
pub struct Namespace {
    /// Its name.
    pub name: String,
    users: Vec<User>,
    table: Table,
}

impl Namespace {
    /// In front of a whole cluster, every database allowed, with one user who has the backend account's name and
    /// password. The pool is small, waits are short, and reads go to replicas.
    ///
    /// # Errors
    /// The cluster has no primary.
    pub fn on(cluster: &Cluster, name: &str) -> Result<Namespace> {
        let primary = cluster.primary()?.port;
        let replicas: Vec<u16> = cluster.replicas().iter().map(|replica| replica.port).collect();
        Ok(Namespace::at(name, primary, &replicas).users_are(vec![User::of(cluster)]))
    }

    /// In front of the servers at these ports of 127.0.0.1.
    #[must_use]
    pub fn at(name: &str, primary: u16, replicas: &[u16]) -> Namespace {
        let address = |port: &u16| Value::Table(Table::from_iter([("address".to_owned(), at(*port))]));
        let slice = Table::from_iter([
            ("name".to_owned(), "s0".into()),
            ("primary".to_owned(), address(&primary)),
            ("replicas".to_owned(), Value::Array(replicas.iter().map(address).collect())),
            (
                "account".to_owned(),
                Value::Table(Table::from_iter([
                    ("user".to_owned(), SERVICE.user.into()),
                    ("password".to_owned(), SERVICE.password.into()),
                ])),
            ),
        ]);
        let table = Table::from_iter([
            ("allowed_databases".to_owned(), Value::Array(vec!["*".into()])),
            ("slices".to_owned(), Value::Array(vec![Value::Table(slice)])),
        ]);
        Namespace { name: name.to_owned(), users: vec![User::new(SERVICE.user, SERVICE.password)], table }
            .set("pool.capacity", 8)
            .set("pool.checkout_timeout", "5s")
    }

    /// With these users instead.
    #[must_use]
    pub fn users_are(mut self, users: Vec<User>) -> Namespace {
        self.users = users;
        self
    }

    /// Its users.
    #[must_use]
    pub fn users(&self) -> Vec<User> {
        self.users.clone()
    }

    /// Whoever has an account on the primary logs in with it.
    #[must_use]
    pub fn users_of_server(self) -> Namespace {
        self.set("users", "server")
    }

    /// Sets a key, named by its path: `pool.capacity`, `limits.result_rows`, `slices.0.tls.mode`.
    #[must_use]
    pub fn set(mut self, path: &str, value: impl Into<Value>) -> Namespace {
        path::set(&mut self.table, path, value.into());
        self
    }

    pub(super) fn to_toml(&self) -> Result<String> {
        let mut table = self.table.clone();
        let users = || Value::Array(self.users.iter().map(User::to_toml).collect());
        table.entry("users").or_insert_with(users);
        toml::to_string(&table).context("a namespace that TOML cannot hold")
    }
}

fn at(port: u16) -> Value {
    format!("127.0.0.1:{port}").into()
}
