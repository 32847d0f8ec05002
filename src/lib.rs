//! Aeolis: a Redis-compatible server on one thread and one mio event loop.
//!
//! The crate is laid out in floors; each uses only the floors below it:
//!
//! | Floor | Modules | Duty |
//! | --- | --- | --- |
//! | 7 | `main`, [`cli`], [`embed`] | arguments, configuration, start-up; a server inside another program |
//! | 6 | [`event_loop`] | poll, listeners, timers, signals |
//! | 5 | [`command`] | one file for each family of commands |
//! | 5 | [`script`] | running scripts: what Lua calls |
//! | 4 | [`server`] | the command table, dispatch, the state: clients, replication, configuration, statistics |
//! | 3 | [`rdb`], [`aof`], [`bus`] | what is written to disk and wire |
//! | 2 | [`db`] | the keyspace |
//! | 2 | [`lua`] | Lua for scripts, and what is known of them |
//! | 1 | [`value`] | the typed values |
//! | 1 | [`spec`] | what each command is, as data: arity, flags, keys, documentation |
//! | 0 | [`ds`], [`resp`], [`util`], [`sys`] | pure parts, and the system's edge |

pub mod aof;
pub mod bus;
pub mod cli;
mod command;
pub mod db;
pub mod ds;
pub mod embed;
pub mod event_loop;
mod lua;
pub mod rdb;
pub mod resp;
mod script;
pub mod server;
pub mod spec;
pub mod sys;
pub mod util;
pub mod value;

pub use embed::Aeolis;

// Not in the unit tests: AddressSanitizer sees only what its own allocator handed out.
#[cfg(not(test))]
#[global_allocator]
static ALLOCATOR: util::alloc::Counting = util::alloc::Counting;
