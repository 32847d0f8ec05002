//! The system's edge: what needs a system call that neither the standard library nor a crate offers safely.
#![allow(unsafe_code)]

pub mod children;
pub(crate) mod crash;
pub(crate) mod durable;
pub(crate) mod image;
pub(crate) mod lent;
pub(crate) mod locale;
pub(crate) mod lua;
pub(crate) mod lua_args;
pub(crate) mod lua_stack;
pub(crate) mod lua_walk;
pub(crate) mod poll;
pub(crate) mod process;
pub(crate) mod processors;
pub(crate) mod socket;
pub mod stack;
pub(crate) mod time;
pub(crate) mod title;
pub(crate) mod tsc;
