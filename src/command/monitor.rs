//! MONITOR: a client that sees every command that is executed.

use crate::resp::error::{CommandError, CommandResult};
use crate::server::Server;
use crate::server::call::Call;
use crate::server::client::ClientFlags;
use crate::server::monitoring;
use crate::server::table::Row;

fn monitor(s: &mut Server, call: &mut Call, _: &[&[u8]]) -> CommandResult {
    if call.deny_blocking {
        return Err(CommandError::err("MONITOR isn't allowed for DENY BLOCKING client"));
    }
    let token = call.client;
    let client = &mut s.clients[token];
    if client.is_any(ClientFlags::SLAVE | ClientFlags::MASTER | ClientFlags::MONITOR) {
        // Its connection has another purpose, or this one, already.
        return Ok(());
    }
    client.flags |= ClientFlags::MONITOR;
    let noted = (token, client.id);
    // What was executed before is not for its eyes.
    monitoring::flush_monitors(s);
    s.observer.monitors.add(noted);
    call.reply.ok();
    Ok(())
}

pub const COMMANDS: &[Row] = &[("monitor", monitor)];
