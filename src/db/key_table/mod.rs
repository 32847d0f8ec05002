//! The keys of one database: a hash table, or in a cluster one for each slot.
//!
//! A cluster moves keys by the slot and asks for them by the slot, so there each slot has a table of its own, made when
//! its first key comes ([`BySlot`]). One that a hash tag has filled with most of the keys is then a large table like
//! any other. A server that is no node of a cluster has one table, and pays one comparison for the choice.

mod by_slot;
mod found;
mod slot_counts;
mod walk;

pub use self::found::Found;
pub use self::walk::{Scribe, Walk};

use self::by_slot::BySlot;
use super::entry::{Entry, EntryMut, EntryRef};
use crate::ds::hash::HashSeed;
use crate::ds::table::{Table, TableStats, position};
use crate::util::alloc::relocate::Relocator;
use crate::util::slot::key_slot;
use crate::util::slot_set::SlotSet;
use crate::value::ValueMut;

/// Cache lines of an entry that are fetched ahead: its header and key, and the start of its value.
const LINES_AHEAD: usize = 2;

/// What is known of a key before it is looked up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KeyHash {
    hash: u64,
    /// Its slot, in a cluster; else 0.
    slot: u16,
}

impl KeyHash {
    pub fn slot(self) -> u16 {
        self.slot
    }

    /// Where the key lies in the order of its table.
    pub fn position(self) -> u64 {
        position(self.hash)
    }
}

/// How keys are hashed, and whether they are kept by the slot.
#[derive(Clone, Copy, Debug)]
pub struct KeyHasher {
    seed: HashSeed,
    by_slot: bool,
}

impl KeyHasher {
    pub fn new(seed: HashSeed, by_slot: bool) -> KeyHasher {
        KeyHasher { seed, by_slot }
    }

    #[inline]
    pub fn hash(self, key: &[u8]) -> KeyHash {
        let slot = if self.by_slot { key_slot(key) } else { 0 };
        KeyHash { hash: self.seed.hash(key), slot }
    }
}

/// The keys of a database. Whatever changes one goes through here or through its [`Found`], so that a walk which has
/// not come to it yet is told first.
pub struct KeyTable {
    keys: Tables,
    walk: Option<Box<Walk>>,
}

enum Tables {
    One(Table<Entry>),
    BySlot(Box<BySlot>),
}

impl Tables {
    /// The value of a key, for a walk to go on with.
    fn value_mut(&mut self, key: &[u8]) -> Option<ValueMut<'_>> {
        let table = match self {
            Tables::One(table) => table,
            Tables::BySlot(tables) => tables.table_mut(key_slot(key))?,
        };
        Some(table.get_mut(table.hash(key), key)?.into_value_mut())
    }
}

impl KeyTable {
    /// An empty one. Takes next to no memory until something is inserted.
    pub fn new(hasher: KeyHasher) -> KeyTable {
        let keys = match hasher.by_slot {
            false => Tables::One(Table::new(hasher.seed)),
            true => Tables::BySlot(Box::new(BySlot::new(hasher.seed))),
        };
        KeyTable { keys, walk: None }
    }

    #[inline]
    pub fn len(&self) -> usize {
        match &self.keys {
            Tables::One(table) => table.len(),
            Tables::BySlot(tables) => tables.len(),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The keys that clients may see.
    pub fn len_shown(&self) -> usize {
        match &self.keys {
            Tables::One(table) => table.len(),
            Tables::BySlot(tables) => tables.len_shown(),
        }
    }

    /// Hides the keys of slots from all who do not ask for a key by its name, or shows them again. They neither expire
    /// nor are they evicted meanwhile.
    pub fn hide_slots(&mut self, slots: &SlotSet, hidden: bool) {
        if let Tables::BySlot(tables) = &mut self.keys {
            tables.hide(slots, hidden);
        }
    }

    /// Keys with an expiry: those that are marked.
    pub fn len_marked(&self) -> usize {
        match &self.keys {
            Tables::One(table) => table.len_marked(),
            Tables::BySlot(tables) => tables.len_marked(),
        }
    }

    #[inline]
    pub fn get(&self, at: KeyHash, key: &[u8]) -> Option<EntryRef<'_>> {
        match &self.keys {
            Tables::One(table) => table.get(at.hash, key),
            Tables::BySlot(tables) => tables.table(at.slot)?.get(at.hash, key),
        }
    }

    /// A key that is about to be changed.
    #[inline]
    pub fn get_mut(&mut self, at: KeyHash, key: &[u8]) -> Option<EntryMut<'_>> {
        self.before_change(at);
        match &mut self.keys {
            Tables::One(table) => table.get_mut(at.hash, key),
            Tables::BySlot(tables) => tables.table_mut(at.slot)?.get_mut(at.hash, key),
        }
    }

    /// Finds a key to change, replace or remove.
    #[inline]
    pub fn find(&mut self, at: KeyHash, key: &[u8]) -> Option<Found<'_>> {
        let walk = self.walk.as_deref_mut();
        match &mut self.keys {
            Tables::One(table) => Some(Found::alone(table.find(at.hash, key)?, walk)),
            Tables::BySlot(tables) => tables.find(at.slot, at.hash, key, walk),
        }
    }

    /// Inserts an entry whose key is not there yet.
    #[inline]
    pub fn insert_unique(&mut self, at: KeyHash, entry: Entry, mark: bool) {
        self.before_change(at);
        match &mut self.keys {
            Tables::One(table) => table.insert_unique(at.hash, entry, mark),
            Tables::BySlot(tables) => tables.insert_unique(at.slot, at.hash, entry, mark),
        }
    }

    #[inline]
    pub fn remove(&mut self, at: KeyHash, key: &[u8]) -> Option<Entry> {
        self.find(at, key).map(Found::remove)
    }

    /// Starts to load what the search for a key begins with.
    #[inline]
    pub fn prefetch(&self, at: KeyHash) {
        match &self.keys {
            Tables::One(table) => table.prefetch_bucket(at.hash),
            Tables::BySlot(tables) => tables.prefetch_table(at.slot),
        }
    }

    /// Starts to load the entries of keys, some time after [`KeyTable::prefetch`] was called for each.
    #[inline]
    pub fn prefetch_entries(&self, keys: impl Iterator<Item = KeyHash> + Clone) {
        match &self.keys {
            Tables::One(table) => {
                keys.for_each(|at| table.prefetch_entries(at.hash, LINES_AHEAD));
            }
            Tables::BySlot(tables) => {
                let tables = keys.filter_map(|at| Some((tables.table(at.slot)?, at.hash)));
                tables.clone().for_each(|(table, hash)| table.prefetch_bucket(hash));
                tables.for_each(|(table, hash)| table.prefetch_entries(hash, LINES_AHEAD));
            }
        }
    }

    /// All entries, each once; in a cluster slot by slot.
    pub fn iter(&self) -> impl Iterator<Item = EntryRef<'_>> {
        self.tables().flat_map(Table::iter)
    }

    /// The entries that clients may see.
    pub fn iter_shown(&self) -> impl Iterator<Item = EntryRef<'_>> {
        let (one, by_slot) = match &self.keys {
            Tables::One(table) => (Some(table), None),
            Tables::BySlot(tables) => (None, Some(tables)),
        };
        let shown = by_slot.into_iter().flat_map(|tables| tables.iter_shown());
        one.into_iter().chain(shown).flat_map(Table::iter)
    }

    /// Starts to hand all keys, as they are now, to `scribe`: [`KeyTable::walk_on`] has to be called until there are no
    /// more. Only one walk can be under way.
    pub fn begin_walk(&mut self, scribe: Box<dyn Scribe>) {
        self.walk = Some(Box::new(Walk::new(scribe)));
    }

    /// The walk that is under way.
    pub fn walk(&self) -> Option<&Walk> {
        self.walk.as_deref()
    }

    /// Goes on with the walk by so many buckets: of a value that is open, or else of one slot.
    pub fn walk_on(&mut self, buckets: usize) {
        let Some(walk) = &mut self.walk else { return };
        if let Some(key) = walk.first_open_key() {
            let value = self.keys.value_mut(key);
            // If it is not there it has been dropped, or found again under another key.
            if !value.is_some_and(|value| value.walk_on(buckets)) {
                walk.close_first();
            }
            return;
        }
        match &mut self.keys {
            Tables::One(table) => {
                if !walk.go_on(table, buckets) {
                    walk.end();
                }
            }
            Tables::BySlot(tables) => match tables.next_table(walk.slot()) {
                Some((slot, table)) => {
                    walk.go_to(slot);
                    if !walk.go_on(table, buckets) {
                        walk.go_to(slot + 1);
                    }
                }
                None => walk.end(),
            },
        }
    }

    /// A key has come here whose value is open.
    pub fn take_in_open(&mut self, key: &[u8]) {
        self.walk.get_or_insert_with(|| Box::new(Walk::of_guests())).open_again(key);
    }

    /// Ends the walk, wherever it is.
    pub fn end_walk(&mut self) {
        let Some(mut walk) = self.walk.take() else { return };
        while let Some(key) = walk.first_open_key() {
            if let Some(value) = self.keys.value_mut(key) {
                value.end_walk();
            }
            walk.close_first();
        }
    }

    /// Something is about to change at this place.
    #[inline]
    fn before_change(&mut self, at: KeyHash) {
        if let Some(walk) = &mut self.walk {
            let table = match &mut self.keys {
                Tables::One(table) => Some(table),
                Tables::BySlot(tables) => tables.table_mut(at.slot),
            };
            walk.before_change(table, at.slot, at.position());
        }
    }

    /// In a cluster: visits the entries of one bucket of a slot, from a position on; returns the position for the next
    /// step, or 0 if there is nothing behind. Each key is visited once, however the table is resized.
    pub fn walk_slot(&self, slot: u16, from: u64, mut visit: impl FnMut(EntryRef<'_>)) -> u64 {
        let Some(table) = self.slot(slot) else { return 0 };
        table.walk(from, 1, |entry, _| visit(entry))
    }

    /// Visits the entries of one bucket, about six. Returns the cursor for the next step; a scan starts with 0 and is
    /// done when it gets 0. What [`Table::scan`] promises of a table holds for all of them together.
    pub fn scan(&self, cursor: u64, mut visit: impl FnMut(EntryRef<'_>)) -> u64 {
        match &self.keys {
            Tables::One(table) => table.scan(cursor, |entry, _| visit(entry)),
            Tables::BySlot(tables) => tables.scan(cursor, visit),
        }
    }

    /// The same for the keys of one slot; without slots there is but one.
    pub fn scan_slot(&self, slot: u16, cursor: u64, visit: impl FnMut(EntryRef<'_>)) -> u64 {
        match &self.keys {
            Tables::One(_) => self.scan(cursor, visit),
            Tables::BySlot(tables) => tables.scan_slot(slot, cursor, visit),
        }
    }

    /// Shows what the entries of one bucket lie in to the relocator, and passes them through `relocate`; cursors are
    /// those of [`KeyTable::scan`], which hidden slots are no part of.
    pub fn relocate(
        &mut self,
        cursor: u64,
        relocator: &mut Relocator,
        relocate: impl FnMut(Entry, &mut Relocator) -> Entry,
    ) -> u64 {
        match &mut self.keys {
            Tables::One(table) => table.relocate(cursor, relocator, relocate),
            Tables::BySlot(tables) => tables.relocate(cursor, relocator, relocate),
        }
    }

    /// As [`KeyTable::scan`], but visits the marked entries only: those of the first bucket that has any, or none if
    /// the next `buckets` (1 at least) have none. Returns the cursor and the number of buckets passed.
    pub fn scan_marked(
        &self,
        cursor: u64,
        buckets: usize,
        visit: impl FnMut(EntryRef<'_>),
    ) -> (u64, usize) {
        match &self.keys {
            Tables::One(table) => table.scan_marked(cursor, buckets, visit),
            Tables::BySlot(tables) => tables.scan_marked(cursor, buckets, visit),
        }
    }

    /// An entry, each with the same chance.
    pub fn random(&self, rng: &mut impl FnMut() -> u64) -> Option<EntryRef<'_>> {
        match &self.keys {
            Tables::One(table) => table.random(rng),
            Tables::BySlot(tables) => tables.random(rng),
        }
    }

    /// Visits so many entries, each by the same chance.
    pub fn sample<'a>(
        &'a self,
        count: usize,
        rng: &mut impl FnMut() -> u64,
        visit: impl FnMut(EntryRef<'a>),
    ) {
        match &self.keys {
            Tables::One(table) => table.sample(count, rng, visit),
            Tables::BySlot(tables) => (0..count).filter_map(|_| tables.random(rng)).for_each(visit),
        }
    }

    /// A marked entry, not with quite the same chance; `None` if there is none among a few hundred buckets.
    pub fn random_marked(&self, rng: &mut impl FnMut() -> u64) -> Option<EntryRef<'_>> {
        match &self.keys {
            Tables::One(table) => table.random_marked(rng),
            Tables::BySlot(tables) => tables.random_marked(rng),
        }
    }

    /// How many keys a slot has.
    pub fn slot_len(&self, slot: u16) -> usize {
        self.slot(slot).map_or(0, Table::len)
    }

    /// The entries of a slot.
    pub fn slot_iter(&self, slot: u16) -> impl Iterator<Item = EntryRef<'_>> {
        self.slot(slot).into_iter().flat_map(Table::iter)
    }

    /// Makes room for so many keys in all. In a cluster, where nobody knows whose they will be, it does nothing.
    pub fn reserve(&mut self, capacity: usize) {
        if let Tables::One(table) = &mut self.keys {
            table.reserve(capacity);
        }
    }

    /// Makes room for so many keys in a slot, if keys are kept by the slot.
    pub fn reserve_slot(&mut self, slot: u16, capacity: usize) {
        if let Tables::BySlot(tables) = &mut self.keys {
            tables.reserve(slot, capacity);
        }
    }

    /// Whether tables may resize; see [`Table::set_resize_allowed`].
    pub fn set_resize_allowed(&mut self, allowed: bool) {
        match &mut self.keys {
            Tables::One(table) => table.set_resize_allowed(allowed),
            Tables::BySlot(tables) => tables.set_resize_allowed(allowed),
        }
    }

    /// Goes on with a resize that nobody's writes drive on, by so many buckets. For a timer.
    pub fn rehash_step(&mut self, buckets: usize) {
        match &mut self.keys {
            Tables::One(table) if table.is_rehashing() => _ = table.rehash_step(buckets),
            Tables::One(_) => {}
            Tables::BySlot(tables) => tables.tend(buckets),
        }
    }

    /// Bytes that the tables take, without the entries.
    pub fn memory(&self) -> usize {
        let own = match &self.keys {
            Tables::One(_) => 0,
            Tables::BySlot(tables) => tables.overhead(),
        };
        own + self.tables().map(Table::memory).sum::<usize>()
    }

    /// Counts what there is. Walks through all tables.
    pub fn stats(&self) -> TableStats {
        self.tables().map(Table::stats).fold(TableStats::default(), |all, one| TableStats {
            buckets: all.buckets + one.buckets,
            len: all.len + one.len,
            overflow_buckets: all.overflow_buckets + one.overflow_buckets,
            longest_chain: all.longest_chain.max(one.longest_chain),
            rehashing_from: all.rehashing_from.max(one.rehashing_from),
        })
    }

    fn slot(&self, slot: u16) -> Option<&Table<Entry>> {
        match &self.keys {
            Tables::One(_) => None,
            Tables::BySlot(tables) => tables.table(slot),
        }
    }

    /// The tables, those of slots in order.
    fn tables(&self) -> impl Iterator<Item = &Table<Entry>> {
        let (one, by_slot) = match &self.keys {
            Tables::One(table) => (Some(table), None),
            Tables::BySlot(tables) => (None, Some(tables)),
        };
        one.into_iter().chain(by_slot.into_iter().flat_map(|tables| tables.iter()))
    }
}

#[cfg(test)]
mod tests;
