//! Encrypted links to and from Redis.

use crate::harness::certificates::Certificates;
use crate::harness::{Server, free_port, wait_for};
use crate::load::{Fields, fill};
use crate::peers::Kind;

/// A pair of servers that know only each other's encrypted port.
fn check(primary: Kind, replica: Kind) {
    let (Some(primary), Some(replica)) = (primary.program(), replica.program()) else { return };
    let certificates = Certificates::new();
    let start = |program| {
        let port = free_port();
        let mut options = certificates.options();
        options.extend(["--tls-port".to_string(), port.to_string()]);
        options.extend(["--tls-replication".to_string(), "yes".to_string()]);
        let options: Vec<&str> = options.iter().map(String::as_str).collect();
        (Server::start_program(program, tempfile::tempdir().expect("a directory"), &options), port)
    };
    let ((mut primary, port), (mut replica, own_port)) = (start(&primary), start(&replica));
    fill(&mut primary.connect(), Fields::Stay);
    replica.replica_of(port);
    replica.wait_info("master_link_status", "up");
    wait_for("the replica's port", || {
        primary
            .info_text("slave0")?
            .contains(&format!("port={own_port},state=online"))
            .then_some(())
    });
    primary.cmd(&["SET", "large", &"x".repeat(1_000_000)]);
    assert_eq!(primary.text(&["WAIT", "1", "30000"]), ":1");
    primary.cmd(&["CLIENT", "KILL", "TYPE", "replica"]);
    primary.cmd(&["SET", "later", "1"]);
    primary.wait_info("sync_partial_ok", "1");
    wait_for("the last write", || (replica.text(&["GET", "later"]) == "1").then_some(()));
    assert_eq!(primary.text(&["DBSIZE"]), replica.text(&["DBSIZE"]));
    assert_eq!(replica.text(&["STRLEN", "large"]), ":1000000");
}

#[test]
fn redis7_follows_aeolis_over_tls() {
    check(Kind::Aeolis, Kind::Redis7);
}

#[test]
fn aeolis_follows_redis7_over_tls() {
    check(Kind::Redis7, Kind::Aeolis);
}
