//! A chain of servers, each the replica of the one before it, and what has to be true of it.

use crate::data::{self, Data};
use crate::harness::{PATIENCE, Server, wait_for};
use crate::load::{Fields, Load, fill};
use crate::peers::Kind;
use std::time::Instant;

/// How a snapshot travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Snapshot {
    /// Written to a file, sent with its length, saved, loaded.
    Disk,
    /// Sent as it is made, loaded as it comes.
    Diskless,
    /// Sent on a connection of its own, while the stream comes on the other.
    DualChannel,
}

/// Checks a chain, with snapshots of all kinds that its servers know.
pub fn check(kinds: &[Kind]) {
    let programs: Option<Vec<_>> = kinds.iter().map(|kind| kind.program()).collect();
    let Some(programs) = programs else { return };
    let fields = if kinds.contains(&Kind::Redis7) { Fields::Stay } else { Fields::Expire };
    let dual_channel = kinds.iter().all(|kind| matches!(kind, Kind::Aeolis | Kind::Valkey));
    for snapshot in [Snapshot::Disk, Snapshot::Diskless, Snapshot::DualChannel] {
        if snapshot == Snapshot::DualChannel && !dual_channel {
            continue;
        }
        let options: &[&str] = match snapshot {
            Snapshot::Disk => &["--repl-diskless-sync", "no", "--repl-diskless-load", "disabled"],
            Snapshot::Diskless => {
                &["--repl-diskless-sync", "yes", "--repl-diskless-load", "swapdb"]
            }
            Snapshot::DualChannel => &[
                "--repl-diskless-sync",
                "yes",
                "--dual-channel-replication-enabled",
                "yes",
                "--rdb-key-save-delay",
                "50",
            ],
        };
        let common: &[&str] = &["--repl-diskless-sync-delay", "0", "--repl-backlog-size", "64mb"];
        let start = |program| {
            let dir = tempfile::tempdir().expect("a directory");
            Server::start_program(program, dir, &[common, options].concat())
        };
        check_chain(programs.iter().map(|program| start(program)).collect(), snapshot, fields);
    }
}

fn check_chain(mut chain: Vec<Server>, snapshot: Snapshot, fields: Fields) {
    fill(&mut chain[0].connect(), fields);
    let load = Load::start(chain[0].connect(), fields);
    for n in 1..chain.len() {
        let port = chain[n - 1].port;
        chain[n].replica_of(port);
        chain[n].wait_info("master_link_status", "up");
        follows(&mut chain, n);
    }
    for n in 1..chain.len() {
        let full = chain[n - 1].info_text("sync_full");
        // The main channel's request for the stream behind the snapshot counts as a partial resynchronisation.
        let behind_snapshot = usize::from(snapshot == Snapshot::DualChannel);
        for cut in 1..=2 {
            let killed = match cut {
                1 => chain[n - 1].text(&["CLIENT", "KILL", "TYPE", "replica"]),
                _ => chain[n].text(&["CLIENT", "KILL", "TYPE", "master"]),
            };
            assert_eq!(killed, ":1", "one link was cut");
            chain[n - 1].wait_info("sync_partial_ok", &(cut + behind_snapshot).to_string());
            follows(&mut chain, n);
        }
        assert_eq!(chain[n - 1].info_text("sync_full"), full, "the link was resumed");
    }
    load.stop();
    let deadline = Instant::now() + PATIENCE;
    while let Some(difference) = difference(&mut chain, fields) {
        assert!(Instant::now() < deadline, "{difference}");
    }
}

/// What is not yet the same everywhere: an offset, or a key.
fn difference(chain: &mut [Server], fields: Fields) -> Option<String> {
    let before = offsets(chain);
    let all: Vec<Data> = chain.iter().map(|server| data::read(server, fields)).collect();
    if before.iter().any(|o| *o != before[0]) || offsets(chain) != before {
        return Some(format!("histories and offsets: {before:?}"));
    }
    all.iter().find_map(|other| data::difference(&all[0], other))
}

/// Waits until a replica has got beyond what was written up to now.
fn follows(chain: &mut [Server], n: usize) {
    let offset = |server: &mut Server| -> u64 {
        server.info_text("master_repl_offset").and_then(|o| o.parse().ok()).expect("an offset")
    };
    let written = offset(&mut chain[0]);
    // One that is slow beside the load follows, too: what it may not do is stand still.
    let mut reached = offset(&mut chain[n]);
    while reached <= written {
        reached = wait_for("the replica to go on", || {
            Some(offset(&mut chain[n])).filter(|&now| now > reached)
        });
    }
}

/// How far each server has got in the one history that all of them share.
fn offsets(chain: &mut [Server]) -> Vec<(Option<String>, Option<String>)> {
    chain
        .iter_mut()
        .map(|server| (server.info_text("master_replid"), server.info_text("master_repl_offset")))
        .collect()
}
