//! The list value: while it is small, one listpack; beyond `list-max-listpack-size`, a quicklist of such.
//!
//! A list grows into a quicklist before it gets too large for one node. It becomes a listpack again only at half that
//! size, so that a queue whose length swings around the limit is not converted all the time.

use crate::ds::listpack::{Listpack, ListpackEntry, ListpackRef, Pos};
use crate::ds::quicklist::{self, Direction, Element, Needle, Quicklist, exceeds_limit};
use crate::util::alloc::relocate::Relocator;
use std::borrow::Cow;
use std::ops::ControlFlow;

/// An end of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Left.
    Head,
    /// Right.
    Tail,
}

/// `list-max-listpack-size` and `list-compress-depth`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListLimits {
    pub fill: i16,
    pub depth: u16,
}

impl ListLimits {
    /// The limits that the configuration states; larger ones than have a meaning are cut.
    pub fn new(fill: i32, depth: u32) -> ListLimits {
        let fill = fill.clamp(i16::MIN.into(), i16::MAX.into()) as i16;
        ListLimits { fill, depth: depth.min(u16::MAX.into()) as u16 }
    }
}

impl Default for ListLimits {
    fn default() -> Self {
        ListLimits { fill: -2, depth: 0 }
    }
}

/// A list.
#[derive(Clone, Debug)]
pub struct List(Form);

#[derive(Clone, Debug)]
enum Form {
    Small(Listpack),
    Big(Box<Quicklist>),
}

use Form::{Big, Small};

impl Default for List {
    fn default() -> Self {
        List(Small(Listpack::new()))
    }
}

impl PartialEq for List {
    fn eq(&self, other: &Self) -> bool {
        self.len() == other.len() && self.to_vecs() == other.to_vecs()
    }
}

impl List {
    pub fn new() -> List {
        List::default()
    }

    /// Number of elements.
    #[inline]
    pub fn len(&self) -> usize {
        match &self.0 {
            Small(listpack) => listpack.len(),
            Big(quicklist) => quicklist.len(),
        }
    }

    pub fn is_empty(&self) -> bool {
        match &self.0 {
            Small(listpack) => listpack.is_empty(),
            Big(quicklist) => quicklist.is_empty(),
        }
    }

    /// How many nodes the elements lie in.
    pub fn node_count(&self) -> usize {
        match &self.0 {
            Small(_) => 1,
            Big(quicklist) => quicklist.node_count(),
        }
    }

    /// Shows its allocations to the relocator; see [`ValueMut::relocate`](super::ValueMut::relocate).
    pub fn relocate(&mut self, from: u64, elements: usize, relocator: &mut Relocator) -> u64 {
        match &mut self.0 {
            Small(listpack) => {
                listpack.relocate(relocator);
                0
            }
            Big(quicklist) => {
                if from == 0 {
                    relocator.boxed(quicklist);
                }
                quicklist.relocate(from as usize, elements, relocator) as u64
            }
        }
    }

    /// The encoding, as `OBJECT ENCODING` names it.
    pub fn encoding(&self) -> &'static str {
        match self.0 {
            Small(_) => "listpack",
            Big(_) => "quicklist",
        }
    }

    /// Memory behind the value itself, in bytes.
    pub fn heap_bytes(&self) -> usize {
        match &self.0 {
            Small(listpack) => listpack.heap_bytes(),
            Big(quicklist) => size_of::<Quicklist>() + quicklist.heap_bytes(),
        }
    }

    /// The listpack that the list is.
    pub fn as_listpack(&self) -> Option<ListpackRef<'_>> {
        match &self.0 {
            Small(listpack) => Some(listpack.view()),
            Big(_) => None,
        }
    }

    /// The quicklist that the list is.
    pub fn as_quicklist(&self) -> Option<&Quicklist> {
        match &self.0 {
            Small(_) => None,
            Big(quicklist) => Some(quicklist),
        }
    }

    /// The same, to be walked through.
    pub fn quicklist_mut(&mut self) -> Option<&mut Quicklist> {
        match &mut self.0 {
            Small(_) => None,
            Big(quicklist) => Some(quicklist),
        }
    }

    /// A list of nodes that come from outside, to be brought into shape by [`List::adopt`].
    pub fn from_quicklist(nodes: Quicklist) -> List {
        List(Big(Box::new(nodes)))
    }

    /// Heeds limits under which the list was not made: after loading.
    pub fn adopt(&mut self, limits: ListLimits) {
        match &mut self.0 {
            Small(_) => self.make_room(0, 0, limits),
            Big(quicklist) => {
                quicklist.set_limits(limits.fill, limits.depth);
                self.shrink_within(limits, 1);
            }
        }
    }

    /// Adds values one after the other at an end.
    #[inline]
    pub fn push(&mut self, end: End, values: &[&[u8]], limits: ListLimits) {
        if let Small(_) = self.0 {
            self.make_room(values.iter().map(|value| value.len()).sum(), values.len(), limits);
        }
        for value in values {
            match (&mut self.0, end) {
                (Small(listpack), End::Head) => _ = listpack.push_front(*value),
                (Small(listpack), End::Tail) => _ = listpack.push_back(*value),
                (Big(quicklist), End::Head) => quicklist.push_front(value),
                (Big(quicklist), End::Tail) => quicklist.push_back(value),
            }
        }
    }

    /// Takes up to `count` elements off an end, the outermost first.
    #[inline]
    pub fn pop(
        &mut self,
        end: End,
        count: usize,
        limits: ListLimits,
        mut visit: impl FnMut(ListpackEntry<'_>),
    ) {
        if count == 1 {
            if let Some(entry) = self.peek(end) {
                visit(entry);
            }
            match (&mut self.0, end) {
                (Small(listpack), End::Head) => listpack.delete_range(0, 1),
                (Small(listpack), End::Tail) => listpack.delete_range(-1, 1),
                (Big(quicklist), End::Head) => quicklist.remove_front(),
                (Big(quicklist), End::Tail) => quicklist.remove_back(),
            }
        } else {
            let len = self.len();
            let count = count.min(len);
            match end {
                End::Head => {
                    self.range(0, count, Direction::Forward, visit);
                    self.delete_range(0, count);
                }
                End::Tail => {
                    self.range(len.saturating_sub(1), count, Direction::Backward, visit);
                    self.delete_range(len - count, count);
                }
            }
        }
        self.shrink(limits);
    }

    /// The element at an end.
    pub fn peek(&self, end: End) -> Option<ListpackEntry<'_>> {
        match (&self.0, end) {
            (Small(listpack), End::Head) => listpack.get(listpack.first()?),
            (Small(listpack), End::Tail) => listpack.get(listpack.last()?),
            (Big(quicklist), End::Head) => quicklist.front(),
            (Big(quicklist), End::Tail) => quicklist.back(),
        }
    }

    /// The element at `index`, counted from 0 at the head or from -1 at the tail.
    pub fn get(&self, index: i64) -> Option<Element<'_>> {
        match &self.0 {
            Small(listpack) => Some(match listpack.get(seek(listpack, index)?)? {
                ListpackEntry::Int(n) => Element::Int(n),
                ListpackEntry::Str(text) => Element::Str(Cow::Borrowed(text)),
            }),
            Big(quicklist) => quicklist.get(index),
        }
    }

    /// Gives elements to `visit`, from the one at `start` on, until it breaks or the list ends.
    pub fn walk(
        &self,
        start: usize,
        direction: Direction,
        mut visit: impl FnMut(ListpackEntry<'_>) -> ControlFlow<()>,
    ) {
        match &self.0 {
            Small(listpack) => {
                let Some(pos) = isize::try_from(start).ok().and_then(|start| listpack.seek(start))
                else {
                    return;
                };
                // Whether `visit` has broken it off makes no difference any more.
                let _ = match direction {
                    Direction::Forward => listpack.view().iter_from(pos).try_for_each(visit),
                    Direction::Backward => listpack.view().iter_to(pos).rev().try_for_each(visit),
                };
            }
            Big(quicklist) => quicklist.walk(start, direction, &mut visit),
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
        match &self.0 {
            Small(listpack) => {
                let Some(pos) = isize::try_from(start).ok().and_then(|start| listpack.seek(start))
                else {
                    return;
                };
                match direction {
                    Direction::Forward => {
                        listpack.view().iter_from(pos).take(count).for_each(visit)
                    }
                    Direction::Backward => {
                        listpack.view().iter_to(pos).rev().take(count).for_each(visit)
                    }
                }
            }
            Big(quicklist) => quicklist.range(start, count, direction, &mut visit),
        }
    }

    /// See [`Quicklist::positions`].
    pub fn positions(&self, value: &[u8], rank: i64, count: usize, max_len: usize) -> Vec<usize> {
        quicklist::search(self.len(), value, rank, count, max_len, |start, direction, visit| {
            self.walk(start, direction, visit);
        })
    }

    /// Puts `value` in the place of the element at `index`, which may be negative. `false` if there is none.
    pub fn set(&mut self, index: i64, value: &[u8], limits: ListLimits) -> bool {
        self.make_room(value.len(), 1, limits);
        let done = match &mut self.0 {
            Small(listpack) => {
                seek(listpack, index).is_some_and(|pos| listpack.replace(pos, value))
            }
            Big(quicklist) => quicklist.set(index, value),
        };
        self.shrink(limits);
        done
    }

    /// Inserts `value` before or after the first element equal to `pivot`. `false` if there is none.
    pub fn insert(&mut self, pivot: &[u8], after: bool, value: &[u8], limits: ListLimits) -> bool {
        self.make_room(value.len(), 1, limits);
        match &mut self.0 {
            Small(listpack) => {
                let Some(pos) = listpack.first().and_then(|first| listpack.find(pivot, first, 0))
                else {
                    return false;
                };
                let place = if after {
                    listpack.insert_after(pos, value)
                } else {
                    listpack.insert_before(pos, value)
                };
                place.is_some()
            }
            Big(quicklist) if after => quicklist.insert_after(pivot, value),
            Big(quicklist) => quicklist.insert_before(pivot, value),
        }
    }

    /// Removes elements equal to `value`: all, or the first `count`, or for a negative `count` the last ones.
    /// Returns how many.
    pub fn remove(&mut self, count: i64, value: &[u8], limits: ListLimits) -> usize {
        let removed = match &mut self.0 {
            Small(listpack) => remove_from(listpack, count, value),
            Big(quicklist) => quicklist.remove(count, value),
        };
        self.shrink(limits);
        removed
    }

    /// Keeps `count` elements from the one at `start` on. Returns how many have gone.
    pub fn trim(&mut self, start: usize, count: usize, limits: ListLimits) -> usize {
        let len = self.len();
        let start = start.min(len);
        let end = start.saturating_add(count).min(len);
        self.delete_range(end, len - end);
        self.delete_range(0, start);
        self.shrink(limits);
        start + len - end
    }

    /// All elements' texts.
    pub fn to_vecs(&self) -> Vec<Vec<u8>> {
        let mut all = Vec::with_capacity(self.len());
        self.range(0, usize::MAX, Direction::Forward, |entry| all.push(entry.to_vec()));
        all
    }

    fn delete_range(&mut self, start: usize, count: usize) {
        match &mut self.0 {
            Small(listpack) => {
                if let Ok(start) = isize::try_from(start)
                    && count > 0
                {
                    listpack.delete_range(start, count);
                }
            }
            Big(quicklist) => _ = quicklist.delete_range(start, count),
        }
    }

    /// Makes the list a quicklist if so many more bytes and elements would be too much for a listpack.
    fn make_room(&mut self, bytes: usize, count: usize, limits: ListLimits) {
        let Small(listpack) = &mut self.0 else { return };
        let bytes = listpack.bytes().saturating_add(bytes);
        if exceeds_limit(limits.fill, bytes, listpack.len() + count) {
            let mut quicklist = Quicklist::new(limits.fill, limits.depth);
            quicklist.push_packed_node(std::mem::take(listpack));
            self.0 = Big(Box::new(quicklist));
        }
    }

    /// Makes the list a listpack again if it has become small.
    fn shrink(&mut self, limits: ListLimits) {
        self.shrink_within(limits, 2);
    }

    /// Makes the list a listpack if it is one node with at most the limits' `divisor`-th part.
    fn shrink_within(&mut self, limits: ListLimits, divisor: usize) {
        let Big(quicklist) = &self.0 else { return };
        if quicklist.is_walked() {
            // There will be other changes, when the walk has come to its end.
            return;
        }
        if quicklist.is_empty() {
            self.0 = Small(Listpack::new());
        } else if let Some(view) = quicklist.as_single_listpack() {
            let (max_bytes, max_count) = quicklist::node_limit(limits.fill);
            if view.as_bytes().len() <= max_bytes / divisor
                && quicklist.len() <= max_count / divisor
            {
                self.0 = Small(Listpack::from_view(view));
            }
        }
    }
}

/// The place of the element at `index`, which may be negative.
fn seek(listpack: &Listpack, index: i64) -> Option<Pos> {
    listpack.seek(isize::try_from(index).ok()?)
}

fn remove_from(listpack: &mut Listpack, count: i64, value: &[u8]) -> usize {
    let needle = Needle::new(value);
    let mut found = Vec::new();
    let mut entries = listpack.iter();
    while let (Some(pos), Some(entry)) = (entries.pos(), entries.next()) {
        if needle.matches(entry) {
            found.push(pos);
        }
    }
    let limit = usize::try_from(count.unsigned_abs()).unwrap_or(usize::MAX);
    if count < 0 {
        found.drain(..found.len().saturating_sub(limit));
    } else if count > 0 {
        found.truncate(limit);
    }
    listpack.delete_many(&found);
    found.len()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn list(values: &[&str], limits: ListLimits) -> List {
        let mut list = List::new();
        for value in values {
            list.push(End::Tail, &[value.as_bytes()], limits);
        }
        list
    }

    #[test]
    fn the_value_is_small() {
        assert!(size_of::<List>() <= 24);
    }

    #[test]
    fn conversions_have_hysteresis() {
        let limits = ListLimits { fill: 4, depth: 0 };
        let mut l = list(&["a", "b", "c", "d"], limits);
        assert_eq!(l.encoding(), "listpack");
        l.push(End::Head, &[b"e"], limits);
        assert_eq!(l.encoding(), "quicklist");
        for (left, encoding) in
            [(4, "quicklist"), (3, "quicklist"), (2, "listpack"), (1, "listpack")]
        {
            l.pop(End::Head, 1, limits, |_| {});
            assert_eq!((l.len(), l.encoding()), (left, encoding));
        }
        l.pop(End::Tail, 5, limits, |_| {});
        assert!(l.is_empty());
    }

    #[test]
    fn values_too_large_for_a_listpack() {
        let limits = ListLimits::default();
        let big = vec![b'x'; 9000];
        let mut l = list(&["a", "b"], limits);
        assert!(l.set(0, &big, limits));
        assert_eq!(l.encoding(), "quicklist");
        assert!(l.set(0, b"small", limits) && !l.set(2, b"x", limits));
        assert_eq!(
            (l.encoding(), l.to_vecs()),
            ("listpack", vec![b"small".to_vec(), b"b".to_vec()])
        );
        assert!(l.insert(b"b", false, &big, limits) && !l.insert(b"c", true, b"x", limits));
        assert_eq!((l.encoding(), l.len()), ("quicklist", 3));
        assert_eq!((l.remove(0, &big, limits), l.len()), (1, 2));
    }

    #[test]
    fn other_limits_are_adopted() {
        let wide = ListLimits { fill: 100, depth: 0 };
        let narrow = ListLimits { fill: 2, depth: 1 };
        let mut l = list(&["a", "b", "c"], wide);
        l.adopt(narrow);
        assert_eq!(l.encoding(), "quicklist");
        l.adopt(wide);
        assert_eq!((l.encoding(), l.len()), ("listpack", 3));
    }

    #[derive(Clone, Debug)]
    enum Op {
        Push(bool, Vec<Vec<u8>>),
        Pop(bool, usize),
        Set(i64, Vec<u8>),
        Insert(Vec<u8>, bool, Vec<u8>),
        Remove(i64, Vec<u8>),
        Trim(usize, usize),
        Adopt(i16, u16),
    }

    fn value() -> impl Strategy<Value = Vec<u8>> {
        prop_oneof![
            6 => (0..5u8).prop_map(|n| n.to_string().into_bytes()),
            2 => (0..3u8).prop_map(|n| vec![b'a' + n; 60]),
            1 => Just(vec![b'x'; 3000]),
            1 => Just(vec![b'y'; 9000]),
        ]
    }

    fn op() -> impl Strategy<Value = Op> {
        prop_oneof![
            5 => (any::<bool>(), prop::collection::vec(value(), 1..5)).prop_map(|(e, v)| Op::Push(e, v)),
            3 => (any::<bool>(), 0..4usize).prop_map(|(e, n)| Op::Pop(e, n)),
            2 => (-12..12i64, value()).prop_map(|(i, v)| Op::Set(i, v)),
            2 => (value(), any::<bool>(), value()).prop_map(|(p, a, v)| Op::Insert(p, a, v)),
            1 => (-3..3i64, value()).prop_map(|(n, v)| Op::Remove(n, v)),
            1 => (0..6usize, 0..30usize).prop_map(|(s, n)| Op::Trim(s, n)),
            1 => (prop_oneof![Just(-2i16), Just(-1), 1..6i16], 0..3u16).prop_map(|(f, d)| Op::Adopt(f, d)),
        ]
    }

    fn end(head: bool) -> End {
        if head { End::Head } else { End::Tail }
    }

    fn apply(model: &mut Vec<Vec<u8>>, list: &mut List, limits: &mut ListLimits, op: Op) {
        match op {
            Op::Push(head, values) => {
                for value in &values {
                    model.insert(if head { 0 } else { model.len() }, value.clone());
                }
                let values: Vec<&[u8]> = values.iter().map(Vec::as_slice).collect();
                list.push(end(head), &values, *limits);
            }
            Op::Pop(head, n) => {
                let mut popped = Vec::new();
                list.pop(end(head), n, *limits, |entry| popped.push(entry.to_vec()));
                let at = if head {
                    0..n.min(model.len())
                } else {
                    model.len().saturating_sub(n)..model.len()
                };
                let mut expected: Vec<_> = model.drain(at).collect();
                if !head {
                    expected.reverse();
                }
                assert_eq!(popped, expected);
            }
            Op::Set(index, value) => {
                let at = if index < 0 { index + model.len() as i64 } else { index };
                let place = usize::try_from(at).ok().and_then(|at| model.get_mut(at));
                assert_eq!(list.set(index, &value, *limits), place.is_some());
                if let Some(place) = place {
                    *place = value;
                }
            }
            Op::Insert(pivot, after, value) => {
                let at = model.iter().position(|v| *v == pivot);
                assert_eq!(list.insert(&pivot, after, &value, *limits), at.is_some());
                if let Some(at) = at {
                    model.insert(at + usize::from(after), value);
                }
            }
            Op::Remove(count, value) => {
                let mut places: Vec<usize> =
                    (0..model.len()).filter(|&i| model[i] == value).collect();
                if count < 0 {
                    places.reverse();
                }
                if count != 0 {
                    places.truncate(count.unsigned_abs() as usize);
                }
                assert_eq!(list.remove(count, &value, *limits), places.len());
                let mut index = 0;
                model.retain(|_| {
                    index += 1;
                    !places.contains(&(index - 1))
                });
            }
            Op::Trim(start, count) => {
                let before = model.len();
                model.drain(..start.min(before));
                model.truncate(count);
                assert_eq!(list.trim(start, count, *limits), before - model.len());
            }
            Op::Adopt(fill, depth) => {
                *limits = ListLimits { fill, depth };
                list.adopt(*limits);
            }
        }
    }

    proptest! {
        #[test]
        fn behaves_as_a_vector(ops in prop::collection::vec(op(), 1..60), probe in value()) {
            let (mut model, mut list, mut limits) = (Vec::new(), List::new(), ListLimits::default());
            for op in ops {
                apply(&mut model, &mut list, &mut limits, op);
                prop_assert_eq!(list.to_vecs(), model.clone());
                prop_assert_eq!((list.len(), list.is_empty()), (model.len(), model.is_empty()));
                let places: Vec<usize> = (0..model.len()).filter(|&i| model[i] == probe).collect();
                prop_assert_eq!(list.positions(&probe, 1, 0, 0), places);
                for index in [0, model.len() / 2] {
                    let element = list.get(index as i64).map(Element::into_vec);
                    prop_assert_eq!(element, model.get(index).cloned());
                }
            }
        }
    }
}
