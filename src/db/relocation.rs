//! A walk through all databases that moves what their keys and values lie in to other places in memory, step by step.
//!
//! It goes through each table in the order of hashes, as a scan does. A value of many elements is left for later, when
//! its key is looked up again for each piece of it; so no step takes long, and what happens to keys in between does
//! no harm.

use super::keyspace::Keyspace;
use crate::util::alloc::relocate::Relocator;
use std::ops::Add;

/// A value that is not done yet.
struct Later {
    db: usize,
    key: Box<[u8]>,
    /// Where it goes on; see [`ValueMut::relocate`](crate::value::ValueMut::relocate).
    position: u128,
}

/// The walk.
pub struct Relocation {
    relocator: Relocator,
    /// Where it goes on.
    db: usize,
    cursor: u64,
    /// Values to be gone on with first.
    later: Vec<Later>,
    counts: Counts,
}

/// What a walk has done so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Allocations that were moved.
    pub moved: u64,
    /// Allocations that stay where they were.
    pub kept: u64,
    /// Keys of which something was moved.
    pub moved_keys: u64,
    /// Keys of which nothing was.
    pub kept_keys: u64,
}

impl Add for Counts {
    type Output = Counts;

    fn add(self, more: Counts) -> Counts {
        Counts {
            moved: self.moved + more.moved,
            kept: self.kept + more.kept,
            moved_keys: self.moved_keys + more.moved_keys,
            kept_keys: self.kept_keys + more.kept_keys,
        }
    }
}

impl Relocation {
    pub fn new(relocator: Relocator) -> Relocation {
        Relocation { relocator, db: 0, cursor: 0, later: Vec::new(), counts: Counts::default() }
    }

    pub fn counts(&self) -> Counts {
        Counts { moved: self.relocator.moved(), kept: self.relocator.kept(), ..self.counts }
    }

    /// Counts from 0 again.
    pub fn reset_counts(&mut self) {
        self.relocator.reset_counts();
        self.counts = Counts::default();
    }

    /// Takes a step: goes on with a value, about so many `elements` of it, or visits a few keys and as much of their
    /// values. Returns whether there is more to do.
    pub fn step(&mut self, ks: &mut Keyspace, elements: usize) -> bool {
        if let Some(mut later) = self.later.pop() {
            later.position = self.go_on(ks, &later, elements);
            if later.position != 0 {
                self.later.push(later);
            }
            return true;
        }
        let Some(db) = ks.dbs.get_mut(self.db) else { return false };
        let Relocation { relocator, later, counts, .. } = self;
        let number = self.db;
        self.cursor = db.table.relocate(self.cursor, relocator, |entry, relocator| {
            let before = relocator.moved();
            let mut entry = entry.relocated(relocator);
            let value = entry.view_mut().into_value_mut();
            let position = value.relocate(0, elements, relocator);
            if position != 0 {
                later.push(Later { db: number, key: entry.view().key().into(), position });
            }
            let moved = relocator.moved() > before;
            counts.moved_keys += u64::from(moved);
            counts.kept_keys += u64::from(!moved);
            entry
        });
        if self.cursor == 0 {
            self.db += 1;
        }
        true
    }

    fn go_on(&mut self, ks: &mut Keyspace, later: &Later, elements: usize) -> u128 {
        let at = ks.hasher.hash(&later.key);
        let Some(db) = ks.dbs.get_mut(later.db) else { return 0 };
        let Some(entry) = db.table.get_mut(at, &later.key) else { return 0 };
        entry.into_value_mut().relocate(later.position, elements, &mut self.relocator)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::db::EntryRef;
    use crate::ds::hash::HashSeed;
    use crate::util::alloc::thread_balance;
    use crate::value::hash::{FOREVER_YOUNG, Hash, HashLimits};
    use crate::value::list::{End, List, ListLimits};
    use crate::value::set::{Set, SetLimits};
    use crate::value::stream::log::{NewId, NodeLimits};
    use crate::value::stream::{Group, Stream, StreamId};
    use crate::value::zset::{Zset, ZsetLimits};
    use crate::value::{Value, ValueRef};
    use proptest::prelude::*;

    /// What is seen of a key: access clock, expiry, encoding, value.
    type Seen = (u32, Option<i64>, &'static str, Value);

    fn seen(entry: EntryRef<'_>) -> Seen {
        (entry.lru(), entry.expire(), entry.encoding(), entry.value().to_value())
    }

    fn all(ks: &Keyspace) -> Vec<(usize, Vec<u8>, Seen)> {
        let entries = ks.dbs.iter().enumerate().flat_map(|(n, db)| {
            db.table.iter().map(move |entry| (n, entry.key().to_vec(), seen(entry)))
        });
        entries.collect()
    }

    /// Moves all there is, and tells what came of it.
    fn relocate(ks: &mut Keyspace, elements: usize) -> Counts {
        let mut relocation = Relocation::new(Relocator::of_everything());
        while relocation.step(ks, elements) {}
        relocation.counts()
    }

    fn list(elements: usize, length: usize, limits: ListLimits) -> Value {
        let mut list = List::new();
        for n in 0..elements {
            list.push(End::Tail, &[format!("{n:0length$}").as_bytes()], limits);
        }
        Value::List(list)
    }

    fn set(elements: usize, prefix: &str) -> Value {
        let mut set = Set::default();
        for n in 0..elements {
            set.add(format!("{prefix}{n}").as_bytes(), &SetLimits::default());
        }
        Value::Set(set)
    }

    fn hash(elements: usize, length: usize, expire: Option<i64>) -> Value {
        let mut hash = Hash::default();
        let value = vec![b'v'; length];
        for n in 0..elements {
            let field = n.to_string().into_bytes();
            hash.set(&field, &value, expire, &HashLimits::default(), FOREVER_YOUNG);
        }
        Value::Hash(hash)
    }

    fn zset(elements: usize, length: usize) -> Value {
        let mut zset = Zset::default();
        for n in 0..elements {
            let (member, limits) = (format!("{n:0length$}"), ZsetLimits::default());
            zset.update(member.as_bytes(), &limits, |_| Some((n % 7) as f64));
        }
        Value::Zset(zset)
    }

    fn stream(entries: usize) -> Value {
        let mut stream = Stream::new();
        let limits = NodeLimits { max_bytes: 0, max_entries: 3 };
        for n in 0..entries {
            let id = stream.log.new_id(NewId::Auto, 5).expect("an ID");
            stream.log.append(id, &[b"field", n.to_string().as_bytes()], limits);
        }
        stream.groups.insert(Box::from(*b"group"), Group::new(StreamId::MIN, None));
        Value::Stream(stream)
    }

    fn value() -> impl Strategy<Value = Value> {
        let compressed = ListLimits { fill: 4, depth: 1 };
        let few = 1usize..400;
        prop_oneof![
            any::<i64>().prop_map(Value::Int),
            (0usize..3000).prop_map(|length| Value::Str(vec![b's'; length])),
            (few.clone(), 1usize..200).prop_map(|(n, len)| list(n, len, ListLimits::default())),
            (few.clone(), 1usize..200).prop_map(move |(n, len)| list(n, len, compressed)),
            (1usize..4, 8000usize..20_000).prop_map(|(n, len)| list(n, len, ListLimits::default())),
            few.clone().prop_map(|n| set(n, "")),
            few.clone().prop_map(|n| set(n, "member")),
            (few.clone(), 1usize..100).prop_map(|(n, len)| hash(n, len, None)),
            (few.clone(), 1usize..100).prop_map(|(n, len)| hash(n, len, Some(9))),
            (few.clone(), 1usize..100).prop_map(|(n, len)| zset(n, len)),
            few.prop_map(stream),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn nothing_changes_but_the_places(
            values in prop::collection::vec((value(), any::<Option<u32>>(), 0usize..2), 0..40),
            elements in 1usize..200,
            by_slot in any::<bool>(),
        ) {
            let seed = HashSeed::new([1, 2]);
            let mut ks = match by_slot {
                true => Keyspace::by_slot(2, seed),
                false => Keyspace::new(2, seed),
            };
            for (n, (value, expire, db)) in values.into_iter().enumerate() {
                ks.set(db, format!("key:{n}").as_bytes(), value, expire.map(i64::from));
            }
            let before = all(&ks);
            let held = thread_balance();
            let counts = relocate(&mut ks, elements);
            prop_assert_eq!(thread_balance(), held);
            prop_assert!(all(&ks) == before);
            prop_assert_eq!((counts.moved_keys, counts.kept_keys), (before.len() as u64, 0));
            prop_assert!(counts.moved >= counts.moved_keys && counts.kept == 0);
        }
    }

    #[test]
    fn a_large_value_may_change_in_between() {
        let mut ks = Keyspace::new(1, HashSeed::new([1, 2]));
        let values = || [set(3000, "m"), zset(3000, 9), hash(3000, 9, None), stream(3000)];
        let long = || list(3000, 9, ListLimits { fill: 1, depth: 0 });
        for (n, value) in values().into_iter().chain([long()]).enumerate() {
            ks.set(0, &[n as u8], value, None);
        }
        let mut relocation = Relocation::new(Relocator::of_everything());
        for (n, value) in [long()].into_iter().chain(values()).enumerate() {
            for _ in 0..20 {
                assert!(relocation.step(&mut ks, 100));
            }
            ks.set(0, &[n as u8], value, None);
        }
        ks.delete(0, &[0]);
        while relocation.step(&mut ks, 100) {}
        let kinds: Vec<_> = ks.dbs[0].table.iter().map(|entry| entry.encoding()).collect();
        assert_eq!((kinds.len(), ks.len()), (4, 4));
        assert!(ks.dbs[0].table.iter().all(|entry| match entry.value() {
            ValueRef::Set(set) => set.len() == 3000,
            ValueRef::Zset(zset) => zset.len() == 3000,
            ValueRef::Hash(hash) => hash.len() == 3000,
            ValueRef::Stream(stream) => stream.log.len() == 3000,
            _ => false,
        }));
    }

    #[test]
    fn bytes_that_replies_share_stay() {
        let mut ks = Keyspace::new(1, HashSeed::new([1, 2]));
        ks.set(0, b"k", Value::Str(vec![b's'; 2000]), None);
        let at = ks.hash(b"k");
        let share = |ks: &mut Keyspace| {
            ks.dbs[0].table.get_mut(at, b"k").and_then(|entry| entry.share_string()).expect("bytes")
        };
        let shared = share(&mut ks);
        relocate(&mut ks, 10);
        assert_eq!(share(&mut ks).as_ptr(), shared.as_ptr());
        drop(shared);
        relocate(&mut ks, 10);
        assert_eq!(share(&mut ks), vec![b's'; 2000]);
    }
}
