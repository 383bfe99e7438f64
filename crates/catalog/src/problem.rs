//! What is wrong with a file, in terms that lead to the place and to the remedy.

use std::fmt;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// The file is not taken.
    Error,
    /// It is taken, but somebody should look.
    Warning,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Error => "error",
            Self::Warning => "warning",
        })
    }
}

/// A place in a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    /// Line, from 1.
    pub line: u32,
    /// Column in characters, from 1.
    pub column: u32,
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.line, self.column)
    }
}

/// One thing that is wrong. No field ever holds a secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// How bad it is.
    pub severity: Severity,
    /// The file, as the operator named it or its directory.
    pub file: String,
    /// Where in the file; `None` if the file as a whole is meant.
    pub position: Option<Position>,
    /// Which setting: `slices[0].replicas[1].weight`; empty if none is meant.
    pub path: String,
    /// What is wrong, with the value that was found (unless it is a secret).
    pub message: String,
    /// What would be right.
    pub hint: Option<String>,
}

impl Problem {
    /// An error about a file as a whole.
    #[must_use]
    pub fn error(file: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            severity: Severity::Error,
            file: file.into(),
            position: None,
            path: String::new(),
            message: message.into(),
            hint: None,
        }
    }

    /// A warning about a file as a whole.
    #[must_use]
    pub fn warning(file: impl Into<String>, message: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, ..Self::error(file, message) }
    }

    /// With a way out.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// At a setting.
    #[must_use]
    pub fn at(mut self, place: &Place) -> Self {
        self.position = place.position;
        self.path.clone_from(&place.path);
        self
    }

    /// Does it keep the file from being taken?
    #[must_use]
    pub fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }
}

impl fmt::Display for Problem {
    /// One line, as compilers print it: `shop.toml:3:8: error: users[0].name: … (hint)`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if let Some(position) = self.position {
            write!(f, ":{position}")?;
        }
        write!(f, ": {}: ", self.severity)?;
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        f.write_str(&self.message)?;
        match &self.hint {
            Some(hint) => write!(f, " ({hint})"),
            None => Ok(()),
        }
    }
}

/// Where a value stands.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// Path of keys: `slices[0].replicas[1].weight`; empty for the file's own table.
    pub path: String,
    /// `None` for what the file does not say.
    pub position: Option<Position>,
}

impl Place {
    /// Path of a key in the table that stands here.
    #[must_use]
    pub fn path_of(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }
}
