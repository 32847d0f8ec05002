//! What clients are answered: replies longer than anybody can want, clients that do not read, and whom they must not
//! disturb.

use crate::harness::{Raw, Server, wait_for};

const MEGABYTE: usize = 1 << 20;

fn used_memory(server: &mut Server) -> usize {
    server.info_text("used_memory").and_then(|bytes| bytes.parse().ok()).expect("a number")
}

#[test]
fn a_reply_that_nobody_can_want_is_refused_at_once() {
    let mut server = Server::start(&[]);
    server.cmd(&["ZADD", "z", "1", "a", "2", "b"]);
    server.cmd(&["HSET", "h", "a", "1", "b", "2"]);
    server.cmd(&["SADD", "s", "a", "b"]);
    for (request, all) in
        [("ZRANDMEMBER z", "WITHSCORES"), ("HRANDFIELD h", "WITHVALUES"), ("SRANDMEMBER s", "")]
    {
        let words: Vec<&str> = request.split(' ').collect();
        for count in ["-9223372036854775807", "-4611686018427387903", "-1000000000"] {
            let mut with = vec![words[0], words[1], count];
            assert_eq!(server.text(&with), "ERR value is out of range", "{request} {count}");
            if !all.is_empty() {
                with.push(all);
                assert_eq!(
                    server.text(&with),
                    "ERR value is out of range",
                    "{request} {count} {all}"
                );
            }
            assert_eq!(server.text(&[words[0], "missing", count]), "[]");
        }
        let redis::Value::Array(elements) = server.cmd(&[words[0], words[1], "-5000"]) else {
            panic!("{request} answers no array")
        };
        assert_eq!(elements.len(), 5000);
    }
    assert!(used_memory(&mut server) < 64 * MEGABYTE);
}

#[test]
fn a_reply_is_given_up_while_it_grows() {
    let mut server = Server::start(&["--client-output-buffer-limit", "normal", "8mb", "0", "0"]);
    server.cmd(&["SET", "k", &"x".repeat(MEGABYTE)]);
    server.cmd(&["HSET", "h", "f", &"x".repeat(MEGABYTE)]);
    server.cmd(&["SADD", "s", &"x".repeat(MEGABYTE)]);
    server.cmd(&["RPUSH", "l", "1"]);
    server.cmd(&["SET", "k1", &"x".repeat(MEGABYTE)]);
    server.cmd(&["XADD", "x", "*", "f", &"x".repeat(MEGABYTE)]);
    let many = |word: &str| format!(" {word}").repeat(1000);
    for request in [
        format!("MGET{}", many("k")),
        format!("HMGET h{}", many("f")),
        format!("SORT l BY nosort{}", " GET k*".repeat(1000)),
        "SRANDMEMBER s -1000".to_string(),
        format!("XREAD STREAMS{}{}", many("x"), many("0")),
        format!("MULTI\r\n{}EXEC", "GET k\r\n".repeat(100)),
    ] {
        let before = server.info_text("client_output_buffer_limit_disconnections");
        let mut raw = server.raw();
        raw.send(format!("{request}\r\n"));
        let got = raw.read_to_end();
        assert!(got.len() < 9 * MEGABYTE, "{} bytes come", got.len());
        assert_ne!(
            server.info_text("client_output_buffer_limit_disconnections"),
            before,
            "{}",
            &request[..20]
        );
    }
    let peak: usize =
        server.info_text("used_memory_peak").and_then(|n| n.parse().ok()).expect("a number");
    assert!(peak < 80 * MEGABYTE, "{peak} bytes were used");
}

#[test]
fn what_is_not_read_is_held_once_and_given_back() {
    let mut server = Server::start(&[]);
    let values = 48;
    let value = "x".repeat(MEGABYTE);
    for i in 0..values {
        server.cmd(&["SET", &i.to_string(), &value]);
    }
    let before = used_memory(&mut server);
    let mut raw = server.named("reader");
    let keys: String = (0..values).map(|i| format!(" {i}")).collect();
    raw.send(format!("MULTI\r\nMGET{keys}\r\nEXEC\r\n"));
    wait_for("the reply to wait", || {
        server.client_field("reader", "omem").filter(|omem| omem != "0")
    });
    let held = used_memory(&mut server) - before;
    assert!(held < (values + 4) * MEGABYTE, "{held} bytes");
    // They are what they were, whatever becomes of the values.
    server.cmd(&["FLUSHALL"]);
    raw.expect(format!("+OK\r\n+QUEUED\r\n*1\r\n*{values}\r\n"));
    for _ in 0..values {
        raw.expect(format!("${MEGABYTE}\r\n{value}\r\n"));
    }
    wait_for("the memory to be given back", || {
        (used_memory(&mut server) < 8 * MEGABYTE).then_some(())
    });
}

#[test]
fn others_are_served_between_the_commands_of_a_pipeline() {
    let mut server = Server::start(&[]);
    let mut raw = server.raw();
    let commands = 100;
    raw.send("DEBUG SLEEP 0.01\r\n".repeat(commands));
    let done = |server: &mut Server| {
        let stats = server.info_text("cmdstat_debug")?;
        stats.strip_prefix("calls=")?.split(',').next()?.parse::<usize>().ok()
    };
    let first = wait_for("the first commands", || done(&mut server));
    assert!(first < commands, "the pipeline was executed at one go");
    raw.expect("+OK\r\n".repeat(commands));
    assert_eq!(done(&mut server), Some(commands));
}

#[test]
fn slow_monitors_share_what_they_are_to_see() {
    let mut server = Server::start(&[]);
    let before = used_memory(&mut server);
    let monitors: Vec<Raw> = (0..20)
        .map(|_| {
            let mut raw = server.raw();
            assert_eq!(raw.ask("MONITOR"), "+OK");
            raw
        })
        .collect();
    let long = "x".repeat(MEGABYTE);
    for _ in 0..32 {
        server.cmd(&["ECHO", &long]);
    }
    let held = used_memory(&mut server) - before;
    assert!(held < 64 * MEGABYTE, "{held} bytes");
    // A limit ends those that are over it at the next line.
    server.cmd(&["CONFIG", "SET", "client-output-buffer-limit", "normal 2mb 0 0"]);
    server.cmd(&["ECHO", &long]);
    wait_for("the monitors to be closed", || {
        (server.info_text("connected_clients").as_deref() == Some("1")).then_some(())
    });
    assert_eq!(server.info("client_output_buffer_limit_disconnections"), 20);
    drop(monitors);
}

#[test]
fn a_monitor_sees_commands_and_its_own_replies_in_order() {
    let mut server = Server::start(&[]);
    server.cmd(&["PING"]);
    let mut monitor = server.raw();
    assert_eq!(monitor.ask("MONITOR"), "+OK");
    for i in 0..100 {
        server.cmd(&["SET", "k", &i.to_string()]);
        assert!(monitor.line().ends_with(&format!("\"SET\" \"k\" \"{i}\"")));
        monitor.send(format!("ECHO {i}\r\n"));
        monitor.expect(format!("${}\r\n{i}\r\n", i.to_string().len()));
        assert!(monitor.line().ends_with(&format!("\"ECHO\" \"{i}\"")));
    }
    assert_eq!(monitor.ask("RESET"), "+RESET");
    server.cmd(&["SET", "k", "unseen"]);
    assert_eq!(monitor.ask("PING"), "+PONG");
}

#[test]
fn the_soft_limit_counts_from_the_last_excess() {
    let mut server = Server::start(&["--client-output-buffer-limit", "normal", "0", "1mb", "3"]);
    server.cmd(&["SET", "k", &"x".repeat(16 * MEGABYTE)]);
    let mut raw = server.named("reader");
    let ask = |raw: &mut Raw, server: &mut Server| {
        raw.send("GET k\r\n");
        wait_for("an excess", || server.client_field("reader", "omem").filter(|omem| omem != "0"));
        assert_eq!(raw.line(), format!("${}", 16 * MEGABYTE));
        raw.read(16 * MEGABYTE + 2);
    };
    ask(&mut raw, &mut server);
    let age = |server: &mut Server| server.client_field("reader", "age")?.parse::<u32>().ok();
    let start = age(&mut server).expect("it is there");
    wait_for("some time to pass", || age(&mut server).filter(|age| *age > start + 4));
    ask(&mut raw, &mut server);
    assert_eq!(raw.ask("PING"), "+PONG");
}

#[test]
fn a_reply_of_resp3_in_pieces() {
    let mut server = Server::start(&[]);
    let value = "x".repeat(MEGABYTE);
    for i in 0..4 {
        server.cmd(&["HSET", "h", &i.to_string(), &value]);
    }
    let mut raw = server.raw();
    raw.hello3();
    // The count of a map is known at its end only, when the first pieces are full.
    raw.send("HGETALL h\r\nMGET h\r\nPING\r\n");
    assert_eq!(raw.line(), "%4");
    for _ in 0..4 {
        assert_eq!(raw.line(), "$1");
        raw.line();
        raw.expect(format!("${MEGABYTE}\r\n{value}\r\n"));
    }
    raw.expect("*1\r\n_\r\n+PONG\r\n");
    assert!(server.line("HGETALL h") == format!("[0 {value} 1 {value} 2 {value} 3 {value}]"));
}
