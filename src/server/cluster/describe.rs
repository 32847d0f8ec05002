//! Nodes as lines of text, for `CLUSTER NODES` and for `nodes.conf`:
//!
//! ```text
//! <id> <ip>:<port>@<bus port>[,<hostname>] <flags> <primary> <ping sent> <pong received> <epoch> <link> <slots>
//! ```

use super::machine::{Announced, Cluster, Node, Now};
use crate::bus::NodeFlags;
use std::fmt::Write;

/// Who reads it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reader {
    /// The next process: it is told more of the node behind the host name.
    File,
    Client {
        /// It is connected over IPv6.
        ipv6: bool,
        /// It is told the ports for TLS.
        tls: bool,
    },
}

pub(super) const FLAG_NAMES: [(NodeFlags, &str); 8] = [
    (NodeFlags::MYSELF, "myself"),
    (NodeFlags::PRIMARY, "master"),
    (NodeFlags::REPLICA, "slave"),
    (NodeFlags::PFAIL, "fail?"),
    (NodeFlags::FAIL, "fail"),
    (NodeFlags::HANDSHAKE, "handshake"),
    (NodeFlags::NO_ADDRESS, "noaddr"),
    (NodeFlags::NO_FAILOVER, "nofailover"),
];

/// All nodes, a line each; in the file those are missing whose names are not known yet.
pub fn nodes_text(cluster: &Cluster, reader: Reader) -> String {
    let mut text = String::new();
    for node in cluster.nodes() {
        if reader != Reader::File || !node.is_in_handshake() {
            write_node(&mut text, cluster, node, reader);
            text.push('\n');
        }
    }
    text
}

/// A node's line, without its end.
pub fn write_node(text: &mut String, cluster: &Cluster, node: &Node, reader: Reader) {
    // Writing to a string can't fail.
    let _ = write_address(text, node, reader);
    let _ = write!(text, " {}", flag_names(node.flags()));
    match cluster.primary_of(node) {
        Some(primary) => _ = write!(text, " {}", primary.id()),
        None => text.push_str(" -"),
    }
    let at_ms = |at: Option<Now>| at.map_or(0, |at| at.wall_ms);
    let (sent_ms, received_ms) = (at_ms(node.ping_sent()), at_ms(node.pong_received()));
    let is_connected = node.is_myself() || node.link().is_some();
    let link = if is_connected { "connected" } else { "disconnected" };
    let _ = write!(text, " {sent_ms} {received_ms} {} {link}", cluster.epoch_of(node));
    for range in node.slots().ranges() {
        let _ = match range.start() == range.end() {
            true => write!(text, " {}", range.start()),
            false => write!(text, " {}-{}", range.start(), range.end()),
        };
    }
    if node.is_myself() {
        let migrating = cluster.all_migrating().map(|(slot, to)| (slot, '>', to.id()));
        let importing = cluster.all_importing().map(|(slot, from)| (slot, '<', from.id()));
        let mut open: Vec<_> = migrating.chain(importing).collect();
        open.sort_by_key(|&(slot, ..)| slot);
        for (slot, direction, id) in open {
            let _ = write!(text, " [{slot}-{direction}-{id}]");
        }
    }
}

fn write_address(text: &mut String, node: &Node, reader: Reader) -> std::fmt::Result {
    let (ip, port) = match reader {
        Reader::File => (node.address().ip.as_str(), node.port(false)),
        Reader::Client { ipv6, tls } => (node.client_ip(ipv6), node.client_port(tls)),
    };
    let Announced { hostname, human_name, .. } = node.announced();
    write!(text, "{} {ip}:{port}@{}", node.id(), node.address().bus_port)?;
    if !hostname.is_empty() {
        write!(text, ",{hostname}")?;
    }
    if reader != Reader::File {
        return Ok(());
    }
    if hostname.is_empty() {
        text.push(',');
    }
    let Announced { availability_zone, client_ipv4, client_ipv6, .. } = node.announced();
    let &Announced { client_tcp_port, client_tls_port, .. } = node.announced();
    if !availability_zone.is_empty() {
        write!(text, ",availability-zone={availability_zone}")?;
    }
    for (name, port) in [("client-tls-port", client_tls_port), ("client-tcp-port", client_tcp_port)]
    {
        if port != 0 {
            write!(text, ",{name}={port}")?;
        }
    }
    for (name, ip) in [("client-ipv6", client_ipv6), ("client-ipv4", client_ipv4)] {
        if !ip.is_empty() {
            write!(text, ",{name}={ip}")?;
        }
    }
    write!(text, ",tls-port={}", node.port(true))?;
    if !human_name.is_empty() {
        write!(text, ",nodename={human_name}")?;
    }
    write!(text, ",shard-id={}", node.shard_id())
}

/// As `CLUSTER NODES` shows them.
pub fn flag_names(flags: NodeFlags) -> String {
    let names: Vec<&str> = FLAG_NAMES
        .iter()
        .filter(|(flag, _)| flags.contains(*flag))
        .map(|(_, name)| *name)
        .collect();
    if names.is_empty() { "noflags".into() } else { names.join(",") }
}
