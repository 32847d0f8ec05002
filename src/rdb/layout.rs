//! The shape of every record, and [`Skim`], which walks it.
//!
//! A record is parsed in one go, from its first byte to its last. If bytes are missing, it would be
//! wasteful to try again at each arrival: a set of ten million members would be parsed thousands of
//! times. So a record that was found short is skimmed: `Skim` follows its layout, keeping its place
//! between arrivals, until the whole record is there; then the parser reads it once more and for
//! good. Each byte is so looked at three times at most.

use super::error::Fault;
use super::format::{opcode, value_type as t};
use super::reader::Reader;

/// One part of a record.
#[derive(Clone, Copy, Debug)]
pub(super) enum Item {
    Bytes(u64),
    Length,
    Str,
    /// A score as text: its length in one byte, where 253 to 255 stand for NaN and the infinities.
    TextScore,
    /// A count, then the items so many times.
    Each(&'static [Item]),
    /// Data of a module up to its end mark.
    ModuleFields,
}

use Item::{Bytes, Each, Length, ModuleFields, Str, TextScore};

/// What follows a record's first byte; `None` if that byte is unknown or its record is never read.
pub(super) fn layout(first: u8) -> Option<&'static [Item]> {
    Some(match first {
        opcode::SLOT_IMPORT => &[Str, Each(&[Length, Length])],
        opcode::SLOT_INFO => &[Length, Length, Length],
        opcode::FUNCTION2 => &[Str],
        opcode::MODULE_AUX => &[Length, Length, Length, ModuleFields],
        opcode::IDLE | opcode::SELECTDB => &[Length],
        opcode::FREQ => &[Bytes(1)],
        opcode::AUX => &[Str, Str],
        opcode::RESIZEDB => &[Length, Length],
        opcode::EXPIRETIME_MS | opcode::EOF => &[Bytes(8)],
        opcode::EXPIRETIME => &[Bytes(4)],
        // The values' types, each after its key.
        t::STRING
        | t::HASH_ZIPMAP
        | t::LIST_ZIPLIST
        | t::SET_INTSET
        | t::ZSET_ZIPLIST
        | t::HASH_ZIPLIST
        | t::HASH_LISTPACK
        | t::ZSET_LISTPACK
        | t::SET_LISTPACK => &[Str, Str],
        t::LIST | t::SET | t::LIST_QUICKLIST => &[Str, Each(&[Str])],
        t::ZSET => &[Str, Each(&[Str, TextScore])],
        t::HASH => &[Str, Each(&[Str, Str])],
        t::ZSET_2 => &[Str, Each(&[Str, Bytes(8)])],
        t::LIST_QUICKLIST_2 => &[Str, Each(&[Length, Str])],
        t::HASH_VALKEY_EXPIRY => &[Str, Each(&[Str, Str, Bytes(8)])],
        t::HASH_METADATA => &[Str, Bytes(8), Each(&[Length, Str, Str])],
        t::HASH_LISTPACK_EX => &[Str, Bytes(8), Str],
        t::STREAM_LISTPACKS => STREAM,
        t::STREAM_LISTPACKS_2 => STREAM_2,
        t::STREAM_LISTPACKS_3 => STREAM_3,
        _ => return None,
    })
}

/// A stream: listpacks; length, last ID; groups: name, last ID, pending entries, consumers.
const STREAM: &[Item] = &[Str, LISTPACKS, Length, Length, Length, Each(GROUP)];
const GROUP: &[Item] = &[Str, Length, Length, PENDING, Each(CONSUMER)];
/// Since version 2 also first ID, largest deleted ID, entries added; in groups the entries read.
const STREAM_2: &[Item] = &stream(GROUP_2);
const GROUP_2: &[Item] = &[Str, Length, Length, Length, PENDING, Each(CONSUMER)];
/// Since version 3 consumers have two times, seen and active.
const STREAM_3: &[Item] = &stream(GROUP_3);
const GROUP_3: &[Item] = &[Str, Length, Length, Length, PENDING, Each(CONSUMER_3)];

/// Later versions differ in their groups.
const fn stream(group: &'static [Item]) -> [Item; 11] {
    let (l, groups) = (Length, Each(group));
    [Str, LISTPACKS, l, l, l, l, l, l, l, l, groups]
}

const LISTPACKS: Item = Each(&[Str, Str]);
/// ID, time, how often it was delivered.
const PENDING: Item = Each(&[Bytes(16), Bytes(8), Length]);
const CONSUMER: &[Item] = &[Str, Bytes(8), Each(&[Bytes(16)])];
const CONSUMER_3: &[Item] = &[Str, Bytes(16), Each(&[Bytes(16)])];

/// A walk over one record that can stop where the bytes end, and go on when there are more.
#[derive(Debug)]
pub(super) struct Skim {
    pos: usize,
    /// The item in hand is `todo.last()`'s `items[next]`; those below it wait for it.
    todo: Vec<Frame>,
}

#[derive(Debug)]
struct Frame {
    items: &'static [Item],
    next: usize,
    /// How often the items are due, this time included.
    times: u64,
}

impl Skim {
    /// Starts after the first byte of a record of this layout.
    pub(super) fn new(items: &'static [Item]) -> Self {
        Self { pos: 1, todo: vec![Frame { items, next: 0, times: 1 }] }
    }

    /// Goes on over `record`, which starts with the same bytes as at the last call and may have
    /// more of them. [`Fault::Short`] until all of the record is there.
    pub(super) fn advance(&mut self, record: &[u8]) -> Result<(), Fault> {
        while let Some(frame) = self.todo.last_mut() {
            if frame.times == 0 {
                self.todo.pop();
                continue;
            }
            let Some(item) = frame.items.get(frame.next) else {
                frame.next = 0;
                frame.times -= 1;
                continue;
            };
            let mut r = Reader::resume(record, self.pos);
            let mut done = true;
            let mut inner = None;
            match item {
                Bytes(n) => drop(r.bytes(*n)?),
                Length => drop(r.length()?),
                Str => r.skip_string()?,
                TextScore => {
                    let len = r.byte()?;
                    let special = matches!(len, 253..=255);
                    r.bytes(if special { 0 } else { u64::from(len) })?;
                }
                Each(items) => inner = Some(Frame { items, next: 0, times: r.length()? }),
                ModuleFields => done = !r.skip_module_field()?,
            }
            self.pos = r.pos();
            frame.next += usize::from(done);
            self.todo.extend(inner);
        }
        Ok(())
    }

    /// Bytes of the record that are behind.
    pub(super) fn pos(&self) -> usize {
        self.pos
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_end_where_their_layout_says() {
        // Bodies of `DUMP` payloads of Redis 7.0.15, 8.2.3 and Valkey 9.1.2; the last two by hand.
        for (value_type, body) in [
            (t::SET, &b"\x02\x01a\x01b"[..]),
            (t::HASH, b"\x01\x01f\x01v"),
            (t::ZSET_2, b"\x02\x01m\0\0\0\0\0\0\xf8?\x01n\0\0\0\0\0\0\xf0\xff"),
            (t::SET_INTSET, b"\x0c\x02\0\0\0\x02\0\0\0\x01\0\x02\0"),
            (t::HASH_LISTPACK, b"\r\r\0\0\0\x02\0\x81f\x02\x81v\x02\xff"),
            (t::ZSET_LISTPACK, b"\x0f\x0f\0\0\0\x02\0\x81m\x02\x831.5\x04\xff"),
            (t::LIST_QUICKLIST_2, b"\x01\x02\r\r\0\0\0\x02\0\x81a\x02\x81b\x02\xff"),
            (t::STREAM_LISTPACKS_2, b"\x01\x10\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0\x01((\0\0\0\x0f\0\x02\x01\0\x01\x01\x01\x81f\
                \x02\0\x01\x02\x01\0\x01\0\x01\x81v\x02\x04\x01\x02\x01\x01\x01\0\x01\x81v\x02\x04\
                \x01\xff\x02\x02\x01\x01\x01\0\0\x02\x01\x01g\x02\x01\x02\x02\0\0\0\0\0\0\0\x01\0\0\0\
                \0\0\0\0\x01\x08^\xf6\x03\xa2\x01\0\0\x01\0\0\0\0\0\0\0\x02\0\0\0\0\0\0\0\x01\x08^\
                \xf6\x03\xa2\x01\0\0\x01\x01\x01c\x08^\xf6\x03\xa2\x01\0\0\x02\0\0\0\0\0\0\0\x01\0\0\
                \0\0\0\0\0\x01\0\0\0\0\0\0\0\x02\0\0\0\0\0\0\0\x01"),
            (t::SET_LISTPACK, b"\r\r\0\0\0\x02\0\x81a\x02\x81b\x02\xff"),
            (t::STREAM_LISTPACKS_3, b"\x01\x10\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0\x01((\0\0\0\x0f\0\x02\x01\0\x01\x01\x01\x81f\
                \x02\0\x01\x02\x01\0\x01\0\x01\x81v\x02\x04\x01\x02\x01\x01\x01\0\x01\x81v\x02\x04\
                \x01\xff\x02\x02\x01\x01\x01\0\0\x02\x01\x01g\x02\x01\x02\x02\0\0\0\0\0\0\0\x01\0\0\0\
                \0\0\0\0\x01\x83e\xf6\x03\xa2\x01\0\0\x01\0\0\0\0\0\0\0\x02\0\0\0\0\0\0\0\x01\x83e\
                \xf6\x03\xa2\x01\0\0\x01\x01\x01c\x83e\xf6\x03\xa2\x01\0\0\x83e\xf6\x03\xa2\x01\0\0\
                \x02\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0\x02\0\0\0\0\0\0\0\x01"),
            (t::HASH_LISTPACK_EX, b"\xff\x1fJ\xa9\xd1\x01\x00\x00##\x00\x00\x00\x06\x00\x82f1\x03\x82v1\x03\xf4\xff\x1fJ\xa9\xd1\
                \x01\x00\x00\t\x82f2\x03\x82v2\x03\x00\x01\xff"),
            (t::HASH_METADATA, b"\xff\x1fJ\xa9\xd1\x01\x00\x00\x04\x01\x02f1\x02v1\x00\x02f4\x02v4\x00\x02f3\x02v3\x00\x02f2\x02v2"),
            (t::HASH_VALKEY_EXPIRY, b"\x02\x02f1\x02v1\xff\x1fJ\xa9\xd1\x01\x00\x00\x02f2\x02v2\xff\xff\xff\xff\xff\xff\
                \xff\xff"),
            (t::ZSET, b"\x03\x01a\x031.5\x01b\xfe\x01c\xff"),
            (t::LIST, b"\x02\x01a\xc0\x07"),
        ] {
            let record = [&[value_type, 1, b'k'], body].concat();
            let mut skim = Skim::new(layout(value_type).unwrap());
            for len in 1..record.len() {
                match skim.advance(&record[..len]) {
                    Err(Fault::Short(need)) => assert!((len + 1..=record.len()).contains(&need)),
                    other => panic!("type {value_type}, {len} bytes: {other:?}"),
                }
            }
            let more = [&record[..], b"more"].concat();
            assert!(skim.advance(&more).is_ok());
            assert_eq!(skim.pos(), record.len(), "type {value_type}");
        }
    }
}
