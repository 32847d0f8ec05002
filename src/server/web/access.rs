//! Who may see what: the users are those of commands, and so are their permissions.

use super::exchange::Request;
use super::response::Status;
use crate::server::Server;
use crate::server::acl;
use crate::server::connection::Connection;
use crate::server::token::{DEFAULT_USER, UserId};
use std::net::IpAddr;

/// What a user needs to see something.
#[derive(Clone, Copy, Debug)]
pub struct Needs {
    /// The commands that tell the same, by their full names.
    pub commands: &'static [&'static str],
    /// Whether any key may be seen by it.
    pub all_keys: bool,
}

/// Whether who asks may see what needs this.
///
/// # Errors
/// Why not. Who gave a wrong password is in the log of users.
pub(super) fn check(
    server: &mut Server,
    visitor: usize,
    request: &Request,
    needs: Needs,
) -> Result<(), Status> {
    let user = log_in(server, visitor, request)?;
    let user = server.acl.get(user);
    let may = |name: &&str| {
        let args: Vec<&[u8]> = name.split('|').map(str::as_bytes).collect();
        let command = server.commands.iter().find(|command| command.spec.name == *name);
        command.is_some_and(|command| match needs.all_keys {
            true => user.may_read_all_keys(command, &args),
            false => user.check(command, &args).is_ok(),
        })
    };
    if needs.commands.iter().all(may) { Ok(()) } else { Err(Status::Forbidden) }
}

fn log_in(server: &mut Server, visitor: usize, request: &Request) -> Result<UserId, Status> {
    let conn = server.net.web().connection(visitor);
    let Some(credentials) = &request.credentials else {
        if !server.acl.serves_strangers() {
            return Err(Status::Unauthorized);
        }
        return if is_rebound(conn, request.host.as_deref()) {
            Err(Status::MisdirectedRequest)
        } else {
            Ok(DEFAULT_USER)
        };
    };
    if let Some(user) = server.acl.authenticate(&credentials.user, &credentials.password) {
        return Ok(user);
    }
    let who = format!("addr={} laddr={}", conn.peer(""), conn.local(""));
    acl::log_failed_http_login(server, who, &credentials.user);
    Err(Status::Unauthorized)
}

/// Whether a browser on this machine may have been led here by a name that somebody else gave this address (DNS
/// rebinding): to it, what is served here would be that site's.
fn is_rebound(conn: &Connection, host: Option<&str>) -> bool {
    let is_local = conn.peer_ip().is_none_or(|ip| ip.is_loopback());
    is_local && host.is_some_and(|host| !is_own_name(host))
}

/// Whether a `Host` is an address or `localhost`, with a port or without.
fn is_own_name(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(v6) => v6.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    };
    name.eq_ignore_ascii_case("localhost") || name.parse::<IpAddr>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::is_own_name;

    #[test]
    fn names_that_nobody_else_can_give() {
        for (host, own) in [
            ("127.0.0.1:9121", true),
            ("[::1]:9121", true),
            ("localhost", true),
            ("LocalHost:80", true),
            ("evil.example", false),
            ("127.0.0.1.evil.example:9121", false),
            ("[evil", false),
            ("", false),
        ] {
            assert_eq!(is_own_name(host), own, "{host}");
        }
    }
}
