//! Processes named so that a reused process id is never mistaken for one of ours.

use std::fs;
use std::process::Child;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};
use serde::{Deserialize, Serialize};

/// How long a process may take to die after SIGKILL.
const KILL_DEADLINE: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(20);

/// A process: its id, and when it started in which boot of the machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessId {
    /// The number that `kill` takes.
    pub pid: u32,
    /// Clock ticks from boot to its start: field 22 of `/proc/<pid>/stat` (proc(5)).
    started: u64,
    boot: String,
}

impl ProcessId {
    /// The running process of that number.
    pub fn of(pid: u32) -> Result<ProcessId> {
        let Some(started) = start_time(pid) else { bail!("no process {pid} is running") };
        Ok(ProcessId { pid, started, boot: boot()? })
    }

    /// This process.
    pub fn own() -> Result<ProcessId> {
        ProcessId::of(std::process::id())
    }

    /// Whether this very process still runs; one that ended but was not yet waited for does not.
    pub fn is_alive(&self) -> bool {
        start_time(self.pid) == Some(self.started) && boot().is_ok_and(|boot| boot == self.boot)
    }

    /// Sends a signal if this very process still runs.
    fn signal(&self, signal: Signal) -> Result<()> {
        if !self.is_alive() {
            return Ok(());
        }
        let raw = i32::try_from(self.pid).ok().and_then(Pid::from_raw).context("not a process id")?;
        match kill_process(raw, signal) {
            Err(error) if error != rustix::io::Errno::SRCH => {
                Err(error).with_context(|| format!("cannot signal process {}", self.pid))
            }
            _ => Ok(()),
        }
    }

    /// Asks it to end (SIGTERM) and does not wait.
    pub fn ask_to_end(&self) -> Result<()> {
        self.signal(Signal::TERM)
    }

    /// Makes it stand still (SIGSTOP).
    pub fn pause(&self) -> Result<()> {
        self.signal(Signal::STOP)
    }

    /// Lets it go on (SIGCONT).
    pub fn resume(&self) -> Result<()> {
        self.signal(Signal::CONT)
    }

    /// Asks it to end, and makes it end after `patience`. `child` is its handle if it is our own child,
    /// which must be waited for to be gone.
    pub fn stop(&self, patience: Duration, child: Option<&mut Child>) -> Result<()> {
        let mut child = child;
        self.signal(Signal::TERM)?;
        if self.gone_within(patience, child.as_deref_mut())? {
            return Ok(());
        }
        self.kill(child)
    }

    /// Ends it at once, as a crash would.
    pub fn kill(&self, child: Option<&mut Child>) -> Result<()> {
        self.signal(Signal::KILL)?;
        if !self.gone_within(KILL_DEADLINE, child)? {
            bail!("process {} is still there {} s after SIGKILL", self.pid, KILL_DEADLINE.as_secs());
        }
        Ok(())
    }

    fn gone_within(&self, patience: Duration, mut child: Option<&mut Child>) -> Result<bool> {
        let deadline = Instant::now() + patience;
        loop {
            if let Some(child) = child.as_deref_mut() {
                child.try_wait().with_context(|| format!("cannot wait for process {}", self.pid))?;
            }
            if !self.is_alive() {
                return Ok(true);
            }
            if Instant::now() >= deadline {
                return Ok(false);
            }
            std::thread::sleep(POLL);
        }
    }
}

/// When a running process started; nothing for one that does not exist or has ended.
fn start_time(pid: u32) -> Option<u64> {
    start_time_in(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// The name in parentheses may itself hold blanks and parentheses, so fields count from the last one.
fn start_time_in(stat: &str) -> Option<u64> {
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_whitespace();
    let state = fields.next()?;
    if state == "Z" || state == "X" {
        return None;
    }
    fields.nth(18)?.parse().ok()
}

fn boot() -> Result<String> {
    let id = fs::read_to_string("/proc/sys/kernel/random/boot_id").context("cannot read the boot's id")?;
    Ok(id.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    fn sleeper() -> Child {
        Command::new("sleep").arg("60").spawn().unwrap()
    }

    #[test]
    fn reads_the_start_time_after_a_name_with_parentheses() {
        let rest = "S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 4711 20";
        for (stat, expected) in [
            (format!("42 (mysqld) {rest}"), Some(4711)),
            (format!("42 (a) b (c)) {rest}"), Some(4711)),
            (format!("42 (mysqld) {}", rest.replacen('S', "Z", 1)), None),
            ("42 (mysqld) S 1 2".to_owned(), None),
            (String::new(), None),
        ] {
            assert_eq!(start_time_in(&stat), expected, "{stat}");
        }
    }

    #[test]
    fn leaves_alone_a_process_that_reuses_a_recorded_number() {
        let mut child = sleeper();
        let real = ProcessId::of(child.id()).unwrap();
        let earlier = ProcessId { started: real.started - 1, ..real.clone() };
        let other_boot = ProcessId { boot: "another".to_owned(), ..real };
        for stale in [earlier, other_boot] {
            assert!(!stale.is_alive());
            stale.stop(Duration::ZERO, None).unwrap();
            assert_eq!(child.try_wait().unwrap(), None, "the newer process lives on");
        }
        real.kill(Some(&mut child)).unwrap();
        assert!(!real.is_alive());
    }

    #[test]
    fn ends_a_process_that_ignores_the_polite_signal() {
        let mut child = Command::new("sh")
            .args(["-c", "trap '' TERM; echo on; while :; do sleep 0.1; done"])
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let mut ready = [0; 2];
        std::io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut ready).unwrap();
        let process = ProcessId::of(child.id()).unwrap();
        let begun = Instant::now();
        process.stop(Duration::from_millis(200), Some(&mut child)).unwrap();
        assert!(!process.is_alive() && begun.elapsed() >= Duration::from_millis(200));
    }
}
