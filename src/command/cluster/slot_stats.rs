//! What the slots of this node's shard hold and cost: CLUSTER SLOT-STATS.

use super::super::args::is;
use super::{cluster, slot};
use crate::resp::error::{CommandError, CommandResult};
use crate::resp::reply::Reply;
use crate::server::Server;
use crate::server::call::Call;
use crate::spec::help::subcommand_syntax_error;
use crate::util::number::parse_i64;
use crate::util::slot::SLOTS;
use std::cmp::Reverse;

const BAD_LIMIT: CommandError =
    CommandError::err("Limit has to lie in between 1 and 16384 (maximum number of slots).");
const BAD_METRIC: CommandError = CommandError::err("Unrecognized sort metric for ORDERBY.");
const REPEATED: CommandError =
    CommandError::err("Multiple filters of the same type are disallowed.");

/// What is told of a slot, in the order in which it is told.
const METRICS: [&str; 4] = ["key-count", "cpu-usec", "network-bytes-in", "network-bytes-out"];

/// CLUSTER SLOT-STATS SLOTSRANGE start end, or ORDERBY metric [LIMIT limit] [ASC|DESC]
pub(super) fn slot_stats(s: &mut Server, call: &mut Call, args: &[&[u8]]) -> CommandResult {
    cluster(s)?;
    let slots = match args[2..] {
        [how, first, last] if is(how, "SLOTSRANGE") => {
            let (first, last) = (slot(first)?, slot(last)?);
            if first > last {
                return Err(CommandError::err_with(format!(
                    "Start slot number {first} is greater than end slot number {last}"
                )));
            }
            own_slots(s).filter(|slot| (first..=last).contains(slot)).collect()
        }
        [how, metric, ref filters @ ..] if is(how, "ORDERBY") => in_order(s, metric, filters)?,
        _ => return Err(subcommand_syntax_error("CLUSTER", args)),
    };
    call.reply.array(slots.len());
    slots.iter().for_each(|&slot| reply_slot(s, &mut call.reply, slot));
    Ok(())
}

/// The slots of this node's shard.
fn own_slots(s: &Server) -> impl Iterator<Item = u16> {
    (0..SLOTS).filter(|&slot| s.cluster.as_ref().is_some_and(|c| c.shard_owns(slot)))
}

/// The metrics that there are.
fn metrics(s: &Server) -> &'static [&'static str] {
    if s.config.cluster_slot_stats_enabled { &METRICS } else { &METRICS[..1] }
}

fn in_order(s: &Server, metric: &[u8], filters: &[&[u8]]) -> CommandResult<Vec<u16>> {
    let metric = metrics(s).iter().position(|name| is(metric, name)).ok_or(BAD_METRIC)?;
    let (mut limit, mut ascending) = (None, None);
    let mut filters = filters.iter();
    while let Some(filter) = filters.next() {
        let repeated = if is(filter, "ASC") || is(filter, "DESC") {
            ascending.replace(is(filter, "ASC")).is_some()
        } else if is(filter, "LIMIT")
            && let Some(arg) = filters.next()
        {
            let most = parse_i64(arg).filter(|n| (1..=i64::from(SLOTS)).contains(n));
            limit.replace(most.ok_or(BAD_LIMIT)? as usize).is_some()
        } else {
            return Err(CommandError::SYNTAX);
        };
        if repeated {
            return Err(REPEATED);
        }
    }
    let mut slots: Vec<(u64, u16)> =
        own_slots(s).map(|slot| (values(s, slot)[metric], slot)).collect();
    match ascending {
        Some(true) => slots.sort_unstable(),
        _ => slots.sort_unstable_by_key(|&(value, slot)| (Reverse(value), slot)),
    }
    slots.truncate(limit.unwrap_or(slots.len()));
    Ok(slots.into_iter().map(|(_, slot)| slot).collect())
}

/// The values of all metrics.
fn values(s: &Server, slot: u16) -> [u64; METRICS.len()] {
    let usage = s.observer.slot_stats.of(slot);
    [s.ks.slot_len(slot) as u64, usage.cpu_ns / 1000, usage.bytes_in, usage.bytes_out]
}

fn reply_slot(s: &Server, reply: &mut Reply, slot: u16) {
    let metrics = metrics(s);
    reply.array(2);
    reply.int(slot.into());
    reply.map(metrics.len());
    for (name, value) in metrics.iter().zip(values(s, slot)) {
        reply.bulk_str(name);
        reply.int(value as i64);
    }
}
