//! Takes down what happens on each replication link, in either role, for `REPLTRACE`.

use super::Replication;
use crate::server::Server;
use crate::server::client::{Client, Token};
use crate::server::links::trace::{LinkRole, Resync, StepKind};
use crate::server::replication;

/// The trace of a replica's connection, begun with its first step.
fn replica_trace(server: &mut Server, token: Token) -> u64 {
    if let Some(id) = replication::replica_link(server, token).trace() {
        return id;
    }
    let client = &server.clients[token];
    let peer = client.conn.peer(&server.unix_path());
    let id = server.repl.traces.begin(LinkRole::Primary, peer, server.ks.clock.unix_us());
    replication::replica_link(server, token).set_trace(id);
    id
}

/// Notes a step on the connection of a replica.
pub(crate) fn trace_replica(server: &mut Server, token: Token, kind: StepKind, text: &str) {
    let id = replica_trace(server, token);
    let now = server.ks.clock.unix_us();
    if replication::replica_link(server, token).announced.listening_port != 0
        && kind == StepKind::Received
    {
        // While it can still be asked who it is.
        let peer = replication::replica_name(server, token);
        if let Some(link) = server.repl.traces.get_mut(id) {
            link.peer = peer;
        }
    }
    server.repl.traces.step(id, now, kind, text);
}

/// Notes how a replica's resynchronisation goes: full, or partial, or why it could not be partial.
pub(crate) fn trace_resync(server: &mut Server, token: Token, outcome: Resync) {
    let id = replica_trace(server, token);
    let refusal = outcome.refusal();
    server.repl.traces.resync(id, outcome);
    if let Some(text) = refusal {
        trace_replica(server, token, StepKind::Here, &text);
    }
}

/// A replica's connection is over.
pub(crate) fn trace_replica_gone(server: &mut Server, token: Token) {
    let Some(id) = server.clients[token].replstate.as_ref().and_then(|link| link.trace()) else {
        return;
    };
    trace_replica(server, token, StepKind::Here, "connection closed");
    let now = server.now_seconds();
    if let Some(link) = server.repl.traces.get_mut(id) {
        link.ended = Some(now);
    }
}

impl Replication {
    /// Notes why a client's connection ends, on the link that it is, if it is one.
    pub(crate) fn note_end(&mut self, token: Token, client: &Client, at_us: i64, why: &str) {
        let primary = self.primary.as_ref().filter(|link| link.token() == Some(token));
        let of_replica = client.replstate.as_ref().and_then(|link| link.trace());
        if let Some(id) = of_replica.or(primary.map(|link| link.trace())) {
            self.traces.step(id, at_us, StepKind::Here, why);
        }
    }
}

/// The same.
pub(crate) fn trace_end(server: &mut Server, token: Token, why: &str) {
    let now = server.ks.clock.unix_us();
    server.repl.note_end(token, &server.clients[token], now, why);
}

/// Notes a step on the link to the primary.
pub(crate) fn trace_primary(server: &mut Server, kind: StepKind, text: &str) {
    let Some(link) = &server.repl.primary else { return };
    let (id, now) = (link.trace(), server.ks.clock.unix_us());
    server.repl.traces.step(id, now, kind, text);
}

/// Notes how a resynchronisation with the primary goes.
pub(crate) fn trace_primary_resync(server: &mut Server, outcome: Resync) {
    let Some(link) = &server.repl.primary else { return };
    let (id, refusal) = (link.trace(), outcome.refusal());
    server.repl.traces.resync(id, outcome);
    if let Some(text) = refusal {
        trace_primary(server, StepKind::Here, &text);
    }
}

/// A primary is followed no more.
pub(crate) fn trace_primary_gone(server: &mut Server, why: &str) {
    trace_primary(server, StepKind::Here, why);
    let now = server.now_seconds();
    let Some(id) = server.repl.primary.as_ref().map(|link| link.trace()) else { return };
    if let Some(link) = server.repl.traces.get_mut(id) {
        link.ended = Some(now);
    }
}
