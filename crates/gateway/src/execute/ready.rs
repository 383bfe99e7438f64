//! Makes a connection ready for a statement of the session: its state, its prepared statement.

use std::sync::Arc;

use weir_backend::{
    ConnectionError, Definition, Goal, Opening,
    state::{State, Transition},
};
use weir_plan::Target;
use weir_sql::{Effects, Statement};
use weir_wire::{command::com, error_code, framer::HEADER_LEN, query_attributes, response_end::Expect};

use super::Job;
use crate::{
    metrics::bump,
    session::{Held, Session, TRACKERS, USES_TEXTS, has_tracker, may_go_together, only_sets_rights},
};

/// A state that is set in the same write as the statement.
#[derive(Debug)]
pub(super) struct Ahead {
    pub(super) by: By,
    pub(super) transition: Transition,
    pub(super) goal: Goal,
}

/// How it is set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum By {
    /// By statements in the packet of the job's own text.
    Statements,
    /// By a command before the job's, which the server is known to accept.
    Command,
}

/// How a connection is given the session's state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Packing {
    /// By statements before the job's own, in the same packet, if that is safe.
    Together,
    /// By commands of their own, whose answers are awaited.
    Apart,
}

impl Session {
    /// Nothing to do in the usual case. `fresh`: the connection was not the session's own before. Gives the state that
    /// is to be set in the packet of the statement itself.
    pub(super) async fn make_ready(
        &mut self,
        held: &mut Held,
        job: &Job<'_>,
        fresh: bool,
        packing: Packing,
    ) -> Result<Option<Box<Ahead>>, ConnectionError> {
        if fresh && self.would_see_traces(held, job.statement) {
            bump(&self.tenant.counters(self.worker.id).state_round_trips, 1);
            self.leave(held);
            Box::pin(held.checkout.prepare_for_use(true)).await?;
            // what the session had assigned on it is gone from it, and was told before
            Box::pin(self.learn_user_variables()).await?;
        }
        let Some(wanted) = &self.wanted else { return Ok(None) };
        let state = match held.target {
            Target::Primary => &wanted.primary,
            Target::Replica => &wanted.replica,
        };
        let sets_rights = fresh && only_sets_rights(job.statement);
        let kept = sets_rights.then(|| self.wanted_before(held, job.statement, state));
        let state = kept.as_ref().unwrap_or(state);
        let mut ahead = None;
        let suits =
            |held: &Held| Arc::ptr_eq(held.checkout.state(), state) && self.user_variables.are_on(held);
        let mut texts = match job.statement.effects.intersects(USES_TEXTS) {
            true => self.texts_missing(held, job.statement),
            false => Vec::new(),
        };
        let at_statement = if fresh { state } else { held.checkout.state() };
        let packing = match may_go_together(&texts, job.statement, at_statement) || texts.is_empty() {
            true => packing,
            false => Packing::Apart,
        };
        // a statement is prepared before the transaction in which it runs
        let preparing = job.prepared.filter(|p| held.checkout.prepared.id(p.definition).is_none());
        let mut opens_later = preparing.is_some() || packing == Packing::Apart && !texts.is_empty();
        let whole = self.opening_for(job);
        let opening = if opens_later { Opening::default() } else { whole };
        if fresh && (!opening.is_nothing() || !suits(held)) {
            let goal = self.user_variables.goal(state);
            let mut transition = held.checkout.transition_to(&goal).opening(opening);
            transition.texts = std::mem::take(&mut texts);
            let by = way(held, job, &transition, self.class.query_attributes);
            if let (Packing::Together, Some(by)) = (packing, by) {
                ahead = Some(Box::new(Ahead { by, transition, goal }));
            } else {
                texts = std::mem::take(&mut transition.texts);
                if !texts.is_empty() {
                    transition.opening = Opening::default();
                    opens_later = true;
                }
                if transition.commands() > 0 {
                    bump(&self.tenant.counters(self.worker.id).state_round_trips, 1);
                }
                // a BEGIN is the session's own: it leaves what the connection knows of the statement before as it does
                if transition.changes() > 0 {
                    self.leave(held);
                }
                Box::pin(held.checkout.go_to(&transition, &goal)).await?;
            }
        } else if packing == Packing::Together && !texts.is_empty() {
            let goal = goal(held.checkout.state());
            let transition = Transition::of_texts(texts);
            texts = Vec::new();
            match way(held, job, &transition, self.class.query_attributes) {
                Some(by) => ahead = Some(Box::new(Ahead { by, transition, goal })),
                None => texts = transition.texts,
            }
        }
        if !texts.is_empty() {
            Box::pin(self.give_texts(held, job.statement, texts)).await?;
        }
        if let Some(prepared) = preparing {
            self.leave(held);
            Box::pin(self.prepare_there(held, prepared.definition)).await?;
        }
        if fresh && opens_later && !whole.is_nothing() {
            bump(&self.tenant.counters(self.worker.id).state_round_trips, 1);
            let goal = goal(held.checkout.state());
            let transition = held.checkout.transition_to(&goal).opening(whole);
            Box::pin(held.checkout.go_to(&transition, &goal)).await?;
        }
        if job.statement.effects.intersects(ASKS) {
            Box::pin(self.restore_diagnostics(held, job)).await?;
        }
        if job.statement.effects.contains(Effects::VIRTUAL_VARIABLE) {
            self.leave(held);
            Box::pin(self.lend_virtuals(held, job)).await?;
        }
        let database = held.checkout.state().database();
        if needs_own_id(job.statement, database) && !held.id_lent {
            self.leave(held);
            Box::pin(self.lend_id(held)).await?;
        }
        Ok(ahead)
    }

    /// What a server must be told of the session's transaction before the job. What was only set for one that was not begun
    /// is nothing to commands that use none.
    fn opening_for(&self, job: &Job<'_>) -> Opening {
        match self.opening.begin.is_some() || job.expect == Expect::Results {
            true => self.opening,
            false => Opening::default(),
        }
    }

    /// CONNECTION_ID() is what `pseudo_thread_id` says, on both servers: the client's id, until the connection is reset,
    /// before anybody else gets it.
    async fn lend_id(&self, held: &mut Held) -> Result<(), ConnectionError> {
        match held.checkout.query(&format!("SET SESSION pseudo_thread_id={}", self.handle.id)).await {
            Ok(_) => {
                held.id_lent = true;
                held.checkout.mark_dirty();
                Ok(())
            }
            // an account without the privilege: the statement sees the server's own id
            Err(ConnectionError::Server { code, text }) => {
                tracing::debug!(number = code.number, text, "pseudo_thread_id cannot be set");
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    /// Prepares a statement on a connection that does not have it, in the state in which the client prepared it.
    async fn prepare_there(
        &self,
        held: &mut Held,
        definition: &Arc<Definition>,
    ) -> Result<(), ConnectionError> {
        bump(&self.tenant.counters(self.worker.id).state_round_trips, 1);
        let now = Arc::clone(held.checkout.state());
        let then = now.preparing_as(&definition.state);
        let changes = then != *now;
        if changes {
            held.checkout.become_state(&goal(&self.gateway.share(then))).await?;
        }
        let mut payload = Vec::with_capacity(definition.text.len() + 1);
        payload.push(com::STMT_PREPARE);
        payload.extend_from_slice(&definition.text);
        let mut reply = held.checkout.command(&payload, Expect::Prepare).await;
        if let Err(ConnectionError::Server { code: error_code::MAX_PREPARED_STMT_COUNT_REACHED, .. }) = reply
        {
            self.make_room_on(held).await;
            reply = held.checkout.command(&payload, Expect::Prepare).await;
        }
        if changes {
            held.checkout.become_state(&goal(&now)).await?;
        }
        if let Some(prepared) = reply?.summary.prepared {
            held.checkout.prepared.add(definition, prepared.statement);
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

/// Needs to be told of the statement before: other statements on the connection would come between.
const ASKS: Effects = Effects::READS_LAST_INSERT_ID
    .union(Effects::READS_DIAGNOSTICS)
    .union(Effects::CALL)
    .union(Effects::TEXT_EXECUTE);

/// What the state is set for must not see that something ran before it.
const APART: Effects = ASKS
    .union(Effects::READS_ROW_COUNT)
    .union(Effects::READS_FOUND_ROWS)
    .union(Effects::KEEPS_DIAGNOSTICS)
    .union(Effects::VIRTUAL_VARIABLE)
    .union(Effects::PROFILING)
    .union(Effects::LOCAL_INFILE)
    .union(Effects::UNREADABLE);

/// Can the session's state be set in the same write as the statement, and how?
fn way(held: &Held, job: &Job<'_>, transition: &Transition, attributes: bool) -> Option<By> {
    if transition.commands() == 0 || job.statement.effects.intersects(APART) {
        return None;
    }
    if may_go_ahead(job, transition, attributes) {
        return Some(By::Statements);
    }
    may_be_commanded(held, job, transition).then_some(By::Command)
}

/// May statements that set the session's state stand before the job's own, in one packet? Such a packet stops at the
/// first that is refused, so that the job's never runs in a wrong state. It must be one statement whatever the server
/// takes for a semicolon, since several would be executed.
fn may_go_ahead(job: &Job<'_>, transition: &Transition, attributes: bool) -> bool {
    job.prepared.is_none()
        && job.expect == Expect::Results
        && job.packet.len() < LONGEST_AHEAD
        && transition.is_plain()
        && text_of(job.packet, attributes)
            .is_some_and(|(_, text)| !has_semicolon(text) && (!transition.recodes || text.is_ascii()))
}

/// May a SET be sent before the execution of a prepared statement, without waiting for its answer? Commands are
/// independent of each other: the server must be certain to accept it.
fn may_be_commanded(held: &Held, job: &Job<'_>, transition: &Transition) -> bool {
    job.prepared.is_some_and(|prepared| held.checkout.prepared.has(prepared.definition))
        && held.checkout.server().accepted.are_all(transition)
}

/// Longer texts are not copied behind others, bytes.
const LONGEST_AHEAD: usize = 64 << 10;

/// A COM_QUERY: what stands before its text, and the text. `attributes`: the connection has negotiated query attributes.
pub(super) fn text_of(packet: &[u8], attributes: bool) -> Option<(&[u8], &[u8])> {
    let payload = packet.get(HEADER_LEN..).filter(|payload| payload.first() == Some(&com::QUERY))?;
    let at = if attributes { query_attributes::text_at(payload).ok()? } else { 1 };
    payload.split_at_checked(at)
}

/// Could the server find several statements in it? Both servers take semicolons and spaces off the end.
pub(super) fn has_semicolon(text: &[u8]) -> bool {
    let end =
        text.iter().rposition(|b| !matches!(b, b';' | b' ' | b'\t' | b'\n' | b'\r')).map_or(0, |at| at + 1);
    memchr::memchr(b';', text.get(..end).unwrap_or_default()).is_some()
}

/// A state, with the user variables as they are.
fn goal(state: &Arc<State>) -> Goal {
    Goal { state: Arc::clone(state), user: None }
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

/// Does the statement see its connection's id? Beside IS_USED_LOCK() and the tables in which a server lists its threads it
/// is the server's own: they know no other.
fn needs_own_id(statement: &Statement, database: Option<&[u8]>) -> bool {
    let not_its_own = Effects::SHOW_PROCESSLIST | Effects::USER_LOCK_OTHER;
    let lists_threads = |name: &[u8]| {
        [&b"performance_schema"[..], b"information_schema", b"sys"]
            .iter()
            .any(|d| name.eq_ignore_ascii_case(d))
    };
    statement.effects.contains(Effects::READS_CONNECTION_ID)
        && !statement.effects.intersects(not_its_own)
        && !statement.databases().chain(database).any(lists_threads)
}
