//! The working link: what the primary sends is applied and counted, and after a break gone on with.

use super::abandon;
use crate::resp::encode::encode_command;
use crate::resp::reply::Protocol;
use crate::server::Server;
use crate::server::client::{ClientFlags, Token};
use crate::server::links::primary::{CachedPrimary, Closed};
use crate::server::links::trace::{Resync, StepKind};
use crate::server::output;
use crate::server::replication::primary;
use crate::server::replication::trace;

/// The primary goes on where we stopped; `id` is its history's, if it is another by now.
pub(super) fn resume(server: &mut Server, token: Token, id: Option<String>, input: Vec<u8>) {
    let Some(cached) = server.repl.cached.take() else { return };
    server.notice("Successful partial resynchronization with master.");
    trace::trace_primary_resync(server, Resync::Partial);
    let offset = cached.offset;
    let text = format!("partial resynchronisation: online from offset {offset} on");
    trace::trace_primary(server, StepKind::Here, &text);
    match id {
        Some(id) => {
            server.notice(&format!("Master replication ID changed to {id}"));
            server.repl.history.continues(cached.id, offset);
            server.repl.history.adopt(id, offset);
            // Those who follow us must learn it, which a broken link makes them do.
            primary::disconnect_replicas(server);
        }
        None => server.repl.history.adopt(cached.id, offset),
    }
    if server.repl.stream.as_ref().is_none_or(|s| s.end() != offset) {
        server.repl.create_stream(server.config.repl_backlog_size);
    }
    let db = cached.stream_db;
    let client = Client { offset, db, input, counts: true, replays: false };
    become_primary_client(server, token, client);
    server.notice("MASTER <-> REPLICA sync: Master accepted a Partial Resynchronization.");
}

/// What the primary's client begins with.
pub(super) struct Client {
    pub offset: u64,
    pub db: usize,
    /// What has come already.
    pub input: Vec<u8>,
    /// The primary counts offsets.
    pub counts: bool,
    /// What came before is executed first.
    pub replays: bool,
}

/// The link's client executes what it says from now on.
pub(super) fn become_primary_client(server: &mut Server, token: Token, begin: Client) {
    let client = &mut server.clients[token];
    client.flags = ClientFlags::MASTER | ClientFlags::AUTHENTICATED;
    client.flags.set(ClientFlags::PRE_PSYNC, !begin.counts);
    client.flags.set(ClientFlags::REPLAYING, begin.replays);
    client.protocol = Protocol::Resp2;
    client.db = if begin.db < server.ks.dbs.len() { begin.db } else { 0 };
    client.applied_offset = begin.offset;
    client.read_offset = begin.offset + begin.input.len() as u64;
    client.query = begin.input;
    server.repl.down_since_seconds = 0;
    server.clients.queue_input(token);
}

/// Once a second: tells the primary how far we are, or that we are still busy loading.
pub(in super::super) fn ack_if_due(server: &mut Server) {
    let now = server.ks.now_ms;
    let Some(link) = &mut server.repl.primary else { return };
    if let Some(token) = link.waits_for_us() {
        let _ = server.clients[token].conn.write(b"\n");
    } else if link.following().is_some_and(|link| now - link.acknowledged_ms >= 1000) {
        replication_send_ack(server);
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
    match server.persistence.aof.durable_offset() {
        None => encode_command(&[b"REPLCONF", b"ACK", offset], &mut out),
        Some(durable) => {
            let durable = durable.to_string();
            let durable = durable.as_bytes();
            encode_command(&[b"REPLCONF", b"ACK", offset, b"FACK", durable], &mut out);
        }
    }
    output::add_reply_to(server, token, &out);
    let now = server.ks.now_ms;
    if let Some(following) = server.repl.primary.as_mut().and_then(|link| link.following()) {
        following.acknowledged_ms = now;
    }
}

/// A request of the primary has been executed: these bytes of its stream are applied, and go on to our replicas.
pub(crate) fn primary_stream_applied(server: &mut Server, token: Token, bytes: &[u8]) {
    let client = &mut server.clients[token];
    let now = server.ks.now_ms / 1000;
    let in_transaction = client.is(ClientFlags::MULTI);
    let transaction = match &mut server.repl.primary {
        Some(link) => link.applied(bytes, in_transaction, now),
        None => Some(Vec::new()),
    };
    let Some(transaction) = transaction else { return };
    client.applied_offset += (transaction.len() + bytes.len()) as u64;
    server.repl.feed_bytes(&transaction);
    server.repl.feed_bytes(bytes);
}

/// A connection to the primary is over: gives up what it was for, or remembers where we were and connects again soon.
pub(crate) fn replication_handle_primary_disconnection(server: &mut Server, token: Token) {
    let client = &server.clients[token];
    let (offset, db) = (client.applied_offset, client.db);
    let resumable = !client.is(ClientFlags::PRE_PSYNC) && server.repl.offset() == offset;
    let Some(link) = &mut server.repl.primary else { return };
    let corrupt = match link.closed(token, db) {
        Closed::Stranger => return,
        // Somebody closed it from outside.
        Closed::Unfinished { others } => return abandon(server, others),
        Closed::Lost { corrupt } => corrupt,
    };
    let resumable = resumable && !corrupt;
    server.repl.cached = resumable.then(|| CachedPrimary {
        id: server.repl.id().to_string(),
        offset,
        stream_db: db,
    });
    server.repl.down_since_seconds = server.now_seconds();
    server.repl.reconnect = true;
    server.notice("Connection with master lost.");
    trace::trace_primary(server, StepKind::Here, &format!("connection lost at offset {offset}"));
    if resumable {
        server.notice("Caching the disconnected master state.");
    }
}

/// The primary's stream can't be understood. What was applied of it may be wrong already: it is not resumed.
pub(crate) fn primary_stream_is_corrupt(server: &mut Server) {
    trace::trace_primary(server, StepKind::Here, "the stream can't be understood");
    server.warning(
        "The stream from the master is corrupt: closing the link and discarding the cached master.",
    );
    if let Some(following) = server.repl.primary.as_mut().and_then(|link| link.following()) {
        following.is_corrupt = true;
    }
}

/// Executes a piece of the stream that was kept.
pub(crate) fn replay_kept_stream(server: &mut Server, token: Token) {
    if server.clients[token].is(ClientFlags::BLOCKED) {
        return;
    }
    let piece = match server.repl.primary.as_mut().map_or(Ok(None), |link| link.next_kept()) {
        Ok(piece) => piece,
        Err(error) => {
            // The link can resume behind what has been executed.
            server.warning(&format!("Reading the kept stream failed: {error}"));
            server.free_client(token);
            return;
        }
    };
    let Some(piece) = piece else {
        server.clients[token].flags.remove(ClientFlags::REPLAYING);
        server.notice("Successfully streamed replication data into memory");
        replication_send_ack(server);
        server.read_query_from_client(token, true);
        return;
    };
    let client = &mut server.clients[token];
    client.read_offset += piece.len() as u64;
    client.last_interaction_seconds = server.ks.now_ms / 1000;
    let mut query = std::mem::take(&mut client.query);
    query.extend_from_slice(&piece);
    let used = server.process_input_buffer(token, &query);
    let Some(client) = server.clients.get_mut(token) else { return };
    query.drain(..used);
    client.query = query;
    server.clients.queue_input(token);
}
