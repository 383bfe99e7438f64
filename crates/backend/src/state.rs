//! The part of a session's state that travels: what a backend connection must have set before a statement of the
//! session may run on it.
//!
//! A [`State`] names a value for every travelling variable, never "the default": two servers may have different
//! defaults, and a session must see those of its primary everywhere. Equal states are shared, so that the usual
//! comparison is that of two pointers.

mod preparing;

pub use preparing::NOT_FOR_PREPARING;

use std::{
    borrow::Cow,
    cmp::Ordering,
    collections::HashSet,
    hash::{Hash, Hasher},
    sync::{Arc, Mutex, PoisonError},
};

use smallvec::SmallVec;
use weir_wire::{command::com, query_attributes::query_head, server_version::Flavour, write_packet};
use xxhash_rust::xxh3::xxh3_64;

use crate::{opening::Opening, text::TextChange};

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

/// Those that MySQL lets only privileged accounts set. Source: "Restricted session system variables".
const RESTRICTED: [&str; 2] = ["auto_increment_increment", "auto_increment_offset"];

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
/// `completion_type`: what COMMIT and ROLLBACK do beyond what they say.
pub const COMPLETION_TYPE: VariableId = VariableId(27);

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
    both("completion_type", Literal::Text),
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
    /// Session variables of which nobody knows the value unless a session has set them, by name.
    others: Arc<[Other]>,
    /// What SET ROLE takes, if it is not what login gave.
    role: Option<Box<[u8]>>,
    /// MySQL's resource group, if it is not that of user threads.
    resource_group: Option<Box<[u8]>>,
}

/// A variable that only sessions which have set it name.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Other {
    name: Box<[u8]>,
    /// As SET takes it.
    literal: Box<[u8]>,
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
            others: Arc::default(),
            role: None,
            resource_group: None,
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

    /// A variable that is none of [`variable`]'s was set: `literal` is its value as SET takes it.
    pub fn set_other(&mut self, name: &[u8], literal: &[u8]) {
        let other = Other { name: name.into(), literal: literal.into() };
        let mut others = self.others.to_vec();
        match others.binary_search_by(|known| (*known.name).cmp(name)) {
            Ok(at) => {
                if let Some(slot) = others.get_mut(at) {
                    *slot = other;
                }
            }
            Err(at) => others.insert(at, other),
        }
        self.others = others.into();
    }

    /// The same variable has the server's own value again.
    pub fn unset_other(&mut self, name: &[u8]) {
        if self.others.iter().any(|other| *other.name == *name) {
            self.others = self.others.iter().filter(|other| *other.name != *name).cloned().collect();
        }
    }

    /// The same other variables as `from` has, role and resource group.
    pub fn set_others_of(&mut self, from: &State) {
        self.others = Arc::clone(&from.others);
        self.set_rights_of(from);
    }

    /// The same role and resource group as `from` has.
    pub fn set_rights_of(&mut self, from: &State) {
        self.role.clone_from(&from.role);
        self.resource_group.clone_from(&from.resource_group);
    }

    /// The active roles as SET ROLE takes them; `None` for what login gave.
    #[must_use]
    pub fn role(&self) -> Option<&[u8]> {
        self.role.as_deref()
    }

    /// Other roles are active.
    pub fn set_role(&mut self, role: Option<&[u8]>) {
        self.role = role.map(Into::into);
    }

    /// The resource group as SET RESOURCE GROUP takes it; `None` for that of user threads.
    #[must_use]
    pub fn resource_group(&self) -> Option<&[u8]> {
        self.resource_group.as_deref()
    }

    /// The thread is in another resource group.
    pub fn set_resource_group(&mut self, group: Option<&[u8]>) {
        self.resource_group = group.map(Into::into);
    }

    /// Has it roles or a resource group of its own?
    #[must_use]
    pub fn has_rights(&self) -> bool {
        self.role.is_some() || self.resource_group.is_some()
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
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Transition {
    /// One SET of all that differs; empty if nothing does.
    pub set: Vec<u8>,
    /// The default database changes to this one.
    pub database: Option<Box<[u8]>>,
    /// The wanted session has no default database, but the connection has: only a new login takes it away.
    pub needs_new_login: bool,
    /// `character_set_client` changes, and with it what the bytes of a text mean.
    pub recodes: bool,
    /// The active roles change to these, as SET ROLE takes them.
    pub role: Option<Box<[u8]>>,
    /// They are those that login gave: what is set was set with more rights, perhaps.
    pub gives_roles_back: bool,
    /// The resource group changes to this one.
    pub resource_group: Option<Box<[u8]>>,
    /// Names of prepared texts that change, behind all else.
    pub texts: Vec<TextChange>,
    /// A transaction is opened behind all that.
    pub opening: Opening,
    /// The values that are set, as [`Accepted`] knows them.
    values: Values,
}

/// A statement of a [`Transition`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// SET of variables.
    Set,
    /// SET ROLE.
    Role,
    /// SET RESOURCE GROUP.
    ResourceGroup,
    /// USE.
    Database,
    /// The n-th change of [`Transition::texts`].
    Text(usize),
    /// The n-th statement of [`Transition::opening`].
    Opening(usize),
}

/// The resource group of all connections that are not in another.
const USER_GROUP: &[u8] = b"USR_default";

/// The system variables that one SET assigns.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
struct Values {
    /// One number for each name and value.
    hashes: SmallVec<[u64; 4]>,
    /// Some need a privilege, which may be revoked.
    restricted: bool,
}

impl Values {
    fn add(&mut self, assignment: &[u8]) {
        self.hashes.push(xxh3_64(assignment));
    }
}

/// Values of variables that a server has accepted before: it will accept them again.
#[derive(Debug, Default)]
pub struct Accepted {
    hashes: Mutex<HashSet<u64>>,
}

/// More are not remembered: they are forgotten, and begun anew.
const MOST_ACCEPTED: usize = 1 << 16;

impl Accepted {
    /// The server made the transition.
    pub(crate) fn add(&self, transition: &Transition) {
        if transition.values.hashes.is_empty() {
            return;
        }
        let mut hashes = self.hashes.lock().unwrap_or_else(PoisonError::into_inner);
        if hashes.len() >= MOST_ACCEPTED {
            hashes.clear();
        }
        hashes.extend(&transition.values.hashes);
    }

    /// The server has refused what it had accepted.
    pub(crate) fn remove(&self, transition: &Transition) {
        let mut hashes = self.hashes.lock().unwrap_or_else(PoisonError::into_inner);
        for hash in &transition.values.hashes {
            hashes.remove(hash);
        }
    }

    /// Will the server make the transition for certain, so that what follows need not wait for its answer?
    #[must_use]
    pub fn are_all(&self, transition: &Transition) -> bool {
        let known = |hashes: &HashSet<u64>| transition.values.hashes.iter().all(|hash| hashes.contains(hash));
        // anything else may be refused; a statement behind a BEGIN that was would commit at once
        transition.parts().all(|part| part == Part::Set)
            && !transition.needs_new_login
            && !transition.values.restricted
            && known(&self.hashes.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Transition {
    /// What turns `have` into `want` on a server of `flavour`.
    #[must_use]
    pub fn between(have: &State, want: &State, flavour: Flavour) -> Self {
        let mut set = Vec::new();
        let values = write_set(have, want, flavour, &mut set);
        let (have_database, want_database) = (have.database(), want.database());
        let changes = have_database != want_database;
        let group = || want.resource_group.clone().unwrap_or_else(|| USER_GROUP.into());
        Self {
            set,
            database: want_database.filter(|_| changes).map(Into::into),
            needs_new_login: changes && want_database.is_none(),
            recodes: have.value(CHARACTER_SET_CLIENT) != want.value(CHARACTER_SET_CLIENT),
            role: None,
            gives_roles_back: false,
            resource_group: (have.resource_group != want.resource_group).then(group),
            texts: Vec::new(),
            opening: Opening::default(),
            values,
        }
    }

    /// The same, with a transaction opened behind it.
    #[must_use]
    pub fn opening(self, opening: Opening) -> Self {
        Self { opening, ..self }
    }

    /// Only changes of names.
    #[must_use]
    pub fn of_texts(texts: Vec<TextChange>) -> Self {
        Self { texts, ..Self::default() }
    }

    /// The same on a connection to which login gave the roles `by_login`, as SET ROLE takes them.
    #[must_use]
    pub fn with_roles(mut self, have: &State, want: &State, by_login: &[u8]) -> Self {
        if have.role != want.role {
            self.gives_roles_back = want.role.is_none();
            self.role = Some(want.role.clone().unwrap_or_else(|| by_login.into()));
        }
        self
    }

    /// Its statements in their order. What is set may need a role, and so may a database.
    pub fn parts(&self) -> impl Iterator<Item = Part> + use<> {
        let set = (!self.set.is_empty()).then_some(Part::Set);
        let role = self.role.is_some().then_some(Part::Role);
        let group = self.resource_group.is_some().then_some(Part::ResourceGroup);
        let rights = if self.gives_roles_back { [group, set, role] } else { [role, group, set] };
        let database = self.database.is_some().then_some(Part::Database);
        let texts = (0..self.texts.len()).map(Part::Text);
        let opening = (0..self.opening.statements().count()).map(Part::Opening);
        rights.into_iter().chain([database]).flatten().chain(texts).chain(opening)
    }

    /// How many of its statements change the state.
    #[must_use]
    pub fn changes(&self) -> usize {
        self.parts().filter(|part| !matches!(part, Part::Opening(_))).count()
    }

    /// Appends a part as a statement.
    fn write_part(&self, part: Part, out: &mut Vec<u8>) {
        match part {
            Part::Set => out.extend_from_slice(&self.set),
            Part::Role => {
                out.extend_from_slice(b"SET ROLE ");
                out.extend_from_slice(self.role.as_deref().unwrap_or_default());
            }
            Part::ResourceGroup => {
                out.extend_from_slice(b"SET RESOURCE GROUP ");
                out.extend_from_slice(self.resource_group.as_deref().unwrap_or_default());
            }
            Part::Database => {
                out.extend_from_slice(b"USE ");
                out.extend(quoted_name(self.database.as_deref().unwrap_or_default()));
            }
            Part::Text(n) => out.extend(self.texts.get(n).map(TextChange::sql).unwrap_or_default()),
            Part::Opening(n) => {
                out.extend(self.opening.statements().nth(n).unwrap_or_default().bytes());
            }
        }
    }

    /// How many answers to expect.
    #[must_use]
    pub fn commands(&self) -> usize {
        self.parts().count()
    }

    /// Appends it as commands: COM_QUERY, COM_INIT_DB. `attributes`: the connection has negotiated query attributes.
    pub fn write_commands(&self, attributes: bool, out: &mut Vec<u8>) {
        for part in self.parts() {
            let mut payload = Vec::new();
            match (part, &self.database) {
                (Part::Database, Some(database)) => {
                    payload.push(com::INIT_DB);
                    payload.extend_from_slice(database);
                }
                _ => {
                    payload.extend_from_slice(query_head(attributes));
                    self.write_part(part, &mut payload);
                }
            }
            write_packet(out, 0, &payload);
        }
    }

    /// Can it be made by statements that mean the same in every character set?
    #[must_use]
    pub fn is_plain(&self) -> bool {
        let means_the_same = |change: &TextChange| !self.recodes || change.sql().is_ascii();
        !self.needs_new_login
            && self.database.as_deref().is_none_or(<[u8]>::is_ascii)
            && self.set.is_ascii()
            && self.texts.iter().all(means_the_same)
    }

    /// Appends it as statements, each with its semicolon. It must be [plain](Self::is_plain).
    pub fn write_statements(&self, out: &mut Vec<u8>) {
        for part in self.parts() {
            self.write_part(part, out);
            out.push(b';');
        }
    }
}

/// A name in backticks.
pub(crate) fn quoted_name(name: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(name.len() + 2);
    out.push(b'`');
    for &byte in name {
        out.extend(std::iter::repeat_n(byte, if byte == b'`' { 2 } else { 1 }));
    }
    out.push(b'`');
    out
}

fn write_set(have: &State, want: &State, flavour: Flavour, set: &mut Vec<u8>) -> Values {
    let mut values = Values::default();
    let mut have = Cow::Borrowed(have);
    if have.results_collation != want.results_collation && !want.results_collation.is_empty() {
        // the only statement that sets what strings in result metadata bear
        set.extend_from_slice(b"SET NAMES ");
        quote(want.value(CHARACTER_SET_RESULTS), set);
        set.extend_from_slice(b" COLLATE ");
        quote(&want.results_collation, set);
        values.add(set);
        let named = have.to_mut();
        named.set(CHARACTER_SET_CLIENT, want.value(CHARACTER_SET_RESULTS));
        named.set(CHARACTER_SET_RESULTS, want.value(CHARACTER_SET_RESULTS));
        named.set(COLLATION_CONNECTION, &want.results_collation);
    }
    let have = have.as_ref();
    for ((variable, have), want) in VARIABLES.iter().zip(&have.values).zip(&want.values) {
        let Some(name) = variable.name(flavour).filter(|_| have != want) else { continue };
        set.extend_from_slice(if set.is_empty() { b"SET SESSION " } else { b",SESSION " });
        let from = set.len();
        set.extend_from_slice(name.as_bytes());
        set.push(b'=');
        match variable.literal {
            Literal::TextOrNull if want.is_empty() => set.extend_from_slice(b"NULL"),
            Literal::Text | Literal::TextOrNull => quote(want, set),
            Literal::Bare => set.extend_from_slice(want),
        }
        values.add(set.get(from..).unwrap_or_default());
        values.restricted |= RESTRICTED.contains(&name);
    }
    // which of the others need a privilege is the server's own affair
    values.restricted |= have.others != want.others;
    write_others(&have.others, &want.others, set);
    values
}

/// Sets what is wanted otherwise. What nobody wants gets the server's own value: that of every new session.
fn write_others(have: &[Other], want: &[Other], set: &mut Vec<u8>) {
    let mut assign = |name: &[u8], literal: &[u8]| {
        set.extend_from_slice(if set.is_empty() { b"SET SESSION " } else { b",SESSION " });
        set.extend_from_slice(name);
        set.push(b'=');
        set.extend_from_slice(literal);
    };
    let (mut have, mut want) = (have.iter().peekable(), want.iter().peekable());
    loop {
        let order = match (have.peek(), want.peek()) {
            (None, None) => return,
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some(have), Some(want)) => have.name.cmp(&want.name),
        };
        let had = have.next_if(|_| order != Ordering::Greater);
        match (had, want.next_if(|_| order != Ordering::Less)) {
            (Some(had), None) => assign(&had.name, b"DEFAULT"),
            (Some(had), Some(wanted)) if had == wanted => {}
            (_, Some(wanted)) => assign(&wanted.name, &wanted.literal),
            (None, None) => return,
        }
    }
}

/// A string literal that means the same with and without NO_BACKSLASH_ESCAPES: values with a backslash go as hex.
pub(crate) fn quote(value: &[u8], out: &mut Vec<u8>) {
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

    /// Every value that somebody else holds, and how many do.
    #[must_use]
    pub fn all(&self) -> Vec<(Arc<T>, usize)> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let holders = |entry: &ByValue<T>| Arc::strong_count(&entry.0).saturating_sub(1);
        let held = known.set.iter().map(|entry| (holders(entry), entry)).filter(|(n, _)| *n > 0);
        held.map(|(n, entry)| (Arc::clone(&entry.0), n)).collect()
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
    use crate::{Definition, text::Becomes};

    fn state() -> State {
        State::from_values(None, vec![Box::from(*b"x"); variable_count()]).unwrap()
    }

    /// The commands, and the same as statements.
    fn transition(want: impl FnOnce(&mut State)) -> [String; 2] {
        let have = state();
        let mut to = have.clone();
        want(&mut to);
        let transition = Transition::between(&have, &to, Flavour::MariaDb);
        let mut out = [Vec::new(), Vec::new()];
        transition.write_commands(false, &mut out[0]);
        transition.write_statements(&mut out[1]);
        out.map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
    }

    #[test]
    fn only_the_difference_is_set_with_each_servers_names() {
        let [sent, statements] = transition(|s| {
            s.set(TRANSACTION_ISOLATION, b"SERIALIZABLE");
            s.set(AUTOCOMMIT, b"OFF");
            s.set(CHARACTER_SET_RESULTS, b"");
            s.set_database(Some(b"sh`op"));
        });
        let set =
            "SET SESSION character_set_results=NULL,SESSION autocommit=0,SESSION tx_isolation='SERIALIZABLE'";
        assert!(sent.contains(set), "{sent}");
        assert!(sent.ends_with("\x02sh`op"));
        assert_eq!(statements, format!("{set};USE `sh``op`;"));
        assert_eq!(transition(|_| ()), ["", ""]);
    }

    #[test]
    fn only_what_was_accepted_before_is_trusted() {
        let (have, accepted) = (state(), Accepted::default());
        let mut want = state();
        want.set(SQL_MODE, b"ANSI");
        want.set(TIME_ZONE, b"UTC");
        let both = Transition::between(&have, &want, Flavour::MySql);
        assert!(!accepted.are_all(&both));
        accepted.add(&both);
        assert!(accepted.are_all(&both));
        let mut one = state();
        one.set(TIME_ZONE, b"UTC");
        assert!(accepted.are_all(&Transition::between(&have, &one, Flavour::MySql)));
        for change in [
            |state: &mut State| state.set(TIME_ZONE, b"+01:00"),
            |state: &mut State| state.set_database(Some(b"other")),
            |state: &mut State| state.set_other(b"sql_log_bin", b"0"),
        ] {
            let mut other = one.clone();
            change(&mut other);
            let transition = Transition::between(&have, &other, Flavour::MySql);
            assert!(!accepted.are_all(&transition), "{transition:?}");
        }
    }

    #[test]
    fn other_variables_are_set_and_given_back() {
        let mut have = state();
        have.set_other(b"sort_buffer_size", b"32768");
        have.set_other(b"big_tables", b"ON");
        have.set_other(b"max_seeks_for_key", b"7");
        let mut want = state();
        want.set_other(b"max_seeks_for_key", b"8");
        want.set_other(b"big_tables", b"ON");
        want.set_other(b"transaction_prealloc_size", b"4096");
        let sent = String::from_utf8(Transition::between(&have, &want, Flavour::MySql).set).unwrap();
        let set = "SET SESSION max_seeks_for_key=8,SESSION sort_buffer_size=DEFAULT,SESSION transaction_prealloc_size=4096";
        assert_eq!(sent, set);
        assert_eq!(Transition::between(&want, &want.clone(), Flavour::MySql).commands(), 0);
    }

    /// The statements that turn one state into the other.
    fn statements(have: &State, want: &State) -> String {
        let transition = Transition::between(have, want, Flavour::MySql).with_roles(have, want, b"`r`@`%`");
        let mut out = Vec::new();
        transition.write_statements(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn what_a_role_allows_is_done_while_it_is_active() {
        let (mut with, without) = (state(), state());
        with.set_role(Some(b"`a`@`%`,`b`@`%`"));
        with.set_resource_group(Some(b"`g`"));
        with.set_other(b"sql_log_bin", b"0");
        with.set_database(Some(b"d"));
        assert_eq!(
            statements(&without, &with),
            "SET ROLE `a`@`%`,`b`@`%`;SET RESOURCE GROUP `g`;SET SESSION sql_log_bin=0;USE `d`;"
        );
        assert_eq!(
            statements(&with, &without),
            "SET RESOURCE GROUP USR_default;SET SESSION sql_log_bin=DEFAULT;SET ROLE `r`@`%`;"
        );
        let mut none = without.clone();
        none.set_role(Some(b"NONE"));
        assert_eq!(statements(&without, &none), "SET ROLE NONE;");
        let transition =
            Transition::between(&without, &none, Flavour::MySql).with_roles(&without, &none, b"");
        assert!(!Accepted::default().are_all(&transition), "it may be revoked");
    }

    #[test]
    fn texts_are_prepared_behind_all_else() {
        let (have, mut want) = (state(), state());
        want.set_database(Some(b"d"));
        let definition =
            Definition { text: (*b"PREPARE `a` FROM 'SELECT 1'").into(), state: Arc::new(state()) };
        let change = |name: &[u8; 1], becomes| TextChange { name: (*name).into(), becomes };
        let mut transition = Transition::between(&have, &want, Flavour::MySql);
        transition.texts = vec![
            change(b"a", Becomes::Prepared(Arc::new(definition))),
            change(b"b", Becomes::Unknown),
            change(b"c", Becomes::Anything),
        ];
        let mut out = Vec::new();
        transition.write_statements(&mut out);
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "USE `d`;PREPARE `a` FROM 'SELECT 1';DEALLOCATE PREPARE `b`;PREPARE `c` FROM 'DO 1';"
        );
        assert_eq!(transition.commands(), 4);
        assert!(!Accepted::default().are_all(&transition));
    }

    #[test]
    fn a_value_with_quotes_or_backslashes_cannot_end_its_literal() {
        let [sent, _] = transition(|s| s.set(TIME_ZONE, b"a'b\\"));
        assert!(sent.contains("time_zone=_utf8mb4 0x6127625c"), "{sent}");
    }

    #[test]
    fn a_database_cannot_be_unset_without_a_new_login() {
        let mut have = state();
        have.set_database(Some(b"a"));
        let want = state();
        let transition = Transition::between(&have, &want, Flavour::MySql);
        assert!(transition.needs_new_login);
        assert!(!transition.is_plain());
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
