//! Adding, incrementing and removing members: `ZADD`, `ZINCRBY`, `ZREM`.

use super::super::args::{float, is};
use super::{after_removal, limits};
use crate::db::notify::Class;
use crate::resp::error::{CommandError, CommandResult};
use crate::server::Server;
use crate::server::call::Call;
use crate::value::zset::{Zset, ZsetLimits};

const NOT_A_NUMBER: CommandError = CommandError::err("resulting score is not a number (NaN)");

/// The options of `ZADD`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AddFlags {
    /// `NX`: only new members.
    pub nx: bool,
    /// `XX`: only members that are there.
    pub xx: bool,
    /// `GT`: a score only grows.
    gt: bool,
    /// `LT`: a score only shrinks.
    lt: bool,
    /// `INCR`: the score is added to the old one.
    incr: bool,
    /// `CH`: members with another score count too.
    pub ch: bool,
}

impl AddFlags {
    /// Parses the options that come first, and returns how many there are.
    fn parse(args: &[&[u8]]) -> (AddFlags, usize) {
        let mut flags = AddFlags::default();
        for (n, arg) in args.iter().enumerate() {
            // Nearly always a score comes first, which no option looks like.
            let flag = match arg {
                arg if is(arg, "NX") => &mut flags.nx,
                arg if is(arg, "XX") => &mut flags.xx,
                arg if is(arg, "GT") => &mut flags.gt,
                arg if is(arg, "LT") => &mut flags.lt,
                arg if is(arg, "INCR") => &mut flags.incr,
                arg if is(arg, "CH") => &mut flags.ch,
                _ => return (flags, n),
            };
            *flag = true;
        }
        (flags, args.len())
    }

    fn check(self, elements: usize) -> CommandResult {
        if self.nx && self.xx {
            return Err(CommandError::err("XX and NX options at the same time are not compatible"));
        }
        if (self.nx && (self.gt || self.lt)) || (self.gt && self.lt) {
            return Err(CommandError::err(
                "GT, LT, and/or NX options at the same time are not compatible",
            ));
        }
        if self.incr && elements > 1 {
            return Err(CommandError::err("INCR option supports a single increment-element pair"));
        }
        Ok(())
    }
}

/// What became of an element to be added.
enum Added {
    /// It is new.
    New,
    /// It has another score now.
    Changed,
    /// It had that score already.
    Same,
    /// The options forbade it.
    Refused,
}

/// Adds one element, or gives it a new score; returns what became of it, and its score.
fn add(
    zset: &mut Zset,
    member: &[u8],
    score: f64,
    flags: AddFlags,
    limits: &ZsetLimits,
) -> CommandResult<(Added, f64)> {
    let mut outcome = Ok((Added::Refused, score));
    zset.update(member, limits, |old| {
        let Some(old) = old else {
            if flags.xx {
                return None;
            }
            outcome = Ok((Added::New, score));
            return Some(score);
        };
        if flags.nx {
            return None;
        }
        let new = if flags.incr { old + score } else { score };
        if new.is_nan() {
            outcome = Err(NOT_A_NUMBER);
            return None;
        }
        if (flags.gt && new <= old) || (flags.lt && new >= old) {
            return None;
        }
        if new == old {
            outcome = Ok((Added::Same, new));
            return None;
        }
        outcome = Ok((Added::Changed, new));
        Some(new)
    });
    outcome
}

/// ZADD key [NX | XX] [GT | LT] [CH] [INCR] score member [score member ...]
pub fn zadd(s: &mut Server, call: &mut Call, args: &[&[u8]]) -> CommandResult {
    let (flags, options) = AddFlags::parse(&args[2..]);
    zadd_generic(s, call, args[1], &args[2 + options..], flags)
}

/// ZINCRBY key increment member
pub fn zincrby(s: &mut Server, call: &mut Call, args: &[&[u8]]) -> CommandResult {
    // The options of ZADD are known here too, but leave no room for an element.
    let (flags, options) = AddFlags::parse(&args[2..]);
    zadd_generic(s, call, args[1], &args[2 + options..], AddFlags { incr: true, ..flags })
}

fn zadd_generic(
    s: &mut Server,
    call: &mut Call,
    key: &[u8],
    pairs: &[&[u8]],
    flags: AddFlags,
) -> CommandResult {
    let (pairs, rest) = pairs.as_chunks::<2>();
    if pairs.is_empty() || !rest.is_empty() {
        return Err(CommandError::SYNTAX);
    }
    flags.check(pairs.len())?;
    // Nothing must change if any of them is wrong.
    let first = float(pairs[0][0])?;
    for [score, _] in &pairs[1..] {
        float(score)?;
    }
    let longest = pairs.iter().map(|[_, member]| member.len()).max().unwrap_or(0);
    let scores = pairs.iter().enumerate().map(|(i, &[score, member])| {
        let score = if i == 0 { Ok(first) } else { float(score) };
        score.map(|score| (score, member))
    });
    add_members(s, call, key, pairs.len(), longest, scores, flags)
}

/// Adds `count` elements, the longest member of which has `longest` bytes, and answers as `ZADD` does.
pub fn add_members<'a>(
    s: &mut Server,
    call: &mut Call,
    key: &[u8],
    count: usize,
    longest: usize,
    elements: impl Iterator<Item = CommandResult<(f64, &'a [u8])>>,
    flags: AddFlags,
) -> CommandResult {
    let limits = limits(&s.config);
    let zset = match s.ks.write::<Zset>(call.db, key)? {
        Some(zset) => {
            zset.reserve(count, longest, &limits);
            zset
        }
        None if flags.xx => {
            match flags.incr {
                true => call.reply.null(),
                false => call.reply.int(0),
            }
            return Ok(());
        }
        None => s.ks.write_or_create(call.db, key, || Zset::new(count, longest, &limits))?,
    };
    let (mut added, mut changed) = (0, 0);
    let mut last = None;
    for element in elements {
        let (score, member) = element?;
        let (outcome, score) = add(zset, member, score, flags, &limits)?;
        last = Some(score);
        match outcome {
            Added::New => added += 1,
            Added::Changed => changed += 1,
            Added::Same => {}
            Added::Refused => last = None,
        }
    }
    if added + changed > 0 {
        let event = if flags.incr { "zincr" } else { "zadd" };
        s.ks.changes.write(Class::ZSET, event, call.db, key);
        s.ks.changes.dirty += added + changed - 1;
    }
    match last {
        Some(score) if flags.incr => call.reply.double(score),
        None if flags.incr => call.reply.null(),
        _ => call.reply.int((added + if flags.ch { changed } else { 0 }) as i64),
    }
    Ok(())
}

/// ZREM key member [member ...]
pub fn zrem(s: &mut Server, call: &mut Call, args: &[&[u8]]) -> CommandResult {
    let key = args[1];
    let mut removed = 0;
    if let Some(zset) = s.ks.write::<Zset>(call.db, key)? {
        removed = args[2..].iter().filter(|member| zset.remove(member).is_some()).count();
    }
    if removed > 0 {
        after_removal(s, call, key, removed, "zrem");
    }
    call.reply.int(removed as i64);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str, elements: usize) -> Result<usize, String> {
        let args: Vec<&[u8]> = line.split_whitespace().map(str::as_bytes).collect();
        let (flags, n) = AddFlags::parse(&args);
        flags.check(elements).map(|()| n).map_err(|error| error.to_string())
    }

    #[test]
    fn options() {
        assert_eq!(parse("1 a", 1), Ok(0));
        assert_eq!(parse("nx CH 1 NX", 1), Ok(2));
        assert_eq!(parse("XX GT incr ch", 1), Ok(4));
        for (line, elements, error) in [
            ("NX XX", 1, "ERR XX and NX options at the same time are not compatible"),
            ("NX GT", 1, "ERR GT, LT, and/or NX options at the same time are not compatible"),
            ("LT GT", 1, "ERR GT, LT, and/or NX options at the same time are not compatible"),
            ("INCR", 2, "ERR INCR option supports a single increment-element pair"),
        ] {
            assert_eq!(parse(line, elements), Err(error.into()), "{line}");
        }
    }
}
