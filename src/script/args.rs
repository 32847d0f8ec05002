//! Native functions for scripts: their arguments, and their errors.
//!
//! To Lua an error of a native function is an object of mlua's. `prelude.lua` has [`caught`] turn it into what a script
//! expects to catch: a string that begins with the place of the call or, for the server's own functions, a table.
#![forbid(unsafe_code)]

use super::value::error_table;
use crate::util::bytes_text::written;
use mlua::debug::DebugSource;
use mlua::{Function, Lua, LuaString, MultiValue, Table, Value};
use std::fmt;

/// Why a native function failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LibError {
    /// To be raised as a string.
    Text(String),
    /// To be raised as a table, like the error of a command. `counted`: it is in the statistics already.
    Table { text: String, counted: bool },
}

pub type LibResult<T = MultiValue> = Result<T, LibError>;

impl From<&str> for LibError {
    fn from(text: &str) -> LibError {
        LibError::Text(text.to_string())
    }
}

impl From<String> for LibError {
    fn from(text: String) -> LibError {
        LibError::Text(text)
    }
}

impl From<mlua::Error> for LibError {
    fn from(error: mlua::Error) -> LibError {
        LibError::Text(error.to_string())
    }
}

impl fmt::Display for LibError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LibError::Text(text) | LibError::Table { text, .. } => f.write_str(text),
        }
    }
}

impl std::error::Error for LibError {}

impl LibError {
    /// An error of the server's own functions.
    pub fn table(text: impl Into<String>) -> LibError {
        LibError::Table { text: text.into(), counted: false }
    }

    /// What the native function that is running returns to raise it.
    pub fn raise(self, lua: &Lua) -> mlua::Error {
        let error = match self {
            LibError::Text(text) => LibError::Text(place_of_call(lua) + &text),
            table => table,
        };
        mlua::Error::external(error)
    }
}

/// `source:line: ` of the call of the native function that is running.
fn place_of_call(lua: &Lua) -> String {
    let place = lua.inspect_stack(1, |debug| {
        let DebugSource { short_src, .. } = debug.source();
        Some(format!("{}:{}: ", short_src?, debug.current_line()?))
    });
    place.flatten().unwrap_or_default()
}

/// What a script catches, where this was raised.
pub fn caught(lua: &Lua, raised: Value) -> mlua::Result<Value> {
    let Value::Error(error) = raised else { return Ok(raised) };
    match error.downcast_ref::<LibError>() {
        Some(LibError::Table { text, counted }) => error_table(lua, text, *counted),
        Some(LibError::Text(text)) => Ok(Value::String(lua.create_string(written(text))?)),
        None => Ok(Value::String(lua.create_string(error.to_string())?)),
    }
}

/// The arguments of a call.
pub struct Args {
    values: MultiValue,
    function: &'static str,
}

impl Args {
    pub fn len(&self) -> usize {
        self.values.len()
    }

    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// `nil` behind the last.
    pub fn get(&self, at: usize) -> &Value {
        self.values.get(at).unwrap_or(&Value::Nil)
    }

    pub fn iter(&self) -> impl Iterator<Item = &Value> {
        self.values.iter()
    }

    /// The error of a bad argument.
    pub fn bad(&self, at: usize, why: &str) -> LibError {
        LibError::Text(format!("bad argument #{} to '{}' ({why})", at + 1, self.function))
    }

    pub fn check(&self, fine: bool, at: usize, why: &str) -> LibResult<()> {
        if fine { Ok(()) } else { Err(self.bad(at, why)) }
    }

    fn expected(&self, at: usize, wanted: &str) -> LibError {
        let got = match self.values.get(at) {
            Some(value) => value.type_name(),
            None => "no value",
        };
        let got = if got == "integer" { "number" } else { got };
        self.bad(at, &format!("{wanted} expected, got {got}"))
    }

    /// A number, or a string that is one.
    pub fn number(&self, at: usize) -> LibResult<f64> {
        let number = match self.get(at) {
            Value::String(text) => to_number(text),
            other => as_number(other),
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
        if self.get(at).is_nil() { Ok(default) } else { self.int(at) }
    }

    /// A string, or a number as one.
    pub fn string(&self, lua: &Lua, at: usize) -> LibResult<LuaString> {
        match self.get(at) {
            Value::String(text) => Ok(text.clone()),
            number @ (Value::Integer(_) | Value::Number(_)) => {
                let text = lua.coerce_string(number.clone())?;
                text.ok_or_else(|| self.expected(at, "string"))
            }
            _ => Err(self.expected(at, "string")),
        }
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

/// A string as a number, as Lua converts it where it needs one.
fn to_number(text: &LuaString) -> Option<f64> {
    let text = text.as_bytes();
    let text = std::str::from_utf8(text.trim_ascii()).ok()?;
    if let Some(hex) = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        return u64::from_str_radix(hex, 16).ok().map(|n| n as f64);
    }
    text.parse().ok()
}

/// A native function under its name.
pub fn native(
    lua: &Lua,
    name: &'static str,
    function: impl Fn(&Lua, &Args) -> LibResult + 'static,
) -> mlua::Result<Function> {
    lua.create_function(move |lua, values: MultiValue| {
        function(lua, &Args { values, function: name }).map_err(|error| error.raise(lua))
    })
}

/// One result.
pub fn one(value: Value) -> LibResult {
    Ok(MultiValue::from_iter([value]))
}

pub type NativeFn = fn(&Lua, &Args) -> LibResult;

/// A table of native functions.
pub fn library(lua: &Lua, functions: &[(&'static str, NativeFn)]) -> mlua::Result<Table> {
    let table = lua.create_table()?;
    for &(name, function) in functions {
        table.set(name, native(lua, name, function)?)?;
    }
    Ok(table)
}
