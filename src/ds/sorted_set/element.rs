//! One element of a sorted set: its score and its member in one allocation behind a thin pointer.
//!
//! ```text
//! <score: f64> <length: u8, or 255 and u64> <member>
//! ```
//!
//! An [`Element`] owns it, and lies in the table. A [`Handle`] is the same pointer without ownership, for the tree,
//! which so finds the members to compare. That is why this file needs `unsafe`, and why it shows as little as
//! possible: whoever makes a handle has to promise that it will not outlive its element.

use crate::ds::hash::HashSeed;
use crate::ds::table::Item;
use crate::util::alloc::relocate::Relocator;
use crate::util::alloc::size_class;
use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};
use std::marker::PhantomData;
use std::ptr::NonNull;

/// Where the length starts, behind the score.
const LEN: usize = size_of::<f64>();
/// A length of one byte from here on stands for eight more with the length.
const LONG: u8 = u8::MAX;
const SHORT_HEAD: usize = LEN + 1;
const LONG_HEAD: usize = SHORT_HEAD + size_of::<u64>();

/// The owner of an element.
pub(super) struct Element(NonNull<u8>);

// SAFETY: an element is plain data that belongs to its owner alone; handles are `Send` for the reason given there.
unsafe impl Send for Element {}

/// An element that somebody else owns. Two are equal if they are the same allocation.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Handle(NonNull<u8>);

// SAFETY: whoever made it has promised that its element lives, and goes wherever it goes: into the same sorted set.
unsafe impl Send for Handle {}
// SAFETY: through a handle only the member is read, which nobody changes.
unsafe impl Sync for Handle {}

/// An element of a table that is borrowed for `'a`.
#[derive(Clone, Copy)]
pub(super) struct ElementRef<'a>(NonNull<u8>, PhantomData<&'a Element>);

/// An element of a table that is exclusively borrowed for `'a`.
pub(super) struct ElementMut<'a>(NonNull<u8>, PhantomData<&'a mut Element>);

impl Element {
    pub(super) fn new(member: &[u8], score: f64) -> Element {
        let head = if member.len() < LONG.into() { SHORT_HEAD } else { LONG_HEAD };
        let layout = layout(head + member.len());
        // SAFETY: the layout is not empty, and has room for the head and the member, which are all that is written.
        unsafe {
            let Some(p) = NonNull::new(alloc(layout)) else { handle_alloc_error(layout) };
            p.cast::<f64>().write(score);
            match head {
                SHORT_HEAD => p.add(LEN).write(member.len() as u8),
                _ => {
                    p.add(LEN).write(LONG);
                    p.add(SHORT_HEAD).cast::<u64>().write_unaligned(member.len() as u64);
                }
            }
            p.add(head).copy_from_nonoverlapping(NonNull::from(member).cast(), member.len());
            Element(p)
        }
    }
}

impl Element {
    /// The element at another address, if the relocator wants it to be; `self` is to be dropped when no handle of it
    /// is left.
    pub(super) fn relocated(&self, relocator: &mut Relocator) -> Option<Element> {
        let view = self.view();
        let wanted = relocator.wants(self.0.as_ptr(), view.size());
        wanted.then(|| Element::new(view.member(), view.score()))
    }

    pub(super) fn view(&self) -> ElementRef<'_> {
        ElementRef(self.0, PhantomData)
    }
}

impl Drop for Element {
    fn drop(&mut self) {
        // SAFETY: it was allocated with this very layout, and its owner goes.
        unsafe {
            let (head, len) = shape(self.0);
            dealloc(self.0.as_ptr(), layout(head + len));
        }
    }
}

impl Handle {
    /// The member; that it is still there is the promise of [`ElementRef::handle`].
    #[inline]
    pub(super) fn member(&self) -> &[u8] {
        // SAFETY: that promise; a member is never changed.
        unsafe { member(self.0) }
    }
}

impl<'a> ElementRef<'a> {
    #[inline]
    pub(super) fn member(self) -> &'a [u8] {
        // SAFETY: the element is borrowed for 'a.
        unsafe { member(self.0) }
    }

    #[inline]
    pub(super) fn score(self) -> f64 {
        // SAFETY: as above; an element starts with its score.
        unsafe { self.0.cast::<f64>().read() }
    }

    /// The same element for the tree.
    ///
    /// # Safety
    /// The handle, and every copy of it, is used no more when the element is dropped, and goes to no other thread
    /// without the element.
    #[inline]
    pub(super) unsafe fn handle(self) -> Handle {
        Handle(self.0)
    }

    /// Bytes of the allocation.
    #[inline]
    pub(super) fn bytes(self) -> usize {
        size_class(self.size())
    }

    /// Bytes that were asked for.
    #[inline]
    fn size(self) -> usize {
        // SAFETY: the element is borrowed for 'a.
        let (head, len) = unsafe { shape(self.0) };
        head + len
    }
}

impl ElementMut<'_> {
    pub(super) fn view(&self) -> ElementRef<'_> {
        ElementRef(self.0, PhantomData)
    }

    #[inline]
    pub(super) fn set_score(&mut self, score: f64) {
        // SAFETY: the element is exclusively borrowed, and handles do not look at its score.
        unsafe { self.0.cast::<f64>().write(score) };
    }
}

// SAFETY: user-space addresses have 47 bits (48 on other 64-bit targets); no method of the views changes the member.
unsafe impl Item for Element {
    type Hasher = HashSeed;
    type Ref<'a> = ElementRef<'a>;
    type Mut<'a> = ElementMut<'a>;

    #[inline]
    fn into_raw(self) -> NonNull<u8> {
        std::mem::ManuallyDrop::new(self).0
    }

    #[inline]
    unsafe fn from_raw(raw: NonNull<u8>) -> Self {
        Element(raw)
    }

    #[inline]
    unsafe fn raw_key<'a>(raw: NonNull<u8>) -> &'a [u8] {
        // SAFETY: the table passes pointers of live elements only.
        unsafe { member(raw) }
    }

    #[inline]
    unsafe fn raw_ref<'a>(raw: NonNull<u8>) -> ElementRef<'a> {
        ElementRef(raw, PhantomData)
    }

    #[inline]
    unsafe fn raw_mut<'a>(raw: NonNull<u8>) -> ElementMut<'a> {
        ElementMut(raw, PhantomData)
    }
}

fn layout(size: usize) -> Layout {
    Layout::from_size_align(size, align_of::<f64>())
        .expect("a slice's length leaves room for a head")
}

/// Where the member starts, and its length.
///
/// # Safety
/// `p` points to a live element.
#[inline]
unsafe fn shape(p: NonNull<u8>) -> (usize, usize) {
    // SAFETY: an element has its length there, and a long one behind the mark.
    unsafe {
        match p.add(LEN).read() {
            LONG => (LONG_HEAD, p.add(SHORT_HEAD).cast::<u64>().read_unaligned() as usize),
            len => (SHORT_HEAD, len.into()),
        }
    }
}

/// # Safety
/// `p` points to an element that lives for 'a.
#[inline]
unsafe fn member<'a>(p: NonNull<u8>) -> &'a [u8] {
    // SAFETY: the member lies where the head says, and is never written to.
    unsafe {
        let (head, len) = shape(p);
        std::slice::from_raw_parts(p.add(head).as_ptr(), len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ds::hash::HashSeed;
    use crate::ds::table::Table;

    #[test]
    fn elements_of_every_length() {
        let mut table = Table::new(HashSeed::new([1, 2]));
        let members: Vec<Vec<u8>> =
            [0, 1, 7, 8, 253, 254, 255, 256, 70_000].map(|len| vec![b'm'; len]).into();
        for (i, member) in members.iter().enumerate() {
            table.insert_unique(table.hash(member), Element::new(member, i as f64), false);
        }
        for (i, member) in members.iter().enumerate() {
            let mut found = table.get_mut(table.hash(member), member).unwrap();
            assert_eq!((found.view().member(), found.view().score()), (&member[..], i as f64));
            found.set_score(-1.5);
            assert_eq!(found.view().score(), -1.5);
            assert!(found.view().bytes() >= member.len() + SHORT_HEAD);
        }
    }
}
