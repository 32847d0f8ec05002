//! The stream that comes while the snapshot before it is still on its way.
//!
//! The first part is kept in memory, what exceeds the limit in a file: stopping to read would fill the primary's
//! buffer, which drops its replica when it is full, and the synchronisation would begin anew, perhaps for ever.

use super::CHUNK;
use std::collections::VecDeque;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// Bytes of the stream, in their order.
#[derive(Debug, Default)]
pub struct KeptStream {
    pieces: VecDeque<Vec<u8>>,
    /// Bytes in `pieces`.
    len: usize,
    /// The most that was ever in memory, in bytes.
    peak: usize,
    /// What came behind `pieces`.
    file: Option<Overflow>,
    /// What came when there was no room any more, behind everything else.
    tail: Vec<u8>,
    /// There is no room, not even in a file: the rest stays in the socket, and so at the primary.
    full: bool,
}

#[derive(Debug)]
struct Overflow {
    /// It has no name: whatever happens to this process, it does not stay.
    file: File,
    written: u64,
    read: u64,
}

/// Where [`KeptStream::push`] has put what it was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stored {
    Memory,
    /// In the file; `begun`: which was made for it.
    File {
        begun: bool,
    },
}

impl KeptStream {
    /// Bytes in memory.
    pub fn in_memory(&self) -> usize {
        self.len
    }

    /// Bytes in memory and in the file.
    pub fn total(&self) -> u64 {
        let in_file = self.file.as_ref().map_or(0, |f| f.written - f.read);
        (self.len + self.tail.len()) as u64 + in_file
    }

    /// Whether the rest stays in the socket.
    pub fn is_full(&self) -> bool {
        self.full
    }

    pub fn peak(&self) -> usize {
        self.peak
    }

    /// Adds bytes: to those in memory, if these stay within `limit` (0: none) and all fit there so far; else to a file
    /// in `directory`.
    ///
    /// # Errors
    /// Of making or writing the file. Then the bytes are kept in memory all the same, and it is full.
    pub fn push(&mut self, bytes: &[u8], limit: u64, directory: &Path) -> io::Result<Stored> {
        if self.full {
            self.tail.extend_from_slice(bytes);
            return Ok(Stored::Memory);
        }
        let fits = limit == 0 || (self.len + bytes.len()) as u64 <= limit;
        if self.file.is_none() && fits {
            self.push_to_memory(bytes);
            return Ok(Stored::Memory);
        }
        self.push_to_file(bytes, directory).inspect_err(|_| {
            self.full = true;
            self.tail.extend_from_slice(bytes);
        })
    }

    fn push_to_memory(&mut self, bytes: &[u8]) {
        self.len += bytes.len();
        self.peak = self.peak.max(self.len);
        match self.pieces.back_mut() {
            Some(last) if last.capacity() - last.len() >= bytes.len() => {
                last.extend_from_slice(bytes);
            }
            _ => {
                let mut piece = Vec::with_capacity(bytes.len().max(CHUNK));
                piece.extend_from_slice(bytes);
                self.pieces.push_back(piece);
            }
        }
    }

    fn push_to_file(&mut self, bytes: &[u8], directory: &Path) -> io::Result<Stored> {
        let begun = self.file.is_none();
        if begun {
            self.file = Some(Overflow { file: nameless(directory)?, written: 0, read: 0 });
        }
        if let Some(overflow) = &mut self.file {
            overflow.file.write_all_at(bytes, overflow.written)?;
            overflow.written += bytes.len() as u64;
        }
        Ok(Stored::File { begun })
    }

    /// Takes the next bytes away; `None`: there are no more.
    ///
    /// # Errors
    /// Of reading the file.
    pub fn pop(&mut self) -> io::Result<Option<Vec<u8>>> {
        if let Some(piece) = self.pieces.pop_front() {
            self.len -= piece.len();
            return Ok(Some(piece));
        }
        if let Some(overflow) = &mut self.file {
            let left = overflow.written - overflow.read;
            if left > 0 {
                let mut piece = vec![0; left.min(CHUNK as u64) as usize];
                overflow.file.read_exact_at(&mut piece, overflow.read)?;
                overflow.read += piece.len() as u64;
                return Ok(Some(piece));
            }
            self.file = None;
        }
        Ok(Some(std::mem::take(&mut self.tail)).filter(|tail| !tail.is_empty()))
    }
}

/// A file that goes when it is closed.
fn nameless(directory: &Path) -> io::Result<File> {
    let path = directory.join(format!("temp-stream-{}", std::process::id()));
    let file = File::options().read(true).write(true).create(true).truncate(true).open(&path)?;
    fs::remove_file(&path)?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(kept: &mut KeptStream) -> Vec<u8> {
        std::iter::from_fn(|| kept.pop().expect("a file that can be read")).flatten().collect()
    }

    #[test]
    fn what_exceeds_the_limit_goes_on_in_a_file() {
        let dir = tempfile::tempdir().expect("a directory");
        let mut kept = KeptStream::default();
        let stream: Vec<u8> = (0..300_000u32).map(|n| n as u8).collect();
        let places: Vec<Stored> = stream
            .chunks(50_000)
            .map(|piece| kept.push(piece, 100_000, dir.path()).expect("a place"))
            .collect();
        assert_eq!(places[..3], [Stored::Memory, Stored::Memory, Stored::File { begun: true }]);
        assert!(places[3..].iter().all(|place| *place == Stored::File { begun: false }));
        assert_eq!((kept.in_memory(), kept.peak(), kept.total()), (100_000, 100_000, 300_000));
        assert_eq!(fs::read_dir(dir.path()).expect("a directory").count(), 0, "it has no name");
        assert_eq!(all(&mut kept), stream);
        assert!(kept.total() == 0 && !kept.is_full());
        assert_eq!(kept.push(b"later", 100_000, dir.path()).ok(), Some(Stored::Memory));
        assert_eq!(all(&mut kept), b"later");
    }

    #[test]
    fn without_a_place_for_the_file_it_is_full_and_has_lost_nothing() {
        let mut kept = KeptStream::default();
        let nowhere = Path::new("/nonexistent");
        assert_eq!(kept.push(b"12345678", 10, nowhere).ok(), Some(Stored::Memory));
        assert!(kept.push(b"9abcd", 10, nowhere).is_err());
        assert_eq!(kept.push(b"e", 10, nowhere).ok(), Some(Stored::Memory));
        assert!(kept.is_full());
        assert_eq!(all(&mut kept), b"123456789abcde");
    }

    #[test]
    fn without_a_limit_all_is_in_memory() {
        let mut kept = KeptStream::default();
        assert_eq!(
            kept.push(&[7; 1 << 20], 0, Path::new("/nonexistent")).ok(),
            Some(Stored::Memory)
        );
        assert_eq!((all(&mut kept).len(), kept.in_memory(), kept.peak()), (1 << 20, 0, 1 << 20));
    }
}
