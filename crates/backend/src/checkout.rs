//! A session's hold on one backend connection.

use std::{
    ops::{Deref, DerefMut},
    sync::Arc,
    time::Duration,
};

use weir_wire::connect::ServerRefusal;

use crate::{connection::Connection, pool::Pool};

/// Why there is no connection.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CheckoutError {
    /// Nobody gave one back in time.
    #[error("no connection to {instance} became free within {waited:?}")]
    Timeout {
        /// The instance.
        instance: String,
        /// How long was waited.
        waited: Duration,
    },
    /// Too many wait already.
    #[error("{waiting} statements are waiting for a connection to {instance} already")]
    QueueFull {
        /// The instance.
        instance: String,
        /// How many wait.
        waiting: usize,
    },
    /// The instance cannot be reached, or does not let Weir in.
    #[error("{instance} cannot be used: {error}")]
    Down {
        /// The instance.
        instance: String,
        /// Why.
        error: String,
    },
    /// The server does not let the session's own account in.
    #[error("{}", .0.message)]
    Refused(ServerRefusal),
    /// The pool was closed by a change of configuration.
    #[error("{instance} was taken out of the configuration")]
    Closed {
        /// The instance.
        instance: String,
    },
}

/// A connection lent to a session. Dropped without [`give_back`](Self::give_back) it is closed.
#[derive(Debug)]
pub struct Checkout {
    connection: Option<Box<Connection>>,
    pool: Arc<Pool>,
    worker: usize,
}

impl Checkout {
    pub(crate) fn new(connection: Box<Connection>, pool: Arc<Pool>, worker: usize) -> Self {
        Self { connection: Some(connection), pool, worker }
    }

    /// Where it came from.
    #[must_use]
    pub fn pool(&self) -> &Arc<Pool> {
        &self.pool
    }

    /// Ends the hold. A connection that is in the middle of an exchange is closed; one with state that cannot travel
    /// is reset first, while nobody waits for it.
    pub fn give_back(mut self) {
        if let Some(connection) = self.connection.take() {
            self.pool.returned(self.worker);
            self.pool.give_back(connection, self.worker);
        }
    }
}

impl Drop for Checkout {
    fn drop(&mut self) {
        if self.connection.take().is_some() {
            self.pool.returned(self.worker);
        }
    }
}

impl Deref for Checkout {
    type Target = Connection;

    #[allow(
        clippy::expect_used,
        reason = "only give_back and drop take the connection, and both end the checkout"
    )]
    fn deref(&self) -> &Connection {
        self.connection.as_deref().expect("a checkout holds its connection until it ends")
    }
}

impl DerefMut for Checkout {
    #[allow(
        clippy::expect_used,
        reason = "only give_back and drop take the connection, and both end the checkout"
    )]
    fn deref_mut(&mut self) -> &mut Connection {
        self.connection.as_deref_mut().expect("a checkout holds its connection until it ends")
    }
}
