//! A script that runs for long. It can't be interrupted, but from time to time other clients are served
//! ([`serve_others`](super::turn)), though little of what they ask, and may end it.

use super::Server;
use super::call::Call;
use super::client::{ClientFlags, Token};
use crate::resp::error::CommandResult;

/// `SCRIPT KILL` or `FUNCTION KILL`: has the script end that runs.
///
/// # Errors
/// If none runs, or it can't be ended so.
pub(crate) fn kill_script(
    server: &mut Server,
    call: &mut Call,
    is_function: bool,
) -> CommandResult {
    let obeyed = server.scripting.busy().is_some_and(|busy| must_obey(server, busy.caller));
    server.scripting.kill(is_function, obeyed)?;
    call.reply.ok();
    Ok(())
}

/// Whether what a client asks for has been done already, by the primary or before the file was written, so that it
/// is not for this server to refuse.
pub(crate) fn must_obey(server: &Server, token: Token) -> bool {
    server.clients[token].is_any(ClientFlags::MASTER | ClientFlags::MOVES_SLOTS)
        || server.persistence.aof.is_replaying()
}

/// Whether what a client sends has to wait until the script has ended: it runs the script itself, or its stream
/// belongs behind it.
pub(crate) fn waits_for_script(server: &Server, token: Token) -> bool {
    if !server.scripting.is_busy() {
        return false;
    }
    let stream = ClientFlags::MASTER
        | ClientFlags::HANDSHAKE
        | ClientFlags::REPLAYING
        | ClientFlags::MOVES_SLOTS;
    server.scripting.is_busy_for(token)
        || server.clients.get(token).is_some_and(|client| client.is_any(stream))
}
