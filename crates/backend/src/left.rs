//! What a connection still knows about the statement of a session that gave it back: the warnings, FOUND_ROWS() and
//! LAST_INSERT_ID().
//!
//! Sessions seldom ask, so nothing is read when a connection is given back. It takes along where to tell what it knows.
//! Whoever sends the next command on it asks first, in the same write, if the session could still want to know by then.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::Duration,
};

use tokio::sync::Notify;
use weir_wire::{packet_with, query_attributes::query_head};

use crate::{
    connection::Reply,
    user_variable::{self, UserVariableName},
};

/// Something that a session may ask about its statements before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fact {
    /// Warnings and the error of one statement.
    Conditions,
    /// FOUND_ROWS() after SQL_CALC_FOUND_ROWS.
    FoundRows,
    /// LAST_INSERT_ID().
    InsertId,
    /// Values of user variables that were assigned there: see [`user_variable`](crate::user_variable).
    UserVariables,
}

/// All facts, in the order in which a connection must be asked: each question leaves the later facts as they were.
const FACTS: [(Fact, &[u8]); 4] = [
    (Fact::Conditions, b"SHOW WARNINGS"),
    (Fact::FoundRows, b"SELECT FOUND_ROWS()"),
    (Fact::InsertId, b"SELECT LAST_INSERT_ID()"),
    // and the variables' names
    (Fact::UserVariables, b"SELECT "),
];

/// Statements by number, one for each [`Fact`]; 0 for none.
pub type Numbers = PerFact<u64>;

/// Something for each [`Fact`], in the order of their definition.
pub type PerFact<T> = [T; FACTS.len()];

/// What connections have told, or will tell, a session.
#[derive(Debug, Default)]
pub struct Memory {
    slots: Mutex<[Slot; FACTS.len()]>,
    told: Notify,
}

#[derive(Debug, Default)]
struct Slot {
    /// The statement that it is about; 0 for none.
    number: u64,
    told: Told,
}

#[derive(Debug, Default)]
enum Told {
    /// A connection knows.
    #[default]
    NotYet,
    Known(Reply),
    /// The connection ended before it was asked.
    Lost,
}

impl Memory {
    fn lock(&self) -> MutexGuard<'_, [Slot; FACTS.len()]> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn with<T>(&self, fact: Fact, act: impl FnOnce(&mut Slot) -> T) -> T {
        let mut slots = self.lock();
        #[allow(clippy::indexing_slicing, reason = "there is a slot for each fact")]
        act(&mut slots[fact as usize])
    }

    /// Has the connection that ran statement `number` told already what it knew?
    #[must_use]
    pub fn was_told(&self, fact: Fact, number: u64) -> bool {
        self.with(fact, |slot| slot.number == number && !matches!(slot.told, Told::NotYet))
    }

    /// The session no longer asks.
    pub fn forget(&self, fact: Fact) {
        self.with(fact, |slot| *slot = Slot::default());
    }

    fn expect(&self, fact: Fact, number: u64) {
        self.with(fact, |slot| *slot = Slot { number, told: Told::NotYet });
    }

    fn wants(&self, fact: Fact, number: u64) -> bool {
        self.with(fact, |slot| slot.number == number && matches!(slot.told, Told::NotYet))
    }

    fn tell(&self, fact: Fact, number: u64, told: Told) {
        self.with(fact, |slot| {
            if slot.number == number {
                slot.told = told;
            }
        });
        self.told.notify_waiters();
    }

    /// Takes what was told about statement `number`, waiting until the session that has the connection has asked.
    /// `None` if the connection ended before, or nobody asked within `limit`.
    pub async fn take(&self, fact: Fact, number: u64, limit: Duration) -> Option<Reply> {
        let taken = async {
            loop {
                let notified = self.told.notified();
                tokio::pin!(notified);
                notified.as_mut().enable();
                let told = self.with(fact, |slot| match slot.number == number {
                    true => std::mem::replace(&mut slot.told, Told::NotYet),
                    false => Told::Lost,
                });
                match told {
                    Told::Known(reply) => return Some(reply),
                    Told::Lost => return None,
                    Told::NotYet => notified.await,
                }
            }
        };
        tokio::time::timeout(limit, taken).await.ok().flatten()
    }
}

/// What a connection takes along: see the module's text. Dropped without being asked, it tells that the answers are
/// lost.
#[derive(Debug)]
pub struct Left {
    memory: Weak<Memory>,
    numbers: Numbers,
    /// The user variables that are asked for.
    names: Vec<UserVariableName>,
}

impl Left {
    /// The session will find in `memory` what the connection knows about these statements.
    #[must_use]
    pub fn new(memory: &Arc<Memory>, numbers: Numbers, names: Vec<UserVariableName>) -> Self {
        for ((fact, _), number) in FACTS.iter().zip(numbers) {
            if number != 0 {
                memory.expect(*fact, number);
            }
        }
        Self { memory: Arc::downgrade(memory), numbers, names }
    }

    /// Is it of the session with this memory?
    #[must_use]
    pub fn is_of(&self, memory: &Arc<Memory>) -> bool {
        std::ptr::eq(self.memory.as_ptr(), Arc::as_ptr(memory))
    }

    /// Does the connection know this?
    #[must_use]
    pub fn knows(&self, memory: &Arc<Memory>, fact: Fact, number: u64) -> bool {
        let here = FACTS.iter().zip(self.numbers).any(|((f, _), n)| *f == fact && n == number);
        here && self.is_of(memory)
    }

    /// The session has the connection again: nobody has to be told anything. Returns the statements it knows about.
    #[must_use]
    pub(crate) fn withdraw(mut self) -> Numbers {
        std::mem::take(&mut self.numbers)
    }

    /// Could anybody still ask?
    pub(crate) fn is_wanted(&self) -> bool {
        let Some(memory) = self.memory.upgrade() else { return false };
        FACTS.iter().zip(self.numbers).any(|((fact, _), number)| number != 0 && memory.wants(*fact, number))
    }

    /// Writes the questions that somebody still needs answered. `attributes`: the connection has negotiated query
    /// attributes.
    pub(crate) fn ask(self, attributes: bool, out: &mut Vec<u8>) -> Questions {
        let mut asked = [None; FACTS.len()];
        if let Some(memory) = self.memory.upgrade() {
            for ((slot, (fact, text)), number) in asked.iter_mut().zip(FACTS).zip(self.numbers) {
                if number != 0 && memory.wants(fact, number) {
                    *slot = Some(fact);
                    packet_with(out, 0, |w| {
                        w.bytes(query_head(attributes)).bytes(text);
                        if fact == Fact::UserVariables {
                            w.bytes(&user_variable::columns(&self.names));
                        }
                    });
                }
            }
        }
        Questions { left: self, asked }
    }

    fn tell(&self, fact: Fact, told: Told) {
        let number = FACTS.iter().zip(self.numbers).find(|((f, _), _)| *f == fact).map_or(0, |(_, n)| n);
        if let (Some(memory), true) = (self.memory.upgrade(), number != 0) {
            memory.tell(fact, number, told);
        }
    }
}

impl Drop for Left {
    fn drop(&mut self) {
        let Some(memory) = self.memory.upgrade() else { return };
        for ((fact, _), number) in FACTS.iter().zip(self.numbers) {
            if number != 0 && memory.wants(*fact, number) {
                memory.tell(*fact, number, Told::Lost);
            }
        }
    }
}

/// Questions that were sent, and whose answers come before any other.
#[derive(Debug)]
#[must_use = "their answers come first"]
pub struct Questions {
    left: Left,
    asked: [Option<Fact>; FACTS.len()],
}

impl Questions {
    pub(crate) fn is_empty(&self) -> bool {
        self.asked.iter().all(Option::is_none)
    }

    /// Facts in the order of their answers.
    pub(crate) fn facts(&self) -> impl Iterator<Item = Fact> + use<> {
        self.asked.into_iter().flatten()
    }

    /// The user variables that were asked for.
    pub(crate) fn names(&self) -> &[UserVariableName] {
        &self.left.names
    }

    /// The connection answered.
    pub(crate) fn answered(&self, fact: Fact, reply: Reply) {
        self.left.tell(fact, Told::Known(reply));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use weir_wire::response_end::Summary;

    const LONG: Duration = Duration::from_secs(5);

    fn left(memory: &Arc<Memory>, numbers: Numbers) -> Left {
        Left::new(memory, numbers, Vec::new())
    }

    fn reply(bytes: &[u8]) -> Reply {
        Reply { bytes: bytes.to_vec(), summary: Summary::default(), tracked: Vec::new() }
    }

    #[test]
    fn only_what_can_still_be_asked_for_is_asked() {
        let memory = Arc::new(Memory::default());
        let left = left(&memory, [7, 0, 5, 0]);
        memory.forget(Fact::Conditions);
        let mut out = Vec::new();
        let questions = left.ask(false, &mut out);
        assert_eq!(questions.facts().collect::<Vec<_>>(), [Fact::InsertId]);
        assert!(out.ends_with(b"SELECT LAST_INSERT_ID()"));
        drop(memory);
        assert!(!questions.left.is_wanted());
    }

    #[test]
    fn user_variables_are_asked_for_by_name() {
        let memory = Arc::new(Memory::default());
        let names = vec![UserVariableName::from(*b"a")];
        let mut out = Vec::new();
        let questions = Left::new(&memory, [0, 0, 5, 6], names).ask(false, &mut out);
        assert_eq!(questions.facts().collect::<Vec<_>>(), [Fact::InsertId, Fact::UserVariables]);
        assert!(out.ends_with(b"SELECT @`a`,HEX(@`a`),COLLATION(@`a`)"));
    }

    #[test]
    fn a_newer_statement_makes_an_older_connection_silent() {
        let memory = Arc::new(Memory::default());
        let old = left(&memory, [0, 0, 5, 0]);
        let new = left(&memory, [0, 0, 9, 0]);
        assert!(!old.is_wanted());
        assert!(new.is_wanted());
        drop(old);
        assert!(!memory.was_told(Fact::InsertId, 9));
    }

    #[tokio::test]
    async fn who_waits_is_told_when_the_connection_is_asked() {
        let memory = Arc::new(Memory::default());
        let questions = left(&memory, [3, 0, 0, 0]).ask(false, &mut Vec::new());
        let waiting = memory.take(Fact::Conditions, 3, LONG);
        let asking = async {
            tokio::task::yield_now().await;
            questions.answered(Fact::Conditions, reply(b"rows"));
        };
        let (taken, ()) = tokio::join!(waiting, asking);
        assert_eq!(taken.map(|r| r.bytes), Some(b"rows".to_vec()));
    }

    #[tokio::test]
    async fn a_session_that_has_its_connection_again_has_lost_nothing() {
        let memory = Arc::new(Memory::default());
        assert_eq!(left(&memory, [3, 0, 4, 0]).withdraw(), [3, 0, 4, 0]);
        assert!(!memory.was_told(Fact::InsertId, 4));
        let again = left(&memory, [3, 0, 4, 0]);
        assert!(again.is_wanted());
    }

    #[tokio::test]
    async fn a_connection_that_ends_unasked_leaves_no_one_waiting() {
        let memory = Arc::new(Memory::default());
        let left = left(&memory, [3, 0, 4, 0]);
        assert!(left.knows(&memory, Fact::InsertId, 4));
        assert!(!left.knows(&memory, Fact::InsertId, 3));
        drop(left);
        assert!(memory.take(Fact::Conditions, 3, LONG).await.is_none());
        assert!(memory.take(Fact::InsertId, 4, LONG).await.is_none());
    }
}
