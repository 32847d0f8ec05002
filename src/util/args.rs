//! A command line as text: how inline commands, redis.conf lines and the AOF manifest are split
//! into arguments, and how an argument is quoted for logs, MONITOR and CONFIG REWRITE. One undoes
//! the other.

use super::c_string;

/// Splits `line` at white space into arguments (`sdssplitargs`).
///
/// An argument may be quoted: in `"…"`, `\n \r \t \b \a`, `\xHH` and any escaped byte are
/// understood; in `'…'` only `\'`. A closing quote must be followed by white space or the end. None
/// if it is not, or if a quote stays open. A NUL ends the line, as in C.
pub fn split_args(line: &[u8]) -> Option<Vec<Vec<u8>>> {
    let mut rest = c_string(line);
    let mut args = Vec::new();
    loop {
        rest = &rest[rest.iter().take_while(|&&byte| is_space(byte)).count()..];
        if rest.is_empty() {
            return Some(args);
        }
        let mut arg = Vec::new();
        rest = take_arg(rest, &mut arg)?;
        args.push(arg);
    }
}

/// C's `isspace`, which includes the vertical tab.
fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | 0x0b | 0x0c | b'\r')
}

/// Reads one argument from the front of `line`; returns what follows it.
fn take_arg<'a>(mut line: &'a [u8], arg: &mut Vec<u8>) -> Option<&'a [u8]> {
    loop {
        match *line {
            [] | [b' ' | b'\n' | b'\r' | b'\t', ..] => return Some(line),
            // A quote may open in the middle of an argument, but closing it ends the argument.
            [b'"', ref rest @ ..] => return take_double_quoted(rest, arg),
            [b'\'', ref rest @ ..] => return take_single_quoted(rest, arg),
            [byte, ref rest @ ..] => {
                arg.push(byte);
                line = rest;
            }
        }
    }
}

fn take_double_quoted<'a>(mut line: &'a [u8], arg: &mut Vec<u8>) -> Option<&'a [u8]> {
    loop {
        let (byte, rest) = match *line {
            [] => return None,
            [b'"', ref rest @ ..] => return closed(rest),
            [b'\\', b'x', high, low, ref rest @ ..]
                if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() =>
            {
                (hex_value(high) << 4 | hex_value(low), rest)
            }
            [b'\\', escaped, ref rest @ ..] => (unescape(escaped), rest),
            [byte, ref rest @ ..] => (byte, rest),
        };
        arg.push(byte);
        line = rest;
    }
}

fn take_single_quoted<'a>(mut line: &'a [u8], arg: &mut Vec<u8>) -> Option<&'a [u8]> {
    loop {
        let (byte, rest) = match *line {
            [] => return None,
            [b'\'', ref rest @ ..] => return closed(rest),
            [b'\\', b'\'', ref rest @ ..] => (b'\'', rest),
            [byte, ref rest @ ..] => (byte, rest),
        };
        arg.push(byte);
        line = rest;
    }
}

/// What follows a closing quote, if it may.
fn closed(rest: &[u8]) -> Option<&[u8]> {
    rest.first().is_none_or(|&byte| is_space(byte)).then_some(rest)
}

fn unescape(byte: u8) -> u8 {
    match byte {
        b'n' => b'\n',
        b'r' => b'\r',
        b't' => b'\t',
        b'b' => 0x08,
        b'a' => 0x07,
        other => other,
    }
}

/// The value of a hexadecimal digit.
fn hex_value(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        _ => (digit | 0x20) - b'a' + 10,
    }
}

/// Writes `text` in double quotes, with everything escaped that is not printable ASCII
/// (`sdscatrepr`).
pub fn quote(text: &[u8]) -> Vec<u8> {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let mut out = Vec::with_capacity(text.len() + 2);
    out.push(b'"');
    for &byte in text {
        match byte {
            b'\\' | b'"' => out.extend_from_slice(&[b'\\', byte]),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            0x07 => out.extend_from_slice(b"\\a"),
            0x08 => out.extend_from_slice(b"\\b"),
            b' '..=b'~' => out.push(byte),
            _ => {
                let (high, low) = (HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]);
                out.extend_from_slice(&[b'\\', b'x', high, low]);
            }
        }
    }
    out.push(b'"');
    out
}

/// Must `text` be quoted to come back from [`split_args`] as one argument (`sdsneedsrepr`)? The
/// empty text and single quotes are the caller's to think of, as in Redis.
pub fn needs_quote(text: &[u8]) -> bool {
    text.iter().any(|&byte| !byte.is_ascii_graphic() || matches!(byte, b'\\' | b'"'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn splits() {
        for (line, expected) in [
            (&b""[..], Some(vec![])),
            (b"  \r\n", Some(vec![])),
            (b" set  key\tvalue\r\n", Some(vec![&b"set"[..], b"key", b"value"])),
            (b"\"\" ''", Some(vec![b"", b""])),
            (b"\"a b\" 'c d'", Some(vec![b"a b", b"c d"])),
            (b"foo\"bar\" baz", Some(vec![b"foobar", b"baz"])),
            (b"foo'bar'", Some(vec![b"foobar"])),
            (br#""\x41\xfF\n\r\t\b\a\\\"\q""#, Some(vec![b"A\xff\n\r\t\x08\x07\\\"q"])),
            (br#""\xg1""#, Some(vec![b"xg1"])),
            (br"'\n\'x'", Some(vec![b"\\n'x"])),
            (b"a\\nb", Some(vec![b"a\\nb"])),
            (b"a\x0bb", Some(vec![b"a\x0bb"])),
            (b"a\0b c", Some(vec![b"a"])),
            (b"\"a", None),
            (b"'a", None),
            (b"\"a\"b", None),
            (b"'a'b", None),
            (b"'a'\"b\"", None),
            (b"\"a\\\"", None),
            (b"\"a\0\"", None),
        ] {
            let expected =
                expected.map(|args| args.into_iter().map(<[u8]>::to_vec).collect::<Vec<_>>());
            assert_eq!(split_args(line), expected, "{}", line.escape_ascii());
        }
    }

    #[test]
    fn quotes() {
        assert_eq!(
            quote(b"a b\\\"\n\r\t\x07\x08\0\x7f\xff'"),
            br#""a b\\\"\n\r\t\a\b\x00\x7f\xff'""#
        );
        assert!(!needs_quote(b"plain-text'"));
        for text in [&b"a b"[..], b"a\"", b"\\", b"\n", b"\xe9", b"\x7f"] {
            assert!(needs_quote(text));
        }
    }

    proptest! {
        #[test]
        fn quoting_is_undone_by_splitting(args: Vec<Vec<u8>>) {
            let line = args.iter().map(|arg| quote(arg)).collect::<Vec<_>>().join(&b' ');
            prop_assert_eq!(split_args(&line), Some(args));
        }

        #[test]
        fn any_line_is_survived(line in r#"[a'"\\ x0-9\n]{0,30}"#) {
            split_args(line.as_bytes());
        }
    }
}
