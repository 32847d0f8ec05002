//! `OBJECT`: how a value is kept. (`MEMORY` is in [`memory`](super::memory).)

use super::memory;
use crate::resp::error::{CommandError, CommandResult};
use crate::server::Server;
use crate::server::call::Call;
use crate::server::table::Row;
use crate::spec::help::reply_help;
use crate::value::ValueRef;

/// Redis shares the objects of small integers, and tells so by this number.
const SHARED_REFCOUNT: i64 = i32::MAX as i64;
const SHARED_INTEGERS: std::ops::Range<i64> = 0..10_000;

fn encoding(s: &mut Server, call: &mut Call, args: &[&[u8]]) -> CommandResult {
    match s.ks.lookup_no_notify(call.db, args[2]) {
        Some(entry) => call.reply.bulk_str(entry.encoding()),
        None => call.reply.null(),
    }
    Ok(())
}

fn refcount(s: &mut Server, call: &mut Call, args: &[&[u8]]) -> CommandResult {
    let policy = s.config.maxmemory_policy;
    let shares = s.config.maxmemory == 0 || !(policy.is_lru() || policy.is_lfu());
    match s.ks.lookup_no_notify(call.db, args[2]).map(|entry| entry.value()) {
        Some(ValueRef::Int(n)) if shares && SHARED_INTEGERS.contains(&n) => {
            call.reply.int(SHARED_REFCOUNT);
        }
        Some(_) => call.reply.int(1),
        None => call.reply.null(),
    }
    Ok(())
}

fn idletime(s: &mut Server, call: &mut Call, args: &[&[u8]]) -> CommandResult {
    let access = s.ks.access;
    match s.ks.lookup_no_notify(call.db, args[2]) {
        Some(_) if access.lfu => Err(CommandError::err(
            "An LFU maxmemory policy is selected, idle time not tracked. Please note that when switching between \
             policies at runtime LRU and LFU data will take some time to adjust.",
        )),
        Some(entry) => {
            call.reply.int(access.idle_seconds(entry) as i64);
            Ok(())
        }
        None => {
            call.reply.null();
            Ok(())
        }
    }
}

fn freq(s: &mut Server, call: &mut Call, args: &[&[u8]]) -> CommandResult {
    let access = s.ks.access;
    match s.ks.lookup_no_notify(call.db, args[2]) {
        Some(_) if !access.lfu => Err(CommandError::err(
            "An LFU maxmemory policy is not selected, access frequency not tracked. Please note that when switching \
             between policies at runtime LRU and LFU data will take some time to adjust.",
        )),
        Some(entry) => {
            call.reply.int(access.frequency(entry).into());
            Ok(())
        }
        None => {
            call.reply.null();
            Ok(())
        }
    }
}

fn help(_: &mut Server, call: &mut Call, _: &[&[u8]]) -> CommandResult {
    reply_help(
        &mut call.reply,
        "OBJECT",
        &[
            "ENCODING <key>",
            "    Tell in which form the value of <key> is kept.",
            "FREQ <key>",
            "    Tell how often <key> was used: a logarithmic counter, kept under an LFU policy.",
            "IDLETIME <key>",
            "    Tell for about how many seconds <key> was not used.",
            "REFCOUNT <key>",
            "    Tell how many references the value of <key> has.",
        ],
    );
    Ok(())
}

pub const COMMANDS: &[Row] = &[
    ("memory|doctor", memory::doctor),
    ("memory|help", memory::help),
    ("memory|malloc-stats", memory::malloc_stats),
    ("memory|purge", memory::purge),
    ("memory|stats", memory::stats),
    ("memory|usage", memory::usage),
    ("object|encoding", encoding),
    ("object|freq", freq),
    ("object|help", help),
    ("object|idletime", idletime),
    ("object|refcount", refcount),
];
