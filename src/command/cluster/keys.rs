//! The keys of a slot: CLUSTER KEYSLOT, COUNTKEYSINSLOT and GETKEYSINSLOT.

use super::{cluster, slot};
use crate::resp::error::{CommandError, CommandResult};
use crate::server::Server;
use crate::server::call::Call;
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
