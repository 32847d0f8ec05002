//! `MIGRATE` between two servers: what moves, what is left alone, what is said when the other server refuses or is
//! silent.

use crate::harness::Server;
use std::io::Write;
use std::net::TcpListener;
use std::thread;
use std::time::Duration;

fn migrate(from: &mut Server, port: u16, rest: &str) -> String {
    let rest = rest.split_whitespace().map(|word| if word == "''" { "" } else { word });
    let port = port.to_string();
    from.text(&["MIGRATE", "127.0.0.1", &port].into_iter().chain(rest).collect::<Vec<_>>())
}

#[test]
fn keys_move_with_what_they_hold_and_how_long_they_live() {
    let mut from = Server::start(&[]);
    let mut to = Server::start(&["--databases", "4"]);
    let mut stream = from.replication_stream();
    to.check(&[("CONFIG SET requirepass secret", "OK")]);
    let mut there = to.raw();
    there.send(b"AUTH secret\r\n");
    there.expect(b"+OK\r\n");
    from.check(&[("SET s 1 EX 100", "OK"), ("RPUSH l a b", ":2"), ("XADD x 1-1 f v", "1-1")]);

    let refused = migrate(&mut from, to.port, "s 2 5000");
    assert!(refused.contains("Target instance replied with error: NOAUTH"), "{refused}");
    from.check(&[("EXISTS s", ":1")]);
    assert_eq!(migrate(&mut from, to.port, "s 2 5000 COPY AUTH secret"), "OK");
    let busy = migrate(&mut from, to.port, "s 2 5000 AUTH secret");
    assert!(busy.contains("BUSYKEY"), "{busy}");
    assert_eq!(migrate(&mut from, to.port, "s 2 5000 REPLACE AUTH2 default secret"), "OK");
    assert_eq!(migrate(&mut from, to.port, "'' 2 5000 AUTH secret KEYS l gone x"), "OK");
    assert_eq!(migrate(&mut from, to.port, "'' 2 5000 KEYS l gone x"), "NOKEY");
    from.check(&[("DBSIZE", ":0")]);
    assert_eq!(from.info("migrate_cached_sockets"), 1);
    stream.expect(&[
        "SELECT 0",
        "SET s 1 PXAT *",
        "RPUSH l a b",
        "XADD x 1-1 f v",
        "DEL s",
        "DEL l x",
    ]);

    there.send(b"SELECT 2\r\nDBSIZE\r\nTTL s\r\nLLEN l\r\nXLEN x\r\n");
    there.expect(b"+OK\r\n:3\r\n");
    let ttl = there.line();
    assert!(ttl == ":100" || ttl == ":99", "{ttl}");
    there.expect(b":2\r\n:1\r\n");
}

#[test]
fn what_can_not_be_moved_stays() {
    let mut from = Server::start(&[]);
    from.check(&[("SET k v", "OK")]);
    // Accepts, and never answers.
    let silent = TcpListener::bind("127.0.0.1:0").expect("a port");
    let deaf = silent.local_addr().expect("its number").port();
    let reply = migrate(&mut from, deaf, "k 0 50");
    assert_eq!(reply, "IOERR error or timeout reading to target instance");
    // Answers in time, byte for byte, but not in all.
    let slow = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = slow.local_addr().expect("its number").port();
    let answers = thread::spawn(move || {
        let (mut peer, _) = slow.accept().expect("somebody connects");
        for byte in b"+OK\r\n+OK\r\n" {
            thread::sleep(Duration::from_millis(30));
            if peer.write_all(&[*byte]).is_err() {
                break;
            }
        }
    });
    let reply = migrate(&mut from, port, "k 0 50");
    assert_eq!(reply, "IOERR error or timeout reading to target instance");
    answers.join().expect("it ends");
    drop(silent);
    let reply = migrate(&mut from, deaf, "k 0 50");
    assert_eq!(reply, "IOERR error or timeout writing to target instance");
    for (options, error) in [
        (
            "k 0 10 KEYS a",
            "ERR When using MIGRATE KEYS option, the key argument must be set to the empty string",
        ),
        ("k 0 10 NONSENSE", "ERR syntax error"),
        ("k 0 10 AUTH2 a", "ERR syntax error"),
        ("k 0 soon", "ERR value is not an integer or out of range"),
        ("k zero 10", "ERR value is not an integer or out of range"),
        ("gone 0 10", "NOKEY"),
    ] {
        assert_eq!(migrate(&mut from, deaf, options), error, "{options}");
    }
    from.check(&[("GET k", "v")]);
}
