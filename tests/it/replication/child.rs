//! The child that makes a snapshot for replicas, when it or its parent is killed.

use crate::harness::replication::line_after_newlines;
use crate::harness::{Server, send_signal, wait_for};
use std::fs::read_to_string;

/// Whether a process runs: one that nobody has waited for yet does not any more.
fn runs(pid: u32) -> bool {
    let stat = read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(") ").next().is_some_and(|rest| !rest.is_empty() && !rest.starts_with('Z'))
}

#[test]
fn a_killed_child_is_noticed_though_its_replica_reads_nothing() {
    let mut server = Server::start(&["--repl-diskless-sync-delay", "0", "--rdbcompression", "no"]);
    // More than the sockets, the pipe and the server together hold back.
    server.text(&["DEBUG", "POPULATE", "60", "key", "1000000"]);
    let mut replica = server.raw();
    replica.command(&["REPLCONF", "capa", "eof", "capa", "psync2"]);
    replica.expect("+OK\r\n");
    replica.command(&["PSYNC", "?", "-1"]);
    assert!(line_after_newlines(&mut replica).starts_with("+FULLRESYNC "));
    let child = server.child();
    assert!(runs(child));
    send_signal(child, "KILL");
    server.wait_info("rdb_bgsave_in_progress", "0");
    server.wait_info("connected_slaves", "0");
    assert!(server.log().contains("Background transfer terminated by signal 9"));
}

#[test]
fn a_child_ends_when_its_parent_is_gone() {
    for diskless in ["yes", "no"] {
        let options = ["--repl-diskless-sync-delay", "0", "--repl-diskless-sync", diskless];
        let mut server = Server::start(&options);
        // Of its own accord the child would be at work for minutes.
        server.text(&["CONFIG", "SET", "rdb-key-save-delay", "500"]);
        server.text(&["DEBUG", "POPULATE", "1000000"]);
        let mut replica = server.raw();
        replica.command(&["REPLCONF", "capa", "eof", "capa", "psync2"]);
        replica.expect("+OK\r\n");
        replica.command(&["PSYNC", "?", "-1"]);
        let child = server.child();
        assert!(runs(child));
        server.kill();
        wait_for("the child to end", || (!runs(child)).then_some(()));
        assert_eq!(server.temporary_files(), [""; 0], "diskless {diskless}");
    }
}
