//! Where connections to other servers come from: the system, or whatever a simulation puts in its place.

use super::Server;
use super::connection::Connection;
use super::tls;
use mio::net::TcpStream;
use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};

/// Begins to connect to the first of a host's addresses that does not refuse at once.
///
/// # Errors
/// If all of them refuse, or it has none.
pub(crate) fn dial(
    server: &mut Server,
    host: &str,
    port: u16,
    encrypted: bool,
) -> io::Result<Connection> {
    if let Some(dialer) = server.net.dialer() {
        return dialer.dial(host, port).map(Connection::Virtual);
    }
    let source = server.config.bind_source_addr.as_deref();
    let mut refusal = io::Error::new(ErrorKind::NotFound, "the host has no address");
    for address in (host, port).to_socket_addrs()? {
        match connect_from(source, address) {
            Ok(stream) if encrypted => return tls::connect_tls(server, stream, host),
            Ok(stream) => return Ok(Connection::Tcp(stream)),
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
