//! Dual-channel replication, the replica's side.
//!
//! The primary has answered `+DUALCHANNELSYNC`. A second connection, the RDB channel, asks for the snapshot and learns
//! from the `$ENDOFF` line at which offset it stands; then the first, the main channel, asks for the stream from there.
//! The snapshot is received and loaded as any other ([`super::download`]), while the stream that comes meanwhile is
//! kept here, and not at the primary. When both are there the kept stream is executed, a piece in each turn of the
//! loop.

use super::super::NO_ID;
use super::LinkState;
use super::handshake::{CHUNK, SNAPSHOT_VERSION};
use super::kept_stream::{Kept, KeptStream};
use crate::server::Server;
use crate::server::client::{ClientFlags, Token};
use crate::server::observe::log::Level;
use crate::server::replication::primary::snapshot;
use crate::server::replication::replica;
use crate::server::replication::replica::download;
use crate::server::replication::replica::follow;
use crate::server::replication::replica::handshake;
use std::io::ErrorKind;

/// Where the RDB channel is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RdbChannelState {
    Connecting,
    /// Steps of its handshake: what answer is awaited.
    ReceiveAuth,
    ReceiveReplconf,
    ReceiveEndOffset,
    /// The snapshot comes.
    Transfer,
    /// The snapshot is here, and being loaded.
    Loading,
    /// The snapshot is loaded; the main channel is not ready.
    Loaded,
}

/// The RDB channel.
pub struct RdbChannel {
    /// `None`: it has served and is closed.
    pub(super) token: Option<Token>,
    pub state: RdbChannelState,
    /// What came and has not been understood.
    pub(super) input: Vec<u8>,
    /// The primary's name for this channel, which the main channel refers to.
    client: u64,
    /// When it was last heard, in seconds since 1970.
    pub(super) last_io: i64,
}

/// The primary wants the snapshot to go over a connection of its own.
pub(super) fn open_rdb_channel(server: &mut Server) -> Result<(), String> {
    let (host, port) = (replica::link(server).host.clone(), replica::link(server).port);
    let token = handshake::open_link(server, &host, port)
        .map_err(|e| format!("Unable to connect to MASTER: {e}"))?;
    let now = server.now_seconds();
    let link = replica::link(server);
    link.kept_stream = KeptStream::default();
    link.rdb_channel = Some(Box::new(RdbChannel {
        token: Some(token),
        state: RdbChannelState::Connecting,
        input: Vec::new(),
        client: 0,
        last_io: now,
    }));
    replica::enter_link_state(server, LinkState::AwaitRdbChannel);
    Ok(())
}

pub(super) fn enter_rdb_channel_state(server: &mut Server, state: RdbChannelState) {
    let now = server.now_seconds();
    if let Some(channel) = &mut replica::link(server).rdb_channel {
        channel.state = state;
        channel.last_io = now;
    }
}

/// Something happened on the RDB channel.
pub(super) fn advance_rdb_channel(server: &mut Server, token: Token) -> Result<(), String> {
    loop {
        let Some(channel) = &replica::link(server).rdb_channel else { return Ok(()) };
        match channel.state {
            RdbChannelState::Connecting => {
                if !start_rdb_channel(server, token)? {
                    return Ok(());
                }
            }
            RdbChannelState::Transfer => return download::receive_snapshot(server, token),
            RdbChannelState::Loading | RdbChannelState::Loaded => return Ok(()),
            _ => {
                let Some(line) = handshake::read_line(server, token)? else { return Ok(()) };
                handle_rdb_channel_line(server, token, &line)?;
            }
        }
    }
}

/// The connection is there, perhaps: says what it is for. `false`: it is not there yet.
fn start_rdb_channel(server: &mut Server, token: Token) -> Result<bool, String> {
    let failed = |e| format!("Error condition on socket for dual channel replication: {e}");
    if let Ok(Some(error)) = server.clients[token].conn.take_error() {
        return Err(failed(error));
    }
    let port = handshake::announced_port(server).to_string();
    let who: [&[u8]; 11] = [
        b"REPLCONF",
        b"capa",
        b"eof",
        b"rdb-only",
        b"1",
        b"rdb-channel",
        b"1",
        b"listening-port",
        port.as_bytes(),
        b"version",
        SNAPSHOT_VERSION,
    ];
    let auth = server.config.masterauth.is_some();
    match handshake::send_auth(server, token)
        .and_then(|()| handshake::send_to_primary(server, token, &who))
    {
        Err(error) if error.kind() == ErrorKind::NotConnected => return Ok(false),
        outcome => outcome.map_err(failed)?,
    }
    enter_rdb_channel_state(
        server,
        if auth { RdbChannelState::ReceiveAuth } else { RdbChannelState::ReceiveReplconf },
    );
    Ok(true)
}

fn handle_rdb_channel_line(server: &mut Server, token: Token, line: &str) -> Result<(), String> {
    let Some(channel) = &replica::link(server).rdb_channel else { return Ok(()) };
    if line.is_empty() {
        // A newline before the answer: the primary is alive.
        return Ok(());
    }
    match channel.state {
        RdbChannelState::ReceiveAuth => {
            if line.starts_with('-') {
                let primary = server.config.flavour.primary_in_capitals();
                return Err(format!("Unable to AUTH to {primary}: {line}"));
            }
            enter_rdb_channel_state(server, RdbChannelState::ReceiveReplconf);
        }
        RdbChannelState::ReceiveReplconf => {
            if line.starts_with('-') {
                // The next attempt does without.
                replica::link(server).no_dual_channel = true;
                return Err(format!(
                    "Server does not support sync with offset, dual channel sync approach cannot be used: {line}"
                ));
            }
            handshake::send_to_primary(server, token, &[b"SYNC"])
                .map_err(|e| format!("I/O error writing to MASTER: {e}"))?;
            enter_rdb_channel_state(server, RdbChannelState::ReceiveEndOffset);
        }
        RdbChannelState::ReceiveEndOffset => handle_end_offset(server, line)?,
        state => return Err(format!("A line from MASTER in state {state:?}")),
    }
    Ok(())
}

/// The `$ENDOFF` line: the snapshot's place in the stream. The main channel can go on.
fn handle_end_offset(server: &mut Server, line: &str) -> Result<(), String> {
    let unexpected = || format!("Received unexpected $ENDOFF response: {line}");
    let words = line.strip_prefix("$ENDOFF:").ok_or_else(unexpected)?;
    let words: Vec<&str> = words.split(' ').collect();
    let [offset, id, db, client] = words[..] else { return Err(unexpected()) };
    let offset: u64 = offset.parse().map_err(|_| unexpected())?;
    let client: u64 = client.parse().map_err(|_| unexpected())?;
    // -1: no database is selected, so that the stream begins with one.
    let db: i64 = db.parse().map_err(|_| unexpected())?;
    let db = usize::try_from(db).unwrap_or(0);
    if id.len() != NO_ID.len() {
        return Err(unexpected());
    }
    let main = replica::link(server).token.ok_or("the main channel is gone")?;
    replica::link(server).announced = (id.to_string(), offset);
    replica::link(server).stream_db = db;
    if let Some(channel) = &mut replica::link(server).rdb_channel {
        channel.client = client;
    }
    enter_rdb_channel_state(server, RdbChannelState::Transfer);
    download::begin_download(server);
    let client = client.to_string();
    handshake::send_to_primary(
        server,
        main,
        &[b"REPLCONF", b"set-rdb-client-id", client.as_bytes()],
    )
    .map_err(|e| format!("Failed to send to MASTER: {e}"))?;
    replica::enter_link_state(server, LinkState::ReceiveRdbClientId);
    Ok(())
}

/// The primary has joined the channels: the main one asks for the stream behind the snapshot.
pub(super) fn psync_behind_snapshot(server: &mut Server, token: Token) -> Result<(), String> {
    snapshot::pause_after_fork(server);
    let (id, offset) = replica::link(server).announced.clone();
    let offset = (offset + 1).to_string();
    server.notice(&format!(
        "Trying a partial resynchronization using main channel (request {id}:{offset})."
    ));
    handshake::send_to_primary(server, token, &[b"PSYNC", id.as_bytes(), offset.as_bytes()])
        .map_err(|e| format!("Failed to send PSYNC to MASTER: {e}"))
}

/// The answer to that `PSYNC`.
pub(super) fn handle_main_channel_psync_reply(
    server: &mut Server,
    token: Token,
    line: &str,
) -> Result<(), String> {
    if !line.starts_with("+CONTINUE") {
        return Err(format!("Aborting dual channel sync. Main channel psync result: {line}"));
    }
    server.notice("Primary <-> REPLICA sync: Primary accepted a Partial Resynchronization, RDB load in background.");
    replica::enter_link_state(server, LinkState::Buffering);
    let loaded =
        matches!(&replica::link(server).rdb_channel, Some(c) if c.state == RdbChannelState::Loaded);
    if loaded {
        server.log(Level::Debug, "Dual channel sync - psync established after rdb load");
        both_channels_done(server, token);
    }
    Ok(())
}

/// The main channel has bytes of the stream while the snapshot is not there: they are kept.
pub(super) fn keep_stream(server: &mut Server, token: Token) -> Result<(), String> {
    loop {
        let link = replica::link(server);
        if link.kept_stream.is_full() {
            return Ok(());
        }
        let input = std::mem::take(&mut link.input);
        keep_bytes(server, &input);
        if !handshake::read_link(server, token, CHUNK)? {
            return Ok(());
        }
    }
}

/// Keeps these bytes of the stream: in memory as many as `client-output-buffer-limit` allows for a replica, more in
/// a file.
fn keep_bytes(server: &mut Server, bytes: &[u8]) {
    let limit = server.config.client_output_buffer_limit[1].hard;
    let Some(link) = &mut server.repl.primary else { return };
    match link.kept_stream.push(bytes, limit, &server.config.dir) {
        Ok(Kept::File { begun: true }) => {
            server.notice("Replication buffer limit reached, the stream goes on in a file.");
        }
        Ok(_) => {}
        Err(error) => {
            server.warning(&format!("The stream can't go on in a file: {error}"));
            server.notice("Replication buffer limit reached, stopping buffering.");
        }
    }
}

/// The snapshot is loaded.
pub(super) fn rdb_channel_loaded(server: &mut Server) {
    enter_rdb_channel_state(server, RdbChannelState::Loaded);
    if let Some(channel) = &mut replica::link(server).rdb_channel
        && let Some(token) = channel.token.take()
    {
        server.free_client(token);
    }
    if replica::link(server).state == LinkState::Buffering
        && let Some(token) = replica::link(server).token
    {
        both_channels_done(server, token);
    }
}

/// Snapshot and stream are there: the link works as any other, once what was kept has been executed.
fn both_channels_done(server: &mut Server, token: Token) {
    let link = replica::link(server);
    link.rdb_channel = None;
    let rest = std::mem::take(&mut link.input);
    keep_bytes(server, &rest);
    download::full_sync_loaded(server, token);
    server.clients[token].flags |= ClientFlags::REPLAYING;
}

/// Executes a piece of the stream that was kept.
pub(crate) fn replay_kept_stream(server: &mut Server, token: Token) {
    if server.clients[token].is(ClientFlags::BLOCKED) {
        return;
    }
    let piece = match server.repl.primary.as_mut().map(|link| link.kept_stream.pop()) {
        None => None,
        Some(Ok(piece)) => piece,
        Some(Err(error)) => {
            // The link can resume behind what has been executed.
            server.warning(&format!("Reading the kept stream failed: {error}"));
            server.free_client(token);
            return;
        }
    };
    let Some(piece) = piece else {
        server.clients[token].flags.remove(ClientFlags::REPLAYING);
        server.notice("Successfully streamed replication data into memory");
        follow::replication_send_ack(server);
        server.read_query_from_client(token, true);
        return;
    };
    let client = &mut server.clients[token];
    client.read_offset += piece.len() as u64;
    client.last_interaction = server.ks.now_ms / 1000;
    let mut query = std::mem::take(&mut client.query);
    query.extend_from_slice(&piece);
    let used = server.process_input_buffer(token, &query);
    let Some(client) = server.clients.get_mut(token) else { return };
    query.drain(..used);
    client.query = query;
    server.clients.queue_input(token);
}
