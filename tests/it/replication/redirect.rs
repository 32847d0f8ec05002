//! A client that can be redirected (`CLIENT CAPA redirect`) is told by a replica where the primary is.

use crate::harness::Server;
use crate::harness::replication::{EMPTY_RDB, FakePrimary, FakeReplica};

#[test]
fn a_replica_sends_clients_that_can_go_to_its_primary() {
    let primary = FakePrimary::new();
    let mut server = Server::start(&[]);
    let elsewhere = format!("-REDIRECT 127.0.0.1:{}\r\n", primary.port);
    let mut queued = server.raw();
    queued.command(&["CLIENT", "CAPA", "whatever", "redirect"]);
    for command in [&["MULTI"][..], &["SET", "key", "value"]] {
        queued.command(command);
    }
    queued.expect("+OK\r\n+OK\r\n+QUEUED\r\n");
    server.replica_of(primary.port);
    let _link = primary.full_sync(0, EMPTY_RDB);
    server.wait_info("master_link_status", "up");

    queued.command(&["EXEC"]);
    queued.expect(&elsewhere);
    queued.command(&["EXEC"]);
    queued.expect("-ERR EXEC without MULTI\r\n");
    queued.command(&["MULTI"]);
    queued.command(&["GET", "key"]);
    queued.command(&["EXEC"]);
    queued.expect(format!(
        "+OK\r\n{elsewhere}-EXECABORT Transaction discarded because of previous errors.\r\n"
    ));

    queued.command(&["PING"]);
    queued.expect("+PONG\r\n");
    queued.command(&["READONLY"]);
    queued.command(&["GET", "key"]);
    queued.command(&["SET", "key", "value"]);
    queued.expect(format!("+OK\r\n$-1\r\n{elsewhere}"));
    queued.command(&["READWRITE"]);
    queued.command(&["GET", "key"]);
    queued.expect(format!("+OK\r\n{elsewhere}"));

    // Who can't is served as ever.
    assert_eq!(server.text(&["GET", "key"]), "nil");
    assert!(server.text(&["SET", "key", "value"]).starts_with("READONLY"));
    assert_eq!(server.text(&["READONLY"]), "ERR This instance has cluster support disabled");
}

#[test]
fn while_the_role_is_handed_over_clients_wait_for_the_address() {
    let next = FakePrimary::new();
    let mut server = Server::start(&["--repl-diskless-sync-delay", "0"]);
    let mut raw = server.raw();
    raw.command(&["REPLCONF", "listening-port", &next.port.to_string()]);
    raw.expect("+OK\r\n");
    raw.command(&["PSYNC", "?", "-1"]);
    let mut replica = FakeReplica::take_snapshot(raw);
    server.wait_info("connected_slaves", "1");
    replica.acknowledge();
    assert_eq!(server.text(&["FAILOVER"]), "OK");
    // The server has the other for its primary by now, which does not know yet.
    let mut link = next.accept();
    server.wait_info("master_failover_state", "failover-in-progress");
    let mut client = server.raw();
    client.command(&["CLIENT", "CAPA", "redirect"]);
    client.command(&["GET", "key"]);
    client.expect("+OK\r\n");
    server.wait_info("blocked_clients", "1");
    loop {
        let command = crate::harness::replication::read_command(&mut link);
        match command[0].as_str() {
            "PING" => link.send("+PONG\r\n"),
            "PSYNC" => {
                assert_eq!(command.last().map(String::as_str), Some("FAILOVER"));
                break link.send("+CONTINUE\r\n");
            }
            _ => link.send("+OK\r\n"),
        }
    }
    client.expect(format!("-REDIRECT 127.0.0.1:{}\r\n", next.port));
}
