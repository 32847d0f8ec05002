//! The command line: `[FILE] [-] [--directive value …]`.
//!
//! As in Redis, options are turned into lines that follow those of the file and of standard input, so that the last
//! one wins and every rule of a file holds for them too: `--port 1 --port 2` is port 2, and `--save 1 2` adds a
//! save point to those of the file.

use std::ffi::OsStr;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::directives::Config;
use super::error::{ConfigError, Origin};
use super::parse::{Reading, Source, read};
use crate::util::args::{quote, split_args};
use crate::util::io_reason;

/// The configuration with which a server starts.
#[derive(Debug, Clone, PartialEq)]
pub struct Startup {
    /// The configuration.
    pub config: Config,
    /// Lines to log as warnings.
    pub log: Vec<String>,
    /// Absolute path of the configuration file, if there is one.
    pub config_file: Option<PathBuf>,
}

/// What the arguments ask for.
#[derive(Debug, Default, PartialEq, Eq)]
struct Options {
    file: Option<Vec<u8>>,
    from_stdin: bool,
    /// Lines of configuration.
    text: Vec<u8>,
}

/// Faults of which [`Config::check_args`] tells.
const MAX_FAULTS: usize = 100;

impl Config {
    /// Reads the configuration that a program's arguments (without its name) ask for, over the defaults of `base`.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn from_args(
        base: Self,
        args: &[Vec<u8>],
        stdin: &mut dyn Read,
    ) -> Result<Startup, ConfigError> {
        let options = parse_options(args);
        let config_file = options.path(&base);
        let sources = options.sources(config_file.as_deref(), stdin)?;
        let (config, log) = Self::read(base, &sources, 1).without_fault()?;
        Ok(Startup { config, log, config_file })
    }

    /// Reads the same, and goes on behind what is wrong, but for an end of it.
    ///
    /// # Errors
    /// If a source can't be read.
    pub fn check_args(
        base: Self,
        args: &[Vec<u8>],
        stdin: &mut dyn Read,
    ) -> Result<Reading, ConfigError> {
        let options = parse_options(args);
        let sources = options.sources(options.path(&base).as_deref(), stdin)?;
        Ok(Self::read(base, &sources, MAX_FAULTS))
    }
}

impl Options {
    /// The configuration file's path.
    fn path(&self, base: &Config) -> Option<PathBuf> {
        self.file.as_ref().map(|file| base.dir.join(OsStr::from_bytes(file)))
    }

    /// What is to be read: the file, standard input, the options.
    fn sources(
        &self,
        file: Option<&Path>,
        stdin: &mut dyn Read,
    ) -> Result<Vec<Source>, ConfigError> {
        let mut sources = file.map_or(Ok(Vec::new()), read)?;
        if self.from_stdin {
            let mut text = Vec::new();
            stdin.read_to_end(&mut text).map_err(|error| ConfigError::Unreadable {
                path: "-".into(),
                reason: io_reason(&error),
            })?;
            sources.push(Source { origin: Origin::StandardInput, text });
        }
        // What comes before may not end with a line's end.
        let text = [b"\n", &self.text[..]].concat();
        sources.push(Source { origin: Origin::CommandLine, text });
        Ok(sources)
    }
}

fn parse_options(args: &[Vec<u8>]) -> Options {
    let mut options = Options::default();
    let mut rest = args;
    if let [first, others @ ..] = args
        && !first.starts_with(b"-")
    {
        options.file = Some(first.clone());
        rest = others;
    }
    // The first argument after a lone option name is its value even if it starts with `--`.
    let mut name_waits = false;
    for (index, arg) in rest.iter().enumerate() {
        let position = args.len() - rest.len() + index;
        let next = rest.get(index + 1);
        if arg == b"-" && (position == 0 || next.is_none()) {
            options.from_stdin = true;
            continue;
        }
        let Some(line) = arg.strip_prefix(b"--").filter(|_| !name_waits) else {
            options.text.extend(quote(arg));
            options.text.push(b' ');
            name_waits = false;
            continue;
        };
        if !options.text.is_empty() {
            options.text.push(b'\n');
        }
        options.text.extend(line);
        options.text.push(b' ');
        // `--port 6380` may also come as one argument.
        name_waits = split_args(arg).is_some_and(|words| words.len() == 1);
        let no_value = next.is_none_or(|next| next.starts_with(b"--"));
        if name_waits && no_value && line.eq_ignore_ascii_case(b"save") {
            // Programs that build the command line from an empty list leave `--save` without a value.
            options.text.extend(b"\"\"");
            name_waits = false;
        }
    }
    options
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(args: &[&str]) -> Options {
        parse_options(&args.iter().map(|arg| arg.as_bytes().to_vec()).collect::<Vec<_>>())
    }

    fn start(args: &[&str]) -> Result<Startup, String> {
        let args: Vec<_> = args.iter().map(|arg| arg.as_bytes().to_vec()).collect();
        let mut stdin = &b"port 7\nmaxclients 9"[..];
        Config::from_args(Config::default(), &args, &mut stdin).map_err(|error| error.to_string())
    }

    #[test]
    fn options_become_lines() {
        let table: [(&[&str], &str); 11] = [
            (&["--port", "1", "--port", "2"], "port \"1\" \nport \"2\" "),
            (&["--port", "--loglevel", "verbose"], "port \"--loglevel\" \"verbose\" "),
            (&["--port 6380", "--bind", "a b"], "port 6380 \nbind \"a b\" "),
            (&["--save", "--loglevel", "verbose"], "save \"\"\nloglevel \"verbose\" "),
            (&["--loglevel", "verbose", "--save"], "loglevel \"verbose\" \nsave \"\""),
            (&["--save", ""], "save \"\" "),
            (&["--save", "1", "2", "--save", "3", "4"], "save \"1\" \"2\" \nsave \"3\" \"4\" "),
            (
                &["--proc-title-template", "--save", "--save", ""],
                "proc-title-template \"--save\" \nsave \"\" ",
            ),
            (
                &["x.conf", "loglevel", "verbose", "--maxmemory '7mb'"],
                "\"loglevel\" \"verbose\" \nmaxmemory '7mb' ",
            ),
            (&["--replicaof", "h 1"], "replicaof \"h 1\" "),
            (&["--port", "-", "1"], "port \"-\" \"1\" "),
        ];
        for (args, text) in table {
            assert_eq!(String::from_utf8(options(args).text).unwrap(), text, "{args:?}");
        }
        assert_eq!(options(&["x.conf", "-"]).file, Some(b"x.conf".to_vec()));
        assert!(options(&["x.conf", "-"]).from_stdin);
        assert!(options(&["-", "--port", "1"]).from_stdin);
        assert!(!options(&["x.conf", "-", "--port", "1"]).from_stdin);
    }

    #[test]
    fn wrong_options_are_shown_as_lines() {
        let table: [(&[&str], &str, &str); 9] = [
            (&["--invalid"], "invalid", "Bad directive or wrong number of arguments"),
            (&["--port"], "port", "wrong number of arguments"),
            (&["--port", "6379", "6380"], r#"port "6379" "6380""#, "wrong number of arguments"),
            (
                &["--port", "--loglevel", "verbose"],
                r#"port "--loglevel" "verbose""#,
                "wrong number of arguments",
            ),
            (
                &["--port", "--bla", "--loglevel", "verbose"],
                r#"port "--bla""#,
                "argument couldn't be parsed into an integer",
            ),
            (
                &["--shutdown-on-sigint", "now force", "--shutdown-on-sigterm"],
                "shutdown-on-sigterm",
                "argument(s) must be one of the following: default, save, nosave, now, force",
            ),
            (
                &["--replicaof", "127.0.0.1", "abc"],
                r#"replicaof "127.0.0.1" "abc""#,
                "Invalid master port",
            ),
            (
                &["--replicaof", "--127.0.0.1", "abc"],
                r#"replicaof "--127.0.0.1" "abc""#,
                "Invalid master port",
            ),
            (
                &["--replicaof", "--127.0.0.1", "--abc"],
                r#"replicaof "--127.0.0.1""#,
                "wrong number of arguments",
            ),
        ];
        for (args, line, reason) in table {
            let error = start(args).unwrap_err();
            assert!(error.ends_with(&format!(">>> '{line}'\n{reason}")), "{args:?}: {error}");
        }
    }

    #[test]
    fn file_then_stdin_then_options() {
        let temp = tempfile::tempdir().unwrap();
        let file = temp.path().join("redis.conf");
        std::fs::write(&file, "save 900 1\nport 1\nloglevel debug").unwrap();
        let file = file.to_str().unwrap();

        let startup = start(&[file, "--save", "100", "100"]).unwrap();
        assert_eq!((startup.config.save.len(), startup.config.port), (2, 1));
        assert_eq!(startup.config_file.unwrap().to_str(), Some(file));
        assert_eq!(start(&[file, "--maxclients", "10", "-"]).unwrap().config.port, 7);
        assert_eq!(start(&["-", "--port", "8"]).unwrap().config.maxclients, 9);
        assert!(start(&[file, "--save", ""]).unwrap().config.save.is_empty());
        assert_eq!(start(&[]).unwrap().config.port, 6379);
        assert!(
            start(&["/no/such.conf"])
                .unwrap_err()
                .starts_with("Fatal error, can't open config file")
        );
    }
}
