//! The commands that make a value: what a base file has that is no snapshot.

use crate::ds::listpack::ListpackEntry;
use crate::ds::quicklist::Direction;
use crate::resp::encode::{encode_bulk, encode_command, encode_header};
use crate::util::number::{MAX_F64_CHARS, fmt_f64};
use crate::value::ValueRef;
use crate::value::hash::FOREVER_YOUNG;
use crate::value::stream::{Group, Stream, StreamId};
use std::ops::ControlFlow;

/// Elements that one command adds at the most.
const ITEMS_PER_COMMAND: usize = 64;

/// Appends the commands that make `key` with this value and this expiry (milliseconds since 1970).
pub fn encode_entry(key: &[u8], value: ValueRef<'_>, expire: Option<i64>, out: &mut Vec<u8>) {
    let mut digits = itoa::Buffer::new();
    match value {
        ValueRef::Int(n) => encode_command(&[b"SET", key, digits.format(n).as_bytes()], out),
        ValueRef::Str(bytes) => encode_command(&[b"SET", key, bytes], out),
        ValueRef::List(list) => {
            let mut add = Variadic::new(b"RPUSH", key, 1, list.len(), out);
            list.walk(0, Direction::Forward, |element| {
                add.item(element);
                ControlFlow::Continue(())
            });
        }
        ValueRef::Set(set) => {
            let mut add = Variadic::new(b"SADD", key, 1, set.len(), out);
            set.for_each(|member| add.item(member));
        }
        ValueRef::Zset(zset) => {
            let mut add = Variadic::new(b"ZADD", key, 2, zset.len(), out);
            for (member, score) in zset.iter() {
                add.item(ListpackEntry::Str(fmt_f64(score, &mut [0; MAX_F64_CHARS])));
                add.item(member);
            }
        }
        ValueRef::Hash(hash) => {
            let mut volatile = Vec::new();
            let mut add = Variadic::new(b"HMSET", key, 2, hash.len(), out);
            hash.for_each(FOREVER_YOUNG, |pair| {
                add.item(pair.field);
                add.item(pair.value);
                volatile.extend(pair.expire.map(|at| (pair.field, at)));
            });
            for (field, at) in volatile {
                let at = digits.format(at).as_bytes();
                encode_command(&[b"HPEXPIREAT", key, at, b"FIELDS", b"1", &field.to_vec()], out);
            }
        }
        ValueRef::Stream(stream) => encode_stream(key, stream, out),
    }
    if let Some(at) = expire {
        encode_command(&[b"PEXPIREAT", key, digits.format(at).as_bytes()], out);
    }
}

/// Commands that take many elements, a portion each.
struct Variadic<'a> {
    verb: &'static [u8],
    key: &'a [u8],
    /// Arguments an element has.
    width: usize,
    /// Arguments that are still to come, of all commands and of this one.
    left: usize,
    left_here: usize,
    out: &'a mut Vec<u8>,
}

impl<'a> Variadic<'a> {
    fn new(
        verb: &'static [u8],
        key: &'a [u8],
        width: usize,
        elements: usize,
        out: &'a mut Vec<u8>,
    ) -> Variadic<'a> {
        Variadic { verb, key, width, left: elements * width, left_here: 0, out }
    }

    /// The next argument.
    fn item(&mut self, item: ListpackEntry<'_>) {
        if self.left_here == 0 {
            self.left_here = self.left.min(ITEMS_PER_COMMAND * self.width);
            encode_header(b'*', 2 + self.left_here, self.out);
            encode_bulk(self.verb, self.out);
            encode_bulk(self.key, self.out);
        }
        encode_item(item, self.out);
        self.left_here -= 1;
        self.left -= 1;
    }
}

fn encode_item(item: ListpackEntry<'_>, out: &mut Vec<u8>) {
    match item {
        ListpackEntry::Int(n) => encode_bulk(itoa::Buffer::new().format(n).as_bytes(), out),
        ListpackEntry::Str(bytes) => encode_bulk(bytes, out),
    }
}

fn encode_stream(key: &[u8], stream: &Stream, out: &mut Vec<u8>) {
    for item in stream.log.range(StreamId::MIN, StreamId::MAX) {
        encode_header(b'*', 3 + 2 * item.fields.len(), out);
        for arg in [b"XADD", key, &item.id.text()] {
            encode_bulk(arg, out);
        }
        for (name, value) in item.fields {
            encode_item(name, out);
            encode_item(value, out);
        }
    }
    if stream.log.is_empty() {
        // There is no command that makes a stream without entries: one is added, and trimmed away at once.
        encode_command(&[b"XADD", key, b"MAXLEN", b"0", b"0-1", b"x", b"y"], out);
    }
    let added = stream.log.entries_added.to_string();
    encode_command(
        &[
            b"XSETID",
            key,
            &stream.log.last_id.text(),
            b"ENTRIESADDED",
            added.as_bytes(),
            b"MAXDELETEDID",
            &stream.log.max_deleted_id.text(),
        ],
        out,
    );
    for (name, group) in stream.groups.iter() {
        encode_group(key, name, group, out);
    }
}

/// A group, its consumers, and what was delivered to each and not acknowledged.
fn encode_group(key: &[u8], name: &[u8], group: &Group, out: &mut Vec<u8>) {
    let read = group.entries_read.map_or_else(|| "-1".to_string(), |n| n.to_string());
    encode_command(
        &[b"XGROUP", b"CREATE", key, name, &group.last_id.text(), b"ENTRIESREAD", read.as_bytes()],
        out,
    );
    for (_, consumer) in group.consumers() {
        if consumer.pending_len() == 0 {
            encode_command(&[b"XGROUP", b"CREATECONSUMER", key, name, &consumer.name], out);
        }
        for id in consumer.pending_from(StreamId::MIN) {
            let Some(pending) = group.pending(id) else { continue };
            let (time, count) = (pending.delivered_ms.to_string(), pending.deliveries.to_string());
            encode_command(
                &[
                    b"XCLAIM",
                    key,
                    name,
                    &consumer.name,
                    b"0",
                    &id.text(),
                    b"TIME",
                    time.as_bytes(),
                    b"RETRYCOUNT",
                    count.as_bytes(),
                    b"JUSTID",
                    b"FORCE",
                ],
                out,
            );
        }
    }
}
