//! Programs fetched as packages, each set below a prefix of its own: `.weir/packages/<set>`.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

use crate::apt::{self, Apt, Package, StaleLists};
use crate::home::{home, lock, make_folder, remove_folder, write_whole};
use crate::progress::say;
use crate::recipe::{Recipe, Set, unneeded};
use crate::relocate::{finish, keep_links_inside};
use crate::wrapper::wrap;

/// Rises when the way a prefix is laid out changes, so that older prefixes are made anew.
const LAYOUT: u32 = 4;
/// The largest set takes 600 MB while it is being unpacked.
const SPACE_NEEDED: u64 = 1 << 30;

/// An installed set.
#[derive(Clone, Debug)]
pub struct Prefix {
    root: PathBuf,
    stamp: Stamp,
}

/// What was unpacked, written last, so that a prefix without it is known to be unfinished.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Stamp {
    layout: u32,
    /// Package names and versions that the set was asked for.
    versions: BTreeMap<String, String>,
    /// Program names, their file below the prefix and its size in bytes.
    programs: BTreeMap<String, (PathBuf, u64)>,
}

impl Prefix {
    /// The folder that holds `usr/`.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The wrapper that runs `program` with the prefix's own libraries. It replaces itself by the program,
    /// so its process id is the program's.
    pub fn program(&self, program: &str) -> Result<PathBuf> {
        if !self.stamp.programs.contains_key(program) {
            bail!("{} holds no program `{program}`", self.root.display());
        }
        Ok(self.root.join("run").join(program))
    }

    /// The versions of the packages that were asked for, as `name version`.
    pub fn versions(&self) -> Vec<String> {
        self.stamp.versions.iter().map(|(name, version)| format!("{name} {version}")).collect()
    }

    /// Opens a finished prefix whose programs are as they were unpacked.
    fn open(root: &Path, recipe: &Recipe) -> Option<Prefix> {
        let text = fs::read_to_string(root.join("stamp.json")).ok()?;
        let stamp: Stamp = serde_json::from_str(&text).ok()?;
        let whole = stamp.programs.iter().all(|(name, (file, size))| {
            let unpacked = fs::metadata(root.join(file)).is_ok_and(|file| file.len() == *size);
            unpacked && root.join("run").join(name).exists()
        });
        let complete = recipe.programs.iter().all(|(program, _)| stamp.programs.contains_key(*program));
        (stamp.layout == LAYOUT && whole && complete).then(|| Prefix { root: root.to_owned(), stamp })
    }
}

/// Makes sure that a set is in the project's own folder, fetching it if it is not. At once when it is.
///
/// # Errors
/// No apt, no archive in its configuration, an unreachable mirror, a signature that does not verify, a full disk.
pub fn fetch(set: Set) -> Result<Prefix> {
    let recipe = set.recipe()?;
    let root = home().join("packages").join(recipe.name);
    if let Some(prefix) = Prefix::open(&root, &recipe) {
        return Ok(prefix);
    }
    let _lock = lock("packages")?;
    if let Some(prefix) = Prefix::open(&root, &recipe) {
        return Ok(prefix);
    }
    install(&recipe, &root).with_context(|| format!("cannot fetch {}", recipe.name))
}

fn install(recipe: &Recipe, root: &Path) -> Result<Prefix> {
    let started = Instant::now();
    make_folder(&home())?;
    check_space(&home())?;
    let unfinished = root.with_extension("unfinished");
    let gathered = gather(recipe, &unfinished).or_else(|error| {
        if !error.is::<StaleLists>() {
            return Err(error);
        }
        say("the mirror has moved on: fetching its package lists again");
        gather(recipe, &unfinished)
    })?;
    let Gathered { apt, versions, files } = gathered;
    say(format!("unpacking {} packages into .weir/packages/{}", files.len(), recipe.name));
    for file in &files {
        apt::unpack(file, &unfinished)?;
    }
    remove_folder(&unfinished.join("debs"))?;
    keep_links_inside(&unfinished, &unfinished)?;
    let programs = wrap(recipe, &unfinished, apt.native)?;
    finish(recipe.finish, &unfinished)?;
    let stamp = Stamp { layout: LAYOUT, versions, programs };
    let text = serde_json::to_string_pretty(&stamp).context("cannot write down what was fetched")?;
    write_whole(&unfinished.join("stamp.json"), text.as_bytes())?;
    remove_folder(root)?;
    fs::rename(&unfinished, root).with_context(|| format!("cannot move into {}", root.display()))?;
    say(format!("{} is ready after {:.1} s", recipe.name, started.elapsed().as_secs_f32()));
    Ok(Prefix { root: root.to_owned(), stamp })
}

/// Packages on disk, ready to be unpacked.
struct Gathered {
    apt: Apt,
    versions: BTreeMap<String, String>,
    files: Vec<PathBuf>,
}

/// Resolves and downloads what a set is made of.
fn gather(recipe: &Recipe, unfinished: &Path) -> Result<Gathered> {
    remove_folder(unfinished)?;
    let apt = Apt::open(recipe.archive)?;
    let mut wanted = Vec::new();
    for name in recipe.packages {
        wanted.push(apt.available(name)?);
    }
    let names: Vec<&str> = wanted.iter().map(String::as_str).collect();
    let closure = apt.resolve(&names)?;
    let versions: BTreeMap<String, String> = closure
        .iter()
        .filter(|package| wanted.contains(&package.name))
        .map(|package| (package.name.clone(), package.version.clone()))
        .collect();
    let needed: Vec<Package> =
        closure.into_iter().filter(|package| !unneeded(&package.name, apt.native)).collect();
    let asked: Vec<String> = versions.iter().map(|(name, version)| format!("{name} {version}")).collect();
    say(format!("fetching {} ({} packages)", asked.join(", "), needed.len()));

    let files = apt.download(&needed, &unfinished.join("debs"))?;
    Ok(Gathered { apt, versions, files })
}

fn check_space(folder: &Path) -> Result<()> {
    let disk = rustix::fs::statvfs(folder).with_context(|| format!("cannot look at {}", folder.display()))?;
    let free = disk.f_bavail.saturating_mul(disk.f_frsize);
    if free < SPACE_NEEDED {
        bail!(
            "{} MB are free at {}, {} MB are needed: make room, or place the clone on a larger disk",
            free >> 20,
            folder.display(),
            SPACE_NEEDED >> 20
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::apt::Archive;
    use crate::recipe::{Finish, Start};
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn refuses_a_prefix_whose_program_changed_since_it_was_unpacked() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        let recipe = Recipe {
            name: "x",
            archive: Archive::Release,
            packages: &[],
            programs: &[("tool", Start::Plain)],
            environment: &[],
            prelude: "",
            finish: Finish::Nothing,
        };
        fs::create_dir_all(root.join("usr/bin")).unwrap();
        fs::create_dir_all(root.join("usr/lib/x86_64-linux-gnu")).unwrap();
        fs::write(root.join("usr/bin/tool"), "#!/bin/sh\necho \"$LD_LIBRARY_PATH $1\"\n").unwrap();
        fs::set_permissions(root.join("usr/bin/tool"), fs::Permissions::from_mode(0o755)).unwrap();
        let stamp =
            Stamp { layout: LAYOUT, versions: BTreeMap::new(), programs: wrap(&recipe, root, true).unwrap() };
        assert!(Prefix::open(root, &recipe).is_none(), "no stamp yet");
        fs::write(root.join("stamp.json"), serde_json::to_string(&stamp).unwrap()).unwrap();
        let prefix = Prefix::open(root, &recipe).expect("finished");

        let mut command = std::process::Command::new(prefix.program("tool").unwrap());
        let output = command.arg("said").env_remove("LD_LIBRARY_PATH").output().unwrap();
        let said = String::from_utf8(output.stdout).unwrap();
        assert_eq!(
            said.trim(),
            format!("{}/usr/lib/x86_64-linux-gnu said", root.canonicalize().unwrap().display())
        );
        assert!(prefix.program("other").is_err());

        fs::write(root.join("usr/bin/tool"), "cut").unwrap();
        assert!(Prefix::open(root, &recipe).is_none(), "size differs");
    }
}
