//! What can be wrong with an RDB: a kind, and the offset where reading stopped.

use super::format::value_type;
use std::fmt;

/// An RDB that can't be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RdbError {
    /// Bytes from the start of the file (or payload) to where reading stopped.
    pub offset: u64,
    pub kind: ErrorKind,
}

impl RdbError {
    /// Whether the input was an RDB and has come to harm, rather than something that can't be read at all.
    pub fn is_damage(&self) -> bool {
        !matches!(self.kind, ErrorKind::WrongSignature | ErrorKind::Version(_))
    }
}

/// The reasons not to read an RDB. `Display` words them as Redis's log does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ErrorKind {
    WrongSignature,
    /// The header's version is none that can be read.
    Version(u16),
    /// The input ended before the record did.
    UnexpectedEof,
    /// The trailer of a file does not match its bytes.
    Checksum {
        stored: u64,
        computed: u64,
    },
    /// A `DUMP` payload of a later version, or whose checksum does not match.
    PayloadFooter,
    /// A first byte that is neither an opcode nor a type.
    UnknownType(u8),
    /// A type that exists but can't be loaded.
    UnsupportedType(u8),
    /// Functions as Redis 7.0's release candidates wrote them.
    PreReleaseFunctions,
    /// A collection without elements. Servers before 6.2 could write such a key: a file that has one is no less good.
    EmptyKey,
    /// Bytes that make no sense; what is wrong with them.
    Corrupt(&'static str),
}

impl fmt::Display for RdbError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            ErrorKind::WrongSignature | ErrorKind::Version(_) | ErrorKind::PayloadFooter => {
                self.kind.fmt(f)
            }
            _ => write!(f, "Internal error in RDB reading offset {}: {}", self.offset, self.kind),
        }
    }
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::WrongSignature => f.write_str("Wrong signature trying to load DB from file"),
            Self::Version(v) => write!(f, "Can't handle RDB format version {v}"),
            Self::UnexpectedEof => f.write_str("Unexpected EOF reading RDB file"),
            Self::Checksum { stored, computed } => {
                write!(f, "RDB CRC error (stored {stored:016x}, computed {computed:016x})")
            }
            Self::PayloadFooter => f.write_str("DUMP payload version or checksum are wrong"),
            Self::UnknownType(t) => write!(f, "Unknown RDB encoding type {t}"),
            Self::UnsupportedType(t) => write!(
                f,
                "The RDB file contains a value of type '{}' ({t}), which this version can't load",
                value_type::name(t).unwrap_or("unknown")
            ),
            Self::PreReleaseFunctions => f.write_str("Pre-release function format not supported."),
            Self::EmptyKey => f.write_str("A collection without elements"),
            Self::Corrupt(what) => f.write_str(what),
        }
    }
}

impl std::error::Error for RdbError {}

/// Why a record could not be read from the bytes at hand.
#[derive(Debug)]
pub(super) enum Fault {
    /// The record's bytes are not all there: it has at least this many.
    Short(usize),
    Bad(ErrorKind),
}

impl Fault {
    pub(super) fn corrupt(what: &'static str) -> Self {
        Self::Bad(ErrorKind::Corrupt(what))
    }

    /// The value, all of which has been read, has no elements.
    pub(super) const EMPTY: Self = Self::Bad(ErrorKind::EmptyKey);

    /// As an error for input that has come to its end.
    pub(super) fn at_end(self) -> ErrorKind {
        match self {
            Self::Short(_) => ErrorKind::UnexpectedEof,
            Self::Bad(kind) => kind,
        }
    }
}
