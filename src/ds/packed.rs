//! A small collection's listpack behind a thin pointer, and the choice between one and something larger.
//!
//! A listpack begins with its own length, so its owner need not know it: [`Packed`] is one word. That length is never
//! 0, so a block that begins with 0 can be told apart from a listpack by what it begins with: [`PackedOr`] is one word
//! too.
//!
//! ```text
//! Packed:   -> <length: u32 LE> <the rest of the listpack>
//! PackedOr: -> either of these, or <0: u32> <padding> <T>
//! ```
//!
//! This is one of the few modules with `unsafe`: it reads from a block how long that is, or whose it is.
#![allow(unsafe_code)]

use super::listpack::{Listpack, ListpackRef};
use crate::util::alloc::relocate::Relocator;
use crate::util::alloc::size_class;
use std::marker::PhantomData;
use std::mem::{self, ManuallyDrop};
use std::ptr::{self, NonNull};
use std::{fmt, process, slice};

/// A listpack without spare memory. What the allocator's size class has left is found again when it grows.
pub struct Packed(NonNull<u8>);

// SAFETY: it owns its block, which is plain bytes.
unsafe impl Send for Packed {}

/// The number that a block begins with.
///
/// # Safety
/// The block is alive, and a listpack or a `Tagged`: both begin with four initialised bytes.
#[inline]
unsafe fn first_word(block: NonNull<u8>) -> u32 {
    // SAFETY: as the caller promises.
    u32::from_le(unsafe { block.cast::<u32>().read_unaligned() })
}

impl Packed {
    #[inline]
    pub fn view(&self) -> ListpackRef<'_> {
        // SAFETY: `from` has seen that the block is as long as it says, and nothing changes it while `self` is
        // borrowed.
        ListpackRef::trusted(unsafe {
            slice::from_raw_parts(self.0.as_ptr(), first_word(self.0) as usize)
        })
    }

    /// Lends the listpack to `change`. A panic there ends the process, since the block would have two owners.
    #[inline]
    pub fn edit<R>(&mut self, change: impl FnOnce(&mut Listpack) -> R) -> R {
        let guard = AbortOnDrop;
        let mut listpack = Listpack::trusted(self.take().into_vec());
        let result = change(&mut listpack);
        // SAFETY: `take` has taken the old block, so it is overwritten and not dropped.
        unsafe { ptr::write(self, Packed::from(listpack)) };
        mem::forget(guard);
        result
    }

    /// Gives the block away; what is left must not be used, nor dropped.
    #[inline]
    fn take(&mut self) -> Box<[u8]> {
        let len = self.view().as_bytes().len();
        // SAFETY: `from` got the block from a box of this length.
        unsafe { Box::from_raw(ptr::slice_from_raw_parts_mut(self.0.as_ptr(), len)) }
    }

    /// Shows its allocation to the relocator.
    pub fn relocate(&mut self, relocator: &mut Relocator) {
        let mut block = self.take();
        relocator.slice(&mut block);
        // SAFETY: a box is not null. `take` has taken the old block, so it is overwritten and not dropped.
        unsafe { ptr::write(self, Packed(NonNull::new_unchecked(Box::into_raw(block).cast()))) };
    }

    /// Bytes of memory behind this value.
    pub fn heap_bytes(&self) -> usize {
        size_class(self.view().as_bytes().len())
    }
}

impl From<Listpack> for Packed {
    #[inline]
    fn from(listpack: Listpack) -> Self {
        let bytes = listpack.into_bytes().into_boxed_slice();
        let stated = bytes.first_chunk().map_or(0, |word| u32::from_le_bytes(*word));
        assert!(stated != 0 && stated as usize == bytes.len(), "not a listpack");
        // SAFETY: a box is not null.
        Packed(unsafe { NonNull::new_unchecked(Box::into_raw(bytes).cast()) })
    }
}

impl Default for Packed {
    fn default() -> Self {
        Listpack::new().into()
    }
}

impl Clone for Packed {
    fn clone(&self) -> Self {
        Listpack::from_view(self.view()).into()
    }
}

impl Drop for Packed {
    fn drop(&mut self) {
        drop(self.take());
    }
}

impl fmt::Debug for Packed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.view().iter()).finish()
    }
}

/// A listpack, or a `T` in a box.
pub struct PackedOr<T> {
    /// What it really is, says the block that it points to.
    block: ManuallyDrop<Packed>,
    owns: PhantomData<Box<T>>,
}

/// What a [`PackedOr`] is.
pub enum Shared<'a, T> {
    Listpack(&'a Packed),
    Other(&'a T),
}

/// What a [`PackedOr`] is, to be changed.
pub enum Exclusive<'a, T> {
    Listpack(&'a mut Packed),
    Other(&'a mut T),
}

/// What lies in the box.
#[repr(C)]
struct Tagged<T> {
    /// 0: no listpack.
    tag: u32,
    value: T,
}

impl<T> PackedOr<T> {
    /// Bytes of memory behind a value that is no listpack, without what that owns itself.
    pub const OTHER_BYTES: usize = size_class(size_of::<Tagged<T>>());

    pub fn other(value: T) -> Self {
        let tagged = Box::into_raw(Box::new(Tagged { tag: 0, value }));
        // SAFETY: a box is not null.
        let block = unsafe { NonNull::new_unchecked(tagged.cast()) };
        PackedOr { block: ManuallyDrop::new(Packed(block)), owns: PhantomData }
    }

    #[inline]
    fn is_listpack(&self) -> bool {
        // SAFETY: `self` owns the block, which is one or the other.
        unsafe { first_word(self.block.0) != 0 }
    }

    #[inline]
    fn tagged(&self) -> *mut Tagged<T> {
        self.block.0.as_ptr().cast()
    }

    /// Shows its own allocation to the relocator; what a `T` owns is the caller's business.
    pub fn relocate(&mut self, relocator: &mut Relocator) {
        if self.is_listpack() {
            return self.block.relocate(relocator);
        }
        // SAFETY: `other` made the block as a box, which nobody but `self` knows, and which is given back.
        unsafe {
            let mut tagged = Box::from_raw(self.tagged());
            relocator.boxed(&mut tagged);
            let block = NonNull::new_unchecked(Box::into_raw(tagged).cast());
            // Not to be dropped: the old block is gone.
            ptr::write(&raw mut self.block, ManuallyDrop::new(Packed(block)));
        }
    }

    #[inline]
    pub fn get(&self) -> Shared<'_, T> {
        if self.is_listpack() {
            return Shared::Listpack(&self.block);
        }
        // SAFETY: `other` made the block as a `Tagged`, and it is borrowed as long as `self`.
        Shared::Other(unsafe { &(*self.tagged()).value })
    }

    #[inline]
    pub fn get_mut(&mut self) -> Exclusive<'_, T> {
        if self.is_listpack() {
            return Exclusive::Listpack(&mut self.block);
        }
        // SAFETY: as in `get`; `self` is exclusively borrowed.
        Exclusive::Other(unsafe { &mut (*self.tagged()).value })
    }
}

impl<T> From<Packed> for PackedOr<T> {
    fn from(packed: Packed) -> Self {
        PackedOr { block: ManuallyDrop::new(packed), owns: PhantomData }
    }
}

impl<T> Drop for PackedOr<T> {
    fn drop(&mut self) {
        if self.is_listpack() {
            // SAFETY: dropped once, here.
            unsafe { ManuallyDrop::drop(&mut self.block) };
        } else {
            // SAFETY: `other` made it as a box, which is dropped once, here.
            drop(unsafe { Box::from_raw(self.tagged()) });
        }
    }
}

struct AbortOnDrop;

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        process::abort();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_word_each() {
        assert_eq!(size_of::<Packed>(), size_of::<usize>());
        assert_eq!(size_of::<PackedOr<String>>(), size_of::<usize>());
    }

    #[test]
    fn a_listpack_grows_and_shrinks() {
        let mut packed = Packed::default();
        for n in 0..500 {
            assert!(packed.edit(|list| list.push_back(&b"element"[..n % 8])));
            assert_eq!(packed.view().len(), n + 1);
        }
        let copy = packed.clone();
        packed.edit(|list| list.delete_range(1, 499));
        assert_eq!((packed.view().len(), packed.heap_bytes()), (1, 16));
        assert_eq!(copy.view().iter().filter(|entry| entry.eq_bytes(b"elem")).count(), 62);
    }

    #[test]
    fn either_is_what_it_was_made_of() {
        let mut either = PackedOr::other("text".to_string());
        let Exclusive::Other(text) = either.get_mut() else { panic!("not a listpack") };
        text.push_str(" and more");
        assert!(matches!(either.get(), Shared::Other(text) if text == "text and more"));

        either = Packed::default().into();
        let Exclusive::Listpack(list) = either.get_mut() else { panic!("a listpack") };
        list.edit(|list| list.push_back(7));
        assert!(matches!(either.get(), Shared::Listpack(list) if list.view().len() == 1));
    }
}
