//! Stages of transactions and optimistic locking.

use super::talk;
use crate::harness::Server;

const OK: &str = "+OK\r\n";
const QUEUED: &str = "+QUEUED\r\n";

#[test]
fn incr() {
    let server = Server::start(&[]);
    talk(
        &mut server.raw(),
        &[
            ("SET n 41", OK),
            ("INCR n", ":42\r\n"),
            ("INCR new", ":1\r\n"),
            ("SET text xyz", OK),
            ("INCR text", "-ERR value is not an integer or out of range\r\n"),
        ],
    );
}

#[test]
fn commands_are_queued_and_executed() {
    let server = Server::start(&[]);
    let (mut one, mut other) = (server.raw(), server.raw());
    talk(
        &mut one,
        &[
            ("EXEC", "-ERR EXEC without MULTI\r\n"),
            ("MULTI", OK),
            ("EXEC", "*0\r\n"),
            ("EXEC", "-ERR EXEC without MULTI\r\n"),
            ("MULTI", OK),
            ("SET foo 41", QUEUED),
            ("INCR foo", QUEUED),
        ],
    );
    talk(&mut other, &[("GET foo", "$-1\r\n"), ("MULTI", OK), ("INCR foo", QUEUED)]);
    talk(&mut one, &[("EXEC", "*2\r\n+OK\r\n:42\r\n")]);
    talk(&mut other, &[("EXEC", "*1\r\n:43\r\n"), ("GET foo", "$2\r\n43\r\n")]);
}

#[test]
fn what_fails_fails_alone_and_what_is_discarded_was_never_there() {
    let server = Server::start(&[]);
    talk(
        &mut server.raw(),
        &[
            ("SET foo abc", OK),
            ("SET bar 41", OK),
            ("MULTI", OK),
            ("INCR foo", QUEUED),
            ("INCR bar", QUEUED),
            ("EXEC", "*2\r\n-ERR value is not an integer or out of range\r\n:42\r\n"),
            ("GET bar", "$2\r\n42\r\n"),
            ("GET foo", "$3\r\nabc\r\n"),
            ("MULTI", OK),
            ("SET new 1", QUEUED),
            ("DISCARD", OK),
            ("GET new", "$-1\r\n"),
            ("DISCARD", "-ERR DISCARD without MULTI\r\n"),
        ],
    );
}

/// Watches `watched`, has another client set `modified`, and sets `own` in a transaction; answers EXEC's reply.
/// `between` comes before MULTI.
fn race(server: &Server, watched: &str, modified: &str, between: &[(&str, &str)], reply: &str) {
    let mut watcher = server.raw();
    talk(&mut watcher, &[(&format!("WATCH {watched}"), OK)]);
    talk(&mut server.raw(), &[(&format!("SET {modified} 200"), OK)]);
    talk(&mut watcher, between);
    talk(&mut watcher, &[("MULTI", OK), ("SET own 400", QUEUED), ("EXEC", reply)]);
}

#[test]
fn a_watched_key_that_changes_stops_the_transaction() {
    let server = Server::start(&[]);
    let (done, aborted) = ("*1\r\n+OK\r\n", "*-1\r\n");
    talk(&mut server.raw(), &[("MSET foo 1 bar 2 other 3", OK)]);
    race(&server, "foo", "other", &[], done);
    race(&server, "foo", "foo", &[], aborted);
    race(&server, "foo bar", "bar", &[], aborted);
    race(&server, "missing", "missing", &[], aborted);
    race(&server, "foo", "foo", &[("UNWATCH", OK)], done);
    // EXEC and DISCARD end the watch.
    race(&server, "foo", "foo", &[("MULTI", OK), ("PING", QUEUED), ("EXEC", aborted)], done);
    race(&server, "foo", "foo", &[("MULTI", OK), ("PING", QUEUED), ("DISCARD", OK)], done);
    talk(
        &mut server.raw(),
        &[("MULTI", OK), ("WATCH foo", "-ERR WATCH inside MULTI is not allowed\r\n")],
    );
}
