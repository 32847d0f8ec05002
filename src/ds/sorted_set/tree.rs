//! The order of a sorted set: a B+ tree that counts.
//!
//! Leaves hold the elements in order of score, and of member where scores are equal. An inner node knows of each child
//! how many elements are below it and which is the first, so that the way down to an element adds up its rank, and
//! the other way round. Searching compares scores that lie side by side; members are only looked at where scores are
//! equal.
//!
//! A leaf's memory grows and shrinks in steps of some slots, which are size classes of the allocator: half-full leaves
//! so waste little. Splitting at either end of the tree leaves the old node full, so that elements that come in order
//! fill their leaves.

use super::element::{ElementRef, Handle};
use crate::util::alloc::relocate::Relocator;
use std::ops::Range;

/// Slots of a leaf.
const LEAF: usize = 64;
/// A leaf has room for a multiple of so many slots.
const STEP: usize = 8;
/// Children of an inner node.
const FANOUT: usize = 32;

/// Elements after which the nodes' memory is not counted on.
const COUNTED_ELEMENTS: usize = 4096;

/// A place in the order, and the element that has it.
#[derive(Clone, Copy)]
pub(super) struct Slot {
    pub score: f64,
    pub element: Handle,
}

impl Slot {
    /// Whether it comes before the element of this score and member.
    #[inline]
    pub(super) fn is_before(&self, score: f64, member: &[u8]) -> bool {
        self.score < score || (self.score == score && self.element.member() < member)
    }
}

enum Node {
    Leaf(Vec<Slot>),
    Inner(Vec<Child>),
}

struct Child {
    /// The first slot below the node.
    first: Slot,
    /// Slots below the node, never 0 between two operations.
    count: usize,
    node: Node,
}

/// Whether a node is the first or the last one of its level.
#[derive(Clone, Copy)]
struct Edges {
    first: bool,
    last: bool,
}

pub(super) struct Tree {
    root: Node,
    len: usize,
}

impl Tree {
    /// The tree of slots that are in order already.
    pub(super) fn from_sorted(slots: &[Slot]) -> Tree {
        let mut level: Vec<Node> =
            slots.chunks(LEAF).map(|leaf| Node::Leaf(leaf.to_vec())).collect();
        while level.len() > 1 {
            let mut nodes = level.into_iter().filter_map(Child::new).peekable();
            level = Vec::new();
            while nodes.peek().is_some() {
                level.push(Node::Inner(nodes.by_ref().take(FANOUT).collect()));
            }
        }
        let root = level.pop().unwrap_or(Node::Leaf(Vec::new()));
        Tree { root, len: slots.len() }
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Inserts an element that is not there yet.
    pub(super) fn insert(&mut self, slot: Slot) {
        self.len += 1;
        if let Some(right) = self.root.insert(slot, Edges { first: true, last: true }) {
            let left = std::mem::replace(&mut self.root, Node::Inner(Vec::new()));
            let children = [left, right].into_iter().filter_map(Child::new);
            self.root = Node::Inner(children.collect());
        }
    }

    /// Removes the element of this score and member; `false` if it is not there.
    pub(super) fn remove(&mut self, score: f64, member: &[u8]) -> bool {
        let removed = self.root.remove(score, member);
        if removed {
            self.len -= 1;
            self.lower();
        }
        removed
    }

    /// Puts the handle of an element in the place of `old`, whose score and member it has.
    ///
    /// # Safety
    /// As for [`ElementRef::handle`].
    pub(super) unsafe fn repoint(&mut self, old: Handle, new: ElementRef<'_>) {
        let (score, member) = (new.score(), new.member());
        // SAFETY: as the caller promises.
        let handle = unsafe { new.handle() };
        let mut node = &mut self.root;
        loop {
            match node {
                Node::Leaf(slots) => {
                    let at = slots.partition_point(|slot| slot.is_before(score, member));
                    if let Some(slot) = slots.get_mut(at).filter(|slot| slot.element == old) {
                        slot.element = handle;
                    }
                    return;
                }
                Node::Inner(children) => {
                    let at = child_of(children, score, member);
                    let child = &mut children[at];
                    if child.first.element == old {
                        child.first.element = handle;
                    }
                    node = &mut child.node;
                }
            }
        }
    }

    /// Shows the leaf that has the element of this rank to the relocator, and the inner nodes that begin with it;
    /// counts its elements. Returns the rank of the next leaf, or 0 if there is none.
    pub(super) fn relocate(
        &mut self,
        rank: usize,
        done: &mut usize,
        relocator: &mut Relocator,
    ) -> usize {
        // An empty tree has a leaf without memory.
        if rank >= self.len {
            return 0;
        }
        let mut node = &mut self.root;
        let mut left = rank;
        loop {
            match node {
                Node::Leaf(slots) => {
                    relocator.vec(slots);
                    *done += slots.len();
                    let next = rank - left + slots.len();
                    return if next < self.len { next } else { 0 };
                }
                Node::Inner(children) => {
                    if left == 0 {
                        relocator.vec(children);
                    }
                    let at = find_rank(children, &mut left);
                    node = &mut children[at].node;
                }
            }
        }
    }

    /// Removes the elements of these ranks, and passes each to `removed`.
    pub(super) fn remove_range(&mut self, ranks: Range<usize>, mut removed: impl FnMut(Slot)) {
        let ranks = ranks.start..ranks.end.min(self.len);
        if !ranks.is_empty() {
            self.len -= ranks.len();
            self.root.remove_range(ranks, &mut removed);
            self.lower();
        }
    }

    /// How many elements come first for which `before` holds; it must hold for none behind one for which it does not.
    #[inline]
    pub(super) fn partition_point(&self, mut before: impl FnMut(&Slot) -> bool) -> usize {
        let mut node = &self.root;
        let mut rank = 0;
        loop {
            match node {
                Node::Leaf(slots) => return rank + slots.partition_point(before),
                Node::Inner(children) => {
                    let Some(at) =
                        children.partition_point(|child| before(&child.first)).checked_sub(1)
                    else {
                        return rank;
                    };
                    rank += count(&children[..at]);
                    node = &children[at].node;
                }
            }
        }
    }

    /// The leaf that has the element of this rank, which must be there, and its index in it.
    fn leaf(&self, mut rank: usize) -> (&[Slot], usize) {
        let mut node = &self.root;
        loop {
            match node {
                Node::Leaf(slots) => return (slots, rank),
                Node::Inner(children) => {
                    let at = find_rank(children, &mut rank);
                    node = &children[at].node;
                }
            }
        }
    }

    /// The elements of these ranks in order.
    #[inline]
    pub(super) fn range(&self, ranks: Range<usize>) -> Iter<'_> {
        let ranks = ranks.start..ranks.end.min(self.len);
        Iter { tree: self, ranks, front: [].iter(), back: [].iter() }
    }

    /// Bytes of all nodes; of many, what so many elements have on the average where they were counted.
    pub(super) fn memory(&self) -> usize {
        let mut counted = Counted::default();
        self.root.count_memory(&mut counted);
        let all = counted.bytes as u128 * self.len as u128 / counted.elements.max(1) as u128;
        counted.bytes.max(usize::try_from(all).unwrap_or(usize::MAX))
    }

    /// Takes levels away that have one node only.
    fn lower(&mut self) {
        while let Node::Inner(children) = &mut self.root
            && children.len() < 2
        {
            self.root = children.pop().map_or(Node::Leaf(Vec::new()), |child| child.node);
        }
    }
}

impl Child {
    /// A node as a child; an empty one can't be any.
    fn new(node: Node) -> Option<Child> {
        let count = match &node {
            Node::Leaf(slots) => slots.len(),
            Node::Inner(children) => count(children),
        };
        Some(Child { first: node.first()?, count, node })
    }
}

impl Node {
    fn first(&self) -> Option<Slot> {
        match self {
            Node::Leaf(slots) => slots.first().copied(),
            Node::Inner(children) => children.first().map(|child| child.first),
        }
    }

    /// How much it has of what it can have.
    fn fill(&self) -> (usize, usize) {
        match self {
            Node::Leaf(slots) => (slots.len(), LEAF),
            Node::Inner(children) => (children.len(), FANOUT),
        }
    }

    fn is_too_empty(&self) -> bool {
        let (len, room) = self.fill();
        len < room / 4
    }

    /// Inserts a slot. A node that had no room for it is split: its right part is returned.
    fn insert(&mut self, slot: Slot, edges: Edges) -> Option<Node> {
        match self {
            Node::Leaf(slots) => insert_in_leaf(slots, slot, edges).map(Node::Leaf),
            Node::Inner(children) => insert_in_inner(children, slot, edges).map(Node::Inner),
        }
    }

    fn remove(&mut self, score: f64, member: &[u8]) -> bool {
        match self {
            Node::Leaf(slots) => {
                let at = slots.partition_point(|slot| slot.is_before(score, member));
                let found = slots
                    .get(at)
                    .is_some_and(|slot| slot.score == score && slot.element.member() == member);
                if found {
                    slots.remove(at);
                    trim(slots);
                }
                found
            }
            Node::Inner(children) => {
                let behind = child_of(children, score, member);
                let removed = children[behind].node.remove(score, member);
                if removed {
                    children[behind].count -= 1;
                    mend(children, behind);
                }
                removed
            }
        }
    }

    fn remove_range(&mut self, ranks: Range<usize>, removed: &mut impl FnMut(Slot)) {
        match self {
            Node::Leaf(slots) => {
                slots.drain(ranks).for_each(removed);
                trim(slots);
            }
            Node::Inner(children) => {
                let mut first = ranks.start;
                let from = find_rank(children, &mut first);
                let mut left = ranks.len();
                for child in &mut children[from..] {
                    let n = left.min(child.count - first);
                    child.node.remove_range(first..first + n, removed);
                    child.count -= n;
                    left -= n;
                    first = 0;
                    if left == 0 {
                        break;
                    }
                }
                // Only the first and the last one that lost something may have something left.
                children.retain(|child| child.count > 0);
                for at in [from + 1, from] {
                    if at < children.len() {
                        mend(children, at);
                    }
                }
            }
        }
    }

    /// Moves everything of `right`, the node behind it, to its end.
    fn append(&mut self, right: Node) {
        match (self, right) {
            (Node::Leaf(slots), Node::Leaf(more)) => {
                slots
                    .reserve_exact((slots.len() + more.len()).next_multiple_of(STEP) - slots.len());
                slots.extend(more);
            }
            (Node::Inner(children), Node::Inner(more)) => {
                let seam = children.len();
                children.extend(more);
                // An only child had nobody to merge with.
                for at in [seam, seam - 1] {
                    if at < children.len() {
                        mend(children, at);
                    }
                }
            }
            _ => unreachable!("siblings are of one level"),
        }
    }

    /// Cuts off the part from `at` on.
    fn split_off(&mut self, at: usize) -> Node {
        match self {
            Node::Leaf(slots) => {
                let right = slots.split_off(at);
                trim(slots);
                Node::Leaf(right)
            }
            Node::Inner(children) => Node::Inner(children.split_off(at)),
        }
    }

    fn count_memory(&self, counted: &mut Counted) {
        match self {
            Node::Leaf(slots) => {
                counted.bytes += slots.capacity() * size_of::<Slot>();
                counted.elements += slots.len();
            }
            Node::Inner(children) => {
                counted.bytes += children.capacity() * size_of::<Child>();
                for child in children {
                    if counted.elements >= COUNTED_ELEMENTS {
                        return;
                    }
                    child.node.count_memory(counted);
                }
            }
        }
    }
}

/// Bytes of nodes, and how many elements are in them.
#[derive(Debug, Default)]
struct Counted {
    bytes: usize,
    elements: usize,
}

/// The child that has the element of this score and member, if any has.
fn child_of(children: &[Child], score: f64, member: &[u8]) -> usize {
    children[1..].partition_point(|child| {
        child.first.is_before(score, member)
            || (child.first.score == score && child.first.element.member() == member)
    })
}

fn insert_in_leaf(slots: &mut Vec<Slot>, slot: Slot, edges: Edges) -> Option<Vec<Slot>> {
    let member = slot.element.member();
    let at = slots.partition_point(|other| other.is_before(slot.score, member));
    if slots.len() < LEAF {
        insert_slot(slots, at, slot);
        return None;
    }
    let cut = cut(at, LEAF, edges);
    let mut right = slots.split_off(cut);
    trim(slots);
    // At the cut, the slot goes where there is less.
    if at < cut || (at == cut && cut < LEAF) {
        insert_slot(slots, at, slot);
    } else {
        insert_slot(&mut right, at - cut, slot);
    }
    Some(right)
}

fn insert_slot(slots: &mut Vec<Slot>, at: usize, slot: Slot) {
    if slots.len() == slots.capacity() {
        slots.reserve_exact((slots.len() + 1).next_multiple_of(STEP) - slots.len());
    }
    slots.insert(at, slot);
}

fn insert_in_inner(children: &mut Vec<Child>, slot: Slot, edges: Edges) -> Option<Vec<Child>> {
    let member = slot.element.member();
    let at = children[1..].partition_point(|child| child.first.is_before(slot.score, member));
    let below =
        Edges { first: edges.first && at == 0, last: edges.last && at + 1 == children.len() };
    let child = &mut children[at];
    child.count += 1;
    let right = child.node.insert(slot, below).and_then(Child::new);
    if let Some(first) = child.node.first() {
        child.first = first;
    }
    let right = right?;
    child.count -= right.count;
    if children.len() < FANOUT {
        children.insert(at + 1, right);
        return None;
    }
    let cut = cut(at + 1, FANOUT, edges);
    // A node must not be left without children.
    let mut other = children.split_off(cut.max(1));
    match (at + 1).checked_sub(children.len()) {
        Some(at) if at > 0 || other.is_empty() => other.insert(at, right),
        _ => children.insert(at + 1, right),
    }
    Some(other)
}

/// Where to cut a full node of `room` places that something has to be inserted into at `at`: in the middle, but at the
/// ends of the tree so that the full part is left as it is.
fn cut(at: usize, room: usize, edges: Edges) -> usize {
    match at {
        _ if at == room && edges.last => room,
        0 if edges.first => 0,
        _ => room / 2,
    }
}

/// Sees to it that a child which has lost something is neither empty nor too small, and known by its first slot.
fn mend(children: &mut Vec<Child>, at: usize) {
    match children[at].node.first() {
        Some(first) => children[at].first = first,
        None => {
            children.remove(at);
            return;
        }
    }
    if !children[at].node.is_too_empty() || children.len() < 2 {
        return;
    }
    let left = at.saturating_sub(1);
    let right = children.remove(left + 1);
    let child = &mut children[left];
    child.node.append(right.node);
    child.count += right.count;
    let (len, room) = child.node.fill();
    if len > room - room / 4 {
        if let Some(right) = Child::new(child.node.split_off(len / 2)) {
            child.count -= right.count;
            children.insert(left + 1, right);
        }
    } else if child.node.is_too_empty() {
        mend(children, left);
    }
}

/// Gives a leaf's memory back that it needs no more.
fn trim(slots: &mut Vec<Slot>) {
    // Not at once, or inserting and removing in turns would copy the leaf each time.
    if slots.capacity() >= slots.len() + 2 * STEP {
        slots.shrink_to((slots.len() + 1).next_multiple_of(STEP));
    }
}

#[inline]
fn count(children: &[Child]) -> usize {
    children.iter().map(|child| child.count).sum()
}

/// The child below which the element of `rank` is, which becomes its rank there.
#[inline]
fn find_rank(children: &[Child], rank: &mut usize) -> usize {
    let mut at = 0;
    while *rank >= children[at].count {
        *rank -= children[at].count;
        at += 1;
    }
    at
}

/// The slots of some ranks, from either end. It looks for a leaf at a time, which is cheaper than to remember the way.
#[derive(Clone)]
pub(super) struct Iter<'a> {
    tree: &'a Tree,
    /// What is in neither of the two below.
    ranks: Range<usize>,
    front: std::slice::Iter<'a, Slot>,
    back: std::slice::Iter<'a, Slot>,
}

impl<'a> Iterator for Iter<'a> {
    type Item = &'a Slot;

    #[inline]
    fn next(&mut self) -> Option<&'a Slot> {
        if let Some(slot) = self.front.next() {
            return Some(slot);
        }
        if self.ranks.is_empty() {
            return self.back.next();
        }
        let (leaf, at) = self.tree.leaf(self.ranks.start);
        let end = leaf.len().min(at + self.ranks.len());
        self.ranks.start += end - at;
        self.front = leaf[at..end].iter();
        self.front.next()
    }

    #[inline]
    fn size_hint(&self) -> (usize, Option<usize>) {
        let len = self.front.len() + self.ranks.len() + self.back.len();
        (len, Some(len))
    }
}

impl<'a> DoubleEndedIterator for Iter<'a> {
    #[inline]
    fn next_back(&mut self) -> Option<&'a Slot> {
        if let Some(slot) = self.back.next_back() {
            return Some(slot);
        }
        if self.ranks.is_empty() {
            return self.front.next_back();
        }
        let (leaf, last) = self.tree.leaf(self.ranks.end - 1);
        let start = (last + 1).saturating_sub(self.ranks.len());
        self.ranks.end -= last + 1 - start;
        self.back = leaf[start..=last].iter();
        self.back.next_back()
    }
}

impl ExactSizeIterator for Iter<'_> {}

#[cfg(test)]
impl Tree {
    /// Checks every invariant.
    pub(super) fn check(&self) {
        fn check(node: &Node, depth: usize) -> (usize, usize) {
            match node {
                Node::Leaf(slots) => {
                    assert!(slots.len() <= LEAF);
                    assert!(slots.capacity() < slots.len() + 2 * STEP);
                    let in_order =
                        |pair: &[Slot]| pair[0].is_before(pair[1].score, pair[1].element.member());
                    assert!(slots.windows(2).all(in_order));
                    (slots.len(), depth)
                }
                Node::Inner(children) => {
                    assert!(!children.is_empty() && children.len() <= FANOUT);
                    let mut depths = Vec::new();
                    for child in children {
                        let (count, depth) = check(&child.node, depth + 1);
                        assert!(count == child.count && count > 0);
                        let first = child.node.first().unwrap();
                        assert_eq!(first.element.member(), child.first.element.member());
                        depths.push(depth);
                    }
                    assert!(depths.windows(2).all(|pair| pair[0] == pair[1]));
                    (count(children), depths[0])
                }
            }
        }
        assert_eq!(check(&self.root, 0).0, self.len);
        if let Node::Inner(children) = &self.root {
            assert!(children.len() > 1);
        }
        let all: Vec<_> = self.range(0..self.len).collect();
        assert!(all.windows(2).all(|p| p[0].is_before(p[1].score, p[1].element.member())));
    }
}
