//! A transaction that was begun and not used has no server connection, and nobody can tell.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test's helpers fail as its own lines do")]

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use weir_e2e::client::{Client, Expect, Parameter};
use weir_e2e::on_both_servers;
use weir_e2e::pair::{Databases, Pair, direct_login};
use weir_e2e::rig::Rig;
use weir_e2e::weir::{Options, User, Weir};
use weir_testkit::{Cluster, Flavour};
use weir_wire::capability::Capabilities;

on_both_servers!(
    every_answer_is_the_servers,
    prepared_statements_run_in_it,
    it_uses_no_connection,
    its_first_statement_waits_and_may_fail,
    it_outlives_the_connections_that_were_idle,
    nothing_of_it_is_left_where_its_first_statement_was_refused,
    what_is_set_for_the_next_one_reaches_nobody_else,
    administrators_see_it,
);

const PATIENCE: Duration = Duration::from_secs(20);

const SCHEMA: &str = "
    CREATE TABLE few (id INT PRIMARY KEY AUTO_INCREMENT, k INT) ENGINE=InnoDB;
    INSERT INTO few (k) VALUES (1), (2), (3);
    CREATE TABLE shown (v INT);
    CREATE PROCEDURE adds() INSERT INTO few (k) VALUES (7)";

/// What one session sends. Before a statement that begins with `~` another session has the only connection.
const SESSIONS: &[&[&str]] = &[
    &["BEGIN", "~COMMIT", "~SELECT 1"],
    &["BEGIN WORK", "~ROLLBACK WORK", "~INSERT INTO few (k) VALUES (10)"],
    &[
        "START TRANSACTION",
        "~INSERT INTO few (k) VALUES (11)",
        "SELECT COUNT(*) FROM few",
        "ROLLBACK",
        "~SELECT COUNT(*) FROM few",
    ],
    &["/* a comment */ start /* and another */ transaction;", "~SELECT k FROM few", "COMMIT"],
    &[
        "START TRANSACTION READ ONLY",
        "~INSERT INTO few (k) VALUES (12)",
        "SELECT COUNT(*) FROM few",
        "COMMIT",
    ],
    &["START TRANSACTION READ ONLY", "~ROLLBACK"],
    &[
        "START TRANSACTION READ WRITE",
        "~INSERT INTO few (k) VALUES (12)",
        "COMMIT",
        "~SELECT LAST_INSERT_ID() > 0",
    ],
    &["START TRANSACTION WITH CONSISTENT SNAPSHOT", "SELECT COUNT(*) FROM few", "COMMIT"],
    &["START TRANSACTION READ ONLY, WITH CONSISTENT SNAPSHOT", "COMMIT"],
    &["START TRANSACTION READ ONLY, READ WRITE", "~BEGIN;", "~COMMIT;", "~BEGIN WORK WORK"],
    // a second one, which MySQL lets go on as the first one began
    &[
        "BEGIN",
        "~BEGIN",
        "START TRANSACTION READ ONLY",
        "SELECT COUNT(*) FROM few",
        "BEGIN",
        "INSERT INTO few (k) VALUES (13)",
        "COMMIT",
        "~BEGIN",
    ],
    &["START TRANSACTION READ ONLY", "~BEGIN", "INSERT INTO few (k) VALUES (14)", "ROLLBACK"],
    // it ends what is open
    &["BEGIN", "~INSERT INTO few (k) VALUES (15)", "BEGIN", "ROLLBACK", "~SELECT COUNT(*) FROM few"],
    &["LOCK TABLES few WRITE", "BEGIN", "SELECT COUNT(*) FROM shown", "COMMIT"],
    // what comes first
    &["BEGIN", "~SET TRANSACTION READ ONLY", "SET TRANSACTION ISOLATION LEVEL READ COMMITTED", "COMMIT"],
    &[
        "BEGIN",
        "~SAVEPOINT a",
        "INSERT INTO few (k) VALUES (16)",
        "ROLLBACK TO SAVEPOINT a",
        "COMMIT",
        "~SELECT COUNT(*) FROM few",
    ],
    &["BEGIN", "~ROLLBACK TO SAVEPOINT a", "ROLLBACK"],
    &["BEGIN", "~SET @a = 5", "SELECT @a", "ROLLBACK", "~SELECT @a"],
    &["BEGIN", "~SET sql_mode = 'ANSI_QUOTES'", "SELECT \"k\" FROM few", "COMMIT", "~SELECT \"k\" FROM few"],
    &[
        "SET sql_mode = 'NO_BACKSLASH_ESCAPES,ANSI_QUOTES'",
        "~BEGIN",
        "~SELECT 'a\\', \"k\" FROM few",
        "COMMIT",
        "~BEGIN",
        "~COMMIT",
    ],
    &["BEGIN", "~USE information_schema", "SELECT DATABASE()", "USE {db}", "COMMIT"],
    &["BEGIN", "~CREATE TABLE made (id INT)", "~BEGIN", "~DROP TABLE made", "~COMMIT"],
    &["BEGIN", "~SELECT * FROM nosuch", "SELECT COUNT(*) FROM few", "ROLLBACK"],
    &["BEGIN", "~this is no statement", "SELECT COUNT(*) FROM few", "ROLLBACK"],
    &["BEGIN", "~CALL adds()", "ROLLBACK", "SELECT COUNT(*) FROM few"],
    &[
        "BEGIN",
        "~COMMIT AND CHAIN",
        "INSERT INTO few (k) VALUES (17)",
        "ROLLBACK AND CHAIN",
        "COMMIT AND NO CHAIN",
    ],
    &["START TRANSACTION READ ONLY", "~COMMIT AND CHAIN", "INSERT INTO few (k) VALUES (18)", "COMMIT"],
    &[
        "BEGIN",
        "~SELECT 1; INSERT INTO few (k) VALUES (19); SELECT COUNT(*) FROM few",
        "ROLLBACK",
        "~SELECT COUNT(*) FROM few",
    ],
    &["BEGIN", "~INSERT INTO few (k) VALUES (20); COMMIT", "~BEGIN; SELECT 1", "COMMIT"],
    &["BEGIN", "~SELECT k FROM few FOR UPDATE", "COMMIT"],
    &["BEGIN", "~LOCK TABLES few READ", "SELECT COUNT(*) FROM few", "UNLOCK TABLES"],
    &[
        "BEGIN",
        "~CREATE TEMPORARY TABLE tmp (id INT)",
        "COMMIT",
        "SELECT * FROM tmp",
        "BEGIN",
        "COMMIT",
        "DROP TEMPORARY TABLE tmp",
    ],
    // what is said of it before
    &[
        "SET TRANSACTION ISOLATION LEVEL SERIALIZABLE",
        "~BEGIN",
        "~SELECT k FROM few",
        "COMMIT",
        "~BEGIN",
        "~COMMIT",
    ],
    &[
        "SET TRANSACTION READ ONLY",
        "~INSERT INTO few (k) VALUES (40)",
        "SELECT COUNT(*) FROM few",
        "~INSERT INTO few (k) VALUES (41)",
    ],
    &["SET TRANSACTION READ ONLY", "~SELECT COUNT(*) FROM few", "~INSERT INTO few (k) VALUES (42)"],
    &[
        "SET TRANSACTION READ ONLY",
        "~SELECT 1",
        "SET @a = 1",
        "INSERT INTO few (k) VALUES (43)",
        "SELECT COUNT(*) FROM few",
        "~INSERT INTO few (k) VALUES (44)",
    ],
    &[
        "SET TRANSACTION READ ONLY",
        "~SET TRANSACTION READ WRITE",
        "~SET TRANSACTION ISOLATION LEVEL READ COMMITTED",
        "~BEGIN",
        "~INSERT INTO few (k) VALUES (45)",
        "COMMIT",
    ],
    &[
        "SET TRANSACTION READ ONLY",
        "~START TRANSACTION READ WRITE",
        "~INSERT INTO few (k) VALUES (46)",
        "ROLLBACK",
    ],
    &["SET TRANSACTION READ ONLY", "~BEGIN", "~COMMIT", "~INSERT INTO few (k) VALUES (47)"],
    &[
        "SET TRANSACTION READ ONLY, ISOLATION LEVEL READ UNCOMMITTED",
        "~COMMIT",
        "~INSERT INTO few (k) VALUES (48)",
    ],
    &["SET TRANSACTION READ ONLY", "~SET SESSION TRANSACTION READ WRITE", "~INSERT INTO few (k) VALUES (49)"],
    &[
        "SET TRANSACTION READ ONLY, READ WRITE",
        "~SET TRANSACTION",
        "~SET TRANSACTION ISOLATION LEVEL READ",
        "~INSERT INTO few (k) VALUES (50)",
    ],
    &[
        "SET TRANSACTION READ ONLY; SELECT 1",
        "INSERT INTO few (k) VALUES (51)",
        "SELECT COUNT(*) FROM few",
        "~INSERT INTO few (k) VALUES (52)",
    ],
    &[
        "SET autocommit = 0",
        "~SET TRANSACTION READ ONLY",
        "~INSERT INTO few (k) VALUES (53)",
        "COMMIT",
        "INSERT INTO few (k) VALUES (54)",
        "ROLLBACK",
        "SET autocommit = 1",
    ],
    &["SET TRANSACTION READ ONLY", "~USE {db}", "CREATE TABLE made (id INT)", "SELECT COUNT(*) FROM few"],
    // without autocommit
    &[
        "SET autocommit = 0",
        "~BEGIN",
        "~COMMIT",
        "~BEGIN",
        "~INSERT INTO few (k) VALUES (21)",
        "ROLLBACK",
        "~SET autocommit = 1",
    ],
    &["BEGIN", "~SET autocommit = 0", "INSERT INTO few (k) VALUES (22)", "ROLLBACK", "~SET autocommit = 1"],
    &[
        "SET autocommit = 0",
        "~START TRANSACTION READ ONLY",
        "~ROLLBACK",
        "~INSERT INTO few (k) VALUES (22)",
        "COMMIT",
    ],
    // what a session may only read
    &[
        "SET SESSION TRANSACTION READ ONLY",
        "~BEGIN",
        "~INSERT INTO few (k) VALUES (23)",
        "COMMIT",
        "~BEGIN",
        "~COMMIT",
    ],
    &[
        "SET SESSION TRANSACTION READ ONLY",
        "~START TRANSACTION READ WRITE",
        "~INSERT INTO few (k) VALUES (24)",
        "COMMIT",
    ],
    // what COMMIT is
    &[
        "SET completion_type = 'CHAIN'",
        "~BEGIN",
        "~COMMIT",
        "INSERT INTO few (k) VALUES (25)",
        "ROLLBACK AND NO CHAIN",
        "SET completion_type = 0",
        "~BEGIN",
        "~COMMIT",
    ],
    // what is asked about the statement before
    &["SELECT CAST('x' AS SIGNED), 1/0", "~BEGIN", "~SHOW WARNINGS", "COMMIT"],
    &["SELECT CAST('x' AS SIGNED), 1/0", "BEGIN", "SHOW WARNINGS", "SHOW COUNT(*) WARNINGS", "COMMIT"],
    &["SELECT CAST('x' AS SIGNED), 1/0", "~BEGIN", "~COMMIT", "~SHOW WARNINGS"],
    &["SELECT * FROM nosuch", "BEGIN", "SELECT @@error_count, @@warning_count", "COMMIT"],
    &["SELECT * FROM nosuch", "~BEGIN", "~GET DIAGNOSTICS @n = NUMBER", "SELECT @n", "COMMIT"],
    &["UPDATE few SET k = k + 1", "~BEGIN", "~SELECT ROW_COUNT()", "COMMIT"],
    &["UPDATE few SET k = k + 1", "BEGIN", "SELECT ROW_COUNT() + 1, 'more'", "COMMIT"],
    &["UPDATE few SET k = k + 1", "BEGIN", "COMMIT", "SELECT ROW_COUNT()"],
    &["SELECT SQL_CALC_FOUND_ROWS k FROM few LIMIT 1", "~BEGIN", "~SELECT FOUND_ROWS()", "COMMIT"],
    &["SELECT SQL_CALC_FOUND_ROWS k FROM few LIMIT 1", "BEGIN", "SELECT FOUND_ROWS() + 1", "COMMIT"],
    &[
        "INSERT INTO few (k) VALUES (26)",
        "~BEGIN",
        "~SELECT LAST_INSERT_ID() > 3",
        "INSERT INTO few (k) VALUES (27)",
        "ROLLBACK",
    ],
    &["BEGIN", "~SELECT ROW_COUNT()", "SELECT FOUND_ROWS()", "COMMIT"],
];

/// The same for sessions that ask to be told of transactions.
const TRACKED: &[&[&str]] = &[
    &["BEGIN", "~COMMIT"],
    &["START TRANSACTION READ ONLY", "~SELECT COUNT(*) FROM few", "COMMIT"],
    &[
        "START TRANSACTION READ WRITE",
        "~INSERT INTO few (k) VALUES (30)",
        "SELECT COUNT(*) FROM few",
        "ROLLBACK",
    ],
    &["START TRANSACTION", "~SELECT k FROM few FOR UPDATE", "UPDATE few SET k = 5 WHERE id = 1", "COMMIT"],
    &["BEGIN", "BEGIN", "START TRANSACTION READ ONLY", "SELECT 1", "COMMIT"],
    &["BEGIN", "~COMMIT AND CHAIN", "SELECT COUNT(*) FROM few", "ROLLBACK"],
    &["BEGIN", "~SET @a = 1", "COMMIT"],
    &[
        "SET SESSION TRANSACTION READ ONLY",
        "BEGIN",
        "SELECT COUNT(*) FROM few",
        "COMMIT",
        "SET SESSION TRANSACTION READ WRITE",
    ],
    &[
        "SET autocommit = 0",
        "BEGIN",
        "~SELECT COUNT(*) FROM few",
        "COMMIT",
        "SELECT COUNT(*) FROM few",
        "COMMIT",
        "SET autocommit = 1",
    ],
    &["BEGIN", "~CREATE TABLE made (id INT)", "BEGIN", "DROP TABLE made"],
    &["BEGIN", "~SELECT 1; SELECT COUNT(*) FROM few; COMMIT"],
    &["BEGIN", "~ROLLBACK", "INSERT INTO few (k) VALUES (31)", "BEGIN", "SELECT 1", "ROLLBACK"],
    &["SELECT COUNT(*) FROM few", "BEGIN", "SELECT COUNT(*) FROM few", "COMMIT"],
    &[
        "SET TRANSACTION ISOLATION LEVEL SERIALIZABLE",
        "~SET TRANSACTION READ ONLY",
        "~BEGIN",
        "~SELECT COUNT(*) FROM few",
        "COMMIT",
    ],
    &["SET TRANSACTION READ ONLY", "~SELECT 1", "SELECT COUNT(*) FROM few", "~SELECT 1"],
    &["SET TRANSACTION READ WRITE", "~BEGIN", "~COMMIT", "~START TRANSACTION READ ONLY", "~COMMIT"],
    &["SET TRANSACTION READ ONLY", "~COMMIT"],
    &["SET TRANSACTION READ ONLY", "~START TRANSACTION READ WRITE", "~ROLLBACK"],
];

/// How a session asks.
const WISHES: [&str; 5] = [
    "SET session_track_transaction_info = 'STATE'",
    "SET session_track_transaction_info = 'CHARACTERISTICS'",
    "SET session_track_state_change = ON",
    "SET session_track_system_variables = '*'",
    "SET session_track_system_variables = '', session_track_schema = OFF",
];

/// Another session, which has the only connection in turn with the one that is looked at.
struct Intruder {
    client: Client,
    turns: u32,
}

impl Intruder {
    fn enter(rig: &Rig<'_>) -> Result<Intruder> {
        rig.sql("CREATE TABLE others (v INT) ENGINE=InnoDB")?;
        let mut client = rig.client()?;
        client.run("SET @z = 26, sql_mode = 'ANSI', time_zone = '+03:00'")?;
        Ok(Intruder { client, turns: 0 })
    }

    /// Finds its own, and writes.
    fn turn(&mut self) -> Result<()> {
        self.turns += 1;
        let seen = self.client.rows("SELECT @z, \"v\" FROM (SELECT @@time_zone AS v) t")?;
        ensure!(
            format!("{seen:?}") == r#"[[Some("26"), Some("+03:00")]]"#,
            "the other session sees {seen:?}"
        );
        self.client.run("INSERT INTO others VALUES (1)")?;
        Ok(())
    }

    /// All that it wrote is there: no transaction of somebody else's was open on its connection.
    fn leave(self, rig: &Rig<'_>) -> Result<()> {
        let written = rig.value(&format!("SELECT COUNT(*) FROM `{}`.others", rig.database))?;
        ensure!(self.turns > 0 && written == self.turns.to_string(), "{written} of {}", self.turns);
        Ok(())
    }
}

fn every_answer_is_the_servers(cluster: &'static Cluster) -> Result<()> {
    let rig = Rig::start(cluster, "begun", |options| options.set("pool.checkout_timeout", "5s"))?;
    let mut intruder = Intruder::enter(&rig)?;
    let mut differences = Vec::new();
    for (track, eof) in [(true, false), (true, true), (false, false), (false, true)] {
        let databases = Databases::create(cluster, "begun")?;
        databases.prepare(SCHEMA)?;
        let mut login = direct_login().with(Capabilities::MULTI_STATEMENTS);
        login.capabilities.set(Capabilities::DEPRECATE_EOF, !eof);
        login.capabilities.set(Capabilities::SESSION_TRACK, track);
        let wishes: &[&str] = if track { &WISHES } else { &[] };
        let plain = SESSIONS.iter().map(|statements| (None, *statements));
        // an EOF tells nothing of what a query did to the transaction, and MariaDB takes it for told all the same
        let tells = |wish: &str, statements: &[&str]| {
            !eof || !wish.contains("transaction_info") || !statements.iter().any(|sql| sql.contains("SELECT"))
        };
        let tracked = wishes.iter().flat_map(|wish| {
            let told = TRACKED.iter().filter(|statements| tells(wish, statements));
            told.map(|statements| (Some(*wish), *statements))
        });
        for (wish, statements) in plain.chain(tracked) {
            let title = format!("tracking {track}, EOF {eof}, {wish:?}, {statements:?}");
            let mut pair = Pair::connect(&rig.weir, &databases, &login, &title)?;
            for sql in wish.iter().chain(statements) {
                let sql = match sql.strip_prefix('~') {
                    // what a server counts in every answer, only a server can tell
                    Some(sql) if wish.is_some_and(|wish| wish.contains('*')) => sql,
                    Some(sql) => {
                        intruder.turn().with_context(|| format!("{title}: before {sql}"))?;
                        sql
                    }
                    None => sql,
                };
                pair.query(sql)?;
            }
            differences.extend(pair.into_differences());
        }
    }
    ensure!(differences.is_empty(), "{} differences:\n{}", differences.len(), differences.join("\n"));
    intruder.leave(&rig)?;
    rig.is_as_before()
}

fn prepared_statements_run_in_it(cluster: &'static Cluster) -> Result<()> {
    let rig = Rig::start(cluster, "begun_ps", |options| options.set("pool.checkout_timeout", "5s"))?;
    let mut intruder = Intruder::enter(&rig)?;
    let databases = Databases::create(cluster, "begun_ps")?;
    databases.prepare(SCHEMA)?;
    let mut pair = Pair::connect(&rig.weir, &databases, &direct_login(), "prepared")?;
    pair.query("SET @a = 40, sql_mode = ''")?;
    let adds = pair.prepare("INSERT INTO few (k) VALUES (@a + ?)")?.context("it can be prepared")?;
    let reads = pair.prepare("SELECT k FROM few WHERE k >= ? ORDER BY id")?.context("it can be prepared")?;
    // MySQL prepares no BEGIN
    let begins = pair.prepare("BEGIN")?;
    let commits = pair.prepare("COMMIT")?.context("it can be prepared")?;
    let two = [Parameter::Int(2)];
    for end in ["ROLLBACK", "COMMIT"] {
        for begin in ["BEGIN", "START TRANSACTION READ ONLY"] {
            // on a connection that has the statement, and on one that was reset meanwhile
            for reset in [false, true] {
                pair.query(begin)?;
                intruder.turn()?;
                if reset {
                    intruder.client.run("SET wait_timeout = 1000")?;
                }
                pair.same_with(adds, "insert first", |client, id| client.execute(id, &two))?;
                pair.same_with(reads, "then read", |client, id| client.execute(id, &two))?;
                pair.query(end)?;
                intruder.turn()?;
                pair.query("SELECT COUNT(*) FROM few")?;
            }
        }
    }
    // for one statement, and for none but that
    for id in [adds, reads, adds] {
        if id == adds {
            pair.query("SET TRANSACTION READ ONLY")?;
        }
        intruder.turn()?;
        pair.prepare("SELECT 'prepared meanwhile'")?;
        intruder.turn()?;
        pair.same_with(id, "with the next transaction's", |client, id| client.execute(id, &two))?;
        pair.query("SELECT COUNT(*) FROM few")?;
    }
    pair.query("BEGIN")?;
    intruder.turn()?;
    let late = pair.prepare("SELECT COUNT(*) FROM few WHERE k > ?")?.context("it can be prepared")?;
    pair.same_with(late, "prepared in it", |client, id| client.execute(id, &two))?;
    pair.query("COMMIT")?;
    for (what, first) in [("BEGIN", begins), ("COMMIT", Some(commits))] {
        let Some(first) = first else { continue };
        pair.query("BEGIN")?;
        intruder.turn()?;
        pair.same_with(first, what, |client, id| client.execute(id, &[]))?;
        pair.query("INSERT INTO few (k) VALUES (9)")?;
        pair.query("ROLLBACK")?;
        pair.query("SELECT COUNT(*) FROM few WHERE k = 9")?;
    }
    // commands that are none
    for what in ["ping", "reset", "set option", "init db"] {
        pair.query("BEGIN")?;
        intruder.turn()?;
        let databases = databases.names().map(ToOwned::to_owned);
        let mut turn = databases.iter();
        pair.same(what, |client| match what {
            "ping" => client.ping(),
            "reset" => client.reset(),
            "set option" => client.set_option(0),
            _ => client.init_db(turn.next().map_or("", String::as_str)),
        })?;
        pair.query("INSERT INTO few (k) VALUES (10)")?;
        pair.query("ROLLBACK")?;
        pair.query("SELECT COUNT(*) FROM few WHERE k = 10")?;
    }
    let differences = pair.into_differences();
    ensure!(differences.is_empty(), "{} differences:\n{}", differences.len(), differences.join("\n"));
    intruder.leave(&rig)?;
    rig.is_as_before()
}

/// A session that holds the only connection.
fn holder(rig: &Rig<'_>) -> Result<Client> {
    let mut client = rig.client()?;
    client.run("BEGIN")?;
    client.run("INSERT INTO t VALUES (1)")?;
    Ok(client)
}

fn it_uses_no_connection(cluster: &'static Cluster) -> Result<()> {
    let rig = Rig::start(cluster, "begun_none", |options| options.set("pool.checkout_timeout", "1m"))?;
    rig.sql("CREATE TABLE t (v INT)")?;
    let mut others = (0..4).map(|_| Ok(rig.client()?)).collect::<Result<Vec<_>>>()?;
    let mut holder = holder(&rig)?;
    let in_use = |what: &str, count: f64| {
        rig.weir.wait_for(what, PATIENCE, |m| m.sum("weir_pool_in_use", &[]) == count)
    };
    in_use("one holds it", 1.0)?;
    for other in &mut others {
        for end in ["COMMIT", "ROLLBACK"] {
            other.run("START TRANSACTION READ ONLY")?;
            other.run(end)?;
        }
        other.run("BEGIN")?;
    }
    ensure!(rig.weir.metrics()?.sum("weir_pool_waiting", &[]) == 0.0);
    // whoever goes, by whichever way, leaves nothing behind
    ensure!(others.remove(0).reset()?.error().is_none());
    others.remove(0).quit()?;
    drop(others.remove(0));
    let mut last = others.remove(0);
    last.send(b"\x03INSERT INTO t VALUES (2)")?;
    rig.weir.wait_for("its first statement waits", PATIENCE, |m| m.sum("weir_pool_waiting", &[]) == 1.0)?;
    holder.run("COMMIT")?;
    ensure!(last.read_answer(Expect::Results)?.error().is_none());
    in_use("the other one holds it", 1.0)?;
    ensure!(rig.value(&format!("SELECT COUNT(*) FROM `{}`.t", rig.database))? == "1", "it has not committed");
    last.run("ROLLBACK")?;
    in_use("nobody holds it", 0.0)?;
    ensure!(rig.value(&format!("SELECT COUNT(*) FROM `{}`.t", rig.database))? == "1", "it was rolled back");
    drop((holder, last));
    rig.is_as_before()
}

/// It fails like a statement that waited for a lock in vain: the transaction is open, and empty, as it was.
fn its_first_statement_waits_and_may_fail(cluster: &'static Cluster) -> Result<()> {
    let rig = Rig::start(cluster, "begun_wait", |options| options.set("pool.checkout_timeout", "300ms"))?;
    rig.sql("CREATE TABLE t (v INT)")?;
    let mut client = rig.client()?;
    client.run("SELECT 1")?;
    let mut holder = holder(&rig)?;
    client.run("BEGIN")?;
    for _ in 0..2 {
        ensure!(client.query("INSERT INTO t VALUES (2)")?.error_number() == 1203, "there was a connection");
    }
    holder.run("COMMIT")?;
    client.run("INSERT INTO t VALUES (3)")?;
    let count = || rig.value(&format!("SELECT COUNT(*) FROM `{}`.t", rig.database));
    ensure!(count()? == "1", "outside of its transaction");
    client.run("COMMIT")?;
    ensure!(count()? == "2");
    drop((client, holder));
    rig.is_as_before()
}

fn it_outlives_the_connections_that_were_idle(cluster: &'static Cluster) -> Result<()> {
    let rig = Rig::start(cluster, "begun_lost", |options| options)?;
    rig.sql("CREATE TABLE t (v INT)")?;
    let mut client = rig.client()?;
    let prepared = client.prepare("INSERT INTO t VALUES (?)")?.id;
    let count = || rig.value(&format!("SELECT COUNT(*) FROM `{}`.t", rig.database));
    for (end, written) in [("ROLLBACK", "0"), ("COMMIT", "2")] {
        client.run("BEGIN")?;
        let listed = format!("SELECT id FROM information_schema.processlist WHERE db = '{}'", rig.database);
        let threads = || Ok::<_, anyhow::Error>(cluster.sql(0, &listed)?.into_iter().flatten().flatten());
        let ids: Vec<String> = threads()?.collect();
        ensure!(ids.len() == 1, "a pool of one has {ids:?}");
        cluster.sql(0, &format!("KILL {}", ids[0]))?;
        let killed = Instant::now();
        while threads()?.next().is_some() {
            ensure!(killed.elapsed() < PATIENCE, "{ids:?} is still there");
        }
        let first = match end {
            "COMMIT" => client.execute(prepared, &[Parameter::Int(1)])?,
            _ => client.query("INSERT INTO t VALUES (1)")?,
        };
        ensure!(first.error().is_none(), "{first:?}");
        client.run("INSERT INTO t VALUES (2)")?;
        ensure!(count()? == "0", "outside of a transaction");
        client.run(end)?;
        ensure!(count()? == written, "after {end}: {}", count()?);
    }
    Ok(())
}

/// The server refuses the state that the session wants, and with it its statement: whoever has the connection next is in no
/// transaction.
fn nothing_of_it_is_left_where_its_first_statement_was_refused(cluster: &'static Cluster) -> Result<()> {
    let rig = Rig::start(cluster, "begun_refused", |options| options)?;
    rig.sql("CREATE TABLE t (v INT)")?;
    let gone = Databases::create(cluster, "begun_gone")?;
    let login = rig.login().with(Capabilities::MULTI_STATEMENTS).database(&gone.weir);
    let mut client = rig.weir.connect(&login)?;
    let prepared = client.prepare("SELECT 1 FROM DUAL")?.id;
    let mut other = rig.client()?;
    other.run("INSERT INTO t VALUES (0)")?;
    client.run("BEGIN")?;
    cluster.sql(0, &format!("DROP DATABASE `{}`", gone.weir))?;
    let count = || rig.value(&format!("SELECT COUNT(*) FROM `{}`.t", rig.database));
    for n in 1..6 {
        let answer = match n {
            1 | 2 => client.query("SELECT * FROM t")?,
            3 | 4 => client.query("SELECT 1; SELECT * FROM t")?,
            _ => client.execute(prepared, &[])?,
        };
        ensure!(answer.error().is_some(), "{answer:?}");
        other.run(&format!("INSERT INTO t VALUES ({n})"))?;
        ensure!(count()? == (n + 1).to_string(), "the other session's row is in a transaction");
    }
    cluster.sql(0, &format!("CREATE DATABASE `{}`; CREATE TABLE `{}`.t (v INT)", gone.weir, gone.weir))?;
    client.run("INSERT INTO t VALUES (1)")?;
    client.run("ROLLBACK")?;
    ensure!(client.value("SELECT COUNT(*) FROM t")? == "0", "it ran outside of its transaction");
    drop((client, other));
    rig.is_as_before()
}

/// Only a statement that uses a transaction uses up what was set for the next one.
fn what_is_set_for_the_next_one_reaches_nobody_else(cluster: &'static Cluster) -> Result<()> {
    let rig = Rig::start(cluster, "begun_next", |options| options.set("pool.checkout_timeout", "300ms"))?;
    rig.sql("CREATE TABLE t (v INT) ENGINE=InnoDB")?;
    let name = match cluster.flavour() {
        Flavour::MySql => "transaction_read_only",
        Flavour::MariaDb => "tx_read_only",
    };
    // known to the server at once, in words that Weir leaves to it
    for set in ["SET TRANSACTION /*! READ ONLY */".to_owned(), format!("SET @@{name} = 1")] {
        let (mut client, mut other) = (rig.client()?, rig.client()?);
        other.run("INSERT INTO t VALUES (1)")?;
        client.run(&set)?;
        client.run("SELECT 1")?;
        let number = other.query("INSERT INTO t VALUES (2)")?.error_number();
        ensure!(number == 1203, "{set}: {number}, and the connection is the other session's");
        client.run("SELECT COUNT(*) FROM t")?;
        other.run("INSERT INTO t VALUES (3)")?;
        client.run("INSERT INTO t VALUES (4)")?;
    }
    rig.is_as_before()
}

fn administrators_see_it(cluster: &'static Cluster) -> Result<()> {
    let mut boss = User::of(cluster);
    boss.admin = true;
    let weir = Weir::start(&Options::on(cluster)?.users(vec![boss]))?;
    let mut boss = weir.client()?;
    let mut client = weir.client()?;
    let row = |boss: &mut Client, id: u32| -> Result<(String, String)> {
        let rows = boss.rows("SHOW WEIR SESSIONS")?;
        let row = rows.into_iter().find(|row| row[0] == Some(id.to_string())).context("it is listed")?;
        Ok((row[7].clone().unwrap_or_default(), row[8].clone().unwrap_or_default()))
    };
    client.run("SELECT 1")?;
    for (sql, pins) in
        [("BEGIN", "transaction"), ("COMMIT", ""), ("START TRANSACTION READ ONLY", "transaction")]
    {
        client.run(sql)?;
        let seen = row(&mut boss, client.id())?;
        ensure!(seen == (pins.to_owned(), String::new()), "after {sql}: {seen:?}");
    }
    client.run("SELECT COUNT(*) FROM mysql.user")?;
    let (pins, instance) = row(&mut boss, client.id())?;
    ensure!(pins == "transaction" && instance == cluster.primary()?.address(), "{pins} {instance}");
    drop((boss, client));
    weir.stop()
}
