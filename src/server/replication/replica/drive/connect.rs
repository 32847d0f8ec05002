//! Where connections to a primary come from.

use crate::server::Server;
use crate::server::client::{ClientFlags, Token};
use crate::server::connection::Connection;
use crate::server::tls;
use mio::net::TcpStream;
use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};

/// Opens a connection to a primary; its client shakes hands.
pub(super) fn open_link(server: &mut Server, host: &str, port: u16) -> io::Result<Token> {
    let connection = connect_to(server, host, port)?;
    let token = server.create_client(connection)?;
    server.clients[token].flags |= ClientFlags::HANDSHAKE | ClientFlags::AUTHENTICATED;
    Ok(token)
}

/// Connects to the first of a host's addresses that does not refuse at once.
fn connect_to(server: &mut Server, host: &str, port: u16) -> io::Result<Connection> {
    if let Some(dialer) = &mut server.net.dialer {
        return dialer.dial(host, port).map(Connection::Virtual);
    }
    let source = server.config.bind_source_addr.as_deref();
    let mut refusal = io::Error::new(ErrorKind::NotFound, "the host has no address");
    for address in (host, port).to_socket_addrs()? {
        match connect_from(source, address) {
            Ok(stream) => return tls::replication_link(server, stream, host),
            Err(error) => refusal = error,
        }
    }
    Err(refusal)
}

fn connect_from(source: Option<&str>, address: SocketAddr) -> io::Result<TcpStream> {
    let Some(source) = source else { return TcpStream::connect(address) };
    let source: IpAddr = source.parse().map_err(io::Error::other)?;
    let domain = socket2::Domain::for_address(address);
    let socket = socket2::Socket::new(domain, socket2::Type::STREAM.nonblocking(), None)?;
    socket.bind(&SocketAddr::new(source, 0).into())?;
    match socket.connect(&address.into()) {
        Err(error) if error.raw_os_error() != Some(libc::EINPROGRESS) => return Err(error),
        _ => {}
    }
    Ok(TcpStream::from_std(socket.into()))
}
