//! BITFIELD and BITFIELD_RO: integers of 1 to 64 bits anywhere in a string.

use super::args::{self, is};
use super::bits::{bit_offset, grow};
use super::string::string_bytes;
use crate::db::notify::Class;
use crate::resp::error::{CommandError, CommandResult};
use crate::resp::reply::Reply;
use crate::server::Server;
use crate::server::call::Call;
use crate::server::table::Row;
use crate::util::bitmap;
use crate::util::number::parse_i64;

const BAD_TYPE: CommandError = CommandError::err(
    "Invalid bitfield type. Use something like i16 u8. Note that u64 is not supported but i64 is.",
);

/// What happens to a value that does not fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Overflow {
    Wrap,
    /// It becomes the largest or smallest that does.
    Saturate,
    /// Nothing is written, and the reply is null.
    Fail,
}

/// An integer's type: `i16`, `u8`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Width {
    signed: bool,
    bits: u32,
}

impl Width {
    fn parse(arg: &[u8]) -> CommandResult<Width> {
        let (signed, digits) = match arg {
            [b'i', digits @ ..] => (true, digits),
            [b'u', digits @ ..] => (false, digits),
            _ => return Err(BAD_TYPE),
        };
        let max = if signed { 64 } else { 63 };
        match parse_i64(digits) {
            Some(bits) if (1..=max).contains(&bits) => Ok(Width { signed, bits: bits as u32 }),
            _ => Err(BAD_TYPE),
        }
    }

    /// The integer that these bits are.
    fn read(self, bits: u64) -> i128 {
        let unused = 64 - self.bits;
        if self.signed { i128::from((bits << unused) as i64 >> unused) } else { i128::from(bits) }
    }

    /// The integer that is stored for `n`, if any is.
    fn fit(self, n: i128, overflow: Overflow) -> Option<i128> {
        let (min, max) = match self.signed {
            true => (-1i128 << (self.bits - 1), (1i128 << (self.bits - 1)) - 1),
            false => (0, (1i128 << self.bits) - 1),
        };
        if (min..=max).contains(&n) {
            return Some(n);
        }
        match overflow {
            // Bits above the width count for nothing.
            Overflow::Wrap => Some(self.read(n as u64 & (u64::MAX >> (64 - self.bits)))),
            Overflow::Saturate => Some(n.clamp(min, max)),
            Overflow::Fail => None,
        }
    }
}

/// What is done with an integer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Action {
    Get,
    Set(i64),
    IncrBy(i64),
}

#[derive(Clone, Copy, Debug)]
struct Operation {
    action: Action,
    width: Width,
    offset: u64,
    overflow: Overflow,
}

impl Operation {
    /// Does it; returns whether that is a change, as any write is if the string has `grown` for it. The reply is the
    /// integer before (GET, SET) or after (INCRBY).
    fn apply(self, bytes: &mut [u8], grown: bool, reply: &mut Reply) -> bool {
        let old = self.width.read(bitmap::field(bytes, self.offset, self.width.bits));
        let wanted = match self.action {
            Action::Get => old,
            // An unsigned integer that is set to a negative one is set to a very large one.
            Action::Set(n) if self.width.signed => i128::from(n),
            Action::Set(n) => i128::from(n as u64),
            Action::IncrBy(n) => old + i128::from(n),
        };
        let Some(new) = self.width.fit(wanted, self.overflow) else {
            reply.null();
            return false;
        };
        reply.int(if matches!(self.action, Action::IncrBy(_)) { new } else { old } as i64);
        if self.action == Action::Get {
            return false;
        }
        bitmap::set_field(bytes, self.offset, self.width.bits, new as u64);
        grown || new != old
    }
}

fn bitfield(s: &mut Server, call: &mut Call, args: &[&[u8]]) -> CommandResult {
    let operations = parse(s, call, args)?;
    match operations.iter().any(|operation| operation.action != Action::Get) {
        true => write(s, call, args[1], &operations),
        false => read(s, call, args[1], &operations),
    }
}

fn bitfield_ro(s: &mut Server, call: &mut Call, args: &[&[u8]]) -> CommandResult {
    let operations = parse(s, call, args)?;
    if operations.iter().any(|operation| operation.action != Action::Get) {
        return Err(CommandError::err("BITFIELD_RO only supports the GET subcommand"));
    }
    read(s, call, args[1], &operations)
}

fn parse(s: &mut Server, call: &mut Call, args: &[&[u8]]) -> CommandResult<Vec<Operation>> {
    let mut operations = Vec::with_capacity(args.len() / 3);
    let mut overflow = Overflow::Wrap;
    let mut rest = &args[2..];
    while !rest.is_empty() {
        let (width, offset, number) = match *rest {
            [get, width, offset, ref after @ ..] if is(get, "GET") => {
                rest = after;
                (width, offset, None)
            }
            [name, width, offset, n, ref after @ ..] if is(name, "SET") => {
                rest = after;
                (width, offset, Some((Action::Set as fn(i64) -> Action, n)))
            }
            [name, width, offset, n, ref after @ ..] if is(name, "INCRBY") => {
                rest = after;
                (width, offset, Some((Action::IncrBy as fn(i64) -> Action, n)))
            }
            [name, how, ref after @ ..] if is(name, "OVERFLOW") => {
                rest = after;
                overflow = match how {
                    _ if is(how, "WRAP") => Overflow::Wrap,
                    _ if is(how, "SAT") => Overflow::Saturate,
                    _ if is(how, "FAIL") => Overflow::Fail,
                    _ => return Err(CommandError::err("Invalid OVERFLOW type specified")),
                };
                continue;
            }
            _ => return Err(CommandError::SYNTAX),
        };
        let width = Width::parse(width)?;
        let offset = bit_offset(s, call, offset, Some(width.bits))?;
        let action = match number {
            Some((action, n)) => action(args::int(n)?),
            None => Action::Get,
        };
        operations.push(Operation { action, width, offset, overflow });
    }
    Ok(operations)
}

fn read(s: &mut Server, call: &mut Call, key: &[u8], operations: &[Operation]) -> CommandResult {
    let digits = &mut itoa::Buffer::new();
    let bytes = match s.ks.read_string(call.db, key)? {
        Some(value) => string_bytes(value, digits),
        None => b"",
    };
    call.reply.array(operations.len());
    for Operation { width, offset, .. } in operations {
        call.reply.int(width.read(bitmap::field(bytes, *offset, width.bits)) as i64);
    }
    Ok(())
}

fn write(s: &mut Server, call: &mut Call, key: &[u8], operations: &[Operation]) -> CommandResult {
    // Room for the farthest bit that may be written.
    let writes = operations.iter().filter(|operation| operation.action != Action::Get);
    let ends =
        writes.map(|operation| operation.offset.saturating_add(u64::from(operation.width.bits)));
    let len = ends.max().unwrap_or(0).div_ceil(8);
    let reply = &mut call.reply;
    let mut changes = 0;
    let mut apply = |bytes: &mut Vec<u8>| {
        let grown = (bytes.len() as u64) < len;
        grow(bytes, len)?;
        reply.array(operations.len());
        for operation in operations {
            changes += u64::from(operation.apply(bytes, grown, reply));
        }
        CommandResult::Ok(())
    };
    match s.ks.write_string(call.db, key)? {
        Some(mut found) => {
            let mut outcome = Ok(());
            found.update(|entry| entry.modify_string(|bytes| outcome = apply(bytes)));
            outcome?;
        }
        None => {
            let mut bytes = Vec::new();
            apply(&mut bytes)?;
            s.ks.add_raw_string(call.db, key, bytes);
        }
    }
    if changes > 0 {
        s.ks.changes.write(Class::STRING, "setbit", call.db, key);
        s.ks.changes.dirty += changes - 1;
    }
    Ok(())
}

pub const COMMANDS: &[Row] = &[("bitfield", bitfield), ("bitfield_ro", bitfield_ro)];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit() {
        let (i8, u8) = (Width::parse(b"i8").unwrap(), Width::parse(b"u8").unwrap());
        for (width, n, wrapped, saturated) in [
            (i8, 127, 127, 127),
            (i8, 128, -128, 127),
            (i8, -129, 127, -128),
            (u8, 256, 0, 255),
            (u8, -1, 255, 0),
            (Width::parse(b"i64").unwrap(), 1 << 63, i128::from(i64::MIN), i128::from(i64::MAX)),
            (Width::parse(b"i1").unwrap(), 1, -1, 0),
            (Width::parse(b"u63").unwrap(), i128::from(u64::MAX), (1 << 63) - 1, (1 << 63) - 1),
        ] {
            assert_eq!(width.fit(n, Overflow::Wrap), Some(wrapped), "{width:?} {n}");
            assert_eq!(width.fit(n, Overflow::Saturate), Some(saturated), "{width:?} {n}");
            assert_eq!(width.fit(n, Overflow::Fail), (n == wrapped).then_some(n), "{width:?} {n}");
        }
        for bad in ["", "i", "u64", "i65", "i0", "x8", "i-1", "i08"] {
            assert_eq!(Width::parse(bad.as_bytes()), Err(BAD_TYPE), "{bad}");
        }
    }
}
