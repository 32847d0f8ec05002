//! Geohashes: positions as the scores of a sorted set, so that points near each other have scores
//! near each other.
//!
//! Longitude and latitude are halved again and again; the bits of the two series, interleaved, name
//! a cell of the map. 26 halvings of each make the 52 bits of a score, which a double holds
//! exactly. A search takes the cell around its centre, of about the size of the search, and the
//! eight cells around that: nine ranges of scores whose members are then measured one by one. For a
//! polygon it takes the cells that its bounds lie in.

mod polygon;

pub use self::polygon::Polygon;
use std::f64::consts::PI;
use std::ops::RangeInclusive;

/// Halvings of either axis in a score.
const STEP_MAX: u32 = 26;
/// The radius of the Earth in metres that Redis uses (WGS-84, quadratic mean).
pub const EARTH_RADIUS: f64 = 6_372_797.560856;
/// Half the circumference of the map, in metres (EPSG:3785).
const MERCATOR_MAX: f64 = 20_037_726.37;
const BASE32: &[u8; 32] = b"0123456789bcdefghjkmnpqrstuvwxyz";

/// An interval in degrees.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Range {
    min: f64,
    max: f64,
}

const LONGITUDES: Range = Range { min: -180.0, max: 180.0 };
/// The poles lie outside the Mercator map (EPSG:900913).
const LATITUDES: Range = Range { min: -85.05112878, max: 85.05112878 };
/// The latitudes of standard geohash strings.
const STANDARD_LATITUDES: Range = Range { min: -90.0, max: 90.0 };

/// A position in degrees.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Point {
    pub longitude: f64,
    pub latitude: f64,
}

impl Point {
    /// The point, unless it lies off the map: a longitude beyond ±180 or a latitude beyond
    /// ±85.05112878 degrees.
    pub fn new(longitude: f64, latitude: f64) -> Option<Self> {
        let on_map = LONGITUDES.contains(longitude) && LATITUDES.contains(latitude);
        on_map.then_some(Self { longitude, latitude })
    }

    /// The score under which a sorted set keeps this point: 52 bits.
    pub fn to_score(self) -> u64 {
        Cell::around(self, LATITUDES, STEP_MAX).bits
    }

    /// The middle of the smallest cell, which a score names.
    pub fn from_score(score: u64) -> Self {
        let (longitude, latitude) = Cell { bits: score, step: STEP_MAX }.area();
        // The cells at the very end reach beyond the map.
        Self {
            longitude: longitude.middle().clamp(LONGITUDES.min, LONGITUDES.max),
            latitude: latitude.middle().clamp(LATITUDES.min, LATITUDES.max),
        }
    }

    /// The standard geohash string. 52 bits make ten characters; the eleventh is always `0`, as in
    /// Redis.
    pub fn to_base32(self) -> [u8; 11] {
        let bits = Cell::around(self, STANDARD_LATITUDES, STEP_MAX).bits;
        std::array::from_fn(|at| match at {
            10 => BASE32[0],
            _ => BASE32[(bits >> (52 - (at + 1) * 5)) as usize & 31],
        })
    }

    /// The great-circle distance in metres, by the haversine formula.
    pub fn distance(self, other: Self) -> f64 {
        let v = ((radians(other.longitude) - radians(self.longitude)) / 2.0).sin();
        if v == 0.0 {
            return self.latitude_distance(other);
        }
        let (from, to) = (radians(self.latitude), radians(other.latitude));
        let u = ((to - from) / 2.0).sin();
        let a = u * u + from.cos() * to.cos() * v * v;
        2.0 * EARTH_RADIUS * a.sqrt().asin()
    }

    /// The distance in metres along a meridian, as if both had the same longitude.
    fn latitude_distance(self, other: Self) -> f64 {
        EARTH_RADIUS * (radians(other.latitude) - radians(self.latitude)).abs()
    }
}

impl Range {
    fn contains(self, value: f64) -> bool {
        (self.min..=self.max).contains(&value)
    }

    fn middle(self) -> f64 {
        (self.min + self.max) / 2.0
    }

    /// The least interval that has `value` too.
    fn with(self, value: f64) -> Self {
        Self { min: self.min.min(value), max: self.max.max(value) }
    }

    /// The number of the part that `value` lies in, of 2^step equal parts. The very end makes a
    /// part of its own.
    fn part_of(self, value: f64, step: u32) -> u32 {
        ((value - self.min) / (self.max - self.min) * (1u64 << step) as f64) as u32
    }

    fn part(self, number: u32, step: u32) -> Self {
        let scale = self.max - self.min;
        let edge = |number: f64| self.min + number / (1u64 << step) as f64 * scale;
        Self { min: edge(number.into()), max: edge(f64::from(number) + 1.0) }
    }
}

/// A cell of the map: one of the 4^step that `step` halvings of both axes make. Longitude has the
/// odd bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Cell {
    bits: u64,
    step: u32,
}

impl Cell {
    fn around(point: Point, latitudes: Range, step: u32) -> Self {
        let longitude = LONGITUDES.part_of(point.longitude, step);
        Self::at(longitude, latitudes.part_of(point.latitude, step), step)
    }

    /// That in a column and a row of the map.
    fn at(longitude: u32, latitude: u32, step: u32) -> Self {
        Self { bits: spread(latitude) | spread(longitude) << 1, step }
    }

    /// The longitudes and latitudes that it covers.
    fn area(self) -> (Range, Range) {
        let (longitude, latitude) = (squeeze(self.bits >> 1), squeeze(self.bits));
        (LONGITUDES.part(longitude, self.step), LATITUDES.part(latitude, self.step))
    }

    /// The cell so many to the east and to the north; the map has no edge, it wraps around. Who does not move stays
    /// where it is, even on the part that the very end makes.
    fn neighbour(self, east: i32, north: i32) -> Self {
        let mask = ((1u64 << self.step) - 1) as u32;
        let moved = |part: u32, by: i32| match by {
            0 => part,
            _ => part.wrapping_add_signed(by) & mask,
        };
        let longitude = moved(squeeze(self.bits >> 1), east);
        Self::at(longitude, moved(squeeze(self.bits), north), self.step)
    }

    /// The scores of the points in it: from the first, up to but without the second.
    fn scores(self) -> (u64, u64) {
        let shift = 2 * (STEP_MAX - self.step);
        (self.bits << shift, (self.bits + 1) << shift)
    }
}

/// Moves the bits of `value` apart, to the even positions.
fn spread(value: u32) -> u64 {
    let mut bits = u64::from(value);
    for (shift, mask) in [
        (16, 0x0000_ffff_0000_ffff),
        (8, 0x00ff_00ff_00ff_00ff),
        (4, 0x0f0f_0f0f_0f0f_0f0f),
        (2, 0x3333_3333_3333_3333),
        (1, 0x5555_5555_5555_5555),
    ] {
        bits = (bits | bits << shift) & mask;
    }
    bits
}

/// Undoes [`spread`]; the bits at odd positions are ignored.
fn squeeze(bits: u64) -> u32 {
    let mut bits = bits & 0x5555_5555_5555_5555;
    for (shift, mask) in [
        (1, 0x3333_3333_3333_3333),
        (2, 0x0f0f_0f0f_0f0f_0f0f),
        (4, 0x00ff_00ff_00ff_00ff),
        (8, 0x0000_ffff_0000_ffff),
        (16, 0x0000_0000_ffff_ffff),
    ] {
        bits = (bits | bits >> shift) & mask;
    }
    bits as u32
}

/// The area of a search, and `center`, from which distances are measured.
#[derive(Clone, Debug, PartialEq)]
pub struct Shape {
    pub center: Point,
    pub kind: ShapeKind,
}

/// The form of an area: one around the centre, measured in metres, or one that says itself where it is.
#[derive(Clone, Debug, PartialEq)]
pub enum ShapeKind {
    Circle { radius: f64 },
    Box { width: f64, height: f64 },
    Polygon(Polygon),
}

impl Shape {
    /// The distance of `point` from the centre in metres, if it lies in the shape.
    pub fn distance_within(&self, point: Point) -> Option<f64> {
        let distance = self.center.distance(point);
        let inside = match self.kind {
            ShapeKind::Polygon(ref polygon) => polygon.contains(point),
            ShapeKind::Circle { radius } => distance <= radius,
            // The width is measured along the parallel of the point.
            ShapeKind::Box { width, height } => {
                let same_latitude = Point { latitude: point.latitude, ..self.center };
                point.latitude_distance(self.center) <= height / 2.0
                    && point.distance(same_latitude) <= width / 2.0
            }
        };
        inside.then_some(distance)
    }

    /// The ranges of scores (from the first, up to but without the second) that hold every point of
    /// the shape, and others: at most nine, none twice; for a circle or a box in the order in which Redis visits them.
    pub fn score_ranges(&self) -> Vec<(u64, u64)> {
        match self.kind {
            ShapeKind::Circle { radius } => self.ranges_around_center(radius),
            ShapeKind::Box { width, height } => {
                self.ranges_around_center((width / 2.0).hypot(height / 2.0))
            }
            ShapeKind::Polygon(_) => ranges_over(self.bounding_box()),
        }
    }

    /// The ranges for a shape of which no point is farther from its centre than `radius` metres.
    fn ranges_around_center(&self, radius: f64) -> Vec<(u64, u64)> {
        let (longitudes, latitudes) = self.bounding_box();
        let cell_of = |step| Cell::around(self.center, LATITUDES, step);
        let mut cell = cell_of(self.estimate_step(radius));
        // Near an edge of the middle cell, the shape may reach beyond the cell next to it.
        if cell.step > 1 && !covers(cell, longitudes, latitudes) {
            cell = cell_of(cell.step - 1);
        }
        let (cell_longitudes, cell_latitudes) = cell.area();
        let mut ranges = Vec::with_capacity(9);
        for (east, north) in
            [(0, 0), (0, 1), (0, -1), (1, 0), (-1, 0), (1, 1), (-1, 1), (1, -1), (-1, -1)]
        {
            // A neighbour on a side that the shape does not reach is of no use. With fewer than
            // four cells in a row, that side may be the other side too.
            let useless = cell.step >= 2
                && (north < 0 && cell_latitudes.min < latitudes.min
                    || north > 0 && cell_latitudes.max > latitudes.max
                    || east < 0 && cell_longitudes.min < longitudes.min
                    || east > 0 && cell_longitudes.max > longitudes.max);
            let range = cell.neighbour(east, north).scores();
            if !useless && !ranges.contains(&range) {
                ranges.push(range);
            }
        }
        ranges
    }

    /// How many halvings make cells about as large as a shape that reaches `range` metres far.
    fn estimate_step(&self, mut range: f64) -> u32 {
        if range == 0.0 {
            return STEP_MAX;
        }
        let mut step = 1i32;
        while range < MERCATOR_MAX && step < 64 {
            range *= 2.0;
            step += 1;
        }
        step -= 2; // to be sure that the shape is covered in most cases
        // Towards the poles, a degree of longitude is shorter.
        let latitude = self.center.latitude.abs();
        step -= i32::from(latitude > 66.0) + i32::from(latitude > 80.0);
        step.clamp(1, STEP_MAX as i32) as u32
    }

    /// The longitudes and latitudes of a rectangle on the map around the shape.
    fn bounding_box(&self) -> (Range, Range) {
        let (half_width, half_height) = match self.kind {
            ShapeKind::Circle { radius } => (radius, radius),
            ShapeKind::Box { width, height } => (width / 2.0, height / 2.0),
            ShapeKind::Polygon(ref polygon) => return polygon.bounds(),
        };
        let Point { longitude, latitude } = self.center;
        let north = degrees(half_height / EARTH_RADIUS);
        // The shape is widest, in degrees, on its side towards the pole.
        let widest = if latitude < 0.0 { latitude - north } else { latitude + north };
        let east = degrees(half_width / EARTH_RADIUS / radians(widest).cos());
        (
            Range { min: longitude - east, max: longitude + east },
            Range { min: latitude - north, max: latitude + north },
        )
    }
}

/// The ranges of the cells that a rectangle of the map lies in: the smallest cells of which three in a row suffice.
fn ranges_over((longitudes, latitudes): (Range, Range)) -> Vec<(u64, u64)> {
    let columns =
        |step| LONGITUDES.part_of(longitudes.min, step)..=LONGITUDES.part_of(longitudes.max, step);
    let rows =
        |step| LATITUDES.part_of(latitudes.min, step)..=LATITUDES.part_of(latitudes.max, step);
    let few = |parts: RangeInclusive<u32>| parts.end() - parts.start() < 3;
    let suffice = |step: &u32| few(columns(*step)) && few(rows(*step));
    // Of the largest there are two in a row, and the part that the very end makes.
    let step = (1..=STEP_MAX).rev().find(suffice).unwrap_or(1);
    let cells = columns(step).flat_map(|column| rows(step).map(move |row| (column, row)));
    let mut ranges: Vec<_> =
        cells.map(|(column, row)| Cell::at(column, row, step).scores()).collect();
    ranges.sort_unstable();
    ranges
}

/// Do `cell` and its neighbours reach as far as these bounds?
fn covers(cell: Cell, longitudes: Range, latitudes: Range) -> bool {
    let longitudes_of = |east| cell.neighbour(east, 0).area().0;
    let latitudes_of = |north| cell.neighbour(0, north).area().1;
    latitudes_of(1).max >= latitudes.max
        && latitudes_of(-1).min <= latitudes.min
        && longitudes_of(1).max >= longitudes.max
        && longitudes_of(-1).min <= longitudes.min
}

// Not f64::to_radians and to_degrees: their rounding differs, and distances must equal Redis's to
// the last digit.
const RADIANS_PER_DEGREE: f64 = PI / 180.0;

fn radians(degrees: f64) -> f64 {
    degrees * RADIANS_PER_DEGREE
}

fn degrees(radians: f64) -> f64 {
    radians / RADIANS_PER_DEGREE
}

#[cfg(test)]
mod tests {
    use super::polygon::tests::polygon;
    use super::*;
    use proptest::prelude::*;

    const PALERMO: Point = Point { longitude: 13.361389, latitude: 38.115556 };
    const CATANIA: Point = Point { longitude: 15.087269, latitude: 37.502669 };

    fn point() -> impl Strategy<Value = Point> {
        (-180.0..180.0, -85.05..85.05)
            .prop_map(|(longitude, latitude)| Point { longitude, latitude })
    }

    fn shape() -> impl Strategy<Value = Shape> {
        let size = || (0.0..6.5f64).prop_map(|power| 10f64.powf(power));
        let kind = prop_oneof![
            size().prop_map(|radius| ShapeKind::Circle { radius }),
            (size(), size()).prop_map(|(width, height)| ShapeKind::Box { width, height }),
        ];
        // Farther north, and for wider shapes, Redis misses points across the edge of the map; so
        // do we.
        let center = (-90.0..90.0, -60.0..60.0)
            .prop_map(|(longitude, latitude)| Point { longitude, latitude });
        let around = (center, kind).prop_map(|(center, kind)| Shape { center, kind });
        let polygon = polygon().prop_map(|polygon| Shape {
            center: polygon.center(),
            kind: ShapeKind::Polygon(polygon),
        });
        prop_oneof![2 => around, 1 => polygon]
    }

    #[test]
    fn documented_scores_and_strings() {
        assert_eq!(PALERMO.to_score(), 3479099956230698);
        assert_eq!(CATANIA.to_score(), 3479447370796909);
        let stored = Point::from_score(3479099956230698);
        assert_eq!(stored, Point { longitude: 13.361389338970184, latitude: 38.1155563954963 });
        assert_eq!(&stored.to_base32(), b"sqc8b49rny0");
        assert_eq!(&Point::from_score(3479447370796909).to_base32(), b"sqdtr74hyu0");
    }

    #[test]
    fn documented_distance() {
        let [a, b] = [PALERMO, CATANIA].map(|point| Point::from_score(point.to_score()));
        assert_eq!(format!("{:.4}", a.distance(b)), "166274.1516");
        assert_eq!(a.distance(a), 0.0);
    }

    #[test]
    fn the_map_has_an_edge() {
        assert!(Point::new(-180.0, 85.05112878).is_some());
        assert!(Point::new(180.0001, 0.0).is_none());
        assert!(Point::new(0.0, -85.06).is_none());
        assert!(Point::new(f64::NAN, 0.0).is_none());
        let corner = Point::new(180.0, 85.05112878).unwrap();
        assert_eq!(corner.to_score(), 3 << 52);
        assert_eq!(Point::from_score(3 << 52), corner);
    }

    #[test]
    fn documented_search() {
        let center = Point { longitude: 15.0, latitude: 37.0 };
        let circle = Shape { center, kind: ShapeKind::Circle { radius: 200_000.0 } };
        assert_eq!(format!("{:.4}", circle.distance_within(PALERMO).unwrap()), "190442.4242");
        let narrow = Shape { center, kind: ShapeKind::Circle { radius: 100_000.0 } };
        assert_eq!(narrow.distance_within(PALERMO), None);
        assert!(narrow.distance_within(CATANIA).is_some());
        let wide = Shape { center, kind: ShapeKind::Box { width: 400_000.0, height: 400_000.0 } };
        assert!(wide.distance_within(PALERMO).is_some());
        let flat = Shape { center, kind: ShapeKind::Box { width: 400_000.0, height: 100_000.0 } };
        assert_eq!(flat.distance_within(PALERMO), None);
    }

    #[test]
    fn odd_shapes_are_survived() {
        for size in [0.0, -1.0, 5e-324, 1e30, f64::INFINITY, f64::NAN] {
            for kind in
                [ShapeKind::Circle { radius: size }, ShapeKind::Box { width: size, height: size }]
            {
                for latitude in [-85.05112878, 0.0, 85.05112878] {
                    let center = Point { longitude: 180.0, latitude };
                    let shape = Shape { center, kind: kind.clone() };
                    assert!(shape.score_ranges().len() <= 9);
                }
            }
        }
    }

    proptest! {
        #[test]
        fn scores_name_the_place(point in point()) {
            let score = point.to_score();
            let place = Point::from_score(score);
            prop_assert!(point.distance(place) < 1.0);
            prop_assert_eq!(place.to_score(), score);
        }

        #[test]
        fn spread_is_undone_by_squeeze(value: u32, noise: u32) {
            prop_assert_eq!(squeeze(spread(value) | spread(noise) << 1), value);
        }

        #[test]
        fn ranges_cover_the_shape(shape in shape(), east in -1.0..1.0f64, north in -1.0..1.0f64) {
            let (longitudes, latitudes) = shape.bounding_box();
            let longitude = longitudes.middle() + east * (longitudes.max - longitudes.middle());
            let latitude = latitudes.middle() + north * (latitudes.max - latitudes.middle());
            if let Some(point) = Point::new(longitude, latitude) {
                let score = point.to_score();
                let ranges = shape.score_ranges();
                prop_assert!(ranges.len() <= 9);
                let found = ranges.iter().any(|&(min, max)| (min..max).contains(&score));
                prop_assert!(found || shape.distance_within(point).is_none());
            }
        }
    }
}
