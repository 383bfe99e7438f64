//! CONNECTION_ID() and @@pseudo_thread_id are the client's id, wherever they stand.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test's helpers fail as its own lines do"
)]

use anyhow::{Result, ensure};
use weir_e2e::client::Client;
use weir_e2e::on_both_servers;
use weir_e2e::weir::{Namespace, Options, User, Weir};
use weir_testkit::Cluster;

on_both_servers!(
    an_expression_sees_the_clients_id,
    the_next_session_sees_its_own,
    a_lock_is_compared_with_the_servers_own_id,
    who_has_a_lock_is_told_by_the_clients_id,
    the_servers_lists_are_searched_with_the_servers_own_id,
    an_account_without_the_privilege_sees_the_servers_id,
);

fn start(cluster: &Cluster) -> Result<Weir> {
    let namespace = Namespace::on(cluster, "app")?
        .users_are(vec![User::of(cluster).without_split()])
        .set("pool.capacity", 1);
    Weir::start(&Options::of(vec![namespace]).greeting(cluster.version()))
}

/// Each way to ask gives the client's id.
fn sees_its_own(client: &mut Client) -> Result<()> {
    let id = client.id().to_string();
    for sql in [
        "SELECT CONNECTION_ID()",
        "SELECT CONNECTION_ID() + 0",
        "SELECT CAST(CONCAT(CONNECTION_ID()) AS UNSIGNED)",
        "SELECT @@pseudo_thread_id",
        "SELECT @@session.pseudo_thread_id, 1",
        "SELECT n FROM (SELECT CONNECTION_ID() AS n) AS t WHERE n = CONNECTION_ID()",
    ] {
        let value = client.value(sql)?;
        ensure!(value == id, "{sql}: {value}, not {id}");
    }
    let prepared = client.prepare("SELECT CONCAT(CONNECTION_ID())")?;
    let answer = client.execute(prepared.id, &[])?;
    let ends = answer.packets.iter().any(|packet| packet.payload.ends_with(id.as_bytes()));
    ensure!(ends, "prepared: {answer:?}");
    Ok(())
}

fn an_expression_sees_the_clients_id(cluster: &'static Cluster) -> Result<()> {
    let weir = start(cluster)?;
    let mut client = weir.client()?;
    sees_its_own(&mut client)?;
    client.run("BEGIN")?;
    client.run("SELECT 1 FROM mysql.user LIMIT 1")?;
    sees_its_own(&mut client)?;
    client.run("COMMIT")?;
    client.reset()?;
    sees_its_own(&mut client)
}

fn the_next_session_sees_its_own(cluster: &'static Cluster) -> Result<()> {
    let weir = start(cluster)?;
    let (mut one, mut two) = (weir.client()?, weir.client()?);
    for _ in 0..3 {
        sees_its_own(&mut one)?;
        sees_its_own(&mut two)?;
    }
    // one connection served both, and it was reset in between
    ensure!(weir.metrics()?.sum("weir_pool_dials_total", &[("role", "primary")]) == 1.0);
    ensure!(weir.metrics()?.sum("weir_pool_resets_total", &[("role", "primary")]) > 0.0);
    Ok(())
}

fn a_lock_is_compared_with_the_servers_own_id(cluster: &'static Cluster) -> Result<()> {
    let weir = start(cluster)?;
    let mut client = weir.client()?;
    client.run("SELECT GET_LOCK('connection_id', 1)")?;
    ensure!(client.value("SELECT IS_USED_LOCK('connection_id') = CONNECTION_ID()")? == "1");
    ensure!(client.value("SELECT RELEASE_LOCK('connection_id')")? == "1");
    Ok(())
}

fn who_has_a_lock_is_told_by_the_clients_id(cluster: &'static Cluster) -> Result<()> {
    let namespace = Namespace::on(cluster, "app")?
        .users_are(vec![User::of(cluster).without_split()])
        .set("pool.capacity", 2);
    let weir = Weir::start(&Options::of(vec![namespace]).greeting(cluster.version()))?;
    let (mut one, mut two) = (weir.client()?, weir.client()?);
    let name = format!("who_{}_{:?}", std::process::id(), cluster.flavour());
    let question = format!("SELECT IS_USED_LOCK('{name}')");
    let asks = |client: &mut Client| -> Result<[String; 2]> {
        let as_text = client.value(&question)?;
        let prepared = client.prepare(&question)?;
        let answer = client.execute(prepared.id, &[])?;
        let row = &answer.packets[answer.packets.len() - 2].payload;
        let mut id = [0; 4];
        // header, NULL bitmap, the number
        id[..row.len().min(6).saturating_sub(2)].copy_from_slice(&row[2..row.len().min(6)]);
        Ok([as_text, u32::from_le_bytes(id).to_string()])
    };
    for _ in 0..2 {
        one.run(&format!("SELECT GET_LOCK('{name}', 1)"))?;
        let id = one.id().to_string();
        ensure!(asks(&mut two)? == [id.clone(), id.clone()], "{:?}, not {id}", asks(&mut two)?);
        ensure!(asks(&mut one)? == [id.clone(), id.clone()], "its own");
        ensure!(two.value(&format!("SELECT IS_FREE_LOCK('{name}')"))? == "0");
        one.run(&format!("SELECT RELEASE_LOCK('{name}')"))?;
        ensure!(two.value(&question)?.is_empty(), "nobody has it");
    }
    // somebody who is no client of Weir's has no other id than the server's
    let mut direct = cluster.client(0)?;
    direct.rows(&format!("SELECT GET_LOCK('{name}', 1)"))?;
    ensure!(two.value(&question)? == cluster.value(0, &question)?);
    Ok(())
}

fn the_servers_lists_are_searched_with_the_servers_own_id(cluster: &'static Cluster) -> Result<()> {
    let weir = start(cluster)?;
    let mut client = weir.client()?;
    let count = "SELECT COUNT(*) FROM information_schema.processlist WHERE id = CONNECTION_ID()";
    ensure!(client.value(count)? == "1");
    client.run("USE information_schema")?;
    ensure!(client.value("SELECT COUNT(*) FROM processlist WHERE id = CONNECTION_ID()")? == "1");
    Ok(())
}

fn an_account_without_the_privilege_sees_the_servers_id(cluster: &'static Cluster) -> Result<()> {
    let account = format!("plain_id_{}", std::process::id());
    let sql =
        format!("CREATE USER '{account}'@'%' IDENTIFIED BY 'pw'; GRANT SELECT ON *.* TO '{account}'@'%'");
    cluster.sql(0, &sql)?;
    let namespace = Namespace::at("app", cluster.primary()?.port, &[])
        .users_are(vec![User::of(cluster)])
        .set("slices.0.account.user", account.clone())
        .set("slices.0.account.password", "pw");
    let weir = Weir::start(&Options::of(vec![namespace]).greeting(cluster.version()))?;
    let mut client = weir.client()?;
    ensure!(
        client.value("SELECT CONNECTION_ID()")? == client.id().to_string(),
        "on its own it is known here"
    );
    let threads = format!("SELECT id FROM information_schema.processlist WHERE user = '{account}'");
    let threads = cluster.client(0)?.rows(&threads)?;
    let seen = client.value("SELECT CONNECTION_ID() + 0")?;
    ensure!(threads.iter().any(|row| row.first().unwrap().as_deref() == Some(&*seen)), "{seen}: {threads:?}");
    drop(weir);
    cluster.sql(0, &format!("DROP USER '{account}'@'%'"))?;
    Ok(())
}
