//! The commands: one file for each family, each ending in a table of its commands; the table that joins them with
//! their specifications; and [`dispatch`], which decides whether a request may run, and runs it.

pub mod args;
pub mod client;
pub mod config;
pub mod connection;
pub mod debug;
pub mod dispatch;
pub mod expire;
pub mod info;
pub mod keys;
pub mod lcs;
pub mod object;
pub mod replication;
pub mod server;
pub mod spec;
pub mod string;
pub mod table;
