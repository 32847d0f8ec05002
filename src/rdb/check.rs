//! `redis-check-rdb`: whether a snapshot can be read, and where not.

use super::bar::Bar;
use super::error::ErrorKind;
use super::format::{opcode, value_type};
use super::parser::{Event, RdbParser};
use super::reader::Reader;
use crate::util::io_reason;
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

/// Runs the program; `args` start with its name. Answers the exit code.
pub fn run(args: &[String], out: &mut dyn Write) -> i32 {
    let [_, path] = args else {
        let name = args.first().map_or("redis-check-rdb", String::as_str);
        // The exit code says the rest.
        let _ = writeln!(out, "Usage: {name} <rdb-file-name>");
        return 1;
    };
    if path == "-v" || path == "--version" {
        let _ = writeln!(out, "redis-check-rdb {}", env!("CARGO_PKG_VERSION"));
        return 0;
    }
    let path = Path::new(path);
    let checked = File::open(path).and_then(|mut file| check_rdb(&mut file, path, out));
    match checked {
        Ok(Some(_)) => 0,
        Ok(None) => 1,
        Err(error) => {
            let _ = writeln!(out, "Cannot open file {}: {}", path.display(), io_reason(&error));
            1
        }
    }
}

/// What was found so far.
#[derive(Default)]
struct Found {
    keys: u64,
    expires: u64,
    already_expired: u64,
}

impl Found {
    fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        writeln!(out, "[info] {} keys read", self.keys)?;
        writeln!(out, "[info] {} expires", self.expires)?;
        writeln!(out, "[info] {} already expired", self.already_expired)
    }
}

/// Reads a snapshot and tells what is in it. Answers where it ends in the file; `None` if it makes no sense.
///
/// # Errors
/// What reading and writing report.
pub fn check_rdb(file: &mut File, path: &Path, out: &mut dyn Write) -> io::Result<Option<u64>> {
    writeln!(out, "[offset 0] Checking RDB file {}", path.display())?;
    let mut parser = RdbParser::new(true);
    let mut found = Found::default();
    let mut bar = Bar::new(file.metadata()?.len());
    let fault = loop {
        match check_events(&mut parser, &mut found, &bar, out)? {
            Ok(true) => break None,
            Ok(false) => {}
            Err(error) => break Some(error),
        }
        let n = file.read(parser.space())?;
        parser.filled(n);
        bar.set(parser.offset());
        if n == 0
            && let Err(error) = parser.finish()
        {
            break Some(error);
        }
    };
    drop(bar);
    if let Some(error) = fault {
        writeln!(out, "--- RDB ERROR DETECTED ---")?;
        match error.kind {
            ErrorKind::UnknownType(kind) => {
                writeln!(out, "[offset {}] Invalid object type: {kind}", error.offset)?;
            }
            kind => writeln!(out, "[offset {}] {kind}", error.offset)?,
        }
        let record = Record::of(&parser);
        writeln!(out, "[additional info] While doing: {}", record.doing)?;
        if let Some(key) = &record.key {
            writeln!(out, "[additional info] Reading key '{key}'")?;
            found.keys += 1;
        }
        if let Some(n) = record.value_type {
            let name = value_type::name(n).unwrap_or("unknown");
            writeln!(out, "[additional info] Reading type {n} ({name})")?;
        }
        found.write(out)?;
        return Ok(None);
    }
    writeln!(out, "[offset {}] \\o/ RDB looks OK! \\o/", parser.offset())?;
    found.write(out)?;
    Ok(Some(parser.offset()))
}

/// A record that can't be read: what is known of it, in Redis's words.
struct Record {
    doing: &'static str,
    key: Option<String>,
    value_type: Option<u8>,
}

impl Record {
    /// The record that a parser could not get over.
    fn of(parser: &RdbParser) -> Record {
        let rest = parser.rest();
        let doing = match rest.first() {
            _ if parser.offset() == 0 => "start",
            None | Some(&(opcode::IDLE | opcode::FREQ)) => "read-type",
            Some(&(opcode::EXPIRETIME | opcode::EXPIRETIME_MS)) => "read-expire",
            Some(
                &(opcode::SELECTDB | opcode::RESIZEDB | opcode::SLOT_INFO | opcode::SLOT_IMPORT),
            ) => "read-len",
            Some(&opcode::AUX) => "read-aux",
            Some(&opcode::MODULE_AUX) => "read-module-aux",
            Some(&(opcode::FUNCTION2 | opcode::FUNCTION_PRE_GA)) => "read-functions",
            Some(&opcode::EOF) => "check-sum",
            Some(&kind) if value_type::name(kind).is_none() => "read-type",
            Some(&kind) => {
                let key = Reader::new(&rest[1..]).string().ok();
                let doing = if key.is_some() { "read-object-value" } else { "read-key" };
                let key = key.map(|key| key.escape_ascii().to_string());
                return Record { doing, key, value_type: Some(kind) };
            }
        };
        Record { doing, key: None, value_type: None }
    }
}

/// Goes through what the parser has; returns whether the snapshot has ended.
fn check_events(
    parser: &mut RdbParser,
    found: &mut Found,
    bar: &Bar,
    out: &mut dyn Write,
) -> io::Result<Result<bool, super::RdbError>> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as i64;
    loop {
        let line = match parser.next_event() {
            Err(error) => return Ok(Err(error)),
            Ok(None) => return Ok(Ok(false)),
            Ok(Some(Event::Aux { name, value })) => {
                format!("AUX FIELD {} = '{}'", name.escape_ascii(), value.escape_ascii())
            }
            Ok(Some(Event::SelectDb(db))) => format!("Selecting DB ID {db}"),
            Ok(Some(Event::Entry(entry))) => {
                found.keys += 1;
                found.expires += u64::from(entry.expire_ms.is_some());
                found.already_expired += u64::from(entry.expire_ms.is_some_and(|ms| ms < now));
                continue;
            }
            Ok(Some(Event::Eof { checked })) => {
                let what = if checked {
                    "Checksum OK"
                } else {
                    "RDB file was saved with checksum disabled: no check performed."
                };
                bar.above(|| writeln!(out, "[offset {}] {what}", parser.offset()))?;
                return Ok(Ok(true));
            }
            Ok(Some(_)) => continue,
        };
        bar.above(|| writeln!(out, "[offset {}] {line}", parser.offset()))?;
    }
}
