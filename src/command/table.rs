//! The command table: what each command is, who handles it, and how often it ran.
#![forbid(unsafe_code)]

use super::spec::catalogue::{AclId, Catalogue};
use super::spec::{self, CommandFlags, CommandSpec};
use crate::resp::error::CommandResult;
use crate::server::Server;

/// Executes a command for the current client: arguments in (the first is the command's name), the reply into
/// `server.reply`. An error takes the place of whatever part of a reply was written.
pub type Handler = fn(&mut Server, &[&[u8]]) -> CommandResult;

/// One row of a family's table: the name (`config|get` for a subcommand) and its handler.
pub type Row = (&'static str, Handler);

/// A command's index in the table.
pub type CommandId = usize;

/// A command or subcommand that this server has.
pub struct Command {
    pub spec: CommandSpec,
    /// The full name, for as long as the process lives.
    pub name: &'static str,
    pub flags: CommandFlags,
    pub arity: i32,
    /// Its bit in the permissions of users.
    pub acl_id: AclId,
    /// The position of the first key, where it is fixed; else 0.
    pub first_key: usize,
    pub handler: Handler,
    /// A container (`CONFIG`): the subcommands that it has.
    pub subcommands: Vec<CommandId>,
    pub stats: CommandStats,
}

#[derive(Clone, Debug, Default)]
pub struct CommandStats {
    pub calls: u64,
    pub nanos: u64,
    pub rejected: u64,
    pub failed: u64,
    /// How many calls took less than 2^i nanoseconds.
    pub histogram: Option<Box<[u64; 64]>>,
}

impl CommandStats {
    /// Counts a call.
    #[inline]
    pub fn record(&mut self, nanos: u64) {
        self.calls += 1;
        self.nanos += nanos;
        let histogram = self.histogram.get_or_insert_with(|| Box::new([0; 64]));
        histogram[(64 - nanos.leading_zeros() as usize).min(63)] += 1;
    }

    /// An upper bound of the time that `percent` of the calls took, in microseconds.
    pub fn percentile_us(&self, percent: f64) -> f64 {
        let Some(histogram) = &self.histogram else { return 0.0 };
        let wanted = (self.calls as f64 * percent / 100.0).ceil().max(1.0) as u64;
        let mut seen = 0;
        for (bits, n) in histogram.iter().enumerate() {
            seen += n;
            if seen >= wanted {
                return ((1u64 << bits) - 1) as f64 / 1000.0;
            }
        }
        0.0
    }
}

/// All commands, found by name without allocation.
pub struct CommandTable {
    commands: Vec<Command>,
    /// Open addressing by name: index + 1 of a top-level command, or 0.
    index: Vec<u16>,
    /// What ACL rules may name.
    pub catalogue: Catalogue,
}

const EMPTY: u16 = 0;

impl CommandTable {
    /// The commands of these tables, joined with their specifications by name.
    ///
    /// # Panics
    /// If a row has no specification: a mistake in the tables, found by any test.
    pub fn new(families: &[&[Row]]) -> CommandTable {
        let mut handlers: std::collections::HashMap<&str, Handler> =
            families.iter().flat_map(|rows| rows.iter().copied()).collect();
        let mut commands = Vec::new();
        let specs = spec::load();
        let catalogue = Catalogue::new(&specs);
        for spec in specs {
            let handler = handlers.remove(spec.name);
            if handler.is_none() && spec.subcommands.is_empty() {
                continue;
            }
            let container = commands.len();
            let subcommands = spec.subcommands.clone();
            commands.push(Command::new(spec, handler.unwrap_or(container_itself), &catalogue));
            for sub in subcommands {
                if let Some(handler) = handlers.remove(sub.name) {
                    let id = commands.len();
                    commands[container].subcommands.push(id);
                    commands.push(Command::new(sub, handler, &catalogue));
                }
            }
            // COMMAND tells of what there is.
            let known = std::mem::take(&mut commands[container].subcommands);
            let names: Vec<&str> = known.iter().map(|&id| commands[id].spec.name).collect();
            commands[container].spec.subcommands.retain(|sub| names.contains(&sub.name));
            commands[container].subcommands = known;
            if handler.is_none() && commands[container].subcommands.is_empty() {
                commands.pop();
            }
        }
        assert!(handlers.is_empty(), "commands without a specification: {:?}", handlers.keys());
        let mut table = CommandTable { commands, index: Vec::new(), catalogue };
        table.build_index();
        table
    }

    fn build_index(&mut self) {
        self.index = vec![EMPTY; (self.commands.len() * 4).next_power_of_two()];
        for (id, command) in self.commands.iter().enumerate() {
            if command.name.is_empty() || command.name.contains('|') {
                continue;
            }
            let mut slot = self.slot(command.name.as_bytes());
            while self.index[slot] != EMPTY {
                slot = (slot + 1) & (self.index.len() - 1);
            }
            self.index[slot] = id as u16 + 1;
        }
    }

    /// Where the search for a name starts, whatever its case.
    #[inline]
    fn slot(&self, name: &[u8]) -> usize {
        let mut hash = name.len() as u64;
        for &byte in name.iter().take(24) {
            hash =
                (hash.rotate_left(5) ^ u64::from(byte | 0x20)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        }
        (hash >> 40) as usize & (self.index.len() - 1)
    }

    /// A top-level command, by its name in any case.
    #[inline]
    pub fn find(&self, name: &[u8]) -> Option<CommandId> {
        let mut slot = self.slot(name);
        loop {
            match self.index[slot] {
                EMPTY => return None,
                id => {
                    let id = id as usize - 1;
                    if self.commands[id].name.as_bytes().eq_ignore_ascii_case(name) {
                        return Some(id);
                    }
                }
            }
            slot = (slot + 1) & (self.index.len() - 1);
        }
    }

    /// The subcommand of a container, by its name in any case.
    pub fn find_subcommand(&self, container: CommandId, name: &[u8]) -> Option<CommandId> {
        self.commands[container].subcommands.iter().copied().find(|&id| {
            let full = self.commands[id].name;
            let sub = &full[full.find('|').map_or(0, |bar| bar + 1)..];
            sub.as_bytes().eq_ignore_ascii_case(name)
        })
    }

    /// A command by its full name (`get`, `config|get`), in any case.
    pub fn find_full(&self, name: &[u8]) -> Option<CommandId> {
        match memchr::memchr(b'|', name) {
            None => self.find(name),
            Some(bar) => self.find_subcommand(self.find(&name[..bar])?, &name[bar + 1..]),
        }
    }

    #[inline]
    pub fn get(&self, id: CommandId) -> &Command {
        &self.commands[id]
    }

    #[inline]
    pub fn get_mut(&mut self, id: CommandId) -> &mut Command {
        &mut self.commands[id]
    }

    /// Commands and subcommands, each container before its subcommands.
    pub fn iter(&self) -> impl Iterator<Item = &Command> {
        self.commands.iter()
    }

    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut Command> {
        self.commands.iter_mut()
    }

    /// Commands without their subcommands.
    pub fn top_level(&self) -> impl Iterator<Item = &Command> {
        self.commands.iter().filter(|c| !c.name.contains('|'))
    }

    /// `rename-command`: the command answers to another name, or to none if that is empty. `false`: there is no
    /// such command, or the new name is taken.
    pub fn rename(&mut self, from: &[u8], to: &[u8]) -> bool {
        let Some(id) = self.find(from) else { return false };
        if !to.is_empty() && self.find(to).is_some() {
            return false;
        }
        let name = String::from_utf8_lossy(to).to_lowercase();
        self.commands[id].name = Box::leak(name.into_boxed_str());
        self.build_index();
        true
    }
}

impl Command {
    fn new(spec: CommandSpec, handler: Handler, catalogue: &Catalogue) -> Command {
        Command {
            acl_id: catalogue.find(spec.name.as_bytes()).expect("every specification is in it"),
            name: spec.name,
            flags: spec.flags,
            arity: spec.arity,
            first_key: usize::try_from(spec.first_key).unwrap_or(0),
            handler,
            subcommands: Vec::new(),
            stats: CommandStats::default(),
            spec,
        }
    }

    #[inline]
    pub fn is(&self, flags: CommandFlags) -> bool {
        self.flags.intersects(flags)
    }

    /// Whether a request with so many arguments (with the name) can be this command.
    #[inline]
    pub fn arity_allows(&self, args: usize) -> bool {
        let args = args as i64;
        let arity = i64::from(self.arity);
        if arity >= 0 { args == arity } else { args >= -arity }
    }
}

/// A container called by itself: its arity, checked before, keeps this from being reached.
fn container_itself(_: &mut Server, _: &[&[u8]]) -> CommandResult {
    Err(crate::resp::error::CommandError::SYNTAX)
}
