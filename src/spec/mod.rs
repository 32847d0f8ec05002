//! What is known of each command beside its code: arity, flags, ACL categories, keys, documentation.
//!
//! The facts are data: `src/spec/commands` has a text for each group of commands, which the build script turns into the
//! table [`COMMANDS`].
//!
//! * [`flags`]: the sets of flags.
//! * [`catalogue`]: what ACL rules may name.
//! * [`keys`] finds the keys in a command line.
//! * [`reply`] writes the replies of COMMAND, [`help`] those of `<command> HELP`.
//! * `source` reads the texts, in the build script.

pub(crate) mod catalogue;
pub(crate) mod flags;
pub(crate) mod help;
pub(crate) mod keys;
pub(crate) mod reply;
#[cfg(test)]
mod source;

pub use flags::{AclCategories, ArgFlags, CommandFlags, DocFlags, KeySpecFlags};

include!(concat!(env!("OUT_DIR"), "/commands.rs"));

impl CommandFlags {
    /// Runs a script: its keys are read and changed by the commands that the script calls, not by itself.
    pub const RUNS_SCRIPT: CommandFlags =
        CommandFlags::RUNS_TEXT.union(CommandFlags::RUNS_KNOWN).union(CommandFlags::RUNS_FUNCTION);
    /// Refused unless the configuration allows it.
    pub const PROTECTED: CommandFlags =
        CommandFlags::PROTECTED_DEBUG.union(CommandFlags::PROTECTED_MODULE);
}

/// A command, a container of subcommands, or a subcommand.
#[derive(Clone, Debug)]
pub struct CommandSpec {
    /// In lower case; a subcommand's has its container's in front (`config|get`).
    pub name: &'static str,
    /// The number of arguments with all names; the least number, negated, where there may be more.
    pub arity: i32,
    pub flags: CommandFlags,
    pub acl_categories: AclCategories,
    /// First key, last key (negative: from the end) and step as clients of old know them; 0 if there are none, or if
    /// they cannot be told this way.
    pub first_key: i32,
    pub last_key: i32,
    pub step: i32,
    pub key_specs: &'static [KeySpec],
    /// The position of what is looked for in the collection under the first key, if nothing optional is before it; 0:
    /// none. So it can be fetched ahead.
    pub element: usize,
    /// What finds the keys where the specs don't tell.
    pub key_finder: Option<KeyFinder>,
    pub channels: Option<Channels>,
    /// Hints for clients and proxies (`request_policy:all_nodes`).
    pub tips: &'static [&'static str],
    pub since: &'static str,
    /// The name of the text that it is from.
    pub group: &'static str,
    pub complexity: &'static str,
    pub summary: &'static str,
    pub doc_flags: DocFlags,
    pub deprecated_since: Option<&'static str>,
    pub replaced_by: Option<&'static str>,
    pub args: &'static [Arg],
    pub subcommands: &'static [CommandSpec],
}

/// How to find the keys of a command that key specs can't describe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyFinder {
    /// Whether the key is read depends on GET.
    Set,
    /// Whether the key is changed depends on the operations.
    Bitfield,
    /// There may be a STORE anywhere.
    Sort,
    SortRo,
    /// There is one key, or there are many behind KEYS.
    Migrate,
}

/// Which arguments are channels that a user needs a permission for. Nobody needs one to unsubscribe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Channels {
    First,
    All,
    /// All, and they are patterns.
    Patterns,
}

/// Where some of a command's keys are: where they begin, and how to find the others from there.
#[derive(Clone, Debug)]
pub struct KeySpec {
    pub flags: KeySpecFlags,
    pub begin: BeginSearch,
    pub find: FindKeys,
    pub notes: Option<&'static str>,
}

/// Where to begin.
#[derive(Clone, Debug)]
pub enum BeginSearch {
    /// Can't be told.
    Unknown,
    /// At this argument; the command's name is argument 0.
    Index(i64),
    /// Behind this word, searched from argument `startfrom` on, or backwards from the `-startfrom`th last.
    Keyword { keyword: &'static str, startfrom: i64 },
}

/// Which arguments are keys. All indexes but negative ones count from where the search begins.
#[derive(Clone, Debug)]
pub enum FindKeys {
    /// Can't be told.
    Unknown,
    /// Every `keystep`th argument up to `lastkey`. A negative `lastkey` counts from the end; with -1, a `limit` of
    /// 2 or more means that only one part in so many of what remains are keys.
    Range { lastkey: i64, keystep: i64, limit: i64 },
    /// Argument `keynumidx` is the number of keys, the first of which is argument `firstkey`.
    Keynum { keynumidx: i64, firstkey: i64, keystep: i64 },
}

/// An argument, or a choice or block of arguments.
#[derive(Clone, Debug)]
pub struct Arg {
    pub name: &'static str,
    /// `string`, `integer`, `double`, `key`, `pattern`, `unix-time`, `pure-token`, `oneof` or `block`.
    pub kind: &'static str,
    /// What syntax help prints for the argument, where that isn't its name.
    pub display_text: Option<&'static str>,
    /// Of a key: its place in [`CommandSpec::key_specs`].
    pub key_spec_index: Option<u8>,
    /// The word in front of the argument (or all of it, if it is a `pure-token`).
    pub token: Option<&'static str>,
    pub since: Option<&'static str>,
    pub deprecated_since: Option<&'static str>,
    pub flags: ArgFlags,
    /// What a `oneof` or `block` consists of.
    pub args: &'static [Arg],
}

impl CommandSpec {
    /// Does a command line of `argc` arguments, names included, satisfy the arity?
    #[inline]
    pub fn accepts_argc(&self, argc: usize) -> bool {
        let least = self.arity.unsigned_abs() as usize;
        if self.arity < 0 { argc >= least } else { argc == least }
    }

    /// The command, then its subcommands.
    pub fn with_subcommands(&self) -> impl Iterator<Item = &CommandSpec> {
        std::iter::once(self).chain(self.subcommands)
    }

    /// The subcommand called `name` (without its container's name), in any letter case.
    pub fn subcommand(&self, name: &[u8]) -> Option<&CommandSpec> {
        self.subcommands.iter().find(|sub| sub.own_name().as_bytes().eq_ignore_ascii_case(name))
    }

    /// The name without its container's.
    pub fn own_name(&self) -> &'static str {
        self.name.split_once('|').map_or(self.name, |(_, own)| own)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Commands and subcommands in one list.
    fn flat() -> impl Iterator<Item = &'static CommandSpec> {
        COMMANDS.iter().flat_map(CommandSpec::with_subcommands)
    }

    fn check_args(spec: &CommandSpec, args: &[Arg]) {
        for arg in args {
            let compound = matches!(arg.kind, "oneof" | "block");
            let simple = matches!(
                arg.kind,
                "string" | "integer" | "double" | "key" | "pattern" | "unix-time" | "pure-token"
            );
            assert!(compound || simple, "{}: {}", spec.name, arg.kind);
            assert_eq!(compound, !arg.args.is_empty(), "{}: {}", spec.name, arg.name);
            assert!(arg.display_text.is_none() || simple, "{}: {}", spec.name, arg.name);
            let index = arg.key_spec_index.map_or(0, usize::from);
            assert!(index == 0 || index < spec.key_specs.len(), "{}: {}", spec.name, arg.name);
            check_args(spec, arg.args);
        }
    }

    #[test]
    fn every_spec_is_sound() {
        let mut names: Vec<_> = flat().map(|spec| spec.name).collect();
        assert!(COMMANDS.len() >= 241 && names.len() >= 241 + 129);
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), flat().count(), "names are unique");
        for spec in flat() {
            let name = spec.name;
            assert_eq!(name, name.to_lowercase());
            assert!(spec.arity != 0, "{name}");
            assert!(!spec.summary.is_empty() && spec.summary.ends_with('.'), "{name}");
            assert!(!spec.complexity.is_empty() && !spec.complexity.ends_with('.'), "{name}");
            assert!(!spec.group.is_empty() && !spec.since.is_empty(), "{name}");
            let deprecated = spec.doc_flags.contains(DocFlags::DEPRECATED);
            assert_eq!(deprecated, spec.deprecated_since.is_some(), "{name}");
            assert_eq!(deprecated, spec.replaced_by.is_some(), "{name}");
            let both = CommandFlags::WRITE | CommandFlags::READONLY;
            assert!(!spec.flags.contains(both), "{name}");
            let fast = spec.acl_categories.contains(AclCategories::FAST);
            assert_ne!(fast, spec.acl_categories.contains(AclCategories::SLOW), "{name}");
            assert_eq!(fast, spec.flags.contains(CommandFlags::FAST), "{name}");
            assert!(spec.first_key == 0 || spec.step > 0, "{name}");
            check_args(spec, spec.args);
            for key_spec in spec.key_specs {
                if let FindKeys::Range { keystep, .. } | FindKeys::Keynum { keystep, .. } =
                    key_spec.find
                {
                    assert!(keystep > 0, "{name}: a step of 0 would never end");
                }
            }
        }
        for container in COMMANDS.iter().filter(|spec| !spec.subcommands.is_empty()) {
            for sub in container.subcommands {
                let own = sub.own_name();
                assert_eq!(sub.name, format!("{}|{own}", container.name));
                assert_eq!(sub.group, container.group);
                let upper = own.to_uppercase();
                assert_eq!(container.subcommand(upper.as_bytes()).unwrap().name, sub.name);
            }
            assert!(container.subcommand(b"no-such").is_none());
        }
    }

    #[test]
    fn known_facts() {
        // Name, arity, legacy key range, flags (hidden ones too), categories.
        let table: [(&str, i32, [i32; 3], &str, &str); 12] = [
            ("get", 2, [1, 1, 1], "readonly fast", "read string fast"),
            ("set", -3, [1, 1, 1], "write denyoom", "write string slow"),
            ("mset", -3, [1, -1, 2], "write denyoom", "write string slow"),
            (
                "ping",
                -1,
                [0, 0, 0],
                "fast for_subscribers shows_disk_errors only_answers",
                "fast connection",
            ),
            (
                "eval",
                -3,
                [0, 0, 0],
                "noscript stale skip_monitor no_mandatory_keys movablekeys may_replicate runs_text",
                "slow scripting",
            ),
            ("config|get", -3, [0, 0, 0], "admin noscript loading stale", "admin slow dangerous"),
            ("blpop", -3, [1, -2, 1], "write blocking", "write list slow blocking"),
            (
                "sort",
                -2,
                [1, 1, 1],
                "write denyoom movablekeys",
                "write set sortedset list slow dangerous",
            ),
            ("randomkey", 1, [0, 0, 0], "readonly touches_arbitrary_keys", "keyspace read slow"),
            ("object|encoding", 3, [2, 2, 1], "readonly", "keyspace read slow"),
            (
                "auth",
                -2,
                [0, 0, 0],
                "noscript loading stale fast no_auth allow_busy",
                "fast connection",
            ),
            ("hsetex", -6, [1, 1, 1], "write denyoom fast", "write hash fast"),
        ];
        for (name, arity, range, flags, categories) in table {
            let spec = flat().find(|spec| spec.name == name).unwrap();
            assert_eq!(spec.arity, arity, "{name}");
            assert_eq!([spec.first_key, spec.last_key, spec.step], range, "{name}");
            assert_eq!(spec.flags.names().collect::<Vec<_>>().join(" "), flags, "{name}");
            let found: Vec<_> = spec.acl_categories.names().collect();
            assert_eq!(found.join(" "), categories, "{name}");
        }
    }

    #[test]
    fn arity() {
        let spec = |name: &str| COMMANDS.iter().find(|spec| spec.name == name).unwrap();
        assert!(spec("get").accepts_argc(2));
        assert!(!spec("get").accepts_argc(1) && !spec("get").accepts_argc(3));
        assert!(spec("mget").accepts_argc(2) && spec("mget").accepts_argc(300));
        assert!(!spec("mget").accepts_argc(1));
    }

    #[test]
    fn names_of_flags() {
        assert_eq!(AclCategories::named(b"SortedSet"), Some(AclCategories::SORTEDSET));
        assert_eq!(AclCategories::named(b"all"), None);
        assert_eq!(AclCategories::NAMES.len(), 21);
        let both = KeySpecFlags::RW | KeySpecFlags::ACCESS;
        assert_eq!(both.names().collect::<Vec<_>>(), ["RW", "access"]);
    }
}
