//! Taking the entries of a range of positions out of a table.

use std::ops::Range;

use super::array::POSITION_BITS;
use super::{Item, Occupied, Place, Table};

impl<T: Item> Table<T> {
    /// Takes out the entries that lie in a range of positions, and hands them over with their marks.
    pub fn take_range(&mut self, range: Range<u64>, mut visit: impl FnMut(T, bool)) {
        let mut at = range.start;
        while at < range.end
            && let Some((_, end)) = self.bucket_at(at)
        {
            match self.first_in(at..range.end) {
                Some(place) => {
                    let found = Occupied::new(self, place);
                    let mark = found.is_marked();
                    // This may move others: what is left is looked for anew.
                    visit(found.remove(), mark);
                }
                None if end == 0 => return,
                None => {
                    at = end;
                    if let Some((coming, _)) = self.bucket_at(at) {
                        coming.prefetch_entries();
                    }
                }
            }
        }
    }

    /// The first entry in a range of positions, in the chain that the range starts in.
    fn first_in(&self, range: Range<u64>) -> Option<Place> {
        let head = self.head(range.start << (64 - POSITION_BITS));
        let mut at = head;
        loop {
            // SAFETY: a bucket of a chain of this table; the reference ends before anyone could write to it.
            let bucket = unsafe { at.as_ref() };
            for slot in bucket.occupied() {
                // SAFETY: the slot is occupied.
                if range.contains(&self.position_of(unsafe { bucket.entry(slot) })) {
                    return Some(Place { head, bucket: at, slot });
                }
            }
            at = bucket.next()?;
        }
    }
}
