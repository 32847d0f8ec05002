//! One key of the keyspace and its value, in one allocation.
//!
//! ```text
//!  0        4       5      6          8                                  (all native-endian, unaligned)
//! +--------+-------+------+----------+- - - - - - - +- - - - - -+-------------+-----+- - - - - -+
//! | lru 24 | kind  | flags| key len  | key len (u32)| expire i64| value word  | key | string    |
//! | bits   | u8    | u8   | u16      | if != u16    | if HAS_   | 4 or 8 B    |     | if EMB    |
//! +--------+-------+------+----------+- - - - - - - +- - - - - -+-------------+-----+- - - - - -+
//! ```
//! The value word is the integer (`INT`), the length of the string behind the key (`EMB`), or the address of a boxed
//! value (`HEAP`). A key with a short string, whatever its expiry, is thus one allocation with 12 bytes beside
//! its contents, and one cache line is enough to compare a key and often to read its value.
//!
//! An entry never moves while it is in the table; changing its size makes a new one. A string that stays in the
//! allocator's size class is overwritten in place.
//!
//! This is one of the few modules with `unsafe`: it lays out its own allocation.

use crate::ds::table::Item;
use crate::util::alloc::size_class;
use crate::util::number::parse_i64;
use crate::value::{Value, ValueRef};
use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};
use std::marker::PhantomData;
use std::mem::ManuallyDrop;
use std::ptr::{self, NonNull};

const KIND: usize = 3;
const FLAGS: usize = 4;
const KEY_LEN: usize = 6;
const HEADER: usize = 8;
/// In the key length's place: the length does not fit, and follows in 32 bits.
const LONG_KEY: u16 = u16::MAX;

const HAS_EXPIRE: u8 = 1;
/// A string that was modified in place, and that `OBJECT ENCODING` calls `raw` whatever its length.
const RAW: u8 = 2;

const INT: u8 = 0;
const EMB: u8 = 1;
const HEAP: u8 = 2;

/// The longest string kept behind its key; a longer one has an allocation of its own, so that it can grow.
const MAX_EMBEDDED: usize = 1024;
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
    expire: usize,
    word: usize,
    key: usize,
    key_len: usize,
}

impl Shape {
    #[inline]
    fn new(key_len: usize, kind: u8, has_expire: bool) -> Shape {
        let expire = HEADER + if key_len >= LONG_KEY as usize { 4 } else { 0 };
        let word = expire + if has_expire { 8 } else { 0 };
        Shape { expire, word, key: word + if kind == EMB { 4 } else { 8 }, key_len }
    }

    #[inline]
    fn end_of_key(&self) -> usize {
        self.key + self.key_len
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
            key_len = read::<u32>(p, HEADER) as usize;
        }
        Shape::new(key_len, read(p, KIND), read::<u8>(p, FLAGS) & HAS_EXPIRE != 0)
    }
}

/// # Safety
/// `p` must be a live entry, and stay so and unchanged for `'a`.
#[inline]
unsafe fn bytes<'a>(p: NonNull<u8>, offset: usize, len: usize) -> &'a [u8] {
    // SAFETY: the caller vouches that these bytes belong to the entry.
    unsafe { std::slice::from_raw_parts(p.as_ptr().add(offset), len) }
}

fn layout(size: usize) -> Layout {
    Layout::from_size_align(size, 8).expect("an entry is smaller than the address space")
}

impl Entry {
    /// A string under `key`, in its smallest encoding.
    pub fn string(key: &[u8], string: &[u8], expire: Option<i64>) -> Entry {
        match parse_i64(string) {
            Some(n) => Entry::build(key, INT, expire, n as u64, &[]),
            None => Entry::bytes(key, string, expire),
        }
    }

    /// Any value under `key`.
    pub fn new(key: &[u8], value: Value, expire: Option<i64>) -> Entry {
        match value {
            Value::Int(n) => Entry::build(key, INT, expire, n as u64, &[]),
            Value::Str(bytes) if bytes.len() <= MAX_EMBEDDED => Entry::bytes(key, &bytes, expire),
            value => Entry::boxed(key, value, expire),
        }
    }

    fn bytes(key: &[u8], string: &[u8], expire: Option<i64>) -> Entry {
        if string.len() <= MAX_EMBEDDED {
            Entry::build(key, EMB, expire, string.len() as u64, string)
        } else {
            Entry::boxed(key, Value::Str(string.to_vec()), expire)
        }
    }

    fn boxed(key: &[u8], value: Value, expire: Option<i64>) -> Entry {
        let address = Box::into_raw(Box::new(value)).expose_provenance();
        Entry::build(key, HEAP, expire, address as u64, &[])
    }

    fn build(key: &[u8], kind: u8, expire: Option<i64>, word: u64, tail: &[u8]) -> Entry {
        let shape = Shape::new(key.len(), kind, expire.is_some());
        let size = shape.end_of_key() + tail.len();
        let layout = layout(size);
        // SAFETY: the layout is not empty; every field written lies inside `size`, by `Shape`'s construction.
        unsafe {
            let Some(p) = NonNull::new(alloc(layout)) else { handle_alloc_error(layout) };
            write::<u32>(p, 0, u32::from(kind) << 24);
            write::<u8>(p, KIND, kind);
            write::<u8>(p, FLAGS, if expire.is_some() { HAS_EXPIRE } else { 0 });
            write::<u8>(p, FLAGS + 1, 0);
            write::<u16>(p, KEY_LEN, key.len().min(LONG_KEY as usize) as u16);
            if shape.expire > HEADER {
                write::<u32>(p, HEADER, key.len() as u32);
            }
            if let Some(at) = expire {
                write::<i64>(p, shape.expire, at);
            }
            if kind == EMB {
                write::<u32>(p, shape.word, word as u32);
            } else {
                write::<u64>(p, shape.word, word);
            }
            ptr::copy_nonoverlapping(key.as_ptr(), p.as_ptr().add(shape.key), key.len());
            let end = p.as_ptr().add(shape.end_of_key());
            ptr::copy_nonoverlapping(tail.as_ptr(), end, tail.len());
            Entry(p)
        }
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

    /// The entry with its integer replaced.
    pub fn with_int(self, n: i64) -> Entry {
        let view = self.view();
        if view.raw_kind() == INT {
            // SAFETY: an INT entry has an eight byte word; `self` is ours alone.
            unsafe { write::<i64>(self.0, shape(self.0).word, n) };
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
        if old_kind == HEAP || view.has_expire() != expire.is_some() {
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
        // ends inside the same size class. Freed later with its new size, the allocation counts the same.
        unsafe {
            let shape = shape(p);
            if size_class(shape.end_of_key() + tail) != size_class(view.size()) {
                return false;
            }
            if let Some(at) = expire {
                write::<i64>(p, shape.expire, at);
            }
            write::<u8>(p, FLAGS, read::<u8>(p, FLAGS) & !RAW);
            match number {
                Some(n) => write::<i64>(p, shape.word, n),
                None => {
                    write::<u32>(p, shape.word, tail as u32);
                    let end = p.as_ptr().add(shape.end_of_key());
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
        let new = match view.value() {
            _ if view.raw_kind() == HEAP => {
                let word = view.heap_word();
                let new = Entry::build(view.key(), HEAP, expire, word, &[]);
                self.forget_value();
                new
            }
            ValueRef::Int(n) => Entry::build(view.key(), INT, expire, n as u64, &[]),
            ValueRef::Str(s) => Entry::build(view.key(), EMB, expire, s.len() as u64, s),
        };
        new.view().set_lru(lru);
        new.set_raw(raw);
        new
    }

    /// The value, taken out; the key and the expiry are gone.
    pub fn into_value(self) -> Value {
        if self.view().raw_kind() != HEAP {
            return self.view().value().to_value();
        }
        let address = self.view().heap_word();
        self.forget_value();
        // SAFETY: the address came from `Box::into_raw` in `boxed`, and `forget_value` gave up its ownership.
        *unsafe { Box::from_raw(ptr::with_exposed_provenance_mut::<Value>(address as usize)) }
    }

    /// The entry with its string as a growable buffer, which `change` may modify; marked `raw`.
    pub fn modify_string(self, change: impl FnOnce(&mut Vec<u8>)) -> Entry {
        let view = self.view();
        if view.raw_kind() == HEAP {
            let mut this = self;
            if let Value::Str(bytes) = this.heap_mut() {
                change(bytes);
            }
            this.set_raw(true);
            return this;
        }
        let mut string = match view.value() {
            ValueRef::Int(n) => itoa::Buffer::new().format(n).as_bytes().to_vec(),
            ValueRef::Str(bytes) => bytes.to_vec(),
        };
        change(&mut string);
        let new = Entry::boxed(view.key(), Value::Str(string), view.expire());
        new.view().set_lru(view.lru());
        new.set_raw(true);
        new
    }

    fn heap_mut(&mut self) -> &mut Value {
        debug_assert_eq!(self.view().raw_kind(), HEAP);
        let address = self.view().heap_word() as usize;
        // SAFETY: a HEAP entry owns the box at this address, and `self` is borrowed mutably for the result's life.
        unsafe { &mut *ptr::with_exposed_provenance_mut::<Value>(address) }
    }

    fn set_raw(&self, raw: bool) {
        // SAFETY: the flags are a byte of a live entry, read and written only through its owner and views on one
        // thread.
        unsafe {
            let flags = read::<u8>(self.0, FLAGS) & !RAW;
            write::<u8>(self.0, FLAGS, flags | if raw { RAW } else { 0 });
        }
    }

    /// Frees the entry's own allocation, and not the boxed value that it points to.
    fn forget_value(self) {
        let this = ManuallyDrop::new(self);
        let size = this.view().size();
        // SAFETY: `size` is the size that `build` allocated, or one of the same size class.
        unsafe { dealloc(this.0.as_ptr(), layout(size)) };
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        if self.view().raw_kind() == HEAP {
            let address = self.view().heap_word() as usize;
            // SAFETY: the address came from `Box::into_raw`, and this entry is its only owner.
            drop(unsafe { Box::from_raw(ptr::with_exposed_provenance_mut::<Value>(address)) });
        }
        // SAFETY: as in `forget_value`.
        unsafe { dealloc(self.0.as_ptr(), layout(self.view().size())) };
    }
}

// SAFETY: user-space addresses have 47 bits (48 on other 64-bit targets); no method of the views changes the key.
unsafe impl Item for Entry {
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
    fn raw_kind(self) -> u8 {
        // SAFETY: a view's entry is alive; the kind is initialised.
        unsafe { read(self.0, KIND) }
    }

    #[inline]
    fn flags(self) -> u8 {
        // SAFETY: as above.
        unsafe { read(self.0, FLAGS) }
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
        self.flags() & HAS_EXPIRE != 0
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
                INT => ValueRef::Int(read::<i64>(self.0, shape.word)),
                EMB => {
                    let len = read::<u32>(self.0, shape.word) as usize;
                    ValueRef::Str(bytes(self.0, shape.end_of_key(), len))
                }
                _ => {
                    let address = read::<u64>(self.0, shape.word) as usize;
                    ValueRef::from(&*ptr::with_exposed_provenance::<Value>(address))
                }
            }
        }
    }

    /// The address of the boxed value of a HEAP entry.
    fn heap_word(self) -> u64 {
        // SAFETY: every kind but EMB has an eight byte word.
        unsafe { read::<u64>(self.0, shape(self.0).word) }
    }

    fn is_raw(self) -> bool {
        self.flags() & RAW != 0
    }

    /// The encoding, as `OBJECT ENCODING` names it.
    pub fn encoding(self) -> &'static str {
        match self.value() {
            ValueRef::Int(_) => "int",
            ValueRef::Str(s) if s.len() <= MAX_EMBSTR && !self.is_raw() => "embstr",
            ValueRef::Str(_) => "raw",
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
                EMB => read::<u32>(self.0, shape.word) as usize,
                _ => 0,
            };
            shape.end_of_key() + tail
        }
    }

    /// Everything that the key and its value hold, in bytes.
    pub fn memory(self) -> usize {
        let heap = match self.value() {
            ValueRef::Str(s) if self.raw_kind() == HEAP => {
                size_class(size_of::<Value>()) + size_class(s.len())
            }
            _ => 0,
        };
        size_class(self.size()) + heap
    }
}

impl<'a> EntryMut<'a> {
    /// The same entry, to be read.
    pub fn view(&self) -> EntryRef<'_> {
        EntryRef(self.0, PhantomData)
    }
}
