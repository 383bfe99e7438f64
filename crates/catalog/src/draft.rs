//! The stored shape of a namespace: one TOML file each. Every row here is also a row of the reference.

use std::{path::PathBuf, time::Duration};

use ipnet::IpNet;
use weir_wire::{auth::Verifier, server_version::Flavour};

use crate::{
    document::Bytes,
    name::{CharsetName, DatabaseName, Name, UserName, VariableName, Zone},
    secret::Secret,
    slice::{Address, BackendCompression, BackendTlsMode},
    stored,
    user::{Plugin, UserAccess},
};

const fn millis(n: u64) -> Duration {
    Duration::from_millis(n)
}

const fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

const fn hours(n: u64) -> Duration {
    Duration::from_secs(n * 3600)
}

const fn days(n: u64) -> Duration {
    hours(n * 24)
}

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

stored! {
    /// One file declares one namespace; the file's name without `.toml` is the namespace's name (1 to 64 of a-z, 0-9,
    /// `_` and `-`). Paths are relative to the file's directory. Files whose names start with a dot or do not end in
    /// `.toml` are not read.
    pub struct NamespaceDraft {
        /// Databases that statements may name, at login, in USE and wherever a table's name stands. `["*"]` allows
        /// every database that the backend account may see.
        several allowed_databases: DatabaseName;
        /// Is `information_schema` allowed beside them?
        default allow_information_schema: bool = true;
        /// May clients send files of their own with LOAD DATA LOCAL INFILE? The servers must allow it too.
        default local_infile: bool = false;
        /// Networks that clients may come from, IPv4 or IPv6; one address is a network of its own. An empty list
        /// allows any. Clients on a Unix socket are always allowed.
        list allowed_clients: IpNet;
        /// Statements that take longer are logged. Without it none is.
        optional slow_statement: Duration, within (millis(1), hours(1));
        /// Logins. `"server"` stands for the accounts of the server itself: whoever has one on the primary of the first
        /// slice logs in with it, and its grants hold, since Weir's connections are that account's. A listener serves
        /// at most one such namespace.
        several_or users: UserDraft = "server";
        /// What holds for users that are `"server"`.
        section server_accounts: ServerAccountsDraft;
        /// Replication groups. The first is where everything goes until tables are sharded.
        several slices: SliceDraft;
        /// Connections to the servers.
        section pool: PoolDraft;
        /// Times and defaults of a session.
        section session: SessionDraft;
        /// Upper bounds.
        section limits: LimitsDraft;
    }

    /// A login. User name and password together decide the namespace: one user name may exist in several
    /// namespaces, with another password in each, but the same plugin in all. A user name may also stand several
    /// times in one namespace, with different passwords, so that a password can be changed without haste.
    pub struct UserDraft like "{ name = \"app\", verifier = \"sha2:…\" }" {
        /// User name; upper and lower case differ.
        required name: UserName;
        /// The password itself. Either this or `verifier`.
        optional password: Secret;
        /// What proves the password without being it: `sha2:…` (`weir passwd` prints it) or `$A$005$…` (as MySQL stores
        /// it) for `caching_sha2_password`, `*…` (as MariaDB's PASSWORD() prints it) for `mysql_native_password`.
        optional verifier: Verifier;
        /// How the user logs in. Without it: `mysql_native_password` if `verifier` is made for it, else
        /// `caching_sha2_password`.
        optional plugin: Plugin;
        /// What the user may do.
        default access: UserAccess = UserAccess::ReadWrite;
        /// Read/write splitting: do reads outside transactions go to replicas?
        default split: bool = true;
        /// May the user see and end (KILL) the sessions of all users of all namespaces at the gateway, and ask it `SHOW WEIR …`?
        /// Without it, only sessions of the same user in the same namespace.
        default admin: bool = false;
    }

    /// What holds for the accounts of the server, where `users = "server"`. The account of the slice then only reads the
    /// accounts (MySQL: `SELECT` on `mysql.user`, `mysql.global_grants`, `mysql.default_roles` and `mysql.role_edges`;
    /// MariaDB: on `mysql.global_priv` and `mysql.roles_mapping`) and looks after the servers.
    pub struct ServerAccountsDraft {
        /// What they may do within their grants.
        default access: UserAccess = UserAccess::ReadWrite;
        /// Read/write splitting: do reads outside transactions go to replicas?
        default split: bool = true;
        /// How long Weir keeps a password, in locked memory, after a login of `caching_sha2_password` showed it: a server that was
        /// restarted, or whose account was changed, asks for it again. `"0s"` keeps none: then every login shows the
        /// password anew, over TLS or RSA, and sessions end that need a new connection to such a server.
        default password_memory: Duration = hours(8), within (Duration::ZERO, days(30));
    }

    /// One MySQL or MariaDB replication group.
    pub struct SliceDraft {
        /// Its name, unique in the namespace.
        required name: Name;
        /// What its servers are. Without it the servers are asked; with it a listener knows how to greet before
        /// it reached one.
        optional flavour: Flavour;
        /// The server that takes writes.
        required primary: InstanceDraft;
        /// Servers that answer reads. Without any, the primary answers them.
        list replicas: InstanceDraft;
        /// The account that Weir logs in with, on every server of the slice.
        required account: AccountDraft;
        /// TLS to the servers.
        section tls: BackendTlsDraft;
        /// Compression to the servers: saves network, costs both sides time. A server that does not offer it is not
        /// used.
        default compression: BackendCompression = BackendCompression::Off;
    }

    /// A server process.
    pub struct InstanceDraft {
        /// Where it listens: `"host:port"`, `"[2001:db8::7]:3306"`, `"/path/to.sock"` or `"unix:/path/to.sock"`. A
        /// host name is resolved whenever a connection is made.
        required address: Address;
        /// Share of reads that a replica gets, relative to the others; 0 takes none. No meaning for a primary.
        default weight: u32 = 1, within (0, 1_000);
        /// Where it stands. Replicas in the gateway's own zone are preferred while one of them is healthy.
        optional zone: Zone;
    }

    /// The account on the servers. It must be allowed what all users of the namespace may do, and no more. Exactly
    /// one of `password`, `password_file` and `password_env`.
    pub struct AccountDraft like "{ user = \"weir\", password_file = \"weir.password\" }" {
        /// User name.
        required user: UserName;
        /// The password itself.
        optional password: Secret;
        /// A file that holds the password and nothing else (a line end is ignored). It should be readable by
        /// Weir alone.
        optional password_file: PathBuf;
        /// An environment variable of `weir serve` that holds the password.
        optional password_env: VariableName;
    }

    /// TLS from Weir to the servers. Connections through a Unix socket do without.
    pub struct BackendTlsDraft {
        /// How much is demanded.
        default mode: BackendTlsMode = BackendTlsMode::Preferred;
        /// PEM file of certificate authorities, for `verify-ca` and `verify-identity`.
        optional ca: PathBuf;
        /// PEM file of the client's certificate chain, if servers demand one; with `key`.
        optional certificate: PathBuf;
        /// PEM file of the certificate's private key.
        optional key: PathBuf;
    }

    /// How many connections to a server there may be, and how long they live. All numbers hold for each server, in
    /// each gateway process.
    pub struct PoolDraft {
        /// Most connections to a server. Few are faster than many: the server's cores times two is a good start.
        default capacity: u32 = 32, within (1, 10_000);
        /// Idle connections that are kept open when load falls. At most `capacity`.
        default min_idle: u32 = 1, within (0, 10_000);
        /// Idle connections beyond `min_idle` are closed after this time.
        default idle_timeout: Duration = secs(60), within (secs(1), days(1));
        /// A connection is replaced after this time, give or take a tenth, when nobody uses it.
        default max_age: Duration = hours(1), within (secs(10), days(7));
        /// How long a statement waits for a connection before it fails with error 1203.
        default checkout_timeout: Duration = secs(10), within (millis(1), hours(1));
        /// Most statements that wait for a server; one more fails with error 1203 at once.
        default max_waiters: u32 = 10_000, within (0, 1_000_000);
        /// A session that keeps its connection for longer, for one reason (a temporary table, a lock, a hint), is named in the
        /// log, once, with the statement that began it. Open transactions have a limit of their own,
        /// `session.idle_in_transaction_timeout`.
        default pin_warning: Duration = secs(60), within (millis(100), days(365));
        /// How long connecting and logging in to a server may take.
        default connect_timeout: Duration = secs(5), within (millis(10), secs(300));
    }

    /// Times and defaults of a session, which is one client connection.
    pub struct SessionDraft {
        /// A session that sends nothing for this long is closed with error 4031. A client's own SET wait_timeout (or
        /// interactive_timeout) replaces it.
        default idle_timeout: Duration = hours(8), within (secs(1), days(365));
        /// A session that leaves a transaction (or anything else that holds a connection) open and sends nothing for
        /// this long is closed, and its transaction rolled back.
        default idle_in_transaction_timeout: Duration = secs(300), within (secs(1), days(1));
        /// A client that takes nothing of its answer, or sends nothing of the rest of a large request, for this long is cut
        /// off.
        default client_write_timeout: Duration = secs(60), within (millis(100), hours(1));
        /// Character set of sessions whose client names none that the server knows. Without it, the server's own.
        optional charset: CharsetName;
        /// Collation of those sessions. It must belong to `charset`. Without it, the character set's default.
        optional collation: CharsetName;
    }

    /// Upper bounds of the namespace, in each gateway process.
    pub struct LimitsDraft {
        /// Client connections at once; one more gets error 1040.
        default client_connections: u32 = 10_000, within (1, 1_000_000);
        /// Rows that one result may have; more end it with error 1104. Without it there is no limit.
        optional result_rows: u64, within (1, 1_000_000_000_000);
        /// Largest packet that a client may send; more is error 1153. The server's own limit holds if it is lower.
        default max_allowed_packet: Bytes = Bytes(64 * MIB), within (Bytes(KIB), Bytes(GIB));
    }
}
