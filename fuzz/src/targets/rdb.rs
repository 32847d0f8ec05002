//! Snapshots: damaged, with a right checksum; loaded in place of the data, and at start-up; and `redis-check-rdb`.
#![forbid(unsafe_code)]

use super::Bench;
use super::restore::{walk, with_values};
use crate::host::Host;
use crate::source::Source;
use aeolis::util::crc64::crc64;

pub fn generate(source: &mut Source) -> Vec<u8> {
    let version = source.pick(&["REDIS0003", "REDIS0009", "REDIS0011", "REDIS0012", "VALKEY080"]);
    let mut file = version.as_bytes().to_vec();
    file.extend(b"\xfa\x09redis-ver\x057.2.4\xfe\0\xfb\x05\x02");
    if source.percent(30) {
        file.extend(b"\xf5\x18#!lua name=l\nlocal x = 1;");
    }
    for i in 0..source.below(5) {
        match source.below(6) {
            0 => file.extend(b"\xfc\0\xd8\xc3\x2c\xbb\x03\0\0"),
            1 => file.extend(b"\xf8\x05"),
            2 => file.extend(b"\xf9\x05"),
            3 => file.extend(b"\xfe\x01"),
            _ => {}
        }
        let value = with_values(|values| values[source.below(values.len())].clone());
        let Some((kind, body)) = value.split_first() else { continue };
        file.push(*kind);
        file.extend([2, b'k', b'0' + i as u8]);
        file.extend(body);
    }
    file.push(0xff);
    if source.percent(85) {
        source.mutate(&mut file);
    }
    file
}

pub fn run(bench: &mut Bench<'_>, input: &[u8]) {
    let file = [input, &crc64(0, input).to_le_bytes()].concat();
    let dir = bench.dir;
    let host = bench.host();
    let path = dir.join("dump.rdb");
    std::fs::write(&path, &file).expect("a file can be written");
    aeolis::rdb::check::run(&["check".into(), path.display().to_string()], &mut Vec::<u8>::new());
    host.ask(&[b"DEBUG", b"RELOAD", b"NOSAVE", b"NOFLUSH", b"MERGE"]);
    walk_all(host);
    if let Some(mut started) = Host::start(dir, &[]) {
        walk_all(&mut started);
    }
    // The server may have replaced it meanwhile, or not.
    let _ = std::fs::remove_file(&path);
}

fn walk_all(host: &mut Host) {
    for key in [b"k0", b"k1", b"k2", b"k3", b"k4"] {
        walk(host, key);
    }
    host.ask(&[b"DEBUG", b"DIGEST"]);
    host.ask(&[b"DEBUG", b"RELOAD"]);
    host.ask(&[b"FLUSHALL"]);
    host.check();
}
