//! A replication group: a primary, two replicas and one chained to a replica, under a workload, the faults that the
//! seed has for them, and the operator who keeps the group going.
//!
//! * [`workload`]: clients that write all types of data.
//! * [`checks`]: what must hold, always and at quiet points.

mod checks;
mod workload;

use crate::group::{self, Group, START};
use crate::memory;
use crate::network::{SharedNetwork, host};
use aeolis::sys::children::simulated;
use checks::Checks;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use std::rc::Rc;
use workload::{Acknowledged, Client};

const SERVERS: usize = 4;
const CLIENTS: usize = 3;
const SECOND: i64 = 1_000_000;
/// How long the group may take to become one again when all faults have ended.
const MENDING: i64 = 120 * SECOND;

/// Runs a seed to the end; answers a line about what happened.
pub fn run(seed: u64, verbose: bool) -> String {
    Simulation::new(seed, verbose).run()
}

struct Simulation {
    group: Group,
    network: SharedNetwork,
    clients: Vec<Client>,
    checks: Checks,
    rng: SmallRng,
    primary: usize,
    /// The replica that follows another replica, and that one.
    chain: (usize, usize),
    acknowledged: Vec<Acknowledged>,
    /// Markers that the present primary said were written.
    written: Vec<String>,
    /// Whether what a server says is written is on its disk.
    durable: bool,
    writing: bool,
    next_fault: i64,
    release_at: i64,
    promotions: usize,
    crashes: usize,
    /// When a server last lost what it had, or may have.
    disturbed_at: i64,
    _root: tempfile::TempDir,
}

impl Simulation {
    fn new(seed: u64, verbose: bool) -> Simulation {
        let (mut rng, network) = group::begin(seed, SERVERS);
        if rng.random_bool(0.3) {
            // Slow consumers: the wires hold little.
            network.borrow_mut().capacity = (256, 4096);
        }
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
            checks: Checks::new(SERVERS),
            rng,
            primary: 0,
            chain: (3, 2),
            acknowledged: Vec::new(),
            written: Vec::new(),
            durable,
            writing: false,
            next_fault: i64::MAX,
            release_at: START,
            promotions: 0,
            crashes: 0,
            disturbed_at: START,
            _root: root,
        }
    }

    fn run(mut self) -> String {
        for i in 0..SERVERS {
            self.group.start(i, self.followed_by(i));
        }
        for _ in 0..self.rng.random_range(1..=3) {
            self.writing = true;
            self.next_fault = self.group.now + self.rng.random_range(0..2 * SECOND);
            let end = self.group.now + self.rng.random_range(3 * SECOND..12 * SECOND);
            while self.group.now < end {
                self.step();
            }
            self.writing = false;
            self.next_fault = i64::MAX;
            self.mend();
        }
        format!(
            "{} markers acknowledged, {} partial and {} full resynchronisations, {} promotions, {} crashes, digest {}",
            self.acknowledged.len(),
            self.checks.partial,
            self.checks.full,
            self.promotions,
            self.crashes,
            String::from_utf8_lossy(&self.group.ask(self.primary, &["DEBUG", "DIGEST"])).trim_end()
        )
    }

    fn say(&self, text: &str) {
        self.group.say(text);
    }

    /// Whom a server is to follow.
    fn followed_by(&self, i: usize) -> Option<usize> {
        match i {
            _ if i == self.primary => None,
            _ if i == self.chain.0 && self.chain.1 != self.primary => Some(self.chain.1),
            _ => Some(self.primary),
        }
    }

    /// Moves on to the next moment in which anything happens.
    fn step(&mut self) {
        let servers = (0..SERVERS).map(|i| self.group.wakes_at(i));
        let clients = self.clients.iter().map(|c| c.next_at).filter(|_| self.writing);
        let moments = servers.chain(clients).chain([self.next_fault, self.release_at]);
        let now = self.group.next_moment(moments);
        self.group.go_to(now);
        for i in 0..SERVERS {
            self.turn(i);
        }
        self.clients_act();
        if now >= self.release_at {
            simulated::release();
            self.release_at = now + self.rng.random_range(SECOND / 100..SECOND / 2);
            for i in 0..SERVERS {
                self.follow(i);
            }
        }
        for i in 0..SERVERS {
            if self.group.restarts(i) {
                self.say(&format!("server {i} starts again"));
                self.checks.forget(i);
                self.group.start(i, self.followed_by(i));
            }
        }
        if now >= self.next_fault {
            self.fault();
            self.next_fault = now + self.rng.random_range(SECOND / 100..SECOND);
        }
    }

    fn turn(&mut self, i: usize) {
        let events = self.group.events(i);
        if events.is_empty() && self.group.wakes_at(i) > self.group.now {
            return;
        }
        let (checks, network) = (&mut self.checks, &self.network);
        let full = checks.full;
        self.group.turn(i, &events, |server, event, before| {
            checks.around(i, network, server, event, before);
        });
        if self.checks.full > full {
            self.disturbed_at = self.group.now;
        }
        if let Some(server) = &self.group.nodes[i].server {
            self.checks.after_turn(i, server);
        }
    }

    fn clients_act(&mut self) {
        let primary = &self.group.nodes[self.primary];
        let offset = primary.server.as_ref().map_or(0, |s| s.replication().offset());
        let target = (self.writing && primary.is_up()).then_some(self.primary);
        for client in &mut self.clients {
            let learnt = client.act(&self.network, self.group.now, target, offset, &mut self.rng);
            // While no replica lost anything, one of them must have what was acknowledged.
            for Acknowledged { marker, since, .. } in &learnt.acknowledged {
                let has_it = |i: usize| {
                    let server = self.group.nodes[i].server.as_ref();
                    i != self.primary && server.is_some_and(|s| Checks::has_marker(s, marker))
                };
                let lost = *since > self.disturbed_at && !(0..SERVERS).any(has_it);
                assert!(!lost, "{marker} was acknowledged, and is on no replica");
            }
            self.acknowledged.extend(learnt.acknowledged);
            self.written.extend(learnt.written);
        }
    }

    /// Something goes wrong.
    fn fault(&mut self) {
        let victim = self.rng.random_range(0..SERVERS);
        let now = self.group.now;
        match self.rng.random_range(0..13) {
            0..=3 => {
                let cut = self.network.borrow_mut().cut_one();
                self.say(if cut.is_some() { "a link is cut" } else { "there is no link to cut" });
            }
            4 => {
                let other = (victim + self.rng.random_range(1..SERVERS)) % SERVERS;
                self.say(&format!("servers {victim} and {other} can't reach each other"));
                self.network.borrow_mut().part(victim, other);
            }
            5 | 6 => {
                self.say("all servers can reach each other again");
                self.network.borrow_mut().heal();
            }
            7 => {
                let until = now + self.rng.random_range(SECOND / 10..3 * SECOND);
                self.say(&format!("server {victim} is stopped for {} us", until - now));
                self.group.nodes[victim].frozen_until = until;
            }
            8 if victim != self.primary && self.group.nodes[victim].is_up() => {
                if self.rng.random_bool(0.5) {
                    self.group.ask(victim, &["SAVE"]);
                }
                self.say(&format!("server {victim} crashes"));
                self.crash(victim);
            }
            9 => self.promote(),
            10 => simulated::doom_next(true),
            11 if self.durable && self.group.nodes[self.primary].is_up() => {
                self.say("the primary crashes; its disk remembers");
                self.crash(self.primary);
            }
            _ if self.group.nodes[victim].is_up() => {
                self.say(&format!("server {victim} saves, rewrites its file, or its clock jumps"));
                match self.rng.random_range(0..4) {
                    0 => drop(self.group.ask(victim, &["BGSAVE"])),
                    1 => drop(self.group.ask(victim, &["BGREWRITEAOF"])),
                    _ => self.group.nodes[victim].skew += self.rng.random_range(0..2 * SECOND),
                }
            }
            _ => {}
        }
    }

    fn crash(&mut self, i: usize) {
        self.crashes += 1;
        self.disturbed_at = self.group.now;
        self.group.crash(i);
        self.group.nodes[i].restart_at =
            Some(self.group.now + self.rng.random_range(SECOND / 100..4 * SECOND));
    }

    /// The operator makes the best replica the primary; the old one crashed, or does not know of it yet.
    fn promote(&mut self) {
        let old = self.primary;
        let Some(server) = &self.group.nodes[old].server else { return };
        let (id, most) = (
            server.replication().id().to_string(),
            self.acknowledged.iter().map(|a| a.offset).max().unwrap_or(0),
        );
        let fit = |i: &usize| {
            let follows = self.followed_by(*i) == Some(old);
            let server =
                self.group.nodes[*i].server.as_ref().filter(|s| !s.persistence().is_loading());
            follows
                && server
                    .is_some_and(|s| s.replication().id() == id && s.replication().offset() >= most)
        };
        let best = (0..SERVERS)
            .filter(fit)
            .max_by_key(|i| self.group.nodes[*i].up().replication().offset());
        let Some(new) = best else { return };
        self.say(&format!("server {new} takes over from {old}"));
        self.promotions += 1;
        self.disturbed_at = self.group.now;
        let crashed = self.rng.random_bool(0.5);
        if crashed {
            self.crash(old);
        }
        let answer = self.group.ask(new, &["REPLICAOF", "NO", "ONE"]);
        assert_eq!(answer, b"+OK\r\n", "promotion: {}", answer.escape_ascii());
        let markers = self.acknowledged.iter().map(|a| a.marker.as_str());
        Checks::has_markers(self.group.nodes[new].up(), markers, "the promoted replica");
        // What no replica had acknowledged may be lost now.
        self.written = self.acknowledged.iter().map(|a| a.marker.clone()).collect();
        // Offsets of the old history say nothing in the new one.
        let offset = self.group.nodes[new].up().replication().offset();
        self.acknowledged.iter_mut().for_each(|a| a.offset = a.offset.min(offset));
        self.primary = new;
        let others: Vec<usize> = (0..SERVERS).filter(|i| *i != new).collect();
        let last = others[self.rng.random_range(0..others.len())];
        let before = others.iter().copied().find(|i| *i != last).expect("there are three");
        self.chain = (last, before);
        for client in &mut self.clients {
            client.disconnect();
        }
        // The old primary hears of it later, when it has perhaps gone on in the history that has ended.
        for i in others.into_iter().filter(|i| *i != old) {
            self.follow(i);
        }
    }

    /// Has a server follow whom it should. One that is loading refuses; it is told again later.
    fn follow(&mut self, i: usize) {
        let (Some(whom), Some(server)) = (self.followed_by(i), &self.group.nodes[i].server) else {
            return;
        };
        if server.replication().primary().is_none_or(|link| link.host() != host(whom)) {
            self.group.ask(i, &["REPLICAOF", &host(whom), "6379"]);
        }
    }

    /// All faults end; the group must become one, and nothing may be lost.
    fn mend(&mut self) {
        self.say("all faults end");
        self.network.borrow_mut().heal();
        simulated::doom_next(false);
        for node in &mut self.group.nodes {
            node.frozen_until = 0;
        }
        for client in &mut self.clients {
            client.disconnect();
        }
        let end = self.group.now + MENDING;
        // What expires has to be gone: a replica waits to be told.
        let settle = self.group.now + 4 * SECOND;
        while self.group.now < settle || !self.is_one() {
            self.step();
            assert!(self.group.now < end, "the group does not become one: {}", self.places());
        }
        Checks::all_equal(&mut self.group, self.primary);
        let markers = self.acknowledged.iter().map(|a| a.marker.as_str());
        let primary = self.group.nodes[self.primary].up();
        Checks::has_markers(primary, markers, "the primary");
        Checks::has_markers(primary, self.written.iter().map(String::as_str), "the primary");
    }

    /// Whether all servers are up, linked, and at the same place.
    fn is_one(&self) -> bool {
        let all_up = self.group.nodes.iter().all(|n| n.is_up());
        all_up && {
            let place = |i: usize| {
                let repl = &self.group.nodes[i].up().replication();
                (repl.id().to_string(), repl.offset())
            };
            (0..SERVERS).all(|i| {
                let repl = &self.group.nodes[i].up().replication();
                let linked = i == self.primary || repl.is_connected_to_primary();
                linked && place(i) == place(self.primary)
            })
        }
    }

    fn places(&self) -> String {
        let place = |(i, node): (usize, &group::Node)| match &node.server {
            None => format!("\n  {i}: down"),
            Some(s) => {
                let link = s.replication().primary().map(|p| (p.host().to_string(), p.role_name()));
                format!("\n  {i}: {} {} {link:?}", s.replication().id(), s.replication().offset())
            }
        };
        self.group.nodes.iter().enumerate().map(place).collect()
    }
}

/// The configuration of all servers of a group.
fn settings(rng: &mut SmallRng) -> Vec<String> {
    let (append, fsync) = [("no", "no"), ("yes", "always"), ("yes", "no")][rng.random_range(0..3)];
    let mut pick = |choices: &[&str]| choices[rng.random_range(0..choices.len())].to_string();
    let method = pick(&["fork", "incremental"]);
    // A child that is none would keep everybody waiting.
    let key_delay_us = if method == "fork" { "0".into() } else { pick(&["0", "50", "500"]) };
    let pairs = [
        ("--save", String::new()),
        ("--snapshot-method", method),
        ("--rdb-key-save-delay", key_delay_us),
        ("--protected-mode", "no".to_string()),
        ("--enable-debug-command", "yes".to_string()),
        ("--repl-diskless-sync", pick(&["yes", "no"])),
        ("--repl-diskless-sync-delay", pick(&["0", "0", "1"])),
        ("--appendonly", append.to_string()),
        ("--appendfsync", fsync.to_string()),
        ("--auto-aof-rewrite-min-size", "16kb".to_string()),
        ("--repl-diskless-load", pick(&["disabled", "on-empty-db", "swapdb"])),
        ("--repl-backlog-size", pick(&["16kb", "64kb", "1mb"])),
        ("--repl-timeout", pick(&["5", "10", "30"])),
        ("--repl-ping-replica-period", pick(&["1", "3"])),
        ("--client-output-buffer-limit", pick(&["replica 1mb 0 0", "replica 256mb 64mb 60"])),
        ("--hz", pick(&["10", "50"])),
        ("--set-max-intset-entries", pick(&["4", "512"])),
        ("--list-max-listpack-size", pick(&["2", "-2"])),
        ("--hash-max-listpack-entries", pick(&["4", "128"])),
        ("--zset-max-listpack-entries", pick(&["4", "128"])),
    ];
    group::command_line(pairs)
}
