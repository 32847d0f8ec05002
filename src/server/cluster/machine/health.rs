//! Whether the cluster serves, from where this node stands.

use super::Action;
use super::{Cluster, Facts, Now};
use crate::bus::NodeFlags;
use crate::server::observe::log::Level;
use crate::util::slot::SLOTS;

/// A primary that was started again serves after this time at the earliest, so that it hears first if its slots were
/// given to another.
const RESTART_DELAY_MS: u64 = 2000;
/// A primary that was cut off with the minority serves again after the node time-out, within these bounds.
const REJOIN_DELAY_MS: std::ops::RangeInclusive<u64> = 500..=5000;

/// What is known of the whole.
#[derive(Clone, Debug, Default)]
pub struct Health {
    is_up: bool,
    /// Primaries with slots.
    voters: usize,
    /// The nodes that this one suspects.
    pub(super) suspected: usize,
    /// When a node that was started again first asked.
    restarted_ms: Option<Restart>,
    /// When this node last found itself with a minority of the voters.
    minority_ms: Option<u64>,
}

/// Of a node that has been in a cluster before.
#[derive(Clone, Copy, Debug)]
enum Restart {
    JustNow,
    At(u64),
}

impl Health {
    /// Of a node that was started again with what it knew.
    pub fn after_restart() -> Health {
        Health { restarted_ms: Some(Restart::JustNow), ..Health::default() }
    }

    /// How many votes decide.
    pub fn quorum(&self) -> usize {
        self.voters / 2 + 1
    }

    /// Whether a primary that was started again has to wait. The time is counted from the first time that this is
    /// asked, so that loading the data does not count.
    fn is_starting_again(&mut self, now: Now) -> bool {
        let since = match self.restarted_ms {
            None => return false,
            Some(Restart::JustNow) => now.mono_ms,
            Some(Restart::At(since)) => since,
        };
        let waits = now.since(Some(since)) < RESTART_DELAY_MS;
        self.restarted_ms = waits.then_some(Restart::At(since));
        waits
    }
}

impl Cluster {
    /// Whether the cluster serves.
    pub fn is_up(&self) -> bool {
        self.health.is_up
    }

    /// Primaries with slots.
    pub fn size(&self) -> usize {
        self.health.voters
    }

    /// Finds out whether the cluster serves: all slots are, if that is asked for, and this node is with the majority.
    pub(super) fn update_health(&mut self, now: Now, facts: &Facts) {
        let is_primary = self.myself().is_primary();
        let waits = self.health.is_starting_again(now);
        if is_primary && !self.health.is_up && waits {
            return;
        }
        let failing = NodeFlags::FAIL | NodeFlags::PFAIL;
        let voters = self.nodes.iter().filter(|(_, node)| node.is_voter());
        let (mut size, mut reachable) = (0, 0);
        for (_, node) in voters {
            size += 1;
            reachable += usize::from(!node.flags.intersects(failing));
        }
        self.health.voters = size;
        let in_minority = reachable < self.health.quorum();
        if in_minority && size > 0 {
            self.health.minority_ms = Some(now.mono_ms);
        }
        let is_up = !in_minority
            && (!facts.config.cluster_require_full_coverage || self.all_slots_are_served());
        if is_up == self.health.is_up {
            return;
        }
        let (least, most) = (*REJOIN_DELAY_MS.start(), *REJOIN_DELAY_MS.end());
        let rejoin_delay = facts.config.cluster_node_timeout.clamp(least, most);
        if is_up && is_primary && now.since(self.health.minority_ms) < rejoin_delay {
            return;
        }
        self.health.is_up = is_up;
        let (level, state) = if is_up { (Level::Notice, "ok") } else { (Level::Warning, "fail") };
        self.actions.push(Action::Log(level, format!("Cluster state changed: {state}")));
    }

    fn all_slots_are_served(&self) -> bool {
        (0..SLOTS).all(|slot| self.slot_owner(slot).is_some_and(|node| !node.has_failed()))
    }
}
