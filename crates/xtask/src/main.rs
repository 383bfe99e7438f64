//! The project's own tool: `cargo xtask <command>`.

mod built;
mod cargo;
mod demo;
mod interrupt;
mod output;
mod servers;
mod test;

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
    /// Start a replicated cluster with Weir in front, show a session through it, and stay up until Ctrl-C.
    Demo(demo::Arguments),
    /// Run everything that must hold: format, lints, unit tests, end-to-end tests, fuzz smoke.
    Test(test::Arguments),
    /// Measure Weir beside a direct connection and HAProxy, in release. Arguments go to the `weir-bench` binary.
    #[command(disable_help_flag = true)]
    Bench {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Run two thousand sessions, or texts that never come again, against Weir in release for minutes, and check every
    /// answer: `soak sessions`, `soak churn`. Arguments go to the `weir-soak` binary.
    #[command(disable_help_flag = true)]
    Soak {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Keep real servers up for work by hand: a primary and replicas on loopback.
    #[command(subcommand)]
    Servers(servers::Command),
    /// Run a fetched command-line program: mysql, mysqldump, mariadb, mariadb-dump, sysbench, haproxy.
    #[command(disable_help_flag = true)]
    Tool {
        /// Its name.
        name: String,
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
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
        Command::Demo(arguments) => demo::run(&arguments),
        Command::Test(arguments) => test::run(&arguments),
        Command::Bench { arguments } => {
            let weir = cargo::build("weir", "weir", true)?;
            let mut bench = cargo::command();
            bench
                .args(["run", "--release", "--package", "weir-bench", "--", "--weir"])
                .arg(weir)
                .args(arguments);
            cargo::exit_code_of(bench)
        }
        Command::Soak { arguments } => {
            let weir = cargo::build("weir", "weir", true)?;
            let mut soak = cargo::command();
            soak.env("WEIR_BINARY", weir)
                .args(["run", "--release", "--package", "weir-soak", "--"])
                .args(arguments);
            cargo::exit_code_of(soak)
        }
        Command::Servers(command) => servers::run(command),
        Command::Tool { name, arguments } => {
            let mut tool = weir_testkit::tool(&name)?;
            tool.args(arguments);
            cargo::exit_code_of(tool)
        }
        Command::Fetch => servers::fetch(),
    }
}
