//! The sorted set value: a listpack while there are few elements and short ones, else a [`SortedSet`], which users
//! know as a skiplist.
//!
//! * `packed`: the listpack
//! * [`range`]: ranges of scores and of members
//!
//! Whatever a command names its elements by becomes a range of ranks first.

mod packed;
mod range;

use crate::ds::listpack::{INT_TEXT_MAX, Listpack, ListpackEntry};
use crate::ds::sorted_set::{self, Builder, SortedSet};
use crate::ds::walked::Heir;
use crate::util::alloc::relocate::Relocator;
use crate::util::number::parse_f64;
use packed::PackedZset;
use std::ops::Range;

pub use range::{LexRange, ScoreBound, ScoreRange};

/// The sizes up to which a sorted set stays a listpack.
#[derive(Clone, Copy, Debug)]
pub struct ZsetLimits {
    /// `zset-max-listpack-entries`.
    pub entries: u64,
    /// `zset-max-listpack-value`, in bytes.
    pub value: u64,
}

impl Default for ZsetLimits {
    fn default() -> Self {
        ZsetLimits { entries: 128, value: 64 }
    }
}

impl ZsetLimits {
    /// Whether so many elements, whose longest member has `longest` bytes, fit in a listpack.
    #[inline]
    fn fit(&self, len: usize, longest: usize) -> bool {
        len as u64 <= self.entries && longest as u64 <= self.value
    }
}

/// A sorted set: members, each with a score that is not NaN, in order of their scores, and of their bytes where scores
/// are equal.
pub struct Zset(Repr);

enum Repr {
    Listpack(PackedZset),
    Skiplist(Box<SortedSet>),
}

impl Default for Zset {
    fn default() -> Self {
        Zset(Repr::Listpack(PackedZset::default()))
    }
}

impl Zset {
    /// An empty sorted set in the encoding that suits so many elements, whose longest member has `longest` bytes.
    pub fn new(elements: usize, longest: usize, limits: &ZsetLimits) -> Zset {
        let mut zset = Zset::default();
        zset.reserve(elements, longest, limits);
        zset
    }

    /// What it is, if it is no listpack.
    pub(super) fn sorted(&self) -> Option<&SortedSet> {
        match &self.0 {
            Repr::Listpack(_) => None,
            Repr::Skiplist(set) => Some(set),
        }
    }

    pub(super) fn sorted_mut(&mut self) -> Option<&mut SortedSet> {
        match &mut self.0 {
            Repr::Listpack(_) => None,
            Repr::Skiplist(set) => Some(set),
        }
    }

    /// Has its table hand all members and scores to `visit`, as they are now, in no order; `false`: it has none.
    pub fn begin_walk(
        &mut self,
        visit: impl FnMut(&[u8], f64) + Send + 'static,
        heir: Heir,
    ) -> bool {
        self.sorted_mut().map(|set| set.begin_walk(visit, heir)).is_some()
    }

    /// Turns a listpack into a skiplist if `elements` more, whose longest member has `longest` bytes, would make it too
    /// large anyway.
    pub fn reserve(&mut self, elements: usize, longest: usize, limits: &ZsetLimits) {
        if !limits.fit(elements, longest) {
            self.unpack(elements);
        }
    }

    /// The elements of a builder, in the encoding that suits them.
    pub fn from_builder(builder: Builder, limits: &ZsetLimits) -> Zset {
        let mut zset = Zset(Repr::Skiplist(Box::new(builder.build())));
        zset.adopt(limits);
        zset
    }

    /// The sorted set of elements that are in order, as another sorted set has them.
    pub fn from_sorted<'a>(
        elements: impl ExactSizeIterator<Item = (ListpackEntry<'a>, f64)>,
        limits: &ZsetLimits,
    ) -> Zset {
        let mut zset = Zset::new(elements.len(), 0, limits);
        for (member, score) in elements {
            let mut buf = [0; INT_TEXT_MAX];
            let member = member.to_bytes(&mut buf);
            match &mut zset.0 {
                Repr::Listpack(packed)
                    if limits.fit(0, member.len()) && packed.has_room_for(member.len()) =>
                {
                    packed.push(member, score);
                }
                _ => {
                    zset.unpack(0).update(member, |_| Some(score));
                }
            }
        }
        zset
    }

    /// The sorted set whose members and scores a listpack has, which came from outside and has been checked deeply.
    /// `None` if it is none: a score is no number, a member is there twice, or there is nothing.
    pub fn from_listpack(listpack: Listpack) -> Option<Zset> {
        if listpack.is_empty() || !listpack.len().is_multiple_of(2) {
            return None;
        }
        let mut elements = Builder::with_capacity(listpack.len() / 2);
        let mut before: Option<(f64, Vec<u8>)> = None;
        let mut in_order = true;
        for (member, score) in listpack.pairs() {
            let score = match score {
                ListpackEntry::Int(n) => n as f64,
                ListpackEntry::Str(text) => parse_f64(text)?,
            };
            let mut buf = [0; INT_TEXT_MAX];
            let member = member.to_bytes(&mut buf);
            if !elements.merge(member, |_| score) {
                return None;
            }
            in_order &= before.is_none_or(|(s, m)| s < score || (s == score && &m[..] < member));
            before = Some((score, member.to_vec()));
        }
        if in_order {
            return Some(Zset(Repr::Listpack(PackedZset::from_listpack(listpack))));
        }
        let mut packed = PackedZset::default();
        let set = elements.build();
        set.range(0..set.len()).for_each(|(member, score)| packed.push(member, score));
        Some(Zset(Repr::Listpack(packed)))
    }

    /// The listpack, if the set is one.
    pub fn listpack(&self) -> Option<&Listpack> {
        match &self.0 {
            Repr::Listpack(packed) => Some(packed.listpack()),
            Repr::Skiplist(_) => None,
        }
    }

    /// Takes the encoding that suits the elements under these limits; for a value that was not made under them.
    pub fn adopt(&mut self, limits: &ZsetLimits) {
        match &self.0 {
            Repr::Listpack(packed) => {
                let longest = packed.iter().map(|(member, _)| member.text_len()).max();
                if !limits.fit(packed.len(), longest.unwrap_or(0)) {
                    self.unpack(0);
                }
            }
            Repr::Skiplist(set) if limits.fit(set.len(), 0) => {
                let mut packed = PackedZset::default();
                for (member, score) in set.range(0..set.len()) {
                    if !limits.fit(0, member.len()) || !packed.has_room_for(member.len()) {
                        return;
                    }
                    packed.push(member, score);
                }
                self.0 = Repr::Listpack(packed);
            }
            Repr::Skiplist(_) => {}
        }
    }

    /// Turns a listpack into a skiplist that has room for so many elements more.
    fn unpack(&mut self, more: usize) -> &mut SortedSet {
        /// A client may promise what it wants; memory is reserved for so many elements at most.
        const MAX_RESERVED: usize = 1 << 20;
        if let Repr::Listpack(packed) = &self.0 {
            let mut set = Builder::with_capacity(packed.len() + more.min(MAX_RESERVED));
            for (member, score) in packed.iter() {
                set.merge(member.to_bytes(&mut [0; INT_TEXT_MAX]), |_| score);
            }
            self.0 = Repr::Skiplist(Box::new(set.build()));
        }
        match &mut self.0 {
            Repr::Skiplist(set) => set,
            Repr::Listpack(_) => unreachable!("it has just become one"),
        }
    }

    #[inline]
    pub fn len(&self) -> usize {
        match &self.0 {
            Repr::Listpack(packed) => packed.len(),
            Repr::Skiplist(set) => set.len(),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Shows its allocations to the relocator; see [`ValueMut::relocate`](super::ValueMut::relocate).
    pub fn relocate(&mut self, from: u64, elements: usize, relocator: &mut Relocator) -> u64 {
        match &mut self.0 {
            Repr::Listpack(packed) => {
                packed.relocate(relocator);
                0
            }
            Repr::Skiplist(sorted) => {
                if from == 0 {
                    relocator.boxed(sorted);
                }
                sorted.relocate(from, elements, relocator)
            }
        }
    }

    /// The encoding, as `OBJECT ENCODING` names it.
    pub fn encoding(&self) -> &'static str {
        match &self.0 {
            Repr::Listpack(_) => "listpack",
            Repr::Skiplist(_) => "skiplist",
        }
    }

    /// Memory behind the value itself, in bytes.
    pub fn heap_bytes(&self) -> usize {
        match &self.0 {
            Repr::Listpack(packed) => packed.listpack().heap_bytes(),
            Repr::Skiplist(set) => size_of::<SortedSet>() + set.heap_bytes(),
        }
    }

    /// The score of a member.
    #[inline]
    pub fn score(&self, member: &[u8]) -> Option<f64> {
        match &self.0 {
            Repr::Listpack(packed) => packed.score(member),
            Repr::Skiplist(set) => set.score(member),
        }
    }

    /// How many elements come before a member, and its score.
    #[inline]
    pub fn rank(&self, member: &[u8]) -> Option<(usize, f64)> {
        match &self.0 {
            Repr::Listpack(packed) => packed.rank(member),
            Repr::Skiplist(set) => set.rank(member),
        }
    }

    /// Gives a member the score that `decide` makes of its old one (none: it is not there), which must not be NaN, and
    /// inserts it if need be; nothing happens where `decide` returns `None`. Returns whether the member was there
    /// before.
    #[inline]
    pub fn update(
        &mut self,
        member: &[u8],
        limits: &ZsetLimits,
        decide: impl FnOnce(Option<f64>) -> Option<f64>,
    ) -> bool {
        match &mut self.0 {
            Repr::Listpack(packed) => {
                let fits = limits.fit(packed.len() + 1, member.len());
                if (fits && packed.has_room_for(member.len())) || packed.score(member).is_some() {
                    return packed.update(member, decide);
                }
                if let Some(score) = decide(None) {
                    self.unpack(1).update(member, |_| Some(score));
                }
                false
            }
            Repr::Skiplist(set) => set.update(member, decide),
        }
    }

    /// Removes a member, and returns the score that it had.
    #[inline]
    pub fn remove(&mut self, member: &[u8]) -> Option<f64> {
        match &mut self.0 {
            Repr::Listpack(packed) => packed.remove(member),
            Repr::Skiplist(set) => set.remove(member),
        }
    }

    /// Removes the elements of these ranks.
    pub fn remove_range(&mut self, ranks: Range<usize>) {
        match &mut self.0 {
            Repr::Listpack(packed) => packed.remove_range(ranks),
            Repr::Skiplist(set) => set.remove_range(ranks),
        }
    }

    /// The elements of these ranks in order.
    #[inline]
    pub fn range(&self, ranks: Range<usize>) -> Iter<'_> {
        match &self.0 {
            Repr::Listpack(packed) => Iter(IterRepr::Listpack(packed.range(ranks))),
            Repr::Skiplist(set) => Iter(IterRepr::Skiplist(set.range(ranks))),
        }
    }

    /// All elements in order.
    pub fn iter(&self) -> Iter<'_> {
        self.range(0..self.len())
    }

    /// The ranks of the elements whose scores are in a range.
    pub fn ranks_by_score(&self, range: &ScoreRange) -> Range<usize> {
        let (start, end) = match &self.0 {
            Repr::Listpack(packed) => (
                packed.count_while(|_, score| range.is_after(score)),
                packed.count_while(|_, score| range.ends_after(score)),
            ),
            Repr::Skiplist(set) => (
                set.partition_by_score(|score| range.is_after(score)),
                set.partition_by_score(|score| range.ends_after(score)),
            ),
        };
        start..end.max(start)
    }

    /// The ranks of the elements whose members are in a range; for sets all of whose scores are equal. Of others Redis
    /// says no more than this: if the last member comes before the range, or the first one behind it, there are none.
    pub fn ranks_by_lex(&self, range: &LexRange<'_>) -> Range<usize> {
        let text = |member: ListpackEntry<'_>, is: &dyn Fn(&[u8]) -> bool| {
            is(member.to_bytes(&mut [0; INT_TEXT_MAX]))
        };
        let (start, end) = match &self.0 {
            Repr::Listpack(packed) => (
                packed.count_while(|member, _| text(member, &|m| range.is_after(m))),
                packed.count_while(|member, _| text(member, &|m| range.ends_after(m))),
            ),
            Repr::Skiplist(set) => (
                set.partition_by_member(|member| range.is_after(member)),
                set.partition_by_member(|member| range.ends_after(member)),
            ),
        };
        let last = self.len().saturating_sub(1);
        let at = |rank: usize, is: &dyn Fn(&[u8]) -> bool| {
            self.range(rank..rank + 1).next().is_some_and(|(member, _)| text(member, is))
        };
        if start >= end || at(last, &|m| range.is_after(m)) || !at(0, &|m| range.ends_after(m)) {
            return start..start;
        }
        start..end
    }

    /// An element by chance, each with the same one.
    pub fn random(&self, rng: &mut impl FnMut() -> u64) -> Option<(ListpackEntry<'_>, f64)> {
        match &self.0 {
            Repr::Listpack(packed) => {
                let rank = ((u128::from(rng()) * packed.len() as u128) >> 64) as usize;
                packed.range(rank..rank + 1).next()
            }
            Repr::Skiplist(set) => {
                set.random(rng).map(|(member, score)| (ListpackEntry::Str(member), score))
            }
        }
    }

    /// Visits the elements of a part of the set, and returns the cursor for the next part, 0 after the last. A
    /// listpack is one part.
    pub fn scan(&self, cursor: u64, mut visit: impl FnMut(ListpackEntry<'_>, f64)) -> u64 {
        match &self.0 {
            Repr::Listpack(packed) => {
                packed.iter().for_each(|(member, score)| visit(member, score));
                0
            }
            Repr::Skiplist(set) => {
                set.scan(cursor, |member, score| visit(ListpackEntry::Str(member), score))
            }
        }
    }
}

impl Clone for Zset {
    fn clone(&self) -> Self {
        Zset(match &self.0 {
            Repr::Listpack(packed) => Repr::Listpack(packed.clone()),
            Repr::Skiplist(set) => Repr::Skiplist(set.clone()),
        })
    }
}

/// Whether the elements are the same, in whatever encoding.
impl PartialEq for Zset {
    fn eq(&self, other: &Self) -> bool {
        let text = |(member, score): (ListpackEntry<'_>, f64)| (member.to_vec(), score);
        self.len() == other.len() && self.iter().map(text).eq(other.iter().map(text))
    }
}

impl std::fmt::Debug for Zset {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

/// Members and scores in order, from either end.
#[derive(Clone)]
pub struct Iter<'a>(IterRepr<'a>);

#[derive(Clone)]
enum IterRepr<'a> {
    Listpack(packed::Iter<'a>),
    Skiplist(sorted_set::Iter<'a>),
}

impl<'a> Iterator for Iter<'a> {
    type Item = (ListpackEntry<'a>, f64);

    #[inline]
    fn next(&mut self) -> Option<(ListpackEntry<'a>, f64)> {
        match &mut self.0 {
            IterRepr::Listpack(iter) => iter.next(),
            IterRepr::Skiplist(iter) => {
                iter.next().map(|(member, score)| (ListpackEntry::Str(member), score))
            }
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        match &self.0 {
            IterRepr::Listpack(iter) => iter.size_hint(),
            IterRepr::Skiplist(iter) => iter.size_hint(),
        }
    }
}

impl<'a> DoubleEndedIterator for Iter<'a> {
    #[inline]
    fn next_back(&mut self) -> Option<(ListpackEntry<'a>, f64)> {
        match &mut self.0 {
            IterRepr::Listpack(iter) => iter.next_back(),
            IterRepr::Skiplist(iter) => {
                iter.next_back().map(|(member, score)| (ListpackEntry::Str(member), score))
            }
        }
    }
}

impl ExactSizeIterator for Iter<'_> {}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const LIMITS: ZsetLimits = ZsetLimits { entries: 12, value: 10 };

    type Model = Vec<(f64, Vec<u8>)>;

    fn contents(zset: &Zset) -> Model {
        zset.iter().map(|(member, score)| (score, member.to_vec())).collect()
    }

    fn filled(elements: &[(&str, f64)], limits: &ZsetLimits) -> Zset {
        let mut zset = Zset::default();
        for (member, score) in elements {
            zset.update(member.as_bytes(), limits, |_| Some(*score));
        }
        zset
    }

    #[test]
    fn it_fits_into_an_entry() {
        assert!(size_of::<Zset>() <= 24);
    }

    #[test]
    fn listpack_is_that_of_redis() {
        let zset = filled(&[("b", 2.5), ("a", 1.0), ("c", -3.0)], &LIMITS);
        let bytes: String =
            zset.listpack().unwrap().as_bytes().iter().map(|b| format!("{b:02x}")).collect();
        assert_eq!(bytes, "1a0000000600816302dffd02816102010181620283322e3504ff");
    }

    #[test]
    fn limits_decide_the_encoding() {
        let names: Vec<String> = (0..13).map(|n| format!("m{n}")).collect();
        let elements: Vec<(&str, f64)> = names.iter().map(|n| (n.as_str(), 1.0)).collect();
        let mut zset = filled(&elements[..12], &LIMITS);
        assert_eq!(zset.encoding(), "listpack");
        zset.update(b"m3", &LIMITS, |_| Some(7.0));
        assert_eq!((zset.encoding(), zset.len()), ("listpack", 12));
        zset.update(b"m12", &LIMITS, |_| None);
        assert_eq!(zset.encoding(), "listpack");
        zset.update(b"m12", &LIMITS, |_| Some(1.0));
        assert_eq!((zset.encoding(), zset.len()), ("skiplist", 13));
        assert_eq!(filled(&[("12345678901", 1.0)], &LIMITS).encoding(), "skiplist");
        assert_eq!(Zset::new(13, 1, &LIMITS).encoding(), "skiplist");
        assert_eq!(Zset::new(12, 11, &LIMITS).encoding(), "skiplist");

        let copy = zset.clone();
        zset.adopt(&ZsetLimits::default());
        assert_eq!((zset.encoding(), &zset), ("listpack", &copy));
        zset.adopt(&LIMITS);
        assert_eq!((zset.encoding(), &zset), ("skiplist", &copy));
        zset.remove(b"m0");
        assert_ne!(zset, copy);
    }

    #[test]
    fn foreign_listpacks() {
        let listpack = |entries: &[&str]| {
            let mut listpack = Listpack::new();
            entries.iter().for_each(|e| assert!(listpack.push_back(e.as_bytes())));
            Zset::from_listpack(listpack)
        };
        for bad in [
            &[][..],
            &["a"],
            &["a", "x"],
            &["a", "nan"],
            &["a", "1", "b"],
            &["a", "1", "a", "2"],
            &["5", "1", "7", "1", "5", "2"],
        ] {
            assert_eq!(listpack(bad), None, "{bad:?}");
        }
        let good = filled(&[("a", 1.0), ("b", 1.0), ("c", f64::INFINITY)], &LIMITS);
        assert_eq!(listpack(&["a", "1", "b", "1", "c", "inf"]).unwrap(), good);
        assert_eq!(listpack(&["c", "inf", "b", "1", "a", "1"]).unwrap(), good);
    }

    #[derive(Clone, Debug)]
    enum Op {
        Set(u8, i8),
        Remove(u8),
        RemoveRange(u8, u8),
        Adopt(u8),
    }

    fn op() -> impl Strategy<Value = Op> {
        prop_oneof![
            8 => (0u8..40, -4i8..4).prop_map(|(m, s)| Op::Set(m, s)),
            3 => (0u8..40).prop_map(Op::Remove),
            1 => (0u8..30, 0u8..6).prop_map(|(at, n)| Op::RemoveRange(at, n)),
            1 => (0u8..20).prop_map(Op::Adopt),
        ]
    }

    fn name(m: u8) -> Vec<u8> {
        match m % 4 {
            0 => m.to_string().into_bytes(),
            1 => format!("-{m}").into_bytes(),
            2 if m > 36 => vec![m; 20],
            _ => vec![b'a' + m / 2, m],
        }
    }

    proptest! {
        #[test]
        fn both_encodings_are_one_set(ops in prop::collection::vec(op(), 0..80)) {
            let mut zset = Zset::default();
            let mut model = Model::new();
            for op in ops {
                match op {
                    Op::Set(m, s) => {
                        let (member, score) = (name(m), f64::from(s) / 2.0);
                        let place = model.iter().position(|(_, m)| *m == member);
                        let old = place.map(|at| model.remove(at).0);
                        model.push((score, member.clone()));
                        model.sort_by(|a, b| a.partial_cmp(b).unwrap());
                        let known = zset.update(&member, &LIMITS, |seen| {
                            assert_eq!(seen, old);
                            Some(score)
                        });
                        prop_assert_eq!(known, old.is_some());
                    }
                    Op::Remove(m) => {
                        let place = model.iter().position(|(_, n)| *n == name(m));
                        let old = place.map(|at| model.remove(at).0);
                        prop_assert_eq!(zset.remove(&name(m)), old);
                    }
                    Op::RemoveRange(at, n) => {
                        let at = usize::from(at).min(model.len());
                        let end = (at + usize::from(n)).min(model.len());
                        model.drain(at..end);
                        zset.remove_range(at..end);
                    }
                    Op::Adopt(n) => zset.adopt(&ZsetLimits { entries: n.into(), value: 30 }),
                }
                prop_assert_eq!(&contents(&zset), &model);
            }
            for (rank, (score, member)) in model.iter().enumerate() {
                prop_assert_eq!(zset.rank(member), Some((rank, *score)));
                prop_assert_eq!(zset.score(member), Some(*score));
            }
            let len = model.len();
            for ranks in [0..len, len / 3..len, 0..len / 2, len / 3..len / 2] {
                let mut back: Vec<_> = zset.range(ranks.clone()).rev().map(|(m, s)| (s, m.to_vec())).collect();
                back.reverse();
                prop_assert_eq!(&back[..], &model[ranks.clone()]);
                let there: Vec<_> = zset.range(ranks.clone()).map(|(m, s)| (s, m.to_vec())).collect();
                prop_assert_eq!(&there[..], &model[ranks]);
            }
            for (min, max) in [("-1", "1"), ("(-1", "(1"), ("0", "inf"), ("3", "-3")] {
                let range = ScoreRange::parse(min.as_bytes(), max.as_bytes()).unwrap();
                let ranks = zset.ranks_by_score(&range);
                let expected = model.iter().filter(|(s, _)| !range.is_after(*s) && range.ends_after(*s));
                prop_assert!(expected.eq(&model[ranks]));
            }
            let mut seen = 0;
            let mut cursor = 0;
            loop {
                cursor = zset.scan(cursor, |_, _| seen += 1);
                if cursor == 0 { break }
            }
            prop_assert_eq!(seen, len);
            prop_assert_eq!(zset.random(&mut || u64::MAX).is_some(), len > 0);
        }
    }
}
