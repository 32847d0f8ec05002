//! Libraries of functions: FUNCTION, FCALL and FCALL_RO.

use super::args;
use super::script::{keys_and_args, show_to_monitors};
use crate::lua::library::{ENGINE, Library, LibraryFunction};
use crate::lua::shebang;
use crate::rdb::ErrorKind;
use crate::rdb::dump::{dump_functions, restore_functions};
use crate::resp::error::{CommandError, CommandResult};
use crate::script::run;
use crate::script::run::ScriptRequest;
use crate::server::Server;
use crate::server::busy;
use crate::server::call::Call;
use crate::server::scripting;
use crate::server::table::Row;
use crate::spec::help::{reply_help, subcommand_syntax_error};
use crate::util::glob::glob_match;
use crate::util::number::parse_i64;
use std::rc::Rc;

const HELP: &[&str] = &[
    "LOAD [REPLACE] <FUNCTION CODE>",
    "    Create a new library with the given library name and code.",
    "DELETE <LIBRARY NAME>",
    "    Delete the given library.",
    "LIST [LIBRARYNAME PATTERN] [WITHCODE]",
    "    Return general information on all the libraries:",
    "    * Library name",
    "    * The engine used to run the Library",
    "    * Functions list",
    "    * Library code (if WITHCODE is given)",
    "    It also possible to get only function that matches a pattern using LIBRARYNAME argument.",
    "STATS",
    "    Return information about the current function running:",
    "    * Function name",
    "    * Command used to run the function",
    "    * Duration in MS that the function is running",
    "    If no function is running, return nil",
    "    In addition, returns a list of available engines.",
    "KILL",
    "    Kill the current running function.",
    "FLUSH [ASYNC|SYNC]",
    "    Delete all the libraries.",
    "    When called without the optional mode argument, the behavior is determined by the",
    "    lazyfree-lazy-user-flush configuration directive. Valid modes are:",
    "    * ASYNC: Asynchronously flush the libraries.",
    "    * SYNC: Synchronously flush the libraries.",
    "DUMP",
    "    Return a serialized payload representing the current libraries, can be restored using FUNCTION RESTORE command",
    "RESTORE <PAYLOAD> [FLUSH|APPEND|REPLACE]",
    "    Restore the libraries represented by the given payload, it is possible to give a restore policy to",
    "    control how to handle existing libraries (default APPEND):",
    "    * FLUSH: delete all existing libraries.",
    "    * APPEND: appends the restored libraries to the existing libraries. On collision, abort.",
    "    * REPLACE: appends the restored libraries to the existing libraries, On collision, replace the old",
    "      libraries with the new libraries (notice that even on this option there is a chance of failure",
    "      in case of functions name collision with another library).",
];

fn load(s: &mut Server, call: &mut Call, args: &[&[u8]]) -> CommandResult {
    let Some((code, options)) = args[2..].split_last() else { return Ok(()) };
    for option in options {
        if !args::is(option, "replace") {
            return Err(CommandError::quoting("Unknown option given: ", option, ""));
        }
    }
    let was_loaded_before = busy::must_obey(s, call.client);
    let name = scripting::load_library(s, code, !options.is_empty(), was_loaded_before)?;
    s.ks.changes.dirty += 1;
    call.reply.bulk(&name);
    Ok(())
}

fn delete(s: &mut Server, call: &mut Call, args: &[&[u8]]) -> CommandResult {
    if !s.scripting.libraries.delete(args[2]) {
        return Err(CommandError::err("Library not found"));
    }
    s.ks.changes.dirty += 1;
    call.reply.ok();
    Ok(())
}

fn flush(s: &mut Server, call: &mut Call, args: &[&[u8]]) -> CommandResult {
    // A Lua state belongs to its thread, and is freed at once either way.
    match args[2..] {
        [] => {}
        [mode] if args::is(mode, "sync") || args::is(mode, "async") => {}
        [_] => {
            let text = "FUNCTION FLUSH only supports SYNC|ASYNC option";
            return Err(CommandError::err(text));
        }
        _ => return Err(subcommand_syntax_error("FUNCTION", args)),
    }
    s.scripting.libraries.clear();
    s.ks.changes.dirty += 1;
    call.reply.ok();
    Ok(())
}

fn list(s: &mut Server, call: &mut Call, args: &[&[u8]]) -> CommandResult {
    let (mut with_code, mut pattern) = (false, None);
    let mut rest = args[2..].iter();
    while let Some(option) = rest.next() {
        if !with_code && args::is(option, "withcode") {
            with_code = true;
        } else if pattern.is_none() && args::is(option, "libraryname") {
            let missing = CommandError::err("library name argument was not given");
            pattern = Some(*rest.next().ok_or(missing)?);
        } else {
            return Err(CommandError::quoting("Unknown argument ", option, ""));
        }
    }
    let wanted = |library: &&Library| pattern.is_none_or(|p| glob_match(p, &library.name, true));
    let libraries: Vec<&Library> = s.scripting.libraries.iter().filter(wanted).collect();
    let reply = &mut call.reply;
    reply.array(libraries.len());
    for library in libraries {
        reply.map(if with_code { 4 } else { 3 });
        reply.bulk(b"library_name");
        reply.bulk(&library.name);
        reply.bulk(b"engine");
        reply.bulk(ENGINE.as_bytes());
        reply.bulk(b"functions");
        reply.array(library.functions.len());
        for function in &library.functions {
            let LibraryFunction { name, description, flags, .. } = &**function;
            reply.map(3);
            reply.bulk(b"name");
            reply.bulk(name.as_bytes());
            reply.bulk(b"description");
            match description {
                Some(text) => reply.bulk(text),
                None => reply.null(),
            }
            reply.bulk(b"flags");
            let names = shebang::NAMES.iter().filter(|(_, flag)| flags.contains(*flag));
            reply.set(names.clone().count());
            names.for_each(|(name, _)| reply.simple(name));
        }
        if with_code {
            reply.bulk(b"library_code");
            reply.bulk(&library.code);
        }
    }
    Ok(())
}

fn stats(s: &mut Server, call: &mut Call, _: &[&[u8]]) -> CommandResult {
    let reply = &mut call.reply;
    match s.scripting.busy() {
        Some(busy) if !busy.is_function => return Err(busy.error()),
        Some(busy) => {
            reply.map(2);
            reply.bulk(b"running_script");
            reply.map(3);
            reply.bulk(b"name");
            reply.bulk(busy.name.as_bytes());
            reply.bulk(b"command");
            let words = busy.command.iter();
            reply.array(words.len());
            words.for_each(|word| reply.bulk(word));
            reply.bulk(b"duration_ms");
            reply.int(busy.started.elapsed().as_millis() as i64);
        }
        None => {
            reply.map(2);
            reply.bulk(b"running_script");
            reply.null();
        }
    }
    reply.bulk(b"engines");
    reply.map(1);
    reply.bulk(ENGINE.as_bytes());
    reply.map(2);
    reply.bulk(b"libraries_count");
    reply.int(s.scripting.libraries.len() as i64);
    reply.bulk(b"functions_count");
    reply.int(s.scripting.libraries.functions() as i64);
    Ok(())
}

fn dump(s: &mut Server, call: &mut Call, _: &[&[u8]]) -> CommandResult {
    let codes = s.scripting.libraries.iter().map(|library| library.code.as_slice());
    let payload = dump_functions(codes, s.config.rdbcompression);
    call.reply.bulk(&payload);
    Ok(())
}

/// What is done about libraries that are there already.
enum Policy {
    Flush,
    Append,
    Replace,
}

fn restore(s: &mut Server, call: &mut Call, args: &[&[u8]]) -> CommandResult {
    let policy = match args[3..] {
        [] => Policy::Append,
        [policy] if args::is(policy, "append") => Policy::Append,
        [policy] if args::is(policy, "replace") => Policy::Replace,
        [policy] if args::is(policy, "flush") => Policy::Flush,
        [_] => {
            return Err(CommandError::err(
                "Wrong restore policy given, value should be either FLUSH, APPEND or REPLACE.",
            ));
        }
        _ => return Err(subcommand_syntax_error("FUNCTION", args)),
    };
    let codes = restore_functions(args[2], !s.lifecycle.debug.skip_checksum_validation).map_err(
        |error| {
            CommandError::err(match error.kind {
                ErrorKind::PayloadFooter => "DUMP payload version or checksum are wrong",
                ErrorKind::PreReleaseFunctions => "Pre-GA function format not supported",
                ErrorKind::UnknownType(_) => "given type is not a function",
                _ => "failed loading the given functions payload",
            })
        },
    )?;
    let sibling = s.scripting.libraries.sibling()?;
    let own = std::mem::replace(&mut s.scripting.libraries, sibling);
    let loaded =
        codes.iter().try_for_each(|code| scripting::load_library(s, code, false, true).map(drop));
    let restored = std::mem::replace(&mut s.scripting.libraries, own);
    loaded?;
    match policy {
        Policy::Flush => s.scripting.libraries = restored,
        Policy::Append => s.scripting.libraries.join(restored, false)?,
        Policy::Replace => s.scripting.libraries.join(restored, true)?,
    }
    s.ks.changes.dirty += 1;
    call.reply.ok();
    Ok(())
}

fn kill(s: &mut Server, call: &mut Call, _: &[&[u8]]) -> CommandResult {
    busy::kill_script(s, call, true)
}

fn help(_: &mut Server, call: &mut Call, args: &[&[u8]]) -> CommandResult {
    if args.len() > 2 {
        return Err(subcommand_syntax_error("FUNCTION", args));
    }
    reply_help(&mut call.reply, "FUNCTION", HELP);
    Ok(())
}

fn fcall(s: &mut Server, call: &mut Call, args: &[&[u8]]) -> CommandResult {
    run(s, call, args, false)
}

fn fcall_ro(s: &mut Server, call: &mut Call, args: &[&[u8]]) -> CommandResult {
    run(s, call, args, true)
}

fn run(s: &mut Server, call: &mut Call, command: &[&[u8]], read_only: bool) -> CommandResult {
    show_to_monitors(s, call, command);
    let function = s.scripting.libraries.function(command[1]);
    let function = Rc::clone(function.ok_or(CommandError::err("Function not found"))?);
    if parse_i64(command[2]).is_none() {
        return Err(CommandError::err("Bad number of keys provided"));
    }
    let (keys, args) = keys_and_args(command)?;
    let engine = s.scripting.libraries.engine()?;
    run::run_script(
        s,
        call,
        &ScriptRequest {
            engine: &engine,
            function: &function.callback,
            name: &function.name,
            flags: function.flags,
            read_only,
            command,
            keys,
            args,
            is_function: true,
        },
    )
}

pub const COMMANDS: &[Row] = &[
    ("function|load", load),
    ("function|delete", delete),
    ("function|flush", flush),
    ("function|list", list),
    ("function|stats", stats),
    ("function|dump", dump),
    ("function|restore", restore),
    ("function|kill", kill),
    ("function|help", help),
    ("fcall", fcall),
    ("fcall_ro", fcall_ro),
];
