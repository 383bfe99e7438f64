//! Statements that a session has prepared as text: PREPARE, EXECUTE and DEALLOCATE by name. They travel.
//!
//! The session keeps what each name stands for, with the state in which it was prepared; a connection is given the names
//! that a statement uses before it runs, and those of others are taken away. What a text does when it is executed is
//! understood when it is prepared: an EXECUTE is treated as the statement that it executes.
//!
//! What Weir does not know the text of stays on its connection: pin `text_prepare`.

use std::{collections::BTreeMap, sync::Arc};

use weir_backend::{
    Becomes, ConnectionError, Definition, Fact, Goal, TextChange, TextName, TextsOnServer,
    state::{State, Transition},
    user_variable,
};
use weir_sql::{Detail, Dialect, Effects, Kind, Source, Statement, analyze};

use super::{Held, Session, pin::Pins};
use crate::{
    error::{SessionError, lost},
    execute::{Answer, Job},
    metrics::bump,
};

/// A session with more of them keeps its connection.
const MOST_TEXTS: usize = 128;
/// The same by their length, bytes.
const LARGEST: usize = 256 << 10;
/// A connection on which more were prepared is reset before another session gets it.
pub(super) const MOST_ON_CONNECTION: usize = 128;

/// The names of a session, and what they stand for.
#[derive(Debug, Default)]
pub(crate) struct Texts {
    by_name: BTreeMap<TextName, Text>,
    /// Length of all texts, bytes.
    bytes: usize,
}

#[derive(Debug)]
struct Text {
    definition: Arc<Definition>,
    /// What executing it does.
    statement: Arc<Statement>,
}

impl Texts {
    fn remove(&mut self, name: &[u8]) {
        if let Some(text) = self.by_name.remove(name) {
            self.bytes -= text.definition.text.len();
        }
    }

    fn add(&mut self, name: &[u8], text: Text) {
        self.remove(name);
        self.bytes += text.definition.text.len();
        self.by_name.insert(name.into(), text);
    }

    /// Would it have too many with another of this length?
    fn is_full(&self, more: usize) -> bool {
        self.by_name.len() >= MOST_TEXTS || self.bytes + more > LARGEST
    }
}

/// What runs a text that cannot be understood by the text alone: it asks what only a connection knows, or is answered by
/// Weir.
const STAYS: Effects = Effects::READS_ROW_COUNT
    .union(Effects::READS_FOUND_ROWS)
    .union(Effects::READS_DIAGNOSTICS)
    .union(Effects::KEEPS_DIAGNOSTICS)
    .union(Effects::SHOW_DATABASES)
    .union(Effects::SHOW_PROCESSLIST)
    .union(Effects::KILL)
    .union(Effects::TEXT_PREPARE)
    .union(Effects::TEXT_EXECUTE)
    .union(Effects::UNREADABLE);

/// PREPARE, EXECUTE and the like, in statements that were not understood.
const NOT_UNDERSTOOD: Effects = Effects::TEXT_PREPARE.union(Effects::TEXT_EXECUTE);

/// What may use any name: such, and routines.
const ANY_NAME: Effects = Effects::CALL.union(NOT_UNDERSTOOD);

/// What may use names.
pub(crate) const USES_TEXTS: Effects = Effects::KNOWN_TEXT.union(ANY_NAME);

/// After these it is to be noted what the names stand for.
pub(super) const CHANGES_TEXTS: Effects = Effects::KNOWN_TEXT.union(NOT_UNDERSTOOD);

impl Session {
    /// Finds out what a PREPARE, EXECUTE or DEALLOCATE does. What it does not find out is left as it is: it pins.
    pub(super) async fn understand_text(&mut self, statement: &mut Statement) -> Result<(), SessionError> {
        let Some(wanted) = &self.wanted else { return Ok(()) };
        let dialect = wanted.dialect;
        // no connection can be given a text that has no default database, unless it has none itself
        let has_database = wanted.primary.database().is_some();
        let Some(mut detail) = statement.detail.take() else { return Ok(()) };
        let understood = match &mut *detail {
            Detail::Prepare { source, .. } => {
                self.find_value(source, &dialect).await?;
                match travels(source, &dialect) {
                    Some(text) if has_database => {
                        statement.prepares(&text);
                        true
                    }
                    _ => false,
                }
            }
            Detail::Immediate { source, using } => {
                self.find_value(source, &dialect).await?;
                match travels(source, &dialect) {
                    Some(text) => {
                        statement.executes(&text, *using);
                        true
                    }
                    None => false,
                }
            }
            Detail::Execute { name, using } => {
                let known = self.texts.as_ref().and_then(|texts| texts.by_name.get(name));
                match known {
                    Some(text) => {
                        statement.executes(&text.statement, *using);
                        true
                    }
                    // it does not exist, unless it is one that was not understood
                    None if !self.pins.intersects(Pins::TEXT_PREPARE | Pins::CALL) => {
                        statement.only_names_text();
                        true
                    }
                    None => false,
                }
            }
            Detail::Deallocate { .. } => {
                let known = !self.pins.intersects(Pins::TEXT_PREPARE | Pins::CALL);
                if known {
                    statement.only_names_text();
                }
                known
            }
            Detail::ResourceGroup { .. } => true,
        };
        // one that fails, whatever it says, has prepared nothing
        if understood || matches!(&*detail, Detail::Prepare { .. }) {
            statement.detail = Some(detail);
        }
        Ok(())
    }

    /// The text in a user variable, if its value is known exactly or can be asked for.
    async fn find_value(&mut self, source: &mut Source, dialect: &Dialect) -> Result<(), SessionError> {
        let Source::Variable(name) = source else { return Ok(()) };
        if self.user_variables.assigned.iter().any(|assigned| assigned == name) {
            self.known(Fact::UserVariables).await?;
        }
        let value = self.user_variables.known.get(name).and_then(|value| user_variable::ascii_text(value));
        if let Some(found) = value.and_then(|value| Source::of_text(&value, dialect)) {
            *source = found;
        }
        Ok(())
    }

    /// What has to become of the names on the connection before the statement runs.
    pub(crate) fn texts_missing(&self, held: &Held, statement: &Statement) -> Vec<TextChange> {
        let own = |name: &[u8]| self.texts.as_ref().and_then(|texts| texts.by_name.get(name));
        let change = |name: &TextName| {
            let there = &held.checkout.texts;
            let becomes = match own(name) {
                Some(text) if there.is(name, &text.definition) => return None,
                Some(text) => Becomes::Prepared(Arc::clone(&text.definition)),
                None if there.has(name) => Becomes::Unknown,
                None => return None,
            };
            Some(TextChange { name: name.clone(), becomes })
        };
        if statement.effects.intersects(ANY_NAME) {
            let mut names: Vec<&TextName> = held.checkout.texts.names().collect();
            names.extend(self.texts.iter().flat_map(|texts| texts.by_name.keys()));
            names.sort_unstable();
            names.dedup();
            return names.into_iter().filter_map(change).collect();
        }
        match statement.detail.as_deref() {
            Some(Detail::Execute { name, .. }) => change(name).into_iter().collect(),
            Some(Detail::Deallocate { name }) => {
                let becomes = match (own(name).is_some(), held.checkout.texts.has(name)) {
                    (true, false) => Becomes::Anything,
                    (false, true) => Becomes::Unknown,
                    (true, true) | (false, false) => return Vec::new(),
                };
                vec![TextChange { name: name.clone(), becomes }]
            }
            // a PREPARE replaces whatever there is
            _ => Vec::new(),
        }
    }

    /// Gives the connection the names that the statement uses, before it is sent.
    pub(crate) async fn give_texts(
        &mut self,
        held: &mut Held,
        statement: &Statement,
        missing: Vec<TextChange>,
    ) -> Result<(), ConnectionError> {
        bump(&self.tenant.counters(self.worker.id).state_round_trips, 1);
        self.leave(held);
        let now = Arc::clone(held.checkout.state());
        let (foreign, missing) = missing.into_iter().partition(|change| change.becomes == Becomes::Unknown);
        change_texts(held, foreign).await?;
        let missing: Vec<TextChange> = missing;
        for change in missing {
            let then = self.gateway.share(state_for(&change, &now));
            held.checkout.become_state(&Goal { state: then, user: None }).await?;
            let changed = change_texts(held, vec![change]).await;
            held.checkout.become_state(&Goal { state: Arc::clone(&now), user: None }).await?;
            match changed {
                // what a routine does not use need not exist
                Err(ConnectionError::Server { .. }) if statement.effects.intersects(ANY_NAME) => {}
                changed => changed?,
            }
        }
        Ok(())
    }

    /// A statement ran: which names stand for something else now? `pins` is what it pins.
    pub(super) async fn note_texts(
        &mut self,
        held: &mut Held,
        job: &Job<'_>,
        answer: &Answer,
        pins: &mut Pins,
    ) -> Result<(), SessionError> {
        let statement = job.statement;
        let failed = answer.summary.error.is_some();
        match statement.detail.as_deref() {
            Some(Detail::Prepare { name, .. }) if failed => {
                pins.remove(Pins::of(statement).difference(Pins::HINT));
                return self.failed_to_prepare(held, name).await;
            }
            // nothing was prepared, and there is nothing that it might have dropped
            None if failed && only_prepares(statement) && self.has_no_texts() => {
                pins.remove(Pins::of(statement).difference(Pins::HINT));
            }
            _ if statement.effects.intersects(NOT_UNDERSTOOD) => {
                // any name may stand for anything now, on this connection alone
                self.texts = None;
                held.checkout.texts = TextsOnServer::default();
                held.checkout.mark_dirty();
            }
            Some(Detail::Prepare { name, source: Source::Text { literal, text } }) => {
                *pins |= self.prepared_text(held, name, literal, text);
            }
            Some(Detail::Deallocate { name }) if !failed => {
                held.checkout.texts.remove(name);
                if let Some(texts) = &mut self.texts {
                    texts.remove(name);
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn has_no_texts(&self) -> bool {
        self.texts.as_ref().is_none_or(|texts| texts.by_name.is_empty())
    }

    fn prepared_text(&mut self, held: &mut Held, name: &[u8], literal: &[u8], text: &[u8]) -> Pins {
        let Some(wanted) = self.wanted.clone() else { return Pins::TEXT_PREPARE };
        let mut statement = Statement::new();
        analyze(text, &wanted.dialect, &mut statement);
        let text = [b"PREPARE `", name, b"` FROM ", literal].concat();
        let texts = self.texts.get_or_insert_default();
        texts.remove(name);
        if texts.is_full(text.len()) {
            // the connection has it, and the session keeps the connection
            held.checkout.texts.remove(name);
            return Pins::TEXT_PREPARE;
        }
        let definition = self.gateway.define(&text, &wanted.primary);
        held.checkout.texts.add(name, &definition);
        texts.add(name, Text { definition, statement: Arc::new(statement) });
        Pins::empty()
    }

    /// Both servers drop the statement that had the name before they read the text of the new one, and not if they do not
    /// understand the PREPARE itself: whether it is still there is asked by taking it away.
    async fn failed_to_prepare(&mut self, held: &mut Held, name: &[u8]) -> Result<(), SessionError> {
        if !held.checkout.texts.has(name) {
            // what would have been dropped directly is what the session has elsewhere
            if let Some(texts) = &mut self.texts {
                texts.remove(name);
            }
            return Ok(());
        }
        self.leave(held);
        let asked = TextChange { name: name.into(), becomes: Becomes::Unknown };
        match change_texts(held, vec![asked]).await {
            Ok(()) => {}
            Err(ConnectionError::Server { .. }) => {
                if let Some(texts) = &mut self.texts {
                    texts.remove(name);
                }
            }
            Err(error) => {
                return Err(SessionError::Fatal(lost(held.checkout.pool().instance(), &error)));
            }
        }
        Ok(())
    }
}

/// Is it a PREPARE and nothing else?
fn only_prepares(statement: &Statement) -> bool {
    let effects = statement.effects;
    statement.statements == 1
        && statement.kind == Kind::Prepare
        && effects.contains(Effects::TEXT_PREPARE)
        && !effects.contains(Effects::TEXT_EXECUTE)
}

/// May the changes be made in the packet of the statement itself, on a connection in this state?
pub(crate) fn may_go_together(changes: &[TextChange], statement: &Statement, state: &State) -> bool {
    !statement.effects.intersects(ANY_NAME) && changes.iter().all(|change| state_for(change, state) == *state)
}

/// The state in which a change is to be made on a connection in this state.
fn state_for(change: &TextChange, now: &State) -> State {
    match &change.becomes {
        Becomes::Prepared(definition) => now.preparing_as(&definition.state),
        Becomes::Unknown | Becomes::Anything => now.clone(),
    }
}

/// Makes changes in one round trip, in the state that the connection has.
async fn change_texts(held: &mut Held, texts: Vec<TextChange>) -> Result<(), ConnectionError> {
    if texts.is_empty() {
        return Ok(());
    }
    let goal = Goal { state: Arc::clone(held.checkout.state()), user: None };
    held.checkout.go_to(&Transition::of_texts(texts), &goal).await
}

/// What a text does, if it is known and can be executed on any connection.
fn travels(source: &Source, dialect: &Dialect) -> Option<Statement> {
    let Source::Text { text, .. } = source else { return None };
    let mut statement = Statement::new();
    analyze(text, dialect, &mut statement);
    let understood = statement.statements <= 1
        && statement.weir.is_none()
        && statement.kind != Kind::Prepare
        && !statement.effects.intersects(STAYS);
    understood.then_some(statement)
}
