//! Replies as Lua's values, and Lua's values as replies.

use super::args::{as_number, truncated};
use super::error::{COUNTED, LibResult};
use super::guard::{BYTES_A_STEP, Guard};
use crate::resp::error::{CommandError, ErrorCode};
use crate::resp::reply::{Protocol, Reply};
use crate::sys::lua_args::Arguments;
use crate::sys::lua_stack::Stack;
use crate::sys::lua_walk::Seen;
use crate::util::c_string;
use crate::util::number::{MAX_F64_CHARS, fmt_f64, parse_f64, parse_i64};
use mlua::Value;
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
pub fn command_args<'a>(values: &'a Arguments, numbers: &'a mut Vec<u8>) -> Option<Vec<&'a [u8]>> {
    let mut args = Vec::with_capacity(values.len());
    // Which of them are numbers, and where their digits end.
    let mut ends = Vec::new();
    for value in values.iter() {
        args.push(match value {
            Seen::Text(text) => text,
            Seen::Number(x) => {
                append_number(x, numbers);
                ends.push((args.len(), numbers.len()));
                &[]
            }
            _ => return None,
        });
    }
    let (numbers, mut start): (&[u8], _) = (numbers, 0);
    for (at, end) in ends {
        args[at] = &numbers[mem::replace(&mut start, end)..end];
    }
    Some(args)
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

/// Reads a reply of the server's own making into a value of Lua's.
pub struct ReplyReader<'a> {
    guard: &'a Guard,
    rest: &'a [u8],
}

impl<'a> ReplyReader<'a> {
    pub fn new(guard: &'a Guard, reply: &'a [u8]) -> ReplyReader<'a> {
        ReplyReader { guard, rest: reply }
    }

    /// Counts a value of so many bytes.
    fn count(&self, stack: &Stack, bytes: usize) -> LibResult {
        self.guard.tick(stack.lua(), 1 + bytes / BYTES_A_STEP)?;
        self.guard.charge(stack.lua(), bytes)
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

    fn push_string(&self, stack: &mut Stack, bytes: &[u8]) -> LibResult {
        self.count(stack, bytes.len())?;
        Ok(stack.push_text(bytes)?)
    }

    /// Pushes the next value. It is `nil` behind the end, which a whole reply does not reach.
    ///
    /// # Errors
    /// If the script is to end, or its memory is out.
    pub fn push_value(&mut self, stack: &mut Stack) -> LibResult {
        self.count(stack, 0)?;
        let line = self.line();
        let Some((&kind, line)) = line.split_first() else { return Ok(stack.push_nil()?) };
        let n = || parse_i64(line).unwrap_or(-1);
        let len = || usize::try_from(n()).ok();
        match kind {
            b'+' => self.push_tagged(stack, b"ok", |own, stack| own.push_string(stack, line))?,
            b'-' => push_error(stack, line, true)?,
            // Lua's numbers are doubles.
            b':' => stack.push_number(n() as f64)?,
            b'$' => match len() {
                Some(len) => {
                    let bytes = self.bytes(len);
                    self.push_string(stack, bytes)?;
                }
                None => stack.push_boolean(false)?,
            },
            b'*' | b'>' => match len() {
                Some(len) => self.push_array(stack, len)?,
                None => stack.push_boolean(false)?,
            },
            b'%' => {
                let len = len().unwrap_or(0);
                self.push_tagged(stack, b"map", |own, stack| own.push_map(stack, len))?;
            }
            b'~' => {
                let len = len().unwrap_or(0);
                self.push_tagged(stack, b"set", |own, stack| own.push_set(stack, len))?;
            }
            b'|' => {
                for _ in 0..2 * len().unwrap_or(0) {
                    self.push_value(stack)?;
                    stack.pop(1);
                }
                self.push_value(stack)?;
            }
            b'#' => stack.push_boolean(line == b"t")?,
            b',' => {
                let x = parse_f64(line).unwrap_or(f64::NAN);
                self.push_tagged(stack, b"double", |_, stack| Ok(stack.push_number(x)?))?;
            }
            b'(' => {
                self.push_tagged(stack, b"big_number", |own, stack| own.push_string(stack, line))?;
            }
            b'=' => {
                let text = self.bytes(len().unwrap_or(0));
                self.push_tagged(stack, b"verbatim_string", |own, stack| {
                    own.push_verbatim(stack, text)
                })?;
            }
            _ => stack.push_nil()?,
        }
        Ok(())
    }

    /// Pushes a table with one field, whose value `push` pushes.
    fn push_tagged(
        &mut self,
        stack: &mut Stack,
        tag: &[u8],
        push: impl FnOnce(&mut Self, &mut Stack) -> LibResult,
    ) -> LibResult {
        stack.push_table(0, 1)?;
        stack.push_text(tag)?;
        push(self, stack)?;
        Ok(stack.set_field()?)
    }

    fn push_verbatim(&self, stack: &mut Stack, text: &[u8]) -> LibResult {
        let (format, text) = text.split_at(text.len().min(4));
        stack.push_table(0, 2)?;
        stack.push_text(b"string")?;
        self.push_string(stack, text)?;
        stack.set_field()?;
        stack.push_text(b"format")?;
        self.push_string(stack, &format[..format.len().min(3)])?;
        Ok(stack.set_field()?)
    }

    fn push_array(&mut self, stack: &mut Stack, len: usize) -> LibResult {
        stack.push_table(len, 0)?;
        for number in 1..=len {
            self.push_value(stack)?;
            stack.set_item(number)?;
        }
        Ok(())
    }

    fn push_map(&mut self, stack: &mut Stack, len: usize) -> LibResult {
        stack.push_table(0, len)?;
        for _ in 0..len {
            self.push_value(stack)?;
            self.push_value(stack)?;
            stack.set_field()?;
        }
        Ok(())
    }

    fn push_set(&mut self, stack: &mut Stack, len: usize) -> LibResult {
        stack.push_table(0, len)?;
        for _ in 0..len {
            self.push_value(stack)?;
            stack.push_boolean(true)?;
            stack.set_field()?;
        }
        Ok(())
    }
}

/// Pushes the table that an error is to a script.
///
/// # Errors
/// If there is no room on the stack.
pub fn push_error(stack: &mut Stack, text: &[u8], counted: bool) -> mlua::Result<()> {
    stack.push_table(0, 2)?;
    stack.push_text(b"err")?;
    stack.push_text(text)?;
    stack.set_field()?;
    if counted {
        stack.push_text(COUNTED.as_bytes())?;
        stack.push_boolean(true)?;
        stack.set_field()?;
    }
    Ok(())
}

/// Writes what a script returned as the reply to its caller.
pub struct ReplyWriter<'a> {
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

/// Writes a table as what a field of it says that it is. The field is on top of the stack, the table below it. Answers
/// whether the field is of the right type; if not, nothing is written.
type WriteTagged = fn(&mut ReplyWriter, &mut Stack, usize) -> LibResult<bool>;

/// The fields by which a table says what it is, in the order in which they are asked for.
const TAGS: [(&str, WriteTagged); 7] = [
    ("err", |own, stack, _| own.write_error(stack)),
    ("ok", |own, stack, _| own.write_status(stack)),
    ("double", |own, stack, _| own.write_double(stack)),
    ("big_number", |own, stack, _| own.write_big_number(stack)),
    ("verbatim_string", |own, stack, _| own.write_verbatim(stack)),
    ("map", |own, stack, depth| own.write_map(stack, depth)),
    ("set", |own, stack, depth| own.write_set(stack, depth)),
];

impl<'a> ReplyWriter<'a> {
    pub fn new(guard: &'a Guard, reply: &'a mut Reply, protocol: Protocol) -> ReplyWriter<'a> {
        let start = reply.len();
        ReplyWriter { guard, reply, start, protocol, failed: false, errors: Vec::new() }
    }

    /// Writes the value on top of the stack. Metamethods are not asked: a script's code must not run any more.
    ///
    /// # Errors
    /// If the script is to end, or its memory is out: the same table can be in a reply a billion times. What was
    /// written then is half a reply.
    pub fn write(&mut self, stack: &mut Stack) -> LibResult {
        if stack.top() == Seen::Table {
            return self.write_at(stack, 0);
        }
        // It is there already, and written once.
        self.write_scalar(stack);
        Ok(())
    }

    /// Counts so many bytes more, and what has been written.
    fn count(&self, stack: &Stack, bytes: usize) -> LibResult {
        self.guard.tick(stack.lua(), 1 + bytes / BYTES_A_STEP)?;
        self.guard.charge(stack.lua(), self.reply.len().saturating_sub(self.start) + bytes)
    }

    /// Counts what is moved when the length of a list is written in front of it.
    fn count_moved(&self, stack: &Stack, len_at: usize) -> LibResult {
        self.guard.tick(stack.lua(), self.reply.len().saturating_sub(len_at) / BYTES_A_STEP)
    }

    fn write_at(&mut self, stack: &mut Stack, depth: usize) -> LibResult {
        if depth > MAX_DEPTH {
            self.error(b"ERR reached lua stack limit", false);
            return Ok(());
        }
        self.count(stack, 0)?;
        match stack.top() {
            Seen::Table => return self.write_table(stack, depth),
            Seen::Text(text) => self.count(stack, text.len())?,
            _ => {}
        }
        self.write_scalar(stack);
        Ok(())
    }

    fn write_scalar(&mut self, stack: &Stack) {
        match stack.top() {
            Seen::Text(text) => self.reply.bulk(text),
            Seen::Number(x) => self.reply.int(truncated(x)),
            Seen::Boolean(yes) if self.protocol == Protocol::Resp3 => self.reply.bool(yes),
            Seen::Boolean(true) => self.reply.int(1),
            _ => self.reply.null(),
        }
    }

    fn error(&mut self, text: &[u8], counted: bool) {
        self.failed = true;
        if !counted {
            self.errors.push(CommandError::of_script(text).code);
        }
        self.reply.error_text(text);
    }

    fn write_table(&mut self, stack: &mut Stack, depth: usize) -> LibResult {
        let len = stack.len();
        for (tag, write) in TAGS {
            stack.push_field(tag.as_bytes())?;
            let is_written = write(self, stack, depth)?;
            stack.truncate(len);
            if is_written {
                return Ok(());
            }
        }
        self.write_array(stack, depth)
    }

    fn write_error(&mut self, stack: &mut Stack) -> LibResult<bool> {
        let Seen::Text(text) = stack.top() else { return Ok(false) };
        let text = text.to_vec();
        stack.pop(1);
        stack.push_field(COUNTED.as_bytes())?;
        self.error(&text, stack.top() == Seen::Boolean(true));
        Ok(true)
    }

    fn write_status(&mut self, stack: &mut Stack) -> LibResult<bool> {
        let Seen::Text(text) = stack.top() else { return Ok(false) };
        self.reply.simple(one_line(text));
        Ok(true)
    }

    fn write_double(&mut self, stack: &mut Stack) -> LibResult<bool> {
        let Seen::Number(x) = stack.top() else { return Ok(false) };
        self.reply.double(x);
        Ok(true)
    }

    fn write_big_number(&mut self, stack: &mut Stack) -> LibResult<bool> {
        let Seen::Text(digits) = stack.top() else { return Ok(false) };
        self.reply.bignum(&one_line(digits));
        Ok(true)
    }

    fn write_verbatim(&mut self, stack: &mut Stack) -> LibResult<bool> {
        if stack.top() != Seen::Table {
            return Ok(false);
        }
        stack.push_field(b"format")?;
        let Seen::Text(format) = stack.top() else { return Ok(false) };
        // Three letters, whatever the script says.
        let mut three = [b' '; 3];
        three.iter_mut().zip(c_string(&one_line(format))).for_each(|(to, byte)| *to = *byte);
        stack.pop(1);
        stack.push_field(b"string")?;
        let Seen::Text(text) = stack.top() else { return Ok(false) };
        self.reply.verbatim(&three, text);
        Ok(true)
    }

    fn write_map(&mut self, stack: &mut Stack, depth: usize) -> LibResult<bool> {
        if stack.top() != Seen::Table {
            return Ok(false);
        }
        let start = self.reply.len();
        let (at, mut len) = (self.reply.deferred(), 0);
        stack.pairs(|stack| {
            stack.push_key()?;
            self.write_at(stack, depth + 1)?;
            stack.pop(1);
            len += 1;
            self.write_at(stack, depth + 1)
        })?;
        self.count_moved(stack, start)?;
        self.reply.set_map(at, len);
        Ok(true)
    }

    fn write_set(&mut self, stack: &mut Stack, depth: usize) -> LibResult<bool> {
        if stack.top() != Seen::Table {
            return Ok(false);
        }
        let start = self.reply.len();
        let (at, mut len) = (self.reply.deferred(), 0);
        stack.pairs(|stack| {
            stack.push_key()?;
            len += 1;
            self.write_at(stack, depth + 1)
        })?;
        self.count_moved(stack, start)?;
        self.reply.set_set(at, len);
        Ok(true)
    }

    /// The values up to the first `nil`.
    fn write_array(&mut self, stack: &mut Stack, depth: usize) -> LibResult {
        let start = self.reply.len();
        let (at, mut len) = (self.reply.deferred(), 0);
        loop {
            stack.push_item(len + 1)?;
            if stack.top() == Seen::Nil {
                break;
            }
            self.write_at(stack, depth + 1)?;
            stack.pop(1);
            len += 1;
        }
        stack.pop(1);
        self.count_moved(stack, start)?;
        self.reply.set_array(at, len);
        Ok(())
    }
}

/// What is written on a line of the protocol must not end it.
fn one_line(text: &[u8]) -> Vec<u8> {
    let one_line = |byte: &u8| if matches!(byte, b'\r' | b'\n') { b' ' } else { *byte };
    text.iter().map(one_line).collect()
}
