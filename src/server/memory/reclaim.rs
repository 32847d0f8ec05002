//! Giving free memory back to the system, within seconds of a large freeing.
//!
//! The allocator keeps what is freed until it is told to purge (see [`alloc`](crate::util::alloc)). Once a second the
//! *gap* is looked at: the bytes that the process holds beyond those that are used. When it has grown, the background
//! thread purges, which may take long. What a purge leaves of the gap can't be given back (the program itself,
//! fragmentation), and is the *floor* above which it has to grow next time: a gap that is there to stay is not purged
//! again and again.
//!
//! Threads and commands need not say what they have freed, and what was allocated and freed between two looks is seen,
//! too.

const PERIOD_MS: i64 = 1000;
/// Bytes by which the gap may grow before anything is done, beside the share of what is used.
const SLACK: i64 = 2 << 20;
const SLACK_SHARE: i64 = 32;

/// What is known of the gap.
#[derive(Debug, Default)]
pub struct Reclaim {
    floor: Option<i64>,
    /// The gap when the purge that is under way was asked for.
    before_purge: i64,
    last_look_ms: i64,
}

impl Reclaim {
    /// Whether the last look is long enough ago for another one, which begins now.
    pub fn is_time(&mut self, now_ms: i64) -> bool {
        let is_time = now_ms - self.last_look_ms >= PERIOD_MS;
        if is_time {
            self.last_look_ms = now_ms;
        }
        is_time
    }

    /// Looks at what is resident and used, in bytes; returns whether to purge.
    pub fn look(&mut self, resident: u64, used: u64) -> bool {
        let gap = resident as i64 - used as i64;
        let floor = gap.min(self.floor.unwrap_or(gap));
        self.floor = Some(floor);
        self.before_purge = gap;
        gap - floor > SLACK + used as i64 / SLACK_SHARE
    }

    /// The purge has given so many bytes back.
    pub fn note_purge(&mut self, given_back: i64) {
        self.floor = Some(self.before_purge - given_back);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MB: u64 = 1 << 20;

    #[test]
    fn a_gap_that_has_grown_is_purged_once() {
        let mut reclaim = Reclaim::default();
        assert!(!reclaim.look(12 * MB, 2 * MB), "what is there from the start is the floor");
        assert!(!reclaim.look(110 * MB, 100 * MB), "what is used is no gap");
        assert!(reclaim.look(110 * MB, 2 * MB));
        reclaim.note_purge(90 * MB as i64);
        assert!(!reclaim.look(20 * MB, 2 * MB), "the rest can't be given back");
        assert!(reclaim.look(30 * MB, 2 * MB), "ten more may");
    }

    #[test]
    fn what_is_freed_meanwhile_is_purged_next() {
        let mut reclaim = Reclaim::default();
        reclaim.look(10 * MB, 2 * MB);
        assert!(reclaim.look(110 * MB, 2 * MB));
        reclaim.note_purge(100 * MB as i64);
        assert!(reclaim.look(60 * MB, 2 * MB));
    }

    #[test]
    fn it_is_looked_once_a_second() {
        let mut reclaim = Reclaim::default();
        let looks = (0..4 * PERIOD_MS).filter(|ms| reclaim.is_time(PERIOD_MS + ms)).count();
        assert_eq!(looks, 4);
    }

    #[test]
    fn the_slack_grows_with_what_is_used() {
        let mut reclaim = Reclaim::default();
        assert!(!reclaim.look(6410 * MB, 6400 * MB));
        assert!(!reclaim.look(6600 * MB, 6400 * MB));
        assert!(reclaim.look(6620 * MB, 6400 * MB));
    }
}
