//! Values on a Lua stack: they are made there, looked at and handed to functions without becoming values of the
//! binding's, each of which is a reference that it has to keep.
//!
//! Lua's own functions raise errors by `longjmp`, which must not leave Rust's. Those that are used here have a reason
//! to in few cases, each of which is ruled out: the memory is out (it is not limited while there is a [`Stack`], but
//! for functions of Lua's that are called), a key is none, or a table gets too many.

use super::lua_walk::{Seen, Visitor, go, seen};
use mlua::ffi::{self, lua_State};
use mlua::{IntoLuaMulti, Lua, MultiValue, RegistryKey, Value};
use std::ffi::c_int;
use std::mem;

/// There is room for so many values more than were asked for.
const ROOM: c_int = 16;
/// And for so many that are not counted with: pushing a value of the binding's takes one more for a moment.
const SPARE: c_int = 1;
/// So many values are put into tables at most: none of them can have more keys than Lua can count.
const MOST_SET: u32 = 1 << 25;
/// Tables are made with room for at most so many, and grow.
const MOST_EXPECTED: usize = 1 << 20;

/// The part of the running Lua stack above what was there.
pub struct Stack<'a> {
    lua: &'a Lua,
    state: *mut lua_State,
    /// Values below ours, and with ours.
    base: c_int,
    top: c_int,
    /// There is room for so many.
    room: c_int,
    /// How many values have been put into tables.
    set: u32,
    /// Tables whose pairs are being gone through: none may change.
    walks: u32,
    /// Lua's memory may be used up to this again once this is dropped; 0: without limit.
    limit_bytes: usize,
}

impl<'a> Stack<'a> {
    /// On top of the stack that is running. Nothing else may be left there before this is dropped.
    pub fn new(lua: &'a Lua) -> Stack<'a> {
        let limit_bytes = lua.set_memory_limit(0).unwrap_or(0);
        let state = lua.exec_raw_lua(|raw| raw.state());
        // SAFETY: the state is the one that runs.
        let top = unsafe { ffi::lua_gettop(state) };
        Stack { lua, state, base: top, top, room: top, set: 0, walks: 0, limit_bytes }
    }

    pub fn lua(&self) -> &'a Lua {
        self.lua
    }

    /// Sees to it that there is room for the next value.
    #[inline]
    fn reserve(&mut self) -> mlua::Result<()> {
        if self.top < self.room { Ok(()) } else { self.make_room() }
    }

    #[cold]
    fn make_room(&mut self) -> mlua::Result<()> {
        for room in [ROOM, 1] {
            // SAFETY: this raises no error, but answers if there is none.
            if unsafe { ffi::lua_checkstack(self.state, room + SPARE) } != 0 {
                self.room = self.top + room;
                return Ok(());
            }
        }
        Err(mlua::Error::StackError)
    }

    /// Whether there is room for another value.
    pub fn has_room(&mut self) -> bool {
        self.reserve().is_ok()
    }

    /// # Errors
    /// As for all that push: if there is no room on the stack, which has it for some 8,000.
    pub fn push_nil(&mut self) -> mlua::Result<()> {
        self.reserve()?;
        // SAFETY: there is room.
        unsafe { ffi::lua_pushnil(self.state) };
        self.top += 1;
        Ok(())
    }

    pub fn push_boolean(&mut self, value: bool) -> mlua::Result<()> {
        self.reserve()?;
        // SAFETY: there is room.
        unsafe { ffi::lua_pushboolean(self.state, value.into()) };
        self.top += 1;
        Ok(())
    }

    pub fn push_number(&mut self, value: f64) -> mlua::Result<()> {
        self.reserve()?;
        // SAFETY: there is room.
        unsafe { ffi::lua_pushnumber(self.state, value) };
        self.top += 1;
        Ok(())
    }

    pub fn push_text(&mut self, text: &[u8]) -> mlua::Result<()> {
        self.reserve()?;
        // SAFETY: there is room, and the memory is not limited. Lua copies the bytes.
        unsafe { ffi::lua_pushlstring_(self.state, text.as_ptr().cast(), text.len()) };
        self.top += 1;
        Ok(())
    }

    /// Pushes a table in which so many items and fields are expected.
    pub fn push_table(&mut self, items: usize, fields: usize) -> mlua::Result<()> {
        self.reserve()?;
        let size = |expected: usize| expected.min(MOST_EXPECTED) as c_int;
        // SAFETY: there is room, and the memory is not limited.
        unsafe { ffi::lua_createtable(self.state, size(items), size(fields)) };
        self.top += 1;
        Ok(())
    }

    /// Pushes a value of the binding's.
    pub fn push_value(&mut self, value: &Value) -> mlua::Result<()> {
        self.reserve()?;
        // SAFETY: there is room for two values.
        self.lua.exec_raw_lua(|raw| unsafe { raw.push_value(value) })?;
        self.top += 1;
        Ok(())
    }

    /// Pushes a copy of what is at a place of the running stack.
    ///
    /// # Safety
    /// There is a value.
    pub(super) unsafe fn push_copy(&mut self, at: c_int) -> mlua::Result<()> {
        self.reserve()?;
        // SAFETY: there is room, and a value.
        unsafe { ffi::lua_pushvalue(self.state, at) };
        self.top += 1;
        Ok(())
    }

    /// Pushes a value from Lua's registry.
    pub fn push_kept(&mut self, key: &RegistryKey) -> mlua::Result<()> {
        self.reserve()?;
        // SAFETY: there is room. The registry is a table; where it has no such key the value is `nil`.
        unsafe { ffi::lua_rawgeti_(self.state, ffi::LUA_REGISTRYINDEX, key.id()) };
        self.top += 1;
        Ok(())
    }

    /// Pushes an array of strings.
    pub fn push_texts(&mut self, texts: &[&[u8]]) -> mlua::Result<()> {
        self.push_table(texts.len(), 0)?;
        for (at, text) in texts.iter().enumerate() {
            self.push_text(text)?;
            self.set_item(at + 1)?;
        }
        Ok(())
    }

    /// How many values of ours there are.
    pub fn len(&self) -> usize {
        (self.top - self.base) as usize
    }

    /// Takes all but the lowest `len` values of ours from the stack.
    pub fn truncate(&mut self, len: usize) {
        self.pop(self.len() - len);
    }

    /// Takes so many values from the stack.
    pub fn pop(&mut self, count: usize) {
        assert!(count <= self.len());
        self.top -= count as c_int;
        // SAFETY: so many are ours.
        unsafe { ffi::lua_settop(self.state, self.top) };
    }

    /// Whether there are so many values of ours, the lowest of which is a table.
    fn is_table(&self, count: c_int) -> bool {
        // SAFETY: there are so many values.
        self.top - self.base >= count
            && unsafe { ffi::lua_type(self.state, -count) } == ffi::LUA_TTABLE
    }

    fn count_set(&mut self) -> mlua::Result<()> {
        assert!(self.walks == 0);
        self.set += 1;
        if self.set > MOST_SET { Err(mlua::Error::runtime("table overflow")) } else { Ok(()) }
    }

    /// Takes a value from the stack and puts it into the table below it, as the item of that number, from 1 on.
    ///
    /// # Errors
    /// If there are too many.
    pub fn set_item(&mut self, number: usize) -> mlua::Result<()> {
        assert!(self.is_table(2));
        self.count_set()?;
        let number = c_int::try_from(number).unwrap_or(c_int::MAX);
        // SAFETY: there is a value, and a table below it; the memory is not limited, and the table's keys are few
        // enough.
        unsafe { ffi::lua_rawseti_(self.state, -2, number) };
        self.top -= 1;
        Ok(())
    }

    /// Takes a value and a key below it from the stack and puts them into the table below these.
    ///
    /// # Errors
    /// If the key can't be one, or there are too many.
    pub fn set_field(&mut self) -> mlua::Result<()> {
        assert!(self.is_table(3));
        self.count_set()?;
        match self.look(2) {
            Seen::Nil => return Err(mlua::Error::runtime("table index is nil")),
            Seen::Number(x) if x.is_nan() => {
                return Err(mlua::Error::runtime("table index is NaN"));
            }
            _ => {}
        }
        // SAFETY: as for `set_item`; the key is one.
        unsafe { ffi::lua_rawset(self.state, -3) };
        self.top -= 2;
        Ok(())
    }

    /// The value that lies on top, at 1, or below it.
    #[inline]
    fn look(&self, depth: c_int) -> Seen<'_> {
        assert!(depth <= self.top - self.base);
        // SAFETY: there is one, and it stays for as long as the answer is looked at: who changes the stack needs it for
        // himself.
        unsafe { seen(self.state, -depth) }
    }

    /// The value on top.
    #[inline]
    pub fn top(&self) -> Seen<'_> {
        self.look(1)
    }

    /// Pushes what the table on top has at this number, as it is.
    pub fn push_item(&mut self, number: usize) -> mlua::Result<()> {
        assert!(self.is_table(1));
        self.reserve()?;
        let number = c_int::try_from(number).unwrap_or(c_int::MAX);
        // SAFETY: there is room, and a table on top.
        unsafe { ffi::lua_rawgeti_(self.state, -1, number) };
        self.top += 1;
        Ok(())
    }

    /// Pushes what the table on top has under this name, as it is.
    pub fn push_field(&mut self, name: &[u8]) -> mlua::Result<()> {
        assert!(self.is_table(1));
        self.push_text(name)?;
        self.look_up();
        Ok(())
    }

    /// Puts what the table below the key on top has under it, as it is, in the key's place.
    pub fn look_up(&mut self) {
        assert!(self.is_table(2));
        // SAFETY: there are a key, and a table below it.
        unsafe { ffi::lua_rawget_(self.state, -2) };
    }

    /// The length of the table on top, whatever its metatable says.
    pub fn table_len(&self) -> usize {
        assert!(self.is_table(1));
        // SAFETY: there is a table.
        unsafe { ffi::lua_rawlen(self.state, -1) }
    }

    /// Moves the value on top below all others of ours.
    pub fn move_down(&mut self) {
        assert!(self.len() > 0);
        // SAFETY: there is a value, and the place is at or below it.
        unsafe { ffi::lua_insert(self.state, self.base + 1) };
    }

    /// Takes a visitor through the value on top, which is taken from the stack.
    ///
    /// # Errors
    /// The visitor's; and of ours, if there is no room on the stack.
    pub fn walk<V: Visitor>(&mut self, visitor: &mut V) -> mlua::Result<Result<(), V::Error>> {
        assert!(self.len() > 0 && self.walks == 0);
        // SAFETY: this raises no error.
        if unsafe { ffi::lua_checkstack(self.state, ROOM) } == 0 {
            return Err(mlua::Error::StackError);
        }
        // SAFETY: there is a value, and room.
        let outcome = unsafe { go(self.state, visitor) };
        self.pop(1);
        Ok(outcome)
    }

    /// Goes through the pairs of the table on top, in Lua's order. `act` finds the value on top, and pushes the key
    /// with [`Stack::push_key`]; it can't change tables. What it leaves on the stack is taken from there.
    ///
    /// # Errors
    /// Its own, or if there is no room on the stack.
    pub fn pairs<E: From<mlua::Error>>(
        &mut self,
        mut act: impl FnMut(&mut Stack) -> Result<(), E>,
    ) -> Result<(), E> {
        assert!(self.is_table(1));
        let (outer, table) = (self.base, self.top);
        self.push_nil()?;
        // The key is not for `act` to take.
        self.base = self.top;
        self.walks += 1;
        let outcome = loop {
            if let Err(error) = self.reserve() {
                break Err(error.into());
            }
            // SAFETY: there is room, the key is on top and the table below it. The key is `nil` or the one that the
            // last call left there, and no table has changed since. So it is known, and no error is raised.
            if unsafe { ffi::lua_next(self.state, table) } == 0 {
                self.top = table;
                break Ok(());
            }
            self.top += 1;
            if let Err(error) = act(self) {
                break Err(error);
            }
            self.truncate(0);
        };
        (self.base, self.walks) = (outer, self.walks - 1);
        self.pop((self.top - table) as usize);
        outcome
    }

    /// Pushes the key of the present pair.
    ///
    /// # Errors
    /// If there is no room on the stack.
    pub fn push_key(&mut self) -> mlua::Result<()> {
        assert!(self.walks > 0);
        self.reserve()?;
        // SAFETY: there is room. What is right below ours is the key that the innermost `pairs` has left there.
        unsafe { ffi::lua_pushvalue(self.state, self.base) };
        self.top += 1;
        Ok(())
    }

    /// Calls a function with the arguments that `push_args` pushes, and puts its result on top. Lua may use so many
    /// bytes in it, 0 being any number.
    ///
    /// Answers whether it went well. If not, there is what the handler made of the error in the result's place, or a
    /// text if it was not asked, as for memory that is out.
    ///
    /// # Errors
    /// If there is no room on the stack.
    pub fn call(
        &mut self,
        function: &RegistryKey,
        handler: &RegistryKey,
        limit_bytes: usize,
        push_args: impl FnOnce(&mut Stack) -> mlua::Result<()>,
    ) -> mlua::Result<bool> {
        assert!(self.walks == 0);
        let (len, handler_at) = (self.len(), self.top + 1);
        let pushed = self.push_kept(handler).and_then(|()| self.push_kept(function));
        let outer = mem::replace(&mut self.base, self.top);
        let pushed = pushed.and_then(|()| push_args(self));
        let args = self.top - mem::replace(&mut self.base, outer);
        if let Err(error) = pushed {
            self.truncate(len);
            return Err(error);
        }
        let _ = self.lua.set_memory_limit(limit_bytes);
        // SAFETY: the handler, the function and so many arguments are on top. Whatever error is raised within ends
        // here. Whatever is called leaves the stack below as it is.
        let status = unsafe { ffi::lua_pcall(self.state, args, 1, handler_at) };
        let _ = self.lua.set_memory_limit(0);
        // SAFETY: the one result is on top, and takes the handler's place.
        unsafe { ffi::lua_replace(self.state, handler_at) };
        self.top = handler_at;
        Ok(status == ffi::LUA_OK)
    }

    /// Takes the arguments of the native function that is running from the stack, so that there are only so many values
    /// below ours, of which there must be none yet.
    pub(super) fn sink_to(&mut self, base: c_int) {
        assert!(self.top == self.base && base <= self.base);
        (self.base, self.top) = (base, base);
        // SAFETY: what was above are the function's arguments, which are its own.
        unsafe { ffi::lua_settop(self.state, base) };
    }

    /// Leaves the values where they are, as results of the native function that is running.
    pub(super) fn into_results(mut self) -> Results {
        let count = self.top - self.base;
        self.base = self.top;
        Results(count)
    }
}

impl Drop for Stack<'_> {
    fn drop(&mut self) {
        // SAFETY: what is above `base` is ours.
        unsafe { ffi::lua_settop(self.state, self.base) };
        if self.limit_bytes != 0 {
            let _ = self.lua.set_memory_limit(self.limit_bytes);
        }
    }
}

/// So many values on top of the stack, for the binding to return.
pub(super) struct Results(c_int);

impl IntoLuaMulti for Results {
    fn into_lua_multi(self, _: &Lua) -> mlua::Result<MultiValue> {
        Err(mlua::Error::runtime("the values lie on the stack"))
    }

    // SAFETY: as the binding wants it, the values are on the stack afterwards.
    unsafe fn push_into_stack_multi(self, _: &mlua::state::RawLua) -> mlua::Result<c_int> {
        Ok(self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::lua_walk::{Form, Keys};
    use mlua::{Function, LuaOptions, StdLib};

    fn lua() -> Lua {
        let options = LuaOptions::new().catch_rust_panics(false);
        Lua::new_with(StdLib::TABLE | StdLib::STRING, options).unwrap()
    }

    fn keep(lua: &Lua, code: &str) -> RegistryKey {
        let function: Function = lua.load(code).eval().unwrap();
        lua.create_registry_value(function).unwrap()
    }

    /// The text of the value on top.
    fn text(stack: &Stack) -> String {
        match stack.top() {
            Seen::Text(text) => String::from_utf8_lossy(text).into_owned(),
            other => format!("{other:?}"),
        }
    }

    #[test]
    fn tables_are_made_and_looked_into() {
        let lua = lua();
        let mut stack = Stack::new(&lua);
        stack.push_texts(&[b"a", b"b\0c"]).unwrap();
        stack.push_text(b"name").unwrap();
        stack.push_table(0, 0).unwrap();
        stack.push_number(1.5).unwrap();
        stack.set_item(3).unwrap();
        stack.set_field().unwrap();
        assert_eq!(stack.len(), 1);
        stack.push_item(2).unwrap();
        assert_eq!(stack.top(), Seen::Text(b"b\0c"));
        stack.pop(1);
        stack.push_item(3).unwrap();
        assert_eq!(stack.top(), Seen::Nil);
        stack.pop(1);
        stack.push_field(b"name").unwrap();
        stack.push_item(3).unwrap();
        assert_eq!(stack.top(), Seen::Number(1.5));
        stack.truncate(1);
        assert_eq!((stack.len(), stack.top()), (1, Seen::Table));
    }

    #[test]
    fn values_are_pushed_looked_up_and_moved() {
        let lua = lua();
        let mut stack = Stack::new(&lua);
        let table = lua.load("return {'a', 'b', [-1] = 'c'}").eval().unwrap();
        stack.push_value(&Value::Table(table)).unwrap();
        assert_eq!(stack.table_len(), 2);
        stack.push_number(-1.0).unwrap();
        stack.look_up();
        assert_eq!(stack.top(), Seen::Text(b"c"));
        stack.move_down();
        assert_eq!((stack.len(), stack.top()), (2, Seen::Table));
        stack.pop(1);
        assert_eq!(stack.top(), Seen::Text(b"c"));
    }

    #[test]
    fn a_visitor_is_taken_through_a_value_and_may_end_the_walk() {
        struct Counter(u32);
        impl Visitor for Counter {
            type Error = &'static str;
            const COUNTS_ALL: bool = true;
            fn step(&mut self) -> Result<(), Self::Error> {
                self.0 += 1;
                if self.0 > 100 { Err("enough") } else { Ok(()) }
            }
            fn enters(&mut self, _: usize) -> Result<bool, Self::Error> {
                Ok(true)
            }
            fn too_deep(&mut self, _: usize) -> Self::Error {
                "deep"
            }
            fn begin(&mut self, _: Keys) -> Result<Form, Self::Error> {
                Ok(Form::Pairs)
            }
            fn item(&mut self, _: bool) -> Result<(), Self::Error> {
                Ok(())
            }
            fn key(&mut self, _: Seen, _: bool) -> Result<bool, Self::Error> {
                Ok(true)
            }
            fn value(&mut self, _: Seen) -> Result<(), Self::Error> {
                Ok(())
            }
            fn end(&mut self, _: Form) -> Result<(), Self::Error> {
                Ok(())
            }
        }
        let lua = lua();
        let mut stack = Stack::new(&lua);
        stack.push_text(b"below").unwrap();
        let in_itself = "local t = {}; t.t = t; return t";
        for (code, outcome) in [("return {1, {2}}", Ok(())), (in_itself, Err("enough"))] {
            let table = lua.load(code).eval().unwrap();
            stack.push_value(&Value::Table(table)).unwrap();
            assert_eq!(stack.walk(&mut Counter(0)).unwrap(), outcome);
            assert_eq!((stack.len(), stack.top()), (1, Seen::Text(b"below")));
        }
    }

    #[test]
    fn what_can_be_no_key_is_an_error() {
        let lua = lua();
        let mut stack = Stack::new(&lua);
        for push in [Stack::push_nil, |stack: &mut Stack| stack.push_number(f64::NAN)] {
            stack.push_table(0, 1).unwrap();
            push(&mut stack).unwrap();
            stack.push_boolean(true).unwrap();
            assert!(stack.set_field().is_err());
            stack.truncate(0);
        }
    }

    #[test]
    fn pairs_are_gone_through_even_of_a_table_in_itself() {
        let lua = lua();
        let table = keep(&lua, "function() local t = {10, 20, x = 'y'}; t.t = t; return t end");
        let handler = keep(&lua, "tostring");
        let mut stack = Stack::new(&lua);
        assert!(stack.call(&table, &handler, 0, |_| Ok(())).unwrap());
        let mut seen = Vec::new();
        let mut pairs = |stack: &mut Stack| {
            stack.pairs(|stack| {
                let value = text(stack);
                let inner = match stack.top() {
                    Seen::Table => {
                        let mut count = 0;
                        stack.pairs(|stack| {
                            count += 1;
                            // What is left behind, or taken, is seen to.
                            if count == 1 {
                                return stack.push_nil();
                            }
                            stack.pop(1);
                            Ok(())
                        })?;
                        count
                    }
                    _ => 0,
                };
                stack.push_key()?;
                seen.push((text(stack), value, inner));
                mlua::Result::Ok(())
            })
        };
        pairs(&mut stack).unwrap();
        seen.sort();
        let expected = [
            ("Number(1.0)", "Number(10.0)", 0),
            ("Number(2.0)", "Number(20.0)", 0),
            ("t", "Table", 4),
            ("x", "y", 0),
        ];
        assert_eq!(seen, expected.map(|(key, value, n)| (key.to_string(), value.to_string(), n)));
        let ended = stack.pairs(|_| Err(mlua::Error::runtime("enough")));
        assert!(ended.is_err() && stack.len() == 1);
    }

    #[test]
    fn what_a_function_raises_goes_through_the_handler() {
        let lua = lua();
        let handler = keep(&lua, "function(err) return 'handled ' .. tostring(err) end");
        let mut stack = Stack::new(&lua);
        let concat = keep(&lua, "function(a, b) return a[1] .. b end");
        let push_args = |stack: &mut Stack| {
            stack.push_texts(&[b"x"])?;
            stack.push_number(1.0)
        };
        assert!(stack.call(&concat, &handler, 0, push_args).unwrap());
        assert_eq!((stack.len(), &*text(&stack)), (1, "x1"));
        let raise = keep(&lua, "function(...) error(select('#', ...), 0) end");
        assert!(!stack.call(&raise, &handler, 0, push_args).unwrap());
        assert_eq!((stack.len(), &*text(&stack)), (2, "handled 2"));
        // Lua's memory is limited while a function runs, and not afterwards.
        let grow = keep(&lua, "function() return ('x'):rep(1000000) end");
        assert!(!stack.call(&grow, &handler, 500_000, |_| Ok(())).unwrap());
        assert_eq!((stack.len(), &*text(&stack)), (3, "not enough memory"));
        assert!(stack.call(&grow, &handler, 0, |_| Ok(())).unwrap());
        let failed = stack.call(&grow, &handler, 0, |stack| {
            stack.push_nil()?;
            Err(mlua::Error::runtime("no arguments"))
        });
        assert!(failed.is_err() && stack.len() == 4);
    }

    #[test]
    fn the_stack_has_an_end() {
        let lua = lua();
        let handler = keep(&lua, "tostring");
        let mut stack = Stack::new(&lua);
        let most = (0..100_000).take_while(|_| stack.push_table(1, 1).is_ok()).count();
        assert!((7_000..9_000).contains(&most), "{most}");
        assert!(stack.push_text(b"x").is_err() && stack.push_field(b"x").is_err());
        assert!(stack.push_item(1).is_err() && stack.push_kept(&handler).is_err());
        assert!(stack.call(&handler, &handler, 0, |_| Ok(())).is_err());
        assert!(stack.pairs(|_| mlua::Result::Ok(())).is_err());
        assert_eq!(stack.len(), most);
        stack.pop(most);
        drop(stack);
        assert_eq!(lua.load("1 + 1").eval::<i64>().unwrap(), 2);
    }
}
