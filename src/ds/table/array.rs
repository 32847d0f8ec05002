//! The array of buckets: where it lies in memory, and which bucket a hash belongs to.
//!
//! The top 48 bits of a hash are its *position*. Buckets divide the range of positions into equal
//! parts, in order: the larger the hash, the later the bucket. So an array may have any number of
//! buckets, and two arrays of different size can be swept side by side.

use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::ptr::{self, NonNull};
use std::slice;

use rustix::param::page_size;

use super::bucket::Bucket;

/// Bits of a hash that make its position.
pub(super) const POSITION_BITS: u32 = 48;
/// Bytes; arrays of this size or more are mapped, not allocated, so that they commit and release
/// memory by pages. A process may have some ten thousand mappings, so not all arrays can.
const MAP_FROM: usize = 1 << 20;
/// Bytes that are released at a time. Not less than a page anywhere.
const CHUNK: usize = 64 << 10;
/// The size from which the arrays of a few tables are mapped that grow at the same time as each other: the allocator
/// would keep what all of them have grown out of. They are released page by page.
const MAP_EARLY_FROM: usize = 16 << 10;

/// What an array without buckets points to, so that a lookup needs not ask. Never written to.
static NONE: Bucket = Bucket::EMPTY;

pub(super) struct Array {
    buckets: NonNull<Bucket>,
    len: u32,
    /// Bytes that are released at a time; 0: the array is not mapped.
    chunk: u32,
}

/// From which size on arrays are mapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mapped {
    Large,
    Early,
}

impl Array {
    /// An array without buckets; takes no memory.
    pub const fn empty() -> Self {
        // SAFETY: the address of a static is not null.
        let buckets = unsafe { NonNull::new_unchecked((&raw const NONE).cast_mut()) };
        Self { buckets, len: 0, chunk: 0 }
    }

    /// `len` empty buckets, or none at all if there is no memory for that many.
    pub fn new(len: usize, mapped: Mapped) -> Option<Self> {
        let len = u32::try_from(len).ok().filter(|&len| len > 0)?;
        let bytes = len as usize * size_of::<Bucket>();
        let chunk = match mapped {
            Mapped::Early if bytes >= MAP_EARLY_FROM => page_size().min(CHUNK),
            _ if bytes >= MAP_FROM => CHUNK,
            _ => 0,
        };
        let buckets = if chunk > 0 {
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
        Some(Self { buckets: NonNull::new(buckets.cast())?, len, chunk: chunk as u32 })
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
        self.len as usize
    }

    pub fn bytes(&self) -> usize {
        self.len() * size_of::<Bucket>()
    }

    /// Whether it lies in pages of its own.
    pub fn is_mapped(&self) -> bool {
        self.chunk > 0
    }

    /// The bucket that a hash belongs to (0 if there are none).
    #[inline]
    pub fn index(&self, hash: u64) -> usize {
        let position = hash >> (64 - POSITION_BITS) << (64 - POSITION_BITS);
        ((u128::from(position) * u128::from(self.len)) >> 64) as usize
    }

    /// The first position that belongs to bucket `index` or a later one: `1 << POSITION_BITS` if
    /// `index` is `len`.
    #[inline]
    pub fn start(&self, index: usize) -> u64 {
        // `index(p << 16)` is floor(p * len / 2^48), which is at least `index` from p = ceil(index
        // * 2^48 / len) on.
        ((index as u128) << POSITION_BITS).div_ceil(self.len.max(1).into()) as u64
    }

    /// The bucket at `index`, for which an array without buckets has an empty one that must not be
    /// written to.
    ///
    /// # Safety
    /// `index` is less than `len`, or 0.
    #[inline]
    pub unsafe fn at(&self, index: usize) -> NonNull<Bucket> {
        debug_assert!(index < self.len() || index == 0);
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
        unsafe { slice::from_raw_parts(self.buckets.as_ptr(), self.len()) }
    }

    /// Bytes of the whole chunks that lie before bucket `index`, if this array has pages of its
    /// own.
    pub fn whole_chunks(&self, index: usize) -> usize {
        let chunk = self.chunk as usize;
        (index * size_of::<Bucket>()).checked_div(chunk).map_or(0, |chunks| chunks * chunk)
    }

    /// Gives the memory of the chunk that ends before bucket `index` back, if there is one: then
    /// its buckets read as empty from now on. Returns whether it did.
    pub fn release_before(&mut self, index: usize) -> bool {
        let (end, chunk) = (index * size_of::<Bucket>(), self.chunk as usize);
        // Only 0 is a multiple of 0.
        if !end.is_multiple_of(chunk) || end == 0 || index > self.len() {
            return false;
        }
        // SAFETY: the range lies within this array's own private mapping and starts at a page,
        // since both the mapping and a chunk do. It reads as zeroes afterwards, which are empty
        // buckets.
        unsafe {
            let start = self.buckets.as_ptr().byte_add(end - chunk);
            libc::madvise(start.cast(), chunk, libc::MADV_DONTNEED);
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
            let array = Array::new(len, Mapped::Large).unwrap();
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
        for len in [usize::MAX, usize::MAX / 64, 1 << 56, 1 << 32, 0] {
            assert!(Array::new(len, Mapped::Large).is_none(), "{len}");
        }
    }
}
