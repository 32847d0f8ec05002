//! Who decides that keys have expired.

use super::Server;
use crate::db::ExpiryRole;

/// Gives the keyspace its role for the client whose turn it is: nobody decides while clients are paused, because
/// nothing may change then, nor while data are imported, because the server that they come from does.
pub(crate) fn restore_role(server: &mut Server) {
    let client = server.clients.in_turn().map(|token| &server.clients[token]);
    let is_importing = is_importing(server);
    server.ks.role = if client.is_some_and(|client| client.sees_expired(is_importing)) {
        ExpiryRole::Keep
    } else if server.repl.is_replica() || server.blocking.pause.is_active() || is_importing {
        ExpiryRole::Hide
    } else {
        ExpiryRole::Delete
    };
}

/// Whether data are being imported (`import-mode`): nothing expires and nothing is evicted.
pub(crate) fn is_importing(server: &Server) -> bool {
    server.config.import_mode && !server.repl.is_replica()
}
