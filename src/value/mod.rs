//! The typed values of the keyspace.
//!
//! [`Value`] owns a value outside the keyspace (loaded, restored, copied); inside it lives in an
//! [`Entry`](crate::db::entry::Entry), packed, and is seen as [`ValueRef`].
#![forbid(unsafe_code)]

use crate::util::number::parse_i64;

/// The type of a value, as `TYPE` names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Type {
    String,
}

impl Type {
    pub fn name(self) -> &'static str {
        match self {
            Type::String => "string",
        }
    }
}

/// A value that nobody shares.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// A string that is a canonical 64-bit integer.
    Int(i64),
    /// Any other string.
    Str(Vec<u8>),
}

impl Value {
    /// A string value in its smallest form.
    pub fn string(bytes: &[u8]) -> Value {
        match parse_i64(bytes) {
            Some(n) => Value::Int(n),
            None => Value::Str(bytes.to_vec()),
        }
    }
}

/// A value seen in place.
#[derive(Clone, Copy, Debug)]
pub enum ValueRef<'a> {
    Int(i64),
    Str(&'a [u8]),
}

impl ValueRef<'_> {
    pub fn kind(&self) -> Type {
        match self {
            ValueRef::Int(_) | ValueRef::Str(_) => Type::String,
        }
    }

    /// A copy of the value.
    pub fn to_value(&self) -> Value {
        match *self {
            ValueRef::Int(n) => Value::Int(n),
            ValueRef::Str(bytes) => Value::Str(bytes.to_vec()),
        }
    }
}

impl<'a> From<&'a Value> for ValueRef<'a> {
    fn from(value: &'a Value) -> Self {
        match value {
            Value::Int(n) => ValueRef::Int(*n),
            Value::Str(bytes) => ValueRef::Str(bytes),
        }
    }
}
