//! The working link: what the primary sends is applied and counted, and after a break gone on with.

use super::super::trace::{Direction, Resync};
use super::super::{NO_ID, encode_command};
use super::{CachedPrimary, LinkState};
use crate::resp::reply::Protocol;
use crate::server::Server;
use crate::server::client::{ClientFlags, Token};
use crate::server::persistence::SnapshotOrigin;

impl Server {
    /// The primary goes on where we stopped; `id` is its history's, if it is another by now.
    pub(super) fn resume(&mut self, token: Token, id: &str) -> Result<(), String> {
        let Some(cached) = self.repl.cached.take() else {
            return Err("Master continues a history that was not asked for".to_string());
        };
        self.notice("Successful partial resynchronization with master.");
        self.trace_primary_resync(Resync::Partial);
        let text = format!("partial resynchronisation: online from offset {} on", cached.offset);
        self.trace_primary(Direction::Here, &text);
        if id.len() == NO_ID.len() && id != cached.id {
            self.notice(&format!("Master replication ID changed to {id}"));
            self.repl.id2 = cached.id;
            self.repl.second_offset = Some(cached.offset + 1);
            self.repl.id = id.to_string();
            // Those who follow us must learn it, which a broken link makes them do.
            self.disconnect_replicas();
        } else {
            self.repl.id = cached.id;
        }
        self.repl.offset = cached.offset;
        if self.repl.stream.as_ref().is_none_or(|s| s.end() != cached.offset) {
            self.create_replication_stream();
        }
        self.link_becomes_primary_client(token, cached.offset, cached.stream_db);
        self.notice("MASTER <-> REPLICA sync: Master accepted a Partial Resynchronization.");
        Ok(())
    }

    /// The link's client executes what it says from now on.
    pub(super) fn link_becomes_primary_client(&mut self, token: Token, offset: u64, db: usize) {
        let pre_psync = self.clients[token].flags & ClientFlags::PRE_PSYNC;
        let link = self.link();
        link.token = Some(token);
        let input = std::mem::take(&mut link.input);
        let client = &mut self.clients[token];
        client.flags = ClientFlags::MASTER | ClientFlags::AUTHENTICATED | pre_psync;
        client.protocol = Protocol::Resp2;
        client.db = if db < self.ks.dbs.len() { db } else { 0 };
        client.applied_offset = offset;
        client.read_offset = offset + input.len() as u64;
        client.query = input;
        self.enter_link_state(LinkState::Connected);
        let now = self.ks.now_ms;
        self.link().last_ack_ms = now;
        self.repl.down_since = 0;
        self.clients.queue_input(token);
    }

    pub(super) fn ack_if_due(&mut self) {
        let now = self.ks.now_ms;
        if let Some(link) = &self.repl.primary
            && link.state == LinkState::Connected
            && now - link.last_ack_ms >= 1000
        {
            self.replication_send_ack();
        }
        if let Some(link) = &self.repl.primary
            && (link.is_loading() || link.state == LinkState::Buffering)
            && let Some(token) = link.token
        {
            // A newline says that we are alive and busy loading.
            let _ = self.clients[token].conn.write(b"\n");
        }
    }

    /// Tells the primary how far we are.
    pub fn replication_send_ack(&mut self) {
        let Some(token) = self.repl.primary_token() else { return };
        if self.clients[token].is(ClientFlags::PRE_PSYNC) {
            return;
        }
        let mut digits = itoa::Buffer::new();
        let mut out = Vec::new();
        let offset = digits.format(self.clients[token].applied_offset).as_bytes();
        match self.aof.fsynced_offset {
            None => encode_command(&[b"REPLCONF", b"ACK", offset], &mut out),
            Some(durable) => {
                let durable = durable.to_string();
                let durable = durable.as_bytes();
                encode_command(&[b"REPLCONF", b"ACK", offset, b"FACK", durable], &mut out);
            }
        }
        self.add_reply_to(token, &out);
        if let Some(link) = &mut self.repl.primary {
            link.last_ack_ms = self.ks.now_ms;
        }
    }

    /// Replication state that a loaded snapshot carries.
    pub fn persistence_origin_loaded(&mut self, origin: Option<SnapshotOrigin>) {
        let Some(origin) = origin else { return };
        match &mut self.repl.primary {
            Some(link) if link.state != LinkState::Connect => link.stream_db = origin.stream_db,
            Some(_) => {
                // Restarted as a replica: its file says where in whose history it is.
                self.repl.id = origin.id.clone();
                self.repl.offset = origin.offset;
                self.repl.cached = Some(CachedPrimary {
                    id: origin.id,
                    offset: origin.offset,
                    stream_db: origin.stream_db,
                });
            }
            None => {
                // Restarted as a primary: replicas that were in the old history may go on, if nothing was written.
                self.repl.id2 = origin.id;
                self.repl.offset = origin.offset;
                self.repl.second_offset = Some(origin.offset + 1);
                self.create_replication_stream();
                self.repl.no_replicas_since = self.now_seconds();
            }
        }
    }

    /// A request of the primary has been executed: these bytes of its stream are applied, and go on to our replicas.
    pub fn primary_stream_applied(&mut self, token: Token, bytes: &[u8]) {
        let client = &mut self.clients[token];
        let mut transaction = Vec::new();
        if let Some(link) = &mut self.repl.primary {
            link.last_io = self.ks.now_ms / 1000;
            if client.is(ClientFlags::MULTI) {
                link.transaction.extend_from_slice(bytes);
                return;
            }
            transaction = std::mem::take(&mut link.transaction);
        }
        client.applied_offset += (transaction.len() + bytes.len()) as u64;
        self.repl.feed_bytes(&transaction);
        self.repl.feed_bytes(bytes);
    }

    /// The link to the primary broke: remember where we were, and connect again soon.
    pub fn replication_handle_primary_disconnection(&mut self, token: Token) {
        let client = &self.clients[token];
        let resumable =
            !client.is(ClientFlags::PRE_PSYNC) && self.repl.offset == client.applied_offset;
        let (offset, db, shaking_hands) =
            (client.applied_offset, client.db, client.is(ClientFlags::HANDSHAKE));
        let Some(link) = &mut self.repl.primary else { return };
        if link.rdb_token() == Some(token) {
            // Somebody closed it from outside.
            if let Some(channel) = &mut link.rdb_channel {
                channel.token = None;
            }
            self.cancel_replication_handshake();
            return;
        }
        if link.token != Some(token) {
            return;
        }
        link.token = None;
        link.kept_stream.clear();
        if shaking_hands {
            // Somebody closed it from outside.
            self.cancel_replication_handshake();
            return;
        }
        link.state = LinkState::Connect;
        link.stream_db = db;
        link.transaction = Vec::new();
        let resumable = resumable && !std::mem::take(&mut link.corrupt);
        self.repl.cached =
            resumable.then(|| CachedPrimary { id: self.repl.id.clone(), offset, stream_db: db });
        self.repl.down_since = self.now_seconds();
        self.repl.reconnect = true;
        self.notice("Connection with master lost.");
        self.trace_primary(Direction::Here, &format!("connection lost at offset {offset}"));
        if resumable {
            self.notice("Caching the disconnected master state.");
        }
    }

    /// The primary's stream can't be understood. What was applied of it may be wrong already: it is not resumed.
    pub fn primary_stream_is_corrupt(&mut self) {
        self.trace_primary(Direction::Here, "the stream can't be understood");
        self.warning("The stream from the master is corrupt: closing the link and discarding the cached master.");
        if let Some(link) = &mut self.repl.primary {
            link.corrupt = true;
        }
    }
}
