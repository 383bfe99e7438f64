//! SET: what is assigned.

use super::verb::Verb;
use super::{Level, Mode, Pass};
use crate::Effects;
use crate::words::{self, Keyword};

/// Where in an assignment of SET the pass is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// A target is expected.
    Target,
    /// A target was named; a dotted part may follow.
    Named,
    /// The value.
    Value,
}

/// Which scope the next target has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scope {
    /// None said: the session's.
    Unsaid,
    Session,
    Global,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Assignment {
    pub(super) step: Step,
    scope: Scope,
}

impl Default for Assignment {
    fn default() -> Self {
        Self { step: Step::Target, scope: Scope::Unsaid }
    }
}

impl Pass {
    /// Is what comes now the target of an assignment?
    pub(super) fn is_set_target(&self) -> bool {
        matches!(self.at.verb, Verb::Set) && self.is_outermost() && self.body.assignment.step == Step::Target
    }

    pub(super) fn set_target_done(&mut self) {
        if self.is_set_target() {
            self.body.assignment.step = Step::Value;
        }
    }

    pub(super) fn set_comma(&mut self) {
        self.body.assignment = Assignment::default();
    }

    /// A word of SET outside of parentheses. True if it is used up.
    pub(super) fn set_word(&mut self, keyword: Keyword, text: &[u8]) -> bool {
        use Keyword as K;
        match (self.body.assignment.step, keyword) {
            (Step::Target, _) => self.set_target(text, 0, keyword, false),
            (_, K::For) if self.body.is_set_statement => {
                // The statement that the settings are for.
                self.body.is_set_statement = false;
                self.frame.mode = Mode::Start;
                self.at.verb = Verb::None;
            }
            _ => return false,
        }
        true
    }

    pub(super) fn set_target(&mut self, raw: &[u8], doubled: u8, keyword: Keyword, quoted: bool) {
        use Keyword as K;
        if self.body.assignment.step != Step::Target {
            return;
        }
        if quoted {
            return self.assign_system_variable(raw, doubled, keyword);
        }
        match keyword {
            K::Global | K::Persist | K::PersistOnly => self.body.assignment.scope = Scope::Global,
            K::Session | K::Local => self.body.assignment.scope = Scope::Session,
            K::Transaction => self.set_transaction(),
            K::Names => self.assign_session(b"names"),
            K::Character | K::Charset => self.assign_session(b"character set"),
            K::Password => {
                self.effect(Effects::ADMINISTRATIVE | Effects::IMPLICIT_COMMIT);
                self.set_account();
            }
            K::Default => {
                self.effect(Effects::ADMINISTRATIVE | Effects::IMPLICIT_COMMIT | Effects::ROLE);
                self.set_account();
            }
            K::Role => {
                self.effect(Effects::ROLE);
                self.set_account();
            }
            K::Resource => {
                self.effect(Effects::RESOURCE_GROUP);
                self.set_account();
            }
            K::Statement if self.is_mariadb() => {
                self.effect(Effects::SET_STATEMENT);
                self.body.is_set_statement = true;
            }
            _ => self.assign_system_variable(raw, doubled, keyword),
        }
    }

    /// What follows names accounts, not variables.
    fn set_account(&mut self) {
        self.at.verb = Verb::SetAccount;
        self.frame.mode = Mode::Names;
    }

    fn assign_session(&mut self, name: &[u8]) {
        self.effect(Effects::SET_SESSION);
        self.add_variable(name, 0);
        self.body.assignment.step = Step::Value;
    }

    fn set_transaction(&mut self) {
        match self.body.assignment.scope {
            Scope::Unsaid => self.effect(Effects::NEXT_TRANSACTION),
            Scope::Session => self.assign_session(b"transaction"),
            Scope::Global => self.effect(Effects::ADMINISTRATIVE),
        }
        self.at.verb = Verb::SetTransaction;
    }

    fn assign_system_variable(&mut self, raw: &[u8], doubled: u8, keyword: Keyword) {
        self.body.assignment.step = Step::Named;
        self.assigned_effects(keyword);
        if self.body.assignment.scope == Scope::Global {
            return self.effect(Effects::ADMINISTRATIVE);
        }
        self.effect(Effects::SET_SESSION);
        self.add_variable(raw, doubled);
    }

    fn add_variable(&mut self, raw: &[u8], doubled: u8) {
        if !self.body.is_stored() && self.names.add_variable(raw, doubled).is_err() {
            self.unreadable();
        }
    }

    fn assigned_effects(&mut self, keyword: Keyword) {
        match keyword {
            Keyword::TransactionReadOnly | Keyword::TxReadOnly => self.effect(Effects::LIFTS_READ_ONLY),
            Keyword::Profiling => self.effect(Effects::PROFILING),
            _ => {}
        }
    }

    /// The name behind `@@` in a target. True if it was one.
    pub(super) fn set_system_variable(&mut self, raw: &[u8], doubled: u8, keyword: Keyword) -> bool {
        use Keyword as K;
        if !self.is_set_target() {
            return false;
        }
        match keyword {
            K::Global | K::Persist | K::PersistOnly => {
                self.body.assignment.scope = Scope::Global;
                self.prev = super::Prev::AtAt;
            }
            K::Session | K::Local => {
                self.body.assignment.scope = Scope::Session;
                self.prev = super::Prev::AtAt;
            }
            _ => self.assign_system_variable(raw, doubled, keyword),
        }
        true
    }

    /// A dotted part of a target (`hot.key_buffer_size`). True if it was one.
    pub(super) fn set_part(&mut self, raw: &[u8], doubled: u8, keyword: Option<Keyword>) -> bool {
        if self.at.verb != Verb::Set || !self.is_outermost() || self.body.assignment.step != Step::Named {
            return false;
        }
        self.assigned_effects(keyword.unwrap_or_else(|| words::look_up_quoted(raw).keyword));
        if self.body.assignment.scope != Scope::Global && !self.body.is_stored() {
            self.names.qualify_variable(raw, doubled);
        }
        true
    }

    /// A word of `SET TRANSACTION`.
    pub(super) fn set_transaction_word(&mut self, keyword: Keyword) {
        if keyword == Keyword::Write {
            self.effect(Effects::LIFTS_READ_ONLY);
            self.raise(Level::Write);
        }
    }
}
