//! Values, commands and replies as the debugger shows them.

use crate::util::args::quote;
use crate::util::number::{general_format, parse_i64};
use mlua::Value;

/// Tables within tables are shown so deep.
const MAX_DEPTH: usize = 10;
/// So many arguments of a command are shown.
const MAX_ARGS: usize = 10;

/// What a script calls.
pub fn command(args: &[&[u8]]) -> Vec<u8> {
    let mut line = b"<redis>".to_vec();
    for arg in args.iter().take(MAX_ARGS) {
        line.push(b' ');
        line.extend_from_slice(arg);
    }
    if args.len() > MAX_ARGS {
        line.extend_from_slice(format!("... ({} more)", args.len() - MAX_ARGS).as_bytes());
    }
    line
}

/// What `redis.debug` was given.
pub fn values(line: usize, values: &[Value]) -> Vec<u8> {
    let mut text = format!("<debug> line {line}: ").into_bytes();
    for (i, value) in values.iter().enumerate() {
        if i > 0 {
            text.extend_from_slice(b", ");
        }
        append(value, 0, &mut text);
    }
    text
}

/// A value behind a label.
pub fn value(label: &str, value: &Value) -> Vec<u8> {
    let mut text = label.as_bytes().to_vec();
    append(value, 0, &mut text);
    text
}

fn append(value: &Value, depth: usize, out: &mut Vec<u8>) {
    if depth == MAX_DEPTH {
        out.extend_from_slice(b"<max recursion level reached! Nested table?>");
        return;
    }
    match value {
        Value::String(text) => out.extend_from_slice(&quote(&text.as_bytes())),
        Value::Boolean(yes) => out.extend_from_slice(if *yes { b"true" } else { b"false" }),
        Value::Integer(n) => out.extend_from_slice(general_format(*n as f64, 6).as_bytes()),
        Value::Number(x) => out.extend_from_slice(general_format(*x, 6).as_bytes()),
        Value::Nil => out.extend_from_slice(b"nil"),
        Value::Table(table) => {
            let (mut as_array, mut as_map, mut next) = (Vec::new(), Vec::new(), Some(1));
            // It only fails if what is called does.
            let _ = table.for_each(|key: Value, value: Value| {
                next = next.filter(|n| key == Value::Integer(*n)).map(|n| n + 1);
                append(&value, depth + 1, &mut as_array);
                as_array.extend_from_slice(b"; ");
                as_map.push(b'[');
                append(&key, depth + 1, &mut as_map);
                as_map.extend_from_slice(b"]=");
                append(&value, depth + 1, &mut as_map);
                as_map.extend_from_slice(b"; ");
                Ok(())
            });
            let items = if next.is_some() { as_array } else { as_map };
            out.push(b'{');
            out.extend_from_slice(items.strip_suffix(b"; ").unwrap_or_default());
            out.push(b'}');
        }
        other => {
            let kind = match other {
                Value::Function(_) => "function",
                Value::Thread(_) => "thread",
                Value::LightUserData(_) => "light-userdata",
                _ => "userdata",
            };
            out.extend_from_slice(format!("\"{kind}@{:p}\"", other.to_pointer()).as_bytes());
        }
    }
}

/// A command's reply.
pub fn reply(reply: &[u8]) -> Vec<u8> {
    let mut text = b"<reply> ".to_vec();
    append_reply(&mut &reply[..], &mut text);
    text
}

/// Shows the reply with which `rest` begins, and leaves what is behind it.
fn append_reply(rest: &mut &[u8], out: &mut Vec<u8>) {
    let end = memchr::memchr(b'\r', rest).unwrap_or(rest.len());
    let line = &rest[..end];
    *rest = rest.get(end + 2..).unwrap_or_default();
    let Some((kind, text)) = line.split_first() else { return };
    let len = usize::try_from(parse_i64(text).unwrap_or(-1)).ok();
    let mut items = |opening: &str, closing: &str, pairs: bool| {
        out.extend_from_slice(opening.as_bytes());
        for i in 0..len.unwrap_or(0) {
            if i > 0 {
                out.push(b',');
            }
            append_reply(rest, out);
            if pairs {
                out.extend_from_slice(b" => ");
                append_reply(rest, out);
            }
        }
        out.extend_from_slice(closing.as_bytes());
    };
    match kind {
        b'$' | b'*' if len.is_none() => out.extend_from_slice(b"NULL"),
        b'*' => items("[", "]", false),
        b'~' => items("~(", ")", false),
        b'%' => items("{", "}", true),
        b'$' => {
            let (bytes, behind) = rest.split_at(len.unwrap_or(0).min(rest.len()));
            out.extend_from_slice(&quote(bytes));
            *rest = behind.get(2..).unwrap_or_default();
        }
        b'+' | b'-' => out.extend_from_slice(&quote(line)),
        b'_' => out.extend_from_slice(b"(null)"),
        b'#' => out.extend_from_slice(if text == b"t" { b"#true" } else { b"#false" }),
        b',' => out.extend([b"(double) ", text].concat()),
        _ => out.extend_from_slice(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replies_are_shown() {
        for (wire, shown) in [
            ("+OK\r\n", r#"<reply> "+OK""#),
            (":7\r\n", "<reply> 7"),
            ("$-1\r\n", "<reply> NULL"),
            ("*2\r\n$1\r\na\r\n*-1\r\n", r#"<reply> ["a",NULL]"#),
            ("%1\r\n$1\r\na\r\n,1.5\r\n", r#"<reply> {"a" => (double) 1.5}"#),
            ("~2\r\n#t\r\n_\r\n", "<reply> ~(#true,(null))"),
            ("$9\r\ncut", r#"<reply> "cut""#),
        ] {
            assert_eq!(String::from_utf8_lossy(&reply(wire.as_bytes())), shown);
        }
    }
}
