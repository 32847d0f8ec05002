//! Replication with real peers, in every pairing: Redis 7.0, Redis 8, Valkey 9, and Aeolis with itself.
//!
//! Each pairing is a chain of two or three servers. Under a write load the replica makes a full synchronisation, loses its
//! link, resumes partially, and in the end has the primary's data and offset.

#[path = "../common/mod.rs"]
mod common;

mod chain;
mod pairings;
mod peer;
