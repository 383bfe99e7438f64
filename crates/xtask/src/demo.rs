//! `cargo xtask demo`: from nothing to a session through Weir.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result};
use clap::Args;
use weir_testkit::{Cluster, Flavour, Options, Programs, SERVICE, home, say};

use crate::cargo::{build, exit_code};
use crate::interrupt::Interrupt;

/// How to show it.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// On MySQL instead of MariaDB.
    #[arg(long)]
    mysql: bool,
    /// End after the scripted session; exit status 0 only if every write was seen on the primary and the
    /// reads on replicas.
    #[arg(long)]
    once: bool,
    /// Build Weir optimised: slower to build, for a look at its speed.
    #[arg(long)]
    release: bool,
}

pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode> {
    let interrupt = Interrupt::catch()?;
    let flavour = if arguments.mysql { Flavour::MySql } else { Flavour::MariaDb };
    let mut options = Options::new(flavour, "demo");
    options.programs = Programs::PathFirst;
    say(format!("starting {flavour}: a primary and two replicas on loopback"));
    let cluster = Cluster::start(&options)?;
    interrupt.check()?;
    say(if arguments.release { "building weir (optimised)" } else { "building weir (for speed: --release)" });
    let weir = build("weir", "weir", arguments.release)?;
    interrupt.check()?;

    let password = home().join("run/demo/service-password");
    fs::write(&password, SERVICE.password).context("cannot write the password file")?;
    fs::set_permissions(&password, fs::Permissions::from_mode(0o600))
        .context("cannot protect the password file")?;
    let mut command = Command::new(weir);
    command.arg("demo").args(["--primary", &cluster.primary()?.address()]);
    for replica in cluster.replicas() {
        command.args(["--replica", &replica.address()]);
    }
    command.args(["--user", SERVICE.user]).arg("--password-file").arg(&password);
    if arguments.once {
        command.arg("--once");
    }
    say("starting weir");
    let mut child = command.spawn().context("cannot start weir")?;
    let status = interrupt.wait(&mut child)?;
    say(format!("ending {flavour}"));
    cluster.stop()?;
    // Ctrl-C is how the demo is meant to end.
    let ended_by_hand = interrupt.was_asked() && !arguments.once;
    Ok(if ended_by_hand { ExitCode::SUCCESS } else { exit_code(status) })
}
