//! The command line.

pub(crate) mod check;
pub(crate) mod passwd;
pub(crate) mod render;
pub(crate) mod serve;

use std::{path::PathBuf, process::ExitCode};

use anyhow::Result;
use clap::{Args, Parser, Subcommand};

use crate::demo;

/// A gateway between applications and MySQL.
#[derive(Debug, Parser)]
#[command(name = "weir", version, max_term_width = 100)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve clients, until a signal ends it: TERM lets sessions finish, INT does not, HUP reads the configuration again.
    Serve(serve::ServeArguments),
    /// Check the configuration: print everything that is wrong with it, with its line and a remedy.
    Check(check::CheckArguments),
    /// Show Weir at work in front of real servers.
    Demo(demo::Arguments),
    /// Turn a password into verifiers for a namespace file.
    Passwd(passwd::PasswdArguments),
}

/// Where the settings are.
#[derive(Debug, Args)]
pub(crate) struct ConfigFile {
    /// The file of settings.
    #[arg(long, value_name = "FILE", default_value = "/etc/weir/weir.toml")]
    pub config: PathBuf,
}

/// Does what the command line says.
///
/// # Errors
/// What keeps the process from going on; problems of a configuration are printed, and are no errors here.
pub(crate) fn run(arguments: Arguments) -> Result<ExitCode> {
    match arguments.command {
        Command::Serve(arguments) => serve::run(&arguments),
        Command::Check(arguments) => check::run(&arguments),
        Command::Demo(arguments) => demo::run(&arguments),
        Command::Passwd(arguments) => passwd::run(&arguments),
    }
}
