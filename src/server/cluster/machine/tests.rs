//! Several machines on a network in memory, where time passes in ticks and messages arrive at once.

use super::*;
use crate::bus::{Body, Header, Heartbeat, Kind, Message, MessageFlags};
use crate::server::config::Config;
use crate::server::slot_change::SetSlot;
use crate::util::slot::SLOTS;
use std::collections::{BTreeMap, VecDeque};

const TICK_MS: u64 = 100;

/// A machine, and what would be around it.
struct Host {
    cluster: Cluster,
    config: Config,
    offset: u64,
    /// The port of the primary that it replicates.
    follows: Option<u16>,
    is_alive: bool,
    /// Each slot holds so many keys, until it is emptied.
    keys: usize,
    emptied: Vec<u16>,
    log: Vec<String>,
}

/// One end of a connection.
type End = (usize, LinkId);

struct Network {
    hosts: Vec<Host>,
    now: Now,
    peers: BTreeMap<End, End>,
    /// Hosts in different groups don't reach each other.
    group: Vec<u8>,
    in_flight: VecDeque<(End, Message)>,
}

impl Network {
    fn new(hosts: usize) -> Network {
        let mut rng = SmallRng::seed_from_u64(7);
        let now = Now { wall_ms: 1_700_000_000_000, mono_ms: 1_000_000 };
        let host = |at: usize| {
            let config =
                Config { port: 7000 + at as u16, cluster_node_timeout: 2000, ..Config::default() };
            let mut cluster = Cluster::new(&mut rng, now);
            cluster.announce(&config);
            let (emptied, log) = (Vec::new(), Vec::new());
            Host {
                cluster,
                config,
                offset: 1,
                follows: None,
                is_alive: true,
                keys: 0,
                emptied,
                log,
            }
        };
        Network {
            hosts: (0..hosts).map(host).collect(),
            now,
            peers: BTreeMap::new(),
            group: vec![0; hosts],
            in_flight: VecDeque::new(),
        }
    }

    /// Primaries with all slots among them, and a replica for each.
    fn of_shards(shards: usize) -> Network {
        let mut net = Network::new(2 * shards);
        let share = usize::from(SLOTS).div_ceil(shards);
        for at in 0..shards {
            let slots = (0..SLOTS).filter(move |&slot| usize::from(slot) / share == at);
            net.on(at, |cluster, _, _| {
                cluster.assign_slots(slots, true).unwrap();
                cluster.set_config_epoch(at as u64 + 1).unwrap();
            });
        }
        net.meet_all();
        for at in 0..shards {
            let id = net.id(at);
            net.on(shards + at, |cluster, now, facts| {
                cluster.replicate(id.as_bytes(), false, now, facts).unwrap();
            });
        }
        net.run_until(|net| net.all_agree() && net.all_up());
        net
    }

    fn meet_all(&mut self) {
        for at in 1..self.hosts.len() {
            let port = i64::from(self.hosts[at].config.port);
            self.on(0, |cluster, now, facts| {
                cluster.meet(b"127.0.0.1", port, port + 10_000, now, facts.config).unwrap();
            });
        }
        let all = self.hosts.len();
        self.run_until(|net| {
            let knows_all = |host: &Host| {
                host.cluster.known_nodes() == all
                    && host.cluster.nodes().all(|node| !node.is_in_handshake())
            };
            net.hosts.iter().all(knows_all)
        });
    }

    fn id(&self, at: usize) -> NodeId {
        self.hosts[at].cluster.myself().id()
    }

    fn at(&self, at: usize) -> &Cluster {
        &self.hosts[at].cluster
    }

    /// What a host knows of a node.
    fn node(&self, at: usize, id: NodeId) -> Option<&Node> {
        let cluster = self.at(at);
        cluster.find(id.as_bytes()).map(|key| cluster.by_key(key))
    }

    /// Has a machine do something, and does what it wants done.
    fn on<T>(&mut self, at: usize, operation: impl FnOnce(&mut Cluster, Now, &Facts) -> T) -> T {
        let host = &mut self.hosts[at];
        let keys = host.keys;
        let facts = Facts {
            config: &host.config,
            offset: host.offset,
            follows: host.follows.is_some(),
            data_age_ms: 0,
            keys_in_slot: &|_| keys,
        };
        let result = operation(&mut host.cluster, self.now, &facts);
        host.cluster.before_sleep(self.now, &facts);
        for action in self.hosts[at].cluster.take_actions() {
            self.carry_out(at, action);
        }
        result
    }

    fn carry_out(&mut self, at: usize, action: Action) {
        match action {
            Action::Connect { link, bus_port, .. } => self.connect((at, link), bus_port),
            Action::Close(link) => self.close((at, link)),
            Action::Send { to, message } => {
                let mut bytes = Vec::new();
                message.encode(&mut bytes);
                let message = Message::decode(&bytes).expect("what is sent can be read");
                self.in_flight.extend(to.into_iter().map(|link| ((at, link), message.clone())));
            }
            Action::Follow { port, .. } => self.hosts[at].follows = Some(port),
            Action::Promote => self.hosts[at].follows = None,
            Action::DropSlotKeys(slot) => self.hosts[at].emptied.push(slot),
            Action::Log(_, text) => self.hosts[at].log.push(text),
            _ => {}
        }
    }

    fn reaches(&self, a: usize, b: usize) -> bool {
        self.hosts[a].is_alive && self.hosts[b].is_alive && self.group[a] == self.group[b]
    }

    fn connect(&mut self, end: End, bus_port: u16) {
        let to = self.hosts.iter().position(|host| host.config.port + 10_000 == bus_port);
        match to.filter(|&to| self.reaches(end.0, to)) {
            Some(to) => {
                let ip = || "127.0.0.1".to_string();
                let now = self.now;
                let link = self.on(to, |cluster, _, _| cluster.accept(ip(), ip(), now));
                self.peers.insert(end, (to, link));
                self.peers.insert((to, link), end);
                self.on(end.0, |cluster, now, facts| cluster.link_up(end.1, now, facts));
            }
            None => self.on(end.0, |cluster, now, _| cluster.link_down(end.1, now)),
        }
    }

    fn close(&mut self, end: End) {
        if let Some(peer) = self.peers.remove(&end) {
            self.peers.remove(&peer);
            self.on(peer.0, |cluster, now, _| cluster.link_down(peer.1, now));
        }
    }

    fn deliver(&mut self) {
        while let Some((end, message)) = self.in_flight.pop_front() {
            // What is cut off is lost, as on a network that drops packets.
            if let Some(&(to, link)) = self.peers.get(&end)
                && self.reaches(end.0, to)
            {
                self.on(to, |cluster, now, facts| cluster.receive(link, message, now, facts));
            }
        }
    }

    fn tick(&mut self) {
        self.now.wall_ms += TICK_MS as i64;
        self.now.mono_ms += TICK_MS;
        for at in 0..self.hosts.len() {
            // Replicas have all of what their primaries have.
            if let Some(port) = self.hosts[at].follows {
                let primary = self.hosts.iter().find(|host| host.config.port == port);
                self.hosts[at].offset = primary.map_or(0, |host| host.offset);
            }
            if self.hosts[at].is_alive {
                self.on(at, |cluster, now, facts| cluster.tick(now, facts));
                self.deliver();
            }
        }
    }

    fn run(&mut self, ms: u64) {
        (0..ms / TICK_MS).for_each(|_| self.tick());
    }

    fn run_until(&mut self, is_so: impl Fn(&Network) -> bool) {
        for _ in 0..1000 {
            if is_so(self) {
                return;
            }
            self.tick();
        }
        let logs = self.hosts.iter().map(|host| host.log.join("\n")).collect::<Vec<_>>();
        panic!("it has not come to that:\n{}", logs.join("\n--\n"));
    }

    fn alive(&self) -> impl Iterator<Item = &Host> {
        self.hosts.iter().filter(|host| host.is_alive)
    }

    fn all_up(&self) -> bool {
        self.alive().all(|host| host.cluster.is_up())
    }

    /// Whether all see the same owners, and no two primaries have the same epoch.
    fn all_agree(&self) -> bool {
        let owners = |cluster: &Cluster| -> Vec<(NodeId, SlotSet)> {
            let nodes = cluster.nodes().filter(|node| !node.slots().is_empty());
            nodes.map(|node| (node.id(), node.slots().clone())).collect()
        };
        let Some(first) = self.alive().next().map(|host| owners(&host.cluster)) else {
            return true;
        };
        let voters = self.alive().map(|host| host.cluster.myself()).filter(|node| node.is_voter());
        let mut epochs: Vec<u64> = voters.map(Node::config_epoch).collect();
        let all = epochs.len();
        epochs.sort_unstable();
        epochs.dedup();
        epochs.len() == all && self.alive().all(|host| owners(&host.cluster) == first)
    }

    /// A message that an attacker sends to a host, over a connection of its own.
    fn inject(&mut self, at: usize, header: Header, body: Body) -> LinkId {
        let now = self.now;
        let ip = || "127.0.0.1".to_string();
        let link = self.on(at, |cluster, _, _| cluster.accept(ip(), ip(), now));
        let message = Message::full(header, body);
        self.on(at, |cluster, now, facts| cluster.receive(link, message, now, facts));
        link
    }
}

#[test]
fn nodes_that_meet_one_know_all_and_their_epochs_differ() {
    let mut net = Network::new(5);
    for at in 0..5 {
        net.on(at, |cluster, _, _| cluster.assign_slots(std::iter::once(at as u16), true).unwrap());
    }
    net.meet_all();
    net.run_until(Network::all_agree);
    for host in &net.hosts {
        assert_eq!(host.cluster.size(), 5);
        assert!(
            host.cluster.nodes().all(|node| node.shard_id() == net.by_id(node.id()).shard_id())
        );
    }
}

impl Network {
    fn by_id(&self, id: NodeId) -> &Node {
        let mine = self.hosts.iter().map(|host| host.cluster.myself());
        mine.into_iter().find(|node| node.id() == id).expect("a node that there is")
    }
}

#[test]
fn a_replica_takes_the_place_of_a_primary_that_dies_and_that_follows_it_when_it_is_back() {
    let mut net = Network::of_shards(3);
    net.hosts[0].is_alive = false;
    net.run_until(|net| net.at(3).myself().is_primary() && net.all_up() && net.all_agree());
    assert!(net.node(1, net.id(0)).unwrap().has_failed());
    assert_eq!(net.hosts[3].follows, None);
    net.hosts[0].is_alive = true;
    net.run_until(|net| net.at(0).myself().is_replica() && net.all_agree() && net.all_up());
    assert_eq!(net.hosts[0].follows, Some(7003));
    assert_eq!(net.at(0).myself().shard_id(), net.at(3).myself().shard_id());
    net.run_until(|net| !net.node(1, net.id(0)).unwrap().has_failed());
}

#[test]
fn a_minority_stops_and_rejoins_when_the_partition_heals() {
    let mut net = Network::of_shards(3);
    net.group[0] = 1;
    net.run_until(|net| !net.at(0).is_up());
    net.run_until(|net| net.at(3).myself().is_primary() && net.at(1).is_up());
    net.group[0] = 0;
    net.run_until(|net| net.all_agree() && net.all_up() && net.at(0).myself().is_replica());
}

#[test]
fn without_a_majority_nobody_is_elected() {
    let mut net = Network::of_shards(3);
    (net.hosts[0].is_alive, net.hosts[1].is_alive) = (false, false);
    net.run(20_000);
    assert!(net.at(3).myself().is_replica() && net.at(4).myself().is_replica());
    assert!(!net.at(2).is_up());
    // It is tried again and again.
    let tries = net.hosts[3].log.iter().filter(|line| line.contains("Start of election"));
    assert!(tries.count() <= 4, "{:#?}", net.hosts[3].log);
}

#[test]
fn a_manual_failover_waits_for_the_offset_at_which_the_primary_has_stopped() {
    let mut net = Network::of_shards(3);
    net.hosts[0].offset = 500;
    net.on(3, |cluster, now, facts| cluster.failover(FailoverKind::Plain, now, facts).unwrap());
    net.run_until(|net| net.at(3).myself().is_primary() && net.all_agree());
    let log = &net.hosts[3].log;
    let offset = "Received replication offset for paused master manual failover: 500";
    assert!(log.iter().any(|line| line == offset), "{log:#?}");
    net.run_until(|net| net.at(0).myself().is_replica());
    assert!(!net.hosts[3].log.iter().any(|line| line.contains("timed out")));
}

#[test]
fn a_takeover_asks_nobody() {
    let mut net = Network::of_shards(3);
    (net.hosts[0].is_alive, net.hosts[1].is_alive) = (false, false);
    net.on(3, |cluster, now, facts| cluster.failover(FailoverKind::Takeover, now, facts).unwrap());
    assert!(net.at(3).myself().is_primary());
    net.on(4, |cluster, now, facts| cluster.failover(FailoverKind::Takeover, now, facts).unwrap());
    net.run_until(|net| net.all_agree() && net.all_up());
}

#[test]
fn a_replica_that_is_not_to_fail_over_does_not() {
    let mut net = Network::of_shards(3);
    net.hosts[3].config.cluster_replica_no_failover = true;
    net.on(3, |cluster, _, facts| cluster.announce(facts.config));
    net.hosts[0].is_alive = false;
    net.run(20_000);
    assert!(net.at(3).myself().is_replica());
}

#[test]
fn a_node_that_is_forgotten_stays_so_for_a_while() {
    let mut net = Network::of_shards(3);
    let id = net.id(5);
    net.on(0, |cluster, now, facts| {
        cluster.forget(id.as_bytes(), now, facts.config).unwrap();
    });
    // Those that hear of it forget it, too; but not its own primary, whom nobody told to, and which it keeps.
    net.run(2000);
    assert!(net.node(0, id).is_none() && net.node(1, id).is_none());
    let again = net.on(0, |cluster, now, facts| cluster.forget(id.as_bytes(), now, facts.config));
    assert_eq!(again, Ok(()));
    let mine = net.id(3);
    let errors = net.on(3, |cluster, now, facts| {
        [mine, NodeId::from_random([9; 20])]
            .map(|id| cluster.forget(id.as_bytes(), now, facts.config).unwrap_err())
    });
    assert_eq!(errors, [MembershipError::ForgetMyself, MembershipError::UnknownNode]);
}

#[test]
fn a_slot_that_is_imported_has_the_newest_epoch() {
    let mut net = Network::of_shards(3);
    let (source, target) = (net.id(0), net.id(1));
    net.on(1, |cluster, now, facts| {
        cluster.set_slot(7, SetSlot::Importing(source), now, facts).unwrap();
    });
    net.on(0, |cluster, now, facts| {
        cluster.set_slot(7, SetSlot::Migrating(target), now, facts).unwrap();
    });
    assert_eq!(net.at(0).migrating_to(7).map(Node::id), Some(target));
    net.on(1, |cluster, now, facts| {
        cluster.set_slot(7, SetSlot::Node(target), now, facts).unwrap();
    });
    net.run_until(|net| net.all_agree());
    assert!(net.at(1).owns(7) && net.at(1).importing_from(7).is_none());
    assert!(net.at(0).migrating_to(7).is_none());
    let epoch = net.at(1).myself().config_epoch();
    assert!(net.at(2).nodes().all(|node| node.id() == target || node.config_epoch() < epoch));
}

#[test]
fn who_loses_its_last_slot_follows_who_took_it() {
    let mut net = Network::of_shards(3);
    let target = net.id(1);
    for slot in 0..SLOTS {
        if net.at(0).owns(slot) {
            net.on(0, |cluster, now, facts| {
                cluster.set_slot(slot, SetSlot::Node(target), now, facts).unwrap();
            });
        }
    }
    assert_eq!(net.hosts[0].follows, Some(7001));
    assert!(net.at(0).myself().is_replica());
}

#[test]
fn what_a_new_primary_does_not_claim_is_not_its_replicas() {
    let mut net = Network::of_shards(3);
    let (claimant, old, new) = (net.id(0), net.id(1), net.id(4));
    let shard = |net: &Network, id| net.node(2, id).unwrap().shard_id();
    net.run_until(|net| shard(net, old) == shard(net, new));
    let mut slots = net.at(1).myself().slots().clone();
    let moved = slots.iter().next().unwrap();
    slots.remove(moved);
    let pong = || Body::Pong(Heartbeat::default());
    let header = Header { sender: Some(new), config_epoch: 9, slots, ..Header::default() };
    net.inject(2, Header { flags: NodeFlags::PRIMARY, ..header.clone() }, pong());
    let replica = Header { sender: Some(old), primary: Some(new), ..header };
    net.inject(2, Header { flags: NodeFlags::REPLICA, ..replica }, pong());
    assert_eq!(net.at(2).slot_owner(moved).map(Node::id), Some(old));
    let mut slots = net.at(0).myself().slots().clone();
    slots.insert(moved);
    let (config_epoch, flags) = (net.at(0).myself().config_epoch(), NodeFlags::PRIMARY);
    let header = Header { sender: Some(claimant), config_epoch, slots, flags, ..Header::default() };
    net.inject(2, header, pong());
    assert_eq!(net.at(2).slot_owner(moved).map(Node::id), Some(claimant));
}

#[test]
fn who_may_follow_nobody_keeps_no_keys_of_its_last_slots() {
    let mut net = Network::of_shards(3);
    let host = &mut net.hosts[0];
    host.config.cluster_allow_replica_migration = false;
    host.keys = 1;
    let own: Vec<u16> = net.at(0).myself().slots().iter().collect();
    let (node, slots) = (net.id(1), own.iter().copied().collect());
    let header = Header { sender: Some(net.id(2)), ..Header::default() };
    net.inject(0, header, Body::Update { node, config_epoch: 9, slots });
    assert!(net.at(0).myself().is_primary() && net.at(0).myself().slots().is_empty());
    assert_eq!(net.hosts[0].emptied, own);
}

#[test]
fn an_orphaned_primary_is_given_a_replica_of_another() {
    let mut net = Network::of_shards(3);
    let id = net.id(1);
    net.on(3, |cluster, now, facts| {
        cluster.replicate(id.as_bytes(), false, now, facts).unwrap();
    });
    net.run_until(|net| net.at(2).replicas_of(net.node(2, id).unwrap()).count() == 2);
    // The third primary's only replica dies.
    net.hosts[5].is_alive = false;
    net.run_until(|net| [3, 4].iter().any(|&at| net.hosts[at].follows == Some(7002)));
}

#[test]
fn a_reset_node_knows_nobody() {
    let mut net = Network::of_shards(2);
    let before = net.id(3);
    net.on(3, |cluster, _, _| cluster.reset(true));
    assert!(net.at(3).myself().is_primary() && net.at(3).known_nodes() == 1);
    assert_eq!(net.hosts[3].follows, None);
    assert_ne!(net.id(3), before);
    assert_eq!(net.at(3).current_epoch(), 0);
}

/// A header of an attacker who claims all slots under a huge epoch.
fn greedy_header(sender: NodeId) -> Header {
    Header {
        sender: Some(sender),
        current_epoch: u64::MAX,
        config_epoch: u64::MAX,
        slots: (0..SLOTS).collect(),
        port: 9000,
        bus_port: 19_000,
        flags: NodeFlags::PRIMARY,
        message_flags: MessageFlags::EXTENSIONS,
        ..Header::default()
    }
}

#[test]
fn what_an_unknown_node_claims_is_not_believed() {
    let mut net = Network::of_shards(3);
    let stranger = NodeId::from_random([9; 20]);
    let victim = net.id(1);
    let bodies = [
        Body::Ping(Heartbeat::default()),
        Body::Pong(Heartbeat::default()),
        Body::Fail(victim),
        Body::AuthRequest,
        Body::AuthAck,
        Body::ManualFailoverStart,
        Body::Update { node: victim, config_epoch: u64::MAX, slots: (0..SLOTS).collect() },
    ];
    for body in bodies {
        net.inject(0, greedy_header(stranger), body);
    }
    // Nor what somebody says in this node's own name.
    let own = net.id(0);
    net.inject(0, greedy_header(own), Body::Ping(Heartbeat::default()));
    net.run(3000);
    assert!(net.node(0, stranger).is_none());
    // Nodes that met with the same epoch have resolved that among them, and no more.
    assert!(net.at(0).current_epoch() < 20, "{}", net.at(0).current_epoch());
    assert!(net.all_agree() && net.all_up());
}

/// What a node says of itself in a ping.
fn header_of(node: &Node, primary: Option<NodeId>, config_epoch: u64) -> Header {
    Header {
        sender: Some(node.id()),
        current_epoch: config_epoch,
        config_epoch,
        slots: if primary.is_none() { node.slots().clone() } else { SlotSet::default() },
        primary,
        port: node.address().tcp_port,
        bus_port: node.address().bus_port,
        flags: if primary.is_none() { NodeFlags::PRIMARY } else { NodeFlags::REPLICA },
        ..Header::default()
    }
}

/// Messages of one node come over two connections: an old one may arrive behind a newer one.
#[test]
fn a_new_primary_is_none_the_less_for_what_it_said_as_a_replica() {
    let mut net = Network::of_shards(3);
    let old = (net.id(0), net.at(0).myself().config_epoch());
    net.on(3, |cluster, now, facts| cluster.failover(FailoverKind::Plain, now, facts).unwrap());
    net.run_until(|net| net.at(3).myself().is_primary() && net.all_agree());
    net.run_until(|net| net.at(0).myself().is_replica());
    let stale = header_of(net.at(3).myself(), Some(old.0), old.1);
    for at in [0, 1, 4] {
        net.inject(at, stale.clone(), Body::Ping(Heartbeat::default()));
        assert!(net.node(at, net.id(3)).unwrap().is_primary());
    }
}

/// Nodes that are said to follow each other, and one that is said to follow one of them, keep nobody busy.
#[test]
fn a_circle_of_replicas_has_an_end() {
    let mut net = Network::of_shards(2);
    let (a, b, c) = (net.id(0), net.id(2), net.id(3));
    for (node, primary) in [(2, a), (0, b), (3, b), (1, c)] {
        let header = Header {
            message_flags: MessageFlags::EXTENSIONS,
            ..header_of(net.at(node).myself(), Some(primary), u64::MAX)
        };
        for at in (0..4).filter(|at| *at != node) {
            net.inject(at, header.clone(), Body::Ping(Heartbeat::default()));
        }
    }
    net.run(1000);
}

/// A known node is believed, as Redis believes it; at the last epoch there is, nothing overflows.
#[test]
fn a_known_node_is_believed_up_to_the_last_epoch() {
    let mut net = Network::of_shards(2);
    let sender = net.id(1);
    net.inject(0, greedy_header(sender), Body::Ping(Heartbeat::default()));
    assert_eq!(net.at(0).current_epoch(), u64::MAX);
    assert!(net.at(0).myself().is_replica());
    net.on(0, |cluster, _, _| cluster.bump_epoch());
    net.run(5000);
}

#[test]
fn a_flood_of_meets_is_bounded_and_passes() {
    let mut net = Network::of_shards(2);
    let known = net.at(0).known_nodes();
    for at in 0..3000u32 {
        let mut id = [0; 20];
        id[..4].copy_from_slice(&at.to_be_bytes());
        let header = Header { bus_port: 20_000, ..greedy_header(NodeId::from_random(id)) };
        let link = net.inject(0, header.clone(), Body::Meet(Heartbeat::default()));
        // The same connection asks again.
        let message = Message::full(header, Body::Meet(Heartbeat::default()));
        net.on(0, |cluster, now, facts| cluster.receive(link, message, now, facts));
    }
    assert!(net.at(0).known_nodes() <= known + 1000);
    net.run(5000);
    assert_eq!(net.at(0).known_nodes(), known);
    assert!(net.all_agree() && net.all_up());
}

#[test]
fn what_is_lost_on_purpose_is_not_heard() {
    let mut net = Network::of_shards(2);
    net.on(0, |cluster, _, _| cluster.debug_drop(Kind::Fail as i64));
    let (from, about) = (net.id(1), net.id(2));
    let header = Header { sender: Some(from), ..Header::default() };
    net.inject(0, header, Body::Fail(about));
    assert!(!net.node(0, about).unwrap().has_failed());
}

#[test]
fn who_does_not_say_who_it_is_is_cut_off_in_time() {
    let mut net = Network::new(2);
    net.meet_all();
    let now = net.now;
    let silent = net.on(0, |cluster, _, _| cluster.accept(String::new(), String::new(), now));
    let header = Header { sender: Some(NodeId::NONE), ..Header::default() };
    let stranger = net.inject(0, header, Body::Ping(Heartbeat::default()));
    let from_peer = net.node(0, net.id(1)).and_then(Node::inbound).expect("it is connected");
    net.run(2000);
    assert!(net.at(0).link(silent).is_some() && net.at(0).link(stranger).is_some());
    net.run(2000);
    assert!(net.at(0).link(silent).is_none() && net.at(0).link(stranger).is_none());
    assert!(net.at(0).link(from_peer).is_some());
}

#[test]
fn shards_that_fail_at_once_ask_one_after_the_other() {
    let mut net = Network::of_shards(6);
    net.hosts[0].is_alive = false;
    net.hosts[1].is_alive = false;
    net.run_until(|net| [6, 7].iter().all(|&at| net.at(at).myself().is_primary()));
    net.run_until(|net| net.all_agree() && net.all_up());
    for at in [6, 7] {
        let tries = net.hosts[at].log.iter().filter(|line| line.contains("Start of election"));
        assert_eq!(tries.count(), 1);
    }
}
