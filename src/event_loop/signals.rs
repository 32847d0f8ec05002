//! Signals as events: handlers write into a socket pair, the loop reads it.

use mio::net::UnixStream;
use mio::{Interest, Registry, Token};
use signal_hook::consts::{SIGCHLD, SIGHUP, SIGINT, SIGPIPE, SIGTERM};
use std::io::{self, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// The signals that ask the server to end or tell that a child has, and those that it ignores.
pub struct Signals {
    wake: UnixStream,
    raised: Vec<(i32, Arc<AtomicBool>)>,
}

impl Signals {
    /// Installs the handlers.
    ///
    /// # Errors
    /// If the system refuses.
    pub fn new() -> io::Result<Signals> {
        let (reader, writer) = std::os::unix::net::UnixStream::pair()?;
        reader.set_nonblocking(true)?;
        writer.set_nonblocking(true)?;
        let mut raised = Vec::new();
        for signal in [SIGTERM, SIGINT, SIGCHLD] {
            let flag = Arc::new(AtomicBool::new(false));
            signal_hook::flag::register(signal, Arc::clone(&flag))?;
            signal_hook::low_level::pipe::register(signal, writer.try_clone()?)?;
            raised.push((signal, flag));
        }
        for signal in [SIGHUP, SIGPIPE] {
            // A handler that only sets a flag nobody reads: the signal's default, to end the process, is gone.
            signal_hook::flag::register(signal, Arc::new(AtomicBool::new(false)))?;
        }
        Ok(Signals { wake: UnixStream::from_std(reader), raised })
    }

    pub fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        registry.register(&mut self.wake, token, Interest::READABLE)
    }

    /// What is true from the moment that SIGINT has come until [`Signals::pending`] tells of it.
    pub fn interrupt(&self) -> Option<Arc<AtomicBool>> {
        let raised = self.raised.iter().find(|(signal, _)| *signal == SIGINT);
        raised.map(|(_, flag)| Arc::clone(flag))
    }

    /// The signals that have come since the last call.
    pub fn pending(&mut self) -> Vec<i32> {
        let mut drain = [0; 64];
        while matches!(self.wake.read(&mut drain), Ok(n) if n > 0) {}
        let came = self.raised.iter().filter(|(_, flag)| flag.swap(false, Ordering::Relaxed));
        came.map(|(signal, _)| *signal).collect()
    }
}
