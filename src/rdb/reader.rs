//! A cursor over the bytes of one record. Reading past the end is [`Fault::Short`], which says how
//! many bytes the record has at least; nothing is allocated for a string before all its bytes are
//! there.

use super::error::{ErrorKind, Fault};
use super::format::{length, module_opcode, string_encoding};
use crate::util::lzf;
use std::borrow::Cow;

/// LZF's best: three bytes that stand for a run of 264. A larger claim is a lie, refused before it
/// allocates.
const LZF_MAX_RATIO: u64 = 88;

pub(super) struct Reader<'a> {
    data: &'a [u8],
    pos: usize,
}

/// The start of a string: how it is stored.
pub(super) enum StringHead {
    Int(i64),
    Raw(u64),
    Lzf { packed: u64, unpacked: u64 },
}

impl<'a> Reader<'a> {
    pub(super) fn new(data: &'a [u8]) -> Self {
        Self { data, pos: 0 }
    }

    /// A cursor that goes on at `pos`, which an earlier one over the same record has reached.
    pub(super) fn resume(data: &'a [u8], pos: usize) -> Self {
        Self { data, pos }
    }

    pub(super) fn pos(&self) -> usize {
        self.pos
    }

    /// For how many of `claimed` elements, each of `size` bytes at least, room may be made at once: no more than can be
    /// there.
    pub(super) fn at_most(&self, claimed: u64, size: usize) -> usize {
        let fits = (self.data.len() - self.pos) / size;
        usize::try_from(claimed).map_or(fits, |claimed| claimed.min(fits))
    }

    pub(super) fn bytes(&mut self, n: u64) -> Result<&'a [u8], Fault> {
        let end = usize::try_from(n).ok().and_then(|n| self.pos.checked_add(n));
        let end = end.ok_or(Fault::corrupt("A length exceeds the address space"))?;
        let bytes = self.data.get(self.pos..end).ok_or(Fault::Short(end))?;
        self.pos = end;
        Ok(bytes)
    }

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], Fault> {
        let rest = &self.data[self.pos..];
        let bytes = rest.first_chunk().ok_or(Fault::Short(self.pos + N))?;
        self.pos += N;
        Ok(*bytes)
    }

    pub(super) fn byte(&mut self) -> Result<u8, Fault> {
        self.array().map(|[b]| b)
    }

    /// A number in length encoding.
    pub(super) fn length(&mut self) -> Result<u64, Fault> {
        let first = self.byte()?;
        self.length_after(first)
    }

    fn length_after(&mut self, first: u8) -> Result<u64, Fault> {
        Ok(match first {
            0..length::BITS_14 => u64::from(first),
            length::BITS_14..length::BITS_32 => {
                u64::from(u16::from_be_bytes([first & !length::BITS_14, self.byte()?]))
            }
            length::BITS_32 => u64::from(u32::from_be_bytes(self.array()?)),
            length::BITS_64 => u64::from_be_bytes(self.array()?),
            length::ENCODED.. => {
                return Err(Fault::corrupt("An encoded string where a length is due"));
            }
            _ => return Err(Fault::corrupt("Unknown length encoding")),
        })
    }

    pub(super) fn string_head(&mut self) -> Result<StringHead, Fault> {
        let first = self.byte()?;
        Ok(match first {
            string_encoding::INT8 => StringHead::Int(i64::from(i8::from_le_bytes(self.array()?))),
            string_encoding::INT16 => StringHead::Int(i64::from(i16::from_le_bytes(self.array()?))),
            string_encoding::INT32 => StringHead::Int(i64::from(i32::from_le_bytes(self.array()?))),
            string_encoding::LZF => {
                StringHead::Lzf { packed: self.length()?, unpacked: self.length()? }
            }
            0..length::ENCODED => StringHead::Raw(self.length_after(first)?),
            _ => return Err(Fault::corrupt("Unknown RDB string encoding type")),
        })
    }

    /// A string as text, however it is stored.
    pub(super) fn string(&mut self) -> Result<Cow<'a, [u8]>, Fault> {
        Ok(match self.string_head()? {
            StringHead::Raw(len) => Cow::Borrowed(self.bytes(len)?),
            StringHead::Int(n) => Cow::Owned(itoa::Buffer::new().format(n).as_bytes().to_vec()),
            StringHead::Lzf { packed, unpacked } => Cow::Owned(self.unpack(packed, unpacked)?),
        })
    }

    /// The text of an LZF string whose head has been read.
    pub(super) fn unpack(&mut self, packed: u64, unpacked: u64) -> Result<Vec<u8>, Fault> {
        let input = self.bytes(packed)?;
        let plausible = unpacked <= packed.saturating_mul(LZF_MAX_RATIO);
        let len = usize::try_from(unpacked).ok().filter(|_| plausible);
        len.and_then(|len| lzf::decompress(input, len))
            .ok_or(Fault::Bad(ErrorKind::Corrupt("Invalid LZF compressed string")))
    }

    pub(super) fn skip_string(&mut self) -> Result<(), Fault> {
        match self.string_head()? {
            StringHead::Int(_) => {}
            StringHead::Raw(n) | StringHead::Lzf { packed: n, .. } => drop(self.bytes(n)?),
        }
        Ok(())
    }

    /// Skips one field of a module's data; false at its end.
    pub(super) fn skip_module_field(&mut self) -> Result<bool, Fault> {
        match self.length()? {
            module_opcode::EOF => return Ok(false),
            module_opcode::SINT | module_opcode::UINT => drop(self.length()?),
            module_opcode::FLOAT => drop(self.bytes(4)?),
            module_opcode::DOUBLE => drop(self.bytes(8)?),
            module_opcode::STRING => self.skip_string()?,
            _ => return Err(Fault::corrupt("Unknown opcode in module data")),
        }
        Ok(true)
    }
}
