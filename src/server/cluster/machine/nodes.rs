//! The nodes that are known, found by key or by id, and who follows whom.

use super::node::{Node, NodeKey};
use crate::bus::{NodeFlags, NodeId};
use rand::Rng;
use rand::rngs::SmallRng;
use slab::Slab;
use std::collections::BTreeMap;
use std::ops::{Index, IndexMut};

/// More nodes than this are not taken in: an answer to a peer that makes them up.
const MOST_NODES: usize = 10_000;

/// All nodes, this one among them.
#[derive(Clone, Debug)]
pub struct Nodes {
    nodes: Slab<Node>,
    by_id: BTreeMap<NodeId, NodeKey>,
    myself: NodeKey,
}

impl Nodes {
    /// Just this node.
    pub fn new(myself: Node) -> Nodes {
        let mut nodes = Slab::new();
        let id = myself.id;
        let key = NodeKey(nodes.insert(myself) as u16);
        Nodes { nodes, by_id: BTreeMap::from([(id, key)]), myself: key }
    }

    /// The key of this node.
    pub fn my_key(&self) -> NodeKey {
        self.myself
    }

    pub fn myself(&self) -> &Node {
        &self[self.myself]
    }

    pub fn myself_mut(&mut self) -> &mut Node {
        let key = self.myself;
        &mut self[key]
    }

    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Whether a key is still in use.
    pub fn contains(&self, key: NodeKey) -> bool {
        self.nodes.contains(key.0.into())
    }

    pub fn key_of(&self, id: &NodeId) -> Option<NodeKey> {
        self.by_id.get(id).copied()
    }

    /// All nodes in the order of their ids, so that a run can be repeated.
    pub fn iter(&self) -> impl Iterator<Item = (NodeKey, &Node)> {
        self.by_id.values().map(|&key| (key, &self[key]))
    }

    /// The keys of all nodes, in the order of their ids.
    pub fn keys(&self) -> Vec<NodeKey> {
        self.by_id.values().copied().collect()
    }

    /// The keys of the other nodes.
    pub fn others(&self) -> Vec<NodeKey> {
        self.by_id.values().copied().filter(|&key| key != self.myself).collect()
    }

    /// Any node.
    pub fn random(&self, rng: &mut SmallRng) -> NodeKey {
        // Places that are free are few: nodes come and go seldom.
        loop {
            let at = rng.random_range(0..self.nodes.capacity().max(1));
            if self.nodes.contains(at) {
                return NodeKey(at as u16);
            }
        }
    }

    /// Takes in a node; `None`: its id is known, or there are too many.
    pub fn add(&mut self, node: Node) -> Option<NodeKey> {
        if self.by_id.contains_key(&node.id) || self.nodes.len() >= MOST_NODES {
            return None;
        }
        let id = node.id;
        let key = NodeKey(self.nodes.insert(node) as u16);
        self.by_id.insert(id, key);
        Some(key)
    }

    /// Drops a node, and all that other nodes have of it. It must not be this node.
    pub fn remove(&mut self, key: NodeKey) -> Node {
        debug_assert_ne!(key, self.myself);
        self.set_primary(key, None);
        for replica in std::mem::take(&mut self[key].replicas) {
            self[replica].primary = None;
        }
        for (_, node) in &mut self.nodes {
            node.failure_reports.remove(&key);
        }
        let node = self.nodes.remove(key.0.into());
        self.by_id.remove(&node.id);
        node
    }

    /// Gives a node another id, which must not be another's.
    pub fn rename(&mut self, key: NodeKey, id: NodeId) {
        let old = std::mem::replace(&mut self[key].id, id);
        self.by_id.remove(&old);
        self.by_id.insert(id, key);
        if let Some(primary) = self[key].primary {
            self.sort_replicas(primary);
        }
    }

    /// The primary at the end of a chain; of a primary, itself. Peers can say that nodes follow each other in a circle,
    /// which has no end.
    pub fn top_primary(&self, key: NodeKey) -> NodeKey {
        let mut at = key;
        for _ in 0..self.nodes.len() {
            let Some(primary) = self[at].primary else { break };
            at = primary;
        }
        at
    }

    /// Has a node follow another, or none.
    pub fn set_primary(&mut self, key: NodeKey, primary: Option<NodeKey>) {
        if self[key].primary == primary {
            return;
        }
        if let Some(old) = std::mem::replace(&mut self[key].primary, primary) {
            let old = &mut self[old];
            old.replicas.retain(|&replica| replica != key);
            if old.replicas.is_empty() {
                old.flags.remove(NodeFlags::MIGRATE_TO);
            }
        }
        if let Some(new) = primary {
            self[new].replicas.push(key);
            self[new].flags.insert(NodeFlags::MIGRATE_TO);
            self.sort_replicas(new);
        }
    }

    fn sort_replicas(&mut self, primary: NodeKey) {
        let mut replicas = std::mem::take(&mut self[primary].replicas);
        replicas.sort_unstable_by_key(|&replica| self[replica].id);
        self[primary].replicas = replicas;
    }
}

impl Index<NodeKey> for Nodes {
    type Output = Node;

    fn index(&self, key: NodeKey) -> &Node {
        &self.nodes[usize::from(key.0)]
    }
}

impl IndexMut<NodeKey> for Nodes {
    fn index_mut(&mut self, key: NodeKey) -> &mut Node {
        &mut self.nodes[usize::from(key.0)]
    }
}
