//! XINFO: what is known of a stream, its groups and its consumers.

use super::{limit, no_such_group, reply_entries, reply_entry, reply_id};
use crate::command::args::{self, is};
use crate::resp::error::{CommandError, CommandResult};
use crate::resp::reply::Reply;
use crate::server::Server;
use crate::server::call::Call;
use crate::spec::help::{reply_help, subcommand_syntax_error};
use crate::value::stream::group::{Consumer, NEVER};
use crate::value::stream::{Group, Log, Stream, StreamId};

/// Entries, and deliveries of each group and consumer, that FULL shows unless COUNT says otherwise.
const FULL_COUNT: i64 = 10;

pub(super) fn stream(s: &mut Server, call: &mut Call, args: &[&[u8]]) -> CommandResult {
    // The key comes first: without it, nobody cares about the options.
    let stream = s.ks.read::<Stream>(call.db, args[2])?.ok_or(CommandError::NO_SUCH_KEY)?;
    let count = match args[3..] {
        [] => None,
        [full] if is(full, "FULL") => Some(FULL_COUNT),
        [full, count, n] if is(full, "FULL") && is(count, "COUNT") => {
            let n = args::int(n)?;
            Some(if n < 0 { FULL_COUNT } else { n })
        }
        _ => return Err(subcommand_syntax_error("XINFO", args)),
    };
    let reply = &mut call.reply;
    reply.map(if count.is_some() { 9 } else { 10 });
    let log = &stream.log;
    reply.bulk(b"length");
    reply.int(log.len() as i64);
    reply.bulk(b"radix-tree-keys");
    reply.int(log.node_count() as i64);
    reply.bulk(b"radix-tree-nodes");
    // There is no such tree; Redis's has a node for each key and its root, if the keys have nothing in common.
    reply.int(log.node_count() as i64 + 1);
    reply.bulk(b"last-generated-id");
    reply_id(reply, log.last_id);
    reply.bulk(b"max-deleted-entry-id");
    reply_id(reply, log.max_deleted_id);
    reply.bulk(b"entries-added");
    reply.int(log.entries_added as i64);
    reply.bulk(b"recorded-first-entry-id");
    reply_id(reply, log.first_id());
    match count {
        None => reply_ends(reply, stream),
        Some(count) => reply_full(reply, stream, limit(count)),
    }
    Ok(())
}

fn reply_ends(reply: &mut Reply, stream: &Stream) {
    let log = &stream.log;
    reply.bulk(b"groups");
    reply.int(stream.groups.len() as i64);
    let first = log.range(StreamId::MIN, StreamId::MAX).next();
    let last = log.range_rev(StreamId::MIN, StreamId::MAX).next();
    for (name, item) in [("first-entry", first), ("last-entry", last)] {
        reply.bulk_str(name);
        match item {
            Some(item) => reply_entry(reply, item),
            None => reply.null(),
        }
    }
}

fn reply_full(reply: &mut Reply, stream: &Stream, limit: usize) {
    reply.bulk(b"entries");
    reply_entries(reply, stream.log.range(StreamId::MIN, StreamId::MAX).take(limit));
    reply.bulk(b"groups");
    reply.array(stream.groups.len());
    for (name, group) in &stream.groups {
        reply.map(7);
        reply.bulk(b"name");
        reply.bulk(name);
        reply_position(reply, &stream.log, group);
        reply.bulk(b"pel-count");
        reply.int(group.pending_len() as i64);
        reply.bulk(b"pending");
        reply.array(group.pending_len().min(limit));
        for (id, pending) in group.pending_from(StreamId::MIN).take(limit) {
            reply.array(4);
            reply_id(reply, id);
            reply.bulk(&group.consumer(pending.consumer).name);
            reply.int(pending.delivered_ms);
            reply.int(pending.deliveries as i64);
        }
        reply.bulk(b"consumers");
        reply.array(group.consumers().len());
        for (_, consumer) in group.consumers() {
            reply_full_consumer(reply, group, consumer, limit);
        }
    }
}

fn reply_full_consumer(reply: &mut Reply, group: &Group, consumer: &Consumer, limit: usize) {
    reply.map(5);
    reply.bulk(b"name");
    reply.bulk(&consumer.name);
    reply.bulk(b"seen-time");
    reply.int(consumer.seen_ms);
    reply.bulk(b"active-time");
    reply.int(consumer.active_ms);
    reply.bulk(b"pel-count");
    reply.int(consumer.pending_len() as i64);
    reply.bulk(b"pending");
    let at = reply.deferred();
    let pending = consumer.pending_from(StreamId::MIN).take(limit);
    let mut n = 0;
    for (id, pending) in pending.filter_map(|id| Some((id, group.pending(id)?))) {
        reply.array(3);
        reply_id(reply, id);
        reply.int(pending.delivered_ms);
        reply.int(pending.deliveries as i64);
        n += 1;
    }
    reply.set_array(at, n);
}

/// Where a group stands, and how much is ahead of it.
fn reply_position(reply: &mut Reply, log: &Log, group: &Group) {
    reply.bulk(b"last-delivered-id");
    reply_id(reply, group.last_id);
    reply.bulk(b"entries-read");
    reply_known(reply, group.entries_read);
    reply.bulk(b"lag");
    reply_known(reply, lag(log, group));
}

/// How many entries a group has not read yet, as Redis 8.2 counts them; `None` if nobody knows.
fn lag(log: &Log, group: &Group) -> Option<u64> {
    if log.is_empty() {
        return Some(0);
    }
    if group.last_id.max(log.max_deleted_id) < log.first_id() {
        // All that are there are ahead.
        return Some(log.len());
    }
    let read = match group.entries_read {
        Some(read) if !log.has_gaps_after(group.last_id) => Some(read),
        _ => log.entries_up_to(group.last_id),
    };
    read.map(|read| log.entries_added.saturating_sub(read))
}

fn reply_known(reply: &mut Reply, n: Option<u64>) {
    match n {
        Some(n) => reply.int(n as i64),
        None => reply.null(),
    }
}

pub(super) fn groups(s: &mut Server, call: &mut Call, args: &[&[u8]]) -> CommandResult {
    let stream = s.ks.read::<Stream>(call.db, args[2])?.ok_or(CommandError::NO_SUCH_KEY)?;
    let reply = &mut call.reply;
    reply.array(stream.groups.len());
    for (name, group) in &stream.groups {
        reply.map(6);
        reply.bulk(b"name");
        reply.bulk(name);
        reply.bulk(b"consumers");
        reply.int(group.consumers().len() as i64);
        reply.bulk(b"pending");
        reply.int(group.pending_len() as i64);
        reply_position(reply, &stream.log, group);
    }
    Ok(())
}

pub(super) fn consumers(s: &mut Server, call: &mut Call, args: &[&[u8]]) -> CommandResult {
    let (key, name, now) = (args[2], args[3], s.ks.now_ms);
    let stream = s.ks.read::<Stream>(call.db, key)?.ok_or(CommandError::NO_SUCH_KEY)?;
    let group = stream.groups.get(name).ok_or_else(|| no_such_group(key, name))?;
    let reply = &mut call.reply;
    reply.array(group.consumers().len());
    for (_, consumer) in group.consumers() {
        let inactive = match consumer.active_ms {
            NEVER => NEVER,
            at => now.saturating_sub(at),
        };
        reply.map(4);
        reply.bulk(b"name");
        reply.bulk(&consumer.name);
        reply.bulk(b"pending");
        reply.int(consumer.pending_len() as i64);
        reply.bulk(b"idle");
        reply.int(now.saturating_sub(consumer.seen_ms).max(0));
        reply.bulk(b"inactive");
        reply.int(inactive);
    }
    Ok(())
}

pub(super) fn help(_: &mut Server, call: &mut Call, _: &[&[u8]]) -> CommandResult {
    let lines = [
        "CONSUMERS <key> <groupname>",
        "    Show consumers of <groupname>.",
        "GROUPS <key>",
        "    Show the stream consumer groups.",
        "STREAM <key> [FULL [COUNT <count>]",
        "    Show information about the stream.",
    ];
    reply_help(&mut call.reply, "XINFO", &lines);
    Ok(())
}
