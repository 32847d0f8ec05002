//! One cache line of a table: eight slots, and the chain of overflow buckets behind it.
//!
//! ```text
//! byte  0        32        48      56     57      58        64
//!       | low    | high    | tags  | marks| unused| next    |
//!       | 8 x 32 | 8 x 16  | 8 x 8 | 8 x 1| 8     | 48 bits |
//! ```
//!
//! A slot is a 48-bit pointer (split in a low and a high part, so that all loads are aligned), a
//! tag of eight bits of the hash, and a mark, a bit that belongs to the table's user. A tag of 0
//! says that the slot is free. All zero bytes are thus an empty bucket, as fresh memory is.
//!
//! A chain is full but for its last bucket, and that one is never empty (the head of a chain may
//! be).

use std::iter;
use std::ptr::{self, NonNull};

/// Slots in a bucket.
pub(super) const SLOTS: usize = 8;

/// The lowest bit of each byte.
const LOW_BITS: u64 = 0x0101_0101_0101_0101;
/// The highest bit of each byte.
const HIGH_BITS: u64 = LOW_BITS << 7;

#[repr(C, align(64))]
#[derive(Clone, Copy)]
pub(super) struct Bucket {
    low: [u32; SLOTS],
    high: [u16; SLOTS],
    /// Slot i's tag is byte i.
    tags: u64,
    /// The marks (bits 0 to 7) and the address of the next bucket (bits 16 to 63).
    link: u64,
}

/// What is in a slot.
#[derive(Clone, Copy)]
pub(super) struct Occupant {
    pub raw: NonNull<u8>,
    pub tag: u8,
    pub mark: bool,
}

impl Bucket {
    pub const EMPTY: Self = Self { low: [0; SLOTS], high: [0; SLOTS], tags: 0, link: 0 };

    /// The tag that an entry with this hash has: its low byte, but never 0.
    #[inline]
    pub fn tag(hash: u64) -> u8 {
        (hash as u8).max(1)
    }

    /// The slots with this tag.
    #[inline]
    pub fn matches(&self, tag: u8) -> Slots {
        Slots(zero_bytes(self.tags ^ (LOW_BITS * u64::from(tag))))
    }

    #[inline]
    pub fn occupied(&self) -> Slots {
        Slots(zero_bytes(self.tags) ^ HIGH_BITS)
    }

    #[inline]
    pub fn free_slot(&self) -> Option<usize> {
        Slots(zero_bytes(self.tags)).next()
    }

    #[inline]
    pub fn is_empty(&self) -> bool {
        self.tags == 0
    }

    /// The slots with a mark.
    pub fn marked(&self) -> Slots {
        // Each byte of the product is the mask of marks, of which byte i keeps bit i.
        let spread = (LOW_BITS * (self.link & 0xff)) & 0x8040_2010_0804_0201;
        Slots(zero_bytes(spread) ^ HIGH_BITS)
    }

    #[inline]
    pub fn is_marked(&self, slot: usize) -> bool {
        self.link >> slot & 1 != 0
    }

    #[inline]
    pub fn set_mark(&mut self, slot: usize, mark: bool) {
        self.link = self.link & !(1 << slot) | u64::from(mark) << slot;
    }

    /// The pointer in a slot.
    ///
    /// # Safety
    /// The slot is occupied.
    #[inline]
    pub unsafe fn raw(&self, slot: usize) -> NonNull<u8> {
        let address = usize::from(self.high[slot]) << 32 | self.low[slot] as usize;
        // SAFETY: an occupied slot holds the address of a `NonNull`.
        unsafe { NonNull::new_unchecked(ptr::with_exposed_provenance_mut(address)) }
    }

    /// Puts another pointer in an occupied slot.
    #[inline]
    pub fn set_raw(&mut self, slot: usize, raw: NonNull<u8>) {
        let address = raw.as_ptr().expose_provenance();
        debug_assert!(address >> 48 == 0, "a pointer of more than 48 bits");
        self.low[slot] = address as u32;
        self.high[slot] = (address >> 32) as u16;
    }

    /// # Safety
    /// The slot is occupied.
    #[inline]
    pub unsafe fn entry(&self, slot: usize) -> Occupant {
        // SAFETY: as the caller promises.
        let raw = unsafe { self.raw(slot) };
        Occupant { raw, tag: self.tags.to_le_bytes()[slot], mark: self.is_marked(slot) }
    }

    #[inline]
    pub fn set_entry(&mut self, slot: usize, entry: Occupant) {
        self.set_raw(slot, entry.raw);
        self.set_tag(slot, entry.tag);
        self.set_mark(slot, entry.mark);
    }

    #[inline]
    pub fn clear(&mut self, slot: usize) {
        self.set_tag(slot, 0);
        self.set_mark(slot, false);
    }

    #[inline]
    fn set_tag(&mut self, slot: usize, tag: u8) {
        self.tags = self.tags & !(0xff << (slot * 8)) | u64::from(tag) << (slot * 8);
    }

    /// The next bucket of the chain.
    #[inline]
    pub fn next(&self) -> Option<NonNull<Bucket>> {
        NonNull::new(ptr::with_exposed_provenance_mut((self.link >> 16) as usize))
    }

    #[inline]
    pub fn set_next(&mut self, next: Option<NonNull<Bucket>>) {
        let address = next.map_or(0, |next| next.as_ptr().expose_provenance() as u64);
        self.link = address << 16 | self.link & 0xff;
    }

    /// All buckets of the chain that starts here.
    pub fn chain(&self) -> impl Iterator<Item = &Bucket> {
        // SAFETY: a link leads to a live bucket that only this chain owns, so it is borrowed as
        // long as `self` is.
        iter::successors(Some(self), |bucket| bucket.next().map(|next| unsafe { next.as_ref() }))
    }

    /// Starts to load this bucket's own entries, two cache lines of each, and the bucket that follows in the chain.
    #[inline]
    pub fn prefetch_entries(&self) {
        for slot in self.occupied() {
            // SAFETY: the slot is occupied.
            let raw = unsafe { self.raw(slot) }.as_ptr();
            prefetch(raw);
            prefetch(raw.wrapping_add(size_of::<Bucket>()));
        }
        if let Some(next) = self.next() {
            prefetch(next.as_ptr());
        }
    }

    /// All entries of the chain that starts here.
    #[inline]
    pub fn entries(&self) -> impl Iterator<Item = Occupant> {
        self.chain().flat_map(|bucket| {
            // SAFETY: the slots are occupied.
            bucket.occupied().map(|slot| unsafe { bucket.entry(slot) })
        })
    }
}

/// Puts an entry into the chain at `head`. Tells whether that took a new overflow bucket.
///
/// # Safety
/// `head` heads a valid chain and nothing else refers to that now.
#[inline]
pub(super) unsafe fn push(mut head: NonNull<Bucket>, entry: Occupant) -> bool {
    let mut grown = false;
    loop {
        // SAFETY: `head` is a bucket of the chain.
        let bucket = unsafe { head.as_mut() };
        if let Some(slot) = bucket.free_slot() {
            bucket.set_entry(slot, entry);
            return grown;
        }
        head = bucket.next().unwrap_or_else(|| {
            let new = NonNull::from(Box::leak(Box::new(Bucket::EMPTY)));
            bucket.set_next(Some(new));
            grown = true;
            new
        });
    }
}

/// Takes the entry of one slot out of the chain at `head`, and fills the hole from the chain's end.
/// Tells whether that freed an overflow bucket.
///
/// # Safety
/// `head` heads a valid chain to which nothing else refers now, and `slot` of `bucket` is an
/// occupied slot of it.
#[inline]
pub(super) unsafe fn remove(
    head: NonNull<Bucket>,
    mut bucket: NonNull<Bucket>,
    slot: usize,
) -> bool {
    let mut before = head;
    let mut last = head;
    // SAFETY: all these are live buckets of the chain, and each reference ends before the next
    // begins.
    unsafe {
        while let Some(next) = last.as_ref().next() {
            before = last;
            last = next;
        }
        if last == bucket {
            bucket.as_mut().clear(slot);
        } else if let Some(donor) = last.as_ref().occupied().next() {
            let entry = last.as_ref().entry(donor);
            last.as_mut().clear(donor);
            bucket.as_mut().set_entry(slot, entry);
        }
        if last == head || !last.as_ref().is_empty() {
            return false;
        }
        before.as_mut().set_next(None);
        // SAFETY: `push` made it as a box, and nothing links to it any more.
        drop(Box::from_raw(last.as_ptr()));
    }
    true
}

/// Takes a chain apart: calls `visit` with every entry, and frees the overflow buckets. Returns
/// their number.
///
/// # Safety
/// `head` is a copy of the head of a valid chain that nobody will use any more.
#[inline]
pub(super) unsafe fn dismantle(mut head: Bucket, mut visit: impl FnMut(Occupant)) -> usize {
    let mut freed = 0;
    loop {
        for slot in head.occupied() {
            // SAFETY: the slot is occupied.
            visit(unsafe { head.entry(slot) });
        }
        let Some(next) = head.next() else {
            return freed;
        };
        // SAFETY: `push` made it as a box, and only this chain linked to it.
        head = *unsafe { Box::from_raw(next.as_ptr()) };
        freed += 1;
    }
}

/// A set of slots, as the highest bit of each slot's byte. Iterates over their numbers.
#[derive(Clone, Copy)]
pub(super) struct Slots(u64);

impl Slots {
    #[inline]
    pub fn len(self) -> usize {
        self.0.count_ones() as usize
    }
}

impl Iterator for Slots {
    type Item = usize;

    #[inline]
    fn next(&mut self) -> Option<usize> {
        if self.0 == 0 {
            return None;
        }
        let slot = self.0.trailing_zeros() as usize / 8;
        self.0 &= self.0 - 1;
        Some(slot & (SLOTS - 1))
    }
}

/// The highest bit of each byte that is zero. Exact: the sum below cannot carry into the next byte.
#[inline]
fn zero_bytes(word: u64) -> u64 {
    !(((word & !HIGH_BITS) + !HIGH_BITS) | word | !HIGH_BITS)
}

/// Asks the processor to load the cache line at `address`. Does nothing where there is no such
/// hint.
#[inline]
pub(crate) fn prefetch<P>(address: *const P) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a prefetch never faults, whatever the address.
    unsafe {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T0>(address.cast());
    }
    #[cfg(target_arch = "aarch64")]
    // SAFETY: a prefetch never faults, whatever the address.
    unsafe {
        std::arch::asm!(
            "prfm pldl1keep, [{}]",
            in(reg) address,
            options(nostack, readonly, preserves_flags)
        );
    }
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    let _ = address;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_a_cache_line() {
        assert_eq!((size_of::<Bucket>(), align_of::<Bucket>()), (64, 64));
    }

    #[test]
    fn slots_are_independent() {
        let mut bucket = Bucket::EMPTY;
        let entry = |i: usize| Occupant {
            raw: NonNull::new(ptr::with_exposed_provenance_mut(0xffff_ffff_0000 + i)).unwrap(),
            tag: [1, 2, 255, 128, 127, 129, 1, 254][i],
            mark: i.is_multiple_of(3),
        };
        for (n, i) in [3, 0, 7, 5, 1, 2, 6, 4].into_iter().enumerate() {
            assert_eq!(bucket.occupied().len(), n);
            bucket.set_entry(i, entry(i));
        }
        assert_eq!(bucket.free_slot(), None);
        bucket.set_next(Some(NonNull::from(&bucket)));
        assert_eq!(bucket.marked().collect::<Vec<_>>(), [0, 3, 6]);
        assert_eq!(bucket.matches(1).collect::<Vec<_>>(), [0, 6]);
        assert_eq!(bucket.matches(128).collect::<Vec<_>>(), [3]);
        assert_eq!(bucket.matches(3).len(), 0);
        for i in 0..SLOTS {
            // SAFETY: all slots are occupied.
            let (found, put) = (unsafe { bucket.entry(i) }, entry(i));
            assert_eq!((found.raw, found.tag, found.mark), (put.raw, put.tag, put.mark));
        }
        bucket.clear(3);
        assert_eq!((bucket.free_slot(), bucket.occupied().len()), (Some(3), 7));
        assert_eq!(bucket.marked().collect::<Vec<_>>(), [0, 6]);
        assert_eq!(bucket.next(), Some(NonNull::from(&bucket)));
    }
}
