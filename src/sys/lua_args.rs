//! The arguments of a native function, as they lie on Lua's stack: to a command they are bytes, and need not become
//! values of the binding's first, of which it can hold some 8,000 at a time.

use super::lua_walk::{Seen, seen};
use mlua::Lua;
use mlua::ffi;

/// Shows the arguments of the native function that is running, and takes them from the stack, which then has room for
/// results. The function itself must have been declared without arguments, so that they are still there.
pub fn take_arguments<T>(lua: &Lua, act: impl FnOnce(&[Seen]) -> T) -> T {
    let state = lua.exec_raw_lua(|raw| raw.state());
    // SAFETY: the state is the one that runs the function, and all places are within that function's own part of the
    // stack, whoever calls this. The values stay there while `act` looks at them.
    unsafe {
        let top = ffi::lua_gettop(state);
        // At times the binding puts an object of its own below the arguments. Scripts have nothing of that type.
        let first = if ffi::lua_type(state, 1) == ffi::LUA_TUSERDATA { 2 } else { 1 };
        let arguments: Vec<Seen> = (first..=top).map(|at| seen(state, at)).collect();
        let outcome = act(&arguments);
        ffi::lua_settop(state, top.min(first - 1));
        outcome
    }
}
