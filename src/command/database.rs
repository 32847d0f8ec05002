//! Commands on whole databases: how large, emptying them, swapping two.

use super::args::{existing_db, int32, is};
use crate::resp::error::{CommandError, CommandResult};
use crate::server::Server;
use crate::server::call::Call;
use crate::server::empty;
use crate::server::persistence;
use crate::server::replication::primary::snapshot;
use crate::server::table::Row;
use crate::server::transaction;

/// DBSIZE
fn dbsize(s: &mut Server, call: &mut Call, _: &[&[u8]]) -> CommandResult {
    call.reply.int(s.ks.dbs[call.db].table.len_shown() as i64);
    Ok(())
}

/// FLUSHDB [ASYNC|SYNC]
fn flushdb(s: &mut Server, call: &mut Call, args: &[&[u8]]) -> CommandResult {
    let lazy = wants_async(s, &args[1..])?;
    empty::empty_databases(s, call.db..call.db + 1, lazy);
    // Where it is replayed, the database need not be empty.
    call.propagate_anyway();
    call.reply.ok();
    Ok(())
}

/// FLUSHALL [ASYNC|SYNC]
fn flushall(s: &mut Server, call: &mut Call, args: &[&[u8]]) -> CommandResult {
    let lazy = wants_async(s, &args[1..])?;
    empty::empty_databases(s, 0..s.ks.dbs.len(), lazy);
    snapshot::kill_saver(s);
    if !s.config.save.is_empty() {
        // The file must not bring back what was flushed. A failure has been logged, and does not undo the flush.
        persistence::rdb_save(s);
    }
    call.propagate_anyway();
    call.reply.ok();
    Ok(())
}

/// Whether what is flushed is freed in the background: `[ASYNC|SYNC]`, or as the configuration says.
pub fn wants_async(s: &Server, options: &[&[u8]]) -> CommandResult<bool> {
    match options {
        [] => Ok(s.config.lazyfree_lazy_user_flush),
        &[how] if is(how, "ASYNC") => Ok(true),
        &[how] if is(how, "SYNC") => Ok(false),
        _ => Err(CommandError::SYNTAX),
    }
}

/// SWAPDB index1 index2
fn swapdb(s: &mut Server, call: &mut Call, args: &[&[u8]]) -> CommandResult {
    if s.cluster.is_some() {
        return Err(CommandError::err("SWAPDB is not allowed in cluster mode"));
    }
    let first = int32(args[1], Some("invalid first DB index"))?;
    let second = int32(args[2], Some("invalid second DB index"))?;
    let databases = s.ks.dbs.len();
    let (first, second) = (existing_db(first, databases)?, existing_db(second, databases)?);
    if first != second {
        transaction::touch_all_watched_keys_in_db(s, first, Some(second));
        transaction::touch_all_watched_keys_in_db(s, second, Some(first));
        s.ks.dbs.swap(first, second);
        s.ks.changes.blocked.signal_database(first);
        s.ks.changes.blocked.signal_database(second);
    }
    s.ks.changes.dirty += 1;
    call.reply.ok();
    Ok(())
}

pub const COMMANDS: &[Row] =
    &[("dbsize", dbsize), ("flushall", flushall), ("flushdb", flushdb), ("swapdb", swapdb)];
