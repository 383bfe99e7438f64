//! Which replica answers a read.

use std::sync::Arc;

use crate::pool::Pool;

/// A replica as balancing sees it.
#[derive(Debug, Clone)]
pub struct Candidate {
    /// Its connections.
    pub pool: Arc<Pool>,
    /// Its share of reads, relative to the others.
    pub weight: u32,
    /// It stands in the gateway's own zone.
    pub near: bool,
}

/// The healthy replica with the least load for its weight, near ones first. `random` breaks ties, so that idle
/// replicas take turns. `None` if no replica can answer.
#[must_use]
pub fn pick_replica(candidates: &[Candidate], random: u64) -> Option<&Arc<Pool>> {
    pick(candidates, random, |c| (c.pool.health().is_up(), c.pool.load())).map(|c| &c.pool)
}

fn pick(
    candidates: &[Candidate],
    random: u64,
    look: impl Fn(&Candidate) -> (bool, usize),
) -> Option<&Candidate> {
    let mut best: Option<(bool, u64, u64, &Candidate)> = None;
    for (i, candidate) in candidates.iter().enumerate() {
        let (up, load) = look(candidate);
        if !up || candidate.weight == 0 {
            continue;
        }
        // one more statement than now, per unit of weight
        let cost = ((load as u64).saturating_add(1) << 20) / u64::from(candidate.weight);
        // ties are broken by a draw in which each unit of weight is a ticket
        let draw = mix(random, i as u64) / u64::from(candidate.weight);
        let better = best.is_none_or(|(near, best_cost, best_draw, _)| {
            (!candidate.near, cost, draw) < (!near, best_cost, best_draw)
        });
        if better {
            best = Some((candidate.near, cost, draw, candidate));
        }
    }
    best.map(|(.., candidate)| candidate)
}

fn mix(random: u64, i: u64) -> u64 {
    let mut x = random ^ i.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    x ^ (x >> 31)
}
