//! What the figures are to show: each target beside what was measured.

use crate::idle::IdleRow;
use crate::measure::Row;
use crate::rig::Way;
use crate::workload::Workload;

/// Bounds on point selects in one run: what is compared, at how many clients, and how.
const CPU_OF_HAPROXY_AT_MOST: f64 = 1.3;
const THROUGHPUT_OF_HAPROXY_AT_LEAST: f64 = 1.15;
const THROUGHPUT_OF_DIRECT_AT_LEAST: f64 = 1.0;
/// CPU of proxy and servers together, of sessions that set something and of those that do not.
const CPU_OF_CLEAN_AT_MOST: f64 = 1.25;
/// Bytes for each idle client.
const PLAIN_AT_MOST: u64 = 8 << 10;
const TLS_AT_MOST: u64 = 25 << 10;

/// A line for each target whose figures were measured.
pub(crate) fn targets(rows: &[Row], idle: &[IdleRow]) -> Vec<String> {
    let figure = |clients: u32, way: Way, of: fn(&Row) -> f64| {
        let is_it =
            |row: &&Row| row.workload == Workload::PointSelect && row.clients == clients && row.way == way;
        rows.iter().find(is_it).map(of).filter(|figure| *figure > 0.0)
    };
    let ratio = |clients, beside, of| Some(figure(clients, Way::Weir, of)? / figure(clients, beside, of)?);
    let throughput = |row: &Row| row.statements_per_s;
    let mut lines = Vec::new();
    if let Some(cpu) = ratio(64, Way::HaProxy, |row| row.proxy_cpu_us) {
        lines.push(line(
            "point_select, 64 clients: CPU per statement, of HAProxy's",
            &format!("{cpu:.2}"),
            &format!("at most {CPU_OF_HAPROXY_AT_MOST}"),
            cpu <= CPU_OF_HAPROXY_AT_MOST,
        ));
    }
    for (clients, beside, bound) in [
        (64, Way::HaProxy, THROUGHPUT_OF_HAPROXY_AT_LEAST),
        (256, Way::Direct, THROUGHPUT_OF_DIRECT_AT_LEAST),
    ] {
        if let Some(rate) = ratio(clients, beside, throughput) {
            lines.push(line(
                &format!("point_select, {clients} clients: throughput, of {}'s", beside.name()),
                &format!("{rate:.2}"),
                &format!("at least {bound}"),
                rate >= bound,
            ));
        }
    }
    for clients in [64, 256] {
        let cpu = |workload: Workload| {
            let is_it =
                |row: &&Row| row.workload == workload && row.clients == clients && row.way == Way::Weir;
            let cpu = rows.iter().find(is_it).map(|row| row.proxy_cpu_us + row.server_cpu_us);
            cpu.filter(|cpu| *cpu > 0.0)
        };
        let (dirty, clean) = (cpu(Workload::DirtySessions), cpu(Workload::CleanSessions));
        if let Some(ratio) = dirty.and_then(|dirty| Some(dirty / clean?)) {
            lines.push(line(
                &format!("dirty_sessions, {clients} clients: CPU of all, of clean_sessions'"),
                &format!("{ratio:.2}"),
                &format!("at most {CPU_OF_CLEAN_AT_MOST}"),
                ratio <= CPU_OF_CLEAN_AT_MOST,
            ));
        }
    }
    for row in idle {
        let (kind, bound) = if row.tls { ("TLS", TLS_AT_MOST) } else { ("plain", PLAIN_AT_MOST) };
        lines.push(line(
            &format!("idle {kind} client after {} s: bytes", row.after.as_secs()),
            &row.bytes_per_client.to_string(),
            &format!("at most {bound}"),
            row.bytes_per_client <= bound,
        ));
    }
    lines
}

fn line(what: &str, measured: &str, bound: &str, is_met: bool) -> String {
    let verdict = if is_met { "met" } else { "MISSED" };
    format!("{what:<58} {measured:>8}  {bound:<16} {verdict}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn row(way: Way, clients: u32, statements_per_s: f64, proxy_cpu_us: f64) -> Row {
        Row {
            way,
            workload: Workload::PointSelect,
            clients,
            statements_per_s,
            spread: 0.0,
            p50_us: 0.0,
            p99_us: 0.0,
            transaction_p50_us: 0.0,
            transaction_p99_us: 0.0,
            proxy_cpu_us,
            server_cpu_us: 0.0,
            errors: 0,
            first_error: None,
        }
    }

    fn verdicts(rows: &[Row], idle: &[IdleRow]) -> Vec<bool> {
        targets(rows, idle).iter().map(|line| !line.ends_with("MISSED")).collect()
    }

    #[test]
    fn each_target_is_met_at_its_bound_and_missed_beyond() {
        let rows = |cpu, rate_64, rate_256| {
            vec![
                row(Way::Direct, 64, 500.0, 0.0),
                row(Way::HaProxy, 64, 100.0, 10.0),
                row(Way::Weir, 64, rate_64, cpu),
                row(Way::Direct, 256, 100.0, 0.0),
                row(Way::Weir, 256, rate_256, 99.0),
            ]
        };
        assert_eq!(verdicts(&rows(13.0, 115.0, 100.0), &[]), [true, true, true]);
        assert_eq!(verdicts(&rows(13.1, 114.0, 99.0), &[]), [false, false, false]);
    }

    #[test]
    fn idle_clients_have_a_bound_with_tls_and_one_without() {
        let idle =
            |tls, bytes_per_client| IdleRow { tls, clients: 1, after: Duration::ZERO, bytes_per_client };
        let rows = [idle(false, 8_192), idle(false, 8_193), idle(true, 25_600), idle(true, 25_601)];
        assert_eq!(verdicts(&[], &rows), [true, false, true, false]);
    }

    #[test]
    fn sessions_that_set_something_are_compared_with_those_that_do_not() {
        let of = |workload, proxy_cpu_us, server_cpu_us| Row {
            workload,
            server_cpu_us,
            ..row(Way::Weir, 64, 1.0, proxy_cpu_us)
        };
        let clean = of(Workload::CleanSessions, 10.0, 30.0);
        for (proxy, server, is_met) in [(20.0, 30.0, true), (10.0, 40.0, true), (20.0, 31.0, false)] {
            let rows = [clean.clone(), of(Workload::DirtySessions, proxy, server)];
            assert_eq!(verdicts(&rows, &[]), [is_met]);
        }
        assert!(verdicts(&[clean], &[]).is_empty());
    }

    #[test]
    fn what_was_not_measured_is_not_judged() {
        assert!(targets(&[row(Way::Weir, 64, 1.0, 1.0)], &[]).is_empty());
    }
}
