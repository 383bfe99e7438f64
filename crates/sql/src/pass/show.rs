//! SHOW: which database it looks into, what of the session it reads.

use super::{Expect, Mode, Pass, Prev};
use crate::words::Keyword;
use crate::{Effects, ShowWeir};

/// What of a SHOW was seen.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Show {
    /// `SHOW GLOBAL`.
    global: bool,
    /// The object is a table's columns or indexes: the first FROM names the table.
    of_table: bool,
    /// `SHOW CREATE`.
    create: bool,
    /// `SHOW BINLOG EVENTS` and the like: FROM names no database.
    of_log: bool,
    /// FROM was seen.
    from: bool,
    /// What follows only restricts the answer.
    closed: bool,
}

impl Pass {
    /// A word of SHOW outside of parentheses. True if it is used up.
    pub(super) fn show_word(&mut self, keyword: Keyword) -> bool {
        use Keyword as K;
        if self.body.show.closed {
            return false;
        }
        match keyword {
            K::Weir if matches!(self.prev, Prev::Word(K::Show, _)) => self.at.weir = Some(ShowWeir::Unknown),
            _ if self.at.weir.is_some() => self.weir_word(keyword),
            K::From | K::In => {
                if self.body.show.of_table && !self.body.show.from {
                    self.expect = Expect::Nothing;
                } else if !self.body.show.of_log {
                    self.expect = Expect::Database;
                }
                self.body.show.from = true;
            }
            K::Like | K::Where | K::Limit => {
                self.body.show.closed = true;
                self.frame.mode = Mode::Expr;
            }
            _ if self.body.show.from => {}
            K::Global => self.body.show.global = true,
            K::Create => self.body.show.create = true,
            K::Database | K::Schema if self.body.show.create => self.expect = Expect::Database,
            K::Columns | K::Fields | K::Index | K::Indexes | K::Keys => self.body.show.of_table = true,
            K::Databases | K::Schemas => self.effect(Effects::SHOW_DATABASES),
            K::Variables => {
                self.effect(Effects::READS_SYSTEM_VARIABLE);
                if !self.body.show.global {
                    // last_insert_id is one of them
                    self.effect(Effects::VIRTUAL_VARIABLE | Effects::READS_LAST_INSERT_ID);
                }
            }
            K::Status if matches!(self.prev, Prev::Word(K::Show | K::Global | K::Session | K::Local, _)) => {
                self.effect(Effects::READS_SYSTEM_VARIABLE);
            }
            K::Processlist => {
                self.effect(Effects::READS_CONNECTION_ID | Effects::SHOW_PROCESSLIST);
                if matches!(self.prev, Prev::Word(K::Full, _)) {
                    self.effect(Effects::FULL_PROCESSLIST);
                }
            }
            K::Warnings | K::Errors => {
                self.effect(Effects::READS_DIAGNOSTICS | Effects::KEEPS_DIAGNOSTICS);
                self.raise(super::Level::Write);
            }
            K::Profile | K::Profiles => {
                self.effect(Effects::PROFILING);
                self.raise(super::Level::Write);
            }
            K::Events if matches!(self.prev, Prev::Word(K::Binlog, _) | Prev::Word(K::None, _)) => {
                self.body.show.of_log = true;
            }
            _ => {}
        }
        true
    }

    fn weir_word(&mut self, keyword: Keyword) {
        self.at.weir = Some(match keyword {
            Keyword::Sessions => ShowWeir::Sessions,
            Keyword::Pools => ShowWeir::Pools,
            Keyword::Prepared => ShowWeir::Prepared,
            Keyword::Pins => ShowWeir::Pins,
            _ => ShowWeir::Unknown,
        });
    }

    /// Anything behind the word that says what is asked is too much.
    pub(super) fn show_end(&mut self) {
        if self.at.weir.is_some() && self.at.tokens != 3 {
            self.at.weir = Some(ShowWeir::Unknown);
        }
    }
}
