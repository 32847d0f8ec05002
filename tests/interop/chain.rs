//! A chain of servers, each the replica of the one before it, and what has to be true of it.

use crate::common::{PATIENCE, Server, wait_for};
use crate::load::{DATABASES, Load, fill};
use crate::peers::Kind;
use std::collections::BTreeMap;
use std::time::Instant;

/// How a snapshot travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Snapshot {
    /// Written to a file, sent with its length, saved, loaded.
    Disk,
    /// Sent as it is made, loaded as it comes.
    Diskless,
}

/// A key of a database, and its value and expiry.
type Data = BTreeMap<(usize, Vec<u8>), (Vec<u8>, i64)>;

/// Checks a chain, with snapshots of both kinds.
pub fn check(kinds: &[Kind]) {
    let programs: Option<Vec<_>> = kinds.iter().map(|kind| kind.program()).collect();
    let Some(programs) = programs else { return };
    for snapshot in [Snapshot::Disk, Snapshot::Diskless] {
        let options: &[&str] = match snapshot {
            Snapshot::Disk => &["--repl-diskless-sync", "no", "--repl-diskless-load", "disabled"],
            Snapshot::Diskless => {
                &["--repl-diskless-sync", "yes", "--repl-diskless-load", "swapdb"]
            }
        };
        let common: &[&str] = &["--repl-diskless-sync-delay", "0", "--repl-backlog-size", "64mb"];
        let start = |program| {
            let dir = tempfile::tempdir().expect("a directory");
            Server::start_program(program, dir, &[common, options].concat())
        };
        check_chain(programs.iter().map(|program| start(program)).collect());
    }
}

fn check_chain(mut chain: Vec<Server>) {
    fill(&mut chain[0].connect());
    let load = Load::start(chain[0].connect());
    for n in 1..chain.len() {
        let port = chain[n - 1].port.to_string();
        assert_eq!(chain[n].text(&["REPLICAOF", "127.0.0.1", &port]), "OK");
        chain[n].wait_info("master_link_status", "up");
        follows(&mut chain, n);
    }
    for n in 1..chain.len() {
        let full = chain[n - 1].info("sync_full");
        for cut in 1..=2 {
            let killed = match cut {
                1 => chain[n - 1].text(&["CLIENT", "KILL", "TYPE", "replica"]),
                _ => chain[n].text(&["CLIENT", "KILL", "TYPE", "master"]),
            };
            assert_eq!(killed, "1", "one link was cut");
            chain[n - 1].wait_info("sync_partial_ok", &cut.to_string());
            follows(&mut chain, n);
        }
        assert_eq!(chain[n - 1].info("sync_full"), full, "the link was resumed");
    }
    load.stop();
    let deadline = Instant::now() + PATIENCE;
    while let Some(difference) = difference(&mut chain) {
        assert!(Instant::now() < deadline, "{difference}");
    }
}

/// What is not yet the same everywhere: an offset, or a key.
fn difference(chain: &mut [Server]) -> Option<String> {
    let before = offsets(chain);
    let all: Vec<Data> = chain.iter().map(data).collect();
    if before.iter().any(|o| *o != before[0]) || offsets(chain) != before {
        return Some(format!("histories and offsets: {before:?}"));
    }
    let (first, others) = all.split_first()?;
    others.iter().zip(1..).find_map(|(other, n)| {
        let key =
            first.keys().chain(other.keys()).find(|key| first.get(*key) != other.get(*key))?;
        let shown = |data: &Data| {
            data.get(key).map(|(value, expires)| (value.escape_ascii().to_string(), *expires))
        };
        let name = key.1.escape_ascii();
        Some(format!(
            "server {n}, database {}, key {name}: {:?} and {:?}",
            key.0,
            shown(first),
            shown(other)
        ))
    })
}

/// Waits until a replica has got beyond what was written up to now.
fn follows(chain: &mut [Server], n: usize) {
    let offset = |server: &mut Server| -> u64 {
        server.info("master_repl_offset").and_then(|o| o.parse().ok()).expect("an offset")
    };
    let written = offset(&mut chain[0]);
    wait_for("the replica to follow", || (offset(&mut chain[n]) > written).then_some(()));
}

/// How far each server has got in the one history that all of them share.
fn offsets(chain: &mut [Server]) -> Vec<(Option<String>, Option<String>)> {
    chain
        .iter_mut()
        .map(|server| (server.info("master_replid"), server.info("master_repl_offset")))
        .collect()
}

/// All that a server has.
fn data(server: &Server) -> Data {
    let mut connection = server.connect();
    let mut all = Data::new();
    for db in DATABASES {
        let mut select = redis::cmd("SELECT");
        let _: () = select.arg(db).query(&mut connection).expect("the database");
        let keys: Vec<Vec<u8>> =
            redis::cmd("KEYS").arg("*").query(&mut connection).expect("the keys");
        for some in keys.chunks(1000) {
            let mut pipe = redis::pipe();
            for key in some {
                pipe.cmd("GET").arg(key).cmd("PEXPIRETIME").arg(key);
            }
            let values: Vec<(Option<Vec<u8>>, i64)> =
                pairs(pipe.query(&mut connection).expect("the values"));
            for (key, (value, expires)) in some.iter().zip(values) {
                if let Some(value) = value {
                    all.insert((db, key.clone()), (value, expires));
                }
            }
        }
    }
    all
}

fn pairs(values: Vec<redis::Value>) -> Vec<(Option<Vec<u8>>, i64)> {
    let value = |pair: &[redis::Value]| -> redis::RedisResult<_> {
        Ok((redis::from_redis_value(&pair[0])?, redis::from_redis_value(&pair[1])?))
    };
    values.chunks_exact(2).map(|pair| value(pair).expect("a value and a time")).collect()
}
