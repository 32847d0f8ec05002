//! The handle of a key that has been found, which keeps the counts of slots right.

use super::slot_counts::SlotCounts;
use crate::db::entry::{Entry, EntryMut, EntryRef};
use crate::ds::table::Occupied;

/// A key of a database, to be looked at, changed, replaced, marked (as one that has an expiry), or taken out.
pub struct Found<'a> {
    entry: Occupied<'a, Entry>,
    /// In a cluster: what is known of how many keys slots have, and the key's slot.
    counts: Option<(&'a mut SlotCounts, u16)>,
}

impl<'a> Found<'a> {
    #[inline]
    pub(super) fn alone(entry: Occupied<'a, Entry>) -> Found<'a> {
        Found { entry, counts: None }
    }

    pub(super) fn in_slot(
        entry: Occupied<'a, Entry>,
        counts: &'a mut SlotCounts,
        slot: u16,
    ) -> Found<'a> {
        Found { entry, counts: Some((counts, slot)) }
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
    pub fn into_mut(self) -> EntryMut<'a> {
        self.entry.into_mut()
    }

    /// See [`Occupied::replace`].
    #[inline]
    pub fn replace(&mut self, entry: Entry) -> Entry {
        self.entry.replace(entry)
    }

    /// See [`Occupied::update`].
    #[inline]
    pub fn update(&mut self, change: impl FnOnce(Entry) -> Entry) {
        self.entry.update(change);
    }

    #[inline]
    pub fn is_marked(&self) -> bool {
        self.entry.is_marked()
    }

    #[inline]
    pub fn set_mark(&mut self, mark: bool) {
        if let Some((counts, slot)) = &mut self.counts {
            counts.change_mark(*slot, self.entry.is_marked(), mark);
        }
        self.entry.set_mark(mark);
    }

    /// Takes the entry out of its table.
    #[inline]
    pub fn remove(self) -> Entry {
        if let Some((counts, slot)) = self.counts {
            counts.remove(slot, self.entry.is_marked());
        }
        self.entry.remove()
    }
}
