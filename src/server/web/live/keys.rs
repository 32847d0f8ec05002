//! Big keys and hot ones, found by chance: a few are looked at each second, and the extremes remembered.

use crate::db::{EntryRef, Keyspace};
use serde_json::{Value, json};

/// Keys that are looked at each second. Each costs some cache misses: all of them less than 100 µs.
const SAMPLES: usize = 200;
/// Keys that are remembered.
const REMEMBERED: usize = 15;
/// Characters of a key that are shown.
const MAX_SHOWN: usize = 100;

/// A key, and the figure that it is remembered for.
struct Found {
    db: usize,
    key: Box<[u8]>,
    kind: &'static str,
    figure: u64,
}

/// The keys with the largest figures of those that were seen.
#[derive(Default)]
struct Ranking(Vec<Found>);

impl Ranking {
    /// Takes the figures anew; keys that are gone are forgotten.
    fn refresh(&mut self, ks: &Keyspace, figure: impl Fn(EntryRef<'_>) -> u64) {
        self.0.retain_mut(|found| match ks.inspect(found.db, &found.key) {
            Some(entry) => {
                found.figure = figure(entry);
                true
            }
            None => false,
        });
    }

    fn add(&mut self, db: usize, entry: EntryRef<'_>, figure: u64) {
        let key = entry.key();
        let is_known = |found: &Found| found.db == db && &*found.key == key;
        let is_small = self.0.len() == REMEMBERED && self.0.iter().all(|f| f.figure >= figure);
        if is_small || self.0.iter().any(is_known) {
            return;
        }
        self.0.push(Found { db, key: key.into(), kind: entry.value().kind().name(), figure });
        self.0.sort_by_key(|found| std::cmp::Reverse(found.figure));
        self.0.truncate(REMEMBERED);
    }

    fn show(&self, figure: &str) -> Value {
        let show = |found: &Found| {
            let key: String = String::from_utf8_lossy(&found.key).chars().take(MAX_SHOWN).collect();
            json!({ "db": found.db, "key": key, "type": found.kind, figure: found.figure })
        };
        self.0.iter().map(show).collect()
    }
}

/// See the module.
#[derive(Default)]
pub struct KeySampler {
    big: Ranking,
    hot: Ranking,
    sampled: u64,
}

impl KeySampler {
    /// Looks at some more keys.
    pub fn sample(&mut self, ks: &Keyspace, random: &mut impl FnMut() -> u64) {
        let access = ks.access;
        self.big.refresh(ks, |entry| entry.memory() as u64);
        self.hot.refresh(ks, |entry| access.frequency(entry).into());
        if !access.lfu {
            self.hot = Ranking::default();
        }
        let keys = ks.len() as u64;
        for _ in 0..SAMPLES.min(keys as usize) {
            let mut chosen = random() % keys;
            // Databases by the number of their keys.
            let mut dbs = ks.dbs.iter().enumerate();
            let found = dbs.find(|(_, db)| {
                let is_here = chosen < db.len() as u64;
                chosen = chosen.saturating_sub(db.len() as u64);
                is_here
            });
            let Some((n, db)) = found else { return };
            let Some(entry) = db.table.random(random) else { continue };
            self.big.add(n, entry, entry.memory() as u64);
            if access.lfu {
                self.hot.add(n, entry, access.frequency(entry).into());
            }
            self.sampled += 1;
        }
    }

    /// For the page. Under another policy than LFU nobody counts how often keys are used.
    pub fn show(&self, counts_uses: bool) -> Value {
        let hot = if counts_uses { self.hot.show("frequency") } else { Value::Null };
        json!({ "sampled": self.sampled, "big": self.big.show("bytes"), "hot": hot })
    }
}
