//! `mysqldump` and `mariadb-dump`: what they write through the gateway is what they write directly, and what is
//! restored through it is what was dumped.

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use weir_testkit::{Flavour, home, tool};

use super::cli::{CommandLine, connection};
use super::install::sources;
use super::run::{Endpoint, Tls, output};
use super::site::Site;

const PATIENCE: Duration = Duration::from_secs(120);
/// What a dump of `cli/dump.sql` must hold.
const PARTS: [&str; 8] = [
    "CREATE TABLE",
    "INSERT INTO",
    "TRIGGER",
    "PROCEDURE",
    "FUNCTION",
    "EVENT",
    "VIEW",
    "PARTITION BY RANGE",
];
/// The ways to dump: in a transaction with savepoints and binary values as hex, and with tables locked and binary
/// values as they are, one row a statement.
const WAYS: [&[&str]; 2] = [
    &["--single-transaction", "--hex-blob"],
    &["--lock-tables", "--skip-hex-blob", "--skip-extended-insert", "--complete-insert"],
];

/// Fills the site's database, dumps it on both paths, restores it through the gateway into `<database>_restored`
/// and compares both databases.
///
/// # Errors
/// A program fails, or anything differs.
pub fn dump_and_restore(
    client: CommandLine,
    site: &Site,
    direct: &Endpoint,
    through: &Endpoint,
) -> Result<()> {
    let schema = sources("cli").join("dump.sql");
    let depth = match direct.flavour {
        Flavour::MySql => "cte_max_recursion_depth",
        Flavour::MariaDb => "max_recursive_iterations",
    };
    let mut fill = client.command(direct, &site.main, Tls::Off, direct.address.port())?;
    fill.arg(format!("--init-command=SET SESSION {depth} = 100000"));
    feed(&mut fill, &schema, &direct.database)?;

    let restored = format!("{}_restored", site.database);
    for way in WAYS {
        let expected = dump(client, site, direct, &site.database, way)?;
        for part in PARTS {
            if !contains(&expected, part.as_bytes()) {
                bail!("the dump with {way:?} holds no {part}");
            }
        }
        let file = file_of(client, site);
        fs::write(&file, dump(client, site, through, &site.database, way)?).context("cannot write a dump")?;
        same(&expected, &fs::read(&file).context("cannot read a dump")?, "the dump through the gateway")?;

        site.cluster.sql(0, &format!("DROP DATABASE IF EXISTS {restored}"))?;
        site.cluster.sql(0, &format!("CREATE DATABASE {restored} CHARACTER SET utf8mb4"))?;
        let mut restore = client.command(through, &site.main, Tls::Off, through.address.port())?;
        feed(&mut restore, &file, &restored)?;
        let again = dump(client, site, direct, &restored, way)?;
        same(&expected, &again, "the dump of what was restored through the gateway")?;
        checksums(site, &restored)?;
        site.cluster.sql(0, &format!("DROP DATABASE {restored}"))?;
        fs::remove_file(&file).context("cannot remove a dump")?;
    }
    Ok(())
}

fn feed(client: &mut Command, file: &PathBuf, database: &str) -> Result<()> {
    client.args(["--max-allowed-packet=128M", "--batch"]).arg(database);
    client.stdin(File::open(file).with_context(|| format!("cannot open {}", file.display()))?);
    output(client, PATIENCE).map(drop)
}

/// What the dump program prints. Comments, which name the database and the time, are left out.
fn dump(
    client: CommandLine,
    site: &Site,
    endpoint: &Endpoint,
    database: &str,
    way: &[&str],
) -> Result<Vec<u8>> {
    let of_mysql = client == CommandLine::MySql;
    let mut command = tool(if of_mysql { "mysqldump" } else { "mariadb-dump" })?;
    connection(&mut command, of_mysql, endpoint, &site.main, Tls::Off, endpoint.address.port());
    command
        .args(["--routines", "--triggers", "--events", "--skip-comments", "--max-allowed-packet=128M"])
        .args(way);
    if of_mysql {
        command.args(["--set-gtid-purged=OFF", "--no-tablespaces"]);
    }
    output(command.arg(database).stdin(Stdio::null()), PATIENCE)
}

fn same(expected: &[u8], found: &[u8], what: &str) -> Result<()> {
    if expected == found {
        return Ok(());
    }
    let (left, right) = (String::from_utf8_lossy(expected), String::from_utf8_lossy(found));
    let (mut left, mut right) = (left.lines(), right.lines());
    for number in 1_u32.. {
        match (left.next(), right.next()) {
            (a, b) if a != b => {
                let cut = |line: Option<&str>| line.map(|line| line.chars().take(300).collect::<String>());
                bail!("{what} differs in line {number}:\n    {:?}\n    {:?}", cut(a), cut(b));
            }
            (None, None) => break,
            _ => {}
        }
    }
    bail!("{what} differs in its bytes")
}

/// `CHECKSUM TABLE` of every table in both databases.
fn checksums(site: &Site, restored: &str) -> Result<()> {
    let list = format!(
        "SELECT TABLE_NAME FROM information_schema.TABLES WHERE TABLE_TYPE = 'BASE TABLE' AND TABLE_SCHEMA = '{}' ORDER BY 1",
        site.database
    );
    let tables = site.cluster.sql(0, &list)?;
    if tables.len() < 7 {
        bail!("only {} tables to compare", tables.len());
    }
    for table in tables.iter().flatten().flatten() {
        let of = |database: &str| -> Result<Option<String>> {
            let quoted = table.replace('`', "``");
            let rows = site.cluster.sql(0, &format!("CHECKSUM TABLE `{database}`.`{quoted}`"))?;
            Ok(rows.into_iter().next().and_then(|row| row.into_iter().nth(1)).flatten())
        };
        let (original, copy) = (of(&site.database)?, of(restored)?);
        if original.is_none() || original != copy {
            bail!("table {table} has the checksum {original:?}, restored {copy:?}");
        }
    }
    Ok(())
}

fn file_of(client: CommandLine, site: &Site) -> PathBuf {
    home().join("drivers").join(format!("{}-{}-{}.sql", client.name(), site.cluster.flavour(), site.database))
}

fn contains(within: &[u8], what: &[u8]) -> bool {
    within.windows(what.len()).any(|window| window == what)
}
