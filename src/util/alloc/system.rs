//! The C library's allocator in mimalloc's place (feature `system-allocator`): AddressSanitizer, which replaces it,
//! then sees the bounds and the end of every block.

use super::survey::Area;
use std::alloc::{GlobalAlloc, Layout, System};

/// The allocator's name, as `INFO memory` prints it.
pub const NAME: &str = "libc";

/// It tells nothing of the areas that it takes blocks from.
pub const TELLS_AREAS: bool = false;

pub fn init() {}

/// The C library decides for itself what it gives back.
pub fn purge() {}

pub fn release() {}

pub fn stats() -> Option<String> {
    None
}

pub fn visit_areas(_: &mut dyn FnMut(Area)) {}

pub fn is_in_sparse_area(_: *const u8, _: usize) -> bool {
    false
}

/// # Safety
/// As for `GlobalAlloc::alloc`.
pub unsafe fn alloc(layout: Layout) -> *mut u8 {
    // SAFETY: the caller's contract is the same.
    unsafe { System.alloc(layout) }
}

/// # Safety
/// As for `GlobalAlloc::alloc_zeroed`.
pub unsafe fn alloc_zeroed(layout: Layout) -> *mut u8 {
    // SAFETY: as above.
    unsafe { System.alloc_zeroed(layout) }
}

/// # Safety
/// As for `GlobalAlloc::dealloc`.
pub unsafe fn dealloc(block: *mut u8, layout: Layout) {
    // SAFETY: as above.
    unsafe { System.dealloc(block, layout) }
}

/// # Safety
/// As for `GlobalAlloc::realloc`.
pub unsafe fn realloc(block: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
    // SAFETY: as above.
    unsafe { System.realloc(block, layout, new_size) }
}
