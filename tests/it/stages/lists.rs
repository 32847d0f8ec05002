//! Stages of lists.

use super::{bulks, talk};
use crate::harness::Server;

#[test]
fn elements_are_added_at_either_end() {
    let server = Server::start(&[]);
    talk(
        &mut server.raw(),
        &[
            ("RPUSH list a", ":1\r\n"),
            ("RPUSH list b c", ":3\r\n"),
            ("RPUSH list d e", ":5\r\n"),
            ("LPUSH front a b c", ":3\r\n"),
            ("LRANGE front 0 -1", &bulks(&["c", "b", "a"])),
            ("LPUSH front d", ":4\r\n"),
            ("LLEN list", ":5\r\n"),
            ("LLEN missing", ":0\r\n"),
        ],
    );
}

#[test]
fn ranges_count_from_either_end() {
    let server = Server::start(&[]);
    let all = ["a", "b", "c", "d", "e"];
    let mut raw = server.raw();
    talk(&mut raw, &[("RPUSH list a b c d e", ":5\r\n")]);
    for (range, wanted) in [
        ("0 2", &all[..3]),
        ("2 4", &all[2..]),
        ("0 4", &all[..]),
        ("1 0", &[]),
        ("0 10", &all[..]),
        ("0 -3", &all[..3]),
        ("-3 -1", &all[2..]),
        ("-1 -2", &[]),
        ("-6 -1", &all[..]),
    ] {
        talk(&mut raw, &[(&format!("LRANGE list {range}"), &bulks(wanted))]);
    }
    talk(&mut raw, &[("LRANGE missing 0 1", "*0\r\n")]);
}

#[test]
fn elements_are_taken() {
    let server = Server::start(&[]);
    talk(
        &mut server.raw(),
        &[
            ("RPUSH list a b c d e", ":5\r\n"),
            ("LPOP list", "$1\r\na\r\n"),
            ("LPOP list 2", &bulks(&["b", "c"])),
            ("LRANGE list 0 -1", &bulks(&["d", "e"])),
            ("LPOP missing", "$-1\r\n"),
        ],
    );
}

#[test]
fn who_waits_longest_is_served_first() {
    let mut server = Server::start(&[]);
    let (mut first, mut second) = (server.raw(), server.raw());
    let mut pusher = server.raw();
    for (waiter, n) in [(&mut first, "1"), (&mut second, "2")] {
        waiter.command(&["BLPOP", "list", "0"]);
        server.wait_info("blocked_clients", n);
    }
    talk(&mut pusher, &[("RPUSH list value", ":1\r\n")]);
    first.expect(bulks(&["list", "value"]));
    assert!(server.is_silent_to(&mut second));
    talk(&mut pusher, &[("RPUSH list other", ":1\r\n")]);
    second.expect(bulks(&["list", "other"]));
}

#[test]
fn waiting_ends_in_time() {
    let server = Server::start(&[]);
    let mut raw = server.raw();
    talk(&mut raw, &[("BLPOP list 0.1", "*-1\r\n")]);
    raw.command(&["BLPOP", "list", "20"]);
    talk(&mut server.raw(), &[("RPUSH list value", ":1\r\n")]);
    raw.expect(bulks(&["list", "value"]));
}
