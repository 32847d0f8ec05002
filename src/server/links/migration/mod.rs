//! Slots that move as one, as in Valkey 9: all their keys, then what is written to them meanwhile, a short pause, and
//! the other node takes them over.
//!
//! ```text
//! source                                                       target
//!    │ ── AUTH, CLUSTER SYNCSLOTS ESTABLISH ──────────────────────► │ makes a job of its own; hides the slots
//!    │ ◄────────────────────────────────────────────────────── +OK  │
//!    │ ── SYNCSLOTS ACK, keys, writes to keys sent ───────────────► │ executes them
//!    │ ── SYNCSLOTS SNAPSHOT-EOF ─────────────────────────────────► │
//!    │ ◄─────────────────────────────────── SYNCSLOTS REQUEST-PAUSE │
//!    │ ── the last writes, SYNCSLOTS PAUSED ──────────────────────► │
//!    │ ◄──────────────────────────────── SYNCSLOTS REQUEST-FAILOVER │
//!    │ ── SYNCSLOTS FAILOVER-GRANTED ─────────────────────────────► │ owns the slots, with a new epoch
//!    │ ◄─────────────────────────────────── a PONG that claims them │
//! ```
//!
//! Whatever goes wrong before the slots have their new owner ends the job on both sides: the source goes on, and the
//! target deletes what it got.
//!
//! * [`job`]: one move, as a machine: what was heard and the time go in, what is to be done comes out.
//!   [`export`] and [`import`] are its two sides.
//! * [`walk`]: how far the keys of a job's slots have been sent.
//! * [`jobs`]: all moves.
//!
//! [`cluster::migration`](crate::server::cluster::migration) does what they want, and
//! [`migration_feed`](crate::server::migration_feed) sends writes on.

mod export;
mod import;
pub mod job;
pub mod jobs;
#[cfg(test)]
mod tests;
pub mod walk;
