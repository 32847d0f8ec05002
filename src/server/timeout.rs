//! Waits whose time is over end with the answer that they have then.

use super::Server;
use super::client::{Blocked, Token};
use crate::resp::error::CommandError;
use crate::resp::reply::Reply;
use crate::server::blocking;
use crate::server::output;
use crate::server::replication::primary::feed;

/// Ends the waits whose time is over.
pub(crate) fn handle_blocked_clients_timeout(server: &mut Server) {
    for noted in server.blocking.waits.late(server.ks.now_ms) {
        if let Some(token) = server.clients.find(noted)
            && !unblock_client_on_timeout(server, token)
        {
            blocking::unblock_client(server, token);
        }
    }
}

/// Ends a wait with the answer that it has when its time is over; `false` if it has none.
pub(crate) fn unblock_client_on_timeout(server: &mut Server, token: Token) -> bool {
    match server.clients[token].blocked.as_ref().map(|b| &b.on) {
        Some(Blocked::Keys(_)) => {
            blocking::count_unblocked(server, token, false);
            output::reply_to(server, token, Reply::null_array);
        }
        Some(&Blocked::Replicas { offset, .. }) => {
            let reached = feed::replicas_at(server, offset);
            output::reply_to(server, token, |reply| reply.int(reached as i64));
        }
        Some(&Blocked::Durable { offset, .. }) => {
            let reached = feed::durable_at(server, offset);
            output::reply_to(server, token, |reply| reached.reply(reply));
        }
        Some(Blocked::SlotChange(_)) => {
            let error = CommandError::NO_REPLICAS;
            return blocking::unblock_client_on_error(server, token, &error);
        }
        Some(Blocked::Pause | Blocked::Shutdown) | None => return false,
    }
    blocking::unblock_client(server, token);
    true
}
