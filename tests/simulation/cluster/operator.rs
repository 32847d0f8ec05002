//! The operator: moves slots key by key as `redis-cli --cluster reshard` does, and mends what was left half done, as
//! its `fix` does.

use super::checks::node_id;
use super::tags::{TAGS, slot};
use crate::group::{Group, Terminal};
use crate::network::SharedNetwork;
use crate::resp::{bulks, encode};
use aeolis::bus::NodeId;
use rand::Rng;
use rand::rngs::SmallRng;

/// How long the operator waits for an answer, in microseconds.
const PATIENCE: i64 = 3_000_000;

/// What is to be done next with a slot that moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Import,
    Migrate,
    Keys,
    /// Whoever has this place in the list of servers, the target being first and the source second, is told who owns
    /// the slot now.
    Assign(usize),
}

/// A slot that moves from one server to another.
struct Reshard {
    slot: u16,
    from: usize,
    to: usize,
    stage: Stage,
}

/// See the module.
#[derive(Default)]
pub struct Operator {
    reshard: Option<Reshard>,
    asked: Option<(Terminal, i64)>,
    pub next_at: i64,
    /// How many slots were moved to the end.
    pub moved: usize,
}

impl Operator {
    /// Whether a slot is being moved.
    pub fn is_busy(&self) -> bool {
        self.reshard.is_some()
    }

    /// Begins to move a slot.
    pub fn reshard(&mut self, slot: u16, from: usize, to: usize) {
        self.reshard = Some(Reshard { slot, from, to, stage: Stage::Import });
    }

    /// Leaves it as it is.
    pub fn give_up(&mut self, group: &mut Group) {
        self.reshard = None;
        if let Some((terminal, _)) = self.asked.take() {
            group.leave(terminal);
        }
    }

    /// Gets on with it, if its time has come.
    pub fn act(&mut self, group: &mut Group, network: &SharedNetwork, rng: &mut SmallRng) {
        let Some(reshard) = &self.reshard else { return };
        if group.now < self.next_at {
            return;
        }
        self.next_at = group.now + rng.random_range(1_000..20_000);
        if let Some((terminal, since)) = self.asked.take() {
            if !terminal.has_answer() && group.now - since < PATIENCE {
                self.asked = Some((terminal, since));
                return;
            }
            if group.leave(terminal) != b"+OK\r\n" {
                return self.give_up(group);
            }
            self.advance(group);
            return;
        }
        let (slot, from, to) = (reshard.slot, reshard.from, reshard.to);
        if !is_at_hand(group, from) || !is_at_hand(group, to) {
            return self.give_up(group);
        }
        let [source, target] = [from, to].map(|i| node_id(group.nodes[i].up()).to_string());
        let number = slot.to_string();
        match reshard.stage {
            Stage::Import => self.ask(group, to, &["SETSLOT", &number, "IMPORTING", &source]),
            Stage::Migrate => self.ask(group, from, &["SETSLOT", &number, "MIGRATING", &target]),
            Stage::Keys => match move_some(group, network, slot, (from, to), rng) {
                Some(0) => self.advance(group),
                Some(_) => {}
                None => self.give_up(group),
            },
            Stage::Assign(n) => {
                let others = (0..group.nodes.len()).filter(|i| *i != from && *i != to);
                let order: Vec<usize> = [to, from].into_iter().chain(others).collect();
                let i = order[n];
                let is_primary = is_at_hand(group, i)
                    && group.nodes[i].up().cluster().is_some_and(|c| c.myself().is_primary());
                if is_primary {
                    self.ask(group, i, &["SETSLOT", &number, "NODE", &target]);
                } else {
                    self.advance(group);
                }
            }
        }
    }

    fn ask(&mut self, group: &mut Group, i: usize, words: &[&str]) {
        let typed = encode(&[&["CLUSTER"], words].concat());
        self.asked = Some((group.sit_down_at(i, typed), group.now));
    }

    fn advance(&mut self, group: &Group) {
        let Some(reshard) = &mut self.reshard else { return };
        reshard.stage = match reshard.stage {
            Stage::Import => Stage::Migrate,
            Stage::Migrate => Stage::Keys,
            Stage::Keys => Stage::Assign(0),
            Stage::Assign(n) => Stage::Assign(n + 1),
        };
        if reshard.stage == Stage::Assign(group.nodes.len()) {
            self.moved += 1;
            self.reshard = None;
        }
    }
}

/// Whether an operator who types at a server's terminal is answered.
pub fn is_at_hand(group: &Group, i: usize) -> bool {
    let node = &group.nodes[i];
    let starts = |server: &aeolis::server::Server| server.persistence().is_loading();
    node.frozen_until <= group.now && node.server.as_ref().is_some_and(|server| !starts(server))
}

/// Moves some keys of a slot, as `MIGRATE` does, during which the source does nothing else. Answers how many it was;
/// `None`: it has failed.
fn move_some(
    group: &mut Group,
    network: &SharedNetwork,
    slot: u16,
    (from, to): (usize, usize),
    rng: &mut SmallRng,
) -> Option<usize> {
    let keys = bulks(&group.ask(from, &["CLUSTER", "GETKEYSINSLOT", &slot.to_string(), "2"]));
    let is_cut = network.borrow().blocks(from, to) || network.borrow().blocks(to, from);
    for key in &keys {
        let dump = bulks(&group.ask_bytes(from, &[b"DUMP", key]));
        let restored = match dump.first() {
            None => return None,
            Some(_) if is_cut => return None,
            Some(dump) => group.ask_bytes(to, &[b"RESTORE-ASKING", key, b"0", dump, b"REPLACE"]),
        };
        // The answer may be lost.
        if restored != b"+OK\r\n" || rng.random_bool(0.03) {
            return None;
        }
        group.ask_bytes(from, &[b"DEL", key]);
    }
    Some(keys.len())
}

/// Closes slots that were left open, where all servers agree who owns them: their keys go to the owner, and they are
/// stable. Answers whether there were any.
pub fn fix(group: &mut Group) -> bool {
    let mut has_fixed = false;
    for slot in (0..TAGS).map(slot) {
        if let Some((primaries, owner)) = open_slot(group, slot) {
            bring_home(group, slot, &primaries, owner);
            has_fixed = true;
        }
    }
    has_fixed
}

/// Of a slot that is open somewhere, while all agree about its owner: all primaries, and the owner.
fn open_slot(group: &Group, slot: u16) -> Option<(Vec<usize>, usize)> {
    let clusters = || group.running().filter_map(|(i, server)| Some((i, server.cluster()?)));
    let is_open = clusters().any(|(_, cluster)| {
        cluster.importing_from(slot).is_some() || cluster.migrating_to(slot).is_some()
    });
    let mut owners = clusters().map(|(_, cluster)| cluster.slot_owner(slot).map(|n| n.id()));
    let owner = owners.next().flatten().filter(|id| owners.all(|o| o == Some(*id)))?;
    let primaries = clusters().filter(|(_, cluster)| cluster.myself().is_primary());
    let primaries: Vec<usize> = primaries.map(|(i, _)| i).collect();
    let is_owner = |i: &usize| node_id(group.nodes[*i].up()) == owner;
    let owner = primaries.iter().copied().find(is_owner)?;
    is_open.then_some((primaries, owner))
}

fn bring_home(group: &mut Group, slot: u16, primaries: &[usize], owner: usize) {
    let number = slot.to_string();
    // It would send on whoever asks for a key that it lacks.
    let cluster = group.nodes[owner].up().cluster();
    if cluster.is_some_and(|cluster| cluster.migrating_to(slot).is_some()) {
        return make_stable(group, owner, slot);
    }
    for &i in primaries.iter().filter(|&&i| i != owner) {
        let keys = bulks(&group.ask(i, &["CLUSTER", "GETKEYSINSLOT", &number, "1000"]));
        let is_closed =
            group.nodes[i].up().cluster().is_some_and(|c| c.importing_from(slot).is_none());
        if is_closed && !keys.is_empty() {
            // It was a replica that had not heard that the slot is open; only so it shows them.
            let owner = node_id(group.nodes[owner].up()).to_string();
            let typed = encode(&["CLUSTER", "SETSLOT", &number, "IMPORTING", &owner]);
            let _ = group.sit_down_at(i, typed);
            continue;
        }
        for key in &keys {
            // Who has a slot imported shows its keys to those who ask.
            let typed = [encode(&["ASKING"]), encode(&[&b"DUMP"[..], key])].concat();
            let dump = bulks(&group.type_in(i, typed));
            let Some(dump) = dump.first() else { continue };
            let restored = group.ask_bytes(owner, &[b"RESTORE-ASKING", key, b"0", dump]);
            // What the owner has, it has served: it is newer.
            if restored == b"+OK\r\n" || restored.starts_with(b"-BUSYKEY ") {
                let typed = [encode(&["ASKING"]), encode(&[&b"DEL"[..], key])].concat();
                group.type_in(i, typed);
            }
        }
        if keys.is_empty() {
            make_stable(group, i, slot);
        }
    }
    // Its replicas may know of what it has not done in the end.
    make_stable(group, owner, slot);
}

fn make_stable(group: &mut Group, i: usize, slot: u16) {
    // It is answered when the replicas know.
    let typed = encode(&["CLUSTER", "SETSLOT", &slot.to_string(), "STABLE"]);
    let _ = group.sit_down_at(i, typed);
}

/// The server whose node has an id.
pub fn server_of(group: &Group, id: NodeId) -> Option<usize> {
    group.running().find(|(_, server)| node_id(server) == id).map(|(i, _)| i)
}
