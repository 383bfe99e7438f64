//! Every wait, queue and result has a limit; who meets one is told so, and the others go on.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test's helpers fail as its own lines do"
)]

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use weir_e2e::client::{Answer, Client, Expect, Failure, Login, Outcome, Parameter};
use weir_e2e::on_both_servers;
use weir_e2e::pair::Databases;
use weir_e2e::weir::{Options, User, Weir};
use weir_testkit::{Cluster, SERVICE};
use weir_wire::command::com;

on_both_servers!(
    a_result_over_the_row_limit_ends_with_an_error_and_the_statement,
    a_wait_for_a_connection_ends_with_an_error_that_leaves_the_session,
    a_full_queue_refuses_at_once,
    a_login_too_many_is_refused,
    a_login_that_waits_in_vain_is_refused,
    a_transaction_left_idle_is_rolled_back,
    a_client_that_takes_nothing_is_cut_off,
    a_client_that_takes_little_is_not,
    small_results_are_taken_whole,
);

const PATIENCE: Duration = Duration::from_secs(10);
const TOO_BIG_SELECT: (u16, &str) = (1104, "42000");
const TOO_MANY_USER_CONNECTIONS: (u16, &str) = (1203, "42000");
const TOO_MANY_CONNECTIONS: (u16, &str) = (1040, "08004");
/// ERR of 4031, as its packet begins.
const INACTIVITY: [u8; 3] = [0xff, 0xbf, 0x0f];

/// Weir in front of the primary alone, and a database with `t`: a thousand rows.
struct Site {
    weir: Weir,
    databases: Databases<'static>,
}

impl Site {
    fn start(cluster: &'static Cluster, change: impl FnOnce(Options) -> Options) -> Result<Site> {
        let databases = Databases::create(cluster, "limits")?;
        databases.prepare(
            "CREATE TABLE t (id INT PRIMARY KEY, v INT);
             INSERT INTO t SELECT a.x + 10 * b.x + 100 * c.x, 0 FROM
                (SELECT 0 x UNION SELECT 1 UNION SELECT 2 UNION SELECT 3 UNION SELECT 4 UNION SELECT 5 UNION SELECT 6
                 UNION SELECT 7 UNION SELECT 8 UNION SELECT 9) a,
                (SELECT 0 x UNION SELECT 1 UNION SELECT 2 UNION SELECT 3 UNION SELECT 4 UNION SELECT 5 UNION SELECT 6
                 UNION SELECT 7 UNION SELECT 8 UNION SELECT 9) b,
                (SELECT 0 x UNION SELECT 1 UNION SELECT 2 UNION SELECT 3 UNION SELECT 4 UNION SELECT 5 UNION SELECT 6
                 UNION SELECT 7 UNION SELECT 8 UNION SELECT 9) c",
        )?;
        let options = Options::on(cluster)?.users(vec![User::of(cluster).without_split()]);
        Ok(Site { weir: Weir::start(&change(options))?, databases })
    }

    fn login(&self) -> Login {
        self.weir.login().database(&self.databases.weir)
    }

    fn client(&self) -> Result<Client> {
        Ok(self.weir.connect(&self.login())?)
    }

    fn wait_for_idle_pool(&self) -> Result<()> {
        self.weir.wait_for("no connection is lent", PATIENCE, |m| m.sum("weir_pool_in_use", &[]) == 0.0)?;
        Ok(())
    }

    fn end(self) -> Result<()> {
        self.weir.stop()
    }
}

fn is(answer: &Answer, (number, sqlstate): (u16, &str)) -> Result<()> {
    let error = answer.error().with_context(|| format!("no error: {answer:?}"))?;
    ensure!((error.number, error.sqlstate.as_str()) == (number, sqlstate), "{error}");
    Ok(())
}

fn refused_with(login: Result<Client, Failure>, (number, sqlstate): (u16, &str)) -> Result<()> {
    match login {
        Err(Failure::Refused(error)) => {
            ensure!((error.number, error.sqlstate.as_str()) == (number, sqlstate), "{error}");
            Ok(())
        }
        Err(other) => Err(other.into()),
        Ok(_) => anyhow::bail!("let in"),
    }
}

fn rows_before_error(answer: &Answer) -> Result<usize> {
    match answer.outcomes()?.pop() {
        Some(Outcome::Err { rows_before, .. }) => Ok(rows_before),
        other => anyhow::bail!("{other:?}"),
    }
}

fn a_result_over_the_row_limit_ends_with_an_error_and_the_statement(cluster: &'static Cluster) -> Result<()> {
    let site =
        Site::start(cluster, |options| options.set("limits.result_rows", 100).set("pool.capacity", 2))?;
    let mut client = site.client()?;
    ensure!(client.rows("SELECT id FROM t LIMIT 100")?.len() == 100, "the limit itself is allowed");

    let one_more = client.query("SELECT id FROM t ORDER BY id LIMIT 101")?;
    is(&one_more, TOO_BIG_SELECT)?;
    ensure!(rows_before_error(&one_more)? == 100, "{one_more:?}");
    ensure!(client.value("SELECT 'usable'")? == "usable");

    let prepared = client.prepare("SELECT id FROM t WHERE id >= ?")?;
    let answer = client.execute(prepared.id, &[Parameter::Int(0)])?;
    is(&answer, TOO_BIG_SELECT)?;
    ensure!(rows_before_error(&answer)? == 100, "{answer:?}");
    ensure!(client.execute(prepared.id, &[Parameter::Int(950)])?.error().is_none(), "50 rows");

    // this one would run for hours: the server must not go on with it
    let begun = Instant::now();
    let endless = client.query("SELECT 'limits endless', REPEAT('x', 1000), SLEEP(0.01) FROM t a, t b")?;
    is(&endless, TOO_BIG_SELECT)?;
    ensure!(begun.elapsed() < PATIENCE, "the error came after {:?}", begun.elapsed());
    let running = format!(
        "SELECT COUNT(*) FROM information_schema.processlist WHERE user = '{}' AND info LIKE 'SELECT ''limits endless%'",
        SERVICE.user
    );
    wait_until(|| Ok(cluster.value(0, &running)? == "0"), "the statement ends at the server")?;
    ensure!(client.value("SELECT 'usable'")? == "usable");

    // a transaction goes on
    client.run("BEGIN")?;
    client.run("UPDATE t SET v = 1 WHERE id = 5")?;
    is(&client.query("SELECT id FROM t")?, TOO_BIG_SELECT)?;
    ensure!(client.value("SELECT v FROM t WHERE id = 5")? == "1", "the transaction was lost");
    client.run("ROLLBACK")?;
    ensure!(client.value("SELECT v FROM t WHERE id = 5")? == "0", "it was committed");
    client.quit()?;
    site.wait_for_idle_pool()?;
    site.end()
}

fn wait_until(mut done: impl FnMut() -> Result<bool>, what: &str) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    while !done()? {
        ensure!(Instant::now() < deadline, "not so after {PATIENCE:?}: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
    Ok(())
}

fn a_wait_for_a_connection_ends_with_an_error_that_leaves_the_session(
    cluster: &'static Cluster,
) -> Result<()> {
    let timeout = Duration::from_millis(400);
    let site = Site::start(cluster, |options| {
        options.set("pool.capacity", 1).set("pool.checkout_timeout", "400ms")
    })?;
    let mut holder = site.client()?;
    let mut waiter = site.client()?;
    let kept = waiter.prepare("SELECT v FROM t WHERE id = ?")?;
    holder.run("BEGIN")?;
    holder.run("SELECT v FROM t WHERE id = 1 FOR UPDATE")?;
    for what in ["text", "prepare", "execute", "write"] {
        let begun = Instant::now();
        let answer = match what {
            "text" => waiter.query("SELECT v FROM t WHERE id = 1")?,
            "prepare" => waiter.prepare_raw("SELECT 7 FROM t")?,
            "execute" => waiter.execute(kept.id, &[Parameter::Int(1)])?,
            _ => waiter.query("UPDATE t SET v = 9 WHERE id = 2")?,
        };
        is(&answer, TOO_MANY_USER_CONNECTIONS).with_context(|| what.to_owned())?;
        let took = begun.elapsed();
        ensure!(took >= timeout && took < timeout + Duration::from_secs(2), "{what}: {took:?}");
    }
    // what needs no server is answered all the same
    ensure!(waiter.ping()?.error().is_none(), "COM_PING");
    holder.run("COMMIT")?;
    ensure!(waiter.value("SELECT v FROM t WHERE id = 2")? == "0", "the write that was refused happened");
    ensure!(
        waiter.execute(kept.id, &[Parameter::Int(1)])?.error().is_none(),
        "the prepared statement is lost"
    );
    let metrics = site.weir.metrics()?;
    // the probe of a server waits in the same queue
    ensure!(metrics.sum("weir_pool_timeouts_total", &[]) >= 4.0, "{metrics}");
    site.end()
}

fn a_full_queue_refuses_at_once(cluster: &'static Cluster) -> Result<()> {
    let site = Site::start(cluster, |options| {
        options.set("pool.capacity", 1).set("pool.max_waiters", 1).set("pool.checkout_timeout", "8s")
    })?;
    let mut holder = site.client()?;
    let (mut first, mut second) = (site.client()?, site.client()?);
    holder.run("BEGIN")?;
    holder.run("SELECT v FROM t WHERE id = 1 FOR UPDATE")?;
    first.send(&[&[com::QUERY][..], b"SELECT v FROM t WHERE id = 1"].concat())?;
    site.weir.wait_for("one waits", PATIENCE, |m| m.sum("weir_pool_waiting", &[]) == 1.0)?;
    let begun = Instant::now();
    is(&second.query("SELECT v FROM t WHERE id = 1")?, TOO_MANY_USER_CONNECTIONS)?;
    ensure!(begun.elapsed() < Duration::from_secs(2), "refused only after {:?}", begun.elapsed());
    holder.run("COMMIT")?;
    ensure!(first.read_answer(Expect::Results)?.error().is_none(), "who waited was not served");
    ensure!(second.value("SELECT 'usable'")? == "usable");
    let metrics = site.weir.metrics()?;
    ensure!(metrics.sum("weir_pool_queue_full_total", &[]) == 1.0, "{metrics}");
    site.end()
}

fn a_login_too_many_is_refused(cluster: &'static Cluster) -> Result<()> {
    for of_process in [true, false] {
        let site = Site::start(cluster, |options| match of_process {
            true => options.process("limits.client_connections", 3),
            false => options.set("limits.client_connections", 3),
        })?;
        let open = |m: &weir_e2e::weir::Metrics| m.sum("weir_client_connections", &[]);
        site.weir.wait_for("what looked at the greeting is gone", PATIENCE, |m| open(m) == 0.0)?;
        let mut clients: Vec<Client> = (0..3).map(|_| site.client()).collect::<Result<_>>()?;
        refused_with(site.weir.connect(&site.login()), TOO_MANY_CONNECTIONS)?;
        for client in &mut clients {
            ensure!(client.value("SELECT 'served'")? == "served");
        }
        clients.pop().unwrap().quit()?;
        site.weir.wait_for("one has left", PATIENCE, |m| open(m) == 2.0)?;
        ensure!(site.client()?.value("SELECT 'served'")? == "served");
        site.end()?;
    }
    Ok(())
}

/// A login that names a database asks the server whether it is there.
fn a_login_that_waits_in_vain_is_refused(cluster: &'static Cluster) -> Result<()> {
    let site = Site::start(cluster, |options| {
        options.set("pool.capacity", 1).set("pool.checkout_timeout", "300ms")
    })?;
    let mut holder = site.client()?;
    holder.run("BEGIN")?;
    holder.run("SELECT v FROM t WHERE id = 1 FOR UPDATE")?;
    let elsewhere = site.weir.login().database(&site.databases.direct);
    refused_with(site.weir.connect(&elsewhere), TOO_MANY_CONNECTIONS)?;
    holder.run("COMMIT")?;
    ensure!(site.weir.connect(&elsewhere)?.value("SELECT DATABASE()")? == site.databases.direct);
    site.end()
}

fn a_transaction_left_idle_is_rolled_back(cluster: &'static Cluster) -> Result<()> {
    let site = Site::start(cluster, |options| {
        options.set("session.idle_in_transaction_timeout", "1s").set("pool.capacity", 4)
    })?;
    let mut without = site.client()?;
    without.run("SELECT v FROM t WHERE id = 1")?;
    for held in [&["BEGIN", "UPDATE t SET v = 5 WHERE id = 1"][..], &["SELECT GET_LOCK('e2e limits', 0)"]] {
        let mut client = site.client()?;
        for sql in held {
            client.run(sql)?;
        }
        let begun = Instant::now();
        let farewell = client.read_packet()?;
        let took = begun.elapsed();
        ensure!(
            took > Duration::from_millis(900) && took < Duration::from_secs(4),
            "{held:?}: after {took:?}"
        );
        let text = String::from_utf8_lossy(&farewell.payload).into_owned();
        ensure!(farewell.payload.starts_with(&INACTIVITY), "{held:?}: {text}");
        ensure!(text.contains("idle_in_transaction_timeout"), "{held:?}: {text}");
        ensure!(client.read_to_close()?.is_empty(), "{held:?}: more came");
        site.wait_for_idle_pool()?;
    }
    ensure!(without.value("SELECT v FROM t WHERE id = 1")? == "0", "the transaction was not rolled back");
    ensure!(without.run("UPDATE t SET v = 6 WHERE id = 1").is_ok(), "its lock is still there");
    ensure!(without.value("SELECT IS_FREE_LOCK('e2e limits')")? == "1", "the lock is still held");
    site.end()
}

/// 64 MB in rows of 1 MB: more than any socket's buffer.
const LARGE: &[u8] = b"SELECT REPEAT('x', 1000000) FROM t WHERE id < 64";

fn a_client_that_takes_nothing_is_cut_off(cluster: &'static Cluster) -> Result<()> {
    let site = Site::start(cluster, |options| {
        options
            .set("session.client_write_timeout", "1s")
            .set("pool.capacity", 1)
            .set("pool.checkout_timeout", "8s")
    })?;
    let mut stuck = site.client()?;
    let mut other = site.client()?;
    stuck.send(&[&[com::QUERY][..], LARGE].concat())?;
    site.weir
        .wait_for("it does not read", PATIENCE, |m| m.sum("weir_sessions", &[("phase", "writing")]) == 1.0)?;
    let begun = Instant::now();
    ensure!(other.value("SELECT 'served'")? == "served");
    ensure!(begun.elapsed() < Duration::from_secs(5), "the other waited for {:?}", begun.elapsed());
    // what lies in buffers still comes, then the end, which is no answer's
    match stuck.read_answer(Expect::Results) {
        Err(failure) if failure.is_lost() => {}
        other => anyhow::bail!("{:?}", other.map(|answer| answer.packets.len())),
    }
    site.wait_for_idle_pool()?;
    site.end()
}

fn a_client_that_takes_little_is_not(cluster: &'static Cluster) -> Result<()> {
    let site = Site::start(cluster, |options| options.set("session.client_write_timeout", "1s"))?;
    let mut slow = site.client()?;
    slow.send(&[&[com::QUERY][..], LARGE].concat())?;
    let begun = Instant::now();
    let mut bytes = Vec::new();
    while begun.elapsed() < Duration::from_secs(4) {
        // about 5 MB a second
        let until = bytes.len() + (256 << 10);
        while bytes.len() < until {
            bytes.extend(slow.read_some(64 << 10)?);
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    let (rows, columns_and_ends) = (64, 1 << 10);
    while bytes.len() < rows * 1_000_000 {
        let more = slow.read_some(1 << 20)?;
        ensure!(!more.is_empty(), "cut off after {} bytes", bytes.len());
        bytes.extend(more);
    }
    let letters = bytes.iter().filter(|byte| **byte == b'x').count();
    ensure!(bytes.len() < rows * 1_000_000 + columns_and_ends, "{} bytes", bytes.len());
    ensure!(letters >= rows * 1_000_000 - columns_and_ends, "{letters} letters");
    site.end()
}

/// Twenty results of 900 kB, of which the client takes none: they fill its buffers, and Weir waits for it; the only
/// connection to the server is free meanwhile.
fn small_results_are_taken_whole(cluster: &'static Cluster) -> Result<()> {
    const RESULTS: usize = 20;
    let site =
        Site::start(cluster, |options| options.set("pool.capacity", 1).set("pool.checkout_timeout", "1s"))?;
    let mut slow = site.client()?;
    let mut other = site.client()?;
    for _ in 0..RESULTS {
        slow.send(&[&[com::QUERY][..], b"SELECT REPEAT('x', 900000)"].concat())?;
    }
    let writing = |m: &weir_e2e::weir::Metrics| m.sum("weir_sessions", &[("phase", "writing")]) == 1.0;
    site.weir.wait_for("it does not read", PATIENCE, writing)?;
    for _ in 0..5 {
        ensure!(other.value("SELECT 'served'")? == "served");
    }
    ensure!(writing(&site.weir.metrics()?), "it was never waited for");
    for _ in 0..RESULTS {
        let row = slow.read_answer(Expect::Results)?.rows()?.remove(0);
        ensure!(row[0].as_ref().is_some_and(|value| value.len() == 900_000), "not the whole value");
    }
    // a large one keeps the connection: so the test can tell
    slow.send(&[&[com::QUERY][..], LARGE].concat())?;
    site.weir.wait_for("it does not read", PATIENCE, writing)?;
    is(&other.query("SELECT 'served'")?, TOO_MANY_USER_CONNECTIONS)?;
    drop(slow);
    wait_until(|| Ok(other.query("SELECT 'served'")?.error().is_none()), "the connection is back")?;
    site.end()
}
