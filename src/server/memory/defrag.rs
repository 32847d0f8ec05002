//! Active defragmentation: what lies in areas of the allocator with few used blocks moves to others, so that whole
//! areas get empty and go back to the system.
//!
//! Once a second the allocator is looked at ([`Survey`]). If the holes between used blocks are over the thresholds, a
//! walk through the keyspace begins ([`Relocation`]). It takes slices of the loop's time between turns, each of which
//! is short, and so many as make up the share of time that the thresholds give for that much fragmentation. One walk
//! follows the other until a quarter of what begins them is left, or until one has filled few holes: what it has left
//! can't be filled, and there has to be more before another one begins.

use crate::db::Keyspace;
use crate::db::relocation::{Counts, Relocation};
use crate::server::Server;
use crate::server::config::Config;
use crate::server::observe::latency;
use crate::util::alloc::relocate::Relocator;
use crate::util::alloc::survey::Survey;

/// The time between two looks at the allocator, and how often as long as the look itself it is at least: so looks at
/// tens of gigabytes take no more than a thousandth of the time.
const PERIOD_US: u64 = 1_000_000;
const LOOK_SHARE: u64 = 1000;
/// The length of a slice, where the pause after it is no shorter than [`MIN_PAUSE_US`].
const SLICE_US: u64 = 500;
/// What the loop can sleep for: a shorter pause would be none.
const MIN_PAUSE_US: u64 = 1000;
/// A walk that fills less than this part of the holes has filled what can be filled.
const LEAST_FILLED: u64 = 8;

/// Whether values are moved at the moment, and what has come of it so far.
#[derive(Default)]
pub(crate) struct Defrag {
    walk: Option<Walk>,
    next_look_us: u64,
    /// Bytes of holes that a walk has left although it was there to fill them.
    unfillable: u64,
    /// What came of the walks that have ended.
    ended: Counts,
    /// The time of all slices but those of the present walk.
    ended_us: u64,
}

/// A walk under way.
struct Walk {
    relocation: Relocation,
    /// What there was to do when it began.
    hole_bytes: u64,
    /// The same in percent of what is used, when the first of several walks began.
    hole_percent: u64,
    /// When the next slice is due.
    due_us: u64,
    /// The time of its slices.
    spent_us: u64,
}

impl Defrag {
    /// What was moved and what was kept since the counters were last reset.
    pub fn counts(&self) -> Counts {
        self.walk.as_ref().map_or(self.ended, |walk| self.ended + walk.relocation.counts())
    }

    /// The percentage of the loop's time that a walk under way may take; 0: there is none.
    pub fn running_percent(&self, config: &Config) -> u64 {
        self.walk.as_ref().map_or(0, |walk| share_percent(config, walk.hole_percent))
    }

    /// The time of all slices so far and that of the present walk's, in milliseconds.
    pub fn spent_ms(&self) -> (u64, u64) {
        let current = self.walk.as_ref().map_or(0, |walk| walk.spent_us);
        ((self.ended_us + current) / 1000, current / 1000)
    }

    /// `CONFIG RESETSTAT`
    pub fn reset_stats(&mut self) {
        if let Some(walk) = &mut self.walk {
            walk.relocation.reset_counts();
        }
        (self.ended, self.ended_us) = (Counts::default(), 0);
    }

    /// When the next slice is due, in microseconds of a clock that never jumps, if there is any.
    pub fn due_us(&self) -> Option<u64> {
        self.walk.as_ref().map(|walk| walk.due_us)
    }

    /// Looks at the allocator. Begins a walk if there are holes enough, and some that can be filled.
    fn look(&mut self, config: &Config, now_us: u64, clock_us: impl Fn() -> u64) {
        let started_us = clock_us();
        let survey = Survey::take();
        self.next_look_us = now_us + PERIOD_US.max((clock_us() - started_us) * LOOK_SHARE);
        let (hole_bytes, hole_percent) = (survey.hole_bytes(), survey.hole_percent());
        self.unfillable = self.unfillable.min(hole_bytes);
        if hole_bytes < config.active_defrag_ignore_bytes
            || hole_percent < config.active_defrag_threshold_lower.into()
            || hole_bytes - self.unfillable < hole_bytes / LEAST_FILLED
        {
            return;
        }
        self.begin(&survey, enough_percent(config), hole_percent, now_us);
    }

    /// Begins a walk, if there are holes that it can fill.
    fn begin(&mut self, survey: &Survey, enough: u64, hole_percent: u64, now_us: u64) {
        let sparse = survey.sparse(enough);
        if !sparse.is_empty() {
            let relocation = Relocation::new(Relocator::emptying(sparse));
            let hole_bytes = survey.hole_bytes();
            self.walk =
                Some(Walk { relocation, hole_bytes, hole_percent, due_us: now_us, spent_us: 0 });
        }
    }

    /// Takes no slice for a while.
    fn put_off(&mut self, now_us: u64) {
        if let Some(walk) = &mut self.walk {
            walk.due_us = now_us + PERIOD_US / 10;
        }
    }

    /// Takes steps for a while, and says when to take the next ones. Returns whether the walk has come to its end.
    fn walk_on(
        &mut self,
        ks: &mut Keyspace,
        config: &Config,
        now_us: u64,
        clock_us: impl Fn() -> u64,
    ) -> bool {
        let Some(walk) = &mut self.walk else { return false };
        let (slice_us, pause_us) = slice_and_pause_us(share_percent(config, walk.hole_percent));
        let elements = usize::try_from(config.active_defrag_max_scan_fields).unwrap_or(usize::MAX);
        let started_us = clock_us();
        let mut has_more = true;
        while has_more && clock_us() - started_us < slice_us {
            has_more = walk.relocation.step(ks, elements);
        }
        walk.spent_us += clock_us() - started_us;
        walk.due_us = now_us + slice_us + pause_us;
        !has_more
    }

    /// Ends the walk.
    fn stop(&mut self) -> Option<Walk> {
        let walk = self.walk.take()?;
        self.ended = self.ended + walk.relocation.counts();
        self.ended_us += walk.spent_us;
        Some(walk)
    }

    /// Ends a walk that has come to the end of the keys, and begins another one if that is of use.
    fn complete(&mut self, config: &Config, now_us: u64) {
        let Some(ended) = self.stop() else { return };
        let survey = Survey::take();
        let left = survey.hole_bytes();
        if ended.hole_bytes.saturating_sub(left) < ended.hole_bytes / LEAST_FILLED {
            self.unfillable = left;
        } else if survey.hole_percent() >= enough_percent(config) {
            self.begin(&survey, enough_percent(config), ended.hole_percent, now_us);
        }
    }
}

/// The percentage of holes at which walks that have begun are done.
fn enough_percent(config: &Config) -> u64 {
    u64::from(config.active_defrag_threshold_lower) / 4
}

/// The percentage of the loop's time for such a fragmentation.
fn share_percent(config: &Config, hole_percent: u64) -> u64 {
    let lower = u64::from(config.active_defrag_threshold_lower);
    let upper = u64::from(config.active_defrag_threshold_upper).max(lower + 1);
    let least = u64::from(config.active_defrag_cycle_min);
    let most = u64::from(config.active_defrag_cycle_max).max(least);
    let beyond = hole_percent.clamp(lower, upper) - lower;
    least + (most - least) * beyond / (upper - lower)
}

/// How long a slice takes and the pause after it, so that slices take this percentage of the time, 1 to 99.
fn slice_and_pause_us(percent: u64) -> (u64, u64) {
    let pause_us = SLICE_US * (100 - percent) / percent;
    if pause_us >= MIN_PAUSE_US {
        return (SLICE_US, pause_us);
    }
    (MIN_PAUSE_US * percent / (100 - percent), MIN_PAUSE_US)
}

/// What is to be done in this turn of the loop: begins a walk, takes the slice of one that is due, ends it.
pub(crate) fn take_turn(server: &mut Server, now_us: u64) {
    let Server { memory, config, ks, .. } = server;
    let defrag = &mut memory.defrag;
    if !config.activedefrag {
        defrag.stop();
        return;
    }
    if server.persistence.saver().is_some() || server.persistence.is_loading() {
        // Each page that is written to would be copied for a child, and a snapshot without one goes through the same
        // values piece by piece; and what is being loaded has few holes yet.
        return defrag.put_off(now_us);
    }
    if now_us < defrag.due_us().unwrap_or(defrag.next_look_us) {
        return;
    }
    let started = ks.clock.nanos();
    let clock = ks.clock.clone();
    let clock_us = || clock.nanos() / 1000;
    if defrag.walk.is_none() {
        defrag.look(config, now_us, clock_us);
    } else if defrag.walk_on(ks, config, now_us, clock_us) {
        defrag.complete(config, now_us);
        memory.purge();
    }
    latency::note_since(server, "active-defrag-cycle", started);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_share_follows_the_thresholds() {
        let config = Config {
            active_defrag_threshold_lower: 10,
            active_defrag_threshold_upper: 100,
            active_defrag_cycle_min: 1,
            active_defrag_cycle_max: 25,
            ..Config::default()
        };
        let shares = [0, 10, 55, 100, 4000].map(|percent| share_percent(&config, percent));
        assert_eq!(shares, [1, 1, 13, 25, 25]);
        // Limits that contradict each other.
        let config = Config {
            active_defrag_threshold_lower: 1000,
            active_defrag_threshold_upper: 0,
            active_defrag_cycle_min: 50,
            active_defrag_cycle_max: 2,
            ..config
        };
        assert_eq!([0, 4000].map(|percent| share_percent(&config, percent)), [50, 50]);
    }

    #[test]
    fn slices_are_short_where_the_share_allows_it() {
        assert_eq!(slice_and_pause_us(1), (500, 49_500));
        assert_eq!(slice_and_pause_us(25), (500, 1500));
        assert_eq!(slice_and_pause_us(50), (1000, 1000));
        assert_eq!(slice_and_pause_us(75), (3000, 1000));
        for percent in 1..=99 {
            let (slice, pause) = slice_and_pause_us(percent);
            assert!((slice * 100 / (slice + pause)).abs_diff(percent) <= 1, "{percent}");
        }
    }
}
