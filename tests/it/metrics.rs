//! The HTTP listener: metrics, probes and the live page's events, as a scraper, an orchestrator, a page and their
//! enemies see them.

use crate::harness::certificates::Certificates;
use crate::harness::replication::{FakePrimary, HISTORY};
use crate::harness::{PATIENCE, Raw, Server, free_port, wait_for};
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;

/// A server with the listener, and its port.
fn start(options: &[&str]) -> (Server, u16) {
    let port = free_port();
    let server = Server::start(&[&["--metrics-port", &port.to_string()], options].concat());
    (server, port)
}

/// An answer: the status, the head's lines in one text, and the body.
struct Answer {
    status: u16,
    head: String,
    body: String,
}

impl Answer {
    fn read(from: &mut impl Read, has_body: bool) -> Answer {
        let mut head = Vec::new();
        let mut byte = [0];
        while !head.ends_with(b"\r\n\r\n") {
            from.read_exact(&mut byte).expect("a head");
            head.push(byte[0]);
        }
        let head = String::from_utf8(head).expect("a text");
        let status = head.split(' ').nth(1).and_then(|code| code.parse().ok()).expect("a status");
        let len = head.lines().find_map(|line| line.strip_prefix("Content-Length: "));
        let len = len.and_then(|len| len.parse().ok()).expect("a length");
        let mut body = vec![0; if has_body { len } else { 0 }];
        from.read_exact(&mut body).expect("a body");
        Answer { status, head, body: String::from_utf8(body).expect("a text") }
    }

    /// The value of a sample, by its name with its labels.
    fn sample(&self, name: &str) -> f64 {
        self.find(name).unwrap_or_else(|| panic!("no {name} in\n{}", self.body))
    }

    fn find(&self, name: &str) -> Option<f64> {
        let value = self.body.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        value.map(|value| value.parse().expect("a number"))
    }
}

fn connect(port: u16) -> TcpStream {
    let stream = TcpStream::connect(("127.0.0.1", port)).expect("the listener");
    stream.set_read_timeout(Some(PATIENCE)).expect("a time-out");
    stream
}

/// Asks on a connection of its own, with these lines in the head.
fn ask(port: u16, path: &str, lines: &str) -> Answer {
    let mut stream = connect(port);
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n{lines}\r\n");
    stream.write_all(request.as_bytes()).expect("the server reads");
    Answer::read(&mut stream, true)
}

fn get(port: u16, path: &str) -> Answer {
    ask(port, path, "")
}

/// All that comes for these bytes, until the connection is closed.
fn reply_to(port: u16, bytes: &[u8]) -> String {
    let mut stream = connect(port);
    // It may be closed while they are on their way.
    let _ = stream.write_all(bytes);
    let mut reply = Vec::new();
    let _ = stream.read_to_end(&mut reply);
    String::from_utf8(reply).expect("a text")
}

#[test]
fn metrics_are_what_info_says() {
    let (mut server, port) = start(&["--maxclients", "1234"]);
    server.check(&[("SET k v", "OK"), ("GET k", "v"), ("GET none", "nil"), ("EXPIRE k 100", ":1")]);
    server.line("LPUSH k x");
    let answer = get(port, "/metrics");
    assert_eq!(answer.status, 200);
    assert!(answer.head.contains("Content-Type: text/plain; version=0.0.4"), "{}", answer.head);
    for (sample, value) in [
        ("redis_up", 1.0),
        ("redis_connected_clients", 1.0),
        ("redis_config_maxclients", 1234.0),
        ("redis_keyspace_hits_total", 1.0),
        ("redis_keyspace_misses_total", 1.0),
        ("redis_db_keys{db=\"db0\"}", 1.0),
        ("redis_db_keys_expiring{db=\"db0\"}", 1.0),
        ("redis_db_keys{db=\"db15\"}", 0.0),
        ("redis_commands_total{cmd=\"get\"}", 2.0),
        ("redis_commands_failed_calls_total{cmd=\"lpush\"}", 1.0),
        ("redis_commands_latencies_usec_bucket{cmd=\"get\",le=\"+Inf\"}", 2.0),
        ("redis_errors_total{err=\"WRONGTYPE\"}", 1.0),
        ("redis_rdb_last_bgsave_status", 1.0),
    ] {
        assert_eq!(answer.sample(sample), value, "{sample}");
    }
    assert!(answer.sample("aeolis_event_loop_turn_seconds_count") > 0.0);
    let used = server.info("used_memory") as f64;
    assert!((answer.sample("redis_memory_used_bytes") / used - 1.0).abs() < 0.5);

    let answer = ask(port, "/metrics", "Accept: application/openmetrics-text;version=1.0.0\r\n");
    assert!(answer.head.contains("Content-Type: application/openmetrics-text; version=1.0.0"));
    assert!(answer.body.ends_with("\n# EOF\n"));
    assert!(answer.body.contains("# TYPE redis_commands_processed counter\n"));
    assert!(answer.sample("redis_commands_processed_total") > 0.0);
    assert_eq!(answer.sample("redis_exporter_scrapes_total"), 1.0, "those before this one");
}

#[test]
fn histograms_grow_with_their_bounds() {
    let (mut server, port) = start(&[]);
    server.check(&[("SET k v", "OK"), ("DEBUG SLEEP 0.01", "OK"), ("SET k w", "OK")]);
    let answer = get(port, "/metrics");
    let series = |name: &str| -> Vec<f64> {
        let lines = answer.body.lines().filter(|line| line.starts_with(name));
        lines.map(|line| line.rsplit_once(' ').unwrap().1.parse().unwrap()).collect()
    };
    for name in [
        "redis_commands_latencies_usec_bucket{cmd=\"debug\"",
        "redis_commands_latencies_usec_bucket{cmd=\"set\"",
        "aeolis_event_loop_turn_seconds_bucket",
    ] {
        let counts = series(name);
        assert!(counts.len() > 20 && counts.is_sorted(), "{name}: {counts:?}");
    }
    let slept = series("redis_commands_latencies_usec_bucket{cmd=\"debug\"");
    assert_eq!((slept[0], slept[slept.len() - 1]), (0.0, 1.0));
}

#[test]
fn replication_is_seen_from_both_sides() {
    let (mut primary, port) = start(&["--repl-diskless-sync-delay", "0"]);
    let (mut replica, replica_port) = start(&[]);
    replica.follow(&primary);
    primary.cmd(&["SET", "k", "v"]);
    replica.catch_up_with(&mut primary);
    let id = primary.info_text("master_replid").unwrap();
    let peer = format!("127.0.0.1:{}", replica.port);
    wait_for("an acknowledgement", || {
        let answer = get(port, "/metrics");
        let lag = answer.find(&format!("aeolis_link_lag_bytes{{link=\"1\",peer=\"{peer}\"}}"))?;
        (lag == 0.0).then_some(())
    });
    let answer = get(port, "/metrics");
    let labels = format!(
        "{{slave_ip=\"127.0.0.1\",slave_port=\"{}\",slave_state=\"online\"}}",
        replica.port
    );
    assert!(answer.sample(&format!("redis_connected_slave_offset_bytes{labels}")) > 0.0);
    assert!(answer.body.contains(&format!(
        "aeolis_link_info{{link=\"1\",role=\"replica\",peer=\"{peer}\",state=\"online\"}} 1\n"
    )));
    let full = format!(
        "aeolis_link_resynchronisations_total{{link=\"1\",peer=\"{peer}\",outcome=\"full\"}}"
    );
    assert_eq!(answer.sample(&full), 1.0);
    let history = format!("aeolis_replication_history{{replid=\"{id}\",position=\"current\"}}");
    assert_eq!(answer.sample(&history), answer.sample("redis_master_repl_offset"));

    let answer = get(replica_port, "/metrics");
    let labels = format!("{{master_host=\"127.0.0.1\",master_port=\"{}\"}}", primary.port);
    assert_eq!(answer.sample(&format!("redis_master_link_up{labels}")), 1.0);
    assert!(answer.body.contains("role=\"primary\""));
    assert_eq!(get(replica_port, "/ready").status, 200);
    primary.kill();
    let why = wait_for("the link to break", || {
        let answer = get(replica_port, "/ready");
        (answer.status == 503).then_some(answer.body)
    });
    assert_eq!(why, format!("stale: no link to the primary 127.0.0.1:{}\n", primary.port));
    assert_eq!(get(replica_port, "/health").status, 200);
}

#[test]
fn a_server_is_ready_when_it_has_loaded_and_while_its_disk_takes_what_it_saves() {
    let mut server = Server::start(&[]);
    server.line("DEBUG POPULATE 10000");
    server.line("SAVE");
    server.kill();
    let port = free_port();
    let options = ["--metrics-port", &port.to_string(), "--key-load-delay", "1000"];
    let mut server = Server::start_loading(server.into_dir(), &options);
    let loading = get(port, "/ready");
    assert_eq!(loading.status, 503);
    assert!(loading.body.starts_with("loading: "), "{}", loading.body);
    assert_eq!(get(port, "/metrics").sample("redis_loading_dump_file"), 1.0);
    server.line("CONFIG SET key-load-delay 0");
    wait_for("the end of loading", || (get(port, "/ready").body == "ready\n").then_some(()));
}

#[test]
fn a_failing_disk_is_told() {
    let (mut server, port) = start(&["--save", "3600 1"]);
    server.cmd(&["SET", "k", "v"]);
    // Where the snapshot is to go there is a directory.
    std::fs::create_dir(server.dir().join("dump.rdb")).unwrap();
    server.line("BGSAVE");
    let why = wait_for("the snapshot to fail", || {
        let answer = get(port, "/ready");
        (answer.status == 503).then_some(answer.body)
    });
    assert_eq!(why, "failing disk: the last snapshot could not be saved\n");
    assert_eq!(get(port, "/metrics").sample("redis_rdb_last_bgsave_status"), 0.0);
}

#[test]
fn users_log_in_and_see_what_they_may() {
    let (mut server, port) = start(&[]);
    assert_eq!(get(port, "/metrics").status, 200, "the default user has no password");
    server.line("ACL SETUSER watcher on >secret +info");
    server.line("ACL SETUSER other on >secret +get");
    server.line("ACL SETUSER default >secret");
    let refused = get(port, "/metrics");
    assert_eq!(refused.status, 401);
    assert!(refused.head.contains("WWW-Authenticate: Basic realm="));
    // watcher:secret, watcher:wrong, other:secret
    for (credentials, status) in
        [("d2F0Y2hlcjpzZWNyZXQ=", 200), ("d2F0Y2hlcjp3cm9uZw==", 401), ("b3RoZXI6c2VjcmV0", 403)]
    {
        let line = format!("Authorization: Basic {credentials}\r\n");
        assert_eq!(ask(port, "/metrics", &line).status, status, "{credentials}");
    }
    assert_eq!(get(port, "/ready").status, 200, "an orchestrator has no password");
    let log = server.line("ACL LOG");
    assert!(log.contains("watcher") && log.contains("HTTP"), "{log}");
}

#[test]
fn other_sites_can_t_be_this_one() {
    let (mut server, port) = start(&[]);
    let with_host = |host: &str| {
        let request =
            format!("GET /metrics HTTP/1.1\r\nHost: {host}\r\nOrigin: http://evil.example\r\n\r\n");
        let mut stream = connect(port);
        stream.write_all(request.as_bytes()).unwrap();
        Answer::read(&mut stream, true)
    };
    assert_eq!(with_host("evil.example").status, 421);
    let answer = with_host("127.0.0.1");
    assert_eq!(answer.status, 200);
    assert!(!answer.head.contains("Access-Control"), "{}", answer.head);
    assert_eq!(server.line("PING"), "PONG");
}

#[test]
fn a_connection_serves_several_requests() {
    let (_server, port) = start(&[]);
    let mut stream = connect(port);
    let request = |method: &str| format!("{method} /health HTTP/1.1\r\nHost: localhost\r\n\r\n");
    // In one piece, and byte by byte.
    stream.write_all(request("GET").repeat(3).as_bytes()).unwrap();
    for _ in 0..3 {
        assert_eq!(Answer::read(&mut stream, true).body, "ok\n");
    }
    for byte in request("HEAD").bytes() {
        stream.write_all(&[byte]).unwrap();
    }
    assert_eq!(Answer::read(&mut stream, false).status, 200);
    stream.write_all(request("GET").as_bytes()).unwrap();
    assert_eq!(Answer::read(&mut stream, true).body, "ok\n");
}

#[test]
fn what_is_no_request_gets_a_clear_answer() {
    let (mut server, port) = start(&[]);
    let huge = [b"GET / HTTP/1.1\r\nHost: ", &[b'a'; 1_000_000][..]].concat();
    let garbage = [b"\0\xff".repeat(100_000), b"\r\n\r\n".to_vec()].concat();
    let posted = [
        &b"POST /metrics HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n"[..],
        &[b'x'; 100_000],
    ]
    .concat();
    for (bytes, answer) in [
        (&b"*1\r\n$4\r\nPING\r\n"[..], "-ERR this port speaks HTTP"),
        (b"PING\r\n", "HTTP/1.1 400 "),
        (b"GET /metrics HTTP/1.1\r\n\r\n", "HTTP/1.1 400 "),
        (b"DELETE /metrics HTTP/1.1\r\nHost: a\r\n\r\n", "HTTP/1.1 405 "),
        (&posted, "HTTP/1.1 413 "),
        (&huge, "HTTP/1.1 431 "),
        (&garbage, "HTTP/1.1 400 "),
    ] {
        let reply = reply_to(port, bytes);
        assert!(
            reply.starts_with(answer),
            "{}: {reply}",
            bytes[..20.min(bytes.len())].escape_ascii()
        );
    }
    assert_eq!(get(port, "/nothing").status, 404);
    assert_eq!(server.line("PING"), "PONG");
}

#[test]
fn who_speaks_http_to_the_other_port_is_told() {
    let server = Server::start(&[]);
    for request in ["GET / HTTP/1.1\r\nHost: x\r\n\r\n", "POST / HTTP/1.1\r\n\r\n"] {
        let reply = reply_to(server.port, request.as_bytes());
        assert!(reply.starts_with("HTTP/1.1 400 Bad Request\r\n"), "{reply}");
        assert!(reply.contains("This port speaks RESP"), "{reply}");
    }
}

#[test]
fn idle_connections_keep_nobody_out() {
    let (mut server, port) = start(&[]);
    let mut idle: Vec<TcpStream> = (0..300).map(|_| connect(port)).collect();
    assert_eq!(get(port, "/metrics").status, 200);
    assert_eq!(server.line("PING"), "PONG");
    // The first of them had to make room.
    assert_eq!(idle[0].read(&mut [0; 1]).unwrap_or(0), 0);
    let files = std::fs::read_dir(format!("/proc/{}/fd", server.pid())).unwrap().count();
    assert!(files < 200, "{files} descriptors");
}

#[test]
fn a_scraper_that_does_not_read_holds_nobody_up() {
    const SCRAPES: usize = 200;
    let (mut server, port) = start(&[]);
    let mut slow = connect(port);
    let request = "GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n".repeat(SCRAPES);
    slow.write_all(request.as_bytes()).unwrap();
    // It is answered until its socket is full, and others are served meanwhile.
    let before = server.info("used_memory");
    for _ in 0..100 {
        assert_eq!(server.line("PING"), "PONG");
    }
    assert_eq!(get(port, "/health").status, 200);
    assert!(server.info("used_memory") < before + 2_000_000);
    for _ in 0..SCRAPES {
        let answer = Answer::read(&mut slow, true);
        assert!(answer.status == 200 && answer.body.contains("redis_up 1\n"));
    }
}

/// The next event of a stream, as its text.
fn next_event(stream: &mut impl Read) -> String {
    let mut event = Vec::new();
    let mut byte = [0];
    while !event.ends_with(b"\n\n") {
        stream.read_exact(&mut byte).expect("an event");
        event.push(byte[0]);
    }
    let event = String::from_utf8(event).expect("a text");
    event.strip_prefix("data: {").unwrap_or_else(|| panic!("{event}")).to_string()
}

/// Asks for the page's events, and reads the head of the answer.
fn listen(port: u16) -> TcpStream {
    let mut stream = connect(port);
    stream.write_all(b"GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n").expect("the server reads");
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).expect("a head");
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).expect("a text");
    assert!(head.contains("Content-Type: text/event-stream\r\n"), "{head}");
    stream
}

#[test]
fn a_page_is_told_what_happens() {
    let (mut server, port) =
        start(&["--slowlog-log-slower-than", "0", "--maxmemory-policy", "allkeys-lfu"]);
    let mut page = listen(port);
    let first = next_event(&mut page);
    assert!(first.contains("\"keyspace\":[]") && first.contains("\"role\":\"master\""), "{first}");
    server.cmd(&["RPUSH", "a \"list\"", "value"]);
    let event = wait_for("the list", || {
        let event = next_event(&mut page);
        event.contains("\"type\":\"list\"").then_some(event)
    });
    for part in [
        "\"keys\":1",
        "\"command\":\"RPUSH a \\\"list\\\" value\"",
        "\"key\":\"a \\\"list\\\"\"",
        "\"frequency\":",
        "\"name\":\"rpush\"",
    ] {
        assert!(event.contains(part), "no {part} in {event}");
    }
    assert_eq!(get(port, "/metrics").sample("aeolis_page_viewers"), 1.0);
    drop(page);
    wait_for("the page to be gone", || {
        (get(port, "/metrics").sample("aeolis_page_viewers") == 0.0).then_some(())
    });
}

#[test]
fn long_work_says_how_far_it_is() {
    let (mut server, port) = start(&["--rdb-key-save-delay", "10000"]);
    server.line("DEBUG POPULATE 5000");
    assert_eq!(server.line("BGSAVE"), "Background saving started");
    let mut page = listen(port);
    let course = wait_for("a rate", || {
        let course = server.info_text("progress_saving")?;
        course.contains("seconds_left=").then_some(course)
    });
    let part = |name: &str| course.split(',').find_map(|part| part.strip_prefix(name));
    assert_eq!(part("unit="), Some("keys"), "{course}");
    assert_eq!(part("total="), Some("5000"), "{course}");
    let answer = get(port, "/metrics");
    let of = |metric: &str| answer.sample(&format!("{metric}{{work=\"saving\",unit=\"keys\"}}"));
    assert_eq!(of("aeolis_progress_total"), 5000.0);
    assert!(of("aeolis_progress_done") < 5000.0 && of("aeolis_progress_per_second") > 0.0);
    wait_for("an event that tells of it", || {
        let event = next_event(&mut page);
        event.contains("\"title\":\"Saving\"").then_some(())
    });
    server.line("FLUSHALL");
    wait_for("its end", || server.info_text("progress_saving").is_none().then_some(()));
    assert_eq!(
        get(port, "/metrics").find("aeolis_progress_total{work=\"saving\",unit=\"keys\"}"),
        None
    );
}

#[test]
fn synchronisations_say_how_far_they_are_on_both_sides() {
    let (mut primary, _) = start(&["--repl-diskless-sync", "no", "--rdbcompression", "no"]);
    primary.line("SETRANGE big 50000000 x");
    // A replica that does not read.
    let mut raw = primary.raw();
    raw.command(&["PSYNC", "?", "-1"]);
    let course = wait_for("the transfer", || primary.info_text("progress_sending"));
    assert!(course.starts_with("unit=bytes,done=") && course.contains(",total=50000"), "{course}");

    let other = FakePrimary::new();
    let mut replica = other.start_replica(&[]);
    let (mut raw, _) = other.handshake();
    raw.send(format!("+FULLRESYNC {HISTORY} 1\r\n$1000\r\nREDIS0011"));
    let course = wait_for("the other transfer", || {
        replica.info_text("progress_receiving").filter(|course| course.contains("done=9,"))
    });
    assert!(course.starts_with("unit=bytes,done=9,total=1000"), "{course}");
    assert!(course.ends_with("percent=0.90"), "{course}");
}

#[test]
fn pages_that_do_not_read_or_are_too_many_harm_nobody() {
    let (mut server, port) = start(&[]);
    for n in 0..200 {
        server.cmd(&["SET", &format!("key:{n}"), "value"]);
    }
    let mut pages: Vec<TcpStream> = (0..16).map(|_| listen(port)).collect();
    assert_eq!(get(port, "/events").status, 503);
    let before = server.info("used_memory");
    // One of them reads.
    for _ in 0..3 {
        next_event(&mut pages[0]);
    }
    assert!(server.info("used_memory") < before + 16 * 256 * 1024);
    drop(pages);
    wait_for("room", || (get(port, "/metrics").sample("aeolis_page_viewers") == 0.0).then_some(()));
    drop(listen(port));
}

#[test]
fn the_page_is_for_those_who_may_see_what_is_on_it() {
    let (mut server, port) = start(&[]);
    let page = get(port, "/");
    assert_eq!(page.status, 200);
    assert!(page.head.contains("Content-Security-Policy: default-src 'self';"), "{}", page.head);
    for line in page.body.lines() {
        let file = line.split_once("href=\"").or(line.split_once("src=\""));
        if let Some((file, _)) = file.and_then(|(_, rest)| rest.split_once('"'))
            && !file.starts_with('#')
        {
            assert_eq!(get(port, &format!("/{file}")).status, 200, "{file}");
        }
    }
    server.line("ACL SETUSER watcher on >secret +info");
    server.line("ACL SETUSER other on >secret +@all ~mine:*");
    server.line("ACL SETUSER admin on >secret +@all ~*");
    // watcher:secret, other:secret, admin:secret
    for (credentials, status) in
        [("d2F0Y2hlcjpzZWNyZXQ=", 403), ("b3RoZXI6c2VjcmV0", 403), ("YWRtaW46c2VjcmV0", 200)]
    {
        let line = format!("Authorization: Basic {credentials}\r\n");
        assert_eq!(ask(port, "/", &line).status, status, "{credentials}");
    }
}

#[test]
fn the_listener_can_be_opened_and_closed_while_the_server_runs() {
    let mut server = Server::start(&[]);
    let port = free_port();
    assert_eq!(server.line(&format!("CONFIG SET metrics-port {port}")), "OK");
    wait_for("the listener", || TcpStream::connect(("127.0.0.1", port)).ok());
    assert_eq!(get(port, "/health").status, 200);
    assert_eq!(server.line("CONFIG SET metrics-port 0"), "OK");
    wait_for("its end", || TcpStream::connect(("127.0.0.1", port)).is_err().then_some(()));
    assert_eq!(server.line("CONFIG GET metrics-bind"), "[metrics-bind 127.0.0.1 -::1]");
    assert!(Raw::to_port(server.port).is_ok());
}

#[test]
fn metrics_may_be_encrypted() {
    let keys = Certificates::new();
    let mut options = keys.options();
    options.extend(["--metrics-tls", "yes", "--tls-auth-clients", "no"].map(String::from));
    let options: Vec<&str> = options.iter().map(String::as_str).collect();
    let (_server, port) = start(&options);
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(keys.path("ca.crt")).unwrap()).unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from("localhost").unwrap();
    let session = ClientConnection::new(Arc::new(config), name).unwrap();
    let mut stream = StreamOwned::new(session, connect(port));
    for _ in 0..2 {
        stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
        assert_eq!(Answer::read(&mut stream, true).sample("redis_up"), 1.0);
    }
}
