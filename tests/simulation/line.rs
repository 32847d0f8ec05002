//! A client's connection to one server: requests go as the wire takes them, replies come as they are complete.

use super::network::{Plug, SharedNetwork};
use super::resp::{encode, reply_end};
use aeolis::server::connection::VirtualStream;

/// See the module.
pub struct Line {
    plug: Plug,
    pub server: usize,
    received: Vec<u8>,
    unsent: Vec<u8>,
}

impl Line {
    pub fn connect(network: &SharedNetwork, server: usize) -> Line {
        let plug = Plug::connect(network, server);
        Line { plug, server, received: Vec::new(), unsent: Vec::new() }
    }

    /// Whether it has been established that nothing will come any more.
    pub fn is_dead(&self) -> bool {
        self.plug.is_dead()
    }

    /// Makes a request, for [`Line::send`].
    pub fn request(&mut self, args: &[impl AsRef<[u8]>]) {
        self.unsent.extend(encode(args));
    }

    /// Sends what the wire takes.
    pub fn send(&mut self) {
        while !self.unsent.is_empty() {
            match self.plug.write(&self.unsent) {
                Ok(n) => drop(self.unsent.drain(..n)),
                Err(_) => return,
            }
        }
    }

    /// The replies that have come since this was asked last.
    pub fn replies(&mut self) -> Vec<Vec<u8>> {
        let mut buf = [0; 4096];
        while let Ok(n) = self.plug.read(&mut buf) {
            if n == 0 {
                break;
            }
            self.received.extend_from_slice(&buf[..n]);
        }
        let mut replies = Vec::new();
        while let Some(end) = reply_end(&self.received) {
            replies.push(self.received.drain(..end).collect());
        }
        replies
    }
}
