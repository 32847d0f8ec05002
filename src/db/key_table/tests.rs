//! The tables of slots against a plain map.

use super::*;
use proptest::prelude::*;
use rand::rngs::SmallRng;
use rand::{RngCore, SeedableRng};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

/// Keys, each with whether it is marked.
type Model = BTreeMap<Vec<u8>, bool>;

fn hasher() -> KeyHasher {
    KeyHasher::new(HashSeed::new([1, 2]), true)
}

#[derive(Clone, Debug)]
enum Step {
    Insert(Vec<u8>, bool),
    Remove(Vec<u8>),
    Mark(Vec<u8>, bool),
    Tend,
}

/// A few keys in slots of their own, and many of one slot.
fn key() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        (0..40u32).prop_map(|n| format!("k{n}").into_bytes()),
        (0..200u32).prop_map(|n| format!("{{tag}}{n}").into_bytes()),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (key(), any::<bool>()).prop_map(|(key, mark)| Step::Insert(key, mark)),
        4 => key().prop_map(Step::Remove),
        4 => (key(), any::<bool>()).prop_map(|(key, mark)| Step::Mark(key, mark)),
        1 => Just(Step::Tend),
    ]
}

fn apply(table: &mut KeyTable, model: &mut Model, step: Step) {
    match step {
        Step::Insert(key, mark) => {
            if table.get(hasher().hash(&key), &key).is_none() {
                let entry = Entry::string(&key, b"value", None);
                table.insert_unique(hasher().hash(&key), entry, mark);
                model.insert(key, mark);
            }
        }
        Step::Remove(key) => {
            let removed = table.remove(hasher().hash(&key), &key).is_some();
            assert_eq!(removed, model.remove(&key).is_some());
        }
        Step::Mark(key, mark) => {
            let found = table.find(hasher().hash(&key), &key);
            assert_eq!(found.as_ref().map(Found::is_marked), model.get(&key).copied());
            if let Some(mut found) = found {
                found.set_mark(mark);
                model.insert(key, mark);
            }
        }
        Step::Tend => table.rehash_step(4),
    }
}

fn keys_of_scan(mut step: impl FnMut(u64, &mut BTreeSet<Vec<u8>>) -> u64) -> BTreeSet<Vec<u8>> {
    let (mut keys, mut cursor) = (BTreeSet::new(), 0);
    loop {
        cursor = step(cursor, &mut keys);
        if cursor == 0 {
            return keys;
        }
    }
}

fn check(table: &KeyTable, model: &Model) {
    assert_eq!((table.len(), table.is_empty()), (model.len(), model.is_empty()));
    assert_eq!(table.len_marked(), model.values().filter(|&&mark| mark).count());
    let all: BTreeSet<Vec<u8>> = model.keys().cloned().collect();
    let listed: Vec<Vec<u8>> = table.iter().map(|entry| entry.key().to_vec()).collect();
    assert_eq!(listed.len(), all.len());
    assert_eq!(listed.into_iter().collect::<BTreeSet<_>>(), all);
    let scanned = keys_of_scan(|cursor, keys| {
        table.scan(cursor, |entry| _ = keys.insert(entry.key().to_vec()))
    });
    assert_eq!(scanned, all);
    for buckets in [1, 3, usize::MAX] {
        let marked = keys_of_scan(|cursor, keys| {
            let visit = |entry: EntryRef<'_>| _ = keys.insert(entry.key().to_vec());
            table.scan_marked(cursor, buckets, visit).0
        });
        assert_eq!(marked, all.iter().filter(|&key| model[key]).cloned().collect());
    }
    let tagged = key_slot(b"{tag}");
    let of_tag: BTreeSet<Vec<u8>> =
        all.iter().filter(|key| key_slot(key) == tagged).cloned().collect();
    assert_eq!(table.slot_len(tagged), of_tag.len());
    assert_eq!(
        table.slot_iter(tagged).map(|entry| entry.key().to_vec()).collect::<BTreeSet<_>>(),
        of_tag
    );
    let scanned = keys_of_scan(|cursor, keys| {
        table.scan_slot(tagged, cursor, |entry| _ = keys.insert(entry.key().to_vec()))
    });
    assert_eq!(scanned, of_tag);
    let mut rng = SmallRng::seed_from_u64(1);
    let random = table.random(&mut || rng.next_u64());
    assert_eq!(random.is_some(), !all.is_empty());
    assert!(random.is_none_or(|entry| all.contains(entry.key())));
    let marked = table.random_marked(&mut || rng.next_u64());
    assert_eq!(marked.is_some(), table.len_marked() > 0);
    assert!(marked.is_none_or(|entry| model[entry.key()]));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn does_what_a_map_does(steps in proptest::collection::vec(step(), 0..400)) {
        let (mut table, mut model) = (KeyTable::new(hasher()), Model::new());
        for (n, step) in steps.into_iter().enumerate() {
            apply(&mut table, &mut model, step);
            if n % 50 == 0 {
                check(&table, &model);
            }
        }
        check(&table, &model);
    }

    /// What stays in the table from the start of a scan to its end is visited, whatever else comes and goes.
    #[test]
    fn a_scan_misses_nothing(steps in proptest::collection::vec(step(), 0..400)) {
        let (mut table, mut model) = (KeyTable::new(hasher()), Model::new());
        let stays = |n: u32| format!("{}s{n}", ["", "{tag}"][n as usize % 2]).into_bytes();
        for n in 0..100 {
            let key = stays(n);
            table.insert_unique(hasher().hash(&key), Entry::string(&key, b"v", None), n % 3 == 0);
        }
        let (mut seen, mut marked) = (BTreeSet::new(), BTreeSet::new());
        let (mut cursor, mut marked_cursor) = (0, 0);
        let mut steps = steps.into_iter();
        let (mut done, mut marked_done) = (false, false);
        while !done || !marked_done {
            if !done {
                cursor = table.scan(cursor, |entry| _ = seen.insert(entry.key().to_vec()));
                done = cursor == 0;
            }
            if !marked_done {
                let visit = |entry: EntryRef<'_>| _ = marked.insert(entry.key().to_vec());
                marked_cursor = table.scan_marked(marked_cursor, 2, visit).0;
                marked_done = marked_cursor == 0;
            }
            steps.by_ref().take(5).for_each(|step| apply(&mut table, &mut model, step));
        }
        for n in 0..100 {
            prop_assert!(seen.contains(&stays(n)), "{n}");
            prop_assert!(n % 3 != 0 || marked.contains(&stays(n)), "{n} of those marked");
        }
    }
}

#[test]
fn chance_is_fair_however_keys_are_spread() {
    let mut table = KeyTable::new(hasher());
    let keys: Vec<Vec<u8>> = (0..1000)
        .map(|n| if n < 800 { format!("{{tag}}{n}") } else { format!("k{n}") }.into_bytes())
        .collect();
    for key in &keys {
        table.insert_unique(hasher().hash(key), Entry::string(key, b"v", None), false);
    }
    let mut rng = SmallRng::seed_from_u64(7);
    let mut counts = BTreeMap::new();
    let draws = 100_000;
    for _ in 0..draws {
        let entry = table.random(&mut || rng.next_u64()).unwrap();
        *counts.entry(entry.key().to_vec()).or_insert(0) += 1;
    }
    // Of a thousand counts around 100, with a deviation of 10, none is further off than six of these.
    assert_eq!(counts.len(), keys.len());
    assert!(counts.values().all(|&count| (40..=160).contains(&count)), "{counts:?}");
}

fn fill(table: &mut KeyTable, keys: impl Iterator<Item = String>) {
    for key in keys {
        let entry = Entry::string(key.as_bytes(), b"v", None);
        table.insert_unique(hasher().hash(key.as_bytes()), entry, false);
    }
}

/// No chain grows long by one slot having most of the keys, and neighbouring slots take no more buckets than a table
/// without slots does.
#[test]
fn a_slot_with_many_keys_leaves_its_neighbours() {
    let mut table = KeyTable::new(hasher());
    fill(&mut table, (0..20_000).map(|n| format!("{{tag}}{n}")));
    fill(&mut table, (0..100_000).map(|n| format!("k{n}")));
    let stats = table.stats();
    assert!(stats.longest_chain <= 5, "{stats:?}");
    assert!(table.memory() < 120_000 * 19, "{}", table.memory());
    assert_eq!(
        table.slot_len(key_slot(b"tag")),
        20_000
            + (0..100_000)
                .filter(|n| key_slot(format!("k{n}").as_bytes()) == key_slot(b"tag"))
                .count()
    );
    // What it has left is given back when nothing is in it, and the slot has keys among its neighbours again.
    let slot = key_slot(b"tag");
    let keys: Vec<Vec<u8>> = table.slot_iter(slot).map(|entry| entry.key().to_vec()).collect();
    for key in keys {
        assert!(table.remove(hasher().hash(&key), &key).is_some());
    }
    let before = table.tables().count();
    (0..100).for_each(|_| table.rehash_step(1000));
    assert_eq!((table.tables().count(), table.slot_len(slot)), (before - 1, 0));
    fill(&mut table, (0..3).map(|n| format!("{{tag}}{n}")));
    assert_eq!((table.tables().count(), table.slot_iter(slot).count()), (before - 1, 3));
}

/// As they come from a file or from another node: for a while each slot has far more than the others.
#[test]
fn keys_that_come_slot_by_slot_are_shared_in_the_end() {
    let mut tags = BTreeMap::new();
    (0..200_000).for_each(|n| _ = tags.insert(key_slot(format!("{n}").as_bytes()), n));
    let keys: Vec<String> = (0..128)
        .flat_map(|slot| {
            (0..100).map({
                let tag = tags[&slot];
                move |n| format!("{{{tag}}}{n}")
            })
        })
        .collect();
    let mut table = KeyTable::new(hasher());
    let runs = 128;
    fill(&mut table, keys.iter().cloned());
    assert!(table.tables().count() > runs + 30);
    let (mut seen, mut cursor) = (BTreeSet::new(), 0);
    for step in 0.. {
        cursor = table.scan(cursor, |entry| _ = seen.insert(entry.key().to_vec()));
        if cursor == 0 && step > 2000 {
            break;
        }
        // While it goes on, slots come to the shared table and leave it again.
        match step {
            0..1000 => table.rehash_step(1),
            1000 => fill(&mut table, (0..500).map(|n| format!("{{{}}}x{n}", tags[&60]))),
            _ => table.rehash_step(20),
        }
    }
    assert!(keys.iter().all(|key| seen.contains(key.as_bytes())));
    assert!(
        keys.iter()
            .all(|key| { table.get(hasher().hash(key.as_bytes()), key.as_bytes()).is_some() })
    );
    assert_eq!((table.tables().count(), table.iter().count()), (runs + 1, keys.len() + 500));
}

#[test]
fn keys_by_chance_are_fair_among_uneven_slots() {
    let mut table = KeyTable::new(hasher());
    // Some slots have as many keys as they may have among the others, nearly.
    fill(&mut table, (0..3000).map(|n| format!("{{{}}}{n}", n % 250)));
    fill(&mut table, (0..3000).map(|n| format!("k{n}")));
    let mut rng = SmallRng::seed_from_u64(3);
    let mut counts = BTreeMap::new();
    for _ in 0..600_000 {
        let entry = table.random(&mut || rng.next_u64()).unwrap();
        *counts.entry(entry.key().to_vec()).or_insert(0) += 1;
    }
    assert_eq!(counts.len(), 6000);
    assert!(counts.values().all(|&count| (40..=165).contains(&count)), "{counts:?}");
}

#[test]
fn any_number_is_a_cursor() {
    let mut table = KeyTable::new(hasher());
    table.insert_unique(hasher().hash(b"foo"), Entry::string(b"foo", b"v", None), true);
    for cursor in [1, 12182, 16383, 1 << 20, 1 << 62, u64::MAX] {
        keys_of_scan(|at, keys| {
            let at = if at == 0 { cursor } else { at };
            table.scan_marked(at, 1, |_| {});
            table.scan_slot(12182, at, |_| {});
            table.scan(at, |entry| _ = keys.insert(entry.key().to_vec()))
        });
    }
}

/// A key with its value and expiry.
type Note = (Vec<u8>, String, Option<i64>);

/// Notes what it is handed.
#[derive(Clone, Default)]
struct Notes(Arc<Mutex<Vec<Note>>>);

impl Scribe for Notes {
    fn take_down(&mut self, entry: EntryRef<'_>) {
        let note = (entry.key().to_vec(), format!("{:?}", entry.value()), entry.expire());
        self.0.lock().unwrap().push(note);
    }

    fn is_large(&self, _: EntryRef<'_>) -> bool {
        false
    }

    fn open(&mut self, _: EntryMut<'_>) -> Option<u64> {
        unreachable!("nothing is large")
    }

    fn end(&mut self) {
        self.0.lock().unwrap().push((b"the end".to_vec(), String::new(), None));
    }
}

/// What happens between two steps of a walk.
#[derive(Clone, Debug)]
enum Meanwhile {
    Set(Vec<u8>, u8),
    Expire(Vec<u8>, i64),
    Append(Vec<u8>),
    Remove(Vec<u8>),
    /// Many keys come or go, so that tables are resized.
    Fill(u16),
    Clear(u16),
    Tend,
    Walk(usize),
}

fn meanwhile() -> impl Strategy<Value = Meanwhile> {
    prop_oneof![
        6 => (key(), any::<u8>()).prop_map(|(key, value)| Meanwhile::Set(key, value)),
        3 => (key(), 0..1000i64).prop_map(|(key, at)| Meanwhile::Expire(key, at)),
        3 => key().prop_map(Meanwhile::Append),
        6 => key().prop_map(Meanwhile::Remove),
        1 => (1..400u16).prop_map(Meanwhile::Fill),
        1 => (1..400u16).prop_map(Meanwhile::Clear),
        2 => Just(Meanwhile::Tend),
        6 => (1..6usize).prop_map(Meanwhile::Walk),
    ]
}

fn set(table: &mut KeyTable, hasher: KeyHasher, key: &[u8], value: &[u8]) {
    let at = hasher.hash(key);
    let entry = Entry::string(key, value, None);
    match table.find(at, key) {
        Some(mut found) => {
            found.set_mark(false);
            found.replace(entry);
        }
        None => table.insert_unique(at, entry, false),
    }
}

fn change(table: &mut KeyTable, hasher: KeyHasher, what: Meanwhile) {
    let filler = |n: u16| format!("{{tag}}filler{n}").into_bytes();
    match what {
        Meanwhile::Set(key, value) => set(table, hasher, &key, &[value; 30]),
        Meanwhile::Expire(key, at) => {
            if let Some(mut found) = table.find(hasher.hash(&key), &key) {
                found.update(|entry| entry.with_expire(Some(at)));
                found.set_mark(true);
            }
        }
        Meanwhile::Append(key) => {
            if let Some(mut found) = table.find(hasher.hash(&key), &key) {
                found.update(|entry| entry.modify_string(|bytes| bytes.push(b'+')));
            }
        }
        Meanwhile::Remove(key) => drop(table.remove(hasher.hash(&key), &key)),
        Meanwhile::Fill(n) => (0..n).for_each(|n| set(table, hasher, &filler(n), b"filler")),
        Meanwhile::Clear(n) => {
            (0..n).for_each(|n| drop(table.remove(hasher.hash(&filler(n)), &filler(n))));
        }
        Meanwhile::Tend => table.rehash_step(4),
        Meanwhile::Walk(buckets) => {
            if table.walk().is_some_and(|walk| !walk.is_done()) {
                table.walk_on(buckets);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Whatever happens while it goes on: what a walk hands over is what there was when it began.
    #[test]
    fn a_walk_hands_over_what_there_was(
        by_slot: bool,
        before in prop::collection::vec(meanwhile(), 0..80),
        during in prop::collection::vec(meanwhile(), 0..120),
    ) {
        let hasher = KeyHasher::new(HashSeed::new([1, 2]), by_slot);
        let mut table = KeyTable::new(hasher);
        before.into_iter().for_each(|what| change(&mut table, hasher, what));
        let mut expected = Notes::default();
        table.iter().for_each(|entry| expected.take_down(entry));
        expected.end();

        let notes = Notes::default();
        table.begin_walk(Box::new(notes.clone()));
        during.into_iter().for_each(|what| change(&mut table, hasher, what));
        while !table.walk().expect("there is one").is_done() {
            table.walk_on(3);
        }
        let walked = table.walk().expect("there is one").keys();
        table.end_walk();
        let sorted = |notes: &Notes| {
            let mut all = notes.0.lock().unwrap().clone();
            all.sort();
            all
        };
        prop_assert_eq!(walked as usize + 1, notes.0.lock().unwrap().len());
        prop_assert_eq!(sorted(&notes), sorted(&expected));
    }
}
