//! A walk through the keys of a database as they were when it began, while commands go on changing them.
//!
//! # Why nothing is missed, and nothing comes twice
//!
//! Keys have an order: by slot, then by position, the first 48 bits of the hash. A key's place in it never changes,
//! whatever resizes do to the table. The walk has a place, too, and the order is divided into *cells*, about a bucket's
//! worth of keys each. Claim: of the keys that there were at the beginning, those that lie before the walk's place, and
//! those of the cells that are marked, have been handed over as they were then, once; all others are in the table as
//! they were then, and the table has no others there. It holds at the beginning, when nothing is marked. Two things
//! happen:
//!
//! * The walk goes on by some buckets. It hands over what lies there and is in no marked cell: by the claim, what there
//!   was at the beginning and has not been handed over.
//! * A key is about to be changed, added or taken out. If it lies before the walk's place or in a marked cell the claim
//!   says nothing about it. If not, what lies in its cell from the walk's place on is handed over first, and the cell
//!   marked.
//!
//! When the walk has come to the end, all keys have been handed over. The work is bounded: a key is handed over once,
//! and a change hands over one cell at most. A cell is marked by one bit, and only a table that is written to before
//! the walk has passed it has bits at all.

use crate::db::entry::{Entry, EntryRef};
use crate::ds::table::{POSITIONS, Table};
use std::collections::BTreeMap;

/// Keys in a cell, on average, when it is first written to: from half of it up to it.
const KEYS_PER_CELL: usize = 8;

/// Who is handed the keys.
pub trait Scribe: Send {
    /// Takes down a key as it is now.
    fn take_down(&mut self, entry: EntryRef<'_>);

    /// There will be no more.
    fn end(&mut self);
}

/// A walk, and how far it has come.
pub struct Walk {
    /// The place from which it goes on: a slot (0, where keys are not kept by the slot) and a position in its table.
    place: (u16, u64),
    /// What is marked, by the slot, from the walk's own on.
    marked: BTreeMap<u16, Cells>,
    scribe: Box<dyn Scribe>,
    keys: u64,
    is_done: bool,
}

impl Walk {
    pub fn new(scribe: Box<dyn Scribe>) -> Walk {
        Walk { place: (0, 0), marked: BTreeMap::new(), scribe, keys: 0, is_done: false }
    }

    /// Keys handed over so far.
    pub fn keys(&self) -> u64 {
        self.keys
    }

    pub fn is_done(&self) -> bool {
        self.is_done
    }

    /// The slot in which it goes on.
    pub(super) fn slot(&self) -> u16 {
        self.place.0
    }

    /// Something is about to change at a place. `table`: the keys of that slot, if it has any.
    #[cold]
    pub(super) fn before_change(&mut self, table: Option<&Table<Entry>>, slot: u16, position: u64) {
        if self.is_done || (slot, position) < self.place {
            return;
        }
        let cells = self.marked.entry(slot);
        let cells = cells.or_insert_with(|| Cells::for_keys(table.map_or(0, Table::len)));
        if cells.mark(position)
            && let Some(table) = table
        {
            let (start, end) = cells.bounds(position);
            let start = if slot == self.place.0 { start.max(self.place.1) } else { start };
            table.visit_range(start, end, |entry| {
                self.scribe.take_down(entry);
                self.keys += 1;
            });
        }
    }

    /// Goes on by so many buckets of the keys of its slot. Returns whether there are more.
    pub(super) fn go_on(&mut self, table: &Table<Entry>, buckets: usize) -> bool {
        let (slot, from) = self.place;
        let marked = self.marked.get(&slot);
        let next = table.walk(from, buckets, |entry, position| {
            if marked.is_none_or(|cells| !cells.contains(position)) {
                self.scribe.take_down(entry);
                self.keys += 1;
            }
        });
        self.place = (slot, next);
        next != 0
    }

    /// Goes to the start of a slot, unless it is in that slot already.
    pub(super) fn go_to(&mut self, slot: u16) {
        if slot > self.place.0 {
            self.place = (slot, 0);
            self.marked = self.marked.split_off(&slot);
        }
    }

    /// It has come to the end.
    pub(super) fn end(&mut self) {
        self.is_done = true;
        self.marked.clear();
        self.scribe.end();
    }
}

/// The cells of a table, a power of two of them, each with a mark.
struct Cells {
    /// How far to the right a position has to be shifted to be the number of its cell.
    shift: u32,
    marks: Box<[u64]>,
}

impl Cells {
    /// For a table of so many keys.
    fn for_keys(keys: usize) -> Cells {
        let cells = keys.div_ceil(KEYS_PER_CELL).next_power_of_two();
        let shift = POSITIONS.trailing_zeros().saturating_sub(cells.trailing_zeros());
        Cells { shift, marks: vec![0; cells.div_ceil(64)].into() }
    }

    /// The word that has a position's mark, and the mark's bit.
    fn bit(&self, position: u64) -> (usize, u64) {
        let cell = position >> self.shift;
        ((cell / 64) as usize, 1 << (cell % 64))
    }

    fn contains(&self, position: u64) -> bool {
        let (word, bit) = self.bit(position);
        self.marks[word] & bit != 0
    }

    /// Marks the cell of a position; `false`: it is marked already.
    fn mark(&mut self, position: u64) -> bool {
        let (word, bit) = self.bit(position);
        let is_new = self.marks[word] & bit == 0;
        self.marks[word] |= bit;
        is_new
    }

    /// The first position of a position's cell, and the first behind it.
    fn bounds(&self, position: u64) -> (u64, u64) {
        let cell = position >> self.shift;
        (cell << self.shift, (cell + 1) << self.shift)
    }
}
