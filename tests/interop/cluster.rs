//! Clusters of Aeolis with the servers of others, run with `redis-cli --cluster`: made, resharded, rebalanced and
//! failed over in both directions, with nodes that come, go and are killed, while a client writes. No write that was
//! confirmed may be lost. And slots that move as one between Aeolis and Valkey.

use crate::harness::{Server, wait_for};
use crate::memory::tempdir;
use crate::peers::{Kind, on_path};
use redis::{Cmd, Connection, ErrorKind, RedisError, RedisResult, cmd};
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};

/// Keys that the client writes, over and over.
const KEYS: usize = 400;
const ALL_COVERED: &str = "[OK] All 16384 slots covered.";

fn start(kind: Kind) -> Option<Server> {
    let options = ["--cluster-enabled", "yes", "--cluster-node-timeout", "5000"];
    let options = [&options[..], &["--repl-diskless-sync-delay", "0"]].concat();
    Some(Server::start_program(&kind.program()?, tempdir(), &options))
}

fn address(server: &Server) -> String {
    format!("127.0.0.1:{}", server.port)
}

/// What a client of the cluster does: it asks whom it knows, and goes where it is sent.
#[derive(Default)]
struct Client {
    ports: Vec<u16>,
    connections: HashMap<u16, Connection>,
    /// Where keys were found last.
    homes: HashMap<usize, u16>,
    /// How often nobody was found where one was looked for.
    failures: usize,
}

impl Client {
    fn new(ports: Vec<u16>) -> Client {
        Client { ports, ..Client::default() }
    }

    fn connection(&mut self, port: u16) -> RedisResult<&mut Connection> {
        Ok(match self.connections.entry(port) {
            Entry::Occupied(there) => there.into_mut(),
            Entry::Vacant(place) => {
                let client = redis::Client::open(("127.0.0.1", port))?;
                place.insert(client.get_connection()?)
            }
        })
    }

    fn ask<T: redis::FromRedisValue>(&mut self, key: usize, command: &Cmd) -> T {
        let mut asks_at = None;
        wait_for("an answer of the cluster", || {
            let home = self.homes.get(&key).copied().unwrap_or(self.ports[key % self.ports.len()]);
            let port = asks_at.unwrap_or(home);
            let is_asking = asks_at.take().is_some();
            let outcome = self.connection(port).and_then(|connection| {
                if is_asking {
                    cmd("ASKING").exec(connection)?;
                }
                command.query(connection)
            });
            match outcome {
                Ok(answer) => Some(answer),
                Err(error) => {
                    let port = redirection(&error);
                    match error.kind() {
                        ErrorKind::Ask => asks_at = port,
                        ErrorKind::Moved => _ = self.homes.insert(key, port.unwrap_or(home)),
                        _ => {
                            // Whoever is asked next knows better.
                            self.connections.remove(&home);
                            self.failures += 1;
                            self.homes.insert(key, self.ports[self.failures % self.ports.len()]);
                        }
                    }
                    None
                }
            }
        })
    }
}

fn redirection(error: &RedisError) -> Option<u16> {
    error.redirect_node()?.0.rsplit_once(':')?.1.parse().ok()
}

/// Writes until it is stopped; returns what was confirmed last of each key.
struct Load {
    ends: Arc<AtomicBool>,
    thread: JoinHandle<HashMap<usize, u64>>,
}

impl Load {
    /// `first_round`: the first number that it writes.
    fn start(ports: Vec<u16>, first_round: u64) -> Load {
        let ends = Arc::new(AtomicBool::new(false));
        let is_over = Arc::clone(&ends);
        let thread = thread::spawn(move || {
            let mut client = Client::new(ports);
            let mut confirmed = HashMap::new();
            for round in first_round.. {
                for key in 0..KEYS {
                    if is_over.load(Ordering::Relaxed) {
                        return confirmed;
                    }
                    client.ask::<()>(key, cmd("SET").arg(format!("key:{key}")).arg(round));
                    confirmed.insert(key, round);
                }
            }
            confirmed
        });
        Load { ends, thread }
    }

    fn stop(self) -> HashMap<usize, u64> {
        self.ends.store(true, Ordering::Relaxed);
        self.thread.join().expect("all writes are answered in the end")
    }
}

/// A cluster, and the tool that it is run with.
struct Cluster {
    cli: PathBuf,
    nodes: Vec<Server>,
}

impl Cluster {
    fn cli(&self, args: &[&str]) -> String {
        let output = Command::new(&self.cli).arg("--cluster").args(args).output().expect("it runs");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{args:?}\n{text}{}", self.logs());
        text
    }

    fn logs(&self) -> String {
        let logs = self.nodes.iter().map(|node| format!("\n--- {}\n{}", node.port, node.log()));
        logs.collect()
    }

    /// Waits until all nodes agree, and no slot is on its way.
    fn settles(&self) {
        let mut last = String::new();
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
        while std::time::Instant::now() < deadline {
            let node = address(&self.nodes[0]);
            let output = Command::new(&self.cli).args(["--cluster", "check", &node]).output();
            last = String::from_utf8_lossy(&output.expect("it runs").stdout).into_owned();
            let is_clean = !last.contains("[ERR]") && !last.contains("[WARNING]");
            if is_clean && last.contains(ALL_COVERED) {
                return;
            }
            thread::sleep(std::time::Duration::from_millis(100));
        }
        panic!("{last}{}", self.logs());
    }

    fn id(&mut self, node: usize) -> String {
        self.nodes[node].line("CLUSTER MYID")
    }

    fn ports(&self) -> Vec<u16> {
        self.nodes.iter().map(|node| node.port).collect()
    }

    fn rebalance(&mut self) {
        let node = address(&self.nodes[0]);
        let text = self.cli(&["rebalance", &node, "--cluster-threshold", "1"]);
        assert!(text.contains("Rebalancing across"), "{text}");
        self.settles();
    }

    fn move_slots(&mut self, count: usize, from: usize, to: usize) {
        let (from, to, count) = (self.id(from), self.id(to), count.to_string());
        let node = address(&self.nodes[0]);
        self.cli(&[
            "reshard",
            &node,
            "--cluster-from",
            &from,
            "--cluster-to",
            &to,
            "--cluster-slots",
            &count,
            "--cluster-yes",
        ]);
        self.settles();
    }

    /// Has a replica take its primary's place. Nobody votes for a node that is no replica for all that he knows.
    fn fail_over(&mut self, primary: usize, node: usize) {
        self.all_know(node, primary);
        let answer = self.nodes[node].line("CLUSTER FAILOVER");
        assert_eq!(answer, "OK");
        self.all_know(primary, node);
        self.settles();
        self.nodes[primary].wait_info("master_link_status", "up");
    }

    /// Waits until all nodes know whose replica one of them is.
    fn all_know(&mut self, replica: usize, primary: usize) {
        let (replica, primary) = (self.id(replica), self.id(primary));
        for node in &mut self.nodes {
            node.wait_for("CLUSTER NODES", |nodes| {
                let line = nodes.lines().find(|line| line.starts_with(&replica));
                line.is_some_and(|line| line.contains(&format!("slave {primary} ")))
            });
        }
    }

    /// Kills a primary, and waits until its replica has taken its place.
    fn kill_primary(&mut self, node: usize) {
        let mut killed = self.nodes.remove(node);
        let id = killed.line("CLUSTER MYID");
        killed.line("WAIT 1 0");
        killed.kill();
        for node in &mut self.nodes {
            node.wait_for("CLUSTER NODES", |nodes| {
                let line = nodes.lines().find(|line| line.starts_with(&id)).unwrap_or_default();
                line.contains("fail ") && line.ends_with("connected")
            });
        }
        self.settles();
    }

    fn add(&mut self, kind: Kind) {
        let node = start(kind).expect("it was there before");
        self.cli(&["add-node", &address(&node), &address(&self.nodes[0])]);
        self.nodes.push(node);
        let count = self.nodes.len();
        for node in &mut self.nodes {
            node.wait_for("CLUSTER NODES", |nodes| {
                nodes.lines().count() == count && !nodes.contains("handshake")
            });
            // One that has just been started takes no keys yet.
            node.wait_for("CLUSTER INFO", |info| info.contains("cluster_state:ok"));
        }
        self.settles();
    }

    fn remove_last(&mut self) {
        let last = self.nodes.len() - 1;
        let id = self.id(last);
        self.cli(&["del-node", &address(&self.nodes[0]), &id]);
        self.nodes.pop();
        self.settles();
    }
}

/// Three primaries and three replicas, every other of them Aeolis.
fn create(peer: Kind) -> Option<Cluster> {
    let Some(cli) = on_path("redis-cli") else {
        peer.is_missing();
        return None;
    };
    let kinds = [Kind::Aeolis, peer].repeat(3);
    let nodes: Vec<Server> = kinds.into_iter().map(start).collect::<Option<_>>()?;
    let cluster = Cluster { cli, nodes };
    let addresses: Vec<String> = cluster.nodes.iter().map(address).collect();
    let mut args = vec!["create"];
    args.extend(addresses.iter().map(String::as_str));
    args.extend(["--cluster-replicas", "1", "--cluster-yes"]);
    assert!(cluster.cli(&args).contains(ALL_COVERED));
    cluster.settles();
    Some(cluster)
}

fn plays_along(peer: Kind) {
    let Some(mut cluster) = create(peer) else { return };
    for replica in &mut cluster.nodes[3..] {
        replica.wait_info("master_link_status", "up");
    }
    let load = Load::start(cluster.ports(), 1);

    cluster.move_slots(60, 0, 1);
    cluster.rebalance();
    let primaries: Vec<usize> = (3..6)
        .map(|replica| {
            let port: u16 = cluster.nodes[replica].info("master_port") as u16;
            cluster.nodes.iter().position(|node| node.port == port).expect("one of them")
        })
        .collect();
    for (replica, primary) in (3..6).zip(primaries) {
        cluster.fail_over(primary, replica);
        cluster.fail_over(replica, primary);
    }
    for kind in [peer, Kind::Aeolis] {
        cluster.add(kind);
        cluster.move_slots(40, 2, 6);
        cluster.move_slots(40, 6, 2);
        cluster.remove_last();
    }

    let confirmed = load.stop();
    assert_eq!(confirmed.len(), KEYS);
    finds(&cluster, &confirmed);
    dies_and_goes_on(&mut cluster, &confirmed);
}

/// Whether the cluster has what was confirmed, or what was written later.
fn finds(cluster: &Cluster, confirmed: &HashMap<usize, u64>) {
    let mut client = Client::new(cluster.ports());
    for (&key, &round) in confirmed {
        let found: Option<u64> = client.ask(key, cmd("GET").arg(format!("key:{key}")));
        assert!(found >= Some(round), "{key}: {found:?}, confirmed {round}{}", cluster.logs());
    }
}

/// A primary of each kind is killed, while the client goes on. What was written before has reached the replicas.
fn dies_and_goes_on(cluster: &mut Cluster, confirmed: &HashMap<usize, u64>) {
    for node in &mut cluster.nodes {
        assert_eq!(node.line("CONFIG SET cluster-node-timeout 2000"), "OK");
    }
    for node in &mut cluster.nodes[..3] {
        assert_eq!(node.line("WAIT 1 0"), ":1");
    }
    let last = confirmed.values().max().expect("something was written");
    let load = Load::start(cluster.ports(), last + 1);
    cluster.kill_primary(0);
    cluster.kill_primary(0);
    let later = load.stop();
    finds(cluster, confirmed);
    assert!(later.values().all(|round| round > last));
    cluster.settles();
}

#[test]
fn a_cluster_with_redis_7() {
    plays_along(Kind::Redis7);
}

#[test]
fn a_cluster_with_redis_8() {
    plays_along(Kind::Redis8);
}

#[test]
fn a_cluster_with_valkey() {
    plays_along(Kind::Valkey);
}

/// How many keys the slot has that moves; a million take a minute or two.
/// What a node tells clients of itself reaches them through a server of the other kind.
#[test]
fn valkey_and_we_pass_on_what_clients_are_to_be_told() {
    let (Some(mut ours), Some(mut theirs)) = (start(Kind::Aeolis), start(Kind::Valkey)) else {
        return;
    };
    for (server, port) in [(&mut ours, "7777"), (&mut theirs, "8888")] {
        server.check(&[
            (&format!("CONFIG SET cluster-announce-client-port {port}"), "OK"),
            ("CONFIG SET cluster-announce-client-ipv4 10.1.1.1", "OK"),
        ]);
    }
    let nodes = theirs.line("CLUSTER NODES");
    let bus =
        nodes.split_once('@').and_then(|(_, rest)| rest.split_once([' ', ','])).expect("it").0;
    ours.check(&[(&format!("CLUSTER MEET 127.0.0.1 {} {bus}", theirs.port), "OK")]);
    for server in [&mut ours, &mut theirs] {
        server.wait_for("CLUSTER NODES", |nodes| {
            nodes.contains(" 10.1.1.1:7777@") && nodes.contains(" 10.1.1.1:8888@")
        });
    }
}

fn keys_to_move() -> usize {
    std::env::var("AEOLIS_MIGRATION_KEYS").map_or(20_000, |n| n.parse().expect("a number"))
}

/// The slot of what has the tag `{a}`.
const MOVED_SLOT: &str = "15495";

/// What is written to a slot while it moves.
struct Written {
    /// How often each of some counters was incremented.
    counters: Vec<u64>,
    /// How many elements a list was given, which are numbers in their order.
    pushed: usize,
}

const COUNTERS: usize = 50;

fn write_until(ports: Vec<u16>, is_over: &AtomicBool) -> Written {
    let mut client = Client::new(ports);
    let mut written = Written { counters: vec![0; COUNTERS], pushed: 0 };
    while !is_over.load(Ordering::Relaxed) {
        for (n, counter) in written.counters.iter_mut().enumerate() {
            *counter = client.ask(0, cmd("INCR").arg(format!("{{a}}counter{n}")));
            let pushed = client.ask(0, cmd("RPUSH").arg("{a}list").arg(written.pushed));
            written.pushed += 1;
            assert_eq!(written.pushed, pushed, "each element is pushed once");
        }
    }
    written
}

/// Moves the slot, and says what has become of that. `cancels`: once the first keys are there.
fn move_as_one(from: &mut Server, to: &mut Server, cancels: bool) -> String {
    let id = to.line("CLUSTER MYID");
    let slots = format!("SLOTSRANGE {MOVED_SLOT} {MOVED_SLOT}");
    assert_eq!(from.line(&format!("CLUSTER MIGRATESLOTS {slots} NODE {id}")), "OK");
    let count = format!("CLUSTER COUNTKEYSINSLOT {MOVED_SLOT}");
    if cancels {
        to.wait_for(&count, |count| count != ":0");
        from.line("CLUSTER CANCELSLOTMIGRATIONS");
    }
    let state = wait_for("the slot to have moved, or not", || {
        let jobs = from.line("CLUSTER GETSLOTMIGRATIONS");
        let newest = jobs.split(" state ").nth(1)?.split(' ').next()?.to_string();
        ["success", "cancelled", "failed"].contains(&newest.as_str()).then_some(newest)
    });
    // Who has no right to the keys has none in the end.
    let loser = if state == "success" { from } else { to };
    loser.wait_for(&count, |count| count == ":0");
    state
}

fn moves_as_one(from: Kind, to: Kind) {
    let (Some(mut from), Some(mut to)) = (start(from), start(to)) else { return };
    let own = to.line("CLUSTER NODES");
    let bus = own.split(['@', ',', ' ']).nth(2).expect("the port of the bus");
    from.check(&[
        ("CLUSTER ADDSLOTSRANGE 0 16383", "OK"),
        (&format!("CLUSTER MEET 127.0.0.1 {} {bus}", to.port), "OK"),
    ]);
    for node in [&mut from, &mut to] {
        node.wait_for("CLUSTER INFO", |info| {
            info.contains("cluster_state:ok") && info.contains("cluster_slots_assigned:16384")
        });
        node.wait_for("CLUSTER NODES", |nodes| !nodes.contains("handshake"));
    }
    let keys = keys_to_move();
    let mut connection = from.connect();
    for first in (0..keys).step_by(1000) {
        let mut pipe = redis::pipe();
        for n in first..keys.min(first + 1000) {
            pipe.set(format!("{{a}}{n}"), format!("{n}-{}", "v".repeat(50))).ignore();
        }
        pipe.exec(&mut connection).expect("keys are taken");
    }
    let ports = vec![from.port, to.port];
    let ends = Arc::new(AtomicBool::new(false));
    let is_over = Arc::clone(&ends);
    let writer = thread::spawn(move || write_until(ports, &is_over));

    // One that is over before it can be cancelled goes back.
    while move_as_one(&mut from, &mut to, true) == "success" {
        assert_eq!(move_as_one(&mut to, &mut from, false), "success");
    }
    assert_eq!(move_as_one(&mut from, &mut to, false), "success", "{}", from.log());

    ends.store(true, Ordering::Relaxed);
    let written = writer.join().expect("all writes are answered");
    let mut client = Client::new(vec![to.port]);
    assert_eq!(to.line("DBSIZE"), format!(":{}", keys + COUNTERS + 1));
    assert_eq!(from.line("DBSIZE"), ":0");
    for (n, counter) in written.counters.iter().enumerate() {
        let found: u64 = client.ask(0, cmd("GET").arg(format!("{{a}}counter{n}")));
        assert_eq!(found, *counter, "{n}");
    }
    let list: Vec<usize> = client.ask(0, cmd("LRANGE").arg("{a}list").arg(0).arg(-1));
    assert_eq!(list, (0..written.pushed).collect::<Vec<_>>());
    for n in (0..keys).step_by(97) {
        let found: String = client.ask(0, cmd("GET").arg(format!("{{a}}{n}")));
        assert!(found.starts_with(&format!("{n}-")), "{n}: {found}");
    }
}

#[test]
fn a_slot_moves_as_one() {
    moves_as_one(Kind::Aeolis, Kind::Aeolis);
}

#[test]
fn a_slot_moves_as_one_to_valkey() {
    moves_as_one(Kind::Aeolis, Kind::Valkey);
}

#[test]
fn a_slot_moves_as_one_from_valkey() {
    moves_as_one(Kind::Valkey, Kind::Aeolis);
}
