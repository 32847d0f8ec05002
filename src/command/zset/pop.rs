//! Taking elements from the low or the high end: at once, or as soon as there are any.

use super::super::args::{self, Unit, int_between, is, pop_count};
use super::{after_removal, reply_element, reply_elements};
use crate::resp::error::{CommandError, CommandResult};
use crate::server::Server;
use crate::server::blocking;
use crate::server::blocking::KeyInterest;
use crate::server::call::Call;
use crate::server::propagate;
use crate::value::Type;
use crate::value::zset::Zset;

/// The end to take from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Min,
    Max,
}

impl End {
    fn command(self) -> &'static str {
        match self {
            End::Min => "zpopmin",
            End::Max => "zpopmax",
        }
    }
}

/// What the reply looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    /// `ZPOPMIN key`: member and score, flat in either protocol.
    Pair,
    /// `ZPOPMIN key count`: as ranges with scores are.
    Pairs,
    /// `BZPOPMIN`: key, member, score.
    KeyAndPair,
    /// `ZMPOP`: the key, and an array of pairs.
    KeyAndPairs,
}

/// Takes up to `count` elements (one at least) from the first key that has any, and answers them; returns that key and
/// how many were taken.
fn pop<'a>(
    s: &mut Server,
    call: &mut Call,
    keys: &[&'a [u8]],
    end: End,
    count: usize,
    form: Form,
) -> CommandResult<Option<(&'a [u8], usize)>> {
    for &key in keys {
        let Some(zset) = s.ks.write::<Zset>(call.db, key)? else { continue };
        let taken = zset.len().min(count);
        let ranks = match end {
            End::Min => 0..taken,
            End::Max => zset.len() - taken..zset.len(),
        };
        let reply = &mut call.reply;
        match form {
            Form::Pair => reply.array(2),
            Form::Pairs => reply_elements(reply, taken, true),
            Form::KeyAndPair => {
                reply.array(3);
                reply.bulk(key);
            }
            Form::KeyAndPairs => {
                reply.array(2);
                reply.bulk(key);
                reply.array(taken);
            }
        }
        let elements = zset.range(ranks.clone());
        let answer = |(member, score)| match form {
            Form::Pairs => reply_element(reply, (member, score), true),
            _ => {
                if form == Form::KeyAndPairs {
                    reply.array(2);
                }
                super::reply_member(reply, member);
                reply.double(score);
            }
        };
        match end {
            End::Min => elements.for_each(answer),
            End::Max => elements.rev().for_each(answer),
        }
        zset.remove_range(ranks);
        after_removal(s, call, key, taken, end.command());
        return Ok(Some((key, taken)));
    }
    Ok(None)
}

/// ZPOPMIN key [count]
pub fn zpopmin(s: &mut Server, call: &mut Call, args: &[&[u8]]) -> CommandResult {
    zpop(s, call, args, End::Min)
}

/// ZPOPMAX key [count]
pub fn zpopmax(s: &mut Server, call: &mut Call, args: &[&[u8]]) -> CommandResult {
    zpop(s, call, args, End::Max)
}

fn zpop(s: &mut Server, call: &mut Call, args: &[&[u8]], end: End) -> CommandResult {
    let (count, form) = match args[2..] {
        [] => (1, Form::Pair),
        [count] => (args::positive(count, None)?, Form::Pairs),
        _ => return Err(CommandError::SYNTAX),
    };
    if count == 0 {
        s.ks.write::<Zset>(call.db, args[1])?;
    } else if pop(s, call, &args[1..2], end, count as usize, form)?.is_some() {
        return Ok(());
    }
    call.reply.array(0);
    Ok(())
}

/// `numkeys key [key ...] MIN | MAX [COUNT count]`
struct MultiPop<'a> {
    keys: &'a [&'a [u8]],
    end: End,
    count: usize,
}

impl<'a> MultiPop<'a> {
    fn parse(args: &'a [&'a [u8]]) -> CommandResult<MultiPop<'a>> {
        let message = "numkeys should be greater than 0";
        let keys = int_between(args[0], 1, i64::MAX, Some(message))? as usize;
        let (keys, rest) = args[1..].split_at_checked(keys).ok_or(CommandError::SYNTAX)?;
        let (end, options) = rest.split_first().ok_or(CommandError::SYNTAX)?;
        let end = match end {
            end if is(end, "MIN") => End::Min,
            end if is(end, "MAX") => End::Max,
            _ => return Err(CommandError::SYNTAX),
        };
        Ok(MultiPop { keys, end, count: pop_count(options)? })
    }

    /// Takes what there is; `false` if there is nothing.
    fn pop(&self, s: &mut Server, call: &mut Call) -> CommandResult<bool> {
        let Some((key, taken)) = pop(s, call, self.keys, self.end, self.count, Form::KeyAndPairs)?
        else {
            return Ok(false);
        };
        let count = taken.to_string();
        propagate::propagate_instead(
            s,
            call,
            &[self.end.command().to_uppercase().as_bytes(), key, count.as_bytes()],
        );
        Ok(true)
    }
}

/// ZMPOP numkeys key [key ...] <MIN | MAX> [COUNT count]
pub fn zmpop(s: &mut Server, call: &mut Call, args: &[&[u8]]) -> CommandResult {
    if !MultiPop::parse(&args[1..])?.pop(s, call)? {
        call.reply.null_array();
    }
    Ok(())
}

/// BZMPOP timeout numkeys key [key ...] <MIN | MAX> [COUNT count]
pub fn bzmpop(s: &mut Server, call: &mut Call, args: &[&[u8]]) -> CommandResult {
    let wanted = MultiPop::parse(&args[2..])?;
    let deadline_ms = args::timeout(args[1], Unit::Seconds, s.ks.now_ms)?;
    if !wanted.pop(s, call)? {
        wait(s, call, args, wanted.keys, deadline_ms);
    }
    Ok(())
}

/// BZPOPMIN key [key ...] timeout
pub fn bzpopmin(s: &mut Server, call: &mut Call, args: &[&[u8]]) -> CommandResult {
    bzpop(s, call, args, End::Min)
}

/// BZPOPMAX key [key ...] timeout
pub fn bzpopmax(s: &mut Server, call: &mut Call, args: &[&[u8]]) -> CommandResult {
    bzpop(s, call, args, End::Max)
}

fn bzpop(s: &mut Server, call: &mut Call, args: &[&[u8]], end: End) -> CommandResult {
    let (timeout, keys) = args[1..].split_last().ok_or(CommandError::SYNTAX)?;
    let deadline_ms = args::timeout(timeout, Unit::Seconds, s.ks.now_ms)?;
    match pop(s, call, keys, end, 1, Form::KeyAndPair)? {
        Some((key, _)) => {
            propagate::propagate_instead(s, call, &[end.command().to_uppercase().as_bytes(), key])
        }
        None => wait(s, call, args, keys, deadline_ms),
    }
    Ok(())
}

/// Has the client wait for one of the keys, or answers at once if it may not.
fn wait(s: &mut Server, call: &mut Call, args: &[&[u8]], keys: &[&[u8]], deadline_ms: Option<i64>) {
    if blocking::may_block(s, call) {
        let interest = KeyInterest { kind: Type::Zset, on_no_key: false };
        blocking::block_for_keys(s, call, args, keys, interest, deadline_ms);
    } else {
        call.reply.null_array();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_of_zmpop() {
        let parse = |line: &str| {
            let args: Vec<&[u8]> = line.split_whitespace().map(str::as_bytes).collect();
            let parsed = MultiPop::parse(&args).map(|p| (p.keys.len(), p.end, p.count));
            parsed.map_err(|error| error.to_string())
        };
        assert_eq!(parse("2 a b min"), Ok((2, End::Min, 1)));
        assert_eq!(parse("1 a MAX count 5"), Ok((1, End::Max, 5)));
        let syntax = Err("ERR syntax error".to_string());
        for bad in [
            "2 a MIN",
            "1 a",
            "1 a b",
            "1 a MIN COUNT",
            "1 a MIN foo 1",
            "1 a MIN COUNT 1 COUNT 1",
            "9223372036854775807 a MIN",
        ] {
            assert_eq!(parse(bad), syntax, "{bad}");
        }
        assert_eq!(parse("0 a MIN"), Err("ERR numkeys should be greater than 0".into()));
        assert_eq!(parse("1 a MIN COUNT 0"), Err("ERR count should be greater than 0".into()));
    }
}
