//! Every command through Weir, compared with the server's own answer byte for byte.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test's helpers fail as its own lines do"
)]

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use weir_e2e::client::{Bind, Client, Cursor, Expect, Failure, Login, Parameter};
use weir_e2e::on_both_servers;
use weir_e2e::pair::{Databases, Pair, direct_login, instance};
use weir_e2e::weir::{Namespace, Options, User, Weir};
use weir_testkit::{Cluster, Flavour, SERVICE};
use weir_wire::capability::{Capabilities, Status};
use weir_wire::command::com;

on_both_servers!(
    simple_commands,
    set_option_switches_multi_statements_both_ways,
    reset_connection_forgets_everything,
    change_user,
    change_user_into_another_namespace,
    cursors,
    long_data,
    the_last_prepared_statement,
    many_prepared_statements,
    prepared_statements_follow_their_tables,
    unknown_and_unserved_commands,
    malformed_commands,
    pipelined_commands_are_answered_in_order,
    the_greetings_id_is_the_one_to_kill,
);

const SCHEMA: &str = "
    CREATE TABLE few (id INT PRIMARY KEY, k INT, v VARCHAR(10)) SELECT 1 id, 10 k, 'a' v UNION SELECT 2, 20, NULL
        UNION SELECT 3, 30, 'c';
    CREATE TABLE blobs (id INT PRIMARY KEY AUTO_INCREMENT, b LONGBLOB);
    CREATE PROCEDURE two() BEGIN SELECT 1 AS a; SELECT id, k FROM few ORDER BY id; END";

fn options(cluster: &Cluster) -> Result<Options> {
    Ok(Options::on(cluster)?.users(vec![User::of(cluster).without_split()]))
}

fn pair(
    cluster: &'static Cluster,
    weir: &Weir,
    login: &Login,
    title: &str,
) -> Result<(Databases<'static>, Pair)> {
    let databases = Databases::create(cluster, "commands")?;
    databases.prepare(SCHEMA)?;
    let pair = Pair::connect(weir, &databases, login, title)?;
    Ok((databases, pair))
}

fn none_differ(differences: &[String]) -> Result<()> {
    ensure!(differences.is_empty(), "{} differences:\n{}", differences.len(), differences.join("\n"));
    Ok(())
}

/// Old and new clients.
fn logins() -> Vec<(&'static str, Login)> {
    let old = Capabilities::DEPRECATE_EOF | Capabilities::SESSION_TRACK;
    vec![("new", direct_login()), ("old", direct_login().without(old))]
}

fn simple_commands(cluster: &'static Cluster) -> Result<()> {
    let weir = Weir::start(&options(cluster)?)?;
    let mut differences = Vec::new();
    for (title, login) in logins() {
        let (databases, mut pair) = pair(cluster, &weir, &login, title)?;
        pair.same("PING", Client::ping)?;
        pair.same("FIELD_LIST few", |c| c.command(b"\x04few\0", Expect::Columns))?;
        pair.same("FIELD_LIST few %", |c| c.command(b"\x04few\0%", Expect::Columns))?;
        pair.same("FIELD_LIST few k%", |c| c.command(b"\x04few\0k%", Expect::Columns))?;
        pair.same("FIELD_LIST nosuch", |c| c.command(b"\x04nosuch\0", Expect::Columns))?;
        let mut names = databases.names().map(str::to_owned).into_iter();
        pair.same("INIT_DB own", |c| c.init_db(&names.next().unwrap()))?;
        pair.query("SELECT DATABASE()")?;
        pair.same("INIT_DB nosuch", |c| c.init_db("nosuchdb"))?;
        pair.query("SELECT DATABASE()")?;
        pair.same("INIT_DB empty", |c| c.init_db(""))?;
        pair.same("INIT_DB information_schema", |c| c.init_db("information_schema"))?;
        pair.query("SELECT DATABASE()")?;
        pair.same("INIT_DB mysql", |c| c.init_db("mysql"))?;
        pair.query("SELECT DATABASE()")?;
        // numbers of the moment: only that a line of text comes, and that it is the same line
        let words = |client: &mut Client| -> Result<String, Failure> {
            let answer = client.command(&[com::STATISTICS], Expect::One)?;
            let text = String::from_utf8_lossy(&answer.packets[0].payload).into_owned();
            Ok(text.chars().filter(|c| !c.is_ascii_digit() && *c != '.').collect())
        };
        let (a, b) = (words(&mut pair.direct)?, words(&mut pair.weir)?);
        if a != b || !a.contains("Uptime") {
            pair.differs(format!("STATISTICS: server {a}, weir {b}"));
        }
        differences.extend(pair.into_differences());
    }
    none_differ(&differences)
}

fn set_option_switches_multi_statements_both_ways(cluster: &'static Cluster) -> Result<()> {
    let weir = Weir::start(&options(cluster)?.set("pool.capacity", 1))?;
    let mut differences = Vec::new();
    for (title, login) in logins() {
        for from_login in [true, false] {
            let mut login = login.clone();
            login.capabilities.set(Capabilities::MULTI_STATEMENTS, from_login);
            let (_databases, mut pair) =
                pair(cluster, &weir, &login, &format!("{title}, {from_login} at login"))?;
            // the only connection is used by others that want the opposite
            let mut other = weir
                .connect(&Login::new(SERVICE.user, SERVICE.password).with(Capabilities::MULTI_STATEMENTS))?;
            let mut strict = weir.connect(&Login::new(SERVICE.user, SERVICE.password))?;
            for option in [9, 0, 0, 1, 1, 0, 1] {
                pair.query("SELECT 1; SELECT 2")?;
                other.run("SELECT 1; SELECT 2")?;
                pair.query("SELECT 1; SELECT 2")?;
                ensure!(
                    strict.query("SELECT 1; SELECT 2")?.error_number() == 1064,
                    "a strict client is not protected"
                );
                pair.query("SELECT 3; SELECT 4")?;
                pair.same(&format!("SET_OPTION {option}"), |c| c.set_option(option))?;
            }
            pair.same("SET_OPTION 0", |c| c.set_option(0))?;
            pair.same("RESET_CONNECTION", Client::reset)?;
            pair.query("SELECT 1; SELECT 2")?;
            differences.extend(pair.into_differences());
        }
    }
    none_differ(&differences)
}

fn reset_connection_forgets_everything(cluster: &'static Cluster) -> Result<()> {
    let weir = Weir::start(&options(cluster)?)?;
    let mut differences = Vec::new();
    for (title, login) in logins() {
        let (_databases, mut pair) = pair(cluster, &weir, &login, title)?;
        let ids = pair.prepare("SELECT 1")?.unwrap();
        for sql in [
            "SET NAMES latin1",
            "SET sql_mode = 'ANSI', time_zone = '+05:00', autocommit = 0, @a = 1, sort_buffer_size = 500000",
            "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED",
            "SET wait_timeout = 77",
            "CREATE TEMPORARY TABLE tmp (x INT)",
            "INSERT INTO few VALUES (9, 9, 'x')",
            "SELECT GET_LOCK('{db}', 0)",
            "PREPARE s FROM 'SELECT 1'",
            "USE mysql",
        ] {
            pair.query(sql)?;
        }
        pair.same("RESET_CONNECTION", Client::reset)?;
        for sql in [
            "SELECT @@sql_mode, @@time_zone, @@autocommit, @a, @@sort_buffer_size, @@wait_timeout",
            "SELECT DATABASE()",
            "SHOW SESSION VARIABLES LIKE 't%isolation'",
            "SHOW SESSION VARIABLES LIKE 'character_set_c%'",
            "SHOW SESSION VARIABLES LIKE 'character_set_results'",
            "SHOW SESSION VARIABLES LIKE 'collation_connection'",
            "USE {db}",
            "SELECT * FROM tmp",
            "SELECT COUNT(*) FROM few",
            "EXECUTE s",
            "SELECT IS_FREE_LOCK('{db}')",
            "SELECT LAST_INSERT_ID(), ROW_COUNT()",
        ] {
            pair.query(sql)?;
        }
        pair.same_with(ids, "execution of a statement from before", |c, id| {
            let mut answer = c.execute(id, &[])?;
            answer.packets[0].payload.retain(|byte| !byte.is_ascii_digit());
            Ok(answer)
        })?;
        differences.extend(pair.into_differences());
    }
    none_differ(&differences)
}

fn change_user(cluster: &'static Cluster) -> Result<()> {
    let weir = Weir::start(&options(cluster)?)?;
    let mut differences = Vec::new();
    for (title, login) in logins() {
        let (databases, mut pair) = pair(cluster, &weir, &login, title)?;
        pair.query("SET sql_mode = 'ANSI', @a = 1, autocommit = 0")?;
        pair.query("INSERT INTO few VALUES (8, 8, 'x')")?;
        let again = [&databases.direct, &databases.weir].map(|name| login.clone().database(name));
        let mut turn = again.into_iter();
        pair.same("CHANGE_USER, the same", |c| c.change_user(&turn.next().unwrap()))?;
        pair.query("SELECT @@sql_mode, @a, @@autocommit, DATABASE(), CURRENT_USER()")?;
        pair.query("SELECT COUNT(*) FROM few")?;
        pair.same("CHANGE_USER, no database, latin1", |c| c.change_user(&login.clone().collation(8)))?;
        pair.query("SELECT DATABASE(), @@character_set_client, @@collation_connection")?;
        pair.query("SELECT 1 FROM few")?;
        differences.extend(pair.into_differences());

        for (what, wrong) in [
            ("wrong password", Login::new(SERVICE.user, "wrong")),
            ("no password", Login::new(SERVICE.user, "")),
            ("unknown user", unknown_user(cluster, &login)?),
            ("unknown database", login.clone().database("nosuchdb")),
        ] {
            const STATE: &str =
                "SELECT @@sql_mode, @a, @@autocommit, DATABASE(), CURRENT_USER(), @@character_set_client";
            let mut at_server = Client::connect(&instance(cluster, 0)?, &login)?;
            let mut through = weir.connect(&login)?;
            for client in [&mut at_server, &mut through] {
                client.run("SET sql_mode = 'ANSI', @a = 1, autocommit = 0")?;
                client.run("USE information_schema")?;
            }
            let [expected, got] = [&mut at_server, &mut through]
                .map(|c| c.change_user(&wrong).map_err(|e| e.to_string()).map(|_| ()));
            if expected != got || expected.is_ok() {
                differences.push(format!("{title}: CHANGE_USER, {what}: server {expected:?}, weir {got:?}"));
            }
            let attempts = if what == "wrong password" { 5 } else { 2 };
            for attempt in 1..attempts {
                let [expected, got] = [&mut at_server, &mut through].map(|c| c.rows(STATE).ok());
                if expected != got {
                    differences
                        .push(format!("{title}: after {what}: at the server {expected:?}, weir {got:?}"));
                }
                let [expected, got] = [&mut at_server, &mut through]
                    .map(|c| c.change_user(&wrong).err().and_then(|e| e.number()));
                if expected != got {
                    differences.push(format!("{title}: {what}, {attempt} more: {expected:?}, weir {got:?}"));
                }
            }
        }
    }
    none_differ(&differences)
}

/// A user that the server does not know, and turns away in a way that this client can follow: MySQL invents a plugin for
/// each unknown name, another one in each process.
fn unknown_user(cluster: &Cluster, login: &Login) -> Result<Login> {
    for number in 0..50 {
        let unknown = Login::new(&format!("nobody{number}"), "x");
        let mut client = Client::connect(&instance(cluster, 0)?, login)?;
        if client.change_user(&unknown).is_err_and(|failure| failure.number().is_some()) {
            return Ok(unknown);
        }
    }
    anyhow::bail!("each of fifty unknown users is asked for a plugin that this client does not have")
}

fn change_user_into_another_namespace(cluster: &'static Cluster) -> Result<()> {
    let databases = Databases::create(cluster, "change")?;
    let [one, two] = databases.names();
    let only = |name: &str| toml::Value::Array(vec![name.into()]);
    let first = Namespace::on(cluster, "first")?
        .users_are(vec![User::new("ann", "a")])
        .set("allowed_databases", only(one));
    let second = Namespace::on(cluster, "second")?
        .users_are(vec![User::new("ann", "b"), User::new("bob", "b")])
        .set("allowed_databases", only(two));
    let weir = Weir::start(&Options::of(vec![first, second]).greeting(cluster.version()))?;
    cluster.wait_for_replicas(Duration::from_secs(30))?;
    let mut client = weir.connect(&Login::new("ann", "a").database(one))?;
    assert_eq!(client.query(format!("USE `{two}`"))?.error_number(), 1044);
    client.change_user(&Login::new("ann", "b").database(two))?;
    assert_eq!(client.value("SELECT DATABASE()")?, two);
    assert_eq!(client.query(format!("USE `{one}`"))?.error_number(), 1044);
    client.change_user(&Login::new("bob", "b"))?;
    assert_eq!(client.query(format!("USE `{one}`"))?.error_number(), 1044);
    client.change_user(&Login::new("ann", "a").database(one))?;
    let refused = client.change_user(&Login::new("bob", "a"));
    assert_eq!(refused.unwrap_err().number(), Some(1045));
    Ok(())
}

fn cursors(cluster: &'static Cluster) -> Result<()> {
    let weir = Weir::start(&options(cluster)?.set("pool.capacity", 2))?;
    let mut differences = Vec::new();
    for (title, login) in logins() {
        let (_databases, mut pair) = pair(cluster, &weir, &login, title)?;
        let open = |c: &mut Client, id| c.execute_with(id, &[], Cursor::ReadOnly, Bind::New);
        let ids = pair.prepare("SELECT * FROM few ORDER BY id")?.unwrap();
        pair.same_with(ids, "open", open)?;
        for rows in [1, 1, 5] {
            pair.same_with(ids, &format!("fetch {rows}"), |c, id| c.fetch(id, rows))?;
        }
        pair.same_with(ids, "open again", open)?;
        pair.same_with(ids, "fetch 1", |c, id| c.fetch(id, 1))?;
        pair.same_with(ids, "reset", |c, id| c.reset_statement(id))?;
        if cluster.flavour() == Flavour::MariaDb {
            // MySQL 9.7 leaves this one without an answer
            pair.same_with(ids, "execute without a cursor", |c, id| c.execute(id, &[]))?;
        }

        // two cursors side by side, statements in between
        let other = pair.prepare("SELECT k FROM few ORDER BY k DESC")?.unwrap();
        pair.same_with(ids, "open a", open)?;
        pair.same_with(other, "open b", open)?;
        pair.same_with(ids, "fetch a", |c, id| c.fetch(id, 1))?;
        pair.same_with(other, "fetch b", |c, id| c.fetch(id, 2))?;
        pair.query("SELECT 1")?;
        pair.same_with(ids, "fetch a", |c, id| c.fetch(id, 10))?;
        pair.same_with(other, "fetch b", |c, id| c.fetch(id, 10))?;
        pair.same_with(ids, "open a again", open)?;
        pair.direct.close_statement(other[0])?;
        pair.weir.close_statement(other[1])?;
        pair.same_with(ids, "fetch a after b was closed", |c, id| c.fetch(id, 10))?;

        for sql in [
            "SELECT * FROM few WHERE id > 100",
            "UPDATE few SET k = k",
            "CALL two()",
            "SHOW TABLES",
            "SELECT 1 FROM nosuch",
        ] {
            let Some(ids) = pair.prepare(sql)? else { continue };
            pair.same_with(ids, &format!("open {sql}"), open)?;
            pair.same_with(ids, &format!("fetch {sql}"), |c, id| {
                let mut answer = c.fetch(id, 2)?;
                if answer.error().is_some() {
                    answer.packets[0].payload.retain(|byte| !byte.is_ascii_digit());
                }
                Ok(answer)
            })?;
        }
        // last: MySQL 9.7 answers nothing more to a statement whose fetch it refused
        let ids = pair.prepare("SELECT 1")?.unwrap();
        pair.same_with(ids, "open", open)?;
        pair.same_with(ids, "reset", |c, id| c.reset_statement(id))?;
        pair.same_with(ids, "fetch after reset", |c, id| {
            let mut answer = c.fetch(id, 1)?;
            answer.packets[0].payload.retain(|byte| !byte.is_ascii_digit());
            Ok(answer)
        })?;
        differences.extend(pair.into_differences());
    }
    // what held connections has let go of them
    weir.wait_for("no connection is held", Duration::from_secs(5), |m| {
        m.sum("weir_pool_in_use", &[]) == 0.0
    })?;
    none_differ(&differences)
}

fn long_data(cluster: &'static Cluster) -> Result<()> {
    let weir = Weir::start(&options(cluster)?)?;
    let (_databases, mut pair) = pair(cluster, &weir, &direct_login(), "long data")?;
    let ids = pair.prepare("INSERT INTO blobs (b) VALUES (?)")?.unwrap();
    let sizes = [0, 1, 1000, 70_000, 3 << 20];
    for size in sizes {
        pair.same_with(ids, &format!("{size} bytes at once"), |c, id| {
            c.send_long_data(id, 0, &vec![b'x'; size])?;
            c.execute(id, &[Parameter::SentAhead])
        })?;
    }
    pair.same_with(ids, "in pieces", |c, id| {
        for piece in [&b"one"[..], b"", b"two", b"three"] {
            c.send_long_data(id, 0, piece)?;
        }
        c.execute(id, &[Parameter::SentAhead])
    })?;
    pair.same_with(ids, "again, without data", |c, id| c.execute(id, &[Parameter::Blob(b"plain".to_vec())]))?;
    pair.same_with(ids, "reset drops it", |c, id| {
        c.send_long_data(id, 0, b"dropped")?;
        let answer = c.reset_statement(id)?;
        c.execute(id, &[Parameter::Text("kept".to_owned())])?;
        Ok(answer)
    })?;
    pair.same_with(ids, "a parameter that there is not", |c, id| {
        c.send_long_data(id, 7, b"x")?;
        let answer = c.execute(id, &[Parameter::Null])?;
        c.reset_statement(id)?;
        Ok(answer)
    })?;
    pair.same("a statement that there is not", |c| {
        c.send_long_data(99_999, 0, b"x")?;
        c.ping()
    })?;
    pair.query("SELECT id, LENGTH(b), SHA2(b, 256) FROM blobs ORDER BY id")?;
    let mixed = pair.prepare("SELECT ?, ?, LENGTH(?)")?.unwrap();
    pair.same_with(mixed, "among others", |c, id| {
        c.send_long_data(id, 2, &vec![b'y'; 100_000])?;
        c.execute(id, &[Parameter::Int(5), Parameter::Null, Parameter::SentAhead])
    })?;
    none_differ(&pair.into_differences())
}

/// MariaDB takes statement id −1 for the last one prepared; MySQL knows none of that id.
fn the_last_prepared_statement(cluster: &'static Cluster) -> Result<()> {
    let weir = Weir::start(&options(cluster)?)?;
    let (_databases, mut pair) = pair(cluster, &weir, &direct_login(), "the last prepared")?;
    let last = [u32::MAX; 2];
    let numberless = |mut answer: weir_e2e::client::Answer| {
        if answer.error().is_some() {
            answer.packets[0].payload.retain(|byte| !byte.is_ascii_digit());
        }
        answer
    };
    pair.same_with(last, "before any was prepared", |c, id| c.execute(id, &[]).map(numberless))?;
    pair.prepare("SELECT 'first'")?;
    pair.same_with(last, "after the first", |c, id| c.execute(id, &[]))?;
    let second = pair.prepare("SELECT ?")?.unwrap();
    pair.same_with(last, "after the second", |c, id| c.execute(id, &[Parameter::Int(7)]))?;
    pair.same_with(second, "by its own id", |c, id| c.execute(id, &[Parameter::Int(8)]))?;
    pair.same_with(last, "a reset", |c, id| c.reset_statement(id).map(numberless))?;
    pair.prepare("SELECT * FROM nosuch")?;
    pair.same_with(last, "after one that failed", |c, id| {
        c.execute(id, &[Parameter::Int(9)]).map(numberless)
    })?;
    // prepare and execute in one write, as MariaDB's connectors do
    let both = |c: &mut Client| -> Result<weir_e2e::client::Answer, Failure> {
        let mut bytes = Vec::new();
        weir_wire::write_packet(&mut bytes, 0, &[&[com::STMT_PREPARE][..], b"SELECT 1 + 1"].concat());
        let execute = [&[com::STMT_EXECUTE][..], &u32::MAX.to_le_bytes(), &[0, 1, 0, 0, 0]].concat();
        weir_wire::write_packet(&mut bytes, 0, &execute);
        c.send_bytes(&bytes)?;
        c.read_answer(Expect::Prepare)?;
        c.read_answer(Expect::Results).map(numberless)
    };
    pair.same("prepared and executed in one write", both)?;
    none_differ(&pair.into_differences())
}

fn many_prepared_statements(cluster: &'static Cluster) -> Result<()> {
    let weir = Weir::start(&options(cluster)?.set("pool.capacity", 2))?;
    let (_databases, mut pair) = pair(cluster, &weir, &direct_login(), "many")?;
    let mut ids = Vec::new();
    for n in 0..200 {
        ids.push(pair.prepare(&format!("SELECT id + {n} FROM few WHERE id > ? ORDER BY id"))?.unwrap());
    }
    // other sessions move it between connections
    let mut others = (0..3).map(|_| weir.client()).collect::<Result<Vec<_>, _>>()?;
    for (n, ids) in ids.iter().enumerate().rev() {
        if n % 10 == 0 {
            for other in &mut others {
                other.run("SELECT SLEEP(0)")?;
            }
        }
        pair.same_with(*ids, &format!("statement {n}"), |c, id| c.execute(id, &[Parameter::Int(1)]))?;
        pair.same_with(*ids, &format!("statement {n} again"), |c, id| {
            c.execute_with(id, &[Parameter::Int(2)], Cursor::None, Bind::AsBefore)
        })?;
    }
    none_differ(&pair.into_differences())
}

/// A table that changes makes the server prepare again by itself, with other columns.
fn prepared_statements_follow_their_tables(cluster: &'static Cluster) -> Result<()> {
    let weir = Weir::start(&options(cluster)?)?;
    let (_databases, mut pair) = pair(cluster, &weir, &direct_login(), "changing tables")?;
    let all = pair.prepare("SELECT * FROM few ORDER BY id")?.unwrap();
    pair.same_with(all, "before", |c, id| c.execute(id, &[]))?;
    for sql in [
        "ALTER TABLE few ADD extra INT DEFAULT 5",
        "ALTER TABLE few MODIFY k VARCHAR(20)",
        "TRUNCATE few",
        "DROP TABLE few",
    ] {
        pair.query(sql)?;
        pair.same_with(all, &format!("after {sql}"), |c, id| c.execute(id, &[]))?;
        pair.same_with(all, &format!("again after {sql}"), |c, id| c.execute(id, &[]))?;
    }
    // a statement is prepared in the database and the mode of its time
    let ids = {
        pair.query("USE information_schema")?;
        let ids = pair.prepare("SELECT DATABASE(), COUNT(*) FROM character_sets")?.unwrap();
        pair.query("USE {db}")?;
        ids
    };
    pair.same_with(ids, "in the database of its time", |c, id| c.execute(id, &[]))?;
    pair.query("SET sql_mode = 'ANSI_QUOTES'")?;
    let quoted = pair.prepare("SELECT \"TABLE_NAME\" FROM information_schema.tables WHERE 1 = 0")?.unwrap();
    pair.query("SET sql_mode = ''")?;
    pair.same_with(quoted, "in the mode of its time", |c, id| c.execute(id, &[]))?;
    none_differ(&pair.into_differences())
}

fn unknown_and_unserved_commands(cluster: &'static Cluster) -> Result<()> {
    let weir = Weir::start(&options(cluster)?)?;
    let (_databases, mut pair) = pair(cluster, &weir, &direct_login(), "unknown")?;
    for byte in [0x00, 0x0b, 0x0f, 0x10, 0x14, 0x1d, 0x22, 0x40, 0x7f, 0xee, 0xff] {
        // each on connections of its own: the server ends some
        let mut at_server = Client::connect(&instance(cluster, 0)?, &direct_login())?;
        let mut through = weir.client()?;
        let [expected, got] = [&mut at_server, &mut through].map(|c| {
            let first = c.command(&[byte], Expect::One).map(|a| a.error_number()).map_err(|e| e.is_lost());
            (first, c.ping().map(|a| a.error_number()).map_err(|e| e.is_lost()))
        });
        if expected != got {
            pair.differs(format!("command {byte:#04x}: server {expected:?}, weir {got:?}"));
        }
    }
    pair.same("PING", Client::ping)?;
    // what would make a replica, a dump, a shutdown or a clone of a server is refused with MySQL's own number
    for (name, payload) in [
        ("BINLOG_DUMP", &b"\x12\x04\0\0\0\0\0\x01\0\0\0"[..]),
        ("BINLOG_DUMP_GTID", b"\x1e\0\0\x01\0\0\0\0\0\0\0\x04\0\0\0\0\0\0\0\0\0\0\0"),
        ("REGISTER_SLAVE", b"\x15\x01\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0"),
        ("TABLE_DUMP", b"\x13"),
        ("SHUTDOWN", b"\x08"),
        ("CLONE", b"\x20"),
        ("PROCESS_KILL", b"\x0c\x01\0\0\0"),
        ("DEBUG", b"\x0d"),
    ] {
        let mut through = weir.client()?;
        let answer = through.command(payload, Expect::One).with_context(|| name.to_owned())?;
        let number = answer.error_number();
        if ![1047, 1227, 1064, 1094].contains(&number) {
            pair.differs(format!("{name}: {answer:?}"));
        }
        if through.ping().is_err() {
            pair.differs(format!("{name} ends the session"));
        }
    }
    none_differ(&pair.into_differences())
}

/// Commands that are cut or have too much.
fn malformed_commands(cluster: &'static Cluster) -> Result<()> {
    let weir = Weir::start(&options(cluster)?)?;
    let mut differences = Vec::new();
    let long = [0x17; 5];
    for payload in [
        &b"\x17"[..],
        b"\x17\x01",
        b"\x17\x01\0\0\0",
        b"\x17\x01\0\0\0\0\x01\0\0",
        b"\x18",
        b"\x18\x01\0\0\0",
        b"\x19",
        b"\x19\x01\0",
        b"\x1a",
        b"\x1a\x01\0",
        b"\x1b",
        b"\x1b\0",
        b"\x1c",
        b"\x1c\x01\0\0\0",
        b"\x04few",
        b"\x02",
        b"\x03",
        b"\x16",
        b"\x11",
        b"\x11weir",
        b"\x1f\0\0",
        b"\x0exyz",
        &long,
    ] {
        let mut at_server = Client::connect(&instance(cluster, 0)?, &direct_login())?;
        let mut through = weir.client()?;
        // what has no answer is followed by a ping, so that there is one to read
        let [expected, got] = [&mut at_server, &mut through].map(|c| {
            let first = c.send(payload).and_then(|()| c.send(&[com::PING])).and_then(|()| {
                let first = c.read_packet()?;
                let number = if first.first() == 0xff {
                    u16::from_le_bytes([first.payload[1], first.payload[2]])
                } else {
                    0
                };
                Ok((first.first(), number))
            });
            first.map_err(|e| e.is_lost())
        });
        // MariaDB takes a cut command for one with zeros behind; there it is enough that a cut command ends nothing
        let differ = cluster.flavour() == Flavour::MySql && expected != got;
        if differ || got.is_err() {
            differences.push(format!("{}: server {expected:?}, weir {got:?}", payload.escape_ascii()));
        }
    }
    none_differ(&differences)
}

fn pipelined_commands_are_answered_in_order(cluster: &'static Cluster) -> Result<()> {
    let weir = Weir::start(&options(cluster)?)?;
    let databases = Databases::create(cluster, "pipeline")?;
    databases.prepare(SCHEMA)?;
    let mut clients = [
        Client::connect(&instance(cluster, 0)?, &direct_login().database(&databases.direct))?,
        weir.connect(&direct_login().database(&databases.weir))?,
    ];
    let texts = [
        "SELECT 1",
        "SET @a = 2",
        "SELECT @a",
        "INSERT INTO few VALUES (7, 7, '7')",
        "SELECT COUNT(*) FROM few",
        "SELECT * FROM nosuch",
        "BEGIN",
        "DELETE FROM few",
        "SELECT COUNT(*) FROM few",
        "ROLLBACK",
        "SELECT COUNT(*) FROM few",
        "SELECT REPEAT('x', 100000)",
        "SET NAMES latin1",
        "SELECT @@character_set_client",
    ];
    let mut answers = Vec::new();
    for client in &mut clients {
        let mut bytes = Vec::new();
        for text in texts {
            weir_wire::write_packet(&mut bytes, 0, &[&[com::QUERY], text.as_bytes()].concat());
        }
        weir_wire::write_packet(&mut bytes, 0, &[com::PING]);
        // in odd pieces, too
        let (head, tail) = bytes.split_at(bytes.len() / 3);
        client.send_bytes(head)?;
        std::thread::sleep(Duration::from_millis(30));
        client.send_bytes(tail)?;
        let mut got = Vec::new();
        for text in texts {
            let answer = client.read_answer(Expect::Results).with_context(|| text.to_owned())?;
            let rows = answer.rows().map_err(|e| e.number());
            got.push((text, rows, answer.status() & (Status::IN_TRANS | Status::AUTOCOMMIT)));
        }
        client.read_answer(Expect::One)?;
        answers.push(got);
    }
    assert_eq!(answers[0], answers[1]);
    Ok(())
}

fn the_greetings_id_is_the_one_to_kill(cluster: &'static Cluster) -> Result<()> {
    let weir = Weir::start(&options(cluster)?)?;
    let mut victim = weir.client()?;
    let mut killer = weir.client()?;
    let id = victim.id();
    if cluster.flavour() == Flavour::MySql {
        // the server has said so since 5.7; MariaDB the same
        assert_eq!(
            victim.value("SELECT CONNECTION_ID()")?,
            id.to_string(),
            "CONNECTION_ID() is the greeting's"
        );
    }
    let sleeping = std::thread::spawn(move || {
        let answer = victim.query("SELECT SLEEP(20)");
        (victim, answer)
    });
    std::thread::sleep(Duration::from_millis(400));
    killer.run(&format!("KILL QUERY {id}"))?;
    let (mut victim, answer) = sleeping.join().map_err(|_| anyhow::anyhow!("the victim's thread failed"))?;
    let answer = answer?;
    // SLEEP() that is interrupted gives 1 in MySQL, or the error
    assert!(
        answer.error_number() == 1317 || answer.rows()?[0][0].as_deref() == Some("1"),
        "an interrupted SLEEP: {answer:?}"
    );
    assert_eq!(victim.value("SELECT 1")?, "1");
    killer.run(&format!("KILL {id}"))?;
    let gone = victim.query("SELECT 1");
    assert!(gone.is_err() || gone.is_ok_and(|a| a.error_number() != 0), "a killed session is gone");
    assert_eq!(killer.query(format!("KILL {}", u32::MAX))?.error_number(), 1094);
    assert_eq!(killer.value("SELECT 1")?, "1");
    Ok(())
}
