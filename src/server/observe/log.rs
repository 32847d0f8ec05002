//! The log: lines in Redis's format, to standard output or to `logfile`.

use crate::server::Server;
use crate::server::config::{LogFormat, LogLevel, LogTimestamp};
use crate::sys::time;
pub use crate::util::log_level::Level;
use std::fs::OpenOptions;
use std::io::{self, Write};
use std::path::PathBuf;

/// At most one line in that time tells of a client that speaks HTTP: an attacker must not fill the disk.
const HTTP_PERIOD_SECONDS: i64 = 60;

/// Who writes a line, as the letter behind the process id says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProcessRole {
    Master,
    Slave,
    /// The child that saves.
    Child,
}

impl ProcessRole {
    fn letter(self) -> char {
        match self {
            ProcessRole::Master => 'M',
            ProcessRole::Slave => 'S',
            ProcessRole::Child => 'C',
        }
    }

    fn word(self) -> &'static str {
        match self {
            ProcessRole::Master => "primary",
            ProcessRole::Slave => "replica",
            ProcessRole::Child => "RDB/AOF",
        }
    }
}

/// Where lines go.
#[derive(Clone, Debug)]
pub struct Log {
    level: LogLevel,
    /// `None`: standard output.
    file: Option<PathBuf>,
    format: LogFormat,
    timestamp: LogTimestamp,
    /// When it last told of a client that speaks HTTP, in seconds since 1970.
    http_logged: Option<i64>,
}

impl Log {
    /// A log of lines from `level` on, in a file or on standard output.
    pub fn new(level: LogLevel, file: Option<PathBuf>) -> Log {
        let (format, timestamp) = (LogFormat::Legacy, LogTimestamp::Legacy);
        Log { level, file, format, timestamp, http_logged: None }
    }

    /// One that nothing is written to.
    pub fn silent() -> Log {
        Log::new(LogLevel::Nothing, None)
    }

    pub(crate) fn set_level(&mut self, level: LogLevel) {
        self.level = level;
    }

    pub(crate) fn set_format(&mut self, format: LogFormat, timestamp: LogTimestamp) {
        (self.format, self.timestamp) = (format, timestamp);
    }

    /// Whether a line may tell now, in seconds since 1970, that a client speaks HTTP.
    pub(crate) fn may_warn_of_http(&mut self, now: i64) -> bool {
        let may = self.http_logged.is_none_or(|at| now - at > HTTP_PERIOD_SECONDS);
        if may {
            self.http_logged = Some(now);
        }
        may
    }

    fn wants(&self, level: Level) -> bool {
        let least = match self.level {
            LogLevel::Debug => Level::Debug,
            LogLevel::Verbose => Level::Verbose,
            LogLevel::Notice => Level::Notice,
            LogLevel::Warning => Level::Warning,
            LogLevel::Nothing => return false,
        };
        level >= least
    }

    /// Writes one line. The file is opened each time, so that it can be rotated away at any moment.
    pub fn line(&self, role: ProcessRole, level: Level, unix_us: i64, text: &str) {
        if !self.wants(level) {
            return;
        }
        let pid = std::process::id();
        let at = match self.timestamp {
            LogTimestamp::Legacy => time::local_timestamp(unix_us),
            LogTimestamp::Iso8601 => time::iso8601(unix_us),
            LogTimestamp::Milliseconds => (unix_us / 1000).to_string(),
        };
        let (word, level_word) = (role.word(), level.word());
        let line = match self.format {
            LogFormat::Legacy => format!("{pid}:{} {at} {} {text}\n", role.letter(), level.mark()),
            LogFormat::Logfmt => {
                let text = text.replace('"', "'").replace(['\r', '\n'], " ");
                format!(
                    "pid={pid} role={word} timestamp=\"{at}\" level={level_word} message=\"{text}\"\n"
                )
            }
            LogFormat::Json => {
                let text = serde_json::Value::from(text);
                format!(
                    "{{\"pid\":{pid},\"role\":\"{word}\",\"timestamp\":\"{at}\",\"level\":\"{level_word}\",\
                     \"message\":{text}}}\n"
                )
            }
        };
        // Nobody can be told that the log can't be written.
        let _ = match &self.file {
            None => io::stdout().lock().write_all(line.as_bytes()),
            Some(path) => OpenOptions::new()
                .create(true)
                .append(true)
                .open(path)
                .and_then(|mut file| file.write_all(line.as_bytes())),
        };
    }
}

impl Server {
    /// Writes a line to the log.
    pub fn log(&self, level: Level, text: &str) {
        let role = match self.repl.is_replica() {
            _ if self.process.is_fork_child() => ProcessRole::Child,
            true => ProcessRole::Slave,
            false => ProcessRole::Master,
        };
        self.observer.log.line(role, level, self.ks.clock.unix_us(), text);
    }

    pub fn verbose(&self, text: &str) {
        self.log(Level::Verbose, text);
    }

    pub fn notice(&self, text: &str) {
        self.log(Level::Notice, text);
    }

    pub fn warning(&self, text: &str) {
        self.log(Level::Warning, text);
    }
}
