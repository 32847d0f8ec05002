//! Who waits for which keys (`BLPOP` and its like), and the keys that have become worth a look.
//!
//! The keyspace signals here what happens to keys; the server, which knows the clients, serves the keys that are
//! ready after each command. While nobody waits, a signal costs one comparison.

use crate::util::sparse::shrink_if_sparse;
use crate::value::Type;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::ops::Bound;

/// One who waits. To the keyspace the client is just a token and an id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Waiter {
    pub client: (usize, u64),
    /// The type that the key's value must have to be of use.
    pub kind: Type,
    /// It also has to know when the key is gone, or is something else (`XREADGROUP`: so is its group).
    pub on_no_key: bool,
}

/// A place in the queues: lower ones came earlier.
pub type Ticket = u64;

#[derive(Debug, Default)]
struct Queue {
    waiters: BTreeMap<Ticket, Waiter>,
    /// How many of them wait also for the key to go.
    on_no_key: usize,
    /// The key is in the queue of ready keys.
    ready: bool,
}

/// The queues of all keys that somebody waits for.
#[derive(Debug, Default)]
pub struct BlockedKeys {
    dbs: Vec<HashMap<Box<[u8]>, Queue>>,
    /// Keys with a queue, in all databases.
    keys: usize,
    ready: VecDeque<(usize, Box<[u8]>)>,
    next_ticket: Ticket,
}

impl BlockedKeys {
    /// Puts `waiter` at the end of the queues of `keys`, of which some may be the same.
    pub fn add(&mut self, db: usize, keys: &[Box<[u8]>], waiter: Waiter) -> Ticket {
        let ticket = self.next_ticket;
        self.next_ticket += 1;
        if self.dbs.len() <= db {
            self.dbs.resize_with(db + 1, HashMap::new);
        }
        for key in keys {
            let queue = self.dbs[db].entry(key.clone()).or_insert_with(|| {
                self.keys += 1;
                Queue::default()
            });
            if queue.waiters.insert(ticket, waiter).is_none() {
                queue.on_no_key += usize::from(waiter.on_no_key);
            }
        }
        ticket
    }

    /// Takes whoever has this ticket out of the queues of `keys`.
    pub fn remove(&mut self, db: usize, keys: &[Box<[u8]>], ticket: Ticket) {
        for key in keys {
            let Some(queue) = self.dbs[db].get_mut(key) else { continue };
            let Some(waiter) = queue.waiters.remove(&ticket) else { continue };
            queue.on_no_key -= usize::from(waiter.on_no_key);
            if queue.waiters.is_empty() {
                self.dbs[db].remove(key);
                shrink_if_sparse(&mut self.dbs[db]);
                self.keys -= 1;
            }
        }
    }

    /// A key has come into being, or there is more in it.
    #[inline]
    pub fn signal_ready(&mut self, db: usize, key: &[u8]) {
        if self.keys != 0 {
            self.signal(db, key, |_| true);
        }
    }

    /// A key has gone, or is of another type now.
    #[inline]
    pub fn signal_gone(&mut self, db: usize, key: &[u8]) {
        if self.keys != 0 {
            self.signal(db, key, |queue| queue.on_no_key > 0);
        }
    }

    /// Anything may have happened to the keys of a database: it was emptied, replaced or swapped with another.
    pub fn signal_database(&mut self, db: usize) {
        let keys: Vec<Box<[u8]>> =
            self.dbs.get(db).into_iter().flat_map(|d| d.keys().cloned()).collect();
        for key in keys {
            self.signal_ready(db, &key);
        }
    }

    #[cold]
    fn signal(&mut self, db: usize, key: &[u8], concerned: impl Fn(&Queue) -> bool) {
        let Some(queue) = self.dbs.get_mut(db).and_then(|d| d.get_mut(key)) else { return };
        if !queue.ready && concerned(queue) {
            queue.ready = true;
            self.ready.push_back((db, key.into()));
        }
    }

    /// Whether keys are to be served.
    #[inline]
    pub fn has_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    /// The next key to be served. From now on it may be signalled again.
    pub fn next_ready(&mut self) -> Option<(usize, Box<[u8]>)> {
        let (db, key) = self.ready.pop_front()?;
        if let Some(queue) = self.dbs[db].get_mut(&key) {
            queue.ready = false;
        }
        Some((db, key))
    }

    /// The ticket that came last to a key's queue.
    pub fn last_ticket(&self, db: usize, key: &[u8]) -> Option<Ticket> {
        self.dbs.get(db)?.get(key)?.waiters.keys().next_back().copied()
    }

    /// The first who waits for a key behind the ticket `after` (`None`: of all), and is not behind `last`.
    pub fn next_waiter(
        &self,
        db: usize,
        key: &[u8],
        after: Option<Ticket>,
        last: Ticket,
    ) -> Option<(Ticket, Waiter)> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        if after.is_some_and(|after| after >= last) {
            return None;
        }
        let mut rest = self.dbs.get(db)?.get(key)?.waiters.range((from, Bound::Included(last)));
        rest.next().map(|(ticket, waiter)| (*ticket, *waiter))
    }

    /// Whether somebody has to know that this key is gone.
    pub fn concerns_absence(&self, db: usize, key: &[u8]) -> bool {
        self.dbs.get(db).and_then(|d| d.get(key)).is_some_and(|queue| queue.on_no_key > 0)
    }

    /// How many keys somebody waits for.
    pub fn len(&self) -> usize {
        self.keys
    }

    pub fn is_empty(&self) -> bool {
        self.keys == 0
    }

    /// How many keys somebody waits for also to go.
    pub fn len_on_no_key(&self) -> usize {
        self.dbs.iter().flat_map(HashMap::values).filter(|queue| queue.on_no_key > 0).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(names: &[&str]) -> Vec<Box<[u8]>> {
        names.iter().map(|name| name.as_bytes().into()).collect()
    }

    fn waiter(id: u64, on_no_key: bool) -> Waiter {
        Waiter { client: (id as usize, id), kind: Type::List, on_no_key }
    }

    #[test]
    fn queues_are_in_order_of_arrival() {
        let mut blocked = BlockedKeys::default();
        let (a, ab) = (keys(&["a"]), keys(&["a", "b", "a"]));
        let tickets = [blocked.add(0, &a, waiter(1, false)), blocked.add(0, &ab, waiter(2, false))];
        assert_eq!((blocked.len(), blocked.last_ticket(0, b"a")), (2, Some(tickets[1])));
        let ids: Vec<u64> =
            std::iter::successors(blocked.next_waiter(0, b"a", None, tickets[1]), |(ticket, _)| {
                blocked.next_waiter(0, b"a", Some(*ticket), tickets[1])
            })
            .map(|(_, waiter)| waiter.client.1)
            .collect();
        assert_eq!(ids, [1, 2]);
        blocked.remove(0, &ab, tickets[1]);
        assert_eq!((blocked.len(), blocked.last_ticket(0, b"b")), (1, None));
        blocked.remove(0, &a, tickets[0]);
        assert!(blocked.is_empty());
    }

    #[test]
    fn a_key_is_ready_once_until_it_is_served() {
        let mut blocked = BlockedKeys::default();
        blocked.signal_ready(0, b"a");
        blocked.add(0, &keys(&["a", "b"]), waiter(1, false));
        blocked.add(0, &keys(&["b"]), waiter(2, true));
        assert!(!blocked.has_ready());
        for (db, key) in [(0, "c"), (1, "a"), (0, "b"), (0, "a"), (0, "b")] {
            blocked.signal_ready(db, key.as_bytes());
        }
        assert_eq!(blocked.next_ready(), Some((0, b"b".as_slice().into())));
        blocked.signal_ready(0, b"b");
        assert_eq!(blocked.next_ready(), Some((0, b"a".as_slice().into())));
        assert_eq!(blocked.next_ready(), Some((0, b"b".as_slice().into())));
        assert_eq!(blocked.next_ready(), None);
        blocked.signal_gone(0, b"a");
        assert!(!blocked.has_ready());
        blocked.signal_gone(0, b"b");
        blocked.signal_database(0);
        assert_eq!((blocked.ready.len(), blocked.len_on_no_key()), (2, 1));
        assert!(blocked.concerns_absence(0, b"b") && !blocked.concerns_absence(0, b"a"));
    }
}
