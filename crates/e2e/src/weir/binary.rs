//! The program under test.

use std::env;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Result, bail};
use serde_json::Value;
use weir_testkit::workspace;

/// Names the program, where whoever runs the tests has built it.
const BINARY: &str = "WEIR_BINARY";

/// The program: the one that the environment names, else it is built here, once.
pub(super) fn find() -> Result<PathBuf> {
    static FOUND: Mutex<Option<PathBuf>> = Mutex::new(None);
    let mut found = FOUND.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(path) = &*found {
        return Ok(path.clone());
    }
    let path = match env::var_os(BINARY) {
        Some(path) => PathBuf::from(path),
        None => build()?,
    };
    *found = Some(path.clone());
    Ok(path)
}

fn build() -> Result<PathBuf> {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut child = Command::new(cargo)
        .current_dir(workspace())
        .args(["build", "--package", "weir", "--bin", "weir", "--message-format", "json-render-diagnostics"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot run cargo")?;
    let output = child.stdout.take().context("no output from cargo")?;
    let mut executable = None;
    for line in BufReader::new(output).lines() {
        let message: Value =
            serde_json::from_str(&line.context("cannot read cargo's output")?).unwrap_or_default();
        if message.pointer("/target/name").and_then(Value::as_str) == Some("weir") {
            let path = message.get("executable").and_then(Value::as_str).map(PathBuf::from);
            executable = path.or(executable);
        }
    }
    if !child.wait().context("cannot wait for cargo")?.success() {
        bail!("weir does not build");
    }
    executable.context("cargo built no program called weir")
}
