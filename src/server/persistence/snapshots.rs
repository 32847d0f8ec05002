//! What is known of snapshots: how the last ones went, and whether another one is due.

use crate::server::config::{SavePoint, SnapshotMethod};

/// How long to wait before another attempt by itself, after a background save failed, in seconds.
const RETRY_DELAY_SECONDS: i64 = 5;

/// Why a snapshot is to be made without anybody asking for it now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SaveReason {
    /// A save point has been reached.
    Point(SavePoint),
    /// `BGSAVE SCHEDULE` had to wait for another child; how it is to be made, if that was said.
    Scheduled(Option<SnapshotMethod>),
}

/// What is known of snapshots. Times are seconds since 1970.
#[derive(Debug)]
pub(crate) struct Snapshots {
    /// A `BGSAVE SCHEDULE` waits for another child, and how it is to be made.
    scheduled: Option<Option<SnapshotMethod>>,
    last_save: i64,
    last_try: i64,
    last_ok: bool,
    /// How long the last background save took, in seconds.
    last_duration: Option<i64>,
    /// How the last background save was made.
    last_method: Option<SnapshotMethod>,
    saves: u64,
    last_cow_bytes: u64,
    /// Changes that were there when the background save began.
    changes_before: u64,
    keys_loaded: u64,
    keys_expired: u64,
}

impl Snapshots {
    pub fn new(now: i64) -> Snapshots {
        Snapshots {
            scheduled: None,
            last_save: now,
            last_try: 0,
            last_ok: true,
            last_duration: None,
            last_method: None,
            saves: 0,
            last_cow_bytes: 0,
            changes_before: 0,
            keys_loaded: 0,
            keys_expired: 0,
        }
    }

    /// Why a background save is to begin now, if it is; what was scheduled is taken as done then.
    pub fn take_due(&mut self, points: &[SavePoint], changes: u64, now: i64) -> Option<SaveReason> {
        let failed_lately = !self.last_ok && now - self.last_try <= RETRY_DELAY_SECONDS;
        if failed_lately {
            return None;
        }
        let since = now - self.last_save;
        let reached = points.iter().find(|p| changes >= p.changes && since > p.seconds as i64);
        let reason = match reached {
            Some(point) => SaveReason::Point(*point),
            None => SaveReason::Scheduled(self.scheduled?),
        };
        self.scheduled = None;
        Some(reason)
    }

    /// One is to be made as soon as there is no other child, in this way or else in the usual.
    pub fn schedule(&mut self, method: Option<SnapshotMethod>) {
        self.scheduled = Some(method);
    }

    /// What was scheduled is not to be done. `false` if nothing was.
    pub fn unschedule(&mut self) -> bool {
        self.scheduled.take().is_some()
    }

    /// One is made for the snapshot file.
    pub fn count_save(&mut self) {
        self.saves += 1;
    }

    /// One is to be made, while so many changes are in none.
    pub fn begin(&mut self, changes: u64, now: i64) {
        self.changes_before = changes;
        self.last_try = now;
    }

    /// It could not be made.
    pub fn failed(&mut self) {
        self.last_ok = false;
    }

    /// The snapshot file has been written.
    pub fn saved(&mut self, now: i64) {
        self.last_save = now;
        self.last_ok = true;
    }

    /// The changes made since the child began, of so many in all: those that its snapshot has not.
    pub fn changes_since_begin(&self, changes: u64) -> u64 {
        changes.saturating_sub(self.changes_before)
    }

    /// The last one was made in this way, or was to be.
    pub fn note_method(&mut self, method: SnapshotMethod) {
        self.last_method = Some(method);
    }

    /// How the last one was made.
    pub fn last_method(&self) -> Option<SnapshotMethod> {
        self.last_method
    }

    /// The snapshot file was written in so many seconds.
    pub fn note_duration(&mut self, seconds: i64) {
        self.last_duration = Some(seconds);
    }

    pub fn note_cow(&mut self, bytes: u64) {
        self.last_cow_bytes = bytes;
    }

    /// One has been loaded.
    pub fn note_loaded(&mut self, keys_loaded: u64, keys_expired: u64) {
        (self.keys_loaded, self.keys_expired) = (keys_loaded, keys_expired);
    }

    pub fn last_save(&self) -> i64 {
        self.last_save
    }

    /// Whether the last background save went well.
    pub fn last_ok(&self) -> bool {
        self.last_ok
    }

    /// How long the last background save took, in seconds.
    pub fn last_duration(&self) -> Option<i64> {
        self.last_duration
    }

    pub fn saves(&self) -> u64 {
        self.saves
    }

    pub fn last_cow_bytes(&self) -> u64 {
        self.last_cow_bytes
    }

    pub fn keys_loaded(&self) -> u64 {
        self.keys_loaded
    }

    pub fn keys_expired(&self) -> u64 {
        self.keys_expired
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: i64 = 1_000_000;
    const HOURLY: SavePoint = SavePoint { seconds: 3600, changes: 1 };
    const BUSY: SavePoint = SavePoint { seconds: 60, changes: 10_000 };

    #[test]
    fn a_save_point_needs_its_changes_and_its_time() {
        let due = |changes, after| {
            Snapshots::new(START).take_due(&[HOURLY, BUSY], changes, START + after)
        };
        assert_eq!(due(0, 1_000_000), None);
        assert_eq!(due(1, 3600), None);
        assert_eq!(due(1, 3601), Some(SaveReason::Point(HOURLY)));
        assert_eq!(due(9_999, 61), None);
        assert_eq!(due(10_000, 60), None);
        assert_eq!(due(10_000, 61), Some(SaveReason::Point(BUSY)));
    }

    #[test]
    fn what_was_scheduled_is_done_once() {
        let mut snapshots = Snapshots::new(START);
        snapshots.schedule(Some(SnapshotMethod::Fork));
        let scheduled = SaveReason::Scheduled(Some(SnapshotMethod::Fork));
        assert_eq!(snapshots.take_due(&[], 0, START), Some(scheduled));
        assert_eq!(snapshots.take_due(&[], 0, START), None);
    }

    #[test]
    fn a_failure_is_not_repeated_at_once() {
        let mut snapshots = Snapshots::new(START);
        snapshots.schedule(None);
        let at = START + 4000;
        snapshots.begin(5, at);
        snapshots.failed();
        assert_eq!(snapshots.take_due(&[HOURLY], 5, at + 5), None);
        assert_eq!(snapshots.take_due(&[HOURLY], 5, at + 6), Some(SaveReason::Point(HOURLY)));
    }

    #[test]
    fn changes_made_meanwhile_are_left() {
        let mut snapshots = Snapshots::new(START);
        snapshots.begin(100, START + 10);
        assert_eq!(snapshots.changes_since_begin(130), 30);
        assert_eq!(snapshots.changes_since_begin(7), 0, "FLUSHALL has counted anew meanwhile");
        snapshots.saved(START + 20);
        assert_eq!(snapshots.last_save(), START + 20);
        assert!(snapshots.last_ok());
    }
}
