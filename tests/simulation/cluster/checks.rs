//! What must hold of the nodes: after every turn, and at quiet points.

use super::tags::{TAGS, key, slot};
use crate::group::Group;
use aeolis::bus::{Kind, NodeFlags, NodeId};
use aeolis::server::Server;
use aeolis::server::cluster::{Cluster, Node};
use aeolis::server::links::migration::job::State;
use aeolis::util::slot::{SLOTS, key_slot};
use std::collections::{BTreeMap, BTreeSet};

/// Something that has just happened on a server: a moment in which a fault is at its worst.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// It has given its vote.
    Voted,
    /// It has taken its primary's place.
    Promoted,
    /// It follows another one now.
    Demoted,
    /// A move of slots that it takes part in has got that far; the first of them.
    Moves(State, u16),
    /// It has a tag's slot, which it had not.
    Gained(usize),
}

/// What was seen of one server.
#[derive(Clone, Default)]
struct Seen {
    last_vote_epoch: u64,
    votes: u64,
    was_replica: bool,
    owned: [bool; TAGS],
    /// When its data were last as its primary's, in microseconds since 1970, and how far they were.
    heard_at: i64,
    offset: u64,
    moves: Vec<(String, State)>,
}

/// Watches all servers.
pub struct Watch {
    seen: Vec<Seen>,
    /// Who was elected in which epoch.
    elected: BTreeMap<u64, NodeId>,
    pub elections: usize,
    pub moved: usize,
}

impl Watch {
    pub fn new(servers: usize) -> Watch {
        let seen = vec![Seen::default(); servers];
        Watch { seen, elected: BTreeMap::new(), elections: 0, moved: 0 }
    }

    /// A server has started: it has counted nothing yet.
    pub fn started(&mut self, i: usize, server: &Server) {
        let seen = &mut self.seen[i];
        let cluster = server.cluster().expect("a node");
        let (before, now) = (seen.last_vote_epoch, cluster.last_vote_epoch());
        assert!(now >= before, "server {i} has forgotten that it voted in epoch {before}");
        (seen.votes, seen.was_replica) = (0, cluster.myself().is_replica());
        seen.owned = std::array::from_fn(|tag| cluster.owns(slot(tag)));
        seen.moves.clear();
        seen.offset = server.replication().offset();
    }

    /// A replica that has heard nothing of its primary for longer than it may does not take its place.
    pub fn check_age(&self, i: usize, server: &Server, now: i64) {
        let factor = i64::from(server.config().cluster_replica_validity_factor);
        // Beside it, the time between two pings, that until the primary is found failing, and that of an election.
        let most_s = factor + 1 + 1 + 3;
        let age_s = (now - self.seen[i].heard_at) / 1_000_000;
        assert!(factor == 0 || age_s <= most_s, "server {i} is elected with data {age_s} s old");
    }

    /// After a turn: what has happened in it.
    pub fn after_turn(&mut self, i: usize, server: &Server, now: i64) -> Vec<Moment> {
        let cluster = server.cluster().expect("a node");
        let seen = &mut self.seen[i];
        let mut moments = Vec::new();
        let votes = cluster.stats().sent().find(|(kind, _)| *kind == Kind::AuthAck);
        let votes = votes.map_or(0, |(_, votes)| votes);
        let epoch = cluster.last_vote_epoch();
        if votes > seen.votes {
            assert!(epoch > seen.last_vote_epoch, "server {i} votes twice in epoch {epoch}");
            moments.push(Moment::Voted);
        }
        (seen.votes, seen.last_vote_epoch) = (votes, epoch);
        let is_replica = cluster.myself().is_replica();
        let offset = server.replication().offset();
        // Its primary says something at least once a second.
        let hears = is_replica && seen.offset != offset;
        if hears || !(is_replica || seen.was_replica) {
            seen.heard_at = now;
        }
        seen.offset = offset;
        match (std::mem::replace(&mut seen.was_replica, is_replica), is_replica) {
            (true, false) => {
                self.promoted(cluster);
                moments.push(Moment::Promoted);
            }
            (false, true) => moments.push(Moment::Demoted),
            _ => {}
        }
        let seen = &mut self.seen[i];
        for tag in 0..TAGS {
            let owns = cluster.owns(slot(tag));
            if !std::mem::replace(&mut seen.owned[tag], owns) && owns {
                moments.push(Moment::Gained(tag));
            }
        }
        moments.extend(self.see_moves(i, server));
        moments
    }

    fn promoted(&mut self, cluster: &Cluster) {
        let won = |text: &str| text.starts_with("Failover election won");
        let now = cluster.trace().steps().map(|step| step.at_ms).max();
        let mut last = cluster.trace().steps().filter(|step| Some(step.at_ms) == now);
        if !last.any(|step| won(&step.text)) {
            return;
        }
        let (epoch, id) = (cluster.myself().config_epoch(), cluster.myself().id());
        self.elections += 1;
        let other = *self.elected.entry(epoch).or_insert(id);
        assert_eq!(other, id, "two nodes were elected in epoch {epoch}");
    }

    fn see_moves(&mut self, i: usize, server: &Server) -> Vec<Moment> {
        let jobs = server.slot_migrations();
        let seen = &mut self.seen[i].moves;
        let mut moments = Vec::new();
        for job in jobs.iter() {
            let known = seen.iter_mut().find(|(name, _)| *name == job.name);
            let is_news = match known {
                Some((_, state)) => std::mem::replace(state, job.state) != job.state,
                None => {
                    seen.push((job.name.clone(), job.state));
                    true
                }
            };
            if is_news {
                self.moved += usize::from(job.is_export() && job.state == State::Success);
                let first = job.slots.iter().next().expect("a slot that moves");
                moments.push(Moment::Moves(job.state, first));
            }
        }
        moments
    }
}

/// Why the cluster is not at rest; `None`: it is.
pub fn unrest(group: &Group) -> Option<String> {
    let all: Vec<&Cluster> = group.running().filter_map(|(_, server)| server.cluster()).collect();
    if all.len() < group.nodes.len() {
        return Some("a server is down".into());
    }
    for (i, server) in group.running() {
        let cluster = server.cluster()?;
        let failing = NodeFlags::FAIL | NodeFlags::PFAIL | NodeFlags::HANDSHAKE;
        let doubted = cluster.nodes().find(|node| node.flags().intersects(failing));
        if let Some(node) = doubted {
            return Some(format!("server {i} doubts {}", node.id()));
        }
        if cluster.known_nodes() != all.len() {
            return Some(format!("server {i} does not know all"));
        }
        if !cluster.is_up() {
            return Some(format!("server {i} does not serve"));
        }
        if server.persistence().is_loading() {
            return Some(format!("server {i} is loading"));
        }
        let jobs = server.slot_migrations();
        if !jobs.is_idle() {
            let job = jobs.iter().find(|job| !job.state.is_over());
            let job = job.map(|job| (&job.description, job.state));
            return Some(format!("server {i} moves slots: {job:?}"));
        }
        if cluster.has_open_slots() {
            return Some(format!("server {i} has open slots"));
        }
        for other in &all {
            if let Some(why) = disagreement(cluster, other) {
                return Some(format!("server {i} disagrees about {}: {why}", other.myself().id()));
            }
        }
        if let Some(why) = lag(group, server) {
            return Some(format!("server {i}: {why}"));
        }
    }
    None
}

/// What a node sees differently from how another one sees itself.
fn disagreement(cluster: &Cluster, other: &Cluster) -> Option<&'static str> {
    let (itself, seen) = (other.myself(), cluster.node(&other.myself().id())?);
    let primary = |cluster: &Cluster, node: &Node| cluster.primary_of(node).map(Node::id);
    if seen.is_replica() != itself.is_replica() {
        return Some("its role");
    }
    if primary(cluster, seen) != primary(other, itself) {
        return Some("its primary");
    }
    if seen.slots() != itself.slots() {
        return Some("its slots");
    }
    if itself.is_primary() && seen.config_epoch() != itself.config_epoch() {
        return Some("its epoch");
    }
    if seen.shard_id() != itself.shard_id() {
        return Some("its shard");
    }
    None
}

/// What a replica lacks of its primary's data.
fn lag(group: &Group, server: &Server) -> Option<&'static str> {
    let cluster = server.cluster()?;
    let primary = cluster.primary_of(cluster.myself())?.id();
    let is_primary = |server: &Server| server.cluster().is_some_and(|c| c.myself().id() == primary);
    let (_, primary) = group.running().find(|(_, server)| is_primary(server))?;
    let (mine, theirs) = (server.replication(), primary.replication());
    if !mine.is_connected_to_primary() {
        return Some("it is not connected to its primary");
    }
    let is_there = mine.id() == theirs.id() && mine.offset() == theirs.offset();
    (!is_there).then_some("it is not where its primary is")
}

/// At a quiet point: each slot has one owner, keys are nowhere but in its shard, and whoever is asked finds them.
/// Answers each slot's owner.
pub fn check_quiet(group: &mut Group) -> Vec<usize> {
    let ids: Vec<NodeId> = (0..group.nodes.len()).map(|i| node_id(group.nodes[i].up())).collect();
    let number = |id: NodeId| ids.iter().position(|other| *other == id).expect("a known node");
    let mut epochs = BTreeSet::new();
    for (i, server) in group.running() {
        let cluster = server.cluster().expect("a node");
        check_machine(i, cluster);
        let myself = cluster.myself();
        if myself.is_primary() && !myself.slots().is_empty() {
            let epoch = myself.config_epoch();
            assert!(epochs.insert(epoch), "server {i} has the epoch {epoch} of another one");
        }
        for entry in server.keyspace().dbs[0].table.iter() {
            let name = String::from_utf8_lossy(entry.key()).into_owned();
            let slot = key_slot(entry.key());
            assert!(cluster.shard_owns(slot), "server {i} holds {name} of slot {slot}");
        }
    }
    let cluster = group.nodes[0].up().cluster().expect("a node");
    let owner = |slot| cluster.slot_owner(slot).expect("all slots have owners").id();
    let owners: Vec<usize> = (0..SLOTS).map(|slot| number(owner(slot))).collect();
    let replicas = |i: usize| -> Option<usize> {
        let cluster = group.nodes[i].up().cluster()?;
        cluster.primary_of(cluster.myself()).map(|node| number(node.id()))
    };
    let pairs: Vec<(usize, usize)> =
        (0..ids.len()).filter_map(|i| Some((i, replicas(i)?))).collect();
    for (replica, primary) in pairs {
        let [a, b] = [replica, primary].map(|i| group.ask(i, &["DEBUG", "DIGEST"]));
        assert_eq!(a, b, "server {replica} does not hold what its primary, {primary}, does");
    }
    for tag in 0..TAGS {
        let owner = owners[usize::from(slot(tag))];
        for from in 0..ids.len() {
            assert_eq!(super::client::find(group, from, &key(tag, 0)), owner, "who has tag {tag}");
        }
    }
    owners
}

/// The id of a server's node.
pub fn node_id(server: &Server) -> NodeId {
    server.cluster().expect("a node").myself().id()
}

/// What must hold of a node's machine at any time.
pub fn check_machine(i: usize, cluster: &Cluster) {
    let mut owned = 0;
    for node in cluster.nodes() {
        let id = node.id();
        owned += usize::from(node.slots().len());
        for slot in node.slots().iter() {
            let owner = cluster.slot_owner(slot).map(Node::id);
            assert_eq!(owner, Some(id), "server {i}: who owns slot {slot}");
        }
        if let Some(primary) = cluster.primary_of(node) {
            let follows = cluster.replicas_of(primary).any(|replica| replica.id() == id);
            assert!(follows, "server {i}: {id} is none of its primary's replicas");
        }
        let is_both = node.is_primary() && node.is_replica();
        assert!(!is_both, "server {i}: {id} is primary and replica");
        let is_following = node.is_primary() && cluster.primary_of(node).is_some();
        assert!(!is_following, "server {i}: {id}, a primary, follows another");
    }
    let there = (0..SLOTS).filter(|&slot| cluster.slot_owner(slot).is_some()).count();
    assert_eq!(there, owned, "server {i}: slots with owners");
    let myself = cluster.myself();
    assert!(myself.is_primary() || myself.slots().is_empty(), "server {i}: a replica owns slots");
    for (slot, _) in cluster.all_importing() {
        assert!(!cluster.owns(slot), "server {i} imports slot {slot}, which is its own");
    }
}
