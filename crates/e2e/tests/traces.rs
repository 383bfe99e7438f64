//! A session sees nothing of user variables that others had on its connection, and everything of its own.

use anyhow::{Result, ensure};
use weir_e2e::on_both_servers;
use weir_e2e::weir::{Options, User, Weir};
use weir_testkit::Cluster;

on_both_servers!(what_was_just_assigned_outlives_the_traces_of_others);

fn what_was_just_assigned_outlives_the_traces_of_others(cluster: &'static Cluster) -> Result<()> {
    let users = vec![User::of(cluster).without_split()];
    let weir = Weir::start(&Options::on(cluster)?.users(users).set("pool.capacity", 1))?;
    let (mut one, mut other) = (weir.client()?, weir.client()?);
    for round in 0..3 {
        other.run("SET @theirs = 1")?;
        one.run(&format!("SET @mine = {round}"))?;
        // naming the other's has its traces taken away, with all else that is on the connection
        for sql in ["SELECT CONCAT_WS(',', @mine, @theirs)", "SELECT CONCAT_WS(',', @mine)"] {
            let seen = one.value(sql)?;
            ensure!(seen == round.to_string(), "{sql}: {seen} in round {round}");
        }
        let seen = other.value("SELECT CONCAT_WS(',', @theirs, @mine)")?;
        ensure!(seen == "1", "the other sees {seen} in round {round}");
    }
    Ok(())
}
