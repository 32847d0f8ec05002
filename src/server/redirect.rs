//! Redirections: a client that can follow one (`CLIENT CAPA redirect`) learns from a replica where the primary is,
//! instead of reading what may be old or being told that it can't write. As in Valkey 8.

use crate::resp::error::{CommandError, ErrorCode};
use crate::server::Server;
use crate::server::client::{ClientFlags, Token};
use crate::spec::CommandFlags;

/// What becomes of a request that is for the primary.
#[derive(Clone, Debug)]
pub enum Redirection {
    /// The client is told where to go.
    Elsewhere(CommandError),
    /// Nobody is the primary just now: the request waits.
    Undecided,
}

/// Whether this server, as a replica, sends a client with this request to its primary.
#[inline]
pub(crate) fn redirection(
    server: &Server,
    token: Token,
    flags: CommandFlags,
) -> Option<Redirection> {
    let client = &server.clients[token];
    if !client.is(ClientFlags::REDIRECT) {
        return None;
    }
    let primary = server.repl.primary()?;
    let reads = flags.contains(CommandFlags::READONLY) && !client.is(ClientFlags::READONLY);
    if !reads && !flags.contains(CommandFlags::WRITE) {
        return None;
    }
    // The server that takes over would send the client back here until it has.
    if server.repl.failover().is_in_progress() {
        return Some(Redirection::Undecided);
    }
    let text = format!("{}:{}", primary.host(), primary.port());
    Some(Redirection::Elsewhere(CommandError::with(ErrorCode::Redirect, text)))
}
