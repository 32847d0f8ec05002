//! The working link: what the primary sends is applied and counted, and after a break gone on with.

use super::super::trace::{Direction, Resync};
use super::super::{NO_ID, encode_command};
use super::{CachedPrimary, LinkState};
use crate::resp::reply::Protocol;
use crate::server::Server;
use crate::server::client::{ClientFlags, Token};
use crate::server::output;
use crate::server::persistence::SnapshotOrigin;
use crate::server::replication::primary;
use crate::server::replication::primary::psync;
use crate::server::replication::replica;
use crate::server::replication::trace;

/// The primary goes on where we stopped; `id` is its history's, if it is another by now.
pub(super) fn resume(server: &mut Server, token: Token, id: &str) -> Result<(), String> {
    let Some(cached) = server.repl.cached.take() else {
        return Err("Master continues a history that was not asked for".to_string());
    };
    server.notice("Successful partial resynchronization with master.");
    trace::trace_primary_resync(server, Resync::Partial);
    let text = format!("partial resynchronisation: online from offset {} on", cached.offset);
    trace::trace_primary(server, Direction::Here, &text);
    if id.len() == NO_ID.len() && id != cached.id {
        server.notice(&format!("Master replication ID changed to {id}"));
        server.repl.id2 = cached.id;
        server.repl.second_offset = Some(cached.offset + 1);
        server.repl.id = id.to_string();
        // Those who follow us must learn it, which a broken link makes them do.
        primary::disconnect_replicas(server);
    } else {
        server.repl.id = cached.id;
    }
    server.repl.offset = cached.offset;
    if server.repl.stream.as_ref().is_none_or(|s| s.end() != cached.offset) {
        psync::create_replication_stream(server);
    }
    link_becomes_primary_client(server, token, cached.offset, cached.stream_db);
    server.notice("MASTER <-> REPLICA sync: Master accepted a Partial Resynchronization.");
    Ok(())
}

/// The link's client executes what it says from now on.
pub(super) fn link_becomes_primary_client(
    server: &mut Server,
    token: Token,
    offset: u64,
    db: usize,
) {
    let pre_psync = server.clients[token].flags & ClientFlags::PRE_PSYNC;
    let link = replica::link(server);
    link.token = Some(token);
    let input = std::mem::take(&mut link.input);
    let client = &mut server.clients[token];
    client.flags = ClientFlags::MASTER | ClientFlags::AUTHENTICATED | pre_psync;
    client.protocol = Protocol::Resp2;
    client.db = if db < server.ks.dbs.len() { db } else { 0 };
    client.applied_offset = offset;
    client.read_offset = offset + input.len() as u64;
    client.query = input;
    replica::enter_link_state(server, LinkState::Connected);
    let now = server.ks.now_ms;
    replica::link(server).last_ack_ms = now;
    server.repl.down_since = 0;
    server.clients.queue_input(token);
}

pub(super) fn ack_if_due(server: &mut Server) {
    let now = server.ks.now_ms;
    if let Some(link) = &server.repl.primary
        && link.state == LinkState::Connected
        && now - link.last_ack_ms >= 1000
    {
        replication_send_ack(server);
    }
    if let Some(link) = &server.repl.primary
        && (link.is_loading() || link.state == LinkState::Buffering)
        && let Some(token) = link.token
    {
        // A newline says that we are alive and busy loading.
        let _ = server.clients[token].conn.write(b"\n");
    }
}

/// Tells the primary how far we are.
pub(crate) fn replication_send_ack(server: &mut Server) {
    let Some(token) = server.repl.primary_token() else { return };
    if server.clients[token].is(ClientFlags::PRE_PSYNC) {
        return;
    }
    let mut digits = itoa::Buffer::new();
    let mut out = Vec::new();
    let offset = digits.format(server.clients[token].applied_offset).as_bytes();
    match server.persistence.aof.fsynced_offset {
        None => encode_command(&[b"REPLCONF", b"ACK", offset], &mut out),
        Some(durable) => {
            let durable = durable.to_string();
            let durable = durable.as_bytes();
            encode_command(&[b"REPLCONF", b"ACK", offset, b"FACK", durable], &mut out);
        }
    }
    output::add_reply_to(server, token, &out);
    if let Some(link) = &mut server.repl.primary {
        link.last_ack_ms = server.ks.now_ms;
    }
}

/// Replication state that a loaded snapshot carries.
pub(crate) fn persistence_origin_loaded(server: &mut Server, origin: Option<SnapshotOrigin>) {
    let Some(origin) = origin else { return };
    match &mut server.repl.primary {
        Some(link) if link.state != LinkState::Connect => link.stream_db = origin.stream_db,
        Some(_) => {
            // Restarted as a replica: its file says where in whose history it is.
            server.repl.id = origin.id.clone();
            server.repl.offset = origin.offset;
            server.repl.cached = Some(CachedPrimary {
                id: origin.id,
                offset: origin.offset,
                stream_db: origin.stream_db,
            });
        }
        None => {
            // Restarted as a primary: replicas that were in the old history may go on, if nothing was written.
            server.repl.id2 = origin.id;
            server.repl.offset = origin.offset;
            server.repl.second_offset = Some(origin.offset + 1);
            psync::create_replication_stream(server);
            server.repl.no_replicas_since = server.now_seconds();
        }
    }
}

/// A request of the primary has been executed: these bytes of its stream are applied, and go on to our replicas.
pub(crate) fn primary_stream_applied(server: &mut Server, token: Token, bytes: &[u8]) {
    let client = &mut server.clients[token];
    let mut transaction = Vec::new();
    if let Some(link) = &mut server.repl.primary {
        link.last_io = server.ks.now_ms / 1000;
        if client.is(ClientFlags::MULTI) {
            link.transaction.extend_from_slice(bytes);
            return;
        }
        transaction = std::mem::take(&mut link.transaction);
    }
    client.applied_offset += (transaction.len() + bytes.len()) as u64;
    server.repl.feed_bytes(&transaction);
    server.repl.feed_bytes(bytes);
}

/// The link to the primary broke: remember where we were, and connect again soon.
pub(crate) fn replication_handle_primary_disconnection(server: &mut Server, token: Token) {
    let client = &server.clients[token];
    let resumable =
        !client.is(ClientFlags::PRE_PSYNC) && server.repl.offset == client.applied_offset;
    let (offset, db, shaking_hands) =
        (client.applied_offset, client.db, client.is(ClientFlags::HANDSHAKE));
    let Some(link) = &mut server.repl.primary else { return };
    if link.rdb_token() == Some(token) {
        // Somebody closed it from outside.
        if let Some(channel) = &mut link.rdb_channel {
            channel.token = None;
        }
        replica::cancel_replication_handshake(server);
        return;
    }
    if link.token != Some(token) {
        return;
    }
    link.token = None;
    link.kept_stream.clear();
    if shaking_hands {
        // Somebody closed it from outside.
        replica::cancel_replication_handshake(server);
        return;
    }
    link.state = LinkState::Connect;
    link.stream_db = db;
    link.transaction = Vec::new();
    let resumable = resumable && !std::mem::take(&mut link.corrupt);
    server.repl.cached =
        resumable.then(|| CachedPrimary { id: server.repl.id.clone(), offset, stream_db: db });
    server.repl.down_since = server.now_seconds();
    server.repl.reconnect = true;
    server.notice("Connection with master lost.");
    trace::trace_primary(server, Direction::Here, &format!("connection lost at offset {offset}"));
    if resumable {
        server.notice("Caching the disconnected master state.");
    }
}

/// The primary's stream can't be understood. What was applied of it may be wrong already: it is not resumed.
pub(crate) fn primary_stream_is_corrupt(server: &mut Server) {
    trace::trace_primary(server, Direction::Here, "the stream can't be understood");
    server.warning(
        "The stream from the master is corrupt: closing the link and discarding the cached master.",
    );
    if let Some(link) = &mut server.repl.primary {
        link.corrupt = true;
    }
}
