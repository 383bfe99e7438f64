//! Connection ids that clients know: 32 bits, as the protocol has them. The first eight say which gateway, the others
//! count its connections.
//!
//! They begin at 2^30, far above the ids of the servers' own connections: who takes the one for the other in a KILL hits
//! nobody.

use std::sync::atomic::{AtomicU32, Ordering};

/// Bits that count connections.
const COUNT_BITS: u32 = 24;
/// What the first eight bits are for gateway 0.
const FIRST: u8 = 0x40;

/// Number of a gateway among those in front of the same servers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct GatewayNumber(u8);

impl GatewayNumber {
    /// The highest.
    pub const MAX: u8 = u8::MAX - FIRST;

    /// `None` if there is no such number.
    #[must_use]
    pub fn new(number: u8) -> Option<Self> {
        (number <= Self::MAX).then_some(Self(number))
    }

    /// The gateway to which a connection id belongs; `None` if it is none of a gateway's.
    #[must_use]
    pub fn of_session(id: u64) -> Option<Self> {
        let head = u8::try_from(id >> COUNT_BITS).ok()?;
        head.checked_sub(FIRST).map(Self)
    }

    /// As a number.
    #[must_use]
    pub fn get(self) -> u8 {
        self.0
    }
}

/// Makes the ids of a gateway's sessions.
#[derive(Debug)]
pub(crate) struct SessionIds {
    gateway: GatewayNumber,
    count: AtomicU32,
}

impl SessionIds {
    pub(crate) fn new(gateway: GatewayNumber) -> Self {
        Self { gateway, count: AtomicU32::new(0) }
    }

    pub(crate) fn gateway(&self) -> GatewayNumber {
        self.gateway
    }

    /// Comes again after 2^24 others: the caller skips those that are in use.
    pub(crate) fn next(&self) -> u32 {
        let count = self.count.fetch_add(1, Ordering::Relaxed).wrapping_add(1) & ((1 << COUNT_BITS) - 1);
        u32::from(FIRST + self.gateway.0) << COUNT_BITS | count
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_tells_its_gateway() {
        for number in [0, 1, 63, GatewayNumber::MAX] {
            let gateway = GatewayNumber::new(number).unwrap();
            let ids = SessionIds::new(gateway);
            let (first, second) = (ids.next(), ids.next());
            assert!(first >= 1 << 30 && second == first + 1, "{first} {second}");
            assert_eq!(GatewayNumber::of_session(u64::from(first)), Some(gateway));
        }
        assert_eq!(GatewayNumber::new(GatewayNumber::MAX + 1), None);
    }

    #[test]
    fn an_id_of_a_server_belongs_to_no_gateway() {
        for id in [0, 5, (1 << 30) - 1, 1 << 32, u64::MAX] {
            assert_eq!(GatewayNumber::of_session(id), None, "{id}");
        }
    }

    #[test]
    fn ids_that_come_again_stay_with_their_gateway() {
        let ids = SessionIds::new(GatewayNumber(7));
        let first = ids.next();
        ids.count.store((1 << COUNT_BITS) - 1, Ordering::Relaxed);
        let zero = ids.next();
        assert_eq!((zero & 0x00FF_FFFF, ids.next()), (0, first));
        assert_eq!(GatewayNumber::of_session(u64::from(zero)), Some(GatewayNumber(7)));
    }
}
