//! Nodes that come, go and change places.

use super::health::Health;
use super::node::{Announced, Node, NodeAddress};
use super::trace::SlotReason;
use super::{Action, Cluster, Facts, NodeKey, Now, Todo, random_id};
use crate::bus::{NodeFlags, NodeId};
use crate::server::config::Config;
use crate::util::slot::SLOTS;
use crate::util::slot_set::SlotSet;
use rand::rngs::SmallRng;
use std::fmt;
use std::net::IpAddr;

/// Why the nodes can't be so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MembershipError {
    InvalidAddress,
    UnknownNode,
    ForgetMyself,
    ForgetMyPrimary,
    ReplicateMyself,
    ReplicateReplica,
    NotEmpty,
    KnowsOthers,
    HasEpoch,
}

impl fmt::Display for MembershipError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::InvalidAddress => "Invalid node address specified",
            Self::UnknownNode => "Unknown node",
            Self::ForgetMyself => "I tried hard but I can't forget myself...",
            Self::ForgetMyPrimary => "Can't forget my master!",
            Self::ReplicateMyself => "Can't replicate myself",
            Self::ReplicateReplica => "I can only replicate a master, not a replica.",
            Self::NotEmpty => {
                "To set a master the node must be empty and without assigned slots."
            }
            Self::KnowsOthers => {
                "The user can assign a config epoch only when the node does not know any other node."
            }
            Self::HasEpoch => "Node config epoch is already non-zero",
        })
    }
}

/// A node as `nodes.conf` has it.
#[derive(Clone, Debug)]
pub struct SavedNode {
    pub id: NodeId,
    /// `None`: a file from before Redis 7.2.
    pub shard_id: Option<NodeId>,
    pub address: NodeAddress,
    pub announced: Announced,
    pub flags: NodeFlags,
    pub primary: Option<NodeId>,
    /// Whether it was waited for an answer, and whether there ever had been one.
    pub was_pinged: bool,
    pub has_answered: bool,
    pub config_epoch: u64,
    pub slots: SlotSet,
    /// Of this node: slots that are about to move, and to or from which node.
    pub migrating: Vec<(u16, NodeId)>,
    pub importing: Vec<(u16, NodeId)>,
}

/// What `nodes.conf` holds.
#[derive(Clone, Debug, Default)]
pub struct SavedCluster {
    pub nodes: Vec<SavedNode>,
    pub current_epoch: u64,
    pub last_vote_epoch: u64,
}

impl Cluster {
    /// A node that goes on with what it knew; `None`: what was saved is not of a whole cluster, with one node that is
    /// this one.
    pub fn restore(saved: SavedCluster, rng: &mut SmallRng, now: Now) -> Option<Cluster> {
        let mut cluster = Cluster::new(rng, now);
        let mut mine = saved.nodes.iter().filter(|node| node.flags.contains(NodeFlags::MYSELF));
        let myself = mine.next().filter(|_| mine.next().is_none())?;
        cluster.nodes.rename(cluster.nodes.my_key(), myself.id);
        for node in &saved.nodes {
            cluster.restore_node(node, now);
        }
        for node in &saved.nodes {
            cluster.restore_relations(node, now)?;
        }
        cluster.current_epoch = saved.current_epoch;
        cluster.current_epoch = cluster.max_epoch();
        cluster.last_vote_epoch = saved.last_vote_epoch;
        cluster.health = Health::after_restart();
        cluster.moved = SlotSet::default();
        cluster.todo = Todo::HEALTH;
        Some(cluster)
    }

    fn restore_node(&mut self, saved: &SavedNode, now: Now) -> NodeKey {
        let key = self.named_or_new(saved.id, now);
        let node = &mut self.nodes[key];
        node.flags = saved.flags;
        node.address = saved.address.clone();
        node.announced = saved.announced.clone();
        if let Some(shard_id) = saved.shard_id {
            node.shard_id = shard_id;
        }
        let is_replica = saved.flags.contains(NodeFlags::REPLICA) && saved.primary.is_some();
        node.config_epoch = if is_replica { 0 } else { saved.config_epoch };
        node.failed_ms = node.has_failed().then_some(now.mono_ms);
        node.ping_sent = saved.was_pinged.then_some(now);
        node.pong_received = saved.has_answered.then_some(now);
        key
    }

    fn restore_relations(&mut self, saved: &SavedNode, now: Now) -> Option<()> {
        let key = self.nodes.key_of(&saved.id)?;
        if let Some(primary) = saved.primary.filter(|&primary| primary != saved.id) {
            let primary = self.named_or_new(primary, now);
            if saved.shard_id.is_none() {
                self.nodes[key].shard_id = self.nodes[primary].shard_id;
            }
            self.nodes.set_primary(key, Some(primary));
        }
        for slot in
            saved.slots.iter().filter(|&slot| self.slots.owner(slot).is_none()).collect::<Vec<_>>()
        {
            self.set_owner(slot, Some(key), SlotReason::Loaded);
        }
        for &(slot, to) in &saved.migrating {
            let to = self.named_or_new(to, now);
            self.slots.set_migrating(slot, Some(to));
        }
        for &(slot, from) in &saved.importing {
            let from = self.named_or_new(from, now);
            self.slots.set_importing(slot, Some(from));
        }
        Some(())
    }

    /// The node with an id, of which nothing may be known yet.
    fn named_or_new(&mut self, id: NodeId, now: Now) -> NodeKey {
        if let Some(key) = self.nodes.key_of(&id) {
            return key;
        }
        let node = Node::new(id, random_id(&mut self.rng), NodeFlags::empty(), now.mono_ms);
        // With too many nodes, one that is not taken in is taken for this one.
        self.nodes.add(node).unwrap_or(self.nodes.my_key())
    }

    /// The node with an id, as a command gives it.
    pub fn find(&self, id: &[u8]) -> Option<NodeKey> {
        self.nodes.key_of(&NodeId::new(id).ok()?)
    }

    pub fn by_key(&self, key: NodeKey) -> &Node {
        &self.nodes[key]
    }

    /// What this node announces follows its configuration.
    pub fn announce(&mut self, config: &Config) {
        let address = super::send::announced_address(config);
        let text = |text: &Option<String>| text.clone().unwrap_or_default();
        let announced = Announced {
            hostname: text(&config.cluster_announce_hostname),
            human_name: text(&config.cluster_announce_human_nodename),
            client_ipv4: text(&config.cluster_announce_client_ipv4),
            client_ipv6: text(&config.cluster_announce_client_ipv6),
            client_tcp_port: config.cluster_announce_client_port,
            client_tls_port: config.cluster_announce_client_tls_port,
            availability_zone: config.availability_zone.clone(),
        };
        let had_ip =
            std::mem::replace(&mut self.announces_ip, config.cluster_announce_ip.is_some());
        let myself = self.nodes.myself_mut();
        let before = (myself.announced.clone(), myself.flags);
        // Without one that is announced the address is the one that others use.
        let ip = match had_ip || self.announces_ip {
            true => address.ip,
            false => std::mem::take(&mut myself.address.ip),
        };
        myself.address = NodeAddress { ip, ..address };
        myself.announced = announced;
        myself.flags.set(NodeFlags::NO_FAILOVER, config.cluster_replica_no_failover);
        myself.flags.insert(NodeFlags::LIGHT_PUBLISH | NodeFlags::EXTENSIONS);
        if before != (myself.announced.clone(), myself.flags) {
            self.todo |= Todo::SAVE;
        }
        // Whether all slots have to be covered may have changed.
        self.todo |= Todo::HEALTH;
    }

    /// `CLUSTER MEET`: starts a handshake with whoever is at an address, unless there is one.
    ///
    /// # Errors
    /// If it is no address.
    pub fn meet(
        &mut self,
        ip: &[u8],
        port: i64,
        bus_port: i64,
        now: Now,
        config: &Config,
    ) -> Result<(), MembershipError> {
        let ip = std::str::from_utf8(ip).ok().and_then(|ip| ip.parse::<IpAddr>().ok());
        let valid = |port: i64| u16::try_from(port).ok().filter(|&port| port > 0);
        let (Some(ip), Some(port), Some(bus_port)) = (ip, valid(port), valid(bus_port)) else {
            return Err(MembershipError::InvalidAddress);
        };
        let address = NodeAddress::of_ports(config, ip.to_string(), (port, 0), bus_port);
        let is_same = |node: &Node| {
            let (a, b) = (&node.address, &address);
            a.ip == b.ip && a.bus_port == b.bus_port && a.ports(config).0 == port
        };
        if self.nodes.iter().any(|(_, node)| node.is_in_handshake() && is_same(node)) {
            return Ok(());
        }
        let flags = NodeFlags::HANDSHAKE | NodeFlags::MEET;
        let (id, shard_id) = (random_id(&mut self.rng), random_id(&mut self.rng));
        let mut node = Node::new(id, shard_id, flags, now.mono_ms);
        node.address = address;
        self.nodes.add(node);
        Ok(())
    }

    /// `CLUSTER FORGET`. A node that others have had this one forget is not unknown.
    ///
    /// # Errors
    /// If it is unknown, or this node needs it.
    pub fn forget(&mut self, id: &[u8], now: Now, config: &Config) -> Result<(), MembershipError> {
        let id = NodeId::new(id).map_err(|_| MembershipError::UnknownNode)?;
        let Some(key) = self.nodes.key_of(&id) else {
            let is_known = self.forgotten.contains(&id, now);
            return is_known.then_some(()).ok_or(MembershipError::UnknownNode);
        };
        if key == self.nodes.my_key() {
            return Err(MembershipError::ForgetMyself);
        }
        if self.myself().primary == Some(key) {
            return Err(MembershipError::ForgetMyPrimary);
        }
        self.forgotten.add(id, config.cluster_blacklist_ttl.saturating_mul(1000), now);
        self.remove_node(key);
        self.changed();
        Ok(())
    }

    /// `CLUSTER REPLICATE`. `has_keys`: this node holds any.
    ///
    /// # Errors
    /// If this node can't be a replica, or not of that one.
    pub fn replicate(
        &mut self,
        id: &[u8],
        has_keys: bool,
        now: Now,
        facts: &Facts,
    ) -> Result<(), MembershipError> {
        let key = self.find(id).ok_or(MembershipError::UnknownNode)?;
        if key == self.nodes.my_key() {
            return Err(MembershipError::ReplicateMyself);
        }
        if self.nodes[key].is_replica() {
            return Err(MembershipError::ReplicateReplica);
        }
        let myself = self.myself();
        if myself.is_primary() && (has_keys || !myself.slots.is_empty()) {
            return Err(MembershipError::NotEmpty);
        }
        if myself.primary != Some(key) {
            self.become_replica_of(key, true, true, now, facts);
            self.broadcast_pong(false, now, facts);
            self.changed();
        }
        Ok(())
    }

    /// `CLUSTER REPLICATE NO ONE`: a replica becomes a primary without slots or keys, in a shard of its own.
    pub fn replicate_no_one(&mut self, now: Now, facts: &Facts) {
        if !self.is_replica() {
            return;
        }
        let me = self.nodes.my_key();
        self.set_as_primary(me);
        self.actions.extend([Action::Promote, Action::Flush]);
        let shard_id = random_id(&mut self.rng);
        self.set_shard_id(me, shard_id);
        self.slots.close_all();
        self.reset_manual_failover();
        self.broadcast_pong(false, now, facts);
        self.changed();
        self.todo |= Todo::SYNC;
    }

    /// `CLUSTER SET-CONFIG-EPOCH`: for a new cluster, so that epochs need not collide first.
    ///
    /// # Errors
    /// If this node is not new.
    pub fn set_config_epoch(&mut self, epoch: u64) -> Result<(), MembershipError> {
        if self.nodes.len() > 1 {
            return Err(MembershipError::KnowsOthers);
        }
        if self.myself().config_epoch != 0 {
            return Err(MembershipError::HasEpoch);
        }
        self.nodes.myself_mut().config_epoch = epoch;
        self.current_epoch = self.current_epoch.max(epoch);
        self.notice(format!("configEpoch set to {epoch} via CLUSTER SET-CONFIG-EPOCH"));
        self.changed();
        Ok(())
    }

    /// `CLUSTER RESET`: forgets all other nodes and all slots. `hard`: this node's own name and epochs, too.
    pub fn reset(&mut self, hard: bool) {
        let me = self.nodes.my_key();
        if self.is_replica() {
            self.set_as_primary(me);
            self.actions.extend([Action::Promote, Action::Flush]);
        }
        self.slots.close_all();
        self.reset_manual_failover();
        self.election.forget_attempt();
        (0..SLOTS).for_each(|slot| self.set_owner(slot, None, SlotReason::Reset));
        for key in self.nodes.others() {
            self.remove_node(key);
        }
        self.forgotten.clear();
        if hard {
            (self.current_epoch, self.last_vote_epoch) = (0, 0);
            self.nodes.myself_mut().config_epoch = 0;
            self.notice("configEpoch set to 0 via CLUSTER RESET HARD".into());
            let (id, shard_id) = (random_id(&mut self.rng), random_id(&mut self.rng));
            self.nodes.rename(me, id);
            self.nodes.myself_mut().shard_id = shard_id;
            self.notice(format!("Node hard reset, now I'm {id}"));
        }
        self.changed();
        self.todo |= Todo::SYNC;
    }

    /// Drops a node that is not this one, with its slots and connections.
    pub(super) fn remove_node(&mut self, key: NodeKey) {
        self.release_slots_of(key);
        self.slots.close_with(key);
        let (link, inbound) = (self.nodes[key].link, self.nodes[key].inbound);
        self.close(link);
        self.close(inbound);
        if self.manual.replica() == Some(key) {
            self.reset_manual_failover();
        }
        self.nodes.remove(key);
    }

    /// A node is a primary from now on.
    pub(super) fn set_as_primary(&mut self, key: NodeKey) {
        if self.nodes[key].is_primary() {
            return;
        }
        let followed = self.nodes[key].primary.is_some();
        self.nodes.set_primary(key, None);
        let node = &mut self.nodes[key];
        if followed && !node.is_myself() {
            node.flags.insert(NodeFlags::MIGRATE_TO);
        }
        node.flags.remove(NodeFlags::REPLICA);
        node.flags.insert(NodeFlags::PRIMARY);
        self.changed();
    }

    /// This node follows another one, which must be none of its replicas. `closes`: slots that were about to move are
    /// not any more. `full`: its data is of another history.
    pub(super) fn become_replica_of(
        &mut self,
        key: NodeKey,
        closes: bool,
        full: bool,
        _now: Now,
        facts: &Facts,
    ) {
        let me = self.nodes.my_key();
        self.release_slots_of(me);
        let myself = self.nodes.myself_mut();
        myself.flags.remove(NodeFlags::PRIMARY | NodeFlags::MIGRATE_TO);
        myself.flags.insert(NodeFlags::REPLICA);
        if closes {
            self.slots.close_all();
        }
        self.nodes.set_primary(me, Some(key));
        let shard_id = self.nodes[key].shard_id;
        self.set_shard_id(me, shard_id);
        self.follow(key, full, facts);
        let elsewhere =
            self.slots.owners().filter(|&(_, owner)| owner.is_some() && owner != Some(key));
        self.moved = elsewhere.map(|(slot, _)| slot).chain(self.moved.iter()).collect();
        self.reset_manual_failover();
        self.election.forget_attempt();
    }
}
