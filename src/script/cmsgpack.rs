//! `cmsgpack`: values as MessagePack and back, as in lua-cmsgpack.
#![forbid(unsafe_code)]

use super::args::{Args, LibError, LibResult, NativeFn, one};
use mlua::{Lua, MultiValue, Table, Value};

/// Tables nested deeper are packed as nil, so that circular ones have an end.
const MAX_PACKED: usize = 16;
/// Values nested deeper are refused.
const MAX_UNPACKED: usize = 1000;

pub const FUNCTIONS: &[(&str, NativeFn)] = &[
    ("pack", pack),
    ("unpack", |lua, args| unpack(lua, args, None, 0)),
    ("unpack_one", |lua, args| unpack(lua, args, Some(1), args.int_or(1, 0)?)),
    ("unpack_limit", |lua, args| unpack(lua, args, Some(args.int(1)?), args.int_or(2, 0)?)),
];

pub fn constants(lua: &Lua) -> mlua::Result<Table> {
    lua.create_table_from([("_NAME", "cmsgpack"), ("_VERSION", "lua-cmsgpack 0.4.0")])
}

fn pack(lua: &Lua, args: &Args) -> LibResult {
    if args.is_empty() {
        return Err("bad argument #0 to 'pack' (MessagePack pack needs input.)".into());
    }
    let mut out = Vec::new();
    for value in args.iter() {
        encode(&mut out, value, 0)?;
    }
    one(Value::String(lua.create_string(out)?))
}

/// Writes a kind's marker and a length or count in the shortest of its forms: in the marker itself, if it is not
/// greater than `short.1`; or in 1 (if there is such a form), 2 or 4 bytes.
fn header(out: &mut Vec<u8>, short: (u8, usize), forms: (Option<u8>, u8, u8), n: usize) {
    let (one, two, four) = forms;
    match (n, one) {
        _ if n <= short.1 => out.push(short.0 | n as u8),
        (..=0xff, Some(marker)) => out.extend([marker, n as u8]),
        (..=0xffff, _) => {
            out.push(two);
            out.extend((n as u16).to_be_bytes());
        }
        _ => {
            out.push(four);
            out.extend((n as u32).to_be_bytes());
        }
    }
}

fn encode(out: &mut Vec<u8>, value: &Value, depth: usize) -> LibResult<()> {
    match value {
        Value::String(text) => {
            let text = text.as_bytes();
            header(out, (0xa0, 31), (Some(0xd9), 0xda, 0xdb), text.len());
            out.extend_from_slice(&text);
        }
        Value::Boolean(yes) => out.push(if *yes { 0xc3 } else { 0xc2 }),
        Value::Integer(n) => encode_int(out, *n),
        Value::Number(x) => encode_double(out, *x),
        Value::Table(table) if depth < MAX_PACKED => encode_table(out, table, depth)?,
        _ => out.push(0xc0),
    }
    Ok(())
}

fn encode_int(out: &mut Vec<u8>, n: i64) {
    match n {
        -32..=0x7f => out.push(n as u8),
        0x80..=0xff => out.extend([0xcc, n as u8]),
        0x100..=0xffff => {
            out.push(0xcd);
            out.extend((n as u16).to_be_bytes());
        }
        0x1_0000..=0xffff_ffff => {
            out.push(0xce);
            out.extend((n as u32).to_be_bytes());
        }
        0x1_0000_0000.. => {
            out.push(0xcf);
            out.extend(n.to_be_bytes());
        }
        -0x80.. => out.extend([0xd0, n as u8]),
        -0x8000.. => {
            out.push(0xd1);
            out.extend((n as i16).to_be_bytes());
        }
        -0x8000_0000.. => {
            out.push(0xd2);
            out.extend((n as i32).to_be_bytes());
        }
        _ => {
            out.push(0xd3);
            out.extend(n.to_be_bytes());
        }
    }
}

fn encode_double(out: &mut Vec<u8>, x: f64) {
    if x == f64::from(x as f32) {
        out.push(0xca);
        out.extend((x as f32).to_be_bytes());
    } else {
        out.push(0xcb);
        out.extend(x.to_be_bytes());
    }
}

/// A table whose keys are exactly 1 to n is an array, any other a map.
fn encode_table(out: &mut Vec<u8>, table: &Table, depth: usize) -> LibResult<()> {
    let (mut count, mut max) = (0, 0);
    let mut is_array = true;
    for pair in table.pairs::<Value, Value>() {
        count += 1;
        match pair?.0 {
            Value::Integer(n) if n > 0 => max = max.max(n),
            _ => is_array = false,
        }
    }
    if is_array && max == count {
        header(out, (0x90, 15), (None, 0xdc, 0xdd), count as usize);
        for i in 1..=count {
            encode(out, &table.raw_get(i)?, depth + 1)?;
        }
        return Ok(());
    }
    header(out, (0x80, 15), (None, 0xde, 0xdf), count as usize);
    for pair in table.pairs::<Value, Value>() {
        let (key, value) = pair?;
        encode(out, &key, depth + 1)?;
        encode(out, &value, depth + 1)?;
    }
    Ok(())
}

/// Unpacks at most `limit` values from an offset on, and tells where it stopped; or, without a limit, all.
fn unpack(lua: &Lua, args: &Args, limit: Option<i64>, offset: i64) -> LibResult {
    let bytes = args.string(lua, 0)?;
    let bytes = bytes.as_bytes();
    if offset < 0 || limit.is_some_and(|limit| limit < 0) {
        return Err(LibError::Text(format!(
            "Invalid request to unpack with offset of {offset} and limit of {}.",
            bytes.len()
        )));
    }
    let start = offset as usize;
    if start > bytes.len() {
        let len = bytes.len();
        return Err(LibError::Text(format!(
            "Start offset {offset} greater than input length {len}."
        )));
    }
    // Redis takes neither a limit nor an offset for no limit at all.
    let limit = limit.filter(|&limit| limit != 0 || offset != 0);
    let mut decoder = Decoder { lua, rest: &bytes[start..] };
    let mut values = MultiValue::new();
    while !decoder.rest.is_empty() && limit.is_none_or(|limit| (values.len() as i64) < limit) {
        values.push_back(decoder.value(0)?);
    }
    if limit.is_some() {
        let stopped = bytes.len() - decoder.rest.len();
        let done = decoder.rest.is_empty();
        values.push_front(Value::Integer(if done { -1 } else { stopped as i64 }));
    }
    Ok(values)
}

struct Decoder<'a> {
    lua: &'a Lua,
    rest: &'a [u8],
}

impl<'a> Decoder<'a> {
    fn take(&mut self, len: usize) -> LibResult<&'a [u8]> {
        let (taken, rest) = self.rest.split_at_checked(len).ok_or("Missing bytes in input.")?;
        self.rest = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> LibResult<[u8; N]> {
        let bytes = self.take(N)?;
        bytes.try_into().map_err(|_| LibError::from("Missing bytes in input."))
    }

    fn uint(&mut self, len: usize) -> LibResult<u64> {
        Ok(self.take(len)?.iter().fold(0, |n, &byte| n << 8 | u64::from(byte)))
    }

    fn value(&mut self, depth: usize) -> LibResult<Value> {
        if depth > MAX_UNPACKED {
            return Err("Bad data format in input.".into());
        }
        let [marker] = self.array()?;
        Ok(match marker {
            0..=0x7f => Value::Integer(marker.into()),
            0xe0..=0xff => Value::Integer((marker as i8).into()),
            0xc0 => Value::Nil,
            0xc2 | 0xc3 => Value::Boolean(marker == 0xc3),
            0xca => Value::Number(f32::from_be_bytes(self.array()?).into()),
            0xcb => Value::Number(f64::from_be_bytes(self.array()?)),
            // Lua-cmsgpack has no larger integers than those with a sign.
            0xcc..=0xcf => Value::Number(self.uint(1 << (marker - 0xcc))? as i64 as f64),
            0xd0 => Value::Integer(i8::from_be_bytes(self.array()?).into()),
            0xd1 => Value::Integer(i16::from_be_bytes(self.array()?).into()),
            0xd2 => Value::Integer(i32::from_be_bytes(self.array()?).into()),
            0xd3 => Value::Number(i64::from_be_bytes(self.array()?) as f64),
            0xa0..=0xbf => self.string(usize::from(marker & 0x1f))?,
            0xd9..=0xdb => {
                let len = self.uint(1 << (marker - 0xd9))?;
                self.string(len as usize)?
            }
            0x90..=0x9f => self.list(usize::from(marker & 0xf), depth)?,
            0x80..=0x8f => self.map(usize::from(marker & 0xf), depth)?,
            0xdc | 0xdd => {
                let len = self.uint(2 << (marker - 0xdc))?;
                self.list(len as usize, depth)?
            }
            0xde | 0xdf => {
                let len = self.uint(2 << (marker - 0xde))?;
                self.map(len as usize, depth)?
            }
            _ => return Err("Bad data format in input.".into()),
        })
    }

    fn string(&mut self, len: usize) -> LibResult<Value> {
        Ok(Value::String(self.lua.create_string(self.take(len)?)?))
    }

    fn list(&mut self, len: usize, depth: usize) -> LibResult<Value> {
        let table = self.lua.create_table()?;
        for i in 1..=len {
            table.raw_set(i, self.value(depth + 1)?)?;
        }
        Ok(Value::Table(table))
    }

    fn map(&mut self, len: usize, depth: usize) -> LibResult<Value> {
        let table = self.lua.create_table()?;
        for _ in 0..len {
            let (key, value) = (self.value(depth + 1)?, self.value(depth + 1)?);
            table.raw_set(key, value)?;
        }
        Ok(Value::Table(table))
    }
}
