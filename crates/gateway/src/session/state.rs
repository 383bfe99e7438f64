//! What a statement changed: the one place where a session's state changes.

use std::sync::Arc;

use weir_backend::{
    ConnectionError, Opening, Want,
    state::{self, State, VariableId},
    variable::{self, Reported},
};
use weir_sql::{ClientCharset, Dialect, Effects, Kind, Signals};
use weir_wire::{
    capability::Status,
    response::{Record, Records},
    server_version::Flavour,
};

use crate::{
    error::{SessionError, lost},
    execute::{Answer, Job},
};

use super::{Held, KeptVariable, Session, Wanted, pin::Pins, rights::RIGHTS, texts::CHANGES_TEXTS};

/// Status flags that say something of the session, not of the statement.
const LASTING: Status = Status::IN_TRANS
    .union(Status::AUTOCOMMIT)
    .union(Status::NO_BACKSLASH_ESCAPES)
    .union(Status::IN_TRANS_READONLY)
    .union(Status::ANSI_QUOTES);

/// Variables have other values while the statement runs.
const FOR_THE_STATEMENT: Effects = Effects::SET_STATEMENT.union(Effects::VARIABLE_HINT);

/// Changes that a client may see reported, but that follow from others or say nothing about the session.
const DERIVED: [&[u8]; 11] = [
    b"statement_id",
    b"character_set_database",
    b"collation_database",
    b"last_gtid",
    b"in_transaction",
    b"warning_count",
    b"error_count",
    b"pseudo_thread_id",
    b"character_set_connection",
    // what is told of the statements before: see `diagnostics`
    b"last_insert_id",
    b"identity",
];

/// Variables that Weir keeps for the client: on a shared connection they would cut off others.
const KEPT: [&[u8]; 12] = [
    b"wait_timeout",
    b"interactive_timeout",
    b"net_read_timeout",
    b"net_write_timeout",
    b"net_retry_count",
    b"net_buffer_length",
    b"max_allowed_packet",
    b"session_track_system_variables",
    b"session_track_schema",
    b"session_track_state_change",
    b"session_track_gtids",
    b"session_track_transaction_info",
];

/// The trackers themselves.
pub(crate) const TRACKERS: [&[u8]; 5] = [
    b"session_track_system_variables",
    b"session_track_schema",
    b"session_track_state_change",
    b"session_track_gtids",
    b"session_track_transaction_info",
];

/// Words of which one stands in every statement that changes accounts, roles or what they may do.
const OF_ACCOUNTS: [&[u8]; 6] = [b"user", b"password", b"grant", b"revoke", b"role", b"privileges"];
/// They stand in its beginning, bytes.
const BEGINNING: usize = 1 << 10;

/// Could the statement change accounts of the server? That it failed proves nothing: a part of it may have happened.
fn may_change_accounts(job: &Job<'_>, attributes: bool) -> bool {
    if !matches!(job.statement.kind, Kind::Ddl | Kind::Admin | Kind::Set | Kind::Other) {
        return false;
    }
    let text = job.text(attributes).unwrap_or_default();
    let text = text.get(..BEGINNING).unwrap_or(text);
    OF_ACCOUNTS.iter().any(|word| text.windows(word.len()).any(|found| found.eq_ignore_ascii_case(word)))
}

/// What the trackers told.
#[derive(Default)]
struct Changes {
    variables: Vec<(VariableId, Vec<u8>)>,
    database: Option<Option<Vec<u8>>>,
    kept: Vec<KeptVariable>,
    /// Variables that no state names unless they are set.
    others: Vec<KeptVariable>,
    connection_charset: bool,
    connection_collation: bool,
    /// What cannot be read may be anything.
    foreign: bool,
    /// Something, which may have no name: user variables changed by a trigger, for one.
    unnamed: bool,
}

impl Session {
    /// Takes over what the statement changed, then gives the connection back or keeps it.
    pub(crate) async fn settle(
        &mut self,
        mut held: Held,
        job: &Job<'_>,
        answer: &Answer,
    ) -> Result<(), SessionError> {
        let summary = &answer.summary;
        let statement = job.statement;
        let was_open = self.in_transaction;
        let mut sent = Opening::default();
        if held.checkout.is_opened() {
            held.checkout.opening_is_used();
            sent = std::mem::take(&mut self.opening);
        }
        if let Some(status) = summary.status {
            self.status = status.intersection(LASTING);
            self.in_transaction = status.contains(Status::IN_TRANS);
        } else if summary.error.is_some() && !self.status.contains(Status::AUTOCOMMIT) {
            // an error tells no status: without autocommit the statement may have opened a transaction
            self.in_transaction = true;
        }
        if statement.effects.contains(Effects::RELEASE) && summary.error.is_none() {
            // the server closes the connection, too
            self.released = true;
            held.checkout.exchange_begins();
            self.let_go(held, true);
            return Ok(());
        }
        self.note(&mut held, job, answer);
        held.returned = false;
        if held.checkout.has_riders() && (!answer.tracked.is_empty() || self.in_transaction) {
            // a read that changed the session after all: what follows is this session's alone
            self.worker.took(statement.digest, u64::MAX);
            let alone = held.checkout.throw_off_riders().await;
            alone.map_err(|e| SessionError::Fatal(lost(held.checkout.pool().instance(), &e)))?;
            Box::pin(held.checkout.kill_answered(false)).await;
        }
        let mut pins = Pins::of(statement);
        if held.trackers_lent {
            let taken = Box::pin(self.take_trackers_back(&mut held, job)).await;
            pins |= taken.map_err(|e| SessionError::Fatal(lost(held.checkout.pool().instance(), &e)))?;
        } else if !answer.tracked.is_empty() {
            pins |= self.take_over(&mut held, job, &answer.tracked).await?;
        }
        self.guard_again(&mut held, statement, answer).await?;
        if let Some(accounts) = &self.tenant.accounts
            && may_change_accounts(job, self.class.query_attributes)
        {
            accounts.doubt();
        }
        if statement.effects.intersects(CHANGES_TEXTS) {
            Box::pin(self.note_texts(&mut held, job, answer, &mut pins)).await?;
        }
        if statement.effects.intersects(RIGHTS) {
            pins |= Box::pin(self.note_rights(&mut held, job, answer)).await?;
        }
        if !(self.pins | pins).is_empty() {
            pins = Box::pin(self.follow_causes(&mut held, job, answer, pins)).await?;
        }
        self.end_pins(&mut held, answer);
        self.begin_pins(pins);
        self.note_next_transaction(sent, was_open, statement, answer);
        if statement.effects.contains(Effects::UNPIN) {
            self.pins.remove(Pins::HINT);
        }
        if statement.effects.intersects(FOR_THE_STATEMENT) {
            held.checkout.mark_dirty();
        }
        if self.in_transaction || !self.pins.is_empty() {
            self.held = Some(held);
        } else {
            self.let_go(held, false);
        }
        Ok(())
    }

    pub(super) fn begin_pins(&mut self, pins: Pins) {
        let new = pins.difference(self.pins);
        if new.is_empty() {
            return;
        }
        let counters = self.tenant.counters(self.worker.id);
        for (i, counter) in counters.pins.iter().enumerate() {
            if new.bits() & (1 << i) != 0 {
                crate::metrics::bump(counter, 1);
            }
        }
        self.pins |= new;
    }

    /// Pins whose cause ended with this statement, as its answer tells: see `causes` for the others.
    fn end_pins(&mut self, held: &mut Held, answer: &Answer) {
        let before = self.pins;
        let status = answer.summary.status.unwrap_or(Status::empty());
        if status.contains(Status::LAST_ROW_SENT) && !self.statements.cursor_ended() {
            self.pins.remove(Pins::CURSOR);
        }
        let ended = before.difference(self.pins);
        if !ended.is_empty() && !ended.leave_nothing() {
            held.checkout.mark_dirty();
        }
    }

    /// Reads the session-state records of an answer. Returns what they pin.
    pub(super) async fn take_over(
        &mut self,
        held: &mut Held,
        job: &Job<'_>,
        tracked: &[u8],
    ) -> Result<Pins, SessionError> {
        let flavour = held.checkout.server().version.flavour;
        let changes = read_changes(tracked, flavour);
        let statement = job.statement;
        let mut pins = Pins::empty();
        let explained = Pins::explain_state_change(statement)
            || changes.database.is_some()
            || matches!(statement.kind, Kind::Use | Kind::Prepare)
            || (self.pins.contains(Pins::TEMPORARY_TABLE)
                && statement.signals.intersects(Signals::DROPS | Signals::RENAMES));
        if changes.unnamed && !explained {
            pins |= Pins::UNEXPLAINED_STATE;
        }
        if statement.effects.intersects(FOR_THE_STATEMENT) {
            // the values are temporary, and their end is reported with another statement
            return Ok(pins);
        }
        let follows_database =
            |name: &[u8]| matches!(name, b"character_set_database" | b"collation_database");
        if changes.foreign || statement.assigned_variables().any(follows_database) {
            pins |= Pins::SESSION_VARIABLE;
        }
        pins |= self.take_over_others(held, changes.others).await?;
        if !changes.variables.is_empty() || changes.database.is_some() || changes.connection_charset {
            let mut variables = changes.variables;
            if changes.connection_charset && !changes.connection_collation {
                // SET NAMES does not tell the collation
                self.leave(held);
                let reply = held.checkout.query("SELECT @@collation_connection").await;
                let rows = reply
                    .and_then(|r| Ok(r.rows()?))
                    .map_err(|e| SessionError::Fatal(lost(held.checkout.pool().instance(), &e)))?;
                if let Some(Some(value)) = rows.first().and_then(|row| row.first()) {
                    variables.push((state::COLLATION_CONNECTION, value.clone()));
                }
            }
            let facts = held.checkout.server();
            let of = |id| variables.iter().find(|(v, _)| *v == id).map(|(_, value)| value.as_slice());
            let results_collation = of(state::CHARACTER_SET_RESULTS).map(|charset| {
                // SET NAMES gives all three the same collation; a single variable has its default
                let named = changes.connection_charset.then(|| of(state::COLLATION_CONNECTION)).flatten();
                let default = || {
                    facts.charset_named(&String::from_utf8_lossy(charset), None).map(|(_, c)| c.into_bytes())
                };
                named.map(<[u8]>::to_vec).or_else(default).unwrap_or_default()
            });
            self.change_state(held, &variables, changes.database.as_ref(), results_collation.as_deref());
        }
        if !changes.kept.is_empty() {
            self.keep(held, changes.kept);
        }
        Ok(pins)
    }

    /// Variables that no state names unless they are set.
    async fn take_over_others(
        &mut self,
        held: &mut Held,
        others: Vec<KeptVariable>,
    ) -> Result<Pins, SessionError> {
        let mut pins = Pins::empty();
        for (name, value) in others {
            let read = Box::pin(self.literal_of(held, &name, &value)).await;
            let literal = match read {
                Ok(literal) => literal,
                Err(ConnectionError::Server { .. }) => None,
                Err(error) => {
                    return Err(SessionError::Fatal(lost(held.checkout.pool().instance(), &error)));
                }
            };
            match literal {
                Some((name, Some(literal))) => {
                    self.change(held, |state| state.set_other(&name, &literal));
                }
                Some((name, None)) => self.change(held, |state| state.unset_other(&name)),
                None => pins |= Pins::SESSION_VARIABLE,
            }
        }
        Ok(pins)
    }

    /// A reported variable by the name that it travels under, and its value as SET takes it, `None` for the server's
    /// own; nothing if it stays.
    async fn literal_of(
        &mut self,
        held: &mut Held,
        name: &[u8],
        value: &[u8],
    ) -> Result<Option<(Vec<u8>, Option<Vec<u8>>)>, ConnectionError> {
        let (name, reported) = match variable::reported(name, held.checkout.server().version.flavour) {
            Reported::Value(name) => (name, Some(value)),
            Reported::Reads(name) => (name.as_bytes(), None),
            Reported::Clock => {
                self.leave(held);
                let frozen = variable::frozen_clock(&mut held.checkout).await?;
                return Ok(Some((name.to_vec(), frozen)));
            }
            Reported::Stays => return Ok(None),
        };
        self.leave(held);
        let facts = Arc::clone(held.checkout.server());
        let literal = facts.variables.literal(&mut held.checkout, name, reported).await?;
        Ok(Some((name.to_vec(), Some(literal))))
    }

    /// The same change for the session and for the connection it was made on.
    fn change_state(
        &mut self,
        held: &mut Held,
        variables: &[(VariableId, Vec<u8>)],
        database: Option<&Option<Vec<u8>>>,
        results_collation: Option<&[u8]>,
    ) {
        self.change(held, |state| {
            for (id, value) in variables {
                state.set(*id, value);
            }
            if let Some(database) = database {
                state.set_database(database.as_deref());
            }
            if let Some(collation) = results_collation {
                state.set_results_collation(collation);
            }
        });
    }

    pub(super) fn change(&mut self, held: &mut Held, change: impl Fn(&mut State)) {
        let changed = |state: &State| {
            let mut state = state.clone();
            change(&mut state);
            state
        };
        let on_connection = self.gateway.share(changed(held.checkout.state()));
        held.checkout.set_state(on_connection);
        if let Some(wanted) = &self.wanted {
            let primary = self.gateway.share(changed(&wanted.primary));
            self.want(primary, wanted.dialect);
        }
    }

    pub(super) fn want(&mut self, primary: Arc<State>, dialect: Dialect) {
        let dialect = dialect_of(&primary, dialect.flavour, dialect.version);
        let replica = self.gateway.read_only(&primary);
        let before = self.wanted.as_ref().map(|wanted| wanted.primary.database());
        if before != Some(primary.database()) {
            self.handle.set_database(primary.database());
        }
        if primary.is_on(state::AUTOCOMMIT) {
            self.status.insert(Status::AUTOCOMMIT);
        } else {
            self.status.remove(Status::AUTOCOMMIT);
        }
        self.wanted = Some(Wanted { primary, replica, dialect });
    }

    /// Variables that Weir keeps for the client: remembered here, taken from the connection when it is given back.
    fn keep(&mut self, held: &mut Held, kept: Vec<KeptVariable>) {
        for (name, value) in kept {
            match self.virtuals.iter_mut().find(|(known, _)| *known == name) {
                Some(entry) => entry.1 = value,
                None => self.virtuals.push((name, value)),
            }
        }
        held.checkout.mark_dirty();
        self.set_idle_limit();
    }

    /// A statement that sets or reads the session's own trackers ran with them in place of Weir's. They are read back,
    /// with all that the statement may have changed unseen, and the connection gets Weir's again.
    async fn take_trackers_back(&mut self, held: &mut Held, job: &Job<'_>) -> Result<Pins, ConnectionError> {
        let flavour = held.checkout.server().version.flavour;
        let mut names: Vec<&[u8]> = TRACKERS.iter().filter(|n| has_tracker(flavour, n)).copied().collect();
        let trackers = names.len();
        names.extend(KEPT.iter().filter(|n| !TRACKERS.contains(n)));
        let ask = |names: &[&[u8]]| {
            let list: Vec<String> =
                names.iter().map(|n| format!("@@{}", String::from_utf8_lossy(n))).collect();
            format!("SELECT {}", list.join(","))
        };
        self.leave(held);
        let values = held.checkout.query(&ask(&names)).await?.rows()?;
        let everything = held.checkout.query(&state::select_all(flavour)).await?.rows()?;
        held.checkout.arm_trackers(!self.may_be_in_transaction()).await?;
        held.trackers_lent = false;
        held.checkout.mark_dirty();
        let assigned: Vec<&[u8]> = job.statement.assigned_variables().collect();
        let row = values.into_iter().next().unwrap_or_default();
        let mut kept = Vec::new();
        for (i, (name, value)) in names.iter().zip(row).enumerate() {
            if i < trackers || assigned.contains(name) {
                kept.push(((*name).into(), value.unwrap_or_default().into()));
            }
        }
        self.keep(held, kept);
        if self.wish.is_some() {
            self.wish = Some(Arc::new(wish_of(&self.virtuals)));
        }
        let mut all = everything.into_iter().next().unwrap_or_default().into_iter();
        let database = all.next().flatten().filter(|d| !d.is_empty());
        let read =
            State::from_values(database.as_deref(), all.map(|v| v.unwrap_or_default().into()).collect());
        if let (Some(mut read), Some(wanted)) = (read, &self.wanted) {
            let collation = results_collation(&assigned, &read, held);
            read.set_results_collation(&collation);
            read.set_others_of(&wanted.primary);
            let dialect = wanted.dialect;
            let shared = self.gateway.share(read);
            held.checkout.set_state(Arc::clone(&shared));
            self.want(shared, dialect);
        }
        let travels = |name: &[u8]| state::variable(name, flavour).is_some() || KEPT.contains(&name);
        let special = |name: &[u8]| matches!(name, b"names" | b"character set");
        let foreign = assigned.iter().any(|name| !travels(name) && !special(name));
        Ok(if foreign { Pins::SESSION_VARIABLE } else { Pins::empty() })
    }

    /// Finds out what a session without any SET would see on its primary, and adds what the login said.
    pub(crate) async fn learn_state(&mut self) -> Result<(), SessionError> {
        let known = self.tenant.primary.dialer().baseline(self.class);
        let (facts, baseline) = match known {
            Some(known) => known,
            None => self.ask_for_baseline().await?,
        };
        let mut state = (*baseline).clone();
        let session = &self.tenant.namespace.session;
        let by_client = facts.charset_of(self.collation);
        let by_namespace =
            session.charset.as_ref().map(|c| facts.charset_named(c, session.collation.as_deref()));
        let (charset, collation) =
            by_client.or(by_namespace.flatten()).unwrap_or_else(|| facts.default_charset());
        state.set(state::CHARACTER_SET_CLIENT, charset.as_bytes());
        state.set(state::CHARACTER_SET_RESULTS, charset.as_bytes());
        state.set(state::COLLATION_CONNECTION, collation.as_bytes());
        state.set_results_collation(collation.as_bytes());
        state.set_database(self.login_database.as_deref());
        if self.user.access == weir_catalog::user::UserAccess::ReadOnly {
            state.set(state::TRANSACTION_READ_ONLY, b"1");
        }
        let version = &facts.version;
        let dialect = dialect_of(&state, sql_flavour(version.flavour), version.number);
        let primary = self.gateway.share(state);
        self.want(primary, dialect);
        Ok(())
    }

    async fn ask_for_baseline(&self) -> Result<(Arc<weir_backend::ServerFacts>, Arc<State>), SessionError> {
        let mut first_error = None;
        for pool in self.tenant.pools() {
            let state = Arc::clone(pool.dialer().any_state());
            let want = Want {
                class: self.class,
                state: &state,
                user_variables: &Arc::default(),
                thorough: true,
                ride: None,
            };
            match pool.checkout(self.worker.id, &want).await {
                Ok(checkout) => {
                    let known = (Arc::clone(checkout.server()), Arc::clone(checkout.baseline()));
                    checkout.give_back();
                    return Ok(known);
                }
                Err(error) => first_error = first_error.or(Some(error)),
            }
        }
        Err(match first_error {
            Some(error) => error.into(),
            None => SessionError::Quit,
        })
    }
}

/// What strings in result metadata bear after a SET that was not followed by trackers.
fn results_collation(assigned: &[&[u8]], after: &State, held: &Held) -> Vec<u8> {
    let before = held.checkout.state();
    let sets_charset =
        assigned.iter().any(|name| matches!(*name, b"character set" | b"character_set_results"));
    let charset = after.value(state::CHARACTER_SET_RESULTS);
    if assigned.contains(&b"names".as_slice()) {
        // all three get the same collation
        after.value(state::COLLATION_CONNECTION).to_vec()
    } else if sets_charset || before.value(state::CHARACTER_SET_RESULTS) != charset {
        let default = held.checkout.server().charset_named(&String::from_utf8_lossy(charset), None);
        default.map(|(_, collation)| collation.into_bytes()).unwrap_or_default()
    } else {
        before.results_collation().to_vec()
    }
}

fn read_changes(tracked: &[u8], flavour: Flavour) -> Changes {
    let mut changes = Changes::default();
    for record in Records::new(tracked) {
        match record {
            Ok(Record::SystemVariable { name, value }) => {
                changes.variable(&name.to_ascii_lowercase(), value, flavour);
            }
            Ok(Record::Schema(name)) => {
                changes.database = Some((!name.is_empty()).then(|| name.to_vec()));
            }
            Ok(Record::StateChange) => changes.unnamed = true,
            Ok(
                Record::Gtids(_)
                | Record::TransactionCharacteristics(_)
                | Record::TransactionState(_)
                | Record::Unknown(_),
            ) => {}
            Err(_) => changes.foreign = true,
        }
    }
    changes
}

impl Changes {
    fn variable(&mut self, name: &[u8], value: &[u8], flavour: Flavour) {
        if let Some(id) = state::variable(name, flavour) {
            self.connection_collation |= id == state::COLLATION_CONNECTION;
            self.variables.push((id, value.to_vec()));
        } else if name == b"character_set_connection" {
            self.connection_charset = true;
        } else if KEPT.contains(&name) {
            self.kept.push((name.into(), value.into()));
        } else if !DERIVED.contains(&name) {
            self.others.push((name.into(), value.into()));
        }
    }
}

/// What the client's own trackers are set to.
fn wish_of(kept: &[KeptVariable]) -> weir_wire::response::TrackWish {
    use weir_wire::response::{TrackWish, TrackedVariables};
    let value = |name: &[u8]| kept.iter().find(|(n, _)| &**n == name).map(|(_, v)| v.to_ascii_lowercase());
    let on = |name: &[u8]| matches!(value(name).as_deref(), Some(b"1" | b"on"));
    let variables = match value(b"session_track_system_variables").unwrap_or_default().as_slice() {
        b"" => TrackedVariables::None,
        b"*" => TrackedVariables::All,
        list => {
            TrackedVariables::Only(list.split(|b| *b == b',').map(|name| name.trim_ascii().into()).collect())
        }
    };
    let transaction = value(b"session_track_transaction_info").unwrap_or_default();
    TrackWish {
        schema: on(b"session_track_schema"),
        state_change: on(b"session_track_state_change"),
        gtids: value(b"session_track_gtids").is_some_and(|v| v != b"off"),
        characteristics: transaction == b"characteristics",
        transaction_state: matches!(transaction.as_slice(), b"characteristics" | b"state"),
        variables,
    }
}

/// MariaDB has no tracker for GTIDs.
pub(crate) fn has_tracker(flavour: Flavour, name: &[u8]) -> bool {
    flavour == Flavour::MySql || name != b"session_track_gtids"
}

pub(crate) fn sql_flavour(flavour: Flavour) -> weir_sql::Flavour {
    match flavour {
        Flavour::MySql => weir_sql::Flavour::MySql,
        Flavour::MariaDb => weir_sql::Flavour::MariaDb,
    }
}

/// How the session's texts are to be read.
fn dialect_of(state: &State, flavour: weir_sql::Flavour, version: u32) -> Dialect {
    let mode = state.value(state::SQL_MODE);
    let has = |wanted: &[u8]| mode.split(|b| *b == b',').any(|m| m.eq_ignore_ascii_case(wanted));
    let charset = match state.value(state::CHARACTER_SET_CLIENT) {
        b"gbk" => ClientCharset::Gbk,
        b"sjis" | b"cp932" => ClientCharset::Sjis,
        b"big5" => ClientCharset::Big5,
        b"gb18030" => ClientCharset::Gb18030,
        _ => ClientCharset::AsciiSafe,
    };
    Dialect {
        flavour,
        version,
        ansi_quotes: has(b"ANSI_QUOTES"),
        no_backslash_escapes: has(b"NO_BACKSLASH_ESCAPES"),
        charset,
    }
}
