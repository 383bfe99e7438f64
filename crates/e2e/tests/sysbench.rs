//! sysbench through Weir: 64 threads over a pool of 8 connections to each server, without an error; the primary writes,
//! the replicas read, and all three hold the same rows in the end.
//!
//! `WEIR_SYSBENCH_SECONDS=30` lengthens each run.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test's helpers fail as its own lines do"
)]

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use weir_e2e::weir::{Options, User, Weir};
use weir_testkit::{Cluster, Flavour, tool};

const SECONDS: &str = "WEIR_SYSBENCH_SECONDS";
const DEFAULT_SECONDS: u64 = 2;
const THREADS: usize = 64;
const POOL: usize = 8;
const TABLES: usize = 4;
const ROWS: usize = 5_000;
const BULK_ROWS: usize = 500_000;
/// Replicas apply what 64 threads wrote.
const PATIENCE: Duration = Duration::from_secs(120);
const USER: (&str, &str) = ("sysbench", "sysbench-password");

/// What an instance ran, by its own count.
#[derive(Clone, Copy, Debug, Default)]
struct Ran {
    reads: u64,
    writes: u64,
}

fn ran(cluster: &Cluster) -> Result<Vec<Ran>> {
    let of = |index| -> Result<Ran> {
        let mut ran = Ran::default();
        for row in cluster.sql(index, "SHOW GLOBAL STATUS LIKE 'Com\\_%'")? {
            let (name, value) = (row[0].clone().unwrap_or_default(), row[1].clone().unwrap_or_default());
            let value: u64 = value.parse().unwrap_or(0);
            match name.as_str() {
                "Com_select" => ran.reads += value,
                "Com_insert" | "Com_update" | "Com_delete" | "Com_replace" => ran.writes += value,
                _ => {}
            }
        }
        Ok(ran)
    };
    (0..cluster.instances().len()).map(of).collect()
}

fn since(before: &[Ran], now: &[Ran]) -> Vec<Ran> {
    let less = |(now, before): (&Ran, &Ran)| Ran {
        reads: now.reads - before.reads,
        writes: now.writes - before.writes,
    };
    now.iter().zip(before).map(less).collect()
}

struct Bench<'w> {
    weir: &'w Weir,
    database: &'static str,
    script: &'static str,
    prepared: &'static str,
    threads: usize,
    seconds: u64,
}

impl Bench<'_> {
    /// Runs a step of the script; gives what it prints.
    fn step(&self, step: &str) -> Result<String> {
        let mut command = tool("sysbench")?;
        command.arg(self.script).arg("--db-driver=mysql").arg("--mysql-host=127.0.0.1").args([
            format!("--mysql-port={}", self.weir.port()),
            format!("--mysql-user={}", USER.0),
            format!("--mysql-password={}", USER.1),
            format!("--mysql-db={}", self.database),
            format!("--db-ps-mode={}", self.prepared),
            format!("--threads={}", self.threads),
            format!("--time={}", self.seconds),
            // few rows are wanted by two at once
            "--rand-type=uniform".to_owned(),
            // a deadlock is the servers' own, and sysbench counts it; anything else ends the run
            "--mysql-ignore-errors=1213".to_owned(),
        ]);
        match self.script {
            // as many rows as there is time for are millions, which replicas take minutes to apply
            "bulk_insert" if self.seconds == DEFAULT_SECONDS => command.arg(format!("--events={BULK_ROWS}")),
            "bulk_insert" => &mut command,
            _ => command.args([format!("--tables={TABLES}"), format!("--table-size={ROWS}")]),
        };
        let output = command.arg(step).output().context("cannot run sysbench")?;
        let text =
            format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        ensure!(output.status.success(), "{} {step} ended with {}:\n{text}", self.script, output.status);
        ensure!(!text.contains("FATAL") && !text.contains("error:"), "{} {step}:\n{text}", self.script);
        Ok(text)
    }
}

/// The number behind a label of sysbench's report: `reconnects:      0      (0.00 per sec.)`.
fn reported(report: &str, label: &str) -> Result<u64> {
    let line = report
        .lines()
        .find_map(|line| line.trim().strip_prefix(label))
        .with_context(|| format!("no `{label}` in:\n{report}"))?;
    line.split_whitespace()
        .next()
        .and_then(|number| number.parse().ok())
        .with_context(|| format!("no number: {line}"))
}

/// Tables that are not the same on all instances.
fn differing(cluster: &Cluster, tables: &[String]) -> Result<Vec<String>> {
    let mut differing = Vec::new();
    for table in tables {
        let checksums = cluster.checksums(table)?;
        ensure!(checksums.len() == 3, "{checksums:?}");
        if checksums.iter().any(|checksum| *checksum != checksums[0]) {
            differing.push(table.clone());
        }
    }
    Ok(differing)
}

fn tables(cluster: &Cluster) -> Result<Vec<String>> {
    let sql = "SELECT CONCAT(table_schema, '.', table_name) FROM information_schema.tables \
               WHERE table_schema IN ('e2e_sysbench', 'e2e_bulk') ORDER BY 1";
    Ok(cluster.sql(0, sql)?.into_iter().flatten().flatten().collect())
}

/// Starts or stops the replicas' appliers.
fn applying(cluster: &Cluster, word: &str) -> Result<()> {
    let of_flavour = match cluster.flavour() {
        Flavour::MySql => "REPLICA",
        Flavour::MariaDb => "SLAVE",
    };
    (1..cluster.instances().len()).try_for_each(|index| {
        cluster.sql(index, &format!("{word} {of_flavour} SQL_THREAD"))?;
        Ok(())
    })
}

fn run(cluster: &Cluster, bench: &Bench<'_>) -> Result<()> {
    let Bench { script, prepared, .. } = bench;
    // what a replica applies counts as statements too: it does so afterwards
    applying(cluster, "STOP")?;
    let before = ran(cluster)?;
    let report = bench.step("run")?;
    let by_instance = since(&before, &ran(cluster)?);
    applying(cluster, "START")?;
    let (statements, ignored) = (reported(&report, "total:"), reported(&report, "ignored errors:")?);
    let statements = statements?;
    weir_testkit::say(format!(
        "{} {script}, prepared statements {prepared}: {statements} statements, {ignored} deadlocks; by instance {by_instance:?}",
        cluster.flavour()
    ));
    ensure!(statements >= 10, "{script} ran {statements} statements:\n{report}");
    ensure!(reported(&report, "reconnects:")? == 0, "{script} lost connections:\n{report}");
    // deadlocks happen where many threads change few rows; each is one transaction of 20 statements
    ensure!(ignored * 20 * 50 <= statements, "{script}: {ignored} deadlocks in {statements} statements");
    let elsewhere: Ran = by_instance[1..].iter().fold(Ran::default(), |sum, ran| Ran {
        reads: sum.reads + ran.reads,
        writes: sum.writes + ran.writes,
    });
    ensure!(elsewhere.writes == 0, "replicas were written to: {by_instance:?}");
    match *script {
        "oltp_point_select" => {
            let all = elsewhere.reads + by_instance[0].reads;
            ensure!(elsewhere.reads * 100 >= all * 95, "replicas serve too few reads: {by_instance:?}");
            ensure!(elsewhere.reads >= statements, "not every read is there: {by_instance:?}");
            ensure!(
                by_instance[1..].iter().all(|ran| ran.reads * 4 > statements),
                "one replica idles: {by_instance:?}"
            );
        }
        _ => ensure!(by_instance[0].writes >= 10, "the primary wrote nothing: {by_instance:?}"),
    }
    Ok(())
}

fn sysbench_runs_without_an_error(flavour: Flavour) -> Result<()> {
    let cluster = Cluster::start(&weir_testkit::Options::new(flavour, format!("sysbench-{flavour}")))?;
    cluster.sql(0, "CREATE DATABASE e2e_sysbench; CREATE DATABASE e2e_bulk")?;
    // sysbench's client library loads the other plugin from a file, and fails where many threads do so at once
    let user = User { plugin: Some("mysql_native_password".to_owned()), ..User::new(USER.0, USER.1) };
    let options = Options::on(&cluster)?
        .users(vec![user])
        .set("pool.capacity", i64::try_from(POOL)?)
        .set("pool.checkout_timeout", "30s");
    let weir = Weir::start(&options)?;
    let seconds = match std::env::var(SECONDS) {
        Ok(text) => text.parse().with_context(|| format!("{SECONDS} is no number"))?,
        Err(_) => DEFAULT_SECONDS,
    };
    let bench = |script, prepared| Bench {
        weir: &weir,
        database: if script == "bulk_insert" { "e2e_bulk" } else { "e2e_sysbench" },
        script,
        prepared,
        threads: THREADS,
        seconds,
    };
    Bench { threads: 1, ..bench("oltp_read_write", "disable") }.step("prepare")?;
    cluster.wait_for_replicas(PATIENCE)?;
    for prepared in ["disable", "auto"] {
        bench("bulk_insert", prepared).step("prepare")?;
        cluster.wait_for_replicas(PATIENCE)?;
        for script in ["oltp_point_select", "oltp_read_write", "bulk_insert"] {
            run(&cluster, &bench(script, prepared))?;
        }
        cluster.wait_for_replicas(PATIENCE)?;
        let all = tables(&cluster)?;
        ensure!(all.len() == TABLES + THREADS, "{} tables: {all:?}", all.len());
        ensure!(differing(&cluster, &all)?.is_empty(), "replicas differ: {:?}", differing(&cluster, &all)?);
        if prepared == "disable" {
            bench("bulk_insert", prepared).step("cleanup")?;
        }
    }
    ensure!(
        weir.metrics()?.sum("weir_statements_moved_to_primary_total", &[]) == 0.0,
        "a replica refused a write"
    );
    one_altered_row_is_seen(&cluster)?;
    weir.stop()?;
    cluster.stop()
}

/// Would the comparison notice? A row of one replica is changed behind replication's back.
fn one_altered_row_is_seen(cluster: &Cluster) -> Result<()> {
    let guard = match cluster.flavour() {
        Flavour::MySql => "super_read_only",
        Flavour::MariaDb => "read_only",
    };
    let alter = |change: &str| {
        let sql = format!(
            "SET sql_log_bin = 0; SET GLOBAL {guard} = OFF; \
             UPDATE e2e_sysbench.sbtest2 SET k = k {change} ORDER BY id LIMIT 1; SET GLOBAL {guard} = ON"
        );
        cluster.sql(2, &sql)
    };
    let all = tables(cluster)?;
    alter("+ 1")?;
    let seen = differing(cluster, &all)?;
    ensure!(seen == ["e2e_sysbench.sbtest2"], "one altered row shows as {seen:?}");
    alter("- 1")?;
    ensure!(differing(cluster, &all)?.is_empty(), "the row is as before, and still differs");
    Ok(())
}

#[test]
fn sysbench_runs_without_an_error_mysql() -> Result<()> {
    sysbench_runs_without_an_error(Flavour::MySql)
}

#[test]
fn sysbench_runs_without_an_error_mariadb() -> Result<()> {
    sysbench_runs_without_an_error(Flavour::MariaDb)
}
