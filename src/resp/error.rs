//! What a command answers when it can't do what it was asked: the text that the client sees, byte for byte Redis's.

use std::borrow::Cow;

/// An error reply: its text, which starts with the code (`ERR …`, `WRONGTYPE …`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommandError(pub Cow<'static, str>);

pub type CommandResult<T = ()> = Result<T, CommandError>;

/// An error whose text is known beforehand.
const fn fixed(text: &'static str) -> CommandError {
    CommandError(Cow::Borrowed(text))
}

impl CommandError {
    pub const WRONG_TYPE: CommandError =
        fixed("WRONGTYPE Operation against a key holding the wrong kind of value");
    pub const SYNTAX: CommandError = fixed("ERR syntax error");
    pub const NOT_AN_INTEGER: CommandError = fixed("ERR value is not an integer or out of range");
    pub const NOT_A_FLOAT: CommandError = fixed("ERR value is not a valid float");
    pub const OUT_OF_RANGE: CommandError = fixed("ERR index out of range");
    pub const NO_SUCH_KEY: CommandError = fixed("ERR no such key");
    pub const OVERFLOW: CommandError = fixed("ERR increment or decrement would overflow");
    pub const TOO_LONG: CommandError =
        fixed("ERR string exceeds maximum allowed size (proto-max-bulk-len)");

    /// An `ERR` with a text made for the occasion.
    pub fn err(text: impl std::fmt::Display) -> CommandError {
        CommandError(Cow::Owned(format!("ERR {text}")))
    }

    /// Any text that already starts with its code.
    pub const fn text(text: &'static str) -> CommandError {
        fixed(text)
    }

    /// The code in front of the text.
    pub fn code(&self) -> &str {
        self.0.split(' ').next().unwrap_or("ERR")
    }
}
