//! Lua 5.1 for scripts, as in Redis: the states that they run in, and what is known of them. It knows no server: who
//! runs scripts hands it a [`Host`](engine::Host).
//!
//! * [`engine`] makes a Lua state in which scripts can do no harm; `prelude.lua` is what it starts with.
//! * [`guard`] holds the script that runs: its time and its memory.
//! * [`args`] makes native functions of Lua's, [`error`] has what they raise.
//! * [`value`] turns replies into Lua's values and back, [`log`] reads what a script logs.
//! * [`shebang`] reads what a script says of itself in its first line.
//! * [`text`] (`string`, with [`pattern`] and [`format`]), [`bit`], [`cjson`], [`cmsgpack`] and [`pack`] (`struct`) are
//!   the libraries that scripts find.
//! * [`cache`] keeps the scripts that are known, [`library`] the functions.
//! * [`debugger`] stops a script at each line.

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
pub mod log;
pub mod pack;
pub mod pattern;
pub mod random;
pub mod shebang;
pub mod text;
pub mod value;
