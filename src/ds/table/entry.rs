//! The handle of an entry that has been found: look at it, change it, replace it, mark it, or take
//! it out.

use std::mem;
use std::process;

use super::{Item, Place, Table, bucket};

/// An entry of a table, which stays where it is as long as this handle lives.
pub struct Occupied<'a, T: Item> {
    table: &'a mut Table<T>,
    /// Occupied, since the table is exclusively borrowed from the search on.
    place: Place,
}

impl<'a, T: Item> Occupied<'a, T> {
    #[inline]
    pub(super) fn new(table: &'a mut Table<T>, place: Place) -> Self {
        Self { table, place }
    }

    /// The table that it is an entry of.
    #[inline]
    pub fn table(&self) -> &Table<T> {
        self.table
    }

    #[inline]
    pub fn get(&self) -> T::Ref<'_> {
        // SAFETY: the table owns the item and is borrowed as long as the view lives.
        unsafe { T::raw_ref(self.place.raw()) }
    }

    #[inline]
    pub fn get_mut(&mut self) -> T::Mut<'_> {
        self.before_change();
        // SAFETY: the table owns the item and is exclusively borrowed as long as the view lives.
        unsafe { T::raw_mut(self.place.raw()) }
    }

    /// A shared view that outlives the handle.
    #[inline]
    pub fn into_ref(self) -> T::Ref<'a> {
        // SAFETY: the table owns the item and is borrowed for `'a`.
        unsafe { T::raw_ref(self.place.raw()) }
    }

    /// An exclusive view that outlives the handle.
    #[inline]
    pub fn into_mut(mut self) -> T::Mut<'a> {
        self.before_change();
        // SAFETY: the table owns the item and is exclusively borrowed for `'a`.
        unsafe { T::raw_mut(self.place.raw()) }
    }

    /// Puts an item with the same key in this one's place, and returns this one. The mark stays.
    #[inline]
    pub fn replace(&mut self, item: T) -> T {
        self.before_change();
        let old = self.place.raw();
        let new = item.into_raw();
        // SAFETY: both pointers come from `into_raw` and have not been taken back yet.
        debug_assert!(unsafe { T::raw_key(old) == T::raw_key(new) }, "replaced by another key");
        self.set_raw(new);
        // SAFETY: nothing in the table refers to the old item any more.
        unsafe { T::from_raw(old) }
    }

    /// Passes the item by value through `change`, which must keep its key. For items that have to
    /// move when they grow. The mark stays. A panic in `change` ends the process, since the table
    /// would own an item twice.
    #[inline]
    pub fn update(&mut self, change: impl FnOnce(T) -> T) {
        self.before_change();
        let guard = AbortOnDrop;
        #[cfg(debug_assertions)]
        // SAFETY: the item is in the table.
        let hash = self.table.hash(unsafe { T::raw_key(self.place.raw()) });
        // SAFETY: until the new pointer is in place, nobody looks at the slot: the table is
        // exclusively borrowed, and a panic does not get past the guard.
        let new = change(unsafe { T::from_raw(self.place.raw()) }).into_raw();
        self.set_raw(new);
        mem::forget(guard);
        #[cfg(debug_assertions)]
        // SAFETY: the item is in the table.
        assert_eq!(hash, self.table.hash(unsafe { T::raw_key(new) }), "updated to another key");
    }

    #[inline]
    pub fn is_marked(&self) -> bool {
        // SAFETY: a bucket of the borrowed table.
        unsafe { self.place.bucket.as_ref() }.is_marked(self.place.slot)
    }

    #[inline]
    pub fn set_mark(&mut self, mark: bool) {
        self.before_change();
        self.table.marked -= usize::from(self.is_marked());
        self.table.marked += usize::from(mark);
        // SAFETY: a bucket of the exclusively borrowed table.
        unsafe { self.place.bucket.as_mut() }.set_mark(self.place.slot, mark);
    }

    /// Takes the item out of the table.
    #[inline]
    pub fn remove(mut self) -> T {
        self.before_change();
        let raw = self.place.raw();
        let Place { head, bucket, slot } = self.place;
        self.table.len -= 1;
        self.table.marked -= usize::from(self.is_marked());
        // SAFETY: the place is occupied, and the table exclusively borrowed.
        let freed = unsafe { bucket::remove(head, bucket, slot) };
        self.table.overflow -= usize::from(freed);
        self.table.after_remove();
        // SAFETY: the pointer is not in the table any more.
        unsafe { T::from_raw(raw) }
    }

    /// An entry of the same table.
    pub fn another(&mut self, key: &[u8]) -> Option<T::Mut<'_>> {
        self.table.get_mut(self.table.hash(key), key)
    }

    /// The entry is about to change.
    #[inline]
    fn before_change(&mut self) {
        if self.table.is_walked() {
            // SAFETY: the place is occupied, and the item is the table's.
            let hash = self.table.hash(unsafe { T::raw_key(self.place.raw()) });
            self.table.before_change(hash);
        }
    }

    #[inline]
    fn set_raw(&mut self, raw: std::ptr::NonNull<u8>) {
        // SAFETY: a bucket of the exclusively borrowed table.
        unsafe { self.place.bucket.as_mut() }.set_raw(self.place.slot, raw);
    }
}

/// What is on the stack while a table owns an item twice.
pub(super) struct AbortOnDrop;

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        process::abort();
    }
}
