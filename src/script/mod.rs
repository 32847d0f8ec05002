//! Server-side scripts: Lua 5.1, as in Redis.
//!
//! * [`engine`] makes a Lua state in which scripts can do no harm; `prelude.lua` is what it starts with.
//! * [`run`] runs a script and serves `redis.call` and its kin.
//! * [`guard`] holds the script that runs: its time and its memory.
//! * [`args`] makes native functions of Lua's, [`error`] has what they raise.
//! * [`value`] turns replies into Lua's values and back.
//! * [`shebang`] reads what a script says of itself in its first line.
//! * [`text`] (`string`, with [`pattern`] and [`format`]), [`bit`], [`cjson`], [`cmsgpack`] and [`pack`] (`struct`) are
//!   the libraries that scripts find.
//! * [`cache`] keeps the scripts that are known, [`library`] the functions.
//! * [`debugger`] goes through a script line by line.

pub mod args;
pub mod bit;
pub mod cache;
pub mod cjson;
pub mod cmsgpack;
pub mod debugger;
pub mod engine;
pub mod error;
pub mod format;
pub mod guard;
pub mod library;
pub mod pack;
pub mod pattern;
pub mod random;
pub mod run;
pub mod shebang;
pub mod text;
pub mod value;
