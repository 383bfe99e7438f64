//! What Weir and the servers hold, looked at while clients are at work.

use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use weir_testkit::Flavour;
use weir_testkit::sql::Client;

use crate::stage::Stage;

/// How long everything may take to come to rest before the clients begin.
const REST_PATIENCE: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(250);

/// What is held at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Holding {
    /// Resident memory of Weir's process.
    pub(crate) rss_bytes: u64,
    /// Open files of Weir's process.
    pub(crate) files: u64,
    /// `Threads_connected`, all servers together.
    pub(crate) threads: u64,
    /// `Prepared_stmt_count`, all servers together.
    pub(crate) prepared: u64,
    /// Connections of Weir's account, of the server that has most.
    pub(crate) connections: u64,
    /// `Com_set_option`, all servers together.
    pub(crate) sets: u64,
}

/// Keeps a connection to each server, so that looking changes nothing.
#[derive(Debug)]
pub(crate) struct Watch {
    servers: Vec<Client>,
    count_connections: String,
    pid: u32,
}

impl Watch {
    pub(crate) fn new(stage: &Stage<'_>) -> Result<Watch> {
        let count = stage.cluster.instances().len();
        let servers = (0..count).map(|index| stage.cluster.client(index)).collect::<Result<_>>()?;
        let account = stage.account();
        let count_connections = match stage.cluster.flavour() {
            Flavour::MySql => {
                format!(
                    "SELECT COUNT(*) FROM performance_schema.threads WHERE PROCESSLIST_USER = '{account}'"
                )
            }
            Flavour::MariaDb => {
                format!("SELECT COUNT(*) FROM information_schema.processlist WHERE user = '{account}'")
            }
        };
        Ok(Watch { servers, count_connections, pid: stage.weir.pid() })
    }

    pub(crate) fn look(&mut self) -> Result<Holding> {
        let pid = self.pid;
        let files = fs::read_dir(format!("/proc/{pid}/fd")).context("weir is gone: look at its log")?.count();
        let mut holding =
            Holding { rss_bytes: resident_bytes(pid)?, files: files as u64, ..Holding::default() };
        for server in &mut self.servers {
            holding.threads += status(server, "Threads_connected")?;
            holding.prepared += status(server, "Prepared_stmt_count")?;
            holding.sets += status(server, "Com_set_option")?;
            holding.connections = holding.connections.max(server.value(&self.count_connections)?.parse()?);
        }
        Ok(holding)
    }

    /// What is held once nothing changes any more.
    pub(crate) fn at_rest(&mut self) -> Result<Holding> {
        let deadline = Instant::now() + REST_PATIENCE;
        let mut before = Holding::default();
        loop {
            let now = self.look()?;
            let same = |of: fn(&Holding) -> u64| of(&before) == of(&now);
            if same(|h| h.files) && same(|h| h.threads) && same(|h| h.prepared) {
                return Ok(now);
            }
            ensure!(Instant::now() < deadline, "nothing comes to rest: {before:?}, then {now:?}");
            before = now;
            std::thread::sleep(POLL);
        }
    }

    /// Waits until nothing is held beyond what was held at `start`, and gives what is held then, or after `patience`.
    pub(crate) fn back_at(&mut self, start: &Holding, patience: Duration) -> Result<Holding> {
        let deadline = Instant::now() + patience;
        loop {
            let now = self.look()?;
            let is_back =
                now.files <= start.files && now.threads <= start.threads && now.prepared <= start.prepared;
            if is_back || Instant::now() >= deadline {
                return Ok(now);
            }
            std::thread::sleep(POLL);
        }
    }
}

fn status(server: &mut Client, name: &str) -> Result<u64> {
    let rows = server.rows(&format!("SHOW GLOBAL STATUS LIKE '{name}'"))?;
    let value = rows.into_iter().flatten().flatten().nth(1);
    value.with_context(|| format!("the server has no {name}"))?.parse().context("a count that is no number")
}

/// `VmRSS` of `/proc/<pid>/status`.
fn resident_bytes(pid: u32) -> Result<u64> {
    let status =
        fs::read_to_string(format!("/proc/{pid}/status")).context("weir is gone: look at its log")?;
    resident_in(&status).context("/proc tells no VmRSS")
}

fn resident_in(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: u64 = line.trim().strip_suffix(" kB")?.trim().parse().ok()?;
    Some(kibibytes << 10)
}

/// How memory grows over the last third of `samples` (seconds, bytes): percent in ten minutes, by least squares.
pub(crate) fn slope_percent(samples: &[(f64, u64)]) -> f64 {
    const TEN_MINUTES: f64 = 600.0;
    let last = samples.get(samples.len() * 2 / 3..).unwrap_or_default();
    let n = last.len() as f64;
    let (time, bytes) =
        last.iter().fold((0.0, 0.0), |(time, bytes), (t, b)| (time + t / n, bytes + *b as f64 / n));
    let (mut above, mut below) = (0.0, 0.0);
    for (t, b) in last {
        above += (t - time) * (*b as f64 - bytes);
        below += (t - time) * (t - time);
    }
    if below <= 0.0 || bytes <= 0.0 { 0.0 } else { above / below * TEN_MINUTES / bytes * 100.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_resident_memory_in_bytes() {
        assert_eq!(resident_in("Name:\tx\nVmRSS:\t    1024 kB\nRssAnon: 1 kB\n"), Some(1 << 20));
        assert_eq!(resident_in("Name:\tx\n"), None);
        assert!(resident_bytes(std::process::id()).unwrap() > 1 << 18);
    }

    #[test]
    fn the_slope_is_that_of_the_last_third() {
        let grows = (0..90_u32).map(|i| (f64::from(i) * 10.0, 1_000_000 + 1000 * u64::from(i)));
        let flat_at_last: Vec<_> =
            grows.clone().map(|(t, b)| (t, if t < 600.0 { b } else { 2_000_000 })).collect();
        assert_eq!(slope_percent(&flat_at_last), 0.0);
        // 1000 bytes in 10 s are 60,000 in ten minutes
        let slope = slope_percent(&grows.collect::<Vec<_>>());
        assert!((slope - 6e6 / 1_074_500.0).abs() < 0.01, "{slope}");
        assert_eq!((slope_percent(&[]), slope_percent(&[(1.0, 5)])), (0.0, 0.0));
    }
}
