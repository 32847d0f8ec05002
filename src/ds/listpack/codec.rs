//! One listpack entry: its value, its encodings, and the way over it.
//!
//! ```text
//! <encoding + length> <data> <backlen>
//!
//! 0xxxxxxx                     unsigned 7-bit integer
//! 10xxxxxx <bytes>             string of up to 63 bytes
//! 110xxxxx xxxxxxxx            signed 13-bit integer, high bits first
//! 1110xxxx xxxxxxxx <bytes>    string of up to 4095 bytes, high bits of the length first
//! 11110000 <u32 LE> <bytes>    string of up to 2^32 - 1 bytes
//! 11110001 .. 11110100         signed integer of 16, 24, 32, 64 bits, little-endian
//! 11111111                     end of the listpack
//! ```
//!
//! The backlen repeats the length of what stands before it, so that the list can be walked
//! backwards: groups of seven bits, most significant group first, all but the first byte marked
//! with the high bit.

/// First byte of the terminator.
pub(crate) const EOF: u8 = 0xff;

const STR6: u8 = 0x80;
const INT13: u8 = 0xc0;
const STR12: u8 = 0xe0;
const STR32: u8 = 0xf0;
const INT16: u8 = 0xf1;
const INT24: u8 = 0xf2;
const INT32: u8 = 0xf3;
const INT64: u8 = 0xf4;

/// The longest text of a signed 64-bit integer: `-9223372036854775808`.
pub const INT_TEXT_MAX: usize = 20;

/// A value as it is stored: integers and strings are two forms of the same thing, a byte string.
///
/// `Str` given to a write is stored as an integer whenever its text is exactly that of an integer;
/// a read gives `Int` for such values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ListpackEntry<'a> {
    /// A string that was the decimal text of a signed 64-bit integer.
    Int(i64),
    /// Any other string.
    Str(&'a [u8]),
}

impl<'a> ListpackEntry<'a> {
    /// Is the value's text equal to `other`? Compares without formatting.
    #[inline]
    pub fn eq_bytes(&self, other: &[u8]) -> bool {
        match *self {
            ListpackEntry::Str(s) => s == other,
            ListpackEntry::Int(v) => parse_int(other) == Some(v),
        }
    }

    /// The value's text: the string itself, or the integer written into `buf`.
    #[inline]
    pub fn to_bytes<'b>(&self, buf: &'b mut [u8; INT_TEXT_MAX]) -> &'b [u8]
    where
        'a: 'b,
    {
        match *self {
            ListpackEntry::Str(s) => s,
            ListpackEntry::Int(v) => {
                let mut text = itoa::Buffer::new();
                let text = text.format(v).as_bytes();
                buf[..text.len()].copy_from_slice(text);
                &buf[..text.len()]
            }
        }
    }

    /// The value's text, owned.
    pub fn to_vec(&self) -> Vec<u8> {
        self.to_bytes(&mut [0; INT_TEXT_MAX]).to_vec()
    }

    /// Length of the value's text in bytes.
    pub fn text_len(&self) -> usize {
        self.to_bytes(&mut [0; INT_TEXT_MAX]).len()
    }

    /// The value as an integer, if its text is exactly that of one.
    #[inline]
    pub fn as_int(&self) -> Option<i64> {
        match *self {
            ListpackEntry::Int(v) => Some(v),
            ListpackEntry::Str(s) => parse_int(s),
        }
    }
}

impl<'a> From<&'a [u8]> for ListpackEntry<'a> {
    fn from(s: &'a [u8]) -> Self {
        ListpackEntry::Str(s)
    }
}

impl<'a, const N: usize> From<&'a [u8; N]> for ListpackEntry<'a> {
    fn from(s: &'a [u8; N]) -> Self {
        ListpackEntry::Str(s)
    }
}

impl<'a> From<&'a Vec<u8>> for ListpackEntry<'a> {
    fn from(s: &'a Vec<u8>) -> Self {
        ListpackEntry::Str(s)
    }
}

impl From<i64> for ListpackEntry<'_> {
    fn from(v: i64) -> Self {
        ListpackEntry::Int(v)
    }
}

/// The integer whose decimal text is exactly `s`: no sign but one `-`, no leading zero, no space,
/// no overflow. So the integer's text is always `s` again, and storing one for the other loses
/// nothing.
#[inline]
pub fn parse_int(s: &[u8]) -> Option<i64> {
    let (negative, digits) = match s {
        [b'0'] => return Some(0),
        [b'-', digits @ ..] => (true, digits),
        digits => (false, digits),
    };
    if !matches!(digits.first(), Some(b'1'..=b'9')) || digits.len() >= INT_TEXT_MAX {
        return None;
    }
    // At most 19 digits: always below 2^64, only the signed range is left to check.
    let mut magnitude = 0u64;
    for digit in digits {
        let digit = digit.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        magnitude = magnitude * 10 + u64::from(digit);
    }
    if negative { 0i64.checked_sub_unsigned(magnitude) } else { i64::try_from(magnitude).ok() }
}

/// An entry ready to be written: encoding bytes and data.
pub(crate) struct Encoded<'a> {
    head: [u8; 9],
    head_len: usize,
    body: &'a [u8],
}

impl<'a> Encoded<'a> {
    #[inline]
    pub(crate) fn new(value: ListpackEntry<'a>) -> Self {
        match value {
            ListpackEntry::Int(v) => Self::int(v),
            ListpackEntry::Str(s) => match parse_int(s) {
                Some(v) => Self::int(v),
                None => Self::string(s),
            },
        }
    }

    fn int(v: i64) -> Self {
        let le = v.to_le_bytes();
        let mut head = [0; 9];
        let data = match v {
            0..=127 => {
                head[0] = le[0];
                0
            }
            -4096..=4095 => {
                head[0] = INT13 | (le[1] & 0x1f);
                head[1] = le[0];
                return Encoded { head, head_len: 2, body: &[] };
            }
            -0x8000..=0x7fff => {
                head[0] = INT16;
                2
            }
            -0x80_0000..=0x7f_ffff => {
                head[0] = INT24;
                3
            }
            -0x8000_0000..=0x7fff_ffff => {
                head[0] = INT32;
                4
            }
            _ => {
                head[0] = INT64;
                8
            }
        };
        head[1..=data].copy_from_slice(&le[..data]);
        Encoded { head, head_len: 1 + data, body: &[] }
    }

    fn string(s: &'a [u8]) -> Self {
        let mut head = [0; 9];
        let head_len = match s.len() {
            len @ 0..=63 => {
                head[0] = STR6 | len as u8;
                1
            }
            len @ 64..=4095 => {
                head[0] = STR12 | (len >> 8) as u8;
                head[1] = len as u8;
                2
            }
            len => {
                // Longer ones never get here: `entry_len` of them exceeds the size that a write
                // allows.
                head[0] = STR32;
                head[1..5].copy_from_slice(&(len as u32).to_le_bytes());
                5
            }
        };
        Encoded { head, head_len, body: s }
    }

    /// Bytes of encoding and data, what the backlen counts.
    fn encoded_len(&self) -> usize {
        self.head_len + self.body.len()
    }

    /// Bytes of the whole entry.
    #[inline]
    pub(crate) fn entry_len(&self) -> usize {
        with_backlen(self.encoded_len())
    }

    /// Writes the whole entry over `out`, whose length must be `entry_len`.
    #[inline]
    pub(crate) fn write(&self, out: &mut [u8]) {
        // Most entries have one byte of encoding and one of backlen: no calls to copy them.
        out[0] = self.head[0];
        if self.head_len > 1 {
            out[1..self.head_len].copy_from_slice(&self.head[1..self.head_len]);
        }
        let (body, backlen) = out[self.head_len..].split_at_mut(self.body.len());
        body.copy_from_slice(self.body);
        let mut left = self.encoded_len();
        if let [byte] = backlen {
            *byte = left as u8;
            return;
        }
        for byte in backlen.iter_mut().rev() {
            *byte = (left & 127) as u8 | 128;
            left >>= 7;
        }
        backlen[0] &= 127;
    }

    /// Writes the whole entry behind the last byte of `out`.
    #[inline]
    pub(crate) fn append(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.head[..1]);
        if self.head_len > 1 {
            out.extend_from_slice(&self.head[1..self.head_len]);
        }
        out.extend_from_slice(self.body);
        let len = self.encoded_len();
        let backlen = with_backlen(len) - len;
        for group in (0..backlen).rev() {
            let mark = if group + 1 == backlen { 0 } else { 128 };
            out.push((len >> (7 * group)) as u8 & 127 | mark);
        }
    }
}

/// The value at `at`, and its length without the backlen. `None` at the end, and for bytes that are
/// no entry.
#[inline]
pub(crate) fn decode(buf: &[u8], at: usize) -> Option<(ListpackEntry<'_>, usize)> {
    let (&tag, rest) = buf.get(at..)?.split_first()?;
    Some(match tag {
        0..STR6 => (ListpackEntry::Int(i64::from(tag)), 1),
        STR6..INT13 => {
            let len = usize::from(tag & 0x3f);
            (ListpackEntry::Str(rest.get(..len)?), 1 + len)
        }
        INT13..STR12 => {
            let value = u16::from_be_bytes([tag & 0x1f, *rest.first()?]);
            // Shifted up and down again to spread the sign bit.
            (ListpackEntry::Int(i64::from((value << 3) as i16 >> 3)), 2)
        }
        STR12..STR32 => {
            let len = usize::from(u16::from_be_bytes([tag & 0x0f, *rest.first()?]));
            (ListpackEntry::Str(rest.get(1..1 + len)?), 2 + len)
        }
        STR32 => {
            let len = u32::from_le_bytes(*rest.first_chunk()?) as usize;
            (ListpackEntry::Str(rest.get(4..)?.get(..len)?), 5 + len)
        }
        INT16 => (ListpackEntry::Int(i64::from(i16::from_le_bytes(*rest.first_chunk()?))), 3),
        INT24 => {
            let &[a, b, c] = rest.first_chunk()?;
            (ListpackEntry::Int(i64::from(i32::from_le_bytes([0, a, b, c]) >> 8)), 4)
        }
        INT32 => (ListpackEntry::Int(i64::from(i32::from_le_bytes(*rest.first_chunk()?))), 5),
        INT64 => (ListpackEntry::Int(i64::from_le_bytes(*rest.first_chunk()?)), 9),
        _ => return None,
    })
}

/// Whole length of an entry by its first byte; 0 where the first byte alone does not tell.
///
/// One load instead of a chain of branches: walking over entries of mixed kinds mispredicts
/// otherwise.
static SHORT_ENTRY_LEN: [u8; 256] = {
    let mut table = [0; 256];
    let mut tag = 0;
    while tag < 256 {
        table[tag] = match tag as u8 {
            0..STR6 => 2,
            STR6..INT13 => (tag as u8 & 0x3f) + 2,
            INT13..STR12 => 3,
            INT16 => 4,
            INT24 => 5,
            INT32 => 6,
            INT64 => 10,
            _ => 0,
        };
        tag += 1;
    }
    table
};

/// Whole length of an entry by its first byte; `None` where the first byte alone does not tell.
#[inline]
fn short_entry_len(tag: u8) -> Option<usize> {
    match SHORT_ENTRY_LEN[usize::from(tag)] {
        0 => None,
        len => Some(usize::from(len)),
    }
}

/// Offset of what follows the entry at `at`, which may be the end mark. `None` at the end mark or
/// on corrupt bytes.
#[inline]
pub(crate) fn skip(buf: &[u8], at: usize) -> Option<usize> {
    match short_entry_len(*buf.get(at)?) {
        Some(len) => Some(at + len),
        None => decode(buf, at).map(|(_, len)| at + with_backlen(len)),
    }
}

/// Offset of the first entry equal to `needle`, from the entry at `at` on, passing over
/// `skip_count` entries after each one compared.
#[inline]
pub(crate) fn find(buf: &[u8], mut at: usize, needle: &[u8], skip_count: usize) -> Option<usize> {
    let needle_int = parse_int(needle);
    // A short string's first byte is its length: most other entries are refused by this comparison
    // alone.
    let needle_tag = if needle.len() < 64 { STR6 | needle.len() as u8 } else { EOF };
    loop {
        let tag = *buf.get(at)?;
        match short_entry_len(tag) {
            None => {
                let (entry, len) = decode(buf, at)?;
                if entry == ListpackEntry::Str(needle) {
                    return Some(at);
                }
                at += with_backlen(len);
            }
            Some(len) => {
                if tag == needle_tag {
                    if buf.get(at + 1..at + 1 + needle.len())? == needle {
                        return Some(at);
                    }
                } else if let Some(int) = needle_int
                    && decode(buf, at)?.0 == ListpackEntry::Int(int)
                {
                    return Some(at);
                }
                at += len;
            }
        }
        for _ in 0..skip_count {
            at = skip(buf, at)?;
        }
    }
}

/// Start of the entry that ends just before `at`. `None` where no such entry can be.
#[inline]
pub(crate) fn entry_before(buf: &[u8], at: usize) -> Option<usize> {
    let mut len = 0;
    for group in 0..5 {
        let byte = *buf.get(at.checked_sub(group + 1)?)?;
        len |= usize::from(byte & 127) << (7 * group);
        if byte & 128 == 0 {
            return at.checked_sub(with_backlen(len));
        }
    }
    None
}

/// `len` plus the bytes of a backlen that states it.
///
/// The format's own writers step to the next size one value early (at 16383, not 16384, and so on).
/// To be byte-compatible, and to find the entry's start again, one must do the same.
#[inline]
pub(crate) fn with_backlen(len: usize) -> usize {
    len + match len {
        0..=127 => 1,
        128..16_383 => 2,
        16_383..2_097_151 => 3,
        2_097_151..268_435_455 => 4,
        _ => 5,
    }
}
