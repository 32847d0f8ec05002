//! When the append-only file is rewritten: on demand, by its growth, and how long to wait after failures.

/// After so many failures in a row, the next rewrite by itself has to wait.
const FAILURES_BEFORE_LIMIT: u32 = 3;
/// It waits a minute, then two, then four; no longer than this.
const MAX_DELAY_MINUTES: i64 = 60;

/// What is to be done about rewriting now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NextRewrite {
    /// Nothing, or not yet.
    Nothing,
    /// One that was scheduled is to start.
    Scheduled,
    /// The files have grown by so many percent, and one is to start.
    Grown { percent: u64 },
    /// One was to start, but too many have failed: it will wait for so many minutes.
    Limited { minutes: i64 },
}

/// When a rewrite that failed again and again may be tried again by itself.
#[derive(Debug, Default)]
struct Retry {
    delay_minutes: i64,
    /// Seconds since 1970.
    not_before: Option<i64>,
}

/// What is known of rewrites.
#[derive(Debug, Default)]
pub(crate) struct Rewrites {
    /// One waits for another child.
    is_scheduled: bool,
    count: u64,
    last_ok: Option<bool>,
    last_seconds: Option<i64>,
    last_cow_bytes: u64,
    failures: u32,
    retry: Retry,
    /// Bytes of all files, and of all when the last rewrite ended.
    size: u64,
    base_size: u64,
}

impl Rewrites {
    /// What is to be done, where no child is at work. `percentage`, `min_size`: what growth calls for one; `grows`:
    /// whether there is a complete file that can grow.
    pub fn next(&mut self, grows: bool, percentage: u64, min_size: u64, now: i64) -> NextRewrite {
        let due = match self.growth() {
            _ if self.is_scheduled => NextRewrite::Scheduled,
            percent if grows && percentage > 0 && self.size > min_size && percent >= percentage => {
                NextRewrite::Grown { percent }
            }
            _ => return NextRewrite::Nothing,
        };
        if self.failures < FAILURES_BEFORE_LIMIT {
            self.retry = Retry::default();
            return due;
        }
        if let Some(at) = self.retry.not_before {
            if now < at {
                return NextRewrite::Nothing;
            }
            self.retry.not_before = None;
            return due;
        }
        let minutes = (self.retry.delay_minutes * 2).clamp(1, MAX_DELAY_MINUTES);
        self.retry = Retry { delay_minutes: minutes, not_before: Some(now + minutes * 60) };
        NextRewrite::Limited { minutes }
    }

    /// By how many percent the files have grown since the last rewrite.
    fn growth(&self) -> u64 {
        (self.size.saturating_mul(100) / self.base_size.max(1)).saturating_sub(100)
    }

    /// One is to start as soon as there is no other child.
    pub fn schedule(&mut self) {
        self.is_scheduled = true;
    }

    /// Somebody has asked for one, who is not to suffer for failures of the past.
    pub fn schedule_on_demand(&mut self) {
        self.is_scheduled = true;
        self.failures = 0;
    }

    /// What was scheduled is done, or called off; whether there was anything.
    pub fn unschedule(&mut self) -> bool {
        std::mem::take(&mut self.is_scheduled)
    }

    pub fn count_start(&mut self) {
        self.count += 1;
    }

    /// One could not be started.
    pub fn could_not_start(&mut self) {
        self.last_ok = Some(false);
    }

    /// One has ended.
    pub fn ended(&mut self, ok: bool) {
        self.last_ok = Some(ok);
        self.failures = if ok { 0 } else { self.failures + 1 };
    }

    pub fn note_duration(&mut self, seconds: i64) {
        self.last_seconds = Some(seconds);
    }

    pub fn note_cow(&mut self, bytes: u64) {
        self.last_cow_bytes = bytes;
    }

    /// So much has been appended.
    pub fn grow(&mut self, bytes: u64) {
        self.size += bytes;
    }

    /// The files are of this size now, of which growth is counted from `base_size`.
    pub fn set_sizes(&mut self, size: u64, base_size: u64) {
        (self.size, self.base_size) = (size, base_size);
    }

    pub fn is_scheduled(&self) -> bool {
        self.is_scheduled
    }

    pub fn count(&self) -> u64 {
        self.count
    }

    pub fn last_ok(&self) -> Option<bool> {
        self.last_ok
    }

    pub fn last_seconds(&self) -> Option<i64> {
        self.last_seconds
    }

    pub fn last_cow_bytes(&self) -> u64 {
        self.last_cow_bytes
    }

    /// How many have failed since one went well.
    pub fn failures(&self) -> u32 {
        self.failures
    }

    pub fn size(&self) -> u64 {
        self.size
    }

    pub fn base_size(&self) -> u64 {
        self.base_size
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn growth_calls_for_a_rewrite() {
        let mut rewrites = Rewrites::default();
        rewrites.set_sizes(100, 100);
        let mut next = |bytes, grows, percentage, min_size| {
            rewrites.grow(bytes);
            rewrites.next(grows, percentage, min_size, 0)
        };
        assert_eq!(next(99, true, 100, 10), NextRewrite::Nothing);
        assert_eq!(next(1, true, 100, 10), NextRewrite::Grown { percent: 100 });
        assert_eq!(next(0, true, 100, 200), NextRewrite::Nothing, "it is too small");
        assert_eq!(next(0, true, 0, 10), NextRewrite::Nothing, "growth is not to count");
        assert_eq!(next(0, false, 100, 10), NextRewrite::Nothing, "there is no complete file");
    }

    #[test]
    fn what_was_scheduled_needs_no_growth() {
        let mut rewrites = Rewrites::default();
        rewrites.schedule();
        assert_eq!(rewrites.next(false, 0, 0, 0), NextRewrite::Scheduled);
        assert_eq!(rewrites.next(false, 0, 0, 0), NextRewrite::Scheduled, "until it has started");
        assert!(rewrites.unschedule());
        assert_eq!(rewrites.next(false, 0, 0, 0), NextRewrite::Nothing);
    }

    #[test]
    fn failures_make_it_wait_longer_and_longer() {
        let mut rewrites = Rewrites::default();
        rewrites.schedule();
        (0..3).for_each(|_| rewrites.ended(false));
        let mut now = 0;
        for expected in [1, 2, 4, 8, 16, 32, 60, 60] {
            let limited = NextRewrite::Limited { minutes: expected };
            assert_eq!(rewrites.next(false, 0, 0, now), limited);
            assert_eq!(rewrites.next(false, 0, 0, now + expected * 60 - 1), NextRewrite::Nothing);
            now += expected * 60;
            assert_eq!(rewrites.next(false, 0, 0, now), NextRewrite::Scheduled);
            rewrites.ended(false);
        }
        rewrites.schedule_on_demand();
        assert_eq!(rewrites.next(false, 0, 0, now), NextRewrite::Scheduled);
    }
}
