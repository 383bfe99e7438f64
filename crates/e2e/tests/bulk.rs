//! MariaDB's bulk execution: one statement, many rows, one answer; and the capabilities that are not offered.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test's helpers fail as its own lines do")]

use anyhow::{Context, Result, ensure};
use weir_e2e::client::{Client, Expect, Failure, Login, Parameter};
use weir_e2e::on_both_servers;
use weir_e2e::pair::{Databases, Pair};
use weir_e2e::rig::Rig;
use weir_e2e::weir::{Options, User, Weir};
use weir_testkit::{Cluster, Flavour, shared};
use weir_wire::Writer;
use weir_wire::capability::Capabilities;
use weir_wire::command::com;
use weir_wire::greeting::MariaDbCapabilities;

on_both_servers!(what_cannot_be_exact_is_not_offered, a_client_that_did_not_ask_gets_the_servers_error);

const SENDS_TYPES: u16 = 128;

fn able(mut login: Login) -> Login {
    login.mariadb = MariaDbCapabilities::STMT_BULK_OPERATIONS;
    login
}

/// The payload; a row's value is NULL, DEFAULT or a text.
fn bulk(id: u32, flags: u16, rows: &[[Value<'_>; 2]]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut w = Writer::new(&mut out);
    w.u8(com::STMT_BULK_EXECUTE).u32(id).u16(flags);
    if flags & SENDS_TYPES != 0 {
        w.u16(8).u16(0xFD);
    }
    for (i, value) in rows.iter().flatten().enumerate() {
        match value {
            Null => w.u8(1),
            Filled => w.u8(2),
            Text(text) if i % 2 == 1 => w.u8(0).lenenc_bytes(text.as_bytes()),
            Text(number) => w.u8(0).u64(number.parse().unwrap()),
        };
    }
    out
}

#[derive(Clone, Copy)]
enum Value<'a> {
    Null,
    Default,
    Text(&'a str),
}
use Value::{Default as Filled, Null, Text};

fn run(client: &mut Client, payload: &[u8]) -> Result<weir_e2e::client::Answer, Failure> {
    client.command(payload, Expect::Results)
}

#[test]
fn rows_of_parameters_answer_as_at_the_server() -> Result<()> {
    let cluster = shared(Flavour::MariaDb)?;
    let weir = Weir::start(&Options::on(cluster)?.users(vec![User::of(cluster).without_split()]))?;
    let databases = Databases::create(cluster, "bulk")?;
    databases.prepare("CREATE TABLE t (id INT PRIMARY KEY AUTO_INCREMENT, v LONGTEXT DEFAULT 'filled')")?;
    for login in [able(weir.login()), able(weir.login()).without(Capabilities::DEPRECATE_EOF)] {
        let mut pair = Pair::connect(&weir, &databases, &login, "bulk")?;
        pair.query("DELETE FROM t")?;
        let ids = pair.prepare("INSERT INTO t VALUES (?, ?)")?.context("prepared")?;
        let long = "x".repeat(100_000);
        let many: Vec<String> = (1000..3000).map(|n| n.to_string()).collect();
        let many: Vec<_> = many.iter().map(|n| [Text(n), Text("many")]).collect();
        pair.same_with(ids, "never bound", |c, id| run(c, &bulk(id, 0, &[[Text("1"), Null]])))?;
        for (what, flags, rows) in [
            ("bound", SENDS_TYPES, vec![[Text("1"), Text("one")], [Null, Null], [Text("7"), Filled]]),
            ("as before", 0, vec![[Text("8"), Text(&long)], [Text("9"), Filled]]),
            ("a duplicate", SENDS_TYPES, vec![[Text("20"), Null], [Text("1"), Null], [Text("21"), Null]]),
            ("no rows", SENDS_TYPES, vec![]),
            ("many", 0, many),
            ("one result a row", SENDS_TYPES | 64, vec![[Text("22"), Null]]),
        ] {
            pair.same_with(ids, what, |c, id| run(c, &bulk(id, flags, &rows)))?;
            pair.query("SELECT ROW_COUNT()")?;
            pair.query("SHOW WARNINGS")?;
        }
        let one = [Parameter::Int(30), Parameter::Text("single".into())];
        pair.same_with(ids, "a single execution", |c, id| c.execute(id, &one))?;
        pair.same_with(ids, "with its types", |c, id| run(c, &bulk(id, 0, &[[Text("31"), Text("v")]])))?;
        pair.same("the last prepared", |c| run(c, &bulk(u32::MAX, SENDS_TYPES, &[[Text("32"), Text("v")]])))?;
        pair.same("unknown", |c| run(c, &bulk(777, SENDS_TYPES, &[[Text("1"), Null]])))?;
        let returning = pair.prepare("INSERT INTO t VALUES (?, ?) RETURNING id, v")?.context("prepared")?;
        let rows = [[Null, Text("returned")], [Null, Filled]];
        pair.same_with(returning, "returning", |c, id| run(c, &bulk(id, SENDS_TYPES, &rows)))?;
        let reads = pair.prepare("SELECT ?, ?")?.context("prepared")?;
        pair.same_with(reads, "a read", |c, id| run(c, &bulk(id, SENDS_TYPES, &[[Text("1"), Null]])))?;
        pair.query("SELECT * FROM t ORDER BY id")?;
        let differences = pair.into_differences();
        ensure!(differences.is_empty(), "{}", differences.join("\n"));
    }
    Ok(())
}

#[test]
fn another_connection_gets_statement_and_types() -> Result<()> {
    let cluster = shared(Flavour::MariaDb)?;
    let rig = Rig::start(cluster, "bulk_moves", |options| options)?;
    rig.sql("CREATE TABLE t (id INT, v TEXT)")?;
    let mut client = rig.weir.connect(&able(rig.login()))?;
    let prepared = client.prepare("INSERT INTO t VALUES (?, ?)")?;
    run(&mut client, &bulk(prepared.id, SENDS_TYPES, &[[Text("1"), Text("one")], [Text("2"), Null]]))?;
    rig.back.cut_all();
    rig.serves()?;
    let answer = run(&mut client, &bulk(prepared.id, 0, &[[Text("3"), Text("three")]]))?;
    assert_eq!(answer.error_number(), 0, "{answer:?}");
    assert_eq!(
        client.value("SELECT GROUP_CONCAT(CONCAT(id, IFNULL(v, '')) ORDER BY id) FROM t")?,
        "1one,2,3three"
    );
    // whatever the server makes of a part of it, the session goes on in step
    let whole = bulk(prepared.id, SENDS_TYPES, &[[Text("4"), Text("four")]]);
    for cut in 1..whole.len() {
        run(&mut client, &whole[..cut])?;
        assert_eq!(client.value("SELECT 'lives'")?, "lives", "cut at {cut}");
    }
    drop(client);
    rig.is_as_before()
}

fn a_client_that_did_not_ask_gets_the_servers_error(cluster: &'static Cluster) -> Result<()> {
    let weir = Weir::start(&Options::on(cluster)?.users(vec![User::of(cluster).without_split()]))?;
    let databases = Databases::create(cluster, "bulk_without")?;
    databases.prepare("CREATE TABLE t (id INT, v TEXT)")?;
    let mut pair = Pair::connect(&weir, &databases, &weir.login(), "without")?;
    let ids = pair.prepare("INSERT INTO t VALUES (?, ?)")?.context("prepared")?;
    pair.same_with(ids, "bulk", |c, id| run(c, &bulk(id, SENDS_TYPES, &[[Text("1"), Null]])))?;
    pair.query("SELECT COUNT(*) FROM t")?;
    let differences = pair.into_differences();
    ensure!(differences.is_empty(), "{}", differences.join("\n"));
    Ok(())
}

fn what_cannot_be_exact_is_not_offered(cluster: &'static Cluster) -> Result<()> {
    let weir = Weir::start(&Options::on(cluster)?)?;
    let mut login = able(weir.login()).with(Capabilities::OPTIONAL_RESULTSET_METADATA);
    login.mariadb = MariaDbCapabilities::all();
    let mut client = weir.connect(&login)?;
    let greeting = &client.greeting;
    assert!(!greeting.capabilities.contains(Capabilities::OPTIONAL_RESULTSET_METADATA));
    let offered = match cluster.flavour() {
        Flavour::MySql => MariaDbCapabilities::empty(),
        Flavour::MariaDb => {
            MariaDbCapabilities::EXTENDED_METADATA | MariaDbCapabilities::STMT_BULK_OPERATIONS
        }
    };
    assert_eq!(greeting.mariadb, offered);
    // as for any client that did not negotiate it
    if cluster.flavour() == Flavour::MySql {
        let answer = client.query("SET resultset_metadata = NONE")?;
        let direct = weir_e2e::pair::direct_login();
        let mut direct = Client::connect(&weir_e2e::pair::instance(cluster, 0)?, &direct)?;
        let expected = direct.query("SET resultset_metadata = NONE")?;
        assert_ne!(expected.error_number(), 0);
        assert_eq!(answer.error_number(), expected.error_number());
    }
    Ok(())
}
