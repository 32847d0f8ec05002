//! Numbers in text, with the strictness of Redis: what a client may send as an integer or a float,
//! and how replies, files and sorted sets write them.

use super::hex_float::{is_hex, is_infinity, parse_hex, shift_right_half_even, split_sign};

/// The longest text of an `i64`.
const MAX_I64_CHARS: usize = 20;
/// Room for any [`fmt_f64`].
pub const MAX_F64_CHARS: usize = 32;

/// Parses an integer in its only canonical form (`string2ll`): no space, no `+`, no leading zero,
/// no `-0`.
///
/// So whatever this accepts is written back byte for byte: such a string may be stored as an integer.
pub fn parse_i64(text: &[u8]) -> Option<i64> {
    let (negative, digits) = match text {
        [b'-', digits @ ..] => (true, digits),
        _ => (false, text),
    };
    match digits {
        b"0" if !negative => return Some(0),
        [b'1'..=b'9', ..] if digits.len() < MAX_I64_CHARS => {}
        _ => return None,
    }
    // At most 19 digits: below 10^19, which an u64 holds.
    let mut magnitude = 0u64;
    for &byte in digits {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        magnitude = magnitude * 10 + u64::from(digit);
    }
    if negative { 0i64.checked_sub_unsigned(magnitude) } else { i64::try_from(magnitude).ok() }
}

/// Parses an unsigned integer, more leniently than [`parse_i64`] (`string2ull`): leading zeros, a `+`
/// and white space before it are fine, as in the stream ID `0001- 01`.
pub fn parse_u64(text: &[u8]) -> Option<u64> {
    let is_space = |byte: &u8| matches!(byte, b' ' | b'\t'..=b'\r');
    let start = text.iter().position(|byte| !is_space(byte)).unwrap_or(text.len());
    let digits = text[start..].strip_prefix(b"+").unwrap_or(&text[start..]);
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0u64, |value, &byte| {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        value.checked_mul(10)?.checked_add(u64::from(digit))
    })
}

/// Parses a whole string as strtod would, as Redis accepts doubles (`string2d`).
///
/// Decimal or hexadecimal, and the infinities (`inf`, `+Infinity`, …). None for NaN, white space,
/// anything that follows the number, and for what is too large for a double or so small that it
/// would become zero.
pub fn parse_f64(text: &[u8]) -> Option<f64> {
    let (negative, magnitude) = split_sign(text);
    let value = match *magnitude {
        [b'0', b'x' | b'X', ..] => parse_hex_f64(magnitude).filter(|(_, in_range)| *in_range)?.0,
        // Only now can the standard parser, which takes a sign and `nan` too, see nothing but a
        // number.
        [b'0'..=b'9' | b'.', ..] => parse_decimal_f64(magnitude)?,
        _ if is_infinity(magnitude) => f64::INFINITY,
        _ => return None,
    };
    Some(if negative { -value } else { value })
}

fn parse_decimal_f64(text: &[u8]) -> Option<f64> {
    let value: f64 = std::str::from_utf8(text).ok()?.parse().ok()?;
    let is_zero = || {
        let mantissa = text.iter().take_while(|byte| !matches!(byte, b'e' | b'E'));
        mantissa.into_iter().all(|byte| matches!(byte, b'0' | b'.'))
    };
    let in_range = value.is_finite() && (value != 0.0 || is_zero());
    in_range.then_some(value)
}

/// The value, which is infinite or zero if it is out of a double's range, and whether it is in range.
fn parse_hex_f64(text: &[u8]) -> Option<(f64, bool)> {
    debug_assert!(is_hex(text));
    const MIN_EXPONENT: i64 = -1074;
    const IMPLICIT_BIT: u64 = 1 << 52;
    let binary = parse_hex(text)?;
    let (mantissa, exponent) = binary.round(f64::MANTISSA_DIGITS, MIN_EXPONENT);
    match mantissa {
        0 => Some((0.0, binary.is_zero())),
        _ if exponent > 971 => Some((f64::INFINITY, false)),
        // Subnormal numbers have the smallest exponent, and no implicit bit.
        _ if mantissa < IMPLICIT_BIT => Some((f64::from_bits(mantissa), true)),
        _ => {
            let biased = (exponent - MIN_EXPONENT + 1) as u64;
            Some((f64::from_bits(biased << 52 | (mantissa - IMPLICIT_BIT)), true))
        }
    }
}

/// What follows the white space (C's `isspace`) at the beginning of a text.
pub fn behind_space(text: &[u8]) -> &[u8] {
    let is_space = |byte: &u8| matches!(byte, b' ' | b'\t'..=b'\r');
    &text[text.iter().take_while(|byte| is_space(byte)).count()..]
}

/// The number at the beginning of a text, and how many bytes it takes: what C's strtod makes of it, but for white space
/// before it. Too large is infinite, too small is zero; `nan` is one, too.
pub fn leading_f64(text: &[u8]) -> Option<(f64, usize)> {
    let (negative, magnitude) = split_sign(text);
    let (value, len) = leading_magnitude(magnitude)?;
    Some((if negative { -value } else { value }, text.len() - magnitude.len() + len))
}

fn leading_magnitude(text: &[u8]) -> Option<(f64, usize)> {
    let begins = |word: &[u8]| text.get(..word.len()).is_some_and(|t| t.eq_ignore_ascii_case(word));
    if begins(b"inf") {
        return Some((f64::INFINITY, if begins(b"infinity") { 8 } else { 3 }));
    }
    if begins(b"nan") {
        return Some((f64::NAN, 3));
    }
    if is_hex(text)
        && let Some(len) = number_len(&text[2..], u8::is_ascii_hexdigit, b"pP")
    {
        let (value, _) = parse_hex_f64(&text[..2 + len])?;
        return Some((value, 2 + len));
    }
    let len = number_len(text, u8::is_ascii_digit, b"eE")?;
    let value = std::str::from_utf8(&text[..len]).ok()?.parse().ok()?;
    Some((value, len))
}

/// The length of digits with at most one point, and perhaps an exponent behind them.
fn number_len(text: &[u8], is_digit: fn(&u8) -> bool, exponents: &[u8]) -> Option<usize> {
    let count = |text: &[u8], is_digit: fn(&u8) -> bool| {
        text.iter().take_while(|byte| is_digit(byte)).count()
    };
    let whole = count(text, is_digit);
    let (mut len, mut digits) = (whole, whole);
    if text.get(whole) == Some(&b'.') {
        let fraction = count(&text[whole + 1..], is_digit);
        digits += fraction;
        len += 1 + fraction;
    }
    if digits == 0 {
        return None;
    }
    if let [mark, rest @ ..] = &text[len..]
        && exponents.contains(mark)
    {
        let (_, exponent) = split_sign(rest);
        let digits = count(exponent, u8::is_ascii_digit);
        if digits > 0 {
            len += 1 + (rest.len() - exponent.len()) + digits;
        }
    }
    Some(len)
}

/// Writes a double as Redis 7.2 and later do (`d2string`); returns the part of `buf` that was
/// written.
///
/// The shortest digits that parse back to the same double: `3`, `-0`, `0.1`, `1e-7`, `1.5e+300`,
/// `inf`, `nan`.
pub fn fmt_f64(value: f64, buf: &mut [u8; MAX_F64_CHARS]) -> &[u8] {
    // Beyond this, an f64 might not fit an i64.
    const MAX_INTEGER: f64 = (1u64 << 62) as f64;
    if value == 0.0 || value.abs() > MAX_INTEGER || value.trunc() != value {
        return fmt_shortest_f64(value, buf);
    }
    let mut out = Cursor { buf, len: 0 };
    out.put(itoa::Buffer::new().format(value as i64).as_bytes());
    let len = out.len;
    &buf[..len]
}

/// As [`fmt_f64`], but large integers have exponents, too: `1e+16` (`fpconv_dtoa`).
pub fn fmt_shortest_f64(value: f64, buf: &mut [u8; MAX_F64_CHARS]) -> &[u8] {
    let mut out = Cursor { buf, len: 0 };
    if value.is_nan() {
        out.put(b"nan");
    } else if value.is_infinite() {
        out.put(if value < 0.0 { b"-inf" } else { b"inf" });
    } else if value == 0.0 {
        out.put(if value.is_sign_negative() { b"-0" } else { b"0" });
    } else {
        if value < 0.0 {
            out.put(b"-");
        }
        let mut shortest = zmij::Buffer::new();
        let text = shortest.format_finite(value.abs()).as_bytes();
        if is_plain(text) {
            out.put(text);
        } else {
            let (digits, count, exponent) = split_digits(text);
            put_digits(&mut out, &digits[..count], exponent);
        }
    }
    let len = out.len;
    &buf[..len]
}

/// Would [`put_digits`] lay this number out just as it is? True for the common ones: up to four
/// digits before the point, or up to six decimals.
fn is_plain(text: &[u8]) -> bool {
    let Some(point) = text.iter().position(|&byte| byte == b'.') else {
        return false;
    };
    let decimals = text.len() - point - 1;
    let short = decimals <= 6 || point <= 4 && text[0] != b'0';
    short && text.last() != Some(&b'0') && !text.contains(&b'e')
}

/// Room for the digits of any double.
const MAX_DIGITS: usize = 17;

/// Takes a positive number in decimal or scientific notation apart: its significant digits, without
/// leading and trailing zeros, how many there are, and the power of ten of the last one.
fn split_digits(text: &[u8]) -> ([u8; MAX_DIGITS], usize, i32) {
    let (mut digits, mut count) = ([0; MAX_DIGITS], 0);
    let (mut exponent, mut point, mut zeros) = (0, false, 0);
    for (at, &byte) in text.iter().enumerate() {
        match byte {
            b'.' => point = true,
            b'e' => {
                let power = std::str::from_utf8(&text[at + 1..])
                    .ok()
                    .and_then(|power| power.parse::<i32>().ok());
                exponent += power.unwrap_or(0);
                break;
            }
            _ => {
                exponent -= i32::from(point);
                if byte == b'0' {
                    zeros += 1;
                    continue;
                }
                if count > 0 {
                    // Only now are these zeros known to stand between digits.
                    digits[count..count + zeros].fill(b'0');
                    count += zeros;
                }
                zeros = 0;
                digits[count] = byte;
                count += 1;
            }
        }
    }
    (digits, count, exponent + zeros as i32)
}

/// Lays digits out as Redis does. `exponent` is the power of ten of the last digit.
fn put_digits(out: &mut Cursor, digits: &[u8], exponent: i32) {
    let count = digits.len() as i32;
    let scientific = exponent + count - 1; // the power of ten of the first digit
    if exponent >= 0 && scientific < count + 7 {
        out.put(digits);
        out.put_zeros(exponent);
    } else if exponent < 0 && (exponent > -7 || scientific.abs() < 4) {
        let whole = count + exponent; // how many digits stand before the point
        if whole <= 0 {
            out.put(b"0.");
            out.put_zeros(-whole);
            out.put(digits);
        } else {
            let (before, after) = digits.split_at(whole as usize);
            out.put(before);
            out.put(b".");
            out.put(after);
        }
    } else {
        out.put(&digits[..1]);
        if count > 1 {
            out.put(b".");
            out.put(&digits[1..]);
        }
        out.put(if scientific < 0 { b"e-" } else { b"e+" });
        out.put(itoa::Buffer::new().format(scientific.unsigned_abs()).as_bytes());
    }
}

/// A buffer that is being filled.
struct Cursor<'a> {
    buf: &'a mut [u8; MAX_F64_CHARS],
    len: usize,
}

impl Cursor<'_> {
    fn put(&mut self, text: &[u8]) {
        self.buf[self.len..self.len + text.len()].copy_from_slice(text);
        self.len += text.len();
    }

    fn put_zeros(&mut self, count: i32) {
        let end = self.len + count as usize;
        self.buf[self.len..end].fill(b'0');
        self.len = end;
    }
}

/// Writes a double with 17 decimals, without exponent, and cuts trailing zeros off: the coordinates
/// in the replies of GEOPOS and GEOSEARCH (`addReplyHumanLongDouble`).
pub fn fmt_human_f64(value: f64) -> String {
    if !value.is_finite() {
        return if value.is_nan() {
            "nan"
        } else if value < 0.0 {
            "-inf"
        } else {
            "inf"
        }
        .to_owned();
    }
    // A mantissa of 53 bits times 2^exponent, as long as there are decimals.
    let bits = value.abs().to_bits();
    let (biased, fraction) = (bits >> 52, bits & ((1 << 52) - 1));
    let (mantissa, exponent) = match biased {
        0 => (fraction, -1074),
        _ => (fraction | 1 << 52, biased as i64 - 1075),
    };
    if exponent >= 0 {
        return format!("{value:.0}");
    }
    let scaled = shift_right_half_even(u128::from(mantissa) * DECIMALS_SCALE, -exponent, false);
    decimals(value.is_sign_negative(), scaled)
}

/// What a number with 17 decimals is multiplied by to be an integer.
pub(super) const DECIMALS_SCALE: u128 = 10u128.pow(17);

/// `scaled / DECIMALS_SCALE` in decimals, without those that are zero at the end.
pub(super) fn decimals(is_negative: bool, scaled: u128) -> String {
    let mut digits = itoa::Buffer::new();
    let mut text = String::with_capacity(40);
    if is_negative {
        text.push('-');
    }
    text.push_str(digits.format(scaled / DECIMALS_SCALE));
    text.push('.');
    // The 1 in front keeps the zeros behind it.
    text.push_str(&digits.format(DECIMALS_SCALE as u64 + (scaled % DECIMALS_SCALE) as u64)[1..]);
    trim_decimals(&mut text);
    text
}

/// Cuts the zeros at the end of decimals off, and a point that is left bare; turns `-0` into `0`.
/// `text` has a point.
fn trim_decimals(text: &mut String) {
    let kept = text.trim_end_matches('0').trim_end_matches('.').len();
    text.truncate(kept);
    if text == "-0" {
        text.remove(0);
    }
}

/// A finite number as C's `%.<precision>g` prints it.
pub fn general_format(x: f64, precision: usize) -> String {
    let scientific = format!("{:.*e}", precision.max(1) - 1, x);
    let Some((digits, exponent)) = scientific.split_once('e') else { return scientific };
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let trim = |text: &str| match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_string(),
        false => text.to_string(),
    };
    if exponent < -4 || exponent >= precision as i32 {
        let sign = if exponent < 0 { '-' } else { '+' };
        return format!("{}e{sign}{:02}", trim(digits), exponent.abs());
    }
    trim(&format!("{:.*}", (precision as i32 - 1 - exponent).max(0) as usize, x))
}

/// Writes a double with four decimals: distances in the replies of GEODIST and GEOSEARCH, in
/// whatever unit.
pub fn fmt_distance(value: f64) -> String {
    // Scaled first and then rounded, as Redis does: the decimal value itself may round differently.
    let scaled = (value * 10_000.0).round_ties_even();
    if !(0.0..9e18).contains(&scaled) {
        return format!("{value:.4}");
    }
    let scaled = scaled as u64;
    format!("{}.{:04}", scaled / 10_000, scaled % 10_000)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn numbers_at_the_beginning() {
        for (text, value, len) in [
            ("1", 1.0, 1),
            ("-1.5x", -1.5, 4),
            ("1.", 1.0, 2),
            (".5", 0.5, 2),
            ("1e", 1.0, 1),
            ("1e+", 1.0, 1),
            ("1e+2", 100.0, 4),
            ("1.5.5", 1.5, 3),
            ("1-", 1.0, 1),
            ("0x", 0.0, 1),
            ("0xg", 0.0, 1),
            ("0x1F", 31.0, 4),
            ("-0x.8p1", -1.0, 7),
            ("0x1p", 1.0, 3),
            ("0x1p99999", f64::INFINITY, 9),
            ("0x1p-99999", 0.0, 10),
            ("1e999", f64::INFINITY, 5),
            ("1e-999", 0.0, 6),
            ("infinit", f64::INFINITY, 3),
            ("-Infinity", f64::NEG_INFINITY, 9),
        ] {
            assert_eq!(leading_f64(text.as_bytes()), Some((value, len)), "{text}");
        }
        assert!(leading_f64(b"-NaN").is_some_and(|(x, len)| x.is_nan() && len == 4));
        for text in ["", "-", "+", ".", "-.", "e5", "--1", "- 1", " 1", "i", "x"] {
            assert_eq!(leading_f64(text.as_bytes()), None, "{text}");
        }
    }

    fn written(value: f64) -> String {
        let mut buf = [0; MAX_F64_CHARS];
        String::from_utf8(fmt_f64(value, &mut buf).to_vec()).unwrap()
    }

    #[test]
    fn numbers_look_as_c_prints_them() {
        for (x, text) in [
            (0.0, "0"),
            (1.0, "1"),
            (-5000.0, "-5000"),
            (0.1, "0.1"),
            (0.0003, "0.0003"),
            (0.00001, "1e-05"),
            (1e13, "10000000000000"),
            (1e14, "1e+14"),
            (1.5e300, "1.5e+300"),
            (1.0 / 3.0, "0.33333333333333"),
        ] {
            assert_eq!(general_format(x, 14), text);
        }
    }

    #[test]
    fn integers() {
        for (text, expected) in [
            ("0", Some(0)),
            ("7", Some(7)),
            ("-1", Some(-1)),
            ("9223372036854775807", Some(i64::MAX)),
            ("-9223372036854775808", Some(i64::MIN)),
            ("9223372036854775808", None),
            ("-9223372036854775809", None),
            ("99999999999999999999", None),
            ("18446744073709551616", None),
            ("", None),
            ("-", None),
            ("-0", None),
            ("+1", None),
            ("01", None),
            (" 1", None),
            ("1 ", None),
            ("1a", None),
            ("1.0", None),
        ] {
            assert_eq!(parse_i64(text.as_bytes()), expected, "{text:?}");
        }
    }

    #[test]
    fn unsigned_integers() {
        for (text, expected) in [
            ("0", Some(0)),
            ("+0001", Some(1)),
            (" 1", Some(1)),
            ("\t\n +01", Some(1)),
            (" ", None),
            ("+ 1", None),
            ("18446744073709551615", Some(u64::MAX)),
            ("18446744073709551616", None),
            ("", None),
            ("+", None),
            ("-1", None),
            ("1 ", None),
        ] {
            assert_eq!(parse_u64(text.as_bytes()), expected, "{text:?}");
        }
    }

    #[test]
    fn floats_that_are_accepted() {
        for (text, expected) in [
            ("0", 0.0),
            ("-0", -0.0),
            ("+3.5", 3.5),
            ("5.", 5.0),
            (".5", 0.5),
            ("1e3", 1000.0),
            ("1E-3", 0.001),
            ("0e999999", 0.0),
            ("007", 7.0),
            ("5e-324", 5e-324),
            ("1.7976931348623157e308", f64::MAX),
            ("inf", f64::INFINITY),
            ("+INF", f64::INFINITY),
            ("-Infinity", f64::NEG_INFINITY),
            ("0x1.8p3", 12.0),
            ("-0x10", -16.0),
            ("0x1p-1074", 5e-324),
            ("0x1p-1022", f64::MIN_POSITIVE),
            ("0x0.fffffffffffffp-1022", f64::MIN_POSITIVE - 5e-324),
            ("0x1.fffffffffffffp1023", f64::MAX),
            ("0x1.00000000000008p0", 1.0),
            ("0x1.000000000000081p0", 1.0 + f64::EPSILON),
        ] {
            assert_eq!(
                parse_f64(text.as_bytes()).map(f64::to_bits),
                Some(expected.to_bits()),
                "{text:?}"
            );
        }
    }

    #[test]
    fn floats_that_are_refused() {
        for text in [
            "",
            "-",
            "+",
            ".",
            "e5",
            "1e",
            "1e+",
            "nan",
            "-nan",
            "nan(1)",
            " 1",
            "1 ",
            "1\0",
            "--1",
            "+-1",
            "1_0",
            "infinit",
            "in",
            "1e309",
            "-1e309",
            "1e-400",
            "0x",
            "0x1p",
            "0x1p1024",
            "0x1.fffffffffffff8p1023",
            "0x1p-1075",
            "0x1p-9999999999",
            "\u{e9}",
        ] {
            assert_eq!(parse_f64(text.as_bytes()), None, "{text:?}");
        }
    }

    #[test]
    fn floats_are_written_as_redis_does() {
        for (value, expected) in [
            (0.0, "0"),
            (-0.0, "-0"),
            (3.0, "3"),
            (-3.0, "-3"),
            (0.1, "0.1"),
            (-1.5, "-1.5"),
            (1e15, "1000000000000000"),
            (4611686018427387904.0, "4611686018427387904"),
            (12345678901234567000.0, "12345678901234567000"),
            (1e20, "1e+20"),
            (1e30, "1e+30"),
            (-1.5e300, "-1.5e+300"),
            (f64::MAX, "1.7976931348623157e+308"),
            (5e-324, "5e-324"),
            (0.000001, "0.000001"),
            (1e-7, "1e-7"),
            (1.5e-7, "1.5e-7"),
            (0.0012345, "0.0012345"),
            (0.00012345, "1.2345e-4"),
            (100.5, "100.5"),
            (123456.789012, "123456.789012"),
            (1.5e17, "150000000000000000"),
            (1.5e19, "1.5e+19"),
            (0.0000012, "1.2e-6"),
            (0.00101, "0.00101"),
            (0.0010234567, "0.0010234567"),
            (1234.0000567, "1234.0000567"),
            (12345.0000567, "1.23450000567e+4"),
            (f64::INFINITY, "inf"),
            (f64::NEG_INFINITY, "-inf"),
            (f64::NAN, "nan"),
        ] {
            assert_eq!(written(value), expected);
        }
    }

    #[test]
    fn human_floats() {
        for (value, expected) in [
            (0.0, "0"),
            (-0.0, "0"),
            (-1e-20, "0"),
            (100.0, "100"),
            (0.5, "0.5"),
            (13.361389338970184, "13.36138933897018433"),
            (f64::powi(2.0, -18), "0.00000381469726562"), // a tie, rounded to even
            (1e22, "10000000000000000000000"),
            (f64::NEG_INFINITY, "-inf"),
        ] {
            assert_eq!(fmt_human_f64(value), expected);
        }
    }

    #[test]
    fn distances() {
        for (value, expected) in [
            (0.0, "0.0000"),
            (166274.1516, "166274.1516"),
            (0.00005, "0.0000"),
            (0.775, "0.7750"),
            (1e19, "10000000000000000000.0000"),
        ] {
            assert_eq!(fmt_distance(value), expected);
        }
    }

    proptest! {
        #[test]
        fn human_floats_are_exact(value in prop_oneof![-180.0..180.0f64, any::<f64>()]) {
            let mut expected = format!("{value:.17}");
            trim_decimals(&mut expected);
            prop_assert_eq!(fmt_human_f64(value).to_lowercase(), expected.to_lowercase());
        }

        #[test]
        fn integers_round_trip(value: i64) {
            prop_assert_eq!(parse_i64(value.to_string().as_bytes()), Some(value));
        }

        #[test]
        fn floats_round_trip(bits: u64) {
            let value = f64::from_bits(bits);
            prop_assume!(!value.is_nan());
            prop_assert_eq!(parse_f64(written(value).as_bytes()), Some(value));
        }

        #[test]
        fn short_floats_round_trip(mantissa in -100_000_000i64..100_000_000, power in -12..12i32) {
            let value: f64 = format!("{mantissa}e{power}").parse().unwrap();
            prop_assert_eq!(parse_f64(written(value).as_bytes()), Some(value));
        }

        #[test]
        fn any_text_is_survived(text in "[-+0-9.eExXpPa-f]{0,12}") {
            parse_f64(text.as_bytes());
            parse_i64(text.as_bytes());
            parse_u64(text.as_bytes());
        }
    }
}
