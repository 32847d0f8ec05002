//! One node of a quicklist: a listpack, or one large element as it is; either may be compressed.

use super::packed::GappedListpack;
use crate::ds::listpack::codec::Encoded;
use crate::ds::listpack::{Listpack, ListpackEntry, ListpackRef};
use crate::util::alloc::relocate::Relocator;
use crate::util::lzf;
use std::borrow::Cow;

/// Below this size, compression is not tried.
const MIN_COMPRESS_BYTES: usize = 48;

/// Compression must save at least this many bytes.
const MIN_COMPRESS_IMPROVE: usize = 8;

/// What the bytes of a node are. The numbers are those of RDB files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Container {
    /// One element, as it is.
    Plain = 1,
    /// A listpack.
    Packed = 2,
}

/// The bytes of a node as they are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NodeBytes<'a> {
    /// The listpack, or the plain element.
    Raw(&'a [u8]),
    /// The same, LZF-compressed from `raw_len` bytes.
    Lzf {
        /// The compressed bytes.
        compressed: &'a [u8],
        /// Their length when decompressed.
        raw_len: usize,
    },
}

#[derive(Debug, Clone)]
pub(super) struct Node {
    data: Data,
    count: usize,
}

#[derive(Debug, Clone)]
enum Data {
    Packed(GappedListpack),
    Plain(Vec<u8>),
    Lzf(Box<Lzf>),
}

#[derive(Debug, Clone)]
struct Lzf {
    container: Container,
    raw_len: usize,
    compressed: Box<[u8]>,
}

impl From<Listpack> for Node {
    fn from(listpack: Listpack) -> Self {
        Node { count: listpack.len(), data: Data::Packed(listpack.into()) }
    }
}

impl Node {
    /// A listpack of one element.
    pub(super) fn packed(value: &[u8]) -> Self {
        let entry = Encoded::new(ListpackEntry::Str(value));
        let mut packed = GappedListpack::from(Listpack::with_capacity(0));
        packed.push_back(&entry);
        Node { data: Data::Packed(packed), count: 1 }
    }

    pub(super) fn plain(value: Vec<u8>) -> Self {
        Node { data: Data::Plain(value), count: 1 }
    }

    /// Number of elements.
    pub(super) fn count(&self) -> usize {
        self.count
    }

    pub(super) fn container(&self) -> Container {
        match &self.data {
            Data::Packed(_) => Container::Packed,
            Data::Plain(_) => Container::Plain,
            Data::Lzf(lzf) => lzf.container,
        }
    }

    /// Size of listpack or element when not compressed.
    pub(super) fn bytes(&self) -> usize {
        match &self.data {
            Data::Packed(packed) => packed.bytes(),
            Data::Plain(plain) => plain.len(),
            Data::Lzf(lzf) => lzf.raw_len,
        }
    }

    pub(super) fn heap_bytes(&self) -> usize {
        match &self.data {
            Data::Packed(packed) => packed.heap_bytes(),
            Data::Plain(plain) => plain.capacity(),
            Data::Lzf(lzf) => size_of::<Lzf>() + lzf.compressed.len(),
        }
    }

    /// Shows its allocations to the relocator.
    pub(super) fn relocate(&mut self, relocator: &mut Relocator) {
        match &mut self.data {
            Data::Packed(packed) => packed.relocate(relocator),
            Data::Plain(plain) => relocator.vec(plain),
            Data::Lzf(lzf) => {
                relocator.boxed(lzf);
                relocator.slice(&mut lzf.compressed);
            }
        }
    }

    pub(super) fn stored(&self) -> NodeBytes<'_> {
        match &self.data {
            Data::Packed(packed) => NodeBytes::Raw(packed.view().as_bytes()),
            Data::Plain(plain) => NodeBytes::Raw(plain),
            Data::Lzf(lzf) => NodeBytes::Lzf { compressed: &lzf.compressed, raw_len: lzf.raw_len },
        }
    }

    /// Listpack or element, decompressed into a buffer of its own if need be.
    pub(super) fn raw(&self) -> Cow<'_, [u8]> {
        match &self.data {
            Data::Packed(packed) => Cow::Borrowed(packed.view().as_bytes()),
            Data::Plain(plain) => Cow::Borrowed(plain),
            Data::Lzf(lzf) => Cow::Owned(lzf.decompress()),
        }
    }

    /// The first element. `None` if the node is compressed, as no end of a list is.
    pub(super) fn front(&self) -> Option<ListpackEntry<'_>> {
        match &self.data {
            Data::Packed(packed) => packed.view().get(packed.view().first()?),
            Data::Plain(plain) => Some(ListpackEntry::Str(plain)),
            Data::Lzf(_) => None,
        }
    }

    /// The last element. `None` as for `front`.
    pub(super) fn back(&self) -> Option<ListpackEntry<'_>> {
        match &self.data {
            Data::Packed(packed) => packed.view().get(packed.view().last()?),
            Data::Plain(plain) => Some(ListpackEntry::Str(plain)),
            Data::Lzf(_) => None,
        }
    }

    pub(super) fn push_front(&mut self, value: &[u8]) {
        let entry = Encoded::new(ListpackEntry::Str(value));
        self.with_packed(1, |packed| packed.push_front(&entry));
    }

    pub(super) fn push_back(&mut self, value: &[u8]) {
        let entry = Encoded::new(ListpackEntry::Str(value));
        self.with_packed(1, |packed| packed.push_back(&entry));
    }

    pub(super) fn pop_front(&mut self) {
        self.with_packed(-1, GappedListpack::pop_front);
    }

    pub(super) fn pop_back(&mut self) {
        self.with_packed(-1, GappedListpack::pop_back);
    }

    pub(super) fn insert(&mut self, index: usize, value: &[u8]) {
        self.edit(|listpack| match listpack.seek(index as isize) {
            Some(pos) => listpack.insert_before(pos, value).is_some(),
            None => listpack.push_back(value),
        });
    }

    pub(super) fn replace(&mut self, index: usize, value: &[u8]) -> bool {
        let replaced = self.edit(|listpack| {
            let pos = listpack.seek(index as isize);
            pos.is_some_and(|pos| listpack.safe_to_add(value.len()) && listpack.replace(pos, value))
        });
        replaced.unwrap_or(false)
    }

    pub(super) fn delete_range(&mut self, index: usize, count: usize) {
        self.edit(|listpack| listpack.delete_range(index as isize, count));
    }

    /// Takes the elements from `index` on off into a node of their own.
    pub(super) fn split_off(&mut self, index: usize) -> Self {
        let rest = self.edit(|listpack| {
            let mut rest = listpack.clone();
            rest.delete_range(0, index);
            rest.shrink();
            listpack.delete_range(index as isize, usize::MAX);
            listpack.shrink();
            rest
        });
        Node::from(rest.unwrap_or_default())
    }

    /// Adds the elements of `other` at the back.
    pub(super) fn merge(&mut self, other: ListpackRef<'_>) {
        self.edit(|listpack| listpack.merge(other));
    }

    /// Whether there is an element equal to `value`.
    pub(super) fn contains(&self, value: &Needle<'_>) -> bool {
        let raw = self.raw();
        match self.container() {
            Container::Plain => raw[..] == *value.text,
            Container::Packed => {
                ListpackRef::trusted(&raw).iter().any(|entry| value.matches(entry))
            }
        }
    }

    /// Removes elements equal to `value`, at most `limit`, the first or (with `backward`) the last
    /// of them. Returns how many. May leave the node without elements.
    pub(super) fn remove(&mut self, value: &Needle<'_>, limit: usize, backward: bool) -> usize {
        let raw = self.raw();
        if self.container() == Container::Plain {
            let equal = limit > 0 && raw[..] == *value.text;
            self.count -= usize::from(equal);
            return usize::from(equal);
        }
        let mut entries = ListpackRef::trusted(&raw).iter();
        let mut found = Vec::new();
        while let (Some(pos), Some(entry)) = (entries.pos(), entries.next()) {
            if value.matches(entry) {
                found.push(pos);
            }
        }
        if backward {
            found.drain(..found.len().saturating_sub(limit));
        } else {
            found.truncate(limit);
        }
        drop(raw);
        if !found.is_empty() {
            self.edit(|listpack| listpack.delete_many(&found));
        }
        found.len()
    }

    /// Gives back memory kept for growing.
    pub(super) fn seal(&mut self) {
        if let Data::Packed(packed) = &mut self.data {
            packed.seal();
        }
    }

    /// Compresses the node where that saves memory.
    pub(super) fn compress(&mut self) {
        let raw_len = self.bytes();
        if matches!(self.data, Data::Lzf(_)) || raw_len < MIN_COMPRESS_BYTES {
            return;
        }
        let mut compressed = Vec::new();
        if lzf::compress(&self.raw(), &mut compressed)
            && compressed.len() + MIN_COMPRESS_IMPROVE < raw_len
        {
            let compressed = compressed.into_boxed_slice();
            self.data =
                Data::Lzf(Box::new(Lzf { container: self.container(), raw_len, compressed }));
        }
    }

    /// Decompresses the node; returns whether it was compressed.
    pub(super) fn decompress(&mut self) -> bool {
        let Data::Lzf(lzf) = &self.data else {
            return false;
        };
        let raw = lzf.decompress();
        self.data = match lzf.container {
            Container::Plain => Data::Plain(raw),
            Container::Packed => Data::Packed(Listpack::trusted(raw).into()),
        };
        true
    }

    /// Changes the listpack, decompressed meanwhile. `None` for a plain node.
    fn edit<R>(&mut self, change: impl FnOnce(&mut Listpack) -> R) -> Option<R> {
        let recompress = self.decompress();
        let Data::Packed(packed) = &mut self.data else {
            return None;
        };
        let result = packed.edit(change);
        self.count = packed.view().len();
        if recompress {
            self.compress();
        }
        Some(result)
    }

    /// A change at an end, by `added` elements; no-op on a plain node.
    #[inline]
    fn with_packed(&mut self, added: isize, change: impl FnOnce(&mut GappedListpack)) {
        let recompress = self.decompress();
        let Data::Packed(packed) = &mut self.data else {
            return;
        };
        change(packed);
        self.count = self.count.saturating_add_signed(added);
        if recompress {
            self.compress();
        }
    }
}

impl Lzf {
    fn decompress(&self) -> Vec<u8> {
        lzf::decompress(&self.compressed, self.raw_len).expect("what this process has compressed")
    }
}

/// A value to look for, parsed once.
pub struct Needle<'a> {
    text: &'a [u8],
    int: Option<i64>,
}

impl<'a> Needle<'a> {
    /// The value with this text.
    pub fn new(text: &'a [u8]) -> Self {
        Needle { text, int: ListpackEntry::Str(text).as_int() }
    }

    /// Whether an element has this value's text.
    #[inline]
    pub fn matches(&self, entry: ListpackEntry<'_>) -> bool {
        match entry {
            ListpackEntry::Str(s) => s == self.text,
            ListpackEntry::Int(v) => self.int == Some(v),
        }
    }
}
