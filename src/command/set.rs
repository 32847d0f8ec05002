//! Sets: members in and out, asked for and drawn by chance. Their algebra is in [`algebra`](super::set_algebra).

use super::args;
use super::random::reply_repeated;
use super::scan::{ScanOptions, reply_scan, scan_steps};
use crate::db::notify::Class;
use crate::ds::listpack::{INT_TEXT_MAX, ListpackEntry};
use crate::resp::error::{CommandError, CommandResult};
use crate::resp::reply::Reply;
use crate::server::Server;
use crate::server::call::Call;
use crate::server::propagate;
use crate::server::table::Row;
use crate::value::set::{Set, SetLimits};
use rand::RngCore;

/// Members in one `SREM` that stands for a part of an `SPOP`.
const PROPAGATED_AT_ONCE: usize = 1024;

/// The limits in force.
#[inline]
pub fn limits(s: &Server) -> SetLimits {
    s.config.value_limits().set
}

/// An element of a collection as a bulk string.
#[inline]
pub fn reply_entry(reply: &mut Reply, entry: ListpackEntry<'_>) {
    match entry {
        ListpackEntry::Int(n) => reply.bulk_int(n),
        ListpackEntry::Str(bytes) => reply.bulk(bytes),
    }
}

/// Notes that a set was changed by so many members, and deletes it if it has none any more.
fn note_removed(
    s: &mut Server,
    call: &mut Call,
    key: &[u8],
    event: &'static str,
    members: usize,
) -> bool {
    s.ks.changes.write(Class::SET, event, call.db, key);
    s.ks.changes.dirty += members as u64 - 1;
    let emptied = s.ks.remove_if_empty::<Set>(call.db, key);
    if emptied {
        s.ks.changes.notifications.push(Class::GENERIC, "del", call.db, key);
    }
    emptied
}

fn sadd(s: &mut Server, call: &mut Call, args: &[&[u8]]) -> CommandResult {
    let (key, members) = (args[1], &args[2..]);
    let limits = limits(s);
    let create = || Set::new(members[0], members.len(), &limits);
    let set = s.ks.write_or_create(call.db, key, create)?;
    set.reserve(members.len(), &limits);
    let added = members.iter().filter(|member| set.add(member, &limits)).count();
    if added > 0 {
        s.ks.changes.write(Class::SET, "sadd", call.db, key);
        s.ks.changes.dirty += added as u64 - 1;
    }
    call.reply.int(added as i64);
    Ok(())
}

fn srem(s: &mut Server, call: &mut Call, args: &[&[u8]]) -> CommandResult {
    let key = args[1];
    let mut removed = 0;
    if let Some(set) = s.ks.write::<Set>(call.db, key)? {
        removed = args[2..].iter().filter(|member| set.remove(member)).count();
        if removed > 0 {
            note_removed(s, call, key, "srem", removed);
        }
    }
    call.reply.int(removed as i64);
    Ok(())
}

fn smove(s: &mut Server, call: &mut Call, args: &[&[u8]]) -> CommandResult {
    let (from, to, member) = (args[1], args[2], args[3]);
    let limits = limits(s);
    // Both are looked up, and expire, before either is judged.
    let is_there = s.ks.lookup_write(call.db, from).is_some();
    s.ks.lookup_write(call.db, to);
    if !is_there {
        call.reply.int(0);
        return Ok(());
    }
    s.ks.write::<Set>(call.db, from)?;
    s.ks.write::<Set>(call.db, to)?;
    let Some(set) = s.ks.write::<Set>(call.db, from)? else { return Ok(()) };
    if from == to {
        call.reply.int(set.contains(member).into());
        return Ok(());
    }
    if !set.remove(member) {
        call.reply.int(0);
        return Ok(());
    }
    note_removed(s, call, from, "srem", 1);
    let set = s.ks.write_or_create(call.db, to, || Set::new(member, 1, &limits))?;
    if set.add(member, &limits) {
        s.ks.changes.write(Class::SET, "sadd", call.db, to);
    }
    call.reply.int(1);
    Ok(())
}

fn sismember(s: &mut Server, call: &mut Call, args: &[&[u8]]) -> CommandResult {
    let set = s.ks.read::<Set>(call.db, args[1])?;
    let found = set.is_some_and(|set| set.contains(args[2]));
    call.reply.int(found.into());
    Ok(())
}

fn smismember(s: &mut Server, call: &mut Call, args: &[&[u8]]) -> CommandResult {
    let set = s.ks.read::<Set>(call.db, args[1])?;
    call.reply.array(args.len() - 2);
    for member in &args[2..] {
        call.reply.int(set.is_some_and(|set| set.contains(member)).into());
    }
    Ok(())
}

fn scard(s: &mut Server, call: &mut Call, args: &[&[u8]]) -> CommandResult {
    let len = s.ks.read::<Set>(call.db, args[1])?.map_or(0, Set::len);
    call.reply.int(len as i64);
    Ok(())
}

fn smembers(s: &mut Server, call: &mut Call, args: &[&[u8]]) -> CommandResult {
    match s.ks.read::<Set>(call.db, args[1])? {
        Some(set) => reply_set(&mut call.reply, set),
        None => call.reply.set(0),
    }
    Ok(())
}

/// All members of a set.
pub fn reply_set(reply: &mut Reply, set: &Set) {
    reply.set(set.len());
    set.for_each(|member| reply_entry(reply, member));
}

fn spop(s: &mut Server, call: &mut Call, args: &[&[u8]]) -> CommandResult {
    match args {
        [_, key] => spop_one(s, call, key),
        [_, key, count] => spop_count(s, call, key, count),
        _ => Err(CommandError::SYNTAX),
    }
}

fn spop_one(s: &mut Server, call: &mut Call, key: &[u8]) -> CommandResult {
    let mut popped = None;
    if let Some(set) = s.ks.write::<Set>(call.db, key)? {
        set.pop(1, &mut || s.rng.next_u64(), |member| popped = Some(member.to_vec()));
    }
    match popped {
        Some(member) => {
            note_removed(s, call, key, "spop", 1);
            propagate::propagate_instead(s, call, &[b"SREM", key, &member]);
            call.reply.bulk(&member);
        }
        None => call.reply.null(),
    }
    Ok(())
}

fn spop_count(s: &mut Server, call: &mut Call, key: &[u8], count: &[u8]) -> CommandResult {
    let count = args::positive(count, None)? as usize;
    let Some(set) = s.ks.write::<Set>(call.db, key)? else {
        call.reply.set(0);
        return Ok(());
    };
    let len = set.len();
    if count == 0 {
        call.reply.set(0);
        return Ok(());
    }
    if count >= len {
        reply_set(&mut call.reply, set);
        s.ks.changes.notifications.push(Class::SET, "spop", call.db, key);
        let lazy = s.config.lazyfree_lazy_server_del;
        if let Some(entry) = s.ks.remove(call.db, key) {
            s.memory.free_entry(entry, lazy);
        }
        s.ks.changes.write(Class::GENERIC, "del", call.db, key);
        s.ks.changes.dirty += len as u64 - 1;
        propagate::propagate_instead(s, call, &[if lazy { b"UNLINK" } else { b"DEL" }, key]);
        return Ok(());
    }
    call.reply.set(count);
    let mut left = count;
    while left > 0 {
        let part = left.min(PROPAGATED_AT_ONCE);
        let Some(set) = s.ks.write::<Set>(call.db, key)? else { break };
        let mut members: Vec<Vec<u8>> = Vec::with_capacity(part);
        set.pop(part, &mut || s.rng.next_u64(), |member| {
            reply_entry(&mut call.reply, member);
            members.push(member.to_vec());
        });
        let mut command: Vec<&[u8]> = vec![b"SREM", key];
        command.extend(members.iter().map(Vec::as_slice));
        propagate::propagate_instead(s, call, &command);
        left -= part;
    }
    s.ks.changes.write(Class::SET, "spop", call.db, key);
    s.ks.changes.dirty += count as u64 - 1;
    Ok(())
}

fn srandmember(s: &mut Server, call: &mut Call, args: &[&[u8]]) -> CommandResult {
    match args {
        [_, key] => {
            let set = s.ks.read::<Set>(call.db, key)?;
            match set.and_then(|set| set.random(&mut || s.rng.next_u64())) {
                Some(member) => reply_entry(&mut call.reply, member),
                None => call.reply.null(),
            }
            Ok(())
        }
        [_, key, count] => srandmember_count(s, call, key, count),
        _ => Err(CommandError::SYNTAX),
    }
}

fn srandmember_count(s: &mut Server, call: &mut Call, key: &[u8], count: &[u8]) -> CommandResult {
    let count = args::int_between(count, -i64::MAX, i64::MAX, None)?;
    let Some(set) = s.ks.read::<Set>(call.db, key)? else {
        call.reply.array(0);
        return Ok(());
    };
    let random = &mut || s.rng.next_u64();
    let reply = &mut call.reply;
    let n = count.unsigned_abs() as usize;
    if count >= 0 {
        reply.array(n.min(set.len()));
        set.sample(n, random, |member| reply_entry(reply, member));
        return Ok(());
    }
    reply.array(n);
    reply_repeated(reply, n, |reply| {
        set.random(random).map(|member| reply_entry(reply, member)).is_some()
    })
}

fn sscan(s: &mut Server, call: &mut Call, args: &[&[u8]]) -> CommandResult {
    let mut cursor = args::cursor(args[2])?;
    let mut found = call.reply.part();
    let Some(set) = s.ks.read::<Set>(call.db, args[1])? else {
        reply_scan(&mut call.reply, 0, 0, found);
        return Ok(());
    };
    let options = ScanOptions::parse(&args[3..])?;
    let mut n = 0;
    cursor = scan_steps(&options, |visited| {
        cursor = set.scan(cursor, |member| {
            *visited += 1;
            if options.matches(member.to_bytes(&mut [0; INT_TEXT_MAX])) {
                reply_entry(&mut found, member);
                n += 1;
            }
        });
        cursor
    });
    reply_scan(&mut call.reply, cursor, n, found);
    Ok(())
}

pub const COMMANDS: &[Row] = &[
    ("sadd", sadd),
    ("scard", scard),
    ("sismember", sismember),
    ("smembers", smembers),
    ("smismember", smismember),
    ("smove", smove),
    ("spop", spop),
    ("srandmember", srandmember),
    ("srem", srem),
    ("sscan", sscan),
];
