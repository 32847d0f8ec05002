//! What this node says of itself, and to whom.

use super::{Action, Cluster, Facts, LinkId, NodeAddress, NodeKey};
use crate::bus::{Body, Header, Message, MessageFlags, NodeFlags, Publication};
use crate::server::config::Config;

/// The bus's port lies so far behind the clients', unless it is configured.
const BUS_PORT_DISTANCE: u16 = 10_000;

/// The port that the bus listens at; `None`: the clients' is too high for there to be one.
pub fn bus_port(config: &Config) -> Option<u16> {
    let clients = if config.tls_cluster { config.tls_port } else { config.port };
    Some(config.cluster_port)
        .filter(|&port| port != 0)
        .or_else(|| clients.checked_add(BUS_PORT_DISTANCE))
}

/// Where this node is found, as it is configured to tell.
pub fn announced_address(config: &Config) -> NodeAddress {
    NodeAddress {
        ip: config.cluster_announce_ip.clone().unwrap_or_default(),
        tcp_port: or(config.cluster_announce_port, config.port),
        tls_port: or(config.cluster_announce_tls_port, config.tls_port),
        bus_port: or(config.cluster_announce_bus_port, bus_port(config).unwrap_or(0)),
    }
}

fn or(port: u16, otherwise: u16) -> u16 {
    if port == 0 { otherwise } else { port }
}

impl NodeAddress {
    /// The clients' port that the bus tells first, and the other one.
    pub(super) fn ports(&self, config: &Config) -> (u16, u16) {
        let (tcp, tls) = (self.tcp_port, self.tls_port);
        if config.tls_cluster { (tls, tcp) } else { (tcp, tls) }
    }

    /// An address of what the bus tells.
    pub(super) fn of_ports(
        config: &Config,
        ip: String,
        (port, other_port): (u16, u16),
        bus_port: u16,
    ) -> NodeAddress {
        let (tcp_port, tls_port) =
            if config.tls_cluster { (other_port, port) } else { (port, other_port) };
        NodeAddress { ip, tcp_port, tls_port, bus_port }
    }
}

impl Cluster {
    pub(super) fn header(&self, facts: &Facts) -> Header {
        let primary = self.my_primary();
        let myself = self.myself();
        let address = announced_address(facts.config);
        let (port, other_port) = address.ports(facts.config);
        let is_paused = myself.is_primary() && self.manual.is_going_on();
        Header {
            current_epoch: self.current_epoch,
            config_epoch: primary.config_epoch,
            offset: facts.offset,
            sender: Some(myself.id),
            slots: primary.slots.clone(),
            primary: self.primary_of(myself).map(|primary| primary.id),
            ip: address.ip,
            port,
            other_port,
            bus_port: address.bus_port,
            flags: myself.flags,
            is_cluster_down: !self.is_up(),
            message_flags: if is_paused { MessageFlags::PAUSED } else { MessageFlags::empty() },
        }
    }

    /// Sends a message to those who are connected.
    pub(super) fn send(&mut self, to: Vec<LinkId>, message: Message) {
        if to.is_empty() {
            return;
        }
        if let Some(kind) = message.kind() {
            self.stats.count_sent(kind, to.len());
        }
        self.actions.push(Action::Send { to, message: Box::new(message) });
    }

    /// Sends a message to one node, if it is connected.
    pub(super) fn send_to(&mut self, key: NodeKey, body: Body, facts: &Facts) {
        let to = self.nodes[key].link.into_iter().collect();
        let header = self.header(facts);
        self.send(to, Message::full(header, body));
    }

    /// Sends a message to all nodes that are connected and known by name.
    pub(super) fn broadcast(&mut self, header: Header, body: Body) {
        let known = self.nodes.iter().filter(|(_, node)| !node.is_in_handshake());
        let to = known.filter_map(|(_, node)| node.link).collect();
        self.send(to, Message::full(header, body));
    }

    /// Has other nodes publish a message: all of them, or those of this node's shard.
    pub fn publish(&mut self, publication: Publication, facts: &Facts) {
        let shard = self.myself().shard_id;
        let (mut light, mut full) = (Vec::new(), Vec::new());
        for (_, node) in self.nodes.iter() {
            let hears = !publication.is_sharded || node.shard_id == shard;
            if let Some(link) = node.link.filter(|_| hears && !node.is_in_handshake()) {
                let reads_light = node.flags.contains(NodeFlags::LIGHT_PUBLISH);
                if reads_light { light.push(link) } else { full.push(link) }
            }
        }
        if !full.is_empty() {
            let header = self.header(facts);
            let body = Body::Publish(publication.clone());
            self.send(full, Message::full(header, body));
        }
        self.send(light, Message::Light(publication));
    }
}
