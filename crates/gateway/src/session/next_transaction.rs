//! SET TRANSACTION where a server knows of it: the connection stays the session's until the next transaction has used it.
//! No text tells when that is (a query that uses no table of InnoDB's does not count): the tracker does.

use weir_backend::Opening;
use weir_sql::{Effects, Statement};

use crate::execute::Answer;

use super::{Session, causes::Told, pin::Pins};

impl Session {
    /// A statement was answered. `sent`: what was set on the connection before it. `was_open`: a transaction was open before.
    pub(super) fn note_next_transaction(
        &mut self,
        sent: Opening,
        was_open: bool,
        statement: &Statement,
        answer: &Answer,
    ) {
        let pinned = self.pins.contains(Pins::NEXT_TRANSACTION);
        let untold = || {
            // an error tells nothing of the statements before it
            let set_before = statement.effects.contains(Effects::NEXT_TRANSACTION)
                && statement.statements > 1
                && answer.summary.error.is_some();
            (pinned || !sent.is_nothing()) && !was_open || set_before
        };
        let waits = if answer.tracked.is_empty() {
            untold()
        } else {
            Told::by(&answer.tracked).next_transaction.unwrap_or_else(untold)
        };
        if waits && !self.in_transaction {
            self.begin_pins(Pins::NEXT_TRANSACTION);
        } else if pinned {
            self.pins.remove(Pins::NEXT_TRANSACTION);
        }
    }
}
