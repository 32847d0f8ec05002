//! What a client is found by, for as long as it is one.

/// The index of a client in the slab.
pub type Token = usize;
