//! Going through all entries: in one go, or in steps with a cursor.
//!
//! # Why the cursor never skips
//!
//! A cursor is a position, that is, the first 48 bits of a hash. Claim: when a scan has come to the
//! cursor c, every entry that was in the table all the time and whose position is below c has been
//! visited. It holds for c = 0. A step visits one chain whole and returns the position `end` for
//! which the claim has to hold next:
//!
//! * If c belongs to a bucket of `array` that is not swept, then that chain has all entries with
//!   positions from c up to the start of the next bucket, which is `end`.
//! * Otherwise c is below the start of the first bucket that is not swept, and belongs to a bucket
//!   of `next`. That chain has all entries with positions from c up to the bucket's end, except for
//!   those not below that start, which are still in `array`. Hence `end` is the smaller of both.
//!
//! In both cases `end` is greater than c, and positions from c on and below `end` have been
//! visited. Between two steps entries move to other buckets, chains and arrays, but no entry ever
//! changes its position, so the claim stays true whatever resizes come in between. At the end,
//! `end` is 2^48, all has been visited, and 0 is returned. Only a resize in between makes a step
//! visit entries below c again, which [`Table::walk`] leaves out.

use std::iter;
use std::ops::Range;

use super::array::POSITION_BITS;
use super::bucket::{Bucket, Occupant};
use super::{Item, Table};

/// Buckets that a walk fetches ahead: 6 entries each, which is about as many as a core can wait for.
const AHEAD: usize = 2;

/// Where in the order of a table an entry with this hash lies: what a cursor counts.
#[inline]
pub(crate) fn position(hash: u64) -> u64 {
    hash >> (64 - POSITION_BITS)
}

impl<T: Item> Table<T> {
    /// Visits the entries of one bucket, about six, and tells whether they have a mark. Returns the
    /// cursor for the next step, less than 2^48; a scan starts with 0 and is done when it gets 0.
    ///
    /// Entries that are in the table from the start of a scan to its end are visited at least once,
    /// however the table changes in between, and only once if it is not resized. A cursor that is
    /// none ends the scan.
    pub fn scan(&self, cursor: u64, mut visit: impl FnMut(T::Ref<'_>, bool)) -> u64 {
        let Some((head, end)) = self.bucket_at(cursor) else {
            return 0;
        };
        head.entries().for_each(|entry| visit(self.view(entry), entry.mark));
        end
    }

    /// As [`scan`](Self::scan), but visits the entries with a mark only: those of the first bucket
    /// that has any, or none if the next `buckets` (1 at least) have none. Starts at the range's
    /// start, and is done with the bucket that has its end. Returns the cursor and the number of
    /// buckets passed.
    pub fn scan_marked(
        &self,
        range: Range<u64>,
        buckets: usize,
        mut visit: impl FnMut(T::Ref<'_>),
    ) -> (u64, usize) {
        let mut cursor = range.start;
        let mut passed = 0;
        loop {
            let Some((head, end)) = self.bucket_at(cursor) else {
                return (0, passed);
            };
            cursor = if end < range.end { end } else { 0 };
            passed += 1;
            let mut found = false;
            for entry in marked(head) {
                visit(self.view(entry));
                found = true;
            }
            if found || cursor == 0 || passed >= buckets {
                return (cursor, passed);
            }
        }
    }

    /// Visits those entries of up to so many buckets (1 at least) that lie in a range of positions, and tells where.
    /// Returns the position to go on from, or 0 if there is nothing behind in the range. Unlike [`scan`](Self::scan) it
    /// visits each entry once, however the table is resized between two steps: none below the range's start.
    pub fn walk(
        &self,
        range: Range<u64>,
        buckets: usize,
        mut visit: impl FnMut(T::Ref<'_>, u64),
    ) -> u64 {
        let behind = |end: u64| (end != 0 && end < range.end).then_some(end);
        let (mut at, mut ahead) = (range.start, Some(range.start));
        let mut fetch_next = || {
            if let Some((bucket, end)) = ahead.and_then(|ahead| self.bucket_at(ahead)) {
                bucket.prefetch_entries();
                ahead = behind(end);
            }
        };
        (0..AHEAD).for_each(|_| fetch_next());
        for _ in 0..buckets.max(1) {
            fetch_next();
            let Some((head, end)) = self.bucket_at(at) else { return 0 };
            for entry in head.entries() {
                let position = self.position_of(entry);
                if (at..range.end).contains(&position) {
                    visit(self.view(entry), position);
                }
            }
            let Some(next) = behind(end) else { return 0 };
            at = next;
        }
        at
    }

    /// The entries that lie in a range of positions, each once.
    pub fn iter_range(&self, range: Range<u64>) -> impl Iterator<Item = T::Ref<'_>> {
        let mut at = (range.start < range.end).then_some(range.start);
        let heads = iter::from_fn(move || {
            let (head, end) = self.bucket_at(at?)?;
            at = (end != 0 && end < range.end).then_some(end);
            Some(head)
        });
        let in_range = move |entry: &Occupant| range.contains(&self.position_of(*entry));
        heads.flat_map(Bucket::entries).filter(in_range).map(|entry| self.view(entry))
    }

    #[inline]
    pub(super) fn position_of(&self, entry: Occupant) -> u64 {
        // SAFETY: called with entries of this table only.
        position(self.hash(unsafe { T::raw_key(entry.raw) }))
    }

    /// All entries, each once.
    pub fn iter(&self) -> impl Iterator<Item = T::Ref<'_>> {
        self.heads().fetching().flat_map(Bucket::entries).map(|entry| self.view(entry))
    }

    /// Visits all entries, and tells whether they have a mark.
    pub fn for_each_mut(&mut self, mut visit: impl FnMut(T::Mut<'_>, bool)) {
        self.before_all_changes();
        for entry in self.heads().iter().flat_map(Bucket::entries) {
            // SAFETY: the table is exclusively borrowed, and each of its items is visited once.
            visit(unsafe { T::raw_mut(entry.raw) }, entry.mark);
        }
    }

    /// The first buckets of all chains in use.
    #[inline]
    pub(super) fn heads(&self) -> Heads<'_> {
        let next = self.next.as_slice().get(..self.next_in_use()).unwrap_or_default();
        let array = self.array.as_slice().get(self.swept..).unwrap_or_default();
        Heads { next, array }
    }

    /// Buckets of `next` that have been swept into, the last one perhaps in part.
    pub(super) fn next_in_use(&self) -> usize {
        if self.swept == 0 || self.next.len() == 0 {
            return 0;
        }
        let last = self.array.start(self.swept) - 1;
        self.next.index(last << (64 - POSITION_BITS)) + 1
    }

    #[inline]
    pub(super) fn view(&self, entry: Occupant) -> T::Ref<'_> {
        // SAFETY: called with entries of this table only, which is borrowed as long as the view
        // lives.
        unsafe { T::raw_ref(entry.raw) }
    }

    /// The head of the chain that a position belongs to, and the position up to which that chain
    /// has all entries, or 0 if there is nothing behind it.
    #[inline]
    pub(super) fn bucket_at(&self, position: u64) -> Option<(&Bucket, u64)> {
        if position >> POSITION_BITS != 0 {
            return None;
        }
        let hash = position << (64 - POSITION_BITS);
        let index = self.array.index(hash);
        let (head, end) = if index < self.swept {
            let left = self.array.start(self.swept);
            let index = self.next.index(hash);
            // While a table is drained there may be no bucket to look into, but what is left in
            // `array` comes later.
            let head = self.next.as_slice().get(index).unwrap_or(&Bucket::EMPTY);
            (head, if self.next.len() == 0 { left } else { left.min(self.next.start(index + 1)) })
        } else {
            (self.array.as_slice().get(index)?, self.array.start(index + 1))
        };
        Some((head, end & ((1 << POSITION_BITS) - 1)))
    }
}

/// The first buckets of chains, in the order of their hashes.
#[derive(Clone, Copy)]
pub(super) struct Heads<'a> {
    next: &'a [Bucket],
    array: &'a [Bucket],
}

impl<'a> Heads<'a> {
    pub fn iter(self) -> impl Iterator<Item = &'a Bucket> {
        self.next.iter().chain(self.array)
    }

    /// The same, with the entries of the buckets to come on their way from memory meanwhile: they lie anywhere, so
    /// that a walk would wait for each one in turn.
    pub fn fetching(self) -> impl Iterator<Item = &'a Bucket> {
        let mut coming = self.iter().skip(AHEAD);
        self.iter().inspect(move |_| {
            if let Some(bucket) = coming.next() {
                bucket.prefetch_entries();
            }
        })
    }

    pub fn len(self) -> usize {
        self.next.len() + self.array.len()
    }

    #[inline]
    pub fn get(self, number: usize) -> Option<&'a Bucket> {
        match number.checked_sub(self.next.len()) {
            None => self.next.get(number),
            Some(number) => self.array.get(number),
        }
    }
}

/// The entries of a chain that have a mark.
#[inline]
pub(super) fn marked(head: &Bucket) -> impl Iterator<Item = Occupant> {
    head.chain().flat_map(|bucket| {
        // SAFETY: a slot with a mark is occupied.
        bucket.marked().map(|slot| unsafe { bucket.entry(slot) })
    })
}
