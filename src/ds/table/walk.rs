//! A walk through a table as it was when it began, while it goes on changing.
//!
//! # Why nothing is missed, and nothing comes twice
//!
//! Entries have an order: by position, the first 48 bits of the hash. An entry's place in it never changes, whatever
//! resizes do to the table. The walk has a place, too, and the order is divided into *cells*, about a bucket's worth of
//! entries each. Claim: of the entries that there were at the beginning, those that lie before the walk's place, and
//! those of the cells that are marked, have been visited as they were then, once; all others are in the table as they
//! were then, and the table has no others there. It holds at the beginning, when nothing is marked. Two things happen:
//!
//! * The walk goes on by some buckets. It visits what lies there and is in no marked cell: by the claim, what there was
//!   at the beginning and has not been visited.
//! * An entry is about to be changed, added or taken out. If it lies before the walk's place or in a marked cell the
//!   claim says nothing about it. If not, what lies in its cell from the walk's place on is visited first, and the cell
//!   marked.
//!
//! When the walk has come to the end, all have been visited. The work is bounded: an entry is visited once, and a
//! change has one cell visited at most. A cell is marked by one bit, and only a table that is changed before the walk
//! has passed it has bits at all.

use std::ops::Range;

use super::{Item, POSITIONS, Table, position};
use crate::ds::walked::Heir;
use std::mem;

/// Entries in a cell, on average, when the table is first changed: from half of it up to it.
const PER_CELL: usize = 8;
/// Buckets that an heir goes on by at a time.
const BUCKETS_OF_HEIR: usize = 64;

/// What a walk can go through: a table, or a part of one.
pub trait Walkable<T: Item> {
    /// Entries.
    fn entries(&self) -> usize;

    /// See [`Table::walk`].
    fn walk(&self, range: Range<u64>, buckets: usize, visit: impl FnMut(T::Ref<'_>, u64)) -> u64;
}

impl<T: Item> Walkable<T> for Table<T> {
    fn entries(&self) -> usize {
        self.len()
    }

    fn walk(&self, range: Range<u64>, buckets: usize, visit: impl FnMut(T::Ref<'_>, u64)) -> u64 {
        Table::walk(self, range, buckets, visit)
    }
}

/// How far a walk has come.
#[derive(Default)]
pub struct Course {
    place: u64,
    marked: Option<Cells>,
}

impl Course {
    /// Something is about to change at this position of the table (`None`: where there is none yet).
    pub fn before_change<T: Item>(
        &mut self,
        table: Option<&impl Walkable<T>>,
        position: u64,
        mut visit: impl FnMut(T::Ref<'_>),
    ) {
        if position < self.place {
            return;
        }
        let entries = table.map_or(0, Walkable::entries);
        let cells = self.marked.get_or_insert_with(|| Cells::for_entries(entries));
        if cells.mark(position)
            && let Some(table) = table
        {
            let (start, end) = cells.bounds(position);
            table.walk(start.max(self.place)..end, usize::MAX, |entry, _| visit(entry));
        }
    }

    /// Goes on by so many buckets. Returns whether there are more.
    pub fn go_on<T: Item>(
        &mut self,
        table: &impl Walkable<T>,
        buckets: usize,
        mut visit: impl FnMut(T::Ref<'_>),
    ) -> bool {
        let marked = &self.marked;
        self.place = table.walk(self.place..POSITIONS, buckets, |entry, position| {
            if marked.as_ref().is_none_or(|cells| !cells.contains(position)) {
                visit(entry);
            }
        });
        self.place != 0
    }
}

/// Who is handed the entries of a table that hands them over itself.
pub type Visitor<T> = Box<dyn for<'a> FnMut(<T as Item>::Ref<'a>) + Send>;

/// A walk of a table that sees to it itself.
pub(super) struct Walk<T: Item> {
    course: Course,
    visit: Visitor<T>,
    /// Until the table has been left to it.
    heir: Option<Heir>,
}

impl<T: Item> Table<T> {
    /// Starts to hand all entries, as they are now, to `visit`: [`walk_on`](Self::walk_on) is to be called until there
    /// are no more, when `visit` is dropped. A table that is dropped before is left to `heir`.
    pub fn begin_walk(&mut self, visit: Visitor<T>, heir: Heir) {
        const { assert!(T::CAN_BE_WALKED) };
        self.walk = Some(Box::new(Walk { course: Course::default(), visit, heir: Some(heir) }));
    }

    /// Whether a walk is under way that has not come to its end.
    #[inline]
    pub fn is_walked(&self) -> bool {
        T::CAN_BE_WALKED && self.walk.is_some()
    }

    /// Goes on with the walk by so many buckets. Returns whether there are more.
    pub fn walk_on(&mut self, buckets: usize) -> bool {
        // While it is not in its place, nothing of this table changes.
        let Some(mut walk) = self.walk.take() else { return false };
        let goes_on = walk.course.go_on(self, buckets, &mut walk.visit);
        self.walk = Some(walk).filter(|_| goes_on);
        goes_on
    }

    /// Ends the walk, wherever it is.
    pub fn end_walk(&mut self) {
        self.walk = None;
    }

    /// The table is about to be dropped. If it has an heir, this one is left without entries.
    pub(super) fn leave_to_heir(&mut self) {
        let Some(walk) = self.walk.as_mut().filter(|_| T::CAN_BE_WALKED) else { return };
        match walk.heir.take() {
            Some(heir) => {
                let mut table = mem::replace(self, Table::new(self.hasher));
                heir(Box::new(move || table.walk_on(BUCKETS_OF_HEIR)));
            }
            // It is the heir who drops it.
            None => self.end_walk(),
        }
    }

    /// Everything is about to change.
    pub(super) fn before_all_changes(&mut self) {
        while self.walk_on(usize::MAX) {}
    }

    /// Something is about to change for this hash.
    #[inline]
    pub(super) fn before_change(&mut self, hash: u64) {
        if self.is_walked() {
            self.hand_over(position(hash));
        }
    }

    #[cold]
    fn hand_over(&mut self, position: u64) {
        if let Some(mut walk) = self.walk.take() {
            walk.course.before_change(Some(&*self), position, &mut walk.visit);
            self.walk = Some(walk);
        }
    }
}

/// The cells of a table, a power of two of them, each with a mark.
struct Cells {
    /// How far to the right a position has to be shifted to be the number of its cell.
    shift: u32,
    marks: Box<[u64]>,
}

impl Cells {
    /// For a table of so many entries.
    fn for_entries(entries: usize) -> Cells {
        let cells = entries.div_ceil(PER_CELL).next_power_of_two();
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
