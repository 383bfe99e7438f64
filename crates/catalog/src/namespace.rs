//! The nouns operators declare, valid by construction: whoever holds a [`Namespace`] need not check it again.

use std::time::Duration;

use ipnet::IpNet;

use crate::{
    slice::Slice,
    user::{User, UserAccess},
};

/// One tenant: its users, the databases it may see, its slices and its limits.
#[derive(Clone, Debug, PartialEq)]
pub struct Namespace {
    /// Name, unique in the fleet; also the file's stem. `[a-z0-9_-]{1,64}`.
    pub name: String,
    /// Logins that are declared; none if `server_accounts` is there.
    pub users: Vec<User>,
    /// Whoever has an account on the primary may log in.
    pub server_accounts: Option<ServerAccounts>,
    /// Databases that statements may name; `information_schema` is among them unless refused.
    pub allowed_databases: AllowedDatabases,
    /// Networks that clients may come from; empty means any.
    pub allowed_clients: Vec<IpNet>,
    /// Replication groups; the first is the default slice, where everything goes until tables are sharded.
    pub slices: Vec<Slice>,
    /// Backend connections.
    pub pool: PoolSettings,
    /// What holds for each session.
    pub session: SessionSettings,
    /// Upper bounds.
    pub limits: Limits,
    /// A statement slower than this is logged; `None` logs none.
    pub slow_statement: Option<Duration>,
    /// May clients send files with LOAD DATA LOCAL?
    pub local_infile: bool,
}

/// What holds for all who log in with an account of the primary.
#[derive(Clone, Debug, PartialEq)]
pub struct ServerAccounts {
    /// May they write, as far as their grants go?
    pub access: UserAccess,
    /// Read/write splitting: reads to replicas.
    pub split: bool,
    /// How long a password is kept after it was shown; zero keeps none.
    pub password_memory: Duration,
}

/// Which databases the statements of a namespace may name.
#[derive(Clone, Debug, PartialEq)]
pub enum AllowedDatabases {
    /// Every database that the backend account may see.
    All,
    /// Only these. Compared byte for byte, but `information_schema` without regard to case.
    Only(Vec<String>),
}

/// How many backend connections there may be, and how long they live. Per instance and namespace.
#[derive(Clone, Debug, PartialEq)]
pub struct PoolSettings {
    /// Most connections to one instance.
    pub capacity: u32,
    /// Idle connections kept open when load falls.
    pub min_idle: u32,
    /// An idle connection beyond `min_idle` is closed after this time.
    pub idle_timeout: Duration,
    /// A connection is replaced after this age (give or take a tenth), between two checkouts.
    pub max_age: Duration,
    /// How long a statement waits for a connection before error 1203.
    pub checkout_timeout: Duration,
    /// Most statements waiting for one instance; one more gets 1203 at once.
    pub max_waiters: u32,
    /// How long dialing and logging in may take.
    pub connect_timeout: Duration,
    /// A pin that lasts longer is logged.
    pub pin_warning: Duration,
}

/// Times and defaults of a session.
#[derive(Clone, Debug, PartialEq)]
pub struct SessionSettings {
    /// A session that sends nothing for this long is closed (4031). A client's own `wait_timeout` replaces it.
    pub idle_timeout: Duration,
    /// An open transaction (or a pin) whose session sends nothing for this long is rolled back and the session closed.
    pub idle_in_transaction_timeout: Duration,
    /// A client that takes no byte of its answer for this long is cut off.
    pub client_write_timeout: Duration,
    /// Character set of sessions whose client names none that the server knows.
    pub charset: Option<String>,
    /// Collation of those sessions; belongs to `charset`.
    pub collation: Option<String>,
}

/// Upper bounds of a namespace.
#[derive(Clone, Debug, PartialEq)]
pub struct Limits {
    /// Client connections at once, per gateway; one more gets 1040.
    pub client_connections: u32,
    /// Rows that one result may have; more end it with error 1104. `None` is no limit.
    pub result_rows: Option<u64>,
    /// Largest packet that a client may send, bytes (1153). The server's own limit holds if it is lower.
    pub max_allowed_packet: u32,
}

impl AllowedDatabases {
    /// May statements name this database?
    #[must_use]
    pub fn allows(&self, name: &[u8]) -> bool {
        match self {
            Self::All => true,
            Self::Only(list) => list.iter().any(|allowed| {
                allowed.as_bytes() == name
                    || (allowed == "information_schema" && name.eq_ignore_ascii_case(b"information_schema"))
            }),
        }
    }
}
