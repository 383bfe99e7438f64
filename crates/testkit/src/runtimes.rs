//! Other languages' runtimes for driver tests: the machine's where they are new enough, fetched ones elsewhere.

use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Result, bail};

use crate::packages::fetch;
use crate::progress::say;
use crate::recipe::Set;

/// A runtime that driver tests need.
struct Runtime {
    /// The program, as it is called on the PATH and in the fetched set.
    program: &'static str,
    /// Arguments that make it print its version.
    version: &'static [&'static str],
    /// The oldest that drivers support.
    least: (u32, u32),
    /// Arguments with which it must succeed, for parts that distributions leave out.
    also: &'static [&'static str],
    set: Set,
}

/// Python 3.9 or newer, with pip.
///
/// # Errors
/// None on the machine, and fetching fails or fetches one that is too old. The same for the others.
pub fn python() -> Result<PathBuf> {
    let also = &["-m", "pip", "--version"];
    find(&Runtime { program: "python3", version: &["--version"], least: (3, 9), also, set: Set::Python })
}

/// Node.js 18 or newer.
pub fn node() -> Result<PathBuf> {
    find(&Runtime {
        program: "node",
        version: &["--version"],
        least: (18, 0),
        also: &["-e", "0"],
        set: Set::Node,
    })
}

/// npm 8 or newer. It starts `node` from the PATH: put [`node`]'s folder first there.
pub fn npm() -> Result<PathBuf> {
    find(&Runtime { program: "npm", version: &["--version"], least: (8, 0), also: &[], set: Set::Node })
}

/// Go 1.21 or newer.
pub fn go() -> Result<PathBuf> {
    find(&Runtime { program: "go", version: &["version"], least: (1, 21), also: &[], set: Set::Go })
}

/// Java 11 or newer.
pub fn java() -> Result<PathBuf> {
    find(&Runtime { program: "java", version: &["-version"], least: (11, 0), also: &[], set: Set::Java })
}

/// The Java compiler, 11 or newer.
pub fn javac() -> Result<PathBuf> {
    find(&Runtime { program: "javac", version: &["-version"], least: (11, 0), also: &[], set: Set::Java })
}

/// Maven 3.6 or newer.
pub fn maven() -> Result<PathBuf> {
    find(&Runtime { program: "mvn", version: &["--version"], least: (3, 6), also: &[], set: Set::Java })
}

fn find(runtime: &Runtime) -> Result<PathBuf> {
    if let Some(path) = on_path(runtime.program)
        && suits(runtime, &path)
    {
        return Ok(path);
    }
    let (major, minor) = runtime.least;
    say(format!("no {} {major}.{minor} or newer on the PATH: using a fetched one", runtime.program));
    let path = fetch(runtime.set)?.program(runtime.program)?;
    if !suits(runtime, &path) {
        bail!(
            "this machine's archive has no {} {major}.{minor} or newer: install one and put it on the PATH",
            runtime.program
        );
    }
    Ok(path)
}

fn on_path(program: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    env::split_paths(&path).map(|folder| folder.join(program)).find(|file| file.is_file())
}

fn suits(runtime: &Runtime, path: &Path) -> bool {
    let version = output_of(path, runtime.version).as_deref().and_then(version_in);
    let new_enough = version.is_some_and(|version| version >= runtime.least);
    new_enough && (runtime.also.is_empty() || output_of(path, runtime.also).is_some())
}

/// What a program that succeeds prints on both outputs: Java tells its version on standard error.
fn output_of(path: &Path, arguments: &[&str]) -> Option<String> {
    let output = Command::new(path).args(arguments).stdin(Stdio::null()).output().ok()?;
    let text = [output.stdout, output.stderr].concat();
    output.status.success().then(|| String::from_utf8_lossy(&text).into_owned())
}

/// The first number with a dot in a text, or the first number (a Java release without updates is just `21`).
fn version_in(text: &str) -> Option<(u32, u32)> {
    let words: Vec<&str> = text.split(|c: char| !c.is_ascii_digit() && c != '.').collect();
    let dotted = words.iter().find_map(|word| {
        let mut numbers = word.split('.');
        let major = numbers.next()?.parse().ok()?;
        Some((major, numbers.next()?.parse().ok()?))
    });
    dotted.or_else(|| words.iter().find_map(|word| Some((word.parse().ok()?, 0))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_version_that_each_runtime_prints() {
        let rows = [
            ("Python 3.11.7\n", Some((3, 11))),
            ("v20.20.2\n", Some((20, 20))),
            ("go version go1.26.8 linux/amd64\n", Some((1, 26))),
            ("openjdk version \"17.0.15\" 2025-04-15\n", Some((17, 0))),
            ("java version \"1.8.0_402\"\n", Some((1, 8))),
            ("javac 21.0.4\n", Some((21, 0))),
            ("Apache Maven 3.8.7\nMaven home: /usr/share/maven\n", Some((3, 8))),
            ("openjdk version \"21\" 2023-09-19\n", Some((21, 0))),
            ("no such thing\n", None),
        ];
        for (text, expected) in rows {
            assert_eq!(version_in(text), expected, "{text}");
        }
    }

    #[test]
    fn passes_over_a_runtime_that_is_too_old_or_lacks_a_part() {
        let runtime = |least, also| Runtime {
            program: "sh",
            version: &["-c", "echo v3.9.1"],
            least,
            also,
            set: Set::Python,
        };
        let shell = on_path("sh").unwrap();
        for (least, also, expected) in [
            ((3, 9), &[][..], true),
            ((3, 10), &[], false),
            ((4, 0), &[], false),
            ((3, 9), &["-c", "exit 1"], false),
            ((3, 9), &["-c", "exit 0"], true),
        ] {
            assert_eq!(suits(&runtime(least, also), &shell), expected, "{least:?} {also:?}");
        }
    }
}
