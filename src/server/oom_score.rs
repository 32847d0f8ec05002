//! `oom-score-adj`: how readily the kernel ends this process when memory runs out, by what the process is.

use super::Server;
use super::config::OomScoreAdj;
use crate::util::io_reason;
use std::fs;
use std::io;

const FILE: &str = "/proc/self/oom_score_adj";
/// What the kernel takes.
const RANGE: (i32, i32) = (-1000, 1000);

/// The score that the process had when the server took it over, if it has.
#[derive(Clone, Copy, Debug, Default)]
pub struct OomScore {
    base: Option<i32>,
}

/// The places in `oom-score-adj-values`.
#[derive(Clone, Copy)]
enum Class {
    Primary,
    Replica,
    Child,
}

/// Gives the process the score that it should have, or that which it had before the server had a say.
///
/// # Errors
/// What the system says, which has been logged.
pub(crate) fn apply_oom_score(server: &mut Server) -> io::Result<()> {
    let class = match () {
        () if server.process.is_fork_child() => Class::Child,
        () if server.repl.is_replica() => Class::Replica,
        () => Class::Primary,
    };
    set_oom_score(server, class).inspect_err(|error| {
        server.warning(&format!("Unable to write oom_score_adj: {}", io_reason(error)));
    })
}

fn set_oom_score(server: &mut Server, class: Class) -> io::Result<()> {
    let relative = match server.config.oom_score_adj {
        OomScoreAdj::Relative => true,
        OomScoreAdj::Absolute => false,
        OomScoreAdj::No => {
            return server.process.oom_score.base.take().map_or(Ok(()), write_score);
        }
    };
    let base = match server.process.oom_score.base {
        Some(base) => base,
        None => *server.process.oom_score.base.insert(read_score()?),
    };
    let score = server.config.oom_score_adj_values[class as usize];
    let score = if relative { score + base } else { score };
    write_score(score.clamp(RANGE.0, RANGE.1))
}

fn read_score() -> io::Result<i32> {
    let text = fs::read_to_string(FILE)?;
    text.trim().parse().map_err(|_| io::ErrorKind::InvalidData.into())
}

fn write_score(score: i32) -> io::Result<()> {
    fs::write(FILE, score.to_string())
}
