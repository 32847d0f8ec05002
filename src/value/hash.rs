//! The hash value.
#![forbid(unsafe_code)]

/// A hash.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Hash {}

impl Hash {
    pub fn is_empty(&self) -> bool {
        true
    }

    /// The encoding, as `OBJECT ENCODING` names it.
    pub fn encoding(&self) -> &'static str {
        "listpack"
    }

    /// Memory behind the value itself, in bytes.
    pub fn heap_bytes(&self) -> usize {
        0
    }
}
