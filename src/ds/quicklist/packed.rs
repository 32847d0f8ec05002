//! A listpack that is cheap to change at both ends.
//!
//! ```text
//! <gap: unused bytes> <listpack>
//! ```
//!
//! A plain listpack moves all its bytes for each change at the front. Here the header alone moves,
//! down into the gap or up over the entry that goes. That is what makes a list as fast at its head
//! as at its tail.

use crate::ds::listpack::codec::{self, EOF, Encoded};
use crate::ds::listpack::view::{self, HEADER};
use crate::ds::listpack::{Listpack, ListpackRef};
use crate::util::alloc::relocate::Relocator;
use crate::util::alloc::size_class;

#[derive(Debug, Clone)]
pub(super) struct GappedListpack {
    buf: Vec<u8>,
    gap: usize,
}

impl From<Listpack> for GappedListpack {
    fn from(listpack: Listpack) -> Self {
        GappedListpack { buf: listpack.into_bytes(), gap: 0 }
    }
}

impl GappedListpack {
    pub(super) fn view(&self) -> ListpackRef<'_> {
        ListpackRef::trusted(&self.buf[self.gap..])
    }

    /// Size of the listpack in bytes.
    pub(super) fn bytes(&self) -> usize {
        self.buf.len() - self.gap
    }

    pub(super) fn heap_bytes(&self) -> usize {
        self.buf.capacity()
    }

    pub(super) fn relocate(&mut self, relocator: &mut Relocator) {
        relocator.vec(&mut self.buf);
    }

    #[inline]
    pub(super) fn push_back(&mut self, entry: &Encoded<'_>) {
        let len = entry.entry_len();
        if self.buf.capacity() - self.buf.len() < len {
            self.grow_back(len);
        }
        self.buf.pop();
        entry.append(&mut self.buf);
        self.buf.push(EOF);
        self.update_header(self.gap, 1, 0);
    }

    #[inline]
    pub(super) fn push_front(&mut self, entry: &Encoded<'_>) {
        let len = entry.entry_len();
        if self.gap < len {
            self.grow_front(len);
        }
        // First the header: the entry goes where it was.
        self.update_header(self.gap - len, 1, 0);
        let at = self.gap + HEADER;
        entry.write(&mut self.buf[at..at + len]);
    }

    pub(super) fn pop_front(&mut self) {
        let first = self.gap + HEADER;
        if let Some(second) = codec::skip(&self.buf, first).filter(|&end| end < self.buf.len()) {
            self.update_header(self.gap + second - first, 0, 1);
            self.shrink_sparse();
        }
    }

    pub(super) fn pop_back(&mut self) {
        if let Some(last) = self.view().last() {
            let end = self.gap + last.offset();
            self.buf.truncate(end + 1);
            self.buf[end] = EOF;
            self.update_header(self.gap, 0, 1);
            self.shrink_sparse();
        }
    }

    /// Changes the listpack in any other way.
    pub(super) fn edit<R>(&mut self, change: impl FnOnce(&mut Listpack) -> R) -> R {
        self.close_gap();
        let mut listpack = Listpack::trusted(std::mem::take(&mut self.buf));
        let result = change(&mut listpack);
        self.buf = listpack.into_bytes();
        result
    }

    /// Gives back memory kept for growing, unless there is little.
    pub(super) fn seal(&mut self) {
        if self.buf.capacity() - self.bytes() > self.bytes() / 16 {
            self.buf = self.view().as_bytes().to_vec();
            self.gap = 0;
        }
    }

    /// Moves the header to `gap` and adapts it.
    #[inline]
    fn update_header(&mut self, gap: usize, added: usize, removed: usize) {
        let count = view::recount(self.view().header_count(), added, removed);
        self.gap = gap;
        view::write_header(&mut self.buf[gap..], count);
    }

    #[cold]
    fn grow_back(&mut self, extra: usize) {
        // In a queue the front goes while the back grows: once the gap is large, its room is used
        // again.
        if self.gap >= extra && self.gap >= self.bytes() / 2 {
            self.close_gap();
        } else {
            let total = self.buf.len() + extra;
            self.buf.reserve_exact(size_class(total) - self.buf.len());
        }
    }

    #[cold]
    fn grow_front(&mut self, extra: usize) {
        let needed = self.bytes() + extra;
        let total = size_class(needed);
        let mut buf = Vec::with_capacity(total);
        buf.resize(total - self.bytes(), 0);
        buf.extend_from_slice(self.view().as_bytes());
        self.gap = total - self.bytes();
        self.buf = buf;
    }

    fn close_gap(&mut self) {
        if self.gap > 0 {
            self.buf.copy_within(self.gap.., 0);
            self.buf.truncate(self.buf.len() - self.gap);
            self.gap = 0;
        }
    }

    /// Gives back memory when half is unused. Small buffers are left: a short queue would
    /// reallocate all the time.
    fn shrink_sparse(&mut self) {
        const SMALL: usize = 256;
        if self.buf.capacity() > SMALL && self.bytes() <= self.buf.capacity() / 2 {
            self.close_gap();
            self.buf.shrink_to(size_class(self.bytes()));
        }
    }
}
