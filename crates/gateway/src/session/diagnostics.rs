//! What a session may ask about its statement before: LAST_INSERT_ID(), ROW_COUNT(), FOUND_ROWS(), warnings.
//!
//! The server keeps these with the connection, and the next statement there may be another session's. So a connection
//! that is given back takes along what it knows (see `weir_backend::Left`), and tells it before it forgets. When the
//! session asks, the same connection answers if it is idle and nobody used it since; else the connection that answers
//! is told first, or Weir answers from what it was told. What cannot be told to a connection gives an error, never
//! another session's answer.

mod conditions;
mod get;
mod own;
mod put_in;
mod question;

use std::sync::Arc;

use weir_backend::{Checkout, ConnectionError, Fact, Memory, Numbers, PerFact, Pool, Reply, user_variable};
use weir_plan::Target;
use weir_sql::{Effects, Kind, Statement};
use weir_wire::{framer::first_packet, response::ErrPacket, response_end::Summary, server_version::Flavour};

use crate::{
    error::{Refused, SessionError},
    execute::{Answer, Job},
};

use super::{Held, Session};
use conditions::Conditions;
pub(super) use own::OwnAnswer;
pub(super) use put_in::PutIn;
pub(crate) use question::Row;
pub(super) use question::{ANSWERED_HERE, Asked};

/// After it a connection has no warnings and no error. On MariaDB only a statement that uses a table clears them.
const CLEARS_CONDITIONS: &str = "DO (SELECT COUNT(*) FROM (SELECT 1) t)";

/// See the module's text.
#[derive(Debug, Default)]
pub(crate) struct Diagnostics {
    /// LAST_INSERT_ID() of the session.
    insert_id: Known<u64>,
    found_rows: Known<u64>,
    /// Number of the statement that set FOUND_ROWS() last.
    found_at: u32,
    /// Warnings and error of the last statement that does not keep those before it.
    conditions: Known<Conditions>,
    row_count: i64,
    /// Values of the session's [`UserVariables`](super::UserVariables) that it assigned and that were not read.
    user_variables: Known<()>,
    /// A command after the last statement that no connection has seen.
    own_answer: Option<OwnAnswer>,
    /// A statement was prepared since: the connection may have been asked before, which it takes for the last one.
    prepared_since: bool,
    /// Counts the session's statements.
    number: u32,
    /// What connections tell.
    memory: Option<Arc<Memory>>,
}

/// Something about the statements before.
#[derive(Debug)]
enum Known<T> {
    Here(T),
    /// The connection that ran this statement knows.
    At(u32),
    /// That connection ended, or went on without being asked.
    Lost,
}

impl<T: Default> Default for Known<T> {
    fn default() -> Self {
        Self::Here(T::default())
    }
}

impl<T> Known<T> {
    fn at(&self) -> Option<u32> {
        match self {
            Self::At(number) => Some(*number),
            Self::Here(_) | Self::Lost => None,
        }
    }
}

impl Diagnostics {
    /// A statement was answered. `alone`: on a connection that will run the session's next statement, or that can be
    /// asked before it runs anything else.
    fn note(&mut self, statement: &Statement, answer: &Answer, alone: bool, flavour: Flavour) {
        let summary = &answer.summary;
        let failed = summary.error.is_some();
        let now = if alone { Known::At(self.number) } else { Known::Lost };
        let may_set = Effects::SETS_LAST_INSERT_ID | Effects::CALL | Effects::TEXT_EXECUTE;
        let failed_insert = failed && matches!(statement.kind, Kind::Insert | Kind::Replace | Kind::Load);
        let assigned =
            statement.assigned_variables().any(|name| matches!(name, b"last_insert_id" | b"identity"));
        if summary.last_insert_id != 0 || failed_insert || statement.effects.intersects(may_set) || assigned {
            self.insert_id = Known::At(self.number);
        }
        let is_ok = !failed && !summary.has_rows;
        if statement.effects.contains(Effects::KEEPS_DIAGNOSTICS) || is_prepare(statement) {
            if !is_ok && (failed || !is_prepare(statement)) {
                self.row_count = -1;
            }
            if is_prepare(statement) {
                self.conditions = if failed || summary.warnings > 0 { now } else { Known::default() };
            }
            return;
        }
        self.row_count = if is_ok { i64::try_from(summary.affected_rows).unwrap_or(i64::MAX) } else { -1 };
        self.conditions = match (failed, summary.warnings) {
            (false, 0) => Known::default(),
            (true, _) if !alone => Known::Here(only_error(answer)),
            _ => now,
        };
        self.note_found_rows(statement, summary, flavour);
    }

    /// As measured on both servers; tests ask them.
    fn note_found_rows(&mut self, statement: &Statement, summary: &Summary, flavour: Flavour) {
        let known = match statement.kind {
            _ if statement.statements != 1 || statement.effects.intersects(MAY_SELECT) => None,
            _ if summary.error.is_some() => return,
            Kind::Select if !summary.has_rows => None,
            Kind::Select if statement.effects.contains(Effects::CALC_FOUND_ROWS) => None,
            Kind::Select | Kind::Show => Some(summary.rows),
            Kind::Do if flavour == Flavour::MySql => Some(1),
            Kind::Explain if flavour == Flavour::MariaDb => Some(0),
            _ => return,
        };
        self.found_rows = known.map_or(Known::At(self.number), Known::Here);
        self.found_at = self.number;
    }

    /// Statements that only their connections know about.
    fn pending(&self) -> PerFact<Option<u32>> {
        [self.conditions.at(), self.found_rows.at(), self.insert_id.at(), self.user_variables.at()]
    }

    /// The same, those that this connection ran.
    fn unread(&self, held: &Held) -> PerFact<Option<u32>> {
        let mut pending = self.pending();
        for (at, before) in pending.iter_mut().zip(held.ran_before) {
            *at = at.filter(|number| is_after(*number, held.since) || *number == before);
        }
        pending
    }
}

/// Is it a COM_STMT_PREPARE? PREPARE as text is a statement as any.
fn is_prepare(statement: &Statement) -> bool {
    statement.kind == Kind::Prepare && !statement.effects.intersects(TEXT)
}

/// Numbers wrap.
fn is_after(number: u32, since: u32) -> bool {
    number != since && number.wrapping_sub(since) < u32::MAX / 2
}

/// The error of a short answer is in its packet.
fn only_error(answer: &Answer) -> Conditions {
    let payload = first_packet(&answer.rest).map(|(_, payload)| payload).unwrap_or_default();
    ErrPacket::parse(payload).map(|err| Conditions::only_error(&err)).unwrap_or_default()
}

/// PREPARE, EXECUTE and the like.
const TEXT: Effects = Effects::TEXT_PREPARE.union(Effects::TEXT_EXECUTE).union(Effects::KNOWN_TEXT);

/// Their text does not say whether they select.
const MAY_SELECT: Effects = Effects::CALL.union(Effects::TEXT_EXECUTE);

const FACTS: PerFact<Fact> = [Fact::Conditions, Fact::FoundRows, Fact::InsertId, Fact::UserVariables];

impl Session {
    /// A statement was answered on `held`.
    pub(super) fn note(&mut self, held: &mut Held, job: &Job<'_>, answer: &Answer) {
        let before = self.diagnostics.pending();
        self.diagnostics.own_answer = None;
        self.diagnostics.prepared_since = is_prepare(job.statement);
        self.diagnostics.number = self.diagnostics.number.wrapping_add(1).max(1);
        // statements of other sessions that were sent behind this one have wiped out what the connection knew
        let alone = !held.checkout.has_riders();
        let flavour = held.checkout.server().version.flavour;
        self.diagnostics.note(job.statement, answer, alone, flavour);
        if self.user_variables.note(held, job.statement) {
            self.diagnostics.user_variables = Known::At(self.diagnostics.number);
        }
        let after = self.diagnostics.pending();
        if let Some(memory) = &self.diagnostics.memory {
            for ((fact, before), after) in FACTS.into_iter().zip(before).zip(after) {
                if before.is_some() && before != after {
                    memory.forget(fact);
                }
            }
        }
        held.has_insert_id |= self.diagnostics.insert_id.at() == Some(self.diagnostics.number);
        held.checkout.set_last_statement(self.last_number());
    }

    /// A user variable is on the connection that the session runs on, and no text has named it.
    pub(super) fn found_user_variable(&mut self, held: &mut Held, name: &[u8]) {
        self.user_variables.found(held, name);
        self.diagnostics.user_variables = Known::At(self.diagnostics.number);
        if let Some(memory) = &self.diagnostics.memory {
            // what was told did not name it
            memory.forget(Fact::UserVariables);
        }
    }

    /// A statement never ran: the error with which it was refused is what the session may ask for.
    pub(crate) fn note_refused(&mut self, refused: &Refused) {
        let error = ErrPacket { code: refused.code, message: refused.message.as_bytes() };
        self.diagnostics.own_answer = None;
        self.diagnostics.prepared_since = false;
        self.diagnostics.number = self.diagnostics.number.wrapping_add(1).max(1);
        self.diagnostics.conditions = Known::Here(Conditions::only_error(&error));
        self.diagnostics.row_count = -1;
        if let Some(memory) = &self.diagnostics.memory {
            memory.forget(Fact::Conditions);
        }
    }

    /// A number for the statement that was just answered, different from those of all sessions.
    fn last_number(&self) -> u64 {
        self.global(self.diagnostics.number)
    }

    fn global(&self, number: u32) -> u64 {
        (u64::from(self.handle.id) << 32) | u64::from(number)
    }

    /// Did the session's last statement run on it, and nothing since?
    fn ran_last_on(&self, held: &Held) -> bool {
        self.diagnostics.number != 0 && held.checkout.last_statement() == self.last_number()
    }

    /// Before the connection runs anything but the session's statements, it is told what the session may still ask.
    pub(crate) fn leave(&mut self, held: &mut Held) {
        let unread = self.diagnostics.unread(held);
        if unread.iter().all(Option::is_none) || held.checkout.has_riders() {
            return;
        }
        let memory = Arc::clone(self.diagnostics.memory.get_or_insert_default());
        let mut numbers = Numbers::default();
        for ((number, fact), unread) in numbers.iter_mut().zip(FACTS).zip(unread) {
            *number = unread.map(|n| self.global(n)).filter(|n| !memory.was_told(fact, *n)).unwrap_or(0);
        }
        if numbers.iter().any(|n| *n != 0) {
            held.checkout.leave(&memory, numbers, self.user_variables.assigned.clone());
        }
    }

    /// Finds out what a connection knows about a statement before: the one in hand, an idle one, or one that another
    /// session has and will have asked.
    async fn learn(&mut self, fact: Fact, held: Option<&mut Held>) -> Result<(), ConnectionError> {
        let of = |list: PerFact<Option<u32>>| FACTS.into_iter().zip(list).find(|(f, _)| *f == fact)?.1;
        let Some(at) = of(self.diagnostics.pending()) else { return Ok(()) };
        let number = self.global(at);
        if let Some(held) = held.filter(|held| of(self.diagnostics.unread(held)) == Some(at)) {
            self.leave(held);
            held.checkout.flush_left().await?;
        }
        let memory = Arc::clone(self.diagnostics.memory.get_or_insert_default());
        if !memory.was_told(fact, number) {
            let tenant = Arc::clone(&self.tenant);
            for pool in tenant.pools() {
                if let Some(mut checkout) = pool.checkout_knowing(self.worker.id, &memory, fact, number) {
                    match checkout.flush_left().await {
                        Ok(()) => checkout.give_back(),
                        Err(error) => tracing::debug!(%error, "a connection ended before it was asked"),
                    }
                    break;
                }
            }
        }
        let reply = memory.take(fact, number, self.tenant.primary.settings().checkout_timeout).await;
        match fact {
            Fact::Conditions => {
                self.diagnostics.conditions =
                    reply.and_then(|r| Conditions::read(r).ok()).map_or(Known::Lost, Known::Here);
            }
            Fact::FoundRows => {
                self.diagnostics.found_rows =
                    reply.as_ref().and_then(number_in).map_or(Known::Lost, Known::Here);
            }
            Fact::InsertId => {
                self.diagnostics.insert_id =
                    reply.as_ref().and_then(number_in).map_or(Known::Lost, Known::Here);
            }
            Fact::UserVariables => {
                let names = &self.user_variables.assigned;
                let values = reply.and_then(|r| user_variable::read(names, &r).ok());
                self.diagnostics.user_variables = match values {
                    Some(values) => {
                        self.user_variables.learned(values);
                        Known::Here(())
                    }
                    None => Known::Lost,
                };
            }
        }
        Ok(())
    }

    /// The statement asks about the one before: if that one's connection is idle and untouched, it answers.
    fn return_to_last(&mut self) {
        if self.held.is_some() || self.diagnostics.number == 0 {
            return;
        }
        let number = self.last_number();
        self.return_to(|pool, worker| pool.checkout_after(worker, number));
    }

    /// User variables that the session assigned are on the connection it was on, or were told: a statement for a primary
    /// goes there if it is idle; else their values are read.
    ///
    /// # Errors
    /// That connection ended unasked, and the session's variables with it.
    pub(crate) async fn gather_user_variables(&mut self, target: Target) -> Result<(), SessionError> {
        if let (Known::At(at), Some(memory)) =
            (&self.diagnostics.user_variables, self.diagnostics.memory.clone())
            && target == Target::Primary
        {
            let number = self.global(*at);
            self.return_to(|pool, worker| {
                pool.checkout_knowing(worker, &memory, Fact::UserVariables, number)
            });
            if self.held.as_ref().is_some_and(|held| held.target == Target::Primary) {
                return Ok(());
            }
        }
        if let Some(held) = self.held.take() {
            self.let_go(held, false);
        }
        if let Err(error) = self.learn_user_variables().await {
            return Err(SessionError::Fatal(crate::error::lost(self.tenant.primary.instance(), &error)));
        }
        if self.user_variables.is_too_large() {
            self.begin_pins(super::pin::Pins::USER_VARIABLE);
        }
        Ok(())
    }

    /// Values of the user variables assigned last, which a connection has told or is about to tell.
    ///
    /// # Errors
    /// They are lost.
    pub(crate) async fn learn_user_variables(&mut self) -> Result<(), ConnectionError> {
        if self.user_variables.assigned.is_empty() {
            return Ok(());
        }
        self.learn(Fact::UserVariables, None).await?;
        match self.diagnostics.user_variables {
            Known::Lost => Err(ConnectionError::Closed),
            _ => Ok(()),
        }
    }

    /// The statement asks for LAST_INSERT_ID(): the connection that knows it is best, if nothing has to be changed on it.
    pub(crate) fn return_to_insert(&mut self) {
        let (None, Some(at), Some(memory)) =
            (&self.held, self.diagnostics.insert_id.at(), self.diagnostics.memory.clone())
        else {
            return;
        };
        let number = self.global(at);
        self.return_to(|pool, worker| pool.checkout_knowing(worker, &memory, Fact::InsertId, number));
        let fits = |held: &Held| {
            let wanted = self.wanted.as_ref();
            wanted.is_some_and(|w| held.checkout.matches(&w.primary, &self.user_variables.known))
        };
        if let Some(held) = self.held.take() {
            if fits(&held) {
                self.held = Some(held);
            } else {
                self.let_go(held, false);
            }
        }
    }

    fn return_to(&mut self, take: impl Fn(&Arc<Pool>, usize) -> Option<Checkout>) {
        let tenant = Arc::clone(&self.tenant);
        for pool in tenant.pools() {
            if let Some(checkout) = take(pool, self.worker.id) {
                let is_primary = Arc::ptr_eq(pool, &tenant.primary);
                let target = if is_primary { Target::Primary } else { Target::Replica };
                self.held = Some(Held { returned: true, ..self.hold(checkout, target) });
                return;
            }
        }
    }

    /// A connection from the pool, in the session's hands. One that it had before need not be asked what it knows.
    pub(crate) fn hold(&self, mut checkout: Checkout, target: Target) -> Held {
        let own = |memory| checkout.left().is_some_and(|left| left.is_of(memory));
        let ran_before = match &self.diagnostics.memory {
            #[allow(clippy::cast_possible_truncation, reason = "the session's own part of the number")]
            Some(memory) if own(memory) => checkout.take_left_back().map(|number| number as u32),
            _ => Default::default(),
        };
        let mut held = Held { ran_before, ..Held::new(checkout, target, self.diagnostics.number) };
        // the last statement may have had nothing to leave
        if held.checkout.last_statement() == self.last_number() && self.diagnostics.number != 0 {
            held.since = self.diagnostics.number.wrapping_sub(1);
        }
        let [_, _, insert_id, _] = self.diagnostics.unread(&held);
        held.has_insert_id = insert_id.is_some();
        held
    }

    /// Tells a connection that is not the session's last one what the statement asks for.
    pub(crate) async fn restore_diagnostics(
        &mut self,
        held: &mut Held,
        job: &Job<'_>,
    ) -> Result<(), ConnectionError> {
        let effects = job.statement.effects;
        if effects.intersects(Effects::READS_DIAGNOSTICS) && !self.ran_last_on(held) {
            self.learn(Fact::Conditions, Some(held)).await?;
            self.leave(held);
            let text = match &self.diagnostics.conditions {
                Known::Here(conditions) => conditions.signal(),
                Known::At(_) | Known::Lost => None,
            };
            match held.checkout.query(text.as_deref().unwrap_or(CLEARS_CONDITIONS)).await {
                Ok(_) | Err(ConnectionError::Server { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        let reads = Effects::READS_LAST_INSERT_ID | Effects::CALL | Effects::TEXT_EXECUTE;
        if effects.intersects(reads) && !held.has_insert_id {
            self.learn(Fact::InsertId, Some(held)).await?;
            let Known::Here(id) = self.diagnostics.insert_id else {
                let code = weir_wire::error_code::UNKNOWN;
                return Err(ConnectionError::Server { code, text: question::lost_text("LAST_INSERT_ID()") });
            };
            self.leave(held);
            held.checkout.query(&format!("SET LAST_INSERT_ID={id}")).await?;
            held.has_insert_id = true;
            self.restore_row_count(held, effects).await?;
        }
        Ok(())
    }

    /// A statement of Weir's own came between, after which ROW_COUNT() is 0.
    async fn restore_row_count(&self, held: &mut Held, effects: Effects) -> Result<(), ConnectionError> {
        match self.diagnostics.row_count {
            _ if !effects.contains(Effects::READS_ROW_COUNT) => Ok(()),
            0 => Ok(()),
            -1 if !effects.contains(Effects::READS_FOUND_ROWS) => {
                held.checkout.query("SELECT 1").await.map(|_| ())
            }
            _ => {
                let text = question::lost_text("ROW_COUNT() inside a larger statement");
                Err(ConnectionError::Server { code: weir_wire::error_code::UNKNOWN, text })
            }
        }
    }

    /// What the session asks is known, or an error says that it is not.
    pub(super) async fn known(&mut self, fact: Fact) -> Result<(), SessionError> {
        let mut held = self.held.take();
        let learned = self.learn(fact, held.as_mut()).await;
        match (learned, held) {
            (Ok(()), held) => {
                self.held = held;
                Ok(())
            }
            (Err(error), Some(held)) => Err(self.connection_lost(held, false, &error)),
            (Err(error), None) => Err(question::lost_answer(&error.to_string())),
        }
    }
}

fn number_in(reply: &Reply) -> Option<u64> {
    let rows = reply.rows().ok()?;
    let value = rows.first()?.first()?.as_deref()?;
    std::str::from_utf8(value).ok()?.parse().ok()
}
