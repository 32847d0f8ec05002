//! Answers, and their heads.

use bytes::Bytes;
use std::fmt::Write;

/// How a request went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    Ok,
    BadRequest,
    Unauthorized,
    Forbidden,
    NotFound,
    MethodNotAllowed,
    ContentTooLarge,
    MisdirectedRequest,
    HeadTooLarge,
    ServiceUnavailable,
    VersionNotSupported,
}

impl Status {
    /// The code, its phrase, and what it means here.
    fn words(self) -> (u16, &'static str, &'static str) {
        match self {
            Status::Ok => (200, "OK", ""),
            Status::BadRequest => (400, "Bad Request", "This is no request of HTTP/1.1.\n"),
            Status::Unauthorized => (
                401,
                "Unauthorized",
                "Log in with basic authentication, as a user of this server.\n",
            ),
            Status::Forbidden => (403, "Forbidden", "This user may not see that.\n"),
            Status::NotFound => {
                (404, "Not Found", "There are /, /metrics, /health and /ready here.\n")
            }
            Status::MethodNotAllowed => {
                (405, "Method Not Allowed", "Nothing can be changed here: only GET and HEAD.\n")
            }
            Status::ContentTooLarge => (413, "Content Too Large", "A request has no body here.\n"),
            Status::MisdirectedRequest => (
                421,
                "Misdirected Request",
                "Where no password is asked for, this server is known by its address or as localhost.\n",
            ),
            Status::HeadTooLarge => (
                431,
                "Request Header Fields Too Large",
                "The head of a request has at most 8 KB and 64 lines here.\n",
            ),
            Status::ServiceUnavailable => {
                (503, "Service Unavailable", "So many look at the page already.\n")
            }
            Status::VersionNotSupported => {
                (505, "HTTP Version Not Supported", "HTTP/1.1 is spoken here.\n")
            }
        }
    }
}

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    pub status: Status,
    pub content_type: &'static str,
    pub body: Bytes,
}

const PLAIN_TEXT: &str = "text/plain; charset=utf-8";

/// No other site may embed or read what is served here, nothing is loaded from elsewhere, and nothing is kept.
const ALWAYS: &str = "Cache-Control: no-store\r\n\
     X-Content-Type-Options: nosniff\r\n\
     Referrer-Policy: no-referrer\r\n\
     Cross-Origin-Resource-Policy: same-origin\r\n\
     Content-Security-Policy: default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'\r\n";

impl Response {
    pub fn text(body: String) -> Response {
        Response { status: Status::Ok, content_type: PLAIN_TEXT, body: body.into() }
    }

    /// One that says in words what its status means.
    pub fn of(status: Status) -> Response {
        let (_, _, meaning) = status.words();
        Response { status, content_type: PLAIN_TEXT, body: Bytes::from_static(meaning.as_bytes()) }
    }

    /// What stands before the body. `last`: the connection is closed behind it.
    pub fn head(&self, last: bool) -> Vec<u8> {
        let (code, phrase, _) = self.status.words();
        let mut head = format!("HTTP/1.1 {code} {phrase}\r\n");
        // Writing to a string does not fail.
        let _ = write!(
            head,
            "Content-Type: {}\r\nContent-Length: {}\r\n{ALWAYS}",
            self.content_type,
            self.body.len()
        );
        match self.status {
            Status::Unauthorized => {
                head.push_str("WWW-Authenticate: Basic realm=\"aeolis\", charset=\"UTF-8\"\r\n");
            }
            Status::MethodNotAllowed => head.push_str("Allow: GET, HEAD\r\n"),
            _ => {}
        }
        if last {
            head.push_str("Connection: close\r\n");
        }
        head.push_str("\r\n");
        head.into_bytes()
    }

    /// The head of an answer that consists of events, and does not end.
    pub fn head_of_events() -> Vec<u8> {
        format!("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n{ALWAYS}\r\n").into_bytes()
    }
}
