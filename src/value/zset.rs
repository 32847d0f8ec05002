//! The zset value.
#![forbid(unsafe_code)]

/// A zset.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Zset {}

impl Zset {
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
