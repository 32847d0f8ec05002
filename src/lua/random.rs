//! `math.random`: the generator of `lrand48`, which gives the same numbers for the same seed on every machine.

use super::args::Args;
use super::error::LibResult;
use crate::sys::lua_stack::Stack;
use mlua::{Lua, Table};
use std::cell::Cell;
use std::rc::Rc;

const MULTIPLIER: u64 = 0x5_deec_e66d;
const INCREMENT: u64 = 0xb;
const STATE: u64 = (1 << 48) - 1;
/// What the low bits start with, whatever the seed.
const SEED_LOW: u64 = 0x330e;

/// The state before any seed is set.
const UNSEEDED: u64 = 0x1234_abcd_330e;

fn seeded(seed: i32) -> u64 {
    u64::from(seed as u32) << 16 | SEED_LOW
}

/// The next number: 31 bits.
fn next(state: &Cell<u64>) -> u64 {
    state.set(state.get().wrapping_mul(MULTIPLIER).wrapping_add(INCREMENT) & STATE);
    state.get() >> 17
}

fn random(state: &Cell<u64>, args: &Args, results: &mut Stack) -> LibResult {
    const MAX: u64 = i32::MAX as u64;
    let r = (next(state) % MAX) as f64 / MAX as f64;
    let number = match args.len() {
        0 => r,
        1 => {
            let upper = f64::from(args.int32(0)?);
            args.check(upper >= 1.0, 0, "interval is empty")?;
            (r * upper).floor() + 1.0
        }
        2 => {
            let (lower, upper) = (args.int32(0)?, args.int32(1)?);
            args.check(lower <= upper, 1, "interval is empty")?;
            // In C's `int`s, which wrap.
            let width = upper.wrapping_sub(lower).wrapping_add(1);
            (r * f64::from(width)).floor() + f64::from(lower)
        }
        _ => return Err("wrong number of arguments".into()),
    };
    Ok(results.push_number(number)?)
}

/// The functions `random` and `randomseed`.
pub fn library(lua: &Lua) -> mlua::Result<Table> {
    let state = Rc::new(Cell::new(UNSEEDED));
    let table = lua.create_table()?;
    let own = Rc::clone(&state);
    table.set(
        "random",
        super::args::native(lua, move |_, args, results| random(&own, args, results))?,
    )?;
    let seed = move |_: &Lua, args: &Args, _: &mut Stack| {
        state.set(seeded(args.int32(0)?));
        Ok(())
    };
    table.set("randomseed", super::args::native(lua, seed)?)?;
    Ok(table)
}
