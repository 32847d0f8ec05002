//! `cjson`: values as JSON and back, as in Lua CJSON 2.1. Its settings live as long as the Lua state.
#![forbid(unsafe_code)]

use super::args::{Args, LibError, LibResult, native, one};
use crate::util::number::{general_format, parse_f64};
use mlua::{Lua, MultiValue, Table, Value};
use std::cell::Cell;
use std::rc::Rc;

const DEPTH: i64 = 1000;
const PRECISION: i64 = 14;
/// Integers below this are written with all their digits in that precision.
const EXACT_INTEGERS: f64 = 1e14;
/// Deeper than this nothing goes, whatever the settings say: the stack has an end.
const MAX_DEPTH: i64 = 4000;

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

type Setting = fn(&Lua, &Config, &Args) -> LibResult;

const SETTINGS: [(&str, Setting); 7] = [
    ("encode_sparse_array", |lua, config, args| {
        Ok(MultiValue::from_iter([
            set_bool(lua, &config.sparse_convert, args, 0)?,
            set_int(&config.sparse_ratio, args, 1, 0, i64::from(i32::MAX))?,
            set_int(&config.sparse_safe, args, 2, 0, i64::from(i32::MAX))?,
        ]))
    }),
    ("encode_max_depth", |_, config, args| {
        one(set_int(&config.encode_depth, args, 0, 1, i64::from(i32::MAX))?)
    }),
    ("decode_max_depth", |_, config, args| {
        one(set_int(&config.decode_depth, args, 0, 1, i64::from(i32::MAX))?)
    }),
    ("encode_number_precision", |_, config, args| one(set_int(&config.precision, args, 0, 1, 14)?)),
    ("encode_keep_buffer", |lua, config, args| one(set_bool(lua, &config.keep_buffer, args, 0)?)),
    ("encode_invalid_numbers", |lua, config, args| {
        let chosen = match args.get(0) {
            Value::Nil => config.encode_invalid.get(),
            Value::Boolean(false) => Invalid::Refuse,
            Value::Boolean(true) => Invalid::Write,
            Value::String(word) if *word == "off" => Invalid::Refuse,
            Value::String(word) if *word == "on" => Invalid::Write,
            Value::String(word) if *word == "null" => Invalid::Null,
            _ => return Err(bad_option(lua, args, 0)),
        };
        config.encode_invalid.set(chosen);
        one(match chosen {
            Invalid::Null => Value::String(lua.create_string("null")?),
            other => Value::Boolean(other == Invalid::Write),
        })
    }),
    ("decode_invalid_numbers", |lua, config, args| {
        one(set_bool(lua, &config.decode_invalid, args, 0)?)
    }),
];

fn set_int(cell: &Cell<i64>, args: &Args, at: usize, min: i64, max: i64) -> LibResult<Value> {
    let value = args.int_or(at, cell.get())?;
    args.check(
        (min..=max).contains(&value),
        at,
        &format!("expected integer between {min} and {max}"),
    )?;
    cell.set(value);
    Ok(Value::Integer(value))
}

fn set_bool(lua: &Lua, cell: &Cell<bool>, args: &Args, at: usize) -> LibResult<Value> {
    match args.get(at) {
        Value::Nil => {}
        Value::Boolean(on) => cell.set(*on),
        Value::String(word) if *word == "on" => cell.set(true),
        Value::String(word) if *word == "off" => cell.set(false),
        _ => return Err(bad_option(lua, args, at)),
    }
    Ok(Value::Boolean(cell.get()))
}

/// The error of a word that is no choice, or of what is no word.
fn bad_option(lua: &Lua, args: &Args, at: usize) -> LibError {
    match args.string(lua, at) {
        Ok(word) => args.bad(at, &format!("invalid option '{}'", word.to_string_lossy())),
        Err(error) => error,
    }
}

/// The library's functions, which share its settings.
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
    for (name, setting) in SETTINGS {
        let config = Rc::clone(&config);
        let set = move |lua: &Lua, args: &Args| {
            args.check(args.len() <= 3, 3, "found too many arguments")?;
            setting(lua, &config, args)
        };
        table.set(name, native(lua, name, set)?)?;
    }
    let own = Rc::clone(&config);
    let encode = move |lua: &Lua, args: &Args| {
        args.check(args.len() == 1, 0, "expected 1 argument")?;
        let mut encoder = Encoder { config: &own, out: Vec::new() };
        encoder.value(args.get(0), 0)?;
        one(Value::String(lua.create_string(encoder.out)?))
    };
    table.set("encode", native(lua, "encode", encode)?)?;
    let decode = move |lua: &Lua, args: &Args| {
        args.check(args.len() == 1, 0, "expected 1 argument")?;
        let text = args.string(lua, 0)?;
        one(decode(lua, &config, &text.as_bytes())?)
    };
    table.set("decode", native(lua, "decode", decode)?)?;
    Ok(table)
}

pub fn constants(lua: &Lua) -> mlua::Result<Table> {
    let table = lua.create_table_from([("_NAME", "cjson"), ("_VERSION", "2.1.0")])?;
    table.set("null", Value::NULL)?;
    Ok(table)
}

struct Encoder<'a> {
    config: &'a Config,
    out: Vec<u8>,
}

fn cannot(value: &Value, why: &str) -> LibError {
    let kind = match value {
        Value::Integer(_) | Value::Number(_) => "number",
        Value::LightUserData(_) => "userdata",
        other => other.type_name(),
    };
    LibError::Text(format!("Cannot serialise {kind}: {why}"))
}

impl Encoder<'_> {
    fn value(&mut self, value: &Value, depth: i64) -> LibResult<()> {
        match value {
            Value::String(text) => self.string(&text.as_bytes()),
            Value::Integer(n) => self.number(value, *n as f64)?,
            Value::Number(x) => self.number(value, *x)?,
            Value::Boolean(yes) => self.out.extend(if *yes { &b"true"[..] } else { b"false" }),
            Value::Table(table) => self.table(value, table, depth + 1)?,
            Value::Nil => self.out.extend(b"null"),
            Value::LightUserData(_) if value.is_null() => self.out.extend(b"null"),
            _ => return Err(cannot(value, "type not supported")),
        }
        Ok(())
    }

    fn string(&mut self, text: &[u8]) {
        let is_special = |byte: &u8| matches!(byte, b'"' | b'\\' | b'/' | 0..=0x1f | 0x7f);
        self.out.push(b'"');
        let mut rest = text;
        while let Some(plain) = rest.iter().position(is_special) {
            self.out.extend_from_slice(&rest[..plain]);
            match rest[plain] {
                byte @ (b'"' | b'\\' | b'/') => self.out.extend([b'\\', byte]),
                8 => self.out.extend(b"\\b"),
                9 => self.out.extend(b"\\t"),
                10 => self.out.extend(b"\\n"),
                12 => self.out.extend(b"\\f"),
                13 => self.out.extend(b"\\r"),
                byte => self.out.extend(format!("\\u{byte:04x}").as_bytes()),
            }
            rest = &rest[plain + 1..];
        }
        self.out.extend_from_slice(rest);
        self.out.push(b'"');
    }

    fn number(&mut self, value: &Value, x: f64) -> LibResult<()> {
        if !x.is_finite() {
            match self.config.encode_invalid.get() {
                Invalid::Refuse => return Err(cannot(value, "must not be NaN or Inf")),
                Invalid::Write if x.is_nan() => self.out.extend(b"nan"),
                Invalid::Write => self.out.extend(if x > 0.0 { &b"inf"[..] } else { b"-inf" }),
                Invalid::Null => self.out.extend(b"null"),
            }
            return Ok(());
        }
        let precision = self.config.precision.get();
        if x == x.trunc() && x.abs() < EXACT_INTEGERS && precision == PRECISION && x != 0.0 {
            self.out.extend(itoa::Buffer::new().format(x as i64).as_bytes());
            return Ok(());
        }
        let text = general_format(x, precision as usize);
        self.out.extend(text.as_bytes());
        Ok(())
    }

    fn table(&mut self, value: &Value, table: &Table, depth: i64) -> LibResult<()> {
        if depth > self.config.encode_depth.get().min(MAX_DEPTH) {
            return Err(LibError::Text(format!("Cannot serialise, excessive nesting ({depth})")));
        }
        match self.array_len(value, table)? {
            Some(len) => self.array(table, len, depth),
            None => self.object(table, depth),
        }
    }

    /// The last index of a table that is an array; `None`: it is an object, as the empty table is.
    fn array_len(&self, value: &Value, table: &Table) -> LibResult<Option<i64>> {
        let (mut max, mut items, mut is_array) = (0, 0, true);
        // The values are not looked at: as booleans they cost nothing.
        let walked = table.for_each(|key: Value, _: bool| {
            match key {
                Value::Integer(n) if n >= 1 => max = max.max(n),
                _ => {
                    is_array = false;
                    // Any error ends the walk.
                    return Err(mlua::Error::StackError);
                }
            }
            items += 1;
            Ok(())
        });
        if !is_array {
            return Ok(None);
        }
        walked?;
        let ratio = self.config.sparse_ratio.get();
        let sparse = ratio > 0
            && max > i64::saturating_mul(items, ratio)
            && max > self.config.sparse_safe.get();
        if sparse && !self.config.sparse_convert.get() {
            return Err(cannot(value, "excessively sparse array"));
        }
        Ok((max > 0 && !sparse).then_some(max))
    }

    fn array(&mut self, table: &Table, len: i64, depth: i64) -> LibResult<()> {
        self.out.push(b'[');
        for i in 1..=len {
            if i > 1 {
                self.out.push(b',');
            }
            self.value(&table.raw_get(i)?, depth)?;
        }
        self.out.push(b']');
        Ok(())
    }

    fn object(&mut self, table: &Table, depth: i64) -> LibResult<()> {
        self.out.push(b'{');
        let mut outcome = Ok(());
        let walked = table.for_each(|key: Value, value: Value| {
            outcome = self.field(&key, &value, depth);
            // Any error ends the walk.
            if outcome.is_ok() { Ok(()) } else { Err(mlua::Error::StackError) }
        });
        outcome?;
        walked?;
        if self.out.last() == Some(&b',') {
            self.out.pop();
        }
        self.out.push(b'}');
        Ok(())
    }

    /// A key and its value, and a comma.
    fn field(&mut self, key: &Value, value: &Value, depth: i64) -> LibResult<()> {
        match key {
            Value::String(text) => self.string(&text.as_bytes()),
            Value::Integer(_) | Value::Number(_) => {
                self.out.push(b'"');
                self.value(key, depth)?;
                self.out.push(b'"');
            }
            _ => return Err(cannot(key, "table key must be a number or string")),
        }
        self.out.push(b':');
        self.value(value, depth)?;
        self.out.push(b',');
        Ok(())
    }
}

fn decode(lua: &Lua, config: &Config, text: &[u8]) -> LibResult<Value> {
    if text.len() >= 2 && (text[0] == 0 || text[1] == 0) {
        return Err("JSON parser does not support UTF-16 or UTF-32".into());
    }
    let mut decoder = Decoder { lua, config, text, at: 0 };
    let value = decoder.value(0)?;
    decoder.skip_space();
    match decoder.text.get(decoder.at) {
        None => Ok(value),
        Some(_) => Err(decoder.unexpected("the end")),
    }
}

struct Decoder<'a> {
    lua: &'a Lua,
    config: &'a Config,
    text: &'a [u8],
    at: usize,
}

impl<'a> Decoder<'a> {
    fn skip_space(&mut self) {
        while let Some(b' ' | b'\t' | b'\n' | b'\r') = self.text.get(self.at) {
            self.at += 1;
        }
    }

    fn rest(&self) -> &'a [u8] {
        &self.text[self.at..]
    }

    /// The error of something else being at the present place.
    fn unexpected(&self, wanted: &str) -> LibError {
        let found = match self.rest() {
            [] | [0, ..] => "T_END",
            [b'{', ..] => "T_OBJ_BEGIN",
            [b'}', ..] => "T_OBJ_END",
            [b'[', ..] => "T_ARR_BEGIN",
            [b']', ..] => "T_ARR_END",
            [b',', ..] => "T_COMMA",
            [b':', ..] => "T_COLON",
            [b'"', ..] => "T_STRING",
            [b'-' | b'0'..=b'9', ..] => "T_NUMBER",
            rest if rest.starts_with(b"true") || rest.starts_with(b"false") => "T_BOOLEAN",
            rest if rest.starts_with(b"null") => "T_NULL",
            _ => "invalid token",
        };
        self.error(wanted, found)
    }

    fn error(&self, wanted: &str, found: &str) -> LibError {
        let place = self.at + 1;
        LibError::Text(format!("Expected {wanted} but found {found} at character {place}"))
    }

    /// Goes behind this character, if it comes next.
    fn passes(&mut self, wanted: u8) -> bool {
        self.skip_space();
        let there = self.text.get(self.at) == Some(&wanted);
        self.at += usize::from(there);
        there
    }

    fn value(&mut self, depth: i64) -> LibResult<Value> {
        self.skip_space();
        let (len, value) = match self.rest() {
            [b'{', ..] => return self.object(depth + 1),
            [b'[', ..] => return self.array(depth + 1),
            [b'"', ..] => {
                let text = self.string()?;
                return Ok(Value::String(self.lua.create_string(text)?));
            }
            [b't', b'r', b'u', b'e', ..] => (4, Value::Boolean(true)),
            [b'f', b'a', b'l', b's', b'e', ..] => (5, Value::Boolean(false)),
            [b'n', b'u', b'l', b'l', ..] => (4, Value::NULL),
            _ => return self.number(),
        };
        self.at += len;
        Ok(value)
    }

    fn descend(&mut self, depth: i64) -> LibResult<Table> {
        self.at += 1;
        if depth > self.config.decode_depth.get().min(MAX_DEPTH) {
            let at = self.at;
            return Err(LibError::Text(format!(
                "Found too many nested data structures ({depth}) at character {at}"
            )));
        }
        Ok(self.lua.create_table()?)
    }

    fn object(&mut self, depth: i64) -> LibResult<Value> {
        let table = self.descend(depth)?;
        if self.passes(b'}') {
            return Ok(Value::Table(table));
        }
        loop {
            self.skip_space();
            if !self.rest().starts_with(b"\"") {
                return Err(self.unexpected("object key string"));
            }
            let key = self.string()?;
            if !self.passes(b':') {
                return Err(self.unexpected("colon"));
            }
            let value = self.value(depth)?;
            table.raw_set(self.lua.create_string(key)?, value)?;
            if self.passes(b'}') {
                return Ok(Value::Table(table));
            }
            if !self.passes(b',') {
                return Err(self.unexpected("comma or object end"));
            }
        }
    }

    fn array(&mut self, depth: i64) -> LibResult<Value> {
        let table = self.descend(depth)?;
        if self.passes(b']') {
            return Ok(Value::Table(table));
        }
        for i in 1.. {
            let value = self.value(depth)?;
            table.raw_set(i, value)?;
            if self.passes(b']') {
                break;
            }
            if !self.passes(b',') {
                return Err(self.unexpected("comma or array end"));
            }
        }
        Ok(Value::Table(table))
    }

    fn number(&mut self) -> LibResult<Value> {
        let is_part =
            |byte: &&u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.');
        let len = self.rest().iter().take_while(is_part).count();
        let text = &self.rest()[..len];
        let digits = text.strip_prefix(b"-").unwrap_or(text);
        let plain = matches!(digits, [b'0'..=b'9', ..])
            && !matches!(digits, [b'0', b'0'..=b'9' | b'x' | b'X', ..]);
        // A point does not begin a number, not even an invalid one.
        let lenient = self.config.decode_invalid.get() && !text.starts_with(b".");
        let number = if plain || lenient { any_number(text) } else { None };
        let number = number.ok_or_else(|| match digits {
            [b'0'..=b'9', ..] => self.error("value", "invalid number"),
            _ => self.unexpected("value"),
        })?;
        self.at += len;
        Ok(Value::Number(number))
    }

    fn string(&mut self) -> LibResult<Vec<u8>> {
        let mut out = Vec::new();
        self.at += 1;
        loop {
            let special = self.rest().iter().position(|byte| matches!(byte, b'"' | b'\\' | 0));
            let Some(special) = special else {
                self.at = self.text.len();
                return Err(self.error("value", "unexpected end of string"));
            };
            out.extend_from_slice(&self.rest()[..special]);
            self.at += special;
            match self.rest() {
                [b'"', ..] => {
                    self.at += 1;
                    return Ok(out);
                }
                [b'\\', b'u', ..] => self.unicode(&mut out)?,
                [b'\\', escaped, ..] => {
                    out.push(match escaped {
                        b'"' | b'\\' | b'/' => *escaped,
                        b'b' => 8,
                        b'f' => 12,
                        b'n' => b'\n',
                        b'r' => b'\r',
                        b't' => b'\t',
                        _ => return Err(self.error("value", "invalid escape code")),
                    });
                    self.at += 2;
                }
                _ => return Err(self.error("value", "unexpected end of string")),
            }
        }
    }

    /// `\uXXXX` at the present place, or two of them that are one character.
    fn unicode(&mut self, out: &mut Vec<u8>) -> LibResult<()> {
        let unit = |text: &[u8]| {
            let hex = text.strip_prefix(b"\\u")?.get(..4)?;
            let hex = hex.iter().all(u8::is_ascii_hexdigit).then_some(hex)?;
            u32::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok()
        };
        let invalid = || self.error("value", "invalid unicode escape code");
        let first = unit(self.rest()).ok_or_else(invalid)?;
        let (code, len) = match first {
            0xd800..=0xdbff => {
                let second = unit(&self.rest()[6..]).filter(|low| (0xdc00..=0xdfff).contains(low));
                let low = second.ok_or_else(invalid)?;
                (0x1_0000 + ((first - 0xd800) << 10) + (low - 0xdc00), 12)
            }
            _ => (first, 6),
        };
        let character = char::from_u32(code).ok_or_else(invalid)?;
        out.extend(character.encode_utf8(&mut [0; 4]).as_bytes());
        self.at += len;
        Ok(())
    }
}

/// A number as C reads one: hexadecimal and infinite ones, too.
fn any_number(text: &[u8]) -> Option<f64> {
    let (sign, digits) = match text {
        [b'-', rest @ ..] => (-1.0, rest),
        _ => (1.0, text),
    };
    if let [b'0', b'x' | b'X', hex @ ..] = digits {
        let hex = std::str::from_utf8(hex).ok()?;
        return u64::from_str_radix(hex, 16).ok().map(|n| sign * n as f64);
    }
    if digits.eq_ignore_ascii_case(b"nan") {
        return Some(f64::NAN);
    }
    if digits.eq_ignore_ascii_case(b"inf") || digits.eq_ignore_ascii_case(b"infinity") {
        return Some(sign * f64::INFINITY);
    }
    // Numbers too large or too small become infinite or zero, as C's strtod has it.
    parse_f64(text).or_else(|| std::str::from_utf8(text).ok()?.parse().ok())
}
