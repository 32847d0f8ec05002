//! REPLTRACE: what happened on each replication link, step by step. Aeolis's own command.
//!
//! The reply is lines of text, as one wants to read them in `redis-cli`: for each link a line that says how it is, one
//! that counts its resynchronisations, and its timeline. `->` was sent, `<-` was received, `--` happened here.

use crate::resp::error::{CommandError, CommandResult};
use crate::server::Server;
use crate::server::call::Call;
use crate::server::replication;
use crate::server::replication::primary::feed;
use crate::server::replication::trace::{Direction, LinkTrace, Role, Step};
use crate::server::table::Row;
use crate::spec::help::reply_help;
use crate::sys::time::local_day_and_time;
use crate::util::number::parse_i64;

const HELP: &[&str] = &[
    "(no subcommand)",
    "    Show all links with their timelines, the oldest first.",
    "<id>",
    "    Show one link.",
    "LIST",
    "    Show all links, each as one line.",
    "RESET",
    "    Forget the links that are over, and the timelines of the others.",
];

fn repltrace(s: &mut Server, call: &mut Call, args: &[&[u8]]) -> CommandResult {
    let lines: Vec<String> = match args {
        [_] => {
            let whole = |link| timeline(s, link);
            s.repl.traces().links().flat_map(whole).collect()
        }
        [_, word] if word.eq_ignore_ascii_case(b"list") => {
            s.repl.traces().links().map(|link| headline(s, link)).collect()
        }
        [_, word] if word.eq_ignore_ascii_case(b"reset") => {
            s.repl.reset_traces();
            call.reply.ok();
            return Ok(());
        }
        [_, word] if word.eq_ignore_ascii_case(b"help") => {
            reply_help(&mut call.reply, "REPLTRACE", HELP);
            return Ok(());
        }
        [_, id] => {
            let id = parse_i64(id).and_then(|id| u64::try_from(id).ok());
            let link = id.and_then(|id| s.repl.traces().get(id));
            let link =
                link.ok_or_else(|| CommandError::err("No such link. Try REPLTRACE LIST."))?;
            timeline(s, link)
        }
        _ => return Err(CommandError::SYNTAX),
    };
    call.reply.array(lines.len());
    for line in lines {
        call.reply.simple(&line);
    }
    Ok(())
}

/// How a link is, in one line.
fn headline(s: &Server, link: &LinkTrace) -> String {
    let other = match link.role {
        Role::Primary => "replica",
        Role::Replica => "primary",
    };
    let start = format!("link {}: {other}", link.id);
    if let Some(ended) = link.ended {
        let ago = s.now_seconds() - ended;
        return format!("{start} {}, over since {ago} s", link.peer);
    }
    match link.role {
        Role::Primary => {
            let token = s
                .clients
                .iter()
                .find(|(_, c)| c.replstate.as_ref().is_some_and(|r| r.trace() == Some(link.id)));
            let Some((token, client)) = token else { return format!("{start} {}", link.peer) };
            let Some(replica) = &client.replstate else { return start };
            let peer = match replica.announced.listening_port {
                0 => link.peer.clone(),
                _ => replication::replica_name(s, token),
            };
            if replica.is_shaking_hands() {
                return format!("{start} {peer}, shaking hands");
            }
            let behind = s.repl.offset().saturating_sub(replica.ack_offset());
            let unsent = feed::replica_lag_bytes(s, token);
            let silent = s.now_seconds() - replica.heard_seconds();
            let state = replica.state_name();
            format!(
                "{start} {peer}, {state}, lag {behind} bytes ({unsent} not sent yet), heard {silent} s ago"
            )
        }
        Role::Replica => {
            let Some(primary) = s.repl.primary() else { return start };
            let (state, now) = (primary.role_name(), s.now_seconds());
            let silent = now - primary.heard_seconds();
            if !primary.is_connected() && !primary.is_syncing() {
                let down = match s.repl.down_since() {
                    None => "has not been up yet".to_string(),
                    Some(since) => format!("down for {} s", now - since),
                };
                let waits = now - primary.since_seconds();
                return format!("{start} {}, {state} for {waits} s, {down}", link.peer);
            }
            let client = primary
                .token()
                .filter(|_| primary.is_connected())
                .and_then(|token| s.clients.get(token));
            let lag = match client {
                Some(client) => client.read_offset - client.applied_offset,
                None => primary.kept_bytes().2,
            };
            format!(
                "{start} {}, {state}, lag {lag} bytes (received, not applied yet), heard {silent} s ago",
                link.peer
            )
        }
    }
}

/// A link and all that is remembered of it.
fn timeline(s: &Server, link: &LinkTrace) -> Vec<String> {
    let refusal = link.refusal.as_ref().map_or(String::new(), |why| format!(", the last: {why}"));
    let mut lines = vec![
        headline(s, link),
        format!(
            "  resynchronisations: {} full, {} partial; {} partial refused{refusal}",
            link.full, link.partial, link.refused
        ),
    ];
    for (i, one) in link.steps().enumerate() {
        if i == link.gap() && link.forgotten > 0 {
            lines.push(format!("  ... {} steps are not remembered", link.forgotten));
        }
        lines.push(step(one));
    }
    lines
}

fn step(step: &Step) -> String {
    let arrow = match step.direction {
        Direction::Sent => "->",
        Direction::Received => "<-",
        Direction::Here => "--",
    };
    let times = if step.times > 1 { format!(" (x{})", step.times) } else { String::new() };
    format!(
        "  {}  +{}  {arrow} {}{times}",
        local_day_and_time(step.at_us),
        duration(step.after_us),
        step.text
    )
}

/// Eight columns, whatever the time.
fn duration(us: i64) -> String {
    match us {
        ..1_000_000 => format!("{:>6.2} ms", us as f64 / 1000.0),
        _ => format!("{:>7.2} s", us as f64 / 1_000_000.0),
    }
}

pub const COMMANDS: &[Row] = &[("repltrace", repltrace)];
