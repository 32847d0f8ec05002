//! The cluster bus over the wire: what nodes tell each other, and who only pretends to be one.

use crate::harness::{Raw, Server, free_port, program, wait_for};
use aeolis::bus::{Body, Header, Heartbeat, Message, NodeFlags, NodeId, frame_length};
use std::process::Command;

fn bus_port(server: &mut Server) -> u16 {
    let nodes = server.line("CLUSTER NODES");
    let ports = nodes.split('@').nth(1).and_then(|rest| rest.split([' ', ',']).next());
    ports.and_then(|port| port.parse().ok()).expect("a port of the bus")
}

fn node(options: &[&str]) -> Server {
    Server::start(
        &[&["--cluster-enabled", "yes", "--cluster-node-timeout", "2000"], options].concat(),
    )
}

fn wait_for_log(server: &Server, text: &str) {
    wait_for(text, || server.log().contains(text).then_some(()));
}

/// A node that owns all slots, as it says.
fn claim(sender: NodeId, port: u16, body: Body) -> Vec<u8> {
    let header = Header {
        current_epoch: 1 << 60,
        config_epoch: 1 << 60,
        sender: Some(sender),
        slots: (0..16384).collect(),
        port,
        bus_port: port,
        flags: NodeFlags::PRIMARY,
        ..Header::default()
    };
    let mut bytes = Vec::new();
    Message::full(header, body).encode(&mut bytes);
    bytes
}

fn stranger(number: u16) -> NodeId {
    format!("{number:040}").parse().expect("a name")
}

fn ping() -> Vec<u8> {
    claim(stranger(1), 1, Body::Ping(Heartbeat::default()))
}

/// Whether the node does what it did before.
fn goes_on(server: &mut Server) {
    server.check(&[("PING", "PONG")]);
    let nodes = server.line("CLUSTER NODES");
    assert_eq!(nodes.lines().count(), 1, "{nodes}");
    assert!(nodes.ends_with(" connected 0-16383\n"), "{nodes}");
    assert!(server.line("CLUSTER INFO").contains("cluster_current_epoch:0\r\n"));
}

#[test]
fn garbage_closes_the_connection_and_nothing_else() {
    let mut server = node(&[]);
    server.check(&[("CLUSTER ADDSLOTSRANGE 0 16383", "OK")]);
    let port = bus_port(&mut server);
    let mut endless = ping();
    endless[4..8].copy_from_slice(&u32::MAX.to_be_bytes());
    let mut short = ping();
    short[4..8].copy_from_slice(&15_u32.to_be_bytes());
    for garbage in [b"GET / HTTP/1.1\r\n\r\n".to_vec(), vec![0; 100_000], endless, short] {
        let mut raw = Raw::to_port(port).unwrap();
        raw.try_send(&garbage);
        assert_eq!(raw.read_to_end(), b"");
    }
    wait_for_log(
        &server,
        "Bad message length or signature received on the Cluster bus from 127.0.0.1:",
    );
    // Half a message, and one that is damaged but whole, do no harm, either.
    let mut half = Raw::to_port(port).unwrap();
    half.send(&ping()[..2000]);
    let mut damaged = Raw::to_port(port).unwrap();
    let mut bytes = ping();
    bytes[15] = 1;
    damaged.send([bytes, ping()].concat());
    let answer = damaged.read(2256);
    assert_eq!(Message::decode(&answer).unwrap().kind().unwrap().name(), "pong");
    wait_for_log(&server, "Received invalid ping packet of length 2256 but expected length 2360");
    half.send(&ping()[2000..]);
    assert_eq!(frame_length(&half.read(2256)), Ok(Some(2256)));
    goes_on(&mut server);
}

#[test]
fn who_is_not_known_is_not_believed() {
    let mut server = node(&[]);
    server.check(&[("CLUSTER ADDSLOTSRANGE 0 16383", "OK"), ("SET k v", "OK")]);
    let myself: NodeId = server.line("CLUSTER MYID").parse().unwrap();
    let slots = (0..16384).collect();
    let mut raw = Raw::to_port(bus_port(&mut server)).unwrap();
    for sender in [stranger(1), myself] {
        for body in [
            Body::Ping(Heartbeat::default()),
            Body::Fail(myself),
            Body::AuthRequest,
            Body::ManualFailoverStart,
        ] {
            raw.send(claim(sender, 1, body));
        }
    }
    let update = Body::Update { node: myself, config_epoch: 1 << 60, slots };
    raw.send(claim(stranger(1), 1, update));
    raw.send(ping());
    for _ in 0..3 {
        // Of all this, only pings are answered.
        let answer = Message::decode(&raw.read(2256)).unwrap();
        assert_eq!(answer.kind().unwrap().name(), "pong");
    }
    server.check(&[("GET k", "v"), ("SET k w", "OK")]);
    goes_on(&mut server);
}

#[test]
fn a_flood_of_meets_is_bounded() {
    let mut server = node(&[]);
    server.check(&[("CLUSTER ADDSLOTSRANGE 0 16383", "OK")]);
    let port = bus_port(&mut server);
    for number in 1..1500 {
        let mut raw = Raw::to_port(port).unwrap();
        raw.send(claim(stranger(number), number, Body::Meet(Heartbeat::default())));
        raw.read(2256);
    }
    let known = server.line("CLUSTER NODES").lines().count();
    assert!(known < 1100, "{known}");
    server.check(&[("SET k v", "OK")]);
    wait_for("the handshakes to be given up", || {
        (server.line("CLUSTER NODES").lines().count() == 1).then_some(())
    });
    goes_on(&mut server);
}

#[test]
fn a_node_that_never_reads_is_cut_off() {
    let mut server = node(&["--cluster-link-sendbuf-limit", "1mb"]);
    server.check(&[("CLUSTER ADDSLOTSRANGE 0 16383", "OK")]);
    let mut raw = Raw::to_port(bus_port(&mut server)).unwrap();
    let pings = ping().repeat(100);
    wait_for("the connection to be closed", || (!raw.try_send(&pings)).then_some(()));
    let info = server.line("CLUSTER INFO");
    assert!(info.contains("total_cluster_links_buffer_limit_exceeded:1"), "{info}");
    goes_on(&mut server);
}

#[test]
fn what_is_published_at_one_node_is_heard_at_another() {
    let (mut one, mut other) = (node(&[]), node(&[]));
    let (port, bus) = (other.port.to_string(), bus_port(&mut other).to_string());
    one.check(&[
        ("CLUSTER ADDSLOTSRANGE 0 16383", "OK"),
        (&format!("CLUSTER MEET 127.0.0.1 {port} {bus}"), "OK"),
    ]);
    other.wait_for("CLUSTER INFO", |info| info.starts_with("cluster_state:ok"));
    one.wait_for("CLUSTER INFO", |info| info.contains("cluster_known_nodes:2"));
    wait_for("the handshake to end", || {
        (!one.line("CLUSTER NODES").contains("handshake")).then_some(())
    });
    let mut subscriber = other.raw();
    subscriber.command(&["SUBSCRIBE", "news"]);
    subscriber.expect("*3\r\n$9\r\nsubscribe\r\n$4\r\nnews\r\n:1\r\n");
    let long = "x".repeat(100_000);
    one.check(&[("PUBLISH news short", ":0"), (&format!("PUBLISH news {long}"), ":0")]);
    subscriber.expect("*3\r\n$7\r\nmessage\r\n$4\r\nnews\r\n$5\r\nshort\r\n");
    subscriber.expect(format!("*3\r\n$7\r\nmessage\r\n$4\r\nnews\r\n$100000\r\n{long}\r\n"));
}

#[test]
fn two_processes_do_not_share_a_file() {
    let mut server = node(&[]);
    server.check(&[("CLUSTER ADDSLOTSRANGE 0 16383", "OK"), ("CLUSTER SAVECONFIG", "OK")]);
    let output = Command::new(program())
        .args(["--cluster-enabled", "yes", "--port", &free_port().to_string()])
        .args(["--cluster-port", &free_port().to_string(), "--dir"])
        .arg(server.dir())
        .output()
        .unwrap();
    let log = String::from_utf8_lossy(&output.stdout);
    assert!(
        !output.status.success() && log.contains("already used by a different Redis Cluster node"),
        "{log}"
    );
}

#[test]
fn what_happened_is_shown() {
    let (mut one, mut other) = (node(&[]), node(&[]));
    let (port, bus) = (other.port.to_string(), bus_port(&mut other).to_string());
    one.check(&[
        ("CLUSTER ADDSLOTSRANGE 0 16383", "OK"),
        (&format!("CLUSTER MEET 127.0.0.1 {port} {bus}"), "OK"),
        ("CLUSTER BUMPEPOCH", "BUMPED 1"),
    ]);
    let (id, other_id) = (one.line("CLUSTER MYID"), other.line("CLUSTER MYID"));
    one.wait_for("CLUSTERTRACE LINKS", |links| {
        links.contains(&format!("link to {other_id}: made"))
            && links.contains(&format!("link from {other_id}: made"))
    });
    other.wait_for("CLUSTERTRACE SLOTS", |slots| {
        slots.contains("slots 0-16383: ")
            && slots.contains(&format!(
                "from nobody to {id}, because the new owner claimed it in epoch"
            ))
    });
    assert!(one.line("CLUSTERTRACE SLOTS").ends_with("because ADDSLOTS or DELSLOTS]"));
    assert!(one.line("CLUSTERTRACE").contains("cluster ok: 2 nodes, 16384 slots have an owner"));
    drop(other);
    one.wait_for("CLUSTERTRACE NODES", |nodes| {
        nodes.contains(&format!("node {other_id} ")) && nodes.contains("waited for since")
    });
    one.check(&[("CLUSTERTRACE RESET", "OK"), ("CLUSTERTRACE x", "ERR syntax error")]);
}
