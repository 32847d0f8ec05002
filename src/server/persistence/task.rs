//! What a saver makes, and what the server needs for that meanwhile.

use crate::rdb::writer::RdbVersion;
use crate::server::config::Config;
use crate::server::placement;
use mio::unix::pipe::Receiver;

/// What a saver makes, and where it goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SaveTarget {
    /// `dbfilename`; replicas that wait are sent that file.
    Disk,
    /// A pipe, and from it to the replicas that wait.
    Replicas,
    /// Straight to the connections that replicas have opened for it.
    RdbChannels,
    /// A new base file of the append-only file; `rdb`: as a snapshot.
    Aof { rdb: bool },
}

impl SaveTarget {
    /// What a child's memory was copied for, in the log's words.
    pub fn purpose(self) -> &'static str {
        match self {
            SaveTarget::Disk | SaveTarget::Replicas | SaveTarget::RdbChannels => "RDB",
            SaveTarget::Aof { .. } => "AOF rewrite",
        }
    }

    /// The directive with the processors of whoever makes it.
    pub fn processors(self, config: &Config) -> placement::List<'_> {
        match self {
            SaveTarget::Aof { .. } => {
                ("aof_rewrite_cpulist", config.aof_rewrite_cpulist.as_deref())
            }
            SaveTarget::Disk | SaveTarget::Replicas | SaveTarget::RdbChannels => {
                ("bgsave_cpulist", config.bgsave_cpulist.as_deref())
            }
        }
    }

    /// What a child calls itself.
    pub fn process_title(self) -> &'static str {
        match self {
            SaveTarget::Disk => "aeolis-rdb-bgsave",
            SaveTarget::Replicas | SaveTarget::RdbChannels => "aeolis-rdb-to-slaves",
            SaveTarget::Aof { .. } => "aeolis-aof-rewrite",
        }
    }
}

/// What comes through a diskless snapshot's pipe goes from it to the replicas.
#[derive(Debug)]
pub(crate) enum Pipe {
    Open(Receiver),
    /// Its end has been seen.
    Drained,
}

/// What a saver makes, with what the server needs for that meanwhile. A mark is what ends the bytes that a replica
/// gets, of which nobody knows in advance how many there will be.
#[derive(Debug)]
pub(crate) enum Task {
    File { version: RdbVersion },
    Pipe { version: RdbVersion, mark: String, pipe: Pipe },
    Channels { version: RdbVersion, mark: String },
    AofBase { rdb: bool },
}

impl Task {
    pub fn target(&self) -> SaveTarget {
        match self {
            Task::File { .. } => SaveTarget::Disk,
            Task::Pipe { .. } => SaveTarget::Replicas,
            Task::Channels { .. } => SaveTarget::RdbChannels,
            Task::AofBase { rdb } => SaveTarget::Aof { rdb: *rdb },
        }
    }
}
