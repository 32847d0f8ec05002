//! The targets. Each makes inputs, and runs any input, made or not, without being harmed.
#![forbid(unsafe_code)]

pub mod acl;
pub mod aof;
pub mod bus;
pub mod commands;
pub mod config;
pub mod http;
pub mod lua;
pub mod nodes;
pub mod primary;
pub mod rdb;
pub mod replica;
pub mod requests;
pub mod restore;

use crate::host::Host;
use crate::source::Source;
use std::path::Path;

/// Inputs that one server runs, one after the other, before a new one is made.
pub const INPUTS_PER_SERVER: usize = 50;

/// Where inputs are run: a directory, and in it a server for those targets that need one.
pub struct Bench<'a> {
    pub dir: &'a Path,
    host: Option<Host>,
    inputs: usize,
}

impl<'a> Bench<'a> {
    pub fn new(dir: &'a Path) -> Bench<'a> {
        Bench { dir, host: None, inputs: 0 }
    }

    /// The server, with what earlier inputs have left behind.
    pub fn host(&mut self) -> &mut Host {
        self.inputs += 1;
        let is_used_up = self.host.as_ref().is_some_and(|host| host.server.exit_code().is_some());
        if is_used_up || self.inputs.is_multiple_of(INPUTS_PER_SERVER) {
            self.host = None;
        }
        if self.host.is_none() {
            // What a replica has received, perhaps a damaged snapshot, is not where the next server begins.
            let _ = std::fs::remove_file(self.dir.join("dump.rdb"));
        }
        self.host.get_or_insert_with(|| Host::start(self.dir, &[]).expect("good settings"))
    }
}

pub struct Target {
    pub name: &'static str,
    pub generate: fn(&mut Source) -> Vec<u8>,
    pub run: fn(&mut Bench<'_>, &[u8]),
}

pub const TARGETS: &[Target] = &[
    Target { name: "requests", generate: requests::generate, run: requests::run },
    Target { name: "commands", generate: commands::generate, run: commands::run },
    Target { name: "restore", generate: restore::generate, run: restore::run },
    Target { name: "rdb", generate: rdb::generate, run: rdb::run },
    Target { name: "aof", generate: aof::generate, run: aof::run },
    Target { name: "primary", generate: primary::generate, run: primary::run },
    Target { name: "replica", generate: replica::generate, run: replica::run },
    Target { name: "lua", generate: lua::generate, run: lua::run },
    Target { name: "config", generate: config::generate, run: config::run },
    Target { name: "acl", generate: acl::generate, run: acl::run },
    Target { name: "nodes", generate: nodes::generate, run: nodes::run },
    Target { name: "bus", generate: bus::generate, run: bus::run },
    Target { name: "http", generate: http::generate, run: http::run },
];

/// Sections of an input that consists of several: each begins behind a line of its own that says so.
pub const SEPARATOR: &[u8] = b"\n--\n";

/// The sections of an input.
pub fn sections(input: &[u8]) -> Vec<&[u8]> {
    let mut sections = Vec::new();
    let mut rest = input;
    while let Some(at) = rest.windows(SEPARATOR.len()).position(|part| part == SEPARATOR) {
        sections.push(&rest[..at]);
        rest = &rest[at + SEPARATOR.len()..];
    }
    sections.push(rest);
    sections
}
