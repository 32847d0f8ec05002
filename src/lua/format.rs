//! `string.format`, as C's `printf` does it for Lua 5.1.

use super::args::{Args, truncated};
use super::error::{LibError, LibResult};
use super::guard::Buffer;
use crate::sys::lua_stack::Stack;
use crate::util::c_string;
use memchr::memchr;
use mlua::Lua;

const FLAGS: &[u8] = b"-+ #0";
/// Texts of this length and more are written whole if no precision cuts them off.
const LONG_TEXT: usize = 100;

/// A directive: what is between `%` and its letter.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Directive {
    left: bool,
    plus: bool,
    space: bool,
    alternative: bool,
    zeros: bool,
    width: usize,
    precision: Option<usize>,
}

pub fn format(lua: &Lua, args: &Args, results: &mut Stack) -> LibResult {
    let template = args.text(0)?;
    let mut out = Buffer::new(lua, args.guard());
    let (mut rest, mut arg) = (&template[..], 0);
    while let Some(at) = memchr(b'%', rest) {
        out.extend(&rest[..at])?;
        rest = &rest[at + 1..];
        if let Some(behind) = rest.strip_prefix(b"%") {
            out.extend(b"%")?;
            rest = behind;
            continue;
        }
        arg += 1;
        if arg >= args.len() {
            return Err(args.bad(arg, "no value"));
        }
        let (directive, len) = Directive::parse(rest)?;
        // C's text ends with a zero byte.
        let letter = rest.get(len).copied().unwrap_or(0);
        rest = rest.get(len + 1..).unwrap_or_default();
        let is_plain = directive == Directive::default();
        let written = match letter {
            b'd' if is_plain => {
                out.extend(itoa::Buffer::new().format(truncated(args.number(arg)?)).as_bytes())?;
                continue;
            }
            b'c' => directive.character(to_int(args.number(arg)?) as u8),
            b'd' | b'i' => directive.signed(truncated(args.number(arg)?)),
            b'o' | b'u' | b'x' | b'X' => directive.unsigned(unsigned(args.number(arg)?), letter),
            b'e' | b'E' | b'f' | b'g' | b'G' => directive.float(args.number(arg)?, letter),
            b'q' => {
                append_quoted(&args.text(arg)?, &mut out)?;
                continue;
            }
            b's' => {
                let text = args.text(arg)?;
                if directive.precision.is_none() && text.len() >= LONG_TEXT {
                    out.extend(&text)?;
                    continue;
                }
                if is_plain {
                    out.extend(c_string(&text))?;
                    continue;
                }
                directive.text(&text)
            }
            0 => return Err("invalid option '%' to 'format'".into()),
            other => {
                let text = [b"invalid option '%", &[other][..], b"' to 'format'"].concat();
                return Err(LibError::Text(text));
            }
        };
        out.extend(&written)?;
    }
    out.extend(rest)?;
    out.push_to(results)
}

/// A number as C's `int`; what it can't hold is the smallest, as processors make it.
fn to_int(x: f64) -> i32 {
    i32::try_from(truncated(x)).unwrap_or(i32::MIN)
}

/// A number as C on common processors makes it an unsigned one.
fn unsigned(x: f64) -> u64 {
    const HALF: f64 = -(i64::MIN as f64);
    if x >= HALF { truncated(x - HALF) as u64 ^ 1 << 63 } else { truncated(x) as u64 }
}

/// A text that Lua reads as a string.
fn append_quoted(text: &[u8], out: &mut Buffer) -> LibResult {
    out.extend(b"\"")?;
    let mut rest = text;
    while let Some(at) =
        rest.iter().position(|byte| matches!(byte, b'"' | b'\\' | b'\n' | b'\r' | 0))
    {
        out.extend(&rest[..at])?;
        match rest[at] {
            b'\r' => out.extend(b"\\r")?,
            0 => out.extend(b"\\000")?,
            byte => out.extend(&[b'\\', byte])?,
        }
        rest = &rest[at + 1..];
    }
    out.extend(rest)?;
    out.extend(b"\"")
}

impl Directive {
    /// Reads what is in front of the letter; answers its length, too.
    fn parse(text: &[u8]) -> LibResult<(Directive, usize)> {
        let mut directive = Directive::default();
        let mut at = 0;
        while let Some(flag) = text.get(at).filter(|byte| FLAGS.contains(byte)) {
            match flag {
                b'-' => directive.left = true,
                b'+' => directive.plus = true,
                b' ' => directive.space = true,
                b'#' => directive.alternative = true,
                _ => directive.zeros = true,
            }
            at += 1;
        }
        if at > FLAGS.len() {
            return Err("invalid format (repeated flags)".into());
        }
        let two_digits = |at: &mut usize| {
            let mut number = 0;
            for _ in 0..2 {
                let Some(digit) = text.get(*at).filter(|byte| byte.is_ascii_digit()) else { break };
                number = number * 10 + usize::from(digit - b'0');
                *at += 1;
            }
            number
        };
        directive.width = two_digits(&mut at);
        if text.get(at) == Some(&b'.') {
            at += 1;
            directive.precision = Some(two_digits(&mut at));
        }
        if text.get(at).is_some_and(u8::is_ascii_digit) {
            return Err("invalid format (width or precision too long)".into());
        }
        Ok((directive, at))
    }

    fn character(self, byte: u8) -> Vec<u8> {
        match byte {
            // C's result ends there.
            0 if self.left => Vec::new(),
            0 => vec![b' '; self.width.saturating_sub(1)],
            _ => self.padded("", &[byte], false),
        }
    }

    /// A text up to its first zero byte, where it ends for C.
    fn text(self, text: &[u8]) -> Vec<u8> {
        let text = c_string(text);
        let len = self.precision.unwrap_or(usize::MAX).min(text.len());
        self.padded("", &text[..len], false)
    }

    fn signed(self, n: i64) -> Vec<u8> {
        self.integer(self.sign(n < 0), n.unsigned_abs().to_string(), n == 0)
    }

    fn unsigned(self, n: u64, letter: u8) -> Vec<u8> {
        let (digits, prefix) = match letter {
            b'o' => (format!("{n:o}"), ""),
            b'x' => (format!("{n:x}"), "0x"),
            b'X' => (format!("{n:X}"), "0X"),
            _ => (n.to_string(), ""),
        };
        let prefix = if self.alternative && n != 0 { prefix } else { "" };
        let octal = self.alternative && letter == b'o';
        let digits = match octal && !digits.starts_with('0') {
            true if self.precision.is_none_or(|precision| precision <= digits.len()) => {
                format!("0{digits}")
            }
            _ => digits,
        };
        self.integer(prefix, digits, n == 0 && !octal)
    }

    fn integer(self, prefix: &str, digits: String, is_zero: bool) -> Vec<u8> {
        let digits = match self.precision {
            Some(0) if is_zero => String::new(),
            Some(precision) => format!("{digits:0>precision$}"),
            None => digits,
        };
        self.padded(prefix, digits.as_bytes(), self.precision.is_none())
    }

    fn float(self, x: f64, letter: u8) -> Vec<u8> {
        let sign = self.sign(x.is_sign_negative());
        let magnitude = x.abs();
        let digits = match letter.to_ascii_lowercase() {
            _ if x.is_nan() => "nan".to_string(),
            _ if x.is_infinite() => "inf".to_string(),
            b'f' => self.fixed(magnitude, self.precision.unwrap_or(6)),
            b'e' => self.scientific(magnitude, self.precision.unwrap_or(6)),
            _ => self.general(magnitude),
        };
        let digits = if letter.is_ascii_uppercase() { digits.to_uppercase() } else { digits };
        self.padded(sign, digits.as_bytes(), x.is_finite())
    }

    fn fixed(self, x: f64, precision: usize) -> String {
        let point = if self.alternative && precision == 0 { "." } else { "" };
        format!("{x:.precision$}{point}")
    }

    fn scientific(self, x: f64, precision: usize) -> String {
        let text = format!("{x:.precision$e}");
        let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
        let (sign, exponent) = match exponent.strip_prefix('-') {
            Some(exponent) => ('-', exponent),
            None => ('+', exponent),
        };
        let point = if self.alternative && precision == 0 { "." } else { "" };
        format!("{digits}{point}e{sign}{exponent:0>2}")
    }

    /// `%g`: whichever of the two is shorter, without zeros at the end.
    fn general(self, x: f64) -> String {
        let precision = self.precision.unwrap_or(6).max(1);
        let scientific = self.scientific(x, precision - 1);
        let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
        let power: i32 = exponent.parse().unwrap_or(0);
        let trimmed = |text: &str| match text.contains('.') && !self.alternative {
            true => text.trim_end_matches('0').trim_end_matches('.').to_string(),
            false => text.to_string(),
        };
        if power < -4 || power >= precision as i32 {
            return format!("{}e{exponent}", trimmed(digits));
        }
        trimmed(&self.fixed(x, (precision as i32 - 1 - power) as usize))
    }

    fn sign(self, is_negative: bool) -> &'static str {
        match () {
            () if is_negative => "-",
            () if self.plus => "+",
            () if self.space => " ",
            () => "",
        }
    }

    /// Prefix and digits, as wide as they are to be.
    fn padded(self, prefix: &str, digits: &[u8], may_have_zeros: bool) -> Vec<u8> {
        let missing = self.width.saturating_sub(prefix.len() + digits.len());
        let fill = |byte: u8| std::iter::repeat_n(byte, missing);
        let mut out = Vec::with_capacity(self.width.max(prefix.len() + digits.len()));
        let zeroed = self.zeros && may_have_zeros && !self.left;
        if !self.left && !zeroed {
            out.extend(fill(b' '));
        }
        out.extend(prefix.bytes());
        if zeroed {
            out.extend(fill(b'0'));
        }
        out.extend_from_slice(digits);
        if self.left {
            out.extend(fill(b' '));
        }
        out
    }
}
