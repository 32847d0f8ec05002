//! Replication's links as machines and data: what is known of the other side, and what follows from what it says.
//! Nothing here knows a socket, a client or the server; [`replication`](super::replication) moves the bytes and does
//! what a machine wants done.
//!
//! * [`replica`]: a replica, as its primary sees it: what hangs on a client as its `replstate`.
//! * [`primary`]: the link to the primary, as its replica sees it.
//! * [`history`]: whose stream it is, and who may go on in it.
//! * [`stream`]: what is replicated, written once, shared by the backlog and every replica.
//! * [`transfer`]: a snapshot's way to one replica.
//! * [`trace`]: what happened on each link, for `REPLTRACE`.
//! * [`migration`]: slots that move between nodes of a cluster.

pub(crate) mod history;
pub mod migration;
pub(crate) mod primary;
pub(crate) mod replica;
pub mod stream;
pub mod trace;
pub(crate) mod transfer;

pub use history::NO_ID;
