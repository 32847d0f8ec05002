//! What goes wrong, and what an operator does meanwhile.

use super::checks::{Moment, node_id};
use super::operator::{is_at_hand, server_of};
use super::tags::{TAGS, slot};
use super::{SECOND, SERVERS, Simulation};
use aeolis::server::Server;
use aeolis::server::links::migration::job::State;
use rand::Rng;

/// How long a primary is away after a drought, in microseconds.
pub(super) const AFTER_DROUGHT: i64 = 5 * SECOND;

/// A time in which the data of a primary's replicas grow old; nothing else goes wrong meanwhile.
#[derive(Clone, Copy)]
pub(super) struct Drought {
    primary: usize,
    pub until: i64,
}

impl Simulation {
    /// Something happens.
    pub(super) fn fault(&mut self) {
        if let Some(drought) = self.drought {
            if self.group.now >= drought.until {
                return self.end_drought(drought);
            }
        } else if self.stormy && self.rng.random_bool(0.6) {
            return self.harm();
        }
        match self.rng.random_range(0..10) {
            0..=2 => self.fail_over(),
            3..=5 => self.migrate_slots(),
            6 => self.cancel(),
            7 => self.jump(),
            _ => self.reshard(),
        }
    }

    fn harm(&mut self) {
        let victim = self.rng.random_range(0..SERVERS);
        match self.rng.random_range(0..10) {
            0..=2 => self.crash(victim, 4 * SECOND),
            3 => self.freeze(victim),
            4 | 5 => self.part(),
            6 => self.deafen(victim),
            7 => self.cut(),
            _ => {
                self.say("all servers can reach each other again");
                self.network.borrow_mut().heal();
            }
        }
    }

    /// A moment in which a fault is at its worst.
    pub(super) fn strike_at(&mut self, i: usize, moment: Moment) {
        let odds = match moment {
            Moment::Voted => 0.1,
            Moment::Promoted | Moment::Demoted => 0.05,
            Moment::Moves(State::Success | State::Failed | State::Cancelled, _) => 0.02,
            Moment::Moves(..) => 0.06,
            Moment::Gained(_) => 0.01,
        };
        // Once the faults have ended, there are no more.
        let may = self.stormy && self.drought.is_none() && self.next_fault < i64::MAX;
        if !may || !self.rng.random_bool(odds) {
            return;
        }
        self.say(&format!("it strikes server {i}: {moment:?}"));
        match self.rng.random_range(0..5) {
            0 => self.crash(i, SECOND / 20),
            1 => self.crash(i, 4 * SECOND),
            2 => self.freeze(i),
            3 => self.deafen(i),
            _ => match self.peer_in_move(i) {
                Some(peer) => self.crash(peer, SECOND),
                None => self.crash(i, SECOND),
            },
        }
    }

    /// A primary does not reach its replicas any more, while everybody else reaches all of them.
    pub(super) fn begin_drought(&mut self) {
        let role = |(i, server): (usize, &Server)| {
            let cluster = server.cluster()?;
            Some((i, node_id(server), cluster.primary_of(cluster.myself()).map(|node| node.id())))
        };
        let roles: Vec<_> = self.group.running().filter_map(role).collect();
        let primaries: Vec<_> = roles.iter().filter(|(_, _, primary)| primary.is_none()).collect();
        let &(primary, id, _) = primaries[self.rng.random_range(0..primaries.len())];
        let replicas = roles.iter().filter(|(.., follows)| *follows == Some(id));
        replicas.for_each(|&(i, ..)| self.network.borrow_mut().part(primary, i));
        let until = self.group.now + self.rng.random_range(7 * SECOND..9 * SECOND);
        self.say(&format!("the replicas of server {primary} lose sight of it"));
        self.drought = Some(Drought { primary, until });
    }

    /// Then it dies, for long enough that a replica could take its place.
    fn end_drought(&mut self, drought: Drought) {
        self.drought = None;
        self.crash(drought.primary, SECOND);
        self.group.nodes[drought.primary].restart_at = Some(self.group.now + AFTER_DROUGHT);
    }

    /// The other side of a move that a server takes part in.
    fn peer_in_move(&self, i: usize) -> Option<usize> {
        let server = self.group.nodes[i].server.as_ref()?;
        let job = server.slot_migrations().iter().find(|job| !job.state.is_over())?;
        let peer = if job.is_export() { job.target } else { job.source };
        server_of(&self.group, peer?)
    }

    fn crash(&mut self, i: usize, most_us: i64) {
        if !self.group.nodes[i].is_up() {
            return;
        }
        self.say(&format!("server {i} crashes"));
        self.ledger.disturb(&self.group, i);
        self.crashes += 1;
        self.group.crash(i);
        let after = self.rng.random_range(SECOND / 100..=most_us);
        self.group.nodes[i].restart_at = Some(self.group.now + after);
    }

    /// A server starts again, on what its disk has.
    pub(super) fn restart(&mut self, i: usize) {
        self.say(&format!("server {i} starts again"));
        self.start(i);
        if !self.durable {
            let cluster = self.group.nodes[i].up().cluster().expect("a node");
            // Others may have taken them over meanwhile.
            let owned = cluster.myself().slots().clone();
            let epoch = cluster.myself().config_epoch();
            let is_newer = |server: &Server, slot: u16| {
                let owner = server.cluster().and_then(|cluster| cluster.slot_owner(slot));
                owner.is_some_and(|owner| owner.config_epoch() > epoch)
            };
            let group = &self.group;
            self.ledger.lose(|slot| {
                owned.contains(slot) && !group.running().any(|(_, server)| is_newer(server, slot))
            });
        }
    }

    fn freeze(&mut self, i: usize) {
        let until = self.group.now + self.rng.random_range(SECOND / 10..3 * SECOND);
        self.say(&format!("server {i} is stopped for {} us", until - self.group.now));
        self.ledger.disturb(&self.group, i);
        self.group.nodes[i].frozen_until = until;
    }

    /// Some servers lose sight of the others.
    fn part(&mut self) {
        let lost: Vec<usize> = (0..SERVERS).filter(|_| self.rng.random_bool(0.25)).collect();
        self.say(&format!("servers {lost:?} are cut off"));
        for &i in &lost {
            self.ledger.disturb(&self.group, i);
            for other in (0..SERVERS).filter(|other| !lost.contains(other)) {
                self.network.borrow_mut().part(i, other);
            }
        }
    }

    /// A server hears nothing of some others, or they nothing of it, while the other direction works.
    fn deafen(&mut self, i: usize) {
        let is_heard = self.rng.random_bool(0.5);
        self.say(&format!(
            "server {i} can {} others",
            if is_heard { "not hear" } else { "not reach" }
        ));
        self.ledger.disturb(&self.group, i);
        for other in (0..SERVERS).filter(|other| *other != i) {
            if self.rng.random_bool(0.7) {
                let (from, to) = if is_heard { (other, i) } else { (i, other) };
                self.network.borrow_mut().block(from, to);
            }
        }
    }

    fn cut(&mut self) {
        let cut = self.network.borrow_mut().cut_one();
        if let Some([a, b]) = cut {
            self.say(&format!("a link between servers {a} and {b} is cut"));
            self.ledger.disturb(&self.group, a);
            self.ledger.disturb(&self.group, b);
        }
    }

    /// A wall clock jumps.
    fn jump(&mut self) {
        let i = self.rng.random_range(0..SERVERS);
        let skew = self.rng.random_range(-20 * SECOND..20 * SECOND);
        self.say(&format!("the clock of server {i} is {skew} us ahead now"));
        self.group.nodes[i].skew = skew;
    }

    /// A replica is to take its primary's place.
    fn fail_over(&mut self) {
        let is_replica =
            |server: &Server| server.cluster().is_some_and(|c| c.myself().is_replica());
        let replicas = (0..SERVERS).filter(|i| {
            is_at_hand(&self.group, *i)
                && self.group.nodes[*i].server.as_ref().is_some_and(is_replica)
        });
        let replicas: Vec<usize> = replicas.collect();
        if replicas.is_empty() {
            return;
        }
        let i = replicas[self.rng.random_range(0..replicas.len())];
        let how = match self.rng.random_range(0..6) {
            0 if self.stormy => Some("FORCE"),
            1 if self.stormy => Some("TAKEOVER"),
            _ => None,
        };
        self.say(&format!("server {i} is to take over {}", how.unwrap_or_default()));
        self.ledger.forced[i] |= how.is_some();
        let words: Vec<&str> = ["CLUSTER", "FAILOVER"].into_iter().chain(how).collect();
        self.group.ask(i, &words);
        self.look_at(i);
    }

    /// Slots move as one.
    fn migrate_slots(&mut self) {
        let tag = self.rng.random_range(0..TAGS);
        let Some((from, to)) = self.ends_of_a_move(slot(tag)) else { return };
        let (slot, target) = (slot(tag).to_string(), self.id(to));
        self.say(&format!("slot {slot} is to move from server {from} to server {to}"));
        let words = ["CLUSTER", "MIGRATESLOTS", "SLOTSRANGE", &slot, &slot, "NODE", &target];
        self.group.ask(from, &words);
        self.look_at(from);
    }

    fn cancel(&mut self) {
        let i = self.rng.random_range(0..SERVERS);
        if is_at_hand(&self.group, i) {
            self.group.ask(i, &["CLUSTER", "CANCELSLOTMIGRATIONS"]);
            self.look_at(i);
        }
    }

    /// A slot moves key by key.
    fn reshard(&mut self) {
        let slot = slot(self.rng.random_range(0..TAGS));
        if self.operator.is_busy() {
            return;
        }
        if let Some((from, to)) = self.ends_of_a_move(slot) {
            self.say(&format!("slot {slot} moves key by key from server {from} to server {to}"));
            self.operator.reshard(slot, from, to);
        }
    }

    fn id(&self, i: usize) -> String {
        node_id(self.group.nodes[i].up()).to_string()
    }

    /// The owner of a slot, and another primary.
    fn ends_of_a_move(&mut self, slot: u16) -> Option<(usize, usize)> {
        let clusters = self.group.running().filter_map(|(i, server)| Some((i, server.cluster()?)));
        // What leaves in a drought stays with the replicas that don't hear of it, should one of them be elected.
        let parched = self.drought.map(|drought| drought.primary);
        let clusters = clusters.filter(|(i, cluster)| {
            let is_fit = is_at_hand(&self.group, *i) && cluster.myself().is_primary();
            is_fit && parched != Some(*i)
        });
        let (mut from, mut others) = (None, Vec::new());
        for (i, cluster) in clusters {
            if cluster.owns(slot) { from = Some(i) } else { others.push(i) }
        }
        if others.is_empty() {
            return None;
        }
        let to = others[self.rng.random_range(0..others.len())];
        Some((from?, to))
    }
}
