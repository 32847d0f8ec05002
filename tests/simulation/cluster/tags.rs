//! The hash tags of the keys that clients write: each is a slot of its own.

use aeolis::util::slot::key_slot;

/// So many tags there are.
pub const TAGS: usize = 9;

/// The key of a client in a tag.
pub fn key(tag: usize, client: usize) -> String {
    format!("{{tag{tag}}}:{client}")
}

/// The slot of a tag.
pub fn slot(tag: usize) -> u16 {
    key_slot(key(tag, 0).as_bytes())
}
