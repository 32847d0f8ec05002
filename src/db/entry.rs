//! One key of the keyspace and its value, in one allocation.
//!
//! ```text
//!  0        3             4         6                                             (little-endian)
//! +--------+-------------+---------+- - - - - - - +- - - - - -+-----+- - - -+-----------------+- - - - +
//! | lru 24 | kind 3 bits | key len | key len (u64)| expire i64| key | pad   | value           | string |
//! | bits   | flags 5 bits| u16     | if LONG_KEY  | if HAS_   |     | if T  | 2, 8 or n bytes | if EMB |
//! +--------+-------------+---------+- - - - - - - +- - - - - -+-----+- - - -+-----------------+- - - - +
//! ```
//! The value is the integer (`INT`), the length of the string behind it (`EMB`), or, from the next multiple of eight
//! bytes on, the Rust value of its type itself (a `LongString`, a `List`, …). A key with a short string is
//! thus one allocation with 8 bytes beside its contents, and one cache line is enough to compare a key and often to
//! read its value; a small collection costs no further indirection.
//!
//! An entry never moves while it is in the table; changing its size makes a new one. A string that stays in the
//! allocator's size class is overwritten in place.
//!
//! This is one of the few modules with `unsafe`: it lays out its own allocation.
#![allow(unsafe_code)]

use super::order::KeyOrder;
use crate::ds::table::Item;
use crate::util::alloc::relocate::Relocator;
use crate::util::alloc::size_class;
use crate::util::number::parse_i64;
use crate::value::hash::Hash;
use crate::value::list::List;
use crate::value::set::Set;
use crate::value::stream::Stream;
use crate::value::string::LongString;
use crate::value::zset::Zset;
use crate::value::{Value, ValueMut, ValueRef};
use bytes::Bytes;
use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};
use std::marker::PhantomData;
use std::mem::ManuallyDrop;
use std::ptr::{self, NonNull};

const KIND_AND_FLAGS: usize = 3;
const KEY_LEN: usize = 4;
const HEADER: usize = 6;
/// In the key length's place: the length does not fit, and follows in 64 bits.
const LONG_KEY: u16 = u16::MAX;

const KIND: u8 = 0b111;
const HAS_EXPIRE: u8 = 1 << 3;
/// A string that was modified in place, and that `OBJECT ENCODING` calls `raw` whatever its length.
const RAW: u8 = 1 << 4;

/// How the value is kept. All kinds from `STR` on are Rust values in place, with a destructor.
const INT: u8 = 0;
const EMB: u8 = 1;
const STR: u8 = 2;
const LIST: u8 = 3;
const SET: u8 = 4;
const HASH: u8 = 5;
const ZSET: u8 = 6;
const STREAM: u8 = 7;

/// The size of the value's field.
const fn word_size(kind: u8) -> usize {
    match kind {
        INT => size_of::<i64>(),
        EMB => size_of::<u16>(),
        STR => size_of::<LongString>(),
        LIST => size_of::<List>(),
        SET => size_of::<Set>(),
        HASH => size_of::<Hash>(),
        ZSET => size_of::<Zset>(),
        _ => size_of::<Stream>(),
    }
}

// Rust values lie at multiples of eight bytes, and no type may ask for more. The kind is the first word's last byte.
const _: () =
    assert!(align_of::<LongString>() <= 8 && align_of::<List>() <= 8 && align_of::<Set>() <= 8);
const _: () =
    assert!(align_of::<Hash>() <= 8 && align_of::<Zset>() <= 8 && align_of::<Stream>() <= 8);
const _: () = assert!(cfg!(target_endian = "little"));

/// The longest string kept behind its key; a longer one has an allocation of its own, so that it can grow.
const MAX_EMBEDDED: usize = 1024;
const _: () = assert!(MAX_EMBEDDED <= u16::MAX as usize);
/// The longest string that `OBJECT ENCODING` calls `embstr`.
const MAX_EMBSTR: usize = 44;

/// An owned key with its value.
#[derive(Debug)]
pub struct Entry(NonNull<u8>);

/// An entry seen in the table.
#[derive(Clone, Copy)]
pub struct EntryRef<'a>(NonNull<u8>, PhantomData<&'a Entry>);

/// An entry of the table that may be changed, as far as its size stays.
pub struct EntryMut<'a>(NonNull<u8>, PhantomData<&'a mut Entry>);

// SAFETY: an Entry owns its allocation and everything in it; the boxed values are plain data.
unsafe impl Send for Entry {}

/// Where the parts of an entry lie, in bytes from its start.
struct Shape {
    kind: u8,
    expire: usize,
    key: usize,
    key_len: usize,
}

impl Shape {
    #[inline]
    fn new(key_len: usize, kind: u8, has_expire: bool) -> Shape {
        let expire = HEADER + if key_len >= LONG_KEY as usize { 8 } else { 0 };
        let key = expire + if has_expire { 8 } else { 0 };
        Shape { kind, expire, key, key_len }
    }

    /// Where the value starts.
    #[inline]
    fn value(&self) -> usize {
        let end = self.key + self.key_len;
        if self.kind < STR { end } else { end.next_multiple_of(8) }
    }

    /// Where the string of an `EMB` entry starts, and any other entry ends.
    #[inline]
    fn tail(&self) -> usize {
        self.value() + word_size(self.kind)
    }
}

/// Reads a field of the entry at `p`.
///
/// # Safety
/// `offset` must be the place of an initialised field of type `T` in the live entry at `p`.
#[inline]
unsafe fn read<T: Copy>(p: NonNull<u8>, offset: usize) -> T {
    // SAFETY: the caller vouches for the place.
    unsafe { p.as_ptr().add(offset).cast::<T>().read_unaligned() }
}

/// Writes a field of the entry at `p`.
///
/// # Safety
/// As for [`read`], and nobody may be looking at the field.
#[inline]
unsafe fn write<T: Copy>(p: NonNull<u8>, offset: usize, value: T) {
    // SAFETY: the caller vouches for the place.
    unsafe { p.as_ptr().add(offset).cast::<T>().write_unaligned(value) }
}

/// # Safety
/// `p` must be a live entry.
#[inline]
unsafe fn shape(p: NonNull<u8>) -> Shape {
    // SAFETY: header fields are initialised in every entry; the long length is there if the short one says so.
    unsafe {
        let mut key_len = read::<u16>(p, KEY_LEN) as usize;
        if key_len == LONG_KEY as usize {
            key_len = read::<u64>(p, HEADER) as usize;
        }
        let kind_and_flags = read::<u8>(p, KIND_AND_FLAGS);
        Shape::new(key_len, kind_and_flags & KIND, kind_and_flags & HAS_EXPIRE != 0)
    }
}

/// # Safety
/// `p` must be a live entry, and stay so and unchanged for `'a`.
#[inline]
unsafe fn bytes<'a>(p: NonNull<u8>, offset: usize, len: usize) -> &'a [u8] {
    // SAFETY: the caller vouches that these bytes belong to the entry.
    unsafe { std::slice::from_raw_parts(p.as_ptr().add(offset), len) }
}

/// What an entry of `size` bytes asks for: its whole size class, so that it may be overwritten up to there.
#[inline]
fn layout(size: usize) -> Layout {
    Layout::from_size_align(size_class(size), 8)
        .expect("an entry is smaller than the address space")
}

impl Entry {
    /// A string under `key`, in its smallest encoding.
    pub fn string(key: &[u8], string: &[u8], expire: Option<i64>) -> Entry {
        match parse_i64(string) {
            Some(n) => Entry::build(key, INT, expire, n as u64, &[]),
            None => Entry::text(key, string, expire),
        }
    }

    /// Any value under `key`.
    pub fn new(key: &[u8], value: Value, expire: Option<i64>) -> Entry {
        match value {
            Value::Int(n) => Entry::build(key, INT, expire, n as u64, &[]),
            Value::Str(bytes) if bytes.len() <= MAX_EMBEDDED => Entry::text(key, &bytes, expire),
            Value::Str(bytes) => Entry::typed(key, STR, LongString::Own(bytes), expire),
            Value::List(list) => Entry::typed(key, LIST, list, expire),
            Value::Set(set) => Entry::typed(key, SET, set, expire),
            Value::Hash(hash) => Entry::typed(key, HASH, hash, expire),
            Value::Zset(zset) => Entry::typed(key, ZSET, zset, expire),
            Value::Stream(stream) => Entry::typed(key, STREAM, stream, expire),
        }
    }

    /// A string under `key` that stays a text even if it is a number.
    pub fn text(key: &[u8], string: &[u8], expire: Option<i64>) -> Entry {
        if string.len() <= MAX_EMBEDDED {
            Entry::build(key, EMB, expire, string.len() as u64, string)
        } else {
            Entry::typed(key, STR, LongString::Own(string.to_vec()), expire)
        }
    }

    /// A long string under `key`, in a buffer that others may share.
    pub fn kept_string(key: &[u8], string: Bytes, expire: Option<i64>) -> Entry {
        debug_assert!(string.len() > MAX_EMBEDDED);
        Entry::typed(key, STR, LongString::Shared(Box::new(string)), expire)
    }

    /// An entry whose value is a Rust value in place.
    fn typed<T>(key: &[u8], kind: u8, value: T, expire: Option<i64>) -> Entry {
        debug_assert_eq!(word_size(kind), size_of::<T>());
        let entry = Entry::allocate(key, kind, expire, 0);
        // SAFETY: the field has the type's size and, lying at a multiple of eight, its alignment.
        unsafe { entry.0.as_ptr().add(shape(entry.0).value()).cast::<T>().write(value) };
        entry
    }

    fn build(key: &[u8], kind: u8, expire: Option<i64>, word: u64, tail: &[u8]) -> Entry {
        let entry = Entry::allocate(key, kind, expire, tail.len());
        // SAFETY: INT has eight bytes for its value and EMB two, with `tail` behind them.
        unsafe {
            let shape = shape(entry.0);
            if kind == EMB {
                write::<u16>(entry.0, shape.value(), word as u16);
            } else {
                write::<u64>(entry.0, shape.value(), word);
            }
            let end = entry.0.as_ptr().add(shape.tail());
            ptr::copy_nonoverlapping(tail.as_ptr(), end, tail.len());
        }
        entry
    }

    /// An entry whose value (and tail, of so many bytes) is yet to be written; nothing may fail before it is.
    #[inline]
    fn allocate(key: &[u8], kind: u8, expire: Option<i64>, tail: usize) -> Entry {
        let shape = Shape::new(key.len(), kind, expire.is_some());
        let layout = layout(shape.tail() + tail);
        // SAFETY: the layout is not empty; every field written lies inside it, by `Shape`'s construction.
        unsafe {
            let Some(p) = NonNull::new(alloc(layout)) else { handle_alloc_error(layout) };
            let kind_and_flags = kind | if expire.is_some() { HAS_EXPIRE } else { 0 };
            write::<u32>(p, 0, u32::from(kind_and_flags) << 24);
            write::<u16>(p, KEY_LEN, key.len().min(LONG_KEY as usize) as u16);
            if shape.expire > HEADER {
                write::<u64>(p, HEADER, key.len() as u64);
            }
            if let Some(at) = expire {
                write::<i64>(p, shape.expire, at);
            }
            ptr::copy_nonoverlapping(key.as_ptr(), p.as_ptr().add(shape.key), key.len());
            Entry(p)
        }
    }

    /// The entry as the table's writers see it.
    pub fn view_mut(&mut self) -> EntryMut<'_> {
        EntryMut(self.0, PhantomData)
    }

    /// The entry as the table's readers see it.
    #[inline]
    pub fn view(&self) -> EntryRef<'_> {
        EntryRef(self.0, PhantomData)
    }

    /// The entry with a new string for a value; overwritten in place where the allocation fits exactly.
    pub fn with_string(self, string: &[u8], expire: Option<i64>) -> Entry {
        let number = parse_i64(string);
        if self.overwrite(number, string, expire) {
            return self;
        }
        let view = self.view();
        let new = Entry::string(view.key(), string, expire);
        new.view().set_lru(view.lru());
        new
    }

    /// The entry with a text for a value, even if it is a number.
    pub fn with_text(self, text: &[u8]) -> Entry {
        let view = self.view();
        let new = Entry::text(view.key(), text, view.expire());
        new.view().set_lru(view.lru());
        new
    }

    /// The entry with its integer replaced.
    pub fn with_int(self, n: i64) -> Entry {
        let view = self.view();
        if view.raw_kind() == INT {
            // SAFETY: an INT entry has an eight byte word; `self` is ours alone.
            unsafe { write::<i64>(self.0, shape(self.0).value(), n) };
            return self;
        }
        let new = Entry::build(view.key(), INT, view.expire(), n as u64, &[]);
        new.view().set_lru(view.lru());
        new
    }

    /// Tries to put a string into this very allocation: same size class, same presence of an expiry.
    fn overwrite(&self, number: Option<i64>, string: &[u8], expire: Option<i64>) -> bool {
        let p = self.0;
        let view = self.view();
        let old_kind = view.raw_kind();
        if old_kind >= STR || view.has_expire() != expire.is_some() {
            return false;
        }
        let (kind, tail) = match number {
            Some(_) => (INT, 0),
            None => (EMB, string.len()),
        };
        if kind != old_kind || tail > MAX_EMBEDDED {
            return false;
        }
        // SAFETY: the kind and the presence of an expiry are the same, so every field keeps its place, and the string
        // ends inside the size class that was asked for: its new size makes the same layout.
        unsafe {
            let shape = shape(p);
            if size_class(shape.tail() + tail) != size_class(view.size()) {
                return false;
            }
            if let Some(at) = expire {
                write::<i64>(p, shape.expire, at);
            }
            write::<u8>(p, KIND_AND_FLAGS, read::<u8>(p, KIND_AND_FLAGS) & !RAW);
            match number {
                Some(n) => write::<i64>(p, shape.value(), n),
                None => {
                    write::<u16>(p, shape.value(), tail as u16);
                    let end = p.as_ptr().add(shape.tail());
                    ptr::copy_nonoverlapping(string.as_ptr(), end, tail);
                }
            }
        }
        true
    }

    /// The entry with another expiry (in milliseconds since 1970), or none.
    pub fn with_expire(self, expire: Option<i64>) -> Entry {
        let view = self.view();
        if let (true, Some(at)) = (view.has_expire(), expire) {
            // SAFETY: the entry has an expiry field, and is ours alone.
            unsafe { write::<i64>(self.0, shape(self.0).expire, at) };
            return self;
        }
        if !view.has_expire() && expire.is_none() {
            return self;
        }
        let (lru, raw) = (view.lru(), view.is_raw());
        let key = view.key();
        let new = match view.value() {
            ValueRef::Int(n) => Entry::build(key, INT, expire, n as u64, &[]),
            ValueRef::Str(s) if view.raw_kind() == EMB => {
                Entry::build(key, EMB, expire, s.len() as u64, s)
            }
            _ => {
                let key = key.to_vec();
                Entry::new(&key, self.into_value(), expire)
            }
        };
        new.view().set_lru(lru);
        new.set_raw(raw);
        new
    }

    /// The entry under another key.
    pub fn with_key(self, key: &[u8]) -> Entry {
        let view = self.view();
        let (lru, raw, expire) = (view.lru(), view.is_raw(), view.expire());
        let new = match view.value() {
            ValueRef::Int(n) => Entry::build(key, INT, expire, n as u64, &[]),
            ValueRef::Str(s) if view.raw_kind() == EMB => {
                Entry::build(key, EMB, expire, s.len() as u64, s)
            }
            _ => Entry::new(key, self.into_value(), expire),
        };
        new.view().set_lru(lru);
        new.set_raw(raw);
        new
    }

    /// The value, taken out; the key and the expiry are gone.
    pub fn into_value(self) -> Value {
        let kind = self.view().raw_kind();
        if kind < STR {
            return self.view().value().to_value();
        }
        let this = ManuallyDrop::new(self);
        // SAFETY: the kind says which type was written at the value's place; it is read once, and the allocation is
        // freed below without dropping it.
        let value = unsafe {
            let place = this.0.as_ptr().add(shape(this.0).value());
            match kind {
                STR => Value::Str(place.cast::<LongString>().read().into_vec()),
                LIST => Value::List(place.cast::<List>().read()),
                SET => Value::Set(place.cast::<Set>().read()),
                HASH => Value::Hash(place.cast::<Hash>().read()),
                ZSET => Value::Zset(place.cast::<Zset>().read()),
                _ => Value::Stream(place.cast::<Stream>().read()),
            }
        };
        this.free();
        value
    }

    /// The entry with its string as a growable buffer, which `change` may modify; marked `raw`.
    pub fn modify_string(self, change: impl FnOnce(&mut Vec<u8>)) -> Entry {
        let view = self.view();
        if view.raw_kind() == STR {
            // SAFETY: a STR entry's value is a LongString, and the entry is ours alone.
            let string =
                unsafe { &mut *self.0.as_ptr().add(shape(self.0).value()).cast::<LongString>() };
            change(string.make_mut());
            self.set_raw(true);
            return self;
        }
        let mut string = match view.value() {
            ValueRef::Int(n) => itoa::Buffer::new().format(n).as_bytes().to_vec(),
            ValueRef::Str(bytes) => bytes.to_vec(),
            // Not a string: nothing to modify.
            _ => return self,
        };
        change(&mut string);
        let new = Entry::typed(view.key(), STR, LongString::Own(string), view.expire());
        new.view().set_lru(view.lru());
        new.set_raw(true);
        new
    }

    fn set_raw(&self, raw: bool) {
        // SAFETY: the flags are a byte of a live entry, read and written only through its owner and views on one
        // thread.
        unsafe {
            let rest = read::<u8>(self.0, KIND_AND_FLAGS) & !RAW;
            write::<u8>(self.0, KIND_AND_FLAGS, rest | if raw { RAW } else { 0 });
        }
    }

    /// The entry, perhaps at another address; a string's own allocation is shown to the relocator as well.
    pub fn relocated(self, relocator: &mut Relocator) -> Entry {
        let size = self.view().size();
        let old = ManuallyDrop::new(self);
        // SAFETY: `size` makes the layout that was allocated; nobody but `self` knew the address. A Rust value may lie
        // anywhere that is aligned as well.
        let moved = Entry(unsafe { relocator.block(old.0, layout(size)) });
        if moved.view().raw_kind() == STR {
            // SAFETY: a STR entry's value is a LongString, and the entry is ours alone.
            unsafe { &mut *moved.0.as_ptr().add(shape(moved.0).value()).cast::<LongString>() }
                .relocate(relocator);
        }
        moved
    }

    /// Frees the entry's own allocation, and not what its value owns.
    fn free(&self) {
        let size = self.view().size();
        // SAFETY: `size` makes the layout that was allocated; the callers use the entry no more.
        unsafe { dealloc(self.0.as_ptr(), layout(size)) };
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        let kind = self.view().raw_kind();
        if kind > STR {
            let Entry(p) = *self;
            // A second owner for a moment, which gives up the entry for its value; this one is never used again.
            drop(Entry(p).into_value());
            return;
        }
        if kind == STR {
            // As a value of its own it would be copied where replies share it.
            // SAFETY: a STR entry's value is a LongString, which is read once: the entry is freed below.
            drop(unsafe { self.0.as_ptr().add(shape(self.0).value()).cast::<LongString>().read() });
        }
        self.free();
    }
}

// SAFETY: user-space addresses have 47 bits (48 on other 64-bit targets); no method of the views changes the key.
unsafe impl Item for Entry {
    /// A database's keys are walked through by its [`KeyTable`](crate::db::key_table::KeyTable).
    const CAN_BE_WALKED: bool = false;

    type Hasher = KeyOrder;
    type Ref<'a> = EntryRef<'a>;
    type Mut<'a> = EntryMut<'a>;

    #[inline]
    fn into_raw(self) -> NonNull<u8> {
        ManuallyDrop::new(self).0
    }

    #[inline]
    unsafe fn from_raw(raw: NonNull<u8>) -> Self {
        Entry(raw)
    }

    #[inline]
    unsafe fn raw_key<'a>(raw: NonNull<u8>) -> &'a [u8] {
        // SAFETY: the table passes pointers of live entries only.
        unsafe {
            let shape = shape(raw);
            bytes(raw, shape.key, shape.key_len)
        }
    }

    #[inline]
    unsafe fn raw_ref<'a>(raw: NonNull<u8>) -> EntryRef<'a> {
        EntryRef(raw, PhantomData)
    }

    #[inline]
    unsafe fn raw_mut<'a>(raw: NonNull<u8>) -> EntryMut<'a> {
        EntryMut(raw, PhantomData)
    }
}

impl<'a> EntryRef<'a> {
    #[inline]
    fn kind_and_flags(self) -> u8 {
        // SAFETY: a view's entry is alive; the byte is initialised.
        unsafe { read(self.0, KIND_AND_FLAGS) }
    }

    #[inline]
    fn raw_kind(self) -> u8 {
        self.kind_and_flags() & KIND
    }

    #[inline]
    pub fn key(self) -> &'a [u8] {
        // SAFETY: as above; the key is never changed.
        unsafe {
            let shape = shape(self.0);
            bytes(self.0, shape.key, shape.key_len)
        }
    }

    #[inline]
    pub fn has_expire(self) -> bool {
        self.kind_and_flags() & HAS_EXPIRE != 0
    }

    /// When the key expires, in milliseconds since 1970.
    #[inline]
    pub fn expire(self) -> Option<i64> {
        // SAFETY: the field is there if the flag says so.
        self.has_expire().then(|| unsafe { read::<i64>(self.0, shape(self.0).expire) })
    }

    /// The value in place.
    #[inline]
    pub fn value(self) -> ValueRef<'a> {
        // SAFETY: the entry is alive for 'a, and the fields are where its kind says.
        unsafe {
            let shape = shape(self.0);
            match self.raw_kind() {
                INT => ValueRef::Int(read::<i64>(self.0, shape.value())),
                EMB => {
                    let len = read::<u16>(self.0, shape.value()) as usize;
                    ValueRef::Str(bytes(self.0, shape.tail(), len))
                }
                kind => {
                    let place = self.0.as_ptr().add(shape.value());
                    match kind {
                        STR => ValueRef::Str(&*place.cast::<LongString>()),
                        LIST => ValueRef::List(&*place.cast::<List>()),
                        SET => ValueRef::Set(&*place.cast::<Set>()),
                        HASH => ValueRef::Hash(&*place.cast::<Hash>()),
                        ZSET => ValueRef::Zset(&*place.cast::<Zset>()),
                        _ => ValueRef::Stream(&*place.cast::<Stream>()),
                    }
                }
            }
        }
    }

    #[inline]
    pub fn is_string(self) -> bool {
        self.raw_kind() <= STR
    }

    /// A copy under another key: value, expiry, and the mark of a string modified in place.
    pub fn copy_as(self, key: &[u8]) -> Entry {
        let copy = Entry::new(key, self.value().to_value(), self.expire());
        copy.set_raw(self.is_raw());
        copy
    }

    fn is_raw(self) -> bool {
        self.kind_and_flags() & RAW != 0
    }

    /// The encoding, as `OBJECT ENCODING` names it.
    pub fn encoding(self) -> &'static str {
        match self.value() {
            ValueRef::Int(_) => "int",
            ValueRef::Str(s) if s.len() <= MAX_EMBSTR && !self.is_raw() => "embstr",
            ValueRef::Str(_) => "raw",
            ValueRef::List(list) => list.encoding(),
            ValueRef::Set(set) => set.encoding(),
            ValueRef::Hash(hash) => hash.encoding(),
            ValueRef::Zset(zset) => zset.encoding(),
            ValueRef::Stream(stream) => stream.encoding(),
        }
    }

    /// The 24 bits of the access clock (LRU) or of the decrement time and counter (LFU).
    #[inline]
    pub fn lru(self) -> u32 {
        // SAFETY: the first four bytes are initialised: 24 bits of clock and the kind.
        unsafe { read::<u32>(self.0, 0) & 0x00ff_ffff }
    }

    #[inline]
    pub fn set_lru(self, lru: u32) {
        // SAFETY: no reference to these three bytes exists anywhere; everything runs on one thread.
        unsafe {
            let kind = read::<u32>(self.0, 0) & 0xff00_0000;
            write::<u32>(self.0, 0, kind | (lru & 0x00ff_ffff));
        }
    }

    /// The size of the entry's own allocation, in bytes.
    #[inline]
    pub fn size(self) -> usize {
        // SAFETY: as in `value`.
        unsafe {
            let shape = shape(self.0);
            let tail = match self.raw_kind() {
                EMB => read::<u16>(self.0, shape.value()) as usize,
                _ => 0,
            };
            shape.tail() + tail
        }
    }

    /// Everything that the key and its value hold, in bytes.
    pub fn memory(self) -> usize {
        let heap = match self.value() {
            ValueRef::Str(s) if self.raw_kind() == STR => size_class(s.len()),
            ValueRef::Int(_) | ValueRef::Str(_) => 0,
            ValueRef::List(list) => list.heap_bytes(),
            ValueRef::Set(set) => set.heap_bytes(),
            ValueRef::Hash(hash) => hash.heap_bytes(),
            ValueRef::Zset(zset) => zset.heap_bytes(),
            ValueRef::Stream(stream) => stream.heap_bytes(),
        };
        size_class(self.size()) + heap
    }
}

impl<'a> EntryMut<'a> {
    /// The same entry, to be read.
    pub fn view(&self) -> EntryRef<'_> {
        EntryRef(self.0, PhantomData)
    }

    /// The bytes of a long string, for replies to keep; `None` if it is none.
    pub fn share_string(self) -> Option<Bytes> {
        if self.view().raw_kind() != STR {
            return None;
        }
        // SAFETY: a STR entry's value is a LongString; the view is exclusive.
        let string =
            unsafe { &mut *self.0.as_ptr().add(shape(self.0).value()).cast::<LongString>() };
        Some(string.share())
    }

    /// The collection in place.
    pub fn into_value_mut(self) -> ValueMut<'a> {
        let kind = self.view().raw_kind();
        // SAFETY: the kind says which type is at the value's place; the view is exclusive for 'a.
        unsafe {
            let place = self.0.as_ptr().add(shape(self.0).value());
            match kind {
                LIST => ValueMut::List(&mut *place.cast::<List>()),
                SET => ValueMut::Set(&mut *place.cast::<Set>()),
                HASH => ValueMut::Hash(&mut *place.cast::<Hash>()),
                ZSET => ValueMut::Zset(&mut *place.cast::<Zset>()),
                STREAM => ValueMut::Stream(&mut *place.cast::<Stream>()),
                _ => ValueMut::String,
            }
        }
    }
}
