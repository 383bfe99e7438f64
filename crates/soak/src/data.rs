//! The tables that sessions read and write.

use std::time::Duration;

use anyhow::{Context, Result};
use weir_testkit::{Cluster, say};

/// Rows of `points`, ids from 1.
pub(crate) const POINTS: u32 = 1_000;
const REPLICA_PATIENCE: Duration = Duration::from_secs(60);

/// Password of Weir's account at the servers.
pub(crate) const PASSWORD: &str = "soak-password";

/// A database and an account of a run's own, dropped with this value.
#[derive(Debug)]
pub(crate) struct Data<'c> {
    /// Name of both.
    pub(crate) database: String,
    cluster: &'c Cluster,
}

impl<'c> Data<'c> {
    /// Makes it, with a row in `counters` for each of `sessions`.
    pub(crate) fn create(cluster: &'c Cluster, name: &str, sessions: u32) -> Result<Data<'c>> {
        let database = format!("soak_{name}_{}", std::process::id());
        let mut client = cluster.client(0)?;
        client.rows(&format!("CREATE DATABASE {database}"))?;
        let data = Data { database, cluster };
        // Weir's connections are counted by their account
        let account = &data.database;
        client.rows(&format!(
            "CREATE USER {account}@'%' IDENTIFIED BY '{PASSWORD}'; GRANT ALL ON *.* TO {account}@'%'"
        ))?;
        client.rows(&format!("USE {}", data.database))?;
        for statement in statements(sessions) {
            client.rows(&statement).with_context(|| format!("cannot prepare the data: {statement:.100}"))?;
        }
        cluster.wait_for_replicas(REPLICA_PATIENCE)?;
        Ok(data)
    }
}

impl Drop for Data<'_> {
    fn drop(&mut self) {
        let name = &self.database;
        let drop = format!("DROP DATABASE {name}; DROP USER {name}@'%'");
        if let Err(error) = self.cluster.sql(0, &drop) {
            say(format!("{name} was not dropped: {error:#}"));
        }
    }
}

/// What row `id` of `points` bears.
pub(crate) fn label(id: u32) -> String {
    format!("point {id:05}")
}

fn statements(sessions: u32) -> Vec<String> {
    let points: Vec<String> = (1..=POINTS).map(|id| format!("({id}, '{}')", label(id))).collect();
    let counters: Vec<String> = (1..=sessions).map(|id| format!("({id}, 0)")).collect();
    vec![
        "CREATE TABLE points (id INT NOT NULL PRIMARY KEY, label VARCHAR(40) NOT NULL) \
         ENGINE=InnoDB DEFAULT CHARSET=utf8mb4"
            .to_owned(),
        format!("INSERT INTO points VALUES {}", points.join(", ")),
        "CREATE TABLE counters (id INT NOT NULL PRIMARY KEY, n BIGINT NOT NULL) ENGINE=InnoDB".to_owned(),
        format!("INSERT INTO counters VALUES {}", counters.join(", ")),
        "CREATE TABLE notes (id BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY, of_session INT NOT NULL) ENGINE=InnoDB"
            .to_owned(),
    ]
}
