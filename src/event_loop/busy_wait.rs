//! Whether to wait awake before sleeping.
//!
//! A server that sleeps has to be woken, which takes the client's system call longer and the answer later than the
//! command itself. Where the next request comes within microseconds, looking for it a few times costs less than
//! sleeping. So a loop whose sleeps have been short waits awake for a moment first; where that is in vain it soon
//! stops, and each time it needs to see more short sleeps before it begins again. An idle server always sleeps.

use std::time::Duration;

/// A sleep that was not short takes back so many that were.
const LONG_COST: u32 = 16;
/// Short sleeps before it waits awake for the first time.
const LEAST_SHORT: u32 = 2;
/// The same after it has been in vain again and again.
const MOST_SHORT: u32 = 512;
/// So many times in vain in a row end it.
const MISSES: u32 = 2;
/// A sleep counts as short if it took no longer than so many times the limit: waking takes a part of it.
const SHORT_LIMITS: u32 = 4;
/// After so many times it judges whether others want the processor.
const JUDGED: u32 = 512;
/// To look once takes a microsecond, and with an interrupt in between, on a virtual machine, up to fifty. What took
/// longer than this was the time of another thread.
const LOOK_LIMIT: Duration = Duration::from_micros(100);
/// Others want the processor if they had it for this part of the time. The kernel's own threads need a good deal less.
const OTHERS_PART: u32 = 32;
/// Short sleeps after it has given way.
const GIVEN_WAY_SHORT: u32 = 4096;

/// See the module.
#[derive(Debug)]
pub struct BusyWait {
    state: State,
    /// Short sleeps before the next time.
    needed: u32,
    /// How often it has waited awake since it last judged, for how long, and how much of that others had.
    waits: u32,
    awake: Duration,
    others: Duration,
}

#[derive(Debug, PartialEq, Eq)]
enum State {
    /// It sleeps; so many times for a short time.
    Asleep(u32),
    /// It waits awake; so many times in a row in vain.
    Awake(u32),
}

impl Default for BusyWait {
    fn default() -> BusyWait {
        BusyWait {
            state: State::Asleep(0),
            needed: LEAST_SHORT,
            waits: 0,
            awake: Duration::ZERO,
            others: Duration::ZERO,
        }
    }
}

impl BusyWait {
    /// Whether to wait awake now.
    pub fn is_due(&mut self) -> bool {
        if matches!(self.state, State::Asleep(_)) {
            return false;
        }
        self.waits += 1;
        if self.waits < JUDGED {
            return true;
        }
        let gives_way = self.others * OTHERS_PART > self.awake;
        (self.waits, self.awake, self.others) = (0, Duration::ZERO, Duration::ZERO);
        if gives_way {
            self.needed = GIVEN_WAY_SHORT;
            self.state = State::Asleep(0);
        }
        !gives_way
    }

    /// It has looked once for something to do, which took so long.
    pub fn looked(&mut self, time: Duration) {
        self.awake += time;
        if time > LOOK_LIMIT {
            self.others += time;
        }
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
            State::Asleep(short) if !is_short => State::Asleep(short.saturating_sub(LONG_COST)),
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
            let awake = busy_wait.is_due();
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
    fn a_long_sleep_now_and_then_does_not_keep_it_asleep() {
        let mut busy_wait = BusyWait { needed: MOST_SHORT, ..BusyWait::default() };
        for sleep in 0..1000 {
            let gap = if sleep % 100 == 99 { LONG } else { SHORT };
            if busy_wait.is_due() {
                return;
            }
            busy_wait.slept(gap, LIMIT);
        }
        panic!("it sleeps on");
    }

    #[test]
    fn gaps_just_beyond_the_limit_are_seldom_waited_for() {
        assert!(awake(&mut BusyWait::default(), 10_000, SHORT) < 100);
    }

    /// How many of so many waits it waits awake in, if another thread has the processor for `gap` in one of a hundred.
    fn awake_beside_others(waits: usize, gap: Duration) -> usize {
        let mut busy_wait = BusyWait::default();
        let wait = |wait: &usize| {
            let awake = busy_wait.is_due();
            if awake {
                (0..30).for_each(|_| busy_wait.looked(Duration::from_micros(1)));
                if wait.is_multiple_of(100) {
                    busy_wait.looked(gap);
                }
                busy_wait.caught();
            } else {
                busy_wait.slept(LIMIT, LIMIT);
            }
            awake
        };
        (0..waits).filter(wait).count()
    }

    #[test]
    fn it_gives_way_to_others() {
        let awake = awake_beside_others(50_000, Duration::from_millis(1));
        assert!(awake < 6_000, "{awake}");
    }

    #[test]
    fn the_kernels_own_threads_do_not_keep_it_from_waiting() {
        assert_eq!(awake_beside_others(50_000, Duration::from_micros(50)), 49_998);
    }
}
