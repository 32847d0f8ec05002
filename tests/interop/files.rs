//! Snapshot and append-only files: what one server writes, another loads.

use crate::data;
use crate::harness::Server;
use crate::load::{Fields, fill};
use crate::peers::Kind;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

/// Saves with one server and loads with the other.
fn hand_over(from: &Path, to: &Path, fields: Fields) {
    let directory = || tempfile::tempdir().expect("a directory");
    let mut writer = Server::start_program(from, directory(), &[]);
    fill(&mut writer.connect(), fields);
    assert_eq!(writer.text(&["SAVE"]), "OK");
    let saved = data::read(&writer, fields);
    let reader = Server::start_program(to, writer.into_dir(), &[]);
    let mut loaded = data::read(&reader, fields);
    let mut expected = saved;
    without_expired(&mut [&mut loaded, &mut expected]);
    assert_eq!(data::difference(&expected, &loaded), None);
}

/// Writes an append-only file with one server, a part of it as a base file, and loads it with the other.
fn hand_over_aof(from: &Path, to: &Path, preamble: &str, fields: Fields) {
    let options = ["--appendonly", "yes", "--aof-use-rdb-preamble", preamble, "--save", ""];
    let mut writer =
        Server::start_program(from, tempfile::tempdir().expect("a directory"), &options);
    fill(&mut writer.connect(), fields);
    writer.text(&["BGREWRITEAOF"]);
    writer.wait_info("aof_rewrite_in_progress", "0");
    for command in [
        "SET after:string value",
        "RPUSH after:list 1 two",
        "HSET after:hash f v",
        "SADD after:set 1 2",
        "ZADD after:zset 1.5 m",
        "XADD after:stream 1-1 a b",
        "EXPIRE after:hash 10000",
    ] {
        writer.text(&command.split(' ').collect::<Vec<_>>());
    }
    let mut expected = data::read(&writer, fields);
    writer.terminate();
    let reader = Server::start_program(to, writer.into_dir(), &options);
    let mut loaded = data::read(&reader, fields);
    without_expired(&mut [&mut loaded, &mut expected]);
    assert_eq!(data::difference(&expected, &loaded), None);
}

/// Takes out what has expired by now, here or there.
fn without_expired(all: &mut [&mut data::Data]) {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    let is_to_come = |time: i64| time < 0 || time > now.as_millis() as i64;
    for data in all {
        data.retain(|_, (parts, expires)| {
            let was_empty = parts.is_empty();
            parts.retain(|part| {
                let time = part.rsplit_once(" until ").and_then(|(_, time)| time.parse().ok());
                time.is_none_or(is_to_come)
            });
            is_to_come(*expires) && was_empty == parts.is_empty()
        });
    }
}

fn exchange(kind: Kind) {
    let (Some(peer), Some(aeolis)) = (kind.program(), Kind::Aeolis.program()) else { return };
    let names = tempfile::tempdir().expect("a directory");
    // Its name decides how it writes what not all can read.
    let name = if kind == Kind::Valkey { "valkey-server" } else { "redis-server" };
    let named = names.path().join(name);
    std::os::unix::fs::symlink(aeolis, &named).expect("a link");
    for (from, to) in [(&peer, &named), (&named, &peer)] {
        let fields = if kind == Kind::Redis7 { Fields::Stay } else { Fields::Expire };
        hand_over(from, to, fields);
        hand_over_aof(from, to, "yes", fields);
        hand_over_aof(from, to, "no", fields);
    }
}

#[test]
fn files_of_redis7() {
    exchange(Kind::Redis7);
}

#[test]
fn files_of_redis8() {
    exchange(Kind::Redis8);
}

#[test]
fn files_of_valkey() {
    exchange(Kind::Valkey);
}

#[test]
fn files_of_aeolis() {
    exchange(Kind::Aeolis);
}
