//! What admission must know of the machine, handed in so that this crate does no IO.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use crate::secret::Secret;

/// The machine, as admission sees it.
pub trait Surroundings {
    /// Reads a file that holds a password.
    ///
    /// # Errors
    /// It cannot be read, or is no text; the message says why.
    fn secret_file(&self, path: &Path) -> Result<SecretFile, String>;

    /// The value of an environment variable.
    ///
    /// # Errors
    /// It is not set, or is no text; the message says which.
    fn variable(&self, name: &str) -> Result<Secret, String>;

    /// Can the file be read?
    ///
    /// # Errors
    /// It cannot; the message says why.
    fn check_readable(&self, path: &Path) -> Result<(), String>;
}

/// A file that holds a password.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecretFile {
    /// Its content, without the line end that editors add.
    pub secret: Secret,
    /// Who else may do what with it.
    pub exposure: Exposure,
}

/// Who may read or change a file besides its owner and group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exposure {
    /// Nobody.
    Private,
    /// Everybody may read it.
    WorldReadable,
    /// Everybody may change it.
    WorldWritable,
}

/// A machine that exists in memory only.
#[derive(Clone, Debug, Default)]
pub struct Imagined {
    /// Files by path.
    pub files: BTreeMap<PathBuf, SecretFile>,
    /// Environment variables by name.
    pub variables: BTreeMap<String, Secret>,
}

impl Surroundings for Imagined {
    fn secret_file(&self, path: &Path) -> Result<SecretFile, String> {
        self.files.get(path).cloned().ok_or_else(|| "no such file".to_owned())
    }

    fn variable(&self, name: &str) -> Result<Secret, String> {
        self.variables.get(name).cloned().ok_or_else(|| "is not set".to_owned())
    }

    fn check_readable(&self, path: &Path) -> Result<(), String> {
        if self.files.contains_key(path) { Ok(()) } else { Err("no such file".to_owned()) }
    }
}
