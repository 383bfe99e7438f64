//! Dotted names: which of their parts is a database.

use smallvec::SmallVec;

use super::{Expect, Level, Mode, Pass, Prev};
use crate::Effects;
use crate::names::Name;
use crate::words::Keyword;

/// A name that is being read, part by part.
#[derive(Default)]
pub(super) struct Chain {
    /// Parts so far; 0 if the last token belongs to no name.
    pub(super) parts: u8,
    /// It stands where a table does: of two parts the first is a database.
    pub(super) is_table: bool,
    /// It is a temporary table that is created.
    is_temporary: bool,
    /// Its database is recorded.
    is_recorded: bool,
    /// The first part as written.
    first: SmallVec<[u8; 64]>,
    /// The quote doubled in it, or 0.
    doubled: u8,
}

impl Chain {
    /// The first part as written, if it was kept.
    pub(super) fn first(&self) -> &[u8] {
        &self.first
    }
}

/// Databases whose tables tell of one server.
const SERVER_DATABASES: [&[u8]; 4] = [b"information_schema", b"performance_schema", b"mysql", b"sys"];

pub(super) fn is_session_track(name: &[u8]) -> bool {
    name.get(..14).is_some_and(|start| start.eq_ignore_ascii_case(b"session_track_"))
}

impl Pass {
    #[inline]
    pub(super) fn start_chain(&mut self, raw: &[u8], doubled: u8, may_qualify: bool) {
        self.chain.parts = 1;
        self.chain.is_table = matches!(
            self.frame.mode,
            Mode::Tables | Mode::TableTail | Mode::Names | Mode::Start | Mode::QueryStart
        );
        self.chain.is_temporary = false;
        self.chain.is_recorded = false;
        if may_qualify {
            self.chain.first.clear();
            self.chain.first.extend_from_slice(raw);
            self.chain.doubled = doubled;
        }
    }

    pub(crate) fn dot(&mut self) {
        self.normal.dot();
        self.at.tokens += 1;
        self.other_start();
        if self.chain.parts == 2 {
            self.record_chain();
        }
        if self.prev == Prev::AtAt {
            return;
        }
        self.prev = Prev::Dot;
    }

    /// A name after a dot; `keyword` if it has no quotes.
    pub(super) fn part(&mut self, raw: &[u8], doubled: u8, keyword: Option<Keyword>) {
        self.prev = Prev::Plain;
        if self.chain.parts == 0 {
            // `.t` names a table of the default database.
            self.start_chain(raw, doubled, true);
            if self.frame.mode == Mode::Tables {
                self.frame.mode = Mode::TableTail;
            }
            return;
        }
        self.chain.parts = self.chain.parts.saturating_add(1);
        if self.chain.is_temporary && self.chain.parts == 2 {
            self.names.qualify_temporary_table(raw, doubled);
        }
        if self.chain.is_table {
            self.record_chain();
        }
        if self.set_part(raw, doubled, keyword) {
            return;
        }
        // Sequences in MariaDB's Oracle mode.
        if matches!(keyword, Some(Keyword::NextVal | Keyword::CurrVal | Keyword::LastVal)) {
            self.raise(Level::Write);
        }
    }

    pub(super) fn record_chain(&mut self) {
        if self.chain.is_recorded {
            return;
        }
        self.chain.is_recorded = true;
        let first = std::mem::take(&mut self.chain.first);
        self.record(&first, self.chain.doubled);
        self.chain.first = first;
    }

    fn record(&mut self, raw: &[u8], doubled: u8) -> Option<Name> {
        let Ok(name) = self.names.add_database(raw, doubled) else {
            self.unreadable();
            return None;
        };
        let bytes = self.names.bytes(name);
        if SERVER_DATABASES.iter().any(|known| known.eq_ignore_ascii_case(bytes)) {
            self.raise(Level::Differs);
        }
        Some(name)
    }

    /// Gives a word to what waits for one; false if it is something else.
    pub(super) fn expected(&mut self, raw: &[u8], doubled: u8, keyword: Keyword) -> bool {
        match self.expect {
            Expect::Nothing => return false,
            Expect::Skip => {}
            Expect::Table => {
                self.chain.is_table = true;
                self.expect = Expect::Nothing;
                return false;
            }
            Expect::TemporaryTable => {
                if matches!(keyword, Keyword::If | Keyword::Not | Keyword::Exists) {
                    return false;
                }
                self.expect = Expect::Nothing;
                self.chain.is_temporary = true;
                if self.names.add_temporary_table(raw, doubled).is_err() {
                    self.unreadable();
                }
                return false;
            }
            Expect::Database => {
                match keyword {
                    Keyword::If | Keyword::Not | Keyword::Exists => return false,
                    // `ALTER DATABASE CHARACTER SET x` means the default database.
                    Keyword::Character | Keyword::Default | Keyword::Collate => {
                        self.expect = Expect::Nothing;
                        return false;
                    }
                    _ => {}
                }
                self.record(raw, doubled);
            }
            Expect::Use => {
                if let Some(name) = self.record(raw, doubled) {
                    self.names.set_used(name);
                }
            }
        }
        self.expect = Expect::Nothing;
        true
    }

    /// A name after `@@`.
    pub(super) fn system_variable_name(&mut self, raw: &[u8], doubled: u8, keyword: Keyword) {
        self.prev = Prev::Plain;
        self.chain.parts = 0;
        if self.set_system_variable(raw, doubled, keyword) {
            return;
        }
        use Keyword as K;
        if matches!(keyword, K::Global | K::Session | K::Local) {
            // A scope, most likely: the name follows a dot.
            self.prev = Prev::AtAt;
            return;
        }
        self.effect(match keyword {
            K::LastInsertId | K::Identity => Effects::READS_LAST_INSERT_ID,
            K::WarningCount | K::ErrorCount => Effects::READS_DIAGNOSTICS,
            K::PseudoThreadId => Effects::READS_CONNECTION_ID,
            _ => return,
        });
        self.raise(Level::Write);
    }
}
