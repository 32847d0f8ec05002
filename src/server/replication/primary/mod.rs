//! This server has replicas: `REPLCONF` and `PSYNC` come in, snapshots and the stream go out.
//!
//! * [`psync`]: what a replica asks for, and whether it may go on where it stopped.
//! * [`snapshot`]: a snapshot for those who may not.
//! * [`dual_channel`]: that snapshot on a connection of its own, where both sides can.
//! * [`feed`]: the stream to those who have one, and what they say about how far they are.
//!
//! Here: who a replica is, and what happens to it once a second.

pub mod dual_channel;
pub(crate) mod feed;
pub mod psync;
pub(crate) mod snapshot;

pub use feed::{DurableAt, WAITAOF_WITHOUT_AOF};

use super::trace::Direction;
use super::{ReplState, ReplicaLink};
use crate::server::client::{ClientFlags, Token};
use crate::server::client_info;
use crate::server::persistence;
use crate::server::persistence::SaveTarget;
use crate::server::replication::trace;
use crate::server::{Server, random_id};

/// What is known of a replica, from its first `REPLCONF` on.
pub(crate) fn replica_link(server: &mut Server, token: Token) -> &mut ReplicaLink {
    server.clients[token].replica.get_or_insert_default()
}

pub(super) fn replica_state(server: &Server, token: Token) -> Option<ReplState> {
    server.clients.get(token)?.replica.as_ref()?.state
}

/// The name that the log calls a replica by: the address it wants, the port it listens on.
pub(crate) fn replica_name(server: &Server, token: Token) -> String {
    let client = &server.clients[token];
    let peer = client.conn.peer(&server.unix_path());
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
pub(crate) fn replica_must_not_be_answered(server: &mut Server, token: Token) {
    let command = server.clients[token].last_command.unwrap_or("<unknown>");
    let info = client_info::client_info(server, token);
    server.warning(&format!(
        "Replica generated a reply to command '{command}', disconnecting it: {info}"
    ));
    trace::trace_end(server, token, &format!("a reply to '{command}' would disturb the stream"));
    server.clients.close_later(token);
}

/// A client goes: if it was a replica, so does what was kept for it.
pub(crate) fn replication_forget_client(server: &mut Server, token: Token) {
    trace::trace_replica_gone(server, token);
    let client = &server.clients[token];
    if !client.is(ClientFlags::SLAVE) {
        return;
    }
    let name = replica_name(server, token);
    let waited = replica_state(server, token) == Some(ReplState::WaitBgsaveEnd);
    server.repl.replicas.retain(|&t| t != token);
    if dual_channel::is_rdb_channel(server, token) {
        dual_channel::rdb_channel_closed(server, token);
    }
    server.notice(&format!("Connection with replica {name} lost."));
    let on_disk = server.persistence.child.as_ref().is_some_and(|c| c.target == SaveTarget::Disk);
    if waited
        && on_disk
        && server.config.save.is_empty()
        && snapshot::snapshot_receivers(server).is_empty()
    {
        // Nobody wants the file any more.
        persistence::kill_save_child(server);
    }
    if server.repl.replicas.is_empty() {
        server.repl.no_replicas_since = server.now_seconds();
    }
    feed::refresh_good_replicas(server);
}

/// Frees every replica: their history has ended, and what was kept for those who would come is of no use to them.
pub(crate) fn disconnect_replicas(server: &mut Server) {
    server.repl.reservations.clear();
    for token in server.repl.replicas.clone() {
        if server.clients.is_in_turn(token) {
            continue;
        }
        trace::trace_end(
            server,
            token,
            "this server has changed its history: the replica has to ask anew",
        );
        server.free_client(token);
    }
}

/// Once a second: pings, time-outs, delayed snapshots, the backlog's end.
pub(crate) fn primary_cron(server: &mut Server) {
    let period = u64::from(server.config.repl_ping_replica_period).max(1);
    let streaming =
        server.repl.replicas.iter().any(|&t| replica_state(server, t) == Some(ReplState::Online));
    // A ping would move the offset that the replica to hand over to has to reach.
    let quiet = !server.repl.failover.is_none();
    if server.repl.cron_loops.is_multiple_of(period)
        && streaming
        && !server.repl.is_replica()
        && !quiet
    {
        feed::feed_without_select(server, &[b"PING"]);
    }
    for token in server.repl.replicas.clone() {
        let state = replica_state(server, token);
        let on_disk =
            server.persistence.child.as_ref().is_none_or(|c| c.target == SaveTarget::Disk);
        let before_payload = state == Some(ReplState::WaitBgsaveStart)
            || (state == Some(ReplState::WaitBgsaveEnd) && on_disk);
        if before_payload && server.clients[token].out.is_empty() {
            // A newline says that we are alive. Best effort: it has no place in any buffer.
            let _ = server.clients[token].conn.write(b"\n");
        }
        check_replica_timeout(server, token, state);
    }
    dual_channel::check_reservations(server);
    let waiting = snapshot::waiting_for_start(server);
    if !waiting.is_empty()
        && server.persistence.child.is_none()
        && !snapshot::diskless_delay_applies(server, &waiting)
    {
        snapshot::start_bgsave_for_replication(server);
    }
    feed::refresh_good_replicas(server);
    expire_backlog(server);
    remove_file_for_replicas(server);
}

/// Whether this server is to leave no data on disk by itself.
pub(crate) fn persists_nothing(server: &Server) -> bool {
    server.config.save.is_empty() && !server.config.appendonly
}

/// A server that persists nothing need not keep the snapshot file that replicas have got.
fn remove_file_for_replicas(server: &mut Server) {
    if !server.config.rdb_del_sync_files {
        server.repl.file_for_replicas = false;
        return;
    }
    let wanted = server.repl.replicas.iter().any(|&token| {
        matches!(
            replica_state(server, token),
            Some(ReplState::WaitBgsaveStart | ReplState::WaitBgsaveEnd | ReplState::SendBulk)
        )
    });
    if server.repl.file_for_replicas && persists_nothing(server) && !wanted {
        server.repl.file_for_replicas = false;
        server.notice("Removing the RDB file used to feed replicas in a persistence-less instance");
        // If it is gone already, all the better.
        let _ = std::fs::remove_file(persistence::rdb_path(server));
    }
}

fn check_replica_timeout(server: &mut Server, token: Token, state: Option<ReplState>) {
    let Some(client) = server.clients.get(token) else { return };
    let Some(link) = &client.replica else { return };
    let timeout = i64::from(server.config.repl_timeout);
    let silent = match state {
        Some(ReplState::Online | ReplState::BgTransfer) if !client.is(ClientFlags::PRE_PSYNC) => {
            server.now_seconds() - link.ack_time
        }
        Some(ReplState::WaitBgsaveEnd)
            if server
                .persistence
                .child
                .as_ref()
                .is_some_and(|c| c.target == SaveTarget::Replicas)
                && !client.out.is_empty() =>
        {
            server.now_seconds() - client.last_interaction
        }
        _ => 0,
    };
    if silent > timeout {
        let name = replica_name(server, token);
        let streaming = matches!(state, Some(ReplState::Online | ReplState::BgTransfer));
        let phase = if streaming { "streaming sync" } else { "full sync" };
        server.warning(&format!("Disconnecting timedout replica ({phase}): {name}"));
        let text = format!("timed out ({phase}): nothing heard for {silent} seconds");
        trace::trace_replica(server, token, Direction::Here, &text);
        server.free_client(token);
    }
}

/// Without replicas for long enough, the backlog is freed, and the history with it.
fn expire_backlog(server: &mut Server) {
    let ttl = server.config.repl_backlog_ttl as i64;
    if !server.repl.replicas.is_empty()
        || !server.repl.reservations.is_empty()
        || ttl == 0
        || server.repl.stream.is_none()
        || server.repl.is_replica()
    {
        return;
    }
    if server.now_seconds() - server.repl.no_replicas_since > ttl {
        let id = random_id(&mut server.rng);
        server.repl.change_id(id);
        server.repl.stream = None;
        server.repl.selected_db = None;
        server.notice(&format!(
            "Replication backlog freed after {ttl} seconds without connected replicas."
        ));
    }
}
