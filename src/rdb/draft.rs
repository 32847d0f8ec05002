//! Records that another thread will write: what they say, with long strings not yet compressed.

use super::writer::{Records, WriterOptions};
use bytes::Bytes;
use std::io;
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
    /// Texts that stand elsewhere, and before which of the bytes they belong.
    shared: Vec<(usize, Bytes)>,
}

impl Draft {
    pub fn new(options: WriterOptions) -> Draft {
        Draft { options, bytes: Vec::new(), strings: Vec::new(), shared: Vec::new() }
    }

    /// Whether it says nothing.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty() && self.shared.is_empty()
    }

    /// Bytes that it takes, about.
    pub fn memory(&self) -> usize {
        let shared: usize = self.shared.iter().map(|(_, text)| text.len()).sum();
        self.bytes.len() + self.strings.len() * size_of::<Range<usize>>() + shared
    }

    /// A string of more than a few bytes, which is not copied.
    pub fn shared_string(&mut self, text: Bytes) {
        self.shared.push((self.bytes.len(), text));
    }

    /// What there is so far; nothing is left.
    pub fn take(&mut self) -> Draft {
        mem::replace(self, Draft::new(self.options))
    }

    /// Writes what the draft says.
    ///
    /// # Errors
    /// What writing reports.
    pub fn write_to(&self, w: &mut impl Records) -> io::Result<()> {
        let (mut at, mut shared) = (0, &self.shared[..]);
        for string in &self.strings {
            self.write_part(at..string.start, &mut shared, w)?;
            w.long_string(&self.bytes[string.clone()])?;
            at = string.end;
        }
        self.write_part(at..self.bytes.len(), &mut shared, w)
    }

    /// Writes some of the bytes, with those of the texts that stand elsewhere which belong before their end.
    fn write_part(
        &self,
        part: Range<usize>,
        shared: &mut &[(usize, Bytes)],
        w: &mut impl Records,
    ) -> io::Result<()> {
        let mut at = part.start;
        while let Some(((place, text), rest)) = shared.split_first()
            && *place <= part.end
        {
            *shared = rest;
            w.raw(&self.bytes[at..*place])?;
            w.string(text)?;
            at = *place;
        }
        w.raw(&self.bytes[at..part.end])
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
    use crate::rdb::{KeyFacts, RdbWriter, write_entry, write_key};
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
            for n in 0..4 * values.len() {
                let text = values[n % values.len()];
                let value = ValueRef::Str(text);
                write_entry(&mut straight, &long, value, KeyFacts::default()).unwrap();
                match n % 3 {
                    0 => write_entry(&mut draft, &long, value, KeyFacts::default()).unwrap(),
                    _ => {
                        write_key(&mut draft, &long, value, KeyFacts::default()).unwrap();
                        draft.shared_string(Bytes::copy_from_slice(text));
                    }
                }
                if n % 5 == 4 {
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
