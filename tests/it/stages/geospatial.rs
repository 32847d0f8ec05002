//! Stages of geospatial commands.

use super::{bulks, talk};
use crate::harness::Server;

#[test]
fn places_are_members_of_a_sorted_set() {
    let server = Server::start(&[]);
    talk(
        &mut server.raw(),
        &[
            ("GEOADD places 2.2944692 48.8584625 Paris", ":1\r\n"),
            ("GEOADD places -0.0884948 51.506479 London", ":1\r\n"),
            ("ZRANGE places 0 -1", &bulks(&["London", "Paris"])),
            ("ZSCORE places Paris", "$16\r\n3663832614298053\r\n"),
            // Who knows the scores can do without GEOADD.
            ("ZADD scores 3663832614298053 Paris", ":1\r\n"),
            (
                "GEOPOS scores Paris missing_location",
                "*2\r\n*2\r\n$19\r\n2.29447156190872192\r\n$20\r\n48.85846255040141273\r\n*-1\r\n",
            ),
            ("GEOPOS missing_key Paris", "*1\r\n*-1\r\n"),
            ("GEODIST places Paris London", "$11\r\n339887.1768\r\n"),
            ("GEODIST places Paris Paris", "$6\r\n0.0000\r\n"),
        ],
    );
}

#[test]
fn coordinates_are_checked() {
    let server = Server::start(&[]);
    let mut raw = server.raw();
    for place in ["181 0.3", "-181 0.3", "0.3 86", "0.3 -86", "200 100"] {
        raw.command(
            &[&["GEOADD", "places"], &place.split(' ').collect::<Vec<_>>()[..], &["x"]].concat(),
        );
        let error = raw.line();
        assert!(error.starts_with("-ERR invalid longitude,latitude pair"), "{error}");
    }
}

#[test]
fn places_are_found_by_distance() {
    let server = Server::start(&[]);
    talk(
        &mut server.raw(),
        &[
            ("GEOADD places 11.5030378 48.164271 Munich", ":1\r\n"),
            ("GEOADD places 2.2944692 48.8584625 Paris", ":1\r\n"),
            ("GEOADD places -0.0884948 51.506479 London", ":1\r\n"),
            ("GEOSEARCH places FROMLONLAT 2 48 BYRADIUS 50 km", "*0\r\n"),
            ("GEOSEARCH places FROMLONLAT 2 48 BYRADIUS 100000 m", &bulks(&["Paris"])),
            ("GEOSEARCH places FROMLONLAT 2 48 BYRADIUS 500 km ASC", &bulks(&["Paris", "London"])),
            (
                "GEOSEARCH places FROMLONLAT 11 50 BYRADIUS 2000 km ASC",
                &bulks(&["Munich", "Paris", "London"]),
            ),
        ],
    );
}
