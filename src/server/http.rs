//! Web browsers can be made to send requests here whose bodies are commands. The first line of such a request, or its
//! second, ends the connection before any of them is executed. Who speaks HTTP by mistake is told so, in HTTP.

use crate::server::Server;
use crate::server::call::Call;
use crate::server::client::ClientFlags;

const ANSWER: &[u8] =
    b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\nContent-Length: 96\r\n\
Connection: close\r\n\r\nThis port speaks RESP, the protocol of Redis. HTTP is spoken on \
'metrics-port', if that is set.\n";

/// Whether what can't be executed is a line of HTTP, by its words.
pub fn is_http(args: &[&[u8]]) -> bool {
    let is_first = |word: &[u8]| args[0].eq_ignore_ascii_case(word);
    let is_request = matches!(args, [_, _, version] if version.starts_with(b"HTTP/1."));
    is_request || is_first(b"post") || is_first(b"host:")
}

/// Answers a client that speaks HTTP, and closes its connection.
#[cold]
pub(crate) fn refuse_http(server: &mut Server, call: &mut Call) {
    let (token, now) = (call.client, server.now_seconds());
    if server.observer.log.may_warn_of_http(now) {
        let peer = server.clients[token].conn.peer(&server.unix_path());
        server.warning(&format!(
            "Possible SECURITY ATTACK detected. It looks like somebody is sending POST or Host: commands to Redis. \
             This is likely due to an attacker attempting to use Cross Protocol Scripting to compromise your Redis \
             instance. Connection from {peer} aborted."
        ));
    }
    call.reply.raw(ANSWER);
    server.clients[token].flags |= ClientFlags::CLOSE_AFTER_REPLY;
}

#[cfg(test)]
mod tests {
    use super::is_http;

    #[test]
    fn the_lines_of_a_request_are_known() {
        for (line, http) in [
            ("POST", true),
            ("hOsT: a", true),
            ("host a", false),
            ("GET / HTTP/1.1", true),
            ("PUT /a HTTP/1.0", true),
            ("GET HTTP/1.1", false),
            ("get a b", false),
        ] {
            let words: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
            assert_eq!(is_http(&words), http, "{line}");
        }
    }

    #[test]
    fn the_answer_is_as_long_as_it_says() {
        let text = std::str::from_utf8(super::ANSWER).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(head.contains(&format!("Content-Length: {}\r\n", body.len())), "{}", body.len());
    }
}
