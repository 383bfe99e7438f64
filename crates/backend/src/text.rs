//! Statements that are prepared by name, as text (`PREPARE name FROM '...'`): which of them a backend connection has.
//!
//! A server keeps them with the connection, for whoever uses the name there. So a connection is given the names that a
//! statement uses before it runs, and those of others are taken away.

use std::{
    collections::BTreeMap,
    sync::{Arc, Weak},
};

use crate::prepared::Definition;

/// Name of a prepared text, in lower case, of letters, digits, `_` and `$`: such names the servers compare so.
pub type TextName = Box<[u8]>;

/// The names that a connection knows, and what they stand for. A definition's text is the whole PREPARE. Sessions have the
/// definitions: what none has any more is taken away while the connection is idle.
#[derive(Debug, Default)]
pub struct TextsOnServer {
    by_name: BTreeMap<TextName, Weak<Definition>>,
}

/// A name that stands for something else from now on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TextChange {
    /// The name.
    pub name: TextName,
    /// What it is to stand for.
    pub becomes: Becomes,
}

/// See [`TextChange`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Becomes {
    /// This, prepared.
    Prepared(Arc<Definition>),
    /// Nothing: there is no statement of this name.
    Unknown,
    /// Something that can be deallocated.
    Anything,
}

impl TextChange {
    /// The statement that makes it so, without a semicolon.
    #[must_use]
    pub fn sql(&self) -> Vec<u8> {
        match &self.becomes {
            Becomes::Prepared(definition) => definition.text.to_vec(),
            Becomes::Unknown => [b"DEALLOCATE PREPARE `", &*self.name, b"`"].concat(),
            Becomes::Anything => [b"PREPARE `", &*self.name, b"` FROM 'DO 1'"].concat(),
        }
    }
}

impl TextsOnServer {
    /// Does the name stand for anything?
    #[must_use]
    pub fn has(&self, name: &[u8]) -> bool {
        self.by_name.contains_key(name)
    }

    /// Does it stand for this?
    #[must_use]
    pub fn is(&self, name: &[u8], definition: &Arc<Definition>) -> bool {
        self.by_name.get(name).is_some_and(|known| std::ptr::eq(known.as_ptr(), Arc::as_ptr(definition)))
    }

    /// Are there names that stand for what no session has any more?
    #[must_use]
    pub fn has_unused(&self) -> bool {
        self.by_name.values().any(|definition| definition.strong_count() == 0)
    }

    /// What takes those away.
    #[must_use]
    pub fn unused(&self) -> Vec<TextChange> {
        let unused = self.by_name.iter().filter(|(_, definition)| definition.strong_count() == 0);
        unused.map(|(name, _)| TextChange { name: name.clone(), becomes: Becomes::Unknown }).collect()
    }

    /// A statement prepared this.
    pub fn add(&mut self, name: &[u8], definition: &Arc<Definition>) {
        self.by_name.insert(name.into(), Arc::downgrade(definition));
    }

    /// Nobody knows what the name stands for, or it stands for nothing.
    pub fn remove(&mut self, name: &[u8]) {
        self.by_name.remove(name);
    }

    /// The change was made.
    pub(crate) fn made(&mut self, change: &TextChange) {
        match &change.becomes {
            Becomes::Prepared(definition) => self.add(&change.name, definition),
            Becomes::Unknown | Becomes::Anything => self.remove(&change.name),
        }
    }

    /// All names.
    pub fn names(&self) -> impl Iterator<Item = &TextName> {
        self.by_name.keys()
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.by_name.len()
    }

    /// Are there none?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.by_name.is_empty()
    }
}
