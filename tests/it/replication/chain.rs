//! Several servers under test.

use crate::harness::replication::{EMPTY_RDB, FakePrimary, line_after_newlines};
use crate::harness::{Server, wait_for};

/// Makes a server follow another, and waits for the link.
fn start() -> Server {
    Server::start(&["--repl-diskless-sync-delay", "0"])
}

#[test]
fn the_replica_of_a_promoted_replica_goes_on() {
    let (mut first, mut second, mut third) = (start(), start(), start());
    second.follow(&first);
    third.follow(&second);
    first.text(&["SELECT", "2"]);
    first.text(&["SET", "key", "1"]);
    second.catch_up_with(&mut first);
    third.catch_up_with(&mut first);
    first.kill();
    let history = second.info_text("master_replid");
    assert_eq!(second.text(&["REPLICAOF", "NO", "ONE"]), "OK");
    second.wait_info("sync_partial_ok", "1");
    assert_eq!(second.info_text("master_replid2"), history);
    second.text(&["SELECT", "2"]);
    second.text(&["INCR", "key"]);
    third.catch_up_with(&mut second);
    third.text(&["SELECT", "2"]);
    assert_eq!(third.text(&["GET", "key"]), "2");
    assert_eq!(third.info_text("master_replid"), second.info_text("master_replid"));
    assert_eq!(second.info("sync_full"), 1, "only the first one");
}

#[test]
fn replicas_move_to_another_primary_of_the_same_history() {
    let (mut first, mut second, mut third) = (start(), start(), start());
    second.follow(&first);
    third.follow(&first);
    first.text(&["SET", "key", "1"]);
    second.catch_up_with(&mut first);
    third.catch_up_with(&mut first);
    // A sibling becomes the primary; the third follows it, and so does the old one.
    second.text(&["REPLICAOF", "NO", "ONE"]);
    third.follow(&second);
    first.follow(&second);
    second.text(&["INCR", "key"]);
    for replica in [&mut first, &mut third] {
        replica.catch_up_with(&mut second);
        assert_eq!(replica.text(&["GET", "key"]), "2");
    }
    assert_eq!(second.info("sync_partial_ok"), 2);
    assert_eq!(second.info("sync_full"), 0);
}

#[test]
fn a_replica_of_a_replica_stays_while_the_middle_resumes() {
    let (mut first, mut second, mut third) = (start(), start(), start());
    second.follow(&first);
    third.follow(&second);
    let client = first.text(&["CLIENT", "KILL", "TYPE", "replica"]);
    assert_eq!(client, ":1");
    first.wait_info("sync_partial_ok", "1");
    first.text(&["SET", "key", "value"]);
    third.catch_up_with(&mut first);
    assert_eq!(third.text(&["GET", "key"]), "value");
    assert_eq!(second.info("sync_partial_ok"), 0, "the third has not noticed");
}

#[test]
fn the_replica_of_a_restarted_primary_resumes() {
    let (mut first, mut second) = (start(), start());
    second.follow(&first);
    first.text(&["SET", "key", "value"]);
    second.catch_up_with(&mut first);
    first.shut_down(&["SAVE"]);
    let mut first = Server::start_in(first.into_dir(), &["--repl-diskless-sync-delay", "0"]);
    second.follow(&first);
    assert_eq!(first.info("sync_partial_ok"), 1);
    first.text(&["APPEND", "key", "s"]);
    second.catch_up_with(&mut first);
    assert_eq!(second.text(&["GET", "key"]), "values");
}

#[test]
fn a_shutdown_waits_for_the_replicas() {
    let (mut first, mut second) = (start(), start());
    second.follow(&first);
    first.text(&["SET", "key", &"x".repeat(10_000_000)]);
    assert_eq!(first.shut_down(&[]), Some(0));
    assert_eq!(second.text(&["STRLEN", "key"]), ":10000000");
}

/// A snapshot that takes long must not let the primary's buffer overflow: the replica keeps the stream, beyond its
/// limit in a file.
#[test]
fn a_long_snapshot_on_two_channels_needs_one_attempt() {
    let options = ["--repl-diskless-sync-delay", "0", "--dual-channel-replication-enabled", "yes"];
    let (mut primary, mut replica) = (Server::start(&options), Server::start(&options));
    let limit = "replica 20kb 20kb 0";
    replica.text(&["CONFIG", "SET", "client-output-buffer-limit", limit]);
    // Much less than what is written, and much more than waits in sockets.
    primary.text(&["CONFIG", "SET", "client-output-buffer-limit", "replica 20mb 20mb 0"]);
    primary.text(&["DEBUG", "POPULATE", "300", "old", "10"]);
    // Three seconds.
    primary.text(&["CONFIG", "SET", "rdb-key-save-delay", "10000"]);
    replica.replica_of(primary.port);
    wait_for("the main channel", || {
        primary.text(&["INFO", "replication"]).contains("type=main-channel").then_some(())
    });
    let value = "x".repeat(100_000);
    for n in 0..400 {
        primary.text(&["SET", &format!("new:{n}"), &value]);
    }
    wait_for("the stream in a file", || {
        replica.log().contains("the stream goes on in a file").then_some(())
    });
    // No file is to be seen, so none can be left behind.
    let left = replica.temporary_files();
    assert!(left.iter().all(|name| !name.starts_with("temp-stream")), "{left:?}");
    replica.wait_info("master_link_status", "up");
    replica.catch_up_with(&mut primary);
    assert_eq!(replica.text(&["DEBUG", "DIGEST"]), primary.text(&["DEBUG", "DIGEST"]));
    assert_eq!(primary.info("sync_full"), 1, "{}", primary.log());
}

/// What is kept of the stream for a replica whose snapshot is on its way ends with the history.
#[test]
fn nothing_is_kept_of_a_history_that_has_ended() {
    let primary = FakePrimary::new();
    let mut middle = primary.start_replica(&["--repl-diskless-sync-delay", "0"]);
    let link = primary.full_sync(1000, EMPTY_RDB);
    middle.wait_info("master_link_status", "up");
    let mut channel = middle.raw();
    channel.command(&["REPLCONF", "rdb-channel", "1", "capa", "eof"]);
    channel.expect("+OK\r\n");
    channel.command(&["SYNC"]);
    assert!(line_after_newlines(&mut channel).starts_with("$ENDOFF:1000 "));
    middle.wait_info("replicas_waiting_psync", "1");
    drop(link);
    // The new one has not got as far.
    let _link = primary.full_sync(10, EMPTY_RDB);
    middle.wait_info("master_repl_offset", "10");
    middle.wait_info("replicas_waiting_psync", "0");
}
