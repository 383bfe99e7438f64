//! ROW_COUNT() after commands that Weir answers itself: they count as the session's last, as at the server.

use anyhow::{Context, Result, ensure};
use weir_e2e::client::Client;
use weir_e2e::on_both_servers;
use weir_e2e::pair::{Databases, Pair};
use weir_e2e::weir::{Options, Weir};
use weir_testkit::Cluster;

on_both_servers!(what_weir_answers_itself_counts);

fn what_weir_answers_itself_counts(cluster: &'static Cluster) -> Result<()> {
    let weir = Weir::start(&Options::on(cluster)?)?;
    let databases = Databases::create(cluster, "rowcount")?;
    databases
        .prepare("CREATE TABLE t (id INT PRIMARY KEY, k INT); INSERT INTO t VALUES (1, 0), (2, 0), (3, 0); CREATE TABLE g (id INT PRIMARY KEY AUTO_INCREMENT, k INT)")?;
    let mut pair = Pair::connect(&weir, &databases, &weir.login(), "row count")?;
    let ids = pair.prepare("SELECT 1")?.context("it can be prepared")?;
    let alone = "SELECT ROW_COUNT()";
    // inside a larger statement only where the connection is surely the same
    for (begin, end, questions) in
        [("DO 1", "DO 1", &[alone][..]), ("BEGIN", "COMMIT", &[alone, "SELECT ROW_COUNT() + 1, 'more'"])]
    {
        for question in questions {
            for command in ["nothing", "PING", "STMT_RESET", "SET_OPTION"] {
                pair.query(begin)?;
                let updated = pair.query("UPDATE t SET k = k + 1")?;
                ensure!(updated.error().is_none(), "{updated:?}");
                match command {
                    "PING" => drop(pair.same(command, Client::ping)?),
                    "STMT_RESET" => drop(pair.same_with(ids, command, Client::reset_statement)?),
                    "SET_OPTION" => drop(pair.same(command, |c| c.set_option(1))?),
                    _ => {}
                }
                pair.query(question)?;
                pair.query(end)?;
            }
        }
    }
    // prepared after the statement that it asks about
    let question = pair.prepare(alone)?.context("it can be prepared")?;
    for insert in [false, true] {
        pair.query(if insert { "INSERT INTO g (k) SELECT k FROM t" } else { "UPDATE t SET k = k + 1" })?;
        let fresh = pair.prepare(alone)?.context("it can be prepared")?;
        pair.same_with(fresh, "prepared since", |c, id| c.execute(id, &[]))?;
        pair.query("INSERT INTO g (k) SELECT k FROM t")?;
        pair.prepare("SELECT 2")?;
        pair.query(alone)?;
        pair.query("INSERT INTO g (k) SELECT k FROM t")?;
        pair.same_with(question, "prepared before", |c, id| c.execute(id, &[]))?;
    }
    let differences = pair.into_differences();
    ensure!(differences.is_empty(), "{}", differences.join("\n"));
    Ok(())
}
