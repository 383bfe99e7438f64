//! The tables of all workloads.

use std::time::Duration;

use anyhow::{Context, Result};
use weir_testkit::Cluster;

use crate::workload::{BLOB_BYTES, DATABASE};

/// Rows of `bench.points`: about 25 MB, which fits into every server's buffer pool.
pub(crate) const ROWS: u32 = 100_000;
/// How long replicas may take to follow.
pub(crate) const REPLICA_PATIENCE: Duration = Duration::from_secs(60);

/// Creates and fills the tables on the primary, and waits until the replicas have them.
pub(crate) fn create(cluster: &Cluster) -> Result<()> {
    let mut client = cluster.client(0)?;
    for statement in statements() {
        client.rows(&statement).with_context(|| format!("cannot prepare the data: {statement}"))?;
    }
    cluster.wait_for_replicas(REPLICA_PATIENCE)
}

fn statements() -> Vec<String> {
    let digit = "(SELECT 0 AS d UNION ALL SELECT 1 UNION ALL SELECT 2 UNION ALL SELECT 3 UNION ALL SELECT 4 \
                 UNION ALL SELECT 5 UNION ALL SELECT 6 UNION ALL SELECT 7 UNION ALL SELECT 8 UNION ALL SELECT 9)";
    vec![
        format!("CREATE DATABASE {DATABASE}"),
        format!(
            "CREATE TABLE {DATABASE}.points (id INT NOT NULL PRIMARY KEY, k INT NOT NULL, c CHAR(120) NOT NULL, \
             pad CHAR(60) NOT NULL) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4"
        ),
        // Five digits make 100,000 rows on servers that share no way to count.
        format!(
            "INSERT INTO {DATABASE}.points SELECT n, n, LPAD(n, 119, '0'), LPAD(n, 59, '0') FROM \
             (SELECT 1 + a.d + 10 * b.d + 100 * c.d + 1000 * d.d + 10000 * e.d AS n \
             FROM {digit} a, {digit} b, {digit} c, {digit} d, {digit} e) AS numbers ORDER BY n"
        ),
        format!(
            "CREATE TABLE {DATABASE}.blobs (id INT NOT NULL PRIMARY KEY, data LONGBLOB NOT NULL) ENGINE=InnoDB"
        ),
        format!("INSERT INTO {DATABASE}.blobs VALUES (1, REPEAT('x', {BLOB_BYTES}))"),
    ]
}
