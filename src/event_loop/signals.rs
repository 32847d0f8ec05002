//! Signals as events: handlers write into a socket pair, the loop reads it.

use mio::net::UnixStream;
use mio::{Interest, Registry, Token};
use signal_hook::consts::{SIGCHLD, SIGHUP, SIGINT, SIGPIPE, SIGTERM};
use std::io::{self, Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// The signals that ask the server to end or tell that a child has, and those that it ignores.
pub struct Signals {
    wake: UnixStream,
    raised: Vec<(i32, Arc<AtomicBool>)>,
}

/// How a program asks the server that is a part of it to end.
#[derive(Debug, Default)]
pub struct Ask {
    to_end: Arc<AtomicBool>,
    to_insist: Arc<AtomicBool>,
    wake: Option<std::os::unix::net::UnixStream>,
}

impl Ask {
    /// As SIGTERM does.
    pub fn to_end(&self) {
        self.to_end.store(true, Ordering::Relaxed);
        if let Some(mut wake) = self.wake.as_ref() {
            // Full, it wakes the loop, too; and a loop that has ended needs no asking.
            let _ = wake.write(&[0]);
        }
    }

    /// As SIGINT does if it comes again: nothing is saved.
    pub fn to_end_now(&self) {
        self.to_insist.store(true, Ordering::Relaxed);
        self.to_end();
    }
}

impl Signals {
    /// Installs the handlers.
    ///
    /// # Errors
    /// If the system refuses.
    pub fn new() -> io::Result<Signals> {
        let (signals, writer) = Signals::unhandled()?;
        for (signal, flag) in &signals.raised {
            signal_hook::flag::register(*signal, Arc::clone(flag))?;
            signal_hook::low_level::pipe::register(*signal, writer.try_clone()?)?;
        }
        for signal in [SIGHUP, SIGPIPE] {
            // A handler that only sets a flag nobody reads: the signal's default, to end the process, is gone.
            signal_hook::flag::register(signal, Arc::new(AtomicBool::new(false)))?;
        }
        Ok(signals)
    }

    /// For a server that is a part of a program, whose signals are none of its business but for the end of a child.
    /// What the others would ask for, the program asks for itself.
    ///
    /// # Errors
    /// If the system refuses.
    pub fn of_program() -> io::Result<(Signals, Ask)> {
        let (signals, writer) = Signals::unhandled()?;
        let flag = |wanted| {
            let raised = signals.raised.iter().find(|(signal, _)| *signal == wanted);
            raised.map(|(_, flag)| Arc::clone(flag)).unwrap_or_default()
        };
        signal_hook::flag::register(SIGCHLD, flag(SIGCHLD))?;
        signal_hook::low_level::pipe::register(SIGCHLD, writer.try_clone()?)?;
        let ask = Ask { to_end: flag(SIGTERM), to_insist: flag(SIGINT), wake: Some(writer) };
        Ok((signals, ask))
    }

    fn unhandled() -> io::Result<(Signals, std::os::unix::net::UnixStream)> {
        let (reader, writer) = std::os::unix::net::UnixStream::pair()?;
        reader.set_nonblocking(true)?;
        writer.set_nonblocking(true)?;
        let raised = [SIGTERM, SIGINT, SIGCHLD].map(|signal| (signal, Arc::default())).into();
        Ok((Signals { wake: UnixStream::from_std(reader), raised }, writer))
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
