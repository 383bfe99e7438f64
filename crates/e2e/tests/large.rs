//! Packets around and over 16 MiB, and statements too long to be collected, in both directions.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test's helpers fail as its own lines do"
)]

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use weir_e2e::client::{Client, Endpoint, Expect, Failure, Login, Parameter};
use weir_e2e::pair::{Databases, Pair, direct_login};
use weir_e2e::weir::{Options, User, Weir};
use weir_testkit::{Cluster, Flavour, SERVICE};
use weir_wire::capability::Capabilities;
use weir_wire::command::com;
use weir_wire::framer::MAX_PAYLOAD;

const MIB: usize = 1 << 20;

/// Servers that take packets of 64 MiB, of this test alone.
fn servers(flavour: Flavour, name: &str) -> Result<Cluster> {
    let mut options = weir_testkit::Options::new(flavour, format!("large-{name}-{flavour}"));
    options.replicas = 0;
    options.extra_arguments.push("--max-allowed-packet=64M".to_owned());
    Cluster::start(&options)
}

fn options(cluster: &Cluster) -> Result<Options> {
    Ok(Options::on(cluster)?.users(vec![User::of(cluster).without_split()]))
}

fn none_differ(differences: &[String]) -> Result<()> {
    ensure!(differences.is_empty(), "{} differences:\n{}", differences.len(), differences.join("\n"));
    Ok(())
}

/// Lengths of payloads at which something changes: the number of packets, or who collects what.
fn payloads() -> Vec<usize> {
    vec![MIB - 5, MIB - 4, MIB - 3, 3 * MIB, MAX_PAYLOAD - 1, MAX_PAYLOAD, MAX_PAYLOAD + 1, 2 * MAX_PAYLOAD]
}

fn both_directions(flavour: Flavour) -> Result<()> {
    let cluster = servers(flavour, "both")?;
    let weir = Weir::start(&options(&cluster)?)?;
    let mut differences = Vec::new();
    let old = Capabilities::DEPRECATE_EOF | Capabilities::SESSION_TRACK;
    for (title, login) in [("new", direct_login()), ("old", direct_login().without(old))] {
        let databases = Databases::create(&cluster, "large")?;
        databases.prepare("CREATE TABLE blobs (id INT PRIMARY KEY AUTO_INCREMENT, b LONGBLOB)")?;
        let mut pair = Pair::connect(&weir, &databases, &login, title)?;
        for length in payloads() {
            // a command byte, the statement, and as many letters as are missing
            let frame = "INSERT INTO blobs (b) VALUES ('')".len() + 1;
            pair.query(&format!("INSERT INTO blobs (b) VALUES ('{}')", "i".repeat(length - frame)))
                .with_context(|| format!("a statement of {length} bytes"))?;
            // a length of four or nine bytes, and the letters
            let letters = length - if length - 4 < 1 << 24 { 4 } else { 9 };
            pair.query(&format!("SELECT REPEAT('r', {letters})"))?;
            pair.query(&format!(
                "SELECT 1 AS a, REPEAT('r', {letters}) AS b, 3 AS c UNION ALL SELECT 4, 'x', 5"
            ))?;
            pair.query("SELECT id, LENGTH(b), SHA2(b, 256) FROM blobs ORDER BY id DESC LIMIT 2")?;
            pair.query("SELECT b FROM blobs ORDER BY id DESC LIMIT 1")?;
            pair.query("TRUNCATE blobs")?;
            let ids = pair.prepare("INSERT INTO blobs (b) VALUES (?)")?.unwrap();
            let blob = Parameter::Blob(vec![b'p'; length - 20]);
            pair.same_with(ids, &format!("an execution of {length} bytes"), |c, id| {
                c.execute(id, std::slice::from_ref(&blob))
            })?;
            let ids = pair.prepare("SELECT LENGTH(b), LENGTH(?) FROM blobs")?.unwrap();
            pair.same_with(ids, &format!("a parameter of {length} bytes, sent ahead"), |c, id| {
                c.send_long_data(id, 0, &vec![b'l'; length.min(MAX_PAYLOAD)])?;
                c.execute(id, &[Parameter::SentAhead])
            })?;
            let ids = pair.prepare("SELECT SHA2(?, 256)")?.unwrap();
            pair.same_with(ids, &format!("{length} bytes, sent ahead in two pieces"), |c, id| {
                c.send_long_data(id, 0, &vec![b'm'; length / 2])?;
                c.send_long_data(id, 0, &vec![b'n'; length - length / 2])?;
                c.execute(id, &[Parameter::SentAhead])
            })?;
            pair.query("TRUNCATE blobs")?;
        }
        differences.extend(pair.into_differences());
    }
    none_differ(&differences)
}

#[test]
fn mysql_both_directions() -> Result<()> {
    both_directions(Flavour::MySql)
}

#[test]
fn mariadb_both_directions() -> Result<()> {
    both_directions(Flavour::MariaDb)
}

fn long_statements(flavour: Flavour) -> Result<()> {
    let cluster = servers(flavour, "long")?;
    cluster.sql(
        0,
        "CREATE DATABASE mine; CREATE DATABASE other; CREATE TABLE mine.t (id INT, v LONGTEXT); CREATE TABLE other.t (id INT)",
    )?;
    let allowed = toml::Value::Array(vec!["mine".into()]);
    let options = options(&cluster)?.set("allowed_databases", allowed).set("pool.capacity", 2);
    let weir = Weir::start(&options)?;
    let login =
        Login::new(SERVICE.user, SERVICE.password).database("mine").with(Capabilities::MULTI_STATEMENTS);
    let mut client = weir.connect(&login)?;
    let long = "x".repeat(3 * MIB);

    // what a short statement may not do, a long one may not either: however late it says so
    for forbidden in [
        format!("INSERT INTO t SELECT 1, '{long}' FROM other.t"),
        format!("INSERT INTO t VALUES (1, '{long}'); INSERT INTO other.t VALUES (1)"),
        format!("INSERT INTO t VALUES (1, 'x') /* {long} */; DELETE FROM other.t"),
        format!("/* {long} */ USE other"),
        format!("SELECT 1 FROM t WHERE v = '{long}' UNION SELECT id FROM `other` . `t`"),
    ] {
        let what = format!("{}…{}", &forbidden[..40], &forbidden[forbidden.len() - 40..]);
        let number = client.query(&forbidden).with_context(|| what.clone())?.error_number();
        ensure!([1044, 1142].contains(&number), "{what}: {number}");
        ensure!(client.value("SELECT DATABASE()")? == "mine", "{what}: the session is not as before");
    }
    ensure!(cluster.value(0, "SELECT COUNT(*) FROM mine.t")? == "0", "a forbidden statement ran in part");

    // in a transaction the connection, and with it the transaction, is lost where a part of it went out already
    client.run(&format!("INSERT INTO t VALUES (1, '{long}'); INSERT INTO t VALUES (2, 'y')"))?;
    ensure!(client.value("SELECT SUM(LENGTH(v)) FROM t")? == (3 * MIB + 1).to_string());
    client.run("BEGIN")?;
    client.run(&format!("INSERT INTO t VALUES (3, '{long}')"))?;
    client.run("ROLLBACK")?;
    ensure!(client.value("SELECT COUNT(*) FROM t")? == "2");

    // errors of the server, and what follows in the same write
    let mut bytes = Vec::new();
    for text in [
        format!("SELECT * FROM nosuch WHERE v = '{long}'"),
        format!("SELECT LENGTH('{long}')"),
        "SELECT 7".to_owned(),
    ] {
        weir_wire::write_packet(&mut bytes, 0, &[&[com::QUERY], text.as_bytes()].concat());
    }
    client.send_bytes(&bytes)?;
    ensure!(client.read_answer(Expect::Results)?.error_number() == 1146);
    ensure!(client.read_answer(Expect::Results)?.rows()?[0][0] == Some((3 * MIB).to_string()));
    ensure!(client.read_answer(Expect::Results)?.rows()?[0][0].as_deref() == Some("7"));

    // one that comes slowly
    bytes.clear();
    weir_wire::write_packet(
        &mut bytes,
        0,
        &[&[com::QUERY], format!("SELECT LENGTH('{long}')").as_bytes()].concat(),
    );
    for piece in bytes.chunks(bytes.len() / 3 + 1) {
        client.send_bytes(piece)?;
        std::thread::sleep(Duration::from_millis(50));
    }
    ensure!(client.read_answer(Expect::Results)?.rows()?[0][0] == Some((3 * MIB).to_string()));

    // a long text to prepare, a long name, a long init_db
    let prepared = client.prepare(format!("SELECT LENGTH('{long}'), ?"))?;
    ensure!(client.execute(prepared.id, &[Parameter::Int(1)])?.error().is_none());
    ensure!(client.init_db(&long)?.error().is_some());
    ensure!(client.value("SELECT 1")? == "1");
    ensure!(client.query(format!("SELECT 1 AS `{long}`"))?.error().is_some());
    ensure!(client.value("SELECT 1")? == "1");
    weir.wait_for("nothing is held", Duration::from_secs(5), |m| m.sum("weir_pool_in_use", &[]) == 0.0)?;
    Ok(())
}

#[test]
fn mysql_long_statements() -> Result<()> {
    long_statements(Flavour::MySql)
}

#[test]
fn mariadb_long_statements() -> Result<()> {
    long_statements(Flavour::MariaDb)
}

/// What the answer to a packet that is too large is, and whether the session goes on.
fn too_large(client: &mut Client, payload: &[u8]) -> (Result<u16, bool>, bool) {
    let number = client
        .send(payload)
        .and_then(|()| client.read_answer(Expect::One))
        .map(|answer| answer.error_number())
        .map_err(|failure: Failure| failure.is_lost());
    (number, client.ping().is_ok_and(|answer| answer.error().is_none()))
}

fn a_packet_over_the_limit(flavour: Flavour) -> Result<()> {
    let cluster = servers(flavour, "limit")?;
    let options = options(&cluster)?.set("limits.max_allowed_packet", "2MiB");
    let weir = Weir::start(&options)?;
    let strict = {
        let mut options = weir_testkit::Options::new(flavour, format!("large-strict-{flavour}"));
        options.replicas = 0;
        options.extra_arguments.push("--max-allowed-packet=2M".to_owned());
        Cluster::start(&options)?
    };
    let behind_strict = Weir::start(&Options::on(&strict)?.users(vec![User::of(&strict).without_split()]))?;
    let execute = {
        let mut payload = vec![com::STMT_EXECUTE, 1, 0, 0, 0, 0, 1, 0, 0, 0];
        payload.extend(vec![0; 3 * MIB]);
        payload
    };
    for (what, payload) in [
        ("a query", [&[com::QUERY][..], format!("SELECT '{}'", "x".repeat(3 * MIB)).as_bytes()].concat()),
        (
            "a query of 20 MiB",
            [&[com::QUERY][..], format!("SELECT '{}'", "x".repeat(20 * MIB)).as_bytes()].concat(),
        ),
        (
            "a prepare",
            [&[com::STMT_PREPARE][..], format!("SELECT '{}'", "x".repeat(3 * MIB)).as_bytes()].concat(),
        ),
        ("an execution", execute),
        ("an unknown command", vec![0xee; 3 * MIB]),
    ] {
        let expected = too_large(
            &mut Client::connect(&Endpoint::port(strict.primary()?.port), &direct_login())?,
            &payload,
        );
        let own_limit = too_large(&mut weir.client()?, &payload);
        let servers_limit = too_large(&mut behind_strict.client()?, &payload);
        // the servers answer 1153 and close, and may do it before the client has sent all of it
        ensure!(expected.0 == Ok(1153) || expected.0 == Err(true), "{what}: the server: {expected:?}");
        for (whose, got) in [("Weir's own limit", own_limit), ("the server's limit", servers_limit)] {
            ensure!(got.0 == Ok(1153), "{what}, {whose}: {got:?}");
        }
    }
    // up to the limit nothing is too large
    let mut client = weir.client()?;
    let text = format!("SELECT LENGTH('{}')", "x".repeat(2 * MIB - 30));
    ensure!(client.value(&text)? == (2 * MIB - 30).to_string());
    for weir in [&weir, &behind_strict] {
        weir.wait_for("nothing is held", Duration::from_secs(5), |m| m.sum("weir_pool_in_use", &[]) == 0.0)?;
    }
    Ok(())
}

#[test]
fn mysql_a_packet_over_the_limit() -> Result<()> {
    a_packet_over_the_limit(Flavour::MySql)
}

#[test]
fn mariadb_a_packet_over_the_limit() -> Result<()> {
    a_packet_over_the_limit(Flavour::MariaDb)
}

/// Many clients with large requests and answers: all are served, and memory stays within the budget.
fn memory_of_large_requests(flavour: Flavour) -> Result<()> {
    const CLIENTS: usize = 200;
    let cluster = servers(flavour, "memory")?;
    cluster.sql(0, "CREATE DATABASE d; CREATE TABLE d.t (v LONGTEXT)")?;
    let options = options(&cluster)?
        .set("pool.capacity", 4)
        .set("pool.checkout_timeout", "30s")
        .process("limits.bytes_in_flight", "8MiB");
    let weir = Weir::start(&options)?;
    let login = Login::new(SERVICE.user, SERVICE.password).database("d");
    let start = weir.metrics()?.sum("process_resident_memory_bytes", &[]);
    let long = "x".repeat(900 << 10);
    // everybody begins a request before anybody ends one
    let mut clients = Vec::new();
    for _ in 0..CLIENTS {
        let mut client = weir.connect(&login)?;
        let mut bytes = Vec::new();
        let payload = [&[com::QUERY][..], format!("INSERT INTO t VALUES ('{long}')").as_bytes()].concat();
        weir_wire::write_packet(&mut bytes, 0, &payload);
        let rest = bytes.split_off(200 << 10);
        client.send_bytes(&bytes)?;
        clients.push((client, rest));
    }
    let most = std::thread::scope(|scope| -> Result<f64> {
        let parts: Vec<_> = clients
            .iter_mut()
            .map(|(client, rest)| {
                scope.spawn(move || -> Result<()> {
                    client.send_bytes(rest)?;
                    let answer = client.read_answer(Expect::Results)?;
                    ensure!(answer.error().is_none(), "{answer:?}");
                    ensure!(client.value("SELECT REPEAT('y', 800000)")?.len() == 800_000);
                    Ok(())
                })
            })
            .collect();
        let mut most: f64 = 0.0;
        while parts.iter().any(|part| !part.is_finished()) {
            let now = weir.metrics()?;
            most = most.max(now.sum("process_resident_memory_bytes", &[]));
            let held = now.sum("weir_in_flight_bytes", &[]);
            ensure!(held <= now.sum("weir_in_flight_bytes_limit", &[]), "{held} bytes in flight");
            std::thread::sleep(Duration::from_millis(5));
        }
        parts.into_iter().try_for_each(|part| part.join().unwrap())?;
        Ok(most)
    })?;
    let grown = (most - start) / 1048576.0;
    // heads of 128 KiB for each, the budget, and what the allocator keeps; 180 MiB are sent
    ensure!(grown < 100.0, "{CLIENTS} requests of 900 KiB took {grown} MiB");
    ensure!(cluster.value(0, "SELECT COUNT(*) FROM d.t")? == CLIENTS.to_string());
    weir.wait_for("everything is given back", Duration::from_secs(5), |m| {
        m.sum("weir_in_flight_bytes", &[]) == 0.0
    })?;
    Ok(())
}

#[test]
fn mysql_memory_of_large_requests() -> Result<()> {
    memory_of_large_requests(Flavour::MySql)
}

#[test]
fn mariadb_memory_of_large_requests() -> Result<()> {
    memory_of_large_requests(Flavour::MariaDb)
}

/// What cannot be held is refused, and the session goes on with the next command.
fn more_than_may_be_in_flight(flavour: Flavour) -> Result<()> {
    let cluster = servers(flavour, "flight")?;
    cluster.sql(0, "CREATE DATABASE d; CREATE TABLE d.t (v LONGTEXT)")?;
    let options = options(&cluster)?
        .set("pool.checkout_timeout", "300ms")
        .set("session.client_write_timeout", "1s")
        .process("limits.bytes_in_flight", "4MiB");
    let weir = Weir::start(&options)?;
    let login = Login::new(SERVICE.user, SERVICE.password).database("d");

    // long data that waits for its execution is held
    let mut first = weir.connect(&login)?;
    let insert = first.prepare("INSERT INTO t VALUES (?)")?.id;
    for _ in 0..3 {
        first.send_long_data(insert, 0, &vec![b'a'; MIB])?;
    }
    first.ping()?;
    let mut second = weir.connect(&login)?;
    let other = second.prepare("INSERT INTO t VALUES (?)")?.id;
    for _ in 0..3 {
        second.send_long_data(other, 0, &vec![b'b'; MIB])?;
    }
    ensure!(second.execute(other, &[Parameter::SentAhead])?.error_number() == 1203);
    ensure!(second.value("SELECT 1")? == "1");
    // an execution that needs a share of its own
    let blob = [Parameter::Blob(vec![b'c'; 2 * MIB])];
    ensure!(second.execute(other, &blob)?.error_number() == 1203);
    ensure!(second.value("SELECT 1")? == "1");
    // a text streams
    let text = format!("SELECT LENGTH('{}')", "d".repeat(6 * MIB));
    ensure!(second.value(&text)? == (6 * MIB).to_string());
    ensure!(first.execute(insert, &[Parameter::SentAhead])?.error().is_none());
    ensure!(second.execute(other, &blob)?.error().is_none(), "the share was not given back");
    // more than there ever is
    let blob = [Parameter::Blob(vec![b'e'; 5 * MIB])];
    ensure!(second.execute(other, &blob)?.error_number() == 1153);
    ensure!(second.value("SELECT GROUP_CONCAT(LENGTH(v)) FROM t")? == format!("{},{}", 3 * MIB, 2 * MIB));

    // no server: the error comes behind the rest of the request
    let mut third = weir.connect(&Login::new(SERVICE.user, SERVICE.password))?;
    cluster.kill_instance(0)?;
    for length in [300 << 10, 2 * MIB] {
        let number = third.query(format!("SELECT '{}'", "f".repeat(length)))?.error_number();
        // 1203: the wait for a connection ended before the attempt to make one did
        ensure!([1429, 2013, 1203].contains(&number), "{number}");
        ensure!(third.ping()?.error().is_none(), "not in step after {length} bytes");
    }
    cluster.restart_instance(0)?;

    // who begins a large request and stops is cut off, and holds nothing
    for length in [900 << 10, 2 * MIB] {
        let mut stalling = weir.connect(&Login::new(SERVICE.user, SERVICE.password))?;
        let mut bytes = Vec::new();
        weir_wire::write_packet(&mut bytes, 0, &[&[com::QUERY][..], &vec![b'g'; length]].concat());
        stalling.send_bytes(&bytes[..500 << 10])?;
        ensure!(stalling.read_to_close()?.is_empty());
    }
    drop((first, second, third));
    weir.wait_for("nothing is held", Duration::from_secs(5), |m| {
        m.sum("weir_in_flight_bytes", &[])
            + m.sum("weir_pool_in_use", &[])
            + m.sum("weir_client_connections", &[])
            == 0.0
    })?;
    Ok(())
}

#[test]
fn mysql_more_than_may_be_in_flight() -> Result<()> {
    more_than_may_be_in_flight(Flavour::MySql)
}

#[test]
fn mariadb_more_than_may_be_in_flight() -> Result<()> {
    more_than_may_be_in_flight(Flavour::MariaDb)
}
