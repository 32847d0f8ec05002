//! Connection commands: PING, ECHO, QUIT, RESET, HELLO, AUTH, SELECT.

use super::args::{existing_db, int32};
use super::client::{check_client_text, set_client_name};
use crate::resp::error::{CommandError, CommandResult, ErrorCode};
use crate::resp::reply::Protocol;
use crate::server::acl;
use crate::server::call::Call;
use crate::server::client::ClientFlags;
use crate::server::cluster;
use crate::server::expiry;
use crate::server::large_reply;
use crate::server::subscribe;
use crate::server::table::Row;
use crate::server::tracking;
use crate::server::transaction;
use crate::server::{Server, VALKEY_VERSION};
use crate::util::number::parse_i64;

const WRONG_PASS: CommandError =
    CommandError::new(ErrorCode::WrongPass, "invalid username-password pair or user is disabled.");
const NO_PASSWORD_SET: CommandError = CommandError::err(
    "AUTH <password> called without any password configured for the default user. Are you sure your \
     configuration is correct?",
);
const HELLO_UNAUTHENTICATED: CommandError = CommandError::new(
    ErrorCode::NoAuth,
    "HELLO must be called with the client already authenticated, otherwise the HELLO <proto> AUTH <user> \
     <pass> option can be used to authenticate the client and select the RESP protocol version at the same time",
);
const NO_PROTO: CommandError =
    CommandError::new(ErrorCode::NoProto, "unsupported protocol version");

fn ping(s: &mut Server, call: &mut Call, args: &[&[u8]]) -> CommandResult {
    if args.len() > 2 {
        return Err(CommandError::err("wrong number of arguments for 'ping' command"));
    }
    let message = args.get(1).copied();
    if s.client(call).is(ClientFlags::PUBSUB) && !call.reply.is_resp3() {
        // A subscriber that speaks RESP2 expects every reply to look like a message.
        call.reply.array(2);
        call.reply.bulk(b"pong");
        call.reply.bulk(message.unwrap_or_default());
        return Ok(());
    }
    match message {
        Some(message) => large_reply::reply_argument(s, call, message),
        None => call.reply.simple("PONG"),
    }
    Ok(())
}

fn echo(s: &mut Server, call: &mut Call, args: &[&[u8]]) -> CommandResult {
    large_reply::reply_argument(s, call, args[1]);
    Ok(())
}

fn quit(s: &mut Server, call: &mut Call, _: &[&[u8]]) -> CommandResult {
    call.reply.ok();
    s.client(call).flags |= ClientFlags::CLOSE_AFTER_REPLY;
    Ok(())
}

fn select(s: &mut Server, call: &mut Call, args: &[&[u8]]) -> CommandResult {
    let index = int32(args[1], None)?;
    if index != 0 && cluster::has_one_database(s) {
        return Err(CommandError::err("SELECT is not allowed in cluster mode"));
    }
    select_db(s, call, existing_db(index, s.ks.dbs.len())?);
    call.reply.ok();
    Ok(())
}

fn select_db(s: &mut Server, call: &mut Call, index: usize) {
    call.db = index;
    s.client(call).db = index;
}

fn auth(s: &mut Server, call: &mut Call, args: &[&[u8]]) -> CommandResult {
    match *args {
        [_, _] if s.acl.default_has_no_password() => return Err(NO_PASSWORD_SET),
        [command, password] => authenticate(s, call, command, b"default", password)?,
        [command, user, password] => authenticate(s, call, command, user, password)?,
        _ => return Err(CommandError::SYNTAX),
    }
    call.reply.ok();
    Ok(())
}

/// Makes the current client the user's, if the password is right. `command` is for the log.
fn authenticate(
    s: &mut Server,
    call: &mut Call,
    command: &[u8],
    user: &[u8],
    password: &[u8],
) -> CommandResult {
    let token = call.client;
    match s.acl.authenticate(user, password) {
        Some(id) => {
            s.acl.log_in(&mut s.clients[token], id);
            Ok(())
        }
        None => {
            acl::log_failed_login(s, token, command, user);
            Err(WRONG_PASS)
        }
    }
}

fn hello(s: &mut Server, call: &mut Call, args: &[&[u8]]) -> CommandResult {
    let mut protocol = None;
    if let Some(version) = args.get(1) {
        let not_a_number = "Protocol version is not an integer or out of range";
        protocol = match parse_i64(version).ok_or_else(|| CommandError::err(not_a_number))? {
            2 => Some(Protocol::Resp2),
            3 => Some(Protocol::Resp3),
            _ => return Err(NO_PROTO),
        };
    }
    let (mut credentials, mut name) = (None, None);
    let mut rest = args.get(2..).unwrap_or_default();
    while let [option, values @ ..] = rest {
        rest = match values {
            [user, password, rest @ ..] if option.eq_ignore_ascii_case(b"auth") => {
                credentials = Some((*user, *password));
                rest
            }
            [value, rest @ ..] if option.eq_ignore_ascii_case(b"setname") => {
                check_client_text(b"Client names", value)?;
                name = Some(*value);
                rest
            }
            _ => return Err(CommandError::quoting("Syntax error in HELLO option '", option, "'")),
        };
    }
    if let Some((user, password)) = credentials {
        authenticate(s, call, args[0], user, password)?;
    }
    if !s.client(call).is(ClientFlags::AUTHENTICATED) {
        return Err(HELLO_UNAUTHENTICATED);
    }
    if let Some(name) = name {
        set_client_name(s, call, name);
    }
    if let Some(protocol) = protocol {
        s.client(call).protocol = protocol;
        call.reply.protocol = protocol;
    }
    let (id, mode) = (s.client(call).id, cluster::mode(s));
    let (name, announced) = match s.config.is_valkey() {
        true => ("valkey", VALKEY_VERSION),
        false => ("redis", &s.config.redis_version_announced[..]),
    };
    let reply = &mut call.reply;
    let version = reply.protocol.version();
    reply.map(7);
    reply.bulk(b"server");
    reply.bulk_str(name);
    reply.bulk(b"version");
    reply.bulk_str(announced);
    reply.bulk(b"proto");
    reply.int(version.into());
    reply.bulk(b"id");
    reply.int(id as i64);
    reply.bulk(b"mode");
    reply.bulk_str(mode);
    reply.bulk(b"role");
    reply.bulk(if s.repl.is_replica() { b"replica" } else { b"master" });
    reply.bulk(b"modules");
    reply.array(0);
    Ok(())
}

fn reset(s: &mut Server, call: &mut Call, _: &[&[u8]]) -> CommandResult {
    let client = s.client(call);
    if client.is_any(ClientFlags::SLAVE | ClientFlags::MASTER) {
        return Err(CommandError::err("can only reset normal connections"));
    }
    transaction::discard_transaction(s, call.client);
    subscribe::unsubscribe_from_all(s, call.client);
    tracking::disable_tracking(s, call.client);
    let client = s.client(call);
    client.flags.remove(
        ClientFlags::MONITOR
            | ClientFlags::REPLY_OFF
            | ClientFlags::REPLY_SKIP_NEXT
            | ClientFlags::NO_TOUCH
            | ClientFlags::NO_EVICT
            | ClientFlags::READONLY
            | ClientFlags::IMPORT_SOURCE,
    );
    client.name = None;
    client.protocol = Protocol::Resp2;
    s.acl.assign_default(&mut s.clients[call.client]);
    call.reply.protocol = Protocol::Resp2;
    s.ks.no_touch = false;
    expiry::restore_role(s);
    select_db(s, call, 0);
    call.reply.simple("RESET");
    Ok(())
}

pub const COMMANDS: &[Row] = &[
    ("ping", ping),
    ("echo", echo),
    ("quit", quit),
    ("select", select),
    ("auth", auth),
    ("hello", hello),
    ("reset", reset),
];
