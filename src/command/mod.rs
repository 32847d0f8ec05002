//! The commands: one file for each family, each ending in a table of its commands; the table that joins them with
//! their specifications; and [`dispatch`], which decides whether a request may run, and runs it.

pub mod args;
pub mod client;
pub mod config;
pub mod connection;
pub mod database;
pub mod debug;
pub mod dispatch;
pub mod dump;
pub mod expire;
pub mod geo;
pub mod hash;
pub mod hash_expire;
pub mod help;
pub mod info;
pub mod keys;
pub mod lcs;
pub mod list;
pub mod memory;
pub mod monitor;
pub mod object;
pub mod pubsub;
pub mod redact;
pub mod replication;
pub mod scan;
pub mod server;
pub mod set;
pub mod set_algebra;
pub mod spec;
pub mod stream;
pub mod string;
pub mod table;
pub mod transaction;
pub mod zset;
