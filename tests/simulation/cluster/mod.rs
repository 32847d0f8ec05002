//! A cluster: three shards with two replicas each, clients that follow redirections, an operator who moves slots and
//! has replicas take over, and the faults that the seed has for them.
//!
//! * [`client`]: a client. [`tags`]: the keys that they write.
//! * [`operator`]: slots that move key by key, and what is mended afterwards.
//! * [`faults`]: what goes wrong, and when.
//! * [`ledger`]: which writes must not be lost. [`checks`]: what must hold of the nodes.
//!
//! Time goes by in phases. In a calm one nothing goes wrong, though slots move, replicas take over and wall clocks
//! jump: then nothing that was answered may be lost. In a stormy one servers crash, stop and lose sight of each other.
//! After each, all faults end, and the cluster must come to rest.

mod checks;
mod client;
mod faults;
mod ledger;
mod operator;
mod tags;

use crate::group::{self, Group, MOMENT, START};
use crate::memory;
use crate::network::{SharedNetwork, host};
use aeolis::server::links::migration::job::State;
use aeolis::sys::children::simulated;
use aeolis::util::slot::SLOTS;
use checks::{Moment, Watch, check_quiet, node_id, unrest};
use client::{Client, News};
use faults::{AFTER_DROUGHT, Drought};
use ledger::Ledger;
use operator::Operator;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use std::rc::Rc;
use tags::TAGS;

const SHARDS: usize = 3;
const SERVERS: usize = 3 * SHARDS;
const CLIENTS: usize = 3;
const SECOND: i64 = 1_000_000;
/// How long the cluster may take to come to rest when all faults have ended.
const MENDING: i64 = 90 * SECOND;
/// How often it is looked at meanwhile.
const LOOK: i64 = SECOND / 10;

/// Runs a seed to the end; answers a line about what happened.
pub fn run(seed: u64, verbose: bool) -> String {
    Simulation::new(seed, verbose).run()
}

struct Simulation {
    group: Group,
    network: SharedNetwork,
    clients: Vec<Client>,
    operator: Operator,
    ledger: Ledger,
    watch: Watch,
    rng: SmallRng,
    /// Whether what a server says is written is on its disk.
    durable: bool,
    /// Whether faults happen.
    stormy: bool,
    drought: Option<Drought>,
    writing: bool,
    next_fault: i64,
    release_at: i64,
    crashes: usize,
    _root: tempfile::TempDir,
}

impl Simulation {
    fn new(seed: u64, verbose: bool) -> Simulation {
        let (mut rng, network) = group::begin(seed, SERVERS);
        let root = memory::tempdir();
        let settings = settings(&mut rng);
        let durable = settings.iter().any(|s| s == "always");
        let group = Group::new(
            Rc::clone(&network),
            root.path(),
            &settings,
            SmallRng::from_rng(&mut rng),
            verbose,
        );
        Simulation {
            group,
            network,
            clients: (0..CLIENTS).map(Client::new).collect(),
            operator: Operator::default(),
            ledger: Ledger::new(SERVERS, CLIENTS),
            watch: Watch::new(SERVERS),
            rng,
            durable,
            stormy: false,
            drought: None,
            writing: false,
            next_fault: i64::MAX,
            release_at: START,
            crashes: 0,
            _root: root,
        }
    }

    fn run(mut self) -> String {
        self.form();
        for _ in 0..self.rng.random_range(1..=2) {
            self.stormy = self.rng.random_bool(0.7);
            self.say(if self.stormy { "a storm begins" } else { "a calm begins" });
            self.writing = true;
            self.next_fault = self.group.now + self.rng.random_range(0..SECOND);
            let mut end = self.group.now + self.rng.random_range(SECOND..5 * SECOND);
            if self.stormy && self.rng.random_bool(0.3) {
                self.begin_drought();
                end = end.max(self.drought.map_or(0, |drought| drought.until + AFTER_DROUGHT));
            }
            while self.group.now < end {
                self.step();
            }
            self.next_fault = i64::MAX;
            self.mend();
        }
        format!(
            "{} writes kept and {} excused, {} elections, {} slots moved and {} migrated, {} crashes",
            self.ledger.len(),
            self.ledger.excused,
            self.watch.elections,
            self.operator.moved,
            self.watch.moved,
            self.crashes,
        )
    }

    fn say(&self, text: &str) {
        self.group.say(text);
    }

    /// Has the servers become a cluster, as `redis-cli --cluster create` does.
    fn form(&mut self) {
        for i in 0..SERVERS {
            self.start(i);
            self.group.ask(i, &["CLUSTER", "SET-CONFIG-EPOCH", &(i + 1).to_string()]);
        }
        for shard in 0..SHARDS {
            let share = usize::from(SLOTS).div_ceil(SHARDS);
            let last = (shard + 1) * share - 1;
            let last = last.min(usize::from(SLOTS) - 1);
            let range = [(shard * share).to_string(), last.to_string()];
            self.group.ask(shard, &["CLUSTER", "ADDSLOTSRANGE", &range[0], &range[1]]);
        }
        for i in 1..SERVERS {
            self.group.ask(0, &["CLUSTER", "MEET", &host(i), "6379"]);
        }
        self.rest("the nodes do not meet");
        for i in SHARDS..SERVERS {
            let primary = node_id(self.group.nodes[i % SHARDS].up()).to_string();
            let answer = self.group.ask(i, &["CLUSTER", "REPLICATE", &primary]);
            assert_eq!(answer, b"+OK\r\n", "{}", answer.escape_ascii());
        }
        self.rest("the replicas do not follow");
    }

    /// Goes on until the cluster is at rest.
    fn rest(&mut self, otherwise: &str) {
        let end = self.group.now + MENDING;
        while let Some(why) = unrest(&self.group) {
            assert!(self.group.now < end, "{otherwise}: {why}");
            let look = self.group.now + LOOK;
            while self.group.now < look {
                self.step();
            }
            if !self.writing {
                operator::fix(&mut self.group);
            }
        }
    }

    fn start(&mut self, i: usize) {
        self.group.start(i, None);
        self.watch.started(i, self.group.nodes[i].up());
    }

    /// Moves on to the next moment in which anything happens.
    fn step(&mut self) {
        // Who was just typed at has something to do at once.
        let soon = self.group.now + MOMENT;
        let servers = (0..SERVERS).map(|i| self.group.wakes_at(i).max(soon));
        let clients = self.clients.iter().map(|c| c.next_at).filter(|_| self.writing);
        let moments = servers.chain(clients).chain([self.next_fault, self.release_at]);
        let now = self.group.next_moment(moments);
        self.group.go_to(now);
        for i in 0..SERVERS {
            self.turn(i);
        }
        self.clients_act();
        self.operator.act(&mut self.group, &self.network, &mut self.rng);
        if now >= self.release_at {
            simulated::release();
            self.release_at = now + self.rng.random_range(SECOND / 100..SECOND / 4);
        }
        for i in 0..SERVERS {
            if self.group.restarts(i) {
                self.restart(i);
            }
        }
        if now >= self.next_fault {
            self.fault();
            self.next_fault = now + self.rng.random_range(SECOND / 20..SECOND);
        }
    }

    fn turn(&mut self, i: usize) {
        let events = self.group.events(i);
        if events.is_empty() && self.group.wakes_at(i) > self.group.now {
            return;
        }
        self.group.turn(i, &events, |_, _, _| {});
        self.look_at(i);
    }

    /// Sees what has happened on a server.
    fn look_at(&mut self, i: usize) {
        let Some(server) = &self.group.nodes[i].server else { return };
        let moments = self.watch.after_turn(i, server, self.group.now);
        // It is by the wall clock that its age is known, as in Redis.
        let jumped = self.group.nodes[i].skew.abs() > SECOND;
        if moments.contains(&Moment::Promoted) && !self.ledger.forced[i] && !jumped {
            self.watch.check_age(i, server, self.group.now);
        }
        for moment in &moments {
            match *moment {
                Moment::Gained(tag) => self.ledger.taken_over(&self.group, i, tag),
                // What is written now would reach neither, were it not held back.
                Moment::Moves(State::Granted, moved) => self.write_to(moved),
                _ => {}
            }
        }
        for moment in moments {
            self.strike_at(i, moment);
        }
    }

    /// All clients write to a slot next.
    fn write_to(&mut self, slot: u16) {
        let tag = (0..TAGS).find(|&tag| tags::slot(tag) == slot).expect("the slot of a tag");
        self.clients.iter_mut().for_each(|client| client.hurry(tag, self.group.now));
    }

    fn clients_act(&mut self) {
        for client in &mut self.clients {
            let now = self.group.now;
            let may = self.writing;
            for news in client.act(&self.network, now, SERVERS, may, &mut self.rng) {
                match news {
                    News::Written(append) if !self.stormy => {
                        self.ledger.note(&self.group, append, true);
                    }
                    News::Written(_) => {}
                    News::Confirmed(append) => self.ledger.note(&self.group, append, !self.stormy),
                }
            }
        }
    }

    /// All faults end; the cluster must come to rest, and nothing may be lost.
    fn mend(&mut self) {
        self.say("all faults end");
        self.drought = None;
        self.network.borrow_mut().heal();
        for node in &mut self.group.nodes {
            node.frozen_until = 0;
            node.restart_at = node.restart_at.map(|_| self.group.now);
        }
        // All clients get on.
        let before: Vec<u64> = self.clients.iter().map(|client| client.confirmed).collect();
        let end = self.group.now + MENDING;
        while self.clients.iter().zip(&before).any(|(client, before)| client.confirmed < before + 2)
        {
            let why = unrest(&self.group);
            assert!(self.group.now < end, "a client does not get on: {why:?}");
            self.step();
        }
        self.writing = false;
        while self.clients.iter().any(|client| !client.is_idle()) {
            self.step();
        }
        self.operator.give_up(&mut self.group);
        self.stormy = false;
        self.rest("the cluster does not come to rest");
        let owners = check_quiet(&mut self.group);
        self.ledger.check(&self.group, |slot| owners[usize::from(slot)]);
    }
}

/// The configuration of all nodes.
fn settings(rng: &mut SmallRng) -> Vec<String> {
    let (append, fsync) = [("no", "no"), ("yes", "always")][rng.random_range(0..2)];
    let mut pick = |choices: &[&str]| choices[rng.random_range(0..choices.len())].to_string();
    let pairs = [
        ("--cluster-enabled", "yes".to_string()),
        ("--cluster-node-timeout", "1000".to_string()),
        ("--cluster-replica-validity-factor", pick(&["0", "1", "10"])),
        ("--cluster-allow-replica-migration", pick(&["yes", "no"])),
        ("--cluster-require-full-coverage", pick(&["yes", "no"])),
        ("--save", String::new()),
        ("--protected-mode", "no".to_string()),
        ("--enable-debug-command", "yes".to_string()),
        ("--repl-diskless-sync", pick(&["yes", "no"])),
        ("--repl-diskless-sync-delay", "0".to_string()),
        ("--appendonly", append.to_string()),
        ("--appendfsync", fsync.to_string()),
        ("--repl-diskless-load", pick(&["disabled", "swapdb"])),
        ("--repl-backlog-size", pick(&["16kb", "1mb"])),
        ("--repl-timeout", "5".to_string()),
        ("--repl-ping-replica-period", "1".to_string()),
    ];
    group::command_line(pairs)
}
