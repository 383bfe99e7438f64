//! The server has as many prepared statements as it takes (`max_prepared_stmt_count`): those that connections keep for later
//! make room.

use super::Statements;
use crate::{
    session::{Held, Session},
    tenant::Tenant,
};

/// Closes what the session's connection and idle ones have prepared, but for statements with an open cursor.
pub(super) async fn make(tenant: &Tenant, worker: usize, statements: &Statements, held: Option<&mut Held>) {
    if let Some(held) = held {
        held.checkout.prepared.forget_all_but(|definition| statements.has_cursor(definition));
        // a connection that has failed says so to who uses it next
        if let Err(error) = held.checkout.flush_closes().await {
            tracing::debug!(%error, "a connection ended while its statements were closed");
        }
    }
    for pool in tenant.pools() {
        pool.shed_prepared(worker).await;
    }
}

impl Session {
    /// The same for a connection that is being made ready.
    pub(crate) async fn make_room_on(&self, held: &mut Held) {
        make(&self.tenant, self.worker.id, &self.statements, Some(held)).await;
    }
}
