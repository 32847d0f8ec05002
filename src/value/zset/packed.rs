//! A small sorted set: one listpack of members and scores by turns, in order. The bytes are Redis's.

use crate::ds::listpack::{self, INT_TEXT_MAX, Listpack, ListpackEntry, Pos};
use crate::util::alloc::relocate::Relocator;
use crate::util::number::{MAX_F64_CHARS, fmt_f64, parse_f64};
use std::ops::Range;

/// Up to this magnitude a double that is an integer is written as one.
const MAX_INTEGER: f64 = (1u64 << 52) as f64;

/// Members and scores, as [`SortedSet`](crate::ds::sorted_set::SortedSet) has them.
#[derive(Clone, Default)]
pub(super) struct PackedZset(Listpack);

/// The score that an entry states.
#[inline]
fn score(entry: ListpackEntry<'_>) -> f64 {
    match entry {
        ListpackEntry::Int(n) => n as f64,
        // What is no number has been refused when the bytes came in.
        ListpackEntry::Str(text) => parse_f64(text).unwrap_or(0.0),
    }
}

/// The entry that states a score.
fn with_entry<T>(score: f64, write: impl FnOnce(ListpackEntry<'_>) -> T) -> T {
    if score.abs() <= MAX_INTEGER && score.trunc() == score {
        return write(ListpackEntry::Int(score as i64));
    }
    write(ListpackEntry::Str(fmt_f64(score, &mut [0; MAX_F64_CHARS])))
}

impl PackedZset {
    /// The set that a listpack is; its entries are known to be members and scores, in order.
    pub(super) fn from_listpack(listpack: Listpack) -> PackedZset {
        PackedZset(listpack)
    }

    pub(super) fn relocate(&mut self, relocator: &mut Relocator) {
        self.0.relocate(relocator);
    }

    pub(super) fn listpack(&self) -> &Listpack {
        &self.0
    }

    #[inline]
    pub(super) fn len(&self) -> usize {
        self.0.len() / 2
    }

    /// Whether an element may be added whose member has so many bytes.
    pub(super) fn has_room_for(&self, member: usize) -> bool {
        self.0.safe_to_add(member.saturating_add(MAX_F64_CHARS))
    }

    /// Where a member is.
    #[inline]
    fn find(&self, member: &[u8]) -> Option<Pos> {
        self.0.find(member, self.0.first()?, 1)
    }

    #[inline]
    fn score_after(&self, member: Pos) -> Option<f64> {
        self.0.get(self.0.next(member)?).map(score)
    }

    #[inline]
    pub(super) fn score(&self, member: &[u8]) -> Option<f64> {
        self.score_after(self.find(member)?)
    }

    /// How many elements come before a member, and its score.
    pub(super) fn rank(&self, member: &[u8]) -> Option<(usize, f64)> {
        let rank = self.iter().position(|(other, _)| other.eq_bytes(member))?;
        let score = self.0.get(self.0.seek((2 * rank + 1) as isize)?).map(score)?;
        Some((rank, score))
    }

    /// Inserts an element that is not there yet.
    pub(super) fn insert(&mut self, member: &[u8], new: f64) {
        let mut entries = self.0.iter();
        let place = loop {
            let at = entries.pos();
            let (Some(other), Some(old)) = (entries.next(), entries.next()) else { break None };
            let old = score(old);
            if old > new || (old == new && other.to_bytes(&mut [0; INT_TEXT_MAX]) > member) {
                break at;
            }
        };
        let list = &mut self.0;
        let written = match place {
            None => list.push_back(member) && with_entry(new, |score| list.push_back(score)),
            Some(at) => {
                list.insert_before(at, member).is_some()
                    && with_entry(new, |score| list.insert_after(at, score)).is_some()
            }
        };
        debug_assert!(written, "the caller asks for room first");
    }

    /// Puts an element behind all others, where it belongs.
    pub(super) fn push(&mut self, member: &[u8], score: f64) {
        let written =
            self.0.push_back(member) && with_entry(score, |score| self.0.push_back(score));
        debug_assert!(written, "the caller asks for room first");
    }

    /// Gives a member the score that `decide` makes of its old one; see [`super::Zset::update`]. The caller has asked
    /// for room. Returns whether the member was there before.
    #[inline]
    pub(super) fn update(
        &mut self,
        member: &[u8],
        decide: impl FnOnce(Option<f64>) -> Option<f64>,
    ) -> bool {
        let found = self.find(member);
        let old = found.and_then(|at| self.score_after(at));
        if let Some(new) = decide(old) {
            if let Some(at) = found {
                self.0.delete_from(at, 2);
            }
            self.insert(member, new);
        }
        found.is_some()
    }

    pub(super) fn remove(&mut self, member: &[u8]) -> Option<f64> {
        let at = self.find(member)?;
        let score = self.score_after(at)?;
        self.0.delete_from(at, 2);
        Some(score)
    }

    pub(super) fn remove_range(&mut self, ranks: Range<usize>) {
        self.0.delete_range(2 * ranks.start as isize, 2 * ranks.len());
    }

    /// How many elements come first for which `before` holds.
    pub(super) fn count_while(
        &self,
        mut before: impl FnMut(ListpackEntry<'_>, f64) -> bool,
    ) -> usize {
        self.iter().take_while(|&(member, score)| before(member, score)).count()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (ListpackEntry<'_>, f64)> {
        self.0.pairs().map(|(member, entry)| (member, score(entry)))
    }

    /// The elements of some ranks, from either end.
    pub(super) fn range(&self, ranks: Range<usize>) -> Iter<'_> {
        let view = self.0.view();
        let ranks = ranks.start..ranks.end.min(self.len());
        let all = view.iter();
        let seek = |rank: usize, offset: isize| view.seek(2 * rank as isize + offset);
        Iter {
            front: seek(ranks.start, 0).map_or(all.clone(), |pos| view.iter_from(pos)),
            back: seek(ranks.end, -1).map_or(all, |pos| view.iter_to(pos)),
            len: ranks.len(),
        }
    }
}

/// Elements of some ranks.
#[derive(Clone)]
pub(super) struct Iter<'a> {
    /// From the first one on.
    front: listpack::Iter<'a>,
    /// Up to the last one.
    back: listpack::Iter<'a>,
    len: usize,
}

impl<'a> Iterator for Iter<'a> {
    type Item = (ListpackEntry<'a>, f64);

    #[inline]
    fn next(&mut self) -> Option<(ListpackEntry<'a>, f64)> {
        self.len = self.len.checked_sub(1)?;
        Some((self.front.next()?, score(self.front.next()?)))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.len, Some(self.len))
    }
}

impl DoubleEndedIterator for Iter<'_> {
    #[inline]
    fn next_back(&mut self) -> Option<Self::Item> {
        self.len = self.len.checked_sub(1)?;
        let score = score(self.back.next_back()?);
        Some((self.back.next_back()?, score))
    }
}
