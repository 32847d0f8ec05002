//! What is true for one command only: whose it is, on which database it works, where its reply goes, what will be
//! propagated of it, and what it may not do.
//!
//! A handler is given a [`Call`] beside the server. One is made for the requests of a client's turn, one after the
//! other; what runs inside a command (a transaction's commands, a script's, a blocked command that goes on, a line of
//! an append-only file) has a new one, made by the constructor that says which.

use super::gates::Gates;
use super::observe::Observer;
use super::observe::slot_stats::most_request_bytes;
use super::token::Token;
use crate::resp::error::CommandError;
use crate::resp::reply::{Protocol, Reply};
use std::mem;

/// What to propagate of the command that is running.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub enum Propagation {
    /// The command as it came, if it changed anything.
    #[default]
    Automatic,
    /// The command as it came, even if it changed nothing: it may change something elsewhere.
    Forced,
    /// The same, but to replicas only: it changes nothing that is kept.
    ToReplicas,
    /// Nothing.
    Nothing,
    /// These commands, if it changed anything: its effect.
    Instead(Vec<Vec<Vec<u8>>>),
}

/// The context of a command.
#[derive(Debug)]
pub struct Call {
    /// Whose command it is.
    pub client: Token,
    /// The database that it works on.
    pub db: usize,
    pub reply: Reply,
    /// What will be propagated of it.
    pub propagation: Propagation,
    /// It may not block: a transaction, a script or a file goes on behind it.
    pub deny_blocking: bool,
    /// A script calls it.
    pub in_script: bool,
    /// The request came as a line, not as an array.
    pub is_inline: bool,
    /// What is in the way of the client's requests.
    pub gates: Gates,
    /// A request has at most so many bytes.
    pub largest_request: usize,
    /// Bytes of replies that have left `reply` already.
    pub handed_over: usize,
    /// When the last command ended, by the stopwatch, if nothing worth a word has happened since: then the next one
    /// begins.
    pub ended_ns: Option<u64>,
}

impl Call {
    /// For the requests of a client's turn. `reply` leads to its socket.
    pub fn of_client(token: Token, db: usize, reply: Reply, gates: Gates) -> Call {
        Call {
            client: token,
            db,
            reply,
            propagation: Propagation::Automatic,
            deny_blocking: false,
            in_script: false,
            is_inline: false,
            gates,
            largest_request: usize::MAX,
            handed_over: 0,
            ended_ns: None,
        }
    }

    /// For the commands of this call's transaction, which go on with its reply until [`Call::end_transaction`].
    pub fn begin_transaction(&mut self) -> Call {
        Call {
            client: self.client,
            db: self.db,
            reply: mem::take(&mut self.reply),
            propagation: Propagation::Automatic,
            deny_blocking: true,
            in_script: self.in_script,
            is_inline: false,
            gates: self.gates,
            largest_request: usize::MAX,
            handed_over: 0,
            ended_ns: None,
        }
    }

    /// The transaction's commands have been executed.
    pub fn end_transaction(&mut self, queued: Call) {
        (self.reply, self.db) = (queued.reply, queued.db);
        self.handed_over += queued.handed_over;
    }

    /// For a command that a script calls.
    pub fn of_script(token: Token, db: usize, protocol: Protocol, args: &[&[u8]]) -> Call {
        let largest_request = most_request_bytes(args);
        Call { in_script: true, largest_request, ..Call::of_file(token, db, protocol) }
    }

    /// For a command that a client blocked with, and that is executed again.
    pub fn resumed(token: Token, db: usize, protocol: Protocol) -> Call {
        Call::of_client(token, db, Reply::new(protocol), Gates::all())
    }

    /// For the commands of an append-only file, which nobody is answered.
    pub fn of_file(token: Token, db: usize, protocol: Protocol) -> Call {
        Call {
            client: token,
            db,
            reply: Reply::new(protocol),
            propagation: Propagation::Automatic,
            deny_blocking: true,
            in_script: false,
            is_inline: false,
            gates: Gates::all(),
            largest_request: usize::MAX,
            handed_over: 0,
            ended_ns: None,
        }
    }
}

impl Call {
    /// Bytes of all replies so far.
    #[inline]
    pub fn reply_bytes(&self) -> usize {
        self.handed_over + self.reply.len()
    }

    /// Replies with an error, and counts it.
    pub fn reply_error(&mut self, observer: &mut Observer, error: &CommandError) {
        observer.count_error(&error.code);
        self.reply.error(error);
    }

    /// Propagates the command that is running, whether it changes anything or not.
    pub fn propagate_anyway(&mut self) {
        self.propagation = Propagation::Forced;
    }

    /// Propagates the command that is running to replicas, not to the append-only file.
    pub fn propagate_to_replicas(&mut self) {
        self.propagation = Propagation::ToReplicas;
    }

    /// Propagates nothing of the command that is running.
    pub fn propagate_nothing(&mut self) {
        self.propagation = Propagation::Nothing;
    }
}
