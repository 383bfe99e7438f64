//! Counters of one pool. Each worker counts in its own shard; a scrape adds them up.

use std::sync::atomic::{AtomicU64, Ordering};

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident),* $(,)?) => {
        /// Counters of a pool, as seen at one moment.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct PoolMetrics {
            $($(#[$doc])* pub $name: u64,)*
        }

        /// The same, counted by one worker.
        #[derive(Debug, Default)]
        pub(crate) struct Counters {
            $(pub(crate) $name: AtomicU64,)*
        }

        impl Counters {
            pub(crate) fn add_to(&self, sum: &mut PoolMetrics) {
                $(sum.$name = sum.$name.wrapping_add(self.$name.load(Ordering::Relaxed));)*
            }
        }
    };
}

counters! {
    /// Connections lent to sessions.
    checkouts,
    /// Checkouts that had to wait in the queue.
    waits,
    /// Time spent waiting, microseconds.
    wait_micros,
    /// Waits that ended without a connection.
    timeouts,
    /// Waits refused since the queue was full.
    queue_full,
    /// Connections dialed.
    dials,
    /// Dials that failed.
    dial_errors,
    /// Connections reset before another session got them.
    resets,
    /// Connections found dead when they were to be lent.
    dead,
    /// Connections closed for age or idleness.
    retired,
    /// Connections moved from one worker to another.
    moved,
    /// Statements sent behind another session's, in the same write.
    riders,
    /// Connections lent now.
    in_use,
    /// Connections idle now.
    idle,
    /// Connections open now, those being dialed included.
    open,
    /// Connections for KILL, beyond those: one or none.
    control,
    /// Sessions waiting now.
    waiting,
}

pub(crate) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

pub(crate) fn uncount(counter: &AtomicU64) {
    counter.fetch_sub(1, Ordering::Relaxed);
}
