//! The items of large sets and hashes: a member, or a field with its value, each in one allocation behind a thin
//! pointer, for a [`Table`](super::table::Table).
//!
//! ```text
//! member: <length> <bytes>
//! field:  <length << 1 | has expiry> <length of the value> <expiry: i64 LE, if it has one> <field> <value>
//! ```
//! A length takes one byte up to 127: seven bits a byte, low bits first, the high bit set on all bytes but the last. So
//! a short member has one byte beside its own, and a short field two; nothing is aligned.
//!
//! This is one of the few modules with `unsafe`: it lays out its own allocations.
#![allow(unsafe_code)]

use super::hash::HashSeed;
use super::table::{Item, prefetch};
use crate::util::alloc::relocate::Relocator;
use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};
use std::marker::PhantomData;
use std::mem::ManuallyDrop;
use std::ops::ControlFlow;
use std::ptr::{self, NonNull};

/// Room for any length.
const MAX_LENGTH: usize = 10;
const EXPIRE: usize = size_of::<i64>();

/// A member of a set.
#[derive(Debug)]
pub struct Member(NonNull<u8>);

/// A field of a hash, with its value, and perhaps the time when it expires.
#[derive(Debug)]
pub struct Field(NonNull<u8>);

/// A member seen in its table. Looking at its bytes is what costs a cache miss, not having this.
#[derive(Clone, Copy, Debug)]
pub struct MemberRef<'a>(NonNull<u8>, PhantomData<&'a Member>);

/// A field seen in its table, as [`MemberRef`].
#[derive(Clone, Copy, Debug)]
pub struct FieldRef<'a>(NonNull<u8>, PhantomData<&'a Field>);

/// A field of a table that may be changed, as far as its size stays.
#[derive(Debug)]
pub struct FieldMut<'a>(NonNull<u8>, PhantomData<&'a mut Field>);

// SAFETY: both own their allocation, which is plain bytes.
unsafe impl Send for Member {}
// SAFETY: as above.
unsafe impl Send for Field {}

/// Writes a length to the start of `out`; returns how many bytes it took.
#[inline]
fn put_length(out: &mut [u8], mut length: usize) -> usize {
    let mut at = 0;
    while length > 127 {
        out[at] = length as u8 | 128;
        length >>= 7;
        at += 1;
    }
    out[at] = length as u8;
    at + 1
}

/// The length at `at`, and the address behind it.
///
/// # Safety
/// `put_length` wrote it there, into a live allocation.
#[inline]
unsafe fn length(at: *const u8) -> (usize, *const u8) {
    // SAFETY: the bytes of a length are initialised, up to the first one without the high bit.
    unsafe {
        let first = *at;
        if first <= 127 {
            return (usize::from(first), at.add(1));
        }
        let (mut length, mut at) = (usize::from(first & 127), at.add(1));
        let mut shift = 7;
        loop {
            let byte = *at;
            length |= usize::from(byte & 127) << shift;
            at = at.add(1);
            if byte <= 127 {
                return (length, at);
            }
            shift += 7;
        }
    }
}

fn layout(size: usize) -> Layout {
    Layout::from_size_align(size, 1).expect("an item is smaller than the address space")
}

/// A new allocation with these parts in a row, not all of them empty.
#[inline]
fn allocate<const N: usize>(parts: [&[u8]; N]) -> NonNull<u8> {
    let layout = layout(parts.iter().map(|part| part.len()).sum());
    debug_assert!(layout.size() > 0);
    // SAFETY: the layout is not empty, and the parts fill it exactly.
    unsafe {
        let Some(start) = NonNull::new(alloc(layout)) else { handle_alloc_error(layout) };
        let mut at = start.as_ptr();
        for part in parts {
            ptr::copy_nonoverlapping(part.as_ptr(), at, part.len());
            at = at.add(part.len());
        }
        start
    }
}

/// Items that [`in_batches`] hands out at a time: enough for their cache misses to overlap.
pub const BATCH: usize = 16;

/// Visits what a table iterates over in batches, each of which has been prefetched.
#[inline]
pub fn in_batches<R: Copy>(
    mut items: impl Iterator<Item = R>,
    prefetch: impl Fn(R),
    mut visit: impl FnMut(&[R]) -> ControlFlow<()>,
) -> ControlFlow<()> {
    while let Some(first) = items.next() {
        prefetch(first);
        let mut batch = [first; BATCH];
        let mut len = 1;
        for (slot, item) in batch[1..].iter_mut().zip(&mut items) {
            prefetch(item);
            *slot = item;
            len += 1;
        }
        visit(&batch[..len])?;
    }
    ControlFlow::Continue(())
}

impl Member {
    #[inline]
    pub fn new(bytes: &[u8]) -> Member {
        let mut head = [0; MAX_LENGTH];
        let head_len = put_length(&mut head, bytes.len());
        Member(allocate([&head[..head_len], bytes]))
    }

    #[inline]
    pub fn view(&self) -> MemberRef<'_> {
        MemberRef(self.0, PhantomData)
    }
}

impl Member {
    /// The member, perhaps at another address.
    pub fn relocated(self, relocator: &mut Relocator) -> Member {
        let size = self.view().size();
        // SAFETY: the size that was allocated; `self` was the only one to know the address.
        Member(unsafe { relocator.block(self.into_raw(), layout(size)) })
    }
}

impl<'a> MemberRef<'a> {
    #[inline]
    pub fn bytes(self) -> &'a [u8] {
        // SAFETY: a live member, which is not changed for 'a.
        unsafe {
            let (len, bytes) = length(self.0.as_ptr());
            std::slice::from_raw_parts(bytes, len)
        }
    }

    /// Bytes of its allocation.
    #[inline]
    pub fn size(self) -> usize {
        let bytes = self.bytes();
        bytes.as_ptr().addr() - self.0.as_ptr().addr() + bytes.len()
    }

    /// Starts to load it into the cache.
    #[inline]
    pub fn prefetch(self) {
        prefetch(self.0.as_ptr());
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        let size = self.view().size();
        // SAFETY: the size that was allocated; nobody uses the member any more.
        unsafe { dealloc(self.0.as_ptr(), layout(size)) };
    }
}

// SAFETY: user-space addresses have 47 bits (48 on other 64-bit targets); nothing changes a member.
unsafe impl Item for Member {
    type Hasher = HashSeed;
    type Ref<'a> = MemberRef<'a>;
    type Mut<'a> = MemberRef<'a>;

    #[inline]
    fn into_raw(self) -> NonNull<u8> {
        ManuallyDrop::new(self).0
    }

    #[inline]
    unsafe fn from_raw(raw: NonNull<u8>) -> Self {
        Member(raw)
    }

    #[inline]
    unsafe fn raw_key<'a>(raw: NonNull<u8>) -> &'a [u8] {
        MemberRef(raw, PhantomData).bytes()
    }

    #[inline]
    unsafe fn raw_ref<'a>(raw: NonNull<u8>) -> MemberRef<'a> {
        MemberRef(raw, PhantomData)
    }

    #[inline]
    unsafe fn raw_mut<'a>(raw: NonNull<u8>) -> MemberRef<'a> {
        MemberRef(raw, PhantomData)
    }
}

/// Where the parts of a field are.
struct Parts {
    expire: Option<NonNull<u8>>,
    name: *const u8,
    name_len: usize,
    value_len: usize,
}

impl Parts {
    /// # Safety
    /// `raw` is a live field.
    #[inline]
    unsafe fn of(raw: NonNull<u8>) -> Parts {
        // SAFETY: two lengths are at the start of every field, and the expiry behind them if the flag says so.
        unsafe {
            let (tagged, at) = length(raw.as_ptr());
            let (value_len, at) = length(at);
            let expire = (tagged & 1 != 0).then(|| NonNull::new_unchecked(at.cast_mut()));
            let name = if expire.is_some() { at.add(EXPIRE) } else { at };
            Parts { expire, name, name_len: tagged >> 1, value_len }
        }
    }
}

impl Field {
    /// `expire`: milliseconds since 1970.
    #[inline]
    pub fn new(name: &[u8], value: &[u8], expire: Option<i64>) -> Field {
        let mut head = [0; 2 * MAX_LENGTH + EXPIRE];
        let mut head_len = put_length(&mut head, name.len() << 1 | usize::from(expire.is_some()));
        head_len += put_length(&mut head[head_len..], value.len());
        if let Some(at) = expire {
            head[head_len..head_len + EXPIRE].copy_from_slice(&at.to_le_bytes());
            head_len += EXPIRE;
        }
        Field(allocate([&head[..head_len], name, value]))
    }

    #[inline]
    pub fn view(&self) -> FieldRef<'_> {
        FieldRef(self.0, PhantomData)
    }
}

impl Field {
    /// The field, perhaps at another address.
    pub fn relocated(self, relocator: &mut Relocator) -> Field {
        let size = self.view().size();
        // SAFETY: as for a member.
        Field(unsafe { relocator.block(self.into_raw(), layout(size)) })
    }
}

impl<'a> FieldRef<'a> {
    #[inline]
    pub fn name(self) -> &'a [u8] {
        // SAFETY: a live field, whose name is never changed.
        unsafe {
            let parts = Parts::of(self.0);
            std::slice::from_raw_parts(parts.name, parts.name_len)
        }
    }

    #[inline]
    pub fn value(self) -> &'a [u8] {
        // SAFETY: a live field, which is not changed for 'a; the value follows the name.
        unsafe {
            let parts = Parts::of(self.0);
            std::slice::from_raw_parts(parts.name.add(parts.name_len), parts.value_len)
        }
    }

    /// When it expires, in milliseconds since 1970.
    #[inline]
    pub fn expire(self) -> Option<i64> {
        // SAFETY: a live field; the expiry is there if `Parts` says so.
        unsafe { Parts::of(self.0).expire.map(|at| at.cast::<i64>().as_ptr().read_unaligned()) }
    }

    /// Bytes of its allocation.
    #[inline]
    pub fn size(self) -> usize {
        let value = self.value();
        value.as_ptr().addr() - self.0.as_ptr().addr() + value.len()
    }

    /// Starts to load it into the cache.
    #[inline]
    pub fn prefetch(self) {
        prefetch(self.0.as_ptr());
    }
}

impl<'a> FieldMut<'a> {
    #[inline]
    pub fn view(&self) -> FieldRef<'_> {
        FieldRef(self.0, PhantomData)
    }

    /// Puts another value in the place of one of the same length. `false`: nothing was done, since the length differs.
    #[inline]
    pub fn overwrite(&mut self, value: &[u8]) -> bool {
        // SAFETY: a live field, exclusively borrowed: nobody holds a slice of the value, which has this length.
        unsafe {
            let parts = Parts::of(self.0);
            if parts.value_len != value.len() {
                return false;
            }
            let old = parts.name.add(parts.name_len).cast_mut();
            ptr::copy_nonoverlapping(value.as_ptr(), old, value.len());
        }
        true
    }

    /// Changes the expiry of a field that has one. `false`: nothing was done, since it has none.
    #[inline]
    pub fn set_expire(&mut self, at: i64) -> bool {
        // SAFETY: a live field, exclusively borrowed; the expiry is there if `Parts` says so.
        unsafe {
            let expire = Parts::of(self.0).expire;
            if let Some(place) = expire {
                place.cast::<i64>().as_ptr().write_unaligned(at);
            }
            expire.is_some()
        }
    }
}

impl Drop for Field {
    fn drop(&mut self) {
        let size = self.view().size();
        // SAFETY: the size that was allocated; nobody uses the field any more.
        unsafe { dealloc(self.0.as_ptr(), layout(size)) };
    }
}

// SAFETY: as for `Member`; no method of the views changes the name.
unsafe impl Item for Field {
    type Hasher = HashSeed;
    type Ref<'a> = FieldRef<'a>;
    type Mut<'a> = FieldMut<'a>;

    #[inline]
    fn into_raw(self) -> NonNull<u8> {
        ManuallyDrop::new(self).0
    }

    #[inline]
    unsafe fn from_raw(raw: NonNull<u8>) -> Self {
        Field(raw)
    }

    #[inline]
    unsafe fn raw_key<'a>(raw: NonNull<u8>) -> &'a [u8] {
        FieldRef(raw, PhantomData).name()
    }

    #[inline]
    unsafe fn raw_ref<'a>(raw: NonNull<u8>) -> FieldRef<'a> {
        FieldRef(raw, PhantomData)
    }

    #[inline]
    unsafe fn raw_mut<'a>(raw: NonNull<u8>) -> FieldMut<'a> {
        FieldMut(raw, PhantomData)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_of_every_length() {
        for len in (0..300).chain([16_383, 16_384, 1 << 21]) {
            let bytes: Vec<u8> = (0..len).map(|i| i as u8).collect();
            let member = Member::new(&bytes);
            assert_eq!(member.view().bytes(), bytes);
            assert_eq!(
                member.view().size(),
                len + 1
                    + usize::from(len > 127)
                    + usize::from(len > 16_383)
                    + usize::from(len >= 1 << 21)
            );
        }
    }

    #[test]
    fn fields_of_every_shape() {
        for (name_len, value_len) in
            [(0, 0), (1, 0), (0, 1), (63, 127), (64, 128), (70_000, 20_000)]
        {
            for expire in [None, Some(i64::MIN), Some(7)] {
                let (name, value) = (vec![b'n'; name_len], vec![b'v'; value_len]);
                let mut field = ManuallyDrop::new(Field::new(&name, &value, expire));
                let view = field.view();
                assert_eq!(
                    (view.name(), view.value(), view.expire()),
                    (&name[..], &value[..], expire)
                );
                let mut change = FieldMut(field.0, PhantomData);
                assert!(!change.overwrite(&vec![b'w'; value_len + 1]));
                assert!(change.overwrite(&vec![b'w'; value_len]));
                assert_eq!(change.set_expire(9), expire.is_some());
                let view = change.view();
                assert_eq!((view.name(), view.value()), (&name[..], &vec![b'w'; value_len][..]));
                assert_eq!(view.expire(), expire.map(|_| 9));
                // SAFETY: dropped once, here.
                unsafe { ManuallyDrop::drop(&mut field) };
            }
        }
    }
}
