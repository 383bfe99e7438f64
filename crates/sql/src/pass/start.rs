//! The first word of a statement.

use super::verb::{Object, Verb};
use super::{Capture, Expect, Level, Mode, Pass};
use crate::words::Keyword;
use crate::{Effects, Flavour, Kind, Signals, TransactionStep};

impl Pass {
    /// The word that starts a statement, also inside a compound one.
    pub(super) fn statement_word(&mut self, keyword: Keyword) {
        if self.body_word(keyword) {
            return;
        }
        use Keyword as K;
        const COMMIT: Effects = Effects::IMPLICIT_COMMIT;
        const ADMIN: Effects = Effects::ADMINISTRATIVE;
        match keyword {
            K::Select => {
                self.start_query();
                self.query_word(keyword);
            }
            K::Table | K::Values => {
                self.start_query();
                self.frame.mode = Mode::QueryStart;
                self.query_word(keyword);
            }
            K::With => {
                self.start_query();
                self.frame.mode = Mode::With;
            }
            K::Insert | K::Replace | K::Update | K::Delete => self.start_dml(keyword),
            K::Call => self.begin(Kind::Call, Verb::Call, Mode::Names, Effects::CALL),
            K::Do => self.begin(Kind::Do, Verb::Plain, Mode::Expr, Effects::empty()),
            K::Return => self.begin(Kind::Other, Verb::Plain, Mode::Expr, Effects::empty()),
            K::Set => {
                self.body.assignment = Default::default();
                self.begin(Kind::Set, Verb::Set, Mode::Expr, Effects::empty());
            }
            K::Show => {
                self.body.show = Default::default();
                self.start(Kind::Show, Verb::Show, Mode::Names, Effects::empty(), Level::Differs);
            }
            K::Explain | K::Describe | K::Desc => {
                self.start(Kind::Explain, Verb::Explain, Mode::Names, Effects::empty(), Level::Read);
            }
            K::Help => self.start(Kind::Other, Verb::Plain, Mode::Expr, Effects::empty(), Level::Differs),
            K::Use => {
                self.begin(Kind::Use, Verb::Plain, Mode::Expr, Effects::empty());
                self.expect = Expect::Use;
            }
            K::Begin => {
                self.begin(Kind::Begin, Verb::Begin, Mode::Expr, Effects::empty());
                self.step(TransactionStep::Begin);
            }
            K::Start => self.begin(Kind::Admin, Verb::Start, Mode::Expr, Effects::empty()),
            K::Commit => {
                self.begin(Kind::Commit, Verb::Commit, Mode::Expr, Effects::empty());
                self.step(TransactionStep::Commit);
            }
            K::Rollback => {
                self.begin(Kind::Rollback, Verb::Rollback, Mode::Expr, Effects::empty());
                self.step(TransactionStep::Rollback);
            }
            K::Savepoint | K::Release => {
                self.begin(Kind::Savepoint, Verb::Plain, Mode::Expr, Effects::empty());
            }
            K::Xa => self.begin(Kind::Xa, Verb::Xa, Mode::Expr, Effects::empty()),
            K::Create | K::Alter | K::Drop => {
                self.body.object = Object::Unknown;
                self.body.temporary = false;
                self.body.had_list = false;
                let verb = match keyword {
                    K::Create => Verb::Create,
                    K::Alter => Verb::Alter,
                    _ => Verb::Drop,
                };
                self.signal(match verb {
                    Verb::Create => Signals::empty(),
                    Verb::Alter => Signals::RENAMES,
                    _ => Signals::DROPS,
                });
                self.begin(Kind::Ddl, verb, Mode::Names, Effects::empty());
            }
            K::Rename | K::Truncate => {
                if keyword == K::Rename {
                    self.signal(Signals::RENAMES);
                }
                self.begin(Kind::Ddl, Verb::Plain, Mode::Names, COMMIT);
            }
            K::Grant | K::Revoke => self.begin(Kind::Admin, Verb::Grant, Mode::Names, COMMIT),
            K::Load => self.begin(Kind::Load, Verb::Load, Mode::Names, Effects::empty()),
            K::Handler => self.begin(Kind::Handler, Verb::Handler, Mode::Names, Effects::empty()),
            K::Lock => self.begin(Kind::Lock, Verb::Lock, Mode::Names, Effects::empty()),
            K::Unlock => self.begin(Kind::Lock, Verb::Unlock, Mode::Names, Effects::empty()),
            K::Flush => self.begin(Kind::Admin, Verb::Flush, Mode::Names, ADMIN | COMMIT),
            K::Backup => self.begin(Kind::Lock, Verb::Backup, Mode::Names, ADMIN | COMMIT),
            K::Prepare => self.begin(Kind::Prepare, Verb::Prepare, Mode::Expr, Effects::TEXT_PREPARE),
            K::Execute => {
                self.begin(Kind::Prepare, Verb::Execute, Mode::Expr, Effects::TEXT_EXECUTE);
            }
            K::Deallocate => self.begin(Kind::Prepare, Verb::Plain, Mode::Expr, Effects::TEXT_EXECUTE),
            K::Analyze => self.begin(Kind::Admin, Verb::Analyze, Mode::Names, Effects::empty()),
            K::Checksum => self.begin(Kind::Admin, Verb::Plain, Mode::Names, Effects::empty()),
            K::Optimize
            | K::Check
            | K::Repair
            | K::Reset
            | K::Change
            | K::Stop
            | K::Install
            | K::Uninstall
            | K::Cache
            | K::Import
            | K::Clone => self.begin(Kind::Admin, Verb::Plain, Mode::Names, ADMIN | COMMIT),
            K::Purge | K::Shutdown | K::Restart | K::Binlog => {
                self.begin(Kind::Admin, Verb::Plain, Mode::Names, ADMIN);
            }
            K::Kill => {
                self.begin(Kind::Kill, Verb::Kill, Mode::Expr, ADMIN | Effects::KILL);
                self.at.kill = Some(crate::Kill { id: None, query_only: false, soft: false });
            }
            K::Get => {
                let effects = Effects::READS_DIAGNOSTICS | Effects::KEEPS_DIAGNOSTICS;
                self.begin(Kind::Other, Verb::Get, Mode::Expr, effects);
            }
            K::Resignal => self.begin(Kind::Other, Verb::Plain, Mode::Expr, Effects::KEEPS_DIAGNOSTICS),
            K::Signal | K::Open | K::Close | K::Fetch | K::Leave | K::Iterate => {
                self.begin(Kind::Other, Verb::Plain, Mode::Expr, Effects::empty());
            }
            _ => self.start_other(),
        }
    }

    /// A statement that nobody knows.
    pub(super) fn start_other(&mut self) {
        self.begin(Kind::Other, Verb::Other, Mode::Names, Effects::ADMINISTRATIVE);
        self.body.other_at = self.at.tokens;
    }

    pub(super) fn start_query(&mut self) {
        self.start(Kind::Select, Verb::Query, Mode::QueryStart, Effects::empty(), Level::Read);
    }

    pub(super) fn start_dml(&mut self, keyword: Keyword) {
        let (kind, verb) = match keyword {
            Keyword::Insert => (Kind::Insert, Verb::Query),
            Keyword::Replace => (Kind::Replace, Verb::Query),
            Keyword::Update => (Kind::Update, Verb::Query),
            _ => (Kind::Delete, Verb::Query),
        };
        self.begin(kind, verb, Mode::Tables, Effects::empty());
        self.frame.is_query = true;
        self.at.insert_head = matches!(kind, Kind::Insert | Kind::Replace);
    }

    /// `WITH ... UPDATE`.
    pub(super) fn with_dml(&mut self, keyword: Keyword) {
        if self.at.kind == Kind::Select {
            self.at.kind = Kind::Empty;
        }
        self.start_dml(keyword);
    }

    fn begin(&mut self, kind: Kind, verb: Verb, mode: Mode, effects: Effects) {
        self.start(kind, verb, mode, effects, Level::Write);
    }

    fn start(&mut self, kind: Kind, verb: Verb, mode: Mode, effects: Effects, level: Level) {
        if self.at.kind == Kind::Empty {
            self.at.kind = kind;
        }
        self.at.verb = verb;
        self.frame.mode = mode;
        self.frame.is_query = false;
        self.raise(level);
        self.effect(effects);
    }

    fn step(&mut self, step: TransactionStep) {
        if !self.body.is_stored() {
            self.at.transaction = step;
        }
    }

    /// From here on literals are statement text.
    pub(super) fn capture_text(&mut self) {
        if self.capture == Capture::Off {
            self.capture = Capture::On;
        }
    }

    /// MariaDB's `ANALYZE SELECT`, or `ANALYZE TABLE`.
    pub(super) fn analyze_word(&mut self, keyword: Keyword) -> bool {
        use Keyword as K;
        let explains = matches!(
            keyword,
            K::Select | K::Insert | K::Update | K::Delete | K::Replace | K::With | K::Values | K::Format
        );
        if explains && self.dialect.flavour == Flavour::MariaDb {
            self.at.verb = Verb::Explain;
            self.at.kind = Kind::Explain;
            self.at.level = Level::Read;
            return self.verb_word(keyword, b"");
        }
        self.at.verb = Verb::Plain;
        self.effect(Effects::ADMINISTRATIVE | Effects::IMPLICIT_COMMIT);
        true
    }
}
