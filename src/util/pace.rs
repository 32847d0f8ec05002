//! How far long work is, how fast it goes on, and when it will be done.

/// Over how long a rate is measured, in milliseconds.
const WINDOW_MS: i64 = 1000;

/// How much is done, and how much there is to do in all, in whatever is counted; `None`: nobody knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Done {
    pub done: u64,
    pub total: Option<u64>,
}

/// The course of some work.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    at: Done,
    /// When the window began over which the rate is measured next, and how much was done then.
    window_ms: i64,
    window_done: u64,
    per_second: Option<u64>,
}

impl Pace {
    /// That of work which is this far when it is first seen; times are in milliseconds since any moment.
    pub fn new(at: Done, now_ms: i64) -> Pace {
        Pace {
            at: Done { total: at.total.filter(|total| *total > 0), ..at },
            window_ms: now_ms,
            window_done: at.done,
            per_second: None,
        }
    }

    /// The work has got on.
    pub fn note(&mut self, at: Done, now_ms: i64) {
        self.at = Done { total: at.total.filter(|total| *total > 0), ..at };
        let elapsed_ms = now_ms - self.window_ms;
        if elapsed_ms < WINDOW_MS {
            return;
        }
        let more = at.done.saturating_sub(self.window_done);
        let rate = more.saturating_mul(1000) / elapsed_ms.unsigned_abs();
        // Half of it is what was: a figure that people read should not jump.
        self.per_second = Some(self.per_second.map_or(rate, |before| before.midpoint(rate)));
        (self.window_ms, self.window_done) = (now_ms, at.done);
    }

    pub fn done(&self) -> u64 {
        self.at.done
    }

    pub fn total(&self) -> Option<u64> {
        self.at.total
    }

    /// At most 100.
    pub fn percent(&self) -> Option<f64> {
        let total = self.at.total?;
        Some(self.at.done.min(total) as f64 / total as f64 * 100.0)
    }

    /// `None`: it has not gone on for long enough.
    pub fn per_second(&self) -> Option<u64> {
        self.per_second
    }

    /// `None`: nothing can be said.
    pub fn seconds_left(&self) -> Option<u64> {
        self.at.total?.saturating_sub(self.at.done).checked_div(self.per_second?)
    }

    /// All of it in words, amounts as `amount` writes them.
    pub fn describe(&self, amount: impl Fn(u64) -> String) -> String {
        let mut text = match (self.percent(), self.at.total) {
            (Some(percent), Some(total)) => format!("{percent:.0}% of {} done", amount(total)),
            _ => format!("{} done", amount(self.at.done)),
        };
        if let Some(rate) = self.per_second {
            text += &format!(", {}/s", amount(rate));
        }
        if let Some(seconds) = self.seconds_left() {
            text += &format!(", {seconds} s left");
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(done: u64, total: u64) -> Done {
        Done { done, total: Some(total) }
    }

    #[test]
    fn rate_and_time_left_follow_the_course() {
        let mut pace = Pace::new(of(100, 1000), 0);
        assert_eq!(
            (pace.percent(), pace.per_second(), pace.seconds_left()),
            (Some(10.0), None, None)
        );
        pace.note(of(150, 1000), 999);
        assert_eq!((pace.percent(), pace.per_second()), (Some(15.0), None));
        pace.note(of(300, 1000), 2000);
        assert_eq!((pace.per_second(), pace.seconds_left()), (Some(100), Some(7)));
        pace.note(of(600, 1000), 3000);
        assert_eq!((pace.per_second(), pace.seconds_left()), (Some(200), Some(2)));
        assert_eq!(
            pace.describe(|n| format!("{n} keys")),
            "60% of 1000 keys done, 200 keys/s, 2 s left"
        );
        pace.note(of(1200, 1000), 3100);
        assert_eq!((pace.percent(), pace.seconds_left()), (Some(100.0), Some(0)));
    }

    #[test]
    fn what_is_not_known_is_not_said() {
        for total in [None, Some(0)] {
            let mut pace = Pace::new(Done { done: 0, total }, 0);
            assert_eq!(pace.describe(|n| n.to_string()), "0 done");
            pace.note(Done { done: 50, total }, 5000);
            assert_eq!(pace.describe(|n| n.to_string()), "50 done, 10/s");
            assert_eq!((pace.percent(), pace.seconds_left()), (None, None));
        }
        let mut stopped = Pace::new(of(5, 10), 0);
        stopped.note(of(5, 10), 1000);
        assert_eq!(stopped.describe(|n| n.to_string()), "50% of 10 done, 0/s");
        // A clock that was set back, and work that begins anew.
        stopped.note(of(1, 10), -1000);
        stopped.note(of(1, 10), 2000);
        assert_eq!(stopped.per_second(), Some(0));
    }
}
