//! Blocking on keys: clients that wait until there is something in a list, a sorted set or a stream.
//!
//! How a command uses it:
//!
//! ```ignore
//! fn blpop(s: &mut Server, args: &[&[u8]]) -> CommandResult {
//!     let deadline = args::timeout(args[args.len() - 1], Unit::Seconds, s.ks.now_ms)?;
//!     // … try; if something was there, reply, and return …
//!     if !s.may_block() {
//!         s.reply.null_array();
//!         return Ok(());
//!     }
//!     s.block_for_keys(args, keys, KeyInterest { kind: Type::List, on_no_key: false }, deadline);
//!     Ok(())
//! }
//! ```
//!
//! A blocked client keeps its command. When a key that it waits for gets ready (the keyspace signals each key that
//! comes into being; a command that adds to what is there already, like `XADD`, calls
//! `s.ks.changes.blocked.signal_ready(db, key)`), the command is simply executed again, from the start, with the
//! deadline that it had; if it finds nothing it blocks again, behind the others. So a handler needs no second path, and
//! what it propagates is what it would have propagated had it not blocked. Arguments relative to the present (`$` of
//! `XREAD`) must not be resolved anew then: who blocks hands over a command in which they are resolved.
//!
//! [`resume`](crate::server::dispatch::resume) does this after each command or transaction, so that what one command
//! adds is never seen half, and clients are served in the order in which they came.
//!
//! * [`waits`]: which waits have an end.
//! * [`pause`]: clients wait because somebody wants them to.
//! * [`watched`]: keys that clients watch.

pub mod pause;
pub mod waits;
pub mod watched;

use crate::db::blocked::Waiter;
use crate::resp::error::{CommandError, ErrorCode};
use crate::server::Server;
use crate::server::call::Call;
use crate::server::client::{BlockState, Blocked, ClientFlags, KeyWait, Token};
use crate::server::output;
use crate::server::tracking;
use crate::value::Type;
use pause::Pause;
use waits::Waits;
use watched::WatchedKeys;

/// What makes a key interesting to a client that waits for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyInterest {
    /// The type that its value must have.
    pub kind: Type,
    /// Whether the client must also know that the key is gone, or has become something else.
    pub on_no_key: bool,
}

/// Who waits for what, apart from the queues of those who wait for keys, which the keyspace has.
#[derive(Debug, Default)]
pub struct Blocking {
    pub(crate) waits: Waits,
    /// Why clients have to wait that have done nothing for it.
    pub(crate) pause: Pause,
    pub(crate) watched: WatchedKeys,
}

const DECIDED_ELSEWHERE: CommandError = CommandError::new(
    ErrorCode::Unblocked,
    "force unblock from blocking operation, instance state changed (master -> replica?)",
);

/// Whether the current command may block. If not (in a transaction, say), it answers at once what it would
/// answer when its time is over.
pub(crate) fn may_block(server: &Server, call: &Call) -> bool {
    !call.deny_blocking && !server.clients[call.client].is(ClientFlags::MASTER)
}

/// Blocks the current client until one of `keys` is ready, or the deadline (milliseconds since 1970; `None`:
/// never) has come. `command`: what will be executed then. The handler must not have replied.
pub(crate) fn block_for_keys(
    server: &mut Server,
    call: &mut Call,
    command: &[&[u8]],
    keys: &[&[u8]],
    interest: KeyInterest,
    deadline_ms: Option<i64>,
) {
    let token = call.client;
    let deadline_ms = server.blocking.waits.deadline_ms(deadline_ms);
    let owned = |args: &[&[u8]]| args.iter().map(|&arg| arg.into()).collect::<Vec<Box<[u8]>>>();
    let (db, keys, command) = (call.db, owned(keys), owned(command));
    let KeyInterest { kind, on_no_key } = interest;
    let waiter = Waiter { client: (token, server.clients[token].id), kind, on_no_key };
    let ticket = server.ks.changes.blocked.add(db, &keys, waiter);
    let wait = Box::new(KeyWait { db, keys, ticket, command, group: None });
    block_client(server, token, Blocked::Keys(wait), deadline_ms);
}

/// The client that has just been blocked waits for what a group of its streams has not got, and for nothing else.
pub(crate) fn wait_for_news_of(server: &mut Server, token: Token, group: &[u8]) {
    let blocked = server.clients[token].blocked.as_mut();
    if let Some(Blocked::Keys(wait)) = blocked.map(|state| &mut state.on) {
        wait.group = Some(group.into());
    }
}

/// Has a client wait.
pub(crate) fn block_client(
    server: &mut Server,
    token: Token,
    on: Blocked,
    deadline_ms: Option<i64>,
) {
    let for_keys = matches!(on, Blocked::Keys(_));
    if !for_keys {
        server.clients.begin_wait(token);
    }
    let noted = server.clients.noted(token);
    let client = &mut server.clients[token];
    client.flags |= ClientFlags::BLOCKED;
    client.blocked = Some(Box::new(BlockState { on, deadline_ms }));
    server.blocking.waits.begin(noted, for_keys, deadline_ms);
}

/// Ends a client's wait; the rest of its input is processed in the next turn of the loop.
pub(crate) fn unblock_client(server: &mut Server, token: Token) {
    let state = end_wait(server, token);
    if state.is_some_and(|state| state.on != Blocked::Pause) {
        // Its request is done: what was for that alone is over. A paused one has not begun.
        let client = &mut server.clients[token];
        client.flags.remove(ClientFlags::REPLY_SKIP | ClientFlags::ASKING);
        tracking::tracking_command_done(server, token);
    }
    server.clients.queue_input(token);
}

pub(crate) fn end_wait(server: &mut Server, token: Token) -> Option<BlockState> {
    let client = &mut server.clients[token];
    client.flags.remove(ClientFlags::BLOCKED);
    let noted = (token, client.id);
    let state = *client.blocked.take()?;
    let for_keys = matches!(state.on, Blocked::Keys(_));
    server.blocking.waits.end(noted, for_keys, state.deadline_ms);
    if let Blocked::Keys(wait) = &state.on {
        server.ks.changes.blocked.remove(wait.db, &wait.keys, wait.ticket);
    } else {
        server.clients.end_wait(noted);
    }
    Some(state)
}

/// Ends a wait with an error; `false` if the client waits for nothing that can
/// fail: what is paused or shutting down goes on from the start later.
pub(crate) fn unblock_client_on_error(
    server: &mut Server,
    token: Token,
    error: &CommandError,
) -> bool {
    match server.clients[token].blocked.as_ref().map(|b| &b.on) {
        Some(Blocked::Keys(_)) => count_unblocked(server, token, true),
        Some(Blocked::Replicas { .. } | Blocked::Durable { .. } | Blocked::SlotChange(_)) => {}
        Some(Blocked::Pause | Blocked::Shutdown) | None => return false,
    }
    server.observer.count_error(&error.code);
    output::reply_to(server, token, |reply| reply.error(error));
    unblock_client(server, token);
    true
}

/// Counts the command of a blocked client, which was not counted when it blocked and will not run again.
pub(crate) fn count_unblocked(server: &mut Server, token: Token, failed: bool) {
    let Some(Blocked::Keys(wait)) = server.clients[token].blocked.as_ref().map(|b| &b.on) else {
        return;
    };
    let Some(id) = server.commands.find(&wait.command[0]) else { return };
    let stats = &mut server.commands.get_mut(id).stats;
    stats.record(0, server.config.latency_tracking);
    stats.failed += u64::from(failed);
    server.observer.count_command(0);
    server.clients[token].commands += 1;
}

/// This server becomes a replica: what clients wait for may be decided elsewhere now. They are told so, and their
/// connections closed.
pub(crate) fn disconnect_all_blocked_clients(server: &mut Server) {
    let blocked: Vec<Token> = server
        .clients
        .iter()
        .filter(|(_, c)| c.blocked.is_some())
        .map(|(token, _)| token)
        .collect();
    for token in blocked {
        if unblock_client_on_error(server, token, &DECIDED_ELSEWHERE) {
            server.clients[token].flags |= ClientFlags::CLOSE_AFTER_REPLY;
        }
    }
}

/// The keys of all databases may be others now.
pub(crate) fn signal_all_databases(server: &mut Server) {
    for db in 0..server.ks.dbs.len() {
        server.ks.changes.blocked.signal_database(db);
    }
}

/// How many clients wait: for keys, replicas, the server's end, or the end of a pause.
pub(crate) fn blocked_clients(server: &Server) -> usize {
    server.blocking.waits.for_keys() + server.clients.waiting().len()
}
