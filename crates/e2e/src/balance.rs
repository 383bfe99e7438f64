//! What Weir holds: sessions, connections, files, threads of servers; but for connections for KILL, which it keeps. After whatever happened it must hold what it held
//! before.

use std::fmt;
use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use weir_testkit::{Cluster, Flavour};

use crate::weir::Weir;

const POLL: Duration = Duration::from_millis(20);

/// Counts at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Balance {
    /// Client connections.
    pub sessions: u64,
    /// Connections to servers that a session holds.
    pub checkouts: u64,
    /// Sessions that wait for a connection to a server.
    pub waiting: u64,
    /// Connections to servers, as Weir counts them.
    pub connections: u64,
    /// Open files of the process.
    pub files: usize,
    /// Threads of Weir's account at all servers.
    pub threads: u64,
}

impl Balance {
    /// What is held now. `account` is Weir's own at the servers: nobody else may use it.
    ///
    /// # Errors
    /// Weir or a server cannot be asked.
    pub fn now(weir: &Weir, cluster: &Cluster, account: &str) -> Result<Balance> {
        let metrics = weir.metrics()?;
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "counts")]
        let count = |name: &str| metrics.sum(name, &[]) as u64;
        let files = fs::read_dir(format!("/proc/{}/fd", weir.pid())).context("weir is gone")?.count();
        // the list itself cannot be read while a statement runs whose text is no text (3854)
        let query = match cluster.flavour() {
            Flavour::MySql => {
                format!(
                    "SELECT COUNT(*) FROM performance_schema.threads WHERE PROCESSLIST_USER = '{account}'"
                )
            }
            Flavour::MariaDb => {
                format!("SELECT COUNT(*) FROM information_schema.processlist WHERE user = '{account}'")
            }
        };
        let threads = (0..cluster.instances().len())
            .map(|index| cluster.value(index, &query)?.parse::<u64>().context("a count that is no number"))
            .sum::<Result<u64>>()?;
        let control = count("weir_pool_control");
        let files = files.saturating_sub(usize::try_from(control)?);
        Ok(Balance {
            sessions: count("weir_client_connections"),
            checkouts: count("weir_pool_in_use"),
            waiting: count("weir_pool_waiting"),
            connections: count("weir_pool_open"),
            files,
            threads: threads.saturating_sub(control),
        })
    }

    /// Waits until what is held is what was held at this moment.
    ///
    /// # Errors
    /// It is not after `patience`; the text shows both.
    pub fn is_back(&self, weir: &Weir, cluster: &Cluster, account: &str, patience: Duration) -> Result<()> {
        let deadline = Instant::now() + patience;
        loop {
            let now = Balance::now(weir, cluster, account)?;
            if now == *self {
                return Ok(());
            }
            if Instant::now() >= deadline {
                bail!(
                    "not as before after {patience:?}\n  before: {self}\n  now:    {now}\n{}",
                    weir.metrics()?
                );
            }
            std::thread::sleep(POLL);
        }
    }
}

impl fmt::Display for Balance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} sessions, {} checkouts, {} waiting, {} connections to servers, {} open files, {} threads of servers",
            self.sessions, self.checkouts, self.waiting, self.connections, self.files, self.threads
        )
    }
}
