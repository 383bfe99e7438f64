//! The figures for programs: `{"rows": […], "idle": […]}`.

use serde::Serialize;

use crate::idle::IdleRow;
use crate::measure::Row;

#[derive(Serialize)]
struct Figures {
    rows: Vec<RowFigures>,
    /// In the order of time: two moments without TLS, two with it.
    idle: Vec<IdleFigures>,
}

#[derive(Serialize)]
struct RowFigures {
    proxy: &'static str,
    workload: &'static str,
    clients: u32,
    statements_per_s: f64,
    p50_us: f64,
    p99_us: f64,
    proxy_cpu_us: f64,
    server_cpu_us: f64,
    errors: u64,
}

#[derive(Serialize)]
struct IdleFigures {
    tls: bool,
    clients: u32,
    bytes_per_client: u64,
}

/// All figures as JSON.
pub(crate) fn figures(rows: &[Row], idle: &[IdleRow]) -> serde_json::Result<String> {
    let rows = rows.iter().map(|row| RowFigures {
        proxy: row.way.name(),
        workload: row.workload.name(),
        clients: row.clients,
        statements_per_s: rounded(row.statements_per_s),
        p50_us: rounded(row.p50_us),
        p99_us: rounded(row.p99_us),
        proxy_cpu_us: rounded(row.proxy_cpu_us),
        server_cpu_us: rounded(row.server_cpu_us),
        errors: row.errors,
    });
    let idle = idle.iter().map(|row| IdleFigures {
        tls: row.tls,
        clients: row.clients,
        bytes_per_client: row.bytes_per_client,
    });
    serde_json::to_string_pretty(&Figures { rows: rows.collect(), idle: idle.collect() })
}

/// More digits than these say nothing.
fn rounded(figure: f64) -> f64 {
    (figure * 100.0).round() / 100.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rig::Way;
    use crate::workload::Workload;
    use std::time::Duration;

    #[test]
    fn has_the_names_that_programs_read() {
        let row = Row {
            way: Way::Weir,
            workload: Workload::Blob16m,
            clients: 16,
            statements_per_s: 61.2345,
            spread: 0.1,
            p50_us: 1.0,
            p99_us: 2.0,
            transaction_p50_us: 0.0,
            transaction_p99_us: 0.0,
            proxy_cpu_us: 3.0,
            server_cpu_us: 4.0,
            errors: 5,
            first_error: None,
        };
        let idle = IdleRow { tls: true, clients: 8_000, after: Duration::ZERO, bytes_per_client: 20_000 };
        let text = figures(&[row], &[idle]).unwrap();
        let expected = serde_json::json!({
            "rows": [{
                "proxy": "weir", "workload": "blob_16m", "clients": 16, "statements_per_s": 61.23,
                "p50_us": 1.0, "p99_us": 2.0, "proxy_cpu_us": 3.0, "server_cpu_us": 4.0, "errors": 5
            }],
            "idle": [{ "tls": true, "clients": 8000, "bytes_per_client": 20000 }],
        });
        assert_eq!(serde_json::from_str::<serde_json::Value>(&text).unwrap(), expected);
    }
}
