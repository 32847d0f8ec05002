//! One of the three seams: time.

use crate::sys::tsc::Stopwatch;
use std::cell::Cell;
use std::rc::Rc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Where the server reads the time.
#[derive(Clone, Debug)]
pub enum Clock {
    /// The machine's.
    System(Stopwatch),
    /// A simulation's.
    Simulated(Rc<SimulatedTime>),
}

/// The time as a simulation has it, by two clocks.
#[derive(Debug, Default)]
pub struct SimulatedTime {
    /// Microseconds since 1970. This clock may jump, forwards and back.
    pub wall_us: Cell<i64>,
    /// Microseconds of a clock that never jumps.
    pub steady_us: Cell<u64>,
}

impl Default for Clock {
    fn default() -> Self {
        Clock::System(Stopwatch::default())
    }
}

impl Clock {
    /// Microseconds since 1970.
    pub fn unix_us(&self) -> i64 {
        match self {
            Clock::System(_) => {
                let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
                i64::try_from(now.as_micros()).unwrap_or(i64::MAX)
            }
            Clock::Simulated(time) => time.wall_us.get(),
        }
    }

    /// Milliseconds since 1970.
    pub fn unix_ms(&self) -> i64 {
        self.unix_us() / 1000
    }

    /// The time that has passed since [`Clock::nanos`] returned `start_ns`. In a simulation none does within a turn.
    pub fn since(&self, start_ns: u64) -> Duration {
        Duration::from_nanos(self.nanos().saturating_sub(start_ns))
    }

    /// Nanoseconds of a clock that never jumps.
    #[inline]
    pub fn nanos(&self) -> u64 {
        match self {
            Clock::System(watch) => watch.nanos(),
            Clock::Simulated(time) => time.steady_us.get() * 1000,
        }
    }
}
