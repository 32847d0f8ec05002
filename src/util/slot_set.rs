//! A set of slots.

use super::slot::SLOTS;
use std::ops::RangeInclusive;

/// The bytes of a set on the wire: slot `n` is bit `n % 8` of byte `n / 8`.
pub const SLOT_SET_BYTES: usize = SLOTS as usize / 8;

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

impl FromIterator<u16> for SlotSet {
    fn from_iter<I: IntoIterator<Item = u16>>(slots: I) -> SlotSet {
        let mut set = SlotSet::default();
        slots.into_iter().for_each(|slot| _ = set.insert(slot));
        set
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

    /// A set of its bytes on the wire.
    pub fn from_bytes(bytes: &[u8; SLOT_SET_BYTES]) -> SlotSet {
        let mut set = SlotSet::default();
        let (words, _) = bytes.as_chunks::<8>();
        for (word, bytes) in set.words.iter_mut().zip(words) {
            *word = u64::from_le_bytes(*bytes);
        }
        set.len = set.words.iter().map(|word| word.count_ones() as u16).sum();
        set
    }

    /// Appends its bytes on the wire.
    pub fn write_bytes(&self, out: &mut Vec<u8>) {
        self.words.iter().for_each(|word| out.extend(word.to_le_bytes()));
    }

    /// The slots in order.
    pub fn iter(&self) -> impl Iterator<Item = u16> + '_ {
        let words = (0..SLOTS).step_by(64).zip(self.words.iter());
        words.flat_map(|(first, &word)| {
            let mut rest = word;
            std::iter::from_fn(move || {
                let bit = rest.trailing_zeros() as u16;
                rest &= rest.wrapping_sub(1);
                (bit < 64).then_some(first + bit)
            })
        })
    }

    /// The slots as ranges, in order.
    pub fn ranges(&self) -> Vec<RangeInclusive<u16>> {
        let mut ranges: Vec<RangeInclusive<u16>> = Vec::new();
        for slot in self.iter() {
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

    #[test]
    fn bytes_are_those_of_the_bus() {
        let slots = SlotSet::from_iter([0, 9, 63, 64, 16383]);
        let mut bytes = Vec::new();
        slots.write_bytes(&mut bytes);
        assert_eq!((bytes[0], bytes[1], bytes[7], bytes[8], bytes[2047]), (1, 2, 0x80, 1, 0x80));
        let again = SlotSet::from_bytes(bytes.as_slice().try_into().unwrap());
        assert_eq!(again, slots);
        assert_eq!(again.iter().collect::<Vec<_>>(), [0, 9, 63, 64, 16383]);
        assert_eq!(again.len(), 5);
        assert_eq!(SlotSet::from_iter(0..SLOTS).ranges(), [0..=16383]);
    }
}
