//! Commands that Weir answers itself: they count as the session's last, for ROW_COUNT().

use weir_backend::Fact;
use weir_wire::{command::com, response_end::Expect};

use crate::{error::SessionError, session::Session};

/// How a command was answered. Both servers take ROW_COUNT() from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::session) enum OwnAnswer {
    /// OK: 0 rows.
    Ok,
    /// EOF: −1.
    Eof,
}

impl Session {
    /// The client got an answer of Weir's own.
    pub(in crate::session) fn answered_here(&mut self, answer: OwnAnswer) {
        self.diagnostics.own_answer = Some(answer);
        self.diagnostics.row_count = match answer {
            OwnAnswer::Ok => 0,
            OwnAnswer::Eof => -1,
        };
    }

    /// The same for a statement. MariaDB keeps the conditions of the one before, since this one uses no table.
    pub(in crate::session) fn answered_statement_here(&mut self) {
        self.answered_here(OwnAnswer::Ok);
        if self.is_mariadb() {
            return;
        }
        let before = std::mem::take(&mut self.diagnostics.conditions);
        if let (Some(_), Some(memory)) = (before.at(), &self.diagnostics.memory) {
            memory.forget(Fact::Conditions);
        }
    }

    /// The connection that ran the session's last statement gets a command that is answered as the session's was
    /// here, so that ROW_COUNT() is there what it would be at the server.
    pub(super) async fn repeat_own_answer(&mut self) -> Result<(), SessionError> {
        let Some(answer) = self.diagnostics.own_answer.take() else { return Ok(()) };
        let Some(mut held) = self.held.take() else { return Ok(()) };
        let off = u8::from(!held.checkout.multi_statements());
        let payload: &[u8] = match answer {
            OwnAnswer::Ok => &[com::PING],
            OwnAnswer::Eof => &[com::SET_OPTION, off, 0],
        };
        match held.checkout.command(payload, Expect::One).await {
            Ok(_) => {
                self.held = Some(held);
                Ok(())
            }
            Err(error) => Err(self.connection_lost(held, false, &error)),
        }
    }
}
