//! Counters of statements. Each worker counts for itself; a scrape adds up.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use weir_sql::Kind;

/// Upper bounds of the latency buckets, microseconds: 50 µs to 100 s, about three a decade.
pub const BUCKETS_US: [u64; 20] = [
    50,
    100,
    200,
    500,
    1_000,
    2_000,
    5_000,
    10_000,
    20_000,
    50_000,
    100_000,
    200_000,
    500_000,
    1_000_000,
    2_000_000,
    5_000_000,
    10_000_000,
    20_000_000,
    50_000_000,
    100_000_000,
];

/// Names of the statement kinds, in the order of their numbers.
pub const KINDS: [(Kind, &str); 25] = [
    (Kind::Empty, "empty"),
    (Kind::Select, "select"),
    (Kind::Insert, "insert"),
    (Kind::Replace, "replace"),
    (Kind::Update, "update"),
    (Kind::Delete, "delete"),
    (Kind::Load, "load"),
    (Kind::Call, "call"),
    (Kind::Do, "do"),
    (Kind::Set, "set"),
    (Kind::Show, "show"),
    (Kind::Explain, "explain"),
    (Kind::Use, "use"),
    (Kind::Begin, "begin"),
    (Kind::Commit, "commit"),
    (Kind::Rollback, "rollback"),
    (Kind::Savepoint, "savepoint"),
    (Kind::Xa, "xa"),
    (Kind::Ddl, "ddl"),
    (Kind::Lock, "lock"),
    (Kind::Prepare, "prepare"),
    (Kind::Handler, "handler"),
    (Kind::Kill, "kill"),
    (Kind::Admin, "admin"),
    (Kind::Other, "other"),
];

/// What is counted of one kind of statement.
#[derive(Debug, Default)]
pub struct KindCounters {
    /// Statements answered.
    pub statements: AtomicU64,
    /// Of these, with an error.
    pub errors: AtomicU64,
    /// Sum of latencies, microseconds.
    pub micros: AtomicU64,
    /// Statements by latency, see [`BUCKETS_US`]; one more for what is slower.
    pub buckets: [AtomicU64; BUCKETS_US.len() + 1],
}

/// Counters of one namespace on one worker.
#[derive(Debug)]
pub struct Counters {
    kinds: [KindCounters; KINDS.len()],
    /// Statements sent to a primary.
    pub to_primary: AtomicU64,
    /// Statements sent to a replica.
    pub to_replica: AtomicU64,
    /// Statements that a replica refused as writes and the primary then ran.
    pub moved_to_primary: AtomicU64,
    /// Statements sent a second time, since their connection was dead.
    pub retried: AtomicU64,
    /// Statements that were killed, since their client had left.
    pub abandoned: AtomicU64,
    /// Extra round trips to give a connection a session's state.
    pub state_round_trips: AtomicU64,
    /// States that were set in the packet of the statement itself.
    pub states_ahead: AtomicU64,
    /// Bytes from clients.
    pub bytes_in: AtomicU64,
    /// Bytes to clients.
    pub bytes_out: AtomicU64,
    /// Times that a pin began, by reason.
    pub pins: [AtomicU64; crate::session::pin::REASONS.len()],
}

impl Default for Counters {
    fn default() -> Self {
        Self {
            kinds: std::array::from_fn(|_| KindCounters::default()),
            to_primary: AtomicU64::default(),
            to_replica: AtomicU64::default(),
            moved_to_primary: AtomicU64::default(),
            retried: AtomicU64::default(),
            abandoned: AtomicU64::default(),
            state_round_trips: AtomicU64::default(),
            states_ahead: AtomicU64::default(),
            bytes_in: AtomicU64::default(),
            bytes_out: AtomicU64::default(),
            pins: std::array::from_fn(|_| AtomicU64::default()),
        }
    }
}

impl Counters {
    /// Counters of one kind.
    #[must_use]
    pub fn kind(&self, kind: Kind) -> &KindCounters {
        #[allow(
            clippy::indexing_slicing,
            reason = "the array has an element for every kind; a test proves it"
        )]
        &self.kinds[kind as usize]
    }

    /// One statement was answered.
    pub fn answered(&self, kind: Kind, took: Duration, failed: bool) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let counters = self.kind(kind);
        bump(&counters.statements, 1);
        bump(&counters.micros, micros);
        if failed {
            bump(&counters.errors, 1);
        }
        let bucket = BUCKETS_US.partition_point(|&bound| bound < micros);
        if let Some(count) = counters.buckets.get(bucket) {
            bump(count, 1);
        }
    }
}

/// Only one worker writes a counter, so no locked instruction is needed; scrapes read it from elsewhere.
pub fn bump(counter: &AtomicU64, by: u64) {
    counter.store(counter.load(Ordering::Relaxed).wrapping_add(by), Ordering::Relaxed);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_its_place() {
        for (i, (kind, _)) in KINDS.iter().enumerate() {
            assert_eq!(*kind as usize, i, "{kind:?}");
        }
        assert_eq!(KINDS.last().map(|(k, _)| *k), Some(Kind::Other), "Other is the last kind");
    }

    #[test]
    fn a_latency_is_counted_in_the_first_bucket_that_holds_it() {
        let counters = Counters::default();
        for micros in [1, 50, 51, 200_000_000] {
            counters.answered(Kind::Select, Duration::from_micros(micros), micros == 51);
        }
        let select = counters.kind(Kind::Select);
        let seen: Vec<u64> = select.buckets.iter().map(|b| b.load(Ordering::Relaxed)).collect();
        assert_eq!((seen[0], seen[1], seen[BUCKETS_US.len()]), (2, 1, 1));
        assert_eq!(select.errors.load(Ordering::Relaxed), 1);
    }
}
