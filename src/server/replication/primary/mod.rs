//! This server has replicas: `REPLCONF` and `PSYNC` come in, snapshots and the stream go out.
//!
//! * [`psync`]: what a replica asks for, and whether it may go on where it stopped.
//! * [`snapshot`]: a snapshot for those who may not.
//! * [`dual_channel`]: that snapshot on a connection of its own, where both sides can.
//! * [`feed`]: the stream to those who have one, and what they say about how far they are.
//!
//! Here: who a replica is, and what happens to it once a second.

pub mod dual_channel;
mod feed;
pub mod psync;
mod snapshot;

pub use feed::{DurableAt, WAITAOF_WITHOUT_AOF};

use super::trace::Direction;
use super::{ReplState, ReplicaLink};
use crate::server::client::{ClientFlags, Token};
use crate::server::persistence::SaveTarget;
use crate::server::{Server, random_id};

impl Server {
    /// What is known of a replica, from its first `REPLCONF` on.
    pub fn replica_link(&mut self, token: Token) -> &mut ReplicaLink {
        self.clients[token].replica.get_or_insert_default()
    }

    pub(super) fn replica_state(&self, token: Token) -> Option<ReplState> {
        self.clients.get(token)?.replica.as_ref()?.state
    }

    /// The name that the log calls a replica by: the address it wants, the port it listens on.
    pub fn replica_name(&self, token: Token) -> String {
        let client = &self.clients[token];
        let peer = client.conn.peer(&self.unix_path());
        let Some(link) = &client.replica else { return peer };
        let host = match client.conn.peer_ip() {
            _ if !link.ip_address.is_empty() => link.ip_address.clone(),
            Some(ip) => ip.to_string(),
            None => return format!("client id #{}", client.id),
        };
        if link.listening_port == 0 {
            format!("{host}:<unknown-replica-port>")
        } else if host.contains(':') {
            format!("[{host}]:{}", link.listening_port)
        } else {
            format!("{host}:{}", link.listening_port)
        }
    }

    /// A replica sent a command that has an answer: there is no place for one in the stream.
    pub fn replica_must_not_be_answered(&mut self, token: Token) {
        let command = self.clients[token].last_command.unwrap_or("<unknown>");
        let info = self.client_info(token);
        self.warning(&format!(
            "Replica generated a reply to command '{command}', disconnecting it: {info}"
        ));
        self.trace_end(token, &format!("a reply to '{command}' would disturb the stream"));
        self.clients.close_later(token);
    }

    /// A client goes: if it was a replica, so does what was kept for it.
    pub fn replication_forget_client(&mut self, token: Token) {
        self.trace_replica_gone(token);
        let client = &self.clients[token];
        if !client.is(ClientFlags::SLAVE) {
            return;
        }
        let name = self.replica_name(token);
        let waited = self.replica_state(token) == Some(ReplState::WaitBgsaveEnd);
        self.repl.replicas.retain(|&t| t != token);
        if self.is_rdb_channel(token) {
            self.rdb_channel_closed(token);
        }
        self.notice(&format!("Connection with replica {name} lost."));
        let on_disk = self.persistence.child.as_ref().is_some_and(|c| c.target == SaveTarget::Disk);
        if waited && on_disk && self.config.save.is_empty() && self.snapshot_receivers().is_empty()
        {
            // Nobody wants the file any more.
            self.kill_save_child();
        }
        if self.repl.replicas.is_empty() {
            self.repl.no_replicas_since = self.now_seconds();
        }
        self.refresh_good_replicas();
    }

    /// Frees every replica: their history has ended, and what was kept for those who would come is of no use to them.
    pub fn disconnect_replicas(&mut self) {
        self.repl.reservations.clear();
        for token in self.repl.replicas.clone() {
            if self.clients.is_in_turn(token) {
                continue;
            }
            self.trace_end(
                token,
                "this server has changed its history: the replica has to ask anew",
            );
            self.free_client(token);
        }
    }

    /// Once a second: pings, time-outs, delayed snapshots, the backlog's end.
    pub fn primary_cron(&mut self) {
        let period = u64::from(self.config.repl_ping_replica_period).max(1);
        let streaming =
            self.repl.replicas.iter().any(|&t| self.replica_state(t) == Some(ReplState::Online));
        // A ping would move the offset that the replica to hand over to has to reach.
        let quiet = !self.repl.failover.is_none();
        if self.repl.cron_loops.is_multiple_of(period)
            && streaming
            && !self.repl.is_replica()
            && !quiet
        {
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
        self.check_reservations();
        let waiting = self.waiting_for_start();
        if !waiting.is_empty()
            && self.persistence.child.is_none()
            && !self.diskless_delay_applies(&waiting)
        {
            self.start_bgsave_for_replication();
        }
        self.refresh_good_replicas();
        self.expire_backlog();
        self.remove_file_for_replicas();
    }

    /// Whether this server is to leave no data on disk by itself.
    pub fn persists_nothing(&self) -> bool {
        self.config.save.is_empty() && !self.config.appendonly
    }

    /// A server that persists nothing need not keep the snapshot file that replicas have got.
    fn remove_file_for_replicas(&mut self) {
        if !self.config.rdb_del_sync_files {
            self.repl.file_for_replicas = false;
            return;
        }
        let wanted = self.repl.replicas.iter().any(|&token| {
            matches!(
                self.replica_state(token),
                Some(ReplState::WaitBgsaveStart | ReplState::WaitBgsaveEnd | ReplState::SendBulk)
            )
        });
        if self.repl.file_for_replicas && self.persists_nothing() && !wanted {
            self.repl.file_for_replicas = false;
            self.notice(
                "Removing the RDB file used to feed replicas in a persistence-less instance",
            );
            // If it is gone already, all the better.
            let _ = std::fs::remove_file(self.rdb_path());
        }
    }

    fn check_replica_timeout(&mut self, token: Token, state: Option<ReplState>) {
        let Some(client) = self.clients.get(token) else { return };
        let Some(link) = &client.replica else { return };
        let timeout = i64::from(self.config.repl_timeout);
        let silent = match state {
            Some(ReplState::Online | ReplState::BgTransfer)
                if !client.is(ClientFlags::PRE_PSYNC) =>
            {
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
            let streaming = matches!(state, Some(ReplState::Online | ReplState::BgTransfer));
            let phase = if streaming { "streaming sync" } else { "full sync" };
            self.warning(&format!("Disconnecting timedout replica ({phase}): {name}"));
            let text = format!("timed out ({phase}): nothing heard for {silent} seconds");
            self.trace_replica(token, Direction::Here, &text);
            self.free_client(token);
        }
    }

    /// Without replicas for long enough, the backlog is freed, and the history with it.
    fn expire_backlog(&mut self) {
        let ttl = self.config.repl_backlog_ttl as i64;
        if !self.repl.replicas.is_empty()
            || !self.repl.reservations.is_empty()
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
