//! Reading a listpack: a borrowed view of its bytes, its positions and its iterator.
//!
//! Bytes that were checked in their header only may be corrupt inside. No read panics on them: a
//! walk simply ends where no entry can be decoded.

use super::codec::{self, EOF, ListpackEntry};
use std::iter::FusedIterator;

/// Bytes of total length (u32 LE) and number of entries (u16 LE) in front of the entries.
pub(crate) const HEADER: usize = 6;

/// Value of the header's count field when there are too many entries to count in it.
pub(crate) const COUNT_UNKNOWN: u16 = u16::MAX;

/// Writes the header of the listpack that `listpack` will be: its own length, and `count`.
pub(crate) fn write_header(listpack: &mut [u8], count: u16) {
    // Writes that would make a listpack too long for the field are refused before they get here.
    let total = listpack.len() as u32;
    listpack[..4].copy_from_slice(&total.to_le_bytes());
    listpack[4..HEADER].copy_from_slice(&count.to_le_bytes());
}

/// The header's count after a change. Once it is unknown, it stays so.
pub(crate) fn recount(count: u16, added: usize, removed: usize) -> u16 {
    if count == COUNT_UNKNOWN {
        return COUNT_UNKNOWN;
    }
    let count = (usize::from(count) + added).saturating_sub(removed);
    count.try_into().unwrap_or(COUNT_UNKNOWN)
}

/// Where an entry starts: its byte offset. Any change of the listpack at or before it makes it
/// meaningless (though never dangerous).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Pos(pub(crate) u32);

impl Pos {
    pub(crate) fn new(offset: usize) -> Self {
        // A listpack's length fits its 32-bit header field, so an offset in it does.
        Pos(offset as u32)
    }

    /// Byte offset from the listpack's start.
    pub fn offset(self) -> usize {
        self.0 as usize
    }
}

/// A borrowed listpack. Entries got from it live as long as the bytes, not only as long as the
/// view.
#[derive(Debug, Clone, Copy)]
pub struct ListpackRef<'a>(&'a [u8]);

impl<'a> ListpackRef<'a> {
    /// A view of `bytes`, if they are a listpack: header and end mark, and with `deep` each entry,
    /// each backlen and the count.
    pub fn from_bytes(bytes: &'a [u8], deep: bool) -> Option<Self> {
        let total = u32::from_le_bytes(*bytes.first_chunk()?);
        if bytes.len() <= HEADER || total as usize != bytes.len() || bytes.last() != Some(&EOF) {
            return None;
        }
        let view = ListpackRef(bytes);
        (!deep || view.entries_are_valid()).then_some(view)
    }

    /// A view of bytes that are known to be a listpack.
    pub(crate) fn trusted(bytes: &'a [u8]) -> Self {
        ListpackRef(bytes)
    }

    fn entries_are_valid(self) -> bool {
        let end = self.end();
        let mut at = HEADER;
        let mut count = 0;
        while at < end {
            let Some((_, len)) = codec::decode(self.0, at) else {
                return false;
            };
            let next = at + codec::with_backlen(len);
            if next > end || codec::entry_before(self.0, next) != Some(at) {
                return false;
            }
            at = next;
            count += 1;
        }
        at == end
            && (self.header_count() == COUNT_UNKNOWN || usize::from(self.header_count()) == count)
    }

    /// The whole listpack, header and end mark included.
    pub fn as_bytes(self) -> &'a [u8] {
        self.0
    }

    /// Offset of the end mark.
    pub(crate) fn end(self) -> usize {
        self.0.len().saturating_sub(1)
    }

    pub(crate) fn header_count(self) -> u16 {
        u16::from_le_bytes([self.0[4], self.0[5]])
    }

    /// Number of entries. Constant time up to 65534 of them; beyond, the header does not know and
    /// they are counted.
    pub fn len(self) -> usize {
        match self.header_count() {
            COUNT_UNKNOWN => self.iter().count(),
            count => usize::from(count),
        }
    }

    /// Whether there is no entry.
    pub fn is_empty(self) -> bool {
        self.0.len() <= HEADER + 1
    }

    /// The entry at `pos`. `None` if `pos` is no entry.
    #[inline]
    pub fn get(self, pos: Pos) -> Option<ListpackEntry<'a>> {
        codec::decode(self.0, pos.offset()).map(|(entry, _)| entry)
    }

    /// `offset` as a position, unless the end mark (or nothing) is there.
    #[inline]
    fn entry_at(self, offset: usize) -> Option<Pos> {
        (offset < self.end()).then(|| Pos::new(offset))
    }

    /// The first entry's position.
    #[inline]
    pub fn first(self) -> Option<Pos> {
        self.entry_at(HEADER)
    }

    /// The last entry's position.
    #[inline]
    pub fn last(self) -> Option<Pos> {
        self.before(self.end())
    }

    /// The position after `pos`.
    #[inline]
    pub fn next(self, pos: Pos) -> Option<Pos> {
        self.entry_at(codec::skip(self.0, pos.offset())?)
    }

    /// The position before `pos`.
    #[inline]
    pub fn prev(self, pos: Pos) -> Option<Pos> {
        self.before(pos.offset())
    }

    #[inline]
    fn before(self, offset: usize) -> Option<Pos> {
        if offset <= HEADER {
            return None;
        }
        codec::entry_before(self.0, offset).filter(|&start| start >= HEADER).map(Pos::new)
    }

    /// The position of entry `index`, counted from 0 at the front or from -1 at the back; walks
    /// from the nearer end.
    pub fn seek(self, index: isize) -> Option<Pos> {
        let mut from_front = index >= 0;
        let mut steps = if from_front { index as usize } else { index.unsigned_abs() - 1 };
        if self.header_count() != COUNT_UNKNOWN {
            let len = usize::from(self.header_count());
            if steps >= len {
                return None;
            }
            if steps > len / 2 {
                from_front = !from_front;
                steps = len - 1 - steps;
            }
        }
        if from_front {
            let mut at = HEADER;
            for _ in 0..steps {
                at = codec::skip(self.0, at)?;
            }
            self.entry_at(at)
        } else {
            let mut pos = self.last()?;
            for _ in 0..steps {
                pos = self.prev(pos)?;
            }
            Some(pos)
        }
    }

    /// The first entry whose text is `value`, from position `from` on, comparing one entry and then
    /// passing over `skip`. With `skip` 1 and `from` the first entry, only the fields of
    /// field-value pairs are compared.
    #[inline]
    pub fn find(self, value: &[u8], from: Pos, skip: usize) -> Option<Pos> {
        codec::find(self.0, from.offset(), value, skip).map(Pos::new)
    }

    /// Entries from front to back; reversible.
    pub fn iter(self) -> Iter<'a> {
        Iter { buf: self.0, front: HEADER, back: self.end() }
    }

    /// Entries from the one at `pos` to the last; reversible.
    pub fn iter_from(self, pos: Pos) -> Iter<'a> {
        Iter { buf: self.0, front: pos.offset(), back: self.end() }
    }

    /// Entries from the first up to and with the one at `pos`; reversed, the walk from `pos` to the
    /// front.
    pub fn iter_to(self, pos: Pos) -> Iter<'a> {
        let back = codec::skip(self.0, pos.offset()).unwrap_or(HEADER);
        Iter { buf: self.0, front: HEADER, back }
    }

    /// Two entries at a time: field and value, member and score. A last one without a partner is
    /// left out.
    pub fn pairs(self) -> impl Iterator<Item = (ListpackEntry<'a>, ListpackEntry<'a>)> {
        let mut iter = self.iter();
        std::iter::from_fn(move || Some((iter.next()?, iter.next()?)))
    }
}

/// Iterator over the entries of a listpack, from either end.
#[derive(Debug, Clone)]
pub struct Iter<'a> {
    buf: &'a [u8],
    front: usize,
    back: usize,
}

impl Iter<'_> {
    /// Where the entry is that `next` will give.
    pub fn pos(&self) -> Option<Pos> {
        (self.front < self.back).then(|| Pos::new(self.front))
    }
}

impl<'a> Iterator for Iter<'a> {
    type Item = ListpackEntry<'a>;

    #[inline]
    fn next(&mut self) -> Option<ListpackEntry<'a>> {
        if self.front >= self.back {
            return None;
        }
        match codec::decode(self.buf, self.front) {
            Some((entry, len)) => {
                self.front += codec::with_backlen(len);
                Some(entry)
            }
            None => {
                self.front = self.back;
                None
            }
        }
    }
}

impl DoubleEndedIterator for Iter<'_> {
    #[inline]
    fn next_back(&mut self) -> Option<Self::Item> {
        if self.front >= self.back {
            return None;
        }
        let start = codec::entry_before(self.buf, self.back).filter(|&start| start >= self.front);
        let entry = start.and_then(|start| codec::decode(self.buf, start));
        self.back = start.unwrap_or(self.front);
        entry.map(|(entry, _)| entry)
    }
}

impl FusedIterator for Iter<'_> {}
