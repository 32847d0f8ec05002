//! `FAILOVER`: the primary hands its role over to a replica that has everything, and becomes that replica's replica.
//!
//! Writes pause; when a replica has acknowledged all of the stream (or the time is over, and it was to be forced), this
//! server follows it, and says `FAILOVER` in its `PSYNC`: that makes the replica a primary. If it refuses, this server
//! is the primary again.

use crate::resp::error::{CommandError, CommandResult};
use crate::server::Server;
use crate::server::blocking::pause;
use crate::server::blocking::pause::{PauseKind, PausePurpose};
use crate::server::call::Call;
use crate::server::client::Token;
use crate::server::client_info;
use crate::server::links::replica::ReplicaLink;
use crate::server::replication::primary;
use crate::server::replication::replica;

/// How far handing over has come.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Failover {
    #[default]
    None,
    /// Writes are paused until a replica has caught up.
    WaitForSync(Handover),
    /// The link to the replica that is to be the primary is being made.
    InProgress { host: String, port: u16 },
}

/// What was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Handover {
    /// The replica; `None`: whichever has caught up first.
    pub target: Option<(String, u16)>,
    /// Until when it has to catch up, in milliseconds since 1970.
    pub deadline_ms: Option<i64>,
    /// It becomes the primary then even if it has not.
    pub force: bool,
}

impl Failover {
    /// As `INFO` prints it.
    pub fn name(&self) -> &'static str {
        match self {
            Failover::None => "no-failover",
            Failover::WaitForSync(_) => "waiting-for-sync",
            Failover::InProgress { .. } => "failover-in-progress",
        }
    }

    pub fn is_none(&self) -> bool {
        *self == Failover::None
    }

    /// The replica that is to be the primary, if it is known.
    pub fn target(&self) -> Option<(String, u16)> {
        match self {
            Failover::None => None,
            Failover::InProgress { host, port } => Some((host.clone(), *port)),
            Failover::WaitForSync(asked) => asked.target.clone(),
        }
    }

    /// Whether the link to the replica that is to be the primary is being made.
    pub fn is_in_progress(&self) -> bool {
        matches!(self, Failover::InProgress { .. })
    }
}

/// `FAILOVER`, with its arguments understood.
///
/// # Errors
/// If there is nobody to hand over to, or it makes no sense now.
pub(crate) fn start_failover(server: &mut Server, asked: Handover) -> CommandResult {
    if !server.repl.failover.is_none() {
        return Err(CommandError::err("FAILOVER already in progress."));
    }
    if server.repl.is_replica() {
        return Err(CommandError::err("FAILOVER is not valid when server is a replica."));
    }
    if server.repl.replicas.is_empty() {
        return Err(CommandError::err("FAILOVER requires connected replicas."));
    }
    if asked.force && (asked.deadline_ms.is_none() || asked.target.is_none()) {
        return Err(CommandError::err(
            "FAILOVER with force option requires both a timeout and target HOST and IP.",
        ));
    }
    match &asked.target {
        Some((host, port)) => {
            let replica = find_replica(server, host, *port).ok_or_else(|| {
                CommandError::err("FAILOVER target HOST and PORT is not a replica.")
            })?;
            if !primary::link_of(server, replica).is_some_and(ReplicaLink::is_online) {
                return Err(CommandError::err("FAILOVER target replica is not online."));
            }
            server.notice(&format!("FAILOVER requested to {host}:{port}."));
        }
        None => server.notice("FAILOVER requested to any replica."),
    }
    server.repl.failover = Failover::WaitForSync(asked);
    pause::pause_clients(server, PausePurpose::Failover, PauseKind::Write, i64::MAX);
    // To ask the replicas would move the offset that they have to reach; they tell it every second.
    Ok(())
}

/// The address that a replica would be followed at.
fn replica_address(server: &Server, token: Token) -> Option<(String, u16)> {
    let client = server.clients.get(token)?;
    let link = client.replstate.as_ref()?;
    let host = if link.announced.ip_address.is_empty() {
        client.conn.peer_ip()?.to_string()
    } else {
        link.announced.ip_address.clone()
    };
    Some((host, link.announced.listening_port))
}

fn find_replica(server: &Server, host: &str, port: u16) -> Option<Token> {
    let is_it = |t: &Token| {
        replica_address(server, *t).is_some_and(|(h, p)| h.eq_ignore_ascii_case(host) && p == port)
    };
    server.repl.replicas.iter().copied().find(is_it)
}

/// Before the loop sleeps: goes on handing over if a replica has caught up, or its time is over.
pub(crate) fn check_failover(server: &mut Server) {
    let Failover::WaitForSync(asked) = &server.repl.failover else { return };
    let asked = asked.clone();
    if asked.deadline_ms.is_some_and(|at| at <= server.ks.now_ms) {
        match asked.target {
            Some((host, port)) if asked.force => {
                server
                    .notice(&format!("FAILOVER to {host}:{port} time out exceeded, failing over."));
                fail_over_to(server, host, port);
            }
            _ => replica::abort_failover(server, "Replica never caught up before timeout"),
        }
        return;
    }
    let synced = |token: &Token| {
        let link = server.clients.get(*token).and_then(|c| c.replstate.as_ref());
        link.is_some_and(|l| l.has_applied(server.repl.offset()))
    };
    let ready = match &asked.target {
        Some((host, port)) => find_replica(server, host, *port).filter(synced),
        None => server.repl.replicas.iter().copied().find(synced),
    };
    if let Some((host, port)) = ready.and_then(|token| replica_address(server, token)) {
        server.notice(&format!("Failover target {host}:{port} is synced, failing over."));
        fail_over_to(server, host, port);
    }
}

fn fail_over_to(server: &mut Server, host: String, port: u16) {
    server.repl.failover = Failover::InProgress { host: host.clone(), port };
    replica::set_primary_address(server, Some((host.clone(), port)));
    replica::replication_set_primary(server, host, port);
}

/// Another server's `PSYNC <id> <offset> FAILOVER`: it has been our primary, and we are to be it.
///
/// # Errors
/// If this server has no primary, or another history.
pub(crate) fn take_over(server: &mut Server, call: &Call, id: &[u8]) -> CommandResult {
    server.notice(&format!("Failover request received for replid {}.", id.escape_ascii()));
    if !server.repl.is_replica() {
        return Err(CommandError::err("PSYNC FAILOVER can't be sent to a master."));
    }
    if !id.eq_ignore_ascii_case(server.repl.id().as_bytes()) {
        return Err(CommandError::err("PSYNC FAILOVER replid must match my replid."));
    }
    replica::replication_unset_primary(server);
    replica::set_primary_address(server, None);
    let client = client_info::client_info(server, call.client);
    server.notice(&format!("MASTER MODE enabled (failover request from '{client}')"));
    Ok(())
}
