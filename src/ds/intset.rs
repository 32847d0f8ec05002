//! An intset: a sorted set of integers in one piece of memory, byte for byte the format of Redis.
//!
//! ```text
//! <width: u32 LE, 2 | 4 | 8> <number of integers: u32 LE> <integer, LE, width bytes> …
//! ```
//!
//! All integers have the width that the widest one needs, so any of them is found by its index. A
//! wider one that is added widens all; nothing narrows them again.

use crate::util::alloc::relocate::Relocator;
use std::cmp::Ordering;
use std::mem;

const HEADER: usize = 8;

/// An owned intset. It has no spare memory, so that its owner needs only a pointer and a length; what is left in the
/// allocator's size class is found again when it grows.
#[derive(Clone, PartialEq, Eq)]
pub struct Intset(Box<[u8]>);

impl Default for Intset {
    fn default() -> Self {
        Self::new()
    }
}

impl std::fmt::Debug for Intset {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

impl Intset {
    /// An empty intset.
    pub fn new() -> Self {
        Intset(Box::new([2, 0, 0, 0, 0, 0, 0, 0]))
    }

    /// Takes `bytes` that came from outside. The header is always checked; with `deep` also the
    /// order, which excludes duplicates. `None` if they are wrong, or hold no integer at all.
    pub fn from_bytes(bytes: Vec<u8>, deep: bool) -> Option<Self> {
        let width = u32::from_le_bytes(*bytes.first_chunk()?) as usize;
        let len = u32::from_le_bytes(*bytes.get(4..)?.first_chunk()?) as usize;
        if !matches!(width, 2 | 4 | 8)
            || len == 0
            || bytes.len() - HEADER != len.checked_mul(width)?
        {
            return None;
        }
        let set = Intset(bytes.into_boxed_slice());
        (!deep || set.iter().is_sorted_by(|a, b| a < b)).then_some(set)
    }

    /// The whole intset, header included.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The bytes, given away.
    pub fn into_bytes(self) -> Vec<u8> {
        self.0.into_vec()
    }

    /// Size of the whole intset in bytes.
    pub fn bytes(&self) -> usize {
        self.0.len()
    }

    /// Bytes of memory held, without the struct itself.
    pub fn heap_bytes(&self) -> usize {
        self.0.len()
    }

    /// Shows its allocation to the relocator.
    pub fn relocate(&mut self, relocator: &mut Relocator) {
        relocator.slice(&mut self.0);
    }

    /// Number of integers.
    pub fn len(&self) -> usize {
        (self.0.len() - HEADER) / self.width()
    }

    /// Whether there is no integer.
    pub fn is_empty(&self) -> bool {
        self.0.len() == HEADER
    }

    /// The integer at `index` in ascending order.
    #[inline]
    pub fn get(&self, index: usize) -> Option<i64> {
        (index < self.len()).then(|| self.at(index))
    }

    /// An integer picked by a random `word`, each with the same chance (to within 2^-32 for any set
    /// that fits memory).
    pub fn random(&self, word: u64) -> Option<i64> {
        // The high half of the product is `word` scaled to 0..len.
        self.get(((u128::from(word) * self.len() as u128) >> 64) as usize)
    }

    /// Is `value` in the set?
    pub fn contains(&self, value: i64) -> bool {
        width_of(value) <= self.width() && self.search(value).is_ok()
    }

    /// Adds `value`; `false` if it was there already.
    ///
    /// The header counts up to 2^32 - 1 integers; a set keeps far below by its configured limit,
    /// and beyond nothing is added.
    pub fn add(&mut self, value: i64) -> bool {
        if width_of(value) > self.width() {
            return self.widen_and_add(value);
        }
        match self.search(value) {
            Ok(_) => false,
            Err(_) if self.is_full() => false,
            Err(index) => {
                self.insert(index, value);
                true
            }
        }
    }

    /// Removes `value`; `false` if it was not there.
    pub fn remove(&mut self, value: i64) -> bool {
        if width_of(value) > self.width() {
            return false;
        }
        let Ok(index) = self.search(value) else {
            return false;
        };
        let width = self.width();
        let at = HEADER + index * width;
        let mut bytes = mem::take(&mut self.0).into_vec();
        bytes.drain(at..at + width);
        self.0 = bytes.into_boxed_slice();
        self.set_len();
        true
    }

    /// The integers in ascending order; reversible.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = i64> + ExactSizeIterator + Clone + '_ {
        self.0[HEADER..].chunks_exact(self.width()).map(read)
    }

    fn width(&self) -> usize {
        usize::from(self.0[0])
    }

    fn is_full(&self) -> bool {
        self.len() >= u32::MAX as usize
    }

    #[inline]
    fn at(&self, index: usize) -> i64 {
        let width = self.width();
        let start = HEADER + index * width;
        read(&self.0[start..start + width])
    }

    /// The index of `value`, or the one to insert it at.
    fn search(&self, value: i64) -> Result<usize, usize> {
        match self.width() {
            2 => self.search_wide::<2>(value),
            4 => self.search_wide::<4>(value),
            _ => self.search_wide::<8>(value),
        }
    }

    /// The same among integers of this many bytes.
    fn search_wide<const WIDTH: usize>(&self, value: i64) -> Result<usize, usize> {
        let (all, _) = self.0[HEADER..].as_chunks::<WIDTH>();
        let [first, .., last] = all else {
            // None, or one.
            return match all.first().map(|only| value.cmp(&read(only))) {
                None | Some(Ordering::Less) => Err(0),
                Some(Ordering::Equal) => Ok(0),
                Some(Ordering::Greater) => Err(1),
            };
        };
        // Ascending additions are the common way to fill a set.
        match value.cmp(&read(last)) {
            Ordering::Greater => return Err(all.len()),
            Ordering::Equal => return Ok(all.len() - 1),
            Ordering::Less => {}
        }
        if value < read(first) {
            return Err(0);
        }
        all.binary_search_by(|at| read(at).cmp(&value))
    }

    fn insert(&mut self, index: usize, value: i64) {
        let width = self.width();
        let at = HEADER + index * width;
        let mut bytes = mem::take(&mut self.0).into_vec();
        let old_total = bytes.len();
        bytes.reserve_exact(width);
        bytes.resize(old_total + width, 0);
        bytes.copy_within(at..old_total, at + width);
        bytes[at..at + width].copy_from_slice(&value.to_le_bytes()[..width]);
        self.0 = bytes.into_boxed_slice();
        self.set_len();
    }

    /// A value that needs more width than all others is less or greater than all of them.
    fn widen_and_add(&mut self, value: i64) -> bool {
        if self.is_full() {
            return false;
        }
        let width = width_of(value);
        let index = if value < 0 { 0 } else { self.len() };
        let mut wide = Vec::with_capacity(HEADER + (self.len() + 1) * width);
        wide.extend_from_slice(&(width as u32).to_le_bytes());
        wide.extend_from_slice(&[0; 4]);
        for old in self.iter() {
            wide.extend_from_slice(&old.to_le_bytes()[..width]);
        }
        self.0 = wide.into_boxed_slice();
        self.insert(index, value);
        true
    }

    fn set_len(&mut self) {
        let len = self.len() as u32;
        self.0[4..HEADER].copy_from_slice(&len.to_le_bytes());
    }
}

/// Bytes that `value` needs.
fn width_of(value: i64) -> usize {
    if i16::try_from(value).is_ok() {
        2
    } else if i32::try_from(value).is_ok() {
        4
    } else {
        8
    }
}

/// The integer in `bytes`, which are as many as its width.
#[inline(always)]
fn read(bytes: &[u8]) -> i64 {
    match *bytes {
        [a, b] => i64::from(i16::from_le_bytes([a, b])),
        [a, b, c, d] => i64::from(i32::from_le_bytes([a, b, c, d])),
        [a, b, c, d, e, f, g, h] => i64::from_le_bytes([a, b, c, d, e, f, g, h]),
        // No other width gets through `from_bytes`.
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    fn set_of(values: &[i64]) -> Intset {
        let mut set = Intset::new();
        values.iter().for_each(|&v| assert!(set.add(v)));
        set
    }

    /// The bytes that Redis 7.0.15 has in the payload of DUMP for these sets.
    #[test]
    fn bytes_are_those_of_redis() {
        let head = |width: u8| vec![width, 0, 0, 0, 3, 0, 0, 0];
        let cases: [(i64, u8, &[u8]); 3] = [
            (300, 2, &[0xff, 0xff, 1, 0, 0x2c, 1]),
            (70_000, 4, &[0xff, 0xff, 0xff, 0xff, 1, 0, 0, 0, 0x70, 0x11, 1, 0]),
            (
                5_000_000_000,
                8,
                &[
                    0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1, 0, 0, 0, 0, 0, 0, 0, 0,
                    0xf2, 5, 0x2a, 1, 0, 0, 0,
                ],
            ),
        ];
        for (third, width, body) in cases {
            let bytes = [&head(width), body].concat();
            assert_eq!(set_of(&[1, -1, third]).as_bytes(), bytes);
            assert_eq!(set_of(&[third, 1, -1]).as_bytes(), bytes);
            assert_eq!(Intset::from_bytes(bytes, true), Some(set_of(&[1, -1, third])));
        }
    }

    #[test]
    fn bad_bytes_are_refused() {
        let good = set_of(&[-5, 1, 300]).into_bytes();
        assert!(Intset::from_bytes(good.clone(), true).is_some());
        for cut in 0..good.len() {
            assert!(Intset::from_bytes(good[..cut].to_vec(), true).is_none());
        }
        let change = |at: usize, byte: u8| {
            let mut bytes = good.clone();
            bytes[at] = byte;
            bytes
        };
        assert!(Intset::from_bytes(change(0, 3), false).is_none());
        assert!(Intset::from_bytes(change(0, 4), false).is_none());
        assert!(Intset::from_bytes(change(1, 1), false).is_none());
        assert!(Intset::from_bytes(change(7, 0x80), false).is_none());
        let unsorted = change(9, 0x7f);
        assert!(Intset::from_bytes(unsorted.clone(), true).is_none());
        assert!(Intset::from_bytes(unsorted, false).is_some());
        let duplicate = vec![2, 0, 0, 0, 2, 0, 0, 0, 1, 0, 1, 0];
        assert!(Intset::from_bytes(duplicate, true).is_none());
        assert!(Intset::from_bytes(Intset::new().into_bytes(), true).is_none());
    }

    #[test]
    fn random_reaches_every_integer() {
        let set = set_of(&[10, 20, 30, 40]);
        let picked: Vec<_> = (0..4).map(|i| set.random(i << 62).unwrap()).collect();
        assert_eq!(picked, [10, 20, 30, 40]);
        assert_eq!(set.random(u64::MAX), Some(40));
        assert_eq!(Intset::new().random(1), None);
    }

    fn value() -> impl Strategy<Value = i64> {
        prop_oneof![
            3 => -20i64..20,
            1 => any::<i16>().prop_map(i64::from),
            1 => any::<i32>().prop_map(i64::from),
            1 => any::<i64>(),
        ]
    }

    proptest! {
        #[test]
        fn behaves_as_a_btree_set(ops in prop::collection::vec((any::<bool>(), value()), 0..200)) {
            let mut set = Intset::new();
            let mut model = BTreeSet::new();
            for (add, value) in ops {
                if add {
                    prop_assert_eq!(set.add(value), model.insert(value));
                } else {
                    prop_assert_eq!(set.remove(value), model.remove(&value));
                }
                prop_assert_eq!(set.contains(value), model.contains(&value));
            }
            prop_assert!(set.iter().eq(model.iter().copied()));
            prop_assert!(set.iter().rev().eq(model.iter().rev().copied()));
            prop_assert_eq!(set.len(), model.len());
            prop_assert_eq!(set.is_empty(), model.is_empty());
            prop_assert_eq!(set.get(model.len()), None);
            for (i, &v) in model.iter().enumerate() {
                prop_assert_eq!(set.get(i), Some(v));
                prop_assert!(set.contains(v));
            }
            if !model.is_empty() {
                prop_assert_eq!(Intset::from_bytes(set.as_bytes().to_vec(), true), Some(set));
            }
        }

        #[test]
        fn hostile_bytes_never_panic(
            mut bytes in prop::collection::vec(any::<u8>(), 0..40),
            width in 0u8..10,
        ) {
            if let Some(first) = bytes.first_chunk_mut::<4>() {
                *first = u32::from(width).to_le_bytes();
            }
            let body = bytes.len().saturating_sub(8) / usize::from(width.max(1));
            if let Some(len) = bytes.get_mut(4..8) {
                len.copy_from_slice(&(body as u32).to_le_bytes());
            }
            if let Some(mut set) = Intset::from_bytes(bytes, false) {
                set.iter().for_each(|v| { set.contains(v); });
                set.add(5);
                set.remove(5);
                set.add(i64::MIN);
            }
        }
    }
}
