//! The event loop: `ae`'s part. It polls, and tells the server what happened; it owns no Redis state.
//!
//! One turn: pending input, then `before_sleep`, then the poll, then what the poll brought, then the timers.

pub(crate) mod listeners;
pub(crate) mod signals;

use crate::server::busy;
use crate::server::connection::Connection;
use crate::server::observe::log::Level;
use crate::server::output;
use crate::server::persistence;
use crate::server::persistence::load::{LoadError, LoadProgress};
use crate::server::replication::primary::snapshot;
use crate::server::replication::replica;
use crate::server::replication::replica::loading;
use crate::server::shutdown;
use crate::server::startup;
use crate::server::tls;
use crate::server::{FIRST_CLIENT, SNAPSHOT_PIPE, Server, WAKER, client::ClientFlags};
use listeners::{FIRST_LISTENER, Listener, Listeners};
use mio::{Events, Poll, Token};
use signal_hook::consts::SIGCHLD;
use signals::Signals;
use std::cell::RefCell;
use std::collections::VecDeque;
use std::io::{self, ErrorKind};
use std::rc::Rc;
use std::time::{Duration, Instant};

const SIGNALS: Token = Token(0);
/// Events taken from one poll.
const EVENTS: usize = 1024;

/// The loop of one server.
pub struct EventLoop {
    sources: Rc<RefCell<Sources>>,
}

/// Where events come from. A turn in the midst of another one takes them from here, too.
struct Sources {
    poll: Poll,
    listeners: Listeners,
    signals: Signals,
    events: Events,
    /// What happened, and has not been dealt with.
    ready: VecDeque<Ready>,
}

/// That something happened to a source.
#[derive(Clone, Copy)]
struct Ready {
    token: Token,
    readable: bool,
    writable: bool,
    /// No further event will come.
    closed: bool,
}

impl Sources {
    /// Waits until something happens.
    fn wait(&mut self, timeout: Duration) -> io::Result<()> {
        self.poll.poll(&mut self.events, Some(timeout))?;
        self.ready.extend(self.events.iter().map(|event| {
            let closed = event.is_read_closed() || event.is_error();
            let readable = event.is_readable() || closed;
            Ready { token: event.token(), readable, writable: event.is_writable(), closed }
        }));
        Ok(())
    }

    fn accept(&self, server: &mut Server, index: usize) {
        let Some(listener) = self.listeners.get(index) else { return };
        loop {
            let accepted = match listener {
                Listener::Tcp(l) => l.accept().map(|(stream, _)| Connection::Tcp(stream)),
                Listener::Tls(l) => {
                    l.accept().and_then(|(stream, _)| tls::accept_tls(server, stream))
                }
                Listener::Unix(l) => l.accept().map(|(stream, _)| Connection::Unix(stream)),
            };
            match accepted {
                Ok(connection) => {
                    server.accept_common_handler(connection);
                }
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

    /// The addresses have changed: closes the old listeners and opens new ones.
    fn reopen(&mut self, server: &mut Server) {
        self.listeners.close_tcp(self.poll.registry());
        if let Err(error) = self.listeners.open_tcp(self.poll.registry(), server) {
            server.log(
                Level::Warning,
                &format!("Failed to listen after a change of address: {error}"),
            );
        }
    }
}

impl EventLoop {
    /// Opens the listeners that the configuration asks for, and gives the server its registry.
    ///
    /// # Errors
    /// If there is nothing to listen on, or the system refuses.
    pub fn new(server: &mut Server) -> io::Result<EventLoop> {
        let poll = Poll::new()?;
        let mut signals = Signals::new()?;
        signals.register(poll.registry(), SIGNALS)?;
        server.lifecycle.shutdown.heed_interrupt(signals.interrupt());
        let listeners = Listeners::open(poll.registry(), server)?;
        server.registry = Some(poll.registry().try_clone()?);
        server.persistence.bio.set_waker(mio::Waker::new(poll.registry(), WAKER)?);
        let events = Events::with_capacity(EVENTS);
        let ready = VecDeque::new();
        let sources = Sources { poll, listeners, signals, events, ready };
        let sources = Rc::new(RefCell::new(sources));
        let of_turns = Rc::clone(&sources);
        let in_midst_of_script = move |server: &mut Server| take_turn(&of_turns, server);
        server.scripting.set_take_turn(Some(Rc::new(in_midst_of_script)));
        Ok(EventLoop { sources })
    }

    /// Runs until the server is to end; answers the exit code.
    ///
    /// # Errors
    /// If polling fails.
    pub fn run(&mut self, server: &mut Server) -> io::Result<i32> {
        let mut next_cron = Instant::now();
        loop {
            if server.rebind {
                server.rebind = false;
                self.sources.borrow_mut().reopen(server);
            }
            server.before_sleep();
            if let Some(code) = server.lifecycle.shutdown.exit_code() {
                // The listeners are to be closed before the first client is.
                server.scripting.set_take_turn(None);
                return Ok(code);
            }
            let timeout = if server.has_pending_work() {
                Duration::ZERO
            } else {
                server.next_timer().min(next_cron.saturating_duration_since(Instant::now()))
            };
            // Bound to a name: a `match` on it would keep the sources borrowed.
            let waited = self.sources.borrow_mut().wait(timeout);
            match waited {
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                outcome => outcome?,
            }
            let turn = server.clock.nanos();
            let commands = server.observer.stats().commands;
            server.update_time();
            while let Some(ready) = next_ready(&self.sources) {
                dispatch(&self.sources, server, ready);
            }
            work_without_events(server);
            server.observer.count_cycle((server.clock.nanos() - turn) / 1000, commands);
            if Instant::now() >= next_cron {
                let start = server.clock.nanos();
                server.cron();
                server.observer.count_cron((server.clock.nanos() - start) / 1000);
                next_cron = Instant::now()
                    + Duration::from_millis(1000 / u64::from(server.config.hz.clamp(1, 500)));
            }
        }
    }
}

fn next_ready(sources: &RefCell<Sources>) -> Option<Ready> {
    sources.borrow_mut().ready.pop_front()
}

fn dispatch(sources: &RefCell<Sources>, server: &mut Server, ready: Ready) {
    let Ready { token: Token(token), readable, writable, closed } = ready;
    match token {
        _ if ready.token == SIGNALS => {
            let signals = sources.borrow_mut().signals.pending();
            for signal in signals {
                match signal {
                    SIGCHLD => server.persistence.note_child_signal(),
                    _ => shutdown::signal_received(server, signal),
                }
            }
        }
        _ if ready.token == SNAPSHOT_PIPE => snapshot::read_snapshot_pipe(server),
        FIRST_CLIENT.. => client_event(server, token - FIRST_CLIENT, writable, readable, closed),
        FIRST_LISTENER.. => sources.borrow().accept(server, token - FIRST_LISTENER),
        _ => {}
    }
}

/// A turn in the midst of a script: what does not have to wait for its end.
fn take_turn(sources: &RefCell<Sources>, server: &mut Server) {
    if sources.borrow_mut().wait(Duration::ZERO).is_err() {
        // A signal came. There will be another turn.
        return;
    }
    let mut waiting = Vec::new();
    while let Some(ready) = next_ready(sources) {
        let client = ready.token.0.checked_sub(FIRST_CLIENT);
        if client.is_some_and(|token| busy::waits_for_script(server, token)) {
            waiting.push(ready);
        } else {
            dispatch(sources, server, ready);
        }
    }
    sources.borrow_mut().ready.extend(waiting);
    server.process_pending_input();
    server.end_turn_meanwhile();
}

/// A client's connection can be written to, or read from; `closed`: no further event will say that there is more.
pub fn client_event(
    server: &mut Server,
    token: usize,
    writable: bool,
    readable: bool,
    closed: bool,
) {
    let Some(client) = server.clients.get(token) else { return };
    if client.is(ClientFlags::HANDSHAKE) {
        replica::sync_with_master(server, token);
        return;
    }
    if writable {
        output::send_reply_to_client(server, token);
    }
    if readable {
        server.read_query_from_client(token, closed);
    }
}

/// What a turn has to do that no event announces: input that waits, and the next slice of a file.
pub fn work_without_events(server: &mut Server) {
    server.process_pending_input();
    if server.persistence.loading.as_ref().is_some_and(|l| !l.is_fed()) {
        load_on(server);
    }
}

/// Loads the next slice of a snapshot file; a file that can't be loaded at start-up ends the server.
fn load_on(server: &mut Server) {
    if server.repl.is_replica() && !server.lifecycle.is_starting() {
        loading::continue_loading_snapshot(server);
        return;
    }
    match persistence::load_some(server) {
        Ok(LoadProgress::More) => {}
        Ok(LoadProgress::Done) => startup::finished(server),
        Err(error) => {
            persistence::load::log_load_error(server, &error);
            match error {
                LoadError::Format(error) if error.is_damage() => {
                    server.warning("Terminating server after rdb file reading failure.");
                }
                // What is wrong with an append-only file has been said in full.
                _ if server.config.appendonly => {}
                _ => server.warning("Fatal error loading the DB, check server logs. Exiting."),
            }
            server.lifecycle.shutdown.exit_with(1);
        }
    }
}
