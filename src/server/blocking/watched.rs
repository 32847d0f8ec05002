//! Keys that clients watch (`WATCH`): who is to be told that one has changed.

use crate::server::token::Token;
use crate::util::sparse::shrink_if_sparse;
use std::collections::HashMap;
use std::rc::Rc;

/// Who watches which keys, in each database.
#[derive(Debug, Default)]
pub struct WatchedKeys {
    dbs: Vec<HashMap<Rc<[u8]>, Vec<Token>>>,
    clients: usize,
}

impl WatchedKeys {
    /// How many keys are watched.
    pub fn len(&self) -> usize {
        self.dbs.iter().map(HashMap::len).sum()
    }

    /// How many clients watch keys.
    pub fn clients(&self) -> usize {
        self.clients
    }

    /// How many databases keys may be watched in.
    pub fn databases(&self) -> usize {
        self.dbs.len()
    }

    /// A client watches its first key.
    pub fn begin_watching(&mut self) {
        self.clients += 1;
    }

    /// A client watches no key any more.
    pub fn end_watching(&mut self) {
        self.clients -= 1;
    }

    /// Adds a watcher; answers the key to remember, or `None` if the client watches it already.
    pub fn add(&mut self, db: usize, key: &[u8], token: Token) -> Option<Rc<[u8]>> {
        if self.dbs.len() <= db {
            self.dbs.resize_with(db + 1, HashMap::new);
        }
        let keys = &mut self.dbs[db];
        if let Some((known, watchers)) = keys.get_key_value(key) {
            if watchers.contains(&token) {
                return None;
            }
            let known = Rc::clone(known);
            keys.entry(Rc::clone(&known)).or_default().push(token);
            return Some(known);
        }
        let key: Rc<[u8]> = key.into();
        keys.insert(Rc::clone(&key), vec![token]);
        Some(key)
    }

    /// Removes a watcher that was added.
    pub fn remove(&mut self, db: usize, key: &[u8], token: Token) {
        let Some(watchers) = self.dbs[db].get_mut(key) else { return };
        if let Some(at) = watchers.iter().position(|&t| t == token) {
            watchers.swap_remove(at);
        }
        if watchers.is_empty() {
            self.dbs[db].remove(key);
            shrink_if_sparse(&mut self.dbs[db]);
        }
    }

    /// Who watches a key.
    pub fn watchers(&self, db: usize, key: &[u8]) -> Vec<Token> {
        self.dbs.get(db).and_then(|keys| keys.get(key)).cloned().unwrap_or_default()
    }

    /// The keys of a database that are watched.
    pub fn keys(&self, db: usize) -> Vec<Rc<[u8]>> {
        self.dbs.get(db).map(|keys| keys.keys().cloned().collect()).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn watchers_are_kept_by_database_and_key() {
        let mut watched = WatchedKeys::default();
        assert!(watched.add(3, b"k", 1).is_some() && watched.add(3, b"k", 2).is_some());
        assert!(watched.add(3, b"k", 1).is_none() && watched.add(0, b"k", 1).is_some());
        assert_eq!((watched.watchers(3, b"k"), watched.watchers(1, b"k")), (vec![1, 2], vec![]));
        watched.remove(3, b"k", 1);
        assert_eq!((watched.watchers(3, b"k"), watched.len()), (vec![2], 2));
        watched.remove(3, b"k", 2);
        assert_eq!((watched.keys(3).len(), watched.len()), (0, 1));
    }
}
