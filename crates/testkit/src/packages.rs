//! Programs fetched as packages, each set below a prefix of its own: `.weir/packages/<set>`.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

use crate::apt::{self, Apt, Archive, Family, Package};
use crate::home::{home, lock, make_folder, remove_folder, write_whole};
use crate::progress::say;

/// Rises when the way a prefix is laid out changes, so that older prefixes are made anew.
const LAYOUT: u32 = 2;
/// The largest set takes 600 MB while it is being unpacked.
const SPACE_NEEDED: u64 = 1 << 30;

/// A set of programs that share one prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Set {
    /// MariaDB's server and command-line clients, from the machine's own release.
    MariaDb,
    /// MySQL's: on Debian from unstable, on Ubuntu from the machine's own release.
    MySql,
    /// The TCP proxy that measurements compare with.
    HaProxy,
    /// The load generator.
    Sysbench,
    /// Python 3 with pip.
    Python,
    /// Node.js with npm.
    Node,
    /// The Go toolchain.
    Go,
    /// A Java development kit.
    Java,
}

/// What a set is made of.
struct Recipe {
    name: &'static str,
    archive: Archive,
    packages: &'static [&'static str],
    programs: &'static [&'static str],
}

impl Set {
    /// Every set that tests and measurements on databases need; runtimes of other languages are apart.
    pub const SERVERS: [Set; 4] = [Set::MariaDb, Set::MySql, Set::HaProxy, Set::Sysbench];

    fn recipe(self) -> Result<Recipe> {
        let release =
            |name, packages, programs| Recipe { name, archive: Archive::Release, packages, programs };
        let recipe = match self {
            Set::MariaDb => release(
                "mariadb",
                &["mariadb-server-core", "mariadb-client"],
                &["mariadbd", "mariadb", "mariadb-dump"],
            ),
            Set::MySql => Recipe {
                name: "mysql",
                archive: match apt::family()? {
                    Family::Debian => Archive::Unstable,
                    Family::Ubuntu => Archive::Release,
                },
                packages: &["mysql-server-core", "mysql-client-core"],
                programs: &["mysqld", "mysql", "mysqldump"],
            },
            Set::HaProxy => release("haproxy", &["haproxy"], &["haproxy"]),
            Set::Sysbench => release("sysbench", &["sysbench"], &["sysbench"]),
            Set::Python => release("python", &["python3", "python3-pip"], &["python3"]),
            Set::Node => release("node", &["nodejs", "npm"], &["node"]),
            Set::Go => release("go", &["golang-go"], &["go"]),
            Set::Java => release("java", &["default-jdk-headless"], &["java", "javac"]),
        };
        Ok(recipe)
    }
}

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
        let complete = recipe.programs.iter().all(|program| stamp.programs.contains_key(*program));
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

    let unfinished = root.with_extension("unfinished");
    remove_folder(&unfinished)?;
    let files = apt.download(&needed, &unfinished.join("debs"))?;
    say(format!("unpacking {} packages into .weir/packages/{}", files.len(), recipe.name));
    for file in &files {
        apt::unpack(file, &unfinished)?;
    }
    remove_folder(&unfinished.join("debs"))?;
    let stamp = Stamp { layout: LAYOUT, versions, programs: wrap(recipe, &unfinished, apt.native)? };
    let text = serde_json::to_string_pretty(&stamp).context("cannot write down what was fetched")?;
    write_whole(&unfinished.join("stamp.json"), text.as_bytes())?;
    remove_folder(root)?;
    fs::rename(&unfinished, root).with_context(|| format!("cannot move into {}", root.display()))?;
    say(format!("{} is ready after {:.1} s", recipe.name, started.elapsed().as_secs_f32()));
    Ok(Prefix { root: root.to_owned(), stamp })
}

/// What packages ask for that running their programs does not: installation scripts' interpreters, and
/// the C library where the machine's own serves.
fn unneeded(name: &str, native: bool) -> bool {
    let installers = [
        "adduser",
        "base-files",
        "ca-certificates-java",
        "debconf",
        "dpkg",
        "init-system-helpers",
        "login",
        "lsb-base",
        "passwd",
        "sysvinit-utils",
        "tar",
        "usrmerge",
        "util-linux",
        "util-linux-extra",
        "usr-is-merged",
    ];
    let perl = name.starts_with("perl") || name.starts_with("libperl") || name.ends_with("-perl");
    let libc = native && (name == "libc6" || name == "libc-bin" || name.starts_with("libc-gconv"));
    perl || libc || installers.contains(&name) || name.starts_with("fonts-")
}

/// Finds each program and writes a wrapper for it.
fn wrap(recipe: &Recipe, root: &Path, native: bool) -> Result<BTreeMap<String, (PathBuf, u64)>> {
    let libraries = library_folders(root)?;
    let loader = if native { None } else { Some(loader(root, &libraries)?) };
    make_folder(&root.join("run"))?;
    let mut programs = BTreeMap::new();
    for program in recipe.programs {
        let folders = ["usr/sbin", "usr/bin"].map(PathBuf::from);
        let Some(file) =
            folders.iter().map(|folder| folder.join(program)).find(|file| root.join(file).exists())
        else {
            bail!("the packages hold no program `{program}`");
        };
        let wrapper = root.join("run").join(program);
        write_whole(&wrapper, script(&file, &libraries, loader.as_deref()).as_bytes())?;
        fs::set_permissions(&wrapper, fs::Permissions::from_mode(0o755))
            .with_context(|| format!("cannot make {} executable", wrapper.display()))?;
        let size = fs::metadata(root.join(&file)).with_context(|| format!("cannot read {program}"))?.len();
        programs.insert((*program).to_owned(), (file, size));
    }
    Ok(programs)
}

/// A program built against a newer C library than the machine's starts through that library's own loader;
/// others run as they are, with the prefix's libraries first. What the caller left open (a build's lock, a
/// pipe that somebody reads to its end) is closed, since a server outlives its caller.
fn script(file: &Path, libraries: &[PathBuf], loader: Option<&Path>) -> String {
    let path: Vec<String> = libraries.iter().map(|folder| format!("$root/{}", folder.display())).collect();
    let path = path.join(":");
    let file = file.display();
    let start = match loader {
        Some(loader) => format!(
            "exec \"$root/{}\" --argv0 \"$root/{file}\" --library-path \"{path}\" \"$root/{file}\" \"$@\"",
            loader.display()
        ),
        None => format!(
            "export LD_LIBRARY_PATH=\"{path}${{LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}}\"\nexec \"$root/{file}\" \"$@\""
        ),
    };
    let close = "exec 3>&- 4>&- 5>&- 6>&- 7>&- 8>&- 9>&-";
    format!("#!/bin/sh\n{close}\nroot=$(cd \"${{0%/*}}/..\" && pwd) || exit 127\n{start}\n")
}

/// The folders of shared libraries: `usr/lib/<architecture>` and what lies beside it.
fn library_folders(root: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for base in ["usr/lib", "lib"] {
        let folder = root.join(base);
        if !folder.is_dir() {
            continue;
        }
        for entry in fs::read_dir(&folder).with_context(|| format!("cannot list {}", folder.display()))? {
            let entry = entry.with_context(|| format!("cannot list {}", folder.display()))?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if name.ends_with("-linux-gnu") || name.contains("-linux-gnueabi") {
                found.push(Path::new(base).join(name));
            }
        }
    }
    found.sort();
    found.reverse();
    Ok(found)
}

fn loader(root: &Path, libraries: &[PathBuf]) -> Result<PathBuf> {
    for folder in libraries {
        for entry in fs::read_dir(root.join(folder)).context("cannot list the libraries")? {
            let name = entry.context("cannot list the libraries")?.file_name().to_string_lossy().into_owned();
            if name.starts_with("ld-linux") || name.starts_with("ld64.so") {
                return Ok(folder.join(name));
            }
        }
    }
    bail!("the packages hold no dynamic loader")
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

    #[test]
    fn leaves_out_what_running_does_not_need() {
        let rows = [
            ("perl-base", false, true),
            ("libperl5.42", true, true),
            ("libdbd-mariadb-perl", true, true),
            ("libc6", true, true),
            ("libc6", false, false),
            ("libssl3", true, false),
            ("mariadb-server-core", true, false),
        ];
        for (name, native, expected) in rows {
            assert_eq!(unneeded(name, native), expected, "{name} native={native}");
        }
    }

    #[test]
    fn refuses_a_prefix_whose_program_changed_since_it_was_unpacked() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        let recipe = Recipe { name: "x", archive: Archive::Release, packages: &[], programs: &["tool"] };
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
