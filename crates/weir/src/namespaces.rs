//! Namespaces from their files, and what is told of them in the log.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::{Result, bail};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use weir_catalog::{
    problem::Problem,
    secret::Secret,
    snapshot::Snapshot,
    surroundings::{SecretFile, Surroundings},
};
use weir_store::{Directory, Keeper, Loaded, Machine, Reloaded, Source};

use crate::one_server::OneServer;

/// The namespaces of a process.
#[derive(Debug)]
pub(crate) struct Namespaces {
    keeper: Keeper<Files>,
}

/// What is in force after namespaces were read.
#[derive(Debug)]
pub(crate) struct InForce {
    /// All of them. Its version is a new one if anything changed.
    pub snapshot: Arc<Snapshot>,
    /// Was everything taken that the files say?
    pub whole: bool,
}

impl Namespaces {
    /// Those of a directory. Nothing is read yet.
    pub(crate) fn new(directory: impl Into<PathBuf>) -> Self {
        Self { keeper: Keeper::new(Files::new(directory)) }
    }

    /// The one that stands for a server. Nothing is read yet.
    pub(crate) fn of(server: OneServer) -> Self {
        Self { keeper: Keeper::new(Files { place: Place::Server(server) }) }
    }

    /// Reads all namespaces for the first time.
    ///
    /// # Errors
    /// The directory cannot be read. A file that is not valid is no error: the others are served without it.
    pub(crate) fn load(&mut self) -> Result<InForce> {
        let reloaded = self.keeper.reload();
        if reloaded.snapshot.version == 0 {
            let why: Vec<String> = reloaded.problems.iter().map(Problem::to_string).collect();
            bail!("{}", why.join("\n"));
        }
        Ok(told(reloaded))
    }

    /// Reads all of them again. What is not valid keeps its last good version.
    pub(crate) fn reload(&mut self) -> InForce {
        told(self.keeper.reload())
    }

    /// May a file have changed since they were read?
    pub(crate) fn have_changed(&self) -> bool {
        self.keeper.poll_changed()
    }
}

/// Logs what somebody should know. Problems name their file, line and remedy.
fn told(reloaded: Reloaded) -> InForce {
    let Reloaded { snapshot, diff, problems, kept, refused } = reloaded;
    for problem in &problems {
        match problem.is_error() {
            true => tracing::error!("{problem}"),
            false => tracing::warn!("{problem}"),
        }
    }
    for (name, change) in &diff.namespaces {
        tracing::info!("namespace {name} {change}");
    }
    for namespace in kept {
        tracing::error!(namespace, "the namespace stays as it was: its file has errors");
    }
    for file in refused {
        tracing::error!(file = %file.display(), "the namespace is not served: its file has errors");
    }
    InForce { snapshot, whole: !problems.iter().any(Problem::is_error) }
}

/// A directory of files, or one server. More than the store alone, it looks into certificates and keys, so that one which cannot be
/// used is told with the line that names it.
#[derive(Debug)]
pub(crate) struct Files {
    place: Place,
}

#[derive(Debug)]
enum Place {
    Directory(Directory),
    Server(OneServer),
}

impl Files {
    /// Those of a directory. Nothing is read yet.
    pub(crate) fn new(directory: impl Into<PathBuf>) -> Self {
        Self { place: Place::Directory(Directory::new(directory)) }
    }
}

impl Source for Files {
    fn load(&self) -> Result<Loaded, Box<Problem>> {
        match &self.place {
            Place::Directory(directory) => directory.load(),
            Place::Server(server) => server.load(),
        }
    }

    fn fingerprint(&self, other_files: &BTreeSet<PathBuf>) -> u64 {
        match &self.place {
            Place::Directory(directory) => directory.fingerprint(other_files),
            Place::Server(server) => server.fingerprint(other_files),
        }
    }

    fn surroundings(&self) -> &dyn Surroundings {
        self
    }
}

impl Surroundings for Files {
    fn secret_file(&self, path: &Path) -> Result<SecretFile, String> {
        Machine.secret_file(path)
    }

    fn variable(&self, name: &str) -> Result<Secret, String> {
        Machine.variable(name)
    }

    fn check_readable(&self, path: &Path) -> Result<(), String> {
        Machine.check_readable(path)?;
        let certificates =
            CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
        let has_certificate = certificates.is_ok_and(|list| !list.is_empty());
        match has_certificate || PrivateKeyDer::from_pem_file(path).is_ok() {
            true => Ok(()),
            false => Err("it holds no certificate and no private key in PEM form".to_owned()),
        }
    }
}
