//! Finds members of a listpack without going through it for each: a table of them that one command makes and drops.

use crate::ds::hash::HashSeed;
use crate::ds::listpack::{ListpackEntry, ListpackRef};

/// Where fewer members are looked for, going through the listpack for each is cheaper.
pub const WORTH: usize = 8;

/// The members of a listpack by their hashes, at most half of the slots taken.
pub struct PackedIndex<'a> {
    seed: HashSeed,
    slots: Vec<Option<ListpackEntry<'a>>>,
}

impl<'a> PackedIndex<'a> {
    /// `seed` is a secret: who chooses the members must not know which of them fall together.
    pub fn new(seed: HashSeed, list: ListpackRef<'a>) -> PackedIndex<'a> {
        let size = (2 * list.len()).next_power_of_two();
        let mut index = PackedIndex { seed, slots: vec![None; size] };
        for entry in list.iter() {
            let free = index.find(entry);
            index.slots[free] = Some(entry);
        }
        index
    }

    pub fn contains(&self, member: ListpackEntry<'_>) -> bool {
        self.slots[self.find(member)].is_some()
    }

    /// The slot that has the member, or the free one where it would be.
    fn find(&self, member: ListpackEntry<'_>) -> usize {
        let hash = match member {
            ListpackEntry::Int(n) => self.seed.hash(&n.to_le_bytes()),
            ListpackEntry::Str(text) => self.seed.hash(text),
        };
        let mask = self.slots.len() - 1;
        let mut at = hash as usize & mask;
        while self.slots[at].is_some_and(|other| other != member) {
            at = (at + 1) & mask;
        }
        at
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ds::hash;
    use crate::ds::listpack::Listpack;

    #[test]
    fn finds_what_the_listpack_has() {
        let mut list = Listpack::new();
        let none = PackedIndex::new(hash::seed(), list.view());
        assert!(!none.contains(ListpackEntry::Int(0)));
        for n in (0..200).step_by(2) {
            list.push_back(n);
            list.push_back(format!("member:{n}").as_bytes());
        }
        let index = PackedIndex::new(hash::seed(), list.view());
        for n in 0..200 {
            let text = format!("member:{n}");
            assert_eq!(index.contains(ListpackEntry::Int(n)), n % 2 == 0);
            assert_eq!(index.contains(ListpackEntry::Str(text.as_bytes())), n % 2 == 0);
        }
    }
}
