//! apt as an unprivileged downloader: its own lists, cache and an empty record of what is installed, so
//! that nothing of the system is read but its sources, keys and proxy, and nothing is changed.

mod distribution;
mod sources;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, bail};

use distribution::Distribution;
pub(crate) use distribution::Family;
use sources::Source;

use crate::home::{home, make_folder, write_whole};
use crate::progress::say;

/// Package lists older than this are fetched anew before use.
const LISTS_AGE: Duration = Duration::from_secs(12 * 3600);

/// A package at the version that apt chose.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Package {
    pub(crate) name: String,
    pub(crate) version: String,
}

/// Which archive to take packages from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Archive {
    /// The machine's own release.
    Release,
    /// Debian's unstable, for servers newer than the release has.
    Unstable,
}

/// The mirror does not have what its lists name: it may have moved on since they were fetched.
#[derive(Debug)]
pub(crate) struct StaleLists;

impl std::fmt::Display for StaleLists {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the mirror does not have what its package lists name")
    }
}

impl std::error::Error for StaleLists {}

/// A private apt over one archive.
#[derive(Debug)]
pub(crate) struct Apt {
    folder: PathBuf,
    /// Whether its packages are built against this machine's own libc.
    pub(crate) native: bool,
}

/// The distribution family of this machine.
pub(crate) fn family() -> Result<Family> {
    Ok(Distribution::of_this_machine()?.family)
}

impl Apt {
    /// Prepares apt over `archive` with package lists fresh enough to use.
    pub(crate) fn open(archive: Archive) -> Result<Apt> {
        if Command::new("apt-get").arg("--version").output().is_err() {
            bail!("there is no apt-get on this machine: put mariadbd and mysqld on the PATH instead");
        }
        let distribution = Distribution::of_this_machine()?;
        let release = sources::archive(&sources::of_this_machine()?, &distribution)?;
        let unstable = match archive {
            Archive::Release => None,
            Archive::Unstable => sources::unstable_beside(&release),
        };
        let native = unstable.is_none();
        let folder = home().join("apt").join(if native { "release" } else { "unstable" });
        let apt = Apt { folder, native };
        let chosen = unstable.unwrap_or(release);
        apt.configure(&chosen, distribution.family)?;
        if !apt.lists_are_fresh() {
            apt.update_or_renew_keys(&chosen)?;
        }
        Ok(apt)
    }

    fn configure(&self, chosen: &[Source], family: Family) -> Result<()> {
        for part in ["lists/partial", "cache/archives/partial", "sources.d", "empty.d"] {
            make_folder(&self.folder.join(part))?;
        }
        write_whole(&self.folder.join("status"), b"")?;
        let sources_file = self.folder.join("sources.d/archive.sources");
        let text = sources::render(chosen);
        if fs::read_to_string(&sources_file).ok().as_deref() != Some(text.as_str()) {
            self.forget_lists()?;
            write_whole(&sources_file, text.as_bytes())?;
        }
        // Another vendor may publish under the same suite name: only what the archive signed as its own counts.
        let pins = format!(
            "Package: *\nPin: release o={}\nPin-Priority: 500\n\nPackage: *\nPin: release a=*\nPin-Priority: -1\n",
            family.origin()
        );
        write_whole(&self.folder.join("preferences"), pins.as_bytes())?;
        write_whole(&self.folder.join("apt.conf"), self.configuration()?.as_bytes())
    }

    /// The private configuration: the machine's way to reach its mirror (proxy, retries, its stand on
    /// dates), and every other setting replaced, above all the hooks that would clean the system's cache.
    fn configuration(&self) -> Result<String> {
        let dump = Command::new("apt-config")
            .args(["dump", "--format", "%f \"%v\";%n"])
            .stdin(Stdio::null())
            .output()
            .context("cannot run apt-config")?;
        let at = |part: &str| self.folder.join(part).display().to_string();
        let mut lines: Vec<String> = String::from_utf8_lossy(&dump.stdout)
            .lines()
            .filter(|line| line.starts_with("Acquire::") && !line.contains("::IndexTargets"))
            .map(str::to_owned)
            .collect();
        let settings = [
            ("Dir::Etc::Parts", at("empty.d")),
            ("Dir::Etc::Main", "/dev/null".to_owned()),
            ("Dir::Etc::SourceList", "/dev/null".to_owned()),
            ("Dir::Etc::SourceParts", at("sources.d")),
            ("Dir::Etc::Preferences", at("preferences")),
            ("Dir::Etc::PreferencesParts", at("empty.d")),
            ("Dir::State", self.folder.display().to_string()),
            ("Dir::State::lists", at("lists")),
            ("Dir::State::status", at("status")),
            ("Dir::Cache", at("cache")),
            ("Dir::Log", at("log")),
            ("APT::Install-Recommends", "false".to_owned()),
            // Its sandbox account may not be able to enter the project's folder.
            ("APT::Sandbox::User", "root".to_owned()),
            ("Acquire::Languages", "none".to_owned()),
            ("Acquire::Retries", "3".to_owned()),
            ("Acquire::AllowInsecureRepositories", "false".to_owned()),
            ("Acquire::AllowWeakRepositories", "false".to_owned()),
            ("Acquire::AllowDowngradeToInsecureRepositories", "false".to_owned()),
            ("APT::Get::AllowUnauthenticated", "false".to_owned()),
        ];
        lines.extend(settings.iter().map(|(name, value)| format!("{name} \"{value}\";")));
        Ok(lines.join("\n") + "\n")
    }

    fn lists_are_fresh(&self) -> bool {
        let updated = fs::metadata(self.folder.join("updated")).and_then(|file| file.modified());
        updated.is_ok_and(|at| SystemTime::now().duration_since(at).is_ok_and(|age| age < LISTS_AGE))
    }

    fn forget_lists(&self) -> Result<()> {
        match fs::remove_file(self.folder.join("updated")) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(error).context("cannot forget old package lists")
            }
            _ => Ok(()),
        }
    }

    fn run(&self, program: &str, arguments: &[&str], folder: &Path) -> Result<Output> {
        Command::new(program)
            .args(arguments)
            .current_dir(folder)
            .env("APT_CONFIG", self.folder.join("apt.conf"))
            .env("LC_ALL", "C")
            .stdin(Stdio::null())
            .output()
            .with_context(|| format!("cannot run {program}"))
    }

    /// Fetches the package lists. The Release files' signatures are verified by apt with the keys that
    /// the machine's own entry names.
    fn update(&self) -> Result<()> {
        say(format!("package lists ({}) from the machine's own mirror", self.folder_name()));
        let output = self.run("apt-get", &["-q", "update", "--error-on=any"], &self.folder)?;
        if !output.status.success() {
            bail!(
                "the machine's own package mirror cannot be used (does `apt-get update` work?):\n{}",
                complaints(&output)
            );
        }
        write_whole(&self.folder.join("updated"), b"")
    }

    /// Unstable may be signed with keys newer than this machine's: then the keyring is renewed first, from
    /// the release's own archive, which this machine can verify.
    fn update_or_renew_keys(&self, chosen: &[Source]) -> Result<()> {
        let Err(error) = self.update() else { return Ok(()) };
        let about_keys = ["NO_PUBKEY", "not signed", "Sub-process /usr/bin/sqv", "invalid signature"];
        if self.native || !about_keys.iter().any(|sign| error.to_string().contains(sign)) {
            return Err(error);
        }
        say("this machine's keys do not verify unstable: fetching the archive's current keyring");
        let release = Apt::open(Archive::Release)?;
        let into = self.folder.join("keyring");
        for file in release.download(&release.resolve(&["debian-archive-keyring"])?, &into)? {
            unpack(&file, &into)?;
        }
        let names = ["debian-archive-keyring.pgp", "debian-archive-keyring.gpg"];
        let keys = names.map(|name| into.join("usr/share/keyrings").join(name));
        let Some(keyring) = keys.iter().find(|path| path.exists()) else { return Err(error) };
        let renewed: Vec<Source> = chosen
            .iter()
            .map(|source| {
                let mut source = source.clone();
                source.options.retain(|(name, _)| *name != "Signed-By");
                source.options.push(("Signed-By", keyring.display().to_string()));
                source
            })
            .collect();
        let sources_file = self.folder.join("sources.d/archive.sources");
        write_whole(&sources_file, sources::render(&renewed).as_bytes())?;
        self.update()
    }

    fn folder_name(&self) -> &'static str {
        if self.native { "this release" } else { "unstable" }
    }

    /// The first of `candidates` that the archive has. A candidate that ends in `*` stands for the highest
    /// version suffix, as in `mysql-server-core-8.0`.
    pub(crate) fn available(&self, name: &str) -> Result<String> {
        let output = self.run("apt-cache", &["pkgnames", name], &self.folder)?;
        let listed = String::from_utf8_lossy(&output.stdout).into_owned();
        let mut names: Vec<&str> = listed
            .lines()
            .filter(|listed| {
                let suffix = listed.strip_prefix(name);
                suffix.is_some_and(|rest| rest.is_empty() || rest.strip_prefix('-').is_some_and(is_version))
            })
            .collect();
        // The plain name first, then the newest version.
        names.sort_by_key(|name| (name.len(), std::cmp::Reverse(*name)));
        for candidate in names {
            if self.run("apt-get", &["-s", "install", candidate], &self.folder)?.status.success() {
                return Ok(candidate.to_owned());
            }
        }
        bail!("the archive ({}) has no package `{name}` for this machine", self.folder_name())
    }

    /// The packages that `wanted` needs, themselves included, as if nothing were installed.
    pub(crate) fn resolve(&self, wanted: &[&str]) -> Result<Vec<Package>> {
        let arguments: Vec<&str> = ["-s", "install"].iter().chain(wanted).copied().collect();
        let output = self.run("apt-get", &arguments, &self.folder)?;
        if !output.status.success() {
            bail!("apt cannot resolve {}:\n{}", wanted.join(", "), complaints(&output));
        }
        Ok(String::from_utf8_lossy(&output.stdout).lines().filter_map(planned).collect())
    }

    /// Downloads packages into a folder; apt checks each against the signed lists.
    pub(crate) fn download(&self, packages: &[Package], into: &Path) -> Result<Vec<PathBuf>> {
        make_folder(into)?;
        let wanted: Vec<String> =
            packages.iter().map(|package| format!("{}={}", package.name, package.version)).collect();
        let arguments: Vec<&str> =
            ["-q", "download"].into_iter().chain(wanted.iter().map(String::as_str)).collect();
        let output = self.run("apt-get", &arguments, into)?;
        if !output.status.success() {
            self.forget_lists()?;
            return Err(anyhow::Error::new(StaleLists).context(complaints(&output)));
        }
        let listed = fs::read_dir(into).with_context(|| format!("cannot list {}", into.display()))?;
        let mut files = Vec::new();
        for entry in listed {
            let path = entry.with_context(|| format!("cannot list {}", into.display()))?.path();
            if path.extension().is_some_and(|extension| extension == "deb") {
                files.push(path);
            }
        }
        files.sort();
        Ok(files)
    }
}

/// Unpacks a package's files below `prefix`; nothing of the package is run.
pub(crate) fn unpack(file: &Path, prefix: &Path) -> Result<()> {
    let output = Command::new("dpkg-deb")
        .arg("-x")
        .args([file, prefix])
        .stdin(Stdio::null())
        .output()
        .context("cannot run dpkg-deb, which unpacks the packages")?;
    if !output.status.success() {
        bail!("cannot unpack {}:\n{}", file.display(), String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}

fn is_version(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_ascii_digit() || c == '.')
}

/// Reads a line of a simulated installation: `Inst name (version origin [architecture])`.
fn planned(line: &str) -> Option<Package> {
    let (name, rest) = line.strip_prefix("Inst ")?.split_once(' ')?;
    let version = rest.split_once('(')?.1.split_whitespace().next()?;
    Some(Package { name: name.to_owned(), version: version.to_owned() })
}

/// apt's own error and warning lines, or all it wrote.
fn complaints(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stderr);
    let marked: Vec<&str> = text
        .lines()
        .filter(|line| line.starts_with("E:") || line.starts_with("W:") || line.starts_with("Err"))
        .collect();
    if marked.is_empty() { text.trim().to_owned() } else { marked.join("\n") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_apt_plans_to_install() {
        let rows = [
            (
                "Inst zlib1g (1:1.2.13.dfsg-1 Debian:12.11/oldstable [amd64])",
                Some(("zlib1g", "1:1.2.13.dfsg-1")),
            ),
            ("Inst libc6 (2.43-7 Debian:unstable [amd64]) []", Some(("libc6", "2.43-7"))),
            ("Conf zlib1g (1:1.2.13.dfsg-1 Debian:12.11/oldstable [amd64])", None),
            ("Inst zlib1g", None),
            ("", None),
        ];
        for (line, expected) in rows {
            let seen = planned(line).map(|package| (package.name, package.version));
            assert_eq!(seen, expected.map(|(name, version)| (name.to_owned(), version.to_owned())), "{line}");
        }
    }

    #[test]
    fn tells_a_version_suffix_from_a_longer_name() {
        for (text, expected) in
            [("8.0", true), ("11", true), ("", false), ("core", false), ("8.0-dbg", false)]
        {
            assert_eq!(is_version(text), expected, "{text}");
        }
    }
}
