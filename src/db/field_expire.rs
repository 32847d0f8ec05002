//! Expiry of single fields of hashes: of those that a command names before it looks at them, and of all others in
//! cycles.
//!
//! Replicas and the append-only file go by what they are told, not by the time: to them a field that has expired is
//! there until they hear otherwise. So a command that names fields gets at its hash by [`Keyspace::read_fields`],
//! [`Keyspace::write_fields`] or, where it makes one, behind [`Keyspace::drop_expired_fields`]. What has expired of
//! them is gone by then, and replicas and file hear of that before they hear of the command.

use super::entry::EntryRef;
use super::key_table::KeyHasher;
use super::keyspace::{Db, ExpiryRole, Keyspace};
use super::notify::Class;
use crate::resp::error::CommandResult;
use crate::value::hash::{FOREVER_YOUNG, Hash};
use crate::value::{Collection, ValueRef};
use std::time::Duration;

/// Hashes looked at before the time is looked at.
const HASHES_PER_LOOP: usize = 20;
/// Buckets of a large hash looked at in one go.
const BUCKETS_PER_HASH: usize = 64;
/// Hashes that a cycle comes to.
const HASHES_PER_CYCLE: usize = 2000;

impl Db {
    /// Whether fields of any hash expire.
    fn has_expiring_fields(&self, hasher: KeyHasher) -> bool {
        self.volatile_hashes.keys.iter().any(|key| {
            let entry = self.table.get(hasher.hash(key), key);
            matches!(entry.map(EntryRef::value), Some(ValueRef::Hash(hash)) if hash.has_expiring_field())
        })
    }
}

impl Keyspace {
    /// Whether fields of any hash expire.
    pub fn has_expiring_fields(&self) -> bool {
        self.dbs.iter().any(|db| db.has_expiring_fields(self.hasher))
    }

    /// Notes that fields of a hash got an expiry.
    pub fn watch_fields(&mut self, db: usize, key: &[u8]) {
        self.changes.fields_expire = true;
        let keys = &mut self.dbs[db].volatile_hashes.keys;
        if !keys.contains(key) {
            keys.insert(key.into());
        }
    }

    /// The time by which fields expire: never where the primary's word counts.
    #[inline]
    pub fn field_clock(&self) -> i64 {
        if self.role == ExpiryRole::Keep { FOREVER_YOUNG } else { self.now_ms }
    }

    /// A hash for reading some of its fields.
    pub fn read_fields<'a>(
        &mut self,
        db: usize,
        key: &[u8],
        fields: impl IntoIterator<Item = &'a [u8]>,
    ) -> CommandResult<Option<&Hash>> {
        if self.role == ExpiryRole::Delete {
            self.drop_expired_fields(db, key, fields);
        }
        self.read::<Hash>(db, key)
    }

    /// A hash for changing some of its fields.
    pub fn write_fields<'a>(
        &mut self,
        db: usize,
        key: &[u8],
        fields: impl IntoIterator<Item = &'a [u8]>,
    ) -> CommandResult<Option<&mut Hash>> {
        self.drop_expired_fields(db, key, fields);
        self.write::<Hash>(db, key)
    }

    /// Removes those of the fields whose time has come for who writes, and the hash if no other is left.
    #[inline]
    pub fn drop_expired_fields<'a>(
        &mut self,
        db: usize,
        key: &[u8],
        fields: impl IntoIterator<Item = &'a [u8]>,
    ) {
        let has_any = !self.dbs[db].volatile_hashes.keys.is_empty();
        if has_any && self.role.of_writer() == ExpiryRole::Delete {
            self.drop_expired_among(db, key, &mut fields.into_iter());
        }
    }

    /// Removes a hash of which every field's time has come.
    pub fn drop_expired_hash(&mut self, db: usize, key: &[u8]) {
        if self.role == ExpiryRole::Delete {
            while self.expire_fields_of(db, key) > 0 {}
        }
    }

    fn drop_expired_among(
        &mut self,
        db: usize,
        key: &[u8],
        fields: &mut dyn Iterator<Item = &[u8]>,
    ) {
        let (now, at) = (self.now_ms, self.hash(key));
        let Some(entry) = self.dbs[db].table.get_mut(at, key) else { return };
        if entry.view().expire().is_some_and(|at| at < now) {
            // All of it goes when it is looked up.
            return;
        }
        let Some(hash) = Hash::of_mut(entry.into_value_mut()) else { return };
        let mut expired = Vec::new();
        if hash.may_have_expired(now) {
            expired.extend(fields.filter(|f| hash.remove_expired(f, now)).map(<[u8]>::to_vec));
        }
        self.note_expired_fields(db, key, expired);
    }

    /// Notes that fields were removed because their time had come, and deletes a hash that has none any more.
    fn note_expired_fields(&mut self, db: usize, key: &[u8], fields: Vec<Vec<u8>>) {
        if fields.is_empty() {
            return;
        }
        self.changes.signal_modified_by_server(db, key);
        self.changes.notifications.push(Class::HASH, "hexpired", db, key);
        self.changes.expired_fields.push((db, key.into(), fields));
        if self.remove_if_empty::<Hash>(db, key) {
            self.changes.notifications.push(Class::GENERIC, "del", db, key);
        }
    }

    /// Removes expired fields of a database's hashes, as many as there are until `budget` has passed since
    /// `start_ns`.
    pub(super) fn expire_fields(&mut self, db: usize, start_ns: u64, budget: Duration) {
        let mut looked_at = 0;
        for _ in 0..HASHES_PER_CYCLE.min(self.dbs[db].volatile_hashes.keys.len()) {
            let Some(key) = self.dbs[db].volatile_hashes.next() else { return };
            loop {
                // As long as a large one yields: the others would take long to come round to it again.
                let removed = self.expire_fields_of(db, &key);
                looked_at += 1;
                if looked_at % HASHES_PER_LOOP == 0 && self.clock.since(start_ns) > budget {
                    return;
                }
                if removed == 0 {
                    break;
                }
            }
        }
    }

    /// Removes expired fields of a hash, all of them or, of a large one, some; returns how many.
    fn expire_fields_of(&mut self, db: usize, key: &[u8]) -> usize {
        let (now, hash) = (self.now_ms, self.hash(key));
        let database = &mut self.dbs[db];
        let entry = database.table.get_mut(hash, key);
        let Some(value) = entry.and_then(|entry| Hash::of_mut(entry.into_value_mut())) else {
            database.volatile_hashes.keys.remove(key);
            return 0;
        };
        let expired = value.reclaim(now, BUCKETS_PER_HASH);
        if !value.volatile_fields() {
            database.volatile_hashes.keys.remove(key);
        }
        let removed = expired.len();
        self.note_expired_fields(db, key, expired);
        removed
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ds::hash::HashSeed;
    use crate::value::Value;
    use crate::value::hash::HashLimits;

    #[test]
    fn a_large_hash_goes_in_one_go_among_many_that_stay() {
        let mut ks = Keyspace::new(1, HashSeed::new([1, 2]));
        let limits = HashLimits::default();
        let mut hash = |key: &str, fields: i64, expire: i64| {
            let mut hash = Hash::default();
            for n in 0..fields {
                hash.set(n.to_string().as_bytes(), b"v", Some(expire), &limits, 0);
            }
            ks.set(0, key.as_bytes(), Value::Hash(hash), None);
        };
        (0..3000).for_each(|n| hash(&n.to_string(), 1, 1000));
        hash("large", 10_000, 1);
        ks.now_ms = 150;
        let budget = Duration::from_secs(5);
        (0..2).for_each(|_| ks.expire_fields(0, ks.clock.nanos(), budget));
        assert_eq!((ks.dbs[0].volatile_hashes.keys.len(), ks.len()), (3000, 3000));
    }

    #[test]
    fn fields_go_when_their_time_comes() {
        let mut ks = Keyspace::new(1, HashSeed::new([1, 2]));
        let limits = HashLimits::default();
        for fields in [3, 3000] {
            let mut hash = Hash::default();
            for n in 0..fields {
                let expire = (n > 0).then_some(n % 3 * 100 + 1);
                hash.set(n.to_string().as_bytes(), b"v", expire, &limits, 0);
            }
            ks.set(0, fields.to_string().as_bytes(), Value::Hash(hash), None);
        }
        ks.now_ms = 150;
        let budget = Duration::from_secs(5);
        (0..50).for_each(|_| ks.expire_fields(0, ks.clock.nanos(), budget));
        assert_eq!(ks.dbs[0].volatile_hashes.keys.len(), 2);
        let gone: usize = ks.changes.expired_fields.iter().map(|(_, _, fields)| fields.len()).sum();
        assert_eq!(gone, 1 + 1999);
        assert_eq!(ks.read::<Hash>(0, b"3000").unwrap().unwrap().len(), 1001);
        ks.now_ms = 250;
        (0..50).for_each(|_| ks.expire_fields(0, ks.clock.nanos(), budget));
        assert!(ks.dbs[0].volatile_hashes.keys.is_empty());
        assert_eq!(ks.read::<Hash>(0, b"3").unwrap().unwrap().len(), 1);

        ks.write::<Hash>(0, b"3").unwrap().unwrap().set_expire(b"0", Some(260));
        ks.watch_fields(0, b"3");
        ks.now_ms = 300;
        ks.expire_fields(0, ks.clock.nanos(), budget);
        assert!(!ks.exists(0, b"3"));
        ks.expire_fields(0, ks.clock.nanos(), budget);
        assert!(ks.dbs[0].volatile_hashes.keys.is_empty());
    }
}
