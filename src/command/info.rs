//! INFO [section ...]: see [`crate::server::info`].

use crate::resp::error::CommandResult;
use crate::server::Server;
use crate::server::call::Call;
use crate::server::info::info_text;
use crate::server::table::Row;

fn info(s: &mut Server, call: &mut Call, args: &[&[u8]]) -> CommandResult {
    let text = info_text(s, &args[1..]);
    call.reply.verbatim(b"txt", &text);
    Ok(())
}

pub const COMMANDS: &[Row] = &[("info", info)];
