//! A Lua state with the library `debug`, which can break the rules that Lua's own code relies on.

use mlua::{Lua, LuaOptions, StdLib};

/// Makes a state with these libraries and `debug`. Whoever asks for it must not let scripts get hold of `debug`.
pub fn state_with_debug(libs: StdLib, options: LuaOptions) -> Lua {
    // SAFETY: `debug` is in the true globals only, which scripts never see: their environment is the table that
    // `prelude.lua` makes, and their functions are compiled for that. What does use it, `debugger.lua`, reads local
    // variables of functions on the stack, and changes nothing.
    unsafe { Lua::unsafe_new_with(libs | StdLib::DEBUG, options) }
}
