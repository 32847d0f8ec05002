//! What a client is, and what is to happen to it.

use bitflags::bitflags;

bitflags! {
    /// What a client is and what is to happen to it.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
    pub struct ClientFlags: u64 {
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
        /// The next request may be for a slot that is on its way to this node (`ASKING`).
        const ASKING = 1 << 14;
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
        /// Its user may not do everything: see [`acl`](crate::server::acl).
        const RESTRICTED = 1 << 28;
        /// `SCRIPT DEBUG`: the next script is run line by line,
        const LUA_DEBUG = 1 << 29;
        /// and not in a child.
        const LUA_DEBUG_SYNC = 1 << 30;
        /// Brings data whose expiry another server decides about (`CLIENT IMPORT-SOURCE`).
        const IMPORT_SOURCE = 1 << 31;
        /// The other side of a move of slots: what it sends has been decided there.
        const MOVES_SLOTS = 1 << 32;
        /// Its certificate, once it has shown one, may say who it is (`tls-auth-clients-user`).
        const UNIDENTIFIED = 1 << 33;
    }
}
