//! The reference documentation of declared tables.

use std::fmt::Write;

use super::{scalar::Choice, suggest::closest};

/// What can stand at a place in a document.
#[derive(Clone, Debug)]
pub enum Shape {
    /// One value.
    Scalar {
        /// With its article: "a duration".
        kind: String,
        /// As TOML.
        example: String,
        /// If only certain words are allowed: which.
        choices: &'static [Choice],
    },
    /// A table.
    Table(TableShape),
}

/// A declared table.
#[derive(Clone, Debug)]
pub struct TableShape {
    /// What it is for; lines of its doc comment.
    pub about: &'static [&'static str],
    /// An example, inline, if the shortest table that is allowed says too little.
    pub example: Option<&'static str>,
    /// Its keys.
    pub rows: Vec<Row>,
}

/// A declared key.
#[derive(Clone, Debug)]
pub struct Row {
    /// The key.
    pub key: &'static str,
    /// What it means; lines of its doc comment.
    pub doc: &'static [&'static str],
    /// Must it be there?
    pub need: Need,
    /// What stands there, or in each item of the list.
    pub shape: Shape,
    /// Bounds: `1 to 100`.
    pub within: Option<String>,
}

/// Must a key be there?
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Need {
    /// Yes.
    Required,
    /// No; nothing stands in for it.
    Optional,
    /// No; this stands in for it, as TOML.
    Default(String),
    /// A table whose keys have their own defaults.
    Section,
    /// A list, empty by default.
    List,
    /// A list with at least one item.
    Several,
    /// The same, or this word.
    SeveralOr(&'static str),
}

impl Need {
    /// May several of the kind stand there?
    #[must_use]
    pub fn is_list(&self) -> bool {
        matches!(self, Self::List | Self::Several | Self::SeveralOr(_))
    }
}

impl Row {
    fn example(&self) -> String {
        match &self.need {
            Need::Default(text) => text.clone(),
            _ => self.shape.example(),
        }
    }
}

impl Shape {
    /// An example, as TOML.
    #[must_use]
    pub fn example(&self) -> String {
        match self {
            Self::Scalar { example, .. } => example.clone(),
            Self::Table(table) => table.example(),
        }
    }
}

impl TableShape {
    /// An example, inline: the declared one, or what is needed, or the first key.
    #[must_use]
    pub fn example(&self) -> String {
        if let Some(example) = self.example {
            return example.to_owned();
        }
        let needed: Vec<String> = self
            .rows
            .iter()
            .filter_map(|row| match row.need {
                Need::Required => Some(format!("{} = {}", row.key, row.shape.example())),
                Need::Several | Need::SeveralOr(_) => {
                    Some(format!("{} = [{}]", row.key, row.shape.example()))
                }
                _ => None,
            })
            .collect();
        let any = self.rows.first().map(|row| format!("{} = {}", row.key, row.example())).into_iter();
        let shown = if needed.is_empty() { any.collect() } else { needed };
        format!("{{ {} }}", shown.join(", "))
    }

    /// The key that somebody seems to have meant.
    pub(super) fn key_like(&self, unknown: &str) -> Option<&'static str> {
        closest(unknown, self.rows.iter().map(|row| row.key))
    }

    /// Where somebody should look who wrote a key that this table does not have.
    pub(super) fn hint_for(&self, unknown: &str) -> String {
        let mut belongs = self.rows.iter().filter(|row| match &row.shape {
            Shape::Table(inner) => inner.rows.iter().any(|inner| inner.key == unknown),
            Shape::Scalar { .. } => false,
        });
        match (belongs.next(), belongs.next()) {
            (Some(row), None) if row.need.is_list() => format!("`{unknown}` belongs in [[{}]]", row.key),
            (Some(row), None) => format!("`{unknown}` belongs in [{}]", row.key),
            _ => {
                let known: Vec<String> = self.rows.iter().map(|row| format!("`{}`", row.key)).collect();
                format!("known here: {}", known.join(", "))
            }
        }
    }
}

/// The reference of a file, in Markdown: a chapter for each table, in the order of the declarations.
#[must_use]
pub fn reference(title: &str, file: &TableShape) -> String {
    let mut out = String::new();
    chapter(&mut out, title, "", file);
    out
}

fn chapter(out: &mut String, title: &str, path: &str, table: &TableShape) {
    // writing to a String cannot fail
    let _ = write!(out, "## {title}\n\n{}\n\n", paragraph(table.about));
    out.push_str("| Key | Type | Default | Meaning |\n|---|---|---|---|\n");
    for row in &table.rows {
        let _ = writeln!(
            out,
            "| `{}` | {} | {} | {} |",
            row.key,
            cell(&kind(row, path)),
            cell(&default(row)),
            cell(&meaning(row))
        );
    }
    out.push('\n');
    for row in &table.rows {
        let Shape::Table(inner) = &row.shape else { continue };
        let path = if path.is_empty() { row.key.to_owned() } else { format!("{path}.{}", row.key) };
        let title = if row.need.is_list() { format!("`[[{path}]]`") } else { format!("`[{path}]`") };
        chapter(out, &title, &path, inner);
    }
}

fn kind(row: &Row, path: &str) -> String {
    let dot = if path.is_empty() { "" } else { "." };
    let mut kind = match (&row.shape, row.need.is_list()) {
        (Shape::Scalar { kind, example, .. }, true) => {
            format!("list; each {kind}, as in `[{example}]`")
        }
        // a default is example enough
        (Shape::Scalar { choices: [], kind, .. }, _) if matches!(row.need, Need::Default(_)) => kind.clone(),
        (Shape::Scalar { choices: [], kind, example }, _) => format!("{kind}, as in `{example}`"),
        (Shape::Scalar { choices, .. }, _) => {
            choices.iter().map(|choice| format!("`\"{}\"`", choice.text)).collect::<Vec<_>>().join(", ")
        }
        (Shape::Table(_), true) => format!("list of tables, `[[{path}{dot}{}]]`", row.key),
        (Shape::Table(_), _) => format!("table, `[{path}{dot}{}]`", row.key),
    };
    if let Some(within) = &row.within {
        let _ = write!(kind, "; {within}");
    }
    if let Need::SeveralOr(word) = row.need {
        let _ = write!(kind, ", or `\"{word}\"`");
    }
    kind
}

fn default(row: &Row) -> String {
    match &row.need {
        Need::Required => "**required**".to_owned(),
        Need::Several | Need::SeveralOr(_) => "**required**, at least one".to_owned(),
        Need::Optional => "none".to_owned(),
        Need::Default(text) => format!("`{text}`"),
        Need::Section => String::new(),
        Need::List => "`[]`".to_owned(),
    }
}

fn meaning(row: &Row) -> String {
    let mut text = paragraph(row.doc);
    if let Shape::Scalar { choices, .. } = &row.shape {
        for choice in *choices {
            let _ = write!(text, "<br>`{}`: {}", choice.text, paragraph(choice.doc));
        }
    }
    text
}

/// Lines of a doc comment as one paragraph.
fn paragraph(lines: &[&str]) -> String {
    lines.iter().map(|line| line.trim()).collect::<Vec<_>>().join(" ").trim().to_owned()
}

/// What would end a cell is escaped.
fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}

#[cfg(test)]
#[expect(dead_code, reason = "only the declarations are looked at, nothing is read")]
mod tests {
    use crate::{document::Declared, stored};

    crate::choice! {
        /// Form.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Form {
            /// With | bars.
            Long = "long",
            /// Without.
            Short = "short",
        }
    }

    stored! {
        /// What the file
        /// is for.
        pub struct File {
            /// How many.
            default count: u32 = 7, within (1, 9);
            /// Which.
            optional form: Form;
            /// Names.
            several names: String;
            /// Inner tables.
            list inner: Inner;
        }

        /// An inner table.
        pub struct Inner {
            /// Needed.
            required key: bool;
        }
    }

    #[test]
    fn the_reference_says_type_bounds_default_and_meaning_of_every_row() {
        assert_eq!(
            super::reference("The file", &File::table_shape()),
            "\
## The file

What the file is for.

| Key | Type | Default | Meaning |
|---|---|---|---|
| `count` | a whole number; 1 to 9 | `7` | How many. |
| `form` | `\"long\"`, `\"short\"` | none | Which.<br>`long`: With \\| bars.<br>`short`: Without. |
| `names` | list; each a string, as in `[\"text\"]` | **required**, at least one | Names. |
| `inner` | list of tables, `[[inner]]` | `[]` | Inner tables. |

## `[[inner]]`

An inner table.

| Key | Type | Default | Meaning |
|---|---|---|---|
| `key` | true or false, as in `true` | **required** | Needed. |

"
        );
    }
}
