//! Finds the keys in a command line: for COMMAND GETKEYS, for ACL checks, for client-side caching.
//!
//! The key specs answer for nearly all commands. The few that they can't describe have a function each, which the
//! spec names.

use std::fmt;

use super::{BeginSearch, CommandFlags, CommandSpec, FindKeys, KeyFinder, KeySpec, KeySpecFlags};
use crate::resp::error::CommandError;
use crate::util::number::parse_i64;

/// A key in a command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyRef {
    /// Which argument; the command's name is argument 0.
    pub pos: usize,
    pub flags: KeySpecFlags,
}

/// Why COMMAND GETKEYS finds no keys. The texts are Redis's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeysError {
    UnknownCommand,
    NoKeyArguments,
    WrongArity,
    InvalidArguments,
}

impl fmt::Display for KeysError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            KeysError::UnknownCommand => "Invalid command specified",
            KeysError::NoKeyArguments => "The command has no key arguments",
            KeysError::WrongArity => "Invalid number of arguments specified for command",
            KeysError::InvalidArguments => "Invalid arguments specified for command",
        })
    }
}

impl std::error::Error for KeysError {}

impl From<KeysError> for CommandError {
    fn from(error: KeysError) -> CommandError {
        CommandError::err_with(error.to_string())
    }
}

/// The keys of a command line as COMMAND GETKEYS reports them: no keys are an error, unless the command may go
/// without.
pub fn key_positions(spec: &CommandSpec, args: &[&[u8]]) -> Result<Vec<KeyRef>, KeysError> {
    if !has_keys(spec) {
        return Err(KeysError::NoKeyArguments);
    }
    if !spec.accepts_argc(args.len()) {
        return Err(KeysError::WrongArity);
    }
    let keys = get_keys_from_command(spec, args);
    if keys.is_empty() && !spec.flags.contains(CommandFlags::NO_MANDATORY_KEYS) {
        return Err(KeysError::InvalidArguments);
    }
    Ok(keys)
}

/// Can the command have keys at all?
pub fn has_keys(spec: &CommandSpec) -> bool {
    spec.key_specs.iter().any(|key_spec| !key_spec.flags.contains(KeySpecFlags::NOT_KEY))
}

/// The keys of a command line; none where it has none, or where its syntax is wrong in a way that hides them (the
/// command itself then refuses it).
pub fn get_keys_from_command(spec: &CommandSpec, args: &[&[u8]]) -> Vec<KeyRef> {
    let varying = |key_spec: &KeySpec| key_spec.flags.contains(KeySpecFlags::VARIABLE_FLAGS);
    let described = if spec.key_specs.iter().any(varying) {
        None
    } else {
        get_keys_using_key_specs(spec, args)
    };
    described.unwrap_or_else(|| get_keys_by_finder(spec.key_finder, args))
}

/// The position of the only key (or channel) that a request can have, if it always has just one, at the same place.
pub fn only_key(spec: &CommandSpec) -> Option<usize> {
    let is_one = spec.first_key == spec.last_key && spec.key_specs.len() == 1;
    usize::try_from(spec.first_key).ok().filter(|&first| first > 0 && is_one)
}

/// Gives the keys (and channels) that decide about a request's slot to `visit`.
pub fn for_each_slot_key(spec: &CommandSpec, args: &[&[u8]], mut visit: impl FnMut(&[u8])) {
    let is_channel = |key_spec: &&KeySpec| key_spec.flags.contains(KeySpecFlags::NOT_KEY);
    if let Some(only) = only_key(spec) {
        args.get(only).into_iter().for_each(|key| visit(key));
        return;
    }
    for key in get_keys_from_command(spec, args) {
        visit(args[key.pos]);
    }
    for key_spec in spec.key_specs.iter().filter(is_channel) {
        let BeginSearch::Index(begin) = key_spec.begin else { continue };
        let Some((first, last, step)) = key_range(&key_spec.find, begin, args) else { continue };
        let channels = args.get(first.max(0) as usize..=last.max(0) as usize).unwrap_or_default();
        channels.iter().step_by(step).for_each(|channel| visit(channel));
    }
}

/// The keys of a command that key specs can't describe; none for any other command.
fn get_keys_by_finder(finder: Option<KeyFinder>, args: &[&[u8]]) -> Vec<KeyRef> {
    let mut keys = match finder {
        None => Vec::new(),
        Some(KeyFinder::Set) => set_get_keys(args),
        Some(KeyFinder::Bitfield) => bitfield_get_keys(args),
        Some(KeyFinder::Sort) => sort_get_keys(args),
        Some(KeyFinder::SortRo) => {
            vec![KeyRef { pos: 1, flags: KeySpecFlags::RO | KeySpecFlags::ACCESS }]
        }
        Some(KeyFinder::Migrate) => migrate_get_keys(args),
    };
    keys.retain(|key| key.pos < args.len());
    keys
}

/// The keys that all specs together describe; `None` if one of them fits the arguments badly, or is known to be
/// incomplete.
fn get_keys_using_key_specs(spec: &CommandSpec, args: &[&[u8]]) -> Option<Vec<KeyRef>> {
    let mut keys = Vec::new();
    for key_spec in spec.key_specs {
        if key_spec.flags.contains(KeySpecFlags::NOT_KEY) {
            continue;
        }
        let begin = match key_spec.begin {
            BeginSearch::Unknown => return None,
            BeginSearch::Index(index) => index,
            BeginSearch::Keyword { keyword, startfrom } => {
                match find_keyword(args, keyword.as_bytes(), startfrom) {
                    Some(pos) => pos as i64 + 1,
                    None => continue,
                }
            }
        };
        let (first, last, step) = key_range(&key_spec.find, begin, args)?;
        if first < 1 || last < first || last >= args.len() as i64 {
            return None;
        }
        let positions = (first as usize..=last as usize).step_by(step);
        keys.extend(positions.map(|pos| KeyRef { pos, flags: key_spec.flags }));
        if key_spec.flags.contains(KeySpecFlags::INCOMPLETE) {
            return None;
        }
    }
    Some(keys)
}

/// Where `keyword` is, behind the command's name.
fn find_keyword(args: &[&[u8]], keyword: &[u8], startfrom: i64) -> Option<usize> {
    let is_keyword = |pos: &usize| args[*pos].eq_ignore_ascii_case(keyword);
    if startfrom > 0 {
        // The last argument can't be the keyword, for a key has to follow.
        (startfrom as usize..args.len().saturating_sub(1)).find(is_keyword)
    } else {
        let from = args.len().saturating_sub(startfrom.unsigned_abs() as usize);
        (2..=from).rev().find(is_keyword)
    }
}

/// First and last position (which may lie outside the arguments) and step; `None` if the number of keys is no number.
fn key_range(find: &FindKeys, begin: i64, args: &[&[u8]]) -> Option<(i64, i64, usize)> {
    let argc = args.len() as i64;
    match *find {
        FindKeys::Unknown => None,
        FindKeys::Range { lastkey, keystep, limit } => {
            let last = match (lastkey, limit) {
                (0.., _) => begin + lastkey,
                (_, ..=1) => argc + lastkey,
                _ => begin + (argc - begin) / limit + lastkey,
            };
            Some((begin, last, keystep as usize))
        }
        FindKeys::Keynum { keynumidx, firstkey, keystep } => {
            let numkeys = parse_i64(args.get((begin + keynumidx) as usize)?)?;
            if !(0..=argc).contains(&numkeys) {
                return None;
            }
            let first = begin + firstkey;
            Some((first, first + (numkeys - 1) * keystep, keystep as usize))
        }
    }
}

/// SET reads the old value only for GET.
fn set_get_keys(args: &[&[u8]]) -> Vec<KeyRef> {
    let get = args.iter().skip(3).any(|arg| arg.eq_ignore_ascii_case(b"get"));
    let flags = if get { KeySpecFlags::RW | KeySpecFlags::ACCESS } else { KeySpecFlags::OW };
    vec![KeyRef { pos: 1, flags: flags | KeySpecFlags::UPDATE }]
}

/// BITFIELD only reads if all its operations are GETs. Where the syntax is wrong, the worst is assumed.
fn bitfield_get_keys(args: &[&[u8]]) -> Vec<KeyRef> {
    let mut rest = args.get(2..).unwrap_or_default();
    let read_only = loop {
        let Some(word) = rest.first() else { break true };
        let operands = if word.eq_ignore_ascii_case(b"get") {
            2
        } else if word.eq_ignore_ascii_case(b"overflow") {
            1
        } else {
            break false;
        };
        match rest.get(1 + operands..) {
            Some(next) => rest = next,
            None => break false,
        }
    };
    let flags = if read_only {
        KeySpecFlags::RO | KeySpecFlags::ACCESS
    } else {
        KeySpecFlags::RW | KeySpecFlags::ACCESS | KeySpecFlags::UPDATE
    };
    vec![KeyRef { pos: 1, flags }]
}

/// SORT writes to the key of its last STORE.
fn sort_get_keys(args: &[&[u8]]) -> Vec<KeyRef> {
    let mut keys = vec![KeyRef { pos: 1, flags: KeySpecFlags::RO | KeySpecFlags::ACCESS }];
    let mut store = None;
    let mut i = 2;
    while i < args.len() {
        let word = args[i];
        if word.eq_ignore_ascii_case(b"limit") {
            i += 2;
        } else if word.eq_ignore_ascii_case(b"get") || word.eq_ignore_ascii_case(b"by") {
            i += 1;
        } else if word.eq_ignore_ascii_case(b"store") && i + 1 < args.len() {
            store = Some(i + 1);
        }
        i += 1;
    }
    keys.extend(store.map(|pos| KeyRef { pos, flags: KeySpecFlags::OW | KeySpecFlags::UPDATE }));
    keys
}

/// MIGRATE has its key at position 3, or, if that is empty, its keys behind KEYS at the end.
fn migrate_get_keys(args: &[&[u8]]) -> Vec<KeyRef> {
    let mut positions = 3..4;
    let mut i = 6;
    while i < args.len() {
        let word = args[i];
        if word.eq_ignore_ascii_case(b"keys") {
            positions = if args[3].is_empty() { i + 1..args.len() } else { 0..0 };
            break;
        } else if word.eq_ignore_ascii_case(b"auth2") {
            i += 2;
        } else if word.eq_ignore_ascii_case(b"auth") {
            i += 1;
        }
        i += 1;
    }
    let flags = KeySpecFlags::RW | KeySpecFlags::ACCESS | KeySpecFlags::DELETE;
    positions.map(|pos| KeyRef { pos, flags }).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::spec::COMMANDS;

    /// The spec of a command line, as dispatch would find it.
    fn lookup(args: &[&[u8]]) -> Option<&'static CommandSpec> {
        let named = |spec: &&CommandSpec| spec.name.as_bytes().eq_ignore_ascii_case(args[0]);
        let spec = COMMANDS.iter().find(named)?;
        if spec.subcommands.is_empty() {
            return Some(spec);
        }
        args.get(1).map_or(Some(spec), |name| spec.subcommand(name))
    }

    /// What COMMAND GETKEYSANDFLAGS says of a line, in short form. `''` is an empty argument.
    fn describe(line: &str) -> String {
        let args: Vec<&[u8]> =
            line.split(' ').map(|arg| if arg == "''" { b"" } else { arg.as_bytes() }).collect();
        let found = lookup(&args)
            .ok_or(KeysError::UnknownCommand)
            .and_then(|spec| key_positions(spec, &args));
        match found {
            Err(error) => error.to_string(),
            Ok(keys) => {
                let show = |key: &KeyRef| {
                    let flags: Vec<_> = key.flags.names().collect();
                    format!("{}:{}", String::from_utf8_lossy(args[key.pos]), flags.join("+"))
                };
                keys.iter().map(show).collect::<Vec<_>>().join(" ")
            }
        }
    }

    const NONE: &str = "The command has no key arguments";
    const ARITY: &str = "Invalid number of arguments specified for command";
    const INVALID: &str = "Invalid arguments specified for command";
    const UNKNOWN: &str = "Invalid command specified";

    /// Commands, and how Redis 7.0.15 answers `COMMAND GETKEYSANDFLAGS` of them.
    const KEYS_AND_FLAGS: &[(&str, &str)] = &[
        ("get a", "a:RO+access"),
        ("get", ARITY),
        ("get a b", ARITY),
        ("GET a", "a:RO+access"),
        ("set a b", "a:OW+update"),
        ("set a b get", "a:RW+access+update"),
        ("set a b px 1 nx GeT", "a:RW+access+update"),
        ("set a", ARITY),
        ("ping", NONE),
        ("ping x", NONE),
        ("foo a", UNKNOWN),
        ("config get x", NONE),
        ("config foo x", UNKNOWN),
        ("config", NONE),
        ("mset a b c d", "a:OW+update c:OW+update"),
        ("mset a b c", "a:OW+update c:OW+update"),
        ("msetnx a b", "a:OW+insert"),
        ("eval s 0", ""),
        ("eval s 1 k", "k:RW+access+update"),
        ("eval s 2 k a", "k:RW+access+update a:RW+access+update"),
        ("eval s 2 k", ""),
        ("eval s x", ""),
        ("eval s -1 a", ""),
        ("evalsha s 9223372036854775807 a", ""),
        ("eval_ro s 1 k", "k:RO+access"),
        ("fcall f 1 a b", "a:RW+access+update"),
        ("fcall_ro f 0", ""),
        ("sort a", "a:RO+access"),
        ("sort a by x store b", "a:RO+access b:OW+update"),
        ("sort a store", "a:RO+access"),
        ("sort a get store store x", "a:RO+access x:OW+update"),
        ("sort a limit 1 store by store c", "a:RO+access"),
        ("sort a store b store c", "a:RO+access c:OW+update"),
        ("sort_ro a by b get c", "a:RO+access"),
        ("migrate h p k 0 1", "k:RW+access+delete"),
        ("migrate h p '' 0 1 keys a b", "a:RW+access+delete b:RW+access+delete"),
        ("migrate h p '' 0 1 copy replace auth x keys a", "a:RW+access+delete"),
        ("migrate h p '' 0 1 auth keys a keys b c", "b:RW+access+delete c:RW+access+delete"),
        ("migrate h p k 0 1 keys a b", INVALID),
        ("migrate h p '' 0 1 auth2 keys keys keys a", "a:RW+access+delete"),
        ("migrate h p '' 0 1 keys", ":RW+access+delete"),
        ("bitfield a", "a:RO+access"),
        ("bitfield a get u8 0", "a:RO+access"),
        ("bitfield a get u8 0 set u8 0 1", "a:RW+access+update"),
        ("bitfield a overflow wrap get u8 0", "a:RO+access"),
        ("bitfield a get u8", "a:RW+access+update"),
        ("bitfield a nonsense", "a:RW+access+update"),
        ("bitfield_ro a get u8 0", "a:RO+access"),
        ("georadius a 1 1 1 km", "a:RO+access"),
        ("georadius a 1 1 1 km store b", "a:RO+access b:OW+update"),
        ("georadius a 1 1 1 km storedist b store c", "a:RO+access c:OW+update b:OW+update"),
        ("georadius a 1 1 1 km store", "a:RO+access"),
        ("georadius a 1 1 1 km count 1 storedist b store", "a:RO+access b:OW+update"),
        ("georadiusbymember a m 1 km store b", "a:RO+access b:OW+update"),
        ("geosearchstore a b fromlonlat 1 1 byradius 1 km", "a:OW+update b:RO+access"),
        ("xread streams a b 1 2", "a:RO+access b:RO+access"),
        ("xread count 2 streams a b 1", "a:RO+access"),
        ("xread streams", ARITY),
        ("xread count 2 b c", INVALID),
        ("xread streams streams 1", "streams:RO+access"),
        ("xread count 2 block 0 STREAMS a 1", "a:RO+access"),
        ("xread a b streams", INVALID),
        ("xreadgroup group g c streams a 1", "a:RO+access"),
        ("xreadgroup group streams streams streams a b 1 2", "a:RO+access b:RO+access"),
        ("xgroup create a b c", "a:RW+insert"),
        ("xinfo stream k", "k:RO+access"),
        ("xinfo help", NONE),
        ("zunionstore d 2 a b", "d:OW+update a:RO+access b:RO+access"),
        ("zunionstore d 0 a", INVALID),
        ("zunionstore d 3 a b", INVALID),
        ("zunionstore d 1 a weights 2", "d:OW+update a:RO+access"),
        ("zunion 0 a", INVALID),
        ("zunion 2 a b withscores", "a:RO+access b:RO+access"),
        ("zinterstore d x a", INVALID),
        ("zdiffstore d 1 a", "d:OW+update a:RO+access"),
        ("sintercard 2 a b limit 1", "a:RO+access b:RO+access"),
        ("zintercard 1 a", "a:RO+access"),
        ("lmpop 2 a b left", "a:RW+access+delete b:RW+access+delete"),
        ("lmpop 0 a left", INVALID),
        ("blmpop 1 2 a b left", "a:RW+access+delete b:RW+access+delete"),
        ("zmpop a b c", INVALID),
        ("bzmpop 0 1 a min", "a:RW+access+delete"),
        ("blpop a b 0", "a:RW+access+delete b:RW+access+delete"),
        ("blpop a", ARITY),
        ("bzpopmin a 0", "a:RW+access+delete"),
        ("brpoplpush a b 0", "a:RW+access+delete b:RW+insert"),
        ("object encoding x", "x:RO"),
        ("object help", NONE),
        ("memory usage k", "k:RO"),
        ("memory doctor", NONE),
        ("lcs a b", "a:RO+access b:RO+access"),
        ("pfcount a b", "a:RW+access b:RW+access"),
        ("pfdebug a b", "b:RW+access"),
        ("pfmerge a b", "a:RW+access+insert b:RO+access"),
        ("bitop and a b c", "a:OW+update b:RO+access c:RO+access"),
        ("copy a b", "a:RO+access b:OW+update"),
        ("rename a b", "a:RW+access+delete b:OW+update"),
        ("smove a b c", "a:RW+access+delete b:RW+insert"),
        ("sinterstore d a b", "d:RW+update a:RO+access b:RO+access"),
        ("restore a 1 b", "a:OW+update"),
        ("xadd a * f v", "a:RW+update"),
        ("getex a ex 1", "a:RW+access+update"),
        ("spublish a b", NONE),
        ("ssubscribe a", NONE),
        ("subscribe a", NONE),
        ("script load x", NONE),
        ("acl setuser x", NONE),
        ("keys x", NONE),
        ("command getkeys get a", NONE),
        ("watch a b", "a:RO b:RO"),
        ("exists a b c", "a:RO b:RO c:RO"),
        ("touch a", "a:RO"),
        ("unlink a b", "a:RM+delete b:RM+delete"),
    ];

    #[test]
    fn getkeys_and_flags() {
        for &(line, expected) in KEYS_AND_FLAGS {
            assert_eq!(describe(line), expected, "{line}");
        }
    }

    #[test]
    fn error_texts() {
        let error = CommandError::from(KeysError::NoKeyArguments);
        assert_eq!(error.to_string(), "ERR The command has no key arguments");
    }

    proptest! {
        /// Whatever the arguments, positions lie inside them and no command panics.
        #[test]
        fn positions_are_inside(words in prop::collection::vec(0..24usize, 0..12)) {
            const WORDS: [&str; 24] = [
                "", "a", "0", "1", "2", "3", "-1", "9223372036854775807", "-9223372036854775808", "get", "set",
                "by", "limit", "store", "storedist", "keys", "auth", "auth2", "streams", "group", "count",
                "block", "overflow", "incrby",
            ];
            for spec in COMMANDS.iter().flat_map(CommandSpec::with_subcommands) {
                let mut args: Vec<&[u8]> = vec![spec.name.as_bytes()];
                args.extend(words.iter().map(|&i| WORDS[i].as_bytes()));
                for key in get_keys_from_command(spec, &args) {
                    prop_assert!((1..args.len()).contains(&key.pos), "{} {words:?}", spec.name);
                }
            }
        }
    }
}
