//! CLUSTERSCAN: the keys of a whole cluster, node by node, as in Valkey 9.1.
//!
//! A cursor is `fingerprint-{tag}-position`. Clients send it where they would send a key of that name: its tag says in
//! which slot the scan goes on, and they follow redirections with it. A position means something only to the process
//! that the fingerprint names; any other one begins the slot again.

use super::{cluster, slot};
use crate::command::args::is;
use crate::command::scan::{KeyScan, ScanOptions};
use crate::resp::error::{CommandError, CommandResult};
use crate::server::Server;
use crate::server::call::Call;
use crate::server::cluster::Node;
use crate::util::slot::{SLOTS, key_slot, slot_tag};

/// The cursor that a scan starts with and ends with.
const START: &str = "0";
const BAD_CURSOR: CommandError = CommandError::err("Invalid cursor");
const OTHER_SLOT: CommandError = CommandError::err("Cursor slot mismatch with SLOT argument");
const SLOT_TWICE: CommandError = CommandError::err("SLOT option can only be specified once");
/// Digits of a fingerprint.
const FINGERPRINT_LEN: usize = 8;

/// CLUSTERSCAN cursor \[MATCH pattern] \[COUNT count] \[TYPE type] \[SLOT slot]
pub(super) fn clusterscan(s: &mut Server, call: &mut Call, args: &[&[u8]]) -> CommandResult {
    cluster(s)?;
    let mut only = None;
    let options = ScanOptions::parse_for_keys(&args[2..], true, |name, value| {
        if !is(name, "SLOT") {
            return Err(CommandError::SYNTAX);
        }
        only.replace(slot(value)?).map_or(Ok(()), |_| Err(SLOT_TWICE))
    })?;
    let matching = options.pattern_slot();
    let nothing_matches = only.zip(matching).is_some_and(|(only, matching)| only != matching);
    let wanted = only.or(matching);
    let cursor = args[1];
    if cursor == START.as_bytes() {
        let start = beginning_of(wanted.unwrap_or(0));
        let next = if nothing_matches { START } else { &start };
        KeyScan::new(s, call, options).reply(s, call, next);
        return Ok(());
    }
    let (slot, position) = place(s, cursor)?;
    if only.is_some_and(|only| only != slot) {
        return Err(OTHER_SLOT);
    }
    let scan = KeyScan::new(s, call, options);
    match wanted {
        _ if nothing_matches => scan.reply(s, call, START),
        Some(wanted) if slot < wanted => scan.reply(s, call, &beginning_of(wanted)),
        Some(wanted) if slot > wanted => scan.reply(s, call, START),
        Some(_) => scan_slots(s, call, scan, (slot, position), slot, START),
        None => {
            let last = last_of_range(s, slot)?;
            let end = if last + 1 == SLOTS { START.into() } else { beginning_of(last + 1) };
            scan_slots(s, call, scan, (slot, position), last, &end);
        }
    }
    Ok(())
}

/// Scans from a place in a slot on, up to the slot `last`; `end`: the cursor of what follows that.
fn scan_slots(
    s: &mut Server,
    call: &mut Call,
    mut scan: KeyScan<'_>,
    (mut slot, mut position): (u16, u64),
    last: u16,
    end: &str,
) {
    let table = &s.ks.dbs[call.db].table;
    let next = loop {
        position = table.scan_slot(slot, position, |entry| scan.visit(entry));
        if position == 0 {
            match (slot + 1..=last).find(|&slot| table.slot_len(slot) > 0) {
                Some(next) => slot = next,
                None => break end.to_string(),
            }
        }
        if scan.ends_with_bucket() {
            break format!("{}-{{{}}}-{position}", fingerprint(s), slot_tag(slot));
        }
    };
    scan.reply(s, call, &next);
}

/// The cursor of a slot's beginning, which any node understands.
fn beginning_of(slot: u16) -> String {
    format!("0-{{{}}}-0", slot_tag(slot))
}

/// Where in which slot a cursor goes on.
fn place(s: &Server, cursor: &[u8]) -> CommandResult<(u16, u64)> {
    let parts: Vec<&[u8]> = cursor.split(|byte| *byte == b'-').collect();
    let [whose, _, position] = parts[..] else { return Err(BAD_CURSOR) };
    let position = std::str::from_utf8(position).ok().filter(|text| !text.starts_with('+'));
    let position = position.and_then(|text| text.parse().ok()).ok_or(BAD_CURSOR)?;
    let is_ours = whose == fingerprint(s).as_bytes();
    Ok((key_slot(cursor), if is_ours { position } else { 0 }))
}

/// Names this process: where keys lie in its tables, no other one knows.
fn fingerprint(s: &Server) -> &str {
    &s.process.run_id()[..FINGERPRINT_LEN]
}

/// The last slot of those from `slot` on that all have the same owner.
fn last_of_range(s: &Server, slot: u16) -> CommandResult<u16> {
    let cluster = cluster(s)?;
    let owner = |slot| cluster.slot_owner(slot).map(Node::id);
    let others = (slot + 1..SLOTS).find(|&next| owner(next) != owner(slot));
    Ok(others.unwrap_or(SLOTS) - 1)
}
