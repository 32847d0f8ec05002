//! Snapshots for replicas: who shares one, when it is made, and how it gets to them.

use super::super::trace::Direction;
use super::super::transfer::{Transfer, read_pipe};
use super::super::{Capabilities, Excluded, ReplState};
use crate::rdb::writer::RdbVersion;
use crate::server::client::{ClientFlags, Token};
use crate::server::persistence::{Contents, SaveTarget};
use crate::server::{Server, random_id};
use crate::sys::process;
use bytes::Bytes;
use std::fs::File;
use std::rc::Rc;

/// A diskless snapshot is read from its pipe no faster than the slowest replica takes it: it may lag by so much.
const PIPE_AHEAD: usize = 4 * 1024 * 1024;

impl Server {
    /// Finds a snapshot for a replica: one that is being made, or a new one, now or soon.
    pub(super) fn start_or_join_snapshot(&mut self, token: Token) {
        match self.persistence.child.as_ref().map(|c| c.target) {
            Some(SaveTarget::Disk) => {
                // Another replica's snapshot serves this one too, if the stream is kept from that snapshot on.
                let capable = self.clients[token]
                    .replica
                    .as_ref()
                    .map_or(Capabilities::empty(), |l| l.capabilities);
                let contents = self.contents_for(token);
                // One that wants no stream has none kept for it.
                let rdb_only = self.clients[token].is(ClientFlags::REPL_RDB_ONLY);
                let channel = self.is_rdb_channel(token);
                let made = self.persistence.child.as_ref().and_then(|child| child.version);
                let readable = made == Some(RdbVersion::V10) || made == Some(contents.version);
                let companion = self.repl.replicas.iter().copied().find(|&other| {
                    self.clients[other].replica.as_ref().is_some_and(|l| {
                        l.state == Some(ReplState::WaitBgsaveEnd)
                            && capable.contains(l.capabilities)
                            && self.can_follow_from(token, l.cursor)
                    }) && (rdb_only || !self.clients[other].is(ClientFlags::REPL_RDB_ONLY))
                        && !channel
                        && contents.excluded.is_empty()
                        && readable
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
            Some(SaveTarget::Replicas | SaveTarget::RdbChannels) => {
                self.notice("Current BGSAVE has socket target. Waiting for next BGSAVE for SYNC");
            }
            Some(SaveTarget::Aof { .. }) => {
                self.notice("No BGSAVE in progress, but another BG operation is active. BGSAVE for replication delayed");
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

    pub(super) fn waiting_for_start(&self) -> Vec<Token> {
        let waits = |t: &Token| self.replica_state(*t) == Some(ReplState::WaitBgsaveStart);
        self.repl.replicas.iter().copied().filter(waits).collect()
    }

    pub(super) fn diskless_delay_applies(&self, waiting: &[Token]) -> bool {
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

    /// Those that the next snapshot will be for: the first that waits, and all that want the same in the same way.
    fn next_receivers(&self) -> Vec<Token> {
        let mut waiting = self.waiting_for_start();
        if let Some(&first) = waiting.first() {
            let wish = |token| (self.is_rdb_channel(token), self.contents_for(token));
            waiting.retain(|&token| wish(token) == wish(first));
        }
        waiting
    }

    /// What a replica's snapshot is to have.
    fn contents_for(&self, token: Token) -> Contents {
        let own = self.all_contents();
        let Some(link) = &self.clients[token].replica else { return own };
        let version = match link.expiring_fields_version(own.version) {
            Some(version) if !link.excluded.contains(Excluded::DATA) => self.rdb_version(version),
            _ => RdbVersion::V10,
        };
        Contents { excluded: link.excluded, version }
    }

    /// Starts a snapshot for the replicas that wait for one, in a form that all of them understand.
    pub fn start_bgsave_for_replication(&mut self) {
        let mut waiting = self.next_receivers();
        let channels = waiting.first().is_some_and(|&token| self.is_rdb_channel(token));
        let all_eof = waiting.iter().all(|&t| {
            self.clients[t]
                .replica
                .as_ref()
                .is_some_and(|l| l.capabilities.contains(Capabilities::EOF))
        });
        let contents =
            waiting.first().map_or(self.all_contents(), |&token| self.contents_for(token));
        // A part of the data is never written in place of the snapshot file.
        let diskless = self.config.repl_diskless_sync || !contents.excluded.is_empty();
        let target = if channels {
            SaveTarget::RdbChannels
        } else if diskless && all_eof {
            SaveTarget::Replicas
        } else {
            SaveTarget::Disk
        };
        self.notice(&format!(
            "Starting BGSAVE for SYNC with target: {}{}",
            if target == SaveTarget::Disk { "disk" } else { "replicas sockets" },
            if channels { " using: dual-channel" } else { "" }
        ));
        if !self.repl.is_replica() {
            // The stream behind the snapshot must not rely on a database selected before it.
            self.repl.selected_db = None;
        }
        let offset = self.repl.offset;
        self.snapshot_eof_mark = random_id(&mut self.rng);
        if channels {
            waiting = self.open_rdb_channels(&waiting, offset);
            for &token in &waiting {
                self.replication_setup_slave_for_full_resync(token, offset);
            }
        }
        if let Err(error) = self.rdb_save_background(target, contents) {
            self.warning(&format!("BGSAVE for replication failed: {error}"));
            for token in waiting {
                let id = self.clients[token].id;
                self.repl.reservations.retain(|r| r.client != id);
                let client = &mut self.clients[token];
                client.flags.remove(ClientFlags::SLAVE);
                client.flags |= ClientFlags::CLOSE_AFTER_REPLY;
                self.repl.replicas.retain(|&t| t != token);
                self.add_reply_to(token, b"-ERR BGSAVE failed, replication can't continue\r\n");
            }
            return;
        }
        self.repl.file_for_replicas |= target == SaveTarget::Disk && self.config.rdb_del_sync_files;
        self.pause_after_fork();
        let by = self.persistence.child.as_ref().map_or(0, |child| child.pid);
        let how = match target {
            SaveTarget::Disk | SaveTarget::Aof { .. } => "a file",
            SaveTarget::Replicas => "a pipe",
            SaveTarget::RdbChannels => "this connection",
        };
        for &token in &waiting {
            let text =
                format!("snapshot at offset {offset} is being made by child {by}, into {how}");
            self.trace_replica(token, Direction::Here, &text);
        }
        if channels {
            return;
        }
        for &token in &waiting {
            self.replication_setup_slave_for_full_resync(token, offset);
        }
        if target == SaveTarget::Replicas {
            let head = format!("$EOF:{}\r\n", self.snapshot_eof_mark);
            for token in waiting {
                self.send_to_replica(token, head.clone());
            }
        }
    }

    /// Where a test wants to look at the process, it stops until it is told to go on.
    pub fn pause_after_fork(&self) {
        if self.repl.pause_after_fork {
            self.notice("Process is about to stop.");
            process::raise(libc::SIGSTOP);
            self.notice("Process has been continued.");
        }
    }

    /// Answers a replica that will get a snapshot: the stream behind it starts at `offset`.
    pub(super) fn replication_setup_slave_for_full_resync(&mut self, token: Token, offset: u64) {
        let pre_psync = self.clients[token].is(ClientFlags::PRE_PSYNC);
        let link = self.replica_link(token);
        link.state = Some(ReplState::WaitBgsaveEnd);
        link.cursor = offset;
        if !pre_psync {
            let answer = format!("+FULLRESYNC {} {offset}\r\n", self.repl.id);
            self.trace_replica(token, Direction::Sent, answer.trim_end());
            self.send_to_replica(token, answer);
        }
    }

    /// Answers a replica. It gets no replies but these: a command of its own must have none.
    pub(super) fn send_to_replica(&mut self, token: Token, text: String) {
        self.clients[token].out.push(Bytes::from(text));
        self.clients.queue_write(token);
    }

    /// The pipe of a diskless snapshot has bytes: they go to every replica that waits for them.
    pub fn read_snapshot_pipe(&mut self) {
        let receivers: Vec<Token> = self.snapshot_receivers();
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
            self.clients.queue_write(token);
        }
        if ended {
            let up = receivers.len();
            self.notice(&format!(
                "Diskless rdb transfer, done reading from pipe, {up} replicas still up."
            ));
            if let Some(child) = &mut self.persistence.child
                && let (Some(mut pipe), Some(registry)) = (child.pipe.take(), &self.registry)
            {
                let _ = registry.deregister(&mut pipe);
            }
            self.check_child();
        }
    }

    pub(super) fn snapshot_receivers(&self) -> Vec<Token> {
        let gets = |t: &Token| self.replica_state(*t) == Some(ReplState::WaitBgsaveEnd);
        self.repl.replicas.iter().copied().filter(gets).collect()
    }

    /// A child has ended: those who waited for its snapshot get it, or are let go.
    pub fn snapshot_done(&mut self, target: SaveTarget, ok: bool) {
        let receivers = self.snapshot_receivers();
        if target == SaveTarget::RdbChannels {
            self.rdb_channels_done(receivers, ok);
            self.start_next_snapshot(ok);
            return;
        }
        let file = (ok && target == SaveTarget::Disk && !receivers.is_empty()).then(|| {
            File::open(self.rdb_path()).and_then(|f| Ok((f.metadata()?.len(), Rc::new(f))))
        });
        for token in receivers {
            match (target, &file) {
                _ if !ok => {
                    self.trace_replica(token, Direction::Here, "making the snapshot failed");
                    self.warning("SYNC failed. BGSAVE child returned an error");
                    self.free_client(token);
                }
                (SaveTarget::Replicas | SaveTarget::RdbChannels, _) => {
                    let mark = Bytes::from(self.snapshot_eof_mark.clone());
                    self.clients[token].out.push(mark);
                    let name = self.replica_name(token);
                    self.notice(&format!("Streamed replica with replica {name} succeeded. Waiting for REPLCONF ACK from replica to enable streaming"));
                    self.trace_replica(
                        token,
                        Direction::Here,
                        "snapshot is sent; the stream waits for the replica's acknowledgement",
                    );
                    let link = self.replica_link(token);
                    link.start_on_ack = true;
                    self.put_replica_online(token);
                    self.clients.queue_write(token);
                }
                (SaveTarget::Disk, Some(Ok((size, file)))) => {
                    let transfer = Transfer::new(Rc::clone(file), *size);
                    self.trace_replica(
                        token,
                        Direction::Here,
                        &format!("snapshot is made: {size} bytes to send"),
                    );
                    let link = self.replica_link(token);
                    link.transfer = Some(transfer);
                    link.state = Some(ReplState::SendBulk);
                    self.clients.queue_write(token);
                }
                (SaveTarget::Disk, Some(Err(error))) => {
                    let text = format!("SYNC failed. Can't open/stat DB after BGSAVE: {error}");
                    self.warning(&text);
                    self.trace_end(token, &text);
                    self.free_client(token);
                }
                (SaveTarget::Disk, None) | (SaveTarget::Aof { .. }, _) => {}
            }
        }
        self.start_next_snapshot(ok);
    }

    /// Others may wait for a snapshot of their own.
    fn start_next_snapshot(&mut self, ok: bool) {
        let due = self.waiting_for_start();
        // After a failure the cron tries again, not at once.
        if ok && !due.is_empty() && !self.diskless_delay_applies(&due) {
            self.start_bgsave_for_replication();
        }
    }

    /// The snapshot is on its way or sent: the replica counts from now on.
    pub(super) fn put_replica_online(&mut self, token: Token) {
        let now = self.now_seconds();
        if self.clients[token].is(ClientFlags::REPL_RDB_ONLY) {
            self.trace_replica(token, Direction::Here, "snapshot is sent");
            self.replica_link(token).state = Some(ReplState::RdbTransmitted);
            self.notice("RDB transfer completed, rdb only replica should be disconnected asap");
            self.clients[token].flags |= ClientFlags::CLOSE_AFTER_REPLY;
            return;
        }
        let link = self.replica_link(token);
        link.state = Some(ReplState::Online);
        link.ack_time = now;
        self.trace_replica(token, Direction::Here, "online");
        self.refresh_good_replicas();
        let name = self.replica_name(token);
        self.notice(&format!("Synchronization with replica {name} succeeded"));
    }
}
