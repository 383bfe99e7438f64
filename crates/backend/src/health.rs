//! Is an instance reachable, and when may it be tried again?

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

/// First pause after a failed dial; it doubles with each further one.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// The longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// What is known of an instance's reachability. Shared by all workers.
#[derive(Debug)]
pub struct Health {
    up: AtomicBool,
    /// Microseconds since `start` of the last sign of life.
    last_sign: AtomicU64,
    start: Instant,
    failing: Mutex<Option<Failing>>,
}

#[derive(Clone, Debug)]
struct Failing {
    since: Instant,
    attempts: u32,
    not_before: Instant,
    error: String,
}

/// Health as people and metrics see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HealthView {
    /// Reachable, as far as known.
    pub up: bool,
    /// How long it has been failing.
    pub failing_for: Option<Duration>,
    /// The last error.
    pub error: Option<String>,
}

impl Health {
    /// Nothing is known: the instance counts as reachable until a dial fails.
    #[must_use]
    pub fn new(now: Instant) -> Self {
        Self {
            up: AtomicBool::new(true),
            last_sign: AtomicU64::new(0),
            start: now,
            failing: Mutex::new(None),
        }
    }

    /// May reads be sent there?
    #[must_use]
    pub fn is_up(&self) -> bool {
        self.up.load(Ordering::Relaxed)
    }

    /// The instance answered.
    pub fn answered(&self, now: Instant) {
        let micros = u64::try_from(now.duration_since(self.start).as_micros()).unwrap_or(u64::MAX);
        self.last_sign.store(micros, Ordering::Relaxed);
        if !self.is_up() {
            *self.failing.lock().unwrap_or_else(PoisonError::into_inner) = None;
            self.up.store(true, Ordering::Relaxed);
        }
    }

    /// When it last answered.
    #[must_use]
    pub fn last_sign(&self) -> Instant {
        self.start + Duration::from_micros(self.last_sign.load(Ordering::Relaxed))
    }

    /// A dial or a probe failed. `jitter` is a random number; it spreads the next attempts of many gateways.
    /// Returns true if this is news.
    pub fn failed(&self, now: Instant, error: String, jitter: u64) -> bool {
        let mut failing = self.failing.lock().unwrap_or_else(PoisonError::into_inner);
        let attempts = failing.as_ref().map_or(0, |f| f.attempts);
        let pause = FIRST_PAUSE.saturating_mul(1 << attempts.min(10)).min(LONGEST_PAUSE);
        let millis = u64::try_from(pause.as_millis()).unwrap_or(u64::MAX);
        let pause = pause / 2 + Duration::from_millis(jitter % millis.max(1)) / 2;
        let since = failing.as_ref().map_or(now, |f| f.since);
        let news = failing.as_ref().is_none_or(|f| f.error != error);
        *failing =
            Some(Failing { since, attempts: attempts.saturating_add(1), not_before: now + pause, error });
        self.up.store(false, Ordering::Relaxed);
        news
    }

    /// May it be dialed now? An instance that failed a moment ago is left alone for a while.
    #[must_use]
    pub fn may_dial(&self, now: Instant) -> bool {
        self.is_up()
            || self
                .failing
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .as_ref()
                .is_none_or(|f| now >= f.not_before)
    }

    /// For people.
    #[must_use]
    pub fn view(&self, now: Instant) -> HealthView {
        let failing = self.failing.lock().unwrap_or_else(PoisonError::into_inner).clone();
        HealthView {
            up: self.is_up(),
            failing_for: failing.as_ref().map(|f| now.saturating_duration_since(f.since)),
            error: failing.map(|f| f.error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_between_dials_grow_to_a_bound_and_end_with_an_answer() {
        let start = Instant::now();
        let health = Health::new(start);
        assert!(health.is_up() && health.may_dial(start));
        let mut now = start;
        let mut pauses = Vec::new();
        for _ in 0..12 {
            health.failed(now, "refused".into(), u64::MAX);
            assert!(!health.is_up() && !health.may_dial(now));
            let mut pause = Duration::ZERO;
            while !health.may_dial(now + pause) {
                pause += Duration::from_millis(1);
            }
            pauses.push(pause);
            now += pause;
        }
        assert!(pauses[0] >= FIRST_PAUSE / 2 && pauses[0] <= FIRST_PAUSE);
        assert!(pauses[11] <= LONGEST_PAUSE && pauses[11] >= LONGEST_PAUSE / 2);
        assert_eq!(health.view(now).failing_for, Some(now - start));
        health.answered(now);
        assert!(health.is_up() && health.may_dial(now));
        assert_eq!(health.view(now).error, None);
    }
}
