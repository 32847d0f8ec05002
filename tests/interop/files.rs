//! Snapshot files: what one server saves, another loads.

use crate::common::Server;
use crate::data;
use crate::load::fill;
use crate::peers::Kind;
use std::path::Path;

/// Saves with one server and loads with the other.
fn hand_over(from: &Path, to: &Path) {
    let directory = || tempfile::tempdir().expect("a directory");
    let mut writer = Server::start_program(from, directory(), &[]);
    fill(&mut writer.connect());
    assert_eq!(writer.text(&["SAVE"]), "OK");
    let saved = data::read(&writer);
    let reader = Server::start_program(to, writer.into_dir(), &[]);
    let mut loaded = data::read(&reader);
    let now =
        std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970");
    let mut expected = saved;
    for data in [&mut loaded, &mut expected] {
        data.retain(|_, (_, expires)| *expires < 0 || *expires > now.as_millis() as i64);
    }
    assert_eq!(data::difference(&expected, &loaded), None);
}

fn exchange(kind: Kind) {
    let (Some(peer), Some(aeolis)) = (kind.program(), Kind::Aeolis.program()) else { return };
    hand_over(&peer, &aeolis);
    hand_over(&aeolis, &peer);
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
