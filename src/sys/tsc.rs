//! The processor's time stamp counter as a clock: measuring every command must cost next to nothing.
//!
//! Used where the kernel vouches for a counter that runs at one rate on all cores (`constant_tsc`, `nonstop_tsc`), as
//! Redis does; elsewhere the monotonic clock takes its place.

use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// How long the counter is compared with the monotonic clock, once in a process. Of this, reading both takes less than
/// one in ten thousand.
const CALIBRATION: Duration = Duration::from_micros(500);
/// Readings of both clocks, of which one is undisturbed.
const READINGS: usize = 8;

/// A clock of nanoseconds that never goes back.
#[derive(Clone, Debug)]
pub struct Stopwatch {
    start: Instant,
    /// Ticks at the start, and the counter's scale; `None`: no usable counter.
    counter: Option<(u64, u64)>,
}

impl Default for Stopwatch {
    fn default() -> Self {
        let scale = scale();
        Stopwatch { start: Instant::now(), counter: scale.map(|scale| (ticks(), scale)) }
    }
}

impl Stopwatch {
    /// Nanoseconds since the start.
    #[inline]
    pub fn nanos(&self) -> u64 {
        match self.counter {
            Some((base, scale)) => {
                let elapsed = ticks().saturating_sub(base);
                ((u128::from(elapsed) * u128::from(scale)) >> 32) as u64
            }
            None => self.start.elapsed().as_nanos() as u64,
        }
    }
}

#[cfg(target_arch = "x86_64")]
#[inline]
fn ticks() -> u64 {
    // SAFETY: every x86-64 processor has the instruction; it touches no memory.
    #[allow(unused_unsafe, reason = "safe in later versions of the standard library")]
    unsafe {
        std::arch::x86_64::_rdtsc()
    }
}

#[cfg(not(target_arch = "x86_64"))]
fn ticks() -> u64 {
    0
}

/// Both clocks at one moment: of several readings the one that took the shortest, since a thread may lose the processor
/// between the two.
fn moment() -> (Instant, u64) {
    let read = || {
        let (before, now, after) = (ticks(), Instant::now(), ticks());
        (after.saturating_sub(before), now, after)
    };
    let (_, now, at) =
        (0..READINGS).map(|_| read()).min_by_key(|reading| reading.0).unwrap_or_else(read);
    (now, at)
}

/// Nanoseconds per tick in units of 2^-32; `None`: no usable counter.
fn scale() -> Option<u64> {
    static SCALE: OnceLock<Option<u64>> = OnceLock::new();
    *SCALE.get_or_init(calibrate)
}

fn calibrate() -> Option<u64> {
    let cpu = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let flags = cpu.lines().find(|line| line.starts_with("flags"))?;
    if !["constant_tsc", "nonstop_tsc"].iter().all(|flag| flags.split(' ').any(|f| f == *flag)) {
        return None;
    }
    let (start, base) = moment();
    while start.elapsed() < CALIBRATION {
        std::hint::spin_loop();
    }
    let (end, ticks) = moment();
    let (elapsed, passed) = ((end - start).as_nanos() as u64, ticks.checked_sub(base)?);
    (passed > 1000).then(|| ((u128::from(elapsed) << 32) / u128::from(passed)) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whatever held a start up, of which there are some here, must not count as time that the counter has measured.
    #[test]
    fn all_find_the_same_rate() {
        std::thread::scope(|scope| {
            let all: Vec<_> = (0..16).map(|_| scope.spawn(calibrate)).collect();
            let rates: Vec<u64> = all.into_iter().filter_map(|one| one.join().unwrap()).collect();
            let (min, max) = (rates.iter().min(), rates.iter().max());
            assert!(max.zip(min).is_none_or(|(max, min)| max - min < min / 10), "{rates:?}");
        });
    }

    #[test]
    fn it_never_goes_back() {
        let watch = Stopwatch::default();
        let mut last = 0;
        for _ in 0..100_000 {
            let now = watch.nanos();
            assert!(now >= last);
            last = now;
        }
    }
}
