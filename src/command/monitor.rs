//! MONITOR: a client that sees every command that is executed.
#![forbid(unsafe_code)]

use super::redact::redact;
use super::spec::CommandFlags;
use super::table::Row;
use crate::resp::error::{CommandError, CommandResult};
use crate::server::Server;
use crate::server::client::{ClientFlags, Token};
use crate::util::args::quote;

fn monitor(s: &mut Server, _: &[&[u8]]) -> CommandResult {
    if s.deny_blocking {
        return Err(CommandError::err("MONITOR isn't allowed for DENY BLOCKING client"));
    }
    let Some(token) = s.current else { return Ok(()) };
    let client = &mut s.clients[token];
    if client.is(ClientFlags::SLAVE | ClientFlags::MASTER) {
        // Its connection has another purpose already.
        return Ok(());
    }
    if !client.is(ClientFlags::MONITOR) {
        client.flags |= ClientFlags::MONITOR;
        s.monitors.push((token, client.id));
    }
    s.reply.ok();
    Ok(())
}

impl Server {
    /// Shows a command that was executed to all monitors, unless its `flags` keep it from being seen.
    pub fn feed_monitors(&mut self, token: Token, flags: CommandFlags, args: &[&[u8]]) {
        if flags.intersects(CommandFlags::SKIP_MONITOR | CommandFlags::ADMIN)
            || self.loading.is_some()
        {
            return;
        }
        let Some(client) = self.clients.get(token) else { return };
        let now = self.clock.unix_us();
        let peer = client.conn.peer(&self.unix_path());
        let peer = if self.in_script {
            "lua".to_string()
        } else if client.is(ClientFlags::UNIX_SOCKET) {
            format!("unix:{}", self.unix_path())
        } else {
            peer
        };
        let mut line = format!("+{}.{:06} [{} {peer}]", now / 1_000_000, now % 1_000_000, self.db)
            .into_bytes();
        for arg in redact(args) {
            line.push(b' ');
            line.extend(quote(arg));
        }
        line.extend(b"\r\n");
        let monitors = std::mem::take(&mut self.monitors);
        for noted in monitors {
            // Monitors that are gone, or were reset, drop out here.
            if let Some(monitor) =
                self.still(noted).filter(|&m| self.clients[m].is(ClientFlags::MONITOR))
            {
                self.add_reply_to(monitor, &line);
                self.monitors.push(noted);
            }
        }
    }
}

pub const COMMANDS: &[Row] = &[("monitor", monitor)];
