//! Hash slots: which of the 16,384 parts of a cluster's keyspace a key belongs to.
//!
//! A slot is the CRC-16 (XMODEM: polynomial 0x1021, nothing reflected) of the key, modulo 16,384; or of the part
//! between the first `{` and the next `}`, if there is something between them, so that keys can be kept together.

use super::simd::Modulus16;

/// How many slots there are.
pub const SLOTS: u16 = 1 << 14;

const TAG_LETTERS: &[u8; 62] = b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
const POLYNOMIAL: u16 = 0x1021;
/// The checksum of each byte with so many zeros behind it. With eight of these, eight bytes are looked up at once
/// instead of one after the other ("slicing", Kounavis and Berry 2005).
const TABLES: [[u16; 256]; 8] = tables();

const fn tables() -> [[u16; 256]; 8] {
    let mut tables = [[0; 256]; 8];
    let mut byte = 0;
    while byte < 256 {
        let mut crc = (byte as u16) << 8;
        let mut zeros = 0;
        while zeros < 8 {
            let mut bit = 0;
            while bit < 8 {
                crc = if crc & 0x8000 == 0 { crc << 1 } else { crc << 1 ^ POLYNOMIAL };
                bit += 1;
            }
            tables[zeros][byte] = crc;
            zeros += 1;
        }
        byte += 1;
    }
    tables
}

/// By what a checksum is a remainder.
const MODULUS: Modulus16 = modulus();

const fn modulus() -> Modulus16 {
    let (mut remainder, mut quotient, mut over_word) = (1_u16, 0_u64, 0);
    let mut degree = 1;
    while degree <= 80 {
        let overflows = remainder & 0x8000 != 0;
        quotient = quotient << 1 | overflows as u64;
        remainder = if overflows { remainder << 1 ^ POLYNOMIAL } else { remainder << 1 };
        if degree == 64 {
            over_word = remainder as u64;
        }
        degree += 1;
    }
    Modulus16 { over_word, quotient, polynomial: POLYNOMIAL as u64 }
}

fn crc16(bytes: &[u8]) -> u16 {
    let (head, rest) = words(bytes);
    crc16_of_words(head, rest)
}

/// The bytes as words of eight, the first one with zeros in front if there are not enough: of these the checksum, which
/// starts with 0, does not depend.
#[inline(always)]
fn words(bytes: &[u8]) -> (u64, &[[u8; 8]]) {
    let (head, rest) = bytes.as_rchunks();
    (head.iter().fold(0, |word, &byte| word << 8 | u64::from(byte)), rest)
}

#[inline(always)]
fn crc16_of_words(head: u64, rest: &[[u8; 8]]) -> u16 {
    MODULUS.crc16(head, rest).unwrap_or_else(|| crc16_by_tables(head, rest))
}

#[inline(never)]
fn crc16_by_tables(head: u64, rest: &[[u8; 8]]) -> u16 {
    rest.iter().fold(add_eight(0, head), |crc, eight| add_eight(crc, u64::from_be_bytes(*eight)))
}

/// The checksum of what it was of, and eight bytes more.
fn add_eight(crc: u16, eight: u64) -> u16 {
    let parts = (eight ^ u64::from(crc) << 48).to_le_bytes().into_iter().zip(&TABLES);
    parts.fold(0, |sum, (byte, table)| sum ^ table[usize::from(byte)])
}

/// The slot of a key. Not a part of its callers, which would be slower where there are no slots.
#[inline(never)]
pub fn key_slot(key: &[u8]) -> u16 {
    if let (8..=16, Some(&first), Some(&last)) = (key.len(), key.first_chunk(), key.last_chunk()) {
        // Most keys are like this: two words that overlap, and no tag.
        let (first, last) = (u64::from_be_bytes(first), u64::from_be_bytes(last));
        if has_open_brace(first) || has_open_brace(last) {
            return slot_by_tag(key);
        }
        let half_of_both = 4 * (16 - key.len());
        // No shift is as wide as the word.
        let head = first >> half_of_both >> half_of_both;
        let crc = MODULUS.crc16_of_two(head, last);
        return crc.unwrap_or_else(|| crc16_by_tables(head, &[last.to_be_bytes()])) % SLOTS;
    }
    let (head, rest) = words(key);
    if has_open_brace(head) || rest.iter().any(|word| has_open_brace(u64::from_ne_bytes(*word))) {
        return slot_by_tag(key);
    }
    crc16_of_words(head, rest) % SLOTS
}

/// Whether one of eight bytes may be a brace that opens a tag; if it is one, certainly.
#[inline(always)]
fn has_open_brace(eight: u64) -> bool {
    const LOW_BITS: u64 = 0x0101_0101_0101_0101;
    let rest = eight ^ (LOW_BITS * u64::from(b'{'));
    rest.wrapping_sub(LOW_BITS) & !rest & (LOW_BITS << 7) != 0
}

/// The slot of a key that may have a tag.
#[inline(never)]
fn slot_by_tag(key: &[u8]) -> u16 {
    let tag = memchr::memchr(b'{', key).and_then(|open| {
        let behind = &key[open + 1..];
        memchr::memchr(b'}', behind).map(|close| &behind[..close])
    });
    crc16(tag.filter(|tag| !tag.is_empty()).unwrap_or(key)) % SLOTS
}

/// The slot of all keys that a pattern of `KEYS` or `SORT` can stand for, if they must share one.
pub fn pattern_slot(pattern: &[u8]) -> Option<u16> {
    let wild = memchr::memchr3(b'*', b'?', b'[', pattern).into_iter();
    let wild = wild.chain(memchr::memchr(b'\\', pattern)).min().unwrap_or(pattern.len());
    let fixed = &pattern[..wild];
    let tag = memchr::memchr(b'{', fixed)
        .filter(|open| memchr::memchr(b'}', &fixed[open + 1..]).is_some_and(|length| length > 0));
    (tag.is_some() || wild == pattern.len()).then(|| key_slot(pattern))
}

/// The tag of fewest letters that puts a key into a slot, and of those the first, in the order of digits, small and
/// large letters: the one that Valkey has in its table.
pub fn slot_tag(slot: u16) -> String {
    let nothing = std::iter::once(Vec::new());
    let letters = || TAG_LETTERS.iter().copied();
    let one = letters().map(|letter| vec![letter]);
    let two = letters().flat_map(|first| letters().map(move |second| vec![first, second]));
    for mut tag in nothing.chain(one).chain(two) {
        // The checksum with a zero for the last letter, whose own is only added.
        tag.push(0);
        let front = crc16(&tag);
        let fits = |&last: &u8| (front ^ TABLES[0][usize::from(last)]) % SLOTS == slot;
        if let Some(last) = letters().find(fits) {
            tag.pop();
            tag.push(last);
            return tag.into_iter().map(char::from).collect();
        }
    }
    unreachable!("three letters reach every slot")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_slot_has_a_tag() {
        // What valkey-server answers.
        for (slot, tag) in [(0, "06S"), (1, "Qi"), (154, "d6F"), (8192, "8YG"), (15495, "a")] {
            assert_eq!(slot_tag(slot), tag);
        }
        for slot in 0..SLOTS {
            assert_eq!(key_slot(format!("x{{{}}}y", slot_tag(slot)).as_bytes()), slot);
        }
    }

    #[test]
    fn slots_of_keys() {
        // The first is the check value of the CRC; the others are what redis-server answers.
        assert_eq!(crc16(b"123456789"), 0x31c3);
        let table: [(&[u8], u16); 9] = [
            (b"", 0),
            (b"foo", 12182),
            (b"bar", 5061),
            (b"{foo}1", 12182),
            (b"x{foo}y{bar}", 12182),
            (b"foo{}{bar}", key_slot(b"foo{}{bar}")),
            (b"foo{{bar}}zap", crc16(b"{bar") % SLOTS),
            (b"{foo", crc16(b"{foo") % SLOTS),
            (b"user:1000", 1649),
        ];
        for (key, slot) in table {
            assert_eq!(key_slot(key), slot, "{}", key.escape_ascii());
        }
        assert_eq!(key_slot(b"foo{}{bar}"), crc16(b"foo{}{bar}") % SLOTS);
        for before in 0..20 {
            let key = [&vec![b'z'; before], &b"{foo}"[..], &[b'y'; 11]].concat();
            assert_eq!(key_slot(&key), 12182, "{before}");
            assert_eq!(key_slot(&key[..before]), crc16(&key[..before]) % SLOTS);
        }
    }

    #[test]
    fn words_at_once_are_their_bytes() {
        let bit = |crc: u16| if crc & 0x8000 == 0 { crc << 1 } else { crc << 1 ^ POLYNOMIAL };
        let byte =
            |crc: u16, byte: &u8| (0..8).fold(crc ^ u16::from(*byte) << 8, |crc, _| bit(crc));
        let text: Vec<u8> = (0..100_u32).map(|n| (n * n * 37 + 11) as u8).collect();
        for len in 0..text.len() {
            let expected = text[..len].iter().fold(0, byte);
            let (head, rest) = words(&text[..len]);
            assert_eq!(crc16_by_tables(head, rest), expected, "{len}");
            assert_eq!(crc16(&text[..len]), expected, "{len}");
            assert_eq!(key_slot(&text[..len]), expected % SLOTS, "{len}");
        }
    }

    #[test]
    fn slots_of_patterns() {
        let foo = Some(key_slot(b"foo"));
        let table: [(&[u8], Option<u16>); 8] = [
            (b"foo", foo),
            (b"{foo}*", foo),
            (b"a{foo}?", foo),
            (b"foo*", None),
            (b"*{foo}", None),
            (b"{fo[o]}", None),
            (b"{}foo*", None),
            (b"{foo\\}", None),
        ];
        for (pattern, slot) in table {
            assert_eq!(pattern_slot(pattern), slot, "{}", pattern.escape_ascii());
        }
    }
}
