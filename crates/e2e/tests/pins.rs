//! What pins: each reason by name, how it begins, and that it ends as soon as its cause ends.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test's helpers fail as its own lines do"
)]

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rustix::process::Signal;
use weir_e2e::client::{Bind, Client, Cursor, Login};
use weir_e2e::on_both_servers;
use weir_e2e::pair::{Databases, Pair};
use weir_e2e::weir::{Options, User, Weir};
use weir_gateway::session::pin::REASONS;
use weir_testkit::{Cluster, Flavour, SERVICE};
use weir_wire::capability::Capabilities;

on_both_servers!(
    every_reason_begins_is_shown_and_ends_with_its_cause,
    a_pin_outlives_what_only_looks_like_the_end_of_its_cause,
    what_a_trigger_assigns_travels,
    what_a_routine_assigns_travels,
    a_lock_that_was_not_to_be_had_does_not_pin,
    a_drain_ends_sessions_that_only_keep_something,
);

const PATIENCE: Duration = Duration::from_secs(10);

/// How a pin is made, and how its cause ends.
#[derive(Clone, Copy, Debug)]
struct Row {
    reason: &'static str,
    /// The last one pins.
    begins: &'static [&'static str],
    /// Until the last one has run it is there.
    ends: Ends,
    on: On,
}

#[derive(Clone, Copy, Debug)]
enum Ends {
    By(&'static [&'static str]),
    /// COM_RESET_CONNECTION: no statement of the session's ends it.
    ByReset,
    /// The rows of a cursor come to an end.
    ByFetch,
    /// COM_STMT_RESET.
    ByStatementReset,
    /// COM_STMT_CLOSE.
    ByStatementClose,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum On {
    Both,
    MySql,
    MariaDb,
}

const fn row(reason: &'static str, begins: &'static [&'static str], ends: Ends) -> Row {
    Row { reason, begins, ends, on: On::Both }
}

const ROWS: &[Row] = &[
    row("user_variable", &["SET @`odd name` = 1"], Ends::ByReset),
    row(
        "temporary_table",
        &["CREATE TEMPORARY TABLE tmp (a INT)", "CREATE TEMPORARY TABLE IF NOT EXISTS {db}.`t``wo` (a INT)"],
        Ends::By(&["DROP TEMPORARY TABLE tmp", "DROP TABLE `t``wo`"]),
    ),
    // another engine, and a table below it that comes to light
    row(
        "temporary_table",
        &["CREATE TEMPORARY TABLE few (a INT) ENGINE = MEMORY"],
        Ends::By(&["INSERT INTO few VALUES (1)", "DROP TABLE few"]),
    ),
    row(
        "user_lock",
        &["SELECT GET_LOCK('{db}', 1)"],
        Ends::By(&["SELECT RELEASE_LOCK('{db} other')", "SELECT RELEASE_LOCK('{db}')"]),
    ),
    row(
        "user_lock",
        &["SELECT GET_LOCK('{db}', 1)", "SELECT GET_LOCK('{db}', 1) AS again"],
        Ends::By(&["SELECT RELEASE_LOCK('{db}')", "SELECT RELEASE_LOCK('{db}') AS last"]),
    ),
    row("user_lock", &["DO GET_LOCK('{db}', 1)"], Ends::By(&["SELECT RELEASE_ALL_LOCKS()"])),
    Row {
        on: On::MySql,
        ..row(
            "user_lock",
            &["SELECT GET_LOCK('{db}', 1), GET_LOCK('{db} two', 1)"],
            Ends::By(&["DO RELEASE_LOCK('{db}')", "SELECT 1, RELEASE_LOCK('{db} two') = 1"]),
        )
    },
    row("table_lock", &["LOCK TABLES few READ"], Ends::By(&["SELECT COUNT(*) FROM few", "UNLOCK TABLES"])),
    row("table_lock", &["LOCK TABLES few WRITE"], Ends::By(&["BEGIN; COMMIT"])),
    row(
        "table_lock",
        &["FLUSH TABLES WITH READ LOCK"],
        Ends::By(&["SELECT COUNT(*) FROM few", "UNLOCK TABLES"]),
    ),
    Row {
        on: On::MySql,
        ..row("backup_lock", &["LOCK INSTANCE FOR BACKUP"], Ends::By(&["SELECT 1", "UNLOCK INSTANCE"]))
    },
    Row {
        on: On::MariaDb,
        ..row("backup_lock", &["BACKUP STAGE START"], Ends::By(&["BACKUP STAGE FLUSH", "BACKUP STAGE END"]))
    },
    Row { on: On::MariaDb, ..row("backup_lock", &["BACKUP LOCK few"], Ends::By(&["BACKUP UNLOCK"])) },
    row(
        "handler",
        &["HANDLER few OPEN", "HANDLER few OPEN AS h"],
        Ends::By(&["HANDLER h READ FIRST", "HANDLER few CLOSE", "HANDLER h CLOSE"]),
    ),
    row("text_prepare", &["PREPARE `a-name` FROM 'SELECT 1'"], Ends::ByReset),
    Row { on: On::MySql, ..row("role", &["SET RESOURCE GROUP USR_default; DO 1"], Ends::ByReset) },
    // what it has locked is seen at MySQL; at MariaDB it is not
    Row {
        on: On::MySql,
        ..row("call", &["CALL takes_lock('{db}')"], Ends::By(&["SELECT RELEASE_LOCK('{db}')"]))
    },
    row("call", &["CALL makes_table()"], Ends::ByReset),
    row("session_variable", &["SET rand_seed1 = 1"], Ends::ByReset),
    row(
        "next_transaction",
        &["/* weir: pin */ DO 1", "SET TRANSACTION ISOLATION LEVEL SERIALIZABLE"],
        Ends::By(&["DO 2 /* weir: unpin */", "SELECT COUNT(*) FROM few"]),
    ),
    row("xa", &["XA START '{db}'"], Ends::By(&["XA END '{db}'", "XA ROLLBACK '{db}'"])),
    row("cursor", &[], Ends::ByFetch),
    row("cursor", &[], Ends::ByStatementReset),
    row("cursor", &[], Ends::ByStatementClose),
    row("profiling", &["SET profiling = 1"], Ends::ByReset),
    row("unexplained_state", &["SELECT makes_table_too()"], Ends::ByReset),
    row("hint", &["/* weir: pin */ SELECT 1"], Ends::By(&["SELECT 2", "SELECT 3 /* weir: unpin */"])),
];

/// What a reset does not take away at MariaDB: such a connection is closed.
const CLOSED: [&str; 2] = ["role", "profiling"];

const fn same(a: &str, b: &str) -> bool {
    let (a, b) = (a.as_bytes(), b.as_bytes());
    let mut i = 0;
    while i < a.len() && i < b.len() && a[i] == b[i] {
        i += 1;
    }
    i == a.len() && i == b.len()
}

/// A reason without a row is no program.
const _: () = {
    let mut reason = 0;
    while reason < REASONS.len() {
        let (mut row, mut found) = (0, false);
        while row < ROWS.len() {
            found |= same(ROWS[row].reason, REASONS[reason]);
            row += 1;
        }
        assert!(found, "a reason that pins has no row in this test");
        reason += 1;
    }
};

const SCHEMA: &str = "
    CREATE TABLE few (id INT PRIMARY KEY AUTO_INCREMENT, k INT);
    INSERT INTO few (k) VALUES (1), (2), (3);
    CREATE TABLE watched (id INT PRIMARY KEY);
    CREATE TRIGGER watches BEFORE INSERT ON watched FOR EACH ROW SET @seen = NEW.id, @Also = 'by a trigger';
    CREATE PROCEDURE assigns(n INT) SET @by_routine = n, sort_buffer_size = 262144 + 1024 * n;
    CREATE PROCEDURE fails(n INT) BEGIN
        SET @by_failure = n, sort_buffer_size = 524288 + 1024 * n;
        SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'on purpose';
    END;
    CREATE PROCEDURE takes_lock(name TEXT) DO GET_LOCK(name, 1);
    CREATE PROCEDURE makes_table() CREATE TEMPORARY TABLE made (a INT);
    CREATE FUNCTION makes_table_too() RETURNS INT DETERMINISTIC MODIFIES SQL DATA BEGIN
        CREATE TEMPORARY TABLE made_too (a INT) ENGINE = MEMORY; RETURN 1; END";

/// A Weir with one connection to the primary, by an account of its own.
struct One<'c> {
    cluster: &'c Cluster,
    account: String,
    weir: Weir,
}

impl<'c> One<'c> {
    fn start(cluster: &'c Cluster, topic: &str, change: impl FnOnce(Options) -> Options) -> Result<One<'c>> {
        let account = format!("pins_{topic}_{}", std::process::id());
        let sql =
            format!("CREATE USER '{account}'@'%' IDENTIFIED BY 'one'; GRANT ALL ON *.* TO '{account}'@'%'");
        cluster.sql(0, &sql)?;
        let users = vec![User::of(cluster).without_split(), User::new("boss", "boss").as_admin()];
        let options = Options::on(cluster)?
            .users(users)
            .set("slices.0.account.user", account.clone())
            .set("slices.0.account.password", "one")
            .set("slices.0.replicas", toml::Value::Array(Vec::new()))
            .set("pool.capacity", 1)
            .set("pool.idle_timeout", "1h")
            .set("pool.checkout_timeout", "100ms");
        Ok(One { cluster, account, weir: Weir::start(&change(options))? })
    }

    fn client(&self, database: &str) -> Result<Client> {
        let login = Login::new(SERVICE.user, SERVICE.password).database(database);
        Ok(self.weir.connect(&login.with(Capabilities::MULTI_STATEMENTS))?)
    }

    fn boss(&self) -> Result<Client> {
        Ok(self.weir.connect(&Login::new("boss", "boss"))?)
    }

    /// The server's ids of the connections.
    fn threads(&self) -> Result<Vec<String>> {
        let sql = format!(
            "SELECT id FROM information_schema.processlist WHERE user = '{}' ORDER BY id",
            self.account
        );
        Ok(self.cluster.sql(0, &sql)?.into_iter().flatten().flatten().collect())
    }

    fn pins(&self, reason: &str) -> Result<f64> {
        Ok(self.weir.metrics()?.sum("weir_pins_total", &[("reason", reason)]))
    }

    fn all_pins(&self) -> Result<f64> {
        Ok(self.weir.metrics()?.sum("weir_pins_total", &[]))
    }

    fn stop(self) -> Result<()> {
        drop(self.weir);
        self.cluster.sql(0, &format!("DROP USER '{}'@'%'", self.account))?;
        Ok(())
    }
}

/// Reasons that an admin sees for a session.
fn shown(boss: &mut Client, id: u32) -> Result<Vec<String>> {
    let rows = boss.rows("SHOW WEIR PINS")?;
    let own = rows.iter().filter(|row| row[0].as_deref() == Some(&*id.to_string()));
    Ok(own.filter_map(|row| row[3].clone()).collect())
}

/// Another session gets the connection, at once or as soon as it was reset.
fn is_served(other: &mut Client) -> Result<()> {
    let begun = Instant::now();
    loop {
        match other.value("SELECT 1 + 1") {
            Ok(value) => {
                ensure!(value == "2");
                return Ok(());
            }
            Err(failure) => ensure!(begun.elapsed() < PATIENCE, "nobody gave the connection back: {failure}"),
        }
    }
}

/// Another session is told, after it has waited, that there is no connection.
fn waits_in_vain(other: &mut Client) -> Result<()> {
    let begun = Instant::now();
    let failure = other.value("SELECT 1 + 1").err().context("it was served")?;
    let text = failure.to_string();
    ensure!(text.contains("became free"), "{text}");
    ensure!(begun.elapsed() >= Duration::from_millis(80), "it did not wait: {:?}", begun.elapsed());
    Ok(())
}

fn every_reason_begins_is_shown_and_ends_with_its_cause(cluster: &'static Cluster) -> Result<()> {
    let one = One::start(cluster, "rows", |options| options)?;
    let databases = Databases::create(cluster, "pins")?;
    databases.prepare(SCHEMA)?;
    let own = if cluster.flavour() == Flavour::MySql { On::MySql } else { On::MariaDb };
    let (mut boss, mut other) = (one.boss()?, one.client(&databases.weir)?);
    is_served(&mut other)?;
    let mut threads = one.threads()?;
    ensure!(threads.len() == 1, "a pool of one has {threads:?}");
    for row in ROWS.iter().filter(|row| row.on == On::Both || row.on == own) {
        one_row(&one, row, &databases.weir, &mut boss, &mut other).with_context(|| format!("{row:?}"))?;
        if CLOSED.contains(&row.reason) {
            threads = one.threads()?;
        }
        ensure!(one.threads()? == threads, "{row:?}: the connection was changed for another");
    }
    one.stop()
}

fn one_row(one: &One<'_>, row: &Row, database: &str, boss: &mut Client, other: &mut Client) -> Result<()> {
    let mut session = one.client(database)?;
    let text = |sql: &str| sql.replace("{db}", database);
    let before = one.pins(row.reason)?;
    let mut statement = 0;
    if row.begins.is_empty() {
        statement = session.prepare("SELECT id, k FROM few")?.id;
        let opened = session.execute_with(statement, &[], Cursor::ReadOnly, Bind::New)?;
        ensure!(opened.error().is_none(), "{opened:?}");
    }
    for sql in row.begins {
        session.run(&text(sql)).with_context(|| text(sql))?;
    }
    let began = one.pins(row.reason)? - before;
    ensure!(began == 1.0, "{began} pins began");
    let reasons = shown(boss, session.id())?;
    ensure!(reasons.iter().any(|reason| reason == row.reason), "shown: {reasons:?}");
    waits_in_vain(other)?;
    match row.ends {
        Ends::By(statements) => {
            let (last, others) = statements.split_last().unwrap();
            for sql in others {
                session.run(&text(sql)).with_context(|| text(sql))?;
                let reasons = shown(boss, session.id())?;
                ensure!(reasons.iter().any(|reason| reason == row.reason), "after {sql}: {reasons:?}");
            }
            for sql in last.split("; ") {
                session.run(&text(sql)).with_context(|| text(sql))?;
            }
        }
        Ends::ByReset => {
            session.run("SELECT COUNT(*) FROM few")?;
            ensure!(!shown(boss, session.id())?.is_empty(), "it ended by itself");
            ensure!(session.reset()?.error().is_none());
        }
        Ends::ByFetch => {
            session.fetch(statement, 2)?;
            ensure!(shown(boss, session.id())? == ["cursor"]);
            session.fetch(statement, 2)?;
        }
        Ends::ByStatementReset => ensure!(session.reset_statement(statement)?.error().is_none()),
        Ends::ByStatementClose => {
            session.close_statement(statement)?;
            ensure!(session.ping()?.error().is_none());
        }
    }
    is_served(other)?;
    let reasons = shown(boss, session.id())?;
    ensure!(reasons.is_empty(), "it is over, and shown are {reasons:?}");
    // the session goes on
    ensure!(session.value("SELECT COUNT(*) FROM few")? == "3");
    Ok(())
}

/// Each line ends with a pin, and what the session has is there. What stands in it is the same at the server itself.
const LASTING: &[&[&str]] = &[
    &[
        "CREATE TEMPORARY TABLE a (i INT)",
        "ALTER TABLE a RENAME TO b",
        "DROP TABLE IF EXISTS a",
        "SELECT COUNT(*) FROM b",
    ],
    &[
        "CREATE TEMPORARY TABLE a (i INT)",
        "CREATE TEMPORARY TABLE b (i INT)",
        "DROP TABLE a",
        "SELECT COUNT(*) FROM b",
    ],
    &["CREATE TEMPORARY TABLE few (i INT)", "DROP TABLE nosuch", "SELECT COUNT(*) FROM few"],
    &[
        "CREATE TEMPORARY TABLE a (i INT)",
        "CREATE TEMPORARY TABLE a (i INT)",
        "DROP TEMPORARY TABLE nosuch",
        "SELECT COUNT(*) FROM a",
    ],
    &["CREATE TEMPORARY TABLE a (i INT)", "DROP DATABASE IF EXISTS nosuch", "SELECT COUNT(*) FROM a"],
    &[
        "SELECT GET_LOCK('{db}', 0)",
        "SELECT GET_LOCK('{db}', 0)",
        "SELECT RELEASE_LOCK('{db}')",
        "SELECT IS_FREE_LOCK('{db}')",
    ],
    &[
        "SELECT GET_LOCK('{db} 1', 0), GET_LOCK('{db} 2', 0)",
        "SELECT RELEASE_LOCK('{db} 1')",
        "SELECT IS_FREE_LOCK('{db} 1'), IS_FREE_LOCK('{db} 2')",
    ],
    &["HANDLER few OPEN", "HANDLER few OPEN AS h", "HANDLER few CLOSE", "HANDLER h READ NEXT"],
    &["FLUSH TABLES WITH READ LOCK", "BEGIN", "COMMIT", "INSERT INTO few (k) VALUES (9)"],
    &["LOCK TABLES few READ", "COMMIT", "SELECT COUNT(*) FROM watched"],
    &["XA START '{db}'", "XA END '{db}'", "XA COMMIT 'nosuch'", "SELECT 1"],
];

fn a_pin_outlives_what_only_looks_like_the_end_of_its_cause(cluster: &'static Cluster) -> Result<()> {
    let one = One::start(cluster, "lasting", |options| options)?;
    let databases = Databases::create(cluster, "lasting")?;
    databases.prepare(SCHEMA)?;
    let (mut boss, mut other) = (one.boss()?, one.client(&databases.weir)?);
    let mut differences = Vec::new();
    for lines in LASTING {
        let mut pair =
            Pair::connect(&one.weir, &databases, &weir_e2e::pair::direct_login(), &format!("{lines:?}"))?;
        // locks of one name would be in each other's way
        for sql in *lines {
            pair.query(sql)?;
        }
        let reasons = shown(&mut boss, pair.weir.id())?;
        ensure!(!reasons.is_empty(), "{lines:?}: no pin is left");
        waits_in_vain(&mut other)?;
        pair.same("reset", Client::reset)?;
        is_served(&mut other)?;
        differences.extend(pair.into_differences());
    }
    ensure!(differences.is_empty(), "{} differences:\n{}", differences.len(), differences.join("\n"));
    one.stop()
}

fn what_a_trigger_assigns_travels(cluster: &'static Cluster) -> Result<()> {
    let one = One::start(cluster, "trigger", |options| options)?;
    let databases = Databases::create(cluster, "trigger")?;
    databases.prepare(SCHEMA)?;
    let mut pair = Pair::connect(&one.weir, &databases, &weir_e2e::pair::direct_login(), "a trigger")?;
    let mut other = one.client(&databases.weir)?;
    other.run("SET @seen = 'the other', @also = 26")?;
    for sql in [
        "INSERT INTO watched VALUES (1), (7)",
        "SELECT ROW_COUNT()",
        "SELECT @seen, @also, @ALSO",
        "SET @seen = 'by hand'",
        "SELECT @seen, @also",
        "INSERT INTO watched VALUES (8)",
        "SELECT @seen, @also",
    ] {
        pair.query(sql)?;
        let seen = other.rows("SELECT @seen, @also")?;
        ensure!(format!("{seen:?}") == r#"[[Some("the other"), Some("26")]]"#, "{sql}: {seen:?}");
    }
    let differences = pair.into_differences();
    ensure!(differences.is_empty(), "{}", differences.join("\n"));
    ensure!(one.all_pins()? == 0.0, "{}", one.weir.metrics()?);
    one.stop()
}

fn what_a_routine_assigns_travels(cluster: &'static Cluster) -> Result<()> {
    let one = One::start(cluster, "routine", |options| options)?;
    let databases = Databases::create(cluster, "routine")?;
    databases.prepare(SCHEMA)?;
    let mut pair = Pair::connect(&one.weir, &databases, &weir_e2e::pair::direct_login(), "a routine")?;
    let mut other = one.client(&databases.weir)?;
    let travels = cluster.flavour() == Flavour::MySql;
    for sql in [
        "CALL assigns(5)",
        "SELECT ROW_COUNT()",
        "SELECT @by_routine, @@sort_buffer_size",
        "CALL assigns(6)",
        "SELECT @by_routine, @@sort_buffer_size",
        "CALL fails(7)",
        "SHOW WARNINGS",
        "SELECT @by_failure, @by_routine, @@sort_buffer_size",
        "CALL nosuch()",
        "SELECT @by_failure, @by_routine, @@sort_buffer_size",
    ] {
        pair.query(sql)?;
        if travels {
            let seen = other
                .value("SELECT @by_routine IS NULL AND @by_failure IS NULL AND @@sort_buffer_size % 1024 = 0")
                .with_context(|| sql.to_owned())?;
            ensure!(seen == "1", "{sql}: the other session sees it");
        }
    }
    let differences = pair.into_differences();
    ensure!(differences.is_empty(), "{}", differences.join("\n"));
    // MariaDB does not tell whether a routine has locked something
    ensure!(one.all_pins()? == if travels { 0.0 } else { 1.0 }, "{}", one.weir.metrics()?);
    one.stop()
}

fn a_lock_that_was_not_to_be_had_does_not_pin(cluster: &'static Cluster) -> Result<()> {
    let one = One::start(cluster, "busy", |options| options)?;
    let databases = Databases::create(cluster, "busy")?;
    let mut session = one.client(&databases.weir)?;
    let mut direct = cluster.client(0)?;
    let name = databases.weir.clone();
    direct.rows(&format!("SELECT GET_LOCK('{name}', 1)"))?;
    ensure!(session.value(&format!("SELECT GET_LOCK('{name}', 0)"))? == "0");
    let prepared = session.prepare("SELECT GET_LOCK(?, 0)")?;
    let parameters = [weir_e2e::client::Parameter::Text(name.clone())];
    session.execute(prepared.id, &parameters)?;
    ensure!(one.all_pins()? == 0.0, "{}", one.weir.metrics()?);
    // and one that is had, prepared
    direct.rows(&format!("SELECT RELEASE_LOCK('{name}')"))?;
    session.execute(prepared.id, &parameters)?;
    ensure!(one.pins("user_lock")? == 1.0, "{}", one.weir.metrics()?);
    let release = session.prepare("SELECT RELEASE_LOCK(?)")?;
    session.execute(release.id, &parameters)?;
    is_served(&mut one.client(&databases.weir)?)?;
    ensure!(cluster.value(0, &format!("SELECT IS_FREE_LOCK('{name}')"))? == "1");
    one.stop()
}

fn a_drain_ends_sessions_that_only_keep_something(cluster: &'static Cluster) -> Result<()> {
    let mut one = One::start(cluster, "drain", |options| {
        options.set("pool.capacity", 2).process("drain_timeout", "20s")
    })?;
    let databases = Databases::create(cluster, "pins_drain")?;
    databases.prepare(SCHEMA)?;
    let (mut keeps, mut locks) = (one.client(&databases.weir)?, one.client(&databases.weir)?);
    keeps.run("CREATE TEMPORARY TABLE tmp (a INT)")?;
    let kept = Instant::now();
    locks.run(&format!("SELECT GET_LOCK('{}', 1)", databases.weir))?;
    let begun = Instant::now();
    one.weir.signal(Signal::TERM)?;
    keeps.set_patience(PATIENCE)?;
    let farewell = keeps.read_packet()?;
    ensure!(farewell.payload.first() == Some(&0xFF), "{farewell:?}");
    ensure!(kept.elapsed() > Duration::from_millis(850), "ended after {:?}", kept.elapsed());
    // a lock is waited for
    ensure!(locks.value(&format!("SELECT IS_FREE_LOCK('{}')", databases.weir))? == "0");
    locks.run(&format!("SELECT RELEASE_LOCK('{}')", databases.weir))?;
    locks.read_to_close()?;
    ensure!(one.weir.wait_for_end(PATIENCE)?.success());
    ensure!(begun.elapsed() < Duration::from_secs(15), "it was cut off after {:?}", begun.elapsed());
    one.stop()
}
