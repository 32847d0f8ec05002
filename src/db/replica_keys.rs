//! Volatile keys that a replica's own clients made.
//!
//! A replica leaves expired keys to its primary. But a replica that may be written to has keys which its primary does
//! not know, or knows without their expiry: those it has to delete by itself, or they would stay for ever.

use std::collections::BTreeSet;

/// The keys, with their databases.
#[derive(Debug, Default)]
pub struct ReplicaKeys {
    keys: BTreeSet<(usize, Box<[u8]>)>,
}

impl ReplicaKeys {
    pub fn note(&mut self, db: usize, key: &[u8]) {
        self.keys.insert((db, key.into()));
    }

    /// The data is another, or the server no replica any more: the keys are like all others.
    pub fn clear(&mut self) {
        self.keys = BTreeSet::new();
    }

    /// Forgets the keys for which `keep` returns false.
    pub(super) fn retain(&mut self, mut keep: impl FnMut(usize, &[u8]) -> bool) {
        self.keys.retain(|(db, key)| keep(*db, key));
    }

    pub fn len(&self) -> usize {
        self.keys.len()
    }

    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }
}
