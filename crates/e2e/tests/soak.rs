//! Short forms of the long runs (`cargo xtask soak`): every answer is checked, and what is held in the end is what was held
//! at the start.

use std::sync::atomic::AtomicBool;

use anyhow::{Result, ensure};
use weir_e2e::on_both_servers;
use weir_soak::{ChurnOrder, Outcome, SessionsOrder, churn, sessions};
use weir_testkit::Cluster;

// one test, since the servers' own counts are looked at: two at once would see each other
on_both_servers!(every_answer_is_right_and_nothing_is_left);

fn every_answer_is_right_and_nothing_is_left(cluster: &'static Cluster) -> Result<()> {
    let stop = AtomicBool::new(false);
    let order = SessionsOrder::short();
    let outcome = sessions(cluster, &order, &stop)?;
    holds(&outcome, 100)?;
    let figures = &outcome.figures;
    ensure!(figures.logins >= u64::from(order.sessions + order.clean), "{figures:?}");
    ensure!(figures.backend_connections_max > 0 && figures.prepared_stmt_count_max > 0, "{figures:?}");

    let order = ChurnOrder::short();
    let outcome = churn(cluster, &order, &stop)?;
    holds(&outcome, order.texts)?;
    ensure!(outcome.figures.logins > order.logins, "{:?}", outcome.figures);
    Ok(())
}

fn holds(outcome: &Outcome, statements: u64) -> Result<()> {
    ensure!(outcome.missed.is_empty(), "{}\n{:?}", outcome.missed.join("\n"), outcome.figures);
    ensure!(outcome.figures.statements >= statements, "{:?}", outcome.figures);
    Ok(())
}
