//! The keyspace: the databases, looking keys up, expiring them lazily, and noting what changed.
//!
//! [`Keyspace`] knows no clients and no sockets. What it has to tell the server (keys that it deleted because they
//! had expired, events for subscribers, modified keys) it puts into queues that the server empties after each command.

use super::blocked::BlockedKeys;
use super::entry::{Entry, EntryMut, EntryRef};
use super::key_table::{Found, KeyHash, KeyHasher, KeyTable};
use super::lent::Lent;
use super::lru::AccessPolicy;
use super::notify::{Class, Notifications};
use super::replica_keys::ReplicaKeys;
use super::volatile_hashes::VolatileHashes;
use crate::ds::hash::HashSeed;
use crate::resp::error::{CommandError, CommandResult};
use crate::util::clock::Clock;
use crate::util::slot_set::SlotSet;
use crate::value::{Collection, Type, Value, ValueRef};
use bytes::Bytes;
use std::time::Duration;

/// One database.
pub struct Db {
    pub table: KeyTable,
    /// Where the active expire cycle goes on.
    pub(super) expire_cursor: u64,
    /// A running average of the time that volatile keys have left, in milliseconds.
    pub avg_ttl: i64,
    pub(super) volatile_hashes: VolatileHashes,
}

impl Db {
    fn new(hasher: KeyHasher) -> Db {
        Db {
            table: KeyTable::new(hasher),
            expire_cursor: 0,
            avg_ttl: 0,
            volatile_hashes: VolatileHashes::default(),
        }
    }

    pub fn len(&self) -> usize {
        self.table.len()
    }

    pub fn is_empty(&self) -> bool {
        self.table.is_empty()
    }

    /// How many keys have an expiry.
    pub fn volatile(&self) -> usize {
        self.table.len_marked()
    }
}

/// Who decides that a key has expired.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum ExpiryRole {
    /// This server: an expired key is deleted when it is met.
    #[default]
    Delete,
    /// The primary: an expired key is hidden from clients, and stays until the primary deletes it.
    Hide,
    /// The commands come from the primary itself (or from a file that it wrote): what it has not deleted is there.
    Keep,
}

impl ExpiryRole {
    /// The role for a key about to be changed. Clients may write to a replica that allows it; what is hidden from
    /// them has to make room then.
    #[inline]
    pub(super) fn of_writer(self) -> ExpiryRole {
        match self {
            ExpiryRole::Hide => ExpiryRole::Delete,
            role => role,
        }
    }
}

#[derive(Clone, Debug, Default)]
pub struct KeyspaceStats {
    pub hits: u64,
    pub misses: u64,
    pub expired: u64,
    pub evicted: u64,
    pub expired_stale_perc: f64,
    pub expire_time_cap_reached: u64,
    pub expire_cycle_us: u64,
}

/// A hash's fields that have expired: database, key, fields.
pub type ExpiredFields = (usize, Box<[u8]>, Vec<Vec<u8>>);

/// A key that has another value now, or none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Modified {
    pub db: usize,
    pub key: Box<[u8]>,
    /// The server did it: the key's time had come, or memory was short.
    pub by_server: bool,
}

/// What happened to keys, noted for the server, which empties the queues after each command.
#[derive(Default)]
pub struct Changes {
    /// Changes since the last snapshot.
    pub dirty: u64,
    /// Keys deleted because they had expired, to be propagated as deletions: database and key.
    pub deleted: Vec<(usize, Box<[u8]>)>,
    /// Fields of hashes removed because they had expired, to be propagated likewise: database, key and fields.
    pub expired_fields: Vec<ExpiredFields>,
    /// Fields have got an expiry since the server last looked.
    pub fields_expire: bool,
    /// The longest time that freeing an expired key has taken since the server last looked; only kept if it is set.
    pub slowest_expiry: Option<Duration>,
    pub notifications: Notifications,
    /// Keys modified since the server last looked; only kept while `track` is set, because somebody watches.
    pub modified: Vec<Modified>,
    pub track: bool,
    /// Who waits for which keys, and which of those are ready.
    pub blocked: BlockedKeys,
}

impl Changes {
    /// Frees a key whose time had come.
    fn free_expired(&mut self, gone: Entry, clock: &Clock) {
        let Some(slowest) = &mut self.slowest_expiry else { return };
        let start = clock.nanos();
        drop(gone);
        *slowest = clock.since(start).max(*slowest);
    }

    /// Notes that `key` has another value now, or none.
    #[inline]
    pub fn signal_modified(&mut self, db: usize, key: &[u8]) {
        if self.track {
            self.modified.push(Modified { db, key: key.into(), by_server: false });
        }
    }

    /// Notes the same of a key that no client has changed: the server did.
    pub fn signal_modified_by_server(&mut self, db: usize, key: &[u8]) {
        if self.track {
            self.modified.push(Modified { db, key: key.into(), by_server: true });
        }
    }

    /// Notes a successful write: one change, the key modified, an event.
    #[inline]
    pub fn write(&mut self, class: Class, event: &'static str, db: usize, key: &[u8]) {
        self.dirty += 1;
        self.signal_modified(db, key);
        self.notifications.push(class, event, db, key);
    }

    /// Whether any queue has something for the server.
    #[inline]
    pub fn needs_attention(&self) -> bool {
        !self.deleted.is_empty()
            || !self.expired_fields.is_empty()
            || !self.notifications.waiting.is_empty()
            || !self.modified.is_empty()
    }
}

/// The hash of the key that the next command is about, where parsing ahead has computed it already. It knows the key
/// by its place in memory.
#[derive(Clone, Copy, Debug, Default)]
pub struct HashHint {
    /// 0: there is none.
    address: usize,
    len: usize,
    pub hash: KeyHash,
}

impl HashHint {
    #[inline]
    fn is_of(&self, key: &[u8]) -> bool {
        self.address == key.as_ptr().addr() && self.len == key.len()
    }

    #[inline]
    pub fn is_some(&self) -> bool {
        self.address != 0
    }
}

/// All databases and what they share.
pub struct Keyspace {
    pub dbs: Vec<Db>,
    pub(super) hasher: KeyHasher,
    hint: HashHint,
    /// For measuring; what time it is, [`Keyspace::now_ms`] says.
    pub clock: Clock,
    /// Where the request at hand lies, if it is long.
    pub lent: Lent,
    /// The time that commands see, in milliseconds since 1970; it stands still while one runs.
    pub now_ms: i64,
    /// The same in microseconds, but as the clock was last read: when the transaction or the script began that runs.
    pub now_us: i64,
    pub role: ExpiryRole,
    /// The current client's accesses leave no trace (`CLIENT NO-TOUCH`).
    pub no_touch: bool,
    pub access: AccessPolicy,
    /// What a replica's own clients made volatile.
    pub replica_keys: ReplicaKeys,
    pub stats: KeyspaceStats,
    pub changes: Changes,
}

enum Live<'a> {
    Found(Found<'a>),
    Missing,
    /// It is to be deleted now, as its time has come.
    Expired(Found<'a>),
}

impl Keyspace {
    /// That of a server that is no node of a cluster.
    pub fn new(databases: usize, seed: HashSeed) -> Keyspace {
        Keyspace::with_hasher(databases, KeyHasher::new(seed, false))
    }

    /// That of a node of a cluster, which keeps its keys by the slot.
    pub fn by_slot(databases: usize, seed: HashSeed) -> Keyspace {
        Keyspace::with_hasher(databases, KeyHasher::new(seed, true))
    }

    fn with_hasher(databases: usize, hasher: KeyHasher) -> Keyspace {
        Keyspace {
            dbs: (0..databases).map(|_| Db::new(hasher)).collect(),
            hasher,
            hint: HashHint::default(),
            clock: Clock::default(),
            lent: Lent::default(),
            now_ms: 0,
            now_us: 0,
            role: ExpiryRole::Delete,
            no_touch: false,
            access: AccessPolicy::default(),
            replica_keys: ReplicaKeys::default(),
            stats: KeyspaceStats::default(),
            changes: Changes::default(),
        }
    }

    /// A database like those of this keyspace, empty.
    pub fn new_db(&self) -> Db {
        Db::new(self.hasher)
    }

    /// As many such databases as this keyspace has.
    pub fn new_dbs(&self) -> Vec<Db> {
        self.dbs.iter().map(|_| self.new_db()).collect()
    }

    #[inline]
    pub fn hash(&self, key: &[u8]) -> KeyHash {
        if self.hint.is_of(key) { self.hint.hash } else { self.hasher.hash(key) }
    }

    /// The hash of a key, for [`Keyspace::set_hint`] when its command's turn comes.
    #[inline]
    pub fn hint_for(&self, key: &[u8]) -> HashHint {
        HashHint { address: key.as_ptr().addr(), len: key.len(), hash: self.hasher.hash(key) }
    }

    /// Has the hash of the very slice that the next command will look up at hand. The slice's memory must not change
    /// before the next hint is set.
    #[inline]
    pub fn set_hint(&mut self, hint: HashHint) {
        self.hint = hint;
    }

    /// Finds a key for reading; counts a hit or a miss and notes the access.
    #[inline]
    pub fn lookup_read(&mut self, db: usize, key: &[u8]) -> Option<EntryRef<'_>> {
        self.lookup(db, key, !self.no_touch, true)
    }

    /// As [`Keyspace::lookup_read`], for a command that only asks about the key: the access is not noted.
    pub fn lookup_no_touch(&mut self, db: usize, key: &[u8]) -> Option<EntryRef<'_>> {
        self.lookup(db, key, false, true)
    }

    /// The same for one that asks how the key is kept: nor is a miss announced.
    pub fn lookup_no_notify(&mut self, db: usize, key: &[u8]) -> Option<EntryRef<'_>> {
        self.lookup(db, key, false, false)
    }

    #[inline]
    fn lookup(&mut self, db: usize, key: &[u8], touch: bool, notify: bool) -> Option<EntryRef<'_>> {
        let hash = self.hash(key);
        match find_live(&mut self.dbs[db].table, hash, key, self.now_ms, self.role) {
            Live::Found(found) => {
                let entry = found.into_ref();
                if touch {
                    self.access.touch(entry);
                }
                self.stats.hits += 1;
                return Some(entry);
            }
            Live::Missing => {}
            Live::Expired(found) => {
                expire_found(&mut self.stats, &mut self.changes, &self.clock, db, key, found);
            }
        }
        self.stats.misses += 1;
        if notify {
            self.changes.notifications.push(Class::KEY_MISS, "keymiss", db, key);
        }
        None
    }

    /// Finds a key without leaving a trace.
    pub fn peek(&mut self, db: usize, key: &[u8]) -> Option<EntryRef<'_>> {
        let hash = self.hash(key);
        match find_live(&mut self.dbs[db].table, hash, key, self.now_ms, self.role) {
            Live::Found(found) => Some(found.into_ref()),
            Live::Missing => None,
            Live::Expired(found) => {
                expire_found(&mut self.stats, &mut self.changes, &self.clock, db, key, found);
                None
            }
        }
    }

    /// Finds a key as [`Keyspace::peek`] does, but leaves even one whose time has come where it is.
    pub fn inspect(&self, db: usize, key: &[u8]) -> Option<EntryRef<'_>> {
        let stale = |entry: &EntryRef<'_>| entry.expire().is_some_and(|at| at < self.now_ms);
        let entry = self.dbs[db].table.get(self.hash(key), key)?;
        (self.role == ExpiryRole::Keep || !stale(&entry)).then_some(entry)
    }

    /// The bytes of a long string, for a reply to keep while the key goes its way.
    pub fn share_string(&mut self, db: usize, key: &[u8]) -> Option<Bytes> {
        let hash = self.hash(key);
        self.dbs[db].table.find(hash, key)?.share_string()
    }

    /// Finds a key that is about to be changed.
    #[inline(always)]
    pub fn lookup_write(&mut self, db: usize, key: &[u8]) -> Option<Found<'_>> {
        let hash = self.hash(key);
        let role = self.role.of_writer();
        match find_live(&mut self.dbs[db].table, hash, key, self.now_ms, role) {
            Live::Found(found) => {
                if !self.no_touch {
                    self.access.touch(found.get());
                }
                Some(found)
            }
            Live::Missing => None,
            Live::Expired(found) => {
                expire_found(&mut self.stats, &mut self.changes, &self.clock, db, key, found);
                None
            }
        }
    }

    /// As [`Keyspace::lookup_write`], for a change of the value in its place. Where commands of all types meet, the
    /// handle is not passed on through memory.
    #[inline(never)]
    fn lookup_mut(&mut self, db: usize, key: &[u8]) -> Option<EntryMut<'_>> {
        self.lookup_write(db, key).map(Found::into_mut)
    }

    /// Whether a key is there, without a trace.
    pub fn exists(&mut self, db: usize, key: &[u8]) -> bool {
        self.peek(db, key).is_some()
    }

    /// A string for reading.
    #[inline]
    pub fn read_string(&mut self, db: usize, key: &[u8]) -> CommandResult<Option<ValueRef<'_>>> {
        self.lookup_read(db, key).map(string).transpose()
    }

    /// A string about to be changed.
    #[inline]
    pub fn write_string(&mut self, db: usize, key: &[u8]) -> CommandResult<Option<Found<'_>>> {
        let Some(found) = self.lookup_write(db, key) else { return Ok(None) };
        string(found.get())?;
        Ok(Some(found))
    }

    /// A collection for reading.
    pub fn read<T: Collection>(&mut self, db: usize, key: &[u8]) -> CommandResult<Option<&T>> {
        let Some(entry) = self.lookup_read(db, key) else { return Ok(None) };
        T::of(entry.value()).map(Some).ok_or(CommandError::WRONG_TYPE)
    }

    /// A collection about to be changed. Whoever may have emptied it calls [`Keyspace::remove_if_empty`].
    pub fn write<T: Collection>(&mut self, db: usize, key: &[u8]) -> CommandResult<Option<&mut T>> {
        let Some(entry) = self.lookup_mut(db, key) else { return Ok(None) };
        T::of_mut(entry.into_value_mut()).map(Some).ok_or(CommandError::WRONG_TYPE)
    }

    /// As [`Keyspace::write`], but noted as a hit or a miss, as if it were only read.
    pub fn read_to_change<T: Collection>(
        &mut self,
        db: usize,
        key: &[u8],
    ) -> CommandResult<Option<&mut T>> {
        self.lookup_no_touch(db, key);
        self.write(db, key)
    }

    /// A collection about to be changed, made by `create` if there is none. It must not stay empty.
    pub fn write_or_create<T: Collection>(
        &mut self,
        db: usize,
        key: &[u8],
        create: impl FnOnce() -> T,
    ) -> CommandResult<&mut T> {
        if self.lookup_mut(db, key).is_none() {
            let entry = Entry::new(key, create().into_value(), None);
            entry.view().set_lru(self.access.fresh());
            self.add(db, entry);
        }
        let hash = self.hash(key);
        let entry = self.dbs[db].table.get_mut(hash, key).expect("it is there now");
        T::of_mut(entry.into_value_mut()).ok_or(CommandError::WRONG_TYPE)
    }

    /// Removes a collection in which nothing is left; returns whether it did.
    pub fn remove_if_empty<T: Collection>(&mut self, db: usize, key: &[u8]) -> bool {
        let hash = self.hash(key);
        let Some(found) = self.dbs[db].table.find(hash, key) else { return false };
        if !T::of(found.get().value()).is_some_and(T::is_empty) {
            return false;
        }
        drop(found.remove());
        self.changes.blocked.signal_gone(db, key);
        true
    }

    /// Puts a string under `key`, whatever was there; returns what was if freeing it may take long. One search of
    /// the table does it all. Counts no change, but notes a new key, and the expiry of one whose time had come.
    #[inline]
    pub fn set_string(
        &mut self,
        db: usize,
        key: &[u8],
        string: &[u8],
        expire: Option<i64>,
    ) -> Option<Entry> {
        self.note_own_expiry(db, key, expire);
        let hash = self.hash(key);
        let kept = self.lent.part(string);
        let overwrites = kept.is_none();
        let new_entry = || match kept {
            Some(bytes) => Entry::kept_string(key, bytes, expire),
            None => Entry::string(key, string, expire),
        };
        let table = &mut self.dbs[db].table;
        let Some(mut found) = table.find(hash, key) else {
            let entry = new_entry();
            entry.view().set_lru(self.access.fresh());
            table.insert_unique(hash, entry, expire.is_some());
            self.changes.notifications.push(Class::NEW, "new", db, key);
            return None;
        };
        let marked = found.is_marked();
        let stale = marked
            && self.role != ExpiryRole::Keep
            && found.get().expire().is_some_and(|at| at < self.now_ms);
        if marked != expire.is_some() {
            found.set_mark(!marked);
        }
        let mut old = None;
        if overwrites && found.get().is_string() {
            found.update(|entry| entry.with_string(string, expire));
        } else {
            let lru = found.get().lru();
            let entry = new_entry();
            entry.view().set_lru(lru);
            old = Some(found.replace(entry));
            self.changes.blocked.signal_gone(db, key);
        }
        if stale {
            found.get().set_lru(self.access.fresh());
            note_expired(&mut self.stats, &mut self.changes, db, key);
            self.changes.notifications.push(Class::NEW, "new", db, key);
        } else if !self.no_touch {
            self.access.touch(found.get());
        }
        old
    }

    /// Puts any value under `key`, whatever was there; returns what was, whose accesses count for the new one, too.
    /// Counts nothing.
    pub fn set(
        &mut self,
        db: usize,
        key: &[u8],
        value: Value,
        expire: Option<i64>,
    ) -> Option<Entry> {
        self.note_own_expiry(db, key, expire);
        let entry = Entry::new(key, value, expire);
        entry.view().set_lru(self.access.fresh());
        self.take_place(db, entry, true)
    }

    /// Puts an entry under its key, whatever was there; returns what was. Counts nothing.
    pub fn put(&mut self, db: usize, entry: Entry) -> Option<Entry> {
        self.take_place(db, entry, false)
    }

    /// `inherits`: whether the accesses of what was there count for the new entry.
    fn take_place(&mut self, db: usize, entry: Entry, inherits: bool) -> Option<Entry> {
        let hash = self.hash(entry.view().key());
        let marked = entry.view().has_expire();
        if self.dbs[db].volatile_hashes.note(entry.view()) {
            self.changes.fields_expire = true;
        }
        self.changes.blocked.signal_ready(db, entry.view().key());
        let table = &mut self.dbs[db].table;
        let walked = entry.view().value().is_walked().then(|| entry.view().key().to_vec());
        let mut old = None;
        if let Some(mut found) = table.find(hash, entry.view().key()) {
            found.set_mark(marked);
            if inherits {
                entry.view().set_lru(found.get().lru());
            }
            old = Some(found.replace(entry));
        } else {
            table.insert_unique(hash, entry, marked);
        }
        if let Some(key) = walked {
            table.take_in_open(&key);
        }
        old
    }

    /// Takes a key out, expired or not. Counts nothing.
    #[inline]
    pub fn remove(&mut self, db: usize, key: &[u8]) -> Option<Entry> {
        let hash = self.hash(key);
        self.changes.blocked.signal_gone(db, key);
        self.dbs[db].table.remove(hash, key)
    }

    /// Deletes a key that is there for who writes: one whose time has come is deleted too, but as expired, and
    /// is not answered. Counts nothing else.
    pub fn delete(&mut self, db: usize, key: &[u8]) -> Option<Entry> {
        let hash = self.hash(key);
        let role = self.role.of_writer();
        match find_live(&mut self.dbs[db].table, hash, key, self.now_ms, role) {
            Live::Found(found) => {
                self.changes.blocked.signal_gone(db, key);
                Some(found.remove())
            }
            Live::Missing => None,
            Live::Expired(found) => {
                expire_found(&mut self.stats, &mut self.changes, &self.clock, db, key, found);
                None
            }
        }
    }

    /// Inserts a string that was made in place, and that `OBJECT ENCODING` calls `raw`, as [`Keyspace::add`] does.
    pub fn add_raw_string(&mut self, db: usize, key: &[u8], string: Vec<u8>) {
        let entry = self.raw_string(key, string);
        self.add(db, entry);
    }

    /// Puts such a string under `key`, as [`Keyspace::set`] does.
    pub fn set_raw_string(&mut self, db: usize, key: &[u8], string: Vec<u8>) -> Option<Entry> {
        let entry = self.raw_string(key, string);
        self.take_place(db, entry, true)
    }

    /// Inserts a string that stays a text even if it is a number (`OBJECT ENCODING` calls it `embstr`), as
    /// [`Keyspace::add`] does.
    pub fn add_text(&mut self, db: usize, key: &[u8], text: &[u8]) {
        let entry = Entry::text(key, text, None);
        entry.view().set_lru(self.access.fresh());
        self.add(db, entry);
    }

    fn raw_string(&self, key: &[u8], string: Vec<u8>) -> Entry {
        let entry = Entry::string(key, b"", None).modify_string(|bytes| *bytes = string);
        entry.view().set_lru(self.access.fresh());
        entry
    }

    /// Inserts an entry whose key is not there, as [`Keyspace::lookup_write`] has found; notes the new key.
    pub fn add(&mut self, db: usize, entry: Entry) {
        let key = entry.view().key();
        self.changes.notifications.push(Class::NEW, "new", db, key);
        self.changes.blocked.signal_ready(db, key);
        let (hash, marked) = (self.hash(key), entry.view().has_expire());
        if self.dbs[db].volatile_hashes.note(entry.view()) {
            self.changes.fields_expire = true;
        }
        let walked = entry.view().value().is_walked().then(|| key.to_vec());
        let table = &mut self.dbs[db].table;
        table.insert_unique(hash, entry, marked);
        if let Some(key) = walked {
            table.take_in_open(&key);
        }
    }

    /// Sets or takes away the expiry of a key that is there; `false` if it is not.
    pub fn set_expire(&mut self, db: usize, key: &[u8], expire: Option<i64>) -> bool {
        let hash = self.hash(key);
        let Some(mut found) = self.dbs[db].table.find(hash, key) else { return false };
        found.update(|entry| entry.with_expire(expire));
        found.set_mark(expire.is_some());
        self.note_own_expiry(db, key, expire);
        true
    }

    /// On a replica, a client has given a key an expiry: the primary will not see to it.
    #[inline]
    fn note_own_expiry(&mut self, db: usize, key: &[u8], expire: Option<i64>) {
        if self.role == ExpiryRole::Hide && expire.is_some() {
            self.replica_keys.note(db, key);
        }
    }

    /// Deletes a key because its time has come, and notes it.
    pub(super) fn delete_expired(&mut self, db: usize, key: &[u8]) {
        if let Some(gone) = self.remove(db, key) {
            note_expired(&mut self.stats, &mut self.changes, db, key);
            self.changes.free_expired(gone, &self.clock);
        }
    }

    /// All keys of all databases.
    pub fn len(&self) -> usize {
        self.dbs.iter().map(Db::len).sum()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// In a cluster: how many keys a slot has in all databases.
    pub fn slot_len(&self, slot: u16) -> usize {
        self.dbs.iter().map(|db| db.table.slot_len(slot)).sum()
    }

    /// In a cluster: hides the keys of slots from all who do not ask for a key by its name, or shows them again.
    pub fn hide_slots(&mut self, slots: &SlotSet, hidden: bool) {
        self.dbs.iter_mut().for_each(|db| db.table.hide_slots(slots, hidden));
    }

    /// In a cluster: the keys of a slot, database by database.
    pub fn slot_keys(&self, slot: u16) -> impl Iterator<Item = &[u8]> {
        self.dbs.iter().flat_map(move |db| db.table.slot_iter(slot)).map(EntryRef::key)
    }
}

/// Deletes a key that was found with its time come, and notes it.
#[cold]
fn expire_found(
    stats: &mut KeyspaceStats,
    changes: &mut Changes,
    clock: &Clock,
    db: usize,
    key: &[u8],
    found: Found<'_>,
) {
    let gone = found.remove();
    note_expired(stats, changes, db, key);
    changes.free_expired(gone, clock);
}

/// Notes that a key was deleted because its time had come.
#[cold]
fn note_expired(stats: &mut KeyspaceStats, changes: &mut Changes, db: usize, key: &[u8]) {
    stats.expired += 1;
    changes.deleted.push((db, key.into()));
    changes.signal_modified_by_server(db, key);
    changes.blocked.signal_gone(db, key);
    changes.notifications.push(Class::EXPIRED, "expired", db, key);
}

#[inline(always)]
fn find_live<'a>(
    table: &'a mut KeyTable,
    hash: KeyHash,
    key: &[u8],
    now: i64,
    role: ExpiryRole,
) -> Live<'a> {
    let Some(found) = table.find(hash, key) else { return Live::Missing };
    if !found.is_marked() || role == ExpiryRole::Keep {
        return Live::Found(found);
    }
    match found.get().expire() {
        Some(at) if at < now => {}
        _ => return Live::Found(found),
    }
    if role == ExpiryRole::Hide {
        return Live::Missing;
    }
    Live::Expired(found)
}

/// The value of an entry that must be a string.
#[inline]
pub fn string(entry: EntryRef<'_>) -> CommandResult<ValueRef<'_>> {
    let value = entry.value();
    match value.kind() {
        Type::String => Ok(value),
        _ => Err(CommandError::WRONG_TYPE),
    }
}
