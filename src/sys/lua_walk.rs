//! A walk through a value of Lua's and all that is in it, without recursion: a script nests tables as deep as it likes.
//!
//! The tables that lead to the present value are on Lua's own stack, which has room for some thousands of them, so that
//! nothing is copied on the way.

use mlua::ffi::{self, lua_State};
use std::ffi::c_int;

/// What is met on the way.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Seen<'a> {
    Nil,
    Boolean(bool),
    Number(f64),
    Text(&'a [u8]),
    Table,
    /// A light userdata that is NULL.
    Null,
    /// Anything else, by its type.
    Other(&'static str),
}

impl Seen<'_> {
    /// The type, as Lua calls it.
    pub fn type_name(&self) -> &'static str {
        match self {
            Seen::Nil => "nil",
            Seen::Boolean(_) => "boolean",
            Seen::Number(_) => "number",
            Seen::Text(_) => "string",
            Seen::Table => "table",
            Seen::Null => "userdata",
            Seen::Other(name) => name,
        }
    }
}

/// The keys of a table.
#[derive(Clone, Copy, Debug, Default)]
pub struct Keys {
    /// How many there are, unless the count was given up at the first that is no index.
    pub count: usize,
    /// The greatest index.
    pub max: f64,
    /// All are whole numbers from 1 on.
    pub are_indices: bool,
}

/// How a table is gone through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// What it has at 1 to this index.
    Array(usize),
    /// Pairs of keys and values, in Lua's order.
    Pairs,
}

/// Who is told of what is met. Depths are counted from 1, that of the outermost table.
pub trait Visitor {
    type Error;
    /// Keys are to be counted even if they are no indices.
    const COUNTS_ALL: bool;

    /// Something is met, or passed while a table's keys are looked at.
    ///
    /// # Errors
    /// As for all of these, to end the walk.
    fn step(&mut self) -> Result<(), Self::Error>;
    /// Whether to go into a table of that depth.
    fn enters(&mut self, depth: usize) -> Result<bool, Self::Error>;
    /// There is no room on the stack for a table of that depth.
    fn too_deep(&mut self, depth: usize) -> Self::Error;
    fn begin(&mut self, keys: Keys) -> Result<Form, Self::Error>;
    /// The next item of an array follows.
    fn item(&mut self, is_first: bool) -> Result<(), Self::Error>;
    /// A key. Unless this answers true, it is visited as a value is; its own value follows.
    fn key(&mut self, key: Seen, is_first: bool) -> Result<bool, Self::Error>;
    /// Anything but a table.
    fn value(&mut self, value: Seen) -> Result<(), Self::Error>;
    fn end(&mut self, form: Form) -> Result<(), Self::Error>;
}

/// A table that has been entered.
enum Level {
    Array {
        len: usize,
        /// So many items have been visited.
        done: usize,
    },
    Pairs {
        is_first: bool,
        /// The key is being visited; its value is below it on the stack.
        at_key: bool,
    },
}

/// Visits the value on top of the stack and all in it, and pops it, or leaves it and more there if the visitor ends the
/// walk.
///
/// # Safety
/// There is a value, and room for four more.
pub(super) unsafe fn go<V: Visitor>(
    state: *mut lua_State,
    visitor: &mut V,
) -> Result<(), V::Error> {
    let mut levels = Vec::new();
    // SAFETY: above the outermost value the stack holds, for each level, its table and, if it goes through pairs, the
    // present key and value; each step below pushes and pops accordingly. `lua_checkstack` has made room for three
    // values more at each level. `lua_next` gets the key that it gave, and the table has not been changed since, as no
    // script runs; so it raises no error.
    unsafe {
        loop {
            visitor.step()?;
            match seen(state, -1) {
                Seen::Table if visitor.enters(levels.len() + 1)? => {
                    if ffi::lua_checkstack(state, 4) == 0 {
                        return Err(visitor.too_deep(levels.len() + 1));
                    }
                    let keys = keys(state, visitor)?;
                    levels.push(match visitor.begin(keys)? {
                        Form::Array(len) => Level::Array { len, done: 0 },
                        Form::Pairs => {
                            ffi::lua_pushnil(state);
                            Level::Pairs { is_first: true, at_key: false }
                        }
                    });
                }
                Seen::Table => ffi::lua_pop(state, 1),
                value => {
                    visitor.value(value)?;
                    ffi::lua_pop(state, 1);
                }
            }
            // On to the next value, which is left on top.
            loop {
                match levels.last_mut() {
                    None => return Ok(()),
                    Some(Level::Array { len, done }) if *done == *len => {
                        visitor.end(Form::Array(*len))?;
                    }
                    Some(Level::Array { done, .. }) => {
                        visitor.item(*done == 0)?;
                        *done += 1;
                        ffi::lua_pushnumber(state, *done as f64);
                        ffi::lua_rawget(state, -2);
                        break;
                    }
                    Some(Level::Pairs { at_key, .. }) if *at_key => {
                        *at_key = false;
                        break;
                    }
                    Some(Level::Pairs { is_first, at_key }) => {
                        if ffi::lua_next(state, -2) != 0 {
                            *at_key = !visitor.key(seen(state, -2), *is_first)?;
                            *is_first = false;
                            if *at_key {
                                ffi::lua_pushvalue(state, -2);
                            }
                            break;
                        }
                        visitor.end(Form::Pairs)?;
                    }
                }
                levels.pop();
                ffi::lua_pop(state, 1);
            }
        }
    }
}

/// What is at that place of the stack. It must stay there for as long as the answer is looked at.
///
/// # Safety
/// There is a value.
pub(super) unsafe fn seen<'a>(state: *mut lua_State, at: c_int) -> Seen<'a> {
    // SAFETY: each function is called for a value of its type. A text is not converted, so that its bytes are those of
    // the string on the stack, which keeps them alive.
    unsafe {
        match ffi::lua_type(state, at) {
            ffi::LUA_TNIL => Seen::Nil,
            ffi::LUA_TBOOLEAN => Seen::Boolean(ffi::lua_toboolean(state, at) != 0),
            ffi::LUA_TNUMBER => Seen::Number(ffi::lua_tonumber(state, at)),
            ffi::LUA_TSTRING => {
                let mut len = 0;
                let bytes = ffi::lua_tolstring(state, at, &mut len);
                Seen::Text(std::slice::from_raw_parts(bytes.cast(), len))
            }
            ffi::LUA_TTABLE => Seen::Table,
            ffi::LUA_TLIGHTUSERDATA if ffi::lua_touserdata(state, at).is_null() => Seen::Null,
            ffi::LUA_TFUNCTION => Seen::Other("function"),
            ffi::LUA_TTHREAD => Seen::Other("thread"),
            _ => Seen::Other("userdata"),
        }
    }
}

/// Looks at the keys of the table on top of the stack.
///
/// # Safety
/// There is one, and room for two values.
unsafe fn keys<V: Visitor>(state: *mut lua_State, visitor: &mut V) -> Result<Keys, V::Error> {
    let mut keys = Keys { are_indices: true, ..Keys::default() };
    // SAFETY: as in `go`.
    unsafe {
        ffi::lua_pushnil(state);
        while ffi::lua_next(state, -2) != 0 {
            visitor.step()?;
            ffi::lua_pop(state, 1);
            match seen(state, -1) {
                Seen::Number(index) if index >= 1.0 && index == index.trunc() => {
                    keys.max = keys.max.max(index);
                }
                _ => keys.are_indices = false,
            }
            if !keys.are_indices && !V::COUNTS_ALL {
                ffi::lua_pop(state, 1);
                break;
            }
            keys.count += 1;
        }
    }
    Ok(keys)
}
