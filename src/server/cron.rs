//! What happens by itself: `before_sleep` in every turn of the loop, `cron` `hz` times a second.

use super::Server;
use super::client::{ClientFlags, Token};
use crate::db::expire::Effort;
use crate::server::blocking;
use crate::server::blocking::pause;
use crate::server::dispatch::resume;
use crate::server::expiry;
use crate::server::memory::client_eviction;
use crate::server::memory::evict;
use crate::server::monitoring;
use crate::server::observe::latency;
use crate::server::observe::log::Level;
use crate::server::output;
use crate::server::persistence;
use crate::server::persistence::aof::rewrite;
use crate::server::persistence::aof::write;
use crate::server::persistence::child::SaveChild;
use crate::server::propagate;
use crate::server::replication::failover;
use crate::server::replication::primary;
use crate::server::replication::primary::dual_channel;
use crate::server::replication::primary::feed;
use crate::server::replication::primary::snapshot;
use crate::server::replication::replica;
use crate::server::shutdown;
use crate::server::tracking;
use crate::sys::crash;
use crate::util::alloc;
use std::time::Duration;

/// The share of time that active expiry may take, in percent.
const EXPIRE_CPU_PERCENT: u64 = 25;
/// Stale keys, in percent of the volatile ones, above which expiry also runs between turns of the loop.
const FAST_CYCLE_ABOVE: f64 = 10.0;
const FAST_CYCLE: Duration = Duration::from_millis(1);
/// Buckets moved at once where a table is being resized.
const REHASH_BUCKETS: usize = 256;

/// A client that has not been heard of for longer gives back room for more than so many bytes of a request.
const IDLE_QUERY_SECONDS: i64 = 2;
const SPARE_QUERY: usize = 4096;

impl Server {
    /// The loop is about to sleep: whatever this turn has left to do is done now.
    pub fn before_sleep(&mut self) {
        if self.ks.stats.expired_stale_perc > FAST_CYCLE_ABOVE
            && !self.lifecycle.debug.no_active_expire
        {
            self.expire_for(FAST_CYCLE);
        }
        if self.memory.eviction().is_running() {
            evict::perform_evictions(self);
        }
        if self.persistence.take_child_signal() {
            persistence::check_child(self);
        }
        pause::check_pause(self);
        blocking::handle_blocked_clients_timeout(self);
        resume::handle_clients_blocked_on_keys(self);
        write::check_background_fsync(self);
        write::flush_append_only_file(self, false);
        if self.persistence.aof.holds_replies() {
            // What could not be written must not be acknowledged: the server ends.
            return;
        }
        write::check_background_fsync(self);
        if !self.clients.waiting().is_empty() {
            feed::process_clients_waiting_replicas(self);
        }
        shutdown::check_shutdown(self);
        failover::check_failover(self);
        feed::feed_replicas(self);
        if self.tracking.prefixes() > 0 {
            tracking::tracking_broadcast(self);
        }
        self.write_replies();
        client_eviction::evict_clients(self);
        dual_channel::abandon_unwanted_snapshot(self);
        if self.persistence.child().is_some_and(SaveChild::has_pipe) {
            // The pipe may hold bytes that were left there while a replica lagged.
            snapshot::read_snapshot_pipe(self);
        }
        replica::reconnect_to_primary(self);
    }

    /// Writes what waits to be written, and closes what waits to be closed.
    fn write_replies(&mut self) {
        monitoring::flush_monitors(self);
        output::write_turn_output(self);
        for token in self.clients.take_pending_writes() {
            if self.clients.contains(token) {
                self.flush_output(token);
            }
        }
        for noted in self.clients.take_closing() {
            if let Some(token) = self.clients.find(noted) {
                self.free_client(token);
            }
        }
    }

    /// What remains of a turn that the loop took in the midst of a script.
    pub fn end_turn_meanwhile(&mut self) {
        write::check_background_fsync(self);
        write::flush_append_only_file(self, false);
        if self.persistence.aof.holds_replies() {
            return;
        }
        write::check_background_fsync(self);
        feed::feed_replicas(self);
        self.write_replies();
    }

    fn flush_output(&mut self, token: Token) {
        let client = &self.clients[token];
        if !client.out.is_empty() {
            output::send_reply_to_client(self, token);
        } else if client.is(ClientFlags::SLAVE) {
            feed::write_to_replica(self, token);
        }
    }

    /// Whether the loop must not sleep, because there is work that no event announces.
    pub fn has_pending_work(&self) -> bool {
        self.clients.has_work()
            || !self.turn_output.is_empty()
            || self.observer.monitors.has_lines()
            || self.memory.eviction().is_running()
            || self.persistence.loading.as_ref().is_some_and(|l| !l.is_fed())
    }

    /// `watchdog-period` has changed: it is to be long enough for the cron to say in time that the loop runs.
    pub fn apply_watchdog_period(&mut self) {
        let period = self.config.watchdog_period;
        if period > 0 {
            self.config.watchdog_period = period.max(2 * 1000 / self.config.hz.max(1));
        }
        crash::schedule_watchdog(self.config.watchdog_period);
    }

    /// `hz` times a second.
    pub fn cron(&mut self) {
        self.update_time();
        if self.lifecycle.debug.pause_cron {
            return;
        }
        if self.config.watchdog_period > 0 {
            crash::schedule_watchdog(self.config.watchdog_period);
        }
        let started = self.clock.nanos();
        let now = self.ks.now_ms;
        self.observer.sample(now, alloc::used_memory());
        if !self.lifecycle.debug.no_active_expire {
            let hz = u64::from(self.config.hz.max(1));
            self.expire_for(Duration::from_micros(1_000_000 * EXPIRE_CPU_PERCENT / hz / 100));
        }
        shutdown::heed_signal(self);
        self.persistence.receive_child_reports(self.ks.now_ms);
        persistence::check_child(self);
        persistence::check_save_points(self);
        rewrite::check_aof_rewrite(self);
        write::retry_aof_write(self, self.lifecycle.begins_second(self.config.hz));
        self.clients_cron();
        self.targets.close_unused(now);
        self.scripting.scripts.debugger.reap();
        tracking::tracking_limit_keys(self);
        self.memory.give_back(now);
        if self.config.activerehashing {
            for db in &mut self.ks.dbs {
                if db.table.is_rehashing() {
                    db.table.rehash_step(REHASH_BUCKETS);
                }
            }
        }
        if self.lifecycle.take_replication_cron_due(now) {
            replica::replica_cron(self);
            primary::primary_cron(self);
            self.repl.count_second();
        } else {
            replica::connect_early(self);
        }
        shutdown::check_shutdown(self);
        self.lifecycle.count_cron();
        if self.scripting.is_busy() || self.persistence.is_loading() {
            latency::note_since(self, "while-blocked-cron", started);
        }
    }

    fn expire_for(&mut self, budget: Duration) {
        if self.blocking.pause.is_active()
            || self.persistence.is_loading()
            || expiry::is_importing(self)
        {
            return;
        }
        let started = self.clock.nanos();
        if self.repl.is_replica() {
            self.ks.expire_replica_keys(budget);
        } else {
            let effort = self.config.active_expire_effort;
            self.ks.active_expire_cycle(Effort { effort, budget });
        }
        latency::note_since(self, "expire-cycle", started);
        propagate::propagate_deletions(self);
        propagate::tell_changes(self);
    }

    /// Closes clients that have been silent for too long, and those over a soft limit for too long.
    fn clients_cron(&mut self) {
        let now = self.now_seconds();
        let timeout = i64::from(self.config.timeout);
        let exempt = ClientFlags::SLAVE
            | ClientFlags::MASTER
            | ClientFlags::BLOCKED
            | ClientFlags::PUBSUB
            | ClientFlags::HANDSHAKE;
        let idle: Vec<Token> = self
            .clients
            .iter()
            .filter(|(_, c)| timeout > 0 && !c.is(exempt) && now - c.last_interaction > timeout)
            .map(|(token, _)| token)
            .collect();
        for token in idle {
            self.log(Level::Verbose, "Closing idle client");
            self.free_client(token);
        }
        for (_, client) in self.clients.iter_mut() {
            if now - client.last_interaction > IDLE_QUERY_SECONDS
                && client.query.capacity() - client.query.len() > SPARE_QUERY
            {
                // The rest of its request may never come.
                client.query.shrink_to_fit();
            }
        }
        self.memory.count_clients(&self.clients);
        let loaded: Vec<Token> = self
            .clients
            .iter()
            .filter(|(_, c)| !c.out.is_empty() || c.soft_limit_since.is_some())
            .map(|(token, _)| token)
            .collect();
        for token in loaded {
            output::check_output_limit(self, token);
        }
    }

    /// The time until the next thing that happens by itself.
    pub fn next_timer(&self) -> Duration {
        let tick = Duration::from_millis(1000 / u64::from(self.config.hz.clamp(1, 500)));
        let deadline = self
            .blocking
            .waits
            .next_deadline()
            .into_iter()
            .chain(self.blocking.pause.deadline())
            .min();
        match deadline {
            Some(at) => {
                let left = at.saturating_add(1).saturating_sub(self.ks.now_ms);
                tick.min(Duration::from_millis(left.max(1) as u64))
            }
            None => tick,
        }
    }

    /// Adds a command to the slow log.
    pub fn log_slow_command(&mut self, token: Token, micros: u64, args: &[&[u8]]) {
        let now = self.now_seconds();
        let Some(client) = self.clients.get(token) else { return };
        let peer = client.conn.peer(&self.unix_path());
        let name = client.name.as_deref().unwrap_or_default();
        self.observer.slow_log.push(micros, now, args, &peer, name);
    }
}
