//! A snapshot's way to one replica: a file, sent in pieces as the socket takes them.

use std::fs::File;
use std::io::{self, Read};
use std::rc::Rc;

/// Bytes read from the file at once.
const CHUNK: usize = 64 * 1024;

/// A file on its way. Replicas that share a snapshot share the open file, and read it each at its own place.
#[derive(Debug)]
pub struct Transfer {
    file: Rc<File>,
    /// Bytes of the file that have been read.
    at: u64,
    size: u64,
    /// What was read and not yet sent.
    chunk: Vec<u8>,
    sent: usize,
}

impl Transfer {
    /// The whole of `file`, announced by its length.
    pub fn new(file: Rc<File>, size: u64) -> Transfer {
        Transfer { file, at: 0, size, chunk: format!("${size}\r\n").into_bytes(), sent: 0 }
    }

    /// Bytes of the file.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Bytes of the file that have been sent.
    pub fn done(&self) -> u64 {
        self.at.saturating_sub((self.chunk.len() - self.sent) as u64)
    }

    /// The next bytes to send; empty: all have been sent.
    ///
    /// # Errors
    /// If the file can't be read, or is shorter than announced.
    pub fn pending(&mut self) -> io::Result<&[u8]> {
        if self.sent == self.chunk.len() && self.at < self.size {
            use std::os::unix::fs::FileExt;
            self.chunk.resize(CHUNK.min((self.size - self.at) as usize), 0);
            self.file.read_exact_at(&mut self.chunk, self.at)?;
            self.at += self.chunk.len() as u64;
            self.sent = 0;
        }
        Ok(&self.chunk[self.sent..])
    }

    /// So many of those bytes were sent.
    pub fn sent(&mut self, n: usize) {
        self.sent += n;
    }
}

/// Reads a pipe until it blocks or ends, at most a few pieces: the bytes, and whether it has ended.
///
/// # Errors
/// What read(2) reports, but not that the pipe is empty.
pub fn read_pipe(pipe: &mut impl Read, limit: usize) -> io::Result<(Vec<u8>, bool)> {
    let mut bytes = Vec::new();
    while bytes.len() < limit {
        let have = bytes.len();
        bytes.resize(have + CHUNK, 0);
        let outcome = pipe.read(&mut bytes[have..]);
        bytes.truncate(have + outcome.as_ref().map_or(0, |n| *n));
        match outcome {
            Ok(0) => return Ok((bytes, true)),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok((bytes, false))
}
