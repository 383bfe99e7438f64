//! KILL by the ids that clients know: whom it reaches, whom it never hits, who may.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test's helpers fail as its own lines do"
)]

use std::io::Read;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use weir_e2e::client::{Bind, Client, Cursor, Endpoint, Expect, Login, Parameter, execution};
use weir_e2e::on_both_servers;
use weir_e2e::rig::Rig;
use weir_e2e::weir::{Namespace, Options, User, Weir};
use weir_testkit::{Cluster, Flavour};
use weir_wire::command::com;

on_both_servers!(
    an_id_belongs_to_one_gateway,
    a_session_is_reached_wherever_it_waits,
    a_statement_that_waits_never_runs,
    only_what_runs_is_interrupted,
    a_statement_behind_its_sessions_state_is_reached,
    the_id_may_come_in_every_form,
    who_kills_itself_is_told_as_at_the_server,
    others_sessions_are_for_admins,
    one_connection_serves_all_kills,
);

const PATIENCE: Duration = Duration::from_secs(10);

fn query(sql: &str) -> Vec<u8> {
    [&[com::QUERY], sql.as_bytes()].concat()
}

fn wait_until(what: &str, mut holds: impl FnMut() -> Result<bool>) -> Result<()> {
    let begun = Instant::now();
    while !holds()? {
        ensure!(begun.elapsed() < PATIENCE, "not so after {PATIENCE:?}: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}

/// Waits until a statement with this text runs at the primary, or none does.
fn wait_for(cluster: &Cluster, text: &str, runs: bool) -> Result<()> {
    let sql = format!(
        "SELECT COUNT(*) FROM information_schema.processlist WHERE info LIKE '{text}%' AND command <> 'Sleep'"
    );
    wait_until(&format!("{text} runs: {runs}"), || Ok((cluster.value(0, &sql)? != "0") == runs))
}

/// The session ended: an error may come, but no answer.
fn is_gone(client: &mut Client) -> bool {
    client.query("SELECT 1").map_or(true, |answer| answer.error().is_some())
}

/// The statement was interrupted: SLEEP() tells it with an error, or with 1.
fn is_interrupted(client: &mut Client) -> Result<bool> {
    let answer = client.read_answer(Expect::Results)?;
    Ok(answer.error_number() == 1317 || answer.rows().is_ok_and(|rows| rows[0][0].as_deref() == Some("1")))
}

fn an_id_belongs_to_one_gateway(cluster: &'static Cluster) -> Result<()> {
    let start = |number: i64| {
        let users = vec![User::of(cluster).without_split()];
        Weir::start(&Options::on(cluster)?.users(users).process("gateway_number", number))
    };
    let (one, last) = (start(1)?, start(191)?);
    let mut victim = one.client()?;
    let id = victim.id();
    ensure!(id >> 24 == 64 + 1, "{id}");
    ensure!(last.client()?.id() >> 24 == 64 + 191);
    victim.send(&query("SELECT SLEEP(1), 'gateways'"))?;
    wait_for(cluster, "SELECT SLEEP(1), ''gateways", true)?;
    let mut elsewhere = last.client()?;
    for sql in [format!("KILL QUERY {id}"), format!("KILL {id}")] {
        let answer = elsewhere.query(&sql)?;
        ensure!(answer.error_number() == 1094, "{sql}: {answer:?}");
        let text = answer.error().unwrap().message;
        ensure!(text.contains(&id.to_string()) && text.contains("gateway 1;"), "{text}");
    }
    // nor do the servers' own ids mean anything
    let thread = cluster.value(0, "SELECT MAX(id) FROM information_schema.processlist")?;
    let own = one.client()?.query(format!("KILL {thread}"))?;
    ensure!(own.error().unwrap().message == format!("Unknown thread id: {thread}"), "{own:?}");
    ensure!(victim.read_answer(Expect::Results)?.rows()?[0][0].as_deref() == Some("0"), "not interrupted");
    Ok(())
}

fn a_session_is_reached_wherever_it_waits(cluster: &'static Cluster) -> Result<()> {
    let rig = Rig::start(cluster, "wherever", |options| {
        options.set("pool.checkout_timeout", "1m").users(vec![User::of(cluster).as_admin()])
    })?;
    rig.sql("CREATE TABLE t (v INT)")?;
    let phase = |phase: &str, count: f64| {
        rig.weir.wait_for(phase, PATIENCE, |m| m.sum("weir_sessions", &[("phase", phase)]) == count)
    };
    let mut killer = rig.client()?;
    killer.run("SELECT 1")?;

    let mut idle = rig.client()?;
    idle.run("SELECT 1")?;
    killer.run(&format!("KILL {}", idle.id()))?;
    ensure!(is_gone(&mut idle), "an idle session");

    // a login with a database needs a connection, too
    let (mut holding, mut waiting) = (rig.client()?, rig.client()?);
    holding.run("BEGIN")?;
    holding.run("INSERT INTO t VALUES (1)")?;
    phase("idle_holding", 1.0)?;
    waiting.send(&query("INSERT INTO t VALUES (2)"))?;
    rig.weir.wait_for("one waits", PATIENCE, |m| m.sum("weir_pool_waiting", &[]) == 1.0)?;
    killer.run(&format!("KILL {}", waiting.id()))?;
    ensure!(waiting.read_answer(Expect::Results)?.error_number() == 1317, "a session that waits");
    ensure!(is_gone(&mut waiting), "a session that waited");
    killer.run(&format!("KILL {}", holding.id()))?;
    ensure!(is_gone(&mut holding), "a session with a transaction");
    ensure!(killer.value("SELECT COUNT(*) FROM t")? == "0", "its transaction is rolled back");

    let mut running = rig.client()?;
    running.send(&query("SELECT SLEEP(60), 'wherever'"))?;
    wait_for(cluster, "SELECT SLEEP(60), ''wherever", true)?;
    killer.run(&format!("KILL {}", running.id()))?;
    ensure!(running.read_answer(Expect::Results)?.error_number() == 1317, "a session whose statement runs");
    ensure!(is_gone(&mut running), "a session whose statement ran");
    wait_for(cluster, "SELECT SLEEP(60), ''wherever", false)?;

    let mut writing = rig.client()?;
    writing.send(&query("SELECT REPEAT('x', 1000000) FROM information_schema.columns"))?;
    phase("writing", 1.0)?;
    killer.run(&format!("KILL {}", writing.id()))?;
    phase("writing", 0.0)?;
    drop(writing);

    // its login waits for a connection
    let (mut holding, login) = (rig.client()?, rig.login());
    holding.run("BEGIN")?;
    holding.run("INSERT INTO t VALUES (1)")?;
    let (port, began) = (rig.weir.port(), Instant::now());
    let entering = std::thread::spawn(move || Client::connect(&Endpoint::port(port), &login));
    rig.weir.wait_for("a login waits", PATIENCE, |m| m.sum("weir_pool_waiting", &[]) == 1.0)?;
    // ids count up
    killer.run(&format!("KILL {}", holding.id() + 1))?;
    let entered = entering.join().map_err(|_| anyhow::anyhow!("the login's thread failed"))?;
    ensure!(entered.is_err() && began.elapsed() < PATIENCE, "a session whose login waits");
    drop(holding);

    // it has read the greeting, and says nothing
    let mut entering = TcpStream::connect(("127.0.0.1", rig.weir.port()))?;
    entering.set_read_timeout(Some(PATIENCE))?;
    let mut greeting = [0; 200];
    let n = entering.read(&mut greeting)?;
    // header, protocol, version as text, id
    let end = 5 + greeting[5..n].iter().position(|b| *b == 0).context("no version in the greeting")?;
    let id = u32::from_le_bytes(greeting[end + 1..end + 5].try_into()?);
    killer.run(&format!("KILL {id}"))?;
    ensure!(entering.read(&mut greeting)? == 0, "a session that logs in");
    drop(killer);
    rig.is_as_before()
}

fn a_statement_that_waits_never_runs(cluster: &'static Cluster) -> Result<()> {
    let rig = Rig::start(cluster, "queue", |options| options.set("pool.checkout_timeout", "1m"))?;
    rig.sql("CREATE TABLE t (v INT)")?;
    let mut holder = rig.client()?;
    let (mut waiting, mut prepared, mut killer) = (rig.client()?, rig.client()?, rig.client()?);
    waiting.run("SELECT 1")?;
    killer.run("SELECT 1")?;
    let id = prepared.prepare("INSERT INTO t VALUES (3)")?.id;
    holder.run("BEGIN")?;
    holder.run("INSERT INTO t VALUES (1)")?;
    waiting.send(&query("INSERT INTO t VALUES (2)"))?;
    prepared.send(&execution(id, &[], Cursor::None, Bind::New))?;
    // its first statement waits for what the server is
    let mut first = rig.weir.connect(&rig.weir.login())?;
    first.send(&query(&format!("INSERT INTO `{}`.t VALUES (4)", rig.database)))?;
    rig.weir.wait_for("three wait", PATIENCE, |m| m.sum("weir_pool_waiting", &[]) == 3.0)?;
    for victim in [&mut waiting, &mut prepared, &mut first] {
        killer.run(&format!("KILL QUERY {}", victim.id()))?;
        ensure!(victim.read_answer(Expect::Results)?.error_number() == 1317);
    }
    ensure!(rig.weir.metrics()?.sum("weir_pool_waiting", &[]) == 0.0);
    holder.run("COMMIT")?;
    for victim in [&mut waiting, &mut prepared] {
        ensure!(victim.value("SELECT COUNT(*) FROM t")? == "1", "the sessions go on, and nothing else ran");
    }
    drop((holder, waiting, prepared, first, killer));
    rig.is_as_before()
}

fn only_what_runs_is_interrupted(cluster: &'static Cluster) -> Result<()> {
    let rig = Rig::start(cluster, "runs", |options| options)?;
    let (mut victim, mut killer) = (rig.client()?, rig.client()?);
    victim.run("BEGIN")?;
    victim.run("SELECT 1 FROM DUAL FOR UPDATE")?;
    // nothing runs: neither this session's next statement is hit, nor anybody's
    for _ in 0..20 {
        killer.run(&format!("KILL QUERY {}", victim.id()))?;
        ensure!(victim.value("SELECT 7")? == "7");
    }
    victim.send(&query("SELECT SLEEP(60), 'runs'"))?;
    wait_for(cluster, "SELECT SLEEP(60), ''runs", true)?;
    killer.run(&format!("KILL QUERY {}", victim.id()))?;
    ensure!(is_interrupted(&mut victim)?);
    ensure!(victim.value("SELECT 8")? == "8", "the transaction goes on");
    victim.run("COMMIT")?;
    drop((victim, killer));
    rig.is_as_before()
}

/// The state that a session left on no connection goes ahead of its statement, in the same packet.
fn a_statement_behind_its_sessions_state_is_reached(cluster: &'static Cluster) -> Result<()> {
    let rig = Rig::start(cluster, "state", |options| options)?;
    let (mut victim, mut other, mut killer) = (rig.client()?, rig.client()?, rig.client()?);
    killer.run("SELECT 1")?;
    victim.run("SET sql_mode = 'ANSI_QUOTES'")?;
    for whole in [false, true] {
        other.run("SELECT 1")?;
        victim.send(&query("SELECT SLEEP(60), 'state'"))?;
        wait_for(cluster, "%SELECT SLEEP(60), ''state", true)?;
        killer.run(&format!("KILL {} {}", if whole { "" } else { "QUERY" }, victim.id()))?;
        if whole {
            ensure!(victim.read_answer(Expect::Results)?.error_number() == 1317);
            ensure!(is_gone(&mut victim));
        } else {
            ensure!(is_interrupted(&mut victim)?);
            ensure!(victim.value("SELECT @@sql_mode")? == "ANSI_QUOTES");
        }
        wait_for(cluster, "%SELECT SLEEP(60), ''state", false)?;
    }
    drop((victim, other, killer));
    rig.is_as_before()
}

fn the_id_may_come_in_every_form(cluster: &'static Cluster) -> Result<()> {
    let weir = Weir::start(&Options::on(cluster)?)?;
    let mut killer = weir.client()?;
    type Kill = fn(&mut Client, u32) -> Result<weir_e2e::client::Answer>;
    let text: Kill = |killer, id| Ok(killer.query(format!("KILL {id}"))?);
    let connection: Kill = |killer, id| Ok(killer.query(format!(" /* now */ kill CONNECTION {id} ;"))?);
    let sum: Kill = |killer, id| Ok(killer.query(format!("KILL {} + 1", id - 1))?);
    let string: Kill = |killer, id| Ok(killer.query(format!("KILL '{id}'"))?);
    let variable: Kill = |killer, id| {
        killer.run(&format!("SET @id = {id}"))?;
        Ok(killer.query("KILL @id")?)
    };
    let prepared: Kill = |killer, id| {
        let statement = killer.prepare(format!("KILL {id}"))?;
        Ok(killer.execute(statement.id, &[])?)
    };
    let parameter: Kill = |killer, id| {
        let statement = killer.prepare("KILL ?")?;
        Ok(killer.execute(statement.id, &[Parameter::Int(i64::from(id))])?)
    };
    let command: Kill = |killer, id| {
        Ok(killer.command(&[&[com::PROCESS_KILL][..], &id.to_le_bytes()].concat(), Expect::One)?)
    };
    for (what, kill) in [
        ("text", text),
        ("CONNECTION", connection),
        ("a sum", sum),
        ("a string", string),
        ("a user variable", variable),
        ("prepared", prepared),
        ("a parameter", if cluster.flavour() == Flavour::MariaDb { parameter } else { prepared }),
        ("COM_PROCESS_KILL", command),
    ] {
        let mut victim = weir.client()?;
        let answer = kill(&mut killer, victim.id())?;
        ensure!(answer.error().is_none(), "{what}: {answer:?}");
        ensure!(is_gone(&mut victim), "{what}");
    }
    // what Weir does not follow is refused, and never sent to a server, where the ids are others'
    for sql in ["KILL USER root", "KILL QUERY ID 5", "SELECT 1; KILL 5", "KILL CONNECTION_ID() + 0"] {
        let answer = killer.query(sql)?;
        ensure!([1235, 1064].contains(&answer.error_number()), "{sql}: {answer:?}");
    }
    Ok(())
}

/// Through Weir and directly.
fn both(cluster: &Cluster, weir: &Weir) -> Result<[Client; 2]> {
    let direct = Endpoint::port(cluster.primary()?.port);
    Ok([Client::connect(&direct, &weir.login())?, weir.client()?])
}

fn who_kills_itself_is_told_as_at_the_server(cluster: &'static Cluster) -> Result<()> {
    let weir = Weir::start(&Options::on(cluster)?)?;
    for sql in ["KILL QUERY {id}", "KILL {id}", "KILL CONNECTION_ID()"] {
        let mut told = Vec::new();
        for mut client in both(cluster, &weir)? {
            client.run("SELECT 1")?;
            let sql = sql.replace("{id}", &client.id().to_string());
            let answer = client.query(&sql)?;
            let error = answer.error().map(|e| (e.number, e.message));
            told.push((error, is_gone(&mut client)));
        }
        ensure!(told[0] == told[1], "{sql}: {told:#?}");
    }
    Ok(())
}

fn others_sessions_are_for_admins(cluster: &'static Cluster) -> Result<()> {
    let users = vec![
        User::new("one", "one-password"),
        User::new("two", "two-password"),
        User::new("boss", "boss-password").as_admin(),
    ];
    let mut other = Namespace::on(cluster, "other")?.users_are(vec![User::new("one", "another-password")]);
    other = other.set("pool.capacity", 2);
    let namespaces = vec![Namespace::on(cluster, "app")?.users_are(users), other];
    let weir = Weir::start(&Options::of(namespaces).greeting(cluster.version()))?;
    let login = |user: &str, password: &str| weir.connect(&Login::new(user, password));
    let mut victim = login("one", "one-password")?;
    let id = victim.id();
    for (user, password) in [("two", "two-password"), ("one", "another-password")] {
        for sql in [format!("KILL {id}"), format!("KILL QUERY {id}")] {
            let answer = login(user, password)?.query(&sql)?;
            let error = answer.error().context("no error")?;
            ensure!(
                error.number == 1095 && error.message == format!("You are not owner of thread {id}"),
                "{error}"
            );
        }
    }
    ensure!(victim.value("SELECT 1")? == "1");
    login("one", "one-password")?.run(&format!("KILL {id}"))?;
    ensure!(is_gone(&mut victim), "its own user may");
    for (user, password) in [("one", "one-password"), ("one", "another-password")] {
        let mut victim = login(user, password)?;
        login("boss", "boss-password")?.run(&format!("KILL {}", victim.id()))?;
        ensure!(is_gone(&mut victim), "an admin may");
    }
    Ok(())
}

fn one_connection_serves_all_kills(cluster: &'static Cluster) -> Result<()> {
    let account = format!("control_{}", std::process::id());
    cluster.sql(
        0,
        &format!("CREATE USER '{account}'@'%' IDENTIFIED BY 'pw'; GRANT ALL ON *.* TO '{account}'@'%'"),
    )?;
    let namespace = Namespace::at("app", cluster.primary()?.port, &[])
        .users_are(vec![User::of(cluster)])
        .set("slices.0.account.user", account.clone())
        .set("slices.0.account.password", "pw")
        .set("pool.capacity", 2);
    let weir = Weir::start(&Options::of(vec![namespace]).greeting(cluster.version()))?;
    let threads = "SELECT COUNT(*) FROM information_schema.processlist WHERE user = ";
    let count = || cluster.value(0, &format!("{threads}'{account}'"));
    let (mut victim, mut killer) = (weir.client()?, weir.client()?);
    let mut interrupt = || -> Result<()> {
        victim.send(&query("SELECT SLEEP(60), 'control'"))?;
        wait_for(cluster, "SELECT SLEEP(60), ''control", true)?;
        killer.run(&format!("KILL QUERY {}", victim.id()))?;
        ensure!(is_interrupted(&mut victim)?);
        Ok(())
    };
    interrupt()?;
    let after_one = count()?;
    for _ in 0..9 {
        interrupt()?;
    }
    ensure!(count()? == after_one, "no connection for each KILL: {after_one} and {}", count()?);
    ensure!(weir.metrics()?.sum("weir_pool_control", &[]) == 1.0);
    // the server closes all connections of the account: the next KILL dials again
    let ids = cluster
        .client(0)?
        .rows(&format!("SELECT id FROM information_schema.processlist WHERE user = '{account}'"))?;
    for row in ids {
        cluster.sql(0, &format!("KILL {}", row[0].as_deref().unwrap()))?;
    }
    wait_until("they are gone", || Ok(count()? == "0"))?;
    interrupt()?;
    interrupt()?;
    ensure!(count()?.parse::<u32>()? <= 3, "capacity and one: {}", count()?);
    drop(weir);
    cluster.sql(0, &format!("DROP USER '{account}'@'%'"))?;
    Ok(())
}
