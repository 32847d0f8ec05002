//! Running scripts: what [`crate::lua`] knows, with the server that scripts call.
//!
//! * [`run`] runs a script and serves `redis.call` and its kin.
//! * [`debugger`] has a client go through a script line by line.

pub mod debugger;
pub mod run;
