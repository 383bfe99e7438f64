//! The measuring process's side of a generator.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command as Program, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::job::{Command, Job, Measured, Reply};

/// The subcommand that makes this program a generator.
pub(crate) const SUBCOMMAND: &str = "generate";

/// A running generator. Dropping it ends the process and with it all its connections.
#[derive(Debug)]
pub(crate) struct Generator {
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

impl Generator {
    /// Starts a generator and waits until all its clients are logged in.
    pub(crate) fn start(job: &Job) -> Result<Generator> {
        let program = std::env::current_exe().context("this program has no path")?;
        let mut child = Program::new(program)
            .arg(SUBCOMMAND)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot start the load generator")?;
        let input = child.stdin.take();
        let output = BufReader::new(child.stdout.take().context("no output of the load generator")?);
        let mut generator = Generator { child, input, output };
        generator.tell(job)?;
        match generator.reply()? {
            Reply::Ready => Ok(generator),
            other => bail!("the load generator is not ready: {other:?}"),
        }
    }

    /// Loads a target for a while.
    pub(crate) fn run(&mut self, target: usize, warm_up: Duration, measure: Duration) -> Result<Measured> {
        let [warm_up_ms, measure_ms] =
            [warm_up, measure].map(|time| u64::try_from(time.as_millis()).unwrap_or(u64::MAX));
        self.tell(&Command::Run { target, warm_up_ms, measure_ms })?;
        match self.reply()? {
            Reply::Measured(measured) => Ok(measured),
            other => bail!("the load generator measured nothing: {other:?}"),
        }
    }

    /// Asks something of every idle client.
    pub(crate) fn check(&mut self) -> Result<()> {
        self.tell(&Command::Check)?;
        match self.reply()? {
            Reply::Alive => Ok(()),
            other => bail!("idle clients are not served: {other:?}"),
        }
    }

    fn tell(&mut self, what: &impl serde::Serialize) -> Result<()> {
        let mut line = serde_json::to_vec(what).context("cannot write to the load generator")?;
        line.push(b'\n');
        let input = self.input.as_mut().context("the load generator is not listening")?;
        input.write_all(&line).context("the load generator is gone")?;
        input.flush().context("the load generator is gone")
    }

    fn reply(&mut self) -> Result<Reply> {
        let mut line = String::new();
        if self.output.read_line(&mut line).context("the load generator is gone")? == 0 {
            bail!("the load generator ended early");
        }
        match serde_json::from_str(&line).context("the load generator says what cannot be understood")? {
            Reply::Failed(why) => bail!("{why}"),
            reply => Ok(reply),
        }
    }
}

impl Drop for Generator {
    fn drop(&mut self) {
        // Its input ends: so does it. One that does not is ended; both may find it gone already.
        self.input = None;
        for _ in 0..100 {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        let _gone = self.child.kill().and_then(|()| self.child.wait());
    }
}
