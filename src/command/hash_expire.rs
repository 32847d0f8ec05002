//! Expiry of single fields of a hash.
#![forbid(unsafe_code)]

use super::table::Row;

pub const COMMANDS: &[Row] = &[];
