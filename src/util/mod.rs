//! Floor 0: pure helpers that know nothing of the server. Each module is one subject, takes plain
//! values and returns plain values; no clock, no I/O, no global state.

pub mod alloc;
pub mod args;
pub mod bitmap;
pub mod bytes_text;
pub mod clock;
pub mod crc64;
pub mod geohash;
pub mod glob;
pub mod hex_float;
pub mod long_double;
pub mod lzf;
pub mod memory_units;
pub mod number;
pub mod slot;
pub mod sparse;

/// The text of a system error as strerror(3) gives it.
pub fn io_reason(error: &std::io::Error) -> String {
    let text = error.to_string();
    match text.split_once(" (os error ") {
        Some((text, _)) => text.to_owned(),
        None => text,
    }
}
