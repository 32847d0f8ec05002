//! Lists: pushing and popping at both ends, reading, changing in the middle, moving between lists; and the forms that
//! wait until there is something to pop.

use super::args::{self, Unit, int, int_between, is, pop_count, positive};
use crate::db::notify::Class;
use crate::db::{Entry, Keyspace};
use crate::ds::listpack;
use crate::ds::quicklist::Direction;
use crate::resp::error::{CommandError, CommandResult};
use crate::resp::reply::Reply;
use crate::server::Server;
use crate::server::blocking;
use crate::server::blocking::KeyInterest;
use crate::server::call::Call;
use crate::server::propagate;
use crate::server::table::Row;
use crate::value::list::{End, List, ListLimits};
use crate::value::{Collection, Type};

/// What a client waits for that finds nothing to pop.
const A_LIST: KeyInterest = KeyInterest { kind: Type::List, on_no_key: false };

/// Answers an element of a list.
#[inline]
pub fn reply_element(reply: &mut Reply, element: listpack::ListpackEntry<'_>) {
    match element {
        listpack::ListpackEntry::Int(n) => reply.bulk_int(n),
        listpack::ListpackEntry::Str(text) => reply.bulk(text),
    }
}

impl End {
    /// `LEFT` or `RIGHT`.
    fn parse(arg: &[u8]) -> CommandResult<End> {
        if is(arg, "LEFT") {
            Ok(End::Head)
        } else if is(arg, "RIGHT") {
            Ok(End::Tail)
        } else {
            Err(CommandError::SYNTAX)
        }
    }

    fn push_event(self) -> &'static str {
        match self {
            End::Head => "lpush",
            End::Tail => "rpush",
        }
    }

    fn pop_event(self) -> &'static str {
        match self {
            End::Head => "lpop",
            End::Tail => "rpop",
        }
    }

    fn pop_command(self) -> &'static [u8] {
        match self {
            End::Head => b"LPOP",
            End::Tail => b"RPOP",
        }
    }
}

// Pushing

/// Pushes onto a list, which is made if it is not there; returns its length.
#[inline]
fn push_values(
    ks: &mut Keyspace,
    db: usize,
    key: &[u8],
    end: End,
    values: &[&[u8]],
    limits: ListLimits,
) -> CommandResult<usize> {
    if let Some(list) = ks.write::<List>(db, key)? {
        list.push(end, values, limits);
        return Ok(list.len());
    }
    let mut list = List::new();
    list.push(end, values, limits);
    let len = list.len();
    let entry = Entry::new(key, list.into_value(), None);
    entry.view().set_lru(ks.access.fresh());
    ks.add(db, entry);
    Ok(len)
}

#[inline]
fn push(s: &mut Server, call: &mut Call, args: &[&[u8]], end: End) -> CommandResult {
    let (key, values, limits) = (args[1], &args[2..], s.config.list_limits());
    let len = push_values(&mut s.ks, call.db, key, end, values, limits)?;
    pushed(s, call, key, end, values.len());
    call.reply.int(len as i64);
    Ok(())
}

#[inline]
fn pushed(s: &mut Server, call: &mut Call, key: &[u8], end: End, count: usize) {
    s.ks.changes.write(Class::LIST, end.push_event(), call.db, key);
    s.ks.changes.dirty += count as u64 - 1;
}

fn push_existing(s: &mut Server, call: &mut Call, args: &[&[u8]], end: End) -> CommandResult {
    let (key, values, limits) = (args[1], &args[2..], s.config.list_limits());
    let Some(list) = s.ks.write::<List>(call.db, key)? else {
        call.reply.int(0);
        return Ok(());
    };
    list.push(end, values, limits);
    call.reply.int(list.len() as i64);
    pushed(s, call, key, end, values.len());
    Ok(())
}

fn lpush(s: &mut Server, call: &mut Call, args: &[&[u8]]) -> CommandResult {
    push(s, call, args, End::Head)
}

fn rpush(s: &mut Server, call: &mut Call, args: &[&[u8]]) -> CommandResult {
    push(s, call, args, End::Tail)
}

fn lpushx(s: &mut Server, call: &mut Call, args: &[&[u8]]) -> CommandResult {
    push_existing(s, call, args, End::Head)
}

fn rpushx(s: &mut Server, call: &mut Call, args: &[&[u8]]) -> CommandResult {
    push_existing(s, call, args, End::Tail)
}

// Popping

/// Notes that `count` elements were popped, and deletes the key if that emptied the list.
#[inline]
fn popped(s: &mut Server, call: &mut Call, key: &[u8], end: End, count: usize, emptied: bool) {
    s.ks.changes.write(Class::LIST, end.pop_event(), call.db, key);
    s.ks.changes.dirty += count as u64 - 1;
    if emptied {
        delete_emptied(s, call, key);
    }
}

fn delete_emptied(s: &mut Server, call: &mut Call, key: &[u8]) {
    if s.ks.remove_if_empty::<List>(call.db, key) {
        s.ks.changes.notifications.push(Class::GENERIC, "del", call.db, key);
    }
}

#[inline]
fn pop(s: &mut Server, call: &mut Call, args: &[&[u8]], end: End, name: &str) -> CommandResult {
    let key = args[1];
    let limits = s.config.list_limits();
    let count = match args[2..] {
        [] => None,
        [count] => Some(usize::try_from(positive(count, None)?).unwrap_or(usize::MAX)),
        _ => {
            return Err(CommandError::err_with(format!(
                "wrong number of arguments for '{name}' command"
            )));
        }
    };
    let reply = &mut call.reply;
    let Some(list) = s.ks.write::<List>(call.db, key)? else {
        if count.is_some() {
            reply.null_array()
        } else {
            reply.null()
        }
        return Ok(());
    };
    let taken = match count {
        None => 1,
        Some(count) => {
            let taken = count.min(list.len());
            reply.array(taken);
            if taken == 0 {
                return Ok(());
            }
            taken
        }
    };
    list.pop(end, taken, limits, |element| reply_element(reply, element));
    let emptied = list.is_empty();
    popped(s, call, key, end, taken, emptied);
    Ok(())
}

fn lpop(s: &mut Server, call: &mut Call, args: &[&[u8]]) -> CommandResult {
    pop(s, call, args, End::Head, "lpop")
}

fn rpop(s: &mut Server, call: &mut Call, args: &[&[u8]]) -> CommandResult {
    pop(s, call, args, End::Tail, "rpop")
}

/// How `LMPOP`, `BLPOP` and their like pop from the first of several lists.
#[derive(Clone, Copy, Debug)]
struct PopFirst {
    end: End,
    /// Up to so many elements, answered in an array of their own; `None`: one, just so.
    count: Option<usize>,
}

/// Pops from the first key that has a list, answers its name and the elements, and propagates the effect; `false` if
/// there is none.
fn pop_first(
    s: &mut Server,
    call: &mut Call,
    keys: &[&[u8]],
    how: PopFirst,
) -> CommandResult<bool> {
    let limits = s.config.list_limits();
    for key in keys {
        let Some(list) = s.ks.write::<List>(call.db, key)? else { continue };
        let taken = how.count.unwrap_or(1).min(list.len());
        let reply = &mut call.reply;
        reply.array(2);
        reply.bulk(key);
        if how.count.is_some() {
            reply.array(taken);
        }
        list.pop(how.end, taken, limits, |element| reply_element(reply, element));
        let emptied = list.is_empty();
        popped(s, call, key, how.end, taken, emptied);
        let verb = how.end.pop_command();
        match how.count {
            None => propagate::propagate_instead(s, call, &[verb, key]),
            Some(_) => propagate::propagate_instead(
                s,
                call,
                &[verb, key, itoa::Buffer::new().format(taken).as_bytes()],
            ),
        }
        return Ok(true);
    }
    Ok(false)
}

fn blocking_pop(
    s: &mut Server,
    call: &mut Call,
    args: &[&[u8]],
    keys: &[&[u8]],
    timeout: &[u8],
    how: PopFirst,
) -> CommandResult {
    let deadline_ms = args::timeout(timeout, Unit::Seconds, s.ks.now_ms)?;
    if pop_first(s, call, keys, how)? {
        return Ok(());
    }
    if blocking::may_block(s, call) {
        blocking::block_for_keys(s, call, args, keys, A_LIST, deadline_ms);
    } else {
        call.reply.null_array();
    }
    Ok(())
}

fn blpop(s: &mut Server, call: &mut Call, args: &[&[u8]]) -> CommandResult {
    let last = args.len() - 1;
    blocking_pop(
        s,
        call,
        args,
        &args[1..last],
        args[last],
        PopFirst { end: End::Head, count: None },
    )
}

fn brpop(s: &mut Server, call: &mut Call, args: &[&[u8]]) -> CommandResult {
    let last = args.len() - 1;
    blocking_pop(
        s,
        call,
        args,
        &args[1..last],
        args[last],
        PopFirst { end: End::Tail, count: None },
    )
}

/// `numkeys key [key ...] LEFT|RIGHT [COUNT count]`: the keys and how to pop.
fn parse_mpop<'a, 'b>(args: &'b [&'a [u8]]) -> CommandResult<(&'b [&'a [u8]], PopFirst)> {
    let numkeys = int_between(args[0], 1, i64::MAX, Some("numkeys should be greater than 0"))?;
    let numkeys = usize::try_from(numkeys).unwrap_or(usize::MAX);
    let (keys, rest) = args[1..].split_at_checked(numkeys).ok_or(CommandError::SYNTAX)?;
    let (side, options) = rest.split_first().ok_or(CommandError::SYNTAX)?;
    let end = End::parse(side)?;
    Ok((keys, PopFirst { end, count: Some(pop_count(options)?) }))
}

fn lmpop(s: &mut Server, call: &mut Call, args: &[&[u8]]) -> CommandResult {
    let (keys, how) = parse_mpop(&args[1..])?;
    if !pop_first(s, call, keys, how)? {
        call.reply.null_array();
    }
    Ok(())
}

fn blmpop(s: &mut Server, call: &mut Call, args: &[&[u8]]) -> CommandResult {
    let (keys, how) = parse_mpop(&args[2..])?;
    blocking_pop(s, call, args, keys, args[1], how)
}

// Moving

/// Moves an element from one list's end to another's, and answers it; `false` if there is no element.
fn move_element(
    s: &mut Server,
    call: &mut Call,
    from: (&[u8], End),
    to: (&[u8], End),
) -> CommandResult<bool> {
    let (db, limits) = (call.db, s.config.list_limits());
    if s.ks.write::<List>(db, from.0)?.is_none() {
        return Ok(false);
    }
    // Nothing may be popped if it can't be pushed.
    s.ks.write::<List>(db, to.0)?;
    let Some(list) = s.ks.write::<List>(db, from.0)? else { return Ok(false) };
    let mut value = Vec::new();
    list.pop(from.1, 1, limits, |element| value = element.to_vec());
    let emptied = list.is_empty();
    push_values(&mut s.ks, db, to.0, to.1, &[&value], limits)?;
    call.reply.bulk(&value);
    s.ks.changes.signal_modified(db, to.0);
    s.ks.changes.notifications.push(Class::LIST, to.1.push_event(), db, to.0);
    popped(s, call, from.0, from.1, 1, emptied);
    Ok(true)
}

fn lmove(s: &mut Server, call: &mut Call, args: &[&[u8]]) -> CommandResult {
    let ends = (End::parse(args[3])?, End::parse(args[4])?);
    if !move_element(s, call, (args[1], ends.0), (args[2], ends.1))? {
        call.reply.null();
    }
    Ok(())
}

fn rpoplpush(s: &mut Server, call: &mut Call, args: &[&[u8]]) -> CommandResult {
    if !move_element(s, call, (args[1], End::Tail), (args[2], End::Head))? {
        call.reply.null();
    }
    Ok(())
}

/// Moves an element as soon as there is one; `effect`: what is propagated then.
fn blocking_move(
    s: &mut Server,
    call: &mut Call,
    args: &[&[u8]],
    ends: (End, End),
    deadline_ms: Option<i64>,
    effect: &[&[u8]],
) -> CommandResult {
    if move_element(s, call, (args[1], ends.0), (args[2], ends.1))? {
        propagate::propagate_instead(s, call, effect);
    } else if blocking::may_block(s, call) {
        blocking::block_for_keys(s, call, args, &args[1..2], A_LIST, deadline_ms);
    } else {
        call.reply.null();
    }
    Ok(())
}

fn blmove(s: &mut Server, call: &mut Call, args: &[&[u8]]) -> CommandResult {
    let ends = (End::parse(args[3])?, End::parse(args[4])?);
    let deadline_ms = args::timeout(args[5], Unit::Seconds, s.ks.now_ms)?;
    blocking_move(s, call, args, ends, deadline_ms, &[b"LMOVE", args[1], args[2], args[3], args[4]])
}

fn brpoplpush(s: &mut Server, call: &mut Call, args: &[&[u8]]) -> CommandResult {
    let deadline_ms = args::timeout(args[3], Unit::Seconds, s.ks.now_ms)?;
    blocking_move(
        s,
        call,
        args,
        (End::Tail, End::Head),
        deadline_ms,
        &[b"RPOPLPUSH", args[1], args[2]],
    )
}

// Reading

fn llen(s: &mut Server, call: &mut Call, args: &[&[u8]]) -> CommandResult {
    let len = s.ks.read::<List>(call.db, args[1])?.map_or(0, List::len);
    call.reply.int(len as i64);
    Ok(())
}

fn lindex(s: &mut Server, call: &mut Call, args: &[&[u8]]) -> CommandResult {
    let Some(list) = s.ks.read::<List>(call.db, args[1])? else {
        call.reply.null();
        return Ok(());
    };
    match list.get(int(args[2])?) {
        Some(element) => reply_element(&mut call.reply, element.as_entry()),
        None => call.reply.null(),
    }
    Ok(())
}

/// The elements from `start` to `stop`, both included and counted from the end if negative, of `len`: the first and
/// how many.
fn resolve_range(start: i64, stop: i64, len: usize) -> (usize, usize) {
    let len = len as i64;
    let absolute = |index: i64| if index < 0 { index.saturating_add(len) } else { index };
    let start = absolute(start).max(0);
    let stop = absolute(stop).min(len - 1);
    if start > stop { (0, 0) } else { (start as usize, (stop - start + 1) as usize) }
}

fn lrange(s: &mut Server, call: &mut Call, args: &[&[u8]]) -> CommandResult {
    let (start, stop) = (int(args[2])?, int(args[3])?);
    let Some(list) = s.ks.read::<List>(call.db, args[1])? else {
        call.reply.array(0);
        return Ok(());
    };
    let (start, count) = resolve_range(start, stop, list.len());
    let reply = &mut call.reply;
    reply.array(count);
    list.range(start, count, Direction::Forward, |element| reply_element(reply, element));
    Ok(())
}

/// The options of `LPOS`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Lpos {
    /// The first match to be answered; negative: counted from the tail.
    rank: i64,
    /// How many matches, 0 for all; `None`: one, and not in an array.
    count: Option<usize>,
    /// How many elements to look at; 0: all.
    max_len: usize,
}

impl Lpos {
    fn parse(args: &[&[u8]]) -> CommandResult<Lpos> {
        const RANK_ZERO: CommandError = CommandError::err(
            "RANK can't be zero: use 1 to start from the first match, 2 from the second ... or use negative to \
             start from the end of the list",
        );
        let mut options = Lpos { rank: 1, count: None, max_len: 0 };
        for pair in args.chunks(2) {
            let &[name, value] = pair else { return Err(CommandError::SYNTAX) };
            if is(name, "RANK") {
                options.rank = int_between(value, -i64::MAX, i64::MAX, None)?;
                if options.rank == 0 {
                    return Err(RANK_ZERO);
                }
            } else if is(name, "COUNT") {
                let count = positive(value, Some("COUNT can't be negative"))?;
                options.count = Some(usize::try_from(count).unwrap_or(usize::MAX));
            } else if is(name, "MAXLEN") {
                let max_len = positive(value, Some("MAXLEN can't be negative"))?;
                options.max_len = usize::try_from(max_len).unwrap_or(usize::MAX);
            } else {
                return Err(CommandError::SYNTAX);
            }
        }
        Ok(options)
    }
}

fn lpos(s: &mut Server, call: &mut Call, args: &[&[u8]]) -> CommandResult {
    let options = Lpos::parse(&args[3..])?;
    let list = s.ks.read::<List>(call.db, args[1])?;
    let found = list.map_or_else(Vec::new, |list| {
        list.positions(args[2], options.rank, options.count.unwrap_or(1), options.max_len)
    });
    match (options.count, found.first()) {
        (Some(_), _) => {
            call.reply.array(found.len());
            found.iter().for_each(|index| call.reply.int(*index as i64));
        }
        (None, Some(index)) => call.reply.int(*index as i64),
        (None, None) => call.reply.null(),
    }
    Ok(())
}

// Changing

fn lset(s: &mut Server, call: &mut Call, args: &[&[u8]]) -> CommandResult {
    let limits = s.config.list_limits();
    let list = s.ks.write::<List>(call.db, args[1])?.ok_or(CommandError::NO_SUCH_KEY)?;
    if !list.set(int(args[2])?, args[3], limits) {
        return Err(CommandError::OUT_OF_RANGE);
    }
    s.ks.changes.write(Class::LIST, "lset", call.db, args[1]);
    call.reply.ok();
    Ok(())
}

fn linsert(s: &mut Server, call: &mut Call, args: &[&[u8]]) -> CommandResult {
    let limits = s.config.list_limits();
    let after = match args[2] {
        place if is(place, "AFTER") => true,
        place if is(place, "BEFORE") => false,
        _ => return Err(CommandError::SYNTAX),
    };
    let Some(list) = s.ks.write::<List>(call.db, args[1])? else {
        call.reply.int(0);
        return Ok(());
    };
    if !list.insert(args[3], after, args[4], limits) {
        call.reply.int(-1);
        return Ok(());
    }
    call.reply.int(list.len() as i64);
    s.ks.changes.write(Class::LIST, "linsert", call.db, args[1]);
    Ok(())
}

fn lrem(s: &mut Server, call: &mut Call, args: &[&[u8]]) -> CommandResult {
    let (key, limits) = (args[1], s.config.list_limits());
    let count = int_between(args[2], -i64::MAX, i64::MAX, None)?;
    let Some(list) = s.ks.write::<List>(call.db, key)? else {
        call.reply.int(0);
        return Ok(());
    };
    let removed = list.remove(count, args[3], limits);
    if removed > 0 {
        s.ks.changes.write(Class::LIST, "lrem", call.db, key);
        s.ks.changes.dirty += removed as u64 - 1;
        delete_emptied(s, call, key);
    }
    call.reply.int(removed as i64);
    Ok(())
}

fn ltrim(s: &mut Server, call: &mut Call, args: &[&[u8]]) -> CommandResult {
    let (key, limits) = (args[1], s.config.list_limits());
    let (start, stop) = (int(args[2])?, int(args[3])?);
    if let Some(list) = s.ks.write::<List>(call.db, key)? {
        let (start, count) = resolve_range(start, stop, list.len());
        let removed = list.trim(start, count, limits);
        // A trim that removes nothing is an event all the same, but changes nothing.
        s.ks.changes.dirty += removed as u64;
        s.ks.changes.signal_modified(call.db, key);
        s.ks.changes.notifications.push(Class::LIST, "ltrim", call.db, key);
        delete_emptied(s, call, key);
    }
    call.reply.ok();
    Ok(())
}

pub const COMMANDS: &[Row] = &[
    ("blmove", blmove),
    ("blmpop", blmpop),
    ("blpop", blpop),
    ("brpop", brpop),
    ("brpoplpush", brpoplpush),
    ("lindex", lindex),
    ("linsert", linsert),
    ("llen", llen),
    ("lmove", lmove),
    ("lmpop", lmpop),
    ("lpop", lpop),
    ("lpos", lpos),
    ("lpush", lpush),
    ("lpushx", lpushx),
    ("lrange", lrange),
    ("lrem", lrem),
    ("lset", lset),
    ("ltrim", ltrim),
    ("rpop", rpop),
    ("rpoplpush", rpoplpush),
    ("rpush", rpush),
    ("rpushx", rpushx),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges() {
        for (start, stop, len, expected) in [
            (0, -1, 3, (0, 3)),
            (-2, -1, 3, (1, 2)),
            (1, 0, 3, (0, 0)),
            (0, -4, 3, (0, 0)),
            (5, 9, 3, (0, 0)),
            (i64::MIN, i64::MAX, 3, (0, 3)),
            (i64::MAX, i64::MIN, 3, (0, 0)),
        ] {
            assert_eq!(resolve_range(start, stop, len), expected, "{start} {stop}");
        }
    }

    #[test]
    fn lpos_options() {
        let parse = |line: &str| {
            let args: Vec<&[u8]> = line.split_whitespace().map(str::as_bytes).collect();
            Lpos::parse(&args).map_err(|error| error.to_string())
        };
        let options = Lpos { rank: -2, count: Some(0), max_len: 7 };
        assert_eq!(parse("rank -2 COUNT 0 maxlen 7"), Ok(options));
        for (bad, error) in [
            ("RANK", "ERR syntax error"),
            ("FOO 1", "ERR syntax error"),
            ("COUNT -1", "ERR COUNT can't be negative"),
            ("MAXLEN x", "ERR MAXLEN can't be negative"),
            ("RANK x", "ERR value is not an integer or out of range"),
            (
                "RANK -9223372036854775808",
                "ERR value is out of range, value must between -9223372036854775807 and 9223372036854775807",
            ),
        ] {
            assert_eq!(parse(bad), Err(error.to_string()), "{bad}");
        }
    }

    #[test]
    fn mpop_arguments() {
        let parse = |line: &str| {
            let args: Vec<&[u8]> = line.split_whitespace().map(str::as_bytes).collect();
            parse_mpop(&args)
                .map(|(keys, how)| (keys.len(), how.end, how.count))
                .map_err(|e| e.to_string())
        };
        assert_eq!(parse("2 a b LEFT"), Ok((2, End::Head, Some(1))));
        assert_eq!(parse("1 a right count 5"), Ok((1, End::Tail, Some(5))));
        let syntax = "ERR syntax error";
        for (bad, error) in [
            ("0 LEFT", "ERR numkeys should be greater than 0"),
            ("x a LEFT", "ERR numkeys should be greater than 0"),
            ("1 a LEFT COUNT 0", "ERR count should be greater than 0"),
            ("3 a LEFT", syntax),
            ("9223372036854775807 a LEFT", syntax),
            ("1 a UP", syntax),
            ("1 a LEFT COUNT 1 COUNT 2", syntax),
            ("1 a LEFT COUNT", syntax),
        ] {
            assert_eq!(parse(bad), Err(error.to_string()), "{bad}");
        }
    }
}
