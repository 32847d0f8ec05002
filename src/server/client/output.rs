//! What waits to be written to a client.

use bytes::{Buf, Bytes};
use std::collections::VecDeque;
use std::io::IoSlice;

/// Bytes that wait to be written.
#[derive(Debug, Default)]
pub struct Output {
    /// The pieces, and the memory that each keeps.
    chunks: VecDeque<(Bytes, usize)>,
    len: usize,
    memory: usize,
}

impl Output {
    pub fn push(&mut self, bytes: Bytes) {
        let memory = bytes.len();
        self.push_part(bytes, memory);
    }

    /// Adds bytes that are a part of so much memory.
    pub fn push_part(&mut self, bytes: Bytes, memory: usize) {
        if !bytes.is_empty() {
            self.len += bytes.len();
            self.memory += memory;
            self.chunks.push_back((bytes, memory));
        }
    }

    /// Memory held, in bytes. What clients share counts for each.
    pub fn memory(&self) -> usize {
        self.memory + self.chunks.capacity() * size_of::<(Bytes, usize)>()
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
        self.chunks.iter().take(64).map(|(bytes, _)| IoSlice::new(bytes)).collect()
    }

    /// Drops `n` bytes that were written.
    pub fn consume(&mut self, mut n: usize) {
        self.len -= n;
        while n > 0 {
            let (front, memory) = &mut self.chunks[0];
            if front.len() > n {
                front.advance(n);
                return;
            }
            n -= front.len();
            self.memory -= *memory;
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
    use super::Output;
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
}
