//! The server under test is the replica, of a primary that behaves.

use crate::harness::replication::{
    EMPTY_RDB, FakePrimary, HISTORY, acknowledged, read_command, snapshot,
};
use crate::harness::{Raw, Server, encoded, wait_for};
use std::time::{SystemTime, UNIX_EPOCH};

const DOWN: &str =
    "MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.";

/// Sends commands of the stream; how many bytes they are.
fn stream(raw: &mut Raw, commands: &[&str]) -> u64 {
    let bytes: Vec<u8> =
        commands.iter().flat_map(|c| encoded(&c.split(' ').collect::<Vec<_>>())).collect();
    raw.send(&bytes);
    bytes.len() as u64
}

/// Milliseconds since 1970, so many from now.
fn millis_from_now(delta: i64) -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("a time after 1970");
    now.as_millis() as u64 + u64::try_from(delta).unwrap_or(0) - u64::try_from(-delta).unwrap_or(0)
}

/// What `PSYNC` asked for.
fn psync(id: &str, offset: u64) -> Vec<String> {
    ["PSYNC", id, &offset.to_string()].map(str::to_string).to_vec()
}

#[test]
fn it_says_who_it_is() {
    let primary = FakePrimary::new();
    let announced = ["--replica-announce-ip", "10.1.2.3", "--replica-announce-port", "7777"];
    for (auth, options) in [
        (&["AUTH", "secret"][..], &["--masterauth", "secret"][..]),
        (&["AUTH", "me", "secret"], &["--masterauth", "secret", "--masteruser", "me"]),
    ] {
        let _server = primary.start_replica(&[&announced, options].concat());
        let mut raw = primary.accept();
        raw.expect(encoded(&["PING"]));
        // A primary that wants a password says so to PING already.
        raw.send("-NOAUTH Authentication required.\r\n");
        raw.expect(encoded(auth));
        raw.expect(encoded(&["REPLCONF", "listening-port", "7777"]));
        raw.expect(encoded(&["REPLCONF", "ip-address", "10.1.2.3"]));
        assert_eq!(read_command(&mut raw)[..5], ["REPLCONF", "capa", "eof", "capa", "psync2"]);
        raw.send("+OK\r\n+OK\r\n+OK\r\n");
        // A primary that knows no such thing is no obstacle.
        raw.send("-ERR Unrecognized REPLCONF option: capa\r\n");
        raw.expect(encoded(&["PSYNC", "?", "-1"]));
    }
}

#[test]
fn the_stream_is_applied_and_acknowledged_to_the_byte() {
    let primary = FakePrimary::new();
    let mut server = primary.start_replica(&[]);
    let (mut raw, asked) = primary.handshake();
    assert_eq!(asked, ["PSYNC", "?", "-1"]);
    // Line feeds say that the primary is at work; the stream may follow upon the snapshot at once.
    raw.send(format!("\n\n+FULLRESYNC {HISTORY} 5000\r\n\n\n\n${}\r\n", EMPTY_RDB.len()));
    raw.send(EMPTY_RDB);
    let mut offset = 5000;
    offset += stream(&mut raw, &["SELECT 3", "SET key 1", "INCR key"]);
    acknowledged(&mut raw, offset);
    offset += encoded(&["REPLCONF", "GETACK", "*"]).len() as u64;
    // Empty lines are bytes of the stream as well.
    raw.send("\r\n");
    offset += 2;
    // A request in two pieces counts when it is complete.
    let request = encoded(&["APPEND", "key", &"x".repeat(100_000)]);
    raw.send(&request[..50_000]);
    wait_for("its half", || {
        let read: u64 = server.info_text("slave_read_repl_offset")?.parse().ok()?;
        (read == offset + 50_000).then_some(())
    });
    assert_eq!(server.info_text("slave_repl_offset"), Some(offset.to_string()));
    raw.send(&request[50_000..]);
    offset += request.len() as u64;
    acknowledged(&mut raw, offset);
    server.text(&["SELECT", "3"]);
    assert_eq!(server.text(&["STRLEN", "key"]), ":100001");
    for (field, value) in [
        ("role", "slave"),
        ("master_host", "127.0.0.1"),
        ("master_link_status", "up"),
        ("master_sync_in_progress", "0"),
        ("slave_read_only", "1"),
        ("master_replid", HISTORY),
        ("second_repl_offset", "-1"),
        ("repl_backlog_first_byte_offset", "5001"),
    ] {
        assert_eq!(server.info_text(field).as_deref(), Some(value), "{field}");
    }
    // Once a second it tells by itself.
    assert_eq!(read_command(&mut raw)[..2], ["REPLCONF", "ACK"]);
    let role = format!("[slave 127.0.0.1 :{} connected ", primary.port);
    assert!(server.text(&["ROLE"]).starts_with(&role));
}

#[test]
fn a_broken_link_is_resumed_where_it_broke() {
    let primary = FakePrimary::new();
    let mut server = primary.start_replica(&[]);
    let mut raw = primary.full_sync(0, EMPTY_RDB);
    let mut offset = stream(&mut raw, &["SELECT 7", "SET key value"]);
    // The half of a request is lost with the link.
    raw.send("*2\r\n$4\r\nINCR");
    acknowledge_and_cut(&mut server, raw, offset);
    let (mut raw, asked) = primary.handshake();
    assert_eq!(asked, psync(HISTORY, offset + 1));
    raw.send("+CONTINUE\r\n");
    // The stream goes on in the database that it was in.
    offset += stream(&mut raw, &["APPEND key s"]);
    acknowledged(&mut raw, offset);
    offset += encoded(&["REPLCONF", "GETACK", "*"]).len() as u64;
    acknowledge_and_cut(&mut server, raw, offset);
    // By now the primary is in another history.
    let (mut raw, asked) = primary.handshake();
    assert_eq!(asked, psync(HISTORY, offset + 1));
    let id = HISTORY.replace('7', "8");
    raw.send(format!("+CONTINUE {id}\r\n"));
    server.wait_info("master_link_status", "up");
    assert_eq!(server.info_text("master_replid"), Some(id));
    assert_eq!(server.info_text("master_replid2").as_deref(), Some(HISTORY));
    assert_eq!(server.info_text("second_repl_offset"), Some((offset + 1).to_string()));
    server.text(&["SELECT", "7"]);
    assert_eq!(server.text(&["GET", "key"]), "values");
}

fn acknowledge_and_cut(server: &mut Server, raw: Raw, offset: u64) {
    server.wait_info("slave_repl_offset", &offset.to_string());
    drop(raw);
}

#[test]
fn an_unsuccessful_full_synchronisation_takes_nothing_away() {
    let (first, second) = (FakePrimary::new(), FakePrimary::new());
    let mut server = first.start_replica(&["--repl-diskless-load", "disabled"]);
    let mut raw = first.full_sync(1000, &snapshot(&[("key", "value", None)]));
    server.wait_info("master_link_status", "up");
    let mut follower = server.raw();
    follower.command(&["PSYNC", HISTORY, "1001"]);
    follower.expect("+CONTINUE\r\n");
    let mut offset = 1000 + stream(&mut raw, &["SELECT 0", "APPEND key s"]);
    follower.expect([encoded(&["SELECT", "0"]), encoded(&["APPEND", "key", "s"])].concat());

    // Another primary's snapshot does not come in full.
    server.replica_of(second.port);
    let (mut half, _) = second.handshake();
    half.send(format!("+FULLRESYNC {} 7\r\n$100\r\nREDIS", HISTORY.replace('7', "8")));
    server.wait_info("master_sync_in_progress", "1");
    drop(half);
    // The old one can be gone on with, and who follows us has not noticed.
    server.replica_of(first.port);
    let (mut raw, asked) = first.handshake();
    assert_eq!(asked, psync(HISTORY, offset + 1));
    raw.send("+CONTINUE\r\n");
    offset += stream(&mut raw, &["APPEND key !"]);
    acknowledged(&mut raw, offset);
    follower.expect(encoded(&["APPEND", "key", "!"]));
    assert_eq!(server.text(&["GET", "key"]), "values!");
}

#[test]
fn clients_may_read_but_not_write() {
    let primary = FakePrimary::new();
    let mut server = primary.start_replica(&[]);
    let mut raw = primary.full_sync(0, &snapshot(&[("key", "value", None)]));
    server.wait_info("master_link_status", "up");
    assert_eq!(server.text(&["GET", "key"]), "value");
    assert_eq!(
        server.text(&["SET", "key", "x"]),
        "READONLY You can't write against a read only replica."
    );
    // Unless it is wished; such writes are nobody else's.
    server.text(&["CONFIG", "SET", "replica-read-only", "no"]);
    assert_eq!(server.text(&["SET", "mine", "x"]), "OK");
    acknowledged(&mut raw, 0);
    assert_eq!(
        server.info_text("master_repl_offset"),
        Some(encoded(&["REPLCONF", "GETACK", "*"]).len().to_string())
    );
    let refused = "ERR WAIT cannot be used with replica instances.";
    assert!(server.text(&["WAIT", "0", "0"]).starts_with(refused));
}

#[test]
fn stale_data_is_served_or_not() {
    let primary = FakePrimary::new();
    let mut server = primary.start_replica(&["--replica-serve-stale-data", "no"]);
    assert_eq!(server.text(&["GET", "key"]), DOWN);
    assert_eq!(server.info_text("master_link_status").as_deref(), Some("down"));
    let raw = primary.full_sync(0, &snapshot(&[("key", "value", None)]));
    server.wait_info("master_link_status", "up");
    assert_eq!(server.text(&["GET", "key"]), "value");
    drop(raw);
    server.wait_info("master_link_status", "down");
    assert_eq!(server.text(&["GET", "key"]), DOWN);
    server.text(&["CONFIG", "SET", "replica-serve-stale-data", "yes"]);
    assert_eq!(server.text(&["GET", "key"]), "value");
}

#[test]
fn what_expires_is_the_primarys_decision() {
    let primary = FakePrimary::new();
    let mut server = primary.start_replica(&[]);
    let past = millis_from_now(-1000);
    let rdb =
        snapshot(&[("old", "5", Some(past)), ("older", "5", Some(past)), ("young", "5", None)]);
    let mut raw = primary.full_sync(0, &rdb);
    let soon = millis_from_now(30);
    let mut offset = stream(&mut raw, &[&format!("PEXPIREAT young {soon}")]);
    acknowledged(&mut raw, offset);
    offset += encoded(&["REPLCONF", "GETACK", "*"]).len() as u64;
    wait_for("the key to expire", || (millis_from_now(0) > soon).then_some(()));
    for key in ["old", "older", "young"] {
        // Hidden from clients, and still there.
        assert_eq!(server.text(&["GET", key]), "nil", "{key}");
        assert_eq!(server.text(&["EXISTS", key]), ":0", "{key}");
    }
    assert_eq!(server.text(&["DBSIZE"]), ":3");
    // For the primary they exist until it says otherwise.
    offset += stream(&mut raw, &["INCR old", "PERSIST old", "DEL young"]);
    acknowledged(&mut raw, offset);
    assert_eq!(server.text(&["GET", "old"]), "6");
    assert_eq!(server.text(&["DBSIZE"]), ":2");
    // As a primary it decides itself.
    server.text(&["REPLICAOF", "NO", "ONE"]);
    wait_for("the other key to be deleted", || (server.text(&["DBSIZE"]) == ":1").then_some(()));
}

#[test]
fn promotion_and_demotion_at_run_time() {
    let (primary, other) = (FakePrimary::new(), FakePrimary::new());
    let mut server = primary.start_replica(&[]);
    let raw = primary.full_sync(100, &snapshot(&[("key", "value", None)]));
    server.wait_info("master_link_status", "up");
    let port = primary.port.to_string();
    assert_eq!(
        server.text(&["REPLICAOF", "127.0.0.1", &port]),
        "OK Already connected to specified master"
    );
    // Another primary may know the same history.
    server.replica_of(other.port);
    let (_link, asked) = other.handshake();
    assert_eq!(asked, psync(HISTORY, 101));
    assert_eq!(server.text(&["ROLE"]), format!("[slave 127.0.0.1 :{} handshake :-1]", other.port));
    drop(raw);
    assert_eq!(server.text(&["SLAVEOF", "NO", "ONE"]), "OK");
    assert_eq!(server.info_text("role").as_deref(), Some("master"));
    assert_eq!(server.text(&["GET", "key"]), "value");
    assert_eq!(server.text(&["SET", "key", "mine"]), "OK");
    // And back: its own history, in case the other has followed it.
    let (id, offset) =
        (server.info_text("master_replid").expect("an id"), server.info_text("master_repl_offset"));
    let offset: u64 = offset.and_then(|o| o.parse().ok()).expect("an offset");
    server.text(&["REPLICAOF", "127.0.0.1", &port]);
    let (_link, asked) = primary.handshake();
    assert_eq!(asked, psync(&id, offset + 1));
    for port in ["0x1", "-1", "65536"] {
        assert_eq!(server.text(&["REPLICAOF", "127.0.0.1", port]), "ERR Invalid master port");
    }
}

#[test]
fn a_restarted_replica_goes_on_where_its_file_ends() {
    let primary = FakePrimary::new();
    let mut server = primary.start_replica(&[]);
    let mut raw = primary.full_sync(0, EMPTY_RDB);
    let offset = stream(&mut raw, &["SELECT 5", "SET key value"]);
    server.wait_info("slave_repl_offset", &offset.to_string());
    assert_eq!(server.text(&["SAVE"]), "OK");
    let address = format!("127.0.0.1 {}", primary.port);
    let mut server = Server::start_in(server.into_dir(), &["--replicaof", &address]);
    let (mut raw, asked) = primary.handshake();
    assert_eq!(asked, psync(HISTORY, offset + 1));
    raw.send("+CONTINUE\r\n");
    let more = stream(&mut raw, &["APPEND key s"]);
    acknowledged(&mut raw, offset + more);
    server.text(&["SELECT", "5"]);
    assert_eq!(server.text(&["GET", "key"]), "values");
}

#[test]
fn a_snapshot_of_unknown_length_ends_at_its_mark() {
    let mark = "0123456789abcdef0123456789abcdef01234567";
    for load in ["disabled", "on-empty-db", "swapdb"] {
        let primary = FakePrimary::new();
        let mut server = primary.start_replica(&["--repl-diskless-load", load]);
        let (mut raw, _) = primary.handshake();
        raw.send(format!("+FULLRESYNC {HISTORY} 0\r\n$EOF:{mark}\r\n"));
        let rdb = snapshot(&[("key", "value", None)]);
        // In pieces, with the mark cut in two.
        for piece in [&rdb[..20], &rdb[20..], &mark.as_bytes()[..13]] {
            raw.send(piece);
            assert!(server.is_silent_to(&mut raw), "it waits for the mark");
        }
        assert_eq!(server.info("master_sync_in_progress"), 1, "{load}");
        raw.send(&mark.as_bytes()[13..]);
        // The primary holds the stream back until it hears that the mark was found.
        assert_eq!(read_command(&mut raw), ["REPLCONF", "ACK", "0"], "{load}");
        assert_eq!(server.text(&["GET", "key"]), "value", "{load}");
    }
}

#[test]
fn old_data_is_served_while_a_snapshot_of_the_same_history_is_swapped_in() {
    let primary = FakePrimary::new();
    let mut server = primary.start_replica(&["--repl-diskless-load", "swapdb"]);
    let mut raw = primary.full_sync(0, &snapshot(&[("key", "old", None)]));
    acknowledged(&mut raw, 0);
    for (id, answer) in [
        (HISTORY.to_string(), "old"),
        (HISTORY.replace('7', "8"), "LOADING Redis is loading the dataset in memory"),
    ] {
        drop(raw);
        let (mut link, _) = primary.handshake();
        let rdb = snapshot(&[("key", "old", None), ("other", "value", None)]);
        link.send(format!("+FULLRESYNC {id} 0\r\n${}\r\n", rdb.len()));
        link.send(&rdb[..rdb.len() - 9]);
        let field = if answer == "old" { "async_loading" } else { "loading" };
        server.wait_info(field, "1");
        assert_eq!(server.text(&["GET", "key"]), answer);
        link.send(&rdb[rdb.len() - 9..]);
        server.wait_info("master_link_status", "up");
        assert_eq!(server.text(&["GET", "other"]), "value");
        raw = link;
    }
}

#[test]
fn silence_ends_the_link() {
    let primary = FakePrimary::new();
    let mut server = primary.start_replica(&["--repl-timeout", "1"]);
    // Before the handshake, within it, in the snapshot, and in the stream.
    let _silent = primary.accept();
    let (_silent, _) = primary.handshake();
    let (mut raw, _) = primary.handshake();
    raw.send(format!("+FULLRESYNC {HISTORY} 0\r\n$1000\r\nREDIS"));
    let silent = primary.full_sync(0, EMPTY_RDB);
    server.wait_info("master_link_status", "up");
    let (mut raw, asked) = primary.handshake();
    assert_eq!(asked, psync(HISTORY, 1));
    raw.send("+CONTINUE\r\n");
    // What is heard counts, though it is no complete request.
    raw.send("*2\r\n$4\r\nINCR\r\n$100000\r\n");
    for _ in 0..20 {
        server.pass(100);
        raw.send("x");
    }
    assert_eq!(server.info_text("master_link_status").as_deref(), Some("up"));
    drop(silent);
    let log = server.log();
    for line in [
        "Timeout connecting to the MASTER...",
        "Timeout receiving bulk data from MASTER...",
        "MASTER timeout: no data nor PING received...",
    ] {
        assert!(log.contains(line), "{line} is not in:\n{log}");
    }
}

#[test]
fn how_long_the_link_is_down_is_counted_anew_for_another_primary() {
    let primary = FakePrimary::new();
    let mut server = primary.start_replica(&[]);
    drop(primary.full_sync(0, EMPTY_RDB));
    wait_for("the loss", || {
        let seconds = server.info_text("master_link_down_since_seconds")?;
        (seconds.parse::<i64>().ok()? >= 0).then_some(())
    });
    server.text(&["REPLICAOF", "NO", "ONE"]);
    server.replica_of(primary.port);
    assert_eq!(server.info_text("master_link_down_since_seconds").as_deref(), Some("-1"));
}

#[test]
fn it_tells_its_version_and_then_what_it_can_read() {
    let primary = FakePrimary::new();
    let _server = primary.start_replica(&["--redis-version-announced", "8.2.0"]);
    let mut raw = primary.accept();
    raw.expect(encoded(&["PING"]));
    raw.send("+PONG\r\n");
    read_command(&mut raw);
    assert_eq!(read_command(&mut raw)[5..], ["version", "8.2.0", "version", "9.0.0"]);
}

#[test]
fn who_starts_before_its_primary_tries_again_at_once() {
    let port = crate::harness::free_port();
    let address = format!("127.0.0.1 {port}");
    let server = Server::start(&["--replicaof", &address, "--hz", "500"]);
    wait_for("the next second", || {
        (server.log().matches("Connecting to MASTER").count() > 1).then_some(())
    });
    assert!(server.log().matches("MASTER <-> REPLICA sync started").count() > 2);
}
