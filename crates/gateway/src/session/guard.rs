//! Read-only users: a routine can lift what holds them at the server, which no text of theirs can.

use weir_backend::state::{self, State};
use weir_catalog::user::UserAccess;
use weir_plan::Refusal;
use weir_sql::{Effects, Statement};
use weir_wire::{
    capability::Status,
    error_code::ErrorCode,
    response::{Record, Records},
};

use crate::{
    error::{Refused, SessionError, lost},
    execute::Answer,
};

use super::{Held, Session};

impl Session {
    /// Puts the guard back if the statement may have lifted it, for the session or for the next transaction. A
    /// transaction that is open without it ends with the session: the server would let it write.
    pub(super) async fn guard_again(
        &mut self,
        held: &mut Held,
        statement: &Statement,
        answer: &Answer,
    ) -> Result<(), SessionError> {
        // an error tells no records: they come with the next statement's, which is too late
        let routine = statement.effects.intersects(Effects::CALL | Effects::TEXT_EXECUTE);
        let untold = answer.summary.error.is_some() && routine;
        let lifted = || {
            let is_on = held.checkout.state().is_on(state::TRANSACTION_READ_ONLY);
            untold || !is_on || lifts_guard(&answer.tracked)
        };
        if self.user.access != UserAccess::ReadOnly || !lifted() {
            return Ok(());
        }
        // what follows on the connection takes the statement's conditions and counts away
        self.leave(held);
        let status = set(held, "SET SESSION TRANSACTION READ ONLY").await?;
        if status.contains(Status::IN_TRANS) && !status.contains(Status::IN_TRANS_READONLY) {
            let (number, sqlstate) = Refusal::ReadOnlyUser.code();
            let message = Refusal::ReadOnlyUser.message(&self.identity);
            return Err(SessionError::Fatal(Refused::new(ErrorCode { number, sqlstate }, message)));
        }
        if !status.contains(Status::IN_TRANS) {
            set(held, "SET TRANSACTION READ ONLY").await?;
        }
        held.checkout.mark_dirty();
        let guarded = |state: &State| {
            let mut state = state.clone();
            state.set(state::TRANSACTION_READ_ONLY, b"1");
            state
        };
        let on_connection = self.gateway.share(guarded(held.checkout.state()));
        held.checkout.set_state(on_connection);
        if let Some(wanted) = &self.wanted {
            let primary = self.gateway.share(guarded(&wanted.primary));
            self.want(primary, wanted.dialect);
        }
        Ok(())
    }
}

async fn set(held: &mut Held, sql: &str) -> Result<Status, SessionError> {
    let reply = held.checkout.query(sql).await;
    let reply = reply.map_err(|e| SessionError::Fatal(lost(held.checkout.pool().instance(), &e)))?;
    Ok(reply.summary.status.unwrap_or(Status::empty()))
}

/// Do the session-state records of an answer say so?
fn lifts_guard(tracked: &[u8]) -> bool {
    Records::new(tracked).any(|record| match record {
        Ok(Record::SystemVariable { name, value }) => {
            let is_guard = name.eq_ignore_ascii_case(b"transaction_read_only")
                || name.eq_ignore_ascii_case(b"tx_read_only");
            is_guard && (value.eq_ignore_ascii_case(b"OFF") || value == b"0")
        }
        Ok(Record::TransactionCharacteristics(text)) => {
            text.windows(b"READ WRITE".len()).any(|words| words == b"READ WRITE")
        }
        Ok(_) => false,
        // what cannot be read may be anything
        Err(_) => true,
    })
}
