//! The replies of COMMAND and its subcommands.
//!
//! Which commands there are is the caller's business: it hands in their specs, or a way to look one up by name
//! (`get`, `config|get`). What has no order in the reply comes in the order of the specs.

use super::keys::{self, KeysError};
use super::{AclCategories, Arg, BeginSearch, CommandFlags, CommandSpec, FindKeys, KeySpec};
use crate::resp::error::{CommandError, CommandResult};
use crate::resp::reply::Reply;
use crate::util::glob::glob_match;

/// The flags that are for the server alone: clients are not told of them.
const HIDDEN: CommandFlags = CommandFlags::MAY_REPLICATE
    .union(CommandFlags::PROTECTED)
    .union(CommandFlags::TOUCHES_ARBITRARY_KEYS)
    .union(CommandFlags::RUNS_SCRIPT)
    .union(CommandFlags::NEVER_QUEUED)
    .union(CommandFlags::EXECUTES_QUEUE)
    .union(CommandFlags::FOR_SUBSCRIBERS)
    .union(CommandFlags::SHOWS_DISK_ERRORS)
    .union(CommandFlags::ALLOWS_NEXT)
    .union(CommandFlags::SELECTS_DATABASE)
    .union(CommandFlags::ONLY_ANSWERS);

/// COMMAND, and COMMAND INFO without names.
pub fn reply_command<'a>(reply: &mut Reply, specs: impl ExactSizeIterator<Item = &'a CommandSpec>) {
    reply.array(specs.len());
    specs.for_each(|spec| reply_info(reply, spec));
}

/// COMMAND INFO with names: null for each that `lookup` doesn't know.
pub fn reply_command_info<'a>(
    reply: &mut Reply,
    names: &[&[u8]],
    lookup: impl Fn(&[u8]) -> Option<&'a CommandSpec>,
) {
    reply.array(names.len());
    for name in names {
        match lookup(name) {
            Some(spec) => reply_info(reply, spec),
            None => reply.null(),
        }
    }
}

/// COMMAND DOCS without names.
pub fn reply_command_docs<'a>(
    reply: &mut Reply,
    specs: impl ExactSizeIterator<Item = &'a CommandSpec>,
) {
    reply.map(specs.len());
    specs.for_each(|spec| reply_named_docs(reply, spec));
}

/// COMMAND DOCS with names: those that `lookup` doesn't know are left out.
pub fn reply_command_docs_of<'a>(
    reply: &mut Reply,
    names: &[&[u8]],
    lookup: impl Fn(&[u8]) -> Option<&'a CommandSpec>,
) {
    let found: Vec<_> = names.iter().filter_map(|name| lookup(name)).collect();
    reply_command_docs(reply, found.into_iter());
}

/// What COMMAND LIST shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ListFilter<'a> {
    All,
    /// The commands of a module. There are no modules, so no commands.
    Module,
    /// The commands of a category; none if there is no such category.
    AclCat(Option<AclCategories>),
    /// The commands whose full names match, in any letter case.
    Pattern(&'a [u8]),
}

impl<'a> ListFilter<'a> {
    /// Reads what follows COMMAND LIST: nothing, or `FILTERBY <kind> <value>`.
    pub fn parse(args: &[&'a [u8]]) -> CommandResult<ListFilter<'a>> {
        let [filterby, kind, value] = *args else {
            return if args.is_empty() { Ok(ListFilter::All) } else { Err(CommandError::SYNTAX) };
        };
        if !filterby.eq_ignore_ascii_case(b"filterby") {
            Err(CommandError::SYNTAX)
        } else if kind.eq_ignore_ascii_case(b"module") {
            Ok(ListFilter::Module)
        } else if kind.eq_ignore_ascii_case(b"aclcat") {
            Ok(ListFilter::AclCat(AclCategories::named(value)))
        } else if kind.eq_ignore_ascii_case(b"pattern") {
            Ok(ListFilter::Pattern(value))
        } else {
            Err(CommandError::SYNTAX)
        }
    }

    fn shows(&self, spec: &CommandSpec) -> bool {
        match self {
            ListFilter::All => true,
            ListFilter::Module => spec.flags.contains(CommandFlags::MODULE),
            ListFilter::AclCat(None) => false,
            ListFilter::AclCat(Some(category)) => spec.acl_categories.contains(*category),
            ListFilter::Pattern(pattern) => glob_match(pattern, spec.name.as_bytes(), true),
        }
    }
}

/// COMMAND LIST: the names of commands and subcommands.
pub fn reply_command_list<'a>(
    reply: &mut Reply,
    specs: impl Iterator<Item = &'a CommandSpec>,
    filter: ListFilter<'_>,
) {
    let with_subcommands = specs.flat_map(CommandSpec::with_subcommands);
    let names: Vec<_> =
        with_subcommands.filter(|spec| filter.shows(spec)).map(|spec| spec.name).collect();
    reply.array(names.len());
    names.iter().for_each(|name| reply.bulk_str(name));
}

/// COMMAND GETKEYS, and GETKEYSANDFLAGS if `with_flags`. `args` is the command line to look into, whose command is
/// `spec`, `None` if there is no such command.
pub fn reply_command_getkeys(
    reply: &mut Reply,
    spec: Option<&CommandSpec>,
    args: &[&[u8]],
    with_flags: bool,
) -> CommandResult {
    let keys = keys::key_positions(spec.ok_or(KeysError::UnknownCommand)?, args)?;
    reply.array(keys.len());
    for key in keys {
        if with_flags {
            reply.array(2);
        }
        reply.bulk(args[key.pos]);
        if with_flags {
            reply_names(reply, key.flags.names());
        }
    }
    Ok(())
}

/// The text of COMMAND HELP, without the lines that all HELP replies share.
pub const COMMAND_HELP: &[&str] = &[
    "(no subcommand)",
    "    Describe all commands.",
    "COUNT",
    "    Count the commands.",
    "LIST [FILTERBY MODULE <module>|ACLCAT <category>|PATTERN <pattern>]",
    "    Name the commands and subcommands, all or those that match.",
    "INFO [<command-name> ...]",
    "    Describe the named commands, or all if none is named.",
    "DOCS [<command-name> ...]",
    "    Document the named commands, or all if none is named.",
    "GETKEYS <full-command>",
    "    Pick the keys out of a full command.",
    "GETKEYSANDFLAGS <full-command>",
    "    Pick the keys out of a full command, with how it uses them.",
];

/// One command as COMMAND INFO shows it: ten facts in fixed order.
pub fn reply_info(reply: &mut Reply, spec: &CommandSpec) {
    reply.array(10);
    reply.bulk_str(spec.name);
    reply.int(spec.arity.into());
    reply_names(reply, spec.flags.difference(HIDDEN).names());
    reply.int(spec.first_key.into());
    reply.int(spec.last_key.into());
    reply.int(spec.step.into());
    let categories = spec.acl_categories;
    reply.set(categories.names().count());
    categories.names().for_each(|name| reply.simple(format!("@{name}")));
    reply.set(spec.tips.len());
    spec.tips.iter().for_each(|tip| reply.bulk_str(tip));
    reply.set(spec.key_specs.len());
    spec.key_specs.iter().for_each(|key_spec| reply_key_spec(reply, key_spec));
    if spec.subcommands.is_empty() {
        reply.set(0);
    } else {
        reply.array(spec.subcommands.len());
        spec.subcommands.iter().for_each(|sub| reply_info(reply, sub));
    }
}

fn reply_key_spec(reply: &mut Reply, key_spec: &KeySpec) {
    reply.map(3 + usize::from(key_spec.notes.is_some()));
    reply_text(reply, "notes", key_spec.notes);
    reply.bulk_str("flags");
    reply_names(reply, key_spec.flags.names());

    reply.bulk_str("begin_search");
    match key_spec.begin {
        BeginSearch::Unknown => reply_search(reply, "unknown", &[]),
        BeginSearch::Index(index) => reply_search(reply, "index", &[("index", index)]),
        BeginSearch::Keyword { keyword, startfrom } => {
            reply_search_header(reply, "keyword", 2);
            reply_text(reply, "keyword", Some(keyword));
            reply.bulk_str("startfrom");
            reply.int(startfrom);
        }
    }

    reply.bulk_str("find_keys");
    match key_spec.find {
        FindKeys::Unknown => reply_search(reply, "unknown", &[]),
        FindKeys::Range { lastkey, keystep, limit } => reply_search(
            reply,
            "range",
            &[("lastkey", lastkey), ("keystep", keystep), ("limit", limit)],
        ),
        FindKeys::Keynum { keynumidx, firstkey, keystep } => reply_search(
            reply,
            "keynum",
            &[("keynumidx", keynumidx), ("firstkey", firstkey), ("keystep", keystep)],
        ),
    }
}

fn reply_search(reply: &mut Reply, kind: &str, parameters: &[(&str, i64)]) {
    reply_search_header(reply, kind, parameters.len());
    for (name, value) in parameters {
        reply.bulk_str(name);
        reply.int(*value);
    }
}

fn reply_search_header(reply: &mut Reply, kind: &str, parameters: usize) {
    reply.map(2);
    reply_text(reply, "type", Some(kind));
    reply.bulk_str("spec");
    reply.map(parameters);
}

/// One command as COMMAND DOCS shows it: a map of what is known, without its name.
pub fn reply_docs(reply: &mut Reply, spec: &CommandSpec) {
    let optional = [
        !spec.doc_flags.is_empty(),
        spec.deprecated_since.is_some(),
        spec.replaced_by.is_some(),
        !spec.args.is_empty(),
        !spec.subcommands.is_empty(),
    ];
    reply.map(4 + count(&optional));
    reply_text(reply, "summary", Some(spec.summary));
    reply_text(reply, "since", Some(spec.since));
    reply_text(reply, "group", Some(spec.group));
    reply_text(reply, "complexity", Some(spec.complexity));
    if !spec.doc_flags.is_empty() {
        reply.bulk_str("doc_flags");
        reply_names(reply, spec.doc_flags.names());
    }
    reply_text(reply, "deprecated_since", spec.deprecated_since);
    reply_text(reply, "replaced_by", spec.replaced_by);
    if !spec.args.is_empty() {
        reply.bulk_str("arguments");
        reply_args(reply, spec.args);
    }
    if !spec.subcommands.is_empty() {
        reply.bulk_str("subcommands");
        reply_command_docs(reply, spec.subcommands.iter());
    }
}

fn reply_named_docs(reply: &mut Reply, spec: &CommandSpec) {
    reply.bulk_str(spec.name);
    reply_docs(reply, spec);
}

fn reply_args(reply: &mut Reply, args: &[Arg]) {
    reply.array(args.len());
    for arg in args {
        // One of display text and inner arguments is always there.
        let optional = [
            arg.key_spec_index.is_some(),
            arg.token.is_some(),
            arg.since.is_some(),
            arg.deprecated_since.is_some(),
            !arg.flags.is_empty(),
        ];
        reply.map(3 + count(&optional));
        reply_text(reply, "name", Some(arg.name));
        reply_text(reply, "type", Some(arg.kind));
        if arg.args.is_empty() {
            reply_text(reply, "display_text", arg.display_text.or(Some(arg.name)));
        }
        if let Some(index) = arg.key_spec_index {
            reply.bulk_str("key_spec_index");
            reply.int(index.into());
        }
        reply_text(reply, "token", arg.token);
        reply_text(reply, "since", arg.since);
        reply_text(reply, "deprecated_since", arg.deprecated_since);
        if !arg.flags.is_empty() {
            reply.bulk_str("flags");
            reply_names(reply, arg.flags.names());
        }
        if !arg.args.is_empty() {
            reply.bulk_str("arguments");
            reply_args(reply, arg.args);
        }
    }
}

fn count(present: &[bool]) -> usize {
    present.iter().filter(|&&yes| yes).count()
}

/// A map entry, if there is a text.
fn reply_text(reply: &mut Reply, name: &str, text: Option<&str>) {
    if let Some(text) = text {
        reply.bulk_str(name);
        reply.bulk_str(text);
    }
}

/// A set of simple strings.
fn reply_names(reply: &mut Reply, names: impl Iterator<Item = &'static str> + Clone) {
    reply.set(names.clone().count());
    names.for_each(|name| reply.simple(name));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resp::reply::Protocol;
    use crate::spec::COMMANDS;

    fn written(protocol: Protocol, write: impl FnOnce(&mut Reply)) -> String {
        let mut reply = Reply::new(protocol);
        write(&mut reply);
        String::from_utf8(reply.as_bytes().to_vec()).unwrap()
    }

    fn find<'a>(specs: &'a [CommandSpec], name: &[u8]) -> Option<&'a CommandSpec> {
        specs.iter().find(|spec| spec.name.as_bytes() == name)
    }

    #[test]
    fn info_in_both_protocols() {
        let specs = COMMANDS;
        let info = |reply: &mut Reply| {
            reply_command_info(reply, &[b"get", b"nosuch"], |name| find(specs, name));
        };
        let resp3 = "*2\r\n*10\r\n$3\r\nget\r\n:2\r\n~2\r\n+readonly\r\n+fast\r\n:1\r\n:1\r\n:1\r\n\
            ~3\r\n+@read\r\n+@string\r\n+@fast\r\n~0\r\n\
            ~1\r\n%3\r\n$5\r\nflags\r\n~2\r\n+RO\r\n+access\r\n\
            $12\r\nbegin_search\r\n%2\r\n$4\r\ntype\r\n$5\r\nindex\r\n$4\r\nspec\r\n%1\r\n$5\r\nindex\r\n:1\r\n\
            $9\r\nfind_keys\r\n%2\r\n$4\r\ntype\r\n$5\r\nrange\r\n$4\r\nspec\r\n\
            %3\r\n$7\r\nlastkey\r\n:0\r\n$7\r\nkeystep\r\n:1\r\n$5\r\nlimit\r\n:0\r\n~0\r\n_\r\n";
        assert_eq!(written(Protocol::Resp3, info), resp3);
        let resp2 = resp3
            .replace("_\r\n", "$-1\r\n")
            .replace("%1\r\n", "*2\r\n")
            .replace("%2\r\n", "*4\r\n")
            .replace("%3\r\n", "*6\r\n")
            .replace('~', "*");
        assert_eq!(written(Protocol::Resp2, info), resp2);
    }

    #[test]
    fn docs_of_a_command() {
        let specs = COMMANDS;
        let spec = find(specs, b"slaveof").unwrap();
        let text = written(Protocol::Resp3, |reply| reply_docs(reply, spec));
        assert!(text.starts_with("%8\r\n$7\r\nsummary\r\n"), "{text}");
        assert!(text.contains("$9\r\ndoc_flags\r\n~1\r\n+deprecated\r\n"), "{text}");
        assert!(text.contains("$11\r\nreplaced_by\r\n$11\r\n`REPLICAOF`\r\n"), "{text}");
        let unknown = |reply: &mut Reply| {
            reply_command_docs_of(reply, &[b"nosuch"], |name| find(specs, name))
        };
        assert_eq!(written(Protocol::Resp2, unknown), "*0\r\n");
    }

    #[test]
    fn getkeys() {
        let specs = COMMANDS;
        let spec = find(specs, b"smove");
        let args: [&[u8]; 4] = [b"smove", b"a", b"b", b"c"];
        let keys = |flags: bool| {
            written(Protocol::Resp3, |reply| {
                reply_command_getkeys(reply, spec, &args, flags).unwrap();
            })
        };
        assert_eq!(keys(false), "*2\r\n$1\r\na\r\n$1\r\nb\r\n");
        assert_eq!(
            keys(true),
            "*2\r\n*2\r\n$1\r\na\r\n~3\r\n+RW\r\n+access\r\n+delete\r\n*2\r\n$1\r\nb\r\n~2\r\n+RW\r\n+insert\r\n"
        );
        let mut reply = Reply::new(Protocol::Resp2);
        let error = reply_command_getkeys(&mut reply, None, &args, false).unwrap_err();
        assert_eq!(error.to_string(), "ERR Invalid command specified");
        assert!(reply.is_empty());
    }

    #[test]
    fn list_filters() {
        let specs = COMMANDS;
        let list = |args: &[&[u8]]| {
            let filter = ListFilter::parse(args)?;
            Ok::<_, CommandError>(written(Protocol::Resp2, |reply| {
                reply_command_list(reply, specs.iter(), filter);
            }))
        };
        let all = specs.len() + specs.iter().map(|spec| spec.subcommands.len()).sum::<usize>();
        assert!(list(&[]).unwrap().starts_with(&format!("*{all}\r\n")));
        assert_eq!(list(&[b"filterby", b"module", b"x"]).unwrap(), "*0\r\n");
        assert_eq!(list(&[b"FILTERBY", b"ACLCAT", b"nosuch"]).unwrap(), "*0\r\n");
        assert!(list(&[b"FILTERBY", b"ACLCAT", b"HyperLogLog"]).unwrap().starts_with("*5\r\n"));
        let pattern = list(&[b"filterby", b"pattern", b"CONFIG|G*"]).unwrap();
        assert_eq!(pattern, "*1\r\n$10\r\nconfig|get\r\n");
        for wrong in [&[&b"filterby"[..], b"aclcat"][..], &[b"filterby", b"x", b"y"], &[b"x"]] {
            assert_eq!(list(wrong), Err(CommandError::SYNTAX));
        }
    }
}
