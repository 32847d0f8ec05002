//! What is known of one node of the cluster.

use super::action::{LinkId, Now};
use crate::bus::{NodeFlags, NodeId};
use crate::util::slot_set::SlotSet;
use std::collections::BTreeMap;

/// A node's place among the nodes. It may be used again when the node is forgotten, so whoever drops a node drops every
/// key of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct NodeKey(pub(super) u16);

/// Where clients and other nodes find a node. A port of 0: it has none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeAddress {
    /// Empty: unknown, or, for this node itself, the address that a client is connected to.
    pub ip: String,
    pub tcp_port: u16,
    pub tls_port: u16,
    pub bus_port: u16,
}

/// What a node announces of itself beside its address; an empty text: nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Announced {
    pub hostname: String,
    pub human_name: String,
    /// Addresses that clients are told in place of the node's own.
    pub client_ipv4: String,
    pub client_ipv6: String,
    /// Ports that clients are told in place of the node's own; 0: none.
    pub client_tcp_port: u16,
    pub client_tls_port: u16,
    pub availability_zone: String,
}

/// One node of the cluster, as this one sees it. Times are milliseconds of the clock that never jumps; `None`: never.
#[derive(Clone, Debug)]
pub struct Node {
    pub(super) id: NodeId,
    pub(super) shard_id: NodeId,
    pub(super) flags: NodeFlags,
    pub(super) address: NodeAddress,
    pub(super) announced: Announced,
    pub(super) config_epoch: u64,
    pub(super) slots: SlotSet,
    /// Of a replica; `None` also if its primary is not known.
    pub(super) primary: Option<NodeKey>,
    /// In the order of their ids.
    pub(super) replicas: Vec<NodeKey>,
    pub(super) created_ms: u64,
    /// When the ping was sent that has not been answered; `None`: all were.
    pub(super) ping_sent: Option<Now>,
    pub(super) pong_received: Option<Now>,
    pub(super) data_received_ms: Option<u64>,
    /// When it was found failing by the majority.
    pub(super) failed_ms: Option<u64>,
    /// When this node last voted for a replica of it.
    pub(super) voted_ms: Option<u64>,
    /// Since when it has been a primary that lost all its replicas.
    pub(super) orphaned_ms: Option<u64>,
    /// How far it says that its data goes.
    pub(super) offset: u64,
    /// The connection that this node made to it.
    pub(super) link: Option<LinkId>,
    /// The connection that it made to this node.
    pub(super) inbound: Option<LinkId>,
    /// Who reported it failing, and when last.
    pub(super) failure_reports: BTreeMap<NodeKey, u64>,
    /// The number of the last ping that told of it.
    pub(super) last_gossip: u64,
}

impl Node {
    /// A node of which nothing but its names is known.
    pub(super) fn new(id: NodeId, shard_id: NodeId, flags: NodeFlags, now_ms: u64) -> Node {
        Node {
            id,
            shard_id,
            flags,
            address: NodeAddress::default(),
            announced: Announced::default(),
            config_epoch: 0,
            slots: SlotSet::default(),
            primary: None,
            replicas: Vec::new(),
            created_ms: now_ms,
            ping_sent: None,
            pong_received: None,
            data_received_ms: None,
            failed_ms: None,
            voted_ms: None,
            orphaned_ms: None,
            offset: 0,
            link: None,
            inbound: None,
            failure_reports: BTreeMap::new(),
            last_gossip: 0,
        }
    }

    pub fn id(&self) -> NodeId {
        self.id
    }

    pub fn shard_id(&self) -> NodeId {
        self.shard_id
    }

    pub fn flags(&self) -> NodeFlags {
        self.flags
    }

    pub fn address(&self) -> &NodeAddress {
        &self.address
    }

    pub fn announced(&self) -> &Announced {
        &self.announced
    }

    /// The slots that it serves.
    pub fn slots(&self) -> &SlotSet {
        &self.slots
    }

    /// When, in the cluster's own time, it got its slots.
    pub fn config_epoch(&self) -> u64 {
        self.config_epoch
    }

    /// How far its data goes, as it said last.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// When a ping was sent to it that it has not answered; `None`: it has answered all.
    pub fn ping_sent(&self) -> Option<Now> {
        self.ping_sent
    }

    /// When it last answered.
    pub fn pong_received(&self) -> Option<Now> {
        self.pong_received
    }

    /// The connection that this node made to it.
    pub fn link(&self) -> Option<LinkId> {
        self.link
    }

    /// The connection that it made to this node.
    pub fn inbound(&self) -> Option<LinkId> {
        self.inbound
    }

    /// The port at which other nodes find it, with or without TLS.
    pub fn port(&self, tls: bool) -> u16 {
        if tls { self.address.tls_port } else { self.address.tcp_port }
    }

    /// The port that a client is told, who speaks TLS or does not.
    pub fn client_port(&self, tls: bool) -> u16 {
        let Announced { client_tcp_port, client_tls_port, .. } = self.announced;
        match if tls { client_tls_port } else { client_tcp_port } {
            0 => self.port(tls),
            announced => announced,
        }
    }

    /// The address that a client is told, who is connected over IPv6 or not.
    pub fn client_ip(&self, ipv6: bool) -> &str {
        let Announced { client_ipv4, client_ipv6, .. } = &self.announced;
        let announced = if ipv6 { client_ipv6 } else { client_ipv4 };
        if announced.is_empty() { &self.address.ip } else { announced }
    }

    pub fn is_primary(&self) -> bool {
        self.flags.contains(NodeFlags::PRIMARY)
    }

    pub fn is_replica(&self) -> bool {
        self.flags.contains(NodeFlags::REPLICA)
    }

    pub fn is_myself(&self) -> bool {
        self.flags.contains(NodeFlags::MYSELF)
    }

    /// Whether its name is yet unknown.
    pub fn is_in_handshake(&self) -> bool {
        self.flags.contains(NodeFlags::HANDSHAKE)
    }

    /// Whether this node alone believes that it is failing.
    pub fn is_suspected(&self) -> bool {
        self.flags.contains(NodeFlags::PFAIL)
    }

    /// Whether the majority found it failing.
    pub fn has_failed(&self) -> bool {
        self.flags.contains(NodeFlags::FAIL)
    }

    /// Whether it has a say in who fails and who is elected: a primary with slots.
    pub(super) fn is_voter(&self) -> bool {
        self.is_primary() && !self.slots.is_empty()
    }
}
