//! The process's budget for bytes of requests and answers that are held in memory.

use std::{sync::Arc, time::Duration};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use weir_wire::error_code;

use crate::error::Refused;

/// Bytes are counted in units of this size.
const UNIT: usize = 4 << 10;
/// A share grows by at least this much: small pieces do not go to the budget one by one.
const STEP: usize = 64 << 10;
/// The smallest budget: one request or answer of the size that is collected must fit several times.
const LEAST: usize = 4 << 20;

/// See the module's text.
#[derive(Debug)]
pub struct InFlight {
    semaphore: Arc<Semaphore>,
    units: usize,
}

impl InFlight {
    /// A budget of so many bytes, 4 MiB at least.
    #[must_use]
    pub fn new(bytes: usize) -> Self {
        let units = (bytes.max(LEAST) / UNIT).min(Semaphore::MAX_PERMITS).min(u32::MAX as usize);
        Self { semaphore: Arc::new(Semaphore::new(units)), units }
    }

    /// The whole budget, bytes.
    #[must_use]
    pub fn limit(&self) -> usize {
        self.units * UNIT
    }

    /// What is held now, bytes.
    #[must_use]
    pub fn held(&self) -> usize {
        (self.units - self.semaphore.available_permits().min(self.units)) * UNIT
    }

    /// A share of nothing, that can grow.
    #[must_use]
    pub fn share(&self) -> Share {
        Share { semaphore: Arc::clone(&self.semaphore), permit: None, whole: self.limit(), bytes: 0, paid: 0 }
    }

    /// A share for so many bytes, if they are there at once.
    #[must_use]
    pub fn try_take(&self, bytes: usize) -> Option<Share> {
        let units = u32::try_from(bytes.div_ceil(UNIT)).ok()?;
        let permit = Arc::clone(&self.semaphore).try_acquire_many_owned(units).ok()?;
        let mut share = self.share();
        (share.permit, share.bytes, share.paid) = (Some(permit), bytes, bytes.next_multiple_of(UNIT));
        Some(share)
    }

    /// A share for so many bytes.
    ///
    /// # Errors
    /// Nobody gave enough back while `patience` lasted, or it is more than the whole budget.
    pub async fn take(&self, bytes: usize, patience: Duration) -> Result<Share, Refused> {
        let mut share = self.share();
        share.grow(bytes, patience).await?;
        Ok(share)
    }
}

/// A share of the budget; given back when dropped.
#[derive(Debug)]
pub struct Share {
    semaphore: Arc<Semaphore>,
    permit: Option<OwnedSemaphorePermit>,
    whole: usize,
    bytes: usize,
    paid: usize,
}

impl Share {
    /// Takes over another share of the same budget.
    pub fn merge(&mut self, other: Share) {
        match (&mut self.permit, other.permit) {
            (Some(own), Some(permit)) => own.merge(permit),
            (none @ None, permit) => *none = permit,
            (Some(_), None) => {}
        }
        self.bytes += other.bytes;
        self.paid += other.paid;
    }

    /// Takes more of the budget, waiting if need be.
    ///
    /// # Errors
    /// As for [`InFlight::take`]; the share stays as it was.
    pub async fn grow(&mut self, bytes: usize, patience: Duration) -> Result<(), Refused> {
        let wanted = self.bytes.saturating_add(bytes);
        if wanted > self.whole {
            return Err(Refused::new(
                error_code::NET_PACKET_TOO_LARGE,
                "Got a packet bigger than all that may be in flight (limits.bytes_in_flight)",
            ));
        }
        if wanted > self.paid {
            let missing = (wanted - self.paid).max(STEP.min(self.whole - self.paid));
            let units = u32::try_from(missing.div_ceil(UNIT)).unwrap_or(u32::MAX);
            let permit = Arc::clone(&self.semaphore).acquire_many_owned(units);
            let Ok(Ok(permit)) = tokio::time::timeout(patience, permit).await else {
                return Err(Refused::new(
                    error_code::TOO_MANY_USER_CONNECTIONS,
                    "too many bytes of large requests are in flight (limits.bytes_in_flight)",
                ));
            };
            match &mut self.permit {
                Some(own) => own.merge(permit),
                none => *none = Some(permit),
            }
            self.paid += missing.next_multiple_of(UNIT);
        }
        self.bytes = wanted;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_taken_is_given_back_and_what_is_not_there_is_waited_for_in_vain() {
        let budget = InFlight::new(8 << 20);
        let moment = Duration::from_millis(10);
        let mut share = budget.take(5 << 20, moment).await.unwrap();
        assert!(budget.try_take(4 << 20).is_none());
        let refused = budget.take(4 << 20, moment).await.unwrap_err();
        assert_eq!(refused.code, error_code::TOO_MANY_USER_CONNECTIONS);
        for _ in 0..100 {
            share.grow(1000, moment).await.unwrap();
        }
        assert!(budget.held() >= (5 << 20) + 100_000 && budget.held() < 6 << 20, "{}", budget.held());
        assert_eq!(share.grow(3 << 20, moment).await.unwrap_err().code, error_code::NET_PACKET_TOO_LARGE);
        let mut both = budget.share();
        both.merge(share);
        both.merge(budget.try_take(1 << 20).unwrap());
        assert!(budget.held() > 6 << 20);
        drop(both);
        assert_eq!(budget.held(), 0);
        let all = budget.take(8 << 20, moment).await.unwrap();
        assert_eq!(budget.held(), budget.limit());
        drop(all);
        let refused = budget.take((8 << 20) + 1, moment).await.unwrap_err();
        assert_eq!(refused.code, error_code::NET_PACKET_TOO_LARGE);
    }
}
