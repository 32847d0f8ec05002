//! The 80-bit extended precision of x87 (C's `long double` on x86-64), as far as INCRBYFLOAT and
//! HINCRBYFLOAT need it: parse, add, print. With 64 bits of mantissa, 17 decimals of ordinary
//! numbers come out as the user typed them, 0.1 + 0.2 = 0.3; with an f64 they would not.
//!
//! Everything is exact integer arithmetic followed by one rounding (half to even), so results equal
//! the hardware's bit for bit. Numbers of ordinary size fit 128 bits; [`Natural`] is for the
//! others.

use super::hex_float::{
    Binary, is_hex, is_infinity, parse_exponent, parse_hex, shift_right_half_even, split_sign,
};
use super::number::{DECIMALS_SCALE, decimals};

/// Longer text is not a number, as in Redis. This also bounds the work of parsing.
pub const MAX_LONG_DOUBLE_CHARS: usize = 5 * 1024;

const MANTISSA_BITS: u32 = 64;
/// Exponents of the last bit of the mantissa.
const MIN_EXPONENT: i64 = -16445;
const MAX_EXPONENT: i64 = 16383 - 63;
/// Text whose first digit stands for less than 10^MIN_DECIMAL or at least 10^MAX_DECIMAL is out of
/// range.
const MIN_DECIMAL: i64 = -4960;
const MAX_DECIMAL: i64 = 4940;

/// An 80-bit extended floating-point number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LongDouble {
    negative: bool,
    magnitude: Magnitude,
}

/// A finite magnitude is `mantissa * 2^exponent`, where the mantissa has its top bit set or the
/// exponent is [`MIN_EXPONENT`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Magnitude {
    Finite { mantissa: u64, exponent: i64 },
    Infinite,
    NaN,
}

impl LongDouble {
    pub const ZERO: Self = Self {
        negative: false,
        magnitude: Magnitude::Finite { mantissa: 0, exponent: MIN_EXPONENT },
    };

    /// Parses a whole string as strtold would, as Redis accepts long doubles (`string2ld`).
    ///
    /// Decimal or hexadecimal, or an infinity, which a caller that wants none must look for. None
    /// for NaN, white space, anything that follows the number, and for what is too large or would
    /// become zero.
    pub fn parse(text: &[u8]) -> Option<Self> {
        if text.len() >= MAX_LONG_DOUBLE_CHARS {
            return None;
        }
        let (negative, text) = split_sign(text);
        if is_infinity(text) {
            return Some(Self { negative, magnitude: Magnitude::Infinite });
        }
        let binary =
            if is_hex(text) { parse_hex(text)? } else { Decimal::parse(text)?.to_binary()? };
        let value = Self::rounded(negative, binary);
        let in_range = !value.is_inf() && (!value.is_zero() || binary.is_zero());
        in_range.then_some(value)
    }

    fn rounded(negative: bool, binary: Binary) -> Self {
        let (mantissa, exponent) = binary.round(MANTISSA_BITS, MIN_EXPONENT);
        let magnitude = if exponent > MAX_EXPONENT {
            Magnitude::Infinite
        } else {
            Magnitude::Finite { mantissa, exponent }
        };
        Self { negative, magnitude }
    }

    pub fn is_nan(&self) -> bool {
        self.magnitude == Magnitude::NaN
    }

    pub fn is_inf(&self) -> bool {
        self.magnitude == Magnitude::Infinite
    }

    fn is_zero(&self) -> bool {
        matches!(self.magnitude, Magnitude::Finite { mantissa: 0, .. })
    }

    /// Writes the number with 17 decimals, without an exponent, and cuts trailing zeros off
    /// (`ld2string` in its "human" mode). At most 4934 bytes long.
    pub fn to_human(self) -> String {
        let sign = if self.negative { "-" } else { "" };
        let (mantissa, exponent) = match self.magnitude {
            Magnitude::Finite { mantissa, exponent } => (mantissa, exponent),
            Magnitude::Infinite => return format!("{sign}inf"),
            Magnitude::NaN => return "nan".to_owned(),
        };
        if exponent >= 0 {
            let mut integer = Natural::from(u128::from(mantissa));
            integer.shift_left(exponent as usize);
            return format!("{sign}{}", integer.into_decimal());
        }
        // The product is below 2^(64 + 57).
        let scaled = u128::from(mantissa) * DECIMALS_SCALE;
        decimals(self.negative, shift_right_half_even(scaled, -exponent, false))
    }
}

impl From<i64> for LongDouble {
    fn from(value: i64) -> Self {
        let mantissa = u128::from(value.unsigned_abs());
        Self::rounded(value < 0, Binary { mantissa, exponent: 0, inexact: false })
    }
}

impl std::ops::Add for LongDouble {
    type Output = Self;

    /// The sum, rounded as the hardware does: too large a sum is infinite, and `inf + -inf` is NaN.
    fn add(self, other: Self) -> Self {
        use Magnitude::{Finite, Infinite, NaN};
        match (self.magnitude, other.magnitude) {
            (NaN, _) | (_, NaN) => Self { negative: false, magnitude: NaN },
            (Infinite, Infinite) if self.negative != other.negative => {
                Self { negative: false, magnitude: NaN }
            }
            (Infinite, _) => self,
            (_, Infinite) => other,
            (Finite { mantissa: a, exponent: i }, Finite { mantissa: b, exponent: j }) => {
                if (i, a) >= (j, b) {
                    add_finite(self.negative, (a, i), self.negative != other.negative, (b, j))
                } else {
                    add_finite(other.negative, (b, j), self.negative != other.negative, (a, i))
                }
            }
        }
    }
}

/// Adds the smaller magnitude to the larger, or takes it away; the result has the sign of the
/// larger.
fn add_finite(negative: bool, large: (u64, i64), subtract: bool, small: (u64, i64)) -> LongDouble {
    // One bit is left above for the carry, and 63 below: where more of the smaller number is cut
    // off than that, the result keeps so many bits that only the existence of a remainder counts.
    const BELOW: u32 = 63;
    let a = u128::from(large.0) << BELOW;
    let b = u128::from(small.0) << BELOW;
    let distance = u32::try_from(large.1 - small.1).unwrap_or(u32::MAX);
    let aligned = b.checked_shr(distance).unwrap_or(0);
    let inexact = aligned.checked_shl(distance) != Some(b) && b != 0;
    let mantissa = match subtract {
        false => a + aligned,
        // a - (aligned + a fraction) is a - aligned - 1 and what the fraction lacks to 1.
        true => a - aligned - u128::from(inexact),
    };
    if mantissa == 0 {
        // x - x is +0, but the sum of two negative zeros is -0.
        return LongDouble { negative: negative && !subtract, ..LongDouble::ZERO };
    }
    LongDouble::rounded(
        negative,
        Binary { mantissa, exponent: large.1 - i64::from(BELOW), inexact },
    )
}

/// A decimal number as it was written: the digits without the point, and the power of ten of the
/// last one.
struct Decimal {
    /// Values 0..=9, without zeros at either end.
    digits: Vec<u8>,
    exponent: i64,
}

impl Decimal {
    fn parse(text: &[u8]) -> Option<Self> {
        let end = text.iter().position(|byte| matches!(byte, b'e' | b'E')).unwrap_or(text.len());
        let (mut digits, mut exponent, mut point) = (Vec::with_capacity(end), 0, false);
        let mut any = false;
        for &byte in &text[..end] {
            match byte {
                b'.' if !point => point = true,
                b'0'..=b'9' => {
                    any = true;
                    exponent -= i64::from(point);
                    if byte != b'0' || !digits.is_empty() {
                        digits.push(byte - b'0');
                    }
                }
                _ => return None,
            }
        }
        if !any {
            return None;
        }
        if end < text.len() {
            exponent += parse_exponent(&text[end + 1..])?;
        }
        let kept = digits.iter().rposition(|&digit| digit != 0).map_or(0, |last| last + 1);
        exponent += (digits.len() - kept) as i64;
        digits.truncate(kept);
        Some(Self { digits, exponent })
    }

    /// The value with enough bits to be rounded to 64; None if it is far out of range.
    fn to_binary(&self) -> Option<Binary> {
        if self.digits.is_empty() {
            return Some(Binary { mantissa: 0, exponent: 0, inexact: false });
        }
        let first = self.exponent + self.digits.len() as i64 - 1;
        if !(MIN_DECIMAL..MAX_DECIMAL).contains(&first) {
            return None;
        }
        Some(self.to_small_binary().unwrap_or_else(|| self.to_big_binary()))
    }

    /// Ordinary numbers, in 128 bits: up to 19 digits, and a power of ten whose odd part fits 64
    /// bits.
    fn to_small_binary(&self) -> Option<Binary> {
        if self.digits.len() > 19 || self.exponent.abs() > 27 {
            return None;
        }
        let digits = self.digits.iter().fold(0u128, |value, &digit| value * 10 + u128::from(digit));
        // 10^n = 5^n * 2^n
        let power = 5u128.pow(self.exponent.unsigned_abs() as u32);
        if self.exponent >= 0 {
            return Some(Binary {
                mantissa: digits * power,
                exponent: self.exponent,
                inexact: false,
            });
        }
        let shift = digits.leading_zeros();
        let dividend = digits << shift;
        Some(Binary {
            mantissa: dividend / power, // has at least 128 - 63 bits
            exponent: self.exponent - i64::from(shift),
            inexact: dividend % power != 0,
        })
    }

    /// Any number within the range that [`Decimal::to_binary`] checks.
    fn to_big_binary(&self) -> Binary {
        let mut numerator = Natural::default();
        for &digit in &self.digits {
            numerator.multiply_add(10, digit.into());
        }
        let power = self.exponent.unsigned_abs() as usize;
        if self.exponent >= 0 {
            numerator.multiply_power(5, power);
            return numerator.to_binary(self.exponent);
        }
        let mut denominator = Natural::from(1);
        denominator.multiply_power(5, power);
        // Give the quotient 66 or 67 bits.
        let shift = denominator.bits() as i64 - numerator.bits() as i64 + 66;
        numerator.shift_left(shift.max(0) as usize);
        denominator.shift_left((-shift).max(0) as usize);
        let (mantissa, inexact) = numerator.divide(denominator, 67);
        Binary { mantissa, exponent: self.exponent - shift, inexact }
    }
}

/// A natural number of any size: 64-bit limbs, the lowest first, the highest not zero.
#[derive(Default)]
struct Natural(Vec<u64>);

impl From<u128> for Natural {
    fn from(value: u128) -> Self {
        let mut natural = Self(vec![value as u64, (value >> 64) as u64]);
        natural.trim();
        natural
    }
}

impl Natural {
    fn trim(&mut self) {
        while self.0.last() == Some(&0) {
            self.0.pop();
        }
    }

    fn bits(&self) -> usize {
        self.0.last().map_or(0, |top| self.0.len() * 64 - top.leading_zeros() as usize)
    }

    /// `self = self * factor + addend`
    fn multiply_add(&mut self, factor: u64, addend: u64) {
        let mut carry = addend;
        for limb in &mut self.0 {
            let product = u128::from(*limb) * u128::from(factor) + u128::from(carry);
            *limb = product as u64;
            carry = (product >> 64) as u64;
        }
        if carry != 0 {
            self.0.push(carry);
        }
    }

    /// `self = self * base^power`, for a base below 8.
    fn multiply_power(&mut self, base: u64, power: usize) {
        const STEP: usize = 21; // 8^21 = 2^63
        for _ in 0..power / STEP {
            self.multiply_add(base.pow(STEP as u32), 0);
        }
        self.multiply_add(base.pow((power % STEP) as u32), 0);
    }

    fn shift_left(&mut self, bits: usize) {
        self.multiply_add(1 << (bits % 64), 0);
        if !self.0.is_empty() {
            self.0.splice(..0, std::iter::repeat_n(0, bits / 64));
        }
    }

    fn at_least(&self, other: &Self) -> bool {
        let (this, that) = (self.0.len(), other.0.len());
        this > that || this == that && self.0.iter().rev().ge(other.0.iter().rev())
    }

    /// `self = self - other`, which must not be larger.
    fn subtract(&mut self, other: &Self) {
        let mut borrow = false;
        let others = other.0.iter().copied().chain(std::iter::repeat(0));
        for (limb, other) in self.0.iter_mut().zip(others) {
            let (difference, first) = limb.overflowing_sub(other);
            let (difference, second) = difference.overflowing_sub(borrow.into());
            *limb = difference;
            borrow = first || second;
        }
        self.trim();
    }

    /// Long division, a bit at a time: a quotient of at most `bits` bits, and whether there is a
    /// remainder.
    fn divide(mut self, mut divisor: Self, bits: u32) -> (u128, bool) {
        let mut quotient = 0;
        divisor.shift_left(bits as usize - 1);
        for _ in 0..bits {
            quotient <<= 1;
            if self.at_least(&divisor) {
                self.subtract(&divisor);
                quotient |= 1;
            }
            self.shift_left(1);
        }
        (quotient, !self.0.is_empty())
    }

    /// `self * 2^exponent`, cut to the highest 128 bits.
    fn to_binary(&self, exponent: i64) -> Binary {
        let excess = self.bits().saturating_sub(128);
        let (limbs, bits) = (excess / 64, excess % 64);
        let kept = self.0[limbs..].iter().rev();
        // Where `bits` is not zero, three limbs hold the 128 bits.
        let mantissa = match kept.clone().len() {
            3 => {
                let [high, middle, low] = [2, 1, 0].map(|at| u128::from(self.0[limbs + at]));
                high << (128 - bits) | middle << (64 - bits) | low >> bits
            }
            _ => kept.fold(0, |value, &limb| value << 64 | u128::from(limb)),
        };
        let lost = self.0[..limbs].iter().any(|&limb| limb != 0)
            || self.0.get(limbs).is_some_and(|limb| limb & ((1 << bits) - 1) != 0);
        Binary { mantissa, exponent: exponent + excess as i64, inexact: lost }
    }

    /// Divides by `divisor`, returns the remainder.
    fn divide_small(&mut self, divisor: u64) -> u64 {
        let mut remainder = 0;
        for limb in self.0.iter_mut().rev() {
            let dividend = u128::from(remainder) << 64 | u128::from(*limb);
            *limb = (dividend / u128::from(divisor)) as u64;
            remainder = (dividend % u128::from(divisor)) as u64;
        }
        self.trim();
        remainder
    }

    fn into_decimal(mut self) -> String {
        const CHUNK: usize = 19;
        let mut chunks = Vec::new();
        while !self.0.is_empty() {
            chunks.push(self.divide_small(10u64.pow(CHUNK as u32)));
        }
        let mut text = chunks.pop().unwrap_or(0).to_string();
        for chunk in chunks.iter().rev() {
            text += &format!("{chunk:0>CHUNK$}");
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parse(text: &str) -> LongDouble {
        LongDouble::parse(text.as_bytes()).unwrap_or_else(|| panic!("{text}"))
    }

    fn sum(a: &str, b: &str) -> String {
        (parse(a) + parse(b)).to_human()
    }

    #[test]
    fn sums_are_what_the_user_expects() {
        for (a, b, expected) in [
            ("3", "1.1", "4.1"),
            ("10.50", "0.1", "10.6"),
            ("5.0e3", "2.0e2", "5200"),
            ("0.1", "0.2", "0.3"),
            ("1", "-1", "0"),
            ("-1", "0.5", "-0.5"),
            ("-0", "-0", "0"),
            ("1e-18", "0", "0"),
            ("-1e-30", "0", "0"),
            ("17179869184", "1.5", "17179869185.5"),
            ("9223372036854775807", "1", "9223372036854775808"),
            ("18446744073709551615", "1", "18446744073709551616"),
            ("1e22", "1", "10000000000000000000000"),
            ("0x1p62", "0x1p-1", "4611686018427387904.5"),
            // Half a unit is a tie, kept even; anything above it rounds up; anything below, down.
            ("0x1p64", "1", "18446744073709551616"),
            ("0x1p64", "0x1.8p0", "18446744073709551618"),
            ("0x1p64", "0x1.0000000000000002p0", "18446744073709551618"),
            ("0x1p64", "-0x1p-70", "18446744073709551616"),
            ("0x1p64", "-1", "18446744073709551615"),
            ("0x1p64", "-0x1.8p-1", "18446744073709551615"),
            ("0x1p64", "-0x1p-1", "18446744073709551616"),
            ("0x1p64", "-0x1.00000000000001p-1", "18446744073709551615"),
        ] {
            assert_eq!(sum(a, b), expected, "{a} + {b}");
            assert_eq!(sum(b, a), expected, "{b} + {a}");
        }
    }

    #[test]
    fn very_large_and_very_small() {
        let large = sum("1e300", "0");
        assert_eq!(large.len(), 301);
        assert!(large.starts_with("10000000000000000000"), "{large}");
        assert_eq!(sum("1e4932", "0").len(), 4933);
        assert!((parse("1e4932") + parse("1e4932")).is_inf());
        assert_eq!(parse("3.6451995318824746025e-4951"), parse("0x1p-16445"));
        assert_eq!(parse("3.3621031431120935063e-4932"), parse("0x1p-16382"));
        assert_eq!(parse("1.18973149535723176502e4932"), parse("0x1.fffffffffffffffep16383"));
    }

    #[test]
    fn infinities() {
        let (inf, one) = (parse("inf"), parse("1"));
        assert!(inf.is_inf() && parse("-Infinity").is_inf() && !one.is_inf());
        assert!((inf + one).is_inf() && (one + inf).is_inf() && (inf + inf).is_inf());
        assert!((inf + parse("-inf")).is_nan());
        assert_eq!((parse("-inf") + one).to_human(), "-inf");
    }

    #[test]
    fn refused() {
        let long = format!("1{}", "0".repeat(MAX_LONG_DOUBLE_CHARS));
        for text in [
            "",
            "-",
            ".",
            "e1",
            "1e",
            "nan",
            " 1",
            "1 ",
            "1\0",
            "1x",
            "--1",
            "0x",
            "1.2.3",
            "1e4933",
            "1e-4970",
            "1e99999999999999999999",
            "1e-99999999999999999999",
            "0x1p16384",
            "0x1p-16446",
            &long,
        ] {
            assert_eq!(LongDouble::parse(text.as_bytes()), None, "{text:?}");
        }
        assert_eq!(parse("0e99999999999999999999"), LongDouble::ZERO);
    }

    #[test]
    fn large_and_small_paths_agree_at_the_border() {
        for text in [
            "1234567890123456789e27",
            "1234567890123456789e-27",
            "9e-27",
            "9999999999999999999e-27",
        ] {
            let decimal = Decimal::parse(text.as_bytes()).unwrap();
            let small = decimal.to_small_binary().unwrap().round(64, MIN_EXPONENT);
            assert_eq!(small, decimal.to_big_binary().round(64, MIN_EXPONENT), "{text}");
        }
    }

    proptest! {
        #[test]
        fn integers_are_exact(a: i64, b: i64) {
            prop_assert_eq!(parse(&a.to_string()), LongDouble::from(a));
            prop_assert_eq!(LongDouble::from(a).to_human(), a.to_string());
            // The sum of two i64 has at most 64 bits.
            let sum = i128::from(a) + i128::from(b);
            let added = LongDouble::from(a) + LongDouble::from(b);
            prop_assert_eq!(added.to_human(), sum.to_string());
        }

        #[test]
        fn both_parsers_agree(digits in 1..10u64.pow(19), exponent in -27..=27i64) {
            let text = format!("{digits}e{exponent}");
            let decimal = Decimal::parse(text.as_bytes()).unwrap();
            if let Some(small) = decimal.to_small_binary() {
                let [small, big] =
                    [small, decimal.to_big_binary()].map(|binary| binary.round(64, MIN_EXPONENT));
                prop_assert_eq!(small, big);
            }
        }

        #[test]
        fn decimals_are_kept(whole in 0..64u32, decimals in 0..10u64.pow(15)) {
            let text = format!("{whole}.{decimals:015}1");
            prop_assert_eq!(parse(&text).to_human(), text);
        }

        #[test]
        fn any_text_is_survived(text in "[-+0-9.eExXpPa-f]{0,14}") {
            if let Some(value) = LongDouble::parse(text.as_bytes()) {
                value.to_human();
            }
        }
    }
}
