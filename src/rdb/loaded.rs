//! A value on its way from the parser to the keyspace.

use crate::value::Value;
use std::borrow::Cow;

/// A value as the parser hands it out. Like [`Value`], but a string that is stored as it is stays
/// in the parser's buffer, so that who puts it into the keyspace copies it once and allocates once.
#[derive(Debug, Clone, PartialEq)]
pub enum Loaded<'a> {
    Int(i64),
    Str(Cow<'a, [u8]>),
    /// Anything that is not a string.
    Other(Value),
}

impl From<Loaded<'_>> for Value {
    fn from(loaded: Loaded<'_>) -> Self {
        match loaded {
            Loaded::Int(n) => Value::Int(n),
            Loaded::Str(s) => Value::Str(s.into_owned()),
            Loaded::Other(value) => value,
        }
    }
}
