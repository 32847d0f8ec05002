//! What `CLUSTER SETSLOT` asks for, as it is kept while the replicas learn of it.

use crate::bus::NodeId;

/// What is to become of a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SetSlot {
    /// The slot is about to go to a node.
    Migrating(NodeId),
    /// The slot is about to come from a node.
    Importing(NodeId),
    /// The slot stays where it is.
    Stable,
    /// The slot belongs to a node.
    Node(NodeId),
}

/// A change that waits for replicas.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WaitingChange {
    pub slot: u16,
    pub change: SetSlot,
    /// How many have to know of it.
    pub replicas: usize,
    /// Of the stream, where they have been told.
    pub offset: u64,
}
