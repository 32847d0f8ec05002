//! Scripts: EVAL and its kin, and SCRIPT.

use super::args;
use crate::lua::cache::{Sha, compile, parse_sha};
use crate::lua::engine::sha1_hex;
use crate::resp::error::{CommandError, CommandResult, ErrorCode};
use crate::script::debugger;
use crate::script::run;
use crate::script::run::ScriptRequest;
use crate::server::Server;
use crate::server::busy;
use crate::server::call::Call;
use crate::server::client::ClientFlags;
use crate::server::monitoring;
use crate::server::table::Row;
use crate::spec::CommandFlags;
use crate::spec::help::{reply_help, subcommand_syntax_error};
use std::rc::Rc;

const NO_SCRIPT: CommandError =
    CommandError::new(ErrorCode::NoScript, "No matching script. Please use EVAL.");
const HELP: &[&str] = &[
    "DEBUG (YES|SYNC|NO)",
    "    Set the debug mode for subsequent scripts executed.",
    "EXISTS <sha1> [<sha1> ...]",
    "    Return information about the existence of the scripts in the script cache.",
    "FLUSH [ASYNC|SYNC]",
    "    Flush the Lua scripts cache. Very dangerous on replicas.",
    "    When called without the optional mode argument, the behavior is determined by the",
    "    lazyfree-lazy-user-flush configuration directive. Valid modes are:",
    "    * ASYNC: Asynchronously flush the scripts cache.",
    "    * SYNC: Synchronously flush the scripts cache.",
    "KILL",
    "    Kill the currently executing Lua script.",
    "LOAD <script>",
    "    Load a script into the scripts cache without executing it.",
    "SHOW <sha1>",
    "    Show a script from the scripts cache.",
];

/// Arguments, as a part of a command.
type Words<'a, 'b> = &'a [&'b [u8]];

/// Keys and further arguments, behind the number of keys, which is the third argument.
pub(super) fn keys_and_args<'a, 'b>(
    args: Words<'a, 'b>,
) -> CommandResult<(Words<'a, 'b>, Words<'a, 'b>)> {
    let count = args::int(args[2])?;
    let rest = &args[3..];
    if count < 0 {
        return Err(CommandError::err("Number of keys can't be negative"));
    }
    usize::try_from(count)
        .ok()
        .and_then(|count| rest.split_at_checked(count))
        .ok_or(CommandError::err("Number of keys can't be greater than number of args"))
}

fn eval(s: &mut Server, call: &mut Call, args: &[&[u8]]) -> CommandResult {
    eval_script(s, call, args, false)
}

fn eval_ro(s: &mut Server, call: &mut Call, args: &[&[u8]]) -> CommandResult {
    eval_script(s, call, args, true)
}

fn evalsha(s: &mut Server, call: &mut Call, args: &[&[u8]]) -> CommandResult {
    eval_known(s, call, args, false)
}

fn evalsha_ro(s: &mut Server, call: &mut Call, args: &[&[u8]]) -> CommandResult {
    eval_known(s, call, args, true)
}

fn eval_script(s: &mut Server, call: &mut Call, args: &[&[u8]], read_only: bool) -> CommandResult {
    show_to_monitors(s, call, args);
    keys_and_args(args)?;
    if s.client(call).is(ClientFlags::LUA_DEBUG) {
        return run_debugged(s, call, args[1], args, read_only);
    }
    let sha = s.scripting.scripts.load(args[1], false)?;
    run(s, call, sha, args, read_only)
}

fn eval_known(s: &mut Server, call: &mut Call, args: &[&[u8]], read_only: bool) -> CommandResult {
    show_to_monitors(s, call, args);
    let sha = parse_sha(args[1]).ok_or(NO_SCRIPT)?;
    if s.client(call).is(ClientFlags::LUA_DEBUG) {
        let body = Rc::clone(&s.scripting.scripts.find(&sha).ok_or(NO_SCRIPT)?.body);
        return run_debugged(s, call, &body, args, read_only);
    }
    run(s, call, sha, args, read_only)
}

/// Runs a script line by line, as the client wants it.
fn run_debugged(
    s: &mut Server,
    call: &mut Call,
    body: &[u8],
    command: &[&[u8]],
    read_only: bool,
) -> CommandResult {
    let (keys, args) = keys_and_args(command)?;
    debugger::debug_script(s, call, body, |s, call, engine| {
        let (flags, function) = compile(engine, body)?;
        let name = &String::from_utf8_lossy(&sha1_hex(body)).into();
        let function = &function;
        let is_function = false;
        run::run_script(
            s,
            call,
            &ScriptRequest {
                engine,
                function,
                name,
                flags,
                read_only,
                command,
                keys,
                args,
                is_function,
            },
        )
    })
}

/// Before the commands that it calls are shown, and not behind them.
pub(super) fn show_to_monitors(s: &mut Server, call: &mut Call, args: &[&[u8]]) {
    if !s.observer.monitors.is_empty() {
        monitoring::feed_monitors(s, call, CommandFlags::empty(), args);
    }
}

fn run(
    s: &mut Server,
    call: &mut Call,
    sha: Sha,
    command: &[&[u8]],
    read_only: bool,
) -> CommandResult {
    let (keys, args) = keys_and_args(command)?;
    let script = s.scripting.scripts.find(&sha).ok_or(NO_SCRIPT)?.clone();
    let engine = s.scripting.scripts.engine()?;
    let outcome = run::run_script(
        s,
        call,
        &ScriptRequest {
            engine: &engine,
            function: &script.function,
            name: &script.name,
            flags: script.flags,
            read_only,
            command,
            keys,
            args,
            is_function: false,
        },
    );
    s.scripting.scripts.note_use(&sha, &script);
    outcome
}

fn load(s: &mut Server, call: &mut Call, args: &[&[u8]]) -> CommandResult {
    let sha = s.scripting.scripts.load(args[2], true)?;
    call.reply.bulk(&sha);
    Ok(())
}

fn exists(s: &mut Server, call: &mut Call, args: &[&[u8]]) -> CommandResult {
    let shas = &args[2..];
    call.reply.array(shas.len());
    for sha in shas {
        let known = parse_sha(sha).is_some_and(|sha| s.scripting.scripts.find(&sha).is_some());
        call.reply.int(known.into());
    }
    Ok(())
}

fn show(s: &mut Server, call: &mut Call, args: &[&[u8]]) -> CommandResult {
    let script =
        parse_sha(args[2]).and_then(|sha| s.scripting.scripts.find(&sha)).ok_or(NO_SCRIPT)?;
    call.reply.bulk(&script.body);
    Ok(())
}

fn flush(s: &mut Server, call: &mut Call, args: &[&[u8]]) -> CommandResult {
    // A Lua state belongs to its thread, and is freed at once either way.
    match args[2..] {
        [] => {}
        [mode] if args::is(mode, "sync") || args::is(mode, "async") => {}
        _ => return Err(CommandError::err("SCRIPT FLUSH only support SYNC|ASYNC option")),
    }
    s.scripting.scripts.flush();
    call.reply.ok();
    Ok(())
}

fn kill(s: &mut Server, call: &mut Call, _: &[&[u8]]) -> CommandResult {
    busy::kill_script(s, call, false)
}

fn debug(s: &mut Server, call: &mut Call, args: &[&[u8]]) -> CommandResult {
    let has_replies = !call.reply.is_empty();
    let client = s.client(call);
    if has_replies || !client.out.is_empty() || client.is(ClientFlags::DEFERRED) {
        return Err(CommandError::err("SCRIPT DEBUG must be called outside a pipeline"));
    }
    let wanted = match args[2] {
        mode if args::is(mode, "no") => ClientFlags::empty(),
        mode if args::is(mode, "yes") => ClientFlags::LUA_DEBUG,
        mode if args::is(mode, "sync") => ClientFlags::LUA_DEBUG | ClientFlags::LUA_DEBUG_SYNC,
        _ => return Err(CommandError::err("Use SCRIPT DEBUG YES/SYNC/NO")),
    };
    let flags = &mut s.client(call).flags;
    flags.remove(ClientFlags::LUA_DEBUG | ClientFlags::LUA_DEBUG_SYNC);
    flags.insert(wanted);
    call.reply.ok();
    Ok(())
}

fn help(_: &mut Server, call: &mut Call, args: &[&[u8]]) -> CommandResult {
    if args.len() > 2 {
        return Err(subcommand_syntax_error("SCRIPT", args));
    }
    reply_help(&mut call.reply, "SCRIPT", HELP);
    Ok(())
}

pub const COMMANDS: &[Row] = &[
    ("eval", eval),
    ("eval_ro", eval_ro),
    ("evalsha", evalsha),
    ("evalsha_ro", evalsha_ro),
    ("script|load", load),
    ("script|exists", exists),
    ("script|show", show),
    ("script|flush", flush),
    ("script|kill", kill),
    ("script|debug", debug),
    ("script|help", help),
];
