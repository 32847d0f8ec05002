//! The order in which a table keeps keys: that of their hashes, or, where neighbouring slots of a cluster share a
//! table, that of their slots first.
//!
//! ```text
//! bit  63                                    16            7     0
//!     | position: 48 bits                      |           | tag  |    of a key's hash
//!     | slot: 7 | hash, from bit 63 to bit 7 …                    |    where slots come first
//! ```
//! Of a slot's number the lowest seven bits count, so that 128 slots, a *run*, can share a table. Wherever a key's
//! place is spoken of outside of its table (by cursors, and by walks), it is that of its hash.

use crate::ds::hash::{HashKeys, HashSeed};
use crate::ds::table::{POSITIONS, position};
use crate::util::slot::key_slot;
use std::ops::Range;

/// Slots that can share a table.
pub const RUN: u16 = 1 << RUN_BITS;
const RUN_BITS: u32 = 7;

/// How a table orders its keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyOrder {
    seed: HashSeed,
    slot_first: bool,
}

impl KeyOrder {
    pub const fn by_hash(seed: HashSeed) -> KeyOrder {
        KeyOrder { seed, slot_first: false }
    }

    pub const fn by_slot(seed: HashSeed) -> KeyOrder {
        KeyOrder { seed, slot_first: true }
    }

    /// That of a table that has the same keys in the order of their hashes.
    pub const fn without_slots(self) -> KeyOrder {
        KeyOrder::by_hash(self.seed)
    }

    /// The position of a key's hash, whatever the order.
    pub fn position(self, key: &[u8]) -> u64 {
        position(self.seed.hash(key))
    }

    /// The slot and the position of the keys that lie at one of the table's positions, if that has this slot.
    pub fn place(self, slot: u16, at: u64) -> (u16, u64) {
        let run = slot / RUN * RUN;
        match self.slot_first {
            true => {
                let of_run = (at >> (POSITIONS.trailing_zeros() - RUN_BITS)) as u16;
                (run + of_run, at << RUN_BITS & (POSITIONS - 1))
            }
            false => (slot, at),
        }
    }

    /// Where a slot's keys lie.
    pub fn part(self, slot: u16) -> Part {
        match self.slot_first {
            true => Part { start: position(slot_first(slot, 0)), shift: RUN_BITS },
            false => Part { start: 0, shift: 0 },
        }
    }
}

impl HashKeys for KeyOrder {
    #[inline]
    fn hash(&self, key: &[u8]) -> u64 {
        let hash = self.seed.hash(key);
        if self.slot_first { slot_first(key_slot(key), hash) } else { hash }
    }
}

/// The hash of a key in a table that has the slot first.
#[inline]
pub fn slot_first(slot: u16, hash: u64) -> u64 {
    u64::from(slot) << (u64::BITS - RUN_BITS) | hash >> RUN_BITS
}

/// The positions of a table at which the keys of a slot lie: all of them, or a part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    start: u64,
    /// How many of the last bits of a position are not kept.
    shift: u32,
}

impl Part {
    /// All positions that it has in the table.
    pub fn all(self) -> Range<u64> {
        self.range(&(0..POSITIONS))
    }

    /// Where in the table keys lie that have these positions; at the ends there may be others, too.
    pub fn range(self, positions: &Range<u64>) -> Range<u64> {
        let end = positions.end.min(POSITIONS).div_ceil(1 << self.shift);
        self.start + (positions.start >> self.shift)..self.start + end
    }

    /// The positions that keys have which lie at one of the table's.
    pub fn positions(self, at: u64) -> Range<u64> {
        let first = (at - self.start) << self.shift;
        first..first + (1 << self.shift)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_is_divided_among_its_slots() {
        let order = KeyOrder::by_slot(HashSeed::new([1, 2]));
        assert_eq!(order.part(0).all(), 0..1 << 41);
        assert_eq!(order.part(RUN).all(), 0..1 << 41);
        assert_eq!(order.part(RUN + 127).all().end, POSITIONS);
        let part = order.part(300);
        for key in (0..100).map(|n| format!("{{tag}}{n}")) {
            let (hash, position) =
                (order.seed.hash(key.as_bytes()), order.position(key.as_bytes()));
            let at = super::position(slot_first(300, hash));
            assert!(part.all().contains(&at) && part.positions(at).contains(&position), "{key}");
            assert!(part.range(&(position..position + 1)).contains(&at));
            assert_eq!(order.place(256, at), (300, part.positions(at).start));
        }
        let whole = KeyOrder::by_hash(order.seed).part(300);
        assert_eq!((whole.all(), whole.positions(5)), (0..POSITIONS, 5..6));
        assert_eq!(KeyOrder::by_hash(order.seed).place(300, 5), (300, 5));
    }
}
