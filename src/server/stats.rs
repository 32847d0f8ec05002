//! Counters that `INFO` shows, and rates sampled from them.

use crate::resp::error::ErrorCode;
use std::collections::BTreeMap;

/// Samples that a rate is averaged over: 1.6 seconds of them.
const SAMPLES: usize = 16;
/// How often a rate is sampled, in milliseconds.
pub const SAMPLE_PERIOD_MS: i64 = 100;

/// The rate of change of a counter, per second, averaged over the last samples.
#[derive(Clone, Debug, Default)]
pub struct Rate {
    last_value: u64,
    last_ms: i64,
    samples: [u64; SAMPLES],
    next: usize,
}

impl Rate {
    /// Takes the counter's value now.
    pub fn sample(&mut self, value: u64, now_ms: i64) {
        let elapsed = (now_ms - self.last_ms).max(1) as u64;
        if self.last_ms > 0 {
            self.samples[self.next] = value.saturating_sub(self.last_value) * 1000 / elapsed;
            self.next = (self.next + 1) % SAMPLES;
        }
        (self.last_value, self.last_ms) = (value, now_ms);
    }

    /// The counter's units per second.
    pub fn per_second(&self) -> u64 {
        self.samples.iter().sum::<u64>() / SAMPLES as u64
    }
}

#[derive(Clone, Debug, Default)]
pub struct Stats {
    pub connections: u64,
    pub commands: u64,
    pub net_in: u64,
    pub net_out: u64,
    pub net_repl_in: u64,
    pub net_repl_out: u64,
    pub rejected_connections: u64,
    pub sync_full: u64,
    pub sync_partial_ok: u64,
    pub sync_partial_err: u64,
    pub evicted_clients: u64,
    pub forks: u64,
    pub latest_fork_us: u64,
    pub reads: u64,
    pub writes: u64,
    pub unexpected_error_replies: u64,
    pub error_replies: u64,
    pub dump_payload_sanitizations: u64,
    /// What ACLs refused.
    pub auth_denied: u64,
    pub commands_denied: u64,
    pub keys_denied: u64,
    pub channels_denied: u64,
    pub loop_cycles: u64,
    pub loop_us: u64,
    /// The longest turn of the loop, and the most commands in one.
    pub loop_us_max: u64,
    pub commands_per_cycle_max: u64,
    pub cron_us: u64,
    pub command_us: u64,
    pub query_buffer_limit_disconnections: u64,
    pub output_buffer_limit_disconnections: u64,
    pub peak_memory: usize,
    /// When the log last told of a client that speaks HTTP, in seconds since 1970.
    pub http_logged: Option<i64>,
    /// Error replies by code.
    pub errors: BTreeMap<Vec<u8>, u64>,
    pub ops_rate: Rate,
    pub in_rate: Rate,
    pub out_rate: Rate,
    pub repl_in_rate: Rate,
    pub repl_out_rate: Rate,
    pub cycle_rate: Rate,
    pub cycle_us_rate: Rate,
}

/// So many codes there may be before scripts, which could invent any number of them, add no more.
const MAX_ERROR_CODES: usize = 128;
/// Where the errors of scripts are counted for whose codes there is no room.
const OTHER_ERRORS: &[u8] = b"ERRORSTATS_OVERFLOW";

impl Stats {
    /// Counts an error reply under its code.
    pub fn count_error(&mut self, code: &ErrorCode) {
        self.error_replies += 1;
        let code = match code {
            ErrorCode::OfScript(made_up)
                if self.errors.len() >= MAX_ERROR_CODES
                    && !self.errors.contains_key(&**made_up) =>
            {
                OTHER_ERRORS
            }
            code => code.as_bytes(),
        };
        match self.errors.get_mut(code) {
            Some(n) => *n += 1,
            None => drop(self.errors.insert(code.to_vec(), 1)),
        }
    }

    /// Counts a turn of the loop, which took so long and began at this count of commands.
    pub fn note_cycle(&mut self, micros: u64, commands_before: u64) {
        self.loop_cycles += 1;
        self.loop_us += micros;
        self.loop_us_max = self.loop_us_max.max(micros);
        // The count starts anew where a command of the turn was CONFIG RESETSTAT.
        let commands = self.commands.saturating_sub(commands_before);
        self.commands_per_cycle_max = self.commands_per_cycle_max.max(commands);
    }

    /// Takes one sample for every rate.
    pub fn sample_rates(&mut self, now_ms: i64) {
        self.ops_rate.sample(self.commands, now_ms);
        self.in_rate.sample(self.net_in + self.net_repl_in, now_ms);
        self.out_rate.sample(self.net_out + self.net_repl_out, now_ms);
        self.repl_in_rate.sample(self.net_repl_in, now_ms);
        self.repl_out_rate.sample(self.net_repl_out, now_ms);
        self.cycle_rate.sample(self.loop_cycles, now_ms);
        self.cycle_us_rate.sample(self.loop_us, now_ms);
    }

    /// `CONFIG RESETSTAT`: what describes the past is forgotten, what describes the present stays; what ACLs refused
    /// too.
    pub fn reset(&mut self) {
        *self = Stats {
            forks: self.forks,
            latest_fork_us: self.latest_fork_us,
            peak_memory: self.peak_memory,
            http_logged: self.http_logged,
            auth_denied: self.auth_denied,
            commands_denied: self.commands_denied,
            keys_denied: self.keys_denied,
            channels_denied: self.channels_denied,
            ..Stats::default()
        };
    }
}
