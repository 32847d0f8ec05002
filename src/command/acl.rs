//! ACL: users, what they may do, and what they were refused.

use crate::resp::error::{CommandError, CommandResult};
use crate::resp::reply::Reply;
use crate::server::Server;
use crate::server::acl;
use crate::server::acl::file;
use crate::server::acl::rules::has_spaces;
use crate::server::acl::user::Selector;
use crate::server::call::Call;
use crate::server::table::{CommandId, Row};
use crate::spec::AclCategories;
use crate::spec::help::{reply_help, subcommand_syntax_error};
use crate::util::number::parse_i64;
use rand::TryRngCore;
use rand::rngs::OsRng;

const HELP: &[&str] = &[
    "CAT [<category>]",
    "    List all commands that belong to <category>, or all command categories",
    "    when no category is specified.",
    "DELUSER <username> [<username> ...]",
    "    Delete a list of users.",
    "DRYRUN <username> <command> [<arg> ...]",
    "    Returns whether the user can execute the given command without executing the command.",
    "GETUSER <username>",
    "    Get the user's details.",
    "GENPASS [<bits>]",
    "    Generate a secure 256-bit user password. The optional `bits` argument can",
    "    be used to specify a different size.",
    "LIST",
    "    Show users details in config file format.",
    "LOAD",
    "    Reload users from the ACL file.",
    "LOG [<count> | RESET]",
    "    Show the ACL log entries.",
    "SAVE",
    "    Save the current config to the ACL file.",
    "SETUSER <username> <attribute> [<attribute> ...]",
    "    Create or modify a user with the specified attributes.",
    "USERS",
    "    List all the registered usernames.",
    "WHOAMI",
    "    Return the current connection username.",
];

const NO_FILE: CommandError = CommandError::err(
    "This Redis instance is not configured to use an ACL file. You may want to specify users via the ACL SETUSER \
     command and then issue a CONFIG REWRITE (assuming you have a Redis configuration file set) in order to store \
     users in the Redis configuration.",
);
const SAVE_FAILED: CommandError = CommandError::err(
    "There was an error trying to save the ACLs. Please check the server logs for more information",
);

/// The longest password that `GENPASS` makes, and the usual one, in bits.
const GENPASS_MAX_BITS: i64 = 4096;
const GENPASS_BITS: i64 = 256;
/// Entries that `LOG` shows.
const LOG_ENTRIES: i64 = 10;

fn setuser(s: &mut Server, call: &mut Call, args: &[&[u8]]) -> CommandResult {
    if has_spaces(args[2]) {
        return Err(CommandError::err("Usernames can't contain spaces or null characters"));
    }
    let book = acl::rule_book(&s.commands, &s.config);
    let closed = s.acl.set_user(&mut s.clients, book, args[2], &args[3..])?;
    closed.into_iter().for_each(|token| s.disconnect(token));
    call.reply.ok();
    Ok(())
}

fn deluser(s: &mut Server, call: &mut Call, args: &[&[u8]]) -> CommandResult {
    if args[2..].contains(&&b"default"[..]) {
        return Err(CommandError::err("The 'default' user cannot be removed"));
    }
    let mut deleted = 0;
    for name in &args[2..] {
        let closed = s.acl.delete_user(&mut s.clients, name);
        deleted += i64::from(closed.is_some());
        closed.into_iter().flatten().for_each(|token| s.disconnect(token));
    }
    call.reply.int(deleted);
    Ok(())
}

fn getuser(s: &mut Server, call: &mut Call, args: &[&[u8]]) -> CommandResult {
    let Some(id) = s.acl.find(args[2]) else {
        call.reply.null();
        return Ok(());
    };
    let user = s.acl.get(id);
    let reply = &mut call.reply;
    reply.map(6);
    reply.bulk_str("flags");
    let flags = user.flags();
    reply.set(flags.len());
    flags.iter().for_each(|flag| reply.bulk_str(flag));
    reply.bulk_str("passwords");
    reply.array(user.passwords.len());
    user.passwords.iter().for_each(|hash| reply.bulk_str(&hash.hex()));
    reply_selector(reply, &user.root);
    reply.bulk_str("selectors");
    reply.array(user.selectors.len());
    for selector in &user.selectors {
        reply.map(3);
        reply_selector(reply, selector);
    }
    Ok(())
}

/// Three fields of a map.
fn reply_selector(reply: &mut Reply, selector: &Selector) {
    reply.bulk_str("commands");
    reply.bulk_str(&selector.describe_commands());
    reply.bulk_str("keys");
    reply.bulk(&selector.describe_keys());
    reply.bulk_str("channels");
    reply.bulk(&selector.describe_channels());
}

fn list(s: &mut Server, call: &mut Call, _: &[&[u8]]) -> CommandResult {
    call.reply.array(s.acl.users().len());
    for user in s.acl.users() {
        call.reply.bulk(&[b"user ", &user.describe()[..]].concat());
    }
    Ok(())
}

fn users(s: &mut Server, call: &mut Call, _: &[&[u8]]) -> CommandResult {
    call.reply.array(s.acl.users().len());
    s.acl.users().for_each(|user| call.reply.bulk(&user.name));
    Ok(())
}

fn whoami(s: &mut Server, call: &mut Call, _: &[&[u8]]) -> CommandResult {
    let user = s.client(call).user;
    call.reply.bulk(&s.acl.get(user).name);
    Ok(())
}

fn cat(s: &mut Server, call: &mut Call, args: &[&[u8]]) -> CommandResult {
    match *args {
        [_, _] => {
            call.reply.array(AclCategories::NAMES.len());
            AclCategories::NAMES.iter().for_each(|(name, _)| call.reply.bulk_str(name));
        }
        [_, _, name] => {
            let category = AclCategories::named(name).ok_or_else(|| {
                let name = &name[..name.len().min(128)];
                CommandError::quoting("Unknown category '", name, "'")
            })?;
            let of = s.commands.iter().filter(|c| c.spec.acl_categories.contains(category));
            let names: Vec<_> = of.map(|command| command.spec.name).collect();
            call.reply.array(names.len());
            names.iter().for_each(|name| call.reply.bulk_str(name));
        }
        _ => return Err(subcommand_syntax_error("ACL", args)),
    }
    Ok(())
}

fn genpass(_: &mut Server, call: &mut Call, args: &[&[u8]]) -> CommandResult {
    let bits = match *args {
        [_, _] => GENPASS_BITS,
        [_, _, bits] => parse_i64(bits).ok_or(CommandError::NOT_AN_INTEGER)?,
        _ => return Err(subcommand_syntax_error("ACL", args)),
    };
    if !(1..=GENPASS_MAX_BITS).contains(&bits) {
        return Err(CommandError::err_with(format!(
            "ACL GENPASS argument must be the number of bits for the output password, a positive number up to \
             {GENPASS_MAX_BITS}"
        )));
    }
    // The server's own generator is for chance, not for secrets.
    let mut bytes = vec![0; (bits as usize).div_ceil(8)];
    let unavailable = |error| CommandError::err_with(format!("No random numbers: {error}"));
    OsRng.try_fill_bytes(&mut bytes).map_err(unavailable)?;
    let mut password: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    password.truncate((bits as usize).div_ceil(4));
    call.reply.bulk_str(&password);
    Ok(())
}

fn log(s: &mut Server, call: &mut Call, args: &[&[u8]]) -> CommandResult {
    let count = match *args {
        [_, _] => LOG_ENTRIES,
        [_, _, word] if word.eq_ignore_ascii_case(b"reset") => {
            s.acl.log.clear();
            call.reply.ok();
            return Ok(());
        }
        [_, _, count] => parse_i64(count).ok_or(CommandError::NOT_AN_INTEGER)?,
        _ => return Err(subcommand_syntax_error("ACL", args)),
    };
    let now = s.ks.now_ms;
    let entries = s.acl.log.entries();
    let count = entries.len().min(usize::try_from(count).unwrap_or(0));
    let reply = &mut call.reply;
    reply.array(count);
    for entry in entries.take(count) {
        reply.map(10);
        reply.bulk_str("count");
        reply.int(entry.count as i64);
        reply.bulk_str("reason");
        reply.bulk_str(entry.reason.name());
        reply.bulk_str("context");
        reply.bulk_str(entry.context.name());
        reply.bulk_str("object");
        reply.bulk(&entry.object);
        reply.bulk_str("username");
        reply.bulk(&entry.user);
        reply.bulk_str("age-seconds");
        reply.double((now - entry.updated_ms) as f64 / 1000.0);
        reply.bulk_str("client-info");
        reply.bulk_str(&entry.client_info);
        reply.bulk_str("entry-id");
        reply.int(entry.id as i64);
        reply.bulk_str("timestamp-created");
        reply.int(entry.created_ms);
        reply.bulk_str("timestamp-last-updated");
        reply.int(entry.updated_ms);
    }
    Ok(())
}

fn dryrun(s: &mut Server, call: &mut Call, args: &[&[u8]]) -> CommandResult {
    let user = s
        .acl
        .find(args[2])
        .ok_or_else(|| CommandError::quoting("User '", args[2], "' not found"))?;
    let request = &args[3..];
    let id = find_command(s, request)
        .ok_or_else(|| CommandError::quoting("Command '", request[0], "' not found"))?;
    let command = s.commands.get(id);
    if !command.arity_allows(request.len()) {
        let name = command.spec.name;
        let text = format!("wrong number of arguments for '{name}' command");
        return Err(CommandError::err_with(text));
    }
    match s.acl.get(user).check(command, request) {
        Ok(()) => call.reply.ok(),
        Err(denied) => {
            let text = acl::denied_text(s, user, id, request, denied);
            call.reply.bulk(&text);
        }
    }
    Ok(())
}

/// The command or subcommand of a request, whatever its arity.
fn find_command(s: &Server, request: &[&[u8]]) -> Option<CommandId> {
    let id = s.commands.find(request[0])?;
    match request.get(1) {
        Some(sub) if !s.commands.get(id).subcommands.is_empty() => {
            s.commands.find_subcommand(id, sub)
        }
        _ => Some(id),
    }
}

fn load(s: &mut Server, call: &mut Call, _: &[&[u8]]) -> CommandResult {
    if s.config.aclfile.is_empty() {
        return Err(NO_FILE);
    }
    let closed = file::load_acl_file(s)?;
    closed.into_iter().for_each(|token| s.disconnect(token));
    call.reply.ok();
    Ok(())
}

fn save(s: &mut Server, call: &mut Call, _: &[&[u8]]) -> CommandResult {
    if s.config.aclfile.is_empty() {
        return Err(NO_FILE);
    }
    // Why has been logged.
    file::save_acl_file(s).map_err(|_| SAVE_FAILED)?;
    call.reply.ok();
    Ok(())
}

fn help(_: &mut Server, call: &mut Call, _: &[&[u8]]) -> CommandResult {
    reply_help(&mut call.reply, "ACL", HELP);
    Ok(())
}

pub const COMMANDS: &[Row] = &[
    ("acl|setuser", setuser),
    ("acl|deluser", deluser),
    ("acl|getuser", getuser),
    ("acl|list", list),
    ("acl|users", users),
    ("acl|whoami", whoami),
    ("acl|cat", cat),
    ("acl|genpass", genpass),
    ("acl|log", log),
    ("acl|dryrun", dryrun),
    ("acl|load", load),
    ("acl|save", save),
    ("acl|help", help),
];
