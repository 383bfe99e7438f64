//! The nouns that operators declare, valid by construction, and how they are read from files.
//!
//! A namespace file is a [`draft`] first; [`admit`] makes a [`namespace::Namespace`] of it, or tells everything that is
//! wrong with it. A [`snapshot::Snapshot`] joins all namespaces; [`diff`] says what changed between two of them.
//! No IO: what admission must know of the machine is handed in as [`surroundings::Surroundings`].

pub mod account;
mod address;
pub mod admit;
pub mod diff;
pub mod document;
pub mod draft;
pub mod name;
pub mod namespace;
pub mod problem;
pub mod secret;
pub mod slice;
pub mod snapshot;
pub mod surroundings;
pub mod user;
