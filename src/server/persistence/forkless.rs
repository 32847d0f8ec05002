//! A snapshot without a fork: a walk through the keys in slices between turns of the loop, which hands over what there
//! was when it began, however commands change it meanwhile (see [`Walk`](crate::db::key_table::Walk)).
//!
//! What is handed over is drafted here and written by a thread ([`drafts`](super::drafts)). When that is behind, the
//! walk waits; only the old states of what is changed meanwhile are drafted all the same, up to a limit.

use super::child::Report;
use super::drafts::{CHUNK, DraftWriter, Inlet};
use super::output::Plan;
use super::task::SaveTarget;
use super::{SavedFacts, SnapshotUse, write_head, writer_options};
use crate::db::entry::EntryMut;
use crate::db::key_table::Scribe;
use crate::db::{Db, EntryRef};
use crate::rdb::draft::Draft;
use crate::rdb::writer::{Excluded, Records};
use crate::rdb::{write_elements_later, write_entry, write_key};
use crate::server::Server;
use crate::server::placement;
use crate::sys::children::ChildEnd;
use crate::util::clock::Clock;
use crate::value::ValueRef;
use std::io;
use std::mem;
use std::time::Duration;

/// A value of more elements is not drafted in one go, if it can be walked through.
const LARGE: usize = 1000;
/// A string of so many bytes is shared with the drafts, not copied.
const LONG: usize = 64 * 1024;
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

impl KeyDraft {
    fn begin_record(&mut self) {
        // A draft takes everything.
        if self.draft.is_empty() {
            let _ = self.draft.select_db(self.db);
        }
    }

    fn end_record(&mut self) {
        if self.draft.memory() >= CHUNK {
            self.inlet.send(self.draft.take());
        }
    }

    /// Takes down a key with a long string, which is not copied unless somebody changes it before it is written.
    fn share_string(&mut self, entry: EntryMut<'_>) {
        self.begin_record();
        let view = entry.view();
        let _ = write_key(&mut self.draft, view.key(), view.value(), self.facts.of(view));
        if let Some(string) = entry.share_string() {
            self.draft.shared_string(string);
        }
        self.end_record();
    }
}

impl Scribe for KeyDraft {
    fn take_down(&mut self, entry: EntryRef<'_>) {
        self.begin_record();
        let _ = write_entry(&mut self.draft, entry.key(), entry.value(), self.facts.of(entry));
        self.end_record();
    }

    fn is_large(&self, entry: EntryRef<'_>) -> bool {
        match entry.value() {
            ValueRef::Str(string) => string.len() >= LONG,
            value => value.walkable() > LARGE,
        }
    }

    fn open(&mut self, entry: EntryMut<'_>) -> Option<u64> {
        if entry.view().is_string() {
            self.share_string(entry);
            return None;
        }
        let mut parts = self.inlet.begin(*self.draft.options());
        let (number, heir, kept) = (parts.number(), parts.heir(), self.inlet.kept());
        let view = entry.view();
        // Parts take everything.
        let _ = parts.select_db(self.db);
        let _ = write_key(&mut parts, view.key(), view.value(), self.facts.of(view));
        let _ = write_elements_later(parts, entry.into_value_mut(), heir, kept);
        Some(number)
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
    /// Where it goes on, if that has been looked for in this slice.
    at: Option<Place>,
    /// The most bytes that a step has drafted.
    largest_step: usize,
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

/// Where a database is.
#[derive(Clone, Copy, Debug)]
enum Place {
    Numbered(usize),
    Kept(usize),
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
        // Commands may have changed everything.
        self.at = None;
        while self.stage == Stage::Walking {
            if limit > 0 && self.waits_beyond(limit) {
                self.fail(
                    "Ending the snapshot: what is changed meanwhile is more than snapshot-buffer-limit allows to wait until it is written",
                );
                break;
            }
            if !self.may_go_on(clock) || clock.since(start) >= slice {
                break;
            }
            let before = self.writer.waiting();
            self.step(dbs, &mut gone);
            let drafted = self.writer.waiting().saturating_sub(before);
            self.largest_step = self.largest_step.max(drafted);
        }
        self.writer.pump();
        gone
    }

    /// Whether more bytes wait than the limit, beside those that the walk itself makes wait.
    fn waits_beyond(&self, limit: u64) -> bool {
        let own = (AHEAD + self.largest_step) as u64;
        (self.writer.waiting() + self.writer.held()) as u64 > limit.saturating_add(own)
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
        let Some(at) = self.at.or_else(|| self.find_place(dbs)) else {
            if self.walks > 0 {
                return self.fail("Ending the snapshot: a database was lost");
            }
            self.stage = Stage::Writing;
            self.is_ready = false;
            return self.writer.finish();
        };
        let db = match at {
            Place::Numbered(n) => &mut dbs[n],
            Place::Kept(n) => &mut self.kept[n],
        };
        let Some((open, keys)) = db.table.walk().map(|walk| (walk.first_open(), walk.keys()))
        else {
            return;
        };
        db.table.walk_on(buckets);
        let Some(walk) = db.table.walk() else { return };
        self.keys += walk.keys() - keys;
        // Where nothing was open nothing has become so elsewhere: what was opened since is in this database.
        let goes_on = !walk.is_done() && (open.is_none() || open == walk.first_open());
        self.at = Some(at).filter(|_| goes_on);
        if walk.is_done() {
            self.ended_keys += walk.keys();
            self.walks -= usize::from(!walk.is_of_guests());
            db.table.end_walk();
            gone.extend(self.kept.extract_if(.., |db| db.table.walk().is_none()));
        }
    }

    /// Where to go on: values that are open come first, in their order, since all else is held back until they have
    /// been written. Counts the keys, too.
    fn find_place(&mut self, dbs: &[Db]) -> Option<Place> {
        let numbered = dbs.iter().enumerate().map(|(n, db)| (Place::Numbered(n), db));
        let kept = self.kept.iter().enumerate().map(|(n, db)| (Place::Kept(n), db));
        self.keys = self.ended_keys;
        let walks = numbered.chain(kept).filter_map(|(place, db)| Some((place, db.table.walk()?)));
        let counted = walks.inspect(|(_, walk)| self.keys += walk.keys());
        let first = counted.min_by_key(|(_, walk)| walk.first_open().unwrap_or(u64::MAX));
        first.map(|(place, _)| place)
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
    target: SaveTarget,
    purpose: SnapshotUse<'_>,
) -> io::Result<Forkless> {
    let options = writer_options(server, purpose);
    let processors = placement::of_thread(server, target.processors(&server.config));
    let writer =
        DraftWriter::start(plan, &id, options, server.persistence.bio.waker(), processors)?;
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
        at: None,
        largest_step: 0,
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
