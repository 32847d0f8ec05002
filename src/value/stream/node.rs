//! A node of a stream: some entries in one listpack, in the form that RDB files have too.
//!
//! ```text
//! master:  <live> <deleted> <number of names> <name> … <name> <0>
//! entry:   <flags> <ms - master's> <seq - master's> <value> … <value> <pieces>          SAME_FIELDS
//! entry:   <flags> <ms - …> <seq - …> <number> <name> <value> … <name> <value> <pieces>  otherwise
//! ```
//! Every piece is a listpack entry. The master's names are those of the first entry added; an entry with the same
//! names leaves them out. `pieces` counts what stands before it in its entry, so that the node can be read backwards;
//! the master's 0 stops that. A deleted entry is only marked; the node goes when none is live.
//!
//! The node's master ID, from which the entries' IDs are counted, is its key in the log.

use super::id::StreamId;
use crate::ds::listpack::codec::{self, Encoded};
use crate::ds::listpack::view::{HEADER, recount, write_header};
use crate::ds::listpack::{Iter, ListpackEntry, ListpackRef, Pos};
use crate::util::alloc::relocate::Relocator;
use crate::util::alloc::size_class;

/// Flags of an entry. Their piece is one byte, the number itself.
const DELETED: u8 = 1;
const SAME_FIELDS: u8 = 2;

/// What an entry's flags and two counts take at most, with the growth of the live count.
const INT_PIECES: usize = 16;

/// What a text of so many bytes takes beside them, at most.
fn text_overhead(len: usize) -> usize {
    match len {
        0..64 => 2,
        64..4096 => 4,
        _ => 10,
    }
}

/// Entries that lie together. Its listpack was made here or checked from end to end.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Node(Vec<u8>);

/// The node's head.
#[derive(Clone, Copy)]
struct Master {
    live: i64,
    deleted: i64,
    /// How many names there are, and where the first one is.
    names: usize,
    names_at: usize,
}

/// One entry of a node, live or deleted.
#[derive(Clone)]
pub(super) struct Record<'a> {
    /// Where its flags are.
    at: usize,
    pub(super) id: StreamId,
    pub(super) deleted: bool,
    pub(super) fields: Fields<'a>,
}

/// The names and values of an entry.
#[derive(Clone, Debug)]
pub struct Fields<'a> {
    /// The master's names; `None` where the entry has its own, each before its value.
    names: Option<Iter<'a>>,
    values: Iter<'a>,
    left: usize,
}

impl<'a> Iterator for Fields<'a> {
    type Item = (ListpackEntry<'a>, ListpackEntry<'a>);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        let name = self.names.as_mut().unwrap_or(&mut self.values).next()?;
        Some((name, self.values.next()?))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl ExactSizeIterator for Fields<'_> {}

impl Node {
    /// A node for an entry with these names and values (alternating), still without it; with room for `capacity` bytes
    /// in all.
    pub(super) fn new(fields: &[&[u8]], capacity: usize) -> Node {
        let mut buf = Vec::with_capacity(capacity);
        buf.extend_from_slice(&[0; HEADER]);
        let mut node = Node(buf);
        let names = fields.len() / 2;
        for head in [0, 0, names as i64] {
            node.push(ListpackEntry::Int(head));
        }
        for name in fields.iter().step_by(2) {
            node.push(ListpackEntry::Str(name));
        }
        node.push(ListpackEntry::Int(0));
        node.0.push(codec::EOF);
        write_header(&mut node.0, recount(0, names + 4, 0));
        node
    }

    /// Takes a listpack from outside and checks all of it: `None` unless it is a node of the master ID `master`, with
    /// entries in the order of their IDs.
    pub(super) fn from_bytes(mut bytes: Vec<u8>, master: StreamId) -> Option<Node> {
        ListpackRef::from_bytes(&bytes, true)?;
        bytes.shrink_to_fit();
        let node = Node(bytes);
        let head = node.master()?;
        let mut cursor = Cursor { buf: &node.0, at: head.names_at };
        cursor.skip(head.names)?;
        let mut end = (cursor.int()? == 0).then_some(cursor.at)?;
        let (mut live, mut deleted) = (0, 0);
        let mut last = None;
        while end < node.end() {
            let (record, next) = node.record(head, master, end)?;
            let in_order = match last {
                Some(last) => record.id > last,
                None => record.id >= master,
            };
            if !in_order {
                return None;
            }
            last = Some(record.id);
            if record.deleted {
                deleted += 1
            } else {
                live += 1
            }
            end = next;
        }
        ((live, deleted) == (head.live, head.deleted)).then_some(node)
    }

    /// The listpack.
    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    pub(super) fn relocate(&mut self, relocator: &mut Relocator) {
        relocator.vec(&mut self.0);
    }

    pub(super) fn heap_bytes(&self) -> usize {
        self.0.capacity()
    }

    /// Gives back memory that is not in use, when no more entries will come.
    pub(super) fn shrink(&mut self) {
        self.0.shrink_to_fit();
    }

    /// How many entries are live.
    pub(super) fn live(&self) -> u64 {
        self.master().map_or(0, |master| master.live as u64)
    }

    /// How many entries there are, deleted ones included.
    pub(super) fn total(&self) -> u64 {
        self.master().map_or(0, |master| master.live.saturating_add(master.deleted) as u64)
    }

    /// Adds an entry, whose ID follows all that are there, with these names and values (alternating).
    pub(super) fn append(&mut self, master: StreamId, id: StreamId, fields: &[&[u8]]) {
        let Some(head) = self.master() else { return };
        let same = self.has_names(head, fields);
        let count = fields.len() / 2;
        let (ms, seq) = id.delta(master);
        let texts: usize = fields.iter().map(|text| text.len() + text_overhead(text.len())).sum();
        let delta = Encoded::new(ListpackEntry::Int(ms)).entry_len()
            + Encoded::new(ListpackEntry::Int(seq)).entry_len();
        self.reserve(texts + delta + INT_PIECES);
        self.0.pop();
        self.push(ListpackEntry::Int(i64::from(if same { SAME_FIELDS } else { 0 })));
        self.push(ListpackEntry::Int(ms));
        self.push(ListpackEntry::Int(seq));
        let pieces = if same {
            for value in fields.iter().skip(1).step_by(2) {
                self.push(ListpackEntry::Str(value));
            }
            count + 3
        } else {
            self.push(ListpackEntry::Int(count as i64));
            for text in fields {
                self.push(ListpackEntry::Str(text));
            }
            2 * count + 4
        };
        self.push(ListpackEntry::Int(pieces as i64));
        self.0.push(codec::EOF);
        let elements = u16::from_le_bytes([self.0[4], self.0[5]]);
        write_header(&mut self.0, recount(elements, pieces + 1, 0));
        self.replace_int(HEADER, head.live + 1);
    }

    /// Marks the entry of this ID deleted; whether there was one, live.
    pub(super) fn delete(&mut self, master: StreamId, id: StreamId) -> bool {
        let found = self.records(master).find(|record| record.id >= id);
        let Some(Record { at, .. }) = found.filter(|record| record.id == id && !record.deleted)
        else {
            return false;
        };
        self.0[at] |= DELETED;
        self.count_deleted(1);
        true
    }

    /// Marks entries deleted from the front on, up to the first for whose ID `stop` says so. `stop` gets the number
    /// of those marked so far too. Answers how many were live.
    pub(super) fn delete_front(
        &mut self,
        master: StreamId,
        stop: impl Fn(StreamId, u64) -> bool,
    ) -> u64 {
        let Some(head) = self.master() else { return 0 };
        let mut at = self.records(master).front;
        let mut marked = 0;
        while at < self.end()
            && let Some((record, next)) = self.record(head, master, at)
            && !stop(record.id, marked)
        {
            marked += u64::from(!record.deleted);
            self.0[at] |= DELETED;
            at = next;
        }
        self.count_deleted(marked as i64);
        marked
    }

    /// The entries, from either end.
    pub(super) fn records(&self, master: StreamId) -> Records<'_> {
        let head = self.master();
        let front = head.and_then(|head| {
            let mut cursor = Cursor { buf: &self.0, at: head.names_at };
            cursor.skip(head.names + 1)?;
            Some(cursor.at)
        });
        let back = self.end();
        let head = head.unwrap_or(Master { live: 0, deleted: 0, names: 0, names_at: back });
        Records { node: self, head, master, front: front.unwrap_or(back), back }
    }

    /// The ID of the last entry, live or deleted.
    pub(super) fn last_id(&self, master: StreamId) -> Option<StreamId> {
        self.records(master).next_back().map(|record| record.id)
    }

    /// Offset of the end mark.
    fn end(&self) -> usize {
        self.0.len() - 1
    }

    #[inline]
    fn master(&self) -> Option<Master> {
        let mut cursor = Cursor { buf: &self.0, at: HEADER };
        let live = cursor.count()?;
        let deleted = cursor.count()?;
        let names = cursor.count()? as usize;
        Some(Master { live, deleted, names, names_at: cursor.at })
    }

    /// The entry at `at`, and where the next one is. `None` for what is no entry.
    #[inline]
    fn record(&self, head: Master, master: StreamId, at: usize) -> Option<(Record<'_>, usize)> {
        let mut cursor = Cursor { buf: &self.0, at };
        let flags = u8::try_from(cursor.int()?).ok()?;
        // The flags are changed in place: their piece must be the one byte.
        if flags > (DELETED | SAME_FIELDS) || self.0[at] != flags {
            return None;
        }
        let id = master.plus((cursor.int()?, cursor.int()?));
        let view = ListpackRef::trusted(&self.0);
        let same = flags & SAME_FIELDS != 0;
        let left = if same { head.names } else { cursor.count()? as usize };
        let names = same.then(|| view.iter_from(Pos::new(head.names_at)));
        let fields = Fields { names, values: view.iter_from(Pos::new(cursor.at)), left };
        let texts = if same { left } else { left.checked_mul(2)? };
        cursor.skip(texts)?;
        let pieces = texts + if same { 3 } else { 4 };
        if cursor.int()? != pieces as i64 {
            return None;
        }
        Some((Record { at, id, deleted: flags & DELETED != 0, fields }, cursor.at))
    }

    /// Whether the names among these fields are the master's.
    #[inline]
    fn has_names(&self, head: Master, fields: &[&[u8]]) -> bool {
        head.names == fields.len() / 2 && {
            let names = ListpackRef::trusted(&self.0).iter_from(Pos::new(head.names_at));
            names.zip(fields.iter().step_by(2)).all(|(name, other)| name.eq_bytes(other))
        }
    }

    fn count_deleted(&mut self, n: i64) {
        let Some(head) = self.master() else { return };
        self.replace_int(HEADER, head.live - n);
        if let Some(deleted_at) = codec::skip(&self.0, HEADER) {
            self.replace_int(deleted_at, head.deleted + n);
        }
    }

    /// Puts an integer in the place of the piece at `at`.
    #[inline]
    fn replace_int(&mut self, at: usize, n: i64) {
        let new = Encoded::new(ListpackEntry::Int(n));
        let len = new.entry_len();
        let Some(end) = codec::skip(&self.0, at) else { return };
        if end - at != len {
            let tail = end..self.0.len();
            let total = at + len + tail.len();
            if total > self.0.len() {
                self.reserve(total - self.0.len());
                self.0.resize(total, 0);
            }
            self.0.copy_within(tail, at + len);
            self.0.truncate(total);
            let elements = u16::from_le_bytes([self.0[4], self.0[5]]);
            write_header(&mut self.0, elements);
        }
        new.write(&mut self.0[at..at + len]);
    }

    #[inline]
    fn push(&mut self, piece: ListpackEntry<'_>) {
        Encoded::new(piece).append(&mut self.0);
    }

    /// Makes room for about `extra` more bytes, in the steps that allocators have.
    #[inline]
    fn reserve(&mut self, extra: usize) {
        if self.0.capacity() - self.0.len() < extra {
            self.0.reserve_exact(size_class(self.0.len() + extra) - self.0.len());
        }
    }
}

/// A walk over the entries of a node.
#[derive(Clone)]
pub(super) struct Records<'a> {
    node: &'a Node,
    head: Master,
    master: StreamId,
    front: usize,
    back: usize,
}

impl<'a> Iterator for Records<'a> {
    type Item = Record<'a>;

    #[inline]
    fn next(&mut self) -> Option<Record<'a>> {
        if self.front >= self.back {
            return None;
        }
        let (record, next) = self.node.record(self.head, self.master, self.front)?;
        self.front = next;
        Some(record)
    }
}

impl<'a> DoubleEndedIterator for Records<'a> {
    #[inline]
    fn next_back(&mut self) -> Option<Record<'a>> {
        if self.front >= self.back {
            return None;
        }
        let buf = &self.node.0;
        let mut at = codec::entry_before(buf, self.back)?;
        let pieces = Cursor { buf, at }.count()?;
        for _ in 0..pieces {
            at = codec::entry_before(buf, at)?;
        }
        let (record, _) = self.node.record(self.head, self.master, at)?;
        self.back = at;
        Some(record)
    }
}

/// Reads piece after piece.
struct Cursor<'a> {
    buf: &'a [u8],
    at: usize,
}

impl Cursor<'_> {
    #[inline]
    fn int(&mut self) -> Option<i64> {
        match codec::decode(self.buf, self.at)? {
            (ListpackEntry::Int(n), len) => {
                self.at += codec::with_backlen(len);
                Some(n)
            }
            _ => None,
        }
    }

    /// An integer that is not negative, and small enough to count pieces of memory.
    #[inline]
    fn count(&mut self) -> Option<i64> {
        self.int().filter(|n| (0..=i64::from(u32::MAX)).contains(n))
    }

    #[inline]
    fn skip(&mut self, pieces: usize) -> Option<()> {
        for _ in 0..pieces {
            self.at = codec::skip(self.buf, self.at)?;
        }
        Some(())
    }
}
