//! A transaction that was begun and not used has no server: Weir answers its BEGIN, and the first statement, which takes
//! it along, chooses one. A COMMIT that comes first is answered, too, and SET TRANSACTION, which waits for the same.
//!
//! Only what a server would answer in one way is answered here: all else goes to one.

use weir_backend::{Begin, Isolation, Mode, Opening, state};
use weir_plan::Target;
use weir_sql::{Effects, Statement, TransactionStep};
use weir_wire::{
    capability::Status,
    response::{Record, TrackedVariables},
};

use crate::{answer, error::SessionError};

use super::Session;

/// Longer texts are not looked at, bytes.
const LONGEST: usize = 1 << 10;

/// A step that needs no server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Begin(Begin),
    /// SET TRANSACTION, for the next one.
    Next(Opening),
    /// COMMIT or ROLLBACK of a transaction in which nothing was done.
    End,
}

impl Session {
    /// The step that the text is, if Weir may answer it.
    pub(super) fn own_step(&self, statement: &Statement, text: &[u8]) -> Option<Step> {
        let is_set = statement.effects.contains(Effects::NEXT_TRANSACTION);
        if (statement.transaction == TransactionStep::None && !is_set) || self.held.is_some() {
            return None;
        }
        let allowed = Effects::LIFTS_READ_ONLY | Effects::NEXT_TRANSACTION;
        if statement.statements != 1 || !allowed.contains(statement.effects) {
            return None;
        }
        let begun = self.opening.begin.is_some();
        let wish = self.wish.as_deref();
        let step = step_of(text).filter(|_| wish.is_none_or(|wish| says_nothing(&wish.variables)))?;
        let possible = match step {
            // a second one is the servers': on MySQL it goes on reading if the first only reads
            Step::Begin(_) | Step::Next(_) => !self.in_transaction && self.pins.is_empty(),
            Step::End => begun && self.ends_plainly(),
        };
        possible.then_some(step)
    }

    /// Does COMMIT do nothing but that?
    fn ends_plainly(&self) -> bool {
        let value = self.wanted.as_ref().map(|wanted| wanted.primary.value(state::COMPLETION_TYPE));
        value.is_some_and(|value| value.eq_ignore_ascii_case(b"NO_CHAIN"))
    }

    /// Answers a step. `target`: where a transaction that begins is to run, unless its first statement speaks against it.
    pub(super) async fn take_step(&mut self, step: Step, target: Target) -> Result<(), SessionError> {
        let before = self.opening;
        let next = match step {
            Step::Begin(begin) => Opening { begin: Some(begin), ..before },
            Step::Next(said) => Opening {
                isolation: said.isolation.or(before.isolation),
                mode: said.mode.or(before.mode),
                begin: None,
            },
            Step::End => Opening::default(),
        };
        let begin = next.begin;
        self.opening = next;
        self.begun_on = target;
        self.in_transaction = begin.is_some();
        self.status.set(Status::IN_TRANS, begin.is_some());
        self.status.set(Status::IN_TRANS_READONLY, begin.is_some_and(|begin| self.only_reads(begin)));
        self.answered_statement_here();
        let open: &[u8] = if begin.is_some() { b"T_______" } else { b"________" };
        let text = self.opening.characteristics();
        let told = [Record::TransactionState(open), Record::TransactionCharacteristics(text.as_bytes())];
        let told = told.get(usize::from(before.begin == begin)..).unwrap_or_default();
        let mut records = Vec::new();
        for record in told.iter().filter(|record| self.wish.as_ref().is_some_and(|w| w.wants(record))) {
            record.write(&mut records);
        }
        let mut out = self.worker.buffer();
        answer::ok_with_records(&mut out, 1, self.client.flags, self.status, &records);
        let written = self.client.write(&out).await;
        self.worker.recycle(out);
        Ok(written?)
    }

    fn only_reads(&self, begin: Begin) -> bool {
        match begin {
            Begin::As(mode) => mode == Mode::ReadOnly,
            Begin::Plain => match self.opening.mode {
                Some(mode) => mode == Mode::ReadOnly,
                None => {
                    let wanted = self.wanted.as_ref();
                    wanted.is_some_and(|wanted| wanted.primary.is_on(state::TRANSACTION_READ_ONLY))
                }
            },
        }
    }

    /// Where a command goes that may run anywhere within the session's transaction.
    pub(super) fn target_of_transaction(&self) -> Target {
        if self.opening.begin.is_some() { self.begun_on } else { Target::Primary }
    }
}

/// Do the trackers of these variables tell nothing of a transaction that begins?
fn says_nothing(variables: &TrackedVariables) -> bool {
    match variables {
        TrackedVariables::None => true,
        TrackedVariables::All => false,
        TrackedVariables::Only(names) => {
            !names.iter().any(|name| matches!(&**name, b"statement_id" | b"in_transaction"))
        }
    }
}

/// A text that every server takes for the same step, whatever it is set to.
fn step_of(text: &[u8]) -> Option<Step> {
    let words = words(text)?;
    Some(match words.as_slice() {
        b"begin" | b"begin work" | b"start transaction" => Step::Begin(Begin::Plain),
        b"start transaction read only" => Step::Begin(Begin::As(Mode::ReadOnly)),
        b"start transaction read write" => Step::Begin(Begin::As(Mode::ReadWrite)),
        b"commit" | b"commit work" | b"rollback" | b"rollback work" => Step::End,
        words => Step::Next(next_of(words.strip_prefix(b"set transaction ")?)?),
    })
}

/// One characteristic, or one of each kind.
fn next_of(words: &[u8]) -> Option<Opening> {
    let mut said = Opening::default();
    for part in words.split(|b| *b == b',') {
        let isolation = match part.trim_ascii() {
            b"isolation level read uncommitted" => Isolation::ReadUncommitted,
            b"isolation level read committed" => Isolation::ReadCommitted,
            b"isolation level repeatable read" => Isolation::RepeatableRead,
            b"isolation level serializable" => Isolation::Serializable,
            mode => {
                let mode = match mode {
                    b"read only" => Mode::ReadOnly,
                    b"read write" => Mode::ReadWrite,
                    _ => return None,
                };
                if said.mode.replace(mode).is_some() {
                    return None;
                }
                continue;
            }
        };
        if said.isolation.replace(isolation).is_some() {
            return None;
        }
    }
    Some(said)
}

/// The words in lower case with one blank between them, without comments and without a semicolon at the end. `None` for
/// what may be more than that: a comment that a server executes, a hint.
fn words(text: &[u8]) -> Option<Vec<u8>> {
    let mut rest = text.trim_ascii();
    if rest.len() > LONGEST {
        return None;
    }
    rest = rest.strip_suffix(b";").unwrap_or(rest);
    let mut out = Vec::with_capacity(32);
    loop {
        rest = rest.trim_ascii_start();
        if let Some(comment) = rest.strip_prefix(b"/*") {
            let kind = comment.first().copied().unwrap_or_default();
            let end = memchr::memmem::find(comment, b"*/").filter(|_| !matches!(kind, b'!' | b'M' | b'+'))?;
            rest = comment.get(end + 2..).unwrap_or_default();
            continue;
        }
        let len = match rest.first() {
            Some(b',') => 1,
            _ => rest.iter().take_while(|b| b.is_ascii_alphabetic()).count(),
        };
        let (word, behind) = rest.split_at_checked(len)?;
        if word.is_empty() {
            return rest.is_empty().then_some(out);
        }
        if !out.is_empty() {
            out.push(b' ');
        }
        out.extend(word.iter().map(u8::to_ascii_lowercase));
        rest = behind;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn next(isolation: Option<Isolation>, mode: Option<Mode>) -> Option<Step> {
        Some(Step::Next(Opening { isolation, mode, begin: None }))
    }

    #[test]
    fn a_step_is_known_however_it_is_written() {
        for (text, step) in [
            (&b"BEGIN"[..], Some(Step::Begin(Begin::Plain))),
            (b" begin ; ", Some(Step::Begin(Begin::Plain))),
            (b"BEGIN\n\tWORK", Some(Step::Begin(Begin::Plain))),
            (b"Start /* of it */ Transaction", Some(Step::Begin(Begin::Plain))),
            (b"/* app:shop */START/**/TRANSACTION/* \xC3\xA4 */", Some(Step::Begin(Begin::Plain))),
            (b"START TRANSACTION READ ONLY;", Some(Step::Begin(Begin::As(Mode::ReadOnly)))),
            (b"start transaction read write", Some(Step::Begin(Begin::As(Mode::ReadWrite)))),
            (b"SET TRANSACTION READ ONLY", next(None, Some(Mode::ReadOnly))),
            (b"set transaction isolation level serializable", next(Some(Isolation::Serializable), None)),
            (
                b"SET TRANSACTION ISOLATION LEVEL READ COMMITTED,READ WRITE;",
                next(Some(Isolation::ReadCommitted), Some(Mode::ReadWrite)),
            ),
            (
                b"SET TRANSACTION READ ONLY /* and */ , ISOLATION LEVEL REPEATABLE READ",
                next(Some(Isolation::RepeatableRead), Some(Mode::ReadOnly)),
            ),
            (b"COMMIT", Some(Step::End)),
            (b"rollback work", Some(Step::End)),
        ] {
            assert_eq!(step_of(text), step, "{}", text.escape_ascii());
        }
    }

    #[test]
    fn what_may_be_more_than_a_step_is_none() {
        for text in [
            &b""[..],
            b"BEGIN NOT ATOMIC",
            b"BEGINWORK",
            b"BEGIN WORK WORK",
            b"START TRANSACTION WITH CONSISTENT SNAPSHOT",
            b"START TRANSACTION READ ONLY, WITH CONSISTENT SNAPSHOT",
            b"START TRANSACTION READ",
            b"SET TRANSACTION",
            b"SET TRANSACTION READ ONLY, READ WRITE",
            b"SET TRANSACTION READ ONLY,",
            b"SET TRANSACTION ISOLATION LEVEL READ",
            b"SET TRANSACTION ISOLATION LEVEL SERIALIZABLE, ISOLATION LEVEL SERIALIZABLE",
            b"SET SESSION TRANSACTION READ ONLY",
            b"SET LOCAL TRANSACTION READ ONLY",
            b"START TRANSACTION /*! READ ONLY */",
            b"START TRANSACTION /*M! READ ONLY */",
            b"BEGIN /* open",
            b"BEGIN; SELECT 1",
            b"BEGIN ;;",
            b"BEGIN -- a comment",
            b"BEGIN \xA0",
            b"COMMIT AND CHAIN",
            b"COMMIT RELEASE",
            b"ROLLBACK TO a",
            b"SELECT 1",
        ] {
            assert_eq!(step_of(text), None, "{}", text.escape_ascii());
        }
        assert_eq!(step_of(&[b"BEGIN /*", " ".repeat(LONGEST).as_bytes(), b"*/"].concat()), None);
    }
}
