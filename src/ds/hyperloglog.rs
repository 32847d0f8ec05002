//! HyperLogLog: how many different elements were added, within 0.81 %, in at most 12 KB; byte for byte Redis's form,
//! which is an ordinary string to whoever does not look.
//!
//! ```text
//! "HYLL" <encoding: u8> <0 0 0> <cached cardinality: u64 LE, highest bit set: not valid> <registers>
//! ```
//! An element's hash selects one of 16384 registers by its low bits; the register keeps the longest run of zeros that
//! the hashes' other bits started with (plus one). Registers are kept in one of two ways:
//!
//! * dense: six bits each, the first in the lowest bits;
//! * sparse: runs, `00nnnnnn` for up to 64 zeros, `01nnnnnn nnnnnnnn` for up to 16384, `1vvvvvnn` for up to four
//!   registers of a value up to 32 (all numbers are stored less one). It becomes dense when it gets too long.
//!
//! The cardinality is estimated from the registers' histogram (Otmar Ertl, "New cardinality estimation algorithms for
//! HyperLogLog sketches", arXiv:1702.01284).

use crate::util::simd::{pack_sixes, raise_to_sixes, widest};

const MAGIC: &[u8; 4] = b"HYLL";
const HEADER: usize = 16;
const ENCODING_AT: usize = 4;
const CACHE_AT: usize = 8;
const DENSE: u8 = 0;
const SPARSE: u8 = 1;

/// Bits of the hash that select a register, and those that are left.
const INDEX_BITS: u32 = 14;
const RUN_BITS: u32 = 64 - INDEX_BITS;
/// How many registers there are.
pub const REGISTERS: usize = 1 << INDEX_BITS;
const REGISTER_MAX: u8 = 63;
const DENSE_LEN: usize = HEADER + REGISTERS * 6 / 8;

const MAX_SHORT_ZEROS: usize = 64;
const MAX_SPARSE_VALUE: u8 = 32;
const MAX_VALUE_RUN: usize = 4;

/// The registers make no sense.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Corrupt;

/// One element of the sparse form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Run {
    /// So many registers are zero.
    Zeros(usize),
    /// The same, in the form that takes two bytes.
    LongZeros(usize),
    /// So many registers have this value.
    Value(u8, usize),
}

impl Run {
    /// The run at the start of `bytes`.
    fn decode(bytes: &[u8]) -> Option<Run> {
        Some(match *bytes {
            [op @ 0..0x40, ..] => Run::Zeros(usize::from(op) + 1),
            [op @ 0x40..0x80, low, ..] => {
                Run::LongZeros((usize::from(op & 0x3f) << 8 | usize::from(low)) + 1)
            }
            [op @ 0x80..=0xff, ..] => Run::Value((op >> 2 & 0x1f) + 1, usize::from(op & 3) + 1),
            _ => return None,
        })
    }

    fn encode(self, out: &mut Vec<u8>) {
        match self {
            Run::Zeros(0) | Run::LongZeros(0) | Run::Value(_, 0) => {}
            Run::Zeros(n) if n <= MAX_SHORT_ZEROS => out.push((n - 1) as u8),
            Run::Zeros(n) | Run::LongZeros(n) => {
                out.extend_from_slice(&[0x40 | ((n - 1) >> 8) as u8, (n - 1) as u8]);
            }
            Run::Value(value, n) => out.push(0x80 | (value - 1) << 2 | (n - 1) as u8),
        }
    }

    fn bytes(self) -> usize {
        if matches!(self, Run::LongZeros(_)) { 2 } else { 1 }
    }

    fn registers(self) -> usize {
        match self {
            Run::Zeros(n) | Run::LongZeros(n) | Run::Value(_, n) => n,
        }
    }
}

/// The runs of a sparse HyperLogLog, and an error where they make no sense.
pub fn runs(hll: &[u8]) -> impl Iterator<Item = Result<Run, Corrupt>> {
    let mut at = HEADER;
    std::iter::from_fn(move || {
        let rest = hll.get(at..).filter(|rest| !rest.is_empty())?;
        let run = Run::decode(rest).ok_or(Corrupt);
        at = run.as_ref().map_or(hll.len(), |run| at + run.bytes());
        Some(run)
    })
}

/// A HyperLogLog to which nothing was added, sparse.
pub fn new() -> Vec<u8> {
    let mut hll = vec![0; HEADER];
    hll[..4].copy_from_slice(MAGIC);
    hll[ENCODING_AT] = SPARSE;
    Run::LongZeros(REGISTERS).encode(&mut hll);
    hll
}

/// Whether a string claims to be a HyperLogLog.
pub fn is_hyperloglog(string: &[u8]) -> bool {
    string.len() >= HEADER
        && string.starts_with(MAGIC)
        && match string[ENCODING_AT] {
            DENSE => string.len() == DENSE_LEN,
            encoding => encoding == SPARSE,
        }
}

/// Whether a HyperLogLog is dense.
pub fn is_dense(hll: &[u8]) -> bool {
    hll[ENCODING_AT] == DENSE
}

/// The cardinality as it was computed last, if nothing was added since.
pub fn cached_count(hll: &[u8]) -> Option<u64> {
    let cached = u64::from_le_bytes(*hll.get(CACHE_AT..)?.first_chunk()?);
    (cached >> 63 == 0).then_some(cached)
}

/// Remembers the cardinality.
pub fn cache_count(hll: &mut [u8], count: u64) {
    hll[CACHE_AT..HEADER].copy_from_slice(&count.to_le_bytes());
}

/// Forgets the cardinality that was computed last.
pub fn forget_count(hll: &mut [u8]) {
    hll[HEADER - 1] |= 0x80;
}

/// Adds an element; returns whether anything has changed. The sparse form becomes dense if it would get longer than
/// `sparse_max` bytes.
pub fn add(hll: &mut Vec<u8>, element: &[u8], sparse_max: u64) -> Result<bool, Corrupt> {
    let (index, value) = place(element);
    raise(hll, index, value, sparse_max)
}

/// Raises a register to `value`, if it is lower.
fn raise(hll: &mut Vec<u8>, index: usize, value: u8, sparse_max: u64) -> Result<bool, Corrupt> {
    if is_dense(hll) {
        return Ok(raise_dense(hll, index, value));
    }
    if value > MAX_SPARSE_VALUE {
        make_dense(hll)?;
        return Ok(raise_dense(hll, index, value));
    }
    let (mut at, mut first, mut before) = (HEADER, 0, HEADER);
    let run = loop {
        let run = Run::decode(&hll[at..]).ok_or(Corrupt)?;
        if index < first + run.registers() {
            break run;
        }
        before = at;
        at += run.bytes();
        first += run.registers();
    };
    let (left, right) = (index - first, first + run.registers() - 1 - index);
    let rest = |n| match run {
        Run::Value(value, _) => Run::Value(value, n),
        Run::Zeros(_) | Run::LongZeros(_) => Run::Zeros(n),
    };
    if matches!(run, Run::Value(old, _) if old >= value) {
        return Ok(false);
    }
    let mut split = Vec::with_capacity(5);
    for part in [rest(left), Run::Value(value, 1), rest(right)] {
        part.encode(&mut split);
    }
    if split.len() > run.bytes() && (hll.len() + split.len() - run.bytes()) as u64 > sparse_max {
        make_dense(hll)?;
        return Ok(raise_dense(hll, index, value));
    }
    hll.splice(at..at + run.bytes(), split);
    merge_values(hll, before);
    forget_count(hll);
    Ok(true)
}

/// Joins runs of the same value that have become neighbours, from the run at `at` on, before which nothing changed.
fn merge_values(hll: &mut Vec<u8>, mut at: usize) {
    // What changed is at most three runs behind one that did not, and one more may join them.
    for _ in 0..5 {
        let Some(run) = hll.get(at..).and_then(Run::decode) else { return };
        if let Run::Value(value, n) = run
            && let Some(Run::Value(next, more)) = hll.get(at + 1..).and_then(Run::decode)
            && next == value
            && n + more <= MAX_VALUE_RUN
        {
            hll.remove(at);
            hll[at] = 0x80 | (value - 1) << 2 | (n + more - 1) as u8;
            continue;
        }
        at += run.bytes();
    }
}

/// Turns the sparse form into the dense one; returns whether it was sparse.
pub fn make_dense(hll: &mut Vec<u8>) -> Result<bool, Corrupt> {
    if is_dense(hll) {
        return Ok(false);
    }
    let mut dense = vec![0; DENSE_LEN];
    dense[..HEADER].copy_from_slice(&hll[..HEADER]);
    dense[ENCODING_AT] = DENSE;
    let mut registers = Registers::default();
    registers.merge(hll)?;
    registers.raise_all(&mut dense, 0)?;
    *hll = dense;
    Ok(true)
}

fn raise_dense(hll: &mut [u8], index: usize, value: u8) -> bool {
    if value <= get_dense(hll, index) {
        return false;
    }
    set_dense(hll, index, value);
    forget_count(hll);
    true
}

/// Where a dense register starts: byte of the string, and bit of that byte.
fn dense_place(index: usize) -> (usize, usize) {
    (HEADER + index * 6 / 8, index * 6 % 8)
}

fn get_dense(hll: &[u8], index: usize) -> u8 {
    let (at, shift) = dense_place(index);
    // The last register ends with the last byte.
    let two = u16::from_le_bytes([hll[at], hll.get(at + 1).copied().unwrap_or(0)]);
    (two >> shift) as u8 & REGISTER_MAX
}

fn set_dense(hll: &mut [u8], index: usize, value: u8) {
    let (at, shift) = dense_place(index);
    let [low, high] = (u16::from(value) << shift).to_le_bytes();
    let [low_mask, high_mask] = (u16::from(REGISTER_MAX) << shift).to_le_bytes();
    hll[at] = hll[at] & !low_mask | low;
    if high_mask != 0 {
        hll[at + 1] = hll[at + 1] & !high_mask | high;
    }
}

/// All registers, one byte each: a union of HyperLogLogs, or one of them opened.
#[derive(Clone, Debug, PartialEq)]
pub struct Registers(Box<[u8; REGISTERS]>);

impl Default for Registers {
    fn default() -> Self {
        Registers(Box::new([0; REGISTERS]))
    }
}

impl Registers {
    /// Joins what was added to `hll`.
    pub fn merge(&mut self, hll: &[u8]) -> Result<(), Corrupt> {
        if is_dense(hll) {
            let packed = &hll[HEADER..];
            if !raise_to_sixes(self.0.as_chunks_mut().0, packed.as_chunks().0) {
                self.raise_by_eights(packed);
            }
            return Ok(());
        }
        let mut at = 0;
        for run in runs(hll) {
            let run = run?;
            let end = at + run.registers();
            let registers = self.0.get_mut(at..end).ok_or(Corrupt)?;
            if let Run::Value(value, _) = run {
                registers.iter_mut().for_each(|register| *register = value.max(*register));
            }
            at = end;
        }
        if at == REGISTERS { Ok(()) } else { Err(Corrupt) }
    }

    /// Raises the registers of `hll`, none of which is higher, to these.
    pub fn raise_all(&self, hll: &mut Vec<u8>, sparse_max: u64) -> Result<(), Corrupt> {
        if is_dense(hll) {
            let packed = &mut hll[HEADER..];
            if !pack_sixes(self.0.as_chunks().0, packed.as_chunks_mut().0) {
                self.pack_by_eights(packed);
            }
            return Ok(());
        }
        for (index, &value) in self.0.iter().enumerate().filter(|(_, value)| **value > 0) {
            raise(hll, index, value, sparse_max)?;
        }
        Ok(())
    }

    /// Raises them to the registers of a dense HyperLogLog, eight by eight.
    fn raise_by_eights(&mut self, packed: &[u8]) {
        let packed = packed.as_chunks().0.iter();
        for (eight, &[a, b, c, d, e, f]) in self.0.as_chunks_mut::<8>().0.iter_mut().zip(packed) {
            let values = spread(u64::from_le_bytes([a, b, c, d, e, f, 0, 0])).to_le_bytes();
            for (register, value) in eight.iter_mut().zip(values) {
                *register = value.max(*register);
            }
        }
    }

    /// Writes them over those of a dense HyperLogLog, eight by eight.
    fn pack_by_eights(&self, packed: &mut [u8]) {
        let packed = packed.as_chunks_mut().0.iter_mut();
        for (packed, eight) in packed.zip(self.0.as_chunks::<8>().0) {
            let [a, b, c, d, e, f, _, _] = gather(u64::from_le_bytes(*eight)).to_le_bytes();
            *packed = [a, b, c, d, e, f];
        }
    }

    /// The values.
    pub fn values(&self) -> &[u8] {
        &self.0[..]
    }

    /// How many different elements were added.
    pub fn count(&self) -> u64 {
        let mut histogram = [0; REGISTER_MAX as usize + 1];
        widest(|| {
            let largest = self.0.iter().fold(0, |largest, &value| value.max(largest));
            for value in 0..=largest.min(REGISTER_MAX) {
                histogram[usize::from(value)] = occurrences(&self.0, value);
            }
        });
        estimate(&histogram)
    }
}

/// How many registers have this value. All are gone through for each value, which with vectors is faster than to count
/// register by register: most have one of a few values, and each would wait for the one before it.
#[inline(always)]
fn occurrences(registers: &[u8; REGISTERS], value: u8) -> u32 {
    // As many as a byte counts, and the compiler takes for one sum of vectors.
    const PART: usize = 128;
    let in_part = |part: &[u8; PART]| part.iter().map(|&r| u8::from(r == value)).sum::<u8>();
    registers.as_chunks().0.iter().map(|part| u32::from(in_part(part))).sum()
}

/// How many different elements were added to `hll`, computed anew.
pub fn count(hll: &[u8]) -> Result<u64, Corrupt> {
    if is_dense(hll) {
        let mut registers = Registers::default();
        registers.merge(hll)?;
        return Ok(registers.count());
    }
    let mut histogram = [0; REGISTER_MAX as usize + 1];
    let mut registers = 0;
    for run in runs(hll) {
        let run = run?;
        let value = if let Run::Value(value, _) = run { value } else { 0 };
        histogram[usize::from(value)] += run.registers() as u32;
        registers += run.registers();
        if registers > REGISTERS {
            return Err(Corrupt);
        }
    }
    if registers != REGISTERS {
        return Err(Corrupt);
    }
    Ok(estimate(&histogram))
}

/// Eight registers of six bits, from the lowest 48 bits to a byte each.
fn spread(packed: u64) -> u64 {
    let x = packed & 0xff_ffff | (packed & 0xffff_ff00_0000) << 8;
    let x = x & 0x0000_0fff_0000_0fff | (x & 0x00ff_f000_00ff_f000) << 4;
    x & 0x003f_003f_003f_003f | (x & 0x0fc0_0fc0_0fc0_0fc0) << 2
}

/// The reverse of [`spread`].
fn gather(registers: u64) -> u64 {
    let x = registers & 0x003f_003f_003f_003f | registers >> 2 & 0x0fc0_0fc0_0fc0_0fc0;
    let x = x & 0x0000_0fff_0000_0fff | x >> 4 & 0x00ff_f000_00ff_f000;
    x & 0xff_ffff | x >> 8 & 0xffff_ff00_0000
}

/// The cardinality that so many registers of each value speak for.
fn estimate(histogram: &[u32; REGISTER_MAX as usize + 1]) -> u64 {
    // 1 / (2 ln 2)
    const ALPHA: f64 = 0.721_347_520_444_481_7;
    const M: f64 = REGISTERS as f64;
    let full = f64::from(histogram[RUN_BITS as usize + 1]);
    let mut z = M * tau((M - full) / M);
    for value in (1..=RUN_BITS as usize).rev() {
        z = (z + f64::from(histogram[value])) * 0.5;
    }
    z += M * sigma(f64::from(histogram[0]) / M);
    (ALPHA * M * M / z).round() as u64
}

/// The paper's sigma: corrects for registers that are still zero.
fn sigma(mut x: f64) -> f64 {
    if x == 1.0 {
        return f64::INFINITY;
    }
    let (mut y, mut z) = (1.0, x);
    loop {
        x *= x;
        let before = z;
        z += x * y;
        y += y;
        if z == before {
            return z;
        }
    }
}

/// The paper's tau: corrects for registers that are at their limit.
fn tau(mut x: f64) -> f64 {
    if x == 0.0 || x == 1.0 {
        return 0.0;
    }
    let (mut y, mut z) = (1.0, 1.0 - x);
    loop {
        x = x.sqrt();
        let before = z;
        y *= 0.5;
        z -= (1.0 - x) * (1.0 - x) * y;
        if z == before {
            return z / 3.0;
        }
    }
}

/// The register that an element belongs to, and the value that it asks for.
fn place(element: &[u8]) -> (usize, u8) {
    const SEED: u64 = 0xadc8_3b19;
    let hash = murmur_hash_64a(element, SEED);
    let index = hash as usize & (REGISTERS - 1);
    // A mark behind the last bit bounds the run.
    let run = (hash >> INDEX_BITS | 1 << RUN_BITS).trailing_zeros();
    (index, run as u8 + 1)
}

/// MurmurHash2 of 64 bits: its values are part of the format.
fn murmur_hash_64a(key: &[u8], seed: u64) -> u64 {
    const M: u64 = 0xc6a4_a793_5bd1_e995;
    const R: u32 = 47;
    let (words, rest) = key.as_chunks::<8>();
    let mut h = seed ^ (key.len() as u64).wrapping_mul(M);
    for word in words {
        let mut k = u64::from_le_bytes(*word).wrapping_mul(M);
        k ^= k >> R;
        h = (h ^ k.wrapping_mul(M)).wrapping_mul(M);
    }
    if !rest.is_empty() {
        let mut last = [0; 8];
        last[..rest.len()].copy_from_slice(rest);
        h = (h ^ u64::from_le_bytes(last)).wrapping_mul(M);
    }
    h ^= h >> R;
    h = h.wrapping_mul(M);
    h ^ h >> R
}

/// Tests the registers and the estimates with `random` numbers; the error says what is wrong. Takes a while.
pub fn self_test(mut random: impl FnMut() -> u64, sparse_max: u64) -> Result<(), String> {
    const CYCLES: usize = 1000;
    const ELEMENTS: u64 = 10_000_000;
    let mut dense = new();
    make_dense(&mut dense).map_err(|_| "sparse to dense failed")?;
    for _ in 0..CYCLES {
        let values: Vec<u8> = (0..REGISTERS).map(|_| random() as u8 & REGISTER_MAX).collect();
        for (index, &value) in values.iter().enumerate() {
            set_dense(&mut dense, index, value);
        }
        for (index, &value) in values.iter().enumerate() {
            let got = get_dense(&dense, index);
            if got != value {
                return Err(format!("Register {index} should be {value} but is {got}"));
            }
        }
    }
    dense[HEADER..].fill(0);
    let mut other = new();
    let corrupt = |_: Corrupt| "registers are corrupt";
    let relative_error = 1.04 / (REGISTERS as f64).sqrt();
    let (seed, mut checkpoint) = (random(), 1);
    for n in 1..=ELEMENTS {
        let element = (n ^ seed).to_le_bytes();
        add(&mut dense, &element, sparse_max).map_err(corrupt)?;
        add(&mut other, &element, sparse_max).map_err(corrupt)?;
        if n != checkpoint {
            continue;
        }
        if n < sparse_max / 2 && is_dense(&other) {
            return Err("sparse encoding not used".into());
        }
        let counted = count(&dense).map_err(corrupt)?;
        if counted != count(&other).map_err(corrupt)? {
            return Err("dense/sparse disagree".into());
        }
        let error = counted.abs_diff(n);
        // Among ten elements two in one register are not that rare.
        let allowed = if n == 10 { 1 } else { (relative_error * 6.0 * n as f64).ceil() as u64 };
        if error > allowed {
            return Err(format!("Too big error. card:{n} abserr:{error}"));
        }
        checkpoint *= 10;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn filled(elements: std::ops::Range<u32>, sparse_max: u64) -> Vec<u8> {
        let mut hll = new();
        for n in elements {
            add(&mut hll, n.to_string().as_bytes(), sparse_max).unwrap();
        }
        hll
    }

    fn registers(hll: &[u8]) -> Registers {
        let mut all = Registers::default();
        all.merge(hll).unwrap();
        all
    }

    #[test]
    fn starts_as_redis_does() {
        assert_eq!(new(), b"HYLL\x01\0\0\0\0\0\0\0\0\0\0\0\x7f\xff");
        assert!(is_hyperloglog(&new()) && !is_hyperloglog(b"HYLL") && !is_hyperloglog(b""));
        assert_eq!((cached_count(&new()), count(&new())), (Some(0), Ok(0)));
        // What Redis 7.0.15 has after PFADD of a, b and c.
        let mut hll = new();
        for element in [b"a", b"b", b"c"] {
            assert_eq!(add(&mut hll, element, 3000), Ok(true));
            assert_eq!(add(&mut hll, element, 3000), Ok(false));
        }
        assert_eq!(
            hll,
            b"HYLL\x01\0\0\0\0\0\0\0\0\0\0\x80\x60\xf3\x80\x50\xb1\x84\x4b\xfb\x80\x42\x5a"
        );
        assert_eq!(count(&hll), Ok(3));
    }

    #[test]
    fn estimates_are_close() {
        for n in [1, 10, 100, 1000, 10_000, 100_000] {
            let dense = filled(0..n, 0);
            let sparse = filled(0..n, 3000);
            let counted = count(&dense).unwrap();
            assert!(
                f64::from(n).mul_add(0.03, 1.0) >= counted.abs_diff(n.into()) as f64,
                "{n}: {counted}"
            );
            assert_eq!(count(&sparse), Ok(counted));
            assert_eq!(registers(&dense), registers(&sparse));
            assert_eq!(registers(&sparse).count(), counted);
            assert!(is_hyperloglog(&dense) && is_hyperloglog(&sparse));
        }
    }

    #[test]
    fn becomes_dense_when_it_pays() {
        assert!(!is_dense(&filled(0..500, 3000)));
        assert!(is_dense(&filled(0..5000, 3000)));
        assert!(!is_dense(&filled(0..5000, 100_000)));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn sparse_and_dense_agree(places in prop::collection::vec((0..40usize, 1..40u8), 0..300)) {
            let (mut sparse, mut dense) = (new(), new());
            make_dense(&mut dense).unwrap();
            for (index, value) in places {
                // Neighbours, so that runs of values are split and joined.
                prop_assert_eq!(raise(&mut sparse, index, value, 100_000), raise(&mut dense, index, value, 0));
            }
            prop_assert_eq!(registers(&sparse), registers(&dense));
            prop_assert_eq!(count(&sparse), count(&dense));
            let mut back = new();
            registers(&dense).raise_all(&mut back, 100_000).unwrap();
            prop_assert_eq!(registers(&back), registers(&dense));
        }

        #[test]
        fn vectors_do_as_words_do(
            before in prop::collection::vec(0..=REGISTER_MAX, 1..200),
            packed in prop::collection::vec(any::<u8>(), 1..200),
        ) {
            let before: Vec<u8> = before.into_iter().cycle().take(REGISTERS).collect();
            let packed: Vec<u8> = packed.into_iter().cycle().take(DENSE_LEN - HEADER).collect();
            let mut by_vectors = Registers::default();
            by_vectors.0.copy_from_slice(&before);
            let mut by_words = by_vectors.clone();
            by_words.raise_by_eights(&packed);
            let dense = [&[b'H', b'Y', b'L', b'L', DENSE][..], &[0; HEADER - 5], &packed].concat();
            by_vectors.merge(&dense).unwrap();
            prop_assert_eq!(&by_vectors, &by_words);

            let mut repacked = dense.clone();
            by_vectors.raise_all(&mut repacked, 0).unwrap();
            let mut expected = dense;
            by_words.pack_by_eights(&mut expected[HEADER..]);
            prop_assert_eq!(repacked, expected);
        }

        #[test]
        fn registers_are_packed_and_unpacked(words in prop::collection::vec(0..1u64 << 48, 1..20)) {
            for packed in words {
                let registers: [u8; 8] = std::array::from_fn(|i| (packed >> (6 * i)) as u8 & REGISTER_MAX);
                prop_assert_eq!(spread(packed), u64::from_le_bytes(registers));
                prop_assert_eq!(gather(spread(packed)), packed);
            }
        }

        #[test]
        fn corrupt_strings_do_no_harm(body in prop::collection::vec(any::<u8>(), 0..50), element: u64) {
            let mut hll = [&new()[..HEADER], &body].concat();
            prop_assert!(is_hyperloglog(&hll));
            prop_assert_eq!(count(&hll).is_err(), Registers::default().merge(&hll).is_err());
            let _ = add(&mut hll, &element.to_le_bytes(), 60);
            let _ = make_dense(&mut hll);
        }
    }
}
