//! Answers through Weir are the server's own, byte for byte: text and prepared, whatever the client negotiated.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test's helpers fail as its own lines do"
)]

use anyhow::Result;
use weir_e2e::client::{Bind, Cursor, Login, Parameter};
use weir_e2e::on_both_servers;
use weir_e2e::pair::{Databases, Pair, direct_login};
use weir_e2e::weir::{Options, User, Weir};
use weir_testkit::{Cluster, Flavour, SERVICE};
use weir_wire::capability::Capabilities;

on_both_servers!(
    text_answers_are_the_servers_own,
    prepared_answers_are_the_servers_own,
    each_capability_governs_its_answers,
    collations_behave_as_at_the_server,
    state_survives_between_statements,
);

/// What every copy of the database holds.
pub const SCHEMA: &str = "
    CREATE TABLE t (
        id INT PRIMARY KEY AUTO_INCREMENT, v VARCHAR(100), n DECIMAL(65,30), d DATETIME(6), dt DATE, tm TIME(3),
        y YEAR, j JSON, b BLOB, u BIGINT UNSIGNED, f FLOAT, g DOUBLE, e ENUM('a','b'), s SET('x','y'), bits BIT(10),
        big LONGTEXT, UNIQUE KEY (u)
    );
    INSERT INTO t (v, n, d, dt, tm, y, j, b, u, f, g, e, s, bits, big) VALUES
        ('one', 12345678901234567890.123456789012345678901234567890, '2026-11-21 12:13:14.123456', '2026-11-21',
         '-838:59:59', 2026, '{\"a\": [1, null]}', x'00ff27', 18446744073709551615, 1.5, -2.25e300, 'a', 'x,y',
         b'1010101010', REPEAT('ä', 70000)),
        (NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL),
        ('', 0, '0001-01-01', '9999-12-31', '00:00:00.001', 1901, 'null', '', 0, 0, 0, 'b', '', b'0', '');
    CREATE TABLE few (id INT PRIMARY KEY, k INT, KEY (k)) SELECT 1 id, 10 k UNION SELECT 2, 20 UNION SELECT 3, 30;
    CREATE TABLE none (id INT);
    CREATE VIEW vw AS SELECT id, v FROM t;
    CREATE PROCEDURE two() BEGIN SELECT 1 AS a; SELECT id, k FROM few ORDER BY id; END;
    CREATE PROCEDURE adds(IN x INT, OUT y INT, INOUT z VARCHAR(20))
        BEGIN SET y = x + 1; SET z = CONCAT(z, '!'); END;
    CREATE PROCEDURE fails() BEGIN SELECT 1; SELECT * FROM nosuch; SELECT 2; END;
    CREATE PROCEDURE writes(IN x INT) INSERT INTO few VALUES (x, x);
    CREATE FUNCTION plus(x INT) RETURNS INT DETERMINISTIC RETURN x + 1;
    CREATE FUNCTION readfew(x INT) RETURNS INT READS SQL DATA RETURN (SELECT k FROM few WHERE id = x)";

/// Statements in the order in which they run, on one connection.
const TEXT: &[&str] = &[
    "SELECT 1",
    "SELECT NULL, '', 'x', 1.50, 1e0, x'41', TRUE, -1, 18446744073709551615, DATE'2026-01-02', JSON_OBJECT('a', 1)",
    "SELECT * FROM t ORDER BY id",
    "SELECT id, v FROM vw WHERE id > 1",
    "SELECT * FROM none",
    "SELECT COUNT(*), SUM(k), AVG(k), MAX(k) FROM few",
    "SELECT a.id, b.k FROM few a JOIN few b ON a.id = b.id WHERE a.k > 10 ORDER BY 1",
    "SELECT * FROM nosuch",
    "SELECT nosuch FROM t",
    "SELECT * FROM nosuchdb.t",
    "SELEC 1",
    "SELECT 1 FROM",
    "",
    ";",
    " ",
    "-- nothing",
    "/* nothing */",
    "SELECT 1;",
    "SELECT 1; ",
    "SELECT 1 -- behind",
    "/* before */ SELECT 1",
    "/*!40000 SELECT 2 */",
    "/*! SELECT */ 3",
    "select\t1\n",
    "(SELECT 1) UNION (SELECT 2)",
    "WITH c AS (SELECT 1 AS a) SELECT * FROM c",
    "TABLE few",
    "VALUES ROW(1, 2)",
    "SELECT 'a' 'b', \"c\", `id` FROM few LIMIT 1",
    "SELECT 'it''s', 'it\\'s', '\\\\', '\\0'",
    "SELECT plus(1), readfew(2)",
    "SELECT 1/0",
    "SHOW WARNINGS",
    "SELECT CAST('12x' AS SIGNED), CAST('z' AS SIGNED)",
    "SHOW WARNINGS",
    "SHOW COUNT(*) WARNINGS",
    "SELECT @@warning_count",
    "SHOW ERRORS",
    "SELECT nosuch()",
    "SHOW ERRORS",
    "SELECT @@error_count",
    "INSERT INTO few VALUES (4, 40), (5, 50)",
    "SELECT ROW_COUNT()",
    "INSERT INTO few VALUES (4, 41)",
    "SELECT ROW_COUNT()",
    "INSERT IGNORE INTO few VALUES (4, 41)",
    "SHOW WARNINGS",
    "INSERT INTO few VALUES (4, 42) ON DUPLICATE KEY UPDATE k = 43",
    "REPLACE INTO few VALUES (4, 44)",
    "UPDATE few SET k = k + 1 WHERE id >= 4",
    "UPDATE few SET k = k WHERE id >= 4",
    "DELETE FROM few WHERE id = 5",
    "SELECT ROW_COUNT()",
    "INSERT INTO t (v) VALUES ('a'), ('b')",
    "SELECT LAST_INSERT_ID()",
    "SELECT LAST_INSERT_ID() FROM few ORDER BY id LIMIT 1",
    "INSERT INTO t (v) SELECT v FROM t WHERE id = 1",
    "SELECT LAST_INSERT_ID(), @@last_insert_id, @@identity",
    "INSERT INTO t (id, v) VALUES (100, 'x')",
    "SELECT LAST_INSERT_ID()",
    "UPDATE t SET id = LAST_INSERT_ID(id + 1) WHERE id = 100",
    "SELECT LAST_INSERT_ID()",
    "SELECT SQL_CALC_FOUND_ROWS id FROM t ORDER BY id LIMIT 2",
    "SELECT FOUND_ROWS()",
    "SELECT id FROM few",
    "SELECT FOUND_ROWS()",
    "BEGIN",
    "INSERT INTO few VALUES (6, 60)",
    "SAVEPOINT a",
    "INSERT INTO few VALUES (7, 70)",
    "ROLLBACK TO SAVEPOINT a",
    "SELECT COUNT(*) FROM few",
    "RELEASE SAVEPOINT a",
    "COMMIT",
    "START TRANSACTION",
    "DELETE FROM few WHERE id = 6",
    "ROLLBACK",
    "SELECT COUNT(*) FROM few",
    "START TRANSACTION READ ONLY",
    "SELECT COUNT(*) FROM few",
    "DELETE FROM few",
    "COMMIT",
    "START TRANSACTION WITH CONSISTENT SNAPSHOT",
    "SELECT COUNT(*) FROM few",
    "COMMIT AND CHAIN",
    "ROLLBACK",
    "SET autocommit = 0",
    "SELECT @@autocommit",
    "INSERT INTO few VALUES (8, 80)",
    "ROLLBACK",
    "SELECT COUNT(*) FROM few",
    "COMMIT",
    "SET autocommit = 1",
    "SELECT @@autocommit",
    "SET @a = 5, @b := 'text'",
    "SELECT @a, @b, @nosuch",
    "SELECT @c := 7, @c",
    "SELECT @c",
    "SELECT 8 INTO @d",
    "SELECT @d",
    "CREATE TEMPORARY TABLE tmp (x INT)",
    "INSERT INTO tmp VALUES (1)",
    "SELECT * FROM tmp",
    "DROP TEMPORARY TABLE tmp",
    "SELECT * FROM tmp",
    "LOCK TABLES few READ",
    "SELECT COUNT(*) FROM few",
    "INSERT INTO few VALUES (9, 9)",
    "SELECT COUNT(*) FROM t",
    "UNLOCK TABLES",
    "SELECT COUNT(*) FROM t",
    "PREPARE s FROM 'SELECT ? + 1'",
    "SET @p = 41",
    "EXECUTE s USING @p",
    "DEALLOCATE PREPARE s",
    "EXECUTE s USING @p",
    "HANDLER few OPEN",
    "HANDLER few READ FIRST",
    "HANDLER few CLOSE",
    "CALL two()",
    "CALL adds(1, @y, @z)",
    "SELECT @y, @z",
    "CALL fails()",
    "CALL nosuch()",
    "CALL writes(11)",
    "SELECT k FROM few WHERE id = 11",
    "SHOW TABLES",
    "SHOW FULL TABLES LIKE 'f%'",
    "SHOW CREATE TABLE few",
    "SHOW COLUMNS FROM few",
    "DESCRIBE few",
    "SHOW INDEX FROM none",
    "SHOW VARIABLES LIKE 'autocommit'",
    "SHOW SESSION VARIABLES LIKE 'sql_mode'",
    "SHOW DATABASES LIKE '{db}'",
    "SHOW TABLES FROM {db}",
    "SHOW CREATE DATABASE {db}",
    "SHOW PRIVILEGES",
    "SHOW CHARACTER SET LIKE 'utf8%'",
    "SHOW COLLATION LIKE 'latin1%'",
    "SHOW PROCEDURE STATUS LIKE 'nosuch'",
    "SELECT DATABASE(), SCHEMA()",
    "SELECT CURRENT_USER()",
    "SELECT @@version, VERSION()",
    "SELECT table_name FROM information_schema.tables WHERE table_schema = '{db}' ORDER BY 1",
    "USE {db}",
    "USE nosuchdb",
    "USE information_schema",
    "SELECT DATABASE()",
    "USE `{db}`",
    "SET NAMES latin1",
    "SELECT @@character_set_client, @@character_set_results, @@collation_connection, 'ä'",
    "SET NAMES utf8mb4 COLLATE utf8mb4_unicode_ci",
    "SELECT @@collation_connection, COLLATION('a'), 'ä'",
    "SET CHARACTER SET utf8mb4",
    "SELECT @@collation_connection",
    "SET NAMES nosuch",
    "SET NAMES utf8mb4",
    "SET sql_mode = 'ANSI_QUOTES'",
    "SELECT \"id\" FROM \"few\" WHERE id = 1",
    "SET sql_mode = 'NO_BACKSLASH_ESCAPES'",
    "SELECT 'a\\'",
    "SET sql_mode = DEFAULT",
    "SELECT @@sql_mode",
    "SET time_zone = '+03:00'",
    "SELECT @@time_zone, FROM_UNIXTIME(0)",
    "SET time_zone = 'nosuch'",
    "SET time_zone = DEFAULT",
    "SET timestamp = 1000000000",
    "SELECT UNIX_TIMESTAMP(), NOW()",
    "SET timestamp = DEFAULT",
    "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED",
    "SET TRANSACTION ISOLATION LEVEL SERIALIZABLE",
    "SELECT COUNT(*) FROM few",
    "SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ",
    "SET nosuch = 1",
    "SET @@global.nosuch = 1",
    "SET SESSION sort_buffer_size = 300000",
    "SELECT @@sort_buffer_size",
    "SET SESSION sort_buffer_size = DEFAULT",
    "SET lock_wait_timeout = 7, max_join_size = 12345",
    "SELECT @@lock_wait_timeout, @@max_join_size",
    "EXPLAIN SELECT * FROM few WHERE id = 1",
    "EXPLAIN SELECT * FROM nosuch",
    "ANALYZE TABLE few",
    "CHECK TABLE few",
    "CHECKSUM TABLE few",
    "CREATE TABLE made (x INT)",
    "ALTER TABLE made ADD y INT",
    "CREATE TABLE made (x INT)",
    "CREATE TABLE IF NOT EXISTS made (x INT)",
    "SHOW WARNINGS",
    "DROP TABLE made",
    "DROP TABLE made",
    "DROP TABLE IF EXISTS made",
    "SHOW WARNINGS",
    "TRUNCATE TABLE none",
    "DO 1",
    "DO SLEEP(0)",
    "SELECT SLEEP(0)",
    "SELECT GET_LOCK('e2e {db}', 0)",
    "SELECT IS_FREE_LOCK('e2e {db}'), RELEASE_LOCK('e2e {db}')",
    "SELECT 1 INTO OUTFILE '/nosuch/file'",
    "LOAD DATA INFILE '/nosuch/file' INTO TABLE few",
    "KILL 1090519039",
    "KILL QUERY 1090519039",
    "SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'mine', MYSQL_ERRNO = 31000",
    "GET DIAGNOSTICS CONDITION 1 @n = MYSQL_ERRNO, @m = MESSAGE_TEXT",
    "SELECT @n, @m",
    "SIGNAL SQLSTATE '01000' SET MESSAGE_TEXT = 'warned'",
    "SHOW WARNINGS",
    "XA START 'e2e {db}'",
    "INSERT INTO few VALUES (12, 12)",
    "XA END 'e2e {db}'",
    "XA ROLLBACK 'e2e {db}'",
    "SELECT REPEAT('x', 300), REPEAT('y', 70000)",
    "SELECT id FROM few PROCEDURE ANALYSE()",
    "SELECT 1 LIMIT 0",
    "SELECT ID FROM few WHERE ID IN (1,2,3,4,5,6,7,8,9,10)",
    "HELP 'nosuch'",
    "FLUSH STATUS",
    "RESET QUERY CACHE",
    "BINLOG 'x'",
    "CREATE USER",
    "GRANT nosuch ON *.* TO x",
    "SELECT 1 FROM DUAL WHERE 1 = ?",
];

/// Weir in front of all servers, for a user whose statements all go to the primary: what is compared are answers,
/// not positions of replicas.
fn start(cluster: &Cluster) -> Result<Weir> {
    Weir::start(&Options::on(cluster)?.users(vec![User::of(cluster).without_split()]))
}

fn none_differ(differences: &[String]) -> Result<()> {
    anyhow::ensure!(differences.is_empty(), "{} differences:\n{}", differences.len(), differences.join("\n"));
    Ok(())
}

fn text_answers_are_the_servers_own(cluster: &'static Cluster) -> Result<()> {
    let weir = start(cluster)?;
    let mut differences = Vec::new();
    for eof in [true, false] {
        for track in [true, false] {
            let databases = Databases::create(cluster, "text")?;
            databases.prepare(SCHEMA)?;
            let mut login = direct_login();
            login.capabilities.set(Capabilities::DEPRECATE_EOF, !eof);
            login.capabilities.set(Capabilities::SESSION_TRACK, track);
            let mut pair = Pair::connect(&weir, &databases, &login, &format!("EOF {eof}, track {track}"))?;
            for sql in TEXT {
                pair.query(sql)?;
            }
            assert_eq!(pair.compared(), TEXT.len());
            differences.extend(pair.into_differences());
        }
    }
    none_differ(&differences)
}

/// Statements and the parameters of their executions.
fn prepared() -> Vec<(&'static str, Vec<Vec<Parameter>>)> {
    use Parameter::{Blob, DateTime, Double, Int, Null, Text, UInt};
    let text = |s: &str| Text(s.to_owned());
    vec![
        ("SELECT 1", vec![vec![], vec![]]),
        (
            "SELECT ?",
            vec![vec![Int(1)], vec![text("x")], vec![Null], vec![Double(1.5)], vec![Blob(vec![0, 255])]],
        ),
        ("SELECT ?, ?, ?", vec![vec![Int(-1), UInt(u64::MAX), Null], vec![Null, Null, Null]]),
        ("SELECT ? + 1, CONCAT(?, 'é')", vec![vec![DateTime(2026, 11, 21, 12, 13, 14, 5), text("ä")]]),
        ("SELECT * FROM t WHERE id >= ? ORDER BY id", vec![vec![Int(0)], vec![Int(2)], vec![Int(1000)]]),
        ("SELECT id, v FROM t WHERE v = ?", vec![vec![text("one")], vec![text("")], vec![Null]]),
        (
            "INSERT INTO few VALUES (?, ?)",
            vec![vec![Int(20), Int(1)], vec![Int(20), Int(2)], vec![Int(21), Null]],
        ),
        (
            "INSERT INTO t (v, b, d) VALUES (?, ?, ?)",
            vec![vec![text("p"), Blob(vec![7; 70_000]), DateTime(2000, 1, 1, 0, 0, 0, 0)]],
        ),
        (
            "UPDATE few SET k = ? WHERE id = ?",
            vec![vec![Int(9), Int(20)], vec![Int(9), Int(20)], vec![Null, Int(0)]],
        ),
        ("DELETE FROM few WHERE id = ?", vec![vec![Int(20)], vec![Int(20)]]),
        ("SELECT 1/?", vec![vec![Int(0)], vec![Int(1)]]),
        ("CALL two()", vec![vec![]]),
        ("CALL adds(?, ?, ?)", vec![vec![Int(1), Null, text("z")]]),
        ("CALL fails()", vec![vec![]]),
        ("SET @x = ?", vec![vec![Int(3)]]),
        ("SELECT @x", vec![vec![]]),
        ("SHOW TABLES", vec![vec![]]),
        ("BEGIN", vec![vec![]]),
        ("COMMIT", vec![vec![]]),
        ("SELECT * FROM nosuch", vec![]),
        ("SELEC", vec![]),
        ("", vec![]),
        ("SELECT 1; SELECT 2", vec![]),
        ("PREPARE s FROM 'SELECT 1'", vec![]),
        ("USE nosuchdb", vec![]),
        ("LOCK TABLES few READ", vec![]),
        ("SHOW WARNINGS", vec![]),
        ("EXPLAIN SELECT * FROM few WHERE id = ?", vec![vec![Int(1)]]),
        ("SELECT plus(?)", vec![vec![Int(1)]]),
    ]
}

fn prepared_answers_are_the_servers_own(cluster: &'static Cluster) -> Result<()> {
    let weir = start(cluster)?;
    let mut differences = Vec::new();
    for eof in [true, false] {
        for track in [true, false] {
            let databases = Databases::create(cluster, "prepared")?;
            databases.prepare(SCHEMA)?;
            let mut login = direct_login();
            login.capabilities.set(Capabilities::DEPRECATE_EOF, !eof);
            login.capabilities.set(Capabilities::SESSION_TRACK, track);
            let mut pair = Pair::connect(&weir, &databases, &login, &format!("EOF {eof}, track {track}"))?;
            for (sql, executions) in prepared() {
                let Some(ids) = pair.prepare(sql)? else { continue };
                for (n, parameters) in executions.iter().enumerate() {
                    let what = format!("execution {n} of {sql}");
                    pair.same_with(ids, &what, |client, id| client.execute(id, parameters))?;
                    // again with the types of before; NULLs change nothing about them
                    let what = format!("execution {n} of {sql} with the types of before");
                    pair.same_with(ids, &what, |client, id| {
                        client.execute_with(id, parameters, Cursor::None, Bind::AsBefore)
                    })?;
                }
                pair.same_with(ids, &format!("reset of {sql}"), |client, id| client.reset_statement(id))?;
                pair.direct.close_statement(ids[0])?;
                pair.weir.close_statement(ids[1])?;
                pair.same_with(ids, &format!("execution of {sql} after its close"), |client, id| {
                    let mut answer = client.execute(id, &[])?;
                    // the id is part of the message
                    for packet in &mut answer.packets {
                        packet.payload.retain(|byte| !byte.is_ascii_digit());
                    }
                    Ok(answer)
                })?;
            }
            differences.extend(pair.into_differences());
        }
    }
    none_differ(&differences)
}

/// A capability, and statements that show whether it is on.
fn showing(capability: Capabilities) -> &'static [&'static str] {
    match capability {
        Capabilities::FOUND_ROWS => {
            &["UPDATE few SET k = k", "SELECT ROW_COUNT()", "UPDATE few SET k = k + 1 WHERE id = 1"]
        }
        Capabilities::MULTI_STATEMENTS => &[
            "SELECT 1; SELECT 2",
            "SELECT 1; ",
            "SELECT 1;; SELECT 2",
            "INSERT INTO none VALUES (1); SELECT * FROM none",
            "SELECT 1; SELECT * FROM nosuch; SELECT 3",
            "CALL two(); SELECT 2",
            "SET @m = 1; SELECT @m; DO 2; UPDATE few SET k = k",
            "SELECT 1; /* nothing */",
        ],
        Capabilities::IGNORE_SPACE => &[
            "SELECT @@sql_mode",
            "SELECT COUNT (*) FROM few",
            "SELECT MAX (k) FROM few",
            "SELECT COUNT(*) FROM few",
        ],
        Capabilities::INTERACTIVE => &[
            "SELECT @@wait_timeout, @@interactive_timeout",
            "SET wait_timeout = 100",
            "SELECT @@wait_timeout, @@interactive_timeout",
        ],
        Capabilities::SESSION_TRACK => &[
            "SET autocommit = 1",
            "SET NAMES utf8mb4",
            "SET time_zone = '+01:00'",
            "SET sql_mode = DEFAULT",
            "USE {db}",
            "SET @a = 1",
            "SET session_track_state_change = ON",
            "SET @a = 2",
            "CREATE TEMPORARY TABLE tracked (x INT)",
            "SET session_track_system_variables = 'sql_mode,sort_buffer_size'",
            "SET sql_mode = 'ANSI'",
            "SET time_zone = '+02:00'",
            "SET sort_buffer_size = 400000, autocommit = 1",
            "SET session_track_system_variables = '*'",
            "SET lock_wait_timeout = 5",
            "SET session_track_transaction_info = 'CHARACTERISTICS'",
            "START TRANSACTION",
            "SELECT COUNT(*) FROM few",
            "INSERT INTO none VALUES (1)",
            "COMMIT",
            "SET session_track_transaction_info = 'STATE'",
            "START TRANSACTION",
            "SELECT COUNT(*) FROM few",
            "COMMIT",
            "SELECT @@session_track_system_variables, @@session_track_schema, @@session_track_state_change, \
             @@session_track_transaction_info",
            "SET session_track_schema = OFF",
            "USE {db}",
            "CALL two()",
        ],
        _ => &[
            "SELECT * FROM few",
            "SELECT * FROM none",
            "UPDATE few SET k = k",
            "SELECT * FROM nosuch",
            "CALL two()",
        ],
    }
}

fn each_capability_governs_its_answers(cluster: &'static Cluster) -> Result<()> {
    let weir = start(cluster)?;
    let mut differences = Vec::new();
    for capability in [
        Capabilities::FOUND_ROWS,
        Capabilities::MULTI_STATEMENTS,
        Capabilities::IGNORE_SPACE,
        Capabilities::INTERACTIVE,
        Capabilities::DEPRECATE_EOF,
        Capabilities::SESSION_TRACK,
        Capabilities::MULTI_RESULTS,
        Capabilities::PS_MULTI_RESULTS,
    ] {
        for on in [true, false] {
            let databases = Databases::create(cluster, "flags")?;
            databases.prepare(SCHEMA)?;
            let mut login = direct_login();
            login.capabilities.set(capability, on);
            let mut pair = Pair::connect(&weir, &databases, &login, &format!("{capability:?} {on}"))?;
            for sql in showing(capability) {
                pair.query(sql)?;
            }
            let Some(ids) = pair.prepare("SELECT 1")? else { continue };
            pair.same_with(ids, "SELECT 1", |client, id| client.execute(id, &[]))?;
            for sql in showing(capability).iter().filter(|sql| !sql.contains("session_track")) {
                if let Some(ids) = pair.prepare(sql)? {
                    pair.same_with(ids, &format!("prepared {sql}"), |client, id| client.execute(id, &[]))?;
                }
            }
            differences.extend(pair.into_differences());
        }
    }
    none_differ(&differences)
}

/// Ids that a server may not know, and those whose characters have more than one byte.
fn collations_behave_as_at_the_server(cluster: &'static Cluster) -> Result<()> {
    let weir = start(cluster)?;
    let mut differences = Vec::new();
    let known = [8, 11, 28, 33, 45, 46, 47, 63, 83, 192, 224, 246];
    // 0: the server's default; 35: ucs2, which no client may have; 17, 127, 254: nobody's; 255: MySQL's own
    let odd = [0, 17, 35, 54, 60, 127, 248, 254, 255];
    for id in known.into_iter().chain(odd) {
        let databases = Databases::create(cluster, "collation")?;
        let login = direct_login().collation(id);
        let at_server = weir_e2e::client::Client::connect(
            &weir_e2e::pair::instance(cluster, 0)?,
            &login.clone().database(&databases.direct),
        );
        let through = weir.connect(&login.clone().database(&databases.weir));
        match (at_server, through) {
            (Ok(_), Ok(_)) => {
                let mut pair = Pair::connect(&weir, &databases, &login, &format!("collation {id}"))?;
                pair.query(
                    "SELECT @@character_set_client, @@character_set_connection, @@character_set_results, \
                     @@collation_connection, CHARSET('a'), COLLATION('a')",
                )?;
                pair.query("SELECT 'ä', LENGTH('ä'), HEX('ä')")?;
                pair.query("SET NAMES DEFAULT")?;
                pair.query("SELECT @@character_set_client, @@collation_connection")?;
                differences.extend(pair.into_differences());
            }
            (Err(a), Err(b)) if a.number() == b.number() => {}
            (a, b) => differences.push(format!(
                "collation {id}: server {:?}, weir {:?}",
                a.map(|_| ()).map_err(|e| e.to_string()),
                b.map(|_| ()).map_err(|e| e.to_string())
            )),
        }
    }
    none_differ(&differences)
}

/// State that travels between connections is the session's, also when another session uses the connections meanwhile.
fn state_survives_between_statements(cluster: &'static Cluster) -> Result<()> {
    let weir = start(cluster)?;
    let databases = Databases::create(cluster, "state")?;
    databases.prepare(SCHEMA)?;
    let mut pair = Pair::connect(&weir, &databases, &direct_login(), "state")?;
    let mut other = weir.connect(&Login::new(SERVICE.user, SERVICE.password).collation(8))?;
    let charset = match cluster.flavour() {
        Flavour::MySql => "utf8mb4_0900_as_cs",
        Flavour::MariaDb => "utf8mb4_nopad_bin",
    };
    let names = format!("SET NAMES utf8mb4 COLLATE {charset}");
    for sql in [
        "SET sql_mode = 'STRICT_ALL_TABLES,ANSI_QUOTES'",
        "SET time_zone = '-11:00'",
        names.as_str(),
        "SET SESSION TRANSACTION ISOLATION LEVEL READ UNCOMMITTED",
        "SET autocommit = 0",
        "COMMIT",
        "USE {db}",
        "SET character_set_results = NULL",
        "SET character_set_results = latin1",
        "SET collation_connection = latin1_bin",
        "SET autocommit = 1",
    ] {
        pair.query(sql)?;
        other.run("SELECT @@sql_mode")?;
        pair.query(
            "SELECT @@sql_mode, @@time_zone, @@character_set_client, @@character_set_results, @@collation_connection, \
             @@autocommit, DATABASE()",
        )?;
        pair.query("SHOW SESSION VARIABLES LIKE 't%isolation'")?;
        other.run("SELECT 1")?;
    }
    none_differ(&pair.into_differences())
}
