//! Two thousand clients over twenty connections to each server: none fails, none is forgotten.
//!
//! `WEIR_FAIRNESS_SECONDS=60` measures for as long; the default is short.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test's helpers fail as its own lines do"
)]

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use weir_e2e::client::{Client, Login};
use weir_e2e::load::{Load, raise_file_limit};
use weir_e2e::on_both_servers;
use weir_e2e::weir::{Namespace, Options, User, Weir};
use weir_testkit::Cluster;
use weir_wire::command::com;

on_both_servers!(
    no_client_waits_much_longer_than_the_others,
    what_only_the_primary_may_answer_is_fair_too,
    clients_that_do_not_read_take_nothing_from_the_others,
);

const CLIENTS: usize = 2_000;
const CONNECTIONS: usize = 20;
const NON_READERS: usize = 20;
const SECONDS: &str = "WEIR_FAIRNESS_SECONDS";
const DEFAULT_SECONDS: u64 = 5;
const WARM_UP: Duration = Duration::from_millis(1500);
const PATIENCE: Duration = Duration::from_secs(20);
/// The account by which the servers tell this test's connections from others.
const ACCOUNT: (&str, &str) = ("fairness", "fairness-password");

const SCHEMA: &str = "
    DROP DATABASE IF EXISTS e2e_fairness;
    CREATE DATABASE e2e_fairness;
    USE e2e_fairness;
    CREATE TABLE t (id INT PRIMARY KEY, v INT);
    INSERT INTO t VALUES (1, 10), (2, 20), (3, 30), (4, 40), (5, 50), (6, 60), (7, 70), (8, 80)";

fn start(cluster: &Cluster) -> Result<Weir> {
    cluster.sql(0, SCHEMA)?;
    let (user, password) = ACCOUNT;
    cluster.sql(
        0,
        &format!(
            "CREATE USER IF NOT EXISTS '{user}'@'%' IDENTIFIED BY '{password}'; \
             GRANT ALL ON e2e_fairness.* TO '{user}'@'%'"
        ),
    )?;
    cluster.wait_for_replicas(PATIENCE)?;
    raise_file_limit(3 * CLIENTS as u64)?;
    let namespace = Namespace::on(cluster, "app")?
        .users_are(vec![User::new("many", "many-password")])
        .set("slices.0.account.user", user)
        .set("slices.0.account.password", password)
        // who does not read is not to be cut off while others are measured
        .set("session.client_write_timeout", "1h")
        .set("pool.capacity", i64::try_from(CONNECTIONS)?);
    Weir::start(&Options::of(vec![namespace]).greeting(cluster.version()))
}

fn login() -> Login {
    Login::new("many", "many-password").database("e2e_fairness")
}

/// How many connections each server has, by its own count.
fn connections(cluster: &Cluster) -> Result<Vec<usize>> {
    let sql = format!("SELECT COUNT(*) FROM information_schema.processlist WHERE user = '{}'", ACCOUNT.0);
    let count = |index| cluster.value(index, &sql)?.parse().context("a count");
    (0..cluster.instances().len()).map(count).collect()
}

/// The most connections that each server had at once while `run` ran.
fn counting<T>(cluster: &Cluster, run: impl FnOnce() -> Result<T>) -> Result<(T, Vec<usize>)> {
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let watcher = scope.spawn(|| -> Result<Vec<usize>> {
            let mut most = vec![0; cluster.instances().len()];
            while !stop.load(Ordering::Relaxed) {
                for (most, now) in most.iter_mut().zip(connections(cluster)?) {
                    *most = now.max(*most);
                }
                std::thread::sleep(Duration::from_millis(100));
            }
            Ok(most)
        });
        let ran = run();
        stop.store(true, Ordering::Relaxed);
        let most = watcher.join().unwrap()?;
        Ok((ran?, most))
    })
}

fn measure() -> Result<Duration> {
    let seconds = match std::env::var(SECONDS) {
        Ok(text) => text.parse().with_context(|| format!("{SECONDS} is no number"))?,
        Err(_) => DEFAULT_SECONDS,
    };
    Ok(Duration::from_secs(seconds))
}

/// One run at a time: the machine is the same for all.
fn alone() -> std::sync::MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Longest wait to the median one, at most.
const LONGEST: f64 = 5.0;
/// A machine that stands still for a moment makes waits longer for all; what is unfair is so each time.
const ATTEMPTS: usize = 3;

fn check(cluster: &Cluster, title: &str, load: &mut Load) -> Result<()> {
    for attempt in 1..=ATTEMPTS {
        let (waits, most) = counting(cluster, || load.run(WARM_UP, measure()?))?;
        let (median, longest) = (waits.median(), waits.longest());
        let (fewest, usual) = waits.fewest_and_median();
        let (turn, last_turn) = waits.turns_median_and_most();
        let times = longest.as_secs_f64() / median.as_secs_f64();
        weir_testkit::say(format!(
            "{} {title}: {:.0} statements/s over at most {most:?} connections; median wait {median:.1?}, longest \
             {longest:.1?} ({times:.1} times); others' answers meanwhile: median {turn}, most {last_turn}; answers by \
             client: median {usual}, fewest {fewest}",
            cluster.flavour(),
            waits.waits.len() as f64 / waits.took.as_secs_f64(),
        ));
        ensure!(most.iter().all(|most| *most <= CONNECTIONS), "connections at once: {most:?}");
        ensure!(most.iter().any(|most| *most >= CONNECTIONS / 2), "hardly any connections: {most:?}");
        ensure!(2 * fewest >= usual, "a client got {fewest} answers, half of them {usual} and more");
        ensure!(
            last_turn as f64 <= LONGEST * turn as f64,
            "a client waited for {last_turn} others, usual are {turn}"
        );
        if times <= LONGEST {
            break;
        }
        ensure!(attempt < ATTEMPTS, "the longest wait is {longest:?}, the median {median:?}");
    }
    Ok(())
}

fn all_do(cluster: &Cluster, title: &str, sql: &str) -> Result<()> {
    let _alone = alone();
    let weir = start(cluster)?;
    let mut load = Load::log_in(&weir.endpoint(), &login(), CLIENTS, sql)?;
    check(cluster, title, &mut load)?;
    drop(load);
    weir.stop()
}

fn no_client_waits_much_longer_than_the_others(cluster: &'static Cluster) -> Result<()> {
    all_do(cluster, "all read", "SELECT v FROM t WHERE id = 3")
}

/// Nothing of this can travel behind another session's statement: each waits for a connection of its own.
fn what_only_the_primary_may_answer_is_fair_too(cluster: &'static Cluster) -> Result<()> {
    all_do(cluster, "all lock", "SELECT v FROM t WHERE id = 3 LOCK IN SHARE MODE")
}

fn clients_that_do_not_read_take_nothing_from_the_others(cluster: &'static Cluster) -> Result<()> {
    let _alone = alone();
    let weir = start(cluster)?;
    let mut load = Load::log_in(&weir.endpoint(), &login(), CLIENTS, "SELECT v FROM t WHERE id = 3")?;
    // 64 MB each, of which nobody takes a byte
    let large = [&[com::QUERY][..], b"SELECT REPEAT('x', 8000000) FROM t"].concat();
    let mut idle = Vec::new();
    for _ in 0..NON_READERS {
        let mut client = Client::connect(&weir.endpoint(), &login())?;
        client.send(&large)?;
        idle.push(client);
    }
    weir.wait_for("they do not read", PATIENCE, |m| {
        m.sum("weir_sessions", &[("phase", "writing")]) == NON_READERS as f64
    })?;
    check(cluster, "20 do not read", &mut load)?;
    let stuck = weir.metrics()?.sum("weir_sessions", &[("phase", "writing")]);
    ensure!(stuck == NON_READERS as f64, "{stuck} of {NON_READERS} clients still do not read");
    drop((load, idle));
    weir.stop()
}
