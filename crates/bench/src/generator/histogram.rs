//! Latencies counted in log-linear buckets: 64 to each power of two, so that no quantile is off by more than 1.6 %.

/// Bits of a value that are kept beside its magnitude.
const PRECISION: u32 = 6;
const STEPS: u64 = 1 << PRECISION;
/// Up to 2^40 ns, which is 18 minutes; longer ones count as that.
const LONGEST: u64 = (1 << 40) - 1;

/// Counts of latencies in nanoseconds.
#[derive(Clone, Debug)]
pub(crate) struct Histogram {
    buckets: Vec<u32>,
    count: u64,
}

impl Histogram {
    /// Nothing counted.
    pub(crate) fn new() -> Self {
        Self { buckets: vec![0; bucket_of(LONGEST) + 1], count: 0 }
    }

    /// Counts one.
    pub(crate) fn record(&mut self, nanoseconds: u64) {
        if let Some(bucket) = self.buckets.get_mut(bucket_of(nanoseconds.min(LONGEST))) {
            *bucket += 1;
            self.count += 1;
        }
    }

    /// The latency in microseconds that `share` (0 to 1) of all are not above; 0 of none.
    pub(crate) fn quantile_us(&self, share: f64) -> f64 {
        let wanted = (share * self.count as f64).ceil().max(1.0);
        let mut seen = 0_u64;
        for (bucket, count) in self.buckets.iter().enumerate() {
            seen += u64::from(*count);
            if *count > 0 && seen as f64 >= wanted {
                return middle_of(bucket) / 1_000.0;
            }
        }
        0.0
    }
}

/// Values below 64 have a bucket each; above, the six bits after the highest tell.
fn bucket_of(value: u64) -> usize {
    let magnitude = value.checked_ilog2().unwrap_or(0).saturating_sub(PRECISION);
    let bucket =
        if value < STEPS { value } else { (u64::from(magnitude) << PRECISION) + (value >> magnitude) };
    usize::try_from(bucket).unwrap_or(usize::MAX)
}

fn middle_of(bucket: usize) -> f64 {
    let bucket = bucket as u64;
    if bucket < 2 * STEPS {
        return bucket as f64;
    }
    let magnitude = (bucket >> PRECISION) - 1;
    let low = (bucket - (magnitude << PRECISION)) << magnitude;
    low as f64 + ((1_u64 << magnitude) - 1) as f64 / 2.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_holds_its_values_within_one_part_in_sixty_four() {
        let mut last = 0;
        for exponent in 0..40 {
            for value in [1_u64 << exponent, (1 << exponent) + (1 << exponent) / 3, (2 << exponent) - 1] {
                let bucket = bucket_of(value);
                assert!(bucket >= last, "{value} comes after what is smaller");
                last = bucket;
                let error = (middle_of(bucket) - value as f64).abs() / value as f64;
                assert!(error <= 1.0 / 64.0, "{value} is read as {}", middle_of(bucket));
            }
        }
    }

    #[test]
    fn quantiles_of_one_to_a_thousand_microseconds() {
        let mut histogram = Histogram::new();
        for microseconds in 1..=1_000_u64 {
            histogram.record(microseconds * 1_000);
        }
        for (share, expected) in [(0.0, 1.0), (0.5, 500.0), (0.99, 990.0), (1.0, 1_000.0)] {
            let read = histogram.quantile_us(share);
            assert!((read - expected).abs() <= expected * 0.016, "{share}: {read}");
        }
        assert_eq!(histogram.count, 1_000);
    }

    #[test]
    fn nothing_counted_is_zero_and_the_longest_is_capped() {
        let mut histogram = Histogram::new();
        assert_eq!(histogram.quantile_us(0.99), 0.0);
        histogram.record(u64::MAX);
        assert_eq!(histogram.count, 1);
        assert!(histogram.quantile_us(0.5) > 1e9);
    }
}
