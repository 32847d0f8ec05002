//! Streams.
//!
//! * `add`: what changes the log: XADD, XDEL, XTRIM, XSETID; and XLEN.
//! * `delete`: XDELEX, XACKDEL.
//! * `range`: XRANGE, XREVRANGE.
//! * `read`: XREAD and XREADGROUP.
//! * `group`: XGROUP.
//! * `pending`: what was delivered and not yet acknowledged: XACK, XPENDING, XCLAIM, XAUTOCLAIM.
//! * `info`: XINFO.

mod add;
mod delete;
mod group;
mod info;
mod pending;
mod range;
mod read;

use crate::ds::listpack::ListpackEntry;
use crate::resp::error::{CommandError, CommandResult, ErrorCode};
use crate::resp::reply::Reply;
use crate::server::Server;
use crate::server::call::Call;
use crate::server::propagate;
use crate::server::table::Row;
use crate::util::c_string;
use crate::value::stream::log::StreamEntry;
use crate::value::stream::{Group, StreamId};

const INVALID_ID: CommandError =
    CommandError::err("Invalid stream ID specified as stream command argument");

/// An ID; one without a sequence number gets `missing_seq`.
fn id(arg: &[u8], missing_seq: u64) -> CommandResult<StreamId> {
    StreamId::parse(arg, missing_seq).ok_or(INVALID_ID)
}

/// The start of a range: `-`, an ID, or `(` and an ID that is excluded.
fn range_start(arg: &[u8]) -> CommandResult<StreamId> {
    match arg {
        [b'(', excluded @ ..] if !excluded.is_empty() => {
            id(excluded, 0)?.next().ok_or(CommandError::err("invalid start ID for the interval"))
        }
        _ => bound(arg, 0),
    }
}

/// The end of a range: `+`, an ID, or `(` and an ID that is excluded.
fn range_end(arg: &[u8]) -> CommandResult<StreamId> {
    match arg {
        [b'(', excluded @ ..] if !excluded.is_empty() => id(excluded, u64::MAX)?
            .prev()
            .ok_or(CommandError::err("invalid end ID for the interval")),
        _ => bound(arg, u64::MAX),
    }
}

fn bound(arg: &[u8], missing_seq: u64) -> CommandResult<StreamId> {
    match arg {
        b"-" => Ok(StreamId::MIN),
        b"+" => Ok(StreamId::MAX),
        _ => id(arg, missing_seq),
    }
}

/// The error for a group that is not there. `rest`: what follows the group's name in the text.
fn no_group(key: &[u8], group: &[u8], rest: &[u8]) -> CommandError {
    let (key, group) = (c_string(key), c_string(group));
    let text = [b"No such key '", key, b"' or consumer group '", group, b"'", rest].concat();
    CommandError::with(ErrorCode::NoGroup, text)
}

/// The error of a subcommand for a group that is not there, though its key is.
fn no_such_group(key: &[u8], group: &[u8]) -> CommandError {
    let (key, group) = (c_string(key), c_string(group));
    let text = [b"No such consumer group '", group, b"' for key name '", key, b"'"].concat();
    CommandError::with(ErrorCode::NoGroup, text)
}

#[inline]
fn reply_id(reply: &mut Reply, id: StreamId) {
    reply.bulk(&id.text());
}

#[inline]
fn reply_text(reply: &mut Reply, text: ListpackEntry<'_>) {
    match text {
        ListpackEntry::Str(bytes) => reply.bulk(bytes),
        ListpackEntry::Int(n) => reply.bulk_int(n),
    }
}

/// An entry: its ID, and its names and values.
#[inline]
fn reply_entry(reply: &mut Reply, item: StreamEntry<'_>) {
    reply.array(2);
    reply_id(reply, item.id);
    reply.array(2 * item.fields.len());
    for (name, value) in item.fields {
        reply_text(reply, name);
        reply_text(reply, value);
    }
}

/// Replies with entries; returns how many.
#[inline]
fn reply_entries<'a>(reply: &mut Reply, items: impl Iterator<Item = StreamEntry<'a>>) -> usize {
    let at = reply.deferred();
    let mut n = 0;
    for item in items {
        reply_entry(reply, item);
        n += 1;
    }
    reply.set_array(at, n);
    n
}

/// A `COUNT` as a number of entries; 0 stands for all of them.
fn limit(count: i64) -> usize {
    if count == 0 { usize::MAX } else { usize::try_from(count).unwrap_or(0) }
}

/// Propagates a group's position.
fn propagate_group_position(
    s: &mut Server,
    call: &mut Call,
    key: &[u8],
    name: &[u8],
    group: (StreamId, Option<u64>),
) {
    let mut digits = itoa::Buffer::new();
    let (last_id, entries_read) = group;
    let read = digits.format(entries_read_arg(entries_read));
    propagate::propagate_instead(
        s,
        call,
        &[b"XGROUP", b"SETID", key, name, &last_id.text(), b"ENTRIESREAD", read.as_bytes()],
    );
}

/// How many entries a group has read, as an argument and in replies of numbers only: -1 if nobody knows.
fn entries_read_arg(entries_read: Option<u64>) -> i64 {
    entries_read.map_or(-1, |n| n as i64)
}

/// A group's position.
fn group_position(group: &Group) -> (StreamId, Option<u64>) {
    (group.last_id, group.entries_read)
}

pub const COMMANDS: &[Row] = &[
    ("xack", pending::xack),
    ("xackdel", delete::xackdel),
    ("xadd", add::xadd),
    ("xautoclaim", pending::xautoclaim),
    ("xclaim", pending::xclaim),
    ("xdel", add::xdel),
    ("xdelex", delete::xdelex),
    ("xgroup|create", group::create),
    ("xgroup|createconsumer", group::create_consumer),
    ("xgroup|delconsumer", group::del_consumer),
    ("xgroup|destroy", group::destroy),
    ("xgroup|help", group::help),
    ("xgroup|setid", group::set_id),
    ("xinfo|consumers", info::consumers),
    ("xinfo|groups", info::groups),
    ("xinfo|help", info::help),
    ("xinfo|stream", info::stream),
    ("xlen", add::xlen),
    ("xpending", pending::xpending),
    ("xrange", range::xrange),
    ("xread", read::xread),
    ("xreadgroup", read::xreadgroup),
    ("xrevrange", range::xrevrange),
    ("xsetid", add::xsetid),
    ("xtrim", add::xtrim),
];
