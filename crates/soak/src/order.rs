//! What a run is to do.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// What a run of [`crate::sessions()`] is to do.
#[derive(Clone, Debug)]
pub struct SessionsOrder {
    /// Measured time, logins left out.
    pub time: Duration,
    /// Sessions with a state of their own.
    pub sessions: u32,
    /// Sessions beside them that set nothing.
    pub clean: u32,
    /// Threads; each takes one of its sessions after the other, so that so many statements are under way.
    pub drivers: u32,
    /// `pool.capacity`.
    pub capacity: u32,
    /// How often something is told.
    pub tells_every: Duration,
}

impl SessionsOrder {
    /// The long form: two thousand sessions over 20 connections.
    #[must_use]
    pub fn full(time: Duration) -> SessionsOrder {
        SessionsOrder {
            time,
            sessions: 2_000,
            clean: 200,
            drivers: 48,
            capacity: 20,
            tells_every: Duration::from_secs(10),
        }
    }

    /// A few sessions for a few seconds.
    #[must_use]
    pub fn short() -> SessionsOrder {
        SessionsOrder {
            time: Duration::from_secs(4),
            sessions: 24,
            clean: 4,
            drivers: 4,
            capacity: 2,
            tells_every: Duration::from_secs(10),
        }
    }
}

/// What a run of [`crate::churn()`] is to do.
#[derive(Clone, Debug)]
pub struct ChurnOrder {
    /// Measured time.
    pub time: Duration,
    /// Distinct texts, half of them prepared.
    pub texts: u64,
    /// Connections, one after the other.
    pub logins: u64,
    /// Connections at once.
    pub drivers: u32,
    /// `pool.capacity`.
    pub capacity: u32,
    /// How often something is told.
    pub tells_every: Duration,
    /// `pool.idle_timeout`: connections beyond one are closed after it, well before `rest` is over.
    pub idle: Duration,
    /// When everything must be as at the start, after the last client has gone.
    pub rest: Duration,
}

impl ChurnOrder {
    /// A million texts and 10,000 logins in 30 minutes; at the same rates for another time.
    #[must_use]
    pub fn full(time: Duration) -> ChurnOrder {
        let share = time.as_secs_f64() / Duration::from_secs(30 * 60).as_secs_f64();
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "counts")]
        let of = |whole: f64| (whole * share).ceil().max(1.0) as u64;
        ChurnOrder {
            time,
            texts: of(1_000_000.0),
            logins: of(10_000.0),
            drivers: 8,
            capacity: 20,
            tells_every: Duration::from_secs(60),
            idle: Duration::from_secs(15),
            rest: Duration::from_secs(60),
        }
    }

    /// A few texts for a few seconds.
    #[must_use]
    pub fn short() -> ChurnOrder {
        ChurnOrder {
            time: Duration::from_secs(3),
            texts: 1_500,
            logins: 15,
            drivers: 3,
            capacity: 2,
            tells_every: Duration::from_secs(60),
            idle: Duration::from_secs(2),
            rest: Duration::from_secs(60),
        }
    }
}

/// When a run ends: at its time, or when somebody asks.
#[derive(Debug)]
pub(crate) struct Moment<'s> {
    begun: Instant,
    time: Duration,
    stop: &'s AtomicBool,
}

impl<'s> Moment<'s> {
    pub(crate) fn after(time: Duration, stop: &'s AtomicBool) -> Moment<'s> {
        Moment { begun: Instant::now(), time, stop }
    }

    pub(crate) fn elapsed(&self) -> Duration {
        self.begun.elapsed()
    }

    /// From 0 to 1.
    pub(crate) fn share(&self) -> f64 {
        (self.elapsed().as_secs_f64() / self.time.as_secs_f64()).min(1.0)
    }

    pub(crate) fn left(&self) -> Duration {
        self.time.saturating_sub(self.elapsed())
    }

    pub(crate) fn is_over(&self) -> bool {
        self.elapsed() >= self.time || self.was_asked()
    }

    pub(crate) fn was_asked(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn churn_keeps_its_rates_whatever_the_time() {
        let of = |minutes: u64| ChurnOrder::full(Duration::from_secs(minutes * 60));
        assert_eq!((of(30).texts, of(30).logins), (1_000_000, 10_000));
        assert_eq!((of(1).texts, of(1).logins), (33_334, 334));
    }
}
