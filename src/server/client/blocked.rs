//! What a blocked client waits for, and until when.

use crate::db::blocked::Ticket;
use crate::server::slot_change::WaitingChange;

/// What a client that waits for keys is to do when one is ready.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyWait {
    pub db: usize,
    pub keys: Vec<Box<[u8]>>,
    /// Its place in the queues of these keys.
    pub ticket: Ticket,
    /// What is executed then.
    pub command: Vec<Box<[u8]>>,
    /// A reader waits for what this group of the streams has not got: where there is nothing, its wait goes on.
    pub group: Option<Box<[u8]>>,
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
    /// `CLUSTER SETSLOT`, until replicas know of it.
    SlotChange(WaitingChange),
    /// The end of a pause; then its command is tried again.
    Pause,
    /// `SHUTDOWN`, until the replicas have caught up.
    Shutdown,
}

/// A blocked client's reason and deadline (milliseconds since 1970; `None`: for ever).
#[derive(Clone, Debug)]
pub struct BlockState {
    pub on: Blocked,
    pub deadline_ms: Option<i64>,
}
