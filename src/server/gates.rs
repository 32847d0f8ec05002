//! What may stand between a request and its execution, in one word: no bit set, and nothing needs to be asked.
//!
//! [`process_command`](crate::command::dispatch) knows a dozen reasons to refuse a request, to hold it back or to show
//! it to somebody. None of them applies to nearly all requests of nearly all servers. So they are asked about once for
//! a client's turn, and again after each command that could change an answer; a command that only reads or changes
//! keys can't, and finds its answer by one comparison of [`Server::gates`] with the bits that concern it.

use super::Server;
use super::client::{ClientFlags, Token};
use crate::spec::CommandFlags;
use bitflags::bitflags;

bitflags! {
    /// Reasons to look more closely at a request.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
    pub struct Gates: u16 {
        /// Always closed, for the commands that are more than a change or a reading of keys.
        const COMMAND = 1 << 0;
        /// The client is more than one that sends requests and reads replies, or may not do everything.
        const CLIENT = 1 << 1;
        /// Slots are to be checked.
        const CLUSTER = 1 << 2;
        /// Somebody caches keys, or watches every command.
        const OBSERVERS = 1 << 3;
        /// Memory is limited.
        const MEMORY = 1 << 4;
        /// For writes: the disk, the role or the number of replicas may be against it.
        const WRITE = 1 << 5;
        /// This server is a replica that may have no data to show.
        const STALE = 1 << 6;
        /// A snapshot is being loaded, or a script runs for long.
        const BUSY = 1 << 7;
        /// Clients may have to wait.
        const PAUSE = 1 << 8;
    }
}

impl Gates {
    /// What concerns a command with these flags.
    pub fn of_command(flags: CommandFlags) -> Gates {
        let is_more = flags.intersects(
            CommandFlags::BLOCKING
                | CommandFlags::RUNS_SCRIPT
                | CommandFlags::NO_MANDATORY_KEYS
                | CommandFlags::PROTECTED
                | CommandFlags::ADMIN
                | CommandFlags::PUBSUB
                | CommandFlags::MAY_REPLICATE
                | CommandFlags::NO_MULTI,
        );
        if is_more || !flags.intersects(CommandFlags::READONLY | CommandFlags::WRITE) {
            return Gates::all();
        }
        let others = Gates::all() - Gates::COMMAND;
        if flags.contains(CommandFlags::WRITE) { others } else { others - Gates::WRITE }
    }
}

/// A client with one of these is not an ordinary one.
const UNUSUAL: ClientFlags = ClientFlags::SLAVE
    .union(ClientFlags::MASTER)
    .union(ClientFlags::REPLY_OFF)
    .union(ClientFlags::REPLY_SKIP)
    .union(ClientFlags::REPLY_SKIP_NEXT)
    .union(ClientFlags::MULTI)
    .union(ClientFlags::PUBSUB)
    .union(ClientFlags::TRACKING)
    .union(ClientFlags::REDIRECT)
    .union(ClientFlags::RESTRICTED);

impl Server {
    /// The gates that are closed for requests of this client.
    pub fn gates_for(&self, token: Token) -> Gates {
        let Some(client) = self.clients.get(token) else { return Gates::all() };
        let is_replica = self.repl.is_replica();
        let mut gates = Gates::COMMAND;
        gates.set(Gates::CLIENT, client.is(UNUSUAL) || self.acl.needs_auth(client));
        gates.set(Gates::CLUSTER, self.cluster.is_some());
        let observers = self.tracking.clients() + self.tracking.keys() + self.monitors.len();
        gates.set(Gates::OBSERVERS, observers > 0);
        gates.set(Gates::MEMORY, self.config.maxmemory > 0);
        let write = self.has_disk_error()
            || self.config.min_replicas_to_write > 0
            || (is_replica && self.config.replica_read_only);
        gates.set(Gates::WRITE, write);
        gates.set(Gates::STALE, is_replica && !self.config.replica_serve_stale_data);
        gates.set(Gates::BUSY, self.loading.is_some() || self.busy.is_some());
        gates.set(Gates::PAUSE, self.pause.is_active());
        gates
    }
}
