//! One turn of the loop: what has happened, then what no event announces, then what the time has come for, then
//! whatever is to be done before the loop sleeps.
//!
//! The loop, the simulation and the fuzz targets call [`turn`], so that all three have the same order of things. What
//! they know of is an [`EventSource`] and the time; when the next turn is due, [`turn`] tells.

use super::Server;
use super::client::ClientFlags;
use super::token::Token;
use crate::server::FIRST_VIRTUAL_VISITOR;
use crate::server::blocking::pause;
use crate::server::busy;
use crate::server::cluster::drive as bus;
use crate::server::cluster::links::FIRST_BUS_LINK;
use crate::server::cluster::migration;
use crate::server::cluster::set_slot;
use crate::server::cron;
use crate::server::dispatch::resume;
use crate::server::expiry;
use crate::server::memory::client_eviction;
use crate::server::memory::defrag;
use crate::server::memory::evict;
use crate::server::monitoring;
use crate::server::networking;
use crate::server::output;
use crate::server::persistence::aof::write;
use crate::server::persistence::forkless::{self, Forkless};
use crate::server::persistence::load;
use crate::server::persistence::load::{LoadError, LoadProgress};
use crate::server::persistence::saver::Saver;
use crate::server::replication::failover;
use crate::server::replication::primary::{feed, snapshot};
use crate::server::replication::replica;
use crate::server::replication::replica::loading;
use crate::server::replication::restart;
use crate::server::shutdown;
use crate::server::startup;
use crate::server::timeout;
use crate::server::tracking;
use crate::server::web;
use std::collections::VecDeque;
use std::io;
use std::mem;
use std::time::Duration;

/// Something that happened.
#[derive(Clone, Copy, Debug)]
pub enum Event {
    Client(ClientEvent),
    /// A connection of the cluster bus, by its number, has something to be read, or (`writable`) can be written to.
    Bus {
        link: u64,
        writable: bool,
    },
    /// Connections wait at this listener of the source.
    Listener(usize),
    /// A child has written a part of a diskless snapshot.
    SnapshotPipe,
    /// A connection of the HTTP listener can be read from, or written to.
    Visitor(usize),
    /// A child has ended.
    ChildEnded,
    /// The system or an operator asks for something by this signal.
    Signal(i32),
}

/// A client's connection can be read from, or written to.
#[derive(Clone, Copy, Debug)]
pub struct ClientEvent {
    pub token: Token,
    pub readable: bool,
    pub writable: bool,
    /// No further event will say that there is more.
    pub closed: bool,
}

impl Event {
    /// What has happened to a virtual stream that was attached to this token.
    pub fn of_virtual(token: Token, readable: bool, writable: bool, closed: bool) -> Event {
        match token {
            FIRST_BUS_LINK.. => Event::Bus { link: (token - FIRST_BUS_LINK) as u64, writable },
            FIRST_VIRTUAL_VISITOR.. => Event::Visitor(token - FIRST_VIRTUAL_VISITOR),
            _ => Event::Client(ClientEvent { token, readable, writable, closed }),
        }
    }
}

/// Where events come from.
pub trait EventSource {
    /// Waits for at most `timeout`, and tells what happened with [`happened`].
    ///
    /// # Errors
    /// If it can't wait, or was interrupted.
    fn wait(&mut self, server: &mut Server, timeout: Duration) -> io::Result<()>;

    /// Hands over the connections that wait at a listener.
    fn accept(&mut self, server: &mut Server, listener: usize);

    /// Listens where the configuration, which has changed, says.
    fn listen_anew(&mut self, server: &mut Server);
}

/// What comes, and what has come and not been dealt with.
#[derive(Default)]
pub struct Events {
    /// `None` where no event loop runs: whoever calls [`turn`] knows what happened.
    source: Option<Box<dyn EventSource>>,
    waiting: VecDeque<Event>,
    next_cron_us: u64,
}

/// When the next turn is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// At once: there is work that no event will announce.
    Now,
    /// When something happens, and no later than this, in microseconds of the time that [`turn`] was given.
    Until(u64),
    /// Never: the server ends with this exit code.
    Exit(i32),
}

/// Has events come from a source, in the midst of a script that runs for long, too.
pub fn attach(server: &mut Server, source: Box<dyn EventSource>) {
    server.net.events_mut().source = Some(source);
}

/// Drops the source of events.
pub fn detach(server: &mut Server) {
    server.net.events_mut().source = None;
}

/// Tells of an event, for the next turn to deal with.
pub fn happened(server: &mut Server, event: Event) {
    server.net.events_mut().waiting.push_back(event);
}

/// Waits until the source tells of something, but not for longer than `timeout`.
///
/// # Errors
/// If it can't wait, or was interrupted.
pub fn wait(server: &mut Server, timeout: Duration) -> io::Result<()> {
    with_source(server, |source, server| source.wait(server, timeout)).unwrap_or(Ok(()))
}

fn with_source<T>(
    server: &mut Server,
    ask: impl FnOnce(&mut dyn EventSource, &mut Server) -> T,
) -> Option<T> {
    let mut source = server.net.events_mut().source.take()?;
    let answer = ask(&mut *source, server);
    server.net.events_mut().source = Some(source);
    Some(answer)
}

/// Takes a turn at `now_us`, in microseconds of a clock that never jumps. It deals with what has [`happened`].
pub fn turn(server: &mut Server, now_us: u64) -> Next {
    watched_turn(server, now_us, |_, _, _| {})
}

/// The same, for tests: `around` sees each event before (`true`) and after it is dealt with.
pub fn watched_turn(
    server: &mut Server,
    now_us: u64,
    mut around: impl FnMut(&Server, &Event, bool),
) -> Next {
    let started = server.ks.clock.nanos();
    let commands = server.observer.stats().commands;
    server.update_time();
    web::serve_busy(server);
    while let Some(event) = server.net.events_mut().waiting.pop_front() {
        around(server, &event, true);
        handle(server, event);
        around(server, &event, false);
    }
    server.process_pending_input();
    bus::read_on(server);
    load_on(server);
    if now_us >= server.net.events().next_cron_us {
        let started = server.ks.clock.nanos();
        cron::cron(server);
        server.observer.count_cron((server.ks.clock.nanos() - started) / 1000);
        server.net.events_mut().next_cron_us =
            now_us + 1_000_000 / u64::from(server.config.hz.clamp(1, 500));
    }
    defrag::take_turn(server, now_us);
    if server.net.take_rebind() {
        with_source(server, |source, server| source.listen_anew(server));
    }
    before_sleep(server);
    let has_served = server.observer.stats().commands != commands;
    forkless::go_on(server, has_served.then(|| server.ks.clock.since(started)));
    // All that kept the loop from its clients.
    server.observer.count_cycle(server.ks.clock.nanos() - started, commands);
    next(server, now_us)
}

fn handle(server: &mut Server, event: Event) {
    match event {
        Event::Client(event) => handle_client(server, event),
        Event::Bus { link, writable } => bus::link_event(server, link, writable),
        Event::Listener(listener) => {
            with_source(server, |source, server| source.accept(server, listener));
        }
        Event::SnapshotPipe => snapshot::read_snapshot_pipe(server),
        Event::Visitor(visitor) => web::serve(server, visitor),
        Event::ChildEnded => server.persistence.note_child_signal(),
        Event::Signal(signal) => shutdown::signal_received(server, signal),
    }
}

fn handle_client(server: &mut Server, event: ClientEvent) {
    let ClientEvent { token, readable, writable, closed } = event;
    let Some(client) = server.clients.get(token) else { return };
    if client.is(ClientFlags::HANDSHAKE) {
        replica::sync_with_master(server, token);
        migration::heed_loaded(server);
        return;
    }
    let moves_slots = client.is(ClientFlags::MOVES_SLOTS);
    if writable {
        networking::send_reply_to_client(server, token);
    }
    if moves_slots && migration::shake_hands(server, token) {
        return;
    }
    if readable {
        server.read_query_from_client(token, closed);
    }
}

/// Loads the next slice of a snapshot file, if one is being loaded; one that can't be loaded at start-up ends the
/// server.
fn load_on(server: &mut Server) {
    if server.persistence.loading.as_ref().is_none_or(|loading| loading.is_fed()) {
        return;
    }
    if server.repl.is_replica() && !server.lifecycle.is_starting() {
        loading::continue_loading_snapshot(server);
        migration::heed_loaded(server);
        return;
    }
    let progress = restart::load_some(server);
    migration::heed_loaded(server);
    match progress {
        Ok(LoadProgress::More) => {}
        Ok(LoadProgress::Done) => startup::finished(server),
        Err(error) => {
            load::log_load_error(server, &error);
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

/// The loop is about to sleep: whatever this turn has left to do is done now.
fn before_sleep(server: &mut Server) {
    set_slot::before_sleep(server);
    bus::before_sleep(server);
    migration::before_sleep(server);
    cron::expire_between_turns(server);
    if server.memory.eviction().is_running() {
        evict::perform_evictions(server);
    }
    if server.persistence.take_saver_news() {
        snapshot::check_saver_done(server);
    }
    pause::check_pause(server);
    timeout::handle_blocked_clients_timeout(server);
    resume::handle_clients_blocked_on_keys(server);
    if !write_append_only_file(server) {
        return;
    }
    if !server.clients.waiting().is_empty() {
        feed::process_clients_waiting_replicas(server);
    }
    shutdown::check_shutdown(server);
    failover::check_failover(server);
    feed::feed_replicas(server);
    if server.tracking.prefixes() > 0 {
        tracking::tracking_broadcast(server);
    }
    write_replies(server);
    client_eviction::evict_clients(server);
    snapshot::abandon_unwanted_snapshot(server);
    if server.persistence.saver().is_some_and(Saver::has_pipe) {
        // The pipe may hold bytes that were left there while a replica lagged.
        snapshot::read_snapshot_pipe(server);
    }
    replica::reconnect_to_primary(server);
}

/// Writes what was appended. `false`: it could not be written, and must not be acknowledged: the server ends.
fn write_append_only_file(server: &mut Server) -> bool {
    write::check_background_fsync(server);
    write::flush_append_only_file(server, false);
    if server.persistence.aof.holds_replies() {
        return false;
    }
    write::check_background_fsync(server);
    true
}

/// Writes what waits to be written, and closes what waits to be closed.
fn write_replies(server: &mut Server) {
    monitoring::flush_monitors(server);
    output::write_turn_output(server);
    for token in server.clients.take_pending_writes() {
        let Some(client) = server.clients.get(token) else { continue };
        if !client.out.is_empty() {
            networking::send_reply_to_client(server, token);
        } else if client.is(ClientFlags::SLAVE) {
            feed::write_to_replica(server, token);
        }
    }
    for noted in server.clients.take_closing() {
        if let Some(token) = server.clients.find(noted) {
            server.free_client(token);
        }
    }
}

fn next(server: &Server, now_us: u64) -> Next {
    if let Some(code) = server.lifecycle.shutdown.exit_code() {
        return Next::Exit(code);
    }
    let has_work = server.clients.has_work()
        || server.net.web().has_work()
        || !server.buffers.output().is_empty()
        || server.net.bus().has_work()
        || migration::has_work(server)
        || server.observer.monitors.has_lines()
        || server.memory.eviction().is_running()
        || !server.lifecycle.expiry_left.is_zero()
        || server.persistence.loading.as_ref().is_some_and(|l| !l.is_fed())
        || server.persistence.walk().is_some_and(Forkless::has_work);
    if has_work {
        return Next::Now;
    }
    let deadlines = [server.blocking.waits.next_deadline(), server.blocking.pause.deadline_ms()];
    let left_us = |at_ms: i64| {
        let left_ms = at_ms.saturating_add(1).saturating_sub(server.ks.now_ms).max(1);
        left_ms.unsigned_abs().saturating_mul(1000)
    };
    let wake = deadlines.into_iter().flatten().map(|at_ms| now_us.saturating_add(left_us(at_ms)));
    let wake = wake.chain(server.memory.defrag().due_us());
    Next::Until(wake.fold(server.net.events().next_cron_us, u64::min))
}

/// A turn in the midst of a script that runs for long: what does not have to wait for its end. What belongs to the
/// script's client is put aside. For the script the time goes on then, though not for what expires: what it saw does
/// not vanish.
pub(crate) fn serve_others(server: &mut Server) {
    if server.net.events().source.is_none() {
        return;
    }
    let turn = server.clients.suspend_turn();
    let effects = mem::take(&mut server.effects);
    let (role, no_touch, now_ms) = (server.ks.role, server.ks.no_touch, server.ks.now_ms);
    expiry::restore_role(server);
    server.update_time();

    // Interrupted by a signal: there will be another turn.
    if wait(server, Duration::ZERO).is_ok() {
        turn_meanwhile(server);
    }

    server.clients.resume_turn(turn);
    server.effects = effects;
    (server.ks.role, server.ks.no_touch, server.ks.now_ms) = (role, no_touch, now_ms);
}

fn turn_meanwhile(server: &mut Server) {
    let mut for_later = VecDeque::new();
    while let Some(event) = server.net.events_mut().waiting.pop_front() {
        match event {
            Event::Client(of) if busy::waits_for_script(server, of.token) => {
                for_later.push_back(event);
            }
            _ => handle(server, event),
        }
    }
    server.net.events_mut().waiting = for_later;
    server.process_pending_input();
    if write_append_only_file(server) {
        feed::feed_replicas(server);
        write_replies(server);
    }
}
