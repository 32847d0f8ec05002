//! Ranges: of ranks, of scores, of members; forward or in reverse; to be answered, stored under another key, or
//! removed. Each becomes a range of ranks first.

use super::super::args::{int, is};
use super::{
    NOT_A_LEX_RANGE, NOT_A_SCORE_RANGE, after_removal, limits, reply_element, reply_elements, store,
};
use crate::resp::error::{CommandError, CommandResult};
use crate::server::Server;
use crate::server::call::Call;
use crate::value::zset::{LexRange, ScoreRange, Zset};
use std::ops::Range;

/// What the ends of a range are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Rank,
    Score,
    Lex,
}

/// The ends of a range.
#[derive(Clone, Copy, Debug)]
enum Ends<'a> {
    /// The last one inclusive; negative ones count from the end.
    Rank(i64, i64),
    Score(ScoreRange),
    Lex(LexRange<'a>),
}

impl<'a> Ends<'a> {
    fn parse(kind: Kind, min: &'a [u8], max: &'a [u8]) -> CommandResult<Ends<'a>> {
        Ok(match kind {
            Kind::Rank => Ends::Rank(int(min)?, int(max)?),
            Kind::Score => Ends::Score(ScoreRange::parse(min, max).ok_or(NOT_A_SCORE_RANGE)?),
            Kind::Lex => Ends::Lex(LexRange::parse(min, max).ok_or(NOT_A_LEX_RANGE)?),
        })
    }

    /// The ranks, counted from the first or (`reverse`) from the last element as the ends are.
    fn ranks(&self, zset: &Zset, reverse: bool) -> Range<usize> {
        match self {
            Ends::Rank(start, end) => {
                let ranks = slice(*start, *end, zset.len());
                match reverse {
                    true => zset.len() - ranks.end..zset.len() - ranks.start,
                    false => ranks,
                }
            }
            Ends::Score(range) => zset.ranks_by_score(range),
            Ends::Lex(range) => zset.ranks_by_lex(range),
        }
    }
}

/// The part of `len` elements from `start` to `end` inclusive; negative numbers count from the end.
fn slice(start: i64, end: i64, len: usize) -> Range<usize> {
    let from_start = |index: i64| if index < 0 { index + len as i64 } else { index };
    let start = from_start(start).max(0) as usize;
    let end = (from_start(end).saturating_add(1).max(0) as usize).min(len);
    if start < end { start..end } else { 0..0 }
}

/// A range that a command names, with its options.
#[derive(Clone, Copy, Debug)]
struct Query<'a> {
    ends: Ends<'a>,
    reverse: bool,
    with_scores: bool,
    /// `LIMIT`: how many elements to pass over, and how many to answer (negative: all).
    offset: i64,
    limit: i64,
}

impl<'a> Query<'a> {
    /// Parses two ends and the options behind them. `kind` and `reverse` are `None` where options decide them, each
    /// of which may be given once; `WITHSCORES` is one unless the result is stored.
    fn parse(
        args: &[&'a [u8]],
        mut kind: Option<Kind>,
        mut reverse: Option<bool>,
        stores: bool,
    ) -> CommandResult<Query<'a>> {
        let (mut with_scores, mut offset, mut limit) = (false, 0, -1);
        let mut rest = &args[2..];
        while let [option, more @ ..] = rest {
            rest = more;
            if !stores && is(option, "WITHSCORES") {
                with_scores = true;
            } else if let [from, count, more @ ..] = more
                && is(option, "LIMIT")
            {
                (offset, limit) = (int(from)?, int(count)?);
                rest = more;
            } else if reverse.is_none() && is(option, "REV") {
                reverse = Some(true);
            } else if kind.is_none() && is(option, "BYLEX") {
                kind = Some(Kind::Lex);
            } else if kind.is_none() && is(option, "BYSCORE") {
                kind = Some(Kind::Score);
            } else {
                return Err(CommandError::SYNTAX);
            }
        }
        let (kind, reverse) = (kind.unwrap_or(Kind::Rank), reverse.unwrap_or(false));
        if limit != -1 && kind == Kind::Rank {
            return Err(CommandError::err(
                "syntax error, LIMIT is only supported in combination with either BYSCORE or BYLEX",
            ));
        }
        if with_scores && kind == Kind::Lex {
            return Err(CommandError::err(
                "syntax error, WITHSCORES not supported in combination with BYLEX",
            ));
        }
        let (min, max) = match reverse && kind != Kind::Rank {
            true => (args[1], args[0]),
            false => (args[0], args[1]),
        };
        let ends = Ends::parse(kind, min, max)?;
        Ok(Query { ends, reverse, with_scores, offset, limit })
    }

    /// The ranks of the elements to answer.
    fn ranks(&self, zset: &Zset) -> Range<usize> {
        let Range { start, end } = self.ends.ranks(zset, self.reverse);
        if matches!(self.ends, Ends::Rank(..)) {
            return start..end;
        }
        let Ok(offset) = usize::try_from(self.offset) else { return 0..0 };
        let len = (end - start).saturating_sub(offset);
        let len = usize::try_from(self.limit).map_or(len, |limit| len.min(limit));
        let offset = offset.min(end - start);
        match self.reverse {
            true => end - offset - len..end - offset,
            false => start + offset..start + offset + len,
        }
    }
}

fn zrange_generic(s: &mut Server, call: &mut Call, key: &[u8], query: Query<'_>) -> CommandResult {
    let Some(zset) = s.ks.read::<Zset>(call.db, key)? else {
        call.reply.array(0);
        return Ok(());
    };
    let elements = zset.range(query.ranks(zset));
    reply_elements(&mut call.reply, elements.len(), query.with_scores);
    let answer = |element| reply_element(&mut call.reply, element, query.with_scores);
    match query.reverse {
        true => elements.rev().for_each(answer),
        false => elements.for_each(answer),
    }
    Ok(())
}

/// ZRANGE key start stop [BYSCORE | BYLEX] [REV] [LIMIT offset count] [WITHSCORES]
pub fn zrange(s: &mut Server, call: &mut Call, args: &[&[u8]]) -> CommandResult {
    let query = Query::parse(&args[2..], None, None, false)?;
    zrange_generic(s, call, args[1], query)
}

/// ZREVRANGE key start stop [WITHSCORES]
pub fn zrevrange(s: &mut Server, call: &mut Call, args: &[&[u8]]) -> CommandResult {
    let query = Query::parse(&args[2..], Some(Kind::Rank), Some(true), false)?;
    zrange_generic(s, call, args[1], query)
}

/// ZRANGEBYSCORE key min max [WITHSCORES] [LIMIT offset count]
pub fn zrangebyscore(s: &mut Server, call: &mut Call, args: &[&[u8]]) -> CommandResult {
    let query = Query::parse(&args[2..], Some(Kind::Score), Some(false), false)?;
    zrange_generic(s, call, args[1], query)
}

/// ZREVRANGEBYSCORE key max min [WITHSCORES] [LIMIT offset count]
pub fn zrevrangebyscore(s: &mut Server, call: &mut Call, args: &[&[u8]]) -> CommandResult {
    let query = Query::parse(&args[2..], Some(Kind::Score), Some(true), false)?;
    zrange_generic(s, call, args[1], query)
}

/// ZRANGEBYLEX key min max [LIMIT offset count]
pub fn zrangebylex(s: &mut Server, call: &mut Call, args: &[&[u8]]) -> CommandResult {
    let query = Query::parse(&args[2..], Some(Kind::Lex), Some(false), false)?;
    zrange_generic(s, call, args[1], query)
}

/// ZREVRANGEBYLEX key max min [LIMIT offset count]
pub fn zrevrangebylex(s: &mut Server, call: &mut Call, args: &[&[u8]]) -> CommandResult {
    let query = Query::parse(&args[2..], Some(Kind::Lex), Some(true), false)?;
    zrange_generic(s, call, args[1], query)
}

/// ZRANGESTORE destination source min max [BYSCORE | BYLEX] [REV] [LIMIT offset count]
pub fn zrangestore(s: &mut Server, call: &mut Call, args: &[&[u8]]) -> CommandResult {
    let query = Query::parse(&args[3..], None, None, true)?;
    let limits = limits(&s.config);
    let result = match s.ks.read::<Zset>(call.db, args[2])? {
        Some(zset) => Zset::from_sorted(zset.range(query.ranks(zset)), &limits),
        None => Zset::default(),
    };
    store(s, call, args[1], result, "zrangestore");
    Ok(())
}

/// ZREMRANGEBYRANK key start stop
pub fn zremrangebyrank(s: &mut Server, call: &mut Call, args: &[&[u8]]) -> CommandResult {
    zremrange_generic(s, call, args, Kind::Rank, "zremrangebyrank")
}

/// ZREMRANGEBYSCORE key min max
pub fn zremrangebyscore(s: &mut Server, call: &mut Call, args: &[&[u8]]) -> CommandResult {
    zremrange_generic(s, call, args, Kind::Score, "zremrangebyscore")
}

/// ZREMRANGEBYLEX key min max
pub fn zremrangebylex(s: &mut Server, call: &mut Call, args: &[&[u8]]) -> CommandResult {
    zremrange_generic(s, call, args, Kind::Lex, "zremrangebylex")
}

fn zremrange_generic(
    s: &mut Server,
    call: &mut Call,
    args: &[&[u8]],
    kind: Kind,
    event: &'static str,
) -> CommandResult {
    let ends = Ends::parse(kind, args[2], args[3])?;
    let mut removed = 0;
    if let Some(zset) = s.ks.write::<Zset>(call.db, args[1])? {
        let ranks = ends.ranks(zset, false);
        removed = ranks.len();
        zset.remove_range(ranks);
    }
    if removed > 0 {
        after_removal(s, call, args[1], removed, event);
    }
    call.reply.int(removed as i64);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slices() {
        for (start, end, len, ranks) in [
            (0, -1, 5, 0..5),
            (1, 2, 5, 1..3),
            (-2, -1, 5, 3..5),
            (-100, 100, 5, 0..5),
            (5, 9, 5, 0..0),
            (3, 2, 5, 0..0),
            (-1, -2, 5, 0..0),
            (0, -6, 5, 0..0),
            (i64::MIN, i64::MAX, 5, 0..5),
            (i64::MAX, i64::MIN, 5, 0..0),
            (i64::MIN, i64::MIN, 5, 0..0),
            (i64::MAX, i64::MAX, 5, 0..0),
        ] {
            assert_eq!(slice(start, end, len), ranks, "{start} {end}");
        }
    }

    fn ranks(line: &str, stores: bool) -> Result<Vec<String>, String> {
        let args: Vec<&[u8]> = line.split_whitespace().map(str::as_bytes).collect();
        let query = Query::parse(&args, None, None, stores).map_err(|e| e.to_string())?;
        let mut zset = Zset::default();
        for (i, member) in ["a", "b", "c", "d", "e"].iter().enumerate() {
            let by_lex = matches!(query.ends, Ends::Lex(_));
            let score = if by_lex { 0.0 } else { i as f64 };
            zset.update(member.as_bytes(), &Default::default(), |_| Some(score));
        }
        let range = zset.range(query.ranks(&zset));
        let text = |(member, _): (crate::ds::listpack::ListpackEntry<'_>, f64)| {
            String::from_utf8(member.to_vec()).unwrap()
        };
        Ok(if query.reverse { range.rev().map(text).collect() } else { range.map(text).collect() })
    }

    #[test]
    fn queries() {
        for (line, members) in [
            ("0 -1", "abcde"),
            ("0 1 REV", "ed"),
            ("(1 3 BYSCORE", "cd"),
            ("3 (1 byscore rev", "dc"),
            ("[b (e BYLEX", "bcd"),
            ("+ [c BYLEX REV LIMIT 1 1", "d"),
            ("-inf +inf BYSCORE LIMIT 1 2 WITHSCORES", "bc"),
            ("+inf -inf BYSCORE REV LIMIT 1 2", "dc"),
            ("-inf +inf BYSCORE LIMIT 4 -1", "e"),
            ("-inf +inf BYSCORE LIMIT 5 1", ""),
            ("-inf +inf BYSCORE LIMIT -1 1", ""),
            ("-inf +inf BYSCORE LIMIT 9223372036854775807 9223372036854775807", ""),
            ("+inf -inf BYSCORE REV LIMIT 9 1", ""),
            ("-inf +inf BYSCORE LIMIT 0 0", ""),
            ("3 1 BYSCORE", ""),
            ("0 1 LIMIT 0 -1", "ab"),
        ] {
            assert_eq!(ranks(line, false).unwrap().concat(), members, "{line}");
        }
        for (line, error) in [
            (
                "0 1 LIMIT 0 1",
                "ERR syntax error, LIMIT is only supported in combination with either BYSCORE or BYLEX",
            ),
            (
                "- + BYLEX WITHSCORES",
                "ERR syntax error, WITHSCORES not supported in combination with BYLEX",
            ),
            ("0 1 BYSCORE BYLEX", "ERR syntax error"),
            ("0 1 LIMIT 0", "ERR syntax error"),
            ("x 1", "ERR value is not an integer or out of range"),
            ("x 1 BYSCORE", "ERR min or max is not a float"),
            ("x + BYLEX", "ERR min or max not valid string range item"),
        ] {
            assert_eq!(ranks(line, false), Err(error.into()), "{line}");
        }
        assert_eq!(ranks("0 1 WITHSCORES", true), Err("ERR syntax error".into()));
    }
}
