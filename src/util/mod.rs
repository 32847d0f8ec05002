//! Floor 0: pure helpers that know nothing of the server. Each module is one subject, takes plain
//! values and returns plain values; no clock, no I/O, no global state.

pub(crate) mod alloc;
pub(crate) mod args;
pub(crate) mod bitmap;
pub mod clock;
pub mod crc64;
pub(crate) mod geohash;
pub(crate) mod glob;
pub(crate) mod hex_float;
pub(crate) mod histogram;
pub mod log_level;
pub(crate) mod long_double;
pub(crate) mod lzf;
pub(crate) mod memory_units;
pub(crate) mod number;
pub(crate) mod pace;
pub(crate) mod simd;
pub mod slot;
pub mod slot_set;
pub(crate) mod sparse;

/// The bytes up to the first zero, where a string of C's ends.
pub fn c_string(bytes: &[u8]) -> &[u8] {
    &bytes[..memchr::memchr(0, bytes).unwrap_or(bytes.len())]
}

/// The text of a system error as strerror(3) gives it.
pub fn io_reason(error: &std::io::Error) -> String {
    let text = error.to_string();
    match text.split_once(" (os error ") {
        Some((text, _)) => text.to_owned(),
        None => text,
    }
}
