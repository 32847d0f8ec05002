//! The stream value.
#![forbid(unsafe_code)]

/// A stream.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Stream {}

impl Stream {
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
