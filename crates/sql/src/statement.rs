//! What a statement means to a gateway: the value that the one pass of the lexer produces.

use bitflags::bitflags;

use crate::{Detail, Signals, Using, pass::Pass};

/// Which server family the text is for; decides which version comments are executed and some keywords.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Flavour {
    /// Oracle MySQL, Percona Server.
    MySql,
    /// MariaDB.
    MariaDb,
}

/// How multi-byte characters of `character_set_client` hide ASCII bytes.
///
/// In these charsets the second (or later) byte of a character may be `\`, `` ` ``, `@` or a letter; a lexer
/// that does not step over whole characters ends strings in the wrong place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ClientCharset {
    /// Every byte of a multi-byte character is >= 0x80 (ascii, latin*, utf8*, euc*, ...).
    AsciiSafe,
    /// gbk.
    Gbk,
    /// sjis and cp932.
    Sjis,
    /// big5.
    Big5,
    /// gb18030 (two and four byte characters).
    Gb18030,
    /// One byte is one character, and some above 0x7f are white space or control characters to the servers'
    /// lexers (0xA0 in latin1). Made by [`ClientCharset::of_name`].
    SingleByte(HighBytes),
}

/// What bytes above 0x7f mean in a single-byte charset.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct HighBytes {
    /// White space; 0 if there is none.
    pub(crate) space: u8,
    /// Control characters: after `--` they start a comment.
    pub(crate) control: &'static [u8],
}

impl HighBytes {
    pub(crate) fn makes_comment(self, b: u8) -> bool {
        b != 0 && b == self.space || self.control.contains(&b)
    }
}

/// What of the session and the server changes where a token ends and what it means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Dialect {
    /// Server family.
    pub flavour: Flavour,
    /// Server version as `major * 10000 + minor * 100 + patch` (MySQL 9.7.4 = 90704, MariaDB 10.11.19 = 101119).
    pub version: u32,
    /// `sql_mode` has ANSI_QUOTES: `"x"` is an identifier.
    pub ansi_quotes: bool,
    /// `sql_mode` has NO_BACKSLASH_ESCAPES.
    pub no_backslash_escapes: bool,
    /// `character_set_client` of the session.
    pub charset: ClientCharset,
}

/// What kind of statement it is; the label of metrics, never by itself a routing decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum Kind {
    Empty,
    Select,
    Insert,
    Replace,
    Update,
    Delete,
    Load,
    Call,
    Do,
    Set,
    Show,
    Explain,
    Use,
    Begin,
    Commit,
    Rollback,
    Savepoint,
    Xa,
    Ddl,
    Lock,
    Prepare,
    Handler,
    Kill,
    Admin,
    Other,
}

/// May the statement run on a replica?
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Access {
    /// It reads table data only; any healthy replica may answer.
    Read,
    /// It writes, locks, reads what differs by server, or is not known: the primary.
    Write,
}

/// Where the author of the statement wants it to run: `/* weir: primary */`, `/* weir: replica */`, `/*master*/`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Hint {
    /// The primary, whatever the text says.
    Primary,
    /// A replica, although the text alone would not go there (never for a statement known to write).
    Replica,
}

/// What the text does to the transaction of its session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TransactionStep {
    /// Nothing that the text shows.
    None,
    /// `BEGIN`, `START TRANSACTION [READ WRITE]`.
    Begin,
    /// `START TRANSACTION READ ONLY` (the only one that may start on a replica).
    BeginReadOnly,
    /// `COMMIT`, with or without CHAIN and RELEASE.
    Commit,
    /// `ROLLBACK` (not `ROLLBACK TO`).
    Rollback,
}

bitflags! {
    /// What running the statement may leave behind in its session, or needs to find there.
    ///
    /// A flag is set whenever the text *may* do it (also inside a subquery, a comment that the server executes,
    /// or any statement of a multi-statement text).
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
    pub struct Effects: u64 {
        // --- leaves state that cannot travel ---
        /// Assigns a user variable: `SET @x`, `@x:=`, `INTO @x`, an OUT argument, `EXECUTE`/`PREPARE` of a text that may.
        const USER_VARIABLE_WRITE   = 1 << 0;
        /// `CREATE TEMPORARY TABLE`.
        const TEMPORARY_TABLE       = 1 << 1;
        /// `GET_LOCK(...)`.
        const USER_LOCK             = 1 << 2;
        /// `LOCK TABLES`, `LOCK TABLE`.
        const LOCK_TABLES           = 1 << 3;
        /// `UNLOCK TABLES`.
        const UNLOCK_TABLES         = 1 << 4;
        /// `FLUSH TABLES ... WITH READ LOCK`, `FLUSH TABLES ... FOR EXPORT`.
        const GLOBAL_READ_LOCK      = 1 << 5;
        /// `LOCK INSTANCE FOR BACKUP`, MariaDB's `BACKUP STAGE` (but for its end), `BACKUP LOCK`.
        const BACKUP_LOCK           = 1 << 6;
        /// `HANDLER ... OPEN`.
        const HANDLER_OPEN          = 1 << 7;
        /// `PREPARE s FROM ...`.
        const TEXT_PREPARE          = 1 << 8;
        /// `EXECUTE s`, `EXECUTE IMMEDIATE`, `DEALLOCATE PREPARE`.
        const TEXT_EXECUTE          = 1 << 9;
        /// `SET ROLE`.
        const ROLE                  = 1 << 10;
        /// `CALL`: a routine may do anything.
        const CALL                  = 1 << 11;
        /// Assigns a session system variable (`SET x=`, `SET SESSION x=`, `SET @@x=`, `SET NAMES`, `SET CHARACTER SET`).
        const SET_SESSION           = 1 << 12;
        /// `SET TRANSACTION ...` without SESSION or GLOBAL: for the next transaction only.
        const NEXT_TRANSACTION      = 1 << 13;
        /// `SQL_CALC_FOUND_ROWS`.
        const CALC_FOUND_ROWS       = 1 << 14;
        /// `XA ...`, but for `XA RECOVER`.
        const XA                    = 1 << 15;
        /// MariaDB's `SET STATEMENT ... FOR`.
        const SET_STATEMENT         = 1 << 16;
        /// `SET profiling`, `SHOW PROFILE(S)`.
        const PROFILING             = 1 << 17;
        /// Releases user locks: `RELEASE_LOCK`, `RELEASE_ALL_LOCKS`; or asks about them (`IS_USED_LOCK`, `IS_FREE_LOCK`).
        const USER_LOCK_OTHER       = 1 << 18;
        /// `HANDLER ... READ | CLOSE`.
        const HANDLER_OTHER         = 1 << 19;
        /// `DROP TEMPORARY TABLE`.
        const DROP_TEMPORARY        = 1 << 20;
        /// An optimizer hint `SET_VAR`: a system variable has another value for this statement.
        const VARIABLE_HINT         = 1 << 21;
        /// In SET: calls a function that is not built in, for all that is known. It may assign more than the text does.
        const FUNCTION_CALL         = 1 << 22;
        /// Names a user variable otherwise than with letters, digits, `_`, `$` and `.`: it is not among the names found.
        const ODD_USER_VARIABLE     = 1 << 23;

        // --- reads what belongs to the session ---
        /// `LAST_INSERT_ID()` without argument, `@@last_insert_id`, `@@identity`.
        const READS_LAST_INSERT_ID  = 1 << 24;
        /// `LAST_INSERT_ID(expr)`: sets it.
        const SETS_LAST_INSERT_ID   = 1 << 25;
        /// `ROW_COUNT()`.
        const READS_ROW_COUNT       = 1 << 26;
        /// `FOUND_ROWS()`.
        const READS_FOUND_ROWS      = 1 << 27;
        /// `SHOW WARNINGS`, `SHOW ERRORS`, `SHOW COUNT(*) WARNINGS`, `GET DIAGNOSTICS`, `@@warning_count`, `@@error_count`.
        const READS_DIAGNOSTICS     = 1 << 28;
        /// Reads `@x`.
        const USER_VARIABLE_READ    = 1 << 29;
        /// Any `@@x`, or a SHOW of variables or status.
        const READS_SYSTEM_VARIABLE = 1 << 30;
        /// Mentions `session_track_*`, `wait_timeout`, `interactive_timeout`, `net_read_timeout`, `net_write_timeout`,
        /// `net_retry_count`, `net_buffer_length` or `max_allowed_packet` in any position, or shows all variables
        /// (`SHOW [SESSION] VARIABLES`, `session_variables` tables).
        const VIRTUAL_VARIABLE      = 1 << 31;
        /// `CONNECTION_ID()`, `@@pseudo_thread_id`, `SHOW PROCESSLIST`.
        const READS_CONNECTION_ID   = 1 << 32;

        // --- guards ---
        /// Changes something that `transaction_read_only=1` does not stop at the server: SET GLOBAL/PERSIST, FLUSH,
        /// ANALYZE/OPTIMIZE/REPAIR TABLE, RESET, PURGE, KILL, SHUTDOWN, INSTALL, replication control, ...
        const ADMINISTRATIVE        = 1 << 40;
        /// Would lift the read-only guard: `SET [SESSION] TRANSACTION READ WRITE`, `START TRANSACTION READ WRITE`,
        /// any assignment to `transaction_read_only` / `tx_read_only`.
        const LIFTS_READ_ONLY       = 1 << 41;
        /// Commits implicitly (DDL, LOCK TABLES, ...).
        const IMPLICIT_COMMIT       = 1 << 42;
        /// `SHOW DATABASES`, `SHOW SCHEMAS`.
        const SHOW_DATABASES        = 1 << 43;
        /// `SHOW WARNINGS` and other statements which keep the diagnostics area of their predecessor.
        const KEEPS_DIAGNOSTICS     = 1 << 44;
        /// `LOAD DATA LOCAL`, `LOAD XML LOCAL`.
        const LOCAL_INFILE          = 1 << 45;
        /// The text could not be followed to its end (an unterminated string or comment, nesting over the limit).
        const UNREADABLE            = 1 << 46;
        /// `KILL`.
        const KILL                  = 1 << 47;
        /// `COMMIT RELEASE`, `ROLLBACK RELEASE`: the server closes the connection behind its answer.
        const RELEASE               = 1 << 48;
        /// `/* weir: pin */`: the session keeps its connection.
        const PIN                   = 1 << 49;
        /// `/* weir: unpin */`: that ends.
        const UNPIN                 = 1 << 50;
        /// `SHOW PROCESSLIST`, with or without FULL.
        const SHOW_PROCESSLIST      = 1 << 51;
        /// `SHOW FULL PROCESSLIST`.
        const FULL_PROCESSLIST      = 1 << 52;

        // --- set by who knows the session's prepared texts ---
        /// PREPARE, EXECUTE or DEALLOCATE of a text that is known: what an execution does is among the effects.
        const KNOWN_TEXT            = 1 << 60;
        /// `SET RESOURCE GROUP`.
        const RESOURCE_GROUP        = 1 << 61;
    }
}

/// What PREPARE and EXECUTE have of their own.
const OWN: Effects = Effects::USER_VARIABLE_READ.union(Effects::PIN).union(Effects::UNPIN);

/// Of a text these count when it is prepared, too.
const GUARDS: Effects = Effects::ADMINISTRATIVE
    .union(Effects::LIFTS_READ_ONLY)
    .union(Effects::LOCAL_INFILE)
    .union(Effects::UNREADABLE);

/// `KILL [CONNECTION | QUERY] id`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kill {
    /// The id, when it is a plain number; `None` for an expression or MariaDB's `USER name`, `QUERY ID n`.
    pub id: Option<u64>,
    /// `KILL QUERY`: the statement only.
    pub query_only: bool,
    /// MariaDB's `KILL SOFT`.
    pub soft: bool,
}

/// `SHOW WEIR ...`: what Weir itself is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ShowWeir {
    /// `SHOW WEIR SESSIONS`.
    Sessions,
    /// `SHOW WEIR POOLS`.
    Pools,
    /// `SHOW WEIR PREPARED`.
    Prepared,
    /// `SHOW WEIR PINS`.
    Pins,
    /// Something else behind `SHOW WEIR`.
    Unknown,
}

/// What one pass over a text found. Kept and used again, it stops allocating.
///
/// A text of several statements gives one value: `kind` is the first one's, `access` is [`Access::Read`] only if
/// every one of them reads, `effects` and databases are united, `transaction` is the last step that any takes.
pub struct Statement {
    /// The first statement's kind.
    pub kind: Kind,
    /// [`Access::Read`] if every statement reads. [`Hint::Replica`] is already counted in: it makes a read of
    /// what is not known to write (a user's function, a variable, SHOW).
    pub access: Access,
    /// What a comment asks for; [`Hint::Primary`] wins over [`Hint::Replica`].
    pub hint: Option<Hint>,
    /// The last transaction step of the text.
    pub transaction: TransactionStep,
    /// Everything that any of the statements may do.
    pub effects: Effects,
    /// What any of them may end.
    pub signals: Signals,
    /// How many statements there are; empty ones do not count.
    pub statements: u32,
    /// The last `KILL` of the text.
    pub kill: Option<Kill>,
    /// The last `SHOW WEIR` of the text.
    pub weir: Option<ShowWeir>,
    /// xxh3 of the fingerprint; the same in every release.
    pub digest: u64,
    /// Every word of a statement that is the only one of its text, if it is of a kind that has it.
    pub detail: Option<Box<Detail>>,
    /// The state machine, kept here for its memory and for the names that it found.
    pub(crate) pass: Pass,
}

impl Default for Statement {
    fn default() -> Self {
        Self::new()
    }
}

impl Statement {
    /// An empty one; allocates nothing.
    pub fn new() -> Self {
        Self {
            kind: Kind::Empty,
            access: Access::Write,
            hint: None,
            transaction: TransactionStep::None,
            effects: Effects::empty(),
            signals: Signals::empty(),
            statements: 0,
            kill: None,
            weir: None,
            digest: 0,
            detail: None,
            pass: Pass::new(),
        }
    }

    /// Forgets the text, keeps the memory.
    pub fn clear(&mut self) {
        self.kind = Kind::Empty;
        self.access = Access::Write;
        self.hint = None;
        self.transaction = TransactionStep::None;
        self.effects = Effects::empty();
        self.signals = Signals::empty();
        self.statements = 0;
        self.kill = None;
        self.weir = None;
        self.digest = 0;
        self.detail = None;
        self.pass.names.clear();
    }

    /// It prepares a text that was understood: nothing of what that does happens yet, but what nobody may run nobody may
    /// prepare.
    pub fn prepares(&mut self, text: &Statement) {
        self.effects = self.effects & OWN | text.effects & GUARDS | Effects::KNOWN_TEXT;
        self.adopt(text);
    }

    /// It executes a text that was understood: it does what that does, and what stands behind USING.
    pub fn executes(&mut self, text: &Statement, using: Using) {
        let own = match using {
            Using::Variables => self.effects & OWN,
            Using::Expressions => self.effects.difference(Effects::TEXT_EXECUTE),
        };
        let reads_only_the_text = using == Using::Variables && !own.contains(Effects::USER_VARIABLE_READ);
        self.kind = text.kind;
        self.access = if reads_only_the_text { text.access } else { Access::Write };
        self.hint = if self.hint == Some(Hint::Primary) { self.hint } else { text.hint.or(self.hint) };
        self.transaction = text.transaction;
        self.effects = own | text.effects | Effects::KNOWN_TEXT;
        self.signals |= text.signals;
        self.digest = text.digest;
        self.adopt(text);
    }

    /// It deallocates a prepared text, or executes one that is known not to exist.
    pub fn only_names_text(&mut self) {
        self.effects = self.effects & OWN | Effects::KNOWN_TEXT;
    }

    fn adopt(&mut self, text: &Statement) {
        if self.pass.names.adopt(&text.pass.names).is_err() {
            self.effects |= Effects::UNREADABLE;
        }
    }

    /// The database of the last `USE`, decoded.
    pub fn use_database(&self) -> Option<&[u8]> {
        self.pass.names.used()
    }

    /// Every database that the text names, decoded, each once, in the order of their first mention. Bytes are in
    /// the client's charset. If `effects` has UNREADABLE there may be more.
    pub fn databases(&self) -> impl Iterator<Item = &[u8]> {
        self.pass.names.databases()
    }

    /// The user variables that the text names, in lower case (both servers do not care), each once. Those of a text
    /// that is prepared are among them.
    pub fn user_variables(&self) -> impl Iterator<Item = &[u8]> {
        self.pass.names.user_variables()
    }

    /// The tables that `CREATE TEMPORARY TABLE` names, decoded, each with its database if the text says which. Those of
    /// a text that is prepared are not among them.
    pub fn temporary_tables(&self) -> impl Iterator<Item = (Option<&[u8]>, &[u8])> {
        self.pass.names.temporary_tables()
    }

    /// The session system variables that a SET of the text assigns, lower-cased; `SET NAMES` gives `names`, `SET
    /// CHARACTER SET` gives `character set`, `SET SESSION TRANSACTION` gives `transaction`.
    pub fn assigned_variables(&self) -> impl Iterator<Item = &[u8]> {
        self.pass.names.variables()
    }
}

impl std::fmt::Debug for Statement {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let text = |name: &[u8]| String::from_utf8_lossy(name).into_owned();
        f.debug_struct("Statement")
            .field("kind", &self.kind)
            .field("access", &self.access)
            .field("hint", &self.hint)
            .field("transaction", &self.transaction)
            .field("effects", &self.effects)
            .field("statements", &self.statements)
            .field("kill", &self.kill)
            .field("weir", &self.weir)
            .field("digest", &self.digest)
            .field("databases", &self.databases().map(text).collect::<Vec<_>>())
            .field("variables", &self.assigned_variables().map(text).collect::<Vec<_>>())
            .finish()
    }
}
