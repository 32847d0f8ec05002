//! Counters that `INFO` shows, and rates sampled from them.

use crate::resp::error::ErrorCode;
use crate::util::histogram::Histogram;
use std::collections::BTreeMap;

/// Samples that a rate is averaged over: 1.6 seconds of them.
const SAMPLES: usize = 16;
/// How often a rate is sampled, in milliseconds.
const SAMPLE_PERIOD_MS: i64 = 100;

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

/// Counts since the start or the last [`Stats::reset`]. Only the [`Observer`](super::Observer) changes them.
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
    pub loop_cycles: u64,
    pub loop_us: u64,
    /// How long each of them took.
    pub loop_turns: Histogram,
    /// The longest turn of the loop, and the most commands in one.
    pub loop_us_max: u64,
    pub commands_per_cycle_max: u64,
    pub cron_us: u64,
    pub command_us: u64,
    pub query_buffer_limit_disconnections: u64,
    pub output_buffer_limit_disconnections: u64,
    pub peak_memory: usize,
    /// Error replies by code.
    pub errors: BTreeMap<Vec<u8>, u64>,
    pub ops_rate: Rate,
    pub in_rate: Rate,
    pub out_rate: Rate,
    pub repl_in_rate: Rate,
    pub repl_out_rate: Rate,
    pub cycle_rate: Rate,
    pub cycle_us_rate: Rate,
    last_sample_ms: i64,
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
    pub fn count_cycle(&mut self, nanos: u64, commands_before: u64) {
        let micros = nanos / 1000;
        self.loop_cycles += 1;
        self.loop_turns.record(nanos);
        self.loop_us += micros;
        self.loop_us_max = self.loop_us_max.max(micros);
        // The count starts anew where a command of the turn was CONFIG RESETSTAT.
        let commands = self.commands.saturating_sub(commands_before);
        self.commands_per_cycle_max = self.commands_per_cycle_max.max(commands);
    }

    /// Takes one sample for every rate, if the last ones are old enough.
    pub fn sample_rates(&mut self, now_ms: i64) {
        if now_ms - self.last_sample_ms < SAMPLE_PERIOD_MS {
            return;
        }
        self.last_sample_ms = now_ms;
        self.ops_rate.sample(self.commands, now_ms);
        self.in_rate.sample(self.net_in + self.net_repl_in, now_ms);
        self.out_rate.sample(self.net_out + self.net_repl_out, now_ms);
        self.repl_in_rate.sample(self.net_repl_in, now_ms);
        self.repl_out_rate.sample(self.net_repl_out, now_ms);
        self.cycle_rate.sample(self.loop_cycles, now_ms);
        self.cycle_us_rate.sample(self.loop_us, now_ms);
    }

    /// `CONFIG RESETSTAT`: what describes the past is forgotten, what describes the present stays.
    pub fn reset(&mut self) {
        *self = Stats {
            forks: self.forks,
            latest_fork_us: self.latest_fork_us,
            peak_memory: self.peak_memory,
            last_sample_ms: self.last_sample_ms,
            ..Stats::default()
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_an_average_per_second() {
        let mut stats = Stats::default();
        for turn in 0..=SAMPLES as u64 {
            stats.commands = turn * 50;
            stats.sample_rates(1000 + turn as i64 * SAMPLE_PERIOD_MS);
            // Too early for another one.
            stats.sample_rates(1001 + turn as i64 * SAMPLE_PERIOD_MS);
        }
        assert_eq!(stats.ops_rate.per_second(), 500);
    }

    #[test]
    fn made_up_error_codes_have_bounded_room() {
        let mut stats = Stats::default();
        for n in 0..2 * MAX_ERROR_CODES {
            stats.count_error(&ErrorCode::OfScript(format!("E{n}").into_bytes().into()));
        }
        stats.count_error(&ErrorCode::WrongType);
        assert_eq!(stats.errors.len(), MAX_ERROR_CODES + 2);
        assert_eq!(stats.errors[OTHER_ERRORS], MAX_ERROR_CODES as u64);
        assert_eq!(stats.error_replies, 2 * MAX_ERROR_CODES as u64 + 1);
    }

    #[test]
    fn a_reset_forgets_the_past_only() {
        let mut stats = Stats { commands: 3, peak_memory: 5, forks: 2, ..Stats::default() };
        stats.reset();
        assert_eq!((stats.commands, stats.peak_memory, stats.forks), (0, 5, 2));
    }
}
