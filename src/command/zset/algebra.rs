//! Unions, intersections and differences of sorted sets, and of sets, whose members all have the score 1.

use super::super::args::{int, is, positive};
use super::{limits, reply_element, reply_elements, store};
use crate::ds::listpack::{INT_TEXT_MAX, ListpackEntry};
use crate::ds::sorted_set::{Builder, SortedSet};
use crate::resp::error::{CommandError, CommandResult};
use crate::server::Server;
use crate::server::call::Call;
use crate::util::number::parse_f64;
use crate::value::set::Set;
use crate::value::zset::Zset;
use crate::value::{Collection, ValueRef};
use std::ops::ControlFlow;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operation {
    Union,
    Inter,
    Diff,
}

/// What becomes of several scores of one member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Aggregate {
    Sum,
    Min,
    Max,
}

impl Aggregate {
    fn parse(arg: &[u8]) -> Option<Aggregate> {
        let all = [("SUM", Aggregate::Sum), ("MIN", Aggregate::Min), ("MAX", Aggregate::Max)];
        all.into_iter().find(|(name, _)| is(arg, name)).map(|(_, aggregate)| aggregate)
    }

    #[inline]
    fn of(self, a: f64, b: f64) -> f64 {
        match self {
            // Infinities of both signs make nothing.
            Aggregate::Sum => or_zero(a + b),
            Aggregate::Min => a.min(b),
            Aggregate::Max => a.max(b),
        }
    }
}

/// 0 for NaN, as an infinity of weight 0 is.
fn or_zero(score: f64) -> f64 {
    if score.is_nan() { 0.0 } else { score }
}

/// A value that is combined with others.
#[derive(Clone, Copy)]
enum Input<'a> {
    Missing,
    Zset(&'a Zset),
    Set(&'a Set),
}

impl<'a> Input<'a> {
    fn of(value: ValueRef<'a>) -> CommandResult<Input<'a>> {
        if let Some(zset) = Zset::of(value) {
            return Ok(Input::Zset(zset));
        }
        Set::of(value).map(Input::Set).ok_or(CommandError::WRONG_TYPE)
    }

    fn len(&self) -> usize {
        match self {
            Input::Missing => 0,
            Input::Zset(zset) => zset.len(),
            Input::Set(set) => set.len(),
        }
    }

    /// Visits members and scores until `visit` breaks.
    fn try_for_each(&self, mut visit: impl FnMut(&[u8], f64) -> ControlFlow<()>) {
        let mut each = |member: ListpackEntry<'_>, score| {
            visit(member.to_bytes(&mut [0; INT_TEXT_MAX]), score)
        };
        // Whether it was broken off is known to who did so.
        let _ = match self {
            Input::Missing => ControlFlow::Continue(()),
            Input::Zset(zset) => zset.iter().try_for_each(|(member, score)| each(member, score)),
            Input::Set(set) => set.try_for_each(|member| each(member, 1.0)),
        };
    }

    fn for_each(&self, mut visit: impl FnMut(&[u8], f64)) {
        self.try_for_each(|member, score| {
            visit(member, score);
            ControlFlow::Continue(())
        });
    }

    fn score(&self, member: &[u8]) -> Option<f64> {
        match self {
            Input::Missing => None,
            Input::Zset(zset) => zset.score(member),
            Input::Set(set) => set.contains(member).then_some(1.0),
        }
    }
}

/// `numkeys key [key ...]` and the options.
struct AlgebraRequest<'a> {
    keys: &'a [&'a [u8]],
    /// One for each key.
    weights: Vec<f64>,
    aggregate: Aggregate,
    with_scores: bool,
    /// `LIMIT` of `ZINTERCARD`; 0 for none.
    limit: usize,
}

/// What is done with the result, which decides about the options.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Purpose {
    Reply,
    Store,
    Count,
}

/// A part of a request's arguments.
type Args<'a> = &'a [&'a [u8]];

impl<'a> AlgebraRequest<'a> {
    /// Splits the keys off; what is behind them is returned. `command`: the name in lower case, for the error.
    fn keys(args: &'a [&'a [u8]], command: &str) -> CommandResult<(Args<'a>, Args<'a>)> {
        let keys = int(args[0])?;
        if keys < 1 {
            return Err(CommandError::err_with(format!(
                "at least 1 input key is needed for '{command}' command"
            )));
        }
        args[1..].split_at_checked(keys as usize).ok_or(CommandError::SYNTAX)
    }

    fn options(
        keys: &'a [&'a [u8]],
        mut rest: &[&[u8]],
        operation: Operation,
        purpose: Purpose,
    ) -> CommandResult<AlgebraRequest<'a>> {
        let weights = vec![1.0; keys.len()];
        let aggregate = Aggregate::Sum;
        let mut request = AlgebraRequest { keys, weights, aggregate, with_scores: false, limit: 0 };
        let combines = operation != Operation::Diff && purpose != Purpose::Count;
        while let [option, more @ ..] = rest {
            rest = more;
            if combines && more.len() >= keys.len() && is(option, "WEIGHTS") {
                let (weights, more) = more.split_at(keys.len());
                for (weight, arg) in request.weights.iter_mut().zip(weights) {
                    const NOT_A_FLOAT: CommandError =
                        CommandError::err("weight value is not a float");
                    *weight = parse_f64(arg).ok_or(NOT_A_FLOAT)?;
                }
                rest = more;
            } else if let [arg, more @ ..] = more
                && combines
                && is(option, "AGGREGATE")
            {
                request.aggregate = Aggregate::parse(arg).ok_or(CommandError::SYNTAX)?;
                rest = more;
            } else if purpose == Purpose::Reply && is(option, "WITHSCORES") {
                request.with_scores = true;
            } else if let [limit, more @ ..] = more
                && purpose == Purpose::Count
                && is(option, "LIMIT")
            {
                request.limit = positive(limit, Some("LIMIT can't be negative"))? as usize;
                rest = more;
            } else {
                return Err(CommandError::SYNTAX);
            }
        }
        Ok(request)
    }

    /// The values of all keys, with their weights.
    fn inputs<'s>(
        &self,
        s: &'s Server,
        db: usize,
        present: &[bool],
    ) -> CommandResult<Vec<(Input<'s>, f64)>> {
        let table = &s.ks.dbs[db].table;
        let of_key = |(key, &present): (&&[u8], &bool)| {
            let entry = table.get(s.ks.hash(key), key).filter(|_| present);
            entry.map_or(Ok(Input::Missing), |entry| Input::of(entry.value()))
        };
        let weights = self.weights.iter().copied();
        let inputs = self.keys.iter().zip(present).map(of_key).zip(weights);
        inputs.map(|(input, weight)| Ok((input?, weight))).collect()
    }
}

/// Looks all keys up, so that they are counted, touched, and deleted if expired; returns which of them are there, all
/// with a value that can be combined.
fn look_up(s: &mut Server, call: &mut Call, keys: &[&[u8]]) -> CommandResult<Vec<bool>> {
    let mut present = Vec::with_capacity(keys.len());
    for key in keys {
        let entry = s.ks.lookup_read(call.db, key);
        entry.map_or(Ok(Input::Missing), |entry| Input::of(entry.value()))?;
        present.push(entry.is_some());
    }
    Ok(present)
}

fn union(inputs: &[(Input<'_>, f64)], aggregate: Aggregate) -> Builder {
    let largest = inputs.iter().map(|(input, _)| input.len()).max();
    let mut all = Builder::with_capacity(largest.unwrap_or(0));
    for (input, weight) in inputs {
        input.for_each(|member, score| {
            let score = or_zero(score * weight);
            all.merge(member, |old| old.map_or(score, |old| aggregate.of(old, score)));
        });
    }
    all
}

/// Visits members that are in all inputs, and their scores, until `visit` breaks. The first input is the smallest.
fn intersect(
    inputs: &[(Input<'_>, f64)],
    aggregate: Aggregate,
    mut visit: impl FnMut(&[u8], f64) -> ControlFlow<()>,
) {
    let Some(((smallest, weight), others)) = inputs.split_first() else { return };
    smallest.try_for_each(|member, score| {
        let mut all = or_zero(score * weight);
        for (input, weight) in others {
            let Some(score) = input.score(member) else { return ControlFlow::Continue(()) };
            all = aggregate.of(all, score * weight);
        }
        visit(member, or_zero(all))
    });
}

fn difference(inputs: &[(Input<'_>, f64)]) -> Builder {
    let mut result = Builder::default();
    let Some(((first, _), others)) = inputs.split_first() else { return result };
    // Either each member is looked for in all other inputs, which mostly ends early, or all of their members are
    // looked for in the first one.
    let total: usize = inputs.iter().map(|(input, _)| input.len()).sum();
    if first.len().saturating_mul(inputs.len()) / 2 <= total {
        first.for_each(|member, score| {
            if others.iter().all(|(other, _)| other.score(member).is_none()) {
                result.merge(member, |_| score);
            }
        });
        return result;
    }
    first.for_each(|member, score| {
        result.merge(member, |_| score);
    });
    for (other, _) in others {
        other.try_for_each(|member, _| {
            result.remove(member);
            if result.is_empty() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
    }
    result
}

/// Computes what a request asks for. `args` starts with the number of keys.
fn combine(
    s: &mut Server,
    call: &mut Call,
    args: &[&[u8]],
    operation: Operation,
    purpose: Purpose,
    command: &str,
) -> CommandResult<(Builder, bool)> {
    let (keys, rest) = AlgebraRequest::keys(args, command)?;
    let present = look_up(s, call, keys)?;
    let request = AlgebraRequest::options(keys, rest, operation, purpose)?;
    let mut inputs = request.inputs(s, call.db, &present)?;
    let result = match operation {
        Operation::Diff => difference(&inputs),
        Operation::Union => {
            inputs.sort_by_cached_key(|(input, _)| input.len());
            union(&inputs, request.aggregate)
        }
        Operation::Inter => {
            inputs.sort_by_cached_key(|(input, _)| input.len());
            let mut result = Builder::default();
            intersect(&inputs, request.aggregate, |member, score| {
                result.merge(member, |_| score);
                ControlFlow::Continue(())
            });
            result
        }
    };
    Ok((result, request.with_scores))
}

fn answer(
    s: &mut Server,
    call: &mut Call,
    args: &[&[u8]],
    operation: Operation,
    command: &str,
) -> CommandResult {
    let (result, with_scores) = combine(s, call, &args[1..], operation, Purpose::Reply, command)?;
    let result: SortedSet = result.build();
    reply_elements(&mut call.reply, result.len(), with_scores);
    for (member, score) in result.range(0..result.len()) {
        reply_element(&mut call.reply, (ListpackEntry::Str(member), score), with_scores);
    }
    Ok(())
}

fn answer_stored(
    s: &mut Server,
    call: &mut Call,
    args: &[&[u8]],
    operation: Operation,
    command: &'static str,
) -> CommandResult {
    let (result, _) = combine(s, call, &args[2..], operation, Purpose::Store, command)?;
    let result = Zset::from_builder(result, &limits(&s.config));
    store(s, call, args[1], result, command);
    Ok(())
}

/// ZUNION numkeys key [key ...] [WEIGHTS weight [weight ...]] [AGGREGATE <SUM | MIN | MAX>] [WITHSCORES]
pub fn zunion(s: &mut Server, call: &mut Call, args: &[&[u8]]) -> CommandResult {
    answer(s, call, args, Operation::Union, "zunion")
}

/// ZINTER numkeys key [key ...] [WEIGHTS weight [weight ...]] [AGGREGATE <SUM | MIN | MAX>] [WITHSCORES]
pub fn zinter(s: &mut Server, call: &mut Call, args: &[&[u8]]) -> CommandResult {
    answer(s, call, args, Operation::Inter, "zinter")
}

/// ZDIFF numkeys key [key ...] [WITHSCORES]
pub fn zdiff(s: &mut Server, call: &mut Call, args: &[&[u8]]) -> CommandResult {
    answer(s, call, args, Operation::Diff, "zdiff")
}

/// ZUNIONSTORE destination numkeys key [key ...] [WEIGHTS weight [weight ...]] [AGGREGATE <SUM | MIN | MAX>]
pub fn zunionstore(s: &mut Server, call: &mut Call, args: &[&[u8]]) -> CommandResult {
    answer_stored(s, call, args, Operation::Union, "zunionstore")
}

/// ZINTERSTORE destination numkeys key [key ...] [WEIGHTS weight [weight ...]] [AGGREGATE <SUM | MIN | MAX>]
pub fn zinterstore(s: &mut Server, call: &mut Call, args: &[&[u8]]) -> CommandResult {
    answer_stored(s, call, args, Operation::Inter, "zinterstore")
}

/// ZDIFFSTORE destination numkeys key [key ...]
pub fn zdiffstore(s: &mut Server, call: &mut Call, args: &[&[u8]]) -> CommandResult {
    answer_stored(s, call, args, Operation::Diff, "zdiffstore")
}

/// ZINTERCARD numkeys key [key ...] [LIMIT limit]
pub fn zintercard(s: &mut Server, call: &mut Call, args: &[&[u8]]) -> CommandResult {
    let (keys, rest) = AlgebraRequest::keys(&args[1..], "zintercard")?;
    let present = look_up(s, call, keys)?;
    let request = AlgebraRequest::options(keys, rest, Operation::Inter, Purpose::Count)?;
    let mut inputs = request.inputs(s, call.db, &present)?;
    inputs.sort_by_cached_key(|(input, _)| input.len());
    let mut n = 0;
    intersect(&inputs, Aggregate::Sum, |_, _| {
        n += 1;
        if n == request.limit { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    call.reply.int(n as i64);
    Ok(())
}
