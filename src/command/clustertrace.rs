//! CLUSTERTRACE: what this node knows of its cluster, and how it came to be so. Aeolis's own command.
//!
//! The reply is lines of text, as one wants to read them in `redis-cli`: the cluster, its nodes with who reports them
//! failing, the links of the bus with what waits on them, the slots with their last change, and what happened, the
//! oldest first.

use crate::bus::{NodeFlags, NodeId};
use crate::resp::error::{CommandError, CommandResult};
use crate::server::Server;
use crate::server::call::Call;
use crate::server::cluster::machine::trace::{SlotChange, SlotReason};
use crate::server::cluster::machine::{Cluster, LinkId, Node, Now};
use crate::server::cluster::{describe, drive};
use crate::server::table::Row;
use crate::spec::help::reply_help;
use crate::sys::time::local_day_and_time;

const HELP: &[&str] = &[
    "(no subcommand)",
    "    Show all of the following.",
    "NODES",
    "    Show what is known of each node, and who reports it failing.",
    "LINKS",
    "    Show the connections of the bus, with what waits on them.",
    "SLOTS",
    "    Show why slots belong to whom they belong to.",
    "EVENTS",
    "    Show what happened: failures, votes, moves.",
    "RESET",
    "    Forget what happened.",
];

fn clustertrace(s: &mut Server, call: &mut Call, args: &[&[u8]]) -> CommandResult {
    let now = drive::now(s);
    if let [_, word] = args
        && word.eq_ignore_ascii_case(b"help")
    {
        reply_help(&mut call.reply, "CLUSTERTRACE", HELP);
        return Ok(());
    }
    let Some(cluster) = &mut s.cluster else {
        return Err(CommandError::err("This instance has cluster support disabled"));
    };
    let mut lines = Vec::new();
    let word = match args {
        [_] => String::new(),
        [_, word] => word.to_ascii_lowercase().escape_ascii().to_string(),
        _ => return Err(CommandError::SYNTAX),
    };
    let links = |link: LinkId| s.net.link_memory(link);
    match word.as_str() {
        "" => {
            lines.push(headline(cluster));
            nodes(cluster, now, &mut lines);
            link_lines(cluster, now, links, &mut lines);
            slots(cluster, &mut lines);
            events(cluster, &mut lines);
        }
        "nodes" => nodes(cluster, now, &mut lines),
        "links" => link_lines(cluster, now, links, &mut lines),
        "slots" => slots(cluster, &mut lines),
        "events" => events(cluster, &mut lines),
        "reset" => {
            cluster.reset_trace();
            call.reply.ok();
            return Ok(());
        }
        _ => return Err(CommandError::SYNTAX),
    }
    call.reply.array(lines.len());
    lines.iter().for_each(|line| call.reply.simple(line));
    Ok(())
}

fn headline(cluster: &Cluster) -> String {
    let owned = (0..crate::util::slot::SLOTS).filter(|&slot| cluster.slot_owner(slot).is_some());
    format!(
        "cluster {}: {} nodes, {} slots have an owner, epoch {}, last vote in epoch {}",
        if cluster.is_up() { "ok" } else { "down" },
        cluster.known_nodes(),
        owned.count(),
        cluster.current_epoch(),
        cluster.last_vote_epoch()
    )
}

/// So long ago, in seconds.
fn ago(now: Now, at_ms: i64) -> String {
    match at_ms {
        0 => "never".into(),
        _ => format!("{:.1} s ago", (now.wall_ms - at_ms) as f64 / 1000.0),
    }
}

fn seen(now: Now, at: Option<Now>) -> String {
    match at {
        None => "never".into(),
        Some(_) => format!("{:.1} s ago", now.since_seen(at) as f64 / 1000.0),
    }
}

fn nodes(cluster: &Cluster, now: Now, lines: &mut Vec<String>) {
    for node in cluster.nodes() {
        lines.push(node_line(cluster, node, now));
        for (reporter, at_ms) in cluster.reports_of(node, now) {
            lines.push(format!("  reported failing by {reporter}, {}", ago(now, at_ms)));
        }
    }
}

fn node_line(cluster: &Cluster, node: &Node, now: Now) -> String {
    let address = node.address();
    let mut line = format!(
        "node {} {}:{}@{}: {}",
        node.id(),
        address.ip,
        node.port(address.tcp_port == 0),
        address.bus_port,
        describe::flag_names(node.flags())
    );
    if let Some(primary) = cluster.primary_of(node) {
        line += &format!(" of {}", primary.id());
    }
    line += &format!(
        ", epoch {}, {} slots, offset {}",
        cluster.epoch_of(node),
        node.slots().len(),
        node.offset()
    );
    if !node.flags().contains(NodeFlags::MYSELF) {
        line += &format!(", answered {}", seen(now, node.pong_received()));
        if node.ping_sent().is_some() {
            line += &format!(", waited for since {}", seen(now, node.ping_sent()));
        }
    }
    line
}

fn link_lines(
    cluster: &Cluster,
    now: Now,
    memory: impl Fn(LinkId) -> (usize, usize),
    lines: &mut Vec<String>,
) {
    for node in cluster.nodes() {
        for (direction, link) in [("to", node.link()), ("from", node.inbound())] {
            let Some((id, link)) = link.and_then(|id| Some((id, cluster.link(id)?))) else {
                continue;
            };
            let (read, queued) = memory(id);
            lines.push(format!(
                "link {direction} {}: made {}, {queued} bytes wait to be sent, {read} bytes are kept for what comes",
                node.id(),
                ago(now, link.created_ms())
            ));
        }
    }
}

fn slots(cluster: &Cluster, lines: &mut Vec<String>) {
    for change in cluster.trace().last_changes() {
        lines.push(slot_line(&change));
    }
}

fn slot_line(change: &SlotChange) -> String {
    let ranges = change.slots.ranges().into_iter().map(|range| match range.len() {
        1 => range.start().to_string(),
        _ => format!("{}-{}", range.start(), range.end()),
    });
    let ranges: Vec<String> = ranges.collect();
    let owner = |id: Option<NodeId>| id.map_or("nobody".into(), |id| id.to_string());
    let reason = match change.reason {
        SlotReason::Loaded => "it was in the file".into(),
        SlotReason::Assigned => "ADDSLOTS or DELSLOTS".into(),
        SlotReason::SetSlot => "SETSLOT".into(),
        SlotReason::Reset => "RESET".into(),
        SlotReason::Released => "its owner has no slots any more".into(),
        SlotReason::Claimed { epoch } => format!("the new owner claimed it in epoch {epoch}"),
        SlotReason::TookOver { epoch } => format!("this node took over in epoch {epoch}"),
        SlotReason::Migrated { epoch } => {
            format!("it was sent here with all its keys, and claimed in epoch {epoch}")
        }
        SlotReason::LetGo => "the node that it was imported from let go of it".into(),
    };
    format!(
        "slots {}: {} from {} to {}, because {reason}",
        ranges.join(" "),
        local_day_and_time(change.at_ms * 1000),
        owner(change.from),
        owner(change.to)
    )
}

fn events(cluster: &Cluster, lines: &mut Vec<String>) {
    let trace = cluster.trace();
    if trace.forgotten() > 0 {
        lines.push(format!("  ... {} earlier events are not remembered", trace.forgotten()));
    }
    for step in trace.steps() {
        let times = if step.times > 1 { format!(" (x{})", step.times) } else { String::new() };
        lines.push(format!("  {}  {}{times}", local_day_and_time(step.at_ms * 1000), step.text));
    }
}

pub const COMMANDS: &[Row] = &[("clustertrace", clustertrace)];
