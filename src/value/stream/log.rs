//! The entries of a stream: nodes in the order of their IDs.
//!
//! Entries are added at the end, to the last node until that is full, and mostly trimmed from the front. A node's key
//! is its master ID, which is that of the first entry it ever had, so that an entry can only be in the last node whose
//! key is not beyond its ID.

use super::id::StreamId;
use super::node::{Fields, Node, Records};
use super::walk::{NodeVisitor, Walk};
use crate::ds::walked::{BYTES_OF_HEIR, Heir, KeptBytes, Walked};
use crate::util::alloc::relocate::Relocator;
use std::collections::{BTreeMap, btree_map};
use std::mem;
use std::ops::Bound;

/// The largest entry, and the largest node: bytes of names and values, of the listpack.
const MAX_BYTES: usize = 1 << 30;
/// The most names and values of an entry: with them at their longest, a listpack's length is still a number of 32 bits.
const MAX_TEXTS: usize = 1 << 27;
/// As many nodes are measured to estimate the memory of all.
const MEMORY_SAMPLES: usize = 16;
/// What a map of nodes takes beside keys and nodes: added in order, they leave its leaves half full.
const SLOT_BYTES: usize = 2 * size_of::<(StreamId, Node)>();

/// The entries, and what is remembered of those that have gone.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Log {
    nodes: BTreeMap<StreamId, Node>,
    len: u64,
    first_id: StreamId,
    /// The last ID given out, whether its entry is still there or not.
    pub last_id: StreamId,
    /// The largest ID that was deleted by `XDEL`.
    pub max_deleted_id: StreamId,
    /// How many entries were ever added.
    pub entries_added: u64,
    /// Told before a node changes, comes or goes.
    walk: Walked<Walk>,
}

impl Drop for Log {
    fn drop(&mut self) {
        if let Some(heir) = self.walk.take_heir() {
            let mut log = mem::take(self);
            heir(Box::new(move || log.walk_on(BYTES_OF_HEIR)));
        }
    }
}

/// `stream-node-max-bytes` and `stream-node-max-entries`; 0: no limit.
#[derive(Clone, Copy, Debug)]
pub struct NodeLimits {
    pub max_bytes: u64,
    pub max_entries: u64,
}

/// The ID that an entry is to get.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NewId {
    /// `*`: the time, or what follows the last ID.
    Auto,
    /// `<ms>-*`: the next sequence number of this millisecond.
    Millisecond(u64),
    Exact(StreamId),
}

/// What a stream is trimmed to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TrimTo {
    /// At most so many entries.
    MaxLen(u64),
    /// No entries with a smaller ID.
    MinId(StreamId),
}

/// An entry as a range shows it.
#[derive(Clone, Debug)]
pub struct StreamEntry<'a> {
    pub id: StreamId,
    pub fields: Fields<'a>,
}

/// Metadata of a stream as an RDB file has it.
#[derive(Clone, Copy, Debug, Default)]
pub struct LogInfo {
    pub len: u64,
    pub last_id: StreamId,
    pub max_deleted_id: StreamId,
    /// `None` in old files: as many as there are.
    pub entries_added: Option<u64>,
}

impl Log {
    /// How many entries there are.
    #[inline]
    pub fn len(&self) -> u64 {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The first entry's ID; 0-0 if there is none.
    pub fn first_id(&self) -> StreamId {
        self.first_id
    }

    /// How many nodes there are.
    pub fn node_count(&self) -> usize {
        self.nodes.len()
    }

    /// Memory that the nodes take, in bytes.
    pub fn heap_bytes(&self) -> usize {
        let half = MEMORY_SAMPLES / 2;
        let count = self.nodes.len();
        let sampled = if count <= MEMORY_SAMPLES { count } else { MEMORY_SAMPLES };
        let bytes: usize = if count <= MEMORY_SAMPLES {
            self.nodes.values().map(Node::heap_bytes).sum()
        } else {
            let ends = self.nodes.values().take(half).chain(self.nodes.values().rev().take(half));
            ends.map(Node::heap_bytes).sum()
        };
        bytes * count / sampled.max(1) + count * SLOT_BYTES
    }

    /// Shows the nodes from `from` on to the relocator, until so many `entries` are done. Returns where to go on, if
    /// there is more. The map of the nodes stays where it is.
    pub fn relocate(
        &mut self,
        from: StreamId,
        entries: usize,
        relocator: &mut Relocator,
    ) -> Option<StreamId> {
        let mut left = entries as u64;
        for (id, node) in self.nodes.range_mut(from..) {
            if left == 0 {
                return Some(*id);
            }
            node.relocate(relocator);
            left = left.saturating_sub(node.total());
        }
        None
    }

    /// The ID that the next entry gets; `None` if it would not follow the last one.
    #[inline]
    pub fn new_id(&self, wanted: NewId, now_ms: i64) -> Option<StreamId> {
        let id = match wanted {
            NewId::Exact(id) => id,
            NewId::Millisecond(ms) if ms != self.last_id.ms => StreamId::new(ms, 0),
            NewId::Millisecond(ms) => StreamId::new(ms, self.last_id.seq.checked_add(1)?),
            NewId::Auto => {
                let now = now_ms.max(0) as u64;
                if now > self.last_id.ms { StreamId::new(now, 0) } else { self.last_id.next()? }
            }
        };
        (id > self.last_id).then_some(id)
    }

    /// Whether an entry with these names and values is small enough to be added.
    pub fn fits(fields: &[&[u8]]) -> bool {
        text_bytes(fields) <= MAX_BYTES && fields.len() <= MAX_TEXTS
    }

    /// Adds an entry with these names and values (alternating), which [fit](Log::fits), under an ID from
    /// [`Log::new_id`].
    pub fn append(&mut self, id: StreamId, fields: &[&[u8]], limits: NodeLimits) {
        let text = text_bytes(fields);
        let mut capacity = 0;
        let mut last = self.nodes.last_entry();
        if let Some(entry) = &mut last
            && is_full(entry.get(), text, limits)
        {
            // The next node will likely need as much.
            let node = entry.get_mut();
            node.shrink();
            capacity = node.heap_bytes();
            last = None;
        }
        match last {
            Some(entry) => {
                let master = *entry.key();
                let node = entry.into_mut();
                if let Some(walk) = self.walk.get_mut() {
                    walk.before_change(master, node);
                }
                node.append(master, id, fields);
            }
            None => {
                if let Some(walk) = self.walk.get_mut() {
                    walk.comes(id);
                }
                let mut node = Node::new(fields, capacity);
                node.append(id, id, fields);
                self.nodes.insert(id, node);
            }
        }
        self.len += 1;
        self.entries_added = self.entries_added.wrapping_add(1);
        self.last_id = id;
        if self.len == 1 {
            self.first_id = id;
        }
    }

    /// The entries from `start` to `end`, both included, forwards.
    pub fn range(&self, start: StreamId, end: StreamId) -> Range<'_> {
        self.walk(start, end, false)
    }

    /// The entries from `end` back to `start`, both included.
    pub fn range_rev(&self, start: StreamId, end: StreamId) -> Range<'_> {
        self.walk(start, end, true)
    }

    /// The entry with this ID.
    pub fn get(&self, id: StreamId) -> Option<StreamEntry<'_>> {
        self.range(id, id).next()
    }

    /// The ID of the last entry that is there.
    pub fn last_entry_id(&self) -> Option<StreamId> {
        self.range_rev(StreamId::MIN, StreamId::MAX).next().map(|item| item.id)
    }

    /// Deletes an entry; whether it was there.
    pub fn delete(&mut self, id: StreamId) -> bool {
        let Some((&master, node)) = self.nodes.range_mut(..=id).next_back() else { return false };
        if let Some(walk) = self.walk.get_mut() {
            walk.before_change(master, node);
        }
        if !node.delete(master, id) {
            return false;
        }
        if node.live() == 0 {
            self.nodes.remove(&master);
        }
        self.len -= 1;
        if id == self.first_id {
            self.find_first();
        }
        self.max_deleted_id = self.max_deleted_id.max(id);
        true
    }

    /// Removes the oldest entries; returns how many. Whole nodes only if `approximate`, and then at most `limit`
    /// entries, if that is not 0.
    pub fn trim(&mut self, to: TrimTo, approximate: bool, limit: u64) -> u64 {
        let before = self.len;
        while let Some(mut first) = self.nodes.first_entry() {
            let removed = before - self.len;
            if matches!(to, TrimTo::MaxLen(max) if self.len <= max) {
                break;
            }
            let master = *first.key();
            let live = first.get().live();
            if limit > 0 && removed.saturating_add(live) > limit {
                break;
            }
            let all = match to {
                TrimTo::MaxLen(max) => self.len - live >= max,
                TrimTo::MinId(id) => first.get().last_id(master).is_none_or(|last| last < id),
            };
            if all {
                let node = first.remove();
                if let Some(walk) = self.walk.get_mut() {
                    walk.has_left(master, node);
                }
                self.len -= live;
                continue;
            }
            if !approximate {
                let len = self.len;
                let node = first.get_mut();
                if let Some(walk) = self.walk.get_mut() {
                    walk.before_change(master, node);
                }
                self.len -= node.delete_front(master, |id, marked| match to {
                    TrimTo::MaxLen(max) => len - marked <= max,
                    TrimTo::MinId(min) => id >= min,
                });
                if node.live() == 0 {
                    // What is beyond the mark was deleted before.
                    first.remove();
                }
            }
            break;
        }
        if self.len != before {
            self.find_first();
        }
        before - self.len
    }

    /// How many entries were added up to `id`, if that can be told: the position of a group that has read so far.
    pub fn entries_up_to(&self, id: StreamId) -> Option<u64> {
        if self.entries_added == 0 {
            return Some(0);
        }
        if self.len == 0 && id <= self.last_id {
            return Some(self.entries_added);
        }
        if id >= self.last_id {
            return (id == self.last_id).then_some(self.entries_added);
        }
        if self.max_deleted_id != StreamId::MIN && self.max_deleted_id >= self.first_id {
            // Something was deleted among the entries: nobody knows how many before `id`.
            return None;
        }
        let gone = self.entries_added.wrapping_sub(self.len);
        if id < self.first_id {
            Some(gone)
        } else {
            (id == self.first_id).then_some(gone.wrapping_add(1))
        }
    }

    /// Whether an entry may have been deleted by `XDEL` from `start` on, among those that are there.
    pub fn has_gaps_after(&self, start: StreamId) -> bool {
        self.len > 0
            && self.max_deleted_id != StreamId::MIN
            && self.first_id <= self.max_deleted_id
            && start <= self.max_deleted_id
    }

    /// The nodes: master ID and listpack.
    pub fn nodes(&self) -> impl Iterator<Item = (StreamId, &[u8])> {
        self.nodes.iter().map(|(&master, node)| (master, node.as_bytes()))
    }

    /// Starts to hand the nodes, as they are now, to `visit`: [`walk_on`](Self::walk_on) is to be called until there
    /// are no more, when `visit` is dropped. A log that is dropped before is left to `heir`.
    pub fn begin_walk(&mut self, visit: NodeVisitor, heir: Heir, kept: KeptBytes) {
        let last = self.nodes.last_key_value().map(|(&id, _)| id);
        self.walk.begin(Walk::new(last, visit, kept), heir);
    }

    /// Whether a walk is under way that has not come to its end.
    pub fn is_walked(&self) -> bool {
        self.walk.is_under_way()
    }

    /// Goes on with the walk by nodes of about so many bytes. Returns whether there are more.
    pub fn walk_on(&mut self, bytes: usize) -> bool {
        self.walk.go_on(|walk| walk.go_on(&self.nodes, bytes))
    }

    /// Ends the walk, wherever it is.
    pub fn end_walk(&mut self) {
        self.walk.end();
    }

    /// Adds a node that was saved, behind the others. `false` if it is none, or does not belong there.
    pub fn load_node(&mut self, master: StreamId, listpack: Vec<u8>) -> bool {
        let Some(node) = Node::from_bytes(listpack, master) else { return false };
        if self
            .nodes
            .last_key_value()
            .is_some_and(|(&before, _)| master <= self.last_id.max(before))
        {
            return false;
        }
        self.len += node.live();
        self.last_id = node.last_id(master).unwrap_or(master);
        if node.live() > 0 {
            // A node in which nothing is left has no use.
            self.nodes.insert(master, node);
        }
        true
    }

    /// Completes a log whose nodes are loaded. `false` if the metadata do not fit them.
    pub fn load_info(&mut self, info: LogInfo) -> bool {
        if info.len != self.len || self.last_entry_id().is_some_and(|last| info.last_id < last) {
            return false;
        }
        // Old servers let the last ID be set back to before entries that were deleted; but IDs must stay in order.
        self.last_id = self.last_id.max(info.last_id);
        self.max_deleted_id = info.max_deleted_id;
        self.entries_added = info.entries_added.unwrap_or(self.len);
        self.find_first();
        true
    }

    fn find_first(&mut self) {
        let first = self.range(StreamId::MIN, StreamId::MAX).next().map(|item| item.id);
        self.first_id = first.unwrap_or(StreamId::MIN);
    }

    fn walk(&self, start: StreamId, end: StreamId, reverse: bool) -> Range<'_> {
        let before = self.nodes.range(..=start).next_back();
        let from = before.map_or(start, |(&master, _)| master);
        let bounds = if start <= end {
            (Bound::Included(from), Bound::Included(end))
        } else {
            (Bound::Included(end), Bound::Excluded(end))
        };
        Range { nodes: self.nodes.range(bounds), records: None, start, end, reverse }
    }
}

#[inline]
fn text_bytes(fields: &[&[u8]]) -> usize {
    fields.iter().map(|text| text.len()).sum()
}

/// Whether an entry of `text` bytes has to go to a new node.
#[inline]
fn is_full(node: &Node, text: usize, limits: NodeLimits) -> bool {
    let max_bytes = match usize::try_from(limits.max_bytes) {
        Ok(max) if max > 0 && max < MAX_BYTES => max,
        _ => MAX_BYTES,
    };
    node.as_bytes().len() + text >= max_bytes
        || (limits.max_entries > 0 && node.total() >= limits.max_entries)
}

/// A walk over the live entries between two IDs.
pub struct Range<'a> {
    nodes: btree_map::Range<'a, StreamId, Node>,
    records: Option<Records<'a>>,
    start: StreamId,
    end: StreamId,
    reverse: bool,
}

impl<'a> Iterator for Range<'a> {
    type Item = StreamEntry<'a>;

    #[inline]
    fn next(&mut self) -> Option<StreamEntry<'a>> {
        loop {
            let Some(records) = &mut self.records else {
                let next = if self.reverse { self.nodes.next_back() } else { self.nodes.next() };
                let (&master, node) = next?;
                self.records = Some(node.records(master));
                continue;
            };
            let next = if self.reverse { records.next_back() } else { records.next() };
            let Some(record) = next else {
                self.records = None;
                continue;
            };
            let (too_early, too_late) = if self.reverse {
                (record.id > self.end, record.id < self.start)
            } else {
                (record.id < self.start, record.id > self.end)
            };
            if too_late {
                // Nothing that follows is in the range either.
                self.nodes = Default::default();
                self.records = None;
                return None;
            }
            if !too_early && !record.deleted {
                return Some(StreamEntry { id: record.id, fields: record.fields });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    type Fields = Vec<Vec<u8>>;

    /// A stream as plainly as it can be.
    #[derive(Default)]
    struct Model {
        entries: Vec<(StreamId, Fields)>,
        last_id: StreamId,
    }

    #[derive(Debug, Clone)]
    enum Op {
        Append { ms: u64, seq: u64, fields: Fields },
        Delete(prop::sample::Index),
        Trim { to: prop::sample::Index, by_id: bool },
        TrimNodes { to: prop::sample::Index, limit: u64 },
        Range(prop::sample::Index, prop::sample::Index),
    }

    fn text() -> impl Strategy<Value = Vec<u8>> {
        prop_oneof![
            any::<i64>().prop_map(|n| n.to_string().into_bytes()),
            (0..300i64).prop_map(|n| n.to_string().into_bytes()),
            prop::collection::vec(any::<u8>(), 0..6),
            (any::<u8>(), prop::sample::select(vec![63, 64, 127, 4095, 4096, 5000]))
                .prop_map(|(byte, n)| vec![byte; n]),
        ]
    }

    fn fields() -> impl Strategy<Value = Fields> {
        let names = |n: usize| {
            move |values: Vec<Vec<u8>>| -> Fields {
                (0..n).flat_map(|i| [format!("name{i}").into_bytes(), values[i].clone()]).collect()
            }
        };
        prop_oneof![
            4 => prop::collection::vec(text(), 2).prop_map(names(2)),
            2 => prop::collection::vec(text(), 3).prop_map(names(3)),
            1 => prop::collection::vec(text(), 2),
        ]
    }

    fn op() -> impl Strategy<Value = Op> {
        let index = || any::<prop::sample::Index>();
        let step = prop_oneof![9 => 0..3u64, 1 => 0..1u64 << 60];
        prop_oneof![
            12 => (step, 0..3u64, fields()).prop_map(|(ms, seq, fields)| Op::Append { ms, seq, fields }),
            3 => index().prop_map(Op::Delete),
            1 => (index(), any::<bool>()).prop_map(|(to, by_id)| Op::Trim { to, by_id }),
            1 => (index(), 0..20u64).prop_map(|(to, limit)| Op::TrimNodes { to, limit }),
            3 => (index(), index()).prop_map(|(start, end)| Op::Range(start, end)),
        ]
    }

    fn shown<'a>(items: impl Iterator<Item = StreamEntry<'a>>) -> Vec<(StreamId, Fields)> {
        let texts = |item: StreamEntry<'_>| {
            item.fields.flat_map(|(name, value)| [name.to_vec(), value.to_vec()]).collect()
        };
        items.map(|item| (item.id, texts(item))).collect()
    }

    fn all(log: &Log) -> Vec<(StreamId, Fields)> {
        shown(log.range(StreamId::MIN, StreamId::MAX))
    }

    /// The log as it comes back from its saved form.
    fn reloaded(log: &Log) -> Log {
        let mut back = Log::default();
        for (master, listpack) in log.nodes() {
            assert!(back.load_node(master, listpack.to_vec()), "a node of ours is refused");
        }
        let info = LogInfo {
            len: log.len(),
            last_id: log.last_id,
            max_deleted_id: log.max_deleted_id,
            entries_added: Some(log.entries_added),
        };
        assert!(back.load_info(info));
        back
    }

    fn apply(log: &mut Log, model: &mut Model, op: Op, limits: NodeLimits) {
        let pick = |entries: &[(StreamId, Fields)], at: prop::sample::Index| match entries {
            [] => StreamId::new(1, 1),
            entries => at.get(entries).0,
        };
        match op {
            Op::Append { ms, seq, fields } => {
                let Some(id) = log.last_id.ms.checked_add(ms) else { return };
                let id = StreamId::new(id, if ms == 0 { log.last_id.seq + seq } else { seq });
                let wanted = log.new_id(NewId::Exact(id), 0);
                assert_eq!(wanted, (id > model.last_id).then_some(id));
                if let Some(id) = wanted {
                    let texts: Vec<&[u8]> = fields.iter().map(Vec::as_slice).collect();
                    log.append(id, &texts, limits);
                    model.last_id = id;
                    model.entries.push((id, fields));
                }
            }
            Op::Delete(at) => {
                let id = pick(&model.entries, at);
                let known = model.entries.iter().position(|entry| entry.0 == id);
                assert_eq!(log.delete(id), known.is_some());
                assert!(!log.delete(id));
                known.map(|at| model.entries.remove(at));
            }
            Op::Trim { to, by_id } => {
                let keep = to.index(model.entries.len() + 1);
                let from = model.entries.len() - keep;
                let threshold = match model.entries.get(from) {
                    Some((id, _)) if by_id => TrimTo::MinId(*id),
                    _ => TrimTo::MaxLen(keep as u64),
                };
                assert_eq!(log.trim(threshold, false, 0), from as u64);
                model.entries.drain(..from);
            }
            Op::TrimNodes { to, limit } => {
                let keep = to.index(model.entries.len() + 1) as u64;
                let removed = log.trim(TrimTo::MaxLen(keep), true, limit);
                assert!(removed + keep <= model.entries.len() as u64 || removed == 0);
                assert!(limit == 0 || removed <= limit);
                model.entries.drain(..removed as usize);
            }
            Op::Range(start, end) => {
                let (start, end) = (pick(&model.entries, start), pick(&model.entries, end));
                let inside = model.entries.iter().filter(|(id, _)| (start..=end).contains(id));
                let mut inside: Vec<_> = inside.cloned().collect();
                assert_eq!(shown(log.range(start, end)), inside);
                inside.reverse();
                assert_eq!(shown(log.range_rev(start, end)), inside);
            }
        }
    }

    proptest! {
        #[test]
        fn behaves_like_a_plain_list(
            ops in prop::collection::vec(op(), 1..200),
            max_entries in prop::sample::select(vec![0, 1, 3, 10]),
            max_bytes in prop::sample::select(vec![0, 50, 4096]),
        ) {
            let (mut log, mut model) = (Log::default(), Model::default());
            for op in ops {
                apply(&mut log, &mut model, op, NodeLimits { max_bytes, max_entries });
                prop_assert_eq!(log.len(), model.entries.len() as u64);
                let first = model.entries.first().map_or(StreamId::MIN, |entry| entry.0);
                prop_assert_eq!(log.first_id(), first);
                prop_assert_eq!(log.last_entry_id(), model.entries.last().map(|entry| entry.0));
                prop_assert_eq!(log.last_id, model.last_id);
            }
            prop_assert_eq!(all(&log), model.entries);
            prop_assert_eq!(reloaded(&log), log);
        }

        #[test]
        fn corrupt_nodes_are_refused_or_read(
            entries in prop::collection::vec(fields(), 1..8),
            at: prop::sample::Index,
            byte: u8,
        ) {
            let mut log = Log::default();
            for (n, entry) in entries.iter().enumerate() {
                let texts: Vec<&[u8]> = entry.iter().map(Vec::as_slice).collect();
                log.append(StreamId::new(1, n as u64), &texts, NodeLimits { max_bytes: 0, max_entries: 0 });
            }
            let (master, listpack) = log.nodes().next().unwrap();
            let mut bad = listpack.to_vec();
            *at.get_mut(&mut bad[..]) = byte;
            let mut back = Log::default();
            if back.load_node(master, bad) {
                prop_assert_eq!(all(&back).len() as u64, back.len());
                let backwards = shown(back.range_rev(StreamId::MIN, StreamId::MAX));
                prop_assert_eq!(backwards.into_iter().rev().collect::<Vec<_>>(), all(&back));
            }
        }
    }

    #[test]
    fn ids_of_new_entries() {
        let mut log = Log::default();
        log.last_id = StreamId::new(100, 5);
        for (wanted, now, id) in [
            (NewId::Auto, 101, Some(StreamId::new(101, 0))),
            (NewId::Auto, 100, Some(StreamId::new(100, 6))),
            (NewId::Auto, -1, Some(StreamId::new(100, 6))),
            (NewId::Millisecond(100), 0, Some(StreamId::new(100, 6))),
            (NewId::Millisecond(101), 0, Some(StreamId::new(101, 0))),
            (NewId::Millisecond(99), 0, None),
            (NewId::Exact(StreamId::new(100, 5)), 0, None),
        ] {
            assert_eq!(log.new_id(wanted, now), id, "{wanted:?}");
        }
        log.last_id = StreamId::new(7, u64::MAX);
        assert_eq!(log.new_id(NewId::Millisecond(7), 0), None);
        assert_eq!(log.new_id(NewId::Auto, 0), Some(StreamId::new(8, 0)));
    }

    #[test]
    fn positions_are_known_where_nothing_is_missing() {
        let mut log = Log::default();
        assert_eq!(log.entries_up_to(StreamId::new(5, 0)), Some(0));
        for ms in 1..=4 {
            let limits = NodeLimits { max_bytes: 0, max_entries: 2 };
            log.append(StreamId::new(ms, 0), &[b"f", b"v"], limits);
        }
        log.trim(TrimTo::MaxLen(3), false, 0);
        let known = |log: &Log| {
            (0..6).map(|ms| log.entries_up_to(StreamId::new(ms, 0))).collect::<Vec<_>>()
        };
        assert_eq!(known(&log), [Some(1), Some(1), Some(2), None, Some(4), None]);
        log.delete(StreamId::new(3, 0));
        assert_eq!(known(&log), [None, None, None, None, Some(4), None]);
        assert!(log.has_gaps_after(StreamId::new(2, 0)));
        assert!(!log.has_gaps_after(StreamId::new(4, 0)));
    }

    /// What small entries cost: the reason for this form.
    #[test]
    fn small_entries_are_small() {
        let mut log = Log::default();
        for ms in 0..100_000 {
            let value = ms.to_string();
            let limits = NodeLimits { max_bytes: 4096, max_entries: 100 };
            log.append(
                StreamId::new(1_700_000_000_000 + ms, 0),
                &[b"field", value.as_bytes()],
                limits,
            );
        }
        let per_entry = log.heap_bytes() as f64 / 100_000.0;
        assert!(per_entry < 15.0, "{per_entry} bytes");
    }
}
