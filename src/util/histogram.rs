//! How long things took: a histogram with a bound for each power of two.

use std::ops::RangeInclusive;

const BOUNDS: usize = 64;

/// How many times were shorter than 2^i nanoseconds, and not shorter than half of that.
#[derive(Clone, Debug)]
pub struct Histogram([u64; BOUNDS]);

impl Default for Histogram {
    fn default() -> Histogram {
        Histogram([0; BOUNDS])
    }
}

impl Histogram {
    #[inline]
    pub fn record(&mut self, nanos: u64) {
        self.0[(64 - nanos.leading_zeros() as usize).min(BOUNDS - 1)] += 1;
    }

    /// How many times there are for each power of two, from that of 0 on.
    pub fn iter(&self) -> impl Iterator<Item = (usize, u64)> {
        self.0.iter().copied().enumerate()
    }

    /// How many times there are.
    pub fn count(&self) -> u64 {
        self.0.iter().sum()
    }

    /// Upper bounds in nanoseconds, for these powers of two, and how many times each has beyond the one before.
    pub fn buckets(&self, powers: RangeInclusive<usize>) -> impl Iterator<Item = (u64, u64)> {
        let first = *powers.start();
        powers.map(move |power| {
            let n = if power == first { self.0[..=power].iter().sum() } else { self.0[power] };
            (1 << power, n)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::Histogram;

    #[test]
    fn times_are_counted_below_their_bound() {
        let mut histogram = Histogram::default();
        for nanos in [0, 1, 255, 256, 511, 512, u64::MAX] {
            histogram.record(nanos);
        }
        assert_eq!(histogram.count(), 7);
        let buckets: Vec<_> = histogram.buckets(8..=10).collect();
        assert_eq!(buckets, [(256, 3), (512, 2), (1024, 1)]);
    }
}
