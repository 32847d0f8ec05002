//! Who is in the cluster, and whose place who takes: CLUSTER MEET, FORGET, RESET, REPLICATE, FAILOVER and epochs.

use super::{cluster, operate, unknown_node};
use crate::command::args::is;
use crate::resp::error::{CommandError, CommandResult};
use crate::server::Server;
use crate::server::call::Call;
use crate::server::cluster::cluster_save;
use crate::server::cluster::machine::{FailoverKind, MembershipError};
use crate::spec::help::subcommand_syntax_error;
use crate::util::number::parse_i64;

const HAS_KEYS: CommandError =
    CommandError::err("CLUSTER RESET can't be called with master nodes containing keys");
/// Where the bus is, if a command does not tell, behind the clients' port.
const BUS_PORT_DISTANCE: i64 = 10_000;

/// An error about the node that an argument names.
fn about(id: &[u8], error: MembershipError) -> CommandError {
    match error {
        MembershipError::UnknownNode => unknown_node(id),
        error => CommandError::err_with(error.to_string()),
    }
}

/// CLUSTER MEET ip port \[bus-port]
pub(super) fn meet(s: &mut Server, call: &mut Call, args: &[&[u8]]) -> CommandResult {
    cluster(s)?;
    if args.len() > 5 {
        return Err(CommandError::err("wrong number of arguments for 'cluster|meet' command"));
    }
    let number = |arg: &[u8], before: &str| {
        parse_i64(arg).ok_or_else(|| CommandError::quoting(before, arg, ""))
    };
    let (ip, port) = (args[2], number(args[3], "Invalid base port specified: ")?);
    let bus_port = match args.get(4) {
        Some(arg) => number(arg, "Invalid bus port specified: ")?,
        None => port.saturating_add(BUS_PORT_DISTANCE),
    };
    operate(s, |cluster, now, facts| cluster.meet(ip, port, bus_port, now, facts.config))?
        .map_err(|_| {
            let text = [b"Invalid node address specified: ", ip, b":", args[3]].concat();
            CommandError::err_with(text)
        })?;
    call.reply.ok();
    Ok(())
}

pub(super) fn forget(s: &mut Server, call: &mut Call, args: &[&[u8]]) -> CommandResult {
    operate(s, |cluster, now, facts| cluster.forget(args[2], now, facts.config))?
        .map_err(|error| about(args[2], error))?;
    call.reply.ok();
    Ok(())
}

/// CLUSTER REPLICATE node-id, or NO ONE
pub(super) fn replicate(s: &mut Server, call: &mut Call, args: &[&[u8]]) -> CommandResult {
    cluster(s)?;
    match args[2..] {
        [_] => {}
        [no, one] if is(no, "NO") && is(one, "ONE") => {
            operate(s, |cluster, now, facts| cluster.replicate_no_one(now, facts))?;
            call.reply.ok();
            return Ok(());
        }
        _ => return Err(subcommand_syntax_error("CLUSTER", args)),
    }
    let has_keys = !s.ks.is_empty();
    operate(s, |cluster, now, facts| cluster.replicate(args[2], has_keys, now, facts))?
        .map_err(|error| about(args[2], error))?;
    call.reply.ok();
    Ok(())
}

/// CLUSTER FAILOVER \[FORCE|TAKEOVER]
pub(super) fn failover(s: &mut Server, call: &mut Call, args: &[&[u8]]) -> CommandResult {
    cluster(s)?;
    let kind = match args[2..] {
        [] => FailoverKind::Plain,
        [how] if is(how, "FORCE") => FailoverKind::Force,
        [how] if is(how, "TAKEOVER") => FailoverKind::Takeover,
        _ => return Err(CommandError::SYNTAX),
    };
    operate(s, |cluster, now, facts| cluster.failover(kind, now, facts))?
        .map_err(|error| CommandError::err_with(error.to_string()))?;
    call.reply.ok();
    Ok(())
}

pub(super) fn bumpepoch(s: &mut Server, call: &mut Call, _: &[&[u8]]) -> CommandResult {
    let (is_new, epoch) =
        operate(s, |cluster, _, _| (cluster.bump_epoch(), cluster.myself().config_epoch()))?;
    let how = if is_new { "BUMPED" } else { "STILL" };
    call.reply.simple(format!("{how} {epoch}"));
    Ok(())
}

pub(super) fn set_config_epoch(s: &mut Server, call: &mut Call, args: &[&[u8]]) -> CommandResult {
    cluster(s)?;
    let epoch = parse_i64(args[2]).ok_or(CommandError::NOT_AN_INTEGER)?;
    let Ok(wanted) = u64::try_from(epoch) else {
        return Err(CommandError::err_with(format!("Invalid config epoch specified: {epoch}")));
    };
    operate(s, |cluster, _, _| cluster.set_config_epoch(wanted))?
        .map_err(|error| CommandError::err_with(error.to_string()))?;
    call.reply.ok();
    Ok(())
}

/// CLUSTER RESET \[HARD|SOFT]
pub(super) fn reset(s: &mut Server, call: &mut Call, args: &[&[u8]]) -> CommandResult {
    let is_primary = cluster(s)?.myself().is_primary();
    let hard = match args[2..] {
        [] => false,
        [how] if is(how, "SOFT") => false,
        [how] if is(how, "HARD") => true,
        _ => return Err(CommandError::SYNTAX),
    };
    if is_primary && !s.ks.is_empty() {
        return Err(HAS_KEYS);
    }
    operate(s, |cluster, _, _| cluster.reset(hard))?;
    call.reply.ok();
    Ok(())
}

pub(super) fn saveconfig(s: &mut Server, call: &mut Call, _: &[&[u8]]) -> CommandResult {
    cluster(s)?;
    cluster_save(s, true).map_err(|error| {
        CommandError::err_with(format!("error saving the cluster node config: {error}"))
    })?;
    call.reply.ok();
    Ok(())
}
