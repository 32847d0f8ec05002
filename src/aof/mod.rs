//! Append-only files as Redis 7 writes them: what is in them, not when they are written.
//!
//! A directory holds a base file (a snapshot, or the commands that make one), incremental files (what was executed
//! since) and a manifest that names them in their order.
//!
//! * [`manifest`]: [`Manifest`], its text, and its safe way to disk.
//! * [`reader`]: [`reader::next_record`], cuts a file's bytes into commands and annotations.
//! * [`rewrite`]: the commands that make a value, for a base file that is no snapshot.
//! * [`mod@check`]: what `redis-check-aof` does.

pub mod check;
pub(crate) mod manifest;
pub(crate) mod reader;
pub(crate) mod rewrite;

pub use manifest::{AofFile, Manifest};

/// The annotation that says when what follows was written, in seconds since 1970.
pub fn encode_timestamp(seconds: i64, out: &mut Vec<u8>) {
    out.extend_from_slice(b"#TS:");
    out.extend_from_slice(itoa::Buffer::new().format(seconds).as_bytes());
    out.extend_from_slice(b"\r\n");
}
