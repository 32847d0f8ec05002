//! Benches of the parts: the request parser, the hash beside those of others, the hash table, and the way of a request
//! through the server.

use aeolis::cli;
use aeolis::db::Entry;
use aeolis::db::order::KeyOrder;
use aeolis::ds::hash::HashSeed;
use aeolis::ds::table::Table;
use aeolis::resp::parser::{Parsed, ParserLimits, parse_request};
use aeolis::server::Server;
use aeolis::server::config::Config;
use aeolis::server::connection::Connection;
use aeolis::server::turn::{self, ClientEvent, Event};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use std::hash::{BuildHasher, Hasher};
use std::hint::black_box;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;

const KEYS: u64 = 1_000_000;
const PIPELINE: u64 = 64;

fn request(args: &[&[u8]]) -> Vec<u8> {
    let mut out = Vec::new();
    aeolis::resp::encode::encode_command(args, &mut out);
    out
}

fn key(n: u64) -> [u8; 16] {
    format!("key:{n:012}").into_bytes().try_into().expect("sixteen bytes")
}

fn parser(c: &mut Criterion) {
    let value = [b'x'; 64];
    let one = request(&[b"SET", &key(1), &value]);
    let input = one.repeat(PIPELINE as usize);
    let limits = ParserLimits { max_bulk: 512 << 20, authenticated: true };
    let mut group = c.benchmark_group("parser");
    group.throughput(Throughput::Elements(PIPELINE));
    group.bench_function("64 pipelined SET", |b| {
        let (mut spans, mut partial) = (Vec::new(), None);
        b.iter(|| {
            let mut at = 0;
            spans.clear();
            while let Ok(Parsed::Request { end }) =
                parse_request(&input, at, &mut partial, &mut spans, limits)
            {
                at = end;
            }
            black_box(spans.len())
        });
    });
    group.finish();
}

/// The hash of keys of each length, beside what could stand in its place.
fn hash(c: &mut Criterion) {
    fn with(state: &impl BuildHasher, key: &[u8]) -> u64 {
        let mut hasher = state.build_hasher();
        hasher.write(key);
        hasher.finish()
    }
    let seed = HashSeed::new([1, 2]);
    let foldhash = foldhash::quality::RandomState::default();
    let rapidhash = rapidhash::quality::RandomState::default();
    let siphash = std::hash::RandomState::new();
    let mut rng = SmallRng::seed_from_u64(1);
    let mut group = c.benchmark_group("hash");
    group.throughput(Throughput::Elements(256));
    for len in [8, 16, 32, 64, 256, 1024] {
        let keys: Vec<Vec<u8>> =
            (0..256).map(|_| (0..len).map(|_| rng.random()).collect()).collect();
        let mut bench = |name: &str, hash: &dyn Fn() -> u64| {
            group.bench_function(BenchmarkId::new(name, len), |b| b.iter(hash));
        };
        bench("ours", &|| keys.iter().fold(0, |all, key| all ^ seed.hash(black_box(key))));
        bench("foldhash", &|| {
            keys.iter().fold(0, |all, key| all ^ with(&foldhash, black_box(key)))
        });
        bench("rapidhash", &|| {
            keys.iter().fold(0, |all, key| all ^ with(&rapidhash, black_box(key)))
        });
        bench("siphash", &|| keys.iter().fold(0, |all, key| all ^ with(&siphash, black_box(key))));
    }
    group.finish();
}

fn table(c: &mut Criterion) {
    let seed = HashSeed::new([1, 2]);
    let mut table: Table<Entry> = Table::new(KeyOrder::by_hash(seed));
    for n in 0..KEYS {
        let key = key(n);
        table.insert_unique(table.hash(&key), Entry::string(&key, &[b'x'; 64], None), false);
    }
    let mut rng = SmallRng::seed_from_u64(1);
    let mut group = c.benchmark_group("table of a million keys");
    group.throughput(Throughput::Elements(16));
    group.bench_function("16 gets, one by one", |b| {
        b.iter(|| {
            for _ in 0..16 {
                let key = key(rng.random_range(0..KEYS));
                black_box(table.get(table.hash(&key), &key).map(|e| e.size()));
            }
        });
    });
    group.bench_function("16 gets, prefetched together", |b| {
        b.iter(|| {
            let keys: [[u8; 16]; 16] = std::array::from_fn(|_| key(rng.random_range(0..KEYS)));
            let hashes = keys.map(|key| table.hash(&key));
            hashes.iter().for_each(|hash| table.prefetch_bucket(*hash));
            hashes.iter().for_each(|hash| table.prefetch_entries(*hash, 2));
            for (key, hash) in keys.iter().zip(hashes) {
                black_box(table.get(hash, key).map(|e| e.size()));
            }
        });
    });
    group.finish();
}

/// A whole server without a loop: requests go in through a socket pair, as the loop would see them.
fn dispatch(c: &mut Criterion) {
    let config = Config { save: Vec::new(), ..Config::default() };
    let mut server = Server::new(
        config,
        cli::command_table(),
        SmallRng::seed_from_u64(1),
        aeolis::server::observe::log::Log::silent(),
    );
    server.update_time();
    let (mut ours, theirs) = UnixStream::pair().expect("a socket pair");
    theirs.set_nonblocking(true).expect("a socket that does not block");
    ours.set_nonblocking(true).expect("a socket that does not block");
    let connection = Connection::Unix(mio::net::UnixStream::from_std(theirs));
    let token = server.accept_common_handler(connection).expect("a client");
    let readable = ClientEvent { token, readable: true, writable: false, closed: false };
    let mut rng = SmallRng::seed_from_u64(1);
    let mut replies = vec![0; 1 << 20];
    let mut group = c.benchmark_group("dispatch");
    group.throughput(Throughput::Elements(PIPELINE));
    let mut bench = |name: &str, make: &dyn Fn(u64) -> Vec<u8>| {
        group.bench_function(name, |b| {
            b.iter(|| {
                let input: Vec<u8> =
                    (0..PIPELINE).flat_map(|_| make(rng.random_range(0..KEYS))).collect();
                ours.write_all(&input).expect("room in the socket");
                turn::happened(&mut server, Event::Client(readable));
                turn::turn(&mut server, 1);
                while matches!(ours.read(&mut replies), Ok(n) if n > 0) {}
            });
        });
    };
    bench("64 pipelined SET", &|n| request(&[b"SET", &key(n), &[b'x'; 64]]));
    bench("64 pipelined GET", &|n| request(&[b"GET", &key(n)]));
    bench("64 pipelined PING", &|_| request(&[b"PING"]));
    group.finish();
}

criterion_group!(benches, parser, hash, table, dispatch);
criterion_main!(benches);
