//! Where a request belongs in a cluster: to this node, or to another one that the client is told of.
//!
//! All keys of a request, or of a whole transaction, have one slot. Whoever owns it executes the request; a replica
//! executes what only reads, for clients that asked for that (`READONLY`). While a slot moves key by key, the node that
//! it leaves executes what it still has all keys for and sends clients on for the rest (`ASK`, for this one request);
//! the node that it comes to executes what is announced so (`ASKING`).
//!
//! Clients that wait in a slot that leaves are sent on, too, and subscriptions to its shard channels end.

use super::machine::{Cluster, Node};
use super::obey;
use crate::resp::error::{CommandError, ErrorCode};
use crate::resp::reply::Reply;
use crate::server::Server;
use crate::server::blocking;
use crate::server::client::{Blocked, ClientFlags, Token};
use crate::server::config::ClusterEndpointType;
use crate::server::output;
use crate::server::pubsub::Topic;
use crate::server::subscribe;
use crate::server::table::{Command, CommandId};
use crate::server::transaction;
use crate::spec::keys::for_each_slot_key;
use crate::spec::{CommandFlags, KeyFinder};
use crate::util::slot::key_slot;
use crate::util::slot_set::SlotSet;
use bytes::Bytes;

/// Why this node of a cluster does not execute a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SlotError {
    /// Its keys do not belong together.
    CrossSlot,
    /// Some of its keys are here, others where their slot comes from or goes to.
    Unstable,
    /// Its keys belong to no node.
    NotServed,
    Down,
    DownForWrites,
    /// Another node owns the slot.
    Moved(Destination),
    /// Another node has the keys, as the slot is on its way there.
    Ask(Destination),
}

/// The node that a client is sent to, and for which slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Destination {
    slot: u16,
    /// Empty: the address that the client is connected to.
    endpoint: String,
    port: u16,
}

impl From<SlotError> for CommandError {
    fn from(error: SlotError) -> CommandError {
        use ErrorCode::{Ask, ClusterDown, CrossSlot, Moved, TryAgain};
        let to = |code, Destination { slot, endpoint, port }| {
            CommandError::with(code, format!("{slot} {endpoint}:{port}"))
        };
        match error {
            SlotError::CrossSlot => {
                CommandError::new(CrossSlot, "Keys in request don't hash to the same slot")
            }
            SlotError::Unstable => {
                CommandError::new(TryAgain, "Multiple keys request during rehashing of slot")
            }
            SlotError::NotServed => CommandError::new(ClusterDown, "Hash slot not served"),
            SlotError::Down => CommandError::new(ClusterDown, "The cluster is down"),
            SlotError::DownForWrites => {
                CommandError::new(ClusterDown, "The cluster is down and only accepts read commands")
            }
            SlotError::Moved(destination) => to(Moved, destination),
            SlotError::Ask(destination) => to(Ask, destination),
        }
    }
}

/// Whether an error tells a client that its request belongs elsewhere, so that a transaction is not to blame.
pub fn is_redirection(error: &CommandError) -> bool {
    use ErrorCode::{Ask, ClusterDown, CrossSlot, Moved, Redirect, TryAgain};
    matches!(error.code, Ask | ClusterDown | CrossSlot | Moved | Redirect | TryAgain)
}

/// What decides about a request beside its keys.
#[derive(Clone, Copy, Debug)]
struct Request {
    writes: bool,
    /// It is about shard channels, which no node has to have.
    for_channels: bool,
    /// It moves keys between nodes.
    migrates: bool,
    /// The client was sent here, or the command is one that needs no such permission.
    asking: bool,
    /// The client reads from replicas.
    readonly: bool,
}

/// What a request's keys tell.
#[derive(Clone, Copy, Debug, Default)]
struct Keys {
    slot: Option<u16>,
    /// Its keys do not belong together.
    cross_slot: bool,
    /// There is more than one.
    several: bool,
    missing: bool,
    existing: bool,
}

/// Where a request goes that this node does not execute.
enum Elsewhere<'a> {
    Moved(&'a Node),
    Ask(&'a Node),
    Nowhere(SlotError),
}

/// Whether a request is for a single key whose slot this node simply has.
#[inline]
pub(crate) fn is_plainly_ours(server: &Server, command: &Command, args: &[&[u8]]) -> bool {
    let Some(cluster) = &server.cluster else { return false };
    if !command.has_one_key || server.config.cluster_slot_stats_enabled {
        return false;
    }
    let Some(key) = args.get(command.first_key) else { return false };
    cluster.is_up() && cluster.holds(server.ks.hash(key).slot())
}

/// In a cluster: refuses what this node can't execute. `EXEC` stands for all that is queued, and `flags` say what it
/// is. Returns the slot of the keys, if there are any.
#[cold]
pub(crate) fn check_slots(
    server: &Server,
    token: Token,
    id: CommandId,
    args: &[&[u8]],
    flags: CommandFlags,
    db: usize,
) -> Result<Option<u16>, SlotError> {
    let Some(cluster) = &server.cluster else { return Ok(None) };
    let command = server.commands.get(id);
    let client = &server.clients[token];
    let request = Request {
        writes: flags.contains(CommandFlags::WRITE),
        for_channels: flags.contains(CommandFlags::PUBSUB),
        migrates: command.spec.key_finder == Some(KeyFinder::Migrate),
        asking: client.is(ClientFlags::ASKING) || flags.contains(CommandFlags::ASKING),
        readonly: client.is(ClientFlags::READONLY),
    };
    let mut keys = Keys::default();
    let mut first: Option<Box<[u8]>> = None;
    let mut open = false;
    let mut visit = |db: usize, key: &[u8]| {
        let slot = server.ks.hash(key).slot();
        match keys.slot {
            None => {
                keys.slot = Some(slot);
                open = is_open(cluster, slot, request);
                first = open.then(|| key.into());
            }
            Some(before) if before != slot => keys.cross_slot = true,
            Some(_) => keys.several |= first.as_deref().is_some_and(|first| first != key),
        }
        if open && !keys.cross_slot {
            match server.ks.inspect(db, key) {
                Some(_) => keys.existing = true,
                None => keys.missing = true,
            }
        }
    };
    for_each_key(server, token, id, args, db, &mut visit);
    let Some(slot) = keys.slot else { return Ok(None) };
    let destination = |node| destination(server, token, slot, node);
    match judge(server, cluster, slot, keys, request) {
        Ok(()) => Ok(Some(slot)),
        Err(Elsewhere::Moved(node)) => Err(SlotError::Moved(destination(node))),
        Err(Elsewhere::Ask(node)) => Err(SlotError::Ask(destination(node))),
        Err(Elsewhere::Nowhere(error)) => Err(error),
    }
}

/// The slot of the keys of a request that is not this node's to judge, if they are in one.
#[cold]
pub(crate) fn slot_of_keys(
    server: &Server,
    token: Token,
    id: CommandId,
    args: &[&[u8]],
) -> Option<u16> {
    let (mut slot, mut several) = (None, false);
    for_each_key(server, token, id, args, 0, &mut |_, key| {
        let own = server.ks.hash(key).slot();
        several |= slot.replace(own).is_some_and(|before| before != own);
    });
    slot.filter(|_| !several)
}

/// Shows all keys of a request with their databases. `EXEC` has those of all that is queued.
fn for_each_key(
    server: &Server,
    token: Token,
    id: CommandId,
    args: &[&[u8]],
    db: usize,
    visit: &mut dyn FnMut(usize, &[u8]),
) {
    let (client, command) = (&server.clients[token], server.commands.get(id));
    match client.transaction.as_deref().filter(|_| command.is(CommandFlags::EXECUTES_QUEUE)) {
        Some(transaction) => {
            let mut db = db;
            transaction.for_each(|id, args| {
                let command = server.commands.get(id);
                if command.is(CommandFlags::SELECTS_DATABASE) {
                    db = transaction::selected_db(args, server.ks.dbs.len()).unwrap_or(db);
                }
                for_each_slot_key(command.spec, args, |key| visit(db, key));
            });
        }
        None => {
            let queued = client.transaction.as_deref().and_then(|queue| queue.selected_db);
            for_each_slot_key(command.spec, args, |key| visit(queued.unwrap_or(db), key));
        }
    }
}

/// Where a slot of this node's shard is about to go, or whether it is about to come: a replica heeds that only for
/// those who read from it.
fn moves(cluster: &Cluster, slot: u16, request: Request) -> (Option<&Node>, bool) {
    if cluster.myself().is_replica() && !request.readonly {
        return (None, false);
    }
    match cluster.migrating_to(slot).filter(|_| cluster.shard_owns(slot)) {
        Some(to) => (Some(to), false),
        None => (None, cluster.importing_from(slot).is_some()),
    }
}

/// Whether it matters which of a request's keys are here.
fn is_open(cluster: &Cluster, slot: u16, request: Request) -> bool {
    let (migrating, importing) = moves(cluster, slot, request);
    !request.for_channels && (migrating.is_some() || importing)
}

/// Decides about a request with keys. The order of the questions is Redis's.
fn judge<'a>(
    server: &Server,
    cluster: &'a Cluster,
    slot: u16,
    keys: Keys,
    request: Request,
) -> Result<(), Elsewhere<'a>> {
    let Some(owner) = cluster.slot_owner(slot) else {
        return Err(Elsewhere::Nowhere(SlotError::NotServed));
    };
    if keys.cross_slot {
        return Err(Elsewhere::Nowhere(SlotError::CrossSlot));
    }
    if !cluster.is_up() {
        check_while_down(server, request).map_err(Elsewhere::Nowhere)?;
    }
    let (migrating, importing) = moves(cluster, slot, request);
    if request.migrates && cluster.myself().is_primary() && (migrating.is_some() || importing) {
        return Ok(());
    }
    if let Some(to) = migrating.filter(|_| keys.missing) {
        return Err(match keys.existing {
            true => Elsewhere::Nowhere(SlotError::Unstable),
            false => Elsewhere::Ask(to),
        });
    }
    if importing && request.asking {
        return match keys.several && keys.missing {
            true => Err(Elsewhere::Nowhere(SlotError::Unstable)),
            false => Ok(()),
        };
    }
    let reads_here = (request.readonly || request.for_channels) && !request.writes;
    if owner.is_myself() || (reads_here && cluster.shard_owns(slot)) {
        return Ok(());
    }
    Err(Elsewhere::Moved(owner))
}

fn check_while_down(server: &Server, request: Request) -> Result<(), SlotError> {
    let config = &server.config;
    match request {
        Request { for_channels: true, .. } if config.cluster_allow_pubsubshard_when_down => Ok(()),
        Request { for_channels: true, .. } => Err(SlotError::Down),
        _ if !config.cluster_allow_reads_when_down => Err(SlotError::Down),
        Request { writes: true, .. } => Err(SlotError::DownForWrites),
        Request { writes: false, .. } => Ok(()),
    }
}

/// Where a client finds a node.
fn destination(server: &Server, token: Token, slot: u16, node: &Node) -> Destination {
    let conn = &server.clients[token].conn;
    let endpoint = match server.config.cluster_preferred_endpoint_type {
        ClusterEndpointType::Ip => {
            node.client_ip(conn.peer_ip().is_some_and(|ip| ip.is_ipv6())).to_string()
        }
        ClusterEndpointType::Hostname => match node.announced().hostname.as_str() {
            "" => "?".to_string(),
            hostname => hostname.to_string(),
        },
        ClusterEndpointType::UnknownEndpoint => String::new(),
    };
    Destination { slot, endpoint, port: node.client_port(conn.is_encrypted()) }
}

/// Slots have left their owners: who waits in one of them is sent on, and hears no more of its shard channels.
pub(super) fn slots_changed(server: &mut Server, slots: &SlotSet) {
    server.observer.slot_stats.reset_slots(slots);
    server.net.migrations.note_owners_changed();
    obey::drop_leftovers_of_own_slots(server);
    send_blocked_clients_on(server);
    end_shard_subscriptions(server, slots);
}

/// Nobody wakes those who wait while the cluster is down, or for a slot that was to come here and does not: they are
/// told.
pub(super) fn cron(server: &mut Server) {
    if server.cluster.is_some() {
        send_blocked_clients_on(server);
    }
}

/// Ends the waits of clients whose keys are not this node's any more, or that nobody can wake as the cluster is down.
fn send_blocked_clients_on(server: &mut Server) {
    if server.blocking.waits.for_keys() == 0 {
        return;
    }
    let waiting = server.clients.iter().filter(|(_, client)| client.is_blocked_on_keys());
    let waiting: Vec<Token> = waiting.map(|(token, _)| token).collect();
    for token in waiting {
        if let Some(error) = why_not_wait(server, token) {
            blocking::unblock_client_on_error(server, token, &error.into());
        }
    }
}

/// What a client hears that must not wait on.
fn why_not_wait(server: &Server, token: Token) -> Option<SlotError> {
    let cluster = server.cluster.as_ref()?;
    let client = &server.clients[token];
    let Blocked::Keys(wait) = &client.blocked.as_ref()?.on else { return None };
    if !cluster.is_up() {
        return Some(SlotError::Down);
    }
    // All keys have the same slot.
    let slot = key_slot(wait.keys.first()?);
    let writes = (server.commands.find(&wait.command[0]))
        .is_some_and(|id| server.commands.get(id).is(CommandFlags::WRITE));
    let reads_here = client.is(ClientFlags::READONLY) && !writes && cluster.shard_owns(slot);
    if cluster.owns(slot) || reads_here || cluster.importing_from(slot).is_some() {
        return None;
    }
    Some(match cluster.slot_owner(slot) {
        None => SlotError::NotServed,
        Some(owner) => SlotError::Moved(destination(server, token, slot, owner)),
    })
}

/// Ends the subscriptions to shard channels whose slots have left this node's shard; who is subscribed is told.
fn end_shard_subscriptions(server: &mut Server, slots: &SlotSet) {
    let Some(cluster) = &server.cluster else { return };
    let is_gone = |channel: &[u8]| {
        let slot = key_slot(channel);
        slots.contains(slot) && !cluster.shard_owns(slot)
    };
    let channels = server.pubsub.of(Topic::Shard).iter();
    let gone = channels.filter(|(channel, _)| is_gone(channel));
    let gone: Vec<_> = gone.map(|(channel, all)| (channel.clone(), all.clone())).collect();
    for (channel, subscribers) in gone {
        for token in subscribers {
            subscribe::unsubscribe(server, token, Topic::Shard, &channel);
            tell_unsubscribed(server, token, &channel);
        }
    }
}

fn tell_unsubscribed(server: &mut Server, token: Token, channel: &[u8]) {
    let client = &server.clients[token];
    let left = client.subscriptions.as_ref().map_or(0, |all| all.len(Topic::Shard));
    let mut reply = Reply::new(client.protocol);
    reply.push(3);
    reply.bulk_str("sunsubscribe");
    reply.bulk(channel);
    reply.int(left as i64);
    output::push_to(server, token, Bytes::from(reply.take()));
}
