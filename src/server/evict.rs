//! Eviction: keeping the data below `maxmemory`.
#![forbid(unsafe_code)]

use super::Server;
use super::config::MaxmemoryPolicy;
use crate::db::notify::Class;
use crate::util::alloc;
use rand::RngCore;
use std::time::{Duration, Instant};

/// How long one call may evict before commands have their turn.
const TIME_LIMIT: Duration = Duration::from_micros(500);

impl Server {
    /// Bytes used for data: without what replicas and their buffers hold, which eviction can't free.
    pub fn evictable_memory(&self) -> usize {
        let replication = self.repl.stream.as_ref().map_or(0, |s| s.memory());
        let allowed = self.config.repl_backlog_size as usize;
        alloc::used_memory().saturating_sub(replication.saturating_sub(allowed))
    }

    /// Evicts until the data fits, or time is up; `false` if it does not fit and nothing can be evicted.
    pub fn perform_evictions(&mut self) -> bool {
        let limit = self.config.maxmemory as usize;
        if self.evictable_memory() <= limit {
            return true;
        }
        if self.repl.is_replica() && self.config.replica_ignore_maxmemory {
            return true;
        }
        if self.config.maxmemory_policy == MaxmemoryPolicy::NoEviction || self.loading.is_some() {
            return false;
        }
        let start = Instant::now();
        let mut fits = true;
        while self.evictable_memory() > limit {
            let Some((db, key)) = self.eviction_candidate() else {
                fits = false;
                break;
            };
            self.ks.remove(db, &key);
            self.ks.stats.evicted += 1;
            self.ks.changes.signal_modified(db, &key);
            self.ks.changes.notifications.push(Class::EVICTED, "evicted", db, &key);
            self.ks.changes.deleted.push((db, key));
            if start.elapsed() > TIME_LIMIT {
                break;
            }
        }
        self.propagate_deletions();
        self.tell_changes();
        fits
    }

    /// The best of a sample of keys to evict by the policy in force.
    fn eviction_candidate(&mut self) -> Option<(usize, Box<[u8]>)> {
        let policy = self.config.maxmemory_policy;
        let volatile = policy.is_volatile();
        let samples = self.config.maxmemory_samples.clamp(1, 64);
        let mut best: Option<(u64, usize, Box<[u8]>)> = None;
        for db in 0..self.ks.dbs.len() {
            let access = self.ks.access;
            let table = &self.ks.dbs[db].table;
            for _ in 0..samples {
                let mut random = || self.rng.next_u64();
                let sampled = if volatile {
                    table.random_marked(&mut random)
                } else {
                    table.random(&mut random)
                };
                let Some(entry) = sampled else { break };
                // The higher, the better to evict.
                let score = match policy {
                    MaxmemoryPolicy::VolatileTtl => {
                        u64::MAX - entry.expire().unwrap_or(i64::MAX).max(0) as u64
                    }
                    _ if policy.is_lfu() => 255 - u64::from(access.frequency(entry)),
                    _ if policy.is_lru() => access.idle_seconds(entry),
                    _ => 0,
                };
                if best.as_ref().is_none_or(|(s, ..)| score > *s) {
                    best = Some((score, db, entry.key().into()));
                }
            }
        }
        best.map(|(_, db, key)| (db, key))
    }
}
