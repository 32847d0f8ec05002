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

/// A command as an array of bulk strings.
pub fn encode_command(args: &[&[u8]], out: &mut Vec<u8>) {
    encode_header(b'*', args.len(), out);
    for arg in args {
        encode_bulk(arg, out);
    }
}

/// A bulk string.
pub fn encode_bulk(bytes: &[u8], out: &mut Vec<u8>) {
    encode_header(b'$', bytes.len(), out);
    out.extend_from_slice(bytes);
    out.extend_from_slice(b"\r\n");
}

/// The line before an array or a bulk string.
pub fn encode_header(kind: u8, len: usize, out: &mut Vec<u8>) {
    out.push(kind);
    out.extend_from_slice(itoa::Buffer::new().format(len).as_bytes());
    out.extend_from_slice(b"\r\n");
}

/// The annotation that says when what follows was written, in seconds since 1970.
pub fn encode_timestamp(seconds: i64, out: &mut Vec<u8>) {
    out.extend_from_slice(b"#TS:");
    out.extend_from_slice(itoa::Buffer::new().format(seconds).as_bytes());
    out.extend_from_slice(b"\r\n");
}
