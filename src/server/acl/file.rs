//! Users in files: `user` lines of `redis.conf`, or the file that `aclfile` names.

use super::rules::{RuleError, has_spaces, merge_selectors};
use super::user::User;
use super::{DEFAULT_NAME, Server};
use crate::server::acl;
use crate::sys::durable::write_durably;
use crate::util::io_reason;
use std::collections::HashSet;
use std::fs;
use std::io;
use std::path::Path;

/// Makes the users that the configuration tells of, at start-up.
///
/// # Errors
/// A text for standard error: without the right users the server must not start.
pub(crate) fn load_users_at_startup(server: &mut Server) -> Result<(), String> {
    if server.config.aclfile.is_empty() {
        return load_configured_users(server);
    }
    if !server.config.user.is_empty() {
        return Err("Configuring Redis with users defined in redis.conf and at the same setting an ACL file path is \
                    invalid. This setup is very likely to lead to configuration errors and security holes, please \
                    define either an ACL file or declare users directly in your redis.conf, but not both."
            .to_string());
    }
    load_acl_file(server)
        .map_err(|errors| format!("Aborting Redis startup because of ACL errors: {errors}"))
}

fn load_configured_users(server: &mut Server) -> Result<(), String> {
    let mut seen = HashSet::new();
    for line in &server.config.user.clone() {
        let wrong = |what: &[u8], why: &dyn std::fmt::Display| {
            let what = String::from_utf8_lossy(what);
            line.error(format!("Error in user declaration '{what}': {why}")).to_string()
        };
        let name = &line.args[1];
        if !seen.insert(name.clone()) {
            let why = "Duplicate user found. A user can only be defined once in config files";
            return Err(wrong(name, &why));
        }
        if has_spaces(name) {
            return Err("Spaces not allowed in ACL usernames".to_string());
        }
        let words: Vec<&[u8]> = line.args[2..].iter().map(Vec::as_slice).collect();
        let rules = merge_selectors(&words).map_err(|open| wrong(open, &RuleError::Syntax))?;
        let book = acl::rule_book(server);
        let mut user = User::new(name, book.all_channels);
        for rule in &rules {
            book.apply(&mut user, rule).map_err(|error| match error {
                RuleError::Unknown => format!(
                    "Error loading ACL rule '{}' for the user named '{}': {error}",
                    String::from_utf8_lossy(rule),
                    String::from_utf8_lossy(name)
                ),
                _ => wrong(rule, &error),
            })?;
        }
        if !user.enabled {
            server.notice(&format!(
                "The user '{}' is disabled (there is no 'on' modifier in the user description). Make sure this is \
                 not a configuration error.",
                String::from_utf8_lossy(name)
            ));
        }
        acl::put_user(server, user);
    }
    Ok(())
}

/// `ACL LOAD`: replaces all users by those of the ACL file, or changes nothing.
///
/// In Redis's place that disconnects who is logged in as another than the default user; in Valkey's, whoever is
/// logged in as a user that the file has, too, stays so.
///
/// # Errors
/// All that is wrong with the file, in one line.
pub(crate) fn load_acl_file(server: &mut Server) -> Result<(), String> {
    let file = server.config.aclfile.clone();
    let text = fs::read(&file).map_err(|error| {
        format!("Error loading ACLs, opening file '{file}': {}", io_reason(&error))
    })?;
    let mut users = parse_acl_file(server, &file, &text)?;
    if !users.iter().any(|user| *user.name == *DEFAULT_NAME) {
        users.push(User::superuser(DEFAULT_NAME));
    }
    let names: HashSet<Box<[u8]>> = users.iter().map(|user| user.name.clone()).collect();
    let kept = |name: &[u8]| {
        name == DEFAULT_NAME
            || (server.config.flavour.acl_load_keeps_clients && names.contains(name))
    };
    let gone: Vec<_> = server.acl.by_name.keys().filter(|name| !kept(name)).cloned().collect();
    for name in gone {
        acl::delete_user(server, &name);
    }
    users.into_iter().for_each(|user| acl::put_user(server, user));
    Ok(())
}

fn parse_acl_file(server: &Server, file: &str, text: &[u8]) -> Result<Vec<User>, String> {
    let book = acl::rule_book(server);
    let mut errors = String::new();
    let mut users: Vec<User> = Vec::new();
    for (index, line) in text.split(|&byte| byte == b'\n').enumerate() {
        let number = index + 1;
        let line = line.trim_ascii();
        if line.is_empty() {
            continue;
        }
        let words: Vec<&[u8]> = line.split(|&byte| byte == b' ').collect();
        let [b"user", name, rules @ ..] = &words[..] else {
            errors += &format!(
                "{file}:{number} should start with user keyword followed by the username. "
            );
            continue;
        };
        let shown = String::from_utf8_lossy(name);
        if has_spaces(name) {
            errors +=
                &format!("'{file}:{number}: username '{shown}' contains invalid characters. ");
            continue;
        }
        if users.iter().any(|user| *user.name == **name) {
            errors += &format!("WARNING: Duplicate user '{shown}' found on line {number}. ");
            continue;
        }
        let mut user = User::new(name, book.all_channels);
        let Ok(rules) = merge_selectors(rules) else {
            errors += &format!("{file}:{number}: Unmatched parenthesis in selector definition.");
            continue;
        };
        let mut failed = false;
        for rule in rules {
            match book.apply(&mut user, rule.trim_ascii()) {
                Ok(()) => {}
                Err(error @ RuleError::Unknown) => {
                    let rule = String::from_utf8_lossy(&rule);
                    errors += &format!(
                        "{file}:{number}: Error in applying operation '{rule}': {error}. "
                    );
                }
                // The first one may well be the cause of the others.
                Err(error) if !failed => {
                    errors += &format!("{file}:{number}: {error}. ");
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
    errors +=
        "WARNING: ACL errors detected, no change to the previously active ACL rules was performed";
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
