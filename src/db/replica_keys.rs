//! Volatile keys that a replica's own clients made.
//!
//! A replica leaves expired keys to its primary. But a replica that may be written to has keys which its primary does
//! not know, or knows without their expiry: those it has to delete by itself, or they would stay for ever.
#![forbid(unsafe_code)]

use super::keyspace::Keyspace;
use std::collections::HashSet;
use std::time::{Duration, Instant};

/// Keys looked at between two looks at the clock.
const KEYS_PER_LOOP: usize = 64;

/// The keys, with their databases.
#[derive(Debug, Default)]
pub struct ReplicaKeys {
    keys: HashSet<(usize, Box<[u8]>)>,
}

impl ReplicaKeys {
    pub fn note(&mut self, db: usize, key: &[u8]) {
        self.keys.insert((db, key.into()));
    }

    /// The data is another, or the server no replica any more: the keys are like all others.
    pub fn clear(&mut self) {
        self.keys = HashSet::new();
    }

    pub fn len(&self) -> usize {
        self.keys.len()
    }

    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }
}

impl Keyspace {
    /// Deletes those of a replica's own keys whose time has come, as far as the time reaches, and forgets those that
    /// are gone or volatile no more.
    pub fn expire_replica_keys(&mut self, budget: Duration) {
        let start = Instant::now();
        let now = self.now_ms;
        let mut own = std::mem::take(&mut self.replica_keys);
        let mut due = Vec::new();
        let mut seen = 0;
        own.keys.retain(|(db, key)| {
            seen += 1;
            if seen % KEYS_PER_LOOP == 0 && start.elapsed() > budget {
                // The rest has to wait; the set's order is random, so all have their turn.
                seen -= 1;
                return true;
            }
            let expire = self.dbs[*db].table.get(self.hash(key), key).and_then(|e| e.expire());
            if expire.is_some_and(|at| at < now) {
                due.push((*db, key.clone()));
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
