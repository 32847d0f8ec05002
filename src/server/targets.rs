//! Connections to servers that `MIGRATE` sends keys to: the loop waits for them, but not for long. They are kept for a
//! few seconds.

use crate::sys::poll::{wait_readable, wait_writable};
use std::collections::HashMap;
use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::{Duration, Instant};

/// At most so many connections are kept,
const MAX_CACHED: usize = 64;
/// each for so many milliseconds after its last use.
const KEPT_MS: i64 = 10_000;
/// The longest reply of the other server that is a reply.
const MAX_LINE: u64 = 1024;
/// Bytes of requests that may take as long as a reply.
const PART: usize = 64 * 1024;

/// A socket whose reads and writes end in time, to the millisecond, however few bytes come at once. The sockets' own
/// timeouts are measured in ticks of the kernel, and anew for each byte.
struct Timed {
    socket: TcpStream,
    timeout: Duration,
    deadline: Instant,
}

impl Timed {
    fn new(socket: TcpStream, timeout: Duration) -> io::Result<Timed> {
        socket.set_nodelay(true)?;
        socket.set_nonblocking(true)?;
        Ok(Timed { socket, timeout, deadline: Instant::now() })
    }

    /// Something begins that may take as long as the timeout.
    fn begin(&mut self) {
        self.deadline = Instant::now() + self.timeout;
    }

    /// Waits as long as may be.
    fn wait(&self, until: fn(&TcpStream, Duration) -> io::Result<bool>) -> io::Result<()> {
        let left = self.deadline.saturating_duration_since(Instant::now());
        if until(&self.socket, left)? { Ok(()) } else { Err(ErrorKind::TimedOut.into()) }
    }
}

impl Read for Timed {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        loop {
            self.wait(wait_readable)?;
            match self.socket.read(buf) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                done => return done,
            }
        }
    }
}

impl Write for Timed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        loop {
            self.wait(wait_writable)?;
            match self.socket.write(bytes) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                done => return done,
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A connection to another server.
pub struct Target {
    stream: BufReader<Timed>,
    /// The database selected there, if it is known.
    pub db: Option<i64>,
    /// Milliseconds since 1970.
    pub last_use_ms: i64,
}

impl Target {
    fn connect(address: &Address, timeout: Duration) -> io::Result<Target> {
        let port: u16 = address.1.parse().map_err(|_| ErrorKind::InvalidInput)?;
        let mut failure = io::Error::from(ErrorKind::AddrNotAvailable);
        for address in (address.0.as_str(), port).to_socket_addrs()? {
            match TcpStream::connect_timeout(&address, timeout) {
                Ok(socket) => {
                    let stream = BufReader::new(Timed::new(socket, timeout)?);
                    return Ok(Target { stream, db: None, last_use_ms: 0 });
                }
                Err(error) => failure = error,
            }
        }
        Err(failure)
    }

    /// Sends requests.
    ///
    /// # Errors
    /// If the other server does not take them in time.
    pub fn send(&mut self, requests: &[u8]) -> io::Result<()> {
        let stream = self.stream.get_mut();
        requests.chunks(PART).try_for_each(|part| {
            stream.begin();
            stream.write_all(part)
        })
    }

    /// Reads a reply of one line; what an error says is `Err` inside.
    ///
    /// # Errors
    /// If none comes, within the timeout or at all.
    pub fn read_reply(&mut self) -> io::Result<Result<(), Vec<u8>>> {
        let mut line = Vec::new();
        self.stream.get_mut().begin();
        (&mut self.stream).take(MAX_LINE).read_until(b'\n', &mut line)?;
        let Some(line) = line.strip_suffix(b"\n") else {
            return Err(ErrorKind::UnexpectedEof.into());
        };
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        Ok(match line.strip_prefix(b"-") {
            Some(error) => Err(error.to_vec()),
            None => Ok(()),
        })
    }
}

/// Host and port, as they were given.
pub type Address = (String, String);

/// The connections that are kept.
#[derive(Default)]
pub struct CachedTargets(HashMap<Address, Target>);

impl CachedTargets {
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// Closes those that have not been used lately.
    pub fn close_unused(&mut self, now_ms: i64) {
        self.0.retain(|_, target| now_ms - target.last_use_ms <= KEPT_MS);
    }

    /// The connection to a server: the one that was kept, or a new one.
    ///
    /// # Errors
    /// If there is no connecting to it.
    pub fn take(&mut self, address: &Address, timeout: Duration) -> io::Result<Target> {
        let mut target = match self.0.remove(address) {
            Some(target) => target,
            None => Target::connect(address, timeout)?,
        };
        target.stream.get_mut().timeout = timeout;
        Ok(target)
    }

    /// Keeps a connection for the next time.
    pub fn put(&mut self, address: Address, target: Target) {
        if self.0.len() >= MAX_CACHED
            && let Some(any) = self.0.keys().next().cloned()
        {
            self.0.remove(&any);
        }
        self.0.insert(address, target);
    }
}
