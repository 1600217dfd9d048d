//! Latencies, counted in buckets that grow with the value: percentiles without keeping the samples.
//!
//! Pure and of one size, whatever is recorded. Each power of two is cut into [`STEPS`] equal buckets, so
//! a value and the bucket that it is counted in differ by at most one part in 64, from nanoseconds to
//! hours. Filled by every reply, read by the progress line and the summary.

/// Buckets within one power of two, which bounds the relative error by its inverse.
const STEPS: u64 = 1 << STEP_BITS;

/// `STEPS` is two to this power.
const STEP_BITS: u32 = 6;

/// The values below `STEPS` have a bucket each; each of the higher powers of two has `STEPS`.
const BUCKETS: usize = (64 - STEP_BITS as usize + 1) << STEP_BITS;

/// How often each latency came, in nanoseconds.
pub struct Histogram {
    counts: Box<[u64]>,
    total: u64,
    longest: u64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { counts: vec![0; BUCKETS].into_boxed_slice(), total: 0, longest: 0 }
    }
}

impl Histogram {
    /// Counts one latency, in nanoseconds.
    pub fn record(&mut self, nanos: u64) {
        if let Some(count) = self.counts.get_mut(bucket_of(nanos)) {
            *count += 1;
        }
        self.total += 1;
        self.longest = self.longest.max(nanos);
    }

    /// How many were recorded.
    pub fn total(&self) -> u64 {
        self.total
    }

    /// The longest of all, exactly, in nanoseconds; 0 when there is none.
    pub fn longest(&self) -> u64 {
        self.longest
    }

    /// The latency that so many of a thousand did not exceed, in nanoseconds: 500 is the median. 0 when
    /// nothing was recorded.
    pub fn per_mille(&self, per_mille: u64) -> u64 {
        // The rank is rounded up, or the 999th of a thousand would be the one before it.
        let rank = u128::from(self.total) * u128::from(per_mille.min(1000));
        let rank = u64::try_from(rank.div_ceil(1000)).unwrap_or(u64::MAX).max(1);
        let mut passed = 0;
        for (bucket, count) in self.counts.iter().enumerate() {
            passed += count;
            if passed >= rank {
                return middle_of(bucket as u64).min(self.longest);
            }
        }
        self.longest
    }
}

/// The highest bits of a value name its bucket: where the first one stands says which power of two, the
/// six behind it which step.
fn bucket_of(value: u64) -> usize {
    if value < STEPS {
        return usize::try_from(value).unwrap_or(0);
    }
    let shift = value.ilog2() - STEP_BITS;
    let bucket = u64::from(shift) * STEPS + (value >> shift);
    usize::try_from(bucket).unwrap_or(BUCKETS)
}

/// The value in the middle of a bucket. [`bucket_of`] backwards.
fn middle_of(bucket: u64) -> u64 {
    if bucket < STEPS {
        return bucket;
    }
    let shift = bucket / STEPS - 1;
    let lowest = (bucket % STEPS + STEPS) << shift;
    lowest + ((1 << shift) >> 1)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_value_and_its_bucket_differ_by_one_part_in_64_at_most(bits in 0..64u32, noise: u64) {
            let value = (1 << bits) | (noise & ((1 << bits) - 1));
            let middle = middle_of(bucket_of(value) as u64);
            prop_assert!(middle.abs_diff(value) <= value / STEPS, "{value} is counted as {middle}");
        }

        #[test]
        fn greater_values_never_stand_in_lower_buckets(a: u64, b: u64) {
            prop_assert!(bucket_of(a.min(b)) <= bucket_of(a.max(b)));
        }
    }

    #[test]
    fn every_value_has_a_bucket() {
        assert_eq!(bucket_of(0), 0);
        assert_eq!(bucket_of(u64::MAX), BUCKETS - 1);
    }

    #[test]
    fn percentiles_are_those_of_the_samples() {
        let mut histogram = Histogram::default();
        for nanos in (1..=1000).rev() {
            histogram.record(nanos * 1000);
        }
        for (per_mille, exact) in [(500, 500_000), (900, 900_000), (990, 990_000), (999, 999_000)] {
            let near: u64 = histogram.per_mille(per_mille);
            assert!(near.abs_diff(exact) <= exact / STEPS, "{per_mille}: {near}, not {exact}");
        }
        assert_eq!((histogram.per_mille(1000), histogram.longest()), (1_000_000, 1_000_000));
        assert_eq!(histogram.total(), 1000);
    }

    #[test]
    fn few_samples_are_their_own_percentiles() {
        let mut histogram = Histogram::default();
        assert_eq!((histogram.per_mille(999), histogram.longest()), (0, 0));
        histogram.record(17);
        assert_eq!(
            (histogram.per_mille(0), histogram.per_mille(500), histogram.per_mille(1000)),
            (17, 17, 17)
        );
        histogram.record(40);
        assert_eq!((histogram.per_mille(500), histogram.per_mille(501)), (17, 40));
    }
}
