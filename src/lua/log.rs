//! What a script logs.

use super::args::to_number;
use super::error::{LibError, LibResult};
use super::value::to_argument;
use crate::util::log_level::Level;
use mlua::Value;

/// What `redis.log` is to log.
///
/// # Errors
/// If that is not a level and something to log.
pub fn log_line(args: &[Value]) -> LibResult<(Level, String)> {
    const LEVELS: [Level; 4] = [Level::Debug, Level::Verbose, Level::Notice, Level::Warning];
    if args.len() < 2 {
        return Err(LibError::table("ERR redis.log() requires two arguments or more."));
    }
    let level = to_number(&args[0])
        .ok_or_else(|| LibError::table("ERR First argument must be a number (log level)."))?;
    let level = LEVELS.get(level as usize).filter(|_| level > -1.0);
    let level = *level.ok_or_else(|| LibError::table("ERR Invalid debug level."))?;
    let words: Vec<Vec<u8>> = args[1..].iter().filter_map(to_argument).collect();
    Ok((level, String::from_utf8_lossy(&words.join(&b' ')).into_owned()))
}
