//! What other nodes say.

use super::node::{Node, NodeAddress};
use super::{Action, Cluster, Facts, LinkId, NodeKey, Now, Todo, random_id};
use crate::bus::{
    Body, Header, Heartbeat, Kind, Message, MessageFlags, NodeFlags, NodeId, Publication,
};
use crate::server::observe::log::Level;

/// Nodes that have asked to be met and have not been are not more than this: whoever reaches the bus can ask.
const MOST_HANDSHAKES: usize = 1000;

/// Where a ping, a pong or a meet is from; which of them it is.
#[derive(Clone, Copy)]
struct Origin {
    link: LinkId,
    /// `None`: an unknown node.
    sender: Option<NodeKey>,
    kind: Kind,
}

impl Cluster {
    /// Takes in a message that came over a connection.
    pub fn receive(&mut self, link: LinkId, message: Message, now: Now, facts: &Facts) {
        if self.links.get(link).is_none() {
            return;
        }
        if let Some(kind) = message.kind() {
            self.stats.count_received(kind);
            if self.drops(link, kind) {
                return;
            }
        }
        match message {
            Message::Light(publication) => self.receive_light(link, publication, now),
            Message::Full { header, .. } if header.sender.is_none() => {}
            Message::Full { header, body } if header.sender == Some(self.myself().id) => {
                self.receive_own(link, &header, body, now, facts);
            }
            Message::Full { header, body } => self.receive_full(link, *header, body, now, facts),
        }
    }

    /// Whether a message is to be lost, as `DEBUG` asked for.
    fn drops(&mut self, link: LinkId, kind: Kind) -> bool {
        if self.debug.drops != Some(kind as i64) {
            return false;
        }
        self.warn("Dropping packet that matches debug drop filter".into());
        if self.debug.closes_link_on_drop {
            self.close(Some(link));
            self.warn(format!("Closing link for matching packet type {}", kind as u16));
        }
        true
    }

    fn receive_light(&mut self, link: LinkId, publication: Publication, now: Now) {
        let node = self.links.get(link).and_then(|link| link.node);
        match node.filter(|&key| !self.nodes[key].is_in_handshake()) {
            Some(key) => {
                self.nodes[key].data_received_ms = Some(now.mono_ms);
                self.receive_publication(publication);
            }
            None => {
                let kind = if publication.is_sharded { Kind::PublishShard } else { Kind::Publish };
                self.close(Some(link));
                self.notice(format!(
                    "Closing link for node that sent a lightweight message of type {} as its first message on the link",
                    kind as u16
                ));
            }
        }
    }

    fn receive_publication(&mut self, publication: Publication) {
        let Publication { is_sharded, channel, message } = publication;
        self.actions.push(Action::Publish { shard: is_sharded, channel, message });
    }

    /// This node has met itself, or somebody has its name. Nothing is learnt of it but this node's own address.
    fn receive_own(&mut self, link: LinkId, header: &Header, body: Body, now: Now, facts: &Facts) {
        if matches!(body, Body::Ping(_) | Body::Meet(_)) {
            self.learn_own_ip(link, matches!(body, Body::Meet(_)), facts);
            self.send_heartbeat(link, Kind::Pong, now, facts);
        }
        self.check_name(link, None, header, now, facts);
    }

    fn receive_full(&mut self, link: LinkId, header: Header, body: Body, now: Now, facts: &Facts) {
        let sender = self.sender_of(link, header.sender);
        if let Some(key) = sender {
            self.hear_header(key, &header, now);
        }
        match (body, sender) {
            (Body::Ping(heartbeat), _) => {
                let origin = Origin { link, sender, kind: Kind::Ping };
                self.receive_heartbeat(origin, header, heartbeat, now, facts);
            }
            (Body::Pong(heartbeat), _) => {
                let origin = Origin { link, sender, kind: Kind::Pong };
                self.receive_heartbeat(origin, header, heartbeat, now, facts);
            }
            (Body::Meet(heartbeat), _) => {
                let origin = Origin { link, sender, kind: Kind::Meet };
                self.receive_heartbeat(origin, header, heartbeat, now, facts);
            }
            (Body::Fail(id), Some(sender)) => self.receive_fail(sender, id, now),
            (Body::Fail(id), None) => {
                let from = header.sender.unwrap_or(NodeId::NONE);
                self.notice(format!("Ignoring FAIL message from unknown node {from} about {id}"));
            }
            (Body::Publish(publication), Some(_)) => self.receive_publication(publication),
            (Body::AuthRequest, Some(sender)) => self.vote_if_due(sender, &header, now, facts),
            (Body::AuthAck, Some(sender)) => self.receive_vote(sender, &header),
            (Body::ManualFailoverStart, Some(sender)) => {
                self.receive_manual_failover_start(link, sender, now, facts);
            }
            (Body::Update { node, config_epoch, slots }, Some(_)) => {
                self.receive_update(node, config_epoch, &slots, now, facts);
            }
            (Body::Unknown(kind), _) => self.warn(format!("Received unknown packet type: {kind}")),
            _ => {}
        }
    }

    /// The node that a message is from, if it is known by name. An inbound connection is its from then on.
    fn sender_of(&mut self, link: LinkId, id: Option<NodeId>) -> Option<NodeKey> {
        let node = self.links.get(link)?.node;
        if let Some(key) = node.filter(|&key| !self.nodes[key].is_in_handshake()) {
            return Some(key);
        }
        let sender = self.nodes.key_of(&id?)?;
        if node.is_none() {
            self.attach_inbound(link, sender);
        }
        Some(sender)
    }

    /// What each message says of its sender.
    fn hear_header(&mut self, key: NodeKey, header: &Header, now: Now) {
        let node = &mut self.nodes[key];
        if header.message_flags.contains(MessageFlags::EXTENSIONS) {
            node.flags.insert(NodeFlags::EXTENSIONS);
        }
        let reads_light = header.flags.contains(NodeFlags::LIGHT_PUBLISH);
        node.flags.set(NodeFlags::LIGHT_PUBLISH, reads_light);
        node.data_received_ms = Some(now.mono_ms);
        if node.is_in_handshake() {
            return;
        }
        node.offset = header.offset;
        self.current_epoch = self.current_epoch.max(header.current_epoch);
        if header.primary.is_none() && header.config_epoch > node.config_epoch {
            node.config_epoch = header.config_epoch;
            self.todo |= Todo::SAVE | Todo::SYNC;
        }
        let is_paused = header.message_flags.contains(MessageFlags::PAUSED);
        if is_paused && self.is_replica() && self.myself().primary == Some(key) {
            self.hear_paused_offset(header.offset);
        }
    }

    /// A ping, a pong or a meet.
    fn receive_heartbeat(
        &mut self,
        origin: Origin,
        header: Header,
        heartbeat: Heartbeat,
        now: Now,
        facts: &Facts,
    ) {
        let Origin { link, sender, kind } = origin;
        if kind != Kind::Pong {
            self.learn_own_ip(link, kind == Kind::Meet, facts);
            if sender.is_none() && kind == Kind::Meet {
                self.meet_back(link, &header, &heartbeat, now, facts);
            }
            self.send_heartbeat(link, Kind::Pong, now, facts);
        }
        if let Some(key) = sender.filter(|&key| self.nodes[key].flags.contains(NodeFlags::MEET)) {
            self.nodes[key].flags.remove(NodeFlags::MEET);
            let named = self.named(key);
            self.notice(format!("Successfully completed handshake with {named}"));
        }
        if !self.check_name(link, sender, &header, now, facts) {
            return;
        }
        if let Some(key) = sender {
            let may_not = header.flags.contains(NodeFlags::NO_FAILOVER);
            self.nodes[key].flags.set(NodeFlags::NO_FAILOVER, may_not);
            if kind == Kind::Ping && !self.nodes[key].is_in_handshake() {
                self.hear_address(key, link, &header, facts);
            }
        }
        if kind == Kind::Pong {
            self.hear_pong(link, now, facts);
        }
        let Some(key) = sender else { return };
        let was_replica = self.nodes[key].is_replica();
        self.hear_role(key, &header, now, facts);
        if header.primary.is_none() && (was_replica || self.nodes[key].slots != header.slots) {
            self.hear_slots(key, &header, now, facts);
        }
        let collides = header.config_epoch == self.myself().config_epoch;
        if collides && self.nodes[key].is_primary() && self.myself().is_primary() {
            self.resolve_epoch_collision(key);
        }
        self.hear_gossip(key, heartbeat.gossip, now, facts);
        self.hear_extensions(key, heartbeat.extensions, now);
    }

    /// Nodes that meet this one use its official address, which it learns of them. Without any it takes what it gets.
    fn learn_own_ip(&mut self, link: LinkId, is_meet: bool, facts: &Facts) {
        let is_announced = facts.config.cluster_announce_ip.is_some();
        let Some(known) = self.links.get(link).filter(|_| !is_announced) else { return };
        let ip = known.local_ip.clone();
        let address = &mut self.nodes.myself_mut().address;
        if (is_meet || address.ip.is_empty()) && !ip.is_empty() && address.ip != ip {
            address.ip.clone_from(&ip);
            self.todo |= Todo::SAVE;
            self.notice(format!("IP address for this node updated to {ip}"));
        }
    }

    /// An unknown node wants to be met: it is, at its own address, and until it has told its name there, its place has
    /// another. What it says of others is trusted because somebody told it to meet this one.
    fn meet_back(
        &mut self,
        link: LinkId,
        header: &Header,
        heartbeat: &Heartbeat,
        now: Now,
        facts: &Facts,
    ) {
        let Some(known) = self.links.get(link).filter(|link| link.node.is_none()) else { return };
        let ip = if header.ip.is_empty() { known.peer_ip.clone() } else { header.ip.clone() };
        let ports = (header.port, header.other_port);
        let address = NodeAddress::of_ports(facts.config, ip, ports, header.bus_port);
        let handshakes = self.nodes.iter().filter(|(_, node)| node.is_in_handshake()).count();
        if handshakes >= MOST_HANDSHAKES {
            return;
        }
        let mut flags = NodeFlags::HANDSHAKE;
        if header.message_flags.contains(MessageFlags::EXTENSIONS) {
            flags |= NodeFlags::EXTENSIONS;
        }
        let (id, shard_id) = (random_id(&mut self.rng), random_id(&mut self.rng));
        let mut node = Node::new(id, shard_id, flags, now.mono_ms);
        node.address = address;
        if let Some(key) = self.nodes.add(node) {
            self.attach_inbound(link, key);
            self.todo |= Todo::SAVE;
            self.hear_gossip(key, heartbeat.gossip.clone(), now, facts);
        }
    }

    /// Whether whoever is at the end of a connection is the node that was looked for. One whose name was unknown gets
    /// it now. `false`: the connection is closed.
    fn check_name(
        &mut self,
        link: LinkId,
        sender: Option<NodeKey>,
        header: &Header,
        now: Now,
        facts: &Facts,
    ) -> bool {
        let known = self.links.get(link).filter(|link| !link.is_inbound);
        let Some(key) = known.and_then(|link| link.node) else { return true };
        let Some(id) = header.sender else { return false };
        if self.nodes[key].is_in_handshake() {
            let known = sender.or_else(|| self.nodes.key_of(&id));
            if let Some(known) = known {
                let named = self.named(known);
                self.actions.push(Action::Log(
                    Level::Verbose,
                    format!(
                        "Handshake: we already know node {named}, updating the address if needed."
                    ),
                ));
                if known != self.nodes.my_key() {
                    self.hear_address(known, link, header, facts);
                }
                self.remove_node(key);
                return false;
            }
            self.nodes.rename(key, id);
            let roles = NodeFlags::PRIMARY | NodeFlags::REPLICA;
            let node = &mut self.nodes[key];
            node.flags.remove(NodeFlags::HANDSHAKE);
            node.flags |= header.flags & roles;
            self.todo |= Todo::SAVE;
        } else if self.nodes[key].id != id {
            self.lose_address(key, now);
            return false;
        }
        true
    }

    /// Another node is where this one was.
    fn lose_address(&mut self, key: NodeKey, now: Now) {
        let node = &mut self.nodes[key];
        let age_ms = now.since(Some(node.created_ms));
        let flags = node.flags.bits();
        node.flags.insert(NodeFlags::NO_ADDRESS);
        node.address = NodeAddress::default();
        let (id, link) = (node.id, node.link);
        self.close(link);
        self.todo |= Todo::SAVE;
        self.notice(format!(
            "PONG contains mismatching sender ID. About node {id} added {age_ms} ms ago, having flags {flags}"
        ));
    }

    /// Where a node is, as a message over another connection than this node's own tells.
    fn hear_address(&mut self, key: NodeKey, link: LinkId, header: &Header, facts: &Facts) {
        let Some(known) = self.links.get(link) else { return };
        let ip = if header.ip.is_empty() { known.peer_ip.clone() } else { header.ip.clone() };
        if self.nodes[key].link == Some(link) || ip.is_empty() {
            return;
        }
        let ports = (header.port, header.other_port);
        let address = NodeAddress::of_ports(facts.config, ip, ports, header.bus_port);
        if self.nodes[key].address != address {
            self.move_node(key, address, facts);
            self.changed();
        }
    }

    /// The node at the end of a connection of this node's own has answered.
    fn hear_pong(&mut self, link: LinkId, now: Now, facts: &Facts) {
        let known = self.links.get(link).filter(|link| !link.is_inbound);
        let Some(key) = known.and_then(|link| link.node) else { return };
        let node = &mut self.nodes[key];
        node.pong_received = Some(now);
        node.ping_sent = None;
        if node.is_suspected() {
            node.flags.remove(NodeFlags::PFAIL);
            self.changed();
        } else if node.has_failed() {
            self.clear_failure(key, now, facts);
        }
    }

    /// Who follows whom.
    fn hear_role(&mut self, key: NodeKey, header: &Header, now: Now, facts: &Facts) {
        let Some(id) = header.primary else { return self.set_as_primary(key) };
        let primary = self.nodes.key_of(&id).filter(|&primary| primary != key);
        if self.nodes[key].is_primary() {
            if self.is_stale_demotion(key, primary, header.config_epoch) {
                return;
            }
            self.hear_demotion(key, primary, header.config_epoch);
        }
        if !self.nodes[key].flags.intersects(NodeFlags::PRIMARY | NodeFlags::REPLICA) {
            self.nodes[key].flags.insert(NodeFlags::REPLICA);
        }
        let Some(primary) = primary.filter(|&primary| self.nodes[key].primary != Some(primary))
        else {
            return;
        };
        self.nodes.set_primary(key, Some(primary));
        let (named, of) = (self.named(key), self.named(primary));
        let shard = self.nodes[primary].shard_id;
        self.notice(format!("Node {named} is now a replica of node {of} in shard {shard}"));
        self.follow_top_primary(now, facts);
        self.set_shard_id(key, shard);
        self.todo |= Todo::SAVE;
    }

    /// Whether a primary says in an old message, which another connection has brought later than newer ones, that it is
    /// a replica of the one whose slots it has taken since.
    fn is_stale_demotion(
        &mut self,
        key: NodeKey,
        primary: Option<NodeKey>,
        config_epoch: u64,
    ) -> bool {
        let node = &self.nodes[key];
        let in_shard = primary.is_some_and(|key| self.nodes[key].shard_id == node.shard_id);
        let is_stale = in_shard && node.is_voter() && node.config_epoch > config_epoch;
        if is_stale {
            let (named, shard, current) = (self.named(key), node.shard_id, node.config_epoch);
            self.notice(format!(
                "Ignore stale message from {named} in shard {shard}; gossip config epoch: {config_epoch}, \
                 current config epoch: {current}"
            ));
        }
        is_stale
    }

    /// A primary has become a replica.
    fn hear_demotion(&mut self, key: NodeKey, primary: Option<NodeKey>, config_epoch: u64) {
        let (named, shard) = (self.named(key), self.nodes[key].shard_id);
        let in_shard = primary.filter(|&primary| self.nodes[primary].shard_id == shard);
        match in_shard {
            Some(primary) => {
                if primary != self.nodes.my_key() {
                    self.set_as_primary(primary);
                    self.nodes[primary].config_epoch = config_epoch;
                }
                let to = self.named(primary);
                self.notice(format!(
                    "A failover occurred in shard {shard}; node {named} failed over to node {to} with a config epoch of \
                     {config_epoch}"
                ));
            }
            None => {
                let slots = self.release_slots_of(key);
                self.notice(format!(
                    "Node {named} is no longer master of shard {shard}; removed all {slots} slot(s) it used to own"
                ));
                if let Some(primary) = primary {
                    let shard = self.nodes[primary].shard_id;
                    self.notice(format!("Node {named} is now part of shard {shard}"));
                }
            }
        }
        let node = &mut self.nodes[key];
        node.flags.remove(NodeFlags::PRIMARY | NodeFlags::MIGRATE_TO);
        node.flags.insert(NodeFlags::REPLICA);
        self.changed();
    }

    /// A replica of a replica follows the primary at the end of the chain.
    fn follow_top_primary(&mut self, now: Now, facts: &Facts) {
        let Some(mine) = self.myself().primary else { return };
        let Some(above) = self.nodes[mine].primary.filter(|&key| key != self.nodes.my_key()) else {
            return;
        };
        let (above_named, named) = (self.named(above), self.named(mine));
        self.notice(format!(
            "I'm a sub-replica! Reconfiguring myself as a replica of grandmaster {above_named} from {named}"
        ));
        let is_other_shard = self.nodes[above].shard_id != self.myself().shard_id;
        self.become_replica_of(above, true, is_other_shard, now, facts);
        self.changed();
        self.todo |= Todo::SYNC;
    }

    /// The slots that a primary claims, where they are not those that it is known to have.
    fn hear_slots(&mut self, key: NodeKey, header: &Header, now: Now, facts: &Facts) {
        self.take_claims(key, header.config_epoch, &header.slots, now, facts);
        // Of a primary that was away, and does not know yet that another has its slots.
        let newer = header.slots.iter().find_map(|slot| {
            let owner = self.slots.owner(slot).filter(|&owner| owner != key)?;
            let is_newer = self.nodes[owner].config_epoch > header.config_epoch;
            (is_newer && !self.slots.is_unclaimed(slot)).then_some(owner)
        });
        if let Some(owner) = newer {
            let (id, of) = (self.nodes[key].id, self.nodes[owner].id);
            self.actions.push(Action::Log(
                Level::Verbose,
                format!(
                    "Node {id} has old slots configuration, sending an UPDATE message about {of}"
                ),
            ));
            self.send_update(key, owner, facts);
        }
    }

    /// Tells a node which slots another one has.
    fn send_update(&mut self, to: NodeKey, about: NodeKey, facts: &Facts) {
        let node = &self.nodes[about];
        let mut slots = node.slots.clone();
        self.slots.unclaimed().iter().for_each(|slot| _ = slots.remove(slot));
        let body = Body::Update { node: node.id, config_epoch: node.config_epoch, slots };
        self.send_to(to, body, facts);
    }
}
