//! Slots that commands give and take.

use super::trace::SlotReason;
use super::{Cluster, Facts, NodeKey, Now, Todo};
use crate::bus::NodeId;
use crate::server::slot_change::SetSlot;
use crate::util::number::parse_i64;
use crate::util::slot::SLOTS;
use crate::util::slot_set::SlotSet;
use std::fmt;

/// Why slots can't be given to this node, or taken from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SlotAssignError {
    Busy(u16),
    Unassigned(u16),
    Repeated(u16),
}

impl fmt::Display for SlotAssignError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Busy(slot) => write!(f, "Slot {slot} is already busy"),
            Self::Unassigned(slot) => write!(f, "Slot {slot} is already unassigned"),
            Self::Repeated(slot) => write!(f, "Slot {slot} specified multiple times"),
        }
    }
}

/// Why a slot can't be set so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SetSlotError {
    NotOwner(u16),
    AlreadyOwner(u16),
    UnknownNode,
    NotAPrimary,
    HoldsKeys(u16),
}

impl fmt::Display for SetSlotError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotOwner(slot) => write!(f, "I'm not the owner of hash slot {slot}"),
            Self::AlreadyOwner(slot) => write!(f, "I'm already the owner of hash slot {slot}"),
            Self::UnknownNode => f.write_str("Unknown node"),
            Self::NotAPrimary => f.write_str("Target node is not a master"),
            Self::HoldsKeys(slot) => write!(
                f,
                "Can't assign hashslot {slot} to a different node while I still hold keys for this hash slot."
            ),
        }
    }
}

impl Cluster {
    /// Gives slots to this node (`own`), or makes them nobody's: all of them, or none.
    ///
    /// # Errors
    /// If one of them is not free to be given, or not there to be taken.
    pub fn assign_slots(
        &mut self,
        slots: impl Iterator<Item = u16> + Clone,
        own: bool,
    ) -> Result<(), SlotAssignError> {
        let mut seen = SlotSet::default();
        for slot in slots.clone() {
            match (own, self.slots.owner(slot)) {
                (true, Some(_)) => return Err(SlotAssignError::Busy(slot)),
                (false, None) => return Err(SlotAssignError::Unassigned(slot)),
                _ if !seen.insert(slot) => return Err(SlotAssignError::Repeated(slot)),
                _ => {}
            }
        }
        let owner = own.then_some(self.nodes.my_key());
        for slot in slots {
            self.slots.set_importing(slot, None);
            self.set_owner(slot, owner, SlotReason::Assigned);
        }
        self.changed();
        Ok(())
    }

    /// This node serves no slot any more.
    pub fn flush_slots(&mut self) {
        self.release_slots_of(self.nodes.my_key());
        self.changed();
    }

    /// Whether a slot may be set so.
    ///
    /// # Errors
    /// Why not.
    pub fn check_set_slot(
        &self,
        slot: u16,
        change: SetSlot,
        facts: &Facts,
    ) -> Result<(), SetSlotError> {
        let (me, owner) = (self.nodes.my_key(), self.slots.owner(slot));
        match change {
            SetSlot::Migrating(_) if self.myself().is_primary() && owner != Some(me) => {
                return Err(SetSlotError::NotOwner(slot));
            }
            SetSlot::Importing(_) if owner == Some(me) => {
                return Err(SetSlotError::AlreadyOwner(slot));
            }
            _ => {}
        }
        let Some(node) = self.target(change)? else { return Ok(()) };
        if self.nodes[node].is_replica() {
            return Err(SetSlotError::NotAPrimary);
        }
        let gives_away = matches!(change, SetSlot::Node(_)) && owner == Some(me) && node != me;
        if gives_away && (facts.keys_in_slot)(slot) > 0 {
            return Err(SetSlotError::HoldsKeys(slot));
        }
        Ok(())
    }

    /// The node that a change names.
    fn target(&self, change: SetSlot) -> Result<Option<NodeKey>, SetSlotError> {
        match change {
            SetSlot::Stable => Ok(None),
            SetSlot::Migrating(id) | SetSlot::Importing(id) | SetSlot::Node(id) => {
                self.nodes.key_of(&id).map(Some).ok_or(SetSlotError::UnknownNode)
            }
        }
    }

    /// Sets the state of a slot, or its owner.
    ///
    /// # Errors
    /// Why it can't be so.
    pub fn set_slot(
        &mut self,
        slot: u16,
        change: SetSlot,
        now: Now,
        facts: &Facts,
    ) -> Result<(), SetSlotError> {
        self.check_set_slot(slot, change, facts)?;
        let target = self.target(change)?;
        let named = target.map(|key| self.named(key)).unwrap_or_default();
        match change {
            SetSlot::Migrating(_) => {
                self.notice(format!("Migrating slot {slot} to node {named}"));
                self.slots.set_migrating(slot, target);
            }
            SetSlot::Importing(_) => {
                self.notice(format!("Importing slot {slot} from node {named}"));
                self.slots.set_importing(slot, target);
            }
            SetSlot::Stable => {
                self.notice(format!("Marking slot {slot} stable"));
                self.slots.set_importing(slot, None);
                self.slots.set_migrating(slot, None);
            }
            SetSlot::Node(_) => {
                if let Some(key) = target {
                    self.hand_over(slot, key, now, facts);
                }
            }
        }
        self.changed();
        Ok(())
    }

    /// Whether slots are about to move.
    pub fn has_open_slots(&self) -> bool {
        self.slots.all_migrating().next().is_some() || self.slots.all_importing().next().is_some()
    }

    /// The slots that are about to move, if one of these replicas of this node, by their clients' ids, is new: it has
    /// to be told.
    pub fn open_slots_for(&mut self, replicas: Vec<u64>) -> Vec<(u16, SetSlot)> {
        let is_new = |id: &u64| !self.told_replicas.contains(id);
        let has_new = self.myself().is_primary() && replicas.iter().any(is_new);
        self.told_replicas = replicas;
        if !has_new {
            return Vec::new();
        }
        let migrating = self.all_migrating().map(|(slot, to)| (slot, SetSlot::Migrating(to.id)));
        let importing = self.all_importing();
        let importing = importing.map(|(slot, from)| (slot, SetSlot::Importing(from.id)));
        migrating.chain(importing).collect()
    }

    /// The slots that are about to move, as a Valkey tells its new replicas: `<slot>>`node`,` or `<slot><`node`,` for
    /// each.
    /// What can't be understood is left out.
    pub fn adopt_open_slots(&mut self, states: &[u8]) {
        for state in states.split(|&byte| byte == b',') {
            let Some(at) = state.iter().position(|byte| matches!(byte, b'<' | b'>')) else {
                continue;
            };
            let (slot, id) = (parse_i64(&state[..at]), NodeId::new(&state[at + 1..]));
            let slot = slot.and_then(|slot| u16::try_from(slot).ok()).filter(|&slot| slot < SLOTS);
            let key = id.ok().and_then(|id| self.nodes.key_of(&id));
            let (Some(slot), Some(_)) = (slot, key) else { continue };
            match state[at] {
                b'<' => self.slots.set_importing(slot, key),
                _ => self.slots.set_migrating(slot, key),
            }
            self.changed();
        }
    }

    /// Slots that were sent here with all their keys are this node's from now on: with an epoch that is newer than
    /// their old owner's, which everybody is told at once.
    pub fn take_over(&mut self, slots: &SlotSet, now: Now, facts: &Facts) {
        let me = self.nodes.my_key();
        self.bump_epoch();
        let reason = SlotReason::Migrated { epoch: self.myself().config_epoch };
        for slot in slots.iter() {
            self.slots.set_importing(slot, None);
            self.set_owner(slot, Some(me), reason);
        }
        self.changed();
        self.save(true);
        self.broadcast_pong(false, now, facts);
    }

    /// A slot belongs to a node from now on, because somebody said so.
    fn hand_over(&mut self, slot: u16, key: NodeKey, now: Now, facts: &Facts) {
        let (named, shard) = (self.named(key), self.nodes[key].shard_id);
        self.notice(format!("Assigning slot {slot} to node {named} in shard {shard}"));
        if (facts.keys_in_slot)(slot) == 0 {
            self.slots.set_migrating(slot, None);
        }
        let mine = self.my_primary_key();
        let was_mine = self.slots.owner(slot) == Some(mine);
        self.set_owner(slot, Some(key), SlotReason::SetSlot);
        if was_mine && key != mine && self.nodes[mine].slots.is_empty() {
            self.give_last_slot(key, now, facts);
        }
        let me = self.nodes.my_key();
        let is_ours = key == me || self.myself().primary == Some(key);
        if is_ours && self.slots.importing(slot).is_some() {
            self.slots.set_importing(slot, None);
            if key == me {
                // The new owner's claim has to be newer than the old one's.
                if self.bump_epoch() {
                    self.notice(format!("configEpoch updated after importing slot {slot}"));
                }
                self.broadcast_pong(false, now, facts);
            }
        }
    }

    /// This node's shard has given its last slot away.
    fn give_last_slot(&mut self, to: NodeKey, now: Now, facts: &Facts) {
        let (named, shard) = (self.named(to), self.nodes[to].shard_id);
        if facts.config.cluster_allow_replica_migration {
            self.notice(format!(
                "Lost my last slot during slot migration. Reconfiguring myself as a replica of {named} in shard {shard}"
            ));
            self.become_replica_of(to, true, true, now, facts);
            self.todo |= Todo::SYNC;
        } else if self.myself().is_primary() {
            self.notice(format!(
                "My last slot was migrated to node {named} in shard {shard}. I am now an empty primary."
            ));
        }
    }

    /// Changes a slot's owner.
    pub(super) fn set_owner(&mut self, slot: u16, owner: Option<NodeKey>, reason: SlotReason) {
        let old = self.slots.owner(slot);
        let id = |key: Option<NodeKey>| key.map(|key| self.nodes[key].id);
        self.trace.slot_moved(slot, id(old), id(owner), reason);
        if let Some(old) = old {
            self.nodes[old].slots.remove(slot);
            self.moved.insert(slot);
        }
        self.slots.set_owner(slot, owner);
        let Some(new) = owner else { return };
        self.nodes[new].slots.insert(slot);
        // A primary that gets its first slot may be given a replica, where others have some.
        if self.nodes[new].slots.len() == 1 && self.primaries_have_replicas() {
            self.nodes[new].flags.insert(crate::bus::NodeFlags::MIGRATE_TO);
        }
    }

    fn primaries_have_replicas(&self) -> bool {
        self.nodes.iter().any(|(_, node)| !node.is_replica() && !node.replicas.is_empty())
    }

    /// A node's slots are nobody's; returns how many there were.
    pub(super) fn release_slots_of(&mut self, key: NodeKey) -> usize {
        let slots: Vec<u16> = self.nodes[key].slots.iter().collect();
        slots.iter().for_each(|&slot| self.set_owner(slot, None, SlotReason::Released));
        slots.len()
    }
}
