//! A directory of TOML files, one namespace each.

use std::{
    collections::BTreeSet,
    ffi::OsStr,
    fs,
    hash::{DefaultHasher, Hash, Hasher},
    io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use weir_catalog::{problem::Problem, surroundings::Surroundings};

use crate::{
    Loaded, NamespaceText, Source,
    machine::{Machine, read_text, why},
};

/// Largest file of a namespace, bytes.
pub const MAX_FILE_BYTES: u64 = 4 << 20;

/// A directory of `*.toml` files. Hidden files, and what editors leave beside them, are not read; neither are
/// subdirectories. Symbolic links are followed, so that directories which are swapped as a whole work.
#[derive(Clone, Debug)]
pub struct Directory {
    path: PathBuf,
    machine: Machine,
}

impl Directory {
    /// Reads nothing yet.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), machine: Machine }
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Namespace files, in the order of their names.
    fn list(&self) -> io::Result<Vec<PathBuf>> {
        let mut files = Vec::new();
        for entry in fs::read_dir(&self.path)? {
            let path = entry?.path();
            if is_namespace_file(&path) {
                files.push(path);
            }
        }
        files.sort();
        Ok(files)
    }
}

/// `shop.toml`, but not `.shop.toml`, `#shop.toml#`, `shop.toml~`, `shop.toml.bak` or a directory.
fn is_namespace_file(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let hidden = name.starts_with(['.', '#', '~']);
    !hidden && path.extension() == Some(OsStr::new("toml")) && !path.is_dir()
}

impl Source for Directory {
    fn load(&self) -> Result<Loaded, Box<Problem>> {
        let files = self.list().map_err(|error| {
            let message = format!("the directory of namespaces cannot be read: {}", why(&error));
            Box::new(Problem::error(self.path.display().to_string(), message).hint("see `namespaces_dir`"))
        })?;
        let mut loaded = Loaded::default();
        for file in files {
            match read_text(&file, MAX_FILE_BYTES) {
                Ok((text, exposure)) => loaded.namespaces.push(NamespaceText { file, text, exposure }),
                Err(why) => {
                    let shown = file.display().to_string();
                    loaded.problems.push(Problem::error(shown, format!("the file cannot be read: {why}")));
                    loaded.unread.push(file);
                }
            }
        }
        Ok(loaded)
    }

    fn fingerprint(&self, other_files: &BTreeSet<PathBuf>) -> u64 {
        let mut hasher = DefaultHasher::new();
        // an unreadable directory is a state like any other: leaving it is a change
        let files = self.list().unwrap_or_default();
        for path in files.iter().chain(other_files) {
            path.hash(&mut hasher);
            if let Ok(metadata) = fs::metadata(path) {
                let times =
                    (metadata.mtime(), metadata.mtime_nsec(), metadata.ctime(), metadata.ctime_nsec());
                (times, metadata.size(), metadata.dev(), metadata.ino(), metadata.mode()).hash(&mut hasher);
            }
        }
        hasher.finish()
    }

    fn surroundings(&self) -> &dyn Surroundings {
        &self.machine
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hidden_files_and_backups_are_no_namespaces() {
        for (name, expected) in [
            ("shop.toml", true),
            ("Shop 2.toml", true),
            (".shop.toml", false),
            (".#shop.toml", false),
            ("#shop.toml#", false),
            ("~shop.toml", false),
            ("shop.toml~", false),
            ("shop.toml.bak", false),
            ("shop.toml.swp", false),
            ("shop.TOML", false),
            ("toml", false),
            (".toml", false),
        ] {
            assert_eq!(is_namespace_file(&Path::new("/nowhere").join(name)), expected, "{name}");
        }
    }
}
