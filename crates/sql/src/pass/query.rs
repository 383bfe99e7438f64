//! Words inside queries: where tables are named, and what makes a query more than a read.

use super::{Expect, Level, Mode, Pass, Prev};
use crate::Effects;
use crate::words::Keyword;

impl Pass {
    /// A word that the statement's own rules left over.
    #[inline]
    pub(super) fn query_word(&mut self, keyword: Keyword) {
        use Keyword as K;
        if keyword == K::None {
            return self.factor();
        }
        let mode = self.frame.mode;
        let after_for = matches!(self.prev, Prev::Word(K::For, _));
        match keyword {
            K::Select if mode != Mode::Names || self.at.verb.may_hold_query() => {
                self.enter_query(Mode::Query);
            }
            K::From if self.frame.is_query => self.frame.mode = Mode::Tables,
            // `USE INDEX FOR JOIN (i)` and `FOR ORDER BY (i)` go on with the table list.
            K::Join if after_for => {}
            K::Order | K::Group if after_for => {}
            K::Join if mode != Mode::Names => self.frame.mode = Mode::Tables,
            K::StraightJoin if matches!(mode, Mode::TableTail | Mode::On | Mode::Tables) => {
                self.frame.mode = Mode::Tables;
            }
            K::On if mode == Mode::TableTail => self.frame.mode = Mode::On,
            K::Using if matches!(mode, Mode::TableTail | Mode::On) => self.frame.mode = Mode::Tables,
            K::Key if mode == Mode::On && matches!(self.prev, Prev::Word(K::Duplicate, _)) => {
                self.frame.mode = Mode::Query;
            }
            K::Where | K::Having | K::Limit | K::Order | K::Group => self.leave_tables(),
            K::Returning if self.is_mariadb() => self.leave_tables(),
            K::Qualify if !self.is_mariadb() && self.dialect.version >= 90_000 => self.leave_tables(),
            K::Set => {
                self.at.insert_head = false;
                self.leave_tables();
            }
            K::Values if mode != Mode::Names => self.values(),
            K::Value if self.at.insert_head && mode == Mode::TableTail => self.values(),
            K::Table if mode != Mode::Names && !self.at.insert_head => self.enter_query(Mode::Tables),
            K::Table if mode == Mode::TableTail => self.enter_query(Mode::Tables),
            K::Union | K::Except | K::Intersect if mode != Mode::Names => self.frame.mode = Mode::QueryStart,
            K::With if self.prev == Prev::Open || mode == Mode::QueryStart || self.at.insert_head => {
                self.frame.mode = Mode::With;
            }
            K::Into if self.at.insert_head => {}
            K::Into => {
                self.at.into = true;
                self.raise(Level::Write);
                self.leave_tables();
            }
            K::For => self.for_word(),
            K::Update | K::Share if after_for => {
                self.at.locking = true;
                self.raise(Level::Write);
                self.leave_tables();
            }
            K::Of if self.at.locking => self.frame.mode = Mode::Tables,
            K::Of if matches!(self.prev, Prev::Word(K::Type, _)) => self.expect = Expect::Table,
            K::Lock | K::Procedure => {
                self.raise(Level::Write);
                self.leave_tables();
            }
            K::SqlCalcFoundRows => {
                self.raise(Level::Write);
                self.effect(Effects::CALC_FOUND_ROWS);
            }
            K::References => self.expect = Expect::Table,
            K::Case => self.body.expression_cases = self.body.expression_cases.saturating_add(1),
            K::End if self.body.expression_cases > 0 => self.body.expression_cases -= 1,
            K::CurrentUser | K::CurrentRole => {
                self.raise(Level::Differs);
                self.factor();
            }
            K::Update | K::Delete | K::Insert | K::Replace if mode == Mode::With && self.is_outermost() => {
                self.with_dml(keyword);
            }
            // Words that may stand between a table list's keyword and its first table.
            K::Lateral | K::LowPriority | K::HighPriority | K::Delayed | K::Quick | K::Ignore | K::Only => {}
            K::Oj if self.prev == Prev::Brace => {}
            _ => self.factor(),
        }
    }

    fn enter_query(&mut self, mode: Mode) {
        self.at.insert_head = false;
        self.frame.is_query = true;
        self.frame.mode = mode;
    }

    fn values(&mut self) {
        self.at.insert_head = false;
        if matches!(self.frame.mode, Mode::QueryStart | Mode::Tables | Mode::TableTail | Mode::With) {
            self.frame.mode = Mode::Query;
        }
    }

    fn leave_tables(&mut self) {
        if self.frame.is_query {
            self.frame.mode = Mode::Query;
        }
    }

    /// `NEXT VALUE FOR sequence`, `PREVIOUS VALUE FOR sequence`.
    fn for_word(&mut self) {
        if matches!(self.prev, Prev::Word(Keyword::Value, _)) {
            self.raise(Level::Write);
            self.expect = Expect::Table;
        }
    }

    /// A name: if a table is expected, it is one.
    #[inline]
    fn factor(&mut self) {
        if self.frame.mode == Mode::Tables {
            // `{ name table }` is MariaDB's and old MySQL's form of `{ OJ table }`.
            if self.prev == Prev::Brace {
                return;
            }
            self.frame.mode = Mode::TableTail;
            self.at.is_factor = true;
        } else {
            self.at.is_factor = false;
        }
    }
}
