//! MODULE: there are none, and none can be loaded, since a module is written against Redis's own memory and types.
//! Clients ask for the list all the same, to learn what a server can do.

use crate::resp::error::{CommandError, CommandResult};
use crate::server::Server;
use crate::server::call::Call;
use crate::server::table::Row;
use crate::spec::help::reply_help;

const HELP: &[&str] = &[
    "LIST",
    "    Return a list of loaded modules.",
    "LOAD <path> [<arg> ...]",
    "    Load a module library from <path>, passing to it any optional arguments.",
    "LOADEX <path> [[CONFIG NAME VALUE] [CONFIG NAME VALUE]] [ARGS ...]",
    "    Load a module library from <path>, while passing it module configurations and optional arguments.",
    "UNLOAD <name>",
    "    Unload a module.",
];

fn list(_: &mut Server, call: &mut Call, _: &[&[u8]]) -> CommandResult {
    call.reply.array(0);
    Ok(())
}

/// MODULE LOAD and LOADEX
fn load(s: &mut Server, _: &mut Call, args: &[&[u8]]) -> CommandResult {
    let path = String::from_utf8_lossy(args[2]);
    s.warning(&format!("Module {path} failed to load: modules are not supported"));
    Err(CommandError::err("Error loading the extension. Please check the server logs."))
}

fn unload(_: &mut Server, _: &mut Call, _: &[&[u8]]) -> CommandResult {
    Err(CommandError::err("Error unloading module: no such module with that name"))
}

fn help(_: &mut Server, call: &mut Call, _: &[&[u8]]) -> CommandResult {
    reply_help(&mut call.reply, "MODULE", HELP);
    Ok(())
}

pub const COMMANDS: &[Row] = &[
    ("module|list", list),
    ("module|load", load),
    ("module|loadex", load),
    ("module|unload", unload),
    ("module|help", help),
];
