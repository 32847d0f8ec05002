//! Hash slots: which of the 16,384 parts of a cluster's keyspace a key belongs to.
//!
//! A slot is the CRC-16 (XMODEM: polynomial 0x1021, nothing reflected) of the key, modulo 16,384; or of the part
//! between the first `{` and the next `}`, if there is something between them, so that keys can be kept together.

/// How many slots there are.
pub const SLOTS: u16 = 1 << 14;

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

fn crc16(bytes: &[u8]) -> u16 {
    let (eights, rest) = bytes.as_chunks();
    let crc = eights.iter().fold(0, |crc, eight| add_eight(crc, u64::from_be_bytes(*eight)));
    add_rest(crc, rest)
}

/// The checksum of what it was of, and eight bytes more.
#[inline(always)]
fn add_eight(crc: u16, eight: u64) -> u16 {
    let parts = (eight ^ u64::from(crc) << 48).to_le_bytes().into_iter().zip(&TABLES);
    parts.fold(0, |sum, (byte, table)| sum ^ table[usize::from(byte)])
}

#[inline(always)]
fn add_rest(crc: u16, rest: &[u8]) -> u16 {
    rest.iter().fold(crc, |crc, &byte| crc << 8 ^ TABLES[0][usize::from((crc >> 8) as u8 ^ byte)])
}

/// The slot of a key. Not a part of its callers, which would be slower where there are no slots.
#[inline(never)]
pub fn key_slot(key: &[u8]) -> u16 {
    // Most keys have no tag: that is seen on the way.
    let (eights, rest) = key.as_chunks();
    let mut crc = 0;
    for eight in eights {
        let eight = u64::from_be_bytes(*eight);
        if has_open_brace(eight) {
            return slot_by_tag(key);
        }
        crc = add_eight(crc, eight);
    }
    if rest.contains(&b'{') {
        return slot_by_tag(key);
    }
    add_rest(crc, rest) % SLOTS
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

#[cfg(test)]
mod tests {
    use super::*;

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
    fn eight_bytes_at_once_are_eight_bytes() {
        let bit = |crc: u16| if crc & 0x8000 == 0 { crc << 1 } else { crc << 1 ^ POLYNOMIAL };
        let byte =
            |crc: u16, byte: &u8| (0..8).fold(crc ^ u16::from(*byte) << 8, |crc, _| bit(crc));
        let text: Vec<u8> = (0..100_u32).map(|n| (n * n * 37 + 11) as u8).collect();
        for len in 0..text.len() {
            assert_eq!(crc16(&text[..len]), text[..len].iter().fold(0, byte), "{len}");
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
