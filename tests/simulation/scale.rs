//! The bus at scale: so many nodes as machines alone, without servers, each connected with all others; in pairs of a
//! primary and its replica. `cargo test --test simulation -- --nodes 100` prints what that costs each of them, at rest
//! and while a primary fails: bytes and messages per second, time of the processor with and without coding messages,
//! and the most that one turn made of new messages and sent of them.

use aeolis::bus::{Message, NodeFlags, NodeId};
use aeolis::server::cluster::machine::{
    Action, Announced, Cluster, Facts, LinkId, NodeAddress, Now, SavedCluster, SavedNode,
};
use aeolis::server::config::Config;
use aeolis::util::slot::SLOTS;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write;
use std::rc::Rc;
use std::time::{Duration, Instant};

const TICK_MS: u64 = 100;
/// The nodes connect with each other in this time.
const START_MS: u64 = 2_000;
/// How long each state is watched.
const WATCHED_MS: u64 = 10_000;
const TIMEOUT_MS: u64 = 15_000;
const PORT: u16 = 6379;

/// One end of a connection.
type End = (usize, LinkId);

struct Host {
    cluster: Cluster,
    config: Config,
    follows: bool,
    is_alive: bool,
}

/// What was counted.
#[derive(Default)]
struct Cost {
    bytes: usize,
    messages: usize,
    machine: Duration,
    coding: Duration,
    /// Of one turn.
    most_made: usize,
    most_sent: usize,
}

struct World {
    hosts: Vec<Host>,
    by_ip: BTreeMap<String, usize>,
    peers: BTreeMap<End, End>,
    in_flight: VecDeque<(End, Rc<Vec<u8>>)>,
    now: Now,
    cost: Cost,
}

fn ip(node: usize) -> String {
    format!("10.0.{}.{}", node / 250, node % 250)
}

fn saved(nodes: usize, ids: &[NodeId], me: usize) -> SavedCluster {
    let shards = nodes / 2;
    let share = usize::from(SLOTS).div_ceil(shards);
    let node = |at: usize| {
        let is_primary = at < shards;
        let role = if is_primary { NodeFlags::PRIMARY } else { NodeFlags::REPLICA };
        let mine = if at == me { NodeFlags::MYSELF } else { NodeFlags::empty() };
        let slots = (0..SLOTS).filter(|slot| is_primary && usize::from(*slot) / share == at);
        SavedNode {
            id: ids[at],
            shard_id: Some(ids[at % shards]),
            address: NodeAddress {
                ip: ip(at),
                tcp_port: PORT,
                tls_port: 0,
                bus_port: PORT + 10_000,
            },
            announced: Announced::default(),
            flags: role | mine,
            primary: (!is_primary).then(|| ids[at % shards]),
            was_pinged: false,
            has_answered: true,
            config_epoch: (at % shards) as u64 + 1,
            slots: slots.collect(),
            migrating: Vec::new(),
            importing: Vec::new(),
        }
    };
    let nodes = (0..nodes).map(node).collect();
    SavedCluster { nodes, current_epoch: shards as u64, last_vote_epoch: 0 }
}

/// Runs so many nodes, of which there must be six at least; answers what it cost.
pub fn run(nodes: usize) -> String {
    let nodes = nodes.max(6) / 2 * 2;
    let mut world = World::new(nodes);
    world.run(START_MS);
    let mut text = format!("{nodes} nodes, cluster-node-timeout {TIMEOUT_MS}\n");
    world.watch("at rest", WATCHED_MS, &mut text);
    world.hosts[0].is_alive = false;
    world.run(TIMEOUT_MS - 2_000);
    world.watch("while one fails", 3 * WATCHED_MS, &mut text);
    let heir = &world.hosts[nodes / 2].cluster;
    assert!(heir.myself().is_primary(), "the replica has taken its primary's place");
    text
}

impl World {
    fn new(nodes: usize) -> World {
        let mut rng = SmallRng::seed_from_u64(1);
        let now = Now { wall_ms: 1_780_000_000_000, mono_ms: 1_000_000 };
        let ids: Vec<NodeId> = (0..nodes).map(|_| NodeId::from_random(rng.random())).collect();
        let host = |me: usize| {
            let config =
                Config { port: PORT, cluster_node_timeout: TIMEOUT_MS, ..Config::default() };
            let mut cluster =
                Cluster::restore(saved(nodes, &ids, me), &mut rng, now).expect("a whole cluster");
            cluster.announce(&config);
            Host { cluster, config, follows: me >= nodes / 2, is_alive: true }
        };
        World {
            hosts: (0..nodes).map(host).collect(),
            by_ip: (0..nodes).map(|at| (ip(at), at)).collect(),
            peers: BTreeMap::new(),
            in_flight: VecDeque::new(),
            now,
            cost: Cost::default(),
        }
    }

    /// One turn of a machine, and what follows.
    fn turn(&mut self, at: usize, ask: impl FnOnce(&mut Cluster, Now, &Facts)) {
        let host = &mut self.hosts[at];
        let facts = Facts {
            config: &host.config,
            offset: 1,
            follows: host.follows,
            data_age_ms: 0,
            keys_in_slot: &|_| 0,
        };
        let started = Instant::now();
        ask(&mut host.cluster, self.now, &facts);
        host.cluster.before_sleep(self.now, &facts);
        let actions = host.cluster.take_actions();
        self.cost.machine += started.elapsed();
        let (mut made, mut sent) = (0, 0);
        for action in actions {
            match action {
                Action::Send { to, message } => {
                    let started = Instant::now();
                    let mut bytes = Vec::new();
                    message.encode(&mut bytes);
                    self.cost.coding += started.elapsed();
                    made += bytes.len();
                    sent += bytes.len() * to.len();
                    self.cost.messages += to.len();
                    let bytes = Rc::new(bytes);
                    let parcels = to.into_iter().map(|link| ((at, link), Rc::clone(&bytes)));
                    self.in_flight.extend(parcels);
                }
                Action::Connect { link, ip, .. } => self.connect((at, link), &ip),
                Action::Close(link) => self.close((at, link)),
                Action::Follow { .. } => self.hosts[at].follows = true,
                Action::Promote => self.hosts[at].follows = false,
                _ => {}
            }
        }
        self.cost.bytes += sent;
        self.cost.most_made = self.cost.most_made.max(made);
        self.cost.most_sent = self.cost.most_sent.max(sent);
    }

    fn connect(&mut self, end: End, to: &str) {
        let to = self.by_ip[to];
        if !self.hosts[to].is_alive {
            return self.turn(end.0, |cluster, now, _| cluster.link_down(end.1, now));
        }
        let link = self.hosts[to].cluster.accept(ip(to), ip(end.0), self.now);
        self.peers.insert(end, (to, link));
        self.peers.insert((to, link), end);
        self.turn(end.0, |cluster, now, facts| cluster.link_up(end.1, now, facts));
    }

    fn close(&mut self, end: End) {
        if let Some(peer) = self.peers.remove(&end) {
            self.peers.remove(&peer);
            self.turn(peer.0, |cluster, now, _| cluster.link_down(peer.1, now));
        }
    }

    fn deliver(&mut self) {
        while let Some((end, bytes)) = self.in_flight.pop_front() {
            let Some(&(to, link)) = self.peers.get(&end).filter(|_| self.hosts[end.0].is_alive)
            else {
                continue;
            };
            if self.hosts[to].is_alive {
                let started = Instant::now();
                let message = Message::decode(&bytes).expect("what is sent can be read");
                self.cost.coding += started.elapsed();
                self.turn(to, |cluster, now, facts| cluster.receive(link, message, now, facts));
            }
        }
    }

    fn run(&mut self, ms: u64) {
        for _ in 0..ms / TICK_MS {
            self.now.wall_ms += TICK_MS as i64;
            self.now.mono_ms += TICK_MS;
            for at in 0..self.hosts.len() {
                if self.hosts[at].is_alive {
                    self.turn(at, Cluster::tick);
                    self.deliver();
                }
            }
        }
    }

    fn watch(&mut self, what: &str, ms: u64, text: &mut String) {
        self.cost = Cost::default();
        self.run(ms);
        let (cost, per) = (&self.cost, self.hosts.len() as f64 * ms as f64 / 1000.0);
        let us = |time: Duration| time.as_secs_f64() * 1e6 / per;
        let _ = writeln!(
            text,
            "  {what}: {:.0} bytes/s, {:.1} messages/s, {:.0} us/s and {:.0} us/s for coding, a node; in a turn \
             at most {} bytes made and {} sent",
            cost.bytes as f64 / per,
            cost.messages as f64 / per,
            us(cost.machine),
            us(cost.coding),
            cost.most_made,
            cost.most_sent,
        );
    }
}
