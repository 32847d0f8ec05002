//! What waits to be written to a client.

use bytes::{Buf, Bytes};
use std::collections::VecDeque;
use std::io::IoSlice;

/// A piece up to this size is copied behind the one before it: a subscriber gets many small messages in a turn, and
/// each of them as a buffer of its own would cost more, in memory and in the system's call.
const GATHERED_MAX: usize = 1024;
/// The first block of gathered pieces; each is twice the one before it, up to the last.
const FIRST_BLOCK: usize = 512;
const LAST_BLOCK: usize = 16 * 1024;

/// Bytes that wait to be written.
#[derive(Debug, Default)]
pub struct Output {
    chunks: VecDeque<Chunk>,
    len: usize,
    memory: usize,
}

#[derive(Debug)]
enum Chunk {
    /// A piece as it came, which others may share, and the memory that it keeps.
    Piece(Bytes, usize),
    /// Small pieces one behind the other, and how much of them has been written.
    Block(Vec<u8>, usize),
}

impl Chunk {
    fn bytes(&self) -> &[u8] {
        match self {
            Chunk::Piece(bytes, _) => bytes,
            Chunk::Block(block, written) => &block[*written..],
        }
    }

    fn advance(&mut self, n: usize) {
        match self {
            Chunk::Piece(bytes, _) => bytes.advance(n),
            Chunk::Block(_, written) => *written += n,
        }
    }

    fn memory(&self) -> usize {
        match self {
            Chunk::Piece(_, memory) => *memory,
            Chunk::Block(block, _) => block.capacity(),
        }
    }
}

impl Output {
    pub fn push(&mut self, bytes: Bytes) {
        if bytes.len() <= GATHERED_MAX {
            self.gather(&bytes);
        } else {
            let memory = bytes.len();
            self.push_part(bytes, memory);
        }
    }

    /// Adds bytes that are a part of so much memory.
    pub fn push_part(&mut self, bytes: Bytes, memory: usize) {
        if !bytes.is_empty() {
            self.len += bytes.len();
            self.memory += memory;
            self.chunks.push_back(Chunk::Piece(bytes, memory));
        }
    }

    fn gather(&mut self, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        self.len += bytes.len();
        let size = match self.chunks.back_mut() {
            Some(Chunk::Block(block, _)) if block.capacity() - block.len() >= bytes.len() => {
                block.extend_from_slice(bytes);
                return;
            }
            Some(Chunk::Block(block, _)) => (2 * block.capacity()).min(LAST_BLOCK),
            _ => FIRST_BLOCK.max(bytes.len()),
        };
        let mut block = Vec::with_capacity(size);
        block.extend_from_slice(bytes);
        self.memory += block.capacity();
        self.chunks.push_back(Chunk::Block(block, 0));
    }

    /// Memory held, in bytes. What clients share counts for each.
    pub fn memory(&self) -> usize {
        self.memory + self.chunks.capacity() * size_of::<Chunk>()
    }

    pub fn len(&self) -> usize {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub fn chunks(&self) -> usize {
        self.chunks.len()
    }

    pub fn clear(&mut self) {
        *self = Output::default();
    }

    /// The first pieces, for one vectored write.
    pub fn slices(&self) -> Vec<IoSlice<'_>> {
        self.chunks.iter().take(64).map(|chunk| IoSlice::new(chunk.bytes())).collect()
    }

    /// Drops `n` bytes that were written.
    pub fn consume(&mut self, mut n: usize) {
        self.len -= n;
        while n > 0 {
            let front = &mut self.chunks[0];
            let waiting = front.bytes().len();
            if waiting > n {
                front.advance(n);
                return;
            }
            n -= waiting;
            self.memory -= front.memory();
            self.chunks.pop_front();
        }
        if self.chunks.is_empty() {
            // An idle client keeps no buffers.
            self.chunks = VecDeque::new();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{GATHERED_MAX, Output};
    use bytes::Bytes;

    #[test]
    fn output_is_consumed_across_chunks() {
        let mut out = Output::default();
        for piece in ["abc", "", "defg", "h"] {
            out.push_part(Bytes::from(piece), 10);
        }
        assert_eq!((out.len(), out.chunks()), (8, 3));
        out.consume(5);
        let rest: Vec<u8> = out.slices().iter().flat_map(|s| s.to_vec()).collect();
        assert_eq!((out.len(), out.memory, rest.as_slice()), (3, 20, &b"fgh"[..]));
        out.consume(3);
        assert_eq!((out.len(), out.chunks(), out.memory()), (0, 0, 0));
    }

    #[test]
    fn small_pieces_share_blocks_and_large_ones_are_kept() {
        let mut out = Output::default();
        let mut expected: Vec<u8> = Vec::new();
        let mut push = |out: &mut Output, len: usize| {
            let piece: Vec<u8> = (0..len).map(|i| (i * 7 + expected.len()) as u8).collect();
            expected.extend(&piece);
            out.push(Bytes::from(piece));
        };
        (0..100).for_each(|_| push(&mut out, 100));
        // Blocks of 512, 1024, 2048, 4096 and 8192 bytes.
        assert_eq!((out.chunks(), out.memory), (5, 15_872));
        push(&mut out, GATHERED_MAX + 1);
        push(&mut out, GATHERED_MAX);
        push(&mut out, 1);
        assert_eq!(out.chunks(), 8);
        let mut written: Vec<u8> = Vec::new();
        while !out.is_empty() {
            let next: Vec<u8> = out.slices().iter().flat_map(|s| s.to_vec()).take(333).collect();
            written.extend(&next);
            out.consume(next.len());
        }
        assert!(written == expected);
        assert_eq!((out.chunks(), out.memory()), (0, 0));
    }
}
