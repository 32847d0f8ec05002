//! A client: one connection and everything that is known of whoever is at its other end.
//!
//! Ordinary clients, replicas and the primary are all clients, told apart by their [`ClientFlags`]. What a replica is
//! hangs here and nowhere else: the connection is the replica's identity. What belongs to one subject is a value of its
//! own, made when a client first needs it:
//!
//! * [`flags`]: what the client is.
//! * [`output`]: what waits to be written to it.
//! * [`blocked`]: what it waits for.
//! * [`transaction`]: what it has queued, and watches.
//! * [`tracking`]: which keys it has in a cache of its own.
//! * `replstate`: a replica, as [`links::replica`](super::links::replica) has it.
//! * `subscriptions`: as [`pubsub`](super::pubsub) has them.

pub(crate) mod blocked;
pub(crate) mod flags;
pub(crate) mod output;
pub(crate) mod tracking;
pub(crate) mod transaction;

use super::connection::Connection;
use super::links::replica::ReplicaLink;
use super::links::stream::ReplStream;
use super::pubsub::Subscriptions;
pub use super::token::Token;
use super::token::{DEFAULT_USER, UserId};
use crate::resp::parser::Partial;
use crate::resp::reply::Protocol;
pub use blocked::{BlockState, Blocked, KeyWait};
pub use flags::ClientFlags;
pub use output::Output;
use tracking::ClientTracking;
use transaction::Transaction;

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
    pub created_seconds: i64,
    pub last_interaction_seconds: i64,
    /// The last command's full name.
    pub last_command: Option<&'static str>,
    /// A request's beginning, while its rest has not come.
    pub query: Vec<u8>,
    pub partial: Option<Box<Partial>>,
    pub out: Output,
    /// Since when the output is over the soft limit, in seconds since 1970.
    pub soft_limit_since_seconds: Option<i64>,
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
            created_seconds: now_seconds,
            last_interaction_seconds: now_seconds,
            last_command: None,
            query: Vec::new(),
            partial: None,
            out: Output::default(),
            soft_limit_since_seconds: None,
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

    /// Whether it has this one flag.
    pub fn is(&self, flag: ClientFlags) -> bool {
        debug_assert_eq!(flag.bits().count_ones(), 1, "several flags: is_any");
        self.flags.contains(flag)
    }

    /// Whether it has one of these flags at least.
    pub fn is_any(&self, flags: ClientFlags) -> bool {
        self.flags.intersects(flags)
    }

    /// Whether keys are there for this client until somebody deletes them: for the primary, and for who imports data.
    pub fn sees_expired(&self, is_importing: bool) -> bool {
        self.is_any(ClientFlags::MASTER | ClientFlags::MOVES_SLOTS)
            || is_importing && self.is(ClientFlags::IMPORT_SOURCE)
    }

    /// Whether it has said that it is a replica's, and has not asked for anything yet.
    pub fn is_shaking_hands(&self) -> bool {
        self.replstate.as_ref().is_some_and(|link| link.is_shaking_hands())
    }

    /// Whether it waits for something in a key.
    #[inline]
    pub fn is_blocked_on_keys(&self) -> bool {
        self.blocked.as_ref().is_some_and(|b| matches!(b.on, Blocked::Keys(_)))
    }

    /// Bytes that wait to be written to it, with a replica's share of the stream.
    pub fn output_bytes(&self, stream: Option<&ReplStream>) -> usize {
        self.out.len() + self.replstate.as_ref().map_or(0, |link| link.lag_bytes(stream))
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
