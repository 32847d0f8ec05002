//! Growing, shrinking and freeing in small steps, so that no operation stalls however large the
//! table is.
//!
//! A *sweep* goes through `array` from its first bucket on and moves the entries to `next`, or
//! drops them if all is to be freed. Each insertion and removal sweeps a few buckets: enough to be
//! done before the next resize is due. If it is late all the same (say, because resizing was not
//! allowed for a while), the chains get longer, and nothing else.
//!
//! Large arrays are mapped: pages of `next` are committed as the sweep reaches them, those of
//! `array` released behind it. So the table takes about as much memory during a resize as before
//! and after it.

use std::mem;
use std::sync::atomic::Ordering::Relaxed;

use super::array::Array;
use super::bucket::{self, Bucket, Occupant, prefetch};
use super::{Item, Table};
use crate::util::alloc::MAPPED_BYTES;

/// Entries per bucket at which a table grows. A quarter of the buckets has an overflow bucket then,
/// and 9 % of the entries are in those.
const GROW_AT: usize = 7;
/// The size of a grown table, relative to the old one: 3 / 2. So between two resizes it takes 14.4
/// to 11.6 bytes for each entry, 12.7 on average; 5 % of the entries are in overflow buckets. To
/// grow at 6.5 and by 5 / 4 does about the same, but every entry moves twice as often, which makes
/// insertions slower by 50 to 100 ns.
const GROW_BY: (usize, usize) = (3, 2);
/// Entries per bucket that `reserve` leaves when all has been inserted: a little below `GROW_AT`.
const RESERVE_FILL: usize = 6;
/// Entries per bucket below which a table shrinks: 4 / 5.
const SHRINK_AT: (usize, usize) = (4, 5);
/// Entries per bucket of a shrunk table.
const SHRINK_TO: usize = 4;
/// A resize never divides the number of buckets by more, which bounds the work of a step.
const SHRINK_BY: usize = 8;
/// How much fuller (or emptier, by its square) a table must be to resize although that is not
/// allowed.
const STRETCH: usize = 3;
/// A table of this many buckets or less is resized at once.
const AT_ONCE: usize = 64;
/// Buckets that an insertion or removal sweeps at least if the old array is not mapped: both arrays
/// take memory until the sweep is done, so it should not last.
const HASTE: usize = 8;
/// Buckets that an insertion or removal sweeps at most.
const MAX_PACE: usize = 16;

impl<T: Item> Table<T> {
    /// Whether the table is on its way from one size to another.
    #[inline]
    pub fn is_rehashing(&self) -> bool {
        self.swept > 0 || self.next.len() > 0
    }

    /// Whether the table may resize. During a snapshot by a child process it should not, since
    /// every page written to is copied then; it does only where chains get far too long otherwise.
    pub fn set_resize_allowed(&mut self, allowed: bool) {
        self.resize_allowed = allowed;
    }

    pub fn is_resize_allowed(&self) -> bool {
        self.resize_allowed
    }

    /// Makes room for `capacity` entries in all, at once if the table is empty, else step by step.
    /// Does nothing if there is not enough memory; the caller bounds numbers that come from a file
    /// or peer, since memory that is not used yet counts in [`memory`](Self::memory) too.
    pub fn reserve(&mut self, capacity: usize) {
        let buckets = capacity.div_ceil(RESERVE_FILL);
        if !self.is_rehashing() && buckets > self.array.len() {
            self.resize(buckets);
        }
    }

    /// Bytes that the arrays and overflow buckets take, without the entries.
    pub fn memory(&self) -> usize {
        let next = if self.next.is_mapped() {
            self.next_in_use() * size_of::<Bucket>()
        } else {
            self.next.bytes()
        };
        self.array.bytes() - self.array.whole_chunks(self.swept)
            + next
            + self.overflow * size_of::<Bucket>()
    }

    /// Moves the entries of up to `buckets` buckets, and starts a resize that is due. For a timer,
    /// so that a table that nobody writes to gets done too. Returns whether there is more to move.
    pub fn rehash_step(&mut self, buckets: usize) -> bool {
        if self.may_resize() {
            self.resize_if_due();
            self.sweep(buckets);
        }
        self.is_rehashing()
    }

    /// Drops all entries.
    pub fn clear(&mut self) {
        while !self.drain_some(usize::MAX) {}
    }

    /// Drops about `budget` entries (or passes as many empty buckets), in order to free a large
    /// table in slices. Returns whether the table is empty now and has freed all its memory. What
    /// is still in the table can be used.
    pub fn drain_some(&mut self, budget: usize) -> bool {
        self.before_all_changes();
        let mut spent = 0;
        while spent < budget && self.len > 0 {
            let before = self.len;
            self.sweep_bucket(|table, entry| {
                table.len -= 1;
                table.marked -= usize::from(entry.mark);
                // SAFETY: its bucket is swept, so nothing refers to the item any more.
                drop(unsafe { T::from_raw(entry.raw) });
            });
            spent += (before - self.len).max(1);
        }
        if self.len == 0 {
            // Without entries there are no overflow buckets either.
            self.array = Array::empty();
            self.next = Array::empty();
            self.swept = 0;
            self.account();
        }
        self.len == 0
    }

    /// Sees to it that `hash` belongs to a bucket that can be written to, and to the resizing.
    #[inline]
    pub(super) fn before_insert(&mut self, hash: u64) {
        if self.is_rehashing() || self.is_too_full() {
            self.maintain();
        }
        let swept = self.array.index(hash) < self.swept;
        if (if swept { &self.next } else { &self.array }).len() == 0 {
            self.allocate();
        }
    }

    #[inline]
    pub(super) fn after_remove(&mut self) {
        if self.is_rehashing() || self.is_too_empty() {
            self.maintain();
        }
    }

    /// Gives the table its first array; or, if it is being drained and there is none to sweep to,
    /// one for what is left.
    #[cold]
    fn allocate(&mut self) {
        let buckets = self.len.div_ceil(SHRINK_TO).max(1);
        let Some(array) = self.new_array(buckets).or_else(|| self.new_array(1)) else {
            std::alloc::handle_alloc_error(std::alloc::Layout::new::<Bucket>());
        };
        *(if self.swept > 0 { &mut self.next } else { &mut self.array }) = array;
        self.account();
    }

    fn new_array(&self, buckets: usize) -> Option<Array> {
        Array::new(buckets, self.mapped)
    }

    #[inline]
    fn is_too_full(&self) -> bool {
        self.len >= self.array.len() * GROW_AT
    }

    #[inline]
    fn is_too_empty(&self) -> bool {
        self.len * SHRINK_AT.1 < self.array.len() * SHRINK_AT.0 && self.array.len() > 1
    }

    #[cold]
    #[inline(never)]
    fn maintain(&mut self) {
        if self.may_resize() {
            self.resize_if_due();
            self.sweep(self.pace as usize);
        }
    }

    /// Whether the table may resize, or must because it is far too full or too empty.
    fn may_resize(&self) -> bool {
        let (a, b) = (self.array.len(), self.next.len());
        let (small, large) = if b == 0 { (a, a) } else { (a.min(b), a.max(b)) };
        self.resize_allowed
            || self.len > small * GROW_AT * STRETCH
            || self.len * SHRINK_AT.1 * STRETCH * STRETCH < large * SHRINK_AT.0
    }

    fn resize_if_due(&mut self) {
        if self.is_rehashing() || self.array.len() == 0 {
            return;
        }
        let buckets = self.array.len();
        if self.is_too_full() {
            let usual = (buckets * GROW_BY.0).div_ceil(GROW_BY.1);
            // A table that could not grow in time has to catch up.
            let needed = self.len * GROW_BY.0 / (GROW_BY.1 * GROW_AT);
            self.resize(usual.max(needed));
        } else if self.is_too_empty() {
            self.resize(self.len.div_ceil(SHRINK_TO).max(buckets.div_ceil(SHRINK_BY)));
        }
    }

    /// Starts to move everything to an array of another size. Without memory for that the table
    /// stays as it is.
    fn resize(&mut self, buckets: usize) {
        let Some(next) = self.new_array(buckets) else {
            return;
        };
        if self.len == 0 {
            self.array = next;
        } else {
            self.pace = self.pace_to(next.len());
            self.next = next;
            if self.array.len() <= AT_ONCE {
                self.sweep(AT_ONCE);
            }
        }
        self.account();
    }

    /// The buckets that each insertion or removal has to sweep so that a resize to `buckets` is
    /// done before the table of that size could be too full or too empty.
    fn pace_to(&self, buckets: usize) -> u32 {
        let insertions = (buckets * GROW_AT).saturating_sub(self.len);
        let removals = self.len.saturating_sub(buckets * SHRINK_AT.0 / SHRINK_AT.1);
        let operations = insertions.min(removals).max(1);
        let least = if self.array.is_mapped() { 1 } else { HASTE };
        self.array.len().div_ceil(operations).clamp(least, MAX_PACE) as u32
    }

    /// Moves the entries of up to `buckets` buckets.
    fn sweep(&mut self, buckets: usize) {
        for _ in 0..buckets {
            if !self.is_rehashing() {
                return;
            }
            if self.next.len() == 0 {
                self.allocate();
            }
            self.sweep_bucket(|table, entry| {
                // SAFETY: the entry is this table's own.
                let hash = table.hash(unsafe { T::raw_key(entry.raw) });
                // SAFETY: nothing else refers to a bucket of `next` now.
                let grown = unsafe { bucket::push(table.next.at(table.next.index(hash)), entry) };
                table.overflow += usize::from(grown);
            });
        }
    }

    /// Starts to load what the coming steps need: their buckets, the second one's overflow bucket,
    /// and the entries of the first one, since their keys have to be hashed again (or they have to
    /// be freed).
    fn look_ahead(&self) {
        let coming = self.array.as_slice().get(self.swept + 1..).unwrap_or_default();
        prefetch(self.array.address(self.swept + 4));
        if let Some(next) = coming.get(1).and_then(Bucket::next) {
            prefetch(next.as_ptr());
        }
        if let Some(bucket) = coming.first() {
            bucket.entries().for_each(|entry| prefetch(entry.raw.as_ptr()));
        }
    }

    /// Takes the next bucket of `array` out of use and hands its entries to `visit`, which takes
    /// them over. Ends the resize with the last bucket.
    fn sweep_bucket(&mut self, mut visit: impl FnMut(&mut Self, Occupant)) {
        self.look_ahead();
        if let Some(&head) = self.array.as_slice().get(self.swept) {
            self.swept += 1;
            // SAFETY: from here on nothing looks at this bucket any more.
            let freed = unsafe { bucket::dismantle(head, |entry| visit(self, entry)) };
            self.overflow -= freed;
            if self.array.release_before(self.swept) {
                self.account();
            }
        }
        if self.swept >= self.array.len() {
            self.array = mem::replace(&mut self.next, Array::empty());
            self.swept = 0;
            self.account();
        }
    }

    /// Brings `MAPPED_BYTES` up to date.
    fn account(&mut self) {
        let mut mapped = 0;
        if self.array.is_mapped() {
            mapped += self.array.bytes() - self.array.whole_chunks(self.swept);
        }
        if self.next.is_mapped() {
            mapped += self.next_in_use() * size_of::<Bucket>();
        }
        MAPPED_BYTES.fetch_add(mapped.wrapping_sub(self.mapped_bytes), Relaxed);
        self.mapped_bytes = mapped;
    }
}

impl<T: Item> Drop for Table<T> {
    fn drop(&mut self) {
        self.leave_to_heir();
        self.clear();
    }
}
