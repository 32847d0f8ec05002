//! Several servers under test.

use crate::harness::replication::{EMPTY_RDB, FakePrimary, line_after_newlines};
use crate::harness::{Server, wait_for};

/// Makes a server follow another, and waits for the link.
fn follow(replica: &mut Server, primary: &Server) {
    assert_eq!(replica.text(&["REPLICAOF", "127.0.0.1", &primary.port.to_string()]), "OK");
    replica.wait_info("master_link_status", "up");
}

/// Waits until a replica has all that was written.
fn in_sync(replica: &mut Server, primary: &mut Server) {
    wait_for("equal offsets", || {
        let offset = primary.info_text("master_repl_offset")?;
        (replica.info_text("slave_repl_offset")? == offset).then_some(())
    });
}

fn start() -> Server {
    Server::start(&["--repl-diskless-sync-delay", "0"])
}

#[test]
fn the_replica_of_a_promoted_replica_goes_on() {
    let (mut first, mut second, mut third) = (start(), start(), start());
    follow(&mut second, &first);
    follow(&mut third, &second);
    first.text(&["SELECT", "2"]);
    first.text(&["SET", "key", "1"]);
    in_sync(&mut second, &mut first);
    in_sync(&mut third, &mut first);
    first.kill();
    let history = second.info_text("master_replid");
    assert_eq!(second.text(&["REPLICAOF", "NO", "ONE"]), "OK");
    second.wait_info("sync_partial_ok", "1");
    assert_eq!(second.info_text("master_replid2"), history);
    second.text(&["SELECT", "2"]);
    second.text(&["INCR", "key"]);
    in_sync(&mut third, &mut second);
    third.text(&["SELECT", "2"]);
    assert_eq!(third.text(&["GET", "key"]), "2");
    assert_eq!(third.info_text("master_replid"), second.info_text("master_replid"));
    assert_eq!(second.info("sync_full"), 1, "only the first one");
}

#[test]
fn replicas_move_to_another_primary_of_the_same_history() {
    let (mut first, mut second, mut third) = (start(), start(), start());
    follow(&mut second, &first);
    follow(&mut third, &first);
    first.text(&["SET", "key", "1"]);
    in_sync(&mut second, &mut first);
    in_sync(&mut third, &mut first);
    // A sibling becomes the primary; the third follows it, and so does the old one.
    second.text(&["REPLICAOF", "NO", "ONE"]);
    follow(&mut third, &second);
    follow(&mut first, &second);
    second.text(&["INCR", "key"]);
    for replica in [&mut first, &mut third] {
        in_sync(replica, &mut second);
        assert_eq!(replica.text(&["GET", "key"]), "2");
    }
    assert_eq!(second.info("sync_partial_ok"), 2);
    assert_eq!(second.info("sync_full"), 0);
}

#[test]
fn a_replica_of_a_replica_stays_while_the_middle_resumes() {
    let (mut first, mut second, mut third) = (start(), start(), start());
    follow(&mut second, &first);
    follow(&mut third, &second);
    let client = first.text(&["CLIENT", "KILL", "TYPE", "replica"]);
    assert_eq!(client, ":1");
    first.wait_info("sync_partial_ok", "1");
    first.text(&["SET", "key", "value"]);
    in_sync(&mut third, &mut first);
    assert_eq!(third.text(&["GET", "key"]), "value");
    assert_eq!(second.info("sync_partial_ok"), 0, "the third has not noticed");
}

#[test]
fn the_replica_of_a_restarted_primary_resumes() {
    let (mut first, mut second) = (start(), start());
    follow(&mut second, &first);
    first.text(&["SET", "key", "value"]);
    in_sync(&mut second, &mut first);
    first.shut_down(&["SAVE"]);
    let mut first = Server::start_in(first.into_dir(), &["--repl-diskless-sync-delay", "0"]);
    follow(&mut second, &first);
    assert_eq!(first.info("sync_partial_ok"), 1);
    first.text(&["APPEND", "key", "s"]);
    in_sync(&mut second, &mut first);
    assert_eq!(second.text(&["GET", "key"]), "values");
}

#[test]
fn a_shutdown_waits_for_the_replicas() {
    let (mut first, mut second) = (start(), start());
    follow(&mut second, &first);
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
    replica.text(&["REPLICAOF", "127.0.0.1", &primary.port.to_string()]);
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
    in_sync(&mut replica, &mut primary);
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
