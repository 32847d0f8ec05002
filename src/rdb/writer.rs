//! Writes RDB files, replication snapshots and the bodies of `DUMP` payloads.
//!
//! What is written is said to [`Records`], which knows the format but not what becomes of the bytes. [`RdbWriter`]
//! writes them: they gather in a buffer; the checksum runs over whole buffers, and strings larger than the buffer pass
//! it by. After an error the output is useless, and so is the writer.

use super::format::{length, opcode, string_encoding};
use crate::util::crc64::crc64;
use crate::util::lzf;
use crate::util::number::parse_i64;
use bitflags::bitflags;
use std::io::{self, Write};
use std::ops::RangeInclusive;

/// Bytes gathered before they are written: few system calls, and still in the cache when the
/// checksum reads them.
const BUFFER: usize = 128 * 1024;
/// The longest text that may be stored as an integer: `-2147483648`.
const MAX_INT_TEXT: usize = 11;
/// Shorter strings never shrink enough to be worth a try.
const MIN_COMPRESSED: usize = 21;
/// A compressed string has to save this many bytes, as much as its longer header may cost.
const MIN_SAVING: usize = 4;

/// Which version is written. They differ in their header, which shuts out older readers, in hashes whose fields expire
/// (there is no form of those that all servers read), and in whether slots can be told of that are on their way here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RdbVersion {
    /// For Redis since 7.0 and Valkey, where no fields expire.
    V10 = 10,
    /// For Redis since 7.4.
    V12 = 12,
    /// For Valkey since 9.0.
    Valkey80 = 80,
}

bitflags! {
    /// What a snapshot is to be without, for a replica that does not want all (`REPLCONF rdb-filter-only` names what it
    /// is to have).
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
    pub struct Excluded: u8 {
        const DATA = 1;
        const FUNCTIONS = 2;
    }
}

/// How to write.
#[derive(Debug, Clone, Copy)]
pub struct WriterOptions {
    pub version: RdbVersion,
    /// `rdbcompression`: LZF for strings of more than 20 bytes, where it pays.
    pub compress: bool,
    /// `rdbchecksum`: without, the trailer is 0, which readers do not check.
    pub checksum: bool,
}

impl Default for WriterOptions {
    fn default() -> Self {
        Self { version: RdbVersion::V10, compress: true, checksum: true }
    }
}

/// Writes the records of an RDB to `W`, in the order of the calls: [`header`](Records::header), then
/// anything, then [`finish`](Self::finish).
pub struct RdbWriter<W> {
    out: W,
    options: WriterOptions,
    buf: Vec<u8>,
    /// Size at which `buf` is written out.
    limit: usize,
    /// Bytes that have left `buf`.
    written: u64,
    /// Checksum of the bytes that have left `buf`.
    crc: u64,
    /// Output of the compressor, kept for its allocation.
    packed: Vec<u8>,
}

/// What records are said to.
pub trait Records {
    fn options(&self) -> &WriterOptions;

    /// Bytes as they are.
    ///
    /// # Errors
    /// What writing reports.
    fn raw(&mut self, bytes: &[u8]) -> io::Result<()>;

    /// A string that is worth a try to compress it.
    ///
    /// # Errors
    /// What writing reports.
    fn long_string(&mut self, text: &[u8]) -> io::Result<()>;

    /// What a file begins with.
    fn header(&mut self) -> io::Result<()> {
        let version = self.options().version;
        self.raw(match version {
            RdbVersion::V10 => b"REDIS0010",
            RdbVersion::V12 => b"REDIS0012",
            RdbVersion::Valkey80 => b"VALKEY080",
        })
    }

    /// A fact about the file. Readers skip names they don't know.
    fn aux(&mut self, name: &[u8], value: &[u8]) -> io::Result<()> {
        self.byte(opcode::AUX)?;
        self.string(name)?;
        self.string(value)
    }

    /// The keys that follow belong to database `n`.
    fn select_db(&mut self, n: u64) -> io::Result<()> {
        self.byte(opcode::SELECTDB)?;
        self.length(n)
    }

    /// How many keys the database has, and how many of them an expiry.
    fn resize_db(&mut self, keys: u64, expires: u64) -> io::Result<()> {
        self.byte(opcode::RESIZEDB)?;
        self.length(keys)?;
        self.length(expires)
    }

    /// Slots, as the first and last of ranges, whose keys come from another node of a cluster, which owns them. Only
    /// readers of [`RdbVersion::Valkey80`] know it.
    fn slot_import(&mut self, name: &[u8], ranges: &[RangeInclusive<u16>]) -> io::Result<()> {
        self.byte(opcode::SLOT_IMPORT)?;
        self.raw_string(name)?;
        self.length(ranges.len() as u64)?;
        for range in ranges {
            self.length((*range.start()).into())?;
            self.length((*range.end()).into())?;
        }
        Ok(())
    }

    /// The source of a function library.
    fn function(&mut self, code: &[u8]) -> io::Result<()> {
        self.byte(opcode::FUNCTION2)?;
        self.string(code)
    }

    /// A string, in the shortest way that readers know.
    fn string(&mut self, text: &[u8]) -> io::Result<()> {
        if let Some(n) = small_int(text) {
            return self.small_int(n);
        }
        if self.options().compress && text.len() >= MIN_COMPRESSED {
            return self.long_string(text);
        }
        self.raw_string(text)
    }

    /// A string of `len` bytes that is compressed already.
    fn lzf_string(&mut self, compressed: &[u8], len: usize) -> io::Result<()> {
        self.byte(string_encoding::LZF)?;
        self.length(compressed.len() as u64)?;
        self.length(len as u64)?;
        self.raw(compressed)
    }

    /// An integer, as the string that it is.
    fn int(&mut self, n: i64) -> io::Result<()> {
        match i32::try_from(n) {
            Ok(n) => self.small_int(n),
            Err(_) => self.raw_string(itoa::Buffer::new().format(n).as_bytes()),
        }
    }

    fn small_int(&mut self, n: i32) -> io::Result<()> {
        let [a, b, c, d] = n.to_le_bytes();
        if i8::try_from(n).is_ok() {
            self.raw(&[string_encoding::INT8, a])
        } else if i16::try_from(n).is_ok() {
            self.raw(&[string_encoding::INT16, a, b])
        } else {
            self.raw(&[string_encoding::INT32, a, b, c, d])
        }
    }

    fn raw_string(&mut self, text: &[u8]) -> io::Result<()> {
        self.length(text.len() as u64)?;
        self.raw(text)
    }

    /// A number in length encoding.
    fn length(&mut self, n: u64) -> io::Result<()> {
        let [.., hi, lo] = n.to_be_bytes();
        if n < 1 << 6 {
            self.byte(lo)
        } else if n < 1 << 14 {
            self.raw(&[length::BITS_14 | hi, lo])
        } else if let Ok(n) = u32::try_from(n) {
            self.byte(length::BITS_32)?;
            self.raw(&n.to_be_bytes())
        } else {
            self.byte(length::BITS_64)?;
            self.raw(&n.to_be_bytes())
        }
    }

    #[inline]
    fn byte(&mut self, b: u8) -> io::Result<()> {
        self.raw(&[b])
    }
}

impl<W: Write> RdbWriter<W> {
    pub fn new(out: W, options: WriterOptions) -> Self {
        let buf = Vec::with_capacity(BUFFER);
        Self { out, options, buf, limit: BUFFER, written: 0, crc: 0, packed: Vec::new() }
    }

    /// Writes the end mark, the checksum and what is still in the buffer (without flushing or
    /// syncing `W`). Returns `W` and the number of bytes written.
    pub fn finish(mut self) -> io::Result<(W, u64)> {
        self.byte(opcode::EOF)?;
        self.flush()?;
        let trailer = if self.options.checksum { self.crc } else { 0 };
        self.raw(&trailer.to_le_bytes())?;
        self.flush()?;
        Ok((self.out, self.written))
    }

    /// Writes `text` compressed if that pays, and says whether it did.
    fn compressed(&mut self, text: &[u8]) -> io::Result<bool> {
        let mut packed = std::mem::take(&mut self.packed);
        packed.clear();
        let pays = lzf::compress(text, &mut packed) && packed.len() + MIN_SAVING <= text.len();
        if pays {
            self.lzf_string(&packed, text.len())?;
        }
        self.packed = packed;
        Ok(pays)
    }

    /// [`raw`](Records::raw) where the buffer has no room for `bytes`.
    #[cold]
    fn raw_full(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.flush()?;
        if bytes.len() < self.limit {
            self.buf.extend_from_slice(bytes);
            return Ok(());
        }
        self.emit(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        let mut buf = std::mem::take(&mut self.buf);
        self.emit(&buf)?;
        buf.clear();
        self.buf = buf;
        Ok(())
    }

    fn emit(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.options.checksum {
            self.crc = crc64(self.crc, bytes);
        }
        self.written += bytes.len() as u64;
        self.out.write_all(bytes)
    }
}

impl<W: Write> Records for RdbWriter<W> {
    fn options(&self) -> &WriterOptions {
        &self.options
    }

    #[inline]
    fn raw(&mut self, bytes: &[u8]) -> io::Result<()> {
        if bytes.len() > self.limit - self.buf.len() {
            return self.raw_full(bytes);
        }
        self.buf.extend_from_slice(bytes);
        Ok(())
    }

    fn long_string(&mut self, text: &[u8]) -> io::Result<()> {
        if self.compressed(text)? { Ok(()) } else { self.raw_string(text) }
    }
}

/// A writer that keeps everything in its buffer, for `DUMP`: there is no `W` to fail.
impl RdbWriter<io::Empty> {
    pub(super) fn in_memory(options: WriterOptions) -> Self {
        let (out, limit) = (io::empty(), usize::MAX);
        Self { out, options, buf: Vec::new(), limit, written: 0, crc: 0, packed: Vec::new() }
    }

    pub(super) fn into_bytes(self) -> Vec<u8> {
        self.buf
    }
}

/// `text` as an integer that the format can store as one.
fn small_int(text: &[u8]) -> Option<i32> {
    let worth_a_try =
        text.len() <= MAX_INT_TEXT && matches!(text.first(), Some(b'-' | b'0'..=b'9'));
    if worth_a_try { i32::try_from(parse_i64(text)?).ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rdb::{KeyFacts, write_entry};
    use crate::value::ValueRef;

    fn string(text: &[u8]) -> Vec<u8> {
        let mut w = RdbWriter::in_memory(WriterOptions::default());
        w.string(text).unwrap();
        w.into_bytes()
    }

    #[test]
    fn strings_take_their_shortest_form() {
        for (text, bytes) in [
            ("", &b"\0"[..]),
            ("0", b"\xc0\0"),
            ("-128", b"\xc0\x80"),
            ("128", b"\xc1\x80\0"),
            ("-32769", b"\xc2\xff\x7f\xff\xff"),
            ("2147483647", b"\xc2\xff\xff\xff\x7f"),
            ("-2147483648", b"\xc2\0\0\0\x80"),
            ("2147483648", b"\x0a2147483648"),
            ("007", b"\x03007"),
            ("-0", b"\x02-0"),
            ("-", b"\x01-"),
            ("+1", b"\x02+1"),
            ("aaaaaaaaaaaaaaaaaaaa", b"\x14aaaaaaaaaaaaaaaaaaaa"),
        ] {
            assert_eq!(string(text.as_bytes()), bytes, "{text}");
        }
        let packed = string(&[b'a'; 200]);
        assert_eq!((packed[0], &packed[2..4]), (string_encoding::LZF, &b"\x40\xc8"[..]));
        assert!(packed.len() < 50);
    }

    #[test]
    fn lengths() {
        for (n, bytes) in [
            (63, &b"\x3f"[..]),
            (64, b"\x40\x40"),
            (16383, b"\x7f\xff"),
            (16384, b"\x80\0\0\x40\0"),
            (u64::from(u32::MAX), b"\x80\xff\xff\xff\xff"),
            (1 << 32, b"\x81\0\0\0\x01\0\0\0\0"),
        ] {
            let mut w = RdbWriter::in_memory(WriterOptions::default());
            w.length(n).unwrap();
            assert_eq!(w.into_bytes(), bytes, "{n}");
        }
    }

    #[test]
    fn a_file_byte_by_byte() {
        let options = WriterOptions { checksum: false, ..WriterOptions::default() };
        let mut w = RdbWriter::new(Vec::new(), options);
        w.header().unwrap();
        w.aux(b"redis-bits", b"64").unwrap();
        w.function(b"code").unwrap();
        w.select_db(0).unwrap();
        w.resize_db(2, 1).unwrap();
        let facts = KeyFacts { expire_ms: Some(1), freq: Some(5), ..KeyFacts::default() };
        write_entry(&mut w, b"k", ValueRef::Str(b"v"), facts).unwrap();
        let facts = KeyFacts { idle_secs: Some(100), ..KeyFacts::default() };
        write_entry(&mut w, b"42", ValueRef::Int(7), facts).unwrap();
        let (file, len) = w.finish().unwrap();
        let expected = b"REDIS0010\xfa\x0aredis-bits\xc0\x40\xf5\x04code\xfe\0\xfb\x02\x01\
            \xfc\x01\0\0\0\0\0\0\0\xf9\x05\0\x01k\x01v\xf8\x40\x64\0\xc0\x2a\xc0\x07\xff\0\0\0\0\0\0\0\0";
        assert_eq!(file, expected);
        assert_eq!(len, expected.len() as u64);
    }

    #[test]
    fn errors_of_the_output_come_out() {
        let mut small = [0_u8; 10];
        let mut w = RdbWriter::new(&mut small[..], WriterOptions::default());
        w.header().unwrap();
        assert_eq!(w.finish().unwrap_err().kind(), io::ErrorKind::WriteZero);
    }
}
