//! A data folder made once per server version, with the accounts in it, and copied for each instance.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, bail};

use crate::accounts;
use crate::home::{home, lock, make_folder, remove_folder, write_whole};
use crate::progress::say;
use crate::server::{Flavour, Server};

/// Makes `data` a fresh data folder for `server`.
pub(crate) fn copy_to(server: &Server, data: &Path) -> Result<()> {
    let template = prepare(server)?;
    let copied = Command::new("cp")
        .args(["-a", "--reflink=auto"])
        .args([&template.join("data"), data])
        .output()
        .context("cannot run cp")?;
    if !copied.status.success() {
        bail!("cannot copy the data folder: {}", String::from_utf8_lossy(&copied.stderr).trim());
    }
    Ok(())
}

fn prepare(server: &Server) -> Result<PathBuf> {
    let name = format!("{}-{}", server.flavour, server.version);
    let _lock = lock("templates")?;
    let template = home().join("templates").join(&name);
    let statements = accounts::statements(server.flavour);
    if fs::read_to_string(template.join("accounts.sql")).ok().as_deref() == Some(statements.as_str()) {
        return Ok(template);
    }
    let started = Instant::now();
    say(format!("initialising {} {}", server.flavour, server.version));
    let unfinished = template.with_extension("unfinished");
    remove_folder(&unfinished)?;
    make_folder(&unfinished)?;
    let data = unfinished.join("data");
    let made = match server.flavour {
        Flavour::MySql => initialise_mysql(server, &data, &statements),
        Flavour::MariaDb => initialise_mariadb(server, &data, &statements),
    };
    made.with_context(|| format!("cannot initialise {} {}", server.flavour, server.version))?;
    write_whole(&unfinished.join("accounts.sql"), statements.as_bytes())?;
    remove_folder(&template)?;
    fs::rename(&unfinished, &template).with_context(|| format!("cannot write {}", template.display()))?;
    say(format!("initialised after {:.1} s", started.elapsed().as_secs_f32()));
    Ok(template)
}

fn initialise_mysql(server: &Server, data: &Path, statements: &str) -> Result<()> {
    let script = data.with_extension("sql");
    write_whole(&script, statements.as_bytes())?;
    let mut command = server.command(data)?;
    command.arg("--initialize-insecure").arg(format!("--init-file={}", script.display())).args([
        "--secure-file-priv=",
        "--innodb-redo-log-capacity=33554432",
        "--skip-log-bin",
    ]);
    run(command, "")?;
    // Each instance is to make an identity of its own.
    fs::remove_file(data.join("auto.cnf")).context("cannot remove the template's server id")
}

/// What `mariadb-install-db` does, without a shell script that looks for its files itself.
fn initialise_mariadb(server: &Server, data: &Path, statements: &str) -> Result<()> {
    make_folder(&data.join("mysql"))?;
    let share = server.share()?;
    let mut script =
        "CREATE DATABASE IF NOT EXISTS mysql;\nUSE mysql;\nSET @auth_root_socket=NULL;\n".to_owned();
    let tables = [
        "mysql_system_tables.sql",
        "mysql_performance_tables.sql",
        "mysql_system_tables_data.sql",
        "maria_add_gis_sp_bootstrap.sql",
        "mysql_sys_schema.sql",
    ];
    for name in tables {
        let renamed = name.replace("mysql_", "mariadb_");
        let candidates = [share.join(name), share.join(renamed)];
        let Some(file) = candidates.iter().find(|file| file.exists()) else {
            bail!("{} lacks {name}", share.display());
        };
        let text = fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
        script.push_str(&text);
        script.push('\n');
    }
    script.push_str("USE mysql;\nFLUSH PRIVILEGES;\n");
    script.push_str(statements);
    let mut command = server.command(data)?;
    command.args([
        "--bootstrap",
        "--log-warnings=0",
        "--enforce-storage-engine=",
        "--innodb-log-file-size=33554432",
    ]);
    run(command, &script)
}

fn run(mut command: Command, input: &str) -> Result<()> {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .context("cannot start the server")?;
    let sent = child.stdin.take().context("no standard input")?.write_all(input.as_bytes());
    let output = child.wait_with_output().context("cannot wait for the server")?;
    let log = String::from_utf8_lossy(&output.stderr).into_owned();
    // A bootstrap goes on after a statement that fails, and may still end well.
    let failed = log.lines().any(|line| line.contains("[ERROR]") || line.starts_with("ERROR:"));
    if !output.status.success() || failed || sent.is_err() {
        let lines: Vec<&str> = log.lines().collect();
        bail!(
            "{}:\n{}",
            output.status,
            lines.iter().rev().take(20).rev().copied().collect::<Vec<_>>().join("\n")
        );
    }
    Ok(())
}
