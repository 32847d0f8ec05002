//! A walk through the nodes of a stream as they were when it began, in the order of their IDs, while the stream
//! changes.
//!
//! A node stays under its ID as long as it is there. So what the walk has not come to yet is either in the log as it
//! was, or is kept as it was, under the same ID, from the moment before it first changed. An ID may also be taken anew,
//! once `XSETID` has gone back: then it is kept that nothing was there.

use super::id::StreamId;
use super::node::Node;
use crate::ds::walked::{Kept, KeptBytes};
use std::collections::BTreeMap;
use std::mem;

/// Who is handed the nodes: master ID and listpack.
pub type NodeVisitor = Box<dyn FnMut(StreamId, &[u8]) + Send>;

pub(super) struct Walk {
    /// Where it goes on; `None`: it has come to the end.
    place: Option<StreamId>,
    /// The last node that there was.
    last: StreamId,
    kept: Kept<StreamId, Node>,
    visit: NodeVisitor,
}

impl Walk {
    /// `last`: the last node, if there is any.
    pub(super) fn new(last: Option<StreamId>, visit: NodeVisitor, kept: KeptBytes) -> Walk {
        Walk {
            place: last.map(|_| StreamId::MIN),
            last: last.unwrap_or(StreamId::MIN),
            kept: Kept::new(kept),
            visit,
        }
    }

    /// A node is about to change.
    pub(super) fn before_change(&mut self, id: StreamId, node: &Node) {
        if self.needs(id) {
            self.kept.keep(id, Some(node.clone()), node.heap_bytes());
        }
    }

    /// A node has left the log.
    pub(super) fn has_left(&mut self, id: StreamId, node: Node) {
        if self.needs(id) {
            // It takes no memory that it did not take before.
            self.kept.keep(id, Some(node), 0);
        }
    }

    /// A node comes to the log.
    pub(super) fn comes(&mut self, id: StreamId) {
        if self.needs(id) {
            self.kept.keep(id, None, 0);
        }
    }

    /// Whether it has not been handed over, nor kept, what was under an ID.
    fn needs(&self, id: StreamId) -> bool {
        self.place.is_some_and(|place| place <= id) && id <= self.last && !self.kept.contains(id)
    }

    /// Hands over nodes of about so many bytes. Returns whether there are more.
    pub(super) fn go_on(&mut self, nodes: &BTreeMap<StreamId, Node>, bytes: usize) -> bool {
        let mut done = 0;
        while let Some(place) = self.place
            && done < bytes
        {
            let there = nodes.range(place..=self.last).next();
            let (kept, id) = match (self.kept.first(), there) {
                (Some(kept), there) if there.is_none_or(|(&id, _)| kept <= id) => (true, kept),
                (_, Some((&id, _))) => (false, id),
                (_, None) => {
                    self.place = None;
                    break;
                }
            };
            self.place = id.next().filter(|next| *next <= self.last);
            let own = if kept { self.kept.take(id) } else { None };
            let node = if kept { own.as_ref() } else { there.map(|(_, node)| node) };
            done += mem::size_of::<Node>();
            if let Some(node) = node {
                done += node.as_bytes().len();
                (self.visit)(id, node.as_bytes());
            }
        }
        self.place.is_some()
    }
}
