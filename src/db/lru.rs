//! The access bits of an entry: an idle clock (LRU) or a decaying counter (LFU), 24 bits either way.
//!
//! LRU: seconds since 1970, modulo 2^24. LFU: 16 bits of minutes when the counter was last decremented, 8 bits of a
//! logarithmic counter, as `maxmemory-policy` of Redis defines them.

use super::entry::EntryRef;

const CLOCK_MAX: u32 = (1 << 24) - 1;
/// A new key's counter: not the first to be evicted.
pub const LFU_INIT: u8 = 5;

/// How accesses are noted.
#[derive(Clone, Copy, Debug, Default)]
pub struct AccessPolicy {
    /// `maxmemory-policy` is one of the LFU policies.
    pub lfu: bool,
    pub log_factor: u32,
    pub decay_minutes: u32,
    /// The clock: seconds since 1970.
    pub seconds: u32,
    /// State of the generator behind the logarithmic counter.
    random: u64,
}

impl AccessPolicy {
    /// Notes an access.
    #[inline]
    pub fn touch(&mut self, entry: EntryRef<'_>) {
        if self.lfu {
            let counter = self.increment(self.decayed(entry.lru()));
            entry.set_lru(self.lfu_bits(counter));
        } else {
            entry.set_lru(self.seconds & CLOCK_MAX);
        }
    }

    /// The bits of a new entry.
    #[inline]
    pub fn fresh(&self) -> u32 {
        if self.lfu { self.lfu_bits(LFU_INIT) } else { self.seconds & CLOCK_MAX }
    }

    /// How long an entry has been idle, in seconds.
    pub fn idle_seconds(&self, entry: EntryRef<'_>) -> u64 {
        let now = self.seconds & CLOCK_MAX;
        u64::from(now.wrapping_sub(entry.lru()) & CLOCK_MAX)
    }

    /// The bits of an entry that has been idle for so long.
    pub fn bits_idle(&self, seconds: u64) -> u32 {
        let idle = seconds.min(u64::from(CLOCK_MAX)) as u32;
        self.seconds.wrapping_sub(idle) & CLOCK_MAX
    }

    /// The access frequency of an entry, decayed to now.
    pub fn frequency(&self, entry: EntryRef<'_>) -> u8 {
        self.decayed(entry.lru())
    }

    /// The bits of an entry with this frequency.
    pub fn lfu_bits(&self, counter: u8) -> u32 {
        (self.minutes() << 8) | u32::from(counter)
    }

    fn minutes(&self) -> u32 {
        (self.seconds / 60) & 0xffff
    }

    fn decayed(&self, bits: u32) -> u8 {
        let counter = (bits & 0xff) as u8;
        let elapsed = self.minutes().wrapping_sub(bits >> 8) & 0xffff;
        let periods = elapsed.checked_div(self.decay_minutes).unwrap_or(0);
        counter.saturating_sub(periods.min(255) as u8)
    }

    fn increment(&mut self, counter: u8) -> u8 {
        if counter == u8::MAX {
            return counter;
        }
        // xorshift: the counter needs chance, not secrecy.
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        let above = f64::from(counter.saturating_sub(LFU_INIT));
        let p = 1.0 / (above * f64::from(self.log_factor) + 1.0);
        let drawn = (self.random >> 11) as f64 / (1u64 << 53) as f64;
        if drawn < p { counter + 1 } else { counter }
    }

    /// Sets the generator's state.
    pub fn seed(&mut self, seed: u64) {
        self.random = seed | 1;
    }
}
