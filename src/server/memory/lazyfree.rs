//! Freeing in the background, so that the loop doesn't wait for a million deallocations.
//!
//! Garbage goes by value through a channel to one thread, which is started when there is garbage for the first time;
//! what it hands back is how much it has freed. It also gives free memory back to the system, when it is told to.

use crate::db::{Db, Entry, EntryRef};
use crate::sys::process::resident_memory;
use crate::sys::processors::Processors;
use crate::util::alloc;
use crate::value::ValueRef;
use std::cell::Cell;
use std::sync::mpsc::{Receiver, Sender, channel};

/// Encodings of collections that are one allocation.
const COMPACT: [&str; 2] = ["listpack", "intset"];

/// What takes no more work is freed on the spot, since handing it over would cost more.
const WORTHWHILE: usize = 64;

/// Work from which on something is freed in the background even where nobody asked for it (`DEL` and `FLUSHALL`, by
/// default): what takes milliseconds must not be the loop's work. Nobody can tell the difference but those who would
/// have waited.
const HUGE: usize = 50_000;

/// Bytes of a string that are as much work as an allocation.
const PAGE: usize = 4096;

/// What is to be freed. Never looked at, only dropped.
#[expect(dead_code, reason = "owned in order to be dropped elsewhere")]
enum Garbage {
    Databases(Vec<Db>),
    Entry(Entry),
}

enum Job {
    Free {
        objects: usize,
        garbage: Garbage,
    },
    /// Gives free memory back to the system.
    Purge,
}

/// What has become of a job.
enum Done {
    /// So many objects are gone.
    Freed(usize),
    /// So many bytes are the system's again; less than none if others took more meanwhile.
    Purged(i64),
}

struct Worker {
    jobs: Sender<Job>,
    done: Receiver<Done>,
}

/// The thread that frees, and its books.
#[derive(Default)]
pub struct LazyFree {
    worker: Option<Worker>,
    processors: Option<Processors>,
    // The books are brought up to date when somebody reads them.
    pending: Cell<usize>,
    /// All that was handed over since nothing was pending.
    batch: usize,
    freed: Cell<u64>,
    is_purging: Cell<bool>,
    purged: Cell<Option<i64>>,
}

impl LazyFree {
    /// Has the thread run on these processors.
    pub fn set_processors(&mut self, processors: Option<Processors>) {
        self.processors = processors;
    }

    /// Frees whole databases, in the background if that is wanted, or if they are huge.
    pub fn free_databases(&mut self, dbs: Vec<Db>, lazy: bool) {
        let objects = dbs.iter().map(Db::len).sum();
        if objects > 0 && (lazy || are_huge(&dbs)) {
            self.hand_over(objects, Garbage::Databases(dbs));
        }
    }

    /// Frees an entry, in the background if that is wanted (`UNLINK`, the `lazyfree-lazy-*` options) and worth it, or
    /// if it is huge.
    pub fn free_entry(&mut self, entry: Entry, lazy: bool) {
        let work = work_to_free(entry.view());
        if work >= HUGE || (lazy && work > WORTHWHILE) {
            self.hand_over(1, Garbage::Entry(entry));
        }
    }

    /// Keys and values that wait to be freed (`lazyfree_pending_objects`).
    pub fn pending(&self) -> usize {
        self.settle();
        self.pending.get()
    }

    /// How much is freed of what was handed over since nothing was pending, and all of it; `None`: nothing is.
    pub fn progress(&self) -> Option<(usize, usize)> {
        let pending = self.pending();
        (pending > 0).then(|| (self.batch.saturating_sub(pending), self.batch))
    }

    /// Keys and values freed in the background so far (`lazyfreed_objects`).
    pub fn freed(&self) -> u64 {
        self.settle();
        self.freed.get()
    }

    /// Forgets what was freed so far (`CONFIG RESETSTAT`).
    pub fn reset_freed(&self) {
        self.settle();
        self.freed.set(0);
    }

    /// Gives free memory back to the system, when what waits to be freed is.
    pub fn purge(&mut self) {
        if self.send(Job::Purge) {
            self.is_purging.set(true);
        }
    }

    /// Whether a purge is under way.
    pub fn is_purging(&self) -> bool {
        self.settle();
        self.is_purging.get()
    }

    /// The bytes that a purge has given back since this was last asked.
    pub fn take_purged(&self) -> Option<i64> {
        self.settle();
        self.purged.take()
    }

    fn hand_over(&mut self, objects: usize, garbage: Garbage) {
        self.settle();
        if self.send(Job::Free { objects, garbage }) {
            self.batch = if self.pending.get() == 0 { objects } else { self.batch + objects };
            self.pending.update(|n| n + objects);
        }
    }

    /// Whether the thread has got the job. If not it is dropped, and with it its garbage.
    fn send(&mut self, job: Job) -> bool {
        if self.worker.is_none() {
            self.worker = start(self.processors);
        }
        self.worker.as_ref().is_some_and(|worker| worker.jobs.send(job).is_ok())
    }

    /// Enters into the books what has been done.
    fn settle(&self) {
        let Some(worker) = &self.worker else { return };
        for done in worker.done.try_iter() {
            match done {
                Done::Freed(objects) => {
                    self.pending.update(|n| n - objects);
                    self.freed.update(|n| n + objects as u64);
                }
                Done::Purged(bytes) => {
                    self.is_purging.set(false);
                    self.purged.set(Some(bytes));
                }
            }
        }
    }
}

/// About how many allocations a value consists of.
fn work_to_free(entry: EntryRef<'_>) -> usize {
    match entry.value() {
        ValueRef::Int(_) => 1,
        ValueRef::Str(string) => 1 + string.len() / PAGE,
        _ if COMPACT.contains(&entry.encoding()) => 1,
        ValueRef::List(list) => list.node_count(),
        ValueRef::Set(set) => set.len(),
        ValueRef::Hash(hash) => hash.len(),
        ValueRef::Zset(zset) => zset.len(),
        ValueRef::Stream(stream) => {
            let pending: usize = stream.groups.values().map(|group| group.pending_len()).sum();
            stream.log.node_count() + pending
        }
    }
}

fn are_huge(dbs: &[Db]) -> bool {
    let mut left = HUGE;
    dbs.iter().any(|db| {
        // Each key is some work, so that counting stops soon.
        if db.len() < left {
            let work = db.table.iter().map(work_to_free);
            left = work.fold(left, usize::saturating_sub);
        } else {
            left = 0;
        }
        left == 0
    })
}

/// Starts the thread; `None` if the system has none left, and garbage has to be freed in the foreground.
fn start(processors: Option<Processors>) -> Option<Worker> {
    let (jobs, inbox) = channel();
    let (outbox, done) = channel();
    let run = move || {
        for job in inbox {
            let done = match job {
                Job::Free { objects, garbage } => {
                    drop(garbage);
                    alloc::flush_thread();
                    Done::Freed(objects)
                }
                Job::Purge => {
                    let before = resident_memory().total;
                    alloc::purge();
                    Done::Purged(before as i64 - resident_memory().total as i64)
                }
            };
            if outbox.send(done).is_err() {
                return;
            }
        }
    };
    Processors::spawn(processors, "bio_lazy_free", run).ok()?;
    Some(Worker { jobs, done })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::db::Keyspace;
    use crate::ds::hash::HashSeed;
    use std::thread;

    #[test]
    fn databases_are_freed_elsewhere_and_counted() {
        let mut ks = Keyspace::new(2, HashSeed::new([1, 2]));
        for i in 0..1000 {
            ks.set_string(i % 2, i.to_string().as_bytes(), &[b'x'; 2000], None);
        }
        let mut lazyfree = LazyFree::default();
        lazyfree.free_databases(std::mem::take(&mut ks.dbs), true);
        while lazyfree.pending() > 0 {
            thread::yield_now();
        }
        assert_eq!(lazyfree.freed(), 1000);
        lazyfree.reset_freed();
        assert_eq!(lazyfree.freed(), 0);
    }

    #[test]
    fn what_is_huge_is_freed_elsewhere_unasked() {
        let mut ks = Keyspace::new(1, HashSeed::new([1, 2]));
        let free = |ks: &mut Keyspace| {
            let mut lazyfree = LazyFree::default();
            let fresh = vec![ks.new_db()];
            lazyfree.free_databases(std::mem::replace(&mut ks.dbs, fresh), false);
            lazyfree.worker.is_some()
        };
        for i in 0..HUGE / 3 {
            ks.set_string(0, i.to_string().as_bytes(), b"x", None);
        }
        assert!(!free(&mut ks), "that is not much");
        for i in 0..HUGE {
            ks.set_string(0, i.to_string().as_bytes(), b"x", None);
        }
        assert!(free(&mut ks), "many keys");
        ks.set_string(0, b"key", &vec![b'x'; PAGE * HUGE], None);
        assert!(free(&mut ks), "much of a key");
    }

    #[test]
    fn a_purge_is_told_of() {
        let mut lazyfree = LazyFree::default();
        assert!(!lazyfree.is_purging() && lazyfree.take_purged().is_none());
        lazyfree.purge();
        while lazyfree.is_purging() {
            thread::yield_now();
        }
        assert!(lazyfree.take_purged().is_some() && lazyfree.take_purged().is_none());
    }

    #[test]
    fn small_values_are_not_worth_a_thread() {
        let mut lazyfree = LazyFree::default();
        lazyfree.free_entry(Entry::string(b"key", b"value", None), true);
        assert!(lazyfree.worker.is_none());
        assert_eq!((lazyfree.pending(), lazyfree.freed()), (0, 0));
    }
}
