//! The protocol as bytes: pipelines, splits, violations, limits.

use crate::harness::{Server, wait_for};

#[test]
fn a_pipeline_of_any_depth_is_answered_in_order() {
    let server = Server::start(&[]);
    let mut raw = server.raw();
    let input: String = (0..100_000).map(|n| format!("ECHO {n}\r\n")).collect();
    let reply = |n: u32| format!("${}\r\n{n}\r\n", n.to_string().len());
    let expected: String = (0..100_000).map(reply).collect();
    // Nothing is read before everything is written: what the socket does not take waits in the server.
    raw.send(&input);
    raw.expect(&expected);
}

/// What a request changes about what may run holds for the very next one, although both came in one read.
#[test]
fn a_pipeline_heeds_what_it_has_just_changed() {
    let server = Server::start(&[]);
    for (pipeline, expected) in [
        (
            "CONFIG SET maxmemory 1\r\nSET k v\r\nCONFIG SET maxmemory 0\r\nSET k v\r\n",
            "+OK\r\n-OOM command not allowed when used memory > 'maxmemory'.\r\n+OK\r\n+OK\r\n",
        ),
        (
            "SET k v\r\nMULTI\r\nGET k\r\nEXEC\r\nGET k\r\n",
            "+OK\r\n+OK\r\n+QUEUED\r\n*1\r\n$1\r\nv\r\n$1\r\nv\r\n",
        ),
        ("GET k\r\nCLIENT REPLY SKIP\r\nGET k\r\nGET none\r\n", "$1\r\nv\r\n$-1\r\n"),
        ("CLIENT REPLY OFF\r\nGET k\r\nCLIENT REPLY ON\r\nGET k\r\n", "+OK\r\n$1\r\nv\r\n"),
        (
            "REPLICAOF 127.0.0.1 1\r\nSET k w\r\nGET k\r\nREPLICAOF NO ONE\r\nSET k w\r\n",
            "+OK\r\n-READONLY You can't write against a read only replica.\r\n$1\r\nv\r\n+OK\r\n+OK\r\n",
        ),
        (
            "CONFIG SET min-replicas-to-write 1\r\nSET k x\r\nGET k\r\nCONFIG SET min-replicas-to-write 0\r\n",
            "+OK\r\n-NOREPLICAS Not enough good replicas to write.\r\n$1\r\nw\r\n+OK\r\n",
        ),
        (
            "ACL SETUSER reader on nopass ~* +get\r\nAUTH reader x\r\nGET k\r\nSET k y\r\n",
            "+OK\r\n+OK\r\n$1\r\nw\r\n-NOPERM User reader has no permissions to run the 'set' command\r\n",
        ),
        (
            "SUBSCRIBE c\r\nGET k\r\n",
            "*3\r\n$9\r\nsubscribe\r\n$1\r\nc\r\n:1\r\n-ERR Can't execute 'get': only (P|S)SUBSCRIBE / \
          (P|S)UNSUBSCRIBE / PING / QUIT / RESET are allowed in this context\r\n",
        ),
        ("CONFIG SET requirepass secret\r\nGET k\r\n", "+OK\r\n$1\r\nw\r\n"),
    ] {
        let mut raw = server.raw();
        raw.send(pipeline);
        raw.expect(expected);
    }
}

#[test]
fn a_request_may_be_split_at_any_byte() {
    let server = Server::start(&[]);
    let request = "*3\r\n$3\r\nSET\r\n$3\r\nkey\r\n$5\r\nvalue\r\n*2\r\n$3\r\nGET\r\n$3\r\nkey\r\n";
    for cut in 1..request.len() {
        let mut raw = server.raw();
        raw.send(&request[..cut]);
        // A round trip on another connection: the server has seen the first part by then.
        let mut other = server.raw();
        other.send("PING\r\n");
        other.expect("+PONG\r\n");
        raw.send(&request[cut..]);
        raw.expect("+OK\r\n$5\r\nvalue\r\n");
    }
}

#[test]
fn a_violation_is_answered_and_ends_the_connection_only() {
    let server = Server::start(&[]);
    let mut bystander = server.raw();
    for (input, text) in [
        ("*3000000000\r\n", "invalid multibulk length"),
        ("*1\r\nfoo\r\n", "expected '$', got 'f'"),
        ("*1\r\n$-10\r\n", "invalid bulk length"),
        ("*1\r\n$2000000000\r\n", "invalid bulk length"),
        ("set \"\"\"key\"\"\" v\r\n", "unbalanced quotes in request"),
    ] {
        let mut raw = server.raw();
        raw.send(format!("PING\r\n{input}"));
        raw.expect(format!("+PONG\r\n-ERR Protocol error: {text}\r\n"));
        assert_eq!(raw.read_to_end(), b"");
        bystander.send("PING\r\n");
        bystander.expect("+PONG\r\n");
    }
}

#[test]
fn endless_lines_and_lying_lengths_do_not_grow_without_bound() {
    let server = Server::start(&[]);
    let mut raw = server.raw();
    raw.send(vec![b'A'; 64 * 1024 + 1]);
    raw.expect("-ERR Protocol error: too big inline request\r\n");
    // Two thousand million arguments are announced, and none comes.
    let mut boaster = server.raw();
    boaster.send("*2147483647\r\n$3\r\nDEL\r\n$1");
    // Half a gigabyte is announced, and nothing comes.
    let mut liar = server.raw();
    liar.send("*2\r\n$4\r\nECHO\r\n$536870912\r\nabc");
    let mut server = server;
    let used: u64 = server.info_text("used_memory").and_then(|v| v.parse().ok()).expect("a number");
    assert!(used < 64 << 20, "{used} bytes are used");
}

#[test]
fn nothing_is_read_behind_a_zero_byte_of_an_inline_request() {
    let server = Server::start(&[]);
    let mut raw = server.raw();
    // As a TLS handshake begins; the newline may come at any place in it.
    raw.send("PING\r\n\x16\x03\x01\0\x01\nPING\r\n");
    // The server may have had enough before it has been sent all.
    raw.try_send(vec![b'A'; 1024 * 1024]);
    raw.expect("+PONG\r\n-ERR Protocol error: too big inline request\r\n");
    assert_eq!(raw.read_to_end(), b"");
}

#[test]
fn errors_and_statuses_say_the_bytes_that_they_were_told() {
    let server = Server::start(&[]);
    let mut raw = server.raw();
    let requests: [(&[&[u8]], &[u8]); 8] = [
        (
            &[b"caf\xe9", b"\xff\0x", b"y"],
            b"-ERR unknown command 'caf\xe9', with args beginning with: '\xff' 'y' ",
        ),
        (&[b"no\0such"], b"-ERR unknown command 'no', with args beginning with: "),
        (&[b"CONFIG", b"\xe9"], b"-ERR unknown subcommand '\xe9'. Try CONFIG HELP."),
        (
            &[b"XREADGROUP", b"GROUP", b"\xe9", b"c", b"STREAMS", b"\xf4\x8f\xbf\xbf", b">"],
            b"-NOGROUP No such key '\xf4\x8f\xbf\xbf' or consumer group '\xe9' in XREADGROUP with GROUP option",
        ),
        (&[b"EVAL", b"return redis.error_reply('MY \xe9')", b"0"], b"-MY \xe9"),
        (&[b"EVAL", b"return redis.status_reply('\xe9')", b"0"], b"+\xe9"),
        (&[b"XADD", b"x", b"1-1", b"f", b"v"], b"$3\r\n1-1"),
        (
            &[b"EVAL", b"return redis.pcall('xinfo', 'consumers', 'x', '\xe9').err", b"0"],
            b"$51\r\nNOGROUP No such consumer group '\xe9' for key name 'x'",
        ),
    ];
    for (request, reply) in requests {
        let mut bytes = format!("*{}\r\n", request.len()).into_bytes();
        for arg in request {
            bytes.extend(format!("${}\r\n", arg.len()).bytes().chain(arg.iter().copied()));
            bytes.extend(b"\r\n");
        }
        raw.send(bytes);
        raw.expect([reply, b"\r\n"].concat());
    }
}

#[test]
fn a_large_argument_comes_through_whole() {
    let server = Server::start(&[]);
    let value = "v".repeat(3 << 20);
    let mut raw = server.raw();
    raw.command(&["SET", "big", &value]);
    raw.expect("+OK\r\n");
    raw.command(&["GET", "big"]);
    raw.expect(format!("${}\r\n{value}\r\n", value.len()));
}

#[test]
fn a_slow_reader_over_its_limit_is_closed() {
    let mut server = Server::start(&["--client-output-buffer-limit", "normal 1mb 0 0"]);
    let value = "v".repeat(1 << 20);
    server.text(&["SET", "big", &value]);
    let mut greedy = server.raw();
    greedy.send("GET big\r\n".repeat(64));
    wait_for("the client to be closed", || {
        let clients = server.text(&["CLIENT", "LIST"]);
        (clients.lines().count() == 1).then_some(())
    });
    assert_eq!(server.text(&["PING"]), "PONG");
}

#[test]
fn clients_that_vanish_leave_nothing_behind() {
    let mut server = Server::start(&[]);
    for request in ["*2\r\n$3\r\nGE", "PING", "GET key\r\nGET", ""] {
        let mut raw = server.raw();
        raw.send(request);
        drop(raw);
    }
    server.wait_info("connected_clients", "1");
}

#[test]
fn a_request_may_have_more_than_a_million_arguments() {
    const KEYS: usize = 1 << 20;
    let server = Server::start(&[]);
    let mut raw = server.raw();
    raw.send(format!("*{}\r\n$6\r\nEXISTS\r\n", KEYS + 1));
    raw.send("$1\r\nk\r\n".repeat(KEYS));
    raw.expect(":0\r\n");
}

#[test]
fn who_speaks_http_is_not_heard() {
    let server = Server::start(&[]);
    for request in [
        "POST / HTTP/1.1\r\nHost: x\r\n\r\nSET k v\r\n",
        "pOsT\r\nSET k v\r\n",
        "PUT / HTTP/1.1\r\nhost: x\r\n\r\nSET k v\r\n",
        "*1\r\n$5\r\nHOST:\r\nSET k v\r\n",
    ] {
        let whole = [request.len()];
        for cut in whole.into_iter().chain(1..request.len()) {
            let mut raw = server.raw();
            raw.send(&request[..cut]);
            // The server has seen the first part when it answers somebody else.
            server.raw().ask("PING");
            raw.try_send(&request[cut..]);
            let answers = String::from_utf8(raw.read_to_end()).expect("a text");
            assert!(!answers.contains("+OK"), "{request:?} cut at {cut}: {answers}");
        }
    }
    assert_eq!(server.raw().ask("EXISTS k"), ":0");
    let log = server.log();
    assert_eq!(log.matches("# Possible SECURITY ATTACK detected.").count(), 1, "{log}");
}
