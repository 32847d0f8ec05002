//! Freeing in the background, so that the loop doesn't wait for a million deallocations.
//!
//! Garbage goes by value through a channel to one thread, which is started when there is garbage for the first time;
//! what it hands back is how much it has freed.
#![forbid(unsafe_code)]

use super::Server;
use crate::db::{Db, Entry, EntryRef};
use crate::util::alloc;
use crate::value::ValueRef;
use std::cell::Cell;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

/// Encodings of values that are one allocation.
const COMPACT: [&str; 5] = ["int", "embstr", "raw", "listpack", "intset"];

/// What takes no more work is freed on the spot, since handing it over would cost more.
const WORTHWHILE: usize = 64;

/// Work from which on a value is freed in the background even where nobody asked for it (`DEL`, by default): what
/// takes milliseconds must not be the loop's work. Nobody can tell the difference but those who would have waited.
const HUGE: usize = 50_000;

/// What is to be freed. Never looked at, only dropped.
#[expect(dead_code, reason = "owned in order to be dropped elsewhere")]
enum Garbage {
    Databases(Vec<Db>),
    Entry(Entry),
}

struct Job {
    objects: usize,
    garbage: Garbage,
}

struct Worker {
    jobs: Sender<Job>,
    /// How many objects each finished job had.
    done: Receiver<usize>,
}

/// The thread that frees, and its books.
#[derive(Default)]
pub struct LazyFree {
    worker: Option<Worker>,
    // The books are brought up to date when somebody reads them.
    pending: Cell<usize>,
    freed: Cell<u64>,
}

impl LazyFree {
    /// Frees whole databases in the background.
    pub fn free_databases(&mut self, dbs: Vec<Db>) {
        let objects = dbs.iter().map(Db::len).sum();
        if objects > 0 {
            self.hand_over(Job { objects, garbage: Garbage::Databases(dbs) });
        }
    }

    /// Frees an entry, in the background if that is wanted (`UNLINK`, the `lazyfree-lazy-*` options) and worth it, or
    /// if it is huge.
    pub fn free_entry(&mut self, entry: Entry, lazy: bool) {
        let work = work_to_free(entry.view());
        if work >= HUGE || (lazy && work > WORTHWHILE) {
            self.hand_over(Job { objects: 1, garbage: Garbage::Entry(entry) });
        }
    }

    /// Keys and values that wait to be freed (`lazyfree_pending_objects`).
    pub fn pending(&self) -> usize {
        self.settle();
        self.pending.get()
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

    fn hand_over(&mut self, job: Job) {
        self.settle();
        if self.worker.is_none() {
            self.worker = start();
        }
        let Some(worker) = &self.worker else { return };
        let objects = job.objects;
        // A failure hands the garbage back, to be dropped here and now.
        if worker.jobs.send(job).is_ok() {
            self.pending.update(|n| n + objects);
        }
    }

    /// Enters into the books what has been done.
    fn settle(&self) {
        let Some(worker) = &self.worker else { return };
        for objects in worker.done.try_iter() {
            self.pending.update(|n| n - objects);
            self.freed.update(|n| n + objects as u64);
        }
    }
}

/// About how many allocations a value consists of.
fn work_to_free(entry: EntryRef<'_>) -> usize {
    match entry.value() {
        _ if COMPACT.contains(&entry.encoding()) => 1,
        ValueRef::Int(_) | ValueRef::Str(_) => 1,
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

/// Starts the thread; `None` if the system has none left, and garbage has to be freed in the foreground.
fn start() -> Option<Worker> {
    let (jobs, inbox) = channel::<Job>();
    let (outbox, done) = channel();
    let run = move || {
        for Job { objects, garbage } in inbox {
            drop(garbage);
            alloc::flush_thread();
            if outbox.send(objects).is_err() {
                return;
            }
        }
    };
    thread::Builder::new().name("bio_lazy_free".into()).spawn(run).ok()?;
    Some(Worker { jobs, done })
}

impl Server {
    /// Frees databases that nobody sees any more in the background.
    pub fn lazy_free(&mut self, old: Vec<Db>) {
        self.lazyfree.free_databases(old);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::db::Keyspace;
    use crate::ds::hash::HashSeed;

    #[test]
    fn databases_are_freed_elsewhere_and_counted() {
        let mut ks = Keyspace::new(2, HashSeed::new([1, 2]));
        for i in 0..1000 {
            ks.set_string(i % 2, i.to_string().as_bytes(), &[b'x'; 2000], None);
        }
        let mut lazyfree = LazyFree::default();
        lazyfree.free_databases(std::mem::take(&mut ks.dbs));
        while lazyfree.pending() > 0 {
            thread::yield_now();
        }
        assert_eq!(lazyfree.freed(), 1000);
        lazyfree.reset_freed();
        assert_eq!(lazyfree.freed(), 0);
    }

    #[test]
    fn small_values_are_not_worth_a_thread() {
        let mut lazyfree = LazyFree::default();
        lazyfree.free_entry(Entry::string(b"key", b"value", None), true);
        assert!(lazyfree.worker.is_none());
        assert_eq!((lazyfree.pending(), lazyfree.freed()), (0, 0));
    }
}
