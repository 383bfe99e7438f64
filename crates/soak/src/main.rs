//! `cargo xtask soak`: starts servers and Weir, runs sessions or churn for a while, and tells what it came to.

#![expect(clippy::print_stdout, reason = "a command-line tool writes its results to standard output")]

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};
use clap::{Args, Parser, Subcommand};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use weir_soak::{ChurnOrder, Outcome, SessionsOrder, churn, sessions};
use weir_testkit::{Cluster, Flavour, Options, say};

/// Long runs on real servers that check every answer. The exit status is 0 if every answer was right and every bound
/// was kept.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask soak", bin_name = "cargo xtask soak")]
struct Arguments {
    #[command(subcommand)]
    kind: Kind,
}

#[derive(Debug, Subcommand)]
enum Kind {
    /// Two thousand sessions, each with variables, user variables and prepared statements of its own, over 20 connections
    /// to each server; with KILLs and disconnects.
    Sessions(Common),
    /// A million distinct texts and 10,000 logins in 30 minutes, at the same rates for another time: memory, files,
    /// connections and prepared statements.
    Churn(Common),
}

#[derive(Debug, Args)]
struct Common {
    /// `mysql` or `mariadb`.
    #[arg(long, default_value_t = Flavour::MySql)]
    server: Flavour,
    /// Measured time; 5 for sessions and 30 for churn if nothing is said.
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u64).range(1..=24 * 60))]
    minutes: Option<u64>,
    /// Write the figures to this file.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

fn main() -> ExitCode {
    match run(&Arguments::parse().kind) {
        Ok(code) => code,
        Err(error) => {
            say(format!("error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn run(kind: &Kind) -> Result<ExitCode> {
    let (common, minutes, most_clients) = match kind {
        Kind::Sessions(common) => (common, 5, 100),
        Kind::Churn(common) => (common, 30, 100),
    };
    let time = Duration::from_secs(60 * common.minutes.unwrap_or(minutes));
    if let Some(path) = &common.json {
        // not after half an hour
        fs::write(path, "")
            .with_context(|| format!("cannot write {}: give another --json", path.display()))?;
    }
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        signal_hook::flag::register(signal, Arc::clone(&stop)).context("cannot handle signals")?;
    }
    let mut options = Options::new(common.server, format!("soak-{}", common.server));
    options.replicas = 1;
    options.max_connections = most_clients;
    let cluster = Cluster::start(&options)?;
    say(format!("{} {}, {} minutes", common.server, cluster.version(), time.as_secs() / 60));
    let outcome = match kind {
        Kind::Sessions(_) => sessions(&cluster, &SessionsOrder::full(time), &stop)?,
        Kind::Churn(_) => churn(&cluster, &ChurnOrder::full(time), &stop)?,
    };
    let text = serde_json::to_string_pretty(&outcome.figures).context("cannot write JSON")?;
    println!("{text}");
    if let Some(path) = &common.json {
        fs::write(path, text + "\n").with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(verdict(&outcome, stop.load(Ordering::Relaxed)))
}

fn verdict(outcome: &Outcome, interrupted: bool) -> ExitCode {
    for missed in &outcome.missed {
        println!("MISSED: {missed}");
    }
    if interrupted {
        println!("interrupted: the figures are of a part of the time");
        return ExitCode::FAILURE;
    }
    if !outcome.missed.is_empty() {
        return ExitCode::FAILURE;
    }
    println!("every answer was right, and every bound was kept");
    ExitCode::SUCCESS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_a_kind_and_how_long() {
        let parse = |line: &str| Arguments::try_parse_from(line.split_whitespace());
        let Kind::Churn(common) = parse("soak churn --server mariadb --minutes 1 --json x").unwrap().kind
        else {
            panic!("churn is churn");
        };
        assert_eq!((common.server, common.minutes), (Flavour::MariaDb, Some(1)));
        for line in ["soak", "soak sessions --minutes 0", "soak churn --server oracle", "soak nothing"] {
            assert!(parse(line).is_err(), "{line}");
        }
    }

    #[test]
    fn whoever_missed_a_bound_fails() {
        let missed = Outcome { missed: vec!["x".to_owned()], ..Outcome::default() };
        assert_eq!(format!("{:?}", verdict(&missed, false)), format!("{:?}", ExitCode::FAILURE));
        assert_eq!(format!("{:?}", verdict(&Outcome::default(), true)), format!("{:?}", ExitCode::FAILURE));
        assert_eq!(format!("{:?}", verdict(&Outcome::default(), false)), format!("{:?}", ExitCode::SUCCESS));
    }
}
