//! CLUSTER, and what else only a node of a cluster has. What is known of the cluster is in `server::cluster`.
//!
//! * [`nodes`]: who is in the cluster, and whose place who takes.
//! * [`migrate_slots`]: slots that move as one.
//! * [`scan`]: the keys of the whole cluster.
//! * [`slots`]: who owns what. [`keys`]: the keys of a slot. [`slot_stats`]: what a slot costs.
//! * [`show`]: what this node knows. [`debug`]: what DEBUG has for tests.

pub mod debug;
mod keys;
mod migrate_slots;
mod nodes;
mod scan;
mod show;
mod slot_stats;
mod slots;

use crate::resp::error::{CommandError, CommandResult};
use crate::server::Server;
use crate::server::call::Call;
use crate::server::client::ClientFlags;
use crate::server::cluster::{Cluster, Facts, Now, drive};
use crate::server::table::Row;
use crate::spec::help::reply_help;
use crate::util::number::parse_i64;
use crate::util::slot::SLOTS;

const DISABLED: CommandError = CommandError::err("This instance has cluster support disabled");
const BAD_SLOT: CommandError = CommandError::err("Invalid or out of range slot");

/// The cluster, for a command that needs one.
fn cluster(s: &Server) -> CommandResult<&Cluster> {
    s.cluster.as_deref().ok_or(DISABLED)
}

/// Has the cluster do something, and does what follows.
fn operate<T>(
    s: &mut Server,
    operation: impl FnOnce(&mut Cluster, Now, &Facts) -> T,
) -> CommandResult<T> {
    drive::operate(s, operation).ok_or(DISABLED)
}

fn unknown_node(id: &[u8]) -> CommandError {
    CommandError::err_with([b"Unknown node ", id].concat())
}

fn slot(arg: &[u8]) -> CommandResult<u16> {
    let slot = parse_i64(arg).and_then(|n| u16::try_from(n).ok());
    slot.filter(|&slot| slot < SLOTS).ok_or(BAD_SLOT)
}

fn help(s: &mut Server, call: &mut Call, _: &[&[u8]]) -> CommandResult {
    cluster(s)?;
    let lines = [
        "ADDSLOTS <slot> [<slot> ...]",
        "    Make this node serve slots.",
        "ADDSLOTSRANGE <start slot> <end slot> [<start slot> <end slot> ...]",
        "    Make this node serve the slots of ranges.",
        "BUMPEPOCH",
        "    Take the newest configuration epoch.",
        "CANCELSLOTMIGRATIONS",
        "    Stop the moves of slots from this node.",
        "COUNT-FAILURE-REPORTS <node-id>",
        "    Count the nodes that report a node as failing.",
        "COUNTKEYSINSLOT <slot>",
        "    Count the keys of a slot.",
        "DELSLOTS <slot> [<slot> ...]",
        "    Make this node serve slots no longer.",
        "DELSLOTSRANGE <start slot> <end slot> [<start slot> <end slot> ...]",
        "    Make this node serve the slots of ranges no longer.",
        "FAILOVER [FORCE|TAKEOVER]",
        "    Promote this replica.",
        "FLUSHSLOT <slot> [ASYNC|SYNC]",
        "    Delete the keys of a slot.",
        "FLUSHSLOTS",
        "    Make this node serve no slots at all.",
        "FORGET <node-id>",
        "    Remove a node from what this one knows.",
        "GETKEYSINSLOT <slot> <count>",
        "    Show keys of a slot.",
        "GETSLOTMIGRATIONS",
        "    Show moves of slots from and to this node.",
        "INFO",
        "    Show the state of the cluster.",
        "KEYSLOT <key>",
        "    Show the slot of a key.",
        "LINKS",
        "    Show the connections to other nodes.",
        "MEET <ip> <port> [<bus-port>]",
        "    Join the cluster of another node.",
        "MIGRATESLOTS SLOTSRANGE <start slot> <end slot> [<start slot> <end slot> ...] NODE <node-id> [...]",
        "    Move slots with all their keys to another node.",
        "MYID",
        "    Show this node's id.",
        "MYSHARDID",
        "    Show the id of this node's shard.",
        "NODES",
        "    Show the nodes as this one knows them.",
        "REPLICAS <node-id>",
        "    Show the replicas of a node.",
        "REPLICATE (<node-id>|NO ONE)",
        "    Make this node a replica, or a primary without slots.",
        "RESET [HARD|SOFT]",
        "    Forget the cluster.",
        "SAVECONFIG",
        "    Write what is known of the cluster to disk.",
        "SET-CONFIG-EPOCH <epoch>",
        "    Set a new node's configuration epoch.",
        "SETSLOT <slot> (IMPORTING <node-id>|MIGRATING <node-id>|STABLE|NODE <node-id>) [TIMEOUT <milliseconds>]",
        "    Set the state of a slot.",
        "SHARDS",
        "    Show slots and nodes, shard by shard.",
        "SLOT-STATS (SLOTSRANGE <start slot> <end slot>|ORDERBY <metric> [LIMIT <limit>] [ASC|DESC])",
        "    Show how many keys slots hold, and what they cost.",
        "SLOTS",
        "    Show slots and their nodes.",
    ];
    reply_help(&mut call.reply, "CLUSTER", &lines);
    Ok(())
}

/// The next request may be for a slot that is on its way to this node.
fn asking(s: &mut Server, call: &mut Call, _: &[&[u8]]) -> CommandResult {
    cluster(s)?;
    s.client(call).flags |= ClientFlags::ASKING;
    call.reply.ok();
    Ok(())
}

fn readonly(s: &mut Server, call: &mut Call, _: &[&[u8]]) -> CommandResult {
    set_readonly(s, call, true)
}

fn readwrite(s: &mut Server, call: &mut Call, _: &[&[u8]]) -> CommandResult {
    set_readonly(s, call, false)
}

/// Outside a cluster only a client that would be redirected has any use for it; others hear what Redis says.
fn set_readonly(s: &mut Server, call: &mut Call, on: bool) -> CommandResult {
    if s.cluster.is_none() && !s.client(call).is(ClientFlags::REDIRECT) {
        return Err(DISABLED);
    }
    s.client(call).flags.set(ClientFlags::READONLY, on);
    call.reply.ok();
    Ok(())
}

pub const COMMANDS: &[Row] = &[
    ("cluster|addslots", slots::addslots),
    ("cluster|addslotsrange", slots::addslotsrange),
    ("cluster|bumpepoch", nodes::bumpepoch),
    ("cluster|cancelslotmigrations", migrate_slots::cancelslotmigrations),
    ("cluster|count-failure-reports", show::count_failure_reports),
    ("cluster|countkeysinslot", keys::countkeysinslot),
    ("cluster|delslots", slots::delslots),
    ("cluster|delslotsrange", slots::delslotsrange),
    ("cluster|failover", nodes::failover),
    ("cluster|flushslot", keys::flushslot),
    ("cluster|flushslots", slots::flushslots),
    ("cluster|forget", nodes::forget),
    ("cluster|getkeysinslot", keys::getkeysinslot),
    ("cluster|getslotmigrations", migrate_slots::getslotmigrations),
    ("cluster|help", help),
    ("cluster|info", show::info),
    ("cluster|keyslot", keys::keyslot),
    ("cluster|links", show::links),
    ("cluster|meet", nodes::meet),
    ("cluster|migrateslots", migrate_slots::migrateslots),
    ("cluster|myid", show::myid),
    ("cluster|myshardid", show::myshardid),
    ("cluster|nodes", show::nodes),
    ("cluster|replicas", show::replicas),
    ("cluster|replicate", nodes::replicate),
    ("cluster|reset", nodes::reset),
    ("cluster|saveconfig", nodes::saveconfig),
    ("cluster|set-config-epoch", nodes::set_config_epoch),
    ("cluster|setslot", slots::setslot),
    ("cluster|shards", show::shards),
    ("cluster|slaves", show::replicas),
    ("cluster|slot-stats", slot_stats::slot_stats),
    ("cluster|slots", show::slots),
    ("cluster|syncslots", migrate_slots::syncslots),
    ("asking", asking),
    ("clusterscan", scan::clusterscan),
    ("readonly", readonly),
    ("readwrite", readwrite),
];
