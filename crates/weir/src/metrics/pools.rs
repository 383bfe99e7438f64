//! Connections to servers, by namespace, instance and role.

use std::{fmt, sync::Arc};

use weir_backend::{Pool, PoolMetrics};
use weir_gateway::tenant::Tenant;

use super::{
    page::{Labels, Page},
    statements::seconds,
};

type Row = (&'static str, &'static str, fn(&PoolMetrics) -> u64);

const COUNTERS: [Row; 11] = [
    ("weir_pool_checkouts", "Connections lent to sessions.", |m| m.checkouts),
    ("weir_pool_waits", "Checkouts that had to wait in the queue.", |m| m.waits),
    ("weir_pool_timeouts", "Waits that ended without a connection (pool.checkout_timeout).", |m| m.timeouts),
    ("weir_pool_queue_full", "Checkouts refused since the queue was full (pool.max_waiters).", |m| {
        m.queue_full
    }),
    ("weir_pool_dials", "Connections dialed.", |m| m.dials),
    ("weir_pool_dial_errors", "Dials that failed.", |m| m.dial_errors),
    ("weir_pool_resets", "Connections reset before another session got them.", |m| m.resets),
    ("weir_pool_dead", "Connections found dead when they were to be lent.", |m| m.dead),
    ("weir_pool_retired", "Connections closed for age or idleness.", |m| m.retired),
    ("weir_pool_moved", "Connections moved from one worker to another.", |m| m.moved),
    ("weir_pool_riders", "Statements sent behind another session's, in the same write.", |m| m.riders),
];

const GAUGES: [Row; 5] = [
    ("weir_pool_in_use", "Connections lent now.", |m| m.in_use),
    ("weir_pool_idle", "Connections idle now.", |m| m.idle),
    ("weir_pool_open", "Connections open now, those being dialed included.", |m| m.open),
    ("weir_pool_control", "Connections for KILL, beyond pool.capacity: one or none.", |m| m.control),
    ("weir_pool_waiting", "Sessions waiting for a connection now.", |m| m.waiting),
];

pub(super) fn write(page: &mut Page<'_>, tenants: &[&Arc<Tenant>]) -> fmt::Result {
    let pools: Vec<(Labels<'_, 3>, &Pool, PoolMetrics)> = tenants
        .iter()
        .flat_map(|tenant| by_role(tenant))
        .map(|(labels, pool)| (labels, pool, pool.metrics()))
        .collect();
    for (name, help, read) in COUNTERS {
        page.counter(name, help, pools.iter().map(|(labels, _, metrics)| (*labels, read(metrics))))?;
    }
    page.counter(
        "weir_pool_wait_seconds",
        "Time that checkouts spent in the queue.",
        pools.iter().map(|(labels, _, metrics)| (*labels, seconds(metrics.wait_micros))),
    )?;
    for (name, help, read) in GAUGES {
        page.gauge(name, help, pools.iter().map(|(labels, _, metrics)| (*labels, read(metrics))))?;
    }
    page.gauge(
        "weir_pool_capacity",
        "Connections that there may be at once (pool.capacity).",
        pools.iter().map(|(labels, pool, _)| (*labels, pool.settings().capacity)),
    )?;
    page.gauge(
        "weir_instance_up",
        "1 if the instance can be used, as far as known; 0 while it is being tried again.",
        pools.iter().map(|(labels, pool, _)| (*labels, u32::from(pool.health().is_up()))),
    )
}

fn by_role(tenant: &Tenant) -> impl Iterator<Item = (Labels<'_, 3>, &Pool)> {
    let replicas = tenant.replicas.iter().map(|replica| ("replica", &replica.pool));
    std::iter::once(("primary", &tenant.primary)).chain(replicas).map(|(role, pool)| {
        ([("namespace", &*tenant.name), ("instance", pool.instance()), ("role", role)], pool.as_ref())
    })
}
