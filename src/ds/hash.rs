//! The keyed hash of all hash tables: 64 bits, fast for the short keys that a keyspace is full of.
//!
//! It folds 128-bit products: the words of a key, each masked with secret bits, are multiplied and
//! the two halves of the product xored. Every multiplication has secret bits in both factors, so
//! that someone who does not know the seed can neither force a factor to zero nor compute which
//! keys fall together. The table takes a key's bucket from the high bits and its tag from the low
//! byte, so all bits have to be good: hence one folding more at the end.

use std::hash::{BuildHasher, Hasher};
use std::sync::OnceLock;

/// What a table hashes its keys with.
pub trait HashKeys: Copy + Send + 'static {
    /// The hash of `key`. The high bits say where in a table it lies, the low byte is its tag: both have to be good.
    fn hash(&self, key: &[u8]) -> u64;
}

/// Odd constants without pattern (from the binary digits of pi) that tell the uses of the seed
/// apart.
const PI: [u64; 4] =
    [0x243f_6a88_85a3_08d3, 0x1319_8a2e_0370_7345, 0xa409_3822_299f_31d1, 0x082e_fa98_ec4e_6c89];

/// The secret key of a hash. Two tables with equal seeds hash alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HashSeed {
    left: u64,
    right: u64,
}

impl HashSeed {
    /// Makes a seed of 16 bytes, which should be random and secret. Any value works, also zero.
    pub const fn new(random: [u64; 2]) -> Self {
        let left = fold(random[0] ^ PI[0], random[1] ^ PI[1]) ^ random[0];
        let right = fold(random[1] ^ PI[2], random[0] ^ PI[3]) ^ random[1];
        Self { left: left ^ PI[1], right: right ^ PI[2] }
    }

    /// The hash of `key`, all 64 bits equally good.
    #[inline]
    pub fn hash(&self, key: &[u8]) -> u64 {
        let mut state = self.left;
        // Two words that overlap where the key is short: every byte is read, and no loop runs over
        // the odd ones.
        let (a, b) = if let Some(tail) = key.last_chunk::<16>() {
            if key.len() > 16 {
                state = self.absorb(key);
            }
            words(tail)
        } else if let (Some(a), Some(b)) = (key.first_chunk(), key.last_chunk()) {
            (u64::from_le_bytes(*a), u64::from_le_bytes(*b))
        } else if let (Some(a), Some(b)) = (key.first_chunk(), key.last_chunk()) {
            (u64::from(u32::from_le_bytes(*a)), u64::from(u32::from_le_bytes(*b)))
        } else if let (Some(&a), Some(&b)) = (key.first(), key.last()) {
            (u64::from(a) << 8 | u64::from(key[key.len() / 2]), u64::from(b))
        } else {
            (0, 0)
        };
        let folded = fold(a ^ state, b ^ self.right);
        fold(folded ^ self.left ^ key.len() as u64, self.right ^ PI[3])
    }

    /// Folds a `key` longer than 16 bytes into 64 bits, all but its last 16 bytes or less.
    fn absorb(&self, key: &[u8]) -> u64 {
        let mut rest = key;
        let mut state = self.left;
        // Two lanes, since a lane alone would wait for each product.
        let mut other = self.left;
        while rest.len() > 32 {
            let Some((chunk, tail)) = rest.split_first_chunk::<32>() else {
                break;
            };
            let (a, b) = chunk.split_at(16);
            state = self.round(state, PI[0], a);
            other = self.round(other, PI[1], b);
            rest = tail;
        }
        state ^= other.rotate_left(32) ^ self.left.rotate_left(32);
        if rest.len() > 16 {
            state = self.round(state, PI[2], rest);
        }
        state
    }

    /// Folds the first 16 bytes of `bytes` into `state`.
    #[inline]
    fn round(&self, state: u64, lane: u64, bytes: &[u8]) -> u64 {
        let Some((a, b)) = bytes.first_chunk().map(words) else {
            return state;
        };
        fold(a ^ state, b ^ lane ^ self.right)
    }
}

impl HashKeys for HashSeed {
    #[inline]
    fn hash(&self, key: &[u8]) -> u64 {
        HashSeed::hash(self, key)
    }
}

/// The seed of the tables inside values, which outlive any server that a test may start.
static SEED: OnceLock<HashSeed> = OnceLock::new();

/// Chooses what [`seed`] returns. Only the first choice counts, and only before the first use.
pub fn set_seed(seed: HashSeed) {
    SEED.get_or_init(|| seed);
}

/// The seed of the tables inside values: the same for as long as the process lives. Where nobody has chosen one, as
/// in tests, it is a fixed one.
#[inline]
pub fn seed() -> HashSeed {
    *SEED.get_or_init(|| HashSeed::new([PI[0], PI[1]]))
}

/// For the standard library's tables.
impl BuildHasher for HashSeed {
    type Hasher = SeededHasher;

    fn build_hasher(&self) -> SeededHasher {
        SeededHasher { seed: *self, state: 0 }
    }
}

/// Hashes the parts of a key as [`HashSeed::hash`] does, one after the other.
#[derive(Clone, Copy, Debug)]
pub struct SeededHasher {
    seed: HashSeed,
    state: u64,
}

impl Hasher for SeededHasher {
    #[inline]
    fn write(&mut self, bytes: &[u8]) {
        self.write_u64(self.seed.hash(bytes));
    }

    #[inline]
    fn write_u64(&mut self, n: u64) {
        self.state = fold(self.state ^ n ^ self.seed.left, self.seed.right ^ PI[2]);
    }

    /// The length of a part: it is in that part's hash.
    #[inline]
    fn write_usize(&mut self, _: usize) {}

    #[inline]
    fn finish(&self) -> u64 {
        self.state
    }
}

/// The xor of both halves of the 128-bit product.
#[inline]
const fn fold(a: u64, b: u64) -> u64 {
    let product = a as u128 * b as u128;
    product as u64 ^ (product >> 64) as u64
}

#[inline]
fn words(bytes: &[u8; 16]) -> (u64, u64) {
    let both = u128::from_le_bytes(*bytes);
    (both as u64, (both >> 64) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    const SEED: HashSeed = HashSeed::new([1, 2]);

    #[test]
    fn depends_on_seed_and_length() {
        for len in 0..200 {
            let key = vec![0; len];
            assert_ne!(SEED.hash(&key), SEED.hash(&vec![0; len + 1]), "length {len}");
            assert_ne!(SEED.hash(&key), HashSeed::new([2, 1]).hash(&key), "length {len}");
            assert_eq!(SEED.hash(&key), HashSeed::new([1, 2]).hash(&key), "length {len}");
        }
        assert_ne!(HashSeed::new([0, 0]).hash(b"a"), 0);
    }

    /// What is public, the constants and what they make of each other, is of no use to who chooses the keys: no word of
    /// a key makes a factor zero, whatever stands beside it, where the seed is not known.
    #[test]
    fn no_word_cancels_what_is_public() {
        let mut words: Vec<u64> = PI.iter().flat_map(|a| PI.map(|b| a ^ b)).collect();
        words.extend(PI);
        words.extend(PI.map(|word| !word));
        let keys = |word: u64, len: usize, at: usize| {
            (0..64u64).map(move |n| {
                let mut key: Vec<u8> = n.to_le_bytes().into_iter().cycle().take(len).collect();
                key[at..at + 8].copy_from_slice(&word.to_le_bytes());
                key
            })
        };
        for seed in (0..8).map(|n| HashSeed::new([n, n << 32])) {
            for (len, at) in [(16, 0), (16, 8), (24, 0), (32, 8), (48, 16), (80, 24), (80, 40)] {
                for &word in &words {
                    let hashes: HashSet<u64> =
                        keys(word, len, at).map(|key| seed.hash(&key)).collect();
                    assert_eq!(hashes.len(), 64, "{word:x} at {at} of {len}");
                }
            }
        }
    }

    /// Each bit of a key, at every length (from 3 on, where there are enough keys), flips every bit
    /// of the hash about half of the time.
    #[test]
    fn avalanches() {
        const TRIALS: u32 = 400;
        for len in (3..40).chain([47, 48, 49, 63, 64, 65, 80, 96, 97, 130]) {
            for bit in (0..len * 8).step_by(13) {
                let mut flips = [0u32; 64];
                for trial in 0..TRIALS {
                    let word = SEED.hash(&trial.to_le_bytes());
                    let mut key: Vec<u8> = (0..len).map(|i| (word >> (i % 8 * 8)) as u8).collect();
                    let before = SEED.hash(&key);
                    key[bit / 8] ^= 1 << (bit % 8);
                    let changed = before ^ SEED.hash(&key);
                    flips.iter_mut().enumerate().for_each(|(i, n)| *n += (changed >> i & 1) as u32);
                }
                // Six standard deviations (10 each) from the middle.
                let fair = TRIALS / 2 - 60..=TRIALS / 2 + 60;
                assert!(
                    flips.iter().all(|n| fair.contains(n)),
                    "length {len} bit {bit}: {flips:?}"
                );
            }
        }
    }

    /// Keys as people make them fill the buckets (high bits) and the tags (low byte) evenly.
    #[test]
    fn spreads_patterned_keys() {
        const KEYS: usize = 100_000;
        let patterns: [fn(usize) -> Vec<u8>; 5] = [
            |i| format!("key:{i:012}").into_bytes(),
            |i| i.to_string().into_bytes(),
            |i| (i as u64).to_be_bytes().to_vec(),
            |i| format!("user:{i}:a rather long name of a field, {i:x}").into_bytes(),
            |i| [(i as u128) << 40, 0].iter().flat_map(|w| w.to_le_bytes()).collect(),
        ];
        for (number, pattern) in patterns.iter().enumerate() {
            let hashes: HashSet<u64> = (0..KEYS).map(|i| SEED.hash(&pattern(i))).collect();
            assert_eq!(hashes.len(), KEYS, "pattern {number}");
            for shift in [0, 8, 28, 48, 56] {
                let mut counts = [0f64; 256];
                hashes.iter().for_each(|hash| counts[(hash >> shift) as usize & 255] += 1.0);
                let mean = KEYS as f64 / 256.0;
                let chi_square: f64 = counts.iter().map(|n| (n - mean).powi(2) / mean).sum();
                // 255 degrees of freedom: mean 255, standard deviation 22.6.
                assert!(
                    (120.0..390.0).contains(&chi_square),
                    "pattern {number} shift {shift}: {chi_square}"
                );
            }
        }
    }
}
