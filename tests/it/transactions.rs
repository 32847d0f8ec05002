//! Transactions over the wire: queueing and its errors, watched keys, and what is propagated of them.

use crate::harness::{Raw, Server};

const OK: &str = "+OK\r\n";
const QUEUED: &str = "+QUEUED\r\n";
const NIL: &str = "*-1\r\n";
const ABORTED: &str = "-EXECABORT Transaction discarded because of previous errors.\r\n";

#[test]
fn what_is_queued_is_executed_at_once_and_in_order() {
    let server = Server::start(&[]);
    let mut wire = server.raw();
    wire.talk(&[
        ("EXEC", "-ERR EXEC without MULTI\r\n"),
        ("DISCARD", "-ERR DISCARD without MULTI\r\n"),
        ("MULTI", OK),
        ("EXEC", "*0\r\n"),
        ("MULTI", OK),
        ("SET k 1", QUEUED),
        ("INCR k", QUEUED),
        ("MULTI", "-ERR MULTI calls can not be nested\r\n"),
        ("WATCH k", "-ERR WATCH inside MULTI is not allowed\r\n"),
        ("GET k", QUEUED),
        ("EXEC", "*3\r\n+OK\r\n:2\r\n$1\r\n2\r\n"),
        // What fails then fails alone.
        ("MULTI", OK),
        ("SET k text", QUEUED),
        ("INCR k", QUEUED),
        ("SELECT 3", QUEUED),
        ("GET k", QUEUED),
        ("EXEC", "*4\r\n+OK\r\n-ERR value is not an integer or out of range\r\n+OK\r\n$-1\r\n"),
        ("SET k elsewhere", OK),
        ("MULTI", OK),
        ("DEL k", QUEUED),
        ("DISCARD", OK),
        ("GET k", "$9\r\nelsewhere\r\n"),
        ("MULTI", OK),
        ("SET k 3", QUEUED),
        ("RESET", "+RESET\r\n"),
        ("EXEC", "-ERR EXEC without MULTI\r\n"),
        ("MULTI", OK),
        ("QUIT", OK),
    ]);
    assert!(wire.read_to_end().is_empty());
}

#[test]
fn a_large_transaction() {
    let mut server = Server::start(&[]);
    let mut wire = server.raw();
    let n = 5000;
    let value = "v".repeat(100);
    let mut requests = "MULTI\r\n".to_string();
    for i in 0..n {
        requests.push_str(&format!("SET key:{i} {value}{i}\r\nSTRLEN key:{i}\r\n"));
    }
    wire.send(requests + "EXEC\r\n");
    wire.expect(OK.to_string() + &QUEUED.repeat(2 * n));
    wire.expect(format!("*{}\r\n", 2 * n));
    for i in 0..n {
        wire.expect(format!("+OK\r\n:{}\r\n", 100 + i.to_string().len()));
    }
    server.check(&[("DBSIZE", ":5000"), ("EXISTS key:4999", ":1")]);
}

#[test]
fn errors_while_queueing_abort_it() {
    let mut server = Server::start(&[]);
    let mut wire = server.raw();
    let refused = [
        ("NOSUCHCOMMAND", "-ERR unknown command 'NOSUCHCOMMAND', with args beginning with: \r\n"),
        ("GET", "-ERR wrong number of arguments for 'get' command\r\n"),
        ("SAVE", "-ERR Command not allowed inside a transaction\r\n"),
        ("CONFIG NOSUCH", "-ERR unknown subcommand 'NOSUCH'. Try CONFIG HELP.\r\n"),
    ];
    for (request, error) in refused {
        wire.talk(&[
            ("MULTI", OK),
            ("SET k 1", QUEUED),
            (request, error),
            ("SET k 2", QUEUED),
            ("EXEC", ABORTED),
            ("GET k", "$-1\r\n"),
        ]);
    }
    wire.talk(&[
            ("MULTI", OK),
            ("SET k 1", QUEUED),
            (
                "EXEC now",
                "-EXECABORT Transaction discarded because of: wrong number of arguments for 'exec' command\r\n",
            ),
            ("EXEC", "-ERR EXEC without MULTI\r\n"),
        ],
    );
    // What speaks against it may come later.
    wire.talk(&[("MULTI", OK), ("SET k 1", QUEUED)]);
    server.check(&[("CONFIG SET min-replicas-to-write 1", "OK")]);
    wire.talk(&[
            (
                "EXEC",
                "-EXECABORT Transaction discarded because of: NOREPLICAS Not enough good replicas to write.\r\n",
            ),
            ("MULTI", OK),
            ("GET k", QUEUED),
            ("EXEC", "*1\r\n$-1\r\n"),
        ],
    );
    server.check(&[("CONFIG SET min-replicas-to-write 0", "OK")]);
    wire.talk(&[("MULTI", OK), ("SET k 1", QUEUED)]);
    server.check(&[("CONFIG SET maxmemory 1", "OK")]);
    wire.talk(&[
            (
                "EXEC",
                "-EXECABORT Transaction discarded because of: OOM command not allowed when used memory > 'maxmemory'.\r\n",
            ),
            ("MULTI", OK),
            ("SET k 1", "-OOM command not allowed when used memory > 'maxmemory'.\r\n"),
            ("DISCARD", OK),
        ],
    );
    server.check(&[("CONFIG SET maxmemory 0", "OK"), ("GET k", "nil")]);
}

#[test]
fn a_watched_key_that_changes_prevents_it() {
    let mut server = Server::start(&[]);
    let mut wire = server.raw();
    let unchanged = "*1\r\n+PONG\r\n";
    for (before, change, executed) in [
        ("SET k 1", "SET k 1", false),
        ("SET k 1", "SET other 1", true),
        ("SET k 1", "GET k", true),
        ("SET k 1", "DEL k", false),
        ("DEL k", "DEL k", true),
        ("DEL k", "SET k 1", false),
        ("SET k 1", "EXPIRE k 100", false),
        ("SET k 1", "RENAME k j", false),
        ("SET j 1", "RENAME j k", false),
        ("SET k 1", "SETRANGE k 0 ''", true),
        ("SET k 1", "FLUSHDB", false),
        ("SET k 1", "FLUSHALL ASYNC", false),
        ("DEL k", "FLUSHALL", true),
        ("SET k 1", "SWAPDB 0 5", false),
        ("SET k 1", "SWAPDB 4 5", true),
        ("SET k 1", "DEBUG RELOAD", false),
    ] {
        server.line("FLUSHALL");
        server.line(before);
        wire.talk(&[("WATCH other2 k", OK), ("MULTI", OK), ("PING", QUEUED)]);
        server.line(change);
        wire.talk(&[("EXEC", if executed { unchanged } else { NIL })]);
        // The end of a transaction, whatever it was, is the end of watching.
        server.line("SET k 2");
        wire.talk(&[("MULTI", OK), ("PING", QUEUED), ("EXEC", unchanged)]);
    }
    // A client's own changes count too, and UNWATCH, DISCARD and RESET forget them.
    for forget in ["UNWATCH", "EXEC", "DISCARD", "RESET"] {
        wire.talk(&[("WATCH k k", OK), ("SET k 3", OK), ("WATCH m", OK)]);
        let reply = match forget {
            "RESET" => "+RESET\r\n",
            "EXEC" => NIL,
            _ => OK,
        };
        if matches!(forget, "EXEC" | "DISCARD") {
            wire.talk(&[("MULTI", OK)]);
        }
        wire.talk(&[(forget, reply), ("MULTI", OK), ("PING", QUEUED), ("EXEC", unchanged)]);
    }
    assert_eq!((server.info("watching_clients"), server.info("total_watched_keys")), (0, 0));
    wire.talk(&[("SELECT 2", OK), ("WATCH k", OK), ("SELECT 1", OK)]);
    server.line("SET k 1");
    wire.talk(&[("MULTI", OK), ("PING", QUEUED), ("EXEC", unchanged)]);
}

/// Watches `k` while it lives; it has only so many milliseconds to live.
fn watch_mortal(server: &mut Server, wire: &mut Raw) -> u64 {
    for life_ms in (5..16).map(|power| 1 << power) {
        server.line(&format!("SET k 1 PX {life_ms}"));
        wire.talk(&[("WATCH k", OK)]);
        // If it still lives, it did when it was watched.
        if server.line("EXISTS k") == ":1" {
            return life_ms;
        }
        wire.talk(&[("UNWATCH", OK)]);
    }
    panic!("nothing lives long enough to be watched");
}

#[test]
fn watching_keys_whose_time_comes() {
    let mut server = Server::start(&[]);
    let mut wire = server.raw();
    server.line("DEBUG SET-ACTIVE-EXPIRE 0");
    let unchanged = "*1\r\n+PONG\r\n";
    // It comes while the key is watched, and nobody looks.
    let life_ms = watch_mortal(&mut server, &mut wire);
    wire.talk(&[("MULTI", OK), ("PING", QUEUED)]);
    server.pass(life_ms + 1);
    wire.talk(&[("EXEC", NIL)]);
    // It had come before: the deletion is no change, a new value is.
    for (event, executed) in [
        ("PING", true),
        ("EXISTS k", true),
        ("FLUSHALL", true),
        ("SET k 2", false),
        ("SWAPDB 0 1", true),
    ] {
        server.line("SET k 1 PX 1");
        server.pass(2);
        wire.talk(&[("WATCH k", OK)]);
        server.line(event);
        let reply = if executed { unchanged } else { NIL };
        wire.talk(&[("MULTI", OK), ("PING", QUEUED), ("EXEC", reply)]);
    }
    // Found by the server itself.
    watch_mortal(&mut server, &mut wire);
    server.line("DEBUG SET-ACTIVE-EXPIRE 1");
    server.wait_for("DBSIZE", |n| n == ":0");
    wire.talk(&[("MULTI", OK), ("PING", QUEUED), ("EXEC", NIL)]);
}

#[test]
fn replicas_get_it_as_one_unit() {
    let server = Server::start(&[]);
    let mut stream = server.replication_stream();
    let mut wire = server.raw();
    let transactions: [&[&str]; 9] = [
        &["SET a 1"],
        &["SET a 1", "GET a", "SET b 2"],
        &["GET a", "PING"],
        &["DEL nokey"],
        &["SELECT 1", "SET c 3", "SELECT 2", "SET d 4"],
        &["PUBLISH channel message"],
        &["SET e 5 EX 100", "INCRBYFLOAT f 1.5"],
        &["SET g x", "INCR g", "DEL g"],
        &[],
    ];
    for commands in transactions {
        wire.talk(&[("MULTI", OK)]);
        for command in commands {
            wire.talk(&[(command, QUEUED)]);
        }
        wire.send("EXEC\r\n");
        let n: usize = wire.line()[1..].parse().expect("a number");
        assert_eq!(n, commands.len());
        for _ in 0..n {
            if wire.line().starts_with('$') {
                wire.line();
            }
        }
    }
    wire.talk(&[("SET end 1", OK)]);
    stream.expect(&[
        "SELECT 0",
        "SET a 1",
        "MULTI",
        "SET a 1",
        "SET b 2",
        "EXEC",
        "MULTI",
        "SELECT 1",
        "SET c 3",
        "SELECT 2",
        "SET d 4",
        "EXEC",
        "PUBLISH channel message",
        "MULTI",
        "SET e 5 PXAT *",
        "SET f 1.5 KEEPTTL",
        "EXEC",
        "MULTI",
        "SET g x",
        "DEL g",
        "EXEC",
        "SET end 1",
    ]);
}

#[test]
fn a_command_and_the_expiry_that_it_met_are_one_unit() {
    let mut server = Server::start(&[]);
    server.check(&[
        ("DEBUG SET-ACTIVE-EXPIRE 0", "OK"),
        ("SET k 1 PX 1", "OK"),
        ("SET l 1 PX 1", "OK"),
    ]);
    server.pass(2);
    let mut stream = server.replication_stream();
    server.check(&[("APPEND k 2", ":1"), ("GET l", "nil"), ("SET m 1", "OK")]);
    stream.expect(&["MULTI", "SELECT 0", "DEL k", "APPEND k 2", "EXEC", "DEL l", "SET m 1"]);
}

#[test]
fn a_replica_executes_it_as_a_whole() {
    let mut primary = Server::start(&[]);
    let mut replica = Server::start(&["--replicaof", &format!("127.0.0.1 {}", primary.port)]);
    replica.wait_for("INFO replication", |info| info.contains("master_link_status:up"));
    let mut stream = replica.replication_stream();
    let mut wire = primary.raw();
    wire.talk(&[("MULTI", OK), ("SET a 1", QUEUED), ("SELECT 4", QUEUED), ("SET b 2", QUEUED)]);
    wire.talk(&[("EXEC", "*3\r\n+OK\r\n+OK\r\n+OK\r\n")]);
    wire.talk(&[("SET c 3", OK)]);
    // What goes on to replicas of the replica is the primary's stream.
    stream.expect(&["MULTI", "SELECT 0", "SET a 1", "SELECT 4", "SET b 2", "EXEC", "SET c 3"]);
    replica.check(&[("GET a", "1"), ("SELECT 4", "OK"), ("MGET b c", "[2 3]")]);
    let offset = primary.info("master_repl_offset");
    replica
        .wait_for("INFO replication", |info| info.contains(&format!("slave_repl_offset:{offset}")));
    // A replica takes no writes, and says so while they are queued, or at the end.
    let mut wire = replica.raw();
    wire.talk(&[
        ("MULTI", OK),
        ("SET a 1", "-READONLY You can't write against a read only replica.\r\n"),
        ("EXEC", ABORTED),
    ]);
    primary.check(&[("WAIT 1 1000", ":1")]);
    let mut wire = primary.raw();
    wire.talk(&[("MULTI", OK), ("SET a 1", QUEUED)]);
    primary.check(&[(&format!("REPLICAOF 127.0.0.1 {}", replica.port), "OK")]);
    wire.talk(&[(
            "EXEC",
            "-EXECABORT Transaction discarded because of: READONLY You can't write against a read only replica.\r\n",
        )],
    );
}

#[test]
fn a_queue_that_grows_too_large_closes_the_client() {
    let mut server = Server::start(&["--client-query-buffer-limit", "1mb"]);
    let mut wire = server.raw();
    wire.talk(&[("MULTI", OK)]);
    let request = format!("*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$100000\r\n{}\r\n", "x".repeat(100_000));
    for _ in 0..10 {
        wire.send(&request);
        wire.expect(QUEUED);
    }
    wire.send(&request);
    let rest = wire.read_to_end();
    assert!(rest.is_empty() || rest == QUEUED.as_bytes());
    server.check(&[("EXISTS k", ":0")]);
}

#[test]
fn a_client_in_a_transaction_is_shown_as_one() {
    let mut server = Server::start_as("valkey-server", &[]);
    let mut wire = server.raw();
    let fields = |server: &mut Server| {
        let list = server.line("CLIENT LIST");
        let line = list
            .lines()
            .find(|line| line.contains("name=watcher"))
            .expect("it is listed")
            .to_string();
        let wanted = ["flags", "multi", "watch"].map(|name| {
            let field = line.split(' ').find(|f| f.starts_with(&format!("{name}=")));
            field.expect("the field is there").to_string()
        });
        wanted.join(" ")
    };
    wire.talk(&[("CLIENT SETNAME watcher", OK)]);
    assert_eq!(fields(&mut server), "flags=N multi=-1 watch=0");
    wire.talk(&[("WATCH a b a", OK)]);
    assert_eq!(fields(&mut server), "flags=N multi=-1 watch=2");
    wire.talk(&[("MULTI", OK), ("GET a", QUEUED)]);
    assert_eq!(fields(&mut server), "flags=x multi=1 watch=2");
    server.line("SET b 1");
    assert_eq!(fields(&mut server), "flags=xd multi=0 watch=0");
    wire.talk(&[("EXEC", NIL)]);
    assert_eq!(fields(&mut server), "flags=N multi=-1 watch=0");
    wire.talk(&[("WATCH a", OK)]);
    assert_eq!(server.info("watching_clients"), 1);
    drop(wire);
    server.wait_for("INFO clients", |info| info.contains("watching_clients:0"));
}
