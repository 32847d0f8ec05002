//! Which clients may hold which keys in caches of their own, and what has changed below the prefixes that they named.

use crate::server::token::{Noted, Token};
use std::collections::{BTreeMap, BTreeSet};
use std::mem;
use std::ops::Bound;

/// Keys forgotten at once where the table is too large; more if it is so again and again.
const EFFORT: usize = 100;

/// Keys that have changed in a turn of the loop, and who changed each last, if a client did.
pub type Changed = BTreeMap<Box<[u8]>, Option<Token>>;

/// A prefix that somebody has named.
#[derive(Debug, Default)]
struct Prefix {
    clients: BTreeSet<Noted>,
    changed: Changed,
}

/// All that is tracked.
#[derive(Debug, Default)]
pub struct Tracking {
    keys: BTreeMap<Box<[u8]>, BTreeSet<Noted>>,
    prefixes: BTreeMap<Box<[u8]>, Prefix>,
    /// Clients that track.
    clients: usize,
    /// Clients of all keys.
    items: usize,
    /// The key forgotten last for want of room: the next one is behind it.
    forgotten: Box<[u8]>,
    /// How many times in a row there were too many keys after all effort.
    overruns: usize,
}

impl Tracking {
    #[inline]
    pub fn clients(&self) -> usize {
        self.clients
    }

    #[inline]
    pub fn keys(&self) -> usize {
        self.keys.len()
    }

    pub fn items(&self) -> usize {
        self.items
    }

    pub fn prefixes(&self) -> usize {
        self.prefixes.len()
    }

    /// One more client tracks.
    pub fn add_client(&mut self) {
        self.clients += 1;
    }

    /// A client tracks no more that has named these prefixes. That it has read keys is forgotten when they change.
    pub fn remove_client(&mut self, client: Noted, prefixes: &BTreeSet<Box<[u8]>>) {
        self.clients -= 1;
        for name in prefixes {
            let Some(prefix) = self.prefixes.get_mut(name) else { continue };
            prefix.clients.remove(&client);
            if prefix.clients.is_empty() {
                self.prefixes.remove(name);
            }
        }
    }

    /// A client is to hear of every change below a prefix.
    pub fn add_prefix(&mut self, prefix: &[u8], client: Noted) {
        self.prefixes.entry(prefix.into()).or_default().clients.insert(client);
    }

    /// A client has read a key, and may keep it.
    pub fn remember(&mut self, key: &[u8], client: Noted) {
        let readers = match self.keys.get_mut(key) {
            Some(readers) => readers,
            None => self.keys.entry(key.into()).or_default(),
        };
        self.items += usize::from(readers.insert(client));
    }

    /// A key has changed, by a client's command if one is named. Returns who has read it, which is forgotten; those who
    /// have named prefixes hear of it at the end of the turn.
    pub fn key_changed(&mut self, key: &[u8], by: Option<Token>) -> BTreeSet<Noted> {
        for (name, prefix) in &mut self.prefixes {
            if key.starts_with(name) {
                prefix.changed.insert(key.into(), by);
            }
        }
        self.forget(key)
    }

    /// What has changed below each prefix since this was last asked, and who wants to hear of it.
    pub fn take_changes(&mut self) -> Vec<(Vec<Noted>, Changed)> {
        let changed = self.prefixes.values_mut().filter(|prefix| !prefix.changed.is_empty());
        changed
            .map(|prefix| {
                (prefix.clients.iter().copied().collect(), mem::take(&mut prefix.changed))
            })
            .collect()
    }

    /// Forgets what everybody has read.
    pub fn forget_everything(&mut self) {
        self.keys.clear();
        self.items = 0;
    }

    /// Forgets some keys if there are more than `most` (0: any number may be), and returns them with who has read them.
    pub fn forget_surplus(&mut self, most: usize) -> Vec<(Box<[u8]>, BTreeSet<Noted>)> {
        let mut forgotten = Vec::new();
        if most > 0 {
            let effort = EFFORT * (self.overruns + 1);
            while self.keys() > most && forgotten.len() < effort {
                let Some(key) = self.victim() else { break };
                let readers = self.forget(&key);
                forgotten.push((key, readers));
            }
        }
        let is_overrun = most > 0 && self.keys() > most;
        self.overruns = if is_overrun { self.overruns + 1 } else { 0 };
        forgotten
    }

    fn forget(&mut self, key: &[u8]) -> BTreeSet<Noted> {
        let readers = self.keys.remove(key).unwrap_or_default();
        self.items -= readers.len();
        readers
    }

    /// A key that has to go for want of room: they take turns.
    fn victim(&mut self) -> Option<Box<[u8]>> {
        let behind = (Bound::Excluded(&*self.forgotten), Bound::Unbounded);
        let next = self.keys.range::<[u8], _>(behind).next().or_else(|| self.keys.iter().next());
        self.forgotten = next.map(|(key, _)| key.clone())?;
        Some(self.forgotten.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noted(client: Token) -> Noted {
        (client, client as u64)
    }

    #[test]
    fn keys_are_forgotten_in_turns() {
        let mut tracking = Tracking::default();
        for (key, client) in [("a", 1), ("b", 1), ("b", 2), ("b", 2), ("c", 1)] {
            tracking.remember(key.as_bytes(), noted(client));
        }
        assert_eq!((tracking.keys(), tracking.items()), (3, 4));
        let mut gone = Vec::new();
        while let Some(key) = tracking.victim() {
            tracking.forget(&key);
            gone.push(String::from_utf8_lossy(&key).into_owned());
            if gone.len() == 2 {
                tracking.remember(b"a", noted(1));
            }
        }
        assert_eq!((gone.join(" "), tracking.items()), ("a b c a".to_string(), 0));
    }

    #[test]
    fn who_has_read_a_key_is_told_once() {
        let mut tracking = Tracking::default();
        for client in [1, 2] {
            tracking.remember(b"k", noted(client));
        }
        assert_eq!(tracking.key_changed(b"k", None), [1, 2].map(noted).into());
        assert!(tracking.key_changed(b"k", None).is_empty());
        tracking.remember(b"k", noted(1));
        tracking.forget_everything();
        assert!(tracking.key_changed(b"k", None).is_empty());
        assert_eq!((tracking.keys(), tracking.items()), (0, 0));
    }

    #[test]
    fn who_names_a_prefix_hears_of_all_below_it_once_a_turn() {
        let mut tracking = Tracking::default();
        tracking.add_client();
        tracking.add_prefix(b"a", noted(1));
        tracking.add_prefix(b"b", noted(2));
        for (key, by) in [("a1", Some(3)), ("a2", None), ("a1", Some(4)), ("c", None)] {
            assert!(tracking.key_changed(key.as_bytes(), by).is_empty());
        }
        let changed: Changed = [((*b"a1").into(), Some(4)), ((*b"a2").into(), None)].into();
        assert_eq!(tracking.take_changes(), [(vec![noted(1)], changed)]);
        assert!(tracking.take_changes().is_empty());
        tracking.remove_client(noted(1), &[(*b"a").into()].into());
        assert_eq!((tracking.clients(), tracking.prefixes()), (0, 1));
    }

    #[test]
    fn the_surplus_is_forgotten_with_growing_effort() {
        let mut tracking = Tracking::default();
        for key in 0..4 * EFFORT {
            tracking.remember(format!("{key:04}").as_bytes(), noted(1));
        }
        assert!(tracking.forget_surplus(0).is_empty());
        assert!(tracking.forget_surplus(4 * EFFORT).is_empty());
        assert_eq!(tracking.forget_surplus(1).len(), EFFORT);
        assert_eq!(tracking.forget_surplus(1).len(), 2 * EFFORT);
        assert_eq!(tracking.forget_surplus(1).len(), EFFORT - 1);
        assert_eq!((tracking.keys(), tracking.overruns), (1, 0));
    }
}
