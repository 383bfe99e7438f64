//! Which replica answers a read.

use std::sync::Arc;

use smallvec::SmallVec;

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

/// A healthy replica, near ones first: drawn by weight among those that have at most one statement more than their share
/// of what is in flight. So reads are shared by weight even where there are few, and a slow replica gets no more than it works off.
/// `None` if no replica can answer. `but` has just failed the statement.
#[must_use]
pub fn pick_replica<'c>(
    candidates: &'c [Candidate],
    random: u64,
    but: Option<&Arc<Pool>>,
) -> Option<&'c Arc<Pool>> {
    let failed = |c: &Candidate| but.is_some_and(|pool| Arc::ptr_eq(pool, &c.pool));
    let up = |c: &&Candidate| c.weight > 0 && c.pool.health().is_up() && !failed(c);
    let mut open: SmallVec<[&Candidate; 8]> = candidates.iter().filter(up).collect();
    if open.iter().any(|c| c.near) {
        open.retain(|c| c.near);
    }
    // loads change meanwhile: each is read once
    let shares: SmallVec<[Share; 8]> =
        open.iter().map(|c| Share { weight: c.weight, load: c.pool.load() }).collect();
    draw(&shares, random).and_then(|i| open.get(i)).map(|c| &c.pool)
}

/// What decides between replicas.
#[derive(Clone, Copy, Debug)]
struct Share {
    weight: u32,
    /// Sessions that use or wait for a connection.
    load: usize,
}

/// Which of them takes one more statement.
fn draw(shares: &[Share], random: u64) -> Option<usize> {
    let weights: u64 = shares.iter().map(|s| u64::from(s.weight)).sum();
    let load: u64 = shares.iter().map(|s| s.load as u64).sum();
    let has_room = |s: &&Share| {
        let fair = (load + 1).saturating_mul(u64::from(s.weight));
        (s.load as u64).saturating_mul(weights) < fair.saturating_add(weights)
    };
    let tickets: u64 = shares.iter().filter(has_room).map(|s| u64::from(s.weight)).sum();
    let mut ticket = mix(random).checked_rem(tickets)?;
    for (i, share) in shares.iter().enumerate().filter(|(_, s)| has_room(s)) {
        match ticket.checked_sub(u64::from(share.weight)) {
            Some(rest) => ticket = rest,
            None => return Some(i),
        }
    }
    None
}

/// Sessions' numbers are close to each other; what is drawn with must not be.
fn mix(random: u64) -> u64 {
    let mut x = random.wrapping_add(0x9E37_79B9_7F4A_7C15);
    x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    x ^ (x >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How often each is drawn when `in_flight` statements end in the order of their start.
    fn spread(weights: &[u32], in_flight: usize) -> Vec<usize> {
        let mut counts = vec![0; weights.len()];
        let mut running = std::collections::VecDeque::new();
        for n in 0..10_000_u64 {
            if running.len() == in_flight {
                running.pop_front();
            }
            let load = |i: usize| running.iter().filter(|r| **r == i).count();
            let shares: Vec<_> =
                weights.iter().enumerate().map(|(i, &weight)| Share { weight, load: load(i) }).collect();
            let drawn = draw(&shares, n).unwrap();
            running.push_back(drawn);
            counts[drawn] += 1;
        }
        counts
    }

    #[test]
    fn reads_are_shared_by_weight_however_many_are_in_flight() {
        for in_flight in [1, 2, 3, 8, 50] {
            for weights in [&[1, 1][..], &[3, 1], &[1, 2, 1], &[10, 1]] {
                let sum: u32 = weights.iter().sum();
                for (count, weight) in spread(weights, in_flight).into_iter().zip(weights) {
                    let wanted = 10_000.0 * f64::from(*weight) / f64::from(sum);
                    let off = (count as f64 - wanted).abs();
                    assert!(off < 600.0, "{weights:?}, {in_flight} in flight: {count} instead of {wanted}");
                }
            }
        }
    }

    #[test]
    fn a_replica_that_does_not_answer_holds_no_more_than_its_share() {
        let mut load = [0, 0];
        for n in 0..1000 {
            let drawn = draw(&load.map(|load| Share { weight: 1, load }), n).unwrap();
            // the first never ends a statement, the second does at once but for ten
            load[drawn] += usize::from(drawn == 0 || load[1] < 10);
        }
        assert!(load[0] <= 13, "{load:?}");
    }

    #[test]
    fn without_a_candidate_nothing_is_drawn() {
        assert_eq!(draw(&[], 7), None);
    }
}
