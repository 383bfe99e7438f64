//! Makes a connection ready for a statement of the session: its state, its prepared statement.

use std::sync::Arc;

use weir_backend::{ConnectionError, Definition};
use weir_plan::Target;
use weir_sql::Effects;
use weir_wire::{command::com, response_end::Expect};

use super::Job;
use crate::{
    metrics::bump,
    session::{Held, Session, TRACKERS, has_tracker},
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
        let state = Arc::clone(match held.target {
            Target::Primary => &wanted.primary,
            Target::Replica => &wanted.replica,
        });
        let settled = if fresh {
            held.checkout.matches(&state, self.multi_statements)
        } else {
            held.checkout.multi_statements() == self.multi_statements
        };
        if !settled {
            let state = if fresh { state } else { Arc::clone(held.checkout.state()) };
            bump(&self.tenant.counters(self.worker.id).state_round_trips, 1);
            self.leave(held);
            Box::pin(held.checkout.become_state(&state, self.multi_statements)).await?;
        }
        if let Some(prepared) = job.prepared
            && held.checkout.prepared.id(prepared.definition).is_none()
        {
            self.leave(held);
            Box::pin(self.prepare_there(held, prepared.definition)).await?;
        }
        let asks = Effects::READS_LAST_INSERT_ID
            | Effects::READS_DIAGNOSTICS
            | Effects::CALL
            | Effects::TEXT_EXECUTE;
        if job.statement.effects.intersects(asks) {
            Box::pin(self.restore_diagnostics(held, job)).await?;
        }
        if job.statement.effects.contains(Effects::VIRTUAL_VARIABLE) {
            self.leave(held);
            Box::pin(self.lend_virtuals(held, job)).await?;
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
    /// values. The connection is reset before anybody else gets it. The trackers are lent only to statements that set
    /// none but them, or read: what else is set must be seen by Weir's own.
    async fn lend_virtuals(&self, held: &mut Held, job: &Job<'_>) -> Result<(), ConnectionError> {
        let sets = job.statement.effects.contains(Effects::SET_SESSION);
        let about_trackers =
            job.statement.assigned_variables().any(|name| name.starts_with(b"session_track"));
        let lend_trackers = !sets || about_trackers;
        let flavour = held.checkout.server().version.flavour;
        let mut sql = String::new();
        let mut assign = |name: &[u8], value: &str| {
            sql.push_str(if sql.is_empty() { "SET SESSION " } else { ",SESSION " });
            sql.push_str(&String::from_utf8_lossy(name));
            sql.push('=');
            sql.push_str(value);
        };
        for (name, value) in self.virtuals.iter().filter(|(name, _)| !TRACKERS.contains(&&**name)) {
            assign(name, &literal(value));
        }
        // MySQL does not let go of this one inside a transaction (1766)
        let fixed = |name: &&[u8]| *name == b"session_track_gtids" && self.may_be_in_transaction();
        let trackers = TRACKERS.iter().copied().filter(|name| lend_trackers && has_tracker(flavour, name));
        for name in trackers.filter(|name| !fixed(name)) {
            match self.virtuals.iter().find(|(known, _)| &**known == name) {
                Some((_, value)) => assign(name, &literal(value)),
                None => assign(name, "DEFAULT"),
            }
        }
        if sql.is_empty() {
            return Ok(());
        }
        held.checkout.mark_dirty();
        held.trackers_lent = lend_trackers;
        held.checkout.query(&sql).await.map(|_| ())
    }
}

/// A value as SET takes it: a number as it is, anything else as a string.
fn literal(value: &[u8]) -> String {
    let text = String::from_utf8_lossy(value);
    if !value.is_empty() && value.iter().all(u8::is_ascii_digit) {
        text.into_owned()
    } else {
        format!("'{}'", text.replace('\'', "''"))
    }
}
