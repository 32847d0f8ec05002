//! Monitors: clients that see every command that is executed.
//!
//! The lines of a turn gather in one block, whose bytes all monitors share: those who are slow hold it once.

use super::redact::redact;
use crate::server::Server;
use crate::server::call::Call;
use crate::server::client::ClientFlags;
use crate::server::output;
use crate::spec::CommandFlags;
use crate::util::args::quote;
use bytes::Bytes;

/// Shows a command that was executed to all monitors, unless its `flags` keep it from being seen.
pub(crate) fn feed_monitors(server: &mut Server, call: &Call, flags: CommandFlags, args: &[&[u8]]) {
    if flags.intersects(CommandFlags::SKIP_MONITOR | CommandFlags::ADMIN)
        || server.persistence.is_loading()
    {
        return;
    }
    let Some(client) = server.clients.get(call.client) else { return };
    let client_monitors = server.clients.is_in_turn(call.client) && client.is(ClientFlags::MONITOR);
    let now = server.ks.clock.unix_us();
    let peer = client.conn.peer(&server.unix_path());
    let peer = if call.in_script {
        "lua".to_string()
    } else if client.is(ClientFlags::UNIX_SOCKET) {
        format!("unix:{}", server.unix_path())
    } else {
        peer
    };
    let mut line =
        format!("+{}.{:06} [{} {peer}]", now / 1_000_000, now % 1_000_000, call.db).into_bytes();
    for arg in redact(args) {
        line.push(b' ');
        line.extend(quote(arg));
    }
    line.extend(b"\r\n");
    if client_monitors {
        // Between its replies the line has a place of its own.
        send_to_monitors(server, Bytes::from(line));
        return;
    }
    if server.observer.monitors.add_line(&line) {
        flush_monitors(server);
    }
}

/// Sends monitors what they have not been sent of this turn.
pub(crate) fn flush_monitors(server: &mut Server) {
    if server.observer.monitors.has_lines() {
        let lines = server.observer.monitors.take_lines();
        send_to_monitors(server, Bytes::from(lines));
    }
}

fn send_to_monitors(server: &mut Server, lines: Bytes) {
    let clients = &server.clients;
    let is_monitor =
        |noted| clients.find(noted).is_some_and(|m| clients[m].is(ClientFlags::MONITOR));
    let receivers = server.observer.monitors.receivers(is_monitor).to_vec();
    for (monitor, _) in receivers {
        if server.clients[monitor].is(ClientFlags::REPLY_OFF) {
            continue;
        }
        output::add_output(server, monitor, lines.clone());
    }
}
