//! Measures Weir beside a direct connection and HAProxy in TCP mode: `cargo xtask bench`.

#![expect(clippy::print_stdout, reason = "a command-line tool writes its results to standard output")]

mod arguments;
mod data;
mod dirt;
mod generator;
mod haproxy;
mod idle;
mod json;
mod measure;
mod process_stat;
mod program;
mod random;
mod report;
mod rig;
mod targets;
mod weir;
mod workload;

use std::fs;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Parser;
use weir_testkit::say;

use crate::arguments::{Arguments, Plan};
use crate::idle::{IdleRow, measure_idle};
use crate::measure::{Routing, Row, measure_cell};
use crate::report::Versions;
use crate::rig::{Proxies, Rig};
use crate::weir::WeirTls;

fn main() -> ExitCode {
    let is_generator = std::env::args().nth(1).is_some_and(|first| first == generator::SUBCOMMAND);
    let outcome = if is_generator {
        generator::serve(std::io::stdin().lock(), std::io::stdout().lock()).map(|()| ExitCode::SUCCESS)
    } else {
        run(&Plan::of(Arguments::parse()))
    };
    outcome.unwrap_or_else(|error| {
        say(format!("error: {error:#}"));
        ExitCode::FAILURE
    })
}

/// Measures everything that is planned. The exit status tells whether every statement was answered rightly, not
/// whether targets were met: that depends on what else the machine does.
fn run(plan: &Plan) -> Result<ExitCode> {
    let rig = Rig::start(plan)?;
    let versions = Versions {
        server: rig.cluster.version().to_owned(),
        haproxy: haproxy::version()?,
        weir: weir::version(&plan.weir)?,
    };
    println!("\n{}", report::preface(plan, &versions));
    let rows = measure_load(&rig, plan)?;
    let idle = measure_all_idle(&rig, plan)?;
    let judged = targets::targets(&rows, &idle);
    if !judged.is_empty() {
        println!("\n{}", judged.join("\n"));
    }
    if let Some(path) = &plan.json {
        let text = json::figures(&rows, &idle).context("cannot write JSON")?;
        fs::write(path, text + "\n").with_context(|| format!("cannot write {}", path.display()))?;
    }
    let errors: u64 = rows.iter().map(|row| row.errors).sum();
    if errors > 0 {
        println!("\n{errors} statements went wrong");
        return Ok(ExitCode::FAILURE);
    }
    Ok(ExitCode::SUCCESS)
}

fn measure_load(rig: &Rig, plan: &Plan) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    if plan.cells.is_empty() {
        return Ok(rows);
    }
    let proxies = Proxies::start(rig, plan)?;
    let mut routing = Routing::default();
    println!("{}", report::heading());
    for (workload, clients) in &plan.cells {
        let before = Routing::of(rig)?;
        let cell = measure_cell(rig, &proxies, plan, *workload, *clients).map_err(|error| {
            // Whoever interrupts knows why.
            if rig.check().is_err() {
                return error;
            }
            let cell = format!("{} at {clients} clients; Weir says:\n{}", workload.name(), proxies.log());
            error.context(cell)
        })?;
        if workload.is_read() {
            routing.add(before, Routing::of(rig)?);
        }
        println!("{}", report::lines(&cell).join("\n"));
        rows.extend(cell);
    }
    if let Some(share) = routing.share_of_primary() {
        println!("SELECTs of the read workloads that reached the primary: {:.2} %", share * 100.0);
    }
    Ok(rows)
}

fn measure_all_idle(rig: &Rig, plan: &Plan) -> Result<Vec<IdleRow>> {
    let Some(idle) = plan.idle else { return Ok(Vec::new()) };
    println!();
    let mut rows = Vec::new();
    for tls in [WeirTls::Off, WeirTls::Required] {
        for row in measure_idle(rig, plan, idle, tls)? {
            println!("{}", report::idle_line(&row));
            rows.push(row);
        }
    }
    Ok(rows)
}
