//! Publish and subscribe over the wire, in both protocols, and keyspace notifications.

use crate::harness::{Raw, Server};

/// Parts as bulk strings behind a header; a number stays one, `nil` is null.
fn frame(header: char, parts: &str) -> String {
    let parts: Vec<&str> = parts.split(' ').collect();
    let mut out = format!("{header}{}\r\n", parts.len());
    for part in parts {
        out += &match part {
            "nil" if header == '>' => "_\r\n".to_string(),
            "nil" => "$-1\r\n".to_string(),
            "''" => "$0\r\n\r\n".to_string(),
            _ if part.starts_with(':') => format!("{part}\r\n"),
            _ => format!("${}\r\n{part}\r\n", part.len()),
        };
    }
    out
}

fn resp2(parts: &str) -> String {
    frame('*', parts)
}

fn resp3(parts: &str) -> String {
    frame('>', parts)
}

/// Sends a request, and expects these messages or replies one after the other.
fn ask(wire: &mut Raw, request: &str, replies: &[&str]) {
    wire.send(format!("{request}\r\n"));
    for reply in replies {
        wire.expect(reply);
    }
}

#[test]
fn messages_reach_the_subscribers() {
    let mut server = Server::start(&[]);
    let (mut a, mut b) = (server.raw(), server.raw());
    ask(
        &mut a,
        "SUBSCRIBE x y x",
        &[&resp2("subscribe x :1"), &resp2("subscribe y :2"), &resp2("subscribe x :2")],
    );
    ask(&mut a, "PSUBSCRIBE h?llo", &[&resp2("psubscribe h?llo :3")]);
    ask(&mut b, "PSUBSCRIBE h* x", &[&resp2("psubscribe h* :1"), &resp2("psubscribe x :2")]);
    server.check(&[
        ("PUBLISH x one", ":2"),
        ("PUBLISH hello two", ":2"),
        ("PUBLISH nobody three", ":0"),
        ("PUBLISH y ''", ":1"),
        ("PUBSUB CHANNELS x*", "[x]"),
        ("PUBSUB NUMSUB x y z", "[x :1 y :1 z :0]"),
        ("PUBSUB NUMSUB", "[]"),
        ("PUBSUB NUMPAT", ":3"),
        ("PUBSUB CHANNELS none*", "[]"),
        ("PUBSUB NUMPAT x", "ERR wrong number of arguments for 'pubsub|numpat' command"),
        ("PUBSUB NOSUCH", "ERR unknown subcommand 'NOSUCH'. Try PUBSUB HELP."),
    ]);
    for message in ["message x one", "pmessage h?llo hello two", "message y ''"] {
        a.expect(resp2(message));
    }
    for message in ["pmessage x x one", "pmessage h* hello two"] {
        b.expect(resp2(message));
    }
    assert_eq!((server.info("pubsub_channels"), server.info("pubsub_patterns")), (2, 3));
    ask(&mut a, "UNSUBSCRIBE x z", &[&resp2("unsubscribe x :2"), &resp2("unsubscribe z :2")]);
    ask(&mut a, "PUNSUBSCRIBE", &[&resp2("punsubscribe h?llo :1")]);
    ask(&mut a, "PUNSUBSCRIBE", &[&resp2("punsubscribe nil :1")]);
    ask(&mut a, "UNSUBSCRIBE", &[&resp2("unsubscribe y :0")]);
    ask(&mut a, "UNSUBSCRIBE", &[&resp2("unsubscribe nil :0")]);
    // An ordinary client again.
    ask(&mut a, "PING", &["+PONG\r\n"]);
    drop(b);
    server.wait_for("PUBSUB NUMPAT", |n| n == ":0");
    assert_eq!(server.info("pubsub_clients"), 0);
}

#[test]
fn shard_channels_are_a_namespace_of_their_own() {
    let mut server = Server::start(&[]);
    let mut a = server.raw();
    ask(&mut a, "SSUBSCRIBE x", &[&resp2("ssubscribe x :1")]);
    ask(&mut a, "SUBSCRIBE x", &[&resp2("subscribe x :1")]);
    server.check(&[
        ("SPUBLISH x shard", ":1"),
        ("PUBLISH x plain", ":1"),
        ("PUBSUB SHARDCHANNELS", "[x]"),
        ("PUBSUB SHARDNUMSUB x y", "[x :1 y :0]"),
    ]);
    a.expect(resp2("smessage x shard") + &resp2("message x plain"));
    ask(&mut a, "SUNSUBSCRIBE", &[&resp2("sunsubscribe x :0")]);
    ask(&mut a, "SUNSUBSCRIBE", &[&resp2("sunsubscribe nil :0")]);
    assert_eq!(server.info("pubsubshard_channels"), 0);
}

#[test]
fn a_subscriber_in_resp2_may_do_little() {
    let mut server = Server::start(&[]);
    let mut a = server.raw();
    ask(&mut a, "CLIENT SETNAME sub", &["+OK\r\n"]);
    ask(&mut a, "SUBSCRIBE x", &[&resp2("subscribe x :1")]);
    ask(&mut a, "PING", &[&resp2("pong ''")]);
    ask(&mut a, "PING hi", &[&resp2("pong hi")]);
    for command in ["GET k", "CONFIG GET x", "MULTI", "PUBLISH x y"] {
        let name = command.split(' ').next().unwrap_or_default().to_lowercase();
        let name = if name == "config" { "config|get" } else { &name };
        let error = format!(
            "-ERR Can't execute '{name}': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET are allowed in \
             this context\r\n"
        );
        ask(&mut a, command, &[&error]);
    }
    let line = server.line("CLIENT LIST TYPE pubsub");
    assert!(
        line.contains("name=sub")
            && line.contains("flags=P")
            && line.contains("sub=1 psub=0 ssub=0")
    );
    ask(&mut a, "RESET", &["+RESET\r\n"]);
    ask(&mut a, "GET k", &["$-1\r\n"]);
    server.check(&[("PUBSUB CHANNELS", "[]")]);
}

#[test]
fn in_resp3_messages_are_pushed() {
    let server = Server::start(&[]);
    let mut a = server.raw();
    a.hello3();
    ask(&mut a, "SUBSCRIBE x y", &[&resp3("subscribe x :1"), &resp3("subscribe y :2")]);
    // What a client tells itself comes behind the reply.
    ask(&mut a, "PUBLISH x self", &[":1\r\n", &resp3("message x self")]);
    ask(&mut a, "GET k", &["_\r\n"]);
    ask(&mut a, "PING", &["+PONG\r\n"]);
    for request in ["MULTI", "PUBLISH x 1", "UNSUBSCRIBE y", "PUBLISH x 2", "PING"] {
        let reply = if request == "MULTI" { "+OK\r\n" } else { "+QUEUED\r\n" };
        ask(&mut a, request, &[reply]);
    }
    let replies = ["*4\r\n:1\r\n", &resp3("unsubscribe y :1"), ":1\r\n+PONG\r\n"];
    ask(&mut a, "EXEC", &replies);
    a.expect(resp3("message x 1") + &resp3("message x 2"));
    ask(&mut a, "UNSUBSCRIBE y", &[&resp3("unsubscribe y :1")]);
    ask(&mut a, "SUNSUBSCRIBE", &[&resp3("sunsubscribe nil :0")]);
    // Silence is for replies.
    a.send("CLIENT REPLY OFF\r\nPING\r\n");
    ask(&mut a, "PSUBSCRIBE x", &[&resp3("psubscribe x :2")]);
    ask(&mut a, "PUBLISH x quiet", &[&resp3("message x quiet"), &resp3("pmessage x x quiet")]);
    ask(&mut a, "CLIENT REPLY ON", &["+OK\r\n"]);
}

#[test]
fn subscriptions_of_many_clients_come_and_go() {
    let mut server = Server::start(&[]);
    let mut wires: Vec<Raw> = (0..20).map(|_| server.raw()).collect();
    for (i, wire) in wires.iter_mut().enumerate() {
        for channel in 0..=i {
            ask(
                wire,
                &format!("SUBSCRIBE c{channel}"),
                &[&resp2(&format!("subscribe c{channel} :{}", channel + 1))],
            );
        }
    }
    for channel in 0..20 {
        assert_eq!(server.line(&format!("PUBLISH c{channel} all")), format!(":{}", 20 - channel));
    }
    for (i, wire) in wires.iter_mut().enumerate() {
        for channel in 0..=i {
            wire.expect(resp2(&format!("message c{channel} all")));
        }
        if i % 3 == 0 {
            ask(wire, "UNSUBSCRIBE c0", &[&resp2(&format!("unsubscribe c0 :{i}"))]);
        }
    }
    assert_eq!(server.line("PUBLISH c0 some"), ":13");
    for (_, wire) in wires.iter_mut().enumerate().filter(|(i, _)| i % 3 != 0) {
        wire.expect(resp2("message c0 some"));
        ask(wire, "PING", &["*2\r\n$4\r\npong\r\n$0\r\n\r\n"]);
    }
    drop(wires);
    server.wait_for("PUBSUB CHANNELS", |list| list == "[]");
}

#[test]
fn replicas_publish_too() {
    let primary = Server::start(&[]);
    let replica = Server::start(&["--replicaof", &format!("127.0.0.1 {}", primary.port)]);
    let (mut primary, mut replica) = (primary, replica);
    replica.wait_for("INFO replication", |info| info.contains("master_link_status:up"));
    let mut a = replica.raw();
    ask(&mut a, "SUBSCRIBE x", &[&resp2("subscribe x :1")]);
    primary.check(&[("PUBLISH x far", ":0"), ("SPUBLISH x shard", ":0")]);
    a.expect(resp2("message x far"));
    replica.check(&[("PUBLISH x near", ":1")]);
    a.expect(resp2("message x near"));
}

#[test]
fn what_happens_to_keys_is_published() {
    let mut server = Server::start(&["--notify-keyspace-events", "KEA"]);
    let mut a = server.raw();
    ask(&mut a, "PSUBSCRIBE __key*", &[&resp2("psubscribe __key* :1")]);
    let mut expect = |key: &str, event: &str, db: usize| {
        a.expect(resp2(&format!("pmessage __key* __keyspace@{db}__:{key} {event}")));
        a.expect(resp2(&format!("pmessage __key* __keyevent@{db}__:{event} {key}")));
    };
    server.check(&[
        ("SET k 1 EX 100", "OK"),
        ("SELECT 3", "OK"),
        ("MSET a 1 b 2", "OK"),
        ("DEL a nokey b", ":2"),
    ]);
    expect("k", "set", 0);
    expect("k", "expire", 0);
    for (key, event) in [("a", "set"), ("b", "set"), ("a", "del"), ("b", "del")] {
        expect(key, event, 3);
    }
    // By itself, and found by a command, inside a transaction too.
    server.check(&[("SET e 1 PX 1", "OK")]);
    server.wait_for("DBSIZE", |n| n == ":0");
    for event in ["set", "expire", "expired"] {
        expect("e", event, 3);
    }
    server.check(&[("DEBUG SET-ACTIVE-EXPIRE 0", "OK"), ("SET e 1 PX 1", "OK")]);
    server.pass(2);
    server.check(&[
        ("MULTI", "OK"),
        ("GET e", "QUEUED"),
        ("SET f 1", "QUEUED"),
        ("EXEC", "[nil OK]"),
    ]);
    for (key, event) in [("e", "set"), ("e", "expire"), ("e", "expired"), ("f", "set")] {
        expect(key, event, 3);
    }
    server.check(&[
        ("CONFIG SET notify-keyspace-events Eenm", "OK"),
        ("GET nokey", "nil"),
        ("SET new 1", "OK"),
        ("SET new 2", "OK"),
        ("CONFIG SET maxmemory-policy allkeys-random", "OK"),
        ("CONFIG SET maxmemory 1", "OK"),
    ]);
    a.expect(resp2("pmessage __key* __keyevent@3__:keymiss nokey"));
    a.expect(resp2("pmessage __key* __keyevent@3__:new new"));
    let evicted: Vec<String> = (0..2).map(|_| (0..9).map(|_| a.line() + " ").collect()).collect();
    assert!(evicted.iter().all(|message| message.contains(":evicted")), "{evicted:?}");
    server.check(&[
        ("CONFIG SET maxmemory 0", "OK"),
        ("CONFIG SET notify-keyspace-events ''", "OK"),
        ("SET k 1", "OK"),
    ]);
}

/// Executes commands and compares their replies, and all events that are announced meanwhile.
fn check_events(server: &mut Server, wire: &mut Raw, cases: &[(&str, &str, &[&str])]) {
    for (command, reply, events) in cases {
        server.check(&[(command, reply)]);
        for event in *events {
            let (event, key) = event.split_once(' ').unwrap();
            wire.expect(resp2(&format!("pmessage * __keyevent@0__:{event} {key}")));
        }
    }
}

#[test]
fn a_result_takes_the_place_of_an_expired_key() {
    let mut server = Server::start(&["--notify-keyspace-events", "EA"]);
    server.check(&[
        ("DEBUG SET-ACTIVE-EXPIRE 0", "OK"),
        ("SADD s m", ":1"),
        ("ZADD z 1 m", ":1"),
        ("SET t x", "OK"),
        ("RPUSH l 1", ":1"),
    ]);
    let mut a = server.raw();
    ask(&mut a, "PSUBSCRIBE *", &[&resp2("psubscribe * :1")]);
    let cases: &[(&str, &str, &[&str])] = &[
        // What an empty result deletes is not looked up before.
        ("SINTERSTORE d no", ":0", &["del d"]),
        ("SUNIONSTORE d no", ":0", &["del d"]),
        ("SDIFFSTORE d no", ":0", &["del d"]),
        ("ZUNIONSTORE d 1 no", ":0", &["del d"]),
        ("ZRANGESTORE d no 0 -1", ":0", &["del d"]),
        ("GEOSEARCHSTORE d no FROMLONLAT 1 1 BYRADIUS 1 m", ":0", &["del d"]),
        ("BITOP NOT d no", ":0", &["del d"]),
        ("SORT no STORE d", ":0", &["del d"]),
        // What a result replaces is.
        ("SUNIONSTORE d s", ":1", &["expired d", "sunionstore d"]),
        ("ZUNIONSTORE d 1 z", ":1", &["expired d", "zunionstore d"]),
        ("ZRANGESTORE d z 0 -1", ":1", &["expired d", "zrangestore d"]),
        ("BITOP NOT d t", ":1", &["expired d", "set d"]),
        ("SORT l STORE d", ":1", &["expired d", "sortstore d"]),
        // Even where it can't be replaced, or the arguments are wrong.
        ("SMOVE no d m", ":0", &["expired d"]),
        (
            "XAUTOCLAIM d g c x 0",
            "ERR Invalid min-idle-time argument for XAUTOCLAIM",
            &["expired d"],
        ),
        ("LCS s d", "ERR The specified keys must contain string values", &["expired d"]),
    ];
    for case in cases {
        let expires = ("SET d x PX 1", "OK", &["set d", "expire d"][..]);
        let waits = ("DEBUG SLEEP 0.01", "OK", &[][..]);
        check_events(&mut server, &mut a, &[expires, waits, *case]);
    }
    check_events(&mut server, &mut a, &[("SET end 1", "OK", &["set end"])]);
}

#[test]
fn misses_are_published_as_often_as_a_key_is_read() {
    let mut server = Server::start(&["--notify-keyspace-events", "Em"]);
    let mut a = server.raw();
    ask(&mut a, "PSUBSCRIBE *", &[&resp2("psubscribe * :1")]);
    let no_group = "NOGROUP No such key 'no' or consumer group 'g'";
    check_events(
        &mut server,
        &mut a,
        &[
            ("GEOSEARCH no FROMLONLAT 1 1 BYRADIUS 1 m", "[]", &["keymiss no"]),
            ("GEOSEARCHSTORE d no FROMLONLAT 1 1 BYRADIUS 1 m", ":0", &["keymiss no"]),
            ("XACK no g 1-1", ":0", &["keymiss no"]),
            ("XCLAIM no g c 0 1-1", no_group, &["keymiss no"]),
            ("XAUTOCLAIM no g c 0 0", no_group, &["keymiss no"]),
            // They change what they find, and what they miss is not told of.
            ("DELIFEQ no x", ":0", &[]),
            ("HEXPIRE no 1 FIELDS 1 f", "[:-2]", &[]),
            ("HGETEX no FIELDS 1 f", "[nil]", &[]),
            ("GET end", "nil", &["keymiss end"]),
        ],
    );
}

#[test]
fn what_a_command_with_a_long_reply_does_is_published() {
    let mut server = Server::start(&["--notify-keyspace-events", "El"]);
    let long = "x".repeat(300_000);
    server.cmd(&["RPUSH", "k", &long, &long]);
    let mut a = server.raw();
    ask(&mut a, "PSUBSCRIBE *", &[&resp2("psubscribe * :1")]);
    assert_eq!(server.line("LPOP k 2"), format!("[{long} {long}]"));
    a.expect(resp2("pmessage * __keyevent@0__:lpop k"));
}

#[test]
fn a_subscriber_that_reads_nothing_is_let_go() {
    let mut server = Server::start(&["--client-output-buffer-limit", "pubsub 1mb 0 0"]);
    let mut a = server.raw();
    ask(&mut a, "SUBSCRIBE x", &[&resp2("subscribe x :1")]);
    let message = "m".repeat(100_000);
    let gone = (0..1000).any(|_| server.text(&["PUBLISH", "x", &message]) == ":0");
    assert!(gone, "it is still there");
    assert_eq!(server.info("client_output_buffer_limit_disconnections"), 1);
}

#[test]
fn a_pipeline_of_messages_is_few_writes_to_each_subscriber() {
    let mut server = Server::start(&[]);
    let mut subscribers: Vec<Raw> = (0..10).map(|_| server.raw()).collect();
    for wire in &mut subscribers {
        ask(wire, "SUBSCRIBE x", &[&resp2("subscribe x :1")]);
    }
    let before = server.info("total_writes_processed");
    let mut publisher = server.raw();
    publisher.send((0..500).map(|n| format!("PUBLISH x {n}\r\n")).collect::<String>());
    publisher.expect(":10\r\n".repeat(500));
    // Behind what was published before it, in its place.
    ask(&mut subscribers[0], "PING", &[]);
    let messages: String = (0..500).map(|n| resp2(&format!("message x {n}"))).collect();
    subscribers.iter_mut().for_each(|wire| wire.expect(&messages));
    subscribers[0].expect(resp2("pong ''"));
    // One for each message would be 5,000.
    let writes = server.info("total_writes_processed") - before;
    assert!(writes < 1000, "{writes} writes");
}
