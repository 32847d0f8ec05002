//! What a client is found by, for as long as it is one.

/// The index of a client in the slab.
pub type Token = usize;

/// A client that was noted for later: its token and its id, lest the token be another's by then.
pub type Noted = (Token, u64);
