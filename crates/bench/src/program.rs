//! A proxy's process: started, awaited, and ended with this value.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use weir_testkit::{ProcessId, say};

const START_DEADLINE: Duration = Duration::from_secs(30);
const STOP_DEADLINE: Duration = Duration::from_secs(10);

/// A running proxy.
#[derive(Debug)]
pub(crate) struct Program {
    name: &'static str,
    child: Child,
    process: ProcessId,
    log: PathBuf,
}

impl Program {
    /// Starts it, its output going to a file, and waits until it listens on `port`.
    pub(crate) fn start(
        name: &'static str,
        mut command: Command,
        folder: &Path,
        port: u16,
    ) -> Result<Program> {
        let log = folder.join(format!("{name}.log"));
        let output = fs::File::create(&log).with_context(|| format!("cannot write {}", log.display()))?;
        let copy = output.try_clone().context("cannot write a log")?;
        let child = command
            .stdin(Stdio::null())
            .stdout(output)
            .stderr(copy)
            .spawn()
            .with_context(|| format!("cannot start {name}"))?;
        let process = ProcessId::of(child.id())?;
        let mut program = Program { name, child, process, log };
        program.wait_for(port)?;
        Ok(program)
    }

    /// Its process id.
    pub(crate) fn pid(&self) -> u32 {
        self.process.pid
    }

    fn wait_for(&mut self, port: u16) -> Result<()> {
        let deadline = Instant::now() + START_DEADLINE;
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            if let Some(status) = self.child.try_wait().context("cannot wait for a process")? {
                bail!("{} ended at once, {status}; it says:\n{}", self.name, self.log_tail());
            }
            if Instant::now() >= deadline {
                bail!("{} does not listen; it says:\n{}", self.name, self.log_tail());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    /// The end of what it wrote.
    pub(crate) fn log_tail(&self) -> String {
        let text = fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines.iter().skip(lines.len().saturating_sub(15)).copied().collect::<Vec<_>>().join("\n")
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        if let Err(error) = self.process.stop(STOP_DEADLINE, Some(&mut self.child)) {
            say(format!("cannot end {}: {error:#}", self.name));
        }
    }
}

/// A port that nobody listens on.
pub(crate) fn free_port() -> Result<u16> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).context("no port is free")?;
    Ok(listener.local_addr().context("no port is free")?.port())
}
