//! Replies of either protocol, and how two of them are compared.

use std::io::{self, BufRead, ErrorKind};

#[derive(Clone, Debug, PartialEq)]
pub enum Reply {
    Simple(String),
    Error(String),
    /// Integers, doubles, booleans and big numbers, as they are written, with their kind.
    Number(char, String),
    Text(Vec<u8>),
    Null,
    Array(Vec<Reply>),
    Set(Vec<Reply>),
    Map(Vec<Reply>),
    Push(Vec<Reply>),
}

impl Reply {
    /// # Errors
    /// If the connection breaks, or what comes is no reply.
    pub fn read(from: &mut impl BufRead) -> io::Result<Reply> {
        let mut line = Vec::new();
        from.read_until(b'\n', &mut line)?;
        let Some((kind, rest)) = line.strip_suffix(b"\r\n").and_then(<[u8]>::split_first) else {
            return Err(ErrorKind::UnexpectedEof.into());
        };
        let text = String::from_utf8_lossy(rest).into_owned();
        let len: i64 = text.parse().unwrap_or(-1);
        Ok(match kind {
            b'+' => Reply::Simple(text),
            b'-' => Reply::Error(text),
            b':' | b',' | b'#' | b'(' => Reply::Number(char::from(*kind), text),
            b'_' => Reply::Null,
            b'$' | b'*' if len < 0 => Reply::Null,
            b'$' | b'=' | b'!' => {
                let mut bytes = vec![0; len as usize + 2];
                from.read_exact(&mut bytes)?;
                bytes.truncate(len as usize);
                Reply::Text(bytes)
            }
            b'*' => Reply::Array(Reply::read_several(from, len)?),
            b'~' => Reply::Set(Reply::read_several(from, len)?),
            b'%' => Reply::Map(Reply::read_several(from, 2 * len)?),
            b'>' => Reply::Push(Reply::read_several(from, len)?),
            _ => return Err(ErrorKind::InvalidData.into()),
        })
    }

    fn read_several(from: &mut impl BufRead, count: i64) -> io::Result<Vec<Reply>> {
        (0..count).map(|_| Reply::read(from)).collect()
    }

    pub fn items(&self) -> &[Reply] {
        match self {
            Reply::Array(items) | Reply::Set(items) | Reply::Map(items) | Reply::Push(items) => {
                items
            }
            _ => &[],
        }
    }

    /// The bytes of a text, status or number.
    pub fn bytes(&self) -> &[u8] {
        match self {
            Reply::Text(bytes) => bytes,
            Reply::Simple(text) | Reply::Error(text) | Reply::Number(_, text) => text.as_bytes(),
            _ => b"",
        }
    }

    fn number(&self) -> Option<f64> {
        match self {
            Reply::Number(_, text) => text.parse().ok(),
            Reply::Text(bytes) => std::str::from_utf8(bytes).ok()?.parse().ok(),
            _ => None,
        }
    }

    /// In short, for a report.
    pub fn shown(&self) -> String {
        let all = |items: &[Reply]| items.iter().map(Reply::shown).collect::<Vec<_>>().join(" ");
        match self {
            Reply::Simple(text) => format!("+{text}"),
            Reply::Error(text) => format!("-{text}"),
            Reply::Number(kind, text) => format!("{kind}{text}"),
            Reply::Text(bytes) if bytes.len() > 100 => format!("({} bytes)", bytes.len()),
            Reply::Text(bytes) => format!("\"{}\"", bytes.escape_ascii()),
            Reply::Null => "nil".into(),
            Reply::Array(items) => format!("[{}]", all(items)),
            Reply::Set(items) => format!("~[{}]", all(items)),
            Reply::Map(items) => format!("%[{}]", all(items)),
            Reply::Push(items) => format!(">[{}]", all(items)),
        }
    }
}

/// How exactly replies have to agree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Agreement {
    pub values: Values,
    pub errors: Errors,
}

impl Agreement {
    /// To the byte.
    pub const EXACT: Agreement = Agreement { values: Values::Exact, errors: Errors::Exact };
}

/// How exactly replies have to agree that are no errors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Values {
    Exact,
    /// The elements are the same, in whatever order; `pairs`: two and two of them belong together.
    Unordered {
        pairs: bool,
    },
    /// Numbers may be written otherwise.
    Number,
    /// Numbers may be a few seconds apart (in milliseconds): time has passed.
    Near,
    /// The same kind of reply, of the same length.
    Shape,
    /// What tells of the moment or of the implementation, in what tells of a stream, is left out.
    Timeless,
    /// Names of encodings, which may differ as the table of encodings says.
    Encoding,
}

/// How exactly errors have to agree: the later, the less.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Errors {
    Exact,
    /// One may lack the SHA1 of the script that failed.
    ButSha1,
    /// Both answer an error, whatever its text.
    Text,
    /// One may answer an error, and the other not: they judge arguments in another order, or more strictly.
    Either,
}

/// How far times may be apart.
const NEAR_MS: f64 = 20_000.0;

/// How far numbers may be apart of which one has 17 decimals.
const LAST_DECIMAL: f64 = 1e-17;

pub fn agree(a: &Reply, b: &Reply, agreement: Agreement) -> bool {
    let is_error = |reply: &Reply| matches!(reply, Reply::Error(_));
    match agreement.errors {
        _ if !is_error(a) && !is_error(b) => values_agree(a, b, agreement.values),
        Errors::Exact => a == b,
        Errors::ButSha1 => match (a, b) {
            (Reply::Error(a), Reply::Error(b)) => without_sha1(a) == without_sha1(b),
            _ => false,
        },
        Errors::Text => is_error(a) && is_error(b),
        Errors::Either => true,
    }
}

/// An error without the script's SHA1 in `script: SHA1, on …`.
fn without_sha1(text: &str) -> String {
    const SHA1_CHARS: usize = 40;
    let Some((start, end)) = text.rsplit_once(" script: ") else { return text.into() };
    match end.get(..SHA1_CHARS).zip(end.get(SHA1_CHARS..)) {
        Some((sha1, end)) if sha1.bytes().all(|byte| byte.is_ascii_hexdigit()) => {
            format!("{start} script: {}", end.trim_start_matches(", "))
        }
        _ => text.into(),
    }
}

fn values_agree(a: &Reply, b: &Reply, values: Values) -> bool {
    match values {
        Values::Exact | Values::Encoding | Values::Timeless => a == b,
        Values::Unordered { pairs } => {
            a == b || (same_kind(a, b) && sorted(a, pairs) == sorted(b, pairs))
        }
        Values::Near => {
            numbers_agree(a, b, |x, y| x == y || ((x - y).abs() < NEAR_MS && x > 0.0 && y > 0.0))
        }
        Values::Number => numbers_agree(a, b, |x, y| x == y || (x - y).abs() <= LAST_DECIMAL),
        Values::Shape => match (a, b) {
            (Reply::Text(_) | Reply::Simple(_), Reply::Text(_) | Reply::Simple(_)) => true,
            _ => same_kind(a, b) && a.items().len() == b.items().len(),
        },
    }
}

/// Whether replies agree where `close` says so of their numbers.
fn numbers_agree(a: &Reply, b: &Reply, close: fn(f64, f64) -> bool) -> bool {
    if let (Some(x), Some(y)) = (a.number(), b.number()) {
        return close(x, y);
    }
    let (x, y) = (a.items(), b.items());
    a == b
        || (same_kind(a, b)
            && x.len() == y.len()
            && !x.is_empty()
            && x.iter().zip(y).all(|(x, y)| numbers_agree(x, y, close)))
}

fn same_kind(a: &Reply, b: &Reply) -> bool {
    std::mem::discriminant(a) == std::mem::discriminant(b)
}

/// The elements at every depth in an order that depends on nothing but themselves.
fn sorted(reply: &Reply, pairs: bool) -> Vec<String> {
    let width = if pairs || matches!(reply, Reply::Map(_)) { 2 } else { 1 };
    let one = |item: &Reply| match item.items() {
        [] => item.shown_whole(),
        _ => sorted(item, pairs).join(" "),
    };
    let mut all: Vec<String> = reply
        .items()
        .chunks(width)
        .map(|group| group.iter().map(one).collect::<Vec<_>>().join(" "))
        .collect();
    all.sort();
    if reply.items().is_empty() {
        all.push(reply.shown_whole());
    }
    all
}

impl Reply {
    fn shown_whole(&self) -> String {
        format!("{self:?}")
    }
}
