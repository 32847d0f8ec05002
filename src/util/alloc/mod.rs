//! The global allocator: mimalloc behind a counter, so that `used_memory` is true at every moment and costs a
//! few instructions to keep and to read.
//!
//! Each thread counts in a cell of its own, so that the event loop never executes an atomic read-modify-write for
//! it; background threads hand their balance over with [`flush_thread`] when a job is done.
//!
//! `unsafe` is needed to be an allocator at all.
#![allow(unsafe_code)]

use std::alloc::{GlobalAlloc, Layout};
use std::cell::Cell;
use std::sync::atomic::{AtomicIsize, AtomicUsize, Ordering::Relaxed};

#[cfg(not(feature = "system-allocator"))]
#[path = "mimalloc.rs"]
mod heap;
#[cfg(feature = "system-allocator")]
#[path = "system.rs"]
mod heap;
pub mod relocate;
pub mod survey;

pub use heap::{NAME, TELLS_AREAS, init, purge, release, stats};

thread_local! {
    static BALANCE: Cell<isize> = const { Cell::new(0) };
}

/// The balances that other threads have handed over.
static SHARED: AtomicIsize = AtomicIsize::new(0);

/// Bytes that all hash tables together have mapped and not released. They are the program's own, but no allocator's.
pub static MAPPED_BYTES: AtomicUsize = AtomicUsize::new(0);

/// mimalloc, with every byte counted.
pub struct Counting;

/// Bytes; up to here blocks have size classes, and larger ones are made of whole slices.
const MAX_CLASSED: usize = 512 << 10;
const SLICE: usize = 64 << 10;

/// The bytes that an allocation of `size` really takes: the allocator's size class.
///
/// Multiples of 8 up to 64, then four classes for each doubling, as mimalloc rounds where `.cargo/config.toml` has told
/// it that 8 bytes are all the alignment wanted; from half a megabyte on, multiples of 64 KB.
#[inline]
pub const fn size_class(size: usize) -> usize {
    let step = match size {
        ..=8 => return 8,
        9..=64 => 8,
        65..=MAX_CLASSED => 1 << ((size - 1).ilog2() - 2),
        _ => SLICE,
    };
    // Whoever asks for more than there is gets nothing, and is counted for a moment only.
    size.saturating_add(step - 1) & !(step - 1)
}

/// Size classes up to [`MAX_CLASSED`].
const CLASSES: usize = 60;

/// Which of the classes an allocation of `size` bytes (not 0) is in; `None` if it gets slices of its own.
#[inline]
const fn class_of(size: usize) -> Option<usize> {
    match size {
        ..=64 => Some((size - 1) / 8),
        65..=MAX_CLASSED => {
            let log = (size - 1).ilog2();
            Some(8 + (log as usize - 6) * 4 + ((size - 1) >> (log - 2) & 3))
        }
        _ => None,
    }
}

#[inline]
fn count(delta: isize) {
    // The cell is gone only while its thread ends; what is freed then is not worth a destructor.
    let _ = BALANCE.try_with(|balance| balance.set(balance.get() + delta));
}

/// Adds this thread's balance to what [`used_memory`] sees from every thread.
pub fn flush_thread() {
    SHARED.fetch_add(BALANCE.replace(0), Relaxed);
}

/// Bytes allocated now, in size classes, with the table's mapped arrays. To be called on the event loop's thread.
#[inline]
pub fn used_memory() -> usize {
    let heap = BALANCE.get() + SHARED.load(Relaxed);
    heap.max(0) as usize + MAPPED_BYTES.load(Relaxed)
}

/// Bytes that this thread has allocated and not freed, without those that it has handed over.
#[cfg(test)]
pub fn thread_balance() -> isize {
    BALANCE.get()
}

// SAFETY: every call goes to the heap with the caller's own arguments; counting does not touch the memory.
unsafe impl GlobalAlloc for Counting {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(size_class(layout.size()) as isize);
        // SAFETY: the caller keeps the contract, which is the heap's.
        unsafe { heap::alloc(layout) }
    }

    #[inline]
    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        count(-(size_class(layout.size()) as isize));
        // SAFETY: as above.
        unsafe { heap::dealloc(ptr, layout) }
    }

    #[inline]
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(size_class(layout.size()) as isize);
        // SAFETY: as above.
        unsafe { heap::alloc_zeroed(layout) }
    }

    #[inline]
    unsafe fn realloc(&self, ptr: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        count(size_class(new_size) as isize - size_class(layout.size()) as isize);
        // SAFETY: as above.
        unsafe { heap::realloc(ptr, layout, new_size) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_are_numbered_by_their_sizes() {
        let mut last = (0, 0);
        for size in 1..=MAX_CLASSED {
            let class = class_of(size).expect("a class");
            let expected = if size_class(size) == last.1 { last.0 } else { last.0 + 1 };
            assert_eq!(class, if size == 1 { 0 } else { expected }, "of {size} bytes");
            last = (class, size_class(size));
        }
        assert_eq!((last.0, class_of(MAX_CLASSED + 1)), (CLASSES - 1, None));
    }
}
