//! Replies on their way out: gathered, deferred to the end of the turn, buffered where a socket lags, and limited.
//!
//! What a client is answered in one turn of the loop waits in ONE buffer that all clients share ([`TurnOutput`]), and
//! is written by `before_sleep`, one write a client: many clients are woken together, and the next turn finds many
//! requests. Only what a socket does not take moves into the client's own [`Output`](super::client::Output).

use super::Server;
use super::call::Call;
use super::client::{Client, ClientFlags, Output, Token};
use crate::resp::reply::{PIECE, Reply};
use crate::server::client_info;
use crate::server::observe::log::Level;
use crate::server::observe::slot_stats::{Usage, request_bytes};
use crate::server::pubsub::{Message, Topic};
use crate::sys::process::total_memory;
use crate::util::slot::key_slot;
use bytes::Bytes;
use std::io::ErrorKind;

/// Replies are handed to the socket when this much has gathered, though more requests wait.
pub const REPLY_FLUSH: usize = 64 * 1024;
/// Replies up to this size are written whatever limit there is, as Redis's static buffer has it.
const STATIC_REPLY: usize = 16 * 1024;
/// A larger piece is written at once instead of being copied into the shared buffer.
const DEFER_MAX: usize = 16 * 1024;
/// A client that takes all that it is written is written about so much before others have their turn.
const WRITE_AT_ONCE: usize = 1024 * 1024;
/// However little memory there is, or is known of.
const MIN_LARGEST_REPLY: usize = 512 << 20;
/// What handing over a byte costs, for [`Server::turn_cost_ns`].
pub const NANOS_PER_BYTE: u64 = 1;

/// What this turn's clients will be written, in the order in which it arose.
#[derive(Debug, Default)]
pub struct TurnOutput {
    bytes: Vec<u8>,
    /// Whose piece ends where. A client's id tells whether the token is still its own.
    pieces: Vec<(Token, u64, usize)>,
}

/// Bytes of a reply that nobody can want: half of the machine's memory.
pub fn largest_reply() -> usize {
    usize::try_from(total_memory() / 2).unwrap_or(usize::MAX).max(MIN_LARGEST_REPLY)
}

impl TurnOutput {
    /// Never grows: what grows with the traffic would be taken from the data where there is a `maxmemory`.
    pub fn new() -> TurnOutput {
        TurnOutput { bytes: Vec::with_capacity(REPLY_FLUSH + DEFER_MAX), pieces: Vec::new() }
    }

    pub fn is_empty(&self) -> bool {
        self.pieces.is_empty()
    }
}

/// Sends the current client's gathered replies off: with this turn's other writes if they are small.
pub(crate) fn send_reply(server: &mut Server, call: &mut Call) {
    let len = call.reply.len();
    if len == 0 {
        return;
    }
    if len > DEFER_MAX || !defer(server, call.client, call.reply.as_bytes()) {
        flush_reply(server, call);
        return;
    }
    call.reply.clear();
}

/// Adds `bytes` to what is written at the end of the turn. `false`: the client's
/// output must take another way, because some already waits behind its socket or it is a replica, whose stream
/// has buffers of its own.
fn defer(server: &mut Server, token: Token, bytes: &[u8]) -> bool {
    let Some(client) = server.clients.get_mut(token) else { return true };
    if !client.out.is_empty() || client.is_any(ClientFlags::SLAVE | ClientFlags::CLOSE_ASAP) {
        return false;
    }
    client.flags |= ClientFlags::DEFERRED;
    let id = client.id;
    let output = server.buffers.output_mut();
    output.bytes.extend_from_slice(bytes);
    output.pieces.push((token, id, output.bytes.len()));
    if output.bytes.len() >= REPLY_FLUSH {
        write_turn_output(server);
    }
    true
}

/// Writes what was deferred; what a socket does not take waits in its client's output.
pub(crate) fn write_turn_output(server: &mut Server) {
    if server.buffers.output().is_empty() {
        return;
    }
    let mut output = std::mem::take(server.buffers.output_mut());
    let mut start = 0;
    let mut pieces = output.pieces.iter().peekable();
    while let Some(&(token, id, mut end)) = pieces.next() {
        // A client's pieces in a row are one write.
        while let Some(&&(_, _, further)) = pieces.peek().filter(|p| (p.0, p.1) == (token, id)) {
            end = further;
            pieces.next();
        }
        let piece = &output.bytes[start..end];
        start = end;
        if let Some(client) = server.clients.get_mut(token).filter(|c| c.id == id) {
            client.flags.remove(ClientFlags::DEFERRED);
            let written = write_directly(server, token, piece);
            if written < piece.len() {
                keep(server, token, Bytes::copy_from_slice(&piece[written..]));
            }
        }
    }
    output.bytes.clear();
    output.pieces.clear();
    *server.buffers.output_mut() = output;
}

/// Writes what a client was promised so far, so that something else may follow.
pub(crate) fn settle(server: &mut Server, token: Token) {
    if server.clients[token].is(ClientFlags::DEFERRED) {
        write_turn_output(server);
    }
}

/// Hands the gathered replies to the socket, or to the client's output what it does not take.
pub(crate) fn flush_reply(server: &mut Server, call: &mut Call) {
    if call.reply.is_empty() {
        return;
    }
    let token = call.client;
    if !server.clients.contains(token) {
        call.reply.clear();
        return;
    }
    settle(server, token);
    if call.reply.is_given_up() {
        let pending = call.reply.len() + server.clients[token].out.len();
        call.reply.clear();
        close_for_output_limit(server, token, pending);
        return;
    }
    call.handed_over += call.reply.len();
    server.buffers.add_turn_cost(call.reply.len() as u64 * NANOS_PER_BYTE);
    let mut sent = 0;
    for mut piece in call.reply.take_pieces() {
        // What is left of a long reply has its turn among what others are written.
        let written = if sent < WRITE_AT_ONCE { write_directly(server, token, &piece) } else { 0 };
        sent += piece.len();
        if written == piece.len() {
            piece.clear();
            if piece.capacity() <= PIECE && call.reply.is_empty() {
                call.reply.reuse(piece);
            }
        } else if piece.len() - written > piece.capacity() / 2 {
            // Kept as it is, not copied.
            let memory = piece.capacity();
            keep_part(server, token, Bytes::from(piece).slice(written..), memory);
        } else {
            keep(server, token, Bytes::copy_from_slice(&piece[written..]));
        }
    }
}

/// Writes to a client's socket unless something waits there already; answers how much it has taken.
fn write_directly(server: &mut Server, token: Token, bytes: &[u8]) -> usize {
    let client = &mut server.clients[token];
    let limit = server.config.client_output_buffer_limit[client.class()].hard;
    // All replies of a turn count for a limit: how fast the socket takes them is not for it to depend on.
    let limited = bytes.len() > STATIC_REPLY && limit > 0;
    // A reply may acknowledge what is not in the append-only file yet.
    let held = limited || server.persistence.aof.holds_replies();
    if held || !client.out.is_empty() || client.is(ClientFlags::CLOSE_ASAP) {
        return 0;
    }
    match client.conn.write(bytes) {
        Ok(n) => {
            client.net_out += n as u64;
            server.observer.count_write(n);
            n
        }
        Err(error) if error.kind() == ErrorKind::WouldBlock => 0,
        // The peer is gone; reading will say so.
        Err(_) => bytes.len(),
    }
}

/// Keeps what a client's socket does not take now.
pub(crate) fn keep(server: &mut Server, token: Token, bytes: Bytes) {
    keep_with(server, token, |out| out.push(bytes));
}

/// The same for a buffer of which `bytes` is a part, and which has `memory` bytes.
pub(crate) fn keep_part(server: &mut Server, token: Token, bytes: Bytes, memory: usize) {
    keep_with(server, token, |out| out.push_part(bytes, memory));
}

fn keep_with(server: &mut Server, token: Token, push: impl FnOnce(&mut Output)) {
    let client = &mut server.clients[token];
    if client.is(ClientFlags::CLOSE_ASAP) {
        return;
    }
    push(&mut client.out);
    server.clients.queue_write(token);
    check_output_limit(server, token);
    server.memory.count_client(&server.clients, token, 0);
}

/// Appends to the output of any client; behind the reply, if it is the one whose turn it is.
pub(crate) fn add_reply_to(server: &mut Server, token: Token, bytes: &[u8]) {
    if server.clients.is_in_turn(token) {
        push_to(server, token, Bytes::copy_from_slice(bytes));
        return;
    }
    let Some(client) = server.clients.get_mut(token) else { return };
    if client.is(ClientFlags::CLOSE_ASAP) {
        return;
    }
    if bytes.len() > DEFER_MAX || !defer(server, token, bytes) {
        push_output(server, token, Bytes::copy_from_slice(bytes));
    }
}

/// The same for bytes that several clients may share.
pub(crate) fn add_output(server: &mut Server, token: Token, bytes: Bytes) {
    if server.clients.is_in_turn(token) {
        push_to(server, token, bytes);
        return;
    }
    let Some(client) = server.clients.get(token) else { return };
    if client.is(ClientFlags::CLOSE_ASAP) {
        return;
    }
    if bytes.len() > DEFER_MAX || !defer(server, token, &bytes) {
        push_output(server, token, bytes);
    }
}

fn push_output(server: &mut Server, token: Token, bytes: Bytes) {
    settle(server, token);
    keep(server, token, bytes);
}

/// Sends a client what is no reply: `CLIENT REPLY` does not silence it, and it never comes between a command and
/// its reply.
pub(crate) fn push_to(server: &mut Server, token: Token, bytes: Bytes) {
    if server.clients.is_in_turn(token) {
        server.clients.push(bytes);
        return;
    }
    let closing = ClientFlags::CLOSE_ASAP | ClientFlags::CLOSE_AFTER_REPLY;
    if !server.clients[token].is_any(closing) {
        // Among what all clients are written, its next message would stand behind those of others, and be a write
        // of its own.
        push_output(server, token, bytes);
    }
}

/// The current client's reply is complete: what was to follow it follows.
#[cold]
pub(crate) fn flush_pushes(server: &mut Server, call: &mut Call) {
    for bytes in server.clients.take_pushes() {
        call.reply.raw(&bytes);
    }
}

/// Publishes a message on a channel; returns how many receive it.
pub(crate) fn publish(server: &mut Server, channel: &[u8], message: &[u8]) -> usize {
    if server.pubsub.is_deaf() {
        return 0;
    }
    // Nobody subscribes or unsubscribes while messages are handed out.
    let pubsub = std::mem::take(&mut server.pubsub);
    let mut receivers = 0;
    for (pattern, subscribers) in pubsub.listeners(channel) {
        receivers += match pattern {
            None => deliver(server, subscribers, &[b"message", channel, message]),
            Some(pattern) => {
                deliver(server, subscribers, &[b"pmessage", pattern, channel, message])
            }
        };
    }
    server.pubsub = pubsub;
    receivers
}

/// Publishes a message on a shard channel; returns how many receive it.
pub(crate) fn publish_on_shard(server: &mut Server, channel: &[u8], message: &[u8]) -> usize {
    let pubsub = std::mem::take(&mut server.pubsub);
    let subscribers = pubsub.of(Topic::Shard).get(channel);
    let parts: [&[u8]; 3] = [b"smessage", channel, message];
    let receivers = subscribers.map_or(0, |subscribers| deliver(server, subscribers, &parts));
    server.pubsub = pubsub;
    if server.config.cluster_slot_stats_enabled && server.cluster.is_some() && receivers > 0 {
        // An array has as many bytes whoever sends it, and in both protocols.
        let bytes_out = receivers as u64 * request_bytes(&parts);
        let usage = Usage { bytes_out, ..Usage::default() };
        server.observer.slot_stats.count(key_slot(channel), usage);
    }
    receivers
}

fn deliver(server: &mut Server, receivers: &[Token], parts: &[&[u8]]) -> usize {
    let mut message = Message::new(parts);
    for &token in receivers {
        let bytes = message.encoded(server.clients[token].protocol);
        push_to(server, token, bytes);
    }
    receivers.len()
}

/// Writes a reply to any client, in the protocol that it speaks, unless that wants none.
pub(crate) fn reply_to(server: &mut Server, token: Token, write: impl FnOnce(&mut Reply)) {
    let Some(client) = server.clients.get(token) else { return };
    if client.is_any(ClientFlags::REPLY_OFF | ClientFlags::REPLY_SKIP) {
        return;
    }
    let mut reply = Reply::new(client.protocol);
    write(&mut reply);
    add_reply_to(server, token, reply.as_bytes());
}

/// A client has been written to: it may be below its soft limit again, and another excess would be a new one.
pub(crate) fn output_written(server: &mut Server, token: Token) {
    if server.clients.get(token).is_some_and(|c| c.soft_limit_since_seconds.is_some()) {
        check_output_limit(server, token);
    }
    server.memory.count_client(&server.clients, token, 0);
}

/// Writes what waits to be written to a client; whether all of it has been, and the client is still there.
pub(crate) fn write_output(server: &mut Server, token: Token) -> bool {
    if server.persistence.aof.holds_replies() {
        server.clients.queue_write(token);
        return false;
    }
    let mut sent = 0;
    loop {
        let Some(client) = server.clients.get_mut(token) else { return false };
        if client.out.is_empty() {
            break;
        }
        if sent >= WRITE_AT_ONCE {
            server.clients.queue_write(token);
            return false;
        }
        match client.conn.write_vectored(&client.out.slices()) {
            Ok(0) => return false,
            Ok(n) => {
                sent += n;
                client.out.consume(n);
                client.net_out += n as u64;
                server.observer.count_write(n);
                if !client.is(ClientFlags::MASTER) {
                    client.last_interaction_seconds = server.ks.now_ms / 1000;
                }
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => return false,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => {
                server.log(Level::Verbose, &format!("Error writing to client: {error}"));
                let now_us = server.ks.clock.unix_us();
                let why = format!("writing failed: {error}");
                server.repl.note_end(token, &server.clients[token], now_us, &why);
                server.free_client(token);
                return false;
            }
        }
    }
    let client = &mut server.clients[token];
    let is_done = match client.conn.flush() {
        Ok(()) => client.is(ClientFlags::CLOSE_AFTER_REPLY),
        Err(error) if error.kind() == ErrorKind::WouldBlock => return false,
        Err(_) => true,
    };
    if is_done {
        server.free_client(token);
    }
    !is_done
}

/// Closes a client whose output is over its class's limit: at once over the hard one, after a while over the soft.
pub(crate) fn check_output_limit(server: &mut Server, token: Token) {
    let now = server.now_seconds();
    let pending = server.clients[token].output_bytes(server.repl.stream());
    let replica_limit = replica_output_limit(server);
    let client = &mut server.clients[token];
    if client.is_any(ClientFlags::MASTER | ClientFlags::CLOSE_ASAP) {
        return;
    }
    let class = client.class();
    let mut limit = server.config.client_output_buffer_limit[class];
    if class == 1 {
        limit.hard = replica_limit;
    }
    let over = |bound: u64| bound > 0 && pending as u64 >= bound;
    let soft = over(limit.soft) && {
        let since = *client.soft_limit_since_seconds.get_or_insert(now);
        (now - since) as u64 > limit.soft_seconds
    };
    if !over(limit.soft) {
        client.soft_limit_since_seconds = None;
    }
    if soft || over(limit.hard) {
        close_for_output_limit(server, token, pending);
    }
}

/// Closes a client that does not read its `pending` bytes.
fn close_for_output_limit(server: &mut Server, token: Token, pending: usize) {
    server.observer.count_output_limit_disconnection();
    let info = client_info::client_info(server, token);
    let text = format!(
        "Client {info} scheduled to be closed ASAP for overcoming of output buffer limits."
    );
    server.log(Level::Warning, &text);
    if server.clients[token].class() == 1 {
        let text = format!("output buffer limit: {pending} bytes wait to be sent");
        let now_us = server.ks.clock.unix_us();
        server.repl.note_end(token, &server.clients[token], now_us, &text);
    }
    // It will not be written any more.
    server.clients[token].out.clear();
    server.clients.close_later(token);
}

/// Bytes that the current client's replies may have until it is closed for them: its class's hard limit, and
/// without one a part of the machine's memory.
pub(crate) fn output_room(server: &Server, client: &Client) -> usize {
    if client.is(ClientFlags::MASTER) {
        // It is not answered at all.
        return usize::MAX;
    }
    let limit = match server.config.client_output_buffer_limit[client.class()].hard {
        0 => server.buffers.largest_reply(),
        limit => limit as usize,
    };
    limit.saturating_sub(client.out.len())
}

/// How far a replica may lag, in bytes: always as far as the backlog reaches. 0: any distance.
pub(crate) fn replica_output_limit(server: &Server) -> u64 {
    match server.config.client_output_buffer_limit[1].hard {
        0 => 0,
        limit => limit.max(server.config.repl_backlog_size),
    }
}
