//! The project's own tool: `cargo xtask <command>`.

#![expect(clippy::print_stdout, reason = "a command-line tool writes its results to standard output")]

mod servers;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

/// What the project needs done around its code: servers, tests, measurements.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Keep real servers up for work by hand: a primary and replicas on loopback.
    #[command(subcommand)]
    Servers(servers::Command),
    /// Fetch the servers and tools that tests and measurements need.
    Fetch,
}

fn main() -> ExitCode {
    match run(Arguments::parse().command) {
        Ok(code) => code,
        Err(error) => {
            weir_testkit::say(format!("error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> Result<ExitCode> {
    match command {
        Command::Servers(command) => servers::run(command),
        Command::Fetch => servers::fetch(),
    }
}
