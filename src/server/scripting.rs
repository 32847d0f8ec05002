//! What the server knows of scripts: those that are known, the libraries of functions, and whether one runs for long.
//! How a script is run is not its business.

use super::Server;
use super::table::CommandId;
use super::token::Token;
use crate::lua::cache::{Scripts, parse_sha};
use crate::lua::engine::Host;
use crate::lua::library::{Libraries, Load};
use crate::lua::shebang::split_shebang;
use crate::resp::error::{CommandError, CommandResult, ErrorCode};
use crate::spec::CommandFlags;
use std::mem;
use std::rc::Rc;
use std::time::{Duration, Instant};

const NOT_BUSY: CommandError =
    CommandError::new(ErrorCode::NotBusy, "No scripts in execution right now.");
const OBEYED: CommandError = CommandError::new(
    ErrorCode::Unkillable,
    "The busy script was sent by a master instance in the context of replication and cannot be killed.",
);
const HAS_WRITTEN: CommandError = CommandError::new(
    ErrorCode::Unkillable,
    "Sorry the script already executed write commands against the dataset. You can either wait the script termination \
     or kill the server in a hard way using the SHUTDOWN NOSAVE command.",
);

/// A script that has run for longer than `busy-reply-threshold`.
#[derive(Debug)]
pub struct BusyScript {
    pub name: Rc<str>,
    /// What was sent to run it.
    pub command: Words,
    pub is_function: bool,
    pub started: Instant,
    /// What the server calls itself.
    pub title: &'static str,
    /// Who sent it.
    pub caller: Token,
    /// It has called a command that writes: to end it would leave half of its work.
    pub wrote: bool,
}

impl BusyScript {
    /// The command that ends it.
    pub fn kill_command(&self) -> &'static str {
        if self.is_function { "FUNCTION KILL" } else { "SCRIPT KILL" }
    }

    /// What other clients hear.
    pub fn error(&self) -> CommandError {
        let (title, kill) = (self.title, self.kill_command());
        let text = format!(
            "{title} is busy running a script. You can only call {kill} or SHUTDOWN NOSAVE."
        );
        CommandError::with(ErrorCode::Busy, text)
    }
}

/// The words of a command, one behind the other.
#[derive(Clone, Debug, Default)]
pub struct Words {
    bytes: Vec<u8>,
    /// Where each of them ends.
    ends: Vec<usize>,
}

impl Words {
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &[u8]> {
        let mut start = 0;
        self.ends.iter().map(move |&end| &self.bytes[mem::replace(&mut start, end)..end])
    }

    fn write(&mut self, command: &[&[u8]]) {
        for word in command {
            self.bytes.extend_from_slice(word);
            self.ends.push(self.bytes.len());
        }
    }

    fn clear(&mut self) {
        self.bytes.clear();
        self.ends.clear();
        self.bytes.shrink_to(USUAL_BYTES);
        self.ends.shrink_to(USUAL_BYTES / size_of::<usize>());
    }
}

/// So many bytes of a command's words, and of what is known of them, are kept for the next one.
const USUAL_BYTES: usize = 1 << 12;
/// The code of a library that a client loads may run for so long: it has only to register functions.
const LOAD_TIMEOUT: Duration = Duration::from_millis(500);
/// The same for one that was loaded before, elsewhere or earlier.
const RELOAD_TIMEOUT: Duration = Duration::from_secs(10);

/// Scripts and functions, and the script that runs for long. What is known of each is its own part's business.
pub struct Scripting {
    pub(crate) scripts: Scripts,
    pub(crate) libraries: Libraries,
    busy: Option<Box<BusyScript>>,
    /// Memory for the words of the next command that runs a function.
    spare_words: Words,
    /// The busy script is to end.
    killed: bool,
}

impl Scripting {
    /// Nothing is known yet. What will be known is run by this host.
    pub fn new(host: Host) -> Scripting {
        Scripting {
            scripts: Scripts::new(host),
            libraries: Libraries::new(host),
            busy: None,
            spare_words: Words::default(),
            killed: false,
        }
    }

    /// Notes the words of a command, until they are given back.
    pub fn take_words(&mut self, command: &[&[u8]]) -> Words {
        let mut words = mem::take(&mut self.spare_words);
        words.write(command);
        words
    }

    /// They are not needed any more.
    pub fn give_back(&mut self, mut words: Words) {
        words.clear();
        self.spare_words = words;
    }

    /// The script that has run for long, if one runs.
    pub fn busy(&self) -> Option<&BusyScript> {
        self.busy.as_deref()
    }

    #[inline]
    pub fn is_busy(&self) -> bool {
        self.busy.is_some()
    }

    /// Whether it was this client that sent the script that runs for long.
    pub fn is_busy_for(&self, client: Token) -> bool {
        self.busy.as_ref().is_some_and(|busy| busy.caller == client)
    }

    /// A script has run for long.
    pub fn become_busy(&mut self, script: BusyScript) {
        self.killed = false;
        self.busy = Some(Box::new(script));
    }

    /// Whether the script that runs for long has called a command that writes by now.
    pub fn note_writes(&mut self, wrote: bool) {
        if let Some(busy) = &mut self.busy {
            busy.wrote = wrote;
        }
    }

    /// The script has ended.
    pub fn end_busy(&mut self) {
        self.busy = None;
        self.killed = false;
    }

    /// Has the script that runs for long end, if it may. `obeyed`: it is not for this server to refuse what it does.
    ///
    /// # Errors
    /// If none runs, or it can't be ended so.
    pub fn kill(&mut self, is_function: bool, obeyed: bool) -> CommandResult {
        let busy = self.busy().ok_or(NOT_BUSY)?;
        if obeyed {
            return Err(OBEYED);
        }
        if busy.wrote {
            return Err(HAS_WRITTEN);
        }
        if busy.is_function != is_function {
            return Err(busy.error());
        }
        self.killed = true;
        Ok(())
    }

    /// Has the script that runs for long end, whatever it has done. For hosts that can't wait for it.
    pub fn kill_in_any_case(&mut self) {
        self.killed = self.is_busy();
    }

    /// Whether the script that runs is to end.
    pub fn is_killed(&self) -> bool {
        self.killed
    }
}

/// The flags of a command that runs a script: what the script says of itself counts, where it says anything.
#[cold]
pub(crate) fn flags_of_script(server: &Server, id: CommandId, args: &[&[u8]]) -> CommandFlags {
    let flags = server.commands.get(id).flags;
    let script = if flags.contains(CommandFlags::RUNS_TEXT) {
        split_shebang(args[1]).ok().map(|(flags, _)| flags)
    } else if flags.contains(CommandFlags::RUNS_KNOWN) {
        let sha = parse_sha(args[1]);
        sha.and_then(|sha| server.scripting.scripts.find(&sha)).map(|script| script.flags)
    } else {
        server.scripting.libraries.function(args[1]).map(|function| function.flags)
    };
    script.map_or(flags, |script| script.command_flags(flags))
}

/// Loads the code of a library; returns its name. `was_loaded_before`: by the primary, or before it came into a file.
///
/// # Errors
/// Why it can't be loaded.
pub(crate) fn load_library(
    server: &mut Server,
    code: &[u8],
    replace: bool,
    was_loaded_before: bool,
) -> CommandResult<Vec<u8>> {
    let fresh = server.scripting.libraries.fresh();
    let mut libraries = mem::replace(&mut server.scripting.libraries, fresh);
    let how = Load {
        replace,
        timeout: if was_loaded_before { RELOAD_TIMEOUT } else { LOAD_TIMEOUT },
        memory_limit_bytes: server.config.lua_memory_limit,
        version: &server.config.redis_version_announced,
        log: &|level, line: &str| server.log(level, line),
    };
    let loaded = libraries.load(code, &how);
    server.scripting.libraries = libraries;
    loaded
}

#[cfg(test)]
mod tests {
    use super::*;

    fn busy(is_function: bool, wrote: bool) -> Scripting {
        let mut scripting = Scripting::new(Host::nobody());
        scripting.become_busy(BusyScript {
            name: "f".into(),
            command: Words::default(),
            is_function,
            started: Instant::now(),
            title: "Redis",
            caller: 7,
            wrote: false,
        });
        scripting.note_writes(wrote);
        scripting
    }

    #[test]
    fn what_may_be_killed() {
        let code = |scripting: &mut Scripting, is_function, obeyed| {
            let outcome = scripting.kill(is_function, obeyed);
            assert_eq!(scripting.is_killed(), outcome.is_ok());
            outcome.err().map(|error| error.code)
        };
        let idle = &mut Scripting::new(Host::nobody());
        assert_eq!(code(idle, false, false), Some(ErrorCode::NotBusy));
        assert_eq!(code(&mut busy(false, false), false, true), Some(ErrorCode::Unkillable));
        assert_eq!(code(&mut busy(false, true), false, false), Some(ErrorCode::Unkillable));
        assert_eq!(code(&mut busy(false, false), true, false), Some(ErrorCode::Busy));
        assert_eq!(code(&mut busy(true, false), false, false), Some(ErrorCode::Busy));
        assert_eq!(code(&mut busy(false, false), false, false), None);
        assert_eq!(code(&mut busy(true, false), true, false), None);
    }

    #[test]
    fn a_kill_ends_one_script_only() {
        let mut scripting = busy(false, true);
        assert!(scripting.is_busy_for(7) && !scripting.is_busy_for(8));
        scripting.kill_in_any_case();
        assert!(scripting.is_killed());
        scripting.end_busy();
        assert!(!scripting.is_busy() && !scripting.is_killed() && !scripting.is_busy_for(7));
        scripting.kill_in_any_case();
        assert!(!scripting.is_killed());
    }
}
