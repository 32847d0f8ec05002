//! Whether a user may run a command: the command itself, its keys, its channels.

use super::user::{KeyAccess, Selector, User};
use crate::server::table::Command;
use crate::spec::keys::{KeyRef, get_keys_from_command, has_keys};
use crate::spec::{Channels, CommandFlags, KeySpecFlags};
use crate::util::glob::glob_match;

/// What a user has no permission for; the later, the more telling.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Denial {
    Command,
    Key,
    Channel,
}

/// Why a user may not run a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct AclDenied {
    pub denial: Denial,
    /// The argument in question: a key or channel, or the command's name.
    pub arg: usize,
}

/// What a use of a key needs.
fn access_of(flags: KeySpecFlags) -> KeyAccess {
    let mut access = KeyAccess::empty();
    access.set(KeyAccess::READ, flags.contains(KeySpecFlags::ACCESS));
    let changes = KeySpecFlags::UPDATE | KeySpecFlags::INSERT | KeySpecFlags::DELETE;
    access.set(KeyAccess::WRITE, flags.intersects(changes));
    access
}

/// Whether one of these patterns allows a channel. A pattern is allowed only by the same pattern.
pub fn allows_channel<'a>(
    mut patterns: impl Iterator<Item = &'a [u8]>,
    channel: &[u8],
    is_pattern: bool,
) -> bool {
    patterns.any(|pattern| match is_pattern {
        true => pattern == channel,
        false => glob_match(pattern, channel, false),
    })
}

impl User {
    /// Whether the user may run a command with these arguments (the first is its name).
    ///
    /// # Errors
    /// What keeps it from that, of the selector that came nearest.
    pub fn check(&self, command: &Command, args: &[&[u8]]) -> Result<(), AclDenied> {
        let mut keys = None;
        let mut nearest = AclDenied { denial: Denial::Command, arg: 0 };
        for selector in self.all_selectors() {
            match selector.check(command, args, &mut keys) {
                Ok(()) => return Ok(()),
                Err(denied) => nearest = nearest.max(denied),
            }
        }
        Err(nearest)
    }

    /// Whether a selector allows a command together with reading every key that there may be.
    pub fn may_read_all_keys(&self, command: &Command, args: &[&[u8]]) -> bool {
        let mut keys = None;
        self.all_selectors().any(|selector| {
            selector.check(command, args, &mut keys).is_ok() && selector.reads_all_keys()
        })
    }
}

impl Selector {
    /// `keys`: those of the command, once somebody has asked for them.
    fn check(
        &self,
        command: &Command,
        args: &[&[u8]],
        keys: &mut Option<Vec<KeyRef>>,
    ) -> Result<(), AclDenied> {
        if !self.allows_command(command, args) {
            return Err(AclDenied { denial: Denial::Command, arg: 0 });
        }
        if !self.all_keys && has_keys(command.spec) {
            let keys = keys.get_or_insert_with(|| get_keys_from_command(command.spec, args));
            if let Some(key) = keys.iter().find(|key| !self.allows_key(args[key.pos], key.flags)) {
                return Err(AclDenied { denial: Denial::Key, arg: key.pos });
            }
        }
        if !self.all_channels
            && let Some(channels) = command.spec.channels
        {
            let end = if channels == Channels::First { args.len().min(2) } else { args.len() };
            let allowed = |&arg: &usize| {
                let patterns = self.channels.iter().map(|pattern| &pattern[..]);
                allows_channel(patterns, args[arg], channels == Channels::Patterns)
            };
            if let Some(arg) = (1..end).find(|arg| !allowed(arg)) {
                return Err(AclDenied { denial: Denial::Channel, arg });
            }
        }
        Ok(())
    }

    fn allows_command(&self, command: &Command, args: &[&[u8]]) -> bool {
        self.all_commands
            || command.is(CommandFlags::NO_AUTH)
            || self.commands.contains(command.acl_id)
            || args.get(1).is_some_and(|first| {
                let mut allowed = self.first_args.iter();
                allowed.any(|(id, arg)| *id == command.acl_id && arg.eq_ignore_ascii_case(first))
            })
    }

    fn allows_key(&self, key: &[u8], flags: KeySpecFlags) -> bool {
        let needed = access_of(flags);
        self.keys
            .iter()
            .any(|known| known.access.contains(needed) && glob_match(&known.pattern, key, false))
    }

    fn reads_all_keys(&self) -> bool {
        self.all_keys
            || self.keys.iter().any(|k| k.access.contains(KeyAccess::READ) && *k.pattern == *b"*")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli;
    use crate::server::acl::rules::RuleBook;

    /// What a user with these rules is denied of a request: what, and which argument.
    fn denied(rules: &[&str], request: &str) -> Option<(Denial, usize)> {
        let commands = cli::command_table();
        let book = RuleBook { catalogue: &commands.catalogue, all_channels: false };
        let mut user = User::new(b"u", false);
        for rule in rules {
            book.apply(&mut user, rule.as_bytes()).expect("a rule");
        }
        let args: Vec<&[u8]> = request.split(' ').map(str::as_bytes).collect();
        let id = commands.find(args[0]).expect("a command");
        let id = args.get(1).and_then(|arg| commands.find_subcommand(id, arg)).unwrap_or(id);
        user.check(commands.get(id), &args).err().map(|denied| (denied.denial, denied.arg))
    }

    #[test]
    fn who_may_do_what() {
        type Case = (&'static [&'static str], &'static str, Option<(Denial, usize)>);
        let cases: &[Case] = &[
            (&[], "get a", Some((Denial::Command, 0))),
            (&[], "auth password", None),
            (&["+@all", "~*", "&*"], "flushall", None),
            (&["+get", "~a*"], "get a1", None),
            (&["+get", "~a*"], "get b", Some((Denial::Key, 1))),
            (&["+get", "~a*"], "set a1 v", Some((Denial::Command, 0))),
            (&["+mget", "~a*"], "mget a1 b a2", Some((Denial::Key, 2))),
            (&["+get", "+set", "%R~a*"], "get a", None),
            (&["+get", "+set", "%R~a*"], "set a v", Some((Denial::Key, 1))),
            (&["+config|get"], "config get port", None),
            (&["+config|get"], "config set port 1", Some((Denial::Command, 0))),
            (&["+@all", "-@write", "~*"], "get a", None),
            (&["+@all", "-@write", "~*"], "set a v", Some((Denial::Command, 0))),
        ];
        for (rules, request, expected) in cases {
            assert_eq!(denied(rules, request), *expected, "{rules:?}: {request}");
        }
    }

    #[test]
    fn a_pattern_is_heard_by_whom_it_is_named_for() {
        let rules = ["+publish", "+psubscribe", "&news*"];
        assert_eq!(denied(&rules, "publish news1 x"), None);
        assert_eq!(denied(&rules, "publish other x"), Some((Denial::Channel, 1)));
        assert_eq!(denied(&rules, "psubscribe news*"), None);
        assert_eq!(denied(&rules, "psubscribe news* news1*"), Some((Denial::Channel, 2)));
    }

    #[test]
    fn one_selector_must_allow_all_and_the_nearest_tells_why_not() {
        let rules = ["+get", "~a*", "(+set ~b*)"];
        assert_eq!(denied(&rules, "set b v"), None);
        assert_eq!(denied(&rules, "set a v"), Some((Denial::Key, 1)));
        assert_eq!(denied(&rules, "del a"), Some((Denial::Command, 0)));
    }
}
