//! The twin of a directory for tests: the same behaviour, no files.

use std::{
    collections::{BTreeMap, BTreeSet},
    hash::{DefaultHasher, Hash, Hasher},
    path::{Path, PathBuf},
};

use weir_catalog::{
    problem::Problem,
    surroundings::{Exposure, Imagined, Surroundings},
};
use zeroize::Zeroizing;

use crate::{Loaded, NamespaceText, Source};

/// Namespaces in memory.
#[derive(Clone, Debug, Default)]
pub struct Memory {
    /// What the texts may refer to.
    pub machine: Imagined,
    /// Whether the list of namespaces can be had at all.
    pub lost: bool,
    texts: BTreeMap<PathBuf, Option<String>>,
}

impl Memory {
    /// Adds or replaces `<name>.toml`.
    pub fn put(&mut self, name: &str, text: &str) {
        self.texts.insert(file(name), Some(text.to_owned()));
    }

    /// Removes `<name>.toml`.
    pub fn remove(&mut self, name: &str) {
        self.texts.remove(&file(name));
    }

    /// Lets `<name>.toml` be there without being readable.
    pub fn make_unreadable(&mut self, name: &str) {
        self.texts.insert(file(name), None);
    }
}

fn file(name: &str) -> PathBuf {
    Path::new("memory").join(format!("{name}.toml"))
}

impl Source for Memory {
    fn load(&self) -> Result<Loaded, Box<Problem>> {
        if self.lost {
            return Err(Box::new(Problem::error("memory", "the namespaces cannot be listed")));
        }
        let mut loaded = Loaded::default();
        for (file, text) in &self.texts {
            let file = file.clone();
            match text {
                Some(text) => {
                    let text = Zeroizing::new(text.clone());
                    loaded.namespaces.push(NamespaceText { file, text, exposure: Exposure::Private });
                }
                None => {
                    loaded
                        .problems
                        .push(Problem::error(file.display().to_string(), "the file cannot be read"));
                    loaded.unread.push(file);
                }
            }
        }
        Ok(loaded)
    }

    fn fingerprint(&self, _other_files: &BTreeSet<PathBuf>) -> u64 {
        let mut hasher = DefaultHasher::new();
        (&self.texts, self.lost).hash(&mut hasher);
        hasher.finish()
    }

    fn surroundings(&self) -> &dyn Surroundings {
        &self.machine
    }
}
