//! The stream goes out to the replicas, and they say how far they have got.

use crate::rdb::writer::RdbVersion;
use crate::resp::error::{CommandError, CommandResult};
use crate::resp::reply::Reply;
use crate::server::Server;
use crate::server::blocking;
use crate::server::client::{Blocked, ClientFlags, Token};
use crate::server::links::replica::{Next, ReplicaLink};
use crate::server::observe::log::Level;
use crate::server::output;
use crate::server::replication;
use crate::server::replication::primary;
use crate::server::replication::primary::dual_channel;
use crate::server::replication::trace;
use std::io::{self, ErrorKind};

/// Bytes of the stream written to one replica before others have their turn.
const STREAM_PER_TURN: usize = 1024 * 1024;

/// Why `WAITAOF` can't wait for this server.
pub const WAITAOF_WITHOUT_AOF: CommandError =
    CommandError::err("WAITAOF cannot be used when numlocal is set but appendonly is disabled.");

/// Why a replica can't follow this server.
const EXPIRING_FIELDS: &str = "there are hashes with expiring fields here, which only Redis since 8.0 and Valkey since 9.0 can replicate";

/// Where an offset of the stream is in an append-only file, and that file on disk.
#[derive(Clone, Copy, Debug)]
pub struct DurableAt {
    pub local: bool,
    pub replicas: usize,
}

impl DurableAt {
    /// As `WAITAOF` answers.
    pub fn reply(self, reply: &mut Reply) {
        reply.array(2);
        reply.int(self.local.into());
        reply.int(self.replicas as i64);
    }
}

/// Writes to a replica whose ordinary output is empty: its snapshot, then the stream.
pub(crate) fn write_to_replica(server: &mut Server, token: Token) {
    if let Err(error) = try_write_to_replica(server, token)
        && error.kind() != ErrorKind::WouldBlock
    {
        let name = replication::replica_name(server, token);
        server.log(Level::Verbose, &format!("Write error sending to replica {name}: {error}"));
        trace::trace_end(server, token, &format!("writing failed: {error}"));
        server.free_client(token);
    }
}

fn try_write_to_replica(server: &mut Server, token: Token) -> io::Result<()> {
    let mut budget = STREAM_PER_TURN;
    while budget > 0 {
        let client = &mut server.clients[token];
        let Some(link) = client.replstate.as_deref_mut() else { return Ok(()) };
        let n = match link.next(server.repl.stream.as_ref())? {
            Next::Nothing => return Ok(()),
            Next::Snapshot(bytes) => client.conn.write(bytes)?,
            Next::Stream(slices) => client.conn.write_vectored(&slices)?,
            Next::SnapshotSent => {
                primary::with_link(server, token, ReplicaLink::snapshot_sent);
                if server.clients[token].is(ClientFlags::CLOSE_AFTER_REPLY) {
                    server.free_client(token);
                    return Ok(());
                }
                continue;
            }
        };
        link.wrote(n);
        client.net_out += n as u64;
        server.observer.count_replica_write(n);
        budget = budget.saturating_sub(n.max(1));
    }
    server.clients.queue_write(token);
    Ok(())
}

/// Bytes of the stream that a replica has not been sent.
pub(crate) fn replica_lag_bytes(server: &Server, token: Token) -> usize {
    primary::link_of(server, token).map_or(0, |link| link.lag_bytes(server.repl.stream()))
}

/// From where on the stream is kept for a replica; `None`: nothing is kept for it.
fn stream_cursor(server: &Server, token: Token) -> Option<u64> {
    primary::link_of(server, token)?.needs_stream_from()
}

/// Before the loop sleeps: new bytes of the stream go out, and old ones that nobody needs are dropped.
pub(crate) fn feed_replicas(server: &mut Server) {
    let fields_expire = std::mem::take(&mut server.ks.changes.fields_expire);
    if server.repl.replicas.is_empty() && server.repl.stream.is_none() {
        return;
    }
    if fields_expire {
        part_with_older_replicas(server);
    }
    dual_channel::check_reservations(server);
    // While writes are paused the offset stands still; who waits then asks by itself.
    if server.repl.get_ack && server.blocking.pause.kind(server.ks.now_ms).is_none() {
        server.repl.get_ack = false;
        request_acks(server);
    }
    for token in server.repl.replicas.clone() {
        if server.clients.get(token).is_none_or(|c| c.is(ClientFlags::CLOSE_ASAP)) {
            continue;
        }
        if replica_lag_bytes(server, token) > 0 && server.clients[token].out.is_empty() {
            write_to_replica(server, token);
        }
        if server.clients.contains(token) {
            output::check_output_limit(server, token);
        }
    }
    trim_stream(server);
}

/// Fields have got an expiry, and the stream says so: those that would not understand it are let go.
fn part_with_older_replicas(server: &mut Server) {
    server.repl.fields_expire_up_to = server.repl.offset();
    for token in server.repl.replicas.clone() {
        if knows_expiring_fields(server, token) {
            continue;
        }
        let name = replication::replica_name(server, token);
        server.warning(&format!("Disconnecting replica {name}: {EXPIRING_FIELDS}"));
        trace::trace_end(server, token, EXPIRING_FIELDS);
        server.free_client(token);
    }
}

pub(super) fn knows_expiring_fields(server: &Server, token: Token) -> bool {
    let link = server.clients[token].replstate.as_ref();
    link.is_none_or(|link| link.announced.expiring_fields_version(RdbVersion::V12).is_some())
}

/// Whether a replica understands the stream from an offset on.
pub(super) fn can_follow_from(server: &Server, token: Token, offset: u64) -> bool {
    offset >= server.repl.fields_expire_up_to || knows_expiring_fields(server, token)
}

/// Whether a replica understands what there is.
///
/// # Errors
/// If there are hashes whose fields expire, and it does not know such.
pub(super) fn check_older_replica(server: &mut Server, token: Token) -> CommandResult {
    if knows_expiring_fields(server, token) || !server.ks.has_expiring_fields() {
        return Ok(());
    }
    let name = replication::replica_name(server, token);
    server.warning(&format!("Refusing synchronization to replica {name}: {EXPIRING_FIELDS}"));
    Err(CommandError::err(EXPIRING_FIELDS))
}

/// Asks the replicas how far they are.
pub(crate) fn request_acks(server: &mut Server) {
    if !server.repl.is_replica() {
        server.repl.feed_without_select(&[b"REPLCONF", b"GETACK", b"*"]);
    }
}

/// Drops the part of the stream that neither the backlog nor a replica needs.
pub(crate) fn trim_stream(server: &mut Server) {
    let cursors = server.repl.replicas.iter().filter_map(|&token| stream_cursor(server, token));
    let reserved = server.repl.reservations.iter().map(|kept| kept.cursor);
    let needed = cursors.chain(reserved).min().unwrap_or(u64::MAX);
    if let Some(stream) = &mut server.repl.stream {
        let backlog = stream.end().saturating_sub(server.config.repl_backlog_size);
        stream.trim(backlog.min(needed));
    }
}

/// `REPLCONF ACK`: how far a replica has got.
pub(crate) fn replica_acknowledged(
    server: &mut Server,
    token: Token,
    offset: u64,
    durable: Option<u64>,
) {
    primary::with_link(server, token, |link, name, now| {
        link.acknowledge(offset, durable, name, now)
    });
}

/// How many replicas have acknowledged an offset; without one, how many there are.
pub(crate) fn replicas_at(server: &Server, offset: Option<u64>) -> usize {
    let has_it = |link: &ReplicaLink| match offset {
        Some(offset) => link.has_applied(offset),
        None => link.is_online(),
    };
    primary::replicas_that(server, has_it).len()
}

/// The replicas that are online and have announced this version, as in `0x080001`, or a later one.
pub(crate) fn online_replicas_since(server: &Server, version: u32) -> Vec<Token> {
    let is_so = |link: &ReplicaLink| link.is_online() && link.announced.is_since(version);
    primary::replicas_that(server, is_so)
}

/// Lets go clients in `WAIT` whose replicas have acknowledged.
pub(crate) fn process_clients_waiting_replicas(server: &mut Server) {
    for noted in server.clients.waiting().to_vec() {
        let Some(token) = server.clients.find(noted) else { continue };
        let Some(blocked) = &server.clients[token].blocked else { continue };
        match blocked.on {
            Blocked::Replicas { wanted, offset } => {
                let reached = replicas_at(server, offset);
                if reached >= wanted {
                    output::reply_to(server, token, |reply| reply.int(reached as i64));
                    blocking::unblock_client(server, token);
                }
            }
            Blocked::Durable { local, replicas, offset } => {
                let reached = durable_at(server, offset);
                if local && !server.config.appendonly {
                    blocking::unblock_client_on_error(server, token, &WAITAOF_WITHOUT_AOF);
                } else if reached.local >= local && reached.replicas >= replicas {
                    output::reply_to(server, token, |reply| reached.reply(reply));
                    blocking::unblock_client(server, token);
                }
            }
            _ => {}
        }
    }
}

/// Where an offset is durable.
pub(crate) fn durable_at(server: &Server, offset: Option<u64>) -> DurableAt {
    let local = server
        .persistence
        .aof
        .durable_offset()
        .is_some_and(|durable| durable >= offset.unwrap_or(0));
    let has_it = |link: &ReplicaLink| link.has_durable(offset);
    DurableAt { local, replicas: primary::replicas_that(server, has_it).len() }
}

pub(crate) fn enough_good_replicas(server: &Server) -> bool {
    server.repl.is_replica()
        || server.config.min_replicas_max_lag == 0
        || server.repl.good_replicas >= server.config.min_replicas_to_write as usize
}
