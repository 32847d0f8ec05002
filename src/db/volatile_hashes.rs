//! Which hashes of a database have fields that expire.
//!
//! A key gets in when such a hash comes into the database or gets such a field, and out when the cycle that expires
//! fields finds none any more: so nobody else has to care.

use super::entry::EntryRef;
use crate::value::ValueRef;
use std::collections::BTreeSet;
use std::ops::Bound::{Excluded, Unbounded};

/// The hashes of a database in which fields may expire.
#[derive(Default)]
pub(super) struct VolatileHashes {
    pub keys: BTreeSet<Box<[u8]>>,
    /// The last key that was looked at.
    cursor: Box<[u8]>,
}

impl VolatileHashes {
    /// Notes an entry that comes into the database; returns whether it is a hash in which fields expire.
    #[inline]
    pub fn note(&mut self, entry: EntryRef<'_>) -> bool {
        let ValueRef::Hash(hash) = entry.value() else { return false };
        if hash.volatile_fields() {
            self.keys.insert(entry.key().into());
        }
        hash.volatile_fields()
    }

    /// The next key in turn.
    pub fn next(&mut self) -> Option<Box<[u8]>> {
        let after = (Excluded(&*self.cursor), Unbounded);
        let key = self.keys.range::<[u8], _>(after).next().or_else(|| self.keys.first())?;
        self.cursor = key.clone();
        Some(key.clone())
    }
}
