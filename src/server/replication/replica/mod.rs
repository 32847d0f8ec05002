//! This server has a primary: the handshake, the snapshot, the stream, and resuming after a broken link.
//!
//! * [`drive`]: moves the link's bytes, and does what the machine ([`links::primary`](crate::server::links::primary))
//!   wants done.
//!
//! The link is a client of the slab from the moment that it connects. While it shakes hands or takes the snapshot it
//! is in `HANDSHAKE`, and its bytes go to the machine; then it becomes the `MASTER` client, and its bytes are commands.
//!
//! Here: a primary is followed, and no more; and what happens to the link once a second.

mod drive;

pub(crate) use drive::{follow, loading, sync_with_master};

use crate::db::ExpiryRole;
use crate::server::Server;
use crate::server::blocking;
use crate::server::blocking::pause::{self, PausePurpose};
use crate::server::client::Token;
use crate::server::config::PrimaryAddress;
use crate::server::expiry;
use crate::server::links::primary::{CachedPrimary, PrimaryLink};
use crate::server::links::trace::{LinkRole, StepKind};
use crate::server::oom_score;
use crate::server::persistence::aof::rewrite;
use crate::server::random_id;
use crate::server::replication::primary;
use crate::server::replication::trace;
use drive::{cancel_replication_handshake, connect_with_primary, with_link};

/// How long after its start a replica connects without waiting for the next second.
const EARLY_MS: i64 = 1000;

impl super::Replication {
    /// The client of the link to the primary.
    pub fn primary_token(&self) -> Option<Token> {
        self.primary.as_ref()?.token()
    }

    pub fn is_connected_to_primary(&self) -> bool {
        self.primary.as_ref().is_some_and(|link| link.is_connected())
    }

    /// Whether a primary's snapshot is coming or being loaded.
    pub fn is_syncing(&self) -> bool {
        self.primary.as_ref().is_some_and(|link| link.is_syncing())
    }
}

/// Follows a primary from now on.
pub(crate) fn replication_set_primary(server: &mut Server, host: String, port: u16) {
    let was_primary = !server.repl.is_replica();
    if was_primary {
        // The history that was written here may be a part of the new primary's: try to go on in it.
        server.notice("Before turning into a replica, using my own master parameters to synthesize a cached master: I may be able to synchronize with the new master with just a partial transfer.");
        server.repl.cached = Some(CachedPrimary {
            id: server.repl.id().to_string(),
            offset: server.repl.offset(),
            stream_db: server.repl.selected_db.unwrap_or(0),
        });
    } else {
        leave_primary(server);
    }
    let text = format!("Connecting to MASTER {host}:{port}");
    trace::trace_primary_gone(server, "another primary is followed");
    become_replica(server, host, port);
    // What failed has been logged.
    let _ = oom_score::apply_oom_score(server);
    // Our replicas stay: if the new primary lets us go on in the same history, so can they.
    blocking::disconnect_all_blocked_clients(server);
    server.notice(&text);
    connect_with_primary(server);
}

/// This server has a primary, to which the link is to be made.
pub(crate) fn become_replica(server: &mut Server, host: String, port: u16) {
    let peer = format!("{host}:{port}");
    let trace = server.repl.traces.begin(LinkRole::Replica, peer, server.ks.clock.unix_us());
    server.repl.primary = Some(Box::new(PrimaryLink::new(host, port, trace)));
    server.ks.role = ExpiryRole::Hide;
}

/// What `CONFIG REWRITE` will write about the primary.
pub(crate) fn set_primary_address(server: &mut Server, address: Option<(String, u16)>) {
    server.config.replicaof = address.map(|(host, port)| PrimaryAddress { host, port });
}

/// Closes the link, whatever it is doing.
fn leave_primary(server: &mut Server) {
    cancel_replication_handshake(server);
    if let Some(token) = server.repl.primary_token() {
        server.free_client(token);
    }
}

/// Stops following: this server is a primary, of a new history that continues the old one.
pub(crate) fn replication_unset_primary(server: &mut Server) {
    if !server.repl.is_replica() {
        return;
    }
    leave_primary(server);
    trace::trace_primary_gone(server, "no primary is followed any more");
    server.repl.primary = None;
    server.repl.cached = None;
    let _ = oom_score::apply_oom_score(server);
    // Another primary will not have been lost for as long as this one.
    server.repl.down_since_seconds = 0;
    server.ks.replica_keys.clear();
    let id = random_id(&mut server.rng);
    server.repl.history.shift_id(id);
    server.repl.selected_db = None;
    expiry::restore_role(server);
    if server.persistence.aof.is_off() {
        // A synchronisation that did not succeed has turned it off.
        rewrite::restart_aof_after_sync(server);
    }
    server.repl.no_replicas_since_seconds = server.now_seconds();
    primary::disconnect_replicas(server);
    let text = format!(
        "Setting secondary replication ID to {}, valid up to offset: {}. New replication ID is {}",
        server.repl.second_id(),
        server.repl.second_offset(),
        server.repl.id()
    );
    server.notice(&text);
}

/// The replica that the role was handed over to has become the primary.
fn failover_is_done(server: &mut Server) {
    server.repl.failover = Default::default();
    pause::unpause_clients(server, PausePurpose::Failover);
}

/// The role is not handed over: stays the primary, or becomes it again.
pub(crate) fn abort_failover(server: &mut Server, why: &str) {
    if server.repl.failover.is_none() {
        return;
    }
    server.notice(&match server.repl.failover.target() {
        Some((host, port)) => format!("FAILOVER to {host}:{port} aborted: {why}"),
        None => format!("FAILOVER to any replica aborted: {why}"),
    });
    if server.repl.failover.is_in_progress() {
        replication_unset_primary(server);
        set_primary_address(server, None);
    }
    failover_is_done(server);
}

/// The server ends: half a snapshot is not to be left behind.
pub(crate) fn discard_download(server: &mut Server) {
    if let Some(link) = &mut server.repl.primary {
        link.cancel();
    }
}

/// Once a second: connects, gives up what takes too long, tells the primary how far we are.
pub(crate) fn replica_cron(server: &mut Server) {
    if server.lifecycle.is_starting() {
        return;
    }
    let Some(link) = &server.repl.primary else { return };
    if link.is_down() {
        let text = format!("Connecting to MASTER {}:{}", link.host(), link.port());
        server.notice(&text);
        connect_with_primary(server);
    } else {
        // A large request is heard of long before it is complete and applied.
        let client = link.token().and_then(|token| server.clients.get(token));
        let heard = client.map_or(0, |client| client.last_interaction_seconds);
        if let Some(text) =
            with_link(server, |link, context| link.timeout(heard, context)).flatten()
        {
            server.warning(&text);
            trace::trace_primary(server, StepKind::Here, &text);
            leave_primary(server);
        }
    }
    follow::ack_if_due(server);
}

/// Who starts together with its primary may be a moment too early. In the first second it tries again at once, so
/// that a Sentinel that starts with them finds it when it asks the primary for the first time.
pub(crate) fn connect_early(server: &mut Server) {
    let is_young = server.process.uptime_ms(server.ks.now_ms) < EARLY_MS;
    let waits = server.repl.primary.as_ref().is_some_and(|link| link.is_down());
    if is_young && waits && !server.lifecycle.is_starting() {
        connect_with_primary(server);
    }
}

/// Connects again at once when a link that worked has broken. After a failed attempt the cron takes its time.
pub(crate) fn reconnect_to_primary(server: &mut Server) {
    let lost = std::mem::take(&mut server.repl.reconnect);
    if lost && let Some(link) = server.repl.primary.as_ref().filter(|link| link.is_down()) {
        server.notice(&format!("Reconnecting to MASTER {}:{}", link.host(), link.port()));
        connect_with_primary(server);
    }
}

/// Whether this server is a replica whose data are too old to be shown.
pub(crate) fn has_stale_data(server: &Server) -> bool {
    server.repl.is_replica()
        && !server.config.replica_serve_stale_data
        && !server.repl.is_connected_to_primary()
}
