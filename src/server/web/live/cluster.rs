//! The cluster's map, when this server is a node of one: shards, what they own, who is failing, and what moves.

use crate::bus::{NodeFlags, NodeId};
use crate::server::Server;
use crate::server::cluster::drive::now;
use crate::server::cluster::{Cluster, Node, Now};
use crate::server::links::migration::job::Job;
use serde_json::{Value, json};

/// Nodes that are shown, primaries first; ranges of slots of each; and moves of slots, the newest.
const NODES_SHOWN: usize = 200;
const RANGES_SHOWN: usize = 12;
const MOVES_SHOWN: usize = 16;
/// Characters of a node's id that are shown.
const ID_SHOWN: usize = 8;

/// Null where there is no cluster.
pub fn map(server: &Server) -> Value {
    let Some(cluster) = &server.cluster else { return Value::Null };
    let now = now(server);
    let mut nodes: Vec<&Node> = cluster.nodes().collect();
    nodes.sort_unstable_by_key(|node| {
        (node.is_replica(), node.slots().iter().next().unwrap_or(u16::MAX))
    });
    let shown = nodes.iter().take(NODES_SHOWN).map(|node| show_node(server, cluster, node, now));
    let moves: Vec<&Job> = server.net.migrations.iter().collect();
    json!({
        "state": if cluster.is_up() { "ok" } else { "fail" },
        "epoch": cluster.current_epoch(),
        "known": cluster.known_nodes(),
        "size": cluster.size(),
        "nodes": shown.collect::<Value>(),
        "open_slots": open_slots(cluster),
        "moves": moves.iter().rev().take(MOVES_SHOWN).map(|job| show_move(job)).collect::<Value>(),
    })
}

fn short(id: NodeId) -> String {
    id.to_string().chars().take(ID_SHOWN).collect()
}

fn show_node(server: &Server, cluster: &Cluster, node: &Node, now: Now) -> Value {
    let ranges = node.slots().ranges();
    let text = |range: std::ops::RangeInclusive<u16>| match (range.start(), range.end()) {
        (first, last) if first == last => first.to_string(),
        (first, last) => format!("{first}-{last}"),
    };
    let ago_ms = |then: Option<Now>| then.map(|then| now.mono_ms.saturating_sub(then.mono_ms));
    json!({
        "id": short(node.id()),
        "address": format!("{}:{}", node.client_ip(false), node.client_port(server.config.tls_cluster)),
        "name": node.announced().human_name,
        "myself": node.is_myself(),
        "role": if node.is_replica() { "replica" } else { "primary" },
        "primary": cluster.primary_of(node).map(|primary| short(primary.id())),
        "health": health(node),
        "linked": node.is_myself() || node.link().is_some(),
        "epoch": cluster.epoch_of(node),
        "slots": node.slots().len(),
        "more_ranges": ranges.len().saturating_sub(RANGES_SHOWN),
        "ranges": ranges.into_iter().take(RANGES_SHOWN).map(text).collect::<Vec<String>>(),
        // How long an answer has been waited for, and ago when the last one came; null: there is none.
        "waits_ms": ago_ms(node.ping_sent()),
        "heard_ms": ago_ms(node.pong_received()),
    })
}

/// What this node thinks of another one.
fn health(node: &Node) -> &'static str {
    let flags = [
        (NodeFlags::FAIL, "failed"),
        (NodeFlags::PFAIL, "suspected"),
        (NodeFlags::HANDSHAKE, "in handshake"),
        (NodeFlags::NO_ADDRESS, "without address"),
    ];
    flags.into_iter().find(|(flag, _)| node.flags().contains(*flag)).map_or("up", |(_, name)| name)
}

/// Slots that move key by key.
fn open_slots(cluster: &Cluster) -> Value {
    let away = cluster.all_migrating().map(|(slot, node)| (slot, "to", node));
    let here = cluster.all_importing().map(|(slot, node)| (slot, "from", node));
    let shown = away.chain(here).take(MOVES_SHOWN);
    shown
        .map(|(slot, way, node)| json!({ "slot": slot, "way": way, "node": short(node.id()) }))
        .collect()
}

/// Slots that move as one.
fn show_move(job: &Job) -> Value {
    json!({
        "ranges": job.ranges,
        "operation": if job.is_export() { "export" } else { "import" },
        "state": job.state.name(),
        "over": job.state.is_over(),
        "source": job.source.map(short),
        "target": job.target.map(short),
        "keys": job.keys_sent().map(|(sent, all)| json!({ "sent": sent, "all": all })),
        "message": job.message,
    })
}
