//! The keys of one database: a hash table, or in a cluster one for each run of 128 slots.
//!
//! A cluster moves keys by the slot and asks for them by the slot, so there a table has the keys of a slot together
//! ([`BySlot`]). A slot that a hash tag has filled with many more keys than others have has a table of its own. A
//! server that is no node of a cluster has one table, and pays one comparison for the choice.

mod by_slot;
mod found;
mod run;
mod slot_counts;
mod slot_keys;
mod walk;

pub use self::found::Found;
pub use self::walk::{Scribe, Walk};

use self::by_slot::BySlot;
use self::slot_keys::SlotKeys;
use super::entry::{Entry, EntryMut, EntryRef};
use super::order::KeyOrder;
use crate::ds::hash::HashSeed;
use crate::ds::table::{POSITIONS, Table, TableStats, Walkable, position};
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

    /// Where the key lies in the order of its slot.
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
    /// A key, for a walk to go on with.
    fn entry_mut(&mut self, key: &[u8]) -> Option<EntryMut<'_>> {
        match self {
            Tables::One(table) => table.get_mut(table.hash(key), key),
            Tables::BySlot(tables) => tables.entry_mut(key),
        }
    }

    fn value_mut(&mut self, key: &[u8]) -> Option<ValueMut<'_>> {
        self.entry_mut(key).map(EntryMut::into_value_mut)
    }

    /// The keys of a slot, or where there are no slots all; `None`: nothing has been there yet.
    fn slot(&self, slot: u16) -> Option<SlotKeys<'_>> {
        match self {
            Tables::One(table) => Some(SlotKeys::new(table, slot, table.len())),
            Tables::BySlot(tables) => tables.slot(slot),
        }
    }
}

impl KeyTable {
    /// An empty one. Takes next to no memory until something is inserted.
    pub fn new(hasher: KeyHasher) -> KeyTable {
        let keys = match hasher.by_slot {
            false => Tables::One(Table::new(KeyOrder::by_hash(hasher.seed))),
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
            Tables::BySlot(tables) => {
                let (table, hash) = tables.table(at.slot, at.hash)?;
                table.get(hash, key)
            }
        }
    }

    /// A key that is about to be changed.
    #[inline]
    pub fn get_mut(&mut self, at: KeyHash, key: &[u8]) -> Option<EntryMut<'_>> {
        self.before_change(at);
        match &mut self.keys {
            Tables::One(table) => table.get_mut(at.hash, key),
            Tables::BySlot(tables) => {
                let (table, hash) = tables.table_mut(at.slot, at.hash)?;
                table.get_mut(hash, key)
            }
        }
    }

    /// Finds a key to change, replace or remove.
    #[inline(always)]
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
            Tables::BySlot(tables) => tables.prefetch(at.slot, at.hash),
        }
    }

    /// Starts to load the entries of keys, some time after [`KeyTable::prefetch`] was called for each.
    #[inline]
    pub fn prefetch_entries(&self, keys: impl Iterator<Item = KeyHash>) {
        match &self.keys {
            Tables::One(table) => {
                keys.for_each(|at| table.prefetch_entries(at.hash, LINES_AHEAD));
            }
            Tables::BySlot(tables) => tables.prefetch_entries(keys),
        }
    }

    /// All entries, each once.
    pub fn iter(&self) -> impl Iterator<Item = EntryRef<'_>> {
        self.tables().flat_map(Table::iter)
    }

    /// The entries that clients may see.
    pub fn iter_shown(&self) -> impl Iterator<Item = EntryRef<'_>> {
        self.iter().filter(|entry| match &self.keys {
            Tables::One(_) => true,
            Tables::BySlot(tables) => tables.shows(*entry),
        })
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
        let slot = match &self.keys {
            Tables::One(_) => Some(0).filter(|&slot| slot == walk.slot()),
            Tables::BySlot(tables) => tables.next_slot(walk.slot()),
        };
        match slot {
            Some(slot) => {
                walk.go_to(slot);
                if !walk.go_on(&mut self.keys, buckets) {
                    walk.go_to(slot + 1);
                }
            }
            None => walk.end(),
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
            walk.before_change(&mut self.keys, at.slot, at.position());
        }
    }

    /// In a cluster: visits the entries of one bucket of a slot, from a position on; returns the position for the next
    /// step, or 0 if there is nothing behind. Each key is visited once, however the table is resized.
    pub fn walk_slot(&self, slot: u16, from: u64, mut visit: impl FnMut(EntryRef<'_>)) -> u64 {
        let Some(keys) = self.slot(slot) else { return 0 };
        keys.walk(from..POSITIONS, 1, |entry, _| visit(entry))
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
            Tables::One(table) => table.scan_marked(cursor..POSITIONS, buckets, visit),
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
        self.slot(slot).map_or(0, |keys| keys.entries())
    }

    /// The entries of a slot.
    pub fn slot_iter(&self, slot: u16) -> impl Iterator<Item = EntryRef<'_>> {
        self.slot(slot).into_iter().flat_map(|keys| keys.iter())
    }

    /// Makes room for so many keys in all. In a cluster, where nobody knows whose they will be, it does nothing.
    pub fn reserve(&mut self, capacity: usize) {
        if let Tables::One(table) = &mut self.keys {
            table.reserve(capacity);
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

    /// In a cluster: the keys of a slot.
    fn slot(&self, slot: u16) -> Option<SlotKeys<'_>> {
        match &self.keys {
            Tables::One(_) => None,
            Tables::BySlot(tables) => tables.slot(slot),
        }
    }

    /// The tables, those of runs of slots in order.
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
