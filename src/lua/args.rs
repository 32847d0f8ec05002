//! Native functions for scripts: how they are made, and their arguments.
//!
//! To Lua an error of a native function is an object of mlua's. `prelude.lua` has [`caught`] turn it into what a script
//! expects to catch: a string that begins with the place of the call or, for the server's own functions, a table.

use super::error::{LibError, LibResult, PRELUDE, error_table, plain_text};
use super::guard::Guard;
use crate::sys::lua_args::{Arguments, create_plain_native};
use crate::sys::lua_stack::Stack;
use crate::sys::lua_walk::Seen;
use crate::util::c_string;
use crate::util::number::{general_format, leading_f64};
use bstr::ByteSlice;
use mlua::{FromLuaMulti, Function, IntoLuaMulti, Lua, LuaString, Table, Value};
use std::ops::Deref;

/// An error of Lua's own without a place in the prelude.
fn without_prelude(lua: &Lua, text: LuaString) -> mlua::Result<Value> {
    let bytes = text.as_bytes();
    let line = bytes.strip_prefix(PRELUDE.as_bytes()).and_then(|rest| rest.strip_prefix(b":"));
    let behind = line.and_then(|line| line.split_once_str(": "));
    match behind {
        Some((number, message)) if number.iter().all(u8::is_ascii_digit) => {
            Ok(Value::String(lua.create_string(message)?))
        }
        _ => Ok(Value::String(text)),
    }
}

/// What a script catches, where this was raised.
pub fn caught(lua: &Lua, raised: Value) -> mlua::Result<Value> {
    let error = match raised {
        Value::Error(error) => error,
        Value::String(text) => return without_prelude(lua, text),
        other => return Ok(other),
    };
    match error.downcast_ref::<LibError>() {
        Some(LibError::Table { text, counted }) => error_table(lua, text, *counted),
        Some(LibError::Raised) => Ok(Guard::of(lua)?.take_raised()),
        Some(own) => Ok(Value::String(lua.create_string(own.to_bytes())?)),
        None => Ok(Value::String(lua.create_string(plain_text(&error))?)),
    }
}

/// The bytes of a string, or of a number as one.
pub enum Text<'a> {
    String(&'a [u8]),
    Number(Vec<u8>),
}

impl Deref for Text<'_> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Text::String(bytes) => bytes,
            Text::Number(digits) => digits,
        }
    }
}

/// The arguments of a call.
pub struct Args<'a> {
    values: &'a Arguments,
    guard: &'a Guard,
}

impl<'a> Args<'a> {
    /// What counts the function's steps and memory.
    pub fn guard(&self) -> &'a Guard {
        self.guard
    }

    pub fn len(&self) -> usize {
        self.values.len()
    }

    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// `nil` behind the last.
    #[inline]
    pub fn get(&self, at: usize) -> Seen<'a> {
        self.values.get(at).unwrap_or(Seen::Nil)
    }

    /// Pushes one.
    ///
    /// # Errors
    /// If there is no room for it.
    pub fn push(&self, at: usize, stack: &mut Stack) -> LibResult {
        Ok(self.values.push(at, stack)?)
    }

    /// The same as a value of the binding's.
    ///
    /// # Errors
    /// If there is no room for it.
    pub fn value(&self, lua: &Lua, at: usize) -> LibResult<Value> {
        Ok(self.values.value(lua, at)?.unwrap_or(Value::Nil))
    }

    /// The error of a bad argument.
    pub fn bad(&self, at: usize, why: impl Into<Vec<u8>>) -> LibError {
        LibError::Argument { at: at as isize, why: why.into() }
    }

    pub fn check(&self, fine: bool, at: usize, why: &str) -> LibResult {
        if fine { Ok(()) } else { Err(self.bad(at, why)) }
    }

    /// The error of an argument that is of another type.
    #[cold]
    pub fn expected(&self, at: usize, wanted: &str) -> LibError {
        let got = self.values.get(at).map_or("no value", |value| value.type_name());
        self.bad(at, format!("{wanted} expected, got {got}"))
    }

    /// A number, or a string that is one.
    pub fn number(&self, at: usize) -> LibResult<f64> {
        let number = match self.get(at) {
            Seen::Number(number) => Some(number),
            Seen::Text(text) => text_number(text),
            _ => None,
        };
        number.ok_or_else(|| self.expected(at, "number"))
    }

    /// A number, its fraction cut off.
    pub fn int(&self, at: usize) -> LibResult<i64> {
        self.number(at).map(truncated)
    }

    /// The low 32 bits of a number, as C's `int`.
    pub fn int32(&self, at: usize) -> LibResult<i32> {
        Ok(self.int(at)? as i32)
    }

    pub fn int_or(&self, at: usize, default: i64) -> LibResult<i64> {
        if self.get(at) == Seen::Nil { Ok(default) } else { self.int(at) }
    }

    /// The bytes of a string, or of a number as one.
    pub fn text(&self, at: usize) -> LibResult<Text<'a>> {
        match self.get(at) {
            Seen::Text(text) => Ok(Text::String(text)),
            Seen::Number(number) => Ok(Text::Number(number_text(number))),
            _ => Err(self.expected(at, "string")),
        }
    }
}

/// A value's type, as Lua calls it.
pub fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Integer(_) => "number",
        Value::LightUserData(_) => "userdata",
        other => other.type_name(),
    }
}

/// A number as Lua writes it.
pub fn number_text(number: f64) -> Vec<u8> {
    /// Integers below this are written with all their digits.
    const EXACT: f64 = 1e14;
    let sign = if number.is_sign_negative() { "-" } else { "" };
    match number {
        0.0 => format!("{sign}0").into(),
        x if x.trunc() == x && x.abs() < EXACT => itoa::Buffer::new().format(x as i64).into(),
        x if x.is_finite() => general_format(x, 14).into(),
        x if x.is_nan() => format!("{sign}nan").into(),
        _ => format!("{sign}inf").into(),
    }
}

/// The number that a value is.
pub fn as_number(value: &Value) -> Option<f64> {
    match value {
        Value::Integer(n) => Some(*n as f64),
        Value::Number(x) => Some(*x),
        _ => None,
    }
}

/// A number without its fraction; what no integer can hold is the smallest, as the processors make it for C.
pub fn truncated(x: f64) -> i64 {
    const END: f64 = -(i64::MIN as f64);
    if (-END..END).contains(&x) { x as i64 } else { i64::MIN }
}

/// The number that a value is, or that a string is read as where Lua needs one.
pub fn to_number(value: &Value) -> Option<f64> {
    match value {
        Value::String(text) => text_number(&text.as_bytes()),
        other => as_number(other),
    }
}

fn text_number(text: &[u8]) -> Option<f64> {
    // As a C string.
    let text = c_string(text);
    let is_space = |byte: &u8| matches!(byte, b' ' | 0x09..=0x0d);
    let start = text.iter().take_while(|byte| is_space(byte)).count();
    let (number, len) = leading_f64(&text[start..])?;
    text[start + len..].iter().all(is_space).then_some(number)
}

/// A native function, which pushes its results.
pub fn native(
    lua: &Lua,
    function: impl Fn(&Lua, &Args, &mut Stack) -> LibResult + 'static,
) -> mlua::Result<Function> {
    let guard = Guard::of(lua)?;
    create_plain_native(lua, move |lua, values, results| {
        function(lua, &Args { values, guard: &guard }, results).map_err(|error| error.raise(lua))
    })
}

/// A native function without ceremony, during which Lua's memory is not limited.
pub fn guarded<A: FromLuaMulti, R: IntoLuaMulti>(
    lua: &Lua,
    function: impl Fn(&Lua, A) -> mlua::Result<R> + 'static,
) -> mlua::Result<Function> {
    let guard = Guard::of(lua)?;
    lua.create_function(move |lua, args| guard.leave(lua, || function(lua, args)))
}

pub type NativeFn = fn(&Lua, &Args, &mut Stack) -> LibResult;

/// A table of native functions.
pub fn library(lua: &Lua, functions: &[(&'static str, NativeFn)]) -> mlua::Result<Table> {
    let table = lua.create_table()?;
    for &(name, function) in functions {
        table.set(name, native(lua, function)?)?;
    }
    Ok(table)
}
