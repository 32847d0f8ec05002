//! Consumer groups: how far a group has read, who reads for it, and what was delivered and not yet acknowledged.
//!
//! The group's pending entries are the truth: each knows its consumer. Each consumer has the IDs of its own, for
//! looking through them in order.

use super::id::StreamId;
use slab::Slab;
use std::collections::{BTreeMap, BTreeSet};

/// The groups of a stream, by name.
pub type Groups = BTreeMap<Box<[u8]>, Group>;

/// A consumer's index in its group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConsumerId(usize);

/// A consumer group.
#[derive(Clone, Debug, Default)]
pub struct Group {
    /// The last ID that was delivered to anybody.
    pub last_id: StreamId,
    /// How many entries were read so far, those skipped included; `None` if nobody knows.
    pub entries_read: Option<u64>,
    pending: BTreeMap<StreamId, Pending>,
    consumers: Slab<Consumer>,
    names: BTreeMap<Box<[u8]>, ConsumerId>,
}

/// A delivery that was not acknowledged yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pending {
    pub consumer: ConsumerId,
    /// When it was delivered last, in milliseconds since 1970.
    pub delivered_ms: i64,
    /// How often it was delivered.
    pub deliveries: u64,
}

/// Somebody who reads for a group.
#[derive(Clone, Debug, PartialEq)]
pub struct Consumer {
    pub name: Box<[u8]>,
    /// When it tried to read last, and when it got something last (-1: never), in milliseconds since 1970.
    pub seen_ms: i64,
    pub active_ms: i64,
    pending: BTreeSet<StreamId>,
}

/// The time of [`Consumer::active_ms`] before there is one.
pub const NEVER: i64 = -1;

impl Consumer {
    /// How many entries wait for its acknowledgement.
    pub fn pending_len(&self) -> usize {
        self.pending.len()
    }

    /// The IDs of those entries, from `start` on.
    pub fn pending_from(&self, start: StreamId) -> impl Iterator<Item = StreamId> {
        self.pending.range(start..).copied()
    }
}

impl Group {
    pub fn new(last_id: StreamId, entries_read: Option<u64>) -> Group {
        Group { last_id, entries_read, ..Group::default() }
    }

    /// Memory behind the group, in bytes, roughly.
    pub fn memory(&self) -> usize {
        let names: usize = self.names.keys().map(|name| 2 * name.len()).sum();
        // Each delivery is in two trees, which are half full.
        size_of::<Group>()
            + names
            + self.consumers.capacity() * size_of::<Consumer>()
            + self.pending.len() * 2 * (size_of::<(StreamId, Pending)>() + size_of::<StreamId>())
    }

    pub fn consumer(&self, id: ConsumerId) -> &Consumer {
        &self.consumers[id.0]
    }

    pub fn consumer_mut(&mut self, id: ConsumerId) -> &mut Consumer {
        &mut self.consumers[id.0]
    }

    pub fn find_consumer(&self, name: &[u8]) -> Option<ConsumerId> {
        self.names.get(name).copied()
    }

    /// The consumers, by name.
    pub fn consumers(&self) -> impl ExactSizeIterator<Item = (ConsumerId, &Consumer)> {
        self.names.values().map(|&id| (id, &self.consumers[id.0]))
    }

    /// Adds a consumer, if there is none of this name.
    pub fn add_consumer(&mut self, name: &[u8], now_ms: i64) -> Option<ConsumerId> {
        if self.names.contains_key(name) {
            return None;
        }
        let pending = BTreeSet::new();
        let consumer = Consumer { name: name.into(), seen_ms: now_ms, active_ms: NEVER, pending };
        let id = ConsumerId(self.consumers.insert(consumer));
        self.names.insert(name.into(), id);
        Some(id)
    }

    /// Removes a consumer and forgets what was pending for it; returns how many entries that were.
    pub fn remove_consumer(&mut self, id: ConsumerId) -> usize {
        let consumer = self.consumers.remove(id.0);
        self.names.remove(&consumer.name);
        for entry in &consumer.pending {
            self.pending.remove(entry);
        }
        consumer.pending.len()
    }

    /// How many entries wait for an acknowledgement.
    pub fn pending_len(&self) -> usize {
        self.pending.len()
    }

    pub fn pending(&self, id: StreamId) -> Option<Pending> {
        self.pending.get(&id).copied()
    }

    /// The deliveries from `start` on that wait for an acknowledgement.
    pub fn pending_from(
        &self,
        start: StreamId,
    ) -> impl DoubleEndedIterator<Item = (StreamId, Pending)> {
        self.pending.range(start..).map(|(&id, &pending)| (id, pending))
    }

    /// Notes a delivery, in the place of an earlier one, which may have been to another consumer.
    pub fn deliver(&mut self, id: StreamId, delivery: Pending) {
        let before = self.pending.insert(id, delivery);
        if let Some(before) = before {
            if before.consumer == delivery.consumer {
                return;
            }
            self.consumers[before.consumer.0].pending.remove(&id);
        }
        self.consumers[delivery.consumer.0].pending.insert(id);
    }

    /// Forgets a delivery; whether there was one.
    pub fn acknowledge(&mut self, id: StreamId) -> bool {
        let Some(before) = self.pending.remove(&id) else { return false };
        self.consumers[before.consumer.0].pending.remove(&id);
        true
    }
}

impl PartialEq for Group {
    /// Equal to who asks: where the consumers are kept does not matter.
    fn eq(&self, other: &Group) -> bool {
        let owned = |group: &Group| -> Vec<(StreamId, i64, u64)> {
            group.pending.iter().map(|(&id, p)| (id, p.delivered_ms, p.deliveries)).collect()
        };
        (self.last_id, self.entries_read) == (other.last_id, other.entries_read)
            && self.consumers().map(|(_, c)| c).eq(other.consumers().map(|(_, c)| c))
            && owned(self) == owned(other)
    }
}
