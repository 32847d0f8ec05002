//! What this node knows: CLUSTER INFO, NODES, SLOTS, SHARDS, REPLICAS, LINKS, MYID, MYSHARDID, COUNT-FAILURE-REPORTS.

use super::{cluster, operate, unknown_node};
use crate::bus::{Kind, NodeId};
use crate::resp::error::{CommandError, CommandResult};
use crate::resp::reply::Reply;
use crate::server::Server;
use crate::server::call::Call;
use crate::server::cluster::describe::{Reader, nodes_text, write_node};
use crate::server::cluster::machine::LinkId;
use crate::server::cluster::{Cluster, Node, obey};
use crate::server::config::ClusterEndpointType;
use crate::util::slot::SLOTS;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::ops::RangeInclusive;

/// How a client is told where nodes are.
#[derive(Clone, Copy)]
pub(super) struct Audience {
    endpoint_type: ClusterEndpointType,
    ipv6: bool,
    tls: bool,
    /// How far this node's own data goes.
    offset: u64,
}

impl Audience {
    fn new(s: &Server, call: &Call) -> Audience {
        let conn = &s.clients[call.client].conn;
        Audience {
            endpoint_type: s.config.cluster_preferred_endpoint_type,
            ipv6: conn.peer_ip().is_some_and(|ip| ip.is_ipv6()),
            tls: conn.is_encrypted(),
            offset: obey::offset(s),
        }
    }

    fn reader(self) -> Reader {
        Reader::Client { ipv6: self.ipv6, tls: self.tls }
    }

    /// `None`: the address that the client is connected to.
    fn endpoint(self, node: &Node) -> Option<&str> {
        match self.endpoint_type {
            ClusterEndpointType::Ip => Some(node.client_ip(self.ipv6)),
            ClusterEndpointType::Hostname => Some(match node.announced().hostname.as_str() {
                "" => "?",
                hostname => hostname,
            }),
            ClusterEndpointType::UnknownEndpoint => None,
        }
    }

    fn offset_of(self, node: &Node) -> u64 {
        if node.is_myself() { self.offset } else { node.offset() }
    }
}

pub(super) fn info(s: &mut Server, call: &mut Call, _: &[&[u8]]) -> CommandResult {
    let cluster = cluster(s)?;
    let (mut assigned, mut suspected, mut failed) = (0, 0, 0);
    for node in (0..SLOTS).filter_map(|slot| cluster.slot_owner(slot)) {
        assigned += 1;
        if node.has_failed() {
            failed += 1;
        } else if node.is_suspected() {
            suspected += 1;
        }
    }
    let mut text = format!(
        "cluster_state:{}\r\ncluster_slots_assigned:{assigned}\r\ncluster_slots_ok:{}\r\n\
         cluster_slots_pfail:{suspected}\r\ncluster_slots_fail:{failed}\r\ncluster_known_nodes:{}\r\n\
         cluster_size:{}\r\ncluster_current_epoch:{}\r\ncluster_my_epoch:{}\r\n",
        if cluster.is_up() { "ok" } else { "fail" },
        assigned - suspected - failed,
        cluster.known_nodes(),
        cluster.size(),
        cluster.current_epoch(),
        cluster.epoch_of(cluster.myself()),
    );
    let stats = cluster.stats();
    write_counts(&mut text, "sent", stats.sent());
    write_counts(&mut text, "received", stats.received());
    let over_limit = stats.links_over_limit();
    let _ = write!(text, "total_cluster_links_buffer_limit_exceeded:{over_limit}\r\n");
    call.reply.verbatim(b"txt", text.as_bytes());
    Ok(())
}

/// How many messages of each kind there were, and of all.
fn write_counts(text: &mut String, way: &str, counts: impl Iterator<Item = (Kind, u64)>) {
    let mut total = 0;
    for (kind, count) in counts {
        total += count;
        let _ = write!(text, "cluster_stats_messages_{}_{way}:{count}\r\n", kind.name());
    }
    let _ = write!(text, "cluster_stats_messages_{way}:{total}\r\n");
}

pub(super) fn nodes(s: &mut Server, call: &mut Call, _: &[&[u8]]) -> CommandResult {
    let reader = Audience::new(s, call).reader();
    let text = nodes_text(cluster(s)?, reader);
    call.reply.verbatim(b"txt", text.as_bytes());
    Ok(())
}

/// CLUSTER REPLICAS node-id
pub(super) fn replicas(s: &mut Server, call: &mut Call, args: &[&[u8]]) -> CommandResult {
    let reader = Audience::new(s, call).reader();
    let cluster = cluster(s)?;
    let key = cluster.find(args[2]).ok_or_else(|| unknown_node(args[2]))?;
    let node = cluster.by_key(key);
    if node.is_replica() {
        return Err(CommandError::err("The specified node is not a master"));
    }
    call.reply.array(cluster.replicas_of(node).count());
    for replica in cluster.replicas_of(node) {
        let mut line = String::new();
        write_node(&mut line, cluster, replica, reader);
        call.reply.bulk_str(&line);
    }
    Ok(())
}

pub(super) fn slots(s: &mut Server, call: &mut Call, _: &[&[u8]]) -> CommandResult {
    let audience = Audience::new(s, call);
    let cluster = cluster(s)?;
    let ranges = owned_ranges(cluster);
    call.reply.array(ranges.len());
    for (range, owner) in ranges {
        let serves = |node: &&Node| !node.has_failed() && audience.offset_of(node) != 0;
        let replicas: Vec<&Node> = cluster.replicas_of(owner).filter(serves).collect();
        call.reply.array(3 + replicas.len());
        call.reply.int((*range.start()).into());
        call.reply.int((*range.end()).into());
        for node in std::iter::once(owner).chain(replicas) {
            reply_node(&mut call.reply, node, audience);
        }
    }
    Ok(())
}

/// Slots that follow each other and have the same owner.
fn owned_ranges(cluster: &Cluster) -> Vec<(RangeInclusive<u16>, &Node)> {
    let mut ranges: Vec<(RangeInclusive<u16>, &Node)> = Vec::new();
    for slot in 0..SLOTS {
        let Some(owner) = cluster.slot_owner(slot) else { continue };
        match ranges.last_mut() {
            Some((range, last)) if range.end() + 1 == slot && last.id() == owner.id() => {
                *range = *range.start()..=slot;
            }
            _ => ranges.push((slot..=slot, owner)),
        }
    }
    ranges
}

/// A node's endpoint, its id, and what a client may want to know beside them.
fn reply_node(reply: &mut Reply, node: &Node, audience: Audience) {
    reply.array(4);
    reply.bulk_or_null(audience.endpoint(node).map(str::as_bytes));
    reply.int(node.client_port(audience.tls).into());
    reply.bulk_str(node.id().as_str());
    let ip = Some(node.client_ip(audience.ipv6));
    let hostname = Some(node.announced().hostname.as_str()).filter(|name| !name.is_empty());
    let (ip, hostname) = match audience.endpoint_type {
        ClusterEndpointType::Ip => (None, hostname),
        ClusterEndpointType::Hostname => (ip, None),
        ClusterEndpointType::UnknownEndpoint => (ip, hostname),
    };
    let pairs = [("ip", ip), ("hostname", hostname)];
    reply.map(pairs.iter().filter(|(_, value)| value.is_some()).count());
    for (name, value) in pairs {
        if let Some(value) = value {
            reply.bulk_str(name);
            reply.bulk_str(value);
        }
    }
}

pub(super) fn shards(s: &mut Server, call: &mut Call, _: &[&[u8]]) -> CommandResult {
    let audience = Audience::new(s, call);
    let mut shards: BTreeMap<NodeId, Vec<&Node>> = BTreeMap::new();
    for node in cluster(s)?.nodes().filter(|node| !node.is_in_handshake()) {
        shards.entry(node.shard_id()).or_default().push(node);
    }
    let reply = &mut call.reply;
    reply.array(shards.len());
    for nodes in shards.values() {
        reply.map(2);
        reply.bulk_str("slots");
        let owner = nodes.iter().find(|node| !node.slots().is_empty());
        let ranges = owner.map(|node| node.slots().ranges()).unwrap_or_default();
        reply.array(2 * ranges.len());
        for range in ranges {
            reply.int((*range.start()).into());
            reply.int((*range.end()).into());
        }
        reply.bulk_str("nodes");
        reply.array(nodes.len());
        nodes.iter().for_each(|node| reply_shard_node(reply, node, audience));
    }
    Ok(())
}

fn reply_shard_node(reply: &mut Reply, node: &Node, audience: Audience) {
    let offset = audience.offset_of(node);
    let map = reply.deferred();
    let mut pairs = 6;
    reply.bulk_str("id");
    reply.bulk_str(node.id().as_str());
    for (name, tls) in [("port", false), ("tls-port", true)] {
        let port = node.client_port(tls);
        if port > 0 {
            pairs += 1;
            reply.bulk_str(name);
            reply.int(port.into());
        }
    }
    reply.bulk_str("ip");
    reply.bulk_str(node.client_ip(audience.ipv6));
    reply.bulk_str("endpoint");
    reply.bulk_or_null(audience.endpoint(node).map(str::as_bytes));
    let hostname = &node.announced().hostname;
    if !hostname.is_empty() {
        pairs += 1;
        reply.bulk_str("hostname");
        reply.bulk_str(hostname);
    }
    reply.bulk_str("role");
    reply.bulk_str(if node.is_replica() { "replica" } else { "master" });
    reply.bulk_str("replication-offset");
    reply.int(offset as i64);
    reply.bulk_str("health");
    reply.bulk_str(match () {
        () if node.has_failed() => "fail",
        () if node.is_replica() && offset == 0 => "loading",
        () => "online",
    });
    reply.set_map(map, pairs);
}

pub(super) fn links(s: &mut Server, call: &mut Call, _: &[&[u8]]) -> CommandResult {
    let (cluster, bus) = (cluster(s)?, s.net.bus());
    let both = |node: &Node| node.link().into_iter().chain(node.inbound());
    let links: Vec<(LinkId, NodeId)> =
        cluster.nodes().flat_map(|node| both(node).map(|link| (link, node.id()))).collect();
    let reply = &mut call.reply;
    reply.array(links.len());
    for (id, node) in links {
        let link = cluster.link(id);
        let (_, waiting) = bus.memory(id);
        reply.map(6);
        reply.bulk_str("direction");
        reply.bulk_str(if link.is_some_and(|link| link.is_inbound()) { "from" } else { "to" });
        reply.bulk_str("node");
        reply.bulk_str(node.as_str());
        reply.bulk_str("create-time");
        reply.int(link.map_or(0, |link| link.created_ms()));
        reply.bulk_str("events");
        reply.bulk_str(if waiting > 0 { "rw" } else { "r" });
        reply.bulk_str("send-buffer-allocated");
        reply.int(waiting as i64);
        reply.bulk_str("send-buffer-used");
        reply.int(waiting as i64);
    }
    Ok(())
}

pub(super) fn myid(s: &mut Server, call: &mut Call, _: &[&[u8]]) -> CommandResult {
    call.reply.bulk_str(cluster(s)?.myself().id().as_str());
    Ok(())
}

pub(super) fn myshardid(s: &mut Server, call: &mut Call, _: &[&[u8]]) -> CommandResult {
    call.reply.bulk_str(cluster(s)?.myself().shard_id().as_str());
    Ok(())
}

/// CLUSTER COUNT-FAILURE-REPORTS node-id
pub(super) fn count_failure_reports(
    s: &mut Server,
    call: &mut Call,
    args: &[&[u8]],
) -> CommandResult {
    let reports = operate(s, |cluster, now, facts| {
        cluster.find(args[2]).map(|key| cluster.failure_reports(key, now, facts))
    })?;
    let reports = reports.ok_or_else(|| unknown_node(args[2]))?;
    call.reply.int(reports as i64);
    Ok(())
}
