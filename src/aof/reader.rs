//! Cuts the bytes of an append-only file into records.
//!
//! A file ends where a write was interrupted, so a record may lack its end: that is a truncated tail, and not an error
//! of the format. But a damaged length looks the same: it claims more than the file has. What follows tells: behind a
//! write that was interrupted there is no complete command.

use std::fs::File;
use std::io::{self, Read};
use std::ops::Range;

/// Bytes read at once.
const CHUNK: usize = 256 * 1024;

/// The longest line before an argument, and the longest annotation.
const MAX_LINE: usize = 1024;
/// Arguments of a command; more than any server accepts.
const MAX_ARGS: usize = 1024 * 1024 * 1024;

/// What starts at a place in the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    /// A command; where its arguments are, and where the next record starts.
    Command { args: Vec<Range<usize>>, end: usize },
    /// A line that starts with `#`, without its end, and where the next record starts.
    Annotation { line: Range<usize>, end: usize },
    /// It takes more bytes: the record is at least so long.
    Incomplete(usize),
}

/// The bytes are no record, and the beginning of none: something is wrong at this place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadFormat(pub usize);

/// A file and what was read of it: as much as its next record takes.
#[derive(Debug)]
pub struct RecordFile {
    file: File,
    /// What was read, and how much of it has been dealt with.
    buf: Vec<u8>,
    start: usize,
    /// The offset of `buf[0]` in the file.
    base: u64,
    at_end: bool,
}

impl RecordFile {
    pub fn new(file: File) -> RecordFile {
        RecordFile::resume(file, Vec::new(), 0)
    }

    /// A file of which something has been read already: `rest`, which starts at `offset`.
    pub fn resume(file: File, rest: Vec<u8>, offset: u64) -> RecordFile {
        RecordFile { file, buf: rest, start: 0, base: offset, at_end: false }
    }

    /// What was read and not dealt with.
    pub fn rest(&self) -> &[u8] {
        &self.buf[self.start..]
    }

    /// Where that starts in the file.
    pub fn offset(&self) -> u64 {
        self.base + self.start as u64
    }

    /// Where it ends.
    pub fn end(&self) -> u64 {
        self.base + self.buf.len() as u64
    }

    /// Whether the file has no more.
    pub fn is_at_end(&self) -> bool {
        self.at_end
    }

    /// So many bytes have been dealt with.
    pub fn advance(&mut self, n: usize) {
        self.start += n;
    }

    /// Reads on; at least `need` bytes of rest are wanted. Answers how many came.
    ///
    /// # Errors
    /// What read(2) reports.
    pub fn read_more(&mut self, need: usize) -> io::Result<usize> {
        self.buf.drain(..self.start);
        self.base += self.start as u64;
        self.start = 0;
        let have = self.buf.len();
        // A lying length must not allocate what never comes: the buffer grows with what has come.
        let room = need.saturating_sub(have).clamp(CHUNK, CHUNK.max(have));
        self.buf.resize(have + room, 0);
        let outcome = self.file.read(&mut self.buf[have..]);
        let n = *outcome.as_ref().unwrap_or(&0);
        self.buf.truncate(have + n);
        self.at_end = matches!(outcome, Ok(0));
        match outcome {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(0),
            outcome => outcome,
        }
    }
}

/// Whether bytes are the beginning of a snapshot.
pub fn is_rdb(bytes: &[u8]) -> bool {
    bytes.starts_with(b"REDIS") || bytes.starts_with(b"VALKEY")
}

/// Reads the record at the start of `buf`.
///
/// # Errors
/// If there is none.
pub fn next_record(buf: &[u8]) -> Result<Record, BadFormat> {
    match buf.first() {
        None => return Ok(Record::Incomplete(1)),
        Some(b'#') => {
            return Ok(match memchr::memchr(b'\n', buf) {
                Some(end) => {
                    let line = &buf[..end];
                    let len = line.len() - usize::from(line.ends_with(b"\r"));
                    Record::Annotation { line: 0..len, end: end + 1 }
                }
                None if buf.len() >= MAX_LINE => return Err(BadFormat(0)),
                None => Record::Incomplete(buf.len() + 1),
            });
        }
        Some(b'*') => {}
        Some(_) => return Err(BadFormat(0)),
    }
    let Some((count, mut at)) = number(buf, 0, b'*')? else {
        return Ok(Record::Incomplete(buf.len() + 1));
    };
    if !(1..=MAX_ARGS).contains(&count) {
        return Err(BadFormat(0));
    }
    let mut args = Vec::with_capacity(count.min(64));
    for _ in 0..count {
        let Some((len, start)) = number(buf, at, b'$')? else {
            return Ok(Record::Incomplete(buf.len() + 1));
        };
        let end = start.saturating_add(len);
        match buf.get(end..end.saturating_add(2)) {
            Some(b"\r\n") => {}
            Some(_) => return Err(BadFormat(end)),
            None => return Ok(Record::Incomplete(end.saturating_add(2))),
        }
        args.push(start..end);
        at = end + 2;
    }
    Ok(Record::Command { args, end: at })
}

/// The number in the line at `at`, which starts with `kind`, and where the next line starts; `None`: the line has no
/// end yet.
fn number(buf: &[u8], at: usize, kind: u8) -> Result<Option<(usize, usize)>, BadFormat> {
    let Some(&first) = buf.get(at) else { return Ok(None) };
    if first != kind {
        return Err(BadFormat(at));
    }
    let rest = &buf[at + 1..];
    let Some(end) = memchr::memchr(b'\n', &rest[..rest.len().min(MAX_LINE)]) else {
        return if rest.len() >= MAX_LINE { Err(BadFormat(at)) } else { Ok(None) };
    };
    let digits = rest[..end].strip_suffix(b"\r").filter(|d| d.iter().all(u8::is_ascii_digit));
    let number = digits.and_then(|digits| std::str::from_utf8(digits).ok()?.parse().ok());
    number.map(|number| Some((number, at + 1 + end + 1))).ok_or(BadFormat(at))
}

/// Whether there is a complete command in `tail`, which starts with a record that lacks its end: then it lacks it
/// because a length is wrong, and not because writing stopped there.
pub fn holds_a_command(tail: &[u8]) -> bool {
    memchr::memmem::find_iter(tail, b"\r\n*")
        .any(|at| matches!(next_record(&tail[at + 2..]), Ok(Record::Command { .. })))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resp::encode::encode_command;
    use proptest::prelude::*;

    #[test]
    fn annotations_and_commands() {
        let file = b"#TS:12\r\n*1\r\n$4\r\nPING\r\n";
        assert_eq!(next_record(file), Ok(Record::Annotation { line: 0..6, end: 8 }));
        let Ok(Record::Command { args, end }) = next_record(&file[8..]) else {
            panic!("no command")
        };
        assert_eq!((args.len(), args[0].clone(), end), (1, 8..12, file.len() - 8));
        assert_eq!(next_record(b""), Ok(Record::Incomplete(1)));
        for bad in [
            "!",
            "*0\r\n",
            "*-1\r\n",
            "*1\n$1\r\na\r\n",
            "*1\r\n$-1\r\n",
            "*1\r\n$1\r\nabc",
            "*1\r\n*1\r\n",
        ] {
            assert!(next_record(bad.as_bytes()).is_err(), "{bad:?}");
        }
        assert_eq!(next_record(b"*2\r\n$1\r\na\r\nx"), Err(BadFormat(11)));
    }

    #[test]
    fn a_wrong_length_is_no_truncated_tail() {
        let mut file = Vec::new();
        encode_command(&[b"SET", b"k", b"v"], &mut file);
        encode_command(&[b"SET", b"k", b"w"], &mut file);
        let cut = &file[..file.len() - 3];
        assert!(!holds_a_command(&cut[file.len() / 2..]));
        file[5] = b'9';
        file.splice(6..6, *b"99");
        assert!(matches!(next_record(&file), Ok(Record::Incomplete(_))));
        assert!(holds_a_command(&file));
    }

    proptest! {
        #[test]
        fn a_command_comes_back_and_none_of_its_beginnings_does(
            args in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 1..5),
        ) {
            let args: Vec<&[u8]> = args.iter().map(Vec::as_slice).collect();
            let mut file = Vec::new();
            encode_command(&args, &mut file);
            let Ok(Record::Command { args: found, end }) = next_record(&file) else {
                return Err(TestCaseError::fail("no command"));
            };
            prop_assert_eq!(end, file.len());
            let found: Vec<&[u8]> = found.into_iter().map(|range| &file[range]).collect();
            prop_assert_eq!(found, args);
            for len in 0..file.len() {
                match next_record(&file[..len]) {
                    Ok(Record::Incomplete(need)) => prop_assert!(need > len && need <= file.len()),
                    other => prop_assert!(false, "{:?}", other),
                }
            }
        }

        #[test]
        fn any_bytes_are_something(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = next_record(&bytes);
            let _ = holds_a_command(&bytes);
        }
    }
}
