//! A server that dies in the middle of a result: the rows so far, then an error, never a clean end.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test's helpers fail as its own lines do"
)]

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use weir_e2e::client::{Bind, Client, Cursor, Expect, Failure, Login, execution};
use weir_e2e::weir::{Options, User, Weir};
use weir_testkit::{Cluster, Flavour, SERVICE};
use weir_wire::capability::Capabilities;
use weir_wire::command::com;

/// A gigabyte: nobody holds that in between.
const LARGE: &str = "SELECT a.i, REPEAT('x', 1000) FROM k a, k b";
/// Less than what is taken whole, and slow: the server sends each row when it is there.
const SLOW: &str = "SELECT i, REPEAT('x', 20000), SLEEP(0.1) FROM k LIMIT 40";
/// Rows larger than any buffer.
const LONG: &str = "SELECT a.i, REPEAT('x', 10000000) FROM k a, k b";

/// How the server goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// SIGKILL.
    Process,
    /// KILL of the connection, by the administrator.
    Connection,
}

/// How a client asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asks {
    Text,
    Prepared,
    InTransaction,
}

fn end(cluster: &Cluster, how: End, sql: &str) -> Result<()> {
    match how {
        End::Process => cluster.kill_instance(0),
        End::Connection => {
            let part = &sql[..20];
            let ids = cluster.sql(
                0,
                &format!(
                    "SELECT id FROM information_schema.processlist WHERE user = '{}' AND info LIKE '{}%'",
                    SERVICE.user,
                    part.replace('\'', "''")
                ),
            )?;
            ensure!(ids.len() == 1, "{sql} runs on {} connections", ids.len());
            cluster.sql(0, &format!("KILL {}", ids[0][0].as_deref().unwrap_or_default()))?;
            Ok(())
        }
    }
}

/// Asks, reads `take` rows, ends the server and reads on. Gives the rows that came and the error behind them; none if
/// the connection ended in the middle of a row.
fn broken_off(
    cluster: &Cluster,
    client: &mut Client,
    (sql, asks, how): (&str, Asks, End),
    take: usize,
) -> Result<(usize, Option<u16>)> {
    if asks == Asks::InTransaction {
        client.run("BEGIN")?;
        client.run("INSERT INTO written VALUES (1)")?;
    }
    let payload = if asks == Asks::Prepared {
        let id = client.prepare(sql)?.id;
        execution(id, &[], Cursor::None, Bind::New)
    } else {
        [&[com::QUERY], sql.as_bytes()].concat()
    };
    client.send(&payload)?;
    let columns = client.read_packet()?.payload[0];
    // and an EOF behind them, for older clients
    let old = !client.capabilities.contains(Capabilities::DEPRECATE_EOF);
    for _ in 0..columns + u8::from(old) {
        client.read_packet()?;
    }
    let mut rows = 0;
    loop {
        if rows == take {
            end(cluster, how, sql)?;
        }
        match client.read_packet() {
            Ok(packet) if packet.first() == 0xff => {
                let number = u16::from_le_bytes([packet.payload[1], packet.payload[2]]);
                return Ok((rows, Some(number)));
            }
            Ok(packet) => {
                ensure!(packet.first() != 0xfe, "a clean end after {rows} rows: {packet:?}");
                // to its end
                ensure!(packet.payload.ends_with(&[b'x'; 1000]), "{packet:?}");
                rows += 1;
            }
            Err(Failure::Lost(_)) if rows >= take => return Ok((rows, None)),
            Err(failure) => bail!("after {rows} rows: {failure}"),
        }
    }
}

fn servers_that_die(flavour: Flavour) -> Result<()> {
    let mut options = weir_testkit::Options::new(flavour, format!("killed-{flavour}"));
    options.replicas = 0;
    let cluster = Cluster::start(&options)?;
    cluster.sql(
        0,
        "CREATE DATABASE d; CREATE TABLE d.k (i INT PRIMARY KEY); CREATE TABLE d.written (i INT); \
         INSERT INTO d.k WITH RECURSIVE s (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM s WHERE i < 1000) SELECT i FROM s",
    )?;
    let weir = Weir::start(&Options::on(&cluster)?.users(vec![User::of(&cluster).without_split()]))?;
    let modern = Login::new(SERVICE.user, SERVICE.password).database("d");
    let old = modern.clone().without(Capabilities::DEPRECATE_EOF | Capabilities::SESSION_TRACK);
    for (login, sql, asks, how, take) in [
        (&modern, LARGE, Asks::Text, End::Connection, 10),
        (&old, LARGE, Asks::Text, End::Connection, 5_000),
        (&modern, LARGE, Asks::Prepared, End::Connection, 5_000),
        (&modern, LARGE, Asks::InTransaction, End::Connection, 10),
        (&modern, LONG, Asks::Text, End::Connection, 2),
        (&modern, LARGE, Asks::Text, End::Process, 5_000),
        (&old, LARGE, Asks::Prepared, End::Process, 10),
        (&modern, LARGE, Asks::InTransaction, End::Process, 10),
    ] {
        let what = format!("{sql}, {asks:?}, {how:?}, {take} rows read");
        let mut client = when_up(&weir, login)?;
        let (rows, number) =
            broken_off(&cluster, &mut client, (sql, asks, how), take).with_context(|| what.clone())?;
        ensure!(rows >= take && rows < 1_000_000, "{what}: {rows} rows");
        ensure!(
            number == Some(2013) || (number.is_none() && sql == LONG),
            "{what}: {rows} rows, then {number:?}"
        );
        if how == End::Process {
            down(&weir).with_context(|| what.clone())?;
            cluster.restart_instance(0)?;
        }
        match asks {
            Asks::InTransaction => ensure!(client.ping().is_err_and(|e| e.is_lost()), "{what}: goes on"),
            _ if number.is_none() => {}
            _ => serves(&mut client).with_context(|| what.clone())?,
        }
        drop(client);
        serves(&mut when_up(&weir, &modern)?).with_context(|| what.clone())?;
    }
    small_results(&cluster, &weir, &modern)?;
    ensure!(cluster.value(0, "SELECT COUNT(*) FROM d.written")? == "0", "a transaction was committed");
    weir.wait_for("nothing is held", Duration::from_secs(10), |m| {
        m.sum("weir_pool_in_use", &[]) == 0.0 && m.sum("weir_client_connections", &[]) == 0.0
    })?;
    Ok(())
}

/// What is taken whole before the client gets any of it.
fn small_results(cluster: &Cluster, weir: &Weir, login: &Login) -> Result<()> {
    for how in [End::Connection, End::Process] {
        let mut client = when_up(weir, login)?;
        client.send(&[&[com::QUERY], SLOW.as_bytes()].concat())?;
        let running = "SELECT COUNT(*) FROM information_schema.processlist WHERE info LIKE 'SELECT i, REPEAT%' AND time > 0";
        let deadline = std::time::Instant::now() + Duration::from_secs(10);
        while cluster.value(0, running)? == "0" {
            ensure!(std::time::Instant::now() < deadline, "{SLOW} does not run");
            std::thread::sleep(Duration::from_millis(50));
        }
        end(cluster, how, SLOW)?;
        let answer = client.read_answer(Expect::Results)?;
        // a killed connection may still say so itself; and a read of which nothing had come yet is asked again
        let number = answer.error_number();
        let told = number == 2013 || (how == End::Connection && [1317, 1927].contains(&number));
        let whole = how == End::Connection && number == 0 && answer.rows()?.len() == 40;
        ensure!(told || whole, "{how:?}: {answer:?}");
        if how == End::Process {
            down(weir)?;
            cluster.restart_instance(0)?;
        }
        serves(&mut client)?;
    }
    Ok(())
}

/// While the server is down, statements get an error that says so, and the session lives on.
fn down(weir: &Weir) -> Result<()> {
    let mut client = weir.client()?;
    for _ in 0..3 {
        let answer = client.query("SELECT 1 FROM d.k LIMIT 1")?;
        let error = answer.error().context("a server that is down answers")?;
        ensure!([1429, 2013].contains(&error.number) && error.message.contains("127.0.0.1"), "{error}");
    }
    Ok(())
}

/// A login that names a database asks the server: it is refused while that is down.
fn when_up(weir: &Weir, login: &Login) -> Result<Client> {
    let deadline = std::time::Instant::now() + Duration::from_secs(15);
    loop {
        match weir.connect(login) {
            Ok(client) => return Ok(client),
            Err(failure) => {
                ensure!(failure.number() == Some(1429), "{failure}");
                ensure!(std::time::Instant::now() < deadline, "{failure}");
                std::thread::sleep(Duration::from_millis(20));
            }
        }
    }
}

/// The server is there again, perhaps after a pause between dials.
fn serves(client: &mut Client) -> Result<()> {
    let deadline = std::time::Instant::now() + Duration::from_secs(15);
    loop {
        match client.value("SELECT COUNT(*) FROM k") {
            Ok(count) => {
                ensure!(count == "1000", "{count}");
                return Ok(());
            }
            Err(failure) => {
                ensure!(failure.number() == Some(1429), "{failure}");
                ensure!(std::time::Instant::now() < deadline, "{failure}");
                std::thread::sleep(Duration::from_millis(20));
            }
        }
    }
}

#[test]
fn mysql_servers_that_die() -> Result<()> {
    servers_that_die(Flavour::MySql)
}

#[test]
fn mariadb_servers_that_die() -> Result<()> {
    servers_that_die(Flavour::MariaDb)
}
