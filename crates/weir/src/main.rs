//! The binary: command line, settings, wiring, telemetry; no logic.

mod assemble;
mod cli;
mod demo;
mod http;
mod keys;
mod metrics;
mod namespaces;
mod one_server;
mod serve;
mod settings;
mod status;
mod telemetry;

use std::{io::Write, process::ExitCode};

use clap::Parser;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    match cli::run(cli::Arguments::parse()) {
        Ok(code) => code,
        Err(error) => {
            // nowhere else to say it
            let _written = writeln!(std::io::stderr(), "weir: {error:#}").is_ok();
            ExitCode::FAILURE
        }
    }
}
