//! The hash table of the keyspace, and of large sets, hashes and sorted sets.
//!
//! It stores owning thin pointers ([`Item`]) in buckets of one cache line, so that a lookup costs
//! one cache miss for the bucket and one for the entry, and 12 to 14 bytes of table for each entry.
//!
//! * `bucket`: the cache line, and chains of them
//! * `array`: the array of buckets, and which of them a hash belongs to
//! * `resize`: growing and shrinking, in small steps; freeing everything, in small steps
//! * `entry`: the handle of an entry that has been found
//! * `scan`: going through the entries, in one go or with a cursor that survives resizing
//! * `sample`: entries by chance
//! * `relocate`: moving allocations, bucket by bucket
//! * `take`: taking a range of the entries out
//! * `walk`: going through the entries as they were when it began
//!
//! # Resizing
//!
//! Buckets are ordered by hash. While a resize runs there are two arrays: `next` is filled from its
//! start with the entries of the first `swept` buckets of `array`. Hence every hash belongs to
//! exactly one chain of buckets, in the one array or the other, and a lookup looks nowhere else.
#![allow(unsafe_code)]

mod array;
mod bucket;
mod entry;
mod relocate;
mod resize;
mod sample;
mod scan;
mod take;
#[cfg(test)]
mod tests;
mod walk;

use std::marker::PhantomData;
use std::ptr::NonNull;

use self::array::{Array, Mapped};
use self::bucket::{Bucket, Occupant, SLOTS};
use self::walk::Walk;
use super::hash::HashKeys;

pub(crate) use self::bucket::prefetch;
pub use self::entry::Occupied;
pub(crate) use self::sample::below;
pub(crate) use self::scan::position;
pub(crate) use self::walk::{Course, Visitor, Walkable};

/// How many positions there are: see [`position`].
pub(crate) const POSITIONS: u64 = 1 << array::POSITION_BITS;

/// An owning thin pointer that a [`Table`] can store.
///
/// # Safety
/// `into_raw` returns a pointer whose address fits in 48 bits, with exposed provenance allowed,
/// that stays valid (for the other functions) until `from_raw` takes it back; `raw_key` returns the
/// same bytes as long as the item is in a table, also after changes through `raw_mut`.
pub unsafe trait Item: Sized + Send + 'static {
    /// Whether a table of such items may have a walk of its own ([`Table::begin_walk`]), which is asked about with
    /// every change then.
    const CAN_BE_WALKED: bool = true;

    /// What tables of such items hash keys with.
    type Hasher: HashKeys;

    /// A shared view, with the lifetime of a borrow of the table.
    type Ref<'a>: Copy
    where
        Self: 'a;
    /// An exclusive view, with the lifetime of a borrow of the table.
    type Mut<'a>
    where
        Self: 'a;

    /// Gives the ownership to the pointer.
    fn into_raw(self) -> NonNull<u8>;

    /// Takes the ownership back.
    ///
    /// # Safety
    /// `raw` comes from `into_raw` and is not used any more.
    unsafe fn from_raw(raw: NonNull<u8>) -> Self;

    /// The key, which should lie in the first cache line that `raw` points to.
    ///
    /// # Safety
    /// `raw` comes from `into_raw`, and its owner is borrowed for `'a`.
    unsafe fn raw_key<'a>(raw: NonNull<u8>) -> &'a [u8];

    /// # Safety
    /// `raw` comes from `into_raw`, and its owner is borrowed for `'a`.
    unsafe fn raw_ref<'a>(raw: NonNull<u8>) -> Self::Ref<'a>;

    /// # Safety
    /// `raw` comes from `into_raw`, and its owner is exclusively borrowed for `'a`.
    unsafe fn raw_mut<'a>(raw: NonNull<u8>) -> Self::Mut<'a>;
}

/// Keys that are prefetched together at most: the first-level cache has other things to keep.
const PREFETCHED: usize = 16;

/// A hash table of `T`, each with a key of bytes and a mark (one bit, for the caller's use).
///
/// Hashes are passed in, so that a caller can compute them ahead; they must come from
/// [`Table::hash`].
pub struct Table<T: Item> {
    hasher: T::Hasher,
    /// Holds the entries of the buckets from `swept` on.
    array: Array,
    /// Holds the entries of the first `swept` buckets of `array`. Has no buckets unless a resize
    /// runs.
    next: Array,
    /// Buckets of `array` whose entries are in `next`. What is left in those buckets is stale.
    swept: usize,
    /// Entries.
    len: usize,
    /// Entries with a mark.
    marked: usize,
    /// Buckets that are not in an array but in a chain.
    overflow: usize,
    /// What this table has added to [`MAPPED_BYTES`](crate::util::alloc::MAPPED_BYTES).
    mapped_bytes: usize,
    /// Buckets that an insertion or removal sweeps while a resize runs.
    pace: u32,
    resize_allowed: bool,
    mapped: Mapped,
    /// Told before an entry changes.
    walk: Option<Box<Walk<T>>>,
    owns: PhantomData<T>,
}

// SAFETY: a table owns its items, and nothing in it is bound to a thread.
unsafe impl<T: Item + Send> Send for Table<T> {}

/// The shape of a table, for `DEBUG HTSTATS`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TableStats {
    /// Buckets in use in the arrays.
    pub buckets: usize,
    /// Entries.
    pub len: usize,
    /// Buckets beside the arrays.
    pub overflow_buckets: usize,
    /// Buckets in the longest chain, the one in the array included.
    pub longest_chain: usize,
    /// The size of the array that is being left, in buckets, while a resize runs.
    pub rehashing_from: Option<usize>,
}

/// Where an entry is.
#[derive(Clone, Copy)]
struct Place {
    /// The first bucket of the chain.
    head: NonNull<Bucket>,
    bucket: NonNull<Bucket>,
    slot: usize,
}

impl<T: Item> Table<T> {
    /// An empty table. Takes no memory until something is inserted.
    pub const fn new(hasher: T::Hasher) -> Self {
        Self {
            hasher,
            array: Array::empty(),
            next: Array::empty(),
            swept: 0,
            len: 0,
            marked: 0,
            overflow: 0,
            mapped_bytes: 0,
            pace: 1,
            resize_allowed: true,
            mapped: Mapped::Large,
            walk: None,
            owns: PhantomData,
        }
    }

    /// The same for a table that is one of some that have about as many entries as each other, and of which there are
    /// a few hundred at most: what they have grown out of goes back to the system at once.
    pub const fn one_of_some(hasher: T::Hasher) -> Self {
        let mut table = Self::new(hasher);
        table.mapped = Mapped::Early;
        table
    }

    /// A table with room for `capacity` entries. See [`reserve`](Self::reserve).
    pub fn with_capacity(hasher: T::Hasher, capacity: usize) -> Self {
        let mut table = Self::new(hasher);
        table.reserve(capacity);
        table
    }

    /// Entries.
    #[inline]
    pub fn len(&self) -> usize {
        self.len
    }

    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Entries with a mark.
    #[inline]
    pub fn len_marked(&self) -> usize {
        self.marked
    }

    /// Buckets in the arrays (of both while a resize runs).
    pub fn buckets(&self) -> usize {
        self.array.len() + self.next.len()
    }

    /// Slots in the arrays and in all chains.
    pub fn slots(&self) -> usize {
        (self.buckets() + self.overflow) * SLOTS
    }

    /// The hash of a key, as all functions of this table expect it.
    #[inline]
    pub fn hash(&self, key: &[u8]) -> u64 {
        self.hasher.hash(key)
    }

    #[inline]
    pub fn hasher(&self) -> T::Hasher {
        self.hasher
    }

    #[inline]
    pub fn contains(&self, hash: u64, key: &[u8]) -> bool {
        self.locate(hash, key).is_some()
    }

    #[inline]
    pub fn get(&self, hash: u64, key: &[u8]) -> Option<T::Ref<'_>> {
        let raw = self.locate(hash, key)?.raw();
        // SAFETY: the entry is in this table, which is borrowed as long as the view lives.
        Some(unsafe { T::raw_ref(raw) })
    }

    #[inline]
    pub fn get_mut(&mut self, hash: u64, key: &[u8]) -> Option<T::Mut<'_>> {
        self.before_change(hash);
        let raw = self.locate(hash, key)?.raw();
        // SAFETY: the entry is in this table, which is exclusively borrowed as long as the view
        // lives.
        Some(unsafe { T::raw_mut(raw) })
    }

    /// Finds an entry to change, replace or remove.
    #[inline]
    pub fn find(&mut self, hash: u64, key: &[u8]) -> Option<Occupied<'_, T>> {
        let place = self.locate(hash, key)?;
        Some(Occupied::new(self, place))
    }

    /// Inserts an item whose key is not in the table yet.
    #[inline]
    pub fn insert_unique(&mut self, hash: u64, item: T, mark: bool) {
        self.before_change(hash);
        self.before_insert(hash);
        let raw = item.into_raw();
        // SAFETY: the pointer has just come from `into_raw`.
        debug_assert_eq!(hash, self.hash(unsafe { T::raw_key(raw) }), "not the hash of this key");
        let entry = Occupant { raw, tag: Bucket::tag(hash), mark };
        // SAFETY: `before_insert` has seen to it that the hash belongs to a real bucket; nothing
        // else refers to it.
        let grown = unsafe { bucket::push(self.head(hash), entry) };
        self.overflow += usize::from(grown);
        self.marked += usize::from(mark);
        self.len += 1;
    }

    #[inline]
    pub fn remove(&mut self, hash: u64, key: &[u8]) -> Option<T> {
        self.find(hash, key).map(Occupied::remove)
    }

    /// Starts to load the bucket of a hash into the cache.
    #[inline]
    pub fn prefetch_bucket(&self, hash: u64) {
        prefetch(self.head(hash).as_ptr());
    }

    /// Starts to load the entries that may have this hash into the cache, the first `lines` cache
    /// lines of each. Pays when the bucket has arrived there, some time after
    /// [`prefetch_bucket`](Self::prefetch_bucket).
    #[inline]
    pub fn prefetch_entries(&self, hash: u64, lines: usize) {
        // SAFETY: the head of a chain of this table.
        let bucket = unsafe { self.head(hash).as_ref() };
        let matches = bucket.matches(Bucket::tag(hash));
        if matches.len() == 0
            && let Some(next) = bucket.next()
        {
            prefetch(next.as_ptr());
        }
        for slot in matches {
            // SAFETY: a slot with a tag is occupied.
            let raw = unsafe { bucket.raw(slot) };
            for line in 0..lines {
                prefetch(raw.as_ptr().wrapping_add(line * size_of::<Bucket>()));
            }
        }
    }

    /// Both for many hashes at a time, so that their cache misses overlap.
    #[inline]
    pub fn prefetch_all(&self, hashes: &[u64]) {
        hashes.iter().for_each(|&hash| self.prefetch_bucket(hash));
        hashes.iter().for_each(|&hash| self.prefetch_entries(hash, 1));
    }

    /// The same for keys that are to be looked for soon, for the first [`PREFETCHED`] of them.
    #[inline]
    pub fn prefetch_keys<'k>(&self, keys: impl Iterator<Item = &'k [u8]>) {
        let mut hashes = [0; PREFETCHED];
        let mut count = 0;
        for (hash, key) in hashes.iter_mut().zip(keys) {
            *hash = self.hash(key);
            count += 1;
        }
        self.prefetch_all(&hashes[..count]);
    }

    /// Counts what there is. Walks through the whole table.
    pub fn stats(&self) -> TableStats {
        let heads = self.heads();
        TableStats {
            buckets: heads.len(),
            len: self.len,
            overflow_buckets: self.overflow,
            longest_chain: heads.iter().map(|head| head.chain().count()).max().unwrap_or(0),
            rehashing_from: self.is_rehashing().then_some(self.array.len()),
        }
    }

    /// The first bucket of the only chain where an entry with this hash can be. Not to be written
    /// to if that array has no buckets.
    #[inline]
    fn head(&self, hash: u64) -> NonNull<Bucket> {
        let index = self.array.index(hash);
        // SAFETY: `index` returns a bucket of its array, or 0.
        unsafe {
            if index < self.swept {
                self.next.at(self.next.index(hash))
            } else {
                self.array.at(index)
            }
        }
    }

    #[inline]
    fn locate(&self, hash: u64, key: &[u8]) -> Option<Place> {
        let tag = Bucket::tag(hash);
        let head = self.head(hash);
        let mut at = head;
        loop {
            // SAFETY: a bucket of a chain of this table; the reference ends before anyone could
            // write to it.
            let bucket = unsafe { at.as_ref() };
            for slot in bucket.matches(tag) {
                // SAFETY: a slot with a tag is occupied, by an item that the borrowed table owns.
                if unsafe { T::raw_key(bucket.raw(slot)) } == key {
                    return Some(Place { head, bucket: at, slot });
                }
            }
            at = bucket.next()?;
        }
    }
}

impl Place {
    /// The pointer in this place, which must still be occupied: so use it before anything changes
    /// in the table.
    #[inline]
    fn raw(self) -> NonNull<u8> {
        // SAFETY: `locate` has found the slot occupied.
        unsafe { self.bucket.as_ref().raw(self.slot) }
    }
}
