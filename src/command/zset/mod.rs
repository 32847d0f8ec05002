//! Sorted sets.
//!
//! * `update`: adding, incrementing, removing members
//! * `read`: single members, counts, chance, scanning
//! * `range`: ranges of ranks, scores and members, to be answered, stored or removed
//! * `pop`: taking from an end, and waiting until there is something
//! * `algebra`: unions, intersections, differences
//!
//! Here is what they share: limits, replies, and what follows a change.

mod algebra;
mod pop;
mod range;
mod read;
mod update;

use super::keys::store_result;
use crate::db::notify::Class;
use crate::ds::listpack::ListpackEntry;
use crate::resp::error::CommandError;
use crate::resp::reply::Reply;
use crate::server::Server;
use crate::server::call::Call;
use crate::server::config::Config;
use crate::server::table::Row;
use crate::value::Value;
use crate::value::zset::{Zset, ZsetLimits};

pub use update::{AddFlags, add_members};

const NOT_A_SCORE_RANGE: CommandError = CommandError::err("min or max is not a float");
const NOT_A_LEX_RANGE: CommandError = CommandError::err("min or max not valid string range item");

/// The limits that the configuration sets.
pub fn limits(config: &Config) -> ZsetLimits {
    ZsetLimits { entries: config.zset_max_listpack_entries, value: config.zset_max_listpack_value }
}

/// Answers a member.
#[inline]
pub fn reply_member(reply: &mut Reply, member: ListpackEntry<'_>) {
    match member {
        ListpackEntry::Int(n) => reply.bulk_int(n),
        ListpackEntry::Str(text) => reply.bulk(text),
    }
}

/// Announces `n` members, which [`reply_element`] then answers.
fn reply_elements(reply: &mut Reply, n: usize, with_scores: bool) {
    let flat = with_scores && !reply.is_resp3();
    reply.array(if flat { 2 * n } else { n });
}

/// Answers a member, and its score if that is wanted: behind it in RESP2, together with it in RESP3.
#[inline]
fn reply_element(reply: &mut Reply, (member, score): (ListpackEntry<'_>, f64), with_scores: bool) {
    if with_scores && reply.is_resp3() {
        reply.array(2);
    }
    reply_member(reply, member);
    if with_scores {
        reply.double(score);
    }
}

/// Notes that `removed` members (one at least) are gone from a sorted set, and removes the key if none is left.
fn after_removal(s: &mut Server, call: &mut Call, key: &[u8], removed: usize, event: &'static str) {
    let gone = s.ks.remove_if_empty::<Zset>(call.db, key);
    s.ks.changes.write(Class::ZSET, event, call.db, key);
    s.ks.changes.dirty += removed as u64 - 1;
    if gone {
        s.ks.changes.notifications.push(Class::GENERIC, "del", call.db, key);
    }
}

/// Puts a result under a key, whatever was there, or removes that key if the result is empty, and returns how many
/// members there are.
pub fn store(s: &mut Server, call: &mut Call, key: &[u8], result: Zset, event: &'static str) {
    let len = result.len();
    let result = (len > 0).then_some(Value::Zset(result));
    store_result(s, call, key, result, Class::ZSET, event);
    call.reply.int(len as i64);
}

pub const COMMANDS: &[Row] = &[
    ("bzmpop", pop::bzmpop),
    ("bzpopmax", pop::bzpopmax),
    ("bzpopmin", pop::bzpopmin),
    ("zadd", update::zadd),
    ("zcard", read::zcard),
    ("zcount", read::zcount),
    ("zdiff", algebra::zdiff),
    ("zdiffstore", algebra::zdiffstore),
    ("zincrby", update::zincrby),
    ("zinter", algebra::zinter),
    ("zintercard", algebra::zintercard),
    ("zinterstore", algebra::zinterstore),
    ("zlexcount", read::zlexcount),
    ("zmpop", pop::zmpop),
    ("zmscore", read::zmscore),
    ("zpopmax", pop::zpopmax),
    ("zpopmin", pop::zpopmin),
    ("zrandmember", read::zrandmember),
    ("zrange", range::zrange),
    ("zrangebylex", range::zrangebylex),
    ("zrangebyscore", range::zrangebyscore),
    ("zrangestore", range::zrangestore),
    ("zrank", read::zrank),
    ("zrem", update::zrem),
    ("zremrangebylex", range::zremrangebylex),
    ("zremrangebyrank", range::zremrangebyrank),
    ("zremrangebyscore", range::zremrangebyscore),
    ("zrevrange", range::zrevrange),
    ("zrevrangebylex", range::zrevrangebylex),
    ("zrevrangebyscore", range::zrevrangebyscore),
    ("zrevrank", read::zrevrank),
    ("zscan", read::zscan),
    ("zscore", read::zscore),
    ("zunion", algebra::zunion),
    ("zunionstore", algebra::zunionstore),
];
