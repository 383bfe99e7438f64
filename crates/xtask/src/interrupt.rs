//! Ctrl-C and TERM end what was started, in order, instead of leaving servers behind.

use std::process::{Child, ExitStatus};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use weir_testkit::ProcessId;

/// A child that was interrupted with us has this long to end by itself before it is told to.
const PATIENCE: Duration = Duration::from_secs(15);

/// Remembers that a person or the system asked this program to end.
#[derive(Clone, Debug)]
pub(crate) struct Interrupt {
    asked: Arc<AtomicBool>,
}

impl Interrupt {
    /// From here on the signals are noted instead of ending this program.
    pub(crate) fn catch() -> Result<Interrupt> {
        let asked = Arc::new(AtomicBool::new(false));
        for signal in [SIGINT, SIGTERM, SIGHUP] {
            signal_hook::flag::register(signal, Arc::clone(&asked)).context("cannot handle signals")?;
        }
        Ok(Interrupt { asked })
    }

    pub(crate) fn was_asked(&self) -> bool {
        self.asked.load(Ordering::Relaxed)
    }

    /// Between two steps: an error if there is no point in going on.
    pub(crate) fn check(&self) -> Result<()> {
        if self.was_asked() {
            bail!("interrupted");
        }
        Ok(())
    }

    /// Waits for a child. After an interrupt, which a terminal sends to the child as well, it is told to end
    /// (SIGTERM); one that does not is killed after a deadline.
    pub(crate) fn wait(&self, child: &mut Child) -> Result<ExitStatus> {
        loop {
            if let Some(status) = child.try_wait().context("cannot wait for a child")? {
                return Ok(status);
            }
            if self.was_asked() {
                return end(child);
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

fn end(child: &mut Child) -> Result<ExitStatus> {
    let grace = Instant::now() + Duration::from_secs(1);
    while Instant::now() < grace {
        if let Some(status) = child.try_wait().context("cannot wait for a child")? {
            return Ok(status);
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    if let Ok(process) = ProcessId::of(child.id()) {
        process.stop(PATIENCE, Some(child))?;
    }
    child.wait().context("cannot wait for a child")
}
