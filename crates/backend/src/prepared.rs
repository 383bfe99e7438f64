//! Prepared statements as sessions share them, and which of them a backend connection has.
//!
//! Sessions hold definitions; connections only know them. So a definition goes with the last session that has it, and
//! connections close what nobody can execute any more: in the next second if they are idle, else before they have too many.

use std::{
    collections::HashMap,
    hash::{BuildHasher, RandomState},
    sync::{Arc, Mutex, PoisonError, Weak},
};

use weir_wire::{command::com, packet_with};

use crate::state::State;

/// Statements that one backend connection keeps prepared; the one not used for longest is closed for another.
const MOST_STATEMENTS: usize = 256;
/// Bytes of their texts together; but one statement may always be prepared.
const MOST_BYTES: usize = 4 << 20;

/// What was prepared, and in which state: the same text means another statement in another database.
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct Definition {
    /// Text of the statement.
    pub text: Box<[u8]>,
    /// Of the session's state when it was prepared, what matters for it: see [`State::for_preparing`].
    pub state: Arc<State>,
}

/// Where a definition is. A [`Weak`] keeps the place from being used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Place(usize);

impl Place {
    fn of(definition: &Arc<Definition>) -> Place {
        Place(Arc::as_ptr(definition).addr())
    }
}

#[derive(Debug)]
struct OnServer {
    definition: Weak<Definition>,
    id: u32,
    bytes: usize,
    last_use: u64,
}

/// The statements prepared on one backend connection.
#[derive(Debug, Default)]
pub struct PreparedOnServer {
    known: HashMap<Place, OnServer>,
    bytes: usize,
    uses: u64,
    to_close: Vec<u32>,
}

impl PreparedOnServer {
    /// Is it prepared there?
    #[must_use]
    pub fn has(&self, definition: &Arc<Definition>) -> bool {
        self.known.contains_key(&Place::of(definition))
    }

    /// The server's id of a statement, if it is prepared here.
    pub fn id(&mut self, definition: &Arc<Definition>) -> Option<u32> {
        self.uses += 1;
        let uses = self.uses;
        self.known.get_mut(&Place::of(definition)).map(|entry| {
            entry.last_use = uses;
            entry.id
        })
    }

    /// A statement was prepared. An earlier one of the same definition is closed with the next write, and so are, if
    /// there are too many, those that nobody has any more, and then those used longest ago.
    pub fn add(&mut self, definition: &Arc<Definition>, id: u32) {
        self.forget(definition);
        self.uses += 1;
        let bytes = definition.text.len();
        let entry = OnServer { definition: Arc::downgrade(definition), id, bytes, last_use: self.uses };
        self.known.insert(Place::of(definition), entry);
        self.bytes += bytes;
        if self.is_too_much() {
            self.drop_unused();
        }
        while self.is_too_much() {
            let oldest = self.known.iter().min_by_key(|(_, entry)| entry.last_use).map(|(place, _)| *place);
            let Some(oldest) = oldest else { return };
            self.close(oldest);
        }
    }

    fn is_too_much(&self) -> bool {
        self.known.len() > MOST_STATEMENTS || (self.bytes > MOST_BYTES && self.known.len() > 1)
    }

    /// Forgets a statement and closes it with the next write.
    pub fn forget(&mut self, definition: &Arc<Definition>) {
        self.close(Place::of(definition));
    }

    fn close(&mut self, place: Place) {
        if let Some(entry) = self.known.remove(&place) {
            self.bytes = self.bytes.saturating_sub(entry.bytes);
            self.to_close.push(entry.id);
        }
    }

    /// Forgets all but those for which `keep` says so, and closes them with the next write.
    pub fn forget_all_but(&mut self, keep: impl Fn(&Arc<Definition>) -> bool) {
        let kept = |entry: &OnServer| entry.definition.upgrade().is_some_and(|definition| keep(&definition));
        let gone: Vec<Place> =
            self.known.iter().filter(|(_, entry)| !kept(entry)).map(|(place, _)| *place).collect();
        for place in gone {
            self.close(place);
        }
    }

    /// Forgets what no session has any more, and closes it with the next write. Is there something to close?
    pub fn drop_unused(&mut self) -> bool {
        self.forget_all_but(|_| true);
        self.has_closes()
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

/// All definitions that sessions have: equal ones are one. Holds none of them itself.
#[derive(Debug, Default)]
pub struct Definitions {
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    /// By hash; few hashes are those of two definitions.
    by_hash: HashMap<u64, Vec<Weak<Definition>>>,
    hashes: RandomState,
    sweep_at: usize,
}

/// Below so many, what is left of definitions that are gone is not looked for.
const SWEEP_FROM: usize = 1024;

impl Definitions {
    /// The shared form of a definition.
    pub fn share(&self, definition: Definition) -> Arc<Definition> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let Known { by_hash, hashes, sweep_at } = &mut *known;
        if by_hash.len() >= (*sweep_at).max(SWEEP_FROM) {
            by_hash.retain(|_, same| {
                same.retain(|definition| definition.strong_count() > 0);
                !same.is_empty()
            });
            *sweep_at = by_hash.len() * 2;
        }
        let same = by_hash.entry(hashes.hash_one(&definition)).or_default();
        if let Some(found) = same.iter().filter_map(Weak::upgrade).find(|found| **found == definition) {
            return found;
        }
        same.retain(|definition| definition.strong_count() > 0);
        let shared = Arc::new(definition);
        same.push(Arc::downgrade(&shared));
        shared
    }

    /// Every definition that a session has, and how many sessions and server connections have it.
    #[must_use]
    pub fn all(&self) -> Vec<(Arc<Definition>, usize)> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let held = known.by_hash.values().flatten();
        // one of the weak ones is ours
        let holders = |weak: &Weak<Definition>| weak.strong_count() + weak.weak_count().saturating_sub(1);
        held.filter_map(|weak| {
            let holders = holders(weak);
            weak.upgrade().map(|definition| (definition, holders))
        })
        .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::variable_count;

    fn definition(text: &str) -> Arc<Definition> {
        let state = State::from_values(None, vec![Box::default(); variable_count()]).unwrap();
        Arc::new(Definition { text: text.as_bytes().into(), state: Arc::new(state) })
    }

    fn closed(prepared: &mut PreparedOnServer) -> Vec<u32> {
        let mut out = Vec::new();
        prepared.write_closes(&mut out);
        out.chunks(9).map(|packet| u32::from_le_bytes(packet[5..9].try_into().unwrap())).collect()
    }

    #[test]
    fn of_too_many_the_one_used_longest_ago_is_closed() {
        let mut prepared = PreparedOnServer::default();
        let all: Vec<_> = (0..=MOST_STATEMENTS).map(|i| definition(&i.to_string())).collect();
        for (id, definition) in (1..).zip(all.iter().take(MOST_STATEMENTS)) {
            prepared.add(definition, id);
        }
        assert_eq!(prepared.id(&all[0]), Some(1));
        prepared.add(&all[MOST_STATEMENTS], 9_999);
        assert_eq!(closed(&mut prepared), [2]);
        assert_eq!(
            (prepared.len(), prepared.has(&all[1]), prepared.has(&all[0])),
            (MOST_STATEMENTS, false, true)
        );
    }

    #[test]
    fn long_texts_count_by_their_bytes_but_one_is_always_kept() {
        let mut prepared = PreparedOnServer::default();
        let long = [1, 2, 3].map(|i| definition(&format!("{i}{}", "x".repeat(MOST_BYTES / 2))));
        prepared.add(&long[0], 1);
        prepared.add(&long[1], 2);
        assert_eq!(closed(&mut prepared), [1]);
        let longest = definition(&"y".repeat(2 * MOST_BYTES));
        prepared.add(&longest, 3);
        assert_eq!(closed(&mut prepared), [2]);
        assert!(prepared.has(&longest));
        prepared.forget(&longest);
        prepared.add(&long[2], 4);
        assert_eq!((closed(&mut prepared), prepared.len()), (vec![3], 1));
    }

    #[test]
    fn what_nobody_has_any_more_is_closed_and_what_came_again_replaces_what_was() {
        let mut prepared = PreparedOnServer::default();
        let (kept, gone) = (definition("kept"), definition("gone"));
        prepared.add(&kept, 1);
        prepared.add(&gone, 2);
        assert!(!prepared.drop_unused());
        drop(gone);
        assert!(prepared.drop_unused());
        assert_eq!((closed(&mut prepared), prepared.len()), (vec![2], 1));
        prepared.add(&kept, 3);
        assert_eq!((closed(&mut prepared), prepared.id(&kept)), (vec![1], Some(3)));
        prepared.forget_all_but(|definition| Arc::ptr_eq(definition, &kept));
        assert_eq!(prepared.len(), 1);
        prepared.forget_all_but(|_| false);
        assert_eq!((closed(&mut prepared), prepared.is_empty()), (vec![3], true));
    }

    #[test]
    fn equal_definitions_are_one_and_go_with_their_last_holder() {
        let definitions = Definitions::default();
        let share = |text: &str| {
            let Definition { text, state } = Arc::into_inner(definition(text)).unwrap();
            definitions.share(Definition { text, state })
        };
        let one = share("a");
        assert!(Arc::ptr_eq(&one, &share("a")));
        assert!(!Arc::ptr_eq(&one, &share("b")));
        let mut on_server = PreparedOnServer::default();
        on_server.add(&one, 1);
        assert_eq!(definitions.all(), [(Arc::clone(&one), 2)]);
        for text in 0..10_000 {
            share(&text.to_string());
        }
        let known = definitions.known.lock().unwrap().by_hash.len();
        assert!(known <= SWEEP_FROM, "{known}");
        assert!(Arc::ptr_eq(&one, &share("a")), "it was held all the time");
        drop(one);
        assert!(definitions.all().is_empty());
    }
}
