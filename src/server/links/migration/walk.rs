//! How far the keys of slots have been sent: database by database, slot by slot, in the order in which they lie in a
//! slot, which no resize changes. Where a key is in that order is known without looking it up, so that a write
//! to a key that has not been sent needs not be: the key will be sent with it.

use crate::db::key_table::KeyHash;
use crate::util::slot_set::SlotSet;

/// A place in the order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    pub db: usize,
    pub slot: u16,
    /// That of a key in its slot.
    pub position: u64,
}

/// A walk through the keys of slots.
#[derive(Clone, Debug)]
pub struct Walk {
    slots: Vec<u16>,
    databases: usize,
    /// The next place; what lies before it has been sent. `None`: all has.
    next: Option<Place>,
    /// Keys that have been sent, and those that there were in all when the walk began.
    sent: u64,
    keys: u64,
}

impl Walk {
    /// One through so many keys.
    pub fn new(slots: &SlotSet, databases: usize, keys: u64) -> Walk {
        let slots: Vec<u16> = slots.iter().collect();
        let next = slots.first().map(|&slot| Place { db: 0, slot, position: 0 });
        Walk { slots, databases, next: next.filter(|_| databases > 0), sent: 0, keys }
    }

    /// Keys that have been sent, and how many it will be, if none comes and none goes.
    pub fn progress(&self) -> (u64, u64) {
        (self.sent, self.keys)
    }

    /// So many more keys have been sent.
    pub fn count(&mut self, keys: u64) {
        self.sent += keys;
    }

    /// Where to go on; `None`: all has been sent.
    pub fn next(&self) -> Option<Place> {
        self.next
    }

    /// The keys of the slot at hand have been sent up to this position; 0: all of them.
    pub fn advance(&mut self, position: u64) {
        let Some(at) = self.next else { return };
        self.next = match position {
            0 => self.behind(at),
            position => Some(Place { position, ..at }),
        };
    }

    fn behind(&self, at: Place) -> Option<Place> {
        let index = self.slots.partition_point(|&slot| slot <= at.slot);
        match self.slots.get(index) {
            Some(&slot) => Some(Place { slot, position: 0, ..at }),
            None if at.db + 1 < self.databases => {
                Some(Place { db: at.db + 1, slot: self.slots[0], position: 0 })
            }
            None => None,
        }
    }

    /// Whether a key of one of the slots has been sent.
    pub fn has_passed(&self, db: usize, key: KeyHash) -> bool {
        let place = Place { db, slot: key.slot(), position: key.position() };
        self.next.is_none_or(|next| place < next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::db::key_table::KeyHasher;
    use crate::ds::hash::HashSeed;

    #[test]
    fn slots_are_passed_in_each_database() {
        let mut slots = SlotSet::default();
        let hasher = KeyHasher::new(HashSeed::new([1, 2]), true);
        let (foo, bar) = (hasher.hash(b"foo"), hasher.hash(b"bar"));
        slots.insert(foo.slot());
        slots.insert(bar.slot());
        let mut walk = Walk::new(&slots, 2, 0);
        assert_eq!(walk.next(), Some(Place { db: 0, slot: bar.slot(), position: 0 }));
        assert!(!walk.has_passed(0, bar));
        walk.advance(bar.position());
        assert!(!walk.has_passed(0, bar));
        walk.advance(bar.position() + 1);
        assert!(walk.has_passed(0, bar) && !walk.has_passed(0, foo) && !walk.has_passed(1, bar));
        walk.advance(0);
        assert_eq!(walk.next(), Some(Place { db: 0, slot: foo.slot(), position: 0 }));
        walk.advance(0);
        assert!(walk.has_passed(0, foo) && !walk.has_passed(1, bar));
        walk.advance(0);
        walk.advance(0);
        assert_eq!(walk.next(), None);
        assert!(walk.has_passed(1, foo));
        assert_eq!(Walk::new(&SlotSet::default(), 2, 0).next(), None);
    }
}
