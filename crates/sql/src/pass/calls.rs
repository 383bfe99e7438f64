//! What a name in front of a parenthesis does.

use super::{Level, Mode, Pass, Prev, Verb};
use crate::words::{self, Call, Keyword, Word};
use crate::{Effects, Signals};

impl Pass {
    /// A parenthesis opens: is it a call, and of what? Gives whether it is one of `LAST_INSERT_ID`.
    #[inline]
    pub(super) fn call(&mut self, glued: bool) -> bool {
        match self.prev {
            Prev::Word(_, Call::Grammar) => false,
            Prev::Word(keyword, call) if self.chain.parts == 1 => {
                self.named_call(Word { keyword, call }, call.is_pure(&self.dialect, glued))
            }
            Prev::Quoted if self.chain.parts == 1 => {
                let word = words::look_up_quoted(self.chain.first());
                self.named_call(word, false)
            }
            Prev::Plain if self.chain.parts > 1 => {
                self.qualified_call();
                false
            }
            _ => false,
        }
    }

    fn named_call(&mut self, word: Word, pure: bool) -> bool {
        let is_call = match self.frame.mode {
            // `WITH name (columns)`, `LATERAL (`, `CREATE TABLE t (...)`
            Mode::With | Mode::Tables => false,
            Mode::Names => word.call != Call::Unknown,
            // `table alias (columns)`, `INSERT INTO t (columns)`
            Mode::TableTail => self.at.is_factor && !self.at.insert_head,
            _ => true,
        };
        // Only in the place of a table is JSON_TABLE the built-in one.
        let pure = pure && (word.keyword != Keyword::JsonTable || self.frame.mode == Mode::TableTail);
        if !is_call || pure {
            return false;
        }
        if word.call == Call::Special {
            return self.special_call(word.keyword);
        }
        self.raise(Level::Differs);
        if word.call != Call::Differs {
            self.called_in_set();
        }
        false
    }

    /// A word that is grammar behind an operand only; what cannot be told counts as a name.
    pub(super) fn infix(&self, keyword: Keyword) -> Call {
        let grammar = match keyword {
            Keyword::Of => matches!(self.prev, Prev::Word(Keyword::Member, _)),
            _ => matches!(self.prev, Prev::Literal | Prev::Close),
        };
        if grammar { Call::Grammar } else { Call::Unknown }
    }

    fn qualified_call(&mut self) {
        if self.chain.is_table && self.at.insert_head {
            return;
        }
        self.record_chain();
        self.raise(Level::Differs);
        self.called_in_set();
    }

    /// A function that is not built in, for all that is known.
    fn called_in_set(&mut self) {
        if self.at.verb == Verb::Set {
            self.effect(Effects::FUNCTION_CALL);
        }
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
        if matches!(keyword, K::ReleaseLock | K::ReleaseAllLocks) {
            self.signal(Signals::RELEASES_USER_LOCK);
        }
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
