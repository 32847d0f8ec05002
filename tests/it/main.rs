//! What a client, a replica or an operator sees of a server: over the wire, against a real process that [`harness`]
//! starts. A module a subject; `cargo test --test it strings::` runs one of them.
//!
//! The tests are threads of one process, two at a time on a machine of two processors: none may change what the process
//! has in common (its environment, its directory, its limits), or count on being alone.

mod harness;

mod acl;
mod aof;
mod bits;
mod bus;
mod client_memory;
mod cluster;
mod compatibility;
mod config;
mod connection;
mod crash;
mod debugger;
mod divergence;
mod embed;
mod eviction;
mod flavour;
mod forkless;
mod functions;
mod hash;
mod keys;
mod list;
mod memory;
mod metrics;
mod migrate;
mod output;
mod persistence;
mod protocol;
mod pubsub;
mod redirect;
mod replication;
mod sandbox;
mod sandbox_cve;
mod scripting;
mod server;
mod set;
mod slot_migration;
mod sorted_set;
mod stages;
mod stream;
mod strings;
mod tls;
mod tracking;
mod transactions;
