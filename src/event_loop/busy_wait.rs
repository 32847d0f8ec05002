//! Whether to wait awake before sleeping.
//!
//! A server that sleeps has to be woken, which takes the client's system call longer and the answer later than the
//! command itself. Where the next request comes within microseconds, looking for it a few times costs less than
//! sleeping. So a loop whose sleeps have been short waits awake for a moment first; where that is in vain it soon
//! stops, and each time it needs to see more short sleeps before it begins again. An idle server always sleeps.

use std::time::Duration;

/// Short sleeps in a row before it waits awake for the first time.
const LEAST_SHORT: u32 = 2;
/// The same after it has been in vain again and again.
const MOST_SHORT: u32 = 512;
/// So many times in vain in a row end it.
const MISSES: u32 = 2;
/// A sleep counts as short if it took no longer than so many times the limit: waking takes a part of it.
const SHORT_LIMITS: u32 = 4;
/// After so many times it looks whether others want the processor.
const LOOKS: u32 = 64;

/// See the module.
#[derive(Debug)]
pub struct BusyWait {
    state: State,
    /// Short sleeps in a row before the next time.
    needed: u32,
    /// How often this thread has lost its processor to another one, as last seen.
    lost_processor: i64,
    until_look: u32,
}

#[derive(Debug, PartialEq, Eq)]
enum State {
    /// It sleeps; so many times in a row for a short time.
    Asleep(u32),
    /// It waits awake; so many times in a row in vain.
    Awake(u32),
}

impl Default for BusyWait {
    fn default() -> BusyWait {
        BusyWait { state: State::Asleep(0), needed: LEAST_SHORT, lost_processor: 0, until_look: 0 }
    }
}

impl BusyWait {
    /// Whether to wait awake now. `lost_processor` counts how often another thread got the processor instead.
    pub fn is_due(&mut self, lost_processor: impl FnOnce() -> i64) -> bool {
        if matches!(self.state, State::Asleep(_)) {
            return false;
        }
        if self.until_look > 0 {
            self.until_look -= 1;
            return true;
        }
        self.until_look = LOOKS;
        let lost = lost_processor();
        if lost == self.lost_processor {
            return true;
        }
        // Somebody else has work for it.
        self.lost_processor = lost;
        self.needed = MOST_SHORT;
        self.state = State::Asleep(0);
        false
    }

    /// Something came while it waited awake.
    pub fn caught(&mut self) {
        self.state = State::Awake(0);
        self.needed = LEAST_SHORT;
    }

    /// It has slept for so long; `limit`: for how long it waits awake.
    pub fn slept(&mut self, time: Duration, limit: Duration) {
        let is_short = time <= limit * SHORT_LIMITS;
        self.state = match self.state {
            State::Asleep(_) if !is_short => State::Asleep(0),
            State::Asleep(short) if short + 1 >= self.needed => State::Awake(0),
            State::Asleep(short) => State::Asleep(short + 1),
            // It had waited awake before, in vain.
            State::Awake(missed) if missed + 1 < MISSES => State::Awake(missed + 1),
            State::Awake(_) => {
                self.needed = (self.needed * 2).min(MOST_SHORT);
                State::Asleep(0)
            }
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_micros(50);
    const SHORT: Duration = Duration::from_micros(60);
    const LONG: Duration = Duration::from_millis(100);

    /// How many of so many waits it waits awake in, if each gap is `gap` and a gap below the limit is caught.
    fn awake(busy_wait: &mut BusyWait, waits: usize, gap: Duration) -> usize {
        let wait = |_: &usize| {
            let awake = busy_wait.is_due(|| 0);
            if awake && gap <= LIMIT {
                busy_wait.caught();
            } else {
                busy_wait.slept(gap, LIMIT);
            }
            awake
        };
        (0..waits).filter(wait).count()
    }

    #[test]
    fn an_idle_server_sleeps() {
        assert_eq!(awake(&mut BusyWait::default(), 1000, LONG), 0);
    }

    #[test]
    fn a_busy_one_waits_awake_until_it_is_idle() {
        let mut busy_wait = BusyWait::default();
        assert_eq!(awake(&mut busy_wait, 1000, LIMIT), 998);
        assert_eq!(awake(&mut busy_wait, 1000, LONG), 2);
    }

    #[test]
    fn gaps_just_beyond_the_limit_are_seldom_waited_for() {
        assert!(awake(&mut BusyWait::default(), 10_000, SHORT) < 100);
    }

    #[test]
    fn it_gives_way_to_others() {
        let mut busy_wait = BusyWait::default();
        awake(&mut busy_wait, 1000, LIMIT);
        let mut due = 0;
        for lost in 1..=500 {
            if busy_wait.is_due(|| lost) {
                due += 1;
                busy_wait.caught();
            } else {
                busy_wait.slept(LIMIT, LIMIT);
            }
        }
        assert!(due <= 65, "{due}");
    }
}
