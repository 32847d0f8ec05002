//! A snapshot without a fork: a walk through the keys in slices between turns of the loop, which hands over what there
//! was when it began, however commands change it meanwhile (see [`Walk`](crate::db::key_table::Walk)).
//!
//! What is handed over is drafted here and written by a thread ([`drafts`](super::drafts)). When that is behind, the
//! walk waits; only the old states of what is changed meanwhile are drafted all the same, up to a limit.

use super::child::Report;
use super::drafts::{CHUNK, DraftWriter, Inlet};
use super::output::Plan;
use super::{SavedFacts, SnapshotUse, write_head, writer_options};
use crate::db::entry::EntryMut;
use crate::db::key_table::Scribe;
use crate::db::{Db, EntryRef};
use crate::rdb::draft::Draft;
use crate::rdb::writer::{Excluded, Records};
use crate::rdb::{write_elements_later, write_entry, write_key};
use crate::server::Server;
use crate::sys::children::ChildEnd;
use crate::util::clock::Clock;
use std::io;
use std::mem;
use std::time::Duration;

/// A value of more elements is not drafted in one go, if it can be walked through.
const LARGE: usize = 1000;
/// The walk waits while so many bytes of drafts have not been written, until only [`REFILL`] are left.
const AHEAD: usize = 4 * 1024 * 1024;
const REFILL: usize = AHEAD / 2;
/// Buckets walked through before the time is looked at.
const BUCKETS: usize = 16;
/// How long a slice takes: as long as what clients wanted in this turn, within these bounds, or as long as it may if
/// they wanted nothing.
const SHORTEST_SLICE: Duration = Duration::from_micros(100);
const LONGEST_SLICE: Duration = Duration::from_micros(500);

/// Drafts the keys of one database.
struct KeyDraft {
    db: u64,
    draft: Draft,
    inlet: Inlet,
    facts: SavedFacts,
}

impl Scribe for KeyDraft {
    fn take_down(&mut self, entry: EntryRef<'_>) {
        // A draft takes everything.
        if self.draft.is_empty() {
            let _ = self.draft.select_db(self.db);
        }
        let _ = write_entry(&mut self.draft, entry.key(), entry.value(), self.facts.of(entry));
        if self.draft.memory() >= CHUNK {
            self.inlet.send(self.draft.take());
        }
    }

    fn is_large(&self, entry: EntryRef<'_>) -> bool {
        entry.value().walkable() > LARGE
    }

    fn open(&mut self, entry: EntryMut<'_>) -> u64 {
        let mut parts = self.inlet.begin(*self.draft.options());
        let number = parts.number();
        let view = entry.view();
        // Parts take everything.
        let _ = parts.select_db(self.db);
        let _ = write_key(&mut parts, view.key(), view.value(), self.facts.of(view));
        let _ = write_elements_later(parts, entry.into_value_mut());
        number
    }

    fn end(&mut self) {
        if !self.draft.is_empty() {
            self.inlet.send(self.draft.take());
        }
    }
}

/// A snapshot that is being made.
pub struct Forkless {
    id: String,
    writer: DraftWriter,
    stage: Stage,
    /// Databases whose walks have not come to their end.
    walks: usize,
    /// Those of them that clients have emptied.
    kept: Vec<Db>,
    /// Keys of walks that have ended; keys of all.
    ended_keys: u64,
    keys: u64,
    /// By [`Clock::nanos`].
    started_ns: u64,
    /// `rdb-key-save-delay`.
    key_delay: i32,
    /// Whether the next turn can go on.
    is_ready: bool,
    /// Why it failed.
    complaint: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Walking,
    /// All has been handed over.
    Writing,
    Ended(ChildEnd),
}

impl Forkless {
    /// What the temporary file is known by.
    pub(super) fn id(&self) -> &str {
        &self.id
    }

    pub(super) fn report(&self) -> Report {
        Report { keys: self.keys, cow: (self.writer.waiting() + self.writer.held()) as u64 }
    }

    /// How it ended, if it has.
    pub(super) fn end(&mut self) -> Option<ChildEnd> {
        if let Stage::Walking | Stage::Writing = self.stage
            && let Some(outcome) = self.writer.outcome()
        {
            self.stage = Stage::Ended(ChildEnd::Exited(i32::from(outcome.is_err())));
            self.complaint = outcome.err();
        }
        match self.stage {
            Stage::Ended(end) => Some(end),
            Stage::Walking | Stage::Writing => None,
        }
    }

    /// Why it failed, for the log.
    pub(super) fn take_complaint(&mut self) -> Option<String> {
        self.complaint.take()
    }

    /// Whether there is something to be done about it that no event announces.
    pub(crate) fn has_work(&self) -> bool {
        self.is_ready
    }

    /// Whether it has ended, and nobody has looked yet.
    pub(crate) fn has_ended(&self) -> bool {
        self.writer.has_ended() || matches!(self.stage, Stage::Ended(_))
    }

    /// Keeps those of the databases that it has not got through, which nobody else needs any more; returns the others.
    pub(crate) fn keep(&mut self, dbs: Vec<Db>) -> Vec<Db> {
        let (mut kept, others) = dbs.into_iter().partition(|db| db.table.walk().is_some());
        self.kept.append(&mut kept);
        others
    }

    /// Nobody wants it any more. Returns what it has kept.
    pub(super) fn cancel(&mut self, dbs: &mut [Db]) -> Vec<Db> {
        self.writer.cancel();
        let all = dbs.iter_mut().chain(&mut self.kept);
        all.for_each(|db| db.table.end_walk());
        mem::take(&mut self.kept)
    }

    /// Goes on for about so long. Returns databases that nobody needs any more.
    fn go_on(&mut self, dbs: &mut [Db], clock: &Clock, slice: Duration, limit: u64) -> Vec<Db> {
        let (start, mut gone) = (clock.nanos(), Vec::new());
        self.is_ready = self.stage == Stage::Walking;
        while self.stage == Stage::Walking {
            if limit > 0 && (self.writer.waiting() + self.writer.held()) as u64 > limit {
                self.fail(
                    "Ending the snapshot: what is changed meanwhile is more than snapshot-buffer-limit allows to wait until it is written",
                );
                break;
            }
            if !self.may_go_on(clock) || clock.since(start) >= slice {
                break;
            }
            self.step(dbs, &mut gone);
        }
        self.writer.pump();
        gone
    }

    /// Whether the walk need not wait for the writer, nor for the time.
    fn may_go_on(&mut self, clock: &Clock) -> bool {
        if self.writer.waiting() >= AHEAD {
            self.writer.wake_below(REFILL);
            // It may have been written in between.
            self.is_ready = self.writer.waiting() < REFILL;
            return self.is_ready;
        }
        let due_us = match self.key_delay {
            0 => return true,
            1.. => self.keys.saturating_mul(u64::from(self.key_delay.unsigned_abs())),
            _ => self.keys / u64::from(self.key_delay.unsigned_abs()),
        };
        let is_due = clock.since(self.started_ns) >= Duration::from_micros(due_us);
        // The cron will bring it on.
        self.is_ready = is_due;
        is_due
    }

    /// Walks on through one database.
    fn step(&mut self, dbs: &mut [Db], gone: &mut Vec<Db>) {
        let buckets = if self.key_delay == 0 { BUCKETS } else { 1 };
        let walk = |db: &Db| db.table.walk().map(|walk| walk.first_open().unwrap_or(u64::MAX));
        // Values that are open come first, in their order: all else is held back until they have been written.
        let all = dbs.iter_mut().chain(&mut self.kept);
        let walked = all.filter_map(|db| Some((walk(db)?, db)));
        let Some((_, db)) = walked.min_by_key(|(first, _)| *first) else {
            if self.walks > 0 {
                return self.fail("Ending the snapshot: a database was lost");
            }
            self.stage = Stage::Writing;
            self.is_ready = false;
            return self.writer.finish();
        };
        db.table.walk_on(buckets);
        if let Some(walk) = db.table.walk()
            && walk.is_done()
        {
            self.ended_keys += walk.keys();
            self.walks -= 1;
            db.table.end_walk();
            gone.extend(self.kept.extract_if(.., |db| db.table.walk().is_none()));
        }
        let walks = dbs.iter().chain(&self.kept).filter_map(|db| db.table.walk());
        self.keys = self.ended_keys + walks.map(|walk| walk.keys()).sum::<u64>();
    }

    fn fail(&mut self, why: &str) {
        self.writer.cancel();
        self.complaint = Some(why.to_string());
        self.stage = Stage::Ended(ChildEnd::Exited(1));
        self.is_ready = false;
    }
}

/// Begins a snapshot; the loop goes on. `id` tells its temporary files apart.
///
/// # Errors
/// If the system has no thread left.
pub(super) fn begin(
    server: &mut Server,
    plan: Plan,
    id: String,
    purpose: SnapshotUse<'_>,
) -> io::Result<Forkless> {
    let options = writer_options(server, purpose);
    let writer = DraftWriter::start(plan, &id, options, server.persistence.bio.waker())?;
    let mut head = Draft::new(options);
    write_head(server, &mut head, purpose)?;
    let mut walks = 0;
    if !purpose.excludes(Excluded::DATA) {
        let facts = SavedFacts::new(server);
        let full = server.ks.dbs.iter_mut().enumerate().filter(|(_, db)| !db.is_empty());
        for (n, db) in full {
            head.select_db(n as u64)?;
            head.resize_db(db.len() as u64, db.volatile() as u64)?;
            db.table.begin_walk(Box::new(KeyDraft {
                db: n as u64,
                draft: Draft::new(options),
                inlet: writer.inlet(),
                facts,
            }));
            walks += 1;
        }
    }
    writer.inlet().send(head);
    Ok(Forkless {
        id,
        writer,
        stage: Stage::Walking,
        walks,
        kept: Vec::new(),
        ended_keys: 0,
        keys: 0,
        started_ns: server.ks.clock.nanos(),
        key_delay: 0,
        is_ready: true,
        complaint: None,
    })
}

/// Goes on with the snapshot for as long as clients were served in this turn (`None`: no commands came), more or less.
pub(crate) fn go_on(server: &mut Server, served: Option<Duration>) {
    let Some(walk) = server.persistence.walk_mut() else { return };
    let slice = served.map_or(LONGEST_SLICE, |it| it.clamp(SHORTEST_SLICE, LONGEST_SLICE));
    walk.key_delay = server.config.rdb_key_save_delay;
    let limit = server.config.snapshot_buffer_limit;
    let gone = walk.go_on(&mut server.ks.dbs, &server.ks.clock, slice, limit);
    if !gone.is_empty() {
        server.memory.free_databases(gone, true);
    }
}
