//! The error reply of a command that can't do what it was asked to: a code, by which anyone may decide what to do, and
//! a text for people, byte for byte Redis's.

use crate::util::c_string;
use std::borrow::Cow;
use std::fmt;

macro_rules! error_codes {
    ($($(#[$doc:meta])* $variant:ident = $code:literal,)*) => {
        /// The first word of an error reply.
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub enum ErrorCode {
            $($(#[$doc])* $variant,)*
            /// What a script put in front of an error of its own: any bytes but spaces.
            OfScript(Box<[u8]>),
        }

        impl ErrorCode {
            /// The code as clients see it.
            pub fn as_bytes(&self) -> &[u8] {
                match self {
                    $(Self::$variant => $code.as_bytes(),)*
                    Self::OfScript(code) => code,
                }
            }
        }
    };
}

error_codes! {
    /// Another node has the key, for this request.
    Ask = "ASK",
    Busy = "BUSY",
    BusyGroup = "BUSYGROUP",
    BusyKey = "BUSYKEY",
    ClusterDown = "CLUSTERDOWN",
    CrossSlot = "CROSSSLOT",
    /// No particular one.
    Err = "ERR",
    ExecAbort = "EXECABORT",
    InvalidObj = "INVALIDOBJ",
    IoErr = "IOERR",
    Loading = "LOADING",
    MasterDown = "MASTERDOWN",
    Misconf = "MISCONF",
    /// Another node has the slot.
    Moved = "MOVED",
    NoAuth = "NOAUTH",
    NoGroup = "NOGROUP",
    NoMasterLink = "NOMASTERLINK",
    NoPerm = "NOPERM",
    NoProto = "NOPROTO",
    NoReplicas = "NOREPLICAS",
    NoScript = "NOSCRIPT",
    NoSub = "NOSUB",
    NotBusy = "NOTBUSY",
    Oom = "OOM",
    ReadOnly = "READONLY",
    Redirect = "REDIRECT",
    TryAgain = "TRYAGAIN",
    Unblocked = "UNBLOCKED",
    Unkillable = "UNKILLABLE",
    WrongPass = "WRONGPASS",
    WrongType = "WRONGTYPE",
}

/// An error reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommandError {
    pub code: ErrorCode,
    /// What follows the code. It may hold any bytes: names and keys are in it as the client spelled them.
    pub text: Cow<'static, [u8]>,
}

pub type CommandResult<T = ()> = Result<T, CommandError>;

impl CommandError {
    pub const WRONG_TYPE: CommandError = CommandError::new(
        ErrorCode::WrongType,
        "Operation against a key holding the wrong kind of value",
    );
    pub const SYNTAX: CommandError = CommandError::err("syntax error");
    pub const NOT_AN_INTEGER: CommandError =
        CommandError::err("value is not an integer or out of range");
    pub const NOT_A_FLOAT: CommandError = CommandError::err("value is not a valid float");
    pub const OUT_OF_RANGE: CommandError = CommandError::err("index out of range");
    pub const NO_SUCH_KEY: CommandError = CommandError::err("no such key");
    pub const OVERFLOW: CommandError = CommandError::err("increment or decrement would overflow");
    pub const TOO_LONG: CommandError =
        CommandError::err("string exceeds maximum allowed size (proto-max-bulk-len)");

    pub const MASTER_DOWN: CommandError = CommandError::new(
        ErrorCode::MasterDown,
        "Link with MASTER is down and replica-serve-stale-data is set to 'no'.",
    );
    pub const NO_REPLICAS: CommandError =
        CommandError::new(ErrorCode::NoReplicas, "Not enough good replicas to write.");
    pub const OOM: CommandError =
        CommandError::new(ErrorCode::Oom, "command not allowed when used memory > 'maxmemory'.");
    pub const READ_ONLY: CommandError =
        CommandError::new(ErrorCode::ReadOnly, "You can't write against a read only replica.");

    /// An error whose text is known beforehand.
    pub const fn new(code: ErrorCode, text: &'static str) -> CommandError {
        CommandError { code, text: Cow::Borrowed(text.as_bytes()) }
    }

    /// The same with the code `ERR`.
    pub const fn err(text: &'static str) -> CommandError {
        CommandError::new(ErrorCode::Err, text)
    }

    /// An error whose text is made for the occasion.
    pub fn with(code: ErrorCode, text: impl Into<Vec<u8>>) -> CommandError {
        CommandError { code, text: Cow::Owned(text.into()) }
    }

    /// The same with the code `ERR`.
    pub fn err_with(text: impl Into<Vec<u8>>) -> CommandError {
        CommandError::with(ErrorCode::Err, text)
    }

    /// The data are not there yet. `title`: what the server calls itself.
    pub fn loading(title: &str) -> CommandError {
        let text = format!("{title} is loading the dataset in memory");
        CommandError::with(ErrorCode::Loading, text)
    }

    /// An error that repeats what a client said: up to a NUL, where a text of C's ends.
    pub fn quoting(before: &str, said: &[u8], behind: &str) -> CommandError {
        CommandError::err_with([before.as_bytes(), c_string(said), behind.as_bytes()].concat())
    }

    /// An error that a script raised: its first word is the code.
    pub fn of_script(error: &[u8]) -> CommandError {
        let end = memchr::memchr(b' ', error).unwrap_or(error.len());
        let text = error.get(end + 1..).unwrap_or_default();
        CommandError::with(ErrorCode::OfScript(error[..end].into()), text)
    }

    /// Code and text, as they are on the wire.
    pub fn to_bytes(&self) -> Vec<u8> {
        let space: &[u8] = if self.text.is_empty() { b"" } else { b" " };
        [self.code.as_bytes(), space, &self.text].concat()
    }
}

/// For the log: what is not UTF-8 is replaced.
impl fmt::Display for CommandError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from_utf8_lossy(&self.to_bytes()))
    }
}

impl std::error::Error for CommandError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn code_and_text_are_two_words() {
        assert_eq!(CommandError::SYNTAX.to_bytes(), b"ERR syntax error");
        assert_eq!(CommandError::err("").to_bytes(), b"ERR");
        let text = [b"no group '", &b"\xff\0"[..], b"'"].concat();
        let error = CommandError::with(ErrorCode::NoGroup, text);
        assert_eq!(error.to_bytes(), b"NOGROUP no group '\xff\0'");
        assert_eq!(error.to_string(), "NOGROUP no group '\u{fffd}\0'");
    }

    #[test]
    fn an_error_of_a_script_is_what_it_was() {
        for (error, code) in [("MY error of mine", "MY"), ("MINE", "MINE"), ("  x", ""), ("", "")] {
            let parsed = CommandError::of_script(error.as_bytes());
            assert_eq!(parsed.code.as_bytes(), code.as_bytes());
            assert_eq!(parsed.to_bytes(), error.as_bytes());
        }
    }
}
