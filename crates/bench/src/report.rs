//! What a person reads.

use std::time::Duration;

use crate::arguments::Plan;
use crate::idle::IdleRow;
use crate::measure::Row;
use crate::rig::Way;
use crate::workload::{TRANSACTION_STATEMENTS, Workload};

/// Versions of what is measured.
#[derive(Clone, Debug)]
pub(crate) struct Versions {
    pub(crate) server: String,
    pub(crate) haproxy: String,
    pub(crate) weir: String,
}

/// What is measured, and how to read the table.
pub(crate) fn preface(plan: &Plan, versions: &Versions) -> String {
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let Versions { server, haproxy, weir } = versions;
    let (repetitions, measure, warm_up) =
        (plan.repetitions, plan.measure.as_secs_f64(), plan.warm_up.as_secs_f64());
    let quick = if plan.is_quick { "QUICK: few, short repetitions; the figures are rough.\n" } else { "" };
    format!(
        "{} {server}: a primary and one replica, on the same {cores} cores as everything else.\n\
         direct   clients log in to the replica for reads, to the primary for read_write\n\
         haproxy  {haproxy}, TCP mode, {cores} threads: one port relays to the replica, one to the primary\n\
         weir     {weir}: one port; reads are split to the replica, transactions go to the primary, over at most 8\n\
         \x20        connections to each; limits and metrics are on\n\
         Figures are medians of {repetitions} repetitions of {measure:.1} s, the three taking turns, each after \
         {warm_up:.1} s of warm-up.\n\
         spread: slowest to fastest repetition, as a share of the median. CPU: user and system time per statement,\n\
         of the proxy's process and of both servers together. read_write: BEGIN, two point selects, UPDATE, DELETE,\n\
         INSERT, COMMIT, counted as {TRANSACTION_STATEMENTS} statements. dirty_sessions: point selects of clients a \
         quarter of\n\
         which set variables, one in twenty user variables, one in five prepares; clean_sessions: of clients that do not.\n\
         {quick}",
        plan.server,
    )
}

/// The table's head.
pub(crate) fn heading() -> String {
    format!(
        "{:<21} {:>7}  {:<7} {:>10} {:>6} {:>9} {:>9} {:>9} {:>9} {:>6}",
        "workload",
        "clients",
        "path",
        "stmt/s",
        "spread",
        "p50 µs",
        "p99 µs",
        "proxy µs",
        "server µs",
        "errors"
    )
}

/// The table's lines of one cell.
pub(crate) fn lines(rows: &[Row]) -> Vec<String> {
    let mut lines = Vec::new();
    for row in rows {
        let proxy = match row.way {
            Way::Direct => "-".to_owned(),
            Way::HaProxy | Way::Weir => format!("{:.1}", row.proxy_cpu_us),
        };
        lines.push(format!(
            "{:<21} {:>7}  {:<7} {:>10.0} {:>5.0}% {:>9.0} {:>9.0} {proxy:>9} {:>9.1} {:>6}",
            row.workload.name(),
            row.clients,
            row.way.name(),
            row.statements_per_s,
            row.spread * 100.0,
            row.p50_us,
            row.p99_us,
            row.server_cpu_us,
            row.errors,
        ));
        if row.workload == Workload::ReadWrite {
            let (p50, p99) = (row.transaction_p50_us, row.transaction_p99_us);
            lines.push(format!("{:>56} {p50:>9.0} {p99:>9.0}", "whole transactions:"));
        }
        lines.extend(row.first_error.iter().map(|error| format!("{:>40} first error: {error}", "")));
    }
    lines
}

/// One moment of idle clients.
pub(crate) fn idle_line(row: &IdleRow) -> String {
    let kind = if row.tls { "TLS" } else { "plain" };
    let when = match row.after {
        Duration::ZERO => "right away".to_owned(),
        after => format!("{} s later", after.as_secs()),
    };
    format!(
        "idle, {} {kind} clients, {when}: {} bytes of memory per client",
        row.clients, row.bytes_per_client
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_stand_below_their_headings() {
        let row = Row {
            way: Way::HaProxy,
            workload: Workload::PointSelectPrepared,
            clients: 256,
            statements_per_s: 123_456.7,
            spread: 0.07,
            p50_us: 1_234.0,
            p99_us: 23_456.0,
            transaction_p50_us: 0.0,
            transaction_p99_us: 0.0,
            proxy_cpu_us: 12.34,
            server_cpu_us: 45.67,
            errors: 0,
            first_error: None,
        };
        let direct = Row { way: Way::Direct, workload: Workload::ReadWrite, ..row.clone() };
        let printed = lines(&[row, direct]);
        let width = heading().chars().count();
        assert_eq!(printed.iter().map(|line| line.chars().count()).max(), Some(width), "{printed:#?}");
        assert!(printed[0].contains(" 123457 "), "{printed:#?}");
        assert!(printed[0].contains(" 12.3 "), "{printed:#?}");
        assert!(printed[1].contains(" - "), "no proxy, no CPU of it: {printed:#?}");
        assert!(printed[2].contains("whole transactions:"), "{printed:#?}");
    }

    #[test]
    fn idle_clients_are_told_apart() {
        let row =
            IdleRow { tls: true, clients: 8_000, after: Duration::from_secs(60), bytes_per_client: 20_481 };
        assert_eq!(idle_line(&row), "idle, 8000 TLS clients, 60 s later: 20481 bytes of memory per client");
        let first = IdleRow { tls: false, after: Duration::ZERO, ..row };
        assert!(idle_line(&first).contains("plain clients, right away:"));
    }
}
