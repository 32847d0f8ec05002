//! Replicas move to primaries that have lost all of theirs.

use super::{Cluster, Facts, NodeKey, Now};
use crate::bus::NodeFlags;

/// A primary is without replicas for this time before one moves to it: after a failover its own need a while to say
/// that they follow it.
const DELAY_MS: u64 = 5000;

/// What is seen of all primaries.
#[derive(Clone, Copy, Debug, Default)]
pub struct Replicas {
    /// Primaries with slots that have lost all replicas.
    pub orphaned: usize,
    /// The most that one has.
    pub most: usize,
    /// Those of this node's primary.
    pub mine: usize,
}

impl Cluster {
    pub(super) fn working_replicas(&self, key: NodeKey) -> usize {
        self.replicas_of(&self.nodes[key]).filter(|node| !node.has_failed()).count()
    }

    /// Counts a primary that is up.
    pub(super) fn count_replicas(&self, key: NodeKey, seen: &mut Replicas) {
        let working = self.working_replicas(key);
        let node = &self.nodes[key];
        let had_some = node.flags.contains(NodeFlags::MIGRATE_TO);
        seen.orphaned += usize::from(working == 0 && !node.slots.is_empty() && had_some);
        seen.most = seen.most.max(working);
        if self.myself().primary == Some(key) {
            seen.mine = working;
        }
    }

    /// Moves to a primary that has no replica, if this replica's own can spare it, and of all that could move it has
    /// the smallest id.
    pub(super) fn migrate_if_due(&mut self, seen: Replicas, now: Now, facts: &Facts) {
        let is_spare = seen.most >= 2 && seen.mine == seen.most;
        if seen.orphaned == 0 || !is_spare || !facts.config.cluster_allow_replica_migration {
            return;
        }
        let Some(mine) = self.myself().primary.filter(|_| self.is_up()) else { return };
        let is_fine = |node: &&super::Node| !node.has_failed() && !node.is_suspected();
        let fine = self.replicas_of(&self.nodes[mine]).filter(is_fine).count();
        if fine <= facts.config.cluster_migration_barrier as usize {
            return;
        }
        let Some(target) = self.find_orphan(seen.most, now) else { return };
        if now.since(self.nodes[target].orphaned_ms) > DELAY_MS {
            let id = self.nodes[target].id;
            self.notice(format!("Migrating to orphaned master {id}"));
            self.become_replica_of(target, true, true, now, facts);
        }
    }

    /// The primary to move to; `None` also if another replica is to move.
    fn find_orphan(&mut self, most: usize, now: Now) -> Option<NodeKey> {
        let (mut target, mut candidate) = (None, self.myself().id);
        for key in self.nodes.keys() {
            let node = &self.nodes[key];
            let working = if node.is_primary() { self.working_replicas(key) } else { 0 };
            let had_some = node.flags.contains(NodeFlags::MIGRATE_TO);
            if working == 0 && !node.is_replica() && !node.has_failed() && had_some {
                if target.is_none() && !node.slots.is_empty() {
                    target = Some(key);
                }
                self.nodes[key].orphaned_ms.get_or_insert(now.mono_ms);
            } else {
                self.nodes[key].orphaned_ms = None;
            }
            if working == most {
                let ids = self.replicas_of(&self.nodes[key]).map(|node| node.id);
                candidate = ids.fold(candidate, Ord::min);
            }
        }
        target.filter(|_| candidate == self.myself().id)
    }
}
