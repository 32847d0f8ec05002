//! Web browsers can be made to send requests here whose bodies are commands. The first line of such a request, or its
//! second, ends the connection before any of them is executed.

use crate::server::Server;
use crate::server::client::Token;

/// Whether a line is one of HTTP, by its first word.
pub fn is_http(name: &[u8]) -> bool {
    name.eq_ignore_ascii_case(b"post") || name.eq_ignore_ascii_case(b"host:")
}

/// Closes the connection of a client that speaks HTTP.
#[cold]
pub(crate) fn refuse_http(server: &mut Server, token: Token) {
    let now = server.now_seconds();
    if server.observer.log.may_warn_of_http(now) {
        let peer = server.clients[token].conn.peer(&server.unix_path());
        server.warning(&format!(
            "Possible SECURITY ATTACK detected. It looks like somebody is sending POST or Host: commands to Redis. \
             This is likely due to an attacker attempting to use Cross Protocol Scripting to compromise your Redis \
             instance. Connection from {peer} aborted."
        ));
    }
    server.clients.close_later(token);
}

#[cfg(test)]
mod tests {
    use super::is_http;

    #[test]
    fn the_lines_of_a_request_are_known() {
        for (name, http) in [("POST", true), ("hOsT:", true), ("host", false), ("get", false)] {
            assert_eq!(is_http(name.as_bytes()), http, "{name}");
        }
    }
}
