//! Cells of the table: one workload, one number of clients, all three ways in turn.

use anyhow::Result;
use weir_testkit::Cluster;

use crate::arguments::Plan;
use crate::data::REPLICA_PATIENCE;
use crate::generator::Generator;
use crate::generator::job::{Job, Measured};
use crate::rig::{Proxies, Rig, Way};
use crate::workload::Workload;

/// What one way came to in one cell: medians over the repetitions, each figure's own.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub(crate) way: Way,
    pub(crate) workload: Workload,
    pub(crate) clients: u32,
    pub(crate) statements_per_s: f64,
    /// From the slowest repetition to the fastest, as a share of the median.
    pub(crate) spread: f64,
    pub(crate) p50_us: f64,
    pub(crate) p99_us: f64,
    pub(crate) transaction_p50_us: f64,
    pub(crate) transaction_p99_us: f64,
    /// CPU time for each statement, user and system, microseconds.
    pub(crate) proxy_cpu_us: f64,
    pub(crate) server_cpu_us: f64,
    /// Of all repetitions together.
    pub(crate) errors: u64,
    pub(crate) first_error: Option<String>,
}

/// Measures one cell. The ways take turns, so that whatever else the machine does meets all of them alike.
pub(crate) fn measure_cell(
    rig: &Rig,
    proxies: &Proxies,
    plan: &Plan,
    workload: Workload,
    clients: u32,
) -> Result<Vec<Row>> {
    let targets = proxies.targets(rig, workload)?;
    let job = Job::Load { workload, clients, rows: crate::data::ROWS, targets, servers: rig.servers()? };
    let mut generator = Generator::start(&job)?;
    let mut runs = Way::ALL.map(|way| (way, Vec::new()));
    for _ in 0..plan.repetitions {
        for (target, (_, measured)) in runs.iter_mut().enumerate() {
            rig.check()?;
            if !workload.is_read() {
                // What the replica has yet to copy must not be charged to the next way.
                rig.cluster.wait_for_replicas(REPLICA_PATIENCE)?;
            }
            measured.push(generator.run(target, plan.warm_up, plan.measure)?);
        }
    }
    drop(generator);
    if !workload.is_read() {
        rig.cluster.wait_for_replicas(REPLICA_PATIENCE)?;
    }
    Ok(runs.iter().map(|(way, measured)| Row::of(*way, workload, clients, measured)).collect())
}

impl Row {
    fn of(way: Way, workload: Workload, clients: u32, runs: &[Measured]) -> Row {
        let of_all = |figure: &dyn Fn(&Measured) -> f64| -> Vec<f64> { runs.iter().map(figure).collect() };
        let middle = |figure: &dyn Fn(&Measured) -> f64| median(&of_all(figure));
        let by_statement = |cpu: f64, run: &Measured| cpu / (run.statements.max(1) as f64);
        let rates = of_all(&|run| run.statements as f64 / run.seconds);
        let slowest = rates.iter().copied().fold(f64::INFINITY, f64::min);
        let fastest = rates.iter().copied().fold(0.0, f64::max);
        let statements_per_s = median(&rates);
        Row {
            way,
            workload,
            clients,
            statements_per_s,
            spread: (fastest - slowest) / statements_per_s.max(1.0),
            p50_us: middle(&|run| run.p50_us),
            p99_us: middle(&|run| run.p99_us),
            transaction_p50_us: middle(&|run| run.transaction_p50_us),
            transaction_p99_us: middle(&|run| run.transaction_p99_us),
            proxy_cpu_us: middle(&|run| by_statement(run.proxy_cpu_us, run)),
            server_cpu_us: middle(&|run| by_statement(run.server_cpu_us, run)),
            errors: runs.iter().map(|run| run.errors).sum(),
            first_error: runs.iter().find_map(|run| run.first_error.clone()),
        }
    }
}

/// The middle of an odd number of values, the mean of both middles of an even number, 0 of none.
fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let half = sorted.len() / 2;
    let at = |index: usize| sorted.get(index).copied().unwrap_or(0.0);
    if sorted.len() % 2 == 1 { at(half) } else { (at(half.saturating_sub(1)) + at(half)) / 2.0 }
}

/// SELECTs that the servers have run since their start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Routing {
    primary: u64,
    replica: u64,
}

impl Routing {
    /// As the servers' counters stand.
    pub(crate) fn of(rig: &Rig) -> Result<Routing> {
        Ok(Routing { primary: selects(&rig.cluster, 0)?, replica: selects(&rig.cluster, 1)? })
    }

    /// Adds what was run between two moments.
    pub(crate) fn add(&mut self, before: Routing, after: Routing) {
        self.primary += after.primary.saturating_sub(before.primary);
        self.replica += after.replica.saturating_sub(before.replica);
    }

    /// The share that the primary ran; nothing if none was run.
    pub(crate) fn share_of_primary(self) -> Option<f64> {
        let all = self.primary + self.replica;
        (all > 0).then(|| self.primary as f64 / all as f64)
    }
}

fn selects(cluster: &Cluster, index: usize) -> Result<u64> {
    let rows = cluster.sql(index, "SHOW GLOBAL STATUS LIKE 'Com_select'")?;
    let value = rows.into_iter().flatten().flatten().nth(1);
    Ok(value.unwrap_or_default().parse()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_of_odd_and_even_numbers_of_values() {
        for (values, expected) in [
            (&[][..], 0.0),
            (&[3.0], 3.0),
            (&[9.0, 1.0], 5.0),
            (&[7.0, 1.0, 3.0], 3.0),
            (&[4.0, 1.0, 2.0, 9.0], 3.0),
        ] {
            assert_eq!(median(values), expected, "{values:?}");
        }
    }

    #[test]
    fn a_row_is_made_of_medians_and_counts_every_error() {
        let run = |statements, errors| Measured {
            statements,
            seconds: 2.0,
            p50_us: statements as f64,
            proxy_cpu_us: 1_000.0,
            errors,
            first_error: (errors > 0).then(|| "lost".to_owned()),
            ..Measured::default()
        };
        let row = Row::of(Way::Weir, Workload::PointSelect, 16, &[run(100, 0), run(400, 2), run(200, 1)]);
        assert_eq!((row.statements_per_s, row.spread, row.p50_us), (100.0, 1.5, 200.0));
        assert_eq!((row.proxy_cpu_us, row.errors, row.first_error.as_deref()), (5.0, 3, Some("lost")));
    }
}
