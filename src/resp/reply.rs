//! The reply writer: values in, RESP2 or RESP3 bytes out.
//!
//! A command handler says what a reply *is* (a map, a set, a double); the writer knows which protocol the client
//! speaks and what that value looks like there.
#![forbid(unsafe_code)]

use crate::util::bytes_text::written;
use crate::util::number::{MAX_F64_CHARS, fmt_f64};

/// The protocol version that a client chose with `HELLO`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Protocol {
    #[default]
    Resp2,
    Resp3,
}

impl Protocol {
    /// 2 or 3, as `HELLO` and `CLIENT LIST` print it.
    pub fn version(self) -> u8 {
        match self {
            Protocol::Resp2 => 2,
            Protocol::Resp3 => 3,
        }
    }
}

/// The place of a length that is not known yet.
#[must_use]
#[derive(Debug, Clone, Copy)]
pub struct Deferred(usize);

/// A growing buffer of replies.
#[derive(Debug, Default)]
pub struct Reply {
    buf: Vec<u8>,
    pub protocol: Protocol,
    /// What is written here goes to the current client's socket as it is, and may go there at any time.
    pub goes_out: bool,
}

impl Reply {
    pub fn new(protocol: Protocol) -> Self {
        Reply { buf: Vec::new(), protocol, goes_out: false }
    }

    /// Bytes written so far.
    #[inline]
    pub fn len(&self) -> usize {
        self.buf.len()
    }

    #[inline]
    pub fn is_empty(&self) -> bool {
        self.buf.is_empty()
    }

    pub fn as_bytes(&self) -> &[u8] {
        &self.buf
    }

    /// Takes back everything behind the first `len` bytes: a handler that fails half-way leaves no half reply.
    #[inline]
    pub fn truncate(&mut self, len: usize) {
        self.buf.truncate(len);
    }

    pub fn clear(&mut self) {
        self.buf.clear();
    }

    /// The bytes from `from` on, taken out of the writer.
    pub fn split_off(&mut self, from: usize) -> Vec<u8> {
        if from == 0 {
            return std::mem::take(&mut self.buf);
        }
        self.buf.split_off(from)
    }

    /// Goes on in the memory of a buffer that was taken out, and is not needed any more.
    pub fn reuse(&mut self, buf: Vec<u8>) {
        debug_assert!(self.buf.is_empty() && buf.is_empty());
        self.buf = buf;
    }

    /// Bytes that are RESP already.
    #[inline]
    pub fn raw(&mut self, bytes: &[u8]) {
        self.buf.extend_from_slice(bytes);
    }

    pub fn is_resp3(&self) -> bool {
        self.protocol == Protocol::Resp3
    }

    #[inline]
    pub fn ok(&mut self) {
        self.raw(b"+OK\r\n");
    }

    pub fn simple(&mut self, text: &str) {
        self.buf.push(b'+');
        self.line(&written(text));
    }

    /// An error: `text` starts with its code (`ERR …`). Line breaks, which would break the protocol, become spaces.
    pub fn error(&mut self, text: &str) {
        self.buf.push(b'-');
        let text = written(text.trim_end_matches(['\r', '\n']));
        self.buf
            .extend(text.iter().copied().map(|b| if b == b'\r' || b == b'\n' { b' ' } else { b }));
        self.raw(b"\r\n");
    }

    #[inline]
    pub fn int(&mut self, n: i64) {
        match n {
            0 => self.raw(b":0\r\n"),
            1 => self.raw(b":1\r\n"),
            _ => self.header(b':', n),
        }
    }

    #[inline]
    pub fn bulk(&mut self, bytes: &[u8]) {
        self.buf.reserve(bytes.len() + 16);
        self.bulk_header(bytes.len());
        self.raw(bytes);
        self.raw(b"\r\n");
    }

    /// The beginning of a bulk string whose bytes take another way.
    #[inline]
    pub fn bulk_header(&mut self, len: usize) {
        self.header(b'$', len as i64);
    }

    pub fn bulk_str(&mut self, text: &str) {
        self.bulk(text.as_bytes());
    }

    /// An integer as a bulk string.
    pub fn bulk_int(&mut self, n: i64) {
        let mut digits = itoa::Buffer::new();
        self.bulk(digits.format(n).as_bytes());
    }

    /// A bulk string, or null when there is none.
    pub fn bulk_or_null(&mut self, bytes: Option<&[u8]>) {
        match bytes {
            Some(bytes) => self.bulk(bytes),
            None => self.null(),
        }
    }

    #[inline]
    pub fn null(&mut self) {
        self.raw(if self.is_resp3() { b"_\r\n" } else { b"$-1\r\n" });
    }

    pub fn null_array(&mut self) {
        self.raw(if self.is_resp3() { b"_\r\n" } else { b"*-1\r\n" });
    }

    #[inline]
    pub fn array(&mut self, n: usize) {
        self.header(b'*', n as i64);
    }

    /// `n` key and value pairs follow.
    pub fn map(&mut self, n: usize) {
        match self.protocol {
            Protocol::Resp2 => self.array(2 * n),
            Protocol::Resp3 => self.header(b'%', n as i64),
        }
    }

    pub fn set(&mut self, n: usize) {
        self.header(if self.is_resp3() { b'~' } else { b'*' }, n as i64);
    }

    /// Out-of-band data: an array for a client that speaks RESP2.
    pub fn push(&mut self, n: usize) {
        self.header(if self.is_resp3() { b'>' } else { b'*' }, n as i64);
    }

    /// `n` attribute pairs follow, and then the reply that they describe. Only for RESP3.
    pub fn attribute(&mut self, n: usize) {
        debug_assert!(self.is_resp3());
        self.header(b'|', n as i64);
    }

    pub fn double(&mut self, x: f64) {
        let mut buf = [0; MAX_F64_CHARS];
        let text = fmt_f64(x, &mut buf);
        match self.protocol {
            Protocol::Resp2 => self.bulk(text),
            Protocol::Resp3 => {
                self.buf.push(b',');
                self.line(text);
            }
        }
    }

    pub fn bool(&mut self, yes: bool) {
        match self.protocol {
            Protocol::Resp2 => self.int(i64::from(yes)),
            Protocol::Resp3 => self.raw(if yes { b"#t\r\n" } else { b"#f\r\n" }),
        }
    }

    /// A number too large for 64 bits, in decimal.
    pub fn bignum(&mut self, digits: &[u8]) {
        match self.protocol {
            Protocol::Resp2 => self.bulk(digits),
            Protocol::Resp3 => {
                self.buf.push(b'(');
                self.line(digits);
            }
        }
    }

    /// Text meant to be shown as it is; `format` has three letters (`txt`, `mkd`).
    pub fn verbatim(&mut self, format: &str, text: &[u8]) {
        match self.protocol {
            Protocol::Resp2 => self.bulk(text),
            Protocol::Resp3 => {
                self.header(b'=', text.len() as i64 + 4);
                self.raw(format.as_bytes());
                self.buf.push(b':');
                self.line(text);
            }
        }
    }

    /// Marks the place of an aggregate's length; its elements follow, and then one of the `set_*` calls.
    pub fn deferred(&mut self) -> Deferred {
        Deferred(self.buf.len())
    }

    pub fn set_array(&mut self, at: Deferred, n: usize) {
        self.insert_header(at, |reply| reply.array(n));
    }

    pub fn set_map(&mut self, at: Deferred, n: usize) {
        self.insert_header(at, |reply| reply.map(n));
    }

    pub fn set_set(&mut self, at: Deferred, n: usize) {
        self.insert_header(at, |reply| reply.set(n));
    }

    fn insert_header(&mut self, at: Deferred, write: impl FnOnce(&mut Reply)) {
        let end = self.buf.len();
        write(self);
        let header = self.buf.len() - end;
        self.buf[at.0..].rotate_right(header);
    }

    fn line(&mut self, bytes: &[u8]) {
        self.raw(bytes);
        self.raw(b"\r\n");
    }

    #[inline]
    fn header(&mut self, kind: u8, n: i64) {
        if (0..100).contains(&n) {
            // Lengths and counts are nearly always small: no general number formatting for them.
            let n = n as u8;
            if n < 10 {
                self.raw(&[kind, b'0' + n, b'\r', b'\n']);
            } else {
                self.raw(&[kind, b'0' + n / 10, b'0' + n % 10, b'\r', b'\n']);
            }
            return;
        }
        let mut digits = itoa::Buffer::new();
        self.buf.push(kind);
        self.line(digits.format(n).as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn both(write: impl Fn(&mut Reply)) -> (String, String) {
        let text = |protocol| {
            let mut reply = Reply::new(protocol);
            write(&mut reply);
            String::from_utf8(reply.as_bytes().to_vec()).unwrap()
        };
        (text(Protocol::Resp2), text(Protocol::Resp3))
    }

    #[test]
    fn each_type_in_both_protocols() {
        type Case = (fn(&mut Reply), &'static str, &'static str);
        let table: [Case; 14] = [
            (|r| r.simple("PONG"), "+PONG\r\n", "+PONG\r\n"),
            (|r| r.int(-123), ":-123\r\n", ":-123\r\n"),
            (|r| r.int(i64::MIN), ":-9223372036854775808\r\n", ":-9223372036854775808\r\n"),
            (|r| r.bulk(b"abc"), "$3\r\nabc\r\n", "$3\r\nabc\r\n"),
            (|r| r.bulk_int(1234), "$4\r\n1234\r\n", "$4\r\n1234\r\n"),
            (|r| r.null(), "$-1\r\n", "_\r\n"),
            (|r| r.null_array(), "*-1\r\n", "_\r\n"),
            (|r| r.map(2), "*4\r\n", "%2\r\n"),
            (|r| r.set(100), "*100\r\n", "~100\r\n"),
            (|r| r.push(3), "*3\r\n", ">3\r\n"),
            (|r| r.double(1.5), "$3\r\n1.5\r\n", ",1.5\r\n"),
            (|r| r.bool(true), ":1\r\n", "#t\r\n"),
            (|r| r.bignum(b"12"), "$2\r\n12\r\n", "(12\r\n"),
            (|r| r.verbatim("txt", b"hi"), "$2\r\nhi\r\n", "=6\r\ntxt:hi\r\n"),
        ];
        for (write, resp2, resp3) in table {
            assert_eq!(both(write), (resp2.to_string(), resp3.to_string()));
        }
    }

    #[test]
    fn a_deferred_length_goes_before_its_elements() {
        let (resp2, resp3) = both(|r| {
            let at = r.deferred();
            for i in 0..11 {
                r.int(i % 2);
            }
            r.set_set(at, 11);
        });
        assert_eq!(resp2, format!("*11\r\n{}:0\r\n", ":0\r\n:1\r\n".repeat(5)));
        assert_eq!(resp3, format!("~11\r\n{}:0\r\n", ":0\r\n:1\r\n".repeat(5)));
    }

    #[test]
    fn an_error_stays_on_its_line() {
        let (text, _) = both(|r| r.error("ERR a\r\nb\n"));
        assert_eq!(text, "-ERR a  b\r\n");
    }
}
