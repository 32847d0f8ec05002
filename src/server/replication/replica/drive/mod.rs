//! Moves the link's bytes, and does what it wants done.
//!
//! * [`connect`]: where its connections come from.
//! * [`loading`]: the snapshot takes the place of what is here.
//! * [`follow`]: the working link.

mod connect;
pub(crate) mod follow;
pub(crate) mod loading;

use crate::server::Server;
use crate::server::client::Token;
use crate::server::links::primary::{Action, CHUNK, Context, LinkRequest, PrimaryLink};
use crate::server::links::trace::StepKind;
use crate::server::replication::Replication;
use crate::server::replication::primary::snapshot;
use crate::server::replication::trace;
use crate::util::io_reason;
use connect::open_link;
use std::io::{self, ErrorKind};

/// Asks the link something, if there is one.
pub(super) fn with_link<T>(
    server: &mut Server,
    ask: impl FnOnce(&mut PrimaryLink, &Context<'_>) -> T,
) -> Option<T> {
    let Replication { primary, cached, failover, .. } = &mut server.repl;
    let context = Context {
        config: &server.config,
        cached: cached.as_ref(),
        is_failing_over: failover.is_in_progress(),
        is_empty: server.ks.is_empty(),
        now_ms: server.ks.now_ms,
    };
    primary.as_mut().map(|link| ask(link, &context))
}

pub(super) fn connect_with_primary(server: &mut Server) {
    let now = server.now_seconds();
    let Some(link) = &mut server.repl.primary else { return };
    link.attempt(now);
    let (host, port) = (link.host().to_string(), link.port());
    match open_link(server, &host, port) {
        Ok(token) => {
            if let Some(link) = &mut server.repl.primary {
                link.connecting(token);
            }
            trace::trace_primary(server, StepKind::Here, "connecting");
            server.notice("MASTER <-> REPLICA sync started");
        }
        Err(error) => {
            trace::trace_primary(server, StepKind::Here, &format!("unable to connect: {error}"));
            server.warning(&format!("Unable to connect to MASTER: {error}"));
        }
    }
}

/// Something happened on a connection of the link before it became the primary's client.
pub(crate) fn sync_with_master(server: &mut Server, token: Token) {
    if !server.repl.primary.as_ref().is_some_and(|link| link.tokens().contains(&token)) {
        server.free_client(token);
        return;
    }
    match greet(server, token) {
        Ok(true) => advance(server, token),
        Ok(false) => {}
        Err(reason) => give_up(server, &reason),
    }
}

/// Says what is to be said first, once there is a connection; `false`: there is none yet.
fn greet(server: &mut Server, token: Token) -> Result<bool, String> {
    let requests = with_link(server, |link, context| link.greeting(token, context)).flatten();
    let Some(requests) = requests else { return Ok(true) };
    let error = server.clients[token].conn.take_error().ok().flatten();
    for request in requests {
        let failed = |error| format!("{}: {}", request.failure, io_reason(&error));
        let outcome = match error {
            Some(error) => return Err(failed(error)),
            None => send(server, &request),
        };
        match outcome {
            Err(error) if error.kind() == ErrorKind::NotConnected => return Ok(false),
            outcome => outcome.map_err(failed)?,
        }
    }
    let actions = with_link(server, |link, context| link.greeted(token, context));
    perform(server, actions.unwrap_or_default());
    Ok(true)
}

/// Reads what a connection has, and does what follows from it. Bounded, so that a fast primary does not keep everybody
/// else waiting.
fn advance(server: &mut Server, token: Token) {
    let mut budget = server.config.loading_process_events_interval_bytes as usize;
    loop {
        while let Some(actions) =
            with_link(server, |link, context| link.step(token, context)).flatten()
        {
            perform(server, actions);
        }
        if !server.repl.primary.as_ref().is_some_and(|link| link.wants_input(token)) {
            return;
        }
        if budget == 0 {
            server.clients.queue_input(token);
            return;
        }
        match read(server, token, CHUNK.min(budget)) {
            Ok(0) => return,
            Ok(n) => budget -= n,
            Err(reason) => return give_up(server, &reason),
        }
    }
}

/// Reads at most so many bytes; 0: none are there yet.
fn read(server: &mut Server, token: Token, most: usize) -> Result<usize, String> {
    let mut chunk = vec![0; most];
    loop {
        match server.clients[token].conn.read(&mut chunk) {
            Ok(0) => {
                let reason = with_link(server, |link, _| link.end_of_input());
                return Err(reason.unwrap_or_default());
            }
            Ok(n) => {
                server.observer.count_snapshot_read(n);
                with_link(server, |link, context| link.receive(token, &chunk[..n], context));
                return Ok(n);
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(0),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(format!("I/O error reading from MASTER: {error}")),
        }
    }
}

fn send(server: &mut Server, request: &LinkRequest) -> io::Result<()> {
    // The handshake's few bytes always fit into an empty socket buffer.
    let n = server.clients[request.to].conn.write(&request.bytes)?;
    if n < request.bytes.len() {
        return Err(ErrorKind::WriteZero.into());
    }
    trace::trace_primary(server, StepKind::Sent, &request.shown);
    Ok(())
}

/// Does what the link wants done, up to the first thing that can't be.
pub(super) fn perform(server: &mut Server, actions: Vec<Action>) {
    for action in actions {
        if let Err(reason) = perform_one(server, action) {
            give_up(server, &reason);
            return;
        }
    }
}

fn perform_one(server: &mut Server, action: Action) -> Result<(), String> {
    match action {
        Action::Log(level, text) => server.log(level, &text),
        Action::Trace(kind, text) => trace::trace_primary(server, kind, &text),
        Action::TraceResync(outcome) => trace::trace_primary_resync(server, outcome),
        Action::Send(request) => {
            let failed = |error| format!("{}: {error}", request.failure);
            send(server, &request).map_err(failed)?;
        }
        Action::FailoverDone => super::failover_is_done(server),
        Action::FailoverRefused => {
            super::abort_failover(server, "Failover target rejected psync request");
        }
        Action::OpenRdbChannel => open_rdb_channel(server)?,
        Action::Close(token) => {
            server.free_client(token);
        }
        Action::PauseAfterFork => snapshot::pause_after_fork(server),
        Action::BeginLoading { place, total_bytes } => {
            loading::begin(server, &place, total_bytes);
        }
        Action::Load(bytes) => loading::load(server, &bytes)?,
        Action::FinishLoading => loading::finish(server)?,
        Action::LoadFile(file) => loading::load_file(server, file)?,
        Action::Online(online) => loading::full_sync_loaded(server, online),
        Action::Resume { token, id, input } => follow::resume(server, token, id, input),
        Action::Fail(reason) => return Err(reason),
    }
    Ok(())
}

/// The primary wants the snapshot to go over a connection of its own.
fn open_rdb_channel(server: &mut Server) -> Result<(), String> {
    let Some(link) = &server.repl.primary else { return Ok(()) };
    let (host, port) = (link.host().to_string(), link.port());
    let token = open_link(server, &host, port)
        .map_err(|error| format!("Unable to connect to MASTER: {error}"))?;
    with_link(server, |link, context| link.rdb_channel_connecting(token, context));
    Ok(())
}

/// The link can't be made.
fn give_up(server: &mut Server, reason: &str) {
    server.warning(reason);
    trace::trace_primary(server, StepKind::Here, &format!("given up: {reason}"));
    cancel_replication_handshake(server);
}

/// Gives up whatever is going on with the primary short of a working link; the next cron connects again.
pub(super) fn cancel_replication_handshake(server: &mut Server) {
    let Some(link) = server.repl.primary.as_mut().filter(|link| !link.is_connected()) else {
        return;
    };
    let tokens = link.cancel();
    abandon(server, tokens);
}

/// Closes the connections of a link that has been given up. Half a snapshot is of no use; the old data is, where it is
/// still there.
pub(super) fn abandon(server: &mut Server, tokens: Vec<Token>) {
    if let Some(loading) = server.persistence.loading.take()
        && !loading.is_staged()
    {
        loading::flush_all_for_resync(server);
    }
    for token in tokens {
        server.free_client(token);
    }
}
