//! What may go wrong in a login to a server.

use crate::Malformed;
use crate::auth::rsa::RsaError;
use crate::error_code::ErrorCode;
use crate::response::ErrPacket;

/// Why there is no login. After any of these the connection is to be closed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConnectError {
    /// The server said no: by its number one knows whether trying again helps (1040), or the account is to blame
    /// (1045), or this host (1129, 1130).
    #[error("the server refused: {0}")]
    Refused(#[from] ServerRefusal),
    /// The server's packet is cut or contradicts itself.
    #[error("the server's packet is malformed: {0}")]
    Malformed(#[from] Malformed),
    /// The server sent a packet that has no place here.
    #[error("the server sent {0}, which has no place at that point of a login")]
    Unexpected(&'static str),
    /// The server goes on without end.
    #[error("the server's authentication does not come to an end")]
    TooManySteps,
    /// The server is older than MySQL 4.1.
    #[error("the server speaks the protocol of MySQL before 4.1")]
    ServerTooOld,
    /// TLS is required and not offered.
    #[error("TLS is required, but the server does not offer it")]
    TlsNotOffered,
    /// The account has a plugin that is not spoken: `mysql_clear_password`, `mysql_old_password`, `dialog` …
    #[error("the account needs the authentication plugin `{0}`, which is not supported")]
    UnsupportedPlugin(String),
    /// The server asks for the password, and there is neither TLS nor a key to encrypt it with.
    #[error(
        "the server asks for the full password, which may not be sent without TLS, a Unix socket or its RSA key"
    )]
    InsecureTransport,
    /// The server asks for more of the password than is known here.
    #[error("the server asks for the password itself, which is not known here")]
    PasswordUnknown,
    /// The password could not be encrypted.
    #[error("the password could not be encrypted with the server's RSA key: {0}")]
    Rsa(RsaError),
    /// The caller declined.
    #[error("the login was given up by this side")]
    Declined,
}

/// A server's ERR packet.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message} ({}, {})", .code.number, String::from_utf8_lossy(&.code.sqlstate))]
pub struct ServerRefusal {
    /// Number and SQLSTATE.
    pub code: ErrorCode,
    /// Text.
    pub message: String,
}

impl From<ErrPacket<'_>> for ServerRefusal {
    fn from(err: ErrPacket<'_>) -> Self {
        Self { code: err.code, message: String::from_utf8_lossy(err.message).into_owned() }
    }
}
