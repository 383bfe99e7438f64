//! Reads go to replicas, everything else to the primary: by the servers' own word, as text and prepared.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test's helpers fail as its own lines do"
)]

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use weir_e2e::client::{Client, Expect, Login};
use weir_e2e::general_log::{GeneralLog, Runs};
use weir_e2e::on_both_servers;
use weir_e2e::weir::{Options, User, Weir};
use weir_testkit::{Cluster, Flavour};
use weir_wire::capability::Capabilities;

on_both_servers!(
    every_class_of_statement_goes_where_it_belongs,
    what_a_replica_refuses_as_a_write_runs_on_the_primary,
    a_read_only_user_changes_nothing,
    every_replica_is_guarded_though_its_server_is_not,
    reads_are_spread_by_weight,
    what_is_in_flight_is_spread_by_weight,
);

const DATABASE: &str = "e2e_split";
const PATIENCE: Duration = Duration::from_secs(20);
/// This statement cannot be prepared (ER_UNSUPPORTED_PS).
const NOT_PREPARABLE: u16 = 1295;
const BEGIN_ON_REPLICA: &str = "/* weir: replica */ START TRANSACTION READ ONLY";

/// Cannot execute statement in a READ ONLY transaction.
const READ_ONLY_TRANSACTION: u16 = 1792;
/// The server (or Weir) runs read-only and cannot execute this statement.
const READ_ONLY: u16 = 1290;

const SCHEMA: &str = "
    DROP DATABASE IF EXISTS e2e_split;
    CREATE DATABASE e2e_split;
    USE e2e_split;
    CREATE TABLE t (id INT PRIMARY KEY, v INT);
    INSERT INTO t VALUES (1, 10), (2, 20), (3, 30);
    CREATE TABLE w (id INT PRIMARY KEY AUTO_INCREMENT, v INT);
    CREATE FUNCTION plus(x INT) RETURNS INT DETERMINISTIC NO SQL RETURN x + 1;
    CREATE FUNCTION writes(x INT) RETURNS INT DETERMINISTIC MODIFIES SQL DATA
        BEGIN INSERT INTO w (v) VALUES (x); RETURN x; END;
    CREATE VIEW hidden AS SELECT writes(7) AS x;
    CREATE PROCEDURE two() BEGIN SELECT 1; SELECT 2; END;
    CREATE PROCEDURE adds(x INT) INSERT INTO w (v) VALUES (x);
    CREATE PROCEDURE frees() SET SESSION {read_only} = 0;
    CREATE PROCEDURE opens() START TRANSACTION READ WRITE";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Where {
    Primary,
    Replica,
}
use Where::{Primary, Replica};

/// Who sends it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Who {
    /// Reads are split off.
    Split,
    /// They are not.
    NoSplit,
    /// May only read; reads are split off.
    Reader,
}
use Who::{NoSplit, Reader, Split};

/// What the session does before, and the statement that is looked for.
type Row = (Who, &'static [&'static str], &'static str, Where);

const BOTH: &[Row] = &[
    // plain reads
    (Split, &[], "SELECT v FROM t WHERE id = 1", Replica),
    (Split, &[], "select count(*), max(v) from t group by v having max(v) > 1 order by 1", Replica),
    (Split, &[], "(SELECT 1) UNION (SELECT v FROM t)", Replica),
    (Split, &[], "WITH c AS (SELECT 1 AS a) SELECT * FROM c", Replica),
    (Split, &[], "SELECT a.v FROM t a JOIN t b USING (id) WHERE a.id IN (SELECT id FROM t)", Replica),
    (Split, &[], "SELECT UPPER('a'), COALESCE(NULL, v), NOW(), IF(v > 1, 'a', 'b') FROM t", Replica),
    (Split, &[], "/* a comment */ SELECT v FROM e2e_split.t -- another\n", Replica),
    (Split, &[], "SELECT 'FOR UPDATE', \"INTO @a\", 'GET_LOCK(1)' FROM t", Replica),
    (Split, &["INSERT INTO w (v) VALUES (1)"], "SELECT COUNT(*) FROM w", Replica),
    (Split, &["BEGIN", "SELECT 1", "COMMIT"], "SELECT v FROM t WHERE id = 2", Replica),
    (
        Split,
        &["SET autocommit = 0", "SELECT v FROM t", "COMMIT", "SET autocommit = 1"],
        "SELECT 2 FROM t",
        Replica,
    ),
    (Split, &["SET SESSION sql_mode = 'ANSI'", "SET time_zone = '+03:00'"], "SELECT v FROM t", Replica),
    // locking reads
    (Split, &[], "SELECT v FROM t WHERE id = 1 FOR UPDATE", Primary),
    (Split, &[], "SELECT v FROM t WHERE id = 1 LOCK IN SHARE MODE", Primary),
    (Split, &[], "SELECT v FROM t WHERE id = 1 /*! FOR UPDATE */", Primary),
    (Split, &[], "SELECT 1 FROM t WHERE id = (SELECT id FROM t WHERE id = 1 FOR UPDATE)", Primary),
    (Split, &[], "(SELECT v FROM t FOR UPDATE) UNION (SELECT 1)", Primary),
    // user-level locks
    (Split, &[], "SELECT GET_LOCK('e2e split', 0)", Primary),
    (Split, &["SELECT GET_LOCK('e2e split', 0)"], "SELECT RELEASE_LOCK('e2e split')", Primary),
    (Split, &[], "SELECT IS_FREE_LOCK('e2e split')", Primary),
    (Split, &[], "SELECT IS_USED_LOCK('e2e split')", Primary),
    (Split, &[], "SELECT RELEASE_ALL_LOCKS()", Primary),
    (Split, &[], "SELECT get_lock ('e2e split', 0) FROM t WHERE id = 1", Primary),
    // functions with side effects, and those that nobody knows
    (Split, &[], "SELECT plus(1)", Primary),
    (Split, &[], "SELECT e2e_split.plus(1) FROM t", Primary),
    (Split, &[], "SELECT writes(1)", Primary),
    (Split, &[], "SELECT * FROM t WHERE id = writes(1)", Primary),
    (Split, &[], "SELECT LOAD_FILE('/nowhere')", Primary),
    // about the session's own statement before
    (Split, &["INSERT INTO w (v) VALUES (1)"], "SELECT LAST_INSERT_ID()", Primary),
    (Split, &[], "SELECT LAST_INSERT_ID(5)", Primary),
    (Split, &["INSERT INTO w (v) VALUES (1)"], "SELECT v FROM w WHERE id = LAST_INSERT_ID()", Primary),
    (Split, &["INSERT INTO w (v) VALUES (1)"], "SELECT @@last_insert_id", Primary),
    (Split, &["INSERT INTO w (v) VALUES (1)"], "SELECT @@identity", Primary),
    // SELECT … INTO
    (Split, &[], "SELECT v INTO @a FROM t WHERE id = 1", Primary),
    (Split, &[], "SELECT v FROM t WHERE id = 1 INTO @a", Primary),
    (Split, &[], "SELECT v FROM t INTO OUTFILE '/nowhere/out'", Primary),
    (Split, &[], "SELECT v FROM t WHERE id = 1 INTO DUMPFILE '/nowhere/out'", Primary),
    // system variables that differ by server
    (Split, &[], "SELECT @@server_id", Primary),
    (Split, &[], "SELECT @@port, @@hostname", Primary),
    (Split, &[], "SELECT @@GLOBAL.read_only", Primary),
    (Split, &[], "SHOW GLOBAL VARIABLES LIKE 'server_id'", Primary),
    // user variables
    (Split, &["SET @a = 1"], "SELECT @a", Primary),
    (Split, &[], "SELECT @a := 5", Primary),
    // temporary tables
    (Split, &["CREATE TEMPORARY TABLE tmp SELECT 1 AS x"], "SELECT x FROM tmp", Primary),
    (Split, &["CREATE TEMPORARY TABLE t SELECT 1 AS x"], "SELECT x FROM t", Primary),
    // in a transaction
    (Split, &["BEGIN"], "SELECT v FROM t WHERE id = 1", Primary),
    (Split, &["START TRANSACTION"], "SELECT v FROM t WHERE id = 1", Primary),
    (Split, &["START TRANSACTION WITH CONSISTENT SNAPSHOT"], "SELECT v FROM t", Primary),
    (Split, &["SET autocommit = 0"], "SELECT v FROM t WHERE id = 1", Primary),
    (Split, &["BEGIN", "SELECT 1", "COMMIT AND CHAIN"], "SELECT v FROM t WHERE id = 1", Primary),
    (Split, &["LOCK TABLES t READ"], "SELECT v FROM t WHERE id = 1", Primary),
    (Split, &[], "START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY", Primary),
    (Split, &["START TRANSACTION READ ONLY"], "SELECT v FROM t WHERE id = 1", Primary),
    (Split, &[], "/* weir: replica */ START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY", Replica),
    (Split, &[BEGIN_ON_REPLICA], "SELECT v FROM t WHERE id = 1", Replica),
    // no server has seen the transaction yet: what could not stay on a replica begins it on the primary
    (Split, &[BEGIN_ON_REPLICA], "SET @a = 1", Primary),
    (Split, &[BEGIN_ON_REPLICA], "SELECT GET_LOCK('e2e split', 0)", Primary),
    (Split, &[BEGIN_ON_REPLICA], "/* weir: primary */ SELECT v FROM t", Primary),
    (Split, &[BEGIN_ON_REPLICA, "SET @a = 1"], "SELECT v FROM t", Primary),
    (Split, &[BEGIN_ON_REPLICA, "COMMIT"], "UPDATE w SET v = 1 WHERE id = 0", Primary),
    (Split, &[BEGIN_ON_REPLICA, "BEGIN"], "SELECT v FROM t", Primary),
    (Split, &[BEGIN_ON_REPLICA, "SELECT 1", "COMMIT"], "UPDATE w SET v = 1 WHERE id = 0", Primary),
    (Split, &[BEGIN_ON_REPLICA, "SELECT 1", "COMMIT", "BEGIN"], "SELECT v FROM t", Primary),
    (Split, &[BEGIN_ON_REPLICA, "SELECT 1", "BEGIN"], "UPDATE w SET v = 1 WHERE id = 0", Primary),
    // writes
    (Split, &[], "INSERT INTO w (v) VALUES (1)", Primary),
    (Split, &[], "INSERT INTO w (v) SELECT v FROM t", Primary),
    (Split, &[], "UPDATE w SET v = v + 1", Primary),
    (Split, &[], "DELETE FROM w WHERE id < 0", Primary),
    (Split, &[], "REPLACE INTO w VALUES (1, 1)", Primary),
    (Split, &[], "TRUNCATE TABLE w", Primary),
    (Split, &[], "CREATE TABLE IF NOT EXISTS made (x INT)", Primary),
    (Split, &[], "CALL two()", Primary),
    (Split, &[], "DO 1", Primary),
    (Split, &[], "ANALYZE TABLE t", Primary),
    // nobody knows what it does
    (Split, &[], "CHECK TABLE t", Primary),
    // hints
    (Split, &[], "/* weir: primary */ SELECT v FROM t", Primary),
    (Split, &[], "SELECT /* weir: primary */ v FROM t", Primary),
    (Split, &[], "SELECT v FROM t /* weir:primary */", Primary),
    (Split, &[], "/*master*/ SELECT v FROM t", Primary),
    (Split, &[], "/* weir: replica */ SELECT plus(1)", Replica),
    (Split, &[], "/* weir: replica */ SELECT @@server_id", Replica),
    (Split, &[], "/* weir: replica */ UPDATE w SET v = 1 WHERE id = 0", Primary),
    (Split, &[], "/* weir: replica */ SELECT GET_LOCK('e2e split', 0)", Primary),
    (Split, &[], "/* weir: replica */ /* weir: primary */ SELECT v FROM t", Primary),
    (Split, &["BEGIN"], "/* weir: replica */ SELECT v FROM t", Primary),
    (Split, &[], "SELECT '/* weir: primary */', v FROM t", Replica),
    // users whose reads are not split off
    (NoSplit, &[], "SELECT v FROM t WHERE id = 1", Primary),
    (NoSplit, &[], "/* weir: replica */ SELECT v FROM t", Primary),
    (NoSplit, &["START TRANSACTION READ ONLY"], "SELECT v FROM t WHERE id = 1", Primary),
    // users who may only read
    (Reader, &[], "SELECT v FROM t WHERE id = 1", Replica),
    (Reader, &["BEGIN"], "SELECT v FROM t WHERE id = 1", Primary),
    (Reader, &[], "SELECT v FROM t WHERE id = 1 FOR UPDATE", Primary),
    (Reader, &[], "UPDATE w SET v = 1 WHERE id = 0", Primary),
];

const MYSQL: &[Row] = &[
    (Split, &[], "TABLE t", Replica),
    (Split, &[], "VALUES ROW(1, 2)", Replica),
    (Split, &[], "SELECT v FROM t WHERE id = 1 FOR SHARE", Primary),
    (Split, &[], "SELECT v FROM t WHERE id = 1 FOR UPDATE SKIP LOCKED", Primary),
    (Split, &[], "TABLE t FOR UPDATE", Primary),
    (Split, &[], "SELECT @@server_uuid", Primary),
    (Split, &[], "HELP 'select'", Primary),
];

const MARIADB: &[Row] = &[
    (Split, &[], "VALUES (1, 2)", Replica),
    (Split, &["CREATE OR REPLACE SEQUENCE s"], "SELECT NEXTVAL(s)", Primary),
    (Split, &["CREATE OR REPLACE SEQUENCE s"], "SELECT NEXT VALUE FOR s", Primary),
    (Split, &[], "SELECT @@gtid_binlog_pos", Primary),
    (Split, &[], "SELECT v, @@global.gtid_domain_id FROM t", Primary),
    (Split, &[], "SELECT v FROM t WHERE id = 1 FOR UPDATE SKIP LOCKED", Primary),
];

/// Tests of one cluster take turns: they count what its servers do.
fn alone(cluster: &Cluster) -> MutexGuard<'static, ()> {
    static TURNS: [Mutex<()>; 2] = [Mutex::new(()), Mutex::new(())];
    TURNS[usize::from(cluster.flavour() == Flavour::MySql)].lock().unwrap_or_else(PoisonError::into_inner)
}

fn start(cluster: &Cluster) -> Result<Weir> {
    let read_only = match cluster.flavour() {
        Flavour::MySql => "transaction_read_only",
        Flavour::MariaDb => "tx_read_only",
    };
    cluster.sql(0, &SCHEMA.replace("{read_only}", read_only))?;
    cluster.wait_for_replicas(PATIENCE)?;
    let mut reader = User::new("reader", "reader-password");
    reader.read_only = true;
    let users = vec![
        User::new("split", "split-password"),
        User::new("whole", "whole-password").without_split(),
        reader,
    ];
    Weir::start(&Options::on(cluster)?.users(users))
}

fn login(who: Who) -> Login {
    let (user, password) = match who {
        Split => ("split", "split-password"),
        NoSplit => ("whole", "whole-password"),
        Reader => ("reader", "reader-password"),
    };
    Login::new(user, password).database(DATABASE)
}

fn session(weir: &Weir, (who, before, ..): &Row) -> Result<Client> {
    let mut client = weir.connect(&login(*who))?;
    for sql in *before {
        client.run(sql).with_context(|| (*sql).to_owned())?;
    }
    Ok(client)
}

/// Did exactly one server run it, once, and the right one?
fn is_right(runs: &Runs, expected: Where) -> bool {
    let elsewhere: usize = runs[1..].iter().sum();
    match expected {
        Primary => (runs[0], elsewhere) == (1, 0),
        Replica => (runs[0], elsewhere) == (0, 1),
    }
}

fn every_class_of_statement_goes_where_it_belongs(cluster: &'static Cluster) -> Result<()> {
    let _alone = alone(cluster);
    let weir = start(cluster)?;
    let log = GeneralLog::start(cluster)?;
    let own = if cluster.flavour() == Flavour::MySql { MYSQL } else { MARIADB };
    let mut wrong = Vec::new();
    let (mut texts, mut prepared) = (0, 0);
    for row in BOTH.iter().chain(own) {
        let (who, _, sql, expected) = row;
        let mut text = session(&weir, row)?;
        // an error of the server is an answer: it ran there
        let mark = log.mark();
        text.query(format!("{sql} /* {mark} */"))?;
        let runs = log.runs(&mark)?;
        texts += 1;
        if !is_right(&runs, *expected) {
            wrong.push(format!("{who:?}: {sql}: ran {runs:?} times, not on the {expected:?}"));
        }
        text.quit()?;

        let mut binary = session(&weir, row)?;
        let mark = log.mark();
        match binary.prepare(format!("{sql} /* {mark} */")) {
            Ok(statement) => {
                binary.execute(statement.id, &[])?;
                let runs = log.runs(&mark)?;
                prepared += 1;
                if !is_right(&runs, *expected) {
                    wrong.push(format!(
                        "{who:?}: prepared {sql}: ran {runs:?} times, not on the {expected:?}"
                    ));
                }
            }
            Err(refused) if refused.number() == Some(NOT_PREPARABLE) => {}
            Err(refused) if *who == Reader && refused.number() == Some(READ_ONLY_TRANSACTION) => {}
            Err(other) => wrong.push(format!("{who:?}: cannot be prepared: {sql}: {other}")),
        }
        binary.quit()?;
    }
    ensure!(wrong.is_empty(), "{} go elsewhere:\n{}", wrong.len(), wrong.join("\n"));
    ensure!(prepared * 10 > texts * 8, "only {prepared} of {texts} were prepared");
    weir.stop()
}

/// Its text only reads, so it goes to a replica first, which says what it is.
fn what_a_replica_refuses_as_a_write_runs_on_the_primary(cluster: &'static Cluster) -> Result<()> {
    let _alone = alone(cluster);
    let weir = start(cluster)?;
    let log = GeneralLog::start(cluster)?;
    let moved = || Ok::<_, anyhow::Error>(weir.metrics()?.sum("weir_statements_moved_to_primary_total", &[]));
    let mut client = weir.connect(&login(Split))?;
    let written = |client: &mut Client| client.value("/*master*/ SELECT COUNT(*) FROM w WHERE v = 7");
    for (n, sql) in
        ["SELECT x FROM hidden", "/* weir: replica */ SELECT writes(7) AS x, 'hinted'"].iter().enumerate()
    {
        let before = moved()?;
        let first = log.mark();
        let rows = client.rows(&format!("{sql} /* {first} */"))?;
        ensure!(rows[0][0].as_deref() == Some("7"), "{sql}: {rows:?}");
        let runs = log.runs(&first)?;
        ensure!(runs[0] == 1 && runs[1..].iter().sum::<usize>() == 1, "{sql} at first: ran {runs:?} times");
        ensure!(moved()? == before + 1.0, "{sql}: not counted once");

        let again = log.mark();
        client.rows(&format!("{sql} /* {again} */"))?;
        let mut other = weir.connect(&login(Split))?;
        other.rows(&format!("{sql} /* {again} */"))?;
        ensure!(log.runs(&again)? == [2, 0, 0], "{sql}: its fingerprint is not remembered");
        ensure!(moved()? == before + 1.0, "{sql}: counted again");
        ensure!(written(&mut client)? == format!("{}", 3 * (n + 1)), "{sql}: not written once each time");
    }
    // prepared, with a text that has another fingerprint
    let before = moved()?;
    let statement = client.prepare("SELECT x, 'prepared' FROM hidden")?;
    for _ in 0..2 {
        let answer = client.execute(statement.id, &[])?;
        ensure!(answer.error().is_none(), "prepared: {answer:?}");
    }
    ensure!(moved()? == before + 1.0, "the prepared statement is not counted once");
    ensure!(written(&mut client)? == "8", "the prepared statement has not written twice");
    client.quit()?;
    drop(log);
    weir.stop()
}

/// What a read-only user sends, and the error. `None`: it is allowed.
const READ_ONLY_ROWS: &[(&str, Option<u16>)] = &[
    ("SELECT v FROM t WHERE id = 1", None),
    ("SHOW TABLES", None),
    ("CALL two()", None),
    ("BEGIN; SELECT 1; COMMIT", None),
    ("SET @a = 1", None),
    ("SET SESSION sort_buffer_size = 300000", None),
    ("INSERT INTO t VALUES (9, 9)", Some(READ_ONLY_TRANSACTION)),
    ("REPLACE INTO t VALUES (1, 9)", Some(READ_ONLY_TRANSACTION)),
    ("UPDATE t SET v = 9", Some(READ_ONLY_TRANSACTION)),
    ("DELETE FROM t", Some(READ_ONLY_TRANSACTION)),
    ("TRUNCATE TABLE t", Some(READ_ONLY_TRANSACTION)),
    ("CREATE TABLE made_by_reader (x INT)", Some(READ_ONLY_TRANSACTION)),
    ("ALTER TABLE t ADD x INT", Some(READ_ONLY_TRANSACTION)),
    ("DROP TABLE t", Some(READ_ONLY_TRANSACTION)),
    ("DROP DATABASE e2e_split", Some(READ_ONLY_TRANSACTION)),
    ("CALL adds(9)", Some(READ_ONLY_TRANSACTION)),
    ("SELECT writes(9)", Some(READ_ONLY_TRANSACTION)),
    ("SELECT * FROM hidden", Some(READ_ONLY_TRANSACTION)),
    ("BEGIN; DELETE FROM t; COMMIT", Some(READ_ONLY_TRANSACTION)),
    ("SELECT 1; DELETE FROM t", Some(READ_ONLY_TRANSACTION)),
    ("CALL frees(); DELETE FROM t", Some(READ_ONLY)),
    ("CALL frees(); CREATE TABLE made_by_reader (x INT)", Some(READ_ONLY)),
    ("SET @s = 'DELETE FROM t'; PREPARE p FROM @s; EXECUTE p", Some(READ_ONLY)),
    ("CALL frees(); CALL adds(9)", Some(READ_ONLY)),
    ("START TRANSACTION READ WRITE", Some(READ_ONLY)),
    ("SET SESSION TRANSACTION READ WRITE", Some(READ_ONLY)),
    ("SET TRANSACTION READ WRITE", Some(READ_ONLY)),
    ("SET GLOBAL max_connections = 400", Some(READ_ONLY)),
    ("SET @@global.max_connections = 400", Some(READ_ONLY)),
    ("FLUSH TABLES", Some(READ_ONLY)),
    ("FLUSH PRIVILEGES", Some(READ_ONLY)),
    ("ANALYZE TABLE t", Some(READ_ONLY)),
    ("OPTIMIZE TABLE t", Some(READ_ONLY)),
    ("REPAIR TABLE t", Some(READ_ONLY)),
    ("/*! FLUSH TABLES */", Some(READ_ONLY)),
    ("SELECT 1; SET GLOBAL max_connections = 400", Some(READ_ONLY)),
];

fn a_read_only_user_changes_nothing(cluster: &'static Cluster) -> Result<()> {
    let _alone = alone(cluster);
    let weir = start(cluster)?;
    let look = || -> Result<String> {
        let tables = cluster.sql(0, "SHOW TABLES FROM e2e_split")?;
        let rows = cluster.sql(0, "SELECT * FROM e2e_split.t UNION ALL SELECT * FROM e2e_split.w")?;
        Ok(format!("{tables:?} {rows:?} {}", cluster.value(0, "SELECT @@global.max_connections")?))
    };
    let before_all = look()?;
    let assignments: &[(&str, Option<u16>)] = match cluster.flavour() {
        Flavour::MySql => &[
            ("SET SESSION transaction_read_only = 0", Some(READ_ONLY)),
            ("SET @@session.transaction_read_only = OFF", Some(READ_ONLY)),
            ("SET PERSIST max_connections = 400", Some(READ_ONLY)),
        ],
        Flavour::MariaDb => &[
            ("SET SESSION tx_read_only = 0", Some(READ_ONLY)),
            ("BEGIN NOT ATOMIC CALL frees(); DELETE FROM t; END", Some(READ_ONLY)),
            ("BEGIN NOT ATOMIC CALL frees(); CALL adds(9); END", Some(READ_ONLY)),
        ],
    };
    let login = login(Reader).with(Capabilities::MULTI_STATEMENTS);
    let mut wrong = Vec::new();
    for (sql, expected) in READ_ONLY_ROWS.iter().chain(assignments) {
        let mut client = weir.connect(&login)?;
        let text = client.query(sql)?.error_number();
        if text != expected.unwrap_or(0) {
            wrong.push(format!("{sql}: error {text} instead of {expected:?}"));
        }
        // several statements cannot be prepared, whoever asks
        if !sql.contains(';') {
            let prepared = match client.prepare(sql) {
                Ok(statement) => client.execute(statement.id, &[])?.error_number(),
                Err(failure) => failure.number().context("the connection is lost")?,
            };
            if prepared != expected.unwrap_or(0) && prepared != NOT_PREPARABLE {
                wrong.push(format!("prepared {sql}: error {prepared} instead of {expected:?}"));
            }
        }
        if look()? != before_all {
            wrong.push(format!("{sql} changed something: {}", look()?));
            break;
        }
        client.quit()?;
    }
    // a routine may lift the guard: it is back for the next statement, in and outside of transactions
    for before in [
        &["CALL frees()"][..],
        &["BEGIN", "CALL frees()"],
        &["SET @a = 1", "CALL frees()"],
        &["CALL opens()"],
    ] {
        let mut client = weir.connect(&login)?;
        for sql in before {
            client.query(sql)?;
        }
        let number = match client.query("DELETE FROM t") {
            Ok(answer) => answer.error_number(),
            Err(failure) if failure.is_lost() => READ_ONLY_TRANSACTION,
            Err(failure) => return Err(failure.into()),
        };
        drop(client);
        if number != READ_ONLY_TRANSACTION || look()? != before_all {
            wrong.push(format!("DELETE after {before:?}: error {number}"));
        }
    }
    ensure!(wrong.is_empty(), "{} rows:\n{}", wrong.len(), wrong.join("\n"));
    weir.stop()
}

/// A replica's session runs read-only even where the server itself would let the account write.
fn every_replica_is_guarded_though_its_server_is_not(cluster: &'static Cluster) -> Result<()> {
    let _alone = alone(cluster);
    let weir = start(cluster)?;
    let mut client = weir.connect(&login(Split))?;
    let variable = match cluster.flavour() {
        Flavour::MySql => "transaction_read_only",
        Flavour::MariaDb => "tx_read_only",
    };
    let mut seen = std::collections::BTreeSet::new();
    for _ in 0..40 {
        let row =
            client.rows(&format!("/* weir: replica */ SELECT @@server_id, @@session.{variable}"))?.remove(0);
        ensure!(row[1].as_deref() == Some("1"), "instance {row:?} is not guarded");
        seen.insert(row[0].clone());
    }
    let of_replicas: std::collections::BTreeSet<_> =
        cluster.replicas().iter().map(|replica| Some(replica.server_id.to_string())).collect();
    ensure!(seen == of_replicas, "reads went to {seen:?}");
    weir.stop()
}

/// Statements that an instance answered, by its own count.
fn selects(cluster: &Cluster, index: usize) -> Result<u64> {
    let row = cluster.sql(index, "SHOW GLOBAL STATUS LIKE 'Com_select'")?.remove(0);
    row[1].as_deref().unwrap_or_default().parse().context("a count")
}

/// Reads of a few closed-loop clients; gives how many each instance answered.
fn read_for_a_while(cluster: &Cluster, weir: &Weir, clients: usize, each: usize) -> Result<Vec<u64>> {
    let count = || (0..3).map(|index| selects(cluster, index)).collect::<Result<Vec<u64>>>();
    let before = count()?;
    std::thread::scope(|scope| {
        let running: Vec<_> = (0..clients)
            .map(|_| {
                scope.spawn(|| -> Result<()> {
                    let mut client = weir.connect(&login(Split))?;
                    for n in 0..each {
                        client.value(&format!("SELECT v FROM t WHERE id = {}", n % 3 + 1))?;
                    }
                    Ok(client.quit()?)
                })
            })
            .collect();
        running.into_iter().try_for_each(|client| client.join().unwrap())
    })?;
    Ok(count()?.iter().zip(before).map(|(after, before)| after - before).collect())
}

fn reads_are_spread_by_weight(cluster: &'static Cluster) -> Result<()> {
    let _alone = alone(cluster);
    start(cluster)?.stop()?;
    let users = vec![User::new("split", "split-password")];
    let mut wrong = Vec::new();
    for (weights, low, high) in [([1, 1], 0.40, 0.60), ([3, 1], 0.65, 0.85), ([1, 0], 1.0, 1.0)] {
        let mut options = Options::on(cluster)?.users(users.clone());
        for (n, weight) in weights.iter().enumerate() {
            options = options.set(&format!("slices.0.replicas.{n}.weight"), *weight);
        }
        let weir = Weir::start(&options)?;
        // one client alone, a few, and many more than connections
        for (clients, each) in [(1, 800), (4, 200), (24, 60)] {
            let runs = read_for_a_while(cluster, &weir, clients, each)?;
            let share = runs[1] as f64 / (runs[1] + runs[2]) as f64;
            let reads = (clients * each) as u64;
            weir_testkit::say(format!("weights {weights:?}, {clients} clients: {runs:?}"));
            // the gateway's own questions to a server come on top
            if runs[0] > reads / 20 || runs[1] + runs[2] < reads || !(low..=high).contains(&share) {
                wrong.push(format!("weights {weights:?}, {clients} clients: {runs:?}"));
            }
        }
        weir.stop()?;
    }
    ensure!(wrong.is_empty(), "not by weight:\n{}", wrong.join("\n"));
    Ok(())
}

/// Long reads, begun one after the other: no replica has much more than its share of them at once.
fn what_is_in_flight_is_spread_by_weight(cluster: &'static Cluster) -> Result<()> {
    const READS: usize = 8;
    let _alone = alone(cluster);
    start(cluster)?.stop()?;
    for (weights, expected) in [([1, 1], [4, 4]), ([3, 1], [6, 2]), ([7, 1], [7, 1])] {
        let mut options = Options::on(cluster)?.users(vec![User::new("split", "split-password")]);
        for (n, weight) in weights.iter().enumerate() {
            options = options.set(&format!("slices.0.replicas.{n}.weight"), *weight);
        }
        let weir = Weir::start(&options)?;
        let mut clients = Vec::new();
        for n in 1..=READS {
            let mut client = weir.connect(&login(Split))?;
            client.send(b"\x03SELECT SLEEP(2), 'e2e in flight'")?;
            clients.push(client);
            weir.wait_for("it runs", PATIENCE, |m| {
                m.sum("weir_statements_to_replica_total", &[]) == n as f64
            })?;
        }
        let running = "SELECT COUNT(*) FROM information_schema.processlist WHERE info LIKE 'SELECT SLEEP(2), ''e2e in flight%'";
        for (index, wanted) in (1..).zip(expected) {
            let seen: i64 = cluster.value(index, running)?.parse()?;
            ensure!((seen - wanted).abs() <= 1, "weights {weights:?}: {seen} run on replica {index}");
        }
        for mut client in clients {
            ensure!(client.read_answer(Expect::Results)?.error().is_none(), "a read failed");
        }
        weir.stop()?;
    }
    Ok(())
}

/// Reads without a pause until told to stop; gives how many were answered. An error ends it.
fn read_until(weir: &Weir, stop: &AtomicBool) -> Result<u64> {
    let mut client = weir.connect(&login(Split))?;
    let mut reads = 0;
    while !stop.load(Ordering::Relaxed) {
        ensure!(client.value("SELECT v FROM t WHERE id = 2")? == "20", "a wrong answer");
        reads += 1;
    }
    Ok(reads)
}

/// Waits until reads have reached exactly the instances that are named.
fn wait_until_read_from(cluster: &Cluster, wanted: [bool; 3]) -> Result<()> {
    const SOME: u64 = 15;
    let running = |index: usize| cluster.instance(index).is_ok_and(|instance| instance.is_running());
    let count =
        || (0..3).map(|i| if running(i) { selects(cluster, i) } else { Ok(0) }).collect::<Result<Vec<u64>>>();
    let deadline = Instant::now() + PATIENCE;
    let mut before = count()?;
    loop {
        std::thread::sleep(Duration::from_millis(200));
        let now = count()?;
        // the gateway's own questions to a server are few
        let read: Vec<bool> =
            now.iter().zip(&before).map(|(now, before)| now.saturating_sub(*before) > SOME).collect();
        if read == wanted {
            return Ok(());
        }
        ensure!(Instant::now() < deadline, "reads reach {read:?}, not {wanted:?} (primary, replicas)");
        before = now;
    }
}

/// Replicas stop in order and by a crash, one after the other, and come back: no read fails.
fn reads_go_on_while_replicas_stop_and_come_back(flavour: Flavour) -> Result<()> {
    let cluster = Cluster::start(&weir_testkit::Options::new(flavour, format!("split-{flavour}")))?;
    let weir = start(&cluster)?;
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let readers: Vec<_> = (0..4).map(|_| scope.spawn(|| read_until(&weir, &stop))).collect();
        let steps = || -> Result<()> {
            wait_until_read_from(&cluster, [false, true, true])?;
            cluster.stop_instance(1)?;
            wait_until_read_from(&cluster, [false, false, true])?;
            cluster.kill_instance(2)?;
            wait_until_read_from(&cluster, [true, false, false])?;
            cluster.restart_instance(1)?;
            wait_until_read_from(&cluster, [false, true, false])?;
            cluster.restart_instance(2)?;
            wait_until_read_from(&cluster, [false, true, true])
        };
        let done = steps();
        stop.store(true, Ordering::Relaxed);
        for reader in readers {
            let reads = reader.join().unwrap().context("a read failed")?;
            ensure!(reads > 100, "only {reads} reads");
        }
        done
    })?;
    weir.stop()?;
    a_replica_that_hangs_is_left_alone_until_it_answers(&cluster)?;
    cluster.stop()
}

/// It takes connections and says nothing: even with all of its pool's connections taken by reads that hang, this shows.
fn a_replica_that_hangs_is_left_alone_until_it_answers(cluster: &Cluster) -> Result<()> {
    let options = Options::on(cluster)?
        .users(vec![User::new("split", "split-password")])
        .set("pool.capacity", 1)
        .set("pool.connect_timeout", "500ms")
        .set("pool.checkout_timeout", "500ms");
    let weir = Weir::start(&options)?;
    read_for_a_while(cluster, &weir, 4, 50)?;
    let instance = cluster.instance(1)?.address();
    let is_up = |m: &weir_e2e::weir::Metrics| m.sum("weir_instance_up", &[("instance", &instance)]) == 1.0;
    let taken = |m: &weir_e2e::weir::Metrics| m.sum("weir_pool_in_use", &[("instance", &instance)]);
    let mut readers = (0..16).map(|_| Ok(weir.connect(&login(Split))?)).collect::<Result<Vec<_>>>()?;
    cluster.pause_instance(1)?;
    // about half of them go there, where there is one connection
    for reader in &mut readers {
        reader.send(b"\x03SELECT v FROM t WHERE id = 1")?;
    }
    weir.wait_for("its connection is taken", PATIENCE, |m| taken(m) == 1.0)?;
    let noticed = weir.wait_for("the replica counts as down", PATIENCE, |m| !is_up(m));
    let mut client = weir.connect(&login(Split))?;
    let reads =
        (0..100).map(|_| Ok(client.value("SELECT v FROM t WHERE id = 1")?)).collect::<Result<Vec<_>>>();
    cluster.resume_instance(1)?;
    noticed?;
    ensure!(reads?.iter().all(|value| value == "10"), "wrong answers");
    for reader in &mut readers {
        // who waited for a connection to it, waited in vain
        let answer = reader.read_answer(Expect::Results)?;
        ensure!(matches!(answer.error_number(), 0 | 1203), "{answer:?}");
    }
    weir.wait_for("the replica counts as up", PATIENCE, is_up)?;
    weir.stop()
}

#[test]
fn reads_go_on_while_replicas_stop_and_come_back_mysql() -> Result<()> {
    reads_go_on_while_replicas_stop_and_come_back(Flavour::MySql)
}

#[test]
fn reads_go_on_while_replicas_stop_and_come_back_mariadb() -> Result<()> {
    reads_go_on_while_replicas_stop_and_come_back(Flavour::MariaDb)
}
