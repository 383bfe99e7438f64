//! What the clients of a run came to.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use weir_testkit::say;

/// So many faults are shown, word for word.
const SHOWN: usize = 20;

/// Counts of all drivers together.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    /// Commands answered as they must be.
    statements: AtomicU64,
    /// Of these, SET statements of the clients' own.
    sets: AtomicU64,
    wrong: AtomicU64,
    errors: AtomicU64,
    logins: AtomicU64,
    kills: AtomicU64,
    shown: Mutex<usize>,
}

/// The counts at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) statements: u64,
    pub(crate) sets: u64,
    pub(crate) wrong: u64,
    pub(crate) errors: u64,
    pub(crate) logins: u64,
    pub(crate) kills: u64,
}

impl Tally {
    pub(crate) fn answered(&self) {
        self.statements.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn set(&self) {
        self.sets.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn logged_in(&self) {
        self.logins.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn killed(&self) {
        self.kills.fetch_add(1, Ordering::Relaxed);
    }

    /// An answer was another than it must be.
    pub(crate) fn wrong(&self, what: &str) {
        self.wrong.fetch_add(1, Ordering::Relaxed);
        self.show("WRONG ANSWER", what);
    }

    /// There was no answer, or an error where none was due.
    pub(crate) fn error(&self, what: &str) {
        self.errors.fetch_add(1, Ordering::Relaxed);
        self.show("ERROR", what);
    }

    fn show(&self, kind: &str, what: &str) {
        let mut shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        *shown += 1;
        if *shown <= SHOWN {
            say(format!("{kind}: {what}"));
        } else if *shown == SHOWN + 1 {
            say("more are counted, but not shown");
        }
    }

    pub(crate) fn counts(&self) -> Counts {
        let of = |count: &AtomicU64| count.load(Ordering::Relaxed);
        Counts {
            statements: of(&self.statements),
            sets: of(&self.sets),
            wrong: of(&self.wrong),
            errors: of(&self.errors),
            logins: of(&self.logins),
            kills: of(&self.kills),
        }
    }
}

/// Latencies of one kind of statement, each kept: microseconds.
#[derive(Debug, Default)]
pub(crate) struct Latencies(Vec<u32>);

impl Latencies {
    pub(crate) fn add(&mut self, took: Duration) {
        self.0.push(u32::try_from(took.as_micros()).unwrap_or(u32::MAX));
    }

    pub(crate) fn join(&mut self, other: Latencies) {
        self.0.extend(other.0);
    }

    /// The latency that `share` of all are not above; 0 of none.
    pub(crate) fn quantile(&mut self, share: f64) -> u32 {
        self.0.sort_unstable();
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "an index of a list")]
        let at = (share * self.0.len() as f64).ceil().max(1.0) as usize - 1;
        self.0.get(at).copied().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quantile_is_one_of_the_latencies() {
        let mut latencies = Latencies::default();
        assert_eq!(latencies.quantile(0.99), 0);
        for micros in (1..=200).rev() {
            latencies.add(Duration::from_micros(micros));
        }
        assert_eq!([0.0, 0.5, 0.99, 1.0].map(|share| latencies.quantile(share)), [1, 100, 198, 200]);
    }
}
