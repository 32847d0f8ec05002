//! Active expiry: finding keys whose time has come although nobody asks for them.
//!
//! The table keeps one bit for each entry that says whether it has an expiry, so a cycle walks the table's buckets
//! from where the last one stopped and touches volatile entries only. As in Redis, it goes on with a database as long
//! as more than a tenth of what it sees has expired, and never beyond its time.

use super::keyspace::{ExpiryRole, Keyspace};
use std::time::Duration;

/// Volatile keys looked at before the share of expired ones is judged; more with a higher effort.
const KEYS_PER_LOOP: usize = 20;
/// Keys of a replica's own looked at between two looks at the clock.
const REPLICA_KEYS_PER_LOOP: usize = 64;
/// Buckets walked in one loop at the most, however few volatile keys are in them.
const BUCKETS_PER_LOOP: usize = 400;
/// The share of stale keys that is acceptable, in percent, at effort 1.
const ACCEPTABLE_STALE: usize = 10;

/// How hard a cycle tries.
#[derive(Clone, Copy, Debug)]
pub struct Effort {
    /// `active-expire-effort`, 1 to 10.
    pub effort: u32,
    pub budget: Duration,
}

impl Keyspace {
    /// Deletes expired keys until few are left or the time is up; returns whether the time was up.
    pub fn active_expire_cycle(&mut self, effort: Effort) -> bool {
        if self.role != ExpiryRole::Delete {
            return false;
        }
        let start = self.clock.nanos();
        let extra = effort.effort.saturating_sub(1) as usize;
        let keys_per_loop = KEYS_PER_LOOP + KEYS_PER_LOOP / 4 * extra;
        let acceptable = ACCEPTABLE_STALE.saturating_sub(extra);
        let (mut sampled, mut expired, mut out_of_time) = (0, 0, false);
        for db in 0..self.dbs.len() {
            self.expire_fields(db, start, effort.budget);
            loop {
                if self.dbs[db].volatile() == 0 {
                    self.dbs[db].avg_ttl = 0;
                    break;
                }
                if out_of_time {
                    break;
                }
                let (seen, gone) = self.expire_some(db, keys_per_loop);
                sampled += seen;
                expired += gone;
                out_of_time = self.clock.since(start) > effort.budget;
                if seen == 0 || gone * 100 <= seen * acceptable {
                    break;
                }
            }
        }
        let stale = if sampled == 0 { 0.0 } else { expired as f64 * 100.0 / sampled as f64 };
        self.stats.expired_stale_perc = stale * 0.05 + self.stats.expired_stale_perc * 0.95;
        self.stats.expire_cycle_us += self.clock.since(start).as_micros() as u64;
        out_of_time
    }

    /// Walks on through one database: how many volatile keys were seen, and how many had expired and are gone.
    fn expire_some(&mut self, db: usize, keys: usize) -> (usize, usize) {
        let now = self.now_ms;
        let (mut seen, mut buckets, mut ttl_sum) = (0, 0, 0i64);
        let mut due: Vec<Box<[u8]>> = Vec::new();
        let database = &mut self.dbs[db];
        while seen < keys && buckets < BUCKETS_PER_LOOP {
            let (at, left) = (database.expire_cursor, BUCKETS_PER_LOOP - buckets);
            let (cursor, visited) = database.table.scan_marked(at, left, |entry| {
                seen += 1;
                match entry.expire() {
                    Some(at) if at < now => due.push(entry.key().into()),
                    Some(at) => ttl_sum = ttl_sum.saturating_add(at - now),
                    None => {}
                }
            });
            buckets += visited;
            database.expire_cursor = cursor;
            if cursor == 0 {
                break;
            }
        }
        let alive = (seen - due.len()) as i64;
        if alive > 0 {
            let average = ttl_sum / alive;
            // A slow average: a fiftieth of each new sample.
            database.avg_ttl = match database.avg_ttl {
                0 => average,
                old => old / 50 * 49 + average / 50,
            };
        }
        for key in &due {
            self.delete_expired(db, key);
        }
        (seen, due.len())
    }

    /// Deletes those of a replica's own keys whose time has come, as far as the time reaches, and forgets those that
    /// are gone or volatile no more.
    pub fn expire_replica_keys(&mut self, budget: Duration) {
        let start = self.clock.nanos();
        let now = self.now_ms;
        let mut own = std::mem::take(&mut self.replica_keys);
        let mut due = Vec::new();
        let mut seen = 0;
        own.retain(|db, key| {
            seen += 1;
            if seen % REPLICA_KEYS_PER_LOOP == 0 && self.clock.since(start) > budget {
                // The rest has to wait.
                seen -= 1;
                return true;
            }
            let expire = self.dbs[db].table.get(self.hash(key), key).and_then(|e| e.expire());
            if expire.is_some_and(|at| at < now) {
                due.push((db, Box::from(key)));
                return false;
            }
            expire.is_some()
        });
        for (db, key) in due {
            self.delete_expired(db, &key);
        }
        self.replica_keys = own;
    }
}

#[cfg(test)]
mod tests {
    use super::super::keyspace::{ExpiryRole, Keyspace};
    use crate::ds::hash::HashSeed;
    use std::time::Duration;

    #[test]
    fn only_own_keys_are_deleted() {
        let mut ks = Keyspace::new(1, HashSeed::new([1, 2]));
        ks.now_ms = 100;
        ks.set_string(0, b"theirs", b"v", Some(150));
        ks.role = ExpiryRole::Hide;
        ks.set_string(0, b"own", b"v", Some(150));
        ks.set_string(0, b"kept", b"v", Some(150));
        ks.set_expire(0, b"kept", None);
        ks.now_ms = 200;
        ks.expire_replica_keys(Duration::from_secs(1));
        assert_eq!((ks.len(), ks.replica_keys.len()), (2, 0));
        assert!(ks.dbs[0].table.get(ks.hash(b"own"), b"own").is_none());
    }
}
