//! What the command line may have, as clap knows it: help, the version, completions for shells, and what a misspelt
//! directive may have been meant for.
//!
//! What options mean is read as Redis reads it ([`Config::from_args`](crate::server::config::Config::from_args)), which
//! no getopt does: values go on up to the next word that begins with `--`, a name and its value may be one word, and
//! the first value behind a name may begin with `--` itself. So clap sees a command line only where no server is to
//! start.

use crate::server::config::{ConfigError, DIRECTIVES, Directive, Flags, Kind, lookup};
use crate::server::{REDIS_VERSION, VERSION};
use crate::util::alloc;
use clap::builder::PossibleValuesParser;
use clap::error::{ContextKind, ContextValue};
use clap::{Arg, ArgAction, Command, ValueHint, value_parser};
use clap_complete::{Shell, generate};
use std::ffi::{OsStr, OsString};
use std::io::Write;

const USAGE: &str = "aeolis [FILE] [-] [--DIRECTIVE VALUE...]...\n       \
                     aeolis --check-config <FILE> [--DIRECTIVE VALUE...]...\n       \
                     aeolis --help | --version | --completions <SHELL>";

const EXAMPLES: &str = "Every directive can be given as an option and overrides the file:\n\n  \
                        aeolis /etc/redis/redis.conf --port 7777 --loglevel verbose\n  \
                        aeolis --replicaof \"127.0.0.1 6379\"";

/// Directives that are no single value of the configuration: name, value, what it is for.
const OTHERS: [(&str, &str, &str); 4] = [
    ("include", "FILE", "Reads another file at this place."),
    ("loadmodule", "FILE", "Loads a module; there are none for Aeolis."),
    ("rename-command", "NAME", "Gives a command another name, or none."),
    ("user", "NAME", "Makes a user, by the rules of ACL SETUSER."),
];

fn command() -> Command {
    let alone = |name: &'static str, short| {
        Arg::new(name).long(name).short(short).exclusive(true).action(ArgAction::SetTrue)
    };
    let others = OTHERS.iter().map(|&(name, value, help)| {
        Arg::new(name).long(name).value_name(value).help(help).num_args(0..).hide_short_help(true)
    });
    Command::new("aeolis")
        .about("A Redis-compatible server.")
        .override_usage(USAGE)
        .after_help(EXAMPLES)
        .disable_version_flag(true)
        .disable_help_flag(true)
        .arg(
            Arg::new("FILE")
                .value_hint(ValueHint::FilePath)
                .help("A redis.conf; '-' reads one from standard input"),
        )
        .arg(alone("help", 'h').help("Shows this; --help shows every directive"))
        .arg(alone("version", 'v').help("Shows the version"))
        .arg(
            Arg::new("check-config")
                .long("check-config")
                .value_name("FILE")
                .value_hint(ValueHint::FilePath)
                .conflicts_with("FILE")
                .help("Tells what is wrong with a configuration, all of it, and starts no server"),
        )
        .arg(
            Arg::new("completions")
                .long("completions")
                .value_name("SHELL")
                .value_parser(value_parser!(Shell))
                .exclusive(true)
                .help("Prints a script that completes arguments in a shell"),
        )
        .args(others)
        .args(DIRECTIVES.iter().filter(|d| !d.flags.contains(Flags::HIDDEN)).map(option))
}

/// A directive as an option.
fn option(directive: &'static Directive) -> Arg {
    let (value, hint) = match directive.name {
        "dir" => ("DIR", ValueHint::DirPath),
        name if name.ends_with("-dir") => ("DIR", ValueHint::DirPath),
        name if name.ends_with("file") => ("FILE", ValueHint::FilePath),
        _ => ("VALUE", ValueHint::Other),
    };
    let arg = Arg::new(directive.name)
        .long(directive.name)
        .value_name(value)
        .value_hint(hint)
        .num_args(0..)
        .help(directive.summary.trim())
        .help_heading(directive.section)
        .hide_short_help(true);
    let arg = match directive.alias {
        Some(alias) => arg.visible_alias(alias),
        None => arg,
    };
    match &directive.kind {
        Kind::Bool { .. } => arg.value_parser(["yes", "no"]),
        Kind::Enum { words, .. } => arg.value_parser(PossibleValuesParser::new(words())),
        _ => arg,
    }
}

/// Does what starts no server, if that is asked for: writes to `out`, and returns the exit code.
pub(super) fn without_server(args: &[OsString], out: &mut impl Write) -> Option<i32> {
    let is = |at: usize, names: &[&str]| {
        args.get(at).and_then(|arg| arg.to_str()).is_some_and(|arg| names.contains(&arg))
    };
    // Among others these are values, or directives that there are not, as in Redis.
    let asks = args.len() == 2 && is(1, &["-h", "--help", "-v", "--version", "--check-config"])
        || is(1, &["--completions"]);
    if !asks {
        return None;
    }
    let matches = match command().try_get_matches_from(args) {
        Ok(matches) => matches,
        Err(error) => {
            // It may have no terminal to go to.
            let _ = error.print();
            return Some(error.exit_code());
        }
    };
    // Nobody may be listening.
    let _ = if let Some(&shell) = matches.get_one::<Shell>("completions") {
        generate(shell, &mut command(), "aeolis", out);
        Ok(())
    } else if matches.get_flag("version") {
        // As Redis words it: test harnesses of client libraries take the first number for the server's version.
        writeln!(
            out,
            "Redis server v={REDIS_VERSION} sha=00000000:0 malloc={} bits={} build=aeolis-{VERSION}",
            alloc::NAME,
            usize::BITS
        )
    } else if args[1] == OsStr::new("-h") {
        writeln!(out, "{}", command().render_help())
    } else {
        writeln!(out, "{}", command().render_long_help())
    };
    Some(0)
}

/// What a line that names no directive may have been meant for, as a line for whoever wrote it.
pub(super) fn tip(error: &ConfigError) -> Option<String> {
    let ConfigError::Line { line, .. } = error else { return None };
    let name = line.split_whitespace().next()?.trim_matches('"').to_ascii_lowercase();
    if lookup(name.as_bytes()).is_some() {
        return None;
    }
    let unknown = command().try_get_matches_from(["aeolis", &format!("--{name}")]).err()?;
    let similar = match unknown.get(ContextKind::SuggestedArg)? {
        ContextValue::String(similar) => similar,
        ContextValue::Strings(several) => several.first()?,
        _ => return None,
    };
    let similar = similar.trim_start_matches("--");
    Some(format!("Did you mean '{similar}'?"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::config::Config;

    fn asked(args: &[&str]) -> Option<(i32, String)> {
        let args: Vec<OsString> =
            std::iter::once("aeolis").chain(args.iter().copied()).map(OsString::from).collect();
        let mut out = Vec::new();
        let code = without_server(&args, &mut out)?;
        Some((code, String::from_utf8(out).expect("text")))
    }

    #[test]
    fn help_and_completions_know_every_directive() {
        command().debug_assert();
        let (code, help) = asked(&["--help"]).expect("help");
        let shells = ["bash", "zsh", "fish"].map(|shell| {
            let (code, script) = asked(&["--completions", shell]).expect("a script");
            assert_eq!(code, 0);
            script
        });
        assert_eq!(code, 0);
        for directive in DIRECTIVES.iter().filter(|d| !d.flags.contains(Flags::HIDDEN)) {
            let name = directive.name;
            assert!(help.contains(&format!("--{name} ")), "{name} in the help");
            assert!(shells.iter().all(|script| script.contains(name)), "{name} in completions");
        }
        assert!(shells[1].contains("volatile-lru"), "values of a choice");
        let (_, short) = asked(&["-h"]).expect("help");
        assert!(short.contains("--completions <SHELL>") && !short.contains("--maxmemory"));
    }

    #[test]
    fn what_starts_a_server_is_not_for_clap() {
        for args in [&[][..], &["--port", "1"], &["--help", "x"], &["x.conf", "--version"], &["-"]]
        {
            assert_eq!(asked(args), None, "{args:?}");
        }
        let (code, version) = asked(&["-v"]).expect("the version");
        assert!(code == 0 && version.starts_with("Redis server v=7."), "{version}");
        assert_eq!(asked(&["--completions", "nosuchshell"]).expect("an error").0, 2);
        assert_eq!(asked(&["--completions"]).expect("an error").0, 2);
        assert_eq!(asked(&["--check-config"]).expect("an error").0, 2);
        assert_eq!(asked(&["--check-config", "x.conf"]), None);
    }

    #[test]
    fn a_misspelt_directive_is_guessed() {
        let tip_of = |words: &[&str]| {
            let words: Vec<Vec<u8>> = words.iter().map(|word| word.as_bytes().to_vec()).collect();
            let base = Config::default();
            tip(&Config::from_args(base, &words, &mut std::io::empty()).expect_err("an error"))
        };
        let meant = |name: &str| Some(format!("Did you mean '{name}'?"));
        assert_eq!(tip_of(&["--maxmemry", "1gb"]), meant("maxmemory"));
        assert_eq!(tip_of(&["--Apendonly yes"]), meant("appendonly"));
        assert_eq!(tip_of(&["--qqqqqqqqqq", "1"]), None);
        assert_eq!(tip_of(&["--port", "x"]), None, "the name is right");
    }
}
