//! What is made from the tables: two pages of the book, the example of a configuration file, and man pages.

use crate::{read, root};
use aeolis::cli::command_table;
use aeolis::server::config::{Config, DIRECTIVES, Flags, Kind};
use aeolis::spec::{COMMANDS, CommandSpec};
use std::collections::BTreeSet;
use std::env;
use std::fmt::Write;
use std::fs;

type Directive = aeolis::server::config::Directive;

/// What the package sets in the file that it installs.
const PACKAGED: [(&str, &str); 5] = [
    ("bind", "127.0.0.1 -::1"),
    ("pidfile", "/run/aeolis/aeolis.pid"),
    ("logfile", "/var/log/aeolis/aeolis.log"),
    ("supervised", "auto"),
    ("dir", "/var/lib/aeolis"),
];

/// A generated file and what makes it.
type Generated = (&'static str, fn() -> String);

const FILES: [Generated; 5] = [
    ("docs/directives.md", directives_page),
    ("docs/commands.md", commands_page),
    ("packaging/aeolis.conf", example_config),
    ("packaging/man/aeolis.1", manual_of_program),
    ("packaging/man/aeolis.conf.5", manual_of_config),
];

#[test]
fn generated_files_are_current() {
    for (name, make) in FILES {
        let path = root().join(name);
        let made = make();
        if env::var_os("AEOLIS_WRITE_MANUAL").is_some() {
            fs::write(&path, &made).expect("a writable file");
        }
        assert!(
            read(&path) == made,
            "{name} is not what the tables say: AEOLIS_WRITE_MANUAL=1 cargo test --test manual"
        );
    }
}

/// The example's values are the defaults, so that a line of it can be made active without looking it up.
#[test]
fn the_example_file_says_what_the_defaults_are() {
    let lines: Vec<String> = DIRECTIVES
        .iter()
        .filter_map(|d| Some(format!("{} {}", d.name, default_in_file(d)?)))
        .collect();
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("aeolis.conf");
    fs::write(&path, lines.join("\n")).expect("a writable file");
    let words = [path.into_os_string().into_encoded_bytes()];
    let base = Config::default();
    let startup = Config::from_args(base.clone(), &words, &mut std::io::empty())
        .unwrap_or_else(|error| panic!("{error}"));
    for directive in DIRECTIVES {
        assert_eq!(directive.value(&startup.config), directive.value(&base), "{}", directive.name);
    }
}

fn defaults() -> Config {
    Config { dir: ".".into(), ..Config::default() }
}

/// A directive's default as a file would say it; `None` where its absence is the default.
fn default_in_file(directive: &Directive) -> Option<String> {
    let value = String::from_utf8(directive.value(&defaults())).expect("defaults in UTF-8");
    match &directive.kind {
        Kind::Special { .. } if directive.name == "dir" => Some("./".into()),
        Kind::Special { .. } if value.is_empty() => None,
        Kind::Text { .. } if value.is_empty() || value.contains(' ') => {
            Some(format!("\"{value}\""))
        }
        _ => Some(value),
    }
}

/// What values a directive takes.
fn values(directive: &Directive) -> String {
    match &directive.kind {
        Kind::Bool { refusal: None, .. } => "yes, no".into(),
        Kind::Bool { refusal: Some(_), .. } => "no".into(),
        Kind::Number { min, max, .. } => {
            let open = *max >= i128::from(i32::MAX);
            if open { format!("from {min}") } else { format!("{min} to {max}") }
        }
        Kind::Enum { words, .. } => words().join(", "),
        Kind::Text { .. } => "a text".into(),
        Kind::Special { .. } => "arguments".into(),
    }
}

/// What else is to be known of a directive.
fn state(directive: &Directive) -> String {
    let flags = directive.flags;
    let mut notes = Vec::new();
    if flags.contains(Flags::NO_EFFECT) {
        notes.push("known, without effect");
    }
    if flags.contains(Flags::IMMUTABLE) {
        notes.push("at the start only");
    }
    if flags.contains(Flags::PROTECTED) {
        notes.push("protected");
    }
    if flags.contains(Flags::VALKEY) {
        notes.push("Valkey");
    }
    if flags.contains(Flags::LATER) {
        notes.push("of later versions");
    }
    notes.join("; ")
}

/// The same behind a sentence; empty if there is nothing.
fn state_in_parentheses(directive: &Directive) -> String {
    match state(directive).as_str() {
        "" => String::new(),
        state => format!(" ({state})"),
    }
}

fn sections() -> Vec<&'static str> {
    let mut sections: Vec<&str> = DIRECTIVES.iter().map(|directive| directive.section).collect();
    sections.dedup();
    sections
}

fn in_section(section: &str) -> impl Iterator<Item = &'static Directive> {
    DIRECTIVES.iter().filter(move |d| d.section == section && !d.flags.contains(Flags::HIDDEN))
}

fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}

fn directives_page() -> String {
    let idle = DIRECTIVES.iter().filter(|d| d.flags.contains(Flags::NO_EFFECT)).count();
    let mut page = format!(
        "# Every directive\n\n\
         Made from the server's own table: {} directives, {idle} of which are known and kept without having an effect. Any \
         of them can stand in the configuration file or on the command line (`--port 7777`), and be asked for with `CONFIG GET`. \
         Those that are not marked as *at the start only* can be changed with `CONFIG SET`; *protected* ones only if \
         `enable-protected-configs` says so. *Valkey*: Redis 7.2 does not have it; *of later versions*: Valkey 8.0 does not, either, and \
         `CONFIG GET` finds it by its whole name alone.\n",
        DIRECTIVES.len()
    );
    for section in sections() {
        let _ = write!(
            page,
            "\n## {section}\n\n| directive | default | values | what it is for | |\n| --- | --- | --- | --- | --- |\n"
        );
        for directive in in_section(section) {
            let alias = directive.alias.map(|alias| format!(", `{alias}`")).unwrap_or_default();
            let default =
                default_in_file(directive).map(|value| format!("`{value}`")).unwrap_or_default();
            let _ = writeln!(
                page,
                "| `{}`{alias} | {} | {} | {} | {} |",
                directive.name,
                cell(&default),
                cell(&values(directive)),
                cell(directive.summary.trim()),
                state(directive)
            );
        }
    }
    page
}

fn commands_page() -> String {
    let table = command_table();
    let names: BTreeSet<&str> = table.iter().map(|command| command.name).collect();
    let is_there = |spec: &CommandSpec| names.contains(spec.name);
    let all = || COMMANDS.iter().flat_map(CommandSpec::with_subcommands);
    let missing: Vec<&CommandSpec> = all().filter(|spec| !is_there(spec)).collect();
    let mut page = format!(
        "# Every command\n\n\
         Made from the server's own tables: it has {} commands and subcommands. *Since* is the version of Redis (or of Valkey) \
         that had the command first. `COMMAND DOCS` tells a client the same with all arguments.\n",
        all().count() - missing.len(),
    );
    let mut groups: Vec<&str> = COMMANDS.iter().map(|spec| spec.group).collect();
    groups.sort_unstable();
    groups.dedup();
    for group in groups {
        let _ = write!(
            page,
            "\n## {group}\n\n| command | since | what it does | complexity |\n| --- | --- | --- | --- |\n"
        );
        let mut specs: Vec<&CommandSpec> =
            all().filter(|spec| spec.group == group && is_there(spec)).collect();
        specs.sort_by_key(|spec| spec.name);
        for spec in specs.into_iter().filter(|spec| spec.subcommands.is_empty()) {
            let name = spec.name.replace('|', " ").to_uppercase();
            let _ = writeln!(
                page,
                "| `{name}` | {} | {} | {} |",
                spec.since,
                cell(spec.summary),
                cell(spec.complexity)
            );
        }
    }
    if !missing.is_empty() {
        page.push_str(
            "\n## Known by name only\n\nRules of ACLs may name them, and no client can call them:",
        );
        for spec in missing {
            let _ = write!(page, " `{}`", spec.name.replace('|', " ").to_uppercase());
        }
        page.push_str(".\n");
    }
    page
}

fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = vec![String::new()];
    for word in text.split_whitespace() {
        let line = lines.last_mut().expect("a line");
        if !line.is_empty() && line.len() + word.len() >= width {
            lines.push(word.into());
        } else {
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        }
    }
    lines
}

fn example_config() -> String {
    let mut text = String::from(
        "# Configuration of Aeolis: every directive with its default, and what the package sets.\n\
         #\n\
         # A line that begins with # is a comment. Take the # away from a directive to change it. Sizes may be written with\n\
         # a unit: 1k is 1,000 bytes, 1kb 1,024, and so on up to gb. A file of Redis or Valkey can be used as it is.\n\
         #\n\
         # aeolis /etc/aeolis/aeolis.conf --port 7777   options on the command line come after the file, and win.\n\
         # include /etc/aeolis/local.conf              reads another file at this place.\n",
    );
    for section in sections() {
        let _ = write!(text, "\n{0}\n# {1}\n{0}\n", "#".repeat(80), section);
        for directive in in_section(section) {
            text.push('\n');
            let notes = state_in_parentheses(directive);
            let values = match &directive.kind {
                Kind::Enum { words, .. } => format!(" One of {}.", words().join(", ")),
                _ => String::new(),
            };
            for line in wrapped(&format!("{}{values}{notes}", directive.summary.trim()), 76) {
                let _ = writeln!(text, "# {line}");
            }
            let packaged = PACKAGED.iter().find(|(name, _)| *name == directive.name);
            let _ = match (packaged, default_in_file(directive)) {
                (Some((name, value)), _) => writeln!(text, "{name} {value}"),
                (None, Some(value)) => writeln!(text, "# {} {value}", directive.name),
                (None, None) => writeln!(text, "# {} ...", directive.name),
            };
        }
    }
    text
}

/// A text of a man page: what roff would take for its own is escaped.
fn roff(text: &str) -> String {
    let escaped = text.replace('\\', "\\e").replace('-', "\\-").replace('\'', "\\(aq");
    if escaped.starts_with('.') { format!("\\&{escaped}") } else { escaped }
}

fn manual_of_program() -> String {
    format!(
        ".TH AEOLIS 1 \"\" \"Aeolis {}\" \"User commands\"\n\
         .SH NAME\n\
         aeolis \\- a Redis\\-compatible server\n\
         .SH SYNOPSIS\n\
         .B aeolis\n[\\fIFILE\\fR] [\\-] [\\fB\\-\\-\\fIDIRECTIVE VALUE\\fR...]...\n.br\n\
         .B aeolis\n\\fB\\-\\-check\\-config\\fR \\fIFILE\\fR [\\fB\\-\\-\\fIDIRECTIVE VALUE\\fR...]...\n.br\n\
         .B aeolis\n\\fB\\-\\-help\\fR | \\fB\\-\\-version\\fR | \\fB\\-\\-completions\\fR \\fISHELL\\fR\n.br\n\
         .B aeolis\\-check\\-rdb\n\\fIFILE\\fR\n.br\n\
         .B aeolis\\-check\\-aof\n[\\fB\\-\\-fix\\fR | \\fB\\-\\-truncate\\-to\\-timestamp\\fR \\fISECONDS\\fR] \\fIFILE\\fR\n\
         .SH DESCRIPTION\n\
         Aeolis keeps data structures in memory and serves them over the protocol of Redis. Clients, replicas and\n\
         primaries of Redis and Valkey talk to it as to one of their own; it reads their configuration, snapshots and\n\
         append\\-only files.\n.PP\n\
         \\fIFILE\\fR is a configuration as\n.BR aeolis.conf (5)\ndescribes it, \\fB\\-\\fR reads one from standard input, and every\n\
         directive can be an option, which wins over the file. \\fB\\-\\-help\\fR lists them all.\n.PP\n\
         \\fB\\-\\-check\\-config\\fR starts no server, but tells all that one would complain about if it were started with the\n\
         rest of the line, each fault with its line, and which directives have no effect. It exits with 1 if there is a\n\
         fault, else with 0.\n.PP\n\
         \\fB\\-\\-completions\\fR prints a script for bash, zsh, fish, elvish or powershell that completes arguments.\n.PP\n\
         Called by the name \\fBvalkey\\-server\\fR it does as Valkey does where the two differ.\n\
         .PP\n\
         \\fBaeolis\\-check\\-rdb\\fR and \\fBaeolis\\-check\\-aof\\fR, other names of the same program, read a snapshot or an append\\-only\n\
         file to its end and say what is wrong with it. \\fB\\-\\-fix\\fR cuts off the damaged end of an append\\-only file,\n\
         \\fB\\-\\-truncate\\-to\\-timestamp\\fR what was written to it later.\n\
         .SH SIGNALS\n\
         SIGTERM and SIGINT save, if the configuration says so, and end the server.\n\
         .SH FILES\n\
         As the package has it:\n\
         .TP\n\
         .I /etc/aeolis/aeolis.conf\n\
         Configuration of the service.\n\
         .TP\n\
         .I /var/lib/aeolis\n\
         Data.\n\
         .TP\n\
         .I /var/log/aeolis\n\
         Log.\n\
         .SH EXAMPLES\n\
         .nf\naeolis /etc/aeolis/aeolis.conf \\-\\-port 7777\naeolis \\-\\-port 6380 \\-\\-replicaof \"127.0.0.1 6379\"\n.fi\n\
         .SH SEE ALSO\n\
         .BR aeolis.conf (5),\n.BR redis\\-cli (1)\n",
        env!("CARGO_PKG_VERSION")
    )
}

fn manual_of_config() -> String {
    let mut page = format!(
        ".TH AEOLIS.CONF 5 \"\" \"Aeolis {}\" \"File formats\"\n\
         .SH NAME\naeolis.conf \\- configuration of aeolis\n\
         .SH DESCRIPTION\n\
         A line has the name of a directive and its arguments, in quotes where they hold blanks. Lines that begin with # are\n\
         comments. \\fBinclude\\fR \\fIFILE\\fR reads another file. Files of Redis 7.2 and Valkey 8.0 can be used as they are.\n",
        env!("CARGO_PKG_VERSION")
    );
    for section in sections() {
        let _ = writeln!(page, ".SH {}", roff(&section.to_uppercase()));
        for directive in in_section(section) {
            let default =
                default_in_file(directive).map(|value| format!(" \\fI{}\\fR", roff(&value)));
            let _ = writeln!(
                page,
                ".TP\n\\fB{}\\fR{}",
                roff(directive.name),
                default.unwrap_or_default()
            );
            let notes = state_in_parentheses(directive);
            let text =
                format!("{} Values: {}.{notes}", directive.summary.trim(), values(directive));
            let _ = writeln!(page, "{}", roff(&text));
        }
    }
    page.push_str(".SH SEE ALSO\n.BR aeolis (1)\n");
    page
}
