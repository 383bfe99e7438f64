//! Statements that Weir does not let through.

use std::fmt;

use weir_sql::Flavour;

/// Why a statement is refused before any server sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// It names a database that the namespace does not allow.
    Database(Vec<u8>),
    /// A read-only user sends what `transaction_read_only` would not stop.
    ReadOnlyUser,
    /// A statement that Weir answers, or takes rows out of, is not the whole of a short text.
    NotAlone(&'static str),
    /// It asks about others' sessions.
    NotAdmin,
    /// `SHOW WEIR` of something that Weir does not show.
    NotShown,
    /// It would hold the session to the replica on which its transaction runs.
    OnReplica,
    /// It cannot be followed to its end, and the namespace restricts databases: it might name any.
    Unreadable,
    /// LOAD DATA LOCAL, and the namespace does not allow it or the client cannot do it. Each server has its own words.
    LocalFile(Flavour),
}

impl Refusal {
    /// MySQL error number and SQLSTATE.
    #[must_use]
    pub fn code(&self) -> (u16, [u8; 5]) {
        match self {
            Self::Database(_) => (1044, *b"42000"),
            Self::ReadOnlyUser => (1290, *b"HY000"),
            Self::NotAlone(_) | Self::OnReplica => (1235, *b"42000"),
            Self::NotAdmin => (1227, *b"42000"),
            Self::Unreadable | Self::NotShown => (1064, *b"42000"),
            Self::LocalFile(Flavour::MySql) => (3948, *b"42000"),
            Self::LocalFile(Flavour::MariaDb) => (4166, *b"HY000"),
        }
    }

    /// What the client reads. `user` is `name@host`, as the server would write it.
    #[must_use]
    pub fn message(&self, user: &str) -> String {
        match self {
            Self::Database(name) => {
                format!("Access denied for user {user} to database '{}'", String::from_utf8_lossy(name))
            }
            Self::ReadOnlyUser => format!(
                "The MySQL server is running with the --read-only option so it cannot execute this statement \
                 (user {user} may only read)"
            ),
            Self::NotAlone(what) => {
                format!("{what} among several statements, or in a text of more than 1 MiB: send it alone")
            }
            Self::NotAdmin => {
                "Access denied; you need (at least one of) the admin privilege(s) for this operation"
                    .to_owned()
            }
            Self::NotShown => {
                "You have an error in your SQL syntax: it is SHOW WEIR SESSIONS, POOLS, PREPARED or PINS"
                    .to_owned()
            }
            Self::OnReplica => {
                "The transaction runs on a replica, where a statement may not set, lock or prepare \
                                anything for the session: begin it without /* weir: replica */"
                    .to_owned()
            }
            Self::Unreadable => {
                "You have an error in your SQL syntax: the statement ends inside a string, a comment or \
                                 too many parentheses"
                    .to_owned()
            }
            Self::LocalFile(Flavour::MySql) => {
                "Loading local data is disabled; this must be enabled on both the client and server sides".to_owned()
            }
            Self::LocalFile(Flavour::MariaDb) => {
                "The used command is not allowed because the MariaDB server or client has disabled the local infile capability"
                    .to_owned()
            }
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Database(name) => write!(f, "database {} is not allowed", String::from_utf8_lossy(name)),
            Self::ReadOnlyUser => f.write_str("the user may only read"),
            Self::NotAdmin => f.write_str("the user is no admin"),
            Self::NotShown => f.write_str("Weir shows no such thing"),
            Self::NotAlone(what) => write!(f, "{what} must be sent alone"),
            Self::OnReplica => f.write_str("it would hold the session to a replica"),
            Self::Unreadable => f.write_str("the statement cannot be read to its end"),
            Self::LocalFile(_) => f.write_str("local files are not allowed"),
        }
    }
}
