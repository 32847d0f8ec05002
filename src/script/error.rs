//! Errors of native functions: where they were raised, and what they say.

use crate::util::bytes_text::written;
use mlua::debug::DebugSource;
use mlua::{Lua, MultiValue, Value};
use std::fmt;

/// What the chunks of the server's own are called; errors are never reported there.
pub const PRELUDE: &str = "prelude";
/// An error that a command has answered: it has been counted.
pub const COUNTED: &str = "ignore_error_stats_update";

/// Why a native function failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LibError {
    /// To be raised as a string.
    Text(String),
    /// A bad argument, counted from 0. The error calls the function what the caller called it.
    Argument { at: isize, why: String },
    /// To be raised as a table, like the error of a command. `counted`: it is in the statistics already.
    Table { text: String, counted: bool },
    /// To be raised as the value that a function raised; the [`Guard`](super::guard::Guard) keeps it.
    Raised,
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
        match error.downcast_ref::<LibError>() {
            Some(own) => own.clone(),
            None => LibError::Text(plain_text(&error)),
        }
    }
}

impl fmt::Display for LibError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LibError::Text(text) | LibError::Table { text, .. } => f.write_str(text),
            LibError::Argument { at, why } => write!(f, "bad argument #{} ({why})", at + 1),
            LibError::Raised => f.write_str("a value"),
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
            LibError::Argument { at, why } => {
                LibError::Text(place_of_call(lua) + &bad_argument(lua, at, &why))
            }
            other => other,
        };
        mlua::Error::external(error)
    }
}

/// What C's `luaL_argerror` says: a method's arguments are counted without the object.
fn bad_argument(lua: &Lua, at: isize, why: &str) -> String {
    let name = lua.inspect_stack(0, |debug| {
        let names = debug.names();
        (names.name.map(String::from), names.name_what == Some("method"))
    });
    let (name, is_method) = name.unwrap_or_default();
    let name = name.unwrap_or_else(|| "?".to_string());
    match at + isize::from(!is_method) {
        0 if is_method => format!("calling '{name}' on bad self ({why})"),
        number => format!("bad argument #{number} to '{name}' ({why})"),
    }
}

/// `source:line: ` of the call of the native function that is running.
fn place_of_call(lua: &Lua) -> String {
    for level in 1.. {
        let place = lua.inspect_stack(level, |debug| {
            let DebugSource { short_src, .. } = debug.source();
            Some((short_src?.into_owned(), debug.current_line()?))
        });
        match place.flatten() {
            // What the script called is a function of the prelude's.
            Some((source, _)) if source == PRELUDE => {}
            Some((source, line)) => return format!("{source}:{line}: "),
            None => break,
        }
    }
    String::new()
}

/// What an error says. The binding would tell the stack, too, which is no business of scripts and clients.
pub fn plain_text(error: &mlua::Error) -> String {
    if let Some(own) = error.downcast_ref::<LibError>() {
        return own.to_string();
    }
    match error {
        mlua::Error::CallbackError { cause, .. } => plain_text(cause),
        mlua::Error::RuntimeError(text) => without_stack(text),
        mlua::Error::SyntaxError { message, .. } | mlua::Error::MemoryError(message) => {
            without_stack(message)
        }
        mlua::Error::StackError => "stack overflow".to_string(),
        other => without_stack(&other.to_string()),
    }
}

fn without_stack(text: &str) -> String {
    let end = text.find("\nstack traceback:").unwrap_or(text.len());
    text[..end].to_string()
}

/// The table that an error is to a script.
pub fn error_table(lua: &Lua, text: &str, counted: bool) -> mlua::Result<Value> {
    let table = lua.create_table()?;
    table.raw_set("err", lua.create_string(written(text))?)?;
    if counted {
        table.raw_set(COUNTED, true)?;
    }
    Ok(Value::Table(table))
}
