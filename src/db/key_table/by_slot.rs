//! The keys of all slots, in runs of neighbouring ones, and how many there are in each run and in each slot: so that
//! keys by chance, and slots that have any, are found in a few hundred steps however the keys are spread.

use super::run::{Run, Stretch};
use super::slot_counts::{RUNS, SlotCounts};
use super::slot_keys::SlotKeys;
use super::{Found, KeyHash, LINES_AHEAD, Walk};
use crate::db::entry::{Entry, EntryMut, EntryRef};
use crate::db::order::RUN;
use crate::ds::hash::HashSeed;
use crate::ds::table::{POSITIONS, Table, Walkable, below};
use crate::util::alloc::relocate::Relocator;
use crate::util::slot::{SLOTS, key_slot};
use crate::util::slot_set::SlotSet;
use std::mem;

/// Bits of a scan's cursor that say the slot; those above are the position.
const SLOT_BITS: u32 = SLOTS.trailing_zeros();
/// How often chance may hit a slot that is hidden.
const TRIES: usize = 100;
/// Runs of slots that the timer looks at in one go.
const TENDED: usize = 8;

/// The keys of all slots of a database.
pub(super) struct BySlot {
    seed: HashSeed,
    /// All runs, once any has a key.
    runs: Vec<Run>,
    counts: SlotCounts,
    resize_allowed: bool,
    /// Slots whose keys clients do not see.
    hidden: SlotSet,
    /// The run that the timer looks at next.
    tended: usize,
}

impl BySlot {
    pub fn new(seed: HashSeed) -> BySlot {
        BySlot {
            seed,
            runs: Vec::new(),
            counts: SlotCounts::default(),
            resize_allowed: true,
            hidden: SlotSet::default(),
            tended: 0,
        }
    }

    pub fn len(&self) -> usize {
        self.counts.keys.all()
    }

    /// Keys of slots that are not hidden.
    pub fn len_shown(&self) -> usize {
        self.len() - self.hidden.iter().map(|slot| self.counts.keys.of(slot)).sum::<usize>()
    }

    pub fn hide(&mut self, slots: &SlotSet, hidden: bool) {
        for slot in slots.iter() {
            match hidden {
                true => self.hidden.insert(slot),
                false => self.hidden.remove(slot),
            };
        }
    }

    /// Whether clients see a key.
    pub fn shows(&self, entry: EntryRef<'_>) -> bool {
        self.hidden.is_empty() || !self.hidden.contains(key_slot(entry.key()))
    }

    pub fn len_marked(&self) -> usize {
        self.counts.marked.all()
    }

    fn run(&self, slot: u16) -> Option<&Run> {
        self.runs.get(usize::from(slot / RUN))
    }

    /// The keys of a slot.
    pub fn slot(&self, slot: u16) -> Option<SlotKeys<'_>> {
        Some(self.run(slot)?.slot(slot, self.counts.keys.of(slot)))
    }

    /// The first slot from `slot` on that has keys.
    pub fn next_slot(&self, slot: u16) -> Option<u16> {
        self.counts.keys.next_slot(slot)
    }

    /// The table that has a slot's keys, and the hash by which it knows a key with this hash.
    #[inline]
    pub fn table(&self, slot: u16, hash: u64) -> Option<(&Table<Entry>, u64)> {
        Some(self.run(slot)?.table(slot, hash))
    }

    #[inline]
    pub fn table_mut(&mut self, slot: u16, hash: u64) -> Option<(&mut Table<Entry>, u64)> {
        Some(self.runs.get_mut(usize::from(slot / RUN))?.table_mut(slot, hash))
    }

    /// Starts to load the bucket of a key. Not a part of its caller, which would be slower where there are no slots.
    #[inline(never)]
    pub fn prefetch(&self, slot: u16, hash: u64) {
        if let Some((table, hash)) = self.table(slot, hash) {
            table.prefetch_bucket(hash);
        }
    }

    /// Starts to load the entries of keys.
    #[inline(never)]
    pub fn prefetch_entries(&self, keys: impl Iterator<Item = KeyHash>) {
        for at in keys {
            if let Some((table, hash)) = self.table(at.slot, at.hash) {
                table.prefetch_entries(hash, LINES_AHEAD);
            }
        }
    }

    pub fn entry_mut(&mut self, key: &[u8]) -> Option<EntryMut<'_>> {
        let (table, hash) = self.table_mut(key_slot(key), self.seed.hash(key))?;
        table.get_mut(hash, key)
    }

    #[inline]
    pub fn find<'a>(
        &'a mut self,
        slot: u16,
        hash: u64,
        key: &[u8],
        walk: Option<&'a mut Walk>,
    ) -> Option<Found<'a>> {
        let (table, hash) = self.runs.get_mut(usize::from(slot / RUN))?.table_mut(slot, hash);
        Some(Found::in_slot(table.find(hash, key)?, &mut self.counts, slot, walk))
    }

    #[inline]
    pub fn insert_unique(&mut self, slot: u16, hash: u64, entry: Entry, mark: bool) {
        self.counts.insert(slot, mark);
        if self.runs.is_empty() {
            self.make_runs();
        }
        let len = self.counts.keys.of(slot);
        self.runs[usize::from(slot / RUN)].insert_unique(slot, len, hash, entry, mark);
    }

    #[cold]
    fn make_runs(&mut self) {
        self.runs = (0..RUNS).map(|_| Run::new(self.seed)).collect();
        self.set_resize_allowed(self.resize_allowed);
    }

    pub fn iter(&self) -> impl Iterator<Item = &Table<Entry>> {
        self.runs.iter().flat_map(Run::tables)
    }

    pub fn scan(&self, cursor: u64, mut visit: impl FnMut(EntryRef<'_>)) -> u64 {
        let (slot, position) = split(cursor);
        let Some(stretch) = self.stretch(slot, position) else { return 0 };
        let next = match self.is_hidden(&stretch) {
            true => 0,
            false => stretch.table.scan(stretch.range.start, |entry, _| {
                if stretch.has(entry) && self.shows(entry) {
                    visit(entry);
                }
            }),
        };
        self.cursor_behind(&stretch, next)
    }

    pub fn scan_slot(&self, slot: u16, cursor: u64, mut visit: impl FnMut(EntryRef<'_>)) -> u64 {
        let from = match split(cursor) {
            (of, position) if of == slot => position,
            // The scan of a slot starts with 0 too.
            (0, 0) => 0,
            _ => return 0,
        };
        let keys = self.slot(slot).filter(|_| !self.hidden.contains(slot));
        let next = keys.map_or(0, |keys| keys.walk(from..POSITIONS, 1, |entry, _| visit(entry)));
        if next == 0 { 0 } else { join(slot, next) }
    }

    pub fn relocate(
        &mut self,
        cursor: u64,
        relocator: &mut Relocator,
        relocate: impl FnMut(Entry, &mut Relocator) -> Entry,
    ) -> u64 {
        let (slot, position) = split(cursor);
        let Some(stretch) = self.stretch(slot, position) else { return 0 };
        let at = stretch.range.start;
        let run = &mut self.runs[usize::from(slot / RUN)];
        let next = run.relocate(slot, at, relocator, relocate);
        let Some(stretch) = self.stretch(slot, position) else { return 0 };
        match stretch.place(next) {
            Some((slot, position)) => join(slot, position),
            // A run is begun at its start, where its arrays are shown.
            None if stretch.slots.end.is_multiple_of(RUN) => {
                let run = self.counts.keys.next_run((stretch.slots.end / RUN).into());
                run.map_or(0, |run| join(run as u16 * RUN, 0))
            }
            None => join(stretch.slots.end, 0),
        }
    }

    pub fn scan_marked(
        &self,
        cursor: u64,
        buckets: usize,
        mut visit: impl FnMut(EntryRef<'_>),
    ) -> (u64, usize) {
        let (mut passed, mut found) = (0, false);
        let (mut slot, mut position) = split(cursor);
        while let Some(stretch) = self.stretch(slot, position) {
            if stretch.table.len_marked() > 0 && !self.is_hidden(&stretch) {
                let range = stretch.range.clone();
                let (next, some) = stretch.table.scan_marked(range, buckets - passed, |entry| {
                    if stretch.has(entry) && self.shows(entry) {
                        found = true;
                        visit(entry);
                    }
                });
                passed += some;
                if let Some((slot, position)) = stretch.place(next) {
                    return (join(slot, position), passed);
                }
            }
            let Some(next) = self.counts.marked.next_slot(stretch.slots.end) else { break };
            if found || passed >= buckets {
                return (join(next, 0), passed);
            }
            (slot, position) = (next, 0);
        }
        (0, passed)
    }

    /// What a scan goes on with.
    fn stretch(&self, slot: u16, position: u64) -> Option<Stretch<'_>> {
        Some(self.run(slot)?.stretch(slot, position))
    }

    /// Whether clients see none of a table's keys.
    fn is_hidden(&self, stretch: &Stretch<'_>) -> bool {
        stretch.is_own && self.hidden.contains(stretch.slots.start)
    }

    /// The cursor that goes on behind what was visited, where `next` is the position to go on from in the same table,
    /// or 0.
    fn cursor_behind(&self, stretch: &Stretch<'_>, next: u64) -> u64 {
        let next = stretch.place(next);
        let next = next.or_else(|| Some((self.next_slot(stretch.slots.end)?, 0)));
        next.map_or(0, |(slot, position)| join(slot, position))
    }

    pub fn random(&self, rng: &mut impl FnMut() -> u64) -> Option<EntryRef<'_>> {
        (0..TRIES).find_map(|_| {
            let (run, n) = self.counts.keys.run_of(below(rng, self.len()))?;
            self.runs[run].random(n, rng).filter(|entry| self.shows(*entry))
        })
    }

    pub fn random_marked(&self, rng: &mut impl FnMut() -> u64) -> Option<EntryRef<'_>> {
        (0..TRIES).find_map(|_| {
            let (run, n) = self.counts.marked.run_of(below(rng, self.len_marked()))?;
            self.runs[run].random_marked(n, rng).filter(|entry| self.shows(*entry))
        })
    }

    pub fn set_resize_allowed(&mut self, allowed: bool) {
        self.resize_allowed = allowed;
        self.runs.iter_mut().for_each(|run| run.set_resize_allowed(allowed));
    }

    /// Looks at some runs in turn, until one has something to do (see [`Run::tend`]).
    pub fn tend(&mut self, buckets: usize) {
        for _ in 0..TENDED.min(self.runs.len()) {
            if self.runs[self.tended].tend(buckets) {
                return;
            }
            self.tended = (self.tended + 1) % RUNS;
        }
    }

    /// Bytes that it takes beside what the tables tell of themselves.
    pub fn overhead(&self) -> usize {
        let runs =
            mem::size_of_val(&*self.runs) + self.runs.iter().map(Run::overhead).sum::<usize>();
        size_of::<BySlot>() + self.counts.memory() + runs
    }
}

/// Slot, and a position in it. Any number is a cursor.
fn split(cursor: u64) -> (u16, u64) {
    (cursor as u16 & (SLOTS - 1), cursor >> SLOT_BITS & (POSITIONS - 1))
}

fn join(slot: u16, position: u64) -> u64 {
    position << SLOT_BITS | u64::from(slot)
}
