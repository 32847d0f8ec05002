//! Where connections to a primary come from.

use crate::server::Server;
use crate::server::client::{ClientFlags, Token};
use crate::server::dial;
use std::io;

/// Opens a connection to a primary; its client shakes hands.
pub(super) fn open_link(server: &mut Server, host: &str, port: u16) -> io::Result<Token> {
    let encrypted = server.config.tls_replication;
    let connection = dial::dial(server, host, port, encrypted)?;
    let token = server.create_client(connection)?;
    server.clients[token].flags |= ClientFlags::HANDSHAKE | ClientFlags::AUTHENTICATED;
    Ok(token)
}
