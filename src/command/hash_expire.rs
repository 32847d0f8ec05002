//! Expiry of single fields of a hash, as Redis 8 and Valkey 9 have it: setting it, asking for it, and commands that get
//! or set fields and their expiry in one go.
//!
//! All are propagated by effect: what was set with its point in time, what had to go as `HDEL`.

use super::args::{self, ExpireOption, Unit, invalid_expire, is};
use super::expire::{Conditions, is_already_expired};
use super::hash::{limits, note_removed, reply_value};
use crate::db::notify::Class;
use crate::resp::error::{CommandError, CommandResult};
use crate::server::Server;
use crate::server::busy;
use crate::server::call::Call;
use crate::server::propagate;
use crate::server::table::Row;
use crate::value::hash::Hash;
use std::fmt::Display;

/// The latest expiry of a field, in milliseconds since 1970, that Redis can store.
const REDIS_MAX_EXPIRE: i64 = (1 << 46) - 1;

const NOT_POSITIVE: &str = "Number of fields must be a positive integer";

/// The fields of `FIELDS numfields field [field ...]`, which `args` has to be. `not_positive`: the error for a number
/// that is none.
fn fields<'a, 'b>(
    args: &'b [&'a [u8]],
    not_positive: &'static str,
) -> CommandResult<&'b [&'a [u8]]> {
    let [token, count, fields @ ..] = args else {
        return Err(CommandError::err(
            "Mandatory argument FIELDS is missing or not at the right position",
        ));
    };
    if !is(token, "FIELDS") {
        return Err(CommandError::err(
            "Mandatory argument FIELDS is missing or not at the right position",
        ));
    }
    match args::int(count) {
        Ok(count) if count > 0 => {
            if count as u64 != fields.len() as u64 {
                return Err(CommandError::err(
                    "The `numfields` parameter must match the number of arguments",
                ));
            }
            Ok(fields)
        }
        _ => Err(CommandError::err(not_positive)),
    }
}

/// The fields, if the arguments are in order.
fn named<'a>(fields: &CommandResult<&[&'a [u8]]>) -> impl Iterator<Item = &'a [u8]> {
    fields.iter().copied().flatten().copied()
}

/// How much of what Redis refuses is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rigour {
    /// Nothing.
    Redis,
    /// As Valkey does: later times, and more than one condition.
    Valkey,
    /// All that a primary has executed, or is in a file, wherever it comes from: of options that exclude each other the
    /// last counts.
    Obeyed,
}

impl Rigour {
    fn of(s: &Server, call: &Call) -> Rigour {
        if busy::must_obey(s, call.client) {
            Rigour::Obeyed
        } else if s.config.flavour.field_expiry_is_valkeys {
            Rigour::Valkey
        } else {
            Rigour::Redis
        }
    }

    fn max_expire(self) -> i64 {
        if self == Rigour::Redis { REDIS_MAX_EXPIRE } else { i64::MAX }
    }

    /// Conditions that a command may state.
    fn max_conditions(self) -> usize {
        if self == Rigour::Redis { 1 } else { usize::MAX }
    }
}

/// The point in time from which on what `arg` states is counted, and how.
#[derive(Clone, Copy, Debug)]
struct Timing<'a> {
    unit: Unit,
    base_ms: i64,
    rigour: Rigour,
    /// The command's name in lower case, for errors.
    command: &'a str,
}

/// A time that an argument states, as milliseconds since 1970.
fn expiry(arg: &[u8], timing: Timing) -> CommandResult<i64> {
    let Timing { unit, base_ms, rigour, command } = timing;
    let n = args::int(arg)?;
    if n < 0 {
        return Err(CommandError::err("invalid expire time, must be >= 0"));
    }
    let ms = match unit {
        Unit::Seconds => n.checked_mul(1000),
        Unit::Milliseconds => Some(n),
    };
    let at = ms.and_then(|ms| ms.checked_add(base_ms)).filter(|&at| at <= rigour.max_expire());
    at.ok_or_else(|| invalid_expire(command))
}

/// The time that an option such as `EX` and its argument state.
fn option_expiry(
    now_ms: i64,
    option: ExpireOption,
    arg: &[u8],
    rigour: Rigour,
    command: &str,
) -> CommandResult<i64> {
    let unit = match option {
        ExpireOption::Ex | ExpireOption::ExAt => Unit::Seconds,
        ExpireOption::Px | ExpireOption::PxAt => Unit::Milliseconds,
    };
    let base_ms = if option.is_absolute() { 0 } else { now_ms };
    expiry(arg, Timing { unit, base_ms, rigour, command })
}

/// What a command has done to fields.
#[derive(Default)]
struct Effect<'a> {
    /// Those that expire at another time now.
    expiring: Vec<&'a [u8]>,
    /// Those that do not expire any more.
    persisted: Vec<&'a [u8]>,
    /// Those that were removed.
    removed: Vec<&'a [u8]>,
}

impl Effect<'_> {
    /// Counts, signals and propagates it. `at`: when `expiring` expire.
    fn done(self, s: &mut Server, call: &mut Call, key: &[u8], at: i64) {
        let (mut digits, mut time) = (itoa::Buffer::new(), itoa::Buffer::new());
        let time = time.format(at).as_bytes();
        let mut propagate = |s: &Server, call: &mut Call, head: &[&[u8]], fields: &[&[u8]]| {
            let count: [&[u8]; 2] = [b"FIELDS", digits.format(fields.len()).as_bytes()];
            let count = if head[0] == b"HDEL" { &[][..] } else { &count[..] };
            propagate::propagate_instead(s, call, &[head, count, fields].concat());
        };
        if !self.expiring.is_empty() {
            note(s, call, key, "hexpire", self.expiring.len());
            s.ks.watch_fields(call.db, key);
            propagate(s, call, &[b"HPEXPIREAT", key, time], &self.expiring);
        }
        if !self.persisted.is_empty() {
            note(s, call, key, "hpersist", self.persisted.len());
            propagate(s, call, &[b"HPERSIST", key], &self.persisted);
        }
        if !self.removed.is_empty() {
            note_removed(s, call, key, "hdel", self.removed.len());
            propagate(s, call, &[b"HDEL", key], &self.removed);
        }
    }
}

fn note(s: &mut Server, call: &mut Call, key: &[u8], event: &'static str, fields: usize) {
    s.ks.changes.write(Class::HASH, event, call.db, key);
    s.ks.changes.dirty += fields as u64 - 1;
}

/// HEXPIRE key seconds [NX | XX | GT | LT] FIELDS numfields field [field ...]
fn expire_generic(
    s: &mut Server,
    call: &mut Call,
    args: &[&[u8]],
    unit: Unit,
    base_ms: i64,
    command: &str,
) -> CommandResult {
    let key = args[1];
    s.ks.write::<Hash>(call.db, key)?;
    let rigour = Rigour::of(s, call);
    let at = expiry(args[2], Timing { unit, base_ms, rigour, command })?;
    let is_condition = |arg: &&&[u8]| ["NX", "XX", "GT", "LT"].iter().any(|name| is(arg, name));
    let options = args[3..].iter().take_while(is_condition).take(rigour.max_conditions()).count();
    let conditions = Conditions::parse(&args[3..3 + options])?;
    let fields = fields(&args[3 + options..], "Parameter `numFields` should be greater than 0")?;
    let (now, past) = (s.ks.field_clock(), is_already_expired(&s.ks, at));

    let mut effect = Effect::default();
    let mut hash = s.ks.write_fields(call.db, key, fields.iter().copied())?;
    call.reply.array(fields.len());
    for field in fields {
        let old = hash.as_ref().and_then(|hash| hash.find(field, now)).map(|pair| pair.expire);
        let answer = match (&mut hash, old) {
            (Some(_), Some(old)) if !conditions.hold(old, at) => 0,
            (Some(hash), Some(_)) if past => {
                hash.remove(field, now);
                effect.removed.push(*field);
                2
            }
            (Some(hash), Some(_)) => {
                hash.set_expire(field, Some(at));
                effect.expiring.push(*field);
                1
            }
            _ => -2,
        };
        call.reply.int(answer);
    }
    effect.done(s, call, key, at);
    Ok(())
}

fn hexpire(s: &mut Server, call: &mut Call, args: &[&[u8]]) -> CommandResult {
    expire_generic(s, call, args, Unit::Seconds, s.ks.now_ms, "hexpire")
}

fn hpexpire(s: &mut Server, call: &mut Call, args: &[&[u8]]) -> CommandResult {
    expire_generic(s, call, args, Unit::Milliseconds, s.ks.now_ms, "hpexpire")
}

fn hexpireat(s: &mut Server, call: &mut Call, args: &[&[u8]]) -> CommandResult {
    expire_generic(s, call, args, Unit::Seconds, 0, "hexpireat")
}

fn hpexpireat(s: &mut Server, call: &mut Call, args: &[&[u8]]) -> CommandResult {
    expire_generic(s, call, args, Unit::Milliseconds, 0, "hpexpireat")
}

/// HTTL key FIELDS numfields field [field ...]: -2 for a field that is not there, -1 for one that does not expire, and
/// else the time from `base_ms` on, seconds rounded up.
fn ttl_generic(
    s: &mut Server,
    call: &mut Call,
    args: &[&[u8]],
    unit: Unit,
    base_ms: i64,
) -> CommandResult {
    let now = s.ks.field_clock();
    let fields = fields(&args[2..], NOT_POSITIVE);
    // A key of another type is the graver fault.
    let hash = s.ks.read_fields(call.db, args[1], named(&fields))?;
    let fields = fields?;
    call.reply.array(fields.len());
    for field in fields {
        let answer = match hash.and_then(|hash| hash.find(field, now)).map(|pair| pair.expire) {
            None => -2,
            Some(None) => -1,
            Some(Some(at)) => {
                let ms = at.saturating_sub(base_ms).max(0);
                if unit == Unit::Seconds { ms.saturating_add(999) / 1000 } else { ms }
            }
        };
        call.reply.int(answer);
    }
    Ok(())
}

fn httl(s: &mut Server, call: &mut Call, args: &[&[u8]]) -> CommandResult {
    ttl_generic(s, call, args, Unit::Seconds, s.ks.now_ms)
}

fn hpttl(s: &mut Server, call: &mut Call, args: &[&[u8]]) -> CommandResult {
    ttl_generic(s, call, args, Unit::Milliseconds, s.ks.now_ms)
}

fn hexpiretime(s: &mut Server, call: &mut Call, args: &[&[u8]]) -> CommandResult {
    ttl_generic(s, call, args, Unit::Seconds, 0)
}

fn hpexpiretime(s: &mut Server, call: &mut Call, args: &[&[u8]]) -> CommandResult {
    ttl_generic(s, call, args, Unit::Milliseconds, 0)
}

/// HPERSIST key FIELDS numfields field [field ...]
fn hpersist(s: &mut Server, call: &mut Call, args: &[&[u8]]) -> CommandResult {
    let now = s.ks.field_clock();
    let mut effect = Effect::default();
    let fields = fields(&args[2..], NOT_POSITIVE);
    let mut hash = s.ks.write_fields(call.db, args[1], named(&fields))?;
    let fields = fields?;
    call.reply.array(fields.len());
    for field in fields {
        let old = hash.as_ref().and_then(|hash| hash.find(field, now)).map(|pair| pair.expire);
        let answer = match (&mut hash, old) {
            (Some(hash), Some(Some(_))) => {
                hash.set_expire(field, None);
                effect.persisted.push(*field);
                1
            }
            (_, Some(_)) => -1,
            (_, None) => -2,
        };
        call.reply.int(answer);
    }
    effect.done(s, call, args[1], 0);
    Ok(())
}

/// HGETEX key [EX seconds | PX milliseconds | EXAT time | PXAT time | PERSIST] FIELDS numfields field [field ...]
fn hgetex(s: &mut Server, call: &mut Call, args: &[&[u8]]) -> CommandResult {
    let key = args[1];
    s.ks.write::<Hash>(call.db, key)?;
    let option = ExpireOption::parse(args[2]);
    let persist = is(args[2], "PERSIST");
    let options = if option.is_some() { 2 } else { usize::from(persist) };
    let rigour = Rigour::of(s, call);
    let time = |option| option_expiry(s.ks.now_ms, option, args[3], rigour, "hgetex");
    let at = option.map(time).transpose()?;
    let fields = fields(args.get(2 + options..).unwrap_or_default(), NOT_POSITIVE)?;
    let (now, past) = (s.ks.field_clock(), at.is_some_and(|at| is_already_expired(&s.ks, at)));

    let mut hash = s.ks.write_fields(call.db, key, fields.iter().copied())?;
    let mut effect = Effect::default();
    call.reply.array(fields.len());
    for field in fields {
        // One at a time: a field that is named twice is gone the second time if its time is past.
        reply_value(&mut call.reply, hash.as_deref(), field, now);
        if let Some(hash) = hash.as_mut().filter(|_| persist || at.is_some()) {
            let Some(old) = hash.find(field, now).map(|pair| pair.expire) else { continue };
            if past {
                hash.remove(field, now);
                effect.removed.push(*field);
            } else if at.is_some() {
                hash.set_expire(field, at);
                effect.expiring.push(*field);
            } else if old.is_some() {
                hash.set_expire(field, None);
                effect.persisted.push(*field);
            }
        }
    }
    effect.done(s, call, key, at.unwrap_or(0));
    Ok(())
}

/// HGETDEL key FIELDS numfields field [field ...]
fn hgetdel(s: &mut Server, call: &mut Call, args: &[&[u8]]) -> CommandResult {
    let now = s.ks.field_clock();
    let fields = fields(&args[2..], NOT_POSITIVE);
    let mut hash = s.ks.write_fields(call.db, args[1], named(&fields))?;
    let fields = fields?;
    call.reply.array(fields.len());
    let mut effect = Effect::default();
    for field in fields {
        reply_value(&mut call.reply, hash.as_deref(), field, now);
        if hash.as_mut().is_some_and(|hash| hash.remove(field, now)) {
            effect.removed.push(*field);
        }
    }
    effect.done(s, call, args[1], 0);
    Ok(())
}

/// Whether something has to be there, or must not be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Presence {
    Absent,
    Present,
}

impl Presence {
    fn holds(self, there: bool) -> bool {
        there == (self == Presence::Present)
    }
}

/// What becomes of the expiry of a field that is set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ttl {
    Keep,
    /// It expires then, in milliseconds since 1970.
    At(i64),
}

/// The arguments of `HSETEX` behind the key.
#[derive(Debug)]
struct SetOptions<'a, 'b> {
    /// `NX` and `XX`: about the key.
    key: Option<Presence>,
    /// `FNX` and `FXX`: about all of the fields.
    fields: Option<Presence>,
    ttl: Option<Ttl>,
    /// Fields and values in turn.
    pairs: &'b [&'a [u8]],
}

impl<'a, 'b> SetOptions<'a, 'b> {
    fn parse(now_ms: i64, rigour: Rigour, args: &'b [&'a [u8]]) -> CommandResult<Self> {
        let mut options = SetOptions { key: None, fields: None, ttl: None, pairs: &[] };
        let mut at = 0;
        while let Some(&arg) = args.get(at) {
            at += 1;
            if is(arg, "FNX") {
                once(rigour, &mut options.fields, Presence::Absent, "FXX or FNX")?;
            } else if is(arg, "FXX") {
                once(rigour, &mut options.fields, Presence::Present, "FXX or FNX")?;
            } else if is(arg, "NX") {
                once(rigour, &mut options.key, Presence::Absent, "XX or NX")?;
            } else if is(arg, "XX") {
                once(rigour, &mut options.key, Presence::Present, "XX or NX")?;
            } else if is(arg, "KEEPTTL") {
                once(rigour, &mut options.ttl, Ttl::Keep, EXPIRE_OPTIONS)?;
            } else if let Some(option) = ExpireOption::parse(arg) {
                let time = args.get(at).ok_or(CommandError::SYNTAX)?;
                let time = option_expiry(now_ms, option, time, rigour, "hsetex")?;
                once(rigour, &mut options.ttl, Ttl::At(time), EXPIRE_OPTIONS)?;
                at += 1;
            } else if is(arg, "FIELDS") {
                options.pairs = pairs(&args[at..])?;
                return Ok(options);
            } else {
                return Err(CommandError::err_with([b"unknown argument: ", arg].concat()));
            }
        }
        Err(CommandError::err("Mandatory argument FIELDS is missing or not at the right position"))
    }
}

const EXPIRE_OPTIONS: &str = "EX, PX, EXAT, PXAT or KEEPTTL";

/// Sets an option that excludes all others of its kind.
fn once<T>(rigour: Rigour, option: &mut Option<T>, value: T, kind: impl Display) -> CommandResult {
    match option.replace(value) {
        Some(_) if rigour != Rigour::Obeyed => {
            Err(CommandError::err_with(format!("Only one of {kind} arguments can be specified")))
        }
        _ => Ok(()),
    }
}

/// The fields and values behind their number, and nothing else.
fn pairs<'a, 'b>(args: &'b [&'a [u8]]) -> CommandResult<&'b [&'a [u8]]> {
    let wrong_number = CommandError::err("wrong number of arguments for 'hsetex' command");
    let [count, pairs @ ..] = args else { return Err(wrong_number) };
    if pairs.len() < 2 {
        return Err(wrong_number);
    }
    match args::int(count) {
        Ok(count) if count > 0 => match (count as u64).checked_mul(2) {
            Some(wanted) if wanted == pairs.len() as u64 => Ok(pairs),
            _ => Err(wrong_number),
        },
        _ => Err(CommandError::err("invalid number of fields")),
    }
}

/// HSETEX key [NX | XX] [FNX | FXX] [EX seconds | PX milliseconds | EXAT time | PXAT time | KEEPTTL]
/// FIELDS numfields field value [field value ...]
fn hsetex(s: &mut Server, call: &mut Call, args: &[&[u8]]) -> CommandResult {
    let key = args[1];
    let SetOptions { key: key_presence, fields: field_presence, ttl, pairs } =
        SetOptions::parse(s.ks.now_ms, Rigour::of(s, call), &args[2..])?;
    let at = match ttl {
        Some(Ttl::At(at)) => Some(at),
        _ => None,
    };
    let (limits, now) = (limits(s), s.ks.field_clock());
    let past = at.is_some_and(|at| is_already_expired(&s.ks, at));

    let hash = s.ks.write_fields(call.db, key, pairs.iter().copied().step_by(2))?;
    let is_there = |field: &[u8]| hash.as_ref().is_some_and(|hash| hash.find(field, now).is_some());
    let allowed = key_presence.is_none_or(|wanted| wanted.holds(hash.is_some()))
        && field_presence
            .is_none_or(|wanted| pairs.chunks_exact(2).all(|pair| wanted.holds(is_there(pair[0]))));
    call.reply.int(allowed.into());
    if !allowed {
        return Ok(());
    }
    let hash = s.ks.write_or_create(call.db, key, Hash::default)?;
    hash.reserve(pairs, &limits);
    for pair in pairs.chunks_exact(2) {
        let expire = match ttl {
            _ if past => None,
            Some(Ttl::Keep) => hash.find(pair[0], now).and_then(|old| old.expire),
            _ => at,
        };
        hash.set(pair[0], pair[1], expire, &limits, now);
    }
    if past {
        // Nobody could ever see the new values.
        let fields = pairs.chunks_exact(2).map(|pair| pair[0]);
        let removed = fields.filter(|field| hash.remove(field, now)).collect();
        s.ks.changes.notifications.push(Class::HASH, "hset", call.db, key);
        Effect { removed, ..Effect::default() }.done(s, call, key, 0);
        return Ok(());
    }
    note(s, call, key, "hset", pairs.len() / 2);
    let mut digits = itoa::Buffer::new();
    let mut effect: Vec<&[u8]> = vec![b"HSETEX", key];
    match (ttl, at) {
        (Some(Ttl::Keep), _) => effect.push(b"KEEPTTL"),
        (_, Some(at)) => {
            s.ks.watch_fields(call.db, key);
            s.ks.changes.notifications.push(Class::HASH, "hexpire", call.db, key);
            effect.extend([b"PXAT", digits.format(at).as_bytes()]);
        }
        _ => {}
    }
    let mut count = itoa::Buffer::new();
    effect.extend([&b"FIELDS"[..], count.format(pairs.len() / 2).as_bytes()]);
    effect.extend(pairs);
    propagate::propagate_instead(s, call, &effect);
    Ok(())
}

pub const COMMANDS: &[Row] = &[
    ("hexpire", hexpire),
    ("hexpireat", hexpireat),
    ("hexpiretime", hexpiretime),
    ("hgetdel", hgetdel),
    ("hgetex", hgetex),
    ("hpersist", hpersist),
    ("hpexpire", hpexpire),
    ("hpexpireat", hpexpireat),
    ("hpexpiretime", hpexpiretime),
    ("hpttl", hpttl),
    ("hsetex", hsetex),
    ("httl", httl),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_of_hsetex() {
        let parse = |line: &str| {
            let args: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
            SetOptions::parse(0, Rigour::Redis, &args)
                .map(|options| options.pairs.len())
                .map_err(|error| error.to_string())
        };
        assert_eq!(parse("FIELDS 1 f v"), Ok(2));
        assert_eq!(parse("ex 5 fnx xx FIELDS 2 f v g w"), Ok(4));
        for (bad, error) in [
            ("FNX FXX FIELDS 1 f v", "ERR Only one of FXX or FNX arguments can be specified"),
            (
                "PX 5 KEEPTTL FIELDS 1 f v",
                "ERR Only one of EX, PX, EXAT, PXAT or KEEPTTL arguments can be specified",
            ),
            ("FOO FIELDS 1 f v", "ERR unknown argument: FOO"),
            ("FIELDS 2 f v", "ERR wrong number of arguments for 'hsetex' command"),
            (
                "FIELDS 9223372036854775807 f v",
                "ERR wrong number of arguments for 'hsetex' command",
            ),
            ("FIELDS 0 f v", "ERR invalid number of fields"),
            ("FIELDS x f v", "ERR invalid number of fields"),
            ("FIELDS", "ERR wrong number of arguments for 'hsetex' command"),
            ("FIELDS x f", "ERR wrong number of arguments for 'hsetex' command"),
            ("EX", "ERR syntax error"),
        ] {
            assert_eq!(parse(bad), Err(error.to_string()), "{bad}");
        }
    }

    #[test]
    fn times_have_bounds() {
        let at = |arg: &str, unit, base_ms, rigour| {
            expiry(arg.as_bytes(), Timing { unit, base_ms, rigour, command: "x" })
        };
        let ms = |arg, rigour| at(arg, Unit::Milliseconds, 0, rigour);
        assert_eq!(at("0", Unit::Seconds, 500, Rigour::Redis), Ok(500));
        assert_eq!(ms("70368744177663", Rigour::Redis), Ok(REDIS_MAX_EXPIRE));
        for later in ["70368744177664", "9223372036854775807"] {
            assert!(ms(later, Rigour::Redis).is_err());
            assert_eq!(ms(later, Rigour::Valkey), Ok(later.parse().unwrap()));
            assert_eq!(ms(later, Rigour::Obeyed), Ok(later.parse().unwrap()));
        }
        for rigour in [Rigour::Redis, Rigour::Valkey, Rigour::Obeyed] {
            for bad in ["9223372036854775808", "-1", "x"] {
                assert!(ms(bad, rigour).is_err());
                assert!(at(bad, Unit::Seconds, i64::MAX, rigour).is_err());
            }
            assert!(at("1", Unit::Milliseconds, i64::MAX, rigour).is_err());
        }
    }
}
