//! A walk through the keys of a database as they were when it began, while commands go on changing them:
//! [`ds::table::walk`](crate::ds::table) with the slots of a cluster, and with values that are walked through
//! themselves.
//!
//! Keys are walked through slot by slot. In a slot that lies ahead of the walk's, or in its own, what is about to
//! change is handed over first; what lies behind has been handed over.
//!
//! A value that is too large to be taken down in one go is *opened* when the walk comes to it, or when something in its
//! cell is about to change: from then on it hands its elements over itself, piece by piece, and each piece before it
//! changes. Its walk goes wherever the value goes, and if the value is dropped, it is left to an heir.

use super::Tables;
use super::slot_keys::SlotKeys;
use crate::db::entry::{Entry, EntryMut, EntryRef};
use crate::ds::table::{Course, Occupied};
use std::collections::{BTreeMap, VecDeque};

/// Who is handed the keys.
pub trait Scribe: Send {
    /// Takes down a key as it is now.
    fn take_down(&mut self, entry: EntryRef<'_>);

    /// Whether a key has too many elements to be taken down in one go.
    fn is_large(&self, entry: EntryRef<'_>) -> bool;

    /// Takes down such a key without its elements, and has its value hand these over. Returns a number, greater than
    /// those before: values are to be walked through in its order. `None`: it has been taken down after all.
    fn open(&mut self, entry: EntryMut<'_>) -> Option<u64>;

    /// There will be no more.
    fn end(&mut self);
}

/// A value that is walked through.
struct Open {
    number: u64,
    key: Box<[u8]>,
}

/// A walk, and how far it has come.
pub struct Walk {
    /// The slot in which it is; 0, where keys are not kept by the slot.
    slot: u16,
    /// How far it has come in that slot, and what has been handed over already in those behind it.
    courses: BTreeMap<u16, Course>,
    scribe: Box<dyn Scribe>,
    keys: u64,
    has_seen_all: bool,
    is_of_guests: bool,
    open: VecDeque<Open>,
}

/// The scribe of a walk that has no keys of its own.
struct Nobody;

impl Scribe for Nobody {
    fn take_down(&mut self, _: EntryRef<'_>) {}

    fn is_large(&self, _: EntryRef<'_>) -> bool {
        false
    }

    fn open(&mut self, _: EntryMut<'_>) -> Option<u64> {
        None
    }

    fn end(&mut self) {}
}

impl Walk {
    pub fn new(scribe: Box<dyn Scribe>) -> Walk {
        Walk {
            slot: 0,
            courses: BTreeMap::new(),
            scribe,
            keys: 0,
            has_seen_all: false,
            is_of_guests: false,
            open: VecDeque::new(),
        }
    }

    /// A walk that has only values to go through which come open from other tables.
    pub(super) fn of_guests() -> Walk {
        Walk { has_seen_all: true, is_of_guests: true, ..Walk::new(Box::new(Nobody)) }
    }

    /// Whether this is one that no snapshot has begun here.
    pub fn is_of_guests(&self) -> bool {
        self.is_of_guests
    }

    /// Keys handed over so far.
    pub fn keys(&self) -> u64 {
        self.keys
    }

    /// Whether all has been handed over.
    pub fn is_done(&self) -> bool {
        self.has_seen_all && self.open.is_empty()
    }

    /// The number of the first value that is open.
    pub fn first_open(&self) -> Option<u64> {
        self.open.front().map(|open| open.number)
    }

    /// The slot in which it goes on.
    pub(super) fn slot(&self) -> u16 {
        self.slot
    }

    /// The first key whose value is open.
    pub(super) fn first_open_key(&self) -> Option<&[u8]> {
        self.open.front().map(|open| &*open.key)
    }

    /// That value is open no more.
    pub(super) fn close_first(&mut self) {
        self.open.pop_front();
    }

    /// A value that is open has come to this key.
    pub(super) fn open_again(&mut self, key: &[u8]) {
        self.open.push_front(Open { number: 0, key: key.into() });
    }

    /// Something is about to change at a place.
    #[cold]
    pub(super) fn before_change(&mut self, tables: &mut Tables, slot: u16, position: u64) {
        if self.has_seen_all || slot < self.slot {
            return;
        }
        let (course, mut keys) = self.course(slot);
        course.before_change(tables.slot(slot).as_ref(), position, |entry| keys.see(entry));
        let seen = keys.seen;
        let large = self.note(seen);
        self.open_large(large, tables);
    }

    /// The same for a key that has been found, in a slot that has so many.
    #[cold]
    pub(super) fn before_change_of(
        &mut self,
        found: &mut Occupied<'_, Entry>,
        slot: u16,
        len: usize,
    ) {
        if self.has_seen_all || slot < self.slot {
            return;
        }
        let position = found.table().hasher().position(found.get().key());
        let (course, mut keys) = self.course(slot);
        let of_slot = SlotKeys::new(found.table(), slot, len);
        course.before_change(Some(&of_slot), position, |entry| keys.see(entry));
        let seen = keys.seen;
        for key in self.note(seen) {
            if let Some(entry) = found.another(&key) {
                self.open(key, entry);
            }
        }
    }

    /// Goes on by so many buckets of the keys of its slot. Returns whether there are more.
    pub(super) fn go_on(&mut self, tables: &mut Tables, buckets: usize) -> bool {
        let Some(of_slot) = tables.slot(self.slot) else { return false };
        let (course, mut keys) = self.course(self.slot);
        let goes_on = course.go_on(&of_slot, buckets, |entry| keys.see(entry));
        let seen = keys.seen;
        let large = self.note(seen);
        self.open_large(large, tables);
        goes_on
    }

    fn course(&mut self, slot: u16) -> (&mut Course, Keys<'_>) {
        let keys = Keys { scribe: &mut *self.scribe, seen: Seen::default() };
        (self.courses.entry(slot).or_default(), keys)
    }

    /// Counts keys that have been seen; returns those that are to be opened.
    fn note(&mut self, seen: Seen) -> Vec<Box<[u8]>> {
        self.keys += seen.count;
        seen.large
    }

    fn open_large(&mut self, keys: Vec<Box<[u8]>>, tables: &mut Tables) {
        for key in keys {
            if let Some(entry) = tables.entry_mut(&key) {
                self.open(key, entry);
            }
        }
    }

    fn open(&mut self, key: Box<[u8]>, entry: EntryMut<'_>) {
        if let Some(number) = self.scribe.open(entry) {
            self.open.push_back(Open { number, key });
        }
    }

    /// Goes to the start of a slot, unless it is in that slot already.
    pub(super) fn go_to(&mut self, slot: u16) {
        if slot > self.slot {
            self.slot = slot;
            self.courses = self.courses.split_off(&slot);
        }
    }

    /// It has come to the end.
    pub(super) fn end(&mut self) {
        self.has_seen_all = true;
        self.courses.clear();
        self.scribe.end();
    }
}

/// Keys that have been seen.
#[derive(Default)]
struct Seen {
    count: u64,
    /// Those that are too large to be taken down in one go.
    large: Vec<Box<[u8]>>,
}

/// Looks at keys.
struct Keys<'a> {
    scribe: &'a mut dyn Scribe,
    seen: Seen,
}

impl Keys<'_> {
    fn see(&mut self, entry: EntryRef<'_>) {
        self.seen.count += 1;
        match self.scribe.is_large(entry) {
            true => self.seen.large.push(entry.key().into()),
            false => self.scribe.take_down(entry),
        }
    }
}
