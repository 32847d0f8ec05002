//! The keys of a slot: CLUSTER KEYSLOT, COUNTKEYSINSLOT, GETKEYSINSLOT and FLUSHSLOT.

use super::{cluster, slot};
use crate::command::database::wants_async;
use crate::resp::error::{CommandError, CommandResult};
use crate::server::Server;
use crate::server::call::Call;
use crate::server::cluster::obey;
use crate::spec::help::subcommand_syntax_error;
use crate::util::number::parse_i64;
use crate::util::slot::key_slot;

pub(super) fn keyslot(s: &mut Server, call: &mut Call, args: &[&[u8]]) -> CommandResult {
    cluster(s)?;
    call.reply.int(key_slot(args[2]).into());
    Ok(())
}

pub(super) fn countkeysinslot(s: &mut Server, call: &mut Call, args: &[&[u8]]) -> CommandResult {
    cluster(s)?;
    let slot = slot(args[2]).map_err(|_| CommandError::err("Invalid slot"))?;
    call.reply.int(s.ks.slot_len(slot) as i64);
    Ok(())
}

pub(super) fn getkeysinslot(s: &mut Server, call: &mut Call, args: &[&[u8]]) -> CommandResult {
    cluster(s)?;
    let most = parse_i64(args[3]).and_then(|n| usize::try_from(n).ok());
    let (Ok(slot), Some(most)) = (slot(args[2]), most) else {
        return Err(CommandError::err("Invalid slot or number of keys"));
    };
    call.reply.array(most.min(s.ks.slot_len(slot)));
    s.ks.slot_keys(slot).take(most).for_each(|key| call.reply.bulk(key));
    Ok(())
}

/// CLUSTER FLUSHSLOT slot \[ASYNC|SYNC]
///
/// The slot need not be this node's. Whoever is told of it, is told of each key: Redis does not know the command.
pub(super) fn flushslot(s: &mut Server, call: &mut Call, args: &[&[u8]]) -> CommandResult {
    cluster(s)?;
    if args.len() > 4 {
        return Err(subcommand_syntax_error("CLUSTER", args));
    }
    let slot = slot(args[2])?;
    let lazy = wants_async(s, &args[3..])?;
    for db in 0..s.ks.dbs.len() {
        let keys = s.ks.dbs[db].table.slot_iter(slot).map(|entry| entry.key().into());
        for key in keys.collect::<Vec<Box<[u8]>>>() {
            obey::delete_key(s, db, &key, lazy);
        }
    }
    call.propagate_nothing();
    call.reply.ok();
    Ok(())
}
