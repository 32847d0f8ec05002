//! mimalloc, and large blocks straight from the system.
//!
//! A large block has a mapping of its own: it grows where it is or by moving page tables, never by holding old and new
//! contents at once, and is gone when it is freed.
//!
//! What is freed of smaller blocks is kept by the allocator until somebody calls [`purge`]: never by itself, since the
//! thread that happens to allocate next, which is the event loop, would have to give back gigabytes in one go.

use super::survey::Area;
use libmimalloc_sys as mi;
use std::alloc::Layout;
use std::ffi::{CStr, c_char, c_int, c_void};
use std::ptr;

/// The allocator's name, as `INFO memory` prints it.
pub const NAME: &str = "mimalloc";

/// Whether it tells of the areas that it takes blocks from.
pub const TELLS_AREAS: bool = true;

/// Bytes; blocks of this size or more are mapped. What a string has outgrown before stays with the allocator for a
/// moment.
const MAP_FROM: usize = 4 << 20;
/// Bytes; mappings are aligned to it.
const PAGE: usize = 4096;

/// The number of mimalloc's option `purge_delay`, in milliseconds, which the binding does not name.
const OPTION_PURGE_DELAY: c_int = 15;

/// To be called before much is allocated.
pub fn init() {
    // SAFETY: options may be set at any time.
    unsafe { mi::mi_option_set(OPTION_PURGE_DELAY, i32::MAX.into()) };
}

/// Gives free memory back to the system: what the calling thread has freed, and whatever lies between the threads.
pub fn purge() {
    // SAFETY: any thread may collect at any time.
    unsafe { mi::mi_collect(true) };
}

/// Makes what the calling thread keeps of free memory available to [`purge`] on another thread.
pub fn release() {
    // SAFETY: as above.
    unsafe { mi::mi_collect(false) };
}

/// The allocator's own statistics, as text.
pub fn stats() -> Option<String> {
    unsafe extern "C" fn append(text: *const c_char, out: *mut c_void) {
        // SAFETY: mimalloc passes a C string, and the pointer that it was given below.
        unsafe { (*out.cast::<String>()).push_str(&CStr::from_ptr(text).to_string_lossy()) };
    }
    let mut text = String::new();
    // SAFETY: the string outlives the call, which is the only one to use it meanwhile.
    unsafe { mi::mi_stats_print_out(Some(append), (&raw mut text).cast()) };
    Some(text)
}

/// Visits the areas from which blocks are allocated, of all threads. `visit` must not allocate.
pub fn visit_areas(visit: &mut dyn FnMut(Area)) {
    unsafe extern "C" fn each(
        _: *const mi::mi_heap_t,
        area: *const mi::mi_heap_area_t,
        _: *mut c_void,
        _: usize,
        visit: *mut c_void,
    ) -> bool {
        // SAFETY: mimalloc passes a live area, and the pointer that it was given below.
        let (area, visit) = unsafe { (&*area, &mut *visit.cast::<&mut dyn FnMut(Area)>()) };
        visit(Area {
            start: area.blocks.addr(),
            bytes: area.reserved,
            block_bytes: area.full_block_size,
            touched: area.committed / area.full_block_size.max(1),
            used: area.used,
        });
        true
    }
    let mut visit = visit;
    // SAFETY: the visitor outlives the call, which is the only one to use it. Of areas that other threads use, numbers
    // may be a moment old, which is all that can be wrong: an area's record stays where it is.
    unsafe {
        mi::mi_heap_visit_blocks(ptr::null_mut(), false, Some(each), (&raw mut visit).cast());
    }
}

/// Whether at most so many percent of the blocks are used in the area of `block`, and the allocator is about to use
/// others first. It does not tell of an area that no thread owns: a full one, or one in which other threads only have
/// freed blocks since it was full.
#[inline]
pub fn is_in_sparse_area(block: *const u8, percent: usize) -> bool {
    // SAFETY: an address that is no block of mimalloc's belongs to no area. In an area that other threads free from at
    // this moment, the number of used blocks may be a moment old, and the answer too.
    unsafe {
        mi::mi_unsafe_heap_page_is_under_utilized(ptr::null_mut(), block.cast_mut().cast(), percent)
    }
}

/// Whether plain `mi_malloc` aligns well enough. Its aligned cousin may take a block of the next larger class to be
/// sure.
#[inline]
const fn is_natural(layout: Layout) -> bool {
    layout.align() <= 8
}

#[inline]
const fn is_mapped(layout: Layout) -> bool {
    layout.size() >= MAP_FROM && layout.align() <= PAGE
}

/// # Safety
/// As for `GlobalAlloc::alloc`.
#[inline]
pub unsafe fn alloc(layout: Layout) -> *mut u8 {
    if is_mapped(layout) {
        return map(layout.size());
    }
    // SAFETY: any size and alignment of a layout will do.
    let block = unsafe {
        match is_natural(layout) {
            true => mi::mi_malloc(layout.size()),
            false => mi::mi_malloc_aligned(layout.size(), layout.align()),
        }
    };
    block.cast()
}

/// # Safety
/// As for `GlobalAlloc::alloc_zeroed`.
#[inline]
pub unsafe fn alloc_zeroed(layout: Layout) -> *mut u8 {
    if is_mapped(layout) {
        return map(layout.size());
    }
    // SAFETY: as for `alloc`.
    let block = unsafe {
        match is_natural(layout) {
            true => mi::mi_zalloc(layout.size()),
            false => mi::mi_zalloc_aligned(layout.size(), layout.align()),
        }
    };
    block.cast()
}

/// # Safety
/// As for `GlobalAlloc::dealloc`.
#[inline]
pub unsafe fn dealloc(block: *mut u8, layout: Layout) {
    // SAFETY: the layout says where `alloc` got the block from, which was of this very size.
    unsafe {
        match is_mapped(layout) {
            true => unmap(block, layout.size()),
            false => mi::mi_free(block.cast()),
        }
    }
}

/// # Safety
/// As for `GlobalAlloc::realloc`.
#[inline]
pub unsafe fn realloc(block: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
    // SAFETY: the caller vouches that the new size makes a layout.
    let new = unsafe { Layout::from_size_align_unchecked(new_size, layout.align()) };
    // SAFETY: the block is where its layout says; of two kinds of blocks, the shorter length is within both.
    unsafe {
        match (is_mapped(layout), is_mapped(new)) {
            (false, false) if is_natural(layout) => mi::mi_realloc(block.cast(), new_size).cast(),
            (false, false) => mi::mi_realloc_aligned(block.cast(), new_size, layout.align()).cast(),
            (true, true) => remap(block, layout.size(), new_size),
            _ => {
                let moved = alloc(new);
                if !moved.is_null() {
                    ptr::copy_nonoverlapping(block, moved, layout.size().min(new_size));
                    dealloc(block, layout);
                }
                moved
            }
        }
    }
}

/// Zeroed memory of its own, or null.
#[cold]
fn map(size: usize) -> *mut u8 {
    let protection = libc::PROT_READ | libc::PROT_WRITE;
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
    // SAFETY: a new anonymous mapping touches no memory that exists.
    null_if_failed(unsafe { libc::mmap(ptr::null_mut(), size, protection, flags, -1, 0) })
}

/// # Safety
/// `map` or `remap` made the block, of this size.
#[cold]
unsafe fn unmap(block: *mut u8, size: usize) {
    // SAFETY: exactly this range is the block's.
    unsafe { libc::munmap(block.cast(), size) };
}

/// # Safety
/// As for `unmap`; if the answer is not null, the block is there and no longer where it was.
#[cold]
unsafe fn remap(block: *mut u8, size: usize, new_size: usize) -> *mut u8 {
    // SAFETY: exactly this range is the block's.
    null_if_failed(unsafe { libc::mremap(block.cast(), size, new_size, libc::MREMAP_MAYMOVE) })
}

fn null_if_failed(mapped: *mut c_void) -> *mut u8 {
    if mapped == libc::MAP_FAILED { ptr::null_mut() } else { mapped.cast() }
}

#[cfg(test)]
mod tests {
    use super::MAP_FROM;
    use crate::util::alloc::{Counting, size_class};
    use std::alloc::{GlobalAlloc, Layout};

    #[test]
    fn classes_are_the_allocators() {
        let small = (1..2000).chain((2000..40_000).step_by(97));
        for size in small.chain((40_000..MAP_FROM).step_by(12_345)) {
            let layout = Layout::from_size_align(size, 1).unwrap();
            // SAFETY: the size is not 0; the block is freed as it was allocated.
            unsafe {
                let block = Counting.alloc(layout);
                let usable = libmimalloc_sys::mi_usable_size(block.cast());
                Counting.dealloc(block, layout);
                // A large block may also get a stretch of freed slices that was not worth splitting.
                if size > 512 << 10 {
                    assert!(size_class(size) <= usable, "of a block of {size} bytes");
                } else {
                    assert_eq!(size_class(size), usable, "of a block of {size} bytes");
                }
            }
        }
    }

    #[test]
    fn blocks_grow_and_shrink_across_the_border() {
        let layout = |size| Layout::from_size_align(size, 1).unwrap();
        let sizes = [100, MAP_FROM - 1, MAP_FROM, 3 * MAP_FROM + 7, MAP_FROM + 1, 4096, 1];
        // SAFETY: the sizes are not 0, and each call gets the block and the layout of the one before.
        unsafe {
            let mut block = Counting.alloc_zeroed(layout(50));
            block.add(49).write(49);
            block.write(1);
            for (old, new) in [50].into_iter().chain(sizes).zip(sizes) {
                block = Counting.realloc(block, layout(old), new);
                block.add(new - 1).write(7);
                assert_eq!(block.read(), if new == 1 { 7 } else { 1 }, "{old} to {new}");
                assert!(new < 50 || block.add(49).read() == 49, "{old} to {new}");
            }
            Counting.dealloc(block, layout(1));
        }
    }
}
