//! C's hexadecimal floating-point notation (`-0x1.8p3`), and the rounding of an exact binary value
//! to a format's precision. Shared by [`super::number`] (double) and [`super::long_double`] (80-bit
//! extended).

/// The magnitude `mantissa * 2^exponent`; `inexact` says that it lies a little above that, by less
/// than one unit of the mantissa.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Binary {
    pub mantissa: u128,
    pub exponent: i64,
    pub inexact: bool,
}

impl Binary {
    pub fn is_zero(&self) -> bool {
        self.mantissa == 0 && !self.inexact
    }

    /// Rounds half to even, to a mantissa of exactly `bits` bits, or fewer where the exponent would
    /// otherwise fall below `min_exponent` (then the value is subnormal, or zero). Returns mantissa
    /// and exponent.
    ///
    /// `bits` is at most 64. An inexact value must have more than `bits` bits of mantissa.
    pub fn round(self, bits: u32, min_exponent: i64) -> (u64, i64) {
        if self.mantissa == 0 {
            return (0, min_exponent);
        }
        let significant = i64::from(u128::BITS - self.mantissa.leading_zeros());
        let shift = (significant - i64::from(bits)).max(min_exponent - self.exponent);
        if shift <= 0 {
            // Exact; a subnormal limit never makes this shift larger than `bits`.
            return ((self.mantissa << -shift) as u64, self.exponent + shift);
        }
        let rounded = shift_right_half_even(self.mantissa, shift, self.inexact);
        if rounded >> bits == 1 {
            // Rounded up to the next power of two.
            return ((rounded >> 1) as u64, self.exponent + shift + 1);
        }
        (rounded as u64, self.exponent + shift)
    }
}

/// `value / 2^shift` (a positive shift), rounded half to even; `inexact` stands for further bits
/// below `value`.
pub fn shift_right_half_even(value: u128, shift: i64, inexact: bool) -> u128 {
    if shift > i64::from(u128::BITS) {
        return 0;
    }
    let half = 1u128 << (shift - 1);
    let below = value & (half - 1);
    let kept = value.checked_shr(shift as u32).unwrap_or(0);
    let up = value & half != 0 && (below != 0 || inexact || kept & 1 == 1);
    kept + u128::from(up)
}

/// Splits an optional sign off: whether it is negative, and the rest.
pub fn split_sign(text: &[u8]) -> (bool, &[u8]) {
    match text {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        _ => (false, text),
    }
}

/// Is this `inf` or `infinity`, in any case, without a sign?
pub fn is_infinity(text: &[u8]) -> bool {
    text.eq_ignore_ascii_case(b"inf") || text.eq_ignore_ascii_case(b"infinity")
}

/// Is this unsigned text in hexadecimal notation?
pub fn is_hex(text: &[u8]) -> bool {
    matches!(text, [b'0', b'x' | b'X', ..])
}

/// Parses the whole of an unsigned hexadecimal `text`, as strtod would: `0x`, digits with at most
/// one point, and perhaps a binary exponent `p±n` in decimal.
pub fn parse_hex(text: &[u8]) -> Option<Binary> {
    let body = if is_hex(text) {
        &text[2..]
    } else {
        return None;
    };
    let end = body.iter().position(|byte| matches!(byte, b'p' | b'P')).unwrap_or(body.len());
    let mut value = Binary { mantissa: 0, exponent: 0, inexact: false };
    let (mut digits, mut point) = (0, false);
    for &byte in &body[..end] {
        if byte == b'.' && !point {
            point = true;
            continue;
        }
        let digit = char::from(byte).to_digit(16)?;
        digits += 1;
        if value.mantissa >> (u128::BITS - 4) == 0 {
            value.mantissa = value.mantissa << 4 | u128::from(digit);
        } else {
            // More bits than any format keeps: only their being zero or not counts.
            value.inexact |= digit != 0;
            value.exponent += 4;
        }
        value.exponent -= if point { 4 } else { 0 };
    }
    if digits == 0 {
        return None;
    }
    if end < body.len() {
        value.exponent += parse_exponent(&body[end + 1..])?;
    }
    Some(value)
}

/// Parses a decimal exponent with an optional sign. One far beyond every format is cut to ±10^9.
pub fn parse_exponent(text: &[u8]) -> Option<i64> {
    let (negative, digits) = split_sign(text);
    if digits.is_empty() {
        return None;
    }
    let mut magnitude = 0i64;
    for &byte in digits {
        let digit = char::from(byte).to_digit(10)?;
        magnitude = (magnitude * 10 + i64::from(digit)).min(1_000_000_000);
    }
    Some(if negative { -magnitude } else { magnitude })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exact(mantissa: u128, exponent: i64) -> Binary {
        Binary { mantissa, exponent, inexact: false }
    }

    #[test]
    fn parses_hexadecimal() {
        for (text, expected) in [
            ("0x1", Some(exact(1, 0))),
            ("0X1F", Some(exact(31, 0))),
            ("0x1.8p3", Some(exact(0x18, -1))),
            ("0x.8P-1", Some(exact(8, -5))),
            ("0x1.", Some(exact(1, 0))),
            ("0x0p99999999999999999999", Some(exact(0, 1_000_000_000))),
            ("0x", None),
            ("0x.", None),
            ("0x1p", None),
            ("0x1p+", None),
            ("0x1.2.3", None),
            ("0x1g", None),
            ("1", None),
        ] {
            assert_eq!(parse_hex(text.as_bytes()), expected, "{text}");
        }
    }

    #[test]
    fn digits_beyond_the_mantissa_are_remembered() {
        let text = format!("0x1{}1", "0".repeat(40));
        assert_eq!(
            parse_hex(text.as_bytes()),
            Some(Binary { mantissa: 1 << 124, exponent: 40, inexact: true })
        );
    }

    #[test]
    fn rounds_half_to_even() {
        assert_eq!(exact(0b1001, 0).round(3, -100), (0b100, 1));
        assert_eq!(exact(0b1011, 0).round(3, -100), (0b110, 1));
        assert_eq!(exact(0b1111, 0).round(3, -100), (0b100, 2));
        assert_eq!(exact(1, 0).round(3, -100), (0b100, -2));
        assert_eq!(exact(1, 0).round(3, -1), (0b10, -1));
        assert_eq!(exact(3, -3).round(3, -2), (2, -2));
        assert_eq!(exact(1, -3).round(3, -2), (0, -2));
        assert_eq!(exact(1, -1000).round(3, -2), (0, -2));
        assert_eq!(Binary { inexact: true, ..exact(0b1001, 0) }.round(3, -100), (0b101, 1));
        assert_eq!(exact(u128::MAX, 0).round(64, -100), (1 << 63, 65));
        assert_eq!(shift_right_half_even(u128::MAX, 128, false), 1);
    }
}
