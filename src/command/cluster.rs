//! CLUSTER and what else only a cluster has. This node is alone in its cluster (see `server::cluster`): what would need
//! another one answers that there is none.

use super::args::is;
use crate::resp::error::{CommandError, CommandResult};
use crate::resp::reply::Reply;
use crate::server::Server;
use crate::server::call::Call;
use crate::server::client::ClientFlags;
use crate::server::cluster;
use crate::server::cluster::file::node_line;
use crate::server::cluster::{Address, Cluster};
use crate::server::random_id;
use crate::server::table::Row;
use crate::spec::help::reply_help;
use crate::util::number::parse_i64;
use crate::util::slot::{SLOTS, key_slot};
use std::ops::RangeInclusive;

const DISABLED: CommandError = CommandError::err("This instance has cluster support disabled");
const BAD_SLOT: CommandError = CommandError::err("Invalid or out of range slot");
const NOT_EMPTY: CommandError =
    CommandError::err("DB must be empty to perform CLUSTER FLUSHSLOTS.");
const HAS_KEYS: CommandError =
    CommandError::err("CLUSTER RESET can't be called with master nodes containing keys");
const NO_BUS: CommandError =
    CommandError::err("This node has no cluster bus yet: it can't meet other nodes");

/// The cluster, for a command that needs one.
fn cluster(s: &mut Server) -> CommandResult<&mut Cluster> {
    s.cluster.as_deref_mut().ok_or(DISABLED)
}

fn unknown_node(id: &[u8]) -> CommandError {
    CommandError::err_with([b"Unknown node ", id].concat())
}

fn slot(arg: &[u8]) -> CommandResult<u16> {
    let slot = parse_i64(arg).and_then(|n| u16::try_from(n).ok());
    slot.filter(|&slot| slot < SLOTS).ok_or(BAD_SLOT)
}

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
    let cluster = cluster(s)?;
    let mut slots = cluster.slots.clone();
    for slot in wanted.iter().cloned().flatten() {
        let changed = if own { slots.insert(slot) } else { slots.remove(slot) };
        if !changed {
            let before = cluster.slots.contains(slot) == own;
            return Err(CommandError::err_with(match (before, own) {
                (true, true) => format!("Slot {slot} is already busy"),
                (true, false) => format!("Slot {slot} is already unassigned"),
                (false, _) => format!("Slot {slot} specified multiple times"),
            }));
        }
    }
    cluster.slots = slots;
    cluster::cluster_changed(s);
    call.reply.ok();
    Ok(())
}

fn each_slot(args: &[&[u8]]) -> CommandResult<Vec<RangeInclusive<u16>>> {
    args.iter().map(|arg| slot(arg).map(|slot| slot..=slot)).collect()
}

fn addslots(s: &mut Server, call: &mut Call, args: &[&[u8]]) -> CommandResult {
    cluster(s)?;
    assign(s, call, &each_slot(&args[2..])?, true)
}

fn delslots(s: &mut Server, call: &mut Call, args: &[&[u8]]) -> CommandResult {
    cluster(s)?;
    assign(s, call, &each_slot(&args[2..])?, false)
}

fn addslotsrange(s: &mut Server, call: &mut Call, args: &[&[u8]]) -> CommandResult {
    assign_ranges(s, call, args, true)
}

fn delslotsrange(s: &mut Server, call: &mut Call, args: &[&[u8]]) -> CommandResult {
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

fn flushslots(s: &mut Server, call: &mut Call, _: &[&[u8]]) -> CommandResult {
    cluster(s)?;
    if !s.ks.is_empty() {
        return Err(NOT_EMPTY);
    }
    cluster(s)?.slots = Default::default();
    cluster::cluster_changed(s);
    call.reply.ok();
    Ok(())
}

/// CLUSTER SETSLOT slot IMPORTING|MIGRATING|NODE id, or STABLE
fn setslot(s: &mut Server, call: &mut Call, args: &[&[u8]]) -> CommandResult {
    let id = cluster(s)?.id.clone();
    let slot = slot(args[2])?;
    let unknown =
        |id: &[u8]| Err(CommandError::err_with([b"I don't know about node ", id].concat()));
    match args[3..] {
        [how, node] if is(how, "MIGRATING") => {
            if !cluster(s)?.slots.contains(slot) {
                return Err(CommandError::err_with(format!(
                    "I'm not the owner of hash slot {slot}"
                )));
            }
            unknown(node)
        }
        [how, node] if is(how, "IMPORTING") => {
            if cluster(s)?.slots.contains(slot) {
                return Err(CommandError::err_with(format!(
                    "I'm already the owner of hash slot {slot}"
                )));
            }
            unknown(node)
        }
        [how] if is(how, "STABLE") => {
            call.reply.ok();
            Ok(())
        }
        [how, node] if is(how, "NODE") => {
            if node != id.as_bytes() {
                return Err(unknown_node(node));
            }
            cluster(s)?.slots.insert(slot);
            cluster::cluster_changed(s);
            call.reply.ok();
            Ok(())
        }
        _ => Err(CommandError::err(
            "Invalid CLUSTER SETSLOT action or number of arguments. Try CLUSTER HELP",
        )),
    }
}

fn info(s: &mut Server, call: &mut Call, _: &[&[u8]]) -> CommandResult {
    let up = cluster::cluster_is_up(s);
    let cluster = cluster(s)?;
    let text = format!(
        "cluster_state:{}\r\ncluster_slots_assigned:{slots}\r\ncluster_slots_ok:{slots}\r\n\
         cluster_slots_pfail:0\r\ncluster_slots_fail:0\r\ncluster_known_nodes:1\r\ncluster_size:{}\r\n\
         cluster_current_epoch:{}\r\ncluster_my_epoch:{}\r\ncluster_stats_messages_sent:0\r\n\
         cluster_stats_messages_received:0\r\ntotal_cluster_links_buffer_limit_exceeded:0\r\n",
        if up { "ok" } else { "fail" },
        u8::from(!cluster.slots.is_empty()),
        cluster.current_epoch,
        cluster.config_epoch,
        slots = cluster.slots.len(),
    );
    call.reply.verbatim(b"txt", text.as_bytes());
    Ok(())
}

fn nodes(s: &mut Server, call: &mut Call, _: &[&[u8]]) -> CommandResult {
    let address = cluster::cluster_address(s);
    let text = node_line(cluster(s)?, &address, false);
    call.reply.verbatim(b"txt", text.as_bytes());
    Ok(())
}

fn slots(s: &mut Server, call: &mut Call, _: &[&[u8]]) -> CommandResult {
    let address = cluster::cluster_address(s);
    let endpoint = cluster::cluster_endpoint(s, &address);
    let cluster = cluster(s)?;
    let (id, ranges) = (cluster.id.clone(), cluster.slots.ranges());
    call.reply.array(ranges.len());
    for range in ranges {
        call.reply.array(3);
        call.reply.int((*range.start()).into());
        call.reply.int((*range.end()).into());
        call.reply.array(4);
        call.reply.bulk_or_null(endpoint.as_deref().map(str::as_bytes));
        call.reply.int(address.port.into());
        call.reply.bulk_str(&id);
        reply_metadata(&mut call.reply, &address, endpoint.as_deref());
    }
    Ok(())
}

/// What a client may want to know beside the endpoint.
fn reply_metadata(reply: &mut Reply, address: &Address, endpoint: Option<&str>) {
    let ip = Some(address.ip.as_str()).filter(|&ip| Some(ip) != endpoint);
    let hostname = address.hostname.as_deref().filter(|&name| Some(name) != endpoint);
    let pairs = [("ip", ip), ("hostname", hostname)];
    reply.map(pairs.iter().filter(|(_, value)| value.is_some()).count());
    for (name, value) in pairs {
        if let Some(value) = value {
            reply.bulk_str(name);
            reply.bulk_str(value);
        }
    }
}

fn shards(s: &mut Server, call: &mut Call, _: &[&[u8]]) -> CommandResult {
    let address = cluster::cluster_address(s);
    let endpoint = cluster::cluster_endpoint(s, &address);
    let offset = s.repl.offset() as i64;
    let loading = s.persistence.is_loading();
    let cluster = cluster(s)?;
    let (id, ranges) = (cluster.id.clone(), cluster.slots.ranges());
    let reply = &mut call.reply;
    reply.array(1);
    reply.map(2);
    reply.bulk_str("slots");
    reply.array(2 * ranges.len());
    for range in ranges {
        reply.int((*range.start()).into());
        reply.int((*range.end()).into());
    }
    reply.bulk_str("nodes");
    reply.array(1);
    reply.map(7 + usize::from(address.hostname.is_some()));
    reply.bulk_str("id");
    reply.bulk_str(&id);
    reply.bulk_str("port");
    reply.int(address.port.into());
    reply.bulk_str("ip");
    reply.bulk_str(&address.ip);
    reply.bulk_str("endpoint");
    reply.bulk_or_null(endpoint.as_deref().map(str::as_bytes));
    if let Some(name) = &address.hostname {
        reply.bulk_str("hostname");
        reply.bulk_str(name);
    }
    reply.bulk_str("role");
    reply.bulk_str("master");
    reply.bulk_str("replication-offset");
    reply.int(offset);
    reply.bulk_str("health");
    reply.bulk_str(if loading { "loading" } else { "online" });
    Ok(())
}

fn links(s: &mut Server, call: &mut Call, _: &[&[u8]]) -> CommandResult {
    cluster(s)?;
    call.reply.array(0);
    Ok(())
}

fn myid(s: &mut Server, call: &mut Call, _: &[&[u8]]) -> CommandResult {
    let id = cluster(s)?.id.clone();
    call.reply.bulk_str(&id);
    Ok(())
}

fn myshardid(s: &mut Server, call: &mut Call, _: &[&[u8]]) -> CommandResult {
    let id = cluster(s)?.shard_id.clone();
    call.reply.bulk_str(&id);
    Ok(())
}

fn keyslot(s: &mut Server, call: &mut Call, args: &[&[u8]]) -> CommandResult {
    cluster(s)?;
    call.reply.int(key_slot(args[2]).into());
    Ok(())
}

fn countkeysinslot(s: &mut Server, call: &mut Call, args: &[&[u8]]) -> CommandResult {
    cluster(s)?;
    let slot = slot(args[2]).map_err(|_| CommandError::err("Invalid slot"))?;
    call.reply.int(s.ks.slot_len(slot) as i64);
    Ok(())
}

fn getkeysinslot(s: &mut Server, call: &mut Call, args: &[&[u8]]) -> CommandResult {
    cluster(s)?;
    let most = parse_i64(args[3]).and_then(|n| usize::try_from(n).ok());
    let (Ok(slot), Some(most)) = (slot(args[2]), most) else {
        return Err(CommandError::err("Invalid slot or number of keys"));
    };
    call.reply.array(most.min(s.ks.slot_len(slot)));
    s.ks.slot_keys(slot).take(most).for_each(|key| call.reply.bulk(key));
    Ok(())
}

fn bumpepoch(s: &mut Server, call: &mut Call, _: &[&[u8]]) -> CommandResult {
    let cluster = cluster(s)?;
    let how = if cluster.bump_epoch() { "BUMPED" } else { "STILL" };
    let text = format!("{how} {}", cluster.config_epoch);
    cluster::cluster_changed(s);
    call.reply.simple(&text);
    Ok(())
}

fn set_config_epoch(s: &mut Server, call: &mut Call, args: &[&[u8]]) -> CommandResult {
    let cluster = cluster(s)?;
    let epoch = parse_i64(args[2]).ok_or(CommandError::NOT_AN_INTEGER)?;
    let Ok(wanted) = u64::try_from(epoch) else {
        return Err(CommandError::err_with(format!("Invalid config epoch specified: {epoch}")));
    };
    if cluster.config_epoch != 0 {
        return Err(CommandError::err("Node config epoch is already non-zero"));
    }
    cluster.config_epoch = wanted;
    cluster.current_epoch = cluster.current_epoch.max(wanted);
    cluster::cluster_changed(s);
    call.reply.ok();
    Ok(())
}

/// CLUSTER RESET [HARD|SOFT]
fn reset(s: &mut Server, call: &mut Call, args: &[&[u8]]) -> CommandResult {
    cluster(s)?;
    let hard = match args[2..] {
        [] => false,
        [how] if is(how, "SOFT") => false,
        [how] if is(how, "HARD") => true,
        _ => return Err(CommandError::SYNTAX),
    };
    if !s.ks.is_empty() {
        return Err(HAS_KEYS);
    }
    let new = Cluster { id: random_id(&mut s.rng), ..Cluster::new(&mut s.rng) };
    let cluster = cluster(s)?;
    if hard {
        *cluster = new;
    } else {
        cluster.slots = new.slots;
    }
    cluster::cluster_changed(s);
    call.reply.ok();
    Ok(())
}

fn saveconfig(s: &mut Server, call: &mut Call, _: &[&[u8]]) -> CommandResult {
    cluster(s)?;
    cluster::cluster_save(s).map_err(|error| {
        CommandError::err_with(format!("error saving the cluster node config: {error}"))
    })?;
    call.reply.ok();
    Ok(())
}

fn count_failure_reports(s: &mut Server, call: &mut Call, args: &[&[u8]]) -> CommandResult {
    if args[2] != cluster(s)?.id.as_bytes() {
        return Err(unknown_node(args[2]));
    }
    call.reply.int(0);
    Ok(())
}

fn replicas(s: &mut Server, call: &mut Call, args: &[&[u8]]) -> CommandResult {
    if args[2] != cluster(s)?.id.as_bytes() {
        return Err(unknown_node(args[2]));
    }
    call.reply.array(0);
    Ok(())
}

fn replicate(s: &mut Server, _: &mut Call, args: &[&[u8]]) -> CommandResult {
    if args[2] != cluster(s)?.id.as_bytes() {
        return Err(unknown_node(args[2]));
    }
    Err(CommandError::err("Can't replicate myself"))
}

fn forget(s: &mut Server, _: &mut Call, args: &[&[u8]]) -> CommandResult {
    if args[2] != cluster(s)?.id.as_bytes() {
        return Err(unknown_node(args[2]));
    }
    Err(CommandError::err("I tried hard but I can't forget myself..."))
}

fn failover(s: &mut Server, _: &mut Call, args: &[&[u8]]) -> CommandResult {
    cluster(s)?;
    match args[2..] {
        [] => {}
        [how] if is(how, "FORCE") || is(how, "TAKEOVER") => {}
        _ => return Err(CommandError::SYNTAX),
    }
    Err(CommandError::err("You should send CLUSTER FAILOVER to a replica"))
}

fn meet(s: &mut Server, _: &mut Call, _: &[&[u8]]) -> CommandResult {
    cluster(s)?;
    Err(NO_BUS)
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
        "FLUSHSLOTS",
        "    Make this node serve no slots at all.",
        "FORGET <node-id>",
        "    Remove a node from what this one knows.",
        "GETKEYSINSLOT <slot> <count>",
        "    Show keys of a slot.",
        "INFO",
        "    Show the state of the cluster.",
        "KEYSLOT <key>",
        "    Show the slot of a key.",
        "LINKS",
        "    Show the connections to other nodes.",
        "MEET <ip> <port> [<bus-port>]",
        "    Join the cluster of another node.",
        "MYID",
        "    Show this node's id.",
        "MYSHARDID",
        "    Show the id of this node's shard.",
        "NODES",
        "    Show the nodes as this one knows them.",
        "REPLICAS <node-id>",
        "    Show the replicas of a node.",
        "REPLICATE <node-id>",
        "    Make this node a replica.",
        "RESET [HARD|SOFT]",
        "    Forget the cluster.",
        "SAVECONFIG",
        "    Write what is known of the cluster to disk.",
        "SET-CONFIG-EPOCH <epoch>",
        "    Set a new node's configuration epoch.",
        "SETSLOT <slot> (IMPORTING <node-id>|MIGRATING <node-id>|STABLE|NODE <node-id>)",
        "    Set the state of a slot.",
        "SHARDS",
        "    Show slots and nodes, shard by shard.",
        "SLOTS",
        "    Show slots and their nodes.",
    ];
    reply_help(&mut call.reply, "CLUSTER", &lines);
    Ok(())
}

/// A request that follows may be for a slot that is only being imported. Alone, no slot ever is.
fn asking(s: &mut Server, call: &mut Call, _: &[&[u8]]) -> CommandResult {
    cluster(s)?;
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
    ("cluster|addslots", addslots),
    ("cluster|addslotsrange", addslotsrange),
    ("cluster|bumpepoch", bumpepoch),
    ("cluster|count-failure-reports", count_failure_reports),
    ("cluster|countkeysinslot", countkeysinslot),
    ("cluster|delslots", delslots),
    ("cluster|delslotsrange", delslotsrange),
    ("cluster|failover", failover),
    ("cluster|flushslots", flushslots),
    ("cluster|forget", forget),
    ("cluster|getkeysinslot", getkeysinslot),
    ("cluster|help", help),
    ("cluster|info", info),
    ("cluster|keyslot", keyslot),
    ("cluster|links", links),
    ("cluster|meet", meet),
    ("cluster|myid", myid),
    ("cluster|myshardid", myshardid),
    ("cluster|nodes", nodes),
    ("cluster|replicas", replicas),
    ("cluster|replicate", replicate),
    ("cluster|reset", reset),
    ("cluster|saveconfig", saveconfig),
    ("cluster|set-config-epoch", set_config_epoch),
    ("cluster|setslot", setslot),
    ("cluster|shards", shards),
    ("cluster|slaves", replicas),
    ("cluster|slots", slots),
    ("asking", asking),
    ("readonly", readonly),
    ("readwrite", readwrite),
];
