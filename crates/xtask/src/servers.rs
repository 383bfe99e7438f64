//! `cargo xtask servers …`: clusters that stay up until they are stopped.

use std::process::ExitCode;

use anyhow::Result;
use clap::{Args, Subcommand};
use weir_testkit::{
    ADMIN, Cluster, Flavour, Options, Programs, REPLICATION, SERVICE, Set, describe, keep_up,
};

use crate::output::line;

/// What to do with the servers.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Start a primary and replicas with GTID replication, and leave them up.
    Start {
        #[command(flatten)]
        which: Which,
        /// How many replicas.
        #[arg(long, default_value_t = 2)]
        replicas: usize,
        /// A server option for every instance, such as `--set=general-log=ON`; may be repeated.
        #[arg(long = "set", value_name = "NAME=VALUE")]
        settings: Vec<String>,
        /// Use the server on the PATH, if there is one.
        #[arg(long)]
        path: bool,
    },
    /// End them and remove their data.
    Stop {
        /// `mysql` or `mariadb`; both when left out.
        flavour: Option<Flavour>,
    },
    /// Show accounts, ports and whether each server runs.
    Status(Which),
}

/// Which servers, and how to print them.
#[derive(Debug, Args)]
pub(crate) struct Which {
    /// `mysql` or `mariadb`.
    flavour: Flavour,
    /// Print JSON instead of a table.
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(command: Command) -> Result<ExitCode> {
    match command {
        Command::Start { which, replicas, settings, path } => {
            let mut options = Options::new(which.flavour, which.flavour.name());
            options.replicas = replicas;
            options.extra_arguments = settings.iter().map(|setting| format!("--{setting}")).collect();
            options.programs = if path { Programs::PathFirst } else { Programs::Fetched };
            let cluster = keep_up(&options)?;
            print(&cluster, which.json)?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Stop { flavour } => {
            for flavour in
                Flavour::ALL.into_iter().filter(|each| flavour.is_none_or(|wanted| wanted == *each))
            {
                let any = Cluster::stop_recorded(flavour.name())?;
                line(format_args!("{flavour:<8} {}", if any { "stopped" } else { "was not running" }))?;
            }
            for name in Cluster::stop_dead_runs()? {
                line(format_args!("{name:<8} cleared, its run had ended"))?;
            }
            Ok(ExitCode::SUCCESS)
        }
        Command::Status(which) => match Cluster::attach(which.flavour.name())? {
            Some(cluster) => {
                print(&cluster, which.json)?;
                Ok(ExitCode::SUCCESS)
            }
            None => {
                line(format_args!(
                    "{}",
                    if which.json { "null".to_owned() } else { format!("{} is not running", which.flavour) }
                ))?;
                Ok(ExitCode::from(3))
            }
        },
    }
}

/// Fetches every server and tool, printing where each program is.
pub(crate) fn fetch() -> Result<ExitCode> {
    for set in Set::SERVERS {
        for version in weir_testkit::fetch(set)?.versions() {
            line(format_args!("{version}"))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn print(cluster: &Cluster, as_json: bool) -> Result<()> {
    if as_json {
        line(format_args!("{:#}", describe(cluster)))?;
        return Ok(());
    }
    line(format_args!("{} {}", cluster.flavour(), cluster.version()))?;
    line(format_args!("  {:<10} {:<16} {:>8}  {:<8} socket", "server", "address", "process", "state"))?;
    for instance in cluster.instances() {
        line(format_args!(
            "  {:<10} {:<16} {:>8}  {:<8} {}",
            instance.name,
            instance.address(),
            instance.process.as_ref().map_or(0, |process| process.pid),
            if instance.is_running() { "running" } else { "ended" },
            instance.socket.display()
        ))?;
    }
    line(format_args!("  {:<12} {:<18} purpose", "account", "password"))?;
    let purposes = ["administration", "the gateway's backend account", "replication"];
    for (account, purpose) in [ADMIN, SERVICE, REPLICATION].iter().zip(purposes) {
        line(format_args!("  {:<12} {:<18} {purpose}", account.user, account.password))?;
    }
    Ok(())
}
