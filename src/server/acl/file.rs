//! Users in files: `user` lines of `redis.conf`, or the file that `aclfile` names.

use super::rules::{RuleError, has_spaces, merge_selectors};
use super::user::User;
use super::{DEFAULT_NAME, Server};
use crate::resp::error::CommandError;
use crate::server::acl;
use crate::server::config::{ConfigError, SourceLine};
use crate::server::token::Token;
use crate::sys::durable::write_durably;
use crate::util::io_reason;
use std::collections::HashSet;
use std::fmt;
use std::fs;
use std::io;
use std::path::Path;

/// Why there are no users as a file, or the configuration, wants them.
#[derive(Debug)]
pub enum UsersError {
    /// There is an ACL file, and there are `user` lines.
    TwoSources,
    /// The ACL file can't be read.
    Unreadable { file: String, error: io::Error },
    /// All that is wrong with the ACL file, in one line.
    Malformed(Vec<u8>),
    /// A `user` line of the configuration is wrong.
    Line(ConfigError),
    /// A `user` line of the configuration has a name with spaces.
    SpacesInName,
    /// A `user` line of the configuration names a command or category that there is not.
    UnknownRule { rule: Vec<u8>, user: Vec<u8> },
}

impl UsersError {
    fn to_bytes(&self) -> Vec<u8> {
        match self {
            Self::TwoSources => b"Configuring Redis with users defined in redis.conf and at the same setting an ACL \
                file path is invalid. This setup is very likely to lead to configuration errors and security holes, \
                please define either an ACL file or declare users directly in your redis.conf, but not both."
                .to_vec(),
            Self::Unreadable { file, error } => {
                let reason = io_reason(error);
                format!("Error loading ACLs, opening file '{file}': {reason}").into()
            }
            Self::Malformed(errors) => errors.clone(),
            Self::Line(error) => error.to_string().into(),
            Self::SpacesInName => b"Spaces not allowed in ACL usernames".to_vec(),
            Self::UnknownRule { rule, user } => {
                let error = RuleError::Unknown.to_string();
                let before = b"Error loading ACL rule '";
                [before, &rule[..], b"' for the user named '", user, b"': ", error.as_bytes()].concat()
            }
        }
    }
}

/// For the terminal.
impl fmt::Display for UsersError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if matches!(self, Self::Unreadable { .. } | Self::Malformed(_)) {
            f.write_str("Aborting Redis startup because of ACL errors: ")?;
        }
        f.write_str(&String::from_utf8_lossy(&self.to_bytes()))
    }
}

impl std::error::Error for UsersError {}

impl From<UsersError> for CommandError {
    fn from(error: UsersError) -> CommandError {
        CommandError::err_with(error.to_bytes())
    }
}

/// Makes the users that the configuration tells of, at start-up.
///
/// # Errors
/// Without the right users the server must not start.
pub(crate) fn load_users_at_startup(server: &mut Server) -> Result<(), UsersError> {
    if server.config.aclfile.is_empty() {
        return load_configured_users(server);
    }
    if !server.config.user.is_empty() {
        return Err(UsersError::TwoSources);
    }
    // Nobody is connected yet.
    load_acl_file(server).map(drop)
}

fn load_configured_users(server: &mut Server) -> Result<(), UsersError> {
    let users: Result<Vec<User>, UsersError> =
        configured_users(server).map(|(_, user)| user).collect();
    for user in users? {
        if !user.enabled {
            server.notice(&format!(
                "The user '{}' is disabled (there is no 'on' modifier in the user description). Make sure this is \
                 not a configuration error.",
                String::from_utf8_lossy(&user.name)
            ));
        }
        server.acl.put_user(&mut server.clients, user);
    }
    Ok(())
}

/// The users that lines of the configuration make, or what is wrong with these.
fn configured_users(
    server: &Server,
) -> impl Iterator<Item = (&SourceLine, Result<User, UsersError>)> {
    let mut seen = HashSet::new();
    server.config.user.iter().map(move |line| {
        let user = if seen.insert(&line.args[1]) {
            configured_user(server, line)
        } else {
            let why = "Duplicate user found. A user can only be defined once in config files";
            Err(wrong_word(line, &line.args[1], &why))
        };
        (line, user)
    })
}

fn configured_user(server: &Server, line: &SourceLine) -> Result<User, UsersError> {
    let name = &line.args[1];
    if has_spaces(name) {
        return Err(UsersError::SpacesInName);
    }
    let words: Vec<&[u8]> = line.args[2..].iter().map(Vec::as_slice).collect();
    let rules =
        merge_selectors(&words).map_err(|open| wrong_word(line, open, &RuleError::Syntax))?;
    let book = acl::rule_book(&server.commands, &server.config);
    let mut user = User::new(name, book.all_channels);
    for rule in &rules {
        book.apply(&mut user, rule).map_err(|error| match error {
            RuleError::Unknown => {
                UsersError::UnknownRule { rule: rule.to_vec(), user: name.clone() }
            }
            _ => wrong_word(line, rule, &error),
        })?;
    }
    Ok(user)
}

fn wrong_word(line: &SourceLine, what: &[u8], why: &dyn fmt::Display) -> UsersError {
    let what = String::from_utf8_lossy(what);
    UsersError::Line(line.error(format!("Error in user declaration '{what}': {why}")))
}

/// All that [`load_users_at_startup`] may complain about, as errors of the configuration.
pub(crate) fn faults(server: &mut Server) -> Vec<ConfigError> {
    if !server.config.aclfile.is_empty() {
        let error = load_users_at_startup(server).err();
        return error
            .map(|error| ConfigError::Whole(error.to_string().into()))
            .into_iter()
            .collect();
    }
    let wrong = configured_users(server).filter_map(|(line, user)| Some((line, user.err()?)));
    wrong
        .map(|(line, error)| match error {
            UsersError::Line(error) => error,
            error => line.error(error.to_string()),
        })
        .collect()
}

/// `ACL LOAD`: replaces all users by those of the ACL file, or changes nothing. Returns the clients whose connections
/// are to be closed.
///
/// In Redis's place that disconnects who is logged in as another than the default user; in Valkey's, whoever is
/// logged in as a user that the file has, too, stays so.
///
/// # Errors
/// If the file can't be read, or anything is wrong with it.
pub(crate) fn load_acl_file(server: &mut Server) -> Result<Vec<Token>, UsersError> {
    let file = server.config.aclfile.clone();
    let text = match fs::read(&file) {
        Ok(text) => text,
        Err(error) => return Err(UsersError::Unreadable { file, error }),
    };
    let mut users = parse_acl_file(server, &file, &text).map_err(UsersError::Malformed)?;
    if !users.iter().any(|user| *user.name == *DEFAULT_NAME) {
        users.push(User::superuser(DEFAULT_NAME));
    }
    let names: HashSet<Box<[u8]>> = users.iter().map(|user| user.name.clone()).collect();
    let kept = |name: &[u8]| {
        name == DEFAULT_NAME
            || (server.config.flavour.acl_load_keeps_clients && names.contains(name))
    };
    let gone: Vec<_> = server.acl.by_name.keys().filter(|name| !kept(name)).cloned().collect();
    let (acl, clients) = (&mut server.acl, &mut server.clients);
    let mut closed = Vec::new();
    for name in gone {
        closed.extend(acl.delete_user(clients, &name).unwrap_or_default());
    }
    for user in users {
        closed.extend(acl.put_user(clients, user));
    }
    Ok(closed)
}

/// # Errors
/// All that is wrong with the file.
fn parse_acl_file(server: &Server, file: &str, text: &[u8]) -> Result<Vec<User>, Vec<u8>> {
    let book = acl::rule_book(&server.commands, &server.config);
    let mut errors = Vec::new();
    let mut users: Vec<User> = Vec::new();
    for (index, line) in text.split(|&byte| byte == b'\n').enumerate() {
        let place = format!("{file}:{}", index + 1).into_bytes();
        let line = line.trim_ascii();
        if line.is_empty() {
            continue;
        }
        let words: Vec<&[u8]> = line.split(|&byte| byte == b' ').collect();
        let [b"user", name, rules @ ..] = &words[..] else {
            let what = b" should start with user keyword followed by the username. ";
            errors.extend([&place[..], what].concat());
            continue;
        };
        if has_spaces(name) {
            let what = b"' contains invalid characters. ";
            errors.extend([b"'", &place[..], b": username '", name, what].concat());
            continue;
        }
        if users.iter().any(|user| *user.name == **name) {
            let line = format!("{}. ", index + 1);
            let before = b"WARNING: Duplicate user '";
            errors.extend([before, *name, b"' found on line ", line.as_bytes()].concat());
            continue;
        }
        let mut user = User::new(name, book.all_channels);
        let Ok(rules) = merge_selectors(rules) else {
            let what = b": Unmatched parenthesis in selector definition.";
            errors.extend([&place[..], what].concat());
            continue;
        };
        let mut failed = false;
        for rule in rules {
            match book.apply(&mut user, rule.trim_ascii()) {
                Ok(()) => {}
                Err(error @ RuleError::Unknown) => {
                    let error = format!("': {error}. ");
                    let before = b": Error in applying operation '";
                    errors.extend([&place[..], before, &rule, error.as_bytes()].concat());
                }
                // The first one may well be the cause of the others.
                Err(error) if !failed => {
                    let error = format!(": {error}. ");
                    errors.extend([&place[..], error.as_bytes()].concat());
                    failed = true;
                }
                Err(_) => {}
            }
        }
        users.push(user);
    }
    if errors.is_empty() {
        return Ok(users);
    }
    let end =
        b"WARNING: ACL errors detected, no change to the previously active ACL rules was performed";
    errors.extend_from_slice(end);
    Err(errors)
}

/// `ACL SAVE`: replaces the ACL file by one with the users that there are.
///
/// # Errors
/// What goes wrong is in the log too.
pub(crate) fn save_acl_file(server: &Server) -> io::Result<()> {
    let mut text = Vec::new();
    for user in server.acl.users() {
        text.extend_from_slice(b"user ");
        text.extend(user.describe());
        text.push(b'\n');
    }
    let path = &server.config.aclfile;
    let temporary = format!("{path}.tmp-{}-{}", std::process::id(), server.ks.now_ms);
    write_durably(Path::new(&temporary), Path::new(path), &text).inspect_err(|error| {
        server.warning(&format!("Writing ACL file for ACL SAVE: {}", io_reason(error)));
    })
}
