//! Replication with real peers, in every pairing: Redis 7, Redis 8, Valkey, and Aeolis with itself.
//!
//! Each pairing is a chain of two or three servers ([`chain`]). Under a write load ([`load`]) every replica makes a
//! full synchronisation, loses its link twice, resumes partially, and in the end has the primary's data and offset.
//! [`sentinel`] has three Sentinels watch over a group. [`files`] exchanges snapshot files, [`expiring_fields`] is
//! about the form of what not all know, [`tls`] encrypts links. [`cluster`] makes clusters of both. [`metrics`] are
//! compared with redis_exporter's. [`tools`] are those that people have.
//! [`peers`] finds the servers to pair with, [`data`] compares what they have.

#[allow(dead_code, unused_imports, reason = "what `it` alone uses")]
#[path = "../it/harness/mod.rs"]
mod harness;

mod chain;
mod cluster;
mod data;
mod expiring_fields;
mod files;
mod load;
#[path = "../it/harness/memory.rs"]
mod memory;
mod metrics;
mod pairings;
mod peers;
mod sentinel;
mod tls;
mod tools;
