//! Running cargo and other programs from here.

use std::ffi::OsString;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Command, ExitCode, ExitStatus, Stdio};

use anyhow::{Context, Result, bail};
use serde_json::Value;

/// The cargo that runs this program, in the workspace's root.
pub(crate) fn command() -> Command {
    let program = std::env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo"));
    let mut command = Command::new(program);
    command.current_dir(weir_testkit::workspace());
    // What `cargo run` told this program about itself is wrong for another package.
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("CARGO_PKG_"))
    {
        command.env_remove(name);
    }
    command.env_remove("CARGO_MANIFEST_DIR").env_remove("CARGO_MANIFEST_PATH");
    command
}

/// Builds a package's binary and gives its path.
pub(crate) fn build(package: &str, binary: &str, release: bool) -> Result<PathBuf> {
    let mut build = command();
    build.args([
        "build",
        "--package",
        package,
        "--bin",
        binary,
        "--message-format",
        "json-render-diagnostics",
    ]);
    if release {
        build.arg("--release");
    }
    let mut child = build.stdout(Stdio::piped()).spawn().context("cannot run cargo")?;
    let output = child.stdout.take().context("no output from cargo")?;
    let mut executable = None;
    for line in BufReader::new(output).lines() {
        let message: Value =
            serde_json::from_str(&line.context("cannot read cargo's output")?).unwrap_or_default();
        let named = message.pointer("/target/name").and_then(Value::as_str) == Some(binary);
        if let (true, Some(path)) = (named, message.get("executable").and_then(Value::as_str)) {
            executable = Some(PathBuf::from(path));
        }
    }
    if !child.wait().context("cannot wait for cargo")?.success() {
        bail!("{package} does not build");
    }
    executable.with_context(|| format!("cargo built no program called {binary}"))
}

/// Runs a command to its end and passes its exit status on.
pub(crate) fn exit_code_of(mut command: Command) -> Result<ExitCode> {
    let status =
        command.status().with_context(|| format!("cannot run {}", command.get_program().display()))?;
    Ok(exit_code(status))
}

/// A status as a shell tells it: a signal is 128 and its number.
pub(crate) fn exit_code(status: ExitStatus) -> ExitCode {
    use std::os::unix::process::ExitStatusExt;
    let code = status.code().or_else(|| status.signal().map(|signal| signal.saturating_add(128)));
    ExitCode::from(code.and_then(|code| u8::try_from(code).ok()).unwrap_or(1))
}
