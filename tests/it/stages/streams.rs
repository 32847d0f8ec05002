//! Stages of streams.

use super::{bulks, talk};
use crate::harness::Server;

/// An entry with one field, as it is sent.
fn entry(id: &str, field: &str, value: &str) -> String {
    format!("*2\r\n${}\r\n{id}\r\n{}", id.len(), bulks(&[field, value]))
}

/// What `XREAD` says of one stream with one entry.
fn stream(key: &str, entry: &str) -> String {
    format!("*2\r\n${}\r\n{key}\r\n*1\r\n{entry}", key.len())
}

#[test]
fn keys_have_types() {
    let server = Server::start(&[]);
    talk(
        &mut server.raw(),
        &[
            ("SET key value", "+OK\r\n"),
            ("TYPE key", "+string\r\n"),
            ("TYPE missing_key", "+none\r\n"),
            ("XADD stream 0-1 foo bar", "$3\r\n0-1\r\n"),
            ("TYPE stream", "+stream\r\n"),
        ],
    );
}

#[test]
fn ids_grow() {
    const TOO_SMALL: &str =
        "-ERR The ID specified in XADD is equal or smaller than the target stream top item\r\n";
    let server = Server::start(&[]);
    let mut raw = server.raw();
    talk(
        &mut raw,
        &[
            ("XADD s 1-1 a b", "$3\r\n1-1\r\n"),
            ("XADD s 1-2 a b", "$3\r\n1-2\r\n"),
            ("XADD s 1-2 a b", TOO_SMALL),
            ("XADD s 0-3 a b", TOO_SMALL),
            ("XADD s 0-0 a b", "-ERR The ID specified in XADD must be greater than 0-0\r\n"),
            ("XADD t 0-* a b", "$3\r\n0-1\r\n"),
            ("XADD t 1-* a b", "$3\r\n1-0\r\n"),
            ("XADD t 1-* a b", "$3\r\n1-1\r\n"),
        ],
    );
    raw.command(&["XADD", "u", "*", "a", "b"]);
    raw.line();
    let id = raw.line();
    let (time, sequence) = id.split_once('-').expect("two parts");
    assert!(time.len() == 13 && sequence == "0", "{id}");
}

#[test]
fn ranges() {
    let server = Server::start(&[]);
    let mut raw = server.raw();
    let entries: Vec<String> =
        (1..=4).map(|n| entry(&format!("0-{n}"), "field", "value")).collect();
    for n in 1..=4 {
        talk(&mut raw, &[(&format!("XADD s 0-{n} field value"), &format!("$3\r\n0-{n}\r\n"))]);
    }
    for (range, wanted) in
        [("0-2 0-3", &entries[1..3]), ("- 0-3", &entries[..3]), ("0-2 +", &entries[1..])]
    {
        let reply = format!("*{}\r\n{}", wanted.len(), wanted.concat());
        talk(&mut raw, &[(&format!("XRANGE s {range}"), &reply)]);
    }
}

#[test]
fn reading_several_streams() {
    let server = Server::start(&[]);
    let one = stream("a", &entry("0-1", "temperature", "95"));
    let other = stream("b", &entry("0-2", "humidity", "7"));
    talk(
        &mut server.raw(),
        &[
            ("XADD a 0-1 temperature 95", "$3\r\n0-1\r\n"),
            ("XADD b 0-2 humidity 7", "$3\r\n0-2\r\n"),
            ("XREAD streams a 0-0", &format!("*1\r\n{one}")),
            ("XREAD streams a b 0-0 0-1", &format!("*2\r\n{one}{other}")),
        ],
    );
}

#[test]
fn waiting_for_entries() {
    let mut server = Server::start(&[]);
    let (mut reader, mut writer) = (server.raw(), server.raw());
    talk(&mut writer, &[("XADD s 0-1 temperature 1", "$3\r\n0-1\r\n")]);
    for (n, request) in [
        "XREAD block 20000 streams s 0-1",
        "XREAD block 0 streams s 0-2",
        "XREAD block 0 streams s $",
    ]
    .iter()
    .enumerate()
    {
        let id = format!("0-{}", n + 2);
        reader.command(&request.split(' ').collect::<Vec<_>>());
        server.wait_info("blocked_clients", "1");
        talk(&mut writer, &[(&format!("XADD s {id} temperature 2"), &format!("$3\r\n{id}\r\n"))]);
        reader.expect(format!("*1\r\n{}", stream("s", &entry(&id, "temperature", "2"))));
    }
    talk(&mut reader, &[("XREAD block 10 streams s $", "*-1\r\n")]);
}
