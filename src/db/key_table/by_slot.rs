//! A hash table for each slot, and how many keys there are in runs of neighbouring slots: so that keys by chance, and
//! slots that have any, are found in a few hundred steps however the keys are spread.

use super::slot_counts::SlotCounts;
use super::{Found, Walk};
use crate::db::entry::{Entry, EntryRef};
use crate::ds::hash::HashSeed;
use crate::ds::table::{Table, below, prefetch};
use crate::util::alloc::relocate::Relocator;
use crate::util::slot::SLOTS;
use crate::util::slot_set::SlotSet;
use std::mem;

/// Bits of a scan's cursor that say the slot; those above are the cursor in its table.
const SLOT_BITS: u32 = SLOTS.trailing_zeros();
/// How often chance may hit a slot that is hidden.
const TRIES: usize = 100;
/// Slots that the timer looks at in one go.
const TENDED: usize = 1024;

/// The tables of all slots of a database.
pub(super) struct BySlot {
    seed: HashSeed,
    /// One for each slot, once any has a key.
    tables: Box<[Option<Box<Table<Entry>>>]>,
    counts: SlotCounts,
    resize_allowed: bool,
    /// Slots whose keys clients do not see.
    hidden: SlotSet,
    /// The slot that the timer looks at next.
    tended: usize,
}

impl BySlot {
    pub fn new(seed: HashSeed) -> BySlot {
        BySlot {
            seed,
            tables: Box::default(),
            counts: SlotCounts::NONE,
            resize_allowed: true,
            hidden: SlotSet::default(),
            tended: 0,
        }
    }

    pub fn len(&self) -> usize {
        self.counts.keys.all
    }

    /// Keys of slots that are not hidden.
    pub fn len_shown(&self) -> usize {
        let hidden = self.hidden.iter().filter_map(|slot| self.table(slot));
        self.len() - hidden.map(Table::len).sum::<usize>()
    }

    pub fn hide(&mut self, slots: &SlotSet, hidden: bool) {
        for slot in slots.iter() {
            match hidden {
                true => self.hidden.insert(slot),
                false => self.hidden.remove(slot),
            };
        }
    }

    /// The tables of slots that are not hidden.
    pub fn iter_shown(&self) -> impl Iterator<Item = &Table<Entry>> {
        let all = (0..SLOTS).zip(self.tables.iter());
        all.filter(|(slot, _)| !self.hidden.contains(*slot))
            .filter_map(|(_, table)| table.as_deref())
    }

    pub fn len_marked(&self) -> usize {
        self.counts.marked.all
    }

    #[inline]
    pub fn table(&self, slot: u16) -> Option<&Table<Entry>> {
        self.tables.get(usize::from(slot))?.as_deref()
    }

    /// The same, unless its keys are hidden.
    fn shown(&self, slot: u16) -> Option<&Table<Entry>> {
        self.table(slot).filter(|_| !self.hidden.contains(slot))
    }

    #[inline]
    pub fn table_mut(&mut self, slot: u16) -> Option<&mut Table<Entry>> {
        self.tables.get_mut(usize::from(slot))?.as_deref_mut()
    }

    pub fn find<'a>(
        &'a mut self,
        slot: u16,
        hash: u64,
        key: &[u8],
        walk: Option<&'a mut Walk>,
    ) -> Option<Found<'a>> {
        let table = self.tables.get_mut(usize::from(slot))?.as_deref_mut()?;
        Some(Found::in_slot(table.find(hash, key)?, &mut self.counts, slot, walk))
    }

    /// The first table that there is from a slot on, and its slot.
    pub fn next_table(&mut self, from: u16) -> Option<(u16, &mut Table<Entry>)> {
        let tables = (0..SLOTS).zip(self.tables.iter_mut()).skip(from.into());
        tables.filter_map(|(slot, table)| Some((slot, table.as_deref_mut()?))).next()
    }

    pub fn insert_unique(&mut self, slot: u16, hash: u64, entry: Entry, mark: bool) {
        self.counts.insert(slot, mark);
        self.table_or_new(slot).insert_unique(hash, entry, mark);
    }

    /// The table of a slot, made if there is none.
    fn table_or_new(&mut self, slot: u16) -> &mut Table<Entry> {
        if self.tables.is_empty() {
            self.tables = (0..SLOTS).map(|_| None).collect();
        }
        let (seed, resize_allowed) = (self.seed, self.resize_allowed);
        self.tables[usize::from(slot)].get_or_insert_with(|| {
            let mut table = Box::new(Table::new(seed));
            table.set_resize_allowed(resize_allowed);
            table
        })
    }

    pub fn reserve(&mut self, slot: u16, capacity: usize) {
        self.table_or_new(slot).reserve(capacity);
    }

    /// Starts to load the table of a slot itself; its buckets can be fetched then.
    #[inline]
    pub fn prefetch_table(&self, slot: u16) {
        if let Some(table) = self.table(slot) {
            prefetch(table);
            prefetch((&raw const *table).wrapping_byte_add(64));
        }
    }

    pub fn iter(&self) -> impl Iterator<Item = &Table<Entry>> {
        self.tables.iter().flatten().map(|table| &**table)
    }

    pub fn scan(&self, cursor: u64, visit: impl FnMut(EntryRef<'_>)) -> u64 {
        let (slot, position) = split(cursor);
        let next = self.scan_table(slot, position, visit);
        self.cursor_behind(slot, next)
    }

    /// The cursor that goes on behind what was visited of a slot, where `next` is the position to go on from, or 0.
    fn cursor_behind(&self, slot: u16, next: u64) -> u64 {
        match next {
            0 => self.next_slot(usize::from(slot) + 1).map_or(0, |slot| join(slot, 0)),
            next => join(slot, next),
        }
    }

    pub fn scan_slot(&self, slot: u16, cursor: u64, visit: impl FnMut(EntryRef<'_>)) -> u64 {
        let position = match split(cursor) {
            (of, position) if of == slot => position,
            // The scan of a slot starts with 0 too.
            (0, 0) => 0,
            _ => return 0,
        };
        match self.scan_table(slot, position, visit) {
            0 => 0,
            next => join(slot, next),
        }
    }

    pub fn relocate(
        &mut self,
        cursor: u64,
        relocator: &mut Relocator,
        relocate: impl FnMut(Entry, &mut Relocator) -> Entry,
    ) -> u64 {
        let (slot, position) = split(cursor);
        let table = self.tables.get_mut(usize::from(slot)).and_then(Option::as_mut);
        let next = table.map_or(0, |table| {
            if position == 0 {
                relocator.boxed(table);
            }
            table.relocate(position, relocator, relocate)
        });
        self.cursor_behind(slot, next)
    }

    fn scan_table(&self, slot: u16, position: u64, mut visit: impl FnMut(EntryRef<'_>)) -> u64 {
        self.shown(slot).map_or(0, |table| table.scan(position, |entry, _| visit(entry)))
    }

    pub fn scan_marked(
        &self,
        cursor: u64,
        buckets: usize,
        mut visit: impl FnMut(EntryRef<'_>),
    ) -> (u64, usize) {
        let (slot, mut position) = split(cursor);
        let (mut from, mut passed, mut found) = (usize::from(slot), 0, false);
        while let Some(slot) = self.next_marked_slot(from)
            && let Some(table) = self.table(slot)
        {
            if usize::from(slot) != from {
                position = 0;
            }
            let (next, some) = table.scan_marked(position, buckets - passed, |entry| {
                found = true;
                visit(entry);
            });
            passed += some;
            if next != 0 {
                return (join(slot, next), passed);
            }
            (from, position) = (usize::from(slot) + 1, 0);
            if found || passed >= buckets {
                return (self.next_marked_slot(from).map_or(0, |slot| join(slot, 0)), passed);
            }
        }
        (0, passed)
    }

    /// The first slot from `slot` on that has keys.
    fn next_slot(&self, slot: usize) -> Option<u16> {
        self.counts.keys.next_slot(slot, |slot| self.shown(slot).is_some_and(|t| !t.is_empty()))
    }

    fn next_marked_slot(&self, slot: usize) -> Option<u16> {
        let has_any = |slot| self.shown(slot).is_some_and(|table| table.len_marked() > 0);
        self.counts.marked.next_slot(slot, has_any)
    }

    pub fn random(&self, rng: &mut impl FnMut() -> u64) -> Option<EntryRef<'_>> {
        let len = |slot| self.table(slot).map_or(0, Table::len);
        (0..TRIES).find_map(|_| {
            let slot = self.counts.keys.slot_of(below(rng, self.len()), len)?;
            self.shown(slot)?.random(rng)
        })
    }

    pub fn random_marked(&self, rng: &mut impl FnMut() -> u64) -> Option<EntryRef<'_>> {
        let len = |slot| self.table(slot).map_or(0, Table::len_marked);
        (0..TRIES).find_map(|_| {
            let slot = self.counts.marked.slot_of(below(rng, self.len_marked()), len)?;
            self.shown(slot)?.random_marked(rng)
        })
    }

    pub fn set_resize_allowed(&mut self, allowed: bool) {
        self.resize_allowed = allowed;
        self.tables.iter_mut().flatten().for_each(|table| table.set_resize_allowed(allowed));
    }

    /// Looks at some tables in turn: moves up to so many buckets of the first that is being resized, and frees those
    /// that are empty.
    pub fn tend(&mut self, buckets: usize) {
        for _ in 0..TENDED.min(self.tables.len()) {
            let place = &mut self.tables[self.tended];
            if place.as_deref().is_some_and(Table::is_empty) {
                *place = None;
            }
            match place {
                Some(table) if table.is_rehashing() => {
                    table.rehash_step(buckets);
                    return;
                }
                _ => self.tended = (self.tended + 1) % usize::from(SLOTS),
            }
        }
    }

    /// Bytes that it takes beside what the tables tell of themselves.
    pub fn overhead(&self) -> usize {
        let made = self.tables.iter().flatten().count();
        size_of::<BySlot>() + mem::size_of_val(&*self.tables) + made * size_of::<Table<Entry>>()
    }
}

/// Slot, and the cursor in its table.
fn split(cursor: u64) -> (u16, u64) {
    (cursor as u16 & (SLOTS - 1), cursor >> SLOT_BITS)
}

fn join(slot: u16, position: u64) -> u64 {
    position << SLOT_BITS | u64::from(slot)
}
