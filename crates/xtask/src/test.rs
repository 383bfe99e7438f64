//! `cargo xtask test`: every check in order, one result at the end.

use std::fmt::Write as _;
use std::io::{BufRead, BufReader};
use std::process::{Command, ExitCode, Stdio};
use std::time::Instant;

use anyhow::{Context, Result};
use clap::{Args, ValueEnum};
use weir_testkit::{Cluster, Flavour, Options, SHARED_SERVERS, home, say, workspace, write_shared};

use crate::built::{Built, TestProgram};
use crate::cargo;
use crate::interrupt::Interrupt;
use crate::output::line;

/// Which checks.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Run only this step; may be repeated.
    #[arg(long)]
    only: Vec<Step>,
    /// What follows goes to the test binaries, such as `-- --nocapture name_of_a_test`.
    #[arg(last = true)]
    passed_on: Vec<String>,
}

/// The steps in the order in which they run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Step {
    /// `cargo fmt --check`
    Format,
    /// clippy on everything, warnings refused
    Lints,
    /// unit tests of every crate
    Unit,
    /// end-to-end tests and driver suites on both servers
    E2e,
    /// a short run of every fuzz target
    Fuzz,
}

impl Step {
    fn heading(self) -> &'static str {
        match self {
            Step::Format => "format",
            Step::Lints => "lints",
            Step::Unit => "unit tests",
            Step::E2e => "end-to-end tests on MySQL and MariaDB",
            Step::Fuzz => "fuzz smoke",
        }
    }
}

/// What a step came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Counts {
    passed: u64,
    failed: u64,
}

impl Counts {
    fn add(&mut self, other: Counts) {
        self.passed = self.passed.saturating_add(other.passed);
        self.failed = self.failed.saturating_add(other.failed);
    }
}

/// The package with the end-to-end tests.
const END_TO_END: &str = "weir-e2e";
/// Inputs for each run of the fuzz smoke test.
const FUZZ_ITERATIONS: &str = "2000000";

pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode> {
    let interrupt = Interrupt::catch()?;
    let begun = Instant::now();
    let mut built = None;
    let mut total = Counts::default();
    let mut summary = String::new();
    let mut broken = None;
    for step in Step::value_variants() {
        if !(arguments.only.is_empty() || arguments.only.contains(step)) {
            continue;
        }
        line(format_args!("\n=== {} ===", step.heading()))?;
        let started = Instant::now();
        let outcome = perform(*step, arguments, &mut built, &interrupt);
        let elapsed = started.elapsed().as_secs_f32();
        let (counts, ok) = outcome.unwrap_or_else(|error| {
            say(format!("error: {error:#}"));
            (Counts::default(), false)
        });
        // A step may fail with no test to blame: unformatted code, a build that breaks.
        let failed = if ok { counts.failed } else { counts.failed.max(1) };
        total.add(Counts { failed, ..counts });
        let word = if ok { "ok" } else { "FAILED" };
        // Writing into a String cannot fail.
        let _infallible = writeln!(
            summary,
            "{:<40} {word:<7} {:>5} passed {:>4} failed {elapsed:>7.1} s",
            step.heading(),
            counts.passed,
            counts.failed
        );
        if !ok {
            broken = Some(step.heading());
            break;
        }
    }
    line(format_args!("\n{summary}"))?;
    let seconds = begun.elapsed().as_secs_f32();
    line(match broken {
        Some(heading) => format!("stopped after {seconds:.0} s at: {heading}"),
        None => format!("everything passed after {seconds:.0} s"),
    })?;
    line(format_args!("{} passed, {} failed", total.passed, total.failed))?;
    Ok(if broken.is_none() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn perform(
    step: Step,
    arguments: &Arguments,
    built: &mut Option<Built>,
    interrupt: &Interrupt,
) -> Result<(Counts, bool)> {
    interrupt.check()?;
    if matches!(step, Step::Format | Step::Lints) {
        let mut check = cargo::command();
        match step {
            Step::Format => check.args(["fmt", "--all", "--check"]),
            _ => check.args(["clippy", "--quiet", "--workspace", "--all-targets", "--", "-D", "warnings"]),
        };
        return counted(check, interrupt);
    }
    let built = match built {
        Some(built) => built,
        None => built.insert(Built::everything(interrupt)?),
    };
    match step {
        Step::E2e => end_to_end(built, arguments, interrupt),
        Step::Fuzz => fuzz(built, arguments, interrupt),
        _ => unit(built, arguments, interrupt),
    }
}

/// Tests of the crates, and the examples in their documentation.
fn unit(built: &Built, arguments: &Arguments, interrupt: &Interrupt) -> Result<(Counts, bool)> {
    let programs = built.programs(|program| program.package != END_TO_END);
    let (mut counts, passed) = run_all(&programs, arguments, |_| {}, interrupt)?;
    let mut examples = cargo::command();
    examples
        .args(["test", "--quiet", "--workspace", "--doc", "--no-fail-fast", "--"])
        .args(&arguments.passed_on);
    let (examples, ok) = counted(examples, interrupt)?;
    counts.add(examples);
    Ok((counts, passed && ok))
}

/// Starts both clusters once for all test binaries, and ends them whatever the tests came to.
fn end_to_end(built: &Built, arguments: &Arguments, interrupt: &Interrupt) -> Result<(Counts, bool)> {
    let mut clusters = Vec::new();
    for flavour in Flavour::ALL {
        clusters.push(Cluster::start(&Options::new(flavour, format!("test-{flavour}")))?);
        interrupt.check()?;
    }
    let coordinates = home().join("run/test-servers.json");
    write_shared(&coordinates, &clusters)?;
    let prepare = |command: &mut Command| {
        command.env(SHARED_SERVERS, &coordinates).env("WEIR_BINARY", &built.weir);
    };
    let programs = built.programs(|program| program.package == END_TO_END);
    let outcome = run_all(&programs, arguments, prepare, interrupt);
    for cluster in clusters {
        cluster.stop()?;
    }
    outcome
}

/// Builds the targets for a fuzzer, which live in a workspace of their own, and runs each of them on inputs altered at
/// random, more of them than the unit tests.
fn fuzz(built: &Built, arguments: &Arguments, interrupt: &Interrupt) -> Result<(Counts, bool)> {
    let mut targets = cargo::command();
    targets
        .args(["check", "--quiet", "--all-targets", "--manifest-path"])
        .arg(workspace().join("fuzz/Cargo.toml"));
    let (_, checked) = counted(targets, interrupt)?;
    if !checked {
        return Ok((Counts::default(), false));
    }
    let programs = built.programs(|program| program.name == "fuzz_smoke");
    let prepare = |command: &mut Command| {
        command.env("FUZZ_ITERATIONS", FUZZ_ITERATIONS);
    };
    let (counts, ok) = run_all(&programs, arguments, prepare, interrupt)?;
    // with other arguments the tests that they name may be others
    let ran = counts.passed > 0 || !arguments.passed_on.is_empty();
    Ok((counts, ok && ran))
}

/// Runs test programs one after the other, whatever each comes to.
fn run_all(
    programs: &[&TestProgram],
    arguments: &Arguments,
    prepare: impl Fn(&mut Command),
    interrupt: &Interrupt,
) -> Result<(Counts, bool)> {
    let (mut total, mut passed) = (Counts::default(), true);
    for program in programs {
        interrupt.check()?;
        line(format_args!("\n{} {}", program.package, program.name))?;
        let mut command = program.command();
        command.args(&arguments.passed_on);
        prepare(&mut command);
        let (counts, ok) = counted(command, interrupt)?;
        if !ok {
            line(format_args!("{} {} FAILED", program.package, program.name))?;
        }
        total.add(counts);
        passed &= ok;
    }
    Ok((total, passed))
}

/// Runs a command, shows what it writes and adds up the results of its test binaries.
fn counted(mut command: Command, interrupt: &Interrupt) -> Result<(Counts, bool)> {
    let program = command.get_program().to_owned();
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot run {}", program.display()))?;
    let output = child.stdout.take().context("no output from a child")?;
    let reader = std::thread::spawn(move || -> Result<Counts> {
        let mut counts = Counts::default();
        for bytes in BufReader::new(output).split(b'\n') {
            let bytes = bytes.context("cannot read a child's output")?;
            let text = String::from_utf8_lossy(&bytes);
            line(&text)?;
            if let Some(found) = result_in(&text) {
                counts.add(found);
            }
        }
        Ok(counts)
    });
    let status = interrupt.wait(&mut child)?;
    let counts = reader.join().map_err(|_| anyhow::anyhow!("the reader of a child's output ended early"))?;
    Ok((counts?, status.success() && !interrupt.was_asked()))
}

/// Reads `test result: ok. 19 passed; 0 failed; …`.
fn result_in(line: &str) -> Option<Counts> {
    let rest = line.strip_prefix("test result: ")?;
    let number_before =
        |word: &str| -> Option<u64> { rest.split(word).next()?.rsplit([' ', ';']).next()?.parse().ok() };
    Some(Counts { passed: number_before(" passed")?, failed: number_before(" failed")? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_counts_of_a_test_binary() {
        let rows = [
            (
                "test result: ok. 19 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.21s",
                Some((19, 0)),
            ),
            (
                "test result: FAILED. 3 passed; 12 failed; 1 ignored; 0 measured; 0 filtered out; finished in 1.0s",
                Some((3, 12)),
            ),
            ("test result_is_kept ... ok", None),
            ("test result: ok", None),
            ("", None),
        ];
        for (line, expected) in rows {
            assert_eq!(result_in(line), expected.map(|(passed, failed)| Counts { passed, failed }), "{line}");
        }
    }
}
