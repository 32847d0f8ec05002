//! Blocked clients go on: a key that they wait for is ready, and their commands are executed again.

use crate::server::Server;
use crate::server::blocking;
use crate::server::call::Call;
use crate::server::client::{BlockState, Blocked, ClientFlags, Token};
use crate::server::expiry;
use crate::server::observe::latency;
use crate::server::output;
use crate::value::Collection;
use crate::value::stream::Stream;
use bytes::Bytes;
use std::mem;

/// Serves those who wait for keys that have become ready. Serving one may make other keys ready (`BLMOVE`):
/// they are served too.
pub(crate) fn handle_clients_blocked_on_keys(server: &mut Server) {
    if server.blocking.pause.is_active() && server.blocking.pause.kind(server.ks.now_ms).is_some() {
        // The keys stay ready: they are served when the pause is over.
        return;
    }
    if server.ks.changes.blocked.has_ready() {
        // What made the keys ready may have taken so long that they have expired since.
        server.update_time();
    }
    while let Some((db, key)) = server.ks.changes.blocked.next_ready() {
        serve_key(server, db, &key);
    }
}

/// Serves those who wait for one key, in the order in which they came.
fn serve_key(server: &mut Server, db: usize, key: &[u8]) {
    // Who blocks again goes behind this ticket: nobody is served twice.
    let Some(last) = server.ks.changes.blocked.last_ticket(db, key) else { return };
    let mut after = None;
    while let Some((ticket, waiter)) = server.ks.changes.blocked.next_waiter(db, key, after, last) {
        after = Some(ticket);
        let kind = server.ks.inspect(db, key).map(|entry| entry.value().kind());
        if kind.is_none() && !server.ks.changes.blocked.concerns_absence(db, key) {
            return;
        }
        if (kind == Some(waiter.kind) || waiter.on_no_key)
            && let Some(token) = server.clients.find(waiter.client)
            && !server.clients[token].is(ClientFlags::CLOSE_ASAP)
            && !is_in_vain(server, token, db, key)
        {
            resume_blocked(server, token);
        }
    }
}

/// Whether it is known that a client would find nothing, and block again. Of the many who read for one group one gets
/// what has come: to execute the commands of all the others would cost more than to write it.
fn is_in_vain(server: &Server, token: Token, db: usize, key: &[u8]) -> bool {
    let Some(Blocked::Keys(wait)) = server.clients[token].blocked.as_ref().map(|state| &state.on)
    else {
        return false;
    };
    let Some(group) = &wait.group else { return false };
    let stream = server.ks.inspect(db, key).and_then(|entry| Stream::of(entry.value()));
    let group = stream.and_then(|stream| Some((stream.groups.get(&**group)?, stream)));
    group.is_some_and(|(group, stream)| group.last_id >= stream.log.last_id)
}

/// Executes the command again that a client waits with.
fn resume_blocked(server: &mut Server, token: Token) {
    let Some(BlockState { on: Blocked::Keys(wait), deadline_ms }) =
        blocking::end_wait(server, token)
    else {
        return;
    };
    let client = &server.clients[token];
    let id = client.id;
    let no_touch = mem::replace(&mut server.ks.no_touch, client.is(ClientFlags::NO_TOUCH));
    let mut call = Call::resumed(token, wait.db, client.protocol);
    let outer_client = server.clients.begin_turn(token);
    let role = server.ks.role;
    expiry::restore_role(server);
    let args: Vec<&[u8]> = wait.command.iter().map(|arg| &arg[..]).collect();
    server.blocking.waits.begin_resuming(deadline_ms);

    let started = server.observer.latency.is_on().then(|| server.ks.clock.nanos());
    super::reprocess_command(server, &mut call, &args);
    if let Some(started) = started {
        latency::note_since(server, "command-unblocking", started);
    }

    server.blocking.waits.end_resuming();
    (server.ks.role, server.ks.no_touch) = (role, no_touch);
    server.clients.end_turn(outer_client);
    let mut reply = call.reply;
    if let Some(token) = server.clients.find((token, id)) {
        output::add_output(server, token, Bytes::from(reply.take()));
        if !server.clients[token].is(ClientFlags::BLOCKED) {
            server.clients.queue_input(token);
        }
    }
}
