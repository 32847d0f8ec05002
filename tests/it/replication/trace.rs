//! `REPLTRACE`, and what INFO and CLIENT LIST say of a link: the steps as they happened, in both roles.

use crate::harness::replication::{EMPTY_RDB, FakePrimary, FakeReplica, HISTORY};
use crate::harness::{Server, encoded, wait_for};

/// The steps of one link, without times.
fn steps(server: &mut Server, id: &str) -> Vec<String> {
    let redis::Value::Array(lines) = server.cmd(&["REPLTRACE", id]) else { panic!("no link {id}") };
    let lines = lines.iter().map(crate::harness::text);
    lines
        .filter_map(|line| {
            let at = ["-> ", "<- ", "-- "].iter().filter_map(|arrow| line.find(arrow)).min()?;
            Some(line[at..].to_string())
        })
        .collect()
}

fn line_with(server: &mut Server, id: &str, part: &str) -> String {
    wait_for(part, || {
        let redis::Value::Array(lines) = server.cmd(&["REPLTRACE", id]) else { return None };
        lines.iter().map(crate::harness::text).find(|line| line.contains(part))
    })
}

#[test]
fn a_primary_tells_how_a_replica_came() {
    let mut server = Server::start(&["--repl-diskless-sync", "no"]);
    let mut replica = FakeReplica::sync(&server, &["psync2"]);
    replica.acknowledge();
    line_with(&mut server, "1", "-- online");
    let steps = steps(&mut server, "1");
    let offset = replica.offset;
    let expected =
        ["<- REPLCONF capa psync2".to_string(), "-> +OK".to_string(), "<- PSYNC ? -1".to_string()];
    assert_eq!(steps[..3], expected);
    assert!(steps[3].starts_with("-- snapshot at offset "), "{steps:?}");
    assert_eq!(steps[4], format!("-> +FULLRESYNC {} {offset}", replica.id));
    assert_eq!(steps[5], format!("-- snapshot is made: {} bytes to send", replica.rdb.len()));
    assert_eq!(steps[6..], ["-- online"]);
    let list = server.text(&["REPLTRACE", "LIST"]);
    assert!(list.contains("online, lag 0 bytes (0 not sent yet)"), "{list}");
    drop(replica);
    line_with(&mut server, "1", "over since");
    assert_eq!(server.text(&["REPLTRACE", "RESET"]), "OK");
    assert_eq!(server.text(&["REPLTRACE"]), "[]");
    assert!(server.text(&["REPLTRACE", "1"]).contains("No such link"));
}

#[test]
fn a_refusal_has_its_reason() {
    let mut server = Server::start(&["--repl-diskless-sync", "no"]);
    let replica = FakeReplica::sync(&server, &["psync2"]);
    let mut raw = server.raw();
    raw.command(&["PSYNC", HISTORY, "1"]);
    FakeReplica::take_snapshot(raw);
    let line = line_with(&mut server, "2", "resynchronisations");
    assert!(line.contains("1 full, 0 partial; 1 partial refused"), "{line}");
    assert!(line.contains(&format!("Replica asked for '{HISTORY}'")), "{line}");
    let mut raw = server.raw();
    let (id, beyond) = (replica.id.clone(), (replica.offset + 1000).to_string());
    raw.command(&["PSYNC", &id, &beyond]);
    FakeReplica::take_snapshot(raw);
    line_with(&mut server, "3", &format!("offset {beyond} is ahead of this server"));
    let mut raw = server.raw();
    raw.command(&["PSYNC", &id, "0"]);
    FakeReplica::take_snapshot(raw);
    line_with(&mut server, "4", "0 is no offset: the first is 1");
    let warnings = server.log().matches("greater than the master replication offset").count();
    assert_eq!(warnings, 1, "an offset that is none is not ahead");
}

#[test]
fn a_replica_tells_how_it_came() {
    let primary = FakePrimary::new();
    let mut server = primary.start_replica(&["--masterauth", "secret"]);
    let raw = primary.full_sync(100, EMPTY_RDB);
    line_with(&mut server, "1", "-- snapshot is loaded: online from offset 100 on");
    let port = server.port.to_string();
    let expected = [
        "-- connecting",
        "-> PING",
        "<- +PONG",
        "-> AUTH (redacted)",
        &format!("-> REPLCONF listening-port {port}"),
        "-> REPLCONF capa eof capa psync2 version 7.2.4 version 9.0.0",
        "<- +OK",
        "<- +OK",
        "<- +OK",
        "-> PSYNC ? -1",
        &format!("<- +FULLRESYNC {HISTORY} 100"),
        &format!("<- ${}", EMPTY_RDB.len()),
        &format!("-- snapshot has come: {} bytes", EMPTY_RDB.len()),
    ];
    let counted: Vec<String> = steps(&mut server, "1")
        .into_iter()
        .flat_map(|step| match step.split_once(" (x") {
            Some((step, times)) => {
                let times = times.trim_end_matches(')').parse().expect("a number");
                vec![step.to_string(); times]
            }
            None => vec![step],
        })
        .collect();
    assert_eq!(counted[..expected.len()], expected);
    drop(raw);
    line_with(&mut server, "1", "connection lost at offset 100");
    let (mut raw, request) = primary.handshake();
    assert_eq!(request, ["PSYNC", HISTORY, "101"]);
    raw.send(format!("+FULLRESYNC {} 7\r\n", "f".repeat(40)));
    line_with(
        &mut server,
        "1",
        "partial resynchronisation refused: the primary has another history",
    );
}

#[test]
fn a_connection_that_shakes_hands_is_seen() {
    let mut server = Server::start(&[]);
    let mut raw = server.raw();
    raw.command(&["REPLCONF", "listening-port", "6390"]);
    raw.expect("+OK\r\n");
    let info = server.text(&["INFO", "replication"]);
    assert!(info.contains("handshake0:ip=127.0.0.1,port=6390,step=replconf,age="), "{info}");
    assert_eq!(server.info("connected_slaves"), 0);
    let clients = server.text(&["CLIENT", "LIST"]);
    assert!(clients.contains(" repl=handshake"), "{clients}");
}

#[test]
fn an_end_has_its_reason_too() {
    let primary = FakePrimary::new();
    let mut server = primary.start_replica(&["--repl-timeout", "1"]);
    let mut raw = primary.accept();
    raw.expect(encoded(&["PING"]));
    let line = line_with(&mut server, "1", "link 1: primary");
    assert!(line.contains(", handshake for ") && line.ends_with("has not been up yet"), "{line}");
    let refused = ["-> -NOMASTERLINK Can't SYNC while not connected with my master"];
    let mut asker = server.raw();
    asker.command(&["PSYNC", "?", "-1"]);
    asker.expect("-NOMASTERLINK Can't SYNC while not connected with my master\r\n");
    assert_eq!(steps(&mut server, "2")[1..], refused);
    drop(asker);
    line_with(&mut server, "2", "-- the other side has closed the connection");
    // Nothing is answered.
    line_with(&mut server, "1", "-- Timeout connecting to the MASTER...");
    // Something that is no Redis answers.
    let mut raw = primary.accept();
    raw.expect(encoded(&["PING"]));
    raw.send("HTTP/1.1 400 Bad Request\r\n");
    line_with(&mut server, "1", "Error reply to PING from master: 'HTTP/1.1 400 Bad Request'");
    let raw = primary.full_sync(100, EMPTY_RDB);
    server.wait_info("master_link_status", "up");
    // It falls silent.
    line_with(&mut server, "1", "-- MASTER timeout: no data nor PING received...");
    line_with(&mut server, "1", ", down for ");
    drop(raw);
    let _raw = primary.full_sync(100, EMPTY_RDB);
    server.wait_info("master_link_status", "up");
    server.text(&["CLIENT", "KILL", "TYPE", "master"]);
    line_with(&mut server, "1", "-- CLIENT KILL");
}
