//! Tokens to facts: a state machine that is pushed through the text once.
//!
//! It does not parse. It knows three things about where it is: the statement's verb, for each open parenthesis whether
//! names in it stand for tables or for columns ([`Mode`]), and the name that is being read. Where the grammar is
//! ambiguous it errs towards naming a database too many and towards [`Access::Write`].

mod body;
mod calls;
mod literals;
mod names;
mod query;
mod set;
mod show;
mod start;
mod verb;

use smallvec::SmallVec;

use crate::analyzer::Analyzer;
use crate::hint::Asked;
use crate::lexer::Lower;
use crate::names::Names;
use crate::normal::Normal;
use crate::words::{self, Call, Keyword, Word};
use crate::{
    Access, ClientCharset, Dialect, Effects, Flavour, Hint, Kill, Kind, ShowWeir, Signals, TransactionStep,
};

pub(crate) use literals::Capture;
use names::Chain;
use verb::Verb;

/// Parentheses may nest so deep.
const DEEPEST: usize = 2000;

/// What names mean at this depth of parentheses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    /// A statement starts here.
    Start,
    /// A query may start here: after `UNION`, inside `((`.
    QueryStart,
    /// An expression: `a.b` is a column, `FROM` is part of a function's arguments.
    Expr,
    /// Any clause of a query but its table list; `FROM` starts that.
    Query,
    /// A table is expected.
    Tables,
    /// After a table: its alias, hints, then `,`, `JOIN`, `ON` or the next clause.
    TableTail,
    /// A join condition; a comma leads to the next table.
    On,
    /// The list of `WITH`.
    With,
    /// Every dotted name is `database.object`.
    Names,
}

/// What is remembered while a parenthesis is open.
#[derive(Clone, Copy, Debug)]
struct Frame {
    mode: Mode,
    is_query: bool,
    /// Opened by `LAST_INSERT_ID`.
    last_insert_id: bool,
}

/// How far a statement is from being a read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Level {
    /// Reads table data only.
    Read,
    /// Reads what may differ by server, or calls a function nobody knows: a hint may allow it.
    Differs,
    /// Writes, locks, or belongs to the session.
    Write,
}

/// The last token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Prev {
    Start,
    /// An unquoted word; [`Keyword::None`] for one without meaning here.
    Word(Keyword, Call),
    /// A word in front of `.name` or a name after a dot.
    Plain,
    Quoted,
    Dot,
    AtAt,
    UserVariable,
    Literal,
    Open,
    Close,
    Comma,
    Brace,
    Equals,
    Sign,
}

/// What the next name is, beyond what its mode says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Expect {
    Nothing,
    /// A whole database name.
    Database,
    /// The operand of USE.
    Use,
    /// A table, whatever the mode.
    Table,
    /// A temporary table that is created.
    TemporaryTable,
    /// A name without meaning.
    Skip,
}

/// What a pass found, names aside: see [`crate::Statement`].
pub(crate) struct Found {
    pub(crate) kind: Kind,
    pub(crate) access: Access,
    pub(crate) hint: Option<Hint>,
    pub(crate) transaction: TransactionStep,
    pub(crate) effects: Effects,
    pub(crate) signals: Signals,
    pub(crate) statements: u32,
    pub(crate) kill: Option<Kill>,
    pub(crate) weir: Option<ShowWeir>,
    pub(crate) digest: u64,
}

pub(crate) struct Pass {
    dialect: Dialect,
    normal: Normal,
    frames: SmallVec<[Frame; 16]>,
    frame: Frame,
    prev: Prev,
    chain: Chain,
    expect: Expect,
    at: Current,
    body: body::Body,

    // the text
    pub(crate) names: Names,
    effects: Effects,
    signals: Signals,
    hint: Option<Hint>,
    kind: Kind,
    transaction: TransactionStep,
    kill: Option<Kill>,
    weir: Option<ShowWeir>,
    statements: u32,
    worst: Level,
    /// What a nested text does: see [`Capture`].
    capture: Capture,
    nested: Option<Box<Analyzer>>,
    depth: u8,
}

/// The statement at hand.
#[derive(Clone, Copy)]
struct Current {
    verb: Verb,
    kind: Kind,
    level: Level,
    transaction: TransactionStep,
    kill: Option<Kill>,
    weir: Option<ShowWeir>,
    /// Tokens of it so far.
    tokens: u32,
    /// `INTO` was seen: variables that follow are assigned.
    into: bool,
    /// `FOR UPDATE` or `FOR SHARE` was seen.
    locking: bool,
    /// The word that is the table of a FROM list, as opposed to its alias.
    is_factor: bool,
    /// Before VALUES, SET or SELECT of an INSERT.
    insert_head: bool,
}

impl Current {
    const NONE: Current = Current {
        verb: Verb::None,
        kind: Kind::Empty,
        level: Level::Read,
        transaction: TransactionStep::None,
        kill: None,
        weir: None,
        tokens: 0,
        into: false,
        locking: false,
        is_factor: false,
        insert_head: false,
    };
}

const NO_FRAME: Frame = Frame { mode: Mode::Start, is_query: false, last_insert_id: false };

const NO_DIALECT: Dialect = Dialect {
    flavour: Flavour::MySql,
    version: 0,
    ansi_quotes: false,
    no_backslash_escapes: false,
    charset: ClientCharset::AsciiSafe,
};

impl Pass {
    /// One that has not started; allocates nothing.
    pub(crate) fn new() -> Self {
        Self {
            dialect: NO_DIALECT,
            normal: Normal::new(),
            frames: SmallVec::new(),
            frame: NO_FRAME,
            prev: Prev::Start,
            chain: Chain::default(),
            expect: Expect::Nothing,
            at: Current::NONE,
            body: body::Body::default(),
            names: Names::default(),
            effects: Effects::empty(),
            signals: Signals::empty(),
            hint: None,
            kind: Kind::Empty,
            transaction: TransactionStep::None,
            kill: None,
            weir: None,
            statements: 0,
            worst: Level::Read,
            capture: Capture::Off,
            nested: None,
            depth: 0,
        }
    }

    /// Ready for the first token. `keep` keeps the normalised text up to so many bytes, see [`Normal`]; `depth` counts
    /// how deep the text is nested in others.
    pub(crate) fn reset(&mut self, dialect: &Dialect, keep: Option<usize>, depth: u8) {
        self.dialect = *dialect;
        self.normal.start(keep);
        self.names.clear();
        self.effects = Effects::empty();
        self.signals = Signals::empty();
        self.hint = None;
        self.kind = Kind::Empty;
        self.transaction = TransactionStep::None;
        self.kill = None;
        self.weir = None;
        self.statements = 0;
        self.worst = Level::Read;
        self.depth = depth;
        self.start_statement();
    }

    fn start_statement(&mut self) {
        self.nested = None;
        self.at = Current::NONE;
        self.body = body::Body::default();
        self.start_inner();
    }

    /// A statement starts, maybe inside a compound one.
    fn start_inner(&mut self) {
        self.capture = Capture::Off;
        self.frames.clear();
        self.frame = NO_FRAME;
        self.at.verb = Verb::None;
        self.at.into = false;
        self.at.locking = false;
        self.at.insert_head = false;
        self.chain.parts = 0;
        self.expect = Expect::Nothing;
        self.prev = Prev::Start;
        self.body.expression_cases = 0;
    }

    pub(crate) fn finish(&mut self) -> Found {
        self.end_statement();
        if self.effects.contains(Effects::UNREADABLE) || self.statements == 0 {
            self.worst = Level::Write;
        }
        let reads = match self.worst {
            Level::Read => true,
            Level::Differs => self.hint == Some(Hint::Replica),
            Level::Write => false,
        };
        Found {
            kind: self.kind,
            access: if reads { Access::Read } else { Access::Write },
            hint: self.hint,
            transaction: self.transaction,
            effects: self.effects,
            signals: self.signals,
            statements: self.statements,
            kill: self.kill,
            weir: self.weir,
            digest: self.normal.digest(),
        }
    }

    /// The normalised text, as far as it was kept.
    pub(crate) fn text(&mut self) -> &[u8] {
        self.normal.lead_end();
        &self.normal.text
    }

    /// The text cannot be followed any further.
    #[cold]
    pub(crate) fn unreadable(&mut self) {
        self.effects |= Effects::UNREADABLE;
    }

    pub(crate) fn hint(&mut self, asked: Asked) {
        match asked {
            Asked::Run(_) if self.hint == Some(Hint::Primary) => {}
            Asked::Run(hint) => self.hint = Some(hint),
            Asked::Pin => self.effects |= Effects::PIN,
            Asked::Unpin => self.effects |= Effects::UNPIN,
        }
    }

    /// An optimizer hint that sets a variable for the statement.
    pub(crate) fn variable_hint(&mut self) {
        self.effect(Effects::VARIABLE_HINT);
    }

    fn raise(&mut self, level: Level) {
        self.at.level = self.at.level.max(level);
    }

    /// Records an effect, unless it is a stored program's: that one has it when it runs.
    fn effect(&mut self, effects: Effects) {
        self.effects |= if self.body.is_stored() { effects & body::GUARDS } else { effects };
    }

    /// The same for a signal.
    fn signal(&mut self, signals: Signals) {
        if !self.body.is_stored() {
            self.signals |= signals;
        }
    }

    fn is_mariadb(&self) -> bool {
        self.dialect.flavour == Flavour::MariaDb
    }

    /// Outside of all parentheses?
    fn is_outermost(&self) -> bool {
        self.frames.is_empty()
    }

    #[inline]
    pub(crate) fn word(&mut self, text: &[u8], lower: Lower, word: Word, plain: bool, may_qualify: bool) {
        self.normal.word(text, lower, word.keyword);
        self.at.tokens += 1;
        if word.keyword.is_virtual_variable() || (text.len() > 14 && names::is_session_track(text)) {
            self.virtual_variable(word.keyword);
        }
        match self.prev {
            Prev::AtAt => return self.system_variable_name(text, 0, word.keyword),
            Prev::Dot => return self.part(text, 0, Some(word.keyword)),
            _ => {}
        }
        self.start_chain(text, 0, may_qualify);
        let keyword = if plain { Keyword::None } else { word.keyword };
        if self.expect != Expect::Nothing && self.expected(text, 0, keyword) {
            self.prev = Prev::Plain;
            return;
        }
        let call = if word.call == Call::Infix { self.infix(keyword) } else { word.call };
        self.react(keyword, text);
        self.prev = if plain { Prev::Plain } else { Prev::Word(keyword, call) };
    }

    /// An identifier in quotes, as written; `doubled` is the quote that is doubled in it, or 0.
    pub(crate) fn quoted(&mut self, raw: &[u8], doubled: u8) {
        self.normal.quoted(b"", raw, b'`');
        self.at.tokens += 1;
        // No name that Weir answers for itself is shorter.
        if raw.len() >= 12
            && (words::look_up_quoted(raw).keyword.is_virtual_variable() || names::is_session_track(raw))
        {
            self.virtual_variable(words::look_up_quoted(raw).keyword);
        }
        match self.prev {
            Prev::AtAt => return self.system_variable_name(raw, doubled, words::look_up_quoted(raw).keyword),
            Prev::Dot => return self.part(raw, doubled, None),
            _ => {}
        }
        self.start_chain(raw, doubled, true);
        if self.expect != Expect::Nothing && self.expected(raw, doubled, Keyword::None) {
            self.prev = Prev::Plain;
            return;
        }
        if self.at.verb == Verb::Set && self.is_outermost() {
            self.set_target(raw, doubled, words::look_up_quoted(raw).keyword, true);
        } else {
            self.react(Keyword::None, raw);
        }
        self.prev = Prev::Quoted;
    }

    /// A name of one that Weir answers for itself, or of a table of all session variables, with last_insert_id.
    #[cold]
    fn virtual_variable(&mut self, keyword: Keyword) {
        self.effect(Effects::VIRTUAL_VARIABLE);
        if matches!(keyword, Keyword::SessionVariables | Keyword::VariablesByThread) {
            self.effect(Effects::READS_LAST_INSERT_ID);
        }
    }

    /// What an undotted word changes.
    fn react(&mut self, keyword: Keyword, text: &[u8]) {
        if self.frame.mode == Mode::Start {
            return self.statement_word(keyword);
        }
        if self.is_outermost() && self.at.verb.has_words() && self.verb_word(keyword, text) {
            return;
        }
        self.query_word(keyword);
    }

    /// `(`; `glued`: directly behind a name.
    pub(crate) fn open(&mut self, glued: bool) {
        self.normal.open();
        self.at.tokens += 1;
        if self.frame.mode == Mode::Start || (self.at.verb == Verb::Explain && self.is_outermost()) {
            self.start_query();
            self.frame.mode = Mode::QueryStart;
        }
        let last_insert_id = self.call(glued);
        if self.frames.len() >= DEEPEST {
            self.unreadable();
            return;
        }
        let mode = self.mode_inside();
        self.frames.push(self.frame);
        self.frame = Frame { mode, is_query: matches!(mode, Mode::Tables), last_insert_id };
        self.chain.parts = 0;
        self.prev = Prev::Open;
    }

    fn mode_inside(&self) -> Mode {
        match self.frame.mode {
            Mode::Tables => Mode::Tables,
            Mode::QueryStart | Mode::Start => Mode::QueryStart,
            Mode::With if matches!(self.prev, Prev::Word(Keyword::As, _)) => Mode::QueryStart,
            Mode::Names => self.names_inside(),
            _ if self.is_sequence_call() => Mode::Names,
            _ => Mode::Expr,
        }
    }

    pub(crate) fn close(&mut self) {
        self.normal.close();
        self.at.tokens += 1;
        if self.frame.last_insert_id {
            let reads = self.prev == Prev::Open;
            self.effect(if reads { Effects::READS_LAST_INSERT_ID } else { Effects::SETS_LAST_INSERT_ID });
        }
        if let Some(frame) = self.frames.pop() {
            self.frame = frame;
        }
        if self.frame.mode == Mode::Tables {
            self.frame.mode = Mode::TableTail;
        }
        if self.is_outermost() {
            self.verb_close();
        }
        self.chain.parts = 0;
        self.prev = Prev::Close;
    }

    pub(crate) fn comma(&mut self) {
        self.normal.comma();
        self.at.tokens += 1;
        self.other_start();
        // In old servers INTERSECT and EXCEPT are names.
        if matches!(self.frame.mode, Mode::TableTail | Mode::On | Mode::QueryStart) {
            self.frame.mode = Mode::Tables;
        }
        if self.is_outermost() {
            self.verb_comma();
        }
        self.chain.parts = 0;
        self.prev = Prev::Comma;
    }

    pub(crate) fn operator(&mut self, text: &[u8]) {
        self.normal.operator(text);
        self.at.tokens += 1;
        if self.prev == Prev::Dot && text == b"*" {
            // `GRANT ... ON db.*`; elsewhere `t.*` are a table's columns.
            if self.at.verb == Verb::Grant && self.chain.parts == 1 {
                self.record_chain();
            }
            self.prev = Prev::Close;
            self.chain.parts = 0;
            return;
        }
        self.other_start();
        self.prev = match text {
            b"=" => Prev::Equals,
            b"{" => Prev::Brace,
            _ => Prev::Sign,
        };
        match text {
            b"}" if matches!(self.frame.mode, Mode::Tables | Mode::On) => self.frame.mode = Mode::TableTail,
            b":" | b">>" => self.label(text),
            _ => {}
        }
        self.chain.parts = 0;
    }

    pub(crate) fn assign(&mut self) {
        self.normal.operator(b":=");
        self.at.tokens += 1;
        self.other_start();
        if !(self.at.verb == Verb::Set && self.is_outermost()) || self.prev == Prev::UserVariable {
            self.effect(Effects::USER_VARIABLE_WRITE);
            self.raise(Level::Write);
        }
        self.chain.parts = 0;
        self.prev = Prev::Equals;
    }

    pub(crate) fn semicolon(&mut self) {
        self.normal.semicolon();
        if self.body.is_open() {
            self.end_nested();
            self.start_inner();
        } else {
            self.end_statement();
            self.start_statement();
        }
    }

    /// Something that no statement starts with.
    fn other_start(&mut self) {
        if self.frame.mode == Mode::Start {
            self.start_other();
        }
    }

    fn end_statement(&mut self) {
        if self.at.tokens > 0 {
            self.verb_end();
            self.end_nested();
            if self.statements == 0 {
                self.kind = self.at.kind;
            }
            self.statements = self.statements.saturating_add(1);
            self.worst = self.worst.max(self.at.level);
            if self.at.transaction != TransactionStep::None {
                self.transaction = self.at.transaction;
            }
            if self.at.kill.is_some() {
                self.kill = self.at.kill;
            }
            if self.at.weir.is_some() {
                self.weir = self.at.weir;
            }
        }
    }
}
