//! `--check-config`: all that a server would complain about if it were started like this, and the directives that have
//! no effect. None is started, nothing is written, and no port is opened.

use super::{arguments, renamed_commands};
use crate::server::Server;
use crate::server::acl;
use crate::server::config::{Config, ConfigError, Origin, Reading};
use crate::server::observe::log::Log;
use crate::server::tls;
use rand::SeedableRng;
use rand::rngs::SmallRng;
use std::io::{self, Read, Write};

/// Runs the check; `words` are the arguments that a server would be started with, without its name. Answers the exit
/// code: 0 if it would start.
pub(super) fn run(
    base: Config,
    words: &[Vec<u8>],
    stdin: &mut dyn Read,
    out: &mut dyn Write,
) -> i32 {
    let (log, faults) = match Config::check_args(base, words, stdin) {
        Ok(Reading { config, log, mut faults }) => {
            faults.extend(faults_of(config));
            (log, faults)
        }
        Err(error) => (Vec::new(), vec![error]),
    };
    // The exit code says whether there are faults, whoever listens.
    let _ = report(&log, &faults, out);
    i32::from(!faults.is_empty())
}

/// What is found wrong when a server is made of a configuration that can be read.
fn faults_of(config: Config) -> Vec<ConfigError> {
    // Paths of files start from there.
    if let Err(error) = std::env::set_current_dir(&config.dir) {
        let dir = config.dir.display();
        return vec![ConfigError::Whole(format!("Can't chdir to '{dir}': {error}").into())];
    }
    let (commands, mut faults) = renamed_commands(&config);
    let mut server = Server::new(config, commands, SmallRng::from_os_rng(), Log::silent());
    faults.extend(acl::file::faults(&mut server));
    if let Err(error) = tls::configure_tls(&mut server) {
        faults.push(ConfigError::Whole(error.to_string().into()));
    }
    faults
}

fn report(log: &[String], faults: &[ConfigError], out: &mut dyn Write) -> io::Result<()> {
    for fault in faults {
        write!(out, "{}", describe(fault))?;
        match arguments::tip(fault) {
            Some(tip) => writeln!(out, ". {tip}")?,
            None => writeln!(out)?,
        }
    }
    for line in log {
        writeln!(out, "{line}")?;
    }
    match faults.len() {
        0 => writeln!(out, "The configuration is right"),
        1 => writeln!(out, "1 fault"),
        n => writeln!(out, "{n} faults"),
    }
}

/// A fault in one line, which begins with its place.
fn describe(fault: &ConfigError) -> String {
    match fault {
        ConfigError::Line { origin, line_no, line, reason } => match origin {
            Origin::File(path) => format!("{}:{line_no}: '{line}': {reason}", path.display()),
            Origin::StandardInput => format!("standard input, line {line_no}: '{line}': {reason}"),
            Origin::CommandLine => format!("command line: '--{line}': {reason}"),
        },
        ConfigError::Whole(reason) => reason.to_string(),
        ConfigError::Unreadable { path, reason } => format!("{}: {reason}", path.display()),
    }
}
