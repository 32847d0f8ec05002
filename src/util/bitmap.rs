//! Strings of bytes as strings of bits: bit 0 is the highest bit of the first byte. Counting and searching bits,
//! combining bitmaps, and integers of any width at any place.

use super::simd;

/// How many bits are set.
pub fn count(bytes: &[u8]) -> u64 {
    if bytes.len() < WIDE {
        return count_words(bytes);
    }
    let (blocks, rest) = bytes.as_chunks();
    let by_columns = if blocks.len() < MANY { None } else { simd::count_ones(blocks) };
    match by_columns {
        Some(ones) => ones + count(rest),
        None => simd::widest(|| count_words(bytes)),
    }
}

/// From so many bytes on, wider instructions are worth asking for.
const WIDE: usize = 64;
/// From so many blocks on, counting by columns is worth its end.
const MANY: usize = 4;

#[inline(always)]
fn count_words(bytes: &[u8]) -> u64 {
    let (words, rest) = bytes.as_chunks::<8>();
    let words: u64 =
        words.iter().map(|word| u64::from(u64::from_ne_bytes(*word).count_ones())).sum();
    words + rest.iter().map(|byte| u64::from(byte.count_ones())).sum::<u64>()
}

/// How many of the bits from `first` to `last` are set, both included, which must be bits of `bytes`.
pub fn count_range(bytes: &[u8], first: u64, last: u64) -> u64 {
    let (from, to) = ((first / 8) as usize, (last / 8) as usize);
    let before = u64::from((bytes[from] & !mask_from(first)).count_ones());
    let after = u64::from((bytes[to] & !mask_to(last)).count_ones());
    count(&bytes[from..=to]) - before - after
}

/// The first bit from `first` to `last`, both included, that is `wanted`. They must be bits of `bytes`.
pub fn find(bytes: &[u8], first: u64, last: u64, wanted: bool) -> Option<u64> {
    // Searching for zeros is searching for ones in the complement.
    let flip = if wanted { 0 } else { 0xff };
    let (from, to) = ((first / 8) as usize, (last / 8) as usize);
    let in_byte = |at: usize, byte: u8| at as u64 * 8 + u64::from(byte.leading_zeros());
    let edge = (bytes[from] ^ flip) & mask_from(first);
    let found = if edge != 0 {
        in_byte(from, edge)
    } else {
        let rest = &bytes[from + 1..=to.max(from)];
        let (words, _) = rest.as_chunks::<8>();
        let empty = [flip; 8];
        let skipped = 8 * words.iter().take_while(|word| **word == empty).count();
        let at = skipped + rest[skipped..].iter().position(|&byte| byte != flip)?;
        in_byte(from + 1 + at, rest[at] ^ flip)
    };
    (found <= last).then_some(found)
}

/// The bits of a byte from bit `first` (of the bitmap) on.
fn mask_from(first: u64) -> u8 {
    0xff >> (first % 8)
}

/// The bits of a byte up to bit `last` (of the bitmap).
fn mask_to(last: u64) -> u8 {
    0xff << (7 - last % 8)
}

/// The unsigned integer of `width` bits (up to 64) from bit `offset` on. Behind the end all bits are 0.
pub fn field(bytes: &[u8], offset: u64, width: u32) -> u64 {
    let (window, shift) = window(bytes, offset, width);
    (window >> shift) as u64 & low_bits(width)
}

/// Overwrites an integer of `width` bits (up to 64) from bit `offset` on with the low bits of `value`. It must lie
/// within `bytes`.
pub fn set_field(bytes: &mut [u8], offset: u64, width: u32, value: u64) {
    let (old, shift) = window(bytes, offset, width);
    let mask = u128::from(low_bits(width)) << shift;
    let new = (old & !mask) | (u128::from(value) << shift & mask);
    let start = (offset / 8) as usize;
    let room = bytes.len().min(start + WINDOW) - start;
    bytes[start..start + room].copy_from_slice(&new.to_be_bytes()[..room]);
}

/// A field touches nine bytes at most.
const WINDOW: usize = 16;

/// The bytes around a field as one number, and how far the field is from its low end.
fn window(bytes: &[u8], offset: u64, width: u32) -> (u128, u32) {
    let mut window = [0; WINDOW];
    let start = usize::try_from(offset / 8).unwrap_or(usize::MAX);
    let rest = bytes.get(start..).unwrap_or(&[]);
    let n = rest.len().min(WINDOW);
    window[..n].copy_from_slice(&rest[..n]);
    (u128::from_be_bytes(window), 128 - width - (offset % 8) as u32)
}

fn low_bits(width: u32) -> u64 {
    u64::MAX.checked_shr(64 - width).unwrap_or(0)
}

/// How two bitmaps are combined.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Combine {
    And,
    Or,
    Xor,
    /// What is in the first and not in the second.
    AndNot,
}

/// Combines `bits` with `other`; the shorter one counts as if it had zeros behind.
pub fn combine(bits: &mut Vec<u8>, other: &[u8], how: Combine) {
    if bits.len() < other.len() {
        bits.resize(other.len(), 0);
    }
    let (common, beyond) = bits.split_at_mut(other.len());
    simd::widest(|| combine_bytes(common, other, how));
    if how == Combine::And {
        beyond.fill(0);
    }
}

#[inline(always)]
fn combine_bytes(bits: &mut [u8], other: &[u8], how: Combine) {
    let pairs = bits.iter_mut().zip(other);
    match how {
        Combine::And => pairs.for_each(|(bits, other)| *bits &= other),
        Combine::Or => pairs.for_each(|(bits, other)| *bits |= other),
        Combine::Xor => pairs.for_each(|(bits, other)| *bits ^= other),
        Combine::AndNot => pairs.for_each(|(bits, other)| *bits &= !other),
    }
}

/// Turns every bit over.
pub fn invert(bits: &mut [u8]) {
    simd::widest(|| bits.iter_mut().for_each(|byte| *byte = !*byte));
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn bits(bytes: &[u8]) -> Vec<bool> {
        (0..bytes.len() * 8).map(|at| bytes[at / 8] >> (7 - at % 8) & 1 == 1).collect()
    }

    /// Mostly runs, as bitmaps that are searched have.
    fn bitmap() -> impl Strategy<Value = Vec<u8>> {
        let byte = prop_oneof![4 => Just(0), 4 => Just(0xff), 1 => any::<u8>()];
        let run = (byte, 0..90usize).prop_map(|(byte, n)| vec![byte; n]);
        prop::collection::vec(run, 0..8).prop_map(|runs| runs.concat())
    }

    proptest! {
        #[test]
        fn counts_and_finds_like_a_list_of_bits(
            bytes in bitmap().prop_filter("empty", |bytes| !bytes.is_empty()),
            a: prop::sample::Index,
            b: prop::sample::Index,
            wanted: bool,
        ) {
            let all = bits(&bytes);
            prop_assert_eq!(count(&bytes), all.iter().filter(|bit| **bit).count() as u64);
            let (a, b) = (a.index(all.len()), b.index(all.len()));
            let (first, last) = (a.min(b), a.max(b));
            let range = &all[first..=last];
            prop_assert_eq!(
                count_range(&bytes, first as u64, last as u64),
                range.iter().filter(|bit| **bit).count() as u64
            );
            let at = range.iter().position(|bit| *bit == wanted);
            prop_assert_eq!(
                find(&bytes, first as u64, last as u64, wanted),
                at.map(|at| (first + at) as u64)
            );
        }

        #[test]
        fn counts_in_blocks_like_byte_by_byte(bytes in prop::collection::vec(any::<u8>(), 0..9000)) {
            let expected: u64 = bytes.iter().map(|byte| u64::from(byte.count_ones())).sum();
            prop_assert_eq!(count(&bytes), expected);
            prop_assert_eq!(count_words(&bytes), expected);
        }

        #[test]
        fn fields_like_a_list_of_bits(
            bytes in bitmap(),
            offset in 0..600u64,
            width in 1..=64u32,
            value: u64,
        ) {
            let mut all = bits(&bytes);
            all.resize(8000, false);
            let place = offset as usize..offset as usize + width as usize;
            let expected = all[place.clone()].iter().fold(0u64, |n, bit| n << 1 | u64::from(*bit));
            prop_assert_eq!(field(&bytes, offset, width), expected);
            let mut bytes = bytes;
            bytes.resize(bytes.len().max(place.end.div_ceil(8)), 0);
            set_field(&mut bytes, offset, width, value);
            for (i, at) in place.enumerate() {
                all[at] = value >> (width as usize - 1 - i) & 1 == 1;
            }
            prop_assert_eq!(&bits(&bytes)[..], &all[..bytes.len() * 8]);
        }

        #[test]
        fn combines_bit_by_bit(a in bitmap(), b in bitmap()) {
            for (how, op) in [
                (Combine::And, (|a, b| a & b) as fn(u8, u8) -> u8),
                (Combine::Or, |a, b| a | b),
                (Combine::Xor, |a, b| a ^ b),
                (Combine::AndNot, |a, b| a & !b),
            ] {
                let mut combined = a.clone();
                combine(&mut combined, &b, how);
                let byte = |bytes: &[u8], at: usize| bytes.get(at).copied().unwrap_or(0);
                let expected: Vec<u8> =
                    (0..a.len().max(b.len())).map(|at| op(byte(&a, at), byte(&b, at))).collect();
                prop_assert_eq!(combined, expected);
            }
        }
    }
}
