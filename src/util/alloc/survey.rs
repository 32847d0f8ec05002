//! What the allocator holds of memory: areas of blocks of one size, in which some are used and the others are holes.
//!
//! A [`Survey`] counts holes, and says for each size class up to which share of used blocks an area should be emptied
//! into the holes of the others ([`Sparse`]): as many areas as there is room for in what is left.

use super::{CLASSES, class_of, heap};

/// A stretch of memory that the allocator takes blocks of one size from.
#[derive(Clone, Copy, Debug)]
pub struct Area {
    /// Its address.
    pub start: usize,
    /// Its length.
    pub bytes: usize,
    pub block_bytes: usize,
    /// Blocks that have been used at least once; memory behind them may not even be there yet.
    pub touched: usize,
    /// Blocks that are used.
    pub used: usize,
}

impl Area {
    /// Its class, and how many percent of its blocks are used; `None` where there is nothing to be emptied: it has one
    /// block only, or is not in full use yet.
    fn fill(&self) -> Option<(usize, usize)> {
        let blocks = self.bytes.checked_div(self.block_bytes)?;
        let class = class_of(self.block_bytes)?;
        let percent = self.used.min(blocks) * 100 / blocks.max(1);
        (blocks > 1 && self.touched == blocks).then_some((class, percent))
    }
}

/// The areas of one size class, by how many percent of them are used.
#[derive(Clone, Copy)]
struct Class {
    areas: [u32; 101],
    /// Blocks of all of them that are used.
    used: u64,
    /// Blocks that an area has.
    blocks: u64,
}

impl Class {
    const NONE: Class = Class { areas: [0; 101], used: 0, blocks: 1 };

    /// Up to how many percent areas are to be emptied, so that what they hold fills the holes of the others; `None` if
    /// that would free none, or less than `least_percent` of what is used.
    fn threshold(&self, least_percent: u64) -> Option<u8> {
        let areas: u64 = self.areas.iter().map(|areas| u64::from(*areas)).sum();
        let holes = (areas * self.blocks).saturating_sub(self.used);
        let mut to_free = areas.saturating_sub(self.used.div_ceil(self.blocks));
        if to_free == 0 || holes * 100 < self.used * least_percent {
            return None;
        }
        let last = self.areas.iter().position(|areas| {
            to_free = to_free.saturating_sub(u64::from(*areas));
            to_free == 0
        })?;
        Some(last as u8)
    }
}

/// What the allocator held at one moment.
pub struct Survey {
    classes: [Class; CLASSES],
    used_bytes: u64,
    hole_bytes: u64,
}

impl Survey {
    /// Looks at all areas, which takes about a microsecond for a hundred of them.
    pub fn take() -> Survey {
        let mut survey = Survey { classes: [Class::NONE; CLASSES], used_bytes: 0, hole_bytes: 0 };
        heap::visit_areas(&mut |area| survey.add(area));
        survey
    }

    fn add(&mut self, area: Area) {
        let holes = area.touched.saturating_sub(area.used);
        self.used_bytes += (area.used * area.block_bytes) as u64;
        self.hole_bytes += (holes * area.block_bytes) as u64;
        if let Some((class, percent)) = area.fill() {
            let class = &mut self.classes[class];
            class.areas[percent] += 1;
            class.used += area.used as u64;
            class.blocks = (area.bytes / area.block_bytes) as u64;
        }
    }

    /// Bytes of blocks that were used once, and are not now.
    pub fn hole_bytes(&self) -> u64 {
        self.hole_bytes
    }

    /// The same, in percent of the bytes that are used.
    pub fn hole_percent(&self) -> u64 {
        self.hole_bytes * 100 / self.used_bytes.max(1)
    }

    /// The areas to be emptied, of those classes whose holes are at least so many percent of what is used of them.
    pub fn sparse(&self, least_percent: u64) -> Sparse {
        let thresholds = self.classes.each_ref().map(|class| class.threshold(least_percent));
        let is_sparse = |area: &Area| {
            area.fill().is_some_and(|(class, percent)| {
                thresholds[class].is_some_and(|most| percent <= usize::from(most))
            })
        };
        let mut slices = 0;
        for (class, threshold) in self.classes.iter().zip(thresholds) {
            let sparse = threshold.map_or(0, |most| usize::from(most) + 1);
            let areas: usize = class.areas[..sparse].iter().map(|areas| *areas as usize).sum();
            slices += areas * 64;
        }
        let mut unseen = Vec::with_capacity(slices.min(1 << 20));
        heap::visit_areas(&mut |area| {
            if is_sparse(&area) {
                let last = area.start + area.bytes - 1;
                let room = unseen.capacity() - unseen.len();
                unseen.extend((area.start / SLICE..=last / SLICE).take(room));
            }
        });
        Sparse { thresholds, unseen: SliceSet::from(unseen) }
    }
}

/// Areas are made of such slices, each of one area only.
const SLICE: usize = super::SLICE;

/// Blocks up to this size make their area the calling thread's own when they are freed.
const MAX_RECLAIMED: usize = 64 << 10;

/// Which areas are to be emptied.
pub struct Sparse {
    /// For each class, up to how many percent.
    thresholds: [Option<u8>; CLASSES],
    /// Slices of such areas of which no block has been moved yet. The allocator says nothing of an area that no thread
    /// owns; when a block of it is freed here, it is this thread's.
    unseen: SliceSet,
}

impl Sparse {
    /// Whether the block, which was allocated with this size, is to be moved to where the allocator fills holes.
    #[inline]
    pub fn contains(&mut self, block: *const u8, size: usize) -> bool {
        let Some(threshold) = class_of(size).and_then(|class| self.thresholds[class]) else {
            return false;
        };
        if heap::is_in_sparse_area(block, threshold.into()) {
            return true;
        }
        let slice = block.addr() / SLICE;
        if size > MAX_RECLAIMED { self.unseen.contains(slice) } else { self.unseen.remove(slice) }
    }

    /// Whether there is nothing to be moved.
    pub fn is_empty(&self) -> bool {
        self.thresholds.iter().all(Option::is_none)
    }
}

/// Numbers of slices, as a bit for each slice of those regions of memory that have any.
#[derive(Default)]
struct SliceSet {
    /// In order.
    regions: Vec<Region>,
}

struct Region {
    number: usize,
    bits: [u64; REGION / 64],
}

/// Slices of a region: a gigabyte.
const REGION: usize = (1 << 30) / SLICE;

impl From<Vec<usize>> for SliceSet {
    fn from(mut slices: Vec<usize>) -> SliceSet {
        slices.sort_unstable();
        let mut regions: Vec<Region> = Vec::new();
        for slice in slices {
            let number = slice / REGION;
            if regions.last().is_none_or(|region| region.number != number) {
                regions.push(Region { number, bits: [0; REGION / 64] });
            }
            if let Some(region) = regions.last_mut() {
                region.bits[slice % REGION / 64] |= 1 << (slice % 64);
            }
        }
        SliceSet { regions }
    }
}

impl SliceSet {
    #[inline]
    fn word(&mut self, slice: usize) -> Option<&mut u64> {
        let number = slice / REGION;
        let at = self.regions.binary_search_by_key(&number, |region| region.number).ok()?;
        Some(&mut self.regions[at].bits[slice % REGION / 64])
    }

    fn contains(&mut self, slice: usize) -> bool {
        self.word(slice).is_some_and(|word| *word & 1 << (slice % 64) != 0)
    }

    /// Takes a slice out; `false` if it was not there.
    #[inline]
    fn remove(&mut self, slice: usize) -> bool {
        let Some(word) = self.word(slice) else { return false };
        let bit = 1 << (slice % 64);
        let was_there = *word & bit != 0;
        *word &= !bit;
        was_there
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn area(block_bytes: usize, blocks: usize, used: usize) -> Area {
        Area { start: 1 << 30, bytes: blocks * block_bytes, block_bytes, touched: blocks, used }
    }

    fn survey(areas: impl IntoIterator<Item = Area>) -> Survey {
        let mut survey = Survey { classes: [Class::NONE; CLASSES], used_bytes: 0, hole_bytes: 0 };
        areas.into_iter().for_each(|area| survey.add(area));
        survey
    }

    fn threshold(areas: impl IntoIterator<Item = Area>, least_percent: u64) -> Option<u8> {
        let survey = survey(areas);
        survey.classes[class_of(64).unwrap()].threshold(least_percent)
    }

    #[test]
    fn the_emptiest_go_into_the_holes_of_the_others() {
        let of = |used: &'static [usize]| used.iter().map(|used| area(64, 100, *used));
        assert_eq!(threshold(of(&[10, 20, 70, 100]), 10), Some(20), "thirty holes for thirty");
        assert_eq!(threshold(of(&[10, 20, 71, 100]), 10), Some(10), "twenty would not fit");
        assert_eq!(threshold(of(&[20, 20, 20, 20]), 10), Some(20), "all alike");
        assert_eq!(threshold(of(&[99, 98, 100, 100]), 10), None, "not worth it");
        assert_eq!(threshold(of(&[60, 60]), 10), None, "none would be free");
        assert_eq!(threshold(of(&[50, 50]), 10), Some(50));
        assert_eq!(threshold(of(&[5]), 10), None, "an only one");
        assert_eq!(threshold(of(&[]), 10), None);
    }

    #[test]
    fn what_is_not_touched_is_no_hole() {
        let fresh = Area { touched: 40, ..area(64, 100, 30) };
        let survey = survey([fresh, area(64, 100, 70), area(1 << 20, 1, 1)]);
        assert_eq!((survey.hole_bytes(), survey.used_bytes), (40 * 64, 100 * 64 + (1 << 20)));
    }

    #[test]
    fn a_set_of_slices() {
        let slices = [5, 6, REGION - 1, REGION, 40 * REGION + 63, 40 * REGION + 64];
        let mut set = SliceSet::from(slices.iter().rev().copied().collect::<Vec<_>>());
        assert_eq!(set.regions.len(), 3);
        for slice in slices {
            assert!(set.contains(slice) && set.remove(slice) && !set.remove(slice), "{slice}");
        }
        assert!(!set.contains(7) && !set.remove(2 * REGION));
    }
}
