//! `struct`: values as C would lay them out, and back, as in Roberto Ierusalimschy's library of that name.

use super::args::{Args, NativeFn, truncated};
use super::error::{LibError, LibResult};
use super::guard::{BYTES_A_STEP, Buffer, PIECE_BYTES};
use crate::sys::lua_stack::Stack;
use crate::sys::lua_walk::Seen;
use mlua::Lua;

/// Bytes of the largest integer.
const MAX_INT: usize = 32;
/// The options of integers; those of lower case have a sign.
const INTEGERS: &[u8] = b"bBhHlLTiI";
/// More results than Lua's stack has room for are an error.
const MAX_VALUES: usize = 7990;
/// `!` without a number.
const MAX_ALIGN: usize = 8;

pub const FUNCTIONS: &[(&str, NativeFn)] = &[("pack", pack), ("unpack", unpack), ("size", size)];

/// Reads a format, option by option.
struct Format<'a> {
    rest: &'a [u8],
    big_endian: bool,
    align: usize,
}

/// An option, the bytes that it takes, and those before it that align it.
struct Item {
    option: u8,
    size: usize,
    padding: usize,
}

impl<'a> Format<'a> {
    fn new(format: &'a [u8]) -> Format<'a> {
        let end = memchr::memchr(0, format).unwrap_or(format.len());
        Format { rest: &format[..end], big_endian: false, align: 1 }
    }

    fn number(&mut self, default: usize) -> LibResult<usize> {
        let len = self.rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let (digits, rest) = self.rest.split_at(len);
        self.rest = rest;
        let mut number = if len == 0 { default } else { 0 };
        for digit in digits {
            number = number * 10 + usize::from(digit - b'0');
            if number > i32::MAX as usize {
                return Err("integral size overflow".into());
            }
        }
        Ok(number)
    }

    /// The next option, at this position.
    fn next(&mut self, at: usize) -> LibResult<Option<Item>> {
        let Some((&option, rest)) = self.rest.split_first() else { return Ok(None) };
        self.rest = rest;
        let size = match option {
            b'b' | b'B' | b'x' => 1,
            b'h' | b'H' => 2,
            b'l' | b'L' | b'T' | b'd' => 8,
            b'f' => 4,
            b'c' => self.number(1)?,
            b'i' | b'I' => {
                let size = self.number(4)?;
                if size > MAX_INT {
                    return Err(LibError::from(format!(
                        "integral size {size} is larger than limit of {MAX_INT}"
                    )));
                }
                size
            }
            _ => 0,
        };
        let padding = if option == b'c' { 0 } else { self.padding(at, size) };
        Ok(Some(Item { option, size, padding }))
    }

    fn padding(&self, at: usize, size: usize) -> usize {
        match size.min(self.align) {
            0 => 0,
            // As C has it, also for sizes that are no powers of two.
            size => size.wrapping_sub(at & (size - 1)) & (size - 1),
        }
    }

    /// An option that stands for no value.
    fn control(&mut self, args: &Args, option: u8) -> LibResult {
        match option {
            b' ' => {}
            b'>' => self.big_endian = true,
            b'<' => self.big_endian = false,
            b'!' => {
                let align = self.number(MAX_ALIGN)?;
                if !align.is_power_of_two() {
                    return Err(LibError::from(format!("alignment {align} is not a power of 2")));
                }
                self.align = align;
            }
            _ => {
                return Err(args.bad(0, [b"invalid format option '", &[option][..], b"'"].concat()));
            }
        }
        Ok(())
    }

    /// The low bytes of an integer in the chosen order.
    fn put(&self, out: &mut Buffer, value: u64, size: usize) -> LibResult {
        let mut bytes = [0; MAX_INT];
        bytes[..8].copy_from_slice(&value.to_le_bytes());
        let bytes = &mut bytes[..size];
        if self.big_endian {
            bytes.reverse();
        }
        out.extend(bytes)
    }

    fn get(&self, bytes: &[u8]) -> u64 {
        let push = |n: u64, &byte: &u8| n << 8 | u64::from(byte);
        match self.big_endian {
            true => bytes.iter().fold(0, push),
            false => bytes.iter().rev().fold(0, push),
        }
    }
}

fn pack(lua: &Lua, args: &Args, results: &mut Stack) -> LibResult {
    let format = args.text(0)?;
    let mut format = Format::new(&format);
    let (mut out, mut arg) = (Buffer::new(lua, args.guard()), 1);
    while let Some(Item { option, size, padding }) = format.next(out.len())? {
        out.extend(&[0; MAX_INT][..padding])?;
        if INTEGERS.contains(&option) || matches!(option, b'f' | b'd' | b'c' | b's') {
            // The library in C has put a nil of its own behind the arguments.
            let wanted = if matches!(option, b'c' | b's') { "string" } else { "number" };
            args.check(arg < args.len(), arg, &format!("{wanted} expected, got nil"))?;
        }
        match option {
            b'x' => {
                out.extend(&[0])?;
                continue;
            }
            b'f' => {
                let bits = (args.number(arg)? as f32).to_bits();
                format.put(&mut out, bits.into(), size)?;
            }
            b'd' => format.put(&mut out, args.number(arg)?.to_bits(), size)?,
            b'c' | b's' => {
                let text = args.text(arg)?;
                let size = if size == 0 { text.len() } else { size };
                args.check(text.len() >= size, arg + 1, "string too short")?;
                text[..size].chunks(PIECE_BYTES).try_for_each(|piece| out.extend(piece))?;
                if option == b's' {
                    out.extend(&[0])?;
                }
            }
            _ if INTEGERS.contains(&option) => {
                format.put(&mut out, to_unsigned(args.number(arg)?), size)?;
            }
            _ => {
                format.control(args, option)?;
                continue;
            }
        }
        arg += 1;
    }
    out.push_to(results)
}

/// A number as C's `unsigned long`, also where C leaves the result to the processor.
fn to_unsigned(number: f64) -> u64 {
    const END: f64 = 18_446_744_073_709_551_616.0;
    match number {
        n if n.is_nan() || n < 0.0 => truncated(n) as u64,
        n if n >= END => 0,
        n => n as u64,
    }
}

/// Pushes a text as a result.
fn push_text(lua: &Lua, args: &Args, bytes: &[u8], results: &mut Stack) -> LibResult {
    args.guard().tick(lua, bytes.len() / BYTES_A_STEP)?;
    args.guard().push_text(lua, bytes, results)
}

fn unpack(lua: &Lua, args: &Args, results: &mut Stack) -> LibResult {
    let (format, data) = (args.text(0)?, args.text(1)?);
    let position = args.int_or(2, 1)?;
    // Unsigned, so a negative one is far behind the end.
    let position = position as usize;
    args.check(position > 0, 2, "offset must be 1 or greater")?;
    let mut at = position - 1;
    let mut format = Format::new(&format);
    while let Some(Item { option, mut size, padding }) = format.next(at)? {
        args.guard().tick(lua, 1)?;
        at = at.saturating_add(padding);
        let bytes = data.get(at..).and_then(|rest| rest.get(..size));
        let bytes = bytes.ok_or_else(|| args.bad(1, "data string too short"))?;
        if results.len() >= MAX_VALUES {
            return Err("stack overflow (too many results)".into());
        }
        match option {
            b'x' => {}
            b'f' => results.push_number(f32::from_bits(format.get(bytes) as u32).into())?,
            b'd' => results.push_number(f64::from_bits(format.get(bytes)))?,
            b'c' if size == 0 => {
                let previous = (results.len() > 0).then(|| results.top());
                let Some(Seen::Number(previous)) = previous else {
                    return Err("format 'c0' needs a previous size".into());
                };
                size = truncated(previous) as usize;
                results.pop(1);
                let bytes = data.get(at..).and_then(|rest| rest.get(..size));
                let bytes = bytes.ok_or_else(|| args.bad(1, "data string too short"))?;
                push_text(lua, args, bytes, results)?;
            }
            b'c' => push_text(lua, args, bytes, results)?,
            b's' => {
                let rest = &data[at..];
                let len = memchr::memchr(0, rest).ok_or("unfinished string in data")?;
                push_text(lua, args, &rest[..len], results)?;
                size = len + 1;
            }
            _ if !INTEGERS.contains(&option) => format.control(args, option)?,
            _ => {
                let n = format.get(bytes);
                let unused = 64 - 8 * size.clamp(1, 8) as u32;
                let number = match option.is_ascii_lowercase() {
                    true => ((n << unused) as i64 >> unused) as f64,
                    false => n as f64,
                };
                results.push_number(number)?;
            }
        }
        at += size;
    }
    Ok(results.push_number((at as i64 + 1) as f64)?)
}

fn size(lua: &Lua, args: &Args, results: &mut Stack) -> LibResult {
    let format = args.text(0)?;
    let mut format = Format::new(&format);
    let mut total = 0usize;
    while let Some(Item { option, size, padding }) = format.next(total)? {
        args.guard().tick(lua, 1)?;
        args.check(option != b's', 0, "option 's' has no fixed size")?;
        args.check(option != b'c' || size > 0, 0, "option 'c0' has no fixed size")?;
        if !option.is_ascii_alphanumeric() {
            format.control(args, option)?;
        }
        total = total.saturating_add(padding + size);
    }
    Ok(results.push_number(total as f64)?)
}
