//! How to log in to a server.

use zeroize::Zeroizing;

use crate::auth::rsa::RsaPublicKey;
use crate::auth::{AuthPlugin, Nonce, caching_sha2, native};
use crate::capability::Capabilities;
use crate::greeting::MariaDbCapabilities;
use crate::login::{Attributes, AuthData};

/// Everything that a login needs to know.
#[derive(Clone)]
pub struct ConnectOptions {
    /// User name.
    pub user: Vec<u8>,
    /// What proves who logs in.
    pub credential: Credential,
    /// Default database; `None` logs in without.
    pub database: Option<Vec<u8>>,
    /// Capabilities wanted. Those that follow from the other options, from TLS and from the plugins are decided by
    /// the login itself, and a second factor is never asked for. Compression begins behind the login.
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

/// What a login proves itself with. Wiped from memory when dropped.
#[derive(Clone)]
pub enum Credential {
    /// The password; empty for none.
    Password(Zeroizing<Vec<u8>>),
    /// What is known in its place. That is enough unless the server asks for the password itself.
    Stages(Stages),
}

/// Hashes of a password that scrambles are made from.
#[derive(Clone, Default)]
pub struct Stages {
    /// `SHA256(password)`, for `caching_sha2_password`.
    pub sha2: Option<Zeroizing<[u8; 32]>>,
    /// `SHA1(password)`, for `mysql_native_password`.
    pub native: Option<Zeroizing<[u8; 20]>>,
}

impl Credential {
    /// The answer to a challenge; `None` if what is known is not enough for this plugin.
    pub(super) fn answer(&self, plugin: AuthPlugin, nonce: &Nonce) -> Option<AuthData> {
        match (plugin, self) {
            (AuthPlugin::Native, Self::Password(password)) => {
                Some(native::scramble(password, nonce).map_or_else(AuthData::default, |s| AuthData::new(&s)))
            }
            (AuthPlugin::CachingSha2, Self::Password(password)) => {
                let scramble = caching_sha2::scramble(password, nonce);
                Some(scramble.map_or_else(|| AuthData::new(&[0]), |s| AuthData::new(&s)))
            }
            (AuthPlugin::Native, Self::Stages(stages)) => {
                let stage1 = stages.native.as_ref()?;
                Some(AuthData::new(&native::scramble_of_stage1(stage1, nonce)))
            }
            (AuthPlugin::CachingSha2, Self::Stages(stages)) => {
                let stage1 = stages.sha2.as_ref()?;
                Some(AuthData::new(&caching_sha2::scramble_of_stage1(stage1, nonce)))
            }
        }
    }

    /// The password itself, if it is known.
    pub(super) fn password(&self) -> Option<&[u8]> {
        match self {
            Self::Password(password) => Some(password),
            Self::Stages(_) => None,
        }
    }
}

impl std::fmt::Debug for Credential {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Password(_) => "Password(…)",
            Self::Stages(_) => "Stages(…)",
        })
    }
}

impl std::fmt::Debug for Stages {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Stages(…)")
    }
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
