//! Loops over bytes with the vector instructions of the processor that runs them, which may have wider and other ones
//! than those that the binary was built for.

#![allow(unsafe_code)]

/// Runs a loop with the widest vector instructions that there are. What it calls is to be `#[inline(always)]`: it is
/// compiled once for each width, and only what is inlined is.
#[inline]
pub fn widest<R>(work: impl FnOnce() -> R) -> R {
    #[cfg(target_arch = "x86_64")]
    if std::is_x86_feature_detected!("avx2") && std::is_x86_feature_detected!("popcnt") {
        // SAFETY: the processor has the instructions that the function is compiled for.
        return unsafe { with_avx2(work) };
    }
    work()
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,popcnt")]
fn with_avx2<R>(work: impl FnOnce() -> R) -> R {
    work()
}

/// Bytes that [`count_ones`] takes at a time: sixteen vectors of 32.
pub const COUNTED: usize = 512;

/// How many bits are set in these blocks. `None`: the processor can't tell in a better way than word by word.
pub fn count_ones(blocks: &[[u8; COUNTED]]) -> Option<u64> {
    #[cfg(target_arch = "x86_64")]
    if std::is_x86_feature_detected!("avx2") {
        // SAFETY: the processor has the instructions that the function is compiled for.
        return Some(unsafe { columns::count_ones(blocks) });
    }
    let _ = blocks;
    None
}

/// Counting of bits by columns: 256 columns of bits are added up as binary numbers, whose digits lie in a vector each.
/// Only what is carried out of the fourth digit, one vector of sixteen, is counted as it comes.
#[cfg(target_arch = "x86_64")]
mod columns {
    use super::COUNTED;
    use std::arch::x86_64::{
        __m256i, _mm256_add_epi8, _mm256_add_epi64, _mm256_and_si256, _mm256_extract_epi64,
        _mm256_loadu_si256, _mm256_or_si256, _mm256_sad_epu8, _mm256_set_epi64x, _mm256_set1_epi8,
        _mm256_setzero_si256, _mm256_shuffle_epi8, _mm256_srli_epi16, _mm256_xor_si256,
    };

    const VECTOR: usize = 32;

    #[target_feature(enable = "avx2")]
    pub fn count_ones(blocks: &[[u8; COUNTED]]) -> u64 {
        let zero = _mm256_setzero_si256();
        let mut digits = [zero; 4];
        let mut sixteens = zero;
        for block in blocks {
            let carry = add_sixteen(&mut digits, block);
            sixteens = _mm256_add_epi64(sixteens, in_words(carry));
        }
        let [ones, twos, fours, eights] = digits.map(|digit| sum(in_words(digit)));
        ones + 2 * twos + 4 * fours + 8 * eights + 16 * sum(sixteens)
    }

    /// Adds the vectors of a block, and returns what is carried.
    #[target_feature(enable = "avx2")]
    fn add_sixteen(digits: &mut [__m256i; 4], block: &[u8; COUNTED]) -> __m256i {
        let (first, second) = (add_eight(digits, block, 0), add_eight(digits, block, 8));
        add(&mut digits[3], first, second)
    }

    #[target_feature(enable = "avx2")]
    fn add_eight(digits: &mut [__m256i; 4], block: &[u8; COUNTED], at: usize) -> __m256i {
        let (first, second) = (add_four(digits, block, at), add_four(digits, block, at + 4));
        add(&mut digits[2], first, second)
    }

    #[target_feature(enable = "avx2")]
    fn add_four(digits: &mut [__m256i; 4], block: &[u8; COUNTED], at: usize) -> __m256i {
        let first = add(&mut digits[0], vector(block, at), vector(block, at + 1));
        let second = add(&mut digits[0], vector(block, at + 2), vector(block, at + 3));
        add(&mut digits[1], first, second)
    }

    /// Adds two bits to a digit in each column, and returns what is carried.
    #[target_feature(enable = "avx2")]
    fn add(digit: &mut __m256i, first: __m256i, second: __m256i) -> __m256i {
        let half = _mm256_xor_si256(*digit, first);
        let carry = _mm256_and_si256(*digit, first);
        *digit = _mm256_xor_si256(half, second);
        _mm256_or_si256(carry, _mm256_and_si256(half, second))
    }

    #[target_feature(enable = "avx2")]
    fn vector(block: &[u8; COUNTED], at: usize) -> __m256i {
        let (vectors, _) = block.as_chunks::<VECTOR>();
        // SAFETY: the array has the bytes that are loaded.
        unsafe { _mm256_loadu_si256(vectors[at].as_ptr().cast()) }
    }

    /// How many bits are set in each of four words.
    #[target_feature(enable = "avx2")]
    fn in_words(vector: __m256i) -> __m256i {
        // Of the numbers from 0 to 15, two each: the table is looked up in either half of a vector by itself.
        let (low, high) = (0x0302_0201_0201_0100, 0x0403_0302_0302_0201);
        let table = _mm256_set_epi64x(high, low, high, low);
        let nibble = _mm256_set1_epi8(0xf);
        let lower = _mm256_and_si256(vector, nibble);
        let upper = _mm256_and_si256(_mm256_srli_epi16::<4>(vector), nibble);
        let in_bytes =
            _mm256_add_epi8(_mm256_shuffle_epi8(table, lower), _mm256_shuffle_epi8(table, upper));
        _mm256_sad_epu8(in_bytes, _mm256_setzero_si256())
    }

    #[target_feature(enable = "avx2")]
    fn sum(words: __m256i) -> u64 {
        let words = [
            _mm256_extract_epi64::<0>(words),
            _mm256_extract_epi64::<1>(words),
            _mm256_extract_epi64::<2>(words),
            _mm256_extract_epi64::<3>(words),
        ];
        words.iter().map(|word| word.cast_unsigned()).sum()
    }
}

/// As many numbers of six bits are packed and unpacked at a time, and as many bytes they take: the first number lies in
/// the lowest bits.
pub const SIXES: usize = 32;
pub const SIXES_PACKED: usize = SIXES * 6 / 8;

/// Raises each byte to the number of its place in `packed`, if that is larger. Returns whether the processor could.
pub fn raise_to_sixes(bytes: &mut [[u8; SIXES]], packed: &[[u8; SIXES_PACKED]]) -> bool {
    #[cfg(target_arch = "x86_64")]
    if std::is_x86_feature_detected!("avx2") {
        // SAFETY: the processor has the instructions that the function is compiled for.
        unsafe { sixes::raise(bytes, packed) };
        return true;
    }
    let _ = (bytes, packed);
    false
}

/// Packs bytes, none of which is larger than six bits hold. Returns whether the processor could.
pub fn pack_sixes(bytes: &[[u8; SIXES]], packed: &mut [[u8; SIXES_PACKED]]) -> bool {
    #[cfg(target_arch = "x86_64")]
    if std::is_x86_feature_detected!("avx2") {
        // SAFETY: the processor has the instructions that the function is compiled for.
        unsafe { sixes::pack(bytes, packed) };
        return true;
    }
    let _ = (bytes, packed);
    false
}

/// Four numbers of six bits are three bytes packed, and a word of four unpacked. A vector has eight such words, four in
/// either half: the first half of what is packed are the bytes 0 to 11, the other one the bytes 12 to 23.
#[cfg(target_arch = "x86_64")]
mod sixes {
    use super::{SIXES, SIXES_PACKED};
    use std::arch::x86_64::{
        __m256i, _mm_loadu_si128, _mm_storel_epi64, _mm_storeu_si128, _mm256_and_si256,
        _mm256_blend_epi16, _mm256_castsi256_si128, _mm256_extracti128_si256, _mm256_loadu_si256,
        _mm256_madd_epi16, _mm256_maddubs_epi16, _mm256_max_epu8, _mm256_or_si256,
        _mm256_permutevar8x32_epi32, _mm256_set_epi64x, _mm256_set_m128i, _mm256_set1_epi16,
        _mm256_set1_epi32, _mm256_setr_epi32, _mm256_shuffle_epi8, _mm256_slli_epi16,
        _mm256_srli_epi16, _mm256_storeu_si256,
    };

    /// Where the bytes of each word come from, by halves, of which the second is loaded from byte 8 on. Each lane of 16
    /// bits has two numbers.
    const SPREAD: [u64; 4] = [
        0x0504_0403_0201_0100,
        0x0b0a_0a09_0807_0706,
        0x0908_0807_0605_0504,
        0x0f0e_0e0d_0c0b_0b0a,
    ];
    /// Every second lane.
    const SECOND: i32 = 0xaa;
    /// Leaves out the last byte of each word.
    const GATHER: [u64; 2] = [0x0908_0605_0402_0100, 0x8080_8080_0e0d_0c0a];

    #[target_feature(enable = "avx2")]
    pub fn raise(bytes: &mut [[u8; SIXES]], packed: &[[u8; SIXES_PACKED]]) {
        for (bytes, packed) in bytes.iter_mut().zip(packed) {
            // SAFETY: the arrays have the bytes that are loaded and stored.
            unsafe {
                let first = _mm_loadu_si128(packed.as_ptr().cast());
                let second = _mm_loadu_si128(packed.as_ptr().add(SIXES_PACKED - 16).cast());
                let unpacked = unpacked(_mm256_set_m128i(second, first));
                let raised = _mm256_max_epu8(_mm256_loadu_si256(bytes.as_ptr().cast()), unpacked);
                _mm256_storeu_si256(bytes.as_mut_ptr().cast(), raised);
            }
        }
    }

    #[target_feature(enable = "avx2")]
    fn unpacked(halves: __m256i) -> __m256i {
        let x = _mm256_shuffle_epi8(halves, vector(SPREAD));
        // The numbers of the first lane begin at bits 0 and 6, of the second at 4 and 10.
        let odd = _mm256_blend_epi16::<SECOND>(x, _mm256_srli_epi16::<4>(x));
        let even =
            _mm256_blend_epi16::<SECOND>(_mm256_slli_epi16::<2>(x), _mm256_srli_epi16::<2>(x));
        _mm256_or_si256(
            _mm256_and_si256(odd, _mm256_set1_epi16(0x3f)),
            _mm256_and_si256(even, _mm256_set1_epi16(0x3f00)),
        )
    }

    #[target_feature(enable = "avx2")]
    pub fn pack(bytes: &[[u8; SIXES]], packed: &mut [[u8; SIXES_PACKED]]) {
        for (bytes, packed) in bytes.iter().zip(packed) {
            // SAFETY: the array has the bytes that are loaded.
            let x = unsafe { _mm256_loadu_si256(bytes.as_ptr().cast()) };
            let pairs = _mm256_maddubs_epi16(x, _mm256_set1_epi16(1 | 1 << 6 << 8));
            let fours = _mm256_madd_epi16(pairs, _mm256_set1_epi32(1 | 1 << 12 << 16));
            let [low, high] = GATHER;
            let halves = _mm256_shuffle_epi8(fours, vector([low, high, low, high]));
            let whole =
                _mm256_permutevar8x32_epi32(halves, _mm256_setr_epi32(0, 1, 2, 4, 5, 6, 3, 7));
            // SAFETY: the array has the 16 and 8 bytes that are stored.
            unsafe {
                let to = packed.as_mut_ptr();
                _mm_storeu_si128(to.cast(), _mm256_castsi256_si128(whole));
                _mm_storel_epi64(to.add(16).cast(), _mm256_extracti128_si256::<1>(whole));
            }
        }
    }

    #[target_feature(enable = "avx2")]
    fn vector(words: [u64; 4]) -> __m256i {
        let [a, b, c, d] = words.map(u64::cast_signed);
        _mm256_set_epi64x(d, c, b, a)
    }
}

/// Bytes that [`fold`] takes at a time: eight lanes of 16.
pub const BLOCK: usize = 128;
const LANE: usize = 16;

/// Remainders by which the two words of a lane are multiplied, the first that of higher degree: they lie 63 and -1 bits
/// behind the distance that is folded over, since the product of two reflected words is one bit short.
pub struct FoldKeys {
    /// Over as many bytes as a block has.
    pub over_blocks: [u64; 2],
    /// Over as many as a lane has.
    pub over_lanes: [u64; 2],
}

/// Folds a message (a polynomial over GF(2), reflected) whose first bytes are combined with `crc` into 16 bytes that
/// leave the same remainder. `None`: there is nothing to fold, or the processor can't.
pub fn fold(crc: u64, blocks: &[[u8; BLOCK]], keys: &FoldKeys) -> Option<[u8; LANE]> {
    let (first, rest) = blocks.split_first()?;
    #[cfg(target_arch = "x86_64")]
    if std::is_x86_feature_detected!("pclmulqdq") {
        // SAFETY: the processor has the instructions that the function is compiled for.
        return Some(unsafe { clmul::fold(crc, first, rest, keys) });
    }
    let _ = (crc, first, rest, keys);
    None
}

/// What a message (a polynomial over GF(2), its first byte of the highest degree) is divided by to get its CRC-16.
pub struct Modulus16 {
    /// The remainder of x^64.
    pub over_word: u64,
    /// The quotient of x^80, but for its x^64.
    pub quotient: u64,
    /// The polynomial, but for its x^16.
    pub polynomial: u64,
}

impl Modulus16 {
    /// The CRC-16 of words of eight bytes. `None`: the processor can't.
    #[inline(always)]
    pub fn crc16(&self, first: u64, rest: &[[u8; 8]]) -> Option<u16> {
        #[cfg(target_arch = "x86_64")]
        if std::is_x86_feature_detected!("pclmulqdq") {
            // SAFETY: the processor has the instructions that the function is compiled for.
            return Some(unsafe { clmul::crc16(first, rest, self) });
        }
        let _ = (first, rest);
        None
    }

    /// The same of two words.
    #[inline(always)]
    pub fn crc16_of_two(&self, first: u64, second: u64) -> Option<u16> {
        #[cfg(target_arch = "x86_64")]
        if std::is_x86_feature_detected!("pclmulqdq") {
            // SAFETY: the processor has the instructions that the function is compiled for.
            return Some(unsafe { clmul::crc16_of_two(first, second, self) });
        }
        let _ = (first, second);
        None
    }
}

#[cfg(target_arch = "x86_64")]
mod clmul {
    use super::{BLOCK, FoldKeys, LANE, Modulus16};
    use std::arch::x86_64::{
        __m128i, _mm_clmulepi64_si128, _mm_cvtsi64_si128, _mm_cvtsi128_si64, _mm_set_epi64x,
        _mm_unpackhi_epi64, _mm_xor_si128,
    };

    #[target_feature(enable = "sse2")]
    fn words([first, second]: [u64; 2]) -> __m128i {
        _mm_set_epi64x(second.cast_signed(), first.cast_signed())
    }

    #[target_feature(enable = "sse2")]
    fn lane(block: &[u8; BLOCK], at: usize) -> __m128i {
        let word = |at: usize| {
            let bytes = block[at..].first_chunk().copied();
            u64::from_le_bytes(bytes.unwrap_or_default())
        };
        words([word(at * LANE), word(at * LANE + 8)])
    }

    #[target_feature(enable = "pclmulqdq")]
    fn shifted(lane: __m128i, keys: __m128i) -> __m128i {
        let first = _mm_clmulepi64_si128::<0x00>(lane, keys);
        _mm_xor_si128(first, _mm_clmulepi64_si128::<0x11>(lane, keys))
    }

    #[target_feature(enable = "pclmulqdq")]
    pub fn fold(
        crc: u64,
        first: &[u8; BLOCK],
        rest: &[[u8; BLOCK]],
        keys: &FoldKeys,
    ) -> [u8; LANE] {
        let mut lanes: [__m128i; BLOCK / LANE] = [words([0, 0]); BLOCK / LANE];
        for (at, sum) in lanes.iter_mut().enumerate() {
            *sum = lane(first, at);
        }
        lanes[0] = _mm_xor_si128(lanes[0], _mm_cvtsi64_si128(crc.cast_signed()));
        let over_blocks = words(keys.over_blocks);
        for block in rest {
            for (at, sum) in lanes.iter_mut().enumerate() {
                *sum = _mm_xor_si128(shifted(*sum, over_blocks), lane(block, at));
            }
        }
        let over_lanes = words(keys.over_lanes);
        let [mut all, others @ ..] = lanes;
        for lane in others {
            all = _mm_xor_si128(shifted(all, over_lanes), lane);
        }
        let mut bytes = [0; LANE];
        bytes[..8].copy_from_slice(&_mm_cvtsi128_si64(all).to_le_bytes());
        bytes[8..].copy_from_slice(&_mm_cvtsi128_si64(_mm_unpackhi_epi64(all, all)).to_le_bytes());
        bytes
    }

    #[target_feature(enable = "pclmulqdq")]
    pub fn crc16(first: u64, rest: &[[u8; 8]], modulus: &Modulus16) -> u16 {
        let first = _mm_cvtsi64_si128(first.cast_signed());
        let all =
            rest.iter().fold(first, |sum, word| with_word(sum, u64::from_be_bytes(*word), modulus));
        remainder(all, modulus)
    }

    #[target_feature(enable = "pclmulqdq")]
    pub fn crc16_of_two(first: u64, second: u64, modulus: &Modulus16) -> u16 {
        let first = _mm_cvtsi64_si128(first.cast_signed());
        remainder(with_word(first, second, modulus), modulus)
    }

    /// What leaves the same remainder as a sum with a word behind it. Of sums only the lower word counts.
    #[target_feature(enable = "pclmulqdq")]
    #[inline]
    fn with_word(sum: __m128i, word: u64, modulus: &Modulus16) -> __m128i {
        let over_word = _mm_cvtsi64_si128(modulus.over_word.cast_signed());
        let shifted = _mm_clmulepi64_si128::<0x00>(sum, over_word);
        let overflow = _mm_clmulepi64_si128::<0x01>(shifted, over_word);
        _mm_xor_si128(_mm_xor_si128(_mm_cvtsi64_si128(word.cast_signed()), shifted), overflow)
    }

    /// The remainder of a sum with 16 zeros behind it, by Barrett's reduction: how often the polynomial is in it, and
    /// what is left without.
    #[target_feature(enable = "pclmulqdq")]
    #[inline]
    fn remainder(sum: __m128i, modulus: &Modulus16) -> u16 {
        let quotient = _mm_cvtsi64_si128(modulus.quotient.cast_signed());
        let polynomial = _mm_cvtsi64_si128(modulus.polynomial.cast_signed());
        let high = _mm_clmulepi64_si128::<0x00>(sum, quotient);
        let times = _mm_xor_si128(_mm_unpackhi_epi64(high, high), sum);
        _mm_cvtsi128_si64(_mm_clmulepi64_si128::<0x00>(times, polynomial)) as u16
    }
}
