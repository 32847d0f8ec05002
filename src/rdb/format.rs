//! The numbers of the RDB format: versions, opcodes, value types, length prefixes.
//!
//! A file is a nine-byte header, then records, each starting with one byte (an opcode, or the type
//! of the value of the key that follows), then [`opcode::EOF`] and, since version 5, the CRC-64 of
//! all that precedes it.
//!
//! A length starts with two bits that say how it goes on:
//!
//! ```text
//! 00|nnnnnn                     6 bits
//! 01|nnnnnn nnnnnnnn            14 bits, big-endian
//! 10|000000 + 4 bytes           32 bits, big-endian
//! 10|000001 + 8 bytes           64 bits, big-endian
//! 11|kkkkkk                     not a length: a string encoded in the way `k` (see `string_encoding`)
//! ```

/// The newest version (of Redis's own numbering) that can be read.
pub const REDIS_VERSION_MAX: u16 = 12;
/// Valkey's own numbering starts here; up to 11 it writes Redis's versions.
pub const VALKEY_VERSION: u16 = 80;
/// From this version on, a file ends in a checksum.
pub const CHECKSUM_SINCE: u16 = 5;

/// Length of the header: `REDIS` and four digits, or `VALKEY` and three.
pub const HEADER_LEN: usize = 9;
/// Length of the checksum at the end.
pub const CHECKSUM_LEN: usize = 8;

/// First bytes of a length.
pub mod length {
    pub const BITS_14: u8 = 0x40;
    pub const BITS_32: u8 = 0x80;
    pub const BITS_64: u8 = 0x81;
    pub const ENCODED: u8 = 0xc0;
}

/// First bytes of a string that is not stored as it is.
pub mod string_encoding {
    use super::length::ENCODED;

    pub const INT8: u8 = ENCODED;
    pub const INT16: u8 = ENCODED | 1;
    pub const INT32: u8 = ENCODED | 2;
    pub const LZF: u8 = ENCODED | 3;
}

/// First bytes of records that are not keys.
pub mod opcode {
    /// Cluster: slots that are on their way to the writer. A reader must know it, or it would take their keys for its
    /// own.
    pub const SLOT_IMPORT: u8 = 243;
    /// Cluster: a slot, its number of keys, its number of keys with an expiry.
    pub const SLOT_INFO: u8 = 244;
    /// The source of a function library.
    pub const FUNCTION2: u8 = 245;
    /// Functions as Redis 7.0's release candidates wrote them; nobody reads them any more.
    pub const FUNCTION_PRE_GA: u8 = 246;
    /// Data of a module that belongs to no key.
    pub const MODULE_AUX: u8 = 247;
    /// Idle time of the next key (LRU), in seconds.
    pub const IDLE: u8 = 248;
    /// Access frequency of the next key (LFU).
    pub const FREQ: u8 = 249;
    /// A name and a value about the file.
    pub const AUX: u8 = 250;
    /// Number of keys of this database, and of those with an expiry.
    pub const RESIZEDB: u8 = 251;
    /// Expiry of the next key, Unix time in milliseconds, 8 bytes.
    pub const EXPIRETIME_MS: u8 = 252;
    /// Expiry of the next key, Unix time in seconds, 4 bytes.
    pub const EXPIRETIME: u8 = 253;
    pub const SELECTDB: u8 = 254;
    pub const EOF: u8 = 255;
}

/// Types of values. Several types are one Redis type in different encodings.
pub mod value_type {
    pub const STRING: u8 = 0;
    pub const LIST: u8 = 1;
    pub const SET: u8 = 2;
    pub const ZSET: u8 = 3;
    pub const HASH: u8 = 4;
    pub const ZSET_2: u8 = 5;
    pub const MODULE_PRE_GA: u8 = 6;
    pub const MODULE_2: u8 = 7;
    pub const HASH_ZIPMAP: u8 = 9;
    pub const LIST_ZIPLIST: u8 = 10;
    pub const SET_INTSET: u8 = 11;
    pub const ZSET_ZIPLIST: u8 = 12;
    pub const HASH_ZIPLIST: u8 = 13;
    pub const LIST_QUICKLIST: u8 = 14;
    pub const STREAM_LISTPACKS: u8 = 15;
    pub const HASH_LISTPACK: u8 = 16;
    pub const ZSET_LISTPACK: u8 = 17;
    pub const LIST_QUICKLIST_2: u8 = 18;
    pub const STREAM_LISTPACKS_2: u8 = 19;
    pub const SET_LISTPACK: u8 = 20;
    pub const STREAM_LISTPACKS_3: u8 = 21;
    /// Valkey's hash with expiring fields. Only in version 80: in Redis 7.4's candidates 22 meant
    /// something else.
    pub const HASH_VALKEY_EXPIRY: u8 = 22;
    /// Redis's hash with expiring fields.
    pub const HASH_METADATA: u8 = 24;
    /// The same as one listpack.
    pub const HASH_LISTPACK_EX: u8 = 25;

    /// What `t` is called in messages; `None` if there is no such type.
    pub fn name(t: u8) -> Option<&'static str> {
        Some(match t {
            STRING => "string",
            LIST => "list-linked",
            SET => "set-hashtable",
            ZSET => "zset-v1",
            HASH => "hash-hashtable",
            ZSET_2 => "zset-v2",
            MODULE_PRE_GA => "module-pre-release",
            MODULE_2 => "module-value",
            HASH_ZIPMAP => "hash-zipmap",
            LIST_ZIPLIST => "list-ziplist",
            SET_INTSET => "set-intset",
            ZSET_ZIPLIST => "zset-ziplist",
            HASH_ZIPLIST => "hash-ziplist",
            LIST_QUICKLIST => "quicklist",
            STREAM_LISTPACKS => "stream",
            HASH_LISTPACK => "hash-listpack",
            ZSET_LISTPACK => "zset-listpack",
            LIST_QUICKLIST_2 => "quicklist-v2",
            STREAM_LISTPACKS_2 => "stream-v2",
            SET_LISTPACK => "set-listpack",
            STREAM_LISTPACKS_3 => "stream-v3",
            HASH_VALKEY_EXPIRY => "hash-volatile-items",
            HASH_METADATA => "hash-hashtable-md",
            HASH_LISTPACK_EX => "hash-listpack-md",
            _ => return None,
        })
    }
}

/// Opcodes inside the data of a module.
pub mod module_opcode {
    pub const EOF: u64 = 0;
    pub const SINT: u64 = 1;
    pub const UINT: u64 = 2;
    pub const FLOAT: u64 = 3;
    pub const DOUBLE: u64 = 4;
    pub const STRING: u64 = 5;
}
