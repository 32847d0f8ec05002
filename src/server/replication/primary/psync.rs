//! `PSYNC` and `SYNC`: a replica asks to go on where it stopped, or for everything.

use super::super::stream::Stream;
use super::super::trace::{Direction, Resync};
use super::super::{Capabilities, ReplState};
use crate::resp::error::{CommandError, CommandResult, ErrorCode};
use crate::server::call::Call;
use crate::server::client::{ClientFlags, Token};
use crate::server::{Server, random_id};

/// What a replica asks for.
#[derive(Clone, Copy, Debug)]
pub struct PsyncRequest<'a> {
    /// The history, or `?`.
    pub id: &'a [u8],
    /// The first byte that it misses, counted from 1.
    pub offset: i64,
    /// The asker has been our primary, and wants us to be its.
    pub failover: bool,
}

impl Server {
    /// `PSYNC` (`id` and `offset` as the replica sent them) or `SYNC` (`None`) of the current client.
    pub fn sync_command(
        &mut self,
        call: &mut Call,
        request: Option<PsyncRequest<'_>>,
    ) -> CommandResult {
        let token = call.client;
        if self.clients[token].is(ClientFlags::SLAVE) {
            // The connection is a replica already: whatever is asked again has been answered.
            return Ok(());
        }
        if let Some(request) = request.filter(|r| r.failover) {
            self.take_over(call, request.id)?;
        }
        if !self.repl.failover.is_none() {
            return Err(CommandError::new(
                ErrorCode::NoMasterLink,
                "Can't SYNC while failing over",
            ));
        }
        if self.repl.is_replica() && !self.repl.is_connected_to_primary() {
            return Err(CommandError::new(
                ErrorCode::NoMasterLink,
                "Can't SYNC while not connected with my master",
            ));
        }
        self.settle(token);
        if !call.reply.is_empty() || !self.clients[token].out.is_empty() {
            return Err(CommandError::err("SYNC and PSYNC are invalid with pending output"));
        }
        let link = self.replica_link(token);
        if !link.excluded.is_empty() && !link.capabilities.contains(Capabilities::EOF) {
            return Err(CommandError::err("Filtered replica requires EOF capability"));
        }
        let name = self.replica_name(token);
        self.notice(&format!("Replica {name} asks for synchronization"));
        self.check_older_replica(token)?;
        match request {
            Some(PsyncRequest { id, offset, .. }) => {
                if self.master_try_partial_resynchronization(token, id, offset) {
                    self.stats.sync_partial_ok += 1;
                    return Ok(());
                }
                if id != b"?" {
                    self.stats.sync_partial_err += 1;
                }
                // The child that writes to the second channel could not go on encrypting as this process began.
                let encrypted = self.clients[token].conn.is_encrypted();
                let link = self.replica_link(token);
                if link.capabilities.contains(Capabilities::DUAL_CHANNEL) && !encrypted {
                    self.notice(&format!("Replica {name} is capable of dual channel synchronization, and partial sync isn't possible. Full sync will continue with dedicated RDB channel."));
                    call.reply.raw(b"+DUALCHANNELSYNC\r\n");
                    self.trace_replica(token, Direction::Sent, "+DUALCHANNELSYNC");
                    return Ok(());
                }
            }
            None => self.clients[token].flags |= ClientFlags::PRE_PSYNC,
        }
        self.stats.sync_full += 1;
        self.trace_resync(token, Resync::Full);
        self.replication_create_slave(token, ReplState::WaitBgsaveStart);
        self.start_or_join_snapshot(token);
        Ok(())
    }

    /// Marks the connection: from here on this client is a replica.
    pub(super) fn replication_create_slave(&mut self, token: Token, state: ReplState) {
        let now = self.now_seconds();
        self.clients[token].flags |= ClientFlags::SLAVE;
        if self.config.repl_disable_tcp_nodelay {
            // Not critical if it fails.
            let _ = self.clients[token].conn.set_nodelay(false);
        }
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
    pub(super) fn master_try_partial_resynchronization(
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
                        repl.second_offset.map_or(-1, |limit| limit as i64)
                    )
                } else {
                    format!(
                        "Partial resynchronization not accepted: Replication ID mismatch (Replica asked for '{shown}', my replication IDs are '{}' and '{}')",
                        repl.id, repl.id2
                    )
                };
                self.notice(&text);
                let why = text.split_once(": ").map_or(text.as_str(), |(_, why)| why);
                self.trace_resync(token, Resync::Refused(why));
            } else {
                self.notice(&format!("Full resync requested by replica {name}"));
            }
            return false;
        }
        // Offsets on the wire count from 1; the stream's from 0.
        let from = wanted.wrapping_sub(1);
        if !self.can_follow_from(token, from) {
            self.notice(&format!("Unable to partial resync with replica {name}: fields of hashes have got an expiry since, which it does not know."));
            let why = format!(
                "fields of hashes have got an expiry since offset {offset}, which the replica does not know"
            );
            self.trace_resync(token, Resync::Refused(&why));
            return false;
        }
        let kept = self.repl.stream.as_ref().is_some_and(|s| wanted > 0 && s.has(from));
        if !kept {
            self.notice(&format!("Unable to partial resync with replica {name} for lack of backlog (Replica request was: {offset})."));
            let kept = self.repl.stream.as_ref().map(|s| (s.start() + 1, s.end()));
            let why = match kept {
                None => "there is no backlog".to_string(),
                _ if wanted == 0 => format!("{offset} is no offset: the first is 1"),
                Some((_, end)) if wanted > end + 1 => {
                    self.warning(&format!("Warning: replica {name} tried to PSYNC with an offset that is greater than the master replication offset."));
                    format!("offset {offset} is ahead of this server, which is at {end}")
                }
                Some((first, end)) => format!(
                    "the backlog no longer holds offset {offset}: it has {first} to {end}, and repl-backlog-size is {}",
                    self.config.repl_backlog_size
                ),
            };
            self.trace_resync(token, Resync::Refused(&why));
            return false;
        }
        let behind_snapshot = self.claim_reservation(token);
        let state = if behind_snapshot { ReplState::BgTransfer } else { ReplState::Online };
        self.replication_create_slave(token, state);
        let link = self.replica_link(token);
        link.cursor = from;
        let new_id = link.capabilities.contains(Capabilities::PSYNC2);
        // Without it the replica could not follow a change of history, and needs not know of one.
        let answer = if new_id {
            format!("+CONTINUE {}\r\n", self.repl.id)
        } else {
            "+CONTINUE\r\n".to_string()
        };
        self.trace_resync(token, Resync::Partial);
        self.trace_replica(token, Direction::Sent, answer.trim_end());
        self.send_to_replica(token, answer);
        self.repl.no_replicas_since = 0;
        let sent = self.repl.offset - from;
        self.notice(&format!("Partial resynchronization request from {name} accepted. Sending {sent} bytes of backlog starting from offset {offset}."));
        self.trace_replica(
            token,
            Direction::Here,
            &format!(
                "partial resynchronisation: {sent} bytes of the backlog from offset {offset} on"
            ),
        );
        self.refresh_good_replicas();
        true
    }
}
