//! Which processors the server's threads and children run on: `server_cpulist` and its kin.
//!
//! A child runs where the main thread does, unless it has a list of its own; a background thread does not, for it is
//! there so that the main thread need not wait.

use super::Server;
use crate::sys::processors::Processors;

/// Confines the main thread, which this is, to its processors, and has background threads run on theirs.
pub(crate) fn place_threads(server: &mut Server) {
    let of_main = listed(server, ("server_cpulist", server.config.server_cpulist.as_deref()));
    let all = of_main.and_then(|_| Processors::of_this_thread().ok());
    server.process.set_processors(all);
    let background = of_thread(server, ("bio_cpulist", server.config.bio_cpulist.as_deref()));
    server.persistence.bio.set_processors(background);
    server.memory.set_processors(background);
    confine(server, "server_cpulist", of_main);
}

/// A directive's name, and the list that is its value.
pub(crate) type List<'a> = (&'static str, Option<&'a str>);

/// The processors of a background thread that has a list of its own.
pub(crate) fn of_thread(server: &Server, list: List<'_>) -> Option<Processors> {
    listed(server, list).or(server.process.processors())
}

/// Confines a child, which this is, to its own list.
pub(crate) fn place_child(server: &Server, list: List<'_>) {
    confine(server, list.0, listed(server, list));
}

fn listed(server: &Server, (name, list): List<'_>) -> Option<Processors> {
    let list = list.filter(|list| !list.is_empty())?;
    let processors = Processors::parse(list);
    if processors.is_none() {
        server.warning(&format!("{name} is ignored: '{list}' is not a list of processors"));
    }
    processors
}

fn confine(server: &Server, name: &str, processors: Option<Processors>) {
    if let Some(Err(error)) = processors.map(Processors::confine_this_thread) {
        server.warning(&format!("{name} is ignored: {error}"));
    }
}
