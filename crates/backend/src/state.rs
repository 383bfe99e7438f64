//! The part of a session's state that travels: what a backend connection must have set before a statement of the
//! session may run on it.
//!
//! A [`State`] names a value for every travelling variable, never "the default": two servers may have different
//! defaults, and a session must see those of its primary everywhere. Equal states are shared, so that the usual
//! comparison is that of two pointers.

use std::{
    borrow::Cow,
    collections::HashSet,
    hash::{Hash, Hasher},
    sync::{Arc, Mutex, PoisonError},
};

use weir_wire::{command::com, packet_with, query_attributes::query_head, server_version::Flavour};

/// How a value is written in SET.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Literal {
    /// Quoted text.
    Text,
    /// Quoted text; the trackers show NULL as empty.
    TextOrNull,
    /// A number, ON or OFF.
    Bare,
}

/// A session variable that travels.
#[derive(Debug)]
struct Variable {
    mysql: Option<&'static str>,
    mariadb: Option<&'static str>,
    literal: Literal,
}

impl Variable {
    fn name(&self, flavour: Flavour) -> Option<&'static str> {
        match flavour {
            Flavour::MySql => self.mysql,
            Flavour::MariaDb => self.mariadb,
        }
    }
}

const fn both(name: &'static str, literal: Literal) -> Variable {
    Variable { mysql: Some(name), mariadb: Some(name), literal }
}

/// Index of a travelling variable in a [`State`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VariableId(usize);

/// `character_set_client`.
pub const CHARACTER_SET_CLIENT: VariableId = VariableId(0);
/// `collation_connection`; `character_set_connection` follows from it.
pub const COLLATION_CONNECTION: VariableId = VariableId(1);
/// `character_set_results`; empty for NULL.
pub const CHARACTER_SET_RESULTS: VariableId = VariableId(2);
/// `autocommit`.
pub const AUTOCOMMIT: VariableId = VariableId(3);
/// `sql_mode`.
pub const SQL_MODE: VariableId = VariableId(4);
/// `time_zone`.
pub const TIME_ZONE: VariableId = VariableId(5);
/// `transaction_isolation`, MariaDB's `tx_isolation`.
pub const TRANSACTION_ISOLATION: VariableId = VariableId(6);
/// `transaction_read_only`, MariaDB's `tx_read_only`.
pub const TRANSACTION_READ_ONLY: VariableId = VariableId(7);

static VARIABLES: &[Variable] = &[
    both("character_set_client", Literal::Text),
    both("collation_connection", Literal::Text),
    both("character_set_results", Literal::TextOrNull),
    both("autocommit", Literal::Bare),
    both("sql_mode", Literal::Text),
    both("time_zone", Literal::Text),
    Variable { mysql: Some("transaction_isolation"), mariadb: Some("tx_isolation"), literal: Literal::Text },
    Variable { mysql: Some("transaction_read_only"), mariadb: Some("tx_read_only"), literal: Literal::Bare },
    both("sql_auto_is_null", Literal::Bare),
    both("sql_safe_updates", Literal::Bare),
    both("sql_select_limit", Literal::Bare),
    both("sql_notes", Literal::Bare),
    both("sql_warnings", Literal::Bare),
    both("sql_quote_show_create", Literal::Bare),
    both("sql_big_selects", Literal::Bare),
    both("foreign_key_checks", Literal::Bare),
    both("unique_checks", Literal::Bare),
    both("group_concat_max_len", Literal::Bare),
    both("innodb_lock_wait_timeout", Literal::Bare),
    both("lock_wait_timeout", Literal::Bare),
    both("lc_time_names", Literal::Text),
    both("lc_messages", Literal::Text),
    both("auto_increment_increment", Literal::Bare),
    both("auto_increment_offset", Literal::Bare),
    both("div_precision_increment", Literal::Bare),
    both("max_error_count", Literal::Bare),
    Variable {
        mysql: Some("max_execution_time"),
        mariadb: Some("max_statement_time"),
        literal: Literal::Bare,
    },
];

/// The travelling variable that a server of `flavour` calls `name`.
#[must_use]
pub fn variable(name: &[u8], flavour: Flavour) -> Option<VariableId> {
    VARIABLES
        .iter()
        .position(|v| v.name(flavour).is_some_and(|n| n.as_bytes().eq_ignore_ascii_case(name)))
        .map(VariableId)
}

/// `SELECT DATABASE(), @@...` of all travelling variables, in order.
#[must_use]
pub fn select_all(flavour: Flavour) -> String {
    let mut sql = String::from("SELECT DATABASE()");
    for v in VARIABLES {
        sql.push(',');
        match v.name(flavour) {
            Some(name) => {
                sql.push_str("@@");
                sql.push_str(name);
            }
            None => sql.push_str("''"),
        }
    }
    sql
}

/// How many variables travel: the columns of [`select_all`] after the first.
#[must_use]
pub fn variable_count() -> usize {
    VARIABLES.len()
}

/// Default database and travelling variables of a session or of a backend connection.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct State {
    database: Option<Box<[u8]>>,
    values: Box<[Box<[u8]>]>,
    /// Collation that strings in result metadata bear: what login or SET NAMES named. No variable shows it; empty if
    /// it is not known.
    results_collation: Box<[u8]>,
}

impl State {
    /// From the values in the order of [`select_all`]; `None` if their number is another.
    #[must_use]
    pub fn from_values(database: Option<&[u8]>, values: Vec<Box<[u8]>>) -> Option<Self> {
        let values: Box<[Box<[u8]>]> =
            values.into_iter().zip(VARIABLES).map(|(value, v)| normal(v.literal, value)).collect();
        (values.len() == VARIABLES.len()).then(|| Self {
            database: database.map(Into::into),
            values,
            results_collation: Box::default(),
        })
    }

    /// The default database.
    #[must_use]
    pub fn database(&self) -> Option<&[u8]> {
        self.database.as_deref()
    }

    /// Value of a variable.
    #[must_use]
    pub fn value(&self, id: VariableId) -> &[u8] {
        self.values.get(id.0).map_or(&[], |v| v)
    }

    /// The collation of strings in result metadata; empty if it is not known.
    #[must_use]
    pub fn results_collation(&self) -> &[u8] {
        &self.results_collation
    }

    /// The collation of strings in result metadata was named; empty if it is not known.
    pub fn set_results_collation(&mut self, collation: &[u8]) {
        self.results_collation = collation.into();
    }

    /// Changes the default database.
    pub fn set_database(&mut self, database: Option<&[u8]>) {
        self.database = database.map(Into::into);
    }

    /// Changes a variable.
    pub fn set(&mut self, id: VariableId, value: &[u8]) {
        if let (Some(slot), Some(v)) = (self.values.get_mut(id.0), VARIABLES.get(id.0)) {
            *slot = normal(v.literal, value.into());
        }
    }

    /// Is a bare variable on?
    #[must_use]
    pub fn is_on(&self, id: VariableId) -> bool {
        self.value(id) == b"1"
    }
}

/// ON and OFF as the numbers that `SELECT @@x` shows.
fn normal(literal: Literal, value: Box<[u8]>) -> Box<[u8]> {
    match literal {
        Literal::Bare if value.eq_ignore_ascii_case(b"ON") => Box::from(*b"1"),
        Literal::Bare if value.eq_ignore_ascii_case(b"OFF") => Box::from(*b"0"),
        _ => value,
    }
}

/// What must be sent to a connection so that its state becomes another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Transition {
    /// A SET was written.
    pub sets: bool,
    /// A change of the default database was written.
    pub database: bool,
    /// The wanted session has no default database, but the connection has: only a new login takes it away.
    pub needs_new_login: bool,
}

impl Transition {
    /// How many answers to expect.
    #[must_use]
    pub fn commands(self) -> usize {
        usize::from(self.sets) + usize::from(self.database)
    }
}

/// Appends the commands that turn `have` into `want` on a server of `flavour`: one SET, one COM_INIT_DB. `attributes`: the
/// connection has negotiated query attributes.
pub fn write_transition(
    have: &State,
    want: &State,
    flavour: Flavour,
    attributes: bool,
    out: &mut Vec<u8>,
) -> Transition {
    let mut transition = Transition::default();
    let mut set = Vec::new();
    let mut have = Cow::Borrowed(have);
    if have.results_collation != want.results_collation && !want.results_collation.is_empty() {
        // the only statement that sets what strings in result metadata bear
        set.extend_from_slice(b"SET NAMES ");
        quote(want.value(CHARACTER_SET_RESULTS), &mut set);
        set.extend_from_slice(b" COLLATE ");
        quote(&want.results_collation, &mut set);
        let named = have.to_mut();
        named.set(CHARACTER_SET_CLIENT, want.value(CHARACTER_SET_RESULTS));
        named.set(CHARACTER_SET_RESULTS, want.value(CHARACTER_SET_RESULTS));
        named.set(COLLATION_CONNECTION, &want.results_collation);
    }
    let have = have.as_ref();
    for ((variable, have), want) in VARIABLES.iter().zip(&have.values).zip(&want.values) {
        let Some(name) = variable.name(flavour).filter(|_| have != want) else { continue };
        set.extend_from_slice(if set.is_empty() { b"SET SESSION " } else { b",SESSION " });
        set.extend_from_slice(name.as_bytes());
        set.push(b'=');
        match variable.literal {
            Literal::TextOrNull if want.is_empty() => set.extend_from_slice(b"NULL"),
            Literal::Text | Literal::TextOrNull => quote(want, &mut set),
            Literal::Bare => set.extend_from_slice(want),
        }
    }
    if !set.is_empty() {
        transition.sets = true;
        packet_with(out, 0, |w| {
            w.bytes(query_head(attributes)).bytes(&set);
        });
    }
    match (&have.database, &want.database) {
        (have, want) if have == want => {}
        (_, Some(database)) => {
            transition.database = true;
            packet_with(out, 0, |w| {
                w.u8(com::INIT_DB).bytes(database);
            });
        }
        (_, None) => transition.needs_new_login = true,
    }
    transition
}

/// A string literal that means the same with and without NO_BACKSLASH_ESCAPES: values with a backslash go as hex.
fn quote(value: &[u8], out: &mut Vec<u8>) {
    if value.iter().all(|b| (0x20..0x7F).contains(b) && *b != b'\\' && *b != b'\'') {
        out.push(b'\'');
        out.extend_from_slice(value);
        out.push(b'\'');
    } else {
        out.extend_from_slice(b"_utf8mb4 0x");
        for byte in value {
            for digit in [byte >> 4, byte & 15] {
                out.push(char::from_digit(u32::from(digit), 16).map_or(b'0', |c| c as u8));
            }
        }
    }
}

/// Shares equal values: two equal ones given to it become one allocation.
#[derive(Debug)]
pub struct Interner<T> {
    known: Mutex<Known<T>>,
}

#[derive(Debug)]
struct Known<T> {
    set: HashSet<ByValue<T>>,
    sweep_at: usize,
}

#[derive(Debug)]
struct ByValue<T>(Arc<T>);

impl<T: PartialEq> PartialEq for ByValue<T> {
    fn eq(&self, other: &Self) -> bool {
        *self.0 == *other.0
    }
}
impl<T: Eq> Eq for ByValue<T> {}
impl<T: Hash> Hash for ByValue<T> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (*self.0).hash(state);
    }
}
impl<T> std::borrow::Borrow<T> for ByValue<T> {
    fn borrow(&self) -> &T {
        &self.0
    }
}

impl<T: Eq + Hash> Default for Interner<T> {
    fn default() -> Self {
        Self { known: Mutex::new(Known { set: HashSet::new(), sweep_at: 1024 }) }
    }
}

impl<T: Eq + Hash> Interner<T> {
    /// The shared form of `value`. Values that nobody else holds are forgotten when the set has doubled.
    pub fn share(&self, value: T) -> Arc<T> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = known.set.get(&value) {
            return Arc::clone(&found.0);
        }
        if known.set.len() >= known.sweep_at {
            known.set.retain(|entry| Arc::strong_count(&entry.0) > 1);
            known.sweep_at = (known.set.len() * 2).max(1024);
        }
        let shared = Arc::new(value);
        known.set.insert(ByValue(Arc::clone(&shared)));
        shared
    }

    /// How many values are known.
    #[must_use]
    pub fn len(&self) -> usize {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).set.len()
    }

    /// Is none known?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state() -> State {
        State::from_values(None, vec![Box::from(*b"x"); variable_count()]).unwrap()
    }

    fn transition(want: impl FnOnce(&mut State)) -> (Transition, String) {
        let have = state();
        let mut to = have.clone();
        want(&mut to);
        let mut out = Vec::new();
        let t = write_transition(&have, &to, Flavour::MariaDb, false, &mut out);
        (t, String::from_utf8_lossy(&out).into_owned())
    }

    #[test]
    fn only_the_difference_is_set_with_each_servers_names() {
        let (t, sent) = transition(|s| {
            s.set(TRANSACTION_ISOLATION, b"SERIALIZABLE");
            s.set(AUTOCOMMIT, b"OFF");
            s.set(CHARACTER_SET_RESULTS, b"");
            s.set_database(Some(b"shop"));
        });
        assert_eq!(t, Transition { sets: true, database: true, needs_new_login: false });
        assert!(sent.contains(
            "SET SESSION character_set_results=NULL,SESSION autocommit=0,SESSION tx_isolation='SERIALIZABLE'"
        ));
        assert!(sent.ends_with("\x02shop"));
        assert_eq!(transition(|_| ()).0.commands(), 0);
    }

    #[test]
    fn a_value_with_quotes_or_backslashes_cannot_end_its_literal() {
        let (_, sent) = transition(|s| s.set(TIME_ZONE, b"a'b\\"));
        assert!(sent.contains("time_zone=_utf8mb4 0x6127625c"), "{sent}");
    }

    #[test]
    fn a_database_cannot_be_unset_without_a_new_login() {
        let mut have = state();
        have.set_database(Some(b"a"));
        assert!(write_transition(&have, &state(), Flavour::MySql, false, &mut Vec::new()).needs_new_login);
    }

    #[test]
    fn equal_states_become_one_and_unused_ones_are_forgotten() {
        let interner = Interner::default();
        let a = interner.share(state());
        assert!(Arc::ptr_eq(&a, &interner.share(state())));
        for i in 0..5000u32 {
            let mut s = state();
            s.set_database(Some(&i.to_le_bytes()));
            interner.share(s);
        }
        assert!(interner.len() <= 1025, "{}", interner.len());
        assert!(Arc::ptr_eq(&a, &interner.share(state())));
    }
}
