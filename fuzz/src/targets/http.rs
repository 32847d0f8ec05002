//! What comes to the HTTP listener, good and broken. However it is cut into pieces, the answers have the same statuses,
//! and all that is said is an answer.
#![forbid(unsafe_code)]

use super::Bench;
use crate::source::Source;

const METHODS: &[&str] = &["GET", "GET", "GET", "HEAD", "POST", "OPTIONS", "get", "PRI", ""];
const TARGETS: &[&str] = &[
    "/",
    "/health",
    "/ready",
    "/metrics",
    "/metrics?x=1#y",
    "/events",
    "/main.js",
    "/nosuch",
    "/../../etc/passwd",
    "//",
    "*",
    "http://localhost/metrics",
    "",
];
const VERSIONS: &[&str] =
    &["HTTP/1.1", "HTTP/1.1", "HTTP/1.1", "HTTP/1.0", "HTTP/2.0", "http/1.1", ""];
const HEADERS: &[&str] = &[
    "Host: localhost",
    "Host: localhost",
    "Host: 127.0.0.1:9121",
    "Host: evil.example",
    "Host:",
    "Origin: http://evil.example",
    "Accept: application/openmetrics-text;version=1.0.0,text/plain;q=0.1",
    "Accept: text/plain;q=x;;,",
    "Authorization: Basic ZGVmYXVsdDo=",
    "Authorization: Basic !!!",
    "Authorization: Bearer x",
    "Connection: close",
    "Connection: keep-alive, Upgrade",
    "Content-Length: 3",
    "Content-Length: -1",
    "Transfer-Encoding: chunked",
    "Expect: 100-continue",
    " continued",
    "no colon",
];

/// What clients of RESP are told.
const FOR_RESP: &[u8] = b"-ERR this port speaks HTTP";

pub fn generate(source: &mut Source) -> Vec<u8> {
    let mut input = Vec::new();
    for _ in 0..1 + source.below(5) {
        match source.below(12) {
            0 => input.extend(source.junk(30)),
            1 => input.extend(b"*1\r\n$4\r\nPING\r\n"),
            2 => input.extend(vec![b'A'; 10_000 * source.below(3)]),
            3 => input.extend(b"\x16\x03\x01\x02\0\x01"),
            _ => request(source, &mut input),
        }
    }
    input
}

fn request(source: &mut Source, input: &mut Vec<u8>) {
    let end = source.pick(&["\r\n", "\r\n", "\r\n", "\n", "\r"]);
    let line = [source.pick(METHODS), source.pick(TARGETS), source.pick(VERSIONS)].join(" ");
    input.extend(format!("{line}{end}").into_bytes());
    for _ in 0..source.below(5) {
        if source.percent(10) {
            input.extend(b"X-Junk: ");
            input.extend(source.junk(40));
        } else {
            input.extend(source.pick(HEADERS).bytes());
        }
        input.extend(end.bytes());
    }
    if source.percent(90) {
        input.extend(end.bytes());
    }
}

/// The statuses of the answers; 0 is the one that clients of RESP get.
///
/// # Panics
/// If something else is said.
fn statuses(mut said: &[u8]) -> Vec<u16> {
    let mut found = Vec::new();
    while !said.is_empty() {
        if said.starts_with(FOR_RESP) {
            found.push(0);
            return found;
        }
        let end = said.windows(4).position(|part| part == b"\r\n\r\n").expect("a head");
        let head = std::str::from_utf8(&said[..end]).expect("a text");
        let status = head.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3)?.parse().ok());
        found.push(status.unwrap_or_else(|| panic!("no answer: {head}")));
        said = &said[end + 4..];
        let len = head.lines().find_map(|line| line.strip_prefix("Content-Length: "));
        // A stream of events has no length.
        let Some(len) = len.and_then(|len| len.parse().ok()) else { return found };
        // The answer to HEAD has no body, and no body looks like an answer.
        if !begins_answer(said) {
            said = said.get(len..).unwrap_or_default();
        }
    }
    found
}

fn begins_answer(said: &[u8]) -> bool {
    let status = said.strip_prefix(b"HTTP/1.1 ");
    said.starts_with(FOR_RESP)
        || status.is_some_and(|rest| rest.first().is_some_and(u8::is_ascii_digit))
}

pub fn run(bench: &mut Bench<'_>, input: &[u8]) {
    let host = bench.host();
    let mut source = Source::of_input(input);
    let mut answers = Vec::new();
    for cuts in [vec![0, input.len()], source.cuts(input.len())] {
        let link = host.connect_to_http();
        for cut in cuts.windows(2) {
            host.send(&link, &input[cut[0]..cut[1]]);
        }
        let said = link.take();
        answers.push(statuses(&said));
        if said.starts_with(b"HTTP/1.1 ") && source.percent(20) {
            host.advance(1000);
        }
        host.hang_up(&link);
        assert!(link.is_closed(), "who is gone is forgotten");
    }
    assert_eq!(answers[0], answers[1], "in one piece, and in several");
    // Whoever sends half a head is waited for, but not for ever.
    let link = host.connect_to_http();
    host.send(&link, b"GET / HTTP/1.1\r\n");
    (0..30).for_each(|_| host.advance(1000));
    assert!(link.is_closed(), "half a head");
    host.check();
}
