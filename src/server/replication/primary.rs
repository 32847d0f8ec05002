//! This server has replicas: `REPLCONF` and `PSYNC` come in, snapshots and the stream go out.
#![forbid(unsafe_code)]

use super::stream::Stream;
use super::transfer::{Transfer, read_pipe};
use super::{Capabilities, ReplState, ReplicaLink};
use crate::resp::error::{CommandError, CommandResult};
use crate::server::client::{Blocked, ClientFlags, Token};
use crate::server::log::Level;
use crate::server::persistence::SaveTarget;
use crate::server::{Server, random_id};
use bytes::Bytes;
use std::fs::File;
use std::io::{self, ErrorKind};
use std::rc::Rc;

/// A diskless snapshot is read from its pipe no faster than the slowest replica takes it: it may lag by so much.
const PIPE_AHEAD: usize = 4 * 1024 * 1024;
/// Bytes of the stream written to one replica before others have their turn.
const STREAM_PER_TURN: usize = 1024 * 1024;

impl Server {
    /// What is known of a replica, from its first `REPLCONF` on.
    pub fn replica_link(&mut self, token: Token) -> &mut ReplicaLink {
        self.clients[token].replica.get_or_insert_default()
    }

    fn replica_state(&self, token: Token) -> Option<ReplState> {
        self.clients.get(token)?.replica.as_ref()?.state
    }

    /// The name that the log calls a replica by: the address it wants, the port it listens on.
    pub fn replica_name(&self, token: Token) -> String {
        let client = &self.clients[token];
        let peer = client.conn.peer(&self.unix_path());
        let Some(link) = &client.replica else { return peer };
        let host = if link.ip_address.is_empty() {
            client.conn.peer_ip().map_or_else(|| peer.clone(), |ip| ip.to_string())
        } else {
            link.ip_address.clone()
        };
        if link.listening_port == 0 {
            return format!("client id #{}", client.id);
        }
        if host.contains(':') {
            format!("[{host}]:{}", link.listening_port)
        } else {
            format!("{host}:{}", link.listening_port)
        }
    }

    /// `PSYNC` (`id` and `offset` as the replica sent them) or `SYNC` (`None`) of the current client.
    pub fn sync_command(&mut self, request: Option<(&[u8], i64)>) -> CommandResult {
        let token = self.current.expect("a command has a client");
        if self.clients[token].is(ClientFlags::SLAVE) {
            // The connection is a replica already: whatever is asked again has been answered.
            return Ok(());
        }
        if self.repl.is_replica() && !self.repl.is_connected_to_primary() {
            return Err(CommandError::text(
                "NOMASTERLINK Can't SYNC while not connected with my master",
            ));
        }
        if !self.reply.is_empty() || !self.clients[token].out.is_empty() {
            return Err(CommandError::err("SYNC and PSYNC are invalid with pending output"));
        }
        let name = self.replica_name(token);
        self.notice(&format!("Replica {name} asks for synchronization"));
        match request {
            Some((id, offset)) => {
                if self.master_try_partial_resynchronization(token, id, offset) {
                    self.stats.sync_partial_ok += 1;
                    return Ok(());
                }
                if id != b"?" {
                    self.stats.sync_partial_err += 1;
                }
            }
            None => self.clients[token].flags |= ClientFlags::PRE_PSYNC,
        }
        self.stats.sync_full += 1;
        self.replication_create_slave(token, ReplState::WaitBgsaveStart);
        self.start_or_join_snapshot(token);
        Ok(())
    }

    /// Marks the connection: from here on this client is a replica.
    fn replication_create_slave(&mut self, token: Token, state: ReplState) {
        let now = self.now_seconds();
        self.clients[token].flags |= ClientFlags::SLAVE;
        let link = self.replica_link(token);
        link.state = Some(state);
        link.ack_time = now;
        self.repl.replicas.push(token);
        if self.repl.stream.is_none() {
            if !self.repl.is_replica() {
                // What was written before the first replica came was not kept: a new history starts here.
                let id = random_id(&mut self.rng);
                self.repl.change_id(id);
            }
            self.create_replication_stream();
            let ids = format!(
                "Replication backlog created, my new replication IDs are '{}' and '{}'",
                self.repl.id, self.repl.id2
            );
            self.notice(&ids);
        }
    }

    pub fn create_replication_stream(&mut self) {
        self.repl.stream = Some(Stream::new(self.repl.offset, self.config.repl_backlog_size));
    }

    /// Continues where the replica stopped, if the history is the same and the backlog still holds what it misses.
    fn master_try_partial_resynchronization(
        &mut self,
        token: Token,
        id: &[u8],
        offset: i64,
    ) -> bool {
        let name = self.replica_name(token);
        let repl = &self.repl;
        let wanted = u64::try_from(offset).unwrap_or(0);
        let same = id.eq_ignore_ascii_case(repl.id.as_bytes());
        let before = id.eq_ignore_ascii_case(repl.id2.as_bytes())
            && repl.second_offset.is_some_and(|limit| wanted <= limit);
        if !same && !before {
            if id != b"?" {
                let shown = id.escape_ascii();
                let text = if id.eq_ignore_ascii_case(repl.id2.as_bytes()) {
                    format!(
                        "Partial resynchronization not accepted: Requested offset for second ID was {offset}, but I can reply up to {}",
                        repl.second_offset.unwrap_or(0)
                    )
                } else {
                    format!(
                        "Partial resynchronization not accepted: Replication ID mismatch (Replica asked for '{shown}', my replication IDs are '{}' and '{}')",
                        repl.id, repl.id2
                    )
                };
                self.notice(&text);
            } else {
                self.notice(&format!("Full resync requested by replica {name}"));
            }
            return false;
        }
        // Offsets on the wire count from 1; the stream's from 0.
        let from = wanted.wrapping_sub(1);
        let kept = self.repl.stream.as_ref().is_some_and(|s| wanted > 0 && s.has(from));
        if !kept {
            self.notice(&format!("Unable to partial resync with replica {name} for lack of backlog (Replica request was: {offset})."));
            return false;
        }
        self.replication_create_slave(token, ReplState::Online);
        let link = self.replica_link(token);
        link.cursor = from;
        let new_id = link.capabilities.contains(Capabilities::PSYNC2);
        // Without it the replica could not follow a change of history, and needs not know of one.
        let answer = if new_id {
            format!("+CONTINUE {}\r\n", self.repl.id)
        } else {
            "+CONTINUE\r\n".to_string()
        };
        self.send_to_replica(token, answer);
        self.repl.no_replicas_since = 0;
        let sent = self.repl.offset - from;
        self.notice(&format!("Partial resynchronization request from {name} accepted. Sending {sent} bytes of backlog starting from offset {offset}."));
        self.refresh_good_replicas();
        true
    }

    /// Finds a snapshot for a replica: one that is being made, or a new one, now or soon.
    fn start_or_join_snapshot(&mut self, token: Token) {
        match self.persistence.child.as_ref().map(|c| c.target) {
            Some(SaveTarget::Disk) => {
                // Another replica's snapshot serves this one too, if the stream is kept from that snapshot on.
                let capable = self.clients[token]
                    .replica
                    .as_ref()
                    .map_or(Capabilities::empty(), |l| l.capabilities);
                let companion = self.repl.replicas.iter().copied().find(|&other| {
                    self.clients[other].replica.as_ref().is_some_and(|l| {
                        l.state == Some(ReplState::WaitBgsaveEnd)
                            && capable.contains(l.capabilities)
                    })
                });
                match companion {
                    Some(other) => {
                        let offset = self.replica_link(other).cursor;
                        self.replication_setup_slave_for_full_resync(token, offset);
                        self.notice("Waiting for end of BGSAVE for SYNC");
                    }
                    None => self.notice("Can't attach the replica to the current BGSAVE. Waiting for next BGSAVE for SYNC"),
                }
            }
            Some(SaveTarget::Replicas) => {
                self.notice("Current BGSAVE has socket target. Waiting for next BGSAVE for SYNC");
            }
            None => {
                let eof = self.replica_link(token).capabilities.contains(Capabilities::EOF);
                if self.config.repl_diskless_sync && eof && self.config.repl_diskless_sync_delay > 0
                {
                    self.notice("Delay next BGSAVE for diskless SYNC");
                } else {
                    self.start_bgsave_for_replication();
                }
            }
        }
    }

    fn waiting_for_start(&self) -> Vec<Token> {
        let waits = |t: &Token| self.replica_state(*t) == Some(ReplState::WaitBgsaveStart);
        self.repl.replicas.iter().copied().filter(waits).collect()
    }

    /// Starts a snapshot for all replicas that wait for one, in a form that all of them understand.
    pub fn start_bgsave_for_replication(&mut self) {
        let waiting = self.waiting_for_start();
        let all_eof = waiting.iter().all(|&t| {
            self.clients[t]
                .replica
                .as_ref()
                .is_some_and(|l| l.capabilities.contains(Capabilities::EOF))
        });
        let target = if self.config.repl_diskless_sync && all_eof {
            SaveTarget::Replicas
        } else {
            SaveTarget::Disk
        };
        self.notice(&format!(
            "Starting BGSAVE for SYNC with target: {}",
            if target == SaveTarget::Disk { "disk" } else { "replicas sockets" }
        ));
        if !self.repl.is_replica() {
            // The stream behind the snapshot must not rely on a database selected before it.
            self.repl.selected_db = None;
        }
        let offset = self.repl.offset;
        if let Err(error) = self.rdb_save_background(target) {
            self.warning(&format!("BGSAVE for replication failed: {error}"));
            for token in waiting {
                let client = &mut self.clients[token];
                client.flags.remove(ClientFlags::SLAVE);
                client.flags |= ClientFlags::CLOSE_AFTER_REPLY;
                self.repl.replicas.retain(|&t| t != token);
                self.add_reply_to(token, b"-ERR BGSAVE failed, replication can't continue\r\n");
            }
            return;
        }
        for &token in &waiting {
            self.replication_setup_slave_for_full_resync(token, offset);
        }
        if target == SaveTarget::Replicas {
            self.snapshot_eof_mark = random_id(&mut self.rng);
            let head = format!("$EOF:{}\r\n", self.snapshot_eof_mark);
            for token in waiting {
                self.send_to_replica(token, head.clone());
            }
        }
    }

    /// Answers a replica that will get a snapshot: the stream behind it starts at `offset`.
    fn replication_setup_slave_for_full_resync(&mut self, token: Token, offset: u64) {
        let pre_psync = self.clients[token].is(ClientFlags::PRE_PSYNC);
        let link = self.replica_link(token);
        link.state = Some(ReplState::WaitBgsaveEnd);
        link.cursor = offset;
        if !pre_psync {
            let answer = format!("+FULLRESYNC {} {offset}\r\n", self.repl.id);
            self.send_to_replica(token, answer);
        }
    }

    /// Answers a replica. It gets no replies but these: a command of its own must have none.
    fn send_to_replica(&mut self, token: Token, text: String) {
        self.clients[token].out.push(Bytes::from(text));
        self.queue_write(token);
    }

    /// The pipe of a diskless snapshot has bytes: they go to every replica that waits for them.
    pub fn read_snapshot_pipe(&mut self) {
        let receivers: Vec<Token> = self.snapshot_receivers();
        if receivers.is_empty()
            && self.persistence.child.as_ref().is_some_and(|c| c.target == SaveTarget::Replicas)
        {
            self.notice("Diskless rdb transfer, last replica dropped, killing fork child.");
            self.kill_save_child();
            return;
        }
        let slowest = receivers.iter().map(|&t| self.clients[t].out.len()).max().unwrap_or(0);
        if slowest > PIPE_AHEAD {
            return;
        }
        let Some(pipe) = self.persistence.child.as_mut().and_then(|c| c.pipe.as_mut()) else {
            return;
        };
        let (bytes, ended) = match read_pipe(pipe, PIPE_AHEAD / 4) {
            Ok(read) => read,
            Err(error) => {
                self.warning(&format!(
                    "Diskless rdb transfer, read error sending DB to replicas: {error}"
                ));
                self.kill_save_child();
                return;
            }
        };
        let bytes = Bytes::from(bytes);
        self.stats.net_repl_out += (bytes.len() * receivers.len()) as u64;
        for &token in &receivers {
            let now = self.now_seconds();
            self.clients[token].out.push(bytes.clone());
            self.clients[token].last_interaction = now;
            self.queue_write(token);
        }
        if ended {
            if let Some(child) = &mut self.persistence.child
                && let (Some(mut pipe), Some(registry)) = (child.pipe.take(), &self.registry)
            {
                let _ = registry.deregister(&mut pipe);
            }
            self.check_child();
        }
    }

    fn snapshot_receivers(&self) -> Vec<Token> {
        let gets = |t: &Token| self.replica_state(*t) == Some(ReplState::WaitBgsaveEnd);
        self.repl.replicas.iter().copied().filter(gets).collect()
    }

    /// A child has ended: those who waited for its snapshot get it, or are let go.
    pub fn snapshot_done(&mut self, target: SaveTarget, ok: bool) {
        let receivers = self.snapshot_receivers();
        let file = (ok && target == SaveTarget::Disk && !receivers.is_empty()).then(|| {
            File::open(self.rdb_path()).and_then(|f| Ok((f.metadata()?.len(), Rc::new(f))))
        });
        for token in receivers {
            match (target, &file) {
                _ if !ok => {
                    self.warning("SYNC failed. BGSAVE child returned an error");
                    self.free_client(token);
                }
                (SaveTarget::Replicas, _) => {
                    let mark = Bytes::from(self.snapshot_eof_mark.clone());
                    self.clients[token].out.push(mark);
                    let name = self.replica_name(token);
                    self.notice(&format!("Streamed replica with replica {name} succeeded. Waiting for REPLCONF ACK from replica to enable streaming"));
                    let link = self.replica_link(token);
                    link.start_on_ack = true;
                    self.put_replica_online(token);
                    self.queue_write(token);
                }
                (SaveTarget::Disk, Some(Ok((size, file)))) => {
                    let transfer = Transfer::new(Rc::clone(file), *size);
                    let link = self.replica_link(token);
                    link.transfer = Some(transfer);
                    link.state = Some(ReplState::SendBulk);
                    self.queue_write(token);
                }
                (SaveTarget::Disk, Some(Err(error))) => {
                    let text = format!("SYNC failed. Can't open/stat DB after BGSAVE: {error}");
                    self.warning(&text);
                    self.free_client(token);
                }
                (SaveTarget::Disk, None) => {}
            }
        }
        let due = self.waiting_for_start();
        // After a failure the cron tries again, not at once.
        if ok && !due.is_empty() && !self.diskless_delay_applies(&due) {
            self.start_bgsave_for_replication();
        }
    }

    /// The snapshot is on its way or sent: the replica counts from now on.
    fn put_replica_online(&mut self, token: Token) {
        let now = self.now_seconds();
        if self.clients[token].is(ClientFlags::REPL_RDB_ONLY) {
            self.replica_link(token).state = Some(ReplState::RdbTransmitted);
            self.notice("RDB transfer completed, rdb only replica should be disconnected asap");
            self.clients[token].flags |= ClientFlags::CLOSE_AFTER_REPLY;
            return;
        }
        let link = self.replica_link(token);
        link.state = Some(ReplState::Online);
        link.ack_time = now;
        self.refresh_good_replicas();
        let name = self.replica_name(token);
        self.notice(&format!("Synchronization with replica {name} succeeded"));
    }

    /// Writes to a replica whose ordinary output is empty: its snapshot, then the stream.
    pub fn write_to_replica(&mut self, token: Token) {
        if let Err(error) = self.try_write_to_replica(token)
            && error.kind() != ErrorKind::WouldBlock
        {
            let name = self.replica_name(token);
            self.log(Level::Verbose, &format!("Write error sending to replica {name}: {error}"));
            self.free_client(token);
        }
    }

    fn try_write_to_replica(&mut self, token: Token) -> io::Result<()> {
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
                self.queue_write(token);
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
        if link.state != Some(ReplState::Online) || link.start_on_ack {
            return Ok(());
        }
        let Some(stream) = &self.repl.stream else { return Ok(()) };
        let mut budget = STREAM_PER_TURN;
        while link.cursor < stream.end() {
            if budget == 0 {
                self.queue_write(token);
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
        match (&self.clients[token].replica, &self.repl.stream) {
            (Some(link), Some(stream)) if matches!(link.state, Some(s) if s != ReplState::WaitBgsaveStart && s != ReplState::RdbTransmitted) => {
                (stream.end() - link.cursor) as usize
            }
            _ => 0,
        }
    }

    /// Before the loop sleeps: new bytes of the stream go out, and old ones that nobody needs are dropped.
    pub fn feed_replicas(&mut self) {
        if self.repl.replicas.is_empty() && self.repl.stream.is_none() {
            return;
        }
        if self.repl.get_ack {
            self.repl.get_ack = false;
            if !self.repl.is_replica() {
                self.feed_without_select(&[b"REPLCONF", b"GETACK", b"*"]);
            }
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
        let waiting = self.repl.replicas.iter().filter_map(|&t| {
            let link = self.clients.get(t)?.replica.as_ref()?;
            (link.state != Some(ReplState::WaitBgsaveStart)).then_some(link.cursor)
        });
        let needed = waiting.min().unwrap_or(u64::MAX);
        if let Some(stream) = &mut self.repl.stream {
            let backlog = stream.end().saturating_sub(self.config.repl_backlog_size);
            stream.trim(backlog.min(needed));
        }
    }

    /// `REPLCONF ACK`: how far a replica has got.
    pub fn replica_acknowledged(&mut self, token: Token, offset: u64, aof_offset: Option<u64>) {
        let now = self.now_seconds();
        let link = self.replica_link(token);
        link.ack_offset = link.ack_offset.max(offset);
        if let Some(offset) = aof_offset {
            link.aof_ack_offset = link.aof_ack_offset.max(offset);
        }
        link.ack_time = now;
        if link.start_on_ack && link.state == Some(ReplState::Online) {
            link.start_on_ack = false;
            self.queue_write(token);
        }
        self.refresh_good_replicas();
    }

    /// How many replicas have acknowledged an offset.
    pub fn replicas_at(&self, offset: u64) -> usize {
        let links =
            self.repl.replicas.iter().filter_map(|&t| self.clients.get(t)?.replica.as_ref());
        links.filter(|l| l.state == Some(ReplState::Online) && l.ack_offset >= offset).count()
    }

    /// Lets go clients in `WAIT` whose replicas have acknowledged.
    pub fn process_clients_waiting_replicas(&mut self) {
        for noted in self.blocked.clone() {
            let Some(token) = self.still(noted) else { continue };
            let Some(blocked) = &self.clients[token].blocked else { continue };
            let Blocked::Replicas { wanted, offset } = blocked.on else { continue };
            let reached = self.replicas_at(offset);
            if reached >= wanted {
                self.reply_to(token, |reply| reply.int(reached as i64));
                self.unblock_client(token);
            }
        }
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

    /// A replica sent a command that has an answer: there is no place for one in the stream.
    pub fn replica_must_not_be_answered(&mut self, token: Token) {
        let command = self.clients[token].last_command.unwrap_or("<unknown>");
        let info = self.client_info(token);
        self.warning(&format!(
            "Replica generated a reply to command '{command}', disconnecting it: {info}"
        ));
        self.close_later(token);
    }

    /// A client goes: if it was a replica, so does what was kept for it.
    pub fn replication_forget_client(&mut self, token: Token) {
        let client = &self.clients[token];
        if !client.is(ClientFlags::SLAVE) {
            return;
        }
        let name = self.replica_name(token);
        self.repl.replicas.retain(|&t| t != token);
        self.notice(&format!("Connection with replica {name} lost."));
        if self.repl.replicas.is_empty() {
            self.repl.no_replicas_since = self.now_seconds();
        }
        self.refresh_good_replicas();
    }

    /// Frees every replica: their history has ended.
    pub fn disconnect_replicas(&mut self) {
        for token in self.repl.replicas.clone() {
            if self.current == Some(token) {
                continue;
            }
            self.free_client(token);
        }
    }

    fn diskless_delay_applies(&self, waiting: &[Token]) -> bool {
        let delay = i64::from(self.config.repl_diskless_sync_delay);
        let full = self.config.repl_diskless_sync_max_replicas as usize;
        if !self.config.repl_diskless_sync || (full > 0 && waiting.len() >= full) {
            return false;
        }
        let links = || waiting.iter().filter_map(|&t| self.clients[t].replica.as_ref());
        if !links().all(|l| l.capabilities.contains(Capabilities::EOF)) {
            return false;
        }
        let longest = links().map(|l| self.now_seconds() - l.ack_time).max().unwrap_or(0);
        longest < delay
    }

    /// Once a second: pings, time-outs, delayed snapshots, the backlog's end.
    pub fn primary_cron(&mut self) {
        let period = u64::from(self.config.repl_ping_replica_period).max(1);
        let streaming =
            self.repl.replicas.iter().any(|&t| self.replica_state(t) == Some(ReplState::Online));
        if self.repl.cron_loops.is_multiple_of(period) && streaming && !self.repl.is_replica() {
            self.feed_without_select(&[b"PING"]);
        }
        for token in self.repl.replicas.clone() {
            let state = self.replica_state(token);
            let on_disk =
                self.persistence.child.as_ref().is_none_or(|c| c.target == SaveTarget::Disk);
            let before_payload = state == Some(ReplState::WaitBgsaveStart)
                || (state == Some(ReplState::WaitBgsaveEnd) && on_disk);
            if before_payload && self.clients[token].out.is_empty() {
                // A newline says that we are alive. Best effort: it has no place in any buffer.
                let _ = self.clients[token].conn.write(b"\n");
            }
            self.check_replica_timeout(token, state);
        }
        let waiting = self.waiting_for_start();
        if !waiting.is_empty()
            && self.persistence.child.is_none()
            && !self.diskless_delay_applies(&waiting)
        {
            self.start_bgsave_for_replication();
        }
        self.refresh_good_replicas();
        self.expire_backlog();
    }

    /// Appends a command that belongs to no database.
    fn feed_without_select(&mut self, args: &[&[u8]]) {
        let selected = self.repl.selected_db.replace(0);
        self.repl.feed(0, args);
        self.repl.selected_db = selected;
    }

    fn check_replica_timeout(&mut self, token: Token, state: Option<ReplState>) {
        let Some(client) = self.clients.get(token) else { return };
        let Some(link) = &client.replica else { return };
        let timeout = i64::from(self.config.repl_timeout);
        let silent = match state {
            Some(ReplState::Online) if !client.is(ClientFlags::PRE_PSYNC) => {
                self.now_seconds() - link.ack_time
            }
            Some(ReplState::WaitBgsaveEnd)
                if self
                    .persistence
                    .child
                    .as_ref()
                    .is_some_and(|c| c.target == SaveTarget::Replicas)
                    && !client.out.is_empty() =>
            {
                self.now_seconds() - client.last_interaction
            }
            _ => 0,
        };
        if silent > timeout {
            let name = self.replica_name(token);
            let phase =
                if state == Some(ReplState::Online) { "streaming sync" } else { "full sync" };
            self.warning(&format!("Disconnecting timedout replica ({phase}): {name}"));
            self.free_client(token);
        }
    }

    /// Without replicas for long enough, the backlog is freed, and the history with it.
    fn expire_backlog(&mut self) {
        let ttl = self.config.repl_backlog_ttl as i64;
        if !self.repl.replicas.is_empty()
            || ttl == 0
            || self.repl.stream.is_none()
            || self.repl.is_replica()
        {
            return;
        }
        if self.now_seconds() - self.repl.no_replicas_since > ttl {
            let id = random_id(&mut self.rng);
            self.repl.change_id(id);
            self.repl.stream = None;
            self.repl.selected_db = None;
            self.notice(&format!(
                "Replication backlog freed after {ttl} seconds without connected replicas."
            ));
        }
    }
}
