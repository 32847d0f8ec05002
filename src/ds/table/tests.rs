//! The table against a plain model, and its promises about scans, samples, memory and drops.

use std::collections::HashMap;
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use proptest::prelude::*;

use super::{Item, POSITIONS, Table, position};
use crate::ds::hash::HashSeed;
use crate::util::alloc::MAPPED_BYTES;

const SEED: HashSeed = HashSeed::new([7, 8]);

/// An item with a value, and a counter of how many are alive.
struct Node {
    key: Vec<u8>,
    value: u64,
    _alive: Arc<()>,
}

struct Owned(Box<Node>);

// SAFETY: a box's pointer is valid until it is made a box again; the tests do not change keys.
unsafe impl Item for Owned {
    type Hasher = HashSeed;
    type Ref<'a> = &'a Node;
    type Mut<'a> = &'a mut u64;

    fn into_raw(self) -> NonNull<u8> {
        NonNull::from(Box::leak(self.0)).cast()
    }

    unsafe fn from_raw(raw: NonNull<u8>) -> Self {
        // SAFETY: from `into_raw`.
        Self(unsafe { Box::from_raw(raw.cast().as_ptr()) })
    }

    unsafe fn raw_key<'a>(raw: NonNull<u8>) -> &'a [u8] {
        // SAFETY: from `into_raw`.
        unsafe { &raw.cast::<Node>().as_ref().key }
    }

    unsafe fn raw_ref<'a>(raw: NonNull<u8>) -> &'a Node {
        // SAFETY: from `into_raw`.
        unsafe { raw.cast().as_ref() }
    }

    unsafe fn raw_mut<'a>(raw: NonNull<u8>) -> &'a mut u64 {
        // SAFETY: from `into_raw`.
        unsafe { &mut raw.cast::<Node>().as_mut().value }
    }
}

/// A table of numbers, whose keys are their digits.
struct Numbers {
    table: Table<Owned>,
    alive: Arc<()>,
}

fn key(number: u64) -> Vec<u8> {
    number.to_string().into_bytes()
}

impl Numbers {
    fn new() -> Self {
        Self { table: Table::new(SEED), alive: Arc::new(()) }
    }

    fn item(&self, number: u64, value: u64) -> Owned {
        Owned(Box::new(Node { key: key(number), value, _alive: self.alive.clone() }))
    }

    fn insert(&mut self, number: u64, value: u64, mark: bool) {
        let item = self.item(number, value);
        self.table.insert_unique(SEED.hash(&key(number)), item, mark);
    }

    fn remove(&mut self, number: u64) -> Option<u64> {
        Some(self.table.remove(SEED.hash(&key(number)), &key(number))?.0.value)
    }

    fn get(&self, number: u64) -> Option<u64> {
        Some(self.table.get(SEED.hash(&key(number)), &key(number))?.value)
    }

    fn find(&mut self, number: u64) -> Option<super::Occupied<'_, Owned>> {
        self.table.find(SEED.hash(&key(number)), &key(number))
    }

    fn alive(&self) -> usize {
        Arc::strong_count(&self.alive) - 1
    }

    /// All that can be said of a table in any state.
    fn check(&self, model: &HashMap<u64, (u64, bool)>) {
        let table = &self.table;
        assert_eq!(table.len(), model.len());
        assert_eq!(self.alive(), model.len());
        assert_eq!(table.len_marked(), model.values().filter(|(_, mark)| *mark).count());
        let mut seen = HashMap::new();
        for node in table.iter() {
            assert_eq!(seen.insert(node.key.clone(), node.value), None);
        }
        assert_eq!(seen, model.iter().map(|(&number, &(value, _))| (key(number), value)).collect());
        let mut marks = HashMap::new();
        let mut cursor = 0;
        loop {
            cursor = table
                .scan(cursor, |node, mark| assert_eq!(marks.insert(node.key.clone(), mark), None));
            if cursor == 0 {
                break;
            }
        }
        assert_eq!(marks, model.iter().map(|(&number, &(_, mark))| (key(number), mark)).collect());
        let stats = table.stats();
        assert_eq!(
            stats.overflow_buckets,
            table.heads().iter().map(|head| head.chain().count() - 1).sum::<usize>()
        );
        for head in table.heads().iter().filter(|head| head.next().is_some()) {
            let lens: Vec<usize> = head.chain().map(|bucket| bucket.occupied().len()).collect();
            assert!(
                lens[..lens.len() - 1].iter().all(|&len| len == 8) && lens[lens.len() - 1] > 0,
                "{lens:?}"
            );
        }
    }
}

/// The tests' own chance, the same in every run.
fn rng(mut state: u64) -> impl FnMut() -> u64 {
    move || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let word = (state ^ state >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let word = (word ^ word >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^ word >> 31
    }
}

#[derive(Clone, Debug)]
enum Op {
    InsertMany(u64, u8, bool),
    RemoveMany(u64, u8),
    Mark(u64, bool),
    Update(u64),
    Replace(u64),
    Write(u64),
    Reserve(u16),
    Allow(bool),
    Step(u8),
    Drain(u8),
    Clear,
}

fn op() -> impl Strategy<Value = Op> {
    let number = 0..3000u64;
    prop_oneof![
        12 => (number.clone(), any::<u8>(), any::<bool>())
            .prop_map(|(n, m, mark)| Op::InsertMany(n, m, mark)),
        8 => (number.clone(), any::<u8>()).prop_map(|(n, m)| Op::RemoveMany(n, m)),
        4 => (number.clone(), any::<bool>()).prop_map(|(n, mark)| Op::Mark(n, mark)),
        2 => number.clone().prop_map(Op::Update),
        2 => number.clone().prop_map(Op::Replace),
        2 => number.prop_map(Op::Write),
        1 => (0..3000u16).prop_map(Op::Reserve),
        1 => any::<bool>().prop_map(Op::Allow),
        1 => any::<u8>().prop_map(Op::Step),
        1 => any::<u8>().prop_map(Op::Drain),
        1 => Just(Op::Clear),
    ]
}

/// By number, the value and whether it is marked.
type Model = HashMap<u64, (u64, bool)>;

/// Does the same to both, at a time that is the value of what is written.
fn apply(numbers: &mut Numbers, model: &mut Model, op: Op, time: u64) -> Result<(), TestCaseError> {
    match op {
        Op::InsertMany(first, many, mark) => {
            for number in first..first + u64::from(many) * 4 {
                if numbers.get(number).is_none() {
                    numbers.insert(number, time, mark);
                    prop_assert_eq!(model.insert(number, (time, mark)), None);
                }
            }
        }
        Op::RemoveMany(first, many) => {
            for number in first..first + u64::from(many) * 8 {
                let expected = model.remove(&number).map(|(value, _)| value);
                prop_assert_eq!(numbers.remove(number), expected);
            }
        }
        Op::Mark(number, mark) => {
            let found = numbers.find(number).map(|mut entry| {
                let before = entry.is_marked();
                entry.set_mark(mark);
                before
            });
            let old = model.get_mut(&number);
            let expected = old.map(|(_, old)| std::mem::replace(old, mark));
            prop_assert_eq!(found, expected);
        }
        Op::Update(number) => {
            let new = numbers.item(number, time);
            if let Some(mut entry) = numbers.find(number) {
                entry.update(move |_| new);
                prop_assert_eq!(entry.get().value, time);
                model.get_mut(&number).unwrap().0 = time;
            }
        }
        Op::Replace(number) => {
            let new = numbers.item(number, time);
            if let Some(mut entry) = numbers.find(number) {
                prop_assert_eq!(entry.replace(new).0.value, model[&number].0);
                model.get_mut(&number).unwrap().0 = time;
            }
        }
        Op::Write(number) => write_in_place(numbers, model, number, time)?,
        Op::Reserve(capacity) => numbers.table.reserve(capacity.into()),
        Op::Allow(allowed) => numbers.table.set_resize_allowed(allowed),
        Op::Step(buckets) => {
            numbers.table.rehash_step(buckets.into());
        }
        Op::Drain(budget) => {
            numbers.table.drain_some(budget.into());
            model.retain(|&number, _| numbers.get(number).is_some());
        }
        Op::Clear => {
            numbers.table.clear();
            model.clear();
            prop_assert_eq!(numbers.table.memory(), 0);
        }
    }
    Ok(())
}

/// Writes where the value lies, in each way that there is.
fn write_in_place(
    numbers: &mut Numbers,
    model: &mut Model,
    number: u64,
    time: u64,
) -> Result<(), TestCaseError> {
    let hash = SEED.hash(&key(number));
    if let Some(value) = numbers.table.get_mut(hash, &key(number)) {
        *value = time;
        model.get_mut(&number).unwrap().0 = time;
    }
    if let Some(mut entry) = numbers.find(number) {
        *entry.get_mut() += 1;
        *entry.into_mut() += 1;
        model.get_mut(&number).unwrap().0 += 2;
    }
    let expected = model.get(&number).map(|&(value, _)| value);
    prop_assert_eq!(numbers.get(number), expected);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 60,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn behaves_like_a_map(ops in prop::collection::vec(op(), 1..60)) {
        let mut numbers = Numbers::new();
        let mut model = Model::new();
        for (time, op) in ops.into_iter().enumerate() {
            let time = time as u64;
            apply(&mut numbers, &mut model, op, time)?;
            prop_assert_eq!(numbers.table.len(), model.len());
            if time.is_multiple_of(4) {
                numbers.check(&model);
            }
        }
        numbers.check(&model);
        let Numbers { table, alive } = numbers;
        drop(table);
        prop_assert_eq!(Arc::strong_count(&alive), 1);
    }
}

#[test]
fn empty_table_takes_no_memory() {
    let mut numbers = Numbers::new();
    assert_eq!((numbers.table.memory(), numbers.table.buckets(), numbers.table.slots()), (0, 0, 0));
    numbers.check(&HashMap::new());
    assert_eq!((numbers.get(1), numbers.remove(1)), (None, None));
    assert!(
        numbers.table.random(&mut rng(1)).is_none()
            && numbers.table.random_marked(&mut rng(1)).is_none()
    );
    numbers.table.prefetch_bucket(u64::MAX);
    numbers.table.prefetch_entries(1, 2);
    assert!(numbers.table.drain_some(0) && !numbers.table.rehash_step(9));
    numbers.insert(1, 1, false);
    assert_eq!(numbers.table.memory(), 64);
    assert!(!numbers.table.drain_some(0) && numbers.table.drain_some(1));
    assert_eq!(numbers.table.memory(), 0);
}

/// Scans while `disturb` changes the table between the steps, and returns how often each number was
/// visited.
fn scan_all(numbers: &mut Numbers, mut disturb: impl FnMut(&mut Numbers)) -> HashMap<u64, usize> {
    let mut visits = HashMap::new();
    let mut cursor = 0;
    loop {
        let next = numbers.table.scan(cursor, |node, _| {
            let number = std::str::from_utf8(&node.key).unwrap().parse().unwrap();
            *visits.entry(number).or_default() += 1;
        });
        assert!(next == 0 || next > cursor && next < 1 << 48);
        cursor = next;
        if cursor == 0 {
            return visits;
        }
        disturb(numbers);
    }
}

#[test]
fn scan_visits_all_while_growing() {
    for (start, per_step) in [(1, 1), (100, 3), (1000, 1), (1000, 7), (3000, 40)] {
        let mut numbers = Numbers::new();
        (0..start).for_each(|number| numbers.insert(number, 0, false));
        let mut fresh = start..30_000;
        let visits = scan_all(&mut numbers, |numbers| {
            fresh.by_ref().take(per_step).for_each(|number| numbers.insert(number, 0, false));
        });
        assert!((0..start).all(|number| visits.contains_key(&number)), "{start} {per_step}");
    }
}

#[test]
fn scan_visits_all_while_shrinking() {
    for (kept, per_step) in [(1, 50), (100, 7), (500, 30), (500, 300)] {
        let mut numbers = Numbers::new();
        (0..20_000).for_each(|number| numbers.insert(number, 0, false));
        let mut doomed = kept..20_000;
        let visits = scan_all(&mut numbers, |numbers| {
            doomed
                .by_ref()
                .take(per_step)
                .for_each(|number| assert!(numbers.remove(number).is_some()));
        });
        assert!((0..kept).all(|number| visits.contains_key(&number)), "{kept} {per_step}");
    }
}

#[test]
fn scan_visits_all_while_changing_at_random() {
    for seed in 0..30 {
        let mut rng = rng(seed);
        let mut numbers = Numbers::new();
        let kept = 300 + rng() % 2000;
        (0..kept).for_each(|number| numbers.insert(number, 0, false));
        let mut fresh = kept..;
        let mut others = Vec::new();
        let mut growing = true;
        let visits = scan_all(&mut numbers, |numbers| {
            if rng().is_multiple_of(20) {
                growing = !growing;
            }
            for _ in 0..rng() % 200 {
                if growing {
                    let number = fresh.next().unwrap();
                    others.push(number);
                    numbers.insert(number, 0, false);
                } else if let Some(number) = others.pop() {
                    assert!(numbers.remove(number).is_some());
                }
            }
            numbers.table.rehash_step((rng() % 5) as usize);
        });
        assert!((0..kept).all(|number| visits.contains_key(&number)), "seed {seed}");
    }
}

/// The numbers of a range of positions, whatever size the table is on its way to.
#[test]
fn a_range_is_found_walked_and_taken_out() {
    for len in [0, 1, 40, 3000, 3136, 3150] {
        let mut numbers = Numbers::new();
        (0..len).for_each(|number| numbers.insert(number, 0, number % 3 == 0));
        let (start, end) = (1 << 46, (1 << 47) + 12_345);
        let is_in = |node: &Node| (start..end).contains(&position(SEED.hash(&node.key)));
        let mut all: Vec<Vec<u8>> = numbers.table.iter().map(|node| node.key.clone()).collect();
        all.retain(|key| (start..end).contains(&position(SEED.hash(key))));
        all.sort();
        let sorted = |mut keys: Vec<Vec<u8>>| {
            keys.sort();
            keys
        };
        let found = numbers.table.iter_range(start..end).map(|node| node.key.clone()).collect();
        assert_eq!(sorted(found), all, "{len}");
        let (mut walked, mut at) = (Vec::new(), start);
        while at != 0 {
            at = numbers.table.walk(at..end, 2, |node, _| walked.push(node.key.clone()));
        }
        assert_eq!(sorted(walked), all, "{len}");
        let (mut taken, mut marked) = (Vec::new(), 0);
        numbers.table.take_range(start..end, |item, mark| {
            assert!(is_in(&item.0));
            marked += usize::from(mark);
            taken.push(item.0.key.clone());
        });
        let is_third =
            |key: &&Vec<u8>| std::str::from_utf8(key).unwrap().parse::<u64>().unwrap() % 3 == 0;
        assert_eq!(
            (marked, sorted(taken)),
            (all.iter().filter(is_third).count(), all.clone()),
            "{len}"
        );
        assert_eq!(numbers.table.len(), len as usize - all.len());
        assert!(!numbers.table.iter().any(is_in));
        assert_eq!(numbers.alive(), numbers.table.len());
    }
}

#[test]
fn scan_ends_with_what_is_no_cursor() {
    let mut numbers = Numbers::new();
    (0..100).for_each(|number| numbers.insert(number, 0, false));
    for cursor in [1 << 48, u64::MAX, (1 << 48) - 1] {
        assert_eq!(numbers.table.scan(cursor, |_, _| ()), 0);
        assert_eq!(numbers.table.scan_marked(cursor..POSITIONS, 9, |_| ()).0, 0);
    }
}

#[test]
fn scan_marked_skips_the_others() {
    let mut numbers = Numbers::new();
    (0..20_000).for_each(|number| numbers.insert(number, 0, number % 1000 == 0));
    let (mut cursor, mut found, mut calls, mut passed) = (0, 0, 0, 0);
    loop {
        let (next, buckets) = numbers.table.scan_marked(cursor..POSITIONS, 500, |node| {
            assert!(node.key.ends_with(b"000") || node.key == b"0");
            found += 1;
        });
        assert!((1..=500).contains(&buckets));
        calls += 1;
        passed += buckets;
        cursor = next;
        if cursor == 0 {
            break;
        }
    }
    assert_eq!(found, 20);
    assert!(calls <= 40, "{calls}");
    assert_eq!(passed, numbers.table.stats().buckets);
    assert_eq!(numbers.table.scan_marked(0..POSITIONS, 0, |_| ()).1, 1);
}

#[test]
fn samples_are_fair() {
    // In the middle of growing, of shrinking, at rest, and tiny.
    for (insert, remove) in [(1000, 0), (1350, 0), (12_000, 10_900), (3, 0), (9, 0)] {
        let mut numbers = Numbers::new();
        (0..insert).for_each(|number| numbers.insert(number, 0, number % 3 == 0));
        (0..remove).for_each(|number| assert!(numbers.remove(number).is_some()));
        let kept = insert - remove;
        let draws = kept * 100;
        let mut rng = rng(kept);
        let mut counts: HashMap<Vec<u8>, f64> = HashMap::new();
        for _ in 0..draws {
            *counts.entry(numbers.table.random(&mut rng).unwrap().key.clone()).or_default() += 1.0;
        }
        assert_eq!(counts.len() as u64, kept);
        let chi_square: f64 = counts.values().map(|n| (n - 100.0).powi(2) / 100.0).sum();
        // Mean kept - 1, standard deviation sqrt(2 * kept).
        let (mean, deviation) = (kept as f64 - 1.0, (2.0 * kept as f64).sqrt());
        assert!((chi_square - mean).abs() < 6.0 * deviation, "{insert} {remove}: {chi_square}");
        for _ in 0..100 {
            let node = numbers.table.random_marked(&mut rng).unwrap();
            assert_eq!(std::str::from_utf8(&node.key).unwrap().parse::<u64>().unwrap() % 3, 0);
        }
    }
}

#[test]
fn samples_a_nearly_empty_large_table() {
    let mut numbers = Numbers::new();
    numbers.table.reserve(20_000);
    numbers.insert(5, 0, true);
    assert_eq!(numbers.table.random(&mut rng(1)).unwrap().key, b"5");
    let found =
        (0..200).filter(|&seed| numbers.table.random_marked(&mut rng(seed)).is_some()).count();
    assert!((1..100).contains(&found), "{found}");
}

#[test]
fn does_not_resize_while_not_allowed() {
    let mut numbers = Numbers::new();
    (0..1000).for_each(|number| numbers.insert(number, 0, false));
    while numbers.table.rehash_step(10) {}
    numbers.table.set_resize_allowed(false);
    let buckets = numbers.table.buckets();
    (1000..2500).for_each(|number| numbers.insert(number, 0, false));
    assert_eq!((numbers.table.buckets(), numbers.table.is_rehashing()), (buckets, false));
    // Three times too full: now it must.
    (2500..8000).for_each(|number| numbers.insert(number, 0, false));
    assert!(numbers.table.buckets() > buckets);
    assert!(numbers.table.stats().longest_chain <= 8);
    numbers.table.set_resize_allowed(true);
    numbers.table.rehash_step(usize::MAX);
    assert!(numbers.table.len() <= numbers.table.buckets() * 7, "{:?}", numbers.table.stats());
    assert!(!numbers.table.is_rehashing());
}

/// What is mapped is asked of the table: `MAPPED_BYTES` counts the tables of other tests, too.
#[test]
fn large_table_grows_shrinks_and_drains_in_steps() {
    const MANY: u64 = 200_000;
    let mut numbers = Numbers::new();
    let mut resizes = 0;
    for number in 0..MANY {
        let before = (numbers.table.swept, numbers.table.is_rehashing());
        numbers.insert(number, number, number % 5 == 0);
        let after = (numbers.table.swept, numbers.table.is_rehashing());
        resizes += u32::from(after.1 && !before.1);
        // At rest, or a few steps on.
        assert!(numbers.table.array.len() <= 64 || after.0 <= before.0 + 8, "{before:?} {after:?}");
        // The sweep is done in time.
        assert!(
            number < 500 || numbers.table.len() <= numbers.table.array.len() * 8,
            "{:?}",
            numbers.table.stats()
        );
        if number > MANY / 2 && numbers.table.array.is_mapped() {
            let mapped = numbers.table.memory() - numbers.table.overflow * 64;
            assert!(numbers.table.memory() as u64 <= number * 16, "{}", numbers.table.memory());
            // It is brought up to date once for each chunk.
            assert!(mapped.abs_diff(numbers.table.mapped_bytes) <= 1 << 17);
        }
    }
    assert!(resizes > 10);
    assert!((0..MANY).all(|number| numbers.get(number) == Some(number)));
    (0..MANY - 1000).for_each(|number| assert_eq!(numbers.remove(number), Some(number)));
    while numbers.table.rehash_step(100) {}
    assert!(numbers.table.memory() < 1000 * 100, "{}", numbers.table.memory());
    assert!((MANY - 1000..MANY).all(|number| numbers.get(number) == Some(number)));
    assert_eq!(
        (numbers.table.len(), numbers.alive(), numbers.table.len_marked()),
        (1000, 1000, 200)
    );
    assert_eq!(numbers.table.mapped_bytes, 0);

    numbers.table.reserve(MANY as usize);
    (0..MANY - 1000).for_each(|number| numbers.insert(number, number, false));
    let mut slices = 0;
    while !numbers.table.drain_some(1000) {
        slices += 1;
        let at_most = numbers.table.len() + 1100;
        assert_eq!(numbers.alive(), numbers.table.len());
        assert!(slices > 50 || numbers.table.memory() < at_most * 20 + (1 << 19));
        // It stays usable (and takes memory again then).
        if slices % 50 == 0 {
            numbers.insert(MANY + slices, 0, false);
            assert_eq!(numbers.get(MANY + slices), Some(0));
        }
    }
    assert!(slices >= 195, "{slices}");
    assert_eq!((numbers.alive(), numbers.table.memory(), numbers.table.mapped_bytes), (0, 0, 0));

    let full = Table::<Owned>::with_capacity(SEED, MANY as usize);
    assert_eq!(full.mapped_bytes, full.memory());
    assert!(MAPPED_BYTES.load(Relaxed) >= full.memory());
    assert_eq!(full.memory(), (MANY as usize).div_ceil(6) * 64);
    drop(full);
    assert_eq!(Table::<Owned>::with_capacity(SEED, usize::MAX).memory(), 0);
}
