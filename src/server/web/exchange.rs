//! What is said on one connection, as a machine that knows no socket and no server: bytes go in, requests come out;
//! answers go in, bytes come out.
//!
//! One request is dealt with at a time. While its answer waits to be taken, nothing more is read, so that nobody can
//! make the server hold more than one head and one answer for a connection. What is no request is answered once, and
//! the connection closed behind that.

use super::response::{Response, Status};
use crate::server::client::Output;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use httparse::{EMPTY_HEADER, Header};

/// The longest head of a request, in bytes, and the most lines in it.
const MAX_HEAD: usize = 8 * 1024;
const MAX_HEADERS: usize = 64;
/// What an event stream holds back for a reader that does not keep up: beyond that it misses events.
const MAX_UNREAD_EVENTS: usize = 256 * 1024;

/// A user and a password, as they were sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credentials {
    pub user: Vec<u8>,
    pub password: Vec<u8>,
}

/// A request that can be answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// The path, without what follows a `?`.
    pub path: String,
    pub host: Option<String>,
    pub accept: String,
    pub credentials: Option<Credentials>,
}

/// What a connection is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Requests come, and are answered one after the other.
    Serving,
    /// The last answer is on its way; nothing is read any more.
    Closing,
    /// An answer that does not end: events are added to it.
    Streaming,
}

/// How the answer to a request is to be written.
#[derive(Clone, Copy, Debug, Default)]
struct Manner {
    /// The request was HEAD: an answer has no body.
    head_only: bool,
    /// There is to be no further request.
    last: bool,
}

/// See the module.
#[derive(Debug)]
pub struct Exchange {
    state: State,
    input: Vec<u8>,
    output: Output,
    manner: Manner,
}

impl Exchange {
    pub fn new() -> Exchange {
        Exchange {
            state: State::Serving,
            input: Vec::new(),
            output: Output::default(),
            manner: Manner::default(),
        }
    }

    /// Whether a request has begun and is not complete.
    pub fn is_amid_request(&self) -> bool {
        !self.input.is_empty()
    }

    /// Whether bytes wait to be written.
    pub fn has_output(&self) -> bool {
        !self.output.is_empty()
    }

    pub fn is_streaming(&self) -> bool {
        self.state == State::Streaming
    }

    /// Whether all has been said.
    pub fn is_over(&self) -> bool {
        self.state == State::Closing && self.output.is_empty()
    }

    /// What is to be written next.
    pub fn output(&self) -> &Output {
        &self.output
    }

    /// So many bytes of it were written.
    pub fn wrote(&mut self, n: usize) {
        self.output.consume(n);
    }

    /// Bytes came. Who only listens to events has nothing to say: that is dropped.
    pub fn receive(&mut self, bytes: &[u8]) {
        if self.state == State::Serving {
            self.input.extend_from_slice(bytes);
        }
    }

    /// The next complete request, which is to be answered before another is asked for. What is none is answered here.
    pub fn next_request(&mut self) -> Option<Request> {
        if self.state != State::Serving || self.has_output() || self.input.is_empty() {
            return None;
        }
        if self.input[0] == b'*' {
            // No method of HTTP begins so; every request of RESP does.
            self.close_with(Bytes::from_static(SPEAKS_HTTP_TO_RESP));
            return None;
        }
        let mut headers = [EMPTY_HEADER; MAX_HEADERS];
        let mut head = httparse::Request::new(&mut headers);
        // What is behind the longest head is not looked at, so that it does not matter in which pieces all of it came.
        let outcome = match head.parse(&self.input[..self.input.len().min(MAX_HEAD)]) {
            Ok(httparse::Status::Complete(len)) => read_head(&head).map(|found| (len, found)),
            Ok(httparse::Status::Partial) if self.input.len() < MAX_HEAD => return None,
            Ok(httparse::Status::Partial) | Err(httparse::Error::TooManyHeaders) => {
                Err(Status::HeadTooLarge)
            }
            Err(httparse::Error::Version) => Err(Status::VersionNotSupported),
            Err(_) => Err(Status::BadRequest),
        };
        match outcome {
            Ok((len, (request, manner))) => {
                self.input.drain(..len);
                if self.input.is_empty() {
                    // An idle connection keeps no buffers.
                    self.input = Vec::new();
                }
                self.manner = manner;
                Some(request)
            }
            Err(status) => {
                self.manner = Manner { head_only: false, last: true };
                self.answer(&Response::of(status));
                None
            }
        }
    }

    /// Answers the request that came out last.
    pub fn answer(&mut self, response: &Response) {
        let mut bytes = response.head(self.manner.last);
        if !self.manner.head_only {
            bytes.extend_from_slice(&response.body);
        }
        if self.manner.last {
            self.close_with(bytes.into());
        } else {
            self.output.push(bytes.into());
        }
    }

    /// Answers it with events from now on, as they come.
    pub fn stream_events(&mut self) {
        let head = Response::head_of_events();
        if self.manner.head_only {
            self.close_with(head.into());
            return;
        }
        self.state = State::Streaming;
        self.input = Vec::new();
        self.output.push(head.into());
    }

    /// Adds an event to a stream, unless its reader is too far behind.
    pub fn push_event(&mut self, event: Bytes) {
        if self.is_streaming() && self.output.len() < MAX_UNREAD_EVENTS {
            self.output.push(event);
        }
    }

    fn close_with(&mut self, bytes: Bytes) {
        self.input = Vec::new();
        self.state = State::Closing;
        self.output.push(bytes);
    }
}

/// What a client of RESP is told, in RESP.
const SPEAKS_HTTP_TO_RESP: &[u8] =
    b"-ERR this port speaks HTTP, for metrics. Commands are served on the port of the directive 'port'\r\n";

/// What a complete head asks for.
fn read_head(head: &httparse::Request<'_, '_>) -> Result<(Request, Manner), Status> {
    let header = |name: &str| find(head.headers, name);
    let is_old = head.version == Some(0);
    let all = |name| head.headers.iter().filter(move |h| h.name.eq_ignore_ascii_case(name));
    let host = header("Host").map(|host| String::from_utf8_lossy(host).into_owned());
    // Of two, others might believe the other one.
    if (host.is_none() && !is_old) || all("Host").count() > 1 {
        return Err(Status::BadRequest);
    }
    let has_body = all("Content-Length").any(|length| length.value != b"0")
        || header("Transfer-Encoding").is_some();
    if has_body {
        // Nothing here takes one, and where it ends need not be known if nothing follows it.
        return Err(Status::ContentTooLarge);
    }
    let head_only = match head.method {
        Some("GET") => false,
        Some("HEAD") => true,
        _ => return Err(Status::MethodNotAllowed),
    };
    let closes = |connection: &[u8]| connection.eq_ignore_ascii_case(b"close");
    let last = is_old || header("Connection").is_some_and(closes);
    let (authority, target) = split_target(head.path.unwrap_or_default());
    let credentials = header("Authorization").map(basic_credentials);
    let request = Request {
        path: target.split(['?', '#']).next().unwrap_or_default().to_string(),
        host: authority.map(str::to_owned).or(host),
        accept: String::from_utf8_lossy(header("Accept").unwrap_or_default()).into_owned(),
        credentials,
    };
    Ok((request, Manner { head_only, last }))
}

/// The host that a target names and the rest of it: proxies write `http://host/path` (RFC 9112, 3.2.2), and what that
/// names counts instead of the header.
fn split_target(target: &str) -> (Option<&str>, &str) {
    let scheme = ["http://", "https://"].into_iter().find(|scheme| {
        target.get(..scheme.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(scheme))
    });
    let Some(scheme) = scheme else { return (None, target) };
    let rest = &target[scheme.len()..];
    let (authority, path) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    (Some(authority), if path.starts_with('/') { path } else { "/" })
}

fn find<'a>(headers: &[Header<'a>], name: &str) -> Option<&'a [u8]> {
    headers.iter().find(|header| header.name.eq_ignore_ascii_case(name)).map(|h| h.value)
}

/// What `Authorization: Basic` says (RFC 7617); nobody's where it says anything else.
fn basic_credentials(value: &[u8]) -> Credentials {
    let encoded = value.get(..6).filter(|scheme| scheme.eq_ignore_ascii_case(b"basic "));
    let decoded = encoded.and_then(|_| BASE64_STANDARD.decode(value[6..].trim_ascii()).ok());
    let decoded = decoded.unwrap_or_default();
    let colon = memchr::memchr(b':', &decoded).unwrap_or(decoded.len());
    let password = decoded.get(colon + 1..).unwrap_or_default().to_vec();
    Credentials { user: decoded[..colon].to_vec(), password }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(bytes: &[u8]) -> (Exchange, Option<Request>) {
        let mut exchange = Exchange::new();
        exchange.receive(bytes);
        let request = exchange.next_request();
        (exchange, request)
    }

    fn written(exchange: &mut Exchange) -> String {
        let bytes: Vec<u8> = exchange.output().slices().iter().flat_map(|s| s.to_vec()).collect();
        exchange.wrote(bytes.len());
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn a_request_may_come_in_pieces() {
        let whole = b"GET /metrics?x=1 HTTP/1.1\r\nHost: a:1\r\nAccept: text/plain\r\n\r\n";
        for cut in 1..whole.len() {
            let (mut exchange, early) = after(&whole[..cut]);
            assert_eq!(early, None);
            assert!(exchange.is_amid_request() && !exchange.has_output());
            exchange.receive(&whole[cut..]);
            let request = exchange.next_request().unwrap();
            assert_eq!((&request.path[..], &request.accept[..]), ("/metrics", "text/plain"));
            assert!(!exchange.is_amid_request());
        }
    }

    #[test]
    fn a_target_may_name_its_host() {
        for (target, host, path) in [
            ("/metrics?a=http://b", "a", "/metrics"),
            ("http://b:1/metrics?x", "b:1", "/metrics"),
            ("HTTPS://b", "b", "/"),
            ("http://b?x", "b", "/"),
            ("ftp://b/metrics", "a", "ftp://b/metrics"),
        ] {
            let head = format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n");
            let (_, request) = after(head.as_bytes());
            let request = request.unwrap();
            assert_eq!(
                (request.host.as_deref(), &request.path[..]),
                (Some(host), path),
                "{target}"
            );
        }
    }

    #[test]
    fn requests_are_answered_one_after_the_other() {
        let one = b"GET /health HTTP/1.1\r\nHost: a\r\n\r\n";
        let (mut exchange, first) = after(&one.repeat(2));
        assert!(first.is_some());
        exchange.answer(&Response::text("ok\n".to_string()));
        assert_eq!(exchange.next_request(), None, "the first answer has not been taken yet");
        assert!(written(&mut exchange).ends_with("\r\n\r\nok\n"));
        assert!(exchange.next_request().is_some() && !exchange.is_over());
    }

    #[test]
    fn what_is_no_request_is_answered_and_the_connection_closed() {
        let long = [b"GET / HTTP/1.1\r\nHost: ", &[b'a'; MAX_HEAD][..]].concat();
        let many =
            [b"GET / HTTP/1.1\r\n", &b"A: b\r\n".repeat(MAX_HEADERS + 1)[..], b"\r\n"].concat();
        let at_the_end = [&[b'A'; MAX_HEAD][..], b"\0 / HTTP/1.1\r\nHost: a\r\n\r\n"].concat();
        let table: [(&[u8], &str); 12] = [
            (&at_the_end, "HTTP/1.1 431 "),
            (b"GET / HTTP/1.1\r\nHost: a\r\nhost: b\r\n\r\n", "HTTP/1.1 400 "),
            (
                b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\nContent-Length: 3\r\n\r\nabc",
                "HTTP/1.1 413 ",
            ),
            (b"*1\r\n$4\r\nPING\r\n", "-ERR this port speaks HTTP"),
            (b"PING\r\n", "HTTP/1.1 400 "),
            (b"\x16\x03\x01\x02\0", "HTTP/1.1 400 "),
            (b"GET / HTTP/1.1\r\n\r\n", "HTTP/1.1 400 "),
            (b"GET / HTTP/9.9\r\nHost: a\r\n\r\n", "HTTP/1.1 505 "),
            (b"POST / HTTP/1.1\r\nHost: a\r\n\r\n", "HTTP/1.1 405 "),
            (b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc", "HTTP/1.1 413 "),
            (&long, "HTTP/1.1 431 "),
            (&many, "HTTP/1.1 431 "),
        ];
        for (bytes, answer) in table {
            let (mut exchange, request) = after(bytes);
            assert_eq!(request, None);
            let text = written(&mut exchange);
            assert!(text.starts_with(answer), "{}: {text}", bytes.escape_ascii());
            assert!(exchange.is_over());
            exchange.receive(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n");
            assert_eq!(exchange.next_request(), None, "nothing is read any more");
        }
    }

    #[test]
    fn the_last_request_is_known() {
        for (request, is_last) in [
            ("GET / HTTP/1.1\r\nHost: a\r\n\r\n", false),
            ("GET / HTTP/1.1\r\nHost: a\r\nConnection: CLOSE\r\n\r\n", true),
            ("GET / HTTP/1.0\r\n\r\n", true),
        ] {
            let (mut exchange, found) = after(request.as_bytes());
            assert!(found.is_some());
            exchange.answer(&Response::text(String::new()));
            assert_eq!(written(&mut exchange).contains("Connection: close"), is_last);
            assert_eq!(exchange.is_over(), is_last);
        }
    }

    #[test]
    fn head_has_no_body() {
        let (mut exchange, _) = after(b"HEAD /health HTTP/1.1\r\nHost: a\r\n\r\n");
        exchange.answer(&Response::text("ok\n".to_string()));
        let text = written(&mut exchange);
        assert!(text.contains("Content-Length: 3\r\n") && text.ends_with("\r\n\r\n"));
    }

    #[test]
    fn credentials_are_read() {
        let credentials = |value: &[u8]| {
            let Credentials { user, password } = basic_credentials(value);
            [user, password].map(|text| String::from_utf8(text).unwrap())
        };
        // "user:pass:word", "user", and what is no base64.
        assert_eq!(credentials(b"Basic dXNlcjpwYXNzOndvcmQ="), ["user", "pass:word"]);
        assert_eq!(credentials(b"basic dXNlcg=="), ["user", ""]);
        assert_eq!(credentials(b"Basic ?"), ["", ""]);
        assert_eq!(credentials(b"Bearer dXNlcjpwYXNz"), ["", ""]);
    }

    #[test]
    fn a_stream_forgets_events_that_nobody_reads() {
        let (mut exchange, _) = after(b"GET /events HTTP/1.1\r\nHost: a\r\n\r\n");
        exchange.stream_events();
        assert!(written(&mut exchange).contains("text/event-stream"));
        let event = Bytes::from(vec![b'x'; MAX_UNREAD_EVENTS / 2]);
        for _ in 0..10 {
            exchange.push_event(event.clone());
        }
        assert_eq!(exchange.output().len(), MAX_UNREAD_EVENTS);
        exchange.receive(b"anything");
        assert!(exchange.is_streaming() && !exchange.is_amid_request());
    }
}
