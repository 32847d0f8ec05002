//! What happens by itself, `hz` times a second.

use super::Server;
use super::client::{ClientFlags, Token};
use crate::db::expire::Effort;
use crate::server::cluster::drive;
use crate::server::expiry;
use crate::server::observe::latency;
use crate::server::observe::log::Level;
use crate::server::output;
use crate::server::persistence;
use crate::server::persistence::aof::rewrite;
use crate::server::persistence::aof::write;
use crate::server::progress;
use crate::server::propagate;
use crate::server::replication::primary;
use crate::server::replication::primary::snapshot;
use crate::server::replication::replica;
use crate::server::shutdown;
use crate::server::tls::renewal;
use crate::server::tracking;
use crate::server::web;
use crate::sys::crash;
use crate::util::alloc;
use std::time::Duration;

/// The share of time that active expiry may take, in percent.
const EXPIRE_CPU_PERCENT: u64 = 25;
/// Stale keys, in percent of the volatile ones, above which expiry also runs between turns of the loop.
const FAST_CYCLE_ABOVE: f64 = 10.0;
/// So long expiry goes on at a time: what it may take of the time until the next cron, it takes in so many turns.
const EXPIRY_SLICE: Duration = Duration::from_millis(1);
/// Buckets moved at once where a table is being resized.
const REHASH_BUCKETS: usize = 256;

/// A client that has not been heard of for longer gives back room for more than so many bytes of a request.
const IDLE_QUERY_SECONDS: i64 = 2;
const SPARE_QUERY: usize = 4096;

/// Goes on with the expiry that the cron has begun, or expires keys if many are due.
pub(crate) fn expire_between_turns(server: &mut Server) {
    if server.lifecycle.debug.no_active_expire {
        server.lifecycle.expiry_left = Duration::ZERO;
    } else if !server.lifecycle.expiry_left.is_zero() {
        take_expiry_slice(server);
    } else if server.ks.stats.expired_stale_perc > FAST_CYCLE_ABOVE {
        let out_of_time = expire_for(server, EXPIRY_SLICE);
        server.ks.stats.expire_time_cap_reached += u64::from(out_of_time);
    }
}

/// Expires keys for a moment of the time that is left for it until the next cron. If it is done sooner, none is left.
fn take_expiry_slice(server: &mut Server) {
    let left = server.lifecycle.expiry_left;
    let started = server.ks.clock.nanos();
    // A replica's own keys are few, and gone through from the first one each time.
    let slice = if server.repl.is_replica() { left } else { left.min(EXPIRY_SLICE) };
    let out_of_time = expire_for(server, slice);
    let left = if out_of_time {
        left.saturating_sub(server.ks.clock.since(started))
    } else {
        Duration::ZERO
    };
    server.ks.stats.expire_time_cap_reached += u64::from(out_of_time && left.is_zero());
    server.lifecycle.expiry_left = left;
}

/// `watchdog-period` has changed: it is to be long enough for the cron to say in time that the loop runs.
pub(crate) fn apply_watchdog_period(server: &mut Server) {
    let period = server.config.watchdog_period;
    if period > 0 {
        server.config.watchdog_period = period.max(2 * 1000 / server.config.hz.max(1));
    }
    crash::schedule_watchdog(server.config.watchdog_period);
}

/// `hz` times a second.
pub(crate) fn cron(server: &mut Server) {
    server.update_time();
    if server.lifecycle.debug.pause_cron {
        return;
    }
    if server.config.watchdog_period > 0 {
        crash::schedule_watchdog(server.config.watchdog_period);
    }
    let started = server.ks.clock.nanos();
    let now = server.ks.now_ms;
    server.observer.sample(now, alloc::used_memory());
    if !server.lifecycle.debug.no_active_expire {
        let hz = u64::from(server.config.hz.max(1));
        server.lifecycle.expiry_left =
            Duration::from_micros(1_000_000 * EXPIRE_CPU_PERCENT / hz / 100);
        take_expiry_slice(server);
    }
    shutdown::heed_signal(server);
    server.persistence.receive_reports(server.ks.now_ms);
    snapshot::check_saver_done(server);
    persistence::check_save_points(server);
    rewrite::check_aof_rewrite(server);
    write::retry_aof_write(server, server.lifecycle.begins_second(server.config.hz));
    progress::note_progress(server);
    clients_cron(server);
    web::cron(server);
    renewal::cron(server);
    server.net.targets_mut().close_unused(now);
    server.scripting.scripts.debugger.reap();
    tracking::tracking_limit_keys(server);
    server.memory.give_back(now);
    if server.config.activerehashing {
        for db in &mut server.ks.dbs {
            db.table.rehash_step(REHASH_BUCKETS);
        }
    }
    drive::cron(server);
    if server.lifecycle.take_replication_cron_due(now) {
        replica::replica_cron(server);
        primary::primary_cron(server);
        server.repl.count_second();
    } else {
        replica::connect_early(server);
    }
    shutdown::check_shutdown(server);
    server.lifecycle.count_cron();
    if server.scripting.is_busy() || server.persistence.is_loading() {
        latency::note_since(server, "while-blocked-cron", started);
    }
}

/// Expires keys for so long at the most; returns whether there may be more.
fn expire_for(server: &mut Server, budget: Duration) -> bool {
    if server.blocking.pause.is_active()
        || server.persistence.is_loading()
        || expiry::is_importing(server)
    {
        return false;
    }
    let started = server.ks.clock.nanos();
    let out_of_time = if server.repl.is_replica() {
        server.ks.expire_replica_keys(budget);
        false
    } else {
        let effort = server.config.active_expire_effort;
        server.ks.active_expire_cycle(Effort { effort, budget })
    };
    latency::note_since(server, "expire-cycle", started);
    propagate::propagate_deletions(server);
    propagate::tell_changes(server);
    out_of_time
}

/// Closes clients that have been silent for too long, and those over a soft limit for too long.
fn clients_cron(server: &mut Server) {
    let now = server.now_seconds();
    let timeout = i64::from(server.config.timeout);
    let exempt = ClientFlags::SLAVE
        | ClientFlags::MASTER
        | ClientFlags::BLOCKED
        | ClientFlags::PUBSUB
        | ClientFlags::MONITOR
        | ClientFlags::MOVES_SLOTS
        | ClientFlags::HANDSHAKE;
    let idle: Vec<Token> = server
        .clients
        .iter()
        .filter(|(_, c)| {
            timeout > 0 && !c.is_any(exempt) && now - c.last_interaction_seconds > timeout
        })
        .map(|(token, _)| token)
        .collect();
    for token in idle {
        server.log(Level::Verbose, "Closing idle client");
        server.free_client(token);
    }
    for (_, client) in server.clients.iter_mut() {
        if now - client.last_interaction_seconds > IDLE_QUERY_SECONDS
            && client.query.capacity() - client.query.len() > SPARE_QUERY
        {
            // The rest of its request may never come.
            client.query.shrink_to_fit();
        }
    }
    server.memory.count_clients(&server.clients);
    let loaded: Vec<Token> = server
        .clients
        .iter()
        .filter(|(_, c)| !c.out.is_empty() || c.soft_limit_since_seconds.is_some())
        .map(|(token, _)| token)
        .collect();
    for token in loaded {
        output::check_output_limit(server, token);
    }
}
