//! The server programs: where they are, which version they are, and how each is told to do the same thing.

use std::env;
use std::fmt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::str::FromStr;

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

use crate::packages::fetch;
use crate::progress::say;
use crate::recipe::Set;

/// Which of the two servers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Flavour {
    /// MySQL.
    MySql,
    /// MariaDB.
    MariaDb,
}

impl Flavour {
    /// Both, in the order in which tests run them.
    pub const ALL: [Flavour; 2] = [Flavour::MySql, Flavour::MariaDb];

    /// `mysql` or `mariadb`.
    pub fn name(self) -> &'static str {
        match self {
            Flavour::MySql => "mysql",
            Flavour::MariaDb => "mariadb",
        }
    }
}

impl fmt::Display for Flavour {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Flavour {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Flavour> {
        let found = Flavour::ALL.into_iter().find(|flavour| flavour.name() == text);
        found.with_context(|| format!("`{text}` is neither `mysql` nor `mariadb`"))
    }
}

/// Where server programs come from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Programs {
    /// The project's own folder, so that every machine tests the same servers.
    #[default]
    Fetched,
    /// The PATH if it has the server, the project's own folder otherwise.
    PathFirst,
}

/// A server program that can be started.
#[derive(Clone, Debug)]
pub(crate) struct Server {
    pub(crate) flavour: Flavour,
    /// As `--version` gives it, without the distribution's suffix: `9.7.4`.
    pub(crate) version: String,
    program: PathBuf,
    /// The folder that holds `share/` and `lib/`.
    base: PathBuf,
}

impl Server {
    /// Finds the program, fetching it where it must be.
    pub(crate) fn find(flavour: Flavour, programs: Programs) -> Result<Server> {
        if programs == Programs::PathFirst
            && let Some(server) = Server::on_path(flavour)
        {
            say(format!("{flavour} {} found on the PATH", server.version));
            return Ok(server);
        }
        let (set, program) = match flavour {
            Flavour::MySql => (Set::MySql, "mysqld"),
            Flavour::MariaDb => (Set::MariaDb, "mariadbd"),
        };
        let prefix = fetch(set)?;
        Server::inspect(flavour, prefix.program(program)?, prefix.root().join("usr"))
    }

    fn on_path(flavour: Flavour) -> Option<Server> {
        let names: &[&str] = match flavour {
            Flavour::MySql => &["mysqld"],
            Flavour::MariaDb => &["mariadbd", "mysqld"],
        };
        let path = env::var_os("PATH")?;
        // Debian keeps servers where only root's PATH looks.
        let folders: Vec<PathBuf> = env::split_paths(&path).chain([PathBuf::from("/usr/sbin")]).collect();
        let found = |name: &&str| folders.iter().map(|folder| folder.join(name)).find(|file| file.is_file());
        let program = names.iter().find_map(found)?.canonicalize().ok()?;
        let base = program.parent()?.parent()?.to_owned();
        Server::inspect(flavour, program, base).ok()
    }

    fn inspect(flavour: Flavour, program: PathBuf, base: PathBuf) -> Result<Server> {
        let output = Command::new(&program)
            .args(["--no-defaults", "--version"])
            .stdin(Stdio::null())
            .output()
            .with_context(|| format!("cannot run {}", program.display()))?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let is_mariadb = text.contains("MariaDB");
        let version = version_in(&text);
        match version {
            Some(version) if is_mariadb == (flavour == Flavour::MariaDb) => {
                Ok(Server { flavour, version, program, base })
            }
            _ => bail!(
                "{} is no {flavour} server: it says `{}` {}",
                program.display(),
                text.trim(),
                String::from_utf8_lossy(&output.stderr).trim()
            ),
        }
    }

    /// The folder of charsets and messages, which distributions name differently.
    pub(crate) fn share(&self) -> Result<PathBuf> {
        let candidates = ["share/mysql", "share/mariadb", "share"].map(|folder| self.base.join(folder));
        let found = candidates.iter().find(|folder| folder.join("charsets").is_dir());
        found.cloned().with_context(|| format!("no charsets below {}", self.base.display()))
    }

    /// A command line that depends on nothing of the system's configuration.
    pub(crate) fn command(&self, data: &Path) -> Result<Command> {
        let share = self.share()?;
        let mut command = Command::new(&self.program);
        command.arg("--no-defaults");
        let option = |name: &str, value: &Path| format!("--{name}={}", value.display());
        command.args([
            option("basedir", &self.base),
            option("datadir", data),
            option("lc-messages-dir", &share),
            option("character-sets-dir", &share.join("charsets")),
            option("tmpdir", &env::temp_dir()),
        ]);
        let plugins = ["lib/mysql/plugin", "lib/plugin"].map(|folder| self.base.join(folder));
        if let Some(plugins) = plugins.iter().find(|folder| folder.is_dir()) {
            command.arg(option("plugin-dir", plugins));
        }
        if rustix::process::geteuid().is_root() {
            command.arg("--user=root");
        }
        Ok(command)
    }
}

/// `9.7.4` of `/usr/sbin/mysqld  Ver 9.7.4-2 for …`.
fn version_in(text: &str) -> Option<String> {
    let (_, rest) = text.split_once("Ver ")?;
    let version: String = rest.chars().take_while(|c| c.is_ascii_digit() || *c == '.').collect();
    (!version.is_empty()).then_some(version)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_version_of_both_servers() {
        let rows = [
            ("/x/mysqld  Ver 9.7.4-2 for debian-linux-gnu on x86_64 ((Debian))\n", Some("9.7.4")),
            ("/x/mariadbd  Ver 10.11.18-MariaDB-0+deb12u1 for debian-linux-gnu\n", Some("10.11.18")),
            ("error\n", None),
            ("Ver x", None),
        ];
        for (text, expected) in rows {
            assert_eq!(version_in(text).as_deref(), expected, "{text}");
        }
    }
}
