//! The cluster bus: messages of nodes that lie, whole and damaged, over connections in both directions.
#![forbid(unsafe_code)]

use super::Bench;
use crate::host::{Host, Link};
use crate::source::Source;
use aeolis::bus::{
    Body, Extensions, Forgotten, Gossip, Header, Heartbeat, Message, MessageFlags, NodeFlags,
    NodeId, Publication,
};
use aeolis::util::slot_set::SlotSet;

/// Nodes that messages tell of; three of them are known from the start.
const NODES: usize = 5;

/// What the node knows from the start: itself, another primary, and a replica of its own.
const NODES_CONF: &str = "\
0000000000000000000000000000000000000000 127.0.0.1:6379@16379 myself,master - 0 0 1 connected 0-8191
1111111111111111111111111111111111111111 127.0.0.1:6380@16380 master - 0 0 2 connected 8192-16383
2222222222222222222222222222222222222222 127.0.0.1:6381@16381 slave 0000000000000000000000000000000000000000 0 0 1 connected
vars currentEpoch 2 lastVoteEpoch 0
";

fn id(source: &mut Source) -> NodeId {
    let digit = source.below(NODES).to_string();
    digit.repeat(40).parse().expect("a name")
}

fn slots(source: &mut Source) -> SlotSet {
    let from = source.below(16384) as u16;
    match source.below(4) {
        0 => SlotSet::default(),
        1 => (0..16384).collect(),
        2 => [from].into_iter().collect(),
        _ => (from..16384).collect(),
    }
}

fn epoch(source: &mut Source) -> u64 {
    match source.below(4) {
        0 => source.edge() as u64,
        1 => u64::MAX,
        _ => source.below(9) as u64,
    }
}

fn flags(source: &mut Source) -> NodeFlags {
    match source.below(4) {
        0 => NodeFlags::from_bits_retain(source.below(1 << 16) as u16),
        1 => NodeFlags::REPLICA,
        _ => NodeFlags::PRIMARY | NodeFlags::LIGHT_PUBLISH,
    }
}

fn ip(source: &mut Source) -> String {
    source.pick(&["127.0.0.1", "", "::1", "10.0.0.1", "no-address"]).to_string()
}

fn gossip(source: &mut Source) -> Gossip {
    Gossip {
        node: id(source),
        ping_sent_s: source.edge() as u32,
        pong_received_s: source.edge() as u32,
        ip: ip(source),
        port: source.edge() as u16,
        other_port: 0,
        bus_port: source.edge() as u16,
        flags: flags(source),
    }
}

fn heartbeat(source: &mut Source) -> Heartbeat {
    let gossip = (0..source.below(4)).map(|_| gossip(source)).collect();
    let mut extensions = Extensions::default();
    if source.percent(50) {
        extensions.shard_id = Some(id(source));
        extensions.hostname = source.percent(50).then(|| "host.example".into());
        extensions.client_ipv4 = source.percent(20).then(|| "10.1.1.1".into());
        extensions.availability_zone = source.percent(20).then(|| "zone".into());
        if source.percent(20) {
            extensions.forgotten.push(Forgotten { node: id(source), ttl_s: epoch(source) });
        }
    }
    Heartbeat { gossip, extensions }
}

fn message(source: &mut Source) -> Message {
    let (is_sharded, channel, message) = (source.percent(50), source.junk(20), source.junk(200));
    let publication = Publication { is_sharded, channel, message };
    let body = match source.below(14) {
        0..3 => Body::Ping(heartbeat(source)),
        3..6 => Body::Pong(heartbeat(source)),
        6 => Body::Meet(heartbeat(source)),
        7 => Body::Fail(id(source)),
        8 => Body::Publish(publication),
        9 => return Message::Light(publication),
        10 => Body::AuthRequest,
        11 => Body::AuthAck,
        12 => Body::Update { node: id(source), config_epoch: epoch(source), slots: slots(source) },
        _ => Body::ManualFailoverStart,
    };
    let header = Header {
        current_epoch: epoch(source),
        config_epoch: epoch(source),
        offset: source.edge() as u64,
        sender: Some(id(source)),
        slots: slots(source),
        primary: source.percent(30).then(|| id(source)),
        ip: ip(source),
        port: source.edge() as u16,
        other_port: 0,
        bus_port: source.edge() as u16,
        flags: flags(source),
        is_cluster_down: source.percent(20),
        message_flags: MessageFlags::from_bits_retain(source.below(8) as u8),
    };
    Message::full(header, body)
}

pub fn generate(source: &mut Source) -> Vec<u8> {
    let mut input = Vec::new();
    for _ in 0..1 + source.below(30) {
        let mut bytes = Vec::new();
        message(source).encode(&mut bytes);
        if source.percent(10) {
            source.mutate(&mut bytes);
        }
        input.extend(bytes);
    }
    input
}

pub fn run(bench: &mut Bench<'_>, input: &[u8]) {
    let path = bench.dir.join("nodes.conf");
    std::fs::write(&path, NODES_CONF).expect("a file can be written");
    let options = ["--cluster-enabled", "yes", "--port", "6379"];
    let mut host = Host::start(bench.dir, &options).expect("a good file");
    let mut source = Source::of_input(input);
    let mut links: Vec<Link> = Vec::new();
    for cut in source.cuts(input.len()).windows(2) {
        host.advance([10, 100, 2000][source.below(3)]);
        links.extend(host.take_dialed());
        links.retain(|link| !link.is_closed());
        if links.is_empty() || source.percent(20) {
            links.push(host.connect_to_bus());
        }
        let at = source.below(links.len());
        host.send(&links[at], &input[cut[0]..cut[1]]);
        if host.server.exit_code().is_some() {
            break;
        }
    }
    for line in ["CLUSTER NODES", "CLUSTER SHARDS", "CLUSTER LINKS", "CLUSTER INFO", "GET k"] {
        let words: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
        host.ask(&words);
    }
    host.check();
    let is_up = host.server.exit_code().is_none();
    drop(host);
    // What it was made to believe, it can start with.
    assert!(!is_up || Host::start(bench.dir, &options).is_some(), "its own file is refused");
    std::fs::remove_file(&path).expect("it is there");
}
