//! Compound statements: bodies of stored programs, and those that MariaDB runs at once.
//!
//! Inside them `;` ends an inner statement only. Where a body ends is found by counting what opens and ends blocks at the
//! start of inner statements, the only place where those words are not names.

use super::set::Assignment;
use super::show::Show;
use super::verb::{Object, Verb};
use super::{Level, Mode, Pass, Prev};
use crate::words::Keyword;
use crate::{Effects, Kind, TransactionStep};

/// Of a stored program's body these count as if they were done: they are what a guard refuses.
pub(super) const GUARDS: Effects = Effects::ADMINISTRATIVE
    .union(Effects::LIFTS_READ_ONLY)
    .union(Effects::LOCAL_INFILE)
    .union(Effects::UNREADABLE);

/// What is known of the statement at hand, by verb.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Body {
    /// Blocks open.
    blocks: u32,
    /// The statements are stored, not run.
    stored: bool,
    /// CASE expressions open in the inner statement.
    pub(super) expression_cases: u32,
    pub(super) assignment: Assignment,
    pub(super) is_set_statement: bool,
    pub(super) show: Show,
    pub(super) object: Object,
    pub(super) temporary: bool,
    /// Outside of parentheses one pair has been closed.
    pub(super) had_list: bool,
    pub(super) kill_is_complex: bool,
    /// `FOR` of a DECLARE was seen.
    declares_for: bool,
    /// Tokens up to and with the id.
    pub(super) kill_tokens: u32,
    /// The token at which an unknown statement started.
    pub(super) other_at: u32,
}

impl Body {
    pub(super) fn is_open(&self) -> bool {
        self.blocks > 0
    }

    pub(super) fn is_stored(&self) -> bool {
        self.stored
    }
}

impl Pass {
    /// The body of a stored program starts, with this word or the next.
    pub(super) fn start_stored(&mut self, keyword: Keyword) -> bool {
        self.body.stored = true;
        self.body.object = Object::Other;
        self.frame.mode = Mode::Start;
        self.at.verb = Verb::None;
        if keyword != Keyword::None {
            self.statement_word(keyword);
        }
        true
    }

    /// A word at the start of a statement that only compound statements know. True if it was one.
    pub(super) fn body_word(&mut self, keyword: Keyword) -> bool {
        use Keyword as K;
        let inside = self.body.is_open() || self.body.is_stored();
        match keyword {
            K::Begin if inside => self.open_block(Verb::None, Mode::Start),
            K::If => self.open_block(Verb::If, Mode::Expr),
            K::Case => self.open_block(Verb::Case, Mode::Expr),
            K::While | K::For => self.open_block(Verb::Loop, Mode::Expr),
            K::Loop | K::Repeat => self.open_block(Verb::None, Mode::Start),
            K::ElseIf if inside => self.compound_head(Verb::If, Mode::Expr),
            K::When if inside => self.compound_head(Verb::Case, Mode::Expr),
            K::Until if inside => self.compound_head(Verb::Until, Mode::Expr),
            K::Declare if inside => {
                self.body.declares_for = false;
                self.compound_head(Verb::Declare, Mode::Names);
            }
            K::Else | K::Not | K::Atomic if inside => {}
            K::Follows | K::Precedes if self.body.is_stored() => self.expect = super::Expect::Skip,
            K::End if inside => {
                self.body.blocks = self.body.blocks.saturating_sub(1);
                self.compound_head(Verb::End, Mode::Expr);
            }
            _ => return false,
        }
        true
    }

    fn open_block(&mut self, verb: Verb, mode: Mode) {
        if !self.body.is_open() && !self.body.is_stored() {
            // A compound statement by itself (MariaDB): it may do anything, like a routine.
            self.effect(Effects::CALL);
        }
        if self.at.kind == Kind::Empty {
            self.at.kind = Kind::Other;
        }
        self.raise(Level::Write);
        self.body.blocks = self.body.blocks.saturating_add(1);
        self.compound_head(verb, mode);
    }

    fn compound_head(&mut self, verb: Verb, mode: Mode) {
        self.at.verb = verb;
        self.frame.mode = mode;
        self.frame.is_query = false;
        self.body.expression_cases = 0;
    }

    /// A word after `BEGIN` at the top: a transaction, or a block.
    pub(super) fn begin_word(&mut self, keyword: Keyword) {
        if keyword == Keyword::Work && matches!(self.prev, Prev::Word(Keyword::Begin, _)) {
            return;
        }
        self.at.transaction = TransactionStep::None;
        self.at.kind = Kind::Other;
        self.effect(Effects::CALL);
        self.body.blocks = 1;
        self.at.verb = Verb::None;
        self.frame.mode = Mode::Start;
        self.statement_word(keyword);
    }

    /// A word in the head of a compound statement. True if it is used up.
    pub(super) fn compound_word(&mut self, keyword: Keyword) -> bool {
        use Keyword as K;
        let in_case = self.body.expression_cases > 0;
        let starts = match self.at.verb {
            Verb::If => keyword == K::Then && !in_case,
            Verb::Case => keyword == K::Then && !in_case,
            Verb::Loop => keyword == K::Do,
            Verb::Until if keyword == K::End && !in_case => {
                self.body.blocks = self.body.blocks.saturating_sub(1);
                self.compound_head(Verb::End, Mode::Expr);
                return true;
            }
            Verb::Declare => return self.declare_word(keyword),
            Verb::End => return true,
            _ => false,
        };
        if starts {
            self.at.verb = Verb::None;
            self.frame.mode = Mode::Start;
        }
        starts
    }

    /// `DECLARE c CURSOR FOR query`, `DECLARE EXIT HANDLER FOR condition statement`.
    fn declare_word(&mut self, keyword: Keyword) -> bool {
        use Keyword as K;
        self.body.declares_for |= keyword == K::For;
        let starts = matches!(
            keyword,
            K::Begin
                | K::Select
                | K::With
                | K::Set
                | K::Insert
                | K::Update
                | K::Delete
                | K::Replace
                | K::Call
                | K::If
                | K::Case
                | K::Loop
                | K::While
                | K::Repeat
                | K::Rollback
                | K::Commit
                | K::Resignal
                | K::Signal
                | K::Get
                | K::Close
                | K::Leave
                | K::Iterate
                | K::Return
                | K::Do
        );
        if starts && self.body.declares_for {
            self.frame.mode = Mode::Start;
            self.at.verb = Verb::None;
            self.statement_word(keyword);
            return true;
        }
        false
    }

    /// `label:` or `<<label>>` in front of a statement.
    pub(super) fn label(&mut self, sign: &[u8]) {
        let is_label = match sign {
            b":" => self.body.other_at + 1 == self.at.tokens,
            _ => self.body.other_at + 2 == self.at.tokens,
        };
        if self.at.verb == Verb::Other && is_label {
            self.at.verb = Verb::None;
            self.frame.mode = Mode::Start;
        }
    }
}
