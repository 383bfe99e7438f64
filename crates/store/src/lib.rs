//! The only door to stored configuration.
//!
//! A [`Source`] holds the texts of namespaces: a [`Directory`] of files, or [`Memory`] in tests. A [`Keeper`] reads them
//! into snapshots, and keeps the last good version of what became invalid. Nothing here watches or waits: the caller
//! says when to reload, and may ask [`Keeper::poll_changed`] whether that is worth while.

mod files;
mod keeper;
mod machine;
mod memory;

use std::{collections::BTreeSet, path::PathBuf};

use weir_catalog::{
    problem::Problem,
    surroundings::{Exposure, Surroundings},
};
use zeroize::Zeroizing;

pub use files::{Directory, MAX_FILE_BYTES};
pub use keeper::{Keeper, Reloaded};
pub use machine::{Machine, why};
pub use memory::Memory;

/// The text of a namespace.
#[derive(Clone, PartialEq, Eq)]
pub struct NamespaceText {
    /// Its file; the stem is the namespace's name.
    pub file: PathBuf,
    /// What it says; passwords may be among it.
    pub text: Zeroizing<String>,
    /// Who may read it besides us.
    pub exposure: Exposure,
}

impl std::fmt::Debug for NamespaceText {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "NamespaceText({})", self.file.display())
    }
}

/// All namespaces of a source.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Loaded {
    /// Those that could be read, in the order of their names.
    pub namespaces: Vec<NamespaceText>,
    /// Files that are there, but could not be read.
    pub unread: Vec<PathBuf>,
    /// Why not.
    pub problems: Vec<Problem>,
}

/// Where namespaces are stored.
pub trait Source {
    /// Reads all of them.
    ///
    /// # Errors
    /// Not even a list of them can be had; nothing is known then about any of them.
    fn load(&self) -> Result<Loaded, Box<Problem>>;

    /// A number that changes when the texts, or the other files given, may have changed. Cheap: no text is read.
    fn fingerprint(&self, other_files: &BTreeSet<PathBuf>) -> u64;

    /// Where passwords and certificates that the texts refer to are found.
    fn surroundings(&self) -> &dyn Surroundings;
}
