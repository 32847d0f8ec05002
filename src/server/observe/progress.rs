//! How far the long work is that goes on: for `INFO`, metrics and the live page, and every few seconds for the log.

use crate::util::memory_units::human;
use crate::util::pace::{Done, Pace};

/// How often there is a line of the log, in milliseconds. What takes less has none.
const PERIOD_MS: i64 = 5_000;

/// What may take long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Work {
    /// A snapshot or an append-only file is loaded.
    Loading,
    /// A primary's snapshot is received.
    Receiving,
    /// A snapshot's file is sent to replicas.
    Sending,
    /// A snapshot is written.
    Saving,
    /// The append-only file is rewritten.
    Rewriting,
    /// Memory is freed in the background.
    Freeing,
    /// Slots move to other nodes of the cluster.
    Exporting,
    /// Slots come from other nodes.
    Importing,
}

impl Work {
    pub(crate) const ALL: [Work; 8] = [
        Work::Loading,
        Work::Receiving,
        Work::Sending,
        Work::Saving,
        Work::Rewriting,
        Work::Freeing,
        Work::Exporting,
        Work::Importing,
    ];

    /// For people.
    pub(crate) fn title(self) -> &'static str {
        match self {
            Work::Loading => "Loading",
            Work::Receiving => "Receiving the primary's snapshot",
            Work::Sending => "Sending a snapshot to replicas",
            Work::Saving => "Saving",
            Work::Rewriting => "Rewriting the append-only file",
            Work::Freeing => "Freeing memory",
            Work::Exporting => "Sending slots to other nodes",
            Work::Importing => "Receiving slots from other nodes",
        }
    }

    /// For programs.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Work::Loading => "loading",
            Work::Receiving => "receiving",
            Work::Sending => "sending",
            Work::Saving => "saving",
            Work::Rewriting => "rewriting",
            Work::Freeing => "freeing",
            Work::Exporting => "exporting",
            Work::Importing => "importing",
        }
    }

    /// What it is counted in.
    pub(crate) fn unit(self) -> &'static str {
        match self {
            Work::Loading | Work::Receiving | Work::Sending => "bytes",
            Work::Freeing => "objects",
            Work::Saving | Work::Rewriting | Work::Exporting | Work::Importing => "keys",
        }
    }

    fn amount(self, n: u64) -> String {
        match self.unit() {
            "bytes" => human(n),
            unit => format!("{n} {unit}"),
        }
    }
}

/// Work that goes on.
#[derive(Clone, Copy, Debug)]
struct Course {
    pace: Pace,
    /// When it was first seen, or a line was written last, in milliseconds.
    told_ms: i64,
}

/// What is known of the work that goes on.
#[derive(Debug, Default)]
pub(crate) struct Progress([Option<Course>; Work::ALL.len()]);

impl Progress {
    /// Takes note of how far some work is (`None`: it does not go on); a line for the log, if it is time for one.
    pub(crate) fn note(&mut self, work: Work, done: Option<Done>, now_ms: i64) -> Option<String> {
        let course = &mut self.0[work as usize];
        let Some(done) = done else {
            *course = None;
            return None;
        };
        let new = || Course { pace: Pace::new(done, now_ms), told_ms: now_ms };
        let Course { pace, told_ms } = course.get_or_insert_with(new);
        pace.note(done, now_ms);
        if now_ms - *told_ms < PERIOD_MS {
            return None;
        }
        *told_ms = now_ms;
        Some(format!("{}: {}", work.title(), pace.describe(|n| work.amount(n))))
    }

    /// What goes on, and how far it is.
    pub(crate) fn running(&self) -> impl Iterator<Item = (Work, &Pace)> {
        let course = |work: Work| Some((work, &self.0[work as usize].as_ref()?.pace));
        Work::ALL.into_iter().filter_map(course)
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
        assert_eq!(line, "Saving: 50% of 1000 keys done, 80 keys/s, 6 s left");
        assert_eq!(note(Work::Saving, 600, Some(1000), 10_000), None);
        assert!(note(Work::Saving, 600, Some(1000), 10_100).is_some());
        assert_eq!(note(Work::Receiving, 0, None, 0), None);
        let line = note(Work::Receiving, 50 << 20, None, 10_000).unwrap();
        assert_eq!(line, "Receiving the primary's snapshot: 50.00M done, 5.00M/s");
    }

    #[test]
    fn what_begins_anew_is_new() {
        let mut progress = Progress::default();
        let done = Some(Done { done: 1, total: Some(2) });
        assert_eq!(progress.note(Work::Loading, done, 0), None);
        assert_eq!(progress.running().count(), 1);
        assert_eq!(progress.note(Work::Loading, None, 4_000), None);
        assert_eq!(progress.running().count(), 0);
        assert_eq!(progress.note(Work::Loading, done, 6_000), None);
        assert!(progress.note(Work::Loading, done, 11_000).is_some());
    }

    #[test]
    fn each_work_has_its_place() {
        for (place, work) in Work::ALL.into_iter().enumerate() {
            assert_eq!(work as usize, place);
        }
    }
}
