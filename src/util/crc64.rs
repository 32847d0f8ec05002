//! CRC-64 as RDB files, DUMP payloads and replication snapshots carry it: the "Jones" polynomial
//! 0xad93d23594c935a9, reflected, initial value 0, no final xor (catalogued as CRC-64/REDIS).
//!
//! Long pieces are folded by carry-less multiplication where the processor has it, at several bytes a cycle; what
//! remains goes through tables. So checksum whole buffers as they are flushed, not single fields. (The crate crc-fast
//! does the same for every CRC that there is, with tables of 700 KB.)

use super::simd::{self, BLOCK, FoldKeys};

/// The polynomial, its bits reversed.
const POLYNOMIAL: u64 = 0x95ac_9329_ac4b_c9b5;

/// What a byte does to the checksum, `n` bytes before the end: `TABLES[n][byte]`.
static TABLES: [[u64; 256]; 8] = tables();

const KEYS: FoldKeys = FoldKeys {
    over_blocks: [power_of_x(8 * BLOCK + 63), power_of_x(8 * BLOCK - 1)],
    over_lanes: [power_of_x(128 + 63), power_of_x(128 - 1)],
};

/// Multiplied by x.
const fn times_x(polynomial: u64) -> u64 {
    let shifted = polynomial >> 1;
    if polynomial & 1 == 1 { shifted ^ POLYNOMIAL } else { shifted }
}

/// The remainder of x to the power of `n`.
const fn power_of_x(mut n: usize) -> u64 {
    let mut remainder = 1 << 63;
    while n > 0 {
        remainder = times_x(remainder);
        n -= 1;
    }
    remainder
}

const fn tables() -> [[u64; 256]; 8] {
    let mut tables = [[0; 256]; 8];
    let mut byte = 0;
    while byte < 256 {
        let mut crc = byte as u64;
        let mut bits = 0;
        while bits < 64 {
            if bits % 8 == 0 && bits > 0 {
                tables[bits / 8 - 1][byte] = crc;
            }
            crc = times_x(crc);
            bits += 1;
        }
        tables[7][byte] = crc;
        byte += 1;
    }
    tables
}

/// Continues the checksum `crc` (0 for the first piece) over `bytes`.
///
/// `crc64(crc64(0, a), b)` equals `crc64(0, ab)`.
pub fn crc64(crc: u64, bytes: &[u8]) -> u64 {
    let (blocks, rest) = bytes.as_chunks::<BLOCK>();
    match simd::fold(crc, blocks, &KEYS) {
        // The checksum of what was folded is that of all of it.
        Some(folded) => by_tables(by_tables(0, &folded), rest),
        None => by_tables(crc, bytes),
    }
}

fn by_tables(mut crc: u64, bytes: &[u8]) -> u64 {
    let (words, rest) = bytes.as_chunks::<8>();
    for word in words {
        let mixed = (crc ^ u64::from_le_bytes(*word)).to_le_bytes();
        let after = mixed.iter().zip(TABLES.iter().rev());
        crc = after.fold(0, |crc, (byte, table)| crc ^ table[usize::from(*byte)]);
    }
    for byte in rest {
        crc = TABLES[0][usize::from(crc as u8 ^ byte)] ^ (crc >> 8);
    }
    crc
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The definition, one bit at a time; the polynomial is written bit-reversed.
    fn bitwise(mut crc: u64, bytes: &[u8]) -> u64 {
        for &byte in bytes {
            crc ^= u64::from(byte);
            for _ in 0..8 {
                crc = if crc & 1 == 1 { (crc >> 1) ^ 0x95ac_9329_ac4b_c9b5 } else { crc >> 1 };
            }
        }
        crc
    }

    #[test]
    fn known_values() {
        assert_eq!(crc64(0, b""), 0);
        assert_eq!(crc64(7, b""), 7);
        assert_eq!(crc64(0, b"123456789"), 0xe9c6_d914_c4b8_d9ca);
    }

    proptest! {
        #[test]
        fn equals_the_definition(seed: u64, bytes in prop::collection::vec(any::<u8>(), 0..2000)) {
            prop_assert_eq!(crc64(seed, &bytes), bitwise(seed, &bytes));
        }

        #[test]
        fn may_be_cut_anywhere(bytes in prop::collection::vec(any::<u8>(), 0..2000), cut: usize) {
            let (head, tail) = bytes.split_at(cut % (bytes.len() + 1));
            prop_assert_eq!(crc64(crc64(0, head), tail), crc64(0, &bytes));
        }
    }
}
