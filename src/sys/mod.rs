//! The system's edge: what needs a system call that neither the standard library nor a crate offers safely.
#![allow(unsafe_code)]

pub mod children;
pub mod crash;
pub mod durable;
pub mod locale;
pub mod lua;
pub mod lua_args;
pub mod lua_walk;
pub mod poll;
pub mod process;
pub mod socket;
pub mod stack;
pub mod time;
pub mod title;
pub mod tsc;
