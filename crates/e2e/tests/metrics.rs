//! `/metrics` tells what happens: each family moves as statements, sessions and connections do.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test's helpers fail as its own lines do"
)]

use std::collections::BTreeSet;
use std::fs;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rustix::process::Signal;
use weir_e2e::client::{Client, Expect, Failure, Login};
use weir_e2e::on_both_servers;
use weir_e2e::weir::{Metrics, Namespace, Options, User, Weir};
use weir_testkit::{Cluster, SERVICE};
use weir_wire::command::com;

on_both_servers!(
    every_statement_is_counted_by_its_kind,
    errors_and_latencies_are_counted_by_namespace_and_kind,
    statements_are_counted_where_they_went,
    bytes_are_counted_both_ways,
    sessions_checkouts_and_waits_show_while_they_last,
    a_pin_is_counted_by_its_reason,
    pools_are_shown_by_instance_as_the_servers_see_them,
    the_process_shows_what_it_uses,
    every_family_says_what_it_is,
    readiness_ends_with_the_order_to_end,
);

const PATIENCE: Duration = Duration::from_secs(10);
const SCHEMA: &str = "
    CREATE DATABASE IF NOT EXISTS e2e_metrics;
    USE e2e_metrics;
    CREATE TABLE IF NOT EXISTS t (id INT PRIMARY KEY AUTO_INCREMENT, v INT)";
const CAPACITY: usize = 2;

/// Two namespaces before the same servers: what happens in one must not show in the other.
fn start(cluster: &Cluster) -> Result<Weir> {
    start_as(cluster, SERVICE.user, SERVICE.password)
}

/// With an account at the servers of its own.
fn start_as(cluster: &Cluster, account: &str, password: &str) -> Result<Weir> {
    cluster.sql(0, SCHEMA)?;
    cluster.wait_for_replicas(PATIENCE)?;
    let namespace = |name: &str, users| -> Result<Namespace> {
        let namespace = Namespace::on(cluster, name)?.users_are(users);
        let namespace =
            namespace.set("slices.0.account.user", account).set("slices.0.account.password", password);
        Ok(namespace.set("pool.capacity", i64::try_from(CAPACITY)?).set("pool.idle_timeout", "1h"))
    };
    let users =
        vec![User::new("split", "split-password"), User::new("whole", "whole-password").without_split()];
    let namespaces =
        vec![namespace("app", users)?, namespace("quiet", vec![User::new("quiet", "quiet-password")])?];
    Weir::start(&Options::of(namespaces).greeting(cluster.version()))
}

fn connect(weir: &Weir, user: &str) -> Result<Client> {
    Ok(weir.connect(&Login::new(user, &format!("{user}-password")).database("e2e_metrics"))?)
}

/// How much a counter of the namespace `app` grew, and that nothing of `quiet` did.
struct Growth {
    before: Metrics,
    after: Metrics,
}

impl Growth {
    fn during<T>(
        weir: &Weir,
        client: &mut Client,
        act: impl FnOnce(&mut Client) -> Result<T, Failure>,
    ) -> Result<Growth> {
        let before = weir.metrics()?;
        act(client)?;
        // a session counts a statement when its answer is written, and before it looks at the next command
        client.ping()?;
        let growth = Growth { before, after: weir.metrics()? };
        for name in ["weir_statements_total", "weir_statement_errors_total", "weir_client_sent_bytes_total"] {
            ensure!(growth.of_namespace("quiet", name, &[]) == 0.0, "{name} of a namespace that nobody uses");
        }
        Ok(growth)
    }

    fn of_namespace(&self, namespace: &str, name: &str, labels: &[(&str, &str)]) -> f64 {
        let labels: Vec<(&str, &str)> = labels.iter().copied().chain([("namespace", namespace)]).collect();
        self.after.sum(name, &labels) - self.before.sum(name, &labels)
    }

    fn of(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        self.of_namespace("app", name, labels)
    }
}

fn every_statement_is_counted_by_its_kind(cluster: &'static Cluster) -> Result<()> {
    let weir = start(cluster)?;
    let mut client = connect(&weir, "whole")?;
    for (sql, kind) in [
        ("SELECT 1", "select"),
        ("/* c */ (SELECT 1) UNION SELECT 2", "select"),
        ("WITH c AS (SELECT 1) SELECT * FROM c", "select"),
        ("INSERT INTO t (v) VALUES (1)", "insert"),
        ("REPLACE INTO t (id, v) VALUES (1, 2)", "replace"),
        ("UPDATE t SET v = 3 WHERE id = 1", "update"),
        ("DELETE FROM t WHERE id = 1", "delete"),
        ("LOAD DATA INFILE '/nowhere/at all' INTO TABLE t", "load"),
        ("CALL nosuch()", "call"),
        ("DO 1", "do"),
        ("SET sql_mode = ''", "set"),
        ("SHOW TABLES", "show"),
        ("EXPLAIN SELECT 1", "explain"),
        ("USE e2e_metrics", "use"),
        ("BEGIN", "begin"),
        ("SAVEPOINT a", "savepoint"),
        ("ROLLBACK", "rollback"),
        ("START TRANSACTION", "begin"),
        ("COMMIT", "commit"),
        ("XA RECOVER", "xa"),
        ("CREATE TABLE IF NOT EXISTS t2 (x INT)", "ddl"),
        ("DROP TABLE t2", "ddl"),
        ("LOCK TABLES t READ", "lock"),
        ("UNLOCK TABLES", "lock"),
        ("PREPARE s FROM 'SELECT 1'", "prepare"),
        ("EXECUTE s", "prepare"),
        ("HANDLER t OPEN", "handler"),
        ("KILL QUERY 4000000000", "kill"),
        ("FLUSH STATUS", "admin"),
        ("", "empty"),
        ("what is this", "other"),
    ] {
        let growth = Growth::during(&weir, &mut client, |client| client.query(sql))?;
        let by_kind = growth.of("weir_statements_total", &[("kind", kind)]);
        let all = growth.of("weir_statements_total", &[]);
        ensure!((by_kind, all) == (1.0, 1.0), "{sql}: {by_kind} of kind {kind}, {all} of all");
    }
    let growth = Growth::during(&weir, &mut client, |client| {
        let statement = client.prepare("UPDATE t SET v = 1 WHERE id = 0")?;
        client.execute(statement.id, &[])?;
        client.execute(statement.id, &[])
    })?;
    ensure!(
        growth.of("weir_statements_total", &[("kind", "update")]) >= 2.0,
        "executions of a prepared statement"
    );
    // what it has prepared and opened would hold the end up
    client.quit()?;
    weir.stop()
}

fn errors_and_latencies_are_counted_by_namespace_and_kind(cluster: &'static Cluster) -> Result<()> {
    let weir = start(cluster)?;
    let mut client = connect(&weir, "split")?;
    let select = [("kind", "select")];
    let growth = Growth::during(&weir, &mut client, |client| client.query("SELECT nosuch FROM t"))?;
    ensure!(growth.of("weir_statement_errors_total", &select) == 1.0, "an error of the server");
    let growth = Growth::during(&weir, &mut client, |client| {
        client.query("INSERT INTO t (id) VALUES ('x'), (NULL, 1)")
    })?;
    ensure!(
        growth.of("weir_statement_errors_total", &[("kind", "insert")]) == 1.0,
        "an error of another kind"
    );
    ensure!(growth.of("weir_statement_errors_total", &select) == 0.0, "it counts for one kind");
    let growth = Growth::during(&weir, &mut client, |client| client.query("SELECT SLEEP(0.25)"))?;
    ensure!(growth.of("weir_statement_errors_total", &[]) == 0.0, "no error");
    let bucket =
        |le: &str| growth.of("weir_statement_duration_seconds_bucket", &[("kind", "select"), ("le", le)]);
    let shape = [bucket("0.1"), bucket("0.2"), bucket("5.0"), bucket("+Inf")];
    ensure!(shape == [0.0, 0.0, 1.0, 1.0], "a quarter of a second falls into {shape:?}");
    let sum = growth.of("weir_statement_duration_seconds_sum", &select);
    ensure!((0.25..5.0).contains(&sum), "a quarter of a second took {sum} s");
    ensure!(growth.of("weir_statement_duration_seconds_count", &select) == 1.0, "one was counted");
    let metrics = weir.metrics()?;
    let (count, statements) = (
        metrics.sum("weir_statement_duration_seconds_count", &[]),
        metrics.sum("weir_statements_total", &[]),
    );
    ensure!(count == statements, "{count} latencies of {statements} statements");
    weir.stop()
}

fn statements_are_counted_where_they_went(cluster: &'static Cluster) -> Result<()> {
    let weir = start(cluster)?;
    let mut client = connect(&weir, "split")?;
    client.run("SELECT 1")?;
    let growth = Growth::during(&weir, &mut client, |client| {
        for _ in 0..5 {
            client.run("SELECT v FROM t")?;
        }
        client.run("INSERT INTO t (v) VALUES (1)")?;
        client.run("DELETE FROM t")
    })?;
    let went = [
        growth.of("weir_statements_to_replica_total", &[]),
        growth.of("weir_statements_to_primary_total", &[]),
    ];
    ensure!(went == [5.0, 2.0], "replica, primary: {went:?}");
    let lent = |role| growth.of("weir_pool_checkouts_total", &[("role", role)]);
    // probes take a connection too
    ensure!(lent("replica") >= 5.0 && lent("primary") >= 2.0, "{} and {}", lent("replica"), lent("primary"));
    weir.stop()
}

fn bytes_are_counted_both_ways(cluster: &'static Cluster) -> Result<()> {
    let weir = start(cluster)?;
    let mut client = connect(&weir, "split")?;
    client.run("SELECT 1")?;
    for (sql, received, sent) in [
        ("SELECT REPEAT('x', 500000)".to_owned(), 30.0, 500_000.0),
        (format!("SELECT LENGTH('{}')", "x".repeat(500_000)), 500_000.0, 60.0),
        (format!("SELECT LENGTH('{}')", "x".repeat(3_000_000)), 3_000_000.0, 60.0),
    ] {
        let growth = Growth::during(&weir, &mut client, |client| client.run(&sql))?;
        let (from, to) = (
            growth.of("weir_client_received_bytes_total", &[]),
            growth.of("weir_client_sent_bytes_total", &[]),
        );
        ensure!((received..received + 500.0).contains(&from), "{} bytes of text: {from} received", sql.len());
        ensure!((sent..sent + 500.0).contains(&to), "{} bytes of text: {to} sent", sql.len());
    }
    weir.stop()
}

fn sessions_checkouts_and_waits_show_while_they_last(cluster: &'static Cluster) -> Result<()> {
    let weir = start(cluster)?;
    let phase = |m: &Metrics, phase: &str| m.sum("weir_sessions", &[("namespace", "app"), ("phase", phase)]);
    let primary = [("namespace", "app"), ("role", "primary")];
    let mut clients: Vec<Client> = (0..4).map(|_| connect(&weir, "whole")).collect::<Result<_>>()?;
    weir.wait_for("four are idle", PATIENCE, |m| {
        phase(m, "idle") == 4.0 && m.sum("weir_client_connections", &[]) == 4.0
    })?;
    let before = weir.metrics()?;
    for client in &mut clients[..CAPACITY] {
        client.run("BEGIN")?;
        client.run("SELECT v FROM t LOCK IN SHARE MODE")?;
    }
    weir.wait_for("two hold a connection", PATIENCE, |m| {
        phase(m, "idle_holding") == 2.0
            && phase(m, "idle") == 2.0
            && m.sum("weir_pool_in_use", &primary) == 2.0
    })?;
    clients[2].send(&[&[com::QUERY][..], b"SELECT SLEEP(0.3)"].concat())?;
    weir.wait_for("one waits", PATIENCE, |m| {
        m.sum("weir_pool_waiting", &primary) == 1.0 && phase(m, "busy") == 1.0
    })?;
    std::thread::sleep(Duration::from_millis(200));
    clients[0].run("COMMIT")?;
    weir.wait_for("it is served", PATIENCE, |m| {
        m.sum("weir_pool_waiting", &primary) == 0.0 && phase(m, "busy") == 1.0
    })?;
    clients[2].read_answer(Expect::Results)?;
    clients[1].run("COMMIT")?;
    let after = weir.wait_for("nothing is held", PATIENCE, |m| {
        phase(m, "idle") == 4.0 && m.sum("weir_pool_in_use", &primary) == 0.0
    })?;
    let grew = |name| after.sum(name, &primary) - before.sum(name, &primary);
    ensure!(grew("weir_pool_waits_total") >= 1.0, "the wait was not counted");
    let waited = grew("weir_pool_wait_seconds_total");
    ensure!((0.2..10.0).contains(&waited), "waited {waited} s");
    ensure!(grew("weir_pool_checkouts_total") >= 3.0, "checkouts were not counted");
    clients.pop().unwrap().quit()?;
    weir.wait_for("three are left", PATIENCE, |m| {
        phase(m, "idle") == 3.0 && m.sum("weir_client_connections", &[]) == 3.0
    })?;
    weir.stop()
}

fn a_pin_is_counted_by_its_reason(cluster: &'static Cluster) -> Result<()> {
    let weir = start(cluster)?;
    let holding = |m: &Metrics| m.sum("weir_sessions", &[("phase", "idle_holding")]);
    for (sql, reason) in [
        ("SET @`a b` = 1", "user_variable"),
        ("CREATE TEMPORARY TABLE tmp (x INT)", "temporary_table"),
        ("SELECT GET_LOCK('e2e metrics', 1)", "user_lock"),
        ("LOCK TABLES t READ", "table_lock"),
        ("HANDLER t OPEN", "handler"),
        ("PREPARE `s s` FROM 'SELECT 1'", "text_prepare"),
        ("SET SESSION insert_id = 300000", "session_variable"),
        ("SET TRANSACTION /*! ISOLATION LEVEL SERIALIZABLE */", "next_transaction"),
    ] {
        let mut client = connect(&weir, "whole")?;
        let growth = Growth::during(&weir, &mut client, |client| client.run(sql))?;
        let (this, all) =
            (growth.of("weir_pins_total", &[("reason", reason)]), growth.of("weir_pins_total", &[]));
        ensure!((this, all) == (1.0, 1.0), "{sql}: {this} for {reason}, {all} for all");
        weir.wait_for("it holds its connection", PATIENCE, |m| holding(m) == 1.0)?;
        ensure!(client.reset()?.error().is_none(), "{sql}: the reset failed");
        weir.wait_for("the reset gives it back", PATIENCE, |m| {
            holding(m) == 0.0 && m.sum("weir_pool_in_use", &[]) == 0.0
        })
        .with_context(|| sql.to_owned())?;
        client.quit()?;
    }
    let resets = weir.metrics()?.sum("weir_pool_resets_total", &[]);
    ensure!(resets >= 1.0, "{resets} resets of connections that were pinned");
    weir.stop()
}

fn pools_are_shown_by_instance_as_the_servers_see_them(cluster: &'static Cluster) -> Result<()> {
    let (user, password) = ("e2e_metrics", "metrics-password");
    cluster.sql(
        0,
        &format!("CREATE USER IF NOT EXISTS '{user}'@'%' IDENTIFIED BY '{password}'; GRANT ALL ON *.* TO '{user}'@'%'"),
    )?;
    let weir = start_as(cluster, user, password)?;
    let mut client = connect(&weir, "split")?;
    for _ in 0..20 {
        client.run("SELECT v FROM t")?;
    }
    let metrics = weir.metrics()?;
    let connections = format!("SELECT COUNT(*) FROM information_schema.processlist WHERE user = '{user}'");
    for (index, instance) in cluster.instances().iter().enumerate() {
        let address = instance.address();
        let role = if index == 0 { "primary" } else { "replica" };
        for (name, wanted) in [("weir_instance_up", 1.0), ("weir_pool_capacity", CAPACITY as f64)] {
            let shown = metrics.sum(name, &[("namespace", "app"), ("instance", &address), ("role", role)]);
            ensure!(shown == wanted, "{name} of {address}: {shown}");
        }
        let (open, at_server) = weir_and_server(&weir, cluster, index, &address, &connections)?;
        ensure!(
            open == at_server && open >= 1.0,
            "{address}: {open} open connections, {at_server} at the server"
        );
        let parts =
            ["weir_pool_idle", "weir_pool_in_use"].map(|name| metrics.sum(name, &[("instance", &address)]));
        ensure!(parts[0] + parts[1] <= open, "{address}: {parts:?} of {open}");
        let dials = metrics.sum("weir_pool_dials_total", &[("instance", &address)]);
        ensure!(dials >= open, "{address}: {dials} dials for {open} connections");
    }
    weir.stop()
}

/// Open connections by Weir's count and by the server's, once no connection is being made or ends.
fn weir_and_server(
    weir: &Weir,
    cluster: &Cluster,
    index: usize,
    address: &str,
    sql: &str,
) -> Result<(f64, f64)> {
    let count = || -> Result<(f64, f64)> {
        let open = weir.metrics()?.sum("weir_pool_open", &[("instance", address)]);
        Ok((open, cluster.value(index, sql)?.parse().context("a count")?))
    };
    let deadline = std::time::Instant::now() + PATIENCE;
    loop {
        let (open, at_server) = count()?;
        if open == at_server || std::time::Instant::now() > deadline {
            return Ok((open, at_server));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn the_process_shows_what_it_uses(cluster: &'static Cluster) -> Result<()> {
    let weir = start(cluster)?;
    let mut client = connect(&weir, "split")?;
    let before = weir.metrics()?;
    for _ in 0..300 {
        client.run("SELECT v FROM t")?;
    }
    let after = weir.metrics()?;
    let cpu = after.sum("process_cpu_seconds_total", &[]) - before.sum("process_cpu_seconds_total", &[]);
    ensure!(cpu > 0.0 && cpu < 60.0, "300 statements took {cpu} s of CPU time");
    let status = fs::read_to_string(format!("/proc/{}/status", weir.pid())).context("no status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
    let kib: f64 = line.trim().trim_end_matches("kB").trim().parse().context("no number")?;
    let (shown, real) = (after.sum("process_resident_memory_bytes", &[]), kib * 1024.0);
    ensure!((shown - real).abs() < real / 4.0, "{shown} bytes shown, {real} in use");
    let files = fs::read_dir(format!("/proc/{}/fd", weir.pid())).context("no files")?.count() as f64;
    let shown = after.sum("process_open_fds", &[]);
    ensure!((shown - files).abs() <= 5.0, "{shown} files shown, {files} open");
    let started = after.sum("process_start_time_seconds", &[]);
    let now =
        std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).context("no clock")?.as_secs_f64();
    ensure!((0.0..300.0).contains(&(now - started)), "started {} s ago", now - started);
    weir.stop()
}

/// The families that operators are promised.
const PROMISED: &[(&str, &str)] = &[
    ("weir_statements", "counter"),
    ("weir_statement_errors", "counter"),
    ("weir_statement_duration_seconds", "histogram"),
    ("weir_statements_to_primary", "counter"),
    ("weir_statements_to_replica", "counter"),
    ("weir_statements_moved_to_primary", "counter"),
    ("weir_statements_retried", "counter"),
    ("weir_sessions", "gauge"),
    ("weir_client_connections", "gauge"),
    ("weir_client_received_bytes", "counter"),
    ("weir_client_sent_bytes", "counter"),
    ("weir_pool_checkouts", "counter"),
    ("weir_pool_waits", "counter"),
    ("weir_pool_wait_seconds", "counter"),
    ("weir_pool_timeouts", "counter"),
    ("weir_pool_control", "gauge"),
    ("weir_pool_open", "gauge"),
    ("weir_pool_idle", "gauge"),
    ("weir_pool_in_use", "gauge"),
    ("weir_pool_waiting", "gauge"),
    ("weir_pool_capacity", "gauge"),
    ("weir_pins", "counter"),
    ("weir_instance_up", "gauge"),
    ("process_cpu_seconds", "counter"),
    ("process_resident_memory_bytes", "gauge"),
];

fn every_family_says_what_it_is(cluster: &'static Cluster) -> Result<()> {
    let weir = start(cluster)?;
    let mut client = connect(&weir, "split")?;
    client.run("CREATE TEMPORARY TABLE tmp (x INT)")?;
    // a session counts a statement when its answer is written, and before it looks at the next command
    client.ping()?;
    drop(client);
    let (status, body) = weir.get("/metrics")?;
    ensure!(status == 200 && body.ends_with("# EOF\n"), "{status}, ends with {:?}", body.lines().last());
    let declared = |word: &str| -> BTreeSet<(String, String)> {
        let lines = body.lines().filter_map(|line| line.strip_prefix(&format!("# {word} ")));
        lines
            .filter_map(|line| line.split_once(' '))
            .map(|(name, rest)| (name.to_owned(), rest.to_owned()))
            .collect()
    };
    let (types, helps) = (declared("TYPE"), declared("HELP"));
    for (name, kind) in PROMISED {
        ensure!(types.contains(&((*name).to_owned(), (*kind).to_owned())), "{name} is no {kind}");
        let sample = body.lines().any(|line| line.starts_with(name));
        ensure!(sample, "{name} has no sample");
    }
    for (name, _) in &types {
        ensure!(name.starts_with("weir_") || name.starts_with("process_"), "{name} is nobody's");
        ensure!(helps.iter().any(|(help, text)| help == name && text.len() > 10), "{name} is not explained");
    }
    weir.stop()
}

fn readiness_ends_with_the_order_to_end(cluster: &'static Cluster) -> Result<()> {
    let mut weir = start(cluster)?;
    for (page, wanted) in [("/healthz", 200), ("/readyz", 200), ("/nosuch", 404)] {
        let (status, body) = weir.get(page)?;
        ensure!(status == wanted, "{page}: {status} {body}");
    }
    let mut client = connect(&weir, "whole")?;
    client.run("BEGIN")?;
    client.run("SELECT v FROM t LOCK IN SHARE MODE")?;
    weir.signal(Signal::TERM)?;
    weir.wait_for("it drains", PATIENCE, |m| m.sum("weir_draining", &[]) == 1.0)?;
    for (page, wanted) in [("/healthz", 200), ("/readyz", 503)] {
        let (status, body) = weir.get(page)?;
        ensure!(status == wanted, "{page} while it drains: {status} {body}");
    }
    client.run("COMMIT")?;
    ensure!(weir.wait_for_end(PATIENCE)?.success(), "it did not end in order");
    Ok(())
}
