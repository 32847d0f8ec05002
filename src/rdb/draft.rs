//! Records that another thread will write: what they say, with long strings not yet compressed.

use super::writer::{RdbWriter, Records, WriterOptions};
use std::io::{self, Write};
use std::mem;
use std::ops::Range;

/// A part of a file that is still to be encoded.
#[derive(Debug)]
pub struct Draft {
    options: WriterOptions,
    bytes: Vec<u8>,
    /// Which of the bytes are strings that are worth a try to compress them; in order. Everything else is as it will
    /// be in the file.
    strings: Vec<Range<usize>>,
}

impl Draft {
    pub fn new(options: WriterOptions) -> Draft {
        Draft { options, bytes: Vec::new(), strings: Vec::new() }
    }

    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Bytes that it takes, about.
    pub fn memory(&self) -> usize {
        self.bytes.len() + self.strings.len() * size_of::<Range<usize>>()
    }

    /// What there is so far; nothing is left.
    pub fn take(&mut self) -> Draft {
        let (bytes, strings) = (mem::take(&mut self.bytes), mem::take(&mut self.strings));
        Draft { options: self.options, bytes, strings }
    }

    /// Writes what the draft says.
    ///
    /// # Errors
    /// What writing reports.
    pub fn write_to<W: Write>(&self, w: &mut RdbWriter<W>) -> io::Result<()> {
        let mut at = 0;
        for string in &self.strings {
            w.raw(&self.bytes[at..string.start])?;
            w.long_string(&self.bytes[string.clone()])?;
            at = string.end;
        }
        w.raw(&self.bytes[at..])
    }
}

impl Records for Draft {
    fn options(&self) -> &WriterOptions {
        &self.options
    }

    #[inline]
    fn raw(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.bytes.extend_from_slice(bytes);
        Ok(())
    }

    fn long_string(&mut self, text: &[u8]) -> io::Result<()> {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(text);
        self.strings.push(start..self.bytes.len());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rdb::{KeyFacts, write_entry};
    use crate::value::ValueRef;

    #[test]
    fn what_a_draft_says_is_what_is_written() {
        let long = b"abcdefgh".repeat(20);
        let values = [&b""[..], b"12345", b"short", &long, b"a text that does not shrink", &long];
        for compress in [false, true] {
            let options = WriterOptions { compress, ..WriterOptions::default() };
            let mut straight = RdbWriter::new(Vec::new(), options);
            let mut drafted = RdbWriter::new(Vec::new(), options);
            let mut draft = Draft::new(options);
            assert!(draft.is_empty());
            for (n, value) in values.iter().enumerate() {
                let value = ValueRef::Str(value);
                write_entry(&mut straight, &long, value, KeyFacts::default()).unwrap();
                write_entry(&mut draft, &long, value, KeyFacts::default()).unwrap();
                if n % 2 == 0 {
                    assert!(draft.memory() >= long.len());
                    draft.take().write_to(&mut drafted).unwrap();
                }
            }
            draft.take().write_to(&mut drafted).unwrap();
            assert!(draft.is_empty());
            assert_eq!(drafted.finish().unwrap(), straight.finish().unwrap());
        }
    }
}
