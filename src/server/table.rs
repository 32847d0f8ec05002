//! The command table: what each command is, who handles it, and how often it ran.

use crate::lua::engine::Host;
use crate::resp::error::{CommandError, CommandResult};
use crate::server::Server;
use crate::server::call::Call;
use crate::server::flavour::Flavour;
use crate::server::gates::Gates;
use crate::spec::catalogue::{AclId, Catalogue};
use crate::spec::keys::only_key;
use crate::spec::{COMMANDS, CommandFlags, CommandSpec};
use crate::util::histogram::Histogram;
use std::collections::HashMap;
use std::ops::Range;

/// At most so many bytes of a subcommand's name are shown in an error.
const SHOWN: usize = 128;

/// Executes a command: arguments in (the first is the command's name), the reply into `call.reply`. An error takes the
/// place of whatever part of a reply was written.
pub type Handler = fn(&mut Server, &mut Call, &[&[u8]]) -> CommandResult;

/// One row of a family's table: the name (`config|get` for a subcommand) and its handler.
pub type Row = (&'static str, Handler);

/// A command's index in the table.
pub type CommandId = usize;

/// A command or subcommand that this server has.
pub struct Command {
    /// For as long as the process lives, as is its name.
    pub spec: &'static CommandSpec,
    /// The full name.
    pub name: &'static str,
    pub flags: CommandFlags,
    pub arity: i32,
    pub is_subcommand: bool,
    /// What may be in the way of it.
    pub gates: Gates,
    /// Its bit in the permissions of users.
    pub acl_id: AclId,
    /// The position of the first key, where it is fixed; else 0.
    pub first_key: usize,
    /// Whether that is its only one.
    pub has_one_key: bool,
    /// The position of an element of the collection under that key, which can be fetched ahead; 0: none.
    pub element: usize,
    pub handler: Handler,
    /// A container (`CONFIG`): the subcommands that it has.
    pub subcommands: Range<CommandId>,
    pub stats: CommandStats,
}

#[derive(Clone, Debug, Default)]
pub struct CommandStats {
    pub calls: u64,
    pub nanos: u64,
    pub rejected: u64,
    pub failed: u64,
    /// How long the calls took.
    pub histogram: Option<Box<Histogram>>,
}

impl CommandStats {
    /// Counts a call. `tracks`: its time, too, for the histogram.
    #[inline]
    pub fn record(&mut self, nanos: u64, tracks: bool) {
        self.calls += 1;
        self.nanos += nanos;
        if tracks {
            self.histogram.get_or_insert_default().record(nanos);
        }
    }

    /// The time in microseconds that `percent` of the calls did not exceed.
    pub fn percentile_us(&self, percent: f64) -> f64 {
        self.histogram
            .as_ref()
            .map_or(0.0, |histogram| histogram.percentile(percent) as f64 / 1000.0)
    }
}

/// All commands, found by name without allocation.
pub struct CommandTable {
    commands: Vec<Command>,
    /// Top-level commands by name, with open addressing.
    index: Vec<Slot>,
    /// What ACL rules may name.
    pub catalogue: Catalogue,
    /// Who runs scripts.
    pub scripts: Host,
}

/// A place of the index.
#[derive(Clone, Copy, Default)]
struct Slot {
    /// [`word_of`] the name.
    word: u64,
    /// Of the name; 0: the place is free.
    len: u16,
    id: u16,
}

impl CommandTable {
    /// The commands of these tables, joined with their specifications by name, and who runs scripts.
    ///
    /// # Panics
    /// If a row has no specification, or a specification no row: a mistake in the tables, found by any test.
    pub fn new(families: &[&[Row]], scripts: Host) -> CommandTable {
        let mut handlers: HashMap<&str, Handler> =
            families.iter().flat_map(|rows| rows.iter().copied()).collect();
        let catalogue = Catalogue::new(COMMANDS);
        let mut commands: Vec<Command> = Vec::with_capacity(catalogue.iter().count());
        for spec in COMMANDS {
            let id = commands.len();
            for spec in spec.with_subcommands() {
                let handler = match handlers.remove(spec.name) {
                    Some(handler) => handler,
                    None if !spec.subcommands.is_empty() => container_itself,
                    None => panic!("nothing executes {}", spec.name),
                };
                commands.push(Command::new(spec, handler, &catalogue));
            }
            commands[id].subcommands = id + 1..commands.len();
        }
        assert!(handlers.is_empty(), "commands without a specification: {:?}", handlers.keys());
        let mut table = CommandTable { commands, index: Vec::new(), catalogue, scripts };
        table.build_index();
        table
    }

    fn build_index(&mut self) {
        self.index = vec![Slot::default(); (self.commands.len() * 4).next_power_of_two()];
        for (id, command) in self.commands.iter().enumerate() {
            if command.name.is_empty() || command.name.contains('|') {
                continue;
            }
            let word = word_of(command.name.as_bytes());
            let mut place = self.place(word);
            while self.index[place].len > 0 {
                place = self.place_behind(place);
            }
            self.index[place] = Slot { word, len: command.name.len() as u16, id: id as u16 };
        }
    }

    /// Where the search for a name starts.
    #[inline]
    fn place(&self, word: u64) -> usize {
        (word.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40) as usize & (self.index.len() - 1)
    }

    #[inline]
    fn place_behind(&self, place: usize) -> usize {
        (place + 1) & (self.index.len() - 1)
    }

    /// A top-level command, by its name in any case.
    #[inline]
    pub fn find(&self, name: &[u8]) -> Option<CommandId> {
        let word = word_of(name);
        let mut place = self.place(word);
        loop {
            let slot = self.index[place];
            if slot.len == 0 {
                return None;
            }
            if slot.word == word && usize::from(slot.len) == name.len() {
                let id = usize::from(slot.id);
                // The word of a short name holds all of it.
                if name.len() <= 8 || self.commands[id].name.as_bytes().eq_ignore_ascii_case(name) {
                    return Some(id);
                }
            }
            place = self.place_behind(place);
        }
    }

    /// The subcommand of a container, by its name in any case.
    pub fn find_subcommand(&self, container: CommandId, name: &[u8]) -> Option<CommandId> {
        let container = &self.commands[container];
        let before = container.name.len() + "|".len();
        container.subcommands.clone().find(|&id| {
            let sub = self.commands[id].name.as_bytes().get(before..);
            sub.is_some_and(|sub| sub.eq_ignore_ascii_case(name))
        })
    }

    /// A command by its full name (`get`, `config|get`), in any case.
    pub fn find_full(&self, name: &[u8]) -> Option<CommandId> {
        match memchr::memchr(b'|', name) {
            None => self.find(name),
            Some(bar) => self.find_subcommand(self.find(&name[..bar])?, &name[bar + 1..]),
        }
    }

    /// The command or subcommand that a request names, if its arity fits; if not, the error, and whose it is.
    #[inline]
    pub fn resolve(
        &self,
        id: CommandId,
        args: &[&[u8]],
    ) -> Result<CommandId, (Option<CommandId>, CommandError)> {
        let command = self.get(id);
        let id = if command.subcommands.is_empty() || args.len() < 2 {
            id
        } else {
            match self.find_subcommand(id, args[1]) {
                Some(sub) => sub,
                None => return Err((None, unknown_subcommand(command.name, args[1]))),
            }
        };
        let command = self.get(id);
        if !command.arity_allows(args.len())
            || (args.len() < 2 && !command.subcommands.is_empty() && command.arity < -1)
        {
            let text = format!("wrong number of arguments for '{}' command", command.name);
            return Err((Some(id), CommandError::err_with(text)));
        }
        Ok(id)
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
        self.commands.iter().filter(|command| !command.is_subcommand)
    }

    /// Gives commands the flags that they have in this flavour.
    pub fn adapt(&mut self, flavour: Flavour) {
        let mut change = |name: &[u8], from: CommandFlags, to: CommandFlags| {
            if let Some(id) = self.find(name) {
                let command = self.get_mut(id);
                command.flags = command.flags.difference(from).union(to);
                let spec = CommandSpec { flags: command.flags, ..command.spec.clone() };
                command.spec = Box::leak(Box::new(spec));
            }
        };
        if flavour.nested_multi_aborts {
            change(b"multi", CommandFlags::empty(), CommandFlags::NO_MULTI);
            change(b"watch", CommandFlags::empty(), CommandFlags::NO_MULTI);
        }
        if flavour.scripts_may_call_waitaof {
            change(b"waitaof", CommandFlags::NOSCRIPT, CommandFlags::BLOCKING);
        }
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

/// A name's letters in lower case as one word: all of them, if the name has up to eight.
#[inline]
fn word_of(name: &[u8]) -> u64 {
    let four = |bytes: Option<&[u8; 4]>| bytes.map_or(0, |bytes| u32::from_le_bytes(*bytes).into());
    let eight = |bytes: Option<&[u8; 8]>| bytes.map_or(0, |bytes| u64::from_le_bytes(*bytes));
    match name {
        [] => 0,
        [first, .., last] if name.len() < 4 => {
            lower_case(u64::from_le_bytes([*first, name[1], *last, 0, 0, 0, 0, 0]))
        }
        [only] => lower_case(u64::from(*only)),
        _ if name.len() <= 8 => {
            lower_case(four(name.first_chunk()) | four(name.last_chunk()) << 32)
        }
        _ => {
            lower_case(eight(name.first_chunk()))
                ^ lower_case(eight(name.last_chunk())).rotate_left(4)
        }
    }
}

/// Each of eight bytes in ASCII's lower case.
#[inline]
fn lower_case(word: u64) -> u64 {
    const EACH: u64 = u64::MAX / 0xff;
    let low = word & (EACH * 0x7f);
    let from_a = low + EACH * (0x80 - b'A' as u64);
    let behind_z = low + EACH * (0x7f - b'Z' as u64);
    word | ((from_a ^ behind_z) & !word & (EACH * 0x80)) >> 2
}

impl Command {
    fn new(spec: &'static CommandSpec, handler: Handler, catalogue: &Catalogue) -> Command {
        Command {
            acl_id: catalogue.find(spec.name.as_bytes()).expect("every specification is in it"),
            name: spec.name,
            flags: spec.flags,
            arity: spec.arity,
            is_subcommand: spec.name.contains('|'),
            gates: Gates::of_command(spec.flags),
            first_key: usize::try_from(spec.first_key).unwrap_or(0),
            has_one_key: only_key(spec).is_some(),
            element: spec.element,
            handler,
            subcommands: 0..0,
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

fn unknown_subcommand(container: &str, name: &[u8]) -> CommandError {
    let behind = format!("'. Try {} HELP.", container.to_uppercase());
    CommandError::quoting("unknown subcommand '", &name[..name.len().min(SHOWN)], &behind)
}

/// A container called by itself: its arity, checked before, keeps this from being reached.
fn container_itself(_: &mut Server, _: &mut Call, _: &[&[u8]]) -> CommandResult {
    Err(CommandError::SYNTAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_tell_short_names_apart_but_not_their_case() {
        for byte in 0..=u8::MAX {
            let word = lower_case(u64::from_le_bytes([byte; 8]));
            assert_eq!(word, u64::from_le_bytes([byte.to_ascii_lowercase(); 8]), "{byte}");
        }
        for name in
            ["", "g", "eT", "GeT", "Incr", "lPush", "GETDEL", "HINCRBY", "SMEMBERS", "ZRANGESTORE"]
        {
            let lower = name.to_lowercase();
            assert_eq!(word_of(name.as_bytes()), word_of(lower.as_bytes()));
            for at in 0..name.len().min(8) {
                let mut other = lower.clone().into_bytes();
                other[at] ^= 1;
                assert_ne!(word_of(&other), word_of(lower.as_bytes()), "{name}");
            }
        }
    }

    #[test]
    fn commands_are_found_in_any_case_and_no_others() {
        let table = crate::cli::command_table();
        for command in table.top_level() {
            let name = command.name.as_bytes();
            assert_eq!(table.find(name).map(|id| table.get(id).name), Some(command.name));
            assert!(table.find(&name.to_ascii_uppercase()).is_some());
            assert!(table.find(&[name, b"\0"].concat()).is_none());
            assert!(
                table.find(&name[1..]).is_none_or(|id| table.get(id).name.as_bytes() == &name[1..])
            );
        }
    }
}
