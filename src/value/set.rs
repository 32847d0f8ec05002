//! The set value: an intset while all members are integers, a listpack while there are few and short ones, else a
//! hash table.

use super::packed_index::{self, PackedIndex};
use super::relocate_table;
use crate::ds::hash;
use crate::ds::intset::Intset;
use crate::ds::listpack::{INT_TEXT_MAX, Listpack, ListpackEntry, parse_int};
use crate::ds::member::{BATCH, Member, MemberRef, in_batches};
use crate::ds::packed::Packed;
use crate::ds::table::{Table, Visitor};
use crate::ds::walked::Heir;
use crate::util::alloc::relocate::Relocator;
use crate::util::alloc::size_class;
use std::ops::ControlFlow;

/// A larger intset would be too slow, whatever the configuration says.
const MAX_INTSET: u64 = 1 << 30;

/// The sizes up to which a set stays compact.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SetLimits {
    /// `set-max-intset-entries`.
    pub intset: u64,
    /// `set-max-listpack-entries`.
    pub entries: u64,
    /// `set-max-listpack-value`, in bytes.
    pub value: u64,
}

impl Default for SetLimits {
    fn default() -> Self {
        SetLimits { intset: 512, entries: 128, value: 64 }
    }
}

impl SetLimits {
    /// Nothing stays compact.
    pub const NONE: SetLimits = SetLimits { intset: 0, entries: 0, value: 0 };

    fn fits_intset(&self, len: usize) -> bool {
        len as u64 <= self.intset.min(MAX_INTSET)
    }

    /// Whether so many members, the longest of which has `longest` bytes, fit in a listpack.
    fn fits_listpack(&self, len: usize, longest: usize) -> bool {
        len as u64 <= self.entries && longest as u64 <= self.value
    }
}

/// A set.
#[derive(Debug)]
pub struct Set(Repr);

enum Repr {
    Intset(Intset),
    Listpack(Packed),
    Table(Box<Table<Member>>),
}

impl Default for Set {
    fn default() -> Self {
        Set(Repr::Intset(Intset::new()))
    }
}

impl Set {
    /// An empty set in the encoding that suits about `hint` members of which `first` is one.
    pub fn new(first: &[u8], hint: usize, limits: &SetLimits) -> Set {
        if limits.fits_intset(hint) && parse_int(first).is_some() {
            Set::default()
        } else if limits.fits_listpack(hint, 0) {
            Set(Repr::Listpack(Packed::default()))
        } else {
            Set::with_capacity(hint)
        }
    }

    /// An empty set with a hash table for so many members.
    pub fn with_capacity(members: usize) -> Set {
        Set(Repr::Table(Box::new(Table::with_capacity(hash::seed(), members))))
    }

    /// A set that an intset is.
    pub fn from_intset(intset: Intset, limits: &SetLimits) -> Set {
        let fits = limits.fits_intset(intset.len());
        let mut set = Set(Repr::Intset(intset));
        if !fits {
            set.convert_to_table(0);
        }
        set
    }

    /// Turns a compact set into a table if about `more` members would make it too large anyway.
    pub fn reserve(&mut self, more: usize, limits: &SetLimits) {
        let fits = match &self.0 {
            Repr::Intset(_) => limits.fits_intset(more),
            Repr::Listpack(_) => limits.fits_listpack(more, 0),
            Repr::Table(_) => true,
        };
        if !fits {
            self.convert_to_table(more);
        }
    }

    #[inline]
    pub fn len(&self) -> usize {
        match &self.0 {
            Repr::Intset(set) => set.len(),
            Repr::Listpack(list) => list.view().len(),
            Repr::Table(table) => table.len(),
        }
    }

    #[inline]
    pub fn is_empty(&self) -> bool {
        match &self.0 {
            Repr::Intset(set) => set.is_empty(),
            Repr::Listpack(list) => list.view().is_empty(),
            Repr::Table(table) => table.is_empty(),
        }
    }

    /// Shows its allocations to the relocator; see [`ValueMut::relocate`](super::ValueMut::relocate).
    pub fn relocate(&mut self, from: u64, elements: usize, relocator: &mut Relocator) -> u64 {
        match &mut self.0 {
            Repr::Intset(set) => set.relocate(relocator),
            Repr::Listpack(list) => list.relocate(relocator),
            Repr::Table(table) => {
                if from == 0 {
                    relocator.boxed(table);
                }
                return relocate_table(table, from, elements, relocator, Member::relocated);
            }
        }
        0
    }

    /// The encoding, as `OBJECT ENCODING` names it.
    pub fn encoding(&self) -> &'static str {
        match &self.0 {
            Repr::Intset(_) => "intset",
            Repr::Listpack(_) => "listpack",
            Repr::Table(_) => "hashtable",
        }
    }

    /// Memory behind the value itself, in bytes; estimated for a table, from a sample of its members.
    pub fn heap_bytes(&self) -> usize {
        match &self.0 {
            Repr::Intset(set) => size_class(set.heap_bytes()),
            Repr::Listpack(list) => list.heap_bytes(),
            Repr::Table(table) => {
                let sizes = table.iter().take(SAMPLE).map(|member| size_class(member.size()));
                let (sampled, bytes) = sizes.fold((0, 0), |(n, sum), size| (n + 1, sum + size));
                let members = bytes * table.len() / sampled.max(1);
                size_of::<Table<Member>>() + table.memory() + members
            }
        }
    }

    /// The hash table, if the set has one.
    pub fn table(&self) -> Option<&Table<Member>> {
        match &self.0 {
            Repr::Table(table) => Some(table),
            _ => None,
        }
    }

    pub(super) fn table_mut(&mut self) -> Option<&mut Table<Member>> {
        match &mut self.0 {
            Repr::Table(table) => Some(table),
            _ => None,
        }
    }

    /// Has its table hand all members to `visit`, as they are now (see [`Table::begin_walk`]); `false`: it has none.
    pub fn begin_walk(&mut self, visit: Visitor<Member>, heir: Heir) -> bool {
        self.table_mut().map(|table| table.begin_walk(visit, heir)).is_some()
    }

    /// Takes the encoding that suits these limits; for a set that was made under the default ones.
    pub fn adopt(&mut self, limits: &SetLimits) {
        let len = self.len();
        let compact = limits.fits_intset(len) || limits.fits_listpack(len, 0);
        if *limits == SetLimits::default() || (self.table().is_some() && !compact) {
            return;
        }
        let mut new = Set::default();
        if matches!(self.0, Repr::Listpack(_)) {
            new.0 = Repr::Listpack(Packed::default());
        }
        self.for_each(|member| {
            new.add_entry(member, limits);
        });
        *self = new;
    }

    /// The intset, if the set is one.
    pub fn intset(&self) -> Option<&Intset> {
        match &self.0 {
            Repr::Intset(set) => Some(set),
            _ => None,
        }
    }

    #[inline]
    pub fn contains(&self, member: &[u8]) -> bool {
        match &self.0 {
            Repr::Intset(set) => parse_int(member).is_some_and(|n| set.contains(n)),
            Repr::Listpack(list) => {
                let list = list.view();
                list.first().is_some_and(|first| list.find(member, first, 0).is_some())
            }
            Repr::Table(table) => table.contains(table.hash(member), member),
        }
    }

    /// As [`contains`](Self::contains), for a member of another set.
    pub fn contains_entry(&self, member: ListpackEntry<'_>) -> bool {
        match (&self.0, member) {
            (Repr::Intset(set), ListpackEntry::Int(n)) => set.contains(n),
            _ => self.contains(member.to_bytes(&mut [0; INT_TEXT_MAX])),
        }
    }

    /// Adds a member; `false` if it was there already.
    #[inline]
    pub fn add(&mut self, member: &[u8], limits: &SetLimits) -> bool {
        match &mut self.0 {
            Repr::Table(table) => {
                let hash = table.hash(member);
                if table.contains(hash, member) {
                    return false;
                }
                table.insert_unique(hash, Member::new(member), false);
                true
            }
            Repr::Listpack(list) => {
                let view = list.view();
                if view.first().is_some_and(|first| view.find(member, first, 0).is_some()) {
                    return false;
                }
                self.append(member, limits);
                true
            }
            Repr::Intset(set) => match parse_int(member) {
                Some(n) => {
                    let added = set.add(n);
                    if added && !limits.fits_intset(set.len()) {
                        self.convert_to_table(0);
                    }
                    added
                }
                None => {
                    self.leave_intset(member.len(), limits);
                    self.add(member, limits)
                }
            },
        }
    }

    /// As [`add`](Self::add), for a member of another set that is known not to be in this one.
    pub fn add_absent(&mut self, member: ListpackEntry<'_>, limits: &SetLimits) {
        self.append(member.to_bytes(&mut [0; INT_TEXT_MAX]), limits);
    }

    #[inline]
    fn append(&mut self, member: &[u8], limits: &SetLimits) {
        let Repr::Listpack(list) = &mut self.0 else {
            self.add(member, limits);
            return;
        };
        let fits = limits.fits_listpack(list.view().len() + 1, member.len());
        if !(fits && list.edit(|list| list.safe_to_add(member.len()) && list.push_back(member))) {
            self.convert_to_table(1);
            self.add(member, limits);
        }
    }

    /// As [`add`](Self::add), for a member of another set.
    pub fn add_entry(&mut self, member: ListpackEntry<'_>, limits: &SetLimits) -> bool {
        match (&mut self.0, member) {
            (Repr::Intset(set), ListpackEntry::Int(n)) => {
                let added = set.add(n);
                if added && !limits.fits_intset(set.len()) {
                    self.convert_to_table(0);
                }
                added
            }
            _ => self.add(member.to_bytes(&mut [0; INT_TEXT_MAX]), limits),
        }
    }

    /// Removes a member; `false` if it was not there.
    #[inline]
    pub fn remove(&mut self, member: &[u8]) -> bool {
        match &mut self.0 {
            Repr::Intset(set) => parse_int(member).is_some_and(|n| set.remove(n)),
            Repr::Listpack(list) => {
                let view = list.view();
                let Some(found) = view.first().and_then(|first| view.find(member, first, 0)) else {
                    return false;
                };
                list.edit(|list| list.delete(found));
                true
            }
            Repr::Table(table) => table.remove(table.hash(member), member).is_some(),
        }
    }

    /// As [`remove`](Self::remove), for a member of another set.
    pub fn remove_entry(&mut self, member: ListpackEntry<'_>) -> bool {
        self.remove(member.to_bytes(&mut [0; INT_TEXT_MAX]))
    }

    /// A member by chance, each with the same one.
    pub fn random(&self, rng: &mut impl FnMut() -> u64) -> Option<ListpackEntry<'_>> {
        match &self.0 {
            Repr::Intset(set) => set.random(rng()).map(ListpackEntry::Int),
            Repr::Listpack(list) => {
                let view = list.view();
                let index = below(rng(), view.len());
                view.seek(index as isize).and_then(|pos| view.get(pos))
            }
            Repr::Table(table) => {
                table.random(rng).map(|member| ListpackEntry::Str(member.bytes()))
            }
        }
    }

    /// Visits `count` different members by chance, in no particular order, and all of them if there are no more.
    pub fn sample(
        &self,
        count: usize,
        rng: &mut impl FnMut() -> u64,
        mut visit: impl FnMut(ListpackEntry<'_>),
    ) {
        let len = self.len();
        let count = count.min(len);
        match self.table() {
            // Few out of many: draw until they are enough. Each draw is new with a chance of two thirds at least.
            Some(table) if count < len / 3 => {
                let mut seen = Table::<Member>::with_capacity(hash::seed(), count);
                while seen.len() < count {
                    let Some(member) = table.random(rng) else { return };
                    let hash = seen.hash(member.bytes());
                    if !seen.contains(hash, member.bytes()) {
                        seen.insert_unique(hash, Member::new(member.bytes()), false);
                        visit(ListpackEntry::Str(member.bytes()));
                    }
                }
            }
            // Going through all, take each with the chance that leaves as many as wanted.
            _ => {
                let (mut wanted, mut left) = (count, len);
                _ = self.try_for_each(|member| {
                    if below(rng(), left) < wanted {
                        visit(member);
                        wanted -= 1;
                    }
                    left -= 1;
                    if wanted == 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
                });
            }
        }
    }

    /// Takes `count` different members by chance out of the set, and all of them if there are no more.
    pub fn pop(
        &mut self,
        count: usize,
        rng: &mut impl FnMut() -> u64,
        mut visit: impl FnMut(ListpackEntry<'_>),
    ) {
        match &mut self.0 {
            Repr::Listpack(list) => {
                let view = list.view();
                let (mut wanted, mut left) = (count.min(view.len()), view.len());
                let mut chosen = Vec::with_capacity(wanted);
                let mut at = view.first();
                while let Some(pos) = at.filter(|_| wanted > 0) {
                    if below(rng(), left) < wanted {
                        view.get(pos).into_iter().for_each(&mut visit);
                        chosen.push(pos);
                        wanted -= 1;
                    }
                    left -= 1;
                    at = view.next(pos);
                }
                list.edit(|list| list.delete_many(&chosen));
            }
            Repr::Intset(set) => {
                for _ in 0..count {
                    let Some(n) = set.random(rng()) else { return };
                    visit(ListpackEntry::Int(n));
                    set.remove(n);
                }
            }
            Repr::Table(table) => {
                for _ in 0..count {
                    let Some(member) = table.random(rng) else { return };
                    visit(ListpackEntry::Str(member.bytes()));
                    // To be found again by the very bytes that the item owns, they have to outlive it.
                    let key = Member::new(member.bytes());
                    table.remove(table.hash(key.view().bytes()), key.view().bytes());
                }
            }
        }
    }

    /// Visits all members until `visit` breaks.
    #[inline]
    pub fn try_for_each(
        &self,
        mut visit: impl FnMut(ListpackEntry<'_>) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        match &self.0 {
            Repr::Intset(set) => set.iter().map(ListpackEntry::Int).try_for_each(visit),
            Repr::Listpack(list) => list.view().iter().try_for_each(visit),
            Repr::Table(table) => in_batches(table.iter(), MemberRef::prefetch, |batch| {
                batch.iter().try_for_each(|member| visit(ListpackEntry::Str(member.bytes())))
            }),
        }
    }

    /// Visits all members.
    #[inline]
    pub fn for_each(&self, mut visit: impl FnMut(ListpackEntry<'_>)) {
        _ = self.try_for_each(|member| {
            visit(member);
            ControlFlow::Continue(())
        });
    }

    /// Visits the members of a part of the set, and returns the cursor for the next part, 0 after the last.
    /// A compact set is one part.
    pub fn scan(&self, cursor: u64, mut visit: impl FnMut(ListpackEntry<'_>)) -> u64 {
        match &self.0 {
            Repr::Table(table) => {
                table.scan(cursor, |member, _| visit(ListpackEntry::Str(member.bytes())))
            }
            _ => {
                self.for_each(visit);
                0
            }
        }
    }

    /// Makes a set of nothing but integers an intset, unless there are too many.
    pub fn to_intset(&mut self, limits: &SetLimits) {
        if matches!(self.0, Repr::Intset(_)) || !limits.fits_intset(self.len()) {
            return;
        }
        let mut intset = Intset::new();
        self.for_each(|member| {
            if let Some(n) = member.as_int() {
                intset.add(n);
            }
        });
        debug_assert_eq!(intset.len(), self.len());
        self.0 = Repr::Intset(intset);
    }

    /// Turns an intset, which is to get a member of `len` bytes that is no integer, into something else.
    #[cold]
    fn leave_intset(&mut self, len: usize, limits: &SetLimits) {
        let Repr::Intset(set) = &self.0 else { return };
        let longest = [set.get(0), set.len().checked_sub(1).and_then(|last| set.get(last))]
            .into_iter()
            .flatten()
            .map(|n| ListpackEntry::Int(n).text_len())
            .fold(len, usize::max);
        if !limits.fits_listpack(set.len() + 1, longest) {
            return self.convert_to_table(1);
        }
        let mut list = Listpack::with_capacity(set.bytes() + len);
        for n in set.iter() {
            list.push_back(n);
        }
        self.0 = Repr::Listpack(list.into());
    }

    /// Turns the set into a hash table, with room for `more` members.
    #[cold]
    fn convert_to_table(&mut self, more: usize) {
        if matches!(self.0, Repr::Table(_)) {
            return;
        }
        let mut table = Table::with_capacity(hash::seed(), self.len() + more);
        self.for_each(|member| {
            let mut digits = [0; INT_TEXT_MAX];
            let bytes = member.to_bytes(&mut digits);
            table.insert_unique(table.hash(bytes), Member::new(bytes), false);
        });
        self.0 = Repr::Table(Box::new(table));
    }
}

/// Members that stand for all others where the size of a table is estimated.
const SAMPLE: usize = 64;

/// A number below `bound`, made of a random `word`.
#[inline]
fn below(word: u64, bound: usize) -> usize {
    ((u128::from(word) * bound as u128) >> 64) as usize
}

impl Clone for Set {
    fn clone(&self) -> Self {
        Set(match &self.0 {
            Repr::Intset(set) => Repr::Intset(set.clone()),
            Repr::Listpack(list) => Repr::Listpack(list.clone()),
            Repr::Table(table) => Repr::Table(Box::new(copy(table))),
        })
    }
}

/// A copy of a table. The order of the buckets is that of the hashes, so that both tables are gone through in order.
fn copy(table: &Table<Member>) -> Table<Member> {
    let mut new = Table::with_capacity(hash::seed(), table.len());
    _ = in_batches(table.iter(), MemberRef::prefetch, |batch| {
        for member in batch {
            let bytes = member.bytes();
            new.insert_unique(new.hash(bytes), Member::new(bytes), false);
        }
        ControlFlow::Continue(())
    });
    new
}

impl PartialEq for Set {
    fn eq(&self, other: &Self) -> bool {
        let subset = || self.try_for_each(|member| check(other.contains_entry(member)));
        self.len() == other.len() && subset().is_continue()
    }
}

fn check(holds: bool) -> ControlFlow<()> {
    if holds { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
}

impl std::fmt::Debug for Repr {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Repr::Intset(set) => set.fmt(f),
            Repr::Listpack(list) => list.fmt(f),
            Repr::Table(table) => {
                f.debug_set().entries(table.iter().map(MemberRef::bytes)).finish()
            }
        }
    }
}

/// A set that is asked for many members.
enum Asked<'a> {
    Set(&'a Set),
    Packed(PackedIndex<'a>),
}

impl<'a> Asked<'a> {
    /// Each of the sets is to be asked for so many members.
    fn all(sets: &[&'a Set], members: usize) -> Vec<Asked<'a>> {
        let asked = |&set: &&'a Set| match &set.0 {
            Repr::Listpack(list) if members >= packed_index::WORTH => {
                Asked::Packed(PackedIndex::new(hash::seed(), list.view()))
            }
            _ => Asked::Set(set),
        };
        sets.iter().map(asked).collect()
    }

    fn contains(&self, member: ListpackEntry<'_>) -> bool {
        match self {
            Asked::Set(set) => set.contains_entry(member),
            Asked::Packed(index) => index.contains(member),
        }
    }
}

/// Visits what is in all of the sets, until `visit` breaks. The first should be the smallest.
pub fn intersect(
    first: &Set,
    others: &[&Set],
    mut visit: impl FnMut(ListpackEntry<'_>) -> ControlFlow<()>,
) -> ControlFlow<()> {
    let Some(table) = first.table() else {
        let others = Asked::all(others, first.len());
        return first.try_for_each(|member| match others.iter().all(|set| set.contains(member)) {
            true => visit(member),
            false => ControlFlow::Continue(()),
        });
    };
    ask_all(table, others, |member, hash| {
        match others.iter().all(|set| set.contains_hashed(hash, member)) {
            true => visit(ListpackEntry::Str(member)),
            false => ControlFlow::Continue(()),
        }
    })
}

/// What is in the first set and in none of the others.
pub fn subtract(first: &Set, others: &[&Set], limits: &SetLimits) -> Set {
    let mut rest = Set::default();
    let Some(table) = first.table() else {
        let others = Asked::all(others, first.len());
        first.for_each(|member| {
            if !others.iter().any(|set| set.contains(member)) {
                rest.add_absent(member, limits);
            }
        });
        return rest;
    };
    _ = ask_all(table, others, |member, hash| {
        if !others.iter().any(|set| set.contains_hashed(hash, member)) {
            rest.add(member, limits);
        }
        ControlFlow::Continue(())
    });
    rest
}

/// Visits the members of a table with their hashes, when all places in the other sets where they might be are on their
/// way into the cache.
#[inline]
fn ask_all(
    table: &Table<Member>,
    others: &[&Set],
    mut visit: impl FnMut(&[u8], u64) -> ControlFlow<()>,
) -> ControlFlow<()> {
    in_batches(table.iter(), MemberRef::prefetch, |batch| {
        let hashes = hash_batch(table, batch);
        others.iter().for_each(|set| set.prefetch(&hashes[..batch.len()]));
        batch.iter().zip(&hashes).try_for_each(|(member, &hash)| visit(member.bytes(), hash))
    })
}

/// What is in any of the sets.
pub fn unite(sets: &[&Set], limits: &SetLimits) -> Set {
    let Some(largest) = sets.iter().max_by_key(|set| set.len()) else { return Set::default() };
    let stays_compact = limits.fits_intset(largest.len()) || limits.fits_listpack(largest.len(), 0);
    if stays_compact || largest.table().is_none() {
        let mut all = Set::default();
        sets.iter().for_each(|set| add_compact(&mut all, set, limits));
        return all;
    }
    // The union is a table in any case. All tables order their members alike, so that adding the members of one to
    // another goes through both in order.
    let mut all = (*largest).clone();
    for set in sets.iter().filter(|set| !std::ptr::eq(**set, *largest)) {
        match (&mut all.0, set.table()) {
            (Repr::Table(all), Some(table)) => add_all(all, table),
            (_, _) => set.for_each(|member| {
                all.add_entry(member, limits);
            }),
        }
    }
    all
}

fn add_compact(all: &mut Set, set: &Set, limits: &SetLimits) {
    if all.is_empty() {
        set.for_each(|member| all.add_absent(member, limits));
        return;
    }
    let (Repr::Listpack(known), Repr::Listpack(list)) = (&all.0, &set.0) else {
        set.for_each(|member| {
            all.add_entry(member, limits);
        });
        return;
    };
    let known = PackedIndex::new(hash::seed(), known.view());
    let new: Vec<_> = list.view().iter().filter(|&member| !known.contains(member)).collect();
    for member in new {
        all.add_absent(member, limits);
    }
}

fn add_all(all: &mut Table<Member>, table: &Table<Member>) {
    _ = in_batches(table.iter(), MemberRef::prefetch, |batch| {
        let hashes = hash_batch(table, batch);
        all.prefetch_all(&hashes[..batch.len()]);
        for (member, &hash) in batch.iter().zip(&hashes) {
            if !all.contains(hash, member.bytes()) {
                all.insert_unique(hash, Member::new(member.bytes()), false);
            }
        }
        ControlFlow::Continue(())
    });
}

/// The hashes of a batch: the same in all sets, since they share a seed.
#[inline]
fn hash_batch(table: &Table<Member>, batch: &[MemberRef<'_>]) -> [u64; BATCH] {
    let mut hashes = [0; BATCH];
    for (hash, member) in hashes.iter_mut().zip(batch) {
        *hash = table.hash(member.bytes());
    }
    hashes
}

impl Set {
    #[inline]
    fn prefetch(&self, hashes: &[u64]) {
        if let Repr::Table(table) = &self.0 {
            table.prefetch_all(hashes);
        }
    }

    /// As [`contains`](Self::contains), with the member's hash, which is only needed by a table.
    #[inline]
    fn contains_hashed(&self, hash: u64, member: &[u8]) -> bool {
        match &self.0 {
            Repr::Table(table) => table.contains(hash, member),
            _ => self.contains(member),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    const LIMITS: SetLimits = SetLimits { intset: 20, entries: 12, value: 16 };

    fn members(set: &Set) -> BTreeSet<Vec<u8>> {
        let mut all = BTreeSet::new();
        set.for_each(|member| assert!(all.insert(member.to_vec())));
        assert_eq!(all.len(), set.len());
        all
    }

    fn set_of(members: &[&[u8]]) -> Set {
        let mut set = Set::new(members[0], members.len(), &LIMITS);
        members.iter().for_each(|member| {
            set.add(member, &LIMITS);
        });
        set
    }

    fn rng(seed: u64) -> impl FnMut() -> u64 {
        let mut state = seed;
        move || {
            state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            hash::HashSeed::new([1, 2]).hash(&state.to_le_bytes())
        }
    }

    #[test]
    fn encodings_change_where_redis_changes_them() {
        let mut set = Set::default();
        (0..20).for_each(|n: i64| assert!(set.add(n.to_string().as_bytes(), &LIMITS)));
        assert_eq!(set.encoding(), "intset");
        assert!(set.add(b"20", &LIMITS));
        assert_eq!(set.encoding(), "hashtable");

        let mut set = set_of(&[b"1", b"2"]);
        assert!(set.add(b"x", &LIMITS) && !set.add(b"2", &LIMITS));
        assert_eq!(set.encoding(), "listpack");
        (3..12).for_each(|n: i64| assert!(set.add(n.to_string().as_bytes(), &LIMITS)));
        assert_eq!((set.encoding(), set.len()), ("listpack", 12));
        set.add(b"y", &LIMITS);
        assert_eq!(set.encoding(), "hashtable");

        assert_eq!(set_of(&[b"1", b"a string of 17 b."]).encoding(), "hashtable");
        assert_eq!(set_of(&[b"12345678901234567", b"x"]).encoding(), "hashtable");
        let mut set = Set::default();
        (0..12).for_each(|n: i64| assert!(set.add(n.to_string().as_bytes(), &LIMITS)));
        set.add(b"x", &LIMITS);
        assert_eq!(set.encoding(), "hashtable");
        assert_eq!(Set::new(b"1", 21, &LIMITS).encoding(), "hashtable");
        assert_eq!(Set::new(b"a", 12, &LIMITS).encoding(), "listpack");
        assert_eq!(size_of::<Set>(), 24);
    }

    #[test]
    fn samples_are_different_members_and_fair() {
        for len in [5, 18, 100] {
            let texts: Vec<String> = (0..len).map(|n: usize| n.to_string()).collect();
            let mut sets = vec![set_of(&texts.iter().map(|t| t.as_bytes()).collect::<Vec<_>>())];
            let words: Vec<String> = texts.iter().map(|t| format!("w{t}")).collect();
            sets.push(set_of(&words.iter().map(|t| t.as_bytes()).collect::<Vec<_>>()));
            let mut rng = rng(len as u64);
            for set in sets {
                for count in [0, 1, len / 4, len - 1, len, len + 7] {
                    let mut seen = BTreeSet::new();
                    set.sample(count, &mut rng, |member| assert!(seen.insert(member.to_vec())));
                    assert_eq!(seen.len(), count.min(len));
                    let mut rest = set.clone();
                    let mut popped = BTreeSet::new();
                    rest.pop(count, &mut rng, |member| assert!(popped.insert(member.to_vec())));
                    assert_eq!(popped.len(), count.min(len));
                    assert!(members(&rest).is_disjoint(&popped));
                    assert_eq!(rest.len() + popped.len(), len);
                }
                let mut hits = vec![0; len];
                for _ in 0..200 * len {
                    let member = set.random(&mut rng).unwrap().to_vec();
                    let text = String::from_utf8(member).unwrap();
                    hits[text.trim_start_matches('w').parse::<usize>().unwrap()] += 1;
                }
                assert!(hits.iter().all(|n| (110..290).contains(n)), "{hits:?}");
            }
        }
    }

    fn member() -> impl Strategy<Value = Vec<u8>> {
        prop_oneof![
            6 => (-30i64..30).prop_map(|n| n.to_string().into_bytes()),
            1 => any::<i64>().prop_map(|n| n.to_string().into_bytes()),
            2 => (0..30).prop_map(|n| format!("m{n}").into_bytes()),
            1 => prop::collection::vec(any::<u8>(), 0..20),
        ]
    }

    #[derive(Clone, Debug)]
    enum Op {
        Add(Vec<u8>),
        Remove(Vec<u8>),
        Pop(usize),
        Integers,
    }

    fn op() -> impl Strategy<Value = Op> {
        prop_oneof![
            8 => member().prop_map(Op::Add),
            4 => member().prop_map(Op::Remove),
            1 => (0..5usize).prop_map(Op::Pop),
            1 => Just(Op::Integers),
        ]
    }

    proptest! {
        #[test]
        fn behaves_like_a_set(ops in prop::collection::vec(op(), 1..120), seed in any::<u64>()) {
            let mut rng = rng(seed);
            let mut set = Set::default();
            let mut model = BTreeSet::new();
            for op in ops {
                match op {
                    Op::Add(m) => prop_assert_eq!(set.add(&m, &LIMITS), model.insert(m)),
                    Op::Remove(m) => prop_assert_eq!(set.remove(&m), model.remove(&m)),
                    Op::Pop(n) => set.pop(n, &mut rng, |m| assert!(model.remove(&m.to_vec()))),
                    Op::Integers => if model.iter().all(|m| parse_int(m).is_some()) {
                        set.to_intset(&LIMITS);
                    },
                }
                prop_assert_eq!(&members(&set), &model);
                prop_assert!(model.iter().all(|m| set.contains(m)));
                prop_assert_eq!(&set.clone(), &set);
            }
            let mut scanned = BTreeSet::new();
            let mut cursor = 0;
            loop {
                cursor = set.scan(cursor, |m| { scanned.insert(m.to_vec()); });
                if cursor == 0 { break }
            }
            prop_assert_eq!(scanned, model);
        }

        #[test]
        fn algebra(
            a in prop::collection::vec(member(), 1..40),
            b in prop::collection::vec(member(), 1..40),
            c in prop::collection::vec(member(), 1..40),
        ) {
            let models: Vec<BTreeSet<Vec<u8>>> = [a, b, c].map(BTreeSet::from_iter).into();
            let of_model = |m: &BTreeSet<Vec<u8>>| set_of(&m.iter().map(Vec::as_slice).collect::<Vec<_>>());
            let sets: Vec<Set> = models.iter().map(of_model).collect();
            let refs: Vec<&Set> = sets.iter().collect();
            let union: BTreeSet<_> = models.iter().flatten().cloned().collect();
            prop_assert_eq!(members(&unite(&refs, &LIMITS)), union);
            let mut common = BTreeSet::new();
            _ = intersect(refs[0], &refs[1..], |m| { common.insert(m.to_vec()); ControlFlow::Continue(()) });
            let expected: BTreeSet<_> =
                models[0].iter().filter(|m| models[1].contains(*m) && models[2].contains(*m)).cloned().collect();
            prop_assert_eq!(common, expected);
            let expected: BTreeSet<_> =
                models[0].iter().filter(|m| !models[1].contains(*m) && !models[2].contains(*m)).cloned().collect();
            prop_assert_eq!(members(&subtract(refs[0], &refs[1..], &LIMITS)), expected);
        }
    }
}
