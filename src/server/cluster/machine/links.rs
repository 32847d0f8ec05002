//! The connections of the bus: to each node one that this node made, and one that the other made.

use super::{Action, Cluster, Facts, LinkId, NodeKey, Now};
use crate::bus::{Kind, NodeFlags, NodeId};
use std::collections::BTreeMap;

/// What is known of a connection.
#[derive(Clone, Debug)]
pub struct Link {
    /// `None`: an inbound one over which nobody has said yet who it is.
    pub(super) node: Option<NodeKey>,
    pub(super) is_inbound: bool,
    pub(super) created: Now,
    /// This node's address, as the peer uses it; empty: unknown.
    pub(super) local_ip: String,
    /// The peer's; empty: unknown.
    pub(super) peer_ip: String,
}

/// All connections.
#[derive(Clone, Debug, Default)]
pub struct Links {
    links: BTreeMap<LinkId, Link>,
    made: u64,
}

impl Links {
    pub(super) fn get(&self, link: LinkId) -> Option<&Link> {
        self.links.get(&link)
    }

    /// Those of which nobody knows who made them, and when they were made.
    pub(super) fn strangers(&self) -> impl Iterator<Item = (LinkId, Now)> {
        let strangers = self.links.iter().filter(|(_, link)| link.node.is_none());
        strangers.map(|(&id, link)| (id, link.created))
    }

    fn add(&mut self, link: Link) -> LinkId {
        let id = LinkId(self.made);
        self.made += 1;
        self.links.insert(id, link);
        id
    }
}

impl Link {
    /// Whether the peer made it.
    pub fn is_inbound(&self) -> bool {
        self.is_inbound
    }

    /// Whether it is known who is at its other end.
    pub fn is_known(&self) -> bool {
        self.node.is_some()
    }

    /// When it was made, in milliseconds since 1970.
    pub fn created_ms(&self) -> i64 {
        self.created.wall_ms
    }
}

impl Cluster {
    /// A connection of the bus, while it is known.
    pub fn link(&self, link: LinkId) -> Option<&Link> {
        self.links.get(link)
    }

    /// The node that a connection goes to, and where its bus is.
    pub fn link_goes_to(&self, link: LinkId) -> Option<(NodeId, String)> {
        let node = &self.nodes[self.links.get(link)?.node?];
        Some((node.id, format!("{}:{}", node.address.ip, node.address.bus_port)))
    }

    /// A peer has connected, from `peer_ip` to `local_ip`; an address may be empty, if it is not known.
    pub fn accept(&mut self, local_ip: String, peer_ip: String, now: Now) -> LinkId {
        let link = Link { node: None, is_inbound: true, created: now, local_ip, peer_ip };
        self.links.add(link)
    }

    /// Opens a connection to a node.
    pub(super) fn connect(&mut self, key: NodeKey, now: Now) {
        let address = &self.nodes[key].address;
        let (ip, bus_port) = (address.ip.clone(), address.bus_port);
        let local_ip = String::new();
        let link = Link {
            node: Some(key),
            is_inbound: false,
            created: now,
            local_ip,
            peer_ip: ip.clone(),
        };
        let link = self.links.add(link);
        self.nodes[key].link = Some(link);
        self.actions.push(Action::Connect { link, ip, bus_port });
    }

    /// A connection that was asked for is there.
    pub fn link_up(&mut self, link: LinkId, now: Now, facts: &Facts) {
        let Some(key) = self.links.get(link).and_then(|link| link.node) else { return };
        // It is pinged at once, so that it does not seem to have failed. A ping that waits for its answer since before
        // the connection was lost still does.
        let waits_since = self.nodes[key].ping_sent;
        let meets = self.nodes[key].flags.contains(NodeFlags::MEET);
        self.send_heartbeat(link, if meets { Kind::Meet } else { Kind::Ping }, now, facts);
        if waits_since.is_some() {
            self.nodes[key].ping_sent = waits_since;
        }
    }

    /// A connection has ended, or could not be made.
    pub fn link_down(&mut self, link: LinkId, now: Now) {
        let Some(key) = self.detach(link) else { return };
        let node = &mut self.nodes[key];
        // A node that can't be connected to can't be pinged, either: it counts as pinged, or it would never be found
        // failing.
        if node.link.is_none() && node.ping_sent.is_none() {
            node.ping_sent = Some(now);
        }
    }

    /// Closes a connection, if it is there.
    pub(super) fn close(&mut self, link: Option<LinkId>) {
        if let Some(link) = link.filter(|&link| self.links.get(link).is_some()) {
            self.detach(link);
            self.actions.push(Action::Close(link));
        }
    }

    /// More waits on a connection than `cluster-link-sendbuf-limit` allows: `waiting` bytes.
    pub fn link_over_limit(&mut self, link: LinkId, waiting: u64) {
        let Some(known) = self.links.get(link) else { return };
        let direction = if known.is_inbound { "from" } else { "to" };
        let id = known.node.map_or(String::new(), |key| self.nodes[key].id.to_string());
        self.warn(format!(
            "Freeing cluster link({direction} node {id}, used memory: {waiting}) due to exceeding send buffer memory limit."
        ));
        self.stats.count_link_over_limit();
        self.close(Some(link));
    }

    /// Forgets a connection; returns whose it was.
    fn detach(&mut self, link: LinkId) -> Option<NodeKey> {
        let key = self.links.links.remove(&link)?.node?;
        let node = &mut self.nodes[key];
        for place in [&mut node.link, &mut node.inbound] {
            if *place == Some(link) {
                *place = None;
            }
        }
        Some(key)
    }

    /// It has turned out who made an inbound connection. An older one of the same node is likely a dead one.
    pub(super) fn attach_inbound(&mut self, link: LinkId, key: NodeKey) {
        self.close(self.nodes[key].inbound);
        if let Some(link) = self.links.links.get_mut(&link) {
            link.node = Some(key);
        }
        self.nodes[key].inbound = Some(link);
    }
}
