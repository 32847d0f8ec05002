//! Nodes that were forgotten on purpose: for a while they are not taken in again, whoever tells of them.

use super::Now;
use crate::bus::NodeId;
use std::collections::BTreeMap;

/// More than this are not kept: peers tell of them, too.
const MOST: usize = 10_000;

/// The ids, and until when by the clock that never jumps.
#[derive(Clone, Debug, Default)]
pub struct Forgotten {
    until_ms: BTreeMap<NodeId, u64>,
}

impl Forgotten {
    pub fn add(&mut self, id: NodeId, ttl_ms: u64, now: Now) {
        self.expire(now);
        if self.until_ms.len() < MOST {
            self.until_ms.insert(id, now.mono_ms.saturating_add(ttl_ms));
        }
    }

    pub fn contains(&self, id: &NodeId, now: Now) -> bool {
        self.until_ms.get(id).is_some_and(|&until| until >= now.mono_ms)
    }

    pub fn clear(&mut self) {
        self.until_ms.clear();
    }

    /// Each with the seconds that are left.
    pub fn remaining(&mut self, now: Now) -> Vec<(NodeId, u64)> {
        self.expire(now);
        let left = |until: u64| until.saturating_sub(now.mono_ms) / 1000;
        self.until_ms.iter().map(|(&id, &until)| (id, left(until))).collect()
    }

    fn expire(&mut self, now: Now) {
        self.until_ms.retain(|_, until| *until >= now.mono_ms);
    }
}
