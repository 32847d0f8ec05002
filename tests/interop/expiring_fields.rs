//! Hashes whose fields expire: each peer gets them in the form that it reads, or is told that it can't have them.

use crate::harness::{Server, wait_for};
use crate::peers::Kind::{self, Aeolis, Redis7, Redis8, Valkey};

/// When the field expires, in milliseconds since 1970.
const LATER: &str = "4102444800000";

fn start(kind: Kind, options: &[&str]) -> Option<Server> {
    let common = ["--repl-diskless-sync-delay", "0"];
    let dir = tempfile::tempdir().expect("a directory");
    Some(Server::start_program(&kind.program()?, dir, &[&common, options].concat()))
}

fn add_expiring_field(primary: &mut Server, key: &str) {
    primary.cmd(&["HSET", key, "f", "v", "g", "w"]);
    assert_eq!(primary.text(&["HPEXPIREAT", key, LATER, "FIELDS", "1", "f"]), "[:1]");
}

fn has_expiring_field(replica: &mut Server, key: &str) {
    wait_for("the field with its expiry", || {
        (replica.text(&["HPEXPIRETIME", key, "FIELDS", "2", "f", "g"]) == format!("[:{LATER} :-1]"))
            .then_some(())
    });
}

#[test]
fn replicas_of_different_kinds_wait_for_the_same_snapshot() {
    for diskless in ["yes", "no"] {
        let wait = ["--repl-diskless-sync-delay", "2", "--repl-diskless-sync", diskless];
        let Some(mut primary) = start(Aeolis, &wait) else { return };
        add_expiring_field(&mut primary, "h");
        let kinds = [Redis8, Valkey, Aeolis, Redis7, Valkey, Redis8];
        let mut replicas: Vec<(Kind, Server)> =
            kinds.into_iter().filter_map(|kind| Some((kind, start(kind, &[])?))).collect();
        for (_, replica) in &mut replicas {
            replica.replica_of(primary.port);
        }
        for (kind, replica) in &mut replicas {
            if *kind == Redis7 {
                wait_for("the refusal", || {
                    replica.log().contains("there are hashes with expiring fields").then_some(())
                });
                continue;
            }
            replica.wait_info("master_link_status", "up");
            has_expiring_field(replica, "h");
        }
        let served = replicas.iter().filter(|(kind, _)| *kind != Redis7).count();
        assert_eq!(primary.info_text("connected_slaves"), Some(served.to_string()));
    }
}

#[test]
fn redis7_is_refused_and_keeps_what_it_has() {
    let (Some(mut primary), Some(mut replica)) = (start(Aeolis, &[]), start(Redis7, &[])) else {
        return;
    };
    primary.cmd(&["SET", "k", "v"]);
    replica.replica_of(primary.port);
    replica.wait_info("master_link_status", "up");

    // The first expiry of a field: the stream must not go on.
    add_expiring_field(&mut primary, "h");
    primary.cmd(&["SET", "later", "v"]);
    replica.wait_info("master_link_status", "down");
    let forks = primary.info_text("total_forks");
    for side in [&primary, &replica] {
        wait_for("the refusal in the log", || {
            side.log().contains("there are hashes with expiring fields").then_some(())
        });
    }
    wait_for("several attempts", || {
        (primary.log().matches("Refusing synchronization to replica").count() > 2).then_some(())
    });
    assert_eq!(primary.info_text("total_forks"), forks, "a refusal costs no snapshot");
    assert_eq!(replica.text(&["GET", "k"]), "v");
    assert!(!replica.log().contains("sending an error to its"), "{}", replica.log());

    // The expiry is gone: a snapshot can be read, the stream between can't.
    primary.cmd(&["HPERSIST", "h", "FIELDS", "1", "f"]);
    replica.wait_info("master_link_status", "up");
    assert_eq!(replica.text(&["HGET", "h", "f"]), "v");
    assert_eq!(replica.text(&["GET", "later"]), "v");
    assert_eq!(primary.info("sync_partial_ok"), 0);
}

#[test]
fn restored_values_are_propagated_in_a_form_that_all_replicas_read() {
    let Some(primary) = start(Aeolis, &[]) else { return };
    let sources: Vec<Server> =
        [Redis8, Valkey, Aeolis].into_iter().filter_map(|kind| start(kind, &[])).collect();
    let mut replicas: Vec<Server> =
        [Redis8, Valkey, Aeolis].into_iter().filter_map(|kind| start(kind, &[])).collect();
    for replica in &mut replicas {
        replica.replica_of(primary.port);
        replica.wait_info("master_link_status", "up");
    }
    for (n, mut source) in sources.into_iter().enumerate() {
        add_expiring_field(&mut source, "h");
        source.cmd(&["RPUSH", "l", "1", "two"]);
        for (key, what) in [("h", "hash"), ("l", "list")] {
            let payload: Vec<u8> =
                redis::cmd("DUMP").arg(key).query(&mut source.connect()).expect("a payload");
            // Twice, so that it replaces something.
            for _ in 0..2 {
                redis::cmd("RESTORE")
                    .arg(format!("{what}:{n}"))
                    .arg(LATER)
                    .arg(&payload)
                    .arg("REPLACE")
                    .arg("ABSTTL")
                    .exec(&mut primary.connect())
                    .expect("a value");
            }
        }
        for replica in &mut replicas {
            has_expiring_field(replica, &format!("hash:{n}"));
            let list = format!("list:{n}");
            wait_for("the list", || {
                (replica.text(&["LRANGE", &list, "0", "-1"]) == "[1 two]").then_some(())
            });
            for kind in ["hash", "list"] {
                assert_eq!(
                    replica.text(&["PEXPIRETIME", &format!("{kind}:{n}")]),
                    format!(":{LATER}")
                );
            }
        }
    }
}

#[test]
fn a_replica_takes_the_dual_channel_of_a_valkey_that_has_selected_no_database() {
    let options = ["--repl-diskless-sync", "yes", "--dual-channel-replication-enabled", "yes"];
    let (Some(mut primary), Some(mut replica)) = (start(Valkey, &options), start(Aeolis, &options))
    else {
        return;
    };
    replica.replica_of(primary.port);
    replica.wait_info("master_link_status", "up");
    assert_eq!(primary.info("total_forks"), 1);
    primary.cmd(&["SET", "k", "v"]);
    wait_for("the stream", || (replica.text(&["GET", "k"]) == "v").then_some(()));
}
