//! CONFIG: reading, changing and saving the configuration, and what follows from a change.

use crate::db::keyspace::KeyspaceStats;
use crate::resp::error::{CommandError, CommandResult};
use crate::server::Server;
use crate::server::acl;
use crate::server::acl::user::User;
use crate::server::call::Call;
use crate::server::cluster;
use crate::server::config::{
    Config, Directive, Flags, Reason, RewriteOptions, SetContext, SetError, expand_template,
    rewrite_file,
};
use crate::server::cron;
use crate::server::expiry;
use crate::server::memory::evict;
use crate::server::oom_score;
use crate::server::persistence::aof;
use crate::server::persistence::aof::rewrite;
use crate::server::replication::primary;
use crate::server::table::{CommandStats, Row};
use crate::server::tls;
use crate::spec::help::reply_help;
use crate::sys::{crash, process, title};
use crate::util::alloc;
use crate::util::io_reason;
use socket2::{Domain, Protocol, Socket, Type};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs};

const HELP: &[&str] = &[
    "GET <pattern>",
    "    Return parameters matching the glob-like <pattern> and their values.",
    "SET <directive> <value>",
    "    Set the configuration <directive> to <value>.",
    "RESETSTAT",
    "    Reset statistics reported by the INFO command.",
    "REWRITE",
    "    Rewrite the configuration file.",
];

/// File descriptors beside those of clients: listeners, logs, snapshots, the poll itself.
const RESERVED_FILES: u64 = 32;

fn get(s: &mut Server, call: &mut Call, args: &[&[u8]]) -> CommandResult {
    let found = s.config.get(&args[2..]);
    call.reply.map(found.len());
    for (name, value) in found {
        call.reply.bulk_str(&name);
        call.reply.bulk(&value);
    }
    Ok(())
}

fn set(s: &mut Server, call: &mut Call, args: &[&[u8]]) -> CommandResult {
    let pairs = args[2..].chunks_exact(2);
    if !pairs.remainder().is_empty() {
        return Err(CommandError::SYNTAX);
    }
    let pairs: Vec<(&[u8], &[u8])> = pairs.map(|pair| (pair[0], pair[1])).collect();
    let local = s.client(call).conn.peer_ip().is_none_or(|ip| ip.is_loopback());
    let context = SetContext { loading: s.persistence.is_loading(), local };
    set_pairs(s, &pairs, context).map_err(CommandError::from)?;
    call.reply.ok();
    Ok(())
}

/// Sets all pairs and applies them, or changes nothing.
fn set_pairs(
    s: &mut Server,
    pairs: &[(&[u8], &[u8])],
    context: SetContext,
) -> Result<(), SetError> {
    let old = s.config.clone();
    let changed = s.config.set(pairs, context)?;
    if let Err(error) = apply(s, &old, &changed) {
        if let SetError::Failed { argument, .. } = &error {
            let argument = String::from_utf8_lossy(argument);
            s.warning(&format!(
                "Failed applying new configuration. Possibly related to new {argument} setting. Restoring previous settings."
            ));
        }
        let failed = std::mem::replace(&mut s.config, old);
        // The old values were in force a moment ago: applying them again can't fail in a way that matters.
        let _ = apply(s, &failed, &changed);
        return Err(error);
    }
    for directive in changed {
        if directive.flags.contains(Flags::NO_EFFECT) {
            s.warning(&directive.no_effect_line());
        }
    }
    Ok(())
}

/// Carries changed directives over to where they are heeded. Most are read where they are needed, and need nothing.
fn apply(s: &mut Server, old: &Config, changed: &[&Directive]) -> Result<(), SetError> {
    for directive in changed {
        let failed = |reason: Reason| SetError::failed(directive.name, reason);
        match directive.name {
            "maxclients" => allow_clients(s.config.maxclients).map_err(failed)?,
            "dir" => std::env::set_current_dir(&s.config.dir)
                .map_err(|e| failed(io_reason(&e).into()))?,
            "port" => listen_elsewhere(s, old, "Unable to listen on this port. Check server logs.")
                .map_err(failed)?,
            "tls-port" | "metrics-tls" => {
                configure_tls(s).map_err(failed)?;
                listen_elsewhere(s, old, "Unable to listen on this port. Check server logs.")
                    .map_err(failed)?;
            }
            name if name.starts_with("tls-") => configure_tls(s).map_err(failed)?,
            "metrics-port" => {
                configure_tls(s).map_err(failed)?;
                listen_elsewhere(s, old, "Unable to listen on this port. Check server logs.")
                    .map_err(failed)?;
            }
            "bind" | "metrics-bind" => {
                listen_elsewhere(s, old, "Failed to bind to specified addresses.")
                    .map_err(failed)?
            }
            "appendonly" => switch_aof(s).map_err(failed)?,
            "aof-disable-auto-gc" => aof::delete_aof_history(s),
            "loglevel" => s.observer.log.set_level(s.config.loglevel),
            "repl-backlog-size" => {
                s.repl.set_backlog_size(s.config.repl_backlog_size);
            }
            "crash-log-enabled" => crash::report_crashes(s.config.crash_log_enabled),
            "requirepass" => acl::apply_requirepass(s),
            "watchdog-period" => cron::apply_watchdog_period(s),
            "min-replicas-to-write" | "min-replicas-max-lag" => primary::refresh_good_replicas(s),
            "proc-title-template" => update_title(s),
            "maxmemory" => {
                warn_if_over_maxmemory(s);
                s.memory.policy_changed();
            }
            "maxmemory-clients" => {
                s.memory.apply_config(&s.config);
                s.memory.count_clients(&s.clients);
            }
            "oom-score-adj" | "oom-score-adj-values" => {
                oom_score::apply_oom_score(s).map_err(|_| {
                    failed("Failed to set current oom_score_adj. Check server logs.".into())
                })?
            }
            "import-mode" => expiry::restore_role(s),
            name if name.starts_with("cluster-") || name == "availability-zone" => {
                cluster::config_changed(s)
            }
            "maxmemory-policy" => s.memory.policy_changed(),
            _ => {}
        }
    }
    s.apply_keyspace_config();
    s.observer.apply_config(&s.config);
    Ok(())
}

/// Reads keys and certificates anew.
fn configure_tls(s: &mut Server) -> Result<(), Reason> {
    tls::configure_tls(s).map_err(|error| {
        s.warning(&error.to_string());
        "Unable to update TLS configuration. Check server logs.".into()
    })
}

/// Turns the append-only file on or off, unless a running synchronisation keeps it off for the time being.
fn switch_aof(s: &mut Server) -> Result<(), Reason> {
    if !s.config.appendonly {
        rewrite::stop_append_only(s);
    } else if s.persistence.aof.is_off() && rewrite::start_append_only(s).is_err() {
        return Err("Unable to turn on AOF. Check server logs.".into());
    }
    Ok(())
}

/// Names the process after `proc-title-template`, if it is to have a title.
pub fn update_title(s: &Server) {
    let config = &s.config;
    if !config.set_proc_title {
        return;
    }
    let port = config.main_port().to_string();
    let address = config.bind.first().map_or("*", |address| address.trim_start_matches('-'));
    let variable = |name: &str| match name {
        "title" => Some(title::name().to_string()),
        "listen-addr" => Some(format!("{address}:{port}")),
        "server-mode" => Some(String::new()),
        "port" => Some(port.clone()),
        "tls-port" => Some(config.tls_port.to_string()),
        "unixsocket" => Some(s.unix_path()),
        "config-file" => Some(s.process.origin().config_file.display().to_string()),
        _ => None,
    };
    if let Some(title) = expand_template(&config.proc_title_template, variable) {
        title::set(title.trim_end());
    }
}

fn allow_clients(maxclients: u32) -> Result<(), Reason> {
    let wanted = u64::from(maxclients) + RESERVED_FILES;
    let limit = process::raise_open_files(wanted);
    if limit < wanted {
        let possible = limit.saturating_sub(RESERVED_FILES);
        let text = format!(
            "The operating system is not able to handle the specified number of clients, try with {possible}"
        );
        return Err(text.into());
    }
    Ok(())
}

fn warn_if_over_maxmemory(s: &Server) {
    let used =
        alloc::used_memory().saturating_sub(evict::memory_not_counted_for_eviction(s)) as u64;
    if s.config.maxmemory > 0 && used > s.config.maxmemory {
        s.warning(&format!(
            "WARNING: the new maxmemory value set via CONFIG SET ({}) is smaller than the current memory usage \
             ({used}). This will result in key eviction and/or the inability to accept new write commands depending \
             on the maxmemory-policy.",
            s.config.maxmemory
        ));
    }
}

/// Addresses and a port to listen on.
type Endpoint<'a> = (&'a [String], u16);

/// Has the loop listen on other addresses, after seeing that it can.
fn listen_elsewhere(s: &mut Server, old: &Config, refusal: &'static str) -> Result<(), Reason> {
    fn endpoints(config: &Config) -> [Endpoint<'_>; 3] {
        [
            (&config.bind, config.port),
            (&config.bind, config.tls_port),
            (&config.metrics_bind, config.metrics_port),
        ]
    }
    for (endpoint, old) in endpoints(&s.config).into_iter().zip(endpoints(old)) {
        listen_at(s, endpoint, old, refusal)?;
    }
    s.net.listen_anew();
    Ok(())
}

/// Sees whether one can listen at an endpoint, where it was another before.
fn listen_at(
    s: &Server,
    (addresses, port): Endpoint<'_>,
    (old_addresses, old_port): Endpoint<'_>,
    refusal: &'static str,
) -> Result<(), Reason> {
    for address in addresses {
        let held = old_port == port && old_addresses.contains(address);
        // What starts with a dash may be missing on this machine.
        if port == 0 || held || address.starts_with('-') {
            continue;
        }
        if let Err(error) = try_listen(address, port) {
            // A socket of ours that listens everywhere is in the way of one address, and the other way round: it will
            // have been closed by then.
            let everywhere = |bind: &str| matches!(bind.trim_start_matches('-'), "*" | "::*");
            let own = everywhere(address) || old_addresses.iter().any(|bind| everywhere(bind));
            if error.kind() == io::ErrorKind::AddrInUse && own && old_port == port {
                continue;
            }
            let reason = io_reason(&error);
            s.warning(&format!(
                "Could not create server TCP listening socket {address}:{port}: {reason}"
            ));
            return Err(refusal.into());
        }
    }
    Ok(())
}

/// Listens on an address for a moment, only to see that it is possible.
fn try_listen(address: &str, port: u16) -> io::Result<()> {
    let ip = match address {
        "*" => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        "::*" => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        _ => match (address, port).to_socket_addrs()?.next() {
            Some(found) => found.ip(),
            None => return Err(io::ErrorKind::AddrNotAvailable.into()),
        },
    };
    let address = SocketAddr::new(ip, port);
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        // IPv4 has sockets of its own.
        socket.set_only_v6(true)?;
    }
    socket.bind(&address.into())?;
    socket.listen(1)
}

fn rewrite(s: &mut Server, call: &mut Call, _: &[&[u8]]) -> CommandResult {
    if s.process.origin().config_file.as_os_str().is_empty() {
        return Err(CommandError::err("The server is running without a config file"));
    }
    if let Err(error) = rewrite_config_file(s, false) {
        let reason = io_reason(&error);
        s.warning(&format!("CONFIG REWRITE failed: {reason}"));
        return Err(CommandError::err_with(format!("Rewriting config file: {reason}")));
    }
    s.notice("CONFIG REWRITE executed with success.");
    call.reply.ok();
    Ok(())
}

/// Writes the configuration back to the file that it came from; `force_all`: every directive of it.
///
/// # Errors
/// What reading and writing the file report.
pub fn rewrite_config_file(s: &Server, force_all: bool) -> io::Result<()> {
    let defaults = Config::defaults_of(s.config.flavour);
    let users: Vec<Vec<u8>> = s.acl.users().map(User::describe).collect();
    let options = RewriteOptions { users: Some(&users), force_all };
    rewrite_file(&s.process.origin().config_file, &s.config, &defaults, options)
}

fn resetstat(s: &mut Server, call: &mut Call, _: &[&[u8]]) -> CommandResult {
    s.observer.reset_stats();
    s.scripting.scripts.reset_statistics();
    s.ks.stats = KeyspaceStats::default();
    s.memory.reset_stats();
    for command in s.commands.iter_mut() {
        command.stats = CommandStats::default();
    }
    call.reply.ok();
    Ok(())
}

fn help(_: &mut Server, call: &mut Call, _: &[&[u8]]) -> CommandResult {
    reply_help(&mut call.reply, "CONFIG", HELP);
    Ok(())
}

pub const COMMANDS: &[Row] = &[
    ("config|get", get),
    ("config|set", set),
    ("config|rewrite", rewrite),
    ("config|resetstat", resetstat),
    ("config|help", help),
];
