//! The stream value: a log of entries in the order of their IDs, and the consumer groups that read it.
//!
//! * [`id`]: [`StreamId`], milliseconds and a sequence number.
//! * [`node`]: up to a hundred entries or so in one listpack, delta-encoded, byte for byte Redis's form.
//! * [`log`]: [`Log`], the nodes in order: append, range, delete, trim.
//! * `walk`: going through the nodes as they were when it began.
//! * [`group`]: [`Group`], a reader's position shared by consumers, and what was delivered and not yet acknowledged.
//!
//! A stream stays when its last entry goes: it still knows the last ID, and its groups.

pub mod group;
pub mod id;
pub mod log;
pub mod node;
mod walk;

pub use group::{Group, Groups};
pub use id::StreamId;
pub use log::Log;
pub use walk::NodeVisitor;

use crate::util::alloc::relocate::Relocator;
use std::ops::{Deref, DerefMut};

/// A stream.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Stream(Box<Parts>);

/// What a stream is made of. Two parts, so that a group can be changed while the log is read.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Parts {
    pub log: Log,
    pub groups: Groups,
}

impl Stream {
    pub fn new() -> Stream {
        Stream::default()
    }

    /// Never: a stream without entries is still a stream, and its key stays.
    pub fn is_empty(&self) -> bool {
        false
    }

    /// The encoding, as `OBJECT ENCODING` names it.
    pub fn encoding(&self) -> &'static str {
        "stream"
    }

    /// Shows its allocations to the relocator, without those of its groups; see
    /// [`ValueMut::relocate`](super::ValueMut::relocate).
    pub fn relocate(&mut self, from: u128, elements: usize, relocator: &mut Relocator) -> u128 {
        if from == 0 {
            relocator.boxed(&mut self.0);
        }
        let next = self.log.relocate(StreamId::from_bits(from), elements, relocator);
        next.map_or(0, StreamId::to_bits)
    }

    /// Memory behind the value itself, in bytes. That of a long log is estimated from some of its nodes.
    pub fn heap_bytes(&self) -> usize {
        let groups: usize =
            self.groups.iter().map(|(name, group)| name.len() + group.memory()).sum();
        size_of::<Parts>() + self.log.heap_bytes() + groups
    }
}

impl Deref for Stream {
    type Target = Parts;

    fn deref(&self) -> &Parts {
        &self.0
    }
}

impl DerefMut for Stream {
    fn deref_mut(&mut self) -> &mut Parts {
        &mut self.0
    }
}
