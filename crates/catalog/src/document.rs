//! Reads TOML files into declared tables and finds everything that is wrong with them at once.
//!
//! A table is declared with [`stored!`](crate::stored): key, type, default, bounds and meaning in one row. The reader,
//! the complaints about a file and the reference documentation all come from that row.

mod declare;
mod node;
mod reference;
mod report;
mod scalar;
mod suggest;

pub use node::{At, Declared, ItemsOr, Node, Rows, Stored, Within};
pub use reference::{Need, Row, Shape, TableShape, reference};
pub use report::{Blame, Report};
pub use scalar::{Bytes, Choice, Scalar, Wrong, list_of_choices, one_of, quoted, text_of};

use toml::de::DeTable;
pub use toml::de::DeValue;

/// A text that was parsed as TOML, as far as that went.
pub struct Document<'a> {
    table: toml::Spanned<DeValue<'a>>,
    broken: bool,
}

impl<'a> Document<'a> {
    /// Parses the report's text; every mistake of syntax is reported.
    #[must_use]
    pub fn parse(text: &'a str, report: &mut Report) -> Self {
        let (table, errors) = DeTable::parse_recoverable(text);
        let broken = !errors.is_empty();
        for error in errors {
            let position = error.span().map(|span| report.position(span.start));
            report.syntax(position, error.message());
        }
        let span = table.span();
        Self { table: toml::Spanned::new(span, DeValue::Table(table.into_inner())), broken }
    }

    /// Reads the whole document as a declared table. What seems to be missing is not complained about if the text has
    /// mistakes of syntax: it may be there, unread.
    pub fn read<T: Stored>(&self, report: &mut Report) -> Option<T> {
        report.forgive_missing(self.broken);
        T::read(&Node::root(&self.table), report)
    }
}
