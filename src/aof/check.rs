//! `redis-check-aof`: whether append-only files are whole, and cutting off what is not.
//!
//! The answers are worded as Redis's are, since people and scripts look for them.

use super::manifest::Manifest;
use super::reader::is_rdb;
use crate::rdb::bar::Bar;
use crate::rdb::check::check_rdb;
use crate::util::io_reason;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

/// The longest annotation, line before an argument, and verb that matters, in bytes.
const MAX_ANNOTATION: u64 = 1023;
const MAX_HEADER: u64 = 127;
const LONGEST_VERB: u64 = 6;
/// Bytes of a file that tell what it is.
const RDB_HEADER: u64 = 9;

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
    let mut checker = Checker { input, out, mode: Mode::Check, line: 1 };
    i32::from(checker.run(args).is_err())
}

struct Checker<'a> {
    input: &'a mut dyn BufRead,
    out: &'a mut dyn Write,
    mode: Mode,
    /// The number of the line, over all files.
    line: u64,
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
                let Some((time, b"")) = long(time.as_bytes()) else {
                    return self.abort("Invalid timestamp, aborting...");
                };
                if time != 0 {
                    self.mode = Mode::TruncateTo(time);
                }
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
        let head = self.head(path, RDB_HEADER)?;
        Ok(head.len() >= 8 && is_rdb(&head))
    }

    fn head(&mut self, path: &Path, len: u64) -> Outcome<Vec<u8>> {
        let mut head = Vec::new();
        let read = File::open(path).and_then(|file| file.take(len).read_to_end(&mut head));
        match read {
            Ok(_) => Ok(head),
            Err(error) if error.kind() == io::ErrorKind::IsADirectory => {
                self.abort(&format!("Cannot read file: {}", path.display()))
            }
            Err(error) => {
                self.abort(&format!("Cannot open file {}: {}", path.display(), io_reason(&error)))
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
                    io_reason(&error)
                ));
            }
        };
        let manifest = match manifest {
            Ok(manifest) => manifest,
            Err(error) => return self.abort(&error.to_string()),
        };
        let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
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
        let mut file = match opened {
            Ok(file) => file,
            Err(error) => {
                let reason = io_reason(&error);
                return self
                    .abort(&format!("Cannot open file {}: {reason}, aborting...", path.display()));
            }
        };
        let size = file.metadata()?.len();
        if size == 0 {
            return Ok(Verdict::Empty);
        }
        let mut start = 0;
        if has_preamble {
            start = match check_rdb(&mut file, path, self.out)? {
                Some(end) => end,
                None => return self.abort("RDB preamble of AOF file is not sane, aborting."),
            };
            writeln!(self.out, "RDB preamble is OK, proceeding with AOF tail...")?;
            file.seek(SeekFrom::Start(start))?;
        }
        let mut walk = Walk::new(path, &file, start, self.line);
        let mut bar = Bar::new(size);
        let stopped = self.walk(name, &mut walk, &mut bar, is_last)?;
        drop(bar);
        let (ok_up_to, offset) = (walk.ok_up_to, walk.offset);
        self.line = walk.line;
        if let (Stop::TooLate, Mode::TruncateTo(time)) = (&stopped, self.mode) {
            if file.set_len(offset).and_then(|()| file.sync_all()).is_err() {
                return self.abort(&format!("Failed to truncate AOF {name} to timestamp {time}"));
            }
            return Ok(Verdict::TruncatedTo(time));
        }
        if let Stop::Fault(fault) = &stopped {
            writeln!(self.out, "{fault}")?;
        }
        let diff = size - ok_up_to;
        if let (0, Mode::TruncateTo(time)) = (diff, self.mode) {
            writeln!(self.out, "Truncate nothing in AOF {name} to timestamp {time}")?;
            return Ok(Verdict::Valid);
        }
        writeln!(
            self.out,
            "AOF analyzed: filename={name}, size={size}, ok_up_to={ok_up_to}, ok_up_to_line={}, diff={diff}",
            self.line
        )?;
        if diff == 0 {
            return Ok(Verdict::Valid);
        }
        self.fix(name, &file, size, ok_up_to, is_last)
    }

    /// Walks through a file's records until it ends, makes no sense, or goes on after the wanted time.
    fn walk(
        &mut self,
        name: &str,
        walk: &mut Walk<'_>,
        bar: &mut Bar,
        is_last: bool,
    ) -> Outcome<Stop> {
        loop {
            bar.set(walk.offset);
            if walk.multi == 0 {
                walk.ok_up_to = walk.offset;
            }
            let stop = match walk.peek()? {
                None if walk.multi != 0 => {
                    walk.fault("Reached EOF before reading EXEC for MULTI".to_string())
                }
                None => Stop::End,
                Some(b'#') => {
                    let at = walk.offset;
                    let line = walk.read_line(MAX_ANNOTATION)?;
                    if self.is_too_late(walk.path, at, &line, is_last)? {
                        walk.offset = at;
                        return Ok(Stop::TooLate);
                    }
                    continue;
                }
                Some(b'*') => match walk.command()? {
                    Ok(()) => continue,
                    Err(stop) => stop,
                },
                Some(_) => {
                    bar.above(|| writeln!(self.out, "AOF {name} format error"))?;
                    Stop::End
                }
            };
            return Ok(stop);
        }
    }

    /// Whether what follows an annotation is to be cut off.
    fn is_too_late(&mut self, path: &Path, at: u64, line: &[u8], is_last: bool) -> Outcome<bool> {
        let Mode::TruncateTo(wanted) = self.mode else { return Ok(false) };
        let Some(text) = line.strip_prefix(b"#TS:") else { return Ok(false) };
        let time = match long(text) {
            Some((time, rest)) if rest.starts_with(b"\r") => time,
            _ => return self.abort("Invalid timestamp annotation"),
        };
        let path = path.display();
        if time <= wanted {
            return Ok(false);
        }
        if at == 0 {
            return self
                .abort(&format!("AOF {path} has nothing before timestamp {wanted}, aborting..."));
        }
        if !is_last {
            return self.abort(&format!(
                "Failed to truncate AOF {path} to timestamp {wanted} to offset {at} because it is not the last file.\n\
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
        file: &File,
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
        let mut answer = Vec::new();
        self.input.read_until(b'\n', &mut answer)?;
        if !answer.starts_with(b"y") && !answer.starts_with(b"Y") {
            return self.abort("Aborting...");
        }
        if file.set_len(ok_up_to).and_then(|()| file.sync_all()).is_err() {
            return self.abort(&format!("Failed to truncate AOF {name}"));
        }
        Ok(Verdict::Truncated)
    }
}

/// Why a walk ends.
enum Stop {
    /// The file has ended, or what is wrong with it has been said.
    End,
    Fault(String),
    /// What follows is after the wanted time.
    TooLate,
}

/// What a part of a record is, or why there is none.
type Step<T> = io::Result<Result<T, Stop>>;

/// A walk through a file, as Redis's tool takes it: line by line and argument by argument, so that it finds the same
/// faults in the same places.
struct Walk<'a> {
    path: &'a Path,
    file: BufReader<&'a File>,
    offset: u64,
    /// The offset up to which all is well.
    ok_up_to: u64,
    /// Where the part of a record starts that was read last.
    part_at: u64,
    /// The number of the line, over all files.
    line: u64,
    /// Transactions that are open: none or one, or the file makes no sense.
    multi: i32,
}

impl<'a> Walk<'a> {
    fn new(path: &'a Path, file: &'a File, offset: u64, line: u64) -> Walk<'a> {
        let file = BufReader::new(file);
        Walk { path, file, offset, ok_up_to: offset, part_at: 0, line, multi: 0 }
    }

    fn fault(&self, what: String) -> Stop {
        Stop::Fault(format!("0x{:16x}: {what}", self.part_at))
    }

    fn peek(&mut self) -> io::Result<Option<u8>> {
        Ok(self.file.fill_buf()?.first().copied())
    }

    /// A line with its end; less of it if it has more than `limit` bytes.
    fn read_line(&mut self, limit: u64) -> io::Result<Vec<u8>> {
        self.part_at = self.offset;
        let mut line = Vec::new();
        self.offset += (&mut self.file).take(limit).read_until(b'\n', &mut line)? as u64;
        Ok(line)
    }

    fn command(&mut self) -> Step<()> {
        let args = match self.number(b'*')? {
            Ok(args) => args,
            Err(stop) => return Ok(Err(stop)),
        };
        for arg in 0..args {
            let verb = match self.argument()? {
                Ok(verb) if arg == 0 => verb,
                Ok(_) => continue,
                Err(stop) => return Ok(Err(stop)),
            };
            if verb.eq_ignore_ascii_case(b"multi") {
                self.multi += 1;
                if self.multi != 1 {
                    let what = format!("Unexpected MULTI in AOF {}", self.path.display());
                    return Ok(Err(self.fault(what)));
                }
            } else if verb.eq_ignore_ascii_case(b"exec") {
                self.multi -= 1;
                if self.multi != 0 {
                    let what = format!("Unexpected EXEC in AOF {}", self.path.display());
                    return Ok(Err(self.fault(what)));
                }
            }
        }
        Ok(Ok(()))
    }

    /// The number in a line that starts with `prefix`.
    fn number(&mut self, prefix: u8) -> Step<i64> {
        let line = self.read_line(MAX_HEADER)?;
        let Some((&first, digits)) = line.split_first() else {
            return Ok(Err(match self.multi {
                0 => Stop::End,
                _ => self.fault("Reached EOF before reading EXEC for MULTI".to_string()),
            }));
        };
        if first != prefix {
            let (prefix, first) = (char::from(prefix), char::from(first));
            return Ok(Err(self.fault(format!("Expected prefix '{prefix}', got: '{first}'"))));
        }
        let (number, rest) = long(digits).unwrap_or((i64::MAX, b""));
        Ok(self.newline(rest).map(|()| number))
    }

    /// An argument: as much of it as a verb has that matters here.
    fn argument(&mut self) -> Step<Vec<u8>> {
        let len = match self.number(b'$')? {
            Ok(len) => len,
            Err(stop) => return Ok(Err(stop)),
        };
        let Some(whole) = u64::try_from(len).ok().filter(|_| len <= i64::MAX - 2) else {
            let what = format!(
                "Expected to read string of {len} bytes, which is not in the suitable range"
            );
            return Ok(Err(self.fault(what)));
        };
        self.part_at = self.offset;
        let (mut text, mut end) = (Vec::new(), Vec::new());
        let kept = whole.min(LONGEST_VERB);
        (&mut self.file).take(kept).read_to_end(&mut text)?;
        let skipped = io::copy(&mut (&mut self.file).take(whole - kept), &mut io::sink())?;
        (&mut self.file).take(2).read_to_end(&mut end)?;
        let got = text.len() as u64 + skipped + end.len() as u64;
        self.offset += got;
        if got != whole + 2 {
            let what = format!("Expected to read {} bytes, got {got} bytes", whole + 2);
            return Ok(Err(self.fault(what)));
        }
        Ok(self.newline(&end).map(|()| text))
    }

    fn newline(&mut self, end: &[u8]) -> Result<(), Stop> {
        if end.starts_with(b"\r\n") {
            self.line += 1;
            return Ok(());
        }
        // Redis prints signed characters.
        let code = |at| i32::from(end.get(at).map_or(0, |&byte| byte as i8));
        Err(self.fault(format!("Expected \\r\\n, got: {:02x}{:02x}", code(0), code(1))))
    }
}

/// The number at the start of `text` and what follows it, as strtol(3) has it; `None`: it is too large.
fn long(text: &[u8]) -> Option<(i64, &[u8])> {
    let trimmed = text.trim_ascii_start();
    let sign = usize::from(trimmed.starts_with(b"-") || trimmed.starts_with(b"+"));
    let digits = trimmed[sign..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    if digits == 0 {
        return Some((0, text));
    }
    let (number, rest) = trimmed.split_at(sign + digits);
    Some((std::str::from_utf8(number).ok()?.parse().ok()?, rest))
}
