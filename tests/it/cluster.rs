//! A cluster of one node over the wire: slots, what is refused because of them, and the file that keeps them.

use crate::harness::replication::FakeReplica;
use crate::harness::{Server, free_port};

const DISABLED: &str = "ERR This instance has cluster support disabled";
const CROSS_SLOT: &str = "CROSSSLOT Keys in request don't hash to the same slot";
const NOT_SERVED: &str = "CLUSTERDOWN Hash slot not served";

fn node() -> Server {
    let mut s = Server::start(&["--cluster-enabled", "yes"]);
    s.check(&[("CLUSTER ADDSLOTSRANGE 0 16383", "OK")]);
    s
}

#[test]
fn without_a_cluster_there_are_no_slots() {
    let mut s = Server::start(&[]);
    s.check(&[
        ("CLUSTER INFO", DISABLED),
        ("CLUSTER KEYSLOT foo", DISABLED),
        ("CLUSTER HELP", DISABLED),
        ("ASKING", DISABLED),
        ("READONLY", DISABLED),
        ("MSET a 1 b 2", "OK"),
    ]);
    assert_eq!(s.info("cluster_enabled"), 0);
    assert_eq!(s.info_text("redis_mode").as_deref(), Some("standalone"));
}

#[test]
fn slots_are_assigned_and_shown() {
    let mut s = Server::start(&["--cluster-enabled", "yes"]);
    let id = s.line("CLUSTER MYID");
    assert_eq!(id.len(), 40);
    s.check(&[
        ("SET foo 1", NOT_SERVED),
        ("CLUSTER SLOTS", "[]"),
        ("CLUSTER ADDSLOTS 16384", "ERR Invalid or out of range slot"),
        ("CLUSTER ADDSLOTS 1 1", "ERR Slot 1 specified multiple times"),
        ("CLUSTER ADDSLOTSRANGE 5 4", "ERR start slot number 5 is greater than end slot number 4"),
        (
            "CLUSTER ADDSLOTSRANGE 5",
            "ERR wrong number of arguments for 'cluster|addslotsrange' command",
        ),
        ("CLUSTER ADDSLOTS 0 1 2 5", "OK"),
        ("CLUSTER ADDSLOTS 9 1", "ERR Slot 1 is already busy"),
        ("CLUSTER DELSLOTS 1 9", "ERR Slot 9 is already unassigned"),
        ("CLUSTER DELSLOTS 1", "OK"),
        ("CLUSTER COUNT-FAILURE-REPORTS x", "ERR Unknown node x"),
        ("CLUSTER KEYSLOT foo", ":12182"),
        ("CLUSTER KEYSLOT x{foo}y", ":12182"),
        ("CLUSTER LINKS", "[]"),
        ("CLUSTER BUMPEPOCH", "BUMPED 1"),
        ("CLUSTER BUMPEPOCH", "STILL 1"),
    ]);
    let nodes = s.line("CLUSTER NODES");
    assert!(nodes.starts_with(&format!("{id} :")), "{nodes}");
    assert!(nodes.ends_with(" myself,master - 0 0 1 connected 0 2 5\n"), "{nodes}");
    let slots = s.line("CLUSTER SLOTS");
    assert!(slots.contains(&id) && slots.contains(":2") && slots.contains(":5"), "{slots}");
    let info = s.line("CLUSTER INFO");
    assert!(info.starts_with("cluster_state:fail\r\ncluster_slots_assigned:3\r\n"), "{info}");
    s.check(&[("CLUSTER FLUSHSLOTS", "OK"), ("CLUSTER ADDSLOTSRANGE 0 16383", "OK")]);
    let info = s.line("CLUSTER INFO");
    assert!(info.starts_with("cluster_state:ok\r\ncluster_slots_assigned:16384\r\n"), "{info}");
    assert_eq!(s.info("cluster_enabled"), 1);
    assert!(s.line("HELLO").contains("mode cluster"), "{}", s.line("HELLO"));
    assert_eq!(s.info_text("redis_mode").as_deref(), Some("cluster"));
}

#[test]
fn keys_of_one_request_share_a_slot() {
    let mut s = node();
    s.check(&[
        ("SET foo 1", "OK"),
        ("MSET {foo}a 1 {foo}b 2 foo 3", "OK"),
        ("MSET foo 1 bar 2", CROSS_SLOT),
        ("DEL foo bar", CROSS_SLOT),
        ("SUNIONSTORE {a}1 {a}2 {b}3", CROSS_SLOT),
        ("ZUNIONSTORE {a}1 2 {a}2 {a}3", ":0"),
        ("SORT {foo}list BY {foo}w* GET {bar}*",
         "ERR GET option of SORT denied in Cluster mode when keys formed by the pattern may be in different slots."),
        ("SORT {foo}list BY w*",
         "ERR BY option of SORT denied in Cluster mode when keys formed by the pattern may be in different slots."),
        ("SORT {foo}list BY {foo}w* GET {foo}* GET #", "[]"),
        ("PUBLISH any thing", ":0"),
        ("SPUBLISH foo thing", ":0"),
        ("CLUSTER COUNTKEYSINSLOT 12182", ":3"),
        ("CLUSTER GETKEYSINSLOT 12182 0", "[]"),
        ("CLUSTER FLUSHSLOTS", "ERR DB must be empty to perform CLUSTER FLUSHSLOTS."),
        ("CLUSTER RESET", "ERR CLUSTER RESET can't be called with master nodes containing keys"),
        ("SELECT 1", "ERR SELECT is not allowed in cluster mode"),
        ("SELECT 0", "OK"),
        ("MOVE foo 1", "ERR MOVE is not allowed in cluster mode"),
        ("SWAPDB 0 1", "ERR SWAPDB is not allowed in cluster mode"),
        ("COPY foo {foo}c DB 1", "ERR Copying to another database is not allowed in cluster mode"),
        ("REPLICAOF 127.0.0.1 1", "ERR REPLICAOF not allowed in cluster mode."),
        ("READONLY", "OK"),
        ("ASKING", "OK"),
    ]);
}

#[test]
fn a_transaction_stays_in_one_slot() {
    let mut s = node();
    s.check(&[
        ("MULTI", "OK"),
        ("SET foo 1", "QUEUED"),
        ("SET bar 1", "QUEUED"),
        ("EXEC", CROSS_SLOT),
        ("MULTI", "OK"),
        ("MSET foo 1 bar 2", CROSS_SLOT),
        ("EXEC", "EXECABORT Transaction discarded because of previous errors."),
        ("MULTI", "OK"),
        ("SET foo 1", "QUEUED"),
        ("GET {foo}", "QUEUED"),
        ("EXEC", "[OK nil]"),
    ]);
}

#[test]
fn what_is_not_covered_is_down_if_it_is_asked_for() {
    let mut s = node();
    s.check(&[
        ("SET foo 1", "OK"),
        ("CLUSTER DELSLOTS 5061", "OK"),
        ("GET foo", "CLUSTERDOWN The cluster is down"),
        ("GET bar", NOT_SERVED),
        ("CONFIG SET cluster-allow-reads-when-down yes", "OK"),
        ("GET foo", "1"),
        ("SET foo 2", "CLUSTERDOWN The cluster is down and only accepts read commands"),
        ("CONFIG SET cluster-require-full-coverage no", "OK"),
        ("SET foo 2", "OK"),
        ("SET bar 2", NOT_SERVED),
    ]);
}

#[test]
fn the_node_remembers_its_name_and_slots() {
    let mut s = node();
    let (id, nodes) = (s.line("CLUSTER MYID"), s.line("CLUSTER NODES"));
    let shard = s.line("CLUSTER MYSHARDID");
    let file = std::fs::read_to_string(s.dir().join("nodes.conf")).unwrap();
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("other.conf"), &file).unwrap();
    let mut again = Server::start(&[
        "--cluster-enabled",
        "yes",
        "--cluster-config-file",
        dir.path().join("other.conf").to_str().unwrap(),
    ]);
    assert_eq!(again.line("CLUSTER MYID"), id);
    assert_eq!(again.line("CLUSTER MYSHARDID"), shard);
    let slots = |nodes: &str| nodes.split("connected").nth(1).map(str::to_owned);
    assert_eq!(slots(&again.line("CLUSTER NODES")), slots(&nodes));
    again.check(&[("CLUSTER RESET HARD", "OK"), ("CLUSTER SLOTS", "[]")]);
    assert_ne!(again.line("CLUSTER MYID"), id);
}

#[test]
fn a_script_keeps_to_a_slot() {
    let mut s = node();
    let cross = "ERR Script attempted to access keys that do not hash to the same slot script: ";
    for (script, keys, beginning) in [
        ("return redis.call('set', 'a', 1)", vec![], "OK"),
        ("redis.call('set', 'a', 1) return redis.call('set', 'b', 1)", vec![], "OK"),
        ("#!lua\nredis.call('set', 'a', 1) return redis.call('set', 'b', 1)", vec![], cross),
        ("#!lua\nreturn redis.call('set', 'b', 1)", vec!["a"], cross),
        ("#!lua\nreturn redis.call('set', 'b{a}', 1)", vec!["a"], "OK"),
        ("#!lua flags=allow-cross-slot-keys\nreturn redis.call('set', 'b', 1)", vec!["a"], "OK"),
        (
            "#!lua flags=no-cluster\nreturn 1",
            vec![],
            "ERR Can not run script on cluster, 'no-cluster' flag is set.",
        ),
        (
            "return redis.call('mget', 'a', 'b')",
            vec![],
            "ERR Command 'mget' in script attempted to access keys that don't hash to the same slot script: ",
        ),
    ] {
        let count = keys.len().to_string();
        let command = [vec!["EVAL", script, &count], keys].concat();
        let reply = s.text(&command);
        assert!(reply.starts_with(beginning), "{script}: {reply}");
    }
    s.check(&[
        ("CLUSTER DELSLOTS 15495", "OK"),
        ("CONFIG SET cluster-require-full-coverage no", "OK"),
    ]);
    let reply = s.text(&["EVAL", "return redis.call('get', 'a')", "0"]);
    assert!(
        reply.starts_with("ERR Script attempted to access a slot not served script: "),
        "{reply}"
    );
}

#[test]
fn keys_are_found_by_the_slot() {
    let mut s = node();
    for n in 0..300 {
        s.line(&format!("SET {{foo}}{n} v"));
        s.line(&format!("SET other:{n} v PX 100000"));
    }
    s.check(&[
        ("CLUSTER COUNTKEYSINSLOT 12182", ":300"),
        ("CLUSTER COUNTKEYSINSLOT 0", ":0"),
        ("CLUSTER GETKEYSINSLOT 0 10", "[]"),
        ("DEL {foo}0", ":1"),
        ("CLUSTER COUNTKEYSINSLOT 12182", ":299"),
        ("DBSIZE", ":599"),
    ]);
    let listed = |reply: &str, start: &str| reply.matches(start).count();
    assert_eq!(listed(&s.line("CLUSTER GETKEYSINSLOT 12182 7"), "{foo}"), 7);
    assert_eq!(listed(&s.line("CLUSTER GETKEYSINSLOT 12182 1000"), "{foo}"), 299);
    // All of a scan, and one that can only be about one slot.
    for (command, keys) in
        [("SCAN 0 COUNT 10000", 599), ("SCAN 0 MATCH {foo}* COUNT 1000", 299), ("KEYS {foo}*", 299)]
    {
        let reply = s.line(command);
        assert_eq!(listed(&reply, "{foo}") + listed(&reply, "other:"), keys, "{command}: {reply}");
    }
    s.check(&[("FLUSHALL", "OK"), ("CLUSTER COUNTKEYSINSLOT 12182", ":0"), ("RANDOMKEY", "nil")]);
}

#[test]
fn a_slot_is_flushed() {
    let mut s = node();
    s.check(&[
        ("MSET {foo}1 a {foo}2 b {foo}3 c", "OK"),
        ("SET bar d", "OK"),
        ("CONFIG SET notify-keyspace-events KA", "OK"),
    ]);
    let mut replica = s.replication_stream();
    let mut watcher = s.raw();
    watcher.send("PSUBSCRIBE __keyspace*\r\n");
    watcher.expect("*3\r\n$10\r\npsubscribe\r\n$11\r\n__keyspace*\r\n:1\r\n");
    s.check(&[
        ("CLUSTER FLUSHSLOT 12182 SYNC", "OK"),
        ("CLUSTER COUNTKEYSINSLOT 12182", ":0"),
        ("EXISTS bar", ":1"),
        ("CLUSTER FLUSHSLOT 12182", "OK"),
        ("SET {foo}1 a", "OK"),
        ("CLUSTER FLUSHSLOT 12182 async", "OK"),
        ("DBSIZE", ":1"),
    ]);
    // Replicas that don't know the command are told of the keys, in whatever order.
    replica.expect(&["SELECT 0", "DEL *", "DEL *", "DEL *", "SET {foo}1 a", "UNLINK {foo}1"]);
    for _ in 0..3 {
        let key = "*4\r\n$8\r\npmessage\r\n$11\r\n__keyspace*\r\n$21\r\n__keyspace@0__:{foo}";
        watcher.expect(key);
        assert!(watcher.line().parse::<u8>().is_ok());
        watcher.expect("$3\r\ndel\r\n");
    }
    let too_many =
        "ERR unknown subcommand or wrong number of arguments for 'FLUSHSLOT'. Try CLUSTER HELP.";
    s.check(&[
        ("CLUSTER FLUSHSLOT", "ERR wrong number of arguments for 'cluster|flushslot' command"),
        ("CLUSTER FLUSHSLOT x", "ERR Invalid or out of range slot"),
        ("CLUSTER FLUSHSLOT 16384", "ERR Invalid or out of range slot"),
        ("CLUSTER FLUSHSLOT -1 NOW", "ERR Invalid or out of range slot"),
        ("CLUSTER FLUSHSLOT 1 NOW", "ERR syntax error"),
        ("CLUSTER FLUSHSLOT x SYNC ASYNC", too_many),
        ("MULTI", "OK"),
        ("CLUSTER FLUSHSLOT 1", "QUEUED"),
        ("EXEC", "[OK]"),
    ]);
}

#[test]
fn a_node_may_be_the_replica_of_none() {
    let mut s = node();
    let error =
        "ERR unknown subcommand or wrong number of arguments for 'REPLICATE'. Try CLUSTER HELP.";
    s.check(&[
        ("CLUSTER REPLICATE NO ONE", "OK"),
        ("CLUSTER REPLICATE no one", "OK"),
        ("CLUSTER REPLICATE NO", "ERR Unknown node NO"),
        ("CLUSTER REPLICATE NO TWO", error),
        ("CLUSTER REPLICATE NO ONE x", error),
    ]);
}

/// The cursor and the keys of a step of CLUSTERSCAN.
fn scan_step(s: &mut Server, request: &str) -> (String, Vec<String>) {
    let reply = s.line(request);
    let (cursor, keys) = reply[1..reply.len() - 2].split_once(" [").expect("a cursor and keys");
    (cursor.to_string(), keys.split_whitespace().map(str::to_string).collect())
}

/// All keys that CLUSTERSCAN finds with some options, in order, and how many steps it took.
fn scan_all(s: &mut Server, options: &str) -> (Vec<String>, usize) {
    let (mut cursor, mut all, mut steps) = ("0".to_string(), Vec::new(), 0);
    loop {
        let (next, keys) = scan_step(s, &format!("CLUSTERSCAN {cursor} {options}"));
        all.extend(keys);
        steps += 1;
        if next == "0" {
            all.sort();
            return (all, steps);
        }
        cursor = next;
    }
}

#[test]
fn the_keys_of_the_cluster_are_scanned() {
    let mut s = node();
    let mut all: Vec<String> = (0..300).map(|n| format!("k{n}")).collect();
    all.extend((0..500).map(|n| format!("{{a}}{n}")));
    all.iter().for_each(|key| assert_eq!(s.line(&format!("SET {key} v")), "OK"));
    s.check(&[("LPUSH {a}list x", ":1"), ("SET {a}gone v PX 1", "OK")]);
    all.push("{a}list".into());
    all.sort();
    s.check(&[("CLUSTERSCAN 0", "[0-{06S}-0 []]"), ("CLUSTERSCAN 0 SLOT 1", "[0-{Qi}-0 []]")]);
    let (found, steps) = scan_all(&mut s, "");
    assert_eq!(found, all);
    assert!(steps > 20, "{steps}");
    assert_eq!(scan_all(&mut s, "COUNT 1000"), (all.clone(), 2));
    let tagged: Vec<String> = all.iter().filter(|key| key.starts_with("{a}")).cloned().collect();
    assert_eq!(scan_all(&mut s, "SLOT 15495").0, tagged);
    assert_eq!(scan_all(&mut s, "MATCH {a}* COUNT 1000"), (tagged, 2));
    assert_eq!(scan_all(&mut s, "TYPE list").0, ["{a}list"]);
    assert_eq!(scan_all(&mut s, "MATCH k12 COUNT 20").0, ["k12"]);
    assert_eq!(scan_all(&mut s, "SLOT 1"), (vec![], 2));
    // A place in another process's tables means nothing here.
    let (cursor, _) = scan_step(&mut s, "CLUSTERSCAN 0-{a}-0 SLOT 15495 COUNT 5");
    let (_, position) = cursor.rsplit_once('-').expect("a cursor");
    assert_eq!(
        scan_step(&mut s, &format!("CLUSTERSCAN other-{{a}}-{position} COUNT 5")),
        scan_step(&mut s, "CLUSTERSCAN 0-{a}-0 COUNT 5")
    );
    assert!(scan_step(&mut s, &format!("CLUSTERSCAN {cursor} COUNT 5")).1.len() >= 5);
}

#[test]
fn a_scan_of_the_cluster_follows_its_tags() {
    let mut s = node();
    s.check(&[
        ("CLUSTERSCAN 0 MATCH {a}*", "[0-{a}-0 []]"),
        ("CLUSTERSCAN 0 MATCH {a}* SLOT 1", "[0 []]"),
        ("CLUSTERSCAN 0-{06S}-0 MATCH {a}*", "[0-{a}-0 []]"),
        ("CLUSTERSCAN 0-{a}-0 MATCH {06S}*", "[0 []]"),
        ("CLUSTERSCAN 0-{06S}-0 MATCH {a}* SLOT 0", "[0 []]"),
        ("CLUSTERSCAN 0-{06S}-0 SLOT 1", "ERR Cursor slot mismatch with SLOT argument"),
        ("CLUSTERSCAN 0 SLOT 1 SLOT 1", "ERR SLOT option can only be specified once"),
        ("CLUSTERSCAN x SLOT 16384", "ERR Invalid or out of range slot"),
        ("CLUSTERSCAN 0 TYPE thing", "ERR unknown type name 'thing'"),
        ("CLUSTERSCAN 0 COUNT 0", "ERR syntax error"),
        ("CLUSTERSCAN 0 SLOT", "ERR syntax error"),
        ("CLUSTERSCAN 0 FOO bar", "ERR syntax error"),
        ("CLUSTERSCAN", "ERR wrong number of arguments for 'clusterscan' command"),
        ("COMMAND GETKEYS CLUSTERSCAN 0", "ERR The command has no key arguments"),
    ]);
    for cursor in ["x", "00", "0-{a}", "0-{a}-", "0-{a}-x", "0-{a}--1", "0-{a}-+1", "0-{a}-0-0"] {
        s.check(&[(&format!("CLUSTERSCAN {cursor}"), "ERR Invalid cursor")]);
    }
    // The scan of a node's slots ends where another's begin.
    s.check(&[
        ("CLUSTER DELSLOTSRANGE 8192 8200", "OK"),
        ("CONFIG SET cluster-require-full-coverage no", "OK"),
    ]);
    s.check(&[("CLUSTERSCAN 0-{06S}-0", "[0-{8YG}-0 []]")]);
    s.check(&[("CLUSTERSCAN 0-{8YG}-0", NOT_SERVED), ("CLUSTERSCAN 0-{a}-0", "[0 []]")]);
    Server::start(&[]).check(&[("CLUSTERSCAN x FOO", DISABLED)]);
}

#[test]
fn slots_show_what_they_hold_and_cost() {
    let mut s = node();
    s.check(&[
        ("SET foo 1", "OK"),
        ("SET bar 1", "OK"),
        ("SET {bar}2 1", "OK"),
        ("CLUSTER SLOT-STATS SLOTSRANGE 12182 12182", "[[:12182 [key-count :1]]]"),
        (
            "CLUSTER SLOT-STATS ORDERBY KEY-COUNT LIMIT 3",
            "[[:5061 [key-count :2]] [:12182 [key-count :1]] [:0 [key-count :0]]]",
        ),
        ("CLUSTER SLOT-STATS ORDERBY key-count LIMIT 1 ASC", "[[:0 [key-count :0]]]"),
        ("CLUSTER SLOT-STATS ORDERBY cpu-usec", "ERR Unrecognized sort metric for ORDERBY."),
        (
            "CLUSTER SLOT-STATS SLOTSRANGE 2 1",
            "ERR Start slot number 2 is greater than end slot number 1",
        ),
        ("CLUSTER SLOT-STATS SLOTSRANGE 0 16384", "ERR Invalid or out of range slot"),
        (
            "CLUSTER SLOT-STATS ORDERBY key-count LIMIT 0",
            "ERR Limit has to lie in between 1 and 16384 (maximum number of slots).",
        ),
        (
            "CLUSTER SLOT-STATS ORDERBY key-count ASC DESC",
            "ERR Multiple filters of the same type are disallowed.",
        ),
        ("CLUSTER SLOT-STATS ORDERBY key-count LIMIT", "ERR syntax error"),
        ("CONFIG SET cluster-slot-stats-enabled yes", "OK"),
        ("GET foo", "1"),
        ("MULTI", "OK"),
        ("GET foo", "QUEUED"),
        ("EXEC", "[1]"),
    ]);
    let stats = s.line("CLUSTER SLOT-STATS SLOTSRANGE 12182 12182");
    // GET, MULTI, GET and EXEC came; a bulk string went out, and an array with another.
    let bytes = "network-bytes-in :73 network-bytes-out :18]";
    assert!(stats.contains("[key-count :1 cpu-usec :") && stats.contains(bytes), "{stats}");
    let busiest = s.line("CLUSTER SLOT-STATS ORDERBY network-bytes-in LIMIT 1");
    assert!(busiest.starts_with("[[:12182 "), "{busiest}");
    s.check(&[("CONFIG RESETSTAT", "OK")]);
    let stats = s.line("CLUSTER SLOT-STATS SLOTSRANGE 12182 12182");
    assert!(stats.contains("network-bytes-in :0"), "{stats}");
    // A slot is told the same time as the command.
    s.check(&[("GET foo", "1")]);
    let counted = s.info_text("cmdstat_get").unwrap();
    let usec = counted.split("usec=").nth(1).and_then(|rest| rest.split(',').next()).unwrap();
    let stats = s.line("CLUSTER SLOT-STATS SLOTSRANGE 12182 12182");
    assert!(stats.contains(&format!("cpu-usec :{usec} ")), "{stats} {counted}");
    // So is that of the keys that a script did not declare.
    let script = "#!lua\nreturn redis.call('get', 'foo')";
    assert_eq!(s.text(&["EVAL", script, "0"]), "1");
    s.check(&[("CLUSTER KEYSLOT foo", ":12182")]);
    let stats = s.line("CLUSTER SLOT-STATS SLOTSRANGE 12182 12182");
    assert!(stats.contains("network-bytes-out :14]"), "{stats}");
}

#[test]
fn a_slot_is_told_the_bytes_that_were_sent() {
    let mut s = node();
    s.check(&[("CONFIG SET cluster-slot-stats-enabled yes", "OK")]);
    let mut replica = FakeReplica::sync(&s, &[]);
    let mut client = s.raw();
    client.send("SET foo 1\r\n");
    client.expect("+OK\r\n");
    replica.expect(&["SELECT 0", "SET foo 1"]);
    let slot = "CLUSTER SLOT-STATS SLOTSRANGE 12182 12182";
    // A line came; the reply went out, and to the replica an array that is no part of choosing a database.
    let stats = s.line(slot);
    assert!(stats.contains("network-bytes-in :11 network-bytes-out :34]"), "{stats}");
    client.send("SSUBSCRIBE foo\r\n");
    client.expect("*3\r\n$10\r\nssubscribe\r\n$3\r\nfoo\r\n:1\r\n");
    s.check(&[("CONFIG RESETSTAT", "OK"), ("SPUBLISH foo hello", ":1")]);
    let message = "*3\r\n$8\r\nsmessage\r\n$3\r\nfoo\r\n$5\r\nhello\r\n";
    client.expect(message);
    let stats = s.line(slot);
    let out = ":1\r\n".len() + message.len();
    assert!(stats.contains(&format!("network-bytes-out :{out}]")), "{stats}");
}

/// A node that has keys of slots that are not its own, as far as its file knows.
#[test]
fn at_the_start_keys_follow_their_slots() {
    let mut s = node();
    s.check(&[("SET bar 1", "OK"), ("SET foo 2", "OK"), ("SET baz 3", "OK"), ("SAVE", "OK")]);
    let (me, other) = (s.line("CLUSTER MYID"), "a".repeat(40));
    let dir = s.into_dir();
    let nodes = format!(
        "{me} 127.0.0.1:1@1,,tls-port=0,shard-id={me} myself,master - 0 0 2 connected 5061\n\
         {other} 127.0.0.1:1@1,,tls-port=0,shard-id={other} master - 0 0 1 connected 12182\n\
         vars currentEpoch 2 lastVoteEpoch 0\n"
    );
    std::fs::write(dir.path().join("nodes.conf"), nodes).unwrap();
    let no = ["--cluster-require-full-coverage", "no", "--cluster-node-timeout", "600000"];
    let mut s = Server::start_in(dir, &[&["--cluster-enabled", "yes"], &no[..]].concat());
    s.wait_for("CLUSTER INFO", |info| info.contains("cluster_state:ok"));
    s.check(&[
        ("GET bar", "1"),
        ("GET baz", "3"),
        ("CLUSTER COUNTKEYSINSLOT 12182", ":0"),
        ("GET foo", "MOVED 12182 127.0.0.1:1"),
    ]);
    let log = s.log();
    assert!(log.contains("I have keys for unassigned slot 4813. Taking responsibility for it."));
    assert!(log.contains("I have keys for slot 12182, but the slot is assigned to another node."));
}

/// Started again, a replica goes on where its snapshot ends.
#[test]
fn a_replica_that_was_away_resumes() {
    let buses = [free_port().to_string(), free_port().to_string()];
    let options = |bus| ["--cluster-enabled", "yes", "--cluster-port", bus];
    let mut primary = Server::start(&options(&buses[0]));
    let mut replica = Server::start(&options(&buses[1]));
    let (id, port) = (primary.line("CLUSTER MYID"), primary.port);
    primary.check(&[("CLUSTER ADDSLOTSRANGE 0 16383", "OK"), ("SET k 1", "OK")]);
    replica.check(&[(&format!("CLUSTER MEET 127.0.0.1 {port} {}", buses[0]), "OK")]);
    replica.wait_for(&format!("CLUSTER REPLICATE {id}"), |answer| answer == "OK");
    replica.wait_info("master_link_status", "up");
    replica.catch_up_with(&mut primary);
    assert_eq!(replica.shut_down(&["SAVE"]), Some(0));
    primary.check(&[("SET k 2", "OK")]);
    let mut replica = Server::start_in(replica.into_dir(), &options(&buses[1]));
    replica.wait_info("master_link_status", "up");
    replica.catch_up_with(&mut primary);
    replica.check(&[("READONLY", "OK"), ("GET k", "2")]);
    assert_eq!((primary.info("sync_full"), primary.info("sync_partial_ok")), (1, 1));
}
