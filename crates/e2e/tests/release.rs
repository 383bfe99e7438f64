//! COMMIT RELEASE and its like: the server closes the connection behind its answer, and so does Weir.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use weir_e2e::on_both_servers;
use weir_e2e::pair::{Databases, Pair};
use weir_e2e::weir::{Options, Weir};
use weir_testkit::Cluster;

on_both_servers!(release_ends_the_session, without_release_it_lives_on);

fn pair(weir: &Weir, databases: &Databases<'_>, title: &str) -> Result<Pair> {
    Pair::connect(weir, databases, &weir.login(), title)
}

fn release_ends_the_session(cluster: &'static Cluster) -> Result<()> {
    let weir = Weir::start(&Options::on(cluster)?)?;
    let databases = Databases::create(cluster, "release")?;
    databases.prepare("CREATE TABLE t (id INT PRIMARY KEY)")?;
    let texts = ["COMMIT RELEASE", "ROLLBACK RELEASE", "COMMIT AND NO CHAIN RELEASE"];
    for (number, text) in texts.iter().enumerate() {
        for prepared in [false, true] {
            let title = format!("{text}, prepared: {prepared}");
            let mut pair = pair(&weir, &databases, &title)?;
            pair.query("BEGIN")?;
            pair.query(&format!("INSERT INTO t VALUES ({})", number * 2 + usize::from(prepared)))?;
            if prepared {
                let ids = pair.prepare(text)?.context("RELEASE can be prepared")?;
                pair.same_with(ids, text, |client, id| client.execute(id, &[]))?;
            } else {
                pair.query(text)?;
            }
            for (whose, client) in [("the server", &mut pair.direct), ("Weir", &mut pair.weir)] {
                let after = client.ping();
                ensure!(after.as_ref().is_err_and(|e| e.is_lost()), "{title}: {whose} goes on: {after:?}");
            }
            let differences = pair.into_differences();
            ensure!(differences.is_empty(), "{}", differences.join("\n"));
        }
    }
    let committed = |name: &str| cluster.value(0, &format!("SELECT GROUP_CONCAT(id) FROM `{name}`.t"));
    ensure!(committed(&databases.direct)? == committed(&databases.weir)?);
    weir.wait_for("the sessions have ended", Duration::from_secs(5), |m| {
        m.sum("weir_client_connections", &[]) == 0.0 && m.sum("weir_pool_in_use", &[]) == 0.0
    })?;
    // the pool's next connection is one that lives
    ensure!(weir.client()?.value("SELECT 7")? == "7");
    Ok(())
}

fn without_release_it_lives_on(cluster: &'static Cluster) -> Result<()> {
    let weir = Weir::start(&Options::on(cluster)?)?;
    let databases = Databases::create(cluster, "norelease")?;
    let mut pair = pair(&weir, &databases, "no release")?;
    for text in
        ["COMMIT", "COMMIT NO RELEASE", "COMMIT AND CHAIN NO RELEASE", "ROLLBACK AND NO CHAIN NO RELEASE"]
    {
        pair.query("BEGIN")?;
        pair.query(text)?;
        pair.query("ROLLBACK")?;
        pair.query("SELECT 1")?;
    }
    let differences = pair.into_differences();
    ensure!(differences.is_empty(), "{}", differences.join("\n"));
    Ok(())
}
