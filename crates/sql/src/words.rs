//! The words that the analysis knows: which keyword it is, and what a `(` after it would mean.

mod functions;

use crate::{Dialect, Flavour};

/// What a word is when a parenthesis follows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Call {
    /// Grammar, not a call: `IN (`, `DECIMAL(10)`.
    Grammar,
    /// Grammar behind an operand (`LIKE 'x' ESCAPE ('!')`), elsewhere a name.
    Infix,
    /// A built-in function without side effect whose answer is the same on every replica, on both flavours.
    Pure,
    /// The same, known to MySQL only (elsewhere it would be a user's function).
    PureMySql,
    /// The same, known to MariaDB only.
    PureMariaDb,
    /// The same, known to MariaDB and to MySQL before 9.6, which left it to a component.
    PureOld,
    /// Pure if the parenthesis follows at once; `count (` with a space is a user's function.
    Glued,
    /// The same, known to MySQL only.
    GluedMySql,
    /// The same, known to MariaDB only.
    GluedMariaDb,
    /// Reserved and so always pure on MySQL, like `Glued` on MariaDB.
    Window,
    /// A built-in whose answer belongs to one server or session.
    Differs,
    /// A built-in with an effect of its own: see `pass::calls`.
    Special,
    /// Not a built-in: if it is called, it is a user's function.
    Unknown,
}

impl Call {
    /// Is a call of it harmless on such a server? `glued`: its parenthesis follows at once.
    ///
    /// Which name is resolved how was asked of MySQL 9.7 and MariaDB 10.11, with a stored function of each name.
    /// With IGNORE_SPACE in `sql_mode` a space makes no difference; that the call then counts as unknown only
    /// costs its way to the primary.
    pub(crate) fn is_pure(self, dialect: &Dialect, glued: bool) -> bool {
        let mysql = dialect.flavour == Flavour::MySql;
        match self {
            Call::Pure => true,
            Call::PureMySql => mysql,
            Call::PureMariaDb => !mysql,
            Call::PureOld => !mysql || dialect.version < 90_600,
            Call::Glued => glued,
            Call::GluedMySql => mysql && glued,
            Call::GluedMariaDb => !mysql && glued,
            Call::Window => mysql || glued,
            Call::Grammar | Call::Infix | Call::Differs | Call::Special | Call::Unknown => false,
        }
    }
}

/// A word as the table knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Word {
    pub(crate) keyword: Keyword,
    pub(crate) call: Call,
}

impl Word {
    pub(crate) const UNKNOWN: Word = Word { keyword: Keyword::None, call: Call::Unknown };
}

macro_rules! words {
    ($($keyword:ident $text:literal $call:ident;)*) => {
        /// Words that the analysis reacts to.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum Keyword { None, $($keyword,)* }
        const KEYWORDS: &[(&str, Keyword, Call)] = &[$(($text, Keyword::$keyword, Call::$call),)*];
    };
}

words! {
    // statements
    Alter "alter" Unknown; Analyze "analyze" Unknown; Backup "backup" Unknown; Begin "begin" Unknown;
    Binlog "binlog" Unknown; Cache "cache" Unknown; Call "call" Unknown; Change "change" Unknown;
    Check "check" Grammar; Checksum "checksum" Unknown; Clone "clone" Unknown; Close "close" Unknown;
    Commit "commit" Unknown; Create "create" Unknown; Deallocate "deallocate" Unknown; Declare "declare" Unknown;
    Delete "delete" Unknown; Desc "desc" Unknown; Describe "describe" Unknown; Do "do" Grammar; Drop "drop" Unknown;
    End "end" Grammar; Execute "execute" Unknown; Explain "explain" Grammar; Fetch "fetch" Unknown; Flush "flush" Unknown;
    Get "get" Unknown; Grant "grant" Unknown; Handler "handler" Unknown; Help "help" Unknown; Import "import" Unknown;
    Insert "insert" Pure; Install "install" Unknown; Iterate "iterate" Unknown; Kill "kill" Grammar; Leave "leave" Unknown;
    Load "load" Unknown; Lock "lock" Unknown; Loop "loop" Unknown; Open "open" Unknown; Optimize "optimize" Unknown;
    Prepare "prepare" Unknown; Purge "purge" Unknown; Release "release" Unknown; Rename "rename" Unknown;
    Repair "repair" Unknown; Repeat "repeat" Pure; Replace "replace" Pure; Reset "reset" Unknown;
    Resignal "resignal" Unknown; Restart "restart" Unknown; Return "return" Grammar; Revoke "revoke" Unknown;
    Rollback "rollback" Unknown; Savepoint "savepoint" Unknown; Select "select" Grammar; Set "set" Grammar;
    Show "show" Unknown; Shutdown "shutdown" Unknown; Signal "signal" Unknown; Start "start" Unknown; Stop "stop" Unknown;
    Table "table" Grammar; Truncate "truncate" Pure; Uninstall "uninstall" Unknown; Unlock "unlock" Unknown;
    Update "update" Unknown; Use "use" Unknown; Values "values" Grammar; While "while" Grammar; With "with" Unknown; Xa "xa" Unknown;
    // clauses and their modifiers
    Add "add" Grammar; Against "against" Infix; All "all" Grammar; And "and" Grammar; Any "any" Grammar; As "as" Grammar;
    Atomic "atomic" Unknown; Between "between" Grammar; Binary "binary" Grammar; By "by" Grammar; Case "case" Grammar;
    Character "character" Grammar; Charset "charset" Pure; Collate "collate" Grammar; Column "column" Grammar; Columns "columns" Infix;
    Compare "compare" Unknown; Concurrent "concurrent" Unknown; Connection "connection" Unknown; Count "count" Glued; Database "database" Pure;
    Databases "databases" Unknown; Default "default" Pure; Delayed "delayed" Unknown; Distinct "distinct" Grammar;
    DistinctRow "distinctrow" Grammar; Div "div" Grammar; Duplicate "duplicate" Unknown; Each "each" Unknown; Else "else" Grammar;
    ElseIf "elseif" Grammar; Errors "errors" Unknown; Escape "escape" Infix; Event "event" Unknown; Events "events" Unknown;
    Except "except" Grammar; Exists "exists" Grammar; Export "export" Unknown; Extended "extended" Unknown;
    Fields "fields" Unknown; Follows "follows" Unknown; For "for" Grammar; Force "force" Unknown; Format "format" Pure; From "from" Grammar;
    Full "full" Unknown; Function "function" Unknown; Global "global" Unknown; Grants "grants" Unknown; Group "group" Grammar;
    Hash "hash" Unknown; Having "having" Grammar; HighPriority "high_priority" Unknown; Hour "hour" Pure; If "if" Pure;
    Ignore "ignore" Unknown; Immediate "immediate" Unknown; In "in" Grammar; Index "index" Grammar; Indexes "indexes" Unknown;
    Instance "instance" Unknown; Intersect "intersect" Grammar; Interval "interval" Pure; Into "into" Grammar; Is "is" Grammar;
    Join "join" Grammar; Key "key" Grammar; Keys "keys" Unknown; Lateral "lateral" Unknown; Left "left" Pure; Like "like" Grammar;
    Limit "limit" Grammar; List "list" Unknown; Local "local" Unknown; Logfile "logfile" Unknown; LowPriority "low_priority" Unknown;
    Member "member" Unknown; Mod "mod" Pure; Names "names" Unknown; No "no" Unknown; Not "not" Grammar; Of "of" Infix; Offset "offset" Grammar;
    On "on" Grammar; Only "only" Unknown; Or "or" Grammar; Order "order" Unknown; Over "over" Grammar; Package "package" Unknown;
    Partition "partition" Grammar; Partitions "partitions" Unknown; Password "password" PureMariaDb; Persist "persist" Unknown;
    PersistOnly "persist_only" Unknown; Precedes "precedes" Unknown; Prev "previous" Unknown; Privileges "privileges" Unknown;
    Procedure "procedure" Unknown; Processlist "processlist" Unknown; Profile "profile" Unknown; Profiles "profiles" Unknown;
    Query "query" Unknown; Quick "quick" Unknown; Range "range" Grammar; Read "read" Unknown; Recursive "recursive" Unknown;
    References "references" Unknown; Regexp "regexp" Grammar; Resource "resource" Unknown; Returning "returning" Grammar;
    Returns "returns" Unknown; Right "right" Pure; Rlike "rlike" Grammar; Role "role" Unknown; Row "row" Grammar; Rowtype "rowtype" Unknown;
    Schema "schema" Pure; Schemas "schemas" Unknown; Server "server" Unknown; Session "session" Unknown; Share "share" Unknown;
    Slave "slave" Unknown; Soname "soname" Unknown; Some "some" Grammar; Sounds "sounds" Unknown; Spatial "spatial" Unknown;
    SqlCalcFoundRows "sql_calc_found_rows" Grammar; Statement "statement" Unknown; Status "status" Unknown; StraightJoin "straight_join" Grammar;
    SystemTime "system_time" Unknown; Tables "tables" Unknown; Tablespace "tablespace" Unknown; Temporary "temporary" Unknown;
    Than "than" Unknown; Then "then" Grammar; To "to" Unknown; Transaction "transaction" Unknown; Trigger "trigger" Unknown;
    Triggers "triggers" Unknown; Type "type" Unknown; Undo "undo" Unknown; Union "union" Grammar; Unique "unique" Grammar; Until "until" Unknown;
    User "user" Differs; Using "using" Grammar; Value "value" Grammar; Variables "variables" Unknown; View "view" Unknown;
    Warnings "warnings" Unknown; When "when" Grammar; Where "where" Grammar; Window "window" Unknown; Within "within" Unknown;
    Work "work" Unknown; Write "write" Unknown; Xor "xor" Grammar; Qualify "qualify" Infix; Primary "primary" Unknown;
    Minus "minus" Unknown; Hard "hard" Unknown; Soft "soft" Unknown; Id "id" Unknown; Next "next" Unknown; Oj "oj" Unknown;
    Weir "weir" Unknown; Sessions "sessions" Unknown; Pools "pools" Unknown; Prepared "prepared" Unknown; Pins "pins" Unknown;
    Rollup "rollup" Unknown; Body "body" Unknown; Diagnostics "diagnostics" Unknown; Component "component" Unknown; Reference "reference" Unknown;
    // functions with an effect or an answer of their own
    JsonTable "json_table" Pure; GetLock "get_lock" Special; ReleaseLock "release_lock" Special;
    ReleaseAllLocks "release_all_locks" Special; IsFreeLock "is_free_lock" Special; IsUsedLock "is_used_lock" Special;
    LastInsertId "last_insert_id" Special; RowCount "row_count" Special; FoundRows "found_rows" Special;
    ConnectionId "connection_id" Special; NextVal "nextval" Special; LastVal "lastval" Special; SetVal "setval" Special;
    CurrVal "currval" Special; LoadFile "load_file" Special; MasterPosWait "master_pos_wait" Special; SourcePosWait "source_pos_wait" Special;
    MasterGtidWait "master_gtid_wait" Special; WaitForGtid "wait_for_executed_gtid_set" Special;
    CurrentUser "current_user" Differs; CurrentRole "current_role" Differs;
    // variables
    Identity "identity" Unknown; WarningCount "warning_count" Unknown; ErrorCount "error_count" Unknown;
    PseudoThreadId "pseudo_thread_id" Unknown; Profiling "profiling" Unknown; TransactionReadOnly "transaction_read_only" Unknown;
    TxReadOnly "tx_read_only" Unknown; WaitTimeout "wait_timeout" Unknown; InteractiveTimeout "interactive_timeout" Unknown;
    NetReadTimeout "net_read_timeout" Unknown; NetWriteTimeout "net_write_timeout" Unknown; NetRetryCount "net_retry_count" Unknown;
    NetBufferLength "net_buffer_length" Unknown; MaxAllowedPacket "max_allowed_packet" Unknown;
    SessionVariables "session_variables" Unknown; VariablesByThread "variables_by_thread" Unknown; SystemVariables "system_variables" Unknown;
}

impl Keyword {
    /// Names that Weir answers for itself: see `Effects::VIRTUAL_VARIABLE`.
    pub(crate) fn is_virtual_variable(self) -> bool {
        matches!(
            self,
            Keyword::WaitTimeout
                | Keyword::InteractiveTimeout
                | Keyword::NetReadTimeout
                | Keyword::NetWriteTimeout
                | Keyword::NetRetryCount
                | Keyword::NetBufferLength
                | Keyword::MaxAllowedPacket
                | Keyword::SessionVariables
                | Keyword::VariablesByThread
                | Keyword::SystemVariables
        )
    }
}

#[derive(Clone, Copy)]
struct Slot {
    tail: u64,
    text: &'static str,
    word: Word,
}

const SLOTS: usize = 4096;
const EMPTY: Slot = Slot { tail: 0, text: "", word: Word::UNKNOWN };
static TABLE: [Slot; SLOTS] = build();

/// The last eight bytes of a word, lower-cased, as the lexer collects them while it scans.
const fn tail_of(text: &[u8]) -> u64 {
    let mut tail = 0u64;
    let mut rest = text;
    while let [first, others @ ..] = rest {
        tail = (tail << 8) | first.to_ascii_lowercase() as u64;
        rest = others;
    }
    tail
}

const fn slot_of(tail: u64, length: usize) -> usize {
    let mixed =
        (tail ^ (length as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15)).wrapping_mul(0xD6E8_FEB8_6659_FD93);
    // The shift leaves 12 bits, as many as SLOTS has.
    (mixed >> 52) as usize
}

#[allow(clippy::indexing_slicing, reason = "runs at compile time, where a wrong index is a build error")]
const fn place(table: &mut [Slot; SLOTS], text: &'static str, keyword: Keyword, call: Call) {
    let tail = tail_of(text.as_bytes());
    let mut at = slot_of(tail, text.len());
    while !table[at].text.is_empty() {
        at = (at + 1) % SLOTS;
    }
    table[at] = Slot { tail, text, word: Word { keyword, call } };
}

#[allow(clippy::indexing_slicing, reason = "runs at compile time, where a wrong index is a build error")]
const fn build() -> [Slot; SLOTS] {
    let mut table = [EMPTY; SLOTS];
    let mut i = 0;
    while i < KEYWORDS.len() {
        let (text, keyword, call) = KEYWORDS[i];
        place(&mut table, text, keyword, call);
        i += 1;
    }
    let mut g = 0;
    while g < functions::GROUPS.len() {
        let (call, names) = functions::GROUPS[g];
        let mut n = 0;
        while n < names.len() {
            place(&mut table, names[n], Keyword::None, call);
            n += 1;
        }
        g += 1;
    }
    table
}

/// Looks a word up. `tail` holds its last eight bytes lower-cased (see the lexer), `text` the word as written.
#[inline]
pub(crate) fn look_up(text: &[u8], tail: u64) -> Word {
    let mut at = slot_of(tail, text.len());
    // The table is a fifth full, so an empty slot ends the walk soon.
    for _ in 0..SLOTS {
        let Some(slot) = TABLE.get(at) else { break };
        if slot.text.is_empty() {
            break;
        }
        if slot.tail == tail
            && slot.text.len() == text.len()
            && (text.len() <= 8 || slot.text.as_bytes().eq_ignore_ascii_case(text))
        {
            return slot.word;
        }
        at = (at + 1) % SLOTS;
    }
    Word::UNKNOWN
}

/// Looks up a word whose bytes the lexer did not scan (a quoted identifier).
pub(crate) fn look_up_quoted(text: &[u8]) -> Word {
    look_up(text, tail_of(text))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn every_word_is_listed_once_and_is_found_in_any_case() {
        let mut seen = HashSet::new();
        let keywords = KEYWORDS.iter().map(|(text, _, _)| *text);
        let functions = functions::GROUPS.iter().flat_map(|(_, names)| names.iter().copied());
        for text in keywords.chain(functions) {
            assert!(seen.insert(text), "{text} is listed twice");
            assert!(!text.bytes().any(|b| b.is_ascii_uppercase()), "{text} is not lower case");
            let upper = text.to_ascii_uppercase();
            let found = look_up_quoted(upper.as_bytes());
            assert!(found.keyword != Keyword::None || found.call != Call::Unknown, "{text} is not found");
        }
        assert!(seen.len() < SLOTS / 3, "{} words make the table too full", seen.len());
    }

    #[test]
    fn a_word_with_the_same_last_eight_bytes_is_another_word() {
        assert_eq!(look_up_quoted(b"xet_lock").call, Call::Unknown);
        assert_eq!(look_up_quoted(b"xrelease_lock").call, Call::Unknown);
        assert_eq!(look_up_quoted(b"aelease_lock").call, Call::Unknown);
    }
}
