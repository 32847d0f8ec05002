//! CLIENT: who is connected, names, pauses, and what a client may decide about its own connection.

use super::args::{Unit, is, timeout_end};
use super::client_filter::Filter;
use crate::resp::error::{CommandError, CommandResult, ErrorCode};
use crate::server::Server;
use crate::server::blocking;
use crate::server::blocking::pause;
use crate::server::blocking::pause::{PauseKind, PausePurpose};
use crate::server::call::Call;
use crate::server::client::{ClientFlags, Token};
use crate::server::client_info;
use crate::server::expiry;
use crate::server::replication::trace;
use crate::server::table::Row;
use crate::server::timeout;
use crate::spec::help::{reply_help, subcommand_syntax_error};
use crate::util::c_string;
use crate::util::number::parse_i64;

const HELP: &[&str] = &[
    "CACHING (YES|NO)",
    "    Enable/disable tracking of the keys for next command in OPTIN/OPTOUT modes.",
    "CAPA <option> [options...]",
    "    The client claims its some capability options. Options are:",
    "    * REDIRECT",
    "      The client can handle redirection messages.",
    "GETREDIR",
    "    Return the client ID we are redirecting to when tracking is enabled.",
    "GETNAME",
    "    Return the name of the current connection.",
    "ID",
    "    Return the ID of the current connection.",
    "INFO",
    "    Return information about the current client connection.",
    "KILL <ip:port>",
    "    Kill connection made from <ip:port>.",
    "KILL <option> <value> [<option> <value> [...]]",
    "    Kill connections. Options are:",
    "    * ADDR (<ip:port>|<unixsocket>:0)",
    "      Kill connections made from the specified address",
    "    * LADDR (<ip:port>|<unixsocket>:0)",
    "      Kill connections made to specified local address",
    "    * TYPE (NORMAL|MASTER|REPLICA|PUBSUB)",
    "      Kill connections by type.",
    "    * USER <username>",
    "      Kill connections authenticated by <username>.",
    "    * SKIPME (YES|NO)",
    "      Skip killing current connection (default: yes).",
    "    * ID <client-id> [<client-id> ...]",
    "      Kill connections by client id.",
    "    * MAXAGE <maxage>",
    "      Kill connections older than the specified age.",
    "    * IDLE <idle>",
    "      Kill connections that have said nothing for so many seconds.",
    "    * NAME <name>, LIB-NAME <name>, LIB-VER <version>, IP <ip>, DB <index>,",
    "      FLAGS <flags>, CAPA <capabilities>",
    "      Kill connections of which CLIENT LIST says so.",
    "    * NOT-<option> <value>",
    "      Spare those that an option other than SKIPME, MAXAGE and IDLE means.",
    "LIST [options ...]",
    "    Return information about client connections. Options:",
    "    * TYPE (NORMAL|MASTER|REPLICA|PUBSUB)",
    "      Return clients of specified type.",
    "    * ID <client-id> [<client-id> ...]",
    "      Return clients with the specified ids.",
    "    * All others of KILL; SKIPME is no by default.",
    "UNPAUSE",
    "    Stop the current client pause, resuming traffic.",
    "PAUSE <timeout> [WRITE|ALL]",
    "    Suspend all, or just write, clients for <timeout> milliseconds.",
    "REPLY (ON|OFF|SKIP)",
    "    Control the replies sent to the current connection.",
    "SETNAME <name>",
    "    Assign the name <name> to the current connection.",
    "SETINFO <option> <value>",
    "    Set client meta attr. Options are:",
    "    * LIB-NAME: the client lib name.",
    "    * LIB-VER: the client lib version.",
    "UNBLOCK <clientid> [TIMEOUT|ERROR]",
    "    Unblock the specified blocked client.",
    "TRACKING (ON|OFF) [REDIRECT <id>] [BCAST] [PREFIX <prefix> [...]]",
    "         [OPTIN] [OPTOUT] [NOLOOP]",
    "    Control server assisted client side caching.",
    "TRACKINGINFO",
    "    Report tracking status for the current connection.",
    "NO-EVICT (ON|OFF)",
    "    Protect current client connection from eviction.",
    "NO-TOUCH (ON|OFF)",
    "    Will not touch LRU/LFU stats when this mode is on.",
    "IMPORT-SOURCE (ON|OFF)",
    "    Mark this connection as the source of an import, which sees expired keys.",
];

const NO_SUCH_CLIENT: CommandError = CommandError::err("No such client");

const UNBLOCKED: CommandError =
    CommandError::new(ErrorCode::Unblocked, "client unblocked via CLIENT UNBLOCK");

/// Refuses what would break the lines of `CLIENT LIST`, which show a text up to a NUL.
pub fn check_client_text(what: &[u8], text: &[u8]) -> CommandResult {
    if c_string(text).iter().all(u8::is_ascii_graphic) {
        return Ok(());
    }
    let behind = " cannot contain spaces, newlines or special characters.";
    Err(CommandError::quoting("", what, behind))
}

/// Names the current client; an empty name takes its name away.
pub fn set_client_name(s: &mut Server, call: &Call, name: &[u8]) {
    s.client(call).name = (!name.is_empty()).then(|| name.into());
}

/// Tokens of all clients, oldest first.
fn tokens_by_age(s: &Server) -> Vec<Token> {
    let mut tokens: Vec<(u64, Token)> = s.clients.iter().map(|(token, c)| (c.id, token)).collect();
    tokens.sort_unstable();
    tokens.into_iter().map(|(_, token)| token).collect()
}

fn id(s: &mut Server, call: &mut Call, _: &[&[u8]]) -> CommandResult {
    let id = s.client(call).id;
    call.reply.int(id as i64);
    Ok(())
}

fn info(s: &mut Server, call: &mut Call, args: &[&[u8]]) -> CommandResult {
    let line = client_info::client_info_running(s, call.client, args) + "\n";
    call.reply.verbatim(b"txt", line.as_bytes());
    Ok(())
}

/// CLIENT LIST [ID client-id [client-id ...] | option value [option value ...]]
fn list(s: &mut Server, call: &mut Call, args: &[&[u8]]) -> CommandResult {
    const INVALID_ID: CommandError = CommandError::err("Invalid client ID");
    let options = &args[2..];
    let tokens = match options {
        [option, ids @ ..] if is(option, "ID") && !ids.is_empty() && are_numbers(ids) => {
            tokens_by_id(s, ids)
        }
        [option, id, ..] if is(option, "ID") && parse_i64(id).is_none() => return Err(INVALID_ID),
        _ => {
            let filter = Filter::parse(s, options, false)?;
            let mut tokens = tokens_by_age(s);
            tokens.retain(|&token| filter.fits(s, call.client, token));
            tokens
        }
    };
    let mut lines = String::new();
    for token in tokens {
        let running = if call.client == token { args } else { &[] };
        lines.push_str(&client_info::client_info_running(s, token, running));
        lines.push('\n');
    }
    call.reply.verbatim(b"txt", lines.as_bytes());
    Ok(())
}

fn are_numbers(texts: &[&[u8]]) -> bool {
    texts.iter().all(|text| parse_i64(text).is_some())
}

/// Each is found once for each time it is asked for, in the order of the question.
fn tokens_by_id(s: &Server, ids: &[&[u8]]) -> Vec<Token> {
    let found = |id: i64| s.clients.iter().find(|(_, client)| client.id as i64 == id);
    ids.iter().filter_map(|id| Some(found(parse_i64(id)?)?.0)).collect()
}

fn kill(s: &mut Server, call: &mut Call, args: &[&[u8]]) -> CommandResult {
    if let [addr] = args[2..] {
        if kill_fitting(s, call, &Filter::address(addr)) == 0 {
            return Err(NO_SUCH_CLIENT);
        }
        call.reply.ok();
        return Ok(());
    }
    let filter = Filter::parse(s, &args[2..], true)?;
    let killed = kill_fitting(s, call, &filter);
    call.reply.int(killed as i64);
    Ok(())
}

fn kill_fitting(s: &mut Server, call: &mut Call, filter: &Filter<'_>) -> usize {
    let mut killed = 0;
    for token in tokens_by_age(s) {
        if !s.clients.contains(token) || !filter.fits(s, call.client, token) {
            continue;
        }
        if s.clients[token].is(ClientFlags::HANDSHAKE) {
            // Our own way to a primary: Sentinel kills clients right after it has sent us on that way.
            continue;
        }
        killed += 1;
        trace::trace_end(s, token, "CLIENT KILL");
        s.disconnect(token);
    }
    killed
}

fn getname(s: &mut Server, call: &mut Call, _: &[&[u8]]) -> CommandResult {
    let name = s.client(call).name.clone();
    call.reply.bulk_or_null(name.as_deref());
    Ok(())
}

fn setname(s: &mut Server, call: &mut Call, args: &[&[u8]]) -> CommandResult {
    check_client_text(b"Client names", args[2])?;
    set_client_name(s, call, args[2]);
    call.reply.ok();
    Ok(())
}

fn setinfo(s: &mut Server, call: &mut Call, args: &[&[u8]]) -> CommandResult {
    let (option, value) = (args[2], args[3]);
    let is_name = option.eq_ignore_ascii_case(b"lib-name");
    if !is_name && !option.eq_ignore_ascii_case(b"lib-ver") {
        return Err(CommandError::quoting("Unrecognized option '", option, "'"));
    }
    check_client_text(option, value)?;
    let value = String::from_utf8_lossy(c_string(value)).into();
    let client = s.client(call);
    if is_name {
        client.lib_name = value;
    } else {
        client.lib_ver = value;
    }
    call.reply.ok();
    Ok(())
}

fn reply(s: &mut Server, call: &mut Call, args: &[&[u8]]) -> CommandResult {
    let client = s.client(call);
    match args[2].to_ascii_lowercase().as_slice() {
        b"on" => {
            client.flags.remove(ClientFlags::REPLY_OFF | ClientFlags::REPLY_SKIP);
            call.reply.ok();
        }
        b"off" => client.flags |= ClientFlags::REPLY_OFF,
        b"skip" if client.is(ClientFlags::REPLY_OFF) => {}
        b"skip" => client.flags |= ClientFlags::REPLY_SKIP_NEXT,
        _ => return Err(CommandError::SYNTAX),
    }
    Ok(())
}

fn pause(s: &mut Server, call: &mut Call, args: &[&[u8]]) -> CommandResult {
    let kind = match args[3..] {
        [] => PauseKind::All,
        [kind] if kind.eq_ignore_ascii_case(b"write") => PauseKind::Write,
        [kind] if kind.eq_ignore_ascii_case(b"all") => PauseKind::All,
        _ => return Err(CommandError::err("CLIENT PAUSE mode must be WRITE or ALL")),
    };
    let until = timeout_end(args[2], Unit::Milliseconds, s.ks.now_ms)?;
    pause::pause_clients(s, PausePurpose::Command, kind, until);
    call.reply.ok();
    Ok(())
}

fn unpause(s: &mut Server, call: &mut Call, _: &[&[u8]]) -> CommandResult {
    pause::unpause_clients(s, PausePurpose::Command);
    call.reply.ok();
    Ok(())
}

fn unblock(s: &mut Server, call: &mut Call, args: &[&[u8]]) -> CommandResult {
    let with_error = match args[3..] {
        [] => false,
        [how] if how.eq_ignore_ascii_case(b"timeout") => false,
        [how] if how.eq_ignore_ascii_case(b"error") => true,
        [_, _, ..] => return Err(subcommand_syntax_error("CLIENT", args)),
        _ => {
            let text = "CLIENT UNBLOCK reason should be TIMEOUT or ERROR";
            return Err(CommandError::err(text));
        }
    };
    let id = parse_i64(args[2]).ok_or(CommandError::NOT_AN_INTEGER)?;
    let found = s.clients.iter().find(|(_, c)| c.id as i64 == id).map(|(token, _)| token);
    let unblocked = found.is_some_and(|token| {
        if with_error {
            blocking::unblock_client_on_error(s, token, &UNBLOCKED)
        } else {
            timeout::unblock_client_on_timeout(s, token)
        }
    });
    call.reply.int(unblocked.into());
    Ok(())
}

fn on_or_off(arg: &[u8]) -> CommandResult<bool> {
    if arg.eq_ignore_ascii_case(b"on") {
        Ok(true)
    } else if arg.eq_ignore_ascii_case(b"off") {
        Ok(false)
    } else {
        Err(CommandError::SYNTAX)
    }
}

fn no_evict(s: &mut Server, call: &mut Call, args: &[&[u8]]) -> CommandResult {
    let on = on_or_off(args[2])?;
    s.client(call).flags.set(ClientFlags::NO_EVICT, on);
    call.reply.ok();
    Ok(())
}

fn no_touch(s: &mut Server, call: &mut Call, args: &[&[u8]]) -> CommandResult {
    let on = on_or_off(args[2])?;
    s.client(call).flags.set(ClientFlags::NO_TOUCH, on);
    s.ks.no_touch = on;
    call.reply.ok();
    Ok(())
}

fn import_source(s: &mut Server, call: &mut Call, args: &[&[u8]]) -> CommandResult {
    // A client may always become an ordinary one again.
    if !s.config.import_mode && !is(args[2], "OFF") {
        return Err(CommandError::err("Server is not in import mode"));
    }
    let on = on_or_off(args[2])?;
    s.client(call).flags.set(ClientFlags::IMPORT_SOURCE, on);
    expiry::restore_role(s);
    call.reply.ok();
    Ok(())
}

fn help(_: &mut Server, call: &mut Call, _: &[&[u8]]) -> CommandResult {
    reply_help(&mut call.reply, "CLIENT", HELP);
    Ok(())
}

fn capa(s: &mut Server, call: &mut Call, args: &[&[u8]]) -> CommandResult {
    // A capability that is not known here changes nothing.
    if args[2..].iter().any(|name| name.eq_ignore_ascii_case(b"redirect")) {
        s.client(call).flags |= ClientFlags::REDIRECT;
    }
    call.reply.ok();
    Ok(())
}

pub const COMMANDS: &[Row] = &[
    ("client|capa", capa),
    ("client|id", id),
    ("client|info", info),
    ("client|list", list),
    ("client|kill", kill),
    ("client|getname", getname),
    ("client|setname", setname),
    ("client|setinfo", setinfo),
    ("client|reply", reply),
    ("client|pause", pause),
    ("client|unpause", unpause),
    ("client|unblock", unblock),
    ("client|no-evict", no_evict),
    ("client|no-touch", no_touch),
    ("client|import-source", import_source),
    ("client|help", help),
];
