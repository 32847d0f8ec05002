//! The replication stream: blocks of bytes, written once.
//!
//! The backlog is the stream's last part; a replica is a cursor into it, an offset. However many replicas wait, the
//! bytes are held once. A block is dropped when neither the backlog nor any cursor needs it.

use std::collections::VecDeque;
use std::io::IoSlice;

/// The smallest block. A larger backlog has larger blocks: a sixteenth of it, as Redis has.
const MIN_BLOCK: usize = 16 * 1024;

#[derive(Debug)]
struct Block {
    /// The stream's offset of the first byte.
    start: u64,
    data: Vec<u8>,
}

impl Block {
    fn end(&self) -> u64 {
        self.start + self.data.len() as u64
    }
}

/// The kept part of the stream. Offsets count the bytes of the history from its beginning.
#[derive(Debug)]
pub struct ReplStream {
    blocks: VecDeque<Block>,
    end: u64,
    /// `repl-backlog-size`, in bytes.
    backlog_size: u64,
    /// Memory that the blocks' bytes take.
    memory: usize,
}

impl ReplStream {
    /// An empty stream that goes on at `offset`.
    pub fn new(offset: u64, backlog_size: u64) -> ReplStream {
        ReplStream { blocks: VecDeque::new(), end: offset, backlog_size, memory: 0 }
    }

    /// Heeds another `repl-backlog-size`.
    pub fn set_backlog_size(&mut self, bytes: u64) {
        self.backlog_size = bytes;
    }

    /// The offset of the first byte kept.
    pub fn start(&self) -> u64 {
        self.blocks.front().map_or(self.end, |b| b.start)
    }

    /// The offset behind the last byte.
    pub fn end(&self) -> u64 {
        self.end
    }

    /// Bytes kept.
    pub fn len(&self) -> u64 {
        self.end - self.start()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Memory held, in bytes.
    pub fn memory(&self) -> usize {
        self.memory + self.blocks.capacity() * size_of::<Block>()
    }

    /// Appends bytes. If nobody follows, what the backlog no longer holds is dropped on the way.
    pub fn append(&mut self, mut bytes: &[u8], is_followed: bool) {
        while !bytes.is_empty() {
            let full = self.blocks.back().is_none_or(|b| b.data.len() == b.data.capacity());
            if full {
                if !is_followed {
                    self.trim(self.end.saturating_sub(self.backlog_size));
                }
                // Never larger than a block may be, whatever was written at once: only whole blocks are dropped.
                let data = Vec::with_capacity(bytes.len().clamp(MIN_BLOCK, self.block_size()));
                self.memory += data.capacity();
                self.blocks.push_back(Block { start: self.end, data });
            }
            let block = self.blocks.back_mut().expect("there is a block now");
            let room = block.data.capacity() - block.data.len();
            let (now, later) = bytes.split_at(room.min(bytes.len()));
            block.data.extend_from_slice(now);
            self.end += now.len() as u64;
            bytes = later;
        }
    }

    /// Whether the bytes from `offset` on are all here.
    pub fn has(&self, offset: u64) -> bool {
        (self.start()..=self.end).contains(&offset)
    }

    /// The bytes from `offset` on, as pieces for one vectored write.
    pub fn slices(&self, offset: u64) -> Vec<IoSlice<'_>> {
        let first = self.blocks.partition_point(|b| b.end() <= offset);
        self.blocks
            .range(first..)
            .take(16)
            .map(|b| IoSlice::new(&b.data[offset.saturating_sub(b.start) as usize..]))
            .collect()
    }

    fn block_size(&self) -> usize {
        usize::try_from(self.backlog_size / 16).unwrap_or(MIN_BLOCK).max(MIN_BLOCK)
    }

    /// Drops the blocks that lie before `keep_from` altogether.
    pub fn trim(&mut self, keep_from: u64) {
        while self.blocks.len() > 1 && self.blocks[0].end() <= keep_from {
            self.memory -= self.blocks.pop_front().map_or(0, |block| block.data.capacity());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn any_offset_that_is_kept_can_be_read(
            pieces in prop::collection::vec(1usize..40_000, 1..30),
            kept in any::<prop::sample::Index>(),
        ) {
            let mut all = Vec::new();
            let mut stream = ReplStream::new(1000, 0);
            for (i, len) in pieces.iter().enumerate() {
                let piece = vec![i as u8; *len];
                all.extend_from_slice(&piece);
                stream.append(&piece, true);
            }
            let keep_from = 1000 + kept.index(all.len()) as u64;
            stream.trim(keep_from);
            prop_assert!(stream.has(keep_from) && stream.end() == 1000 + all.len() as u64);
            let mut at = keep_from;
            let mut got = Vec::new();
            while at < stream.end() {
                let piece: Vec<u8> = stream.slices(at).iter().flat_map(|s| s.to_vec()).collect();
                at += piece.len() as u64;
                got.extend_from_slice(&piece);
            }
            prop_assert_eq!(&got[..], &all[(keep_from - 1000) as usize..]);
        }
    }
}
