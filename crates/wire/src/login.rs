//! The packets of a login after the greeting: SSLRequest, HandshakeResponse41, COM_CHANGE_USER, AuthSwitchRequest
//! and AuthMoreData, both ways.

mod attributes;
mod auth_request;
mod change_user;
mod handshake_response;

pub use attributes::Attributes;
pub use auth_request::{AuthMoreData, AuthSwitchRequest, OldAuthSwitch, ServerAuthPacket};
pub use change_user::ChangeUser;
pub use handshake_response::{FirstClientPacket, HandshakeResponse41, SslRequest};

use zeroize::Zeroizing;

/// The longest payload before a login is complete, in bytes: attributes may take 64 KiB, names and answers little.
pub const MAX_LOGIN_PAYLOAD: usize = 80 * 1024;

/// An answer to a challenge. Depending on the plugin it may be a password, so it is not shown and is wiped.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct AuthData(Zeroizing<Vec<u8>>);

impl AuthData {
    /// Takes the bytes.
    #[must_use]
    pub fn new(bytes: &[u8]) -> Self {
        Self(Zeroizing::new(bytes.to_vec()))
    }

    /// The bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl From<Vec<u8>> for AuthData {
    fn from(bytes: Vec<u8>) -> Self {
        Self(Zeroizing::new(bytes))
    }
}

impl std::fmt::Debug for AuthData {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "AuthData({} bytes)", self.0.len())
    }
}
