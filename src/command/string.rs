//! Strings: `SET` and `GET`, their relatives, and the commands that treat a string as a number.
//!
//! `LCS` has a file of its own.

use super::args::{self, ExpireOption, is, parse_expire};
use super::expire::{delete_expired_now, is_already_expired};
use crate::db::key_table::Found;
use crate::db::keyspace::string;
use crate::db::notify::Class;
use crate::resp::error::{CommandError, CommandResult};
use crate::resp::reply::Reply;
use crate::server::Server;
use crate::server::call::Call;
use crate::server::client::ClientFlags;
use crate::server::large_reply;
use crate::server::large_reply::is_large;
use crate::server::propagate;
use crate::server::table::Row;
use crate::util::long_double::LongDouble;
use crate::util::number::parse_i64;
use crate::value::ValueRef;

/// The bytes of a string; those of an integer are written into `digits`. A value that is no string, which the callers
/// have ruled out, has none.
#[inline]
pub fn string_bytes<'a>(value: ValueRef<'a>, digits: &'a mut itoa::Buffer) -> &'a [u8] {
    match value {
        ValueRef::Int(n) => digits.format(n).as_bytes(),
        ValueRef::Str(bytes) => bytes,
        _ => b"",
    }
}

#[inline]
fn reply_string(reply: &mut Reply, value: Option<ValueRef<'_>>) {
    match value {
        Some(ValueRef::Str(bytes)) => reply.bulk(bytes),
        Some(ValueRef::Int(n)) => reply.bulk_int(n),
        _ => reply.null(),
    }
}

// SET and its relatives

/// The condition under which `SET` sets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Condition<'a> {
    Always,
    /// `NX`: the key is not there.
    Missing,
    /// `XX`: the key is there.
    Present,
    /// `IFEQ`: the key holds this string.
    Equals(&'a [u8]),
}

/// What becomes of the expiry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ttl<'a> {
    Default,
    Keep,
    Persist,
    Expire(ExpireOption, &'a [u8]),
}

impl Ttl<'_> {
    /// When the key is to expire, in milliseconds since the epoch.
    ///
    /// # Errors
    /// That of `command` where the argument is no such time.
    fn expire(self, s: &Server, command: &str) -> CommandResult<Option<i64>> {
        match self {
            Ttl::Expire(option, arg) => Ok(Some(parse_expire(option, arg, s.ks.now_ms, command)?)),
            _ => Ok(None),
        }
    }

    /// Whether it is `PXAT`, the form in which expiries are propagated.
    fn is_pxat(self) -> bool {
        matches!(self, Ttl::Expire(ExpireOption::PxAt, _))
    }
}

/// The options of `SET`.
#[derive(Clone, Copy, Debug)]
struct SetOptions<'a> {
    condition: Condition<'a>,
    ttl: Ttl<'a>,
    /// `GET`: the reply is the old value.
    get: bool,
}

impl<'a> SetOptions<'a> {
    const NONE: SetOptions<'static> =
        SetOptions { condition: Condition::Always, ttl: Ttl::Default, get: false };

    fn parse(args: &[&'a [u8]]) -> CommandResult<SetOptions<'a>> {
        let mut options = SetOptions::NONE;
        let mut rest = args.iter();
        while let Some(&arg) = rest.next() {
            let free = options.ttl == Ttl::Default;
            let unconditional = options.condition == Condition::Always;
            if is(arg, "NX") && matches!(options.condition, Condition::Always | Condition::Missing)
            {
                options.condition = Condition::Missing;
            } else if is(arg, "XX")
                && matches!(options.condition, Condition::Always | Condition::Present)
            {
                options.condition = Condition::Present;
            } else if is(arg, "IFEQ") && unconditional {
                options.condition = Condition::Equals(next(&mut rest)?);
            } else if is(arg, "GET") {
                options.get = true;
            } else if is(arg, "KEEPTTL") && (free || options.ttl == Ttl::Keep) {
                options.ttl = Ttl::Keep;
            } else {
                options.ttl = parse_expire_option(arg, options.ttl, &mut rest)?;
            }
        }
        Ok(options)
    }
}

/// `EX`, `PX`, `EXAT` or `PXAT` and its argument. One of them may come twice; the last counts.
fn parse_expire_option<'a>(
    arg: &[u8],
    before: Ttl<'a>,
    rest: &mut std::slice::Iter<'_, &'a [u8]>,
) -> CommandResult<Ttl<'a>> {
    let option = ExpireOption::parse(arg).ok_or(CommandError::SYNTAX)?;
    match before {
        Ttl::Default => {}
        Ttl::Expire(earlier, _) if earlier == option => {}
        _ => return Err(CommandError::SYNTAX),
    }
    Ok(Ttl::Expire(option, next(rest)?))
}

fn next<'a>(rest: &mut std::slice::Iter<'_, &'a [u8]>) -> CommandResult<&'a [u8]> {
    rest.next().copied().ok_or(CommandError::SYNTAX)
}

fn set(s: &mut Server, call: &mut Call, args: &[&[u8]]) -> CommandResult {
    let (key, value) = (args[1], args[2]);
    if args.len() == 3 {
        set_plain(s, call, key, value);
        call.reply.ok();
        return Ok(());
    }
    let options = SetOptions::parse(&args[3..])?;
    let expire = options.ttl.expire(s, "set")?;
    let holds = condition_holds(s, call, key, options)?;
    if holds && s.config.flavour.set_in_the_past_deletes && is_past(s, expire) {
        if s.ks.lookup_write(call.db, key).is_some() {
            delete_expired_now(s, call, key);
        }
    } else if holds {
        set_until(s, call, key, value, options.ttl, expire);
        propagate_set(s, call, args, options);
    }
    match holds {
        _ if options.get => {}
        true => call.reply.ok(),
        false => call.reply.null(),
    }
    Ok(())
}

/// Whether an expiry to be set has passed already.
fn is_past(s: &Server, expire: Option<i64>) -> bool {
    expire.is_some_and(|at| is_already_expired(&s.ks, at))
}

#[inline]
fn set_plain(s: &mut Server, call: &mut Call, key: &[u8], value: &[u8]) {
    store(s, call, key, value, None);
    s.ks.changes.write(Class::STRING, "set", call.db, key);
}

/// Puts a string under a key; frees what was there, in the background if so configured.
#[inline]
fn store(s: &mut Server, call: &mut Call, key: &[u8], value: &[u8], expire: Option<i64>) {
    if let Some(old) = s.ks.set_string(call.db, key, value, expire) {
        s.memory.free_entry(old, s.config.lazyfree_lazy_server_del);
    }
}

/// Answers the old value if the options ask for it; whether their condition holds.
fn condition_holds(
    s: &mut Server,
    call: &mut Call,
    key: &[u8],
    options: SetOptions<'_>,
) -> CommandResult<bool> {
    if options.get {
        let old = s.ks.read_string(call.db, key)?;
        reply_string(&mut call.reply, old);
    }
    let found = s.ks.lookup_write(call.db, key);
    Ok(match (options.condition, found) {
        (Condition::Always, _) | (Condition::Missing, None) | (Condition::Present, Some(_)) => true,
        (Condition::Equals(wanted), Some(found)) => {
            string_bytes(string(found.get())?, &mut itoa::Buffer::new()) == wanted
        }
        _ => false,
    })
}

/// Sets, with the expiry that `ttl` has come to, or with the one that is there. One that has passed is like others: the
/// key goes when it is met.
fn set_until(
    s: &mut Server,
    call: &mut Call,
    key: &[u8],
    value: &[u8],
    ttl: Ttl<'_>,
    expire: Option<i64>,
) {
    let new_expire = match ttl {
        Ttl::Keep => s.ks.lookup_write(call.db, key).and_then(|found| found.get().expire()),
        _ => expire,
    };
    store(s, call, key, value, new_expire);
    s.ks.changes.write(Class::STRING, "set", call.db, key);
    if let Some(at) = expire {
        s.ks.changes.notifications.push(Class::GENERIC, "expire", call.db, key);
        if !ttl.is_pxat() {
            let mut digits = itoa::Buffer::new();
            propagate::propagate_instead(
                s,
                call,
                &[b"SET", key, value, b"PXAT", digits.format(at).as_bytes()],
            );
        }
    }
}

/// Propagates a `SET` that means the same everywhere and at any time, leaving out what has had its effect: `GET` and
/// `IFEQ`.
fn propagate_set(s: &mut Server, call: &mut Call, args: &[&[u8]], options: SetOptions<'_>) {
    let relative = matches!(options.ttl, Ttl::Expire(..)) && !options.ttl.is_pxat();
    let as_it_came = !options.get && !matches!(options.condition, Condition::Equals(_));
    if relative || as_it_came {
        return;
    }
    let mut command = args[..3].to_vec();
    let mut rest = args[3..].iter();
    while let Some(&arg) = rest.next() {
        if is(arg, "IFEQ") {
            rest.next();
        } else if !is(arg, "GET") {
            command.push(arg);
        }
    }
    propagate::propagate_instead(s, call, &command);
}

fn setnx(s: &mut Server, call: &mut Call, args: &[&[u8]]) -> CommandResult {
    let options = SetOptions { condition: Condition::Missing, ..SetOptions::NONE };
    let holds = condition_holds(s, call, args[1], options)?;
    if holds {
        set_plain(s, call, args[1], args[2]);
    }
    call.reply.int(holds.into());
    Ok(())
}

fn setex(s: &mut Server, call: &mut Call, args: &[&[u8]]) -> CommandResult {
    set_expiring(s, call, args, ExpireOption::Ex, "setex")
}

fn psetex(s: &mut Server, call: &mut Call, args: &[&[u8]]) -> CommandResult {
    set_expiring(s, call, args, ExpireOption::Px, "psetex")
}

fn set_expiring(
    s: &mut Server,
    call: &mut Call,
    args: &[&[u8]],
    unit: ExpireOption,
    command: &str,
) -> CommandResult {
    let ttl = Ttl::Expire(unit, args[2]);
    let expire = ttl.expire(s, command)?;
    set_until(s, call, args[1], args[3], ttl, expire);
    call.reply.ok();
    Ok(())
}

fn getset(s: &mut Server, call: &mut Call, args: &[&[u8]]) -> CommandResult {
    let (key, value) = (args[1], args[2]);
    get(s, call, args)?;
    set_plain(s, call, key, value);
    propagate::propagate_instead(s, call, &[b"SET", key, value]);
    Ok(())
}

fn mset(s: &mut Server, call: &mut Call, args: &[&[u8]]) -> CommandResult {
    let pairs = key_value_pairs(args, "mset")?;
    for pair in pairs {
        set_plain(s, call, pair[0], pair[1]);
    }
    call.reply.ok();
    Ok(())
}

fn msetnx(s: &mut Server, call: &mut Call, args: &[&[u8]]) -> CommandResult {
    let pairs = key_value_pairs(args, "msetnx")?;
    for pair in pairs {
        if s.ks.lookup_write(call.db, pair[0]).is_some() {
            call.reply.int(0);
            return Ok(());
        }
    }
    for pair in pairs {
        set_plain(s, call, pair[0], pair[1]);
    }
    call.reply.int(1);
    Ok(())
}

/// `MSETEX` (Valkey 9.1): sets all keys with one expiry, or none if the condition does not hold for all.
fn msetex(s: &mut Server, call: &mut Call, args: &[&[u8]]) -> CommandResult {
    const NUMKEYS: CommandError = CommandError::err("invalid numkeys value or out of range");
    let count = args::int(args[1]).ok().and_then(|n| u32::try_from(n).ok()).filter(|n| *n > 0);
    let words = 2 * count.ok_or(NUMKEYS)? as usize;
    let (data, options) = args[2..].split_at_checked(words).ok_or(CommandError::SYNTAX)?;
    let options = SetOptions::parse(options)?;
    if options.get || matches!(options.condition, Condition::Equals(_)) {
        return Err(CommandError::SYNTAX);
    }
    let expire = options.ttl.expire(s, "msetex")?;
    let pairs = || data.chunks_exact(2).map(|pair| (pair[0], pair[1]));
    let wanted = match options.condition {
        Condition::Missing => Some(false),
        Condition::Present => Some(true),
        Condition::Always | Condition::Equals(_) => None,
    };
    let holds = |s: &mut Server, key| {
        wanted.is_none_or(|wanted| s.ks.lookup_write(call.db, key).is_some() == wanted)
    };
    if !pairs().all(|(key, _)| holds(s, key)) {
        call.reply.int(0);
        return Ok(());
    }
    let mut digits = itoa::Buffer::new();
    let ttl = match expire {
        Some(at) => Ttl::Expire(ExpireOption::PxAt, digits.format(at).as_bytes()),
        None => options.ttl,
    };
    for (key, value) in pairs() {
        set_until(s, call, key, value, ttl, expire);
        // As any replica understands it.
        match ttl {
            Ttl::Expire(_, at) => {
                propagate::propagate_instead(s, call, &[b"SET", key, value, b"PXAT", at]);
            }
            Ttl::Keep => {
                propagate::propagate_instead(s, call, &[b"SET", key, value, b"KEEPTTL"]);
            }
            _ => propagate::propagate_instead(s, call, &[b"SET", key, value]),
        }
    }
    call.reply.int(1);
    Ok(())
}

fn key_value_pairs<'a, 'b>(
    args: &'a [&'b [u8]],
    command: &str,
) -> CommandResult<&'a [[&'b [u8]; 2]]> {
    match args[1..].as_chunks() {
        (pairs, []) => Ok(pairs),
        _ => Err(CommandError::err_with(format!(
            "wrong number of arguments for '{command}' command"
        ))),
    }
}

// GET and its relatives

#[inline]
fn get(s: &mut Server, call: &mut Call, args: &[&[u8]]) -> CommandResult {
    match s.ks.read_string(call.db, args[1])? {
        Some(value) if is_large(&value) => {
            large_reply::reply_large_string(s, call, args[1]);
        }
        value => reply_string(&mut call.reply, value),
    }
    Ok(())
}

fn mget(s: &mut Server, call: &mut Call, args: &[&[u8]]) -> CommandResult {
    call.reply.array(args.len() - 1);
    for key in &args[1..] {
        // A key that holds something else is as good as none.
        let value = s.ks.read_string(call.db, key).unwrap_or_default();
        if value.as_ref().is_some_and(is_large) {
            if !large_reply::reply_large_string(s, call, key) {
                break;
            }
        } else {
            reply_string(&mut call.reply, value);
        }
    }
    Ok(())
}

fn getdel(s: &mut Server, call: &mut Call, args: &[&[u8]]) -> CommandResult {
    let key = args[1];
    get(s, call, args)?;
    if s.ks.delete(call.db, key).is_some() {
        s.ks.changes.write(Class::GENERIC, "del", call.db, key);
        propagate::propagate_instead(s, call, &[b"DEL", key]);
    }
    Ok(())
}

/// `DELIFEQ` (Valkey 9): deletes a key that holds this string.
fn delifeq(s: &mut Server, call: &mut Call, args: &[&[u8]]) -> CommandResult {
    let (key, wanted) = (args[1], args[2]);
    let found = s.ks.write_string(call.db, key)?;
    let equal = found
        .is_some_and(|found| string_bytes(found.get().value(), &mut itoa::Buffer::new()) == wanted);
    if equal && s.ks.delete(call.db, key).is_some() {
        s.ks.changes.write(Class::GENERIC, "del", call.db, key);
        propagate::propagate_instead(s, call, &[b"DEL", key]);
    }
    call.reply.int(equal.into());
    Ok(())
}

fn getex(s: &mut Server, call: &mut Call, args: &[&[u8]]) -> CommandResult {
    let key = args[1];
    let mut ttl = Ttl::Default;
    let mut rest = args[2..].iter();
    while let Some(&arg) = rest.next() {
        if is(arg, "PERSIST") && matches!(ttl, Ttl::Default | Ttl::Persist) {
            ttl = Ttl::Persist;
        } else {
            ttl = parse_expire_option(arg, ttl, &mut rest)?;
        }
    }
    let now_ms = s.ks.now_ms;
    let Some(value) = s.ks.read_string(call.db, key)? else {
        call.reply.null();
        return Ok(());
    };
    let expire = match ttl {
        Ttl::Expire(option, arg) => Some((option, parse_expire(option, arg, now_ms, "getex")?)),
        _ => None,
    };
    reply_string(&mut call.reply, Some(value));
    match expire {
        Some((option, at)) if option.is_absolute() && is_already_expired(&s.ks, at) => {
            delete_expired_now(s, call, key);
        }
        Some((_, at)) => {
            s.ks.set_expire(call.db, key, Some(at));
            s.ks.changes.write(Class::GENERIC, "expire", call.db, key);
            let mut digits = itoa::Buffer::new();
            propagate::propagate_instead(
                s,
                call,
                &[b"PEXPIREAT", key, digits.format(at).as_bytes()],
            );
        }
        None if ttl == Ttl::Persist && super::expire::remove_expire(s, call, key) => {
            propagate::propagate_instead(s, call, &[b"PERSIST", key]);
        }
        None => {}
    }
    Ok(())
}

fn strlen(s: &mut Server, call: &mut Call, args: &[&[u8]]) -> CommandResult {
    let len = s.ks.read_string(call.db, args[1])?.map_or(0, string_len);
    call.reply.int(len as i64);
    Ok(())
}

fn getrange(s: &mut Server, call: &mut Call, args: &[&[u8]]) -> CommandResult {
    let (start, end) = (args::int(args[2])?, args::int(args[3])?);
    let mut digits = itoa::Buffer::new();
    let bytes = match s.ks.read_string(call.db, args[1])? {
        Some(value) => string_bytes(value, &mut digits),
        None => b"",
    };
    call.reply.bulk(slice(bytes, start, end));
    Ok(())
}

/// The bytes between two indices, both included; negative ones count from the end.
fn slice(bytes: &[u8], start: i64, end: i64) -> &[u8] {
    if start < 0 && end < 0 && start > end {
        return b"";
    }
    let len = bytes.len() as i64;
    let from_end = |i: i64| if i < 0 { i.saturating_add(len).max(0) } else { i };
    let start = from_end(start);
    let end = from_end(end).min(len - 1);
    if start > end { b"" } else { &bytes[start as usize..=end as usize] }
}

// Strings that grow

/// How long a string may become. What the primary has accepted is accepted.
fn max_string_len(s: &Server, call: &Call) -> u64 {
    let from_primary = s.clients[call.client].is(ClientFlags::MASTER);
    if from_primary { i64::MAX as u64 } else { s.config.proto_max_bulk_len }
}

fn append(s: &mut Server, call: &mut Call, args: &[&[u8]]) -> CommandResult {
    let (key, more) = (args[1], args[2]);
    let limit = max_string_len(s, call);
    let len = match s.ks.write_string(call.db, key)? {
        None => {
            s.ks.set_string(call.db, key, more, None);
            more.len()
        }
        Some(found) => {
            let old = string_len(found.get().value());
            if (old + more.len()) as u64 > limit {
                return Err(CommandError::TOO_LONG);
            }
            patch_string(found, old, more)?
        }
    };
    s.ks.changes.write(Class::STRING, "append", call.db, key);
    call.reply.int(len as i64);
    Ok(())
}

fn setrange(s: &mut Server, call: &mut Call, args: &[&[u8]]) -> CommandResult {
    let (key, patch) = (args[1], args[3]);
    let offset = args::int(args[2])?;
    if offset < 0 {
        return Err(CommandError::err("offset is out of range"));
    }
    let too_long = (offset as u64).saturating_add(patch.len() as u64) > max_string_len(s, call);
    let offset = offset as usize;
    let len = match s.ks.write_string(call.db, key)? {
        found if patch.is_empty() => {
            let len = found.map_or(0, |found| string_len(found.get().value()));
            call.reply.int(len as i64);
            return Ok(());
        }
        _ if too_long => return Err(CommandError::TOO_LONG),
        Some(found) => patch_string(found, offset, patch)?,
        None => {
            let mut string = Vec::new();
            patch_bytes(&mut string, offset, patch)?;
            let len = string.len();
            s.ks.add_raw_string(call.db, key, string);
            len
        }
    };
    s.ks.changes.write(Class::STRING, "setrange", call.db, key);
    call.reply.int(len as i64);
    Ok(())
}

fn string_len(value: ValueRef<'_>) -> usize {
    string_bytes(value, &mut itoa::Buffer::new()).len()
}

/// Overwrites a string's bytes from `offset` on; returns its new length.
fn patch_string(mut found: Found<'_>, offset: usize, patch: &[u8]) -> CommandResult<usize> {
    let mut outcome = Ok(());
    found.update(|entry| entry.modify_string(|bytes| outcome = patch_bytes(bytes, offset, patch)));
    outcome?;
    Ok(string_len(found.get().value()))
}

/// Overwrites bytes from `offset` on, with zeros between the old end and there. An error if memory is short.
fn patch_bytes(bytes: &mut Vec<u8>, offset: usize, patch: &[u8]) -> CommandResult {
    let end = offset.checked_add(patch.len()).ok_or(CommandError::TOO_LONG)?;
    let missing = end.saturating_sub(bytes.len());
    make_room(bytes, missing)?;
    if offset == bytes.len() {
        bytes.extend_from_slice(patch);
        return Ok(());
    }
    bytes.resize(bytes.len() + missing, 0);
    bytes[offset..end].copy_from_slice(patch);
    Ok(())
}

/// Makes room in a string for so many bytes more. An error if memory is short.
///
/// A string that has grown before will grow again, so it gets as much again to spare, but from 1 MB on only an eighth.
pub(super) fn make_room(bytes: &mut Vec<u8>, more: usize) -> CommandResult {
    const MB: usize = 1 << 20;
    if bytes.capacity() - bytes.len() >= more {
        return Ok(());
    }
    let spare = match bytes.len().saturating_add(more) {
        _ if bytes.is_empty() => 0,
        len @ ..MB => len,
        len => (len / 8).max(MB),
    };
    (bytes.try_reserve_exact(more.saturating_add(spare)))
        .or_else(|_| bytes.try_reserve_exact(more))
        .map_err(|_| CommandError::TOO_LONG)
}

// Strings as numbers

fn incr(s: &mut Server, call: &mut Call, args: &[&[u8]]) -> CommandResult {
    incr_by(s, call, args[1], 1)
}

fn decr(s: &mut Server, call: &mut Call, args: &[&[u8]]) -> CommandResult {
    incr_by(s, call, args[1], -1)
}

fn incrby(s: &mut Server, call: &mut Call, args: &[&[u8]]) -> CommandResult {
    incr_by(s, call, args[1], args::int(args[2])?)
}

fn decrby(s: &mut Server, call: &mut Call, args: &[&[u8]]) -> CommandResult {
    let amount =
        args::int(args[2])?.checked_neg().ok_or(CommandError::err("decrement would overflow"))?;
    incr_by(s, call, args[1], amount)
}

fn incr_by(s: &mut Server, call: &mut Call, key: &[u8], amount: i64) -> CommandResult {
    let n = match s.ks.write_string(call.db, key)? {
        Some(mut found) => {
            let old = match found.get().value() {
                ValueRef::Int(n) => Some(n),
                value => parse_i64(string_bytes(value, &mut itoa::Buffer::new())),
            };
            let old = old.ok_or(CommandError::NOT_AN_INTEGER)?;
            let n = old.checked_add(amount).ok_or(CommandError::OVERFLOW)?;
            found.update(|entry| entry.with_int(n));
            n
        }
        None => {
            let digits = &mut itoa::Buffer::new();
            s.ks.set_string(call.db, key, digits.format(amount).as_bytes(), None);
            amount
        }
    };
    s.ks.changes.write(Class::STRING, "incrby", call.db, key);
    call.reply.int(n);
    Ok(())
}

fn incrbyfloat(s: &mut Server, call: &mut Call, args: &[&[u8]]) -> CommandResult {
    let key = args[1];
    let old = match s.ks.write_string(call.db, key)? {
        Some(found) => {
            args::long_double(string_bytes(found.get().value(), &mut itoa::Buffer::new()))?
        }
        None => LongDouble::from(0),
    };
    let sum = args::sum_of_increment(old, args::long_double(args[2])?)?;
    let text = sum.to_human();
    match s.ks.write_string(call.db, key)? {
        Some(mut found) => found.update(|entry| entry.with_text(text.as_bytes())),
        None => s.ks.add_text(call.db, key, text.as_bytes()),
    }
    s.ks.changes.write(Class::STRING, "incrbyfloat", call.db, key);
    // The sum, not the increment: replicas must not depend on how a number is rounded.
    propagate::propagate_instead(s, call, &[b"SET", key, text.as_bytes(), b"KEEPTTL"]);
    call.reply.bulk_str(&text);
    Ok(())
}

pub const COMMANDS: &[Row] = &[
    ("append", append),
    ("decr", decr),
    ("decrby", decrby),
    ("delifeq", delifeq),
    ("get", get),
    ("getdel", getdel),
    ("getex", getex),
    ("getrange", getrange),
    ("getset", getset),
    ("incr", incr),
    ("incrby", incrby),
    ("incrbyfloat", incrbyfloat),
    ("mget", mget),
    ("mset", mset),
    ("msetex", msetex),
    ("msetnx", msetnx),
    ("psetex", psetex),
    ("set", set),
    ("setex", setex),
    ("setnx", setnx),
    ("setrange", setrange),
    ("strlen", strlen),
    ("substr", getrange),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slices() {
        for (start, end, part) in [
            (0, -1, "hello"),
            (1, 3, "ell"),
            (-3, -1, "llo"),
            (-1, -3, ""),
            (3, 1, ""),
            (-100, 1, "he"),
            (4, 100, "o"),
            (5, 100, ""),
            (-100, -50, "h"),
            (-50, -100, ""),
            (i64::MIN, i64::MAX, "hello"),
            (i64::MAX, i64::MIN, ""),
        ] {
            assert_eq!(slice(b"hello", start, end), part.as_bytes(), "{start} {end}");
        }
        assert_eq!(slice(b"", 0, -1), b"");
    }

    fn parse(line: &str) -> Result<String, String> {
        let args: Vec<&[u8]> = line.split_whitespace().map(str::as_bytes).collect();
        match SetOptions::parse(&args) {
            Ok(o) => Ok(format!("{:?} {:?} {}", o.condition, o.ttl, o.get)),
            Err(error) => Err(error.to_string()),
        }
    }

    #[test]
    fn options_of_set() {
        for good in [
            "",
            "nx",
            "NX NX",
            "XX GET",
            "GET GET NX",
            "KEEPTTL KEEPTTL",
            "EX 1 EX 2",
            "PXAT 5 GET",
            "IFEQ a GET PX 1",
        ] {
            assert!(parse(good).is_ok(), "{good}");
        }
        for bad in [
            "NX XX",
            "XX NX",
            "IFEQ a NX",
            "XX IFEQ a",
            "IFEQ a IFEQ b",
            "IFEQ",
            "KEEPTTL EX 1",
            "EX 1 KEEPTTL",
            "EX 1 PX 1",
            "EXAT 1 PXAT 1",
            "EX",
            "PERSIST",
            "foo",
        ] {
            assert_eq!(parse(bad), Err("ERR syntax error".into()), "{bad}");
        }
    }
}
