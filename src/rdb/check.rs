//! `redis-check-rdb`: whether a snapshot can be read, and where not.
#![forbid(unsafe_code)]

use super::parser::{Event, RdbParser};
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
    let checked = File::open(path).and_then(|file| check_rdb(file, path, out));
    match checked {
        Ok(Some(_)) => 0,
        Ok(None) => 1,
        Err(error) => {
            let _ = writeln!(out, "Cannot open file {}: {error}", path.display());
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
    last_key: Option<String>,
}

impl Found {
    fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        writeln!(out, "[info] {} keys read", self.keys)?;
        writeln!(out, "[info] {} expires", self.expires)?;
        writeln!(out, "[info] {} already expired", self.already_expired)
    }
}

/// Reads a snapshot and tells what is in it. Answers the file, what was read of it beyond the snapshot, and where that
/// starts; `None` if the snapshot makes no sense.
///
/// # Errors
/// What reading and writing report.
pub fn check_rdb(
    mut file: File,
    path: &Path,
    out: &mut dyn Write,
) -> io::Result<Option<(File, Vec<u8>, u64)>> {
    writeln!(out, "[offset 0] Checking RDB file {}", path.display())?;
    let mut parser = RdbParser::new(true);
    let mut found = Found::default();
    let fault = loop {
        match check_events(&mut parser, &mut found, out)? {
            Ok(true) => break None,
            Ok(false) => {}
            Err(error) => break Some(error),
        }
        let n = file.read(parser.space())?;
        parser.filled(n);
        if n == 0
            && let Err(error) = parser.finish()
        {
            break Some(error);
        }
    };
    if let Some(error) = fault {
        writeln!(out, "--- RDB ERROR DETECTED ---")?;
        writeln!(out, "[offset {}] {}", error.offset, error.kind)?;
        if let Some(key) = &found.last_key {
            writeln!(out, "[additional info] After key '{key}'")?;
        }
        found.write(out)?;
        return Ok(None);
    }
    writeln!(out, "[offset {}] \\o/ RDB looks OK! \\o/", parser.offset())?;
    found.write(out)?;
    let rest = parser.rest().to_vec();
    Ok(Some((file, rest, parser.offset())))
}

/// Goes through what the parser has; answers whether the snapshot has ended.
fn check_events(
    parser: &mut RdbParser,
    found: &mut Found,
    out: &mut dyn Write,
) -> io::Result<Result<bool, super::RdbError>> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as i64;
    loop {
        let at = parser.offset();
        match parser.next_event() {
            Err(error) => return Ok(Err(error)),
            Ok(None) => return Ok(Ok(false)),
            Ok(Some(Event::Aux { name, value })) => {
                let (name, value) = (name.escape_ascii(), value.escape_ascii());
                writeln!(out, "[offset {at}] AUX FIELD {name} = '{value}'")?;
            }
            Ok(Some(Event::SelectDb(db))) => writeln!(out, "[offset {at}] Selecting DB ID {db}")?,
            Ok(Some(Event::Entry(entry))) => {
                found.keys += 1;
                found.expires += u64::from(entry.expire_ms.is_some());
                found.already_expired += u64::from(entry.expire_ms.is_some_and(|ms| ms < now));
                found.last_key = Some(entry.key.escape_ascii().to_string());
            }
            Ok(Some(Event::Eof { checked })) => {
                let what = if checked {
                    "Checksum OK"
                } else {
                    "RDB file was saved with checksum disabled: no check performed."
                };
                writeln!(out, "[offset {at}] {what}")?;
                return Ok(Ok(true));
            }
            Ok(Some(_)) => {}
        }
    }
}
