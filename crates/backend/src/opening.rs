//! How a session opens a transaction. It may say so before any server is chosen: then it is sent ahead of the first
//! statement.

/// `BEGIN` and `START TRANSACTION`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Begin {
    /// As the session is set.
    Plain,
    /// `READ ONLY`.
    ReadOnly,
    /// `READ WRITE`.
    ReadWrite,
}

impl Begin {
    fn statement(self) -> &'static str {
        match self {
            Self::Plain => "START TRANSACTION",
            Self::ReadOnly => "START TRANSACTION READ ONLY",
            Self::ReadWrite => "START TRANSACTION READ WRITE",
        }
    }
}

/// What a session has said of a transaction that no server has seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Opening {
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
        self.begin.map(Begin::statement).into_iter()
    }

    /// The same in the servers' words, as their trackers tell it.
    #[must_use]
    pub fn characteristics(self) -> String {
        self.statements().map(|statement| format!("{statement};")).collect::<Vec<_>>().join(" ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_told_of_what_was_not_said() {
        assert_eq!(Opening::default().statements().count(), 0);
        assert_eq!(Opening::default().characteristics(), "");
    }

    #[test]
    fn a_begin_is_told_in_the_words_of_the_servers() {
        for (begin, text) in [
            (Begin::Plain, "START TRANSACTION;"),
            (Begin::ReadOnly, "START TRANSACTION READ ONLY;"),
            (Begin::ReadWrite, "START TRANSACTION READ WRITE;"),
        ] {
            assert_eq!(Opening { begin: Some(begin) }.characteristics(), text);
        }
    }
}
