//! GTID replication in both servers' words.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::accounts::REPLICATION;
use crate::cluster::Cluster;
use crate::server::Flavour;

/// How long a replica may take to connect to its primary.
const CONNECT_DEADLINE: Duration = Duration::from_secs(30);

/// Points every replica at the primary and waits until both of its threads run.
pub(crate) fn join(cluster: &Cluster) -> Result<()> {
    let port = cluster.primary()?.port;
    let (user, password) = (REPLICATION.user, REPLICATION.password);
    let statements = match cluster.flavour() {
        Flavour::MySql => format!(
            "CHANGE REPLICATION SOURCE TO SOURCE_HOST='127.0.0.1', SOURCE_PORT={port}, SOURCE_USER='{user}', \
             SOURCE_PASSWORD='{password}', SOURCE_AUTO_POSITION=1, GET_SOURCE_PUBLIC_KEY=1, \
             SOURCE_CONNECT_RETRY=1, SOURCE_RETRY_COUNT=86400; START REPLICA"
        ),
        Flavour::MariaDb => format!(
            "CHANGE MASTER TO MASTER_HOST='127.0.0.1', MASTER_PORT={port}, MASTER_USER='{user}', \
             MASTER_PASSWORD='{password}', MASTER_USE_GTID=slave_pos, MASTER_CONNECT_RETRY=1; START SLAVE"
        ),
    };
    let replicas = 1..cluster.instances().len();
    for index in replicas.clone() {
        cluster.sql(index, &statements).with_context(|| format!("cannot make instance {index} a replica"))?;
    }
    for index in replicas {
        wait_until_connected(cluster, index)?;
    }
    Ok(())
}

fn wait_until_connected(cluster: &Cluster, index: usize) -> Result<()> {
    let deadline = Instant::now() + CONNECT_DEADLINE;
    loop {
        let status = status(cluster, index)?;
        // Slave_IO_Running and Slave_SQL_Running, in the same place on both servers.
        if status.get(10..12) == Some(&["Yes".to_owned(), "Yes".to_owned()]) {
            return Ok(());
        }
        if Instant::now() >= deadline {
            bail!("instance {index} does not replicate: {}", status.join(" | "));
        }
        std::thread::sleep(Duration::from_millis(30));
    }
}

fn status(cluster: &Cluster, index: usize) -> Result<Vec<String>> {
    let text = match cluster.flavour() {
        Flavour::MySql => "SHOW REPLICA STATUS",
        Flavour::MariaDb => "SHOW SLAVE STATUS",
    };
    let row = cluster.sql(index, text)?.into_iter().next().context("it is no replica")?;
    Ok(row.into_iter().map(Option::unwrap_or_default).collect())
}

/// Waits until every running replica has the primary's position.
pub(crate) fn wait(cluster: &Cluster, patience: Duration) -> Result<()> {
    let (position, function) = match cluster.flavour() {
        Flavour::MySql => (cluster.value(0, "SELECT @@GLOBAL.gtid_executed")?, "WAIT_FOR_EXECUTED_GTID_SET"),
        Flavour::MariaDb => (cluster.value(0, "SELECT @@GLOBAL.gtid_current_pos")?, "MASTER_GTID_WAIT"),
    };
    let position = position.replace('\n', "");
    let deadline = Instant::now() + patience;
    for (index, instance) in cluster.instances().iter().enumerate().skip(1) {
        if !instance.is_running() {
            continue;
        }
        let left = deadline.saturating_duration_since(Instant::now()).as_secs_f64().max(0.001);
        let answer = cluster.value(index, &format!("SELECT {function}('{position}', {left:.3})"))?;
        if answer != "0" {
            bail!(
                "{} does not have {position} after {patience:?}: {}",
                instance.name,
                status(cluster, index)?.join(" | ")
            );
        }
    }
    Ok(())
}
