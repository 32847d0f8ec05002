//! Who owns what: CLUSTER ADDSLOTS, DELSLOTS, FLUSHSLOTS and SETSLOT.

use super::{cluster, operate, slot, unknown_node};
use crate::command::args::is;
use crate::resp::error::{CommandError, CommandResult};
use crate::server::Server;
use crate::server::call::Call;
use crate::server::cluster::machine::{SetSlot, SetSlotError};
use std::ops::RangeInclusive;

const NOT_EMPTY: CommandError =
    CommandError::err("DB must be empty to perform CLUSTER FLUSHSLOTS.");
const BAD_ACTION: CommandError =
    CommandError::err("Invalid CLUSTER SETSLOT action or number of arguments. Try CLUSTER HELP");

/// Pairs of first and last slot.
fn slot_ranges(args: &[&[u8]]) -> CommandResult<Vec<RangeInclusive<u16>>> {
    let mut ranges = Vec::new();
    for pair in args.chunks(2) {
        let (first, last) = (slot(pair[0])?, slot(pair[1])?);
        if first > last {
            return Err(CommandError::err_with(format!(
                "start slot number {first} is greater than end slot number {last}"
            )));
        }
        ranges.push(first..=last);
    }
    Ok(ranges)
}

/// Gives this node slots, or takes them from it: all of them, or none if one is not free to.
fn assign(
    s: &mut Server,
    call: &mut Call,
    wanted: &[RangeInclusive<u16>],
    own: bool,
) -> CommandResult {
    let slots = wanted.iter().cloned().flatten();
    operate(s, |cluster, _, _| cluster.assign_slots(slots, own))?
        .map_err(|error| CommandError::err_with(error.to_string()))?;
    call.reply.ok();
    Ok(())
}

fn each_slot(args: &[&[u8]]) -> CommandResult<Vec<RangeInclusive<u16>>> {
    args.iter().map(|arg| slot(arg).map(|slot| slot..=slot)).collect()
}

pub(super) fn addslots(s: &mut Server, call: &mut Call, args: &[&[u8]]) -> CommandResult {
    cluster(s)?;
    assign(s, call, &each_slot(&args[2..])?, true)
}

pub(super) fn delslots(s: &mut Server, call: &mut Call, args: &[&[u8]]) -> CommandResult {
    cluster(s)?;
    assign(s, call, &each_slot(&args[2..])?, false)
}

pub(super) fn addslotsrange(s: &mut Server, call: &mut Call, args: &[&[u8]]) -> CommandResult {
    assign_ranges(s, call, args, true)
}

pub(super) fn delslotsrange(s: &mut Server, call: &mut Call, args: &[&[u8]]) -> CommandResult {
    assign_ranges(s, call, args, false)
}

fn assign_ranges(s: &mut Server, call: &mut Call, args: &[&[u8]], own: bool) -> CommandResult {
    cluster(s)?;
    if !args.len().is_multiple_of(2) {
        let name = if own { "addslotsrange" } else { "delslotsrange" };
        return Err(CommandError::err_with(format!(
            "wrong number of arguments for 'cluster|{name}' command"
        )));
    }
    assign(s, call, &slot_ranges(&args[2..])?, own)
}

pub(super) fn flushslots(s: &mut Server, call: &mut Call, _: &[&[u8]]) -> CommandResult {
    cluster(s)?;
    if !s.ks.is_empty() {
        return Err(NOT_EMPTY);
    }
    operate(s, |cluster, _, _| cluster.flush_slots())?;
    call.reply.ok();
    Ok(())
}

/// CLUSTER SETSLOT slot IMPORTING|MIGRATING|NODE id, or STABLE
pub(super) fn setslot(s: &mut Server, call: &mut Call, args: &[&[u8]]) -> CommandResult {
    if cluster(s)?.myself().is_replica() {
        return Err(CommandError::err("Please use SETSLOT only with masters."));
    }
    let slot = slot(args[2])?;
    let change = match args[3..] {
        [how, node] if is(how, "MIGRATING") => SetSlot::Migrating(node),
        [how, node] if is(how, "IMPORTING") => SetSlot::Importing(node),
        [how, node] if is(how, "NODE") => SetSlot::Node(node),
        [how] if is(how, "STABLE") => SetSlot::Stable,
        _ => return Err(BAD_ACTION),
    };
    operate(s, |cluster, now, facts| cluster.set_slot(slot, change, now, facts))?
        .map_err(|error| set_slot_error(change, error))?;
    call.reply.ok();
    Ok(())
}

fn set_slot_error(change: SetSlot, error: SetSlotError) -> CommandError {
    let text = match error {
        SetSlotError::NotOwner(slot) => format!("I'm not the owner of hash slot {slot}"),
        SetSlotError::AlreadyOwner(slot) => format!("I'm already the owner of hash slot {slot}"),
        SetSlotError::NotAPrimary => "Target node is not a master".into(),
        SetSlotError::HoldsKeys(slot) => format!(
            "Can't assign hashslot {slot} to a different node while I still hold keys for this hash slot."
        ),
        SetSlotError::UnknownNode => {
            return match change {
                SetSlot::Migrating(id) | SetSlot::Importing(id) => {
                    CommandError::err_with([b"I don't know about node ", id].concat())
                }
                SetSlot::Node(id) => unknown_node(id),
                SetSlot::Stable => BAD_ACTION,
            };
        }
    };
    CommandError::err_with(text)
}
