//! A client: one connection and everything that is known of whoever is at its other end.
//!
//! Ordinary clients, replicas and the primary are all clients, told apart by their [`ClientFlags`]. What a replica is
//! hangs here and nowhere else: the connection is the replica's identity.

use super::connection::Connection;
use super::pubsub::Subscriptions;
use super::replication::ReplicaLink;
pub use super::token::Token;
use super::token::{DEFAULT_USER, UserId};
use super::tracking::ClientTracking;
use super::transaction::Transaction;
use crate::db::blocked::Ticket;
use crate::resp::parser::Partial;
use crate::resp::reply::Protocol;
use bitflags::bitflags;
use bytes::{Buf, Bytes};
use std::collections::VecDeque;
use std::io::IoSlice;

bitflags! {
    /// What a client is and what is to happen to it.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
    pub struct ClientFlags: u32 {
        /// A replica: `PSYNC` or `SYNC` came over this connection.
        const SLAVE = 1 << 0;
        /// Our primary.
        const MASTER = 1 << 1;
        const MONITOR = 1 << 2;
        /// Waits (`BLPOP`, `WAIT`, a paused server): its input is not processed.
        const BLOCKED = 1 << 3;
        /// To be freed as soon as nobody works on it.
        const CLOSE_ASAP = 1 << 4;
        /// To be freed when its replies are written.
        const CLOSE_AFTER_REPLY = 1 << 5;
        const REPLY_OFF = 1 << 6;
        /// The next command's reply is dropped.
        const REPLY_SKIP_NEXT = 1 << 7;
        /// This command's reply is dropped.
        const REPLY_SKIP = 1 << 8;
        const NO_EVICT = 1 << 9;
        const NO_TOUCH = 1 << 10;
        const UNIX_SOCKET = 1 << 11;
        /// In the list of clients with something to write.
        const PENDING_WRITE = 1 << 12;
        /// In the list of clients with input to process that no event will announce.
        const PENDING_INPUT = 1 << 13;
        /// Replies go to this client although it is the primary (`REPLCONF GETACK`).
        const MASTER_FORCE_REPLY = 1 << 15;
        /// The primary speaks no `PSYNC`: it counts no offsets.
        const PRE_PSYNC = 1 << 16;
        const AUTHENTICATED = 1 << 17;
        /// In a transaction.
        const MULTI = 1 << 18;
        /// A watched key was changed.
        const DIRTY_CAS = 1 << 19;
        /// A command could not be queued.
        const DIRTY_EXEC = 1 << 20;
        /// Subscribed to a channel or pattern.
        const PUBSUB = 1 << 21;
        /// The link to the primary, before it is one: not a client that anybody should see.
        const HANDSHAKE = 1 << 22;
        /// Has a piece of what is written at the end of the turn.
        const DEFERRED = 1 << 23;
        /// The primary, while what it sent before its snapshot was loaded is executed: its socket is not read.
        const REPLAYING = 1 << 24;
        /// Keeps what it reads in a cache of its own (`CLIENT TRACKING`).
        const TRACKING = 1 << 25;
        /// Can be told by a replica to go to the primary (`CLIENT CAPA redirect`).
        const REDIRECT = 1 << 26;
        /// Reads from a replica nevertheless (`READONLY`).
        const READONLY = 1 << 27;
        /// Its user may not do everything: see [`acl`](super::acl).
        const RESTRICTED = 1 << 28;
        /// `SCRIPT DEBUG`: the next script is run line by line,
        const LUA_DEBUG = 1 << 29;
        /// and not in a child.
        const LUA_DEBUG_SYNC = 1 << 30;
        /// Brings data whose expiry another server decides about (`CLIENT IMPORT-SOURCE`).
        const IMPORT_SOURCE = 1 << 31;
    }
}

/// What a client that waits for keys is to do when one is ready.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyWait {
    pub db: usize,
    pub keys: Vec<Box<[u8]>>,
    /// Its place in the queues of these keys.
    pub ticket: Ticket,
    /// What is executed then.
    pub command: Vec<Box<[u8]>>,
}

/// What a blocked client waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Blocked {
    /// Something in one of some keys.
    Keys(Box<KeyWait>),
    /// `WAIT`: so many replicas to acknowledge this offset, if there is one.
    Replicas { wanted: usize, offset: Option<u64> },
    /// `WAITAOF`: this server (if `local`) and so many replicas to have this offset in their append-only files.
    Durable { local: bool, replicas: usize, offset: Option<u64> },
    /// The end of a pause; then its command is tried again.
    Pause,
    /// `SHUTDOWN`, until the replicas have caught up.
    Shutdown,
}

/// A blocked client's reason and deadline (milliseconds since 1970; `None`: for ever).
#[derive(Clone, Debug)]
pub struct BlockState {
    pub on: Blocked,
    pub deadline: Option<i64>,
}

/// Bytes that wait to be written.
#[derive(Debug, Default)]
pub struct Output {
    /// The pieces, and the memory that each keeps.
    chunks: VecDeque<(Bytes, usize)>,
    len: usize,
    memory: usize,
}

impl Output {
    pub fn push(&mut self, bytes: Bytes) {
        let memory = bytes.len();
        self.push_part(bytes, memory);
    }

    /// Adds bytes that are a part of so much memory.
    pub fn push_part(&mut self, bytes: Bytes, memory: usize) {
        if !bytes.is_empty() {
            self.len += bytes.len();
            self.memory += memory;
            self.chunks.push_back((bytes, memory));
        }
    }

    /// Memory held, in bytes. What clients share counts for each.
    pub fn memory(&self) -> usize {
        self.memory + self.chunks.capacity() * size_of::<(Bytes, usize)>()
    }

    pub fn len(&self) -> usize {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub fn chunks(&self) -> usize {
        self.chunks.len()
    }

    pub fn clear(&mut self) {
        *self = Output::default();
    }

    /// The first pieces, for one vectored write.
    pub fn slices(&self) -> Vec<IoSlice<'_>> {
        self.chunks.iter().take(64).map(|(bytes, _)| IoSlice::new(bytes)).collect()
    }

    /// Drops `n` bytes that were written.
    pub fn consume(&mut self, mut n: usize) {
        self.len -= n;
        while n > 0 {
            let (front, memory) = &mut self.chunks[0];
            if front.len() > n {
                front.advance(n);
                return;
            }
            n -= front.len();
            self.memory -= *memory;
            self.chunks.pop_front();
        }
        if self.chunks.is_empty() {
            // An idle client keeps no buffers.
            self.chunks = VecDeque::new();
        }
    }
}

/// One client of the slab.
pub struct Client {
    /// Unique for the server's life, unlike the token.
    pub id: u64,
    pub conn: Connection,
    pub flags: ClientFlags,
    /// What is known of a replica, from its first `REPLCONF` on.
    pub(crate) replstate: Option<Box<ReplicaLink>>,
    /// Whom it is logged in as.
    pub user: UserId,
    pub protocol: Protocol,
    pub db: usize,
    pub name: Option<Box<[u8]>>,
    pub lib_name: Box<str>,
    pub lib_ver: Box<str>,
    /// Seconds since 1970.
    pub created: i64,
    pub last_interaction: i64,
    /// The last command's full name.
    pub last_command: Option<&'static str>,
    /// A request's beginning, while its rest has not come.
    pub query: Vec<u8>,
    pub partial: Option<Box<Partial>>,
    pub out: Output,
    /// Since when the output is over the soft limit, in seconds since 1970.
    pub soft_limit_since: Option<i64>,
    pub blocked: Option<Box<BlockState>>,
    /// What it has queued since `MULTI`, and what it watches.
    pub transaction: Option<Box<Transaction>>,
    pub subscriptions: Option<Box<Subscriptions>>,
    /// What it wants to hear of keys that it has read, since `CLIENT TRACKING ON`.
    pub tracking: Option<Box<ClientTracking>>,
    /// The replication offset after this client's last write, for `WAIT`; who has written nothing waits for nothing.
    pub write_offset: Option<u64>,
    /// How far a primary's stream has been read and applied, in bytes of it.
    pub read_offset: u64,
    pub applied_offset: u64,
    pub commands: u64,
    pub net_in: u64,
    pub net_out: u64,
}

impl Client {
    pub fn new(id: u64, conn: Connection, now_seconds: i64) -> Client {
        Client {
            id,
            conn,
            flags: ClientFlags::empty(),
            user: DEFAULT_USER,
            protocol: Protocol::Resp2,
            db: 0,
            name: None,
            lib_name: "".into(),
            lib_ver: "".into(),
            created: now_seconds,
            last_interaction: now_seconds,
            last_command: None,
            query: Vec::new(),
            partial: None,
            out: Output::default(),
            soft_limit_since: None,
            blocked: None,
            transaction: None,
            subscriptions: None,
            tracking: None,
            replstate: None,
            write_offset: None,
            read_offset: 0,
            applied_offset: 0,
            commands: 0,
            net_in: 0,
            net_out: 0,
        }
    }

    pub fn is(&self, flags: ClientFlags) -> bool {
        self.flags.intersects(flags)
    }

    /// Whether keys are there for this client until somebody deletes them: for the primary, and for who imports data.
    pub fn sees_expired(&self, is_importing: bool) -> bool {
        self.is(ClientFlags::MASTER) || is_importing && self.is(ClientFlags::IMPORT_SOURCE)
    }

    /// Whether it waits for something in a key.
    #[inline]
    pub fn is_blocked_on_keys(&self) -> bool {
        self.blocked.as_ref().is_some_and(|b| matches!(b.on, Blocked::Keys(_)))
    }

    /// `client-output-buffer-limit`'s class: 0 normal, 1 replica, 2 pub/sub. The primary is normal.
    pub fn class(&self) -> usize {
        if self.is(ClientFlags::SLAVE) && !self.is(ClientFlags::MONITOR) {
            1
        } else if self.is(ClientFlags::PUBSUB) {
            2
        } else {
            0
        }
    }

    /// Memory that the client holds, in bytes.
    pub fn memory(&self) -> usize {
        size_of::<Client>()
            + self.query.capacity()
            + self.partial.as_ref().map_or(0, |p| p.memory())
            + self.transaction.as_ref().map_or(0, |t| t.memory())
            + self.subscriptions.as_ref().map_or(0, |s| s.memory())
            + self.tracking.as_ref().map_or(0, |t| t.memory())
            + self.out.memory()
            + self.name.as_ref().map_or(0, |n| n.len())
            + self.lib_name.len()
            + self.lib_ver.len()
    }
}

#[cfg(test)]
mod tests {
    use super::Output;
    use bytes::Bytes;

    #[test]
    fn output_is_consumed_across_chunks() {
        let mut out = Output::default();
        for piece in ["abc", "", "defg", "h"] {
            out.push_part(Bytes::from(piece), 10);
        }
        assert_eq!((out.len(), out.chunks()), (8, 3));
        out.consume(5);
        let rest: Vec<u8> = out.slices().iter().flat_map(|s| s.to_vec()).collect();
        assert_eq!((out.len(), out.memory, rest.as_slice()), (3, 20, &b"fgh"[..]));
        out.consume(3);
        assert_eq!((out.len(), out.chunks(), out.memory()), (0, 0, 0));
    }
}
