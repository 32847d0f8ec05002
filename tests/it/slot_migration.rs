//! Slots that move as one, from one node to another.

use crate::harness::replication::{EMPTY_RDB, FakePrimary};
use crate::harness::{Raw, Server, free_port, wait_for};

/// A node that knows no other and owns nothing, and the port of its bus.
fn node() -> (Server, String) {
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
        "--repl-diskless-sync-delay",
        "0",
    ]);
    s.line("CLUSTER BUMPEPOCH");
    (s, bus)
}

/// A node that owns all slots, and one that owns none.
fn pair() -> (Server, Server) {
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

/// Has the target import the slot of `bar`. The source's side is the test's.
fn import(source: &mut Server, target: &mut Server) -> Raw {
    let id = source.line("CLUSTER MYID");
    let mut link = target.raw();
    let name = "b".repeat(40);
    let establish = ["CLUSTER", "SYNCSLOTS", "ESTABLISH", "SOURCE", &id, "NAME", &name];
    link.command(&[&establish[..], &["SLOTSRANGE", "5061", "5061"]].concat());
    assert_eq!(link.line(), "+OK");
    link.command(&["CLUSTER", "SYNCSLOTS", "ACK"]);
    link
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
    let mut link = import(&mut source, &mut target);
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

/// What the bus tells of waits until a script has ended.
#[test]
fn a_script_sees_its_keys_to_its_end() {
    let (mut source, mut target) = pair();
    source.check(&[("CONFIG SET busy-reply-threshold 1", "OK"), ("SET bar 1", "OK")]);
    let (from, to) = (source.line("CLUSTER MYID"), target.line("CLUSTER MYID"));
    let script = "redis.call('get', KEYS[1])
        repeat
            local slots = cjson.encode(redis.call('cluster', 'slots'))
        until string.find(slots, ARGV[1], 1, true)
        return redis.call('dbsize')";
    let mut link = source.raw();
    link.command(&["EVAL", script, "1", "bar", &to]);
    wait_for("the script to be busy", || source.line("GET bar").starts_with("BUSY").then_some(()));
    target.check(&[
        (&format!("CLUSTER SETSLOT 5061 IMPORTING {from}"), "OK"),
        (&format!("CLUSTER SETSLOT 5061 NODE {to}"), "OK"),
    ]);
    assert_eq!(link.line(), ":1");
    source.wait_for("DBSIZE", |size| size == ":0");
    source.check(&[("GET bar", &format!("MOVED 5061 127.0.0.1:{}", target.port))]);
}

/// So does what comes of a slot that moves.
#[test]
fn an_import_waits_for_a_script() {
    let (mut source, mut target) = pair();
    target.check(&[("CONFIG SET busy-reply-threshold 1", "OK")]);
    let mut link = import(&mut source, &mut target);
    let _script = target.busy("while true do end");
    link.command(&["SET", "bar", "1"]);
    assert!(target.line("PING").starts_with("BUSY"));
    target.check(&[("SCRIPT KILL", "OK")]);
    target.wait_for("CLUSTER COUNTKEYSINSLOT 5061", |count| count == ":1");
    assert!(target.line("CLUSTER GETSLOTMIGRATIONS").contains("state receiving-snapshot"));
}

/// What a replica of an importing primary gets with the snapshot is hidden there, too.
#[test]
fn a_replica_that_comes_in_the_midst_knows_what_is_imported() {
    let (mut source, mut target) = pair();
    let mut link = import(&mut source, &mut target);
    link.command(&["SET", "bar", "1"]);
    target.wait_for("CLUSTER COUNTKEYSINSLOT 5061", |count| count == ":1");
    let (mut replica, bus) = node();
    let id = target.line("CLUSTER MYID");
    target.check(&[(&format!("CLUSTER MEET 127.0.0.1 {} {bus}", replica.port), "OK")]);
    replica.wait_for(&format!("CLUSTER REPLICATE {id}"), |answer| answer == "OK");
    replica.wait_info("master_link_status", "up");
    replica.check(&[("CLUSTER COUNTKEYSINSLOT 5061", ":1"), ("DBSIZE", ":0")]);
    assert!(replica.line("CLUSTER GETSLOTMIGRATIONS").contains("state occurring-on-primary "));
    drop(link);
    wait_until(&mut replica, "failed", 1);
    replica.wait_for("CLUSTER COUNTKEYSINSLOT 5061", |count| count == ":0");
}

/// A replica of a node that owns the lower half of the slots; another one owns the rest.
fn replica_of(fake: &FakePrimary, other: &str) -> Server {
    let [me, primary] = ["a", "b"].map(|name| name.repeat(40));
    let (dir, bus, port) = (tempfile::tempdir().unwrap(), free_port(), fake.port);
    let nodes = format!(
        "{me} 127.0.0.1:1@{bus},,tls-port=0,shard-id={primary} myself,slave {primary} 0 0 2 connected\n\
         {primary} 127.0.0.1:{port}@{bus},,tls-port=0,shard-id={primary} master - 0 0 2 connected 0-8191\n\
         {other} 127.0.0.1:1@{bus},,tls-port=0,shard-id={other} master - 0 0 1 connected 8192-16383\n\
         vars currentEpoch 2 lastVoteEpoch 0\n"
    );
    std::fs::write(dir.path().join("nodes.conf"), nodes).unwrap();
    Server::start_in(dir, &["--cluster-enabled", "yes", "--cluster-node-timeout", "600000"])
}

#[test]
fn a_replica_counts_what_a_slot_costs_it() {
    let fake = FakePrimary::new();
    let mut replica = replica_of(&fake, &"c".repeat(40));
    let mut link = fake.full_sync(1, EMPTY_RDB);
    replica.wait_info("master_link_status", "up");
    replica.check(&[("CONFIG SET cluster-slot-stats-enabled yes", "OK")]);
    link.command(&["SET", "bar", "1"]);
    replica.wait_for("CLUSTER SLOT-STATS SLOTSRANGE 5061 5061", |stats| {
        stats.contains("key-count :1") && stats.contains("bytes-in :29 network-bytes-out :0]")
    });
}

/// So is what an importing Valkey sends, which also tells of slots that move key by key.
#[test]
fn a_replica_hears_of_slots_that_move_with_the_snapshot() {
    let fake = FakePrimary::new();
    let [other, job] = ["c", "d"].map(|name| name.repeat(40));
    let mut replica = replica_of(&fake, &other);
    let states = format!("5061>{other},1<{other},2>{job},no slot,");
    let mut rdb = b"VALKEY080\xfa\x13cluster-slot-states".to_vec();
    rdb.extend([0x40, states.len() as u8]);
    rdb.extend(states.as_bytes());
    rdb.extend(b"\xf3\x28");
    rdb.extend(job.as_bytes());
    rdb.extend(b"\x01\x6f\x96\x6f\x96\xfe\x00\x00\x03foo\x011\x00\x03bar\x012\xff\0\0\0\0\0\0\0\0");
    let mut link = fake.full_sync(1, &rdb);
    replica.wait_info("master_link_status", "up");
    replica.check(&[("KEYS *", "[bar]"), ("CLUSTER COUNTKEYSINSLOT 12182", ":1")]);
    let nodes = replica.line("CLUSTER NODES");
    assert!(nodes.contains(&format!(" [1-<-{other}] [5061->-{other}]\n")), "{nodes}");
    link.command(&["CLUSTER", "SYNCSLOTS", "FINISH", "STATE", "SUCCESS", "NAME", &job]);
    wait_until(&mut replica, "success", 1);
    replica.check(&[("DBSIZE", ":2")]);
}
