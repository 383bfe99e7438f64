//! Which server ran a statement, by the servers' own word: their general logs, read as tables.

use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context, Result};
use weir_testkit::{Cluster, SERVICE};

/// The general log of every instance, on while this value lives. One at a time for a cluster.
#[derive(Debug)]
pub struct GeneralLog<'c> {
    cluster: &'c Cluster,
}

/// How often each instance ran a statement, the primary first.
pub type Runs = Vec<usize>;

impl<'c> GeneralLog<'c> {
    /// Turns the logs on. What they hold already stays: a replica's cannot be emptied while it is read-only.
    ///
    /// # Errors
    /// A server refuses.
    pub fn start(cluster: &'c Cluster) -> Result<GeneralLog<'c>> {
        let log = GeneralLog { cluster };
        log.on_each("SET GLOBAL log_output = 'TABLE'; SET GLOBAL general_log = ON")?;
        Ok(log)
    }

    /// A comment's text that no statement held before.
    #[must_use]
    pub fn mark(&self) -> String {
        static MARKS: AtomicU32 = AtomicU32::new(0);
        let number = MARKS.fetch_add(1, Ordering::Relaxed);
        format!("mark {}-{number} of the log", std::process::id())
    }

    /// Statements of the gateway's account whose text holds `mark`, by instance. What was only prepared did not run.
    ///
    /// # Errors
    /// A server refuses.
    pub fn runs(&self, mark: &str) -> Result<Runs> {
        let sql = format!(
            "SELECT COUNT(*) FROM mysql.general_log WHERE user_host LIKE '{}%' \
             AND command_type IN ('Query', 'Execute') AND argument LIKE '%{mark}%'",
            SERVICE.user
        );
        let count = |index| -> Result<usize> {
            self.cluster.value(index, &sql)?.parse().context("COUNT(*) is a number")
        };
        (0..self.cluster.instances().len()).map(count).collect()
    }

    fn on_each(&self, sql: &str) -> Result<()> {
        for index in 0..self.cluster.instances().len() {
            // what follows is each server's own, and no event of replication
            self.cluster.sql(index, &format!("SET sql_log_bin = 0; {sql}"))?;
        }
        Ok(())
    }
}

impl Drop for GeneralLog<'_> {
    fn drop(&mut self) {
        let off = "SET GLOBAL general_log = OFF; SET GLOBAL log_output = 'FILE'";
        if let Err(error) = self.on_each(off) {
            weir_testkit::say(format!("a general log stays on: {error:#}"));
        }
    }
}
