//! The sorted set that is not small: a table from member to element, and a tree that keeps the elements in order.
//!
//! Each element is one allocation that holds its score and member. The table owns it and finds it by its member; the
//! tree has its address and its score once more. Both together take about 35 bytes for an element, beside itself.
//!
//! * `element`: the allocation, and the pointers to it
//! * `tree`: the order
//!
//! What `OBJECT ENCODING` calls a skiplist is this.
#![allow(unsafe_code)]

mod element;
mod tree;

use super::hash;
use super::table::Table;
use super::walked::Heir;
use crate::util::alloc::relocate::Relocator;
use element::{Element, ElementRef};
use std::ops::Range;
use tree::{Slot, Tree};

/// Members, each once, in order of their scores, and of their bytes where scores are equal. No score is NaN.
pub struct SortedSet {
    table: Table<Element>,
    tree: Tree,
    /// Bytes of all elements.
    element_bytes: usize,
}

impl Default for SortedSet {
    fn default() -> Self {
        Builder::default().build()
    }
}

impl SortedSet {
    pub fn len(&self) -> usize {
        self.tree.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Starts to load members that are to be looked for.
    #[inline]
    pub fn prefetch<'m>(&self, members: impl Iterator<Item = &'m [u8]>) {
        self.table.prefetch_keys(members);
    }

    /// The score of a member.
    #[inline]
    pub fn score(&self, member: &[u8]) -> Option<f64> {
        self.table.get(self.table.hash(member), member).map(ElementRef::score)
    }

    /// How many elements come before a member, and its score.
    #[inline]
    pub fn rank(&self, member: &[u8]) -> Option<(usize, f64)> {
        let score = self.score(member)?;
        Some((self.tree.partition_point(|slot| slot.is_before(score, member)), score))
    }

    /// Gives a member the score that `decide` makes of its old one (none: it is not there), and inserts it if need
    /// be; nothing happens where `decide` returns `None`. Returns whether the member was there before.
    #[inline]
    pub fn update(
        &mut self,
        member: &[u8],
        decide: impl FnOnce(Option<f64>) -> Option<f64>,
    ) -> bool {
        let hash = self.table.hash(member);
        let Some(mut found) = self.table.get_mut(hash, member) else {
            if let Some(score) = decide(None) {
                self.insert_unique(hash, member, score);
            }
            return false;
        };
        let old = found.view().score();
        if let Some(new) = decide(Some(old)) {
            found.set_score(new);
            // SAFETY: as in `insert_unique`.
            let slot = Slot { score: new, element: unsafe { found.view().handle() } };
            self.tree.remove(old, member);
            self.tree.insert(slot);
        }
        true
    }

    fn insert_unique(&mut self, hash: u64, member: &[u8], score: f64) {
        self.table.insert_unique(hash, Element::new(member, score), false);
        let Some(element) = self.table.get(hash, member) else { return };
        self.element_bytes += element.bytes();
        // SAFETY: an element leaves the table only after its slot has left the tree; and where both are dropped, the
        // tree does not look at it any more.
        let element = unsafe { element.handle() };
        self.tree.insert(Slot { score, element });
    }

    /// Removes a member, and returns the score that it had.
    #[inline]
    pub fn remove(&mut self, member: &[u8]) -> Option<f64> {
        let found = self.table.find(self.table.hash(member), member)?;
        let score = found.get().score();
        self.tree.remove(score, member);
        self.element_bytes -= found.get().bytes();
        drop(found.remove());
        Some(score)
    }

    /// Removes the elements of these ranks.
    pub fn remove_range(&mut self, ranks: Range<usize>) {
        let SortedSet { table, tree, element_bytes } = self;
        tree.remove_range(ranks, |slot| {
            let member = slot.element.member();
            if let Some(found) = table.find(table.hash(member), member) {
                *element_bytes -= found.get().bytes();
                drop(found.remove());
            }
        });
    }

    /// How many elements come first whose scores are `before`; that must hold for none behind one for which it does
    /// not.
    #[inline]
    pub fn partition_by_score(&self, mut before: impl FnMut(f64) -> bool) -> usize {
        self.tree.partition_point(|slot| before(slot.score))
    }

    /// As [`partition_by_score`](Self::partition_by_score) for members, which are in order where all scores are equal.
    #[inline]
    pub fn partition_by_member(&self, mut before: impl FnMut(&[u8]) -> bool) -> usize {
        self.tree.partition_point(|slot| before(slot.element.member()))
    }

    /// Members and scores of these ranks in order.
    #[inline]
    pub fn range(&self, ranks: Range<usize>) -> Iter<'_> {
        Iter(self.tree.range(ranks))
    }

    /// A member by chance, and its score.
    pub fn random(&self, rng: &mut impl FnMut() -> u64) -> Option<(&[u8], f64)> {
        self.table.random(rng).map(|element| (element.member(), element.score()))
    }

    /// A step of a scan, see [`Table::scan`].
    pub fn scan(&self, cursor: u64, mut visit: impl FnMut(&[u8], f64)) -> u64 {
        self.table.scan(cursor, |element, _| visit(element.member(), element.score()))
    }

    /// See [`Table::begin_walk`]: members and scores come in no order.
    pub fn begin_walk(&mut self, mut visit: impl FnMut(&[u8], f64) + Send + 'static, heir: Heir) {
        let visit = move |element: ElementRef<'_>| visit(element.member(), element.score());
        self.table.begin_walk(Box::new(visit), heir);
    }

    /// See [`Table::is_walked`].
    pub fn is_walked(&self) -> bool {
        self.table.is_walked()
    }

    /// See [`Table::walk_on`].
    pub fn walk_on(&mut self, buckets: usize) -> bool {
        self.table.walk_on(buckets)
    }

    /// See [`Table::end_walk`].
    pub fn end_walk(&mut self) {
        self.table.end_walk();
    }

    /// Bytes of memory held.
    pub fn heap_bytes(&self) -> usize {
        self.table.memory() + self.tree.memory() + self.element_bytes
    }
}

/// Set in the position of a relocation that has come to the tree.
const IN_TREE: u64 = 1 << 63;

impl SortedSet {
    /// Shows its allocations to the relocator: from this position on, 0 first, until so many `elements` are done.
    /// Returns the position to go on from, or 0 when all are done.
    pub fn relocate(&mut self, from: u64, elements: usize, relocator: &mut Relocator) -> u64 {
        let mut done = 0;
        let mut at = from;
        while done < elements {
            at = if at & IN_TREE == 0 {
                match self.relocate_elements(at, &mut done, relocator) {
                    0 => IN_TREE,
                    next => next,
                }
            } else {
                let rank = (at & !IN_TREE) as usize;
                match self.tree.relocate(rank, &mut done, relocator) {
                    0 => return 0,
                    next => next as u64 | IN_TREE,
                }
            };
        }
        at
    }

    /// The elements of a bucket, and then the next position.
    fn relocate_elements(&mut self, at: u64, done: &mut usize, relocator: &mut Relocator) -> u64 {
        let SortedSet { table, tree, .. } = self;
        // An empty bucket is some work, too.
        *done += 1;
        table.relocate(at, relocator, |element, relocator| {
            *done += 1;
            let Some(moved) = element.relocated(relocator) else { return element };
            // SAFETY: the old handle goes from the tree before its element is dropped, here; the new one is used as
            // in `insert_unique`.
            unsafe { tree.repoint(element.view().handle(), moved.view()) };
            moved
        })
    }
}

/// Members and scores in order, from either end.
#[derive(Clone)]
pub struct Iter<'a>(tree::Iter<'a>);

impl<'a> Iterator for Iter<'a> {
    type Item = (&'a [u8], f64);

    #[inline]
    fn next(&mut self) -> Option<(&'a [u8], f64)> {
        self.0.next().map(|slot| (slot.element.member(), slot.score))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.0.size_hint()
    }
}

impl<'a> DoubleEndedIterator for Iter<'a> {
    #[inline]
    fn next_back(&mut self) -> Option<(&'a [u8], f64)> {
        self.0.next_back().map(|slot| (slot.element.member(), slot.score))
    }
}

impl ExactSizeIterator for Iter<'_> {}

impl Clone for SortedSet {
    fn clone(&self) -> Self {
        let mut copy = Builder::with_capacity(self.len());
        for (member, score) in self.range(0..self.len()) {
            copy.merge(member, |_| score);
        }
        copy.build()
    }
}

/// A sorted set in the making: members and scores that are put into order once, at the end.
pub struct Builder {
    table: Table<Element>,
    element_bytes: usize,
}

impl Default for Builder {
    fn default() -> Self {
        Builder { table: Table::new(hash::seed()), element_bytes: 0 }
    }
}

impl Builder {
    /// A builder with room for so many members. The caller bounds a number that comes from outside.
    pub fn with_capacity(capacity: usize) -> Builder {
        let mut builder = Builder::default();
        builder.table.reserve(capacity);
        builder
    }

    pub fn len(&self) -> usize {
        self.table.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Gives a member the score that `merge` makes of its old one (none: it is new), which is not NaN. Returns whether
    /// it is new.
    #[inline]
    pub fn merge(&mut self, member: &[u8], merge: impl FnOnce(Option<f64>) -> f64) -> bool {
        let hash = self.table.hash(member);
        if let Some(mut found) = self.table.get_mut(hash, member) {
            let score = merge(Some(found.view().score()));
            found.set_score(score);
            return false;
        }
        let element = Element::new(member, merge(None));
        self.table.insert_unique(hash, element, false);
        true
    }

    /// Takes a member out again.
    pub fn remove(&mut self, member: &[u8]) -> bool {
        self.table.remove(self.table.hash(member), member).is_some()
    }

    /// All members in no order.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], f64)> {
        self.table.iter().map(|element| (element.member(), element.score()))
    }

    /// Puts the members into order.
    pub fn build(self) -> SortedSet {
        let Builder { table, mut element_bytes } = self;
        let mut slots = Vec::with_capacity(table.len());
        for element in table.iter() {
            element_bytes += element.bytes();
            // SAFETY: as in `SortedSet::insert_unique`; until then they lie side by side in this function.
            slots.push(Slot { score: element.score(), element: unsafe { element.handle() } });
        }
        slots.sort_unstable_by(|a, b| {
            let by_score = a.score.partial_cmp(&b.score);
            let equal = std::cmp::Ordering::Equal;
            by_score.unwrap_or(equal).then_with(|| a.element.member().cmp(b.element.member()))
        });
        SortedSet { table, tree: Tree::from_sorted(&slots), element_bytes }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    type Model = Vec<(f64, Vec<u8>)>;

    fn place(model: &Model, member: &[u8]) -> Option<usize> {
        model.iter().position(|(_, m)| m == member)
    }

    fn insert(model: &mut Model, member: &[u8], score: f64) {
        let at = model.partition_point(|(s, m)| *s < score || (*s == score && &m[..] < member));
        model.insert(at, (score, member.to_vec()));
    }

    fn contents(set: &SortedSet) -> Model {
        set.range(0..set.len()).map(|(member, score)| (score, member.to_vec())).collect()
    }

    #[derive(Clone, Debug)]
    enum Op {
        /// So many members from this one on, their scores from this one on by steps of so much.
        Add(u16, u16, i16, i16),
        Remove(u16, u16),
        RemoveRange(u16, u16),
        /// All allocations move, so many elements at a time.
        Relocate(usize),
    }

    fn op() -> impl Strategy<Value = Op> {
        prop_oneof![
            6 => (0u16..3000, 1u16..400, -50i16..50, -2i16..3)
                .prop_map(|(m, n, s, step)| Op::Add(m, n, s, step)),
            2 => (0u16..3000, 1u16..300).prop_map(|(m, n)| Op::Remove(m, n)),
            1 => (0u16..2000, 0u16..1500).prop_map(|(at, n)| Op::RemoveRange(at, n)),
            1 => (1usize..300).prop_map(Op::Relocate),
        ]
    }

    fn name(m: u16) -> Vec<u8> {
        format!("member:{:04}", m.wrapping_mul(7919) % 3500).into_bytes()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn behaves_as_a_sorted_vec(ops in prop::collection::vec(op(), 1..30)) {
            let mut set = SortedSet::default();
            let mut model = Model::new();
            for op in ops {
                match op {
                    Op::Add(first, n, score, step) => for i in 0..n {
                        let member = name(first + i);
                        let score = f64::from(score) + f64::from(step) * f64::from(i);
                        let at = place(&model, &member);
                        let old = at.map(|at| model.remove(at).0);
                        insert(&mut model, &member, score);
                        let known = set.update(&member, |seen| {
                            assert_eq!(seen, old);
                            Some(score)
                        });
                        prop_assert_eq!(known, old.is_some());
                    },
                    Op::Remove(first, n) => for i in 0..n {
                        let member = name(first + i);
                        let old = place(&model, &member).map(|at| model.remove(at).0);
                        prop_assert_eq!(set.remove(&member), old);
                    },
                    Op::RemoveRange(at, n) => {
                        let at = usize::from(at).min(model.len());
                        let end = (at + usize::from(n)).min(model.len());
                        model.drain(at..end);
                        set.remove_range(at..at + usize::from(n));
                    }
                    Op::Relocate(elements) => {
                        let mut relocator = Relocator::of_everything();
                        let mut at = set.relocate(0, elements, &mut relocator);
                        while at != 0 {
                            at = set.relocate(at, elements, &mut relocator);
                        }
                        prop_assert!(relocator.moved() >= model.len() as u64);
                    }
                }
                set.tree.check();
                prop_assert_eq!(set.len(), model.len());
            }
            prop_assert_eq!(&contents(&set), &model);
            for (rank, (score, member)) in model.iter().enumerate() {
                prop_assert_eq!(set.rank(member), Some((rank, *score)));
            }
            let copy = set.clone();
            copy.tree.check();
            prop_assert_eq!(&contents(&copy), &model);
            let backward: Vec<_> = set.range(0..set.len()).rev().map(|(m, _)| m.to_vec()).collect();
            prop_assert!(backward.iter().eq(model.iter().rev().map(|(_, m)| m)));
            let (a, b) = (model.len() / 3, model.len() * 2 / 3);
            let mut both = set.range(a..b);
            let mut ends = Vec::new();
            while let Some(front) = both.next() {
                ends.push(front.0.to_vec());
                ends.extend(both.next_back().map(|back| back.0.to_vec()));
            }
            prop_assert_eq!(ends.len(), b - a);
            let bound = model.len() as f64 / 7.0;
            prop_assert_eq!(
                set.partition_by_score(|score| score < bound),
                model.iter().filter(|(score, _)| *score < bound).count()
            );
        }
    }

    #[test]
    fn in_order_leaves_are_full() {
        for down in [false, true] {
            let mut set = SortedSet::default();
            for i in 0..100_000u32 {
                let n = if down { 100_000 - i } else { i };
                set.update(format!("{n:08}").as_bytes(), |_| Some(f64::from(n)));
            }
            set.tree.check();
            assert!(set.tree.memory() < 100_000 * 18, "{}", set.tree.memory());
        }
    }

    #[test]
    fn memory_shrinks_with_the_elements() {
        let mut set = SortedSet::default();
        let mut random = 1u64;
        for i in 0..100_000u32 {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            set.update(format!("{i:08}").as_bytes(), |_| Some((random >> 33) as f64));
        }
        set.tree.check();
        assert!(set.heap_bytes() < 100_000 * 75, "{}", set.heap_bytes());
        for i in 0..100_000u32 {
            if i % 100 != 0 {
                set.remove(format!("{i:08}").as_bytes());
            }
        }
        set.tree.check();
        assert!(set.tree.memory() < 1000 * 80, "{}", set.tree.memory());
        set.remove_range(1..999);
        set.tree.check();
        assert_eq!(set.len(), 2);
        set.remove_range(0..2);
        assert!(set.is_empty() && set.element_bytes == 0);
    }
}
