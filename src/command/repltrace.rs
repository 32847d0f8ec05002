//! REPLTRACE: what happened on each replication link, step by step. Aeolis's own command.
//!
//! The reply is lines of text, as one wants to read them in `redis-cli`: for each link a line that says how it is, one
//! that counts its resynchronisations, and its timeline. `->` was sent, `<-` was received, `--` happened here.

use crate::resp::error::{CommandError, CommandResult};
use crate::server::Server;
use crate::server::call::Call;
use crate::server::links::trace::{LinkRole, LinkTrace, Step, StepKind};
use crate::server::replication::status::{self, Condition};
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
        LinkRole::Primary => "replica",
        LinkRole::Replica => "primary",
    };
    let (peer, condition) = status::condition(s, link);
    let how = match condition {
        Condition::Unknown if link.role == LinkRole::Replica => {
            return format!("link {}: {other}", link.id);
        }
        Condition::Unknown => return format!("link {}: {other} {peer}", link.id),
        Condition::Over { seconds } => format!("over since {seconds} s"),
        Condition::ShakingHands => "shaking hands".to_string(),
        Condition::Replica { state, lag_bytes, unsent_bytes, silent_seconds } => format!(
            "{state}, lag {lag_bytes} bytes ({unsent_bytes} not sent yet), heard {silent_seconds} s ago"
        ),
        Condition::Down { state, waits_seconds, down_seconds } => {
            let down = match down_seconds {
                None => "has not been up yet".to_string(),
                Some(seconds) => format!("down for {seconds} s"),
            };
            format!("{state} for {waits_seconds} s, {down}")
        }
        Condition::Primary { state, lag_bytes, silent_seconds } => format!(
            "{state}, lag {lag_bytes} bytes (received, not applied yet), heard {silent_seconds} s ago"
        ),
    };
    format!("link {}: {other} {peer}, {how}", link.id)
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
    let arrow = match step.kind {
        StepKind::Sent => "->",
        StepKind::Received => "<-",
        StepKind::Here => "--",
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
