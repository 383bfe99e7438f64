//! What a client may do wrong at login.

use crate::Malformed;
use crate::auth::AuthPlugin;
use crate::error_code::{
    ErrorCode, HANDSHAKE, NOT_SUPPORTED_AUTH_MODE, SECURE_TRANSPORT_REQUIRED, UNKNOWN_COM,
};

/// Why a login cannot go on. Every one is the client's doing, none may succeed when tried again unchanged; after the
/// ERR the connection is to be closed. A wrong password is none of these but a [`super::Verdict`] without a match.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AcceptError {
    /// The login packet is cut or contradicts itself.
    #[error("the client's login is malformed: {0}")]
    Malformed(#[from] Malformed),
    /// The same of COM_CHANGE_USER.
    #[error("the client's COM_CHANGE_USER is malformed: {0}")]
    ChangeUser(Malformed),
    /// The client speaks the protocol of MySQL before 4.1.
    #[error("the client speaks the protocol of MySQL before 4.1")]
    OldProtocol,
    /// The client begins TLS that was not offered.
    #[error("the client asked for TLS, which this listener does not offer")]
    TlsNotOffered,
    /// The client does not begin TLS that is required.
    #[error("the client did not use TLS, which this listener requires")]
    TlsRequired,
    /// The user's plugin is one that the client cannot be asked to use.
    #[error("the client does not support authentication plugins, but its user has {needed}")]
    ClientWithoutPlugins {
        /// The user's plugin.
        needed: AuthPlugin,
    },
    /// The answer to a challenge has a length that the plugin never has.
    #[error("the client answered {plugin} with {len} bytes")]
    AnswerLength {
        /// The plugin.
        plugin: AuthPlugin,
        /// Length in bytes.
        len: usize,
    },
}

impl AcceptError {
    /// The number that MySQL gives.
    #[must_use]
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::Malformed(_) | Self::OldProtocol | Self::TlsNotOffered | Self::AnswerLength { .. } => {
                HANDSHAKE
            }
            Self::ChangeUser(_) => UNKNOWN_COM,
            Self::TlsRequired => SECURE_TRANSPORT_REQUIRED,
            Self::ClientWithoutPlugins { .. } => NOT_SUPPORTED_AUTH_MODE,
        }
    }

    /// The text that MySQL gives; [`std::fmt::Display`] is for the log.
    #[must_use]
    pub fn client_message(&self) -> &'static str {
        match self {
            Self::Malformed(_) | Self::OldProtocol | Self::TlsNotOffered | Self::AnswerLength { .. } => {
                "Bad handshake"
            }
            Self::ChangeUser(_) => "Unknown command",
            Self::TlsRequired => {
                "Connections using insecure transport are prohibited while --require_secure_transport=ON."
            }
            Self::ClientWithoutPlugins { .. } => {
                "Client does not support authentication protocol requested by server; consider upgrading MySQL client"
            }
        }
    }
}
