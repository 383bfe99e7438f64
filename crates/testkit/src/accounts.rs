//! The accounts of every test server. They listen on loopback only, so their passwords are no secrets.

use crate::server::Flavour;

/// A user name and its password.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Account {
    /// The user name; its host is `%`.
    pub user: &'static str,
    /// The password in plain text.
    pub password: &'static str,
}

/// May do everything, on replicas too.
pub const ADMIN: Account = Account { user: "admin", password: "admin-password" };
/// The gateway's backend account: all rights on all databases, but held by `read_only` on replicas
/// (MySQL: by `super_read_only`; MariaDB: it lacks READ ONLY ADMIN).
pub const SERVICE: Account = Account { user: "weir", password: "weir-password" };
/// What replicas log in to the primary with.
pub const REPLICATION: Account = Account { user: "repl", password: "repl-password" };

/// The statements that create the accounts, one to a line, as both servers' initialisation reads them.
pub(crate) fn statements(flavour: Flavour) -> String {
    let create = |account: Account| {
        let Account { user, password } = account;
        match flavour {
            Flavour::MySql => {
                format!("CREATE USER '{user}'@'%' IDENTIFIED WITH caching_sha2_password BY '{password}';")
            }
            Flavour::MariaDb => {
                format!(
                    "CREATE USER '{user}'@'%' IDENTIFIED VIA mysql_native_password USING PASSWORD('{password}');"
                )
            }
        }
    };
    let mut lines = vec![create(ADMIN), create(SERVICE), create(REPLICATION)];
    lines.push(format!("GRANT ALL PRIVILEGES ON *.* TO '{}'@'%' WITH GRANT OPTION;", ADMIN.user));
    lines.push(format!("GRANT ALL PRIVILEGES ON *.* TO '{}'@'%' WITH GRANT OPTION;", SERVICE.user));
    lines.push(format!("GRANT REPLICATION SLAVE ON *.* TO '{}'@'%';", REPLICATION.user));
    lines.push(match flavour {
        Flavour::MySql => format!("ALTER USER 'root'@'localhost' IDENTIFIED BY '{}';", ADMIN.password),
        Flavour::MariaDb => format!("SET PASSWORD FOR 'root'@'localhost' = PASSWORD('{}');", ADMIN.password),
    });
    if flavour == Flavour::MariaDb {
        lines.push(format!("REVOKE READ ONLY ADMIN, SUPER ON *.* FROM '{}'@'%';", SERVICE.user));
        lines.push("DROP USER IF EXISTS ''@'localhost';".to_owned());
    }
    lines.join("\n") + "\n"
}
