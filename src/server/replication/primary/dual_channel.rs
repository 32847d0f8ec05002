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

use crate::server::Server;
use crate::server::client::Token;
use crate::server::links::replica::ReplicaLink;
use crate::server::links::trace::StepKind;
use crate::server::observe::log::Level;
use crate::server::output;
use crate::server::persistence;
use crate::server::replication;
use crate::server::replication::primary;
use crate::server::replication::trace;

/// The stream is kept from `cursor` on for a replica whose snapshot is on its way over the RDB channel.
#[derive(Debug)]
pub struct Reservation {
    /// The id of the RDB channel's client: the main channel names it.
    pub client: u64,
    pub cursor: u64,
    /// Whether there is anything to keep: the stream has gone on since.
    pub holds: bool,
    /// When the RDB channel was closed, in seconds since 1970: the main channel has a grace from then on.
    pub left_at_seconds: Option<i64>,
}

/// Whether a replica's connection is an RDB channel.
pub(super) fn is_rdb_channel(server: &Server, token: Token) -> bool {
    server.clients[token].replstate.as_ref().is_some_and(|link| link.announced.rdb_channel)
}

/// Whether the stream is reserved for the replica with this RDB channel.
pub(crate) fn has_reservation(server: &Server, client: u64) -> bool {
    server.repl.reservations.iter().any(|r| r.client == client)
}

/// The main channel has come for the stream that was kept for it; `false`: none was.
pub(super) fn claim_reservation(server: &mut Server, token: Token) -> bool {
    let Some(client) =
        server.clients[token].replstate.as_ref().and_then(|link| link.announced.rdb_client)
    else {
        return false;
    };
    let before = server.repl.reservations.len();
    server.repl.reservations.retain(|r| r.client != client);
    let claimed = server.repl.reservations.len() < before;
    if claimed {
        let name = replication::replica_name(server, token);
        server.log(Level::Debug, &format!("Remove psync waiting replica {name} with cid {client}"));
    }
    claimed
}

/// Tells RDB channels where their snapshot will stand, and keeps the stream from there on. Answers those that
/// could be told.
pub(super) fn open_rdb_channels(server: &mut Server, waiting: &[Token], offset: u64) -> Vec<Token> {
    let origin = persistence::snapshot_origin(server).unwrap_or_default();
    let mut told = Vec::new();
    for &token in waiting {
        let client = server.clients[token].id;
        let line = format!("$ENDOFF:{offset} {} {} {client}\r\n", origin.id, origin.stream_db);
        // Nothing but newlines has been written here: there is room for a line.
        if !matches!(server.clients[token].conn.write(line.as_bytes()), Ok(n) if n == line.len()) {
            server.free_client(token);
            continue;
        }
        let name = replication::replica_name(server, token);
        server.notice(&format!(
            "Sending to replica {name} RDB end offset {offset} and client-id {client}"
        ));
        let empty = server.repl.stream.as_ref().is_none_or(|s| s.is_empty());
        let kept = if empty { "no repl-backlog to track" } else { "tracking repl-backlog tail" };
        server.log(
            Level::Debug,
            &format!("Add rdb replica {name} to waiting psync, with cid {client}, {kept}"),
        );
        let holds = !empty;
        server.repl.reservations.push(Reservation {
            client,
            cursor: offset,
            holds,
            left_at_seconds: None,
        });
        trace::trace_replica(server, token, StepKind::Sent, line.trim_end());
        told.push(token);
    }
    told
}

/// The snapshot has been written to the RDB channels, or not: they have served.
pub(super) fn rdb_channels_done(server: &mut Server, receivers: Vec<Token>, ok: bool) {
    for token in receivers {
        let id = server.clients[token].id;
        if ok {
            primary::with_link(server, token, ReplicaLink::snapshot_sent);
        } else {
            server.warning("SYNC failed. BGSAVE child returned an error");
            trace::trace_end(server, token, "making the snapshot failed");
            server.repl.reservations.retain(|r| r.client != id);
        }
        server.free_client(token);
    }
}

/// An RDB channel was closed. Its replica may have the whole snapshot nevertheless, and need a moment until its
/// main channel comes.
pub(super) fn rdb_channel_closed(server: &mut Server, token: Token) {
    let (now, id, name) =
        (server.now_seconds(), server.clients[token].id, replication::replica_name(server, token));
    if primary::link_of(server, token).is_some_and(ReplicaLink::waits_for_end) {
        // The child holds the socket too: closing ours would not end the connection.
        server.clients[token].conn.shutdown();
    }
    let grace = server.repl.rdb_channel_grace_seconds;
    let Some(kept) = server.repl.reservations.iter_mut().find(|r| r.client == id) else { return };
    kept.left_at_seconds = Some(now);
    server.log(
        Level::Verbose,
        &format!("Postpone RDB client id={id} ({name}) free for {grace} seconds"),
    );
}

/// Lets go what is kept for replicas that do not come for it, and what has become too much.
pub(super) fn check_reservations(server: &mut Server) {
    if server.repl.reservations.is_empty() {
        return;
    }
    let (now, grace) = (server.now_seconds(), server.repl.rdb_channel_grace_seconds);
    let end = server.repl.offset();
    let limit = output::replica_output_limit(server);
    let mut gone = Vec::new();
    let mut attached = Vec::new();
    server.repl.reservations.retain_mut(|kept| {
        if !kept.holds && end > kept.cursor {
            kept.holds = true;
            attached.push(kept.client);
        }
        let waited = kept.left_at_seconds.map_or(0, |since| now - since);
        let over = limit > 0 && end - kept.cursor >= limit;
        if waited > grace || over {
            gone.push((kept.client, waited, over));
        }
        waited <= grace && !over
    });
    for id in attached {
        let text = format!("Attach replica rdb client {id} to repl buf block");
        server.log(Level::Debug, &text);
    }
    for (id, waited, over) in gone {
        if over {
            server.observer.count_output_limit_disconnection();
            server.warning(&format!("Client id={id} (RDB channel of a replica) scheduled to be closed ASAP for overcoming of output buffer limits."));
        } else {
            server.notice(&format!("Replica main channel failed to establish PSYNC within the grace period ({waited} seconds). Freeing RDB client {id}."));
        }
        let open = server.repl.replicas.iter().copied().find(|&t| server.clients[t].id == id);
        if let Some(token) = open {
            server.clients.close_later(token);
        }
    }
}
