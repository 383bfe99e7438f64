//! Sessions in lists: SHOW WEIR for admins, SHOW PROCESSLIST for everybody, pins by name.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test's helpers fail as its own lines do"
)]

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use weir_e2e::client::{Answer, Client, Endpoint, Login};
use weir_e2e::on_both_servers;
use weir_e2e::weir::{Namespace, Options, User, Weir};
use weir_testkit::Cluster;
use weir_wire::capability::Capabilities;
use weir_wire::command::com;

on_both_servers!(
    an_admin_sees_every_session,
    pools_and_definitions_are_shown,
    pins_are_shown_with_what_began_them,
    who_is_no_admin_sees_nothing,
    a_hint_pins_until_it_is_taken_back,
    a_pin_that_lasts_is_logged_once,
    the_list_of_processes_has_the_servers_shape,
    a_list_of_processes_shows_clients_ids,
    an_admin_is_answered_without_servers,
);

const PATIENCE: Duration = Duration::from_secs(10);
type Row = Vec<Option<String>>;

fn options(cluster: &Cluster) -> Result<Options> {
    let users = vec![
        User::new("one", "one-password").without_split(),
        User::new("two", "two-password").without_split(),
        User::new("boss", "boss-password").as_admin(),
    ];
    let namespace = Namespace::on(cluster, "app")?.users_are(users).set("pool.capacity", 3);
    Ok(Options::of(vec![namespace]).greeting(cluster.version()))
}

fn login(weir: &Weir, user: &str) -> Result<Client> {
    Ok(weir.connect(&Login::new(user, &format!("{user}-password")))?)
}

fn send(client: &mut Client, sql: &str) -> Result<()> {
    Ok(client.send(&[&[com::QUERY], sql.as_bytes()].concat())?)
}

/// The rows of a list as soon as they are as wanted.
fn rows_when(client: &mut Client, sql: &str, wanted: impl Fn(&[Row]) -> bool) -> Result<Vec<Row>> {
    let begun = Instant::now();
    loop {
        let rows = client.rows(sql)?;
        if wanted(&rows) {
            return Ok(rows);
        }
        ensure!(begun.elapsed() < PATIENCE, "{sql} is not as wanted: {rows:#?}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn of(rows: &[Row], id: u32) -> Result<&Row> {
    rows.iter()
        .find(|row| row[0].as_deref() == Some(&*id.to_string()))
        .with_context(|| format!("{id}: {rows:?}"))
}

fn text(row: &Row, column: usize) -> &str {
    row[column].as_deref().unwrap_or("NULL")
}

/// Answers of the same statement, as text and prepared, have the same values.
fn both_ways(client: &mut Client, sql: &str) -> Result<[Answer; 2]> {
    let as_text = client.query(sql)?;
    let prepared = client.prepare(sql)?;
    Ok([as_text, client.execute(prepared.id, &[])?])
}

fn an_admin_sees_every_session(cluster: &'static Cluster) -> Result<()> {
    let weir = Weir::start(&options(cluster)?)?;
    let mut boss = login(&weir, "boss")?;
    let (mut idle, mut holding) = (login(&weir, "one")?, login(&weir, "two")?);
    let (mut running, mut waiting) = (login(&weir, "one")?, login(&weir, "two")?);
    idle.run("USE mysql")?;
    holding.run("BEGIN")?;
    holding.run("CREATE TEMPORARY TABLE mysql.listed (v INT)")?;
    holding.run("SELECT 1 FROM mysql.user LIMIT 1")?;
    send(&mut running, "SELECT SLEEP(3), 'listed'")?;
    let mut third = login(&weir, "one")?;
    third.run("BEGIN")?;
    third.run("SELECT 1 FOR UPDATE")?;
    send(&mut waiting, "UPDATE mysql.nothing SET a = 'waits'")?;
    let rows = rows_when(&mut boss, "SHOW WEIR SESSIONS", |rows| {
        let phase = |id: u32, phase: &str| of(rows, id).is_ok_and(|row| text(row, 4) == phase);
        // one that began a statement after it was asked has not told it
        let told = |id: u32| of(rows, id).is_ok_and(|row| row[9].is_some());
        let busy = [running.id(), waiting.id()].into_iter().all(|id| phase(id, "busy") && told(id));
        busy && phase(holding.id(), "idle_holding")
            && of(rows, third.id()).is_ok_and(|row| !text(row, 7).is_empty())
    })?;
    ensure!(rows.len() == 6, "{rows:#?}");
    let row = of(&rows, idle.id())?;
    ensure!(row[1..5] == ["one", "app", text(row, 3), "idle"].map(|v| Some(v.to_owned())), "{row:?}");
    ensure!(text(row, 3).starts_with("127.0.0.1:") && text(row, 6) == "mysql", "{row:?}");
    ensure!(text(row, 8) == "NULL" && text(row, 9) == "NULL", "{row:?}");
    let row = of(&rows, holding.id())?;
    ensure!(text(row, 7).contains("temporary_table"), "{row:?}");
    ensure!(text(row, 8).starts_with("127.0.0.1:"), "{row:?}");
    let row = of(&rows, running.id())?;
    ensure!(text(row, 9) == "SELECT SLEEP(3), 'listed'" && text(row, 8).starts_with("127.0.0.1:"), "{row:?}");
    let row = of(&rows, waiting.id())?;
    ensure!(text(row, 9).starts_with("UPDATE mysql.nothing") && text(row, 8) == "NULL", "{row:?}");
    ensure!(text(of(&rows, third.id())?, 7) == "transaction", "{rows:#?}");
    ensure!(text(of(&rows, boss.id())?, 9).starts_with("SHOW WEIR SESSIONS"), "{rows:#?}");
    drop(third);
    drop(holding);
    Ok(())
}

fn pools_and_definitions_are_shown(cluster: &'static Cluster) -> Result<()> {
    let weir = Weir::start(&options(cluster)?)?;
    let mut boss = login(&weir, "boss")?;
    let mut one = login(&weir, "one")?;
    one.prepare("SELECT 'a definition'")?;
    let pools = boss.rows("SHOW WEIR POOLS")?;
    ensure!(pools.len() == cluster.instances().len(), "{pools:?}");
    let first = &pools[0];
    ensure!(first[1].as_deref() == Some(&*format!("127.0.0.1:{}", cluster.primary()?.port)), "{first:?}");
    ensure!([text(first, 2), text(first, 3), text(first, 4)] == ["primary", "1", "3"], "{first:?}");
    let prepared = boss.rows("SHOW WEIR PREPARED")?;
    ensure!(prepared.iter().any(|row| text(row, 2) == "SELECT 'a definition'"), "{prepared:?}");
    // prepared, too, and for clients that know no DEPRECATE_EOF
    for old in [false, true] {
        let mut client = match old {
            true => {
                weir.connect(&Login::new("boss", "boss-password").without(Capabilities::DEPRECATE_EOF))?
            }
            false => login(&weir, "boss")?,
        };
        for what in ["SESSIONS", "POOLS", "PREPARED", "PINS"] {
            let [as_text, prepared] = both_ways(&mut client, &format!("SHOW WEIR {what}"))?;
            let columns = |answer: &Answer| -> Result<Vec<Vec<u8>>> {
                let count = usize::from(answer.packets[0].payload[0]);
                Ok(answer.packets[1..=count].iter().map(|p| p.payload.clone()).collect())
            };
            ensure!(columns(&as_text)? == columns(&prepared)?, "{what}");
            ensure!(as_text.error().is_none() && prepared.error().is_none(), "{what}");
        }
        ensure!(client.value("SELECT 5")? == "5");
    }
    Ok(())
}

fn pins_are_shown_with_what_began_them(cluster: &'static Cluster) -> Result<()> {
    let weir = Weir::start(&options(cluster)?)?;
    let mut boss = login(&weir, "boss")?;
    let mut one = login(&weir, "one")?;
    one.run("SELECT GET_LOCK('listed', 1)")?;
    one.run("CREATE TEMPORARY TABLE mysql.listed_pins (v INT)")?;
    let rows = rows_when(&mut boss, "SHOW WEIR PINS", |rows| rows.len() == 2)?;
    for (row, (reason, statement)) in rows.iter().zip([
        ("temporary_table", "CREATE TEMPORARY TABLE mysql.listed_pins (v INT)"),
        ("user_lock", "SELECT GET_LOCK('listed', 1)"),
    ]) {
        let wanted = [&*one.id().to_string(), "one", "app", reason, text(row, 4), statement];
        ensure!(*row == wanted.map(|v| Some(v.to_owned())), "{row:?}");
        ensure!(text(row, 4).parse::<u64>()? < 10, "{row:?}");
    }
    one.reset()?;
    rows_when(&mut boss, "SHOW WEIR PINS", |rows| rows.is_empty())?;
    Ok(())
}

fn who_is_no_admin_sees_nothing(cluster: &'static Cluster) -> Result<()> {
    let weir = Weir::start(&options(cluster)?)?;
    let (mut one, mut boss) = (login(&weir, "one")?, login(&weir, "boss")?);
    for what in ["SESSIONS", "POOLS", "PREPARED", "PINS", "ANYTHING"] {
        let sql = format!("SHOW WEIR {what}");
        ensure!(one.query(&sql)?.error_number() == 1227, "{what}");
        ensure!(one.prepare_raw(&sql)?.error_number() == 1227, "{what}");
    }
    for sql in ["SHOW WEIR", "SHOW WEIR ANYTHING", "SHOW WEIR PINS LIKE 'a'"] {
        ensure!(boss.query(sql)?.error_number() == 1064, "{sql}");
    }
    ensure!(boss.query("SELECT 1; SHOW WEIR PINS")?.error_number() == 1235);
    Ok(())
}

fn a_hint_pins_until_it_is_taken_back(cluster: &'static Cluster) -> Result<()> {
    let weir = Weir::start(&options(cluster)?)?;
    let (mut boss, mut one) = (login(&weir, "boss")?, login(&weir, "one")?);
    let reasons = |boss: &mut Client, wanted: &[&str]| {
        rows_when(boss, "SHOW WEIR PINS", |rows| {
            rows.iter().map(|row| text(row, 3)).collect::<Vec<_>>() == wanted
        })
    };
    let pinned = |sql: &str, one: &mut Client, boss: &mut Client, wanted: &[&str]| -> Result<()> {
        one.run(sql)?;
        reasons(boss, wanted)?;
        Ok(())
    };
    pinned("/* weir: pin */ SELECT 1", &mut one, &mut boss, &["hint"])?;
    pinned("SELECT 2", &mut one, &mut boss, &["hint"])?;
    pinned("SELECT 3 /* weir: unpin */", &mut one, &mut boss, &[])?;
    pinned("SELECT 4 /* weir: pin */", &mut one, &mut boss, &["hint"])?;
    one.reset()?;
    reasons(&mut boss, &[])?;
    ensure!(weir.metrics()?.sum("weir_pins_total", &[("reason", "hint")]) == 2.0);
    // a user whose reads are split is pinned to the primary
    boss.run("/* weir: pin */ SELECT 1")?;
    let rows = reasons(&mut boss, &["hint"])?;
    ensure!(text(&rows[0], 5) == "/* weir: pin */ SELECT 1", "{rows:?}");
    let sessions = boss.rows("SHOW WEIR SESSIONS")?;
    let primary = format!("127.0.0.1:{}", cluster.primary()?.port);
    ensure!(text(of(&sessions, boss.id())?, 8) == primary, "{sessions:?}");
    Ok(())
}

fn a_pin_that_lasts_is_logged_once(cluster: &'static Cluster) -> Result<()> {
    let weir = Weir::start(&options(cluster)?.set("pool.pin_warning", "300ms"))?;
    let mut one = login(&weir, "one")?;
    one.run("CREATE TEMPORARY TABLE mysql.lasts (v INT DEFAULT 4711)")?;
    let warnings =
        || weir.log().lines().filter(|line| line.contains("keeps its connection for long")).count();
    let begun = Instant::now();
    while warnings() == 0 {
        ensure!(begun.elapsed() < PATIENCE, "no warning:\n{}", weir.log());
        std::thread::sleep(Duration::from_millis(20));
    }
    let log = weir.log();
    let line = log.lines().find(|line| line.contains("keeps its connection for long")).unwrap();
    ensure!(line.contains("temporary_table") && line.contains(&one.id().to_string()), "{line}");
    // literals are not logged
    ensure!(!line.contains("4711") && line.to_lowercase().contains("create temporary table"), "{line}");
    // as long again, and longer
    one.run("SELECT SLEEP(0.7)")?;
    ensure!(warnings() == 1, "{}", weir.log());
    Ok(())
}

fn direct(cluster: &Cluster, weir: &Weir) -> Result<Client> {
    Ok(Client::connect(&Endpoint::port(cluster.primary()?.port), &weir.login())?)
}

fn the_list_of_processes_has_the_servers_shape(cluster: &'static Cluster) -> Result<()> {
    let weir = Weir::start(&Options::on(cluster)?)?;
    let clients = [direct(cluster, &weir)?, weir.client()?];
    let mut shapes = Vec::new();
    for mut client in clients {
        let mut shape = Vec::new();
        for names in ["utf8mb4", "latin1"] {
            client.run(&format!("SET NAMES {names}"))?;
            for sql in ["SHOW PROCESSLIST", "show full processlist"] {
                for answer in both_ways(&mut client, sql)? {
                    let count = usize::from(answer.packets[0].payload[0]);
                    shape
                        .push(answer.packets[..=count].iter().map(|p| p.payload.clone()).collect::<Vec<_>>());
                }
            }
        }
        shapes.push(shape);
    }
    ensure!(shapes[0] == shapes[1], "{shapes:#?}");
    Ok(())
}

fn a_list_of_processes_shows_clients_ids(cluster: &'static Cluster) -> Result<()> {
    let weir = Weir::start(&options(cluster)?)?;
    let (mut boss, mut one, mut two) = (login(&weir, "boss")?, login(&weir, "one")?, login(&weir, "two")?);
    let long = format!("SELECT SLEEP(3), '{}'", "ü".repeat(200));
    send(&mut two, &long)?;
    let mut sibling = login(&weir, "one")?;
    sibling.run("USE mysql")?;
    let ids = |rows: &[Row]| rows.iter().map(|row| text(row, 0).parse::<u32>().unwrap()).collect::<Vec<_>>();
    // own sessions only
    let rows = one.rows("SHOW PROCESSLIST")?;
    ensure!(ids(&rows) == [one.id(), sibling.id()], "{rows:?}");
    let own = &rows[0];
    ensure!(own[1].as_deref() == Some("one") && text(own, 4) == "Query", "{own:?}");
    ensure!(text(own, 7) == "SHOW PROCESSLIST", "{own:?}");
    let idle = &rows[1];
    ensure!(
        [text(idle, 3), text(idle, 4), text(idle, 6), text(idle, 7)] == ["mysql", "Sleep", "", "NULL"],
        "{idle:?}"
    );
    // everybody's
    let rows =
        rows_when(&mut boss, "SHOW FULL PROCESSLIST", |rows| rows.iter().any(|row| text(row, 7) == long))?;
    ensure!(rows.len() == 4, "{rows:?}");
    let running = of(&rows, two.id())?;
    ensure!([text(running, 1), text(running, 4)] == ["two", "Query"], "{running:?}");
    let short = rows_when(&mut boss, "SHOW PROCESSLIST", |rows| rows.len() == 4)?;
    ensure!(text(of(&short, two.id())?, 7).chars().count() == 100, "{short:?}");
    // and the ids are those that KILL takes
    boss.run(&format!("KILL {}", text(running, 0)))?;
    ensure!(two.read_answer(weir_e2e::client::Expect::Results)?.error_number() == 1317);
    Ok(())
}

fn an_admin_is_answered_without_servers(cluster: &'static Cluster) -> Result<()> {
    // nobody listens there
    let namespace =
        Namespace::at("app", 1, &[]).users_are(vec![User::new("boss", "boss-password").as_admin()]);
    let flavour = cluster.flavour().name();
    let weir = Weir::start(&Options::of(vec![namespace.set("slices.0.flavour", flavour)]))?;
    let mut boss = login(&weir, "boss")?;
    // that it is not there is known after the first attempt
    let pools = rows_when(&mut boss, "SHOW WEIR POOLS", |rows| text(&rows[0], 3) == "0")?;
    ensure!(text(&pools[0], 1) == "127.0.0.1:1" && text(&pools[0], 12) != "NULL", "{pools:?}");
    ensure!(boss.rows("show weir sessions;")?.len() == 1);
    Ok(())
}
