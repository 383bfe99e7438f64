//! Replication groups and their instances.

use weir_wire::server_version::Flavour;

use crate::{choice, secret::Secret};

/// One MySQL replication group: a primary and 0..n replicas.
#[derive(Clone, Debug, PartialEq)]
pub struct Slice {
    /// Name, unique in its namespace.
    pub name: String,
    /// The server that takes writes.
    pub primary: Instance,
    /// Servers that may answer reads.
    pub replicas: Vec<Instance>,
    /// The account that Weir logs in with, on every instance of the slice.
    pub account: BackendAccount,
    /// TLS to the instances.
    pub tls: BackendTls,
    /// Compression to the instances.
    pub compression: BackendCompression,
    /// What the instances are, if the operator says so; a listener must know before it first reached one.
    pub flavour: Option<Flavour>,
}

/// One MySQL or MariaDB server process.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Instance {
    /// Where it listens.
    pub address: Address,
    /// Share of reads that a replica gets, relative to the others; 0 takes none. 1 for a primary.
    pub weight: u32,
    /// Where it stands; replicas of the gateway's own zone are preferred if any is healthy.
    pub zone: Option<String>,
}

/// Where an instance listens.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Address {
    /// Host name or address and port; a name is resolved at each dial.
    Tcp {
        /// Host name, IPv4 or IPv6 address (without brackets).
        host: String,
        /// TCP port.
        port: u16,
    },
    /// Path of a Unix socket.
    Unix(std::path::PathBuf),
}

/// The account that Weir uses on the servers.
#[derive(Clone, Debug, PartialEq)]
pub struct BackendAccount {
    /// User name.
    pub user: String,
    /// Password; resolved when the namespace was admitted.
    pub password: Secret,
}

/// TLS from Weir to the servers.
#[derive(Clone, Debug, PartialEq)]
pub struct BackendTls {
    /// How much is demanded.
    pub mode: BackendTlsMode,
    /// PEM bundle of certificate authorities, for the two verifying modes.
    pub ca: Option<std::path::PathBuf>,
    /// PEM client certificate chain and key.
    pub client_certificate: Option<(std::path::PathBuf, std::path::PathBuf)>,
}

choice! {
    /// How the connections to servers are compressed.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub enum BackendCompression {
        /// Not at all.
        Off = "off",
        /// By zlib, which every server knows.
        Zlib = "zlib",
        /// By zstd, which MySQL knows since 8.0.18.
        Zstd = "zstd",
    }
}

choice! {
    /// As MySQL's `--ssl-mode`.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub enum BackendTlsMode {
        /// Never.
        Off = "off",
        /// If the server offers it; the certificate is not checked.
        Preferred = "preferred",
        /// Always; the certificate is not checked.
        Required = "required",
        /// Always; the certificate chain is checked, its names are not.
        VerifyCa = "verify-ca",
        /// Always; chain and host name are checked.
        VerifyIdentity = "verify-identity",
    }
}
