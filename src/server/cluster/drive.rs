//! Tells the machine what it has to know, and does what it wants done.
//!
//! The loop tells of the bus's sockets with [`link_event`] and [`accept`]; [`read_on`], [`cron`] and [`before_sleep`]
//! are parts of every turn. What was said to others goes at the end of the turn, when what it rests on is on the disk.

use super::cluster_save;
use super::links::{Broken, Step};
use super::machine::{Action, Cluster, Facts, LinkId, Now};
use super::obey;
use super::redirect;
use crate::bus::NodeId;
use crate::server::Server;
use crate::server::connection::Connection;
use crate::server::dial;
use crate::server::observe::log::Level;
use crate::util::io_reason;
use bytes::Bytes;
use std::io;
use std::net::IpAddr;

/// Bytes read from one link in a turn, so that none keeps all others waiting.
const BYTES_A_TURN: usize = 1 << 20;
/// Connections of the bus, beside two with each known node.
const MOST_STRANGERS: usize = 1000;
/// The longest message, in bytes, of a peer that is not known.
const MOST_OF_STRANGERS: usize = 16 << 20;
/// What may wait, in bytes, for a peer that has connected to this node: it is told no more than answers.
const MOST_FOR_INBOUND: usize = 16 << 20;

/// The time, as the machine wants it.
pub(crate) fn now(server: &Server) -> Now {
    let clock = &server.ks.clock;
    Now { wall_ms: clock.unix_ms(), mono_ms: clock.nanos() / 1_000_000 }
}

/// Has the machine do something, and does what follows. `None`: this server is no node of a cluster.
pub(crate) fn operate<T>(
    server: &mut Server,
    operation: impl FnOnce(&mut Cluster, Now, &Facts) -> T,
) -> Option<T> {
    let mut cluster = server.cluster.take()?;
    let now = now(server);
    let facts = Facts {
        config: &server.config,
        offset: obey::offset(server),
        follows: server.repl.is_replica(),
        data_age_ms: obey::data_age_ms(server),
        keys_in_slot: &|slot| server.ks.slot_len(slot),
    };
    cluster.note_time(now);
    let result = operation(&mut cluster, now, &facts);
    // A script that runs for long sees its data to its end. What is kept back is done before the loop sleeps.
    let actions = match server.scripting.is_busy() {
        true => cluster.take_actions_during_script(),
        false => cluster.take_actions(),
    };
    server.cluster = Some(cluster);
    actions.into_iter().for_each(|action| carry_out(server, action));
    Some(result)
}

fn carry_out(server: &mut Server, action: Action) {
    match action {
        Action::Log(level, text) => server.log(level, &text),
        Action::Save { durably } => save(server, durably),
        Action::Connect { link, ip, bus_port } => connect(server, link, &ip, bus_port),
        Action::Close(link) => close(server, link),
        Action::Send { to, message } => {
            let mut bytes = Vec::new();
            message.encode(&mut bytes);
            let bytes = Bytes::from(bytes);
            to.into_iter().for_each(|link| server.net.bus_mut().send(link, bytes.clone()));
        }
        Action::Follow { ip, port, full } => obey::follow(server, ip, port, full),
        Action::Promote => obey::promote(server),
        Action::PauseWrites { until_ms } => {
            obey::pause_writes(server, until_ms.saturating_sub(now(server).mono_ms));
        }
        Action::Unpause => obey::unpause(server),
        Action::DropSlotKeys(slot) => obey::drop_slot_keys(server, slot),
        Action::Flush => obey::flush(server),
        Action::SlotsChanged(slots) => redirect::slots_changed(server, &slots),
        Action::Publish { shard, channel, message } => {
            obey::publish(server, shard, &channel, &message);
        }
    }
}

/// A node must not forget what it has promised: without its file it can't go on.
fn save(server: &mut Server, durably: bool) {
    if let Err(error) = cluster_save(server, durably) {
        let text = format!("Could not write the cluster config file: {}", io_reason(&error));
        server.log(Level::Warning, &text);
        server.log(Level::Warning, "Fatal: can't update cluster config file.");
        server.lifecycle.shutdown.exit_with(1);
    }
}

fn connect(server: &mut Server, link: LinkId, ip: &str, bus_port: u16) {
    let encrypted = server.config.tls_cluster;
    let address = ip.parse::<IpAddr>().map_err(io::Error::other);
    let connection = address.and_then(|_| dial::dial(server, ip, bus_port, encrypted));
    let added = connection.and_then(|connection| add(server, link, connection, false));
    if let Err(error) = added {
        let text = format!("Unable to connect to Cluster Node [{ip}]:{bus_port} -> {error}");
        server.log(Level::Debug, &text);
        operate(server, |cluster, now, _| cluster.link_down(link, now));
    }
}

fn add(server: &mut Server, link: LinkId, connection: Connection, is_up: bool) -> io::Result<()> {
    let (bus, registry) = server.net.bus_and_registry();
    bus.add(link, connection, is_up, registry)
}

fn close(server: &mut Server, link: LinkId) {
    let (bus, registry) = server.net.bus_and_registry();
    bus.close(link, registry);
}

/// A node has connected.
pub(crate) fn accept(server: &mut Server, connection: Connection) {
    let known = server.cluster.as_ref().map_or(0, |cluster| cluster.known_nodes());
    if server.net.bus().len() >= 2 * known + MOST_STRANGERS {
        return server
            .log(Level::Verbose, "Refusing a cluster node connection: there are too many");
    }
    // The addresses are what both would call each other by; a port is no part of them.
    let (local_ip, peer_ip) = (connection.local_ip(), connection.peer_ip());
    let text = format!("Accepting cluster node connection from {}", connection.peer(""));
    server.log(Level::Verbose, &text);
    let ip = |ip: Option<IpAddr>| ip.map_or(String::new(), |ip| ip.to_string());
    let link = operate(server, |cluster, now, _| cluster.accept(ip(local_ip), ip(peer_ip), now));
    let Some(link) = link else { return };
    if let Err(error) = add(server, link, connection, true) {
        server.log(Level::Verbose, &format!("Error accepting cluster node connection: {error}"));
        operate(server, |cluster, now, _| cluster.link_down(link, now));
    }
}

/// A socket of the bus can be read from, or written to.
pub(crate) fn link_event(server: &mut Server, link: u64, writable: bool) {
    let link = LinkId(link);
    if writable {
        server.net.bus_mut().note_writable(link);
    }
    read(server, link);
}

/// Reads on where more had come than a turn is for.
pub(crate) fn read_on(server: &mut Server) {
    for link in server.net.bus_mut().take_unread() {
        read(server, link);
    }
}

fn read(server: &mut Server, link: LinkId) {
    let mut budget = BYTES_A_TURN;
    loop {
        let known = server.cluster.as_ref().and_then(|cluster| cluster.link(link));
        let most = match known.is_some_and(|link| link.is_known()) {
            true => usize::MAX,
            false => MOST_OF_STRANGERS,
        };
        match server.net.bus_mut().step(link, most, &mut budget) {
            Step::Waits => return,
            Step::HasMore => return server.net.bus_mut().note_unread(link),
            Step::Up => {
                operate(server, |cluster, now, facts| cluster.link_up(link, now, facts));
            }
            Step::Message(message) => {
                operate(server, |cluster, now, facts| cluster.receive(link, *message, now, facts));
            }
            Step::Unreadable(error) => server.log(Level::Warning, &error.to_string()),
            Step::Broken(why) => return broken(server, link, &why),
        }
    }
}

fn broken(server: &mut Server, link: LinkId, why: &Broken) {
    let (level, text) = match why {
        Broken::Unconnected(error) => {
            let cluster = server.cluster.as_ref();
            let (id, address) = cluster.and_then(|cluster| cluster.link_goes_to(link)).unzip();
            let (id, address) = (id.unwrap_or(NodeId::NONE), address.unwrap_or_default());
            let reason = io_reason(error);
            (Level::Verbose, format!("Connection with Node {id} at {address} failed: {reason}"))
        }
        Broken::Closed => {
            (Level::Debug, "I/O error reading from node link: connection closed".into())
        }
        Broken::Failed(error) => {
            (Level::Debug, format!("I/O error reading from node link: {}", io_reason(error)))
        }
        Broken::Nonsense(peer) => (
            Level::Warning,
            format!("Bad message length or signature received on the Cluster bus from {peer}"),
        ),
    };
    server.log(level, &text);
    close(server, link);
    operate(server, |cluster, now, _| cluster.link_down(link, now));
}

/// Ten times a second: the machine's timer, and queues that have grown too long.
pub(crate) fn cron(server: &mut Server) {
    if server.cluster.is_none() || !server.lifecycle.take_cluster_cron_due(now(server).mono_ms) {
        return;
    }
    operate(server, Cluster::tick);
    redirect::cron(server);
    let limit = server.config.cluster_link_sendbuf_limit;
    let limit = if limit == 0 { usize::MAX } else { limit as usize };
    for (link, bytes) in server.net.bus_mut().over(limit.min(MOST_FOR_INBOUND)) {
        operate(server, |cluster, _, _| {
            let is_inbound = cluster.link(link).is_some_and(|link| link.is_inbound());
            if is_inbound || bytes > limit {
                cluster.link_over_limit(link, bytes as u64);
            }
        });
    }
}

/// The loop is about to sleep: what the turn has changed is seen to, and then what was said is sent.
pub(crate) fn before_sleep(server: &mut Server) {
    if server.cluster.as_ref().is_some_and(|cluster| cluster.has_work()) {
        operate(server, Cluster::before_sleep);
    }
    for (link, why) in server.net.bus_mut().flush() {
        broken(server, link, &why);
    }
}
