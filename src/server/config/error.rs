//! Why the server cannot start with its configuration, and lines that are read later than the others.

use super::REDIS_VERSION;
use super::values::Reason;
use std::fmt;
use std::path::PathBuf;

/// Where lines of configuration come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// A file.
    File(PathBuf),
    /// Standard input.
    StandardInput,
    /// The arguments of the program.
    CommandLine,
}

/// Why the server cannot start with its configuration. Prints as what Redis writes to standard error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ConfigError {
    /// A line is wrong.
    Line {
        /// Where the line comes from.
        origin: Origin,
        /// Number of the line in its file, from 1. What comes from elsewhere follows the last line of the file.
        line_no: usize,
        /// The line, without spaces around it.
        line: String,
        /// What is wrong.
        reason: Reason,
    },
    /// The lines are right, but do not go together.
    Whole(Reason),
    /// A file cannot be read.
    Unreadable {
        /// Its path.
        path: PathBuf,
        /// The system's words.
        reason: String,
    },
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Self::Unreadable { path, reason } = self {
            return write!(f, "Fatal error, can't open config file '{}': {reason}", path.display());
        }
        write!(f, "\n*** FATAL CONFIG FILE ERROR (Redis {REDIS_VERSION}) ***\n")?;
        match self {
            Self::Line { line_no, line, reason, .. } => {
                writeln!(f, "Reading the configuration file, at line {line_no}")?;
                write!(f, ">>> '{line}'\n{reason}")
            }
            Self::Whole(reason) => f.write_str(reason),
            Self::Unreadable { .. } => Ok(()),
        }
    }
}

impl std::error::Error for ConfigError {}

/// A line that is kept for someone else to make sense of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceLine {
    /// Where it comes from.
    pub origin: Origin,
    /// Number of the line, counted as [`ConfigError::Line`] does.
    pub line_no: usize,
    /// The line, without spaces around it.
    pub line: String,
    /// Its arguments; the first is the directive.
    pub args: Vec<Vec<u8>>,
}

impl SourceLine {
    /// The error that this line is wrong.
    pub fn error(&self, reason: impl Into<Reason>) -> ConfigError {
        ConfigError::Line {
            origin: self.origin.clone(),
            line_no: self.line_no,
            line: self.line.clone(),
            reason: reason.into(),
        }
    }
}
