//! Turns the texts of `src/spec/commands` into the Rust tables that [`super::COMMANDS`] holds. The build script runs
//! this, so that nothing is left to be read at start-up.
//!
//! A text is a group of commands, one a paragraph. Lines that are empty or begin with `#` don't count; what belongs to
//! a line stands below it, two spaces further in. A subcommand (`config|get`) follows its container.
//!
//! ```text
//! zunion
//!   summary: Computes the union of several sorted sets.
//!   complexity: O(N)+O(M*log M): N members in all sets, M in the result
//!   since: 6.2.0
//!   arity: -3
//!   flags: readonly movablekeys
//!   acl: read sortedset slow
//!   keys: RO access, index 1, keynum 0 1 1
//!   args:
//!     numkeys: integer
//!     key: key, multiple
//!     withscores: pure-token WITHSCORES, optional
//! ```
//!
//! * The fields are those of [`CommandSpec`](super::CommandSpec), `acl` its categories. Flags, categories and tips
//!   stand in a row.
//! * `keys` has a line for each [`KeySpec`](super::KeySpec): its flags; where to begin (`index POS`, `keyword WORD
//!   STARTFROM` or `unknown`); how to go on (`range LASTKEY KEYSTEP LIMIT`, `keynum KEYNUMIDX FIRSTKEY KEYSTEP` or
//!   `unknown`); notes.
//! * `element` is the position of what a command looks for in the collection under its key, if nothing optional is
//!   before it.
//! * `key_finder` and `channels` name a [`KeyFinder`](super::KeyFinder) and [`Channels`](super::Channels).
//! * `args` has a line for each [`Arg`](super::Arg): its name, its type and its token (`""` is the empty one); then
//!   what applies of `spec N` (which of the `keys` it is; a `key` is the first unless it says so), `shown as TEXT`,
//!   `optional`, `multiple`, `multiple_token`, `since VERSION`, `deprecated since VERSION`.

use super::flags::{AclCategories, ArgFlags, CommandFlags, DocFlags, KeySpecFlags};
use bitflags::Flags;
use std::fmt::{Display, LowerHex};
use std::iter::Peekable;

/// Where a text is wrong, and how.
#[derive(Debug, PartialEq, Eq)]
pub struct Fault {
    /// Counted from 1.
    pub line: usize,
    pub what: String,
}

type Result<T> = std::result::Result<T, Fault>;

/// What a command may say of itself; only `keys` more than once.
const FIELDS: [&str; 15] = [
    "summary",
    "complexity",
    "since",
    "doc_flags",
    "deprecated_since",
    "replaced_by",
    "arity",
    "flags",
    "acl",
    "tips",
    "keys",
    "element",
    "key_finder",
    "channels",
    "args",
];

/// Names of key finders, and Rust's.
const KEY_FINDERS: [(&str, &str); 5] = [
    ("bitfield", "Bitfield"),
    ("migrate", "Migrate"),
    ("set", "Set"),
    ("sort", "Sort"),
    ("sort_ro", "SortRo"),
];

/// Names of ways to use channels, and Rust's.
const CHANNELS: [(&str, &str); 3] = [("first", "First"), ("all", "All"), ("patterns", "Patterns")];

const ARG_TYPES: [&str; 9] =
    ["string", "integer", "double", "key", "pattern", "unix-time", "pure-token", "oneof", "block"];

/// The commands of a group as elements of an array of `CommandSpec`s: Rust expressions, with a comma behind each.
pub fn commands(group: &str, text: &str) -> Result<String> {
    let lines = text.lines().enumerate().filter_map(|(at, line)| Line::new(at + 1, line));
    let mut paragraphs = outline(&mut lines.peekable(), 0)?.into_iter().peekable();
    let mut out = String::new();
    while let Some(command) = paragraphs.next() {
        let of_command = format!("{}|", command.line.name);
        let is_sub = |next: &Item| next.line.name.starts_with(&of_command);
        let mut subcommands = String::new();
        while let Some(sub) = paragraphs.next_if(is_sub) {
            subcommands += &command_spec(group, &sub, "")?;
        }
        if command.line.name.contains('|') {
            return command.line.fault("a subcommand has to follow its container");
        }
        out += &command_spec(group, &command, &subcommands)?;
    }
    Ok(out)
}

/// A line that counts: `name`, or `name: value`.
struct Line<'a> {
    number: usize,
    indent: usize,
    name: &'a str,
    value: &'a str,
}

/// A line with the lines that belong to it.
struct Item<'a> {
    line: Line<'a>,
    below: Vec<Item<'a>>,
}

/// The lines from `indent` on, up to one that stands further out.
fn outline<'a>(
    lines: &mut Peekable<impl Iterator<Item = Line<'a>>>,
    indent: usize,
) -> Result<Vec<Item<'a>>> {
    let mut items = Vec::new();
    while let Some(line) = lines.next_if(|line| line.indent >= indent) {
        if line.indent > indent {
            return line.fault(format_args!("indented by {}, not {indent}", line.indent));
        }
        items.push(Item { line, below: outline(lines, indent + 2)? });
    }
    Ok(items)
}

impl<'a> Line<'a> {
    fn new(number: usize, line: &'a str) -> Option<Line<'a>> {
        let text = line.trim_start();
        if text.is_empty() || text.starts_with('#') {
            return None;
        }
        let (name, value) = text.split_once(':').unwrap_or((text, ""));
        Some(Line { number, indent: line.len() - text.len(), name, value: value.trim() })
    }

    fn fault<T>(&self, what: impl Display) -> Result<T> {
        Err(Fault { line: self.number, what: what.to_string() })
    }

    /// `text` as a number.
    fn number(&self, text: &str) -> Result<i64> {
        text.parse().or_else(|_| self.fault(format_args!("{text:?} is no number")))
    }

    /// `names` as a set of flags, which stand in the order that replies show them in.
    fn flags<F, N>(
        &self,
        names: &str,
        named: fn(&[u8]) -> Option<F>,
        names_of: impl Fn(F) -> N,
    ) -> Result<String>
    where
        F: Flags<Bits: LowerHex>,
        N: Iterator<Item = &'static str>,
    {
        let mut set = F::empty();
        for name in names.split_whitespace() {
            match named(name.as_bytes()) {
                Some(flag) => set.insert(flag),
                None => return self.fault(format_args!("no flag is called {name:?}")),
            }
        }
        let bits = set.bits();
        let in_order = names_of(set).collect::<Vec<_>>().join(" ");
        if names != in_order {
            return self.fault(format_args!("in order, the flags are {in_order:?}"));
        }
        Ok(format!("from_bits_retain({bits:#x})"))
    }
}

impl<'a> Item<'a> {
    /// The fields of this name.
    fn fields(&self, name: &str) -> impl Iterator<Item = &Item<'a>> {
        self.below.iter().filter(move |field| field.line.name == name)
    }

    /// The field of this name.
    fn field(&self, name: &str) -> Option<&Item<'a>> {
        self.fields(name).next()
    }

    /// A field's text.
    fn optional(&self, name: &str) -> Option<&'a str> {
        self.field(name).map(|field| field.line.value)
    }

    /// A field that must be there, and say something.
    fn required(&self, name: &str) -> Result<&Line<'a>> {
        let found = self.field(name).filter(|field| !field.line.value.is_empty());
        match found {
            Some(field) => Ok(&field.line),
            None => self.line.fault(format_args!("{name} is missing")),
        }
    }

    /// A field that is a set of flags; the empty set if it is missing.
    fn flags<F, N>(
        &self,
        name: &str,
        named: fn(&[u8]) -> Option<F>,
        names_of: impl Fn(F) -> N,
    ) -> Result<String>
    where
        F: Flags<Bits: LowerHex>,
        N: Iterator<Item = &'static str>,
    {
        match self.field(name) {
            Some(field) => field.line.flags(field.line.value, named, names_of),
            None => self.line.flags("", named, names_of),
        }
    }

    /// A field that is one of these words, or missing: the expression of a variant of `choice`.
    fn choice(&self, name: &str, choice: &str, words: &[(&str, &str)]) -> Result<String> {
        let Some(field) = self.field(name) else { return Ok("None".to_string()) };
        match words.iter().find(|(word, _)| *word == field.line.value) {
            Some((_, variant)) => Ok(format!("Some({choice}::{variant})")),
            None => field.line.fault(format_args!("there is no {name} {:?}", field.line.value)),
        }
    }

    fn check_fields(&self) -> Result<()> {
        for (at, field) in self.below.iter().enumerate() {
            let name = field.line.name;
            let is_again = self.below[..at].iter().any(|before| before.line.name == name);
            if !FIELDS.contains(&name) {
                return field.line.fault(format_args!("no field is called {name:?}"));
            } else if is_again && name != "keys" {
                return field.line.fault(format_args!("{name} is here twice"));
            } else if name != "args"
                && let Some(below) = field.below.first()
            {
                return below.line.fault(format_args!("nothing can stand below {name}"));
            }
        }
        Ok(())
    }
}

fn command_spec(group: &str, command: &Item<'_>, subcommands: &str) -> Result<String> {
    command.check_fields()?;
    let name = command.line.name;
    let required = |name| Ok(command.required(name)?.value);
    let (summary, complexity) = (required("summary")?, required("complexity")?);
    let since = required("since")?;
    let arity = command.required("arity")?;
    let arity = arity.number(arity.value)?;
    let flags = command.flags("flags", CommandFlags::named, CommandFlags::names)?;
    let acl = command.flags("acl", AclCategories::named, AclCategories::names)?;
    let doc_flags = command.flags("doc_flags", DocFlags::named, DocFlags::names)?;
    let deprecated_since = command.optional("deprecated_since");
    let replaced_by = command.optional("replaced_by");
    let tips: Vec<&str> = command.optional("tips").unwrap_or("").split_whitespace().collect();
    let keys = command.fields("keys").map(key_spec).collect::<Result<Vec<_>>>()?;
    let (first_key, last_key, step) = key_range(&keys);
    let key_specs: String = keys.into_iter().map(|key| key.expression).collect();
    let element = match command.field("element") {
        Some(field) => field.line.number(field.line.value)?,
        None => 0,
    };
    let key_finder = command.choice("key_finder", "KeyFinder", &KEY_FINDERS)?;
    let channels = command.choice("channels", "Channels", &CHANNELS)?;
    let args = args(command.fields("args").flat_map(|args| &args.below))?;
    Ok(format!(
        "CommandSpec {{ name: {name:?}, arity: {arity}, flags: CommandFlags::{flags}, \
         acl_categories: AclCategories::{acl}, first_key: {first_key}, last_key: {last_key}, step: {step}, \
         key_specs: &[{key_specs}], element: {element}, key_finder: {key_finder}, channels: {channels}, tips: &{tips:?}, since: {since:?}, group: {group:?}, \
         complexity: {complexity:?}, summary: {summary:?}, doc_flags: DocFlags::{doc_flags}, \
         deprecated_since: {deprecated_since:?}, replaced_by: {replaced_by:?}, args: &[{args}], \
         subcommands: &[{subcommands}] }},\n"
    ))
}

/// A line of `keys`.
struct KeyLine {
    expression: String,
    /// First and last key and step, if the keys stand at fixed places.
    range: Option<(i64, i64, i64)>,
}

fn key_spec(field: &Item<'_>) -> Result<KeyLine> {
    let line = &field.line;
    let mut parts = line.value.splitn(4, ", ");
    let mut part = || parts.next().unwrap_or("");
    let flags = line.flags(part(), KeySpecFlags::named, KeySpecFlags::names)?;
    let (begin, find) = (part(), part());
    let notes = parts.next();

    let mut index = None;
    let begin = match begin.split(' ').collect::<Vec<_>>()[..] {
        ["unknown"] => "Unknown".to_string(),
        ["index", pos] => {
            index = Some(line.number(pos)?);
            format!("Index({pos})")
        }
        ["keyword", keyword, startfrom] => {
            let startfrom = line.number(startfrom)?;
            format!("Keyword {{ keyword: {keyword:?}, startfrom: {startfrom} }}")
        }
        _ => return line.fault(format_args!("{begin:?} is no place to begin at")),
    };
    let mut range = None;
    let find = match find.split(' ').collect::<Vec<_>>()[..] {
        ["unknown"] => "Unknown".to_string(),
        ["range", last, step, limit] => {
            let (last, step, limit) = (line.number(last)?, line.number(step)?, line.number(limit)?);
            range = index.map(|first| (first, if last < 0 { last } else { first + last }, step));
            format!("Range {{ lastkey: {last}, keystep: {step}, limit: {limit} }}")
        }
        ["keynum", at, first, step] => {
            let (at, first, step) = (line.number(at)?, line.number(first)?, line.number(step)?);
            format!("Keynum {{ keynumidx: {at}, firstkey: {first}, keystep: {step} }}")
        }
        _ => return line.fault(format_args!("{find:?} is no way to find keys")),
    };
    let expression = format!(
        "KeySpec {{ flags: KeySpecFlags::{flags}, begin: BeginSearch::{begin}, find: FindKeys::{find}, \
         notes: {notes:?} }},"
    );
    Ok(KeyLine { expression, range })
}

/// First and last key and step, as clients know them that have not heard of key specs: of the keys at fixed places,
/// up to a gap.
fn key_range(keys: &[KeyLine]) -> (i64, i64, i64) {
    let mut whole = (0, 0, 0);
    for range in keys.iter().map_while(|key| key.range) {
        whole = match whole {
            (0, 0, 0) => range,
            (first, last, step) if (last + 1, step) == (range.0, range.2) => (first, range.1, step),
            _ => break,
        };
    }
    whole
}

fn args<'a, 'b: 'a>(items: impl IntoIterator<Item = &'a Item<'b>>) -> Result<String> {
    items.into_iter().map(arg).collect()
}

fn arg(item: &Item<'_>) -> Result<String> {
    let (line, name) = (&item.line, item.line.name);
    let mut attributes = line.value.split(", ");
    let kind = attributes.next().unwrap_or("");
    let (kind, token) = kind.split_once(' ').map_or((kind, None), |(k, token)| (k, Some(token)));
    if !ARG_TYPES.contains(&kind) {
        return line.fault(format_args!("{kind:?} is no type of argument"));
    }
    let token = token.map(|token| if token == "\"\"" { "" } else { token });
    let mut key_spec_index = (kind == "key").then_some(0);
    let (mut display_text, mut since, mut deprecated_since) = (None, None, None);
    let mut flags = Vec::new();
    for attribute in attributes {
        if let Some(index) = attribute.strip_prefix("spec ") {
            key_spec_index = Some(line.number(index)?);
        } else if let Some(text) = attribute.strip_prefix("shown as ") {
            display_text = Some(text);
        } else if let Some(version) = attribute.strip_prefix("since ") {
            since = Some(version);
        } else if let Some(version) = attribute.strip_prefix("deprecated since ") {
            deprecated_since = Some(version);
        } else {
            flags.push(attribute);
        }
    }
    let flags = line.flags(&flags.join(" "), ArgFlags::named, ArgFlags::names)?;
    let args = args(&item.below)?;
    Ok(format!(
        "Arg {{ name: {name:?}, kind: {kind:?}, display_text: {display_text:?}, \
         key_spec_index: {key_spec_index:?}, token: {token:?}, since: {since:?}, \
         deprecated_since: {deprecated_since:?}, flags: ArgFlags::{flags}, args: &[{args}] }},"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOUND: &str = "\
# A container, and its subcommand.

config
  summary: Configures.
  complexity: O(1)
  since: 2.0.0
  arity: -2
  acl: slow

config|get
  summary: Reads \"directives\".
  complexity: O(1)
  since: 2.0.0
  arity: -3
  flags: write fast
  acl: read fast
  keys: RW access, index 1, range 0 1 0
  keys: OW update, index 2, range -1 1 0, Notes, with a comma
  args:
    what: oneof, optional
      all: pure-token \"\", since 7.0.0
      key: key PATTERN, spec 1, multiple
";

    #[test]
    fn a_command_becomes_an_expression() {
        let code = commands("server", SOUND).unwrap();
        for part in [
            "name: \"config\", arity: -2",
            "first_key: 0, last_key: 0, step: 0, key_specs: &[]",
            "subcommands: &[CommandSpec { name: \"config|get\"",
            "summary: \"Reads \\\"directives\\\".\"",
            "flags: CommandFlags::from_bits_retain(0x2001)",
            "first_key: 1, last_key: -1, step: 1",
            "begin: BeginSearch::Index(2), find: FindKeys::Range { lastkey: -1, keystep: 1, limit: 0 }, \
             notes: Some(\"Notes, with a comma\")",
            "kind: \"pure-token\", display_text: None, key_spec_index: None, token: Some(\"\"), since: Some(\"7.0.0\")",
            "key_spec_index: Some(1), token: Some(\"PATTERN\")",
        ] {
            assert!(code.contains(part), "{part} is not in {code}");
        }
    }

    #[test]
    fn what_is_wrong_is_told_with_its_line() {
        // A line of the text above, what stands there instead, and what is said of it.
        let table = [
            ("  since: 2.0.0", "", 3, "since is missing"),
            ("  acl: slow", "  acl: fast slow nonsense", 8, "no flag is called \"nonsense\""),
            (
                "  flags: write fast",
                "  flags: fast write",
                15,
                "in order, the flags are \"write fast\"",
            ),
            ("  arity: -2", "  arity: some", 7, "\"some\" is no number"),
            ("  arity: -2", "  rarity: -2", 7, "no field is called \"rarity\""),
            ("  acl: slow", "  acl: slow\n  acl: slow", 9, "acl is here twice"),
            ("  acl: slow", "  acl: slow\n    fast", 9, "nothing can stand below acl"),
            ("  acl: slow", "   acl: slow", 8, "indented by 3, not 2"),
            ("config|get", "object|get", 10, "a subcommand has to follow its container"),
            ("index 1,", "indices 1,", 17, "\"indices 1\" is no place to begin at"),
            ("range 0 1 0", "range 0 1", 17, "\"range 0 1\" is no way to find keys"),
            ("oneof,", "one of,", 20, "\"one\" is no type of argument"),
            ("  acl: slow", "  acl: slow\n  channels: some", 9, "there is no channels \"some\""),
            ("spec 1", "spec x", 22, "\"x\" is no number"),
        ];
        for (from, to, line, what) in table {
            let fault = commands("server", &SOUND.replacen(from, to, 1)).unwrap_err();
            assert_eq!(fault, Fault { line, what: what.to_string() });
        }
    }
}
