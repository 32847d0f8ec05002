//! How far long work is: a line of the log every few seconds while it goes on.

use crate::util::memory_units::human;

/// How often there is a line, in milliseconds. What takes less has none.
const PERIOD_MS: i64 = 5_000;

/// What may take long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Work {
    /// A snapshot or an append-only file is loaded.
    Loading,
    /// A primary's snapshot is received.
    Receiving,
    /// A child writes a snapshot.
    Saving,
    /// A child rewrites the append-only file.
    Rewriting,
}

impl Work {
    pub(crate) const ALL: [Work; 4] =
        [Work::Loading, Work::Receiving, Work::Saving, Work::Rewriting];

    fn name(self) -> &'static str {
        match self {
            Work::Loading => "Loading",
            Work::Receiving => "Receiving the primary's snapshot",
            Work::Saving => "Saving",
            Work::Rewriting => "Rewriting the append-only file",
        }
    }

    fn amount(self, n: u64) -> String {
        match self {
            Work::Loading | Work::Receiving => human(n),
            Work::Saving | Work::Rewriting => format!("{n} keys"),
        }
    }
}

/// How much is done, and how much there is to do in all, in bytes or keys; `None`: nobody knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Done {
    pub done: u64,
    pub total: Option<u64>,
}

/// When a line was written last, or the work was first seen, and how much was done then.
#[derive(Clone, Copy, Debug)]
struct Mark {
    at_ms: i64,
    done: u64,
}

/// What is known of the work that goes on.
#[derive(Debug, Default)]
pub(crate) struct Progress([Option<Mark>; Work::ALL.len()]);

impl Progress {
    /// Takes note of how far some work is (`None`: it does not go on); a line for the log, if it is time for one.
    pub(crate) fn note(&mut self, work: Work, done: Option<Done>, now_ms: i64) -> Option<String> {
        let mark = &mut self.0[work as usize];
        let Some(Done { done, total }) = done else {
            *mark = None;
            return None;
        };
        let last = mark.get_or_insert(Mark { at_ms: now_ms, done });
        let elapsed_ms = now_ms - last.at_ms;
        if elapsed_ms < PERIOD_MS {
            return None;
        }
        let rate = done.saturating_sub(last.done) * 1000 / elapsed_ms.unsigned_abs();
        *last = Mark { at_ms: now_ms, done };
        let how_fast = format!("{}/s", work.amount(rate));
        Some(match total.filter(|total| *total > 0) {
            None => format!("{}: {} done, {how_fast}", work.name(), work.amount(done)),
            Some(total) => {
                let left = total.saturating_sub(done);
                let left = match left.checked_div(rate) {
                    Some(seconds) => format!(", {seconds} s left"),
                    None => String::new(),
                };
                let percent = done.min(total) as f64 / total as f64 * 100.0;
                let all = work.amount(total);
                format!("{}: {percent:.0}% of {all} done, {how_fast}{left}", work.name())
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_work_says_how_far_it_is() {
        let mut progress = Progress::default();
        let mut note =
            |work, done, total, now_ms| progress.note(work, Some(Done { done, total }), now_ms);
        assert_eq!(note(Work::Saving, 0, Some(1000), 100), None);
        assert_eq!(note(Work::Saving, 400, Some(1000), 5_099), None, "short work says nothing");
        let line = note(Work::Saving, 500, Some(1000), 5_100).unwrap();
        assert_eq!(line, "Saving: 50% of 1000 keys done, 100 keys/s, 5 s left");
        assert_eq!(note(Work::Saving, 600, Some(1000), 10_000), None);
        let line = note(Work::Saving, 500, Some(1000), 10_100).unwrap();
        assert_eq!(line, "Saving: 50% of 1000 keys done, 0 keys/s");
        assert_eq!(note(Work::Receiving, 0, None, 0), None);
        let line = note(Work::Receiving, 50 << 20, None, 10_000).unwrap();
        assert_eq!(line, "Receiving the primary's snapshot: 50.00M done, 5.00M/s");
    }

    #[test]
    fn what_begins_anew_is_new() {
        let mut progress = Progress::default();
        let done = Some(Done { done: 1, total: Some(2) });
        assert_eq!(progress.note(Work::Loading, done, 0), None);
        assert_eq!(progress.note(Work::Loading, None, 4_000), None);
        assert_eq!(progress.note(Work::Loading, done, 6_000), None);
        assert!(progress.note(Work::Loading, done, 11_000).is_some());
    }
}
