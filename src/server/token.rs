//! What clients and users are found by, for as long as they exist.

/// The index of a client in the slab.
pub type Token = usize;

/// A client that was noted for later: its token and its id, lest the token be another's by then.
pub type Noted = (Token, u64);

/// A user's place in the list of users, for as long as the user exists.
pub type UserId = usize;

/// The user that clients are before they log in.
pub const DEFAULT_USER: UserId = 0;
