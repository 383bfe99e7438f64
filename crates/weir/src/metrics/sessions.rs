//! Client connections and what they do.

use std::{collections::HashMap, fmt, sync::Arc};

use prometheus_client::encoding::EncodeLabelSet;
use weir_gateway::{Gateway, handle::Phase, tenant::Tenant};

use super::page::Page;

/// Phases of a session that is logged in, and their names.
const PHASES: [(Phase, &str); 5] = [
    (Phase::Idle, "idle"),
    (Phase::IdleHolding, "idle_holding"),
    (Phase::Busy, "busy"),
    (Phase::Writing, "writing"),
    (Phase::Reading, "reading"),
];

pub(super) fn write(page: &mut Page<'_>, gateway: &Gateway, tenants: &[&Arc<Tenant>]) -> fmt::Result {
    page.process_gauge(
        "weir_client_connections",
        "Client connections now, those logging in included.",
        &gateway.connections(),
    )?;
    page.process_gauge(
        "weir_client_connections_limit",
        "Client connections that there may be at once (limits.client_connections).",
        &gateway.limits().client_connections,
    )?;
    page.process_gauge(
        "weir_in_flight_bytes",
        "Memory taken by large requests and answers.",
        &gateway.in_flight.held(),
    )?;
    page.process_gauge(
        "weir_in_flight_bytes_limit",
        "Memory that large requests and answers may take (limits.bytes_in_flight).",
        &gateway.in_flight.limit(),
    )?;
    page.gauge(
        "weir_sessions",
        "Sessions by namespace and phase: idle, idle_holding (a transaction or a pin is open), busy, writing (the \
         client takes no bytes), reading (the client sends no more of a large request); login, with an empty namespace, is not logged in yet.",
        samples(gateway, tenants),
    )
}

/// Every namespace has a sample for each phase, so that a count that falls to zero does not vanish.
fn samples<'a>(
    gateway: &Gateway,
    tenants: &'a [&Arc<Tenant>],
) -> impl Iterator<Item = (impl EncodeLabelSet + use<'a>, u64)> {
    let mut counts: HashMap<(Arc<str>, u8), u64> = HashMap::new();
    for (namespace, phase) in gateway.phases() {
        *counts.entry((namespace, phase as u8)).or_default() += 1;
    }
    let login =
        counts.iter().filter(|((namespace, _), _)| namespace.is_empty()).map(|(_, count)| count).sum();
    let logging_in = std::iter::once(([("namespace", ""), ("phase", "login")], login));
    let phases =
        tenants.iter().flat_map(|tenant| PHASES.iter().map(move |(phase, name)| (*tenant, *phase, *name)));
    logging_in.chain(phases.map(move |(tenant, phase, name)| {
        let count = counts.get(&(Arc::clone(&tenant.name), phase as u8)).copied().unwrap_or(0);
        ([("namespace", &*tenant.name), ("phase", name)], count)
    }))
}
