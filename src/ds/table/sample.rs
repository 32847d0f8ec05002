//! Entries by chance, for `RANDOMKEY`, `SRANDMEMBER`, eviction and the like.

use std::array;
use std::ptr;

use super::bucket::{Bucket, Occupant, SLOTS, prefetch};
use super::scan::marked;
use super::{Item, Table};

/// Chains that are tried before fairness is given up. Unless the table is extremely sparse, a try
/// succeeds in one of three cases, and at the fill where a table shrinks in one of ten.
const TRIES: usize = 256;
/// Of these, how many are loaded into the cache at a time; and where more than one entry is wanted.
const AHEAD: usize = 4;
const AHEAD_OF_MANY: usize = 16;
/// Buckets that are searched for a mark, one after the other: few enough to take some microseconds
/// at worst.
const MARK_TRIES: usize = 256;

impl<T: Item> Table<T> {
    /// An entry, each with the same chance (those of extremely long chains with a slightly smaller
    /// one).
    pub fn random<'a>(&'a self, rng: &mut impl FnMut() -> u64) -> Option<T::Ref<'a>> {
        self.random_among(usual_longest, rng)
    }

    /// The same of a table whose entries do not spread as hashes do: `longest` says how many are in all but very few of
    /// the chains, given their mean.
    pub fn random_among<'a>(
        &'a self,
        longest: impl FnOnce(usize) -> usize,
        rng: &mut impl FnMut() -> u64,
    ) -> Option<T::Ref<'a>> {
        let mut found = None;
        self.draw::<AHEAD>(1, longest, rng, |entry| found = Some(entry));
        found
    }

    /// Visits `count` entries, each chosen like [`random`](Self::random): one may be met more than once, and none only
    /// where there is none.
    pub fn sample<'a>(
        &'a self,
        count: usize,
        rng: &mut impl FnMut() -> u64,
        visit: impl FnMut(T::Ref<'a>),
    ) {
        self.draw::<AHEAD_OF_MANY>(count, usual_longest, rng, visit);
    }

    /// Visits `count` entries; so many chains are loaded into the cache at a time, and then their entries.
    fn draw<'a, const AHEAD: usize>(
        &'a self,
        count: usize,
        longest: impl FnOnce(usize) -> usize,
        rng: &mut impl FnMut() -> u64,
        mut visit: impl FnMut(T::Ref<'a>),
    ) {
        if self.len == 0 {
            return;
        }
        let heads = self.heads();
        // Every slot of every chain must be equally likely: so take a slot of a chain, both by
        // chance, and try again if it is free. That needs a common length of chains, which only few
        // (0.1 %) may exceed.
        let smaller = if self.next.len() == 0 {
            self.array.len()
        } else {
            self.array.len().min(self.next.len())
        };
        let mean = self.len.div_ceil(smaller.max(1));
        let slots = longest(mean).next_multiple_of(SLOTS);
        let mut left = count;
        for _ in 0..(count * TRIES / AHEAD) {
            if left == 0 {
                return;
            }
            let chosen: [_; AHEAD] = array::from_fn(|_| heads.get(below(rng, heads.len())));
            // Their cache misses overlap.
            chosen.iter().flatten().for_each(|head| prefetch(ptr::from_ref(*head)));
            let met = chosen.map(|head| {
                let head = head?;
                let entries = chain_len(head);
                let slot = below(rng, slots.max(entries));
                if slot < entries { head.entries().nth(slot) } else { None }
            });
            met.iter().flatten().take(left).for_each(|entry| prefetch(entry.raw.as_ptr()));
            for entry in met.into_iter().flatten().take(left) {
                visit(self.view(entry));
                left -= 1;
            }
        }
        for _ in 0..left {
            let found = self.first_from(rng, heads.len(), |head, rng| pick(head.entries(), rng));
            found.into_iter().for_each(&mut visit);
        }
    }

    /// An entry with a mark, not with quite the same chance: one of the first marked ones from a
    /// place by chance on. None if there is none in the next few hundred buckets.
    pub fn random_marked(&self, rng: &mut impl FnMut() -> u64) -> Option<T::Ref<'_>> {
        if self.marked == 0 {
            return None;
        }
        self.first_from(rng, MARK_TRIES, |head, rng| pick(marked(head), rng))
    }

    /// What `choose` finds first in at most `tries` chains, from a random one on.
    fn first_from<R: FnMut() -> u64>(
        &self,
        rng: &mut R,
        tries: usize,
        choose: impl Fn(&Bucket, &mut R) -> Option<Occupant>,
    ) -> Option<T::Ref<'_>> {
        let heads = self.heads();
        let start = below(rng, heads.len());
        (0..tries.min(heads.len()))
            .filter_map(|offset| heads.get((start + offset) % heads.len()))
            .find_map(|head| choose(head, rng))
            .map(|entry| self.view(entry))
    }
}

/// Entries in all but very few chains, given their mean.
fn usual_longest(mean: usize) -> usize {
    mean + 3 * mean.isqrt()
}

/// One of some entries, each with the same chance.
fn pick(
    entries: impl Iterator<Item = Occupant>,
    rng: &mut impl FnMut() -> u64,
) -> Option<Occupant> {
    let mut chosen = None;
    for (before, entry) in entries.enumerate() {
        if below(rng, before + 1) == 0 {
            chosen = Some(entry);
        }
    }
    chosen
}

fn chain_len(head: &Bucket) -> usize {
    head.chain().map(|bucket| bucket.occupied().len()).sum()
}

/// A number from 0 on and below `bound`, each with the same chance (to 2^-64).
#[inline]
pub(crate) fn below(rng: &mut impl FnMut() -> u64, bound: usize) -> usize {
    ((u128::from(rng()) * bound as u128) >> 64) as usize
}
