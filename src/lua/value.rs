//! Replies as Lua's values, and Lua's values as replies.

use super::args::{as_number, truncated};
use super::error::{COUNTED, LibResult, error_table};
use super::guard::{BYTES_A_STEP, Guard};
use crate::resp::error::{CommandError, ErrorCode};
use crate::resp::reply::{Protocol, Reply};
use crate::sys::lua_walk::Seen;
use crate::util::c_string;
use crate::util::number::{MAX_F64_CHARS, fmt_f64, parse_f64, parse_i64};
use mlua::{Either, Lua, LuaString, Table, Value};
use std::mem;

/// Tables may be nested so deep in a reply.
const MAX_DEPTH: usize = 1000;

/// The argument that a value is to a command; `None` if it can't be one.
pub fn to_argument(value: &Value) -> Option<Vec<u8>> {
    let mut argument = Vec::new();
    match value {
        Value::String(text) => argument.extend_from_slice(&text.as_bytes()),
        _ => append_number(as_number(value)?, &mut argument),
    }
    Some(argument)
}

fn append_number(x: f64, out: &mut Vec<u8>) {
    match x {
        // The one that 0/0 is.
        x if x.is_nan() && x.is_sign_negative() => out.extend_from_slice(b"-nan"),
        x => out.extend_from_slice(fmt_f64(x, &mut [0; MAX_F64_CHARS])),
    }
}

/// The arguments of a command; `None` if one of the values can't be one. Numbers are written to `numbers`, one behind
/// the other.
pub fn command_args<'a>(values: &[Seen<'a>], numbers: &'a mut Vec<u8>) -> Option<Vec<&'a [u8]>> {
    let mut ends = Vec::new();
    for value in values {
        match value {
            Seen::Text(_) => {}
            Seen::Number(x) => {
                append_number(*x, numbers);
                ends.push(numbers.len());
            }
            _ => return None,
        }
    }
    let numbers: &[u8] = numbers;
    let (mut start, mut ends) = (0, ends.into_iter());
    let argument = |value: &Seen<'a>| match *value {
        Seen::Text(text) => text,
        _ => {
            let end = ends.next().unwrap_or(start);
            &numbers[mem::replace(&mut start, end)..end]
        }
    };
    Some(values.iter().map(argument).collect())
}

/// The error that a text is, which ends at a zero byte. Its first word is the code, if it has more than one.
pub fn error_text(text: &[u8]) -> Vec<u8> {
    let text = c_string(text);
    let text = text.strip_prefix(b"-").unwrap_or(text);
    let space = memchr::memchr(b' ', text);
    let (code, text) = space.map_or((&b"ERR"[..], text), |at| (&text[..at], &text[at + 1..]));
    let is_end_of_line = |byte: &u8| matches!(byte, b'\r' | b'\n');
    let start = text.iter().take_while(|byte| is_end_of_line(byte)).count();
    let end = text.iter().rposition(|byte| !is_end_of_line(byte)).map_or(start, |last| last + 1);
    [code, b" ", &text[start..end]].concat()
}

/// Reads a reply of the server's own making into Lua's values.
pub struct ReplyReader<'a> {
    lua: &'a Lua,
    guard: &'a Guard,
    rest: &'a [u8],
}

impl<'a> ReplyReader<'a> {
    pub fn new(lua: &'a Lua, guard: &'a Guard, reply: &'a [u8]) -> ReplyReader<'a> {
        ReplyReader { lua, guard, rest: reply }
    }

    /// Counts a value of so many bytes.
    fn count(&self, bytes: usize) -> mlua::Result<()> {
        let counted = self.guard.tick(self.lua, 1 + bytes / BYTES_A_STEP);
        let counted = counted.and_then(|()| self.guard.charge(self.lua, bytes));
        counted.map_err(mlua::Error::external)
    }

    fn line(&mut self) -> &'a [u8] {
        let end = memchr::memchr(b'\r', self.rest).unwrap_or(self.rest.len());
        let line = &self.rest[..end];
        self.rest = self.rest.get(end + 2..).unwrap_or_default();
        line
    }

    fn bytes(&mut self, len: usize) -> &'a [u8] {
        let bytes = &self.rest[..len.min(self.rest.len())];
        self.rest = self.rest.get(len + 2..).unwrap_or_default();
        bytes
    }

    fn string(&self, bytes: &[u8]) -> mlua::Result<Value> {
        self.count(bytes.len())?;
        Ok(Value::String(self.lua.create_string(bytes)?))
    }

    /// The next value, if it is a bulk string.
    fn bulk_string(&mut self) -> Option<&'a [u8]> {
        let reader = ReplyReader { ..*self };
        let len = self.line().strip_prefix(b"$").and_then(parse_i64);
        match len.and_then(|len| usize::try_from(len).ok()) {
            Some(len) => Some(self.bytes(len)),
            None => {
                *self = reader;
                None
            }
        }
    }

    /// A table with one field.
    fn tagged(&self, tag: &str, value: Value) -> mlua::Result<Value> {
        let table = self.lua.create_table()?;
        table.raw_set(tag, value)?;
        Ok(Value::Table(table))
    }

    /// The next value. `nil` behind the end, which a whole reply does not reach.
    pub fn value(&mut self) -> mlua::Result<Value> {
        self.count(0)?;
        let line = self.line();
        let Some((&kind, line)) = line.split_first() else { return Ok(Value::Nil) };
        let n = || parse_i64(line).unwrap_or(-1);
        let len = || usize::try_from(n()).ok();
        match kind {
            b'+' => self.tagged("ok", self.string(line)?),
            b'-' => error_table(self.lua, line, true),
            // Lua's numbers are doubles.
            b':' => Ok(Value::Number(n() as f64)),
            b'$' => match len() {
                Some(len) => {
                    let bytes = self.bytes(len);
                    self.string(bytes)
                }
                None => Ok(Value::Boolean(false)),
            },
            b'*' | b'>' => match len() {
                Some(len) => self.array(len),
                None => Ok(Value::Boolean(false)),
            },
            b'%' => self.map(len().unwrap_or(0)),
            b'~' => self.set(len().unwrap_or(0)),
            b'|' => {
                for _ in 0..2 * len().unwrap_or(0) {
                    self.value()?;
                }
                self.value()
            }
            b'_' => Ok(Value::Nil),
            b'#' => Ok(Value::Boolean(line == b"t")),
            b',' => self.tagged("double", Value::Number(parse_f64(line).unwrap_or(f64::NAN))),
            b'(' => self.tagged("big_number", self.string(line)?),
            b'=' => {
                let text = self.bytes(len().unwrap_or(0));
                let (format, text) = text.split_at(text.len().min(4));
                let verbatim = self.lua.create_table()?;
                verbatim.raw_set("string", self.string(text)?)?;
                verbatim.raw_set("format", self.string(&format[..format.len().min(3)])?)?;
                self.tagged("verbatim_string", Value::Table(verbatim))
            }
            _ => Ok(Value::Nil),
        }
    }

    fn array(&mut self, len: usize) -> mlua::Result<Value> {
        let (lua, mut failure) = (self.lua, None);
        let items = (0..len).map(|_| {
            self.item().unwrap_or_else(|error| {
                failure = Some(error);
                Either::Right(Value::Nil)
            })
        });
        let table = lua.create_sequence_from(items)?;
        failure.map_or(Ok(Value::Table(table)), Err)
    }

    /// The next value. Most are texts, which go where they belong without a detour.
    fn item(&mut self) -> mlua::Result<Either<&'a str, Value>> {
        match self.bulk_string() {
            Some(bytes) => match std::str::from_utf8(bytes) {
                Ok(text) => {
                    self.count(bytes.len())?;
                    Ok(Either::Left(text))
                }
                Err(_) => Ok(Either::Right(self.string(bytes)?)),
            },
            None => Ok(Either::Right(self.value()?)),
        }
    }

    fn map(&mut self, len: usize) -> mlua::Result<Value> {
        let table = self.lua.create_table_with_capacity(0, len)?;
        for _ in 0..len {
            let (key, value) = (self.value()?, self.value()?);
            table.raw_set(key, value)?;
        }
        self.tagged("map", Value::Table(table))
    }

    fn set(&mut self, len: usize) -> mlua::Result<Value> {
        let table = self.lua.create_table_with_capacity(0, len)?;
        for _ in 0..len {
            table.raw_set(self.value()?, true)?;
        }
        self.tagged("set", Value::Table(table))
    }
}

/// Writes what a script returned as the reply to its caller.
pub struct ReplyWriter<'a> {
    lua: &'a Lua,
    guard: &'a Guard,
    reply: &'a mut Reply,
    start: usize,
    /// What the script has chosen.
    protocol: Protocol,
    /// There is an error in the reply.
    pub failed: bool,
    /// The codes of errors that have not been counted yet.
    pub errors: Vec<ErrorCode>,
}

impl<'a> ReplyWriter<'a> {
    pub fn new(
        lua: &'a Lua,
        guard: &'a Guard,
        reply: &'a mut Reply,
        protocol: Protocol,
    ) -> ReplyWriter<'a> {
        let start = reply.len();
        ReplyWriter { lua, guard, reply, start, protocol, failed: false, errors: Vec::new() }
    }

    /// Writes a value. Metamethods are not asked: a script's code must not run any more.
    ///
    /// # Errors
    /// If the script is to end, or its memory is out: the same table can be in a reply a billion times. What was
    /// written then is half a reply.
    pub fn write(&mut self, value: &Value) -> LibResult<()> {
        self.write_at(value, 0)
    }

    /// Counts so many bytes more, and what has been written.
    fn count(&self, bytes: usize) -> LibResult<()> {
        self.guard.tick(self.lua, 1 + bytes / BYTES_A_STEP)?;
        self.guard.charge(self.lua, self.reply.len().saturating_sub(self.start) + bytes)
    }

    /// Counts what is moved when the length of a list is written in front of it.
    fn count_moved(&self, len_at: usize) -> LibResult<()> {
        self.guard.tick(self.lua, self.reply.len().saturating_sub(len_at) / BYTES_A_STEP)
    }

    fn write_at(&mut self, value: &Value, depth: usize) -> LibResult<()> {
        if depth > MAX_DEPTH {
            self.error(b"ERR reached lua stack limit", false);
            return Ok(());
        }
        self.count(0)?;
        match value {
            Value::String(text) => {
                let text = text.as_bytes();
                self.count(text.len())?;
                self.reply.bulk(&text);
            }
            Value::Integer(n) => self.reply.int(*n),
            Value::Number(x) => self.reply.int(truncated(*x)),
            Value::Boolean(yes) if self.protocol == Protocol::Resp3 => self.reply.bool(*yes),
            Value::Boolean(true) => self.reply.int(1),
            Value::Table(table) => self.table(table, depth)?,
            _ => self.reply.null(),
        }
        Ok(())
    }

    fn error(&mut self, text: &[u8], counted: bool) {
        self.failed = true;
        if !counted {
            self.errors.push(CommandError::of_script(text).code);
        }
        self.reply.error_text(text);
    }

    fn table(&mut self, table: &Table, depth: usize) -> LibResult<()> {
        if let Value::String(text) = table.raw_get("err")? {
            let counted = table.raw_get::<Value>(COUNTED)? == Value::Boolean(true);
            self.error(&text.as_bytes(), counted);
        } else if let Value::String(text) = table.raw_get("ok")? {
            self.reply.simple(one_line(&text));
        } else if let Some(x) = as_number(&table.raw_get("double")?) {
            self.reply.double(x);
        } else if let Value::String(digits) = table.raw_get("big_number")? {
            self.reply.bignum(&one_line(&digits));
        } else if let Some((format, text)) = verbatim(table)? {
            self.reply.verbatim(&format, &text.as_bytes());
        } else if let Value::Table(map) = table.raw_get("map")? {
            self.map(&map, depth)?;
        } else if let Value::Table(set) = table.raw_get("set")? {
            self.set(&set, depth)?;
        } else {
            self.array(table, depth)?;
        }
        Ok(())
    }

    fn map(&mut self, map: &Table, depth: usize) -> LibResult<()> {
        let start = self.reply.len();
        let (at, mut len) = (self.reply.deferred(), 0);
        for pair in map.pairs::<Value, Value>() {
            let (key, value) = pair?;
            self.write_at(&key, depth + 1)?;
            self.write_at(&value, depth + 1)?;
            len += 1;
        }
        self.count_moved(start)?;
        self.reply.set_map(at, len);
        Ok(())
    }

    fn set(&mut self, set: &Table, depth: usize) -> LibResult<()> {
        let start = self.reply.len();
        let (at, mut len) = (self.reply.deferred(), 0);
        for pair in set.pairs::<Value, Value>() {
            self.write_at(&pair?.0, depth + 1)?;
            len += 1;
        }
        self.count_moved(start)?;
        self.reply.set_set(at, len);
        Ok(())
    }

    /// The values up to the first `nil`.
    fn array(&mut self, table: &Table, depth: usize) -> LibResult<()> {
        let start = self.reply.len();
        let (at, mut len) = (self.reply.deferred(), 0);
        loop {
            let value: Value = table.raw_get(len + 1)?;
            if value.is_nil() {
                break;
            }
            self.write_at(&value, depth + 1)?;
            len += 1;
        }
        self.count_moved(start)?;
        self.reply.set_array(at, len);
        Ok(())
    }
}

/// What is written on a line of the protocol must not end it.
fn one_line(text: &LuaString) -> Vec<u8> {
    let one_line = |byte: &u8| if matches!(byte, b'\r' | b'\n') { b' ' } else { *byte };
    text.as_bytes().iter().map(one_line).collect()
}

fn verbatim(table: &Table) -> mlua::Result<Option<([u8; 3], LuaString)>> {
    let Value::Table(parts) = table.raw_get("verbatim_string")? else { return Ok(None) };
    let (format, text): (Value, Value) = (parts.raw_get("format")?, parts.raw_get("string")?);
    let (Value::String(format), Value::String(text)) = (format, text) else { return Ok(None) };
    // Three letters, whatever the script says.
    let mut three = [b' '; 3];
    three.iter_mut().zip(c_string(&one_line(&format))).for_each(|(to, byte)| *to = *byte);
    Ok(Some((three, text)))
}
