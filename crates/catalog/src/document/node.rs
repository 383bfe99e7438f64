//! Values of a document with their places, and how rows of a table are read from them.

use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use crate::problem::Place;

use super::{
    reference::{Shape, TableShape},
    report::Report,
    scalar::{Scalar, Wrong},
};

/// A value and where it stands.
#[derive(Clone, Debug, PartialEq)]
pub struct At<T> {
    /// The value.
    pub value: T,
    /// Where it stands; without a position if it is a default.
    pub place: Place,
}

/// A list, or the one word that may stand in its place.
#[derive(Clone, Debug, PartialEq)]
pub enum ItemsOr<T> {
    /// The list.
    Items(Vec<T>),
    /// The word.
    Word,
}

impl<T> ItemsOr<T> {
    /// The items; none if there is the word.
    #[must_use]
    pub fn items(&self) -> &[T] {
        match self {
            Self::Items(items) => items,
            Self::Word => &[],
        }
    }

    /// Does the word stand there?
    #[must_use]
    pub fn is_word(&self) -> bool {
        matches!(self, Self::Word)
    }
}

/// What can be read from a place in a document: a declared table, or a [`Scalar`].
pub trait Stored: Sized {
    /// What the reference says of it.
    fn shape() -> Shape;
    /// Reads it; `None` if nothing could be made of it, which was reported then.
    fn read(node: &Node<'_>, report: &mut Report) -> Option<Self>;
}

impl<T: Scalar> Stored for T {
    fn shape() -> Shape {
        Shape::Scalar { kind: T::KIND.to_owned(), example: T::EXAMPLE.to_owned(), choices: T::choices() }
    }

    fn read(node: &Node<'_>, report: &mut Report) -> Option<Self> {
        let wrong = match T::from_toml(node.value) {
            Ok(value) => return Some(value),
            Err(wrong) => wrong,
        };
        let (message, hint) = match wrong {
            Wrong::Type => {
                let message = format!("expected {}, found {}", T::KIND, found(node.value, T::SECRET));
                (message, Some(format!("for example {}", T::EXAMPLE)))
            }
            Wrong::OutOfBounds { allowed } => {
                let allowed = node.bounds.as_ref().unwrap_or(&allowed);
                (out_of_bounds(node.value), Some(format!("allowed is {allowed}")))
            }
            Wrong::Value { message, hint } => (message, hint),
        };
        let blame = report.error(&node.place, message);
        if let Some(hint) = hint {
            blame.hint(hint);
        }
        None
    }
}

/// The value in a reader's words; a secret's text is never among them.
fn found(value: &DeValue<'_>, secret: bool) -> String {
    match value {
        DeValue::String(_) if secret => "a string".to_owned(),
        DeValue::Integer(_) | DeValue::Float(_) if secret => "a number".to_owned(),
        DeValue::Boolean(_) if secret => "true or false".to_owned(),
        DeValue::Datetime(_) if secret => "a time".to_owned(),
        DeValue::String(text) => format!("the string \"{text}\""),
        DeValue::Integer(number) => format!("the number {number}"),
        DeValue::Float(number) => format!("the number {number}"),
        DeValue::Boolean(yes) => format!("{yes}"),
        DeValue::Datetime(time) => format!("the time {time}"),
        DeValue::Array(_) => "a list".to_owned(),
        DeValue::Table(_) => "a table".to_owned(),
    }
}

fn out_of_bounds(value: &DeValue<'_>) -> String {
    match value {
        DeValue::Integer(number) => format!("{number} is out of bounds"),
        DeValue::String(text) => format!("\"{text}\" is out of bounds"),
        _ => "the value is out of bounds".to_owned(),
    }
}

/// Bounds of a value, both included.
#[derive(Clone, Debug)]
pub struct Within<T> {
    low: T,
    high: T,
    contains: fn(&T, &T, &T) -> bool,
    shown: String,
}

impl<T: Scalar + PartialOrd> Within<T> {
    /// From the lowest to the highest that is allowed.
    pub fn new(low: T, high: T) -> Self {
        let shown = format!("{} to {}", bare(&low.to_toml()), bare(&high.to_toml()));
        Self { low, high, contains: |low, high, value| low <= value && value <= high, shown }
    }
}

impl<T> Within<T> {
    /// For the reference: `1 to 100`.
    #[must_use]
    pub fn into_shown(self) -> String {
        self.shown
    }
}

/// Without the quotes of TOML.
fn bare(text: &str) -> &str {
    text.trim_matches('"')
}

/// A value in a document and the path that leads to it.
#[derive(Debug)]
pub struct Node<'a> {
    value: &'a DeValue<'a>,
    place: Place,
    /// What is allowed, in words, if the row says so.
    bounds: Option<String>,
}

impl<'a> Node<'a> {
    pub(super) fn root(value: &'a Spanned<DeValue<'a>>) -> Self {
        Self { value: value.get_ref(), place: Place::default(), bounds: None }
    }

    /// Takes the node as a table and complains of keys that it does not know; `None` if it is no table.
    pub fn rows(&self, shape: &TableShape, report: &mut Report) -> Option<Rows<'a>> {
        let DeValue::Table(table) = self.value else {
            report
                .error(&self.place, format!("expected a table, found {}", found(self.value, true)))
                .hint(format!("for example {}", shape.example()));
            return None;
        };
        for key in table.keys() {
            let name = key.get_ref().as_ref();
            if shape.rows.iter().any(|row| row.key == name) {
                continue;
            }
            let position = Some(report.position(key.span().start));
            let place = Place { path: self.place.path_of(name), position };
            let like = shape.key_like(name);
            let hint = like.map_or_else(|| shape.hint_for(name), |like| format!("did you mean `{like}`?"));
            report.error(&place, format!("unknown key `{name}`")).hint(hint);
            if let Some(like) = like {
                report.mistyped(self.place.path_of(like));
            }
        }
        Some(Rows { table: Some(table), place: self.place.clone() })
    }
}

/// A table that is declared row by row; see [`stored!`](crate::stored).
pub trait Declared: Sized {
    /// What the reference says of it.
    fn table_shape() -> TableShape;
    /// Reads every row.
    fn from_rows(rows: &Rows<'_>, report: &mut Report) -> Self;
}

/// The rows of a table, to be taken one by one.
#[derive(Debug)]
pub struct Rows<'a> {
    /// `None` stands for a table that the file does not have.
    table: Option<&'a DeTable<'a>>,
    place: Place,
}

impl<'a> Rows<'a> {
    /// A row that must be there; `None` (and reported) if it is not, or is wrong.
    pub fn required<T: Stored>(
        &self,
        key: &str,
        within: Option<Within<T>>,
        report: &mut Report,
    ) -> Option<At<T>> {
        if self.node(key, report).is_none() {
            let example = T::shape().example();
            report
                .missing(&self.place_of(key), format!("`{key}` is missing"))
                .hint(format!("for example {key} = {example}"));
        }
        self.optional(key, within, report)
    }

    /// A row that may be there; also `None` (and reported) if it is wrong.
    pub fn optional<T: Stored>(
        &self,
        key: &str,
        within: Option<Within<T>>,
        report: &mut Report,
    ) -> Option<At<T>> {
        let mut node = self.node(key, report)?;
        node.bounds = within.as_ref().map(|bounds| bounds.shown.clone());
        let value = T::read(&node, report)?;
        if let Some(bounds) = within
            && !(bounds.contains)(&bounds.low, &bounds.high, &value)
        {
            report.error(&node.place, out_of_bounds(node.value)).hint(format!("allowed is {}", bounds.shown));
            return None;
        }
        Some(At { value, place: node.place })
    }

    /// A row that has a default, which also stands in for a wrong value (that was reported).
    pub fn default<T: Stored>(
        &self,
        key: &str,
        default: T,
        within: Option<Within<T>>,
        report: &mut Report,
    ) -> At<T> {
        self.optional(key, within, report).unwrap_or_else(|| At { value: default, place: self.place_of(key) })
    }

    /// A table whose rows all hold their own if it is not there.
    pub fn section<T: Declared>(&self, key: &str, report: &mut Report) -> At<T> {
        let absent = Rows { table: None, place: self.place_of(key) };
        let rows = match self.node(key, report) {
            Some(node) => node.rows(&T::table_shape(), report).unwrap_or(absent),
            None => absent,
        };
        At { value: T::from_rows(&rows, report), place: rows.place }
    }

    /// A list, empty if it is not there. Items that are wrong are reported and left out.
    pub fn list<T: Stored>(&self, key: &str, report: &mut Report) -> At<Vec<At<T>>> {
        let Some(node) = self.node(key, report) else {
            return At { value: Vec::new(), place: self.place_of(key) };
        };
        let DeValue::Array(items) = node.value else {
            let example = T::shape().example();
            report
                .error(&node.place, format!("expected a list, found {}", found(node.value, false)))
                .hint(format!("for example [{example}]"));
            return At { value: Vec::new(), place: node.place };
        };
        let mut value = Vec::new();
        for (index, item) in items.iter().enumerate() {
            let position = Some(report.position(item.span().start));
            let place = Place { path: format!("{}[{index}]", node.place.path), position };
            let item = Node { value: item.get_ref(), place, bounds: None };
            value.extend(T::read(&item, report).map(|value| At { value, place: item.place }));
        }
        At { value, place: node.place }
    }

    /// A list that must be there and have an item.
    pub fn several<T: Stored>(&self, key: &str, report: &mut Report) -> At<Vec<At<T>>> {
        let list = self.list(key, report);
        let says_nothing = self
            .node(key, report)
            .is_none_or(|node| node.value.as_array().is_some_and(|items| items.is_empty()));
        if says_nothing {
            let shape = T::shape();
            let hint = match &shape {
                Shape::Scalar { example, .. } => format!("for example {key} = [{example}]"),
                Shape::Table(_) => format!("a table [[{}]] declares one", list.place.path),
            };
            report.missing(&list.place, format!("`{key}` needs at least one item")).hint(hint);
        }
        list
    }

    /// The same, or one word in its place.
    pub fn several_or<T: Stored>(&self, key: &str, word: &str, report: &mut Report) -> At<ItemsOr<At<T>>> {
        let node = self.node(key, report);
        match node.as_ref().map(|node| (node, node.value)) {
            Some((node, DeValue::String(text))) if text.as_ref() == word => {
                return At { value: ItemsOr::Word, place: node.place.clone() };
            }
            Some((node, DeValue::String(text))) => {
                report
                    .error(&node.place, format!("expected a list or \"{word}\", found the string \"{text}\""))
                    .hint(format!("for example {key} = \"{word}\""));
                return At { value: ItemsOr::Items(Vec::new()), place: node.place.clone() };
            }
            _ => {}
        }
        let list = self.several(key, report);
        At { value: ItemsOr::Items(list.value), place: list.place }
    }

    fn node(&self, key: &str, report: &Report) -> Option<Node<'a>> {
        let value = self.table?.get(key)?;
        let position = Some(report.position(value.span().start));
        let place = Place { path: self.place.path_of(key), position };
        Some(Node { value: value.get_ref(), place, bounds: None })
    }

    /// Where a key would stand that is not there: in its table.
    fn place_of(&self, key: &str) -> Place {
        Place { path: self.place.path_of(key), position: self.place.position }
    }
}
