//! A walk through the nodes of a list as they were when it began, in their order, while the list changes.
//!
//! # Why nothing is missed, and everything comes in its turn
//!
//! The nodes that there were at the beginning are numbered in their order. Claim: each of them that has not been handed
//! over either lies in the list as it was, and belongs to a *run*; or it is kept as it was, under its number. A run is
//! of nodes that follow each other both in the list and in number, and runs are in the order of both. At the beginning
//! there is one run, of all nodes. Three things happen:
//!
//! * The walk goes on: the node of the next number is what the first run begins with, or is kept.
//! * A node of a run is about to change, or leaves the list: it leaves its run, which may become two, and is kept: a
//!   copy of it, or the node itself.
//! * A node comes or has gone, so that those behind it have other indexes. Runs count *positions* instead, from a point
//!   that moves with the list's head; so at the ends, where lists grow and shrink, no position changes. If it is in the
//!   middle the runs behind it are moved, of which there are fewer than nodes that the list itself has to move.

use super::node::{Container, Node, NodeBytes};
use crate::ds::walked::{Kept, KeptBytes};
use std::collections::VecDeque;

/// Who is handed the nodes.
pub type NodeVisitor = Box<dyn FnMut(Container, NodeBytes<'_>) + Send>;

/// The first node's position at the beginning: the head may move either way.
const MIDDLE: u64 = 1 << 63;

/// What a node is taken for at least, in bytes: an empty one is some work, too.
const LEAST_BYTES: usize = 64;

/// Nodes that lie in the list as they were.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Run {
    position: u64,
    /// The number of the first one.
    number: u64,
    len: u64,
}

impl Run {
    /// What there is from the run's `n`-th node on.
    fn behind(self, n: u64) -> Run {
        Run { position: self.position + n, number: self.number + n, len: self.len - n }
    }
}

pub(super) struct Walk {
    /// The position of the list's first node.
    head: u64,
    runs: VecDeque<Run>,
    kept: Kept<u64, Node>,
    /// The number of the node that comes next, and how many there were.
    next: u64,
    nodes: u64,
    visit: NodeVisitor,
}

impl Walk {
    pub(super) fn new(nodes: usize, visit: NodeVisitor, kept: KeptBytes) -> Walk {
        let nodes = nodes as u64;
        Walk {
            head: MIDDLE,
            runs: VecDeque::from([Run { position: MIDDLE, number: 0, len: nodes }]),
            kept: Kept::new(kept),
            next: 0,
            nodes,
            visit,
        }
    }

    /// The node at an index is about to change.
    pub(super) fn before_change(&mut self, index: usize, node: &Node) {
        if let Some(number) = self.take_out(index) {
            self.kept.keep(number, Some(node.clone()), node.heap_bytes());
        }
    }

    /// A node has come to an index.
    pub(super) fn has_come(&mut self, index: usize) {
        if index == 0 {
            self.head -= 1;
            return;
        }
        let position = self.head + index as u64;
        if let Some(at) = self.run_of(position) {
            self.split(at, position - self.runs[at].position);
        }
        self.move_behind(position, |position| position + 1);
    }

    /// Nodes leave the list, the first of them from this index.
    pub(super) fn leave(&mut self, index: usize, nodes: impl Iterator<Item = Node>) {
        let mut end = index;
        for node in nodes {
            if let Some(number) = self.take_out(end) {
                // It takes no memory that it did not take before.
                self.kept.keep(number, Some(node), 0);
            }
            end += 1;
        }
        let count = (end - index) as u64;
        if index == 0 {
            self.head += count;
        } else {
            self.move_behind(self.head + end as u64, |position| position - count);
        }
    }

    /// Nodes at these indexes, in their order, have left the list after they had changed.
    pub(super) fn have_left(&mut self, indexes: &[usize]) {
        for run in &mut self.runs {
            let index = (run.position - self.head) as usize;
            run.position -= indexes.partition_point(|&gone| gone < index) as u64;
        }
    }

    /// Hands over nodes of about so many bytes. Returns whether there are more.
    pub(super) fn go_on(&mut self, nodes: &VecDeque<Node>, bytes: usize) -> bool {
        let mut done = 0;
        while self.next < self.nodes && done < bytes {
            let kept = self.kept.take(self.next);
            let Some(node) = kept.as_ref().or_else(|| self.next_in_place(nodes)) else {
                unreachable!("the claim above: it is kept, or in its place");
            };
            done += node.heap_bytes().max(LEAST_BYTES);
            (self.visit)(node.container(), node.stored());
            self.next += 1;
        }
        self.next < self.nodes
    }

    /// The node of the next number, which leaves its run.
    fn next_in_place<'a>(&mut self, nodes: &'a VecDeque<Node>) -> Option<&'a Node> {
        let run = self.runs.front().filter(|run| run.number == self.next)?;
        let index = (run.position - self.head) as usize;
        self.take_out(index);
        nodes.get(index)
    }

    /// Takes the node at an index out of its run; returns its number.
    fn take_out(&mut self, index: usize) -> Option<u64> {
        let position = self.head + index as u64;
        let at = self.run_of(position)?;
        let run = self.runs[at];
        let before = position - run.position;
        self.split(at, before + 1);
        match before {
            0 => _ = self.runs.remove(at),
            _ => self.runs[at].len = before,
        }
        Some(run.number + before)
    }

    /// The run that has the node at a position.
    fn run_of(&self, position: u64) -> Option<usize> {
        let at = self.runs.partition_point(|run| run.position <= position).checked_sub(1)?;
        let run = self.runs[at];
        (position < run.position + run.len).then_some(at)
    }

    /// Makes two of a run: its first `n` nodes, and the others, if there are any.
    fn split(&mut self, at: usize, n: u64) {
        let rest = self.runs[at].behind(n);
        if n > 0 && rest.len > 0 {
            self.runs[at].len = n;
            self.runs.insert(at + 1, rest);
        }
    }

    /// Moves the runs from a position on.
    fn move_behind(&mut self, position: u64, to: impl Fn(u64) -> u64) {
        for run in self.runs.iter_mut().rev().take_while(|run| run.position >= position) {
            run.position = to(run.position);
        }
    }
}
