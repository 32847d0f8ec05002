//! What the commands' arguments have in common: numbers, timeouts, expiry times, database indices; each with the
//! error that Redis answers where an argument is none.

use crate::resp::error::{CommandError, CommandResult};
use crate::util::long_double::LongDouble;
use crate::util::number::{parse_f64, parse_i64};

/// Whether an argument is this option, which is written in capitals.
#[inline]
pub fn is(arg: &[u8], option: &str) -> bool {
    arg.eq_ignore_ascii_case(option.as_bytes())
}

/// An integer of 64 bits.
#[inline]
pub fn int(arg: &[u8]) -> CommandResult<i64> {
    parse_i64(arg).ok_or(CommandError::NOT_AN_INTEGER)
}

/// An integer between two bounds, both included. `message`: the error in place of the usual ones.
pub fn int_between(
    arg: &[u8],
    min: i64,
    max: i64,
    message: Option<&'static str>,
) -> CommandResult<i64> {
    let error = |usual: CommandError| message.map_or(usual, CommandError::err);
    let n = int(arg).map_err(error)?;
    if (min..=max).contains(&n) {
        return Ok(n);
    }
    Err(error(CommandError::err_with(format!(
        "value is out of range, value must between {min} and {max}"
    ))))
}

/// An integer that is not negative. `message`: the error in place of the usual ones.
pub fn positive(arg: &[u8], message: Option<&'static str>) -> CommandResult<i64> {
    let out_of_range = message.unwrap_or("value is out of range, must be positive");
    int_between(arg, 0, i64::MAX, Some(out_of_range))
}

/// An integer of 32 bits, as database indices are. `message`: the error in place of the usual ones.
pub fn int32(arg: &[u8], message: Option<&'static str>) -> CommandResult<i32> {
    let n = int_between(arg, i32::MIN.into(), i32::MAX.into(), message)?;
    Ok(n as i32)
}

/// The index of one of `databases` databases.
pub fn db_index(arg: &[u8], databases: usize) -> CommandResult<usize> {
    existing_db(int32(arg, None)?, databases)
}

/// The index of a database, if there is one of this number.
pub fn existing_db(number: i32, databases: usize) -> CommandResult<usize> {
    match usize::try_from(number) {
        Ok(index) if index < databases => Ok(index),
        _ => Err(CommandError::err("DB index is out of range")),
    }
}

/// The sum that an `INCRBYFLOAT` of any kind leaves behind: a number.
pub fn sum_of_increment(old: LongDouble, increment: LongDouble) -> CommandResult<LongDouble> {
    let sum = old + increment;
    match sum.is_nan() || sum.is_inf() {
        true => Err(CommandError::err("increment would produce NaN or Infinity")),
        false => Ok(sum),
    }
}

/// A double; infinities are doubles, NaN is none.
pub fn float(arg: &[u8]) -> CommandResult<f64> {
    parse_f64(arg).ok_or(CommandError::NOT_A_FLOAT)
}

/// A number in the precision that `INCRBYFLOAT` and `HINCRBYFLOAT` compute with.
pub fn long_double(arg: &[u8]) -> CommandResult<LongDouble> {
    LongDouble::parse(arg).ok_or(CommandError::NOT_A_FLOAT)
}

/// The `[COUNT count]` at the end of `LMPOP` and its like; 1 if it is missing. Read word by word, so that of two
/// faults the first is told.
pub fn pop_count(options: &[&[u8]]) -> CommandResult<usize> {
    const TOO_FEW: &str = "count should be greater than 0";
    let count = match options {
        [] => return Ok(1),
        [option, count, ..] if is(option, "COUNT") => {
            int_between(count, 1, i64::MAX, Some(TOO_FEW))?
        }
        _ => return Err(CommandError::SYNTAX),
    };
    match options.len() {
        2 => Ok(usize::try_from(count).unwrap_or(usize::MAX)),
        _ => Err(CommandError::SYNTAX),
    }
}

/// What an argument that stands for a time counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    Seconds,
    Milliseconds,
}

/// How long a client is willing to block: when that ends, in milliseconds since 1970, or `None` for never (0).
/// Seconds may have a fraction.
pub fn timeout(arg: &[u8], unit: Unit, now_ms: i64) -> CommandResult<Option<i64>> {
    let end = timeout_end(arg, unit, now_ms)?;
    Ok((end > now_ms).then_some(end))
}

/// The same, where 0 is no time at all.
pub fn timeout_end(arg: &[u8], unit: Unit, now_ms: i64) -> CommandResult<i64> {
    const OUT_OF_RANGE: CommandError = CommandError::err("timeout is out of range");
    let wait = match unit {
        Unit::Seconds => {
            let ms = parse_f64(arg).map(|seconds| seconds * 1000.0).or_else(|| wide_float(arg));
            let ms = ms.ok_or(CommandError::err("timeout is not a float or out of range"))?;
            if ms >= i64::MAX as f64 {
                return Err(OUT_OF_RANGE);
            }
            ms.ceil() as i64
        }
        Unit::Milliseconds => {
            parse_i64(arg).ok_or(CommandError::err("timeout is not an integer or out of range"))?
        }
    };
    match wait {
        ..0 => Err(CommandError::err("timeout is negative")),
        _ => now_ms.checked_add(wait).ok_or(OUT_OF_RANGE),
    }
}

/// A number beyond what a double holds, though not a long double: as good as infinite, or as zero.
fn wide_float(arg: &[u8]) -> Option<f64> {
    let text = LongDouble::parse(arg)?.to_human();
    let is_small = text.trim_start_matches('-').starts_with('0');
    let size = if is_small { f64::MIN_POSITIVE } else { f64::INFINITY };
    Some(if arg.starts_with(b"-") { -size } else { size })
}

/// The options that give a key an expiry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExpireOption {
    Ex,
    Px,
    ExAt,
    PxAt,
}

impl ExpireOption {
    /// The option that an argument names.
    pub fn parse(arg: &[u8]) -> Option<ExpireOption> {
        let options = [
            ("EX", ExpireOption::Ex),
            ("PX", ExpireOption::Px),
            ("EXAT", ExpireOption::ExAt),
            ("PXAT", ExpireOption::PxAt),
        ];
        options.into_iter().find(|(name, _)| is(arg, name)).map(|(_, option)| option)
    }

    /// Whether the time is a point in time, not a distance from now.
    pub fn is_absolute(self) -> bool {
        matches!(self, ExpireOption::ExAt | ExpireOption::PxAt)
    }
}

/// The expiry that an option and its argument mean, in milliseconds since 1970. `command`: its name in lower case, for
/// the error.
pub fn parse_expire(
    option: ExpireOption,
    arg: &[u8],
    now_ms: i64,
    command: &str,
) -> CommandResult<i64> {
    let n = int(arg)?;
    let at = match option {
        _ if n <= 0 => None,
        ExpireOption::Ex => n.checked_mul(1000).and_then(|ms| ms.checked_add(now_ms)),
        ExpireOption::Px => n.checked_add(now_ms),
        ExpireOption::ExAt => n.checked_mul(1000),
        ExpireOption::PxAt => Some(n),
    };
    at.ok_or_else(|| invalid_expire(command))
}

/// The error for a time that is no expiry.
pub fn invalid_expire(command: &str) -> CommandError {
    CommandError::err_with(format!("invalid expire time in '{command}' command"))
}

/// A cursor of the `SCAN` family: an unsigned number of 64 bits, read as `strtoul` does.
pub fn cursor(arg: &[u8]) -> CommandResult<u64> {
    const INVALID: CommandError = CommandError::err("invalid cursor");
    let (negative, digits) = match arg {
        [] => return Ok(0),
        [b'-', digits @ ..] => (true, digits),
        [b'+', digits @ ..] => (false, digits),
        digits => (false, digits),
    };
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return Err(INVALID);
    }
    let text = std::str::from_utf8(digits).map_err(|_| INVALID)?;
    let n: u64 = text.parse().map_err(|_| INVALID)?;
    Ok(if negative { n.wrapping_neg() } else { n })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text<T>(result: CommandResult<T>) -> String {
        result.err().map(|error| error.to_string()).unwrap_or_default()
    }

    #[test]
    fn integers_and_their_bounds() {
        assert_eq!(int(b"-9223372036854775808"), Ok(i64::MIN));
        for bad in [&b""[..], b" 1", b"1 ", b"+1", b"01", b"1.0", b"9223372036854775808"] {
            assert_eq!(text(int(bad)), "ERR value is not an integer or out of range");
        }
        assert_eq!(int_between(b"3", 1, 3, None), Ok(3));
        let error = "ERR value is out of range, value must between 1 and 3";
        assert_eq!(text(int_between(b"4", 1, 3, None)), error);
        assert_eq!(text(int_between(b"x", 1, 3, Some("no"))), "ERR no");
        assert_eq!(text(positive(b"-1", None)), "ERR value is out of range, must be positive");
        assert_eq!(db_index(b"15", 16), Ok(15));
        assert_eq!(text(db_index(b"16", 16)), "ERR DB index is out of range");
        assert_eq!(text(db_index(b"-1", 16)), "ERR DB index is out of range");
    }

    #[test]
    fn timeouts() {
        assert_eq!(timeout(b"0", Unit::Seconds, 100), Ok(None));
        assert_eq!(timeout(b"0.0001", Unit::Seconds, 100), Ok(Some(101)));
        assert_eq!(timeout(b"1.5", Unit::Seconds, 100), Ok(Some(1600)));
        assert_eq!(timeout(b"7", Unit::Milliseconds, 100), Ok(Some(107)));
        for (arg, unit, error) in [
            ("x", Unit::Seconds, "ERR timeout is not a float or out of range"),
            ("1.5", Unit::Milliseconds, "ERR timeout is not an integer or out of range"),
            ("-1", Unit::Seconds, "ERR timeout is negative"),
            ("inf", Unit::Seconds, "ERR timeout is out of range"),
            ("9223372036854775807", Unit::Milliseconds, "ERR timeout is out of range"),
        ] {
            assert_eq!(text(timeout(arg.as_bytes(), unit, 100)), error);
        }
    }

    #[test]
    fn expiry_times() {
        let now = 1_000_000;
        for (option, arg, at) in [
            ("ex", "10", Some(1_010_000)),
            ("PX", "10", Some(1_000_010)),
            ("ExAt", "10", Some(10_000)),
            ("pxat", "10", Some(10)),
            ("EX", "0", None),
            ("PX", "-1", None),
            ("EX", "9223372036854775", None),
            ("EXAT", "9223372036854776", None),
            ("PX", "9223372036854775807", None),
            ("PXAT", "9223372036854775807", Some(i64::MAX)),
        ] {
            let option = ExpireOption::parse(option.as_bytes()).unwrap();
            let parsed = parse_expire(option, arg.as_bytes(), now, "set");
            assert_eq!(parsed, at.ok_or(invalid_expire("set")), "{option:?} {arg}");
        }
        assert_eq!(ExpireOption::parse(b"EXA"), None);
    }

    #[test]
    fn cursors() {
        for (arg, n) in [("0", 0), ("", 0), ("18446744073709551615", u64::MAX), ("-1", u64::MAX)] {
            assert_eq!(cursor(arg.as_bytes()), Ok(n));
        }
        for bad in ["a", " 1", "1 ", "-", "18446744073709551616"] {
            assert_eq!(text(cursor(bad.as_bytes())), "ERR invalid cursor");
        }
    }
}
