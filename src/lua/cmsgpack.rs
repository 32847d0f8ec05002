//! `cmsgpack`: values as MessagePack and back, as in lua-cmsgpack.

use super::args::{Args, NativeFn, truncated};
use super::error::{LibError, LibResult};
use super::guard::{BYTES_A_STEP, Buffer, Guard, PIECE_BYTES};
use crate::sys::lua_stack::Stack;
use crate::sys::lua_walk::{Form, Keys, Seen, Visitor};
use mlua::{Lua, Table};
use std::mem;

/// Tables nested deeper are packed as nil, so that circular ones have an end.
const MAX_PACKED: usize = 16;
/// Values nested deeper are refused: tables and keys are on Lua's stack, which has room for some 8,000.
const MAX_UNPACKED: usize = 3900;
/// More values than Lua's stack has room for are not unpacked at once.
const MAX_VALUES: usize = 7999;
const TOO_MANY: &str =
    "stack overflow (too many return values at once; use unpack_one or unpack_limit instead.)";

pub const FUNCTIONS: &[(&str, NativeFn)] = &[
    ("pack", pack),
    ("unpack", |lua, args, results| unpack(lua, args, results, None, 0)),
    ("unpack_one", |lua, args, results| unpack(lua, args, results, Some(1), args.int_or(1, 0)?)),
    ("unpack_limit", |lua, args, results| {
        unpack(lua, args, results, Some(args.int(1)?), args.int_or(2, 0)?)
    }),
];

pub fn constants(lua: &Lua) -> mlua::Result<Table> {
    lua.create_table_from([
        ("_NAME", "cmsgpack"),
        ("_VERSION", "lua-cmsgpack 0.4.0"),
        ("_COPYRIGHT", "Copyright (C) 2012, Salvatore Sanfilippo"),
        ("_DESCRIPTION", "MessagePack C implementation for Lua"),
    ])
}

fn pack(lua: &Lua, args: &Args, stack: &mut Stack) -> LibResult {
    if args.is_empty() {
        return Err(LibError::Argument { at: -1, why: b"MessagePack pack needs input.".to_vec() });
    }
    let guard = args.guard();
    let mut encoder = Encoder { lua, guard, out: Buffer::new(lua, guard) };
    for at in 0..args.len() {
        args.push(at, stack)?;
        stack.walk(&mut encoder)??;
    }
    encoder.out.push_to(stack)
}

/// Writes a kind's marker and a length or count in the shortest of its forms: in the marker itself, if it is not
/// greater than `short.1`; or in 1 (if there is such a form), 2 or 4 bytes.
fn header(
    out: &mut Buffer,
    short: (u8, usize),
    forms: (Option<u8>, u8, u8),
    n: usize,
) -> LibResult {
    let (one, two, four) = forms;
    match (n, one) {
        _ if n <= short.1 => out.extend(&[short.0 | n as u8]),
        (..=0xff, Some(marker)) => out.extend(&[marker, n as u8]),
        (..=0xffff, _) => number(out, two, (n as u16).to_be_bytes()),
        _ => number(out, four, (n as u32).to_be_bytes()),
    }
}

/// Writes a marker and the bytes of a number.
fn number<const N: usize>(out: &mut Buffer, marker: u8, bytes: [u8; N]) -> LibResult {
    out.extend(&[marker])?;
    out.extend(&bytes)
}

struct Encoder<'a> {
    lua: &'a Lua,
    guard: &'a Guard,
    out: Buffer<'a>,
}

impl Visitor for Encoder<'_> {
    type Error = LibError;
    const COUNTS_ALL: bool = true;

    fn step(&mut self) -> LibResult {
        self.guard.tick(self.lua, 1)
    }

    fn enters(&mut self, depth: usize) -> LibResult<bool> {
        if depth > MAX_PACKED {
            self.out.extend(&[0xc0])?;
            return Ok(false);
        }
        Ok(true)
    }

    fn too_deep(&mut self, _: usize) -> LibError {
        LibError::from("stack overflow (in function mp_encode_lua_table_as_map)")
    }

    /// A table whose keys are exactly 1 to n is an array, any other a map.
    fn begin(&mut self, keys: Keys) -> LibResult<Form> {
        let Keys { count, max, are_indices } = keys;
        if are_indices && max == count as f64 {
            header(&mut self.out, (0x90, 15), (None, 0xdc, 0xdd), count)?;
            return Ok(Form::Array(count));
        }
        header(&mut self.out, (0x80, 15), (None, 0xde, 0xdf), count)?;
        Ok(Form::Pairs)
    }

    fn item(&mut self, _: bool) -> LibResult {
        Ok(())
    }

    /// Keys are packed as values are.
    fn key(&mut self, _: Seen, _: bool) -> LibResult<bool> {
        Ok(false)
    }

    fn value(&mut self, value: Seen) -> LibResult {
        let out = &mut self.out;
        match value {
            Seen::Text(text) => {
                header(out, (0xa0, 31), (Some(0xd9), 0xda, 0xdb), text.len())?;
                text.chunks(PIECE_BYTES).try_for_each(|piece| out.extend(piece))
            }
            Seen::Boolean(yes) => out.extend(&[if yes { 0xc3 } else { 0xc2 }]),
            Seen::Number(x) => match truncated(x) {
                n if n as f64 == x => encode_int(out, n),
                _ => encode_double(out, x),
            },
            _ => out.extend(&[0xc0]),
        }
    }

    fn end(&mut self, _: Form) -> LibResult {
        Ok(())
    }
}

fn encode_int(out: &mut Buffer, n: i64) -> LibResult {
    match n {
        -32..=0x7f => out.extend(&[n as u8]),
        0x80..=0xff => out.extend(&[0xcc, n as u8]),
        0x100..=0xffff => number(out, 0xcd, (n as u16).to_be_bytes()),
        0x1_0000..=0xffff_ffff => number(out, 0xce, (n as u32).to_be_bytes()),
        0x1_0000_0000.. => number(out, 0xcf, n.to_be_bytes()),
        -0x80.. => out.extend(&[0xd0, n as u8]),
        -0x8000.. => number(out, 0xd1, (n as i16).to_be_bytes()),
        -0x8000_0000.. => number(out, 0xd2, (n as i32).to_be_bytes()),
        _ => number(out, 0xd3, n.to_be_bytes()),
    }
}

fn encode_double(out: &mut Buffer, x: f64) -> LibResult {
    if x == f64::from(x as f32) {
        number(out, 0xca, (x as f32).to_be_bytes())
    } else {
        number(out, 0xcb, x.to_be_bytes())
    }
}

/// Unpacks at most `limit` values from an offset on, and tells where it stopped; or, without a limit, all.
fn unpack(
    lua: &Lua,
    args: &Args,
    results: &mut Stack,
    limit: Option<i64>,
    offset: i64,
) -> LibResult {
    let bytes = args.text(0)?;
    if offset < 0 || limit.is_some_and(|limit| limit < 0) {
        return Err(LibError::from(format!(
            "Invalid request to unpack with offset of {} and limit of {}.",
            offset as i32,
            bytes.len() as i32
        )));
    }
    let start = offset as usize;
    if start > bytes.len() {
        return Err(LibError::from(format!(
            "Start offset {} greater than input length {}.",
            offset as i32,
            bytes.len() as i32
        )));
    }
    // Redis takes neither a limit nor an offset for no limit at all.
    let limit = limit.filter(|&limit| limit != 0 || offset != 0);
    let mut decoder = Decoder { lua, guard: args.guard(), rest: &bytes[start..] };
    while !decoder.rest.is_empty() && limit.is_none_or(|limit| (results.len() as i64) < limit) {
        if results.len() >= MAX_VALUES {
            return Err(TOO_MANY.into());
        }
        decoder.push_whole(results)?;
        if !results.has_room() {
            return Err(TOO_MANY.into());
        }
    }
    if limit.is_some() {
        let stopped = bytes.len() - decoder.rest.len();
        let done = decoder.rest.is_empty();
        results.push_number(if done { -1.0 } else { stopped as f64 })?;
        results.move_down();
    }
    Ok(())
}

struct Decoder<'a> {
    lua: &'a Lua,
    guard: &'a Guard,
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

    /// Pushes a value, whole. Without recursion: data are nested as deep as they like.
    fn push_whole(&mut self, stack: &mut Stack) -> LibResult {
        let mut tables: Vec<Open> = Vec::new();
        loop {
            match self.push_next(stack)? {
                None | Some(Open { left: 0, .. }) => {}
                Some(_) if tables.len() >= MAX_UNPACKED => return Err(TOO_MANY.into()),
                Some(open) => {
                    tables.push(open);
                    continue;
                }
            }
            // The value is where it belongs; so are the tables that are full then.
            loop {
                let Some(open) = tables.last_mut() else { return Ok(()) };
                if !open.take_top(stack)? {
                    break;
                }
                tables.pop();
            }
        }
    }

    /// Pushes the next scalar, or a table to be filled.
    fn push_next(&mut self, stack: &mut Stack) -> LibResult<Option<Open>> {
        self.guard.tick(self.lua, 1)?;
        let [marker] = self.array()?;
        let number = match marker {
            0..=0x7f => f64::from(marker),
            0xe0..=0xff => f64::from(marker as i8),
            0xc0 => {
                stack.push_nil()?;
                return Ok(None);
            }
            0xc2 | 0xc3 => {
                stack.push_boolean(marker == 0xc3)?;
                return Ok(None);
            }
            0xca => f32::from_be_bytes(self.array()?).into(),
            0xcb => f64::from_be_bytes(self.array()?),
            // Lua-cmsgpack has no larger integers than those with a sign.
            0xcc..=0xcf => self.uint(1 << (marker - 0xcc))? as i64 as f64,
            0xd0 => i8::from_be_bytes(self.array()?).into(),
            0xd1 => i16::from_be_bytes(self.array()?).into(),
            0xd2 => i32::from_be_bytes(self.array()?).into(),
            0xd3 => i64::from_be_bytes(self.array()?) as f64,
            0xa0..=0xbf => return self.push_string(usize::from(marker & 0x1f), stack),
            0xd9..=0xdb => {
                let len = self.uint(1 << (marker - 0xd9))?;
                return self.push_string(len as usize, stack);
            }
            0x80..=0x9f => {
                return Open::push(marker < 0x90, (marker & 0xf).into(), stack).map(Some);
            }
            0xdc..=0xdf => {
                let len = self.uint(2 << (marker & 1))?;
                return Open::push(marker >= 0xde, len, stack).map(Some);
            }
            _ => return Err("Bad data format in input.".into()),
        };
        stack.push_number(number)?;
        Ok(None)
    }

    fn push_string(&mut self, len: usize, stack: &mut Stack) -> LibResult<Option<Open>> {
        let text = self.take(len)?;
        self.guard.tick(self.lua, len / BYTES_A_STEP)?;
        self.guard.push_text(self.lua, text, stack)?;
        Ok(None)
    }
}

/// A table on the stack that is not full yet.
struct Open {
    is_map: bool,
    /// So many items or pairs are still to come.
    left: u64,
    /// Of the item before, in an array.
    index: usize,
    /// The key is on the stack whose value comes next.
    has_key: bool,
}

impl Open {
    /// Pushes a table for so many items or pairs.
    fn push(is_map: bool, left: u64, stack: &mut Stack) -> LibResult<Open> {
        stack.push_table(0, 0)?;
        Ok(Open { is_map, left, index: 0, has_key: false })
    }

    /// Takes the value on top; returns whether it was the last.
    fn take_top(&mut self, stack: &mut Stack) -> LibResult<bool> {
        if !self.is_map {
            self.index += 1;
            stack.set_item(self.index)?;
        } else if mem::take(&mut self.has_key) {
            stack.set_field()?;
        } else {
            self.has_key = true;
            return Ok(false);
        }
        self.left -= 1;
        Ok(self.left == 0)
    }
}
