//! Readers of encodings that today's servers no longer write, but that RDB files of older ones
//! hold: the ziplist (lists, hashes and sorted sets before Redis 7) and the zipmap (hashes before
//! Redis 2.6).
//!
//! Both are checked completely before anything is read from them, and are only read to be turned
//! into a [`Listpack`] or into a larger structure, element by element, without allocating.

use super::listpack::{Listpack, ListpackEntry};

const END: u8 = 0xff;

/// First byte of a length that did not fit one byte, and so follows as u32 LE.
const BIG_LEN: u8 = 0xfe;

/// A valid ziplist.
///
/// ```text
/// <total bytes: u32 LE> <offset of the last entry: u32 LE> <number of entries: u16 LE>
/// <entry> … <0xff>
///
/// entry:  <length of the entry before: u8, or 0xfe and u32 LE> <encoding> <data>
///
/// 00xxxxxx <bytes>             string of up to 63 bytes
/// 01xxxxxx xxxxxxxx <bytes>    string of up to 16383 bytes, high bits of the length first
/// 10______ <u32 BE> <bytes>    string of up to 2^32 - 1 bytes
/// 11000000, 11010000, 11100000 integer of 16, 32, 64 bits, little-endian
/// 11110000, 11111110           integer of 24, 8 bits
/// 11110001 .. 11111101         the integers 0 to 12
/// ```
#[derive(Debug, Clone, Copy)]
pub struct Ziplist<'a>(&'a [u8]);

impl<'a> Ziplist<'a> {
    const HEADER: usize = 10;

    /// A reader of `bytes`, if they are a ziplist in every respect: total length, each entry and
    /// its statement of the length before it, offset of the last entry, number of entries.
    pub fn from_bytes(bytes: &'a [u8]) -> Option<Self> {
        let total = u32::from_le_bytes(*bytes.first_chunk()?);
        let tail = u32::from_le_bytes(*bytes.get(4..)?.first_chunk()?);
        let header_count = u16::from_le_bytes(*bytes.get(8..)?.first_chunk()?);
        if bytes.len() <= Self::HEADER
            || total as usize != bytes.len()
            || bytes.last() != Some(&END)
        {
            return None;
        }
        let end = bytes.len() - 1;
        let mut at = Self::HEADER;
        let mut last = at;
        let mut last_len = 0;
        let mut count = 0;
        while at < end {
            let entry = ziplist_entry(bytes, at)?;
            if entry.previous_len != last_len || entry.end > end {
                return None;
            }
            last = at;
            last_len = entry.end - at;
            at = entry.end;
            count += 1;
        }
        // 65535 says that there are too many to count.
        let counted = header_count == u16::MAX || usize::from(header_count) == count;
        (counted && (count == 0 || tail as usize == last)).then_some(Ziplist(bytes))
    }

    /// The entries from front to back.
    pub fn iter(self) -> impl Iterator<Item = ListpackEntry<'a>> {
        let mut at = Self::HEADER;
        std::iter::from_fn(move || {
            let entry = ziplist_entry(self.0, at)?;
            at = entry.end;
            Some(entry.value)
        })
    }

    /// The same list as a listpack. `None` if that would be too long for one.
    pub fn to_listpack(self) -> Option<Listpack> {
        listpack_of(self.0.len(), self.iter())
    }
}

struct ZiplistEntry<'a> {
    previous_len: usize,
    value: ListpackEntry<'a>,
    end: usize,
}

/// The entry at `at`. `None` at the end mark and where no entry can be decoded.
fn ziplist_entry(bytes: &[u8], at: usize) -> Option<ZiplistEntry<'_>> {
    let (previous_len, len_bytes) = read_len(bytes.get(at..)?)?;
    let start = at + len_bytes;
    let (&tag, rest) = bytes.get(start..)?.split_first()?;
    let int = |v: i64, len: usize| Some((ListpackEntry::Int(v), 1 + len));
    let string = |head: usize, len: usize| {
        Some((ListpackEntry::Str(rest.get(head..)?.get(..len)?), 1 + head + len))
    };
    let (value, len) = match tag {
        0x00..=0x3f => string(0, usize::from(tag)),
        0x40..=0x7f => string(1, usize::from(u16::from_be_bytes([tag & 0x3f, *rest.first()?]))),
        0x80..=0xbf => string(4, u32::from_be_bytes(*rest.first_chunk()?) as usize),
        0xc0 => int(i16::from_le_bytes(*rest.first_chunk()?).into(), 2),
        0xd0 => int(i32::from_le_bytes(*rest.first_chunk()?).into(), 4),
        0xe0 => int(i64::from_le_bytes(*rest.first_chunk()?), 8),
        0xf0 => {
            let &[a, b, c] = rest.first_chunk()?;
            int((i32::from_le_bytes([0, a, b, c]) >> 8).into(), 3)
        }
        0xf1..=0xfd => int(i64::from(tag) - 0xf1, 0),
        0xfe => int(i8::from_le_bytes(*rest.first_chunk()?).into(), 1),
        _ => None,
    }?;
    Some(ZiplistEntry { previous_len, value, end: start + len })
}

/// A valid zipmap.
///
/// ```text
/// <number of pairs: u8, 254 if more than 253> <pair> … <0xff>
///
/// pair:   <length> <field> <length> <free: u8> <value> <free bytes>
/// length: u8, or 0xfe and u32 LE
/// ```
#[derive(Debug, Clone, Copy)]
pub struct Zipmap<'a>(&'a [u8]);

impl<'a> Zipmap<'a> {
    /// A reader of `bytes`, if they are a zipmap in every respect, and not empty.
    pub fn from_bytes(bytes: &'a [u8]) -> Option<Self> {
        let (&header_count, rest) = bytes.split_first()?;
        if rest.last() != Some(&END) {
            return None;
        }
        let mut at = 1;
        let mut count = 0;
        while at < bytes.len() - 1 {
            let (_, next) = zipmap_pair(bytes, at)?;
            at = next;
            count += 1;
        }
        let counted = header_count == BIG_LEN || usize::from(header_count) == count;
        (at == bytes.len() - 1 && count > 0 && counted).then_some(Zipmap(bytes))
    }

    /// The pairs of field and value.
    pub fn pairs(self) -> impl Iterator<Item = Pair<'a>> {
        let mut at = 1;
        std::iter::from_fn(move || {
            let (pair, next) = zipmap_pair(self.0, at)?;
            at = next;
            Some(pair)
        })
    }

    /// Fields and values in turn as a listpack. `None` if that would be too long for one.
    pub fn to_listpack(self) -> Option<Listpack> {
        let entries = self
            .pairs()
            .flat_map(|(field, value)| [ListpackEntry::Str(field), ListpackEntry::Str(value)]);
        listpack_of(self.0.len(), entries)
    }
}

/// Field and value.
pub type Pair<'a> = (&'a [u8], &'a [u8]);

/// The pair at `at` and the offset after it. `None` at the end mark and where no pair can be
/// decoded.
fn zipmap_pair(bytes: &[u8], at: usize) -> Option<(Pair<'_>, usize)> {
    let (len, len_bytes) = read_len(bytes.get(at..)?)?;
    let start = at + len_bytes;
    let field = bytes.get(start..)?.get(..len)?;
    let at = start + len;
    let (len, len_bytes) = read_len(bytes.get(at..)?)?;
    let free = usize::from(*bytes.get(at + len_bytes)?);
    let start = at + len_bytes + 1;
    let value = bytes.get(start..)?.get(..len)?;
    Some(((field, value), start + len + free))
}

/// The length that `bytes` begin with, and how many bytes it takes. `None` at the end mark.
fn read_len(bytes: &[u8]) -> Option<(usize, usize)> {
    match *bytes.first()? {
        END => None,
        BIG_LEN => Some((u32::from_le_bytes(*bytes.get(1..)?.first_chunk()?) as usize, 5)),
        len => Some((usize::from(len), 1)),
    }
}

fn listpack_of<'a>(
    size_hint: usize,
    entries: impl Iterator<Item = ListpackEntry<'a>>,
) -> Option<Listpack> {
    let mut listpack = Listpack::with_capacity(size_hint);
    for entry in entries {
        if !listpack.push_back(entry) {
            return None;
        }
    }
    listpack.shrink();
    Some(listpack)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A writer, as simple as can be: it keeps a value's kind, so it also writes what old servers
    /// would not.
    fn ziplist(values: &[Value]) -> Vec<u8> {
        let mut out = vec![0; 10];
        let (mut last, mut last_len) = (10, 0);
        for value in values {
            last = out.len();
            put_len(&mut out, last_len);
            match value {
                Value::Int(v) => match v {
                    0..=12 => out.push(0xf1 + *v as u8),
                    -128..=127 => out.extend([0xfe, *v as u8]),
                    -0x8000..=0x7fff => put_int(&mut out, 0xc0, 2, *v),
                    -0x80_0000..=0x7f_ffff => put_int(&mut out, 0xf0, 3, *v),
                    -0x8000_0000..=0x7fff_ffff => put_int(&mut out, 0xd0, 4, *v),
                    _ => put_int(&mut out, 0xe0, 8, *v),
                },
                Value::Str(s) => {
                    match s.len() {
                        len @ 0..=63 => out.push(len as u8),
                        len @ 64..=16_383 => out.extend([0x40 | (len >> 8) as u8, len as u8]),
                        len => {
                            out.push(0x80);
                            out.extend((len as u32).to_be_bytes());
                        }
                    }
                    out.extend(s);
                }
            }
            last_len = out.len() - last;
        }
        out.push(END);
        let total = out.len() as u32;
        out[..4].copy_from_slice(&total.to_le_bytes());
        out[4..8].copy_from_slice(&(last as u32).to_le_bytes());
        out[8..10].copy_from_slice(&(values.len() as u16).to_le_bytes());
        out
    }

    fn zipmap(pairs: &[(Vec<u8>, Vec<u8>, u8)]) -> Vec<u8> {
        let mut out = vec![pairs.len().min(254) as u8];
        for (field, value, free) in pairs {
            put_len(&mut out, field.len());
            out.extend(field);
            put_len(&mut out, value.len());
            out.push(*free);
            out.extend(value);
            out.extend(std::iter::repeat_n(b'?', usize::from(*free)));
        }
        out.push(END);
        out
    }

    fn put_len(out: &mut Vec<u8>, len: usize) {
        if len < usize::from(BIG_LEN) {
            out.push(len as u8);
        } else {
            out.push(BIG_LEN);
            out.extend((len as u32).to_le_bytes());
        }
    }

    fn put_int(out: &mut Vec<u8>, tag: u8, bytes: usize, v: i64) {
        out.push(tag);
        out.extend(&v.to_le_bytes()[..bytes]);
    }

    #[derive(Debug, Clone)]
    enum Value {
        Int(i64),
        Str(Vec<u8>),
    }

    fn value() -> impl Strategy<Value = Value> {
        prop_oneof![
            any::<i64>().prop_map(|v| Value::Int(v >> (v & 63))),
            (-1i64..14).prop_map(Value::Int),
            prop::collection::vec(any::<u8>(), 0..80).prop_map(Value::Str),
            (230usize..270, any::<u8>()).prop_map(|(len, byte)| Value::Str(vec![byte; len])),
            (16_370usize..16_390, any::<u8>()).prop_map(|(len, byte)| Value::Str(vec![byte; len])),
        ]
    }

    fn pairs() -> impl Strategy<Value = Vec<(Vec<u8>, Vec<u8>, u8)>> {
        let text = || prop_oneof![prop::collection::vec(any::<u8>(), 0..9), Just(vec![b'v'; 254])];
        prop::collection::vec((text(), text(), 0u8..4), 1..8)
    }

    /// From the description in the format's own source.
    #[test]
    fn known_bytes() {
        let two_and_five = [15, 0, 0, 0, 12, 0, 0, 0, 2, 0, 0, 0xf3, 2, 0xf6, 0xff];
        let ziplist = Ziplist::from_bytes(&two_and_five).unwrap();
        assert_eq!(
            ziplist.iter().collect::<Vec<_>>(),
            [ListpackEntry::Int(2), ListpackEntry::Int(5)]
        );
        let zipmap =
            Zipmap::from_bytes(b"\x02\x03foo\x03\x00bar\x05hello\x05\x00world\xff").unwrap();
        let pairs: [(&[u8], &[u8]); 2] = [(b"foo", b"bar"), (b"hello", b"world")];
        assert_eq!(zipmap.pairs().collect::<Vec<_>>(), pairs);
        assert!(Zipmap::from_bytes(b"\x00\xff").is_none());
        assert_eq!(
            Ziplist::from_bytes(&super::tests::ziplist(&[])).unwrap().to_listpack(),
            Some(Listpack::new())
        );
    }

    #[test]
    fn zipmap_of_more_pairs_than_its_header_counts() {
        let many: Vec<_> =
            (0..300).map(|i: i32| (i.to_string().into_bytes(), vec![b'v'], 0)).collect();
        assert_eq!(Zipmap::from_bytes(&zipmap(&many)).unwrap().pairs().count(), 300);
    }

    proptest! {
        #[test]
        fn ziplists_read_back(values in prop::collection::vec(value(), 0..20)) {
            let bytes = ziplist(&values);
            let list = Ziplist::from_bytes(&bytes).unwrap();
            let expected: Vec<_> = values.iter().map(|v| match v {
                Value::Int(v) => ListpackEntry::Int(*v),
                Value::Str(s) => ListpackEntry::Str(s),
            }).collect();
            prop_assert_eq!(list.iter().collect::<Vec<_>>(), expected.clone());
            let listpack = list.to_listpack().unwrap();
            let texts = expected.iter().map(|e| e.to_vec());
            prop_assert!(listpack.iter().map(|e| e.to_vec()).eq(texts));
        }

        #[test]
        fn zipmaps_read_back(pairs in pairs()) {
            let bytes = zipmap(&pairs);
            let map = Zipmap::from_bytes(&bytes).unwrap();
            prop_assert!(map.pairs().eq(pairs.iter().map(|(f, v, _)| (&f[..], &v[..]))));
            prop_assert_eq!(map.to_listpack().unwrap().len(), 2 * pairs.len());
        }

        #[test]
        fn hostile_bytes_never_panic(
            values in prop::collection::vec(value(), 0..5),
            pairs in pairs(),
            noise in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
            cut in any::<prop::sample::Index>(),
        ) {
            let (mut list, mut map) = (ziplist(&values), zipmap(&pairs));
            Ziplist::from_bytes(&list[..cut.index(list.len())]);
            Zipmap::from_bytes(&map[..cut.index(map.len())]);
            for (index, byte) in noise {
                let (l, m) = (list.len(), map.len());
                list[index.index(l)] = byte;
                map[index.index(m)] = byte;
            }
            if let Some(list) = Ziplist::from_bytes(&list) {
                list.to_listpack().unwrap();
            }
            if let Some(map) = Zipmap::from_bytes(&map) {
                map.to_listpack().unwrap();
            }
        }

        #[test]
        fn random_bytes_never_panic(mut bytes in prop::collection::vec(any::<u8>(), 0..100)) {
            Zipmap::from_bytes(&bytes);
            Ziplist::from_bytes(&bytes);
            bytes.push(END);
            Zipmap::from_bytes(&bytes);
            let total = bytes.len() as u32;
            if let Some(head) = bytes.first_chunk_mut() {
                *head = total.to_le_bytes();
            }
            Ziplist::from_bytes(&bytes);
        }
    }
}
