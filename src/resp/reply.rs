//! The reply writer: values in, RESP2 or RESP3 bytes out.
//!
//! A command handler says what a reply *is* (a map, a set, a double); the writer knows which protocol the client
//! speaks and what that value looks like there.
//!
//! What goes out to a client grows in pieces of one size, so that a large reply is never moved, and is judged at each
//! of them: beyond the client's limit it is given up, and nothing more is kept of it however long its command goes on.

use super::error::CommandError;
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

/// The least memory of a reply, in bytes.
const MIN_BUFFER: usize = 128;
/// The longest header, in bytes: a type, a length and a line break.
const MAX_HEADER: usize = 23;
/// Bytes around a bulk string of less than a hundred: `$nn\r\n` and `\r\n`.
const SHORT_FRAME: usize = 7;
/// Bytes of a piece.
pub const PIECE: usize = 256 * 1024;

/// A growing buffer of replies.
#[derive(Debug)]
pub struct Reply {
    /// The full pieces of what goes out, in order.
    pieces: Vec<Vec<u8>>,
    /// Bytes of all pieces, those included that were dropped when the reply was given up.
    pieces_len: usize,
    /// The piece that is being written.
    buf: Vec<u8>,
    pub protocol: Protocol,
    /// What is written here goes to the current client's socket as it is, and may go there at any time.
    goes_out: bool,
    /// More bytes than this are not wanted.
    limit: usize,
    given_up: bool,
}

impl Default for Reply {
    fn default() -> Reply {
        Reply::new(Protocol::default())
    }
}

impl Reply {
    /// A reply that somebody else looks at: in one piece, however long.
    pub fn new(protocol: Protocol) -> Reply {
        Reply {
            pieces: Vec::new(),
            pieces_len: 0,
            buf: Vec::new(),
            protocol,
            goes_out: false,
            limit: usize::MAX,
            given_up: false,
        }
    }

    /// What is written from now on goes to a client that takes at most `limit` bytes.
    pub fn begin_output(&mut self, protocol: Protocol, limit: usize) {
        (self.protocol, self.goes_out, self.limit) = (protocol, true, limit);
    }

    /// A reply of its own that becomes a part of this one, with [`Reply::append`].
    pub fn part(&self) -> Reply {
        Reply { goes_out: self.goes_out, limit: self.limit, ..Reply::new(self.protocol) }
    }

    /// Adds a part. A long one is not copied.
    pub fn append(&mut self, part: Reply) {
        if part.pieces_len == 0 || self.given_up {
            return self.raw(&part.buf);
        }
        self.pieces_len += self.buf.len() + part.pieces_len;
        self.pieces.push(std::mem::replace(&mut self.buf, part.buf));
        self.pieces.extend(part.pieces);
        if part.given_up {
            self.give_up();
        }
    }

    /// What is written from now on goes to nobody yet.
    pub fn end_output(&mut self) {
        self.goes_out = false;
    }

    #[inline]
    pub fn goes_out(&self) -> bool {
        self.goes_out
    }

    /// Whether the reply is longer than its client takes. Nothing is kept of it: a command that has only to answer
    /// may stop.
    #[inline]
    pub fn is_given_up(&self) -> bool {
        self.given_up
    }

    /// Bytes written so far.
    #[inline]
    pub fn len(&self) -> usize {
        self.pieces_len + self.buf.len()
    }

    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The bytes, of a reply that is in one piece: one that does not go out, or is shorter than [`PIECE`].
    pub fn as_bytes(&self) -> &[u8] {
        debug_assert!(self.pieces.is_empty());
        &self.buf
    }

    /// Takes back everything behind the first `len` bytes: a handler that fails half-way leaves no half reply.
    #[inline]
    pub fn truncate(&mut self, len: usize) {
        if len < self.pieces_len {
            self.truncate_pieces(len);
        } else {
            self.buf.truncate(len - self.pieces_len);
        }
    }

    #[cold]
    fn truncate_pieces(&mut self, len: usize) {
        if len == 0 {
            return self.clear();
        }
        if self.given_up {
            // A part of what is to stay is gone.
            return;
        }
        while self.pieces_len > len
            && let Some(piece) = self.pieces.pop()
        {
            self.pieces_len -= piece.len();
            self.buf = piece;
        }
        self.buf.truncate(len - self.pieces_len);
    }

    pub fn clear(&mut self) {
        self.buf.clear();
        self.pieces = Vec::new();
        (self.pieces_len, self.given_up) = (0, false);
    }

    /// The bytes of a reply that is in one piece, taken out of the writer.
    pub fn take(&mut self) -> Vec<u8> {
        debug_assert!(self.pieces.is_empty());
        std::mem::take(&mut self.buf)
    }

    /// All pieces, taken out of the writer. The last one may be much shorter than its memory.
    pub fn take_pieces(&mut self) -> impl Iterator<Item = Vec<u8>> + use<> {
        let (pieces, last) = (std::mem::take(&mut self.pieces), std::mem::take(&mut self.buf));
        self.clear();
        pieces.into_iter().chain([last])
    }

    /// Goes on in the memory of a buffer that was taken out, and is not needed any more.
    pub fn reuse(&mut self, buf: Vec<u8>) {
        debug_assert!(self.is_empty() && buf.is_empty());
        self.buf = buf;
    }

    /// Bytes that are RESP already.
    #[inline]
    pub fn raw(&mut self, bytes: &[u8]) {
        if self.buf.capacity() - self.buf.len() < bytes.len() && self.goes_out {
            return self.raw_in_pieces(bytes);
        }
        self.buf.extend_from_slice(bytes);
    }

    /// The same where the piece has no room for all of them.
    #[cold]
    fn raw_in_pieces(&mut self, mut bytes: &[u8]) {
        while !self.given_up {
            let have = self.buf.len();
            if have < PIECE {
                // A short reply needs no whole piece.
                let wanted = (have + bytes.len()).max(2 * have).clamp(MIN_BUFFER, PIECE);
                self.buf.reserve_exact(wanted - have);
            }
            let (now, later) = bytes.split_at(bytes.len().min(self.buf.capacity() - have));
            self.buf.extend_from_slice(now);
            bytes = later;
            if bytes.is_empty() {
                return;
            }
            self.pieces_len += self.buf.len();
            self.pieces.push(std::mem::take(&mut self.buf));
            if self.pieces_len > self.limit {
                self.give_up();
            }
        }
    }

    fn give_up(&mut self) {
        (self.pieces, self.buf) = (Vec::new(), Vec::new());
        self.given_up = true;
    }

    pub fn is_resp3(&self) -> bool {
        self.protocol == Protocol::Resp3
    }

    #[inline]
    pub fn ok(&mut self) {
        self.raw(b"+OK\r\n");
    }

    pub fn simple(&mut self, text: impl AsRef<[u8]>) {
        self.raw(b"+");
        self.line(text.as_ref());
    }

    pub fn error(&mut self, error: &CommandError) {
        self.error_text(&error.to_bytes());
    }

    /// An error whose code is in its text. Line breaks, which would break the protocol, become spaces.
    pub fn error_text(&mut self, text: &[u8]) {
        let is_break = |byte: &u8| matches!(byte, b'\r' | b'\n');
        let end = text.iter().rposition(|byte| !is_break(byte)).map_or(0, |last| last + 1);
        let one_line = |byte: &u8| if is_break(byte) { b' ' } else { *byte };
        self.raw(b"-");
        self.line(&text[..end].iter().map(one_line).collect::<Vec<u8>>());
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
        let len = bytes.len();
        if len >= 100 || self.buf.capacity() - self.buf.len() < len + SHORT_FRAME {
            return self.long_bulk(bytes);
        }
        // One look at the room for all of it.
        let (tens, ones) = (b'0' + len as u8 / 10, b'0' + len as u8 % 10);
        if len < 10 {
            self.buf.extend_from_slice(&[b'$', ones, b'\r', b'\n']);
        } else {
            self.buf.extend_from_slice(&[b'$', tens, ones, b'\r', b'\n']);
        }
        self.buf.extend_from_slice(bytes);
        self.buf.extend_from_slice(b"\r\n");
    }

    fn long_bulk(&mut self, bytes: &[u8]) {
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
                self.raw(b",");
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
                self.raw(b"(");
                self.line(digits);
            }
        }
    }

    /// Text meant to be shown as it is; `format` has three letters (`txt`, `mkd`).
    pub fn verbatim(&mut self, format: &[u8; 3], text: &[u8]) {
        match self.protocol {
            Protocol::Resp2 => self.bulk(text),
            Protocol::Resp3 => {
                self.header(b'=', text.len() as i64 + 4);
                self.raw(format);
                self.raw(b":");
                self.line(text);
            }
        }
    }

    /// Marks the place of an aggregate's length; its elements follow, and then one of the `set_*` calls.
    pub fn deferred(&mut self) -> Deferred {
        Deferred(self.len())
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
        if self.given_up {
            return;
        }
        if at.0 < self.pieces_len {
            let mut header = Reply::new(self.protocol);
            write(&mut header);
            return self.insert_in_pieces(at.0, &header.buf);
        }
        let (end, start) = (self.buf.len(), at.0 - self.pieces_len);
        if end >= PIECE / 2 {
            // A full piece takes no more than the header: it would double.
            self.buf.reserve_exact(MAX_HEADER);
        }
        let goes_out = std::mem::replace(&mut self.goes_out, false);
        write(self);
        self.goes_out = goes_out;
        let header = self.buf.len() - end;
        self.buf[start..].rotate_right(header);
    }

    #[cold]
    fn insert_in_pieces(&mut self, at: usize, header: &[u8]) {
        let mut start = 0;
        for piece in &mut self.pieces {
            if at < start + piece.len() {
                piece.splice(at - start..at - start, header.iter().copied());
                self.pieces_len += header.len();
                return;
            }
            start += piece.len();
        }
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
        self.raw(&[kind]);
        self.line(digits.format(n).as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

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
            (|r| r.verbatim(b"txt", b"hi"), "$2\r\nhi\r\n", "=6\r\ntxt:hi\r\n"),
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

    /// A reply that goes to a client.
    fn output(limit: usize) -> Reply {
        let mut reply = Reply::default();
        reply.begin_output(Protocol::Resp2, limit);
        reply
    }

    #[test]
    fn what_is_too_long_is_given_up_and_takes_no_memory() {
        let mut reply = output(3 * PIECE);
        let mut longest = 0;
        for _ in 0..20 {
            reply.bulk(&[b'x'; PIECE]);
            longest = longest.max(reply.pieces.len());
        }
        let at = reply.deferred();
        reply.int(1);
        reply.set_array(at, 1);
        assert!(reply.is_given_up() && longest <= 4 && reply.len() > 3 * PIECE);
        assert_eq!((reply.pieces.len(), reply.buf.capacity()), (0, 0));
        reply.truncate(5);
        assert!(reply.is_given_up());
        reply.clear();
        reply.ok();
        assert_eq!(reply.as_bytes(), b"+OK\r\n");
    }

    /// What a command writes.
    #[derive(Clone, Debug)]
    enum Step {
        Raw(usize),
        Array(Vec<usize>),
        Part(Vec<usize>),
        /// Fails after so many bytes.
        Failed(usize),
    }

    impl Step {
        fn write(&self, reply: &mut Reply) {
            match self {
                Step::Raw(len) => reply.bulk(&vec![b'a'; *len]),
                Step::Array(lens) => {
                    let at = reply.deferred();
                    lens.iter().for_each(|len| reply.bulk(&vec![b'b'; *len]));
                    reply.set_array(at, lens.len());
                }
                Step::Part(lens) => {
                    let mut part = reply.part();
                    lens.iter().for_each(|len| part.bulk(&vec![b'd'; *len]));
                    reply.array(lens.len());
                    reply.append(part);
                }
                Step::Failed(len) => {
                    let start = reply.len();
                    reply.bulk(&vec![b'c'; *len]);
                    reply.truncate(start);
                    reply.error_text(b"ERR failed");
                }
            }
        }
    }

    fn any_len() -> impl Strategy<Value = usize> {
        prop_oneof![0..300usize, PIECE - 20..PIECE + 20, 0..3 * PIECE]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(50))]
        #[test]
        fn pieces_hold_what_one_buffer_would(
            steps in prop::collection::vec(
                prop_oneof![
                    any_len().prop_map(Step::Raw),
                    prop::collection::vec(any_len(), 0..4).prop_map(Step::Array),
                    prop::collection::vec(any_len(), 0..4).prop_map(Step::Part),
                    any_len().prop_map(Step::Failed),
                ],
                0..8,
            ),
        ) {
            let (mut whole, mut reply) = (Reply::default(), output(usize::MAX));
            for step in steps {
                step.write(&mut whole);
                step.write(&mut reply);
            }
            prop_assert_eq!(reply.len(), whole.len());
            let pieces: Vec<Vec<u8>> = reply.take_pieces().collect();
            prop_assert!(pieces.iter().all(|piece| piece.len() < PIECE + 100));
            prop_assert!(pieces.concat() == whole.take());
            prop_assert!(reply.is_empty());
        }
    }

    /// A header is inserted into a piece that is full, and more follows.
    #[test]
    fn a_full_piece_does_not_double() {
        let mut reply = output(usize::MAX);
        let at = reply.deferred();
        reply.raw(&vec![b'a'; PIECE]);
        reply.set_array(at, 1);
        reply.raw(&vec![b'b'; PIECE / 2]);
        let pieces: Vec<usize> = reply.take_pieces().map(|piece| piece.len()).collect();
        assert!(pieces[0] <= PIECE + MAX_HEADER && pieces.len() == 2, "{pieces:?}");
    }

    #[test]
    fn an_error_stays_on_its_line() {
        let (text, _) = both(|r| r.error_text(b"ERR a\r\nb\n"));
        assert_eq!(text, "-ERR a  b\r\n");
    }
}
