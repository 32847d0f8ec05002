//! Unions, intersections and differences of sets, answered or stored.

use super::args::{self, is};
use super::keys::store_result;
use super::set::{limits, reply_entry, reply_set};
use crate::db::notify::Class;
use crate::db::{Entry, Keyspace};
use crate::resp::error::{CommandError, CommandResult};
use crate::server::Server;
use crate::server::call::Call;
use crate::server::table::Row;
use crate::value::Collection;
use crate::value::set::{self, Set, SetLimits};
use std::ops::ControlFlow;

/// The sets under these keys. A key that is not there is no set, and as good as an empty one.
fn sets<'a>(
    ks: &'a mut Keyspace,
    db: usize,
    keys: &[&[u8]],
) -> CommandResult<Vec<Option<&'a Set>>> {
    // Looking a key up may delete it, so that nothing can be kept from the first time.
    let mut found = Vec::with_capacity(keys.len());
    for key in keys {
        found.push(ks.read::<Set>(db, key)?.is_some());
    }
    let ks = &*ks;
    let set = |key: &[u8]| Set::of(ks.dbs[db].table.get(ks.hash(key), key)?.value());
    Ok(keys.iter().zip(found).map(|(key, found)| if found { set(key) } else { None }).collect())
}

/// The sets, from the smallest to the largest; `None` if one of them is not there.
fn to_intersect<'a>(
    ks: &'a mut Keyspace,
    db: usize,
    keys: &[&[u8]],
) -> CommandResult<Option<Vec<&'a Set>>> {
    let all: Option<Vec<&Set>> = sets(ks, db, keys)?.into_iter().collect();
    Ok(all.map(|mut sets| {
        sets.sort_by_cached_key(|set| (set.len(), std::ptr::from_ref(*set)));
        // One that is named twice is asked once.
        sets.dedup_by(|a, b| std::ptr::eq(*a, *b));
        sets
    }))
}

/// SINTER key [key ...]
fn sinter(s: &mut Server, call: &mut Call, args: &[&[u8]]) -> CommandResult {
    match to_intersect(&mut s.ks, call.db, &args[1..])?.as_deref() {
        Some([only]) => reply_set(&mut call.reply, only),
        Some([first, others @ ..]) => {
            let at = call.reply.deferred();
            let mut n = 0;
            _ = set::intersect(first, others, |member| {
                reply_entry(&mut call.reply, member);
                n += 1;
                ControlFlow::Continue(())
            });
            call.reply.set_set(at, n);
        }
        _ => call.reply.set(0),
    }
    Ok(())
}

/// SINTERCARD numkeys key [key ...] [LIMIT limit]
fn sintercard(s: &mut Server, call: &mut Call, args: &[&[u8]]) -> CommandResult {
    let greater = "numkeys should be greater than 0";
    let keys = args::int_between(args[1], 1, i64::MAX, Some(greater))? as usize;
    if keys > args.len() - 2 {
        return Err(CommandError::err("Number of keys can't be greater than number of args"));
    }
    let (keys, options) = args[2..].split_at(keys);
    let mut limit = 0;
    for option in options.chunks(2) {
        match *option {
            [name, n] if is(name, "LIMIT") => {
                limit = args::positive(n, Some("LIMIT can't be negative"))?;
            }
            _ => return Err(CommandError::SYNTAX),
        }
    }
    let mut n = 0;
    if let Some([first, others @ ..]) = to_intersect(&mut s.ks, call.db, keys)?.as_deref() {
        _ = set::intersect(first, others, |_| {
            n += 1;
            if n == limit { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
    }
    call.reply.int(n);
    Ok(())
}

/// SINTERSTORE destination key [key ...]
fn sinterstore(s: &mut Server, call: &mut Call, args: &[&[u8]]) -> CommandResult {
    let limits = limits(s);
    let mut result = Set::default();
    if let Some([first, others @ ..]) = to_intersect(&mut s.ks, call.db, &args[2..])?.as_deref() {
        _ = set::intersect(first, others, |member| {
            result.add_absent(member, &limits);
            ControlFlow::Continue(())
        });
    }
    store(s, call, args[1], result, "sinterstore")
}

/// SUNION key [key ...]
fn sunion(s: &mut Server, call: &mut Call, args: &[&[u8]]) -> CommandResult {
    let limits = limits(s);
    let sets: Vec<&Set> = sets(&mut s.ks, call.db, &args[1..])?.into_iter().flatten().collect();
    if let [only] = sets[..] {
        reply_set(&mut call.reply, only);
        return Ok(());
    }
    let union = set::unite(&sets, &limits);
    reply_set(&mut call.reply, &union);
    discard(s, union);
    Ok(())
}

/// SUNIONSTORE destination key [key ...]
fn sunionstore(s: &mut Server, call: &mut Call, args: &[&[u8]]) -> CommandResult {
    let limits = limits(s);
    let sets: Vec<&Set> = sets(&mut s.ks, call.db, &args[2..])?.into_iter().flatten().collect();
    let union = set::unite(&sets, &limits);
    store(s, call, args[1], union, "sunionstore")
}

/// SDIFF key [key ...]
fn sdiff(s: &mut Server, call: &mut Call, args: &[&[u8]]) -> CommandResult {
    let limits = limits(s);
    let difference = difference(&sets(&mut s.ks, call.db, &args[1..])?, &limits);
    reply_set(&mut call.reply, &difference);
    discard(s, difference);
    Ok(())
}

/// SDIFFSTORE destination key [key ...]
fn sdiffstore(s: &mut Server, call: &mut Call, args: &[&[u8]]) -> CommandResult {
    let limits = limits(s);
    let difference = difference(&sets(&mut s.ks, call.db, &args[2..])?, &limits);
    store(s, call, args[1], difference, "sdiffstore")
}

/// What is in the first set and in no other.
fn difference(sets: &[Option<&Set>], limits: &SetLimits) -> Set {
    let [Some(first), others @ ..] = sets else { return Set::default() };
    let mut others: Vec<&Set> = others.iter().copied().flatten().collect();
    if others.iter().any(|other| std::ptr::eq(*other, *first)) {
        return Set::default();
    }
    // Either ask all the others for each member of the first, or take the members of all others out of a copy. The
    // first way does less for each member, and stops at the first set that has it.
    let ask = first.len() * (others.len() + 1) / 2;
    let take_out = first.len() + others.iter().map(|set| set.len()).sum::<usize>();
    if ask <= take_out {
        others.sort_by_cached_key(|set| std::cmp::Reverse(set.len()));
        return set::subtract(first, &others, limits);
    }
    let mut result = (*first).clone();
    for other in others {
        _ = other.try_for_each(|member| {
            result.remove_entry(member);
            if result.is_empty() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
    }
    result
}

/// Puts a result under a key, in place of what is there; an empty one deletes it. Answers the number of members.
fn store(
    s: &mut Server,
    call: &mut Call,
    key: &[u8],
    result: Set,
    event: &'static str,
) -> CommandResult {
    let len = result.len();
    let result = (len > 0).then(|| result.into_value());
    store_result(s, call, key, result, Class::SET, event);
    call.reply.int(len as i64);
    Ok(())
}

/// Frees an intermediate result, as deleted values are freed.
fn discard(s: &mut Server, set: Set) {
    let lazy = s.config.lazyfree_lazy_server_del;
    s.memory.free_entry(Entry::new(b"", set.into_value(), None), lazy);
}

pub const COMMANDS: &[Row] = &[
    ("sdiff", sdiff),
    ("sdiffstore", sdiffstore),
    ("sinter", sinter),
    ("sintercard", sintercard),
    ("sinterstore", sinterstore),
    ("sunion", sunion),
    ("sunionstore", sunionstore),
];
