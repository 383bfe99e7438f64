//! Collects what is wrong with one file.

use std::collections::BTreeSet;

use crate::problem::{Place, Position, Problem, Severity};

/// Collects the problems of one file.
#[derive(Debug)]
pub struct Report {
    file: String,
    text: String,
    line_starts: Vec<usize>,
    forgive_missing: bool,
    broken_lines: BTreeSet<u32>,
    mistyped: BTreeSet<String>,
    problems: Vec<Problem>,
}

/// A problem just reported; a hint may be added.
#[derive(Debug)]
pub struct Blame<'a>(Option<&'a mut Problem>);

impl Blame<'_> {
    /// What would be right.
    pub fn hint(self, hint: impl Into<String>) {
        if let Some(problem) = self.0 {
            problem.hint = Some(hint.into());
        }
    }
}

impl Report {
    /// Nothing wrong yet. The text is only kept to find lines and columns.
    #[must_use]
    pub fn new(file: impl Into<String>, text: &str) -> Self {
        let line_starts = std::iter::once(0).chain(text.match_indices('\n').map(|(i, _)| i + 1)).collect();
        Self {
            file: file.into(),
            text: text.to_owned(),
            line_starts,
            forgive_missing: false,
            broken_lines: BTreeSet::new(),
            mistyped: BTreeSet::new(),
            problems: Vec::new(),
        }
    }

    /// The file's name, as it is shown.
    #[must_use]
    pub fn file(&self) -> &str {
        &self.file
    }

    /// Line and column of a byte offset.
    #[must_use]
    pub fn position(&self, offset: usize) -> Position {
        let line = self.line_starts.partition_point(|start| *start <= offset);
        let start = line.checked_sub(1).and_then(|i| self.line_starts.get(i)).copied().unwrap_or(0);
        let column = self.text.get(start..offset).map_or(0, |before| before.chars().count()) + 1;
        let number = |n| u32::try_from(n).unwrap_or(u32::MAX);
        Position { line: number(line), column: number(column) }
    }

    /// Reports an error.
    pub fn error(&mut self, place: &Place, message: impl Into<String>) -> Blame<'_> {
        self.add(Severity::Error, place, message.into())
    }

    /// Reports something that somebody should look at.
    pub fn warning(&mut self, place: &Place, message: impl Into<String>) -> Blame<'_> {
        self.add(Severity::Warning, place, message.into())
    }

    /// Reports that something is not there.
    pub fn missing(&mut self, place: &Place, message: impl Into<String>) -> Blame<'_> {
        if self.forgive_missing || self.mistyped.contains(&place.path) {
            return Blame(None);
        }
        self.error(place, message)
    }

    /// Somebody wrote an unknown key and seems to have meant this one: it is not missing on top of that.
    pub(super) fn mistyped(&mut self, path: String) {
        self.mistyped.insert(path);
    }

    /// Reports a mistake of syntax. A bracket that is not closed lets the parser stumble over every line that follows;
    /// saying so once is enough.
    pub(super) fn syntax(&mut self, position: Option<Position>, message: &str) {
        // the parser's words span lines where it says what it expected
        let message = format!("not TOML: {}", message.trim().replace('\n', "; "));
        if self.problems.last().is_none_or(|last| last.message != message) {
            self.add(Severity::Error, &Place { path: String::new(), position }, message);
        }
        self.broken_lines.extend(position.map(|p| p.line));
    }

    pub(super) fn forgive_missing(&mut self, forgive: bool) {
        self.forgive_missing = forgive;
    }

    /// A line that is no TOML is blamed once, not again for what was made of it.
    fn add(&mut self, severity: Severity, place: &Place, message: String) -> Blame<'_> {
        if place.position.is_some_and(|p| self.broken_lines.contains(&p.line)) {
            return Blame(None);
        }
        let file = self.file.clone();
        let path = place.path.clone();
        self.problems.push(Problem { severity, file, position: place.position, path, message, hint: None });
        Blame(self.problems.last_mut())
    }

    /// Was something reported about exactly this path? Then what follows from it need not be.
    #[must_use]
    pub fn blames(&self, path: &str) -> bool {
        self.mistyped.contains(path) || self.problems.iter().any(|problem| problem.path == path)
    }

    /// Was an error reported?
    #[must_use]
    pub fn has_errors(&self) -> bool {
        self.problems.iter().any(Problem::is_error)
    }

    /// All of them, in the order of the text.
    #[must_use]
    pub fn into_problems(mut self) -> Vec<Problem> {
        self.problems.sort_by_key(|problem| problem.position);
        self.problems
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_count_lines_and_characters_from_one() {
        let report = Report::new("f", "ab\nä=1\n");
        for (offset, line, column) in [(0, 1, 1), (1, 1, 2), (2, 1, 3), (3, 2, 1), (5, 2, 2), (8, 3, 1)] {
            assert_eq!(report.position(offset), Position { line, column }, "{offset}");
        }
        assert_eq!(Report::new("f", "").position(0), Position { line: 1, column: 1 });
    }
}
