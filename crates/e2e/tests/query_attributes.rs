//! Query attributes: a client that negotiates them gets them to MySQL, whatever connection its statements run on, and
//! everything that reads a text reads it behind them. MariaDB has none, and none are offered.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test's helpers fail as its own lines do")]

use anyhow::{Context, Result, ensure};
use weir_e2e::client::{Answer, Attribute, Bind, Client, Cursor, Login, Parameter};
use weir_e2e::pair::{Databases, Pair};
use weir_e2e::rig::Rig;
use weir_e2e::weir::{Namespace, Options, User, Weir};
use weir_testkit::{Cluster, Flavour, shared};
use weir_wire::capability::Capabilities;
use weir_wire::command::com;

const ASK: &str = "SELECT mysql_query_attribute_string('a'), mysql_query_attribute_string('b'), 'here'";

/// MySQL's servers, with the component that shows attributes.
fn mysql() -> Result<&'static Cluster> {
    let cluster = shared(Flavour::MySql)?;
    const COMPONENT: &str = "file://component_query_attributes";
    let count = format!("SELECT COUNT(*) FROM mysql.component WHERE component_urn = '{COMPONENT}'");
    if cluster.value(0, &count)? == "0" {
        let installed = cluster.sql(0, &format!("INSTALL COMPONENT '{COMPONENT}'"));
        // another test may have been faster
        ensure!(installed.is_ok() || cluster.value(0, &count)? == "1", "{installed:?}");
    }
    Ok(cluster)
}

fn able(login: Login) -> Login {
    login.with(Capabilities::QUERY_ATTRIBUTES | Capabilities::MULTI_STATEMENTS)
}

fn attributes() -> Vec<Attribute<'static>> {
    vec![("a", Parameter::Text("SELECT 'one' FROM mysql.user; KILL 1".into())), ("b", Parameter::Null)]
}

fn first(answer: &Answer) -> Result<Vec<String>> {
    let row = answer.rows()?.into_iter().next().with_context(|| format!("{answer:?}"))?;
    Ok(row.into_iter().map(Option::unwrap_or_default).collect())
}

#[test]
fn texts_and_executions_answer_as_at_the_server() -> Result<()> {
    let cluster = mysql()?;
    let weir = Weir::start(&Options::on(cluster)?.users(vec![User::of(cluster).without_split()]))?;
    let databases = Databases::create(cluster, "attributes")?;
    databases.prepare("CREATE TABLE t (id INT AUTO_INCREMENT PRIMARY KEY, v VARCHAR(50))")?;
    for login in [able(weir.login()), able(weir.login()).without(Capabilities::DEPRECATE_EOF)] {
        let mut pair = Pair::connect(&weir, &databases, &login, "attributes")?;
        for client in [&pair.direct, &pair.weir] {
            assert!(client.capabilities.contains(Capabilities::QUERY_ATTRIBUTES));
        }
        let all = vec![
            ("a", Parameter::Int(-7)),
            ("", Parameter::Double(1.5)),
            ("b", Parameter::DateTime(2026, 1, 2, 3, 4, 5, 6)),
            ("c", Parameter::Blob(vec![b'x'; 300])),
            ("d", Parameter::UInt(u64::MAX)),
        ];
        for set in [Vec::new(), attributes(), all] {
            for text in [
                ASK.to_owned(),
                format!("{ASK}; {ASK}"),
                "SET SESSION sort_buffer_size = 300000".to_owned(),
                "SET time_zone = '+03:00', sql_mode = 'ANSI_QUOTES'".to_owned(),
                format!("/* weir: primary */ {ASK}"),
                "INSERT INTO t (v) SELECT mysql_query_attribute_string('a')".to_owned(),
                "SELECT LAST_INSERT_ID()".to_owned(),
                "SELECT CAST('x' AS SIGNED)".to_owned(),
                "SHOW WARNINGS".to_owned(),
                "BEGIN".to_owned(),
                ASK.to_owned(),
                "COMMIT".to_owned(),
                "SELECT @@time_zone".to_owned(),
                "SELECT nothing".to_owned(),
                "SET sql_mode = DEFAULT".to_owned(),
                String::new(),
            ] {
                pair.same(&format!("{text} with {set:?}"), |c| c.query_with(&text, &set))?;
            }
            let ids = pair.prepare("SELECT ?, ?, mysql_query_attribute_string('a')")?.context("prepared")?;
            let own = [Parameter::Text("own".into()), Parameter::Null];
            pair.same_with(ids, "execution", |c, id| c.execute_attributed(id, &own, &set, Bind::New))?;
            pair.same_with(ids, "as before", |c, id| c.execute_attributed(id, &own, &[], Bind::AsBefore))?;
            pair.same_with(ids, "cursor", |c, id| c.execute_with(id, &own, Cursor::ReadOnly, Bind::New))?;
            pair.same_with(ids, "rows", |c, id| c.fetch(id, 5))?;
            let ids = pair.prepare(ASK)?.context("prepared")?;
            pair.same_with(ids, "no parameters", |c, id| c.execute_attributed(id, &[], &set, Bind::New))?;
        }
        pair.same("reset", Client::reset)?;
        pair.same("behind the reset", |c| c.query_with(ASK, &attributes()))?;
        let differences = pair.into_differences();
        ensure!(differences.is_empty(), "{}", differences.join("\n"));
    }
    Ok(())
}

#[test]
fn they_arrive_though_sessions_of_other_kinds_take_the_connection() -> Result<()> {
    let cluster = mysql()?;
    let rig = Rig::start(cluster, "attributes_turns", |options| options)?;
    let mut able = rig.weir.connect(&able(rig.login()))?;
    let mut plain = rig.client()?;
    able.run("SET time_zone = '+01:00'")?;
    let prepared = able.prepare("SELECT CONCAT(?, '!'), mysql_query_attribute_string('a')")?;
    let own = [Parameter::Text("own".into())];
    let expected = ["SELECT 'one' FROM mysql.user; KILL 1", "", "here"];
    for turn in 0..3 {
        assert_eq!(first(&able.query_with(ASK, &attributes())?)?, expected, "turn {turn}");
        assert_eq!(able.value("SELECT @@time_zone")?, "+01:00");
        let answer = able.execute_attributed(prepared.id, &own, &[], Bind::New)?;
        assert_eq!(answer.error_number(), 0);
        plain.run("SET time_zone = '+02:00'")?;
        assert_eq!(plain.value("SELECT @@time_zone")?, "+02:00");
        // on a new connection, which has never seen its types
        let answer = able.execute_attributed(prepared.id, &own, &[], Bind::AsBefore)?;
        assert_eq!(answer.error_number(), 0, "turn {turn}: {answer:?}");
        assert!(answer.packets.iter().any(|p| p.payload.ends_with(b"\x04own!")), "{answer:?}");
    }
    drop((able, plain));
    rig.is_as_before()
}

#[test]
fn what_weir_reads_of_a_text_stands_behind_them() -> Result<()> {
    let cluster = mysql()?;
    let databases = Databases::create(cluster, "attributes_text")?;
    let namespace = Namespace::on(cluster, "app")?
        .set("allowed_databases", vec![databases.weir.clone()])
        .set("slow_statement", "100ms");
    let weir = Weir::start(&Options::of(vec![namespace]).greeting(cluster.version()))?;
    let mut client = weir.connect(&able(weir.login()).database(&databases.weir))?;
    let secret = [("a", Parameter::Text("secret-value".into()))];
    assert_eq!(client.query_with("SELECT * FROM mysql.user", &secret)?.error_number(), 1044);
    let own = client.id().to_string();
    assert_eq!(first(&client.query_with("SELECT CONNECTION_ID()", &secret)?)?, [own]);
    let shown = client.query_with("SHOW DATABASES", &secret)?.rows()?;
    assert_eq!(shown.len(), 2, "{shown:?}");
    client.query_with("SELECT SLEEP(0.2)", &secret)?;
    // long texts, of which Weir has a part at a time
    for size in [200 << 10, 2 << 20, 17 << 20] {
        let text = format!("SELECT LENGTH('{}'), mysql_query_attribute_string('a')", "x".repeat(size));
        let answer = client.query_with(&text, &secret)?;
        assert_eq!(first(&answer)?, [size.to_string(), "secret-value".to_owned()]);
        let text = format!("SELECT '{}' FROM mysql.user", "x".repeat(size));
        assert_eq!(client.query_with(&text, &secret)?.error_number(), 1044, "{size}");
    }
    let log = weir.log();
    let slow = |line: &&str| line.contains("slow statement") && line.contains("statement=\"select sleep");
    assert!(log.lines().any(|line| slow(&line)), "{log}");
    assert!(!log.contains("secret-value"));
    Ok(())
}

#[test]
fn malformed_ones_are_refused_and_the_session_goes_on() -> Result<()> {
    let cluster = mysql()?;
    let rig = Rig::start(cluster, "attributes_bad", |options| options)?;
    let mut client = rig.weir.connect(&able(rig.login()))?;
    let head = b"\x03\x02\x01\x01\x01\xFE\x00\x01a\xFE\x00\x01b\x03abc";
    for cut in 1..head.len() {
        let answer = client.command(&head[..cut], weir_e2e::client::Expect::Results)?;
        assert_eq!(answer.error_number(), 1835, "cut at {cut}: {answer:?}");
    }
    for block in [&b"\x00\x02"[..], b"\x00\x00", b"\x01\x01\x00\x00", b"\x01\x01\x00\x01\xF4\x00\x00\x01"] {
        let payload = [&[com::QUERY], block, b"SELECT 1"].concat();
        let answer = client.command(&payload, weir_e2e::client::Expect::Results)?;
        assert_eq!(answer.error_number(), 1835, "{block:?}: {answer:?}");
    }
    assert_eq!(client.value("SELECT 'lives'")?, "lives");
    drop(client);
    rig.is_as_before()
}

#[test]
fn mariadb_has_none_and_none_are_offered() -> Result<()> {
    let cluster = shared(Flavour::MariaDb)?;
    let weir = Weir::start(&Options::on(cluster)?)?;
    let mut client = weir.connect(&able(weir.login()))?;
    assert!(!client.greeting.capabilities.contains(Capabilities::QUERY_ATTRIBUTES));
    assert_eq!(client.value("SELECT 'lives'")?, "lives");
    Ok(())
}

#[test]
fn a_listener_for_both_kinds_of_server_offers_none() -> Result<()> {
    let (mysql, mariadb) = (mysql()?, shared(Flavour::MariaDb)?);
    let other = Namespace::on(mariadb, "other")?.users_are(vec![User::new("other", "other-password")]);
    let options = Options::of(vec![Namespace::on(mysql, "app")?, other]).greeting(mysql.version());
    let weir = Weir::start(&options)?;
    let mut other = weir.connect(&able(Login::new("other", "other-password")))?;
    assert!(!other.capabilities.contains(Capabilities::QUERY_ATTRIBUTES));
    assert!(other.value("SELECT VERSION()")?.contains("MariaDB"));
    let mut app = weir.connect(&able(weir.login()))?;
    assert!(app.value("SELECT VERSION()")?.starts_with(mysql.version()));
    Ok(())
}
