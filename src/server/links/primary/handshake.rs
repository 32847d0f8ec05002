//! The handshake: saying who we are, and asking to go on where we stopped.

use super::CachedPrimary;
use super::download::Download;
use super::{Action, Channel, Context, LinkRequest, LinkState, Place, PrimaryLink};
use crate::server::config::Config;
use crate::server::links::history::NO_ID;
use crate::server::links::trace::Resync;
use crate::server::observe::log::Level;

/// What a Valkey chooses the snapshot's form by: since this version of it fields of hashes expire. Redis does not look
/// at it; what it sends can be read in any case.
pub(super) const SNAPSHOT_VERSION: &[u8] = b"9.0.0";

/// Where the handshake is: what answer is awaited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// The connection is being made.
    Connecting,
    ReceivePing,
    ReceiveAuth,
    ReceivePort,
    ReceiveIp,
    ReceiveCapa,
    ReceivePsync,
}

/// Errors that may come in answer to `PING`: it is alive, and will say what it wants.
const TOLERATED: [&str; 5] =
    ["-NOAUTH", "-NOPERM", "-ERR operation not permitted", "-LOADING", "-MASTERDOWN"];

const FAILED: &str = "Failed to send to MASTER";
const FAILED_PSYNC: &str = "Failed to send PSYNC to MASTER";

/// The port that others are to know us by.
pub(super) fn announced_port(config: &Config) -> u16 {
    match config.replica_announce_port {
        0 if config.tls_replication && config.tls_port != 0 => config.tls_port,
        0 => config.port,
        port => port,
    }
}

/// The history and the offset of a `+FULLRESYNC`.
fn full_resync(rest: &str) -> Option<Place> {
    let mut words = rest.split(' ');
    let id = words.next().filter(|id| id.len() == NO_ID.len())?;
    let offset = words.next()?.parse().ok()?;
    Some(Place::At { id: id.to_string(), offset })
}

impl PrimaryLink {
    /// The primary has answered a step of the handshake.
    pub(super) fn handshake_line(
        &mut self,
        step: Step,
        line: &str,
        context: &Context<'_>,
        out: &mut Vec<Action>,
    ) -> Result<(), String> {
        let is_error = line.starts_with('-');
        let misunderstood = |what: &str| {
            format!("(Non critical) Master does not understand REPLCONF {what}: {line}")
        };
        match step {
            Step::Connecting => Ok(()),
            Step::ReceivePing => {
                if !line.starts_with('+') && !TOLERATED.iter().any(|t| line.starts_with(t)) {
                    return Err(format!("Error reply to PING from master: '{line}'"));
                }
                let text = "Master replied to PING, replication can continue...";
                out.push(Action::Log(Level::Notice, text.to_string()));
                self.introduce(context, out);
                let with_password = context.config.masterauth.is_some();
                self.next_step(
                    if with_password { Step::ReceiveAuth } else { Step::ReceivePort },
                    context,
                )
            }
            Step::ReceiveAuth => {
                if is_error {
                    let primary = context.config.flavour.primary_in_capitals();
                    return Err(format!("Unable to AUTH to {primary}: {line}"));
                }
                self.next_step(Step::ReceivePort, context)
            }
            Step::ReceivePort => {
                if is_error {
                    out.push(Action::Log(Level::Notice, misunderstood("listening-port")));
                }
                let with_ip = context.config.replica_announce_ip.is_some();
                self.next_step(if with_ip { Step::ReceiveIp } else { Step::ReceiveCapa }, context)
            }
            Step::ReceiveIp => {
                if is_error {
                    out.push(Action::Log(Level::Notice, misunderstood("ip-address")));
                }
                self.next_step(Step::ReceiveCapa, context)
            }
            Step::ReceiveCapa => {
                if is_error {
                    out.push(Action::Log(Level::Verbose, misunderstood("capa or version")));
                }
                self.slave_try_partial_resynchronization(context, out);
                self.next_step(Step::ReceivePsync, context)
            }
            Step::ReceivePsync => self.psync_reply(line, context, out),
        }
    }

    fn next_step(&mut self, next: Step, context: &Context<'_>) -> Result<(), String> {
        if let LinkState::Handshake { step, .. } = &mut self.state {
            *step = next;
            self.attempt(context.now_seconds());
        }
        Ok(())
    }

    fn main(&mut self) -> Option<&mut Channel> {
        match &mut self.state {
            LinkState::Handshake { main, .. } => Some(main),
            _ => None,
        }
    }

    /// Says who we are, all at once; the answers come one by one.
    fn introduce(&mut self, context: &Context<'_>, out: &mut Vec<Action>) {
        let config = context.config;
        let offers_dual_channel = config.dual_channel_replication_enabled && !self.no_dual_channel;
        let Some(main) = self.main() else { return };
        let port = announced_port(config).to_string();
        let mut say = |request: LinkRequest| out.push(Action::Send(request));
        if let Some(auth) = main.auth(config, FAILED) {
            say(auth);
        }
        say(main.request(&[b"REPLCONF", b"listening-port", port.as_bytes()], FAILED));
        if let Some(ip) = &config.replica_announce_ip {
            say(main.request(&[b"REPLCONF", b"ip-address", ip.as_bytes()], FAILED));
        }
        // The version goes with the capabilities, in one command: a primary that does not know it has heeded
        // what stands before it, and every answer but this command's is one line to wait for less.
        let mut capabilities: Vec<&[u8]> = vec![b"REPLCONF", b"capa", b"eof", b"capa", b"psync2"];
        if offers_dual_channel {
            capabilities.extend([b"capa".as_slice(), b"dual-channel"]);
        }
        // The last word counts.
        let announced = config.redis_version_announced.as_bytes();
        capabilities.extend([b"version", announced, b"version", SNAPSHOT_VERSION]);
        say(main.request(&capabilities, FAILED));
    }

    fn slave_try_partial_resynchronization(
        &mut self,
        context: &Context<'_>,
        out: &mut Vec<Action>,
    ) {
        let Some(main) = self.main() else { return };
        let Some(cached) = context.cached else {
            let text = "Partial resynchronization not possible (no cached master)";
            out.push(Action::Log(Level::Notice, text.to_string()));
            out.push(Action::Send(main.request(&[b"PSYNC", b"?", b"-1"], FAILED_PSYNC)));
            return;
        };
        let (id, offset) = (&cached.id, (cached.offset + 1).to_string());
        let text = format!("Trying a partial resynchronization (request {id}:{offset}).");
        out.push(Action::Log(Level::Notice, text));
        let mut request: Vec<&[u8]> = vec![b"PSYNC", id.as_bytes(), offset.as_bytes()];
        if context.is_failing_over {
            request.push(b"FAILOVER");
        }
        out.push(Action::Send(main.request(&request, FAILED_PSYNC)));
    }

    /// The answer to `PSYNC`.
    fn psync_reply(
        &mut self,
        line: &str,
        context: &Context<'_>,
        out: &mut Vec<Action>,
    ) -> Result<(), String> {
        if context.is_failing_over {
            if !line.starts_with("+CONTINUE") && !line.starts_with("+FULLRESYNC") {
                out.push(Action::FailoverRefused);
                return Ok(());
            }
            out.push(Action::FailoverDone);
        }
        if line == "+DUALCHANNELSYNC" {
            if let Some(cached) = context.cached {
                let why =
                    format!("the primary has not what follows {}:{}", cached.id, cached.offset);
                out.push(Action::TraceResync(Resync::Refused(why)));
            }
            out.push(Action::TraceResync(Resync::Full));
            out.push(Action::OpenRdbChannel);
            return Ok(());
        }
        if let Some(rest) = line.strip_prefix("+FULLRESYNC ") {
            let place = full_resync(rest)
                .ok_or_else(|| "Master replied with wrong +FULLRESYNC syntax.".to_string())?;
            let (id, offset) = (place.id(), place.offset());
            let text = format!("Full resync from master: {id}:{offset}");
            out.push(Action::Log(Level::Notice, text));
            if let Some(cached) = context.cached {
                out.push(Action::TraceResync(Resync::Refused(refusal(cached, id, offset))));
            }
            out.push(Action::TraceResync(Resync::Full));
            self.begin_transfer(place, context);
            return Ok(());
        }
        if let Some(rest) = line.strip_prefix("+CONTINUE") {
            return self.resume(rest.trim(), context, out);
        }
        if line.starts_with("-NOMASTERLINK") || line.starts_with("-LOADING") {
            return Err(format!(
                "Master is currently unable to PSYNC but should be in the future: {line}"
            ));
        }
        if !line.starts_with('-') {
            return Err(format!("Unexpected reply to PSYNC from master: {line}"));
        }
        out.push(if line.starts_with("-ERR") {
            let text =
                format!("Master does not support PSYNC or is in error state (reply: {line})");
            Action::Log(Level::Notice, text)
        } else {
            let text = format!("Unexpected reply to PSYNC from master: {line}");
            Action::Log(Level::Warning, text)
        });
        out.push(Action::Log(Level::Notice, "Retrying with SYNC...".to_string()));
        if let Some(main) = self.main() {
            out.push(Action::Send(main.request(&[b"SYNC"], "I/O error writing to MASTER")));
        }
        self.begin_transfer(Place::Uncounted, context);
        Ok(())
    }

    fn begin_transfer(&mut self, place: Place, context: &Context<'_>) {
        if let Some(main) = self.main() {
            let main = main.take();
            let download = Download::Awaited;
            self.enter(LinkState::Transfer { main, place, download }, context);
        }
    }

    /// The primary goes on where we stopped; `id` is its history's, or empty.
    fn resume(
        &mut self,
        id: &str,
        context: &Context<'_>,
        out: &mut Vec<Action>,
    ) -> Result<(), String> {
        let Some(cached) = context.cached else {
            return Err("Master continues a history that was not asked for".to_string());
        };
        let Some(main) = self.main() else { return Ok(()) };
        let Channel { token, input, .. } = main.take();
        let is_other = id.len() == NO_ID.len() && id != cached.id;
        self.follow(token, None, context);
        out.push(Action::Resume { token, id: is_other.then(|| id.to_string()), input });
        Ok(())
    }
}

/// Why the primary sends everything though something was to be continued.
fn refusal(cached: &CachedPrimary, id: &str, offset: u64) -> String {
    let wanted = cached.offset + 1;
    if cached.id != id {
        format!("the primary has another history ({id}, not {})", cached.id)
    } else if offset < cached.offset {
        format!("the primary is at offset {offset}, and what is here goes to {}", cached.offset)
    } else {
        format!("the primary is at offset {offset}, and does not hold {wanted} any more")
    }
}
