//! What the server notes of its own work, for those who watch over it.
//!
//! * [`stats`]: the counters of `INFO`, and rates sampled from them.
//! * [`command_log`]: commands that took long, or many bytes, with their arguments, for `SLOWLOG` and `COMMANDLOG`.
//! * [`latency`]: everything else that took long, for `LATENCY`.
//! * [`slot_stats`]: what the requests of each slot cost, for `CLUSTER SLOT-STATS`.
//! * [`monitors`]: who sees every command, and the lines that they have not been sent yet.
//! * [`progress`]: how far long work is.
//! * [`log`]: the log file, and the methods of the server that write to it.
//!
//! An [`Observer`] is told what happened and changes nothing else. What counts in every command is inline.

pub(crate) mod command_log;
pub(crate) mod latency;
pub mod log;
pub(crate) mod monitors;
pub(crate) mod progress;
pub(crate) mod slot_stats;
pub(crate) mod stats;

use super::config::Config;
use crate::resp::error::ErrorCode;
use command_log::{CommandLogs, Measure};
use latency::LatencyMonitor;
use log::Log;
use monitors::Monitors;
use progress::Progress;
use slot_stats::SlotStats;
use stats::Stats;
use std::time::Duration;

/// All that is noted.
#[derive(Debug)]
pub struct Observer {
    stats: Stats,
    pub(crate) command_logs: CommandLogs,
    pub(crate) latency: LatencyMonitor,
    pub(crate) monitors: Monitors,
    pub(crate) progress: Progress,
    pub(crate) slot_stats: SlotStats,
    pub(crate) log: Log,
}

impl Observer {
    pub(crate) fn new(config: &Config, log: Log) -> Observer {
        let mut observer = Observer {
            stats: Stats::default(),
            command_logs: CommandLogs::default(),
            latency: LatencyMonitor::default(),
            monitors: Monitors::default(),
            progress: Progress::default(),
            slot_stats: SlotStats::default(),
            log,
        };
        observer.apply_config(config);
        observer
    }

    /// Carries the thresholds over from the configuration.
    pub(crate) fn apply_config(&mut self, config: &Config) {
        for (measure, threshold, max_len) in [
            (Measure::Duration, config.slowlog_log_slower_than, config.slowlog_max_len),
            (
                Measure::Request,
                config.commandlog_request_larger_than,
                config.commandlog_large_request_max_len,
            ),
            (
                Measure::Reply,
                config.commandlog_reply_larger_than,
                config.commandlog_large_reply_max_len,
            ),
        ] {
            self.command_logs.of_mut(measure).configure(threshold, max_len);
        }
        self.log.set_format(config.log_format, config.log_timestamp_format);
        self.latency.set_threshold(config.latency_monitor_threshold);
    }

    /// The counters, to be read.
    #[inline]
    pub(crate) fn stats(&self) -> &Stats {
        &self.stats
    }

    /// Forgets what is counted of the past: see [`Stats::reset`].
    pub(crate) fn reset_stats(&mut self) {
        self.stats.reset();
        self.slot_stats.reset();
    }

    /// Notes how much memory is used, in bytes, and takes a sample for each rate if it is time for one.
    pub(crate) fn sample(&mut self, now_ms: i64, used_memory: usize) {
        self.stats.peak_memory = self.stats.peak_memory.max(used_memory);
        self.stats.sample_rates(now_ms);
    }
}

/// What is counted.
impl Observer {
    /// A command was executed.
    #[inline]
    pub(crate) fn count_command(&mut self, micros: u64) {
        self.stats.commands += 1;
        self.stats.command_us += micros;
    }

    /// An error was replied.
    pub(crate) fn count_error(&mut self, code: &ErrorCode) {
        self.stats.count_error(code);
    }

    /// A command failed whose sender does not expect that: the primary's, or one of an append-only file.
    pub(crate) fn count_unexpected_error(&mut self) {
        self.stats.unexpected_error_replies += 1;
    }

    pub(crate) fn count_connection(&mut self) {
        self.stats.connections += 1;
    }

    pub(crate) fn count_rejected_connection(&mut self) {
        self.stats.rejected_connections += 1;
    }

    /// A client's socket was read, and gave so many bytes.
    #[inline]
    pub(crate) fn count_read(&mut self, bytes: usize, from_primary: bool) {
        self.stats.reads += 1;
        if from_primary {
            self.stats.net_repl_in += bytes as u64;
        } else {
            self.stats.net_in += bytes as u64;
        }
    }

    /// So many bytes of a snapshot came from the primary.
    pub(crate) fn count_snapshot_read(&mut self, bytes: usize) {
        self.stats.net_repl_in += bytes as u64;
    }

    /// So many bytes were written to a client's socket.
    #[inline]
    pub(crate) fn count_write(&mut self, bytes: usize) {
        self.stats.writes += 1;
        self.stats.net_out += bytes as u64;
    }

    /// So many bytes were written to replicas.
    pub(crate) fn count_replica_write(&mut self, bytes: usize) {
        self.stats.net_repl_out += bytes as u64;
    }

    /// A replica gets a snapshot.
    pub(crate) fn count_full_sync(&mut self) {
        self.stats.sync_full += 1;
    }

    /// A replica asked for the stream to go on, and was granted or refused that.
    pub(crate) fn count_partial_sync(&mut self, granted: bool) {
        if granted {
            self.stats.sync_partial_ok += 1;
        } else {
            self.stats.sync_partial_err += 1;
        }
    }

    pub(crate) fn count_evicted_client(&mut self) {
        self.stats.evicted_clients += 1;
    }

    /// A client was disconnected because its request was too long.
    pub(crate) fn count_query_limit_disconnection(&mut self) {
        self.stats.query_buffer_limit_disconnections += 1;
    }

    /// A client was disconnected because too many replies waited for it.
    pub(crate) fn count_output_limit_disconnection(&mut self) {
        self.stats.output_buffer_limit_disconnections += 1;
    }

    /// A child was forked.
    pub(crate) fn count_fork(&mut self, took: Duration) {
        self.stats.forks += 1;
        self.stats.latest_fork_us = took.as_micros() as u64;
    }

    /// The loop took a turn, which began at this count of commands.
    pub(crate) fn count_cycle(&mut self, nanos: u64, commands_before: u64) {
        self.stats.count_cycle(nanos, commands_before);
    }

    /// The cron ran.
    pub(crate) fn count_cron(&mut self, micros: u64) {
        self.stats.cron_us += micros;
    }
}
