//! One of the three seams: time.
#![forbid(unsafe_code)]

use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// Where the server reads the time.
#[derive(Clone, Debug)]
pub struct Clock {
    start: Instant,
}

impl Default for Clock {
    fn default() -> Self {
        Clock { start: Instant::now() }
    }
}

impl Clock {
    /// Microseconds since 1970.
    pub fn unix_us(&self) -> i64 {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        i64::try_from(now.as_micros()).unwrap_or(i64::MAX)
    }

    /// Milliseconds since 1970.
    pub fn unix_ms(&self) -> i64 {
        self.unix_us() / 1000
    }

    /// Nanoseconds of a clock that never jumps.
    #[inline]
    pub fn nanos(&self) -> u64 {
        self.start.elapsed().as_nanos() as u64
    }
}
