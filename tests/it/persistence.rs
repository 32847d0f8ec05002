//! Snapshots: when they are written, how they are loaded, and what happens when either fails.

use crate::harness::replication::snapshot;
use crate::harness::{Server, send_signal, wait_for};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use tempfile::TempDir;

const FILE: &str = "dump.rdb";

/// Fills a few databases.
fn fill(server: &mut Server) {
    server.text(&[
        "MSET",
        "int",
        "12345",
        "text",
        "some text",
        "",
        "",
        "long",
        &"abc".repeat(1000),
    ]);
    server.text(&["SET", "volatile", "x", "EX", "1000"]);
    server.text(&["SELECT", "15"]);
    server.text(&["SET", "key", "value"]);
    server.text(&["SELECT", "0"]);
}

fn is_filled(server: &mut Server) {
    assert_eq!(server.text(&["MGET", "int", "text", ""]), "[12345 some text ]");
    assert_eq!(server.text(&["GET", "long"]), "abc".repeat(1000));
    let ttl: i64 = server.text(&["TTL", "volatile"])[1..].parse().expect("a number");
    assert!((900..=1000).contains(&ttl), "{ttl}");
    server.text(&["SELECT", "15"]);
    assert_eq!(server.text(&["GET", "key"]), "value");
    server.text(&["SELECT", "0"]);
    assert_eq!(server.text(&["DBSIZE"]), ":5");
}

/// A directory with a snapshot in it.
fn with_file(bytes: &[u8]) -> TempDir {
    let dir = tempfile::tempdir().expect("a directory");
    fs::write(dir.path().join(FILE), bytes).expect("the file");
    dir
}

/// Starts a server that is expected to give up.
fn start_in_vain(dir: &Path) -> Output {
    Command::new(crate::harness::program())
        .args(["--port", "0", "--unixsocket", "sock", "--dir"])
        .arg(dir)
        .output()
        .expect("the program runs")
}

/// A snapshot as the server writes it.
fn saved(options: &[&str]) -> Vec<u8> {
    let mut server = Server::start(options);
    fill(&mut server);
    assert_eq!(server.text(&["SAVE"]), "OK");
    fs::read(server.dir().join(FILE)).expect("the file")
}

/// In the place of the file is a directory: nothing can be renamed to it.
fn obstruct(server: &Server) -> PathBuf {
    let path = server.dir().join(FILE);
    let _ = fs::remove_file(&path);
    fs::create_dir(&path).expect("a directory");
    path
}

#[test]
fn what_was_saved_is_there_after_a_restart() {
    for options in [&[][..], &["--rdbcompression", "no"], &["--rdbchecksum", "no"]] {
        for command in ["SAVE", "BGSAVE"] {
            let mut server = Server::start(options);
            fill(&mut server);
            assert_ne!(server.info("rdb_changes_since_last_save"), 0);
            let reply = server.text(&[command]);
            assert!(reply == "OK" || reply == "Background saving started", "{reply}");
            server.wait_info("rdb_changes_since_last_save", "0");
            assert_eq!(server.info_text("rdb_last_bgsave_status").as_deref(), Some("ok"));
            assert_eq!(server.info("rdb_saves"), 1);
            assert!(server.temporary_files().is_empty());
            is_filled(&mut Server::start_in(server.into_dir(), options));
        }
    }
}

#[test]
fn compression_and_checksum_are_optional() {
    let (plain, raw) = (saved(&[]), saved(&["--rdbcompression", "no", "--rdbchecksum", "no"]));
    assert!(plain.starts_with(b"REDIS0010") && raw.starts_with(b"REDIS0010"));
    assert!(plain.len() + 2000 < raw.len(), "{} and {} bytes", plain.len(), raw.len());
    assert_eq!(raw[raw.len() - 8..], [0; 8]);
    assert_ne!(plain[plain.len() - 8..], [0; 8]);
}

#[test]
fn one_background_save_at_a_time() {
    let mut server = Server::start(&["--rdb-key-save-delay", "10000000"]);
    server.text(&["SET", "key", "value"]);
    let before = server.text(&["LASTSAVE"]);
    assert_eq!(server.text(&["BGSAVE"]), "Background saving started");
    assert_eq!(server.info("rdb_bgsave_in_progress"), 1);
    for again in [&["BGSAVE"][..], &["BGSAVE", "SCHEDULE"], &["SAVE"]] {
        assert_eq!(server.text(again), "ERR Background save already in progress", "{again:?}");
    }
    // The loop goes on meanwhile.
    assert_eq!(server.text(&["INCR", "n"]), ":1");
    assert_eq!(server.text(&["LASTSAVE"]), before);
    assert_eq!(server.text(&["CONFIG", "SET", "rdb-key-save-delay", "0"]), "OK");
    assert_eq!(server.text(&["FLUSHALL"]), "OK");
    server.wait_info("rdb_bgsave_in_progress", "0");
    assert!(server.temporary_files().is_empty(), "{:?}", server.temporary_files());
}

#[test]
fn save_points() {
    let mut server = Server::start(&["--save", "1 3"]);
    server.text(&["MSET", "a", "1", "b", "2"]);
    assert_eq!(server.info("rdb_changes_since_last_save"), 2);
    server.text(&["SET", "c", "3"]);
    server.wait_info("rdb_changes_since_last_save", "0");
    assert!(server.log().contains("3 changes in 1 seconds. Saving..."), "{}", server.log());
    assert!(server.log().contains("Background saving terminated with success"), "{}", server.log());
    let mut server = Server::start_in(server.into_dir(), &[]);
    assert_eq!(server.text(&["DBSIZE"]), ":3");
}

#[test]
fn a_damaged_file_is_refused_and_left_alone() {
    let good = saved(&[]);
    let cut = (0..good.len()).step_by(7).map(|len| good[..len].to_vec());
    let flipped = (0..good.len()).step_by(5).map(|at| {
        let mut bytes = good.clone();
        bytes[at] ^= 0x55;
        bytes
    });
    let foreign =
        [b"".to_vec(), b"PK\x03\x04".repeat(10), b"REDIS9999".repeat(3), b"REDIS0011".to_vec()];
    for bytes in cut.chain(flipped).chain(foreign) {
        let dir = with_file(&bytes);
        let output = start_in_vain(dir.path());
        let log = String::from_utf8_lossy(&output.stdout);
        assert_eq!(output.status.code(), Some(1), "{} in:\n{log}", bytes.escape_ascii());
        assert!(log.lines().any(|l| l.contains("offset")), "where, is not in:\n{log}");
        let last_words =
            ["Terminating server after rdb file reading failure.", "Fatal error loading the DB"];
        assert!(last_words.iter().any(|words| log.contains(words)), "{log}");
        assert_eq!(fs::read(dir.path().join(FILE)).expect("the file"), bytes, "it is as it was");
    }
}

#[test]
fn a_file_that_makes_no_sense_here_is_refused() {
    let mut other_db = snapshot(&[("key", "value", None)]);
    other_db[10] = 17;
    for (bytes, reason) in [
        (snapshot(&[("key", "1", None), ("key", "2", None)]), "duplicated key 'key'"),
        (other_db, "configured to handle more than 16 databases"),
    ] {
        let output = start_in_vain(with_file(&bytes).path());
        let log = String::from_utf8_lossy(&output.stdout).into_owned();
        assert_eq!(output.status.code(), Some(1), "{log}");
        assert!(log.contains(reason), "{reason} is not in:\n{log}");
    }
}

#[test]
fn keys_without_a_value_are_passed_over() {
    // An empty hash, an empty sorted set and an empty list, which old servers could write; then a string.
    let file = b"REDIS0009\xfe\x00\x04\x01h\x00\x05\x01z\x00\x01\x01l\x00\x00\x01s\x01v\xff\0\0\0\0\0\0\0\0";
    let mut server = Server::start_in(with_file(file), &[]);
    assert_eq!(server.text(&["KEYS", "*"]), "[s]");
    let log = server.log();
    for key in ["h", "z", "l"] {
        assert!(log.contains(&format!("skipping empty key: {key}")), "{log}");
    }
    assert!(log.contains("keys loaded: 1, keys expired: 0, empty keys skipped: 3."), "{log}");
}

#[test]
fn clients_hear_that_the_data_is_being_loaded() {
    let keys: Vec<String> = (0..2000).map(|n| format!("key:{n}")).collect();
    let entries: Vec<_> = keys.iter().map(|key| (key.as_str(), "value", None)).collect();
    let dir = with_file(&snapshot(&entries));
    let mut server = Server::start_loading(dir, &["--key-load-delay", "200"]);
    let mut refused = false;
    wait_for("the data", || {
        let reply = server.text(&["GET", "key:1"]);
        refused |= reply == "LOADING Redis is loading the dataset in memory";
        (reply == "value").then_some(())
    });
    assert!(refused, "it was there at once");
    assert_eq!(server.text(&["DBSIZE"]), ":2000");
}

#[test]
fn writes_stop_when_a_background_save_fails() {
    let mut server = Server::start(&["--save", "3600 1000"]);
    server.text(&["SET", "key", "value"]);
    let path = obstruct(&server);
    assert_eq!(server.text(&["SAVE"]), "ERR ");
    assert_eq!(server.text(&["SET", "key", "value"]), "OK");
    assert_eq!(server.text(&["BGSAVE"]), "Background saving started");
    server.wait_info("rdb_last_bgsave_status", "err");
    let reply = server.text(&["SET", "key", "other"]);
    assert!(reply.starts_with("MISCONF Redis is configured to save RDB snapshots"), "{reply}");
    assert_eq!(server.text(&["PING"]), reply);
    assert_eq!(server.text(&["GET", "key"]), "value");
    assert!(server.temporary_files().is_empty());
    server.text(&["CONFIG", "SET", "stop-writes-on-bgsave-error", "no"]);
    assert_eq!(server.text(&["SET", "key", "other"]), "OK");
    server.text(&["CONFIG", "SET", "stop-writes-on-bgsave-error", "yes"]);
    fs::remove_dir(path).expect("it is empty");
    server.text(&["BGSAVE"]);
    server.wait_info("rdb_last_bgsave_status", "ok");
    assert_eq!(server.text(&["SET", "key", "more"]), "OK");
}

#[test]
fn a_killed_child_is_a_failure_unless_it_was_meant() {
    // What ends the server, and is often sent to all processes of a group, does not end the child.
    for (signals, status) in [(&["KILL"][..], "err"), (&["TERM", "INT", "USR1"], "ok")] {
        let mut server = Server::start(&["--rdb-key-save-delay", "10000000"]);
        server.text(&["SET", "key", "value"]);
        server.text(&["BGSAVE"]);
        let child = server.child();
        signals.iter().for_each(|signal| send_signal(child, signal));
        server.wait_info("rdb_bgsave_in_progress", "0");
        assert_eq!(
            server.info_text("rdb_last_bgsave_status").as_deref(),
            Some(status),
            "{signals:?}"
        );
        assert_eq!(server.info("rdb_saves"), 1, "attempts count");
        assert!(server.temporary_files().is_empty());
    }
}

#[test]
fn sigterm_saves_if_there_are_save_points() {
    for (save, kept) in [("3600 1000", true), ("", false)] {
        let mut server = Server::start(&["--save", save]);
        fill(&mut server);
        assert_eq!(server.terminate(), Some(0));
        assert_eq!(server.dir().join(FILE).exists(), kept, "save {save:?}");
        assert!(
            server.log().contains("Received SIGTERM scheduling shutdown..."),
            "{}",
            server.log()
        );
        if kept {
            is_filled(&mut Server::start_in(server.into_dir(), &[]));
        }
    }
}

#[test]
fn shutdown_saves_as_it_is_told() {
    for (arguments, save, kept) in [
        (&["SAVE"][..], "", true),
        (&["NOSAVE"], "3600 1000", false),
        (&["NOSAVE", "NOW", "FORCE"], "3600 1000", false),
        (&[], "3600 1000", true),
    ] {
        let mut server = Server::start(&["--save", save]);
        fill(&mut server);
        assert_eq!(server.shut_down(arguments), Some(0));
        assert_eq!(server.dir().join(FILE).exists(), kept, "{arguments:?}");
    }
}

#[test]
fn a_server_that_can_not_save_does_not_end() {
    let mut server = Server::start(&["--save", "3600 1000"]);
    fill(&mut server);
    obstruct(&server);
    assert_eq!(server.text(&["SHUTDOWN"]), "ERR Errors trying to SHUTDOWN. Check logs.");
    server.signal("TERM");
    wait_for("the attempt", || {
        server.log().contains("Error trying to save the DB, can't exit").then_some(())
    });
    is_filled(&mut server);
    assert_eq!(server.shut_down(&["FORCE"]), Some(0));
}

#[test]
fn files_that_were_only_on_their_way_are_deleted() {
    let options = ["--rdb-del-sync-files", "yes", "--repl-diskless-sync", "no"];
    let mut primary = Server::start(&options);
    primary.text(&["SET", "key", "value"]);
    let mut replica = Server::start(&options);
    replica.follow(&primary);
    assert_eq!(replica.text(&["GET", "key"]), "value");
    for server in [&primary, &replica] {
        wait_for("the file's end", || (!server.dir().join(FILE).exists()).then_some(()));
    }
}

/// A supervisor that is impatient must not cost the data.
#[test]
fn who_repeats_sigterm_does_not_insist() {
    for signals in [&["TERM", "TERM", "TERM"][..], &["INT", "TERM"]] {
        let mut server = Server::start(&["--save", "3600 1000"]);
        fill(&mut server);
        server.text(&["DEBUG", "PAUSE-CRON", "1"]);
        for (n, name) in signals.iter().enumerate() {
            server.signal(name);
            wait_for("the signal", || {
                (server.log().matches("scheduling shutdown").count() == n + 1).then_some(())
            });
        }
        server.text(&["DEBUG", "PAUSE-CRON", "0"]);
        assert_eq!(server.wait_exit(), Some(0));
        assert!(server.dir().join(FILE).exists());
    }
    let mut server = Server::start(&["--save", "3600 1000"]);
    fill(&mut server);
    server.text(&["CONFIG", "SET", "rdb-key-save-delay", "20000"]);
    server.signal("TERM");
    wait_for("the save", || (!server.temporary_files().is_empty()).then_some(()));
    server.signal("TERM");
    assert_eq!(server.wait_exit(), Some(0));
    assert!(server.dir().join(FILE).exists());
}

#[test]
fn sigint_behind_sigterm_insists() {
    let mut server = Server::start(&["--save", "3600 1000"]);
    fill(&mut server);
    server.text(&["CONFIG", "SET", "rdb-key-save-delay", "300000"]);
    server.signal("TERM");
    wait_for("the save", || (!server.temporary_files().is_empty()).then_some(()));
    server.signal("INT");
    assert_eq!(server.wait_exit(), Some(1));
    assert!(server.temporary_files().is_empty());
    assert!(!server.dir().join(FILE).exists());
}

#[test]
fn a_shutdown_by_signal_can_be_aborted_and_insisted_upon() {
    let mut server = Server::start(&["--save", "3600 1000"]);
    fill(&mut server);
    server.text(&["DEBUG", "PAUSE-CRON", "1"]);
    server.signal("TERM");
    wait_for("the signal", || server.log().contains("Received SIGTERM").then_some(()));
    assert_eq!(server.text(&["SHUTDOWN", "ABORT"]), "OK");
    server.text(&["DEBUG", "PAUSE-CRON", "0"]);
    assert_eq!(server.text(&["PING"]), "PONG");
    server.text(&["CONFIG", "SET", "rdb-key-save-delay", "300000"]);
    server.signal("INT");
    wait_for("the save", || (!server.temporary_files().is_empty()).then_some(()));
    server.signal("INT");
    assert_eq!(server.wait_exit(), Some(1));
    assert!(server.temporary_files().is_empty());
    assert!(!server.dir().join(FILE).exists());
}
