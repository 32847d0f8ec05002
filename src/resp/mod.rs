//! The Redis serialization protocol, versions 2 and 3: requests in ([`parser`]) and out ([`encode`]),
//! replies out ([`reply`]), and the texts of errors ([`error`]).
//!
//! Pure: bytes to requests and values to bytes; no sockets and no server state.

pub mod encode;
pub(crate) mod error;
pub mod parser;
pub(crate) mod reply;
