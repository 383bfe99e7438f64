//! Random numbers that are the same in every run, so that all paths serve the same statements.

/// xorshift64* (Marsaglia 2003, Vigna 2014): a few instructions a number, good enough to spread reads.
#[derive(Clone, Debug)]
pub(crate) struct Random(u64);

impl Random {
    /// Different sequences for different seeds.
    pub(crate) fn new(seed: u32) -> Self {
        // Odd multiples spread small seeds over all bits; the state must not be 0.
        Self(u64::from(seed).wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15))
    }

    /// A number from 0 to `limit` - 1; 0 if `limit` is 0.
    pub(crate) fn below(&mut self, limit: u32) -> u32 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let high = self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 32;
        // The product's high half: no division, and no bias that matters here.
        u32::try_from((high * u64::from(limit)) >> 32).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reaches_every_value_below_its_limit_and_none_above() {
        let mut random = Random::new(0);
        let mut seen = [0_u32; 10];
        for _ in 0..10_000 {
            seen[random.below(10) as usize] += 1;
        }
        assert!(seen.iter().all(|count| (800..1_200).contains(count)), "{seen:?}");
        assert_eq!(random.below(0), 0);
    }
}
