//! Slots that move as one, from one node to another.

use crate::harness::{Server, free_port, wait_for};

/// A node that owns all slots, and one that owns none.
fn pair() -> (Server, Server) {
    let node = || {
        let bus = free_port().to_string();
        let mut s = Server::start(&[
            "--cluster-enabled",
            "yes",
            "--cluster-port",
            &bus,
            "--cluster-require-full-coverage",
            "no",
            "--cluster-node-timeout",
            "60000",
            "--cluster-allow-replica-migration",
            "no",
        ]);
        s.line("CLUSTER BUMPEPOCH");
        (s, bus)
    };
    let ((mut source, _), (mut target, bus)) = (node(), node());
    source.check(&[("CLUSTER ADDSLOTSRANGE 0 16383", "OK")]);
    let port = target.port;
    source.check(&[(&format!("CLUSTER MEET 127.0.0.1 {port} {bus}"), "OK")]);
    for s in [&mut source, &mut target] {
        s.wait_for("CLUSTER INFO", |info| {
            info.contains("cluster_state:ok") && info.contains("cluster_slots_assigned:16384")
        });
    }
    (source, target)
}

fn migrate(source: &mut Server, target: &mut Server, ranges: &str) {
    let id = target.line("CLUSTER MYID");
    source.check(&[(&format!("CLUSTER MIGRATESLOTS SLOTSRANGE {ranges} NODE {id}"), "OK")]);
}

/// Waits until so many moves have come to this end.
fn wait_until(s: &mut Server, state: &str, count: usize) {
    let state = format!("state {state} ");
    s.wait_for("CLUSTER GETSLOTMIGRATIONS", |jobs| jobs.matches(&state).count() == count);
}

#[test]
fn a_slot_moves_with_all_its_keys() {
    let (mut source, mut target) = pair();
    for n in 0..2000 {
        source.line(&format!("SET {{bar}}{n} {n}"));
    }
    source.check(&[
        ("RPUSH {bar}list a b c", ":3"),
        ("SADD {bar}set 1 2 x", ":3"),
        ("HSET {bar}hash f v g w", ":2"),
        ("ZADD {bar}zset 1 a 2 b", ":2"),
        ("XADD {bar}stream 1-1 f v", "1-1"),
        ("SET {bar}volatile v EX 1000", "OK"),
        ("SET foo stays", "OK"),
    ]);
    migrate(&mut source, &mut target, "5061 5061");
    wait_until(&mut source, "success", 1);
    wait_until(&mut target, "success", 1);
    let moved = format!("MOVED 5061 127.0.0.1:{}", target.port);
    source.check(&[("GET {bar}7", &moved), ("GET foo", "stays")]);
    target.check(&[
        ("CLUSTER COUNTKEYSINSLOT 5061", ":2006"),
        ("DBSIZE", ":2006"),
        ("GET {bar}7", "7"),
        ("LRANGE {bar}list 0 -1", "[a b c]"),
        ("SCARD {bar}set", ":3"),
        ("HGET {bar}hash g", "w"),
        ("ZRANGE {bar}zset 0 -1", "[a b]"),
        ("XLEN {bar}stream", ":1"),
        ("SET {bar}7 here", "OK"),
    ]);
    assert!(target.line("TTL {bar}volatile").trim_start_matches(':').parse::<i64>().unwrap() > 900);
    // What is left at the source goes bit by bit, and nobody sees it.
    source.check(&[("DBSIZE", ":1")]);
    source.wait_for("CLUSTER COUNTKEYSINSLOT 5061", |count| count == ":0");
    // And back again.
    migrate(&mut target, &mut source, "5061 5061");
    wait_until(&mut target, "success", 2);
    source.check(&[("CLUSTER COUNTKEYSINSLOT 5061", ":2006"), ("GET {bar}7", "here")]);
}

/// Writes that come while keys are sent get there, whether the keys that they are about have been sent or not.
#[test]
fn writes_meanwhile_are_not_lost() {
    let (mut source, mut target) = pair();
    let value = "v".repeat(1000);
    for n in 0..5000 {
        source.line(&format!("SET {{bar}}{n} {value}"));
    }
    for n in 0..100 {
        source.line(&format!("RPUSH {{bar}}list{n} a b"));
    }
    migrate(&mut source, &mut target, "5061 5061");
    let mut expected = std::collections::BTreeMap::new();
    for round in 0.. {
        let n = round % 100;
        let (from, to) = (format!("{{bar}}list{n}"), format!("{{bar}}list{}", (n + 31) % 100));
        if source.line(&format!("LMOVE {from} {to} LEFT RIGHT")).starts_with("MOVED") {
            break;
        }
        if source.line(&format!("SET {{bar}}{n} {round}")) == "OK" {
            expected.insert(n, round);
        }
        source.line(&format!("INCR {{bar}}counter{n}"));
    }
    wait_until(&mut source, "success", 1);
    wait_until(&mut target, "success", 1);
    for (n, round) in &expected {
        assert_eq!(target.line(&format!("GET {{bar}}{n}")), round.to_string(), "{n}");
    }
    let length = |s: &mut Server, n| s.line(&format!("LLEN {{bar}}list{n}"));
    let total: i64 = (0..100)
        .map(|n| length(&mut target, n).trim_start_matches(':').parse::<i64>().unwrap())
        .sum();
    assert_eq!(total, 200);
}

#[test]
fn what_can_not_move_is_refused() {
    let (mut source, mut target) = pair();
    let (me, other) = (source.line("CLUSTER MYID"), target.line("CLUSTER MYID"));
    let migrate = |rest: &str| format!("CLUSTER MIGRATESLOTS {rest}");
    for (rest, error) in [
        (format!("SLOTSRANGE 0 0 NODE {me}"), "ERR Target node can not be this node."),
        (format!("SLOTSRANGE 0 16384 NODE {other}"), "ERR Invalid or out of range slot"),
        (
            format!("SLOTSRANGE 5 4 NODE {other}"),
            "ERR Start slot number 5 is greater than end slot number 4.",
        ),
        (format!("SLOTSRANGE 5 NODE {other} x"), "ERR No end slot for final slot range"),
        (
            format!("SLOTSRANGE 0 5 4 9 NODE {other}"),
            "ERR Slot range 4-9 overlaps with previous range 0-5.",
        ),
        ("SLOTSRANGE 0 0 NODE abc".into(), "ERR Invalid node name: abc"),
        (
            format!("SLOTSRANGE 0 0 NODE {}", "a".repeat(40)),
            &format!("ERR Unknown node name: {}", "a".repeat(40)),
        ),
        (format!("SLOTS 0 0 NODE {other}"), "ERR syntax error"),
    ] {
        assert_eq!(source.line(&migrate(&rest)), error, "{rest}");
    }
    source.check(&[
        ("CLUSTER CANCELSLOTMIGRATIONS", "ERR No migrations ongoing"),
        ("CLUSTER GETSLOTMIGRATIONS", "[]"),
        (
            "CLUSTER SYNCSLOTS ACK",
            "ERR CLUSTER SYNCSLOTS ACK should only be used by slot migration clients",
        ),
        ("CLUSTER SYNCSLOTS NONSENSE", "ERR syntax error"),
    ]);
    let not_mine = migrate(&format!("SLOTSRANGE 0 0 NODE {me}"));
    target.check(&[(&not_mine, "ERR Slots are not served by this node.")]);
}

/// The source's side is played by the test, which leaves half-way.
#[test]
fn what_was_imported_is_hidden_and_deleted_when_the_source_leaves() {
    let (mut source, mut target) = pair();
    let id = source.line("CLUSTER MYID");
    let mut link = target.raw();
    let name = "b".repeat(40);
    link.command(&[
        "CLUSTER",
        "SYNCSLOTS",
        "ESTABLISH",
        "SOURCE",
        &id,
        "NAME",
        &name,
        "SLOTSRANGE",
        "5061",
        "5061",
    ]);
    assert_eq!(link.line(), "+OK");
    link.command(&["CLUSTER", "SYNCSLOTS", "ACK"]);
    link.command(&["SET", "bar", "1"]);
    target.wait_for("CLUSTER COUNTKEYSINSLOT 5061", |count| count == ":1");
    target.check(&[
        ("DBSIZE", ":0"),
        ("KEYS *", "[]"),
        ("SCAN 0 COUNT 100", "[0 []]"),
        ("RANDOMKEY", "nil"),
        ("GET bar", &format!("MOVED 5061 127.0.0.1:{}", source.port)),
    ]);
    drop(link);
    wait_until(&mut target, "failed", 1);
    target.check(&[("CLUSTER COUNTKEYSINSLOT 5061", ":0")]);
    wait_for("the source to be asked again", || source.line("SET bar 2").eq("OK").then_some(()));
}
