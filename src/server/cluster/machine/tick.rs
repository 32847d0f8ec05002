//! What is done ten times a second, and at the end of each turn of the loop.

use super::replica_migration::Replicas;
use super::{Action, Cluster, Facts, NodeKey, Now, Todo};
use crate::bus::{Kind, NodeFlags};

/// A handshake that takes longer than the node time-out, and than this, is given up.
const LEAST_HANDSHAKE_MS: u64 = 1000;
/// Of so many nodes, picked by chance once a second, the one is pinged that was heard of longest ago.
const PING_CANDIDATES: usize = 5;
/// Calls of [`Cluster::tick`] in a second.
const TICKS_PER_SECOND: u64 = 10;

/// How long others may take to say who they are, in milliseconds.
fn handshake_ms(facts: &Facts) -> u64 {
    facts.config.cluster_node_timeout.max(LEAST_HANDSHAKE_MS)
}

impl Cluster {
    /// What is done ten times a second.
    pub fn tick(&mut self, now: Now, facts: &Facts) {
        self.ticks += 1;
        self.reconnect(now, facts);
        self.close_strangers(now, facts);
        if self.ticks.is_multiple_of(TICKS_PER_SECOND) {
            self.ping_any(now, facts);
        }
        let mut replicas = Replicas::default();
        for key in self.nodes.others() {
            self.watch(key, &mut replicas, now, facts);
        }
        if let Some(primary) = self.myself().primary.filter(|_| self.is_replica() && !facts.follows)
            && !self.nodes[primary].flags.contains(NodeFlags::NO_ADDRESS)
        {
            self.follow(primary, false, facts);
        }
        self.expire_manual_failover(now);
        if self.is_replica() {
            self.advance_manual_failover(facts);
            self.advance_election(now, facts);
            self.migrate_if_due(replicas, now, facts);
        }
        if !self.is_up() {
            self.update_health(now, facts);
        }
    }

    /// What is left to do at the end of a turn, before what was said is sent.
    pub fn before_sleep(&mut self, now: Now, facts: &Facts) {
        let todo = std::mem::replace(&mut self.todo, Todo::empty());
        if todo.intersects(Todo::MANUAL_FAILOVER | Todo::FAILOVER) && self.is_replica() {
            if todo.contains(Todo::MANUAL_FAILOVER) {
                self.advance_manual_failover(facts);
            }
            self.advance_election(now, facts);
        }
        if todo.contains(Todo::HEALTH) {
            self.update_health(now, facts);
        }
        if todo.contains(Todo::SAVE) {
            self.actions.push(Action::Save { durably: todo.contains(Todo::SYNC) });
        }
        if !self.moved.is_empty() {
            let moved = Box::new(std::mem::take(&mut self.moved));
            self.actions.push(Action::SlotsChanged(moved));
        }
    }

    /// Whether [`Cluster::before_sleep`] has something to do, or there are actions.
    pub fn has_work(&self) -> bool {
        !self.todo.is_empty() || !self.actions.is_empty() || !self.moved.is_empty()
    }

    /// Connects to those who are not connected, and gives handshakes up that take too long.
    fn reconnect(&mut self, now: Now, facts: &Facts) {
        let handshake_ms = handshake_ms(facts);
        self.health.suspected = 0;
        for key in self.nodes.others() {
            let node = &self.nodes[key];
            if node.flags.contains(NodeFlags::NO_ADDRESS) {
                continue;
            }
            self.health.suspected += usize::from(node.is_suspected());
            if node.is_in_handshake() && now.since(Some(node.created_ms)) > handshake_ms {
                self.remove_node(key);
            } else if node.link.is_none() {
                self.connect(key, now);
            }
        }
    }

    /// Closes connections over which no known node has spoken in time.
    fn close_strangers(&mut self, now: Now, facts: &Facts) {
        let handshake_ms = handshake_ms(facts);
        let is_late = |created: Now| now.since(Some(created.mono_ms)) > handshake_ms;
        let strangers = self.links.strangers();
        let late = strangers.filter(|&(_, created)| is_late(created)).map(|(link, _)| link);
        late.collect::<Vec<_>>().into_iter().for_each(|link| self.close(Some(link)));
    }

    /// Pings a node that was not heard of for long.
    fn ping_any(&mut self, now: Now, facts: &Facts) {
        let mut oldest: Option<NodeKey> = None;
        for _ in 0..PING_CANDIDATES {
            let key = self.nodes.random(&mut self.rng);
            let node = &self.nodes[key];
            let is_busy = node.link.is_none() || node.ping_sent.is_some();
            if is_busy || node.flags.intersects(NodeFlags::MYSELF | NodeFlags::HANDSHAKE) {
                continue;
            }
            let age = now.since_seen(node.pong_received);
            if oldest.is_none_or(|other| age > now.since_seen(self.nodes[other].pong_received)) {
                oldest = Some(key);
            }
        }
        if let Some(link) = oldest.and_then(|key| self.nodes[key].link) {
            self.send_heartbeat(link, Kind::Ping, now, facts);
        }
    }

    /// Sees whether a node is alive, and pings it in time.
    fn watch(&mut self, key: NodeKey, replicas: &mut Replicas, now: Now, facts: &Facts) {
        let unsure = NodeFlags::NO_ADDRESS | NodeFlags::HANDSHAKE;
        if !self.nodes.contains(key) || self.nodes[key].flags.intersects(unsure) {
            return;
        }
        let node = &self.nodes[key];
        if self.is_replica() && node.is_primary() && !node.has_failed() {
            self.count_replicas(key, replicas);
        }
        let timeout_ms = facts.config.cluster_node_timeout;
        let data_delay = now.since(node.data_received_ms);
        // A connection over which nothing comes may be broken while the node is alive.
        if let Some(link) = node.link
            && let Some(ping_sent) = node.ping_sent
            && let Some(known) = self.link(link)
            && now.since(Some(known.created.mono_ms)) > timeout_ms
            && now.since_seen(Some(ping_sent)) > timeout_ms / 2
            && data_delay > timeout_ms / 2
        {
            self.close(Some(link));
        }
        let interval_ms = match facts.config.cluster_ping_interval {
            0 => timeout_ms / 2,
            interval_ms => interval_ms,
        };
        let node = &self.nodes[key];
        let is_due = node.ping_sent.is_none() && now.since_seen(node.pong_received) > interval_ms;
        // The replica of a manual failover waits for this node's offset.
        let waits = self.manual.replica() == Some(key) && self.myself().is_primary();
        if let Some(link) = node.link.filter(|_| is_due || waits) {
            return self.send_heartbeat(link, Kind::Ping, now, facts);
        }
        let Some(ping_sent) = node.ping_sent else { return };
        // Whatever comes shows that the node is alive.
        if now.since_seen(Some(ping_sent)).min(data_delay) > timeout_ms {
            self.suspect(key, now, facts);
        }
    }

    /// A node does not answer.
    fn suspect(&mut self, key: NodeKey, now: Now, facts: &Facts) {
        let node = &mut self.nodes[key];
        if node.flags.intersects(NodeFlags::PFAIL | NodeFlags::FAIL) {
            return;
        }
        node.flags.insert(NodeFlags::PFAIL);
        self.todo |= Todo::HEALTH;
        if self.size() == 1 && self.myself().is_voter() {
            self.fail_if_agreed(key, now, facts);
        } else {
            let named = self.named(key);
            self.notice(format!("NODE {named} possibly failing."));
        }
    }
}
