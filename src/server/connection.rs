//! One of the three seams: bytes in and bytes out, over TCP or a Unix socket.
//!
//! Every connection is non-blocking and registered once, edge-triggered, for reading and writing.
#![forbid(unsafe_code)]

use mio::net::{TcpStream, UnixStream};
use mio::{Interest, Registry, Token};
use socket2::{SockRef, TcpKeepalive};
use std::io::{self, IoSlice, Read, Write};
use std::time::Duration;

/// A stream socket.
#[derive(Debug)]
pub enum Connection {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Connection {
    /// Reads what is there, at most `buf`'s length.
    #[inline]
    pub fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        match self {
            Connection::Tcp(stream) => stream.read(buf),
            Connection::Unix(stream) => stream.read(buf),
        }
    }

    /// Writes what the socket takes.
    #[inline]
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Connection::Tcp(stream) => stream.write(bytes),
            Connection::Unix(stream) => stream.write(bytes),
        }
    }

    pub fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        match self {
            Connection::Tcp(stream) => stream.write_vectored(slices),
            Connection::Unix(stream) => stream.write_vectored(slices),
        }
    }

    pub fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        let interests = Interest::READABLE | Interest::WRITABLE;
        match self {
            Connection::Tcp(stream) => registry.register(stream, token, interests),
            Connection::Unix(stream) => registry.register(stream, token, interests),
        }
    }

    pub fn deregister(&mut self, registry: &Registry) -> io::Result<()> {
        match self {
            Connection::Tcp(stream) => registry.deregister(stream),
            Connection::Unix(stream) => registry.deregister(stream),
        }
    }

    /// Why connecting failed, if it did.
    pub fn take_error(&self) -> io::Result<Option<io::Error>> {
        match self {
            Connection::Tcp(stream) => stream.take_error(),
            Connection::Unix(stream) => stream.take_error(),
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
        }
    }

    /// Our end, in the same form.
    pub fn local(&self, unix_path: &str) -> String {
        match self {
            Connection::Tcp(stream) => {
                stream.local_addr().map_or_else(|_| "?:0".to_string(), |a| a.to_string())
            }
            Connection::Unix(_) => format!("{unix_path}:0"),
        }
    }

    /// The other end's address without its port.
    pub fn peer_ip(&self) -> Option<std::net::IpAddr> {
        match self {
            Connection::Tcp(stream) => stream.peer_addr().ok().map(|a| a.ip().to_canonical()),
            Connection::Unix(_) => None,
        }
    }

    /// The file descriptor's number, for `CLIENT LIST`.
    pub fn fd(&self) -> i32 {
        use std::os::fd::AsRawFd;
        match self {
            Connection::Tcp(stream) => stream.as_raw_fd(),
            Connection::Unix(stream) => stream.as_raw_fd(),
        }
    }
}
