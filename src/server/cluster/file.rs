//! `nodes.conf`: a line for each node, as `CLUSTER NODES` shows it, and one with the epochs.
//!
//! ```text
//! <id> <ip>:<port>@<bus port>[,<hostname>][,shard-id=<id>] myself,master - 0 0 <epoch> connected 0-5460 7000
//! vars currentEpoch <epoch> lastVoteEpoch 0
//! ```

use super::describe::{Reader, nodes_text};
use super::machine::{Announced, Cluster, NodeAddress, Now, SavedCluster, SavedNode};
use crate::bus::NodeFlags;
use crate::sys::durable::write_durably;
use crate::util::slot::SLOTS;
use crate::util::slot_set::SlotSet;
use std::fmt::{self, Write};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

/// Fields of a node's line before its slots.
const FIELDS: usize = 8;

/// Writes the file.
///
/// # Errors
/// What the system reports; then the file is as it was.
pub fn save(path: &Path, cluster: &Cluster, now: Now) -> io::Result<()> {
    let mut text = nodes_text(cluster, now, Reader::File);
    let (current, voted) = (cluster.current_epoch(), cluster.last_vote_epoch());
    let _ = writeln!(text, "vars currentEpoch {current} lastVoteEpoch {voted}");
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(format!(".tmp-{}", std::process::id()));
    write_durably(Path::new(&temporary), path, text.as_bytes())
}

/// Why the file can't be used.
#[derive(Debug)]
pub enum ClusterFileError {
    Unreadable {
        path: PathBuf,
        error: io::Error,
    },
    /// This line can't be understood.
    Corrupt(String),
    /// It tells of more nodes than this one.
    SeveralNodes,
    /// A new one can't be written.
    Unwritable {
        path: PathBuf,
        error: io::Error,
    },
}

impl fmt::Display for ClusterFileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable { path, error } => {
                write!(f, "Loading the cluster node config from {}: {error}", path.display())
            }
            Self::Corrupt(line) => {
                write!(f, "Unrecoverable error: corrupted cluster config file \"{line}\".")
            }
            Self::SeveralNodes => f.write_str(
                "The cluster config file tells of other nodes: a cluster of several nodes is not supported yet.",
            ),
            Self::Unwritable { path, error } => write!(f, "{}: {error}", path.display()),
        }
    }
}

impl std::error::Error for ClusterFileError {}

/// Reads the file; `None` if there is none, or an empty one.
///
/// # Errors
/// If it can't be read or understood, or tells of more nodes than this one.
pub fn load(path: &Path) -> Result<Option<SavedCluster>, ClusterFileError> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => {
            return Err(ClusterFileError::Unreadable { path: path.to_owned(), error });
        }
    };
    parse(&text)
}

fn parse(text: &str) -> Result<Option<SavedCluster>, ClusterFileError> {
    let corrupt = |line: &str| ClusterFileError::Corrupt(line.to_string());
    let mut saved = SavedCluster::default();
    for line in text.lines().filter(|line| !line.is_empty()) {
        let fields: Vec<&str> = line.split(' ').collect();
        if let ["vars", pairs @ ..] = fields.as_slice() {
            for pair in pairs.chunks(2) {
                match pair {
                    ["currentEpoch", epoch] => {
                        saved.current_epoch = epoch.parse().map_err(|_| corrupt(line))?;
                    }
                    ["lastVoteEpoch", epoch] => {
                        saved.last_vote_epoch = epoch.parse().map_err(|_| corrupt(line))?;
                    }
                    _ => return Err(corrupt(line)),
                }
            }
        } else if !saved.nodes.is_empty() || !fields.get(2).is_some_and(|f| f.contains("myself")) {
            return Err(ClusterFileError::SeveralNodes);
        } else {
            saved.nodes.push(parse_node(&fields).ok_or_else(|| corrupt(line))?);
        }
    }
    Ok(Some(saved).filter(|saved| !saved.nodes.is_empty()))
}

/// This node, of the fields of its line.
fn parse_node(fields: &[&str]) -> Option<SavedNode> {
    let (fields, ranges) = fields.split_at_checked(FIELDS)?;
    let id = fields[0].parse().ok()?;
    let shard_id = fields[1].split(',').find_map(|aux| aux.strip_prefix("shard-id="));
    let mut slots = SlotSet::default();
    for range in ranges.iter().filter(|range| !range.is_empty()) {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (first, last): (u16, u16) = (first.parse().ok()?, last.parse().ok()?);
        if last >= SLOTS {
            return None;
        }
        (first..=last).for_each(|slot| _ = slots.insert(slot));
    }
    Some(SavedNode {
        id,
        // Files from before Redis 7.2 have none.
        shard_id: shard_id.and_then(|id| id.parse().ok()),
        address: NodeAddress::default(),
        announced: Announced::default(),
        flags: NodeFlags::MYSELF | NodeFlags::PRIMARY,
        primary: None,
        was_pinged: false,
        has_answered: false,
        config_epoch: fields[6].parse().ok()?,
        slots,
        migrating: Vec::new(),
        importing: Vec::new(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;
    use rand::rngs::SmallRng;

    const ID: &str = "07c37dfeb235213a872192d90877d0cd55635b91";

    #[test]
    fn what_is_written_is_read() {
        let text = format!("{ID} :6379@16379 myself,master - 0 0 3 connected 0-7 9");
        let saved = parse(&text).unwrap().unwrap();
        let mut rng = SmallRng::seed_from_u64(1);
        let cluster = Cluster::restore(saved, &mut rng, Now::default()).unwrap();
        assert_eq!((cluster.myself().slots().len(), cluster.myself().config_epoch()), (9, 3));
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("nodes.conf");
        assert!(load(&path).unwrap().is_none());
        save(&path, &cluster, Now::default()).unwrap();
        let again = load(&path).unwrap().unwrap();
        let again = Cluster::restore(again, &mut rng, Now::default()).unwrap();
        assert_eq!(again.myself().shard_id(), cluster.myself().shard_id());
        assert_eq!(again.myself().slots(), cluster.myself().slots());
        assert_eq!(again.current_epoch(), 3);
    }

    #[test]
    fn what_is_wrong_is_refused() {
        let node = format!("{ID} :1@2 myself,master - 0 0 0 connected");
        for text in [
            "hello",
            "vars currentEpoch x",
            "vars other 1",
            &format!("{ID} :1@2 myself,master - 0 0"),
            &format!("{node} 5-16384"),
            &format!("{node} a-b"),
            &format!("{}\n{node}", node.replace("myself,", "")),
            &format!("{node}\n{node}"),
            &format!("x{node}"),
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
        assert!(parse("\n").unwrap().is_none());
    }
}
