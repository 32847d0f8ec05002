//! The keys of one slot, which have a table to themselves or a part of one.

use crate::db::entry::{Entry, EntryRef};
use crate::db::order::Part;
use crate::ds::table::{POSITIONS, Table, Walkable};
use std::ops::Range;

/// A view of a slot's keys. Positions are those of the keys' hashes.
pub(super) struct SlotKeys<'a> {
    table: &'a Table<Entry>,
    part: Part,
    len: usize,
}

impl<'a> SlotKeys<'a> {
    /// Those of a slot that has so many keys, in their table.
    pub fn new(table: &'a Table<Entry>, slot: u16, len: usize) -> SlotKeys<'a> {
        SlotKeys { table, part: table.hasher().part(slot), len }
    }

    pub fn iter(&self) -> impl Iterator<Item = EntryRef<'a>> + use<'a> {
        self.table.iter_range(self.part.all())
    }
}

impl Walkable<Entry> for SlotKeys<'_> {
    fn entries(&self) -> usize {
        self.len
    }

    fn walk(
        &self,
        range: Range<u64>,
        buckets: usize,
        mut visit: impl FnMut(EntryRef<'_>, u64),
    ) -> u64 {
        if range.start >= POSITIONS {
            return 0;
        }
        let next = self.table.walk(self.part.range(&range), buckets, |entry, at| {
            let of_place = self.part.positions(at);
            // Only at the ends of the range may it matter what the table does not tell.
            let is_inside = range.start <= of_place.start && of_place.end <= range.end;
            if is_inside || range.contains(&self.table.hasher().position(entry.key())) {
                visit(entry, of_place.start);
            }
        });
        if next == 0 { 0 } else { self.part.positions(next).start }
    }
}
