//! A listpack: a list of byte strings and integers in one piece of memory, byte for byte the format
//! of Redis.
//!
//! ```text
//! <total bytes: u32 LE> <number of entries: u16 LE> <entry> … <entry> <0xff>
//! ```
//!
//! Small lists, hashes, sets and sorted sets are one listpack each, and so are the nodes of a
//! [quicklist]. Because the bytes are those of RDB files and `DUMP`, saving is a copy, and loading
//! is a check and a move.
//!
//! [`codec`] knows one entry, [`view`] reads; this file owns the bytes and changes them. Every
//! change is one splice: bytes out at a place, an encoded entry in.
//!
//! [quicklist]: crate::ds::quicklist

pub(crate) mod codec;
pub(crate) mod view;

pub use codec::{INT_TEXT_MAX, ListpackEntry, parse_int};
pub use view::{Iter, ListpackRef, Pos};

use codec::{EOF, Encoded};
use view::{COUNT_UNKNOWN, HEADER};

use crate::util::alloc::relocate::Relocator;
use crate::util::alloc::size_class;

/// A collection must not let a listpack outgrow this, see [`Listpack::safe_to_add`]; far below what
/// the 32-bit header field can state.
pub const SAFETY_LIMIT: usize = 1 << 30;

/// An owned listpack.
///
/// Writes keep its allocation at a size class of the usual allocators, so growing is cheap and yet
/// costs no memory that an exact fit would not cost too.
#[derive(Clone, PartialEq, Eq)]
pub struct Listpack(Vec<u8>);

impl Default for Listpack {
    fn default() -> Self {
        Self::new()
    }
}

impl std::fmt::Debug for Listpack {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

impl Listpack {
    /// An empty listpack.
    pub fn new() -> Self {
        Self::with_capacity(0)
    }

    /// An empty listpack with room for `bytes` bytes in all.
    pub fn with_capacity(bytes: usize) -> Self {
        let mut buf = Vec::with_capacity(bytes.max(HEADER + 1));
        buf.extend_from_slice(&[0, 0, 0, 0, 0, 0, EOF]);
        let mut listpack = Listpack(buf);
        listpack.set_header(0);
        listpack
    }

    /// Takes `bytes` that came from outside. The header and the end mark are always checked; with
    /// `deep` also each entry, each backlen and the count, in one pass. `None` if they are wrong.
    ///
    /// What was not checked deeply may read as a shorter list than its header says, but never
    /// panics.
    pub fn from_bytes(bytes: Vec<u8>, deep: bool) -> Option<Self> {
        ListpackRef::from_bytes(&bytes, deep)?;
        let mut listpack = Listpack(bytes);
        listpack.shrink();
        Some(listpack)
    }

    /// Takes bytes that are known to be a listpack.
    pub(crate) fn trusted(bytes: Vec<u8>) -> Self {
        Listpack(bytes)
    }

    /// Copies the listpack that `view` shows.
    pub fn from_view(view: ListpackRef<'_>) -> Self {
        Listpack(view.as_bytes().to_vec())
    }

    /// The bytes, given away.
    pub fn into_bytes(self) -> Vec<u8> {
        self.0
    }

    /// The whole listpack, header and end mark included.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Size of the whole listpack in bytes.
    pub fn bytes(&self) -> usize {
        self.0.len()
    }

    /// Bytes of memory held, unused ones included, without the struct itself.
    pub fn heap_bytes(&self) -> usize {
        self.0.capacity()
    }

    /// Shows its allocation to the relocator.
    pub fn relocate(&mut self, relocator: &mut Relocator) {
        relocator.vec(&mut self.0);
    }

    /// Gives back memory that is not in use.
    pub fn shrink(&mut self) {
        self.0.shrink_to_fit();
    }

    /// May `add` more bytes be added without outgrowing [`SAFETY_LIMIT`]?
    pub fn safe_to_add(&self, add: usize) -> bool {
        self.bytes().saturating_add(add) <= SAFETY_LIMIT
    }

    /// Bytes that `value` takes as an entry.
    pub fn entry_bytes<'v>(value: impl Into<ListpackEntry<'v>>) -> usize {
        Encoded::new(value.into()).entry_len()
    }

    /// Size in bytes of a listpack of `count` entries that are all the integer `value`.
    pub fn estimate(value: i64, count: usize) -> usize {
        Self::entry_bytes(value).saturating_mul(count).saturating_add(HEADER + 1)
    }

    /// A view for reading, which may be copied and outlives this borrow's uses.
    #[inline]
    pub fn view(&self) -> ListpackRef<'_> {
        ListpackRef::trusted(&self.0)
    }

    /// See [`ListpackRef::len`].
    pub fn len(&self) -> usize {
        self.view().len()
    }

    /// Whether there is no entry.
    pub fn is_empty(&self) -> bool {
        self.view().is_empty()
    }

    /// See [`ListpackRef::first`].
    pub fn first(&self) -> Option<Pos> {
        self.view().first()
    }

    /// See [`ListpackRef::last`].
    pub fn last(&self) -> Option<Pos> {
        self.view().last()
    }

    /// See [`ListpackRef::next`].
    pub fn next(&self, pos: Pos) -> Option<Pos> {
        self.view().next(pos)
    }

    /// See [`ListpackRef::prev`].
    pub fn prev(&self, pos: Pos) -> Option<Pos> {
        self.view().prev(pos)
    }

    /// See [`ListpackRef::get`].
    pub fn get(&self, pos: Pos) -> Option<ListpackEntry<'_>> {
        self.view().get(pos)
    }

    /// See [`ListpackRef::seek`].
    pub fn seek(&self, index: isize) -> Option<Pos> {
        self.view().seek(index)
    }

    /// See [`ListpackRef::find`].
    pub fn find(&self, value: &[u8], from: Pos, skip: usize) -> Option<Pos> {
        self.view().find(value, from, skip)
    }

    /// See [`ListpackRef::iter`].
    pub fn iter(&self) -> Iter<'_> {
        self.view().iter()
    }

    /// See [`ListpackRef::pairs`].
    pub fn pairs(&self) -> impl Iterator<Item = (ListpackEntry<'_>, ListpackEntry<'_>)> {
        self.view().pairs()
    }

    /// Adds `value` at the back. `false`, and no change, if the total length could no longer be
    /// stated.
    pub fn push_back<'v>(&mut self, value: impl Into<ListpackEntry<'v>>) -> bool {
        self.splice(self.view().end(), 0, 0, Some(&Encoded::new(value.into())))
    }

    /// Adds `value` at the front. `false` as for [`push_back`](Self::push_back).
    pub fn push_front<'v>(&mut self, value: impl Into<ListpackEntry<'v>>) -> bool {
        self.splice(HEADER, 0, 0, Some(&Encoded::new(value.into())))
    }

    /// Inserts `value` before the entry at `pos`, and returns its position: `pos`. `None`, and no
    /// change, if `pos` is no entry or the total length could no longer be stated.
    pub fn insert_before<'v>(
        &mut self,
        pos: Pos,
        value: impl Into<ListpackEntry<'v>>,
    ) -> Option<Pos> {
        self.end_of(pos)?;
        self.splice(pos.offset(), 0, 0, Some(&Encoded::new(value.into()))).then_some(pos)
    }

    /// Inserts `value` after the entry at `pos`, and returns its position. `None` as for
    /// [`insert_before`](Self::insert_before).
    pub fn insert_after<'v>(
        &mut self,
        pos: Pos,
        value: impl Into<ListpackEntry<'v>>,
    ) -> Option<Pos> {
        let at = self.end_of(pos)?;
        self.splice(at, 0, 0, Some(&Encoded::new(value.into()))).then(|| Pos::new(at))
    }

    /// Puts `value` in the place of the entry at `pos`. `false` as for
    /// [`insert_before`](Self::insert_before).
    pub fn replace<'v>(&mut self, pos: Pos, value: impl Into<ListpackEntry<'v>>) -> bool {
        match self.end_of(pos) {
            Some(end) => {
                self.splice(pos.offset(), end - pos.offset(), 1, Some(&Encoded::new(value.into())))
            }
            None => false,
        }
    }

    /// Removes the entry at `pos`, and returns the position of what followed it.
    pub fn delete(&mut self, pos: Pos) -> Option<Pos> {
        self.delete_from(pos, 1)
    }

    /// Removes up to `count` entries from the one at `pos` on, and returns the position of what
    /// followed them.
    pub fn delete_from(&mut self, pos: Pos, count: usize) -> Option<Pos> {
        let mut end = pos.offset();
        let mut removed = 0;
        while removed < count {
            match self.end_of(Pos::new(end)) {
                Some(next) => end = next,
                None => break,
            }
            removed += 1;
        }
        if removed > 0 {
            self.splice(pos.offset(), end - pos.offset(), removed, None);
        }
        (pos.offset() < self.view().end()).then_some(pos)
    }

    /// Removes up to `count` entries from entry `index` on (negative: counted from the back).
    pub fn delete_range(&mut self, index: isize, count: usize) {
        if let Some(pos) = self.seek(index) {
            self.delete_from(pos, count);
        }
    }

    /// Removes the entries at `positions`, which must be in the listpack's order, moving every kept
    /// byte once.
    pub fn delete_many(&mut self, positions: &[Pos]) {
        let Some(first) = positions.first() else {
            return;
        };
        let (total, end) = (self.0.len(), self.view().end());
        let mut to = first.offset();
        for (i, &pos) in positions.iter().enumerate() {
            let keep_end = positions.get(i + 1).map_or(total, |next| next.offset());
            // In corrupt bytes an entry may seem to reach into the next.
            let keep = self.end_of(pos).unwrap_or(end).min(keep_end);
            self.0.copy_within(keep..keep_end, to);
            to += keep_end - keep;
        }
        self.truncate(to);
        let removed = positions.len();
        self.set_header(view::recount(self.view().header_count(), 0, removed));
    }

    /// Adds the entries of `other` at the back. `false`, and no change, if the total length could
    /// no longer be stated.
    pub fn merge(&mut self, other: ListpackRef<'_>) -> bool {
        let entries = &other.as_bytes()[HEADER..other.end()];
        if self.0.len() + entries.len() > u32::MAX as usize {
            return false;
        }
        let count = self.len() + other.len();
        self.reserve(entries.len());
        self.0.pop();
        self.0.extend_from_slice(entries);
        self.0.push(EOF);
        self.set_header(u16::try_from(count).unwrap_or(COUNT_UNKNOWN));
        true
    }

    /// Offset of what follows the entry at `pos`. `None` if `pos` is no entry.
    fn end_of(&self, pos: Pos) -> Option<usize> {
        codec::skip(&self.0, pos.offset())
            .filter(|&end| pos.offset() >= HEADER && end <= self.view().end())
    }

    /// Puts `new` in the place of `old_len` bytes, which are `old_count` entries, at offset `at`.
    fn splice(
        &mut self,
        at: usize,
        old_len: usize,
        old_count: usize,
        new: Option<&Encoded<'_>>,
    ) -> bool {
        let new_len = new.map_or(0, Encoded::entry_len);
        let old_total = self.0.len();
        let total = old_total - old_len + new_len;
        if total > u32::MAX as usize {
            return false;
        }
        let tail = at + old_len..old_total;
        if total > old_total {
            self.reserve(total - old_total);
            self.0.resize(total, EOF);
        }
        self.0.copy_within(tail, at + new_len);
        if let Some(new) = new {
            new.write(&mut self.0[at..at + new_len]);
        }
        if total < old_total {
            self.truncate(total);
        }
        let count =
            view::recount(self.view().header_count(), usize::from(new.is_some()), old_count);
        self.set_header(count);
        true
    }

    /// Makes room for `extra` more bytes.
    #[inline]
    fn reserve(&mut self, extra: usize) {
        if self.0.capacity() - self.0.len() < extra {
            self.0.reserve_exact(size_class(self.0.len() + extra) - self.0.len());
        }
    }

    fn truncate(&mut self, total: usize) {
        self.0.truncate(total);
        // Only when half is unused, or a list that shrinks entry by entry would be copied each
        // time.
        if total <= self.0.capacity() / 2 {
            self.0.shrink_to(size_class(total));
        }
    }

    fn set_header(&mut self, count: u16) {
        view::write_header(&mut self.0, count);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn from_hex(hex: &str) -> Vec<u8> {
        (0..hex.len()).step_by(2).map(|i| u8::from_str_radix(&hex[i..i + 2], 16).unwrap()).collect()
    }

    fn texts(listpack: &Listpack) -> Vec<Vec<u8>> {
        listpack.iter().map(|entry| entry.to_vec()).collect()
    }

    fn filled<T: AsRef<[u8]>>(values: impl IntoIterator<Item = T>) -> Listpack {
        let mut listpack = Listpack::new();
        for value in values {
            assert!(listpack.push_back(value.as_ref()));
        }
        listpack
    }

    /// The bytes that Redis 7.0.15 has in the payload of DUMP for a list of these values.
    #[test]
    fn bytes_are_those_of_redis() {
        let (x, y) = ("x".repeat(63), "y".repeat(64));
        #[rustfmt::skip]
        let values = [
            "a", "127", "128", "-1", "4095", "-4096", "4096", "-32768", "32767", "32768",
            "-8388608", "8388607", "8388608", "-2147483648", "2147483647", "2147483648",
            "-9223372036854775808", "9223372036854775807", "9223372036854775808",
            "", "007", "-0", "+1", &x, &y,
        ];
        let expected = "0b010000".to_string()
            + "19008161027f01c08002dfff02cfff02d00002f1001003f1008003f1ff7f03f200800004f2000080"
            + "04f2ffff7f04f30000800005"
            + "f30000008005f3ffffff7f05f4000000800000000009f4000000000000008009f4ffffffffffffff"
            + "7f099339323233333732"
            + "30333638353437373538303814800183303037"
            + "04822d3003822b3103bf"
            + &"78".repeat(63)
            + "40e040"
            + &"79".repeat(64)
            + "42ff";
        let listpack = filled(values);
        assert_eq!(listpack.as_bytes(), from_hex(&expected));
        assert_eq!(texts(&listpack), values.map(|v| v.as_bytes().to_vec()));

        let mut prepended = Listpack::new();
        values.iter().rev().for_each(|v| assert!(prepended.push_front(v.as_bytes())));
        assert_eq!(prepended, listpack);

        let hash = filled(["field", "value", "n", "12", "13", "x"]);
        let expected = "1f0000000600856669656c64068576616c756506816e020c010d01817802ff";
        assert_eq!(hash.as_bytes(), from_hex(expected));

        let sorted_set = filled(["c", "-3", "a", "1", "b", "2.5"]);
        let expected = "1a0000000600816302dffd02816102010181620283322e3504ff";
        assert_eq!(sorted_set.as_bytes(), from_hex(expected));

        // This one is of Valkey 9.1: Redis 7.0 has no sets that are listpacks.
        let set = filled(["a", "1", "bb"]);
        assert_eq!(set.as_bytes(), from_hex("100000000300816102010182626203ff"));
    }

    #[test]
    fn long_strings() {
        let (w, v) = (filled([[b'w'; 4096]]), filled([[b'v'; 4095]]));
        assert_eq!(w.as_bytes()[..11], from_hex("0e1000000100f000100000"));
        assert_eq!(w.as_bytes()[11 + 4096..], from_hex("2085ff"));
        assert_eq!(v.as_bytes()[..8], from_hex("0a1000000100efff"));
        assert_eq!(v.as_bytes()[8 + 4095..], from_hex("2081ff"));
    }

    #[test]
    fn backlens_at_their_steps() {
        for len in [
            125, 126, 127, 16_376, 16_377, 16_378, 16_379, 2_097_144, 2_097_145, 2_097_146,
            2_097_147,
        ] {
            let long = vec![b'z'; len];
            let mut listpack = filled([b"a".as_slice(), &long, b"5"]);
            assert!(Listpack::from_bytes(listpack.as_bytes().to_vec(), true).is_some(), "{len}");
            let middle = listpack.prev(listpack.last().unwrap()).unwrap();
            assert_eq!(listpack.get(middle), Some(ListpackEntry::Str(&long)));
            assert_eq!(listpack.prev(middle), listpack.first());
            listpack.delete(middle);
            assert_eq!(listpack, filled(["a", "5"]));
        }
    }

    #[test]
    fn integers_parse_only_from_their_own_text() {
        for v in [0, 1, -1, 9, 10, -10, i64::MAX, i64::MIN, i64::MAX - 1, i64::MIN + 1] {
            assert_eq!(parse_int(v.to_string().as_bytes()), Some(v));
        }
        #[rustfmt::skip]
        let refused = [
            "", "-", "-0", "00", "01", "+1", " 1", "1 ", "1a", "--1",
            "9223372036854775808", "-9223372036854775809",
            "99999999999999999999", "18446744073709551616", "123456789012345678901",
        ];
        for s in refused {
            assert_eq!(parse_int(s.as_bytes()), None, "{s}");
        }
    }

    #[test]
    fn more_entries_than_the_header_can_count() {
        let mut listpack = Listpack::new();
        for i in 0..70_000 {
            assert!(listpack.push_back(i % 128));
            assert_eq!(listpack.view().header_count(), (i + 1).min(65_535) as u16);
        }
        assert_eq!(listpack.len(), 70_000);
        assert_eq!(
            listpack.get(listpack.seek(69_999).unwrap()),
            Some(ListpackEntry::Int(69_999 % 128))
        );
        assert_eq!(listpack.get(listpack.seek(-70_000).unwrap()), Some(ListpackEntry::Int(0)));
        assert_eq!(listpack.seek(70_000), None);
        assert_eq!(listpack.seek(-70_001), None);
        listpack.delete_range(10, 69_000);
        assert_eq!(listpack.len(), 1_000);
        assert!(Listpack::from_bytes(listpack.into_bytes(), true).is_some());
    }

    #[test]
    fn find_compares_values_not_encodings() {
        // "12" as a string and 5 as 16 bits: no writer does so, but a reader accepts it.
        let odd = from_hex("120000000300 823132 03 f10500 03 8161 02 ff".replace(' ', "").as_str());
        let listpack = Listpack::from_bytes(odd, true).unwrap();
        let first = listpack.first().unwrap();
        assert_eq!(listpack.find(b"12", first, 0), Some(first));
        assert_eq!(listpack.find(b"5", first, 0), listpack.next(first));
        assert_eq!(listpack.find(b"a", first, 0), listpack.last());
        assert_eq!(listpack.find(b"a", first, 1), listpack.last());
        assert_eq!(listpack.find(b"5", first, 1), None);
    }

    #[test]
    fn estimate_is_exact() {
        for v in [0, 127, -1, 5000, -40_000, 9_000_000, i64::MAX] {
            let mut listpack = Listpack::new();
            (0..10).for_each(|_| assert!(listpack.push_back(v)));
            assert_eq!(listpack.bytes(), Listpack::estimate(v, 10));
        }
        assert!(listpack_limit(SAFETY_LIMIT - 7));
        assert!(!listpack_limit(SAFETY_LIMIT - 6));
        assert!(!listpack_limit(usize::MAX));
    }

    fn listpack_limit(add: usize) -> bool {
        Listpack::new().safe_to_add(add)
    }

    #[test]
    fn memory_follows_the_content() {
        let mut listpack = Listpack::new();
        for i in 0..500i64 {
            listpack.push_back(format!("value:{i}").as_bytes());
            assert!(listpack.heap_bytes() <= size_class(listpack.bytes()));
        }
        while listpack.delete_from(listpack.first().unwrap(), 1).is_some() {
            assert!(
                listpack.heap_bytes() <= size_class(listpack.bytes()).max(2 * listpack.bytes())
            );
        }
        assert_eq!(listpack, Listpack::new());
    }

    /// Reads everything in every way; what matters is that it ends.
    fn read_all(listpack: &mut Listpack) {
        let forward = listpack.iter().count();
        let backward = listpack.iter().rev().count();
        std::hint::black_box((forward, backward, listpack.len(), listpack.pairs().count()));
        for offset in 0..listpack.bytes() + 2 {
            let pos = Pos::new(offset);
            listpack.get(pos);
            listpack.next(pos);
            listpack.prev(pos);
            listpack.find(b"12", pos, offset % 3);
            listpack.view().iter_from(pos).count();
            listpack.view().iter_to(pos).rev().count();
        }
        for index in -5..5 {
            listpack.seek(index);
        }
        for offset in (0..listpack.bytes() + 9).rev() {
            let mut changed = listpack.clone();
            changed.insert_after(Pos::new(offset), b"x");
            changed.replace(Pos::new(offset), 7);
            changed.delete_from(Pos::new(offset), 3);
        }
    }

    fn value() -> impl Strategy<Value = Vec<u8>> {
        prop_oneof![
            4 => prop::collection::vec(any::<u8>(), 0..20),
            4 => any::<i64>().prop_map(|v| (v >> (v & 63)).to_string().into_bytes()),
            2 => prop::sample::select(&["0", "1", "a", "007", ""][..]).prop_map(|s| s.into()),
            1 => (0usize..5000, any::<u8>()).prop_map(|(len, byte)| vec![byte; len]),
        ]
    }

    #[derive(Debug, Clone)]
    enum Op {
        PushBack(Vec<u8>),
        PushFront(Vec<u8>),
        Before(usize, Vec<u8>),
        After(usize, Vec<u8>),
        Replace(usize, Vec<u8>),
        Delete(usize),
        DeleteRange(usize, usize),
        DeleteMany(u64),
        Merge(Vec<Vec<u8>>),
    }

    fn op() -> impl Strategy<Value = Op> {
        prop_oneof![
            3 => value().prop_map(Op::PushBack),
            3 => value().prop_map(Op::PushFront),
            2 => (any::<usize>(), value()).prop_map(|(i, v)| Op::Before(i, v)),
            2 => (any::<usize>(), value()).prop_map(|(i, v)| Op::After(i, v)),
            2 => (any::<usize>(), value()).prop_map(|(i, v)| Op::Replace(i, v)),
            2 => any::<usize>().prop_map(Op::Delete),
            1 => (any::<usize>(), 0usize..4).prop_map(|(i, n)| Op::DeleteRange(i, n)),
            1 => any::<u64>().prop_map(Op::DeleteMany),
            1 => prop::collection::vec(value(), 0..4).prop_map(Op::Merge),
        ]
    }

    proptest! {
        #[test]
        fn behaves_as_a_vec(ops in prop::collection::vec(op(), 0..40)) {
            let mut listpack = Listpack::new();
            let mut model: Vec<Vec<u8>> = Vec::new();
            for op in ops {
                let len = model.len();
                let at = |i: usize| i % len.max(1);
                let pos = |i: usize| listpack.seek(at(i) as isize);
                match op {
                    Op::PushBack(v) => { listpack.push_back(&v); model.push(v) }
                    Op::PushFront(v) => { listpack.push_front(&v); model.insert(0, v) }
                    Op::Merge(vs) => { listpack.merge(filled(&vs).view()); model.extend(vs) }
                    Op::DeleteMany(mask) => {
                        let picked = |i: usize| mask >> (i % 64) & 1 == 1;
                        let all = std::iter::successors(listpack.first(), |&p| listpack.next(p));
                        let picks = all.enumerate().filter(|&(i, _)| picked(i)).map(|(_, p)| p);
                        let picks: Vec<_> = picks.collect();
                        listpack.delete_many(&picks);
                        let mut i = 0..;
                        model.retain(|_| !picked(i.next().unwrap()));
                    }
                    _ if len == 0 => {}
                    Op::Before(i, v) => {
                        let pos = listpack.insert_before(pos(i).unwrap(), &v).unwrap();
                        prop_assert!(listpack.get(pos).unwrap().eq_bytes(&v));
                        model.insert(at(i), v);
                    }
                    Op::After(i, v) => {
                        let pos = listpack.insert_after(pos(i).unwrap(), &v).unwrap();
                        prop_assert!(listpack.get(pos).unwrap().eq_bytes(&v));
                        model.insert(at(i) + 1, v);
                    }
                    Op::Replace(i, v) => { listpack.replace(pos(i).unwrap(), &v); model[at(i)] = v }
                    Op::Delete(i) => {
                        let next = listpack.delete(pos(i).unwrap());
                        model.remove(at(i));
                        let next = next.map(|p| listpack.get(p).unwrap().to_vec());
                        prop_assert_eq!(next.as_ref(), model.get(at(i)));
                    }
                    Op::DeleteRange(i, n) => {
                        listpack.delete_range(at(i) as isize - len as isize, n);
                        model.drain(at(i)..(at(i) + n).min(len));
                    }
                }
                prop_assert_eq!(texts(&listpack), model.clone());
                prop_assert!(ListpackRef::from_bytes(listpack.as_bytes(), true).is_some());
            }
            prop_assert_eq!(&listpack, &filled(&model));
            prop_assert_eq!(listpack.len(), model.len());
            let mut backward: Vec<_> = listpack.iter().rev().map(|e| e.to_vec()).collect();
            backward.reverse();
            prop_assert_eq!(&backward, &model);
            for (i, v) in model.iter().enumerate() {
                let pos = listpack.seek(i as isize).unwrap();
                prop_assert_eq!(listpack.seek(i as isize - model.len() as isize), Some(pos));
                prop_assert_eq!(listpack.view().iter_from(pos).count(), model.len() - i);
                prop_assert_eq!(listpack.view().iter_to(pos).rev().count(), i + 1);
                let entry = listpack.get(pos).unwrap();
                prop_assert!(entry.eq_bytes(v));
                prop_assert_eq!(entry.text_len(), v.len());
                let first = listpack.first().unwrap();
                for skip in 0..3 {
                    let step = skip + 1;
                    let expected = model.iter().step_by(step).position(|m| m == v);
                    let expected = expected.and_then(|n| listpack.seek((n * step) as isize));
                    prop_assert_eq!(listpack.find(v, first, skip), expected);
                }
            }
        }

        #[test]
        fn hostile_bytes_never_panic(
            values in prop::collection::vec(value(), 0..6),
            noise in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
        ) {
            let mut bytes = filled(&values).into_bytes();
            bytes.truncate(600);
            for (index, byte) in noise {
                let len = bytes.len();
                bytes[index.index(len)] = byte;
            }
            if let Some(mut listpack) = Listpack::from_bytes(bytes.clone(), true) {
                prop_assert_eq!(listpack.iter().count(), listpack.len());
                prop_assert_eq!(listpack.iter().rev().count(), listpack.len());
                read_all(&mut listpack);
            }
            // The same with a header that agrees, so that the check of the entries is what has to
            // refuse.
            let total = bytes.len() as u32;
            bytes[..4].copy_from_slice(&total.to_le_bytes());
            *bytes.last_mut().unwrap() = EOF;
            if let Some(mut listpack) = Listpack::from_bytes(bytes.clone(), false) {
                read_all(&mut listpack);
            }
            Listpack::from_bytes(bytes, true);
        }

        #[test]
        fn random_bytes_never_panic(mut bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            Listpack::from_bytes(bytes.clone(), true);
            bytes.splice(0..0, [0; HEADER]);
            bytes.push(EOF);
            let total = bytes.len() as u32;
            bytes[..4].copy_from_slice(&total.to_le_bytes());
            Listpack::from_bytes(bytes.clone(), true);
            read_all(&mut Listpack::from_bytes(bytes, false).unwrap());
        }
    }
}
