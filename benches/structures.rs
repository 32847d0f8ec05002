//! Benches of the data structures, each at the size that its type gives it: packed forms at their limits, tables and
//! trees with a million elements, and what one command does to them.

use aeolis::ds::hyperloglog::{self, Registers};
use aeolis::ds::intset::Intset;
use aeolis::ds::listpack::Listpack;
use aeolis::ds::quicklist::{Direction, Quicklist};
use aeolis::ds::sorted_set::SortedSet;
use aeolis::value::hash::{self, Hash};
use aeolis::value::set::{self, Set};
use aeolis::value::stream::StreamId;
use aeolis::value::stream::log::{Log, NodeLimits};
use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, Criterion, criterion_group, criterion_main};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use std::hint::black_box;

/// Elements of a large structure.
const MANY: u64 = 1_000_000;
/// Elements of a packed one: `set-max-listpack-entries`.
const PACKED: usize = 128;
const SPARSE_MAX: u64 = 3000;

fn member(n: u64) -> [u8; 16] {
    format!("member:{n:09}").into_bytes().try_into().expect("sixteen bytes")
}

fn rng() -> SmallRng {
    SmallRng::seed_from_u64(1)
}

/// One bench whose operation gets a random element's number.
fn each(group: &mut BenchmarkGroup<'_, WallTime>, name: &str, n: u64, mut run: impl FnMut(u64)) {
    let mut rng = rng();
    group.bench_function(name, |b| b.iter(|| run(rng.random_range(0..n))));
}

fn listpack(c: &mut Criterion) {
    let mut list = Listpack::new();
    (0..PACKED as u64).for_each(|n| assert!(list.push_back(&member(n))));
    let first = list.first().expect("an element");
    let mut group = c.benchmark_group("listpack of 128");
    each(&mut group, "find", PACKED as u64, |n| {
        black_box(list.find(&member(n), first, 0));
    });
    each(&mut group, "seek", PACKED as u64, |n| {
        black_box(list.seek(n as isize));
    });
    group.bench_function("iterate", |b| b.iter(|| black_box(list.iter().count())));
    let mut changing = list.clone();
    each(&mut group, "replace", PACKED as u64, |n| {
        let at = changing.seek(n as isize).expect("an element");
        assert!(changing.replace(at, &member(n)));
    });
    group.bench_function("push at the end, delete at the front", |b| {
        b.iter(|| {
            assert!(changing.push_back(&member(7)));
            changing.delete(changing.first().expect("an element"));
        });
    });
    group.finish();
}

fn intset(c: &mut Criterion) {
    let mut numbers = Intset::new();
    (0..512).for_each(|n| assert!(numbers.add(n * 3)));
    let mut group = c.benchmark_group("intset of 512");
    each(&mut group, "contains", 1536, |n| {
        black_box(numbers.contains(n as i64));
    });
    let mut changing = numbers.clone();
    each(&mut group, "add, remove", 512, |n| {
        let number = n as i64 * 3 + 1;
        assert!(changing.add(number) && changing.remove(number));
    });
    group.finish();
}

fn quicklist(c: &mut Criterion) {
    let mut list = Quicklist::new(-2, 0);
    (0..MANY).for_each(|n| list.push_back(&member(n)));
    let mut group = c.benchmark_group("quicklist of a million");
    group.bench_function("push at the end, pop at the front", |b| {
        b.iter(|| {
            list.push_back(&member(7));
            black_box(list.pop_front());
        });
    });
    each(&mut group, "get", MANY, |n| {
        black_box(list.get(n as i64));
    });
    each(&mut group, "range of 100", MANY, |n| {
        let mut bytes = 0;
        list.range(n as usize, 100, Direction::Forward, |entry| bytes += entry.text_len());
        black_box(bytes);
    });
    group.finish();
}

fn set(c: &mut Criterion) {
    let limits = set::SetLimits::default();
    let mut members = Set::new(&member(0), MANY as usize, &limits);
    for n in 0..MANY {
        members.add(&member(n), &limits);
    }
    let mut group = c.benchmark_group("set of a million");
    each(&mut group, "contains", 2 * MANY, |n| {
        black_box(members.contains(&member(n)));
    });
    each(&mut group, "add, remove", MANY, |n| {
        let member = member(MANY + n);
        assert!(members.add(&member, &limits) && members.remove(&member));
    });
    let mut random = rng();
    group.bench_function("random", |b| {
        b.iter(|| black_box(members.random(&mut || random.random()).is_some()));
    });
    group.finish();
}

fn hash(c: &mut Criterion) {
    let limits = hash::HashLimits::default();
    let filled = |fields: u64| {
        let mut hash = Hash::default();
        for n in 0..fields {
            hash.set(&member(n), &[b'x'; 16], None, &limits, 0);
        }
        hash
    };
    for (name, fields) in [("hash of 5", 5), ("hash of a million", MANY)] {
        let mut hash = filled(fields);
        let mut group = c.benchmark_group(name);
        each(&mut group, "get", fields, |n| {
            black_box(hash.get(&member(n), 0));
        });
        each(&mut group, "set", fields, |n| {
            black_box(hash.set(&member(n), &member(n), None, &limits, 0));
        });
        group.finish();
    }
    c.benchmark_group("hash of 5").bench_function("make, drop", |b| b.iter(|| filled(5)));
}

fn sorted_set(c: &mut Criterion) {
    let mut scores = rng();
    let mut zset = SortedSet::default();
    for n in 0..MANY {
        zset.update(&member(n), |_| Some(scores.random()));
    }
    let mut group = c.benchmark_group("sorted set of a million");
    each(&mut group, "score", MANY, |n| {
        black_box(zset.score(&member(n)));
    });
    each(&mut group, "rank", MANY, |n| {
        black_box(zset.rank(&member(n)));
    });
    each(&mut group, "new score", MANY, |n| {
        black_box(zset.update(&member(n), |_| Some(scores.random())));
    });
    each(&mut group, "add, remove", MANY, |n| {
        let member = member(MANY + n);
        zset.update(&member, |_| Some(scores.random()));
        black_box(zset.remove(&member));
    });
    each(&mut group, "range of 100", MANY - 100, |n| {
        black_box(zset.range(n as usize..n as usize + 100).map(|(_, score)| score).sum::<f64>());
    });
    group.finish();
}

fn stream(c: &mut Criterion) {
    let limits = NodeLimits { max_bytes: 4096, max_entries: 100 };
    let fields: [&[u8]; 4] = [b"sensor", b"1234", b"temperature", b"19.8"];
    let mut log = Log::default();
    (1..=MANY).for_each(|n| log.append(StreamId::new(n, 0), &fields, limits));
    let mut group = c.benchmark_group("stream of a million");
    each(&mut group, "range of 10", MANY - 10, |n| {
        let items = log.range(StreamId::new(n, 0), StreamId::MAX).take(10);
        black_box(items.map(|item| item.fields.count()).sum::<usize>());
    });
    let mut next = MANY;
    group.bench_function("append", |b| {
        b.iter(|| {
            next += 1;
            log.append(StreamId::new(next, 0), &fields, limits);
        });
    });
    group.finish();
}

fn hyperloglog(c: &mut Criterion) {
    let filled = |elements: u64| {
        let mut hll = hyperloglog::new();
        for n in 0..elements {
            hyperloglog::add(&mut hll, &member(n), SPARSE_MAX).expect("a whole HyperLogLog");
        }
        hll
    };
    for (name, elements) in [("sparse hyperloglog", 500), ("dense hyperloglog", 100_000)] {
        let hll = filled(elements);
        let mut group = c.benchmark_group(name);
        let mut changing = hll.clone();
        each(&mut group, "add", elements, |n| {
            black_box(hyperloglog::add(&mut changing, &member(n), SPARSE_MAX).is_ok());
        });
        group.bench_function("count", |b| b.iter(|| black_box(hyperloglog::count(&hll).is_ok())));
        group.bench_function("merge", |b| {
            let mut registers = Registers::default();
            b.iter(|| black_box(registers.merge(&hll).is_ok()));
        });
        group.finish();
    }
}

criterion_group!(benches, listpack, intset, quicklist, set, hash, sorted_set, stream, hyperloglog);
criterion_main!(benches);
