//! What DEBUG has for tests of a cluster.

use super::{operate, unknown_node};
use crate::command::args::is;
use crate::resp::error::{CommandError, CommandResult};
use crate::server::Server;

const NO_CLUSTER: CommandError =
    CommandError::err("Debug option only available for cluster mode enabled setup!");

/// DEBUG DROP-CLUSTER-PACKET-FILTER kind: messages of a kind are lost. Without a cluster there are none.
pub fn drop_messages(s: &mut Server, kind: i64) {
    let _ = operate(s, |cluster, _, _| cluster.debug_drop(kind));
}

/// DEBUG CLOSE-CLUSTER-LINK-ON-PACKET-DROP flag: and so is the connection that they came over.
pub fn close_on_drop(s: &mut Server, closes: bool) {
    let _ = operate(s, |cluster, _, _| cluster.debug_close_on_drop(closes));
}

/// DEBUG CLUSTERLINK KILL to|from|all node-id
pub fn kill_links(s: &mut Server, way: &[u8], id: &[u8]) -> CommandResult {
    let cluster = s.cluster.as_deref().ok_or(NO_CLUSTER)?;
    let key = cluster.find(id).ok_or_else(|| unknown_node(id))?;
    if cluster.by_key(key).is_myself() {
        return Err(CommandError::err("Cannot free cluster link(s) to myself"));
    }
    let (to, from) = match () {
        () if is(way, "TO") => (true, false),
        () if is(way, "FROM") => (false, true),
        () if is(way, "ALL") => (true, true),
        () => return Err(CommandError::err_with([b"Unknown direction ", way].concat())),
    };
    operate(s, |cluster, _, _| cluster.debug_close_links(key, to, from))
}
