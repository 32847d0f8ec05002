//! The global allocator: mimalloc behind a counter, so that `used_memory` is true at every moment and costs a
//! few instructions to keep and to read.
//!
//! Each thread counts in a cell of its own, so that the event loop never executes an atomic read-modify-write for
//! it; background threads hand their balance over with [`flush_thread`] when a job is done.
//!
//! `unsafe` is needed to be an allocator at all.

use libmimalloc_sys::{mi_free, mi_malloc, mi_realloc, mi_zalloc};
use mimalloc::MiMalloc;
use std::alloc::{GlobalAlloc, Layout};
use std::cell::Cell;
use std::sync::atomic::{AtomicIsize, Ordering::Relaxed};

/// The allocator's name, as `INFO memory` prints it.
pub const NAME: &str = "mimalloc";

thread_local! {
    static BALANCE: Cell<isize> = const { Cell::new(0) };
}

/// The balances that other threads have handed over.
static SHARED: AtomicIsize = AtomicIsize::new(0);

/// mimalloc, with every byte counted.
pub struct Counting;

/// The bytes that an allocation of `size` really takes: the allocator's size class.
///
/// Multiples of 8 up to 64, then four classes for each doubling, as mimalloc rounds where `.cargo/config.toml` has told
/// it that 8 bytes are all the alignment wanted.
#[inline]
pub const fn size_class(size: usize) -> usize {
    if size <= 8 {
        return 8;
    }
    let step = if size <= 64 { 8 } else { 1 << ((size - 1).ilog2() - 2) };
    (size + step - 1) & !(step - 1)
}

/// Whether plain `mi_malloc` aligns well enough. Its aligned cousin may take a block of the next larger class to be
/// sure.
#[inline]
const fn is_natural(layout: Layout) -> bool {
    layout.align() <= 8
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
    heap.max(0) as usize + crate::ds::table::MAPPED_BYTES.load(Relaxed)
}

// SAFETY: every call goes to mimalloc with the caller's own arguments; counting does not touch the memory. Blocks of
// `mi_malloc` and of the aligned calls are freed and grown the same way.
unsafe impl GlobalAlloc for Counting {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(size_class(layout.size()) as isize);
        if is_natural(layout) {
            // SAFETY: mi_malloc takes any size.
            return unsafe { mi_malloc(layout.size()).cast() };
        }
        // SAFETY: the caller keeps `alloc`'s contract, which is mimalloc's.
        unsafe { MiMalloc.alloc(layout) }
    }

    #[inline]
    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        count(-(size_class(layout.size()) as isize));
        // SAFETY: `ptr` came from an allocation above, and so from mimalloc.
        unsafe { mi_free(ptr.cast()) }
    }

    #[inline]
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(size_class(layout.size()) as isize);
        if is_natural(layout) {
            // SAFETY: mi_zalloc takes any size.
            return unsafe { mi_zalloc(layout.size()).cast() };
        }
        // SAFETY: as for `alloc`.
        unsafe { MiMalloc.alloc_zeroed(layout) }
    }

    #[inline]
    unsafe fn realloc(&self, ptr: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        count(size_class(new_size) as isize - size_class(layout.size()) as isize);
        if layout.align() <= 8 {
            // SAFETY: as for `dealloc`; the caller vouches for `new_size`.
            return unsafe { mi_realloc(ptr.cast(), new_size).cast() };
        }
        // SAFETY: as above, with an alignment to be kept.
        unsafe { MiMalloc.realloc(ptr, layout, new_size) }
    }
}

#[cfg(test)]
mod tests {
    use super::{Counting, size_class};
    use std::alloc::{GlobalAlloc, Layout};
    use std::ffi::c_void;

    unsafe extern "C" {
        fn mi_usable_size(block: *const c_void) -> usize;
    }

    #[test]
    fn classes_are_the_allocators() {
        for size in (1..2000).chain((2000..40_000).step_by(97)) {
            let layout = Layout::from_size_align(size, 1).unwrap();
            // SAFETY: the size is not 0; the block is freed as it was allocated.
            unsafe {
                let block = Counting.alloc(layout);
                let usable = mi_usable_size(block.cast());
                Counting.dealloc(block, layout);
                assert_eq!(size_class(size), usable, "of a block of {size} bytes");
            }
        }
    }
}
