//! What a name in front of a parenthesis does.

use super::{Level, Mode, Pass, Prev};
use crate::Effects;
use crate::words::{Call, Keyword, Word};

impl Pass {
    /// A parenthesis opens: is it a call, and of what? Gives whether it is one of `LAST_INSERT_ID`.
    #[inline]
    pub(super) fn call(&mut self) -> bool {
        match self.prev {
            Prev::Word(_, Call::Grammar) => false,
            Prev::Word(_, Call::Pure) if self.chain.parts == 1 => false,
            Prev::Word(keyword, call) if self.chain.parts == 1 => {
                self.named_call(Word { keyword, call }, false)
            }
            Prev::Quoted(word) if self.chain.parts == 1 => self.named_call(word, true),
            Prev::Plain if self.chain.parts > 1 => {
                self.qualified_call();
                false
            }
            _ => false,
        }
    }

    fn named_call(&mut self, word: Word, quoted: bool) -> bool {
        // `WITH name (columns)`, `table alias (columns)`, `INSERT INTO t (columns)`, `CREATE TABLE t (...)`.
        match self.frame.mode {
            Mode::With => return false,
            Mode::Names if word.call == Call::Unknown => return false,
            Mode::TableTail if !self.is_factor || self.insert_head => return false,
            _ => {}
        }
        if word.call == Call::Special {
            return self.special_call(word.keyword);
        }
        if quoted || !word.call.is_pure(self.dialect.flavour) {
            self.raise(Level::Differs);
        }
        false
    }

    fn qualified_call(&mut self) {
        if self.chain.is_table && self.insert_head {
            return;
        }
        self.record_chain();
        self.raise(Level::Differs);
    }

    fn special_call(&mut self, keyword: Keyword) -> bool {
        use Keyword as K;
        self.raise(Level::Write);
        self.effect(match keyword {
            K::GetLock => Effects::USER_LOCK,
            K::ReleaseLock | K::ReleaseAllLocks | K::IsFreeLock | K::IsUsedLock => Effects::USER_LOCK_OTHER,
            K::RowCount => Effects::READS_ROW_COUNT,
            K::FoundRows => Effects::READS_FOUND_ROWS,
            K::ConnectionId => Effects::READS_CONNECTION_ID,
            _ => Effects::empty(),
        });
        keyword == K::LastInsertId
    }

    /// Is the argument of what opens here a sequence?
    pub(super) fn is_sequence_call(&self) -> bool {
        use Keyword as K;
        match self.prev {
            Prev::Word(keyword, _) => matches!(keyword, K::NextVal | K::LastVal | K::SetVal),
            _ => false,
        }
    }
}
