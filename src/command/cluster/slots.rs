//! Who owns what: CLUSTER ADDSLOTS, DELSLOTS, FLUSHSLOTS and SETSLOT.

use super::{cluster, operate, slot, unknown_node};
use crate::bus::NodeId;
use crate::command::args::{Unit, is, timeout};
use crate::resp::error::{CommandError, CommandResult};
use crate::server::Server;
use crate::server::call::Call;
use crate::server::client::ClientFlags;
use crate::server::cluster::machine::SetSlotError;
use crate::server::cluster::set_slot;
use crate::server::slot_change::SetSlot;
use std::ops::RangeInclusive;

const NOT_EMPTY: CommandError =
    CommandError::err("DB must be empty to perform CLUSTER FLUSHSLOTS.");
const NO_TIMEOUT_VALUE: CommandError = CommandError::err("Missing timeout value");
/// How long replicas may take, in milliseconds, unless the command says otherwise.
const REPLICATION_TIMEOUT_MS: i64 = 2000;
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

/// CLUSTER SETSLOT slot IMPORTING|MIGRATING|NODE id, or STABLE, \[TIMEOUT milliseconds]
pub(super) fn setslot(s: &mut Server, call: &mut Call, args: &[&[u8]]) -> CommandResult {
    let from_primary = s.clients[call.client].is(ClientFlags::MASTER);
    if cluster(s)?.myself().is_replica() && !from_primary {
        return Err(CommandError::err("Please use SETSLOT only with masters."));
    }
    let slot = slot(args[2])?;
    // One that can't be an id is no node's.
    let id = |arg: &[u8]| NodeId::new(arg).unwrap_or(NodeId::NONE);
    let (change, options) = match args[3..] {
        [how, node, ref options @ ..] if is(how, "MIGRATING") => {
            (SetSlot::Migrating(id(node)), options)
        }
        [how, node, ref options @ ..] if is(how, "IMPORTING") => {
            (SetSlot::Importing(id(node)), options)
        }
        [how, node, ref options @ ..] if is(how, "NODE") => (SetSlot::Node(id(node)), options),
        [how, ref options @ ..] if is(how, "STABLE") => (SetSlot::Stable, options),
        _ => return Err(BAD_ACTION),
    };
    let checked = operate(s, |cluster, _, facts| cluster.check_set_slot(slot, change, facts))?;
    checked.map_err(|error| set_slot_error(change, args, error))?;
    let deadline = match options {
        [] => Some(s.ks.now_ms + REPLICATION_TIMEOUT_MS),
        [option] if is(option, "TIMEOUT") => return Err(NO_TIMEOUT_VALUE),
        [option, ms] if is(option, "TIMEOUT") => timeout(ms, Unit::Milliseconds, s.ks.now_ms)?,
        _ => return Err(BAD_ACTION),
    };
    set_slot::set_slot(s, call, (slot, change), args, deadline)
        .map_err(|error| set_slot_error(change, args, error))
}

fn set_slot_error(change: SetSlot, args: &[&[u8]], error: SetSlotError) -> CommandError {
    match (error, change) {
        (SetSlotError::UnknownNode, SetSlot::Node(_)) => unknown_node(args[4]),
        (SetSlotError::UnknownNode, _) => {
            CommandError::err_with([b"I don't know about node ", args[4]].concat())
        }
        (error, _) => CommandError::err_with(error.to_string()),
    }
}
