//! The machine of a node of a cluster: which nodes there are, who owns which slots, and what has to be done about it.
//!
//! [`Cluster`] knows no socket, no clock and no server. It is fed with messages, the time and what it must know of the
//! server ([`Facts`]), and answers with what is to be done ([`Action`]).
//!
//! * [`node`], [`nodes`], [`slot_map`]: what is known. [`action`]: what goes in and out.
//! * `membership`: nodes that come, go and change places. `assign`: slots that commands give and take.
//! * `links`, `send`, `receive`, `gossip`: the bus. `update`: slots that others claim.
//! * `health`, `failure`: whether the cluster serves, and who has failed.
//! * `epoch`, `election`, `manual_failover`, `replica_migration`: who takes whose place.
//! * `tick`: what is done ten times a second, and at the end of each turn.

pub mod action;
mod assign;
mod election;
mod epoch;
mod failure;
mod forgotten;
mod gossip;
mod health;
mod links;
mod manual_failover;
mod membership;
pub mod node;
mod nodes;
mod receive;
mod replica_migration;
mod send;
mod slot_map;
mod stats;
#[cfg(test)]
mod tests;
mod tick;
pub mod trace;
mod update;

pub use action::{Action, Facts, LinkId, Now};
pub use assign::SetSlotError;
pub use manual_failover::FailoverKind;
pub use membership::{MembershipError, SavedCluster, SavedNode};
pub use node::{Announced, Node, NodeAddress, NodeKey};
pub use send::bus_port;
pub use stats::BusStats;

use crate::bus::{NodeFlags, NodeId};
use crate::server::observe::log::Level;
use crate::util::slot_set::SlotSet;
use bitflags::bitflags;
use election::Election;
use forgotten::Forgotten;
use health::Health;
use links::Links;
use manual_failover::ManualFailover;
use nodes::Nodes;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use slot_map::SlotMap;
use trace::Trace;

/// What `DEBUG` has a node do wrong.
#[derive(Clone, Copy, Debug, Default)]
struct Debug {
    /// Messages of the kind with this number are lost.
    drops: Option<i64>,
    /// And their connection is closed.
    closes_link_on_drop: bool,
}

bitflags! {
    /// What is left to do before the server sleeps.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    struct Todo: u8 {
        const FAILOVER = 1;
        const MANUAL_FAILOVER = 1 << 1;
        const HEALTH = 1 << 2;
        const SAVE = 1 << 3;
        /// The file is to be on the disk before anything else is said.
        const SYNC = 1 << 4;
    }
}

/// A node of a cluster.
#[derive(Debug)]
pub struct Cluster {
    nodes: Nodes,
    slots: SlotMap,
    current_epoch: u64,
    /// The epoch of the last vote that was given.
    last_vote_epoch: u64,
    health: Health,
    forgotten: Forgotten,
    election: Election,
    manual: ManualFailover,
    links: Links,
    stats: BusStats,
    /// Slots that have left their owners, until it has been told.
    moved: SlotSet,
    /// The replicas of this node, by their clients' ids, that know which slots are about to move.
    told_replicas: Vec<u64>,
    trace: Trace,
    /// Whether this node's address is one that was configured.
    announces_ip: bool,
    debug: Debug,
    /// How often [`Cluster::tick`] was called.
    ticks: u64,
    /// How many pings and pongs were made.
    pings: u64,
    todo: Todo,
    actions: Vec<Action>,
    rng: SmallRng,
}

impl Cluster {
    /// A node that has never been in a cluster.
    pub fn new(rng: &mut SmallRng, now: Now) -> Cluster {
        let mut rng = SmallRng::from_rng(rng);
        let flags = NodeFlags::MYSELF | NodeFlags::PRIMARY;
        let myself = Node::new(random_id(&mut rng), random_id(&mut rng), flags, now.mono_ms);
        Cluster {
            nodes: Nodes::new(myself),
            slots: SlotMap::default(),
            current_epoch: 0,
            last_vote_epoch: 0,
            health: Health::default(),
            forgotten: Forgotten::default(),
            election: Election::default(),
            manual: ManualFailover::default(),
            links: Links::default(),
            stats: BusStats::default(),
            moved: SlotSet::default(),
            told_replicas: Vec::new(),
            trace: Trace::default(),
            announces_ip: false,
            debug: Debug::default(),
            ticks: 0,
            pings: 0,
            todo: Todo::empty(),
            actions: Vec::new(),
            rng,
        }
    }

    pub fn myself(&self) -> &Node {
        self.nodes.myself()
    }

    /// All nodes, this one among them, in the order of their ids.
    pub fn nodes(&self) -> impl Iterator<Item = &Node> {
        self.nodes.iter().map(|(_, node)| node)
    }

    pub fn node(&self, id: &NodeId) -> Option<&Node> {
        self.nodes.key_of(id).map(|key| &self.nodes[key])
    }

    /// How many nodes are known, this one among them.
    pub fn known_nodes(&self) -> usize {
        self.nodes.len()
    }

    /// The node that a node follows.
    pub fn primary_of(&self, node: &Node) -> Option<&Node> {
        node.primary.map(|key| &self.nodes[key])
    }

    /// The nodes that follow a node.
    pub fn replicas_of<'a>(&'a self, node: &'a Node) -> impl Iterator<Item = &'a Node> {
        node.replicas.iter().map(|&key| &self.nodes[key])
    }

    /// The node of which this one is the primary or a replica.
    pub fn my_primary(&self) -> &Node {
        &self.nodes[self.my_primary_key()]
    }

    #[inline]
    pub fn slot_owner(&self, slot: u16) -> Option<&Node> {
        self.slots.owner(slot).map(|key| &self.nodes[key])
    }

    /// Whether a slot belongs to this node, as primary.
    #[inline]
    pub fn owns(&self, slot: u16) -> bool {
        self.slots.owner(slot) == Some(self.nodes.my_key())
    }

    /// Whether a slot belongs to this node's shard.
    #[inline]
    pub fn shard_owns(&self, slot: u16) -> bool {
        self.slots.owner(slot) == Some(self.my_primary_key())
    }

    /// Whether a slot belongs to this node with all its keys.
    #[inline]
    pub fn holds(&self, slot: u16) -> bool {
        self.owns(slot) && self.slots.migrating(slot).is_none()
    }

    /// The node that a slot of this one is about to go to.
    pub fn migrating_to(&self, slot: u16) -> Option<&Node> {
        self.slots.migrating(slot).map(|key| &self.nodes[key])
    }

    /// The node that a slot is about to come from.
    pub fn importing_from(&self, slot: u16) -> Option<&Node> {
        self.slots.importing(slot).map(|key| &self.nodes[key])
    }

    /// Slots that are about to leave, each with the node that it goes to.
    pub fn all_migrating(&self) -> impl Iterator<Item = (u16, &Node)> {
        self.slots.all_migrating().map(|(slot, key)| (slot, &self.nodes[key]))
    }

    /// Slots that are about to come, each with the node that it comes from.
    pub fn all_importing(&self) -> impl Iterator<Item = (u16, &Node)> {
        self.slots.all_importing().map(|(slot, key)| (slot, &self.nodes[key]))
    }

    pub fn current_epoch(&self) -> u64 {
        self.current_epoch
    }

    pub fn last_vote_epoch(&self) -> u64 {
        self.last_vote_epoch
    }

    /// The epoch of a node's slots: of a replica, that of its primary's.
    pub fn epoch_of(&self, node: &Node) -> u64 {
        self.primary_of(node).unwrap_or(node).config_epoch
    }

    /// Messages of the bus, counted.
    pub fn stats(&self) -> &BusStats {
        &self.stats
    }

    /// What happened, and why slots are where they are.
    pub fn trace(&self) -> &Trace {
        &self.trace
    }

    /// What happens next, happens now.
    pub fn note_time(&mut self, now: Now) {
        self.trace.at(now);
    }

    /// Forgets what happened.
    pub fn reset_trace(&mut self) {
        self.trace.reset();
    }

    /// What is to be done since this was asked last, in this order.
    pub fn take_actions(&mut self) -> Vec<Action> {
        std::mem::take(&mut self.actions)
    }

    /// The same, but what would change the data under a script that runs is left for later.
    pub fn take_actions_during_script(&mut self) -> Vec<Action> {
        let (later, now) = self.take_actions().into_iter().partition(Action::changes_data);
        self.actions = later;
        now
    }

    /// Loses messages of the kind with this number from now on; a number that is no kind's: none.
    pub fn debug_drop(&mut self, kind: i64) {
        self.debug.drops = Some(kind);
    }

    /// Whether the connection of a message that is lost so is closed.
    pub fn debug_close_on_drop(&mut self, closes: bool) {
        self.debug.closes_link_on_drop = closes;
    }

    /// Closes connections with a node: the one to it, the one from it, or both.
    pub fn debug_close_links(&mut self, key: NodeKey, to: bool, from: bool) {
        let (link, inbound) = (self.nodes[key].link, self.nodes[key].inbound);
        self.close(link.filter(|_| to));
        self.close(inbound.filter(|_| from));
    }

    fn my_primary_key(&self) -> NodeKey {
        self.myself().primary.unwrap_or(self.nodes.my_key())
    }

    fn is_replica(&self) -> bool {
        self.myself().is_replica()
    }

    /// The id and, in brackets, the name that people gave a node, as logs have them.
    fn named(&self, key: NodeKey) -> String {
        let node = &self.nodes[key];
        format!("{} ({})", node.id, node.announced.human_name)
    }

    fn notice(&mut self, text: String) {
        self.trace.note(&text);
        self.actions.push(Action::Log(Level::Notice, text));
    }

    fn warn(&mut self, text: String) {
        self.trace.note(&text);
        self.actions.push(Action::Log(Level::Warning, text));
    }

    /// The configuration has changed: the file is written at the end of the turn, and whether the cluster serves is
    /// found out anew.
    fn changed(&mut self) {
        self.todo |= Todo::SAVE | Todo::HEALTH;
    }
}

/// An id that no other node will have.
fn random_id(rng: &mut SmallRng) -> NodeId {
    NodeId::from_random(rng.random())
}
