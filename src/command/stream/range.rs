//! XRANGE and XREVRANGE.

use super::{limit, range_end, range_start, reply_entries};
use crate::command::args::{self, is};
use crate::resp::error::{CommandError, CommandResult};
use crate::server::Server;
use crate::server::call::Call;
use crate::value::stream::Stream;

pub(super) fn xrange(s: &mut Server, call: &mut Call, args: &[&[u8]]) -> CommandResult {
    reply_range(s, call, args, args[2], args[3], false)
}

pub(super) fn xrevrange(s: &mut Server, call: &mut Call, args: &[&[u8]]) -> CommandResult {
    reply_range(s, call, args, args[3], args[2], true)
}

fn reply_range(
    s: &mut Server,
    call: &mut Call,
    args: &[&[u8]],
    start: &[u8],
    end: &[u8],
    reverse: bool,
) -> CommandResult {
    let (start, end) = (range_start(start)?, range_end(end)?);
    let mut count = None;
    for option in args[4..].chunks(2) {
        match *option {
            [name, n] if is(name, "COUNT") => count = Some(args::int(n)?.max(0)),
            _ => return Err(CommandError::SYNTAX),
        }
    }
    let Some(stream) = s.ks.read::<Stream>(call.db, args[1])? else {
        call.reply.array(0);
        return Ok(());
    };
    if count == Some(0) {
        call.reply.null_array();
        return Ok(());
    }
    let log = &stream.log;
    let items = if reverse { log.range_rev(start, end) } else { log.range(start, end) };
    reply_entries(&mut call.reply, items.take(limit(count.unwrap_or(0))));
    Ok(())
}
