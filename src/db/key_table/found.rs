//! The handle of a key that has been found, which keeps the counts of slots right, and tells a walk of changes.

use super::Walk;
use super::slot_counts::SlotCounts;
use crate::db::entry::{Entry, EntryMut, EntryRef};
use crate::ds::table::Occupied;
use bytes::Bytes;

/// A key of a database, to be looked at, changed, replaced, marked (as one that has an expiry), or taken out.
pub struct Found<'a> {
    entry: Occupied<'a, Entry>,
    /// In a cluster: what is known of how many keys slots have, and the key's slot.
    counts: Option<(&'a mut SlotCounts, u16)>,
    /// To be told before the key changes.
    walk: Option<&'a mut Walk>,
}

impl<'a> Found<'a> {
    #[inline]
    pub(super) fn alone(entry: Occupied<'a, Entry>, walk: Option<&'a mut Walk>) -> Found<'a> {
        Found { entry, counts: None, walk }
    }

    #[inline]
    pub(super) fn in_slot(
        entry: Occupied<'a, Entry>,
        counts: &'a mut SlotCounts,
        slot: u16,
        walk: Option<&'a mut Walk>,
    ) -> Found<'a> {
        Found { entry, counts: Some((counts, slot)), walk }
    }

    /// The key is about to change.
    #[inline]
    fn before_change(&mut self) {
        if let Some(walk) = &mut self.walk {
            let (slot, len) = match &self.counts {
                Some((counts, slot)) => (*slot, counts.keys.of(*slot)),
                None => (0, self.entry.table().len()),
            };
            walk.before_change_of(&mut self.entry, slot, len);
        }
    }

    #[inline]
    pub fn get(&self) -> EntryRef<'_> {
        self.entry.get()
    }

    /// A shared view that outlives the handle.
    #[inline]
    pub fn into_ref(self) -> EntryRef<'a> {
        self.entry.into_ref()
    }

    /// An exclusive view that outlives the handle.
    #[inline]
    pub fn into_mut(mut self) -> EntryMut<'a> {
        self.before_change();
        self.entry.into_mut()
    }

    /// The bytes of a long string, for replies to keep, which does not change what it says; `None` if it is none.
    pub fn share_string(self) -> Option<Bytes> {
        self.entry.into_mut().share_string()
    }

    /// See [`Occupied::replace`].
    #[inline]
    pub fn replace(&mut self, entry: Entry) -> Entry {
        self.before_change();
        self.entry.replace(entry)
    }

    /// See [`Occupied::update`].
    #[inline]
    pub fn update(&mut self, change: impl FnOnce(Entry) -> Entry) {
        self.before_change();
        self.entry.update(change);
    }

    #[inline]
    pub fn is_marked(&self) -> bool {
        self.entry.is_marked()
    }

    #[inline]
    pub fn set_mark(&mut self, mark: bool) {
        self.before_change();
        if let Some((counts, slot)) = &mut self.counts {
            counts.change_mark(*slot, self.entry.is_marked(), mark);
        }
        self.entry.set_mark(mark);
    }

    /// Takes the entry out of its table.
    #[inline]
    pub fn remove(mut self) -> Entry {
        self.before_change();
        if let Some((counts, slot)) = self.counts {
            counts.remove(slot, self.entry.is_marked());
        }
        self.entry.remove()
    }
}
