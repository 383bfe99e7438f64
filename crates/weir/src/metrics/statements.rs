//! Statements: how many, how slow, where they went.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use weir_gateway::{
    metrics::{BUCKETS_US, Counters, KINDS, KindCounters},
    session::pin::REASONS,
    tenant::Tenant,
};

use super::page::{Histogram, Labels, Page};

type Row = (&'static str, &'static str, fn(&Counters) -> &AtomicU64);

/// What is counted by namespace alone.
const BY_NAMESPACE: [Row; 9] = [
    ("weir_statements_to_primary", "Statements sent to a primary.", |c| &c.to_primary),
    ("weir_statements_to_replica", "Statements sent to a replica.", |c| &c.to_replica),
    (
        "weir_statements_moved_to_primary",
        "Statements that a replica refused as writes and the primary then ran.",
        |c| &c.moved_to_primary,
    ),
    ("weir_statements_retried", "Statements sent a second time, since their connection was dead.", |c| {
        &c.retried
    }),
    ("weir_statements_abandoned", "Statements killed while they ran, since their client had left.", |c| {
        &c.abandoned
    }),
    ("weir_state_round_trips", "Extra round trips to give a connection a session's state.", |c| {
        &c.state_round_trips
    }),
    ("weir_states_ahead", "Times that a session's state was set in the packet of its statement.", |c| {
        &c.states_ahead
    }),
    ("weir_client_received_bytes", "Bytes received from clients.", |c| &c.bytes_in),
    ("weir_client_sent_bytes", "Bytes sent to clients.", |c| &c.bytes_out),
];

pub(super) fn write(page: &mut Page<'_>, tenants: &[&Arc<Tenant>]) -> fmt::Result {
    let by_kind: Vec<(Labels<'_, 2>, Kind)> = tenants.iter().flat_map(|tenant| kinds(tenant)).collect();
    page.counter(
        "weir_statements",
        "Statements answered, by namespace and kind.",
        by_kind.iter().map(|(labels, kind)| (*labels, kind.statements)),
    )?;
    page.counter(
        "weir_statement_errors",
        "Statements answered with an error, by namespace and kind.",
        by_kind.iter().map(|(labels, kind)| (*labels, kind.errors)),
    )?;
    page.histogram(
        "weir_statement_duration_seconds",
        "Time from a statement's arrival to the end of its answer, by namespace and kind.",
        by_kind.iter().map(|(labels, kind)| (*labels, kind.histogram())),
    )?;
    for (name, help, read) in BY_NAMESPACE {
        page.counter(name, help, tenants.iter().map(|t| ([("namespace", &*t.name)], sum(t, read))))?;
    }
    page.counter(
        "weir_pins",
        "Times that a session began to keep its connection beyond a transaction, by namespace and reason.",
        tenants.iter().flat_map(|tenant| pins(tenant)),
    )
}

/// Sums over the workers.
struct Kind {
    statements: u64,
    errors: u64,
    micros: u64,
    buckets: [u64; BUCKETS_US.len() + 1],
}

impl Kind {
    fn of<'a>(workers: impl Iterator<Item = &'a KindCounters>) -> Self {
        let mut sum = Self { statements: 0, errors: 0, micros: 0, buckets: [0; BUCKETS_US.len() + 1] };
        for counters in workers {
            sum.statements += counters.statements.load(Ordering::Relaxed);
            sum.errors += counters.errors.load(Ordering::Relaxed);
            sum.micros += counters.micros.load(Ordering::Relaxed);
            for (sum, count) in sum.buckets.iter_mut().zip(&counters.buckets) {
                *sum += count.load(Ordering::Relaxed);
            }
        }
        sum
    }

    fn histogram(&self) -> Histogram {
        let bounds = BUCKETS_US.iter().map(|&micros| seconds(micros)).chain([f64::INFINITY]);
        Histogram { sum: seconds(self.micros), buckets: bounds.zip(self.buckets).collect() }
    }
}

/// Kinds of which there was a statement.
fn kinds(tenant: &Tenant) -> impl Iterator<Item = (Labels<'_, 2>, Kind)> {
    KINDS.iter().filter_map(|(kind, name)| {
        let sum = Kind::of(tenant.shared.counters.iter().map(|counters| counters.kind(*kind)));
        (sum.statements > 0).then_some(([("namespace", &*tenant.name), ("kind", *name)], sum))
    })
}

/// Reasons that there was.
fn pins(tenant: &Tenant) -> impl Iterator<Item = (Labels<'_, 2>, u64)> {
    REASONS.iter().enumerate().filter_map(|(i, reason)| {
        let counts = tenant.shared.counters.iter().filter_map(|counters| counters.pins.get(i));
        let sum: u64 = counts.map(|count| count.load(Ordering::Relaxed)).sum();
        (sum > 0).then_some(([("namespace", &*tenant.name), ("reason", *reason)], sum))
    })
}

fn sum(tenant: &Tenant, read: fn(&Counters) -> &AtomicU64) -> u64 {
    tenant.shared.counters.iter().map(|counters| read(counters).load(Ordering::Relaxed)).sum()
}

/// A second has a million microseconds; what a sum of them loses as a float is below what anybody reads.
#[allow(clippy::cast_precision_loss, reason = "exact up to 2^53 microseconds, which are 285 years")]
pub(super) fn seconds(micros: u64) -> f64 {
    micros as f64 / 1e6
}
