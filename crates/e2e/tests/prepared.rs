//! Prepared statements on connections that others use too: they are read as they were when they were prepared, follow the
//! tables, and are not more than servers take.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test's helpers fail as its own lines do")]

use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use weir_backend::state::NOT_FOR_PREPARING;
use weir_e2e::client::{Answer, Client, Outcome, Parameter};
use weir_e2e::on_both_servers;
use weir_e2e::pair::{Databases, Pair, direct_login, instance};
use weir_e2e::weir::{Options, User, Weir};
use weir_testkit::Cluster;

on_both_servers!(
    tables_may_change_between_two_executions,
    a_statement_is_read_as_it_was_when_it_was_prepared,
    what_is_left_out_of_definitions_makes_no_difference_to_servers,
    a_statement_that_the_server_wants_prepared_again_is_executed,
    a_server_that_takes_no_more_statements_gets_room,
    statements_are_bounded_and_go_with_their_sessions,
);

const PATIENCE: Duration = Duration::from_secs(20);
/// What one server connection keeps prepared.
const MOST_ON_A_CONNECTION: u64 = 256;

/// The servers count statements of all together: who looks at the count is alone.
static COUNT: RwLock<()> = RwLock::new(());

fn with_others() -> RwLockReadGuard<'static, ()> {
    COUNT.read().unwrap_or_else(PoisonError::into_inner)
}

fn alone() -> RwLockWriteGuard<'static, ()> {
    COUNT.write().unwrap_or_else(PoisonError::into_inner)
}

/// In front of the primary, so that it is known where a statement is.
fn weir(cluster: &Cluster, capacity: i64) -> Result<Weir> {
    let users = vec![User::of(cluster).without_split().as_admin()];
    Weir::start(&Options::on(cluster)?.users(users).set("pool.capacity", capacity))
}

/// Three sessions over two connections: the third can take away the connection that another used last.
struct Sessions {
    one: Pair,
    other: Pair,
    mover: Pair,
    moved: bool,
}

impl Sessions {
    fn connect(weir: &Weir, databases: &Databases<'_>) -> Result<Sessions> {
        let pair = |title: &str| Pair::connect(weir, databases, &direct_login(), title);
        Ok(Sessions { one: pair("one")?, other: pair("other")?, mover: pair("mover")?, moved: false })
    }

    /// The first session's next statement runs on another connection than its last.
    fn move_one(&mut self) -> Result<()> {
        let sql = if self.moved { "COMMIT" } else { "BEGIN" };
        self.mover.query(sql)?;
        if !self.moved {
            self.mover.query("SELECT 1")?;
        }
        self.moved = !self.moved;
        Ok(())
    }

    fn end(self) -> Result<()> {
        let found: Vec<String> =
            [self.one, self.other, self.mover].into_iter().flat_map(Pair::into_differences).collect();
        ensure!(found.is_empty(), "{}", found.join("\n"));
        Ok(())
    }
}

fn tables_may_change_between_two_executions(cluster: &'static Cluster) -> Result<()> {
    let _count = with_others();
    let databases = Databases::create(cluster, "prepared_ddl")?;
    databases.prepare(
        "CREATE TABLE t (id INT PRIMARY KEY, a VARCHAR(10)); INSERT INTO t VALUES (1, 'x'), (2, 'y'); \
         CREATE VIEW v AS SELECT id FROM t",
    )?;
    let weir = weir(cluster, 2)?;
    let mut sessions = Sessions::connect(&weir, &databases)?;
    let all = sessions.one.prepare("SELECT * FROM t WHERE id < ?")?.context("not prepared")?;
    let view = sessions.one.prepare("SELECT * FROM v WHERE id < ?")?.context("not prepared")?;
    let sum = sessions.one.prepare("SELECT COUNT(*), MAX(a) FROM t WHERE id < ?")?.context("not prepared")?;
    let write = sessions.one.prepare("UPDATE t SET a = 'z' WHERE id = ?")?.context("not prepared")?;
    for change in [
        "ALTER TABLE t ADD COLUMN b INT DEFAULT 7",
        "ALTER TABLE t MODIFY a VARCHAR(200) CHARACTER SET latin1",
        "ALTER TABLE t ADD COLUMN c DATETIME NULL FIRST",
        "CREATE OR REPLACE VIEW v AS SELECT id, a, 5 AS five FROM t",
        "ALTER TABLE t DROP COLUMN b",
        "RENAME TABLE t TO s",
        "RENAME TABLE s TO t",
        "ALTER TABLE t DROP COLUMN a",
        "DROP VIEW v",
        "DROP TABLE t",
        "CREATE TABLE t (id BIGINT, a TEXT)",
        "INSERT INTO t VALUES (1, 'new')",
        "CREATE VIEW v AS SELECT a, id FROM t",
    ] {
        sessions.other.query(change)?;
        for (ids, text) in [(all, "all"), (view, "view"), (sum, "sum"), (write, "write")] {
            for _ in 0..2 {
                let what = format!("{text} after {change}");
                let act = |client: &mut Client, id| client.execute(id, &[Parameter::Int(2)]).map(settled);
                sessions.one.same_with(ids, &what, act)?;
                sessions.move_one()?;
            }
        }
    }
    sessions.end()
}

/// Takes out the flag with which MySQL says that it has just prepared the statement anew: each connection says so.
fn settled(mut answer: Answer) -> Answer {
    const METADATA_CHANGED: u8 = 0x04;
    if let Some(last) = answer.packets.last_mut()
        && matches!(last.payload.first(), Some(0x00 | 0xFE))
        && let Some(high) = last.payload.get_mut(4)
    {
        *high &= !METADATA_CHANGED;
    }
    answer
}

/// What is set before a statement is prepared and after it, and the statement.
const READ_AS_THEN: [(&str, &str, &str); 14] = [
    ("SET sql_mode = 'ANSI_QUOTES'", "SET sql_mode = ''", "SELECT \"id\", \"a\" FROM t WHERE id < ?"),
    ("SET sql_mode = ''", "SET sql_mode = 'ANSI_QUOTES'", "SELECT \"id\", 'a' FROM t WHERE id < ?"),
    ("SET sql_mode = 'PIPES_AS_CONCAT'", "SET sql_mode = ''", "SELECT 'a' || 'b', ?"),
    ("SET sql_mode = 'NO_BACKSLASH_ESCAPES'", "SET sql_mode = ''", "SELECT 'a\\n', ?"),
    ("SET sql_mode = 'HIGH_NOT_PRECEDENCE'", "SET sql_mode = ''", "SELECT NOT 1 BETWEEN -5 AND 5, ?"),
    ("SET div_precision_increment = 9", "SET div_precision_increment = 2", "SELECT 1/3, 2/?"),
    (
        "SET group_concat_max_len = 4",
        "SET group_concat_max_len = 100",
        "SELECT GROUP_CONCAT(long_one) FROM t WHERE id < ?",
    ),
    ("SET lc_time_names = 'de_DE'", "SET lc_time_names = 'fr_FR'", "SELECT DAYNAME('2020-02-03'), ?"),
    (
        "SET default_week_format = 3",
        "SET default_week_format = 0",
        "SELECT WEEK('2008-02-20'), WEEK('2010-01-03'), ?",
    ),
    ("SET time_zone = '+05:00'", "SET time_zone = '-03:00'", "SELECT FROM_UNIXTIME(0), FROM_UNIXTIME(?)"),
    ("SET sql_select_limit = 1", "SET sql_select_limit = DEFAULT", "SELECT id FROM t WHERE id < ?"),
    ("SET NAMES latin1", "SET NAMES utf8mb4", "SELECT CHARSET('a'), COLLATION('a'), 'ä', ?"),
    ("SET NAMES utf8mb4 COLLATE utf8mb4_bin", "SET NAMES utf8mb4", "SELECT 'a' = 'A', ?"),
    (
        "SET sort_buffer_size = 65536",
        "SET sort_buffer_size = 131072",
        "SELECT id FROM t WHERE id < ? ORDER BY a",
    ),
];

fn a_statement_is_read_as_it_was_when_it_was_prepared(cluster: &'static Cluster) -> Result<()> {
    let _count = with_others();
    let databases = Databases::create(cluster, "prepared_then")?;
    databases.prepare(
        "CREATE TABLE t (id INT PRIMARY KEY, a VARCHAR(10), long_one VARCHAR(40)); \
         INSERT INTO t VALUES (1, 'x', 'abcdefgh'), (2, 'y', 'ijklmnop'), (3, 'z', 'qrstuvwx')",
    )?;
    let weir = weir(cluster, 2)?;
    let mut sessions = Sessions::connect(&weir, &databases)?;
    for (then, now, text) in READ_AS_THEN {
        sessions.one.query(then)?;
        let before = sessions.one.prepare(text)?.context("not prepared")?;
        sessions.one.query(now)?;
        let after = sessions.one.prepare(text)?.context("not prepared")?;
        for ids in [before, after, before, after] {
            let what = format!("{then}; {now}: {text}");
            sessions.one.same_with(ids, &what, |client, id| client.execute(id, &[Parameter::Int(3)]))?;
            sessions.move_one()?;
        }
        // another session in another state, on the connections that the first has used
        sessions.other.query(then)?;
        let other = sessions.other.prepare(text)?.context("not prepared")?;
        sessions.other.same_with(other, text, |client, id| client.execute(id, &[Parameter::Int(3)]))?;
        sessions.one.query("SET sql_mode = DEFAULT")?;
    }
    sessions.end()
}

/// Values that variables of all kinds take.
const VALUES: [&str; 13] = [
    "65536",
    "262144",
    "7",
    "9",
    "1",
    "0",
    "'READ-COMMITTED'",
    "'SERIALIZABLE'",
    "'de_DE'",
    "'fr_FR'",
    "'latin1'",
    "'minimal'",
    "'full'",
];

/// Statements of many kinds, each with two parameters.
const KINDS: [&str; 12] = [
    "SELECT *, ? FROM t WHERE id < ?",
    "SELECT 1/3, ?/7, 2.5 * ?",
    "SELECT a, COUNT(*), GROUP_CONCAT(long_one), MAX(?) FROM t WHERE id < ? GROUP BY a ORDER BY a DESC",
    "SELECT DATE_FORMAT('2020-02-03', '%W %M'), WEEK('2008-02-20'), FROM_UNIXTIME(?), SEC_TO_TIME(?)",
    "SELECT CONCAT(a, ?), a LIKE ?, UPPER('x'), CAST('2020-01-01' AS DATETIME) FROM t ORDER BY id",
    "SELECT id FROM t WHERE a IN (SELECT a FROM t WHERE id < ?) UNION SELECT ? ORDER BY 1",
    "SELECT x.id, y.a FROM t x LEFT JOIN t y ON x.id = y.id + ? ORDER BY x.id LIMIT ?",
    "SELECT CASE WHEN ? > 2 THEN 'many' ELSE 2.0 END, COALESCE(NULL, ?), CAST('9' AS DECIMAL(10, 4))",
    "SELECT id, ROW_NUMBER() OVER (ORDER BY a DESC) FROM t WHERE id BETWEEN ? AND ?",
    "SHOW COLUMNS FROM t WHERE ? <> ?",
    "SELECT CHARSET('a'), COLLATION(CONCAT('a', ?)), HEX(?)",
    "SELECT DISTINCT SUBSTR(long_one, ?, ?) AS s FROM t HAVING s <> '' ORDER BY s",
];

fn what_is_left_out_of_definitions_makes_no_difference_to_servers(cluster: &'static Cluster) -> Result<()> {
    let _count = with_others();
    let databases = Databases::create(cluster, "prepared_facts")?;
    databases.prepare(
        "CREATE TABLE t (id INT PRIMARY KEY, a VARCHAR(10), long_one VARCHAR(40)); \
         INSERT INTO t VALUES (1, 'x', 'abcdefgh'), (2, 'y', 'ijklmnop'), (3, 'z', 'qrstuvwx')",
    )?;
    let login = direct_login().database(&databases.direct);
    let mut tried = 0;
    for name in NOT_FOR_PREPARING {
        let mut client = Client::connect(&instance(cluster, 0)?, &login)?;
        let [Some(then), Some(now)] = two_values(&mut client, name)? else { continue };
        tried += 1;
        for text in KINDS {
            client.run(&format!("SET SESSION {name} = {then}"))?;
            let before = client.prepare(text)?;
            client.run(&format!("SET SESSION {name} = {now}"))?;
            let parameters = [Parameter::Int(2), Parameter::Int(3)];
            let prepared_before = client.execute(before.id, &parameters)?;
            let after = client.prepare(text)?;
            let prepared_after = client.execute(after.id, &parameters)?;
            ensure!(
                prepared_before == prepared_after,
                "{name}, from {then} to {now}: {text}\n{prepared_before:?}{prepared_after:?}"
            );
        }
    }
    ensure!(tried >= 25, "only {tried} variables are known to this server");
    Ok(())
}

/// Two values that the server tells apart.
fn two_values(client: &mut Client, name: &str) -> Result<[Option<&'static str>; 2]> {
    let mut found: Vec<(&'static str, String)> = Vec::new();
    for value in VALUES {
        if client.query(format!("SET SESSION {name} = {value}"))?.error().is_none() {
            let shown = client.value(&format!("SELECT @@SESSION.{name}"))?;
            if found.iter().all(|(_, other)| *other != shown) {
                found.push((value, shown));
            }
        }
    }
    let mut values = found.into_iter().map(|(value, _)| value);
    Ok([values.next(), values.next()])
}

fn a_statement_that_the_server_wants_prepared_again_is_executed(cluster: &'static Cluster) -> Result<()> {
    let _count = with_others();
    let databases = Databases::create(cluster, "prepared_again")?;
    let fails_until = |name: &str, tries: u32| {
        format!(
            "CREATE FUNCTION {name}() RETURNS INT NOT DETERMINISTIC NO SQL BEGIN \
             SET @{name} = COALESCE(@{name}, 0) + 1; \
             IF @{name} < {tries} THEN SIGNAL SQLSTATE 'HY000' SET MYSQL_ERRNO = 1615; END IF; \
             RETURN @{name}; END"
        )
    };
    let weir = weir(cluster, 1)?;
    for (begin, second, hundredth) in [("DO 0", "a2", "a100"), ("BEGIN", "b2", "b100")] {
        databases.prepare(&fails_until(second, 2))?;
        databases.prepare(&fails_until(hundredth, 100))?;
        let mut client = weir.connect(&direct_login().database(&databases.weir))?;
        let statement = client.prepare(format!("SELECT {second}()"))?;
        client.run(begin)?;
        let answer = client.execute(statement.id, &[])?;
        let rows = match answer.outcomes()?.pop() {
            Some(Outcome::Rows { rows, .. }) => rows,
            other => anyhow::bail!("{begin}: {other:?}"),
        };
        ensure!(rows == [[&[0, 0][..], &2_u32.to_le_bytes()].concat()], "{begin}: {rows:?}");
        client.reset()?;
        // once is enough: the client is told, as at the server
        let statement = client.prepare(format!("SELECT {hundredth}()"))?;
        client.run(begin)?;
        ensure!(client.execute(statement.id, &[])?.error_number() == 1615, "{begin}");
        client.reset()?;
    }
    ensure!(weir.metrics()?.sum("weir_statements_retried_total", &[]) == 4.0, "{}", weir.metrics()?);
    Ok(())
}

fn prepared_count(cluster: &Cluster) -> Result<u64> {
    let rows = cluster.sql(0, "SHOW GLOBAL STATUS LIKE 'Prepared_stmt_count'")?;
    Ok(rows.into_iter().flatten().flatten().nth(1).context("no Prepared_stmt_count")?.parse()?)
}

/// Sets `max_prepared_stmt_count` back when it goes.
struct Limit<'c> {
    cluster: &'c Cluster,
    before: String,
}

impl<'c> Limit<'c> {
    fn new(cluster: &'c Cluster) -> Result<Limit<'c>> {
        Ok(Limit { cluster, before: cluster.value(0, "SELECT @@GLOBAL.max_prepared_stmt_count")? })
    }

    fn set(&self, most: impl std::fmt::Display) -> Result<()> {
        self.cluster.sql(0, &format!("SET GLOBAL max_prepared_stmt_count = {most}")).map(|_| ())
    }
}

impl Drop for Limit<'_> {
    fn drop(&mut self) {
        if let Err(error) = self.set(&self.before) {
            weir_testkit::say(format!("max_prepared_stmt_count was not set back: {error:#}"));
        }
    }
}

/// Executes `SELECT {number}, ?`.
fn execute_number(client: &mut Client, id: u32, number: u32) -> Result<()> {
    let answer = client.execute(id, &[Parameter::Text("given".to_owned())])?;
    let expected = [format!("{number}").as_bytes(), b"given"].map(<[u8]>::to_vec);
    match answer.outcomes()?.pop() {
        Some(Outcome::Rows { rows, .. }) => {
            let mut row = vec![0, 0];
            for value in expected {
                row.push(u8::try_from(value.len())?);
                row.extend(value);
            }
            ensure!(rows == [row], "{number}: {rows:?}");
            Ok(())
        }
        other => anyhow::bail!("{number}: {other:?}"),
    }
}

fn number_text(number: u32) -> String {
    format!("SELECT '{number}', ?")
}

fn a_server_that_takes_no_more_statements_gets_room(cluster: &'static Cluster) -> Result<()> {
    let _count = alone();
    let limit = Limit::new(cluster)?;
    let weir = weir(cluster, 2)?;
    let mut client = weir.client()?;
    let mut statements = Vec::new();
    for number in 0..5 {
        statements.push(client.prepare(number_text(number))?.id);
    }
    limit.set(prepared_count(cluster)?)?;
    statements.push(client.prepare(number_text(5))?.id);
    for _ in 0..2 {
        for (number, id) in (0..).zip(&statements) {
            execute_number(&mut client, *id, number)?;
        }
    }
    // in a transaction, on the connection that it holds
    client.run("BEGIN")?;
    for (number, id) in (0..).zip(&statements) {
        execute_number(&mut client, *id, number)?;
    }
    client.run("COMMIT")?;
    limit.set(0)?;
    let refused = client.prepare_raw(number_text(6))?;
    ensure!(refused.error_number() == 1461, "{refused:?}");
    Ok(())
}

fn statements_are_bounded_and_go_with_their_sessions(cluster: &'static Cluster) -> Result<()> {
    let _count = alone();
    let start = prepared_count(cluster)?;
    let weir = weir(cluster, 2)?;
    let shown = |client: &mut Client| -> Result<usize> {
        let rows = client.rows("SHOW WEIR PREPARED")?;
        Ok(rows.len())
    };
    let mut client = weir.client()?;
    let mut statements = Vec::new();
    for number in 0..600 {
        statements.push(client.prepare(number_text(number))?.id);
    }
    ensure!(prepared_count(cluster)? <= start + 2 * MOST_ON_A_CONNECTION);
    for number in [0, 300, 599] {
        execute_number(&mut client, statements[number as usize], number)?;
    }
    ensure!(shown(&mut client)? == 600);
    for id in statements {
        client.close_statement(id)?;
    }
    for number in 0..600 {
        let id = client.prepare(number_text(number))?.id;
        client.close_statement(id)?;
    }
    ensure!(prepared_count(cluster)? <= start + 2 * MOST_ON_A_CONNECTION);
    ensure!(shown(&mut client)? == 0, "closed, and yet known");
    let kept = client.prepare("SELECT 'kept'")?;
    let deadline = Instant::now() + PATIENCE;
    while prepared_count(cluster)? > start + 1 {
        ensure!(Instant::now() < deadline, "{} are left, {start} at the start", prepared_count(cluster)?);
        std::thread::sleep(Duration::from_millis(50));
    }
    let answer = client.execute(kept.id, &[])?;
    ensure!(answer.error().is_none(), "{answer:?}");
    drop(client);
    while prepared_count(cluster)? > start {
        ensure!(
            Instant::now() < deadline,
            "{} are left of a session that has gone",
            prepared_count(cluster)?
        );
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}
