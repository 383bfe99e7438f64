//! Closing prepared statements on connections that do nothing: those that no session has any more, and, when the server
//! has as many as it takes (`max_prepared_stmt_count`), all.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use crate::{
    connection::{Connection, ConnectionError, Goal},
    pool::Pool,
    state::Transition,
};

/// A connection idle for so long is written to; one that is used takes its closes along with what is written anyway.
const RESTED: Duration = Duration::from_secs(1);

impl Connection {
    /// Closes what no session has any more, texts too.
    async fn close_unused(&mut self) -> Result<(), ConnectionError> {
        self.flush_closes().await?;
        let unused = self.texts.unused();
        if unused.is_empty() {
            return Ok(());
        }
        let goal = Goal { state: Arc::clone(self.state()), user: None };
        match self.go_to(&Transition::of_texts(unused), &goal).await {
            // one that the server does not know is gone as well
            Ok(()) | Err(ConnectionError::Server { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

impl Pool {
    /// Once a second, by each worker: what nobody can execute any more is closed.
    pub(crate) fn close_unused(&self, worker: usize, now: Instant) {
        let Some(pool) = self.weak().upgrade() else { return };
        let resting = self.shard(worker).retire(|connection| {
            let closes = connection.prepared.drop_unused() || connection.texts.has_unused();
            closes && now.saturating_duration_since(connection.idle_since) >= RESTED
        });
        let limit = self.settings().connect_timeout;
        for mut connection in resting {
            let pool = Arc::clone(&pool);
            tokio::spawn(async move {
                match tokio::time::timeout(limit, connection.close_unused()).await {
                    Ok(Ok(())) => pool.place(connection, worker, Instant::now()),
                    Ok(Err(error)) => {
                        tracing::debug!(instance = pool.instance(), %error, "a connection ended while it was idle");
                        drop(connection);
                        pool.replace(worker);
                    }
                    Err(_) => {
                        drop(connection);
                        pool.replace(worker);
                    }
                }
            });
        }
    }

    /// Closes all that idle connections have prepared: the server takes no more (error 1461). Those that sessions still
    /// have are prepared again when they are executed.
    pub async fn shed_prepared(self: &Arc<Self>, worker: usize) {
        for _ in 0..self.settings().capacity {
            let Some(mut checkout) = self.checkout_where(worker, |c| !c.prepared.is_empty()) else { return };
            checkout.prepared.forget_all_but(|_| false);
            match checkout.flush_closes().await {
                Ok(()) => checkout.give_back(),
                Err(error) => tracing::debug!(instance = self.instance(), %error, "a connection ended"),
            }
        }
    }
}
