//! The connections that replicas have opened for their snapshot, as the child writes to them.

use crate::server::Server;
use crate::server::client::Token;
use crate::sys::poll::wait_writable;
use std::fs::File;
use std::io::{self, ErrorKind, Write};
use std::os::fd::AsRawFd;
use std::time::Duration;

/// The sockets of RDB channels, as a child writes to them: all the same bytes, as fast as the slowest takes them. One
/// that fails, or takes nothing for too long, is left out from then on.
pub struct RdbChannelWriter {
    sockets: Vec<File>,
    stall: Duration,
}

impl RdbChannelWriter {
    /// For the connections of these clients.
    ///
    /// # Errors
    /// If the system has no descriptors left.
    pub fn new(server: &Server, channels: &[Token]) -> io::Result<RdbChannelWriter> {
        let sockets: io::Result<Vec<File>> =
            channels.iter().map(|&token| server.clients[token].conn.duplicate()).collect();
        let stall = Duration::from_secs(u64::from(server.config.repl_timeout));
        Ok(RdbChannelWriter { sockets: sockets?, stall })
    }

    /// What the child has to keep open.
    pub fn descriptors(&self) -> Vec<i32> {
        self.sockets.iter().map(AsRawFd::as_raw_fd).collect()
    }
}

impl Write for RdbChannelWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let stall = self.stall;
        self.sockets.retain_mut(|socket| write_all(socket, bytes, stall).is_ok());
        if self.sockets.is_empty() {
            return Err(io::Error::new(ErrorKind::BrokenPipe, "no replica is left"));
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn write_all(socket: &mut File, mut bytes: &[u8], stall: Duration) -> io::Result<()> {
    while !bytes.is_empty() {
        match socket.write(bytes) {
            Ok(n) => bytes = &bytes[n..],
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                if !wait_writable(socket, stall)? {
                    return Err(ErrorKind::TimedOut.into());
                }
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
