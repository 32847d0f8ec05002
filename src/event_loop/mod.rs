//! The event loop: `ae`'s part. It polls, and tells the server what happened; it owns no Redis state.
//!
//! What a turn consists of is the server's business: see [`turn`].

mod busy_wait;
pub(crate) mod listeners;
pub(crate) mod signals;

use crate::server::cluster::drive;
use crate::server::cluster::links::FIRST_BUS_LINK;
use crate::server::connection::Connection;
use crate::server::observe::log::Level;
use crate::server::tls;
use crate::server::turn;
use crate::server::turn::{ClientEvent, Event, EventSource, Next};
use crate::server::web;
use crate::server::{FIRST_CLIENT, FIRST_VISITOR, SNAPSHOT_PIPE, Server, WAKER};
use busy_wait::BusyWait;
use listeners::{FIRST_LISTENER, Listener, Listeners};
use mio::{Events, Poll, Token};
use signal_hook::consts::SIGCHLD;
use signals::Signals;
use std::io::{self, ErrorKind};
use std::time::{Duration, Instant};

const SIGNALS: Token = Token(0);
/// Events taken from one poll.
const EVENTS: usize = 1024;

/// What the loop of one server waits for.
struct EventLoop {
    poll: Poll,
    listeners: Listeners,
    signals: Signals,
    events: Events,
    busy_wait: BusyWait,
}

impl EventLoop {
    /// Waits until something happens, but not for longer than `timeout`; awake for the first `limit` of it if that is
    /// likely to be enough.
    fn poll(&mut self, timeout: Duration, limit: Duration) -> io::Result<()> {
        if timeout.is_zero() || limit.is_zero() {
            return self.poll.poll(&mut self.events, Some(timeout));
        }
        let start = Instant::now();
        if self.busy_wait.is_due() {
            let limit = limit.min(timeout);
            let mut waited = Duration::ZERO;
            while waited < limit {
                self.poll.poll(&mut self.events, Some(Duration::ZERO))?;
                let now = start.elapsed();
                self.busy_wait.looked(now - waited);
                waited = now;
                if !self.events.is_empty() {
                    self.busy_wait.caught();
                    return Ok(());
                }
            }
        }
        self.poll.poll(&mut self.events, Some(timeout.saturating_sub(start.elapsed())))?;
        self.busy_wait.slept(start.elapsed(), limit);
        Ok(())
    }
}

/// Opens the listeners that the configuration asks for, and has the server be told of what happens.
///
/// # Errors
/// If there is nothing to listen on, or the system refuses.
pub fn open(server: &mut Server) -> io::Result<()> {
    open_with(server, Signals::new()?)
}

/// The same, with signals that may not be the process's.
///
/// # Errors
/// As for [`open`].
pub(crate) fn open_with(server: &mut Server, mut signals: Signals) -> io::Result<()> {
    let poll = Poll::new()?;
    signals.register(poll.registry(), SIGNALS)?;
    server.lifecycle.shutdown.heed_interrupt(signals.interrupt());
    let listeners = Listeners::open(poll.registry(), server)?;
    server.net.set_registry(poll.registry().try_clone()?);
    server.persistence.bio.set_waker(mio::Waker::new(poll.registry(), WAKER)?);
    let events = Events::with_capacity(EVENTS);
    turn::attach(
        server,
        Box::new(EventLoop { poll, listeners, signals, events, busy_wait: BusyWait::default() }),
    );
    Ok(())
}

/// Runs until the server is to end; returns the exit code.
///
/// # Errors
/// If polling fails.
pub fn run(server: &mut Server) -> io::Result<i32> {
    loop {
        if let Some(code) = take_turn(server)? {
            return Ok(code);
        }
    }
}

/// Takes one turn, and waits until the next is due; returns the exit code if there is to be none.
///
/// # Errors
/// If polling fails.
pub(crate) fn take_turn(server: &mut Server) -> io::Result<Option<i32>> {
    let now_us = |server: &Server| server.ks.clock.nanos() / 1000;
    let timeout = match turn::turn(server, now_us(server)) {
        Next::Now => Duration::ZERO,
        Next::Until(at_us) => Duration::from_micros(at_us.saturating_sub(now_us(server))),
        Next::Exit(code) => {
            // The listeners are to be closed before the first client is.
            turn::detach(server);
            return Ok(Some(code));
        }
    };
    match turn::wait(server, timeout) {
        Err(error) if error.kind() == ErrorKind::Interrupted => {}
        outcome => outcome?,
    }
    Ok(None)
}

impl EventSource for EventLoop {
    fn wait(&mut self, server: &mut Server, timeout: Duration) -> io::Result<()> {
        let limit = Duration::from_micros(server.config.busy_wait_us.into());
        self.poll(timeout, limit)?;
        for event in &self.events {
            let closed = event.is_read_closed() || event.is_error();
            let readable = event.is_readable() || closed;
            let writable = event.is_writable();
            let event = match event.token() {
                SIGNALS => {
                    for signal in self.signals.pending() {
                        turn::happened(server, of_signal(signal));
                    }
                    continue;
                }
                SNAPSHOT_PIPE => Event::SnapshotPipe,
                Token(token @ FIRST_BUS_LINK..) => {
                    Event::Bus { link: (token - FIRST_BUS_LINK) as u64, writable }
                }
                Token(token @ FIRST_CLIENT..) => {
                    let token = token - FIRST_CLIENT;
                    Event::Client(ClientEvent { token, readable, writable, closed })
                }
                Token(token @ FIRST_VISITOR..) => Event::Visitor(token - FIRST_VISITOR),
                Token(token @ FIRST_LISTENER..) => Event::Listener(token - FIRST_LISTENER),
                _ => continue,
            };
            turn::happened(server, event);
        }
        Ok(())
    }

    fn accept(&mut self, server: &mut Server, index: usize) {
        let Some(listener) = self.listeners.get(index) else { return };
        loop {
            let accepted = match listener {
                Listener::Tcp(l) | Listener::Web(l) => {
                    l.accept().map(|(stream, _)| Connection::Tcp(stream))
                }
                Listener::Tls(l) | Listener::WebTls(l) => {
                    l.accept().and_then(|(stream, _)| tls::accept_tls(server, stream))
                }
                Listener::Unix(l) => l.accept().map(|(stream, _)| Connection::Unix(stream)),
                Listener::Bus(l) if server.config.tls_cluster => {
                    l.accept().and_then(|(stream, _)| tls::accept_tls(server, stream))
                }
                Listener::Bus(l) => l.accept().map(|(stream, _)| Connection::Tcp(stream)),
            };
            match accepted {
                Ok(connection) => match listener {
                    Listener::Web(_) | Listener::WebTls(_) => web::accept(server, connection),
                    Listener::Bus(_) => drive::accept(server, connection),
                    Listener::Tcp(_) | Listener::Tls(_) | Listener::Unix(_) => {
                        server.accept_common_handler(connection);
                    }
                },
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => {
                    server.log(
                        Level::Warning,
                        &format!("Accepting client connection: accept: {error}"),
                    );
                    return;
                }
            }
        }
    }

    fn listen_anew(&mut self, server: &mut Server) {
        self.listeners.close_tcp(self.poll.registry());
        let registry = self.poll.registry();
        let opened = self.listeners.open_tcp(registry, server);
        if let Err(error) = opened.and_then(|()| self.listeners.open_web(registry, server)) {
            server.log(
                Level::Warning,
                &format!("Failed to listen after a change of address: {error}"),
            );
        }
    }
}

fn of_signal(signal: i32) -> Event {
    if signal == SIGCHLD { Event::ChildEnded } else { Event::Signal(signal) }
}
