//! The list value: a sequence of nodes, each a listpack of bounded size, or one element too large
//! for such.
//!
//! A node holds as many elements as `list-max-listpack-size` (the *fill*) allows: a positive fill
//! counts elements, -1 to -5 limit the bytes to 4, 8, 16, 32 or 64 KB. Long lists so cost little
//! more than their elements' bytes, and a change moves one node's bytes at most. With
//! `list-compress-depth` above 0, all but that many nodes at each end are kept compressed.
//!
//! The nodes stand in a [`VecDeque`]: both ends are at hand, an index is found by summing up the
//! counts from the nearer end, and a node in the middle is inserted by moving small structs, not
//! their bytes.
//!
//! Elements are given out as [`ListpackEntry`] to closures rather than by iterators, because those of a
//! compressed node live only as long as its temporary buffer.

mod node;
mod packed;
mod walk;

pub use node::{Container, Needle, NodeBytes};
pub use walk::NodeVisitor;

use super::listpack::{Listpack, ListpackEntry, ListpackRef, SAFETY_LIMIT};
use super::walked::{BYTES_OF_HEIR, Heir, KeptBytes, Walked};
use crate::util::alloc::relocate::{Relocator, can_move};
use node::Node;
use std::borrow::Cow;
use std::cell::Cell;
use std::collections::VecDeque;
use std::mem;
use std::ops::{ControlFlow, Range};
use walk::Walk;

/// Limits in bytes for a fill of -1 to -5.
const FILL_BYTES: [usize; 5] = [4096, 8192, 16_384, 32_768, 65_536];

/// Limit in bytes where the fill counts elements, so that a few large ones do not make a huge node.
const SAFETY_BYTES: usize = 8192;

/// What an element may need in a listpack besides its text, estimated high.
const ENTRY_OVERHEAD: usize = 8;

/// Bytes that are as much work to be moved as an element on its own.
const MOVED_LIKE_ELEMENT: usize = 512;

/// Bytes that two listpacks need once only when merged: header and end mark.
const LISTPACK_OVERHEAD: usize = 7;

thread_local! {
    /// See [`set_packed_threshold`]. Per thread, because each server of a process lives on its own.
    static PACKED_THRESHOLD: Cell<usize> = const { Cell::new(0) };
}

/// Makes elements of `bytes` and more plain nodes whatever the fill says; 0 returns to the fill.
/// For tests of large elements (`DEBUG QUICKLIST-PACKED-THRESHOLD`). `false`, and no change, from
/// just below 4 GB on.
pub fn set_packed_threshold(bytes: usize) -> bool {
    let accepted = bytes <= (1 << 32) - (1 << 20);
    if accepted {
        PACKED_THRESHOLD.set(bytes);
    }
    accepted
}

/// Would a listpack of `bytes` bytes and `count` elements be too large for one node of a list with
/// this `fill`? The same limit tells whether a whole list may be a single listpack.
#[inline]
pub fn exceeds_limit(fill: i16, bytes: usize, count: usize) -> bool {
    match fill {
        ..0 => bytes > fill_bytes(fill),
        0.. => bytes > SAFETY_BYTES || count > usize::from(fill.unsigned_abs()).max(1),
    }
}

/// What `fill` says of a node: the most bytes and the most elements, one of which is without limit.
pub fn node_limit(fill: i16) -> (usize, usize) {
    match fill {
        ..0 => (fill_bytes(fill), usize::MAX),
        0.. => (usize::MAX, usize::from(fill.unsigned_abs()).max(1)),
    }
}

/// Is an element of `bytes` bytes one that gets a node of its own?
#[inline]
pub fn is_large_element(fill: i16, bytes: usize) -> bool {
    match PACKED_THRESHOLD.get() {
        0 => bytes > if fill < 0 { fill_bytes(fill) } else { SAFETY_BYTES },
        threshold => bytes >= threshold.min(SAFETY_LIMIT),
    }
}

/// Limit in bytes for a negative `fill`.
fn fill_bytes(fill: i16) -> usize {
    FILL_BYTES[usize::from(fill.unsigned_abs()).clamp(1, FILL_BYTES.len()) - 1]
}

/// Which way to walk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// From the head to the tail.
    Forward,
    /// From the tail to the head.
    Backward,
}

/// An element that may be kept: borrowed where it can be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Element<'a> {
    /// A string that was the decimal text of a signed 64-bit integer.
    Int(i64),
    /// Any other string.
    Str(Cow<'a, [u8]>),
}

impl<'a> Element<'a> {
    fn owned(entry: ListpackEntry<'_>) -> Element<'static> {
        match entry {
            ListpackEntry::Int(v) => Element::Int(v),
            ListpackEntry::Str(s) => Element::Str(Cow::Owned(s.to_vec())),
        }
    }

    fn borrowed(entry: ListpackEntry<'a>) -> Self {
        match entry {
            ListpackEntry::Int(v) => Element::Int(v),
            ListpackEntry::Str(s) => Element::Str(Cow::Borrowed(s)),
        }
    }

    /// The element as an entry, to be compared or formatted.
    pub fn as_entry(&self) -> ListpackEntry<'_> {
        match self {
            Element::Int(v) => ListpackEntry::Int(*v),
            Element::Str(s) => ListpackEntry::Str(s),
        }
    }

    /// The element's text, owned.
    pub fn into_vec(self) -> Vec<u8> {
        match self {
            Element::Int(v) => ListpackEntry::Int(v).to_vec(),
            Element::Str(s) => s.into_owned(),
        }
    }
}

/// A list.
///
/// No node is without elements, and nodes within `depth` of an end are not compressed.
#[derive(Debug, Clone)]
pub struct Quicklist {
    nodes: VecDeque<Node>,
    len: usize,
    fill: i16,
    depth: u16,
    /// Told before a node changes, and of nodes that come or go.
    walk: Walked<Walk>,
}

impl Drop for Quicklist {
    fn drop(&mut self) {
        if let Some(heir) = self.walk.take_heir() {
            let mut list = mem::replace(self, Quicklist::new(self.fill, self.depth));
            heir(Box::new(move || list.walk_on(BYTES_OF_HEIR)));
        }
    }
}

impl Quicklist {
    /// An empty list with the limits `list-max-listpack-size` and `list-compress-depth`.
    pub fn new(fill: i16, depth: u16) -> Self {
        Quicklist {
            nodes: VecDeque::new(),
            len: 0,
            fill: fill.max(-(FILL_BYTES.len() as i16)),
            depth,
            walk: Walked::default(),
        }
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is no element.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The limits that it heeds: `list-max-listpack-size` and `list-compress-depth`.
    pub fn limits(&self) -> (i16, u16) {
        (self.fill, self.depth)
    }

    /// Number of nodes.
    pub fn node_count(&self) -> usize {
        self.nodes.len()
    }

    /// Bytes of memory held, without the struct itself.
    pub fn heap_bytes(&self) -> usize {
        let nodes: usize = self.nodes.iter().map(Node::heap_bytes).sum();
        nodes + self.nodes.capacity() * size_of::<Node>()
    }

    /// Shows its allocations to the relocator: from this node on, until so many `elements` are done. Returns the node
    /// to go on with, or 0 when all are done.
    pub fn relocate(&mut self, from: usize, elements: usize, relocator: &mut Relocator) -> usize {
        // To have them in one piece may take a while: many nodes stay where they are.
        if from == 0 && can_move(self.nodes.capacity() * size_of::<Node>()) {
            let mut nodes = Vec::from(mem::take(&mut self.nodes));
            relocator.vec(&mut nodes);
            self.nodes = nodes.into();
        }
        let mut done = 0;
        for at in from..self.nodes.len() {
            if done >= elements {
                return at;
            }
            let node = &mut self.nodes[at];
            node.relocate(relocator);
            // Moving bytes is work, too.
            done += node.count().max(node.heap_bytes() / MOVED_LIKE_ELEMENT);
        }
        0
    }

    /// The nodes as they are stored, from head to tail.
    pub fn nodes(&self) -> impl ExactSizeIterator<Item = (Container, NodeBytes<'_>)> {
        self.nodes.iter().map(|node| (node.container(), node.stored()))
    }

    /// Starts to hand the nodes, as they are now, to `visit` in their order: [`walk_on`](Self::walk_on) is to be called
    /// until there are no more, when `visit` is dropped. A list that is dropped before is left to `heir`.
    pub fn begin_walk(&mut self, visit: NodeVisitor, heir: Heir, kept: KeptBytes) {
        self.walk.begin(Walk::new(self.nodes.len(), visit, kept), heir);
    }

    /// Whether a walk is under way that has not come to its end.
    pub fn is_walked(&self) -> bool {
        self.walk.is_under_way()
    }

    /// Goes on with the walk by nodes of about so many bytes. Returns whether there are more.
    pub fn walk_on(&mut self, bytes: usize) -> bool {
        self.walk.go_on(|walk| walk.go_on(&self.nodes, bytes))
    }

    /// Ends the walk, wherever it is.
    pub fn end_walk(&mut self) {
        self.walk.end();
    }

    /// Adds a node that is a listpack at the tail; one without elements is left out.
    pub fn push_packed_node(&mut self, listpack: Listpack) {
        if !listpack.is_empty() {
            self.push_node(Node::from(listpack));
        }
    }

    /// Adds a node that is one element at the tail.
    pub fn push_plain_node(&mut self, element: Vec<u8>) {
        self.push_node(Node::plain(element));
    }

    /// Heeds other limits; nodes stay as they are, but for their compression.
    pub fn set_limits(&mut self, fill: i16, depth: u16) {
        self.fill = fill.max(-(FILL_BYTES.len() as i16));
        self.depth = depth;
        if depth == 0 {
            for node in &mut self.nodes {
                node.decompress();
            }
        }
        self.apply_depth_in(0..self.nodes.len());
    }

    /// The listpack, if the list is just one.
    pub fn as_single_listpack(&self) -> Option<ListpackRef<'_>> {
        match (self.nodes.len(), self.nodes.front()?.container(), self.nodes.front()?.stored()) {
            (1, Container::Packed, NodeBytes::Raw(bytes)) => Some(ListpackRef::trusted(bytes)),
            _ => None,
        }
    }

    /// Adds `value` at the head.
    #[inline]
    pub fn push_front(&mut self, value: &[u8]) {
        match self.nodes.front() {
            Some(node) if allows_insert(node, self.fill, value) => {
                self.node_mut(0).push_front(value);
                self.len += 1;
            }
            _ => self.push_front_node(value),
        }
    }

    /// Adds `value` at the tail.
    #[inline]
    pub fn push_back(&mut self, value: &[u8]) {
        match self.nodes.back() {
            Some(node) if allows_insert(node, self.fill, value) => {
                self.node_mut(self.nodes.len() - 1).push_back(value);
                self.len += 1;
            }
            _ => self.push_node(self.node_of(value)),
        }
    }

    /// The first element.
    pub fn front(&self) -> Option<ListpackEntry<'_>> {
        self.nodes.front()?.front()
    }

    /// The last element.
    pub fn back(&self) -> Option<ListpackEntry<'_>> {
        self.nodes.back()?.back()
    }

    /// Removes the first element, and returns it.
    pub fn pop_front(&mut self) -> Option<Element<'static>> {
        let element = self.front().map(Element::owned);
        self.remove_front();
        element
    }

    /// Removes the last element, and returns it.
    pub fn pop_back(&mut self) -> Option<Element<'static>> {
        let element = self.back().map(Element::owned);
        self.remove_back();
        element
    }

    /// Removes the first element; with [`front`](Self::front), a pop without a copy.
    pub fn remove_front(&mut self) {
        let Some(node) = self.nodes.front() else {
            return;
        };
        self.len -= 1;
        if node.count() > 1 {
            self.node_mut(0).pop_front();
        } else {
            self.remove_nodes(0..1);
            self.apply_depth(0);
        }
    }

    /// Removes the last element; with [`back`](Self::back), a pop without a copy.
    pub fn remove_back(&mut self) {
        let Some(node) = self.nodes.back() else {
            return;
        };
        let last = self.nodes.len() - 1;
        self.len -= 1;
        if node.count() > 1 {
            self.node_mut(last).pop_back();
        } else {
            self.remove_nodes(last..last + 1);
            self.apply_depth(last);
        }
    }

    /// The element at `index`, counted from 0 at the head or from -1 at the tail.
    pub fn get(&self, index: i64) -> Option<Element<'_>> {
        let (node, offset) = self.locate(self.absolute(index)?)?;
        let node = &self.nodes[node];
        match (node.container(), node.stored()) {
            (Container::Plain, NodeBytes::Raw(bytes)) => Some(Element::Str(Cow::Borrowed(bytes))),
            (Container::Packed, NodeBytes::Raw(bytes)) => {
                nth(ListpackRef::trusted(bytes), offset).map(Element::borrowed)
            }
            (Container::Plain, NodeBytes::Lzf { .. }) => Some(Element::Str(node.raw())),
            (Container::Packed, NodeBytes::Lzf { .. }) => {
                nth(ListpackRef::trusted(&node.raw()), offset).map(Element::owned)
            }
        }
    }

    /// Gives elements to `visit`, from the one at `start` on, until it breaks or the list ends.
    pub fn walk(
        &self,
        start: usize,
        direction: Direction,
        mut visit: impl FnMut(ListpackEntry<'_>) -> ControlFlow<()>,
    ) {
        let Some((mut index, offset)) = self.locate(start) else {
            return;
        };
        let mut offset = Some(offset);
        while let Some(node) = self.nodes.get(index) {
            let raw = node.raw();
            let flow = match node.container() {
                Container::Plain => visit(ListpackEntry::Str(&raw)),
                Container::Packed => {
                    let view = ListpackRef::trusted(&raw);
                    let from = offset.and_then(|offset| view.seek(offset as isize));
                    match direction {
                        Direction::Forward => from
                            .map_or(view.iter(), |pos| view.iter_from(pos))
                            .try_for_each(&mut visit),
                        Direction::Backward => from
                            .map_or(view.iter(), |pos| view.iter_to(pos))
                            .rev()
                            .try_for_each(&mut visit),
                    }
                }
            };
            if flow.is_break() {
                return;
            }
            offset = None;
            index = match direction {
                Direction::Forward => index + 1,
                // Past either end there is no node.
                Direction::Backward => index.wrapping_sub(1),
            };
        }
    }

    /// Gives up to `count` elements to `visit`, from the one at `start` on.
    pub fn range(
        &self,
        start: usize,
        count: usize,
        direction: Direction,
        mut visit: impl FnMut(ListpackEntry<'_>),
    ) {
        if count == 0 {
            return;
        }
        let mut left = count;
        self.walk(start, direction, |entry| {
            visit(entry);
            left -= 1;
            if left == 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
    }

    /// Indexes of elements equal to `value` (`LPOS`): from the `rank`-th match on (1 is the first;
    /// negative ranks count matches from the tail), at most `count` of them (0: all), looking at no
    /// more than `max_len` elements (0: all).
    pub fn positions(&self, value: &[u8], rank: i64, count: usize, max_len: usize) -> Vec<usize> {
        search(self.len, value, rank, count, max_len, |start, direction, visit| {
            self.walk(start, direction, visit);
        })
    }

    /// Puts `value` in the place of the element at `index` (negative: from the tail). `false` if
    /// there is none.
    pub fn set(&mut self, index: i64, value: &[u8]) -> bool {
        let Some((node, offset)) = self.absolute(index).and_then(|index| self.locate(index)) else {
            return false;
        };
        let large = is_large_element(self.fill, value.len());
        if large || !self.node_mut(node).replace(offset, value) {
            let at = self.split(node, offset);
            self.split(at, 1);
            *self.node_mut(at) = self.node_of(value);
            self.merge_around(at);
        }
        self.apply_depth(node);
        true
    }

    /// Inserts `value` before the first element equal to `pivot`. `false` if there is none.
    pub fn insert_before(&mut self, pivot: &[u8], value: &[u8]) -> bool {
        self.insert_near(pivot, value, 0)
    }

    /// Inserts `value` after the first element equal to `pivot`. `false` if there is none.
    pub fn insert_after(&mut self, pivot: &[u8], value: &[u8]) -> bool {
        self.insert_near(pivot, value, 1)
    }

    /// Removes elements equal to `value`: all, or the first `count`, or for a negative `count` the
    /// last ones (`LREM`). Returns how many.
    pub fn remove(&mut self, count: i64, value: &[u8]) -> usize {
        let limit = if count == 0 {
            usize::MAX
        } else {
            usize::try_from(count.unsigned_abs()).unwrap_or(usize::MAX)
        };
        let backward = count < 0;
        let needle = Needle::new(value);
        let mut removed = 0;
        for i in 0..self.nodes.len() {
            if removed == limit {
                break;
            }
            let index = if backward { self.nodes.len() - 1 - i } else { i };
            if self.is_walked() && !self.nodes[index].contains(&needle) {
                continue;
            }
            removed += self.node_mut(index).remove(&needle, limit - removed, backward);
        }
        self.len -= removed;
        if removed > 0 {
            self.remove_empty_nodes();
            self.apply_depth_in(0..self.nodes.len());
        }
        removed
    }

    /// Removes up to `count` elements from the one at `start` on. Returns how many.
    pub fn delete_range(&mut self, start: usize, count: usize) -> usize {
        let count = count.min(self.len.saturating_sub(start));
        let Some((mut first, offset)) = self.locate(start) else {
            return 0;
        };
        let mut left = count;
        if offset > 0 {
            let here = left.min(self.nodes[first].count() - offset);
            self.node_mut(first).delete_range(offset, here);
            left -= here;
            first += 1;
        }
        let mut last = first;
        while left > 0 && self.nodes[last].count() <= left {
            left -= self.nodes[last].count();
            last += 1;
        }
        self.remove_nodes(first..last);
        if left > 0 {
            self.node_mut(first).delete_range(0, left);
        }
        self.len -= count;
        self.apply_depth(first);
        count
    }

    /// Keeps only the elements from `start` to `stop`, both included, either counted from the tail
    /// if negative.
    pub fn trim(&mut self, start: i64, stop: i64) {
        let len = self.len as i64;
        let absolute = |index: i64| {
            if index < 0 { index.saturating_add(len).max(0) } else { index.min(len) }
        };
        // A stop before the head keeps nothing; only the start is moved up to it.
        let keep_end = if stop < -len { 0 } else { (absolute(stop) + 1).min(len) };
        let start = absolute(start).min(keep_end) as usize;
        self.delete_range(keep_end as usize, usize::MAX);
        self.delete_range(0, if start == keep_end as usize { usize::MAX } else { start });
    }

    /// `index` counted from the head.
    fn absolute(&self, index: i64) -> Option<usize> {
        let index = if index < 0 { index.checked_add(self.len as i64)? } else { index };
        usize::try_from(index).ok().filter(|&index| index < self.len)
    }

    /// The node that has element `index`, and the element's place in it.
    fn locate(&self, index: usize) -> Option<(usize, usize)> {
        if index >= self.len {
            return None;
        }
        if index < self.len / 2 {
            let mut offset = index;
            for (i, node) in self.nodes.iter().enumerate() {
                match offset.checked_sub(node.count()) {
                    Some(rest) => offset = rest,
                    None => return Some((i, offset)),
                }
            }
        } else {
            let mut from_back = self.len - index;
            for (i, node) in self.nodes.iter().enumerate().rev() {
                match node.count().checked_sub(from_back) {
                    Some(offset) => return Some((i, offset)),
                    None => from_back -= node.count(),
                }
            }
        }
        None
    }

    /// A new node for `value` alone.
    fn node_of(&self, value: &[u8]) -> Node {
        if is_large_element(self.fill, value.len()) {
            Node::plain(value.to_vec())
        } else {
            Node::packed(value)
        }
    }

    #[cold]
    fn push_front_node(&mut self, value: &[u8]) {
        if let Some(head) = self.nodes.front_mut() {
            head.seal();
        }
        self.insert_node(0, self.node_of(value));
        self.len += 1;
        self.apply_depth(0);
    }

    #[cold]
    fn push_node(&mut self, node: Node) {
        if let Some(tail) = self.nodes.back_mut() {
            tail.seal();
        }
        self.len += node.count();
        self.nodes.push_back(node);
        self.apply_depth(self.nodes.len());
    }

    fn insert_near(&mut self, pivot: &[u8], value: &[u8], after: usize) -> bool {
        let Some(&index) = self.positions(pivot, 1, 1, 0).first() else {
            return false;
        };
        if let Some((node, offset)) = self.locate(index) {
            self.insert_at(node, offset + after, value);
        }
        true
    }

    /// Inserts `value` before the element at `offset` of a node, which may be the place after its
    /// last.
    fn insert_at(&mut self, node: usize, offset: usize, value: &[u8]) {
        let allows =
            |node: Option<&Node>| node.is_some_and(|node| allows_insert(node, self.fill, value));
        let at_tail = offset == self.nodes[node].count();
        self.len += 1;
        if allows(self.nodes.get(node)) {
            self.node_mut(node).insert(offset, value);
        } else if at_tail && allows(self.nodes.get(node + 1)) {
            self.node_mut(node + 1).push_front(value);
        } else if offset == 0 && node > 0 && allows(self.nodes.get(node - 1)) {
            self.node_mut(node - 1).push_back(value);
        } else {
            let at = self.split(node, offset);
            self.insert_node(at, self.node_of(value));
            self.merge_around(at);
        }
        self.apply_depth(node);
    }

    /// Makes a border between nodes before the element at `offset` of `node`. Returns the index of
    /// the node after it.
    fn split(&mut self, node: usize, offset: usize) -> usize {
        if offset == 0 {
            return node;
        }
        if offset < self.nodes[node].count() {
            let rest = self.node_mut(node).split_off(offset);
            self.insert_node(node + 1, rest);
        }
        node + 1
    }

    /// After a split, joins what may be joined of the nodes around `at`, so that no trail of small
    /// nodes is left.
    fn merge_around(&mut self, at: usize) {
        for left in (at.saturating_sub(2)..=at + 1).rev() {
            let Some((a, b)) = self.nodes.get(left).zip(self.nodes.get(left + 1)) else {
                continue;
            };
            let packed = a.container() == Container::Packed && b.container() == Container::Packed;
            let bytes = (a.bytes() + b.bytes()).saturating_sub(LISTPACK_OVERHEAD);
            if packed && !exceeds_limit(self.fill, bytes, a.count() + b.count()) {
                let right = b.raw().into_owned();
                self.node_mut(left).merge(ListpackRef::trusted(&right));
                self.remove_nodes(left + 1..left + 2);
            }
        }
    }

    /// A node that is about to change.
    #[inline]
    fn node_mut(&mut self, index: usize) -> &mut Node {
        let node = &mut self.nodes[index];
        if let Some(walk) = self.walk.get_mut() {
            walk.before_change(index, node);
        }
        node
    }

    fn insert_node(&mut self, index: usize, node: Node) {
        self.nodes.insert(index, node);
        if let Some(walk) = self.walk.get_mut() {
            walk.has_come(index);
        }
    }

    fn remove_nodes(&mut self, indexes: Range<usize>) {
        let first = indexes.start;
        let gone = self.nodes.drain(indexes);
        if let Some(walk) = self.walk.get_mut() {
            walk.leave(first, gone);
        }
    }

    /// Removes nodes in which nothing is left, since they have changed.
    fn remove_empty_nodes(&mut self) {
        if let Some(walk) = self.walk.get_mut() {
            let nodes = self.nodes.iter().enumerate();
            let empty = nodes.filter(|(_, node)| node.count() == 0).map(|(index, _)| index);
            walk.have_left(&empty.collect::<Vec<_>>());
        }
        self.nodes.retain(|node| node.count() > 0);
    }

    /// Restores the rule of compression after nodes changed, came or went near `changed`.
    fn apply_depth(&mut self, changed: usize) {
        // Farther from the change than a split and its merges reach, nodes are as they were.
        const REACH: usize = 3;
        self.apply_depth_in(changed.saturating_sub(REACH)..changed.saturating_add(REACH + 1));
    }

    /// Restores the rule of compression after nodes changed, came or went within `changed`.
    fn apply_depth_in(&mut self, changed: Range<usize>) {
        let (nodes, depth) = (self.nodes.len(), usize::from(self.depth));
        if depth == 0 {
            return;
        }
        for i in 0..depth.min(nodes) {
            self.nodes[i].decompress();
            self.nodes[nodes - 1 - i].decompress();
        }
        let interior = depth..nodes.saturating_sub(depth);
        let changed = changed.start.max(interior.start)..changed.end.min(interior.end);
        // The outermost of the interior may have been at an end before.
        for i in changed.chain([interior.start, interior.end.wrapping_sub(1)]) {
            if interior.contains(&i) {
                self.nodes[i].compress();
            }
        }
    }
}

/// What [`Quicklist::positions`] does, for any list of `len` elements that `walk` visits.
pub fn search(
    len: usize,
    value: &[u8],
    rank: i64,
    count: usize,
    max_len: usize,
    walk: impl FnOnce(usize, Direction, &mut dyn FnMut(ListpackEntry<'_>) -> ControlFlow<()>),
) -> Vec<usize> {
    let unlimited = |limit: usize| if limit == 0 { usize::MAX } else { limit };
    let (count, max_len) = (unlimited(count), unlimited(max_len));
    let (direction, start) = match rank {
        ..0 => (Direction::Backward, len.saturating_sub(1)),
        0.. => (Direction::Forward, 0),
    };
    let mut to_pass = rank.unsigned_abs().saturating_sub(1);
    let needle = Needle::new(value);
    let mut seen = 0;
    let mut found = Vec::new();
    walk(start, direction, &mut |entry| {
        if seen == max_len {
            return ControlFlow::Break(());
        }
        if needle.matches(entry) {
            if to_pass > 0 {
                to_pass -= 1;
            } else {
                found.push(if direction == Direction::Forward { seen } else { start - seen });
                if found.len() == count {
                    return ControlFlow::Break(());
                }
            }
        }
        seen += 1;
        ControlFlow::Continue(())
    });
    found
}

/// May `value` be added to `node`?
#[inline]
fn allows_insert(node: &Node, fill: i16, value: &[u8]) -> bool {
    node.container() == Container::Packed
        && !is_large_element(fill, value.len())
        && !exceeds_limit(fill, node.bytes() + value.len() + ENTRY_OVERHEAD, node.count() + 1)
}

fn nth(view: ListpackRef<'_>, index: usize) -> Option<ListpackEntry<'_>> {
    view.get(view.seek(index as isize)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn contents(list: &Quicklist) -> Vec<Vec<u8>> {
        let mut out = Vec::new();
        list.range(0, usize::MAX, Direction::Forward, |entry| out.push(entry.to_vec()));
        out
    }

    fn filled(
        fill: i16,
        depth: u16,
        values: impl IntoIterator<Item = impl AsRef<[u8]>>,
    ) -> Quicklist {
        let mut list = Quicklist::new(fill, depth);
        values.into_iter().for_each(|value| list.push_back(value.as_ref()));
        list
    }

    /// What must hold after any change.
    fn check(list: &Quicklist) {
        let (nodes, depth) = (list.nodes.len(), usize::from(list.depth));
        let mut len = 0;
        for (i, node) in list.nodes.iter().enumerate() {
            assert!(node.count() > 0);
            let raw = node.raw();
            if node.container() == Container::Packed {
                let view = ListpackRef::from_bytes(&raw, true).expect("a valid listpack");
                assert_eq!(view.len(), node.count());
            }
            let compressed = matches!(node.stored(), NodeBytes::Lzf { .. });
            if i < depth || nodes - 1 - i < depth || depth == 0 {
                assert!(!compressed, "node {i} of {nodes} is compressed");
            } else {
                let mut copy = node.clone();
                copy.compress();
                assert_eq!(
                    compressed,
                    matches!(copy.stored(), NodeBytes::Lzf { .. }),
                    "node {i} of {nodes}"
                );
            }
            len += node.count();
        }
        assert_eq!(len, list.len);
    }

    #[test]
    fn limits_of_nodes() {
        for (fill, bytes) in
            [(-1, 4096), (-2, 8192), (-3, 16_384), (-4, 32_768), (-5, 65_536), (-9, 65_536)]
        {
            assert!(!exceeds_limit(fill, bytes, 10_000) && exceeds_limit(fill, bytes + 1, 1));
            assert!(!is_large_element(fill, bytes) && is_large_element(fill, bytes + 1));
        }
        assert!(!exceeds_limit(3, 8192, 3) && exceeds_limit(3, 8193, 1) && exceeds_limit(3, 10, 4));
        assert!(!exceeds_limit(0, 10, 1) && exceeds_limit(0, 10, 2));
        assert!(!is_large_element(3, 8192) && is_large_element(3, 8193));
        assert!(!set_packed_threshold((1 << 32) - (1 << 20) + 1));
        assert!(set_packed_threshold(5));
        assert!(is_large_element(-2, 5) && !is_large_element(-2, 4));
        let list = filled(-2, 0, ["1234", "12345", "a", "b"]);
        assert_eq!(list.nodes().map(|(c, _)| c as u8).collect::<Vec<_>>(), [2, 1, 2]);
        assert_eq!(list.get(1).unwrap().into_vec(), b"12345");
        assert_eq!(list.positions(b"12345", 1, 0, 0), [1]);
        assert!(set_packed_threshold(0));
    }

    #[test]
    fn node_counts_follow_the_fill() {
        assert_eq!(filled(3, 0, (0..10).map(|i| i.to_string())).node_count(), 4);
        assert_eq!(filled(0, 0, ["a", "b"]).node_count(), 2);
        // 12 bytes each, until one more of up to 18 would not fit: 681 of them.
        let list = filled(-2, 0, (0..2000).map(|i| format!("item:{i:05}")));
        assert_eq!(list.nodes.iter().map(Node::count).collect::<Vec<_>>(), [681, 681, 638]);
    }

    /// The nodes that Valkey 9.1.2 has in the payload of DUMP for these lists.
    #[test]
    fn nodes_are_those_of_valkey() {
        let list = filled(3, 0, ["a", "b", "c", "1", "BBB", "x", "y"]);
        let packed: Vec<_> = list.nodes().collect();
        let expected: [&[u8]; 3] = [
            b"\x10\0\0\0\x03\0\x81a\x02\x81b\x02\x81c\x02\xff",
            b"\x11\0\0\0\x03\0\x01\x01\x83BBB\x04\x81x\x02\xff",
            b"\x0a\0\0\0\x01\0\x81y\x02\xff",
        ];
        assert_eq!(packed, expected.map(|bytes| (Container::Packed, NodeBytes::Raw(bytes))));

        let large = [b'B'; 9000];
        let list = filled(3, 0, [b"a".as_slice(), &large, b"c"]);
        let expected = [
            (Container::Packed, NodeBytes::Raw(b"\x0a\0\0\0\x01\0\x81a\x02\xff".as_slice())),
            (Container::Plain, NodeBytes::Raw(&large)),
            (Container::Packed, NodeBytes::Raw(b"\x0a\0\0\0\x01\0\x81c\x02\xff".as_slice())),
        ];
        assert_eq!(list.nodes().collect::<Vec<_>>(), expected);
    }

    #[test]
    fn memory_is_little_more_than_the_elements() {
        for front in [false, true] {
            let mut list = Quicklist::new(-2, 0);
            for i in 0..100_000 {
                let value = format!("item:{i:05}");
                if front {
                    list.push_front(value.as_bytes())
                } else {
                    list.push_back(value.as_bytes())
                }
            }
            let per_element = list.heap_bytes() as f64 / 100_000.0;
            assert!(per_element < 12.3, "{per_element} bytes");
            check(&list);
        }
    }

    #[test]
    fn a_queue_does_not_grow() {
        for length in [1, 3, 100, 600] {
            let mut list = filled(-2, 0, (0..length).map(|i| format!("item:{i}")));
            for i in length..length + 5000 {
                list.push_back(format!("item:{i}").as_bytes());
                assert_eq!(
                    list.pop_front().unwrap().into_vec(),
                    format!("item:{}", i - length).into_bytes()
                );
                assert!(
                    list.heap_bytes() <= 1000 + length * 40,
                    "{} at {length}",
                    list.heap_bytes()
                );
            }
            check(&list);
            for i in 0..5000 {
                list.push_front(format!("back:{i}").as_bytes());
                list.remove_back();
                assert!(
                    list.heap_bytes() <= 1000 + length * 40,
                    "{} at {length}",
                    list.heap_bytes()
                );
            }
            assert_eq!(list.len(), length);
            check(&list);
        }
    }

    #[test]
    fn rdb_nodes_survive_a_round_trip() {
        let large = vec![b'L'; 9000];
        let values: Vec<Vec<u8>> =
            (0..1500).map(|i: i32| i.to_string().into()).chain([large]).collect();
        for depth in [0, 1] {
            let list = filled(-1, depth, &values);
            let mut copy = Quicklist::new(-1, depth);
            for (container, bytes) in list.nodes() {
                let raw = match bytes {
                    NodeBytes::Raw(raw) => raw.to_vec(),
                    NodeBytes::Lzf { compressed, raw_len } => lzf(compressed, raw_len),
                };
                match container {
                    Container::Plain => copy.push_plain_node(raw),
                    Container::Packed => {
                        copy.push_packed_node(Listpack::from_bytes(raw, true).unwrap())
                    }
                }
            }
            copy.push_packed_node(Listpack::new());
            check(&copy);
            assert_eq!(contents(&copy), values);
            assert_eq!(copy.node_count(), list.node_count());
            assert!(copy.as_single_listpack().is_none());
        }
        assert_eq!(filled(-2, 0, ["a"]).as_single_listpack().unwrap().len(), 1);
    }

    fn lzf(compressed: &[u8], raw_len: usize) -> Vec<u8> {
        crate::util::lzf::decompress(compressed, raw_len).unwrap()
    }

    #[test]
    fn trim_as_ltrim() {
        let all: Vec<_> = (0..10).map(|i| i.to_string()).collect();
        for start in -12..13i64 {
            for stop in -12..13i64 {
                let mut list = filled(3, 1, &all);
                list.trim(start, stop);
                let from = if start < 0 { (start + 10).max(0) } else { start };
                let to = if stop < 0 { stop + 10 } else { stop.min(9) };
                let kept =
                    all.iter().enumerate().filter(|&(i, _)| (from..=to).contains(&(i as i64)));
                let expected: Vec<_> = kept.map(|(_, v)| v.clone().into_bytes()).collect();
                assert_eq!(contents(&list), expected, "{start} {stop}");
                check(&list);
            }
        }
        let mut list = filled(3, 1, &all);
        list.trim(i64::MIN, i64::MAX);
        assert_eq!(list.len(), 10);
        list.trim(i64::MAX, i64::MIN);
        assert!(list.is_empty());
    }

    #[test]
    fn positions_as_lpos() {
        let list = filled(2, 0, ["a", "b", "c", "1", "2", "3", "c", "c"]);
        assert_eq!(list.positions(b"c", 1, 1, 0), [2]);
        assert_eq!(list.positions(b"c", 2, 1, 0), [6]);
        assert!(list.positions(b"c", 4, 1, 0).is_empty());
        assert_eq!(list.positions(b"c", -1, 1, 0), [7]);
        assert_eq!(list.positions(b"c", -1, 2, 0), [7, 6]);
        assert_eq!(list.positions(b"c", -2, 0, 0), [6, 2]);
        assert_eq!(list.positions(b"c", 1, 0, 0), [2, 6, 7]);
        assert_eq!(list.positions(b"c", 1, 0, 7), [2, 6]);
        assert_eq!(list.positions(b"c", -1, 0, 2), [7, 6]);
        assert!(list.positions(b"3", i64::MIN, 0, 0).is_empty());
        assert!(Quicklist::new(-2, 0).positions(b"3", -1, 0, 0).is_empty());
    }

    fn value() -> impl Strategy<Value = Vec<u8>> {
        prop_oneof![
            5 => (0u8..6).prop_map(|i| vec![b'a' + i]),
            3 => (-300i64..300).prop_map(|v| v.to_string().into_bytes()),
            2 => (0usize..300, any::<u8>()).prop_map(|(len, byte)| vec![byte; len]),
            1 => (3000usize..9000, any::<u8>()).prop_map(|(len, byte)| vec![byte; len]),
        ]
    }

    #[derive(Debug, Clone)]
    enum Op {
        PushFront(Vec<u8>),
        PushBack(Vec<u8>),
        PopFront,
        PopBack,
        Set(usize, Vec<u8>),
        Before(Vec<u8>, Vec<u8>),
        After(Vec<u8>, Vec<u8>),
        Remove(i64, Vec<u8>),
        DeleteRange(usize, usize),
    }

    fn op() -> impl Strategy<Value = Op> {
        prop_oneof![
            8 => value().prop_map(Op::PushFront),
            8 => value().prop_map(Op::PushBack),
            2 => Just(Op::PopFront),
            2 => Just(Op::PopBack),
            4 => (any::<usize>(), value()).prop_map(|(i, v)| Op::Set(i, v)),
            3 => (value(), value()).prop_map(|(p, v)| Op::Before(p, v)),
            3 => (value(), value()).prop_map(|(p, v)| Op::After(p, v)),
            1 => (-3i64..4, value()).prop_map(|(n, v)| Op::Remove(n, v)),
            1 => (any::<usize>(), 0usize..12).prop_map(|(i, n)| Op::DeleteRange(i, n)),
        ]
    }

    fn model_remove(model: &mut Vec<Vec<u8>>, count: i64, value: &[u8]) -> usize {
        let mut hits: Vec<_> = (0..model.len()).filter(|&i| model[i] == value).collect();
        if count < 0 {
            hits.reverse();
        }
        if count != 0 {
            hits.truncate(count.unsigned_abs() as usize);
        }
        let mut i = 0..;
        model.retain(|_| !hits.contains(&i.next().unwrap()));
        hits.len()
    }

    proptest! {
        #[test]
        fn behaves_as_a_vec(
            ops in prop::collection::vec(op(), 0..120),
            fill in prop::sample::select(&[-2i16, -1, 1, 2, 5, 30]),
            depth in 0u16..3,
        ) {
            let mut list = Quicklist::new(fill, depth);
            let mut model: Vec<Vec<u8>> = Vec::new();
            for op in ops {
                let len = model.len();
                let at = |i: usize| i % len.max(1);
                match op {
                    Op::PushFront(v) => { list.push_front(&v); model.insert(0, v) }
                    Op::PushBack(v) => { list.push_back(&v); model.push(v) }
                    Op::PopFront => {
                        let expected = (len > 0).then(|| model.remove(0));
                        prop_assert_eq!(list.pop_front().map(Element::into_vec), expected);
                    }
                    Op::PopBack => {
                        prop_assert_eq!(list.pop_back().map(Element::into_vec), model.pop());
                    }
                    Op::Set(i, v) => {
                        prop_assert_eq!(list.set(at(i) as i64, &v), len > 0);
                        if len > 0 { model[at(i)] = v }
                    }
                    Op::Before(p, v) => {
                        let found = model.iter().position(|m| *m == p);
                        prop_assert_eq!(list.insert_before(&p, &v), found.is_some());
                        if let Some(i) = found { model.insert(i, v) }
                    }
                    Op::After(p, v) => {
                        let found = model.iter().position(|m| *m == p);
                        prop_assert_eq!(list.insert_after(&p, &v), found.is_some());
                        if let Some(i) = found { model.insert(i + 1, v) }
                    }
                    Op::Remove(n, v) => {
                        prop_assert_eq!(list.remove(n, &v), model_remove(&mut model, n, &v));
                    }
                    Op::DeleteRange(i, n) => {
                        let removed = list.delete_range(at(i), n);
                        prop_assert_eq!(removed, model.drain(at(i)..(at(i) + n).min(len)).count());
                    }
                }
                check(&list);
                prop_assert_eq!(&contents(&list), &model);
                prop_assert_eq!(list.front().map(|e| e.to_vec()), model.first().cloned());
                prop_assert_eq!(list.back().map(|e| e.to_vec()), model.last().cloned());
            }
            let len = model.len();
            for i in 0..len {
                prop_assert_eq!(list.get(i as i64).unwrap().into_vec(), model[i].clone());
                let same = list.get(i as i64 - len as i64);
                prop_assert_eq!(same.unwrap().into_vec(), model[i].clone());
                let (mut forward, mut backward) = (Vec::new(), Vec::new());
                list.range(i, 5, Direction::Forward, |e| forward.push(e.to_vec()));
                list.range(i, 5, Direction::Backward, |e| backward.push(e.to_vec()));
                prop_assert_eq!(&forward[..], &model[i..(i + 5).min(len)]);
                backward.reverse();
                prop_assert_eq!(&backward[..], &model[(i + 1).saturating_sub(5)..=i]);
            }
            prop_assert!(list.get(len as i64).is_none() && list.get(-1 - len as i64).is_none());
        }
    }
}
