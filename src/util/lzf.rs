//! LZF, the byte-oriented compression of long strings in RDB files.
//!
//! A compressed block is a sequence of two kinds of chunk:
//!
//! ```text
//! 000LLLLL <L+1 bytes>            copy the L+1 bytes that follow                   (1..=32 bytes)
//! LLLooooo oooooooo               copy L+2 bytes from o+1 bytes back, 1 <= L <= 6  (3..=8 bytes)
//! 111ooooo LLLLLLLL oooooooo      copy L+9 bytes from o+1 bytes back               (9..=264 bytes)
//! ```

const MAX_LITERAL: usize = 32;
const MAX_DISTANCE: usize = 1 << 13;
const MIN_MATCH: usize = 3;
const MAX_MATCH: usize = 264;
/// The best case of the format: three bytes that stand for [`MAX_MATCH`].
const MAX_RATIO: usize = MAX_MATCH / 3;
/// The longest step over input that does not repeat; small enough that the table still holds
/// positions within reach when it begins to.
const MAX_SKIP: usize = 31;
/// A block is kept only if it saves at least this many bytes, as Redis does.
const MIN_SAVING: usize = 4;

/// Appends the compressed form of `input` to `out`.
///
/// Returns false, and leaves `out` as it was, unless that saves at least 4 bytes.
pub fn compress(input: &[u8], out: &mut Vec<u8>) -> bool {
    // The positions of earlier three-byte sequences, by hash. Clearing the table is most of the
    // cost of a short input, so its size follows the input's.
    match input.len() {
        0..=4 => false,
        5..=128 => compress_with(input, out, &mut [0u8; 1 << 7], 7),
        129..=512 => compress_with(input, out, &mut [0u16; 1 << 8], 8),
        513..=8192 => compress_with(input, out, &mut [0u16; 1 << 11], 11),
        _ => compress_with(input, out, &mut [0u32; 1 << 14], 14),
    }
}

/// `P` holds any position in `input`.
fn compress_with<P>(input: &[u8], out: &mut Vec<u8>, table: &mut [P], bits: u32) -> bool
where
    P: Copy + TryInto<usize> + TryFrom<usize> + Default,
{
    let position = |slot: P| slot.try_into().unwrap_or_default();
    let slot = |position: usize| P::try_from(position).unwrap_or_default();
    // Positions are kept in 32 bits.
    if u32::try_from(input.len()).is_err() {
        return false;
    }
    let start = out.len();
    let limit = start + input.len() - MIN_SAVING;
    // A sequence is hashed from a four-byte load, so the last three bytes never start a match.
    let last = input.len() - 4;
    let mut literals = 0; // start of the bytes not yet written
    let mut at = 0;
    while at <= last {
        let place = &mut table[slot_of(sequence(input, at), bits)];
        let candidate = position(*place);
        *place = slot(at);
        let usable = candidate < at
            && at - candidate <= MAX_DISTANCE
            && sequence(input, candidate) == sequence(input, at);
        if !usable {
            // The longer nothing repeats, the larger the steps: incompressible input goes by fast.
            at += 1 + ((at - literals) >> 6).min(MAX_SKIP);
            continue;
        }
        let length = match_length(input, candidate, at);
        if !put_literals(out, &input[literals..at], limit)
            || !put_match(out, at - candidate, length, limit)
        {
            out.truncate(start);
            return false;
        }
        at += length;
        literals = at;
        // Let the end of this match be found by the next; hashing all of it costs more than it
        // gains.
        for seen in [at - 2, at - 1] {
            if seen <= last {
                table[slot_of(sequence(input, seen), bits)] = slot(seen);
            }
        }
    }
    let fits = put_literals(out, &input[literals..], limit);
    if !fits {
        out.truncate(start);
    }
    fits
}

/// The three bytes at `at`, as a number. Needs four bytes there.
fn sequence(input: &[u8], at: usize) -> u32 {
    let [a, b, c, _] = *input[at..].first_chunk::<4>().expect("callers stay 4 bytes from the end");
    u32::from_le_bytes([a, b, c, 0])
}

fn slot_of(sequence: u32, bits: u32) -> usize {
    (sequence.wrapping_mul(0x9e37_79b1) >> (32 - bits)) as usize
}

/// How many bytes from `at` on repeat those from `candidate` on; at most [`MAX_MATCH`].
fn match_length(input: &[u8], candidate: usize, at: usize) -> usize {
    let ahead = &input[at..input.len().min(at + MAX_MATCH)];
    let behind = &input[candidate..candidate + ahead.len()];
    let mut length = 0;
    for (a, b) in ahead.chunks_exact(8).zip(behind.chunks_exact(8)) {
        let difference = word(a) ^ word(b);
        if difference != 0 {
            return length + difference.trailing_zeros() as usize / 8;
        }
        length += 8;
    }
    length + ahead[length..].iter().zip(&behind[length..]).take_while(|(a, b)| a == b).count()
}

fn word(bytes: &[u8]) -> u64 {
    u64::from_le_bytes(bytes.try_into().expect("a chunk of 8"))
}

/// Writes literal runs; false if `out` would grow beyond `limit`.
fn put_literals(out: &mut Vec<u8>, literals: &[u8], limit: usize) -> bool {
    if out.len() + literals.len() + literals.len().div_ceil(MAX_LITERAL) > limit {
        return false;
    }
    for run in literals.chunks(MAX_LITERAL) {
        out.push(run.len() as u8 - 1);
        out.extend_from_slice(run);
    }
    true
}

/// Writes a back reference; false if `out` would grow beyond `limit`.
fn put_match(out: &mut Vec<u8>, distance: usize, length: usize, limit: usize) -> bool {
    debug_assert!(
        (1..=MAX_DISTANCE).contains(&distance) && (MIN_MATCH..=MAX_MATCH).contains(&length)
    );
    let (offset, length) = (distance - 1, length - 2);
    let [low, high] = [offset as u8, (offset >> 8) as u8];
    if length < 7 {
        out.extend_from_slice(&[(length as u8) << 5 | high, low]);
    } else {
        out.extend_from_slice(&[7 << 5 | high, (length - 7) as u8, low]);
    }
    out.len() <= limit
}

/// Expands `input`, which must yield exactly `expected_len` bytes; None if it is malformed or
/// yields another number.
///
/// Allocates `expected_len` bytes, and nothing if `input` could not expand to that many.
pub fn decompress(input: &[u8], expected_len: usize) -> Option<Vec<u8>> {
    if expected_len > input.len().saturating_mul(MAX_RATIO) {
        return None;
    }
    let mut out = Vec::with_capacity(expected_len);
    let mut rest = input;
    while let Some((&control, tail)) = rest.split_first() {
        rest = tail;
        if control < 32 {
            let (run, tail) = rest.split_at_checked(usize::from(control) + 1)?;
            rest = tail;
            if out.len() + run.len() > expected_len {
                return None;
            }
            out.extend_from_slice(run);
        } else {
            let mut length = usize::from(control >> 5) + 2;
            if control >> 5 == 7 {
                length += usize::from(take_byte(&mut rest)?);
            }
            let low = usize::from(take_byte(&mut rest)?);
            let distance = (usize::from(control & 31) << 8 | low) + 1;
            if out.len() + length > expected_len {
                return None;
            }
            repeat(&mut out, distance, length)?;
        }
    }
    (out.len() == expected_len).then_some(out)
}

fn take_byte(rest: &mut &[u8]) -> Option<u8> {
    let (&byte, tail) = rest.split_first()?;
    *rest = tail;
    Some(byte)
}

/// Appends `length` bytes, copied from `distance` bytes back; None if that is before the beginning.
fn repeat(out: &mut Vec<u8>, distance: usize, mut length: usize) -> Option<()> {
    let start = out.len().checked_sub(distance)?;
    // The copy may overlap what it writes: a short distance repeats its bytes. Each round copies
    // all there is.
    while length > 0 {
        let count = length.min(out.len() - start);
        out.extend_from_within(start..start + count);
        length -= count;
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn round_trip(input: &[u8]) -> Option<usize> {
        let mut out = b"before".to_vec();
        if !compress(input, &mut out) {
            assert_eq!(out, b"before");
            return None;
        }
        let block = &out[6..];
        assert!(block.len() + MIN_SAVING <= input.len());
        assert_eq!(decompress(block, input.len()).as_deref(), Some(input));
        assert_eq!(decompress(block, input.len() - 1), None);
        assert_eq!(decompress(block, input.len() + 1), None);
        Some(block.len())
    }

    fn noise(len: usize) -> Vec<u8> {
        let mut state = 1u64;
        let mut next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 56) as u8
        };
        (0..len).map(|_| next()).collect()
    }

    #[test]
    fn shrinks_what_repeats() {
        assert_eq!(round_trip(b""), None);
        assert_eq!(round_trip(b"aaaa"), None);
        assert_eq!(round_trip(b"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"), Some(5));
        assert!(round_trip(&[b'x'; 100_000]).unwrap() < 1300);
        assert!(round_trip(&b"hello world ".repeat(1000)).unwrap() < 300);
    }

    #[test]
    fn refuses_what_does_not_repeat() {
        let mut state = 1u64;
        let mut noise = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 56) as u8
        };
        for len in [5, 100, 3000, 20_000] {
            let noise: Vec<u8> = (0..len).map(|_| noise()).collect();
            assert_eq!(round_trip(&noise), None);
        }
    }

    #[test]
    fn finds_what_repeats_behind_what_does_not() {
        let mut input = noise(100_000);
        input.extend(b"hello world ".repeat(10_000));
        assert!(round_trip(&input).unwrap() < 110_000);
    }

    #[test]
    fn expands_every_kind_of_chunk() {
        assert_eq!(decompress(b"\x02abc", 3).unwrap(), b"abc");
        assert_eq!(decompress(b"\x02abc\x20\x02", 6).unwrap(), b"abcabc");
        assert_eq!(decompress(b"\x00a\xe0\x01\x00", 11).unwrap(), b"aaaaaaaaaaa");
        assert_eq!(decompress(b"\x01ab\x40\x01", 6).unwrap(), b"ababab");
    }

    #[test]
    fn rejects_malformed_blocks() {
        for (block, len) in [
            (&b"\x02ab"[..], 3),    // literal run cut short
            (b"\x00a\x20", 4),      // back reference cut short
            (b"\x00a\xe0\x01", 11), // long back reference cut short
            (b"\x00a\x20\x01", 4),  // refers to before the beginning
            (b"\x00a\x20\x00", 3),  // yields too much
            (b"\x00a", usize::MAX), // cannot yield so much
            (b"", 1),
        ] {
            assert_eq!(decompress(block, len), None, "{block:?}");
        }
        assert_eq!(decompress(b"", 0).unwrap(), b"");
    }

    proptest! {
        #[test]
        fn round_trips(input in prop::collection::vec(0..4u8, 0..12_000)) {
            round_trip(&input);
        }

        #[test]
        fn round_trips_repeats(
            block in prop::collection::vec(any::<u8>(), 1..300),
            times in 1..60usize,
        ) {
            round_trip(&block.repeat(times));
        }

        #[test]
        fn survives_any_block(
            block in prop::collection::vec(any::<u8>(), 0..200),
            len in 0..4000usize,
        ) {
            if let Some(out) = decompress(&block, len) {
                prop_assert_eq!(out.len(), len);
            }
        }
    }
}
