//! The best keys to evict of those that were sampled lately.
//!
//! A handful of keys by chance has no really old one among them. So the best of each sample are kept here, and each
//! eviction takes the best of all: the more samples, the closer to a true order, as in `evict.c` of Redis. A key in
//! the pool may be gone from the keyspace by the time it is taken.

/// Keys kept: as many as Redis keeps.
const SIZE: usize = 16;

#[derive(Debug)]
struct Candidate {
    score: u64,
    db: usize,
    key: Box<[u8]>,
}

/// Candidates, the best one last.
#[derive(Debug, Default)]
pub struct EvictionPool {
    candidates: Vec<Candidate>,
}

impl EvictionPool {
    /// Adds a key, the better to evict the higher its score. In a full pool it takes the place of the worst, unless it
    /// is worse still.
    pub fn offer(&mut self, score: u64, db: usize, key: &[u8]) {
        let mut place = self.candidates.partition_point(|c| c.score < score);
        if self.candidates.len() == SIZE {
            if place == 0 {
                return;
            }
            self.candidates.remove(0);
            place -= 1;
        }
        self.candidates.insert(place, Candidate { score, db, key: key.into() });
    }

    /// Takes the best candidate out: database and key.
    pub fn take_best(&mut self) -> Option<(usize, Box<[u8]>)> {
        self.candidates.pop().map(|best| (best.db, best.key))
    }

    /// Forgets all: scores of another policy mean nothing.
    pub fn clear(&mut self) {
        self.candidates.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_of_all_offers_are_kept() {
        let mut pool = EvictionPool::default();
        // 0..100 in some order.
        for score in (0..100).map(|i| i * 37 % 100) {
            pool.offer(score, 0, score.to_string().as_bytes());
        }
        let taken: Vec<String> = std::iter::from_fn(|| pool.take_best())
            .map(|(_, key)| String::from_utf8_lossy(&key).into_owned())
            .collect();
        let expected: Vec<String> = (84..100).rev().map(|score| score.to_string()).collect();
        assert_eq!(taken, expected);
    }
}
