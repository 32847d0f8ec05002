//! The first line of a script, `#!lua flags=no-writes,allow-stale`: what the script may and may not do.

use crate::resp::error::{CommandError, CommandResult};
use crate::spec::CommandFlags;
use crate::util::args::split_args;
use bitflags::bitflags;

bitflags! {
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
    pub struct ScriptFlags: u8 {
        const NO_WRITES = 1 << 0;
        const ALLOW_OOM = 1 << 1;
        const ALLOW_STALE = 1 << 2;
        const NO_CLUSTER = 1 << 3;
        const ALLOW_CROSS_SLOT_KEYS = 1 << 4;
        /// There is no such line: each command is judged by itself, when it is called.
        const COMPATIBLE = 1 << 5;
    }
}

/// The flags' names.
pub const NAMES: [(&str, ScriptFlags); 5] = [
    ("no-writes", ScriptFlags::NO_WRITES),
    ("allow-oom", ScriptFlags::ALLOW_OOM),
    ("allow-stale", ScriptFlags::ALLOW_STALE),
    ("no-cluster", ScriptFlags::NO_CLUSTER),
    ("allow-cross-slot-keys", ScriptFlags::ALLOW_CROSS_SLOT_KEYS),
];

impl ScriptFlags {
    pub fn named(name: &[u8]) -> Option<ScriptFlags> {
        NAMES.iter().find(|(known, _)| known.as_bytes() == name).map(|(_, flag)| *flag)
    }

    /// The flags of the command that runs such a script: what the script says replaces what the command might do.
    pub fn command_flags(self, of_command: CommandFlags) -> CommandFlags {
        if self.contains(ScriptFlags::COMPATIBLE) {
            return of_command;
        }
        let mut flags = of_command
            - (CommandFlags::STALE
                | CommandFlags::DENYOOM
                | CommandFlags::WRITE
                | CommandFlags::MAY_REPLICATE);
        let writes = !self.contains(ScriptFlags::NO_WRITES);
        flags.set(CommandFlags::WRITE, writes);
        flags.set(CommandFlags::DENYOOM, writes && !self.contains(ScriptFlags::ALLOW_OOM));
        flags.set(CommandFlags::STALE, self.contains(ScriptFlags::ALLOW_STALE));
        flags
    }
}

/// The flags of a script, and the part of it that is Lua. The line's end belongs to that, so that lines keep their
/// numbers.
pub fn split_shebang(script: &[u8]) -> CommandResult<(ScriptFlags, &[u8])> {
    if !script.starts_with(b"#!") {
        return Ok((ScriptFlags::COMPATIBLE, script));
    }
    let end = memchr::memchr(b'\n', script).ok_or(CommandError::err("Invalid script shebang"))?;
    let words = split_args(&script[..end]).unwrap_or_default();
    let (engine, options) =
        words.split_first().ok_or(CommandError::err("Invalid engine in script shebang"))?;
    if engine != b"#!lua" {
        return Err(CommandError::quoting("Unexpected engine in script shebang: ", engine, ""));
    }
    let mut flags = ScriptFlags::empty();
    for option in options {
        let names = option
            .strip_prefix(b"flags=")
            .ok_or_else(|| CommandError::quoting("Unknown lua shebang option: ", option, ""))?;
        for name in names.split(|&byte| byte == b',').filter(|_| !names.is_empty()) {
            flags |= ScriptFlags::named(name).ok_or_else(|| {
                CommandError::quoting("Unexpected flag in script shebang: ", name, "")
            })?;
        }
    }
    Ok((flags, &script[end..]))
}
