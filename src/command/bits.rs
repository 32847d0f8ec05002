//! Strings as bitmaps: SETBIT, GETBIT, BITCOUNT, BITPOS, BITOP. Integers inside of them are [`bitfield`]'s.
//!
//! [`bitfield`]: super::bitfield

use super::args::{self, is};
use super::keys::delete_destination;
use super::string::{make_room, string_bytes};
use crate::db::notify::Class;
use crate::resp::error::{CommandError, CommandResult};
use crate::server::Server;
use crate::server::call::Call;
use crate::server::client::ClientFlags;
use crate::server::table::Row;
use crate::util::bitmap::{self, Combine};
use crate::util::number::parse_i64;

const BAD_OFFSET: CommandError = CommandError::err("bit offset is not an integer or out of range");
const BAD_BIT: CommandError = CommandError::err("bit is not an integer or out of range");

/// The offset of a bit; `#n` is `n` times `width`, where that is given. It lies within the largest string that there
/// may be, except where the primary says otherwise.
pub(super) fn bit_offset(
    s: &mut Server,
    call: &mut Call,
    arg: &[u8],
    width: Option<u32>,
) -> CommandResult<u64> {
    let offset = match (arg, width) {
        ([b'#', n @ ..], Some(width)) => parse_i64(n).and_then(|n| n.checked_mul(i64::from(width))),
        _ => parse_i64(arg),
    };
    let offset = offset.and_then(|offset| u64::try_from(offset).ok()).ok_or(BAD_OFFSET)?;
    if offset / 8 >= s.config.proto_max_bulk_len && !s.client(call).is(ClientFlags::MASTER) {
        return Err(BAD_OFFSET);
    }
    Ok(offset)
}

/// Appends zeros until there are `len` bytes. An error if memory is short.
pub(super) fn grow(bytes: &mut Vec<u8>, len: u64) -> CommandResult {
    let len = usize::try_from(len).map_err(|_| CommandError::TOO_LONG)?;
    if len > bytes.len() {
        make_room(bytes, len - bytes.len())?;
        bytes.resize(len, 0);
    }
    Ok(())
}

fn setbit(s: &mut Server, call: &mut Call, args: &[&[u8]]) -> CommandResult {
    let (key, offset) = (args[1], bit_offset(s, call, args[2], None)?);
    let bit = match args::int(args[3]) {
        Ok(0) => 0,
        Ok(1) => 1,
        _ => return Err(BAD_BIT),
    };
    let len = offset / 8 + 1;
    let old = match s.ks.write_string(call.db, key)? {
        None => {
            let mut bytes = Vec::new();
            grow(&mut bytes, len)?;
            bitmap::set_field(&mut bytes, offset, 1, bit);
            s.ks.add_raw_string(call.db, key, bytes);
            0
        }
        Some(mut found) => {
            let (mut old, mut grown, mut outcome) = (0, false, Ok(()));
            found.update(|entry| {
                entry.modify_string(|bytes| {
                    old = bitmap::field(bytes, offset, 1);
                    grown = (bytes.len() as u64) < len;
                    outcome = grow(bytes, len);
                    if outcome.is_ok() {
                        bitmap::set_field(bytes, offset, 1, bit);
                    }
                })
            });
            outcome?;
            if old == bit && !grown {
                call.reply.int(old as i64);
                return Ok(());
            }
            old
        }
    };
    s.ks.changes.write(Class::STRING, "setbit", call.db, key);
    call.reply.int(old as i64);
    Ok(())
}

fn getbit(s: &mut Server, call: &mut Call, args: &[&[u8]]) -> CommandResult {
    let offset = bit_offset(s, call, args[2], None)?;
    let bit = match s.ks.read_string(call.db, args[1])? {
        Some(value) => bitmap::field(string_bytes(value, &mut itoa::Buffer::new()), offset, 1),
        None => 0,
    };
    call.reply.int(bit as i64);
    Ok(())
}

/// `[start [end [BIT|BYTE]]]`, as BITCOUNT and BITPOS have it.
struct Span {
    start: i64,
    end: Option<i64>,
    in_bits: bool,
}

impl Span {
    fn parse(args: &[&[u8]]) -> CommandResult<Span> {
        let (start, end, unit): (_, _, &[u8]) = match *args {
            [] => return Ok(Span { start: 0, end: None, in_bits: false }),
            [start] => (start, None, b"BYTE"),
            [start, end] => (start, Some(end), b"BYTE"),
            [start, end, unit] => (start, Some(end), unit),
            _ => return Err(CommandError::SYNTAX),
        };
        let start = args::int(start)?;
        let in_bits = match unit {
            unit if is(unit, "BIT") => true,
            unit if is(unit, "BYTE") => false,
            _ => return Err(CommandError::SYNTAX),
        };
        Ok(Span { start, end: end.map(args::int).transpose()?, in_bits })
    }

    /// The first and the last bit of a string of `len` bytes that are meant; `None` if there are none.
    fn resolve(&self, len: usize) -> Option<(u64, u64)> {
        let unit = if self.in_bits { 1 } else { 8 };
        let total = len as i64 * 8 / unit;
        let absolute = |at: i64| if at < 0 { (total + at).max(0) } else { at };
        let start = absolute(self.start);
        let end = absolute(self.end.unwrap_or(-1)).min(total - 1);
        (start <= end).then(|| ((start * unit) as u64, (end * unit + unit - 1) as u64))
    }
}

fn bitcount(s: &mut Server, call: &mut Call, args: &[&[u8]]) -> CommandResult {
    if args.len() == 3 && !s.config.flavour.bitcount_takes_start_alone {
        return Err(CommandError::SYNTAX);
    }
    if let [_, _, start, end] | [_, _, start, end, _] = args {
        // Judged before the unit, unlike those of BITPOS.
        args::int(start)?;
        args::int(end)?;
    }
    let span = Span::parse(&args[2..])?;
    // Both counted from the end, and in the wrong order: not what is left of it when the start is cut off.
    let reversed = span.start < 0 && span.end.is_some_and(|end| end < 0 && span.start > end);
    let value = s.ks.read_string(call.db, args[1])?;
    let mut n = 0;
    if let Some(value) = value.filter(|_| !reversed) {
        let digits = &mut itoa::Buffer::new();
        let bytes = string_bytes(value, digits);
        if let Some((first, last)) = span.resolve(bytes.len()) {
            n = bitmap::count_range(bytes, first, last);
        }
    }
    call.reply.int(n as i64);
    Ok(())
}

fn bitpos(s: &mut Server, call: &mut Call, args: &[&[u8]]) -> CommandResult {
    let wanted = match args::int(args[2])? {
        0 => false,
        1 => true,
        _ => return Err(CommandError::err("The bit argument must be 1 or 0.")),
    };
    let span = Span::parse(&args[3..])?;
    let Some(value) = s.ks.read_string(call.db, args[1])? else {
        // An endless row of zeros.
        call.reply.int(if wanted { -1 } else { 0 });
        return Ok(());
    };
    let digits = &mut itoa::Buffer::new();
    let bytes = string_bytes(value, digits);
    let at = span.resolve(bytes.len()).and_then(|(first, last)| {
        let behind = (!wanted && span.end.is_none()).then_some(bytes.len() as u64 * 8);
        bitmap::find(bytes, first, last, wanted).or(behind)
    });
    call.reply.int(at.map_or(-1, |at| at as i64));
    Ok(())
}

/// The operations of `BITOP`; those of Redis 8.2 set one bitmap against all others, or count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operation {
    All(Combine),
    Not,
    /// In the first, and in none of the others.
    Diff,
    /// In one of the others, and not in the first.
    Diff1,
    /// In the first, and in one of the others.
    AndOr,
    /// In exactly one.
    One,
}

impl Operation {
    fn parse(name: &[u8]) -> CommandResult<Operation> {
        Ok(match name {
            _ if is(name, "AND") => Operation::All(Combine::And),
            _ if is(name, "OR") => Operation::All(Combine::Or),
            _ if is(name, "XOR") => Operation::All(Combine::Xor),
            _ if is(name, "NOT") => Operation::Not,
            _ if is(name, "DIFF") => Operation::Diff,
            _ if is(name, "DIFF1") => Operation::Diff1,
            _ if is(name, "ANDOR") => Operation::AndOr,
            _ if is(name, "ONE") => Operation::One,
            _ => return Err(CommandError::SYNTAX),
        })
    }

    /// How bitmaps that come one by one are taken into what has been gathered of them.
    fn gathering(self) -> Combine {
        match self {
            Operation::All(how) => how,
            _ => Combine::Or,
        }
    }
}

fn bitop(s: &mut Server, call: &mut Call, args: &[&[u8]]) -> CommandResult {
    let (operation, target, sources) = (Operation::parse(args[1])?, args[2], &args[3..]);
    match operation {
        Operation::Not if sources.len() != 1 => {
            return Err(CommandError::err("BITOP NOT must be called with a single source key."));
        }
        Operation::Diff | Operation::Diff1 | Operation::AndOr if sources.len() < 2 => {
            let name = args[1].to_ascii_uppercase().escape_ascii().to_string();
            return Err(CommandError::err_with(format!(
                "BITOP {name} must be called with at least two source keys."
            )));
        }
        _ => {}
    }
    let sets_apart = matches!(operation, Operation::Diff | Operation::Diff1 | Operation::AndOr);
    let (mut first, mut gathered, mut twice) = (Vec::new(), None::<Vec<u8>>, Vec::new());
    for (i, source) in sources.iter().enumerate() {
        let value = s.ks.read_string(call.db, source)?;
        let digits = &mut itoa::Buffer::new();
        let bytes = value.map_or(&b""[..], |value| string_bytes(value, digits));
        match &mut gathered {
            _ if sets_apart && i == 0 => first = bytes.to_vec(),
            None => gathered = Some(bytes.to_vec()),
            Some(gathered) => {
                if operation == Operation::One {
                    let mut again = gathered.clone();
                    bitmap::combine(&mut again, bytes, Combine::And);
                    bitmap::combine(&mut twice, &again, Combine::Or);
                }
                bitmap::combine(gathered, bytes, operation.gathering());
            }
        }
    }
    let mut result = gathered.unwrap_or_default();
    match operation {
        Operation::All(_) => {}
        Operation::Not => bitmap::invert(&mut result),
        Operation::One => bitmap::combine(&mut result, &twice, Combine::AndNot),
        Operation::Diff1 => bitmap::combine(&mut result, &first, Combine::AndNot),
        Operation::AndOr => bitmap::combine(&mut result, &first, Combine::And),
        Operation::Diff => {
            bitmap::combine(&mut first, &result, Combine::AndNot);
            result = first;
        }
    }
    let len = result.len();
    if len == 0 {
        delete_destination(s, call, target);
    } else {
        if s.ks.lookup_write(call.db, target).is_none() {
            s.ks.add_raw_string(call.db, target, result);
        } else if let Some(old) = s.ks.set_raw_string(call.db, target, result) {
            s.memory.free_entry(old, s.config.lazyfree_lazy_server_del);
        }
        s.ks.changes.write(Class::STRING, "set", call.db, target);
    }
    call.reply.int(len as i64);
    Ok(())
}

pub const COMMANDS: &[Row] = &[
    ("bitcount", bitcount),
    ("bitop", bitop),
    ("bitpos", bitpos),
    ("getbit", getbit),
    ("setbit", setbit),
];
