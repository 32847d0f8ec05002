//! Native functions that find their arguments as they lie on Lua's stack, and leave their results there: to a command
//! arguments are bytes, and need not become values of the binding's first, of which it can hold some 8,000 at a time.

use super::lua_stack::Stack;
use super::lua_walk::{Seen, seen};
use mlua::ffi::{self, lua_State};
use mlua::{Function, Lua, Value};
use std::ffi::c_int;

/// The arguments of the native function that is running.
pub struct Arguments {
    state: *mut lua_State,
    /// Their places on the stack: from the first to the one before the end.
    first: c_int,
    end: c_int,
}

impl Arguments {
    /// # Safety
    /// They must still be there: the running function has been declared without any.
    unsafe fn of_running_function(lua: &Lua) -> Arguments {
        let state = lua.exec_raw_lua(|raw| raw.state());
        // SAFETY: the state is the one that runs the function.
        unsafe {
            // At times the binding puts an object of its own below the arguments. Scripts have nothing of that type.
            let is_bindings = ffi::lua_type(state, 1) == ffi::LUA_TUSERDATA;
            let end = ffi::lua_gettop(state) + 1;
            Arguments { state, first: if is_bindings { 2 } else { 1 }, end }
        }
    }

    pub fn len(&self) -> usize {
        (self.end - self.first) as usize
    }

    pub fn is_empty(&self) -> bool {
        self.first == self.end
    }

    pub fn iter(&self) -> impl Iterator<Item = Seen<'_>> {
        (self.first..self.end).map(|at| self.at(at))
    }

    /// An argument, counted from 0; `None` behind the last.
    #[inline]
    pub fn get(&self, number: usize) -> Option<Seen<'_>> {
        self.place(number).map(|at| self.at(at))
    }

    /// The same as a value of the binding's.
    ///
    /// # Errors
    /// If there is no room for it.
    pub fn value(&self, lua: &Lua, number: usize) -> mlua::Result<Option<Value>> {
        let Some(at) = self.place(number) else { return Ok(None) };
        lua.exec_raw_lua(|raw| {
            // SAFETY: there is room, and a value at this place.
            unsafe {
                if ffi::lua_checkstack(self.state, 2) == 0 {
                    return Err(mlua::Error::StackError);
                }
                ffi::lua_pushvalue(self.state, at);
                raw.pop().map(Some)
            }
        })
    }

    /// Pushes a copy; behind the last it is `nil`.
    ///
    /// # Errors
    /// If there is no room for it.
    pub fn push(&self, number: usize, stack: &mut Stack) -> mlua::Result<()> {
        match self.place(number) {
            // SAFETY: there is a value.
            Some(at) => unsafe { stack.push_copy(at) },
            None => stack.push_nil(),
        }
    }

    #[inline]
    fn place(&self, number: usize) -> Option<c_int> {
        (number < self.len()).then(|| self.first + number as c_int)
    }

    #[inline]
    fn at(&self, at: c_int) -> Seen<'_> {
        // SAFETY: there is a value at each of the places that it is asked for, and it stays there for as long as the
        // function finds its arguments here.
        unsafe { seen(self.state, at) }
    }
}

/// A native function, during which Lua's memory is not limited. `act` is shown the arguments, and pushes the results
/// above them.
///
/// # Errors
/// If there is no memory for it.
pub fn create_plain_native(
    lua: &Lua,
    act: impl Fn(&Lua, &Arguments, &mut Stack) -> mlua::Result<()> + 'static,
) -> mlua::Result<Function> {
    lua.create_function(move |lua, ()| {
        let mut stack = Stack::new(lua);
        // SAFETY: this function is declared without arguments.
        let arguments = unsafe { Arguments::of_running_function(lua) };
        act(lua, &arguments, &mut stack)?;
        Ok(stack.into_results())
    })
}

/// The same for one whose arguments and results may be so many that there is no room for both: `act` is shown the
/// arguments, which are gone from the stack when `answer` pushes the results.
///
/// # Errors
/// If there is no memory for it.
pub fn create_native<T>(
    lua: &Lua,
    act: impl Fn(&Lua, &Arguments) -> mlua::Result<T> + 'static,
    answer: impl Fn(T, &mut Stack) -> mlua::Result<()> + 'static,
) -> mlua::Result<Function> {
    lua.create_function(move |lua, ()| {
        let mut stack = Stack::new(lua);
        // SAFETY: this function is declared without arguments.
        let arguments = unsafe { Arguments::of_running_function(lua) };
        let outcome = act(lua, &arguments)?;
        stack.sink_to(arguments.first - 1);
        answer(outcome, &mut stack)?;
        Ok(stack.into_results())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_seen_and_results_returned() {
        let lua = Lua::new();
        let count = |lua: &Lua| {
            create_native(
                lua,
                |_, args| {
                    let texts = args.iter().filter(|arg| matches!(arg, Seen::Text(_))).count();
                    assert_eq!(args.is_empty(), args.iter().next().is_none());
                    if texts == 3 {
                        Err(mlua::Error::runtime("three"))
                    } else {
                        Ok((args.len(), texts))
                    }
                },
                |(len, texts), stack| {
                    assert_eq!(stack.len(), 0);
                    stack.push_number(len as f64)?;
                    stack.push_number(texts as f64)
                },
            )
        };
        lua.globals().set("count", count(&lua).unwrap()).unwrap();
        let code = "
            local n, texts = count('a', 1, {}, 'b')
            local none = {count()}
            local many = {}
            for i = 1, 7000 do many[i] = 'x' end
            local of_many = count(unpack(many))
            local ok = pcall(count, 'a', 'b', 'c')
            local again = count(nil)
            local co = coroutine.wrap(function(...) return count(...) end)
            return n == 4 and texts == 2 and #none == 2 and none[1] == 0 and of_many == 7000 and not ok and again == 1
                and co('x', 'y') == 2";
        assert!(lua.load(code).eval::<bool>().unwrap());
    }
}
