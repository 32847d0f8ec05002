//! Where a node of a cluster sends requests that are not for it. The other nodes are only in its file.

use crate::harness::{Server, free_port, wait_for};

const ME: &str = "07c37dfeb235213a872192d90877d0cd55635b91";
const OTHER: &str = "67ed2db8d677e59ec4a4cefb06858cf2a1a89fa1";
const THIRD: &str = "824fe116063bc5fcf9f4ffd895bc17aee7731ac3";

/// The slots of `bar`, this node's, and `foo`, the other one's.
const BAR: u16 = 5061;
const FOO: u16 = 12182;

/// A node that owns the lower half of the slots, or a replica of the one that does. The other half is another node's.
fn node(role: &str, others: &str, options: &[&str]) -> Server {
    let dir = tempfile::tempdir().unwrap();
    let bus = free_port();
    let text = format!(
        "{ME} 127.0.0.1:30000@{bus},,tls-port=0,shard-id={ME} myself,{role}\n\
         {OTHER} 127.0.0.1:30001@{bus},host.example,tls-port=0,shard-id={OTHER} master - 0 0 1 connected 8192-16383\n\
         {others}vars currentEpoch 2 lastVoteEpoch 0\n"
    );
    std::fs::write(dir.path().join("nodes.conf"), text).unwrap();
    let fixed = ["--cluster-enabled", "yes", "--cluster-node-timeout", "600000"];
    let mut s = Server::start_in(dir, &[&fixed, options].concat());
    s.wait_for("CLUSTER INFO", |info| info.contains("cluster_state:ok"));
    s
}

/// What a node tells clients of itself, and passes on of others, may be other ports than nodes use among themselves.
#[test]
fn clients_may_be_told_other_ports() {
    let told = format!(
        "{THIRD} 127.0.0.1:30002@40002,,client-tcp-port=7777,client-ipv4=1.2.3.4,tls-port=0,shard-id={THIRD} \
         master - 0 0 0 connected\n"
    );
    let mut s = node("master - 0 0 2 connected 0-8191", &told, &[]);
    let nodes = s.line("CLUSTER NODES");
    assert!(nodes.contains(&format!("{THIRD} 1.2.3.4:7777@40002 master")), "{nodes}");
    s.check(&[
        ("CONFIG SET cluster-announce-client-port 8888", "OK"),
        ("CONFIG SET cluster-announce-client-tls-port 8889", "OK"),
        ("CONFIG SET cluster-announce-client-port 65536", "ERR CONFIG SET failed (possibly related to argument 'cluster-announce-client-port') - argument must be between 0 and 65535 inclusive"),
    ]);
    let slots = s.line("CLUSTER SLOTS");
    assert!(slots.starts_with("[[:0 :8191 [127.0.0.1 :8888 "), "{slots}");
    let file = s.dir().join("nodes.conf");
    wait_for("the file", || {
        let text = std::fs::read_to_string(&file).ok()?;
        text.contains(",client-tls-port=8889,client-tcp-port=8888,tls-port=0").then_some(())
    });
}

fn primary(options: &[&str]) -> Server {
    node("master - 0 0 2 connected 0-8191", "", options)
}

fn moved(slot: u16) -> String {
    format!("MOVED {slot} 127.0.0.1:30001")
}

fn ask(slot: u16) -> String {
    format!("ASK {slot} 127.0.0.1:30001")
}

const TRY_AGAIN: &str = "TRYAGAIN Multiple keys request during rehashing of slot";

#[test]
fn what_another_node_has_is_asked_for_there() {
    let mut s = primary(&[]);
    let foo = moved(FOO);
    s.check(&[
        ("SET bar 1", "OK"),
        ("GET foo", &foo),
        ("MSET foo 1 {foo}2 2", &foo),
        ("MGET foo bar", "CROSSSLOT Keys in request don't hash to the same slot"),
        ("SPUBLISH foo message", &foo),
        ("PUBLISH foo message", ":0"),
        ("EVAL return(1) 1 foo", &foo),
        ("MULTI", "OK"),
        ("GET bar", "QUEUED"),
        ("GET foo", &foo),
        ("EXEC", "EXECABORT Transaction discarded because of previous errors."),
        ("GET bar", "1"),
        ("CONFIG SET cluster-preferred-endpoint-type hostname", "OK"),
        ("GET foo", "MOVED 12182 host.example:30001"),
        ("CONFIG SET cluster-preferred-endpoint-type unknown-endpoint", "OK"),
        ("GET foo", "MOVED 12182 :30001"),
    ]);
    let undeclared = s.text(&["EVAL", "return redis.call('get', 'foo')", "0"]);
    let refused = "ERR Script attempted to access a non local key in a cluster node script: ";
    assert!(undeclared.starts_with(refused), "{undeclared}");
}

#[test]
fn a_slot_that_leaves_is_served_while_its_keys_are_here() {
    let mut s = primary(&[]);
    let ask = ask(BAR);
    s.check(&[
        ("SET bar 1", "OK"),
        ("SET {bar}2 2", "OK"),
        (&format!("CLUSTER SETSLOT {BAR} MIGRATING {OTHER}"), "OK"),
        ("GET bar", "1"),
        ("MGET bar {bar}2", "[1 2]"),
        ("MGET bar {bar}3", TRY_AGAIN),
        ("GET {bar}3", &ask),
        ("SET {bar}3 x", &ask),
        ("MGET {bar}3 {bar}4", &ask),
        // Channels are no keys: they are here until the slot is gone.
        ("SPUBLISH bar message", ":0"),
        ("MULTI", "OK"),
        ("GET bar", "QUEUED"),
        ("DEL bar", "QUEUED"),
        ("GET {bar}2", "QUEUED"),
        ("EXEC", "[1 :1 2]"),
        ("GET bar", &ask),
        (&format!("CLUSTER SETSLOT {BAR} STABLE"), "OK"),
        ("GET bar", "nil"),
    ]);
}

/// Whoever was sent here and waits is served here, until the slot is not to come any more.
#[test]
fn who_was_sent_may_wait_for_a_slot_that_comes() {
    let mut s = primary(&[]);
    s.check(&[(&format!("CLUSTER SETSLOT {FOO} IMPORTING {OTHER}"), "OK")]);
    let mut waiting = s.raw();
    for number in 1..=2 {
        waiting.send("ASKING\r\nBLPOP foo 0\r\n");
        waiting.expect("+OK\r\n");
        s.wait_info("blocked_clients", "1");
        if number == 1 {
            s.check(&[("ASKING", "OK"), ("RPUSH foo 1", ":1")]);
            waiting.expect("*2\r\n$3\r\nfoo\r\n$1\r\n1\r\n");
            // That was for one request.
            assert_eq!(waiting.ask("GET foo"), format!("-{}", moved(FOO)));
        }
    }
    s.check(&[(&format!("CLUSTER SETSLOT {FOO} STABLE"), "OK")]);
    assert_eq!(waiting.line(), format!("-{}", moved(FOO)));
}

#[test]
fn a_slot_that_comes_is_served_to_those_who_were_sent() {
    let mut s = primary(&[]);
    let moved = moved(FOO);
    s.check(&[
        (&format!("CLUSTER SETSLOT {FOO} IMPORTING {OTHER}"), "OK"),
        ("GET foo", &moved),
        ("ASKING", "OK"),
        ("SET foo 1", "OK"),
        ("GET foo", &moved),
        ("ASKING", "OK"),
        ("ASKING", "OK"),
        ("GET foo", "1"),
        ("ASKING", "OK"),
        ("PING", "PONG"),
        ("GET foo", &moved),
        ("ASKING", "OK"),
        ("MGET foo {foo}2", TRY_AGAIN),
        ("ASKING", "OK"),
        ("GET {foo}2", "nil"),
        ("ASKING", "OK"),
        ("MULTI", "OK"),
        ("GET foo", "QUEUED"),
        ("GET foo", "QUEUED"),
        ("EXEC", "[1 1]"),
        ("GET foo", &moved),
        ("ASKING", "OK"),
        ("EVAL return(redis.call('get','foo')) 0", "1"),
    ]);
    // RESTORE-ASKING needs no ASKING before it.
    let dump = redis::cmd("DUMP").arg("bar").to_owned();
    s.check(&[("SET bar value", "OK")]);
    let dump: Vec<u8> = dump.query(&mut s.connect()).unwrap();
    let restore = |name: &str| redis::cmd(name).arg("{foo}3").arg(0).arg(&dump).to_owned();
    assert!(restore("RESTORE").query::<()>(&mut s.connect()).is_err());
    restore("RESTORE-ASKING").query::<()>(&mut s.connect()).unwrap();
    s.check(&[("ASKING", "OK"), ("GET {foo}3", "value")]);
}

#[test]
fn a_replica_serves_readers_only() {
    let (bus, primary) = (free_port(), "a".repeat(40));
    let others = format!(
        "{primary} 127.0.0.1:30001@{bus},,tls-port=0,shard-id={ME} master - 0 0 2 connected 0-8191\n"
    );
    let mut s = node(&format!("slave {primary} 0 0 2 connected"), &others, &[]);
    let (bar, foo) = (moved(BAR), moved(FOO));
    s.check(&[
        ("GET bar", &bar),
        ("READONLY", "OK"),
        ("GET bar", "nil"),
        ("SET bar 1", &bar),
        ("GET foo", &foo),
        ("EVAL_RO return(redis.call('get','bar')) 1 bar", "nil"),
        ("MULTI", "OK"),
        ("GET bar", "QUEUED"),
        ("EXEC", "[nil]"),
        ("READWRITE", "OK"),
        ("GET bar", &bar),
        // Whoever publishes to the shard does so at any of its nodes.
        ("SPUBLISH bar message", ":0"),
    ]);
}

#[test]
fn a_cluster_has_as_many_databases_as_it_is_told() {
    let mut s = primary(&["--cluster-databases", "4"]);
    s.check(&[
        ("SET bar 0", "OK"),
        ("SELECT 3", "OK"),
        ("SET bar 3", "OK"),
        ("SET {bar}2 3", "OK"),
        ("SELECT 4", "ERR DB index is out of range"),
        ("CLUSTER COUNTKEYSINSLOT 5061", ":3"),
        ("COPY {bar}2 {bar}3 DB 1", ":1"),
        ("MOVE {bar}2 2", ":1"),
        ("CLUSTER COUNTKEYSINSLOT 5061", ":4"),
        ("SWAPDB 0 1", "ERR SWAPDB is not allowed in cluster mode"),
    ]);
    // Which keys of a transaction are here depends on the database that it selects.
    let ask = ask(BAR);
    s.check(&[
        ("SELECT 0", "OK"),
        ("DEL bar", ":1"),
        (&format!("CLUSTER SETSLOT {BAR} MIGRATING {OTHER}"), "OK"),
        ("MULTI", "OK"),
        ("SELECT 3", "QUEUED"),
        ("GET bar", "QUEUED"),
        ("EXEC", "[OK 3]"),
        ("MULTI", "OK"),
        ("SELECT 4", "QUEUED"),
        ("SELECT 0", "QUEUED"),
        ("GET bar", &ask),
        ("EXEC", "EXECABORT Transaction discarded because of previous errors."),
    ]);
    let mut s = primary(&[]);
    s.check(&[
        ("SELECT 1", "ERR SELECT is not allowed in cluster mode"),
        ("SELECT 1000", "ERR SELECT is not allowed in cluster mode"),
        ("MOVE bar 1", "ERR MOVE is not allowed in cluster mode"),
        ("COPY bar {bar}2 DB 1", "ERR Copying to another database is not allowed in cluster mode"),
    ]);
}

/// Gives the slot of `bar` away.
fn give_away(s: &mut Server) {
    s.check(&[(&format!("CLUSTER SETSLOT {BAR} NODE {OTHER}"), "OK")]);
}

#[test]
fn who_waits_in_a_slot_that_leaves_is_sent_on() {
    let mut s = primary(&[]);
    let mut waiting = s.blocked("BLPOP bar {bar}2 0");
    let mut waits_on = s.blocked("BLPOP baz 0");
    give_away(&mut s);
    assert_eq!(waiting.line(), format!("-{}", moved(BAR)));
    assert!(s.is_silent_to(&mut waits_on));
    s.check(&[
        ("CONFIG SET cluster-require-full-coverage no", "OK"),
        ("CLUSTER DELSLOTS 4813", "OK"),
    ]);
    assert_eq!(waits_on.line(), "-CLUSTERDOWN Hash slot not served");
}

#[test]
fn who_waits_while_the_cluster_goes_down_is_told() {
    let mut s = primary(&[]);
    let mut waiting = s.blocked("BLPOP bar 0");
    s.check(&[("CLUSTER DELSLOTS 1", "OK")]);
    assert_eq!(waiting.line(), "-CLUSTERDOWN The cluster is down");
}

#[test]
fn subscriptions_end_with_the_slot() {
    let mut s = primary(&[]);
    let mut subscriber = s.raw();
    subscriber.talk(&[
        ("SSUBSCRIBE bar", "*3\r\n$10\r\nssubscribe\r\n$3\r\nbar\r\n:1\r\n"),
        ("SSUBSCRIBE baz", "*3\r\n$10\r\nssubscribe\r\n$3\r\nbaz\r\n:2\r\n"),
    ]);
    give_away(&mut s);
    subscriber.expect("*3\r\n$12\r\nsunsubscribe\r\n$3\r\nbar\r\n:1\r\n");
    s.check(&[("PUBSUB SHARDCHANNELS", "[baz]")]);
    subscriber.talk(&[("SSUBSCRIBE bar", &format!("-{}\r\n", moved(BAR)))]);
}
