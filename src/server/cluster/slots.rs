//! A set of slots.

use crate::util::slot::SLOTS;
use std::ops::RangeInclusive;

/// One bit for each slot, in words.
#[derive(Clone, PartialEq, Eq)]
pub struct SlotSet {
    words: Box<[u64; SLOTS as usize / 64]>,
    len: u16,
}

impl Default for SlotSet {
    fn default() -> SlotSet {
        SlotSet { words: Box::new([0; SLOTS as usize / 64]), len: 0 }
    }
}

impl std::fmt::Debug for SlotSet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.ranges()).finish()
    }
}

impl SlotSet {
    /// How many slots are in it.
    pub fn len(&self) -> u16 {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    #[inline]
    pub fn contains(&self, slot: u16) -> bool {
        self.words[usize::from(slot / 64)] >> (slot % 64) & 1 == 1
    }

    /// Adds a slot; `false`: it was there.
    pub fn insert(&mut self, slot: u16) -> bool {
        let new = !self.contains(slot);
        self.words[usize::from(slot / 64)] |= 1 << (slot % 64);
        self.len += u16::from(new);
        new
    }

    /// Removes a slot; `false`: it was not there.
    pub fn remove(&mut self, slot: u16) -> bool {
        let found = self.contains(slot);
        self.words[usize::from(slot / 64)] &= !(1 << (slot % 64));
        self.len -= u16::from(found);
        found
    }

    /// The slots as ranges, in order.
    pub fn ranges(&self) -> Vec<RangeInclusive<u16>> {
        let mut ranges: Vec<RangeInclusive<u16>> = Vec::new();
        for slot in (0..SLOTS).filter(|&slot| self.contains(slot)) {
            match ranges.last_mut() {
                Some(last) if last.end() + 1 == slot => *last = *last.start()..=slot,
                _ => ranges.push(slot..=slot),
            }
        }
        ranges
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_join_neighbours() {
        let mut slots = SlotSet::default();
        for slot in [5, 1, 2, 16383, 3, 7] {
            assert!(slots.insert(slot));
        }
        assert!(!slots.insert(7));
        assert_eq!(slots.ranges(), [1..=3, 5..=5, 7..=7, 16383..=16383]);
        assert!(slots.remove(2) && !slots.remove(2));
        assert_eq!(
            (slots.ranges(), slots.len()),
            (vec![1..=1, 3..=3, 5..=5, 7..=7, 16383..=16383], 5)
        );
    }
}
