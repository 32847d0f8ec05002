//! Errors of native functions: where they were raised, and what they say.

use bstr::ByteSlice;
use mlua::debug::DebugSource;
use mlua::{Lua, Value};
use std::fmt;

/// What the chunks of the server's own are called; errors are never reported there.
pub const PRELUDE: &str = "prelude";
/// An error that a command has answered: it has been counted.
pub const COUNTED: &str = "ignore_error_stats_update";

/// Why a native function failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LibError {
    /// To be raised as a string.
    Text(Vec<u8>),
    /// A bad argument, counted from 0. The error calls the function what the caller called it.
    Argument { at: isize, why: Vec<u8> },
    /// To be raised as a table, like the error of a command; its first word is the code. `counted`: it is in the
    /// statistics already.
    Table { text: Vec<u8>, counted: bool },
    /// To be raised as the value that a function raised; the [`Guard`](super::guard::Guard) keeps it.
    Raised,
}

pub type LibResult<T = ()> = Result<T, LibError>;

impl From<&str> for LibError {
    fn from(text: &str) -> LibError {
        LibError::Text(text.into())
    }
}

impl From<String> for LibError {
    fn from(text: String) -> LibError {
        LibError::Text(text.into())
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
        f.write_str(&self.to_bytes().to_str_lossy())
    }
}

impl std::error::Error for LibError {}

impl LibError {
    /// An error of the server's own functions.
    pub fn table(text: impl Into<Vec<u8>>) -> LibError {
        LibError::Table { text: text.into(), counted: false }
    }

    /// What the native function that is running returns to raise it.
    pub fn raise(self, lua: &Lua) -> mlua::Error {
        let error = match self {
            LibError::Text(text) => LibError::Text([place_of_call(lua).as_bytes(), &text].concat()),
            LibError::Argument { at, why } => {
                let text = bad_argument(lua, at, &why);
                LibError::Text([place_of_call(lua).as_bytes(), &text].concat())
            }
            other => other,
        };
        mlua::Error::external(error)
    }

    /// What it says, but for its place.
    pub fn to_bytes(&self) -> Vec<u8> {
        match self {
            LibError::Text(text) | LibError::Table { text, .. } => text.clone(),
            LibError::Argument { at, why } => {
                let number = (at + 1).to_string();
                [b"bad argument #", number.as_bytes(), b" (", why, b")"].concat()
            }
            LibError::Raised => b"a value".to_vec(),
        }
    }
}

/// What C's `luaL_argerror` says: a method's arguments are counted without the object.
fn bad_argument(lua: &Lua, at: isize, why: &[u8]) -> Vec<u8> {
    let name = lua.inspect_stack(0, |debug| {
        let names = debug.names();
        (names.name.map(String::from), names.name_what == Some("method"))
    });
    let (name, is_method) = name.unwrap_or_default();
    let name = name.unwrap_or_else(|| "?".to_string());
    let what = match at + isize::from(!is_method) {
        0 if is_method => format!("calling '{name}' on bad self"),
        number => format!("bad argument #{number} to '{name}'"),
    };
    [what.as_bytes(), b" (", why, b")"].concat()
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
pub fn plain_text(error: &mlua::Error) -> Vec<u8> {
    if let Some(own) = error.downcast_ref::<LibError>() {
        return own.to_bytes();
    }
    match error {
        mlua::Error::CallbackError { cause, .. } => plain_text(cause),
        mlua::Error::RuntimeError(text) => without_stack(text),
        mlua::Error::SyntaxError { message, .. } | mlua::Error::MemoryError(message) => {
            without_stack(message)
        }
        mlua::Error::StackError => b"stack overflow".to_vec(),
        other => without_stack(&other.to_string()),
    }
}

fn without_stack(text: &str) -> Vec<u8> {
    let end = text.find("\nstack traceback:").unwrap_or(text.len());
    text.as_bytes()[..end].to_vec()
}

/// The table that an error is to a script.
pub fn error_table(lua: &Lua, text: &[u8], counted: bool) -> mlua::Result<Value> {
    let table = lua.create_table()?;
    table.raw_set("err", lua.create_string(text)?)?;
    if counted {
        table.raw_set(COUNTED, true)?;
    }
    Ok(Value::Table(table))
}
