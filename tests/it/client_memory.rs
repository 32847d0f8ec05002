//! What clients hold: `maxmemory-clients`, and buffers that are given back.

use crate::harness::{Raw, Server, wait_for};

const MEGABYTE: usize = 1 << 20;

/// A number of a client's line of `CLIENT LIST`; `None`: there is no client of that name.
fn field(server: &mut Server, client: &str, name: &str) -> Option<usize> {
    server.client_field(client, name).map(|value| value.parse().expect("a number"))
}

/// A client that has sent an argument of so many bytes, but not what follows it.
fn loaded(server: &mut Server, name: &str, bytes: usize) -> Raw {
    let mut raw = server.named(name);
    // It may be closed on the way.
    raw.try_send(format!("*2\r\n${bytes}\r\n{}", "x".repeat(bytes)));
    wait_for("the bytes to arrive", || {
        (field(server, name, "qbuf").is_none_or(|qbuf| qbuf == bytes)).then_some(())
    });
    raw
}

fn wait_until_gone(server: &mut Server, client: &str) {
    wait_for("the client to be evicted", || field(server, client, "id").is_none().then_some(()));
}

/// A server whose first client is never evicted.
fn start(limit: &str) -> Server {
    let mut server = Server::start(&["--maxmemory-clients", limit]);
    server.line("CLIENT NO-EVICT ON");
    server
}

#[test]
fn the_largest_client_goes_first_and_no_more_than_must() {
    let mut server = start("0");
    let clients: Vec<Raw> = [("small", 200_000), ("large", 900_000), ("medium", 400_000)]
        .map(|(name, bytes)| loaded(&mut server, name, bytes))
        .into();
    assert_eq!(server.info("evicted_clients"), 0);
    assert!(field(&mut server, "large", "tot-mem").expect("it is there") >= 900_000);
    server.line("CONFIG SET maxmemory-clients 1mb");
    wait_until_gone(&mut server, "large");
    assert!(field(&mut server, "medium", "id").is_some());
    server.line("CONFIG SET maxmemory-clients 500000");
    wait_until_gone(&mut server, "medium");
    assert!(field(&mut server, "small", "id").is_some());
    assert_eq!(server.info("evicted_clients"), 2);
    let log = server.log();
    let lines: Vec<&str> = log.lines().filter(|l| l.contains(" * Evicting client: id=")).collect();
    assert!(lines.len() == 2 && lines[0].contains("name=large"), "{lines:?}");
    drop(clients);
}

#[test]
fn the_limit_may_be_a_part_of_maxmemory() {
    // 700 KB of 10 MB.
    let mut server = Server::start(&["--maxmemory-clients", "7%", "--maxmemory", "10mb"]);
    let below = loaded(&mut server, "below", 300_000);
    let above = loaded(&mut server, "above", 800_000);
    wait_until_gone(&mut server, "above");
    assert!(field(&mut server, "below", "id").is_some());
    drop((below, above));
    server.line("CONFIG SET maxmemory 0");
    let above = loaded(&mut server, "above", 800_000);
    assert!(field(&mut server, "above", "id").is_some());
    drop(above);
}

#[test]
fn everything_that_a_client_holds_counts() {
    let mut server = start("200000");
    server.line(&format!("SET large {}", "x".repeat(10_000)));
    let value = "x".repeat(1000);
    let prefix = |i: usize| format!("CLIENT TRACKING ON BCAST PREFIX {i:09}");
    let kinds: [(&str, &dyn Fn(usize) -> String); 6] = [
        ("MULTI", &|_| format!("SET key {value}")),
        ("PING", &|i| format!("WATCH {i}")),
        ("PING", &|i| format!("SUBSCRIBE {i}")),
        ("PING", &|i| format!("PSUBSCRIBE {i}")),
        ("PING", &prefix),
        ("PING", &|_| "GET large".to_string()),
    ];
    for (round, (first, command)) in kinds.into_iter().enumerate() {
        let mut raw = server.named("victim");
        raw.ask(first);
        let mut sent = 0;
        // It reads no answers; what the sockets swallow is not the server's.
        while server.info("evicted_clients") == round as i64 {
            let commands: String = (sent..sent + 200).map(|i| command(i) + "\r\n").collect();
            if !raw.try_send(commands) {
                break;
            }
            sent += 200;
            assert!(sent < 200_000, "{} is never evicted", command(0));
        }
        wait_until_gone(&mut server, "victim");
    }
    assert_eq!(server.info("evicted_clients"), 6);
}

#[test]
fn some_clients_are_never_evicted() {
    let mut server = start("0");
    let mut raw = server.named("exempt");
    assert_eq!(raw.ask("CLIENT NO-EVICT ON"), "+OK");
    raw.send(format!("*2\r\n$1000000\r\n{}", "x".repeat(1_000_000)));
    wait_for("the bytes to arrive", || {
        (field(&mut server, "exempt", "qbuf") == Some(1_000_000)).then_some(())
    });
    server.line("CONFIG SET maxmemory-clients 200000");
    // All others must go, but even so it is too much.
    let mut other = server.raw();
    other.try_send("PING\r\n");
    assert!(other.read_to_end().len() <= 7);
    let text = "Over client maxmemory after evicting all evictable clients";
    wait_for("the log to tell", || server.log().contains(text).then_some(()));
    assert!(field(&mut server, "exempt", "id").is_some());
    // As soon as it may go, it does.
    raw.send("\r\n$2\r\nno\r\n");
    assert!(raw.line().starts_with("-ERR unknown command"));
    raw.try_send(format!("CLIENT NO-EVICT OFF\r\n*2\r\n$1000000\r\n{}", "x".repeat(1_000_000)));
    wait_until_gone(&mut server, "exempt");
}

#[test]
fn who_is_closed_for_its_output_saves_others_from_eviction() {
    let mut server = start("10mb");
    server.text(&["CONFIG", "SET", "client-output-buffer-limit", "normal 3mb 0 0"]);
    server.line(&format!("SETRANGE key {} x", 4 * MEGABYTE));
    let waiting = loaded(&mut server, "waiting", 6 * MEGABYTE);
    for _ in 0..3 {
        let mut greedy = server.raw();
        greedy.send("GET key\r\nGET key\r\n");
        assert_eq!(greedy.read_to_end(), b"");
    }
    assert!(field(&mut server, "waiting", "id").is_some());
    assert_eq!(server.info("evicted_clients"), 0);
    drop(waiting);
}

#[test]
fn room_for_an_argument_that_does_not_come_is_given_back() {
    let mut server = Server::start(&[]);
    let mut raw = server.named("slow");
    raw.send("*3\r\n$3\r\nSET\r\n$3\r\nkey\r\n$1000000\r\nabc");
    let free = wait_for("the bytes to arrive", || {
        field(&mut server, "slow", "qbuf-free").filter(|&free| free > 0)
    });
    assert!((900_000..1_001_000).contains(&free), "{free}");
    assert_eq!(field(&mut server, "slow", "qbuf"), Some(3));
    assert_eq!(field(&mut server, "slow", "argv-mem"), Some(6));
    wait_for("the room to be given back", || {
        (field(&mut server, "slow", "qbuf-free")? < 5000).then_some(())
    });
    raw.send("x".repeat(999_997) + "\r\n");
    raw.expect("+OK\r\n");
    assert_eq!(server.line("STRLEN key"), ":1000000");
    assert_eq!(field(&mut server, "slow", "qbuf-free"), Some(0));
}

#[test]
fn replies_of_a_pipeline_count_together() {
    let mut server = Server::start(&[]);
    server.text(&["CONFIG", "SET", "client-output-buffer-limit", "normal 100000 0 0"]);
    server.line(&format!("SET key {}", "x".repeat(10_000)));
    let mut raw = server.raw();
    raw.send("GET key\r\n".repeat(20));
    assert_eq!(raw.read_to_end(), b"");
}
