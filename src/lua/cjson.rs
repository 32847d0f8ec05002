//! `cjson`: values as JSON and back, as in Lua CJSON 2.1. Its settings live as long as the Lua state.

use super::args::{Args, native};
use super::error::{LibError, LibResult};
use super::guard::{BYTES_A_STEP, Buffer, Guard, PIECE_BYTES};
use crate::sys::lua_stack::Stack;
use crate::sys::lua_walk::{Form, Keys, Seen, Visitor};
use crate::util::c_string;
use crate::util::number::{general_format, leading_f64};
use mlua::{Lua, Table, Value};
use std::cell::Cell;
use std::ops::RangeInclusive;
use std::rc::Rc;

const DEPTH: i64 = 1000;
const PRECISION: i64 = 14;
/// Integers below this are written with all their digits in that precision.
const EXACT_INTEGERS: f64 = 1e14;
/// Deeper than this nothing is read, whatever the settings say: tables and keys are on Lua's stack,
/// which has room for some 8,000.
const MAX_DEPTH: i64 = 3900;
/// The greatest index of an array that is written.
const MAX_INDEX: f64 = i32::MAX as f64;

/// What becomes of NaN and the infinities.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Invalid {
    Refuse,
    Write,
    Null,
}

struct Config {
    encode_depth: Cell<i64>,
    decode_depth: Cell<i64>,
    precision: Cell<i64>,
    keep_buffer: Cell<bool>,
    encode_invalid: Cell<Invalid>,
    decode_invalid: Cell<bool>,
    /// Sparse arrays become objects instead of errors.
    sparse_convert: Cell<bool>,
    /// An array is sparse whose last index is greater than `safe`, and than so many times its length; 0: never.
    sparse_ratio: Cell<i64>,
    sparse_safe: Cell<i64>,
}

type Setting = fn(&Config, &Args, &mut Stack) -> LibResult;

/// The settings, each with the number of its arguments.
const SETTINGS: [(&str, usize, Setting); 7] = [
    ("encode_sparse_array", 3, |config, args, results| {
        set_bool(&config.sparse_convert, args, 0, results)?;
        set_int(&config.sparse_ratio, args, 1, 0..=i32::MAX, results)?;
        set_int(&config.sparse_safe, args, 2, 0..=i32::MAX, results)
    }),
    ("encode_max_depth", 1, |config, args, results| {
        set_int(&config.encode_depth, args, 0, 1..=i32::MAX, results)
    }),
    ("decode_max_depth", 1, |config, args, results| {
        set_int(&config.decode_depth, args, 0, 1..=i32::MAX, results)
    }),
    ("encode_number_precision", 1, |config, args, results| {
        set_int(&config.precision, args, 0, 1..=14, results)
    }),
    ("encode_keep_buffer", 1, |config, args, results| {
        set_bool(&config.keep_buffer, args, 0, results)
    }),
    ("encode_invalid_numbers", 1, |config, args, results| {
        let chosen = match args.get(0) {
            Seen::Nil => config.encode_invalid.get(),
            Seen::Boolean(false) | Seen::Text(b"off") => Invalid::Refuse,
            Seen::Boolean(true) | Seen::Text(b"on") => Invalid::Write,
            Seen::Text(b"null") => Invalid::Null,
            _ => return Err(bad_option(args, 0)),
        };
        config.encode_invalid.set(chosen);
        match chosen {
            Invalid::Null => results.push_text(b"null")?,
            other => results.push_boolean(other == Invalid::Write)?,
        }
        Ok(())
    }),
    ("decode_invalid_numbers", 1, |config, args, results| {
        set_bool(&config.decode_invalid, args, 0, results)
    }),
];

/// Changes a setting if there is an argument for it, and pushes what it is.
fn set_int(
    cell: &Cell<i64>,
    args: &Args,
    at: usize,
    allowed: RangeInclusive<i32>,
    results: &mut Stack,
) -> LibResult {
    let value = match args.get(at) {
        Seen::Nil => cell.get(),
        _ => i64::from(args.int32(at)?),
    };
    let (min, max) = (i64::from(*allowed.start()), i64::from(*allowed.end()));
    // Whichever it is, the library in C calls it the first.
    let why = format!("expected integer between {min} and {max}");
    args.check((min..=max).contains(&value), 0, &why)?;
    cell.set(value);
    Ok(results.push_number(value as f64)?)
}

fn set_bool(cell: &Cell<bool>, args: &Args, at: usize, results: &mut Stack) -> LibResult {
    match args.get(at) {
        Seen::Nil => {}
        Seen::Boolean(on) => cell.set(on),
        Seen::Text(b"on") => cell.set(true),
        Seen::Text(b"off") => cell.set(false),
        _ => return Err(bad_option(args, at)),
    }
    Ok(results.push_boolean(cell.get())?)
}

/// The error of a word that is no choice, or of what is no word.
fn bad_option(args: &Args, at: usize) -> LibError {
    match args.text(at) {
        Ok(word) => args.bad(at, [b"invalid option '", c_string(&word), b"'"].concat()),
        Err(error) => error,
    }
}

/// The library. Its functions share its settings.
pub fn library(lua: &Lua) -> mlua::Result<Table> {
    let config = Rc::new(Config {
        encode_depth: Cell::new(DEPTH),
        decode_depth: Cell::new(DEPTH),
        precision: Cell::new(PRECISION),
        keep_buffer: Cell::new(true),
        encode_invalid: Cell::new(Invalid::Refuse),
        decode_invalid: Cell::new(true),
        sparse_convert: Cell::new(false),
        sparse_ratio: Cell::new(2),
        sparse_safe: Cell::new(10),
    });
    let table = lua.create_table()?;
    for (name, most_args, setting) in SETTINGS {
        let config = Rc::clone(&config);
        let set = move |_: &Lua, args: &Args, results: &mut Stack| {
            args.check(args.len() <= most_args, most_args, "found too many arguments")?;
            setting(&config, args, results)
        };
        table.set(name, native(lua, set)?)?;
    }
    let own = Rc::clone(&config);
    let encode = move |lua: &Lua, args: &Args, stack: &mut Stack| {
        args.check(args.len() == 1, 0, "expected 1 argument")?;
        let guard = args.guard();
        let out = Buffer::new(lua, guard);
        let mut encoder = Encoder { lua, guard, config: &own, out };
        args.push(0, stack)?;
        stack.walk(&mut encoder)??;
        encoder.out.push_to(stack)
    };
    table.set("encode", native(lua, encode)?)?;
    let decode = move |lua: &Lua, args: &Args, results: &mut Stack| {
        args.check(args.len() == 1, 0, "expected 1 argument")?;
        push_decoded(lua, args.guard(), &config, &args.text(0)?, results)
    };
    table.set("decode", native(lua, decode)?)?;
    // One with settings of its own.
    let new = |lua: &Lua, _: &Args, results: &mut Stack| {
        Ok(results.push_value(&Value::Table(library(lua)?))?)
    };
    table.set("new", native(lua, new)?)?;
    table.set("null", Value::NULL)?;
    table.set("_NAME", "cjson")?;
    table.set("_VERSION", "2.1.0")?;
    Ok(table)
}

struct Encoder<'a> {
    lua: &'a Lua,
    guard: &'a Guard,
    config: &'a Config,
    out: Buffer<'a>,
}

fn cannot(kind: &str, why: &str) -> LibError {
    LibError::from(format!("Cannot serialise {kind}: {why}"))
}

impl Visitor for Encoder<'_> {
    type Error = LibError;
    const COUNTS_ALL: bool = false;

    fn step(&mut self) -> LibResult {
        self.guard.tick(self.lua, 1)
    }

    fn enters(&mut self, depth: usize) -> LibResult<bool> {
        if depth as i64 > self.config.encode_depth.get() {
            return Err(self.too_deep(depth));
        }
        Ok(true)
    }

    fn too_deep(&mut self, depth: usize) -> LibError {
        LibError::from(format!("Cannot serialise, excessive nesting ({depth})"))
    }

    /// An empty table is an object.
    fn begin(&mut self, keys: Keys) -> LibResult<Form> {
        let (ratio, safe) = (self.config.sparse_ratio.get(), self.config.sparse_safe.get());
        let Keys { count, max, are_indices } = keys;
        let is_sparse = ratio > 0 && max > count as f64 * ratio as f64 && max > safe as f64;
        if are_indices && (max > MAX_INDEX || is_sparse && !self.config.sparse_convert.get()) {
            return Err(cannot("table", "excessively sparse array"));
        }
        let is_array = are_indices && count > 0 && !is_sparse;
        self.out.extend(if is_array { b"[" } else { b"{" })?;
        Ok(if is_array { Form::Array(max as usize) } else { Form::Pairs })
    }

    fn item(&mut self, is_first: bool) -> LibResult {
        if is_first { Ok(()) } else { self.out.extend(b",") }
    }

    fn key(&mut self, key: Seen, is_first: bool) -> LibResult<bool> {
        self.item(is_first)?;
        match key {
            Seen::Text(text) => self.string(text)?,
            Seen::Number(x) => {
                self.out.extend(b"\"")?;
                self.number(x)?;
                self.out.extend(b"\"")?;
            }
            _ => return Err(cannot(key.type_name(), "table key must be a number or string")),
        }
        self.out.extend(b":")?;
        Ok(true)
    }

    fn value(&mut self, value: Seen) -> LibResult {
        match value {
            Seen::Text(text) => self.string(text),
            Seen::Number(x) => self.number(x),
            Seen::Boolean(yes) => self.out.extend(if yes { b"true" } else { b"false" }),
            Seen::Nil | Seen::Null => self.out.extend(b"null"),
            _ => Err(cannot(value.type_name(), "type not supported")),
        }
    }

    fn end(&mut self, form: Form) -> LibResult {
        self.out.extend(if form == Form::Pairs { b"}" } else { b"]" })
    }
}

impl Encoder<'_> {
    fn string(&mut self, text: &[u8]) -> LibResult {
        let is_special = |byte: &u8| matches!(byte, b'"' | b'\\' | b'/' | 0..=0x1f | 0x7f);
        self.out.extend(b"\"")?;
        for mut rest in text.chunks(PIECE_BYTES) {
            while let Some(plain) = rest.iter().position(is_special) {
                self.out.extend(&rest[..plain])?;
                match rest[plain] {
                    byte @ (b'"' | b'\\' | b'/') => self.out.extend(&[b'\\', byte])?,
                    8 => self.out.extend(b"\\b")?,
                    9 => self.out.extend(b"\\t")?,
                    10 => self.out.extend(b"\\n")?,
                    12 => self.out.extend(b"\\f")?,
                    13 => self.out.extend(b"\\r")?,
                    byte => self.out.extend(format!("\\u{byte:04x}").as_bytes())?,
                }
                rest = &rest[plain + 1..];
            }
            self.out.extend(rest)?;
        }
        self.out.extend(b"\"")
    }

    fn number(&mut self, x: f64) -> LibResult {
        if !x.is_finite() {
            return match self.config.encode_invalid.get() {
                Invalid::Refuse => Err(cannot("number", "must not be NaN or Inf")),
                Invalid::Write if x.is_nan() => self.out.extend(b"nan"),
                Invalid::Write => self.out.extend(if x > 0.0 { b"inf" } else { b"-inf" }),
                Invalid::Null => self.out.extend(b"null"),
            };
        }
        let precision = self.config.precision.get();
        if x == x.trunc() && x.abs() < EXACT_INTEGERS && precision == PRECISION && x != 0.0 {
            return self.out.extend(itoa::Buffer::new().format(x as i64).as_bytes());
        }
        self.out.extend(general_format(x, precision as usize).as_bytes())
    }
}

fn push_decoded(
    lua: &Lua,
    guard: &Guard,
    config: &Config,
    text: &[u8],
    results: &mut Stack,
) -> LibResult {
    if text.len() >= 2 && (text[0] == 0 || text[1] == 0) {
        return Err("JSON parser does not support UTF-16 or UTF-32".into());
    }
    Decoder { lua, guard, config, text, at: 0 }.push_whole(results)
}

/// The smallest part of a text.
enum Token {
    Boolean(bool),
    Number(f64),
    Null,
    /// A string, which may be a key.
    Text(Vec<u8>),
    /// One of `{}[],:`.
    Mark(u8),
    End,
    Invalid(&'static str),
}

impl Token {
    fn is(&self, mark: u8) -> bool {
        matches!(self, Token::Mark(found) if *found == mark)
    }

    /// What errors call it.
    fn name(&self) -> &'static str {
        match self {
            Token::Boolean(_) => "T_BOOLEAN",
            Token::Number(_) => "T_NUMBER",
            Token::Null => "T_NULL",
            Token::Text(_) => "T_STRING",
            Token::Mark(b'{') => "T_OBJ_BEGIN",
            Token::Mark(b'}') => "T_OBJ_END",
            Token::Mark(b'[') => "T_ARR_BEGIN",
            Token::Mark(b']') => "T_ARR_END",
            Token::Mark(b',') => "T_COMMA",
            Token::Mark(_) => "T_COLON",
            Token::End => "T_END",
            Token::Invalid(why) => why,
        }
    }
}

/// What is being read: its table is on the stack.
enum Open {
    /// The key of the next value is there, too.
    Object,
    /// The number of the next value.
    Array(usize),
}

struct Decoder<'a> {
    lua: &'a Lua,
    guard: &'a Guard,
    config: &'a Config,
    text: &'a [u8],
    at: usize,
}

impl<'a> Decoder<'a> {
    fn rest(&self) -> &'a [u8] {
        &self.text[self.at..]
    }

    /// The beginning of the rest.
    fn piece(&self) -> &'a [u8] {
        let rest = self.rest();
        &rest[..rest.len().min(PIECE_BYTES)]
    }

    /// Pushes the value that the whole text is. Without recursion: a text is nested as deep as it likes.
    fn push_whole(&mut self, stack: &mut Stack) -> LibResult {
        let mut tables: Vec<Open> = Vec::new();
        let (mut start, mut token) = self.next()?;
        loop {
            match token {
                Token::Boolean(value) => stack.push_boolean(value)?,
                Token::Number(value) => stack.push_number(value)?,
                Token::Null => stack.push_value(&Value::NULL)?,
                Token::Text(text) => stack.push_text(&text)?,
                Token::Mark(mark @ (b'{' | b'[')) => {
                    self.check_depth(tables.len() + 1)?;
                    stack.push_table(0, 0)?;
                    (start, token) = self.next()?;
                    if !token.is(mark + 2) {
                        let mut open = Open::Array(1);
                        if mark == b'{' {
                            self.push_key(start, token, stack)?;
                            (start, token) = self.next()?;
                            open = Open::Object;
                        }
                        tables.push(open);
                        continue;
                    }
                }
                _ => return Err(unexpected(start, "value", &token)),
            }
            // The value is where it belongs; so are the tables that end with it.
            loop {
                (start, token) = self.next()?;
                let Some(open) = tables.last_mut() else {
                    return match token {
                        Token::End => Ok(()),
                        _ => Err(unexpected(start, "the end", &token)),
                    };
                };
                let (end, wanted) = match open {
                    Open::Object => {
                        stack.set_field()?;
                        (b'}', "comma or object end")
                    }
                    Open::Array(number) => {
                        stack.set_item(*number)?;
                        *number += 1;
                        (b']', "comma or array end")
                    }
                };
                if token.is(b',') {
                    (start, token) = self.next()?;
                    if matches!(open, Open::Object) {
                        self.push_key(start, token, stack)?;
                        (start, token) = self.next()?;
                    }
                    break;
                }
                if !token.is(end) {
                    return Err(unexpected(start, wanted, &token));
                }
                tables.pop();
            }
        }
    }

    fn check_depth(&self, depth: usize) -> LibResult {
        if depth as i64 > self.config.decode_depth.get().min(MAX_DEPTH) {
            let at = self.at;
            return Err(LibError::from(format!(
                "Found too many nested data structures ({depth}) at character {at}"
            )));
        }
        Ok(())
    }

    /// Pushes the key that this token is. The colon behind it is passed.
    fn push_key(&mut self, start: usize, token: Token, stack: &mut Stack) -> LibResult {
        let Token::Text(key) = token else {
            return Err(unexpected(start, "object key string", &token));
        };
        match self.next()? {
            (_, Token::Mark(b':')) => Ok(stack.push_text(&key)?),
            (start, token) => Err(unexpected(start, "colon", &token)),
        }
    }

    /// The next token, and where it begins or is wrong.
    fn next(&mut self) -> LibResult<(usize, Token)> {
        let is_space = |byte: &&u8| matches!(byte, b' ' | b'\t' | b'\n' | b'\r');
        loop {
            self.guard.tick(self.lua, 1)?;
            let len = self.piece().iter().take_while(is_space).count();
            self.at += len;
            if len < PIECE_BYTES {
                break;
            }
        }
        let start = self.at;
        let (len, token) = match self.rest() {
            [] | [0, ..] => (0, Token::End),
            [mark @ (b'{' | b'}' | b'[' | b']' | b',' | b':'), ..] => (1, Token::Mark(*mark)),
            [b'"', ..] => {
                return Ok(match self.string()? {
                    Ok(text) => (start, Token::Text(text)),
                    Err(why) => (self.at, Token::Invalid(why)),
                });
            }
            [b'-' | b'0'..=b'9', ..] => self.number(),
            [b't', b'r', b'u', b'e', ..] => (4, Token::Boolean(true)),
            [b'f', b'a', b'l', b's', b'e', ..] => (5, Token::Boolean(false)),
            [b'n', b'u', b'l', b'l', ..] => (4, Token::Null),
            rest if self.config.decode_invalid.get() && is_invalid_number(rest) => self.number(),
            _ => (0, Token::Invalid("invalid token")),
        };
        self.at += len;
        Ok((start, token))
    }

    fn number(&self) -> (usize, Token) {
        let is_allowed = self.config.decode_invalid.get() || !is_invalid_number(self.rest());
        // A number of more bytes than a piece is cut off.
        match leading_f64(self.piece()).filter(|_| is_allowed) {
            Some((number, len)) => (len, Token::Number(number)),
            None => (0, Token::Invalid("invalid number")),
        }
    }

    /// The string that begins here; or what is wrong with it, at the place where that is.
    fn string(&mut self) -> LibResult<Result<Vec<u8>, &'static str>> {
        let mut out = Vec::new();
        self.at += 1;
        loop {
            let (piece, special) = (self.piece(), |byte: &u8| matches!(byte, b'"' | b'\\' | 0));
            let len = piece.iter().position(special).unwrap_or(piece.len());
            self.guard.tick(self.lua, 1 + len / BYTES_A_STEP)?;
            self.guard.charge(self.lua, 2 * out.len() + len)?;
            out.extend_from_slice(&piece[..len]);
            self.at += len;
            if len == PIECE_BYTES {
                continue;
            }
            match self.rest() {
                [b'"', ..] => {
                    self.at += 1;
                    return Ok(Ok(out));
                }
                [b'\\', b'u', ..] => {
                    let Some((character, len)) = escaped_character(self.rest()) else {
                        return Ok(Err("invalid unicode escape code"));
                    };
                    out.extend(character.encode_utf8(&mut [0; 4]).as_bytes());
                    self.at += len;
                }
                [b'\\', escaped @ ..] => {
                    out.push(match escaped.first() {
                        Some(byte @ (b'"' | b'\\' | b'/')) => *byte,
                        Some(b'b') => 8,
                        Some(b'f') => 12,
                        Some(b'n') => b'\n',
                        Some(b'r') => b'\r',
                        Some(b't') => b'\t',
                        _ => return Ok(Err("invalid escape code")),
                    });
                    self.at += 2;
                }
                _ => return Ok(Err("unexpected end of string")),
            }
        }
    }
}

/// The error of another token being where something was wanted.
fn unexpected(start: usize, wanted: &str, found: &Token) -> LibError {
    let (found, place) = (found.name(), start + 1);
    LibError::from(format!("Expected {wanted} but found {found} at character {place}"))
}

/// Whether a number, if it is one, is such as JSON does not allow.
fn is_invalid_number(text: &[u8]) -> bool {
    match text.strip_prefix(b"-").unwrap_or(text) {
        _ if text.starts_with(b"+") => true,
        [b'0', second, ..] => matches!(second, b'x' | b'X' | b'0'..=b'9'),
        digits => digits.get(..3).is_some_and(|word| {
            word.eq_ignore_ascii_case(b"inf") || word.eq_ignore_ascii_case(b"nan")
        }),
    }
}

/// The character that is written as `\uXXXX` or two of these at the beginning of a text, and their length.
fn escaped_character(text: &[u8]) -> Option<(char, usize)> {
    let unit = |text: &[u8]| {
        let hex = text.strip_prefix(b"\\u")?.get(..4)?;
        let hex = hex.iter().all(u8::is_ascii_hexdigit).then_some(hex)?;
        u32::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok()
    };
    let (code, len) = match unit(text)? {
        high @ 0xd800..=0xdbff => {
            let low = unit(&text[6..]).filter(|low| (0xdc00..=0xdfff).contains(low))?;
            (0x1_0000 + ((high - 0xd800) << 10) + (low - 0xdc00), 12)
        }
        code => (code, 6),
    };
    Some((char::from_u32(code)?, len))
}
