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
//! [`Server::handle_clients_blocked_on_keys`] does this after each command or transaction, so that what one command
//! adds is never seen half, and clients are served in the order in which they came.

use super::Server;
use super::call::Call;
use super::client::{BlockState, Blocked, ClientFlags, Token};
use crate::db::blocked::{Ticket, Waiter};
use crate::resp::error::{CommandError, ErrorCode};
use crate::resp::reply::Reply;
use crate::value::Type;
use bytes::Bytes;
use std::collections::BTreeSet;
use std::mem;

/// What makes a key interesting to a client that waits for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyInterest {
    /// The type that its value must have.
    pub kind: Type,
    /// Whether the client must also know that the key is gone, or has become something else.
    pub on_no_key: bool,
}

/// What a client that waits for keys is to do when one is ready.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyWait {
    db: usize,
    keys: Vec<Box<[u8]>>,
    ticket: Ticket,
    command: Vec<Box<[u8]>>,
}

/// The server's side of blocking, apart from the queues, which the keyspace has.
#[derive(Debug, Default)]
pub struct Blocking {
    /// When waits end: time in milliseconds since 1970, client.
    deadlines: BTreeSet<(i64, (Token, u64))>,
    /// Clients that wait for keys.
    clients: usize,
    /// The deadline of the command that is executed again.
    resumed: Option<Option<i64>>,
}

const DECIDED_ELSEWHERE: CommandError = CommandError::new(
    ErrorCode::Unblocked,
    "force unblock from blocking operation, instance state changed (master -> replica?)",
);

impl Server {
    /// Whether the current command may block. If not (in a transaction, say), it answers at once what it would
    /// answer when its time is over.
    pub fn may_block(&self, call: &Call) -> bool {
        !call.deny_blocking && !self.clients[call.client].is(ClientFlags::MASTER)
    }

    /// Blocks the current client until one of `keys` is ready, or the deadline (milliseconds since 1970; `None`:
    /// never) has come. `command`: what will be executed then. The handler must not have replied.
    pub fn block_for_keys(
        &mut self,
        call: &mut Call,
        command: &[&[u8]],
        keys: &[&[u8]],
        interest: KeyInterest,
        deadline: Option<i64>,
    ) {
        let token = call.client;
        let deadline = self.blocking.resumed.unwrap_or(deadline);
        let owned = |args: &[&[u8]]| args.iter().map(|&arg| arg.into()).collect::<Vec<Box<[u8]>>>();
        let (db, keys, command) = (call.db, owned(keys), owned(command));
        let KeyInterest { kind, on_no_key } = interest;
        let waiter = Waiter { client: (token, self.clients[token].id), kind, on_no_key };
        let ticket = self.ks.changes.blocked.add(db, &keys, waiter);
        let wait = Box::new(KeyWait { db, keys, ticket, command });
        self.block_client(token, Blocked::Keys(wait), deadline);
    }

    /// Has a client wait.
    pub fn block_client(&mut self, token: Token, on: Blocked, deadline: Option<i64>) {
        if matches!(on, Blocked::Keys(_)) {
            self.blocking.clients += 1;
        } else {
            self.clients.begin_wait(token);
        }
        let noted = self.clients.noted(token);
        let client = &mut self.clients[token];
        client.flags |= ClientFlags::BLOCKED;
        client.blocked = Some(Box::new(BlockState { on, deadline }));
        self.blocking.deadlines.extend(deadline.map(|at| (at, noted)));
    }

    /// Ends a client's wait; the rest of its input is processed in the next turn of the loop.
    pub fn unblock_client(&mut self, token: Token) {
        self.end_wait(token);
        self.clients.queue_input(token);
    }

    fn end_wait(&mut self, token: Token) -> Option<BlockState> {
        let client = &mut self.clients[token];
        client.flags.remove(ClientFlags::BLOCKED);
        let noted = (token, client.id);
        let state = *client.blocked.take()?;
        if let Some(at) = state.deadline {
            self.blocking.deadlines.remove(&(at, noted));
        }
        if let Blocked::Keys(wait) = &state.on {
            self.ks.changes.blocked.remove(wait.db, &wait.keys, wait.ticket);
            self.blocking.clients -= 1;
        } else {
            self.clients.end_wait(noted);
        }
        Some(state)
    }

    /// Serves those who wait for keys that have become ready. Serving one may make other keys ready (`BLMOVE`):
    /// they are served too.
    pub fn handle_clients_blocked_on_keys(&mut self) {
        if self.pause.is_active() && self.pause.kind(self.ks.now_ms).is_some() {
            // The keys stay ready: they are served when the pause is over.
            return;
        }
        if self.ks.changes.blocked.has_ready() {
            // What made the keys ready may have taken so long that they have expired since.
            self.update_time();
        }
        while let Some((db, key)) = self.ks.changes.blocked.next_ready() {
            self.serve_key(db, &key);
        }
    }

    /// Serves those who wait for one key, in the order in which they came.
    fn serve_key(&mut self, db: usize, key: &[u8]) {
        // Who blocks again goes behind this ticket: nobody is served twice.
        let Some(last) = self.ks.changes.blocked.last_ticket(db, key) else { return };
        let mut after = None;
        while let Some((ticket, waiter)) = self.ks.changes.blocked.next_waiter(db, key, after, last)
        {
            after = Some(ticket);
            let kind = self.ks.inspect(db, key).map(|entry| entry.value().kind());
            if kind.is_none() && !self.ks.changes.blocked.concerns_absence(db, key) {
                return;
            }
            if (kind == Some(waiter.kind) || waiter.on_no_key)
                && let Some(token) = self.clients.find(waiter.client)
                && !self.clients[token].is(ClientFlags::CLOSE_ASAP)
            {
                self.resume_blocked(token);
            }
        }
    }

    /// Executes the command again that a client waits with.
    fn resume_blocked(&mut self, token: Token) {
        let Some(BlockState { on: Blocked::Keys(wait), deadline }) = self.end_wait(token) else {
            return;
        };
        let client = &self.clients[token];
        let id = client.id;
        let no_touch = mem::replace(&mut self.ks.no_touch, client.is(ClientFlags::NO_TOUCH));
        let mut call = Call::resumed(token, wait.db, client.protocol);
        let outer_client = self.clients.begin_turn(token);
        let args: Vec<&[u8]> = wait.command.iter().map(|arg| &arg[..]).collect();
        self.blocking.resumed = Some(deadline);

        let started = (self.config.latency_monitor_threshold > 0).then(|| self.clock.nanos());
        self.reprocess_command(&mut call, &args);
        if let Some(started) = started {
            self.note_latency("command-unblocking", self.clock.since(started));
        }

        self.blocking.resumed = None;
        self.ks.no_touch = no_touch;
        self.clients.end_turn(outer_client);
        let mut reply = call.reply;
        if let Some(token) = self.clients.find((token, id)) {
            self.add_output(token, Bytes::from(reply.take()));
            if !self.clients[token].is(ClientFlags::BLOCKED) {
                self.clients.queue_input(token);
            }
        }
    }

    /// Whether the command that runs is one that a client blocked with: it has been seen before.
    pub fn is_resuming(&self) -> bool {
        self.blocking.resumed.is_some()
    }

    /// Ends the waits whose time is over: the deadline's millisecond too, because the one in which the wait began had
    /// begun before it.
    pub fn handle_blocked_clients_timeout(&mut self) {
        let now = self.ks.now_ms;
        let late = self.blocking.deadlines.iter().take_while(|(at, _)| *at < now);
        for noted in late.map(|(_, noted)| *noted).collect::<Vec<_>>() {
            if let Some(token) = self.clients.find(noted)
                && !self.unblock_client_on_timeout(token)
            {
                self.unblock_client(token);
            }
        }
    }

    /// Ends a wait with the answer that it has when its time is over; `false` if it has none.
    pub fn unblock_client_on_timeout(&mut self, token: Token) -> bool {
        match self.clients[token].blocked.as_ref().map(|b| &b.on) {
            Some(Blocked::Keys(_)) => {
                self.count_unblocked(token, false);
                self.reply_to(token, Reply::null_array);
            }
            Some(&Blocked::Replicas { offset, .. }) => {
                let reached = self.replicas_at(offset);
                self.reply_to(token, |reply| reply.int(reached as i64));
            }
            Some(&Blocked::Durable { offset, .. }) => {
                let reached = self.durable_at(offset);
                self.reply_to(token, |reply| reached.reply(reply));
            }
            Some(Blocked::Pause | Blocked::Shutdown) | None => return false,
        }
        self.unblock_client(token);
        true
    }

    /// Ends a wait with an error; `false` if the client waits for nothing that can
    /// fail: what is paused or shutting down goes on from the start later.
    pub fn unblock_client_on_error(&mut self, token: Token, error: &CommandError) -> bool {
        match self.clients[token].blocked.as_ref().map(|b| &b.on) {
            Some(Blocked::Keys(_)) => self.count_unblocked(token, true),
            Some(Blocked::Replicas { .. } | Blocked::Durable { .. }) => {}
            Some(Blocked::Pause | Blocked::Shutdown) | None => return false,
        }
        self.stats.count_error(&error.code);
        self.reply_to(token, |reply| reply.error(error));
        self.unblock_client(token);
        true
    }

    /// Counts the command of a blocked client, which was not counted when it blocked and will not run again.
    fn count_unblocked(&mut self, token: Token, failed: bool) {
        let Some(Blocked::Keys(wait)) = self.clients[token].blocked.as_ref().map(|b| &b.on) else {
            return;
        };
        let Some(id) = self.commands.find(&wait.command[0]) else { return };
        let stats = &mut self.commands.get_mut(id).stats;
        stats.record(0);
        stats.failed += u64::from(failed);
        self.stats.commands += 1;
        self.clients[token].commands += 1;
    }

    /// This server becomes a replica: what clients wait for may be decided elsewhere now. They are told so, and their
    /// connections closed.
    pub fn disconnect_all_blocked_clients(&mut self) {
        let blocked: Vec<Token> = self
            .clients
            .iter()
            .filter(|(_, c)| c.blocked.is_some())
            .map(|(token, _)| token)
            .collect();
        for token in blocked {
            if self.unblock_client_on_error(token, &DECIDED_ELSEWHERE) {
                self.clients[token].flags |= ClientFlags::CLOSE_AFTER_REPLY;
            }
        }
    }

    /// The keys of all databases may be others now.
    pub fn signal_all_databases(&mut self) {
        for db in 0..self.ks.dbs.len() {
            self.ks.changes.blocked.signal_database(db);
        }
    }

    /// How many clients wait: for keys, replicas, the server's end, or the end of a pause.
    pub fn blocked_clients(&self) -> usize {
        self.blocking.clients + self.clients.waiting().len()
    }

    /// How many waits have a deadline.
    pub fn clients_in_timeout_table(&self) -> usize {
        self.blocking.deadlines.len()
    }

    /// When the first wait's time is over, in milliseconds since 1970.
    pub fn next_blocked_deadline(&self) -> Option<i64> {
        self.blocking.deadlines.first().map(|(at, _)| *at)
    }
}
