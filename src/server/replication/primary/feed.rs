//! The stream goes out to the replicas, and they say how far they have got.

use super::super::trace::Direction;
use super::super::{ReplState, ReplicaLink};
use crate::rdb::writer::RdbVersion;
use crate::resp::error::{CommandError, CommandResult};
use crate::resp::reply::Reply;
use crate::server::Server;
use crate::server::client::{Blocked, ClientFlags, Token};
use crate::server::log::Level;
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

impl Server {
    /// Writes to a replica whose ordinary output is empty: its snapshot, then the stream.
    pub fn write_to_replica(&mut self, token: Token) {
        if let Err(error) = self.try_write_to_replica(token)
            && error.kind() != ErrorKind::WouldBlock
        {
            let name = self.replica_name(token);
            self.log(Level::Verbose, &format!("Write error sending to replica {name}: {error}"));
            self.trace_end(token, &format!("writing failed: {error}"));
            self.free_client(token);
        }
    }

    pub(super) fn try_write_to_replica(&mut self, token: Token) -> io::Result<()> {
        let client = &mut self.clients[token];
        let Some(link) = client.replica.as_deref_mut() else { return Ok(()) };
        if let Some(transfer) = &mut link.transfer {
            for _ in 0..STREAM_PER_TURN / (64 * 1024) {
                let bytes = transfer.pending()?;
                if bytes.is_empty() {
                    link.transfer = None;
                    break;
                }
                let n = client.conn.write(bytes)?;
                transfer.sent(n);
                client.net_out += n as u64;
                self.stats.net_repl_out += n as u64;
            }
            if link.transfer.is_some() {
                self.clients.queue_write(token);
                return Ok(());
            }
            self.put_replica_online(token);
            if self.clients[token].is(ClientFlags::CLOSE_AFTER_REPLY) {
                self.free_client(token);
                return Ok(());
            }
        }
        let client = &mut self.clients[token];
        let Some(link) = client.replica.as_deref_mut() else { return Ok(()) };
        if !matches!(link.state, Some(ReplState::Online | ReplState::BgTransfer))
            || link.start_on_ack
        {
            return Ok(());
        }
        let Some(stream) = &self.repl.stream else { return Ok(()) };
        let mut budget = STREAM_PER_TURN;
        while link.cursor < stream.end() {
            if budget == 0 {
                self.clients.queue_write(token);
                return Ok(());
            }
            let n = client.conn.write_vectored(&stream.slices(link.cursor))?;
            link.cursor += n as u64;
            client.net_out += n as u64;
            self.stats.net_repl_out += n as u64;
            budget = budget.saturating_sub(n.max(1));
        }
        Ok(())
    }

    /// Bytes of the stream that a replica has not been sent.
    pub fn replica_lag_bytes(&self, token: Token) -> usize {
        match (self.stream_cursor(token), &self.repl.stream) {
            (Some(cursor), Some(stream)) => (stream.end() - cursor) as usize,
            _ => 0,
        }
    }

    /// From where on the stream is kept for a replica; `None`: nothing is kept for it.
    fn stream_cursor(&self, token: Token) -> Option<u64> {
        let client = self.clients.get(token)?;
        let link = client.replica.as_ref()?;
        let waits = matches!(link.state?, ReplState::WaitBgsaveStart | ReplState::RdbTransmitted);
        (!waits && !client.is(ClientFlags::REPL_RDB_ONLY)).then_some(link.cursor)
    }

    /// Before the loop sleeps: new bytes of the stream go out, and old ones that nobody needs are dropped.
    pub fn feed_replicas(&mut self) {
        let fields_expire = std::mem::take(&mut self.ks.changes.fields_expire);
        if self.repl.replicas.is_empty() && self.repl.stream.is_none() {
            return;
        }
        if fields_expire {
            self.part_with_older_replicas();
        }
        self.check_reservations();
        // While writes are paused the offset stands still; who waits then asks by itself.
        if self.repl.get_ack && self.pause.kind(self.ks.now_ms).is_none() {
            self.repl.get_ack = false;
            self.request_acks();
        }
        for token in self.repl.replicas.clone() {
            if self.clients.get(token).is_none_or(|c| c.is(ClientFlags::CLOSE_ASAP)) {
                continue;
            }
            if self.replica_lag_bytes(token) > 0 && self.clients[token].out.is_empty() {
                self.write_to_replica(token);
            }
            if self.clients.contains(token) {
                self.check_output_limit(token);
            }
        }
        self.trim_stream();
    }

    /// Fields have got an expiry, and the stream says so: those that would not understand it are let go.
    fn part_with_older_replicas(&mut self) {
        self.repl.fields_expire_up_to = self.repl.offset;
        for token in self.repl.replicas.clone() {
            if self.knows_expiring_fields(token) {
                continue;
            }
            let name = self.replica_name(token);
            self.warning(&format!("Disconnecting replica {name}: {EXPIRING_FIELDS}"));
            self.trace_end(token, EXPIRING_FIELDS);
            self.free_client(token);
        }
    }

    fn knows_expiring_fields(&self, token: Token) -> bool {
        let link = self.clients[token].replica.as_ref();
        link.is_none_or(|link| link.expiring_fields_version(RdbVersion::V12).is_some())
    }

    /// Whether a replica understands the stream from an offset on.
    pub(super) fn can_follow_from(&self, token: Token, offset: u64) -> bool {
        offset >= self.repl.fields_expire_up_to || self.knows_expiring_fields(token)
    }

    /// Whether a replica understands what there is.
    ///
    /// # Errors
    /// If there are hashes whose fields expire, and it does not know such.
    pub(super) fn check_older_replica(&mut self, token: Token) -> CommandResult {
        if self.knows_expiring_fields(token) || !self.ks.has_expiring_fields() {
            return Ok(());
        }
        let name = self.replica_name(token);
        self.warning(&format!("Refusing synchronization to replica {name}: {EXPIRING_FIELDS}"));
        Err(CommandError::err(EXPIRING_FIELDS))
    }

    /// Asks the replicas how far they are.
    pub fn request_acks(&mut self) {
        if !self.repl.is_replica() {
            self.feed_without_select(&[b"REPLCONF", b"GETACK", b"*"]);
        }
    }

    /// Drops the part of the stream that neither the backlog nor a replica needs.
    pub fn trim_stream(&mut self) {
        let cursors = self.repl.replicas.iter().filter_map(|&token| self.stream_cursor(token));
        let reserved = self.repl.reservations.iter().map(|kept| kept.cursor);
        let needed = cursors.chain(reserved).min().unwrap_or(u64::MAX);
        if let Some(stream) = &mut self.repl.stream {
            let backlog = stream.end().saturating_sub(self.config.repl_backlog_size);
            stream.trim(backlog.min(needed));
        }
    }

    /// Appends a command that belongs to no database.
    pub(super) fn feed_without_select(&mut self, args: &[&[u8]]) {
        let selected = self.repl.selected_db.replace(0);
        self.repl.feed(0, args);
        self.repl.selected_db = selected;
    }

    /// `REPLCONF ACK`: how far a replica has got.
    pub fn replica_acknowledged(&mut self, token: Token, offset: u64, aof_offset: Option<u64>) {
        let now = self.now_seconds();
        let link = self.replica_link(token);
        link.ack_offset = link.ack_offset.max(offset);
        link.acknowledged = true;
        link.aof_ack_offset = link.aof_ack_offset.max(aof_offset);
        link.ack_time = now;
        if link.start_on_ack && link.state == Some(ReplState::Online) {
            link.start_on_ack = false;
            self.trace_replica(token, Direction::Received, &format!("REPLCONF ACK {offset}"));
            self.clients.queue_write(token);
        }
        if self.replica_state(token) == Some(ReplState::BgTransfer) {
            self.trace_replica(token, Direction::Received, &format!("REPLCONF ACK {offset}"));
            self.put_replica_online(token);
        }
        self.refresh_good_replicas();
    }

    /// How many replicas have acknowledged an offset; without one, how many there are.
    pub fn replicas_at(&self, offset: Option<u64>) -> usize {
        let links =
            self.repl.replicas.iter().filter_map(|&t| self.clients.get(t)?.replica.as_ref());
        let has_it = |link: &ReplicaLink| match offset {
            Some(offset) => link.has_applied(offset),
            None => link.state == Some(ReplState::Online),
        };
        links.filter(|link| has_it(link)).count()
    }

    /// Lets go clients in `WAIT` whose replicas have acknowledged.
    pub fn process_clients_waiting_replicas(&mut self) {
        for noted in self.clients.waiting().to_vec() {
            let Some(token) = self.clients.find(noted) else { continue };
            let Some(blocked) = &self.clients[token].blocked else { continue };
            match blocked.on {
                Blocked::Replicas { wanted, offset } => {
                    let reached = self.replicas_at(offset);
                    if reached >= wanted {
                        self.reply_to(token, |reply| reply.int(reached as i64));
                        self.unblock_client(token);
                    }
                }
                Blocked::Durable { local, replicas, offset } => {
                    let reached = self.durable_at(offset);
                    if local && !self.config.appendonly {
                        self.unblock_client_on_error(token, &WAITAOF_WITHOUT_AOF);
                    } else if reached.local >= local && reached.replicas >= replicas {
                        self.reply_to(token, |reply| reached.reply(reply));
                        self.unblock_client(token);
                    }
                }
                _ => {}
            }
        }
    }

    /// Where an offset is durable.
    pub fn durable_at(&self, offset: Option<u64>) -> DurableAt {
        let links =
            self.repl.replicas.iter().filter_map(|&t| self.clients.get(t)?.replica.as_ref());
        let has_it = |link: &ReplicaLink| {
            link.state == Some(ReplState::Online)
                && offset.is_none_or(|offset| link.aof_ack_offset.is_some_and(|d| d >= offset))
        };
        let local = self.aof.fsynced_offset.is_some_and(|durable| durable >= offset.unwrap_or(0));
        DurableAt { local, replicas: links.filter(|link| has_it(link)).count() }
    }

    /// Counts the replicas that are online and answered lately.
    pub fn refresh_good_replicas(&mut self) {
        let now = self.now_seconds();
        let max_lag = i64::from(self.config.min_replicas_max_lag);
        let links =
            self.repl.replicas.iter().filter_map(|&t| self.clients.get(t)?.replica.as_ref());
        let good = links
            .filter(|l| l.state == Some(ReplState::Online) && now - l.ack_time <= max_lag)
            .count();
        self.repl.good_replicas = good;
    }

    pub fn enough_good_replicas(&self) -> bool {
        self.repl.is_replica()
            || self.config.min_replicas_max_lag == 0
            || self.repl.good_replicas >= self.config.min_replicas_to_write as usize
    }
}
