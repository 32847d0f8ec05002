//! Polygons on the map, as `GEOSEARCH … BYPOLYGON` of Valkey 9 has them: their sides are straight where longitude and
//! latitude are the axes, and none leads over the edge of the map.

use super::{LATITUDES, LONGITUDES, Point, Range, degrees, radians};

/// A polygon of at least three vertices; its sides may cross.
#[derive(Clone, Debug, PartialEq)]
pub struct Polygon {
    vertices: Vec<Point>,
}

impl Polygon {
    /// The polygon with these corners, in the order of its outline. `None`: there are too few.
    pub fn new(vertices: Vec<Point>) -> Option<Self> {
        (vertices.len() >= 3).then_some(Self { vertices })
    }

    /// The middle of the vertices on the globe, from which distances are measured: where a line from the Earth's centre
    /// through their mean in space leaves it.
    pub fn center(&self) -> Point {
        let (mut x, mut y, mut z) = (0.0, 0.0, 0.0);
        for vertex in &self.vertices {
            let (longitude, latitude) = (radians(vertex.longitude), radians(vertex.latitude));
            x += latitude.cos() * longitude.cos();
            y += latitude.cos() * longitude.sin();
            z += latitude.sin();
        }
        let n = self.vertices.len() as f64;
        let (x, y, z) = (x / n, y / n, z / n);
        Point { longitude: degrees(y.atan2(x)), latitude: degrees(z.atan2((x * x + y * y).sqrt())) }
    }

    /// The longitudes and latitudes that it reaches over.
    pub(super) fn bounds(&self) -> (Range, Range) {
        // The vertices are on the map: its ends are farther out.
        let nothing = |axis: Range| Range { min: axis.max, max: axis.min };
        let mut bounds = (nothing(LONGITUDES), nothing(LATITUDES));
        for vertex in &self.vertices {
            bounds.0 = bounds.0.with(vertex.longitude);
            bounds.1 = bounds.1.with(vertex.latitude);
        }
        bounds
    }

    /// Whether a point lies inside: a line from it to the east crosses an odd number of sides. A point on a side or a
    /// vertex counts as if it were a little farther to the north and east.
    pub fn contains(&self, point: Point) -> bool {
        let before = self.vertices.iter().cycle().skip(self.vertices.len() - 1);
        let crossed = self.vertices.iter().zip(before).filter(|&(a, b)| is_west_of(point, *a, *b));
        crossed.count() % 2 == 1
    }
}

/// Whether the side from `b` to `a` crosses the parallel of `point` east of it. Valkey computes where in the same way,
/// so that rounding lets the same points on a side count.
fn is_west_of(point: Point, a: Point, b: Point) -> bool {
    let is_crossed = (a.latitude > point.latitude) != (b.latitude > point.latitude);
    let east = b.longitude - a.longitude;
    let north = b.latitude - a.latitude;
    is_crossed && point.longitude < east * (point.latitude - a.latitude) / north + a.longitude
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use proptest::collection::vec;
    use proptest::prelude::*;

    fn polygon_of(corners: &[(f64, f64)]) -> Polygon {
        let point = |&(longitude, latitude)| Point { longitude, latitude };
        Polygon::new(corners.iter().map(point).collect()).unwrap()
    }

    /// Polygons of all sizes, up to the whole map.
    pub fn polygon() -> impl Strategy<Value = Polygon> {
        let corner = || (-1.0..1.0f64, -1.0..1.0f64);
        let size = (-5.0..0.5f64).prop_map(|power| 10f64.powf(power));
        (corner(), size, vec(corner(), 3..9)).prop_map(|((east, north), size, corners)| {
            let place = |(e, n): (f64, f64)| {
                let on_axis = |axis: Range, at: f64| (at * axis.max).clamp(axis.min, axis.max);
                Point {
                    longitude: on_axis(LONGITUDES, east + e * size),
                    latitude: on_axis(LATITUDES, north + n * size),
                }
            };
            Polygon::new(corners.into_iter().map(place).collect()).unwrap()
        })
    }

    /// Twice the area of a triangle; negative if it is gone round clockwise.
    fn area(a: Point, b: Point, c: Point) -> f64 {
        (b.longitude - a.longitude) * (c.latitude - a.latitude)
            - (b.latitude - a.latitude) * (c.longitude - a.longitude)
    }

    /// Whether a point is in an odd number of the triangles that one vertex makes with each side; `None` for one so
    /// near a side of them that rounding decides.
    fn model(vertices: &[Point], point: Point) -> Option<bool> {
        let [first, rest @ ..] = vertices else { return Some(false) };
        let mut inside = false;
        for side in rest.windows(2) {
            let (a, b) = (side[0], side[1]);
            let areas = [area(*first, a, point), area(a, b, point), area(b, *first, point)];
            if areas.iter().any(|area| area.abs() < 1e-9) {
                return None;
            }
            let is_left = areas.map(|area| area > 0.0);
            inside ^= is_left == [true; 3] || is_left == [false; 3];
        }
        Some(inside)
    }

    #[test]
    fn two_vertices_are_no_polygon() {
        let corner = Point { longitude: 1.0, latitude: 2.0 };
        assert_eq!(Polygon::new(vec![corner; 2]), None);
        assert!(!Polygon::new(vec![corner; 3]).unwrap().contains(corner));
    }

    #[test]
    fn of_the_outline_the_south_and_the_west_are_inside() {
        let square = polygon_of(&[(0.0, 0.0), (0.0, 4.0), (4.0, 4.0), (4.0, 0.0)]);
        for (longitude, latitude, inside) in [
            (2.0, 2.0, true),
            (5.0, 2.0, false),
            (0.0, 2.0, true),
            (2.0, 0.0, true),
            (0.0, 0.0, true),
            (4.0, 2.0, false),
            (2.0, 4.0, false),
            (4.0, 4.0, false),
            (0.0, 4.0, false),
            (4.0, 0.0, false),
        ] {
            let point = Point { longitude, latitude };
            assert_eq!(square.contains(point), inside, "{point:?}");
        }
    }

    #[test]
    fn a_notch_is_outside() {
        let arrow = polygon_of(&[(0.0, 0.0), (4.0, 4.0), (8.0, 0.0), (4.0, 9.0)]);
        let at = |longitude, latitude| arrow.contains(Point { longitude, latitude });
        assert!(at(4.0, 5.0));
        assert!(at(1.0, 1.5));
        assert!(!at(4.0, 3.0));
    }

    #[test]
    fn the_middle_is_that_on_the_globe() {
        let wide = polygon_of(&[(0.0, 0.0), (0.0, 60.0), (10.0, 60.0), (80.0, 0.0)]);
        let center = wide.center();
        assert_eq!(
            format!("{:.9} {:.9}", center.longitude, center.latitude),
            "26.323427655 35.629808965"
        );
    }

    proptest! {
        #[test]
        fn inside_is_inside_an_odd_number_of_triangles(
            polygon in polygon(), east in 0.0..1.0f64, north in 0.0..1.0f64,
        ) {
            let (longitudes, latitudes) = polygon.bounds();
            let at = |range: Range, part: f64| range.min + part * (range.max - range.min);
            let point = Point { longitude: at(longitudes, east), latitude: at(latitudes, north) };
            if let Some(inside) = model(&polygon.vertices, point) {
                prop_assert_eq!(polygon.contains(point), inside);
            }
        }
    }
}
