//! Reads namespaces into snapshots and keeps the last good version of what became invalid.

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    sync::Arc,
};

use weir_catalog::{
    admit::Admitted,
    diff::Diff,
    namespace::Namespace,
    problem::Problem,
    secret::Secret,
    snapshot::Snapshot,
    surroundings::{Exposure, SecretFile, Surroundings},
};

use crate::{NamespaceText, Source};

/// What a reload came to.
#[derive(Clone, Debug)]
pub struct Reloaded {
    /// What is in force now; the one before, if nothing changed.
    pub snapshot: Arc<Snapshot>,
    /// How it differs from the one before.
    pub diff: Diff,
    /// Everything that is wrong with the stored texts.
    pub problems: Vec<Problem>,
    /// Namespaces that stay as they were, because their new text is not valid.
    pub kept: Vec<String>,
    /// Files of which no version ever was valid: their namespaces are not served.
    pub refused: Vec<PathBuf>,
}

/// Reads namespaces into snapshots, each with a higher version than the one before.
#[derive(Debug)]
pub struct Keeper<S> {
    source: S,
    in_force: BTreeMap<PathBuf, Admitted>,
    snapshot: Arc<Snapshot>,
    /// Files of passwords and certificates that the last reload looked at.
    referred: BTreeSet<PathBuf>,
    /// Of the namespaces and of those; `None` if it must be reloaded in any case.
    fingerprint: Option<u64>,
}

impl<S: Source> Keeper<S> {
    /// Nothing is in force before the first [`Keeper::reload`].
    pub fn new(source: S) -> Self {
        Self {
            source,
            in_force: BTreeMap::new(),
            snapshot: Arc::default(),
            referred: BTreeSet::new(),
            fingerprint: None,
        }
    }

    /// Where the namespaces are stored.
    pub fn source(&self) -> &S {
        &self.source
    }

    /// To change what is stored, in tests.
    pub fn source_mut(&mut self) -> &mut S {
        &mut self.source
    }

    /// What is in force.
    #[must_use]
    pub fn snapshot(&self) -> &Arc<Snapshot> {
        &self.snapshot
    }

    /// The namespaces in force, with what is known of their files.
    pub fn admitted(&self) -> impl Iterator<Item = &Admitted> {
        self.in_force.values()
    }

    /// May something have changed since the last reload? Looks at the namespaces' files and at the files of passwords
    /// and certificates that they refer to; costs a `stat` for each.
    #[must_use]
    pub fn poll_changed(&self) -> bool {
        self.fingerprint != Some(self.current_fingerprint())
    }

    /// Reads everything anew. What is valid comes into force, together; a file that is not valid, or contradicts the
    /// others, keeps its last good version; a file that is gone takes its namespace with it.
    pub fn reload(&mut self) -> Reloaded {
        // taken before reading: what changes meanwhile is seen by the next poll
        self.fingerprint = Some(self.current_fingerprint());
        let loaded = match self.source.load() {
            Ok(loaded) => loaded,
            Err(problem) => {
                return Reloaded {
                    snapshot: Arc::clone(&self.snapshot),
                    diff: Diff::default(),
                    problems: vec![*problem],
                    kept: self.snapshot.namespaces.keys().cloned().collect(),
                    refused: Vec::new(),
                };
            }
        };
        let seen = Recording { machine: self.source.surroundings(), files: RefCell::default() };
        let mut problems = loaded.problems;
        let mut chosen = BTreeMap::new();
        let mut fell_back = BTreeSet::new();
        for text in &loaded.namespaces {
            match admit(text, &seen) {
                Ok(admitted) => {
                    problems.extend(admitted.warnings.iter().cloned());
                    chosen.insert(text.file.clone(), admitted);
                }
                Err(found) => {
                    problems.extend(found);
                    fell_back.insert(text.file.clone());
                }
            }
        }
        fell_back.extend(loaded.unread);
        for file in &fell_back {
            chosen.extend(self.in_force.get(file).map(|good| (file.clone(), good.clone())));
        }
        let Recording { files: referred, .. } = seen;
        let snapshot = self.settle(&mut chosen, &mut fell_back, &mut problems);
        let diff = Diff::between(&self.snapshot, &snapshot);
        let (kept, refused) = fell_back.into_iter().partition::<Vec<_>, _>(|file| chosen.contains_key(file));
        let kept =
            kept.iter().filter_map(|file| chosen.get(file)).map(|kept| kept.namespace.name.clone()).collect();
        if !diff.is_empty() || self.snapshot.version == 0 {
            self.snapshot = Arc::new(snapshot);
        }
        self.in_force = chosen;
        let referred = referred.into_inner();
        if referred != self.referred {
            // the fingerprint is of other files
            self.referred = referred;
            self.fingerprint = None;
        }
        Reloaded { snapshot: Arc::clone(&self.snapshot), diff, problems, kept, refused }
    }

    /// Joins the namespaces. While some contradict others, those that are new step back to their last good version, or
    /// out if they have none: what is in force has precedence.
    fn settle(
        &self,
        chosen: &mut BTreeMap<PathBuf, Admitted>,
        fell_back: &mut BTreeSet<PathBuf>,
        problems: &mut Vec<Problem>,
    ) -> Snapshot {
        loop {
            let is_in_force = |file: &PathBuf, new: &Admitted| {
                self.in_force.get(file).is_some_and(|good| good.namespace == new.namespace)
            };
            let (in_force, newcomers): (Vec<_>, Vec<_>) =
                chosen.iter().partition(|(file, admitted)| is_in_force(file, admitted));
            let copies =
                |list: Vec<(&PathBuf, &Admitted)>| list.into_iter().map(|(_, a)| a.clone()).collect();
            let joined = Snapshot::join(self.snapshot.version + 1, copies(in_force), copies(newcomers));
            let contradictions = match joined {
                Ok(snapshot) => return snapshot,
                Err(contradictions) => contradictions,
            };
            // each round takes a newcomer away, so this ends
            for blamed in contradictions.iter().map(|problem| &problem.file) {
                let Some(file) = chosen.iter().find(|(_, c)| c.file == *blamed).map(|(file, _)| file.clone())
                else {
                    continue;
                };
                let was_in_force = chosen.get(&file).is_some_and(|admitted| is_in_force(&file, admitted));
                chosen.remove(&file);
                if let (Some(good), false) = (self.in_force.get(&file), was_in_force) {
                    chosen.insert(file.clone(), good.clone());
                }
                fell_back.insert(file);
            }
            problems.extend(contradictions);
        }
    }

    fn current_fingerprint(&self) -> u64 {
        self.source.fingerprint(&self.referred)
    }
}

fn admit(text: &NamespaceText, surroundings: &dyn Surroundings) -> Result<Admitted, Vec<Problem>> {
    let mut admitted = Namespace::admit(&text.text, &text.file, surroundings)?;
    let hint = format!("chmod 600 {}", text.file.display());
    match text.exposure {
        Exposure::WorldWritable => {
            return Err(vec![
                Problem::error(&admitted.file, "everybody on this machine can change the file").hint(hint),
            ]);
        }
        Exposure::WorldReadable => {
            let message = "everybody on this machine can read the file, and what it holds of passwords";
            admitted.warnings.push(Problem::warning(&admitted.file, message).hint(hint));
        }
        Exposure::Private => {}
    }
    Ok(admitted)
}

/// Notes which files are asked for.
struct Recording<'a> {
    machine: &'a dyn Surroundings,
    files: RefCell<BTreeSet<PathBuf>>,
}

impl Surroundings for Recording<'_> {
    fn secret_file(&self, path: &Path) -> Result<SecretFile, String> {
        self.files.borrow_mut().insert(path.to_owned());
        self.machine.secret_file(path)
    }

    fn variable(&self, name: &str) -> Result<Secret, String> {
        self.machine.variable(name)
    }

    fn check_readable(&self, path: &Path) -> Result<(), String> {
        self.files.borrow_mut().insert(path.to_owned());
        self.machine.check_readable(path)
    }
}
