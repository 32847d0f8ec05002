//! What happens by itself: `before_sleep` in every turn of the loop, `cron` `hz` times a second.

use super::Server;
use super::client::{ClientFlags, Token};
use super::stats::SAMPLE_PERIOD_MS;
use crate::db::expire::Effort;
use crate::sys::crash;
use crate::util::alloc;
use std::mem;
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
        if self.ks.stats.expired_stale_perc > FAST_CYCLE_ABOVE && self.active_expire {
            self.expire_for(FAST_CYCLE);
        }
        if self.eviction.is_running {
            self.perform_evictions();
        }
        if mem::take(&mut self.persistence.child_ended) {
            self.check_child();
        }
        self.check_pause();
        self.handle_blocked_clients_timeout();
        self.handle_clients_blocked_on_keys();
        self.check_background_fsync();
        self.flush_append_only_file(false);
        if self.aof.holds_replies() {
            // What could not be written must not be acknowledged: the server ends.
            return;
        }
        self.check_background_fsync();
        if !self.clients.waiting().is_empty() {
            self.process_clients_waiting_replicas();
        }
        self.check_shutdown();
        self.check_failover();
        self.feed_replicas();
        if self.tracking.prefixes() > 0 {
            self.tracking_broadcast();
        }
        self.write_replies();
        self.evict_clients();
        self.abandon_unwanted_snapshot();
        if self.persistence.child.as_ref().is_some_and(|c| c.pipe.is_some()) {
            // The pipe may hold bytes that were left there while a replica lagged.
            self.read_snapshot_pipe();
        }
        self.reconnect_to_primary();
    }

    /// Writes what waits to be written, and closes what waits to be closed.
    fn write_replies(&mut self) {
        self.flush_monitors();
        self.write_turn_output();
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
        self.check_background_fsync();
        self.flush_append_only_file(false);
        if self.aof.holds_replies() {
            return;
        }
        self.check_background_fsync();
        self.feed_replicas();
        self.write_replies();
    }

    fn flush_output(&mut self, token: Token) {
        let client = &self.clients[token];
        if !client.out.is_empty() {
            self.send_reply_to_client(token);
        } else if client.is(ClientFlags::SLAVE) {
            self.write_to_replica(token);
        }
    }

    /// Whether the loop must not sleep, because there is work that no event announces.
    pub fn has_pending_work(&self) -> bool {
        self.clients.has_work()
            || !self.turn_output.is_empty()
            || !self.monitor_lines.is_empty()
            || self.eviction.is_running
            || self.loading.as_ref().is_some_and(|l| !l.is_fed())
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
        if self.pause_cron {
            return;
        }
        if self.config.watchdog_period > 0 {
            crash::schedule_watchdog(self.config.watchdog_period);
        }
        let started = self.clock.nanos();
        let now = self.ks.now_ms;
        let used = alloc::used_memory();
        self.stats.peak_memory = self.stats.peak_memory.max(used);
        if now - self.last_sample_ms >= SAMPLE_PERIOD_MS {
            self.last_sample_ms = now;
            self.stats.sample_rates(now);
        }
        if self.active_expire {
            let hz = u64::from(self.config.hz.max(1));
            self.expire_for(Duration::from_micros(1_000_000 * EXPIRE_CPU_PERCENT / hz / 100));
        }
        self.heed_signal();
        self.receive_child_reports();
        self.check_child();
        self.check_save_points();
        self.check_aof_rewrite();
        self.retry_aof_write(self.cron_loops.is_multiple_of(u64::from(self.config.hz.max(1))));
        self.clients_cron();
        self.targets.close_unused(now);
        self.scripts.debugger.reap();
        self.tracking_limit_keys();
        self.give_memory_back();
        if self.config.activerehashing {
            for db in &mut self.ks.dbs {
                if db.table.is_rehashing() {
                    db.table.rehash_step(REHASH_BUCKETS);
                }
            }
        }
        if now - self.last_replication_cron_ms >= 1000 {
            self.last_replication_cron_ms = now;
            self.replica_cron();
            self.primary_cron();
            self.repl.cron_loops += 1;
        } else {
            self.connect_early();
        }
        self.check_shutdown();
        self.cron_loops += 1;
        if self.busy.is_some() || self.loading.is_some() {
            self.note_latency("while-blocked-cron", self.clock.since(started));
        }
    }

    fn expire_for(&mut self, budget: Duration) {
        if self.pause.is_active() || self.loading.is_some() {
            return;
        }
        let started = self.clock.nanos();
        if self.repl.is_replica() {
            self.ks.expire_replica_keys(budget);
        } else {
            let effort = self.config.active_expire_effort;
            self.ks.active_expire_cycle(Effort { effort, budget });
        }
        self.note_latency("expire-cycle", self.clock.since(started));
        self.propagate_deletions();
        self.tell_changes();
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
            self.log(super::log::Level::Verbose, "Closing idle client");
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
        self.count_all_client_memory();
        let loaded: Vec<Token> = self
            .clients
            .iter()
            .filter(|(_, c)| !c.out.is_empty() || c.soft_limit_since.is_some())
            .map(|(token, _)| token)
            .collect();
        for token in loaded {
            self.check_output_limit(token);
        }
    }

    /// The time until the next thing that happens by itself.
    pub fn next_timer(&self) -> Duration {
        let tick = Duration::from_millis(1000 / u64::from(self.config.hz.clamp(1, 500)));
        let deadline = self.next_blocked_deadline().into_iter().chain(self.pause.deadline()).min();
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
        self.slow_log.push(micros, now, args, &peer, name);
    }
}
