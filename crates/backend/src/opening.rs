//! How a session opens a transaction. It may say so before any server is chosen: then it is sent ahead of the first
//! statement.

/// `ISOLATION LEVEL`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Isolation {
    ReadUncommitted,
    ReadCommitted,
    RepeatableRead,
    Serializable,
}

impl Isolation {
    fn statement(self) -> &'static str {
        match self {
            Self::ReadUncommitted => "SET TRANSACTION ISOLATION LEVEL READ UNCOMMITTED",
            Self::ReadCommitted => "SET TRANSACTION ISOLATION LEVEL READ COMMITTED",
            Self::RepeatableRead => "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ",
            Self::Serializable => "SET TRANSACTION ISOLATION LEVEL SERIALIZABLE",
        }
    }
}

/// What a transaction may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Mode {
    ReadOnly,
    ReadWrite,
}

impl Mode {
    fn statement(self) -> &'static str {
        match self {
            Self::ReadOnly => "SET TRANSACTION READ ONLY",
            Self::ReadWrite => "SET TRANSACTION READ WRITE",
        }
    }
}

/// `BEGIN` and `START TRANSACTION`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Begin {
    /// As the session is set.
    Plain,
    /// With a mode of its own.
    As(Mode),
}

impl Begin {
    fn statement(self) -> &'static str {
        match self {
            Self::Plain => "START TRANSACTION",
            Self::As(Mode::ReadOnly) => "START TRANSACTION READ ONLY",
            Self::As(Mode::ReadWrite) => "START TRANSACTION READ WRITE",
        }
    }
}

/// What a session has said of its next transaction, of which no server knows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Opening {
    /// `SET TRANSACTION ISOLATION LEVEL`.
    pub isolation: Option<Isolation>,
    /// `SET TRANSACTION READ ONLY`, `READ WRITE`.
    pub mode: Option<Mode>,
    /// It was begun.
    pub begin: Option<Begin>,
}

impl Opening {
    /// Has it said nothing?
    #[must_use]
    pub fn is_nothing(self) -> bool {
        self == Self::default()
    }

    /// What a server must be told.
    pub fn statements(self) -> impl Iterator<Item = &'static str> {
        let said = [
            self.isolation.map(Isolation::statement),
            self.mode.map(Mode::statement),
            self.begin.map(Begin::statement),
        ];
        said.into_iter().flatten()
    }

    /// The same in the servers' words, as their trackers tell it.
    #[must_use]
    pub fn characteristics(self) -> String {
        let told = match (self.begin, self.mode) {
            (Some(Begin::Plain), Some(mode)) => Self { begin: Some(Begin::As(mode)), mode: None, ..self },
            (Some(_), _) => Self { mode: None, ..self },
            (None, _) => self,
        };
        told.statements().map(|statement| format!("{statement};")).collect::<Vec<_>>().join(" ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_told_what_was_said_and_nothing_else() {
        let text = |isolation, mode, begin| Opening { isolation, mode, begin }.characteristics();
        assert_eq!(text(None, None, None), "");
        assert_eq!(text(None, None, Some(Begin::Plain)), "START TRANSACTION;");
        assert_eq!(text(None, None, Some(Begin::As(Mode::ReadOnly))), "START TRANSACTION READ ONLY;");
        assert_eq!(text(None, None, Some(Begin::As(Mode::ReadWrite))), "START TRANSACTION READ WRITE;");
        assert_eq!(
            text(Some(Isolation::Serializable), Some(Mode::ReadOnly), Some(Begin::Plain)),
            "SET TRANSACTION ISOLATION LEVEL SERIALIZABLE; START TRANSACTION READ ONLY;"
        );
        assert_eq!(
            text(None, Some(Mode::ReadOnly), Some(Begin::As(Mode::ReadWrite))),
            "START TRANSACTION READ WRITE;"
        );
        assert_eq!(
            text(Some(Isolation::Serializable), Some(Mode::ReadOnly), None),
            "SET TRANSACTION ISOLATION LEVEL SERIALIZABLE; SET TRANSACTION READ ONLY;"
        );
        let all = [Isolation::ReadUncommitted, Isolation::ReadCommitted, Isolation::RepeatableRead];
        for (isolation, words) in
            all.into_iter().zip(["READ UNCOMMITTED", "READ COMMITTED", "REPEATABLE READ"])
        {
            assert_eq!(
                text(Some(isolation), None, None),
                format!("SET TRANSACTION ISOLATION LEVEL {words};")
            );
        }
    }
}
