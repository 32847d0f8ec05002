//! Reads RDB files and replication snapshots, in whatever pieces they arrive.
//!
//! The parser owns the input buffer: bytes go in through [`RdbParser::space`] and
//! [`RdbParser::filled`] (or [`RdbParser::feed`]), events come out of [`RdbParser::next_event`],
//! borrowing from that buffer. Its size follows the bytes that have arrived, never a length that
//! they claim. The checksum runs over large stretches of it, not over single records.

use super::error::{ErrorKind, Fault, RdbError};
use super::format::{
    CHECKSUM_SINCE, HEADER_LEN, REDIS_VERSION_MAX, VALKEY_VERSION, module_opcode, opcode,
};
use super::layout::{Skim, layout};
use super::loaded::Loaded;
use super::object;
use super::reader::Reader;
use crate::util::crc64::crc64;
use std::borrow::Cow;

/// Size of the buffer as long as no record needs more: few system calls, and it stays in the cache.
const BUFFER: usize = 256 * 1024;

/// The least bytes of a range of slots.
const MIN_RANGE: usize = 2;

/// What an RDB says, in its order.
#[derive(Debug, Clone, PartialEq)]
pub enum Event<'a> {
    Header {
        version: u16,
        origin: Origin,
    },
    Aux {
        name: Cow<'a, [u8]>,
        value: Cow<'a, [u8]>,
    },
    /// The entries that follow belong to this database.
    SelectDb(u64),
    /// A hint: numbers of keys and of keys with an expiry. Not to be believed, only to be used as a
    /// hint.
    ResizeDb {
        keys: u64,
        expires: u64,
    },
    /// The same hint for a slot of a cluster.
    SlotInfo {
        slot: u64,
        keys: u64,
        expires: u64,
    },
    /// Slots of a cluster whose keys have been coming to the writer, but are another node's still: the name of the
    /// move, and the first and last slots of ranges.
    SlotImport {
        name: Cow<'a, [u8]>,
        ranges: Vec<(u64, u64)>,
    },
    Entry(RdbEntry<'a>),
    /// A key whose value has no elements, to be passed over.
    EmptyKey {
        key: Cow<'a, [u8]>,
    },
    /// The source of a function library.
    Function(Cow<'a, [u8]>),
    /// Data of a module, which has been skipped. Redis refuses a file with data of a module that it
    /// doesn't have.
    ModuleAux {
        module: String,
    },
    /// The end. `checked`: there was a checksum, and it was right.
    Eof {
        checked: bool,
    },
}

/// A key and what belongs to it.
#[derive(Debug, Clone, PartialEq)]
pub struct RdbEntry<'a> {
    pub key: Cow<'a, [u8]>,
    pub value: Loaded<'a>,
    /// Unix time in milliseconds; may be past.
    pub expire_ms: Option<i64>,
    /// Idle time in seconds, from a server with an LRU policy.
    pub idle_secs: Option<u64>,
    /// Access frequency, from a server with an LFU policy.
    pub freq: Option<u8>,
}

/// Whose numbering a version belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    Redis,
    Valkey,
}

/// A push parser for one RDB.
///
/// ```
/// # use aeolis::rdb::{Event, RdbParser};
/// let mut parser = RdbParser::new(true);
/// for piece in [&b"REDI"[..], b"S0003\xfe\x01", b"\xff"] {
///     parser.feed(piece);
///     while let Some(event) = parser.next_event()? {
///         println!("{event:?}");
///     }
/// }
/// parser.finish()?;
/// # Ok::<(), aeolis::rdb::RdbError>(())
/// ```
pub struct RdbParser {
    buf: Vec<u8>,
    state: State,
}

/// All but the buffer, so that events can borrow the buffer while the state moves on.
struct State {
    /// The bytes of the buffer that are yet to be read, from the start of a record.
    start: usize,
    end: usize,
    /// Offset of the buffer's first byte in the input.
    base: u64,
    phase: Phase,
    version: u16,
    /// Attributes of the next key.
    expire_ms: Option<i64>,
    idle_secs: Option<u64>,
    freq: Option<u8>,
    /// Whether to verify the checksum.
    checksum: bool,
    /// Checksum of all before `crc_from`, which is an index of the buffer.
    crc: u64,
    crc_from: usize,
    /// The record at `start` has at least so many bytes.
    need: usize,
    /// Looks for the end of the record at `start`, if it was found short.
    skim: Option<Skim>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Header,
    Records,
    Done,
}

impl RdbParser {
    /// `checksum`: whether to compute and verify the checksum, if the file has one.
    pub fn new(checksum: bool) -> Self {
        Self {
            buf: vec![0; BUFFER],
            state: State {
                start: 0,
                end: 0,
                base: 0,
                phase: Phase::Header,
                version: 0,
                expire_ms: None,
                idle_secs: None,
                freq: None,
                checksum,
                crc: 0,
                crc_from: 0,
                need: HEADER_LEN,
                skim: None,
            },
        }
    }

    /// Where the next input may be written; never empty. Call it only when `next_event` wants more,
    /// lest the buffer grows for nothing.
    pub fn space(&mut self) -> &mut [u8] {
        let state = &mut self.state;
        state.discard_consumed(&mut self.buf);
        if state.end == self.buf.len() {
            self.buf.resize(2 * state.end, 0);
        } else if self.buf.len() > BUFFER && state.end < BUFFER {
            self.buf.truncate(BUFFER);
            self.buf.shrink_to_fit();
        }
        &mut self.buf[state.end..]
    }

    /// So many bytes have been written to `space()`.
    ///
    /// # Panics
    /// If there was less space.
    pub fn filled(&mut self, n: usize) {
        assert!(n <= self.buf.len() - self.state.end);
        self.state.end += n;
    }

    /// Takes all of `input`.
    pub fn feed(&mut self, mut input: &[u8]) {
        while !input.is_empty() {
            let space = self.space();
            let n = space.len().min(input.len());
            let (now, later) = input.split_at(n);
            space[..n].copy_from_slice(now);
            self.filled(n);
            input = later;
        }
    }

    /// The next event; `None` if it takes more input, or after [`Event::Eof`].
    ///
    /// # Errors
    /// What is wrong with the input. The parser stays where it is: the next call would give the
    /// same error.
    pub fn next_event(&mut self) -> Result<Option<Event<'_>>, RdbError> {
        self.state.next_event(&self.buf)
    }

    /// To be called at the end of the input.
    ///
    /// # Errors
    /// [`ErrorKind::UnexpectedEof`] unless [`Event::Eof`] has been seen.
    pub fn finish(&self) -> Result<(), RdbError> {
        let state = &self.state;
        match state.phase {
            Phase::Done => Ok(()),
            _ => Err(state.error(state.end - state.start, ErrorKind::UnexpectedEof)),
        }
    }

    /// Input that no event has come of yet; after [`Event::Eof`], what follows the RDB (such as the
    /// commands of an AOF with an RDB preamble).
    pub fn rest(&self) -> &[u8] {
        &self.buf[self.state.start..self.state.end]
    }

    /// Bytes that events have come of.
    pub fn offset(&self) -> u64 {
        self.state.base + self.state.start as u64
    }
}

impl State {
    fn next_event<'a>(&mut self, buf: &'a [u8]) -> Result<Option<Event<'a>>, RdbError> {
        while self.phase != Phase::Done {
            let input = &buf[self.start..self.end];
            if input.len() < self.need {
                break;
            }
            if let Some(skim) = &mut self.skim
                && let Err(fault) = skim.advance(input)
            {
                let pos = skim.pos();
                self.wait_or_fail(pos, fault)?;
                break;
            }
            let mut r = Reader::new(input);
            match self.record(&mut r, buf) {
                Ok(event) => {
                    self.start += r.pos();
                    self.need = 1;
                    self.skim = None;
                    if event.is_some() {
                        return Ok(event);
                    }
                }
                Err(fault) => {
                    if matches!(fault, Fault::Short(_)) {
                        self.start_skim(input[0], r.pos())?;
                    }
                    self.wait_or_fail(r.pos(), fault)?;
                }
            }
        }
        Ok(None)
    }

    /// Reads a record; no event comes of those that only say something about the next key. Changes
    /// the state only when all has been read, since a short record will be read again.
    fn record<'a>(&mut self, r: &mut Reader<'a>, buf: &[u8]) -> Result<Option<Event<'a>>, Fault> {
        if self.phase == Phase::Header {
            return self.header(r).map(Some);
        }
        Ok(Some(match r.byte()? {
            opcode::EXPIRETIME_MS => {
                self.expire_ms = Some(i64::from_le_bytes(r.array()?));
                return Ok(None);
            }
            opcode::EXPIRETIME => {
                self.expire_ms = Some(i64::from(i32::from_le_bytes(r.array()?)) * 1000);
                return Ok(None);
            }
            opcode::IDLE => {
                self.idle_secs = Some(r.length()?);
                return Ok(None);
            }
            opcode::FREQ => {
                self.freq = Some(r.byte()?);
                return Ok(None);
            }
            opcode::SELECTDB => Event::SelectDb(r.length()?),
            opcode::RESIZEDB => Event::ResizeDb { keys: r.length()?, expires: r.length()? },
            opcode::SLOT_INFO => {
                Event::SlotInfo { slot: r.length()?, keys: r.length()?, expires: r.length()? }
            }
            opcode::SLOT_IMPORT => slot_import(r)?,
            opcode::AUX => Event::Aux { name: r.string()?, value: r.string()? },
            opcode::FUNCTION2 => Event::Function(r.string()?),
            opcode::FUNCTION_PRE_GA => return Err(Fault::Bad(ErrorKind::PreReleaseFunctions)),
            opcode::MODULE_AUX => module_aux(r)?,
            opcode::EOF => self.eof(r, buf)?,
            value_type => {
                let key = r.string()?;
                let value = match object::parse(value_type, self.version, r) {
                    Err(Fault::Bad(ErrorKind::EmptyKey)) => None,
                    parsed => Some(parsed?),
                };
                // Redis takes an expiry of -1 for none.
                let expire_ms = self.expire_ms.take().filter(|&ms| ms != -1);
                let (idle_secs, freq) = (self.idle_secs.take(), self.freq.take());
                match value {
                    Some(value) => {
                        Event::Entry(RdbEntry { key, value, expire_ms, idle_secs, freq })
                    }
                    None => Event::EmptyKey { key },
                }
            }
        }))
    }

    fn header<'a>(&mut self, r: &mut Reader<'a>) -> Result<Event<'a>, Fault> {
        let header: [u8; HEADER_LEN] = r.array()?;
        let (origin, digits) = match &header {
            [b'R', b'E', b'D', b'I', b'S', digits @ ..] => (Origin::Redis, &digits[..]),
            [b'V', b'A', b'L', b'K', b'E', b'Y', digits @ ..] => (Origin::Valkey, &digits[..]),
            _ => return Err(Fault::Bad(ErrorKind::WrongSignature)),
        };
        if !digits.iter().all(u8::is_ascii_digit) {
            return Err(Fault::Bad(ErrorKind::WrongSignature));
        }
        let version = digits.iter().fold(0, |n, d| 10 * n + u16::from(d - b'0'));
        let known = match origin {
            Origin::Redis => (1..=REDIS_VERSION_MAX).contains(&version),
            Origin::Valkey => version == VALKEY_VERSION,
        };
        if !known {
            return Err(Fault::Bad(ErrorKind::Version(version)));
        }
        self.version = version;
        self.phase = Phase::Records;
        Ok(Event::Header { version, origin })
    }

    fn eof<'a>(&mut self, r: &mut Reader<'a>, buf: &[u8]) -> Result<Event<'a>, Fault> {
        let mut checked = false;
        if self.version >= CHECKSUM_SINCE {
            let covered = self.start + r.pos();
            let stored = u64::from_le_bytes(r.array()?);
            if self.checksum && stored != 0 {
                let computed = crc64(self.crc, &buf[self.crc_from..covered]);
                if stored != computed {
                    return Err(Fault::Bad(ErrorKind::Checksum { stored, computed }));
                }
                checked = true;
            }
        }
        self.phase = Phase::Done;
        Ok(Event::Eof { checked })
    }

    /// Moves what is yet to be read to the front of the buffer.
    fn discard_consumed(&mut self, buf: &mut [u8]) {
        if self.start == 0 {
            return;
        }
        if self.checksum && self.phase != Phase::Done {
            self.crc = crc64(self.crc, &buf[self.crc_from..self.start]);
        }
        self.crc_from = 0;
        buf.copy_within(self.start..self.end, 0);
        self.base += self.start as u64;
        self.end -= self.start;
        self.start = 0;
    }

    /// Prepares to look for the end of a record that was found short, and that starts with `first`.
    fn start_skim(&mut self, first: u8, pos: usize) -> Result<(), RdbError> {
        if self.skim.is_some() {
            let what = "A record does not have the shape of its type";
            return Err(self.error(pos, ErrorKind::Corrupt(what)));
        }
        let items = layout(first).ok_or_else(|| self.error(1, object::not_loadable(first)))?;
        self.skim = Some(Skim::new(items));
        Ok(())
    }

    /// Notes that the record is short, or makes an error of what is wrong with it.
    fn wait_or_fail(&mut self, pos: usize, fault: Fault) -> Result<(), RdbError> {
        match fault {
            Fault::Short(need) => {
                self.need = need;
                Ok(())
            }
            Fault::Bad(kind) => Err(self.error(pos, kind)),
        }
    }

    /// An error at `pos` of the record in hand.
    fn error(&self, pos: usize, kind: ErrorKind) -> RdbError {
        RdbError { offset: self.base + (self.start + pos) as u64, kind }
    }
}

/// Slots that have been coming to the writer.
fn slot_import<'a>(r: &mut Reader<'a>) -> Result<Event<'a>, Fault> {
    let (name, count) = (r.string()?, r.length()?);
    let mut ranges = Vec::with_capacity(r.at_most(count, MIN_RANGE));
    for _ in 0..count {
        ranges.push((r.length()?, r.length()?));
    }
    Ok(Event::SlotImport { name, ranges })
}

/// Skips the data of a module: its ID, when it was saved (an integer), its fields.
fn module_aux<'a>(r: &mut Reader<'a>) -> Result<Event<'a>, Fault> {
    let id = r.length()?;
    if r.length()? != module_opcode::UINT {
        return Err(Fault::corrupt("bad when_opcode"));
    }
    r.length()?;
    while r.skip_module_field()? {}
    Ok(Event::ModuleAux { module: module_name(id) })
}

/// Whether the first bytes of a file, [`HEADER_LEN`] or more, are those of one that can be read.
///
/// # Errors
/// If they are of something else, or of another version.
pub fn check_header(head: &[u8]) -> Result<(), RdbError> {
    let mut parser = RdbParser::new(false);
    parser.feed(&head[..head.len().min(HEADER_LEN)]);
    match parser.next_event()? {
        Some(_) => Ok(()),
        None => parser.finish(),
    }
}

/// The name in a module's ID: nine characters of six bits, above ten bits of version.
fn module_name(id: u64) -> String {
    const CHARSET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let character = |i| char::from(CHARSET[(id >> (10 + 6 * i)) as usize & 63]);
    (0..9).rev().map(character).collect()
}

#[cfg(test)]
mod tests {
    use super::super::vectors::{REDIS_7, REDIS_8, VALKEY_9};
    use super::super::writer::{RdbVersion, RdbWriter, Records, WriterOptions};
    use super::*;
    use crate::rdb::{KeyFacts, write_entry};
    use crate::value::{Value, ValueRef};
    use proptest::prelude::*;

    /// The events of input that arrives in these pieces, printed: they borrow from the parser.
    fn events<'a>(
        pieces: impl IntoIterator<Item = &'a [u8]>,
        checksum: bool,
    ) -> Result<Vec<String>, RdbError> {
        let mut parser = RdbParser::new(checksum);
        let mut events = Vec::new();
        for piece in pieces {
            parser.feed(piece);
            while let Some(event) = parser.next_event()? {
                events.push(format!("{event:?}"));
            }
        }
        parser.finish()?;
        Ok(events)
    }

    type Key = (u64, Vec<u8>, Value, Option<i64>, Option<u64>, Option<u8>);

    fn keys(file: &[u8]) -> Vec<Key> {
        let mut parser = RdbParser::new(true);
        parser.feed(file);
        let (mut db, mut keys) = (0, Vec::new());
        while let Some(event) = parser.next_event().unwrap() {
            match event {
                Event::SelectDb(n) => db = n,
                Event::Entry(e) => keys.push((
                    db,
                    e.key.into_owned(),
                    e.value.into(),
                    e.expire_ms,
                    e.idle_secs,
                    e.freq,
                )),
                Event::Eof { checked } => assert!(checked),
                _ => {}
            }
        }
        parser.finish().unwrap();
        keys
    }

    fn file(body: &[u8]) -> Vec<u8> {
        [b"REDIS0010", body].concat()
    }

    fn error_of(file: &[u8]) -> String {
        events([file], true).unwrap_err().to_string()
    }

    #[test]
    fn files_of_real_servers() {
        let text = |t: &str| Value::Str(t.into());
        let long = "0123456789abcdef".repeat(5);
        let mut expected = [
            ("42", text("key"), None),
            ("empty", text(""), None),
            ("exp", text("v"), Some(4_102_444_800_123)),
            ("i16", Value::Int(-3000), None),
            ("i32", Value::Int(123_456_789), None),
            ("i64", Value::Int(12_345_678_901), None),
            ("i8", Value::Int(-7), None),
            ("len14", text(&long), None),
            ("lzf", text(&"a".repeat(200)), None),
            ("min", Value::Int(i64::MIN), None),
            ("s", text("hello"), None),
            ("text", text("007"), None),
            ("other", Value::Int(1), Some(4_102_444_800_000)),
        ]
        .map(|(key, value, expire)| (u64::from(key == "other") * 3, key, value, expire));
        expected.sort_by(|a, b| (a.0, a.1).cmp(&(b.0, b.1)));
        let files = [(REDIS_7, None, None), (REDIS_8, Some(1), None), (VALKEY_9, None, Some(0))];
        for (file, idle, freq) in files {
            let mut keys = keys(file);
            keys.sort_by(|a, b| (a.0, &a.1).cmp(&(b.0, &b.1)));
            let expected = expected.iter().cloned();
            let expected = expected.map(|(db, k, v, expire)| (db, k.into(), v, expire, idle, freq));
            assert_eq!(keys, expected.collect::<Vec<_>>());
        }
        let printed = events([VALKEY_9], true).unwrap();
        assert_eq!(printed[0], "Header { version: 80, origin: Valkey }");
        assert!(printed.contains(&"ResizeDb { keys: 12, expires: 1 }".into()));
        assert!(printed.iter().any(|e| e.starts_with("Function(")));
        assert_eq!(printed.last().unwrap(), "Eof { checked: true }");
    }

    #[test]
    fn pieces_do_not_matter() {
        for file in [REDIS_7, REDIS_8, VALKEY_9] {
            let whole = events([file], true).unwrap();
            for at in 0..=file.len() {
                let (a, b) = file.split_at(at);
                assert_eq!(events([a, b], true).unwrap(), whole, "split at {at}");
            }
            assert_eq!(events(file.chunks(1), true).unwrap(), whole);
        }
    }

    #[test]
    fn truncated_files_are_refused() {
        for at in 0..REDIS_7.len() {
            let error = events([&REDIS_7[..at]], true).unwrap_err();
            assert_eq!(error, RdbError { offset: at as u64, kind: ErrorKind::UnexpectedEof });
        }
    }

    #[test]
    fn flipped_bytes_are_found_or_harmless() {
        for at in 9..REDIS_7.len() {
            for bits in [0x01, 0x80, 0xff] {
                let mut file = REDIS_7.to_vec();
                file[at] ^= bits;
                assert!(events([&file[..]], true).is_err(), "byte {at} ^ {bits}");
                let whole = events([&file[..]], false).ok();
                assert_eq!(events(file.chunks(3), false).ok(), whole, "byte {at} ^ {bits}");
            }
        }
    }

    #[test]
    fn headers() {
        let end = [0xff, 0, 0, 0, 0, 0, 0, 0, 0];
        let with = |header: &str| [header.as_bytes(), &end].concat();
        for good in ["REDIS0005", "REDIS0012", "VALKEY080"] {
            let events = events([&with(good)[..]], true).unwrap();
            assert_eq!(events[1], "Eof { checked: false }");
        }
        for (bad, version) in
            [("REDIS0000", 0), ("REDIS0080", 80), ("VALKEY011", 11), ("REDIS0099", 99)]
        {
            assert_eq!(error_of(&with(bad)), format!("Can't handle RDB format version {version}"));
        }
        assert_eq!(error_of(&with("RADIS0005")), "Wrong signature trying to load DB from file");
    }

    #[test]
    fn old_versions_have_no_checksum() {
        let mut parser = RdbParser::new(true);
        parser.feed(b"REDIS0004\xfd\x0a\0\0\0\0\x01k\x01v\xff*1\r\n");
        assert!(matches!(parser.next_event(), Ok(Some(Event::Header { version: 4, .. }))));
        match parser.next_event() {
            Ok(Some(Event::Entry(e))) => assert_eq!(e.expire_ms, Some(10_000)),
            other => panic!("{other:?}"),
        }
        assert_eq!(parser.next_event(), Ok(Some(Event::Eof { checked: false })));
        assert_eq!(parser.next_event(), Ok(None));
        assert_eq!(parser.rest(), b"*1\r\n");
        assert_eq!(parser.offset(), 20);
    }

    #[test]
    fn errors_say_what_and_where() {
        let internal =
            |offset, what: &str| format!("Internal error in RDB reading offset {offset}: {what}");
        let eof = "Unexpected EOF reading RDB file";
        let unsupported = "The RDB file contains a value of type 'module-value' (7), which this version can't load";
        for (body, offset, what) in [
            (&b"\x08\x01k"[..], 12, "Unknown RDB encoding type 8"),
            (b"\x08\x05k", 10, "Unknown RDB encoding type 8"),
            (b"\x07\x01k\0", 12, unsupported),
            (b"\x07\x05", 10, unsupported),
            (b"\0\x01k\xc4", 13, "Unknown RDB string encoding type"),
            (b"\xfe\xc0", 11, "An encoded string where a length is due"),
            (b"\xfe\x82", 11, "Unknown length encoding"),
            (
                b"\0\x01k\xc3\x01\x81\xff\xff\xff\xff\xff\xff\xff\xff\0",
                24,
                "Invalid LZF compressed string",
            ),
            (b"\0\x81\xff\xff\xff\xff\xff\xff\xff\xff", 19, "A length exceeds the address space"),
            (b"\xf6", 10, "Pre-release function format not supported."),
            (b"\xf7\x01\x03", 12, "bad when_opcode"),
            (b"\xf7\x01\x02\x01\x06", 14, "Unknown opcode in module data"),
            (b"\0\x81\x7f\xff\xff\xff\xff\xff\xff\xf0", 19, eof),
        ] {
            assert_eq!(error_of(&file(body)), internal(offset, what), "{body:x?}");
            assert!(events(file(body).chunks(1), true).is_err(), "{body:x?}");
        }
        let mut wrong = REDIS_7.to_vec();
        *wrong.last_mut().unwrap() ^= 1;
        assert!(error_of(&wrong).contains("RDB CRC error (stored fe3348ae6592"));
    }

    #[test]
    fn module_data_is_skipped_and_named() {
        let id: u64 = (0..9).fold(0, |id, i| id << 6 | i) << 10 | 1;
        let mut body = vec![opcode::MODULE_AUX, 0x81];
        body.extend(id.to_be_bytes());
        body.extend(b"\x02\x02\x01\xc0\xff");
        let bad = file(&body);
        assert!(events([&bad[..]], true).is_err());
        body.truncate(12);
        body.extend(b"\x05\x03abc\x04\0\0\0\0\0\0\0\0\x03\0\0\0\0\x01\x07\0\xff\0\0\0\0\0\0\0\0");
        let file = file(&body);
        let whole = events([&file[..]], true).unwrap();
        assert_eq!(whole[1], "ModuleAux { module: \"ABCDEFGHI\" }");
        assert_eq!(events(file.chunks(1), true).unwrap(), whole);
    }

    #[test]
    fn memory_follows_the_input() {
        // A string that claims a terabyte, and supplies little.
        let mut parser = RdbParser::new(true);
        parser.feed(&file(b"\0\x01k\x81\0\0\x01\0\0\0\0\0"));
        for _ in 0..100 {
            parser.feed(&[b'x'; 10_000]);
            while parser.next_event().unwrap().is_some() {}
        }
        assert!(parser.buf.len() <= 2 << 20, "{}", parser.buf.len());

        // A string larger than the buffer, which shrinks again after it.
        let big = vec![b'x'; 3_000_000];
        let options = WriterOptions { compress: false, ..WriterOptions::default() };
        let mut w = RdbWriter::new(Vec::new(), options);
        w.header().unwrap();
        write_entry(&mut w, b"big", ValueRef::Str(&big), KeyFacts::default()).unwrap();
        for i in 0..100_000_i64 {
            write_entry(&mut w, b"small", ValueRef::Int(i), KeyFacts::default()).unwrap();
        }
        let (file, len) = w.finish().unwrap();
        assert_eq!(file.len() as u64, len);
        let mut parser = RdbParser::new(true);
        let (mut sum, mut checked) = (0, false);
        for piece in file.chunks(7777) {
            parser.feed(piece);
            while let Some(event) = parser.next_event().unwrap() {
                match event {
                    Event::Entry(RdbEntry { value: Loaded::Int(n), .. }) => sum += n,
                    Event::Entry(e) => assert_eq!(e.value, Loaded::Str(Cow::Borrowed(&big))),
                    Event::Eof { checked: c } => checked = c,
                    _ => {}
                }
            }
        }
        assert!(checked);
        assert_eq!(sum, 99_999 * 100_000 / 2);
        assert_eq!(parser.buf.len(), BUFFER);
    }

    #[test]
    fn slots_that_were_on_their_way() {
        let name = [b'7'; 40];
        let options = WriterOptions { version: RdbVersion::Valkey80, ..WriterOptions::default() };
        let mut w = RdbWriter::new(Vec::new(), options);
        w.header().unwrap();
        w.slot_import(&name, &[1..=1, 5000..=16383]).unwrap();
        let (file, _) = w.finish().unwrap();
        let ranges = vec![(1, 1), (5000, 16383)];
        let expected = Event::SlotImport { name: Cow::Borrowed(&name), ranges };
        for size in [1, 7, file.len()] {
            let events = events(file.chunks(size), true).unwrap();
            assert_eq!(events[1], format!("{expected:?}"));
        }
        // What is claimed takes no memory.
        let claim = b"VALKEY080\xf3\x01n\x81\xff\xff\xff\xff\xff\xff\xff\xff\x01\x01";
        let mut parser = RdbParser::new(true);
        parser.feed(claim);
        assert!(matches!(parser.next_event(), Ok(Some(Event::Header { .. }))));
        assert_eq!(parser.next_event(), Ok(None));
    }

    fn any_value() -> impl Strategy<Value = Value> {
        let int = prop_oneof![any::<i64>(), -200..200_i64, any::<i32>().prop_map(i64::from)];
        let run = (any::<u8>(), 0..5000_usize).prop_map(|(b, n)| vec![b; n]);
        let text = prop_oneof![prop::collection::vec(any::<u8>(), 0..100), run];
        // Text that is an integer is read as one.
        let not_int = text.prop_filter("integer", |t| crate::util::number::parse_i64(t).is_none());
        prop_oneof![int.prop_map(Value::Int), not_int.prop_map(Value::Str)]
    }

    fn any_key() -> impl Strategy<Value = Key> {
        let name = prop_oneof![
            prop::collection::vec(any::<u8>(), 0..80),
            any::<i32>().prop_map(|n| n.to_string().into_bytes()),
        ];
        let expire = prop::option::of(0..i64::MAX);
        (0..5_u64, name, any_value(), expire, any::<Option<u64>>(), any::<Option<u8>>())
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(
            written in prop::collection::vec(any_key(), 0..50),
            compress: bool,
            version in prop::sample::select(vec![RdbVersion::V10, RdbVersion::V12, RdbVersion::Valkey80]),
        ) {
            let options = WriterOptions { version, compress, checksum: true };
            let mut w = RdbWriter::new(Vec::new(), options);
            w.header().unwrap();
            for (db, key, value, expire, idle, freq) in &written {
                w.select_db(*db).unwrap();
                let facts = KeyFacts { expire_ms: *expire, idle_secs: *idle, freq: *freq };
                write_entry(&mut w, key, ValueRef::from(value), facts).unwrap();
            }
            let (file, len) = w.finish().unwrap();
            prop_assert_eq!(file.len() as u64, len);
            prop_assert_eq!(keys(&file), written);
        }

        #[test]
        fn any_bytes_any_pieces(body in prop::collection::vec(any::<u8>(), 0..200), size in 1..50_usize) {
            let file = file(&body);
            // What is wrong may be noticed in another order.
            let whole = events([&file[..]], true).ok();
            prop_assert_eq!(events(file.chunks(size), true).ok(), whole);
        }
    }
}
