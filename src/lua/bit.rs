//! `bit`: operations on the low 32 bits of numbers, as in Lua BitOp.

use super::args::{Args, NativeFn};
use super::error::LibResult;
use crate::sys::lua_stack::Stack;
use mlua::Lua;

/// An argument's low 32 bits. Fractions are rounded to the nearest, half to even.
fn bits(args: &Args, at: usize) -> LibResult<i32> {
    // Added to a number up to 2^51 it leaves the integer in the low bits of the mantissa; of larger ones BitOp takes
    // whatever is there, too.
    const MAGIC: f64 = 6_755_399_441_055_744.0; // 2^52 + 2^51
    Ok((args.number(at)? + MAGIC).to_bits() as i32)
}

fn number(n: i32, results: &mut Stack) -> LibResult {
    Ok(results.push_number(f64::from(n))?)
}

fn fold(args: &Args, results: &mut Stack, operation: fn(i32, i32) -> i32) -> LibResult {
    let mut result = bits(args, 0)?;
    // From the last on, which decides what bad argument is reported.
    for at in (1..args.len()).rev() {
        result = operation(result, bits(args, at)?);
    }
    number(result, results)
}

fn shift(args: &Args, results: &mut Stack, operation: fn(i32, u32) -> i32) -> LibResult {
    number(operation(bits(args, 0)?, bits(args, 1)? as u32 & 31), results)
}

fn tohex(_: &Lua, args: &Args, results: &mut Stack) -> LibResult {
    let number = bits(args, 0)?;
    let digits = if args.len() < 2 { 8 } else { bits(args, 1)? };
    let wanted = digits.unsigned_abs().min(8) as usize;
    let text = format!("{number:08x}");
    let text = &text[8 - wanted..];
    let text = if digits < 0 { text.to_uppercase() } else { text.to_string() };
    Ok(results.push_text(text.as_bytes())?)
}

pub const FUNCTIONS: &[(&str, NativeFn)] = &[
    ("tobit", |_, args, results| number(bits(args, 0)?, results)),
    ("bnot", |_, args, results| number(!bits(args, 0)?, results)),
    ("band", |_, args, results| fold(args, results, |a, b| a & b)),
    ("bor", |_, args, results| fold(args, results, |a, b| a | b)),
    ("bxor", |_, args, results| fold(args, results, |a, b| a ^ b)),
    ("lshift", |_, args, results| shift(args, results, |a, n| a << n)),
    ("rshift", |_, args, results| shift(args, results, |a, n| (a as u32 >> n) as i32)),
    ("arshift", |_, args, results| shift(args, results, |a, n| a >> n)),
    ("rol", |_, args, results| shift(args, results, |a, n| a.rotate_left(n))),
    ("ror", |_, args, results| shift(args, results, |a, n| a.rotate_right(n))),
    ("bswap", |_, args, results| number(bits(args, 0)?.swap_bytes(), results)),
    ("tohex", tohex),
];
