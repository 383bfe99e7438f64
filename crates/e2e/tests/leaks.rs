//! Nothing of one session is ever visible to another. Session A sets every kind of state on a pool of one connection;
//! B, who gets that connection, sees what a session fresh from its login sees at the server.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test's helpers fail as its own lines do"
)]

use std::net::Shutdown;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use weir_e2e::client::{Client, Endpoint, Login};
use weir_e2e::observe::{OF_THE_STATEMENT_BEFORE, Observed, differences, observe};
use weir_e2e::weir::{Options, User, Weir};
use weir_testkit::{Cluster, Flavour, SERVICE};

const DATABASE: &str = "e2e_leaks";
const PATIENCE: Duration = Duration::from_secs(10);

const SCHEMA: &str = "
    CREATE DATABASE e2e_leaks;
    USE e2e_leaks;
    CREATE TABLE few (id INT PRIMARY KEY AUTO_INCREMENT, k INT);
    INSERT INTO few (k) VALUES (10), (20), (30);
    CREATE TABLE shadowed (x INT);
    INSERT INTO shadowed VALUES (1);
    CREATE PROCEDURE sets() BEGIN SET @a = 'by call'; SET sql_mode = 'ANSI'; SET @@session.sort_buffer_size = 777000; END;
    CREATE PROCEDURE locks() BEGIN SELECT GET_LOCK('e2e_leaks lock', 0); END;
    CREATE PROCEDURE tables() BEGIN CREATE TEMPORARY TABLE tmp (x INT); INSERT INTO tmp VALUES (1); END;
    CREATE FUNCTION assigns() RETURNS INT DETERMINISTIC BEGIN SET @a = 'by function'; RETURN 1; END;
    CREATE FUNCTION inserts() RETURNS INT BEGIN INSERT INTO few (k) VALUES (99); DELETE FROM few WHERE k = 99; RETURN 1; END;
    CREATE PROCEDURE prepares() BEGIN PREPARE s FROM 'SELECT 47'; END;
    CREATE PROCEDURE takes_role() SQL SECURITY INVOKER BEGIN SET ROLE leaky; END;
    CREATE TABLE triggered (x INT);
    CREATE TRIGGER tr BEFORE INSERT ON triggered FOR EACH ROW SET @b = 'by trigger'";

/// What a state does to the session's connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Hold {
    /// It travels: the connection serves others while A lives.
    Travels,
    /// Whether it pins is Weir's own affair; if so, B waits and is told.
    Any,
}
use Hold::{Any, Travels};

/// Statements of A.
const STATES: &[(&str, Hold, &[&str])] = &[
    ("nothing", Travels, &["SELECT 1"]),
    ("database", Travels, &["USE mysql"]),
    ("charset", Travels, &["SET NAMES latin1"]),
    ("collation", Travels, &["SET NAMES utf8mb4 COLLATE utf8mb4_bin"]),
    ("results charset", Travels, &["SET character_set_results = NULL"]),
    ("connection collation", Travels, &["SET collation_connection = latin1_bin"]),
    ("sql_mode", Travels, &["SET sql_mode = 'ANSI_QUOTES,PIPES_AS_CONCAT,NO_BACKSLASH_ESCAPES'"]),
    ("time_zone", Travels, &["SET time_zone = '-09:30'"]),
    ("isolation", Travels, &["SET SESSION TRANSACTION ISOLATION LEVEL SERIALIZABLE"]),
    ("autocommit off, nothing open", Travels, &["SET autocommit = 0"]),
    ("autocommit off and on again", Travels, &["SET autocommit = 0", "SET autocommit = 1"]),
    ("a transaction that ended", Travels, &["BEGIN", "INSERT INTO few (k) VALUES (1)", "ROLLBACK"]),
    ("generated id", Travels, &["INSERT INTO few (k) VALUES (40)", "DELETE FROM few WHERE k = 40"]),
    ("generated id alone", Travels, &["INSERT INTO few (k) VALUES (40)"]),
    ("warnings", Travels, &["SELECT CAST('x' AS SIGNED), 1/0"]),
    ("an error", Travels, &["SELECT * FROM nosuch"]),
    ("rows", Travels, &["SELECT id FROM few"]),
    (
        "several variables at once",
        Travels,
        &["SET sql_mode = '', time_zone = '+01:00', sort_buffer_size = 600000, @a = 1"],
    ),
    ("open transaction", Any, &["BEGIN", "INSERT INTO few (k) VALUES (50)"]),
    ("begun, nothing done", Any, &["BEGIN"]),
    ("read only transaction", Any, &["START TRANSACTION READ ONLY", "SELECT COUNT(*) FROM few"]),
    ("snapshot", Any, &["START TRANSACTION WITH CONSISTENT SNAPSHOT"]),
    (
        "autocommit off and a transaction open",
        Any,
        &["SET autocommit = 0", "INSERT INTO few (k) VALUES (51)"],
    ),
    ("autocommit off and a read", Any, &["SET autocommit = 0", "SELECT COUNT(*) FROM few"]),
    ("savepoint", Any, &["BEGIN", "INSERT INTO few (k) VALUES (52)", "SAVEPOINT a", "ROLLBACK TO a"]),
    ("chained transaction", Any, &["BEGIN", "COMMIT AND CHAIN"]),
    ("XA", Any, &["XA START 'leak'", "INSERT INTO few (k) VALUES (53)"]),
    ("XA ended", Any, &["XA START 'leak2'", "XA END 'leak2'"]),
    ("user variable", Travels, &["SET @a = 1, @b := 'x'"]),
    ("user variable in SELECT", Travels, &["SELECT @c := 5"]),
    ("user variable by INTO", Travels, &["SELECT 6 INTO @d"]),
    ("user variable in UPDATE", Travels, &["UPDATE few SET k = (@e := k)"]),
    ("user variable by a prepared text", Travels, &["PREPARE s FROM 'SELECT 7 INTO @a'", "EXECUTE s"]),
    ("user variable by a function", Any, &["SELECT assigns()"]),
    ("user variable by a trigger", Any, &["INSERT INTO triggered VALUES (1)"]),
    ("user variable by diagnostics", Travels, &["SELECT 1/0", "GET DIAGNOSTICS @a = NUMBER"]),
    ("temporary table", Any, &["CREATE TEMPORARY TABLE tmp (x INT)"]),
    ("temporary table that hides another", Any, &["CREATE TEMPORARY TABLE shadowed (y INT)"]),
    ("temporary table, dropped", Any, &["CREATE TEMPORARY TABLE tmp (x INT)", "DROP TEMPORARY TABLE tmp"]),
    ("temporary table by a procedure", Any, &["CALL tables()"]),
    ("lock", Any, &["SELECT GET_LOCK('e2e_leaks lock', 0)"]),
    ("lock by a procedure", Any, &["CALL locks()"]),
    (
        "lock by a prepared text",
        Any,
        &["PREPARE s FROM \"SELECT GET_LOCK('e2e_leaks lock', 0)\"", "EXECUTE s"],
    ),
    ("table locks", Any, &["LOCK TABLES few READ"]),
    ("table locks to write", Any, &["LOCK TABLES few WRITE, shadowed READ"]),
    ("flushed tables", Any, &["FLUSH TABLES few WITH READ LOCK"]),
    ("global read lock", Any, &["FLUSH TABLES WITH READ LOCK"]),
    ("handler", Any, &["HANDLER few OPEN AS h"]),
    ("prepared text", Travels, &["PREPARE s FROM 'SELECT 42'"]),
    ("prepared text, executed", Travels, &["PREPARE s FROM 'SELECT 42'", "EXECUTE s"]),
    ("prepared text of an odd name", Any, &["PREPARE `ś` FROM 'SELECT 43'"]),
    ("prepared text from a variable", Travels, &["SET @a = 'SELECT 44'", "PREPARE s FROM @a"]),
    ("prepared text that failed", Travels, &["PREPARE s FROM 'SELECT 45'", "PREPARE s FROM 'SELEC'"]),
    ("prepared text by a procedure", Any, &["CALL prepares()"]),
    ("prepared text among others", Any, &["PREPARE s FROM 'SELECT 46'; SELECT 1"]),
    ("next transaction's isolation", Any, &["SET TRANSACTION ISOLATION LEVEL SERIALIZABLE"]),
    ("next transaction read only", Any, &["SET TRANSACTION READ ONLY"]),
    ("read only session", Any, &["SET SESSION TRANSACTION READ ONLY"]),
    ("procedure that sets", Any, &["CALL sets()"]),
    ("found rows", Any, &["SELECT SQL_CALC_FOUND_ROWS id FROM few LIMIT 1"]),
    ("last_insert_id by hand", Travels, &["SELECT LAST_INSERT_ID(77)"]),
    ("last_insert_id variable", Travels, &["SET last_insert_id = 78"]),
    ("insert_id", Any, &["SET insert_id = 5000"]),
    ("timestamp", Travels, &["SET timestamp = 1000000000"]),
    ("random seeds", Any, &["SET rand_seed1 = 1, rand_seed2 = 2"]),
    ("limits", Travels, &["SET sql_select_limit = 1"]),
    ("safe updates", Travels, &["SET sql_safe_updates = 1"]),
    ("foreign keys", Travels, &["SET foreign_key_checks = 0, unique_checks = 0"]),
    ("no binary log", Travels, &["SET sql_log_bin = 0"]),
    ("locale", Travels, &["SET lc_time_names = 'de_DE'"]),
    ("lengths", Travels, &["SET group_concat_max_len = 5, div_precision_increment = 1, max_sort_length = 8"]),
    ("increments", Travels, &["SET auto_increment_increment = 10, auto_increment_offset = 3"]),
    ("buffers", Travels, &["SET sort_buffer_size = 500000, join_buffer_size = 300000"]),
    (
        "timeouts",
        Any,
        &["SET wait_timeout = 55, interactive_timeout = 56, net_read_timeout = 57, net_write_timeout = 58"],
    ),
    ("lock timeouts", Travels, &["SET lock_wait_timeout = 3, innodb_lock_wait_timeout = 4"]),
    ("null id", Travels, &["SET sql_auto_is_null = 1"]),
    ("notes", Travels, &["SET sql_notes = 0, max_error_count = 0"]),
    ("engine", Travels, &["SET default_storage_engine = MEMORY"]),
    ("optimizer", Travels, &["SET optimizer_switch = 'index_merge=off'"]),
    ("trackers", Any, &["SET session_track_state_change = ON, session_track_system_variables = '*'"]),
    ("trackers off", Any, &["SET session_track_schema = OFF, session_track_system_variables = ''"]),
    ("profiling", Any, &["SET profiling = 1", "SELECT 1"]),
    ("role", Travels, &["SET ROLE leaky"]),
    ("role among others", Travels, &["SET ROLE leaky; SET @a = 1"]),
    ("role by a procedure", Any, &["CALL takes_role()"]),
    ("old value of a global", Travels, &["SET SESSION sort_buffer_size = DEFAULT"]),
    ("several statements", Travels, &["SET @a = 1; SET sql_mode = 'ANSI'; SELECT 1/0"]),
    ("a failed change", Any, &["SET @a = 1, sql_mode = 'nosuch'"]),
    (
        "a dropped default database",
        Any,
        &["CREATE DATABASE e2e_dropped", "USE e2e_dropped", "DROP DATABASE e2e_dropped"],
    ),
    ("a function that writes", Any, &["SELECT inserts()"]),
];

/// States of one of the two servers.
const MYSQL: &[(&str, Hold, &[&str])] = &[
    ("execution time", Travels, &["SET max_execution_time = 12345"]),
    ("backup lock", Any, &["LOCK INSTANCE FOR BACKUP"]),
    ("resource group", Travels, &["SET RESOURCE GROUP leaky"]),
    (
        "gtid_next",
        Any,
        &[
            "SET gtid_next = 'aaaaaaaa-aaaa-aaaa-aaaa-aaaaaaaaaaaa:1'",
            "BEGIN",
            "COMMIT",
            "SET gtid_next = AUTOMATIC",
        ],
    ),
    (
        "hypergraph",
        Travels,
        &["SET optimizer_switch = 'hypergraph_optimizer=off'", "SET windowing_use_high_precision = OFF"],
    ),
    ("secondary engine", Travels, &["SET use_secondary_engine = OFF", "SET explain_format = JSON"]),
    ("hint", Travels, &["SELECT /*+ SET_VAR(sort_buffer_size = 400000) */ 1"]),
    ("default collation", Travels, &["SET default_collation_for_utf8mb4 = utf8mb4_general_ci"]),
];
const MARIADB: &[(&str, Hold, &[&str])] = &[
    ("statement time", Travels, &["SET max_statement_time = 12345"]),
    ("for one statement", Any, &["SET STATEMENT sort_buffer_size = 400000, sql_mode = 'ANSI' FOR SELECT 1"]),
    ("server id", Travels, &["SET server_id = 77", "SET gtid_domain_id = 5"]),
    ("statement time, next", Any, &["SET STATEMENT max_statement_time = 5 FOR SELECT SLEEP(0)"]),
    ("backup stage", Any, &["BACKUP STAGE START"]),
    (
        "column compression",
        Travels,
        &[
            "SET SESSION column_compression_threshold = 7",
            "SET SESSION in_predicate_conversion_threshold = 1",
        ],
    ),
    ("sequences", Any, &["CREATE TEMPORARY SEQUENCE tmp", "SELECT NEXT VALUE FOR tmp"]),
];

/// Servers of this test alone: some states are felt by everybody.
fn servers(flavour: Flavour) -> Result<Cluster> {
    let mut options = weir_testkit::Options::new(flavour, format!("leaks-{flavour}"));
    options.replicas = 0;
    options.extra_arguments.push("--log-bin-trust-function-creators=1".to_owned());
    // MariaDB leaves FOUND_ROWS() of a session that ended to the next one in the same thread
    options.extra_arguments.push("--thread-cache-size=0".to_owned());
    let cluster = Cluster::start(&options)?;
    cluster.sql(0, SCHEMA)?;
    cluster.sql(
        0,
        &format!("CREATE ROLE leaky; GRANT SELECT ON *.* TO leaky; GRANT leaky TO {}", SERVICE.user),
    )?;
    if flavour == Flavour::MySql {
        cluster.sql(0, "CREATE RESOURCE GROUP leaky TYPE = USER")?;
    }
    Ok(cluster)
}

/// The server's ids of the gateway's connections.
fn threads(cluster: &Cluster) -> Result<Vec<String>> {
    let sql =
        format!("SELECT id FROM information_schema.processlist WHERE user = '{}' ORDER BY id", SERVICE.user);
    Ok(cluster.sql(0, &sql)?.into_iter().flatten().flatten().collect())
}

fn forget_rows(cluster: &Cluster) -> Result<()> {
    cluster.sql(0, "DELETE FROM e2e_leaks.few WHERE id > 3; DELETE FROM e2e_leaks.triggered; UPDATE e2e_leaks.few SET k = id * 10; \
                    ALTER TABLE e2e_leaks.few AUTO_INCREMENT = 4")?;
    Ok(())
}

fn login() -> Login {
    Login::new(SERVICE.user, SERVICE.password)
        .database(DATABASE)
        .with(weir_wire::capability::Capabilities::MULTI_STATEMENTS)
}

/// Runs A's statements; errors are part of what they do.
fn set(client: &mut Client, statements: &[&str]) -> Result<Vec<u16>> {
    statements
        .iter()
        .map(|sql| Ok(client.query(sql).with_context(|| (*sql).to_owned())?.error_number()))
        .collect()
}

/// How A's session ends.
#[derive(Clone, Copy, Debug)]
enum End {
    Quit,
    Cut,
    Reset,
}

struct Case<'t> {
    cluster: &'t Cluster,
    weir: &'t Weir,
    /// What a fresh session sees, by the question asked first.
    fresh: &'t [Observed],
    found: Vec<String>,
}

impl Case<'_> {
    fn check(&mut self, name: &str, hold: Hold, statements: &[&str], end: End, first: usize) -> Result<()> {
        let (cluster, weir) = (self.cluster, self.weir);
        let flavour = cluster.flavour();
        let note = |found: &mut Vec<String>, who: &str, different: Vec<String>| {
            if !different.is_empty() {
                found.push(format!("{name} ({end:?}): {who}:\n    {}", different.join("\n    ")));
            }
        };
        // what A sees of itself, and whether its statements work, is as at the server
        forget_rows(cluster)?;
        let (numbers, own) = {
            let mut direct = Client::connect(&Endpoint::port(cluster.primary()?.port), &login())?;
            let numbers = set(&mut direct, statements)?;
            let own = observe(&mut direct, flavour, DATABASE, first)?;
            direct.quit()?;
            (numbers, own)
        };
        self.wait_for_free_locks()?;
        forget_rows(cluster)?;

        let mut b = weir.connect(&login())?;
        b.run("SELECT 1")?;
        let before = threads(cluster)?;
        let mut a = weir.connect(&login())?;
        let got = set(&mut a, statements)?;
        if got != numbers {
            note(
                &mut self.found,
                "A's own statements",
                vec![format!("errors {got:?} instead of {numbers:?}")],
            );
        }
        let mut c = weir.connect(&Login { database: None, ..login() }.database(DATABASE)).ok();
        let held = match &mut c {
            Some(c) => c.query("SELECT 1")?.error_number(),
            None => 1203,
        };
        match (held, c) {
            (0, Some(c)) => {
                let after = threads(cluster)?;
                if before != after {
                    note(&mut self.found, "connections", vec![format!("{after:?} instead of {before:?}")]);
                }
                drop(c.quit());
                let mut c = weir.connect(&login())?;
                let seen = observe(&mut c, flavour, DATABASE, first)?;
                note(&mut self.found, "B sees, while A lives", differences(&self.fresh[first], &seen));
            }
            (1203, _) if hold == Any => {}
            (other, _) => note(&mut self.found, "B, while A lives", vec![format!("error {other}")]),
        }
        let seen = observe(&mut a, flavour, DATABASE, first)?;
        let mut different = differences(&own, &seen);
        if flavour == Flavour::MySql {
            // within a transaction MySQL lets nobody set it (1766): there A sees what Weir needs
            different.retain(|d| d != "@@session_track_gtids: OWN_GTID instead of OFF");
        }
        note(&mut self.found, "A sees of itself", different);
        match end {
            End::Quit => a.quit()?,
            End::Cut => a.shut(Shutdown::Both)?,
            End::Reset => {
                ensure!(a.reset()?.error().is_none(), "the reset of {name} failed");
            }
        }
        weir.wait_for("nothing is held", PATIENCE, |m| m.sum("weir_pool_in_use", &[]) == 0.0)?;
        // looking at A has committed what was open
        forget_rows(cluster)?;
        let mut d = weir.connect(&login())?;
        let seen = observe(&mut d, flavour, DATABASE, first)?;
        note(&mut self.found, "B sees, after A", differences(&self.fresh[first], &seen));
        ensure!(
            threads(cluster)?.len() <= 1,
            "more than one connection of a pool of one: {:?}",
            threads(cluster)?
        );
        Ok(())
    }

    fn wait_for_free_locks(&self) -> Result<()> {
        let mut admin = self.cluster.client(0)?;
        let deadline = std::time::Instant::now() + PATIENCE;
        while admin.value("SELECT IS_FREE_LOCK('e2e_leaks lock')")? != "1" {
            ensure!(std::time::Instant::now() < deadline, "a lock of a connection that ended is still there");
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }
}

/// Which questions are to be asked first: some states show in the first statement behind them only.
fn questions(state: &str) -> Vec<usize> {
    let asked: &[&str] = match state {
        "a transaction that ended"
        | "generated id"
        | "generated id alone"
        | "last_insert_id by hand"
        | "last_insert_id variable" => &["LAST_INSERT_ID", "ROW_COUNT()", "GET DIAGNOSTICS"],
        "warnings" | "an error" | "several statements" => {
            &["WARNINGS", "ERRORS", "_count", "GET DIAGNOSTICS", "ROW_COUNT()"]
        }
        "rows" | "found rows" => &["FOUND_ROWS", "ROW_COUNT()"],
        "next transaction's isolation" | "next transaction read only" => &["innodb_trx", "DELETE"],
        _ => return vec![0],
    };
    let wanted = |question: &&str| asked.iter().any(|part| question.contains(part));
    (0..OF_THE_STATEMENT_BEFORE.len()).filter(|&n| wanted(&OF_THE_STATEMENT_BEFORE[n])).collect()
}

/// What a session sees that has just logged in at the server, for each question asked first.
fn fresh(cluster: &Cluster) -> Result<Vec<Observed>> {
    let endpoint = Endpoint::port(cluster.primary()?.port);
    let see =
        |first| Ok(observe(&mut Client::connect(&endpoint, &login())?, cluster.flavour(), DATABASE, first)?);
    (0..OF_THE_STATEMENT_BEFORE.len()).map(see).collect()
}

fn start(cluster: &Cluster) -> Result<Weir> {
    let options = Options::on(cluster)?
        .users(vec![User::of(cluster).without_split()])
        .set("pool.capacity", 1)
        .set("pool.checkout_timeout", "700ms");
    Weir::start(&options)
}

fn nothing_leaks(flavour: Flavour) -> Result<()> {
    let cluster = servers(flavour)?;
    let weir = start(&cluster)?;
    forget_rows(&cluster)?;
    let fresh = fresh(&cluster)?;
    let own = if flavour == Flavour::MySql { MYSQL } else { MARIADB };
    let mut case = Case { cluster: &cluster, weir: &weir, fresh: &fresh, found: Vec::new() };
    for (n, (name, hold, statements)) in STATES.iter().chain(own).enumerate() {
        let end = [End::Quit, End::Cut, End::Reset][n % 3];
        for first in questions(name) {
            case.check(name, *hold, statements, end, first).with_context(|| (*name).to_owned())?;
        }
    }
    let found = case.found;
    ensure!(found.is_empty(), "{} differences:\n{}", found.len(), found.join("\n"));
    weir.stop()?;
    cluster.stop()
}

#[test]
fn nothing_leaks_mysql() -> Result<()> {
    nothing_leaks(Flavour::MySql)
}

#[test]
fn nothing_leaks_mariadb() -> Result<()> {
    nothing_leaks(Flavour::MariaDb)
}

/// Would the check notice? Here it is run on a connection that really is passed on from A to B as it is, as a pool without
/// guards would do it: each state that lives on a connection must be found.
fn the_check_sees_what_leaks(flavour: Flavour) -> Result<()> {
    let cluster = {
        let mut options = weir_testkit::Options::new(flavour, format!("leaky-{flavour}"));
        options.replicas = 0;
        options.extra_arguments.push("--log-bin-trust-function-creators=1".to_owned());
        // MariaDB leaves FOUND_ROWS() of a session that ended to the next one in the same thread
        options.extra_arguments.push("--thread-cache-size=0".to_owned());
        Cluster::start(&options)?
    };
    cluster.sql(0, SCHEMA)?;
    cluster.sql(
        0,
        &format!("CREATE ROLE leaky; GRANT SELECT ON *.* TO leaky; GRANT leaky TO {}", SERVICE.user),
    )?;
    if flavour == Flavour::MySql {
        cluster.sql(0, "CREATE RESOURCE GROUP leaky TYPE = USER")?;
    }
    let endpoint = Endpoint::port(cluster.primary()?.port);
    let fresh = fresh(&cluster)?;
    let own = if flavour == Flavour::MySql { MYSQL } else { MARIADB };
    // states that end by themselves before anybody else could see them
    let gone = [
        "nothing",
        "autocommit off and on again",
        "temporary table, dropped",
        "old value of a global",
        "a failed change",
        "random seeds",
        "begun, nothing done",
        "gtid_next",
        "hint",
        "for one statement",
        "statement time, next",
        "a function that writes",
        "prepared text that failed",
    ];
    let mut unseen = Vec::new();
    for (name, _, statements) in STATES.iter().chain(own).filter(|(name, ..)| !gone.contains(name)) {
        let mut seen = false;
        for first in questions(name) {
            forget_rows(&cluster)?;
            let mut shared = Client::connect(&endpoint, &login())?;
            set(&mut shared, statements)?;
            seen |= !differences(&fresh[first], &observe(&mut shared, flavour, DATABASE, first)?).is_empty();
            shared.quit()?;
        }
        if !seen {
            unseen.push(*name);
        }
    }
    ensure!(unseen.is_empty(), "these would leak unseen: {unseen:?}");
    cluster.stop()
}

#[test]
fn the_check_sees_what_leaks_mysql() -> Result<()> {
    the_check_sees_what_leaks(Flavour::MySql)
}

#[test]
fn the_check_sees_what_leaks_mariadb() -> Result<()> {
    the_check_sees_what_leaks(Flavour::MariaDb)
}
