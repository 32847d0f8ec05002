//! Pings and pongs, and what they tell of other nodes.

use super::node::{Announced, Node, NodeAddress};
use super::{Action, Cluster, Facts, LinkId, NodeKey, Now, Todo, random_id};
use crate::bus::{
    Body, Extensions, Forgotten, Gossip, Heartbeat, Kind, Message, MessageFlags, NodeFlags, NodeId,
};
use std::collections::BTreeMap;

/// A ping tells of at least so many other nodes, if there are.
const LEAST_GOSSIP: usize = 3;
/// Clocks of nodes may differ by so much.
const CLOCK_TOLERANCE_MS: i64 = 500;

const FAILING: NodeFlags = NodeFlags::FAIL.union(NodeFlags::PFAIL);

impl Cluster {
    /// Sends a ping, a pong or a meet, with news of some other nodes.
    pub(super) fn send_heartbeat(&mut self, link: LinkId, kind: Kind, now: Now, facts: &Facts) {
        let Some(known) = self.links.get(link) else { return };
        let (node, is_inbound) = (known.node, known.is_inbound);
        if let Some(key) = node.filter(|_| kind == Kind::Ping && !is_inbound) {
            self.nodes[key].ping_sent = Some(now);
        }
        let reads = node.map_or(NodeFlags::empty(), |key| self.nodes[key].flags);
        let message = self.heartbeat(node, reads, kind, now, facts);
        self.send(vec![link], message);
    }

    /// A ping, a pong or a meet for a node, or for all whose flags say that they read the same.
    fn heartbeat(
        &mut self,
        receiver: Option<NodeKey>,
        reads: NodeFlags,
        kind: Kind,
        now: Now,
        facts: &Facts,
    ) -> Message {
        let gossip = self.pick_gossip(receiver).into_iter();
        let gossip = gossip.map(|key| self.gossip_of(key, now, facts)).collect();
        let extensions = match reads.contains(NodeFlags::EXTENSIONS) {
            true => self.extensions_for(reads, now),
            false => Extensions::default(),
        };
        let mut header = self.header(facts);
        // Said even where there are none: that this node reads them.
        header.message_flags |= MessageFlags::EXTENSIONS;
        let heartbeat = Heartbeat { gossip, extensions };
        let body = match kind {
            Kind::Meet => Body::Meet(heartbeat),
            Kind::Pong => Body::Pong(heartbeat),
            _ => Body::Ping(heartbeat),
        };
        Message::full(header, body)
    }

    /// The nodes to tell of: a tenth of all, by chance, and those that this node suspects.
    fn pick_gossip(&mut self, receiver: Option<NodeKey>) -> Vec<NodeKey> {
        self.pings += 1;
        // Without this node and the receiver.
        let mut fresh = self.nodes.len().saturating_sub(2);
        let wanted = (self.nodes.len() / 10).max(LEAST_GOSSIP).min(fresh);
        let mut picked = Vec::new();
        for _ in 0..wanted * 3 {
            if fresh == 0 || picked.len() == wanted {
                break;
            }
            let key = self.nodes.random(&mut self.rng);
            let node = &mut self.nodes[key];
            let is_party = node.is_myself() || receiver == Some(key);
            if is_party || node.is_suspected() || node.last_gossip == self.pings {
                continue;
            }
            fresh -= 1;
            let is_unsure = node.flags.intersects(NodeFlags::HANDSHAKE | NodeFlags::NO_ADDRESS);
            if is_unsure || node.link.is_none() && node.slots.is_empty() {
                continue;
            }
            node.last_gossip = self.pings;
            picked.push(key);
        }
        if self.health.suspected > 0 {
            let unsure = NodeFlags::HANDSHAKE | NodeFlags::NO_ADDRESS;
            let suspected = self.nodes.iter().filter(|(_, node)| node.is_suspected());
            let suspected = suspected.filter(|(_, node)| !node.flags.intersects(unsure));
            picked.extend(suspected.map(|(key, _)| key));
        }
        picked
    }

    fn gossip_of(&self, key: NodeKey, now: Now, facts: &Facts) -> Gossip {
        let node = &self.nodes[key];
        let seconds = |then: Option<Now>| {
            u32::try_from(now.wall_of(then.map(|then| then.mono_ms)) / 1000).unwrap_or(0)
        };
        let (port, other_port) = node.address.ports(facts.config);
        Gossip {
            node: node.id,
            ping_sent_s: seconds(node.ping_sent),
            pong_received_s: seconds(node.pong_received),
            ip: node.address.ip.clone(),
            port,
            other_port,
            bus_port: node.address.bus_port,
            flags: node.flags,
        }
    }

    fn extensions_for(&mut self, reads: NodeFlags, now: Now) -> Extensions {
        let some = |text: &String| Some(text.clone()).filter(|text| !text.is_empty());
        // Redis reads something else where Valkey has addresses for clients.
        let is_valkey = reads.contains(NodeFlags::LIGHT_PUBLISH);
        let forgotten = self.forgotten.remaining(now).into_iter();
        let myself = self.nodes.myself();
        let own = &myself.announced;
        Extensions {
            hostname: some(&own.hostname),
            human_nodename: some(&own.human_name),
            client_ipv4: some(&own.client_ipv4).filter(|_| is_valkey),
            client_ipv6: some(&own.client_ipv6).filter(|_| is_valkey),
            client_tcp_port: Some(own.client_tcp_port).filter(|_| is_valkey),
            client_tls_port: Some(own.client_tls_port).filter(|_| is_valkey),
            availability_zone: some(&own.availability_zone).filter(|_| is_valkey),
            forgotten: forgotten.map(|(node, ttl_s)| Forgotten { node, ttl_s }).collect(),
            shard_id: Some(myself.shard_id),
        }
    }

    /// Tells all nodes, or those that share this one's primary, how things are. Those who read the same get the same:
    /// with news for each of them a turn would be as long as the square of their number.
    pub(super) fn broadcast_pong(&mut self, to_siblings_only: bool, now: Now, facts: &Facts) {
        let (me, my_primary) = (self.nodes.my_key(), self.my_primary_key());
        let mut readers: BTreeMap<u16, Vec<LinkId>> = BTreeMap::new();
        for key in self.nodes.others() {
            let node = &self.nodes[key];
            let is_sibling = node.is_replica()
                && node.primary.is_some_and(|primary| primary == me || primary == my_primary);
            if let Some(link) = node.link
                && !node.is_in_handshake()
                && (is_sibling || !to_siblings_only)
            {
                let reads = node.flags & (NodeFlags::EXTENSIONS | NodeFlags::LIGHT_PUBLISH);
                readers.entry(reads.bits()).or_default().push(link);
            }
        }
        for (reads, links) in readers {
            let reads = NodeFlags::from_bits_retain(reads);
            let message = self.heartbeat(None, reads, Kind::Pong, now, facts);
            self.send(links, message);
        }
    }

    /// Takes in what a node tells of others.
    pub(super) fn hear_gossip(
        &mut self,
        sender: NodeKey,
        gossip: Vec<Gossip>,
        now: Now,
        facts: &Facts,
    ) {
        for news in gossip {
            match self.nodes.key_of(&news.node) {
                Some(key) if key == self.nodes.my_key() => {}
                Some(key) => self.hear_of_known(sender, key, &news, now, facts),
                None => self.hear_of_unknown(news, now, facts),
            }
        }
    }

    fn hear_of_known(
        &mut self,
        sender: NodeKey,
        key: NodeKey,
        news: &Gossip,
        now: Now,
        facts: &Facts,
    ) {
        let says_failing = news.flags.intersects(FAILING);
        if self.nodes[sender].is_voter() && sender != key {
            self.hear_failure_report(sender, key, says_failing, now, facts);
        }
        let address = address_of(news, facts);
        let reports = self.failure_reports(key, now, facts);
        let node = &mut self.nodes[key];
        if !says_failing && node.ping_sent.is_none() && reports == 0 {
            // A pong that another got is as good as one of one's own, unless it lies in the future.
            let age_ms = now.wall_ms - i64::from(news.pong_received_s) * 1000;
            let pong = Now {
                wall_ms: now.wall_ms - age_ms.max(0),
                mono_ms: now.mono_ms.saturating_sub(age_ms.max(0).unsigned_abs()),
            };
            let is_news = node.pong_received.is_none_or(|at| pong.mono_ms > at.mono_ms);
            if age_ms >= -CLOCK_TOLERANCE_MS && is_news {
                node.pong_received = Some(pong);
            }
        }
        // A node that can't be reached here, but by another one at another address, has moved.
        let has_address = !news.flags.contains(NodeFlags::NO_ADDRESS);
        if node.flags.intersects(FAILING) && has_address && !says_failing && node.address != address
        {
            self.move_node(key, address, facts);
        }
    }

    /// A node has another address: it is connected to anew, and followed there if it is this node's primary.
    pub(super) fn move_node(&mut self, key: NodeKey, address: NodeAddress, facts: &Facts) {
        self.close(self.nodes[key].link);
        let node = &mut self.nodes[key];
        node.address = address;
        node.flags.remove(NodeFlags::NO_ADDRESS);
        let (ip, port) = (node.address.ip.clone(), node.port(facts.config.tls_cluster));
        let named = self.named(key);
        self.notice(format!("Address updated for node {named}, now {ip}:{port}"));
        if self.myself().primary == Some(key) {
            self.follow(key, false, facts);
        }
    }

    /// Replicates a node.
    pub(super) fn follow(&mut self, key: NodeKey, full: bool, facts: &Facts) {
        let node = &self.nodes[key];
        let port = node.port(facts.config.tls_replication);
        self.actions.push(Action::Follow { ip: node.address.ip.clone(), port, full });
    }

    /// A node that a trusted one tells of is trusted, under the name that it has there: a handshake with whoever is at
    /// its address could lead into another cluster.
    fn hear_of_unknown(&mut self, news: Gossip, now: Now, facts: &Facts) {
        let has_address = !news.flags.contains(NodeFlags::NO_ADDRESS);
        if !has_address || self.forgotten.contains(&news.node, now) {
            return;
        }
        let shard_id = random_id(&mut self.rng);
        // Of the connection to it the sender's flags say nothing.
        let flags = news.flags - NodeFlags::MYSELF;
        let address = address_of(&news, facts);
        let mut node = Node::new(news.node, shard_id, flags, now.mono_ms);
        node.address = address;
        if node.has_failed() {
            node.failed_ms = Some(now.mono_ms);
        }
        self.nodes.add(node);
    }

    /// Takes in what a node says of itself beside the header.
    pub(super) fn hear_extensions(&mut self, sender: NodeKey, extensions: Extensions, now: Now) {
        for Forgotten { node, ttl_s } in extensions.forgotten {
            self.hear_forgotten(node, ttl_s, now);
        }
        // The sender itself may have been among them.
        if !self.nodes.contains(sender) {
            return;
        }
        let announced = Announced {
            hostname: extensions.hostname.unwrap_or_default(),
            human_name: extensions.human_nodename.unwrap_or_default(),
            client_ipv4: extensions.client_ipv4.unwrap_or_default(),
            client_ipv6: extensions.client_ipv6.unwrap_or_default(),
            client_tcp_port: extensions.client_tcp_port.unwrap_or_default(),
            client_tls_port: extensions.client_tls_port.unwrap_or_default(),
            availability_zone: extensions.availability_zone.unwrap_or_default(),
        };
        if self.nodes[sender].announced != announced {
            self.nodes[sender].announced = announced;
            self.todo |= Todo::SAVE;
        }
        // A node that says nothing of its shard is older: it shares its primary's.
        let top = self.nodes.top_primary(sender);
        let shard_id = extensions.shard_id.unwrap_or(self.nodes[top].shard_id);
        self.set_shard_id(sender, shard_id);
    }

    fn hear_forgotten(&mut self, id: NodeId, ttl_s: u64, now: Now) {
        let Some(key) = self.nodes.key_of(&id) else { return };
        let is_mine = key == self.nodes.my_key() || self.myself().primary == Some(key);
        if !is_mine {
            self.forgotten.add(id, ttl_s.saturating_mul(1000), now);
            self.remove_node(key);
            self.changed();
        }
    }

    /// A node belongs to a shard; so does this one, if it follows it.
    pub(super) fn set_shard_id(&mut self, key: NodeKey, shard_id: NodeId) {
        if self.nodes[key].shard_id != shard_id {
            self.nodes[key].shard_id = shard_id;
            self.todo |= Todo::SAVE;
        }
        let myself = self.nodes.myself_mut();
        if myself.primary == Some(key) && myself.shard_id != shard_id {
            myself.shard_id = shard_id;
            self.todo |= Todo::SAVE | Todo::SYNC;
        }
    }
}

fn address_of(news: &Gossip, facts: &Facts) -> NodeAddress {
    let ports = (news.port, news.other_port);
    NodeAddress::of_ports(facts.config, news.ip.clone(), ports, news.bus_port)
}
