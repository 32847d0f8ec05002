//! One of the three seams: bytes in and bytes out, over TCP, a Unix socket, or whatever a simulation puts in their place.
//!
//! Every connection is non-blocking and registered once, edge-triggered, for reading and writing.
#![forbid(unsafe_code)]

use crate::sys::socket::read_append;
use mio::net::{TcpStream, UnixStream};
use mio::{Interest, Registry, Token};
use socket2::{SockRef, TcpKeepalive};
use std::io::{self, IoSlice, Read, Write};
use std::net::SocketAddr;
use std::time::Duration;

/// A stream socket.
#[derive(Debug)]
pub enum Connection {
    Tcp(TcpStream),
    Unix(UnixStream),
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
            Connection::Virtual(stream) => stream.read(buf),
        }
    }

    /// Appends what is there, at most `room` bytes, to `buf`, which grows at once by what it lacks.
    pub fn read_append(&mut self, buf: &mut Vec<u8>, room: usize) -> io::Result<usize> {
        match self {
            Connection::Tcp(stream) => read_append(stream, buf, room),
            Connection::Unix(stream) => read_append(stream, buf, room),
            Connection::Virtual(stream) => {
                let have = buf.len();
                buf.resize(have + room, 0);
                let outcome = stream.read(&mut buf[have..]);
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
            Connection::Virtual(stream) => stream.write(bytes),
        }
    }

    pub fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        match self {
            Connection::Tcp(stream) => stream.write_vectored(slices),
            Connection::Unix(stream) => stream.write_vectored(slices),
            Connection::Virtual(stream) => stream.write(slices.first().map_or(&[], |s| s)),
        }
    }

    /// Has events announced as those of `token`.
    pub fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        let interests = Interest::READABLE | Interest::WRITABLE;
        match self {
            Connection::Tcp(stream) => registry.register(stream, token, interests),
            Connection::Unix(stream) => registry.register(stream, token, interests),
            Connection::Virtual(_) => Ok(()),
        }
    }

    pub fn deregister(&mut self, registry: &Registry) -> io::Result<()> {
        match self {
            Connection::Tcp(stream) => registry.deregister(stream),
            Connection::Unix(stream) => registry.deregister(stream),
            Connection::Virtual(_) => Ok(()),
        }
    }

    /// Why connecting failed, if it did.
    pub fn take_error(&self) -> io::Result<Option<io::Error>> {
        match self {
            Connection::Tcp(stream) => stream.take_error(),
            Connection::Unix(stream) => stream.take_error(),
            Connection::Virtual(stream) => stream.take_error(),
        }
    }

    /// Sends small replies at once, and (with `keepalive` seconds, if not 0) notices a peer that is gone.
    pub fn set_options(&self, nodelay: bool, keepalive: u32) -> io::Result<()> {
        if let Connection::Tcp(stream) = self {
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

    /// The other end, as Redis prints it: `127.0.0.1:1234`, `[::1]:1234`, or `path:0`.
    pub fn peer(&self, unix_path: &str) -> String {
        match self {
            Connection::Tcp(stream) => {
                stream.peer_addr().map_or_else(|_| "?:0".to_string(), |a| a.to_string())
            }
            Connection::Unix(_) => format!("{unix_path}:0"),
            Connection::Virtual(stream) => stream.peer().to_string(),
        }
    }

    /// Our end, in the same form.
    pub fn local(&self, unix_path: &str) -> String {
        match self {
            Connection::Tcp(stream) => {
                stream.local_addr().map_or_else(|_| "?:0".to_string(), |a| a.to_string())
            }
            Connection::Unix(_) => format!("{unix_path}:0"),
            Connection::Virtual(stream) => stream.local().to_string(),
        }
    }

    /// The other end's address without its port.
    pub fn peer_ip(&self) -> Option<std::net::IpAddr> {
        match self {
            Connection::Tcp(stream) => stream.peer_addr().ok().map(|a| a.ip().to_canonical()),
            Connection::Unix(_) => None,
            Connection::Virtual(stream) => Some(stream.peer().ip()),
        }
    }

    /// Whether small pieces are sent at once.
    ///
    /// # Errors
    /// What setsockopt(2) reports.
    pub fn set_nodelay(&self, nodelay: bool) -> io::Result<()> {
        match self {
            Connection::Tcp(stream) => stream.set_nodelay(nodelay),
            Connection::Unix(_) | Connection::Virtual(_) => Ok(()),
        }
    }

    /// Ends the connection for everybody who holds it, a child too.
    pub fn shutdown(&self) {
        let how = std::net::Shutdown::Both;
        // It may have ended already.
        let _ = match self {
            Connection::Tcp(stream) => stream.shutdown(how),
            Connection::Unix(stream) => stream.shutdown(how),
            Connection::Virtual(_) => Ok(()),
        };
    }

    /// Another descriptor of the same connection, for a child to write to.
    pub fn duplicate(&self) -> io::Result<std::fs::File> {
        use std::os::fd::AsFd;
        let fd = match self {
            Connection::Tcp(stream) => stream.as_fd(),
            Connection::Unix(stream) => stream.as_fd(),
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
            Connection::Virtual(_) => -1,
        }
    }
}
