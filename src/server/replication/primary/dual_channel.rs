//! Dual-channel replication, the primary's side: the snapshot goes over a connection of its own.
//!
//! A replica that needs everything, and can, is told `+DUALCHANNELSYNC`. It opens a second connection, the RDB channel
//! (`REPLCONF rdb-channel 1`, then `SYNC`), and learns there from a `$ENDOFF` line where in the stream the snapshot
//! will stand. From that offset on it resumes on the first connection, the main channel, with an ordinary `PSYNC`: it
//! takes the stream at once and keeps it until the snapshot is loaded. So nothing gathers here, however long the
//! snapshot takes.
//!
//! Between the `$ENDOFF` and that `PSYNC` a [`Reservation`] holds the stream's bytes. The child that makes the snapshot
//! writes to the sockets itself: this process is not troubled with it.

use super::super::ReplState;
use super::super::trace::Direction;
use crate::server::Server;
use crate::server::client::Token;
use crate::server::log::Level;
use crate::server::persistence::SaveTarget;
use crate::sys::poll::wait_writable;
use std::fs::File;
use std::io::{self, ErrorKind, Write};
use std::os::fd::AsRawFd;
use std::time::Duration;

/// The stream is kept from `cursor` on for a replica whose snapshot is on its way over the RDB channel.
#[derive(Debug)]
pub struct Reservation {
    /// The id of the RDB channel's client: the main channel names it.
    pub client: u64,
    pub cursor: u64,
    /// Whether there is anything to keep: the stream has gone on since.
    pub holds: bool,
    /// When the RDB channel was closed, in seconds since 1970: the main channel has a grace from then on.
    pub left_at: Option<i64>,
}

impl Server {
    /// Whether a replica's connection is an RDB channel.
    pub(super) fn is_rdb_channel(&self, token: Token) -> bool {
        self.clients[token].replica.as_ref().is_some_and(|l| l.rdb_channel)
    }

    /// Whether the stream is reserved for the replica with this RDB channel.
    pub fn has_reservation(&self, client: u64) -> bool {
        self.repl.reservations.iter().any(|r| r.client == client)
    }

    /// The main channel has come for the stream that was kept for it; `false`: none was.
    pub(super) fn claim_reservation(&mut self, token: Token) -> bool {
        let Some(client) = self.clients[token].replica.as_ref().and_then(|l| l.rdb_client) else {
            return false;
        };
        let before = self.repl.reservations.len();
        self.repl.reservations.retain(|r| r.client != client);
        let claimed = self.repl.reservations.len() < before;
        if claimed {
            let name = self.replica_name(token);
            self.log(
                Level::Debug,
                &format!("Remove psync waiting replica {name} with cid {client}"),
            );
        }
        claimed
    }

    /// Tells RDB channels where their snapshot will stand, and keeps the stream from there on. Answers those that
    /// could be told.
    pub(super) fn open_rdb_channels(&mut self, waiting: &[Token], offset: u64) -> Vec<Token> {
        let origin = self.snapshot_origin().unwrap_or_default();
        let mut told = Vec::new();
        for &token in waiting {
            let client = self.clients[token].id;
            let line = format!("$ENDOFF:{offset} {} {} {client}\r\n", origin.id, origin.stream_db);
            // Nothing but newlines has been written here: there is room for a line.
            if !matches!(self.clients[token].conn.write(line.as_bytes()), Ok(n) if n == line.len())
            {
                self.free_client(token);
                continue;
            }
            let name = self.replica_name(token);
            self.notice(&format!(
                "Sending to replica {name} RDB end offset {offset} and client-id {client}"
            ));
            let empty = self.repl.stream.as_ref().is_none_or(|s| s.is_empty());
            let kept =
                if empty { "no repl-backlog to track" } else { "tracking repl-backlog tail" };
            self.log(
                Level::Debug,
                &format!("Add rdb replica {name} to waiting psync, with cid {client}, {kept}"),
            );
            let holds = !empty;
            self.repl.reservations.push(Reservation {
                client,
                cursor: offset,
                holds,
                left_at: None,
            });
            self.trace_replica(token, Direction::Sent, line.trim_end());
            told.push(token);
        }
        told
    }

    /// Where a child writes a snapshot for the RDB channels that wait for it.
    ///
    /// # Errors
    /// If the system has no descriptors left.
    pub fn rdb_channel_writer(&self) -> io::Result<RdbChannelWriter> {
        let receivers = self.snapshot_receivers();
        let sockets: io::Result<Vec<File>> =
            receivers.iter().map(|&token| self.clients[token].conn.duplicate()).collect();
        let stall = Duration::from_secs(u64::from(self.config.repl_timeout));
        Ok(RdbChannelWriter { sockets: sockets?, stall })
    }

    /// The snapshot has been written to the RDB channels, or not: they have served.
    pub(super) fn rdb_channels_done(&mut self, receivers: Vec<Token>, ok: bool) {
        for token in receivers {
            let id = self.clients[token].id;
            if ok {
                self.put_replica_online(token);
            } else {
                self.warning("SYNC failed. BGSAVE child returned an error");
                self.trace_end(token, "making the snapshot failed");
                self.repl.reservations.retain(|r| r.client != id);
            }
            self.free_client(token);
        }
    }

    /// An RDB channel was closed. Its replica may have the whole snapshot nevertheless, and need a moment until its
    /// main channel comes.
    pub(super) fn rdb_channel_closed(&mut self, token: Token) {
        let (now, id, name) =
            (self.now_seconds(), self.clients[token].id, self.replica_name(token));
        if self.replica_state(token) == Some(ReplState::WaitBgsaveEnd) {
            // The child holds the socket too: closing ours would not end the connection.
            self.clients[token].conn.shutdown();
        }
        let grace = self.repl.rdb_channel_grace;
        let Some(kept) = self.repl.reservations.iter_mut().find(|r| r.client == id) else { return };
        kept.left_at = Some(now);
        self.log(
            Level::Verbose,
            &format!("Postpone RDB client id={id} ({name}) free for {grace} seconds"),
        );
    }

    /// Lets go what is kept for replicas that do not come for it, and what has become too much.
    pub(super) fn check_reservations(&mut self) {
        if self.repl.reservations.is_empty() {
            return;
        }
        let (now, grace) = (self.now_seconds(), self.repl.rdb_channel_grace);
        let end = self.repl.offset;
        let limit = self.replica_output_limit();
        let mut gone = Vec::new();
        let mut attached = Vec::new();
        self.repl.reservations.retain_mut(|kept| {
            if !kept.holds && end > kept.cursor {
                kept.holds = true;
                attached.push(kept.client);
            }
            let waited = kept.left_at.map_or(0, |since| now - since);
            let over = limit > 0 && end - kept.cursor >= limit;
            if waited > grace || over {
                gone.push((kept.client, waited, over));
            }
            waited <= grace && !over
        });
        for id in attached {
            let text = format!("Attach replica rdb client {id} to repl buf block");
            self.log(Level::Debug, &text);
        }
        for (id, waited, over) in gone {
            if over {
                self.stats.output_buffer_limit_disconnections += 1;
                self.warning(&format!("Client id={id} (RDB channel of a replica) scheduled to be closed ASAP for overcoming of output buffer limits."));
            } else {
                self.notice(&format!("Replica main channel failed to establish PSYNC within the grace period ({waited} seconds). Freeing RDB client {id}."));
            }
            let open = self.repl.replicas.iter().copied().find(|&t| self.clients[t].id == id);
            if let Some(token) = open {
                self.clients.close_later(token);
            }
        }
    }

    /// Ends a snapshot that is made for replicas when the last of them has gone.
    pub fn abandon_unwanted_snapshot(&mut self) {
        let Some(child) = &self.persistence.child else { return };
        if matches!(child.target, SaveTarget::Disk | SaveTarget::Aof { .. })
            || !self.snapshot_receivers().is_empty()
        {
            return;
        }
        let channels = child.target == SaveTarget::RdbChannels;
        self.check_child();
        if self.persistence.child.is_some() {
            self.notice("Diskless rdb transfer, last replica dropped, killing fork child.");
            self.kill_save_child();
            if channels {
                self.warning("Background RDB transfer error");
            }
        }
    }
}

/// The sockets of RDB channels, as a child writes to them: all the same bytes, as fast as the slowest takes them. One
/// that fails, or takes nothing for too long, is left out from then on.
pub struct RdbChannelWriter {
    sockets: Vec<File>,
    stall: Duration,
}

impl RdbChannelWriter {
    /// What the child has to keep open.
    pub fn descriptors(&self) -> Vec<i32> {
        self.sockets.iter().map(AsRawFd::as_raw_fd).collect()
    }
}

impl Write for RdbChannelWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let stall = self.stall;
        self.sockets.retain_mut(|socket| write_all(socket, bytes, stall).is_ok());
        if self.sockets.is_empty() {
            return Err(io::Error::new(ErrorKind::BrokenPipe, "no replica is left"));
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn write_all(socket: &mut File, mut bytes: &[u8], stall: Duration) -> io::Result<()> {
    while !bytes.is_empty() {
        match socket.write(bytes) {
            Ok(n) => bytes = &bytes[n..],
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                if !wait_writable(socket, stall)? {
                    return Err(ErrorKind::TimedOut.into());
                }
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
