//! Eviction: keeping the data below `maxmemory`.
//!
//! Before each command, memory that is over the limit is measured once, and keys are evicted until as much of it is
//! free. What a deletion causes elsewhere (its propagation, the invalidations for clients that track the key) does not
//! count: it goes away by itself, and would only make more keys go. If there is too much to free at once, the loop goes
//! on with it between the commands.

use crate::db::EntryRef;
use crate::db::eviction_pool::EvictionPool;
use crate::db::lru::AccessPolicy;
use crate::db::notify::Class;
use crate::server::Server;
use crate::server::config::MaxmemoryPolicy;
use crate::server::expiry;
use crate::server::observe::latency;
use crate::server::propagate;
use crate::server::replication::primary::feed;
use crate::util::alloc;
use rand::RngCore;
use std::time::Duration;

/// Keys evicted between two looks at the clock.
const KEYS_PER_LOOK: usize = 16;

/// How often it is looked whether the background thread has freed enough.
const LAZY_FREE_LOOK: Duration = Duration::from_micros(200);

/// What has become of memory over the limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EvictionOutcome {
    /// The data fit, or eviction is none of this server's business now.
    Fits,
    /// There is more to evict than could be done at once.
    Running,
    /// There is nothing left that may be evicted.
    Exhausted,
}

/// What eviction remembers from one time to the next.
#[derive(Debug, Default)]
pub struct Eviction {
    /// The loop goes on with it.
    is_running: bool,
    pool: EvictionPool,
    /// The database that a random key came from last.
    last_db: usize,
    /// Where the search for volatile keys goes on, where they are few.
    cursor: u64,
    /// There was nothing left to evict when the last command came.
    is_exhausted: bool,
    /// Since when the data do not fit, by the clock that never jumps, and how long that was before; nanoseconds.
    exceeded_since: Option<u64>,
    exceeded_before: u64,
}

impl Eviction {
    /// Heeds that `maxmemory` or its policy may be another.
    pub fn policy_changed(&mut self) {
        self.pool.clear();
        self.is_running = true;
    }

    /// Whether the loop is to go on with it.
    pub fn is_running(&self) -> bool {
        self.is_running
    }

    /// How long the data have not fitted: in all, and now; milliseconds.
    pub fn exceeded_ms(&self, now_nanos: u64) -> (u64, u64) {
        let current = self.exceeded_since.map_or(0, |since| now_nanos.saturating_sub(since));
        ((self.exceeded_before + current) / 1_000_000, current / 1_000_000)
    }

    /// `CONFIG RESETSTAT`
    pub fn reset_stats(&mut self) {
        (self.exceeded_since, self.exceeded_before) = (None, 0);
    }

    fn note_outcome(&mut self, outcome: EvictionOutcome, now_nanos: u64) {
        self.is_running = outcome == EvictionOutcome::Running;
        self.is_exhausted = outcome == EvictionOutcome::Exhausted;
        if outcome != EvictionOutcome::Fits {
            self.exceeded_since.get_or_insert(now_nanos);
        } else if let Some(since) = self.exceeded_since.take() {
            self.exceeded_before += now_nanos.saturating_sub(since);
        }
    }
}

/// Bytes that don't count against `maxmemory`, because evicting keys makes more of them: what replicas need of
/// the stream beyond the backlog, and what waits for the append-only file.
pub(crate) fn memory_not_counted_for_eviction(server: &Server) -> usize {
    let stream = server.repl.stream().map_or(0, |s| s.memory());
    stream.saturating_sub(server.config.repl_backlog_size as usize)
        + server.persistence.aof.appender().buffer_memory()
}

/// Bytes to be freed before the data fit.
#[inline]
fn memory_to_free(server: &Server) -> usize {
    let limit = server.config.maxmemory as usize;
    let used = alloc::used_memory();
    if limit == 0 || used <= limit {
        return 0;
    }
    used.saturating_sub(memory_not_counted_for_eviction(server)).saturating_sub(limit)
}

/// Whether the command that is running may not take more memory: the data did not fit when it came.
pub(crate) fn is_out_of_memory(server: &Server) -> bool {
    server.config.maxmemory > 0 && server.memory.eviction.is_exhausted
}

/// Evicts keys until the data fit, or time is up.
#[inline]
pub(crate) fn perform_evictions(server: &mut Server) -> EvictionOutcome {
    let to_free = memory_to_free(server);
    if to_free == 0
        && !server.memory.eviction.is_running
        && server.memory.eviction.exceeded_since.is_none()
    {
        server.memory.eviction.is_exhausted = false;
        return EvictionOutcome::Fits;
    }
    free_memory(server, to_free)
}

#[cold]
fn free_memory(server: &mut Server, to_free: usize) -> EvictionOutcome {
    if !may_evict(server) {
        (server.memory.eviction.is_running, server.memory.eviction.is_exhausted) = (false, false);
        return EvictionOutcome::Fits;
    }
    let outcome = match server.config.maxmemory_policy {
        _ if to_free == 0 => EvictionOutcome::Fits,
        MaxmemoryPolicy::NoEviction => await_lazy_free(server),
        _ if expiry::is_importing(server) => await_lazy_free(server),
        _ => evict(server, to_free),
    };
    server.memory.eviction.note_outcome(outcome, server.ks.clock.nanos());
    outcome
}

/// Whether keys may go now. A replica is its primary's copy, and while writes are paused the data stay as they are.
fn may_evict(server: &Server) -> bool {
    let obeys = server.repl.is_replica() && server.config.replica_ignore_maxmemory;
    let paused =
        server.blocking.pause.is_active() && server.blocking.pause.kind(server.ks.now_ms).is_some();
    !obeys && !paused && !server.persistence.is_loading()
}

fn evict(server: &mut Server, to_free: usize) -> EvictionOutcome {
    let start = server.ks.clock.nanos();
    let limit = time_limit(server.config.maxmemory_eviction_tenacity);
    // Earlier deletions are not of this cause.
    propagate::propagate_deletions(server);
    // May become negative: a deletion can make a table shrink into a second array first.
    let mut freed: isize = 0;
    let mut keys = 0;
    let outcome = loop {
        if freed >= to_free as isize {
            break EvictionOutcome::Fits;
        }
        let Some((db, key)) = eviction_candidate(server) else {
            break await_lazy_free(server);
        };
        freed += evict_key(server, db, &key);
        keys += 1;
        if keys % KEYS_PER_LOOK == 0 {
            if !server.repl.replicas().is_empty() {
                // Replicas hear of it in time, however long it takes.
                feed::feed_replicas(server);
            }
            // What the background thread frees is not in `freed`.
            if server.config.lazyfree_lazy_eviction && memory_to_free(server) == 0 {
                break EvictionOutcome::Fits;
            }
            if nanos_since(server, start) > limit {
                break EvictionOutcome::Running;
            }
        }
    };
    propagate::tell_changes(server);
    latency::note(server, "eviction-cycle", Duration::from_nanos(nanos_since(server, start)));
    outcome
}

fn nanos_since(server: &Server, start: u64) -> u64 {
    server.ks.clock.nanos().saturating_sub(start)
}

/// Evicts a key; answers how many bytes that alone has freed.
fn evict_key(server: &mut Server, db: usize, key: &[u8]) -> isize {
    let lazy = server.config.lazyfree_lazy_eviction;
    let watched = server.observer.latency.is_on();
    let start = if watched { server.ks.clock.nanos() } else { 0 };
    let before = alloc::used_memory() as isize;
    if let Some(entry) = server.ks.remove(db, key) {
        server.memory.lazyfree.free_entry(entry, lazy);
    }
    let freed = before - alloc::used_memory() as isize;
    if watched {
        latency::note(server, "eviction-del", Duration::from_nanos(nanos_since(server, start)));
    }
    server.ks.stats.evicted += 1;
    server.ks.changes.signal_modified_by_server(db, key);
    server.ks.changes.notifications.push(Class::EVICTED, "evicted", db, key);
    propagate::propagate_deletion(server, db, key, lazy);
    freed
}

/// Nothing is left to evict, but what was freed in the background may still count. Waits for it: who has deleted
/// much has room for more.
fn await_lazy_free(server: &Server) -> EvictionOutcome {
    while memory_to_free(server) > 0 {
        if server.memory.lazyfree.pending() == 0 {
            // It may have become 0 just now.
            return match memory_to_free(server) {
                0 => EvictionOutcome::Fits,
                _ => EvictionOutcome::Exhausted,
            };
        }
        std::thread::sleep(LAZY_FREE_LOOK);
    }
    EvictionOutcome::Fits
}

/// A key that the policy in force would see go: database and key.
fn eviction_candidate(server: &mut Server) -> Option<(usize, Box<[u8]>)> {
    let policy = server.config.maxmemory_policy;
    if policy.is_random() {
        return random_candidate(server);
    }
    loop {
        if !fill_eviction_pool(server) {
            return None;
        }
        // Of the pool's keys some may be gone by now; of those just sampled, none.
        while let Some((db, key)) = server.memory.eviction.pool.take_best() {
            let entry = server.ks.dbs[db].table.get(server.ks.hash(&key), &key);
            if entry.is_some_and(|e| !policy.is_volatile() || e.expire().is_some()) {
                return Some((db, key));
            }
        }
    }
}

/// A key by chance. The databases take turns.
fn random_candidate(server: &mut Server) -> Option<(usize, Box<[u8]>)> {
    let count = server.ks.dbs.len();
    for _ in 0..count {
        let db = (server.memory.eviction.last_db + 1) % count;
        server.memory.eviction.last_db = db;
        let mut found = None;
        sample(server, db, 1, |_, entry| found = Some(entry.key().into()));
        if let Some(key) = found {
            return Some((db, key));
        }
    }
    None
}

/// Offers some keys of every database to the pool; `false` if there are none.
fn fill_eviction_pool(server: &mut Server) -> bool {
    let policy = server.config.maxmemory_policy;
    let samples = server.config.maxmemory_samples.clamp(1, 64) as usize;
    let access = server.ks.access;
    let mut pool = std::mem::take(&mut server.memory.eviction.pool);
    let mut any = false;
    for db in 0..server.ks.dbs.len() {
        any |= sample(server, db, samples, |db, entry| {
            pool.offer(score(policy, &access, entry), db, entry.key());
        });
    }
    server.memory.eviction.pool = pool;
    any
}

/// Visits some keys of a database by chance, among those that the policy allows to evict; `false` if there are
/// none.
fn sample(
    server: &mut Server,
    db: usize,
    count: usize,
    mut visit: impl FnMut(usize, EntryRef<'_>),
) -> bool {
    let volatile = server.config.maxmemory_policy.is_volatile();
    let table = &server.ks.dbs[db].table;
    let mut random = || server.rng.next_u64();
    let mut found = false;
    if !volatile {
        table.sample(count, &mut random, |entry| {
            visit(db, entry);
            found = true;
        });
        return found;
    }
    for _ in 0..count {
        let Some(entry) = table.random_marked(&mut random) else { break };
        visit(db, entry);
        found = true;
    }
    if !found && table.len_marked() > 0 {
        // Too few to be met by chance: those that come next. All of them may be hidden.
        let mut rounds = 0;
        while !found && rounds < 2 {
            let (cursor, _) =
                table.scan_marked(server.memory.eviction.cursor, usize::MAX, |entry| {
                    visit(db, entry);
                    found = true;
                });
            server.memory.eviction.cursor = cursor;
            rounds += usize::from(cursor == 0);
        }
    }
    found
}

/// The higher, the better to evict.
fn score(policy: MaxmemoryPolicy, access: &AccessPolicy, entry: EntryRef<'_>) -> u64 {
    if policy == MaxmemoryPolicy::VolatileTtl {
        u64::MAX - entry.expire().unwrap_or(i64::MAX).max(0) as u64
    } else if policy.is_lfu() {
        255 - u64::from(access.frequency(entry))
    } else {
        access.idle_seconds(entry)
    }
}

/// How long one call may evict, in nanoseconds: half a millisecond at `maxmemory-eviction-tenacity` 10, 15 % more for
/// each step above, for ever at 100.
fn time_limit(tenacity: u32) -> u64 {
    match tenacity {
        0..=10 => u64::from(tenacity) * 50_000,
        11..=99 => (500_000.0 * 1.15f64.powi(tenacity as i32 - 10)) as u64,
        _ => u64::MAX,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_over_the_limit_is_summed() {
        let mut eviction = Eviction::default();
        eviction.policy_changed();
        assert!(eviction.is_running());
        for (outcome, ms) in [
            (EvictionOutcome::Exhausted, 10),
            (EvictionOutcome::Running, 20),
            (EvictionOutcome::Fits, 25),
            (EvictionOutcome::Fits, 30),
            (EvictionOutcome::Exhausted, 40),
        ] {
            eviction.note_outcome(outcome, ms * 1_000_000);
        }
        assert!(!eviction.is_running() && eviction.is_exhausted);
        assert_eq!(eviction.exceeded_ms(47_000_000), (22, 7));
        eviction.reset_stats();
        assert_eq!(eviction.exceeded_ms(47_000_000), (0, 0));
    }

    #[test]
    fn tenacity_is_time() {
        let micros = |tenacity| time_limit(tenacity) / 1000;
        assert_eq!((micros(0), micros(1), micros(10), micros(11)), (0, 50, 500, 575));
        let minutes = micros(99) / 60_000_000;
        assert_eq!((minutes, time_limit(100)), (2, u64::MAX));
    }
}
