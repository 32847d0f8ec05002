//! How long things took: a histogram as fine as an HDR histogram of two significant digits. It takes memory only for
//! those powers of two that occur.

use std::ops::RangeInclusive;

const BOUNDS: usize = 64;
/// Into how many parts the times between two powers of two fall: 2^`PART_BITS`, so that they differ by less than 1 %.
const PART_BITS: u32 = 7;

/// The times of one power of two, by the digits behind the first.
type Parts = [u64; 1 << PART_BITS];

/// How many times were shorter than 2^i nanoseconds, and not shorter than half of that; 0 counts as 1.
#[derive(Clone, Debug)]
pub struct Histogram([Option<Box<Parts>>; BOUNDS]);

impl Default for Histogram {
    fn default() -> Histogram {
        Histogram([const { None }; BOUNDS])
    }
}

impl Histogram {
    #[inline]
    pub fn record(&mut self, nanos: u64) {
        let nanos = nanos.clamp(1, u64::MAX >> 1);
        let zeros = nanos.leading_zeros();
        let part = (nanos << zeros << 1) >> (u64::BITS - PART_BITS);
        let parts = self.0[(u64::BITS - zeros) as usize].get_or_insert_with(new_parts);
        parts[part as usize] += 1;
    }

    /// How many times there are for each power of two, from that of 0 on.
    pub fn iter(&self) -> impl Iterator<Item = (usize, u64)> {
        (0..BOUNDS).map(|power| (power, self.of_power(power)))
    }

    fn of_power(&self, power: usize) -> u64 {
        self.0[power].as_ref().map_or(0, |parts| parts.iter().sum())
    }

    /// The longest time in nanoseconds that counts as equal to the one below which `percent` of all lie; 0 if there are
    /// none.
    pub fn percentile(&self, percent: f64) -> u64 {
        let wanted = ((percent / 100.0 * self.count() as f64 + 0.5) as u64).max(1);
        let mut seen = 0;
        for (power, parts) in (1..BOUNDS).filter_map(|power| Some((power, self.0[power].as_ref()?)))
        {
            for (part, n) in parts.iter().enumerate() {
                seen += n;
                if seen >= wanted {
                    return last_of(power as u32, part as u64);
                }
            }
        }
        0
    }

    /// How many times there are.
    pub fn count(&self) -> u64 {
        (0..BOUNDS).map(|power| self.of_power(power)).sum()
    }

    /// Upper bounds in nanoseconds, for these powers of two, and how many times each has beyond the one before.
    pub fn buckets(&self, powers: RangeInclusive<usize>) -> impl Iterator<Item = (u64, u64)> {
        let first = *powers.start();
        powers.map(move |power| {
            let from = if power == first { 0 } else { power };
            (1 << power, (from..=power).map(|power| self.of_power(power)).sum())
        })
    }
}

#[cold]
fn new_parts() -> Box<Parts> {
    Box::new([0; 1 << PART_BITS])
}

/// The longest time of a part.
fn last_of(power: u32, part: u64) -> u64 {
    // Its digits behind the first, of which short times have fewer than the parts tell apart.
    let digits = power - 1;
    let first = 1 << digits;
    match digits.checked_sub(PART_BITS) {
        Some(more) => first + ((part + 1) << more) - 1,
        None => first + (part >> (PART_BITS - digits)),
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
    #[test]
    fn percentiles_are_right_to_a_hundredth() {
        assert_eq!(Histogram::default().percentile(50.0), 0);
        let mut histogram = Histogram::default();
        for nanos in 1..=10_000 {
            histogram.record(nanos * nanos);
        }
        for (percent, exact) in [(0.0, 1), (0.1, 100), (50.0, 25_000_000), (99.9, 99_800_100)] {
            let told = histogram.percentile(percent);
            assert!((exact..=exact + exact / 100).contains(&told), "{percent}: {told}");
        }
        assert!(histogram.percentile(100.0) >= 100_000_000);
    }
}
