//! One of the three seams: time.
#![forbid(unsafe_code)]

use crate::sys::tsc::Stopwatch;
use std::time::{SystemTime, UNIX_EPOCH};

/// Where the server reads the time.
#[derive(Clone, Debug, Default)]
pub struct Clock {
    watch: Stopwatch,
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
        self.watch.nanos()
    }
}
