//! Causes of pins, followed from where they begin to where they end: a pin ends with its cause, not with its session.
//!
//! What a text and its answer tell for certain is counted here. Where they do not, as after a routine or a trigger, the
//! server is asked once what is left on the connection (see `weir_backend::Remains`): nothing but user variables, which
//! travel, ends the pin. In doubt the pin stays.

pub(super) mod lock_call;

use weir_backend::{ConnectionError, Remains, Remnants};
use weir_sql::{Effects, Kind, Signals, Statement};
use weir_wire::{
    response::{Record, Records},
    server_version::Flavour,
};

use crate::{
    error::{SessionError, lost},
    execute::{Answer, Job},
    metrics::bump,
};

use super::{Held, Session, pin::Pins};
use lock_call::LockCall;

/// More temporary tables than that are not looked for one by one.
const MOST_TABLES: usize = 64;

/// About these the server is asked what is left.
const ASKED: Pins = Pins::CALL
    .union(Pins::UNEXPLAINED_STATE)
    .union(Pins::USER_LOCK)
    .union(Pins::HANDLER)
    .union(Pins::BACKUP_LOCK);

/// Then nothing is asked: profiles would show it, and locked tables are in the way.
const NOT_ASKED: Pins = Pins::PROFILING.union(Pins::TABLE_LOCK);

/// What may have been left by something that no text shows.
const UNSEEN: Pins = Pins::CALL.union(Pins::UNEXPLAINED_STATE);

/// What else than a pin of its own may explain that something is left.
const EXPLAINED: [(Pins, Remnants); 6] = [
    (Pins::USER_LOCK, Remnants::USER_LOCKS),
    (Pins::TABLE_LOCK, Remnants::OTHER_LOCKS),
    (Pins::HANDLER, Remnants::OTHER_LOCKS),
    (Pins::BACKUP_LOCK, Remnants::OTHER_LOCKS),
    (Pins::TEMPORARY_TABLE, Remnants::TEMPORARY_TABLES),
    (Pins::TEXT_PREPARE, Remnants::PREPARED),
];

/// How many of something there are, as far as texts and answers tell.
#[derive(Clone, Copy, Debug, Default)]
struct Count {
    known: u32,
    /// More, or fewer, for all that is known.
    is_uncertain: bool,
}

impl Count {
    fn add(&mut self) {
        self.known = self.known.saturating_add(1);
    }

    fn take(&mut self) {
        self.known = self.known.saturating_sub(1);
    }

    fn is_none(self) -> bool {
        self.known == 0 && !self.is_uncertain
    }
}

/// See the module's text. Boxed: most sessions never have any.
#[derive(Debug, Default)]
pub(crate) struct Causes {
    user_locks: Count,
    handlers: Count,
    /// LOCK TABLES, which trackers tell too.
    locked_tables: bool,
    /// FLUSH TABLES WITH READ LOCK and the like, which they do not.
    read_lock: bool,
    backup_lock: bool,
    backup_stage: bool,
    /// Temporary tables as SHOW CREATE TABLE takes them.
    temporary_tables: Vec<Box<str>>,
    /// There are others, or one may have got another name.
    other_tables: bool,
    /// About these the server is to be asked, once no transaction is open.
    due: Pins,
    /// About these again, once another pin has ended.
    again: Pins,
    /// Others find the session by its connection.
    is_known_to_hold: bool,
}

/// A statement and what came of it.
struct Outcome<'a> {
    statement: &'a Statement,
    failed: bool,
    /// It was the only one of its text: it failed or not as its answer did.
    alone: bool,
}

impl Outcome<'_> {
    fn succeeded(&self) -> bool {
        self.alone && !self.failed
    }

    fn has(&self, effects: Effects) -> bool {
        self.statement.effects.intersects(effects)
    }

    fn signals(&self, signals: Signals) -> bool {
        self.statement.signals.intersects(signals)
    }
}

impl Causes {
    /// GET_LOCK and RELEASE_LOCK: `call` is the text if it is nothing but one call, with the value that it gave.
    fn note_user_locks(&mut self, outcome: &Outcome<'_>, call: Option<(LockCall, Option<i64>)>) -> Pins {
        if !outcome.has(Effects::USER_LOCK) && !outcome.signals(Signals::RELEASES_USER_LOCK) {
            return Pins::empty();
        }
        match call.filter(|_| outcome.succeeded()) {
            Some((LockCall::Get, Some(1))) => self.user_locks.add(),
            Some((LockCall::Release, Some(1))) => self.user_locks.take(),
            // it was not to be had, or was not ours
            Some((LockCall::Get | LockCall::Release | LockCall::IsUsed, _)) => {}
            Some((LockCall::ReleaseAll, _)) => self.user_locks = Count::default(),
            None => {
                self.user_locks.is_uncertain = true;
                self.due |= Pins::USER_LOCK;
            }
        }
        if self.user_locks.is_none() { Pins::USER_LOCK } else { Pins::empty() }
    }

    fn note_handlers(&mut self, outcome: &Outcome<'_>) -> Pins {
        let (opens, closes) = (outcome.has(Effects::HANDLER_OPEN), outcome.signals(Signals::CLOSES_HANDLER));
        if !opens && !closes {
            return Pins::empty();
        }
        match (outcome.alone, outcome.failed) {
            (true, false) if opens => self.handlers.add(),
            (true, false) => self.handlers.take(),
            (true, true) if opens => {}
            // a handler ends with its table too
            (true, true) => self.due |= Pins::HANDLER,
            (false, _) => {
                self.handlers.is_uncertain = true;
                self.due |= Pins::HANDLER;
            }
        }
        if self.handlers.is_none() { Pins::HANDLER } else { Pins::empty() }
    }

    /// `told`: are tables locked, as the server's tracker has it, if it told?
    fn note_table_locks(&mut self, outcome: &Outcome<'_>, told: Option<bool>) -> Pins {
        self.locked_tables |= outcome.has(Effects::LOCK_TABLES);
        self.read_lock |= outcome.has(Effects::GLOBAL_READ_LOCK);
        if outcome.has(Effects::UNLOCK_TABLES) && outcome.succeeded() {
            (self.locked_tables, self.read_lock) = (false, false);
            return Pins::TABLE_LOCK;
        }
        if told == Some(false) && self.locked_tables {
            // a transaction has begun, for one
            self.locked_tables = false;
            return if self.read_lock { Pins::empty() } else { Pins::TABLE_LOCK };
        }
        Pins::empty()
    }

    fn note_backup(&mut self, outcome: &Outcome<'_>) -> Pins {
        if outcome.has(Effects::BACKUP_LOCK) {
            match outcome.signals(Signals::BACKUP_STAGE) {
                true => self.backup_stage = true,
                false => self.backup_lock = true,
            }
            return Pins::empty();
        }
        if !outcome.succeeded() {
            return Pins::empty();
        }
        self.backup_lock &= !outcome.signals(Signals::BACKUP_UNLOCK);
        self.backup_stage &= !outcome.signals(Signals::BACKUP_STAGE_END);
        let ends = outcome.signals(Signals::BACKUP_UNLOCK | Signals::BACKUP_STAGE_END);
        if ends && !self.backup_lock && !self.backup_stage { Pins::BACKUP_LOCK } else { Pins::empty() }
    }

    /// `database`: the session's default. `is_pinned`: some are there already.
    fn note_temporary_tables(&mut self, outcome: &Outcome<'_>, database: Option<&[u8]>, is_pinned: bool) {
        let creates = outcome.has(Effects::TEMPORARY_TABLE);
        let unseen = Effects::CALL | Effects::TEXT_PREPARE | Effects::TEXT_EXECUTE;
        if (creates || is_pinned) && (outcome.has(unseen) || outcome.signals(Signals::RENAMES)) {
            self.other_tables = true;
        }
        if creates {
            let names: Option<Vec<Box<str>>> = outcome
                .statement
                .temporary_tables()
                .map(|(own, name)| full_name(own.or(database.filter(|_| outcome.alone)), name))
                .collect();
            match names {
                Some(names) if !names.is_empty() => {
                    let new = names.into_iter().filter(|name| !self.temporary_tables.contains(name));
                    let new: Vec<_> = new.collect();
                    self.temporary_tables.extend(new);
                }
                _ => self.other_tables = true,
            }
            self.other_tables |= self.temporary_tables.len() > MOST_TABLES;
        }
        let may_have_ended = outcome.signals(Signals::DROPS) || (creates && outcome.failed);
        if may_have_ended && !self.other_tables && !self.temporary_tables.is_empty() {
            self.due |= Pins::TEMPORARY_TABLE;
        }
    }

    /// What the server told about locks.
    fn settle_locks(&mut self, remnants: Remnants) -> Pins {
        let mut ended = Pins::empty();
        if !remnants.contains(Remnants::USER_LOCKS) {
            self.user_locks = Count::default();
            ended |= Pins::USER_LOCK;
        }
        if !remnants.contains(Remnants::OTHER_LOCKS) {
            self.handlers = Count::default();
            (self.backup_lock, self.backup_stage) = (false, false);
            ended |= Pins::HANDLER | Pins::BACKUP_LOCK;
        }
        ended
    }
}

impl Session {
    /// The statement may have begun or ended what pins. `begins`: what it pins by its text and by what trackers told.
    /// Takes away the pins that have ended, and gives those that begin.
    pub(super) async fn follow_causes(
        &mut self,
        held: &mut Held,
        job: &Job<'_>,
        answer: &Answer,
        begins: Pins,
    ) -> Result<Pins, SessionError> {
        let statement = job.statement;
        let outcome =
            Outcome { statement, failed: answer.summary.error.is_some(), alone: statement.statements == 1 };
        let mut causes = self.causes.take().unwrap_or_default();
        let mut begins = begins;
        let told = Told::by(&answer.tracked);
        let locks = outcome.has(Effects::USER_LOCK) || outcome.signals(Signals::RELEASES_USER_LOCK);
        let call = if locks { self.lock_call(job, answer) } else { None };
        let mut ended = causes.note_user_locks(&outcome, call)
            | causes.note_handlers(&outcome)
            | causes.note_table_locks(&outcome, told.tables_locked.filter(|_| !told.is_unreadable))
            | causes.note_backup(&outcome);
        let database = self.wanted.as_ref().and_then(|wanted| wanted.primary.database());
        causes.note_temporary_tables(&outcome, database, self.pins.contains(Pins::TEMPORARY_TABLE));
        if outcome.signals(Signals::ENDS_XA) && outcome.succeeded() {
            ended |= Pins::XA;
        }
        // without SET profiling before there is nothing that the connection would have to be kept for
        if statement.kind == Kind::Show && !self.pins.contains(Pins::PROFILING) {
            ended |= Pins::PROFILING;
        }
        // MariaDB tells nothing of locks, and never what a statement that failed has changed
        let is_mysql = held.checkout.server().version.flavour == Flavour::MySql;
        if is_mysql || !outcome.failed {
            causes.due |= begins & UNSEEN & !self.pins;
        }
        // what a routine has left may be gone now
        if outcome.signals(Signals::DROPS | Signals::RELEASES_USER_LOCK) {
            causes.due |= self.pins & UNSEEN;
        }
        if !(self.pins & ended).is_empty() {
            causes.due |= causes.again;
        }
        let next_transaction = told.is_unreadable || told.next_transaction == Some(true);
        if next_transaction && !self.in_transaction {
            // what a routine has set for the next transaction is there
            causes.due.remove(UNSEEN);
        }
        if !is_mysql {
            causes.due &= Pins::TEMPORARY_TABLE | Pins::UNEXPLAINED_STATE;
        }
        begins.remove(ended);
        let due = causes.due & (self.pins | begins) & !ended;
        if !due.is_empty() && !self.may_be_in_transaction() && !(self.pins | begins).intersects(NOT_ASKED) {
            causes.due = Pins::empty();
            ended |= self.ask_what_is_left(held, job, &mut causes, due, &mut begins).await?;
        }
        begins.remove(ended);
        let over = self.pins & ended & !begins;
        self.pins.remove(over);
        if !over.is_empty() && !over.leave_nothing() {
            held.checkout.mark_dirty();
        }
        let holds = (self.pins | begins).intersects(UNSEEN | Pins::USER_LOCK);
        if holds != causes.is_known_to_hold {
            causes.is_known_to_hold = holds;
            let connection = (held.checkout.pool().instance(), held.checkout.thread_id());
            self.handle.set_locks_on(holds.then_some(connection));
        }
        if !(self.pins | begins).is_empty() {
            self.causes = Some(causes);
        }
        Ok(begins)
    }

    /// Gives the pins whose causes have ended; `begins` gets what the answers tell besides.
    async fn ask_what_is_left(
        &mut self,
        held: &mut Held,
        job: &Job<'_>,
        causes: &mut Causes,
        due: Pins,
        begins: &mut Pins,
    ) -> Result<Pins, SessionError> {
        let mut ended = Pins::empty();
        self.leave(held);
        let instance = held.checkout.pool().instance().to_owned();
        let gone = |error: ConnectionError| SessionError::Fatal(lost(&instance, &error));
        if due.contains(Pins::TEMPORARY_TABLE) && !causes.other_tables {
            bump(&self.tenant.counters(self.worker.id).state_round_trips, 1);
            let are = held.checkout.are_temporary(&causes.temporary_tables).await.map_err(gone)?;
            let mut are = are.into_iter();
            causes.temporary_tables.retain(|_| are.next().unwrap_or(true));
            if causes.temporary_tables.is_empty() {
                ended |= Pins::TEMPORARY_TABLE;
            }
        }
        if !due.intersects(ASKED) {
            return Ok(ended);
        }
        bump(&self.tenant.counters(self.worker.id).state_round_trips, 1);
        let remains = held.checkout.ask_for_remains().await.map_err(gone)?;
        ended |= causes.settle_locks(remains.remnants) & due;
        let unseen = due & UNSEEN;
        if unseen.is_empty() {
            return Ok(ended);
        }
        if !remains.tracked.is_empty() {
            // of a statement that failed: its own answer told nothing
            *begins |= Box::pin(self.take_over(held, job, &remains.tracked)).await? & !UNSEEN;
        }
        *begins |= self.take_over_user_variables(held, &remains);
        let left = remains.remnants & !Remnants::MORE_VARIABLES;
        // triggers and functions prepare nothing; what sessions have prepared as text is on the connection for any
        let without_locks = left & !(Remnants::USER_LOCKS | Remnants::OTHER_LOCKS | Remnants::PREPARED);
        for (pin, left) in [(Pins::CALL, left), (Pins::UNEXPLAINED_STATE, without_locks)] {
            if !unseen.contains(pin) {
                continue;
            }
            if left.is_empty() {
                ended |= pin;
                continue;
            }
            let others = (self.pins | *begins) & !ended;
            let explained = EXPLAINED.iter().filter(|(other, _)| others.contains(*other));
            if explained.fold(Remnants::empty(), |all, (_, remnant)| all | *remnant).contains(left) {
                causes.again |= pin;
            }
        }
        Ok(ended)
    }

    /// Whatever a routine has assigned: it travels like what texts assign.
    fn take_over_user_variables(&mut self, held: &mut Held, remains: &Remains) -> Pins {
        if remains.remnants.contains(Remnants::MORE_VARIABLES) {
            return Pins::USER_VARIABLE;
        }
        let plain = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'$' | b'.');
        let mut pins = Pins::empty();
        for found in &remains.user_variables {
            // those of other sessions were taken away
            if found.is_null && held.checkout.user_variables().remembers(&found.name) {
                continue;
            }
            match found.name.iter().all(plain) {
                true => self.found_user_variable(held, &found.name),
                false => pins |= Pins::USER_VARIABLE,
            }
        }
        pins
    }

    /// Is the text nothing but one call of a function for locks? With the value that it gave.
    fn lock_call(&self, job: &Job<'_>, answer: &Answer) -> Option<(LockCall, Option<i64>)> {
        let call = LockCall::read(job.text(self.class.query_attributes)?)?;
        let deprecate_eof = self.client.flags.deprecate_eof;
        let value = lock_call::only_value(&answer.rest, deprecate_eof, job.prepared.is_some());
        Some((call, value))
    }
}

/// A table's name as statements take it; `None` unless it reads the same in every character set.
fn full_name(database: Option<&[u8]>, name: &[u8]) -> Option<Box<str>> {
    let mut out = String::new();
    for part in [database?, name] {
        if !part.iter().all(|b| (0x20..0x7F).contains(b)) {
            return None;
        }
        out.push_str(if out.is_empty() { "`" } else { ".`" });
        out.push_str(&String::from_utf8_lossy(part).replace('`', "``"));
        out.push('`');
    }
    Some(out.into())
}

/// What trackers tell of transactions; `None` of what they tell nothing of.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Told {
    /// Are tables locked?
    tables_locked: Option<bool>,
    /// Is something set for the next transaction, or the open one?
    pub(super) next_transaction: Option<bool>,
    /// Behind that, something cannot be read: it may be anything.
    is_unreadable: bool,
}

impl Told {
    pub(super) fn by(tracked: &[u8]) -> Self {
        let mut told = Self::default();
        for record in Records::new(tracked) {
            match record {
                Ok(Record::TransactionState(state)) => told.tables_locked = Some(state.last() == Some(&b'L')),
                Ok(Record::TransactionCharacteristics(text)) => {
                    told.next_transaction = Some(!text.is_empty());
                }
                Ok(_) => {}
                Err(_) => told.is_unreadable = true,
            }
        }
        told
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use weir_sql::{ClientCharset, Dialect, analyze};

    const DIALECT: Dialect = Dialect {
        flavour: weir_sql::Flavour::MariaDb,
        version: 101_119,
        ansi_quotes: false,
        no_backslash_escapes: false,
        charset: ClientCharset::AsciiSafe,
    };

    fn with<T>(sql: &str, failed: bool, act: impl FnOnce(&Outcome<'_>) -> T) -> T {
        let mut statement = Statement::new();
        analyze(sql.as_bytes(), &DIALECT, &mut statement);
        let alone = statement.statements == 1;
        act(&Outcome { statement: &statement, failed, alone })
    }

    #[test]
    fn locks_are_counted() {
        let mut causes = Causes::default();
        let mut note = |sql: &str, value| {
            let call = LockCall::read(sql.as_bytes()).map(|call| (call, value));
            with(sql, false, |outcome| causes.note_user_locks(outcome, call)) == Pins::USER_LOCK
        };
        assert!(note("SELECT GET_LOCK('a', 0)", Some(0)), "it was not to be had");
        assert!(!note("SELECT GET_LOCK('a', 1)", Some(1)));
        assert!(!note("SELECT GET_LOCK('a', 1)", Some(1)));
        assert!(!note("SELECT RELEASE_LOCK('b')", None));
        assert!(!note("SELECT RELEASE_LOCK('a')", Some(1)));
        assert!(note("SELECT RELEASE_LOCK('a')", Some(1)));
        assert!(!note("SELECT GET_LOCK('a', 1), GET_LOCK('b', 1)", None));
        assert!(!note("SELECT RELEASE_LOCK('a')", Some(1)));
        assert!(note("SELECT RELEASE_ALL_LOCKS()", Some(1)));
    }

    #[test]
    fn a_lock_that_may_have_been_had_is_asked_about() {
        let mut causes = Causes::default();
        let call = Some((LockCall::Get, None));
        let ended = with("SELECT GET_LOCK('a', 1)", true, |outcome| causes.note_user_locks(outcome, call));
        assert_eq!((ended, causes.due), (Pins::empty(), Pins::USER_LOCK));
    }

    #[test]
    fn handlers_are_counted() {
        let mut causes = Causes::default();
        let mut note = |sql: &str, failed| with(sql, failed, |o| causes.note_handlers(o)) == Pins::HANDLER;
        assert!(note("HANDLER nosuch OPEN", true));
        assert!(!note("HANDLER t OPEN", false));
        assert!(!note("HANDLER t OPEN AS u", false));
        assert!(!note("HANDLER t READ FIRST", false));
        assert!(!note("HANDLER t CLOSE", false));
        assert!(note("HANDLER u CLOSE", false));
        assert!(!note("HANDLER t OPEN; HANDLER t CLOSE", false));
    }

    #[test]
    fn table_locks_end_with_what_the_tracker_or_the_text_tells() {
        let mut causes = Causes::default();
        let mut note =
            |sql: &str, told| with(sql, false, |o| causes.note_table_locks(o, told)) == Pins::TABLE_LOCK;
        assert!(!note("LOCK TABLES t READ", Some(true)));
        assert!(note("BEGIN", Some(false)));
        assert!(!note("FLUSH TABLES WITH READ LOCK", None));
        assert!(!note("BEGIN", Some(false)));
        assert!(!note("COMMIT", Some(false)));
        assert!(note("UNLOCK TABLES", None));
    }

    #[test]
    fn each_lock_for_a_backup_ends_by_its_own_words() {
        let mut causes = Causes::default();
        let mut note = |sql: &str| with(sql, false, |o| causes.note_backup(o)) == Pins::BACKUP_LOCK;
        assert!(!note("BACKUP STAGE START"));
        assert!(!note("BACKUP LOCK t"));
        assert!(!note("BACKUP STAGE END"));
        assert!(note("BACKUP UNLOCK"));
        assert!(!note("LOCK INSTANCE FOR BACKUP"));
        assert!(note("UNLOCK INSTANCE"));
    }

    #[test]
    fn temporary_tables_are_known_by_name_until_one_may_have_another() {
        let mut causes = Causes::default();
        let mut note = |sql: &str, failed| {
            with(sql, failed, |o| causes.note_temporary_tables(o, Some(b"db"), true));
            (std::mem::take(&mut causes.due), causes.temporary_tables.join(" "), causes.other_tables)
        };
        let none = Pins::empty();
        let one = "`db`.`t`".to_owned();
        assert_eq!(note("CREATE TEMPORARY TABLE t (a INT)", false), (none, one.clone(), false));
        assert_eq!(note("INSERT INTO t VALUES (1)", false), (none, one.clone(), false));
        assert_eq!(note("DROP TABLE t", false), (Pins::TEMPORARY_TABLE, one, false));
        let two = "`db`.`t` `e`.`u``v`".to_owned();
        let failed = note("CREATE TEMPORARY TABLE e.`u``v` (a INT)", true);
        assert_eq!(failed, (Pins::TEMPORARY_TABLE, two.clone(), false));
        assert_eq!(note("ALTER TABLE t RENAME TO s", false), (none, two.clone(), true));
        assert_eq!(note("DROP TABLE t", false), (none, two, true));
    }

    #[test]
    fn a_name_that_reads_otherwise_in_another_charset_is_not_known() {
        assert_eq!(full_name(Some(b"d"), "ä".as_bytes()), None);
        assert_eq!(full_name(None, b"t"), None);
    }
}
