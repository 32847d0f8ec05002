//! Hashes: fields and their values. Expiry of single fields is in [`hash_expire`](super::hash_expire).

use super::args::{self, is};
use super::random::{WALK_FROM, reply_repeated};
use super::scan::{ScanOptions, reply_scan, scan_steps, without_flag};
use super::set::reply_entry;
use crate::db::notify::Class;
use crate::ds::listpack::INT_TEXT_MAX;
use crate::resp::error::{CommandError, CommandResult};
use crate::resp::reply::Reply;
use crate::server::Server;
use crate::server::call::Call;
use crate::server::propagate;
use crate::server::table::Row;
use crate::util::long_double::LongDouble;
use crate::value::hash::{Hash, HashLimits, Pair};
use rand::{Rng, RngCore};

/// The limits in force.
#[inline]
pub fn limits(s: &Server) -> HashLimits {
    s.config.value_limits().hash
}

/// Notes that fields were removed, and deletes a hash that has none any more.
pub fn note_removed(
    s: &mut Server,
    call: &mut Call,
    key: &[u8],
    event: &'static str,
    fields: usize,
) {
    s.ks.changes.write(Class::HASH, event, call.db, key);
    s.ks.changes.dirty += fields as u64 - 1;
    if s.ks.remove_if_empty::<Hash>(call.db, key) {
        s.ks.changes.notifications.push(Class::GENERIC, "del", call.db, key);
    }
}

fn hset(s: &mut Server, call: &mut Call, args: &[&[u8]]) -> CommandResult {
    let created = set_pairs(s, call, args, "hset")?;
    call.reply.int(created as i64);
    Ok(())
}

fn hmset(s: &mut Server, call: &mut Call, args: &[&[u8]]) -> CommandResult {
    set_pairs(s, call, args, "hmset")?;
    call.reply.ok();
    Ok(())
}

/// Sets all pairs behind the key; returns how many of the fields are new.
fn set_pairs(
    s: &mut Server,
    call: &mut Call,
    args: &[&[u8]],
    command: &str,
) -> CommandResult<usize> {
    let (key, pairs) = (args[1], &args[2..]);
    if !pairs.len().is_multiple_of(2) {
        return Err(CommandError::err_with(format!(
            "wrong number of arguments for '{command}' command"
        )));
    }
    let (limits, now) = (limits(s), s.ks.field_clock());
    s.ks.drop_expired_fields(call.db, key, pairs.iter().copied().step_by(2));
    let hash = s.ks.write_or_create(call.db, key, Hash::default)?;
    hash.reserve(pairs, &limits);
    let set = |pair: &&[&[u8]]| hash.set(pair[0], pair[1], None, &limits, now);
    let created = pairs.chunks_exact(2).filter(set).count();
    s.ks.changes.write(Class::HASH, "hset", call.db, key);
    s.ks.changes.dirty += pairs.len() as u64 / 2 - 1;
    Ok(created)
}

fn hsetnx(s: &mut Server, call: &mut Call, args: &[&[u8]]) -> CommandResult {
    let (key, field, value) = (args[1], args[2], args[3]);
    let (limits, now) = (limits(s), s.ks.field_clock());
    s.ks.drop_expired_fields(call.db, key, [field]);
    let hash = s.ks.write_or_create(call.db, key, Hash::default)?;
    let free = hash.find(field, now).is_none();
    if free {
        hash.set(field, value, None, &limits, now);
        s.ks.changes.write(Class::HASH, "hset", call.db, key);
    }
    call.reply.int(free.into());
    Ok(())
}

fn hget(s: &mut Server, call: &mut Call, args: &[&[u8]]) -> CommandResult {
    let now = s.ks.field_clock();
    match s.ks.read_fields(call.db, args[1], [args[2]])?.and_then(|hash| hash.get(args[2], now)) {
        Some(value) => reply_entry(&mut call.reply, value),
        None => call.reply.null(),
    }
    Ok(())
}

fn hmget(s: &mut Server, call: &mut Call, args: &[&[u8]]) -> CommandResult {
    let now = s.ks.field_clock();
    let hash = s.ks.read_fields(call.db, args[1], args[2..].iter().copied())?;
    call.reply.array(args.len() - 2);
    for field in &args[2..] {
        if call.reply.is_given_up() {
            break;
        }
        reply_value(&mut call.reply, hash, field, now);
    }
    Ok(())
}

/// The value of a field; null if it is not there.
pub fn reply_value(reply: &mut Reply, hash: Option<&Hash>, field: &[u8], now: i64) {
    match hash.and_then(|hash| hash.get(field, now)) {
        Some(value) => reply_entry(reply, value),
        None => reply.null(),
    }
}

fn hexists(s: &mut Server, call: &mut Call, args: &[&[u8]]) -> CommandResult {
    let now = s.ks.field_clock();
    let hash = s.ks.read_fields(call.db, args[1], [args[2]])?;
    call.reply.int(hash.is_some_and(|hash| hash.find(args[2], now).is_some()).into());
    Ok(())
}

fn hlen(s: &mut Server, call: &mut Call, args: &[&[u8]]) -> CommandResult {
    let len = s.ks.read::<Hash>(call.db, args[1])?.map_or(0, Hash::len);
    call.reply.int(len as i64);
    Ok(())
}

fn hstrlen(s: &mut Server, call: &mut Call, args: &[&[u8]]) -> CommandResult {
    let now = s.ks.field_clock();
    let hash = s.ks.read_fields(call.db, args[1], [args[2]])?;
    let value = hash.and_then(|hash| hash.get(args[2], now));
    call.reply.int(value.map_or(0, |value| value.text_len()) as i64);
    Ok(())
}

fn hdel(s: &mut Server, call: &mut Call, args: &[&[u8]]) -> CommandResult {
    let (key, now) = (args[1], s.ks.field_clock());
    let mut removed = 0;
    if let Some(hash) = s.ks.write_fields(call.db, key, args[2..].iter().copied())? {
        removed = args[2..].iter().filter(|field| hash.remove(field, now)).count();
        if removed > 0 {
            note_removed(s, call, key, "hdel", removed);
        }
    }
    call.reply.int(removed as i64);
    Ok(())
}

fn hincrby(s: &mut Server, call: &mut Call, args: &[&[u8]]) -> CommandResult {
    let (key, field) = (args[1], args[2]);
    let increment = args::int(args[3])?;
    let (limits, now) = (limits(s), s.ks.field_clock());
    s.ks.drop_expired_fields(call.db, key, [field]);
    let hash = s.ks.write_or_create(call.db, key, Hash::default)?;
    let (old, expire) = match hash.find(field, now) {
        Some(pair) => {
            let old = pair.value.as_int();
            (old.ok_or(CommandError::err("hash value is not an integer"))?, pair.expire)
        }
        None => (0, None),
    };
    let sum = old.checked_add(increment).ok_or(CommandError::OVERFLOW)?;
    hash.set(field, itoa::Buffer::new().format(sum).as_bytes(), expire, &limits, now);
    s.ks.changes.write(Class::HASH, "hincrby", call.db, key);
    call.reply.int(sum);
    Ok(())
}

fn hincrbyfloat(s: &mut Server, call: &mut Call, args: &[&[u8]]) -> CommandResult {
    let (key, field) = (args[1], args[2]);
    let increment = args::long_double(args[3])?;
    if increment.is_nan() || increment.is_inf() {
        return Err(CommandError::err("value is NaN or Infinity"));
    }
    let (limits, now) = (limits(s), s.ks.field_clock());
    s.ks.drop_expired_fields(call.db, key, [field]);
    let hash = s.ks.write_or_create(call.db, key, Hash::default)?;
    let (old, expire) = match hash.find(field, now) {
        Some(pair) => {
            let old = LongDouble::parse(pair.value.to_bytes(&mut [0; INT_TEXT_MAX]));
            (old.ok_or(CommandError::err("hash value is not a float"))?, pair.expire)
        }
        None => (LongDouble::ZERO, None),
    };
    let sum = args::sum_of_increment(old, increment)?;
    let text = sum.to_human();
    hash.set(field, text.as_bytes(), expire, &limits, now);
    s.ks.changes.write(Class::HASH, "hincrbyfloat", call.db, key);
    // The sum, not the increment: replicas must not depend on how a number is rounded.
    propagate::propagate_instead(s, call, &[b"HSET", key, field, text.as_bytes()]);
    if let Some(at) = expire {
        let mut digits = itoa::Buffer::new();
        propagate::propagate_instead(
            s,
            call,
            &[b"HPEXPIREAT", key, digits.format(at).as_bytes(), b"FIELDS", b"1", field],
        );
    }
    call.reply.bulk_str(&text);
    Ok(())
}

/// What `HGETALL` and its relatives answer of each field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Parts {
    Fields,
    Values,
    Both,
}

impl Parts {
    fn reply(self, reply: &mut Reply, pair: Pair<'_>) {
        if self != Parts::Values {
            reply_entry(reply, pair.field);
        }
        if self != Parts::Fields {
            reply_entry(reply, pair.value);
        }
    }
}

fn hgetall(s: &mut Server, call: &mut Call, args: &[&[u8]]) -> CommandResult {
    reply_all(s, call, args[1], Parts::Both)
}

fn hkeys(s: &mut Server, call: &mut Call, args: &[&[u8]]) -> CommandResult {
    reply_all(s, call, args[1], Parts::Fields)
}

fn hvals(s: &mut Server, call: &mut Call, args: &[&[u8]]) -> CommandResult {
    reply_all(s, call, args[1], Parts::Values)
}

fn reply_all(s: &mut Server, call: &mut Call, key: &[u8], parts: Parts) -> CommandResult {
    let now = s.ks.field_clock();
    let hash = s.ks.read::<Hash>(call.db, key)?;
    let fields = hash.map_or(0, |hash| hash.count_live(now));
    match parts {
        Parts::Both => call.reply.map(fields),
        _ => call.reply.array(fields),
    }
    if let Some(hash) = hash {
        hash.for_each(now, |pair| parts.reply(&mut call.reply, pair));
    }
    Ok(())
}

/// HRANDFIELD key [count [WITHVALUES]]
fn hrandfield(s: &mut Server, call: &mut Call, args: &[&[u8]]) -> CommandResult {
    let now = s.ks.field_clock();
    let (count, parts) = match *args {
        [_, key] => {
            let hash = s.ks.read::<Hash>(call.db, key)?;
            match hash.and_then(|hash| hash.random(&mut || s.rng.next_u64(), now)) {
                Some(pair) => reply_entry(&mut call.reply, pair.field),
                None => {
                    call.reply.null();
                    s.ks.drop_expired_hash(call.db, key);
                }
            }
            return Ok(());
        }
        [_, _, count] => (args::int_between(count, -i64::MAX, i64::MAX, None)?, Parts::Fields),
        [_, _, count, option] if is(option, "WITHVALUES") => {
            let count = args::int_between(count, -i64::MAX, i64::MAX, None)?;
            if count.unsigned_abs() > i64::MAX as u64 / 2 {
                return Err(CommandError::err("value is out of range"));
            }
            (count, Parts::Both)
        }
        [_, _, count, ..] => {
            args::int_between(count, -i64::MAX, i64::MAX, None)?;
            return Err(CommandError::SYNTAX);
        }
        _ => return Err(CommandError::SYNTAX),
    };
    let Some(hash) = s.ks.read::<Hash>(call.db, args[1])? else {
        call.reply.array(0);
        return Ok(());
    };
    let random = &mut || s.rng.next_u64();
    let reply = &mut call.reply;
    // In RESP2 a field and its value are two elements, in RESP3 one, an array.
    let nested = parts == Parts::Both && reply.is_resp3();
    let elements = if parts == Parts::Both && !nested { 2 } else { 1 };
    let write = |reply: &mut Reply, pair: Pair<'_>| {
        if nested {
            reply.array(2);
        }
        parts.reply(reply, pair);
    };
    let n = count.unsigned_abs() as usize;
    if hash.random(random, now).is_none() {
        reply.array(0);
        s.ks.drop_expired_hash(call.db, args[1]);
        return Ok(());
    }
    if count >= 0 {
        let at = reply.deferred();
        let visited = hash.sample(n, random, now, |pair| write(reply, pair));
        reply.set_array(at, visited * elements);
        return Ok(());
    }
    reply.array(n * elements);
    if n < WALK_FROM || !hash.is_compact() {
        return reply_repeated(reply, n, |reply| {
            hash.random(random, now).map(|pair| write(reply, pair)).is_some()
        });
    }
    // A compact hash is gone through once, not once for each field.
    let mut compact = Vec::with_capacity(hash.len());
    hash.for_each(now, |pair| compact.push(pair));
    reply_repeated(reply, n, |reply| {
        let index = s.rng.random_range(0..compact.len().max(1));
        compact.get(index).map(|pair| write(reply, *pair)).is_some()
    })
}

/// HSCAN key cursor [MATCH pattern] [COUNT count] [NOVALUES]
fn hscan(s: &mut Server, call: &mut Call, args: &[&[u8]]) -> CommandResult {
    let mut cursor = args::cursor(args[2])?;
    let now = s.ks.field_clock();
    let mut found = call.reply.part();
    let Some(hash) = s.ks.read::<Hash>(call.db, args[1])? else {
        reply_scan(&mut call.reply, 0, 0, found);
        return Ok(());
    };
    let (options, no_values) = without_flag(&args[3..], "NOVALUES");
    let options = ScanOptions::parse(&options)?;
    let parts = if no_values { Parts::Fields } else { Parts::Both };
    let mut n = 0;
    cursor = scan_steps(&options, |visited| {
        cursor = hash.scan(cursor, now, |pair| {
            *visited += 1;
            if options.matches(pair.field.to_bytes(&mut [0; INT_TEXT_MAX])) {
                parts.reply(&mut found, pair);
                n += if no_values { 1 } else { 2 };
            }
        });
        cursor
    });
    reply_scan(&mut call.reply, cursor, n, found);
    Ok(())
}

pub const COMMANDS: &[Row] = &[
    ("hdel", hdel),
    ("hexists", hexists),
    ("hget", hget),
    ("hgetall", hgetall),
    ("hincrby", hincrby),
    ("hincrbyfloat", hincrbyfloat),
    ("hkeys", hkeys),
    ("hlen", hlen),
    ("hmget", hmget),
    ("hmset", hmset),
    ("hrandfield", hrandfield),
    ("hscan", hscan),
    ("hset", hset),
    ("hsetnx", hsetnx),
    ("hstrlen", hstrlen),
    ("hvals", hvals),
];
