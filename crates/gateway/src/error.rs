//! Errors that end a statement or a session: who is to blame, what the client reads, whether the session goes on.

use weir_backend::{CheckoutError, ConnectionError};
use weir_wire::{
    error_code::{self, ErrorCode},
    packet_with,
    response::ErrPacket,
};

use crate::client::ClientError;

/// An answer with which a statement ends, and the session goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// Number and SQLSTATE.
    pub code: ErrorCode,
    /// Text.
    pub message: String,
}

impl Refused {
    /// An error of Weir's own.
    #[must_use]
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }

    /// The packet.
    pub fn write(&self, out: &mut Vec<u8>, sequence: u8) {
        packet_with(out, sequence, |w| {
            ErrPacket { code: self.code, message: self.message.as_bytes() }.write(w);
        });
    }
}

impl From<CheckoutError> for Refused {
    fn from(error: CheckoutError) -> Self {
        let code = match error {
            CheckoutError::Refused(refusal) => return Self::new(refusal.code, refusal.message),
            CheckoutError::Timeout { .. } | CheckoutError::QueueFull { .. } => {
                error_code::TOO_MANY_USER_CONNECTIONS
            }
            CheckoutError::Down { .. } | CheckoutError::Closed { .. } => {
                error_code::CONNECT_TO_FOREIGN_DATA_SOURCE
            }
        };
        Self { code, message: error.to_string() }
    }
}

/// How a statement can end other than with an answer written to the client.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// The client gets this error, and the session goes on.
    #[error("{}", .0.message)]
    Refused(Refused),
    /// The same, after a request of several packets: the answer has this sequence id.
    #[error("{}", .0.message)]
    RefusedAt(Refused, u8),
    /// The client got its error already, behind a part of an answer; the session goes on.
    #[error("the answer broke off")]
    AnsweredWithError,
    /// The client gets this error, then the session ends: state was lost with the backend connection.
    #[error("{}", .0.message)]
    Fatal(Refused),
    /// The same, with this sequence id.
    #[error("{}", .0.message)]
    FatalAt(Refused, u8),
    /// The client is gone.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The server's side ended where the client cannot be told: it has half a packet, or knows already.
    #[error("the connection to the server was lost in the middle of an answer")]
    ServerGone,
    /// The session ends as the client wished.
    #[error("the client said goodbye")]
    Quit,
}

impl From<Refused> for SessionError {
    fn from(refused: Refused) -> Self {
        Self::Refused(refused)
    }
}

impl From<CheckoutError> for SessionError {
    fn from(error: CheckoutError) -> Self {
        // who is not let in any more has to log in again; who has too many connections may try again
        let ends = matches!(&error, CheckoutError::Refused(r) if !matches!(r.code.number, 1203 | 1226));
        let refused = error.into();
        if ends { Self::Fatal(refused) } else { Self::Refused(refused) }
    }
}

/// The connection to a server was lost while a statement ran, or what the server refused on Weir's own account.
#[must_use]
pub fn lost(instance: &str, error: &ConnectionError) -> Refused {
    match error {
        ConnectionError::Server { code, text } => Refused::new(*code, text.clone()),
        other => Refused::new(
            error_code::SERVER_LOST,
            format!("Lost connection to MySQL server during query ({instance}: {other})"),
        ),
    }
}
