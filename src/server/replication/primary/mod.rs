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

use crate::server::client::{ClientFlags, Token};
use crate::server::client_info;
use crate::server::links::replica::{Action, ReplicaLink};
use crate::server::links::trace::StepKind;
use crate::server::persistence;
use crate::server::persistence::SaveTarget;
use crate::server::replication;
use crate::server::replication::trace;
use crate::server::{Server, random_id};
use bytes::Bytes;

/// What is known of a replica that is one.
pub(super) fn link_of(server: &Server, token: Token) -> Option<&ReplicaLink> {
    server.clients.get(token)?.replstate.as_deref()
}

/// Those of the replicas of which something is true.
pub(super) fn replicas_that(server: &Server, is_so: impl Fn(&ReplicaLink) -> bool) -> Vec<Token> {
    let fits = |token: &Token| link_of(server, *token).is_some_and(&is_so);
    server.repl.replicas.iter().copied().filter(fits).collect()
}

/// Those whose snapshot is being made.
pub(super) fn snapshot_receivers(server: &Server) -> Vec<Token> {
    replicas_that(server, ReplicaLink::waits_for_end)
}

/// Asks a replica's machine something, and does what follows. It is given the replica's name, and the time in seconds
/// since 1970.
pub(super) fn with_link(
    server: &mut Server,
    token: Token,
    ask: impl FnOnce(&mut ReplicaLink, &str, i64) -> Vec<Action>,
) {
    let (name, now) = (replication::replica_name(server, token), server.now_seconds());
    let actions = ask(replication::replica_link(server, token), &name, now);
    for action in actions {
        match action {
            Action::Log(level, text) => server.log(level, &text),
            Action::Trace(kind, text) => {
                trace::trace_replica(server, token, kind, &text);
            }
            Action::TraceResync(outcome) => trace::trace_resync(server, token, outcome),
            Action::Send(text) => send_to_replica(server, token, text),
            Action::Write => server.clients.queue_write(token),
            Action::CountGoodReplicas => refresh_good_replicas(server),
            Action::CloseAfterReply => {
                server.clients[token].flags |= ClientFlags::CLOSE_AFTER_REPLY;
            }
        }
    }
}

/// Answers a replica. It gets no replies but these: a command of its own must have none.
pub(super) fn send_to_replica(server: &mut Server, token: Token, text: String) {
    server.clients[token].out.push(Bytes::from(text));
    server.clients.queue_write(token);
}

/// Counts the replicas that are online and answered lately.
pub(crate) fn refresh_good_replicas(server: &mut Server) {
    let now = server.now_seconds();
    let max_lag = i64::from(server.config.min_replicas_max_lag);
    let is_good = |link: &ReplicaLink| link.is_online() && now - link.heard_seconds() <= max_lag;
    server.repl.good_replicas = replicas_that(server, is_good).len();
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
    let name = replication::replica_name(server, token);
    let waited = link_of(server, token).is_some_and(ReplicaLink::waits_for_end);
    server.repl.replicas.retain(|&t| t != token);
    if dual_channel::is_rdb_channel(server, token) {
        dual_channel::rdb_channel_closed(server, token);
    }
    server.notice(&format!("Connection with replica {name} lost."));
    let on_disk = server.persistence.save_target() == Some(SaveTarget::Disk);
    if waited && on_disk && server.config.save.is_empty() && snapshot_receivers(server).is_empty() {
        // Nobody wants the file any more.
        snapshot::kill_saver(server);
    }
    if server.repl.replicas.is_empty() {
        server.repl.no_replicas_since_seconds = server.now_seconds();
    }
    refresh_good_replicas(server);
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
    let streaming = !replicas_that(server, ReplicaLink::is_online).is_empty();
    // A ping would move the offset that the replica to hand over to has to reach.
    let quiet = !server.repl.failover.is_none();
    if server.repl.cron_loops.is_multiple_of(period)
        && streaming
        && !server.repl.is_replica()
        && !quiet
    {
        server.repl.feed_without_select(&[b"PING"]);
    }
    for token in server.repl.replicas.clone() {
        let child_target = server.persistence.save_target();
        let on_disk = child_target.is_none_or(|target| target == SaveTarget::Disk);
        let waits = link_of(server, token).is_some_and(|link| link.wants_newline(on_disk));
        if waits && server.clients[token].out.is_empty() {
            // A newline says that we are alive. Best effort: it has no place in any buffer.
            let _ = server.clients[token].conn.write(b"\n");
        }
        check_replica_timeout(server, token);
    }
    dual_channel::check_reservations(server);
    let waiting = snapshot::waiting_for_start(server);
    if !waiting.is_empty()
        && server.persistence.saver().is_none()
        && !snapshot::diskless_delay_applies(server, &waiting)
    {
        snapshot::start_bgsave_for_replication(server);
    }
    refresh_good_replicas(server);
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
    let wanted = !replicas_that(server, ReplicaLink::needs_snapshot).is_empty();
    if server.repl.file_for_replicas && persists_nothing(server) && !wanted {
        server.repl.file_for_replicas = false;
        server.notice("Removing the RDB file used to feed replicas in a persistence-less instance");
        // If it is gone already, all the better.
        let _ = std::fs::remove_file(persistence::rdb_path(server));
    }
}

fn check_replica_timeout(server: &mut Server, token: Token) {
    let Some(client) = server.clients.get(token) else { return };
    let Some(link) = &client.replstate else { return };
    let is_piped = server.persistence.save_target() == Some(SaveTarget::Replicas);
    let stalled_since =
        (is_piped && !client.out.is_empty()).then_some(client.last_interaction_seconds);
    let Some((silent, phase)) = link.silence(stalled_since, server.now_seconds()) else { return };
    if silent > i64::from(server.config.repl_timeout) {
        let name = replication::replica_name(server, token);
        server.warning(&format!("Disconnecting timedout replica ({phase}): {name}"));
        let text = format!("timed out ({phase}): nothing heard for {silent} seconds");
        trace::trace_replica(server, token, StepKind::Here, &text);
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
    if server.now_seconds() - server.repl.no_replicas_since_seconds > ttl {
        let id = random_id(&mut server.rng);
        server.repl.change_id(id);
        server.repl.stream = None;
        server.repl.selected_db = None;
        server.notice(&format!(
            "Replication backlog freed after {ttl} seconds without connected replicas."
        ));
    }
}
