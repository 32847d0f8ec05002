//! A primary that closes, lies or sends nonsense: the replica keeps what it has, and tries again.

use crate::harness::replication::{FakePrimary, HISTORY, read_command, snapshot};
use crate::harness::{Server, encoded};

/// A replica that has data of its own from an earlier life.
fn replica(primary: &FakePrimary, options: &[&str]) -> Server {
    let dir = tempfile::tempdir().expect("a directory");
    std::fs::write(dir.path().join("dump.rdb"), snapshot(&[("key", "old", None)]))
        .expect("the file");
    let address = format!("127.0.0.1 {}", primary.port);
    Server::start_in(dir, &[&["--replicaof", &address], options].concat())
}

/// The server answers, has the old data, and in the end gets the new.
fn recovers(primary: &FakePrimary, server: &mut Server, data_survives: bool) {
    let expected = if data_survives { "old" } else { "nil" };
    assert_eq!(server.text(&["GET", "key"]), expected);
    let _raw = primary.full_sync(0, &snapshot(&[("key", "new", None)]));
    server.wait_info("master_link_status", "up");
    assert_eq!(server.text(&["GET", "key"]), "new");
    assert_eq!(server.temporary_files(), [""; 0], "left behind");
}

#[test]
fn it_closes_at_each_step() {
    let primary = FakePrimary::new();
    let mut server = replica(&primary, &[]);
    drop(primary.accept());
    for step in 0..6 {
        let mut raw = primary.accept();
        for n in 0..step {
            let command = read_command(&mut raw);
            match (n, command[0].as_str()) {
                (_, "PING") => raw.send("+PONG\r\n"),
                (_, "REPLCONF") => raw.send("+OK\r\n"),
                (3, _) => raw.send(format!("+FULLRESYNC {HISTORY} 0\r\n")),
                _ => {}
            }
            if n == 4 {
                raw.send("$100000\r\nREDIS0011");
            }
            if n == 3 && step == 5 {
                raw.send("$100000\r\nREDIS0011");
                break;
            }
        }
    }
    recovers(&primary, &mut server, true);
}

#[test]
fn it_refuses_or_talks_nonsense() {
    let primary = FakePrimary::new();
    let mut server = replica(&primary, &["--loglevel", "verbose"]);
    for answer in ["-ERR no\r\n", "-DENIED protected\r\n"] {
        let mut raw = primary.accept();
        raw.expect(encoded(&["PING"]));
        raw.send(answer);
        assert_eq!(raw.read_to_end(), b"", "to {answer:?}");
    }
    let endless = "+".repeat(5000);
    for answer in [
        "-LOADING Redis is loading the dataset in memory\r\n",
        "-NOMASTERLINK Can't SYNC while not connected with my master\r\n",
        "+WHAT\r\n",
        "+CONTINUE\r\n",
        "+FULLRESYNC\r\n",
        "+FULLRESYNC 1234 0\r\n",
        &format!("+FULLRESYNC {HISTORY} x\r\n"),
        &format!("+FULLRESYNC {HISTORY} -1\r\n"),
        &format!("+FULLRESYNC {HISTORY} 0\r\n-ERR I have changed my mind\r\n"),
        &format!("+FULLRESYNC {HISTORY} 0\r\n+REDIS0011\r\n"),
        &format!("+FULLRESYNC {HISTORY} 0\r\n$-1\r\n"),
        &format!("+FULLRESYNC {HISTORY} 0\r\n$0\r\n"),
        &format!("+FULLRESYNC {HISTORY} 0\r\n$18446744073709551616\r\n"),
        &format!("+FULLRESYNC {HISTORY} 0\r\n$EOF:short\r\n"),
        &endless,
    ] {
        let (mut raw, _) = primary.handshake();
        raw.send(answer);
        raw.read_to_end();
    }
    recovers(&primary, &mut server, true);
}

#[test]
fn it_does_not_know_psync() {
    let primary = FakePrimary::new();
    let mut server = replica(&primary, &[]);
    let (mut raw, _) = primary.handshake();
    raw.send("-ERR unknown command 'PSYNC'\r\n");
    raw.expect(encoded(&["SYNC"]));
    let rdb = snapshot(&[("key", "new", None)]);
    raw.send(format!("\n${}\r\n", rdb.len()));
    raw.send(&rdb);
    raw.send(encoded(&["APPEND", "key", "er"]));
    server.wait_info("master_link_status", "up");
    crate::harness::wait_for("the stream", || {
        (server.text(&["GET", "key"]) == "newer").then_some(())
    });
    // It counts no offsets, so there is nothing to resume.
    drop(raw);
    let (_raw, asked) = primary.handshake();
    assert_eq!(asked, ["PSYNC", "?", "-1"]);
}

#[test]
fn its_snapshot_is_no_good() {
    let good = snapshot(&[("key", "new", None), ("other", "x", None)]);
    let mut flipped = good.clone();
    flipped[0] = b'r';
    let mut unknown_type = good.clone();
    unknown_type[11] = 0x77;
    let lying_length = [&good[..12], b"\x80\xff\xff\xff\xff"].concat();
    let twice = snapshot(&[("key", "new", None), ("key", "newer", None)]);
    let later = [b"REDIS0099", &good[9..]].concat();
    // Old data survives where the snapshot's first bytes tell, or where the new was to be swapped in at the end.
    for (load, is_swapped) in [("disabled", false), ("on-empty-db", false), ("swapdb", true)] {
        for (rdb, has_header) in [
            (&flipped[..], false),
            (&later, false),
            (b"\xff\xfe\xfd", false),
            (&unknown_type, true),
            (&lying_length, true),
            (&twice, true),
            (&good[..good.len() - 9], true),
        ] {
            let survives = is_swapped || !has_header;
            let primary = FakePrimary::new();
            let mut server = replica(&primary, &["--repl-diskless-load", load]);
            let mut raw = primary.full_sync(0, rdb);
            raw.read_to_end();
            recovers(&primary, &mut server, survives);
        }
    }
}

#[test]
fn its_snapshot_is_longer_or_shorter_than_announced() {
    for (load, survives) in [("disabled", true), ("swapdb", true)] {
        let primary = FakePrimary::new();
        let mut server = replica(&primary, &["--repl-diskless-load", load]);
        let rdb = snapshot(&[("key", "new", None)]);
        for announced in [rdb.len() + 1, usize::MAX / 2] {
            let (mut raw, _) = primary.handshake();
            raw.send(format!("+FULLRESYNC {HISTORY} 0\r\n${announced}\r\n"));
            raw.send(&rdb);
        }
        recovers(&primary, &mut server, survives);
    }
}

#[test]
fn its_stream_makes_no_sense() {
    let primary = FakePrimary::new();
    let mut server = replica(&primary, &[]);
    for garbage in
        ["*1\r\n!3\r\nfoo\r\n", "*99999999999\r\n", "*1\r\n$-5\r\n", "SET key inline\r\n"]
    {
        let mut raw = primary.full_sync(0, &snapshot(&[("key", "old", None)]));
        raw.send(garbage);
        raw.read_to_end();
        // Who knows what was applied: it is not resumed.
        let (raw, asked) = primary.handshake();
        assert_eq!(asked, ["PSYNC", "?", "-1"], "after {garbage:?}");
        drop(raw);
    }
    recovers(&primary, &mut server, true);
    // Commands that fail are no reason to go: the primary has executed them.
    let (mut raw, _) = primary.handshake();
    raw.send("+CONTINUE\r\n");
    raw.send([encoded(&["NONSENSE"]), encoded(&["GET"]), encoded(&["SET", "key", "end"])].concat());
    crate::harness::wait_for("the stream", || {
        (server.text(&["GET", "key"]) == "end").then_some(())
    });
}

/// A server that ends while a snapshot comes leaves no half of it behind.
#[test]
fn it_is_slow_and_the_replica_ends() {
    let primary = FakePrimary::new();
    let mut server = replica(&primary, &[]);
    let (mut raw, _) = primary.handshake();
    raw.send(format!("+FULLRESYNC {HISTORY} 0\r\n$100000\r\nREDIS0011"));
    server.wait_info("master_sync_read_bytes", "9");
    server.shut_down(&[]);
    assert_eq!(server.temporary_files(), [""; 0]);
}
