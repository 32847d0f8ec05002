//! Keys that go when memory is short (`maxmemory`): which, how many, and who hears of it.

use crate::harness::{Server, wait_for};

/// A pipeline of `count` commands, made from their numbers.
fn fill(server: &Server, count: usize, command: impl Fn(usize) -> String) {
    let mut raw = server.raw();
    for start in (0..count).step_by(100) {
        let end = (start + 100).min(count);
        raw.send((start..end).map(|i| command(i) + "\r\n").collect::<String>());
        (start..end).for_each(|_| assert!(!raw.line().starts_with('-')));
    }
}

/// Takes away `bytes` of the room that there is, and waits until no key goes any more.
fn shrink(server: &mut Server, bytes: i64) {
    let limit = (server.info("used_memory") - bytes).to_string();
    assert_eq!(server.text(&["CONFIG", "SET", "maxmemory", &limit]), "OK");
    server.wait_info("current_eviction_exceeded_time", "0");
    assert!(server.info("evicted_keys") > 0);
}

#[test]
fn eviction_goes_on_without_commands_and_is_propagated() {
    for (lazy, verb) in [("no", "DEL"), ("yes", "UNLINK")] {
        let mut server = Server::start(&["--lazyfree-lazy-eviction", lazy]);
        let mut stream = server.replication_stream();
        fill(&server, 3, |i| format!("SET key{i} value"));
        server.line("CONFIG SET maxmemory-policy allkeys-lru maxmemory 1");
        stream.expect(&["SELECT 0", "SET * value", "SET * value", "SET * value"]);
        stream.expect(&[format!("{verb} *").as_str(); 3]);
        assert_eq!(server.info("evicted_keys"), 3);
        server.line("CONFIG SET maxmemory 0");
        server.line("SET more value");
        stream.expect(&["SET more value"]);
    }
}

#[test]
fn what_expires_first_goes_first() {
    let mut server = Server::start(&["--maxmemory-policy", "volatile-ttl"]);
    server.line("CONFIG SET maxmemory-samples 64");
    let value = "x".repeat(1000);
    // In a mixed order: 1000 s, 1007 s, ...
    fill(&server, 500, |i| format!("SETEX {} {} {value}", i * 7 % 500, 1000 + i * 7 % 500));
    server.line(&format!("SET persistent {value}"));
    shrink(&mut server, 100_000);
    let gone: Vec<usize> =
        (0..500).filter(|i| server.line(&format!("EXISTS {i}")) == ":0").collect();
    assert!((50..=150).contains(&gone.len()), "{} are gone", gone.len());
    assert!(gone.iter().all(|&i| i < 250), "{gone:?}");
    assert_eq!(server.line("EXISTS persistent"), ":1");
}

#[test]
fn the_few_volatile_keys_are_found_among_many() {
    let mut server = Server::start(&["--maxmemory-policy", "volatile-lru"]);
    let value = "x".repeat(10_000);
    fill(&server, 20_000, |i| format!("SET {i} x"));
    fill(&server, 5, |i| format!("SETEX volatile{i} 1000 {value}"));
    let limit = (server.info("used_memory") - 40_000).to_string();
    server.text(&["CONFIG", "SET", "maxmemory", &limit]);
    wait_for("four keys to go", || (server.info("evicted_keys") >= 4).then_some(()));
    assert_eq!(server.line("EXISTS 0 1 2 19999"), ":4");
}

#[test]
fn at_random_the_databases_take_turns() {
    let mut server = Server::start(&["--maxmemory-policy", "allkeys-random"]);
    let value = "x".repeat(1000);
    for db in [3, 7] {
        let mut raw = server.raw();
        raw.ask(&format!("SELECT {db}"));
        for i in 0..100 {
            raw.ask(&format!("SET {i} {value}"));
        }
    }
    shrink(&mut server, 50_000);
    let mut left = [3, 7].map(|db| {
        server.line(&format!("SELECT {db}"));
        server.line("DBSIZE")[1..].parse::<i64>().expect("a number")
    });
    left.sort_unstable();
    assert!(left[0] < 95 && left[1] - left[0] <= 1, "{left:?}");
}

#[test]
fn what_trackers_are_told_does_not_evict() {
    let mut server = Server::start(&[
        "--maxmemory-policy",
        "allkeys-lru",
        "--maxmemory-eviction-tenacity",
        "100",
    ]);
    let key = |i: usize| format!("{i}{}", "x".repeat(1000));
    fill(&server, 300, |i| format!("SET {} x", key(i)));
    let mut trackers: Vec<_> = (0..10)
        .map(|_| {
            let mut raw = server.raw();
            raw.command(&["HELLO", "3"]);
            raw.command(&["CLIENT", "TRACKING", "on"]);
            (0..300).for_each(|i| raw.command(&["GET", &key(i)]));
            while raw.line() != "$1" {}
            raw
        })
        .collect();
    wait_for("300 tracked keys of ten clients", || {
        (server.info("tracking_total_items") == 3000).then_some(())
    });
    shrink(&mut server, 30_000);
    let evicted = server.info("evicted_keys");
    assert!((10..=50).contains(&evicted), "{evicted}");
    for raw in &mut trackers {
        while !raw.line().starts_with('>') {}
    }
}

#[test]
fn what_waits_for_replicas_does_not_evict() {
    let mut server = Server::start(&["--maxmemory-policy", "allkeys-random"]);
    server.line("CONFIG SET repl-backlog-size 16384");
    server.text(&["CONFIG", "SET", "client-output-buffer-limit", "replica 0 0 0"]);
    // It never reads.
    let replica = server.replication_stream();
    let value = "x".repeat(50_000);
    server.line(&format!("SET key {value}"));
    let limit = (server.info("used_memory") + 300_000).to_string();
    server.text(&["CONFIG", "SET", "maxmemory", &limit]);
    for _ in 0..400 {
        server.line(&format!("SETRANGE key 0 {value}"));
    }
    let (uncounted, of_replicas) =
        (server.info("mem_not_counted_for_evict"), server.info("mem_clients_slaves"));
    assert!(uncounted > 2_000_000 && of_replicas > 2_000_000, "{uncounted} {of_replicas}");
    assert_eq!((server.info("evicted_keys"), server.line("DBSIZE")), (0, ":1".to_string()));
    drop(replica);
    server.wait_info("mem_clients_slaves", "0");
    server.wait_info("evicted_keys", "0");
}

#[test]
fn without_eviction_nothing_may_grow() {
    let mut server = Server::start(&[]);
    server.check(&[("SET key value", "OK"), ("CONFIG SET maxmemory 1", "OK")]);
    let oom = "OOM command not allowed when used memory > 'maxmemory'.";
    server.check(&[
        ("SET key other", oom),
        ("GET key", "value"),
        ("DEL nosuch", ":0"),
        // A queue would grow too.
        ("MULTI", "OK"),
        ("GET key", oom),
        ("DISCARD", "OK"),
    ]);
    wait_for("a millisecond", || (server.info("current_eviction_exceeded_time") > 0).then_some(()));
    server.check(&[("CONFIG SET maxmemory 0", "OK"), ("SET key other", "OK")]);
    assert_eq!(server.info("current_eviction_exceeded_time"), 0);
    assert!(server.info("total_eviction_exceeded_time") > 0);
    server.line("CONFIG RESETSTAT");
    assert_eq!(server.info("total_eviction_exceeded_time"), 0);
}
