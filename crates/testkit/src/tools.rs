//! Command-line programs that tests and measurements run beside the gateway.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, bail};

use crate::packages::fetch;
use crate::recipe::Set;

/// Fetched programs, by name.
const TOOLS: [(&str, Set); 6] = [
    ("mysql", Set::MySql),
    ("mysqldump", Set::MySql),
    ("mariadb", Set::MariaDb),
    ("mariadb-dump", Set::MariaDb),
    ("haproxy", Set::HaProxy),
    ("sysbench", Set::Sysbench),
];

/// A command that runs `name` with the libraries it was built with, fetching it first if need be. It reads no
/// configuration file of the system's where the program can be told so. A sysbench script is found by its
/// bare name (`oltp_point_select`).
///
/// # Errors
/// An unknown name (known: mysql, mysqldump, mariadb, mariadb-dump, haproxy, sysbench), or fetching fails.
pub fn tool(name: &str) -> Result<Command> {
    let Some((_, set)) = TOOLS.iter().find(|(known, _)| *known == name) else {
        let known: Vec<&str> = TOOLS.iter().map(|(known, _)| *known).collect();
        bail!("no tool is called `{name}`; there are {}", known.join(", "));
    };
    let prefix = fetch(*set)?;
    let usr = prefix.root().join("usr");
    let mut command = Command::new(prefix.program(name)?);
    let plugins = client_plugins(&usr);
    match set {
        Set::MySql | Set::MariaDb => {
            command.arg("--no-defaults");
            let charsets = ["share/mysql/charsets", "share/mariadb/charsets"].map(|folder| usr.join(folder));
            let charsets = charsets.iter().find(|folder| folder.is_dir());
            command.args(charsets.map(|folder| format!("--character-sets-dir={}", folder.display())));
            command.args(plugins.map(|folder| format!("--plugin-dir={}", folder.display())));
        }
        Set::Sysbench => {
            let scripts = usr.join("share/sysbench");
            command.env("LUA_PATH", format!("{0}/?.lua;{0}/?", scripts.display()));
            command.envs(plugins.map(|folder| ("MARIADB_PLUGIN_DIR", folder)));
        }
        _ => {}
    }
    Ok(command)
}

/// Where a client finds the plugins it logs in with: MySQL's needs one for `mysql_native_password`, MariaDB's
/// library one for `caching_sha2_password`.
fn client_plugins(usr: &Path) -> Option<PathBuf> {
    let library = format!("lib/{}-linux-gnu/libmariadb3/plugin", std::env::consts::ARCH);
    let candidates = [usr.join(library), usr.join("lib/mysql/plugin")];
    candidates.into_iter().find(|folder| folder.is_dir())
}
