//! The server under test is the primary.

use crate::harness::replication::{
    EMPTY_RDB, FakePrimary, FakeReplica, HISTORY, line_after_newlines,
};
use crate::harness::{Raw, Server, encoded, wait_for};

/// Snapshots are sent at once.
const AT_ONCE: &[&str] = &["--repl-diskless-sync-delay", "0"];

fn primary(options: &[&str]) -> Server {
    Server::start(&[AT_ONCE, options].concat())
}

/// Sends a command that is answered with this line.
fn ask(raw: &mut Raw, args: &[&str], reply: &str) {
    raw.command(args);
    assert_eq!(raw.line(), reply, "{args:?}");
}

/// Waits until the connection is closed by the server.
fn closes(raw: &mut Raw) {
    raw.read_to_end();
}

#[test]
fn two_replicas_behind_one_address_are_two() {
    let mut server = primary(&[]);
    let mut replicas: Vec<FakeReplica> = (0..2)
        .map(|_| {
            let mut raw = server.raw();
            ask(&mut raw, &["REPLCONF", "listening-port", "6380"], "+OK");
            raw.command(&["PSYNC", "?", "-1"]);
            FakeReplica::take_snapshot(raw)
        })
        .collect();
    assert_eq!(server.text(&["SET", "key", "value"]), "OK");
    for replica in &mut replicas {
        replica.expect(&["SELECT 0", "SET key value"]);
    }
    replicas[1].acknowledge();
    let offset = replicas[1].offset;
    wait_for("one acknowledgement", || {
        let lines =
            ["slave0", "slave1"].map(|field| server.info_text(field).expect("two replicas"));
        assert!(
            lines.iter().all(|l| l.starts_with("ip=127.0.0.1,port=6380,state=online,offset=")),
            "{lines:?}"
        );
        let offsets = lines.map(|l| l.contains(&format!("offset={offset},")));
        (offsets == [false, true]).then_some(())
    });
    // One goes; the other is not taken for it.
    drop(replicas.remove(0));
    server.wait_info("connected_slaves", "1");
    assert_eq!(server.text(&["SET", "key", "again"]), "OK");
    replicas[0].expect(&["SET key again"]);
}

#[test]
fn a_replica_is_known_by_what_it_announces() {
    let mut server = primary(&[]);
    let mut raw = server.raw();
    ask(&mut raw, &["REPLCONF", "listening-port", "7777", "ip-address", "10.1.2.3"], "+OK");
    raw.command(&["PSYNC", "?", "-1"]);
    let _replica = FakeReplica::take_snapshot(raw);
    server.wait_info("connected_slaves", "1");
    let line = server.info_text("slave0").expect("a replica");
    assert!(line.starts_with("ip=10.1.2.3,port=7777,state=online,"), "{line}");
    assert_eq!(server.text(&["ROLE"]), "[master :0 [[10.1.2.3 7777 0]]]");
}

#[test]
fn role_names_a_replica_once_it_has_the_data() {
    let mut server = primary(&["--repl-diskless-sync-delay", "3600"]);
    let mut raw = server.raw();
    ask(&mut raw, &["REPLCONF", "capa", "eof"], "+OK");
    raw.command(&["PSYNC", "?", "-1"]);
    server.wait_info("connected_slaves", "1");
    assert_eq!(server.text(&["ROLE"]), "[master :0 []]");
    server.text(&["CONFIG", "SET", "repl-diskless-sync-delay", "0"]);
    let mut replica = FakeReplica::take_snapshot(raw);
    replica.acknowledge();
    wait_for("it to be named", || {
        server.text(&["ROLE"]).starts_with("[master :0 [[127.0.0.1 0 ").then_some(())
    });
}

#[test]
fn replconf_alone_makes_no_replica() {
    let mut server = primary(&[]);
    let mut raw = server.raw();
    ask(&mut raw, &["REPLCONF", "listening-port", "6380"], "+OK");
    ask(&mut raw, &["REPLCONF", "capa", "eof", "capa", "psync2", "capa", "unheard-of"], "+OK");
    ask(&mut raw, &["REPLCONF", "version", "7.2.4"], "+OK");
    ask(&mut raw, &["SET", "key", "value"], "+OK");
    assert_eq!(server.info("connected_slaves"), 0);
    raw.command(&["REPLCONF", "ACK", "1"]);
    // An acknowledgement is never answered: what comes next belongs to what is asked next.
    for (args, reply) in [
        (&["REPLCONF", "listening-port"][..], "-ERR syntax error"),
        (&["REPLCONF", "listening-port", "x"], "-ERR value is not an integer or out of range"),
        (&["REPLCONF", "rdb-only", "2"], "-ERR value is out of range, value must between 0 and 1"),
        (&["REPLCONF", "what", "ever"], "-ERR Unrecognized REPLCONF option: what"),
        (&["PSYNC", "?", "x"], "-ERR value is not an integer or out of range"),
        (&["PING"], "+PONG"),
    ] {
        ask(&mut raw, args, reply);
    }
}

#[test]
fn a_second_psync_is_ignored() {
    let mut server = primary(&[]);
    let mut replica = FakeReplica::sync(&server, &[]);
    for again in [&["PSYNC", "?", "-1"][..], &["SYNC"]] {
        replica.raw.command(again);
        assert!(server.is_silent_to(&mut replica.raw), "{again:?} has been answered already");
    }
    server.text(&["SET", "key", "value"]);
    replica.expect(&["SELECT 0", "SET key value"]);
    assert_eq!(server.info("sync_full"), 1);
}

#[test]
fn a_replica_may_vanish_at_each_step() {
    for diskless in ["yes", "no"] {
        let mut server = primary(&["--repl-diskless-sync", diskless]);
        server.text(&["DEBUG", "POPULATE", "20000", "key", "100"]);
        let steps: [&[&str]; 6] = [
            &["PING"],
            &["REPLCONF", "listening-port", "6380"],
            &["REPLCONF", "ip-address", "10.0.0.1"],
            &["REPLCONF", "capa", "eof", "capa", "psync2"],
            &["REPLCONF", "version", "7.2.4"],
            &["PSYNC", "?", "-1"],
        ];
        for last in 0..=steps.len() + 1 {
            let mut raw = server.raw();
            for step in &steps[..last.min(steps.len())] {
                raw.command(step);
                let reply = line_after_newlines(&mut raw);
                assert!(reply.starts_with('+'), "{reply}");
            }
            if last > steps.len() {
                // In the middle of the snapshot.
                raw.read(1000);
            }
        }
        server.wait_info("connected_slaves", "0");
        server.wait_info("rdb_bgsave_in_progress", "0");
        let replica = FakeReplica::sync(&server, &["eof", "psync2"]);
        assert!(replica.rdb.len() > 20_000, "a whole snapshot");
    }
}

#[test]
fn an_end_mark_only_goes_to_who_knows_it() {
    let server = primary(&[]);
    assert!(FakeReplica::sync(&server, &["eof", "psync2"]).head.starts_with("$EOF:"));
    for capabilities in [&["psync2"][..], &[]] {
        let mut replica = FakeReplica::sync(&server, capabilities);
        assert_eq!(replica.head, format!("${}", replica.rdb.len()));
        assert!(server.is_silent_to(&mut replica.raw), "nothing behind it yet");
    }
    let server = primary(&["--repl-diskless-sync", "no"]);
    assert!(!FakeReplica::sync(&server, &["eof", "psync2"]).head.starts_with("$EOF:"));
}

#[test]
fn the_stream_behind_an_end_mark_waits_for_the_first_acknowledgement() {
    let mut server = primary(&[]);
    let mut replica = FakeReplica::sync(&server, &["eof", "psync2"]);
    server.text(&["SET", "key", "value"]);
    assert!(
        server.is_silent_to(&mut replica.raw),
        "the replica has not said that it has found the mark"
    );
    replica.acknowledge();
    replica.expect(&["SELECT 0", "SET key value"]);
}

#[test]
fn replicas_that_come_together_share_a_snapshot() {
    for diskless in ["yes", "no"] {
        let mut server =
            Server::start(&["--repl-diskless-sync", diskless, "--repl-diskless-sync-delay", "1"]);
        server.text(&["SET", "key", "value"]);
        // Slow enough for the others to come while the snapshot is being made.
        server.text(&["CONFIG", "SET", "rdb-key-save-delay", "300000"]);
        let connections: Vec<Raw> = (0..3)
            .map(|_| {
                let mut raw = server.raw();
                ask(&mut raw, &["REPLCONF", "capa", "eof", "capa", "psync2"], "+OK");
                raw.command(&["PSYNC", "?", "-1"]);
                raw
            })
            .collect();
        server.text(&["SET", "key", "behind the snapshot"]);
        for raw in connections {
            let mut replica = FakeReplica::take_snapshot(raw);
            replica.acknowledge();
            if diskless == "no" {
                replica.expect(&["SELECT 0", "SET key behind the snapshot"]);
            }
        }
        assert_eq!(server.info("sync_full"), 3);
        assert_eq!(server.info("total_forks"), 1);
    }
}

#[test]
fn a_partial_resynchronisation_sends_what_was_missed() {
    let mut server = primary(&[]);
    let mut replica = FakeReplica::sync(&server, &["psync2"]);
    server.text(&["SET", "key", "1"]);
    replica.expect(&["SELECT 0", "SET key 1"]);
    let (id, offset) = (replica.id.clone(), replica.offset);
    drop(replica);
    server.wait_info("connected_slaves", "0");
    server.text(&["SET", "key", "2"]);
    // From where it stopped, and from the very beginning; offsets on the wire count from one.
    for (capabilities, at, answer, missed) in [
        (
            &["REPLCONF", "capa", "psync2"][..],
            offset,
            format!("+CONTINUE {id}\r\n"),
            vec!["SET key 2"],
        ),
        (&["PING"], offset, "+CONTINUE\r\n".into(), vec!["SET key 2"]),
        (&["PING"], 0, "+CONTINUE\r\n".into(), vec!["SELECT 0", "SET key 1", "SET key 2"]),
    ] {
        let mut raw = server.raw();
        raw.command(capabilities);
        raw.line();
        raw.command(&["PSYNC", &id.to_uppercase(), &(at + 1).to_string()]);
        raw.expect(&answer);
        for command in missed {
            raw.expect(encoded(&command.split(' ').collect::<Vec<_>>()));
        }
    }
    assert_eq!(server.info("sync_partial_ok"), 3);
    // Another history, and a part of this one that does not exist.
    let end = offset + 1000;
    for (id, at) in [(HISTORY, 1), (id.as_str(), end), (&id, 0)] {
        let mut raw = server.raw();
        raw.command(&["PSYNC", id, &at.to_string()]);
        FakeReplica::take_snapshot(raw);
    }
    assert_eq!(server.info("sync_partial_err"), 3);
}

#[test]
fn after_promotion_the_old_history_is_continued_up_to_the_promotion() {
    let fake = FakePrimary::new();
    let mut server = fake.start_replica(AT_ONCE);
    let mut raw = fake.full_sync(1000, EMPTY_RDB);
    let stream = encoded(&["SET", "key", "value"]);
    raw.send(&stream);
    let end = 1000 + stream.len() as u64;
    server.wait_info("master_repl_offset", &end.to_string());
    assert_eq!(server.text(&["REPLICAOF", "NO", "ONE"]), "OK");
    let id = server.info_text("master_replid").expect("an id");
    assert_ne!(id, HISTORY);
    assert_eq!(server.info_text("master_replid2").as_deref(), Some(HISTORY));
    assert_eq!(server.info_text("second_repl_offset"), Some((end + 1).to_string()));
    server.text(&["SET", "key", "mine"]);
    let follow = |at: u64| {
        let mut raw = server.raw();
        ask(&mut raw, &["REPLCONF", "capa", "psync2"], "+OK");
        raw.command(&["PSYNC", HISTORY, &at.to_string()]);
        raw
    };
    let mut raw = follow(1001);
    raw.expect(format!("+CONTINUE {id}\r\n"));
    raw.expect(&stream);
    raw.expect(encoded(&["SELECT", "0"]));
    raw.expect(encoded(&["SET", "key", "mine"]));
    follow(end + 1).expect(format!("+CONTINUE {id}\r\n*2\r\n"));
    FakeReplica::take_snapshot(follow(end + 2));
}

#[test]
fn the_backlog_has_its_size_and_its_time() {
    let mut server = primary(&["--repl-backlog-size", "16kb", "--repl-backlog-ttl", "1"]);
    let id = FakeReplica::sync(&server, &[]).id;
    let value = "x".repeat(1000);
    for _ in 0..100 {
        server.text(&["SET", "key", &value]);
    }
    let number = |server: &mut Server, field: &str| -> u64 {
        server.info_text(field).and_then(|n| n.parse().ok()).unwrap_or_else(|| panic!("no {field}"))
    };
    let offset = number(&mut server, "master_repl_offset");
    let kept = number(&mut server, "repl_backlog_histlen");
    assert_eq!(number(&mut server, "repl_backlog_first_byte_offset"), offset - kept + 1);
    assert!((16 * 1024..64 * 1024).contains(&kept), "{kept} bytes kept");
    let mut raw = server.raw();
    raw.command(&["PSYNC", &id, &(offset - kept + 1).to_string()]);
    raw.expect("+CONTINUE\r\n");
    assert_eq!(raw.read(kept as usize).len() as u64, kept);
    drop(raw);
    let mut raw = server.raw();
    raw.command(&["PSYNC", &id, &(offset - kept).to_string()]);
    assert_eq!(FakeReplica::take_snapshot(raw).id, id);
    server.wait_info("connected_slaves", "0");
    // Without replicas the backlog goes, and with it the history that it could continue.
    server.wait_info("repl_backlog_active", "0");
    assert_ne!(server.info_text("master_replid"), Some(id));
}

#[test]
fn the_stream_names_the_database_and_the_effect() {
    let mut server = primary(&[]);
    let mut replica = FakeReplica::sync(&server, &[]);
    server.text(&["SET", "key", "1"]);
    server.text(&["GET", "key"]);
    server.text(&["DEL", "missing"]);
    server.text(&["SELECT", "9"]);
    server.text(&["INCR", "key"]);
    server.text(&["INCR", "key"]);
    replica.expect(&["SELECT 0", "SET key 1", "SELECT 9", "INCR key", "INCR key"]);
    server.text(&["SET", "short", "life", "PX", "50"]);
    let set = replica.next();
    assert_eq!(set[..4], ["SET", "short", "life", "PXAT"]);
    // The replica would wait for this for ever: it is the primary who decides.
    replica.expect(&["DEL short"]);
    // A replica that comes later starts with a SELECT of its own, whatever the others have heard.
    let mut other = FakeReplica::sync(&server, &[]);
    server.text(&["INCR", "key"]);
    other.expect(&["SELECT 9", "INCR key"]);
    replica.expect(&["SELECT 9", "INCR key"]);
    assert_eq!(replica.offset, other.offset, "one history");
}

#[test]
fn wait_counts_those_who_have_acknowledged_the_callers_writes() {
    let mut server = primary(&[]);
    let mut replicas = [FakeReplica::sync(&server, &[]), FakeReplica::sync(&server, &[])];
    let mut client = server.raw();
    ask(&mut client, &["WAIT", "2", "0"], ":2");
    ask(&mut client, &["SET", "key", "value"], "+OK");
    client.command(&["WAIT", "1", "0"]);
    for replica in &mut replicas {
        replica.expect(&["SELECT 0", "SET key value", "REPLCONF GETACK *"]);
    }
    assert!(server.is_silent_to(&mut client), "nobody has acknowledged");
    replicas[0].acknowledge();
    assert_eq!(client.line(), ":1");
    ask(&mut client, &["WAIT", "2", "100"], ":1");
    // Who has written nothing waits for nothing.
    assert_eq!(server.text(&["WAIT", "2", "0"]), ":2");
    for (args, reply) in [
        (&["WAIT", "x", "0"][..], "-ERR value is not an integer or out of range"),
        (&["WAIT", "1", "x"], "-ERR timeout is not an integer or out of range"),
        (&["WAIT", "1", "-1"], "-ERR timeout is negative"),
    ] {
        ask(&mut client, args, reply);
    }
}

#[test]
fn writes_need_enough_good_replicas() {
    let mut server = primary(&["--min-replicas-to-write", "1", "--min-replicas-max-lag", "1"]);
    let refused = "NOREPLICAS Not enough good replicas to write.";
    assert_eq!(server.text(&["SET", "key", "value"]), refused);
    let mut replica = FakeReplica::sync(&server, &[]);
    replica.acknowledge();
    server.wait_info("min_slaves_good_slaves", "1");
    assert_eq!(server.text(&["SET", "key", "value"]), "OK");
    assert_eq!(server.text(&["GET", "key"]), "value");
    // It falls silent.
    server.wait_info("min_slaves_good_slaves", "0");
    assert_eq!(server.text(&["SET", "key", "value"]), refused);
    replica.acknowledge();
    server.wait_info("min_slaves_good_slaves", "1");
    drop(replica);
    server.wait_info("min_slaves_good_slaves", "0");
}

#[test]
fn a_replica_that_does_not_read_is_let_go_at_its_limit() {
    let limit = "replica 2mb 0 0";
    let options = ["--client-output-buffer-limit", limit, "--repl-backlog-size", "1mb"];
    let mut server = primary(&options);
    let mut replica = FakeReplica::sync(&server, &[]);
    let megabyte = "x".repeat(1 << 20);
    wait_for("the limit to be reached", || {
        server.text(&["SET", "key", &megabyte]);
        (server.info_text("connected_slaves").as_deref() == Some("0")).then_some(())
    });
    assert!(server.log().contains("for overcoming of output buffer limits"), "{}", server.log());
    assert_eq!(server.info("client_output_buffer_limit_disconnections"), 1);
    closes(&mut replica.raw);
    // What it had not read is not kept for it any longer.
    wait_for("the stream to be trimmed", || {
        let kept: u64 = server.info_text("repl_backlog_histlen")?.parse().ok()?;
        (kept <= 3 << 20).then_some(())
    });
}

#[test]
fn sync_is_understood_without_psync() {
    let mut server = primary(&[]);
    server.text(&["SET", "key", "value"]);
    let mut raw = server.raw();
    raw.send("SYNC\r\n");
    let head = line_after_newlines(&mut raw);
    let len = head.strip_prefix('$').and_then(|n| n.parse().ok()).expect("a length");
    assert!(raw.read(len).starts_with(b"REDIS00"), "a snapshot");
    server.text(&["INCR", "n"]);
    raw.expect(encoded(&["SELECT", "0"]));
    raw.expect(encoded(&["INCR", "n"]));
}

#[test]
fn a_replica_may_want_the_snapshot_only() {
    let mut server = primary(&["--repl-diskless-sync", "no"]);
    let mut raw = server.raw();
    ask(&mut raw, &["REPLCONF", "rdb-only", "1"], "+OK");
    raw.command(&["PSYNC", "?", "-1"]);
    let mut replica = FakeReplica::take_snapshot(raw);
    closes(&mut replica.raw);
    server.wait_info("connected_slaves", "0");
}

#[test]
fn a_shutdown_does_not_wait_for_a_snapshot_that_nothing_was_written_behind() {
    let mut server = primary(&[]);
    server.text(&["SET", "key", "value"]);
    // For as long as it takes to make the snapshot the replica can't acknowledge anything.
    server.text(&["CONFIG", "SET", "rdb-key-save-delay", "60000000"]);
    let mut raw = server.raw();
    raw.command(&["PSYNC", "?", "-1"]);
    assert!(line_after_newlines(&mut raw).starts_with("+FULLRESYNC "));
    assert_eq!(server.shut_down(&["NOSAVE"]), Some(0));
    assert!(!server.log().contains("replicas are lagging"), "{}", server.log());
}

#[test]
fn a_replica_may_want_a_part_of_the_snapshot() {
    let mut server = primary(&["--repl-diskless-sync", "no"]);
    server.text(&["SET", "key", "value"]);
    let mut raw = server.raw();
    ask(
        &mut raw,
        &["REPLCONF", "rdb-filter-only", "keys"],
        "-ERR Unsupported rdb-filter-only option: keys",
    );
    ask(
        &mut raw,
        &["REPLCONF", "rdb-filter-only", "\"functions"],
        "-ERR Missing rdb-filter-only values",
    );
    ask(&mut raw, &["REPLCONF", "rdb-filter-only", "functions"], "+OK");
    ask(&mut raw, &["PSYNC", "?", "-1"], "-ERR Filtered replica requires EOF capability");
    for parts in ["", "functions"] {
        let mut raw = server.raw();
        let filter = ["REPLCONF", "rdb-only", "1", "rdb-filter-only", parts, "capa", "eof"];
        ask(&mut raw, &filter, "+OK");
        raw.command(&["PSYNC", "?", "-1"]);
        let mut replica = FakeReplica::take_snapshot(raw);
        assert!(replica.head.starts_with("$EOF:"), "not by way of the snapshot file");
        assert!(!replica.rdb.windows(3).any(|bytes| bytes == b"key"), "there is no data in it");
        closes(&mut replica.raw);
    }
    let all = FakeReplica::sync(&server, &["eof"]);
    assert!(all.rdb.windows(3).any(|bytes| bytes == b"key"), "others get everything");
}

#[test]
fn a_replica_must_not_ask_for_data() {
    let mut server = primary(&[]);
    for command in [
        &["GET", "key"][..],
        &["SET", "key", "1"],
        &["PING"],
        &["REPLCONF", "capa", "eof"],
        &["NONSENSE"],
    ] {
        let mut replica = FakeReplica::sync(&server, &[]);
        replica.raw.command(command);
        assert_eq!(replica.raw.read_to_end(), b"", "{command:?} is not answered");
        server.wait_info("connected_slaves", "0");
    }
    assert_eq!(server.text(&["EXISTS", "key"]), ":0");
    assert!(
        server.log().contains("Replica generated a reply to command 'get'"),
        "{}",
        server.log()
    );
}

#[test]
fn pings_keep_the_stream_alive_and_silence_ends_it() {
    let mut server = primary(&["--repl-ping-replica-period", "1", "--repl-timeout", "2"]);
    let mut replica = FakeReplica::sync(&server, &[]);
    replica.raw.expect(encoded(&["PING"]));
    // An empty line is a sign of life too: so does a replica that is busy loading.
    for _ in 0..4 {
        replica.raw.send("\n");
        replica.raw.expect(encoded(&["PING"]));
    }
    closes(&mut replica.raw);
    server.wait_info("connected_slaves", "0");
    assert!(
        server.log().contains("Disconnecting timedout replica (streaming sync)"),
        "{}",
        server.log()
    );
}

#[test]
fn a_snapshot_that_fails_lets_the_replica_go() {
    let mut server = primary(&["--repl-diskless-sync", "no"]);
    std::fs::remove_dir_all(server.dir()).expect("the directory goes");
    let mut raw = server.raw();
    raw.command(&["PSYNC", "?", "-1"]);
    assert!(line_after_newlines(&mut raw).starts_with("+FULLRESYNC"), "the child is started");
    closes(&mut raw);
    server.wait_info("connected_slaves", "0");
    assert_eq!(server.text(&["PING"]), "PONG");
}

#[test]
fn flushing_ends_the_snapshot_that_is_being_made() {
    let mut server = primary(&["--repl-diskless-sync", "no", "--rdb-key-save-delay", "1000000"]);
    server.text(&["MSET", "a", "1", "b", "2"]);
    let mut raw = server.raw();
    raw.command(&["PSYNC", "?", "-1"]);
    assert!(line_after_newlines(&mut raw).starts_with("+FULLRESYNC"), "the child is started");
    assert_eq!(server.text(&["FLUSHALL"]), "OK");
    // Nobody will ever send it that snapshot.
    closes(&mut raw);
    server.wait_info("connected_slaves", "0");
}

#[test]
fn a_replica_without_a_primary_can_have_no_replicas() {
    let fake = FakePrimary::new();
    let server = fake.start_replica(&[]);
    let mut raw = server.raw();
    ask(
        &mut raw,
        &["PSYNC", "?", "-1"],
        "-NOMASTERLINK Can't SYNC while not connected with my master",
    );
    ask(&mut raw, &["SYNC"], "-NOMASTERLINK Can't SYNC while not connected with my master");
}

/// What was written before the first replica came is at offset 0, as everything that a silent replica has.
#[test]
fn a_replica_that_still_loads_has_acknowledged_nothing() {
    for diskless in ["yes", "no"] {
        let options = ["--repl-diskless-sync-delay", "0", "--repl-diskless-sync", diskless];
        let mut server = Server::start(&options);
        assert_eq!(server.text(&["SET", "key", "value"]), "OK");
        let mut replica = FakeReplica::sync(&server, &["eof", "psync2"]);
        server.wait_info("connected_slaves", "1");
        wait_for("it to be online", || {
            server.text(&["INFO", "replication"]).contains("state=online").then_some(())
        });
        assert_eq!(server.text(&["WAIT", "1", "50"]), ":0");
        assert_eq!(server.text(&["WAITAOF", "0", "1", "50"]), "[:0 :0]");
        replica.acknowledge();
        assert_eq!(server.text(&["WAIT", "1", "0"]), ":1");
        assert_eq!(server.text(&["WAITAOF", "0", "1", "50"]), "[:0 :0]", "it has no such file");
    }
}
