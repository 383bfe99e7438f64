//! Clients that go while their statement runs or waits: the statement is killed or never runs.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test's helpers fail as its own lines do"
)]

use std::net::Shutdown;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use weir_e2e::client::{Bind, Client, Cursor, Login, Tls, execution};
use weir_e2e::on_both_servers;
use weir_e2e::rig::Rig;
use weir_testkit::Cluster;
use weir_wire::command::com;

on_both_servers!(
    a_running_statement_is_killed_when_its_client_goes,
    a_waiting_statement_never_runs_when_its_client_goes,
    what_is_sent_behind_a_running_statement_is_no_goodbye,
);

const PATIENCE: Duration = Duration::from_secs(5);

fn query(sql: &str) -> Vec<u8> {
    [&[com::QUERY], sql.as_bytes()].concat()
}

/// How many statements with this text run at the primary.
fn running(rig: &Rig<'_>, text: &str) -> Result<usize> {
    let sql = format!(
        "SELECT COUNT(*) FROM information_schema.processlist WHERE info LIKE '{text}%' AND command <> 'Sleep'"
    );
    Ok(rig.value(&sql)?.parse()?)
}

fn wait_until(what: &str, mut holds: impl FnMut() -> Result<bool>) -> Result<Duration> {
    let begun = Instant::now();
    while !holds()? {
        ensure!(begun.elapsed() < PATIENCE, "not so after {PATIENCE:?}: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok(begun.elapsed())
}

fn rig<'c>(cluster: &'c Cluster, topic: &str) -> Result<Rig<'c>> {
    let rig = Rig::start(cluster, topic, |options| options.set("pool.checkout_timeout", "30s"))?;
    rig.sql("CREATE TABLE written (v INT)")?;
    Ok(rig)
}

fn a_running_statement_is_killed_when_its_client_goes(cluster: &'static Cluster) -> Result<()> {
    let rig = rig(cluster, "running")?;
    let plain = rig.login();
    let tls = plain.clone().tls(Tls::Encrypted);
    type Go = fn(Client) -> Result<()>;
    let close: Go = |client| {
        drop(client);
        Ok(())
    };
    let reset: Go = |client| Ok(client.reset_when_closed()?);
    let rows: [(&str, &Login, bool, bool, Go); 6] = [
        ("closed", &plain, false, false, close),
        ("reset", &plain, false, false, reset),
        ("over TLS", &tls, false, false, close),
        ("prepared", &plain, true, false, close),
        ("in a transaction", &plain, false, true, close),
        ("prepared, in a transaction, over TLS", &tls, true, true, reset),
    ];
    for (number, (what, login, prepared, held, go)) in rows.into_iter().enumerate() {
        let mut client = rig.weir.connect(login)?;
        if held {
            client.run("BEGIN")?;
            client.run("INSERT INTO written VALUES (1)")?;
        }
        // long enough to outlive the test if nobody kills it
        let text = format!("SELECT SLEEP(60), {number}");
        let payload = if prepared {
            execution(client.prepare(&text)?.id, &[], Cursor::None, Bind::New)
        } else {
            query(&text)
        };
        client.send(&payload)?;
        wait_until("the statement runs", || Ok(running(&rig, &text)? == 1))?;
        go(client)?;
        let took =
            wait_until(&format!("{what}: the statement is killed"), || Ok(running(&rig, &text)? == 0))?;
        ensure!(took < Duration::from_secs(2), "{what}: killed after {took:?}");
    }
    rig.is_as_before()?;
    ensure!(rig.weir.metrics()?.sum("weir_statements_abandoned_total", &[]) == 6.0);
    ensure!(rig.value(&format!("SELECT COUNT(*) FROM `{}`.written", rig.database))? == "0");
    Ok(())
}

fn a_waiting_statement_never_runs_when_its_client_goes(cluster: &'static Cluster) -> Result<()> {
    let rig = rig(cluster, "waiting")?;
    let mut holder = rig.client()?;
    holder.run("BEGIN")?;
    holder.run("INSERT INTO written VALUES (0)")?;
    let mut waiting = Vec::new();
    for _ in 0..3 {
        let mut client = rig.weir.connect(&Login::new(
            &String::from_utf8_lossy(&rig.login().user),
            &String::from_utf8_lossy(&rig.login().password),
        ))?;
        client.send(&query(&format!("INSERT INTO `{}`.written VALUES (1)", rig.database)))?;
        waiting.push(client);
    }
    let stay = waiting.pop();
    wait_until("three wait", || Ok(rig.weir.metrics()?.sum("weir_pool_waiting", &[]) == 3.0))?;
    drop(waiting);
    wait_until("one waits", || Ok(rig.weir.metrics()?.sum("weir_pool_waiting", &[]) == 1.0))?;
    wait_until("the sessions are gone", || {
        Ok(rig.weir.metrics()?.sum("weir_client_connections", &[]) == 2.0)
    })?;
    holder.run("COMMIT")?;
    // who stayed is served
    let mut stay = stay.unwrap();
    ensure!(stay.read_answer(weir_e2e::client::Expect::Results)?.error().is_none());
    ensure!(rig.value(&format!("SELECT COUNT(*) FROM `{}`.written", rig.database))? == "2");
    drop((holder, stay));
    rig.is_as_before()
}

fn what_is_sent_behind_a_running_statement_is_no_goodbye(cluster: &'static Cluster) -> Result<()> {
    let rig = rig(cluster, "behind")?;
    for login in [rig.login(), rig.login().tls(Tls::Encrypted)] {
        let mut client = rig.weir.connect(&login)?;
        // more than is read ahead: 60 statements of 1000 bytes
        client.send(&query("SELECT SLEEP(0.3)"))?;
        wait_until("the statement runs", || Ok(running(&rig, "SELECT SLEEP(0.3)")? == 1))?;
        for number in 0..60 {
            client.send(&query(&format!("SELECT {number} /* {} */", "x".repeat(1000))))?;
        }
        let read = |client: &mut Client| client.read_answer(weir_e2e::client::Expect::Results)?.rows();
        ensure!(read(&mut client)?[0][0].as_deref() == Some("0"));
        for number in 0..60 {
            ensure!(read(&mut client)?[0][0] == Some(number.to_string()));
        }
        // a goodbye behind a statement is heard after its answer
        client.send(&query("SELECT SLEEP(0.2)"))?;
        client.send(&[com::QUIT])?;
        ensure!(read(&mut client)?[0][0].as_deref() == Some("0"));
        ensure!(client.read_to_close()?.is_empty());
        client.shut(Shutdown::Both).ok();
    }
    rig.is_as_before()
}
