//! stub
use super::table::Row;
pub const COMMANDS: &[Row] = &[];
