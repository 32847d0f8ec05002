//! `redis-check-aof`: whether append-only files are whole, and cutting off what is not.
//!
//! The answers are worded as Redis's are, since people and scripts look for them.
#![forbid(unsafe_code)]

use super::manifest::Manifest;
use super::reader::{BadFormat, Record, RecordFile, is_rdb, next_record};
use crate::rdb::check::check_rdb;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, Read, Write};
use std::path::{Path, PathBuf};

/// What is to be done with a file that is not whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Check,
    Fix,
    /// Cut off what was written after this time, in seconds since 1970.
    TruncateTo(i64),
}

/// What became of a file.
enum Verdict {
    Valid,
    Empty,
    Truncated,
    TruncatedTo(i64),
}

/// Why checking ends early; the text has been written.
struct Aborted;

impl From<io::Error> for Aborted {
    /// Nobody reads the answers any more.
    fn from(_: io::Error) -> Aborted {
        Aborted
    }
}

type Outcome<T> = Result<T, Aborted>;

/// Runs the program; `args` start with its name. Answers the exit code.
pub fn run(args: &[String], input: &mut dyn BufRead, out: &mut dyn Write) -> i32 {
    let mut checker = Checker { input, out, mode: Mode::Check };
    i32::from(checker.run(args).is_err())
}

struct Checker<'a> {
    input: &'a mut dyn BufRead,
    out: &'a mut dyn Write,
    mode: Mode,
}

impl Checker<'_> {
    fn run(&mut self, args: &[String]) -> Outcome<()> {
        let name = args.first().map_or("redis-check-aof", String::as_str);
        let options: Vec<&str> = args.iter().skip(1).map(String::as_str).collect();
        let path = match options[..] {
            ["-v" | "--version"] => {
                writeln!(self.out, "redis-check-aof {}", env!("CARGO_PKG_VERSION"))?;
                return Ok(());
            }
            [path] => path,
            ["--fix", path] => {
                self.mode = Mode::Fix;
                path
            }
            ["--truncate-to-timestamp", time, path] => {
                let Ok(time) = time.parse() else {
                    return self.abort("Invalid timestamp, aborting...");
                };
                self.mode = Mode::TruncateTo(time);
                path
            }
            _ => {
                return self.abort(&format!(
                    "Usage: {name} [--fix|--truncate-to-timestamp $timestamp] <file.manifest|file.aof>"
                ));
            }
        };
        let path = Path::new(path);
        if self.is_manifest(path)? {
            return self.check_multi_part(path);
        }
        writeln!(self.out, "Start checking Old-Style AOF")?;
        let shown = path.display().to_string();
        let is_rdb = self.starts_with_rdb(path)?;
        let verdict = self.check_single(&shown, path, true, is_rdb)?;
        self.report(&verdict, &shown, "AOF")
    }

    fn abort<T>(&mut self, text: &str) -> Outcome<T> {
        // The exit code says the rest.
        let _ = writeln!(self.out, "{text}");
        Err(Aborted)
    }

    /// Whether a file's first line that is no comment is one of a manifest.
    fn is_manifest(&mut self, path: &Path) -> Outcome<bool> {
        let head = self.head(path, 64 * 1024)?;
        let mut lines = head.split(|&byte| byte == b'\n');
        Ok(lines.find(|line| !line.starts_with(b"#")).is_some_and(|line| line.starts_with(b"file")))
    }

    fn starts_with_rdb(&mut self, path: &Path) -> Outcome<bool> {
        Ok(is_rdb(&self.head(path, 9)?))
    }

    fn head(&mut self, path: &Path, len: u64) -> Outcome<Vec<u8>> {
        let mut head = Vec::new();
        let read = File::open(path).and_then(|file| file.take(len).read_to_end(&mut head));
        match read {
            Ok(_) => Ok(head),
            Err(error) => {
                self.abort(&format!("Cannot open file {}: {}", path.display(), reason(&error)))
            }
        }
    }

    fn check_multi_part(&mut self, path: &Path) -> Outcome<()> {
        writeln!(self.out, "Start checking Multi Part AOF")?;
        let manifest = match fs::read(path) {
            Ok(text) => Manifest::parse(&text),
            Err(error) => {
                return self.abort(&format!(
                    "Fatal error: can't open the AOF manifest file {} for reading: {}",
                    path.display(),
                    reason(&error)
                ));
            }
        };
        let manifest = match manifest {
            Ok(manifest) => manifest,
            Err(error) => return self.abort(&error.to_string()),
        };
        let dir = path.parent().unwrap_or(Path::new(""));
        let mut left = manifest.files().count();
        if let Some(base) = &manifest.base {
            left -= 1;
            let path: PathBuf = dir.join(&base.name);
            let is_rdb = self.starts_with_rdb(&path)?;
            let format = if is_rdb { "RDB" } else { "RESP" };
            writeln!(self.out, "Start to check BASE AOF ({format} format).")?;
            let verdict = self.check_single(&base.name, &path, left == 0, is_rdb)?;
            self.report(&verdict, &base.name, "BASE AOF")?;
        }
        if !manifest.incr.is_empty() {
            writeln!(self.out, "Start to check INCR files.")?;
        }
        for file in &manifest.incr {
            left -= 1;
            let verdict = self.check_single(&file.name, &dir.join(&file.name), left == 0, false)?;
            self.report(&verdict, &file.name, "INCR AOF")?;
        }
        writeln!(self.out, "All AOF files and manifest are valid")?;
        Ok(())
    }

    fn report(&mut self, verdict: &Verdict, name: &str, kind: &str) -> Outcome<()> {
        match verdict {
            Verdict::Valid => writeln!(self.out, "{kind} {name} is valid")?,
            Verdict::Empty => writeln!(self.out, "{kind} {name} is empty")?,
            Verdict::Truncated => writeln!(self.out, "Successfully truncated AOF {name}")?,
            Verdict::TruncatedTo(time) => {
                writeln!(self.out, "Successfully truncated AOF {name} to timestamp {time}")?;
            }
        }
        Ok(())
    }

    /// Checks one file. Only the last of an append-only file may be cut.
    fn check_single(
        &mut self,
        name: &str,
        path: &Path,
        is_last: bool,
        has_preamble: bool,
    ) -> Outcome<Verdict> {
        let opened = OpenOptions::new().read(true).write(self.mode != Mode::Check).open(path);
        let file = match opened {
            Ok(file) => file,
            Err(error) => {
                let reason = reason(&error);
                return self
                    .abort(&format!("Cannot open file {}: {reason}, aborting...", path.display()));
            }
        };
        let size = file.metadata()?.len();
        if size == 0 {
            return Ok(Verdict::Empty);
        }
        let mut records = if has_preamble {
            match check_rdb(file, path, self.out)? {
                Some((file, rest, offset)) => {
                    writeln!(self.out, "RDB preamble is OK, proceeding with AOF tail...")?;
                    RecordFile::resume(file, rest, offset)
                }
                None => return self.abort("RDB preamble of AOF file is not sane, aborting."),
            }
        } else {
            RecordFile::new(file)
        };
        let end = self.walk(name, &mut records, is_last)?;
        if let Some(time) = end.cut_at {
            records.file().set_len(records.offset())?;
            return Ok(Verdict::TruncatedTo(time));
        }
        if let Some(fault) = &end.fault {
            writeln!(self.out, "{fault}")?;
        }
        let diff = size - end.ok_up_to;
        if let (0, Mode::TruncateTo(time)) = (diff, self.mode) {
            writeln!(self.out, "Truncate nothing in AOF {name} to timestamp {time}")?;
            return Ok(Verdict::Valid);
        }
        writeln!(
            self.out,
            "AOF analyzed: filename={name}, size={size}, ok_up_to={}, ok_up_to_line={}, diff={diff}",
            end.ok_up_to, end.line
        )?;
        if diff == 0 {
            return Ok(Verdict::Valid);
        }
        self.fix(name, &records, size, end.ok_up_to, is_last)
    }

    /// Walks through a file's records until it ends or makes no sense.
    fn walk(&mut self, name: &str, records: &mut RecordFile, is_last: bool) -> Outcome<Walk> {
        let mut walk = Walk { line: 1, ..Walk::default() };
        let mut in_multi = false;
        loop {
            if !in_multi {
                walk.ok_up_to = records.offset();
            }
            match next_record(records.rest()) {
                Ok(Record::Annotation { line, end }) => {
                    let line = records.rest()[line].to_vec();
                    if self.is_too_late(name, records.offset(), &line, is_last)? {
                        walk.cut_at = Some(self.wanted_time());
                        return Ok(walk);
                    }
                    records.advance(end);
                }
                Ok(Record::Command { args, end }) => {
                    let verb = records.rest()[args[0].clone()].to_ascii_lowercase();
                    let is_multi = verb == b"multi";
                    if is_multi == in_multi && (is_multi || verb == b"exec") {
                        let verb = String::from_utf8_lossy(&verb).to_uppercase();
                        walk.set_fault(records, format!("Unexpected {verb} in AOF {name}"));
                        return Ok(walk);
                    }
                    in_multi = (in_multi || is_multi) && verb != b"exec";
                    walk.line += 1 + 2 * args.len();
                    records.advance(end);
                }
                Ok(Record::Incomplete(need)) if !records.is_at_end() => {
                    records.read_more(need)?;
                }
                Ok(Record::Incomplete(need)) => {
                    let have = records.rest().len();
                    if have > 0 {
                        walk.line += lines_before_end(records.rest());
                        let text = format!("Expected to read {need} bytes, got {have} bytes");
                        walk.set_fault(records, text);
                    } else if in_multi {
                        let text = "Reached EOF before reading EXEC for MULTI".to_string();
                        walk.set_fault(records, text);
                    }
                    return Ok(walk);
                }
                Err(BadFormat { reason, lines, .. }) => {
                    walk.line += lines;
                    if reason.is_empty() {
                        writeln!(self.out, "AOF {name} format error")?;
                    } else {
                        walk.set_fault(records, reason);
                    }
                    return Ok(walk);
                }
            }
        }
    }

    fn wanted_time(&self) -> i64 {
        match self.mode {
            Mode::TruncateTo(time) => time,
            Mode::Check | Mode::Fix => i64::MAX,
        }
    }

    /// Whether what follows an annotation is to be cut off.
    fn is_too_late(&mut self, name: &str, at: u64, line: &[u8], is_last: bool) -> Outcome<bool> {
        let Mode::TruncateTo(wanted) = self.mode else { return Ok(false) };
        let Some(text) = line.strip_prefix(b"#TS:") else { return Ok(false) };
        let time = std::str::from_utf8(text).ok().and_then(|text| text.parse::<i64>().ok());
        let Some(time) = time else { return self.abort("Invalid timestamp annotation") };
        if time <= wanted {
            return Ok(false);
        }
        if at == 0 {
            return self
                .abort(&format!("AOF {name} has nothing before timestamp {wanted}, aborting..."));
        }
        if !is_last {
            return self.abort(&format!(
                "Failed to truncate AOF {name} to timestamp {wanted} to offset {at} because it is not the last file.\n\
                 If you insist, please delete all files after this file according to the manifest file and delete the \
                 corresponding records in manifest file manually. Then re-run redis-check-aof."
            ));
        }
        Ok(true)
    }

    /// Cuts a file where it stops making sense, if that is wanted and confirmed.
    fn fix(
        &mut self,
        name: &str,
        records: &RecordFile,
        size: u64,
        ok_up_to: u64,
        is_last: bool,
    ) -> Outcome<Verdict> {
        if self.mode != Mode::Fix {
            return self.abort(&format!(
                "AOF {name} is not valid. Use the --fix option to try fixing it."
            ));
        }
        if !is_last {
            return self
                .abort(&format!("Failed to truncate AOF {name} because it is not the last file"));
        }
        writeln!(
            self.out,
            "This will shrink the AOF {name} from {size} bytes, with {} bytes, to {ok_up_to} bytes",
            size - ok_up_to
        )?;
        write!(self.out, "Continue? [y/N]: ")?;
        self.out.flush()?;
        let mut answer = String::new();
        self.input.read_line(&mut answer)?;
        if !answer.starts_with(['y', 'Y']) {
            return self.abort("Aborting...");
        }
        let file = records.file();
        if file.set_len(ok_up_to).and_then(|()| file.sync_all()).is_err() {
            return self.abort(&format!("Failed to truncate AOF {name}"));
        }
        Ok(Verdict::Truncated)
    }
}

/// How far a walk came.
#[derive(Default)]
struct Walk {
    /// The offset up to which all is well.
    ok_up_to: u64,
    /// The number of the line where it stopped.
    line: usize,
    fault: Option<String>,
    /// What follows is too late.
    cut_at: Option<i64>,
}

impl Walk {
    fn set_fault(&mut self, records: &RecordFile, reason: String) {
        self.fault = Some(format!("0x{:16x}: {reason}", records.offset()));
    }
}

/// Complete lines before an argument that lacks its end.
fn lines_before_end(rest: &[u8]) -> usize {
    rest.windows(2).filter(|pair| pair == b"\r\n").count()
}

/// The text of a system error as strerror(3) gives it.
fn reason(error: &io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error ").next().unwrap_or_default().to_string()
}
