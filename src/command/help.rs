//! The replies of `<command> HELP`.
#![forbid(unsafe_code)]

use crate::resp::reply::Reply;

/// Replies with what a container's subcommands are: `lines` between the line and the entry that all replies share.
pub fn reply_help(reply: &mut Reply, command: &str, lines: &[&str]) {
    reply.array(lines.len() + 3);
    reply.simple(&format!("{command} <subcommand> [<arg> [value] [opt] ...]. Subcommands are:"));
    for line in lines {
        reply.simple(line);
    }
    reply.simple("HELP");
    reply.simple("    Print this help.");
}
