//! The latency monitor: events that took at least `latency-monitor-threshold` milliseconds.

use crate::server::Server;
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

/// Samples kept of each event.
const HISTORY: usize = 160;
/// Rows of a graph, and characters of its bars from the bottom up.
const GRAPH_ROWS: u64 = 4;
const BAR: [char; 4] = [' ', '_', 'o', '#'];

/// How long something took in a second: the worst of that second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sample {
    /// Seconds since 1970.
    pub time: i64,
    pub ms: u64,
}

/// The samples of one event, oldest first; never empty.
#[derive(Clone, Debug, Default)]
pub struct Series {
    samples: VecDeque<Sample>,
    /// The worst ever, since the last reset.
    pub max_ms: u64,
}

impl Series {
    pub fn latest(&self) -> Sample {
        self.samples.back().copied().unwrap_or(Sample { time: 0, ms: 0 })
    }

    pub fn samples(&self) -> Vec<Sample> {
        self.samples.iter().copied().collect()
    }

    fn add(&mut self, sample: Sample) {
        self.max_ms = self.max_ms.max(sample.ms);
        if let Some(last) = self.samples.back_mut()
            && last.time == sample.time
        {
            last.ms = last.ms.max(sample.ms);
            return;
        }
        if self.samples.len() == HISTORY {
            self.samples.pop_front();
        }
        self.samples.push_back(sample);
    }

    /// The samples as bars, with the age of each below it, read from top to bottom.
    pub fn graph(&self, event: &str, now: i64) -> String {
        let low = self.samples.iter().map(|s| s.ms).min().unwrap_or(0);
        let high = self.samples.iter().map(|s| s.ms).max().unwrap_or(0);
        let mut graph =
            format!("{event} - high {high} ms, low {low} ms (all time high {} ms)\n", self.max_ms);
        graph.push_str(&"-".repeat(80));
        graph.push('\n');
        let steps = GRAPH_ROWS * (BAR.len() as u64 - 1);
        for row in (0..GRAPH_ROWS).rev() {
            let bars = self.samples.iter().map(|sample| {
                let height = 1 + (sample.ms - low) * (steps - 1) / (high - low).max(1);
                BAR[height.saturating_sub(row * (BAR.len() as u64 - 1)).min(BAR.len() as u64 - 1)
                    as usize]
            });
            graph.extend(bars);
            graph.push('\n');
        }
        graph.push('\n');
        let ages: Vec<String> =
            self.samples.iter().map(|sample| short_age(now - sample.time)).collect();
        for row in 0..ages.iter().map(String::len).max().unwrap_or(0) {
            graph.extend(ages.iter().map(|age| age.chars().nth(row).unwrap_or(' ')));
            graph.push('\n');
        }
        graph
    }
}

/// An age in its largest unit: `12s`, `3m`, `5h`, `2d`.
fn short_age(seconds: i64) -> String {
    match seconds.max(0) {
        s @ 0..60 => format!("{s}s"),
        s @ 60..3600 => format!("{}m", s / 60),
        s @ 3600..86_400 => format!("{}h", s / 3600),
        s => format!("{}d", s / 86_400),
    }
}

/// All events that were ever slow.
#[derive(Clone, Debug, Default)]
pub struct LatencyMonitor {
    /// `latency-monitor-threshold`, in milliseconds; 0: nothing is noted.
    threshold_ms: u64,
    events: BTreeMap<&'static str, Series>,
}

impl LatencyMonitor {
    /// Notes what takes at least so many milliseconds from now on; 0: nothing.
    pub fn set_threshold(&mut self, ms: u64) {
        self.threshold_ms = ms;
    }

    /// Whether anything is noted: if not, time need not be taken.
    #[inline]
    pub fn is_on(&self) -> bool {
        self.threshold_ms > 0
    }

    /// Whether what took so long is noted.
    #[inline]
    pub fn wants(&self, ms: u64) -> bool {
        self.is_on() && ms >= self.threshold_ms
    }

    /// Notes that an event took so long, at a time in seconds since 1970.
    pub fn add(&mut self, event: &'static str, time: i64, ms: u64) {
        self.events.entry(event).or_default().add(Sample { time, ms });
    }

    pub fn events(&self) -> impl Iterator<Item = (&'static str, &Series)> {
        self.events.iter().map(|(event, series)| (*event, series))
    }

    /// The samples of an event, by its name in any case.
    pub fn series(&self, event: &[u8]) -> Option<&Series> {
        self.events()
            .find(|(name, _)| name.as_bytes().eq_ignore_ascii_case(event))
            .map(|(_, series)| series)
    }

    /// Forgets an event; `false` if there is nothing to forget.
    pub fn reset(&mut self, event: &[u8]) -> bool {
        let before = self.events.len();
        self.events.retain(|name, _| !name.as_bytes().eq_ignore_ascii_case(event));
        self.events.len() < before
    }

    /// Forgets all events; returns how many.
    pub fn reset_all(&mut self) -> usize {
        std::mem::take(&mut self.events).len()
    }

    /// What the samples say, in words.
    pub fn doctor(&self) -> String {
        let threshold = self.threshold_ms;
        if self.events.is_empty() {
            return if threshold == 0 {
                "Nothing to report: the latency monitor is off. CONFIG SET latency-monitor-threshold <milliseconds> \
                 turns it on.\n"
                    .to_string()
            } else {
                format!("Nothing to report: no event took {threshold} milliseconds or more.\n")
            };
        }
        let mut report = "Events that took too long:\n\n".to_string();
        for (i, (event, series)) in self.events().enumerate() {
            let samples = series.samples();
            let count = samples.len() as u64;
            let average = samples.iter().map(|s| s.ms).sum::<u64>() / count.max(1);
            let deviation =
                samples.iter().map(|s| s.ms.abs_diff(average)).sum::<u64>() / count.max(1);
            let span = samples.last().map_or(0, |s| s.time) - samples.first().map_or(0, |s| s.time);
            let period = span as f64 / count.max(1) as f64;
            report.push_str(&format!(
                "{}. {event}: {count} latency spikes (average {average}ms, mean deviation {deviation}ms, period \
                 {period:.2} sec). Worst all time event {}ms.\n",
                i + 1,
                series.max_ms
            ));
        }
        report
    }
}

/// Notes that something took long, if it did.
pub(crate) fn note(server: &mut Server, event: &'static str, took: Duration) {
    let ms = took.as_millis() as u64;
    if server.observer.latency.wants(ms) {
        server.observer.latency.add(event, server.now_seconds(), ms);
    }
}

/// Notes that what began at `started`, in nanoseconds of the clock, took long, if it did.
pub(crate) fn note_since(server: &mut Server, event: &'static str, started: u64) {
    let took = server.ks.clock.since(started);
    note(server, event, took);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_keeps_its_worst_and_the_past_is_bounded() {
        let mut monitor = LatencyMonitor::default();
        for (time, ms) in [(1, 5), (1, 9), (1, 7), (2, 3)] {
            monitor.add("command", time, ms);
        }
        let series = monitor.series(b"COMMAND").unwrap();
        assert_eq!(series.samples(), [Sample { time: 1, ms: 9 }, Sample { time: 2, ms: 3 }]);
        assert_eq!((series.max_ms, series.latest().ms), (9, 3));
        for time in 0..1000 {
            monitor.add("fork", time, 1);
        }
        assert_eq!(monitor.series(b"fork").unwrap().samples().len(), HISTORY);
        assert!(!monitor.reset(b"nosuch") && monitor.reset(b"fork"));
        assert_eq!((monitor.reset_all(), monitor.events().count()), (1, 0));
    }

    #[test]
    fn what_is_quick_is_not_wanted() {
        let mut monitor = LatencyMonitor::default();
        assert!(!monitor.is_on() && !monitor.wants(u64::MAX));
        monitor.set_threshold(5);
        assert!(monitor.is_on() && monitor.wants(5) && !monitor.wants(4));
    }

    #[test]
    fn a_graph_has_its_bars_and_ages() {
        let mut monitor = LatencyMonitor::default();
        for (time, ms) in [(0, 1), (10, 100), (20, 50)] {
            monitor.add("command", time, ms);
        }
        let graph = monitor.series(b"command").unwrap().graph("command", 70);
        let lines: Vec<&str> = graph.lines().collect();
        assert_eq!(lines[0], "command - high 100 ms, low 1 ms (all time high 100 ms)");
        assert_eq!(&lines[2..6], [" # ", " # ", " ##", "_##"]);
        assert_eq!(&lines[7..], ["115", "mm0", "  s"]);
    }
}
