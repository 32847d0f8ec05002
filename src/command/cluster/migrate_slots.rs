//! Slots that move as one: CLUSTER MIGRATESLOTS, GETSLOTMIGRATIONS, CANCELSLOTMIGRATIONS, and SYNCSLOTS, which the
//! nodes say to each other. As in Valkey 9.

use super::{cluster, slot};
use crate::bus::NodeId;
use crate::command::args::is;
use crate::resp::error::{CommandError, CommandResult};
use crate::resp::reply::Reply;
use crate::server::Server;
use crate::server::call::Call;
use crate::server::client::ClientFlags;
use crate::server::cluster::migration as drive;
use crate::server::links::migration::job::{Job, Message, Operation};
use crate::server::output;
use crate::server::propagate;
use crate::util::number::parse_i64;
use crate::util::slot_set::SlotSet;
use bytes::Bytes;
use std::ops::RangeInclusive;

/// Digits of a node's id, and of a move's name.
const NAME_LEN: usize = 40;

/// Ranges of slots, all of one owner, up to the next argument that is no number: the slots, their ranges as a text, the
/// owner, and what follows.
struct Ranges<'a, 'b> {
    slots: SlotSet,
    text: String,
    owner: NodeId,
    rest: &'b [&'a [u8]],
}

fn ranges<'a, 'b>(s: &Server, args: &'b [&'a [u8]]) -> CommandResult<Ranges<'a, 'b>> {
    let numbers = args.iter().take_while(|arg| parse_i64(arg).is_some()).count();
    let (numbers, rest) = args.split_at(numbers);
    let mut all: Vec<RangeInclusive<u16>> = Vec::new();
    let mut owner = None;
    for pair in numbers.chunks(2) {
        let first = slot(pair[0])?;
        let last = slot(pair.get(1).ok_or(CommandError::err("No end slot for final slot range"))?)?;
        if first > last {
            return Err(CommandError::err_with(format!(
                "Start slot number {first} is greater than end slot number {last}."
            )));
        }
        for slot in first..=last {
            let node = cluster(s)?.slot_owner(slot).map(|node| node.id());
            let node = node.ok_or_else(|| {
                CommandError::err_with(format!("Slot {slot} has no node served."))
            })?;
            if *owner.get_or_insert(node) != node {
                return Err(CommandError::err("Requested slots span multiple shards"));
            }
        }
        if let Some(other) = all.iter().find(|o| first <= *o.end() && last >= *o.start()) {
            return Err(CommandError::err_with(format!(
                "Slot range {first}-{last} overlaps with previous range {}-{}.",
                other.start(),
                other.end()
            )));
        }
        all.push(first..=last);
    }
    let owner = owner.ok_or(CommandError::err("No slot ranges specified"))?;
    let texts: Vec<String> = all.iter().map(|r| format!("{}-{}", r.start(), r.end())).collect();
    let mut slots = SlotSet::default();
    all.into_iter().flatten().for_each(|slot| _ = slots.insert(slot));
    Ok(Ranges { slots, text: texts.join(" "), owner, rest })
}

/// Whether this node may take part in a move.
fn may_migrate(s: &Server) -> CommandResult {
    let cluster = cluster(s)?;
    let refusal = if !cluster.myself().is_primary() {
        "Slot migration can only be used on primary nodes."
    } else if cluster.all_importing().next().is_some() {
        "Slots are being manually imported"
    } else if cluster.all_migrating().next().is_some() {
        "Slots are being manually migrated"
    } else {
        return Ok(());
    };
    Err(CommandError::err(refusal))
}

/// CLUSTER MIGRATESLOTS SLOTSRANGE start end [start end ...] NODE node-id [SLOTSRANGE ... NODE ...]
pub(super) fn migrateslots(s: &mut Server, call: &mut Call, args: &[&[u8]]) -> CommandResult {
    may_migrate(s)?;
    let me = cluster(s)?.myself().id();
    let mut wanted: Vec<(SlotSet, String, NodeId)> = Vec::new();
    let mut rest = &args[2..];
    while let Some((first, after)) = rest.split_first() {
        if !is(first, "SLOTSRANGE") {
            return Err(CommandError::SYNTAX);
        }
        let found = ranges(s, after)?;
        if found.owner != me {
            return Err(CommandError::err("Slots are not served by this node."));
        }
        if let Some(slot) = found.slots.iter().find(|&slot| s.net.migrations.exports(slot)) {
            return Err(CommandError::err_with(format!("I am already migrating slot {slot}.")));
        }
        if wanted.iter().any(|(other, _, _)| other.iter().any(|slot| found.slots.contains(slot))) {
            return Err(CommandError::err("Slot ranges in migrations overlap"));
        }
        let [word, node, behind @ ..] = found.rest else { return Err(CommandError::SYNTAX) };
        if !is(word, "NODE") {
            return Err(CommandError::SYNTAX);
        }
        wanted.push((found.slots, found.text, target(s, node, me)?));
        rest = behind;
    }
    for (slots, ranges, target) in wanted {
        drive::export(s, slots, ranges, target);
    }
    call.reply.ok();
    Ok(())
}

fn target(s: &Server, name: &[u8], me: NodeId) -> CommandResult<NodeId> {
    let error = |before: &str| CommandError::quoting(before, name, "");
    if name.len() != NAME_LEN {
        return Err(error("Invalid node name: "));
    }
    let id = NodeId::new(name).ok().filter(|id| cluster(s).is_ok_and(|c| c.node(id).is_some()));
    let id = id.ok_or_else(|| error("Unknown node name: "))?;
    if id == me {
        return Err(CommandError::err("Target node can not be this node."));
    }
    Ok(id)
}

pub(super) fn cancelslotmigrations(s: &mut Server, call: &mut Call, _: &[&[u8]]) -> CommandResult {
    cluster(s)?;
    if !s.net.migrations.iter().any(|job| job.is_export() && !job.state.is_over()) {
        return Err(CommandError::err("No migrations ongoing"));
    }
    drive::cancel(s);
    call.reply.ok();
    Ok(())
}

pub(super) fn getslotmigrations(s: &mut Server, call: &mut Call, _: &[&[u8]]) -> CommandResult {
    cluster(s)?;
    call.reply.array(s.net.migrations.iter().count());
    s.net.migrations.iter().for_each(|job| reply_job(&mut call.reply, job));
    Ok(())
}

fn reply_job(reply: &mut Reply, job: &Job) {
    let operation = match job.operation {
        Operation::Import => "IMPORT",
        Operation::Export => "EXPORT",
    };
    let nodes = [("target_node", job.target), ("source_node", job.source)];
    let nodes = nodes.into_iter().filter_map(|(name, id)| Some((name, id?.to_string())));
    let nodes: Vec<(&str, String)> = nodes.collect();
    reply.map(9 + nodes.len());
    let mut text = |name: &str, value: &str| {
        reply.bulk_str(name);
        reply.bulk_str(value);
    };
    text("name", &job.name);
    text("operation", operation);
    text("slot_ranges", &job.ranges);
    nodes.iter().for_each(|(name, id)| text(name, id));
    let times = [
        ("create_time", job.created_ms),
        ("last_update_time", job.updated_ms),
        ("last_ack_time", job.heard_ms),
    ];
    for (name, at_ms) in times {
        reply.bulk_str(name);
        reply.int(at_ms / 1000);
    }
    reply.bulk_str("state");
    reply.bulk_str(job.state.name());
    reply.bulk_str("message");
    reply.bulk_str(job.message.as_deref().unwrap_or(""));
    // Keys are sent without a copy of the memory.
    reply.bulk_str("cow_size");
    reply.int(0);
}

/// CLUSTER SYNCSLOTS ESTABLISH|FINISH ..., or one of the other words by which a move goes on
pub(super) fn syncslots(s: &mut Server, call: &mut Call, args: &[&[u8]]) -> CommandResult {
    cluster(s)?;
    if is(args[2], "ESTABLISH") {
        return establish(s, call, args);
    }
    if is(args[2], "FINISH") {
        return finish(s, call, args);
    }
    let follows = s.client(call).is(ClientFlags::MASTER);
    if follows || is(args[2], "CAPA") {
        return Ok(());
    }
    let token = call.client;
    match Message::named(args[2]) {
        Some(message) if drive::heard(s, token, message) => Ok(()),
        Some(message) => Err(CommandError::err_with(format!(
            "CLUSTER SYNCSLOTS {} should only be used by slot migration clients",
            message.name()
        ))),
        None if drive::heard_nonsense(s, token) => Ok(()),
        None => Err(CommandError::SYNTAX),
    }
}

/// CLUSTER SYNCSLOTS ESTABLISH SOURCE node-id NAME name SLOTSRANGE start end [start end ...], in any order
fn establish(s: &mut Server, call: &mut Call, args: &[&[u8]]) -> CommandResult {
    let is_replayed = s.client(call).is(ClientFlags::MASTER) || s.persistence.aof.is_replaying();
    if !is_replayed {
        may_migrate(s)?;
    }
    let (mut source, mut name, mut found) = (None, None, None);
    let mut rest = &args[3..];
    while let [word, after @ ..] = rest {
        match after {
            [id, behind @ ..] if is(word, "SOURCE") && source.is_none() && id.len() == NAME_LEN => {
                source = Some(if is_replayed { None } else { Some(known_source(s, id)?) });
                rest = behind;
            }
            [text, behind @ ..] if is(word, "NAME") && name.is_none() && text.len() == NAME_LEN => {
                name = Some(String::from_utf8_lossy(text).into_owned());
                rest = behind;
            }
            _ if is(word, "SLOTSRANGE") && found.is_none() => {
                let ranges = ranges(s, after)?;
                if ranges.slots.iter().any(|slot| s.net.migrations.imports(slot)) {
                    return Err(CommandError::err(
                        "Slot is already being imported on the target by a different migration",
                    ));
                }
                rest = ranges.rest;
                found = Some(ranges);
            }
            _ => return Err(CommandError::SYNTAX),
        }
    }
    let (Some(name), Some(found)) = (name, found) else { return Err(CommandError::SYNTAX) };
    let from = match source {
        _ if is_replayed => None,
        Some(Some(source)) if source == found.owner => Some((source, call.client)),
        Some(Some(_)) => {
            return Err(CommandError::err(
                "Target node does not agree about current slot ownership",
            ));
        }
        _ => return Err(CommandError::SYNTAX),
    };
    drive::import(s, name, (found.slots, found.text), from);
    propagate::propagate(s, 0, args);
    if from.is_some() {
        // Nothing else is answered to the source.
        s.client(call).flags |= ClientFlags::REPLY_OFF;
        output::push_to(s, call.client, Bytes::from_static(b"+OK\r\n"));
    }
    Ok(())
}

fn known_source(s: &Server, id: &[u8]) -> CommandResult<NodeId> {
    let id = NodeId::new(id).ok().filter(|id| cluster(s).is_ok_and(|c| c.node(id).is_some()));
    let id = id.ok_or(CommandError::err("Target node does not know the source node"))?;
    if id == cluster(s)?.myself().id() {
        return Err(CommandError::err("Source node is target node itself"));
    }
    Ok(id)
}

/// CLUSTER SYNCSLOTS FINISH STATE SUCCESS|FAILED NAME name [MESSAGE message], in any order
fn finish(s: &mut Server, call: &mut Call, args: &[&[u8]]) -> CommandResult {
    let (mut succeeded, mut name, mut message) = (None, None, None);
    for pair in args[3..].chunks(2) {
        match pair {
            [word, state] if is(word, "STATE") && succeeded.is_none() => {
                if !is(state, "SUCCESS") && !is(state, "FAILED") {
                    return Err(CommandError::SYNTAX);
                }
                succeeded = Some(is(state, "SUCCESS"));
            }
            [word, text] if is(word, "NAME") && name.is_none() && text.len() == NAME_LEN => {
                name = Some(String::from_utf8_lossy(text).into_owned());
            }
            [word, text] if is(word, "MESSAGE") && message.is_none() => {
                message = Some(String::from_utf8_lossy(text).into_owned());
            }
            _ => return Err(CommandError::SYNTAX),
        }
    }
    let (Some(succeeded), Some(name)) = (succeeded, name) else { return Err(CommandError::SYNTAX) };
    if !drive::finished_on_primary(s, &name, succeeded, message.as_deref()) {
        return Err(CommandError::err("No such slot migration job"));
    }
    call.reply.ok();
    Ok(())
}
