//! Where choices come from: a seeded generator, so that a seed replays everything that was made from it.
#![forbid(unsafe_code)]

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

pub struct Source {
    rng: SmallRng,
}

/// Integers at which something changes.
const EDGES: &[i64] = &[
    0,
    -1,
    1,
    127,
    128,
    255,
    256,
    -128,
    -129,
    32767,
    32768,
    65535,
    65536,
    8_388_607,
    8_388_608,
    i32::MAX as i64,
    i32::MIN as i64,
    u32::MAX as i64,
    1 << 32,
    1 << 46,
    1 << 53,
    i64::MAX / 1000,
    i64::MAX - 1,
    i64::MAX,
    i64::MIN,
    i64::MIN + 1,
];

impl Source {
    pub fn new(seed: u64) -> Source {
        Source { rng: SmallRng::seed_from_u64(seed) }
    }

    /// Choices that an input itself decides: how it is cut into pieces, for one.
    pub fn of_input(input: &[u8]) -> Source {
        let fnv = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3);
        Source::new(input.iter().fold(0xcbf2_9ce4_8422_2325, fnv))
    }

    /// A number in `0..bound`; 0 if there is none.
    pub fn below(&mut self, bound: usize) -> usize {
        self.rng.random_range(0..bound.max(1))
    }

    pub fn between(&mut self, from: i64, to: i64) -> i64 {
        self.rng.random_range(from..=to)
    }

    /// True so many times of a hundred.
    pub fn percent(&mut self, chance: u32) -> bool {
        self.rng.random_range(0..100) < chance
    }

    pub fn pick<'a, T: ?Sized>(&mut self, choices: &[&'a T]) -> &'a T {
        choices[self.below(choices.len())]
    }

    /// An integer at an edge, or close to one.
    pub fn edge(&mut self) -> i64 {
        EDGES[self.below(EDGES.len())].wrapping_add(self.between(-1, 1))
    }

    /// Bytes that mean nothing, at most so many.
    pub fn junk(&mut self, most: usize) -> Vec<u8> {
        let len = self.below(most + 1);
        (0..len).map(|_| self.rng.random()).collect()
    }

    /// Where to cut `len` bytes so that pieces come about: often nowhere, sometimes everywhere.
    pub fn cuts(&mut self, len: usize) -> Vec<usize> {
        let pieces = [0, 1, 3, 16, len][self.below(5)];
        let mut cuts: Vec<usize> = (0..pieces.min(512)).map(|_| self.below(len)).collect();
        cuts.extend([0, len]);
        cuts.sort_unstable();
        cuts.dedup();
        cuts
    }

    /// Changes an input as a faulty disk or wire, or somebody malicious, would.
    pub fn mutate(&mut self, input: &mut Vec<u8>) {
        for _ in 0..=self.below(4) {
            let at = self.below(input.len());
            match self.below(8) {
                0 if !input.is_empty() => input[at] ^= 1 << self.below(8),
                1 if !input.is_empty() => input[at] = self.rng.random(),
                2 => input.truncate(at),
                3 => {
                    let junk = self.junk(9);
                    input.splice(at..at, junk);
                }
                4 => {
                    let end = (at + 1 + self.below(9)).min(input.len());
                    input.drain(at..end);
                }
                5 => {
                    let end = (at + 1 + self.below(40)).min(input.len());
                    let copy = input[at..end].to_vec();
                    let to = self.below(input.len());
                    input.splice(to..to, copy);
                }
                6 => {
                    let n = self.edge().to_le_bytes();
                    let width = [1, 2, 4, 8][self.below(4)].min(input.len() - at);
                    input[at..at + width].copy_from_slice(&n[..width]);
                }
                7 if !input.is_empty() => {
                    // A number in digits becomes another.
                    if let Some(first) = input[at..].iter().position(u8::is_ascii_digit) {
                        let digits = at + first..at + first + 1;
                        input.splice(digits, self.edge().to_string().into_bytes());
                    }
                }
                _ => {}
            }
        }
    }
}
