//! Words that mean something to one kind of statement only.

use super::{Expect, Level, Mode, Pass, Prev};
use crate::words::Keyword;
use crate::{Effects, Kind, Signals, TransactionStep};

/// Whose words are being read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verb {
    None,
    /// A query or a change of rows.
    Query,
    /// Nothing but its first word matters.
    Plain,
    Other,
    Call,
    Set,
    SetTransaction,
    SetAccount,
    Show,
    Explain,
    Begin,
    Start,
    Commit,
    Rollback,
    Create,
    Alter,
    Drop,
    Grant,
    Load,
    Handler,
    Lock,
    Unlock,
    Backup,
    Xa,
    Flush,
    Prepare,
    Execute,
    ExecuteImmediate,
    Analyze,
    Kill,
    Get,
    // parts of compound statements
    If,
    Case,
    Loop,
    Until,
    End,
    Declare,
}

/// What a DDL statement is about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Object {
    #[default]
    Unknown,
    Routine,
    /// The next word of interest starts a routine's body.
    RoutineBody,
    Trigger,
    Event,
    Other,
}

impl Verb {
    /// Has it words of its own outside of parentheses?
    #[inline]
    pub(super) fn has_words(self) -> bool {
        !matches!(self, Verb::Query | Verb::Plain | Verb::Call)
    }

    /// May `user@host` stand in it?
    pub(super) fn has_accounts(self) -> bool {
        matches!(
            self,
            Verb::Create
                | Verb::Alter
                | Verb::Drop
                | Verb::Grant
                | Verb::SetAccount
                | Verb::Show
                | Verb::Kill
                | Verb::Plain
        )
    }

    /// Can SELECT in it be anything but a privilege?
    pub(super) fn may_hold_query(self) -> bool {
        self != Verb::Grant
    }
}

impl Pass {
    /// A word outside of parentheses. True if it is used up.
    pub(super) fn verb_word(&mut self, keyword: Keyword, text: &[u8]) -> bool {
        use Keyword as K;
        match self.at.verb {
            Verb::Set => return self.set_word(keyword, text),
            Verb::SetTransaction => self.set_transaction_word(keyword),
            Verb::Show => return self.show_word(keyword),
            Verb::Explain => return self.explain_word(keyword),
            Verb::Begin => self.begin_word(keyword),
            Verb::Start => self.start_word(keyword),
            Verb::Commit | Verb::Rollback
                if keyword == K::Release && !matches!(self.prev, Prev::Word(K::No, _)) =>
            {
                self.effect(Effects::RELEASE);
            }
            Verb::Rollback if keyword == K::To => {
                self.at.transaction = TransactionStep::None;
                self.at.kind = Kind::Savepoint;
            }
            Verb::Create | Verb::Alter | Verb::Drop => return self.ddl_word(keyword),
            Verb::Load => return self.load_word(keyword),
            // The second word is the table.
            Verb::Handler if self.at.tokens > 2 => match keyword {
                K::Open => self.effect(Effects::HANDLER_OPEN),
                K::Read | K::Close => {
                    self.effect(Effects::HANDLER_OTHER);
                    if keyword == K::Close {
                        self.signal(Signals::CLOSES_HANDLER);
                    }
                }
                K::Where => self.frame.mode = Mode::Expr,
                _ => {}
            },
            Verb::Lock => self.lock_word(keyword, Effects::LOCK_TABLES),
            Verb::Unlock => self.lock_word(keyword, Effects::UNLOCK_TABLES),
            Verb::Backup => self.backup_word(keyword, text),
            Verb::Xa if self.at.tokens == 2 => self.xa_word(keyword, text),
            Verb::Flush => {
                let locks = keyword == K::Export
                    || (keyword == K::Lock && matches!(self.prev, Prev::Word(K::Read, _)));
                if locks {
                    self.effect(Effects::GLOBAL_READ_LOCK);
                }
            }
            Verb::Prepare if keyword == K::From => self.capture_text(),
            Verb::Execute if keyword == K::Immediate => {
                self.at.verb = Verb::ExecuteImmediate;
                self.capture_text();
            }
            Verb::ExecuteImmediate if keyword == K::Using => self.capture = super::Capture::Off,
            Verb::Analyze => return self.analyze_word(keyword),
            Verb::Kill => self.kill_word(keyword),
            Verb::If | Verb::Case | Verb::Loop | Verb::Until | Verb::Declare | Verb::End => {
                return self.compound_word(keyword);
            }
            _ => return false,
        }
        // Words of these statements still lead into expressions and subqueries.
        matches!(self.at.verb, Verb::None | Verb::Plain | Verb::SetTransaction | Verb::Start | Verb::Kill)
    }

    fn explain_word(&mut self, keyword: Keyword) -> bool {
        use Keyword as K;
        let after_for = matches!(self.prev, Prev::Word(K::For, _));
        match keyword {
            K::Select | K::Table | K::Values | K::With => {
                self.at.verb = Verb::Query;
                self.frame.mode = if keyword == K::With { Mode::With } else { Mode::QueryStart };
                if keyword != K::With {
                    self.query_word(keyword);
                }
            }
            K::Insert | K::Replace | K::Update | K::Delete => self.start_dml(keyword),
            K::Into => {
                self.at.into = true;
                self.raise(Level::Write);
            }
            K::Connection => self.raise(Level::Write),
            K::Database | K::Schema if after_for => self.expect = Expect::Database,
            _ => {}
        }
        true
    }

    fn start_word(&mut self, keyword: Keyword) {
        use Keyword as K;
        match keyword {
            K::Transaction if self.at.transaction == TransactionStep::None => {
                self.at.kind = if self.at.kind == Kind::Admin { Kind::Begin } else { self.at.kind };
                if !self.body.is_stored() {
                    self.at.transaction = TransactionStep::Begin;
                }
            }
            K::Only if self.at.transaction == TransactionStep::Begin => {
                self.at.transaction = TransactionStep::BeginReadOnly;
            }
            K::Write => {
                self.at.transaction = TransactionStep::Begin;
                self.effect(Effects::LIFTS_READ_ONLY);
            }
            _ => {}
        }
    }

    fn ddl_word(&mut self, keyword: Keyword) -> bool {
        use Keyword as K;
        match self.body.object {
            // An account after DEFINER= may be called anything.
            Object::Unknown if self.prev != Prev::Equals => self.ddl_object(keyword),
            Object::RoutineBody => {
                let is_type = matches!(self.prev, Prev::Word(K::Character | K::Returns, _));
                if self.at.verb == Verb::Create && is_verb(keyword) && !is_type {
                    return self.start_stored(keyword);
                }
            }
            Object::Routine if matches!(keyword, K::Returns | K::As) => {
                self.body.object = Object::RoutineBody;
            }
            Object::Trigger if keyword == K::Row && matches!(self.prev, Prev::Word(K::Each, _)) => {
                self.start_stored(K::None);
                return true;
            }
            Object::Event if keyword == K::Do => {
                self.start_stored(K::None);
                return true;
            }
            _ => {}
        }
        // A view's or a table's query, and references of its columns.
        false
    }

    fn ddl_object(&mut self, keyword: Keyword) {
        use Keyword as K;
        let mut effects = Effects::IMPLICIT_COMMIT;
        self.body.object = match keyword {
            K::Temporary => {
                self.body.temporary = true;
                // whatever it is: MariaDB has sequences too
                self.effect(match self.at.verb {
                    Verb::Drop => Effects::DROP_TEMPORARY,
                    _ => Effects::TEMPORARY_TABLE,
                });
                return;
            }
            K::Table | K::Tables => {
                if self.at.verb == Verb::Create && self.body.temporary && !self.body.is_stored() {
                    self.expect = Expect::TemporaryTable;
                }
                Object::Other
            }
            K::View | K::Index | K::Package => Object::Other,
            K::Database | K::Schema => {
                self.expect = Expect::Database;
                Object::Other
            }
            K::Procedure | K::Function => Object::Routine,
            K::Trigger => Object::Trigger,
            K::Event => Object::Event,
            K::Prepare if self.at.verb == Verb::Drop => {
                self.at.kind = Kind::Prepare;
                self.effect(Effects::TEXT_EXECUTE);
                self.body.object = Object::Other;
                return;
            }
            K::User
            | K::Role
            | K::Server
            | K::Tablespace
            | K::Undo
            | K::Logfile
            | K::Resource
            | K::Instance
            | K::Reference => {
                effects |= Effects::ADMINISTRATIVE;
                Object::Other
            }
            _ => return,
        };
        if !self.body.temporary {
            self.effect(effects);
        }
    }

    fn load_word(&mut self, keyword: Keyword) -> bool {
        use Keyword as K;
        match keyword {
            // elsewhere it is the name of a table or a column
            K::Local if matches!(self.prev, Prev::Word(K::None | K::LowPriority | K::Concurrent, _)) => {
                self.effect(Effects::LOCAL_INFILE);
            }
            K::Index => {
                self.at.kind = Kind::Admin;
                self.effect(Effects::ADMINISTRATIVE | Effects::IMPLICIT_COMMIT);
            }
            K::Set if !matches!(self.prev, Prev::Word(K::Character, _)) => self.frame.mode = Mode::Expr,
            _ => {}
        }
        true
    }

    fn lock_word(&mut self, keyword: Keyword, tables: Effects) {
        match keyword {
            Keyword::Table | Keyword::Tables => self.effect(tables | Effects::IMPLICIT_COMMIT),
            Keyword::Instance if self.at.verb == Verb::Unlock => {
                self.effect(Effects::ADMINISTRATIVE);
                self.signal(Signals::BACKUP_UNLOCK);
            }
            Keyword::Instance => self.effect(Effects::BACKUP_LOCK | Effects::ADMINISTRATIVE),
            _ => {}
        }
    }

    /// `BACKUP LOCK t`, `BACKUP UNLOCK`, `BACKUP STAGE START`, `BACKUP STAGE END`.
    fn backup_word(&mut self, keyword: Keyword, text: &[u8]) {
        match (self.at.tokens, keyword) {
            (2, Keyword::Unlock) => self.signal(Signals::BACKUP_UNLOCK),
            (2, _) if text.eq_ignore_ascii_case(b"stage") => self.signal(Signals::BACKUP_STAGE),
            (2, _) => self.effect(Effects::BACKUP_LOCK),
            (3, Keyword::End) => {
                self.signals.remove(Signals::BACKUP_STAGE);
                self.signal(Signals::BACKUP_STAGE_END);
            }
            (3, _) if self.signals.contains(Signals::BACKUP_STAGE) => self.effect(Effects::BACKUP_LOCK),
            _ => {}
        }
    }

    fn xa_word(&mut self, keyword: Keyword, text: &[u8]) {
        if text.eq_ignore_ascii_case(b"recover") {
            return;
        }
        self.effect(Effects::XA);
        if matches!(keyword, Keyword::Commit | Keyword::Rollback) {
            self.signal(Signals::ENDS_XA);
        }
    }

    fn kill_word(&mut self, keyword: Keyword) {
        let Some(kill) = &mut self.at.kill else { return };
        match keyword {
            Keyword::Query if self.at.tokens <= 3 => kill.query_only = true,
            Keyword::Soft if self.at.tokens <= 2 => kill.soft = true,
            Keyword::Connection | Keyword::Hard | Keyword::Soft => {}
            // `QUERY ID n`, `USER name`, an expression.
            _ => self.body.kill_is_complex = true,
        }
    }

    pub(super) fn kill_id(&mut self, text: &[u8]) {
        let Some(kill) = &mut self.at.kill else { return };
        let plain = matches!(
            self.prev,
            Prev::Word(
                Keyword::Kill | Keyword::Query | Keyword::Connection | Keyword::Hard | Keyword::Soft,
                _
            )
        );
        kill.id = std::str::from_utf8(text).ok().and_then(|text| text.parse().ok());
        self.body.kill_is_complex |= !plain;
        self.body.kill_tokens = self.at.tokens + 1;
    }

    /// What a Names parenthesis holds: columns whose REFERENCES name tables, or an expression.
    pub(super) fn names_inside(&self) -> Mode {
        use Keyword as K;
        if self.at.verb == Verb::Grant || self.at.verb == Verb::Other {
            return Mode::Names;
        }
        // The first one after the object's name, which may be any word.
        if self.is_outermost() && self.at.verb == Verb::Create && !self.body.had_list {
            return Mode::Names;
        }
        match self.prev {
            Prev::Word(K::Add | K::Column | K::Union | K::Using | K::NextVal | K::LastVal | K::SetVal, _) => {
                Mode::Names
            }
            Prev::Word(K::Hash | K::List | K::Than | K::Default, _) => Mode::Expr,
            Prev::Equals => Mode::Names,
            Prev::Plain | Prev::Quoted => self.list_inside(),
            Prev::Word(_, crate::words::Call::Unknown) => self.list_inside(),
            Prev::Word(keyword, crate::words::Call::Pure | crate::words::Call::Differs)
                if keyword != K::None =>
            {
                self.list_inside()
            }
            _ => Mode::Expr,
        }
    }

    fn list_inside(&self) -> Mode {
        if matches!(self.at.verb, Verb::Call | Verb::Load | Verb::Handler) { Mode::Expr } else { Mode::Names }
    }

    pub(super) fn verb_close(&mut self) {
        self.body.had_list = true;
        if self.body.object == Object::Routine && self.at.verb == Verb::Create {
            self.body.object = Object::RoutineBody;
        }
    }

    pub(super) fn verb_comma(&mut self) {
        if self.at.verb == Verb::Set {
            self.set_comma();
        }
    }

    /// The statement is over.
    pub(super) fn verb_end(&mut self) {
        match self.at.verb {
            // No query was found: it is the description of a table.
            Verb::Explain => self.raise(Level::Differs),
            Verb::Start if self.at.transaction == TransactionStep::None => {
                self.effect(Effects::ADMINISTRATIVE | Effects::IMPLICIT_COMMIT);
            }
            // MariaDB commits before it creates a temporary sequence, and not before it drops one
            Verb::Drop if self.body.temporary => {}
            Verb::Create | Verb::Alter | Verb::Drop if self.body.object == Object::Unknown => {
                self.effect(Effects::IMPLICIT_COMMIT);
            }
            Verb::Kill => {
                let exact = !self.body.kill_is_complex && self.body.kill_tokens == self.at.tokens;
                if let Some(kill) = &mut self.at.kill
                    && !exact
                {
                    kill.id = None;
                }
            }
            Verb::Show => self.show_end(),
            Verb::Execute => self.effect(Effects::USER_VARIABLE_WRITE),
            Verb::Prepare | Verb::ExecuteImmediate if self.nested.is_none() => {
                self.effect(Effects::USER_VARIABLE_WRITE);
            }
            _ => {}
        }
    }
}

/// Does the word start a statement of a routine's body?
fn is_verb(keyword: Keyword) -> bool {
    use Keyword as K;
    matches!(
        keyword,
        K::Select
            | K::Insert
            | K::Replace
            | K::Update
            | K::Delete
            | K::Call
            | K::Do
            | K::Set
            | K::Show
            | K::Explain
            | K::Describe
            | K::Desc
            | K::Begin
            | K::Start
            | K::Commit
            | K::Rollback
            | K::Savepoint
            | K::Release
            | K::Create
            | K::Alter
            | K::Drop
            | K::Rename
            | K::Truncate
            | K::Grant
            | K::Revoke
            | K::Load
            | K::Handler
            | K::Flush
            | K::Prepare
            | K::Execute
            | K::Deallocate
            | K::Analyze
            | K::Checksum
            | K::Optimize
            | K::Check
            | K::Repair
            | K::Reset
            | K::Cache
            | K::Install
            | K::Uninstall
            | K::Kill
            | K::Get
            | K::Signal
            | K::Resignal
            | K::Return
            | K::If
            | K::Case
            | K::Loop
            | K::While
            | K::Repeat
            | K::For
            | K::With
            | K::Table
            | K::Values
    )
}
