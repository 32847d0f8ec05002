//! Slots that other nodes claim: the newer epoch has them.

use super::trace::SlotReason;
use super::{Action, Cluster, Facts, NodeKey, Now, Todo};
use crate::bus::NodeId;
use crate::util::slot::SLOTS;
use crate::util::slot_set::SlotSet;

/// What became of a claim.
#[derive(Debug, Default)]
struct Outcome {
    /// Slots that the claimant took from this node's shard.
    lost: usize,
    /// Slots that this node lost while it holds keys of them.
    dirty: Vec<u16>,
}

impl Cluster {
    /// A node tells of another's slots.
    pub(super) fn receive_update(
        &mut self,
        id: NodeId,
        config_epoch: u64,
        slots: &SlotSet,
        now: Now,
        facts: &Facts,
    ) {
        let Some(key) = self.nodes.key_of(&id) else { return };
        if key == self.nodes.my_key() {
            return self.notice("Discarding UPDATE message about myself.".into());
        }
        if self.nodes[key].config_epoch >= config_epoch {
            return;
        }
        self.set_as_primary(key);
        self.nodes[key].config_epoch = config_epoch;
        self.todo |= Todo::SAVE | Todo::SYNC;
        self.take_claims(key, config_epoch, slots, now, facts);
    }

    /// Gives a node, which is not this one, the slots that it claims under an epoch, as far as that is newer than their
    /// owners'. A node that loses its last slots that way follows the one who took them.
    pub(super) fn take_claims(
        &mut self,
        claimant: NodeKey,
        epoch: u64,
        slots: &SlotSet,
        now: Now,
        facts: &Facts,
    ) {
        let mine = self.my_primary_key();
        let in_shard = self.nodes[claimant].shard_id == self.myself().shard_id;
        let mut outcome = Outcome::default();
        for slot in 0..SLOTS {
            if slots.contains(slot) {
                self.take_claim(claimant, epoch, slot, &mut outcome, facts);
            } else {
                self.take_disclaimer(claimant, epoch, slot);
            }
        }
        let my_epoch = self.epoch_of(self.myself());
        // Neither has slots, but the other one's election was later.
        let is_elected = slots.is_empty()
            && self.myself().slots.is_empty()
            && self.myself().primary != Some(claimant)
            && my_epoch < epoch
            && in_shard;
        if (outcome.lost > 0 || is_elected) && self.nodes[mine].slots.is_empty() {
            self.lose_last_slots(claimant, slots, outcome.lost, now, facts);
        }
        if self.myself().is_primary() {
            // A replica gets its primary's data.
            self.drop_keys(&outcome.dirty);
        }
    }

    /// Keys of slots that are another node's now must not come back with them.
    fn drop_keys(&mut self, slots: &[u16]) {
        for &slot in slots {
            let (named, shard) = (self.named(self.nodes.my_key()), self.myself().shard_id);
            self.notice(format!(
                "Deleting keys in dirty slot {slot} on node {named} in shard {shard}"
            ));
            self.actions.push(Action::DropSlotKeys(slot));
        }
    }

    fn take_claim(
        &mut self,
        claimant: NodeKey,
        epoch: u64,
        slot: u16,
        outcome: &mut Outcome,
        facts: &Facts,
    ) {
        let owner = self.slots.owner(slot);
        if owner == Some(claimant) {
            return self.slots.set_claimed(slot, true);
        }
        let is_unclaimed =
            self.slots.is_unclaimed(slot) || owner.is_some_and(|owner| self.has_left_slots(owner));
        if !is_unclaimed && owner.is_some_and(|owner| self.nodes[owner].config_epoch >= epoch) {
            return;
        }
        let shard = self.nodes[claimant].shard_id;
        if let Some(owner) = owner {
            if owner == self.nodes.my_key() && (facts.keys_in_slot)(slot) > 0 {
                outcome.dirty.push(slot);
            }
            outcome.lost += usize::from(owner == self.my_primary_key());
        }
        if let Some(to) = self.slots.migrating(slot)
            && shard != self.myself().shard_id
        {
            let (named, of) = (self.named(to), self.nodes[to].shard_id);
            self.notice(format!(
                "Slot {slot} is no longer being migrated to node {named} in shard {of}."
            ));
            self.slots.set_migrating(slot, None);
        }
        if let Some(from) = self.slots.importing(slot).filter(|&from| from != claimant) {
            self.move_import(slot, from, claimant);
        }
        self.set_owner(slot, Some(claimant), SlotReason::Claimed { epoch });
        self.changed();
        self.todo |= Todo::SYNC;
    }

    /// Whether a node has become a replica whose primary has claimed its slots. It does not claim what is left: that
    /// had gone elsewhere before, where this node did not hear of it.
    fn has_left_slots(&self, key: NodeKey) -> bool {
        self.nodes[key].primary.is_some_and(|primary| !self.nodes[primary].slots.is_empty())
    }

    /// The owner of a slot that is being imported has changed: to another node of its shard after a failover, or to
    /// another shard because somebody wanted it so.
    fn move_import(&mut self, slot: u16, from: NodeKey, claimant: NodeKey) {
        let shard = self.nodes[from].shard_id;
        if self.nodes[claimant].shard_id == shard {
            let named = self.named(claimant);
            self.notice(format!(
                "Failover occurred in migration source. Update importing source for slot {slot} to node {named} in \
                 shard {shard}."
            ));
            self.slots.set_importing(slot, Some(claimant));
        } else {
            let named = self.named(from);
            self.notice(format!(
                "Slot {slot} is no longer being imported from node {named} in shard {shard}."
            ));
            self.slots.set_importing(slot, None);
        }
    }

    /// A slot that a node does not claim.
    fn take_disclaimer(&mut self, claimant: NodeKey, epoch: u64, slot: u16) {
        // It stays the owner, so that clients are sent to somebody, but nobody is told of it any more.
        if self.slots.owner(slot) == Some(claimant) {
            self.slots.set_claimed(slot, false);
        }
        let shard = self.nodes[claimant].shard_id;
        let named = |cluster: &Cluster| cluster.named(claimant);
        if let Some(to) = self.slots.migrating(slot).filter(|&to| to != claimant) {
            let target = &self.nodes[to];
            if target.shard_id == shard && (target.config_epoch < epoch || target.is_replica()) {
                let named = named(self);
                self.notice(format!(
                    "Failover occurred in migration target. Slot {slot} is now being migrated to node {named} in shard \
                     {shard}."
                ));
                self.slots.set_migrating(slot, Some(claimant));
                self.changed();
                self.todo |= Todo::SYNC;
            }
        }
        if self.myself().is_primary() && self.slots.importing(slot) == Some(claimant) {
            let named = named(self);
            self.notice(format!(
                "Slot {slot} is no longer being imported from node {named} in shard {shard}; Clear my importing source \
                 for the slot."
            ));
            self.slots.set_importing(slot, None);
            // The source has let go of it, and whoever was to have it, this node or its old primary, missed that.
            if self.slots.owner(slot) != Some(self.nodes.my_key()) {
                self.set_owner(slot, Some(self.nodes.my_key()), SlotReason::LetGo);
                self.bump_epoch();
                self.changed();
                self.todo |= Todo::SYNC;
            }
        }
    }

    /// This node's shard has no slot left.
    fn lose_last_slots(
        &mut self,
        claimant: NodeKey,
        slots: &SlotSet,
        lost: usize,
        now: Now,
        facts: &Facts,
    ) {
        let (named, shard) = (self.named(claimant), self.nodes[claimant].shard_id);
        let is_other_shard = shard != self.myself().shard_id;
        if facts.config.cluster_allow_replica_migration || !is_other_shard {
            self.notice(format!(
                "Configuration change detected. Reconfiguring myself as a replica of node {named} in shard {shard}"
            ));
            self.become_replica_of(claimant, is_other_shard, is_other_shard, now, facts);
            self.changed();
            self.todo |= Todo::SYNC;
        } else if self.myself().is_primary() && usize::from(slots.len()) >= lost {
            self.notice(format!(
                "My last slot was migrated to node {named} in shard {shard}. I am now an empty primary."
            ));
        }
    }
}
