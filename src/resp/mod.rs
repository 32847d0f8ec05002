//! The Redis serialization protocol, versions 2 and 3: requests in ([`parser`]), replies out ([`reply`]), and the texts
//! of errors ([`error`]).
//!
//! Pure: bytes to requests and values to bytes; no sockets and no server state.

pub mod error;
pub mod parser;
pub mod reply;
