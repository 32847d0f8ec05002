//! The array of buckets: where it lies in memory, and which bucket a hash belongs to.
//!
//! The top 48 bits of a hash are its *position*. Buckets divide the range of positions into equal
//! parts, in order: the larger the hash, the later the bucket. So an array may have any number of
//! buckets, and two arrays of different size can be swept side by side.

use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::ptr::{self, NonNull};
use std::slice;

use super::bucket::Bucket;

/// Bits of a hash that make its position.
pub(super) const POSITION_BITS: u32 = 48;
/// Bytes; arrays of this size or more are mapped, not allocated, so that they commit and release
/// memory by pages.
const MAP_FROM: usize = 1 << 20;
/// Bytes that are released at a time.
const CHUNK: usize = 64 << 10;

/// What an array without buckets points to, so that a lookup needs not ask. Never written to.
static NONE: Bucket = Bucket::EMPTY;

pub(super) struct Array {
    buckets: NonNull<Bucket>,
    len: usize,
}

impl Array {
    /// An array without buckets; takes no memory.
    pub const fn empty() -> Self {
        // SAFETY: the address of a static is not null.
        Self { buckets: unsafe { NonNull::new_unchecked((&raw const NONE).cast_mut()) }, len: 0 }
    }

    /// `len` empty buckets, or none at all if there is no memory for that many.
    pub fn new(len: usize) -> Option<Self> {
        let bytes = len.checked_mul(size_of::<Bucket>())?;
        if bytes == 0 || bytes > isize::MAX as usize {
            return None;
        }
        let buckets = if bytes >= MAP_FROM {
            let protection = libc::PROT_READ | libc::PROT_WRITE;
            let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
            // SAFETY: a new anonymous mapping touches no memory that exists.
            let memory = unsafe { libc::mmap(ptr::null_mut(), bytes, protection, flags, -1, 0) };
            if memory == libc::MAP_FAILED { ptr::null_mut() } else { memory.cast() }
        } else {
            // SAFETY: the size is not 0.
            unsafe { alloc_zeroed(Self::layout(bytes)) }
        };
        // Zeroed memory is made of empty buckets; both sources align it to 64 bytes.
        Some(Self { buckets: NonNull::new(buckets.cast())?, len })
    }

    fn layout(bytes: usize) -> Layout {
        // `new` has checked the size.
        Layout::from_size_align(bytes, align_of::<Bucket>()).unwrap_or(Layout::new::<Bucket>())
    }

    /// Has the buckets moved by `relocate`, which is given the block and its layout, and returns where it is now.
    ///
    /// # Safety
    /// The array has buckets and is not mapped, and nobody uses their addresses any more.
    pub unsafe fn move_by(&mut self, relocate: impl FnOnce(NonNull<u8>, Layout) -> NonNull<u8>) {
        self.buckets = relocate(self.buckets.cast(), Self::layout(self.bytes())).cast();
    }

    /// Buckets.
    #[inline]
    pub fn len(&self) -> usize {
        self.len
    }

    pub fn bytes(&self) -> usize {
        self.len * size_of::<Bucket>()
    }

    /// Whether it lies in pages of its own.
    pub fn is_mapped(&self) -> bool {
        self.bytes() >= MAP_FROM
    }

    /// The bucket that a hash belongs to (0 if there are none).
    #[inline]
    pub fn index(&self, hash: u64) -> usize {
        let position = hash >> (64 - POSITION_BITS) << (64 - POSITION_BITS);
        ((u128::from(position) * self.len as u128) >> 64) as usize
    }

    /// The first position that belongs to bucket `index` or a later one: `1 << POSITION_BITS` if
    /// `index` is `len`.
    #[inline]
    pub fn start(&self, index: usize) -> u64 {
        // `index(p << 16)` is floor(p * len / 2^48), which is at least `index` from p = ceil(index
        // * 2^48 / len) on.
        ((index as u128) << POSITION_BITS).div_ceil(self.len.max(1) as u128) as u64
    }

    /// The bucket at `index`, for which an array without buckets has an empty one that must not be
    /// written to.
    ///
    /// # Safety
    /// `index` is less than `len`, or 0.
    #[inline]
    pub unsafe fn at(&self, index: usize) -> NonNull<Bucket> {
        debug_assert!(index < self.len || index == 0);
        // SAFETY: within the array, or its first bucket.
        unsafe { self.buckets.add(index) }
    }

    /// The address of bucket `index`, which may lie outside: good for a prefetch only.
    #[inline]
    pub fn address(&self, index: usize) -> *const Bucket {
        self.buckets.as_ptr().wrapping_add(index)
    }

    #[inline]
    pub fn as_slice(&self) -> &[Bucket] {
        // SAFETY: `buckets` points to `len` buckets that live as long as `self`.
        unsafe { slice::from_raw_parts(self.buckets.as_ptr(), self.len) }
    }

    /// Bytes of the whole chunks that lie before bucket `index`, if this array has pages of its
    /// own.
    pub fn whole_chunks(&self, index: usize) -> usize {
        if self.is_mapped() { index * size_of::<Bucket>() / CHUNK * CHUNK } else { 0 }
    }

    /// Gives the memory of the chunk that ends before bucket `index` back, if there is one: then
    /// its buckets read as empty from now on. Returns whether it did.
    pub fn release_before(&mut self, index: usize) -> bool {
        let end = index * size_of::<Bucket>();
        if !end.is_multiple_of(CHUNK) || end == 0 || index > self.len || !self.is_mapped() {
            return false;
        }
        // SAFETY: the range lies within this array's own private mapping and starts at a page,
        // since both the mapping and a chunk do. It reads as zeroes afterwards, which are empty
        // buckets.
        unsafe {
            let start = self.buckets.as_ptr().byte_add(end - CHUNK);
            libc::madvise(start.cast(), CHUNK, libc::MADV_DONTNEED);
        }
        true
    }
}

impl Drop for Array {
    fn drop(&mut self) {
        if self.is_mapped() {
            // SAFETY: `new` mapped exactly this range.
            unsafe { libc::munmap(self.buckets.as_ptr().cast(), self.bytes()) };
        } else if self.len > 0 {
            // SAFETY: `new` allocated it with this layout.
            unsafe { dealloc(self.buckets.as_ptr().cast(), Self::layout(self.bytes())) };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn start_is_the_first_position_of_a_bucket() {
        for len in [1, 2, 3, 5, 7, 64, 1000, 65_535, 65_536, 65_537, 100_003] {
            let array = Array::new(len).unwrap();
            assert_eq!(array.start(0), 0);
            assert_eq!(array.start(len), 1 << POSITION_BITS);
            for index in (1..len).step_by(len / 100 + 1).chain([len - 1]).filter(|&i| i > 0) {
                let start = array.start(index);
                assert_eq!(array.index(start << 16), index, "{len}");
                assert_eq!(array.index((start << 16) - 1), index - 1, "{len}");
            }
            assert_eq!((array.index(0), array.index(u64::MAX)), (0, len - 1));
        }
    }

    #[test]
    fn refuses_what_no_machine_has() {
        assert!(Array::new(usize::MAX).is_none());
        assert!(Array::new(usize::MAX / 64).is_none());
        assert!(Array::new(1 << 56).is_none());
        assert!(Array::new(0).is_none());
    }
}
