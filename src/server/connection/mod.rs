//! One of the three seams: bytes in and bytes out, over TCP, a Unix socket, TLS, or whatever a simulation puts in their
//! place.
//!
//! Every connection is non-blocking and registered once, edge-triggered, for reading and writing. [`tls`] is one with
//! TLS on it.

pub(crate) mod tls;

use crate::sys::socket::read_append;
use mio::net::{TcpStream, UnixStream};
use mio::{Interest, Registry, Token};
use rustls::pki_types::CertificateDer;
use socket2::{SockRef, TcpKeepalive};
use std::io::{self, IoSlice, Read, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;
use tls::TlsStream;

/// A stream socket.
#[derive(Debug)]
pub enum Connection {
    Tcp(TcpStream),
    Unix(UnixStream),
    Tls(Box<TlsStream>),
    Virtual(Box<dyn VirtualStream>),
}

/// A connection that is no socket. Dropping it closes it.
pub trait VirtualStream: std::fmt::Debug {
    /// The index of the client that owns it: events are to be told to that.
    fn attach(&mut self, token: usize);
    /// As of a non-blocking socket.
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize>;
    /// As of a non-blocking socket.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize>;
    /// Why connecting failed, if it did.
    fn take_error(&self) -> io::Result<Option<io::Error>>;
    fn peer(&self) -> SocketAddr;
    fn local(&self) -> SocketAddr;
}

/// The other end of a connection at which nobody is: nothing comes from it, and what is written is dropped.
#[derive(Debug)]
pub struct Nobody;

impl VirtualStream for Nobody {
    fn attach(&mut self, _: usize) {}

    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        Err(io::ErrorKind::WouldBlock.into())
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(bytes.len())
    }

    fn take_error(&self) -> io::Result<Option<io::Error>> {
        Ok(None)
    }

    fn peer(&self) -> SocketAddr {
        (Ipv4Addr::UNSPECIFIED, 0).into()
    }

    fn local(&self) -> SocketAddr {
        (Ipv4Addr::UNSPECIFIED, 0).into()
    }
}

/// Where connections to other servers come from, if not from the system.
pub trait Dialer {
    /// Begins to connect.
    ///
    /// # Errors
    /// If it fails at once.
    fn dial(&mut self, host: &str, port: u16) -> io::Result<Box<dyn VirtualStream>>;
}

impl Connection {
    /// Reads what is there, at most `buf`'s length.
    #[inline]
    pub fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        match self {
            Connection::Tcp(stream) => stream.read(buf),
            Connection::Unix(stream) => stream.read(buf),
            Connection::Tls(stream) => stream.read(buf),
            Connection::Virtual(stream) => stream.read(buf),
        }
    }

    /// Appends what is there, at most `room` bytes, to `buf`, which grows at once by what it lacks.
    pub fn read_append(&mut self, buf: &mut Vec<u8>, room: usize) -> io::Result<usize> {
        match self {
            Connection::Tcp(stream) => read_append(stream, buf, room),
            Connection::Unix(stream) => read_append(stream, buf, room),
            Connection::Tls(_) | Connection::Virtual(_) => {
                let have = buf.len();
                buf.resize(have + room, 0);
                let outcome = self.read(&mut buf[have..]);
                buf.truncate(have + outcome.as_ref().map_or(0, |n| *n));
                outcome
            }
        }
    }

    /// Writes what the socket takes.
    #[inline]
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Connection::Tcp(stream) => stream.write(bytes),
            Connection::Unix(stream) => stream.write(bytes),
            Connection::Tls(stream) => stream.write(bytes),
            Connection::Virtual(stream) => stream.write(bytes),
        }
    }

    /// Hands over what was written and waits because it had to be encrypted whole.
    pub fn flush(&mut self) -> io::Result<()> {
        match self {
            Connection::Tls(stream) => stream.flush(),
            _ => Ok(()),
        }
    }

    pub fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        match self {
            Connection::Tcp(stream) => stream.write_vectored(slices),
            Connection::Unix(stream) => stream.write_vectored(slices),
            Connection::Tls(stream) => stream.write_vectored(slices),
            Connection::Virtual(stream) => stream.write(slices.first().map_or(&[], |s| s)),
        }
    }

    /// Has events announced as those of `token`.
    pub fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        let interests = Interest::READABLE | Interest::WRITABLE;
        match self {
            Connection::Tcp(stream) => registry.register(stream, token, interests),
            Connection::Unix(stream) => registry.register(stream, token, interests),
            Connection::Tls(stream) => registry.register(stream.socket_mut(), token, interests),
            Connection::Virtual(_) => Ok(()),
        }
    }

    pub fn deregister(&mut self, registry: &Registry) -> io::Result<()> {
        match self {
            Connection::Tcp(stream) => registry.deregister(stream),
            Connection::Unix(stream) => registry.deregister(stream),
            Connection::Tls(stream) => registry.deregister(stream.socket_mut()),
            Connection::Virtual(_) => Ok(()),
        }
    }

    /// Why connecting failed, if it did.
    pub fn take_error(&self) -> io::Result<Option<io::Error>> {
        match self {
            Connection::Tcp(stream) => stream.take_error(),
            Connection::Unix(stream) => stream.take_error(),
            Connection::Tls(stream) => stream.socket().take_error(),
            Connection::Virtual(stream) => stream.take_error(),
        }
    }

    /// Sends small replies at once, and (with `keepalive` seconds, if not 0) notices a peer that is gone.
    pub fn set_options(&self, nodelay: bool, keepalive: u32) -> io::Result<()> {
        if let Some(stream) = self.tcp() {
            stream.set_nodelay(nodelay)?;
            if keepalive > 0 {
                // Three probes in the last third of the interval, as Redis sets them.
                let probe = Duration::from_secs(u64::from(keepalive / 3).max(1));
                let keepalive = TcpKeepalive::new()
                    .with_time(Duration::from_secs(u64::from(keepalive)))
                    .with_interval(probe)
                    .with_retries(3);
                SockRef::from(stream).set_tcp_keepalive(&keepalive)?;
            }
        }
        Ok(())
    }

    pub fn is_encrypted(&self) -> bool {
        matches!(self, Connection::Tls(_))
    }

    /// Whether the two ends have not agreed on keys yet.
    pub fn is_handshaking(&self) -> bool {
        matches!(self, Connection::Tls(stream) if stream.is_handshaking())
    }

    /// Whether the other end has said that it sends no more, though the socket is open.
    #[inline]
    pub fn has_ended(&self) -> bool {
        matches!(self, Connection::Tls(stream) if stream.has_ended())
    }

    /// The certificate that the other end has shown, if it has; it has been verified.
    pub fn certificate(&self) -> Option<&CertificateDer<'static>> {
        match self {
            Connection::Tls(stream) => stream.certificate(),
            _ => None,
        }
    }

    /// The other end, as Redis prints it: `127.0.0.1:1234`, `[::1]:1234`, or `path:0`.
    pub fn peer(&self, unix_path: &str) -> String {
        self.address(unix_path, TcpStream::peer_addr, |stream| stream.peer())
    }

    /// Our end, in the same form.
    pub fn local(&self, unix_path: &str) -> String {
        self.address(unix_path, TcpStream::local_addr, |stream| stream.local())
    }

    fn address(
        &self,
        unix_path: &str,
        of_tcp: fn(&TcpStream) -> io::Result<SocketAddr>,
        of_virtual: fn(&dyn VirtualStream) -> SocketAddr,
    ) -> String {
        match self {
            Connection::Unix(_) => format!("{unix_path}:0"),
            Connection::Virtual(stream) => of_virtual(&**stream).to_string(),
            Connection::Tcp(_) | Connection::Tls(_) => {
                let address = self.tcp().and_then(|stream| of_tcp(stream).ok());
                address.map_or_else(|| "?:0".to_string(), |a| a.to_string())
            }
        }
    }

    /// The TCP socket that it is, or that is beneath it.
    fn tcp(&self) -> Option<&TcpStream> {
        match self {
            Connection::Tcp(stream) => Some(stream),
            Connection::Tls(stream) => Some(stream.socket()),
            Connection::Unix(_) | Connection::Virtual(_) => None,
        }
    }

    /// The other end's address without its port.
    pub fn peer_ip(&self) -> Option<std::net::IpAddr> {
        match self {
            Connection::Virtual(stream) => Some(stream.peer().ip()),
            _ => self.tcp()?.peer_addr().ok().map(|a| a.ip().to_canonical()),
        }
    }

    /// Our end's address without its port.
    pub fn local_ip(&self) -> Option<std::net::IpAddr> {
        match self {
            Connection::Virtual(stream) => Some(stream.local().ip()),
            _ => self.tcp()?.local_addr().ok().map(|a| a.ip().to_canonical()),
        }
    }

    /// Whether small pieces are sent at once.
    ///
    /// # Errors
    /// What setsockopt(2) reports.
    pub fn set_nodelay(&self, nodelay: bool) -> io::Result<()> {
        self.tcp().map_or(Ok(()), |stream| stream.set_nodelay(nodelay))
    }

    /// Ends the connection for everybody who holds it, a child too.
    pub fn shutdown(&self) {
        let how = std::net::Shutdown::Both;
        // It may have ended already.
        let _ = match self {
            Connection::Tcp(stream) => stream.shutdown(how),
            Connection::Unix(stream) => stream.shutdown(how),
            Connection::Tls(stream) => stream.socket().shutdown(how),
            Connection::Virtual(_) => Ok(()),
        };
    }

    /// Tells the other end that nothing more will be written.
    pub fn shutdown_write(&mut self) {
        let how = std::net::Shutdown::Write;
        // It may have ended already.
        let _ = match self {
            Connection::Tcp(stream) => stream.shutdown(how),
            Connection::Unix(stream) => stream.shutdown(how),
            Connection::Tls(stream) => {
                stream.close_notify();
                stream.socket().shutdown(how)
            }
            Connection::Virtual(_) => Ok(()),
        };
    }

    /// Another process goes on with it: closing it here is not to say farewell.
    pub fn abandon(&mut self) {
        if let Connection::Tls(stream) = self {
            stream.abandon();
        }
    }

    /// Another descriptor of the same socket.
    ///
    /// # Errors
    /// If there is none, or the system has none left.
    pub fn duplicate(&self) -> io::Result<std::fs::File> {
        use std::os::fd::AsFd;
        let fd = match self {
            Connection::Tcp(stream) => stream.as_fd(),
            Connection::Unix(stream) => stream.as_fd(),
            Connection::Tls(stream) => stream.socket().as_fd(),
            Connection::Virtual(_) => return Err(io::ErrorKind::Unsupported.into()),
        };
        Ok(fd.try_clone_to_owned()?.into())
    }

    /// The file descriptor's number, for `CLIENT LIST`.
    pub fn fd(&self) -> i32 {
        use std::os::fd::AsRawFd;
        match self {
            Connection::Tcp(stream) => stream.as_raw_fd(),
            Connection::Unix(stream) => stream.as_raw_fd(),
            Connection::Tls(stream) => stream.socket().as_raw_fd(),
            Connection::Virtual(_) => -1,
        }
    }
}
