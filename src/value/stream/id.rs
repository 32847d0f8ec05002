//! The ID of a stream entry: `<milliseconds>-<sequence>`, both of 64 bits.

use crate::util::number::parse_u64;
use std::fmt;
use std::ops::Deref;

/// Longer texts are no IDs, whatever is in them.
const MAX_TEXT_READ: usize = 127;
/// Two numbers of up to 20 digits and a dash.
const MAX_TEXT: usize = 41;

/// An entry's ID. IDs are ordered by time, then by sequence number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct StreamId {
    /// Milliseconds since 1970, where the server chose the ID.
    pub ms: u64,
    pub seq: u64,
}

/// The text of an ID, on the stack.
pub struct IdText {
    buf: [u8; MAX_TEXT],
    len: usize,
}

impl StreamId {
    pub const MIN: StreamId = StreamId { ms: 0, seq: 0 };
    pub const MAX: StreamId = StreamId { ms: u64::MAX, seq: u64::MAX };

    pub const fn new(ms: u64, seq: u64) -> StreamId {
        StreamId { ms, seq }
    }

    /// The smallest ID after this one, if there is one.
    #[inline]
    pub fn next(self) -> Option<StreamId> {
        match self.seq.checked_add(1) {
            Some(seq) => Some(StreamId { seq, ..self }),
            None => Some(StreamId { ms: self.ms.checked_add(1)?, seq: 0 }),
        }
    }

    /// The largest ID before this one, if there is one.
    pub fn prev(self) -> Option<StreamId> {
        match self.seq.checked_sub(1) {
            Some(seq) => Some(StreamId { seq, ..self }),
            None => Some(StreamId { ms: self.ms.checked_sub(1)?, seq: u64::MAX }),
        }
    }

    /// The ID as one number, in the same order.
    pub fn to_bits(self) -> u128 {
        u128::from(self.ms) << 64 | u128::from(self.seq)
    }

    /// The ID of such a number.
    pub fn from_bits(bits: u128) -> StreamId {
        StreamId { ms: (bits >> 64) as u64, seq: bits as u64 }
    }

    /// Reads `<ms>-<seq>`, or `<ms>` alone, which stands for `<ms>-<missing_seq>`.
    pub fn parse(text: &[u8], missing_seq: u64) -> Option<StreamId> {
        if text.len() > MAX_TEXT_READ {
            return None;
        }
        match text.iter().position(|&byte| byte == b'-') {
            Some(dash) => {
                Some(StreamId { ms: parse_u64(&text[..dash])?, seq: parse_u64(&text[dash + 1..])? })
            }
            None => Some(StreamId { ms: parse_u64(text)?, seq: missing_seq }),
        }
    }

    /// The ID as text.
    #[inline]
    pub fn text(self) -> IdText {
        let mut text = IdText { buf: [0; MAX_TEXT], len: 0 };
        let mut digits = itoa::Buffer::new();
        text.put(digits.format(self.ms).as_bytes());
        text.put(b"-");
        text.put(digits.format(self.seq).as_bytes());
        text
    }

    /// The ID as one number of 128 bits, most significant byte first: its form in RDB files.
    pub fn to_be_bytes(self) -> [u8; 16] {
        (u128::from(self.ms) << 64 | u128::from(self.seq)).to_be_bytes()
    }

    pub fn from_be_bytes(bytes: [u8; 16]) -> StreamId {
        let both = u128::from_be_bytes(bytes);
        StreamId { ms: (both >> 64) as u64, seq: both as u64 }
    }

    /// How far this ID is from `base`: the differences of both halves, which wrap around.
    #[inline]
    pub(super) fn delta(self, base: StreamId) -> (i64, i64) {
        (self.ms.wrapping_sub(base.ms) as i64, self.seq.wrapping_sub(base.seq) as i64)
    }

    /// The ID this far from `self`.
    #[inline]
    pub(super) fn plus(self, (ms, seq): (i64, i64)) -> StreamId {
        StreamId { ms: self.ms.wrapping_add(ms as u64), seq: self.seq.wrapping_add(seq as u64) }
    }
}

impl fmt::Display for StreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.ms, self.seq)
    }
}

impl IdText {
    #[inline]
    fn put(&mut self, part: &[u8]) {
        self.buf[self.len..self.len + part.len()].copy_from_slice(part);
        self.len += part.len();
    }
}

impl Deref for IdText {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        &self.buf[..self.len]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_of_ids() {
        for (text, id) in [
            ("1-2", Some(StreamId::new(1, 2))),
            ("7", Some(StreamId::new(7, 99))),
            ("0001-01", Some(StreamId::new(1, 1))),
            ("18446744073709551615-18446744073709551615", Some(StreamId::MAX)),
            ("18446744073709551616-1", None),
            ("", None),
            ("-", None),
            ("1-", None),
            ("-1", None),
            ("1-2-3", None),
            ("1-*", None),
            ("a-1", None),
        ] {
            assert_eq!(StreamId::parse(text.as_bytes(), 99), id, "{text}");
        }
        assert_eq!(&*StreamId::MAX.text(), StreamId::MAX.to_string().as_bytes());
        assert_eq!(&*StreamId::MIN.text(), b"0-0");
    }

    #[test]
    fn neighbours() {
        assert_eq!(StreamId::new(1, u64::MAX).next(), Some(StreamId::new(2, 0)));
        assert_eq!(StreamId::new(2, 0).prev(), Some(StreamId::new(1, u64::MAX)));
        assert_eq!(StreamId::MAX.next(), None);
        assert_eq!(StreamId::MIN.prev(), None);
        let (a, b) = (StreamId::new(5, 0), StreamId::new(u64::MAX, 7));
        assert_eq!(a.plus(b.delta(a)), b);
        assert_eq!(b.plus(a.delta(b)), a);
        assert_eq!(StreamId::from_be_bytes(b.to_be_bytes()), b);
    }
}
