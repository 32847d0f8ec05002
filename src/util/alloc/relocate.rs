//! Moving allocations to other places in memory, so that areas in which few blocks are used get empty.
//!
//! A structure that owns allocations has a method `relocate`, which shows each of them to a [`Relocator`]. That
//! decides, and moves it: same bytes, same size, another address. What is moved stays what it was for everybody who
//! looks at it through its owner; nobody else may know its address.

use super::class_of;
use super::survey::Sparse;
use std::alloc::{Layout, alloc, dealloc};
use std::mem;
use std::ptr::{self, NonNull};

/// Decides which allocations move, moves them, and counts both kinds.
pub struct Relocator {
    /// `None`: all move.
    sparse: Option<Sparse>,
    moved: u64,
    kept: u64,
}

/// Whether a block of so many bytes can move: a larger one is alone in its area, and leaves no hole.
pub fn can_move(bytes: usize) -> bool {
    bytes > 0 && class_of(bytes).is_some()
}

impl Relocator {
    /// One that empties these areas.
    pub fn emptying(sparse: Sparse) -> Relocator {
        Relocator { sparse: Some(sparse), moved: 0, kept: 0 }
    }

    /// One that moves whatever it is shown.
    #[cfg(test)]
    pub fn of_everything() -> Relocator {
        Relocator { sparse: None, moved: 0, kept: 0 }
    }

    /// How many allocations have moved so far.
    pub fn moved(&self) -> u64 {
        self.moved
    }

    /// How many were to stay where they are.
    pub fn kept(&self) -> u64 {
        self.kept
    }

    /// Counts from 0 again.
    pub fn reset_counts(&mut self) {
        (self.moved, self.kept) = (0, 0);
    }

    /// Whether a block, which was allocated with this size (not 0), is to move. Who asks moves it then.
    #[inline]
    pub fn wants(&mut self, block: *const u8, size: usize) -> bool {
        let wanted = self.sparse.as_mut().is_none_or(|sparse| sparse.contains(block, size));
        self.moved += u64::from(wanted);
        self.kept += u64::from(!wanted);
        wanted
    }

    /// Moves a block if it is to move; returns where it is now.
    ///
    /// # Safety
    /// The global allocator made the block with this layout, whose size is not 0, and the caller is the only one who
    /// knows its address, which it forgets.
    #[inline]
    pub unsafe fn block(&mut self, block: NonNull<u8>, layout: Layout) -> NonNull<u8> {
        if !self.wants(block.as_ptr(), layout.size()) {
            return block;
        }
        // SAFETY: the layout is the block's; the new block has room for its bytes, and is not the old one.
        unsafe {
            let Some(moved) = NonNull::new(alloc(layout)) else { return block };
            ptr::copy_nonoverlapping(block.as_ptr(), moved.as_ptr(), layout.size());
            dealloc(block.as_ptr(), layout);
            moved
        }
    }

    /// Moves what is in a box.
    #[inline]
    pub fn boxed<T>(&mut self, value: &mut Box<T>) {
        let layout = Layout::new::<T>();
        if layout.size() == 0 {
            return;
        }
        // SAFETY: the box owns a block of this layout, and is given the one to own that has its bytes now; nothing in
        // between can panic.
        unsafe {
            let block = NonNull::new_unchecked(Box::into_raw(ptr::read(value)).cast::<u8>());
            ptr::write(value, Box::from_raw(self.block(block, layout).as_ptr().cast()));
        }
    }

    /// Moves what is in a boxed slice.
    #[inline]
    pub fn slice<T>(&mut self, slice: &mut Box<[T]>) {
        let layout = Layout::for_value::<[T]>(slice);
        if layout.size() == 0 {
            return;
        }
        let len = slice.len();
        // SAFETY: as in `boxed`.
        unsafe {
            let block = NonNull::new_unchecked(Box::into_raw(ptr::read(slice)).cast::<u8>());
            let moved = self.block(block, layout).as_ptr().cast();
            ptr::write(slice, Box::from_raw(ptr::slice_from_raw_parts_mut(moved, len)));
        }
    }

    /// Moves what is in a vector, with the room that it has.
    #[inline]
    pub fn vec<T>(&mut self, vec: &mut Vec<T>) {
        let Ok(layout) = Layout::array::<T>(vec.capacity()) else { return };
        if layout.size() == 0 {
            return;
        }
        let mut old = mem::take(vec);
        let (len, capacity) = (old.len(), old.capacity());
        // SAFETY: the vector owned a block of this layout and is forgotten; the new one has its bytes, of which `len`
        // elements are there.
        unsafe {
            let block = NonNull::new_unchecked(old.as_mut_ptr().cast::<u8>());
            mem::forget(old);
            *vec = Vec::from_raw_parts(self.block(block, layout).as_ptr().cast(), len, capacity);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contents_and_room_stay() {
        let mut relocator = Relocator::of_everything();
        let mut vec: Vec<String> = Vec::with_capacity(7);
        vec.extend(["a".to_string(), "b".repeat(1000)]);
        let mut slice: Box<[u16]> = Box::new([1, 2, 3]);
        let mut boxed = Box::new((1u8, "text".to_string()));
        let places = (vec.as_ptr(), slice.as_ptr(), &raw const *boxed);
        relocator.vec(&mut vec);
        relocator.slice(&mut slice);
        relocator.boxed(&mut boxed);
        assert_eq!((vec.capacity(), vec.len(), vec[1].len()), (7, 2, 1000));
        assert_eq!((&*slice, boxed.1.as_str()), (&[1u16, 2, 3][..], "text"));
        assert!(vec.as_ptr() != places.0 && slice.as_ptr() != places.1);
        assert!(&raw const *boxed != places.2);
        assert_eq!((relocator.moved(), relocator.kept()), (3, 0));
    }

    #[test]
    fn what_has_no_memory_is_no_allocation() {
        let mut relocator = Relocator::of_everything();
        relocator.vec(&mut Vec::<u64>::new());
        relocator.slice(&mut Box::<[u64]>::default());
        relocator.boxed(&mut Box::new(()));
        assert_eq!(relocator.moved(), 0);
    }
}
