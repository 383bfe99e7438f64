//! How to log in to a server.

use zeroize::Zeroizing;

use crate::auth::rsa::RsaPublicKey;
use crate::capability::Capabilities;
use crate::greeting::MariaDbCapabilities;
use crate::login::Attributes;

/// Everything that a login needs to know.
#[derive(Clone)]
pub struct ConnectOptions {
    /// User name.
    pub user: Vec<u8>,
    /// Password; empty for none.
    pub password: Zeroizing<Vec<u8>>,
    /// Default database; `None` logs in without.
    pub database: Option<Vec<u8>>,
    /// Capabilities wanted. Those that follow from the other options, from TLS and from the plugins are decided by
    /// the login itself, and compression and a second factor are never asked for.
    pub capabilities: Capabilities,
    /// MariaDB's further capabilities wanted.
    pub mariadb: MariaDbCapabilities,
    /// Collation id. Ids above 255 have no room in a login.
    pub collation: u8,
    /// Connection attributes; none are sent if empty.
    pub attributes: Attributes,
    /// The longest packet that this side takes, in bytes.
    pub max_packet_size: u32,
    /// TLS.
    pub tls: TlsWish,
    /// The connection is a Unix socket: a password may pass in clear.
    pub is_local: bool,
    /// Where the server's RSA key comes from, for `caching_sha2_password` without TLS.
    pub server_key: ServerKey,
}

/// How a login treats TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TlsWish {
    /// Never.
    Off,
    /// If the server offers it.
    Preferred,
    /// Or not at all: verification is the caller's, see [`super::StartTls::decline`].
    Required,
}

/// Where a server's RSA key comes from.
#[derive(Clone, Debug)]
pub enum ServerKey {
    /// The server is asked. Whoever sits in between can give his own, and learn the password.
    Ask,
    /// Known beforehand.
    Pinned(RsaPublicKey),
    /// No password leaves without TLS or a Unix socket.
    Refuse,
}

impl std::fmt::Debug for ConnectOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ConnectOptions")
            .field("user", &String::from_utf8_lossy(&self.user))
            .field("tls", &self.tls)
            .finish_non_exhaustive()
    }
}
