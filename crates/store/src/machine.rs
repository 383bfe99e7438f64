//! The real machine: its files and its environment.

use std::{
    fs::{File, Metadata},
    io::{self, Read},
    os::unix::fs::PermissionsExt,
    path::Path,
};

use weir_catalog::{
    secret::Secret,
    surroundings::{Exposure, SecretFile, Surroundings},
};
use zeroize::Zeroizing;

/// Largest file that holds a password, bytes.
const MAX_SECRET_BYTES: u64 = 64 << 10;

/// This machine.
#[derive(Clone, Copy, Debug, Default)]
pub struct Machine;

impl Surroundings for Machine {
    fn secret_file(&self, path: &Path) -> Result<SecretFile, String> {
        let (text, exposure) = read_text(path, MAX_SECRET_BYTES)?;
        let secret =
            text.strip_suffix('\n').map_or(text.as_str(), |text| text.strip_suffix('\r').unwrap_or(text));
        Ok(SecretFile { secret: Secret::new(secret), exposure })
    }

    fn variable(&self, name: &str) -> Result<Secret, String> {
        match std::env::var(name) {
            Ok(value) => Ok(Secret::new(value)),
            Err(std::env::VarError::NotPresent) => Err("is not set".to_owned()),
            Err(std::env::VarError::NotUnicode(_)) => Err("is not UTF-8".to_owned()),
        }
    }

    fn check_readable(&self, path: &Path) -> Result<(), String> {
        let file = File::open(path).map_err(|error| why(&error))?;
        let metadata = file.metadata().map_err(|error| why(&error))?;
        if metadata.is_file() { Ok(()) } else { Err("it is no file".to_owned()) }
    }
}

/// A text file of limited size, and who else may read it. The text is wiped from memory when dropped.
pub(crate) fn read_text(path: &Path, most: u64) -> Result<(Zeroizing<String>, Exposure), String> {
    let file = File::open(path).map_err(|error| why(&error))?;
    let metadata = file.metadata().map_err(|error| why(&error))?;
    if !metadata.is_file() {
        return Err("it is no file".to_owned());
    }
    // room for all of it from the start, so that growing leaves no copies behind
    let room = usize::try_from(metadata.len().min(most)).unwrap_or(0) + 1;
    let mut text = Zeroizing::new(String::with_capacity(room));
    let read = file.take(most + 1).read_to_string(&mut text).map_err(|error| why(&error))?;
    if read as u64 > most {
        return Err(format!("it has more than {most} bytes"));
    }
    Ok((text, exposure(&metadata)))
}

fn exposure(metadata: &Metadata) -> Exposure {
    match metadata.permissions().mode() {
        mode if mode & 0o002 != 0 => Exposure::WorldWritable,
        mode if mode & 0o004 != 0 => Exposure::WorldReadable,
        _ => Exposure::Private,
    }
}

/// Why a file could not be read, in an operator's words.
#[must_use]
pub fn why(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => "no such file".to_owned(),
        io::ErrorKind::PermissionDenied => "permission denied".to_owned(),
        io::ErrorKind::InvalidData => "it is not UTF-8".to_owned(),
        _ => error.to_string(),
    }
}
