//! Makes a connection ready for a statement of the session: its state, its prepared statement.

use std::sync::Arc;

use weir_backend::{ConnectionError, Definition};
use weir_plan::Target;
use weir_sql::Effects;
use weir_wire::{command::com, response_end::Expect};

use super::Job;
use crate::{
    metrics::bump,
    session::{Held, Session},
};

impl Session {
    /// Nothing to do in the usual case. `fresh`: the connection was not the session's own before.
    pub(super) async fn make_ready(
        &mut self,
        held: &mut Held,
        job: &Job<'_>,
        fresh: bool,
    ) -> Result<(), ConnectionError> {
        let Some(wanted) = &self.wanted else { return Ok(()) };
        let state = match held.target {
            Target::Primary => &wanted.primary,
            Target::Replica => &wanted.replica,
        };
        let settled = if fresh {
            held.checkout.matches(state, self.multi_statements)
        } else {
            held.checkout.multi_statements() == self.multi_statements
        };
        if !settled {
            let state = if fresh { Arc::clone(state) } else { Arc::clone(held.checkout.state()) };
            bump(&self.tenant.counters(self.worker.id).state_round_trips, 1);
            Box::pin(held.checkout.become_state(&state, self.multi_statements)).await?;
        }
        if let Some(prepared) = job.prepared
            && held.checkout.prepared.id(prepared.definition).is_none()
        {
            Box::pin(self.prepare_there(held, prepared.definition)).await?;
        }
        let asks = Effects::READS_LAST_INSERT_ID
            | Effects::READS_DIAGNOSTICS
            | Effects::CALL
            | Effects::TEXT_EXECUTE;
        if job.statement.effects.intersects(asks) {
            Box::pin(self.restore_diagnostics(held, job)).await?;
        }
        if job.statement.effects.contains(Effects::VIRTUAL_VARIABLE) && !self.virtuals.is_empty() {
            Box::pin(self.lend_virtuals(held)).await?;
        }
        Ok(())
    }

    /// Prepares a statement on a connection that does not have it, in the state in which the client prepared it.
    async fn prepare_there(
        &self,
        held: &mut Held,
        definition: &Arc<Definition>,
    ) -> Result<(), ConnectionError> {
        let now = Arc::clone(held.checkout.state());
        let multi = held.checkout.multi_statements();
        bump(&self.tenant.counters(self.worker.id).state_round_trips, 1);
        let then = if held.target == Target::Replica {
            self.gateway.read_only(&definition.state.0)
        } else {
            Arc::clone(&definition.state.0)
        };
        held.checkout.become_state(&then, multi).await?;
        let mut payload = Vec::with_capacity(definition.text.len() + 1);
        payload.push(com::STMT_PREPARE);
        payload.extend_from_slice(&definition.text);
        let reply = held.checkout.command(&payload, Expect::Prepare).await;
        held.checkout.become_state(&now, multi).await?;
        if let Some(prepared) = reply?.summary.prepared {
            held.checkout.prepared.add(Arc::clone(definition), prepared.statement);
        }
        Ok(())
    }

    /// Sets on the connection what Weir keeps for the client, so that a statement which asks for it sees the client's
    /// values. The connection is reset before anybody else gets it.
    async fn lend_virtuals(&self, held: &mut Held) -> Result<(), ConnectionError> {
        let mut sql = String::new();
        for (name, value) in &self.virtuals {
            sql.push_str(if sql.is_empty() { "SET SESSION " } else { ",SESSION " });
            sql.push_str(&String::from_utf8_lossy(name));
            sql.push('=');
            let number = !value.is_empty() && value.iter().all(u8::is_ascii_digit);
            if number {
                sql.push_str(&String::from_utf8_lossy(value));
            } else {
                sql.push('\'');
                sql.push_str(&String::from_utf8_lossy(value).replace('\'', "''"));
                sql.push('\'');
            }
        }
        held.checkout.mark_dirty();
        held.checkout.query(&sql).await.map(|_| ())
    }
}
