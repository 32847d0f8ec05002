//! Stages of sorted sets.

use super::{bulks, talk};
use crate::harness::Server;

#[test]
fn members_are_ordered_by_score_and_then_by_name() {
    let server = Server::start(&[]);
    let mut raw = server.raw();
    talk(
        &mut raw,
        &[
            ("ZADD z 100.0 foo", ":1\r\n"),
            ("ZADD z 100.0 bar", ":1\r\n"),
            ("ZADD z 20.0 baz", ":1\r\n"),
            ("ZADD z 30.1 caz", ":1\r\n"),
            ("ZADD z 40.2 paz", ":1\r\n"),
            ("ZADD z 40.25 paz", ":0\r\n"),
            ("ZRANK z caz", ":1\r\n"),
            ("ZRANK z bar", ":3\r\n"),
            ("ZRANK z foo", ":4\r\n"),
            ("ZRANK z missing_member", "$-1\r\n"),
            ("ZRANK missing_key foo", "$-1\r\n"),
            ("ZCARD z", ":5\r\n"),
            ("ZCARD missing_key", ":0\r\n"),
            ("ZSCORE z paz", "$5\r\n40.25\r\n"),
            ("ZSCORE z missing_member", "$-1\r\n"),
            ("ZSCORE missing_key foo", "$-1\r\n"),
        ],
    );
    let all = ["baz", "caz", "paz", "bar", "foo"];
    for (range, wanted) in [
        ("0 2", &all[..3]),
        ("2 4", &all[2..]),
        ("0 10", &all[..]),
        ("3 1", &[]),
        ("0 -2", &all[..4]),
        ("-2 -1", &all[3..]),
        ("-1 -2", &[]),
        ("-9 -1", &all[..]),
    ] {
        talk(&mut raw, &[(&format!("ZRANGE z {range}"), &bulks(wanted))]);
    }
    talk(
        &mut raw,
        &[
            ("ZRANGE missing_key 0 1", "*0\r\n"),
            ("ZREM z paz", ":1\r\n"),
            ("ZRANGE z 0 -1", &bulks(&["baz", "caz", "bar", "foo"])),
            ("ZREM z paz", ":0\r\n"),
        ],
    );
}
