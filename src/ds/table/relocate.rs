//! Moving what a table has allocated, and what its items have, to other places in memory, bucket by bucket.

use std::mem;
use std::ptr::NonNull;

use super::array::{Array, POSITION_BITS};
use super::bucket::Bucket;
use super::entry::AbortOnDrop;
use super::{Item, Table};
use crate::util::alloc::relocate::Relocator;

impl<T: Item> Table<T> {
    /// Shows the overflow buckets of one chain to the relocator, and passes its items by value through `relocate`,
    /// which must keep their keys; the first step also shows the arrays. Returns the cursor for the next step, as
    /// [`scan`](Self::scan) does. A panic in `relocate` ends the process, since the table would own an item twice.
    pub fn relocate(
        &mut self,
        cursor: u64,
        relocator: &mut Relocator,
        mut relocate: impl FnMut(T, &mut Relocator) -> T,
    ) -> u64 {
        if cursor == 0 {
            self.array.relocate(relocator);
            self.next.relocate(relocator);
        }
        let Some((head, end)) = self.bucket_at(cursor) else { return 0 };
        head.prefetch_entries();
        if let Some((coming, _)) = self.bucket_at(end) {
            coming.prefetch_entries();
        }
        // An empty bucket has no next one either, and may be one that nobody may write to.
        let mut at = (!head.is_empty()).then(|| self.head(cursor << (64 - POSITION_BITS)));
        while let Some(mut bucket) = at {
            // SAFETY: a bucket of a chain of this table, which is exclusively borrowed: nobody else has a reference.
            let bucket = unsafe { bucket.as_mut() };
            bucket.relocate_next(relocator);
            for slot in bucket.occupied() {
                let guard = AbortOnDrop;
                // SAFETY: the slot is occupied by an item of this table, and nobody looks at it until the new pointer
                // is in place: a panic does not get past the guard.
                let item = unsafe { T::from_raw(bucket.raw(slot)) };
                bucket.set_raw(slot, relocate(item, relocator).into_raw());
                mem::forget(guard);
            }
            at = bucket.next();
        }
        end
    }
}

impl Bucket {
    /// Shows the next bucket of the chain to the relocator.
    fn relocate_next(&mut self, relocator: &mut Relocator) {
        if let Some(next) = self.next() {
            // SAFETY: `push` made it as a box, and only this link leads to it.
            let mut next = unsafe { Box::from_raw(next.as_ptr()) };
            relocator.boxed(&mut next);
            self.set_next(Some(NonNull::from(Box::leak(next))));
        }
    }
}

impl Array {
    /// Shows the buckets to the relocator, unless they have pages of their own.
    fn relocate(&mut self, relocator: &mut Relocator) {
        if self.len() > 0 && !self.is_mapped() {
            // SAFETY: an array that is not mapped was allocated with this layout, and nobody else knows its address.
            unsafe { self.move_by(|block, layout| relocator.block(block, layout)) };
        }
    }
}
