//! Maps that were large once and are not any more: a standard map keeps its room for ever.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hash};

/// Places that are not worth giving back.
const FEW: usize = 64;

/// Gives room back if no more than an eighth of it is used. To be called after a removal, of which it makes nothing
/// slower on average: as many have to follow before there is more to give back.
pub fn shrink_if_sparse<K: Eq + Hash, V, S: BuildHasher>(map: &mut HashMap<K, V, S>) {
    if map.capacity() / 8 > map.len().max(FEW / 8) {
        map.shrink_to(2 * map.len());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_follows_what_is_left() {
        let mut map: HashMap<usize, usize> = (0..100_000).map(|n| (n, n)).collect();
        let mut shrunk = 0;
        for n in 0..100_000 {
            map.remove(&n);
            let before = map.capacity();
            shrink_if_sparse(&mut map);
            shrunk += usize::from(map.capacity() < before);
            assert!(map.capacity() < 2 * FEW.max(8 * map.len()), "{n}");
        }
        assert!(shrunk <= 10, "it moves all entries each time: {shrunk}");
    }
}
