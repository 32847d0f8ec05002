//! The replies of `<command> HELP`, and the error that points there.

use crate::resp::error::CommandError;
use crate::resp::reply::Reply;

/// Replies with what a container's subcommands are: `lines` between the line and the entry that all replies share.
pub fn reply_help(reply: &mut Reply, command: &str, lines: &[&str]) {
    reply.array(lines.len() + 3);
    reply.simple(format!("{command} <subcommand> [<arg> [value] [opt] ...]. Subcommands are:"));
    for line in lines {
        reply.simple(line);
    }
    reply.simple("HELP");
    reply.simple("    Print this help.");
}

/// The error of a request whose subcommand can't be told, or has the wrong number of arguments.
pub fn subcommand_syntax_error(command: &str, args: &[&[u8]]) -> CommandError {
    let name = &args[1][..args[1].len().min(128)];
    let before = "unknown subcommand or wrong number of arguments for '";
    CommandError::quoting(before, name, &format!("'. Try {command} HELP."))
}
