//! Who owns each slot, and which slots are about to move.

use super::node::NodeKey;
use crate::util::slot::SLOTS;
use crate::util::slot_set::SlotSet;
use std::collections::BTreeMap;

/// In the place of a key: nobody's.
const NOBODY: u16 = u16::MAX;

/// The owners of all slots. What each node has of its own is the same, kept the other way round ([`Node::slots`]).
///
/// [`Node::slots`]: super::node::Node::slots
#[derive(Clone, Debug)]
pub struct SlotMap {
    owners: Box<[u16; SLOTS as usize]>,
    /// Slots that this node gives away, and to whom.
    migrating: BTreeMap<u16, NodeKey>,
    /// Slots that this node takes over, and from whom.
    importing: BTreeMap<u16, NodeKey>,
    /// Slots that their owners no longer claim, while no other node does.
    unclaimed: SlotSet,
}

impl Default for SlotMap {
    fn default() -> SlotMap {
        SlotMap {
            owners: Box::new([NOBODY; SLOTS as usize]),
            migrating: BTreeMap::new(),
            importing: BTreeMap::new(),
            unclaimed: SlotSet::default(),
        }
    }
}

impl SlotMap {
    #[inline]
    pub fn owner(&self, slot: u16) -> Option<NodeKey> {
        let key = self.owners[usize::from(slot)];
        (key != NOBODY).then_some(NodeKey(key))
    }

    /// Each slot with its owner.
    pub fn owners(&self) -> impl Iterator<Item = (u16, Option<NodeKey>)> {
        (0..SLOTS).map(|slot| (slot, self.owner(slot)))
    }

    pub fn set_owner(&mut self, slot: u16, owner: Option<NodeKey>) {
        self.owners[usize::from(slot)] = owner.map_or(NOBODY, |key| key.0);
        self.unclaimed.remove(slot);
    }

    /// Whether no node claims the slot: it has no owner, or one that has stopped claiming it.
    pub fn is_unclaimed(&self, slot: u16) -> bool {
        self.owner(slot).is_none() || self.unclaimed.contains(slot)
    }

    /// Notes whether the owner of a slot claims it.
    pub fn set_claimed(&mut self, slot: u16, claimed: bool) {
        if claimed {
            self.unclaimed.remove(slot);
        } else {
            self.unclaimed.insert(slot);
        }
    }

    /// The slots that their owners no longer claim.
    pub fn unclaimed(&self) -> &SlotSet {
        &self.unclaimed
    }

    pub fn migrating(&self, slot: u16) -> Option<NodeKey> {
        self.migrating.get(&slot).copied()
    }

    pub fn importing(&self, slot: u16) -> Option<NodeKey> {
        self.importing.get(&slot).copied()
    }

    /// Slots that are about to leave, each with the node that it goes to.
    pub fn all_migrating(&self) -> impl Iterator<Item = (u16, NodeKey)> {
        self.migrating.iter().map(|(&slot, &key)| (slot, key))
    }

    /// Slots that are about to come, each with the node that it comes from.
    pub fn all_importing(&self) -> impl Iterator<Item = (u16, NodeKey)> {
        self.importing.iter().map(|(&slot, &key)| (slot, key))
    }

    pub fn set_migrating(&mut self, slot: u16, to: Option<NodeKey>) {
        match to {
            Some(key) => _ = self.migrating.insert(slot, key),
            None => _ = self.migrating.remove(&slot),
        }
    }

    pub fn set_importing(&mut self, slot: u16, from: Option<NodeKey>) {
        match from {
            Some(key) => _ = self.importing.insert(slot, key),
            None => _ = self.importing.remove(&slot),
        }
    }

    /// No slot is about to move any more.
    pub fn close_all(&mut self) {
        self.migrating.clear();
        self.importing.clear();
    }

    /// No slot is about to move to or from this node any more.
    pub fn close_with(&mut self, key: NodeKey) {
        self.migrating.retain(|_, to| *to != key);
        self.importing.retain(|_, from| *from != key);
    }
}
