//! Prepared statements as sessions share them, and which of them a backend connection has.

use std::{
    collections::HashMap,
    hash::{Hash, Hasher},
    sync::Arc,
};

use weir_wire::{command::com, packet_with};

use crate::state::State;

/// Statements that one backend connection keeps prepared; the one not used for longest is closed for another.
const PER_CONNECTION: usize = 256;

/// What was prepared, and in which state: the same text means another statement in another database.
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct Definition {
    /// Text of the statement.
    pub text: Box<[u8]>,
    /// State of the session when it was prepared.
    pub state: ByAddress<State>,
}

/// A shared value compared by identity: equal values were made one before.
#[derive(Debug)]
pub struct ByAddress<T>(pub Arc<T>);

impl<T> Clone for ByAddress<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T> PartialEq for ByAddress<T> {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}
impl<T> Eq for ByAddress<T> {}
impl<T> Hash for ByAddress<T> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        Arc::as_ptr(&self.0).hash(state);
    }
}

#[derive(Debug)]
struct OnServer {
    id: u32,
    last_use: u64,
}

/// The statements prepared on one backend connection.
#[derive(Debug, Default)]
pub struct PreparedOnServer {
    known: HashMap<ByAddress<Definition>, OnServer>,
    uses: u64,
    to_close: Vec<u32>,
}

impl PreparedOnServer {
    /// Is it prepared there?
    #[must_use]
    pub fn has(&self, definition: &Arc<Definition>) -> bool {
        self.known.contains_key(&ByAddress(Arc::clone(definition)))
    }

    /// The server's id of a statement, if it is prepared here.
    pub fn id(&mut self, definition: &Arc<Definition>) -> Option<u32> {
        self.uses += 1;
        let uses = self.uses;
        self.known.get_mut(&ByAddress(Arc::clone(definition))).map(|entry| {
            entry.last_use = uses;
            entry.id
        })
    }

    /// A statement was prepared; an earlier one of the same definition, or the one used longest ago, is closed with
    /// the next write.
    pub fn add(&mut self, definition: Arc<Definition>, id: u32) {
        self.uses += 1;
        if let Some(before) = self.known.insert(ByAddress(definition), OnServer { id, last_use: self.uses }) {
            self.to_close.push(before.id);
        }
        if self.known.len() > PER_CONNECTION {
            let oldest =
                self.known.iter().min_by_key(|(_, entry)| entry.last_use).map(|(key, _)| key.clone());
            if let Some(key) = oldest {
                self.to_close.extend(self.known.remove(&key).map(|entry| entry.id));
            }
        }
    }

    /// Forgets a statement and closes it with the next write.
    pub fn forget(&mut self, definition: &Arc<Definition>) {
        if let Some(entry) = self.known.remove(&ByAddress(Arc::clone(definition))) {
            self.to_close.push(entry.id);
        }
    }

    /// Is there something to close?
    #[must_use]
    pub fn has_closes(&self) -> bool {
        !self.to_close.is_empty()
    }

    /// Appends COM_STMT_CLOSE for what is to be closed; the server does not answer it.
    pub fn write_closes(&mut self, out: &mut Vec<u8>) {
        for id in self.to_close.drain(..) {
            packet_with(out, 0, |w| {
                w.u8(com::STMT_CLOSE).u32(id);
            });
        }
    }

    /// How many are prepared.
    #[must_use]
    pub fn len(&self) -> usize {
        self.known.len()
    }

    /// Is none prepared?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.known.is_empty()
    }
}
