//! Replication on the wire, with the other side played by the test.
//!
//! * [`primary`]: the server under test is the primary, its replicas are played.
//! * [`redirect`]: what a replica tells clients that can go to its primary.
//! * [`replica`]: the server under test is the replica, its primary is played.
//! * [`hostile`]: a played primary that closes, lies or sends nonsense.
//! * [`trace`]: what `REPLTRACE` says of it.
//! * [`child`]: what becomes of a snapshot when the child that makes it, or its parent, is killed.
//! * [`chain`]: several servers under test.

mod chain;
mod child;
mod hostile;
mod primary;
mod redirect;
mod replica;
mod trace;
